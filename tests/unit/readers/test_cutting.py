"""When the source is compared with what was submitted."""

import pytest

from app.decoders.json.ndjson import NdjsonDecoder
from app.domain.budget import ChunkLimits
from app.domain.chunk import ResumePoint
from app.domain.errors import SourceCode, SourceError
from app.domain.identity import IngestionId, chain_start
from app.domain.ingestion import DecodeOptions, FileType
from app.ports import Detected, ReadJob
from app.readers.cutting import Formats, cut
from tests.support.sources import BytesSource

INGESTION = IngestionId("8d0f3c6a5b1e4d7f" * 4)


class Replaced:
    """One file when it is compared first, another one from then on."""

    def __init__(self, before: BytesSource, after: BytesSource) -> None:
        self._sources = [before, after]

    def locate(self, file_path: str) -> "Replaced":
        return self

    def fingerprint(self) -> object:
        source = self._sources[0]
        if len(self._sources) > 1:
            self._sources.pop(0)
        return source.fingerprint()

    def __getattr__(self, name: str) -> object:
        return getattr(self._sources[0], name)


def test_a_file_replaced_between_its_comparison_and_its_opening_gives_no_chunk() -> None:
    before, after = BytesSource(b'{"n":1}\n' * 9), BytesSource(b'{"n":2}\n' * 9)
    job = ReadJob(
        ingestion_id=INGESTION,
        file_path="numbers",
        file_type=FileType.NDJSON,
        options=DecodeOptions(),
        fingerprint=before.fingerprint(),
        limits=ChunkLimits(records=2),
        resume=ResumePoint(chain=chain_start(INGESTION)),
    )
    sources = Replaced(before, after)
    formats = Formats(sources=sources, decoder_of=lambda _: NdjsonDecoder)  # type: ignore[arg-type]

    readings = cut(job, formats)

    assert isinstance(next(readings), Detected)
    with pytest.raises(SourceError) as changed:
        next(readings)
    assert changed.value.code == SourceCode.SOURCE_CHANGED
