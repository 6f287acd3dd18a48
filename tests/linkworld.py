"""A hub whose register body has a key and a register, and an institution that claims what its file says."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np

import hub
from hub.mislinks.attributes import Attributes, People
from hub.mislinks.register import Compared, compare_claims
from parties import Clock
from townsfolk import make_people, spelled_otherwise

FIRST_CODE = 70_000_000_000


class LinkWorld:
    """An open hub; ``people`` are in the register under ``codes``, spelled as the register body does."""

    def __init__(self, folder: Path, n: int, *, clock: Callable[[], float] | None = None, seed: int = 2023) -> None:
        self.folder, self.clock = folder, clock or Clock()
        self.people = make_people(n, seed)
        self.codes = np.arange(n, dtype=np.int64) + FIRST_CODE
        self.register = [spelled_otherwise(one) for one in self.people]
        self.private_key, public_key = hub.new_payload_key()
        self.h = hub.open(folder, create=True, clock=self.clock)
        self.h.register_key("jlis", public_key, clerk="register")
        self.town, self.other_town = (body.code for body in self.h.catalog.institutions("市町村長")[:2])

    def __enter__(self) -> LinkWorld:
        return self

    def __exit__(self, *_: object) -> None:
        self.h.close()

    def reopen(self) -> None:
        """Close and open again, for writing."""
        self.h.close()
        self.h = hub.open(self.folder, clock=self.clock)

    def claim(self, institution: str, claimed: list[Attributes], clerk: str = "first clerk") -> np.ndarray:
        """Draw a ticket for each and say what the institution's file has; returns the tickets."""
        tickets = self.h.tickets(institution, len(claimed))
        key = self.h.payload_key("jlis")
        assert key is not None
        self.h.claim(institution, tickets, [one.seal(key) for one in claimed], clerk=clerk)
        return tickets

    def deliver(self, tickets: np.ndarray, codes: np.ndarray) -> Compared:
        """The register body's part: open what was claimed, compare, deliver."""
        claims = self.h.claims("jlis", tickets)
        compared = compare_claims(self.private_key, claims.sealed, codes, self.codes, People.of(self.register))
        self.h.deliver("jlis", tickets, codes, compared.differs)
        return compared
