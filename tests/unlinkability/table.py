"""A hub with four parties, and what each of them reads of a person through public methods: its sights.

What is left out, because it is what the exchange is for or cannot be hidden from two who pool: the bytes of payloads,
and that rows differ where the parties themselves made them differ (another outcome, another number of questions about a
person, another length of a payload, a batch of one row, whose second of arrival nobody shares). So the games ask about
two persons in the same way, and have them answered in the same way.
"""

from __future__ import annotations

import datetime as dt
import hashlib
import re
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from guess import Sight

import hub
from hub.limits import CLASSES_FROM
from inquiries import tax_inquiry
from parties import Clock

REQUESTER, PORTAL = "nenkin", "portal"
TOWNS = "市町村長"
"""The class of the providers."""

LIST_MAX = 1 << 20
"""Longer than any list; the tests allow it."""


class Table:
    """An open hub, its parties (nenkin asks, X, Y, Z provide, the portal shows), and persons whom all of them know."""

    def __init__(self, folder: Path, persons: int, seed: int) -> None:
        self.rng = np.random.default_rng(seed)
        self.clock = Clock()
        self.h = hub.open(folder, create=True, clock=self.clock, answers_every_s=60)
        towns = self.h.catalog.institutions(TOWNS)
        self.x, self.y, self.z = (body.code for body in towns[:3])
        self.codes = 10**9 + self.rng.permutation(persons).astype(np.int64)
        everybody = REQUESTER, self.x, self.y, self.z, PORTAL
        self.aliases = {code: self.h.acquire(code, self.codes).aliases for code in everybody}
        self.numbers = {code: self.h.catalog.institution(code).number for code in (self.x, self.y, self.z)}
        self.numbers[TOWNS] = CLASSES_FROM + self.h.catalog.class_number(TOWNS)
        self.cursors: dict[str, str | None] = {self.x: None, self.y: None}
        self._dealt = 0
        self._requests = 0

    def __enter__(self) -> Table:
        return self

    def __exit__(self, *_: object) -> None:
        self.h.close()

    def settle(self, *towns: str) -> None:
        """Let persons live in these towns by turns, as who asks the class is not told."""
        holders = np.resize([self.numbers[town] for town in towns], len(self.codes)).astype(np.uint32)
        self.h.push_holders("jlis", self.codes, TOWNS, holders, dt.date(2020, 1, 1))

    def deal(self, n: int) -> list[int]:
        """Persons who were in no game before."""
        self._dealt += n
        assert self._dealt <= len(self.codes)
        return list(range(self._dealt - n, self._dealt))

    def shuffled(self, rows: Iterable[tuple[int, str]]) -> list[tuple[int, str]]:
        """Rows (person, provider) in any order."""
        every = list(rows)
        return [every[i] for i in self.rng.permutation(len(every))]

    def question(self, rows: Sequence[tuple[int, str]]) -> tuple[hub.Inquiry, np.ndarray, np.ndarray]:
        """The arguments of an inquiry about some rows (person, provider), under a request id of its own."""
        self._requests += 1
        aliases = self.aliases[REQUESTER][[person for person, _ in rows]]
        return tax_inquiry(f"r{self._requests}"), aliases, np.array([self.numbers[x] for _, x in rows], np.uint32)

    def ask(self, rows: Sequence[tuple[int, str]]) -> str:
        """Ask, and return the request id."""
        inquiry, aliases, providers = self.question(rows)
        assert not self.h.inquire(inquiry, aliases, providers).status.any()
        return inquiry.request_id

    def push(self, rows: Sequence[tuple[int, str]], payload: bytes) -> dict[int, Sight]:
        """The agency sends all receivers the same about their persons; what it reads of that, by person."""
        self._requests += 1
        push = hub.Push(
            institution=REQUESTER, procedure="own/1/1", items=("出生",), role="本人", section="a",
            request_id=f"p{self._requests}",
        )  # fmt: skip
        aliases = self.aliases[REQUESTER][[person for person, _ in rows]]
        sent = self.h.push(push, aliases, [receiver for _, receiver in rows], [payload] * len(rows))
        size, root = self.checkpoint()
        sights: dict[int, Sight] = {}
        for row, (person, receiver) in enumerate(rows):
            of = self.name(receiver)
            told: Sight = {f"row at {of}": row, f"status at {of}": int(sent.status[row]),
                           f"reason at {of}": int(sent.reason[row])}  # fmt: skip
            told |= {"rows": sent.rows, "received at": sent.received_at, "log": size, "root": root}
            sights.setdefault(person, {}).update(told)
        return sights

    def arrivals(self, receiver: str) -> tuple[dict[bytes, Sight], list[int]]:
        """A receiver: what has arrived, by its own alias, and the numbers of all of it."""
        found = self.h.arrived(receiver, limit=1 << 16)
        sights: dict[bytes, Sight] = {}
        for list_place, some in enumerate(found):
            for place in range(len(some)):
                sights[some.aliases[place].tobytes()] = {
                    "number": int(some.number[place]), "place": place, "list place": list_place,
                    "list length": len(some), "valid until": some.valid_until, "cursor": bytes.fromhex(some.cursor),
                    "about": _digest(some.about), "corrects": some.corrects[place] is not None,
                }  # fmt: skip
        return sights, [number for some in found for number in some.number.tolist()]

    def alias(self, party: str, person: int) -> np.ndarray:
        """A person's alias at a party."""
        return self.aliases[party][person]

    # -- what the parties read

    def answers(self, request_id: str, rows: Sequence[tuple[int, str]]) -> dict[int, Sight]:
        """The requester: what its answers say now, of each person's rows. By (person, provider) -> by person."""
        found = self.h.answers(REQUESTER, request_id)
        status = self.h.status(REQUESTER, request_id)
        size, root = self.checkpoint()
        sights: dict[int, Sight] = {}
        for row, (person, provider) in enumerate(rows):
            payload = found.payloads[row]
            of = self.name(provider)
            sights.setdefault(person, {}).update(
                {
                    f"row at {of}": row, f"status at {of}": int(found.status[row]),
                    f"reason at {of}": int(found.reason[row]), f"payload at {of}": payload is not None,
                    f"payload length at {of}": len(payload or b""), "complete": found.complete,
                    "rows": status.rows, "received at": status.received_at, "log": size, "root": root,
                }
            )  # fmt: skip
        return sights

    def collect(self, provider: str, *, manual: bool | None = None, limit: int = 1 << 20) -> list[hub.Permits]:
        """The provider: the permits that came since it last asked; of a clerk's all."""
        after = None if manual else self.cursors[provider]
        found = self.h.collect(provider, after=after, manual=manual, limit=limit)
        if found and not manual:
            self.cursors[provider] = found[-1].cursor
        return found

    def permits(self, provider: str, found: list[hub.Permits]) -> dict[bytes, Sight]:
        """The provider: what a collection says, by its own alias."""
        sights: dict[bytes, Sight] = {}
        over_all = 0
        for list_place, permits in enumerate(found):
            for place in range(len(permits)):
                sights[permits.aliases[place].tobytes()] = {
                    "permit": int(permits.permit[place]), "place": place, "list place": list_place,
                    "place over all": over_all, "list length": len(permits), "valid until": permits.valid_until,
                    "manual": bool(permits.manual[place]), "asked": int(permits.asked[place]),
                    "cursor": bytes.fromhex(permits.cursor), "inquiry": _digest(permits.inquiry),
                }  # fmt: skip
                over_all += 1
        return sights

    def handles(self, party: str, person: int) -> Sight:
        """A party: its own records about a person."""
        sight: Sight = {"alias": self.alias(party, person).tobytes()}
        for place, (handle, record) in enumerate(self.h.handles(party, self.alias(party, person))):
            of = self.name(record.provider)
            sight |= {
                f"handle {of}": handle, f"handle {of} place": place, f"handle {of} withheld": record.withheld,
                f"handle {of} outcome": record.outcome, f"handle {of} kind": record.kind,
                f"handle {of} requested": int(record.requested_at.timestamp()),
            }  # fmt: skip
            assert record.alias == sight["alias"]
        return sight

    def history(self, person: int, *, cursor: bool = True) -> Sight:
        """The portal: a person's history with proofs."""
        alias = self.alias(PORTAL, person)
        page = self.h.history(alias)
        assert page.cursor is None
        sight: Sight = {
            "alias": alias.tobytes(), "records": len(page), "disclosure": bytes.fromhex(page.disclosure),
            "disclosure key": self.h.disclosure_key(alias),
        }  # fmt: skip
        if cursor:
            sight["cursor"] = bytes.fromhex(self.h.history(alias, limit=1).cursor or "")
        for place, record in enumerate(page.records):
            of = f"{record.kind.name} {self.name(record.provider)}"
            sight |= {
                f"{of} index": record.index, f"{of} place": place,
                f"{of} link": -1 if record.link is None else record.link,
                f"{of} outcome": record.outcome, f"{of} inquiry": bytes.fromhex(record.inquiry),
                f"{of} requested": int(record.requested_at.timestamp()),
                f"{of} provided": 0 if record.provided_at is None else int(record.provided_at.timestamp()),
            }  # fmt: skip
            proof = page.proof(place)
            sight |= {
                f"{of} proof index": proof.index, f"{of} leaf": proof.leaf, f"{of} salt": proof.salt,
                f"{of} row": proof.row, f"{of} shared": hashlib.sha256(proof.shared).digest(),
                f"{of} path": len(proof.path), f"{of} sibling": proof.path[0] if proof.path else b"",
            }  # fmt: skip
        return sight

    def lists(self, party: str, persons: Iterable[int]) -> dict[int, Sight]:
        """A party: what it is to review, to judge, to correct; each person stands once in every list."""
        lists: dict[str, list[tuple[Any, ...]]] = {
            "due": list(self.h.marks_due(party, by=dt.date(2030, 1, 1))),
            "unjudged": list(self.h.unjudged(party, limit=LIST_MAX)),
            "notice": [(one.handle, one.record, one.at) for one in self.h.corrections(party)],
        }
        found: dict[bytes, Sight] = {}
        for name, entries in lists.items():
            for place, (handle, record, *more) in enumerate(entries):
                found.setdefault(record.alias, {}).update(
                    {
                        f"{name} place": place, f"{name} handle": handle, f"{name} withheld": record.withheld,
                        f"{name} more": _digest(more), f"{name} outcome": record.outcome,
                    }
                )  # fmt: skip
        sights = {one: found[self.alias(party, one).tobytes()] for one in persons}
        assert all(f"{name} place" in sight for name in lists for sight in sights.values())
        return sights

    def refusal(self, provider: str, permits: list[int]) -> Sight:
        """The provider: the words of an error about some of its permits, which others outcomes than before provoke."""
        try:
            self.h.provide(provider, permits, hub.Status.EMPTY)
        except hub.errors.RequestError as error:
            row = re.search(r"row (\d+)", str(error))
            return {"refused": _digest(str(error)), "refused row": int(row[1]) if row else -1}
        raise AssertionError("expected a refusal")

    def checkpoint(self) -> tuple[int, bytes]:
        """Everybody: size and root of the log."""
        _, size, root = self.h.checkpoint().split("\n")[:3]
        return int(size), root.encode()

    def name(self, code: str) -> str:
        """X, Y, or the party's own code."""
        return {self.x: "X", self.y: "Y", self.z: "Z"}.get(code, code)

    def later(self, seconds: float) -> None:
        """Let time go by."""
        self.clock.now += seconds


def _digest(value: Any) -> bytes:
    return hashlib.sha256(repr(value).encode()).digest()[:16]
