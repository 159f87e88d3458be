"""Keys are made once, atomically and for the owner's eyes only; nothing here ever changes or shows one.

A key is a file `<name>.key` of 32 random bytes. Several processes may ask for a missing one at the same moment: each
writes its own proposal, the first to link it in place wins, and all read the winner.
"""

import os
import secrets
from contextlib import suppress
from pathlib import Path
from typing import Final, NamedTuple

KEY_BYTES: Final = 32


class MissingKeyError(Exception):
    """A key that must be there is not, or is no key."""


class KeyFolder(NamedTuple):
    """The folder that holds the keys."""

    path: Path

    def read(self, name: str) -> bytes:
        """Return a key that must exist; MissingKeyError says how to make it."""
        path = self.path / f"{name}.key"
        try:
            key = path.read_bytes()
        except FileNotFoundError:
            how = f"make it once: head -c {KEY_BYTES} /dev/urandom > {path} && chmod 600 {path}"
            raise MissingKeyError(f"the key {path} is missing; {how}") from None
        if len(key) != KEY_BYTES:
            raise MissingKeyError(f"the key {path} is {len(key)} bytes long, not {KEY_BYTES}: restore it from a backup")
        return key

    def names(self) -> list[str]:
        """Return the names of all keys there are."""
        return sorted(path.stem for path in self.path.glob("*.key"))

    def ensure(self, name: str) -> bytes:
        """Return a key, made now if there is none."""
        write_once(self.path / f"{name}.key", secrets.token_bytes(KEY_BYTES))
        return self.read(name)


def write_once(path: Path, content: bytes) -> None:
    """Create a file of mode 0600 with this content, durably; leave it alone if it exists."""
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    if path.exists():
        return
    draft = path.with_name(f".{path.name}.{secrets.token_hex(8)}")
    descriptor = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    try:
        with os.fdopen(descriptor, "wb") as file:
            file.write(content)
            file.flush()
            os.fsync(descriptor)
        with suppress(FileExistsError):
            os.link(draft, path)
    finally:
        draft.unlink()
    folder = os.open(path.parent, os.O_RDONLY)
    try:
        os.fsync(folder)
    finally:
        os.close(folder)
