"""The API's own description: for machines at `/schema/openapi.json`, for people at `/docs`."""

from typing import Any, Final

from litestar import Controller

from ledger_service.api.call import Call
from ledger_service.api.endpoint import get
from ledger_service.api.http_reply import HttpReply

_CACHED: Final = (b"cache-control", b"public, max-age=60")
_HTML_HEADERS: Final = (
    _CACHED,
    # Nothing is loaded from anywhere and nothing runs: only the page's own style applies.
    (b"content-security-policy", b"default-src 'none'; style-src 'unsafe-inline'"),
    (b"x-content-type-options", b"nosniff"),
)


class DocsController(Controller):
    """`/schema/openapi.json` and `/docs`."""

    path = "/"
    tags = ("Reference",)

    @get(
        "/schema/openapi.json",
        scope=None,
        reply=dict[str, Any],
        summary="This API as an OpenAPI 3.1 document",
    )
    async def openapi(self, call: Call) -> HttpReply:
        """Made from the very declarations that requests are checked by."""
        return HttpReply(call.services.reference.document, headers=(_CACHED,))

    @get(
        "/docs",
        scope=None,
        reply=str,
        summary="This API as a page to read",
        media_types=("text/html",),
    )
    async def docs(self, call: Call) -> HttpReply:
        """One page without scripts."""
        page = call.services.reference.page
        return HttpReply(page, 200, b"text/html; charset=utf-8", _HTML_HEADERS)
