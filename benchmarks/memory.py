"""Peak memory of all service processes, by size of the file."""

from contextlib import nullcontext
from pathlib import Path
from tempfile import TemporaryDirectory

from benchmarks import confined
from benchmarks.options import Options, Samples
from benchmarks.receiving import running_sink
from benchmarks.running import watching
from benchmarks.service import Request, running_service
from benchmarks.tables import Row, Table


def measure(options: Options, samples: Samples) -> Table:
    """Deliver files of several sizes, each by a service started for it."""
    rows: list[Row] = []
    limit = options.kernel_limit_mb
    for kind in options.formats:
        smallest: float | None = None
        for megabytes in options.memory_mb:
            file, records = samples.sized(kind, megabytes)
            with (
                TemporaryDirectory(dir=samples.folder) as folder,
                running_sink() as sink,
                confined.group(limit) if limit else nullcontext() as group,
                running_service(Path(folder, "ackline.db"), samples.folder, group=group) as service,
                watching(service.pid) as watched,
            ):
                request = Request(file=file, url=sink.url, chunk_records=options.chunk)
                service.until_completed(service.submit(request), sink)
            smallest = smallest or watched.peak_mb()
            rows.append(
                {
                    "format": str(kind),
                    "MB": megabytes,
                    "records": records,
                    **({"kernel's limit MB": limit} if limit else {}),
                    "peak MB": watched.peak_mb(),
                    "× the smallest file's": watched.peak_mb() / smallest,
                }
            )
            file.unlink()
    return Table(
        part="memory",
        title=f"Memory by size of the file, chunks of {options.chunk:,}",
        note="Of XLSX, the size of the sheet unpacked. Proportional set size of all processes of "
        "the service together, looked up 50 times a second.",
        rows=rows,
    )
