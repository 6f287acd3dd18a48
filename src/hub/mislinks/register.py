"""The register body's side: what institutions claimed of their tickets, compared with the register.

A tool beside the hub, for whoever has the register body's private key and its register: the hub has neither.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from hub.errors import RequestError
from hub.messages import Differs
from hub.mislinks.attributes import Attributes, People, compare_people, open_attributes

_ALL = np.uint8(sum(Differs))


class Compared(NamedTuple):
    """What a delivery's claims came to.

    Attributes:
        differs: uint8[N] of ``Differs``; all four where a claim cannot be opened; 0 where there is none.
        known: bool[N], the code is in the register; others must not be delivered.
        claimed: bool[N], there was a claim. own, registered: attributes of the rows that could be compared, in order.
        rows: int64[M], which those are.
    """

    differs: npt.NDArray[np.uint8]
    known: npt.NDArray[np.bool_]
    claimed: npt.NDArray[np.bool_]
    own: People
    registered: People
    rows: npt.NDArray[np.int64]

    def __repr__(self) -> str:
        return f"Compared(rows={len(self.differs)}, differ={int(np.count_nonzero(self.differs))})"


def compare_claims(
    private_key: bytes,
    sealed: list[bytes | None],
    codes: npt.NDArray[np.int64],
    register_codes: npt.NDArray[np.int64],
    register: People,
) -> Compared:
    """Open claims and compare each with the register's entry of the code that is to be delivered with its ticket.

    Args:
        private_key: the register body's. sealed: N times bytes or None, as of ``h.claims``. codes: int64[N].
        register_codes, register: code and attributes, row by row, in any order, no code twice.
    """
    if len(sealed) != len(codes):
        raise RequestError(f"codes: expected {len(sealed)} rows, got {len(codes)}")
    order = np.argsort(register_codes, kind="stable")
    ordered = register_codes[order]
    if (ordered[1:] == ordered[:-1]).any():
        raise RequestError("register: expected each code once, got one twice")
    place = np.minimum(np.searchsorted(ordered, codes), max(len(ordered) - 1, 0))
    known = ordered[place] == codes if len(ordered) else np.zeros(len(codes), np.bool_)
    claimed = np.array([one is not None for one in sealed], np.bool_)
    differs = np.where(claimed, _ALL, np.uint8(0))
    opened: list[Attributes] = []
    rows: list[int] = []
    for row in np.flatnonzero(claimed & known).tolist():
        try:
            opened.append(open_attributes(private_key, sealed[row] or b""))
            rows.append(row)
        except RequestError:
            # Nothing can be said for it: a clerk of the institution has to look.
            continue
    at = np.array(rows, np.int64)
    own, registered = People.of(opened), register.take(order[place[at]])
    differs[at] = compare_people(own, registered)
    return Compared(differs, known, claimed, own, registered, at)
