"""The Hub: the order of the stages, and nothing else. Read this first.

A row of an inquiry goes through decode -> authorise -> resolve -> record -> respond; a citizen's question
through disclose. Each stage is a file of that name.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import threading
import time
from collections import deque
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from pathlib import Path
from typing import Any

import numpy as np

from hub import limits
from hub.acquisition.acquire import acquire
from hub.acquisition.additions import complete_pending
from hub.aliases import (
    RESIDENT_CODES,
    check_table,
    count_aliases,
    table_numbers,
)
from hub.authorise import authorise
from hub.catalog import Catalog, Consents
from hub.citizens.consents import ConsentRegister
from hub.citizens.corrections import Corrections
from hub.citizens.proxies import Proxies
from hub.decode import CODES_ABOVE, decode_aliases, decode_codes, decode_inquiry, decode_providers
from hub.errors import FullError, RequestError, StorageError
from hub.exchange import Exchange
from hub.messages import Acquired, Answer, Inquiry, Resolved, Status, Withhold
from hub.methods.alerts import Alerting
from hub.methods.aliases import Lives
from hub.methods.consents import Consenting
from hub.methods.copies import Copies, CopyReader
from hub.methods.counter import Countering
from hub.methods.exchange import Exchanging
from hub.methods.flags import Flagging
from hub.methods.holders import Locating
from hub.methods.identifiers import Identifying
from hub.methods.links import Linking
from hub.methods.marks import Acts
from hub.methods.mislinks import Mislinking
from hub.methods.persons import PersonActs
from hub.methods.proxies import Proxying
from hub.methods.releases import Releasing
from hub.methods.requests import Filing
from hub.methods.retention import Keeping
from hub.methods.sending import SendingMethods
from hub.methods.serving import SERVED, Serving
from hub.methods.showing import Showing
from hub.methods.suspension import Suspending
from hub.mislinks.relink import Links
from hub.mislinks.report import Mislinks
from hub.persons.deaths import is_closed
from hub.persons.dying import Dying
from hub.persons.identifiers import namespace_number
from hub.persons.locate import day_of_inquiry, locate_rows, stand_in_providers
from hub.persons.merging import Merging
from hub.persons.successions import NAME as SUCCESSIONS
from hub.persons.uses import Uses
from hub.protection.asked import Asked, Limit
from hub.protection.askedlog import AskedLog
from hub.protection.releases import Releases
from hub.protection.screen import Screen
from hub.protection.withholding import Office, Withholding
from hub.provision.answers import Answering
from hub.provision.collect import Collector
from hub.provision.deliver import Deliverer
from hub.provision.delivery import Delivery
from hub.provision.lapse import Lapser
from hub.provision.payloadkeys import PayloadKeys
from hub.provision.payloadstore import expire_payloads
from hub.provision.provide import Provider
from hub.record import Prepared, must_prepare_again, prepare_chunk, write_chunk
from hub.records.append import Grown, Laid, grow_tree
from hub.records.bodies import Heads
from hub.records.holds import HoldKeys
from hub.records.log import Log
from hub.records.permits import PermitNumbers, lapse_time
from hub.records.retain import resume_shredding
from hub.requests.ahead import Ahead, look_ahead
from hub.requests.batch import Batch, Decided
from hub.requests.groups import RequestGroups
from hub.requests.state import (
    Request,
    check_request,
    chunks_done,
    forget_old_requests,
    new_request,
    request_key,
    rows_of,
)
from hub.resolve import resolve_aliases
from hub.respond import respond, respond_empty
from hub.runs.merger import Merger
from hub.sending.arrivals import Receiver
from hub.sending.notices import expire_notices
from hub.sending.send import Sender
from hub.singles.gather import Gatherer, settle_future
from hub.singles.gatherparts import Parts
from hub.singles.small import SmallAnswers, SmallRows
from hub.storage.periods import PeriodKeys, period_of, period_start
from hub.storage.sealed import unseal
from hub.storage.snapshot import Snapshot, State
from hub.storage.workers import Workers
from hub.store import Store
from hub.tlog.checkpoint import LogKey

CHUNKS_AHEAD = 3
"""Chunks that are resolved while one is being written; each holds about 6 MB."""

_DAY_S = 86_400

logger = logging.getLogger("hub")


class Hub(
    Showing, Alerting, Filing, Acts, PersonActs, Consenting, Copies, Countering, Exchanging, Flagging, Identifying,
    Keeping, Linking, Lives, Locating, Mislinking, PayloadKeys, Proxying, Releasing, SendingMethods, Serving,
    Suspending,
):  # fmt: skip
    """An open hub folder. Made by :func:`open`; a context manager; may be used from several threads."""

    def __init__(
        self,
        folder: str | os.PathLike[str],
        *,
        create: bool,
        readonly: bool,
        threads: int | None,
        clock: Callable[[], float],
        head: str | os.PathLike[str] | None,
        origin: str | None,
        answers_every_s: int,
    ) -> None:
        self._clock = clock
        self._store = Store(Path(folder), create=create, readonly=readonly, now=int(clock()))
        self._periods = PeriodKeys(self._store.folder / "keys" / "periods")
        self._heads = Heads()
        self._hold_keys = HoldKeys(self._store.folder / "keys" / "holds")
        self._delivering = threading.Lock()
        self._retaining = threading.Lock()
        """Held by the one thread that erases."""
        self._merger: Merger | None = None
        self._log: Log | None = None
        self._workers = Workers(threads)
        self._catalogs: dict[str, Catalog] = {}
        self._groups = RequestGroups(self._store)
        self._gatherer: Gatherer | None = None
        self._last_day = -1
        self._set_back = False
        self._office = Office(
            self._store, self._groups, self._periods, self._heads, lambda: self.catalog, self._now,
            wake=self._wake, answers_every_s=answers_every_s,
        )  # fmt: skip
        self._withholding = Withholding(self._office)
        self._asked = Asked(AskedLog(self._store, self._periods, self._heads))
        self._corrections = Corrections(self._office, self._corrected)
        self._uses = Uses(self._store)
        self._proxies = Proxies(self._office, self._corrected, closed=is_closed)
        self._consents = ConsentRegister(self._office, self._workers, self._corrected)
        self._releases = Releases(self._office, self._asked, self._corrected)
        self._links = Links(self._office, self._workers, self._delivering, self._corrected, self._barred)
        ends = self._proxies.end_all, self._consents.part
        self._merging = Merging(self._office, self._workers, self._corrected, *ends)
        self._dying = Dying(self._office, self._workers, self._corrected)
        exchange = self._exchange = Exchange(self._store, self._periods)
        numbers = self._numbers = PermitNumbers(self._store.keys)
        self._collector = Collector(self._office, exchange, numbers)
        self._provider = Provider(self._office, exchange, numbers, lambda: self._published().publish())
        self._receiver = Receiver(self._office, exchange, numbers, lambda: self._published().publish())
        self._lapser = Lapser(self._office, exchange, lambda: self._published().publish())
        self._answering = Answering(self._office, exchange)
        self._sender = Sender(
            self._office, self._workers, self.catalog_of, self._day, self._gathering,
            lambda: self._published().publish(),
        )  # fmt: skip
        self._copies = CopyReader(self._office, self._answering, numbers)
        self._mislinks = Mislinks(self._office, numbers, self._sender, self._publish)
        self._delivery: Delivery | None = None
        self._lapsing = threading.Lock()
        """Held while it is found out whether permits lapse today."""
        self._next_lapse = 0
        try:
            log = self._log = Log(self._store, head=head, origin=self._find_origin(origin))
            log.check_head()
            self._catalog_digest = self._find_catalog()
            self._gatherer = self._make_gatherer(log)
            if not readonly:
                complete_pending(self._store, self._workers)
                resume_shredding(self._retention())
                self._merger = Merger(self._store)
                self._delivery = Delivery(self._store, Deliverer(self._store, self._periods), self._lapse_today)
        except BaseException:
            self.close()
            raise

    def __enter__(self) -> Hub:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def __repr__(self) -> str:
        return f"Hub({str(self._store.folder)!r}, {'closed' if self._store.closed else 'open'})"

    def close(self) -> None:
        """Let go of the folder; may be called again."""
        if not self._store.forked:
            if self._gatherer is not None:
                self._gatherer.close()
            self._groups.close()
            if self._delivery is not None:
                self._delivery.close()
            if self._merger is not None:
                self._merger.close()
        self._workers.close()
        if self._log is not None:
            self._log.close()
        self._store.close()

    # -- catalog

    @property
    def catalog(self) -> Catalog:
        """The legal basis in force in this folder."""
        if self._store.readonly:
            self._catalog_digest = self._find_catalog()
        return self.catalog_of(self._catalog_digest)

    def catalog_of(self, digest: str) -> Catalog:
        """The catalog with this digest, as it was in force when a record was made.

        Raises:
            RequestError: this folder never had it in force.
        """
        found = self._catalogs.get(digest)
        if found is None:
            found = Catalog.japan()
            if found.digest != digest:
                key = bytes.fromhex(digest)
                with self._store.snapshot() as snapshot:
                    value = snapshot.get("catalogs", key)
                    if value is None:
                        raise RequestError("catalog: expected one that was in force here, got another")
                    found = Catalog.load(unseal("catalogs", key, value))
            found = self._catalogs[digest] = found.by_clock(self._now)
        return found

    def load_catalog(self, catalog: Catalog) -> None:
        """Put a catalog in force in this folder from now on; earlier ones stay for the records made under them.

        Raises:
            RequestError: an institution that the catalog before has is missing or has another number.
        """
        if self._catalog_digest:
            for institution in self.catalog.institutions():
                if catalog.institution(institution.code).number != institution.number:
                    raise RequestError(f"catalog: expected the number of {institution.code} to stay, got another")
            for namespace in self.catalog.namespaces:
                # Its number names its table: the pseudonyms there are under the key of its name.
                if catalog.namespaces.position(namespace.namespace) != self.catalog.namespaces.position(
                    namespace.namespace
                ):
                    raise RequestError(f"catalog: expected namespace {namespace.namespace} in its place, got another")
        key = bytes.fromhex(catalog.digest)
        with self._store.commit() as commit:
            commit.put_sealed("catalogs", key, catalog.dump())
            commit.put_sealed("meta", b"catalog", catalog.digest.encode())
        self._catalogs[catalog.digest] = catalog.by_clock(self._now)
        self._catalog_digest = catalog.digest

    def _find_catalog(self) -> str:
        with self._store.snapshot() as snapshot:
            value = snapshot.get("meta", b"catalog")
            if value is not None:
                return unseal("meta", b"catalog", value).decode()
        if self._store.readonly:
            raise StorageError("open: its making was not finished; open it once for writing")
        self._catalog_digest = ""
        self.load_catalog(Catalog.japan())
        return self._catalog_digest

    # -- aliases

    def acquire(self, institution: str, codes: Any) -> Acquired:
        """Give an institution aliases of the persons with these resident record codes (the embedded shortcut).

        Whoever calls it holds codes and aliases. Where others are served nobody may: there ``tickets``, ``deliver`` and
        ``acquired`` are its three parts.

        Idempotent: who has an alias there keeps it. Durable when it returns; after an error the same call again
        completes what is missing.

        Args:
            codes: list of 11-digit strings, or int64[N].

        Raises:
            RequestError: a code is not 11 digits, the institution is unknown, or the folder was served to others, ever;
                nothing was changed.
            StorageError: the disk is full or failed; what was done before stands.
        """
        with self._store.snapshot() as snapshot:
            _check_never_served(snapshot, "acquire")
        number = self.catalog.institution(institution).number
        numbers = decode_codes(codes)
        barred = self._barred(institution)
        return acquire(self._store, self._store.keys, number, numbers, self._workers, CODES_ABOVE, barred)

    def resolve(self, requester: str, providers: Any, aliases: Any) -> Resolved:
        """Translate a requester's aliases into the providers'; for bench and tests only.

        It tells what no caller may know, two aliases of one person, and records nothing.

        Args:
            requester: institution code. providers: a code, list[str] or uint32[N]. aliases: uint8[N, 16].

        Raises:
            RequestError: the folder was served to others, ever; or an argument has the wrong form.
        """
        catalog = self.catalog
        number = catalog.institution(requester).number
        rows = decode_aliases(aliases)
        numbers = decode_providers(catalog, providers, len(rows))
        with self._store.snapshot() as snapshot:
            _check_never_served(snapshot, "resolve")
            found = resolve_aliases(snapshot, number, numbers, rows, self._workers)
        return Resolved(found.aliases, found.status)

    # -- inquiries

    def inquire(
        self,
        inquiry: Inquiry,
        aliases: Any,
        providers: Any,
        *,
        cases: Sequence[str | None] | None = None,
        withhold: Sequence[Withhold | None] | None = None,
        consents: Consents = None,
        progress: Callable[[int], None] | None = None,
    ) -> Answer:
        """Ask about many persons: authorise, resolve, record, answer, in the caller's order.

        When it returns, every row is durable. The same request id with the same rows gives the same answer and
        records nothing again; after a crash or an exception it goes on at the first chunk that is missing.

        Args:
            aliases: uint8[N, 16], the requester's. providers: a code, list[str] or uint32[N] numbers. A class label
                may stand instead of a code (``CLASSES_FROM`` plus ``Catalog.class_number`` instead of a number): the
                row goes to the body of that class that holds the person, see docs/holders.md.
            cases: a case number a row, kept for supervisors.
            withhold: a mark (不開示) or None a row: its record is in no history until the mark is lifted. A row
                whose alias is unknown has no record, and its mark is dropped.
            consents: which persons consented, where an ordinance's affair asks for local tax: True for all rows, or
                bool[N]; None is nobody. Without it such a row is DENIED_CONSENT.
            progress: called with the rows done after each durable chunk; an exception from it stops there.

        Raises:
            RequestError: not well formed, unknown words, or the request id was used with other rows.
            BusyError: the same request is under way in another thread.
            StorageError: the disk failed or is full, or a block is damaged; the chunks before it stand.
        """
        batch = self._consents.heed(
            decode_inquiry(self.catalog, inquiry, aliases, providers, cases, withhold, consents)
        )
        self._check_bodies(batch)
        key = request_key(inquiry.requester, inquiry.request_id)
        gatherer = self._gathering()
        if progress is None and self._is_small(batch):
            return gatherer.ask(batch, key)
        gatherer.reserve(key)
        try:
            return self._inquire(batch, key, progress)
        finally:
            gatherer.let_go(key)

    def inquire_soon(
        self,
        inquiry: Inquiry,
        aliases: Any,
        providers: Any,
        *,
        cases: Sequence[str | None] | None = None,
        withhold: Sequence[Withhold | None] | None = None,
        consents: Consents = None,
    ) -> Future[Answer]:
        """:meth:`inquire` without waiting: a future of its answer, whose cancelling does not take the inquiry back.

        Raises:
            RequestError, BusyError: as of :meth:`inquire`, where they are known at once.
        """
        batch = self._consents.heed(
            decode_inquiry(self.catalog, inquiry, aliases, providers, cases, withhold, consents)
        )
        self._check_bodies(batch)
        future: Future[Answer] = Future()
        settle = settle_future(future)
        if self._is_small(batch):
            self._gathering().submit(batch, request_key(inquiry.requester, inquiry.request_id), settle)
            return future

        def work() -> None:
            try:
                answer = self.inquire(
                    inquiry, aliases, providers, cases=cases, withhold=withhold, consents=consents
                )  # fmt: skip
                settle(answer, None)
            except BaseException as error:
                settle(None, error)

        threading.Thread(target=work, name="hub-inquire", daemon=True).start()
        return future

    async def inquire_async(
        self,
        inquiry: Inquiry,
        aliases: Any,
        providers: Any,
        *,
        cases: Sequence[str | None] | None = None,
        withhold: Sequence[Withhold | None] | None = None,
        consents: Consents = None,
    ) -> Answer:
        """:meth:`inquire` for coroutines; many of one loop cost far less than as many threads.

        A task that is cancelled does not take its inquiry back: the same request id gets the answer.
        """
        future = self.inquire_together(
            inquiry, aliases, providers, cases=cases, withhold=withhold, consents=consents
        )  # fmt: skip
        if future is not None:
            return await future
        return await asyncio.to_thread(
            self.inquire, inquiry, aliases, providers, cases=cases, withhold=withhold, consents=consents
        )

    def inquire_together(
        self,
        inquiry: Inquiry,
        aliases: Any,
        providers: Any,
        *,
        cases: Sequence[str | None] | None = None,
        withhold: Sequence[Withhold | None] | None = None,
        consents: Consents = None,
    ) -> asyncio.Future[Answer] | None:
        """:meth:`inquire_async` without a task for each: a future of the running loop.

        None where the inquiry is not one that shares a commit with others; nothing was done with it.
        """
        batch = self._consents.heed(
            decode_inquiry(self.catalog, inquiry, aliases, providers, cases, withhold, consents)
        )
        self._check_bodies(batch)
        if not self._is_small(batch):
            return None
        future: asyncio.Future[Answer] = asyncio.get_running_loop().create_future()
        self._gathering().submit(batch, request_key(inquiry.requester, inquiry.request_id), future)
        return future

    def inquire_rows(self, rows: SmallRows, done: Callable[[SmallAnswers], None], *, here: bool = False) -> None:
        """:meth:`inquire` for many callers who ask about one person each, as columns.

        Args:
            rows: checked but for what only the catalog knows; every one is a request of its own.
            done: called once when all rows are durable or have their error; from a thread of the hub, or this one.
            here: whether to do it in this thread, before this returns, if nothing else is under way.

        Raises:
            RequestError: a column has another form, or the hub is closed; nothing was done.
        """
        rows = self._consents.heed_rows(rows)
        gatherer = self._gathering()
        if not here or not gatherer.do_rows(rows, done):
            gatherer.submit_rows(rows, done)

    def _check_bodies(self, batch: Batch) -> None:
        """Refuse a new inquiry to or by a body that was succeeded; one that is sent again is answered as it was."""
        if not self._store.may_have(SUCCESSIONS):
            return
        providers = batch.providers[batch.providers < limits.CLASSES_FROM]
        numbers = np.unique(np.append(providers, np.uint32(batch.requester)))
        key = request_key(batch.inquiry.requester, batch.inquiry.request_id)
        if self._groups.find(key, self._now()) is None:
            self._check_numbers(numbers)

    def _is_small(self, batch: Batch) -> bool:
        """Whether it shares a commit with others; marks and lists of holders are written with chunks of their own."""
        plain = batch.marks is None and not batch.by_class
        return plain and 0 < len(batch) <= limits.ROWS_GATHERED_MAX and not self._store.readonly

    def _gathering(self) -> Gatherer:
        assert self._gatherer is not None
        return self._gatherer

    def _make_gatherer(self, log: Log) -> Gatherer:
        parts = Parts(
            self._store,
            self._groups,
            self._periods,
            catalog=lambda: self.catalog,
            now=self._now,
            clock=lambda: self._clock(),
            day=self._day,
            flagged=self._office.flagged.of,
            asked=self._asked,
            publish=log.publish,
            wake=self._wake,
            check_bodies=self._check_numbers,
        )
        return Gatherer(parts)

    def _inquire(self, batch: Batch, key: bytes, progress: Callable[[int], None] | None) -> Answer:
        now = self._now()
        found = self._groups.find(key, now)
        small = None
        if found is not None:
            name, request, small = found
            check_request(request, batch)
            catalog = self.catalog_of(request.catalog)
            decided = _decide(catalog, batch, request.received_at)
        else:
            catalog = self.catalog
            decided = _decide(catalog, batch, now)
            if not len(batch):
                return respond_empty(batch.inquiry.request_id, now)
            beside = self._store.turns.hurried_lately()
            request = new_request(batch, decided.table, now, catalog.digest, beside=beside)
            name = self._day(now)
        with self._store.snapshot() as snapshot:
            done = [True] if small is not None else chunks_done(snapshot, name, key, request)
        if not all(done):
            try:
                self._record_chunks(batch, request, decided, name, key, done, progress)
            finally:
                self._asked.give_up(request.inquiry)
        # Also where all chunks were there: the process before may have died between commit and head.
        self._published().publish()
        with self._store.snapshot() as snapshot:
            codes = {body.number: body.code for body in catalog.institutions()} if batch.by_class else None
            rest = self._store.turns.give_way
            return respond(snapshot, name, key, request, batch.inquiry.request_id, small, codes=codes, rest=rest)

    def _record_chunks(
        self,
        batch: Batch,
        request: Request,
        decided: Decided,
        name: str,
        key: bytes,
        done: list[bool],
        progress: Callable[[int], None] | None,
    ) -> None:
        """Resolve the missing chunks on the workers, a few ahead, and write them in order from this thread.

        While one is synced, another thread already hashes the tree with the next one in it.
        """
        missing = [chunk for chunk, is_done in enumerate(done) if not is_done]
        recorded = sum(_rows_in(request, chunk) for chunk, is_done in enumerate(done) if is_done)
        if len(missing) == 1:
            self._write(batch, request, decided, self._prepare(batch, request, decided, missing[0]), name, key, None)
            if progress is not None:
                progress(request.rows)
            return
        ahead: deque[Future[Prepared]] = deque()
        waiting = iter(missing)
        growing = self._workers.pool(1, "hub-tree")
        resolving = look_ahead(self._store, self._workers, batch, decided, request, len(missing))
        grown: Future[Grown] | None = None

        def grow(size: int, peaks: list[bytes], chunk: Future[Prepared]) -> Grown:
            return grow_tree(size, peaks, chunk.result().laid.leaves)

        def begin_next(state: State) -> None:
            nonlocal grown
            grown = growing.submit(grow, state.records, state.peaks, ahead[0]) if ahead else None

        try:
            turns = self._store.turns
            for chunk in missing:
                began, hurries = time.perf_counter(), turns.hurries
                while len(ahead) < CHUNKS_AHEAD and (following := next(waiting, None)) is not None:
                    if resolving is not None:
                        resolving.begin(following)
                    ahead.append(self._workers.submit(self._prepare, batch, request, decided, following, resolving))
                prepared = ahead.popleft().result()
                tree = grown.result() if grown is not None else None
                self._write(batch, request, decided, prepared, name, key, tree, begin_next)
                recorded += _rows_in(request, chunk)
                if progress is not None:
                    progress(recorded)
                turns.give_room(time.perf_counter() - began, hurries)
        finally:
            for future in ahead:
                if not future.cancel():
                    # What it counts as asked must be there when its caller gives it up.
                    future.exception()
            if resolving is not None:
                resolving.give_up()
            growing.shutdown(wait=False, cancel_futures=True)

    def _prepare(
        self, batch: Batch, request: Request, decided: Decided, chunk: int, resolving: Ahead | None = None
    ) -> Prepared:
        rows = rows_of(request, chunk)
        providers, decision, going = batch.providers[rows], decided.decision[rows], None
        with self._store.snapshot() as snapshot:
            question = (batch.inquiry.requester, tuple(decided.table.items)), decided.table.providers_max
            limit = Limit(self._asked, request.inquiry, chunk, [question], self._now())
            screen = Screen(snapshot, self._office.flagged.of(snapshot), limit)
            if batch.by_class:
                day = day_of_inquiry(batch, request.received_at)
                going = locate_rows(snapshot, batch, decided, rows, day, screen.flagged)
                providers, decision = going.providers, going.decision
            wanted = (decided.table.status == Status.OK).astype(np.uint8).take(decision)
            if going is not None:
                wanted[providers == 0] = 0
            resolution = None if resolving is None else resolving.part(chunk, snapshot)
            if resolution is None:
                resolution = resolve_aliases(
                    snapshot, batch.requester, providers, batch.aliases[rows], _ALONE, wanted=wanted
                )
        key = self._periods.make(period_of(self._now()))
        return prepare_chunk(
            batch, request, decided, resolution, screen, chunk, self._store.keys, key, self._code_of(request), going
        )

    def _code_of(self, request: Request) -> Callable[[int], str]:
        return lambda number: self.catalog_of(request.catalog).institution_by_number(number).code

    def _write(
        self,
        batch: Batch,
        request: Request,
        decided: Decided,
        chunk: Prepared,
        name: str,
        key: bytes,
        grown: Grown | None,
        before_commit: Callable[[State], None] | None = None,
    ) -> None:
        with self._store.commit() as commit:
            now = max(int(self._clock()), commit.state.time)
            if must_prepare_again(commit, chunk, now):
                # Aliases, flags or holders have changed since. Under the writer's lock nothing moves any more.
                chunk = self._prepare(batch, request, decided, chunk.number)
                now = max(now, period_start(chunk.laid.period))
            first = write_chunk(commit, name, key, request, chunk, now, grown)
            if before_commit is not None:
                before_commit(commit.state)
        self._asked.settle(request.inquiry, chunk.number)
        self._wake(first, chunk.laid)

    def _wake(self, first: int | None = None, laid: Laid | None = None) -> None:
        """Say that records were added; which, where it may spare a reader the look into the log."""
        if first is not None and laid is not None:
            self._exchange.note(first, laid.fields, laid.table)
        if self._merger is not None:
            self._merger.wake()
        if self._delivery is not None:
            self._delivery.wake()

    def _now(self) -> int:
        """Seconds since 1970; a clock that was set back does not take the log with it, and is warned of once."""
        now = int(self._clock())
        with self._store.snapshot() as snapshot:
            last = snapshot.state.time
        if now < last and not self._set_back:
            logger.warning("clock: expected %d or later, the last record's, got %d: the log waits", last, now)
        self._set_back = now < last
        return max(now, last)

    def _day(self, now: int) -> str:
        """The database of today's request ids; the first request of a day drops those that have expired."""
        day = now // _DAY_S
        name = self._store.request_database(day, create=True)
        if day != self._last_day:
            # Only then under the lock: a group is formed while the one before holds it.
            with self._store.writer:
                forget_old_requests(self._store, now)
                self._last_day = day
        if name is None:
            raise RequestError("write: expected a hub opened for writing, got a read-only one")
        return name

    # -- the exchange, see ``methods/exchange.py``

    def _catch_up(self) -> None:
        if self._delivery is None:
            return
        # A disk without room keeps nobody from reading: what has lapsed is passed over by its deadline, and what is not
        # sorted in is read from the log.
        with contextlib.suppress(FullError):
            self._lapse_today()
            self._delivery.deliver(behind_max=limits.BEHIND_INBOXES_MAX)

    def _settle_permits(self) -> None:
        # A segment is encrypted under the key of the period in which it was written, and read as long as one is open.
        self.lapse()
        if self._delivery is not None:
            self._delivery.deliver()

    def _publish(self) -> None:
        if not self._store.readonly:
            self._published().publish()

    def _lapse_today(self) -> None:
        """Once a day in Japan: let lapse what is due, and forget what nobody fetched."""
        now = self._now()
        if now < self._next_lapse:
            return
        with self._lapsing:
            if now >= self._next_lapse:
                self._lapser.lapse()
                expire_payloads(self._store, now)
                expire_notices(self._store, now)
                self._next_lapse = lapse_time(now + 1, 0)

    def _published(self) -> Log:
        assert self._log is not None
        return self._log

    def _find_origin(self, origin: str | None) -> str:
        with self._store.snapshot() as snapshot:
            value = snapshot.get("meta", b"origin")
            if value is not None:
                found = unseal("meta", b"origin", value).decode()
                if origin not in (None, found):
                    raise RequestError("origin: expected the one that the log was made with, got another")
                return found
        chosen = origin or f"hub-{self._store.keys.fingerprint.hex()[:16]}"
        if self._store.readonly:
            raise StorageError("open: its making was not finished; open it once for writing")
        LogKey(self._store.keys.log_seed, chosen)
        with self._store.commit() as commit:
            commit.put_sealed("meta", b"origin", chosen.encode())
        return chosen

    # -- the folder

    def stats(self) -> dict[str, Any]:
        """Counts and sizes: persons, records, aliases by institution, bytes on disk, live and by kind."""
        catalog = self.catalog
        for day in self._store.request_days():
            self._store.request_database(day, create=False)
        with self._store.snapshot() as snapshot:
            numbers = {table >> 1 for table in table_numbers(snapshot)}
            live = {name: self._live_bytes(snapshot.txn, name) for name in list(self._store.databases)}
            return {
                "folder": str(self._store.folder),
                "persons": snapshot.state.persons,
                "resident_codes": count_aliases(snapshot, RESIDENT_CODES),
                "identifiers": {
                    namespace.namespace: count_aliases(snapshot, namespace_number(catalog, namespace.namespace))
                    for namespace in catalog.namespaces
                },
                "records": snapshot.state.records,
                "commits": snapshot.state.commit,
                "aliases": {
                    catalog.institution_by_number(number).code: count_aliases(snapshot, number)
                    for number in sorted(numbers)
                    if number < RESIDENT_CODES
                },
                "bytes_on_disk": self._store.bytes_on_disk(),
                "live_bytes": sum(live.values()),
                "tables_bytes": live["tables"],
                "records_bytes": sum(live[name] for name in ("records", "entries", "nodes", "runs", "rundir")),
                "requests_bytes": sum(size for name, size in live.items() if name.startswith("requests.")),
                "catalog": catalog.digest,
            }

    def _live_bytes(self, txn: Any, name: str) -> int:
        stat = txn.stat(self._store.databases[name])
        return int(stat["psize"] * (stat["branch_pages"] + stat["leaf_pages"] + stat["overflow_pages"]))

    def check_blocks(self) -> int:
        """Check every block of every alias table that was not checked yet; returns how many blocks there are.

        Raises:
            StorageError: a block is damaged; it is named.
        """
        with self._store.snapshot() as snapshot:
            tables = table_numbers(snapshot)
        # A snapshot each: a long reader would keep every rewritten block alive.
        blocks = 0
        for table in tables:
            with self._store.snapshot() as snapshot:
                blocks += check_table(snapshot, table)
        return blocks


_ALONE = Workers(1)


def _decide(catalog: Catalog, batch: Batch, at: int) -> Decided:
    """The decisions of a batch; rows with classes get those of their own provider when they are located."""
    providers = batch.providers
    if batch.by_class:
        providers = stand_in_providers(catalog, catalog.table(batch.inquiry, at), providers)
    return authorise(catalog, batch.inquiry, providers, at, consents=batch.consents)


def _check_never_served(snapshot: Snapshot, what: str) -> None:
    if snapshot.get("meta", SERVED) is not None:
        raise RequestError(f"{what}: expected a folder that was never served, got one that was")


def _rows_in(request: Request, chunk: int) -> int:
    rows = rows_of(request, chunk)
    return rows.stop - rows.start


def open(
    folder: str | os.PathLike[str],
    *,
    create: bool = False,
    readonly: bool = False,
    threads: int | None = None,
    clock: Callable[[], float] = time.time,
    head: str | os.PathLike[str] | None = None,
    origin: str | None = None,
    answers_every_s: int = limits.ANSWERS_EVERY_S,
) -> Hub:
    """Open a hub folder.

    Args:
        create: make it if it is not there; an empty folder is accepted.
        readonly: any number of processes may read while one writes.
        threads: for bulk work; default: the processors this process may use.
        clock: seconds since 1970; the hub's own clock decides which law is in force.
        head: file with the latest checkpoint, outside the folder (default: ``<folder>.head`` beside it).
        origin: the log's name in its checkpoints, such as ``example.go.jp/log``; chosen when the hub is made.
        answers_every_s: late answers leave at full multiples of so many seconds, see ``limits.ANSWERS_EVERY_S``.

    Raises:
        RequestError: no hub there, or other files are.
        BusyError: another process has it open for writing; it is named.
        StorageError: damaged, of a newer format, without its keys, or the disk failed.
        TamperError: the record log is shorter than its head or has another root: an older copy was put back.
    """
    if isinstance(answers_every_s, bool) or not isinstance(answers_every_s, int) or not 1 <= answers_every_s <= _DAY_S:
        raise RequestError(f"answers_every_s: expected 1 to {_DAY_S} seconds, got something else")
    if str(folder).startswith(("hubs://", "hub://")):
        raise RequestError("folder: expected a folder, got an address: hub.connect takes those")
    return Hub(
        folder, create=create, readonly=readonly, threads=threads, clock=clock, head=head, origin=origin,
        answers_every_s=answers_every_s,
    )  # fmt: skip
