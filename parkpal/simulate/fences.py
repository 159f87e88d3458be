"""What is drawn on the map: every shape that makes geofencing hard, in metres first, then in degrees."""

from typing import Final, NamedTuple

import numpy as np
import shapely
from numpy.typing import NDArray

from parkpal.simulate.city import City, Floats, to_degrees

SHAPES: Final = ("circle",) * 14 + ("rect",) * 16 + ("blob",) * 7 + ("hole",) * 6 + ("street",) * 12 + ("multi",) * 5
TREES: Final = (
    "Narra", "Molave", "Sampaguita", "Ilang-Ilang", "Dapdap", "Balete", "Banaba", "Kamagong", "Yakal", "Talisay",
    "Bignay", "Duhat", "Mabolo", "Anahaw", "Santan",
)  # fmt: skip
STREET_HALF_WIDTH_M: Final = 14.0
REACH_M: Final = 950.0


class Fence(NamedTuple):
    """A fence: its shape in metres of the city's plane."""

    fence_id: str
    name: str
    kind: str
    cls: str
    shape: shapely.Geometry


def draw_fences(city: City, rng: np.random.Generator) -> list[Fence]:
    """Draw fences of all shapes over the city; streets are of kind area, the others zones."""
    fences = []
    for i, cls in enumerate(SHAPES):
        shape = _street(city, rng) if cls == "street" else _patch(cls, rng)
        name = f"{TREES[i % len(TREES)]} {cls} {i // len(TREES) + 1}"
        fences.append(Fence(f"bg-f{i:03}", name, "area" if cls == "street" else "zone", cls, shape))
    return fences


def _patch(cls: str, rng: np.random.Generator) -> shapely.Geometry:
    x, y = rng.uniform(-REACH_M, REACH_M, 2)
    if cls == "circle":
        return shapely.Point(x, y).buffer(rng.uniform(40, 190), quad_segs=16)
    if cls == "rect":
        return _rectangle(x, y, rng)
    if cls == "blob":
        return _blob(x, y, rng.uniform(60, 190), rng)
    if cls == "hole":
        return _blob(x, y, rng.uniform(120, 210), rng).difference(shapely.Point(x, y).buffer(rng.uniform(35, 60)))
    return shapely.union_all([_rectangle(x + dx, y + 40, rng) for dx in (-220, 220)])


def _rectangle(x: float, y: float, rng: np.random.Generator) -> shapely.Geometry:
    wide, high = rng.uniform(30, 130, 2)
    box = shapely.box(x - wide, y - high, x + wide, y + high)
    return shapely.affinity.rotate(box, rng.uniform(0, 90))


def _blob(x: float, y: float, radius_m: float, rng: np.random.Generator) -> shapely.Geometry:
    angle = np.linspace(0, 2 * np.pi, 40, endpoint=False)
    radius = radius_m * (1 + 0.2 * np.sin(2 * angle + rng.uniform(0, 6)) + 0.12 * np.sin(5 * angle + rng.uniform(0, 6)))
    return shapely.Polygon(np.column_stack((x + radius * np.cos(angle), y + radius * np.sin(angle))))


def _street(city: City, rng: np.random.Generator) -> shapely.Geometry:
    """Take the strip along two or more street segments in a row, barely wider than the street."""
    streets = city.streets()
    first = int(rng.choice(streets))
    start, end = int(city.tail[first]), int(city.head[first])
    away = 2 * city.x[end] - city.x[start], 2 * city.y[end] - city.y[start]
    far = int(np.argmin(np.hypot(city.x - away[0], city.y - away[1])))
    line = shapely.LineString([(city.x[i], city.y[i]) for i in (start, end, far)])
    return line.buffer(STREET_HALF_WIDTH_M, cap_style="flat")


def holds(fence: Fence, x: Floats, y: Floats) -> NDArray[np.bool_]:
    """Return which places, in metres, the fence holds."""
    west, south, east, north = shapely.bounds(fence.shape)
    inside: NDArray[np.bool_] = (x >= west) & (x <= east) & (y >= south) & (y <= north)
    shapely.prepare(fence.shape)
    inside[inside] = shapely.contains_xy(fence.shape, x[inside], y[inside])
    return inside


def fences_to_geojson(fences: list[Fence], scenario: str) -> dict[str, object]:
    """Return the fences as a GeoJSON FeatureCollection, longitude first."""
    return {"type": "FeatureCollection", "features": [_feature(fence, scenario) for fence in fences]}


def _feature(fence: Fence, scenario: str) -> dict[str, object]:
    geometry = shapely.transform(shapely.normalize(fence.shape), _to_lon_lat)
    properties = {
        "fence_id": fence.fence_id,
        "name": fence.name,
        "kind": fence.kind,
        "scenario": scenario,
        "cls": fence.cls,
        "area_m2": round(fence.shape.area),
    }
    return {"type": "Feature", "properties": properties, "geometry": shapely.geometry.mapping(geometry)}


def _to_lon_lat(points: Floats) -> Floats:
    lat, lon = to_degrees(points[:, 0], points[:, 1])
    return np.column_stack((lon, lat))
