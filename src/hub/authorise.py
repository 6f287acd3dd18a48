"""Stage 2 of 6: a batch and the catalog -> one decision a row, with the rule or the reason.

All rows of an inquiry share requester, procedure, items and role; only the provider differs. The catalog compiles
the shared part into a :class:`DecisionTable` once and keeps it while nothing in the law changes, so the work of a
row is one look-up of two bytes by its provider's number. ``Catalog.decide`` reads the same table.
"""

from __future__ import annotations

import datetime as dt

import numpy as np
import numpy.typing as npt

from hub.catalog import Catalog, DecisionTable
from hub.errors import RequestError
from hub.messages import Inquiry, Status, count_names

__all__ = ["Decided", "DecisionTable", "authorise"]


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
        """uint8[N] of :class:`hub.Status`: OK, DENIED or DENIED_ASSESSMENT."""
        return self.table.status.take(self.decision)

    @property
    def rule(self) -> npt.NDArray[np.uint32]:
        """uint32[N]: the allowing rule, or of a refusal the nearest."""
        return self.table.rule.take(self.decision)

    @property
    def reason(self) -> npt.NDArray[np.uint8]:
        """uint8[N] of :class:`hub.Reason`."""
        return self.table.reason.take(self.decision)


def authorise(
    catalog: Catalog, inquiry: Inquiry, providers: npt.NDArray[np.uint32], at: dt.datetime | dt.date | float
) -> Decided:
    """Decide every row of a batch by the law in force when the hub received it.

    Args:
        inquiry: its reference date never matters.
        providers: uint32[N] institution numbers, in the caller's order.
        at: when the hub received the batch, by its own clock: a datetime or seconds since 1970.

    Returns:
        the entry of each row and the table of entries; nothing was looked up or recorded.

    Raises:
        RequestError: a word of the inquiry is not known or it is not well formed, a number is no institution's, or
            ``providers`` has another shape or type.
    """
    if providers.dtype != np.uint32 or providers.ndim != 1:
        raise RequestError(f"providers: expected uint32[N], got {providers.dtype}{list(providers.shape)}")
    table = catalog.table(inquiry, at)
    return Decided(table.look_up(providers), table)
