"""`/p/{space}` and `/b/{booking}/extend`: one page, the same for everybody; what it shows it asks as who is signed in.

Opening a link changes nothing, since readers of mail open links too: one tap on the page does.
"""

from importlib import resources
from typing import Final

from litestar import MediaType, Response, Router, get

_POLICY: Final = (
    "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; img-src 'self' https:; "
    "form-action 'none'; base-uri 'none'; frame-ancestors 'none'"
)


def link_routes() -> Router:
    """Build the page's routes; nothing of them is in the API's document."""

    @get(["/p/{space_id:uuid}", "/b/{booking_id:uuid}/extend"], media_type=MediaType.HTML)
    async def get_page() -> Response[str]:
        return _answer("page.html", MediaType.HTML)

    @get("/links/page.css", media_type=MediaType.CSS)
    async def get_style() -> Response[str]:
        return _answer("page.css", MediaType.CSS)

    @get("/links/page.js")
    async def get_script() -> Response[str]:
        return _answer("page.js", "text/javascript")

    return Router("/", route_handlers=[get_page, get_style, get_script], include_in_schema=False)


def _answer(name: str, media_type: str) -> Response[str]:
    text = resources.files(__package__).joinpath(name).read_text("utf-8")
    headers = {"content-security-policy": _POLICY, "referrer-policy": "no-referrer"}
    return Response(text, media_type=media_type, headers=headers)
