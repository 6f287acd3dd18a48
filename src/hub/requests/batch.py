"""What one stage hands to the next: a batch, its decisions, its resolution. Never leaves the hub."""

from __future__ import annotations

from typing import Any

import msgspec
import numpy as np
import numpy.typing as npt

from hub.catalog import Consents, DecisionTable
from hub.messages import Aliases, Inquiry, Status, Withhold, count_names
from hub.requests.several import Several


class Batch(msgspec.Struct, frozen=True):
    """One inquiry, checked.

    Attributes:
        inquiry: with its items as a tuple.
        requester: the requester's institution number.
        aliases: uint8[N, 16]. providers: uint32[N] institution numbers, or from ``CLASSES_FROM`` on classes.
        cases: a case number a row, or None. marks: a mark (or None) a row, or None.
        digest: SHA-256 of all that is here: the same request id must come with the same.
        consents: True where all rows' persons consented, bool[N] where some did, None where nobody did.
        classes: the labels of classes that rows name instead of institutions: these are located first
        (``persons/locate.py``).
    """

    inquiry: Inquiry
    requester: int
    aliases: Any
    providers: Any
    cases: list[str | None] | None
    digest: bytes
    marks: list[Withhold | None] | None = None
    consents: Consents = None
    classes: list[str] = []

    @property
    def by_class(self) -> bool:
        """Whether some row names a class."""
        return bool(self.classes)

    def __len__(self) -> int:
        return len(self.aliases)

    def __repr__(self) -> str:
        return f"Batch(rows={len(self)})"


class Decided:
    """The decisions of a batch: for each row an entry of the table.

    Attributes:
        decision: uint16[N], row -> entry of ``table``; read-only.
        table: the decisions that occur for this inquiry.
    """

    __slots__ = ("decision", "table")

    def __init__(self, decision: npt.NDArray[np.uint16], table: DecisionTable) -> None:
        self.decision = decision
        self.table = table

    def __len__(self) -> int:
        return len(self.decision)

    def __repr__(self) -> str:
        return f"Decided(rows={len(self)}, {count_names(self.status, Status)})"

    @property
    def items(self) -> tuple[str, ...]:
        """The details that every row's record stores."""
        return self.table.items

    @property
    def role(self) -> str:
        """The role that every row's record stores; empty if none was stated and the items leave it open."""
        return self.table.role

    @property
    def on_behalf_of(self) -> str | None:
        """The class of the principal where the requester acts under a delegation."""
        return self.table.on_behalf_of

    @property
    def allowed(self) -> npt.NDArray[np.bool_]:
        """bool[N]: whether the row may be resolved and asked."""
        return self.status == Status.OK

    @property
    def status(self) -> npt.NDArray[np.uint8]:
        """uint8[N] of :class:`hub.Status`: OK or one of the DENIED ones."""
        return self.table.status.take(self.decision)

    @property
    def rule(self) -> npt.NDArray[np.uint32]:
        """uint32[N]: the allowing rule, or of a refusal the nearest."""
        return self.table.rule.take(self.decision)

    @property
    def reason(self) -> npt.NDArray[np.uint8]:
        """uint8[N] of :class:`hub.Reason`."""
        return self.table.reason.take(self.decision)


class Resolution:
    """What a chunk's aliases stand for; never leaves the hub.

    Attributes:
        persons: uint32[N], NOBODY where the alias is unknown.
        aliases: uint8[N, 16], the providers'; zeros where status is not OK or the row was not wanted.
        status: uint8[N]: 0 OK, 1 UNKNOWN_ALIAS, 2 REVOKED, 3 NO_ALIAS_AT_PROVIDER (numbers of ``Status``).
        tables_commit: the state of the alias tables that this is true of.
    """

    __slots__ = ("aliases", "persons", "status", "tables_commit")

    def __init__(self, rows: int, tables_commit: int) -> None:
        self.persons = np.empty(rows, dtype=np.uint32)
        self.aliases: Aliases = np.empty((rows, 16), dtype=np.uint8)
        self.status = np.empty(rows, dtype=np.uint8)
        self.tables_commit = tables_commit

    def __len__(self) -> int:
        return len(self.status)

    def __repr__(self) -> str:
        return f"Resolution(rows={len(self)})"

    def part(self, rows: slice) -> Resolution:
        """Some of its rows, as views."""
        some = Resolution(0, self.tables_commit)
        some.persons, some.aliases, some.status = self.persons[rows], self.aliases[rows], self.status[rows]
        return some


class Destinations:
    """Where the rows of a chunk with classes go; never leaves the hub.

    Attributes:
        providers: uint32[N] institution numbers, 0 where the row goes nowhere.
        decision: uint16[N], entries of the batch's table.
        outcome: uint8[N], of a row that goes nowhere its status unless the law or the alias decides; else 0.
        several: the rows with several holders.
        sum: of all facts in the snapshot that this is true of.
    """

    __slots__ = ("decision", "outcome", "providers", "several", "sum")

    def __init__(
        self,
        providers: npt.NDArray[np.uint32],
        decision: npt.NDArray[np.uint16],
        outcome: npt.NDArray[np.uint8],
        several: Several,
        sum: int,
    ) -> None:
        self.providers = providers
        self.decision = decision
        self.outcome = outcome
        self.several = several
        self.sum = sum

    def __len__(self) -> int:
        return len(self.providers)

    def __repr__(self) -> str:
        return f"Destinations(rows={len(self)})"
