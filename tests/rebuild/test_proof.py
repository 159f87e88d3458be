"""The derived tables are proved by deciding them again; what is wrong is said in words, with the way to mend it."""

from datetime import date
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
from click.testing import CliRunner, Result

from parkpal.commands.lake import lake as command
from pipeline.fences import FileFences
from pipeline.lake.compaction import compact
from pipeline.lake.exchange import exchanging
from pipeline.lake.lake import Lake
from pipeline.lake.retention import retain
from pipeline.lake.tables import TABLES
from pipeline.proof import Proof, prove
from tests.rebuild.days import make_lake

MIDDLE = date(2026, 3, 5)


def proof_of(lake: Lake, fences: Path) -> Proof:
    index, _ = FileFences(fences).current()
    return prove(lake, index)


def audit(lake: Lake, fences: Path) -> Result:
    options = ["audit", "--deep", "--lake", str(lake.root), "--fences", str(fences)]
    return CliRunner().invoke(command, options)


def change(lake: Lake, table: str, day: date, *, lose: int = 0, double: int = 0, detector: str | None = None) -> None:
    """Lose some rows of a day, write some twice, or say that another detector decided them."""
    with exchanging(lake, TABLES[table], day, "test") as draft:
        rows = pq.read_table(list(draft.present), partitioning=None, schema=TABLES[table].schema)
        if detector:
            names = (
                pa.array([detector] * len(rows)).dictionary_encode().cast(TABLES[table].schema.field("detector").type)
            )
            rows = rows.set_column(
                rows.schema.get_field_index("detector"), TABLES[table].schema.field("detector"), names
            )
        draft.replace(draft.present)
        draft.dropped = None
        pq.write_table(pa.concat_tables([rows.slice(lose), rows.slice(0, double)]), draft.path())


def test_a_lake_as_the_flow_wrote_it_is_proved_and_compacted_too(lake: Lake, fences: Path) -> None:
    before = proof_of(lake, fences)
    assert (before.problems, before.notes) == ([], [])
    assert before.rows > 1_000
    compact(lake, files=1)
    assert proof_of(lake, fences) == before
    ended = audit(lake, fences)
    assert ended.exit_code == 0, ended.output
    assert f"{before.rows} rows of derived tables compared with what the facts give" in ended.output


def test_lost_and_doubled_rows_are_counted_by_table_and_day(lake: Lake, fences: Path) -> None:
    change(lake, "trips", MIDDLE, lose=3)
    change(lake, "geofence_events", date(2026, 3, 6), double=2)
    assert [(problem.what, problem.mend) for problem in proof_of(lake, fences).problems] == [
        (
            "geofence_events of 2026-03-06: 2 rows are there that the facts do not give",
            "parkpal lake rebuild --tables geofence_events --from 2026-03-06 --to 2026-03-06",
        ),
        (
            "trips of 2026-03-05: 3 rows that the facts give are missing",
            "parkpal lake rebuild --tables trips --from 2026-03-05 --to 2026-03-05",
        ),
    ]
    ended = audit(lake, fences)
    assert ended.exit_code == 1
    assert "To mend: parkpal lake rebuild --tables trips --from 2026-03-05 --to 2026-03-05." in ended.output


def test_rows_of_an_earlier_detector_are_told_and_not_compared(lake: Lake, fences: Path) -> None:
    rows = sum(pq.read_metadata(path).num_rows for path in (lake.root / "trips" / f"event_date={MIDDLE}").glob("*"))
    change(lake, "trips", MIDDLE, detector="trips@0")
    found = proof_of(lake, fences)
    assert found.problems == []
    assert found.notes[0].startswith(f"trips of 2026-03-05 was decided {rows} by trips@0: not compared.")


def test_a_day_that_is_still_being_decided_may_lack_rows_but_not_have_others(tmp_path: Path) -> None:
    lake, fences = make_lake(tmp_path, devices=6, drain=True)
    found = proof_of(lake, fences)
    assert found.problems == []
    assert found.notes == ["days from 2026-03-05 on are still being decided: rows may be missing there"]
    change(lake, "geofence_events", date(2026, 3, 6), double=1)
    (problem,) = proof_of(lake, fences).problems
    assert problem.what == "geofence_events of 2026-03-06: 1 rows are there that the facts do not give"
    assert problem.mend.endswith("once the day is complete")


def test_days_whose_facts_are_expired_are_not_proved_and_said_so(lake: Lake, fences: Path) -> None:
    retain(lake, {"positions": 1})
    found = proof_of(lake, fences)
    assert found.problems == []
    assert "are not proved: their facts, or what led up to them, are expired" in found.notes[0]


def test_other_fences_are_noticed(lake: Lake, fences: Path, tmp_path: Path) -> None:
    fewer = tmp_path / "fewer.geojson"
    fewer.write_text(fences.read_text().replace('"mall"', '"other"'))
    assert proof_of(lake, fewer).problems
