"""A sheet of A4 to print and cut: a QR code for each space, that leads to the page where a driver parks there. Pure.

A code names the space and nothing else; who opens it must be signed in.
"""

from collections.abc import Sequence
from html import escape
from typing import Final, NamedTuple
from uuid import UUID

import segno

MOST: Final = 100
"""Codes on one sheet: each takes some 15 ms to draw."""

_PAGE: Final = """<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<title>{title}</title>
<style>
@page {{ size: A4; margin: 10mm; }}
body {{ margin: 0; font: 11pt/1.3 sans-serif; color: #000; background: #fff; }}
ul {{ list-style: none; margin: 0; padding: 0; font-size: 0; }}
li {{ display: inline-block; box-sizing: border-box; width: 95mm; height: 68mm; padding: 3mm; border: 0.2mm dashed #999;
  break-inside: avoid; font-size: 11pt; text-align: center; overflow: hidden; }}
svg {{ width: 40mm; height: 40mm; display: block; margin: 0 auto; }}
strong {{ display: block; font-size: 14pt; white-space: nowrap; overflow: hidden; text-overflow: ellipsis; }}
small {{ font: 6pt monospace; }}
</style>
</head>
<body><ul>
{cards}
</ul></body>
</html>
"""
_CARD: Final = "<li><strong>{name}</strong>{place}{code}Scan to park here<br><small>{url}</small></li>"


class Card(NamedTuple):
    """A space of its place; name is null for the place itself."""

    space_id: UUID
    name: str | None


def render_sheet(place: str, cards: Sequence[Card], public_url: str) -> str:
    """Return the sheet as HTML."""
    drawn = "\n".join(_draw(place, card, f"{public_url.rstrip('/')}/p/{card.space_id}") for card in cards)
    return _PAGE.format(title=escape(place), cards=drawn)


def _draw(place: str, card: Card, url: str) -> str:
    code = segno.make_qr(url, error="m").svg_inline(omitsize=True, border=4)
    second = "" if card.name is None else f"{escape(place)}<br>"
    return _CARD.format(name=escape(card.name or place), place=second, code=code, url=escape(url))
