"""Other ways to keep the records of an inquiry durably, one file each; ``stages/record.py`` measures them.

A log peer appends the rows of a chunk in one durable transaction, as the hub does, with an index from person to
record, without which there is no history. It is spared what the hub does beside: no keys, no encryption, no permits,
and but for the Merkle library no tree. It starts empty, while the hub's log is measured over all its batches.
"""

from __future__ import annotations

import abc
import importlib
from collections.abc import Collection, Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from hub.bench.peers import lacks

CHUNK_ROWS = 65_536
"""Rows of a durable transaction, the hub's own."""

CHUNKS = 4


@dataclass(frozen=True)
class LogRows:
    """Rows of one chunk, in the order of their persons, as an index likes to be filled; and what they share.

    Attributes:
        persons, providers: uint32[N]. outcomes: uint8[N]. requested_at: seconds since 1970. shared: of the inquiry.
    """

    persons: npt.NDArray[np.uint32]
    providers: npt.NDArray[np.uint32]
    outcomes: npt.NDArray[np.uint8]
    requested_at: int
    shared: str

    def __len__(self) -> int:
        return len(self.persons)


class LogPeer(abc.ABC):
    """One way to keep records. ``name`` stands in the case as ``peer:<name>``."""

    name: str

    def __init__(self, folder: Path) -> None:
        self.folder = folder / f"log-{self.name.replace(' ', '-')}"
        self.folder.mkdir(parents=True)

    @abc.abstractmethod
    def append(self, chunks: list[LogRows]) -> list[float]:
        """Append the chunks, one durable transaction each; seconds of each."""

    @abc.abstractmethod
    def count(self) -> int:
        """Records that are there, asked of what is stored."""

    @abc.abstractmethod
    def close(self) -> None:
        """Release memory, files and processes; the folder is removed by the caller."""


KINDS = (
    ("sqlite3", "log_sqlite", "SqliteLog", None),
    ("postgresql", "log_postgres", "PostgresLog", "psycopg"),
    ("pymerkle", "log_pymerkle", "PymerkleLog", "pymerkle"),
)
"""Name, module here, class in it, Python package that it needs."""


def installed(names: Collection[str] | None = None) -> Iterator[type[LogPeer]]:
    """Of the log peers with these names (None: of all) those whose Python packages are here."""
    for name, module, kind, package in KINDS:
        if (names is None or name in names) and not lacks(package):
            found: type[LogPeer] = getattr(importlib.import_module(f"hub.bench.peers.{module}"), kind)
            yield found


def missing(names: Collection[str] | None = None) -> list[tuple[str, str]]:
    """(name, package) of those whose packages are not here."""
    return [(name, package) for name, _, _, package in KINDS
            if (names is None or name in names) and package is not None and lacks(package)]  # fmt: skip
