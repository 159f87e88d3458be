"""Fault points kill at their pass, by their name, and nothing but names that stand in the code is known."""

import re
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from pipeline import fault

DIE = (
    "from pipeline import fault; fault.arm('lake.renamed:3')\nfor n in range(5): print(n); fault.point('lake.renamed')"
)


def test_the_process_dies_at_the_pass_it_was_armed_for() -> None:
    ended = subprocess.run([sys.executable, "-u", "-c", DIE], capture_output=True, text=True, timeout=60, check=False)
    assert ended.returncode == -signal.SIGKILL
    assert ended.stdout.split() == ["0", "1", "2"]


@pytest.mark.parametrize("spec", ["lake.unknown:1", "lake.renamed", "lake.renamed:0", "lake.renamed:x"])
def test_a_fault_that_cannot_be_is_a_wrong_call(spec: str) -> None:
    with pytest.raises(ValueError, match="expected NAME:N"):
        fault.arm(spec)


def test_every_point_in_the_code_is_listed_and_every_listed_one_is_in_the_code() -> None:
    root = Path(__file__).parents[1]
    code = "\n".join(path.read_text() for part in ("parkpal", "pipeline") for path in (root / part).rglob("*.py"))
    assert set(re.findall(r'\bpoint\(\s*"([a-z.]+)"', code)) == set(fault.POINTS)
