"""Phones that push and keep their own record of what was answered; the lake is counted against it.

  answered 202, accepted: once in `positions`;
  answered 202, rejected: once in `rejected`, refused for the same reason;
  never answered: at most once in `positions`.
What a phone pushed again after a lost answer may be in `rejected` as a duplicate besides. And every geofence event of
the lake was sent live.
"""

import json
import random
import threading
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

import duckdb
import httpx
import msgspec

from pipeline.log import LIVE
from pipeline.log.open import open_log

FIRST_LON: Final = 121.0
BAD_EVERY: Final = 17
"""Each so manieth event has a latitude of 91 degrees."""
STAY: Final = 1_000
"""Events inside the fence, and as many outside: some seconds, else nobody moves so fast and no fix there counts."""

Counts = dict[tuple[int, int], int]
"""By (phone, seq)."""


@dataclass
class Phone:
    """One phone: pushes batch after batch, and notes each event's fate by its seq. Of several urls it tries the next.

    A stubborn phone pushes a batch until it is answered, the others once.
    """

    number: int
    stubborn: bool
    urls: Sequence[str]
    stop: threading.Event
    patience_s: float = 60.0
    accepted: set[int] = field(default_factory=set)
    refused: set[int] = field(default_factory=set)
    unanswered: set[int] = field(default_factory=set)
    turned_away: Counter[tuple[int, str | None]] = field(default_factory=Counter)
    """How often something else was answered than 202, by status and Retry-After."""

    def live(self) -> None:
        """Register, then push until told to stop; a stubborn phone tries its last batch a while more."""
        dice = random.Random(self.number)
        seq = 0
        with httpx.Client(timeout=40) as http:
            token = self._register(http)
            while not self.stop.is_set():
                batch = range(seq, seq + dice.randint(1, 30))
                self._push(http, token, batch)
                seq = batch.stop
                time.sleep(dice.uniform(0.0, 0.3))

    def _register(self, http: httpx.Client) -> str:
        for turn in range(1_000_000):
            if self.stop.is_set():
                break
            try:
                url = self.urls[(self.number + turn) % len(self.urls)]
                answer = http.post(f"{url}/v1/devices", json={"consent": {"location_analytics": True}})
                if answer.status_code == httpx.codes.CREATED:
                    return str(answer.json()["token"])
            except httpx.HTTPError:
                pass
            time.sleep(0.2)
        return ""

    def _push(self, http: httpx.Client, token: str, batch: range) -> None:
        events, started, turn = [self._event(seq) for seq in batch], time.monotonic(), self.number
        while True:
            url = self.urls[turn % len(self.urls)]
            try:
                body = {"sent_at": int(time.time() * 1000), "events": events}
                answer = http.post(f"{url}/v1/events", json=body, headers={"Authorization": f"Bearer {token}"})
            except httpx.HTTPError:
                answer, turn = None, turn + 1
            if answer is not None and answer.status_code == httpx.codes.ACCEPTED:
                bad = {batch[each["index"]] for each in answer.json()["rejected"]}
                self.refused |= bad
                self.accepted |= set(batch) - bad
                return
            if answer is not None:
                self.turned_away[answer.status_code, answer.headers.get("retry-after")] += 1
            if not self.stubborn or (self.stop.is_set() and time.monotonic() > started + self.patience_s):
                self.unanswered |= set(batch)
                return
            time.sleep(0.2)

    def _event(self, seq: int) -> dict[str, object]:
        inside = seq // STAY % 2
        lat = 91.0 if seq % BAD_EVERY == BAD_EVERY - 1 else 14.55 + inside * 0.002
        lon = FIRST_LON + self.number / 1000  # tells the phones apart where their ids are pseudonyms
        return {"event_time": int(time.time() * 1000), "seq": seq, "lat": lat, "lon": lon, "accuracy_m": 8}


def write_fence(path: Path) -> Path:
    """Write the fence that the phones go in and out of."""
    ring = [[120.99, 14.551], [121.1, 14.551], [121.1, 14.56], [120.99, 14.56], [120.99, 14.551]]
    fence = {"type": "Feature", "properties": {"fence_id": "north"}}
    geometry = {"type": "Polygon", "coordinates": [ring]}
    path.write_text(json.dumps({"type": "FeatureCollection", "features": [{**fence, "geometry": geometry}]}))
    return path


def count(lake: Path, log_url: str, crowd: Sequence[Phone]) -> str:
    """Compare the lake, and what was sent live, with the phones' record; return what was found, AssertionError."""
    query = f"SELECT round((lon::DOUBLE - {FIRST_LON}) * 1000)::INT, seq, count(*) FROM {{}} GROUP BY ALL"
    positions = f"'{lake}/positions/**/*.parquet'"
    refused = (
        "(SELECT (decode(payload)->>'lon')::DOUBLE AS lon, (decode(payload)->>'seq')::BIGINT AS seq "
        f"FROM '{lake}/rejected/**/*.parquet' WHERE source_stream = 'rejected')"
    )
    facts = {(phone, seq): n for phone, seq, n in duckdb.sql(query.format(positions)).fetchall()}
    rejects = {(phone, seq): n for phone, seq, n in duckdb.sql(query.format(refused)).fetchall()}
    wrong = [wrong for phone in crowd for wrong in _wrongs(phone, facts, rejects)]
    known = {(phone.number, seq) for phone in crowd for seq in phone.accepted | phone.unanswered}
    wrong += [f"{fact}: never pushed" for fact in facts.keys() - known]
    decided = duckdb.sql(f"SELECT event_id FROM '{lake}/geofence_events/**/*.parquet'").fetchall()
    sent = _sent_live(log_url)
    wrong += [f"geofence event {event_id}: not sent live" for (event_id,) in decided if event_id not in sent]
    assert not wrong, f"{len(wrong)} wrong: {wrong[:5]}"
    answered = sum(len(phone.accepted) + len(phone.refused) for phone in crowd)
    unanswered = sum(len(phone.unanswered) for phone in crowd)
    kept = sum((phone.number, seq) in facts for phone in crowd for seq in phone.unanswered)
    return (
        f"{answered} events answered, all there once; {unanswered} unanswered, {kept} of them there; "
        f"{len(decided)} geofence events, all sent live"
    )


def _sent_live(log_url: str) -> set[str]:
    with closing(open_log(log_url)) as log:
        offset, end = log.bounds(LIVE, 0)
        sent: set[str] = set()
        while offset < end:
            messages = log.read(LIVE, 0, offset, 1 << 24)
            sent |= {event["id"] for message in messages for event in msgspec.json.decode(message.payload)}
            offset = messages[-1].offset + 1
        return sent


def _wrongs(phone: Phone, facts: Counts, rejects: Counts) -> Iterator[str]:
    """Yield what is not as the phone's record demands."""
    for fate, seqs in (("accepted", phone.accepted), ("refused", phone.refused), ("unanswered", phone.unanswered)):
        for seq in seqs:
            kept, refused = facts.get((phone.number, seq), 0), rejects.get((phone.number, seq), 0)
            right = {
                "accepted": kept == 1,
                "refused": kept == 0 and (refused == 1 or (refused > 1 and phone.stubborn)),
                "unanswered": kept <= 1,
            }
            if not right[fate]:
                yield f"phone {phone.number}, seq {seq}: {fate}, {kept} times in positions, {refused} in rejected"
