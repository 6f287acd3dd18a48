"""A flipped bit anywhere that something is stored: refused when read or named by the verification, never served.

A process of its own flips one bit in a copy of a folder, opens it, verifies it, reads histories and their proofs, and
tells; it may be ended by a signal as long as it had answered nothing wrong and the page walk names the place. Bits
that nobody reads (free pages, gaps) change nothing: then every answer is the sound one.
"""

from __future__ import annotations

import contextlib
import datetime as dt
import json
import multiprocessing as mp
import os
import random
import shutil
import sys
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import watch
from child import wait_for_merges

import hub
from hub.errors import HubError, ProofError, StorageError, TamperError
from hub.records.log import default_head
from hub.runs.directory import read_directory
from hub.tlog.check import check_tiles
from hub.tlog.verify import verify_proof
from hub.verify import check_pages
from inquiries import tax_inquiry

PAGE = 4096
SEED = int(os.environ.get("HUB_FAULT_SEED", "0")) or random.SystemRandom().randrange(1, 2**31)
PLACES = int(os.environ.get("HUB_FLIP_PLACES", "1000"))
PROCESSES = 2
PARTS = 4
"""Tests that share the places: each ends well within the time that a test of this folder may take."""
TIMES = (1_798_000_000, 1_800_000_000, 1_806_000_000)
"""Three moments in two periods."""
PEOPLE = (0, 3, 150)
BESIDE = {0: "head", 5: "head.exported", 10: "export", 15: "export"}
"""Where else than in ``data.mdb`` a bit is flipped, of each 20."""


class Sound:
    """A folder with values of every kind, and what it answers."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.export = folder.with_name("export")
        codes = np.arange(160, dtype=np.int64) + 10**9
        now = [TIMES[0]]
        with hub.open(folder, create=True, clock=lambda: now[0]) as h:
            town = h.catalog.institutions("市町村長")[0].code
            own = h.acquire("nenkin", codes).aliases
            h.acquire(town, codes[:100])
            self.portal = h.acquire("portal", codes).aliases
            for number in range(80):
                now[0] = TIMES[number * 3 // 80] + 100 * number
                h.inquire(tax_inquiry(f"r{number}"), own[: (160, 40, 2, 1)[number % 4]], town)
            for row in range(0, 100, 3):
                (handle, _), *_ = h.handles("nenkin", own[row])
                h.withhold(handle, "ground", dt.date(2040, 1, 1))
            h.protect("jlis", str(codes[150]).zfill(11), since=dt.date(2027, 2, 1), ground="ground")
            wait_for_merges(h)
            self.key = h.verifier_key
            h.export_tiles(self.export)
            with h._store.snapshot() as snapshot:
                runs = read_directory(snapshot, {}).runs
                assert len(runs) == 2, "expected two periods"
                assert any(run.tier and run.blocks for of_period in runs.values() for run in of_period)
                assert len(snapshot.items("checkpoints", b"")) > 20
        self.answers = ask_all(folder, self.portal, self.key)[1]
        self.data = (folder / "env" / "data.mdb").read_bytes()


def exported_beside(folder: Path) -> Path:
    head = default_head(folder)
    return head.with_name(head.name + ".exported")


def ask_all(folder: Path, portal: np.ndarray, key: str) -> tuple[list[str], dict[str, Any]]:
    """(refusals, answers) of everything that is asked of a folder."""
    refused: list[str] = []
    answers: dict[str, Any] = {}
    pages = attempt(refused, lambda: check_pages(folder))
    if pages:
        refused.append(pages[0])
    with contextlib.ExitStack() as stack:
        try:
            h = stack.enter_context(hub.open(folder, readonly=True))
        except (StorageError, TamperError) as error:
            return [*refused, str(error)], answers
        for person in PEOPLE:
            history = attempt(refused, lambda person=person: h.history(portal[person]))
            if history is None:
                continue
            answers[f"history {person}"] = [repr(record) for record in history.records]
            texts = attempt(refused, lambda history=history: [history.proof(i).text() for i in range(len(history))])
            for text in texts or ():
                verify_proof(text, key)
        answers["checkpoint"] = attempt(refused, h.checkpoint)
        report = attempt(refused, h.verify)
        refused += report.problems if report is not None else []
    return refused, {name: value for name, value in answers.items() if value is not None}


def check_export(folder: Path, key: str) -> list[str]:
    """What a mirror finds in the export beside a folder."""
    try:
        check_tiles(folder.with_name("export"), key)
    except ProofError as error:
        return [str(error)]
    return []


def attempt(refused: list[str], call: Any) -> Any:
    try:
        return call()
    except HubError as error:
        refused.append(str(error))
        return None


def work(connection: Connection, folder: Path, portal: np.ndarray, key: str) -> None:
    """Answer for each (file, place, bit): flip it, ask everything, flip it back."""
    # What is shown is compared here, not when.
    sys.modules["hub.methods.showing"].HISTORY_STEP_S = 1e-6
    while (job := connection.recv()) is not None:
        name, at, bit = job
        path = Path(name)
        with open(path, "r+b") as file:
            file.seek(at)
            before = file.read(1)
            file.seek(at)
            file.write(bytes([before[0] ^ 1 << bit]))
            file.flush()
            try:
                if folder in path.parents or path.parent == folder.parent:
                    refused, answers = ask_all(folder, portal, key)
                else:
                    refused, answers = check_export(folder, key), {}
                connection.send(json.dumps([refused, answers]))
            except ProofError as error:
                connection.send(json.dumps([[f"PROOF: {error}"], {"wrong": True}]))
            file.seek(at)
            file.write(before)


@pytest.fixture(scope="module")
def sound(tmp_path_factory: pytest.TempPathFactory) -> Sound:
    return Sound(tmp_path_factory.mktemp("flips") / "hub")


class Worker:
    """The process that reads damaged copies; begun anew when a signal ended it."""

    def __init__(self, sound: Sound, folder: Path) -> None:
        self.sound, self.folder, self.deaths = sound, folder, 0
        self._start()

    def _start(self) -> None:
        shutil.rmtree(self.folder, ignore_errors=True)
        shutil.copytree(self.sound.folder, self.folder)
        shutil.copy(default_head(self.sound.folder), default_head(self.folder))
        shutil.copy(exported_beside(self.sound.folder), exported_beside(self.folder))
        shutil.rmtree(self.folder.with_name("export"), ignore_errors=True)
        shutil.copytree(self.sound.export, self.folder.with_name("export"))
        self._connection, theirs = mp.Pipe()
        words = (theirs, self.folder, self.sound.portal, self.sound.key)
        self._process = mp.get_context("spawn").Process(target=work, args=words, daemon=True)
        self._process.start()
        theirs.close()

    def ask(self, path: Path, at: int, bit: int) -> tuple[list[str], dict[str, Any]] | None:
        """What came of a flipped bit; None where the process died."""
        self._connection.send((str(path), at, bit))
        try:
            refused, answers = json.loads(self._connection.recv())
        except EOFError:
            self.deaths += 1
            problems = ask_pages(self.folder)
            self._process.join()
            self._start()
            assert problems, f"a death by signal that the page walk does not explain: {path.name} at {at} bit {bit}"
            return None
        return refused, answers

    def close(self) -> None:
        self._connection.send(None)
        self._process.join()


def ask_pages(folder: Path) -> list[str]:
    try:
        return check_pages(folder)
    except StorageError as error:
        return [str(error)]


class Flipper:
    """One process's share of the places."""

    def __init__(self, sound: Sound, place: Path, number: int) -> None:
        self._sound = sound
        self._folder = place / f"place{number}" / "hub"
        self._folder.parent.mkdir()
        self._rng = random.Random(SEED + number)
        self.verdicts: Counter[tuple[str, str]] = Counter()

    def run(self, places: int) -> None:
        """Flip so many bits, one after the other."""
        worker = Worker(self._sound, self._folder)
        try:
            for number in range(places):
                self._flip(worker, BESIDE.get(number % 20, "data.mdb"))
        finally:
            worker.close()

    def _flip(self, worker: Worker, name: str) -> None:
        watch.moves()
        path = self._pick(name)
        at, bit = self._rng.randrange(path.stat().st_size), self._rng.randrange(8)
        where = f"{name} {path.name} at {at} bit {bit}"
        found = worker.ask(path, at, bit)
        if found is None:
            self.verdicts[name, "died"] += 1
            return
        refused, answers = found
        verdict = "found" if refused else "changes nothing"
        for what, answer in answers.items():
            if answer == self._sound.answers.get(what):
                continue
            # An older checkpoint of this log is no lie: it comes where the newest slot of the head is damaged.
            if what == "checkpoint" and refused:
                continue
            # Neither more (a mark that was not found) nor less (a record that was not).
            raise AssertionError(f"{where}: {what} is not the sound one, refused: {bool(refused)}")
        if not refused and name != "export":
            assert answers == self._sound.answers, f"{where}: no answer, and no reason"
        self.verdicts[name, verdict] += 1

    def _pick(self, name: str) -> Path:
        if name == "export":
            files = sorted(path for path in self._folder.with_name("export").rglob("*") if path.is_file())
            return self._rng.choice(files)
        return {
            "data.mdb": self._folder / "env" / "data.mdb",
            "head": default_head(self._folder),
            "head.exported": exported_beside(self._folder),
        }[name]


@pytest.mark.parametrize("part", range(PARTS))
def test_a_flipped_bit_is_found_or_changes_nothing(sound: Sound, tmp_path: Path, part: int) -> None:
    print(f"HUB_FAULT_SEED={SEED}")
    places = PLACES // PARTS
    flippers = [Flipper(sound, tmp_path, PROCESSES * part + number) for number in range(PROCESSES)]
    with ThreadPoolExecutor(PROCESSES) as pool:
        for done in [pool.submit(flipper.run, places // PROCESSES) for flipper in flippers]:
            done.result()
    verdicts = sum((flipper.verdicts for flipper in flippers), Counter())
    print(f"{places} places: {dict(verdicts)}")
    assert verdicts["data.mdb", "found"] > places // 8
    for name in BESIDE.values():
        assert verdicts[name, "found"] > 0
    # Every bit of the export is derived again; nothing in it is padding.
    assert not verdicts["export", "changes nothing"]
    assert not verdicts["head.exported", "changes nothing"]
