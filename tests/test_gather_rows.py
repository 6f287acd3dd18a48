"""Inquiries of one row each that come as columns are answered, recorded and refused as calls are."""

from __future__ import annotations

import contextlib
import random
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import Future
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pytest

import hub
from hub._small import Filter, Keys, join_fields, probe, seal_entries
from hub.errors import BusyError, RequestError, StorageError
from hub.messages import Answer, Status
from hub.records.bodies import Bodies, Fields, supervise
from hub.requests import groups as requestgroups
from hub.singles import gather, gatherrows, rowgroup
from hub.singles.small import SmallAnswers
from hub.storage.sealed import seal, value_sum
from hub.tlog.entry import hash_shared, join_shared
from inquiries import tax_inquiry
from model import Model
from smallrows import columns, submit

WAIT_S = 30.0


@contextlib.contextmanager
def held(h: hub.Hub) -> Iterator[Future[SmallAnswers]]:
    """Keep every commit waiting behind one row, so that what is asked meanwhile comes together."""
    with h._store.writer:
        alias = np.full(16, 77, np.uint8)
        first = submit(h, [(tax_inquiry("held"), alias, "131016")])
        until(lambda: h._gathering()._lane.idle)
        yield first


def until(fact: Callable[[], bool]) -> None:
    end = time.monotonic() + WAIT_S
    while not fact():
        assert time.monotonic() < end
        time.sleep(0.001)


@pytest.fixture
def aliases(opened: hub.Hub, town: str, codes: np.ndarray) -> np.ndarray:
    """A hundred people's at the pension agency; the town knows every second."""
    opened.acquire(town, codes[::2].copy())
    opened.acquire("portal", codes)
    return opened.acquire("nenkin", codes).aliases


def agree(h: hub.Hub, inquiry: hub.Inquiry, alias: np.ndarray, provider: Any, answers: SmallAnswers, row: int) -> None:
    """The same request sent as a call is answered the same, and not recorded again."""
    before = h.stats()["records"]
    answer = h.inquire(inquiry, alias.reshape(1, 16), provider)
    assert [answer.status[0], answer.rule[0], answer.reason[0], answer.receipt.received_at] == [
        column[row] for column in answers.columns
    ]
    assert h.stats()["records"] == before


def test_rows_that_wait_together_share_one_commit(opened: hub.Hub, town: str, aliases: np.ndarray) -> None:
    asked = [(tax_inquiry(f"r{i}"), aliases[i], town) for i in range(64)]
    with held(opened) as first:
        parts = [submit(opened, asked[i : i + 8]) for i in range(0, 64, 8)]
        before = opened.stats()["commits"]
        assert not any(part.done() for part in parts)
    found = [part.result(WAIT_S) for part in parts]
    assert np.concatenate([one.status for one in found]).tolist() == [Status.OK, Status.NO_ALIAS_AT_PROVIDER] * 32
    assert not any(one.errors for one in found)
    opened._merger.close()  # type: ignore[union-attr]
    assert opened.stats()["commits"] - before <= 3
    assert opened.stats()["records"] == 64
    assert first.result(WAIT_S).status.tolist() == [Status.UNKNOWN_ALIAS]
    for i in (0, 1, 63):
        agree(opened, *asked[i], found[i // 8], i % 8)
    assert opened.verify().ok


def test_mixed_questions_are_each_answered_as_their_own(opened: hub.Hub, town: str, aliases: np.ndarray) -> None:
    providers = [town, "131016", "130001", "portal"]
    words = [{"section": f"課{i % 7}", "operator": f"o{i % 3}" if i % 3 else None} for i in range(60)]
    asked = [(tax_inquiry(f"r{i}", **one), aliases[i], providers[i % 4]) for i, one in enumerate(words)]
    asked += [(tax_inquiry("unknown"), np.full(16, 9, np.uint8), town)]
    asked += [(tax_inquiry("other", requester="131016", section="税務課"), aliases[0], town)]
    with held(opened):
        futures = [submit(opened, asked[:20]), submit(opened, asked[20:])]
    found = [future.result(WAIT_S) for future in futures]
    assert not any(one.errors for one in found)
    for i, one in enumerate(asked):
        answers, row = (found[0], i) if i < 20 else (found[1], i - 20)
        agree(opened, *one, answers, row)
    assert found[1].status[40] == Status.UNKNOWN_ALIAS
    assert opened.verify().ok


def test_supervisors_read_the_operator_of_each_row(opened: hub.Hub, town: str, aliases: np.ndarray) -> None:
    with held(opened):
        future = submit(opened, [(tax_inquiry(f"r{i}", operator=f"o{i}"), aliases[i], town) for i in range(5)])
    assert not future.result(WAIT_S).errors
    with opened._store.snapshot() as snapshot:
        chunk, _ = Bodies(snapshot, opened._periods, opened._heads).whole(0)
        raws = chunk.fields.supervised
        assert [msgspec.msgpack.decode(raw) for raw in raws] == [[f"o{i}", None] for i in range(5)]
        for number, (shared, raw) in enumerate(zip(chunk.shared, raws, strict=True)):
            assert shared.supervised == supervise(chunk.fields.blind, number, raw)
        assert len({shared.inquiry for shared in chunk.shared}) == 5


def test_the_same_request_twice_is_recorded_once(opened: hub.Hub, town: str, aliases: np.ndarray) -> None:
    once = (tax_inquiry("twice"), aliases[0], town)
    with held(opened):
        both = submit(opened, [once, once, (tax_inquiry("r"), aliases[1], town), once])
        again = submit(opened, [once])
        other = submit(opened, [(tax_inquiry("twice"), aliases[2], town)])
    found = both.result(WAIT_S)
    assert not found.errors
    assert found.status.tolist() == [Status.OK, Status.OK, Status.NO_ALIAS_AT_PROVIDER, Status.OK]
    assert again.result(WAIT_S).status.tolist() == [Status.OK]
    assert "first used with" in str(other.result(WAIT_S).errors[0])
    assert opened.stats()["records"] == 2
    # Later as well.
    assert submit(opened, [once]).result(WAIT_S).status.tolist() == [Status.OK]
    assert "first used with" in str(submit(opened, [(once[0], aliases[2], town)]).result(WAIT_S).errors[0])
    assert opened.stats()["records"] == 2


def test_a_request_that_is_under_way_as_a_call_is_busy_and_then_found(
    opened: hub.Hub, town: str, aliases: np.ndarray
) -> None:
    one = (tax_inquiry("both"), aliases[0], town)
    with held(opened):
        call = opened.inquire_soon(one[0], aliases[:1], town)
        rows = submit(opened, [one, (tax_inquiry("r"), aliases[0], town)])
    # Whichever comes first, the other one is told to come again, or finds what became durable.
    assert call.result(WAIT_S).status.tolist() == [Status.OK]
    found = rows.result(WAIT_S)
    assert found.status[1] == Status.OK
    assert all(isinstance(error, BusyError) and row == 0 for row, error in found.errors.items())
    assert submit(opened, [one]).result(WAIT_S).status.tolist() == [Status.OK]
    assert opened.stats()["records"] == 2


def test_a_call_whose_request_is_under_way_as_a_row_is_busy(
    opened: hub.Hub, town: str, aliases: np.ndarray, monkeypatch: pytest.MonkeyPatch
) -> None:
    one = (tax_inquiry("both"), aliases[0], town)
    with opened._store.writer:
        rows = submit(opened, [one])
        until(lambda: opened._gathering()._lane.idle)
        with pytest.raises(BusyError, match="under way"):
            opened.inquire_soon(one[0], aliases[:1], town)
        with pytest.raises(BusyError, match="under way"):
            opened.inquire(one[0], aliases[:1], town, progress=print)
    assert rows.result(WAIT_S).status.tolist() == [Status.OK]
    assert opened.inquire(one[0], aliases[:1], town).status.tolist() == [Status.OK]
    gatherer = opened._gathering()
    key = columns(opened, [(tax_inquiry("reserved"), aliases[0], town)]).keys[0].tobytes()
    gatherer.reserve(key)
    busy = submit(opened, [(tax_inquiry("reserved"), aliases[0], town), (tax_inquiry("r2"), aliases[0], town)])
    assert isinstance(busy.result(WAIT_S).errors.pop(0), BusyError)
    assert busy.result(WAIT_S).status[1] == Status.OK
    gatherer.let_go(key)
    assert opened.stats()["records"] == 2


def test_a_bad_row_does_not_hurt_its_neighbours(opened: hub.Hub, town: str, aliases: np.ndarray) -> None:
    asked = [(tax_inquiry(f"r{i}"), aliases[i], town) for i in range(10)]
    asked.insert(3, (tax_inquiry("w", procedure="19-8/999/1"), aliases[0], town))
    asked.insert(7, (tax_inquiry("n"), aliases[0], 60_000))
    asked.insert(8, (tax_inquiry("z"), aliases[0], 0))
    with held(opened):
        future = submit(opened, asked)
    found = future.result(WAIT_S)
    assert set(found.errors) == {3, 7, 8}
    assert "procedure" in str(found.errors[3])
    assert "institution" in str(found.errors[7])
    assert "institution" in str(found.errors[8])
    assert all(isinstance(error, RequestError) for error in found.errors.values())
    assert [int(status) for row, status in enumerate(found.status) if row not in found.errors] == [0, 3] * 5
    assert opened.stats()["records"] == 10
    for request_id in ("w", "n", "z"):
        with pytest.raises(RequestError, match="unknown"):
            opened.status("nenkin", request_id)


def test_what_the_law_refuses_is_recorded_and_answered_so(opened: hub.Hub, aliases: np.ndarray) -> None:
    one = (tax_inquiry("denied"), aliases[0], "portal")
    found = submit(opened, [one]).result(WAIT_S)
    assert found.status.tolist() == [Status.DENIED]
    assert found.reason[0]
    agree(opened, *one, found, 0)
    assert opened.stats()["records"] == 1


def test_columns_of_another_form_are_refused_and_nothing_is_done(
    opened: hub.Hub, town: str, aliases: np.ndarray
) -> None:
    rows = columns(opened, [(tax_inquiry("r"), aliases[0], town)])
    calls: list[SmallAnswers] = []
    bad = [
        rows._replace(aliases=rows.aliases[:, :8]), rows._replace(providers=rows.providers.astype(np.int64)),
        rows._replace(keys=rows.keys[:0]), rows._replace(digests=np.asfortranarray(np.zeros((2, 32), np.uint8))),
        rows._replace(which=np.ones(1, np.uint32)), rows._replace(consents=np.zeros(2, np.uint8)),
    ]  # fmt: skip
    for one in bad:
        with pytest.raises(RequestError, match="expected"):
            opened.inquire_rows(one, calls.append)
    assert not calls
    empty = columns(opened, [])
    future: Future[SmallAnswers] = Future()
    opened.inquire_rows(empty, future.set_result)
    assert len(future.result(WAIT_S).status) == 0


def test_more_rows_than_may_wait_are_told_to_come_again(
    opened: hub.Hub, town: str, aliases: np.ndarray, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(gatherrows, "CALLS_WAITING_MAX", 5)
    asked = [(tax_inquiry(f"r{i}"), aliases[i], town) for i in range(10)]
    with held(opened):
        exact = submit(opened, asked[:3])
        over = submit(opened, asked[3:7])
        full = submit(opened, asked[7:])
        assert not any(one.done() for one in (exact, over, full))
    assert not exact.result(WAIT_S).errors
    assert set(over.result(WAIT_S).errors) == {2, 3}
    assert set(full.result(WAIT_S).errors) == {0, 1, 2}
    for error in full.result(WAIT_S).errors.values():
        assert isinstance(error, BusyError)
        assert error.retry_after_s > 0
    assert opened.stats()["records"] == 5
    assert opened._gathering()._lane.waiting == 0
    assert not submit(opened, asked[5:10]).result(WAIT_S).errors


def test_a_submission_of_more_rows_than_a_group_is_answered_once(
    opened: hub.Hub, town: str, aliases: np.ndarray, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(gatherrows, "CALLS_PER_GROUP_MAX", 7)
    asked = [(tax_inquiry(f"r{i}"), aliases[i], town) for i in range(30)]
    asked[20] = (tax_inquiry("w", procedure="19-8/999/1"), aliases[0], town)
    asked[25] = asked[2]
    with held(opened):
        futures = [submit(opened, asked[:3]), submit(opened, asked[3:])]
    assert futures[0].result(WAIT_S).status.tolist() == [0, 3, 0]
    found = futures[1].result(WAIT_S)
    assert set(found.errors) == {17}
    wanted = [0 if i % 2 == 0 else 3 for i in range(3, 30)]
    wanted[17] = wanted[22] = 0
    assert found.status.tolist() == wanted
    assert opened.stats()["records"] == 28
    assert opened.verify().ok


@pytest.mark.parametrize("kind", [StorageError, ValueError])
@pytest.mark.parametrize("place", ["resolve_aliases", "lay"])
def test_whoever_makes_a_stage_fail_gets_the_error_alone(
    opened: hub.Hub, town: str, aliases: np.ndarray, monkeypatch: pytest.MonkeyPatch, place: str, kind: type[Exception]
) -> None:
    owner = rowgroup.RowLayer if place == "lay" else gatherrows
    real = getattr(owner, place)

    def fail(*arguments: Any, **words: Any) -> object:
        column = arguments[2].rows.aliases if place == "lay" else arguments[3]
        if (column == aliases[50]).all(axis=1).any():
            raise kind("made up")
        return real(*arguments, **words)

    asked = [(tax_inquiry(f"r{i}"), aliases[i], town) for i in range(10)]
    asked.insert(6, (tax_inquiry("bad"), aliases[50], town))
    with held(opened):
        monkeypatch.setattr(owner, place, fail)
        future = submit(opened, asked)
    found = future.result(WAIT_S)
    assert set(found.errors) == {6}
    assert isinstance(found.errors[6], StorageError)
    assert "made up" not in str(found.errors[6]) or kind is StorageError
    monkeypatch.undo()
    assert opened.stats()["records"] == 10
    assert submit(opened, [asked[6]]).result(WAIT_S).status.tolist() == [Status.OK]
    assert opened.verify().ok


def test_a_group_that_became_durable_in_spite_of_an_error_is_recorded_once(
    opened: hub.Hub, town: str, aliases: np.ndarray, monkeypatch: pytest.MonkeyPatch
) -> None:
    advance = opened._store._advance

    def fail_once() -> None:
        monkeypatch.setattr(opened._store, "_advance", advance)
        raise StorageError("made up")

    asked = [(tax_inquiry(f"r{i}"), aliases[i], town) for i in range(10)]
    with held(opened):
        future = submit(opened, asked)
        monkeypatch.setattr(opened._store, "_advance", fail_once)
    future.result(WAIT_S)
    again = submit(opened, asked).result(WAIT_S)
    assert again.status.tolist() == [0, 3] * 5
    assert not again.errors
    assert opened.stats()["records"] == 10
    assert opened.verify().ok


def test_aliases_acquired_behind_the_resolving_count(
    opened: hub.Hub, town: str, codes: np.ndarray, aliases: np.ndarray, monkeypatch: pytest.MonkeyPatch
) -> None:
    form = gatherrows.RowLane.form

    def form_then_acquire(self: gatherrows.RowLane, taken: gatherrows.Taken) -> object:
        formed = form(self, taken)
        opened.acquire(town, codes)
        return formed

    monkeypatch.setattr(gatherrows.RowLane, "form", form_then_acquire)
    found = submit(opened, [(tax_inquiry(f"r{i}"), aliases[i], town) for i in range(100)]).result(WAIT_S)
    assert (found.status == Status.OK).all()
    assert opened.verify().ok


def test_a_period_that_begins_behind_the_laying_out_counts(
    tmp_path: Path, codes: np.ndarray, monkeypatch: pytest.MonkeyPatch
) -> None:
    now = [1_798_729_199.0]  # the last second of 2026 in Japan
    form = gatherrows.RowLane.form

    def form_then_wait(self: gatherrows.RowLane, taken: gatherrows.Taken) -> object:
        formed = form(self, taken)
        now[0] += 2
        return formed

    monkeypatch.setattr(gatherrows.RowLane, "form", form_then_wait)
    with hub.open(tmp_path / "hub", create=True, clock=lambda: now[0]) as h:
        aliases = h.acquire("nenkin", codes).aliases
        found = submit(h, [(tax_inquiry(f"r{i}"), aliases[i], "131016") for i in range(3)]).result(WAIT_S)
        assert found.received_at.tolist() == [1_798_729_199] * 3
        assert h._periods.periods()[-1] == 4 * 2027
        assert h.verify().ok


def test_closing_answers_what_is_written_and_refuses_what_waits(tmp_path: Path, codes: np.ndarray) -> None:
    h = hub.open(tmp_path / "hub", create=True)
    aliases = h.acquire("nenkin", codes).aliases
    with held(h) as first:
        others = [submit(h, [(tax_inquiry(f"r{i}"), aliases[0], "131016")]) for i in range(8)]
        closer = threading.Thread(target=h.close)
        closer.start()
        for future in others:
            assert "closed" in str(future.result(WAIT_S).errors[0])
        with pytest.raises(RequestError, match="closed"):
            h.inquire_rows(columns(h, [(tax_inquiry("late"), aliases[0], "131016")]), print)
    assert first.result(WAIT_S).status.tolist() == [Status.UNKNOWN_ALIAS]
    closer.join(WAIT_S)
    assert not closer.is_alive()
    with hub.open(tmp_path / "hub") as again:
        assert again.stats()["records"] == 0


def test_whoever_fails_to_take_its_answers_hurts_nobody(opened: hub.Hub, town: str, aliases: np.ndarray) -> None:
    def fail(_: SmallAnswers) -> None:
        raise RuntimeError("made up")

    with held(opened):
        opened.inquire_rows(columns(opened, [(tax_inquiry("a"), aliases[0], town)]), fail)
        good = submit(opened, [(tax_inquiry("b"), aliases[0], town)])
    assert good.result(WAIT_S).status.tolist() == [Status.OK]
    assert submit(opened, [(tax_inquiry("a"), aliases[0], town)]).result(WAIT_S).status.tolist() == [Status.OK]
    assert opened.stats()["records"] == 2


class Here:
    """Rows that may be done by the caller: which threads called back, with what."""

    def __init__(self, h: hub.Hub, town: str, aliases: np.ndarray) -> None:
        self.h, self.town, self.aliases = h, town, aliases
        self.calls: list[tuple[int, SmallAnswers]] = []
        # The first one starts the thread, which then waits.
        submit(h, [(tax_inquiry("first"), aliases[0], town)]).result(WAIT_S)
        until(lambda: h._gathering()._sleeping)

    def ask(self, *names: str) -> None:
        rows = columns(self.h, [(tax_inquiry(name), self.aliases[0], self.town) for name in names])
        self.h.inquire_rows(rows, lambda answers: self.calls.append((threading.get_ident(), answers)), here=True)

    def own(self) -> list[bool]:
        until(lambda: bool(self.calls))
        return [thread == threading.get_ident() for thread, _ in self.calls]


def test_a_caller_does_its_rows_itself_where_nothing_else_is_under_way(
    opened: hub.Hub, town: str, aliases: np.ndarray
) -> None:
    here = Here(opened, town, aliases)
    here.ask("a", "b", "a")
    # Before it returned.
    assert len(here.calls) == 1
    assert here.own() == [True]
    answers = here.calls[0][1]
    assert answers.status.tolist() == [Status.OK] * 3
    assert not answers.errors
    assert opened.stats()["records"] == 3
    agree(opened, tax_inquiry("b"), aliases[0], town, answers, 1)
    here.ask("a")
    assert here.calls[1][1].received_at.tolist() == answers.received_at[:1].tolist()
    assert opened.stats()["records"] == 3


def test_a_caller_leaves_its_rows_to_the_thread_where_somebody_writes(
    opened: hub.Hub, town: str, aliases: np.ndarray
) -> None:
    here = Here(opened, town, aliases)
    entered, leave = threading.Event(), threading.Event()

    def write() -> None:
        with opened._store.writer:
            entered.set()
            leave.wait(WAIT_S)

    other = threading.Thread(target=write)
    other.start()
    entered.wait(WAIT_S)
    here.ask("a")
    assert not here.calls
    leave.set()
    assert here.own() == [False]
    other.join(WAIT_S)


def test_a_caller_leaves_its_rows_to_the_thread_after_long_waits(
    opened: hub.Hub, town: str, aliases: np.ndarray, monkeypatch: pytest.MonkeyPatch
) -> None:
    here = Here(opened, town, aliases)
    monkeypatch.setattr(gather, "WAIT_S", -1.0)
    here.ask("a")
    here.ask("b")
    until(lambda: len(here.calls) == 2)
    assert here.own() == [True, False]


def test_what_is_put_in_while_a_caller_does_its_rows_is_done_behind_them(
    opened: hub.Hub, town: str, aliases: np.ndarray, monkeypatch: pytest.MonkeyPatch
) -> None:
    here = Here(opened, town, aliases)
    gatherer, others = opened._gathering(), []
    form = gatherer._lane.form

    def meanwhile(*given: Any) -> Any:
        if not others:
            others.append(submit(opened, [(tax_inquiry("b"), aliases[2], town), (tax_inquiry("a"), aliases[0], town)]))
            asked = threading.Thread(
                target=lambda: others.append(opened.inquire(tax_inquiry("c"), aliases[4].reshape(1, 16), town))
            )
            asked.start()
            others.append(asked)
            until(lambda: gatherer.waiting()[0] == 1 and gatherer._sleeping)
        return form(*given)

    monkeypatch.setattr(gatherer._lane, "form", meanwhile)
    here.ask("a")
    assert here.own() == [True]
    found = others[0].result(WAIT_S)
    others[1].join(WAIT_S)
    assert found.status.tolist() == [Status.OK, Status.OK]
    assert others[2].status.tolist() == [Status.OK]
    # The same request, asked again meanwhile, is not recorded twice.
    assert opened.stats()["records"] == 4
    assert not gatherer._aside


def test_a_hub_is_closed_when_a_caller_has_done_its_rows(
    opened: hub.Hub, town: str, aliases: np.ndarray, monkeypatch: pytest.MonkeyPatch
) -> None:
    here = Here(opened, town, aliases)
    gatherer = opened._gathering()
    form = gatherer._lane.form
    closer = threading.Thread(target=gatherer.close)

    def meanwhile(*given: Any) -> Any:
        closer.start()
        until(lambda: gatherer._closing)
        closer.join(0.5)
        assert closer.is_alive()
        return form(*given)

    monkeypatch.setattr(gatherer._lane, "form", meanwhile)
    here.ask("a")
    closer.join(WAIT_S)
    assert here.own() == [True]
    assert not here.calls[0][1].errors
    assert here.calls[0][1].status.tolist() == [Status.OK]
    assert not closer.is_alive()


def test_a_failure_while_a_caller_does_its_rows_is_theirs_alone(
    opened: hub.Hub, town: str, aliases: np.ndarray, monkeypatch: pytest.MonkeyPatch
) -> None:
    here = Here(opened, town, aliases)

    def fail(*_: Any) -> Any:
        raise RuntimeError("made up")

    monkeypatch.setattr(opened._gathering()._lane, "form", fail)
    here.ask("a")
    assert here.own() == [True]
    assert isinstance(here.calls[0][1].errors[0], StorageError)
    monkeypatch.undo()
    here.ask("a")
    assert here.calls[1][1].status.tolist() == [Status.OK]
    assert opened.stats()["records"] == 2


def test_permits_of_rows_are_collected_and_answered(opened: hub.Hub, town: str, aliases: np.ndarray) -> None:
    collected = opened.collect(town)
    assert not collected
    asked = [(tax_inquiry(f"r{i}"), aliases[2 * i], town) for i in range(50)]
    assert not submit(opened, asked[:25]).result(WAIT_S).errors
    first = opened.collect(town)
    assert sum(len(one) for one in first) == 25
    assert not submit(opened, asked[25:]).result(WAIT_S).errors
    permits = np.concatenate([one.permit for one in opened.collect(town)])
    assert len(permits) == 50
    opened.provide(town, permits, np.full(50, Status.EMPTY, np.uint8))
    assert not opened.collect(town)
    assert opened.answers("nenkin", "r0").status.tolist() == [Status.EMPTY]
    assert opened.answers("nenkin", "r49").status.tolist() == [Status.EMPTY]
    assert opened.verify().ok


def test_rows_are_found_after_reopening_and_as_their_keys_enter_the_index(
    tmp_path: Path, codes: np.ndarray, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(requestgroups, "FOLD_FROM", 40)
    now = [1_798_761_600.0]
    with hub.open(tmp_path / "hub", create=True, clock=lambda: now[0]) as h:
        aliases = h.acquire("nenkin", codes).aliases
        asked = [(tax_inquiry(f"r{i}"), aliases[i], "131016") for i in range(100)]
        for i in range(0, 100, 5):
            assert not submit(h, asked[i : i + 5]).result(WAIT_S).errors
    with hub.open(tmp_path / "hub", readonly=True) as reader:
        assert all(reader.status("nenkin", f"r{i}").complete for i in range(100))
        assert reader.requesters_of("r7") == ["nenkin"]
        with pytest.raises(RequestError, match="read-only"):
            submit(reader, asked[:1])
    with hub.open(tmp_path / "hub", clock=lambda: now[0]) as h:
        found = submit(h, asked).result(WAIT_S)
        assert found.status.tolist() == [Status.NO_ALIAS_AT_PROVIDER] * 100
        now[0] += 86_400
        for i in range(60):
            assert not submit(h, [(tax_inquiry(f"b{i}"), aliases[i], "131016")]).result(WAIT_S).errors
        assert not submit(h, asked).result(WAIT_S).errors
        assert h.stats()["records"] == 160
        assert h.verify().ok


def test_ids_of_days_that_are_over_are_found_through_filters(
    tmp_path: Path, codes: np.ndarray, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("hub.requests.dayfilters.FILTER_FROM", 10)
    monkeypatch.setattr("hub.requests.dayfilters.FILTER_STEP", 7)
    now = [1_798_761_600.0]
    with hub.open(tmp_path / "hub", create=True, clock=lambda: now[0]) as h:
        aliases = h.acquire("nenkin", codes).aliases
        days = 5
        for day in range(days):
            asked = [(tax_inquiry(f"d{day}-{i}"), aliases[i], "131016") for i in range(50)]
            assert not submit(h, asked).result(WAIT_S).errors
            # A request of many rows has its id there as well.
            h.inquire(tax_inquiry(f"bulk{day}"), np.resize(aliases, (1_100, 16)), "131016")
            now[0] += 86_400
        records = h.stats()["records"]
        for _ in range(30):
            # Small steps of folding take the keys of the days before into their indexes.
            submit(h, [(tax_inquiry(f"x{_}-{i}"), aliases[i], "131016") for i in range(10)]).result(WAIT_S)
        filters = h._groups._filters

        def made() -> bool:
            h._groups.find(bytes(16), int(now[0]))
            return len(filters._made) >= days - 1

        until(made)
        for day in range(days):
            asked = [(tax_inquiry(f"d{day}-{i}"), aliases[i], "131016") for i in range(50)]
            assert not submit(h, asked).result(WAIT_S).errors
            bulk = h.inquire(tax_inquiry(f"bulk{day}"), np.resize(aliases, (1_100, 16)), "131016")
            assert len(bulk) == 1_100
        assert h.stats()["records"] == records + 300
        name = next(iter(filters._made))
        with h._store.snapshot() as snapshot:
            assert name in filters.of(snapshot, [name], int(now[0]))[1]
        with h._store.commit() as commit:
            commit.put_sealed(name, bytes(20), b"moved")
        with h._store.snapshot() as snapshot:
            # Its database has changed: it does not count.
            assert filters.of(snapshot, [name], int(now[0]))[2] == [name]


@pytest.mark.parametrize("threads", [1, 2])
def test_random_rows_and_calls_agree_with_the_model(tmp_path: Path, codes: np.ndarray, threads: int) -> None:
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
        plan: list[tuple[hub.Inquiry, np.ndarray, str]] = []
        for number in range(400):
            alias = own[rng.randrange(100)] if rng.random() > 0.1 else np.full(16, rng.randrange(256), np.uint8)
            section = f"課{rng.randrange(20)}"
            plan.append((tax_inquiry(f"m{number}", section=section), alias, rng.choice((*towns, "130001"))))
        rows: list[tuple[list[int], Future[SmallAnswers]]] = []
        calls: list[tuple[int, Future[Answer]]] = []
        number = 0
        while number < len(plan):
            if rng.random() < 0.3:
                inquiry, alias, provider = plan[number]
                calls.append((number, h.inquire_soon(inquiry, alias.reshape(1, 16), provider)))
                number += 1
            else:
                some = list(range(number, min(len(plan), number + rng.randrange(1, 40))))
                rows.append((some, submit(h, [plan[at] for at in some])))
                number = some[-1] + 1
        got: dict[int, list[int]] = {}
        for at, call in calls:
            answer = call.result(WAIT_S)
            got[at] = [int(answer.status[0]), int(answer.rule[0]), int(answer.reason[0])]
        for some, future in rows:
            answers = future.result(WAIT_S)
            assert not answers.errors
            for row, at in enumerate(some):
                got[at] = [int(answers.status[row]), int(answers.rule[row]), int(answers.reason[row])]
        for at, (inquiry, alias, provider) in enumerate(plan):
            wanted = model.inquire(inquiry, alias.reshape(1, 16), [provider], now)
            assert got[at] == [int(wanted.status[0]), int(wanted.rule[0]), int(wanted.reason[0])]
        again = submit(h, plan).result(WAIT_S)
        assert [int(one) for one in again.status] == [got[at][0] for at in range(len(plan))]
        assert h.stats()["records"] == len(model.records)
        for alias in list(model.alias_of["portal"].values())[:20]:
            page = h.history(alias, limit=1000)
            assert sorted(r.section for r in page.records) == sorted(line.section for _, line in model.history(alias))
            assert page.proof(0) if page.records else True
        assert h.verify().ok


# -- the kernels


def test_a_table_of_keys_is_a_dict(codes: np.ndarray) -> None:
    rng = np.random.default_rng(0)
    table, model = Keys(), {}
    for value in range(1, 60):
        keys = rng.integers(0, 4, (rng.integers(0, 40), 16), dtype=np.uint8)
        keys[:, 3:] = 0
        table.put(keys, value)
        model.update((key.tobytes(), value) for key in keys)
        assert len(table) == len(model)
    stored, values = table.items()
    assert {key.tobytes(): int(value) for key, value in zip(stored, values, strict=True)} == model
    asked = rng.integers(0, 6, (500, 16), dtype=np.uint8)
    asked[:, 3:] = 0
    found = np.empty(500, np.uint64)
    assert table.find(asked, found) == np.count_nonzero(found)
    assert found.tolist() == [model.get(key.tobytes(), 0) for key in asked]
    assert [table.get(key.tobytes()) for key in asked] == found.tolist()
    first, fresh = np.empty(500, np.uint32), Keys()
    again = fresh.firsts(asked, first)
    places: dict[bytes, int] = {}
    assert first.tolist() == [places.setdefault(key.tobytes(), row) for row, key in enumerate(asked)]
    assert again == 500 - len(places)
    with pytest.raises(ValueError, match="expected"):
        table.put(asked[:, :8].copy(), 1)
    with pytest.raises(ValueError, match="expected"):
        table.put(asked, 0)


def test_a_filter_has_every_key_that_entered_and_hardly_any_other() -> None:
    rng = np.random.default_rng(1)
    keys = rng.integers(0, 256, (20_000, 16), dtype=np.uint8)
    one, other = Filter(20_000), Filter(100)
    one.add(keys)
    assert {row for row, place in probe([other, one], keys) if place == 1} == set(range(20_000))
    strange = rng.integers(0, 256, (20_000, 16), dtype=np.uint8)
    assert len(probe([one], strange)) < 200
    assert not probe([other], strange)


@pytest.mark.parametrize("name", ["requests.1", "requests.20786", "requests." + "9" * 11])
def test_entries_are_sealed_as_python_seals_them(name: str) -> None:
    rng = np.random.default_rng(2)
    keys = rng.integers(0, 256, (50, 16), dtype=np.uint8)
    commits = rng.integers(0, 2**63, 50, dtype=np.uint64)
    entries, total = seal_entries(name.encode(), keys, commits)
    assert entries == [
        (key.tobytes() + bytes(4), seal(name, key.tobytes() + bytes(4), int(commit).to_bytes(8, "little")))
        for key, commit in zip(keys, commits, strict=True)
    ]
    assert total == sum(value_sum(key, value) for key, value in entries) & (1 << 64) - 1
    with pytest.raises(ValueError, match="name"):
        seal_entries(b"n" * 21, keys, commits)


@pytest.mark.parametrize("one", [True, False])
@pytest.mark.parametrize("rows", [0, 1, 15, 16, 300])
def test_fields_are_joined_as_python_encodes_them(rows: int, one: bool) -> None:
    rng = np.random.default_rng(rows)
    middles = [bytes(rng.integers(0, 256, size, dtype=np.uint8)) for size in (0, 1, 150, 208, 209, 400, 70_000)]
    supervised = [msgspec.msgpack.encode(("係" * size, None)) for size in ((3,) if one else (0, 3, 90, 40))]
    middle_of = rng.integers(0, len(middles), rows).astype(np.uint32)
    supervised_of = rng.integers(0, len(supervised), rows).astype(np.uint32)
    names = rng.integers(0, 256, (rows, 8), dtype=np.uint8)
    blind = bytes(range(32))
    edges = (0, 127, 128, 255, 256, 65_535, 65_536, 2**32 - 1, 2**32)
    moments = np.array([edges[i % len(edges)] for i in range(rows)], np.int64)
    encoded, hashes = join_fields(
        middles, middle_of, names, blind, supervised, supervised_of, moments, 1_798_761_600, one
    )  # fmt: skip
    shared = [
        join_shared(
            names[row].tobytes(), middles[middle_of[row]], supervise(blind, row, supervised[supervised_of[row]])
        )
        for row in range(rows)
    ]
    covering = supervised[:1] if one else [supervised[place] for place in supervised_of]
    fields = Fields(shared, [(1_798_761_600, 0)] * rows, blind, covering, moments.tolist())
    assert encoded == msgspec.msgpack.encode(fields)
    assert [each.tobytes() for each in hashes] == [hash_shared(each) for each in shared]
