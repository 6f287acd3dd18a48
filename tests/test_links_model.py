"""Links as a game: random claims, deliveries, confirmations, replacements, held against a dict that does the same."""

from __future__ import annotations

import random
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import hub
from hub.aliases import RESIDENT_CODES, find_aliases, find_persons
from hub.errors import RequestError
from hub.messages import Acquisition, Status

TOWN = "131016"
CODES = np.arange(12, dtype=np.int64) + 92_000_000_000
WAITS, CLAIMED, HELD, CREATED, ALREADY, CLOSED = "waits", "claimed", "held", "created", "already", "closed"
TOLD = {
    WAITS: Acquisition.WAITING, CLAIMED: Acquisition.WAITING, HELD: Acquisition.HELD, CREATED: Acquisition.CREATED,
    ALREADY: Acquisition.ALREADY, CLOSED: Acquisition.NONE,
}  # fmt: skip


class Ticket:
    """What the model knows of one."""

    def __init__(self, raw: np.ndarray) -> None:
        self.raw, self.state, self.person, self.mask, self.confirmed = raw, WAITS, -1, 0, False
        self.old: bytes | None = None
        self.told = 0


class Game:
    """A hub and a model of it."""

    def __init__(self, folder: Path, seed: int) -> None:
        self.rng = random.Random(seed)
        self.folder = folder
        self.h = hub.open(folder, create=True)
        _, self.key = hub.new_payload_key()
        self.h.register_key("jlis", self.key)
        self.tickets: list[Ticket] = []
        self.holds: dict[int, bytes] = {}
        """Person -> alias."""
        self.ended: set[bytes] = set()
        self.records: list[tuple[int, int]] = []
        self.number = self.h.catalog.institution(TOWN).number

    # -- what the hub has

    def aliases(self) -> dict[int, bytes]:
        pseudonyms = self.h._store.keys.pseudonyms(hub._columns.code_blocks(CODES, 10**11)[0])
        with self.h._store.snapshot() as snapshot:
            persons, _, unknown = find_persons(snapshot, RESIDENT_CODES, pseudonyms, self.h._workers)
            found, none = find_aliases(snapshot, self.number, persons, self.h._workers)
        has = np.flatnonzero((unknown == 0) & (none == 0))
        return {person: found[person].tobytes() for person in has.tolist()}

    def some(self, *states: str, most: int = 5) -> list[Ticket]:
        able = [one for one in self.tickets if one.state in states]
        return self.rng.sample(able, min(len(able), self.rng.randint(1, most)))

    def raws(self, tickets: list[Ticket]) -> np.ndarray:
        return np.stack([one.raw for one in tickets])

    # -- moves

    def draw(self) -> None:
        self.tickets += [Ticket(raw) for raw in self.h.tickets(TOWN, self.rng.randint(1, 4))]

    def claim(self) -> None:
        chosen = self.some(WAITS, CLAIMED)
        if chosen:
            self.h.claim(TOWN, self.raws(chosen), [hub.seal_payload(self.key, b"x")] * len(chosen), clerk="first")
            for one in chosen:
                one.state = CLAIMED

    def deliver(self) -> None:
        chosen = self.some(WAITS, CLAIMED)
        if not chosen:
            return
        for one in chosen:
            one.person = self.rng.randrange(len(CODES))
            one.mask = self.rng.choice([0, 0, 1, 10]) if one.state == CLAIMED else 0
        masks = [one.mask for one in chosen]
        codes = CODES[[one.person for one in chosen]]
        for _ in range(self.rng.randint(1, 2)):
            self.h.deliver("jlis", self.raws(chosen), codes, masks)
        known = dict(self.holds)
        self.holds = self.aliases()
        for one in chosen:
            # Of a new person who is named twice one ticket is told CREATED, whichever comes first.
            one.state = HELD if one.mask else ALREADY if one.person in known else self._told(one)
        assert self.holds.keys() == known.keys() | {one.person for one in chosen if not one.mask}
        assert all(self.holds[person] == alias for person, alias in known.items())

    def _told(self, one: Ticket) -> str:
        status = self.h.acquired(TOWN, self.raws([one])).status[0]
        assert status in (Acquisition.CREATED, Acquisition.ALREADY)
        return CREATED if status == Acquisition.CREATED else ALREADY

    def confirm(self) -> None:
        chosen = self.some(HELD)
        if not chosen:
            return
        with pytest.raises(RequestError):
            self.h.confirm_links(TOWN, self.raws(chosen), clerk="FIRST", reason="r")
        known = dict(self.holds)
        answer = self.h.confirm_links(TOWN, self.raws(chosen), clerk="second", reason="r")
        self.holds = self.aliases()
        assert self.holds.keys() == known.keys() | {one.person for one in chosen}
        assert all(self.holds[person] == alias for person, alias in known.items())
        for one, alias in zip(chosen, answer.aliases, strict=True):
            assert alias.tobytes() == self.holds[one.person]
            one.state, one.confirmed = self._told(one), True
            assert (one.state == ALREADY) >= (one.person in known)
            self.records.append((19, one.person))

    def replace(self) -> None:
        chosen = self.some(*TOLD)
        used = sorted(self.holds.values())
        if not chosen or not used:
            return
        old = [one.old or self.rng.choice(used) for one in chosen]
        keep = self.rng.random() < 0.3
        answer = self.h.replace_links(
            TOWN, self.raws(chosen), np.frombuffer(b"".join(old), np.uint8).reshape(-1, 16), clerk="c", reason="r",
            keep_old=keep,
        )  # fmt: skip
        owner = {alias: person for person, alias in self.holds.items()}
        done = [
            (one, alias) for one, alias in zip(chosen, old, strict=True)
            if one.state in (CREATED, ALREADY) and one.old is None and owner[alias] != one.person
        ]  # fmt: skip
        right = {
            one.person for one, alias in zip(chosen, old, strict=True)
            if one.state in (CREATED, ALREADY) and one.old is None and owner[alias] == one.person
        }  # fmt: skip
        closed = {owner[alias] for _, alias in done if not keep and owner[alias] not in right}
        means = {one.person for one, _ in done}
        before, self.holds = self.holds, self.aliases()
        assert self.holds.keys() == (before.keys() - closed) | means
        for person, alias in self.holds.items():
            fresh = person in closed or person not in before
            assert (alias != before.get(person)) == fresh
        for one, alias in done:
            one.old, one.told = alias, 1 if one.person in closed or one.person not in before else 0
            self.records += [(20, owner[alias]), (20, one.person)]
        self.ended |= {before[person] for person in closed}
        for one, alias in zip(chosen, answer.aliases, strict=True):
            told = self.holds.get(one.person) if one.state in (CREATED, ALREADY) else None
            assert alias.tobytes() == (told or bytes(16))

    def close(self) -> None:
        chosen = self.some(CREATED, ALREADY, HELD, most=2)
        if chosen:
            assert self.h.close_tickets(TOWN, self.raws(chosen)) == len(chosen)
            for one in chosen:
                one.state = CLOSED

    def reopen(self) -> None:
        self.h.close()
        self.h = hub.open(self.folder)

    # -- compared

    def compare(self) -> None:
        assert self.aliases() == self.holds
        if self.ended:
            ended = np.frombuffer(b"".join(sorted(self.ended)), np.uint8).reshape(-1, 16)
            with self.h._store.snapshot() as snapshot:
                found = find_persons(snapshot, self.number, ended, self.h._workers)[2]
            assert set(found.tolist()) == {int(Status.REVOKED)}
        if self.tickets:
            answer = self.h.acquired(TOWN, self.raws(self.tickets))
            for one, status, alias, mask in zip(
                self.tickets, answer.status.tolist(), answer.aliases, answer.differs.tolist(), strict=True
            ):
                gone = one.state in (CREATED, ALREADY) and one.person not in self.holds
                assert status == (Acquisition.NONE if gone else TOLD[one.state])
                told = self.holds.get(one.person, bytes(16)) if one.state in (CREATED, ALREADY) else bytes(16)
                assert alias.tobytes() == told
                assert mask == (one.mask if one.state == HELD else 0)
        assert self.h.stats()["records"] == len(self.records)
        waiting = {one.tobytes() for one in self.h.claims("jlis").tickets}
        assert waiting == {one.raw.tobytes() for one in self.tickets if one.state == CLAIMED}


@pytest.mark.parametrize("game", range(6))
def test_a_game_of_links_agrees_with_a_dict(tmp_path: Path, game: int) -> None:
    seed = random.SystemRandom().randrange(1 << 31)
    print(f"seed {seed}")
    played = Game(tmp_path / "hub", seed)
    moves: list[Any] = [
        *[played.draw] * 3, *[played.claim] * 3, *[played.deliver] * 4, *[played.confirm] * 3, *[played.replace] * 4,
        played.close, played.reopen,
    ]  # fmt: skip
    for turn in range(60):
        played.rng.choice(moves)()
        played.compare()
        if turn % 20 == 19:
            report = played.h.verify()
            assert report.ok, report.problems
    portal = played.h.acquire("portal", CODES).aliases
    for person, alias in enumerate(portal):
        shown = [int(record.kind) for record in played.h.history(alias, limit=1_000).records]
        assert sorted(shown) == sorted(kind for kind, whose in played.records if whose == person)
    played.h.close()
    kinds = [kind for kind, _ in played.records]
    print(f"{kinds.count(19)} confirmed, {kinds.count(20) // 2} replaced, {len(played.ended)} closed")
