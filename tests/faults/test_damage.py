"""Damaged, foreign and locked folders: a clear error, and never an answer from a damaged block, never a signal.

Damage is done to copies of a folder while nobody has them open, and looked at by a process of its own, which must
live on.
"""

from __future__ import annotations

import os
import random
import re
import shutil
import stat
import struct
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import lmdb
import msgspec
import numpy as np
import pytest
from nursery import Nursery, child_environment
from proof import ITEM, OPENED, PROCEDURE, REQUESTER, ROLE, frame, pick_institutions

import hub
from hub.records.log import default_head
from hub.storage.sealed import seal
from model import PORTAL
from reader import Reader, Refused

SEED = int(os.environ.get("HUB_FAULT_SEED", "0")) or random.SystemRandom().randrange(1, 2**31)
PERSONS = 20_000
TURN_AT = 144
"""Where a meta page names its transaction: behind the page's head, in LMDB's MDB_meta."""
PAGE_BYTES = 4096
PAGE_HEAD_BYTES = 16
BIG_DATA = 1  # a node's flag: its value is in pages of its own, the node holds the first one's number


@dataclass(frozen=True)
class Block:
    """A block of an alias table: its key and where its bytes are in the file."""

    table: int
    prefix: int
    depth: int
    offset: int
    size: int

    @property
    def name(self) -> str:
        return f"block {self.table:08x}/{self.prefix:08x}"


class Sound:
    """An undamaged folder and what it must answer."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        catalog = hub.Catalog.japan()
        (self.provider, *_), _ = pick_institutions(catalog)
        codes = 90_000_000_000 + np.arange(PERSONS)
        with hub.open(folder, create=True) as h:
            self.own = h.acquire(REQUESTER, codes).aliases
            self.theirs = h.acquire(self.provider, codes).aliases
            self.portal = h.acquire(PORTAL, codes[:100]).aliases
            # Enough for a value with pages of its own: one inside a leaf would also stand in that leaf's older copies.
            h.inquire(make_inquiry("small"), self.own[:200], self.provider)
            h.inquire(make_inquiry("large"), self.own[:2_000], self.provider)
            self.records = [record.index for record in h.history(self.portal[0]).records]
            self.stats = h.stats()
        self.requester_number = catalog.institution(REQUESTER).number
        self.provider_number = catalog.institution(self.provider).number
        self.data = (folder / "env" / "data.mdb").read_bytes()
        self.blocks = [self._locate(key, value) for key, value in read_database(folder, b"tables")]
        self.chunks = [(key, self.data.index(value)) for key, value in read_database(folder, b"records")]

    def _locate(self, key: bytes, value: bytes) -> Block:
        offset = self.data.index(value)
        assert offset % PAGE_BYTES == PAGE_HEAD_BYTES
        return Block(int.from_bytes(key[:4], "big"), int.from_bytes(key[4:], "big"), value[20], offset, len(value))

    def blocks_of(self, number: int, kind: int) -> list[Block]:
        """The blocks of an institution's table: kind 0 is by alias, 1 by person."""
        return [block for block in self.blocks if block.table == 2 * number + kind]

    def rows_in(self, block: Block) -> np.ndarray:
        """bool[PERSONS]: whose own alias belongs into this block of the requester's table by alias."""
        hashes = self.own[:, :8].copy().view("<u8")[:, 0] >> np.uint64(32)
        mask = np.uint64((0xFFFFFFFF << (32 - block.depth)) & 0xFFFFFFFF)
        return (hashes & mask) == block.prefix

    def node_places(self, block: Block) -> list[int]:
        """Where leaf pages, current or left over, name the block's first page."""
        key = block.table.to_bytes(4, "big") + block.prefix.to_bytes(4, "big")
        places = []
        for found in re.finditer(re.escape(key), self.data):
            head, pointer = found.start() - 8, found.end()
            flags, key_bytes = (int.from_bytes(self.data[head + at : head + at + 2], "little") for at in (4, 6))
            page = int.from_bytes(self.data[pointer : pointer + 8], "little")
            if flags == BIG_DATA and key_bytes == 8 and page * PAGE_BYTES + PAGE_HEAD_BYTES == block.offset:
                places.append(head)
        assert places
        return places


def make_inquiry(request_id: str) -> hub.Inquiry:
    return hub.Inquiry(
        requester=REQUESTER, procedure=PROCEDURE, items=(ITEM,), role=ROLE, section="係", request_id=request_id
    )


def read_database(folder: Path, name: bytes) -> list[tuple[bytes, bytes]]:
    env = lmdb.open(str(folder / "env"), map_size=1 << 30, max_dbs=256, readonly=True, lock=False)
    with env, env.begin() as txn:
        return [(bytes(k), bytes(v)) for k, v in txn.cursor(db=env.open_db(name, txn=txn, create=False))]


@pytest.fixture(scope="module")
def sound(tmp_path_factory: pytest.TempPathFactory) -> Sound:
    return Sound(tmp_path_factory.mktemp("sound") / "hub")


@pytest.fixture(scope="module")
def reader() -> Iterator[Reader]:
    made = Reader()
    yield made
    made.close()


class Patient:
    """A damaged copy, open in the other process."""

    def __init__(self, sound: Sound, reader: Reader, folder: Path, data: bytes, **options: bool) -> None:
        shutil.rmtree(folder, ignore_errors=True)
        shutil.copytree(sound.folder, folder)
        shutil.copy(default_head(sound.folder), default_head(folder))
        (folder / "env" / "data.mdb").write_bytes(data)
        self.sound = sound
        self._reader = reader
        reader.ask("open", folder=str(folder), options=options or {"readonly": True})

    def ask(self, ask: str, **words: Any) -> Any:
        return self._reader.ask(ask, **words)

    def resolve(self, rows: Any) -> bool:
        """Resolve some rows; every answer must be right. Whether there was one.

        Raises:
            Refused: the hub raised an error.
        """
        aliases, status = self.ask(
            "resolve", requester=REQUESTER, providers=self.sound.provider, aliases=self.sound.own[rows].tobytes().hex()
        )
        assert aliases == self.sound.theirs[rows].tobytes().hex(), "an answer from a damaged block"
        assert set(status) <= {0}
        return True

    def __enter__(self) -> Patient:
        return self

    def __exit__(self, *_: object) -> None:
        self._reader.ask("close")


def flip(data: bytes, offset: int, bit: int) -> bytes:
    damaged = bytearray(data)
    damaged[offset] ^= 1 << bit
    return bytes(damaged)


def refuse_naming(name: str, patient: Patient, ask: str, **words: Any) -> None:
    """The question must be refused with an error of ours that names the block and nobody."""
    with pytest.raises(Refused) as caught:
        patient.ask(ask, **words)
    assert caught.value.kind == "StorageError"
    assert name in str(caught.value)
    assert not re.search(r"[0-9a-f]{32}|\b9\d{10}\b", str(caught.value)), "an alias or a code in a message"


@pytest.mark.parametrize("number", range(30))
def test_a_flipped_bit_in_a_block_by_alias_is_named_and_not_answered_from(
    sound: Sound, reader: Reader, tmp_path: Path, number: int
) -> None:
    print(f"HUB_FAULT_SEED={SEED}")
    rng = random.Random(SEED + number)
    block = rng.choice(sound.blocks_of(sound.requester_number, 0))
    # Every second one in the block's head, which says what the rest is.
    at = block.offset + (rng.randrange(48) if number % 2 else rng.randrange(block.size))
    inside = np.flatnonzero(sound.rows_in(block))
    outside = np.flatnonzero(~sound.rows_in(block))
    assert len(inside)
    assert len(outside)
    data = flip(sound.data, at, rng.randrange(8))
    with Patient(sound, reader, tmp_path / "hub", data) as patient:
        assert patient.resolve(outside)
        for rows in (inside, inside[:1], np.arange(PERSONS)):
            aliases = sound.own[rows].tobytes().hex()
            refuse_naming(
                block.name, patient, "resolve", requester=REQUESTER, providers=sound.provider, aliases=aliases
            )
        refuse_naming(block.name, patient, "check_blocks")
        assert patient.resolve(outside)


@pytest.mark.parametrize("number", range(10))
def test_a_flipped_bit_in_a_block_by_person_is_named_and_not_answered_from(
    sound: Sound, reader: Reader, tmp_path: Path, number: int
) -> None:
    print(f"HUB_FAULT_SEED={SEED}")
    rng = random.Random(SEED + 1_000 + number)
    block = rng.choice(sound.blocks_of(sound.provider_number, 1))
    data = flip(sound.data, block.offset + rng.randrange(block.size), rng.randrange(8))
    answered, refusals = 0, []
    with Patient(sound, reader, tmp_path / "hub", data) as patient:
        for tried, row in enumerate(rng.sample(range(PERSONS), PERSONS)):
            # 200 miss a small block now and then.
            if tried >= 200 and answered and refusals:
                break
            try:
                answered += patient.resolve([row])
            except Refused as error:
                refusals.append(error)
        refuse_naming(block.name, patient, "check_blocks")
    assert answered
    assert refusals
    assert all(error.kind == "StorageError" and block.name in str(error) for error in refusals)


@pytest.mark.parametrize("number", range(6))
def test_nothing_is_written_on_top_of_a_damaged_block(
    sound: Sound, reader: Reader, tmp_path: Path, number: int
) -> None:
    print(f"HUB_FAULT_SEED={SEED}")
    rng = random.Random(SEED + 2_000 + number)
    block = rng.choice(sound.blocks_of(sound.requester_number, number % 2))
    data = flip(sound.data, block.offset + rng.randrange(block.size), rng.randrange(8))
    codes = [f"{91_000_000_000 + code:011d}" for code in range(5_000)]
    with Patient(sound, reader, tmp_path / "hub", data, readonly=False) as patient:
        refuse_naming(block.name, patient, "acquire", institution=REQUESTER, codes=codes)
        if not block.table & 1:
            refuse_naming(
                block.name,
                patient,
                "inquire",
                inquiry=msgspec.to_builtins(make_inquiry("new")),
                aliases=sound.own.tobytes().hex(),
                providers=sound.provider,
            )
        stats = patient.ask("stats")
        for name in ("persons", "records", "aliases"):
            assert stats[name] == sound.stats[name]


def test_a_sound_block_in_another_ones_place_is_refused(sound: Sound, reader: Reader, tmp_path: Path) -> None:
    blocks = sound.blocks_of(sound.requester_number, 0)
    one = blocks[0]
    other = next(block for block in blocks[1:] if block.size == one.size)
    data = bytearray(sound.data)
    data[one.offset : one.offset + one.size] = sound.data[other.offset : other.offset + other.size]
    rows = np.flatnonzero(sound.rows_in(one))
    with Patient(sound, reader, tmp_path / "hub", bytes(data)) as patient:
        refuse_naming(
            one.name,
            patient,
            "resolve",
            requester=REQUESTER,
            providers=sound.provider,
            aliases=sound.own[rows].tobytes().hex(),
        )


@pytest.mark.parametrize("page", ["behind the last", "far outside", "meta", "itself + 1", "last", "no address"])
def test_a_damaged_page_pointer_is_refused(sound: Sound, reader: Reader, tmp_path: Path, page: str) -> None:
    pages = len(sound.data) // PAGE_BYTES
    for block in sound.blocks_of(sound.requester_number, 0)[:2] + sound.blocks_of(sound.provider_number, 1)[:2]:
        to = {
            "behind the last": pages,
            "far outside": 1 << 29,
            "meta": 0,
            "itself + 1": block.offset // PAGE_BYTES + 1,
            "last": pages - 1,
            "no address": (1 << 62) + 5,
        }[page]
        data = bytearray(sound.data)
        for head in sound.node_places(block):
            data[head + 16 : head + 24] = to.to_bytes(8, "little")
        look_at_all(sound, reader, tmp_path / "hub", bytes(data))


@pytest.mark.parametrize("size", [0, 16, 4_080, 32_752 + PAGE_BYTES, 1 << 24, (1 << 32) - 1])
def test_a_damaged_length_is_refused(sound: Sound, reader: Reader, tmp_path: Path, size: int) -> None:
    for block in sound.blocks_of(sound.requester_number, 0)[:2] + sound.blocks_of(sound.provider_number, 1)[:2]:
        data = bytearray(sound.data)
        for head in sound.node_places(block):
            data[head : head + 4] = (size if size != block.size else size - PAGE_BYTES).to_bytes(4, "little")
        look_at_all(sound, reader, tmp_path / "hub", bytes(data))


@pytest.mark.parametrize("share", [0.0001, 0.1, 0.5, 0.9, 0.99])
def test_a_file_that_was_cut_is_refused(sound: Sound, reader: Reader, tmp_path: Path, share: float) -> None:
    for odd in (0, 100):
        look_at_all(
            sound, reader, tmp_path / "hub", sound.data[: int(len(sound.data) * share) // PAGE_BYTES * PAGE_BYTES + odd]
        )


def look_at_all(sound: Sound, reader: Reader, folder: Path, data: bytes) -> None:
    """Ask for all of a folder that is damaged somewhere: something must be refused, and nothing wrong answered."""
    refused = []
    for readonly in (True, False):
        try:
            with Patient(sound, reader, folder, data, readonly=readonly) as patient:
                for ask in ("resolve", "check_blocks", "history", "stats"):
                    try:
                        if ask == "resolve":
                            patient.resolve(np.arange(PERSONS))
                        elif ask == "history":
                            assert patient.ask("history", alias=sound.portal[0].tobytes().hex()) == sound.records
                        else:
                            patient.ask(ask)
                    except Refused as error:
                        refused.append((readonly, ask, error.kind))
        except Refused as error:
            refused.append((readonly, "open", error.kind))
    assert {readonly for readonly, _, _ in refused} == {True, False}
    assert {kind for _, _, kind in refused} == {"StorageError"}


def test_a_damaged_chunk_of_records_is_named_and_not_shown(sound: Sound, reader: Reader, tmp_path: Path) -> None:
    print(f"HUB_FAULT_SEED={SEED}")
    rng = random.Random(SEED + 3_000)
    for key, offset in sound.chunks * 5:
        first = int.from_bytes(key, "big")
        # The head and the fields, which every reader of the chunk checks.
        data = flip(sound.data, offset + rng.randrange(64 + 500), rng.randrange(8))
        with Patient(sound, reader, tmp_path / "hub", data) as patient:
            refuse_naming(f"records from {first}", patient, "history", alias=sound.portal[0].tobytes().hex())


def test_damaged_meta_pages_are_refused(sound: Sound, reader: Reader, tmp_path: Path) -> None:
    data = bytearray(sound.data)
    for page in (0, 1):
        data[page * PAGE_BYTES + 16 : page * PAGE_BYTES + 24] = b"\xff" * 8
    look_at_all(sound, reader, tmp_path / "hub", bytes(data))


def test_a_flipped_bit_of_a_meta_pages_turn_does_not_bring_back_the_state_before(sound: Sound, tmp_path: Path) -> None:
    folder = copy(sound, tmp_path / "hub")
    with hub.open(folder) as h:
        # So that the newest state is longer: without that, LMDB itself may have left what looks like one flipped bit.
        h.acquire(PORTAL, np.arange(5_000, dtype=np.int64) + 95_000_000_000)
    with hub.open(folder, readonly=True) as h:
        commits = h.stats()["commits"]
    data = folder / "env" / "data.mdb"
    whole = data.read_bytes()
    places = [page * PAGE_BYTES + TURN_AT for page in (0, 1)]
    newest = max(places, key=lambda at: whole[at : at + 8][::-1])
    turned = 0
    for at in places:
        for bit in range(64):
            damaged = flip(whole, at + bit // 8, bit % 8)
            data.write_bytes(damaged)
            # LMDB goes by the larger of the two numbers alone.
            turned += max(places, key=lambda at: damaged[at : at + 8][::-1]) != newest
            with pytest.raises(hub.errors.StorageError):
                hub.open(folder, readonly=True).close()
    assert turned > 50
    data.write_bytes(whole)
    with hub.open(folder, readonly=True) as h:
        assert h.stats()["commits"] == commits


def test_the_older_meta_page_is_not_taken_for_a_later_one_where_nothing_grew(sound: Sound, tmp_path: Path) -> None:
    folder = copy(sound, tmp_path / "hub")
    data = folder / "env" / "data.mdb"
    for n in range(30):
        with hub.open(folder) as h:
            h.flag(REQUESTER, sound.own[n : n + 1], hub.Flag.MANUAL)
        whole = data.read_bytes()
        pages = [whole[at : at + 16] for at in (TURN_AT - 8, TURN_AT - 8 + PAGE_BYTES)]
        (last, turn), (other_last, other) = [struct.unpack("<QQ", one) for one in pages]
        older = 0 if turn < other else 1
        if last == other_last and not min(turn, other) & 2:
            break
    else:
        pytest.fail("every commit made the file grow")
    data.write_bytes(flip(whole, TURN_AT + older * PAGE_BYTES, 1))
    with pytest.raises(hub.errors.StorageError, match="newest state"):
        hub.open(folder, readonly=True).close()
    data.write_bytes(whole)
    hub.open(folder, readonly=True).close()


# -- folders


def copy(sound: Sound, folder: Path) -> Path:
    shutil.copytree(sound.folder, folder)
    return folder


def test_what_is_no_hub_is_refused(tmp_path: Path) -> None:
    missing, file, other = tmp_path / "missing", tmp_path / "file", tmp_path / "other"
    file.write_text("text")
    other.mkdir()
    (other / "letter.txt").write_text("text")
    for folder in (missing, file, other):
        for options in ({}, {"readonly": True}):
            with pytest.raises(hub.errors.RequestError, match=re.escape(str(folder))):
                hub.open(folder, **options)
    for folder in (file, other):
        with pytest.raises(hub.errors.RequestError, match=re.escape(str(folder))):
            hub.open(folder, create=True)
    assert not missing.exists()
    assert [path.name for path in other.iterdir()] == ["letter.txt"]


def test_an_empty_folder_is_accepted(tmp_path: Path) -> None:
    hub.open(tmp_path, create=True).close()
    hub.open(tmp_path).close()


def drop_database(folder: Path, name: bytes) -> None:
    env = lmdb.open(str(folder / "env"), map_size=1 << 30, max_dbs=256, lib_version=0)
    with env, env.begin(write=True) as txn:
        txn.drop(env.open_db(name, txn=txn, create=False), delete=True)


def test_a_folder_that_an_older_hub_made_gets_what_it_lacks(sound: Sound, tmp_path: Path) -> None:
    folder = copy(sound, tmp_path / "hub")
    drop_database(folder, b"consents")
    with pytest.raises(hub.errors.StorageError, match="older hub"):
        hub.open(folder, readonly=True)
    with hub.open(folder) as h:
        assert h.stats()["records"] == sound.stats["records"]
        assert h.consents(sound.portal[0]) == []
        assert h.verify().problems == ()
    hub.open(folder, readonly=True).close()
    drop_database(folder, b"permits")
    with pytest.raises(hub.errors.StorageError, match="a database is missing"):
        hub.open(folder)


def test_another_program_s_environment_is_refused(tmp_path: Path) -> None:
    (tmp_path / "env").mkdir()
    env = lmdb.open(str(tmp_path / "env"), map_size=1 << 20)
    with env, env.begin(write=True) as txn:
        txn.put(b"a", b"b")
    before = (tmp_path / "env" / "data.mdb").read_bytes()
    for options in ({}, {"readonly": True}):
        with pytest.raises(hub.errors.HubError):
            hub.open(tmp_path, **options)
    assert (tmp_path / "env" / "data.mdb").read_bytes() == before, "it was written to"


def test_a_folder_of_a_newer_format_is_refused(sound: Sound, tmp_path: Path) -> None:
    folder = copy(sound, tmp_path / "hub")
    env = lmdb.open(str(folder / "env"), map_size=1 << 30, max_dbs=256)
    with env, env.begin(write=True) as txn:
        meta = env.open_db(b"meta", txn=txn, create=False)
        row = msgspec.msgpack.decode(txn.get(b"format", db=meta)[8:])
        row[0] += 1
        txn.put(b"format", seal("meta", b"format", msgspec.msgpack.encode([*row, "more"])), db=meta)
    for options in ({}, {"readonly": True}, {"create": True}):
        with pytest.raises(hub.errors.StorageError, match="newer"):
            hub.open(folder, **options)


def test_a_folder_open_for_writing_elsewhere_is_refused_by_name(
    sound: Sound, nursery: Nursery, tmp_path: Path
) -> None:
    folder = copy(sound, tmp_path / "hub")
    with nursery.start(job="hold", folder=str(folder)) as holder:
        assert os.read(holder.pipe, len(frame(OPENED))) == frame(OPENED)
        with pytest.raises(hub.errors.BusyError, match=rf"\b{holder.pid}\b") as caught:
            hub.open(folder)
        assert caught.value.retry_safe
        with hub.open(folder, readonly=True) as h:
            assert h.stats()["records"] == sound.stats["records"]
            with pytest.raises(hub.errors.RequestError):
                h.acquire(PORTAL, ["99000000001"])
    # Its holder was killed: the folder is free at once.
    with hub.open(folder) as h:
        assert h.stats()["records"] == sound.stats["records"]


KEY_FILES = ("identifiers.key", "disclosure.key", "cursors.key", "log.key")


@pytest.mark.parametrize("name", KEY_FILES)
def test_a_missing_key_is_named_and_never_made_again(sound: Sound, tmp_path: Path, name: str) -> None:
    folder = copy(sound, tmp_path / "hub")
    (folder / "keys" / name).unlink()
    for options in ({}, {"readonly": True}, {"create": True}):
        with pytest.raises(hub.errors.StorageError, match=re.escape(name)):
            hub.open(folder, **options)
    assert not (folder / "keys" / name).exists()


@pytest.mark.parametrize("mode", [0o640, 0o604, 0o620])
@pytest.mark.parametrize("name", KEY_FILES)
def test_a_key_that_others_can_read_is_refused(sound: Sound, tmp_path: Path, name: str, mode: int) -> None:
    folder = copy(sound, tmp_path / "hub")
    (folder / "keys" / name).chmod(mode)
    for options in ({}, {"readonly": True}):
        with pytest.raises(hub.errors.StorageError, match=f"{re.escape(name)}.*0600"):
            hub.open(folder, **options)


@pytest.mark.parametrize("content", [b"", bytes(31), bytes(33), bytes(32)])
@pytest.mark.parametrize("name", KEY_FILES)
def test_a_wrong_key_is_refused(sound: Sound, tmp_path: Path, name: str, content: bytes) -> None:
    folder = copy(sound, tmp_path / "hub")
    key = folder / "keys" / name
    key.write_bytes(content)
    for options in ({}, {"readonly": True}, {"create": True}):
        with pytest.raises(hub.errors.StorageError, match="key") as caught:
            hub.open(folder, **options)
        assert content.hex() not in str(caught.value) or not content
    assert key.read_bytes() == content


def test_another_hub_s_keys_are_refused(sound: Sound, tmp_path: Path) -> None:
    folder = copy(sound, tmp_path / "hub")
    hub.open(tmp_path / "other", create=True).close()
    shutil.rmtree(folder / "keys")
    shutil.copytree(tmp_path / "other" / "keys", folder / "keys")
    with pytest.raises(hub.errors.StorageError, match="keys"):
        hub.open(folder)


def test_only_the_owner_can_read_what_is_secret(tmp_path: Path) -> None:
    folder = tmp_path / "hub"
    # In a process of its own: the mask belongs to a whole process.
    script = "import os, sys, hub; os.umask(0); hub.open(sys.argv[1], create=True).close()"
    subprocess.run([sys.executable, "-c", script, str(folder)], env=child_environment(), check=True, timeout=60)
    with hub.open(folder) as h:
        h.acquire(PORTAL, ["90000000001"])
    for path in [folder / "keys", *(folder / "keys").iterdir(), *(folder / "env").iterdir()]:
        open_to_others = stat.S_IMODE(path.stat().st_mode) & 0o077
        assert not open_to_others, f"{path.name}: {open_to_others:o}"
