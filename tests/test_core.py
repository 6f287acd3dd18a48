"""The native core against plain Python: blocks that grow and split, look-ups."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hub import _blocks, _core
from hub.errors import StorageError

PAGE = 4096


def slot_of(value: np.ndarray) -> int:
    """Where a block is: the address of its first page, and how many pages it has."""
    return int(value.ctypes.data) - 16 | (len(value) + 16) // PAGE


class Memory:
    """A table in plain memory: blocks lie as LMDB would lay them, 16 bytes into whole pages."""

    def __init__(self, kind: int, table: int = 6) -> None:
        self.kind, self.table = kind, table | kind
        self.directory = _core.Directory(self.table, np.zeros(1, np.uint64), 0, 0)
        self.kept: list[np.ndarray] = []
        self.blocks: dict[int, tuple[int, np.ndarray]] = {}
        self.count = 0

    def insert(
        self,
        aliases: np.ndarray,
        persons: np.ndarray,
        room: int = 1 << 22,
        *,
        window: int = 0,
        bits: int = 0,
        edits: np.ndarray | None = None,
    ) -> int:
        rows = None
        if bits:
            order, starts = _blocks.rows_by_window(aliases, persons, self.kind, bits)
            rows = order[starts[window] : starts[window + 1]]
            persons_in, persons = persons, persons[rows]
        build = _blocks.TableBuild(
            self.directory,
            self.kind,
            1,
            self.count,
            aliases,
            persons_in if bits else persons,
            window=window,
            window_bits=bits,
            rows=rows,
            edits=edits,
        )
        staging, blocks, unit, changed = np.empty(room, np.uint8), np.empty((64, 4), np.uint64), 0, []
        while unit < build.unit_count:
            unit, written = build.build(unit, build.unit_count, staging, blocks)
            for prefix, depth, offset, size in blocks[:written].tolist():
                raw = np.empty(size + 16 + PAGE, np.uint8)
                start = -raw.ctypes.data % PAGE
                value = raw[start + 16 : start + 16 + size]
                value[:] = staging[offset : offset + size]
                self.kept.append(raw)
                changed.append((prefix, depth, slot_of(value)))
                self.blocks[prefix] = (depth, value)
        self.directory = _core.patch_directory(self.directory, sorted(changed))
        slots = np.asarray(self.directory.slots_array)
        slots |= np.uint64(_core.CHECKED_BIT)
        self.count += len(persons)
        return build.missed

    def values(self) -> list[np.ndarray]:
        """The blocks that the directory leads to."""
        slots = set(self.directory.slots_array.tolist())
        return [np.frombuffer(_core.slot_block(slot), np.uint8) for slot in slots]

    def persons_of(self, aliases: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        n = len(aliases)
        persons, flags, status = np.empty(n, np.uint32), np.empty(n, np.uint8), np.empty(n, np.uint8)
        assert _core.find_persons(aliases, self.directory, persons, flags, status) == 0
        return persons, status

    def aliases_of(self, persons: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        aliases, status = np.empty((len(persons), 16), np.uint8), np.empty(len(persons), np.uint8)
        assert _core.find_aliases(persons, self.directory, aliases, status) == 0
        return aliases, status


def random_rows(seed: int, n: int) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    return rng.integers(0, 256, (n, 16), dtype=np.uint8), rng.permutation(n * 2)[:n].astype(np.uint32)


@settings(max_examples=25, deadline=None)
@given(seed=st.integers(0, 2**32), sizes=st.lists(st.integers(1, 6000), min_size=1, max_size=6))
def test_tables_that_grew_in_any_steps_find_all_and_nothing_else(seed: int, sizes: list[int]) -> None:
    aliases, persons = random_rows(seed, sum(sizes))
    by_alias, by_person, at = Memory(0), Memory(1), 0
    for size in sizes:
        by_alias.insert(aliases[at : at + size], persons[at : at + size])
        by_person.insert(aliases[at : at + size], persons[at : at + size])
        at += size
    found, status = by_alias.persons_of(aliases)
    assert not status.any()
    assert (found == persons).all()
    back, status = by_person.aliases_of(persons)
    assert not status.any()
    assert (back == aliases).all()
    strangers, _ = random_rows(seed + 1, 500)
    assert (by_alias.persons_of(strangers)[1] == 1).all()
    absent = np.setdiff1d(np.arange(2 * len(persons) + 10, dtype=np.uint32), persons)
    assert (by_person.aliases_of(absent)[1] == 3).all()


@settings(max_examples=25, deadline=None)
@given(seed=st.integers(0, 2**32), size=st.integers(1, 5000), more=st.integers(0, 5000), share=st.floats(0, 1))
def test_entries_are_changed_beside_those_that_come(seed: int, size: int, more: int, share: float) -> None:
    aliases, persons = random_rows(seed, size + more)
    rng = np.random.default_rng(seed)
    by_alias, by_person = Memory(0), Memory(1)
    for table in (by_alias, by_person):
        table.insert(aliases[:size], persons[:size])
    # In one build: new entries, marks by alias, other aliases and removals by person.
    what = np.where(rng.random(size) < share, rng.choice([_blocks.REPLACE, _blocks.REMOVE], size), -1)
    changed = np.flatnonzero(what >= 0)
    order = rng.permutation(len(changed) + more)
    who = np.concatenate((persons[changed], persons[size:]))[order]
    marks = np.concatenate((np.full(len(changed), _blocks.MARK | 128), np.full(more, 5))).astype(np.uint16)[order]
    named = np.concatenate((aliases[changed], aliases[size:]))[order]
    assert by_alias.insert(named, who, edits=marks) == 0
    other = rng.integers(0, 256, (len(aliases), 16), np.uint8)
    given_now = np.concatenate((other[changed], aliases[size:]))[order]
    edits = np.concatenate((what[changed], np.zeros(more, np.int64))).astype(np.uint16)[order]
    assert by_person.insert(given_now, who, edits=edits) == 0
    found, status = by_alias.persons_of(aliases)
    revoked = np.zeros(len(aliases), np.bool_)
    revoked[changed] = True
    assert (found == persons).all()
    assert (status == np.where(revoked, 2, 0)).all()
    back, status = by_person.aliases_of(persons)
    removed = np.concatenate((what == _blocks.REMOVE, np.zeros(more, np.bool_)))
    replaced = np.concatenate((what == _blocks.REPLACE, np.zeros(more, np.bool_)))
    expected = np.where(replaced[:, None], other, aliases) * ~removed[:, None]
    assert (status == np.where(removed, 3, 0)).all()
    assert (back == expected).all()
    for table, entries in ((by_alias, len(aliases)), (by_person, len(aliases) - removed.sum())):
        assert sum(int.from_bytes(value[32:36], "little") for value in table.values()) == entries
    # Whoever was removed comes back behind the others.
    gone = np.flatnonzero(removed)
    by_person.insert(aliases[gone], persons[gone])
    assert (by_person.aliases_of(persons)[0] == np.where(replaced[:, None], other, aliases)).all()


@pytest.mark.parametrize("kind", [0, 1])
def test_a_change_that_finds_no_entry_is_counted(kind: int) -> None:
    aliases, persons = random_rows(8, 4_000)
    table = Memory(kind)
    table.insert(aliases[:3_000], persons[:3_000])
    edit = _blocks.REMOVE if kind else _blocks.MARK | 1
    assert table.insert(aliases[2_000:], persons[2_000:], edits=np.full(2_000, edit, np.uint16)) == 1_000
    assert _blocks.TableBuild(table.directory, kind, 1, 0, aliases, persons).missed == 0
    with pytest.raises(ValueError, match="one length"):
        _blocks.TableBuild(table.directory, kind, 1, 0, aliases, persons, edits=np.zeros(3_999, np.uint16))


def test_an_alias_that_shares_its_first_half_with_another_is_not_that_one() -> None:
    aliases, persons = random_rows(3, 400)
    twin = aliases.copy()
    twin[:, 15] ^= 1
    table = Memory(0)
    table.insert(aliases, persons)
    assert (table.persons_of(twin)[1] == 1).all()
    table.insert(twin, persons + 1000)
    assert (table.persons_of(aliases)[0] == persons).all()
    assert (table.persons_of(twin)[0] == persons + 1000).all()


@pytest.mark.parametrize("kind", [0, 1])
def test_every_entry_is_where_the_byte_table_says(kind: int) -> None:
    aliases, persons = random_rows(9, 30_000)
    table, found = Memory(kind), 0
    table.insert(aliases[:20_000], persons[:20_000])
    table.insert(aliases[20_000:], persons[20_000:])
    for _, value in table.blocks.values():
        buckets, passed = value[48:].reshape(-1, 64), np.zeros((len(value) - 48) // 64, np.uint8)
        for at, bucket in enumerate(buckets):
            for entry in range(bucket[63] & 3):
                lo = int(bucket[:24].view("<u8")[entry])
                h = mix_person(int(bucket[48:60].view("<u4")[entry])) if kind else lo
                home = (h % (1 << 32)) * len(buckets) >> 32
                assert at == home or (buckets[at - 1][63] & 3) == 3
                while home != at:
                    passed[home] |= 4 << ((h % (1 << 16)) * 6 >> 16)
                    home = (home + 1) % len(buckets)
                found += 1
        assert (passed == buckets[:, 63] & 0xFC).all()
    assert found == 30_000


def mix_person(person: int) -> int:
    x = person * 0x9E3779B97F4A7C15 % (1 << 64)
    x ^= x >> 32
    x = x * 0xD6E8FEB86659FD93 % (1 << 64)
    return x ^ x >> 29


def test_a_block_whose_chains_never_end_is_searched_once_around() -> None:
    aliases, persons = random_rows(4, 1500)
    by_alias, by_person = Memory(0), Memory(1)
    for table in (by_alias, by_person):
        table.insert(aliases, persons)
        for _, value in table.blocks.values():
            # The last byte of each bucket: entries in use, and behind them that others went past, everywhere.
            value[48:].reshape(-1, 64)[:, 63] |= 0xFC
    lookup = _core.DirectoryMap(3)
    lookup.set(2, by_person.directory)
    strangers, _ = random_rows(5, 1500)
    asked = np.concatenate((aliases, strangers))[np.random.default_rng(6).permutation(3000)]
    columns = empty_columns(3000)
    assert _core.resolve_batch(asked, np.array([2], np.uint32), by_alias.directory, lookup, *columns) == 0
    known = {alias.tobytes(): person for alias, person in zip(aliases, persons.tolist(), strict=True)}
    wanted = np.array([known.get(alias.tobytes(), _core.NOBODY) for alias in asked], np.uint32)
    assert (columns[0] == wanted).all()
    assert (columns[3] == (wanted == _core.NOBODY)).all()
    assert (columns[2] == np.where(columns[3][:, None], 0, asked)).all()
    assert (by_person.aliases_of(np.arange(3000, 5000, dtype=np.uint32))[1] == 3).all()


def test_an_empty_table_holds_nothing() -> None:
    table = Memory(0)
    found, status = table.persons_of(random_rows(1, 33)[0])
    assert (status == 1).all()
    assert (found == _core.NOBODY).all()


def test_blocks_grow_by_a_page_and_split_when_eight_are_full() -> None:
    aliases, persons = random_rows(5, 40_000)
    table, sizes = Memory(0), []
    for start in range(0, 3000, 50):
        table.insert(aliases[start : start + 50], persons[start : start + 50])
        sizes.append(len(table.blocks) == 1 and (len(table.blocks[0][1]) + 16) // PAGE)
    steps = [size for i, size in enumerate(sizes) if i == 0 or sizes[i - 1] != size]
    assert steps[:9] == [1, 2, 3, 4, 5, 6, 7, 8, False]
    table.insert(aliases[3000:], persons[3000:])
    sizes_now = [(len(value) + 16) // PAGE for _, value in table.blocks.values()]
    assert max(sizes_now) <= 8
    assert sum(sizes_now) * PAGE / 40_000 < 36


def test_blocks_are_the_same_whatever_the_staging_memory() -> None:
    aliases, persons = random_rows(6, 20_000)
    small, large = Memory(1), Memory(1)
    small.insert(aliases, persons, room=2_000_000)
    large.insert(aliases, persons, room=1 << 24)
    one, other = ({p: v.tobytes() for p, (_, v) in table.blocks.items()} for table in (small, large))
    assert one == other


@pytest.mark.parametrize("kind", [0, 1])
@pytest.mark.parametrize("before", [0, 500, 20_000])
def test_windows_one_by_one_make_the_same_table(kind: int, before: int) -> None:
    aliases, persons = random_rows(12, before + 30_000)
    table, bits = Memory(kind), 3
    if before:
        table.insert(aliases[:before], persons[:before], room=1 << 24)
    # First without new entries, so that no block reaches over two windows; then each by itself.
    for new in (slice(0, 0), slice(before, None)):
        old = table.directory
        patched = []
        for window in range(1 << bits):
            if new == slice(0, 0):
                # All windows of a split go into one transaction: each reads the table as it was.
                table.directory = old
            table.insert(aliases[new], persons[new], room=1 << 24, window=window, bits=bits)
            patched.append(np.array(table.directory.slots_array))
        if new == slice(0, 0):
            depth = max(len(slots) for slots in patched)
            wide = [np.repeat(slots, depth // len(slots)) for slots in patched]
            step = depth >> bits
            slots = np.concatenate([wide[w][w * step : (w + 1) * step] for w in range(1 << bits)])
            table.directory = _core.Directory(table.table, slots, 1 << bits, 0)
    if kind == 0:
        assert (table.persons_of(aliases)[0] == persons).all()
    else:
        assert (table.aliases_of(persons)[0] == aliases).all()
    assert table.count == before + 30_000


def test_rows_of_another_window_are_refused() -> None:
    aliases, persons = random_rows(12, 1000)
    order, starts = _blocks.rows_by_window(aliases, persons, 0, 2)
    assert sorted(order.tolist()) == list(range(1000))
    assert starts.tolist() == [0, *np.cumsum(np.bincount(aliases[:, 7] >> 6, minlength=4)).tolist()]
    empty = _core.Directory(0, np.zeros(1, np.uint64), 0, 0)
    for rows in (order[starts[1] : starts[2]], np.array([1000], np.uint32)):
        with pytest.raises(ValueError, match="rows"):
            _blocks.TableBuild(empty, 0, 1, 0, aliases, persons, window=0, window_bits=2, rows=rows)
    with pytest.raises(ValueError, match="rows"):
        _blocks.TableBuild(empty, 0, 1, 0, aliases, persons, window=0, window_bits=2)


def test_staging_memory_that_cannot_hold_one_unit_is_refused() -> None:
    aliases, persons = random_rows(6, 1000)
    build = _blocks.TableBuild(_core.Directory(0, np.zeros(1, np.uint64), 0, 0), 0, 1, 0, aliases, persons)
    with pytest.raises(ValueError, match="staging"):
        build.build(0, build.unit_count, np.empty(4096, np.uint8), np.empty((9, 4), np.uint64))


def empty_columns(n: int) -> tuple[np.ndarray, ...]:
    """Persons, flags, aliases, status."""
    return np.empty(n, np.uint32), np.empty(n, np.uint8), np.empty((n, 16), np.uint8), np.empty(n, np.uint8)


def test_resolve_needs_checked_blocks_and_loaded_directories() -> None:
    aliases, persons = random_rows(8, 1000)
    table = Memory(0)
    table.insert(aliases, persons)
    slots = np.asarray(table.directory.slots_array)
    slots &= ~np.uint64(_core.CHECKED_BIT)
    columns = empty_columns(1000)
    providers = np.array([7], np.uint32)
    assert _core.resolve_batch(aliases, providers, table.directory, _core.DirectoryMap(3), *columns) == 1000
    assert (columns[3] == 250).all()
    slots |= np.uint64(_core.CHECKED_BIT)
    assert _core.resolve_batch(aliases, providers, table.directory, _core.DirectoryMap(3), *columns) == 1000
    assert (columns[3] == 251).all()
    assert (columns[0] == persons).all()


def test_unequal_columns_are_refused() -> None:
    aliases, _ = random_rows(8, 10)
    table = Memory(0)
    columns = (*empty_columns(10)[:2], *empty_columns(9)[2:])
    with pytest.raises(ValueError, match="one length"):
        _core.resolve_batch(aliases, np.array([1], np.uint32), table.directory, _core.DirectoryMap(3), *columns)


def page_value(pages: int, at: int = 16) -> np.ndarray:
    raw = np.zeros((pages + 1) * PAGE, np.uint8)
    start = -raw.ctypes.data % PAGE
    return raw[start + at : start + at + pages * PAGE - 16]


@pytest.mark.parametrize(
    ("prefixes", "words"), [([1 << 31], "prefix 0"), ([0, 1 << 30], "gap"), ([0, 3], "gap"), ([0, 0], "gap")]
)
def test_a_directory_with_gaps_or_overlaps_is_refused(prefixes: list[int], words: str) -> None:
    with pytest.raises(StorageError, match=words):
        _core.load_directory(0, np.array([(prefix, 0) for prefix in prefixes], np.uint64))
