"""XML of a workbook, read as a stream by expat, with nothing a document can command.

A DOCTYPE is refused when it starts, so there are no entities beyond XML's own five, and
no network or file access; nesting and the size of one token are bounded.

Rows and shared strings are most of a workbook and nearly always have the same plain shape.
`whole_elements` lets its caller read those with a regular expression and keeps them from
expat, which sees only the rest: the document minus some whole elements is well-formed
exactly when the document is.
"""

import codecs
import itertools
import re
from collections.abc import Generator, Iterator
from functools import lru_cache
from typing import Protocol
from xml.parsers import expat

from app.domain.errors import DecodeCode, DecodeError

MAIN_NAMESPACES = (
    "http://schemas.openxmlformats.org/spreadsheetml/2006/main",
    "http://purl.oclc.org/ooxml/spreadsheetml/main",
)
"""Of the transitional and of the strict form. Source: ECMA-376-1 annex A, and -4."""

DEPTH_MAX = 200
"""Nested elements. A sheet needs about ten."""

TOKEN_BYTES_MAX = 1024 * 1024
"""A tag or a comment, which expat holds until it ends, and reads again with every block."""

_HELD_CHARACTERS_MAX = 1024 * 1024
"""Text without the end of a row, of a string or of the head; beyond it expat takes over."""

_CONTROLS = bytes(byte for byte in range(0x20) if byte not in b"\t\n\r")
_CONTROL = re.compile("[\x00-\x08\x0b\x0c\x0e-\x1f]")
_DECLARATION = re.compile(rb"^\s*<\?xml[^>]*?encoding\s*=\s*[\"']([A-Za-z0-9._-]+)[\"']")
_REFERENCE = re.compile("&(?:amp|lt|gt|quot|apos|#[0-9]{1,7}|#x[0-9A-Fa-f]{1,6});")
_ESCAPE = re.compile("_x([0-9A-Fa-f]{4})_")
_NAMED = {"&amp;": "&", "&lt;": "<", "&gt;": ">", "&quot;": '"', "&apos;": "'"}


class Blocks(Protocol):
    """Bytes in blocks."""

    @property
    def name(self) -> str:
        """What they are, for messages."""
        ...

    def read(self) -> bytes:
        """Return the next block; ``b""`` at the end."""
        ...


class Markup:
    """Takes an XML document in pieces; what it means is up to a subclass.

    ``start`` and ``end`` get the name without its namespace, or ``""`` for an element that
    is not SpreadsheetML.
    """

    def __init__(self, part: str) -> None:
        self.prefix = ""
        """Of the elements that `whole_elements` looks for, with its colon."""
        self.latest = ""
        """The element that started last."""
        self._part = part
        self._fed = 0
        self._depth = 0
        self._locals: dict[str, str] = {}
        self._parser = parser = expat.ParserCreate("utf-8", namespace_separator=" ")
        parser.buffer_text = True
        parser.StartElementHandler = self._started
        parser.EndElementHandler = self._ended
        parser.CharacterDataHandler = self.text
        parser.StartDoctypeDeclHandler = self._doctype

    def feed(self, text: str) -> None:
        """Take the next piece of the document.

        Raises
        ------
        DecodeError
            ``MALFORMED``: it is not well-formed, or has a DOCTYPE.
        """
        piece = text.encode()
        before = self._fed
        self._fed += len(piece)
        self._parse(piece, final=False)
        if before - self._parser.CurrentByteIndex > TOKEN_BYTES_MAX:
            raise self.malformed("a tag or comment in it does not end")

    def close(self) -> None:
        """Take the end of the document. Raises `DecodeError`."""
        self._parse(b"", final=True)

    def start(self, name: str, attributes: dict[str, str]) -> None:
        """Take the start of an element."""

    def end(self, name: str) -> None:
        """Take the end of an element."""

    def text(self, text: str) -> None:
        """Take text inside an element."""

    def malformed(self, why: str) -> DecodeError:
        """Return the error for a part that is not what it should be."""
        return DecodeError(
            DecodeCode.MALFORMED,
            f"{self._part}: {why}",
            remedy="Open the workbook in a spreadsheet program and save it again.",
        )

    def _parse(self, piece: bytes, *, final: bool) -> None:
        try:
            self._parser.Parse(piece, final)
        except expat.ExpatError as error:
            why = expat.ErrorString(error.code)
            raise self.malformed(f"the XML is not well-formed: {why}") from error

    @property
    def depth(self) -> int:
        """How many elements are open; in `start` and `end` with the one they are about."""
        return self._depth

    def _started(self, name: str, attributes: dict[str, str]) -> None:
        self._depth += 1
        if self._depth > DEPTH_MAX:
            raise self.malformed(f"elements are nested more than {DEPTH_MAX} levels deep")
        self.latest = self._local(name)
        self.start(self.latest, attributes)

    def _ended(self, name: str) -> None:
        self.end(self._local(name))
        self._depth -= 1

    def _local(self, name: str) -> str:
        local = self._locals.get(name)
        if local is None:
            namespace, _, local = name.rpartition(" ")
            local = local if namespace in MAIN_NAMESPACES else ""
            if len(self._locals) < 1000:
                self._locals[name] = local
        return local

    def _doctype(self, *_: object) -> None:
        raise self.malformed("a DOCTYPE is not allowed")


def whole_elements(part: Blocks, markup: Markup, *, parent: str, child: str) -> Iterator[str]:
    """Feed a part to ``markup``, except for blocks that hold only whole children of ``parent``.

    Yields those blocks instead: each ends with the end tag of a ``child``, contains no
    comment, CDATA, processing instruction or name space, every reference in it is one that
    `unescaped` knows, and lines end as XML wants it. It may still contain anything else, also
    the end of ``parent``. What the caller cannot read it feeds to ``markup`` itself.

    Yields ``""`` whenever ``markup`` was fed, so that the caller can take what came of it
    in order.

    Raises
    ------
    DecodeError
        The part is damaged, or its XML is not well-formed.
    """
    texts = _texts(part, markup)
    held, prefix = yield from _opened(texts, markup, parent)
    if prefix is None:
        yield from _rest(held, texts, markup)
        return
    close, depth = f"</{prefix}{child}>", markup.depth
    for text in itertools.chain([""], texts):
        held += text
        cut = held.rfind(close) + len(close)
        if cut < len(close):
            if len(held) > _HELD_CHARACTERS_MAX:
                break
            continue
        block = held[:cut]
        if "<!" in block or "<?" in block:
            break  # the cut may be inside a comment
        held = held[cut:]
        # Inside an element that was opened in between they are no children of ``parent``.
        plain = _plain(block) if markup.depth == depth else None
        if plain is None:
            markup.feed(block)
            yield ""
        else:
            yield plain
    yield from _rest(held, texts, markup)


def _opened(
    texts: Iterator[str], markup: Markup, parent: str
) -> Generator[str, None, tuple[str, str | None]]:
    """Feed everything up to the start tag of ``parent``; return what follows, and its prefix.

    The prefix is ``None`` where only expat can tell what is what.
    """
    tag = re.compile(rf"<((?:[A-Za-z_][\w.-]*:)?){parent}(?:\s[^<>]*)?(?<!/)>")
    held = ""
    for text in texts:
        held += text
        # Nothing is looked for inside the declaration, or before its end is there.
        start = held.find("?>") if held.startswith("<?") else 0
        found = tag.search(held, start) if start >= 0 else None
        head = held[max(start, 0) : found.end() if found else None]
        if "<!" in head or head.count("<?") > (start < 0) or len(held) > _HELD_CHARACTERS_MAX:
            return held, None
        if found:
            markup.feed(held[: found.end()])
            yield ""
            # In another name space it is another element.
            markup.prefix = found[1]
            return held[found.end() :], found[1] if markup.latest == parent else None
    return held, None


def _rest(held: str, texts: Iterator[str], markup: Markup) -> Iterator[str]:
    markup.feed(held)
    yield ""
    for text in texts:
        markup.feed(text)
        yield ""
    markup.close()
    yield ""


def _plain(block: str) -> str | None:
    """Return ``block`` if a regular expression can read it, with its line ends normalised."""
    if "xmlns" in block:
        return None
    if "&" in block and len(_REFERENCE.findall(block)) != block.count("&"):
        return None
    if "\r" in block:
        return block.replace("\r\n", "\n").replace("\r", "\n")
    return block


def unescaped(text: str) -> str | None:
    """Return what ``text`` stands for; ``None`` when it names what is no XML character."""
    try:
        return _REFERENCE.sub(_referred, text)
    except ValueError:
        return None


def unescape_text(text: str) -> str:
    """Decode the ``_xHHHH_`` in which text carries what XML cannot.

    Source: ECMA-376-1 §22.9.2.19. Two of them may be the halves of one character; a half
    alone stays one, for `canonical` to refuse.
    """
    if "_x" not in text:
        return text
    text = _ESCAPE.sub(lambda match: chr(int(match[1], 16)), text)
    return text.encode("utf-16-le", "surrogatepass").decode("utf-16-le", "surrogatepass")


@lru_cache(maxsize=512)
def _character(reference: str) -> str:
    number = int(reference[3:-1], 16) if reference[2] == "x" else int(reference[2:-1])
    # Source: XML 1.0 §2.2.
    if number in (9, 10, 13) or 0x20 <= number < 0xD800 or 0xE000 <= number < 0xFFFE:
        return chr(number)
    if 0x10000 <= number < 0x110000:
        return chr(number)
    raise ValueError(reference)


def _referred(match: re.Match[str]) -> str:
    reference = match[0]
    return _NAMED.get(reference) or _character(reference)


def _texts(part: Blocks, markup: Markup) -> Iterator[str]:
    """Decode a part. Source: ECMA-376-2 §6.1.2, which allows UTF-8 and UTF-16."""
    block = part.read()
    encoding = "utf-8-sig"
    if block.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)):
        encoding = "utf-16"
    elif (declared := _DECLARATION.match(block)) and declared[1].lower() not in (
        b"utf-8",
        b"us-ascii",
    ):
        raise markup.malformed(f"the encoding {declared[1].decode()} is not allowed")
    decoder = codecs.getincrementaldecoder(encoding)()
    while block:
        try:
            text, error = decoder.decode(block), None
        except UnicodeDecodeError as invalid:
            text, error = invalid.object[: invalid.start].decode(encoding, "ignore"), invalid
        if found := _CONTROL.search(text) if _has_control(block, encoding) else None:
            yield text[: found.start()]
            raise markup.malformed(f"the character U+{ord(found[0]):04X} is not XML")
        if text:
            yield text
        if error:
            raise _not_text(part, error) from error
        block = part.read()
    try:
        decoder.decode(b"", final=True)
    except UnicodeDecodeError as invalid:
        raise _not_text(part, invalid) from invalid


def _has_control(block: bytes, encoding: str) -> bool:
    """Tell whether a search is worth while. Seven times as fast as searching."""
    return encoding == "utf-16" or len(block.translate(None, _CONTROLS)) != len(block)


def _not_text(part: Blocks, error: UnicodeDecodeError) -> DecodeError:
    return DecodeError(
        DecodeCode.ENCODING_INVALID, f"{part.name} is not valid {error.encoding}: {error.reason}"
    )


class _Tags(Markup):
    def __init__(self, part: str) -> None:
        super().__init__(part)
        self._open = [""]
        self.found: list[tuple[str, str, dict[str, str]]] = []

    def _local(self, name: str) -> str:
        return name.rpartition(" ")[2]

    def start(self, name: str, attributes: dict[str, str]) -> None:
        self.found.append((self._open[-1], name, attributes))
        self._open.append(name)

    def end(self, name: str) -> None:
        self._open.pop()


def tags(part: Blocks) -> Iterator[tuple[str, str, dict[str, str]]]:
    """Yield the parent, the name and the attributes of each element, names without name space.

    An attribute that has a name space is called ``<namespace> <name>``.
    """
    markup = _Tags(part.name)
    for text in _texts(part, markup):
        markup.feed(text)
        yield from markup.found
        markup.found.clear()
    markup.close()
