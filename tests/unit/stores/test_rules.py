"""Rules of all stores that the contract suites do not reach."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.domain.errors import CursorInvalid
from app.stores.rules import ORDER_MAX, cursor_of, order_of


@given(st.integers(0, ORDER_MAX))
def test_a_cursor_comes_back_as_it_went(order: int) -> None:
    assert order_of(cursor_of(order)) == order


@given(st.text())
def test_any_other_text_is_a_typed_refusal_or_a_cursor(text: str) -> None:
    try:
        order = order_of(text)
    except CursorInvalid:
        return
    assert cursor_of(order) == text


def test_a_cursor_beyond_every_ingestion_is_refused() -> None:
    with pytest.raises(CursorInvalid):
        order_of(cursor_of(ORDER_MAX + 1))
