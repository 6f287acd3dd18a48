"""Signing keys and the head file: turns, tears, damage, failed steps."""

from __future__ import annotations

import errno
import os
import pickle
import stat
from pathlib import Path
from typing import Any

import pytest
import xxhash
from hypothesis import given, settings
from hypothesis import strategies as st
from memory_log import KEY, OTHER_KEY

from hub.errors import ProofError, RequestError, StorageError, TamperError
from hub.tlog import checkpoint
from hub.tlog.checkpoint import SLOT_BYTES, HeadFile, LogKey, pack_slot, unpack_slot
from hub.tlog.verify import Checkpoint, verify_checkpoint

ROOT = bytes(range(32))


def note(size: int) -> str:
    return KEY.sign(size, ROOT)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "hub.head"


def test_a_signed_checkpoint_verifies_under_its_own_key_only() -> None:
    assert verify_checkpoint(note(7), KEY.verifier_key) == Checkpoint(KEY.origin, 7, ROOT)
    with pytest.raises(ProofError):
        verify_checkpoint(note(7), OTHER_KEY.verifier_key)


def test_a_key_is_never_printed_or_pickled() -> None:
    assert repr(KEY) == str(KEY) == "LogKey()"
    with pytest.raises(TypeError, match="secret"):
        pickle.dumps(KEY)


@pytest.mark.parametrize("origin", ["", "a b", "a+b", "a\nb", "a\tb", "a\u2003b", "a\u200bb", "x" * 256, "語" * 86])
def test_an_origin_that_a_note_cannot_carry_is_refused(origin: str) -> None:
    with pytest.raises(RequestError, match="origin: "):
        LogKey(bytes(32), origin)


@pytest.mark.parametrize("origin", ["x", "x" * 255, "記録.example.jp/台帳"])
def test_any_other_origin_is_accepted(origin: str) -> None:
    key = LogKey(bytes(32), origin)
    assert verify_checkpoint(key.sign(1, ROOT), key.verifier_key).origin == origin


def test_a_wrong_seed_size_or_root_is_refused() -> None:
    with pytest.raises(RequestError, match="32 bytes"):
        LogKey(bytes(31), "x")
    for size, root in ((-1, ROOT), (1, ROOT[1:])):
        with pytest.raises(RequestError, match="checkpoint: expected"):
            KEY.sign(size, root)


def test_where_there_is_no_file_nothing_is_read_or_made(path: Path) -> None:
    assert HeadFile(path).read() is None
    assert not path.exists()


def test_the_first_write_makes_the_file_for_the_owner_alone(path: Path) -> None:
    head = HeadFile(path)
    head.write(0, note(0))
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert path.stat().st_size == 2 * SLOT_BYTES
    assert os.listdir(path.parent) == [path.name]
    assert HeadFile(path).read() == (0, note(0))


def test_slots_are_written_in_turns_and_the_larger_size_counts(path: Path) -> None:
    head = HeadFile(path)
    for size in range(1, 6):
        head.write(size, note(size))
        assert head.read() == HeadFile(path).read() == (size, note(size))
        slot = (size - 1) % 2
        raw = path.read_bytes()
        assert unpack_slot(raw[slot * SLOT_BYTES :][:SLOT_BYTES]) == (size, note(size))
    head.close()
    head.close()
    head.write(6, note(6))
    again = HeadFile(path)
    again.write(7, note(7))
    assert again.read() == (7, note(7))
    assert unpack_slot(path.read_bytes()[SLOT_BYTES:]) == (6, note(6))


def test_a_slot_has_the_bytes_of_the_table() -> None:
    text = note(5).encode()
    slot = pack_slot(5, note(5))
    assert len(slot) == SLOT_BYTES
    assert slot[8:] == len(text).to_bytes(4, "little") + text + bytes(SLOT_BYTES - 12 - len(text))
    assert slot[:8] == xxhash.xxh3_64_intdigest(slot[8:]).to_bytes(8, "little")


def test_the_same_size_is_written_again_and_a_smaller_one_refused(path: Path) -> None:
    head = HeadFile(path)
    head.write(5, note(5))
    head.write(5, note(5))
    for other in (head, HeadFile(path)):
        with pytest.raises(TamperError, match="at least 5, got 4"):
            other.write(4, note(4))
    assert head.read() == (5, note(5))


def test_what_is_no_checkpoint_of_the_size_is_not_written(path: Path) -> None:
    head = HeadFile(path)
    for text in (note(4), note(5) + "— w " + "A" * 4092 + "\n"):
        with pytest.raises(RequestError, match="head: expected"):
            head.write(5, text)
    with pytest.raises(RequestError):
        head.write(5, "nothing")
    assert not path.exists()


def test_the_longest_note_fits_its_slot() -> None:
    name = "w" * (checkpoint.NOTE_BYTES_MAX - len(note(5).encode()) - len("— w AAAAAAA=\n".encode()) + 1)
    wide = note(5)
    while len(name) > 255:
        # Several cosignatures, since a name has at most 255 bytes.
        wide += "— " + "w" * 200 + " AAAAAAA=\n"
        name = "w" * (checkpoint.NOTE_BYTES_MAX - len(wide.encode()) - len("— w AAAAAAA=\n".encode()) + 1)
    wide += f"— {name} AAAAAAA=\n"
    assert len(wide.encode()) == checkpoint.NOTE_BYTES_MAX
    assert unpack_slot(pack_slot(5, wide)) == (5, wide)


def test_a_torn_write_leaves_the_checkpoint_before(path: Path) -> None:
    head = HeadFile(path)
    head.write(1, note(1))
    head.write(2, note(2))
    whole, fresh = path.read_bytes(), pack_slot(3, note(3))
    for length in (1, 8, 12, 100, len(note(3)) + 11):
        path.write_bytes(fresh[:length] + whole[length:])
        torn = HeadFile(path)
        assert torn.read() == (2, note(2))
        assert torn.damaged == (0,)
        # The next one goes over the damage, not over the slot that counts.
        torn.write(4, note(4))
        assert torn.read() == (4, note(4))
        assert torn.damaged == ()
        assert unpack_slot(path.read_bytes()[SLOT_BYTES:]) == (2, note(2))


@given(st.integers(0, SLOT_BYTES - 1), st.integers(0, 7))
@settings(deadline=None)
def test_a_flipped_bit_anywhere_in_a_slot_is_found(at: int, bit: int) -> None:
    slot = bytearray(pack_slot(3, note(3)))
    slot[at] ^= 1 << bit
    assert unpack_slot(bytes(slot)) is None


@pytest.mark.parametrize("content", [b"", b"x", bytes(SLOT_BYTES), bytes(2 * SLOT_BYTES), b"\xff" * 2 * SLOT_BYTES])
def test_a_file_without_a_whole_slot_is_tampering(path: Path, content: bytes) -> None:
    path.write_bytes(content)
    with pytest.raises(TamperError, match="expected a whole slot"):
        HeadFile(path).read()
    with pytest.raises(TamperError, match="expected a whole slot"):
        HeadFile(path).write(9, note(9))
    assert path.read_bytes() == content


def test_a_cut_file_keeps_its_whole_slot(path: Path) -> None:
    head = HeadFile(path)
    head.write(1, note(1))
    head.write(2, note(2))
    os.truncate(path, SLOT_BYTES + 100)
    cut = HeadFile(path)
    assert cut.read() == (1, note(1))
    assert cut.damaged == (1,)


def test_a_sealed_slot_that_holds_no_checkpoint_is_damaged() -> None:
    for rest in (bytes(SLOT_BYTES - 8), (5).to_bytes(4, "little") + b"hello" + bytes(SLOT_BYTES - 17),
                 b"\xff" * (SLOT_BYTES - 8)):  # fmt: skip
        assert unpack_slot(xxhash.xxh3_64_intdigest(rest).to_bytes(8, "little") + rest) is None


def fail(*arguments: Any) -> int:
    raise OSError(errno.EIO, os.strerror(errno.EIO))


@pytest.mark.parametrize("step", ["fsync", "fdatasync"])
def test_after_a_failed_sync_every_further_write_is_refused(
    path: Path, step: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    head = HeadFile(path)
    if step == "fdatasync":
        head.write(1, note(1))
    with monkeypatch.context() as patched:
        patched.setattr(os, step, fail)
        with pytest.raises(StorageError, match="sync head"):
            head.write(2, note(2))
    with pytest.raises(StorageError, match="a sync failed before"):
        head.write(3, note(3))
    head.close()
    with pytest.raises(StorageError, match="a sync failed before"):
        head.write(3, note(3))
    HeadFile(path).write(3, note(3))
    assert HeadFile(path).read() == (3, note(3))


def test_a_short_write_is_an_error_and_the_checkpoint_before_counts(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    head = HeadFile(path)
    head.write(1, note(1))
    real = os.pwrite
    with monkeypatch.context() as patched:
        patched.setattr(os, "pwrite", lambda handle, raw, at: real(handle, raw[:50], at))
        with pytest.raises(StorageError, match="no space left"):
            head.write(2, note(2))
    assert HeadFile(path).read() == (1, note(1))
    head.write(3, note(3))
    assert HeadFile(path).read() == (3, note(3))


@pytest.mark.parametrize("step", ["pwrite", "fsync"])
def test_a_failed_first_write_leaves_no_head(path: Path, step: str, monkeypatch: pytest.MonkeyPatch) -> None:
    with monkeypatch.context() as patched:
        patched.setattr(os, step, fail)
        with pytest.raises(StorageError):
            HeadFile(path).write(1, note(1))
    assert HeadFile(path).read() is None
    HeadFile(path).write(1, note(1))
    assert HeadFile(path).read() == (1, note(1))


def test_other_errors_of_the_system_are_in_our_words(path: Path, tmp_path: Path) -> None:
    with pytest.raises(StorageError, match="write head"):
        HeadFile(tmp_path / "missing" / "head").write(1, note(1))
    path.mkdir()
    with pytest.raises(StorageError, match="read head"):
        HeadFile(path).read()
    assert repr(HeadFile(path)) == "HeadFile(size=None)"
