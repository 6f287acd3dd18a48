"""Small inquiries that share a commit are answered, recorded and refused as if each came alone."""

from __future__ import annotations

import asyncio
import contextlib
import multiprocessing
import random
import signal
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import Future
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pytest

import hub
from hub import limits
from hub.errors import BusyError, RequestError, StorageError
from hub.messages import Answer, Status
from hub.records.bodies import ROW, Bodies, supervise
from hub.requests import groups as requestgroups
from hub.requests.state import request_key
from hub.singles import gather
from inquiries import tax_inquiry
from model import Model

WAIT_S = 30.0


@contextlib.contextmanager
def held(h: hub.Hub) -> Iterator[None]:
    """Keep every commit waiting, so that what is asked meanwhile comes together."""
    with h._store.writer:
        yield


def waiting(h: hub.Hub) -> int:
    return len(h._gathering()._queue)


def until(fact: Callable[[], bool]) -> None:
    end = time.monotonic() + WAIT_S
    while not fact():
        assert time.monotonic() < end
        time.sleep(0.001)


def stall(h: hub.Hub, alias: np.ndarray, town: str) -> Future[Answer]:
    """Put one inquiry before the held commit: all that follow wait in the queue behind it."""
    first = h.inquire_soon(tax_inquiry("stall"), alias, town)
    until(lambda: waiting(h) == 0)
    return first


def same(one: Answer, other: Answer) -> bool:
    return all((getattr(one, name) == getattr(other, name)).all() for name in ("status", "rule", "reason"))


@pytest.fixture
def aliases(opened: hub.Hub, town: str, codes: np.ndarray) -> np.ndarray:
    """A hundred people's at the pension agency; the town knows every second."""
    opened.acquire(town, codes[::2].copy())
    opened.acquire("portal", codes)
    return opened.acquire("nenkin", codes).aliases


def test_what_waits_together_shares_one_commit(opened: hub.Hub, town: str, aliases: np.ndarray) -> None:
    with held(opened):
        first = stall(opened, aliases[:1], town)
        others = [opened.inquire_soon(tax_inquiry(f"r{i}"), aliases[i : i + 1], town) for i in range(64)]
        before = opened.stats()["commits"]
        assert not any(future.done() for future in others)
    statuses = [int(future.result(WAIT_S).status[0]) for future in others]
    assert statuses == [Status.OK, Status.NO_ALIAS_AT_PROVIDER] * 32
    first.result(WAIT_S)
    opened._merger.close()  # type: ignore[union-attr]
    assert opened.stats()["commits"] - before <= 3
    assert opened.stats()["records"] == 65
    assert opened.verify().ok


def test_a_grouped_answer_is_the_same_as_one_alone(
    opened: hub.Hub, town: str, aliases: np.ndarray, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked = aliases.copy()
    asked[3] = 7
    providers = [town, "131016", "130001", "portal"] * 25
    grouped = opened.inquire(tax_inquiry("grouped"), asked, providers)
    monkeypatch.setattr(limits, "ROWS_GATHERED_MAX", 0)
    alone = opened.inquire(tax_inquiry("alone"), asked, providers)
    assert same(grouped, alone)
    assert grouped.receipt.rows == alone.receipt.rows
    assert grouped.receipt.request_id == "grouped"
    # What was grouped is found by who does not group, and the other way round.
    assert same(opened.inquire(tax_inquiry("grouped"), asked, providers), grouped)
    monkeypatch.undo()
    assert same(opened.inquire(tax_inquiry("alone"), asked, providers), alone)
    assert opened.stats()["records"] == 2 * 99


@pytest.mark.parametrize(("rows", "shared"), [(limits.ROWS_GATHERED_MAX, True), (limits.ROWS_GATHERED_MAX + 1, False)])
def test_a_call_of_few_rows_shares_its_commit_and_one_row_more_does_not(
    opened: hub.Hub, town: str, aliases: np.ndarray, rows: int, shared: bool
) -> None:
    answer = opened.inquire(tax_inquiry(), np.resize(aliases, (rows, 16)), town)
    assert len(answer) == rows
    found = opened._groups.find(request_key("nenkin", "r1"), opened._now())
    assert found is not None
    assert (found.state is not None) == shared
    status = opened.status("nenkin", "r1")
    assert (status.rows, status.chunks, status.complete) == (rows, 1, True)


def test_the_same_request_twice_at_a_time_is_recorded_once(opened: hub.Hub, town: str, aliases: np.ndarray) -> None:
    with held(opened):
        stall(opened, aliases[:1], town)
        futures = [opened.inquire_soon(tax_inquiry("twice"), aliases[:5], town) for _ in range(3)]
        with pytest.raises(RequestError, match="first used with"):
            opened.inquire_soon(tax_inquiry("twice"), aliases[1:5], town)
        with pytest.raises(BusyError, match="under way"):
            opened.inquire(tax_inquiry("twice"), aliases[:5], town, progress=print)
    answers = [future.result(WAIT_S) for future in futures]
    assert all(same(answers[0], other) for other in answers)
    assert not any(np.shares_memory(answers[0].status, other.status) for other in answers[1:])
    assert opened.stats()["records"] == 6
    with pytest.raises(RequestError, match="first used with"):
        opened.inquire(tax_inquiry("twice"), aliases[1:5], town)
    assert opened.stats()["records"] == 6


def test_a_bad_call_does_not_hurt_its_neighbours(opened: hub.Hub, town: str, aliases: np.ndarray) -> None:
    with held(opened):
        stall(opened, aliases[:1], town)
        good = [opened.inquire_soon(tax_inquiry(f"r{i}"), aliases[i : i + 1], town) for i in range(10)]
        word = opened.inquire_soon(tax_inquiry("w", procedure="19-8/999/1"), aliases[:1], town)
        number = opened.inquire_soon(tax_inquiry("n"), aliases[:2], np.array([1, 60_000], np.uint32))
        used = opened.inquire_soon(tax_inquiry("u"), aliases[:1], town)
    with pytest.raises(RequestError, match="procedure"):
        word.result(WAIT_S)
    with pytest.raises(RequestError, match="institution"):
        number.result(WAIT_S)
    used.result(WAIT_S)
    assert all(len(future.result(WAIT_S)) == 1 for future in good)
    assert opened.stats()["records"] == 12
    for request_id in ("w", "n"):
        with pytest.raises(RequestError, match="unknown"):
            opened.status("nenkin", request_id)


@pytest.mark.parametrize("place", ["resolve_aliases", "join_columns", "GroupLayer.lay"])
@pytest.mark.parametrize("kind", [StorageError, ValueError])
def test_whoever_makes_a_stage_fail_gets_the_error_alone(
    opened: hub.Hub, town: str, aliases: np.ndarray, monkeypatch: pytest.MonkeyPatch, place: str, kind: type[Exception]
) -> None:
    owner = gather.GroupLayer if place == "GroupLayer.lay" else gather
    name = place.rpartition(".")[2]
    real = getattr(owner, name)

    def at_fault(*arguments: Any) -> bool:
        if name == "resolve_aliases":
            return bool((arguments[3] == aliases[50]).all(axis=1).any())
        return any(call.batch.inquiry.request_id == "bad" for call in arguments[-1 if name == "join_columns" else 1])

    def fail(*arguments: Any, **words: Any) -> object:
        if at_fault(*arguments):
            raise kind("made up")
        return real(*arguments, **words)

    with held(opened):
        stall(opened, aliases[:1], town)
        monkeypatch.setattr(owner, name, fail)
        good = [opened.inquire_soon(tax_inquiry(f"r{i}"), aliases[i : i + 1], town) for i in range(10)]
        bad = opened.inquire_soon(tax_inquiry("bad"), aliases[50:53], town)
    assert [int(future.result(WAIT_S).status[0]) for future in good] == [Status.OK, Status.NO_ALIAS_AT_PROVIDER] * 5
    with pytest.raises(StorageError):
        bad.result(WAIT_S)
    monkeypatch.undo()
    assert opened.stats()["records"] == 11
    assert len(opened.inquire(tax_inquiry("bad"), aliases[50:53], town)) == 3
    assert opened.verify().ok


def test_a_group_that_became_durable_in_spite_of_an_error_is_recorded_once(
    opened: hub.Hub, town: str, aliases: np.ndarray, monkeypatch: pytest.MonkeyPatch
) -> None:
    advance = opened._store._advance

    def fail_once() -> None:
        monkeypatch.setattr(opened._store, "_advance", advance)
        raise StorageError("made up")

    with held(opened):
        stall(opened, aliases[:1], town)
        futures = [opened.inquire_soon(tax_inquiry(f"r{i}"), aliases[i : i + 1], town) for i in range(10)]
        monkeypatch.setattr(opened._store, "_advance", fail_once)
    for future in futures:
        with contextlib.suppress(StorageError):
            future.result(WAIT_S)
    for i in range(10):
        assert len(opened.inquire(tax_inquiry(f"r{i}"), aliases[i : i + 1], town)) == 1
    assert opened.inquire(tax_inquiry("stall"), aliases[:1], town).status[0] == Status.OK
    assert opened.stats()["records"] == 11
    assert opened.verify().ok


def test_aliases_acquired_behind_the_resolving_count(
    opened: hub.Hub, town: str, codes: np.ndarray, aliases: np.ndarray, monkeypatch: pytest.MonkeyPatch
) -> None:
    form = gather.Gatherer._form

    def form_then_acquire(self: gather.Gatherer, calls: list) -> object:
        formed = form(self, calls)
        opened.acquire(town, codes)
        return formed

    monkeypatch.setattr(gather.Gatherer, "_form", form_then_acquire)
    assert (opened.inquire(tax_inquiry(), aliases, town).status == Status.OK).all()


def test_a_period_that_begins_behind_the_laying_out_counts(
    tmp_path: Path, codes: np.ndarray, monkeypatch: pytest.MonkeyPatch
) -> None:
    now = [1_798_729_199.0]  # the last second of 2026 in Japan
    form = gather.Gatherer._form

    def form_then_wait(self: gather.Gatherer, calls: list) -> object:
        formed = form(self, calls)
        now[0] += 2
        return formed

    monkeypatch.setattr(gather.Gatherer, "_form", form_then_wait)
    with hub.open(tmp_path / "hub", create=True, clock=lambda: now[0]) as h:
        aliases = h.acquire("nenkin", codes).aliases
        answer = h.inquire(tax_inquiry(), aliases[:3], "131016")
        assert answer.receipt.received_at == 1_798_729_199
        assert h._periods.periods()[-1] == 4 * 2027
        assert h.verify().ok


def test_an_unknown_alias_leaves_no_record_but_its_answer(opened: hub.Hub, town: str, aliases: np.ndarray) -> None:
    stranger = np.full((1, 16), 9, np.uint8)
    with held(opened):
        stall(opened, aliases[:1], town)
        unknown = opened.inquire_soon(tax_inquiry("unknown"), stranger, town)
        mixed = opened.inquire_soon(tax_inquiry("mixed"), np.concatenate((stranger, aliases[:1])), town)
    assert unknown.result(WAIT_S).status.tolist() == [Status.UNKNOWN_ALIAS]
    assert mixed.result(WAIT_S).status.tolist() == [Status.UNKNOWN_ALIAS, Status.OK]
    assert opened.stats()["records"] == 2
    assert opened.inquire(tax_inquiry("unknown"), stranger, town).status.tolist() == [Status.UNKNOWN_ALIAS]
    assert opened.inquire(tax_inquiry("only"), stranger, town).status.tolist() == [Status.UNKNOWN_ALIAS]
    assert opened.verify().ok


def test_supervisors_read_operator_and_cases_of_each_decision(opened: hub.Hub, town: str, aliases: np.ndarray) -> None:
    with held(opened):
        stall(opened, aliases[:1], town)
        futures = [
            opened.inquire_soon(
                tax_inquiry(f"r{i}", operator=f"o{i}"),
                aliases[4 * i : 4 * i + 4],
                town,
                cases=[f"c{i}-{row}" for row in range(4)] if i % 2 else None,
            )
            for i in range(4)
        ]
    for future in futures:
        future.result(WAIT_S)
    with opened._store.snapshot() as snapshot:
        bodies = Bodies(snapshot, opened._periods, opened._heads)
        chunk, rows = bodies.whole(1)
        assert chunk.rows == 16
        operators = {}
        for number, (shared, raw) in enumerate(zip(chunk.shared, chunk.fields.supervised, strict=True)):
            operator, cases = msgspec.msgpack.decode(raw)
            assert shared.supervised == supervise(chunk.fields.blind, number, raw)
            assert cases is None or len(cases) == int((rows.view(ROW)["decision"][:, 0] == number).sum())
            operators[operator] = cases
    assert set(operators) == {"o0", "o1", "o2", "o3"}
    assert operators["o0"] is None
    assert sorted(operators["o1"]) == [f"c1-{row}" for row in range(4)]


def test_more_than_may_wait_is_told_to_come_again(
    opened: hub.Hub, town: str, aliases: np.ndarray, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(gather, "CALLS_WAITING_MAX", 3)
    with held(opened):
        stall(opened, aliases[:1], town)
        futures = [opened.inquire_soon(tax_inquiry(f"r{i}"), aliases[:1], town) for i in range(3)]
        with pytest.raises(BusyError) as caught:
            opened.inquire_soon(tax_inquiry("r3"), aliases[:1], town)
        assert caught.value.retry_after_s > 0
        monkeypatch.setattr(gather, "ROWS_WAITING_MAX", 3)
        monkeypatch.setattr(gather, "CALLS_WAITING_MAX", 100)
        with pytest.raises(BusyError, match="wait"):
            opened.inquire_soon(tax_inquiry("r3"), aliases[:1], town)
    assert all(len(future.result(WAIT_S)) for future in futures)
    assert len(opened.inquire(tax_inquiry("r3"), aliases[:1], town)) == 1


def test_an_interrupt_while_waiting_loses_nothing(opened: hub.Hub, town: str, aliases: np.ndarray) -> None:
    locked, go = threading.Event(), threading.Event()
    main = threading.get_ident()

    def hold() -> None:
        with held(opened):
            locked.set()
            until(lambda: bool(opened._gathering()._under_way))
            signal.pthread_kill(main, signal.SIGINT)
            go.wait(WAIT_S)

    thread = threading.Thread(target=hold)
    thread.start()
    locked.wait(WAIT_S)
    with pytest.raises(KeyboardInterrupt):
        opened.inquire(tax_inquiry(), aliases[:1], town)
    go.set()
    thread.join()
    assert opened.inquire(tax_inquiry(), aliases[:1], town).status.tolist() == [Status.OK]
    assert opened.stats()["records"] == 1


@pytest.mark.parametrize("where", ["before", "behind"])
def test_an_interrupt_while_the_thread_is_woken_loses_nothing(
    where: str, tmp_path: Path, codes: np.ndarray, monkeypatch: pytest.MonkeyPatch
) -> None:
    with hub.open(tmp_path / "hub", create=True) as h:
        mine, town = h.acquire("nenkin", codes).aliases, h.catalog.institutions("市町村長")[0].code
        h.acquire(town, codes)
        h.inquire(tax_inquiry("first"), mine[:1], town)
        gatherer = h._gatherer
        assert gatherer is not None
        woken = gatherer._woken

        class Interrupted:
            def put(self, item: None) -> None:
                if where == "behind":
                    woken.put(item)
                monkeypatch.setattr(gatherer, "_woken", woken)
                raise KeyboardInterrupt

            get = staticmethod(woken.get)

        while not gatherer._sleeping:
            time.sleep(0.001)
        monkeypatch.setattr(gatherer, "_woken", Interrupted())
        with pytest.raises(KeyboardInterrupt):
            h.inquire(tax_inquiry("interrupted"), mine[:1], town)
        answers: list[Answer] = []
        names = "next", "interrupted"
        asking = threading.Thread(
            target=lambda: answers.extend(h.inquire(tax_inquiry(name), mine[:1], town) for name in names), daemon=True
        )
        asking.start()
        asking.join(30)
        assert [answer.status.tolist() for answer in answers] == [[Status.OK]] * 2
        assert h.stats()["records"] == 3


def test_closing_answers_what_is_written_and_refuses_what_waits(tmp_path: Path, codes: np.ndarray) -> None:
    h = hub.open(tmp_path / "hub", create=True)
    aliases = h.acquire("nenkin", codes).aliases
    with held(h):
        first = stall(h, aliases[:1], "131016")
        others = [h.inquire_soon(tax_inquiry(f"r{i}"), aliases[:1], "131016") for i in range(8)]
        closer = threading.Thread(target=h.close)
        closer.start()
        for future in others:
            with pytest.raises(RequestError, match="closed"):
                future.result(WAIT_S)
        with pytest.raises(RequestError, match="closed"):
            h.inquire(tax_inquiry("late"), aliases[:1], "131016")
    assert len(first.result(WAIT_S)) == 1
    closer.join(WAIT_S)
    assert not closer.is_alive()
    h.close()
    with pytest.raises(RequestError, match="closed"):
        h.inquire(tax_inquiry("late"), aliases[:1], "131016")
    with hub.open(tmp_path / "hub") as again:
        assert again.stats()["records"] == 1


def _ask_in_fork(h: hub.Hub, aliases: np.ndarray, connection: Connection) -> None:
    try:
        h.inquire(tax_inquiry("fork"), aliases[:1], "131016")
        connection.send("answered")
    except StorageError as error:
        connection.send(str(error))
    h.close()


def test_a_forked_process_is_refused(opened: hub.Hub, aliases: np.ndarray) -> None:
    opened.inquire(tax_inquiry(), aliases[:1], "131016")
    context = multiprocessing.get_context("fork")
    ours, theirs = context.Pipe()
    child = context.Process(target=_ask_in_fork, args=(opened, aliases, theirs))
    child.start()
    assert ours.poll(WAIT_S)
    assert "fork" in ours.recv()
    child.join(WAIT_S)
    assert len(opened.inquire(tax_inquiry("after"), aliases[:1], "131016")) == 1


def test_a_read_only_hub_finds_what_was_grouped_and_records_nothing(tmp_path: Path, codes: np.ndarray) -> None:
    with hub.open(tmp_path / "hub", create=True) as h:
        aliases = h.acquire("nenkin", codes).aliases
        h.inquire(tax_inquiry("before"), aliases[:2], "131016")
    with hub.open(tmp_path / "hub", readonly=True) as reader:
        assert reader.status("nenkin", "before").rows == 2
        with pytest.raises(RequestError, match="read-only"):
            reader.inquire(tax_inquiry("new"), aliases[:1], "131016")


def test_coroutines_share_commits_and_a_cancelled_one_is_recorded(
    opened: hub.Hub, town: str, aliases: np.ndarray
) -> None:
    async def ask_all() -> list[Answer]:
        with held(opened):
            first = asyncio.ensure_future(opened.inquire_async(tax_inquiry("first"), aliases[:1], town))
            await asyncio.sleep(0)
            until(lambda: waiting(opened) == 0)
            tasks = [
                asyncio.ensure_future(opened.inquire_async(tax_inquiry(f"r{i}"), aliases[i : i + 1], town))
                for i in range(64)
            ]
            await asyncio.sleep(0)
            tasks[0].cancel()
            wrong = asyncio.ensure_future(opened.inquire_async(tax_inquiry("w", role="誰か"), aliases[:1], town))
            await asyncio.sleep(0)
        await first
        with pytest.raises(asyncio.CancelledError):
            await tasks[0]
        with pytest.raises(RequestError):
            await wrong
        large = await opened.inquire_async(tax_inquiry("large"), np.resize(aliases, (2_000, 16)), town)
        assert len(large) == 2_000
        return [await task for task in tasks[1:]]

    answers = asyncio.run(ask_all())
    assert len(answers) == 63
    assert opened.inquire(tax_inquiry("r0"), aliases[:1], town).status[0] == Status.OK
    assert opened.stats()["records"] == 1 + 64 + 2_000


def test_keys_enter_the_index_in_parts_and_are_found_all_along(
    tmp_path: Path, codes: np.ndarray, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(requestgroups, "FOLD_FROM", 40)
    now = [1_798_761_600.0]

    def open_hub(readonly: bool = False) -> hub.Hub:
        return hub.open(tmp_path / "hub", create=not readonly, readonly=readonly, clock=lambda: now[0])

    def index_entries(h: hub.Hub, name: str) -> int:
        with h._store.snapshot() as snapshot:
            return sum(len(key) == 20 for key, _ in snapshot.items(name, b""))

    with open_hub() as h:
        aliases = h.acquire("nenkin", codes).aliases
        for i in range(100):
            h.inquire(tax_inquiry(f"a{i}"), aliases[i : i + 1], "131016")
        name = f"requests.{int(now[0]) // 86_400}"
        entries = index_entries(h, name)
        assert 0 < entries < 100
    with open_hub(readonly=True) as reader:
        assert all(reader.status("nenkin", f"a{i}").complete for i in range(100))
    with open_hub() as h:
        for i in range(100):
            assert len(h.inquire(tax_inquiry(f"a{i}"), aliases[i : i + 1], "131016")) == 1
        assert h.stats()["records"] == 100
        now[0] += 86_400
        for i in range(100):
            h.inquire(tax_inquiry(f"b{i}"), aliases[i : i + 1], "131016")
        assert index_entries(h, name) == 100
        assert len(h._groups._days[name].fresh) == 0
        assert all(h.status("nenkin", f"{day}{i}").complete for i in range(100) for day in "ab")
        assert h.requesters_of("a7") == ["nenkin"]
        assert h.verify().ok
        now[0] += 31 * 86_400
        h.inquire(tax_inquiry("c"), aliases[:1], "131016")
        h.inquire(tax_inquiry("d"), aliases[:1], "131016")
        with pytest.raises(RequestError, match="unknown"):
            h.status("nenkin", "a7")
        assert name not in h._groups._days


@pytest.mark.parametrize("threads", [1, 2])
def test_random_concurrent_calls_agree_with_the_model(tmp_path: Path, codes: np.ndarray, threads: int) -> None:
    seed = random.SystemRandom().randrange(2**31)
    print(f"seed {seed}")
    rng = random.Random(seed)
    now = 1_798_761_600
    with hub.open(tmp_path / "hub", create=True, clock=lambda: now) as h:
        h._gathering()._threads_wanted = threads
        model = Model(h.catalog)
        text = [f"{code:011d}" for code in codes.tolist()]
        towns = [body.code for body in h.catalog.institutions("市町村長")[:3]]
        for body, known in [("nenkin", text), ("portal", text), (towns[0], text[:50]), (towns[1], text[30:])]:
            model.acquire(body, known, h.acquire(body, known).aliases)
        own = np.frombuffer(b"".join(model.alias_of["nenkin"].values()), np.uint8).reshape(-1, 16)
        plan = []
        for number in range(300):
            rows = rng.choice((1, 1, 1, 2, 30))
            asked = own[[rng.randrange(100) for _ in range(rows)]].copy()
            if rng.random() < 0.1:
                asked[0] = rng.randrange(256)
            providers = [rng.choice((*towns, "130001")) for _ in range(rows)]
            plan.append((tax_inquiry(f"m{number}", section=f"課{number}"), asked, providers))
        results: list[Answer | None] = [None] * len(plan)

        def work(part: int) -> None:
            for number in range(part, len(plan), 12):
                results[number] = h.inquire(*plan[number])

        async def work_async(parts: range) -> None:
            async def one(part: int) -> None:
                for number in range(part, len(plan), 12):
                    results[number] = await h.inquire_async(*plan[number])

            await asyncio.gather(*map(one, parts))

        workers = [threading.Thread(target=work, args=(part,)) for part in range(6)]
        for thread in workers:
            thread.start()
        asyncio.run(work_async(range(6, 12)))
        for thread in workers:
            thread.join(WAIT_S)
        for (inquiry, asked, providers), got in zip(plan, results, strict=True):
            wanted = model.inquire(inquiry, asked, providers, now)
            assert got is not None
            assert got.status.tolist() == wanted.status.tolist()
            assert got.rule.tolist() == wanted.rule.tolist()
            assert got.reason.tolist() == wanted.reason.tolist()
            assert same(h.inquire(inquiry, asked, providers), got)
        assert h.stats()["records"] == len(model.records)
        portal = list(model.alias_of["portal"].values())
        for alias in portal[:20]:
            page = h.history(alias, limit=1000)
            # All were asked in one second: within it the order of inquiries is the hub's to choose.
            assert sorted(r.section for r in page.records) == sorted(line.section for _, line in model.history(alias))
            assert page.proof(0) if page.records else True
        assert h.verify().ok
