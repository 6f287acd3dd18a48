"""The hub's secret keys: made at init, kept beside the environment in ``keys/`` (0700), one file each (0600).

| file | bytes | what for |
|---|---|---|
| ``identifiers.key`` | 32 | AES-256: resident record codes to keyed pseudonyms; each namespace's key comes from it |
| ``disclosure.key`` | 32 | AES-256: person numbers to disclosure keys, by which records say whose they are |
| ``cursors.key`` | 32 | HMAC-SHA-256: history cursors, so that nobody makes one up |
| ``log.key`` | 32 | Ed25519: signs checkpoints of the record log |
| ``periods/`` | | the keys of the record log's periods, see ``periods.py`` |

Pseudonym = AES-256(HMAC-SHA-256(identifiers, "hub/namespace/resident-record-code"), u8 11 ‖ eleven digits in ASCII ‖
four zeros); of other namespaces see ``persons/pseudonyms.py``. Fingerprint = first 16 bytes of SHA-256("hub/keys/2" ‖
identifiers ‖ disclosure ‖ cursors ‖ log). Cursor = hex of u64 index of the last record shown ‖ first 8 bytes of
HMAC-SHA-256(cursors, u32 person ‖ that u64), big endian. Own key "x" = HMAC-SHA-256(identifiers, "hub/own/x/1").

Who holds the keys and the environment can read identifiers back; a backup of the environment alone cannot.
A lost key cannot be made again: a folder with data and without its keys is refused, never given new ones.
"""

from __future__ import annotations

import errno
import hashlib
import hmac
import os
from pathlib import Path

import numpy as np
import numpy.typing as npt

from hub.errors import FULL, FullError, StorageError
from hub.messages import Aliases
from hub.storage.blockcipher import BlockCipher

KEY_BYTES = 32
NAMES = ("identifiers", "disclosure", "cursors", "log")
RESIDENT_RECORD_CODE = "resident-record-code"
"""The namespace of resident record codes (住民票コード)."""


class Keys:
    """The keys of one folder. Never printed, never logged."""

    def __init__(self, identifiers: bytes, disclosure: bytes, cursors: bytes, log: bytes) -> None:
        self._derived: dict[str, bytes] = {}
        self._disclosure = BlockCipher(disclosure)
        self.log_seed = log
        self._cursors = cursors
        self._identifiers = identifiers
        self._resident_codes = BlockCipher(self.derive_namespace(RESIDENT_RECORD_CODE))
        self.fingerprint = hashlib.sha256(b"hub/keys/2" + identifiers + disclosure + cursors + log).digest()[:16]
        """Stored in the environment, so that keys of another folder are noticed."""

    def __repr__(self) -> str:
        return "Keys()"

    def pseudonyms(self, blocks: Aliases) -> Aliases:
        """Resident record codes as length-tagged blocks (uint8[N, 16]) to keyed pseudonyms (uint8[N, 16])."""
        return self._resident_codes.encrypt(blocks)

    def resident_codes(self, pseudonyms: Aliases) -> npt.NDArray[np.int64]:
        """Pseudonyms (uint8[N, 16]) back to resident record codes: int64[N].

        Raises:
            StorageError: one is no code's under this key.
        """
        blocks = self._resident_codes.decrypt(np.ascontiguousarray(pseudonyms))
        digits = blocks[:, 1:12].astype(np.int64) - ord("0")
        if (blocks[:, 0] != 11).any() or blocks[:, 12:].any() or ((digits < 0) | (digits > 9)).any():
            raise StorageError("pseudonym: expected one of a resident record code, got something else")
        codes: npt.NDArray[np.int64] = digits @ 10 ** np.arange(10, -1, -1, dtype=np.int64)
        return codes

    def disclosure_keys(self, persons: npt.NDArray[np.uint32]) -> Aliases:
        """Person numbers (uint32[N]) to disclosure keys (uint8[N, 16]), the same in all periods.

        Derived and not stored: sixteen bytes a person and a random fetch a record less; nobody without the key can
        tell them from random ones.
        """
        blocks = np.zeros((len(persons), 4), dtype=np.uint32)
        blocks[:, 0] = persons
        return self._disclosure.encrypt(blocks.view(np.uint8))

    def derive_namespace(self, name: str) -> bytes:
        """A key of 32 bytes for the identifiers of a namespace, or for one use of it such as ``mykey/long``."""
        return hmac.digest(self._identifiers, f"hub/namespace/{name}".encode(), "sha256")

    def derive(self, name: str) -> bytes:
        """A key of 32 bytes for one use of the hub's own, such as ``marks``; comes from ``identifiers.key``."""
        found = self._derived.get(name)
        if found is None:
            found = self._derived[name] = hmac.digest(self._identifiers, f"hub/own/{name}/1".encode(), "sha256")
        return found

    def cursor_tag(self, text: bytes) -> bytes:
        """Eight bytes that only this hub can put under a cursor."""
        return hmac.digest(self._cursors, text, "sha256")[:8]


def make_keys(folder: Path) -> None:
    """Make the keys that are not there yet; what exists is never overwritten.

    Raises:
        StorageError: the folder cannot be written.
    """
    try:
        folder.mkdir(mode=0o700, exist_ok=True)
        for name in NAMES:
            path = folder / f"{name}.key"
            if path.exists():
                continue
            _write_key(path, folder / f".{name}.new")
        sync_folder(folder)
        sync_folder(folder.parent)
    except OSError as error:
        raise _write_error("make keys", error) from error


def make_key_file(path: Path) -> None:
    """Make a key file of its own, durably, in a folder that is made where it lacks; one that exists is kept.

    Raises:
        StorageError: it cannot be written.
    """
    if path.exists():
        return
    folder = path.parent
    try:
        if not folder.exists():
            folder.mkdir(mode=0o700)
            sync_folder(folder.parent)
        _write_key(path, path.with_suffix(".new"))
        sync_folder(folder)
    except OSError as error:
        raise _write_error(f"make key {path.name}", error) from error


def shred_key_file(path: Path) -> None:
    """Unlink a key file, durably; nothing happens where there is none. Goes on where it was cut off.

    Raises:
        StorageError: it cannot be unlinked; the same may be tried again.
    """
    gone = path.with_suffix(".gone")
    try:
        if path.exists():
            # It loses its name first: a key that is half overwritten must never be read as one.
            path.rename(gone)
            sync_folder(path.parent)
        if gone.exists():
            # Overwritten, for file systems that write in place.
            handle = os.open(gone, os.O_WRONLY)
            try:
                os.pwrite(handle, bytes(KEY_BYTES), 0)
                os.fsync(handle)
            finally:
                os.close(handle)
            gone.unlink()
            sync_folder(path.parent)
    except OSError as error:
        raise _write_error(f"shred key {path.name}", error) from error


def _write_error(action: str, error: OSError) -> StorageError:
    kind = FullError if error.errno in FULL else StorageError
    return kind(f"{action}: {error.strerror}", retry_safe=True)


def _write_key(path: Path, fresh: Path) -> None:
    fresh.unlink(missing_ok=True)
    handle = os.open(fresh, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o600)
    try:
        if os.write(handle, os.urandom(KEY_BYTES)) != KEY_BYTES:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        os.fsync(handle)
    finally:
        os.close(handle)
    # Synced before it gets its name: a key file is whole or it is not there.
    fresh.rename(path)


def load_keys(folder: Path) -> Keys:
    """Read the keys of a hub.

    Raises:
        StorageError: one is missing, has the wrong length, or can be read by others.
    """
    return Keys(*(read_key(folder / f"{name}.key") for name in NAMES))


def read_key(path: Path) -> bytes:
    """Read one key file.

    Raises:
        StorageError: it is missing, has the wrong length, or can be read by others.
    """
    try:
        mode = path.stat().st_mode & 0o777
        content = path.read_bytes()
    except OSError as error:
        raise StorageError(f"read {path.name}: {error.strerror}") from error
    if mode & 0o077:
        raise StorageError(f"{path.name}: expected mode 0600, got {mode:04o}")
    if len(content) != KEY_BYTES:
        raise StorageError(f"{path.name}: expected {KEY_BYTES} bytes, got {len(content)}")
    return content


def sync_folder(folder: Path) -> None:
    """Make the names in a folder durable."""
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
