"""Deep nesting does not corrupt the process that decodes it.

The encoder under `canonical` writes closing brackets past the end of its buffer when too many
follow each other. Only a process whose allocator checks every block shows that reliably.
"""

import os
import subprocess
import sys

DECODE_DEEP_RECORDS = """
from random import Random
from app.domain.ingestion import DecodeOptions
from app.decoders.json.array import JsonDecoder
from app.decoders.json.ndjson import NdjsonDecoder
from tests.support.decoding import decode
from tests.support.sources import BytesSource

random = Random(1)
for _ in range(120):
    depth = random.choice([16, 17, 150, 198, 198, 198])
    opening, closing = random.choice([("[", "]"), ("[", "]"), ('["]",', ',"["]'), ('{"k":', "}")])
    number = "9" * random.randrange(10, 90)
    deep = opening * depth + number + closing * depth
    pad = '"' + "x" * random.randrange(5000) + '"'
    record = "[" + ",".join([pad, *[deep] * random.randrange(1, 60)]) + "]"
    records = [*["[1]"] * 200, record, deep, *["[1]"] * random.randrange(100)]
    for decoder in (
        JsonDecoder(BytesSource(f"[{','.join(records)}]".encode()), DecodeOptions()),
        NdjsonDecoder(BytesSource("\\n".join(records).encode()), DecodeOptions()),
    ):
        decoded = decode(decoder)
        assert decoded.error is None, decoded.error
        assert len(decoded.records) == len(records)
        assert decoded.records[200] == record.encode()
print("intact")
"""


def test_deep_records_are_encoded_without_a_byte_past_a_buffer() -> None:
    child = subprocess.run(
        [sys.executable, "-c", DECODE_DEEP_RECORDS],
        env={**os.environ, "PYTHONMALLOC": "debug"},
        capture_output=True,
        text=True,
        timeout=100,
        check=False,
    )
    assert (child.returncode, child.stdout) == (0, "intact\n"), child.stderr[-2000:]
