"""The lake as the api sees it: named queries with parameters, how far its data goes, and errors that the API has."""

from collections.abc import Callable, Mapping
from datetime import datetime
from typing import Any, Final

from api.errors import UnavailableError
from pipeline.lake.commit import LakeRefusedError
from pipeline.lake.lake import LakeMissingError
from pipeline.lake.reader import LakeBusyError, LakeTimeoutError, Reader
from pipeline.lake.vanished import VANISHED

_RETRY_AFTER_S: Final = 5
_PASSING: Final = (LakeBusyError, LakeTimeoutError, LakeMissingError, LakeRefusedError, *VANISHED, OSError)


class LakeReader:
    """Answers queries over one lake, from any thread; the lake may be created later."""

    def __init__(self, url: str) -> None:
        self._reader = Reader(url, threads=1)  # roll-ups are small: a second thread costs more than it saves

    def query(self, sql: str, parameters: Mapping[str, object]) -> list[tuple[Any, ...]]:
        """Return all rows; UnavailableError when the lake is busy, too slow or unreadable."""
        try:
            return self._reader.query(sql, parameters)
        except _PASSING as error:
            raise UnavailableError("The lake does not answer.", retry_after_s=_RETRY_AFTER_S) from error

    def freshness(self) -> datetime | None:
        """Return the newest receive_time that can be read, None while there is none; UnavailableError."""
        return _ask(self._reader.freshness)

    def rolled_up(self) -> datetime | None:
        """Return the newest receive_time that the roll-ups know, None before there are any; UnavailableError."""
        return _ask(self._reader.rolled_up)

    def close(self) -> None:
        """Close the reader; queries that still run end with an error."""
        self._reader.close()


def _ask(question: Callable[[], datetime | None]) -> datetime | None:
    try:
        return question()
    except _PASSING as error:
        raise UnavailableError("The lake cannot be read.", retry_after_s=_RETRY_AFTER_S) from error
