"""Re-derive everything that a hub stores from its bytes, and name the first thing that does not fit.

Order: the environment's pages (``_walk.pyx``: page numbers, kinds, bounds, keys' order, free list against reachable
pages), sealed values and their sums, alias blocks and theirs; then from the bodies every entry, leaf, node, the root,
the head and whatever else was signed and kept; then the index against the bodies, marks, corrections, flags and lives
against their events and records, and the inboxes and texts of notices against the records that they follow from
(``checks/inboxes.py``, ``checks/notices.py``).
"""

from __future__ import annotations

import mmap
import threading
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future
from functools import partial
from pathlib import Path
from typing import Any, TypeVar

import msgspec
import numpy as np
import numpy.typing as npt

from hub import _hash
from hub._core import slot_block
from hub._walk import Walk
from hub.aliases import BY_PERSON, check_table, count_aliases, count_entries, kinds_of, table_numbers
from hub.checks.flags import check_flags
from hub.checks.identifiers import check_identifiers
from hub.checks.inboxes import check_inboxes, check_payload_values
from hub.checks.links import check_tickets
from hub.checks.marks import check_links, check_marks
from hub.checks.mislinks import check_mislinks
from hub.checks.notices import check_notices
from hub.checks.persons import check_lives
from hub.checks.proxies import check_proxies
from hub.checks.runs import check_blocks, check_runs
from hub.citizens.consents import check_consents
from hub.errors import StorageError, TamperError
from hub.messages import Kind
from hub.protection.releases import check_releases
from hub.protection.withholding import Office
from hub.records.bodies import ROW, Bodies, Heads, KeyGoneError, read_place
from hub.records.erasures import Erasure, expires_at, find_erasure, read_erasures
from hub.records.held import check_held
from hub.records.holds import HoldKeys
from hub.records.log import Log, StoredTree
from hub.runs.index import read_runs
from hub.storage.periods import PeriodKeys, period_name
from hub.storage.sealed import unseal, value_sum
from hub.storage.snapshot import STATE_KEY, SUM_MASK, Snapshot, table_sum_key
from hub.storage.workers import Workers
from hub.store import Store
from hub.tlog.entry import HASH_BYTES

T = TypeVar("T")

PROBLEMS_MAX = 100
SEALED_AT_A_TIME = 1_000
WALK_TRIES = 5
AHEAD = 4
"""Chunks that are read and hashed on the workers while one is put into the tree."""


class Report(msgspec.Struct, frozen=True, kw_only=True):
    """What a verification found.

    Attributes:
        problems: what does not fit, the first of each part; at most 100.
        records, blocks: records re-derived and alias blocks checked.
    """

    problems: tuple[str, ...]
    records: int
    blocks: int

    @property
    def ok(self) -> bool:
        """Whether everything fits."""
        return not self.problems


def sum_of(items: list[tuple[bytes, Any]]) -> int:
    """What some stored values add to the sum of their database; the state, which has the sums, adds nothing."""
    return sum(value_sum(key, value) for key, value in items if key != STATE_KEY)


def expect_sum(name: str, found: int, expected: int) -> None:
    """Compare a sum with the one that was kept.

    Raises:
        StorageError: they differ.
    """
    if found & SUM_MASK != expected:
        raise StorageError(f"{name}: expected the sum of what was written last, got another: a value is older or lost")


def check_pages(folder: Path) -> list[str]:
    """What is wrong with the pages of an environment: every tree, and that each page is in use or free (``_walk``).

    Where somebody writes meanwhile, pages change under the walk: it is repeated until it saw one state.

    Raises:
        StorageError: the file cannot be read, is no environment, or never stood still.
    """
    found: list[str] = []
    for _ in range(WALK_TRIES):
        try:
            with open(folder / "env" / "data.mdb", "rb") as file:
                data = mmap.mmap(file.fileno(), 0, prot=mmap.PROT_READ)
        except OSError as error:
            raise StorageError(f"pages: {error.strerror}") from error
        except ValueError as error:
            raise StorageError("pages: expected an environment, got an empty file") from error
        # The map goes with the last walk through it.
        walk = Walk(data)
        found = [f"pages: {problem}" for problem in walk.run()]
        still = Walk(data).transaction == walk.transaction
        if still or not found:
            return found
    raise StorageError("pages: expected an environment that nobody writes to, got a new transaction each time")


class _Found(threading.local):
    """Of each thread the problems of what it does now."""

    problems: list[str]


class Verifier:
    """One verification of an open store."""

    def __init__(
        self, store: Store, log: Log, periods: PeriodKeys, hold_keys: HoldKeys, workers: Workers, office: Office
    ) -> None:
        self._store, self._log, self._periods, self._workers = store, log, periods, workers
        self._hold_keys, self._office = hold_keys, office
        self._found = _Found()
        self._stopped = threading.Event()
        """Set when the caller is gone (an interrupt): what is done beside ends at the next step."""
        self._heads = Heads()
        self._records = self._blocks = 0

    def run(self, progress: Callable[[int], None] | None) -> Report:
        """Check everything; ``progress`` is called with the records done."""
        with self._store.snapshot() as snapshot:
            size, peaks = snapshot.state.records, list(snapshot.state.peaks)
        log = [lambda: self._check_log(size, peaks, progress), self._log.check_against_head, self._log.check_kept]
        index = [partial(self._check_index, period) for period in sorted(set(self._periods.periods()))]
        stored = [self._check_sealed, self._check_tables, self._check_counts, self._check_tickets]
        others = [
            self._check_run_blocks, self._check_marks, self._check_flags, self._check_identifiers, self._check_mislinks,
            self._check_lives,
        ]  # fmt: skip
        inboxes = [
            lambda: check_inboxes(self._store, self._periods, self._stopped.is_set),
            lambda: check_payload_values(self._store, self._periods),
            lambda: check_notices(self._store, self._periods),
        ]
        ends = [self._check_erasures, lambda: check_held(self._store, self._hold_keys)]
        # The log is derived on the workers, everything else by one thread: what reads neither head nor index goes
        # beside it. Problems are told in the order in which all of it is listed above.
        with self._workers.pool(1, "hub-verify") as pool:
            submit = pool.submit if self._workers.threads > 1 else _done
            try:
                tables = submit(self._problems_of, stored)
                boxes = submit(self._problems_of, inboxes)
                middle = self._problems_of([*log, *index, *others])
                found = [*tables.result(), *middle, *boxes.result(), *self._problems_of(ends)]
            finally:
                self._stopped.set()
        return Report(problems=tuple(found[:PROBLEMS_MAX]), records=self._records, blocks=self._blocks)

    def _problems_of(self, checks: Sequence[Callable[[], object]]) -> list[str]:
        """Do some checks on this thread, one behind the other."""
        self._found.problems = []
        for check in checks:
            self._try(check)
        return self._found.problems

    def _try(self, check: Callable[[], object]) -> None:
        if self._stopped.is_set():
            return
        try:
            check()
        except (StorageError, TamperError) as error:
            self._found.problems.append(str(error))

    def _check_sealed(self) -> None:
        """The checksums of all small values."""
        names = [
            "meta", "changes", "pending", "catalogs", "nodes", "checkpoints", "marks", "corrections", "events",
            "erasures", "holds", "held", "flagged", "payloadkeys", "holders", "wanted", "tickets", "claims", "linked",
            "inbox", "inboxes", "permits", "outcomes", "manual", "payloads", "released",
            "renewals", "identified", "proxies", "persons", "deaths", "successions", "notices", "mislinks",
            "consents",
        ]  # fmt: skip
        days = (self._store.request_database(day, create=False) for day in sorted(self._store.request_days()))
        names += [name for name in days if name is not None]
        for name in names:
            self._try(lambda name=name: self._check_values(name))  # type: ignore[misc]
        with self._store.snapshot() as snapshot:
            expect_sum("rundir", sum_of(snapshot.items("rundir", b"")), snapshot.state.sums.get("rundir", 0))
            stray = sorted(snapshot.state.sums.keys() - {*names, "rundir"})
        if stray:
            raise StorageError(f"{stray[0]}: expected the database that the state counts, found none")

    def _check_values(self, name: str) -> None:
        """The checksums of a database's values, and their sum."""
        found, before, after, first = 0, -1, -1, b""
        while True:
            # A snapshot each time: a long one would keep every page that is rewritten meanwhile.
            with self._store.snapshot() as snapshot:
                items = snapshot.items(name, first, limit=SEALED_AT_A_TIME)
                for key, value in items:
                    unseal(name, key, value)
                found += sum_of(items)
                after = snapshot.state.sums.get(name, 0)
            before = after if before < 0 else before
            if len(items) < SEALED_AT_A_TIME:
                break
            first = items[-1][0] + b"\0"
        if name == "nodes" or found & SUM_MASK == before == after:
            return
        # It was written to meanwhile, or something is wrong: only one snapshot can tell.
        with self._store.snapshot() as snapshot:
            found, first = 0, b""
            while items := snapshot.items(name, first, limit=SEALED_AT_A_TIME):
                found += sum_of(items)
                first = items[-1][0] + b"\0"
            expect_sum(name, found, snapshot.state.sums.get(name, 0))

    def _check_tables(self) -> None:
        with self._store.snapshot() as snapshot:
            tables = table_numbers(snapshot)
        for table in tables:
            self._try(lambda table=table: self._check_table(table))  # type: ignore[misc]
        with self._store.snapshot() as snapshot:
            counted = {int.from_bytes(key[4:], "big") for key, _ in snapshot.items("meta", b"sums", b"sumt")}
            gone = sorted(counted - set(table_numbers(snapshot)))
        if gone:
            raise StorageError(f"table {gone[0]:08x}: expected its blocks, found none")

    def _check_table(self, table: int) -> None:
        """The checksums of a table's blocks, their places, and their sum."""
        with self._store.snapshot() as snapshot:
            self._blocks += check_table(snapshot, table)
            found = 0
            for key, slot in snapshot.blocks(table << 32, table << 32 | 0xFFFFFFFF).tolist():
                found += value_sum(key.to_bytes(8, "big"), slot_block(slot))
            key = table_sum_key(table)
            stored = snapshot.get("meta", key)
            expected = 0 if stored is None else int.from_bytes(unseal("meta", key, stored), "little")
            expect_sum(f"table {table:08x}", found, expected)

    def _check_counts(self) -> None:
        """As many entries by person as are counted, and by alias those and the revoked ones, which namespaces count."""
        with self._store.snapshot() as snapshot:
            if snapshot.items("pending", b"", limit=1):
                # An acquisition is half in the tables, and counted at its end.
                return
            for table in table_numbers(snapshot):
                found, counted = count_entries(snapshot, table), count_aliases(snapshot, table >> 1)
                exact = table & 1 or BY_PERSON not in kinds_of(table >> 1)
                if found < counted or (exact and found > counted):
                    raise StorageError(f"table {table:08x}: expected {counted} entries, found {found}")

    def _check_tickets(self) -> None:
        """Every ticket that was delivered has a person and no other has; claims and links are those of tickets."""
        with self._store.snapshot() as snapshot:
            check_tickets(snapshot, self._office)

    def _check_log(self, size: int, peaks: list[bytes], progress: Callable[[int], None] | None) -> None:
        """Every entry from its body, every node from its entries, the peaks from the nodes."""
        ahead: deque[Future[tuple[int, npt.NDArray[np.uint8]]]] = deque()
        asked = done = 0
        found: list[bytes] = []
        while done < size:
            while asked < size and len(ahead) < AHEAD:
                rows = self._rows_from(asked)
                ahead.append(self._workers.submit(self._derive, asked))
                asked += rows
            rows, leaves = ahead.popleft().result()
            found, complete = _hash.append_leaves(done, found, leaves)
            with self._store.snapshot() as snapshot:
                tree = StoredTree(snapshot, "", size)
                for level, nodes in complete.items():
                    first = done >> level
                    stored = np.frombuffer(tree.nodes(level, first, len(nodes)), np.uint8).reshape(-1, HASH_BYTES)
                    wrong = np.flatnonzero((stored != nodes).any(axis=1))
                    if len(wrong):
                        at = (first + int(wrong[0])) << level
                        raise StorageError(f"record {at}: expected the node of its {1 << level} records, got another")
            done += rows
            self._records = done
            if progress is not None:
                progress(done)
        if found != peaks:
            raise StorageError(f"log: expected the peaks of {size} records, got others")

    def _rows_from(self, first: int) -> int:
        """The records of the chunk that begins here."""
        with self._store.snapshot() as snapshot:
            if find_erasure(snapshot, first) is not None:
                return len(_stored_entries(snapshot, first))
            return read_place(snapshot, first).rows

    def _derive(self, first: int) -> tuple[int, npt.NDArray[np.uint8]]:
        """The leaves of a chunk: of one that was erased from its stored entries, else from its body."""
        with self._store.snapshot() as snapshot:
            if find_erasure(snapshot, first) is not None:
                entries = _stored_entries(snapshot, first)
                return len(entries), _hash.hash_leaves(entries)
        try:
            return self._derive_from_body(first)
        except KeyGoneError:
            # Where it was erased meanwhile, a newer snapshot says so: keys are unlinked after the entry is durable.
            with self._store.snapshot() as snapshot:
                if find_erasure(snapshot, first) is None:
                    raise
            return self._derive(first)

    def _derive_from_body(self, first: int) -> tuple[int, npt.NDArray[np.uint8]]:
        """The leaves of a chunk from its body, once its stored entries are found to be the same."""
        with self._store.snapshot() as snapshot:
            bodies = self._bodies(snapshot)
            chunk, rows = bodies.whole(first)
            key = bodies.key_of(chunk)
            persons = rows.view(ROW)["person"][:, 0]
            leaves = np.empty((chunk.rows, HASH_BYTES), dtype=np.uint8)
            try:
                entries = _hash.hash_records(
                    key.salts(chunk.nonce, chunk.rows),
                    self._store.keys.disclosure_keys(np.ascontiguousarray(persons)),
                    rows,
                    chunk.shared_hashes,
                    chunk.times,
                    leaves=leaves,
                )
            except IndexError:
                raise StorageError(f"records from {first}: expected decisions of the chunk, got another") from None
            value = snapshot.get("entries", first.to_bytes(8, "big"))
            stored = unseal("entries", first.to_bytes(8, "big"), value if value is not None else b"")
            if stored != entries.tobytes():
                theirs = np.frombuffer(stored, np.uint8)[: entries.size // HASH_BYTES * HASH_BYTES]
                same = theirs.size == entries.size and (theirs.reshape(-1, HASH_BYTES) == entries).all(axis=1)
                at = int(np.argmin(same)) if isinstance(same, np.ndarray) else 0
                raise StorageError(f"record {first + at}: expected the entry of its body, got another")
            check_links(bodies, first, rows)
        return chunk.rows, leaves

    def _check_index(self, period: int) -> None:
        """The index of a period against the person keys of its bodies."""
        key = self._periods.of(period)
        if key is None:
            return
        with self._store.snapshot() as snapshot:
            erasures = read_erasures(snapshot)
            # Of one under way neither key, bodies nor runs are sure to be there; _check_erasures looks at the others.
            if any(erasure.period == period for erasure in erasures):
                return
            erased = max((erasure.end for erasure in erasures), default=0)
            bodies = self._bodies(snapshot)

            def records(first: int, last: int) -> Iterator[tuple[int, npt.NDArray[np.uint64]]]:
                end = min(last + 1, snapshot.state.records)
                first = max(first, erased)
                while first < end:
                    located = bodies.locate(first)
                    chunk = located.chunk
                    if chunk.period == period:
                        persons = bodies.whole(chunk.first)[1].view(ROW)["person"][:, 0]
                        keys = key.person_keys(np.ascontiguousarray(persons))
                        stop = min(end - chunk.first, chunk.rows)
                        yield first, keys[located.position : stop]
                    first = chunk.first + chunk.rows

            try:
                check_runs(snapshot, period, records)
            except StorageError as error:
                raise StorageError(f"index of {period_name(period)}: {error}") from error

    def _check_erasures(self) -> None:
        """What is erased is gone, is no more than what the log's own records say, and was not erased early."""
        with self._store.snapshot() as snapshot:
            erasures, follows = read_erasures(snapshot), 0
            for erasure in erasures:
                name = f"erasure of {period_name(erasure.period)}"
                if erasure.first != follows or erasure.recorded >= snapshot.state.records:
                    raise StorageError(f"{name}: expected a range that begins at {follows}, got another")
                follows = erasure.end
                if erasure.begun_at < expires_at(erasure.period):
                    raise StorageError(f"{name}: expected it after its period expired, got it earlier")
                if erasure.done_at:
                    self._check_gone(snapshot, name, erasure)
                if find_erasure(snapshot, erasure.recorded) is not None:
                    continue
                (told,) = self._bodies(snapshot).read([erasure.recorded])
                if told.kind != Kind.ERASURE or told.chunk.shared[told.decision].items != erasure.items:
                    raise StorageError(f"{name}: expected record {erasure.recorded} to tell of it, found it does not")

    def _check_gone(self, snapshot: Snapshot, name: str, erasure: Erasure) -> None:
        found = snapshot.pages.at_or_before(b"records", (erasure.end - 1).to_bytes(8, "big"))
        if found is not None and found[0] >= erasure.key:
            at = int.from_bytes(found[0], "big")
            raise StorageError(f"{name}: expected no body in its range, found one at record {at}")
        if read_runs(snapshot, erasure.period):
            raise StorageError(f"{name}: expected no run of it in the history index, found one")
        if self._periods.of(erasure.period) is not None:
            raise StorageError(f"{name}: expected its key to be gone, found it")

    def _check_run_blocks(self) -> None:
        with self._store.snapshot() as snapshot:
            check_blocks(snapshot)

    def _check_marks(self) -> None:
        with self._store.snapshot() as snapshot:
            check_marks(snapshot, self._office)
            check_releases(self._office, snapshot)

    def _check_mislinks(self) -> None:
        with self._store.snapshot() as snapshot:
            check_mislinks(snapshot, self._office)

    def _check_lives(self) -> None:
        with self._store.snapshot() as snapshot:
            check_lives(snapshot, self._office)

    def _check_flags(self) -> None:
        with self._store.snapshot() as snapshot:
            check_flags(snapshot, self._office)

    def _check_identifiers(self) -> None:
        with self._store.snapshot() as snapshot:
            check_identifiers(snapshot, self._office)
            check_proxies(snapshot, self._office)
            check_consents(snapshot, self._office)

    def _bodies(self, snapshot: Snapshot) -> Bodies:
        return Bodies(snapshot, self._periods, self._heads)


def _done(call: Callable[[Sequence[Callable[[], object]]], T], checks: Sequence[Callable[[], object]]) -> Future[T]:
    """Call now."""
    future: Future[T] = Future()
    future.set_result(call(checks))
    return future


def _stored_entries(snapshot: Snapshot, first: int) -> npt.NDArray[np.uint8]:
    """The entries of the value that begins with this record: uint8[n, 32]."""
    key = first.to_bytes(8, "big")
    raw = unseal("entries", key, snapshot.get("entries", key) or b"")
    if not raw or len(raw) % HASH_BYTES:
        raise StorageError(f"entries from {first}: expected whole hashes, got something else")
    return np.frombuffer(raw, np.uint8).reshape(-1, HASH_BYTES)
