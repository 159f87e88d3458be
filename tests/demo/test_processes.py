"""Children are ended whatever happens to the demo, and a child that dies is named with its last words."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from parkpal.demo.processes import BusyError, DiedError, Processes

LONG = ("simulate", "--devices", "100000", "--hours", "24")
LEAVE = """
import os, sys
from pathlib import Path
from parkpal.demo.processes import Processes
processes = Processes(Path(sys.argv[1]), os.environ)
processes.start("long", *sys.argv[2:])
print(processes._children["long"].pid, flush=True)
os.kill(os.getpid(), 9)
"""


def long_command(folder: Path) -> tuple[str, ...]:
    return (*LONG, "--out", str(folder / "city"))


def test_a_command_that_succeeds_leaves_its_output_in_its_log(tmp_path: Path) -> None:
    with Processes(tmp_path, os.environ) as processes:
        processes.run("help", "simulate", "--help")
        assert "Simulate a city" in processes.log("help").read_text()
        processes.check()


def test_a_command_that_fails_is_named_with_its_last_words(tmp_path: Path) -> None:
    with Processes(tmp_path, os.environ) as processes, pytest.raises(DiedError, match=r"(?s)broken.*--devices"):
        processes.run("broken", "simulate", "--devices", "none")


def test_check_notices_a_child_that_died(tmp_path: Path) -> None:
    with Processes(tmp_path, os.environ) as processes:
        processes.start("long", *long_command(tmp_path))
        processes.check()
        processes._children["long"].kill()
        processes._children["long"].wait()
        with pytest.raises(DiedError, match="long ended with status -9"):
            processes.check()


def test_leaving_ends_the_children(tmp_path: Path) -> None:
    with Processes(tmp_path, os.environ) as processes:
        processes.start("long", *long_command(tmp_path))
        child = processes._children["long"]
    assert child.returncode == -signal.SIGTERM


def test_a_second_demo_in_the_folder_is_refused(tmp_path: Path) -> None:
    with Processes(tmp_path, os.environ), pytest.raises(BusyError, match=str(os.getpid())):
        Processes(tmp_path, os.environ)
    with Processes(tmp_path, os.environ):
        pass


def test_what_a_killed_demo_left_running_is_ended(tmp_path: Path) -> None:
    command = [sys.executable, "-c", LEAVE, str(tmp_path), *long_command(tmp_path)]
    killed = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=False, timeout=30)
    assert killed.returncode == -signal.SIGKILL
    left = int(killed.stdout)
    os.kill(left, 0)
    with Processes(tmp_path, os.environ):
        time.sleep(0.1)
        state = Path(f"/proc/{left}/stat")
        assert not state.exists() or state.read_text().split()[2] == "Z"
