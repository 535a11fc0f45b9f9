"""Reader processes whose decoder does what its lines say: ``python -m`` this module.

Each line of the source is a record, a JSON text, but for these orders::

    !die        end with SIGKILL
    !exit       end with status 3 and a word on standard error
    !hang       never come back
    !print      print to standard output, as a careless library might
    !hog        take more memory than any cap allows
    !spill      send a frame whose header is said to be endless
    !swell      send a frame whose body is
    !babble     send a frame whose header is no JSON
    !bad        the file is malformed here
    !touch PATH leave a mark: reading came this far
"""

import os
import signal
import sys
import time
from collections.abc import Iterator, Mapping
from pathlib import Path

from app.domain.chunk import Batch, Cursor
from app.domain.errors import DecodeCode, DecodeError, Place
from app.domain.ingestion import DecodeOptions, FileType
from app.ports import Source
from app.readers import fork_server
from app.readers.cutting import Formats, MakeDecoder
from app.readers.frames import PREFIX, ReaderSetup
from app.sources.local import LocalSources

NONSENSE = {
    "spill": PREFIX.pack(0xFFFF_FFFF, 0),
    "swell": PREFIX.pack(2, 1 << 60) + b"{}",
    "babble": PREFIX.pack(6, 0) + b"what?!",
}


class ToyDecoder:
    """A ``Decoder``."""

    def __init__(self, source: Source, options: DecodeOptions) -> None:
        self._source = source
        self._options = options

    def detect(self) -> Mapping[str, str]:
        return {} if self._options.encoding else {"encoding": "utf-8"}

    def batches(self, cursor: Cursor, /) -> Iterator[Batch]:
        with self._source.open() as stream:
            text = b"".join(iter(lambda: stream.read(65536), b""))
        records = 0
        for line in text.splitlines():
            if line.startswith(b"!"):
                _obey(line.decode()[1:])
                continue
            if records >= cursor.skip:
                yield Batch([line], Cursor(skip=records), position=records + 1)
            records += 1


def _obey(order: str) -> None:
    match order.partition(" ")[0]:
        case "touch":
            Path(order.partition(" ")[2]).touch()
        case "die":
            os.kill(os.getpid(), signal.SIGKILL)
        case "exit":
            sys.stderr.write("the last words\n")
            os._exit(3)
        case "hang":
            time.sleep(3600)
        case "print":
            print("careless")
        case "hog":
            bytearray(64 << 30)
        case "spill" | "swell" | "babble" as nonsense:
            # It knows no better way to its own output.
            for end in list(Path("/proc/self/fd").iterdir()):
                if int(end.name) > 2 and end.exists() and "pipe:" in str(end.readlink()):
                    os.write(int(end.name), NONSENSE[nonsense])
            time.sleep(3600)
        case "bad":
            raise DecodeError(DecodeCode.MALFORMED, "an order to be bad", place=Place(line=7))
        case unknown:
            raise ValueError(unknown)


def formats(roots: tuple[str, ...]) -> Formats:
    def decoder_of(_: FileType) -> MakeDecoder:
        return ToyDecoder

    return Formats(sources=LocalSources([Path(root) for root in roots]), decoder_of=decoder_of)


def _formats(setup: ReaderSetup) -> Formats:
    return formats(setup.source_roots)


if __name__ == "__main__":
    sys.exit(fork_server.serve(_formats))
