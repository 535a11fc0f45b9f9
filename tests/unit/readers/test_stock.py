"""How much is read before anybody asked for it."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.domain.chunk import Chunk
from app.domain.errors import ReaderDied
from app.readers import stock
from app.readers.stock import AROUND_BYTES, Stock
from tests.support.builders import a_chunk_ref


def test_what_was_put_first_is_taken_first_whatever_it_is() -> None:
    shelf = Stock().shelf()
    one, died = chunk_of(b"[1]"), ReaderDied("it did")
    shelf.put(one)
    shelf.put(died)

    assert (len(shelf), shelf.take(), shelf.take(), len(shelf)) == (2, one, died, 0)


def test_a_read_that_is_closed_leaves_nothing_behind() -> None:
    shared = Stock()
    kept, closed = shared.shelf(), shared.shelf()
    kept.put(chunk_of(b"[1]"))
    closed.put(chunk_of(b"[1,2,3]"))
    closed.put(ReaderDied("it did"))
    closed.close()

    assert shared.bytes == 3 + AROUND_BYTES


def test_there_is_no_room_for_a_chunk_above_a_share() -> None:
    shelf = Stock().shelf()

    assert shelf.room(stock.SHARE_BYTES_MAX - AROUND_BYTES) == 1
    assert shelf.room(stock.SHARE_BYTES_MAX) == 0


def test_very_small_chunks_are_counted_with_what_is_around_them() -> None:
    assert Stock().shelf().room(2) * AROUND_BYTES <= stock.SHARE_BYTES_MAX


@given(sizes=st.lists(st.integers(2, 60_000), min_size=1, max_size=40))
def test_whoever_puts_only_what_there_is_room_for_never_exceeds_the_bound(
    sizes: list[int],
) -> None:
    shared = Stock()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(stock, "STOCK_BYTES_MAX", 4_000_000)
        for size in sizes:
            shelf = shared.shelf()
            chunk = chunk_of(b"[" + b" " * (size - 2) + b"]")
            while shelf.room(size):
                shelf.put(chunk)
            assert shared.bytes <= 4_000_000


def chunk_of(records: bytes) -> Chunk:
    return Chunk(a_chunk_ref(), records)
