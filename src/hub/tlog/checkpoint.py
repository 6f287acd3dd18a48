"""Checkpoints: signing them, and the head file that outlives the environment.

A checkpoint is the text ``origin "\\n" size "\\n" base64(root) "\\n"`` in a signed note (c2sp.org/tlog-checkpoint),
signed with Ed25519 under the origin as key name.

The head file has two slots of 4,096 bytes, written in turns; numbers are little endian:

| at | bytes | what |
|---|---|---|
| 0 | 8 | xxh3-64 of bytes 8 to 4095 of the slot |
| 8 | 4 | n, bytes of the note |
| 12 | n | the note |
| 12 + n | | zeros |

The whole slot with the larger size counts. A slot of zeros was never written. A file of another length than 8,192
bytes has lost a part. Order of a commit: records, entries, nodes and peaks synced -> sign -> head synced -> answer.
"""

from __future__ import annotations

import base64
import errno
import os
from pathlib import Path

import xxhash
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from hub.errors import ProofError, RequestError, StorageError, TamperError
from hub.storage.sealed import storage_error
from hub.tlog.entry import HASH_BYTES
from hub.tlog.verify import ED25519, check_name, hash_key, read_checkpoint

SEED_BYTES = 32
SLOT_BYTES = 4096
SLOTS = 2
NOTE_BYTES_MAX = SLOT_BYTES - 12

READ_TRIES = 3
"""A reader beside the writer may find one slot half written; both only if the writer overtook it."""


class LogKey:
    """The key that signs checkpoints. Never printed, never logged.

    Attributes:
        origin: the log's name, also the key's.
        verifier_key: the public key as a C2SP vkey.
    """

    def __init__(self, seed: bytes, origin: str) -> None:
        """Args: seed: 32 bytes. origin: such as ``example.go.jp/log``: printable, no space, no plus.

        Raises:
            RequestError: either is not so.
        """
        if len(seed) != SEED_BYTES:
            raise RequestError(f"log key: expected a seed of {SEED_BYTES} bytes, got {len(seed)}")
        try:
            check_name(origin)
        except ProofError as error:
            raise RequestError(f"origin: {error}") from None
        self.origin = origin
        self._key = Ed25519PrivateKey.from_private_bytes(seed)
        public = self._key.public_key().public_bytes(Encoding.Raw, PublicFormat.Raw)
        self._id = hash_key(origin, public)
        self.verifier_key = f"{origin}+{self._id.hex()}+{base64.b64encode(ED25519 + public).decode()}"

    def __repr__(self) -> str:
        return "LogKey()"

    def __reduce__(self) -> tuple[object, ...]:
        raise TypeError("LogKey is not pickled: it holds a secret key")

    def sign(self, size: int, root: bytes) -> str:
        """Sign a tree head -> checkpoint, ending in a newline. The caller's commit of this size must be durable."""
        if size < 0 or len(root) != HASH_BYTES:
            raise RequestError(f"checkpoint: expected a size and {HASH_BYTES} bytes of root, got something else")
        text = f"{self.origin}\n{size}\n{base64.b64encode(root).decode()}\n"
        signature = base64.b64encode(self._id + self._key.sign(text.encode())).decode()
        return f"{text}\n— {self.origin} {signature}\n"


class HeadFile:
    """The latest checkpoint outside the environment: a store that falls behind it was put back or cut.

    One writer (whoever holds the folder's lock), any number of readers. Used by one thread at a time.

    Attributes:
        damaged: numbers (0, 1) of the slots that :meth:`read` found damaged; a crash while one was written leaves one.
    """

    def __init__(self, path: str | os.PathLike[str]) -> None:
        """Nothing is opened or made before the first read or write."""
        self._path = Path(path)
        self._handle: int | None = None
        self._writable = False
        self._slot = -1  # of the checkpoint that counts; the next one goes into the other slot
        self._size = -1
        self._failed = False
        self.damaged: tuple[int, ...] = ()
        self._picked: tuple[bytes, int, tuple[int, ...], tuple[int, str]] | None = None

    def __repr__(self) -> str:
        return f"HeadFile(size={self._size if self._size >= 0 else None})"

    def read(self) -> tuple[int, str] | None:
        """Tree size and checkpoint that count; None where there is no file. The signature is not checked here.

        Raises:
            TamperError: the file is there and no slot of it is whole.
            StorageError: it could not be read.
        """
        try:
            if self._handle is None:
                self._handle = os.open(self._path, os.O_RDONLY)
                self._writable = False
            for _ in range(READ_TRIES):
                found = self._pick(os.pread(self._handle, SLOTS * SLOT_BYTES, 0))
                if found is not None:
                    return found
        except FileNotFoundError:
            return None
        except OSError as error:
            raise storage_error("read head", error) from error
        raise TamperError("head: expected a whole slot, got none")

    def _pick(self, raw: bytes) -> tuple[int, str] | None:
        if self._picked is not None and raw == self._picked[0]:
            # The same bytes as last time say the same.
            _, self._slot, self.damaged, picked = self._picked
            self._size = picked[0]
            return picked
        damaged, best = [], None
        for slot in range(SLOTS):
            part = raw[slot * SLOT_BYTES : (slot + 1) * SLOT_BYTES]
            if part == bytes(SLOT_BYTES):
                continue
            found = unpack_slot(part)
            if found is None:
                damaged.append(slot)
            elif best is None or found[0] > best[1][0]:
                best = slot, found
        self.damaged = tuple(damaged)
        if best is None:
            return None
        self._slot, (self._size, _) = best
        self._picked = raw, self._slot, self.damaged, best[1]
        return best[1]

    def write(self, size: int, note: str) -> None:
        """Make a checkpoint durable; the one before stays until it is.

        Raises:
            RequestError: the note is no checkpoint of this size, or too long.
            TamperError: a smaller size than the head has.
            StorageError: it could not be written; the head before still counts. After a failed sync, what is on the
                disk is not known: every further write is refused until the file has been opened and read anew.
        """
        if self._failed:
            raise StorageError("write head: refused, a sync failed before; open and verify first")
        slot_bytes = pack_slot(size, note)
        try:
            if not self._writable and not self._open_for_writing(slot_bytes):
                self._slot, self._size = 0, size
                return
        except OSError as error:
            raise storage_error("write head", error) from error
        if size < self._size:
            raise TamperError(f"head: expected a size of at least {self._size}, got {size}")
        assert self._handle is not None
        slot = 1 - self._slot
        try:
            if os.pwrite(self._handle, slot_bytes, slot * SLOT_BYTES) != SLOT_BYTES:
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        except OSError as error:
            raise storage_error("write head", error) from error
        self._sync(self._handle)
        self._slot, self._size = slot, size

    def _open_for_writing(self, first: bytes) -> bool:
        """Open the file and learn which slot counts; where there is none, make it with ``first`` and return False."""
        self.close()
        try:
            self._handle = os.open(self._path, os.O_RDWR)
        except FileNotFoundError:
            self._make(first)
            return False
        if self.read() is None:  # the file has gone since: impossible with one writer
            raise TamperError("head: expected the file that was there, got none")
        self._writable = True
        return True

    def _make(self, first: bytes) -> None:
        fresh = self._path.with_name(self._path.name + ".new")
        fresh.unlink(missing_ok=True)
        handle = os.open(fresh, os.O_CREAT | os.O_EXCL | os.O_RDWR, 0o600)
        try:
            if os.pwrite(handle, first + bytes(SLOT_BYTES), 0) != SLOTS * SLOT_BYTES:
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
            # Synced before it gets its name: a head file is whole or it is not there.
            self._sync(handle, whole=True)
            fresh.rename(self._path)
            folder = os.open(self._path.parent, os.O_RDONLY)
            try:
                self._sync(folder, whole=True)
            finally:
                os.close(folder)
        except BaseException:
            os.close(handle)
            raise
        self._handle, self._writable = handle, True

    def _sync(self, handle: int, *, whole: bool = False) -> None:
        try:
            (os.fsync if whole else os.fdatasync)(handle)
        except OSError as error:
            # The kernel may have dropped the pages and report success the next time: no second try.
            self._failed = True
            raise StorageError(f"sync head: {error.strerror}") from error

    def close(self) -> None:
        """Close the file; further reads and writes open it again. A failed sync stays failed."""
        if self._handle is not None:
            handle, self._handle = self._handle, None
            self._writable = False
            os.close(handle)


def pack_slot(size: int, note: str) -> bytes:
    """A checkpoint -> 4,096 bytes.

    Raises:
        RequestError: the note is no checkpoint of this size, or too long for a slot.
    """
    raw = note.encode()
    if len(raw) > NOTE_BYTES_MAX:
        raise RequestError(f"head: expected a note of at most {NOTE_BYTES_MAX} bytes, got {len(raw)}")
    if read_checkpoint(note).size != size:
        raise RequestError(f"head: expected a checkpoint of {size} entries, got another")
    rest = (len(raw).to_bytes(4, "little") + raw).ljust(SLOT_BYTES - 8, b"\0")
    return xxhash.xxh3_64_intdigest(rest).to_bytes(8, "little") + rest


def unpack_slot(slot: bytes) -> tuple[int, str] | None:
    """4,096 bytes -> tree size and checkpoint; None where they are damaged."""
    rest = slot[8:]
    if len(slot) != SLOT_BYTES or int.from_bytes(slot[:8], "little") != xxhash.xxh3_64_intdigest(rest):
        return None
    count = int.from_bytes(rest[:4], "little")
    if count > NOTE_BYTES_MAX or rest[4 + count :].strip(b"\0"):
        return None
    try:
        return read_checkpoint(rest[4 : 4 + count]).size, rest[4 : 4 + count].decode()
    except ProofError:
        return None
