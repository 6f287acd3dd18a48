"""Peer ``postgresql``: two tables of a server of its own; the batch is copied into a temporary one, a join answers it.

It wants the whole batch: both joins hash their tables, which costs the same for any. Ways in are binary ``COPY``, by
numpy; an alias is a ``uuid``, which is 16 bytes and compares as such. The answer comes back as one ``bytea`` in the
caller's order: a row each through ``COPY TO`` took longer in the client than the join. Keys are built behind the load.
``fsync`` on, socket below the system's temporary folder.
"""

from __future__ import annotations

import importlib
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from hub.bench.peers import PROVIDER, Peer, PeerRows, parts_of
from hub.bench.peers.servers import PostgresServer

TABLES = """
    CREATE TABLE aliases (alias uuid NOT NULL, person int4 NOT NULL);
    CREATE TABLE provided (provider int2 NOT NULL, person int4 NOT NULL, alias uuid NOT NULL);
    CREATE TEMPORARY TABLE batch (row int4 NOT NULL, alias uuid NOT NULL);
"""

KEYS = """
    ALTER TABLE aliases ADD PRIMARY KEY (alias);
    ALTER TABLE provided ADD PRIMARY KEY (provider, person);
"""

JOIN = f"""
    SELECT string_agg(coalesce(uuid_send(provided.alias), '\\x00000000000000000000000000000000'), ''
                      ORDER BY batch.row)
    FROM batch
    LEFT JOIN aliases ON aliases.alias = batch.alias
    LEFT JOIN provided ON provided.provider = {PROVIDER} AND provided.person = aliases.person
"""

SIGNATURE = b"PGCOPY\n\xff\r\n\x00" + bytes(8)
TRAILER = b"\xff\xff"


class PostgresJoin(Peer):
    name = "postgresql"
    files = "postgresql"

    def __init__(self, folder: Path, *, threads: int) -> None:
        super().__init__(folder, threads=threads)
        psycopg: Any = importlib.import_module("psycopg")
        self.server = PostgresServer(self.folder, threads=threads)
        self.db: Any = None
        try:
            self.db = psycopg.connect(self.server.conninfo, autocommit=True)
        except BaseException:
            self.close()
            raise

    def load(self, rows: PeerRows) -> None:
        persons = np.arange(len(rows), dtype=np.int32)
        provider = np.full(len(rows), PROVIDER, dtype=np.int16)
        with self.db.transaction():
            self.db.execute(TABLES)
            copy_in(self.db, "aliases", rows.aliases, persons)
            copy_in(self.db, "provided", provider, persons, rows.provided)
            self.db.execute(KEYS)
        self.db.execute("ANALYZE aliases, provided")

    def resolve(self, aliases: npt.NDArray[np.uint8]) -> npt.NDArray[np.uint8]:
        with self.db.transaction():
            self.db.execute("TRUNCATE batch")
            copy_in(self.db, "batch", np.arange(len(aliases), dtype=np.int32), aliases)
            self.db.execute("ANALYZE batch")
            (found,) = self.db.execute(JOIN, binary=True).fetchone()
        return np.frombuffer(found, dtype=np.uint8).reshape(-1, 16)

    def bytes_on_disk(self) -> int:
        # The data folder may stand elsewhere, and holds catalogs and the write-ahead log as well.
        (found,) = self.db.execute("SELECT sum(pg_total_relation_size(t)) FROM (VALUES ('aliases'::regclass), "
                                   "('provided'::regclass)) AS tables (t)").fetchone()  # fmt: skip
        return int(found)

    def close(self) -> None:
        if self.db is not None:
            self.db.close()
        self.server.close()


def copy_in(db: Any, table: str, *columns: npt.NDArray[Any]) -> None:
    """Copy columns into a table: integers of 2, 4 or 8 bytes, and uint8[N, 16] for a uuid."""
    with db.cursor() as cursor, cursor.copy(f"COPY {table} FROM STDIN (FORMAT BINARY)") as copy:
        copy.write(SIGNATURE)
        for parts in zip(*(parts_of(column) for column in columns), strict=True):
            copy.write(binary_rows(parts))
        copy.write(TRAILER)


def binary_rows(columns: tuple[npt.NDArray[Any], ...]) -> bytes:
    """Rows as PostgreSQL's binary COPY wants them: the number of fields, then of each its length and its bytes."""
    count = len(columns[0])
    fields: list[npt.NDArray[np.uint8]] = [np.full(count, len(columns), dtype=">i2").view(np.uint8).reshape(count, 2)]
    for column in columns:
        data = column if column.ndim == 2 else column.astype(column.dtype.newbyteorder(">")).view(np.uint8)
        data = data.reshape(count, -1)
        fields += [np.full(count, data.shape[1], dtype=">i4").view(np.uint8).reshape(count, 4), data]
    return np.hstack(fields).tobytes()
