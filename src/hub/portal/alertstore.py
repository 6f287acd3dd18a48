"""Addresses for alerts and what is to be sent today; in the portal's SQLite file, mode 0600 (``links.py``).

| table | key | what |
|---|---|---|
| ``mails`` | ``alias`` | ``address``, ``language``; ``told``: place in the log up to which a mail has told |
| ``confirmations`` | ``token``: SHA-256 of it | ``alias``, ``address``, ``language``, ``made``: a time, ``used`` |
| ``sizes`` | ``at``: seconds since 1970 | ``size`` of the log, which it had by then |
| ``days`` | ``day``: 1 = 0001-01-01, in Japan | |
| ``queue`` | ``alias``, ``day`` | ``state``: 0 waits, 1 begun, 2 over |
| ``changed`` | ``number`` | ``address``, ``language``: where mails went and go no more, to be told; ``at``: a time |

A line of ``queue`` is 1 on disk before its mail is handed to a server, and never 0 again but where the server has not
taken it for certain: whoever kills the process in between, the mail goes at most once that day. Used in the loop's
thread.
"""

from __future__ import annotations

import hashlib
import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

from hub.errors import StorageError
from hub.portal.links import open_private

WAITING, BEGUN, OVER = 0, 1, 2
KEPT_DAYS = 7
DAY_S = 86_400

_TABLES = """
CREATE TABLE IF NOT EXISTS mails (alias BLOB PRIMARY KEY, address TEXT NOT NULL, language TEXT NOT NULL,
    told INTEGER NOT NULL) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS confirmations (token BLOB PRIMARY KEY, alias BLOB NOT NULL, address TEXT NOT NULL,
    language TEXT NOT NULL, made INTEGER NOT NULL, used INTEGER NOT NULL) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS sizes (at INTEGER PRIMARY KEY, size INTEGER NOT NULL) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS days (day INTEGER PRIMARY KEY) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS queue (alias BLOB, day INTEGER, state INTEGER NOT NULL, PRIMARY KEY (alias, day))
    WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS changed (number INTEGER PRIMARY KEY, address TEXT NOT NULL, language TEXT NOT NULL,
    at INTEGER NOT NULL);
CREATE INDEX IF NOT EXISTS queue_waits ON queue (day, state);
CREATE INDEX IF NOT EXISTS confirmations_of ON confirmations (alias, made);
"""


class Subscriber(NamedTuple):
    """Who wants mails.

    Attributes:
        told: place in the log up to which a mail has told.
    """

    alias: bytes
    address: str
    language: str
    told: int

    def __repr__(self) -> str:
        return "Subscriber()"


class Changed(NamedTuple):
    """An address to which mails go no more."""

    number: int
    address: str
    language: str

    def __repr__(self) -> str:
        return "Changed()"


class AlertStore:
    """The tables, open."""

    def __init__(self, path: str | Path) -> None:
        """Open the file, or make it.

        Raises:
            StorageError: it cannot be opened.
        """
        try:
            self._db = open_private(path, _TABLES)
        except (OSError, sqlite3.Error) as error:
            raise StorageError(f"alerts: cannot open: {type(error).__name__}") from None

    def __repr__(self) -> str:
        return "AlertStore()"

    def close(self) -> None:
        """Close it."""
        self._db.close()

    # -- addresses

    def find(self, alias: bytes) -> Subscriber | None:
        """Whose mails go where, or None."""
        row = self._one("SELECT alias, address, language, told FROM mails WHERE alias = ?", alias)
        return None if row is None else Subscriber(bytes(row[0]), row[1], row[2], row[3])

    def remove(self, alias: bytes) -> None:
        """Switch them off, and forget links that were not followed."""
        with self._change() as do:
            do("DELETE FROM mails WHERE alias = ?", (alias,))
            do("UPDATE confirmations SET used = 1 WHERE alias = ?", (alias,))

    def put_confirmation(self, token: str, alias: bytes, address: str, language: str, now: int, a_day: int) -> bool:
        """A link for an address; False where the person has had so many in a day. Older links end with it."""
        with self._change() as do:
            do("DELETE FROM confirmations WHERE made <= ?", (now - DAY_S,))
            many = do("SELECT count(*) FROM confirmations WHERE alias = ?", (alias,)).fetchone()[0]
            if many >= a_day:
                return False
            do("UPDATE confirmations SET used = 1 WHERE alias = ?", (alias,))
            do("INSERT INTO confirmations VALUES (?, ?, ?, ?, ?, 0)", (_digest(token), alias, address, language, now))
        return True

    def is_waiting(self, token: str, now: int) -> bool:
        """Whether a link is good."""
        return self._one(
            "SELECT 1 FROM confirmations WHERE token = ? AND used = 0 AND made > ?", _digest(token), now - DAY_S
        ) is not None  # fmt: skip

    def confirm(self, token: str, told: int, now: int) -> bool:
        """A link was followed: from now on mails go there; whether it was good, which it is once.

        Args:
            told: of who had no mails before.
        """
        with self._change() as do:
            row = do(
                "SELECT alias, address, language FROM confirmations WHERE token = ? AND used = 0 AND made > ?",
                (_digest(token), now - DAY_S),
            ).fetchone()
            if row is None:
                return False
            do("UPDATE confirmations SET used = 1 WHERE token = ?", (_digest(token),))
            do("DELETE FROM changed WHERE at <= ?", (now - KEPT_DAYS * DAY_S,))
            do(
                "INSERT INTO changed (address, language, at) SELECT address, language, ? FROM mails "
                "WHERE alias = ? AND address <> ?",
                (now, row[0], row[1]),
            )
            do(
                "INSERT INTO mails VALUES (?, ?, ?, ?) ON CONFLICT (alias) DO UPDATE SET address = excluded.address, "
                "language = excluded.language",
                (*row, told),
            )
        return True

    def changed(self) -> list[Changed]:
        """Addresses that are still to be told, some of them in an order of chance: none that fails bars the others."""
        sql = "SELECT number, address, language FROM changed ORDER BY random() LIMIT 100"
        try:
            rows = self._db.execute(sql).fetchall()
        except sqlite3.Error as error:
            raise StorageError(f"alerts: cannot read: {type(error).__name__}") from None
        return [Changed._make(row) for row in rows]

    def drop_changed(self, number: int) -> None:
        """One was told, or does not take it."""
        with self._change() as do:
            do("DELETE FROM changed WHERE number = ?", (number,))

    # -- how old the log's places are

    def note_size(self, at: int, size: int) -> None:
        """Note that the log had at least this size at a moment; of the last days only."""
        with self._change() as do:
            do("INSERT OR REPLACE INTO sizes VALUES (?, ?)", (at, size))
            do("DELETE FROM sizes WHERE at < ?", (at - KEPT_DAYS * DAY_S,))

    def newest_note(self) -> int:
        """When it was last noted; 0 = never."""
        row = self._one("SELECT max(at) FROM sizes")
        return 0 if row is None or row[0] is None else int(row[0])

    def size_by(self, at: int) -> int | None:
        """The largest size that it is known to have had by a moment."""
        row = self._one("SELECT max(size) FROM sizes WHERE at <= ?", at)
        return None if row is None or row[0] is None else int(row[0])

    # -- today's mails

    def begin_day(self, day: int) -> bool:
        """Queue a line for everybody, once a day; what was left of the days before is over."""
        with self._change() as do:
            if do("SELECT 1 FROM days WHERE day = ?", (day,)).fetchone() is not None:
                return False
            do("INSERT INTO days VALUES (?)", (day,))
            do("DELETE FROM days WHERE day < ?", (day - KEPT_DAYS,))
            do("DELETE FROM queue WHERE day < ?", (day - KEPT_DAYS,))
            do("UPDATE queue SET state = ? WHERE day < ?", (OVER, day))
            do("INSERT OR IGNORE INTO queue SELECT alias, ?, ? FROM mails", (day, WAITING))
        return True

    def waiting(self, day: int, limit: int) -> list[Subscriber]:
        """Who waits today, some of them in an order of chance."""
        try:
            rows = self._db.execute(
                "SELECT m.alias, m.address, m.language, m.told FROM queue q JOIN mails m ON m.alias = q.alias "
                "WHERE q.day = ? AND q.state = ? ORDER BY random() LIMIT ?", (day, WAITING, limit),
            ).fetchall()  # fmt: skip
        except sqlite3.Error as error:
            raise StorageError(f"alerts: cannot read: {type(error).__name__}") from None
        return [Subscriber(bytes(row[0]), *row[1:]) for row in rows]

    def begin_line(self, alias: bytes, day: int) -> bool:
        """Mark that its mail is about to be handed over; False where somebody else has, who did it is alone with it."""
        with self._change() as do:
            done = do(
                "UPDATE queue SET state = ? WHERE alias = ? AND day = ? AND state = ?", (BEGUN, alias, day, WAITING)
            )
            return int(done.rowcount) == 1

    def set_state(self, alias: bytes, day: int, state: int, *, told: int | None = None) -> None:
        """How a line stands; with ``told`` up to where its mail has told."""
        with self._change() as do:
            do("UPDATE queue SET state = ? WHERE alias = ? AND day = ?", (state, alias, day))
            if told is not None:
                do("UPDATE mails SET told = max(told, ?) WHERE alias = ?", (told, alias))

    def set_told(self, alias: bytes, told: int) -> None:
        """Nothing below this place in the log is news to them any more."""
        with self._change() as do:
            do("UPDATE mails SET told = max(told, ?) WHERE alias = ?", (told, alias))

    def end_day(self, day: int) -> None:
        """Nothing more is sent today."""
        with self._change() as do:
            do("UPDATE queue SET state = ? WHERE day = ? AND state = ?", (OVER, day, WAITING))

    def _one(self, sql: str, *values: object) -> Any:
        try:
            return self._db.execute(sql, values).fetchone()
        except sqlite3.Error as error:
            raise StorageError(f"alerts: cannot read: {type(error).__name__}") from None

    @contextmanager
    def _change(self) -> Iterator[Any]:
        """One transaction: all of it, or nothing."""
        try:
            self._db.execute("BEGIN IMMEDIATE")
            try:
                yield self._db.execute
            except BaseException:
                self._db.execute("ROLLBACK")
                raise
            self._db.execute("COMMIT")
        except sqlite3.Error as error:
            raise StorageError(f"alerts: cannot write: {type(error).__name__}") from None


def _digest(token: str) -> bytes:
    return hashlib.sha256(token.encode("utf-8", "surrogateescape")).digest()
