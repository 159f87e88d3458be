"""The specification of `geo.order`, one row at a time, in plain Python."""

from collections.abc import Callable
from dataclasses import dataclass, field

from geo.holding import FOREVER, GAP_WAIT_MS, MAX_HELD, REORDER_MS
from geo.order import Verdict
from geo.repeats import RECENT, SPANS
from geo.validity import MAX_AGE_MS, MAX_AHEAD_MS, MAX_DELAY_MS


@dataclass(frozen=True)
class Row:
    """An event of one device; `content` stands for what the phone captured."""

    event_time: int
    receive_time: int
    seq: int | None
    content: int = 0


def key(row: Row) -> int:
    """Return what the row is ordered by."""
    return row.event_time if row.seq is None else row.seq


@dataclass
class Device:
    """What is remembered of one device; here the content of every row is, not of the newest alone."""

    kept_ms: int = FOREVER
    clock: int = -1
    newest: int = -FOREVER
    released: int = -FOREVER
    due_seq: int = 0
    due_time: int = -FOREVER
    seen: dict[int, tuple[int, int]] = field(default_factory=dict)
    floor: int = 0
    unnumbered: list[tuple[int, int]] = field(default_factory=list)
    held: list[tuple[Row, int]] = field(default_factory=list)
    out: list[Row] = field(default_factory=list)
    faults: int = 0

    def advance(self, row: Row, arrival: int) -> Verdict:
        """Take the next row of the log and say what became of it."""
        if row.event_time > row.receive_time + MAX_AHEAD_MS:
            return Verdict.AHEAD_OF_TIME
        if row.receive_time > row.event_time + MAX_AGE_MS or arrival > row.event_time + self.kept_ms:
            return Verdict.TOO_OLD
        if arrival > self.newest + MAX_AGE_MS:
            self.start_anew()
        self.clock = max(self.clock, arrival)
        self.release_waited(self.clock)
        repeat = self.repeat(row)
        if repeat is not None:
            return repeat
        self.newest = max(self.newest, row.event_time)
        verdict = Verdict.LATE if self.is_late(row, arrival) else Verdict.ACCEPTED
        if verdict is Verdict.ACCEPTED:
            self.held.append((row, self.clock))
        self.release_run()
        if len(self.held) > MAX_HELD:
            self.pass_over(min((r for r, _ in self.held if (r.seq is None) == (row.seq is None)), key=key))
        return verdict

    def is_late(self, row: Row, arrival: int) -> bool:
        if arrival > row.event_time + MAX_DELAY_MS:
            return True
        return row.event_time < self.due_time if row.seq is None else row.seq < self.due_seq

    def repeat(self, row: Row) -> Verdict | None:
        if row.seq is None:
            if (row.event_time, row.content) in self.unnumbered[-RECENT:]:
                return Verdict.DUPLICATE
            self.unnumbered.append((row.event_time, row.content))
            return None
        if row.seq < self.floor:
            return Verdict.TOO_OLD
        if row.seq in self.seen:
            return Verdict.DUPLICATE if self.seen[row.seq] == (row.event_time, row.content) else Verdict.SEQ_CONFLICT
        self.seen[row.seq] = (row.event_time, row.content)
        while len(self.intervals()) > SPANS:
            first, end = self.intervals()[0]
            for seq in range(first, end):
                del self.seen[seq]
            self.floor = self.intervals()[0][0]
        return None

    def intervals(self) -> list[tuple[int, int]]:
        runs: list[tuple[int, int]] = []
        for seq in sorted(self.seen):
            if runs and runs[-1][1] == seq:
                runs[-1] = (runs[-1][0], seq + 1)
            else:
                runs.append((seq, seq + 1))
        return runs

    def release_run(self) -> None:
        self.due_seq = max(self.due_seq, self.floor)
        while self.due_seq in self.seen:
            self.due_seq += 1
        self.release(lambda row: row.seq is not None and row.seq < self.due_seq)

    def release_waited(self, clock: int) -> None:
        """Pass over what was waited for long enough, one wait after the other, numbered rows first."""
        waits = [(arrival + (REORDER_MS if r.seq is None else GAP_WAIT_MS), r.seq is None) for r, arrival in self.held]
        if not waits or min(waits)[0] >= clock:
            return
        end, by_time = min(waits)
        self.pass_over(
            max((row for (row, _), wait in zip(self.held, waits, strict=True) if wait == (end, by_time)), key=key)
        )
        self.release_waited(clock)

    def pass_over(self, last: Row) -> None:
        """Wait no longer for anything up to this row."""
        if last.seq is None:
            self.due_time = max(self.due_time, last.event_time)
            self.release(lambda row: row.seq is None and row.event_time <= self.due_time)
        else:
            self.due_seq = max(self.due_seq, last.seq + 1)
            self.release_run()

    def release(self, due: Callable[[Row], bool]) -> None:
        rows = [row for row, _ in self.held if due(row)]
        self.held = [(row, arrival) for row, arrival in self.held if not due(row)]
        for row in sorted(rows, key=key):
            if row.event_time < self.released:
                self.faults += 1
            else:
                self.released = row.event_time
                self.out.append(row)

    def expire(self, clock: int) -> None:
        """Bring forward what is certain once nothing more is received before `clock`."""
        self.release_waited(clock)
        if self.clock >= 0 and clock > self.newest + MAX_AGE_MS:
            self.start_anew()

    def start_anew(self) -> None:
        self.release_waited(FOREVER)
        self.__init__(kept_ms=self.kept_ms, out=self.out, faults=self.faults)  # type: ignore[misc]
