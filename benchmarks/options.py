"""What the caller chooses, and the sample files made for it."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

from app.samples.formats import SampleFormat, write

BYTES_PER_RECORD = {
    SampleFormat.JSON: 490,
    SampleFormat.NDJSON: 489,
    SampleFormat.CSV: 199,
    SampleFormat.XLSX: 574,  # of its sheet, unpacked: the file is a seventh of that
}
"""About; to get from a size to a number of records."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Options:
    """How much of what is measured, and where."""

    scratch: Path
    laps: int
    mb: float
    """Size of each sample; for XLSX, of its sheet unpacked."""

    chunk: int
    formats: tuple[SampleFormat, ...]
    chunk_sizes: tuple[int, ...]
    delays_ms: tuple[float, ...]
    memory_mb: tuple[float, ...]
    kernel_limit_mb: int | None
    """What the kernel lets all processes of the service take together, page cache included."""

    resume_mb: float
    places: tuple[int, ...]
    """Percent of the file."""

    ingestions: tuple[int, ...]
    window_s: float
    memory_limit_mb: int
    verbatim: bool
    naive_by_line: bool


class Samples:
    """Files of products in a scratch folder: written as a stream, each made once."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def file(self, kind: SampleFormat, records: int) -> Path:
        """Return a file of this many products."""
        path = self.folder / f"{records}.{kind}"
        if not path.exists():
            with path.open("wb") as target:
                write(target, kind, records=records, progress=lambda _: None)
        return path

    def sized(self, kind: SampleFormat, megabytes: float) -> tuple[Path, int]:
        """Return a file of about this size, and how many products are in it."""
        records = max(1, int(megabytes * 1e6 / BYTES_PER_RECORD[kind]))
        return self.file(kind, records), records


@contextmanager
def samples(options: Options) -> Iterator[Samples]:
    """Give a scratch folder that is removed at the end."""
    options.scratch.mkdir(parents=True, exist_ok=True)
    with TemporaryDirectory(prefix="ackline-bench-", dir=options.scratch) as folder:
        yield Samples(Path(folder))
