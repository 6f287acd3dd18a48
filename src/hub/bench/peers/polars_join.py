"""Peer ``polars``: two frames in memory and two inner joins over the batch; columns go in and out as numpy arrays.

Aliases are two UInt64, which join faster than Binary. The batch is the left side, which decides the order: the engine
builds its hash table of the smaller side. Rows are put back into the caller's order by numpy, which is faster than a
sort there. No durability. It takes as many threads as it finds, unless ``POLARS_MAX_THREADS`` was set before.
"""

from __future__ import annotations

import importlib
import os
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from hub.bench.peers import PROVIDER, Peer, PeerRows
from hub.bench.peers.duckdb_join import halves


class PolarsJoin(Peer):
    name = "polars"
    files = "polars"
    durable = False

    def __init__(self, folder: Path, *, threads: int) -> None:
        super().__init__(folder, threads=threads)
        os.environ.setdefault("POLARS_MAX_THREADS", str(threads))
        self.polars: Any = importlib.import_module("polars")

    def load(self, rows: PeerRows) -> None:
        persons = np.arange(len(rows), dtype=np.uint32)
        self.aliases = self.polars.DataFrame({**halves(rows.aliases), "person": persons})
        provider = np.full(len(rows), PROVIDER, dtype=np.uint16)
        found = {"out_lo": halves(rows.provided)["lo"], "out_hi": halves(rows.provided)["hi"]}
        self.provided = self.polars.DataFrame({"provider": provider, "person": persons, **found})

    def resolve(self, aliases: npt.NDArray[np.uint8]) -> npt.NDArray[np.uint8]:
        row = np.arange(len(aliases), dtype=np.uint32)
        provider = np.full(len(aliases), PROVIDER, dtype=np.uint16)
        batch = self.polars.DataFrame({**halves(aliases), "row": row, "provider": provider})
        known = batch.join(self.aliases, on=["lo", "hi"]).select("row", "provider", "person")
        found = known.join(self.provided, on=["provider", "person"])
        out = np.zeros((len(aliases), 2), dtype="<u8")
        rows = found["row"].to_numpy()
        out[rows, 0] = found["out_lo"].to_numpy()
        out[rows, 1] = found["out_hi"].to_numpy()
        return out.view(np.uint8)

    def close(self) -> None:
        self.aliases = self.provided = None
