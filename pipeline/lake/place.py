"""Where a lake in an object store lies: `s3://BUCKET/PREFIX?home=/FOLDER[&endpoint=http://HOST:PORT][&region=NAME]`.

`home` is a local folder for what only this machine knows: locks, and the engine's recovery store. The keys come from
the environment, as every S3 client reads them (AWS_ACCESS_KEY_ID, AWS_SECRET_ACCESS_KEY, AWS_SESSION_TOKEN).
"""

import os
from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from datetime import timedelta
from pathlib import Path
from typing import Any, Final, NamedTuple
from urllib.parse import parse_qsl, urlsplit
from uuid import uuid4

import obstore
from deltalake.exceptions import DeltaError
from obstore.exceptions import AlreadyExistsError, BaseError
from obstore.store import S3Store

from pipeline.lake.commit import LakeRefusedError, LakeWriteError

AT_ONCE: Final = 8
"""Requests under way at once: what they cost is waiting."""
REGION: Final = "us-east-1"
REQUEST: Final = timedelta(seconds=30)
GIVE_UP: Final = timedelta(seconds=60)
"""A store that does not answer for so long ends the run with the reason; nothing is lost."""


class Place(NamedTuple):
    """A prefix of a bucket, for both libraries that speak to it."""

    name: str  # s3://bucket/prefix, without keys: fit to be shown
    store: Any
    options: dict[str, str]  # storage_options of Delta Lake


def parse_place(url: str) -> tuple[Place, Path]:
    """Return the place and its home; ValueError names the part of the URL that breaks its rule."""
    parts = urlsplit(url)
    given = dict(parse_qsl(parts.query))
    unknown = set(given) - {"home", "endpoint", "region"}
    if "@" in parts.netloc:  # the URL is not repeated: it may be printed
        raise ValueError("lake s3://...: keys belong into the environment, AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY")
    if not parts.netloc or not parts.path.strip("/") or unknown:
        raise ValueError(f"lake {url!r}: expected s3://BUCKET/PREFIX?home=/FOLDER[&endpoint=URL][&region=NAME]")
    if not Path(given.get("home", "")).is_absolute():
        raise ValueError(f"lake {url!r}: home=/FOLDER is needed, a local folder for locks and the recovery store")
    return build_place(parts.netloc, parts.path.strip("/"), given), Path(given["home"])


def build_place(bucket: str, prefix: str, given: dict[str, str]) -> Place:
    """Return the place of a prefix; `given` may hold an endpoint and a region."""
    region, endpoint = given.get("region", REGION), given.get("endpoint")
    config, options = {"region": region}, {"AWS_REGION": region}
    plain = endpoint is not None and endpoint.startswith("http://")
    if endpoint is not None:
        if "AWS_ACCESS_KEY_ID" not in os.environ:  # or the libraries ask Amazon's own network for a role
            raise ValueError(f"lake s3://{bucket}: set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY for {endpoint}")
        config["endpoint"] = options["AWS_ENDPOINT_URL"] = endpoint
    if plain:
        options["AWS_ALLOW_HTTP"] = "true"
    store = S3Store(
        bucket,
        prefix=prefix,
        config=config,  # type: ignore[arg-type]  # its type knows each key by name
        client_options={"allow_http": plain, "timeout": REQUEST},
        retry_config={"max_retries": 5, "retry_timeout": GIVE_UP},
    )
    return Place(f"s3://{bucket}/{prefix}", store, options)


def put_first(place: Place, path: str, data: bytes) -> bool:
    """Write an object unless it exists; return whether it was written. Raises LakeWriteError."""
    with storing(place):
        try:
            obstore.put(place.store, path, data, mode="create")
        except AlreadyExistsError:
            return False
    return True


def get(place: Place, path: str) -> bytes | None:
    """Return an object, None if there is none. Raises LakeWriteError."""
    with storing(place):
        try:
            return bytes(obstore.get(place.store, path).bytes())
        except FileNotFoundError:
            return None


def fetch(place: Place, paths: Iterable[str], folder: Path) -> None:
    """Copy objects into a folder under their own paths; one that is not there is passed over. Raises LakeWriteError."""

    def copy(path: str) -> None:
        with suppress(FileNotFoundError):
            data = obstore.get(place.store, path).bytes()
            (folder / path).parent.mkdir(parents=True, exist_ok=True)
            (folder / path).write_bytes(data)

    with storing(place), ThreadPoolExecutor(AT_ONCE) as threads:
        list(threads.map(copy, paths))


def list_paths(place: Place, prefix: str) -> list[str]:
    """Return the objects below a prefix, sorted."""
    return sorted(found["path"] for page in obstore.list(place.store, prefix) for found in page)


def delete(place: Place, paths: Iterable[str]) -> None:
    """Delete objects; what is gone already is no error."""
    for path in paths:
        with suppress(FileNotFoundError):
            obstore.delete(place.store, path)


@contextmanager
def storing(place: Place) -> Iterator[None]:
    """Turn an error of the store into LakeWriteError that names the lake and the reason."""
    try:
        yield
    except (BaseError, DeltaError, OSError) as error:
        reason = str(error).partition("\n")[0]
        raise LakeWriteError(
            f"the lake {place.name} does not answer as it should: {reason}; "
            "mend this and start again, it goes on where it stood"
        ) from error


def probe(place: Place) -> None:
    """Refuse a store that does not keep the one promise that commits rest on: of several first writers one wins."""
    path = f"_probe/{uuid4().hex}"
    try:
        with ThreadPoolExecutor(AT_ONCE) as racers:
            won = sum(racers.map(lambda _: put_first(place, path, b""), range(AT_ONCE)))
        won += put_first(place, path, b"")
    finally:
        with storing(place):
            obstore.delete(place.store, path)
    if won != 1:
        raise LakeRefusedError(
            f"{place.name}: {won} writers of one new object were told that they are the first. Commits need a store "
            "with conditional writes (If-None-Match); this one would lose rows silently"
        )
