"""``/docs``: the API document as a page to read and to try, without any other host."""

from importlib.resources import files

from fastapi import APIRouter
from fastapi.openapi.docs import get_swagger_ui_html
from starlette.exceptions import HTTPException
from starlette.responses import HTMLResponse, Response

router = APIRouter(include_in_schema=False)

_MEDIA_TYPES = {
    "swagger-ui-bundle.js": "text/javascript",
    "swagger-ui.css": "text/css",
    "favicon-32x32.png": "image/png",
}


@router.get("/docs")
async def page() -> HTMLResponse:
    """Return the page. Its links are relative, so it works below a path prefix too."""
    return get_swagger_ui_html(
        openapi_url="openapi.json",
        title="ackline",
        swagger_js_url="docs/swagger-ui-bundle.js",
        swagger_css_url="docs/swagger-ui.css",
        swagger_favicon_url="docs/favicon-32x32.png",
    )


@router.get("/docs/{name}")
def asset(name: str) -> Response:
    """Return a part of the page."""
    if name not in _MEDIA_TYPES:
        raise HTTPException(404)
    content = files("fastapi_swagger").joinpath("resources", name).read_bytes()
    return Response(content, media_type=_MEDIA_TYPES[name])
