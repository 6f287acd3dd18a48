"""Peer ``sqlite3``: two WITHOUT ROWID tables; the batch goes into a temporary table and one join answers it.

The join is the faster of two (0.22 against 0.14 M rows/s for a prepared SELECT a row). Memory-mapped, with a page
cache larger than the tables; ``synchronous=FULL``: durable as the hub is. A rollback journal, because a fresh table
leaves nothing in it, while WAL would write all of it twice.
"""

from __future__ import annotations

import sqlite3

import numpy as np
import numpy.typing as npt

from hub.bench.peers import PROVIDER, Peer, PeerRows, byte_list

SETTINGS = """
    PRAGMA journal_mode = DELETE;
    PRAGMA synchronous = FULL;
    PRAGMA cache_size = -2000000;
    PRAGMA mmap_size = 17179869184;
    PRAGMA temp_store = MEMORY;
    CREATE TABLE aliases (alias BLOB PRIMARY KEY, person INTEGER) WITHOUT ROWID;
    CREATE TABLE provided (provider INTEGER, person INTEGER, alias BLOB, PRIMARY KEY (provider, person)) WITHOUT ROWID;
    CREATE TEMP TABLE batch (row INTEGER PRIMARY KEY, alias BLOB);
"""

JOIN = """
    SELECT coalesce(provided.alias, zeroblob(16)) FROM batch
    LEFT JOIN aliases ON aliases.alias = batch.alias
    LEFT JOIN provided ON provided.provider = ? AND provided.person = aliases.person
    ORDER BY batch.row
"""


class SqliteJoin(Peer):
    name = "sqlite3"
    files = "sqlite3"
    rows_suffice: int | None = 250_000

    def load(self, rows: PeerRows) -> None:
        self.db = sqlite3.connect(self.folder / "peer.sqlite3")
        self.db.executescript(SETTINGS)
        aliases = zip(rows.sorted_aliases(), rows.sorted_persons(), strict=True)
        with self.db:
            self.db.executemany("INSERT INTO aliases VALUES (?, ?)", aliases)
            provided = zip(range(len(rows)), rows.provided_aliases(), strict=True)
            self.db.executemany(f"INSERT INTO provided VALUES ({PROVIDER}, ?, ?)", provided)

    def resolve(self, aliases: npt.NDArray[np.uint8]) -> npt.NDArray[np.uint8]:
        self.db.execute("DELETE FROM batch")
        self.db.executemany("INSERT INTO batch VALUES (?, ?)", enumerate(byte_list(aliases)))
        found = b"".join([alias for (alias,) in self.db.execute(JOIN, (PROVIDER,))])
        return np.frombuffer(found, dtype=np.uint8).reshape(-1, 16)

    def close(self) -> None:
        self.db.close()
