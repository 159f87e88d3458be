"""A picture from a stranger becomes a JPEG of ours: decoded and encoded anew, so that nothing but its pixels is left.

What a file says beside its pixels (EXIF with the host's home, thumbnails, comments, another file behind the last byte)
is not copied. The kind is told by content, never by name or header; the size is judged before anything is decoded.
"""

from io import BytesIO
from typing import Final, NamedTuple

from PIL import Image, ImageOps, UnidentifiedImageError

MAX_BYTES: Final = 10 << 20
MAX_PIXELS: Final = 50_000_000
"""More than a phone's camera gives; a picture of this many is decoded in about 200 MB."""
LONGEST_SIDE: Final = 2048
QUALITY: Final = 85
KINDS: Final = ("JPEG", "PNG", "WEBP")


class Picture(NamedTuple):
    """A JPEG without any metadata."""

    data: bytes
    width: int
    height: int


def to_picture(data: bytes) -> Picture:
    """Encode a JPEG, PNG or WebP anew, upright, at most LONGEST_SIDE long; ValueError with the reason for the rest."""
    try:
        with Image.open(BytesIO(data), formats=KINDS) as image:
            if image.width * image.height > MAX_PIXELS:
                raise ValueError(f"has more than {MAX_PIXELS} pixels")
            return _encode(image)
    except (Image.DecompressionBombError, Image.DecompressionBombWarning):  # the latter where warnings are errors
        raise ValueError(f"has more than {MAX_PIXELS} pixels") from None
    except UnidentifiedImageError:
        raise ValueError("is no JPEG, PNG or WebP") from None
    except (OSError, SyntaxError, EOFError) as error:  # what Pillow says of files that end early
        raise ValueError("is damaged") from error


def _encode(image: Image.Image) -> Picture:
    image.draft("RGB", (LONGEST_SIDE, LONGEST_SIDE))  # a JPEG is decoded no larger than is needed
    upright = ImageOps.exif_transpose(image)
    upright.thumbnail((LONGEST_SIDE, LONGEST_SIDE))
    opaque = Image.new("RGB", upright.size, "white")
    clear = upright.convert("RGBA")
    opaque.paste(clear, mask=clear)
    out = BytesIO()
    opaque.save(out, "JPEG", quality=QUALITY, optimize=True)
    return Picture(out.getvalue(), *opaque.size)
