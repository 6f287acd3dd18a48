"""Log peer ``sqlite3 WAL``: one table and an index; a chunk is one ``executemany`` in one transaction.

``journal_mode=WAL`` with ``synchronous=FULL``, which syncs the log file at each commit: durable as the hub is.
"""

from __future__ import annotations

import sqlite3
import time
from itertools import repeat
from pathlib import Path

from hub.bench.peers.log import LogPeer, LogRows

TABLES = """
    PRAGMA journal_mode = WAL;
    PRAGMA synchronous = FULL;
    PRAGMA cache_size = -500000;
    CREATE TABLE inquiries (number INTEGER PRIMARY KEY, shared TEXT);
    CREATE TABLE records (number INTEGER PRIMARY KEY, person INTEGER, provider INTEGER, outcome INTEGER, at INTEGER,
                          inquiry INTEGER);
    CREATE INDEX by_person ON records (person);
"""


class SqliteLog(LogPeer):
    name = "sqlite3 WAL"

    def __init__(self, folder: Path) -> None:
        super().__init__(folder)
        self.file = self.folder / "log.sqlite3"
        self.db = sqlite3.connect(self.file)
        self.db.executescript(TABLES)

    def append(self, chunks: list[LogRows]) -> list[float]:
        seconds = []
        for rows in chunks:
            begin = time.perf_counter()
            columns = (column.tolist() for column in (rows.persons, rows.providers, rows.outcomes))
            with self.db:
                inquiry = self.db.execute("INSERT INTO inquiries (shared) VALUES (?)", (rows.shared,)).lastrowid
                values = zip(*columns, repeat(rows.requested_at), repeat(inquiry), strict=False)
                self.db.executemany("INSERT INTO records VALUES (NULL, ?, ?, ?, ?, ?)", values)
            seconds.append(time.perf_counter() - begin)
        return seconds

    def count(self) -> int:
        self.db.close()
        self.db = sqlite3.connect(self.file)
        (found,) = self.db.execute("SELECT count(*) FROM records").fetchone()
        return int(found)

    def close(self) -> None:
        self.db.close()
