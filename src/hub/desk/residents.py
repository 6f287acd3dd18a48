"""Who is who at the institution: its own ids and aliases, in an agency's folder or a file; tickets."""

from __future__ import annotations

import csv
import os
from typing import NamedTuple

import numpy as np

import hub.agency
from hub.errors import RequestError
from hub.limits import ALIAS_BYTES, LINKS_PER_CALL_MAX, OWN_ID_BYTES_MAX
from hub.messages import Aliases

LINES_MAX = 2_000_000
"""Of a file of residents: 400 MB as a dict, which only a small body should need; a large one has an agency's folder."""


class Ticket(NamedTuple):
    """An acquisition of the institution's."""

    own_id: str
    ticket: bytes

    def __repr__(self) -> str:
        return "Ticket()"


class Residents:
    """Own ids <-> aliases. A file is read again when it has changed; a folder shows what its writer has committed."""

    def __init__(self, institution: str, agency: str | None, residents: str | None, tickets: str | None) -> None:
        """
        Raises:
            RequestError, StorageError: the folder or a file cannot be used, or the folder is another institution's.
        """
        self._agency = None if agency is None else hub.agency.open(agency, institution=institution, readonly=True)
        self._residents, self._tickets = residents, tickets
        self._stamp: tuple[int, int] | None = None
        self._by_own: dict[str, bytes] = {}
        self._by_alias: dict[bytes, str] = {}
        if residents is not None:
            self._read_again(residents)

    def __repr__(self) -> str:
        return f"Residents({'agency' if self._agency is not None else len(self._by_own)})"

    def close(self) -> None:
        """Let go of the folder."""
        if self._agency is not None:
            self._agency.close()

    def alias_of(self, own_id: str) -> bytes | None:
        """A resident's alias by the institution's own id; None where there is none."""
        if not 1 <= len(own_id.encode("utf-8", "surrogatepass")) <= OWN_ID_BYTES_MAX or not own_id.isprintable():
            return None
        if self._agency is not None:
            aliases, found = self._agency.aliases_of([own_id])
            return aliases[0].tobytes() if found[0] else None
        assert self._residents is not None
        self._read_again(self._residents)
        return self._by_own.get(own_id)

    def own_ids_of(self, aliases: Aliases) -> list[str | None]:
        """The institution's own ids of aliases (uint8[N, 16]); None where there is none."""
        if self._agency is not None:
            return self._agency.own_ids_of(np.ascontiguousarray(aliases))
        assert self._residents is not None
        self._read_again(self._residents)
        return [self._by_alias.get(alias.tobytes()) for alias in aliases]

    def procedures_asked(self) -> set[str]:
        """Procedures of the agency's own copy of what it asked in bulk; none without a folder."""
        return set() if self._agency is None else self._agency.procedures_asked()

    def tickets(self) -> list[Ticket]:
        """The institution's tickets, of the file.

        Raises:
            RequestError: it cannot be read, or has too many lines.
        """
        if self._tickets is None:
            return []
        pairs = _read_pairs(self._tickets, "ticket", LINKS_PER_CALL_MAX)
        return [Ticket(own_id, ticket) for own_id, ticket in pairs]

    def _read_again(self, name: str) -> None:
        try:
            stat = os.stat(name)
        except OSError as error:
            raise RequestError(f"residents: {error.strerror}") from None
        if self._stamp == (stat.st_mtime_ns, stat.st_ino):
            return
        pairs = _read_pairs(name, "alias", LINES_MAX)
        by_own, by_alias = dict(pairs), {alias: own_id for own_id, alias in pairs}
        if len(by_own) != len(pairs) or len(by_alias) != len(pairs):
            raise RequestError("residents: expected one alias an own id and one own id an alias, got two")
        self._by_own, self._by_alias, self._stamp = by_own, by_alias, (stat.st_mtime_ns, stat.st_ino)


def _read_pairs(name: str, column: str, most: int) -> list[tuple[str, bytes]]:
    """(own_id, 16 bytes) of each line of a CSV; no message repeats a cell."""
    found = []
    try:
        with open(name, encoding="utf-8-sig", newline="") as file:
            for number, line in enumerate(csv.DictReader(file), 2):
                own_id, text = line.get("own_id") or "", line.get(column) or ""
                try:
                    raw = bytes.fromhex(text)
                except ValueError:
                    raw = b""
                if not own_id or len(text) != 2 * ALIAS_BYTES or len(raw) != ALIAS_BYTES:
                    form = f"own_id,{column} with 32 hex digits"
                    raise RequestError(f"{column}s: expected {form}, got something else in line {number}")
                found.append((own_id, raw))
                if len(found) > most:
                    raise RequestError(f"{column}s: expected at most {most} lines, got more")
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise RequestError(f"{column}s: cannot be read: {type(error).__name__}") from None
    return found
