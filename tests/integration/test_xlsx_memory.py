"""A workbook from disk: memory does not grow with its sheet, nor with its strings."""

import json
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

from tests.support.workbooks import MAIN, SHEET, STRINGS, parts_of

MEMORY_MAX = 80 * 2**20
GROWTH_MAX = 6 * 2**20

CHILD = """
import json, re, sys
from pathlib import Path
from app.decoders.xlsx import strings
from app.decoders.xlsx.decoder import XlsxDecoder
from app.domain.chunk import Cursor
from app.domain.ingestion import DecodeOptions
from app.sources.local import LocalSources

strings.KEPT_BYTES_MAX = 2 * 2**20
path = Path(sys.argv[1])
decoder = XlsxDecoder(LocalSources([path.parent]).locate(str(path)), DecodeOptions())
records = sum(len(batch.records) for batch in decoder.batches(Cursor()))
# Not ru_maxrss: that begins with what the parent had when it forked.
peak = re.search(r"VmHWM:\\s*([0-9]+) kB", Path("/proc/self/status").read_text())
print(json.dumps([records, int(peak[1]) * 1024]))
"""


def decoded_in_a_child(path: Path) -> tuple[int, int]:
    """Return the records, and the most memory that the process had, in bytes."""
    command = [sys.executable, "-c", CHILD, str(path)]
    records, memory = json.loads(subprocess.run(command, check=True, capture_output=True).stdout)
    return records, memory


def write(path: Path, *, rows: int, shared: bool) -> None:
    """Write products; where ``shared``, every row has three strings of its own in the table."""
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED, compresslevel=1) as package:
        for name, content in parts_of(strings="").items():
            if name not in (SHEET, STRINGS):
                package.writestr(name, content)
        with package.open(SHEET, "w") as sheet:
            sheet.write(f'<worksheet xmlns="{MAIN}"><sheetData>'.encode())
            names = "".join(f'<c t="str"><v>column {at}</v></c>' for at in range(10))
            sheet.write(f"<row>{names}</row>".encode())
            for at in range(2, rows + 2):
                sheet.write(product(at, rows=rows, shared=shared).encode())
            sheet.write(b"</sheetData></worksheet>")
        with package.open(STRINGS, "w") as strings:
            strings.write(f'<sst xmlns="{MAIN}">'.encode())
            for at in range(3 * (rows + 2) * shared):
                strings.write(
                    f"<si><t>{at} {'a description of some length ' * 3}</t></si>".encode()
                )
            strings.write(b"</sst>")


def product(at: int, *, rows: int, shared: bool) -> str:
    # Strings are asked for from both ends of the table.
    texts = [3 * at, 3 * at + 1, 3 * (rows - at) + 8]
    cells = [
        f'<c r="{letter}{at}" t="s"><v>{text}</v></c>' if shared
        else f'<c r="{letter}{at}" t="inlineStr"><is><t>text {text}</t></is></c>'
        for letter, text in zip("ABC", texts, strict=True)
    ]  # fmt: skip
    cells += [f'<c r="{letter}{at}"><v>{at / 8}</v></c>' for letter in "DEFGHIJ"]
    return f'<row r="{at}" spans="1:10">{"".join(cells)}</row>'


@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="asks Linux for the peak")
@pytest.mark.parametrize("shared", [False, True], ids=["strings in cells", "shared strings"])
def test_memory_does_not_grow_with_the_workbook(shared: bool, tmp_path: Path) -> None:
    # The child keeps 2 MiB of shared strings in memory; both files have more.
    small, large = (8_000, 40_000) if shared else (10_000, 100_000)
    used = []
    for rows in (small, large):
        write(tmp_path / "products.xlsx", rows=rows, shared=shared)
        records, memory = decoded_in_a_child(tmp_path / "products.xlsx")
        assert records == rows
        used.append(memory)
    assert max(used) < MEMORY_MAX
    assert used[1] - used[0] < GROWTH_MAX
