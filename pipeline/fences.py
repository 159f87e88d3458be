"""The fence history for detection: from a file, complete for ever, or from the database, known up to its last reading.

A version takes effect at least 3 min after it is committed, so what was read at one moment is complete up to 2 min
later. Detection waits there while the database cannot be read; facts go on.
"""

import logging
import threading
from dataclasses import replace
from pathlib import Path
from typing import Final

import msgspec
import psycopg
from psycopg.conninfo import make_conninfo

from geo.fence_index import FenceIndex, build_index
from geo.fences import FenceVersion, versions_from_geojson
from geo.holding import FOREVER

COMPLETE_AHEAD_MS: Final = 120_000
READ_EVERY_S: Final = 10.0

_log: Final = logging.getLogger(__name__)
_READ: Final = """
    SELECT (extract(epoch FROM statement_timestamp()) * 1000)::bigint,
        coalesce(jsonb_agg(jsonb_build_object(
            'type', 'Feature', 'geometry', geometry, 'properties', jsonb_build_object(
                'fence_id', fence_id, 'version', version, 'name', name, 'kind', kind, 'dwell_s', dwell_s,
                'valid_from', (extract(epoch FROM valid_from) * 1000)::bigint,
                'valid_to', (extract(epoch FROM valid_to) * 1000)::bigint))), '[]')::text
    FROM fence_versions WHERE valid_to IS NULL OR valid_from < valid_to
"""


class FileFences:
    """The fences of a GeoJSON file."""

    def __init__(self, path: Path) -> None:
        """Read the file; ValueError names the feature and the rule it breaks."""
        self._index = build_index(versions_from_geojson(path.read_bytes()))

    def current(self) -> tuple[FenceIndex, int]:
        """Return the index; a file has no later versions."""
        return self._index, FOREVER

    def close(self) -> None:
        """Do nothing: the file is read."""


class DatabaseFences:
    """The fences of the database, read again every READ_EVERY_S seconds by a thread of its own."""

    def __init__(self, conninfo: str) -> None:
        """Read all versions; psycopg.Error if the database cannot be read."""
        options = "-c statement_timeout=5s"
        self._conninfo = make_conninfo(conninfo, connect_timeout=5, tcp_user_timeout=10_000, options=options)
        self._versions: tuple[FenceVersion, ...] = ()
        self._current = (build_index(()), -FOREVER)
        self._closed = threading.Event()
        self._read()
        threading.Thread(target=self._keep_reading, name="fences", daemon=True).start()

    def current(self) -> tuple[FenceIndex, int]:
        """Return the newest index and the event time up to which it is complete."""
        return self._current

    def close(self) -> None:
        """Read no more."""
        self._closed.set()

    def _keep_reading(self) -> None:
        while not self._closed.wait(READ_EVERY_S):
            try:
                self._read()
            except Exception as error:  # noqa: BLE001 - whatever it is, the thread must try again
                _log.warning("fences cannot be read, detection waits 2 min after the last reading: %s", error)

    def _read(self) -> None:
        with psycopg.connect(self._conninfo) as connection:
            row = connection.execute(_READ).fetchone()
        assert row is not None  # noqa: S101 - an aggregate always has its row
        now, features = row
        versions = _versions(features)
        index = self._current[0] if versions == self._versions else build_index(versions)
        self._versions, self._current = versions, (index, now + COMPLETE_AHEAD_MS)


class _Properties(msgspec.Struct):
    fence_id: str
    version: int
    valid_from: int


class _Feature(msgspec.Struct):
    properties: _Properties


def _versions(features: str) -> tuple[FenceVersion, ...]:
    """Return the versions with the database's numbers, which count withdrawn ones too."""
    listed = [feature.properties for feature in msgspec.json.decode(features, type=list[_Feature])]
    numbers = {(of.fence_id, of.valid_from): of.version for of in listed}
    read = versions_from_geojson(f'{{"type": "FeatureCollection", "features": {features}}}')
    return tuple(replace(version, version=numbers[version.fence_id, version.valid_from]) for version in read)
