"""One S3 server over a folder, versitygw, built from its published source by Go; no Docker.

    python -m deploy.s3.gateway start    builds what is missing, starts, prints what to set
    python -m deploy.s3.gateway stop

Objects are plain files under `buckets` of its folder. Its keys are made at the first start and lie beside them.
"""

import argparse
import os
import secrets
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Final

from deploy.server import Server, ServerError

VERSION: Final = "v1.8.0"
BINARY: Final = Path("~/.cache/parkpal/versitygw").expanduser() / VERSION / "versitygw"
FOLDER: Final = Path("data/s3")
PORT: Final = 7070
BUCKET: Final = "parkpal"


def can_run() -> bool:
    """Tell whether this machine has the server, or Go to build it."""
    return BINARY.exists() or shutil.which("go") is not None


def build() -> Path:
    """Return the server's program, built once if it is not there yet."""
    if BINARY.exists():
        return BINARY
    if shutil.which("go") is None:
        raise ServerError(f"Go is needed to build versitygw {VERSION} once into {BINARY.parent}")
    print(f"building versitygw {VERSION} into {BINARY.parent}; this takes a minute or two", file=sys.stderr)
    making = BINARY.parent.with_name(f"{VERSION}.making-{os.getpid()}")
    done = subprocess.run(  # noqa: S603  our own command
        ["go", "install", f"github.com/versity/versitygw/cmd/versitygw@{VERSION}"],  # noqa: S607  Go where it is
        env={**os.environ, "GOBIN": str(making)},
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode:
        raise ServerError(f"Go could not build versitygw {VERSION}:\n{done.stderr[-2000:]}")
    making.rename(BINARY.parent)
    return BINARY


class Gateway(Server):
    """An S3 server with one bucket."""

    name = "versitygw"
    marker = b"versitygw"

    @property
    def endpoint(self) -> str:
        """Return the URL that S3 clients are given."""
        return f"http://{self.address}"

    @property
    def keys(self) -> dict[str, str]:
        """Return the keys as the variables of S3 clients."""
        access, secret = (self.folder / "keys").read_text().split()
        return {"AWS_ACCESS_KEY_ID": access, "AWS_SECRET_ACCESS_KEY": secret}

    def prepare(self) -> Sequence[str]:
        """Make keys and bucket."""
        (self.folder / "buckets" / BUCKET).mkdir(parents=True, exist_ok=True)
        if not (self.folder / "keys").exists():
            descriptor = os.open(self.folder / "keys", os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
            with os.fdopen(descriptor, "w", encoding="ascii") as file:
                file.write(f"parkpal {secrets.token_urlsafe(24)}\n")
        return [str(build()), "--port", self.address, "--quiet", "posix", str(self.folder / "buckets")]

    def environment(self) -> Mapping[str, str]:
        """Return the keys as the server reads them: command lines are for everybody to see."""
        keys = self.keys
        return {"ROOT_ACCESS_KEY": keys["AWS_ACCESS_KEY_ID"], "ROOT_SECRET_KEY": keys["AWS_SECRET_ACCESS_KEY"]}


@contextmanager
def temporary_gateway() -> Iterator[Gateway]:
    """Run an empty server on a free port, gone afterwards with all it held."""
    with tempfile.TemporaryDirectory(prefix="s3-") as folder:
        gateway = Gateway(Path(folder), 0)
        gateway.start()
        try:
            yield gateway
        finally:
            gateway.kill()


def main() -> None:
    """Start or stop the server of a folder."""
    parser = argparse.ArgumentParser(description="One S3 server on this machine.")
    parser.add_argument("action", choices=["start", "stop"])
    parser.add_argument("--folder", type=Path, default=FOLDER, help="default: %(default)s")
    parser.add_argument("--port", type=int, default=PORT, help="0: a free one; default: %(default)s")
    options = parser.parse_args()
    gateway = Gateway(options.folder, options.port)
    try:
        if options.action == "stop":
            gateway.stop()
        else:
            gateway.start()
            _print_settings(gateway)
    except ServerError as error:
        sys.exit(str(error))


def _print_settings(gateway: Gateway) -> None:
    home = gateway.folder / "home"
    for name, value in gateway.keys.items():
        print(f"export {name}={value}")
    print(f"export PARKPAL_LAKE_URL='s3://{BUCKET}/lake?endpoint={gateway.endpoint}&home={home}'")


if __name__ == "__main__":
    main()
