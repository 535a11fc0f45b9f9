"""One exchange over HTTP: what a transport is given, what it gives back, and how it can fail."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar, NamedTuple, Protocol, TypeAlias

from app.domain.delivery import Silence

RawHeaders: TypeAlias = Sequence[tuple[bytes, bytes]]
"""Names and values as they came, in their order."""


class Endpoint(NamedTuple):
    """Where a request goes to."""

    scheme: str
    """``http`` or ``https``."""

    host: str
    """As in the URL, so a name in its ``xn--`` form or a literal address without brackets."""

    port: int


@dataclass(frozen=True, slots=True)
class Received:
    """A whole final answer, not decompressed."""

    status: int
    headers: RawHeaders
    body: bytes


class ExchangeFailed(Exception):
    """There is no whole answer; its text says why. Never raised itself, only what is below it."""

    reason: ClassVar[Silence]


class NotConnected(ExchangeFailed):
    """Nothing was sent."""

    reason = Silence.CONNECTION_FAILED


class ConnectionLost(ExchangeFailed):
    """The connection ended before the answer did; what was sent may have arrived."""

    reason = Silence.CONNECTION_LOST


class NotHttp(ExchangeFailed):
    """What came is not HTTP/1.x, or what was to be sent would not have been."""

    reason = Silence.PROTOCOL_ERROR


class AnswerTooLarge(NotHttp):
    """The answer is above a limit; the rest of it was not read."""

    reason = Silence.ANSWER_TOO_LARGE


class Transport(Protocol):
    """Carries requests: writes each exactly once, or not at all."""

    async def exchange(
        self, endpoint: Endpoint, head: bytes, content: Sequence[bytes], *, until: float
    ) -> Received:
        """Send a request whose bytes are ``head`` and ``content``, and return its answer.

        Raises `ExchangeFailed`, and ``TimeoutError`` at ``until``, a time of the event loop:
        nothing of the exchange is under way any more then.
        """
        ...

    async def aclose(self) -> None:
        """Close every connection, whatever it is doing."""
        ...
