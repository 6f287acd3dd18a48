"""Inquiries that share a commit: each answer outlives kill -9, and a loss of power behind the moment it left."""

from __future__ import annotations

import errno
import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
import watch
from crowd import FRAME, PERSONS, TOWN, inquiry_of
from nursery import child_environment

import hub
import iolog
from hub.errors import StorageError
from hub.tlog.checkpoint import HeadFile
from iolog import Operation
from smallrows import submit

SEED = int(os.environ.get("HUB_FAULT_SEED", "0")) or random.SystemRandom().randrange(1, 2**31)
CROWD = Path(__file__).with_name("crowd.py")
CALLERS = 64
KILLS = {"calls": 30, "rows": 15}
WAIT_S = 60.0
BESIDE = ("lock.mdb", "hub.lock")

Acknowledged = dict[tuple[int, int], int]


def start(
    folder: Path, first: int, each: int, out: int, kind: str, extra: dict[str, str] | None = None
) -> subprocess.Popen:
    watch.moves()
    command = [sys.executable, str(CROWD), str(folder), str(first), str(CALLERS), str(each), str(out), kind]
    return subprocess.Popen(command, env=child_environment(extra), pass_fds=[out])


def check_answers(h: hub.Hub, acknowledged: Acknowledged, asked: set[tuple[int, int]]) -> None:
    """Every acknowledged answer is there as it was given, and nothing was recorded that nobody asked."""
    aliases = h.acquire("nenkin", np.arange(PERSONS, dtype=np.int64)).aliases
    before = h.stats()["records"]
    assert len(acknowledged) <= before <= len(asked)
    for (caller, number), status in acknowledged.items():
        assert h.status("nenkin", f"{caller}-{number}").complete
        row = (caller + number) % PERSONS
        answer = h.inquire(inquiry_of(caller, number), aliases[row : row + 1], TOWN)
        assert answer.status.tolist() == [status]
    assert h.stats()["records"] == before


@pytest.mark.parametrize("kind", ["calls", "rows"])
def test_answers_of_64_callers_survive_every_kill(tmp_path: Path, kind: str) -> None:
    print(f"HUB_FAULT_SEED={SEED}")
    rng = random.Random(SEED)
    folder = tmp_path / "hub"
    everything: Acknowledged = {}
    asked: set[tuple[int, int]] = set()
    busy = 0
    kills = KILLS[kind]
    for number in range(kills):
        first = 1_000 * number
        read_end, write_end = os.pipe()
        child = start(folder, first, 900, write_end, kind)
        os.close(write_end)
        acknowledged: Acknowledged = {}
        try:
            # Up, then killed somewhere in the first tenths of a second of work.
            raw = os.read(read_end, FRAME.size)
            assert len(raw) == FRAME.size, "the child did not come up"
            # Every other time behind the first answer, which is late where a day has to be read first.
            if number % 2:
                caller, answered, status = FRAME.unpack(os.read(read_end, FRAME.size))
                acknowledged[caller, answered] = status
            time.sleep(rng.uniform(0.0, 0.4))
            os.kill(child.pid, signal.SIGKILL)
            while raw := os.read(read_end, FRAME.size):
                caller, answered, status = FRAME.unpack(raw)
                acknowledged[caller, answered] = status
        finally:
            child.kill()
            assert child.wait(WAIT_S) == -signal.SIGKILL
            os.close(read_end)
        busy += bool(acknowledged)
        asked |= {(caller, first + i) for caller in range(CALLERS) for i in range(900)}
        everything |= acknowledged
        with hub.open(folder) as h:
            check_answers(h, acknowledged, asked)
    with hub.open(folder) as h:
        sample = dict(rng.sample(sorted(everything.items()), min(2_000, len(everything))))
        check_answers(h, sample, asked)
        assert h.stats()["records"] >= len(everything)
        report = h.verify()
        assert report.ok, report.problems
    print(f"{len(everything)} answers acknowledged, {busy} of {kills} kills after the first of them")
    assert busy >= kills // 2


@pytest.mark.preload
@pytest.mark.parametrize("kind", ["calls", "rows"])
def test_no_answer_of_a_group_leaves_before_its_commit_and_checkpoint(
    recorder: Path, tmp_path: Path, kind: str
) -> None:
    print(f"HUB_FAULT_SEED={SEED}")
    root, log, place = tmp_path / "root", tmp_path / "log", tmp_path / "state"
    root.mkdir()
    out = os.open(os.devnull, os.O_WRONLY)
    try:
        extra = iolog.environment(recorder, root=root, log=log, mark_fd=out)
        child = start(root / "hub", 0, 6, out, kind, extra)
        assert child.wait(WAIT_S) == 0
    finally:
        os.close(out)
    rng = random.Random(SEED)
    disk = iolog.Disk(root, empty=True)
    acknowledged: Acknowledged = {}
    asked = {(caller, i) for caller in range(CALLERS) for i in range(6)}
    checked = 0
    for event in iolog.read_log(log):
        disk.apply(event)
        if event.operation is not Operation.MARK:
            continue
        caller, number, status = FRAME.unpack(event.data)
        if caller == CALLERS:
            continue
        acknowledged[caller, number] = status
        if len(acknowledged) > 1 and rng.random() > 0.08:
            continue
        # What a loss of power right behind this answer would leave.
        checked += 1
        state = place / str(checked)
        state.mkdir(parents=True)
        iolog.write_image(disk.durable(), state)
        head = HeadFile(state / "hub.head").read()
        assert head is not None
        assert head[0] >= len(acknowledged), "an answer left before the checkpoint that covers it"
        with hub.open(state / "hub") as h:
            check_answers(h, acknowledged, asked)
            assert h.verify().ok
    assert len(acknowledged) == len(asked)
    assert checked >= 8


def test_after_a_failed_sync_every_waiting_caller_gets_the_error(
    opened: hub.Hub, monkeypatch: pytest.MonkeyPatch
) -> None:
    aliases = opened.acquire("nenkin", np.arange(PERSONS, dtype=np.int64)).aliases
    opened.inquire(inquiry_of(0, 0), aliases[:1], TOWN)

    def fail(_: int) -> None:
        raise OSError(errno.EIO, os.strerror(errno.EIO))

    with opened._store.writer:
        futures = [opened.inquire_soon(inquiry_of(1, i), aliases[i : i + 1], TOWN) for i in range(32)]
        rows = submit(opened, [(inquiry_of(3, i), aliases[i], TOWN) for i in range(32)])
        monkeypatch.setattr(os, "fdatasync", fail)
    answers = rows.result(WAIT_S)
    assert set(answers.errors) == set(range(32))
    assert not any(error.retry_safe for error in answers.errors.values())
    for future in futures:
        with pytest.raises(StorageError) as caught:
            future.result(WAIT_S)
        assert not caught.value.retry_safe
    monkeypatch.undo()
    with pytest.raises(StorageError):
        opened.inquire(inquiry_of(2, 0), aliases[:1], TOWN)
    folder = opened._store.folder
    opened.close()
    with hub.open(folder) as again:
        before = again.stats()["records"]
        assert again.inquire(inquiry_of(1, 0), aliases[:1], TOWN).status.tolist() == [3]
        assert again.stats()["records"] - before in (0, 1)
        before = again.stats()["records"]
        assert submit(again, [(inquiry_of(3, 0), aliases[0], TOWN)]).result(WAIT_S).status.tolist() == [3]
        assert again.stats()["records"] - before in (0, 1)
        assert again.verify().ok
