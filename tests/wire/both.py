"""One hub at both ends, embedded and over the wire, and what their results consist of."""

from __future__ import annotations

import datetime as dt
from typing import Any

import msgspec
import numpy as np

import hub
from hub.catalog import Catalog
from hub.messages import Arrivals, Permits
from hub.tlog.proof import Proof
from inquiries import tax_inquiry
from parties import Parties

Pair = tuple[Any, Any]
PERSONS = 12


class Both:
    """One hub, here and over the wire."""

    def __init__(self, parties: Parties, remote: Any) -> None:
        self.p, self.h, self.r = parties, parties.h, remote
        self.town, self.nenkin = parties.town, parties.nenkin
        self.towns = [body.code for body in self.h.catalog.institutions("市町村長")[:6]]

    def ask(self, request_id: str, persons: list[int], provider: Any = None, **words: Any) -> hub.Answer:
        inquiry = tax_inquiry(request_id, operator="platform/asker")
        return self.h.inquire(inquiry, np.ascontiguousarray(self.nenkin[persons]), provider or self.town, **words)

    def ends(self) -> tuple[Any, Any]:
        return self.h, self.r


def plain(value: Any) -> Any:
    """What a result consists of, for comparing."""
    if isinstance(value, np.ndarray):
        return value.dtype.str, value.shape, value.tolist()
    if isinstance(value, Permits | Arrivals):
        # A cursor is encrypted anew each time.
        return [plain(getattr(value, name)) for name in type(value).__slots__ if name != "cursor"]
    if isinstance(value, Proof):
        return [plain(getattr(value, name)) for name in Proof.__slots__], value.text()
    if isinstance(value, hub.History):
        return type(value), plain(value.records), value.disclosure, value.cursor is None, getattr(value, "texts", None)
    if isinstance(value, Catalog):
        return value.digest
    if isinstance(value, list | tuple):
        return type(value), [plain(one) for one in value]
    if isinstance(value, msgspec.Struct):
        return type(value), [plain(getattr(value, name)) for name in value.__struct_fields__]
    if hasattr(value, "__slots__") and not isinstance(value, dt.date | dt.datetime):
        names = [name for cls in type(value).__mro__ for name in getattr(cls, "__slots__", ())]
        return type(value), [plain(getattr(value, name)) for name in names]
    return type(value), value
