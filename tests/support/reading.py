"""Jobs for readers, and a look at their processes."""

import asyncio
from pathlib import Path

from app.domain.budget import ChunkLimits
from app.domain.chunk import ResumePoint
from app.domain.identity import IngestionId, chain_start
from app.domain.ingestion import DecodeOptions, FileType
from app.ports import ReadJob
from app.readers.process import ProcessReader
from app.sources.local import LocalSources
from tests.support.processes import children


def job_of(
    path: Path, *, number: int = 0, records: int = 1, file_type: FileType = FileType.NDJSON
) -> ReadJob:
    """Return the job of reading a file from its start, for ingestion ``number``."""
    ingestion_id = IngestionId(f"{number:064x}")
    return ReadJob(
        ingestion_id=ingestion_id,
        file_path=str(path),
        file_type=file_type,
        options=DecodeOptions(),
        fingerprint=LocalSources([path.parent]).locate(str(path)).fingerprint(),
        limits=ChunkLimits(records=records),
        resume=ResumePoint(chain=chain_start(ingestion_id)),
    )


def server_of(reader: ProcessReader) -> int:
    """Return the process id of its fork server."""
    server = reader._server._running
    assert server is not None
    return server.process.pid


async def no_child_is_left(reader: ProcessReader) -> None:
    """Wait until the fork server has no child any more, zombies included."""
    async with asyncio.timeout(30):
        while children(server_of(reader)):
            await asyncio.sleep(0.01)
