"""Whether the nation's answers were true: log, inboxes, histories, proofs and tables against the model."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from hub.bench.nationask import Part, asked_of, asked_town, expected_status
from hub.bench.nationworld import NationWorld
from hub.bench.report import Progress
from hub.bench.truth import Truth
from hub.bench.world import EVERYBODY, REQUESTER
from hub.messages import Acquisition, Status
from hub.provision.deliver import all_inboxes
from hub.tlog.verify import verify_checkpoint, verify_consistency, verify_proof

CITIZENS = 200
TOWNS_CHECKED = 3
SAMPLE = 20_000
"""Persons whose aliases at home are compared one by one."""


def check_world(world: NationWorld, truth: Truth, random: np.random.Generator) -> None:
    """Of a sample of persons: resolved at home, they are who their municipality knows them as."""
    persons = np.sort(random.choice(world.persons, min(SAMPLE, world.persons), replace=False))
    towns = np.asarray(world.home[persons])
    expected = np.empty((len(persons), 16), np.uint8)
    # A municipality acquires again: it is told the aliases that it has.
    for town in np.unique(towns)[:TOWNS_CHECKED].tolist():
        rows = np.flatnonzero(towns == town)
        got = world.hub.acquire(world.town_codes[town], world.codes_of(persons[rows]))
        truth.check_column("nation: world", "already", got.status, np.full(len(rows), Acquisition.ALREADY, np.uint8))
        expected[rows] = got.aliases
        providers = np.full(len(rows), world.towns[town], np.uint32)
        found = world.hub.resolve(REQUESTER, providers, np.ascontiguousarray(world.requester[persons[rows]]))
        truth.check_aliases(
            "nation: world", found.aliases, found.status, expected[rows], persons[rows].astype(np.uint32)
        )
    truth.check_equal("nation: world", "acquired twice", world.state.wrong, 0)


def check_run(
    world: NationWorld, parts: list[Part], before: int, note: str, truth: Truth, random: np.random.Generator,
    progress: Progress,
) -> None:  # fmt: skip
    """After the run: everything that was asked is there, once, and can be proved.

    Args:
        parts: what was asked and answered. before: records in the log before. note: its checkpoint then.
    """
    progress.step("check: log")
    counts = np.zeros(256, dtype=np.int64)
    for part in parts:
        status = expected_status(np.arange(part.start, part.end, dtype=np.int64), part.pass_number)
        counts += np.bincount(status, minlength=256)
    recorded = int(counts.sum() - counts[Status.UNKNOWN_ALIAS])
    truth.check_equal("nation: log", "records", world.hub.stats()["records"] - before, recorded)
    progress.step("check: inboxes")
    check_inboxes(world, parts, int(counts[Status.OK]), truth, random)
    progress.step("check: histories")
    check_histories(world, parts, truth, random)
    check_growth(world, before, note, truth)


def check_inboxes(
    world: NationWorld, parts: list[Part], permits: int, truth: Truth, random: np.random.Generator
) -> None:
    """All permits stand in inboxes, and some municipalities fetch exactly those of their own residents."""
    with world.hub._store.snapshot() as snapshot:
        total = sum(int(inbox.entries["permits"].sum()) for inbox in all_inboxes(snapshot))
    truth.check_equal("nation: inboxes", "permits", total, permits)
    for town in random.choice(len(world.towns), min(TOWNS_CHECKED, len(world.towns)), replace=False).tolist():
        residents = world.residents(town)
        got = world.hub.acquire(world.town_codes[town], world.codes_of(residents))
        asked = []
        for part in parts:
            here = (residents >= part.start) & (residents < part.end)
            asked.append(got.aliases[here & (expected_status(residents, part.pass_number) == Status.OK)])
        same = np.array_equal(_sorted(collected(world, world.town_codes[town])), _sorted(np.concatenate(asked)))
        truth.check_equal("nation: inboxes", "aliases of a municipality", same, True)


def collected(world: NationWorld, code: str) -> npt.NDArray[np.uint8]:
    """uint8[N, 16]: the aliases of all permits that wait for a body."""
    found, after = [np.empty((0, 16), np.uint8)], None
    while permits := world.hub.collect(code, after=after):
        found += [one.aliases for one in permits]
        after = permits[-1].cursor
    return np.concatenate(found)


def _sorted(aliases: npt.NDArray[np.uint8]) -> npt.NDArray[np.void]:
    return np.sort(np.ascontiguousarray(aliases).view("V16").reshape(-1).view("S16"))


def check_histories(world: NationWorld, parts: list[Part], truth: Truth, random: np.random.Generator) -> None:
    """A sample of citizens sees every question about them, whom it went to and what came of it, each with its proof."""
    hub = world.hub
    upto = max((part.end for part in parts), default=0)
    people = random.choice(upto, min(CITIZENS, upto), replace=False).astype(np.int64)
    aliases = hub.acquire(EVERYBODY, world.codes_of(people)).aliases
    for person, alias in zip(people.tolist(), aliases, strict=True):
        expected = []
        for pass_number in asked_of(parts, person):
            status = expected_status(np.array([person]), pass_number)
            if status[0] == Status.UNKNOWN_ALIAS:
                continue
            town = int(asked_town(world, np.asarray(world.home[person : person + 1]), status)[0])
            expected.append((world.town_codes[town] if status[0] != Status.DENIED else "", int(status[0])))
        history = hub.history(alias)
        got = [
            (record.provider if record.outcome != Status.DENIED else "", int(record.outcome))
            for record in history.records
        ]
        truth.check_equal("nation: histories", "records of a citizen", sorted(got), sorted(expected))
        for number in range(len(history)):
            index = verify_proof(history.proof(number).text(), hub.verifier_key).index
            truth.check_equal("nation: histories", "proved", index == history.records[number].index, True)


def check_growth(world: NationWorld, before: int, note: str, truth: Truth) -> None:
    """The log after the run continues that of before it."""
    old = verify_checkpoint(note, world.hub.verifier_key)
    new = verify_checkpoint(world.hub.checkpoint(), world.hub.verifier_key)
    truth.check_equal("nation: log", "size before", old.size, before)
    path = world.hub.consistency(old.size, new.size) if old.size else []
    verify_consistency(old.size, old.root, new.size, new.root, path)
