"""Build the recorder of file operations, read its log, and rebuild a folder as a loss of power would leave it.

``build()`` compiles ``iolog.c``; ``environment()`` is what a process to be recorded needs. ``read_log()`` gives
its operations in order; the byte format stands in ``iolog.c``. :class:`Disk` plays them on two copies of the
folder, what the process sees and what a loss of power leaves, by these rules, the strictest that POSIX allows:

* a write or a truncation is durable from the end of a sync of its file that began after it, or at once
  on a descriptor with O_DSYNC, which makes only its own bytes durable;
* a name (created, renamed, removed) is durable from the end of a sync of its folder; syncing a file
  does not make its name durable;
* of what is not yet durable any part may survive: each piece of 512 bytes, each length, each change of
  a name for itself (a rename is one change).

Use::

    library = iolog.build(folder)
    env = iolog.environment(library, root=hub_parent, log=file, mark_fd=1)
    ...                                                   # run a process with env; it writes marks to fd 1
    disk = iolog.Disk(hub_parent, empty=True)             # or made from a folder before the process runs
    for event in iolog.read_log(file):
        disk.apply(event)
        if event.operation is iolog.Operation.MARK: iolog.write_image(disk.durable(), elsewhere)
"""

from __future__ import annotations

import contextlib
import enum
import os
import random
import shlex
import struct
import subprocess
import sysconfig
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

SOURCE = Path(__file__).with_name("iolog.c")
HEAD = struct.Struct("<IBBHHHIIiQqQ")
MAGIC = 0x474C4F49
SECTOR_BYTES = 512
"""What a disk writes whole or not at all."""


class Operation(enum.IntEnum):
    """What one line of the log says; the numbers are those of iolog.c."""

    OPEN = 1
    WRITE = 2
    SYNC_BEGIN = 3
    SYNC_END = 4
    TRUNCATE = 5
    RENAME = 6
    UNLINK = 7
    MKDIR = 8
    LINK = 9
    MARK = 10
    MAP = 11
    FAULT = 12


CREATED = 1
EMPTIED = 2
DURABLE = 4
CALLS = ("open", "write", "sync", "truncate", "rename", "unlink", "mkdir", "link")
"""Kinds of calls by their numbers in iolog.c, which the inode of a FAULT is."""


class LogError(Exception):
    """The log cannot be read, or contradicts the folder that it was taken from."""


@dataclass(slots=True)
class Event:
    """One operation, as logged.

    Attributes:
        flags: CREATED or EMPTIED of an OPEN, DURABLE of a WRITE.
        offset: of a write; the length of a truncation; the number that joins the two halves of a sync.
        path, path2: relative to the recorded folder.
        data: the bytes written or the acknowledgement.
    """

    operation: Operation
    flags: int
    process: int
    thread: int
    error: int
    inode: int
    offset: int
    path: str
    path2: str
    data: bytes


def find_compiler() -> list[str] | None:
    """Name the C compiler as a command: $CC, else Python's own, else cc; None when there is none."""
    for command in (os.environ.get("CC"), sysconfig.get_config_var("CC"), "cc"):
        words = shlex.split(command or "")
        if words:
            with contextlib.suppress(OSError):
                if subprocess.run([words[0], "--version"], capture_output=True).returncode == 0:
                    return words
    return None


def build(folder: Path) -> Path:
    """Compile the recorder into ``folder`` and return its path.

    Raises:
        LogError: no compiler, or it refused the source.
    """
    compiler = find_compiler()
    if compiler is None:
        raise LogError("build iolog: expected a C compiler (cc or $CC), got none")
    library = folder / "iolog.so"
    flags = ["-std=gnu11", "-O2", "-Wall", "-Wextra", "-shared", "-fPIC", "-pthread"]
    done = subprocess.run([*compiler, *flags, "-o", str(library), str(SOURCE)], capture_output=True, text=True)
    if done.returncode != 0:
        raise LogError(f"build iolog: {done.stderr.strip()}")
    return library


def environment(
    library: Path, *, root: Path, log: Path, mark_fd: int | None = None, fail: str | None = None
) -> dict[str, str]:
    """Environment variables under which a process is recorded; ``fail`` as ``iolog_fail`` in iolog.c takes it."""
    env = {"LD_PRELOAD": str(library), "HUB_IOLOG_ROOT": str(root), "HUB_IOLOG_FILE": str(log)}
    if mark_fd is not None:
        env["HUB_IOLOG_MARK_FD"] = str(mark_fd)
    if fail is not None:
        env["HUB_IOLOG_FAIL"] = fail
    return env


def read_log(path: Path) -> Iterator[Event]:
    """Yield the operations of a log in order.

    Raises:
        LogError: a record is cut or is none.
    """
    with open(path, "rb") as file:
        while head := file.read(HEAD.size):
            if len(head) != HEAD.size:
                raise LogError(f"{path.name}: expected a head of {HEAD.size} bytes, got {len(head)}")
            magic, operation, flags, p, q, _, process, thread, error, inode, offset, n = HEAD.unpack(head)
            body = file.read(p + q + n)
            if magic != MAGIC or len(body) != p + q + n:
                raise LogError(f"{path.name}: expected a whole record, got a broken one")
            yield Event(
                operation=Operation(operation),
                flags=flags,
                process=process,
                thread=thread,
                error=error,
                inode=inode,
                offset=offset,
                path=os.fsdecode(body[:p]),
                path2=os.fsdecode(body[p : p + q]),
                data=body[p + q :],
            )


@dataclass(slots=True)
class _Change:
    """A change of one file's bytes: a write, or with ``length`` a truncation."""

    sequence: int
    offset: int
    data: bytes
    length: int | None = None
    durable: bool = False

    def apply_to(self, content: bytearray) -> None:
        if self.length is not None:
            _set_length(content, self.length)
            return
        if len(content) < self.offset:
            _set_length(content, self.offset)
        content[self.offset : self.offset + len(self.data)] = self.data


@dataclass(slots=True)
class _Rename:
    """One atomic change of names: name -> node, or None where a name goes."""

    sequence: int
    names: list[tuple[_Node, str, _Node | None]]


@dataclass(slots=True, eq=False)
class _Node:
    """A file or a folder: what a loss of power leaves, and what the process sees.

    ``pending`` are the changes since, of bytes for a file; a folder's are kept by the disk, as one change
    may concern two folders.
    """

    is_folder: bool
    durable: bytearray = field(default_factory=bytearray)
    seen: bytearray = field(default_factory=bytearray)
    pending: list[_Change] = field(default_factory=list)
    durable_names: dict[str, _Node] = field(default_factory=dict)
    seen_names: dict[str, _Node] = field(default_factory=dict)


def _set_length(content: bytearray, length: int) -> None:
    if length < len(content):
        del content[length:]
    else:
        content.extend(bytes(length - len(content)))


Image = dict[str, bytes | None]
"""Relative path -> bytes; None is a folder."""


class Disk:
    """A folder as the process sees it and as a loss of power would leave it.

    Starts from the folder as it is now, whose content counts as durable, or, with ``empty``, as it was when it
    held nothing.
    """

    def __init__(self, root: Path, *, empty: bool = False) -> None:
        self._nodes: dict[int, _Node] = {}
        self._names: list[_Rename] = []
        self._sequence = 0
        self._syncs: dict[tuple[int, int], int] = {}
        self._root = self._read(root, empty=empty)
        self.mapped: set[str] = set()

    def _read(self, path: Path, *, empty: bool = False) -> _Node:
        if path.is_dir():
            node = _Node(True)
            for child in () if empty else path.iterdir():
                node.durable_names[child.name] = node.seen_names[child.name] = self._read(child)
        else:
            content = path.read_bytes()
            node = _Node(False, bytearray(content), bytearray(content))
        self._nodes[path.stat().st_ino] = node
        return node

    def apply(self, event: Event) -> None:
        """Play one operation.

        Raises:
            LogError: it concerns a file or folder that the log never showed.
        """
        self._sequence += 1
        match event.operation:
            case Operation.OPEN if event.flags & CREATED:
                self._make(event, is_folder=False)
            case Operation.OPEN:
                self._change(event, _Change(self._sequence, 0, b"", 0))
            case Operation.MKDIR:
                self._make(event, is_folder=True)
            case Operation.WRITE:
                durable = bool(event.flags & DURABLE)
                self._change(event, _Change(self._sequence, event.offset, event.data, durable=durable))
            case Operation.TRUNCATE:
                self._change(event, _Change(self._sequence, 0, b"", event.offset))
            case Operation.SYNC_BEGIN:
                self._syncs[event.process, event.offset] = self._sequence
            case Operation.SYNC_END:
                self._sync(self._node(event), self._syncs.pop((event.process, event.offset)))
            case Operation.RENAME:
                (old, old_name), (new, new_name) = self._place(event.path), self._place(event.path2)
                self._name([(old, old_name, None), (new, new_name, old.seen_names[old_name])])
            case Operation.LINK:
                new, new_name = self._place(event.path2)
                self._name([(new, new_name, self._node(event))])
            case Operation.UNLINK:
                folder, name = self._place(event.path)
                self._name([(folder, name, None)])
            case Operation.MAP:
                self.mapped.add(event.path)
            case Operation.MARK | Operation.FAULT:
                pass

    def _node(self, event: Event) -> _Node:
        node = self._nodes.get(event.inode)
        if node is None:
            raise LogError(f"{event.path}: its creation was not recorded")
        return node

    def _place(self, path: str) -> tuple[_Node, str]:
        """The folder that holds the name, and the name."""
        *folders, name = path.split("/")
        node = self._root
        for folder in folders:
            node = node.seen_names[folder]
        return node, name

    def _make(self, event: Event, *, is_folder: bool) -> None:
        node = self._nodes[event.inode] = _Node(is_folder)
        folder, name = self._place(event.path)
        self._name([(folder, name, node)])

    def _name(self, names: list[tuple[_Node, str, _Node | None]]) -> None:
        change = _Rename(self._sequence, names)
        self._names.append(change)
        _apply_names(change, durable=False)

    def _change(self, event: Event, change: _Change) -> None:
        node = self._node(event)
        change.apply_to(node.seen)
        if change.durable:
            change.apply_to(node.durable)
            if not node.pending:
                return
        node.pending.append(change)

    def _sync(self, node: _Node, begun: int) -> None:
        """Make durable what was done to the node before ``begun``."""
        if node.is_folder:
            # A rename between two folders is done when either is synced: a disk does not do half of it.
            done = [c for c in self._names if c.sequence < begun and any(folder is node for folder, _, _ in c.names)]
            for change in done:
                _apply_names(change, durable=True)
                self._names.remove(change)
            return
        while node.pending and node.pending[0].sequence < begun:
            node.pending.pop(0).apply_to(node.durable)

    def unsynced(self, *, beside: tuple[str, ...] = ()) -> list[str]:
        """Paths with bytes or names that a loss of power would now take; ``beside`` are endings not to report."""
        paths = [p for p, node in self._walk(self._root, "") if any(not c.durable for c in node.pending)]
        for change in self._names:
            for folder, name, _ in change.names:
                where = next((p for p, node in self._walk(self._root, "") if node is folder), "?")
                paths.append(f"{where}/{name}" if where else name)
        return sorted({p for p in paths if not p.endswith(beside or ("\0",))})

    def _walk(self, node: _Node, path: str) -> Iterator[tuple[str, _Node]]:
        yield path, node
        for name, child in node.seen_names.items():
            yield from self._walk(child, f"{path}/{name}" if path else name)

    def seen(self) -> Image:
        """The folder as the process sees it."""
        return {path: None if node.is_folder else bytes(node.seen) for path, node in self._walk(self._root, "") if path}

    def durable(self) -> Image:
        """The folder when everything that no sync covers is lost."""
        image: Image = {}
        _collect(self._root, "", image, {}, {})
        return image

    def torn(self, rng: random.Random) -> Image:
        """The folder when of what no sync covers a random part survived."""
        share = rng.choice((0.1, 0.5, 0.9, 1.0))
        contents: dict[int, bytes] = {}
        for node in {id(n): n for n in self._nodes.values()}.values():
            if node.pending:
                contents[id(node)] = _tear(node, rng, share)
        names: dict[int, dict[str, _Node]] = {}
        names_share = rng.choice((0.5, 1.0))
        for change in self._names:
            if rng.random() < names_share:
                for folder, name, node_or_none in change.names:
                    mine = names.setdefault(id(folder), dict(folder.durable_names))
                    if node_or_none is None:
                        mine.pop(name, None)
                    else:
                        mine[name] = node_or_none
        image: Image = {}
        _collect(self._root, "", image, names, contents)
        return image


def _apply_names(change: _Rename, *, durable: bool) -> None:
    for folder, name, node in change.names:
        names = folder.durable_names if durable else folder.seen_names
        if node is None:
            names.pop(name, None)
        else:
            names[name] = node


def _tear(node: _Node, rng: random.Random, share: float) -> bytes:
    content = bytearray(node.durable)
    for change in node.pending:
        if change.durable or (change.length is not None and rng.random() < share):
            change.apply_to(content)
        elif change.length is None:
            start, end = change.offset, change.offset + len(change.data)
            while start < end:
                stop = min(end, (start // SECTOR_BYTES + 1) * SECTOR_BYTES)
                if rng.random() < share:
                    piece = change.data[start - change.offset : stop - change.offset]
                    _Change(0, start, piece).apply_to(content)
                start = stop
    return bytes(content)


def _collect(
    node: _Node, path: str, image: Image, names: dict[int, dict[str, _Node]], contents: dict[int, bytes]
) -> None:
    for name, child in names.get(id(node), node.durable_names).items():
        below = f"{path}/{name}" if path else name
        if child.is_folder:
            image[below] = None
            _collect(child, below, image, names, contents)
        else:
            torn = contents.get(id(child))
            image[below] = bytes(child.durable) if torn is None else torn


def write_image(image: Image, folder: Path, *, modes: dict[str, int] | None = None) -> None:
    """Write a rebuilt folder; ``modes`` are permissions by path, 0600 and 0700 where not given."""
    for path, content in image.items():
        place = folder / path
        if content is None:
            place.mkdir(parents=True, exist_ok=True)
            place.chmod((modes or {}).get(path, 0o700))
        else:
            place.parent.mkdir(parents=True, exist_ok=True)
            place.write_bytes(content)
            place.chmod((modes or {}).get(path, 0o600))


def check_complete(disk: Disk, root: Path, *, beside: tuple[str, ...] = ()) -> None:
    """Compare the replayed log with the folder itself, so that nothing went past the recorder.

    Raises:
        LogError: a file differs, lacks, or is mapped for writing; paths that end in one of ``beside`` are left out.
    """
    seen = {p: c for p, c in disk.seen().items() if not (beside and p.endswith(beside))}
    real: Image = {}
    for path in root.rglob("*"):
        name = str(path.relative_to(root))
        if not (beside and name.endswith(beside)):
            real[name] = None if path.is_dir() else path.read_bytes()
    wrong = sorted(p for p in seen.keys() | real.keys() if p not in seen or p not in real or seen[p] != real[p])
    mapped = sorted(p for p in disk.mapped if not (beside and p.endswith(beside)))
    if wrong or mapped:
        raise LogError(f"recorder: expected to see every operation, got other content in {wrong}, mapped {mapped}")
