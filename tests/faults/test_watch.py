"""A test in which nothing moves is ended with its stacks, one that moves goes on."""

from __future__ import annotations

import faulthandler
import os
import subprocess
import sys

import pytest
import watch
from nursery import Nursery, child_environment

PROGRAM = """
import time, watch
watch.TEST_S_MAX = watch.STEP_S_MAX = 1
watch.begin(2)
def waits_for_ever():
    time.sleep(600)
{}
waits_for_ever()
"""


def run(before: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-c", PROGRAM.format(before)]
    return subprocess.run(command, env=child_environment(), capture_output=True, text=True, timeout=300, check=False)


@pytest.mark.parametrize("before", ["", "watch.TEST_S_MAX = 600; watch.begin(2); watch.moves()"], ids=["test", "step"])
def test_a_test_that_waits_for_ever_is_ended_with_its_stacks(before: str) -> None:
    ended = run(before)
    assert ended.returncode == 1
    assert "waits_for_ever" in ended.stderr


def test_a_test_that_is_over_is_not_watched() -> None:
    ended = run("watch.end(); watch.moves(); time.sleep(3); raise SystemExit(7)")
    assert (ended.returncode, ended.stderr) == (7, "")


def test_each_process_that_is_to_die_begins_the_time_anew(nursery: Nursery, monkeypatch: pytest.MonkeyPatch) -> None:
    begun: list[float] = []
    with monkeypatch.context() as patch:
        patch.setattr(faulthandler, "dump_traceback_later", lambda timeout, **_: begun.append(timeout))
        for _ in range(3):
            with nursery.start(job="create", folder=os.devnull):
                pass
    assert begun == [watch.STEP_S_MAX] * 3
