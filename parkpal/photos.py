"""Where photos are kept, from its URL: `file:///FOLDER`, or `s3://BUCKET/PREFIX[?endpoint=URL][&region=NAME]`."""

from pathlib import Path
from urllib.parse import parse_qsl, unquote, urlsplit

from api.photos.store import FolderStore, PhotoStore


def build_photo_store(url: str, seed: bytes, public_url: str) -> PhotoStore:
    """Return the store; seed signs the URLs of a folder's photos, which begin with public_url. ValueError."""
    parts = urlsplit(url)
    path = unquote(parts.path).strip("/")
    if parts.scheme == "file":
        if parts.netloc or not path:
            raise ValueError("PARKPAL_PHOTOS_URL must be file:///FOLDER")
        return FolderStore(Path("/") / path, seed, public_url)
    given = dict(parse_qsl(parts.query))
    if "@" in parts.netloc or not parts.netloc or not path or set(given) - {"endpoint", "region"}:
        raise ValueError(
            "PARKPAL_PHOTOS_URL must be s3://BUCKET/PREFIX[?endpoint=URL][&region=NAME], "
            "with the keys in AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY"
        )
    from api.photos.s3 import S3PhotoStore  # noqa: PLC0415  # its libraries are an extra
    from pipeline.lake.place import build_place  # noqa: PLC0415

    return S3PhotoStore(build_place(parts.netloc, path, given).store)
