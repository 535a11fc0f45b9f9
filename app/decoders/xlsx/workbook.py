"""What a workbook says about itself: its sheets, its date system, its number formats."""

import posixpath
from collections.abc import Mapping
from dataclasses import dataclass

from app.decoders.xlsx.formats import BUILTIN, Kind, kind_of
from app.decoders.xlsx.package import Package
from app.decoders.xlsx.xml import tags
from app.domain.errors import DecodeCode, DecodeError

ENTRIES_MAX = 10_000
"""Sheets, relations, and number formats of its own that a workbook may have."""

_TRUE = frozenset({"1", "true", "on"})


@dataclass(frozen=True, slots=True, kw_only=True)
class Sheet:
    """A worksheet; chart and macro sheets are none."""

    name: str
    part: str
    visible: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class Workbook:
    """What must be known before a cell can be read."""

    sheets: tuple[Sheet, ...]
    """In the order of the tabs, hidden ones included."""

    since_1904: bool
    """Which of the two date systems its dates count in."""

    kinds: tuple[Kind, ...] | None
    """What each cell style makes of a number. ``None``: there are no styles."""

    strings: str | None
    """The part with the shared strings, if there is one."""

    def sheet(self, wanted: str | int | None) -> Sheet:
        """Return a worksheet by name or 0-based index; ``None``: the first visible one.

        Raises
        ------
        DecodeError
            ``SHEET_NOT_FOUND``
        """
        if wanted is None:
            return next((sheet for sheet in self.sheets if sheet.visible), self.sheets[0])
        if isinstance(wanted, int):
            if 0 <= wanted < len(self.sheets):
                return self.sheets[wanted]
        else:
            for sheet in self.sheets:
                if sheet.name == wanted:
                    return sheet
        names = ", ".join(repr(sheet.name) for sheet in self.sheets[:50])
        raise DecodeError(
            DecodeCode.SHEET_NOT_FOUND,
            f"the workbook has no worksheet {wanted!r}; it has {names}",
            remedy="Name one of these in options.sheet, or give its 0-based index.",
        )


@dataclass(frozen=True, slots=True)
class _Relation:
    kind: str
    """Last word of its type: ``worksheet``, ``chartsheet``, ``styles`` …"""

    target: str | None
    """A part of this container; ``None``: something outside it."""


def read_workbook(package: Package) -> Workbook:
    """Read the small parts of a container.

    Raises
    ------
    DecodeError
        It holds no workbook, or a damaged one.
    """
    main = _only(_relations(package, ""), "officeDocument") or "xl/workbook.xml"
    if main.endswith(".bin"):
        raise DecodeError(
            DecodeCode.MALFORMED,
            "this is a binary workbook (.xlsb)",
            remedy="Save it as .xlsx.",
        )
    if main not in package:
        raise DecodeError(
            DecodeCode.MALFORMED,
            "the ZIP container holds no workbook",
            remedy="Save it as .xlsx; .ods and other types are not read.",
        )
    relations = _relations(package, main)
    styles = _only(relations, "styles")
    strings = _only(relations, "sharedStrings")
    sheets: list[Sheet] = []
    since_1904 = False
    with package.part(main) as part:
        for parent, name, attributes in tags(part):
            # Extensions have elements of the same names, elsewhere.
            if (parent, name) == ("workbook", "workbookPr"):
                since_1904 = attributes.get("date1904", "") in _TRUE
            elif name == "sheet" and parent == "sheets":
                sheets += _worksheet(attributes, relations)
                _check_count(len(sheets))
    if not sheets:
        raise DecodeError(DecodeCode.SHEET_NOT_FOUND, "the workbook has no worksheet")
    return Workbook(
        sheets=tuple(sheets),
        since_1904=since_1904,
        kinds=_kinds(package, styles) if styles is not None and styles in package else None,
        strings=strings if strings is not None and strings in package else None,
    )


def _worksheet(attributes: Mapping[str, str], relations: Mapping[str, _Relation]) -> list[Sheet]:
    """Return the sheet as a list, empty when it is no worksheet."""
    name = attributes.get("name", "")
    id_ = next((value for key, value in attributes.items() if key.endswith(" id")), "")
    relation = relations.get(id_)
    if relation is None or (relation.kind == "worksheet" and relation.target is None):
        raise DecodeError(
            DecodeCode.MALFORMED, f"the sheet {name[:100]!r} is not inside the workbook"
        )
    if relation.kind != "worksheet" or relation.target is None:
        return []
    visible = attributes.get("state", "visible") == "visible"
    return [Sheet(name=name, part=relation.target, visible=visible)]


def _only(relations: Mapping[str, _Relation], kind: str) -> str | None:
    return next((r.target for r in relations.values() if r.kind == kind), None)


def _relations(package: Package, source: str) -> dict[str, _Relation]:
    """Read what a part refers to, by id. Source: ECMA-376-2 §6.5; ``""`` is the container."""
    folder, name = posixpath.split(source)
    part_name = posixpath.join(folder, "_rels", f"{name}.rels")
    if part_name not in package:
        return {}
    relations: dict[str, _Relation] = {}
    with package.part(part_name) as part:
        for _, tag, attributes in tags(part):
            if tag == "Relationship":
                inside = attributes.get("TargetMode", "Internal") != "External"
                target = _resolved(folder, attributes.get("Target", "")) if inside else None
                kind = attributes.get("Type", "").rpartition("/")[2]
                relations[attributes.get("Id", "")] = _Relation(kind, target)
                _check_count(len(relations))
    return relations


def _resolved(folder: str, target: str) -> str | None:
    """Return the part that ``target`` names; ``None`` when that is outside the container.

    Parts are looked up in the container's own list, never in a file system.
    """
    path = posixpath.normpath(posixpath.join("/", folder, target.replace("\\", "/")))
    return path.lstrip("/") or None


def _kinds(package: Package, styles: str) -> tuple[Kind, ...]:
    codes: dict[int, str] = {}
    formats: list[int] = []
    with package.part(styles) as part:
        for parent, name, attributes in tags(part):
            if (parent, name) not in {("numFmts", "numFmt"), ("cellXfs", "xf")}:
                continue
            try:
                number = int(attributes.get("numFmtId", "0"))
            except ValueError:
                number = 0
            if name == "numFmt":
                codes[number] = attributes.get("formatCode", "")
                _check_count(len(codes))
            else:
                formats.append(number)
    by_number = {**BUILTIN, **{number: kind_of(code) for number, code in codes.items()}}
    return tuple(by_number.get(number, Kind.NUMBER) for number in formats)


def _check_count(count: int) -> None:
    if count > ENTRIES_MAX:
        raise DecodeError(
            DecodeCode.DECOMPRESSION_LIMIT,
            f"the workbook has more than {ENTRIES_MAX} sheets, relations or number formats",
        )
