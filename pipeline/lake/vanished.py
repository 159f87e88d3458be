"""What becomes of a read of files that upkeep replaces under it: it fails, and the next try is right."""

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Final, TypeVar

import duckdb

T = TypeVar("T")

VANISHED: Final = (duckdb.IOException, duckdb.InvalidInputException, FileNotFoundError)
"""What such a query of DuckDB ends with: a missing file, or a stopper (see `pipeline.lake.exchange`)."""
AGAIN_S: Final = 0.1
"""After which no stopper of that exchange stands any more."""
TRIES: Final = 10


def has_vanished(error: BaseException) -> bool:
    """Tell whether a read may have failed so; a file that shrank once it was open is an error without a class."""
    return isinstance(error, VANISHED) or type(error) is duckdb.Error


@contextmanager
def forgiven() -> Iterator[None]:
    """End the block where a file vanishes under it."""
    try:
        yield
    except (duckdb.Error, *VANISHED) as error:
        if not has_vanished(error):
            raise


def read_again(read: Callable[[], T]) -> T:
    """Return what a read gives; where a file vanishes under it, it is done again, some times."""
    for _ in range(TRIES - 1):
        with forgiven():
            return read()
        time.sleep(AGAIN_S)
    return read()
