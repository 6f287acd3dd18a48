"""Stage 2 of 6: a batch and the catalog -> one decision a row, with the rule or the reason.

All rows of an inquiry share requester, procedure, items and role; only the provider differs. The catalog compiles
the shared part into a :class:`DecisionTable` once and keeps it while nothing in the law changes, so the work of a
row is one look-up of two bytes by its provider's number, and where consent matters a second one for the rows without
it. ``Catalog.decide`` reads the same table.
"""

from __future__ import annotations

import datetime as dt

import numpy as np
import numpy.typing as npt

from hub.catalog import Catalog, Consents
from hub.errors import RequestError
from hub.messages import Inquiry
from hub.requests.batch import Decided


def authorise(
    catalog: Catalog,
    inquiry: Inquiry,
    providers: npt.NDArray[np.uint32],
    at: dt.datetime | dt.date | float,
    *,
    consents: Consents = None,
) -> Decided:
    """Decide every row of a batch by the law in force when the hub received it.

    Args:
        inquiry: its reference date never matters.
        providers: uint32[N] institution numbers, in the caller's order.
        at: when the hub received the batch, by its own clock: a datetime or seconds since 1970.
        consents: which rows' persons consented, as of :class:`Batch`.

    Returns:
        the entry of each row and the table of entries; nothing was looked up or recorded.

    Raises:
        RequestError: a word of the inquiry is not known or it is not well formed, a number is no institution's, or
            ``providers`` has another shape or type.
    """
    if providers.dtype != np.uint32 or providers.ndim != 1:
        raise RequestError(f"providers: expected uint32[N], got {providers.dtype}{list(providers.shape)}")
    table = catalog.table(inquiry, at)
    return Decided(table.look_up(providers, consents), table)
