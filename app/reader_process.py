"""Entry of a reader process: ``python -m app.reader_process``.

The one place that knows which decoder reads which type: a new format is a file in
``decoders/`` and a line here. A decoder's libraries are loaded only by a reader that
needs them, so that a CSV file does not pay for a spreadsheet.
"""

import sys
from functools import partial
from pathlib import Path
from typing import assert_never

from app.domain.ingestion import FileType
from app.ports import Sources
from app.readers import child
from app.readers.cutting import Formats, MakeDecoder
from app.sources.local import LocalSources

# ruff: noqa: PLC0415 - a reader loads only what its format needs


def decoder_of(file_type: FileType) -> MakeDecoder:
    """Return what decodes files of this type."""
    match file_type:
        case FileType.JSON:
            from app.decoders.json_array import JsonDecoder

            return JsonDecoder
        case FileType.NDJSON:
            from app.decoders.ndjson import NdjsonDecoder

            return NdjsonDecoder
        case FileType.CSV | FileType.TSV:
            from app.decoders.csv_rows import CsvDecoder

            return partial(CsvDecoder, tab=file_type is FileType.TSV)
        case FileType.EXCEL:
            from app.decoders.xlsx import XlsxDecoder

            return XlsxDecoder
        case _:
            assert_never(file_type)


def local_formats(roots: tuple[str, ...]) -> Formats:
    """Return what can be read from this machine's disk below ``roots``."""
    sources: Sources = LocalSources([Path(root) for root in roots])
    return Formats(sources=sources, decoder_of=decoder_of)


if __name__ == "__main__":
    sys.exit(child.serve(lambda setup: local_formats(setup.source_roots)))
