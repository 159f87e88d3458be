"""What went wrong inside the engine: a cluster of processes that ends by an error panics, and does not say which."""

import functools
from collections.abc import Callable
from typing import Final, ParamSpec, TypeVar

P = ParamSpec("P")
R = TypeVar("R")

failures: Final[list[Exception]] = []
"""Of this process, the first one first."""


def heard(call: Callable[P, R]) -> Callable[P, R]:
    """Note what a call of the engine's raises, and let it pass."""

    @functools.wraps(call)
    def noting(*args: P.args, **kwargs: P.kwargs) -> R:
        try:
            return call(*args, **kwargs)
        except StopIteration:
            raise
        except Exception as error:
            failures.append(error)
            raise

    return noting
