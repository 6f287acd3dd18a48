"""The record log of a folder: its tree as it is stored, its checkpoints and head, its proofs.

Order of a commit (docs/log.md): records, entries, nodes, size and peaks are synced -> the checkpoint is signed -> the
head is synced -> the answer leaves. Only what the head covers is proven: a reader never signs what it finds.
"""

from __future__ import annotations

import contextlib
import logging
import os
import threading
import time
from collections.abc import Sequence
from pathlib import Path
from time import monotonic

import numpy as np
import numpy.typing as npt

from hub import _hash, _proofs
from hub.errors import BusyError, ProofError, RequestError, StorageError, TamperError
from hub.records.kept import MINUTE_S, keep_checkpoint, kept_checkpoints
from hub.storage.snapshot import Commit, Snapshot
from hub.storage.times import Times
from hub.store import Store
from hub.tlog.checkpoint import HeadFile, LogKey
from hub.tlog.entry import HASH_BYTES
from hub.tlog.tree import EMPTY_ROOT, consistency_path, inclusion_paths, root, root_from_peaks
from hub.tlog.verify import (
    Checkpoint,
    read_checkpoint,
    verify_checkpoint,
    verify_consistency,
    verify_inclusion,
)

logger = logging.getLogger("hub")

SEAL_BYTES = 8

RENEW_S = 1.0
"""After how long a long reader takes a new snapshot."""


class StoredTree:
    """The tree of one snapshot, as far as one checkpoint goes: what proofs and exports read.

    Values are not checked here: what is made of them is compared with the root of a signed checkpoint before anybody
    gets it.
    """

    def __init__(self, snapshot: Snapshot, checkpoint: str, size: int, signed: bytes = EMPTY_ROOT) -> None:
        """Args: signed: the root that the checkpoint has."""
        self._snapshot = snapshot
        self.checkpoint = checkpoint
        self.size = size
        self.signed = signed

    def __repr__(self) -> str:
        return f"StoredTree(size={self.size})"

    def entries(self, first: int, count: int) -> bytes:
        """Entries from ``first`` on, count * 32 bytes."""
        return self._read(b"entries", b"", first, count)

    def leaf_hashes(self, first: int, count: int) -> bytes:
        """Leaf hashes of the entries from ``first`` on, count * 32 bytes."""
        entries = np.frombuffer(self.entries(first, count), dtype=np.uint8).reshape(-1, HASH_BYTES)
        return _hash.hash_leaves(entries).tobytes()

    def nodes(self, level: int, first: int, count: int) -> bytes:
        """Complete nodes of level 4, 8, 12 ... from number ``first`` on, count * 32 bytes."""
        return self._read(b"nodes", level.to_bytes(1, "big"), first, count)

    def _read(self, name: bytes, prefix: bytes, first: int, count: int) -> bytes:
        parts = []
        while count:
            found = self._snapshot.pages.at_or_before(name, prefix + first.to_bytes(8, "big"))
            if found is None or len(found[0]) != len(prefix) + 8 or not found[0].startswith(prefix):
                raise StorageError(f"{name.decode()} from {first}: expected a value, got none")
            key, value = found
            at = SEAL_BYTES + HASH_BYTES * (first - int.from_bytes(key[len(prefix) :], "big"))
            part = bytes(value[at : at + HASH_BYTES * count])
            if not part or len(part) % HASH_BYTES:
                raise StorageError(f"{name.decode()} from {first}: expected whole hashes, got something else")
            parts.append(part)
            first += len(part) // HASH_BYTES
            count -= len(part) // HASH_BYTES
        return b"".join(parts)


class RenewedTree(StoredTree):
    """The same for whoever takes long, to be closed: it renews its snapshot, since an old one keeps freed pages alive.

    Entries and nodes never change, so that every later snapshot shows the same ones.
    """

    def __init__(self, store: Store, checkpoint: str, size: int) -> None:
        self._store, self._held = store, contextlib.ExitStack()
        super().__init__(self._renew(), checkpoint, size)

    def _renew(self) -> Snapshot:
        self._held.close()
        self._until = time.monotonic() + RENEW_S
        return self._held.enter_context(self._store.snapshot())

    def _read(self, name: bytes, prefix: bytes, first: int, count: int) -> bytes:
        if time.monotonic() > self._until:
            self._snapshot = self._renew()
        return super()._read(name, prefix, first, count)

    def close(self) -> None:
        """Let go of the snapshot."""
        self._held.close()


def prove_slowly(
    tree: StoredTree, indexes: Sequence[int], leaves: npt.NDArray[np.uint8], root: bytes
) -> list[bytes]:
    """What ``_proofs`` does, where it has no libcrypto."""
    paths = inclusion_paths(tree, indexes, tree.size)
    for index, leaf, path in zip(indexes, leaves, paths, strict=True):
        try:
            verify_inclusion(leaf.tobytes(), index, tree.size, path, root)
        except ProofError:
            raise StorageError(f"record {index}: expected a path to the signed root, got a damaged tree") from None
    return [b"".join(path) for path in paths]


def prove_consistency_slowly(tree: StoredTree, old: int, new: int, signed: bytes) -> list[bytes]:
    """What ``_proofs`` does, where it has no libcrypto; its roots are made anew from what is stored."""
    path = consistency_path(tree, old, new)
    try:
        new_root = root(tree, new)
        verify_consistency(old, root(tree, old), new, new_root, path)
        verify_consistency(new, new_root, tree.size, signed, consistency_path(tree, new, tree.size))
    except ProofError:
        raise StorageError(
            f"log from {old} to {new} records: expected a path to the signed root, got a damaged tree"
        ) from None
    return path


def default_head(folder: Path) -> Path:
    """Where the head lies: beside the folder, so that putting back an older folder does not put back the head."""
    resolved = folder.resolve()
    return resolved.with_name(resolved.name + ".head")


class Log:
    """The record log of an open store."""

    def __init__(self, store: Store, *, head: str | os.PathLike[str] | None, origin: str) -> None:
        self._store = store
        self._key = LogKey(store.keys.log_seed, origin)
        self._path = Path(head) if head is not None else default_head(store.folder)
        self._head = HeadFile(self._path)
        self._lock = threading.Lock()
        """Held while the head is read or written."""
        self._published = 0
        self.publish_times = Times()
        """How long it took to make a checkpoint durable."""
        self._latest: tuple[str, int] | None = None
        """Note and time of what this process signed last: durable, so that a commit may keep it."""
        self._kept_minute = -1
        if not store.readonly:
            store.at_commit = self._keep
        self._verified: tuple[str, Checkpoint] | None = None
        self.verifier_key = self._key.verifier_key
        """The log's public key, as a C2SP vkey."""

    def __repr__(self) -> str:
        return f"Log({self._key.origin!r})"

    def close(self) -> None:
        """Let go of the head file."""
        with self._lock:
            self._head.close()

    def check_head(self) -> None:
        """Compare the store with its head, when it is opened; a writer then covers what the head does not yet.

        Raises:
            TamperError: the store is shorter than the head, has another root there, or the head is another log's.
            StorageError: the head or the tree could not be read.
        """
        with self._store.snapshot() as snapshot:
            empty = not snapshot.state.records
        try:
            head = self._read_head()
        except TamperError:
            if not empty:
                raise
            # Another hub was removed and left its head, or one of ours lost everything: then it is in our name.
            self._leave_foreign()
            head = None
        self._compare(None if head is None else head[1])
        if not self._store.readonly and not empty:
            self.publish()

    def check_against_head(self) -> None:
        """Compare the store with its head.

        Raises:
            TamperError: as :meth:`check_head`. StorageError: a slot of the head is damaged.
        """
        head = self._read_head()
        self._compare(None if head is None else head[1])
        if self._head.damaged:
            raise StorageError(f"head: expected whole slots, got slot {self._head.damaged[0]} damaged")

    def _compare(self, head: Checkpoint | None) -> None:
        with self._store.snapshot() as snapshot:
            size = snapshot.state.records
            if head is None:
                if size:
                    logger.warning("head: expected the file %s, found none: nothing vouches for the length", self._path)
            elif size < head.size:
                raise TamperError(f"log: expected at least {head.size} records as its head says, got {size}")
            elif head.size and root(StoredTree(snapshot, "", size), head.size) != head.root:
                raise TamperError(f"log: expected the root that its head has at {head.size} records, got another")
            if root_from_peaks(size, snapshot.state.peaks) != root(StoredTree(snapshot, "", size), size):
                raise TamperError(f"log: expected the root of its peaks at {size} records, got another")

    def publish(self) -> None:
        """Sign a checkpoint over everything that is durable, and make it the head. Called before an answer leaves.

        Raises:
            StorageError: it could not be written: nothing may be answered.
            TamperError: the head is ahead of the store.
        """
        with self._lock:
            with self._store.snapshot() as snapshot:
                size, peaks, time = snapshot.state.records, snapshot.state.peaks, snapshot.state.time
            if size and size != self._published:
                note = self._key.sign(size, root_from_peaks(size, peaks))
                began = monotonic()
                try:
                    self._head.write(size, note)
                except StorageError as error:
                    if not error.retry_safe:
                        # As after a failed sync of the environment: no more writing until it is opened again.
                        self._store.broken = str(error)
                    raise
                self.publish_times.add(monotonic() - began)
                self._published = size
                self._latest = note, time

    def _keep(self, commit: Commit) -> None:
        """Let a commit carry the checkpoint before it, once a minute. Called under the writer's lock."""
        latest = self._latest
        if latest is not None and latest[1] // MINUTE_S > self._kept_minute:
            keep_checkpoint(commit, *latest)
            # If this commit fails, the next minute's is kept: the head has this one meanwhile.
            self._kept_minute = latest[1] // MINUTE_S

    @property
    def exported(self) -> Path:
        """The file that says which checkpoints were exported."""
        return self._path.with_name(self._path.name + ".exported")

    def checkpoints(self, snapshot: Snapshot) -> list[tuple[int | None, str]]:
        """The checkpoints that are kept, by size, each with the time of its last record where that is known.

        Raises:
            TamperError: one is not signed by this log's key. StorageError: one is damaged.
        """
        return kept_checkpoints(snapshot, self.exported, self.verifier_key)

    def check_kept(self) -> None:
        """Compare every kept checkpoint with the tree.

        Raises:
            TamperError: the tree does not lead to one. StorageError: one is damaged.
        """
        with self._store.snapshot() as snapshot:
            size, kept = snapshot.state.records, self.checkpoints(snapshot)
        with contextlib.closing(RenewedTree(self._store, "", size)) as tree:
            for _, note in kept:
                told = read_checkpoint(note)
                if told.size > size or root(tree, told.size) != told.root:
                    raise TamperError(f"log: expected the root that was signed at {told.size} records, got another")

    def checkpoint(self) -> str:
        """The latest checkpoint that was made durable; of an empty log one over no records."""
        with self._lock:
            found = self._head.read()
        return self._key.sign(0, EMPTY_ROOT) if found is None else found[1]

    def tree(self, snapshot: Snapshot) -> StoredTree:
        """The tree of a snapshot up to the latest checkpoint that it holds.

        Raises:
            TamperError: the head is ahead of the store, or not this log's.
        """
        head = self._read_head()
        if head is None:
            return StoredTree(snapshot, self._key.sign(0, EMPTY_ROOT), 0)
        note, covered = head
        if covered.size > snapshot.state.records:
            raise BusyError("log: expected a snapshot that its head covers, got an older one")
        return StoredTree(snapshot, note, covered.size, covered.root)

    def renewed_tree(self) -> RenewedTree:
        """The tree up to the latest checkpoint, for whoever reads for long; to be closed."""
        with self._store.snapshot() as snapshot:
            tree = self.tree(snapshot)
        return RenewedTree(self._store, tree.checkpoint, tree.size)

    def prove(
        self, snapshot: Snapshot, indexes: Sequence[int], leaves: npt.NDArray[np.uint8]
    ) -> tuple[str, list[bytes]]:
        """Paths of some records to the latest checkpoint; each is checked before it is given out.

        Args:
            leaves: uint8[N, 32], of the records at ``indexes``.

        Returns:
            (checkpoint, a path for each index: 32 bytes a step).

        Raises:
            StorageError: what is stored does not lead to the signed root: a damaged entry or node, it is named.
            BusyError: a record is so new that no checkpoint covers it yet.
        """
        tree = self.tree(snapshot)
        if indexes and max(indexes) >= tree.size:
            raise BusyError("proof: expected a record that the checkpoint covers, got a newer one")
        if _proofs.NATIVE:
            paths = _proofs.Paths(snapshot.pages, tree.size)
            return tree.checkpoint, paths.prove(np.array(indexes, dtype=np.uint64), leaves, tree.signed)
        return tree.checkpoint, prove_slowly(tree, indexes, leaves, tree.signed)

    def consistency(self, snapshot: Snapshot, old_size: int, new_size: int) -> list[bytes]:
        """RFC 6962 consistency proof between two sizes that the head covers; it leads to the signed root.

        Raises:
            RequestError: not 0 <= old_size <= new_size <= size.
            StorageError: what is stored does not lead to the signed root.
        """
        tree = self.tree(snapshot)
        for value in (old_size, new_size):
            if isinstance(value, bool) or not isinstance(value, int):
                raise RequestError(f"size: expected a number, got {type(value).__name__}")
        if not 0 <= old_size <= new_size <= tree.size:
            raise RequestError(f"size: expected 0 <= old <= new <= {tree.size}, got others")
        if old_size in (0, new_size):
            return []
        signed = tree.signed
        if not _proofs.NATIVE:
            return prove_consistency_slowly(tree, old_size, new_size, signed)
        if new_size == tree.size:
            return _proofs.Paths(snapshot.pages, new_size).consistency(old_size, signed)[0]
        path, _, new_root = _proofs.Paths(snapshot.pages, new_size).consistency(old_size)
        # Nobody signed this size's root here: what the path leads to must be what the signed root has under it.
        if _proofs.Paths(snapshot.pages, tree.size).consistency(new_size, signed)[1] != new_root:
            raise StorageError(f"log from {old_size} to {new_size} records: expected one root, got a damaged tree")
        return path

    def _leave_foreign(self) -> None:
        """Put another log's head out of the way of an empty log.

        Raises:
            TamperError: it names this log, and yet the log is empty.
        """
        with self._lock:
            found = self._head.read()
            if found is not None and read_checkpoint(found[1]).origin == self._key.origin:
                raise TamperError("head: expected one of this log, got one in its name with another key")
            if not self._store.readonly:
                logger.warning("head: %s was another log's, this one is empty: it makes its own", self._path)
                self._head.close()
                self._path.unlink(missing_ok=True)
                self.exported.unlink(missing_ok=True)

    def _read_head(self) -> tuple[str, Checkpoint] | None:
        """The latest checkpoint and what it says."""
        with self._lock:
            found = self._head.read()
            damaged = self._head.damaged
        if found is None:
            return None
        if damaged:
            logger.warning("head: slot %s is damaged, the other one counts", ", ".join(map(str, damaged)))
        # Its signature is verified once: every page of a history asks for it.
        verified = self._verified
        if verified is None or verified[0] != found[1]:
            try:
                verified = self._verified = found[1], verify_checkpoint(found[1], self.verifier_key)
            except ProofError as error:
                raise TamperError(f"head: expected one of this log, got another ({error})") from None
        return verified
