"""What goes wrong inside the engine is heard outside, though a cluster that ends by an error only panics."""

import pickle
import sqlite3
from contextlib import closing
from pathlib import Path

import msgspec
import pytest

from pipeline import heard
from pipeline.run import Run, RunRefusedError, run
from tests.flow.traffic import fill, messages, traffic, write_fences


def test_what_a_call_raises_is_noted_and_passes(monkeypatch: pytest.MonkeyPatch) -> None:
    noted: list[Exception] = []
    monkeypatch.setattr(heard, "failures", noted)

    @heard.heard
    def call(error: Exception | None) -> str:
        if error is not None:
            raise error
        return "done"

    assert call(None) == "done"
    with pytest.raises(StopIteration):
        call(StopIteration())
    assert noted == []
    wrong = KeyError("wrong")
    with pytest.raises(KeyError):
        call(wrong)
    assert noted == [wrong]


def test_a_cluster_that_only_an_operator_can_mend_says_why_and_is_not_started_again(
    tmp_path: Path, capfd: pytest.CaptureFixture[str], caplog: pytest.LogCaptureFixture
) -> None:
    log, fences = f"sqlite://{tmp_path}/log.sqlite", write_fences(tmp_path / "fences.geojson")
    fill(log, messages(traffic(7, devices=4, minutes=5), 4, seed=1), 4)
    run(Run(log, str(tmp_path / "lake"), fences, drain=True))
    newer = pickle.dumps(msgspec.msgpack.encode([99, {}]))
    for path in (tmp_path / "lake" / "_recovery").glob("part-*.sqlite3"):
        with closing(sqlite3.connect(path)) as store, store:
            store.execute("UPDATE snaps SET ser_change = ? WHERE step_id = 'parkpal.detect'", (newer,))
    with pytest.raises(RunRefusedError, match="gave up"):
        run(Run(log, str(tmp_path / "lake"), fences, drain=True, workers=2))
    assert "recovery store of version 99" in capfd.readouterr().err
    assert "start again" not in caplog.text
