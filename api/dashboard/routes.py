"""`/dashboard`: three files, the same for everybody; what they show they ask of the API with the visitor's own key."""

from importlib import resources
from typing import Final

from litestar import MediaType, Response, Router, get

_POLICY: Final = (
    "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; form-action 'none'; "
    "base-uri 'none'; frame-ancestors 'none'"
)


def dashboard_routes() -> Router:
    """Build the dashboard's routes; nothing of them is in the API's document."""

    @get("/", media_type=MediaType.HTML)
    async def get_page() -> Response[str]:
        return _answer("page.html", MediaType.HTML)

    @get("/page.css", media_type=MediaType.CSS)
    async def get_style() -> Response[str]:
        return _answer("page.css", MediaType.CSS)

    @get("/page.js")
    async def get_script() -> Response[str]:
        return _answer("page.js", "text/javascript")

    return Router("/dashboard", route_handlers=[get_page, get_style, get_script], include_in_schema=False)


def _answer(name: str, media_type: str) -> Response[str]:
    text = resources.files(__package__).joinpath(name).read_text("utf-8")
    return Response(text, media_type=media_type, headers={"content-security-policy": _POLICY})
