"""People whom a clerk of the institution answers for (自動応答不可), as it keeps them itself: database ``manual``.

Finding nobody there must mean that nobody is: before a look-up all of it is compared with its sum.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from hub.agency.runs import Words, mix_keys
from hub.agency.store import AgencyStore
from hub.decode import decode_aliases
from hub.errors import RequestError
from hub.limits import FLAGS_PER_CALL_MAX

MANUAL = "manual"


class ManualFlags:
    """The flags of an open agency."""

    def __init__(self, store: AgencyStore) -> None:
        self._store = store

    def __repr__(self) -> str:
        return "ManualFlags()"

    def flag(self, aliases: Any, on: bool, now: int) -> int:
        """See ``Agency.flag``."""
        rows = decode_aliases(aliases)
        if len(rows) > FLAGS_PER_CALL_MAX:
            raise RequestError(f"aliases: expected at most {FLAGS_PER_CALL_MAX}, got {len(rows)}")
        changed = 0
        with self._store.writer:
            self._known()
            with self._store.commit() as commit:
                for alias in {row.tobytes() for row in rows}:
                    if (commit.get(MANUAL, alias) is not None) == on:
                        continue
                    changed += 1
                    if on:
                        commit.put_sealed(MANUAL, alias, now.to_bytes(8, "little", signed=True))
                    else:
                        commit.delete(MANUAL, alias)
        return changed

    def flagged(self, aliases: Any) -> npt.NDArray[np.bool_]:
        """See ``Agency.flagged``."""
        rows = decode_aliases(aliases)
        found = self.among(mix_keys(rows))
        return np.zeros(len(rows), np.bool_) if found is None else found

    def count(self) -> int:
        """How many are flagged."""
        return len(self._known()[0])

    def among(self, mixed: tuple[Words, Words]) -> npt.NDArray[np.bool_] | None:
        """bool[N]: which of these (mixed aliases) are flagged; None: nobody is at all.

        Raises:
            StorageError: a flag is damaged or missing.
        """
        hi, lo = self._known()
        if not len(hi):
            return None
        found = np.isin(mixed[0], hi)
        at = np.flatnonzero(found)
        known = set(zip(hi.tolist(), lo.tolist(), strict=True))
        pairs = zip(mixed[0][at].tolist(), mixed[1][at].tolist(), strict=True)
        found[at] = [pair in known for pair in pairs]
        return found

    def _known(self) -> tuple[Words, Words]:
        with self._store.read() as reader:
            reader.compare_sum(MANUAL)
            raw = b"".join(reader.keys(MANUAL))
        return mix_keys(np.frombuffer(raw, np.uint8).reshape(-1, 16))
