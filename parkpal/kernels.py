"""Compiled kernels are cached by the source of all of them.

Numba's own cache looks at the file that holds a kernel and not at the kernels it calls, so after a change in one file
it would go on with what it compiled from another.
"""

from collections.abc import MutableMapping
from hashlib import sha256
from importlib import resources
from pathlib import Path
from typing import Final

HOLDERS: Final = ("geo", "pipeline/batch", "pipeline/partition.py")
"""Where kernels and what they are compiled from stand."""


def cache_by_source(environ: MutableMapping[str, str]) -> None:
    """Name a cache folder for Numba, before it is imported, unless the user named one."""
    digest = sha256()
    root = Path(str(resources.files("geo"))).parent
    for holder in HOLDERS:
        for path in sorted((root / holder).rglob("*.py")) or [root / holder]:
            digest.update(path.read_bytes())
    home = Path(environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    environ.setdefault("NUMBA_CACHE_DIR", str(home / "parkpal" / f"kernels-{digest.hexdigest()[:16]}"))
