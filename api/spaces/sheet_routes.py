"""The sheet of QR codes as an answer: drawn in a thread, for it takes a second or two."""

import asyncio
from typing import Annotated, Any, Final, NamedTuple
from uuid import UUID

from litestar import MediaType, Response
from litestar.openapi.datastructures import ResponseSpec
from litestar.params import QueryParameter

from api.errors import ApiError, responses
from api.people.access import Caller
from api.spaces.listing import Listing
from api.spaces.sheet import render_sheet

_POLICY: Final = "default-src 'none'; style-src 'unsafe-inline'; frame-ancestors 'none'"

After = Annotated[str, QueryParameter(max_length=40, description="name of the last space of the sheet before")]


class Sheets(NamedTuple):
    """Draws sheets."""

    listing: Listing
    public_url: str

    async def answer(self, caller: Caller, tenant_id: UUID, place_id: UUID, after: str) -> Response[str]:
        """Return the sheet of a place."""
        name, cards = await self.listing.cards(caller, tenant_id, place_id, after)
        text = await asyncio.to_thread(render_sheet, name, cards, self.public_url)
        return Response(text, media_type=MediaType.HTML, headers={"content-security-policy": _POLICY})


def sheet_responses(*errors: type[ApiError]) -> dict[int, Any]:
    """Return the OpenAPI entries of a route that answers with a sheet."""
    sheet = ResponseSpec(str, generate_examples=False, description="The sheet", media_type=MediaType.HTML)
    return {200: sheet, **responses(*errors)}
