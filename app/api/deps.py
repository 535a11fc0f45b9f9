"""What routes may ask for. Set once, by ``app.main``.

All are coroutines, though none waits: the framework sends any other function to a thread.
"""

from typing import Annotated

from fastapi import Depends, Header, Path, Request

from app.api.problems import ApiError
from app.control.ingestions import Ingestions
from app.domain.errors import IngestionNotFound
from app.domain.identity import IngestionId

IDEMPOTENCY_KEY_CHARS_MAX = 255
_ID_DIGITS = frozenset("0123456789abcdef")


async def get_ingestions(request: Request) -> Ingestions:
    """Return the use cases that were made at the start."""
    ingestions: Ingestions = request.app.state.ingestions
    return ingestions


async def require_json(request: Request) -> None:
    """Refuse a body that is not declared as JSON, without content coding.

    A browser cannot send ``application/json`` to a foreign origin without asking first, so
    this also keeps other people's pages from starting ingestions.
    """
    declared = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    if declared != "application/json":
        raise ApiError(
            "MEDIA_TYPE_UNSUPPORTED",
            f"the content type is {declared[:80]!r}",
            remedy="Send Content-Type: application/json.",
        )
    if request.headers.get("content-encoding", "identity").lower() != "identity":
        raise ApiError(
            "MEDIA_TYPE_UNSUPPORTED",
            "the body is compressed",
            remedy="Send it without Content-Encoding.",
        )


async def idempotency_key(
    request: Request,
    _declared: Annotated[
        str | None,
        Header(
            alias="Idempotency-Key",
            description=(
                "Repeat a request with the same key and it has its effect once. 1 to 255 "
                "printable ASCII characters, bare or as a quoted string."
            ),
            examples=['"import-2026-07-01"'],
        ),
    ] = None,
) -> str | None:
    """Read the key, quoted or bare; both forms of one key are the same.

    Source: draft-ietf-httpapi-idempotency-key-header §2.1, RFC 8941 §3.3.3.
    """
    given = request.headers.getlist("idempotency-key")
    if not given:
        return None
    key = _unquoted(given[0].strip()) if len(given) == 1 else None
    if key is None or not 1 <= len(key) <= IDEMPOTENCY_KEY_CHARS_MAX:
        raise ApiError(
            "IDEMPOTENCY_KEY_INVALID",
            f"one key of 1 to {IDEMPOTENCY_KEY_CHARS_MAX} printable ASCII characters is expected",
            remedy='Send it once, such as Idempotency-Key: "import-2026-07-01".',
        )
    return key


def _unquoted(text: str) -> str | None:
    """Return the key in a header value, ``None`` when it is neither form."""
    if not (text.isascii() and text.isprintable()):
        return None
    if not text.startswith('"'):
        return None if '"' in text else text
    if len(text) < 2 or not text.endswith('"'):
        return None
    key, escaped = "", False
    for char in text[1:-1]:
        if escaped and char not in '"\\':
            return None
        if not escaped and char == '"':
            return None
        escaped = not escaped and char == "\\"
        key += "" if escaped else char
    return None if escaped else key


async def ingestion_id(
    given: Annotated[
        str,
        Path(
            alias="ingestion_id",
            description="64 lower-case hex digits.",
            examples=["1dd2fdf54e5d93e9a2d6b5ee1b34ef01d0bb0ef3fba5ff4ee7f2bd2ab7a95c48"],
        ),
    ],
) -> IngestionId:
    """Read the id from the path. What cannot be an id is the id of nothing."""
    if len(given) != 64 or not _ID_DIGITS.issuperset(given):
        raise IngestionNotFound(given[:64])
    return IngestionId(given)


IngestionsDep = Annotated[Ingestions, Depends(get_ingestions)]
IdempotencyKeyDep = Annotated[str | None, Depends(idempotency_key)]
IngestionIdDep = Annotated[IngestionId, Depends(ingestion_id)]
