"""SQL stands in files of its own, each statement under a line `-- name: word`."""

import re
from importlib import resources
from typing import Final

_NAME: Final = re.compile(r"^-- name: (\w+)\n", re.MULTILINE)


def load_named(package: str, file: str) -> dict[str, str]:
    """Return the statements of a package's SQL file by name, in order; ValueError where a name stands twice."""
    parts = _NAME.split(resources.files(package).joinpath(file).read_text("utf-8"))
    names, texts = parts[1::2], parts[2::2]
    if len(set(names)) != len(names):
        raise ValueError(f"{package}/{file}: a query name stands twice")
    return {name: text.strip() for name, text in zip(names, texts, strict=True)}
