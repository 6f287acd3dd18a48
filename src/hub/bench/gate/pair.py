"""A block: both sides started afresh, each with a world of its own, and bursts of every stage in turns.

Where the kernel happens to put pages, code and stacks decides some per cent of a speed, and a process keeps it for its
life; so a block counts once, however many bursts it has, and each copies the packages and starts new processes.
"""

from __future__ import annotations

import contextlib
import json
import os
import selectors
import shutil
import subprocess
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from hub.bench.gate.builds import Built

WORKER = Path(__file__).with_name("worker.py")
ANSWER_SECONDS_MAX = 180.0
END_SECONDS_MAX, POLL_S = 10.0, 0.002
CLOCKS = ("wall", "cpu")
"""Time that passed, less standing in line for a processor; and time of processors. Only the first sees waiting."""

QUADS, QUADS_OF = 4, {"resolve": 12, "authorise": 8, "record": 8, "prove": 6, "wire-bulk": 5, "wire-single": 6}
"""A stage's bursts in a block go ABBA or BAAB, so often: eight of each side, more of those that take a millisecond."""


class WorkerError(Exception):
    """A side went wrong: which stage it cannot run, and why, in one line."""

    def __init__(self, side: str, what: str, *, lacks: bool = False) -> None:
        super().__init__(what)
        self.side, self.what, self.lacks = side, what, lacks


@dataclass
class Block:
    """What one block found.

    Attributes:
        ratios: of each stage and clock, log(head / base). limits: seconds a row of each limit, in the head's process.
        rates: rows a second of each stage, (base, head), by the wall. failed: stage -> what went wrong.
        seconds: how long it took.
    """

    ratios: dict[str, dict[str, float]] = field(default_factory=dict)
    limits: dict[str, float] = field(default_factory=dict)
    rates: dict[str, tuple[float, float]] = field(default_factory=dict)
    failed: dict[str, WorkerError] = field(default_factory=dict)
    seconds: float = 0.0


class Worker:
    """One side's process."""

    def __init__(
        self, built: Built, folder: Path, persons: int, seed: int, *,
        prefix: Sequence[str] = (), options: Sequence[str] = (),
    ) -> None:  # fmt: skip
        self.name = built.name
        site = folder / f"{built.name}-site"
        shutil.copytree(built.site, site)
        self._errors = (folder / f"{built.name}-stderr").open("w+b")
        world = [str(folder / built.name), str(persons), str(seed)]
        command = [*prefix, built.python, "-P", str(WORKER), *world, *options]
        environment = os.environ | {"PYTHONPATH": str(site), "PYTHONDONTWRITEBYTECODE": "1"}
        # A group of its own: Ctrl-C is for us, who then end it.
        self._process = subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=self._errors, env=environment,
            start_new_session=True,
        )  # fmt: skip
        assert self._process.stdout is not None
        self._selector = selectors.DefaultSelector()
        self._selector.register(self._process.stdout, selectors.EVENT_READ)

    def send(self, verb: str, name: str) -> None:
        assert self._process.stdin is not None
        try:
            self._process.stdin.write(json.dumps({verb: name}).encode() + b"\n")
            self._process.stdin.flush()
        except OSError:
            raise WorkerError(self.name, self._why_ended()) from None

    def receive(self) -> dict[str, Any]:
        """The next answer.

        Raises:
            WorkerError: it says that it cannot, says nothing for too long, or has ended.
        """
        assert self._process.stdout is not None
        if not self._selector.select(ANSWER_SECONDS_MAX):
            raise WorkerError(self.name, f"no answer within {ANSWER_SECONDS_MAX:.0f} s")
        line = self._process.stdout.readline()
        if not line:
            raise WorkerError(self.name, self._why_ended())
        answer: dict[str, Any] = json.loads(line)
        for key in ("lacks", "wrong"):
            if key in answer:
                raise WorkerError(self.name, answer[key], lacks=key == "lacks")
        return answer

    def ask(self, verb: str, name: str) -> dict[str, Any]:
        self.send(verb, name)
        return self.receive()

    def _ended(self, seconds: float) -> int | None:
        """Its exit status, or minus its signal, within so long; not reaped, so that its group stays its own."""
        end = time.monotonic() + seconds
        while True:
            found = os.waitid(os.P_PID, self._process.pid, os.WEXITED | os.WNOHANG | os.WNOWAIT)
            if found is not None:
                return found.si_status if found.si_code == os.CLD_EXITED else -found.si_status
            if time.monotonic() > end:
                return None
            time.sleep(POLL_S)

    def _why_ended(self) -> str:
        status = self._ended(5)
        self._errors.seek(0)
        lines = self._errors.read().decode(errors="replace").strip().splitlines()
        return f"its process ended with status {status}" + (f": {lines[-1][:120]}" if lines else "")

    def close(self) -> None:
        """End the process and what it started; its folder goes with the block's."""
        self._selector.close()
        for stream in (self._process.stdin, self._process.stdout):
            with contextlib.suppress(OSError):
                if stream is not None:
                    stream.close()
        try:
            self._ended(END_SECONDS_MAX)
        finally:
            # It may have gone and left a server behind, or not have gone.
            with contextlib.suppress(ProcessLookupError):
                os.killpg(self._process.pid, 9)
            self._process.wait()
            self._errors.close()


@dataclass(frozen=True)
class Plan:
    """What every block does: where, how large, which stages may have limits to be measured."""

    folder: Path
    persons: int
    seed: int
    sides: tuple[Built, Built]
    limits: dict[str, str]
    """Of a stage, the limit that its floor is a share of."""


def run_block(
    plan: Plan, number: int, stages: Sequence[str], random: np.random.Generator, step: Callable[[str], None]
) -> Block:
    """Start both sides, measure the stages, end both. A stage that goes wrong ends itself, not the block."""
    block, begin = Block(), time.monotonic()
    folder = plan.folder / f"block-{number}"
    folder.mkdir()
    workers: dict[str, Worker] = {}
    try:
        # Whose pages come first is drawn, as is who goes first in each stage.
        for side in random.permutation(2):
            built = plan.sides[side]
            workers[built.name] = Worker(built, folder, plan.persons, plan.seed + number)
        for stage in stages:
            step(f"block {number + 1}: {stage}")
            try:
                _run_stage(plan, workers, stage, random, block)
            except WorkerError as error:
                block.failed[stage] = error
                if not error.lacks:
                    # It may have an answer left to give, or be gone: nothing more is asked of these two.
                    break
    finally:
        for worker in workers.values():
            worker.close()
        shutil.rmtree(folder, ignore_errors=True)
    block.seconds = time.monotonic() - begin
    return block


def _run_stage(plan: Plan, workers: dict[str, Worker], stage: str, random: np.random.Generator, block: Block) -> None:
    names = ["base", "head"]
    if random.integers(2):
        names.reverse()
    for name in names:
        workers[name].send("prepare", stage)
    rows, failures = {}, []
    for name in names:
        try:
            rows[name] = workers[name].receive()["rows"]
        except WorkerError as error:
            failures.append(error)
    if failures:
        # Of both, the head's is told: it is what the caller can mend.
        raise max(failures, key=lambda error: error.side == "head")
    found: dict[str, dict[str, list[float]]] = {name: {clock: [] for clock in CLOCKS} for name in names}
    for quad in range(QUADS_OF.get(stage, QUADS)):
        first, second = names if quad % 2 == 0 else names[::-1]
        for name in (first, second, second, first):
            answer = workers[name].ask("burst", stage)
            for clock in CLOCKS:
                found[name][clock].append(answer[clock] / rows[name])
    # The fastest burst: what others do to the machine can only add, and on a busy one spoils most.
    fast = {name: {clock: min(found[name][clock]) for clock in CLOCKS} for name in names}
    block.ratios[stage] = {clock: float(np.log(fast["head"][clock] / fast["base"][clock])) for clock in CLOCKS}
    block.rates[stage] = (1 / fast["base"]["wall"], 1 / fast["head"]["wall"])
    if stage in plan.limits:
        answer = workers["head"].ask("limit", plan.limits[stage])
        block.limits[stage] = answer["seconds"] / answer["rows"]
