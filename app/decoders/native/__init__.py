"""The inner loops of the text decoders, compiled, where a C compiler was there to do it.

A scanner takes records as long as they are complete, valid and of a usual form, and makes
their canonical bytes without making objects of them. It never judges: what it does not take,
the decoder in Python does, as it does everything where nothing is compiled. So both give the
same records, and the same errors from the same place (``tests/unit/decoders/test_native.py``).
"""

import ctypes
from array import array
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from enum import IntEnum
from itertools import accumulate
from mmap import MAP_ANONYMOUS, MAP_PRIVATE, mmap
from pathlib import Path
from typing import Final

from app.domain.canonical import DuplicateKeys, Numbers, Run
from app.domain.ingestion import DecodeOptions

ABI: Final = 2
"""``ACKLINE_ABI`` in text.h. A library of another build is left alone."""

_SLACK: Final = 64
_ROOM_FIRST: Final = 64 * 1024
_ROOM_KEPT: Final = 1024 * 1024
"""Bytes. What is larger was for one large record, and is not kept for the next."""

_RECORDS_MAX: Final = 64 * 1024
"""Of one scan. More than a block has."""

_CSV_GROWTH: Final = 8
"""Room for the records of a block, in blocks: names and escapes make them longer."""


class Stop(IntEnum):
    """Why a scan stopped; ``enum stop`` in text.h."""

    MORE = 0
    """The input ends inside the next record."""

    CLOSED = 1
    """The array was closed."""

    ODD = 2
    """The next record is one for Python."""

    FULL = 3
    """There was no room for the next record."""

    BARE = 4
    """The last record is complete, but what separates it from the next is not in sight."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Scanned:
    """What one scan took."""

    records: Sequence[bytes]
    end: int
    """Index in the input after the last record and, unless ``BARE``, its separator."""

    stop: Stop
    unsafe: Mapping[int, int] = field(default_factory=dict)
    lines: int = 0
    """Line feeds passed."""


class _Found(ctypes.Structure):
    _fields_ = [
        (name, ctypes.c_uint64)
        for name in (
            "records_max",
            "out_max",
            "records",
            "consumed",
            "written",
            "unsafe_total",
            "lines",
        )
    ]


class _Table(ctypes.Structure):
    _fields_ = [
        ("columns", ctypes.c_uint64),
        ("order", ctypes.c_void_p),
        ("names", ctypes.c_char_p),
        ("name_ends", ctypes.c_void_p),
        ("cells", ctypes.c_void_p),
        ("delimiter", ctypes.c_uint8),
        ("quote", ctypes.c_uint8),
    ]


def _load() -> ctypes.CDLL | None:
    path = Path(__file__).with_name("_scan.so")
    if not path.exists():
        return None
    try:
        library = ctypes.CDLL(str(path))
        if library.ackline_abi() != ABI:
            return None
    except (OSError, AttributeError):
        return None  # made for another machine
    number, pointer = ctypes.c_uint64, ctypes.c_void_p
    found = ctypes.POINTER(_Found)
    library.ackline_json.argtypes = [
        *(ctypes.c_char_p, number, number, ctypes.c_uint),
        *(pointer, pointer, pointer, pointer, found),
    ]
    library.ackline_csv.argtypes = [
        *(ctypes.c_char_p, number, number, ctypes.POINTER(_Table)),
        *(pointer, pointer, found),
    ]
    return library


_library = _load()


def is_compiled() -> bool:
    """Tell whether there is a library."""
    return _library is not None


def _room(size: int) -> ctypes.Array[ctypes.c_char]:
    """Return ``size`` bytes to write to; of many, the pages that are not written cost nothing."""
    if size <= _ROOM_KEPT:
        return ctypes.create_string_buffer(size)
    pages = mmap(-1, size, flags=MAP_PRIVATE | MAP_ANONYMOUS)
    return (ctypes.c_char * size).from_buffer(pages)


class _Buffers:
    """Where a scan writes to: used again by the next one."""

    def __init__(self, *, spare: bool) -> None:
        self._has_spare = spare
        self.found = _Found()
        self.reserve(_ROOM_FIRST)

    def reserve(self, out_bytes: int) -> None:
        """Have room for ``out_bytes`` at least."""
        if out_bytes + _SLACK <= self.found.out_max:
            return
        size = out_bytes + _SLACK
        records = min(size // 2, _RECORDS_MAX)
        self.found.out_max = size
        self.out = self.spare = _room(1)  # not the old beside the new
        self.out = _room(size)
        self.spare = _room(size if self._has_spare else 1)
        self.ends = (ctypes.c_uint32 * records)()
        self.unsafe = (ctypes.c_uint32 * (records if self._has_spare else 1))()

    def release(self) -> None:
        """Give back what only a large record needs."""
        if self.found.out_max > _ROOM_KEPT:
            self.found.out_max = 0
            self.reserve(_ROOM_FIRST)

    def records(self) -> Sequence[bytes]:
        """Return a copy of the records that the last scan found."""
        found = self.found
        if not found.records:
            return ()
        run = ctypes.string_at(self.out, found.written)
        return Run(run, array("I", ctypes.string_at(self.ends, 4 * found.records)))

    def unsafe_counts(self) -> Mapping[int, int]:
        """Return what `Batch.unsafe` says of them."""
        found = self.found
        if not found.unsafe_total:
            return {}
        counts = self.unsafe[: found.records]
        return {index: count for index, count in enumerate(counts) if count}


class JsonScanner:
    """Scan the elements of an array, or, with ``lines``, a record a line."""

    def __init__(self, library: ctypes.CDLL, options: DecodeOptions, *, lines: bool) -> None:
        self._scan = library.ackline_json
        self._flags = (
            1 * lines
            | 2 * (not options.canonical)
            | 4 * (options.numbers is not Numbers.EXACT)
            | 8 * (options.duplicate_keys is DuplicateKeys.REFUSE)
        )
        self._buffers = _Buffers(spare=True)

    def scan(self, text: bytes, start: int, end: int, *, records_max: int = 0) -> Scanned:
        """Take records from ``text[start:end]``, which begins at one; 0: all there are."""
        buffers = self._buffers
        end = min(end, len(text))
        buffers.reserve(end - start)
        buffers.found.records_max = records_max or len(buffers.ends)
        stop = self._scan(
            *(text, start, end, self._flags),
            *(buffers.out, buffers.spare, buffers.ends, buffers.unsafe),
            ctypes.byref(buffers.found),
        )
        scanned = Scanned(
            records=buffers.records(),
            end=buffers.found.consumed,
            stop=Stop(stop),
            unsafe=buffers.unsafe_counts(),
            lines=buffers.found.lines,
        )
        buffers.release()
        return scanned


class CsvScanner:
    """Scan rows of UTF-8 text."""

    def __init__(
        self,
        library: ctypes.CDLL,
        *,
        before: Sequence[bytes],
        order: Sequence[int],
        delimiter: str,
        quote: str,
    ) -> None:
        self._scan = library.ackline_csv
        self._buffers = _Buffers(spare=False)
        ends = array("I", accumulate(map(len, before)))
        columns = array("I", order)
        cells = ctypes.create_string_buffer(16 * len(order))
        self._table = _Table(
            columns=len(order),
            order=columns.buffer_info()[0],
            names=b"".join(before) + bytes(_SLACK),
            name_ends=ends.buffer_info()[0],
            cells=ctypes.addressof(cells),
            delimiter=ord(delimiter),
            quote=ord(quote or delimiter),
        )
        self._alive = (ends, columns, cells)  # what the table only points to

    def scan(self, text: bytes, start: int, end: int, *, records_max: int = 0) -> Scanned:
        """Take rows from ``text[start:end]``, which begins at one; 0: all there are."""
        buffers = self._buffers
        buffers.reserve(_CSV_GROWTH * (end - start))
        buffers.found.records_max = records_max or len(buffers.ends)
        stop = self._scan(
            *(text, start, min(end, len(text)), ctypes.byref(self._table)),
            *(buffers.out, buffers.ends, ctypes.byref(buffers.found)),
        )
        found = buffers.found
        return Scanned(
            records=buffers.records(), end=found.consumed, stop=Stop(stop), lines=found.lines
        )


def json_scanner(options: DecodeOptions, *, lines: bool = False) -> JsonScanner | None:
    """Return a scanner for JSON text, if there is a library."""
    return JsonScanner(_library, options, lines=lines) if _library is not None else None


def csv_scanner(
    *, before: Sequence[bytes], order: Sequence[int], delimiter: str, quote: str
) -> CsvScanner | None:
    """Return a scanner for rows, if there is a library and it knows such a dialect.

    ``before``: what stands before each cell of a record; ``order``: the cell that stands there.
    """
    if _library is None or not (delimiter + quote).isascii():
        return None
    return CsvScanner(_library, before=before, order=order, delimiter=delimiter, quote=quote)
