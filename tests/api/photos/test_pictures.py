"""What becomes of a stranger's file: its pixels, upright, and nothing else; or a reason."""

import struct
import zlib
from io import BytesIO

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from api.photos.picture import LONGEST_SIDE, MAX_PIXELS, to_picture

GPS = 0x8825
ORIENTATION = 0x0112


def picture(kind: str = "JPEG", **more: object) -> bytes:
    """Return a file of a red picture whose left half is blue."""
    image = Image.new("RGB", (40, 20), "red")
    image.paste("blue", (0, 0, 20, 20))
    out = BytesIO()
    image.save(out, kind, **more)
    return out.getvalue()


def tagged() -> bytes:
    """Return a JPEG that says where it was taken, and that it lies on its side; with a script behind its end."""
    exif = Image.Exif()
    exif[ORIENTATION] = 6
    exif.get_ifd(GPS)[2] = (14.0, 33.0, 1.0)
    return picture(exif=exif, comment=b"<script>home</script>") + b"PK\x03\x04<script>alert(1)</script>"


@pytest.mark.parametrize(
    ("kind", "mode"),
    [
        *(("JPEG", mode) for mode in ("RGB", "L", "CMYK")),
        *(("PNG", mode) for mode in ("RGB", "RGBA", "L", "LA", "P", "1", "I;16")),
        *(("WEBP", mode) for mode in ("RGB", "RGBA")),
    ],
)
def test_each_kind_and_mode_becomes_a_jpeg(kind: str, mode: str) -> None:
    out = BytesIO()
    Image.new(mode, (40, 20)).save(out, kind)
    made = to_picture(out.getvalue())
    with Image.open(BytesIO(made.data)) as image:
        assert (image.format, image.mode, image.size) == ("JPEG", "RGB", (40, 20))
    assert (made.width, made.height) == (40, 20)


def test_nothing_but_pixels_is_left_and_they_stand_upright() -> None:
    made = to_picture(tagged())
    with Image.open(BytesIO(made.data)) as image:
        assert not image.getexif()
        assert "exif" not in image.info
        assert "comment" not in image.info
        assert image.size == (20, 40)
        top, bottom = image.getpixel((10, 5)), image.getpixel((10, 35))
    assert isinstance(top, tuple)
    assert isinstance(bottom, tuple)
    assert top[2] > 200 > top[0]
    assert bottom[0] > 200 > bottom[2]
    assert b"script" not in made.data
    assert b"PK" not in made.data


def test_what_is_clear_becomes_white_and_what_is_long_is_made_smaller() -> None:
    out = BytesIO()
    Image.new("RGBA", (5000, 10), (0, 0, 0, 0)).save(out, "PNG")
    made = to_picture(out.getvalue())
    assert (made.width, made.height) == (LONGEST_SIDE, 4)
    with Image.open(BytesIO(made.data)) as image:
        assert image.getpixel((5, 2)) == (255, 255, 255)


def test_a_bomb_is_refused_by_its_header() -> None:
    """A PNG that says it is larger than may be has no pixels at all, so it was not decoded."""

    def chunk(name: bytes, body: bytes) -> bytes:
        return struct.pack(">I", len(body)) + name + body + struct.pack(">I", zlib.crc32(name + body))

    for side in (7_100, 11_000, 60_000):
        header = chunk(b"IHDR", struct.pack(">IIBBBBB", side, side, 8, 2, 0, 0, 0))
        data = b"\x89PNG\r\n\x1a\n" + header + chunk(b"IDAT", zlib.compress(b"")) + chunk(b"IEND", b"")
        with pytest.raises(ValueError, match=str(MAX_PIXELS)):
            to_picture(data)


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"<svg xmlns='http://www.w3.org/2000/svg'><script/></svg>",
        b"GIF89a\x01\x00\x01\x00\x00\x00\x00;",
        b"%PDF-1.7",
        picture()[:300],
        picture("PNG")[:60],
    ],
)
def test_other_files_and_damaged_ones_are_refused(data: bytes) -> None:
    with pytest.raises(ValueError, match=r"is no JPEG, PNG or WebP|is damaged"):
        to_picture(data)


@settings(max_examples=150, deadline=None)
@given(kind=st.sampled_from(["JPEG", "PNG", "WEBP"]), spots=st.lists(st.tuples(st.integers(0), st.integers(0, 255))))
def test_whatever_is_sent_becomes_a_picture_or_a_reason(kind: str, spots: list[tuple[int, int]]) -> None:
    """Bytes turned at random in true files: nothing but ValueError is ever raised."""
    data = bytearray(picture(kind))
    for place, value in spots:
        data[place % len(data)] = value
    try:
        made = to_picture(bytes(data))
    except ValueError:
        return
    assert made.data.startswith(b"\xff\xd8")
