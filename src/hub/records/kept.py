"""The checkpoints that are kept: one a minute for a day, one an hour for a year, one a day for ever, each exported one.

They are evidence of what was signed when: a log that was forked later does not lead to them. Database ``checkpoints``,
numbers in keys big endian, values sealed (``storage/sealed.py``) and little endian:

| key | value |
|---|---|
| u8 class (0 minute, 1 hour, 2 day), u64 which of them since 1970 | i64 time of the last record; the note |

A checkpoint enters with the first commit of the hub in the minute after it was signed, so that keeping it costs no sync
of its own; the latest one of all is in the head. What was exported, by whichever process, stands in the file
``<head>.exported``: for each note a line "bytes of base64" " " base64, appended and synced; what stands behind the last
line's end was cut by a crash before its checkpoint left, and is written over. Notes are signed; both kinds are checked
by their signatures when they are read.
"""

from __future__ import annotations

import base64
import fcntl
import os
import re
from pathlib import Path

from hub.errors import ProofError, StorageError, TamperError
from hub.storage.keys import sync_folder
from hub.storage.sealed import full_error, storage_error, unseal
from hub.storage.snapshot import Commit, Snapshot
from hub.tlog.verify import Checkpoint, verify_checkpoint

MINUTE_S, HOUR_S, DAY_S, YEAR_S = 60, 3_600, 86_400, 366 * 86_400

CLASSES = ((MINUTE_S, DAY_S), (HOUR_S, YEAR_S), (DAY_S, None))
"""Of each class: one checkpoint in so many seconds, kept for so many."""

_CUT = re.compile(rb"([0-9]{1,5})(?: ([A-Za-z0-9+/=]*))?|")

TAIL_BYTES = 16_384
"""More than a line takes: a note fits a slot of the head."""

DROPPED_MAX = 4
"""Old ones that leave with one that comes: more than one, so that what piled up goes away."""


def keep_checkpoint(commit: Commit, note: str, time: int) -> None:
    """Put a checkpoint that is durable in the head among those that are kept, where none of its minute is yet."""
    value = time.to_bytes(8, "little", signed=True) + note.encode()
    with commit.txn.cursor(db=commit.databases["checkpoints"]) as cursor:
        for number, (each_s, for_s) in enumerate(CLASSES):
            key = _key(number, time // each_s)
            if cursor.set_key(key):
                continue
            commit.put_sealed("checkpoints", key, value)
            if for_s is None:
                continue
            for _ in range(DROPPED_MAX):
                if cursor.set_range(_key(number, 0)) and bytes(cursor.key()) < _key(number, (time - for_s) // each_s):
                    commit.delete("checkpoints", bytes(cursor.key()))


def _key(number: int, place: int) -> bytes:
    return bytes([number]) + max(place, 0).to_bytes(8, "big")


def kept_checkpoints(snapshot: Snapshot, exported: Path, verifier_key: str) -> list[tuple[int | None, str]]:
    """(time of the last record, or None where it was only exported; note) of each that is kept, by size.

    Raises:
        TamperError: one is not signed by this log's key. StorageError: one is damaged.
    """
    found: dict[str, int | None] = dict.fromkeys(_read_exported(exported))
    for key, value in snapshot.items("checkpoints", b""):
        body = unseal("checkpoints", key, value)
        found[body[8:].decode()] = _time_of(body)
    sizes = {note: _verify(note, verifier_key).size for note in found}
    return [(found[note], note) for note in sorted(found, key=lambda note: sizes[note])]


def note_exported(path: Path, note: str) -> None:
    """Write down durably that a checkpoint was exported; the last one is not entered twice.

    Raises:
        StorageError: it could not be written: the export must not be called done.
    """
    text = base64.b64encode(note.encode())
    line = b"%d %s\n" % (len(text), text)
    try:
        handle = os.open(path, os.O_RDWR | os.O_CREAT, 0o600)
        try:
            # Two exports of one hub may go to two folders at once.
            fcntl.flock(handle, fcntl.LOCK_EX)
            # A line that a crash cut short is taken away first. One that is there already may be one whose sync failed:
            # only written anew it is written at all.
            length = os.fstat(handle).st_size
            tail = os.pread(handle, TAIL_BYTES, max(0, length - TAIL_BYTES))
            at = length - len(tail) + tail.rfind(b"\n") + 1
            _check_cut(tail[tail.rfind(b"\n") + 1 :])
            if tail.endswith(b"\n" + line) or tail == line:
                at = length - len(line)
            os.ftruncate(handle, at)
            if os.pwrite(handle, line, at) != len(line):
                raise full_error("write exported checkpoints")
            os.fsync(handle)
            # The name of a file that was just made.
            sync_folder(path.parent)
        finally:
            os.close(handle)
    except OSError as error:
        raise storage_error("write exported checkpoints", error) from error


def _read_exported(path: Path) -> list[str]:
    try:
        *lines, rest = path.read_bytes().split(b"\n")
    except FileNotFoundError:
        return []
    except OSError as error:
        raise storage_error("read exported checkpoints", error) from error
    _check_cut(rest)
    notes = []
    for number, line in enumerate(lines):
        length, _, text = line.partition(b" ")
        try:
            if not length.isdigit() or len(text) != int(length):
                raise ValueError
            note = base64.b64decode(text, validate=True)
            # The last character has bits that mean nothing: they must be as they were written.
            if base64.b64encode(note) != text:
                raise ValueError
            notes.append(note.decode())
        except (ValueError, UnicodeDecodeError) as error:
            raise StorageError(f"exported checkpoints: expected a length and base64 in line {number + 1}") from error
    return notes


def _check_cut(rest: bytes) -> None:
    """What stands behind the last line must be what a crash leaves: the beginning of one, never all of it and more.

    Raises:
        StorageError: it is not, so the end of a line was damaged, and that line counts.
    """
    found = _CUT.fullmatch(rest)
    if found is None or (found[2] is not None and len(found[2]) > int(found[1])):
        raise StorageError("exported checkpoints: expected the end of the last line, got something else")


def _verify(note: str, verifier_key: str) -> Checkpoint:
    try:
        return verify_checkpoint(note, verifier_key)
    except ProofError as error:
        raise TamperError(f"kept checkpoints: expected ones of this log, got another ({error})") from None


def _time_of(body: bytes) -> int:
    return int.from_bytes(body[:8], "little", signed=True)
