"""One POST, one reply: the `Receiver` over HTTP.

No HTTP client stands in between. What one adds (cookies that are sent back, redirects,
environment proxies and passwords, decompression, URLs in the log) is all unwanted here, and
most of the cost of a request (ADR 3 and 16).
"""

import asyncio
import os
import re
import ssl
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import lru_cache, partial
from types import TracebackType
from typing import Self

from app.domain.delivery import Answer, Message, NoAnswer, Reply, Silence
from app.domain.errors import CallbackRefused
from app.ports import Clock
from app.receiver.egress import EgressPolicy, parse_callback
from app.receiver.exchange import Endpoint, ExchangeFailed, NotHttp, Transport
from app.receiver.transport import LeanTransport
from app.wire.answer import read_answer
from app.wire.headers import OWN_HEADERS, request_headers

DEADLINE_S = 60.0
"""From the first name look-up to the last byte of the answer. A deadline per read would
let a receiver that sends a byte a second hold an ingestion for ever."""

SIGNED_INLINE_BYTES_MAX = 1024 * 1024
"""Above it signatures are made in a thread, which costs 0.1 ms: a MiB takes about 0.7 ms for
each of them, and everybody else's requests wait meanwhile."""

READ_INLINE_BYTES_MAX = 64 * 1024
"""A longer answer is read in a thread: a MiB that refuses 60,000 records takes 0.15 s."""

_FIELD_NAME = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+")
_FIELD_VALUE = re.compile(r"[!-~]([\t -~]*[!-~])?")
_INGESTION = re.compile(r"[a-z]+_([0-9a-f]{32})")


@dataclass(frozen=True, slots=True, kw_only=True)
class OriginSettings:
    """What is configured for the receivers of one origin. Contract 3.3 and 3.6."""

    secrets: Sequence[bytes] = ()
    """Keys to sign with; two while one replaces the other."""

    headers: Mapping[str, str] = field(default_factory=dict)
    """Authorization and the like."""

    def __post_init__(self) -> None:
        for name, value in self.headers.items():
            if not _FIELD_NAME.fullmatch(name) or name.lower() in OWN_HEADERS:
                raise ValueError(f"the header {name!r} cannot be set for a callback")
            if not _FIELD_VALUE.fullmatch(value):
                raise ValueError(f"the value of the header {name!r} is not printable ASCII")


_NOTHING_SET = OriginSettings()


class HttpReceiver:
    """Post messages. Sends each exactly once per call, and raises nothing but cancellation.

    Parameters
    ----------
    egress
        Who may be called.
    clock
        For the time in a signature.
    origins
        Settings by origin, ``https://host[:port]``.
    deadline_s
        Seconds for one whole exchange.
    tls
        What a receiver's certificate is verified with; by default the system's trust store.
    transport
        Another way to send, for tests.
    """

    def __init__(
        self,
        *,
        egress: EgressPolicy,
        clock: Clock,
        origins: Mapping[str, OriginSettings] | None = None,
        deadline_s: float = DEADLINE_S,
        tls: ssl.SSLContext | None = None,
        transport: Transport | None = None,
    ) -> None:
        self._clock = clock
        self._origins = {
            parse_callback(origin).origin: settings for origin, settings in (origins or {}).items()
        }
        self._deadline_s = deadline_s
        self._transport = transport or LeanTransport(
            addresses=egress.addresses, tls=tls or ssl.create_default_context()
        )

    async def __aenter__(self) -> Self:
        """Open nothing: connections come with the messages."""
        return self

    async def __aexit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        """Close every connection."""
        await self._transport.aclose()

    async def post(self, message: Message, *, attempt: int) -> Reply:
        """Send once (``attempt`` is 1-based) and report what came back."""
        until = asyncio.get_running_loop().time() + self._deadline_s
        try:
            return await self._exchange(message, attempt, until)
        except TimeoutError:
            return NoAnswer(Silence.TIMEOUT, f"no complete answer within {self._deadline_s:g} s")
        except CallbackRefused as refusal:
            return NoAnswer(Silence.URL_BLOCKED, refusal.message)
        except ExchangeFailed as failure:
            return NoAnswer(failure.reason, str(failure))

    async def _exchange(self, message: Message, attempt: int, until: float) -> Answer:
        target = _target(message.url)
        headers = await self._headers(message, attempt, target.origin)
        received = await self._transport.exchange(
            target.endpoint, _head(target, headers), message.content, until=until
        )
        read = partial(
            read_answer,
            received.status,
            received.headers,
            received.body,
            now=self._clock.now(),
        )
        return (
            await asyncio.to_thread(read) if len(received.body) > READ_INLINE_BYTES_MAX else read()
        )

    async def _headers(self, message: Message, attempt: int, origin: str) -> dict[str, str]:
        settings = self._origins.get(origin, _NOTHING_SET)
        make = partial(
            request_headers,
            message,
            attempt=attempt,
            timestamp_s=int(self._clock.now().timestamp()),
            secrets=settings.secrets,
            traceparent=_traceparent(message.message_id),
            extra=settings.headers,
        )
        if settings.secrets and sum(map(len, message.content)) > SIGNED_INLINE_BYTES_MAX:
            return await asyncio.to_thread(make)
        return make()


@dataclass(frozen=True, slots=True, kw_only=True)
class _Target:
    """Where messages go."""

    origin: str
    endpoint: Endpoint
    line: str
    """Request line and ``Host``."""


@lru_cache(maxsize=256)
def _target(url: str) -> _Target:
    """Parse a callback URL once for all its messages, by the parser that the check trusts."""
    callback = parse_callback(url)
    path = callback.rest if callback.rest.startswith("/") else f"/{callback.rest}"
    return _Target(
        origin=callback.origin,
        endpoint=Endpoint(callback.scheme, callback.host, callback.port),
        line=f"POST {path} HTTP/1.1\r\nHost: {callback.authority}",
    )


def _head(target: _Target, headers: Mapping[str, str]) -> bytes:
    """Return the request before its body; raises `NotHttp` when a value would forge fields."""
    fields = [f"{name}: {value}" for name, value in headers.items()]
    head = "\r\n".join((target.line, *fields, "", "")).encode("ascii")
    breaks = len(fields) + 3
    if head.count(b"\n") != breaks or head.count(b"\r") != breaks or b"\0" in head:
        raise NotHttp("a header holds a line break or NUL")
    return head


def _traceparent(message_id: str) -> str:
    """Return a new span in the trace of the ingestion, whose id starts the ingestion's id.

    Sampled, because receivers follow their caller's decision, and a trace that was not
    kept is missed when a chunk is refused. Source: W3C Trace Context §3.2.
    """
    ingestion = _INGESTION.match(message_id)
    trace_id = ingestion[1] if ingestion else os.urandom(16).hex()
    return f"00-{trace_id}-{os.urandom(8).hex()}-01"
