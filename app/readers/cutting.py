"""Source → decoder → chunker, joined end to end. Pull-driven, blocking."""

from collections.abc import Callable, Generator
from dataclasses import dataclass, replace
from typing import TypeAlias

from app.domain.chunking import Chunker
from app.domain.errors import DecodeError, Place, SourceCode, SourceError
from app.domain.ingestion import DecodeOptions, FileType, Fingerprint
from app.ports import Decoder, Detected, Reading, ReadJob, Source, SourceEnd, Sources

MakeDecoder: TypeAlias = Callable[[Source, DecodeOptions], Decoder]


@dataclass(frozen=True, slots=True)
class Formats:
    """What a reader can open and decode."""

    sources: Sources
    decoder_of: Callable[[FileType], MakeDecoder]


def _nothing() -> None: ...


def cut(
    job: ReadJob, formats: Formats, *, at_work: Callable[[], None] = _nothing
) -> Generator[Reading, None, None]:
    """Yield what a ``Reader`` yields. Reads only as far as the chunk asked for.

    ``at_work`` is called after each batch: work is done, though no chunk may be full yet.

    Raises
    ------
    SourceError
        Also when the source is not the one the ingestion was made from, before the first
        chunk, or changed while it was read, before the end.
    DecodeError
        After the good records before it were yielded as chunks.
    """
    source = formats.sources.locate(job.file_path)
    _same(job.fingerprint, source.fingerprint())
    decoder = formats.decoder_of(job.file_type)(source, job.options)
    yield Detected(detection=decoder.detect())

    chunker = Chunker(job.ingestion_id, resume=job.resume, limits=job.limits)
    try:
        opened = False
        for batch in decoder.batches(job.resume.cursor):
            if not opened:
                # What was put there since the first look would be open now.
                _same(job.fingerprint, source.fingerprint())
                opened = True
            yield from chunker.feed(batch)
            at_work()
    except DecodeError as error:
        # What changed under us shows itself as malformed; say what it is.
        _same(job.fingerprint, source.fingerprint(), while_open=True)
        # Invariant 5: the good records before the bad place are delivered.
        yield from chunker.flush()
        error.place = replace(error.place or Place(), record=chunker.records_taken)
        raise
    _same(job.fingerprint, source.fingerprint(), while_open=True)
    yield from chunker.flush()
    yield SourceEnd(records_read=chunker.records_taken)


def _same(expected: Fingerprint, found: Fingerprint, *, while_open: bool = False) -> None:
    # A new name or mode does not change what is read from a file that was open before.
    if difference := expected.difference(found, in_attributes=not while_open):
        raise SourceError(
            SourceCode.SOURCE_CHANGED,
            f"the source is not the one that was submitted: {difference}",
            remedy="Ingest it as a new version with re_ingestion: true.",
        )
