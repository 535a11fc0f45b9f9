"""CSV made to fill memory: a few times a record, whatever is in it."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

from app.domain.budget import RECORD_BYTES_MAX

GROWTH_MAX = 4 * RECORD_BYTES_MAX
MANY = 5_000_000

CHILD = """
import json, re, sys
from dataclasses import replace
from pathlib import Path
from app.decoders.csv.rows import CsvDecoder
from app.domain.chunk import Cursor
from app.domain.errors import DecodeError
from app.domain.ingestion import DecodeOptions
from app.sources.local import LocalSources

def peak():
    # Not ru_maxrss: that begins with what the parent had when it forked.
    status = Path("/proc/self/status").read_text()
    return int(re.search(r"VmHWM:\\s*([0-9]+) kB", status)[1]) * 1024

def read(path):
    source = LocalSources([path.parent]).locate(str(path))
    options = DecodeOptions()
    try:
        options = replace(options, **CsvDecoder(source, options).detect())
        for batch in CsvDecoder(source, options).batches(Cursor()):
            pass
    except DecodeError as error:
        return error.code
    return "read"

hostile, plain = Path(sys.argv[1]), Path(sys.argv[2])
read(plain)
before = peak()
print(json.dumps([read(hostile), peak() - before]))
"""


@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="asks Linux for the peak")
@pytest.mark.parametrize(
    ("parts", "ending"),
    [
        ([(b"c,", 3 * MANY // 2), (b"\n", 1)], "RECORD_TOO_LARGE"),
        ([(b'a,b\n1,2\n"', 1), (b"x,\n", 7 * 2**20)], "RECORD_TOO_LARGE"),
        ([(b'a,b\n1,"', 1), (b"x", 15 * 2**20), (b'"\n', 1)], "read"),
        ([(b"a,b\n1,", 1), (b"x", 15 * 2**20), (b"\n", 1)], "read"),
        ([(b"a,b\n1,", 1), ("😀".encode(), 15 * 2**18), (b"\n", 1)], "read"),
        ([(b"a,b\n1,", 1), (b"\xff", 7 * 2**20), (b"\n", 1)], "read"),
        ([(b"a,b\n1,", 1), (b"\x81", 15 * 2**20), (b"\n", 1)], "ENCODING_INVALID"),
        ([(b"a,b\n", 1), (b",", 2 * MANY), (b"\n", 1)], "RAGGED_ROW"),
        ([(b"a,b\n", 1), (b'"",', MANY), (b"\n", 1)], "RAGGED_ROW"),
        ([(b"a,b\n1,", 1), (b"\x01", 3 * MANY), (b"\n", 1)], "RECORD_TOO_LARGE"),
    ],
    ids=[
        "columns",
        "a quote never closed",
        "a quoted cell",
        "a plain cell",
        "a cell of wide characters",
        "a cell of bytes that are no UTF-8",
        "a cell of bytes that are no text",
        "commas",
        "quoted cells",
        "control characters",
    ],
)
def test_a_hostile_file_takes_no_more_than_a_few_times_a_record(
    parts: list[tuple[bytes, int]], ending: str, tmp_path: Path
) -> None:
    hostile, plain = tmp_path / "hostile.csv", tmp_path / "plain.csv"
    plain.write_bytes(b"a,b\n" + b"1,2\n" * 1_000)
    with hostile.open("wb") as file:
        for part, times in parts:
            file.write(part * times)
    command = [sys.executable, "-c", CHILD, str(hostile), str(plain)]

    done = subprocess.run(command, check=True, capture_output=True)
    ended, growth = json.loads(done.stdout)

    assert ended == ending
    assert growth < GROWTH_MAX
