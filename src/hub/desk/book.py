"""The desk's book: what was asked by hand and waits for whom; one SQLite file, mode 0600.

| table | what |
|---|---|
| ``lines`` | a question or a disclosure at the counter: who asked for it, about whom, who confirmed it, how far it is |
| ``used`` | procedures that were asked by, how often and when last; of nobody |

The hub is the record; this is what its clerks work with, and a line goes after ``keep_days``. A line's id is made with
its form: a form that is sent again finds the line it made. Every change of a state is one statement that names the
state before, so that of two clicks one counts. Calls are short and made in the loop's thread.
"""

from __future__ import annotations

import contextlib
import json
import os
import sqlite3
from enum import StrEnum
from pathlib import Path
from typing import Any, NamedTuple

from hub.errors import StorageError

_TABLES = """
CREATE TABLE IF NOT EXISTS lines (
    id TEXT PRIMARY KEY, kind TEXT NOT NULL, at INTEGER NOT NULL, asker TEXT NOT NULL, asker_name TEXT NOT NULL,
    section TEXT NOT NULL, own_id TEXT NOT NULL, alias BLOB NOT NULL, state TEXT NOT NULL, two INTEGER NOT NULL,
    second TEXT, second_name TEXT, done_at INTEGER, told INTEGER, detail TEXT NOT NULL
) WITHOUT ROWID;
CREATE INDEX IF NOT EXISTS lines_by_time ON lines (kind, section, at);
CREATE TABLE IF NOT EXISTS used (
    procedure TEXT PRIMARY KEY, times INTEGER NOT NULL, last INTEGER NOT NULL
) WITHOUT ROWID;
"""
DAY_S = 86_400
REQUEST_ID = "desk-{}"
"""Of the inquiry of a line."""
SHOWN_MAX = 200


class State(StrEnum):
    """How far a line is."""

    DRAFT = "draft"
    """Its clerk has not yet said that it is right."""
    WAITING = "waiting"
    """A second clerk must confirm it."""
    SENDING = "sending"
    """On its way to the hub; where the hub was away it stays so, and goes on with the same request id."""
    ASKED = "asked"
    CONFIRMED = "confirmed"
    """Of a disclosure: to be printed by its clerk, once."""
    SHOWN = "shown"
    REFUSED = "refused"
    """The hub did not take it."""
    DROPPED = "dropped"


class Line(NamedTuple):
    """A question (kind ``ask``) or a disclosure at the counter (kind ``counter``).

    Attributes:
        id: 32 hex digits. at: when it was made, seconds since 1970. asker, second: operators. two: it takes two.
        done_at: when the hub had received it, by its receipt. told: the last status that was read of its answer.
        detail: provider, procedure, items, role, case, and once it is asked status and reason; or checked.
    """

    id: str
    kind: str
    at: int
    asker: str
    asker_name: str
    section: str
    own_id: str
    alias: bytes
    state: State
    two: bool
    second: str | None
    second_name: str | None
    done_at: int | None
    told: int | None
    detail: dict[str, Any]

    def __repr__(self) -> str:
        return f"Line({self.kind}, {self.state})"


class Book:
    """The file, open."""

    def __init__(self, path: str | Path, keep_days: int) -> None:
        """Open it, or make it.

        Raises:
            StorageError: it cannot be opened.
        """
        self._keep_s = keep_days * DAY_S
        try:
            # Made before SQLite does, which would let others read it until its mode is changed.
            os.close(os.open(path, os.O_RDWR | os.O_CREAT, 0o600))
            os.chmod(path, 0o600)
            self._db = sqlite3.connect(path, isolation_level=None, check_same_thread=False)
            self._db.executescript(
                "PRAGMA journal_mode=WAL; PRAGMA synchronous=FULL; PRAGMA secure_delete=ON;" + _TABLES
            )
        except (OSError, sqlite3.Error) as error:
            raise StorageError(f"book: cannot open: {type(error).__name__}") from None

    def __repr__(self) -> str:
        return "Book()"

    def close(self) -> None:
        """Close it."""
        self._db.close()

    def add(self, line: Line) -> bool:
        """Enter a line; False where its id is there already. What is too old goes.

        Raises:
            StorageError: it could not be written.
        """
        self._do("DELETE FROM lines WHERE at < ?", (line.at - self._keep_s,))
        values = (*line[:-1], json.dumps(line.detail, ensure_ascii=False))
        return self._do(f"INSERT OR IGNORE INTO lines VALUES ({','.join('?' * len(values))})", values) == 1

    def find(self, line_id: str, kind: str, section: str) -> Line | None:
        """A section's line, or None."""
        found = self._read("SELECT * FROM lines WHERE id = ? AND kind = ? AND section = ?", (line_id, kind, section))
        return found[0] if found else None

    def lines(self, kind: str, section: str) -> list[Line]:
        """A section's lines, newest first."""
        return self._read(
            "SELECT * FROM lines WHERE kind = ? AND section = ? ORDER BY at DESC, id LIMIT ?",
            (kind, section, SHOWN_MAX),
        )

    def move(self, line: Line, to: State, **more: Any) -> bool:
        """Change a line's state, and what ``more`` names; False where it is no longer in the state it was read in."""
        names = "".join(f", {name} = ?" for name in more)
        values = (to, *more.values(), line.id, line.state)
        return self._do(f"UPDATE lines SET state = ?{names} WHERE id = ? AND state = ?", values) == 1

    def tell(self, line: Line, status: int) -> None:
        """Note the status of its answer that was read last."""
        if line.told != status:
            self._do("UPDATE lines SET told = ? WHERE id = ?", (status, line.id))

    def took(self, line: Line, status: int, reason: int, received_at: int) -> bool:
        """Note that the hub took a question, with what it answered at once; False where that is noted already."""
        told = json.dumps({**line.detail, "status": status, "reason": reason}, ensure_ascii=False)
        return self.move(line, State.ASKED, done_at=received_at, detail=told)

    def use(self, procedure: str, now: int) -> None:
        """Count a procedure that was asked by."""
        self._do(
            "INSERT INTO used VALUES (?, 1, ?) ON CONFLICT (procedure) DO UPDATE SET times = times + 1, last = ?",
            (procedure, now, now),
        )

    def used(self) -> dict[str, tuple[int, int]]:
        """Procedures -> (how often, when last)."""
        try:
            return {row[0]: (row[1], row[2]) for row in self._db.execute("SELECT * FROM used")}
        except sqlite3.Error as error:
            raise StorageError(f"book: cannot read: {type(error).__name__}") from None

    def _read(self, sql: str, values: tuple[Any, ...]) -> list[Line]:
        try:
            rows = self._db.execute(sql, values).fetchall()
        except sqlite3.Error as error:
            raise StorageError(f"book: cannot read: {type(error).__name__}") from None
        return [_line(row) for row in rows]

    def _do(self, sql: str, values: tuple[Any, ...]) -> int:
        try:
            return self._db.execute(sql, values).rowcount
        except sqlite3.Error as error:
            raise StorageError(f"book: cannot write: {type(error).__name__}") from None


def read_asked(path: str | Path) -> list[Line]:
    """The questions of a book that the hub took, of every section, oldest first; nothing is written.

    Raises:
        StorageError: it is no book, or cannot be read.
    """
    try:
        with contextlib.closing(sqlite3.connect(f"{Path(path).absolute().as_uri()}?mode=ro", uri=True)) as db:
            rows = db.execute("SELECT * FROM lines WHERE kind = 'ask' AND state = 'asked' ORDER BY at, id").fetchall()
    except sqlite3.Error as error:
        raise StorageError(f"book: cannot read: {type(error).__name__}") from None
    # Those of an older desk lack what the hub answered.
    return [one for one in map(_line, rows) if "status" in one.detail]


def _line(row: tuple[Any, ...]) -> Line:
    return Line._make((*row[:8], State(row[8]), bool(row[9]), *row[10:14], json.loads(row[14])))
