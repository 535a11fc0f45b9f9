"""Who asks, told by an API key: ``Authorization: Bearer ackline_…``, and nowhere else (ADR 12).

Every path needs a key but those in ``OPEN``, also one that does not exist, so that a new
route is closed unless somebody opens it here.
"""

import logging
import re
import time
from collections.abc import Awaitable, Callable
from typing import Annotated

from fastapi import Depends, Request
from fastapi.security import HTTPAuthorizationCredentials, HTTPBearer
from starlette.types import ASGIApp, Receive, Scope, Send

from app.api.problems import problem_of, response_of
from app.control.keys import Keyring
from app.domain import access
from app.domain.access import Caller, is_loopback
from app.domain.errors import NotAllowed

OPEN = frozenset({"/healthz", "/readyz", "/docs", "/openapi.json"})
"""What orchestrators ask, and the document, which says nothing about this installation."""

OPEN_BELOW = "/docs/"

REFUSALS_S = 10.0
"""Between two log lines about requests without a key: whoever guesses must not fill a disk."""

_log = logging.getLogger("ackline.api")
_CALLER = "ackline.caller"
_HOST = re.compile(r"(\[(?P<ipv6>[0-9A-Fa-f:.]+)\]|(?P<name>[0-9A-Za-z.-]+))(:[0-9]*)?")
_DECLARED = HTTPBearer(
    scheme_name="apiKey",
    bearerFormat="ackline_…",
    description=(
        "An API key, as `ackline key` makes it. A service without keys takes requests without "
        "one, and listens on this machine's loopback address only."
    ),
    auto_error=False,
)
"""Only declares: `RequireKey` has decided before a route is looked for."""


class RequireKey:
    """Refuse whoever has no key, with the same answer whatever is wrong with it."""

    def __init__(
        self, app: ASGIApp, *, keyring: Keyring, monotonic: Callable[[], float] = time.monotonic
    ) -> None:
        self._app = app
        self._keyring = keyring
        self._monotonic = monotonic
        self._refused = 0
        """Requests since the last log line about them."""

        self._said_at = -REFUSALS_S

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http" or _is_open(scope["path"]):
            await self._app(scope, receive, send)
            return
        caller = self._keyring.caller(_key_in(scope))
        if caller is None:
            self._log_refusal(scope)
            problem = problem_of(
                "UNAUTHENTICATED",
                "this needs an API key, and none that is valid came",
                remedy="Send Authorization: Bearer and the key; ackline key makes one.",
                instance=scope["path"],
            )
            response = response_of(problem, headers={"www-authenticate": 'Bearer realm="ackline"'})
            await response(scope, receive, send)
            return
        if self._keyring.is_empty and not _asks_this_machine(scope):
            problem = problem_of(
                "HOST_REFUSED",
                "without API keys only requests to localhost or a loopback address are answered",
                remedy="Ask for localhost, or make a key with ackline key.",
                instance=scope["path"],
            )
            await response_of(problem)(scope, receive, send)
            return
        scope[_CALLER] = caller
        await self._app(scope, receive, send)

    def _log_refusal(self, scope: Scope) -> None:
        """Log who came last, and never what came: it may be a key with a slip of the pen."""
        self._refused += 1
        now = self._monotonic()
        if now - self._said_at < REFUSALS_S:
            return
        host, _ = scope.get("client") or ("an unknown address", 0)
        _log.warning("no valid API key in %d requests, the last from %s", self._refused, host)
        self._refused, self._said_at = 0, now


def _is_open(path: str) -> bool:
    return path in OPEN or path.startswith(OPEN_BELOW)


def _asks_this_machine(scope: Scope) -> bool:
    """Tell whether the request was meant for a loopback address, by its ``Host``.

    A page from anywhere can have its own name resolve to 127.0.0.1, and a browser on this
    machine then lets it read the answers: DNS rebinding.
    """
    given = [value.decode("latin-1") for name, value in scope["headers"] if name == b"host"]
    found = _HOST.fullmatch(given[0]) if len(given) == 1 else None
    return found is not None and is_loopback(found["ipv6"] or found["name"])


def _key_in(scope: Scope) -> str | None:
    """Return the key that came, if exactly one did. Source: RFC 6750 §2.1."""
    given = [value for name, value in scope["headers"] if name == b"authorization"]
    if len(given) != 1:
        return None
    scheme, _, key = given[0].decode("latin-1").partition(" ")
    return key.strip(" ") if scheme.lower() == "bearer" else None


async def caller_of(
    request: Request,
    _declared: Annotated[HTTPAuthorizationCredentials | None, Depends(_DECLARED)],
) -> Caller:
    """Return who asks."""
    caller: Caller = request.scope[_CALLER]
    return caller


CallerDep = Annotated[Caller, Depends(caller_of)]


def needs(scope: access.Scope) -> Callable[[CallerDep], Awaitable[None]]:
    """Return a dependency that raises `NotAllowed` for keys of a smaller scope."""

    async def check(caller: CallerDep) -> None:
        if not caller.scope.includes(scope):
            raise NotAllowed(
                f"this needs a key of scope {scope}, and {caller.name} has {caller.scope}",
                remedy="Ask with another key, or have its scope changed.",
            )

    return check
