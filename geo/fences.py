"""Fences as people draw them: versions of a named area, read from GeoJSON and checked whole before anything uses one.

A fence is a history of versions. A version holds in event time from `valid_from` until `valid_to`, which is at the
latest where the next one begins. Rings are closed, lat before lon; GeoJSON's order ends here.
"""

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Final, Literal, cast

import shapely

FENCE_KINDS: Final = ("zone", "area")
MAX_ID: Final = 128
"""Characters of a fence_id."""
DEFAULT_DWELL_S: Final = 60.0
MAX_DWELL_S: Final = 86_400.0 * 366
ALWAYS_FROM: Final = 0
"""valid_from of a fence without one, ms UTC: no event is older than 1970."""
FOREVER: Final = 2**63 - 1
"""valid_to of a version that nothing ends, ms UTC."""
MAX_SPAN_DEG: Final = 180.0
"""A ring wider than this crosses the antimeridian, where GeoJSON wants it cut into two polygons (RFC 7946, 3.1.9)."""

Ring = tuple[tuple[float, float], ...]
"""Corners in degrees, (lat, lon), the first again at the end."""
Polygons = tuple[tuple[Ring, ...], ...]
"""Polygons, each its shell and then its holes."""


@dataclass(frozen=True)
class FenceVersion:
    """One version of a fence: the area it covers and the half-open time [valid_from, valid_to) in which it holds."""

    fence_id: str
    version: int
    name: str
    kind: Literal["zone", "area"]
    dwell_s: float
    valid_from: int
    valid_to: int
    polygons: Polygons


def versions_from_geojson(text: bytes | str) -> tuple[FenceVersion, ...]:
    """Read a GeoJSON FeatureCollection (or one Feature) of Polygons and MultiPolygons.

    Properties: fence_id (required), name, kind (`zone`, else `area`), dwell_s (60), valid_from and valid_to (RFC 3339
    with an offset, or integer ms UTC); others are ignored. Features of one fence_id are its versions in order of
    valid_from, numbered from 1. Sorted by fence_id and version. Raises ValueError naming feature, field and rule.
    """
    versions = [_feature_to_version(feature, f"feature {i}") for i, feature in enumerate(_features(text))]
    versions.sort(key=lambda version: (version.fence_id, version.valid_from))
    return tuple(_number(versions))


def _number(versions: Sequence[FenceVersion]) -> Iterator[FenceVersion]:
    """Count each fence's versions from 1 and end each where the next begins."""
    number = 0
    for i, version in enumerate(versions):
        follower = versions[i + 1] if i + 1 < len(versions) else None
        number = number + 1 if i and versions[i - 1].fence_id == version.fence_id else 1
        valid_to = version.valid_to
        if follower is not None and follower.fence_id == version.fence_id:
            if follower.valid_from == version.valid_from:
                raise ValueError(f"fence {version.fence_id!r}: valid_from: two versions begin at {version.valid_from}")
            valid_to = min(valid_to, follower.valid_from)
        yield FenceVersion(
            version.fence_id,
            number,
            version.name,
            version.kind,
            version.dwell_s,
            version.valid_from,
            valid_to,
            version.polygons,
        )


def _features(text: bytes | str) -> list[object]:
    try:
        document = json.loads(text)
    except (json.JSONDecodeError, UnicodeDecodeError, RecursionError) as error:
        raise ValueError(f"not JSON: {error}") from error
    if isinstance(document, dict) and document.get("type") == "Feature":
        return [document]
    if not isinstance(document, dict) or document.get("type") != "FeatureCollection":
        raise ValueError("type: must be FeatureCollection or Feature")
    features = document.get("features")
    if not isinstance(features, list):
        raise ValueError("features: must be an array")  # noqa: TRY004 - bad data, not a wrong call
    return features


def _feature_to_version(feature: object, where: str) -> FenceVersion:
    properties = feature.get("properties") if isinstance(feature, dict) else None
    if not isinstance(feature, dict) or not isinstance(properties, dict):
        raise ValueError(f"{where}: properties: must be an object")  # noqa: TRY004 - bad data, not a wrong call
    fence_id = properties.get("fence_id")
    if not isinstance(fence_id, str) or not 0 < len(fence_id) <= MAX_ID or not fence_id.isprintable():
        raise ValueError(f"{where}: fence_id: must be 1 to {MAX_ID} printable characters")
    where = f"{where} ({fence_id!r})"
    name = properties.get("name")
    if name is not None and not isinstance(name, str):
        raise ValueError(f"{where}: name: must be a string")
    kind = properties.get("kind")
    if kind not in (None, *FENCE_KINDS):
        raise ValueError(f"{where}: kind: must be one of {', '.join(FENCE_KINDS)}")
    valid_from = _time(properties, "valid_from", ALWAYS_FROM, where)
    valid_to = _time(properties, "valid_to", FOREVER, where)
    if valid_to <= valid_from:
        raise ValueError(f"{where}: valid_to: must lie after valid_from")
    return FenceVersion(
        fence_id,
        1,
        name or fence_id,
        "area" if kind == "area" else "zone",
        _dwell_s(properties, where),
        valid_from,
        valid_to,
        _polygons(feature.get("geometry"), where),
    )


def _dwell_s(properties: Mapping[str, object], where: str) -> float:
    value = properties.get("dwell_s")
    if value is None:
        return DEFAULT_DWELL_S
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 <= value <= MAX_DWELL_S:
        raise ValueError(f"{where}: dwell_s: must be a number of seconds from 0 to {MAX_DWELL_S:.0f}")
    return float(value)


def _time(properties: Mapping[str, object], field: str, missing: int, where: str) -> int:
    """Return a time in ms UTC from RFC 3339 text or integer ms."""
    value = properties.get(field)
    if value is None:
        return missing
    if isinstance(value, int) and not isinstance(value, bool) and ALWAYS_FROM <= value <= FOREVER:
        return value
    try:
        instant = datetime.fromisoformat(cast("str", value))
    except (TypeError, ValueError) as error:
        raise ValueError(f"{where}: {field}: must be RFC 3339 text or integer ms UTC from 1970 on") from error
    if instant.tzinfo is None:
        raise ValueError(f"{where}: {field}: must name its offset from UTC")
    if instant.timestamp() < 0:
        raise ValueError(f"{where}: {field}: must not lie before 1970")
    return round(instant.timestamp() * 1000)


def _polygons(geometry: object, where: str) -> Polygons:
    if not isinstance(geometry, dict) or geometry.get("type") not in ("Polygon", "MultiPolygon"):
        raise ValueError(f"{where}: geometry: must be a Polygon or a MultiPolygon")
    nested = geometry.get("coordinates")
    if not isinstance(nested, list) or not nested:
        raise ValueError(f"{where}: geometry: coordinates must be an array that is not empty")
    polygons = tuple(
        tuple(_ring(ring, where) for ring in _array(polygon, where))
        for polygon in (nested if geometry["type"] == "MultiPolygon" else [nested])
    )
    _check_shape(polygons, where)
    return polygons


def _array(value: object, where: str) -> list[object]:
    if not isinstance(value, list) or not value:
        raise ValueError(f"{where}: geometry: every level of coordinates must be an array that is not empty")
    return value


def _ring(nested: object, where: str) -> Ring:
    ring = tuple(_corner(corner, where) for corner in _array(nested, where))
    if len(ring) < 4 or ring[0] != ring[-1]:
        raise ValueError(f"{where}: geometry: a ring needs four corners or more, the last equal to the first")
    lons = [lon for _, lon in ring]
    if max(lons) - min(lons) > MAX_SPAN_DEG:
        raise ValueError(f"{where}: geometry: wider than {MAX_SPAN_DEG:.0f} degrees; cut it at the antimeridian")
    return ring


def _corner(corner: object, where: str) -> tuple[float, float]:
    if not isinstance(corner, list) or len(corner) not in {2, 3} or not all(_is_number(c) for c in corner):
        raise ValueError(f"{where}: geometry: a corner must be [lon, lat] in numbers")
    lon, lat = corner[:2]
    if not (abs(lat) <= 90 and abs(lon) <= 180):
        raise ValueError(f"{where}: geometry: corner [{lon}, {lat}] is out of range")
    return float(lat), float(lon)


def _is_number(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def _check_shape(polygons: Polygons, where: str) -> None:
    shape = shapely.MultiPolygon([(shell, holes) for shell, *holes in polygons])
    if not shapely.is_valid(shape):
        raise ValueError(f"{where}: geometry: {shapely.is_valid_reason(shape)} (lat, lon)")
    if not shapely.area(shape) > 0:
        raise ValueError(f"{where}: geometry: covers no area")
