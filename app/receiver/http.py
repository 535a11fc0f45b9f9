"""One POST, one reply: the `Receiver` over HTTP.

httpx is used below its client, as request, transport and response. What `AsyncClient` adds
(cookies that are sent back, redirects, environment proxies and passwords, decompression,
URLs in the log) is all unwanted here, and half of the cost of a request (ADR 3).
"""

import asyncio
import os
import re
import ssl
from collections.abc import AsyncIterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import lru_cache, partial
from types import TracebackType
from typing import Self, cast

import httpx

from app.domain.delivery import Answer, Message, NoAnswer, Reply, Silence
from app.domain.errors import CallbackRefused
from app.ports import Clock
from app.receiver.egress import EgressPolicy, parse_callback
from app.receiver.response import AnswerTooLarge
from app.receiver.transport import LeanTransport, Pieces
from app.wire.answer import read_answer
from app.wire.headers import OWN_HEADERS, request_headers

DEADLINE_S = 60.0
"""From the first name look-up to the last byte of the answer. A deadline per read would
let a receiver that sends a byte a second hold an ingestion for ever."""

SIGNED_INLINE_BYTES_MAX = 1024 * 1024
"""Above it signatures are made in a thread, which costs 0.1 ms: a MiB takes about 0.7 ms for
each of them, and everybody else's requests wait meanwhile."""

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
        transport: httpx.AsyncBaseTransport | None = None,
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
        try:
            async with asyncio.timeout(self._deadline_s):
                return await self._exchange(message, attempt)
        except TimeoutError:
            return NoAnswer(Silence.TIMEOUT, f"no complete answer within {self._deadline_s:g} s")
        except CallbackRefused as refusal:
            return NoAnswer(Silence.URL_BLOCKED, refusal.message)
        except AnswerTooLarge as error:
            return NoAnswer(Silence.ANSWER_TOO_LARGE, str(error))
        except httpx.ConnectError as error:
            return NoAnswer(Silence.CONNECTION_FAILED, str(error))
        except httpx.ProtocolError as error:
            return NoAnswer(Silence.PROTOCOL_ERROR, str(error))
        except httpx.TransportError as error:
            return NoAnswer(Silence.CONNECTION_LOST, str(error))

    async def _exchange(self, message: Message, attempt: int) -> Answer:
        target = _target(message.url)
        headers = await self._headers(message, attempt, target.origin)
        request = httpx.Request(
            "POST",
            target.url,
            # As bytes, and with a stream: otherwise httpx looks for what it might add.
            headers=[(b"Host", target.host), *map(_field, headers.items())],
            stream=Pieces(*message.content),
        )
        response = await self._transport.handle_async_request(request)
        # The stream itself: httpx would decode the body, perhaps to a thousand times its size.
        stream = cast("AsyncIterable[bytes]", response.stream)
        body = b"".join([part async for part in stream])
        return read_answer(response.status_code, response.headers, body, now=self._clock.now())

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

    url: httpx.URL
    origin: str
    host: bytes
    """The ``Host`` header."""


@lru_cache(maxsize=256)
def _target(url: str) -> _Target:
    """Parse a callback URL once for all its messages."""
    origin = parse_callback(url).origin
    parsed = httpx.URL(url)
    return _Target(url=parsed, origin=origin, host=parsed.netloc)


def _field(header: tuple[str, str]) -> tuple[bytes, bytes]:
    name, value = header
    return name.encode("ascii"), value.encode("ascii")


def _traceparent(message_id: str) -> str:
    """Return a new span in the trace of the ingestion, whose id starts the ingestion's id.

    Sampled, because receivers follow their caller's decision, and a trace that was not
    kept is missed when a chunk is refused. Source: W3C Trace Context §3.2.
    """
    ingestion = _INGESTION.match(message_id)
    trace_id = ingestion[1] if ingestion else os.urandom(16).hex()
    return f"00-{trace_id}-{os.urandom(8).hex()}-01"
