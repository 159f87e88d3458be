"""A small extract becomes roads: one-ways, closed ways, restrictions; and a file of arrays becomes the same again."""

import gzip
import math
from pathlib import Path

import pytest
from click.testing import CliRunner

from geo.network import Roads
from parkpal.cli import main
from pipeline.extract import read_extract
from pipeline.network import read_roads, save

# 3 -- 4 -- 5
# |    |    |    0-1-2 is one-way eastwards, 1-4 may not be entered from 0-1, 2-5 is private, 6 hangs on a footway
# 0 -> 1 -> 2    and 3-4-5 is a residential street
WAYS = {
    10: ([0, 1, 2], {"highway": "secondary", "oneway": "yes"}),
    11: ([1, 4], {"highway": "residential"}),
    12: ([3, 4, 5], {"highway": "residential"}),
    13: ([2, 5], {"highway": "service", "access": "private"}),
    14: ([0, 3], {"highway": "residential", "oneway": "-1"}),
    15: ([5, 6], {"highway": "footway"}),
}
PLACES = {0: (0, 0), 1: (0, 1), 2: (0, 2), 3: (1, 0), 4: (1, 1), 5: (1, 2), 6: (1, 3)}


def extract(restriction: str | None) -> str:
    nodes = "".join(
        f'<node id="{n}" lat="{14.55 + 0.001 * y}" lon="{121.03 + 0.001 * x}"/>' for n, (y, x) in PLACES.items()
    )
    ways = "".join(
        f'<way id="{way}">'
        + "".join(f'<nd ref="{node}"/>' for node in nodes_of)
        + "".join(f'<tag k="{k}" v="{v}"/>' for k, v in tags.items())
        + "</way>"
        for way, (nodes_of, tags) in WAYS.items()
    )
    members = '<member type="way" ref="10" role="from"/><member type="node" ref="1" role="via"/>'
    members += '<member type="way" ref="11" role="to"/>'
    tags = f'<tag k="type" v="restriction"/><tag k="restriction" v="{restriction}"/>'
    relation = f'<relation id="1">{members}{tags}</relation>' if restriction else ""
    return f'<osm version="0.6">{nodes}{ways}{relation}</osm>'


def way_m(path: Path, start: int, end: int) -> float:
    """Return the way from just behind a node, on its first street, to just before another, in blocks of 110 m."""
    (y, x), (to_y, to_x) = PLACES[start], PLACES[end]
    micro = (
        round(14.55e6 + 1000 * y),
        round(121.03e6 + 1000 * x),
        round(14.55e6 + 1000 * to_y),
        round(121.03e6 + 1000 * to_x),
    )
    return Roads(read_extract(path)).shortest_m(*micro) / 109


@pytest.fixture
def path(tmp_path: Path) -> Path:
    out = tmp_path / "town.osm"
    out.write_text(extract(None))
    return out


def test_roads_lead_where_cars_may_drive(path: Path) -> None:
    assert way_m(path, 0, 2) == pytest.approx(2, abs=0.05)
    assert math.isnan(way_m(path, 2, 0)), "one-way, and the way on is private"
    assert way_m(path, 0, 4) == pytest.approx(2, abs=0.05)
    assert way_m(path, 0, 3) == pytest.approx(3, abs=0.05), "the direct street leads the other way"
    assert math.isnan(way_m(path, 5, 6)), "nobody drives on a footway"


@pytest.mark.parametrize("rule", ["no_left_turn", "only_straight_on"])
def test_a_restriction_of_the_extract_holds(tmp_path: Path, rule: str) -> None:
    text = extract("no_left_turn")
    if rule == "only_straight_on":
        text = extract(rule).replace('ref="11" role="to"', 'ref="10" role="to"')
    path = tmp_path / "town.osm.gz"
    path.write_bytes(gzip.compress(text.encode()))
    assert math.isnan(way_m(path, 0, 4))
    assert way_m(path, 0, 2) == pytest.approx(2, abs=0.05)


def test_a_network_answers_the_same_out_of_its_file(path: Path, tmp_path: Path) -> None:
    network = read_extract(path)
    save(network, tmp_path / "town.network")
    again = read_roads(tmp_path / "town.network")
    assert again is not None
    asked = (14_550_000, 121_030_000, 14_551_000, 121_032_000)
    assert again.shortest_m(*asked) == Roads(network).shortest_m(*asked) > 0
    assert read_roads(None) is None


def test_what_is_no_extract_and_no_network_is_refused(tmp_path: Path) -> None:
    empty, broken = tmp_path / "empty.osm", tmp_path / "broken.osm"
    empty.write_text('<osm version="0.6"></osm>')
    broken.write_text("not xml")
    for path in (empty, broken, tmp_path / "missing.osm"):
        with pytest.raises(ValueError, match=path.name):
            read_extract(path)
    with pytest.raises(ValueError, match="no file of"):
        read_roads(broken)


def test_the_command_writes_a_network_and_refuses_what_is_none(path: Path, tmp_path: Path) -> None:
    out = tmp_path / "town.network"
    made = CliRunner().invoke(main, ["network", str(path), str(out)])
    assert made.exit_code == 0, made.output
    assert "9 edges" in made.output
    assert read_roads(out) is not None
    (tmp_path / "no.osm").write_text("no")
    assert CliRunner().invoke(main, ["network", str(tmp_path / "no.osm"), str(out)]).exit_code == 1
