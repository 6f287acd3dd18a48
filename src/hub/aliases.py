"""The alias tables: their blocks, checks, look-ups. Writing them is in ``acquisition/additions.py``.

Every institution, and the namespace of resident record codes, has two tables: *by alias* (alias to person) and *by
person* (person to alias). Any other namespace of identifiers (``persons/identifiers.py``) has the first only: a person
may have several there. A table is an extendible hash. Its blocks are LMDB values of 1 to 8 whole pages of 4,096 bytes;
a block grows by a page when it is filled to 200/256, and splits when eight pages are. LMDB puts a value of that size 16
bytes into its first page, so a block of p pages is 4096 p - 16 bytes and its first bucket starts on a cache line.

Key in ``tables``: u32 table, u32 prefix, big endian. Table = 2 x institution number + (0 by alias, 1 by person);
namespaces have numbers from 2**23, which is that of resident record codes. The prefix is the first ``depth`` bits of
the hash of all keys in the block, then zeros.

Block, little endian:

| at | type | what |
|---|---|---|
| 0 | u64 | xxh3-64 of the value from byte 8 to its end |
| 8 | u32 | magic, "HAB2" |
| 12 | u32 | table |
| 16 | u32 | prefix |
| 20 | u8 | depth |
| 21 | u8 | pages, 1 to 8 |
| 22 | u8 | kind, 0 by alias, 1 by person |
| 23 | u8 | 0 |
| 24 | u64 | generation: number of the commit that wrote it |
| 32 | u32 | entries |
| 36 | 12 | 0 |
| 48 | 64 x (64 p - 1) | buckets |

Bucket, one cache line, up to three entries:

| at | type | what |
|---|---|---|
| 0 | 3 x u64 | first half of each alias |
| 24 | 3 x u64 | second half |
| 48 | 3 x u32 | person |
| 60 | 3 x u8 | flags: 128 revoked, the alias stands for nobody any more; 64 and 128 replaced; 32 closed (below) |
| 63 | u8 | low two bits: entries in use; bit 2 + k, k 0 to 5: an entry of kind k went past this bucket, then full |

The hash is the first half of the alias (aliases and pseudonyms are uniform already), or a mix of the person number:
x = person * 0x9E3779B97F4A7C15; x ^= x >> 32; x *= 0xD6E8FEB86659FD93; x ^= x >> 29 (modulo 2**64).
Home bucket = (low 32 bits of the hash * buckets) >> 32; a full bucket passes an entry on to the next, the last to the
first. Kind = (low 16 bits of the hash * 6) >> 16: who is not in a bucket is looked for in the next only if one of the
same kind went past, or the bit of every fourth bucket would send a reader on who finds nothing. An entry that is
removed gives its place to the last one of its bucket; those bits stay.

Closed is an alias of the portal's whose person has died; it is at work again if that is taken back. Other flags
are 0. A revoked alias stays in its by-alias table for good and leads to its person still, as that person was numbered
then (``persons/merges.py`` says who that is now); by person there is one entry for each person who has an alias, and
``count`` in ``meta`` says how many. Where there is no table by person it counts the entries by alias, revoked or not.
"""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np
import numpy.typing as npt
import xxhash

from hub import _core, _pages
from hub.errors import StorageError
from hub.messages import Aliases
from hub.storage.sealed import unseal
from hub.storage.snapshot import Snapshot
from hub.storage.workers import Workers

BY_ALIAS, BY_PERSON = 0, 1

RESIDENT_CODES = 1 << 23
"""Number of the namespace of resident record codes (住民票コード)."""

CLOSED, REPLACED, REVOKED = 32, 64, 128
"""Flags of a by-alias entry; one that is closed or revoked answers ``Status.REVOKED``."""

UNCHECKED, NOT_LOADED = 250, 251
BLOCKS_TOGETHER = 1024
"""Blocks that are asked of the disk at once before the first is checked: 32 MiB at most."""

NOBODY = 0xFFFFFFFF


Persons = npt.NDArray[np.uint32]
Statuses = npt.NDArray[np.uint8]


def table_number(number: int, kind: int) -> int:
    """The table of an institution (or namespace) and kind."""
    return number << 1 | kind


def kinds_of(number: int) -> tuple[int, ...]:
    """The kinds of tables that an institution or namespace has."""
    return (BY_ALIAS,) if number > RESIDENT_CODES else (BY_ALIAS, BY_PERSON)


# -- directories and checks


def directory(snapshot: Snapshot, table: int) -> _core.Directory:
    """Where the table's blocks are in this snapshot; loaded when first asked for.

    Raises:
        StorageError: the blocks are torn or lie outside the file.
    """
    found = snapshot.directories.get(table)
    if found is not None:
        return found
    with snapshot.lock:
        # Looked at again: two objects of one table would not share which blocks were checked.
        found = snapshot.directories.get(table)
        if found is None:
            found = _core.load_directory(table, snapshot.blocks(table << 32, table << 32 | 0xFFFFFFFF))
            snapshot.directories[table] = found
    return found


def provider_map(snapshot: Snapshot, numbers: Iterable[int]) -> _core.DirectoryMap:
    """The by-person directories of these institutions (and of others) by number."""
    wanted = [number for number in numbers if number not in snapshot.providers.loaded()]
    loaded = {number: directory(snapshot, table_number(number, BY_PERSON)) for number in wanted}
    with snapshot.lock:
        missing = [number for number in wanted if number not in snapshot.providers.loaded()]
        if missing:
            # Kernels may be reading the old map: a copy is filled and then takes its place.
            providers = snapshot.providers.copy(max(missing) + 1)
            for number in missing:
                providers.set(number, loaded[number])
            snapshot.providers = providers
        return snapshot.providers


def check_slots(found: _core.Directory, numbers: npt.NDArray[np.uint32]) -> None:
    """Check the checksums of the blocks at these places of a directory before their first use in this process.

    Raises:
        StorageError: a block is damaged or does not belong there; it is named, nothing was answered from it.
    """
    unchecked = sorted(_core.unchecked_blocks(found, numbers))
    for at, (slot, prefix, depth) in enumerate(unchecked):
        if at % BLOCKS_TOGETHER == 0:
            _pages.read_in(np.array([one[0] for one in unchecked[at : at + BLOCKS_TOGETHER]], np.uint64))
        block = _core.slot_block(slot)
        name = f"block {found.table:08x}/{prefix:08x}"
        if int.from_bytes(block[:8], "little") != xxhash.xxh3_64_intdigest(block[8:]):
            raise StorageError(f"{name}: expected the stored checksum, got a damaged block")
        if not _core.is_block_of(slot, found.table, prefix, depth):
            raise StorageError(f"{name}: expected the block of this place, got another")
        _core.mark_checked(found, slot, prefix, depth)


def check_table(snapshot: Snapshot, table: int) -> int:
    """Check every block of a table that has not been checked yet; returns the number of its blocks.

    All of them are in memory then: they are read in the order of the file, also those that were checked before.
    """
    found = directory(snapshot, table)
    _pages.read_in(np.sort(snapshot.blocks(table << 32, table << 32 | 0xFFFFFFFF)[:, 1]))
    check_slots(found, np.arange(1 << found.depth, dtype=np.uint32))
    return int(found.blocks)


def table_numbers(snapshot: Snapshot) -> list[int]:
    """Numbers of all tables that have blocks, ascending."""
    numbers: list[int] = np.unique(snapshot.blocks(0, (1 << 64) - 1)[:, 0] >> np.uint64(32)).tolist()
    return numbers


def count_aliases(snapshot: Snapshot, number: int) -> int:
    """Aliases of an institution (or identifiers of a namespace)."""
    value = snapshot.get("meta", count_key(number))
    return 0 if value is None else int.from_bytes(unseal("meta", count_key(number), value), "little")


def count_entries(snapshot: Snapshot, table: int) -> int:
    """Entries of a table as its blocks count them; the blocks were checked before."""
    slots = snapshot.blocks(table << 32, table << 32 | 0xFFFFFFFF)[:, 1].tolist()
    return sum(int.from_bytes(_core.slot_block(slot)[32:36], "little") for slot in slots)


def count_key(number: int) -> bytes:
    """Where ``meta`` has the number of entries of an institution or namespace."""
    return b"count" + number.to_bytes(4, "big")


# -- look up


def find_persons(
    snapshot: Snapshot, number: int, aliases: Aliases, workers: Workers
) -> tuple[Persons, Statuses, Statuses]:
    """Alias to person in one institution's or namespace's table.

    Returns:
        persons uint32[N] (NOBODY where none), flags uint8[N], status uint8[N] (0 found, 1 unknown, 2 revoked).
    """
    found = directory(snapshot, table_number(number, BY_ALIAS))
    n = len(aliases)
    persons, flags, status = np.empty(n, np.uint32), np.empty(n, np.uint8), np.empty(n, np.uint8)

    def look_up(rows: slice) -> int:
        return _core.find_persons(aliases[rows], found, persons[rows], flags[rows], status[rows])

    while sum(workers.over_slices(n, look_up)):
        check_slots(found, _core.slots_of(found, aliases[status == UNCHECKED]))
    return persons, flags, status


def find_aliases(snapshot: Snapshot, number: int, persons: Persons, workers: Workers) -> tuple[Aliases, Statuses]:
    """Person to alias in one institution's table: uint8[N, 16] (zeros where none), status uint8[N] (0 found)."""
    found = directory(snapshot, table_number(number, BY_PERSON))
    n = len(persons)
    aliases, status = np.empty((n, 16), np.uint8), np.empty(n, np.uint8)

    def look_up(rows: slice) -> int:
        return _core.find_aliases(persons[rows], found, aliases[rows], status[rows])

    while sum(workers.over_slices(n, look_up)):
        check_slots(found, _core.slots_of_persons(found, persons[status == UNCHECKED]))
    return aliases, status
