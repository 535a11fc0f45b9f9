"""A service that does nothing but read: ``python -m`` this module with files, to be killed.

It asks for the first chunk of each file, and prints a line when it has it.
"""

import asyncio
import sys
from pathlib import Path

from app.domain.chunk import Chunk
from app.readers.frames import ReaderSetup
from app.readers.process import ProcessReader
from tests.support.reading import job_of


async def read(reader: ProcessReader, path: Path) -> None:
    async for reading in reader.read(job_of(path)):
        if isinstance(reading, Chunk):
            print(path.name, flush=True)
            await asyncio.Event().wait()


async def serve(paths: list[Path]) -> None:
    setup = ReaderSetup(source_roots=(str(paths[0].parent),), memory_bytes_max=0)
    module = "tests.support.toy_reader_process"
    async with (
        ProcessReader(module=module, setup=setup, stall_s=3600) as reader,
        asyncio.TaskGroup() as tasks,
    ):
        for path in paths:
            tasks.create_task(read(reader, path))


if __name__ == "__main__":
    asyncio.run(serve([Path(path) for path in sys.argv[1:]]))
