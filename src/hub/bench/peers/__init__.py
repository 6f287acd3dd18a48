"""Other ways to do the same work, measured in the same run on the same rows; one file each, to be judged.

A peer holds the two tables of a translation: the requester's aliases -> person, and (provider, person) -> the
provider's alias. Every answer takes both look-ups, as in the hub: a table that led from alias straight to alias
would need one copy for each pair of institutions. Rows come and go as numpy columns, as with the hub; what a peer
needs to make of them in a call is part of the call. Where a peer has a bulk call, the fastest that was found is
the one coded, and the file says what else was tried.

A peer is spared what the hub does beside: it draws no aliases, keys no identifiers, checks no checksums.
"""

from __future__ import annotations

import abc
import importlib
import importlib.util
from collections.abc import Collection, Iterator
from itertools import chain
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from hub.bench.measure import bytes_on_disk

PROVIDER = 7
"""The provider's number in a peer's tables; any number would do."""

PART_ROWS = 65_536

LOAD_SECONDS_MAX = 10.0
"""A peer that would take longer than this to load a size runs only at the smaller one."""


class PeerRows:
    """The rows that every peer of one size loads: who is behind each alias, and the provider's alias of each.

    Attributes:
        aliases: uint8[N, 16], the requester's; row i is of person i.
        provided: uint8[N, 16], the provider's of the same persons.
        order: int64[N], persons in the order of their aliases, as a B+tree likes to be filled. It is found once for all
            peers and not counted as any peer's loading.
    """

    def __init__(self, aliases: npt.NDArray[np.uint8], provided: npt.NDArray[np.uint8]) -> None:
        self.aliases = aliases
        self.provided = provided
        self.order = alias_order(aliases)

    def __len__(self) -> int:
        return len(self.aliases)

    def sorted_aliases(self) -> Iterator[bytes]:
        """The requester's aliases in the order of their bytes."""
        return byte_items(self.aliases, self.order)

    def sorted_persons(self) -> Iterator[int]:
        """Whose those are."""
        return chain.from_iterable(part.tolist() for part in parts_of(self.order))

    def provided_aliases(self) -> Iterator[bytes]:
        """The provider's aliases by person."""
        return byte_items(self.provided)


class Peer(abc.ABC):
    """One peer with its tables filled. ``name`` stands in the case as ``peer:<name>``."""

    name: str
    durable = True
    """Whether ``load`` returns only when everything would survive a power cut."""
    files = "peer"
    """Its subfolder; two ways to read the same files name the same one."""
    rows_suffice: int | None = None
    """Where a row costs the same in any batch: so many rows of the batch tell the rate. None: it wants the whole."""
    reads_others_files = False
    """Whether it reads what another peer loads, and so has no loading of its own to time."""

    def __init__(self, folder: Path, *, threads: int) -> None:
        self.folder = folder / self.files
        self.folder.mkdir(parents=True, exist_ok=True)
        self.threads = threads

    @abc.abstractmethod
    def load(self, rows: PeerRows) -> None:
        """Fill both tables, in one durable transaction where the peer knows such a thing."""

    @abc.abstractmethod
    def resolve(self, aliases: npt.NDArray[np.uint8]) -> npt.NDArray[np.uint8]:
        """Translate uint8[N, 16] into the provider's aliases, uint8[N, 16]; zeros where there is none."""

    def bytes_on_disk(self) -> int:
        """What both tables take on disk, once loaded."""
        return bytes_on_disk(self.folder)

    @abc.abstractmethod
    def close(self) -> None:
        """Release memory and files; the folder is removed by the caller."""


def byte_list(column: npt.NDArray[np.uint8]) -> list[bytes]:
    """uint8[N, w] as a list of N bytes objects."""
    width = column.shape[1]
    items: list[bytes] = np.ascontiguousarray(column).view(f"V{width}").ravel().tolist()
    return items


def parts_of(column: npt.NDArray[Any]) -> Iterator[npt.NDArray[Any]]:
    """A column in parts that fit the cache while they are Python objects."""
    return (column[start : start + PART_ROWS] for start in range(0, len(column), PART_ROWS))


def byte_items(column: npt.NDArray[np.uint8], order: npt.NDArray[np.int64] | None = None) -> Iterator[bytes]:
    """Rows of uint8[N, w] as bytes objects, made a part at a time; in the order given, or as they stand."""
    if order is None:
        return chain.from_iterable(map(byte_list, parts_of(column)))
    return chain.from_iterable(byte_list(column[part]) for part in parts_of(order))


def alias_order(aliases: npt.NDArray[np.uint8]) -> npt.NDArray[np.int64]:
    """Rows in the order of the aliases' bytes: by the first 8, which are random and so decide, then all 16."""
    halves = aliases.view(">u8")
    order = np.argsort(halves[:, 0].astype(np.uint64))
    first = halves[order, 0]
    if (first[1:] == first[:-1]).any():
        order = np.lexsort((halves[:, 1].astype(np.uint64), halves[:, 0].astype(np.uint64)))
    return order


KINDS = (
    ("duckdb", "duckdb_join", "DuckdbJoin", "duckdb"),
    ("polars", "polars_join", "PolarsJoin", "polars"),
    ("lmdb", "lmdb_loop", "LmdbLoop", None),
    ("lmdb-getmulti", "lmdb_getmulti", "LmdbGetmulti", None),
    ("dict", "dict_list", "DictList", None),
    ("sqlite3", "sqlite_join", "SqliteJoin", None),
    ("rocksdb", "rocksdb_multiget", "RocksdbMultiGet", "rocksdict"),
    ("redis", "redis_mget", "RedisMget", "hiredis"),
    ("postgresql", "postgres_join", "PostgresJoin", "psycopg"),
)
"""Name, module here, class in it, Python package that it needs beyond the hub's own; in the order of measuring."""


def installed(names: Collection[str] | None = None) -> list[type[Peer]]:
    """Of the peers with these names (None: of all) those whose Python packages are here.

    Whether a server is, shows when one is made (``PeerRefused``).
    """
    return [
        getattr(importlib.import_module(f"hub.bench.peers.{module}"), kind)
        for name, module, kind, package in KINDS
        if (names is None or name in names) and not lacks(package)
    ]


def missing(names: Collection[str] | None = None) -> list[tuple[str, str]]:
    """(name, package) of those whose packages are not here."""
    return [(name, package) for name, _, _, package in KINDS
            if (names is None or name in names) and package is not None and lacks(package)]  # fmt: skip


def lacks(package: str | None) -> bool:
    """Whether a package is needed and not here."""
    return package is not None and importlib.util.find_spec(package) is None
