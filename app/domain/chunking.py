"""Cut records into chunks. No I/O: batches in, chunks out."""

from collections import deque
from collections.abc import Iterator, Sequence
from dataclasses import replace
from hashlib import sha256

from app.domain.budget import ChunkLimits
from app.domain.canonical import joined
from app.domain.chunk import Batch, Chunk, ChunkRef, ResumePoint
from app.domain.errors import (
    DecodeCode,
    Place,
    RecordError,
    SourceCode,
    SourceError,
)
from app.domain.identity import Checksum, IngestionId, chain_next


class Chunker:
    """Group records into chunks of at most the limits' records and bytes.

    Chunks that were cut before (``resume.planned``) ignore the limits: each is cut where
    it was cut then, so that the receiver never sees two contents under one number.
    """

    def __init__(
        self, ingestion_id: IngestionId, *, resume: ResumePoint, limits: ChunkLimits
    ) -> None:
        self._ingestion_id = ingestion_id
        self._records_max = limits.records
        self._bytes_max = limits.memory
        self._planned = deque(resume.planned)
        self._number = resume.number
        self._record_start = resume.record_start
        self._start = resume.cursor
        self._chain = resume.chain
        self._runs: list[bytes] = []  # of records joined by commas, and what stands between
        self._held = 0
        self._bytes = 2  # "[" and "]"
        self._unsafe = 0
        self._end = resume.cursor
        self._position = 0

    @property
    def records_taken(self) -> int:
        """Records of the ingestion fed so far, those before the resume point included."""
        return self._record_start + self._held

    def feed(self, batch: Batch) -> Iterator[Chunk]:
        """Take a batch; yield each chunk that it completed.

        Raises
        ------
        RecordError
            A record alone is above a limit.
        SourceError
            A chunk that was cut before came out with other bytes.
        """
        start, records, total = batch.start, batch.records, len(batch.records)
        taken = 0
        while taken < total:
            fit, full = self._fit(records, taken)
            if fit:
                run = joined(records, taken, taken + fit)
                self._bytes += len(run) + (self._held > 0)
                self._runs += (b"," if self._held else b"[", run)
                self._held += fit
                if batch.unsafe:
                    unsafe = batch.unsafe
                    self._unsafe += sum(unsafe.get(i, 0) for i in range(taken, taken + fit))
                taken += fit
                self._end = replace(start, skip=start.skip + taken)
                self._position = max(self._position, _position(batch, taken))
            if full:
                yield self._seal()

    def flush(self) -> Iterator[Chunk]:
        """Yield the last, partly filled chunk, if there is one.

        Raises
        ------
        SourceError
            The records ended before a chunk that was cut before did.
        """
        if self._planned:
            raise self._changed(f"it ends at record {self.records_taken}")
        if self._held:
            yield self._seal()

    def _fit(self, records: Sequence[bytes], taken: int) -> tuple[int, bool]:
        """Say how many records from ``taken`` on go into this chunk, and if that fills it."""
        left = len(records) - taken
        if self._planned:
            # Invariant 2: what was cut before is cut there again, whatever the limits now say.
            need = self._planned[0].record_end - self.records_taken
            return min(need, left), need <= left
        room = self._records_max - self._held if self._records_max else left + 1
        fit = min(left, room)
        if not self._bytes_max:
            return fit, fit == room
        held, size = self._held, self._bytes
        if size + len(joined(records, 0, len(records))) < self._bytes_max:
            return fit, fit == room  # nearly always: batches are small, chunks are large
        for i in range(taken, taken + fit):
            size += len(records[i]) + (held > 0)  # one comma before all but the first
            if size > self._bytes_max:
                if not held:
                    raise self._too_large(len(records[i]))
                return i - taken, True
            held += 1
        return fit, fit == room

    def _too_large(self, size: int) -> RecordError:
        return RecordError(
            DecodeCode.RECORD_TOO_LARGE,
            f"record {self.records_taken} is {size} bytes; with its brackets it does not fit "
            f"into a chunk of {self._bytes_max} bytes",
            place=Place(record=self.records_taken),
            remedy="Raise chunk_size_by_memory.",
        )

    def _seal(self) -> Chunk:
        records = b"".join((*self._runs, b"]"))
        checksum = Checksum(sha256(records).hexdigest())
        planned = self._planned.popleft() if self._planned else None
        if planned is not None and planned.checksum != checksum:
            raise self._changed(f"chunk {self._number} had checksum {planned.checksum}")
        self._chain = chain_next(self._chain, checksum)
        ref = ChunkRef(
            ingestion_id=self._ingestion_id,
            number=self._number,
            record_start=self._record_start,
            record_end=self.records_taken,
            start=self._start,
            end=self._end,
            position=self._position,
            checksum=checksum,
            chain=self._chain,
            records_bytes=len(records),
            unsafe_numbers=self._unsafe,
            revision=planned.revision if planned else 0,
        )
        self._number += 1
        self._record_start = ref.record_end
        self._start = self._end
        self._runs, self._held, self._bytes, self._unsafe = [], 0, 2, 0
        return Chunk(ref, records)

    def _changed(self, what: str) -> SourceError:
        return SourceError(
            SourceCode.SOURCE_CHANGED,
            f"the source no longer gives the bytes that were sent: {what}",
            remedy="Ingest it as a new version with re_ingestion: true.",
        )


def _position(batch: Batch, taken: int) -> int:
    """Estimate how far the source is consumed after ``taken`` records of the batch.

    As far as the batch says only with its last one: a small file is one batch.
    """
    start = batch.start
    share = (start.skip + taken) / (start.skip + len(batch.records))
    return start.offset + round((batch.position - start.offset) * share)
