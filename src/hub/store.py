"""The LMDB environment of a hub: open, snapshot, commit.

Folder:

| name | what |
|---|---|
| ``env/`` | the LMDB environment (``data.mdb``, ``lock.mdb``) |
| ``keys/`` | secret keys, see ``storage/keys.py``; not part of a backup of ``env/`` |
| ``hub.lock`` | held with ``flock`` by the one writing process; says its number |

Sub-databases of the environment; numbers in keys are big endian:

| name | key | value |
|---|---|---|
| ``meta`` | a name | sealed, see below |
| ``tables`` | u32 table, u32 prefix | block, see ``aliases.py`` |
| ``changes`` | u64 commit | sealed: MessagePack, an array of [table, prefix, depth] of each block that it wrote |
| ``pending`` | u32 addition, u32 part | sealed, see ``acquisition/additions.py`` |
| ``records`` | u64 index of the first record | chunk of records, see ``records/bodies.py`` |
| ``entries`` | u64 index of the first record | sealed: n x 32 bytes, entries of the log, see docs/log.md |
| ``nodes`` | u8 level, u64 number of the first node | sealed: k x 32 bytes, complete nodes of the tree |
| ``checkpoints`` | see ``records/kept.py`` | signed checkpoints that are kept |
| ``runs``, ``rundir`` | see ``runs/index.py`` | which records are about whom |
| ``marks`` | see ``protection/marks.py`` | which records are withheld from histories, by whom |
| ``corrections`` | u64 index of a record | sealed: how its corrections stand, see ``citizens/corrections.py`` |
| ``events`` | u64 number, from 1 | sealed: what was done with marks and corrections, see ``records/events.py`` |
| ``payloadkeys`` | u32 institution number | sealed: the key of its answers, see ``provision/payloadkeys.py`` |
| ``flagged`` | u32 person | sealed: their flags by institution, see ``protection/flags.py`` |
| ``persons`` | u32 person | sealed: with whom they were merged, see ``persons/merges.py`` |
| ``deaths`` | see ``persons/deaths.py`` | who has died, and when |
| ``successions`` | u16 institution number | sealed: which body succeeded it, see ``persons/successions.py`` |
| ``holders`` | see ``persons/holders.py`` | who holds whom, as a member of which class, since when and until when |
| ``wanted`` | u16 institution number, 16 bytes of a pseudonym | sealed: one that is wanted, see ``persons/wanted.py`` |
| ``tickets`` | u64 number of a draw | sealed: tickets (取得番号) and their deliveries, see ``acquisition/tickets.py`` |
| ``claims``, ``linked`` | see ``acquisition/claims.py`` | sealed: attributes to be compared; held and replaced links |
| ``released`` | u64 index of a held record | sealed: index of its release, see ``protection/releases.py`` |
| ``renewals`` | see ``persons/identifiers.py`` | which identifier from outside took the place of which |
| ``identified`` | see ``persons/uses.py`` | how many identifiers were asked by, by day |
| ``proxies`` | see ``citizens/proxystate.py`` | who may act for whom |
| ``erasures`` | see ``records/erasures.py`` | what retention erased |
| ``holds``, ``held`` | see ``records/holds.py`` | what it must not erase, and a copy of that |
| ``inbox``, ``inboxes``, ``permits``, ``outcomes``, ``manual`` | see ``provision/inbox.py`` | what waits for whom |
| ``payloads`` | u64 index of a first record | sealed: what was answered or pushed, see ``provision/payloadstore.py`` |
| ``notices`` | u64 index of a first record | sealed: texts of notices, see ``sending/notices.py`` |
| ``mislinks`` | 16 bytes of SHA-256 of institution and id | sealed: a reported wrong link, see ``mislinks/report.py`` |
| ``catalogs`` | SHA-256 | sealed: a catalog as it was in force |
| ``requests.<day>`` | 16 bytes of SHA-256 of requester and id, u32 part | sealed, see ``requests/state.py`` |

What "sealed" means stands in ``storage/sealed.py``, and how a value of an earlier commit is found. In ``meta``:

| key | value |
|---|---|
| ``format`` | MessagePack array: format (2), its making (seconds since 1970), fingerprint of ``storage/keys.py`` |
| ``state`` | MessagePack map, see ``State`` in ``storage/snapshot.py`` |
| ``origin`` | the log's name, UTF-8 |
| ``catalog`` | digest of the catalog in force, 64 hex digits |
| ``count``, u32 number (big endian) | u64 (little endian): entries of that institution or namespace |
| ``tickets`` | u64 (little endian): number of the next draw of tickets |
| ``served`` | the address at which the folder was served last, UTF-8; not there if it never was |
| ``sums``, u32 table (big endian) | u64 (little endian): sum of an alias table, see ``storage/sealed.py`` |

Crash order: LMDB writes the pages of a transaction, syncs, writes the meta page, syncs; a process that dies
before the last step leaves the transaction before. ``state`` in ``meta`` is written in the transaction that it counts.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import shutil
import threading
import time
import weakref
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import lmdb
import msgspec

from hub import _core
from hub._pages import Pages, turns
from hub.errors import FULL, BusyError, FullError, HubError, RequestError, StorageError
from hub.limits import CHANGES_KEPT, MAP_BYTES, SUB_DATABASES_MAX
from hub.storage.keys import Keys, load_keys, make_keys, sync_folder
from hub.storage.sealed import full_error, storage_error, unseal, value_sum
from hub.storage.snapshot import SUM_MASK, Commit, Snapshot, State
from hub.storage.times import Times
from hub.storage.turns import Turns

FORMAT = 2
READERS_MAX = 1024
HOLDER_BYTES_MAX = 300
SERVED_WORDS = "served at "
LOCK_FILE_BYTES = READERS_MAX * 64 + 8192
FULL_BELOW_BYTES = 1 << 20
BEGIN_TRIES = 100
ADDED_LATER = ("consents",)
"""Databases of this format that folders made earlier do not have."""
FEW_BLOCKS = 64
COMPARED_AT_A_TIME = 1_000
NAMES = (
    "meta", "tables", "changes", "pending", "records", "entries", "nodes", "catalogs", "runs", "rundir", "checkpoints",
    "marks", "corrections", "events", "erasures", "holds", "held", "flagged", "payloadkeys", "holders", "wanted",
    "tickets", "claims", "linked", "inbox", "inboxes", "permits", "outcomes", "manual", "payloads", "released",
    "renewals", "identified", "proxies", "persons", "deaths", "successions", "notices", "mislinks",
    "consents",
)  # fmt: skip


class Format(msgspec.Struct, array_like=True, frozen=True):
    """What ``meta`` says about the folder itself: the first field is the same in every format to come."""

    format: int
    made_at: int
    keys: bytes


class Store:
    """An open environment. One a process and folder; not to be used after a fork."""

    def __init__(self, folder: Path, *, create: bool, readonly: bool, now: int) -> None:
        self.folder = folder
        self._data = str(folder / "env" / "data.mdb")
        self.readonly = readonly
        self.closed = False
        self.broken: str | None = None
        self.commit_times = Times()
        """How long LMDB took to make a transaction durable."""
        self.full = 0
        """How often there was no room for one."""
        self._pid = os.getpid()
        self._lock_file: int | None = None
        self.env: lmdb.Environment | None = None
        self.databases: dict[str, Any] = {}
        self.keys: Keys
        self.turns = Turns()
        self.writer = self.turns.writer
        self.acquiring = threading.Lock()
        """Held by whoever writes alias tables, over several commits; taken before ``writer``."""
        self._snapshots = threading.RLock()
        self._current: Snapshot | None = None
        self._renew = False
        self._base = -1
        self._request_days: set[int] | None = None
        self.at_commit: Callable[[Commit], None] | None = None
        """Called before each commit, under the writer's lock: what is put then costs no sync of its own."""
        self._compared: dict[str, int] = {}
        """Sums of databases of which this process has read every value, see :meth:`compare_sum`."""
        try:
            self._open(create=create, now=now)
        except lmdb.Error as error:
            self.close()
            raise storage_error(f"open {folder}", error) from error
        except OSError as error:
            self.close()
            raise storage_error(f"open {folder}", error) from error
        except BaseException:
            self.close()
            raise
        _open_stores.add(self)

    def __repr__(self) -> str:
        return f"Store({str(self.folder)!r})"

    # -- opening and closing

    def _open(self, *, create: bool, now: int) -> None:
        exists = (self.folder / "env" / "data.mdb").exists()
        if not exists:
            self._check_new(create)
        if not self.readonly:
            if create:
                self._make_folder()
            self._take_lock()
        if any(not store.closed and store.folder.resolve() == self.folder.resolve() for store in _open_stores):
            # LMDB allows one environment a folder and process; the open hub can be used from all threads.
            raise RequestError(f"open {self.folder}: already open in this process")
        if not exists:
            # Keys first: an environment without its keys would be useless, keys without one do no harm.
            make_keys(self.folder / "keys")
            self._make_environment(load_keys(self.folder / "keys"), now)
        self.env = self._open_environment(self.folder / "env")
        if self.env.stat()["psize"] != 4096:
            raise StorageError(f"environment: expected pages of 4096 bytes, got {self.env.stat()['psize']}")
        self._check_length(self.env)
        self.env.reader_check()
        self.databases = self._open_databases(self.env, create=False)
        found = self._read_format()
        if found.format != FORMAT:
            raise StorageError(f"open {self.folder}: expected format {FORMAT}, got {found.format}: made by a newer hub")
        self.keys = load_keys(self.folder / "keys")
        if found.keys != self.keys.fingerprint:
            raise StorageError(f"open {self.folder}: expected the keys it was made with, got others")
        self._check_turns(self.env)

    def _check_turns(self, env: lmdb.Environment) -> None:
        """Refuse a state that is not the newest.

        LMDB serves the meta page that names the later transaction, and that number has no checksum. The two are always
        neighbours, and the state, which has a checksum, names its own. A write of a meta page that failed leaves there
        the number and length of before beside a state that was never acknowledged: that one may be newer. A flipped
        bit that looks the same in both is the one that is not found.
        """
        for _ in range(BEGIN_TRIES):
            txn, pages = self._begin(env)
            try:
                length, chosen = self.bytes_on_disk(), txn.id()
                found = turns(self._base, length)
                state = self._state_behind(pages)
                behind = None
                # What a failed write left may name pages that were never there.
                with contextlib.suppress(LookupError, StorageError):
                    behind = self._state_behind(Pages(self._base, length, chosen - 1))
                # A process that writes goes on meanwhile: what was read then may be of neither.
                if found != turns(self._base, length) or chosen != max(found)[0]:
                    continue
            finally:
                txn.abort()
            (other, other_last), (_, last) = sorted(found)
            newer = behind is not None and state is not None and behind.commit > state.commit
            if (
                state is None
                or other != chosen - 1
                or (newer and (state.turn not in (0, chosen) or other_last > last))
            ):  # fmt: skip
                raise StorageError(f"open {self.folder}: expected the newest state, got another transaction's")
            return

    def _state_behind(self, pages: Pages) -> State | None:
        """The state that a meta page leads to; None where there is none."""
        found = pages.at_or_before(b"meta", b"state")
        if found is None or found[0] != b"state":
            return None
        return msgspec.msgpack.decode(unseal("meta", b"state", found[1]), type=State)

    def _check_length(self, env: lmdb.Environment) -> None:
        """Refuse a file that ends before its last page: reading behind its end would end the process."""
        length, needed = self.bytes_on_disk(), (env.info()["last_pgno"] + 1) * env.stat()["psize"]
        if length < needed:
            raise StorageError(f"open {self.folder}: expected at least {needed} bytes of data.mdb, got {length}")

    def _open_environment(self, path: Path) -> lmdb.Environment:
        if not self.readonly:
            _reserve_lock_file(path / "lock.mdb")
        return lmdb.open(
            str(path),
            # LMDB 0.9's format, whatever the library would choose for a new file: ``_pages`` reads it.
            lib_version=0,
            map_size=MAP_BYTES,
            max_dbs=SUB_DATABASES_MAX,
            max_readers=READERS_MAX,
            readonly=self.readonly,
            writemap=False,
            sync=True,
            metasync=True,
            readahead=False,
            create=not self.readonly,
            mode=0o600,
        )

    def _make_environment(self, keys: Keys, now: int) -> None:
        """Make a new environment under another name and give it its own when it is whole and durable."""
        fresh = self.folder / "env.new"
        shutil.rmtree(fresh, ignore_errors=True)
        fresh.mkdir()
        env = self._open_environment(fresh)
        try:
            databases = self._open_databases(env, create=True)
            with env.begin(write=True) as txn:
                commit = Commit(databases, txn, State(turn=txn.id()))
                commit.put_sealed("meta", b"format", msgspec.msgpack.encode(Format(FORMAT, now, keys.fingerprint)))
                commit.put_state()
        finally:
            env.close()
        sync_folder(fresh)
        fresh.rename(self.folder / "env")
        sync_folder(self.folder)

    def _check_new(self, create: bool) -> None:
        if self.folder.exists() and not self.folder.is_dir():
            raise RequestError(f"open {self.folder}: expected a folder, got a file")
        ours = {"env", "env.new", "keys", "hub.lock"}
        others = self.folder.exists() and any(entry.name not in ours for entry in self.folder.iterdir())
        if not create or self.readonly:
            raise RequestError(f"open {self.folder}: expected a hub, found none here")
        if others:
            raise RequestError(f"open {self.folder}: expected a hub or an empty folder, got other files")

    def _make_folder(self) -> None:
        """Make the folder and those above it, each name durable: a folder that is lost takes the hub with it."""
        made = [path for path in (self.folder, *self.folder.parents) if not path.exists()]
        for path in reversed(made):
            path.mkdir(exist_ok=True)
            sync_folder(path.parent)

    def _take_lock(self) -> None:
        path = self.folder / "hub.lock"
        handle = os.open(path, os.O_RDWR | os.O_CREAT, 0o600)
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            holder = os.pread(handle, HOLDER_BYTES_MAX, 0).decode("utf-8", "replace").strip() or "another process"
            os.close(handle)
            words = holder if holder.startswith(SERVED_WORDS) else f"open for writing by {holder}"
            raise BusyError(f"open {self.folder}: {words}") from None
        except BaseException:
            os.close(handle)
            raise
        self._lock_file = handle
        self.name_holder(f"process {os.getpid()}")

    def name_holder(self, words: str) -> None:
        """Say to whoever finds the folder open for writing who has it, or where it is served."""
        if self._lock_file is None:
            return
        # A courtesy: a full disk keeps nobody from opening.
        with contextlib.suppress(OSError):
            os.ftruncate(self._lock_file, 0)
            os.pwrite(self._lock_file, f"{words}\n".encode()[:HOLDER_BYTES_MAX], 0)

    def _open_databases(self, env: lmdb.Environment, *, create: bool) -> dict[str, Any]:
        found = {}
        # In one transaction where there may be one: each name is a transaction of its own otherwise, with its syncs
        # where it is new.
        with contextlib.nullcontext() if self.readonly else env.begin(write=True) as txn:
            for name in NAMES:
                try:
                    found[name] = env.open_db(name.encode(), txn=txn, create=create)
                except lmdb.NotFoundError as error:
                    if name not in ADDED_LATER:
                        raise StorageError(f"open {self.folder}: expected a hub, a database is missing") from error
        missing = [name for name in NAMES if name not in found]
        if missing:
            self._add_databases(env, found, missing)
        return found

    def _add_databases(self, env: lmdb.Environment, found: dict[str, Any], missing: list[str]) -> None:
        """Make the databases that an older hub did not know."""
        if self.readonly:
            raise StorageError(f"open {self.folder}: made by an older hub; open it for writing once")
        with env.begin(write=True, buffers=True) as txn:
            value = txn.get(b"state", db=found["meta"])
            state = msgspec.msgpack.decode(unseal("meta", b"state", value or b""), type=State)
            if any(state.sums.get(name) for name in missing):
                raise StorageError(f"open {self.folder}: expected a hub, a database is missing")
            found.update({name: env.open_db(name.encode(), txn=txn) for name in missing})
            state.turn = txn.id()
            Commit(found, txn, state).put_state()

    def _read_format(self) -> Format:
        assert self.env is not None
        with self.env.begin(db=self.databases["meta"]) as txn:
            value = txn.get(b"format")
        try:
            return msgspec.msgpack.decode(unseal("meta", b"format", value or b""), type=Format)
        except msgspec.DecodeError as error:
            raise StorageError(f"open {self.folder}: expected a hub's format, got something else") from error

    def close(self) -> None:
        """Let go of everything; may be called again."""
        if self.closed:
            return
        self.closed = True
        if self._pid == os.getpid():
            current, self._current = self._current, None
            if current is not None:
                with self._snapshots:
                    current._supersede()
            if self.env is not None:
                self.env.close()
        if self._lock_file is not None:
            os.close(self._lock_file)
            self._lock_file = None

    @property
    def forked(self) -> bool:
        """Whether this is another process than the one that opened it."""
        return self._pid != os.getpid()

    def _check_usable(self) -> lmdb.Environment:
        if self._pid != os.getpid():
            raise StorageError("hub: expected the process that opened it, got a fork of it: open it again here")
        if self.closed or self.env is None:
            raise RequestError("hub: expected an open hub, got a closed one")
        return self.env

    # -- reading

    @contextlib.contextmanager
    def snapshot(self) -> Iterator[Snapshot]:
        """The newest state, held until the block ends."""
        with self._snapshots:
            snapshot = self._newest()
            snapshot._enter()
        try:
            yield snapshot
        except lmdb.Error as error:
            raise storage_error("read", error) from error
        finally:
            with self._snapshots:
                snapshot._leave()

    def _newest(self) -> Snapshot:
        """The current snapshot, made anew where another process or a commit has gone on since."""
        env = self._check_usable()
        current = self._current
        if current is not None and not self.readonly and not self._renew:
            return current
        renew, self._renew = self._renew, False
        try:
            txn, pages = self._begin(env)
            state = self._state_of(txn)
            if current is not None and current.state.commit == state.commit and not renew:
                txn.abort()
                return current
            fresh = Snapshot(self.databases, txn, state, pages)
            if current is not None:
                self._carry_over(current, fresh)
        except BaseException as error:
            self._renew = renew or self._renew
            if isinstance(error, lmdb.Error):
                raise storage_error("read", error) from error
            raise
        # In this order: an interrupt in between leaves a transaction to the collector, never a closed one in use.
        self._current = fresh
        if current is not None:
            current._supersede()
        return fresh

    def _begin(self, env: lmdb.Environment) -> tuple[lmdb.Transaction, Pages]:
        """A read transaction and its pages."""
        for _ in range(BEGIN_TRIES):
            txn = env.begin(buffers=True)
            try:
                if self._base < 0:
                    # LMDB maps the file once for as long as the environment is open.
                    self._base = _map_base(self.folder / "env" / "data.mdb")
                return txn, Pages(self._base, self.bytes_on_disk(), txn.id())
            except LookupError:
                # The writing process made two commits between the two lines: the next transaction is newer.
                txn.abort()
            except BaseException:
                txn.abort()
                raise
        raise StorageError("read: expected a transaction that stands still, got too many commits", retry_safe=True)

    def _state_of(self, txn: lmdb.Transaction) -> State:
        value = txn.get(b"state", db=self.databases["meta"])
        if value is None:
            raise StorageError(f"{self.folder}: expected a state, got none")
        return msgspec.msgpack.decode(unseal("meta", b"state", value), type=State)

    def _carry_over(self, old: Snapshot, fresh: Snapshot) -> None:
        """Take the directories of the snapshot before, with the blocks that were written since."""
        # Under the old snapshot's lock: its directories and its map must be taken over as they belong together.
        with old.lock:
            fresh.providers, fresh.holding = old.providers, old.holding
            if old.state.tables_commit == fresh.state.tables_commit:
                fresh.directories, fresh.lock = old.directories, old.lock
                return
            directories = dict(old.directories)
        changed = self._changes_between(old, fresh)
        if changed is None:
            fresh.providers, fresh.holding = _core.DirectoryMap(1), None
            return
        if fresh.holding is not None and not {table for table in changed if table & 1} <= directories.keys():
            # A by-person table that nobody has read may be a new one.
            fresh.holding = None
        fresh.directories.update(directories)
        for table, blocks in changed.items():
            if table in directories:
                found = self._find_blocks(fresh, table, sorted(blocks.items()))
                fresh.directories[table] = _core.patch_directory(directories[table], found)
        moved = [table >> 1 for table in changed if table & 1 and table >> 1 in fresh.providers.loaded()]
        if moved:
            fresh.providers = fresh.providers.copy(fresh.providers.size)
            for institution in moved:
                fresh.providers.set(institution, fresh.directories[(institution << 1) | 1])

    def _find_blocks(self, snapshot: Snapshot, table: int, blocks: list[tuple[int, int]]) -> list[tuple[int, int, int]]:
        """(prefix, depth) of blocks of a table, in order, to (prefix, depth, slot)."""
        first, last = blocks[0][0], blocks[-1][0]
        # One walk over the range where most of it changed, a descent a block where little did.
        if len(blocks) > FEW_BLOCKS:
            slots = dict(snapshot.blocks(table << 32 | first, table << 32 | last).tolist())
        else:
            keys = [table << 32 | prefix for prefix, _ in blocks]
            slots = {key: slot for one in keys for key, slot in snapshot.blocks(one, one).tolist()}
        found = []
        for prefix, depth in blocks:
            slot = slots.get(table << 32 | prefix)
            if slot is None:
                raise StorageError(f"block {table:08x}/{prefix:08x}: expected a block, got none")
            found.append((prefix, depth, slot))
        return found

    def _changes_between(self, old: Snapshot, fresh: Snapshot) -> dict[int, dict[int, int]] | None:
        """Table -> prefix -> depth of all blocks written since, or None where the lists do not reach back."""
        first, last = old.state.commit + 1, fresh.state.commit
        if fresh.state.tables_commit - old.state.commit > CHANGES_KEPT:
            return None
        changed: dict[int, dict[int, int]] = {}
        for key, value in fresh.items("changes", first.to_bytes(8, "big"), (last + 1).to_bytes(8, "big")):
            for table, prefix, depth in msgspec.msgpack.decode(unseal("changes", bytes(key), value)):
                changed.setdefault(table, {})[prefix] = depth
        return changed

    # -- writing

    @contextlib.contextmanager
    def commit(self, *, hurry: bool = False, counts: bool = True) -> Iterator[Commit]:
        """A durable transaction: what the block writes is on disk when the block has ended.

        Args:
            hurry: whether to go before whoever else waits to write; by one thread at a time.
            counts: whether it is one of the hub's commits; one that makes a database and puts nothing is not.

        Raises:
            StorageError: it was not kept; ``retry_safe`` says whether the same may be tried again.
        """
        env = self._check_usable()
        if self.readonly:
            raise RequestError("write: expected a hub opened for writing, got a read-only one")
        with self.turns.hurried() if hurry else self.turns.ordinary():
            if self.broken:
                raise StorageError(f"write: stopped after an earlier failure ({self.broken}); open the hub again")
            try:
                txn = env.begin(write=True, buffers=True)
            except lmdb.Error as error:
                raise storage_error("write", error) from error
            try:
                commit = Commit(self.databases, txn, self._state_of(txn))
                commit.state.commit += counts
                commit.state.turn = txn.id()
                yield commit
                if counts and self.at_commit is not None:
                    self.at_commit(commit)
                self._finish(commit)
                with self._snapshots:
                    self._advance()
            except lmdb.Error as error:
                self._renew = True
                txn.abort()
                raise self._failed(error) from error
            except BaseException:
                # It may be durable all the same: an interrupt can arrive right behind the commit.
                self._renew = True
                txn.abort()
                raise

    def _finish(self, commit: Commit) -> None:
        state = commit.state
        if commit.changed:
            state.tables_commit = state.commit
            commit.put_sealed("changes", state.commit.to_bytes(8, "big"), msgspec.msgpack.encode(commit.changed))
            self._forget_changes(commit)
        commit.put_state()
        # Before it is durable: an exception that arrives right behind it must not leave the old snapshot in use.
        self._renew = True
        began = time.perf_counter()
        commit.txn.commit()
        self.commit_times.add(time.perf_counter() - began)
        for name, compared in list(self._compared.items()):
            # What was right before and is changed by nobody but this commit is right.
            if compared == commit.sums_before.get(name, 0):
                self._compared[name] = state.sums.get(name, 0)

    def _forget_changes(self, commit: Commit) -> None:
        below = commit.state.commit - CHANGES_KEPT
        with commit.txn.cursor(db=self.databases["changes"]) as cursor:
            while cursor.first() and int.from_bytes(bytes(cursor.key()), "big") < below:
                commit.delete("changes", bytes(cursor.key()))

    def _failed(self, error: lmdb.Error) -> HubError:
        failure: StorageError = storage_error("write", error)
        if not failure.retry_safe and self._is_full():
            # LMDB reports a write that was cut short by a full disk as an input/output error.
            failure = full_error("write")
        try:
            self._check_usable().begin(write=True).abort()
        except lmdb.Error:
            # The meta page itself was hit: LMDB has given up this environment.
            failure = StorageError(f"write: {error}")
        self.full += isinstance(failure, FullError)
        if not failure.retry_safe:
            # After a failed sync nobody knows which pages reached the disk: no more writing until reopened.
            self.broken = str(error)
        return failure

    def _is_full(self) -> bool:
        found = os.statvfs(self.folder)
        if found.f_bavail * found.f_frsize < FULL_BELOW_BYTES:
            return True
        # A quota, or a bound of the file's size, is no want of the file system's: only who asks for some learns of it.
        try:
            handle = os.open(self.folder / "env" / "data.mdb", os.O_RDWR)
            try:
                os.posix_fallocate(handle, os.fstat(handle).st_size, FULL_BELOW_BYTES)
            finally:
                os.close(handle)
        except OSError as error:
            return error.errno in FULL
        return False

    def _advance(self) -> None:
        """Make the snapshot of what was just committed, if there was one before."""
        if self._current is not None:
            self._renew = True
            self._newest()

    def compare_sum(self, snapshot: Snapshot, name: str) -> None:
        """Make sure that a snapshot shows every value of a small database, and none that is old or damaged.

        A look-up that finds nothing proves nothing by itself: LMDB's own pages have no checksum, and a damaged one can
        hide values. All of them are read when a process first asks, and again where another process has changed them:
        about two microseconds a value.

        Raises:
            StorageError: a value is damaged, or their sum is another than what was written last.
        """
        expected = snapshot.state.sums.get(name, 0)
        if self._compared.get(name) == expected:
            return
        found, first = 0, b""
        while items := snapshot.items(name, first, limit=COMPARED_AT_A_TIME):
            for key, value in items:
                unseal(name, key, value)
                found += value_sum(key, value)
            first = items[-1][0] + b"\0"
        if found & SUM_MASK != expected:
            raise StorageError(f"{name}: expected the sum of what was written last, got another")
        self._compared[name] = expected

    def may_have(self, name: str) -> bool:
        """Whether a database may have a value; a glance that costs nothing, for what hardly any hub has."""
        current = self._current
        return current is None or self.readonly or self._renew or bool(current.state.sums.get(name, 0))

    def map_use(self) -> tuple[int, int]:
        """Bytes of the map that are in use, free pages included, and of all of it."""
        info = self._check_usable().info()
        return (info["last_pgno"] + 1) * 4096, info["map_size"]

    def bytes_on_disk(self) -> int:
        """What the environment's file takes, free pages included."""
        return os.stat(self._data).st_size

    def request_database(self, day: int, *, create: bool) -> str | None:
        """The name of a day's database of request ids, opened; None where it does not exist.

        To be called before the snapshot or transaction in which it is used.
        """
        name = f"requests.{day}"
        if name in self.databases:
            return name
        env = self._check_usable()
        if create and not self.readonly and day not in self.request_days():
            # In a transaction of the store's own, so that the state names it.
            with self.commit(counts=False) as commit:
                made = env.open_db(name.encode(), txn=commit.txn)
            with self._snapshots:
                self.databases[name] = made
                self.request_days().add(day)
            return name
        # ``writer`` before ``_snapshots``, as everywhere. Opening a database begins a write transaction, and py-lmdb
        # waits for it without letting go of the GIL: with one under way in another thread, both would wait for ever.
        with self.writer, self._snapshots:
            if name in self.databases:
                return name
            try:
                self.databases[name] = env.open_db(name.encode(), create=False)
            except (lmdb.NotFoundError, lmdb.ReadonlyError):
                return None
            except lmdb.Error as error:
                self._renew = True
                raise self._failed(error) from error
            # LMDB knows a database in those transactions only that began after it was opened.
            self._renew = True
        return name

    def request_days(self) -> set[int]:
        """The days that have a database of request ids."""
        # Only the writing process makes them: there the set is kept, elsewhere it is read each time.
        if self._request_days is None or self.readonly:
            # Under the lock under which one is added: a set that was read before would take the place of a newer one,
            # and the requests of that day be unknown until the folder is opened again.
            with self._snapshots:
                if self._request_days is None or self.readonly:
                    with self.snapshot() as snapshot, snapshot.txn.cursor() as cursor:
                        names = [bytes(key).decode() for key in cursor.iternext(values=False)]
                    self._request_days = {int(name[9:]) for name in names if name.startswith("requests.")}
                return self._request_days
        return self._request_days

    def drop_request_database(self, day: int) -> None:
        """Forget all request ids of a day."""
        name = self.request_database(day, create=False)
        if name is not None:
            with self.commit() as commit:
                commit.drop(name, delete=True)
            del self.databases[name]
            self.request_days().discard(day)


def _reserve_lock_file(path: Path) -> None:
    """Give LMDB's lock file its room: LMDB maps it and stores into it, which on a full disk would end the process."""
    if not hasattr(os, "posix_fallocate"):
        return
    handle = os.open(path, os.O_RDWR | os.O_CREAT, 0o600)
    try:
        if os.fstat(handle).st_size < LOCK_FILE_BYTES:
            os.posix_fallocate(handle, 0, LOCK_FILE_BYTES)
    finally:
        os.close(handle)


def _map_base(path: Path) -> int:
    """Where a file's first page is mapped in this process (Linux: /proc/self/maps).

    Raises:
        StorageError: the system does not tell.
    """
    found = os.stat(path)
    wanted = (f"{os.major(found.st_dev):02x}:{os.minor(found.st_dev):02x}", str(found.st_ino))
    with open("/proc/self/maps", encoding="utf-8", errors="surrogateescape") as lines:
        for line in lines:
            fields = line.split(maxsplit=5)
            if len(fields) > 4 and (fields[3], fields[4]) == wanted and int(fields[2], 16) == 0:
                return int(fields[0].split("-")[0], 16)
    raise StorageError("environment: expected its map in /proc/self/maps, found none")


_open_stores: weakref.WeakSet[Store] = weakref.WeakSet()


def _after_fork_in_child() -> None:
    # The child must not keep the parent's lock alive, nor touch its environment.
    for store in list(_open_stores):
        if store._lock_file is not None:
            os.close(store._lock_file)
            store._lock_file = None


os.register_at_fork(after_in_child=_after_fork_in_child)
