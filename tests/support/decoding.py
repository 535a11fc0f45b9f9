"""Run a decoder to its end and keep everything it gave."""

from collections.abc import Iterator
from dataclasses import dataclass, field, replace

from app.decoders.json.array import JsonDecoder
from app.domain.budget import BLOCK_BYTES
from app.domain.chunk import Batch, Cursor
from app.domain.errors import DecodeError
from app.domain.ingestion import DecodeOptions
from app.ports import Decoder
from tests.support.sources import BytesSource


@dataclass(slots=True, kw_only=True)
class Decoded:
    """What came out."""

    records: list[bytes] = field(default_factory=list)
    unsafe: dict[int, int] = field(default_factory=dict)
    """Index in ``records`` → unsafe numbers in it."""

    batches: list[Batch] = field(default_factory=list)
    error: DecodeError | None = None

    @property
    def code(self) -> str | None:
        """The error's code, if there was an error."""
        return None if self.error is None else str(self.error.code)

    def cursors(self) -> Iterator[tuple[int, Cursor]]:
        """Yield the index of every record with the cursor that starts at it."""
        index = 0
        for batch in self.batches:
            for i in range(len(batch.records)):
                yield index + i, replace(batch.start, skip=batch.start.skip + i)
            index += len(batch.records)

    def ends(self) -> Iterator[tuple[int, Cursor]]:
        """Yield the index after every batch with the cursor of a chunk that ends there."""
        index = 0
        for batch in self.batches:
            index += len(batch.records)
            yield index, replace(batch.start, skip=batch.start.skip + len(batch.records))


def decode(decoder: Decoder, cursor: Cursor | None = None) -> Decoded:
    """Take all batches, and the error at the end if there is one."""
    decoded = Decoded()
    try:
        for batch in decoder.batches(cursor or Cursor()):
            assert batch.records, "a batch is never empty"
            for index, count in batch.unsafe.items():
                decoded.unsafe[len(decoded.records) + index] = count
            decoded.records += batch.records
            decoded.batches.append(batch)
    except DecodeError as error:
        decoded.error = error
    return decoded


def read_json(
    data: bytes | str, path: str | None = None, block: int = BLOCK_BYTES, **options: object
) -> Decoded:
    """Decode a JSON document that is given."""
    data = data.encode() if isinstance(data, str) else data
    decode_options = DecodeOptions(record_path=path, **options)  # type: ignore[arg-type]
    return decode(JsonDecoder(BytesSource(data), decode_options, block_bytes=block))
