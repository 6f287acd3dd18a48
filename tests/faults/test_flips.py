"""A flipped bit anywhere that something is stored: refused when read or named by the verification, never served.

A process of its own flips one bit in a copy of a folder, opens it, verifies it, reads histories and their proofs, and
tells; it may be ended by a signal as long as it had answered nothing wrong and the page walk names the place. Bits
that nobody reads (free pages, gaps) change nothing: then every answer is the sound one.
"""

from __future__ import annotations

import contextlib
import json
import multiprocessing as mp
import os
import random
import shutil
from collections import Counter
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import hub
from hub.errors import HubError, ProofError, StorageError, TamperError
from hub.log import default_head
from hub.tlog.verify import verify_proof
from hub.verify import check_pages
from inquiries import tax_inquiry

PAGE = 4096
SEED = int(os.environ.get("HUB_FAULT_SEED", "0")) or random.SystemRandom().randrange(1, 2**31)
PLACES = int(os.environ.get("HUB_FLIP_PLACES", "400"))
TIMES = (1_798_000_000, 1_800_000_000, 1_806_000_000)
"""Three moments in two periods."""
PEOPLE = (0, 3, 150)


class Sound:
    """A folder with values of every kind, and what it answers."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        codes = np.arange(300, dtype=np.int64) + 10**9
        now = [TIMES[0]]
        with hub.open(folder, create=True, clock=lambda: now[0]) as h:
            town = h.catalog.institutions("市町村長")[0].code
            own = h.acquire("nenkin", codes).aliases
            h.acquire(town, codes[:200])
            self.portal = h.acquire("portal", codes).aliases
            for number in range(80):
                now[0] = TIMES[number % 80 * 3 // 80]
                h.inquire(tax_inquiry(f"r{number}"), own[: (300, 40, 2, 1)[number % 4]], town)
            self.key = h.verifier_key
        self.answers = ask_all(folder, self.portal, self.key)[1]
        self.data = (folder / "env" / "data.mdb").read_bytes()


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


def attempt(refused: list[str], call: Any) -> Any:
    try:
        return call()
    except HubError as error:
        refused.append(str(error))
        return None


def work(connection: Connection, folder: Path, portal: np.ndarray, key: str) -> None:
    """Answer for each (file, place, bit): flip it, ask everything, flip it back."""
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
                refused, answers = ask_all(folder, portal, key)
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


def test_a_flipped_bit_is_found_or_changes_nothing(sound: Sound, tmp_path: Path) -> None:
    print(f"HUB_FAULT_SEED={SEED}")
    rng = random.Random(SEED)
    worker = Worker(sound, tmp_path / "hub")
    files = {"data.mdb": tmp_path / "hub" / "env" / "data.mdb", "head": default_head(tmp_path / "hub")}
    verdicts: Counter[tuple[str, str]] = Counter()
    for number in range(PLACES):
        name = "head" if number % 20 == 0 else "data.mdb"
        path = files[name]
        at, bit = rng.randrange(path.stat().st_size), rng.randrange(8)
        found = worker.ask(path, at, bit)
        if found is None:
            verdicts[name, "died"] += 1
            continue
        refused, answers = found
        for what, answer in answers.items():
            # An older checkpoint of this log is no lie: it comes where the newest slot of the head is damaged.
            if what != "checkpoint" or not refused:
                assert answer == sound.answers.get(what), f"{name} at {at} bit {bit}: {what} is not the sound one"
        if not refused:
            assert answers == sound.answers, f"{name} at {at} bit {bit}: no answer, and no reason"
        verdicts[name, "found" if refused else "changes nothing"] += 1
    worker.close()
    print(f"{PLACES} places: {dict(verdicts)}")
    assert verdicts["data.mdb", "found"] > PLACES // 4
    assert verdicts["head", "found"] > 0
