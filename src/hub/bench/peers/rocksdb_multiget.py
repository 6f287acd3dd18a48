"""Peer ``rocksdb``: two column families of one RocksDB, each asked once for the batch with ``multi_get``.

Keys are sorted before each call, neighbours in a file are then neighbours in the cache. Filled in key order with
files written beside (``SstFileWriter``) and taken in, which is RocksDB's fastest way in; durable when ``load``
returns. Uncompressed, a Bloom filter of 10 bits, hash index in the blocks, a block cache larger than the tables.
"""

from __future__ import annotations

import importlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from hub.bench.peers import Peer, PeerRows, alias_order, byte_items, byte_list
from hub.bench.peers.lmdb_loop import person_keys

CACHE_BYTES = 2 << 30
BY_ALIAS, BY_PERSON = "alias", "person"


class RocksdbMultiGet(Peer):
    name = "rocksdb"
    files = "rocksdb"
    rows_suffice: int | None = 250_000

    def __init__(self, folder: Path, *, threads: int) -> None:
        super().__init__(folder, threads=threads)
        self.rocksdict: Any = importlib.import_module("rocksdict")

    def options(self) -> Any:
        """Of the database and of both families."""
        rocks = self.rocksdict
        blocks = rocks.BlockBasedOptions()
        blocks.set_block_cache(rocks.Cache(CACHE_BYTES))
        blocks.set_bloom_filter(10, False)
        blocks.set_data_block_index_type(rocks.DataBlockIndexType.binary_and_hash())
        options = rocks.Options(raw_mode=True)
        options.create_if_missing(True)
        options.create_missing_column_families(True)
        options.set_compression_type(rocks.DBCompressionType.none())
        options.set_block_based_table_factory(blocks)
        options.increase_parallelism(self.threads)
        return options

    def load(self, rows: PeerRows) -> None:
        families = {BY_ALIAS: self.options(), BY_PERSON: self.options()}
        self.db: Any = self.rocksdict.Rdict(str(self.folder / "db"), self.options(), column_families=families)
        self.families = {name: self.db.get_column_family(name) for name in families}
        persons = byte_items(rows.order.astype("<u4").view(np.uint8).reshape(-1, 4))
        self._ingest(BY_ALIAS, zip(rows.sorted_aliases(), persons, strict=True))
        keys = byte_items(ordered_keys(np.arange(len(rows), dtype=np.uint64)))
        self._ingest(BY_PERSON, zip(keys, rows.provided_aliases(), strict=True))

    def _ingest(self, family: str, items: Iterator[tuple[bytes, bytes]]) -> None:
        path = str(self.folder / f"{family}.sst")
        writer = self.rocksdict.SstFileWriter(self.options())
        writer.open(path)
        for key, value in items:
            writer[key] = value
        writer.finish()
        self.db.get_column_family(family).ingest_external_file([path])

    def resolve(self, aliases: npt.NDArray[np.uint8]) -> npt.NDArray[np.uint8]:
        out = np.zeros((len(aliases), 16), dtype=np.uint8)
        rows = alias_order(aliases)
        found = self.families[BY_ALIAS][byte_list(aliases[rows])]
        rows, values = hits(rows, found)
        persons = np.frombuffer(values, dtype="<u4").astype(np.uint64)
        order = np.argsort(persons)
        rows = rows[order]
        rows, values = hits(rows, self.families[BY_PERSON][byte_list(ordered_keys(persons[order]))])
        out[rows] = np.frombuffer(values, dtype=np.uint8).reshape(-1, 16)
        return out

    def close(self) -> None:
        self.families.clear()
        self.db.close()


def ordered_keys(persons: npt.NDArray[np.uint64]) -> npt.NDArray[np.uint8]:
    """Keys of the second family, uint8[N, 8]: big-endian, so that their bytes are in the order of the numbers."""
    return np.ascontiguousarray(person_keys(persons)[:, ::-1])


def hits(rows: npt.NDArray[np.int64], found: list[bytes | None]) -> tuple[npt.NDArray[np.int64], bytes]:
    """The rows that were found, and their values one behind the other."""
    try:
        return rows, b"".join(found)  # type: ignore[arg-type]
    except TypeError:
        # Some are None: the rarer case pays for both.
        there = np.fromiter((value is not None for value in found), dtype=bool, count=len(found))
        return rows[there], b"".join(value for value in found if value is not None)
