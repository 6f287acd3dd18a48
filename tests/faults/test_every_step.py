"""Everything that a hub makes durable, failed call by call: nothing acknowledged is lost, nothing is there twice.

A recorded process opens a folder, acquires, inquires into a new quarter and a new day, merges runs, keeps checkpoints
and exports tiles. Its calls are listed once, by kind and file; then one after the other is failed in every way that a
disk or a death can fail it: short write, EIO before and after it took effect, ENOSPC, kill before, after and within.
``HUB_EVERY_STEP=1`` fails every call in every way, otherwise a sample that has each kind of call on each file.
"""

from __future__ import annotations

import os
import random
import re
import shutil
import signal
from collections import Counter
from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path
from typing import NamedTuple

import pytest
from nursery import Nursery
from proof import COUNTED, EXPORTED, FAILED, FRAME, REFUSED, STEPS, STOPPED, Clock, Plan, Witness, run_plan

import hub
import iolog
from hub.records.log import default_head
from hub.runs.directory import read_directory
from hub.tlog.check import check_tiles
from hub.tlog.verify import read_checkpoint

pytestmark = pytest.mark.preload

SEED = int(os.environ.get("HUB_FAULT_SEED", "0")) or random.SystemRandom().randrange(1, 2**31)
EVERY = os.environ.get("HUB_EVERY_STEP", "") == "1"
SHARD = tuple(map(int, os.environ.get("HUB_EVERY_STEP_SHARD", "0/1").split("/")))
"""Number and count of the parts that a complete run is cut into, one a process."""

PREPARED, STOP = 4, 8
"""Operations before and after: 5 begins a quarter and is an inquiry, and so is 7, on another day."""

WAYS = ("EIO before", "EIO after", "ENOSPC before", "KILL before", "KILL after")
WRITE_WAYS = ("SHORT", "TORN")
SAMPLE = 70


class Call(NamedTuple):
    """A call of the recorded process: its place among those of its sort on this path, and libc's function.

    Not its place among all: how many pages LMDB writes at once depends on which are free next to each other.
    """

    number: int
    sort: str
    function: str
    path: str

    @property
    def kind(self) -> tuple[str, str]:
        """Function and file, with numbers left out of names."""
        return self.function, re.sub(r"[0-9]+", "#", self.path.removeprefix("hub/"))


class Bench:
    """A folder with a past, copied for every fault, and a forking process that is recorded."""

    def __init__(self, recorder: Path, place: Path) -> None:
        self.root, self.log = place / "root", place / "log"
        self.root.mkdir()
        self.catalog = hub.Catalog.japan()
        self.plan = Plan(SEED, STEPS, self.catalog)
        self.past, self._export = place / "past", place / "past-export"
        self._known = Witness(self.plan, self.catalog)
        run_plan(str(self.past), self.plan, 0, PREPARED, self._known.hear, create=True)
        clock = Clock()
        with hub.open(self.past, clock=clock) as h:
            self._known.verify(h, clock)
            h.export_tiles(self._export)
        self.nursery = Nursery(iolog.environment(recorder, root=self.root, log=self.log))

    @property
    def folder(self) -> Path:
        return self.root / "hub"

    @property
    def export(self) -> Path:
        return self.root / "export"

    def run(self, fail: str) -> tuple[Witness, list[int], int, bool]:
        """All steps with a fault: the witness, the frames, the largest tree exported, whether it was killed."""
        for path in self.root.iterdir():
            shutil.rmtree(path) if path.is_dir() else path.unlink()
        shutil.copytree(self.past, self.folder)
        shutil.copytree(self._export, self.export)
        for suffix in ("", ".exported"):
            beside = default_head(self.past).with_name(default_head(self.past).name + suffix)
            shutil.copy(beside, default_head(self.folder).with_name(default_head(self.folder).name + suffix))
        witness = self._known.twin()
        words = {"folder": str(self.folder), "export": str(self.export), "seed": SEED, "profile": asdict(STEPS)}
        heard, exported = [], 0
        with self.nursery.start(job="steps", first=PREPARED, stop=STOP, fail=fail, **words) as child:
            while len(raw := os.read(child.pipe, FRAME.size)) == FRAME.size:
                heard.append(witness.hear(raw))
                if heard[-1] == EXPORTED:
                    exported = FRAME.unpack(raw)[0]
            status = child.wait()
        killed = os.WIFSIGNALED(status) and os.WTERMSIG(status) == signal.SIGKILL
        assert killed or status == 0, f"{fail}: the process failed, frames {heard}"
        return witness, heard, exported, killed

    def list_calls(self) -> list[Call]:
        """Every call that can be failed, in order."""
        self.log.write_bytes(b"")
        _, heard, exported, killed = self.run("any * 1 LIST before all")
        assert not killed
        assert exported
        assert not {FAILED, STOPPED} & set(heard)
        events = [event for event in iolog.read_log(self.log) if event.operation is iolog.Operation.FAULT]
        seen: list[tuple[str, str]] = []
        calls = []
        for event in events:
            seen.append((iolog.CALLS[event.inode], event.path))
            # As the recorder counts: paths in which this one is a part.
            number = sum(sort == seen[-1][0] and event.path in path for sort, path in seen)
            calls.append(Call(number, seen[-1][0], event.path2, event.path))
        return calls


@pytest.fixture(scope="module")
def bench(recorder: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Bench]:
    made = Bench(recorder, tmp_path_factory.mktemp("every"))
    yield made
    made.nursery.close()


def check(bench: Bench, witness: Witness, exported: int) -> None:
    """Reopened, the folder and the export hold all that was acknowledged, once, and both go on."""
    clock = Clock()
    with hub.open(bench.folder, clock=clock) as h:
        report = h.verify()
        assert report.ok, report.problems
        assert check_tiles(bench.export, h.verifier_key).size >= exported, "an acknowledged export is lost"
        assert not exported or exported in {read_checkpoint(kept).size for _, kept in h.checkpoints()}
        while witness.done < STOP:
            if not witness.under_way and not witness.acknowledged:
                break
            witness.verify(h, clock, histories=1)
        witness.verify_all(h, histories=1)
        size = h.stats()["records"]
        assert h.export_tiles(bench.export).size == size
        assert check_tiles(bench.export, h.verifier_key).size == size
        report = h.verify()
        assert report.ok, report.problems


def choose(calls: list[Call], rng: random.Random) -> list[tuple[Call, str]]:
    """What to fail and how: everything, or each kind of call on each file once and some more."""
    pairs = [(call, way) for call in calls for way in (*WAYS, *(WRITE_WAYS if call.sort == "write" else ()))]
    if EVERY:
        number, count = SHARD
        return pairs[number::count]
    rng.shuffle(pairs)
    seen: set[tuple[str, str]] = set()
    first, rest = [], []
    for call, way in pairs:
        (rest if call.kind in seen else first).append((call, way))
        seen.add(call.kind)
    return [*first, *rest[: max(0, SAMPLE - len(first))]]


EXPECTED = [
    ("pwrite", "hub.head"), ("fdatasync", "hub.head"), ("writev", "env/data.mdb"), ("pwrite", "env/data.mdb"),
    ("fdatasync", "env/data.mdb"),
    ("rename", "keys/periods/#Q#.key"), ("fsync", "keys/periods/#Q#.new"), ("fsync", "keys/periods"),
    ("fsync", "hub.head.exported"), ("rename", "export/checkpoint"), ("rename", "export/tile/entries/#.p/#"),
    ("fsync", "export"),
]  # fmt: skip
"""What the workload must reach, beside much else."""


def test_every_call_failed_in_every_way_loses_nothing_and_doubles_nothing(bench: Bench) -> None:
    print(f"HUB_FAULT_SEED={SEED}")
    calls = bench.list_calls()
    kinds = Counter(call.kind for call in calls)
    print(f"{len(calls)} calls: {dict(kinds)}")
    missing = [kind for kind in EXPECTED if kind not in kinds]
    assert not missing, f"the workload does not reach {missing}"
    with hub.open(bench.folder, readonly=True) as h, h._store.snapshot() as snapshot:
        runs = read_directory(snapshot, {}).runs
        assert [len(of_period) for of_period in runs.values()] == [1, 2], "expected the closed quarter's runs merged"
        assert runs[min(runs)][0].blocks, "expected a merged run with blocks of its own"
        assert len(snapshot.items("checkpoints", b"")) >= 3
    by_kind: Counter[str] = Counter()
    by_file: Counter[str] = Counter()
    outcomes: Counter[str] = Counter()
    for call, way in choose(calls, random.Random(SEED)):
        bench.log.write_bytes(b"")
        spec = f"{call.sort} {call.path or '*'} {call.number} {way}"
        witness, heard, exported, killed = bench.run(spec)
        where = f"{spec} ({call.function})"
        fired = [event for event in iolog.read_log(bench.log) if event.operation is iolog.Operation.FAULT]
        if not fired and call.path == "hub/env/data.mdb":
            # One of LMDB's last writes, which this run did in fewer.
            outcomes["not reached"] += 1
            check(bench, witness, exported)
            continue
        assert [event.path for event in fired] == [call.path], f"{where}: another call"
        assert killed == (way in ("TORN", "KILL before", "KILL after")), f"{where}: frames {heard}"
        assert killed or heard[-1] == COUNTED, f"{where}: frames {heard}"
        if "sync" in call.function and way.startswith("EIO") and call.path in ("hub/env/data.mdb", "hub.head"):
            outcomes["write refused after a failed sync"] += REFUSED in heard
        try:
            check(bench, witness, exported)
        except BaseException as error:
            error.add_note(f"{where}, HUB_FAULT_SEED={SEED}, frames {heard}")
            raise
        by_kind[f"{call.function} {way}"] += 1
        by_file[call.kind[1]] += 1
        outcomes["killed" if killed else "failed" if {FAILED, STOPPED} & set(heard) else "unnoticed"] += 1
    print(f"{sum(by_kind.values())} failed\nby kind: {dict(by_kind)}\nby file: {dict(by_file)}\n{dict(outcomes)}")
