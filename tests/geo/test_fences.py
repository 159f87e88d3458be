"""GeoJSON becomes versions of fences, or an error that names feature, field and rule."""

import json

import pytest

from geo.fences import FOREVER, versions_from_geojson

SQUARE = [[[121.0, 14.5], [121.01, 14.5], [121.01, 14.51], [121.0, 14.51], [121.0, 14.5]]]
HOLE = [[121.004, 14.504], [121.004, 14.506], [121.006, 14.506], [121.006, 14.504], [121.004, 14.504]]


def feature(properties: object = None, geometry: object = None) -> dict[str, object]:
    return {
        "type": "Feature",
        "properties": {"fence_id": "a"} if properties is None else properties,
        "geometry": {"type": "Polygon", "coordinates": SQUARE} if geometry is None else geometry,
    }


def collection(*features: object) -> str:
    return json.dumps({"type": "FeatureCollection", "features": features})


def polygon(*rings: object) -> dict[str, object]:
    return {"type": "Polygon", "coordinates": rings}


def test_a_feature_with_only_its_id_gets_the_defaults() -> None:
    (version,) = versions_from_geojson(collection(feature()))
    assert (version.fence_id, version.version, version.name, version.kind) == ("a", 1, "a", "zone")
    assert (version.dwell_s, version.valid_from, version.valid_to) == (60.0, 0, FOREVER)
    assert version.polygons[0][0][0] == (14.5, 121.0)


def test_every_property_is_read_and_unknown_ones_ignored() -> None:
    properties = {
        "fence_id": "a",
        "name": "Ayala",
        "kind": "area",
        "dwell_s": 90,
        "valid_from": "2026-03-04T08:00:00+08:00",
        "valid_to": 1_800_000_000_000,
        "colour": "red",
    }
    (version,) = versions_from_geojson(collection(feature(properties)).encode())
    assert (version.name, version.kind, version.dwell_s) == ("Ayala", "area", 90.0)
    assert (version.valid_from, version.valid_to) == (1_772_582_400_000, 1_800_000_000_000)


def test_features_of_one_id_are_versions_in_order_of_valid_from() -> None:
    """Each ends where the next begins, unless it ended before; other fences stand apart."""
    features = [
        feature({"fence_id": fence_id, "valid_from": valid_from} | ends)
        for fence_id, valid_from, ends in (("b", 300, {}), ("a", 5, {}), ("b", 100, {"valid_to": 150}), ("b", 200, {}))
    ]
    found = [(v.fence_id, v.version, v.valid_from, v.valid_to) for v in versions_from_geojson(collection(*features))]
    assert found == [("a", 1, 5, FOREVER), ("b", 1, 100, 150), ("b", 2, 200, 300), ("b", 3, 300, FOREVER)]


def test_holes_and_several_polygons_are_kept() -> None:
    far = [[[122.0, 14.5], [122.01, 14.5], [122.01, 14.51], [122.0, 14.5]]]
    shape = {"type": "MultiPolygon", "coordinates": [[*SQUARE, HOLE], far]}
    (version,) = versions_from_geojson(collection(feature(geometry=shape)))
    assert [len(rings) for rings in version.polygons] == [2, 1]


def test_a_single_feature_is_read_too() -> None:
    assert len(versions_from_geojson(json.dumps(feature()))) == 1


def test_altitude_is_dropped() -> None:
    (version,) = versions_from_geojson(collection(feature(geometry=polygon([[*c, 7.0] for c in SQUARE[0]]))))
    assert version.polygons[0][0][0] == (14.5, 121.0)


BOWTIE = [[121.0, 14.5], [121.01, 14.51], [121.01, 14.5], [121.0, 14.51], [121.0, 14.5]]


@pytest.mark.parametrize(
    ("bad", "rule"),
    [
        (feature({}), "feature 1: fence_id"),
        (feature({"fence_id": 7}), "feature 1: fence_id"),
        (feature({"fence_id": "x" * 129}), "feature 1: fence_id"),
        (feature({"fence_id": "x\ud800"}), "feature 1: fence_id"),
        (feature([]), "feature 1: properties"),
        (7, "feature 1: properties"),
        (feature({"fence_id": "b", "name": 7}), r"feature 1 \('b'\): name"),
        (feature({"fence_id": "b", "kind": "circle"}), "kind: must be one of zone, area"),
        (feature({"fence_id": "b", "kind": []}), "kind: must be one of zone, area"),
        (feature({"fence_id": "b", "dwell_s": -1}), "dwell_s"),
        (feature({"fence_id": "b", "dwell_s": "60"}), "dwell_s"),
        (feature({"fence_id": "b", "dwell_s": True}), "dwell_s"),
        (feature({"fence_id": "b", "dwell_s": float("nan")}), "dwell_s"),
        (feature({"fence_id": "b", "valid_from": "soon"}), "valid_from: must be RFC 3339"),
        (feature({"fence_id": "b", "valid_from": "2026-03-04T08:00:00"}), "valid_from: must name its offset"),
        (feature({"fence_id": "b", "valid_from": "1969-03-04T08:00:00Z"}), "valid_from: must not lie before 1970"),
        (feature({"fence_id": "b", "valid_from": -1}), "valid_from"),
        (feature({"fence_id": "b", "valid_from": 2**70}), "valid_from"),
        (feature({"fence_id": "b", "valid_from": 9, "valid_to": 9}), "valid_to: must lie after valid_from"),
        (feature({"fence_id": "a"}), "fence 'a': valid_from: two versions begin at 0"),
        (feature({"fence_id": "b"}, {"type": "Point", "coordinates": [1, 2]}), "geometry: must be a Polygon"),
        (feature({"fence_id": "b"}, {"type": "Polygon", "coordinates": []}), "geometry: coordinates"),
        (feature({"fence_id": "b"}, {"type": "Polygon"}), "geometry: coordinates"),
        (feature({"fence_id": "b"}, {"type": []}), "geometry: must be a Polygon"),
        (feature({"fence_id": "b"}, {"type": "MultiPolygon", "coordinates": [[]]}), "geometry: every level"),
        (feature({"fence_id": "b"}, polygon(SQUARE[0][:-1])), "geometry: a ring needs four"),
        (feature({"fence_id": "b"}, polygon([SQUARE[0][0]] * 3)), "geometry: a ring needs four"),
        (feature({"fence_id": "b"}, polygon([SQUARE[0][0]] * 5)), "geometry"),
        (feature({"fence_id": "b"}, polygon([[181, 0], [0, 0], [0, 1], [181, 0]])), "geometry: corner .* out of range"),
        (feature({"fence_id": "b"}, polygon([[0, 90.1], [0, 0], [0, 1], [0, 90.1]])), "geometry: corner .* range"),
        (feature({"fence_id": "b"}, polygon([[float("nan"), 1], [0, 0], [0, 1], [1, 1]])), "geometry: corner"),
        (feature({"fence_id": "b"}, polygon([[10**400, 1], [0, 0], [0, 1], [1, 1]])), "geometry: corner"),
        (feature({"fence_id": "b"}, polygon([["0", 1], [0, 0], [0, 1], [1, 1]])), "geometry: a corner must be"),
        (feature({"fence_id": "b"}, polygon([[-170, 0], [170, 0], [170, 1], [-170, 0]])), "wider than 180"),
        (feature({"fence_id": "b"}, polygon(BOWTIE)), "geometry: Self-intersection"),
        (feature({"fence_id": "b"}, polygon(HOLE, SQUARE[0])), "geometry: Hole lies outside shell"),
    ],
)
def test_what_is_wrong_is_named(bad: object, rule: str) -> None:
    with pytest.raises(ValueError, match=rule):
        versions_from_geojson(collection(feature(), bad))


@pytest.mark.parametrize(
    ("text", "rule"),
    [
        ("{", "not JSON"),
        (b"\xff", "not JSON"),
        ("[" * 100_000, "not JSON"),
        ("[]", "type: must be"),
        ('{"type": "Polygon"}', "type: must be"),
        ('{"type": "FeatureCollection"}', "features: must be"),
    ],
)
def test_what_is_no_feature_collection_is_refused(text: bytes | str, rule: str) -> None:
    with pytest.raises(ValueError, match=rule):
        versions_from_geojson(text)
