"""Peer ``duckdb``: two column tables and one hash join over the batch; columns go in and out as numpy arrays.

Aliases are two UBIGINT, which join faster than BLOB. Rows are put back into the caller's order by numpy, which is
faster than ORDER BY. It uses as many threads as the run allows, whatever the hub's case beside it uses.
"""

from __future__ import annotations

import importlib
from typing import Any

import numpy as np
import numpy.typing as npt

from hub.bench.peers import PROVIDER, Peer, PeerRows

JOIN = f"""
    SELECT batch.row, provided.lo, provided.hi FROM batch
    JOIN aliases ON aliases.lo = batch.lo AND aliases.hi = batch.hi
    JOIN provided ON provided.person = aliases.person AND provided.provider = {PROVIDER}
"""


class DuckdbJoin(Peer):
    name = "duckdb"
    files = "duckdb"

    def load(self, rows: PeerRows) -> None:
        duckdb: Any = importlib.import_module("duckdb")
        self.db: Any = duckdb.connect(str(self.folder / "peer.duckdb"))
        self.db.execute(f"SET threads = {self.threads}")
        self.db.execute("SET enable_progress_bar = false")
        self.db.execute("CREATE TABLE aliases (lo UBIGINT, hi UBIGINT, person UINTEGER)")
        self.db.execute("CREATE TABLE provided (provider USMALLINT, person UINTEGER, lo UBIGINT, hi UBIGINT)")
        persons = np.arange(len(rows), dtype=np.uint32)
        self.db.register("new_aliases", {**halves(rows.aliases), "person": persons})
        self.db.register("new_provided", {**halves(rows.provided), "person": persons})
        self.db.execute("BEGIN")
        self.db.execute("INSERT INTO aliases SELECT lo, hi, person FROM new_aliases")
        self.db.execute(f"INSERT INTO provided SELECT {PROVIDER}, person, lo, hi FROM new_provided")
        self.db.execute("COMMIT")
        self.db.execute("CHECKPOINT")
        self.db.unregister("new_aliases")
        self.db.unregister("new_provided")

    def resolve(self, aliases: npt.NDArray[np.uint8]) -> npt.NDArray[np.uint8]:
        self.db.register("batch", {**halves(aliases), "row": np.arange(len(aliases), dtype=np.uint32)})
        found = self.db.execute(JOIN).fetchnumpy()
        out = np.zeros((len(aliases), 2), dtype="<u8")
        out[found["row"], 0] = found["lo"]
        out[found["row"], 1] = found["hi"]
        return out.view(np.uint8)

    def close(self) -> None:
        self.db.close()


def halves(aliases: npt.NDArray[np.uint8]) -> dict[str, npt.NDArray[np.uint64]]:
    """uint8[N, 16] as two contiguous columns of 8 bytes."""
    words = aliases.view("<u8")
    return {"lo": np.ascontiguousarray(words[:, 0]), "hi": np.ascontiguousarray(words[:, 1])}
