"""What a comparison of copies finds: lines by copy and place, and whose copy is wrong."""

from __future__ import annotations

from typing import NamedTuple

import msgspec

SHOWN_MAX = 10_000
"""Differences that are listed; the others are counted."""


class Difference(msgspec.Struct, frozen=True, kw_only=True):
    """One line that the copies do not agree about.

    Attributes:
        copy: whose is wrong: "requester", "provider" or "hub". kind: "missing", "extra" or "differs".
        what: of "differs" the columns. place: where in that copy: request and row (counted from 1), or permit.
        institution: whose copy the place is in.
    """

    copy: str
    kind: str
    what: str
    institution: str
    place: str

    def __str__(self) -> str:
        words = f" ({self.what})" if self.what else ""
        return f"{self.copy}: {self.kind}{words}: {self.institution} {self.place}"


class Comparison(msgspec.Struct, frozen=True, kw_only=True):
    """What a comparison found.

    Attributes:
        requested, provided: lines compared of the requester's copy and of the providers'.
        waiting: rows of the requester's copy whose end it has not been told yet; gone: rows of requests that the hub
            keeps no longer, not compared; unfinished: permits in the providers' copies without a receipt.
        differences: at most ``SHOWN_MAX``; more: how many are not listed.
    """

    requested: int
    provided: int
    waiting: int
    gone: int
    unfinished: int
    differences: tuple[Difference, ...]
    more: int

    @property
    def ok(self) -> bool:
        """Whether all copies agree."""
        return not self.differences and not self.more


class Place(NamedTuple):
    """A difference, and the permit's record that it is about (-1: none), with what the copy says it ended with."""

    found: Difference
    record: int
    ended: tuple[int, int] | None


class Found:
    """Collects differences."""

    def __init__(self) -> None:
        self.places: list[Place] = []
        self.more = 0

    def add(self, copy: str, kind: str, what: str, institution: str, place: str, record: int = -1,
            ended: tuple[int, int] | None = None) -> None:  # fmt: skip
        """Note one."""
        if len(self.places) >= SHOWN_MAX:
            self.more += 1
            return
        found = Difference(copy=copy, kind=kind, what=what, institution=institution, place=place)
        self.places.append(Place(found, record, ended))


def blame(places: list[Place]) -> list[Difference]:
    """Where requester and provider say the same against the hub, one line of the hub's instead of one of each."""
    requesters = {place.record: place for place in places if place.found.copy == "requester" and place.ended}
    both = {
        place.record for place in places
        if place.found.copy == "provider" and place.record in requesters and place.ended is not None
        and place.ended == requesters[place.record].ended
    }  # fmt: skip
    out = []
    for place in places:
        if place.record not in both or place.record < 0:
            out.append(place.found)
        elif place.found.copy == "provider":
            kind = {"extra": "missing", "missing": "extra"}.get(place.found.kind, place.found.kind)
            out.append(msgspec.structs.replace(place.found, copy="hub", kind=kind))
    return out


def row_place(name: str, row: int) -> str:
    """Where a row of a requester's copy stands; rows are counted from 1 for people."""
    return f"request {name} row {row + 1}"


def permit_place(permit: int) -> str:
    """Where a line of a provider's copy stands."""
    return f"permit {permit:016x}"
