"""Who is who: the provider's ``sub`` and the portal's alias, and which notices were read; one SQLite file, mode 0600.

| table | key | what |
|---|---|---|
| ``links`` | ``who``: SHA-256("hub/portal/sub" ‖ issuer ‖ 0 ‖ sub) | ``alias``; ``card``: :func:`card_of`, or NULL |
| ``seen`` | ``alias``, ``record``: index of a notice's record | |

Whoever has this file and the provider's list of ``sub`` can tell whose alias is whose. The calls are short and few (one
a sign-in, one a page of notices); they are made in the loop's thread.
"""

from __future__ import annotations

import hashlib
import os
import sqlite3
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import NamedTuple

from hub.errors import RequestError, StorageError
from hub.limits import ALIAS_BYTES

_TABLES = """
CREATE TABLE IF NOT EXISTS links (who BLOB PRIMARY KEY, alias BLOB NOT NULL, card BLOB) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS seen (alias BLOB, record INTEGER, PRIMARY KEY (alias, record)) WITHOUT ROWID;
"""


class Linked(NamedTuple):
    """A person who is known here.

    Attributes:
        alias: 16 bytes. card: digest of the identifier they signed in with last.
    """

    alias: bytes
    card: bytes | None

    def __repr__(self) -> str:
        return "Linked()"


def open_private(path: str | Path, tables: str) -> sqlite3.Connection:
    """A file of tables that nobody else may read; each transaction is on disk when it has ended.

    Raises:
        OSError, sqlite3.Error: it cannot be opened or made.
    """
    # Made before SQLite does, which would let others read it until its mode is changed.
    os.close(os.open(path, os.O_RDWR | os.O_CREAT, 0o600))
    os.chmod(path, 0o600)
    # Two parts of a process write to one: a second waits for the first.
    db = sqlite3.connect(path, isolation_level=None, check_same_thread=False, timeout=30)
    db.executescript("PRAGMA journal_mode=WAL; PRAGMA synchronous=FULL;" + tables)
    return db


class Links:
    """The file, open."""

    def __init__(self, path: str | Path) -> None:
        """Open it, or make it.

        Raises:
            StorageError: it cannot be opened.
        """
        try:
            self._db = open_private(path, _TABLES)
        except (OSError, sqlite3.Error) as error:
            raise StorageError(f"links: cannot open: {error}") from None

    def __repr__(self) -> str:
        return "Links()"

    def close(self) -> None:
        """Close it."""
        self._db.close()

    def find(self, who: bytes) -> Linked | None:
        """Whose alias it is, or None."""
        row = self._one("SELECT alias, card FROM links WHERE who = ?", (who,))
        return None if row is None else Linked(bytes(row[0]), None if row[1] is None else bytes(row[1]))

    def put(self, who: bytes, alias: bytes, card: bytes | None = None) -> None:
        """Enter a person, or what they signed in with now.

        Raises:
            RequestError: an alias has another form. StorageError: it could not be written.
        """
        if len(alias) != ALIAS_BYTES:
            raise RequestError(f"alias: expected {ALIAS_BYTES} bytes, got {len(alias)}")
        self._do(
            "INSERT INTO links VALUES (?, ?, ?) ON CONFLICT (who) DO UPDATE SET alias = excluded.alias, "
            "card = excluded.card",
            [(who, alias, card)],
        )

    def put_all(self, people: Sequence[tuple[bytes, bytes]]) -> None:
        """Enter many, (who, alias) each, all or none; what they signed in with last is forgotten."""
        self._do("INSERT OR REPLACE INTO links VALUES (?, ?, NULL)", list(people))

    def read_of(self, alias: bytes, records: Sequence[int]) -> set[int]:
        """Which of these notices the person has read."""
        marks = ",".join("?" * len(records))
        try:
            found = self._db.execute(
                f"SELECT record FROM seen WHERE alias = ? AND record IN ({marks})", (alias, *records)
            ).fetchall()
        except sqlite3.Error as error:
            raise StorageError(f"links: cannot read: {error}") from None
        return {int(row[0]) for row in found}

    def mark_read(self, alias: bytes, records: Iterable[int], *, read: bool = True) -> None:
        """Note that they were read, or not."""
        sql = "INSERT OR IGNORE INTO seen VALUES (?, ?)" if read else "DELETE FROM seen WHERE alias = ? AND record = ?"
        self._do(sql, [(alias, record) for record in records])

    def _one(self, sql: str, values: tuple[object, ...]) -> tuple[bytes, bytes | None] | None:
        try:
            row: tuple[bytes, bytes | None] | None = self._db.execute(sql, values).fetchone()
        except sqlite3.Error as error:
            raise StorageError(f"links: cannot read: {error}") from None
        return row

    def _do(self, sql: str, rows: list[tuple[object, ...]]) -> None:
        try:
            self._db.execute("BEGIN IMMEDIATE")
            try:
                self._db.executemany(sql, rows)
            except BaseException:
                self._db.execute("ROLLBACK")
                raise
            self._db.execute("COMMIT")
        except sqlite3.Error as error:
            raise StorageError(f"links: cannot write: {error}") from None


def who_of(issuer: str, sub: str) -> bytes:
    """The key of somebody who signed in."""
    return hashlib.sha256(b"hub/portal/sub" + issuer.encode() + b"\0" + sub.encode()).digest()


def card_of(who: bytes, identifier: str) -> bytes:
    """Digest of an identifier; of no use without the person's ``sub``."""
    return hashlib.sha256(b"hub/portal/card" + who + identifier.encode()).digest()
