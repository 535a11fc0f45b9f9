"""dlt with a custom destination.

Source: https://dlthub.com/docs/dlt-ecosystem/destinations/destination. dlt extracts and normalises
the whole file into its folder first, then loads it; after a crash it goes on with the package
that was pending.
"""

import os
from collections.abc import Iterator

import dlt  # type: ignore[import-not-found,unused-ignore]

from benchmarks.peers.programs.posting import Poster
from benchmarks.peers.programs.reading import Record, asked, records


def main() -> None:
    """Deliver."""
    os.environ["RUNTIME__DLTHUB_TELEMETRY"] = "false"
    file, url, chunk_records, folder = asked()
    poster = Poster(url)

    @dlt.destination(batch_size=chunk_records)  # type: ignore[untyped-decorator,unused-ignore]
    def receiver(items: list[Record], table: object) -> None:  # noqa: ARG001 - dlt passes both
        poster.post(items)

    @dlt.resource  # type: ignore[untyped-decorator,unused-ignore]
    def products() -> Iterator[Record]:
        yield from records(file)

    pipeline = dlt.pipeline("deliver", destination=receiver, pipelines_dir=str(folder))
    # What is pending goes first; run() then leaves the new rows out, so they are not repeated.
    pipeline.run(products())


if __name__ == "__main__":
    main()
