"""The OpenAPI document, also as a page that any browser shows without scripts and without asking another host."""

from html import escape
from typing import Any, Final

from litestar import Request
from litestar.openapi.config import OpenAPIConfig
from litestar.openapi.plugins import JsonRenderPlugin, OpenAPIRenderPlugin
from litestar.openapi.spec import Components, Reference, SecurityScheme

_STYLE = """
body { font: 16px/1.5 system-ui, sans-serif; max-width: 60rem; margin: 2rem auto; padding: 0 1rem; color: #1b1f24 }
section { border-top: 1px solid #d0d7de; padding: .5rem 0 }
h2 code { font-size: 1rem } .method { display: inline-block; min-width: 4rem; color: #0550ae; font-weight: 600 }
table { border-collapse: collapse } td, th { padding: .2rem 1rem .2rem 0; text-align: left; vertical-align: top }
"""


_SCHEMES: Final[dict[str, SecurityScheme | Reference]] = {
    "deviceToken": SecurityScheme(type="http", scheme="bearer", description="The token that /v1/devices gave"),
    "accessToken": SecurityScheme(type="http", scheme="bearer", description="A person's token, from /v1/auth"),
    "signedUrl": SecurityScheme(
        type="apiKey", security_scheme_in="query", name="signature", description="As the URL of a photo has it"
    ),
    "webhookSignature": SecurityScheme(
        type="apiKey",
        security_scheme_in="header",
        name="Paymongo-Signature",
        description="The provider's signature over the raw body; Stripe's stands in Stripe-Signature",
    ),
    "apiKey": SecurityScheme(type="http", scheme="bearer", description="A customer's key, pp_live_..."),
}


def describe_api(version: str) -> OpenAPIConfig:
    """Return how the document is made and where it is shown."""
    return OpenAPIConfig(
        title="ParkPal",
        version=version,
        description="Parking events in, parking facts out.",
        components=Components(security_schemes=_SCHEMES),
        render_plugins=[SchemaPage(path="/"), JsonRenderPlugin()],
        use_handler_docstrings=True,
    )


class SchemaPage(OpenAPIRenderPlugin):
    """Lists every route with its parameters, credentials and answers."""

    def render(self, request: Request[Any, Any, Any], openapi_schema: dict[str, Any]) -> bytes:
        """Return the page."""
        info = openapi_schema["info"]
        operations = [
            _operation(method, path, operation)
            for path, item in sorted(openapi_schema["paths"].items())
            for method, operation in item.items()
            if method in {"get", "post", "put", "patch", "delete"}
        ]
        title = escape(f"{info['title']} {info['version']}")
        json_url = escape(self.get_openapi_json_route(request))
        return (
            f'<!doctype html><html lang="en"><head><meta charset="utf-8"><title>{title}</title>'
            f'<meta name="viewport" content="width=device-width"><style>{_STYLE}</style></head><body><h1>{title}</h1>'
            f'<p>{escape(info.get("description", ""))} Machine-readable: <a href="{json_url}">openapi.json</a>.</p>'
            f"{''.join(operations)}</body></html>"
        ).encode()


def _operation(method: str, path: str, operation: dict[str, Any]) -> str:
    security = ", ".join(name for entry in operation.get("security", []) for name in entry) or "none"
    parameters = "".join(
        f"<tr><td><code>{escape(parameter['name'])}</code></td><td>{escape(parameter['in'])}</td>"
        f"<td>{escape(parameter.get('description', ''))}</td></tr>"
        for parameter in operation.get("parameters", [])
    )
    answers = "".join(
        f"<tr><td>{escape(status)}</td><td>{escape(answer['description'])}</td></tr>"
        for status, answer in sorted(operation["responses"].items())
    )
    return (
        f'<section><h2><span class="method">{method.upper()}</span> <code>{escape(path)}</code></h2>'
        f"<p>{escape(operation.get('description', ''))} Credentials: {escape(security)}.</p>"
        f"<table>{parameters}</table><table>{answers}</table></section>"
    )
