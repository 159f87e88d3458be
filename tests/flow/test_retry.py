"""Rejects that a later version takes become facts by `parkpal rejected retry`, once, and all others stay rejects."""

import json
from collections import Counter
from datetime import timedelta
from pathlib import Path
from typing import Any

import duckdb
import pytest
from click.testing import CliRunner, Result

from parkpal.commands.lake import lake as lake_command
from parkpal.commands.rejected import MENDABLE, rejected
from pipeline.batch import MAX_KEPT_BYTES, Refused, columns, encode_refused
from pipeline.lake import Lake
from pipeline.lake.tombstones import lay
from pipeline.log import JSON, POSITIONS, REFUSED, REJECTED, NewMessage
from pipeline.log.open import open_log
from pipeline.mend import Reject, mend
from pipeline.partition import hash_ids, partition_of
from pipeline.retry import APPENDED, Asked, retry
from pipeline.run import Run, run
from tests.flow.traffic import MINUTE, START, fill, write_fences

PHONE, OTHER, GONE = "a" * 32, "b" * 32, "c" * 32
DAY = 24 * 60 * MINUTE
PARTITIONS = 4


def event(seq: int | None, **fields: object) -> dict[str, Any]:
    return {"event_time": START + (seq or 0) * 1_000, "seq": seq, "lat": 14.55, "lon": 121.03, **fields}


def refused(payload: object, device_id: str | None = PHONE, reason: str = "out_of_range") -> Refused:
    """Build what the api keeps of an event: as the phone wrote it, the pseudonym beside it."""
    kept = json.dumps(payload).encode()
    return Refused(START + MINUTE, reason, "activity is unknown", device_id, kept, len(kept))


def accepted(*events: dict[str, Any], device_id: str = PHONE, after: int = MINUTE) -> NewMessage:
    rows = [{"device_id": device_id, "receive_time": START + after, **row} for row in events]
    return NewMessage(POSITIONS, home(device_id), json.dumps(rows).encode(), JSON)


def home(device_id: str) -> int:
    return int(partition_of(hash_ids([device_id.encode()]), PARTITIONS)[0])


class City:
    """A log and the lake that is read from it."""

    def __init__(self, folder: Path) -> None:
        self.log_url, self.lake_url = f"sqlite://{folder}/log.sqlite", f"file://{folder}/lake"
        self._fences = write_fences(folder / "fences.geojson")

    def take(self, *messages: NewMessage, events: list[Refused] | None = None) -> None:
        """Append, and let the flow read to the end."""
        more = [NewMessage(REJECTED, 0, encode_refused(events), REFUSED)] if events else []
        fill(self.log_url, [*messages, *more], PARTITIONS)
        run(Run(self.log_url, self.lake_url, self._fences, drain=True, epoch=timedelta(milliseconds=20)))

    def retry(self, *reasons: str) -> Counter[tuple[str, str]]:
        log = open_log(self.log_url)
        try:
            return retry(Lake.open(self.lake_url), log, Asked(reasons or MENDABLE))
        finally:
            log.close()

    def command(self, *options: str) -> Result:
        return CliRunner().invoke(rejected, ["retry", "--lake", self.lake_url, "--log", self.log_url, *options])

    def ask(self, sql: str) -> list[tuple[Any, ...]]:
        folder = self.lake_url.removeprefix("file://")
        tables = (f"'{folder}/{name}/**/*.parquet'" for name in ("positions", "rejected"))
        return duckdb.execute(sql.format(*tables)).fetchall()

    def facts(self, device_id: str = PHONE) -> list[int]:
        return [seq for (seq,) in self.ask(f"SELECT seq FROM {{0}} WHERE device_id = '{device_id}' ORDER BY seq")]


@pytest.fixture
def city(tmp_path: Path) -> City:
    return City(tmp_path)


def mend_the_rule(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let scooters be known, as a later version would."""
    known = columns.activity_code
    monkeypatch.setattr(columns, "activity_code", lambda name: known("on_bicycle" if name == "scootering" else name))


SCOOTER = event(1, activity="scootering")


def test_a_mended_reject_becomes_a_fact_once_however_often_it_is_retried(
    city: City, monkeypatch: pytest.MonkeyPatch
) -> None:
    city.take(accepted(event(0), event(2)), events=[refused(SCOOTER), refused(SCOOTER), refused(event(3, lat=200))])
    assert city.retry() == {("out_of_range", "out_of_range"): 3}, "nothing is mended"
    assert city.facts() == [0, 2]
    mend_the_rule(monkeypatch)
    still = {("out_of_range", "out_of_range"): 1}
    assert city.retry() == still | {("out_of_range", APPENDED): 1, ("out_of_range", "duplicate"): 1}
    assert city.retry() == still | {("out_of_range", "duplicate"): 2}, "it waits in the log"
    city.take()
    assert city.retry() == still | {("out_of_range", "duplicate"): 2}, "it is in the lake"
    city.take()
    assert city.facts() == [0, 1, 2]
    mended = city.ask("SELECT activity, epoch_ms(receive_time), epoch_ms(event_time) FROM {0} WHERE seq = 1")
    assert mended == [("on_bicycle", START + MINUTE, START + 1_000)]
    audit = CliRunner().invoke(lake_command, ["audit", "--lake", city.lake_url, "--log", city.log_url])
    assert audit.exit_code == 0, audit.output


def test_the_flow_calls_the_same_row_a_duplicate(city: City, monkeypatch: pytest.MonkeyPatch) -> None:
    city.take(accepted(event(0)), events=[refused(SCOOTER)])
    mend_the_rule(monkeypatch)
    city.retry()
    city.take(accepted(SCOOTER))
    assert city.facts() == [0, 1]
    assert city.ask("SELECT reason, device_id FROM {1} WHERE source_stream = 'positions'") == [("duplicate", PHONE)]


def test_a_device_that_was_silent_for_days_gets_no_fact_twice(city: City, monkeypatch: pytest.MonkeyPatch) -> None:
    """It starts anew with each row that comes so late, and the flow alone would not tell the second one."""
    neighbour = next(name for name in map(str, range(1_000)) if home(name) == home(PHONE))
    later = event(9, event_time=START + 5 * DAY)
    city.take(accepted(event(0)), events=[refused(SCOOTER)])
    city.take(accepted(later, device_id=neighbour, after=5 * DAY + MINUTE))
    mend_the_rule(monkeypatch)
    assert city.retry() == {("out_of_range", APPENDED): 1}
    for _ in range(2):
        assert city.retry() == {("out_of_range", "duplicate"): 1}
        city.take()
    assert city.facts() == [0, 1]
    assert city.ask("SELECT late FROM {0} WHERE seq = 1") == [(True,)]


def test_a_row_of_the_wrong_partition_goes_to_its_own(city: City) -> None:
    right = accepted(event(5))
    city.take(right._replace(partition=(right.partition + 1) % PARTITIONS))
    assert city.facts() == []
    assert city.retry("malformed") == {}
    assert city.retry() == {("wrong_partition", APPENDED): 1}
    city.take()
    assert city.facts() == [5]


def test_an_erased_device_is_never_appended(city: City, monkeypatch: pytest.MonkeyPatch) -> None:
    city.take(accepted(event(0), device_id=GONE), events=[refused(SCOOTER, GONE)])
    lay(Lake.open(city.lake_url), [GONE])
    mend_the_rule(monkeypatch)
    assert city.retry() == {("out_of_range", "erased"): 1}


def judged(payload: object, **changes: Any) -> tuple[list[tuple[str, int]], list[str]]:
    """Return device and seq of what is mended of one reject, and why the others are not."""
    kept = payload if isinstance(payload, bytes) else json.dumps(payload).encode()
    fields = {"device_id": PHONE, "source_stream": REJECTED, "payload": kept, "payload_bytes": len(kept), **changes}
    found = mend([Reject("malformed", START + MINUTE, **fields)])
    return found.events(), [why for _, why in found.left.elements()]


def test_a_payload_names_no_other_device_than_the_one_that_sent_it() -> None:
    forged = event(4, device_id=OTHER)
    assert judged(forged) == ([(PHONE, 4)], [])
    for hidden in ([forged], [[forged]]):
        assert judged(hidden) == ([], ["malformed"])
    assert judged({"events": [forged]}) == ([], ["missing"])


def test_a_message_of_an_unknown_kind_gives_all_its_events() -> None:
    events = [event(seq, device_id=OTHER) for seq in (1, 0)]
    of_producer = {"device_id": None, "source_stream": POSITIONS}
    assert judged(events, **of_producer) == ([(OTHER, 0), (OTHER, 1)], [])
    assert judged(event(1), **of_producer) == ([], ["missing"])


@pytest.mark.parametrize(
    ("payload", "why"),
    [
        (event(1, event_time=START + 4 * MINUTE), "ahead_of_time"),
        (event(1, event_time=START - 2 * DAY), "too_old"),
        (event(None), "no seq"),
        (event(1, receive_time=-5), "out_of_range"),
        (event(1, receive_time=START + DAY), "out_of_range"),
        ("nothing", "malformed"),
    ],
)
def test_what_still_breaks_a_rule_is_left_with_its_reason(payload: object, why: str) -> None:
    assert judged(payload) == ([], [why])


def test_an_event_of_another_month_is_left_for_its_pseudonym_is_another() -> None:
    month = 1_772_323_200_000  # 2026-03-01
    kept = json.dumps(event(1, event_time=month - 1)).encode()
    for stream, why in ((REJECTED, {("malformed", "other month"): 1}), (POSITIONS, {})):
        assert mend([Reject("malformed", month, PHONE, stream, kept, len(kept))]).left == why


def test_a_payload_that_was_cut_short_is_left() -> None:
    whole = json.dumps(event(1)).encode().ljust(MAX_KEPT_BYTES)
    assert judged(whole, payload_bytes=MAX_KEPT_BYTES) == ([(PHONE, 1)], [])
    assert judged(whole, payload_bytes=MAX_KEPT_BYTES + 1) == ([], ["cut short"])


def test_the_command_prints_what_became_of_the_rejects_asked_for(city: City, monkeypatch: pytest.MonkeyPatch) -> None:
    city.take(accepted(event(0)), events=[refused(SCOOTER), refused(7, reason="malformed")])
    mend_the_rule(monkeypatch)
    for options in (["--since", "2026-03-05"], ["--until", "2026-03-04T04:54:20Z"], ["--reason", "missing"]):
        ended = city.command(*options)
        assert (ended.exit_code, ended.output.splitlines()[-1]) == (0, "0 rows appended, 0 left"), ended.output
    ended = city.command("--since", "2026-03-04", "--until", "2026-03-05", "--reason", "out_of_range")
    assert ended.exit_code == 0, ended.output
    assert ended.output.splitlines()[-1] == "1 rows appended, 0 left"
    assert city.command().output.splitlines()[-1] == "0 rows appended, 2 left"


@pytest.mark.parametrize("reason", ["duplicate", "late", "too_old", "seq_conflict", "erased"])
def test_a_reason_that_cannot_be_mended_is_wrong_usage(city: City, reason: str) -> None:
    ended = city.command("--reason", reason)
    assert ended.exit_code == 2
    assert f"{reason} cannot be mended:" in ended.output


def test_an_unknown_reason_and_a_time_that_is_none_are_wrong_usage(city: City) -> None:
    assert "'odd' is none of malformed, missing" in city.command("--reason", "odd").output
    assert city.command("--since", "yesterday").exit_code == 2


def test_no_lake_or_no_log_or_another_log_ends_with_1_and_says_so(city: City, tmp_path: Path) -> None:
    ended = city.command()
    assert (ended.exit_code, ended.output.startswith("parkpal rejected: no lake at")) == (1, True), ended.output
    city.take(accepted(event(0)))
    assert city.command("--log", f"sqlite://{tmp_path}/none.sqlite").exit_code == 1
    fill(f"sqlite://{tmp_path}/other.sqlite", [], 2 * PARTITIONS)
    ended = city.command("--log", f"sqlite://{tmp_path}/other.sqlite")
    assert (ended.exit_code, "was read from another log" in ended.output) == (1, True), ended.output
