"""The folder of an agency: what an institution keeps at its own side, apart from the hub and its keys.

Folder:

| name | what |
|---|---|
| ``env/`` | the LMDB environment (``data.mdb``, ``lock.mdb``) |
| ``files/`` | large columns, one file each, named by 16 hex digits, see ``runs.py`` and ``register.py`` |
| ``agency.lock`` | held with ``flock`` by the one writing process |

Sub-databases; numbers in keys are big endian, in values little endian; all values are sealed (``storage/sealed.py``):

| name | key | value |
|---|---|---|
| ``meta`` | "format" | MessagePack array: format (1), when it was made (seconds since 1970), institution code |
| | "state" | MessagePack map, ``State`` of ``storage/snapshot.py``: commits and the sums of all databases |
| | "file" | u64, number of the last file that was named |
| ``runs`` | a name | the runs of an index, see ``runs.py`` |
| ``longids`` | 16 bytes of a key | an own id of more than 15 bytes, UTF-8, see ``links.py`` |
| ``registers``, ``chunks`` | see ``register.py`` | layouts, generations, the load under way and its chunks |
| ``manual`` | 16 bytes of an alias | i64 when it was flagged: a clerk of the institution answers |
| ``requests``, ``asked``, ``told``, ``answered`` | see ``owncopy.py`` | the institution's own copy of the records |

Crash order: a file is written and synced, then the transaction that names it, with its length and checksums, is
committed. A file that nothing names, or what stands behind the length that is named, is left of a process that died:
it is cut off when the folder is opened for writing. A file that nothing names any more is removed behind the commit.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import re
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import lmdb
import msgspec

from hub.errors import BusyError, RequestError, StorageError
from hub.limits import INSTITUTION_CODE_CHARS_MAX, MAP_BYTES
from hub.storage.keys import sync_folder
from hub.storage.sealed import storage_error, unseal, value_sum
from hub.storage.snapshot import STATE_KEY, SUM_MASK, Commit, State

FORMAT = 1
_FILE_NAME = re.compile("[0-9a-f]{16}")
NAMES = (
    "meta", "runs", "longids", "registers", "chunks", "manual", "requests", "asked", "told", "answered",
)  # fmt: skip


class Format(msgspec.Struct, array_like=True, frozen=True):
    """What ``meta`` says about the folder itself."""

    format: int
    made_at: int
    institution: str


class Reader:
    """One state of the folder to read from."""

    def __init__(self, databases: dict[str, Any], txn: Any) -> None:
        self._databases, self._txn = databases, txn

    def __repr__(self) -> str:
        return "Reader()"

    def get(self, name: str, key: bytes) -> bytes | None:
        """A value, checked, or None.

        Raises:
            StorageError: it is damaged.
        """
        value = self._txn.get(key, db=self._databases[name])
        return None if value is None else unseal(name, key, value)

    def items(
        self, name: str, first: bytes = b"", below: bytes | None = None, *, limit: int | None = None
    ) -> Iterator[tuple[bytes, bytes]]:
        """Entries in key order from ``first`` on, to before ``below``, checked."""
        with self._txn.cursor(db=self._databases[name]) as cursor:
            more = cursor.set_range(first)
            while more and (limit is None or limit > 0):
                key = bytes(cursor.key())
                if below is not None and key >= below:
                    return
                yield key, unseal(name, key, cursor.value())
                limit = None if limit is None else limit - 1
                more = cursor.next()

    def keys(self, name: str, first: bytes = b"", below: bytes | None = None) -> Iterator[bytes]:
        """The keys of such entries; their values are not read."""
        with self._txn.cursor(db=self._databases[name]) as cursor:
            more = cursor.set_range(first)
            while more and (below is None or bytes(cursor.key()) < below):
                yield bytes(cursor.key())
                more = cursor.next()

    def last_key(self, name: str) -> bytes | None:
        """The last key of a database; None where it is empty."""
        with self._txn.cursor(db=self._databases[name]) as cursor:
            return bytes(cursor.key()) if cursor.last() else None

    def compare_sum(self, name: str) -> int:
        """Make sure that a database shows every value that was written last, before relying on what is not there.

        Returns:
            the sum, by which a reader may know it again.

        Raises:
            StorageError: a value is damaged, missing, or of an earlier commit.
        """
        state = self.get("meta", STATE_KEY)
        expected = 0 if state is None else msgspec.msgpack.decode(state, type=State).sums.get(name, 0)
        found = 0
        with self._txn.cursor(db=self._databases[name]) as cursor:
            for key, value in cursor:
                unseal(name, bytes(key), value)
                found += value_sum(bytes(key), value)
        if found & SUM_MASK != expected:
            raise StorageError(f"{name}: expected the sum of what was written last, got another")
        return expected


class AgencyStore:
    """An open agency folder. One a process and folder; not to be used after a fork."""

    def __init__(self, folder: Path, *, create: bool, readonly: bool, institution: str | None, now: int) -> None:
        self.folder, self.readonly = folder, readonly
        self.closed = False
        self.writer = threading.RLock()
        self._pid = os.getpid()
        self._broken: str | None = None
        self._lock_file: int | None = None
        self._env: Any = None
        self.databases: dict[str, Any] = {}
        try:
            self._open(create, institution, now)
        except (lmdb.Error, OSError) as error:
            self.close()
            raise storage_error(f"open {folder}", error) from error
        except BaseException:
            self.close()
            raise

    def __repr__(self) -> str:
        return f"AgencyStore({str(self.folder)!r})"

    # -- opening and closing

    def _open(self, create: bool, institution: str | None, now: int) -> None:
        exists = (self.folder / "env" / "data.mdb").exists()
        if not exists:
            self._check_new(create, institution)
        if not self.readonly:
            if create and not exists:
                self._make_folders()
            self._take_lock()
        self._env = lmdb.open(
            str(self.folder / "env"), lib_version=0, map_size=MAP_BYTES, max_dbs=len(NAMES) + 2, readonly=self.readonly,
            readahead=False, create=not self.readonly, mode=0o600,
        )  # fmt: skip
        self._env.reader_check()
        try:
            self.databases = {name: self._env.open_db(name.encode(), create=not self.readonly) for name in NAMES}
        except (lmdb.NotFoundError, lmdb.ReadonlyError) as error:
            raise StorageError(f"open {self.folder}: its making was not finished; open it for writing") from error
        with self.read() as reader:
            value = reader.get("meta", b"format")
        if value is None:
            self._check_new(create, institution)
            with self.commit() as commit:
                commit.put_sealed("meta", b"format", msgspec.msgpack.encode(Format(FORMAT, now, institution or "")))
            self.institution = institution or ""
            return
        try:
            found = msgspec.msgpack.decode(value, type=Format)
        except msgspec.DecodeError as error:
            raise StorageError(f"open {self.folder}: expected an agency's format, got something else") from error
        if found.format != FORMAT:
            raise StorageError(f"open {self.folder}: expected format {FORMAT}, got {found.format}: made by a newer hub")
        if institution is not None and institution != found.institution:
            raise RequestError(f"institution: expected {found.institution}, whose folder it is, got another")
        self.institution = found.institution

    def _check_new(self, create: bool, institution: str | None) -> None:
        if self.folder.exists() and not self.folder.is_dir():
            raise RequestError(f"open {self.folder}: expected a folder, got a file")
        if not create or self.readonly:
            raise RequestError(f"open {self.folder}: expected an agency's folder, found none here")
        ours = {"env", "files", "agency.lock"}
        if self.folder.exists() and any(entry.name not in ours for entry in self.folder.iterdir()):
            raise RequestError(f"open {self.folder}: expected an agency or an empty folder, got other files")
        if institution is None or not 1 <= len(institution) <= INSTITUTION_CODE_CHARS_MAX:
            raise RequestError("institution: expected the code of the institution whose folder is made, got none")

    def _make_folders(self) -> None:
        for path in (self.folder, self.folder / "env", self.folder / "files"):
            path.mkdir(parents=True, exist_ok=True, mode=0o700)
            sync_folder(path.parent)

    def _take_lock(self) -> None:
        handle = os.open(self.folder / "agency.lock", os.O_RDWR | os.O_CREAT, 0o600)
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            os.close(handle)
            raise BusyError(f"open {self.folder}: open for writing by another process or here") from None
        except BaseException:
            os.close(handle)
            raise
        self._lock_file = handle

    def close(self) -> None:
        """Let go of everything; may be called again."""
        if self.closed:
            return
        self.closed = True
        if self._env is not None and self._pid == os.getpid():
            self._env.close()
        if self._lock_file is not None:
            os.close(self._lock_file)
            self._lock_file = None

    def _check_usable(self) -> Any:
        if self._pid != os.getpid():
            raise StorageError("agency: expected the process that opened it, got a fork of it: open it again here")
        if self.closed:
            raise RequestError("agency: expected an open one, got a closed one")
        return self._env

    # -- reading and writing

    @contextlib.contextmanager
    def read(self) -> Iterator[Reader]:
        """The newest state, held until the block ends."""
        env = self._check_usable()
        try:
            with env.begin(buffers=True) as txn:
                yield Reader(self.databases, txn)
        except lmdb.Error as error:
            raise storage_error("read", error) from error

    @contextlib.contextmanager
    def commit(self) -> Iterator[Commit]:
        """A durable transaction: what the block writes is on disk when the block has ended.

        Raises:
            StorageError: it was not kept; ``retry_safe`` says whether the same may be tried again.
        """
        env = self._check_usable()
        with self.writer:
            self.check_writable()
            try:
                with env.begin(write=True, buffers=True) as txn:
                    value = txn.get(STATE_KEY, db=self.databases["meta"])
                    state = State()
                    if value is not None:
                        state = msgspec.msgpack.decode(unseal("meta", STATE_KEY, value), type=State)
                    commit = Commit(self.databases, txn, state)
                    state.commit += 1
                    yield commit
                    commit.put_state()
            except lmdb.Error as error:
                raise self._failed("write", error) from error

    def check_writable(self) -> None:
        """Refuse to write where it was opened for reading, or after a failure."""
        if self.readonly:
            raise RequestError("write: expected an agency opened for writing, got a read-only one")
        if self._broken:
            raise StorageError(f"write: stopped after an earlier failure ({self._broken}); open the agency again")

    def _failed(self, action: str, error: Exception) -> StorageError:
        failure = storage_error(action, error)
        if not failure.retry_safe:
            # After a failed sync nobody knows which pages reached the disk: no more writing until reopened.
            self._broken = str(error)
        return failure

    # -- files

    def path(self, number: int) -> Path:
        """Where a file stands."""
        return self.folder / "files" / f"{number:016x}"

    def next_files(self, commit: Commit, count: int) -> list[int]:
        """Numbers that no file had before."""
        value = commit.get("meta", b"file")
        last = 0 if value is None else int.from_bytes(unseal("meta", b"file", value), "little")
        commit.put_sealed("meta", b"file", (last + count).to_bytes(8, "little"))
        return list(range(last + 1, last + count + 1))

    @contextlib.contextmanager
    def write_file(self, number: int, at: int) -> Iterator[int]:
        """A handle to write a file from ``at`` on; what stood behind goes. Durable when the block has ended.

        Raises:
            StorageError: the disk failed or is full; nothing that was named is changed.
        """
        self.check_writable()
        path = self.path(number)
        try:
            handle = os.open(path, os.O_RDWR | os.O_CREAT, 0o600)
            try:
                if os.fstat(handle).st_size < at:
                    raise StorageError(f"file {number:016x}: expected {at} bytes or more, got fewer")
                os.ftruncate(handle, at)
                os.lseek(handle, at, os.SEEK_SET)
                yield handle
                os.fsync(handle)
            finally:
                os.close(handle)
            if at == 0:
                sync_folder(path.parent)
        except OSError as error:
            raise self._failed("write", error) from error

    def remove_files(self, numbers: list[int]) -> None:
        """Remove files that nothing names any more; one that stays goes at the next opening."""
        for number in numbers:
            with contextlib.suppress(OSError):
                self.path(number).unlink(missing_ok=True)

    def sweep(self, named: dict[int, int]) -> None:
        """Remove files that are not named; of the named ones cut off what stands behind their lengths.

        Raises:
            StorageError: a named file is missing or too short.
        """
        names = [entry.name for entry in (self.folder / "files").iterdir()]
        # What has another name is none of ours, and stays.
        found = {int(name, 16) for name in names if _FILE_NAME.fullmatch(name)}
        for number, size in named.items():
            # A load that was begun names its files before their first byte.
            length = self.path(number).stat().st_size if number in found else 0
            if length < size:
                raise StorageError(f"file {number:016x}: expected {size} bytes, got fewer")
            if length > size:
                os.truncate(self.path(number), size)
        self.remove_files(sorted(found - named.keys()))


def write_all(handle: int, data: Any) -> None:
    """Write bytes, all of them."""
    view = memoryview(data).cast("B")
    while len(view):
        view = view[os.write(handle, view) :]
