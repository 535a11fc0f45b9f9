"""DBOS on SQLite: one workflow, a step for each chunk.

Source: https://docs.dbos.dev/python. After a crash DBOS recovers the workflow by itself: it runs
it again from the start, and each step that was finished is not done again but gives its
stored result.
"""

from functools import lru_cache
from pathlib import Path

from dbos import DBOS, SetWorkflowID  # type: ignore[import-not-found,unused-ignore]

from benchmarks.peers.programs.posting import Poster
from benchmarks.peers.programs.reading import Record, asked, chunks

poster_of = lru_cache(Poster)


@DBOS.step()  # type: ignore[untyped-decorator,unused-ignore]
def send(url: str, number: int, chunk: list[Record]) -> int:
    """POST one chunk. Its key is the same on every attempt."""
    return poster_of(url).post(chunk, key=f"{DBOS.workflow_id}:{number}")


@DBOS.workflow()  # type: ignore[untyped-decorator,unused-ignore]
def deliver(file: str, url: str, chunk_records: int) -> int:
    """Deliver a file; return the number of records."""
    total = 0
    for number, chunk in enumerate(chunks(Path(file), chunk_records)):
        total += send(url, number, chunk)
    return total


def main() -> None:
    """Start the workflow, or wait for the one that was recovered."""
    file, url, chunk_records, folder = asked()
    DBOS(
        config={
            "name": "deliver",
            "system_database_url": f"sqlite:///{folder / 'dbos.sqlite'}",
            "application_version": "1",
            "run_admin_server": False,
            "log_level": "ERROR",
        }
    )
    DBOS.launch()
    with SetWorkflowID(file.name):
        DBOS.start_workflow(deliver, str(file), url, chunk_records).get_result()
    DBOS.destroy()


if __name__ == "__main__":
    main()
