"""One HTTP/1.1 answer from bytes. No I/O, no await.

The answer is kept whole and never decompressed: contract 5.1 allows 1 MiB, and what a
receiver sends beyond the limits here ends the connection before it can fill the memory.
"""

import httptools

from app.receiver.exchange import AnswerTooLarge, NotHttp

ANSWER_BYTES_MAX = 1024 * 1024
"""Body of an answer. Contract 5.1."""

HEAD_BYTES_MAX = 64 * 1024
"""Status line and headers, informational (1xx) answers included. Servers send 300 bytes;
nginx and Apache themselves refuse requests above 8–32 KiB."""

WIRE_BYTES_MAX = HEAD_BYTES_MAX + 2 * ANSWER_BYTES_MAX
"""All bytes of one answer, its chunk framing and trailers included: framing that outweighs
the body is an attack."""

_VERSIONS = ("1.0", "1.1")
_INFORMATIONAL_END = 200


class ResponseParser:
    """Read one final answer; 1xx answers before it are passed over."""

    def __init__(self) -> None:
        self.status = 0
        self.headers: list[tuple[bytes, bytes]] = []
        self.body = bytearray()
        self.complete = False
        self.keep_alive = False
        """May the connection carry another exchange? Meaningful once ``complete``."""

        self._in_body = False
        self._until_eof = False
        self._head_bytes = 0
        self._wire_bytes = 0
        self._parser = httptools.HttpResponseParser(self)

    def feed(self, octets: bytes) -> None:
        """Take what arrived.

        Raises
        ------
        AnswerTooLarge
            A limit is passed.
        NotHttp
            This is not HTTP/1.x.
        """
        self._wire_bytes += len(octets)
        try:
            self._parser.feed_data(octets)
        except httptools.HttpParserUpgrade as error:
            raise NotHttp("the receiver switches protocols") from error
        except httptools.HttpParserError as error:
            if isinstance(error.__context__, NotHttp):
                raise error.__context__ from None
            if not self.complete:
                raise NotHttp(f"not an HTTP/1.1 answer: {error}") from error
            self.keep_alive = False  # The answer is whole; what follows it is not HTTP.
        if not self.complete:
            if not self._in_body and self._wire_bytes > HEAD_BYTES_MAX:
                raise _head_too_large()  # A field that never ends reaches no callback.
            if self._wire_bytes > WIRE_BYTES_MAX:
                raise AnswerTooLarge(f"the answer is larger than {WIRE_BYTES_MAX} bytes")

    def eof(self) -> None:
        """Take the end of the stream; it completes an answer that names no length."""
        if self._in_body and self._until_eof:
            self.complete = True

    # ---- called by httptools

    def on_message_begin(self) -> None:
        """A second answer to one request: nothing after it could be trusted."""
        if self.complete:
            self.keep_alive = False

    def on_header(self, name: bytes, value: bytes) -> None:
        """Keep a header field; trailers only count."""
        if self.complete:
            return
        self._head_bytes += len(name) + len(value) + 4  # ": " and CRLF
        if self._head_bytes > HEAD_BYTES_MAX:
            raise _head_too_large()
        if not self._in_body:
            self.headers.append((name, value))

    def on_headers_complete(self) -> None:
        """Learn the status and how the body ends."""
        if self.complete:
            return
        if (version := self._parser.get_http_version()) not in _VERSIONS:
            raise NotHttp(f"the receiver answers in HTTP/{version}")
        self.status = self._parser.get_status_code()
        if self.status >= _INFORMATIONAL_END:
            self._in_body = True
            names = {name.lower() for name, _ in self.headers}
            self._until_eof = names.isdisjoint((b"content-length", b"transfer-encoding"))

    def on_body(self, part: bytes) -> None:
        """Keep a piece of the body."""
        if self.complete:
            return
        if len(self.body) + len(part) > ANSWER_BYTES_MAX:
            raise AnswerTooLarge(f"the answer's body is larger than {ANSWER_BYTES_MAX} bytes")
        self.body += part

    def on_message_complete(self) -> None:
        """Finish, or forget an informational answer."""
        if self.status < _INFORMATIONAL_END:
            self.headers.clear()
        elif not self.complete:
            self.complete = True
            self.keep_alive = self._parser.should_keep_alive()


def _head_too_large() -> AnswerTooLarge:
    return AnswerTooLarge(f"the answer's headers are larger than {HEAD_BYTES_MAX} bytes")
