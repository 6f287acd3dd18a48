"""The log as static files that any web server or mirror can serve (c2sp.org/tlog-tiles).

| path | what |
|---|---|
| ``checkpoint`` | the signed note, written last |
| ``tile/<L>/<N>`` | 256 hashes of level 8 * L; ``.p/<W>`` behind the name of one with W of them |
| ``tile/entries/<N>`` | 256 entries, each u16 big-endian length (32) and the entry; ``.p/<W>`` likewise |

N is written in groups of three digits, all but the last with an ``x`` before them: 1234067 is ``x001/x234/067``.

Crash order: every file is written whole under another name, synced and renamed; the folders are synced; then the
checkpoint follows in the same way. So a checkpoint that is there has all its tiles, and an export that was cut short
is taken up by the next one. Full tiles never change; a partial tile goes when the full one is there.
"""

from __future__ import annotations

import fcntl
import os
import shutil
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple, Protocol

from hub.errors import BusyError, ProofError, RequestError, StorageError, TamperError
from hub.storage.sealed import storage_error
from hub.tlog.check import TILE_HASHES, TILE_LEVELS, tile_path
from hub.tlog.entry import HASH_BYTES
from hub.tlog.tree import Hashes, hash_pairs, root
from hub.tlog.verify import NOTE_BYTES_MAX, Checkpoint, read_checkpoint

TILES_PER_READ = 64
"""Tiles read from the source at once: half a megabyte of hashes."""

FILES_UNSYNCED_MAX = 256
SYNCS_AT_ONCE = 8

SCRATCH = ".writing"
"""A folder in the export's own, where files are written before they get their names; gone after an export."""


class Source(Hashes, Protocol):
    """What an export reads: the tree, its entries, and a checkpoint of at most its size."""

    @property
    def checkpoint(self) -> str:
        """A signed note."""

    def entries(self, first: int, count: int) -> bytes:
        """Entries from ``first`` on, count * 32 bytes."""


class Exported(NamedTuple):
    """What an export did: tree size before (0 = nothing was there) and after, files written."""

    old_size: int
    size: int
    files: int


def export_tiles(
    source: Source, folder: str | os.PathLike[str], *, progress: Callable[[int], None] | None = None
) -> Exported:
    """Bring an exported log up to the source's checkpoint; only what is new is written.

    Args:
        source: read through one checkpoint; it may grow meanwhile. Memory: about 5 MB.
        folder: made if it is not there; an existing one must be empty or hold an earlier export of this log.
        progress: called with the entries exported so far, the earlier ones included.

    Raises:
        RequestError: the folder holds something else, or another log.
        BusyError: another export is writing there.
        TamperError: the folder holds a longer or another tree of this log, or the source contradicts its checkpoint.
        StorageError: it could not be written; what was exported before is whole, and the next export goes on.
    """
    note = source.checkpoint
    new = read_checkpoint(note)
    if source.size < new.size or root(source, new.size) != new.root:
        raise TamperError(f"export: expected the checkpoint's root over {new.size} entries, got another")
    target = Path(folder)
    try:
        target.mkdir(parents=True, exist_ok=True)
        with _hold(target):
            old = _read_exported(target)
            _check_earlier(source, target, old=old, new=new)
            old_size = old.size if old else 0
            with _Writer(target) as writer:
                _write_bundles(source, writer, old_size, new.size, progress)
                for level in range(TILE_LEVELS):
                    if new.size >> TILE_LEVELS * level:
                        _write_level(source, writer, level, old_size, new.size)
                writer.flush()
                if old is None or (target / "checkpoint").read_bytes() != note.encode():
                    writer.write("checkpoint", note.encode())
                else:
                    # The export before may not have come to sync its name.
                    writer.name_again(target)
                writer.flush()
            _drop_partials(target, old_size, new.size)
    except OSError as error:
        raise storage_error("export tiles", error) from error
    return Exported(old_size, new.size, writer.files)


@contextmanager
def _hold(target: Path) -> Iterator[None]:
    handle = os.open(target, os.O_RDONLY)
    try:
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise BusyError("export: another one is writing into this folder") from None
        yield
    finally:
        os.close(handle)


def _read_exported(target: Path) -> Checkpoint | None:
    """The checkpoint that is there; None in a folder that holds none and nothing else but a cut export."""
    try:
        with open(target / "checkpoint", "rb") as file:
            raw = file.read(NOTE_BYTES_MAX + 1)
    except FileNotFoundError:
        names = set(os.listdir(target)) - {"tile", SCRATCH}
        if names:
            raise RequestError("export: expected an empty folder or an exported log, got other files") from None
        return None
    try:
        return read_checkpoint(raw)
    except ProofError as error:
        raise RequestError(f"export: expected an exported log in the folder, got another checkpoint: {error}") from None


def _check_earlier(source: Source, target: Path, *, old: Checkpoint | None, new: Checkpoint) -> None:
    if old is None:
        return
    if old.origin != new.origin:
        raise RequestError("export: expected a folder of this log, got one of another origin")
    if old.size > new.size:
        raise TamperError(f"export: expected an exported tree of at most {new.size} entries, got {old.size}")
    # The source's own old root says the same as a consistency proof between the two, and covers the same hashes.
    if root(source, old.size) != old.root:
        raise TamperError(f"export: expected the exported root over {old.size} entries, got another: the log is forked")


class _Writer:
    """Writes files whole: another name, sync, rename; then syncs the folders that got new names.

    Up to ``FILES_UNSYNCED_MAX`` files are synced together: the disk takes eight syncs at once in little more time than
    one (measured: 3.2 ms a file one by one, 0.2 ms by eight threads).
    """

    def __init__(self, target: Path) -> None:
        self._target = target
        self._scratch = target / SCRATCH
        self._written: list[tuple[int, Path, Path]] = []  # descriptor, scratch name, name
        self._unsynced: set[Path] = set()
        self._made: set[Path] = {target}
        self._pool = ThreadPoolExecutor(SYNCS_AT_ONCE)
        self.files = 0

    def __enter__(self) -> _Writer:
        # What a cut export left there has no name that counts.
        shutil.rmtree(self._scratch, ignore_errors=True)
        self._scratch.mkdir()
        return self

    def __exit__(self, *error: object) -> None:
        self._pool.shutdown()
        for handle, _, _ in self._written:
            os.close(handle)
        shutil.rmtree(self._scratch, ignore_errors=True)

    def write(self, name: str, content: bytes) -> None:
        """Write a file; it has its name after :meth:`flush`."""
        path = self._target / name
        self._make_folder(path.parent)
        scratch = self._scratch / str(len(self._written))
        handle = os.open(scratch, os.O_CREAT | os.O_TRUNC | os.O_WRONLY, 0o644)
        self._written.append((handle, scratch, path))
        view = memoryview(content)
        while view:
            view = view[os.write(handle, view) :]
        if len(self._written) >= FILES_UNSYNCED_MAX:
            self.flush()

    def flush(self) -> None:
        """Sync the files written and give them their names, then sync the folders."""
        list(self._pool.map(os.fsync, [handle for handle, _, _ in self._written]))
        for _, scratch, path in self._written:
            scratch.rename(path)
            self._unsynced.add(path.parent)
        self.files += len(self._written)
        while self._written:
            os.close(self._written.pop()[0])
        for folder in self._unsynced:
            handle = os.open(folder, os.O_RDONLY)
            try:
                os.fsync(handle)
            finally:
                os.close(handle)
        self._unsynced.clear()

    def write_once(self, name: str, content: bytes) -> None:
        """Write a file that never changes; one that a cut export left must hold the same."""
        path = self._target / name
        try:
            with open(path, "rb") as file:
                there = file.read(len(content) + 1)
        except (FileNotFoundError, NotADirectoryError):
            self.write(name, content)
            return
        if there != content:
            raise TamperError(f"export: expected the same bytes in {name}, got others: the log is forked or damaged")
        # The cut export may not have come to sync the name.
        self.name_again(path.parent)

    def name_again(self, folder: Path) -> None:
        """Have :meth:`flush` sync a folder whose names are there and may not be durable."""
        self._unsynced.add(folder)

    def _make_folder(self, folder: Path) -> None:
        if folder in self._made:
            return
        if not folder.is_dir():
            self._make_folder(folder.parent)
            folder.mkdir(exist_ok=True)
            self._unsynced.add(folder.parent)
        if len(self._made) > 4096:
            self._made = {self._target}
        self._made.add(folder)


def _write_bundles(
    source: Source, writer: _Writer, old_size: int, size: int, progress: Callable[[int], None] | None
) -> None:
    for first, count in _spans(old_size, size):
        raw = source.entries(first, count)
        _check_length("entries", raw, count)
        length = HASH_BYTES.to_bytes(2, "big")
        for at in range(0, count, TILE_HASHES):
            part = raw[at * HASH_BYTES : (at + TILE_HASHES) * HASH_BYTES]
            width = len(part) // HASH_BYTES
            bundle = b"".join([length + part[i : i + HASH_BYTES] for i in range(0, len(part), HASH_BYTES)])
            writer.write_once(tile_path("entries", (first + at) // TILE_HASHES, width), bundle)
        if progress:
            progress(first + count)


def _write_level(source: Source, writer: _Writer, level: int, old_size: int, size: int) -> None:
    shift = TILE_LEVELS * level
    for first, count in _spans(old_size >> shift, size >> shift):
        raw = source.nodes(shift, first, count) if level else source.leaf_hashes(first, count)
        _check_length("hashes", raw, count)
        full = count // TILE_HASHES
        parents = source.nodes(shift + TILE_LEVELS, first // TILE_HASHES, full) if full else b""
        for at in range(0, count, TILE_HASHES):
            tile = raw[at * HASH_BYTES : (at + TILE_HASHES) * HASH_BYTES]
            number = at // TILE_HASHES
            if number < full and _fold(tile) != parents[number * HASH_BYTES : (number + 1) * HASH_BYTES]:
                raise TamperError(f"export: expected the node over tile {first // TILE_HASHES + number} of level "
                                  f"{level}, got another")  # fmt: skip
            width = len(tile) // HASH_BYTES
            writer.write_once(tile_path(level, first // TILE_HASHES + number, width), tile)


def _spans(old: int, new: int) -> Iterator[tuple[int, int]]:
    """(first, count) of the hashes whose tiles gained something, from a tile's beginning, a bounded number each."""
    if old == new:
        return
    for first in range(old - old % TILE_HASHES, new, TILES_PER_READ * TILE_HASHES):
        yield first, min(TILES_PER_READ * TILE_HASHES, new - first)


def _fold(tile: bytes) -> bytes:
    while len(tile) > HASH_BYTES:
        tile = hash_pairs(tile)
    return tile


def _check_length(what: str, raw: bytes, count: int) -> None:
    if len(raw) != count * HASH_BYTES:
        raise StorageError(f"export: expected {count} {what} of {HASH_BYTES} bytes, got {len(raw)} bytes")


def _drop_partials(target: Path, old_size: int, size: int) -> None:
    """Remove the partial tiles of the old checkpoint that have become full; the new one does not need them."""
    for level in ("entries", *range(TILE_LEVELS)):
        shift = TILE_LEVELS * level if isinstance(level, int) else 0
        number = (old_size >> shift) // TILE_HASHES
        if (old_size >> shift) % TILE_HASHES and (size >> shift) // TILE_HASHES > number:
            shutil.rmtree(target / f"{tile_path(level, number)}.p", ignore_errors=True)
