"""Where the time of a run goes: the hub's own functions under clocks, for as long as a block lasts.

A chunk of 65,536 rows passes each of them once, so that two readings of a clock cost nothing that can be seen. Of each
name the processor time of its thread and the time that passed are summed, without what clocked functions inside it
took. What runs in the background of the writer counts whole, its own commits included.
"""

from __future__ import annotations

import contextlib
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from hub import _hash, record
from hub import hub as whole
from hub.provision import deliver
from hub.records import append
from hub.records.log import Log
from hub.requests import ahead
from hub.runs import merger
from hub.store import Store

SPANS: tuple[tuple[Any, str, str], ...] = (
    (whole, "decode_inquiry", "check"),
    (whole, "_decide", "authorise"),
    (whole, "resolve_aliases", "resolve"),
    (ahead, "resolve_by_provider", "resolve"),
    (whole, "prepare_chunk", "record"),
    (record, "lay_records", "encrypt"),
    (_hash, "hash_records", "hash"),
    (whole, "grow_tree", "tree"),
    (append, "grow_tree", "tree"),
    (whole, "write_chunk", "put"),
    (Store, "_finish", "commit"),
    (Log, "publish", "sign"),
    (whole, "respond", "answer"),
)
"""Owner, attribute, and the name under which it counts."""

WHOLE: tuple[tuple[Any, str, str], ...] = ((merger, "do_step", "merge"), (deliver.Deliverer, "step", "deliver"))
"""The same, but everything inside counts with it."""

ABOUT = {
    "check": "the inquiry's form, and SHA-256 of its rows for the request id",
    "authorise": "a decision for each row",
    "resolve": "alias to person, person to the provider's alias",
    "record": "limits and flags, order by person key",
    "encrypt": "person keys, salts, rows: AES",
    "hash": "subject tag, entry, leaf: SHA-256",
    "tree": "nodes of the tree: SHA-256",
    "put": "values into the transaction",
    "write": "commit: pages into the system's memory",
    "fsync": "commit: waiting for the disk",
    "sign": "checkpoint, synced",
    "answer": "statuses from what is stored",
    "merge": "index of histories, merged beside it, its commits included",
    "deliver": "permits into the inboxes beside it, its commits included",
    "bench": "rows drawn, answers compared",
    "rest": "Python between them, the system's own work",
}
"""What the names stand for, in the order in which they are shown. ``commit`` is shown as ``write`` and ``fsync``."""


@dataclass
class Spent:
    """Processor seconds, and seconds that passed, of one name."""

    cpu_s: float = 0.0
    wall_s: float = 0.0


@dataclass
class _Stack(threading.local):
    """What a thread is in: of each open span the seconds that those inside it took."""

    inside: list[list[float]] = field(default_factory=list)
    whole: bool = False


class Clocks:
    """Sums by name; :meth:`running` puts the clocks in, and takes them out again."""

    def __init__(self) -> None:
        self.spent: dict[str, Spent] = {}
        self._lock = threading.Lock()
        self._stack = _Stack()

    @contextlib.contextmanager
    def running(self) -> Iterator[None]:
        """Clock the hub's functions until the block ends."""
        replaced = []
        try:
            for spans, is_whole in ((SPANS, False), (WHOLE, True)):
                for owner, attribute, name in spans:
                    call = getattr(owner, attribute)
                    replaced.append((owner, attribute, call))
                    setattr(owner, attribute, self._clocked(call, name, is_whole=is_whole))
            yield
        finally:
            for owner, attribute, call in reversed(replaced):
                setattr(owner, attribute, call)

    @contextlib.contextmanager
    def span(self, name: str, *, is_whole: bool = False) -> Iterator[None]:
        """Count what the block takes under a name."""
        stack = self._stack
        if stack.whole:
            yield
            return
        stack.whole = is_whole
        stack.inside.append([0.0, 0.0])
        cpu, wall = time.thread_time(), time.perf_counter()
        try:
            yield
        finally:
            cpu, wall = time.thread_time() - cpu, time.perf_counter() - wall
            inside = stack.inside.pop()
            stack.whole = False
            if stack.inside:
                stack.inside[-1][0] += cpu
                stack.inside[-1][1] += wall
            with self._lock:
                spent = self.spent.setdefault(name, Spent())
                spent.cpu_s += cpu - inside[0]
                spent.wall_s += wall - inside[1]

    def _clocked(self, call: Callable[..., Any], name: str, *, is_whole: bool) -> Callable[..., Any]:
        def clocked(*arguments: Any, **named: Any) -> Any:
            with self.span(name, is_whole=is_whole):
                return call(*arguments, **named)

        return clocked

    def by_stage(self, cpu_s: float) -> dict[str, Spent]:
        """The sums in the order of :data:`ABOUT`; a commit as its writing and its waiting, and what is left of all.

        Args:
            cpu_s: processor seconds of the whole process over the same time.
        """
        found = dict(self.spent)
        commit = found.pop("commit", Spent())
        found["write"] = Spent(commit.cpu_s, commit.cpu_s)
        found["fsync"] = Spent(0.0, max(0.0, commit.wall_s - commit.cpu_s))
        rest = max(0.0, cpu_s - sum(one.cpu_s for one in found.values()))
        found["rest"] = Spent(rest, rest)
        return {name: found[name] for name in ABOUT if name in found}


class MemoryWatch:
    """The most memory that the process had beside mapped files, looked at a few times a second."""

    EVERY_S = 0.2

    def __init__(self) -> None:
        self.peak_bytes = 0
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._watch, name="bench-memory", daemon=True)

    def __enter__(self) -> MemoryWatch:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._over.set()
        self._thread.join()

    def _watch(self) -> None:
        while True:
            self.peak_bytes = max(self.peak_bytes, anonymous_bytes())
            if self._over.wait(self.EVERY_S):
                return


def anonymous_bytes() -> int:
    """Resident bytes of this process that no file stands behind; 0 where the kernel does not tell."""
    return status_bytes("RssAnon")


def status_bytes(name: str) -> int:
    """A size of ``/proc/self/status``; 0 where the kernel does not tell."""
    try:
        lines = Path("/proc/self/status").read_text().splitlines()
    except OSError:
        return 0
    return next((int(line.split()[1]) * 1024 for line in lines if line.startswith(f"{name}:")), 0)
