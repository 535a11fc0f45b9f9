"""The OpenAPI document of the callback.

The bodies are read by hand, for speed, so FastAPI cannot know them: their schemas are
added here, from the models of the contract.
"""

from fastapi import FastAPI
from pydantic.json_schema import models_json_schema

from app.wire.models import ChunkBody, CompletedBody, StoppedBody

_BODIES = (ChunkBody, CompletedBody, StoppedBody)
_REF = "#/components/schemas/{model}"

CALLBACK_BODY: dict[str, object] = {
    "requestBody": {
        "required": True,
        "content": {
            "application/json": {
                "schema": {
                    "oneOf": [{"$ref": _REF.format(model=body.__name__)} for body in _BODIES]
                }
            }
        },
    }
}


def document(app: FastAPI) -> dict[str, object]:
    """Return the document of ``app`` with the bodies of the contract in it."""
    _, schemas = models_json_schema([(body, "validation") for body in _BODIES], ref_template=_REF)
    made: dict[str, dict[str, dict[str, object]]] = FastAPI.openapi(app)
    made["components"]["schemas"] |= schemas["$defs"]
    return dict(made)
