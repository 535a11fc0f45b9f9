"""Entry of the reader processes' fork server: ``python -m app.reader_process``.

The one place that knows which decoder reads which type: a new format is a file in
``decoders/`` and a line here. The fork server loads every decoder once, and readers share
that memory; who imports this module, such as a tool, loads what it needs.
"""

import sys
from functools import partial
from pathlib import Path
from typing import assert_never

from app.domain.ingestion import FileType
from app.ports import Sources
from app.readers import fork_server
from app.readers.cutting import Formats, MakeDecoder
from app.sources.local import LocalSources

# ruff: noqa: PLC0415 - see above: loaded on demand


def decoder_of(file_type: FileType) -> MakeDecoder:
    """Return what decodes files of this type."""
    match file_type:
        case FileType.JSON:
            from app.decoders.json.array import JsonDecoder

            return JsonDecoder
        case FileType.NDJSON:
            from app.decoders.json.ndjson import NdjsonDecoder

            return NdjsonDecoder
        case FileType.CSV | FileType.TSV:
            from app.decoders.csv.rows import CsvDecoder

            return partial(CsvDecoder, tab=file_type is FileType.TSV)
        case FileType.EXCEL:
            from app.decoders.xlsx.decoder import XlsxDecoder

            return XlsxDecoder
        case _:
            assert_never(file_type)


def local_formats(roots: tuple[str, ...]) -> Formats:
    """Return what can be read from this machine's disk below ``roots``."""
    sources: Sources = LocalSources([Path(root) for root in roots])
    return Formats(sources=sources, decoder_of=decoder_of)


if __name__ == "__main__":
    for known in FileType:
        decoder_of(known)
    sys.exit(fork_server.serve(lambda setup: local_formats(setup.source_roots)))
