"""Read in this process: for tests, and for tools that trust their file."""

from collections.abc import AsyncGenerator
from contextlib import closing

from app.domain.errors import DecodeError, ReadFailed, SourceError
from app.ports import Reading, ReadJob
from app.readers.cutting import Formats, cut


class InProcessReader:
    """A ``Reader`` without a child. Decoding blocks the event loop."""

    def __init__(self, formats: Formats) -> None:
        self._formats = formats

    async def read(self, job: ReadJob, /) -> AsyncGenerator[Reading, None]:
        """Yield what `cut` yields."""
        with closing(cut(job, self._formats)) as readings:
            try:
                for reading in readings:
                    yield reading
            except (SourceError, DecodeError) as error:
                raise ReadFailed(error.failure()) from error

    def spare(self) -> bool:
        return True
