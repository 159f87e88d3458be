"""What the server has acknowledged, line by line: a later run asks here what is missing, and sends only that."""

import json
import os
from pathlib import Path
from typing import Final

REGISTERED: Final = "registered"
DONE: Final = "done"


class Journal:
    """Tokens of the phones and the number of bodies done for each; for the owner's eyes only."""

    def __init__(self, path: Path) -> None:
        """Read what is there; a line torn by a crash was never acknowledged to anybody and is cut off."""
        self.tokens: dict[str, str] = {}
        self.done: dict[str, int] = {}
        lines = path.read_bytes().splitlines(keepends=True) if path.exists() else []
        whole = [line for line in lines if line.endswith(b"\n")]
        for line in whole:
            kind, phone, value = json.loads(line)
            (self.tokens if kind == REGISTERED else self.done)[phone] = value
        self._file = os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600), "ab", buffering=0)
        self._file.truncate(sum(map(len, whole)))

    def registered(self, phone: str, token: str) -> None:
        """Remember a phone's token."""
        self.tokens[phone] = token
        self._write(REGISTERED, phone, token)

    def acknowledged(self, phone: str, bodies: int) -> None:
        """Remember that the first `bodies` bodies of a phone are done."""
        self.done[phone] = bodies
        self._write(DONE, phone, bodies)

    def close(self) -> None:
        """Close the file."""
        self._file.close()

    def _write(self, kind: str, phone: str, value: str | int) -> None:
        self._file.write(json.dumps([kind, phone, value]).encode() + b"\n")
