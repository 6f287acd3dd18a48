"""Log peer ``postgresql``: one table and an index of a server of its own; a chunk is one binary ``COPY``.

``fsync`` and ``synchronous_commit`` on: durable as the hub is.
"""

from __future__ import annotations

import importlib
import time
from pathlib import Path
from typing import Any

import numpy as np

from hub.bench.peers.log import LogPeer, LogRows
from hub.bench.peers.postgres_join import copy_in
from hub.bench.peers.servers import PostgresServer

TABLES = """
    CREATE TABLE inquiries (number serial PRIMARY KEY, shared text);
    CREATE TABLE records (person int4 NOT NULL, provider int4 NOT NULL, outcome int2 NOT NULL, at int8 NOT NULL,
                          inquiry int4 NOT NULL, number bigserial PRIMARY KEY);
    CREATE INDEX by_person ON records (person);
"""
COLUMNS = "records (person, provider, outcome, at, inquiry)"


class PostgresLog(LogPeer):
    name = "postgresql"

    def __init__(self, folder: Path) -> None:
        super().__init__(folder)
        psycopg: Any = importlib.import_module("psycopg")
        self.server = PostgresServer(self.folder, threads=1)
        self.db: Any = None
        try:
            self.db = psycopg.connect(self.server.conninfo, autocommit=True)
            self.db.execute(TABLES)
        except BaseException:
            self.close()
            raise

    def append(self, chunks: list[LogRows]) -> list[float]:
        seconds = []
        for rows in chunks:
            begin = time.perf_counter()
            at = np.full(len(rows), rows.requested_at, dtype=np.int64)
            with self.db.transaction():
                insert = "INSERT INTO inquiries (shared) VALUES (%s) RETURNING number"
                (inquiry,) = self.db.execute(insert, (rows.shared,)).fetchone()
                copy_in(
                    self.db, COLUMNS, rows.persons.astype(np.int32), rows.providers.astype(np.int32),
                    rows.outcomes.astype(np.int16), at, np.full(len(rows), inquiry, dtype=np.int32),
                )  # fmt: skip
            seconds.append(time.perf_counter() - begin)
        return seconds

    def count(self) -> int:
        (found,) = self.db.execute("SELECT count(*) FROM records").fetchone()
        return int(found)

    def close(self) -> None:
        if self.db is not None:
            self.db.close()
        self.server.close()
