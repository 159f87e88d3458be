"""What was acknowledged is remembered, whatever happened to the last line."""

from contextlib import closing
from pathlib import Path

from parkpal.demo.journal import Journal


def test_a_later_run_finds_tokens_and_counts(tmp_path: Path) -> None:
    path = tmp_path / "journal"
    with closing(Journal(path)) as journal:
        journal.registered("a", "token-a")
        journal.acknowledged("a", 1)
        journal.acknowledged("a", 2)
    with closing(Journal(path)) as journal:
        assert journal.tokens == {"a": "token-a"}
        assert journal.done == {"a": 2}
    assert path.stat().st_mode & 0o777 == 0o600


def test_a_line_torn_by_a_crash_is_forgotten_and_the_next_one_is_whole(tmp_path: Path) -> None:
    path = tmp_path / "journal"
    with closing(Journal(path)) as journal:
        journal.registered("a", "token-a")
        journal.acknowledged("a", 1)
    path.write_bytes(path.read_bytes()[:-3])
    with closing(Journal(path)) as journal:
        assert journal.done == {}
        journal.acknowledged("a", 1)
    with closing(Journal(path)) as journal:
        assert journal.done == {"a": 1}
        assert journal.tokens == {"a": "token-a"}
