"""The hub as its callers meet it: what is refused, what is idempotent, what is never told."""

from __future__ import annotations

import datetime as dt
import multiprocessing
import pickle
import subprocess
import sys
import threading
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pytest

import hub
from hub import limits
from hub.errors import BusyError, RequestError, StorageError
from hub.messages import Acquisition, Status
from hub.requests import state as requests
from inquiries import tax_inquiry


def counts(h: hub.Hub) -> tuple[int, int, int]:
    """Persons, records and commits: what a refused call must leave alone."""
    stats = h.stats()
    return stats["persons"], stats["records"], stats["commits"]


# -- acquire


def test_acquire_gives_each_person_one_alias_and_keeps_it(opened: hub.Hub, town: str, codes: np.ndarray) -> None:
    first = opened.acquire(town, codes)
    again = opened.acquire(town, codes[::-1].copy())
    assert (first.status == Acquisition.CREATED).all()
    assert (again.status == Acquisition.ALREADY).all()
    assert (again.aliases[::-1] == first.aliases).all()
    assert len(np.unique(first.aliases, axis=0)) == len(codes)


def test_a_code_twice_in_one_call_is_created_once(opened: hub.Hub, town: str) -> None:
    got = opened.acquire(town, ["00000000001", "00000000002", "00000000001"])
    assert got.status.tolist() == [Acquisition.CREATED, Acquisition.CREATED, Acquisition.ALREADY]
    assert (got.aliases[0] == got.aliases[2]).all()
    assert opened.stats()["persons"] == 2


def test_two_institutions_hold_different_aliases_of_one_person(opened: hub.Hub, town: str, codes: np.ndarray) -> None:
    here, there = opened.acquire(town, codes), opened.acquire("nenkin", codes)
    assert not (here.aliases == there.aliases).all(axis=1).any()
    assert opened.stats()["persons"] == len(codes)


def test_new_and_known_persons_mix_in_one_call(opened: hub.Hub, town: str, codes: np.ndarray) -> None:
    opened.acquire(town, codes[:50])
    got = opened.acquire(town, codes)
    assert (got.status[:50] == Acquisition.ALREADY).all()
    assert (got.status[50:] == Acquisition.CREATED).all()


def test_an_empty_acquisition_changes_nothing(opened: hub.Hub, town: str) -> None:
    before = counts(opened)
    assert len(opened.acquire(town, [])) == 0
    assert counts(opened) == before


@pytest.mark.parametrize(
    ("codes", "words"),
    [
        (["1"], "11 digits.*row 0"),
        (["00000000001", "0000000000x"], "11 digits.*row 1"),
        (np.array([1, -1], np.int64), "11 digits.*row 1"),
        (np.array([10**11], np.int64), "11 digits.*row 0"),
        (np.array([1], np.int32), "int64"),
        (np.array([[1]], np.int64), "int64"),
        (5, "list of strings"),
        ("00000000001", "list of strings"),
        ([1], "11 digits"),
    ],
)
def test_codes_of_the_wrong_form_are_refused_and_change_nothing(
    opened: hub.Hub, town: str, codes: object, words: str
) -> None:
    before = counts(opened)
    with pytest.raises(RequestError, match=words):
        opened.acquire(town, codes)
    assert counts(opened) == before


# -- inquire: form


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"requester": "nobody"}, "institution"),
        ({"procedure": "19-8/999/1"}, "procedure"),
        ({"procedure": ""}, "procedure"),
        ({"items": ()}, "items"),
        ({"items": "市町村民税"}, "items"),
        ({"items": ("税金のすべて",)}, "item"),
        ({"items": ("市町村民税",) * 2}, "item"),
        ({"items": tuple(f"x{i}" for i in range(65))}, "items"),
        ({"role": "知らない者"}, "role"),
        ({"section": ""}, "section"),
        ({"section": "   "}, "section"),
        ({"section": "課\n二"}, "section"),
        ({"section": "課" * 101}, "section"),
        ({"request_id": ""}, "request_id"),
        ({"request_id": "x" * 101}, "request_id"),
        ({"request_id": 5}, "request_id"),
        ({"operator": "x" * 101}, "operator"),
        ({"reference_date": "2026-01-01"}, "reference_date"),
        ({"reference_date": dt.datetime(2026, 1, 1)}, "reference_date"),
    ],
)
def test_an_inquiry_of_the_wrong_form_is_refused_and_changes_nothing(
    opened: hub.Hub, town: str, codes: np.ndarray, changes: dict, words: str
) -> None:
    aliases = opened.acquire("nenkin", codes).aliases
    before = counts(opened)
    with pytest.raises(RequestError, match=words):
        opened.inquire(tax_inquiry(**changes), aliases, town)
    assert counts(opened) == before


def test_bounds_of_an_inquiry_are_accepted(opened: hub.Hub, town: str, codes: np.ndarray) -> None:
    aliases = opened.acquire("nenkin", codes).aliases
    inquiry = tax_inquiry("x" * 100, section="課" * 100, operator="o" * 100, reference_date=dt.date(2026, 1, 1))
    assert len(opened.inquire(inquiry, aliases, town)) == 100


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda a: a.tolist(), "numpy array"),
        (lambda a: a.astype(np.int8), "uint8"),
        (lambda a: a[:, :15], "uint8"),
        (lambda a: a[0], "uint8"),
        (lambda a: a[::2], "C-contiguous"),
        (lambda a: np.asfortranarray(a), "C-contiguous"),
    ],
)
def test_aliases_of_the_wrong_form_are_refused(
    opened: hub.Hub, town: str, codes: np.ndarray, change: object, words: str
) -> None:
    aliases = opened.acquire("nenkin", codes).aliases
    before = counts(opened)
    with pytest.raises(RequestError, match=words):
        opened.inquire(tax_inquiry(), change(aliases), town)  # type: ignore[operator]
    assert counts(opened) == before


@pytest.mark.parametrize(
    ("providers", "words"),
    [
        ("nobody", "institution"),
        (["nobody"] * 100, "institution"),
        (["131016"] * 99, "100 rows"),
        (np.ones(99, np.uint32), r"uint32\[100\]"),
        (np.ones(100, np.int64), "uint32"),
        (np.full(100, 60_000, np.uint32), "institution"),
        (np.zeros(100, np.uint32), "institution"),
        (7, "a code"),
        ([7] * 100, "codes as text"),
    ],
)
def test_providers_of_the_wrong_form_are_refused(
    opened: hub.Hub, codes: np.ndarray, providers: object, words: str
) -> None:
    aliases = opened.acquire("nenkin", codes).aliases
    before = counts(opened)
    with pytest.raises(RequestError, match=words):
        opened.inquire(tax_inquiry(), aliases, providers)
    assert counts(opened) == before


def test_one_row_more_than_the_bound_is_refused(opened: hub.Hub, town: str) -> None:
    # One byte of memory, seen as many rows: nothing of that size is made.
    rows = np.broadcast_to(np.zeros(1, np.uint8), (limits.ROWS_PER_BATCH_MAX + 1, 16))
    with pytest.raises(RequestError, match="C-contiguous"):
        opened.inquire(tax_inquiry(), rows, town)
    many = np.zeros((limits.ROWS_PER_BATCH_MAX + 1, 16), np.uint8)
    with pytest.raises(RequestError, match="at most 16777216 rows"):
        opened.inquire(tax_inquiry(), many, town)


def test_cases_need_one_entry_a_row(opened: hub.Hub, town: str, codes: np.ndarray) -> None:
    aliases = opened.acquire("nenkin", codes).aliases
    for cases in (["1"], "x" * 100, [5] * 100, ["x" * 101] * 100):
        with pytest.raises(RequestError, match="cases"):
            opened.inquire(tax_inquiry(), aliases, town, cases=cases)  # type: ignore[arg-type]
    assert len(opened.inquire(tax_inquiry(), aliases, town, cases=[None, "事件1"] * 50)) == 100


# -- inquire: what it does


def test_statuses_come_in_the_callers_order(opened: hub.Hub, town: str, codes: np.ndarray) -> None:
    aliases = opened.acquire("nenkin", codes).aliases
    opened.acquire(town, codes[:40])
    asked = aliases.copy()
    asked[10] = 0
    providers = [town] * 100
    providers[20] = "130001"
    answer = opened.inquire(tax_inquiry(), asked, providers)
    wanted = [Status.OK] * 40 + [Status.NO_ALIAS_AT_PROVIDER] * 60
    wanted[10], wanted[20] = Status.UNKNOWN_ALIAS, Status.DENIED
    assert answer.status.tolist() == wanted
    assert answer.reason[20] == hub.Reason.PROVIDER
    assert opened.catalog.rule(int(answer.rule[0])).legal_basis.endswith("75条3号")
    assert answer.receipt.rows == 100


def test_an_unknown_alias_leaves_no_trace_and_a_denied_row_is_recorded(
    opened: hub.Hub, town: str, codes: np.ndarray
) -> None:
    aliases = opened.acquire("nenkin", codes[:2]).aliases
    portal = opened.acquire("portal", codes[:2]).aliases
    asked = np.concatenate([aliases, np.full((1, 16), 7, np.uint8)])
    opened.inquire(tax_inquiry(), asked, "130001")
    assert opened.stats()["records"] == 2
    (only,) = opened.history(portal[0]).records
    assert (only.outcome, only.provider, only.requester) == (Status.DENIED, "130001", "nenkin")


def test_the_same_request_gives_the_same_answer_and_records_once(opened: hub.Hub, town: str, codes: np.ndarray) -> None:
    aliases = opened.acquire("nenkin", codes).aliases
    first = opened.inquire(tax_inquiry(), aliases, town)
    before = counts(opened)
    opened.acquire(town, codes)
    again = opened.inquire(tax_inquiry(), aliases, town)
    assert (again.status == first.status).all()
    assert (again.rule == first.rule).all()
    assert again.receipt == first.receipt
    assert opened.stats()["records"] == before[1]


@pytest.mark.parametrize("what", ["rows", "order", "providers", "section", "cases", "fewer"])
def test_a_request_id_with_other_content_is_refused(opened: hub.Hub, town: str, codes: np.ndarray, what: str) -> None:
    aliases = opened.acquire("nenkin", codes).aliases
    opened.inquire(tax_inquiry(), aliases, town)
    before = counts(opened)
    other, providers, inquiry, cases = aliases.copy(), town, tax_inquiry(), None
    if what == "rows":
        other[3] = 1
    elif what == "order":
        other[[0, 1]] = other[[1, 0]]
    elif what == "providers":
        providers = "130001"
    elif what == "section":
        inquiry = tax_inquiry(section="別の課")
    elif what == "cases":
        cases = ["1"] * 100
    else:
        other = other[:99]
    with pytest.raises(RequestError, match="request_id"):
        opened.inquire(inquiry, other, providers, cases=cases)
    assert counts(opened) == before


def test_another_requesters_same_request_id_is_another_request(opened: hub.Hub, town: str, codes: np.ndarray) -> None:
    mine, theirs = opened.acquire("nenkin", codes).aliases, opened.acquire("mhlw", codes).aliases
    opened.inquire(tax_inquiry(), mine, town)
    opened.inquire(tax_inquiry(requester="mhlw"), theirs, town)
    assert opened.stats()["records"] == 200


def test_duplicate_aliases_are_separate_rows_with_separate_records(
    opened: hub.Hub, town: str, codes: np.ndarray
) -> None:
    aliases = opened.acquire("nenkin", codes[:1]).aliases
    portal = opened.acquire("portal", codes[:1]).aliases
    opened.inquire(tax_inquiry(), np.repeat(aliases, 3, axis=0), town)
    assert len(opened.history(portal[0])) == 3


def test_many_chunks_answer_like_one(opened: hub.Hub, town: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(requests, "ROWS_PER_CHUNK", 64)
    monkeypatch.setattr(limits, "ROWS_GATHERED_MAX", 0)
    codes = np.arange(1000, dtype=np.int64)
    aliases = opened.acquire("nenkin", codes).aliases
    opened.acquire(town, codes[::2].copy())
    answer = opened.inquire(tax_inquiry(), aliases, town)
    assert answer.status.tolist() == [Status.OK, Status.NO_ALIAS_AT_PROVIDER] * 500
    status = opened.status("nenkin", "r1")
    assert (status.chunks, status.chunks_done, status.complete) == (16, 16, True)
    assert opened.stats()["records"] == 1000


def test_an_interrupted_inquiry_goes_on_at_the_first_missing_chunk(
    opened: hub.Hub, town: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(requests, "ROWS_PER_CHUNK", 64)
    codes = np.arange(1000, dtype=np.int64)
    aliases = opened.acquire("nenkin", codes).aliases

    def stop(rows: int) -> None:
        if rows >= 320:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        opened.inquire(tax_inquiry(), aliases, town, progress=stop)
    assert opened.status("nenkin", "r1").chunks_done == 5
    assert opened.stats()["records"] == 320
    seen: list[int] = []
    answer = opened.inquire(tax_inquiry(), aliases, town, progress=seen.append)
    assert seen[0] == 384
    assert seen[-1] == 1000
    assert len(answer) == 1000
    assert opened.stats()["records"] == 1000


def test_aliases_acquired_between_resolve_and_record_count(
    opened: hub.Hub, town: str, codes: np.ndarray, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(limits, "ROWS_GATHERED_MAX", 0)
    aliases = opened.acquire("nenkin", codes).aliases
    prepare = hub.Hub._prepare
    done = []

    def prepare_then_acquire(self: hub.Hub, *arguments: object) -> object:
        chunk = prepare(self, *arguments)  # type: ignore[arg-type]
        if not done:
            done.append(1)
            self.acquire(town, codes)
        return chunk

    monkeypatch.setattr(hub.Hub, "_prepare", prepare_then_acquire)
    assert (opened.inquire(tax_inquiry(), aliases, town).status == Status.OK).all()


def test_an_empty_batch_is_answered_and_not_recorded(opened: hub.Hub, town: str) -> None:
    before = counts(opened)
    answer = opened.inquire(tax_inquiry(), np.empty((0, 16), np.uint8), town)
    assert len(answer) == 0
    assert counts(opened) == before


def test_a_request_under_way_is_busy(opened: hub.Hub, town: str, codes: np.ndarray) -> None:
    aliases = opened.acquire("nenkin", codes).aliases
    answers: list[object] = []

    def ask_again(_: int) -> None:
        thread = threading.Thread(target=lambda: answers.append(_result(opened, aliases, town)))
        thread.start()
        thread.join()

    opened.inquire(tax_inquiry(), aliases, town, progress=ask_again)
    assert isinstance(answers[0], BusyError)
    assert opened.stats()["records"] == 100


def _result(h: hub.Hub, aliases: np.ndarray, town: str) -> object:
    try:
        return h.inquire(tax_inquiry(), aliases, town)
    except Exception as error:
        return error


def test_threads_that_ask_and_acquire_at_once_agree_with_one_by_one(opened: hub.Hub, town: str) -> None:
    codes = np.arange(4000, dtype=np.int64)
    aliases = opened.acquire("nenkin", codes).aliases
    errors: list[BaseException] = []

    def work(part: int) -> None:
        try:
            mine = slice(part * 500, part * 500 + 500)
            opened.acquire(town, codes[mine])
            assert (opened.inquire(tax_inquiry(f"r{part}"), aliases[mine], town).status == Status.OK).all()
        except BaseException as error:
            errors.append(error)

    threads = [threading.Thread(target=work, args=(part,)) for part in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not errors
    assert opened.stats()["records"] == 4000
    assert opened.stats()["aliases"][town] == 4000


# -- time


def test_a_request_id_is_forgotten_after_thirty_days(tmp_path: Path, codes: np.ndarray) -> None:
    now = [1_800_000_000.0]
    with hub.open(tmp_path / "h", create=True, clock=lambda: now[0]) as h:
        town = h.catalog.institutions("市町村長")[0].code
        aliases = h.acquire("nenkin", codes).aliases
        h.inquire(tax_inquiry(), aliases, town)
        now[0] += 30 * 86_400
        h.inquire(tax_inquiry(), aliases, town)
        assert h.stats()["records"] == 100
        now[0] += 2 * 86_400
        with pytest.raises(RequestError, match="unknown"):
            h.status("nenkin", "r1")
        h.inquire(tax_inquiry(), aliases[:50], town)
        assert h.stats()["records"] == 150
        assert [name for name in h._store.databases if name.startswith("requests.")] == [
            f"requests.{int(now[0]) // 86_400}"
        ]


def test_a_clock_that_is_set_back_does_not_take_the_log_with_it(tmp_path: Path, codes: np.ndarray) -> None:
    now = [1_800_000_000.0]
    with hub.open(tmp_path / "h", create=True, clock=lambda: now[0]) as h:
        town = h.catalog.institutions("市町村長")[0].code
        aliases, portal = h.acquire("nenkin", codes).aliases, h.acquire("portal", codes).aliases
        h.inquire(tax_inquiry("a"), aliases, town)
        now[0] -= 7200
        h.inquire(tax_inquiry("b"), aliases, town)
        times = [r.requested_at.timestamp() for r in h.history(portal[0]).records]
        assert times == [1_800_000_000.0, 1_800_000_000.0]


# -- histories


def test_a_history_pages_and_filters(tmp_path: Path, codes: np.ndarray) -> None:
    now = [1_800_000_000.0]
    with hub.open(tmp_path / "h", create=True, clock=lambda: now[0]) as h:
        towns = [town.code for town in h.catalog.institutions("市町村長")[:2]]
        aliases, portal = h.acquire("nenkin", codes).aliases, h.acquire("portal", codes).aliases
        for day in range(7):
            h.inquire(tax_inquiry(f"r{day}"), aliases[:1], towns[day % 2])
            now[0] += 86_400
        whole = h.history(portal[0])
        assert whole.cursor is None
        assert [r.index for r in whole.records] == [6, 5, 4, 3, 2, 1, 0]
        pages, cursor = [], None
        while True:
            page = h.history(portal[0], limit=3, cursor=cursor)
            pages.append([r.index for r in page.records])
            if page.cursor is None:
                break
            cursor = page.cursor
            h.inquire(tax_inquiry(f"between{len(pages)}"), aliases[:1], towns[0])
        assert pages == [[6, 5, 4], [3, 2, 1], [0]]
        assert {r.provider for r in h.history(portal[0], institution=towns[1]).records} == {towns[1]}
        assert len(h.history(portal[0], institution="nenkin")) == 9
        assert len(h.history(portal[0], procedure="19-8/106/108.1")) == 0
        first = dt.datetime.fromtimestamp(1_800_000_000, dt.UTC)
        day_of = first.astimezone(dt.timezone(dt.timedelta(hours=9))).date()
        assert [r.index for r in h.history(portal[0], until=day_of).records] == [0]
        assert [r.index for r in h.history(portal[0], until=first).records] == []
        two_days = h.history(portal[0], since=first, until=first + dt.timedelta(days=2))
        assert [r.index for r in two_days.records] == [1, 0]
        assert len(h.history(portal[1])) == 0


def test_a_cursor_of_another_person_or_made_up_is_refused(opened: hub.Hub, town: str, codes: np.ndarray) -> None:
    aliases, portal = opened.acquire("nenkin", codes).aliases, opened.acquire("portal", codes).aliases
    for i in range(3):
        opened.inquire(tax_inquiry(f"r{i}"), aliases[:2], town)
    cursor = opened.history(portal[0], limit=1).cursor
    assert cursor is not None
    for wrong in (cursor[:-1] + ("0" if cursor[-1] != "0" else "1"), "zz", "", cursor + "00", "0" * 32):
        with pytest.raises(RequestError, match="cursor"):
            opened.history(portal[0], cursor=wrong)
    with pytest.raises(RequestError, match="cursor"):
        opened.history(portal[1], cursor=cursor)


@pytest.mark.parametrize("limit", [0, -1, 1001, True, "5"])
def test_a_limit_out_of_bounds_is_refused(opened: hub.Hub, codes: np.ndarray, limit: object) -> None:
    portal = opened.acquire("portal", codes).aliases
    with pytest.raises(RequestError, match="limit"):
        opened.history(portal[0], limit=limit)  # type: ignore[arg-type]


def test_an_alias_of_another_institution_has_no_history(opened: hub.Hub, codes: np.ndarray) -> None:
    aliases = opened.acquire("nenkin", codes).aliases
    opened.acquire("portal", codes)
    for alias in (aliases[0], b"short", "0" * 32, "g" * 32, None):
        with pytest.raises(RequestError, match="alias"):
            opened.history(alias)


def test_an_alias_may_be_given_as_bytes_text_or_array(opened: hub.Hub, town: str, codes: np.ndarray) -> None:
    aliases, portal = opened.acquire("nenkin", codes).aliases, opened.acquire("portal", codes).aliases
    opened.inquire(tax_inquiry(), aliases, town)
    for alias in (portal[4], portal[4:5], bytes(portal[4]), bytes(portal[4]).hex()):
        assert len(opened.history(alias)) == 1


def test_a_record_says_who_asked_whom_for_what_on_which_basis(opened: hub.Hub, town: str, codes: np.ndarray) -> None:
    aliases, portal = opened.acquire("nenkin", codes).aliases, opened.acquire("portal", codes).aliases
    opened.acquire(town, codes)
    opened.inquire(tax_inquiry(items=("地方税",), operator="clerk-7"), aliases, town, cases=["秘密"] * 100)
    (found,) = opened.history(portal[0]).records
    assert (found.requester, found.on_behalf_of, found.provider) == ("nenkin", "厚生労働大臣", town)
    assert (found.procedure, found.items, found.role) == ("19-8/73/75.3", ("市町村民税",), "納付義務者")
    assert found.section == "国民年金部"
    assert "75条" in found.legal_basis
    assert found.outcome == Status.OK
    assert "clerk-7" not in repr(found)
    assert "秘密" not in repr(found)


# -- results, the folder, other processes


def test_results_show_counts_only_and_are_not_pickled(opened: hub.Hub, town: str, codes: np.ndarray) -> None:
    acquired = opened.acquire("nenkin", codes)
    answer = opened.inquire(tax_inquiry(), acquired.aliases, town)
    resolved = opened.resolve("nenkin", town, acquired.aliases)
    for result in (acquired, answer, resolved):
        text = repr(result)
        assert "100" in text
        assert bytes(acquired.aliases[0]).hex()[:6] not in text
        with pytest.raises(TypeError):
            pickle.dumps(result)


def test_close_may_be_called_again_and_a_closed_hub_refuses(tmp_path: Path, codes: np.ndarray) -> None:
    h = hub.open(tmp_path / "h", create=True)
    h.close()
    h.close()
    with pytest.raises(RequestError, match="closed"):
        h.acquire("nenkin", codes)


def test_what_was_done_is_there_after_reopening(tmp_path: Path, codes: np.ndarray) -> None:
    with hub.open(tmp_path / "h", create=True) as h:
        town = h.catalog.institutions("市町村長")[0].code
        aliases, portal = h.acquire("nenkin", codes).aliases, h.acquire("portal", codes).aliases
        answer = h.inquire(tax_inquiry(), aliases, town)
        history = h.history(portal[7]).records
    with hub.open(tmp_path / "h") as h:
        assert (h.acquire("nenkin", codes).aliases == aliases).all()
        assert (h.inquire(tax_inquiry(), aliases, town).status == answer.status).all()
        assert h.history(portal[7]).records == history
        assert h.check_blocks() > 0


def _read(folder: Path, pipe: Connection) -> None:
    """A reading process: runs the calls it is sent, sends back what they return or raise."""
    with hub.open(folder, readonly=True) as h:
        while (call := pipe.recv()) is not None:
            name, arguments = call
            try:
                got = getattr(h, name)(*arguments)
                pipe.send(got.status.tolist() if name == "resolve" else len(got) if name == "history" else got)
            except hub.errors.HubError as error:
                pipe.send(error)


class Reader:
    """Another process that has the folder open read-only."""

    def __init__(self, folder: Path) -> None:
        self.pipe, there = multiprocessing.Pipe()
        self.process = multiprocessing.get_context("spawn").Process(target=_read, args=(folder, there))
        self.process.start()

    def __enter__(self) -> Reader:
        return self

    def __exit__(self, *_: object) -> None:
        self.pipe.send(None)
        self.process.join()

    def call(self, name: str, *arguments: object) -> Any:
        self.pipe.send((name, arguments))
        return self.pipe.recv()


def test_a_reader_sees_what_a_writer_adds(tmp_path: Path, codes: np.ndarray) -> None:
    with hub.open(tmp_path / "h", create=True) as writer, Reader(tmp_path / "h") as reader:
        town = writer.catalog.institutions("市町村長")[0].code
        aliases = writer.acquire("nenkin", codes[:50]).aliases
        assert reader.call("resolve", "nenkin", town, aliases) == [Status.NO_ALIAS_AT_PROVIDER] * 50
        more = writer.acquire("nenkin", codes).aliases
        portal = writer.acquire("portal", codes).aliases
        writer.acquire(town, codes)
        assert reader.call("resolve", "nenkin", town, more) == [Status.OK] * 100
        writer.inquire(tax_inquiry(), more, town)
        assert reader.call("history", portal[99]) == 1
        assert reader.call("status", "nenkin", "r1").complete
        assert "read-only" in str(reader.call("acquire", town, codes + 1))
        assert "read-only" in str(reader.call("inquire", tax_inquiry("r2"), more, town))


def test_a_reader_left_far_behind_builds_its_directories_anew(
    tmp_path: Path, codes: np.ndarray, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("hub.store.CHANGES_KEPT", 4)
    with hub.open(tmp_path / "h", create=True) as writer, Reader(tmp_path / "h") as reader:
        aliases = writer.acquire("nenkin", codes).aliases
        assert len(reader.call("resolve", "nenkin", "portal", aliases)) == 100
        for start in range(20):
            more = writer.acquire("nenkin", np.arange(50, dtype=np.int64) + 50 * start).aliases
        assert reader.call("resolve", "nenkin", "portal", more) == [Status.NO_ALIAS_AT_PROVIDER] * 50
        assert reader.call("resolve", "nenkin", "portal", aliases) == [Status.NO_ALIAS_AT_PROVIDER] * 100


def test_a_folder_is_open_once_in_a_process(opened: hub.Hub) -> None:
    with pytest.raises(RequestError, match="already open in this process"):
        hub.open(opened._store.folder, readonly=True)
    assert opened.stats()["persons"] == 0


def _use_after_fork(h: hub.Hub, pipe: object) -> None:
    try:
        h.stats()
        pipe.send("answered")  # type: ignore[attr-defined]
    except StorageError as error:
        pipe.send(str(error))  # type: ignore[attr-defined]


def test_a_hub_is_not_carried_over_a_fork(opened: hub.Hub) -> None:
    here, there = multiprocessing.Pipe()
    child = multiprocessing.get_context("fork").Process(target=_use_after_fork, args=(opened, there))
    child.start()
    assert "fork" in here.recv()
    child.join()
    assert opened.stats()["persons"] == 0


def test_a_folder_that_was_served_does_not_resolve(opened: hub.Hub, town: str, codes: np.ndarray) -> None:
    aliases = opened.acquire("nenkin", codes).aliases
    with opened._store.commit() as commit:
        commit.put_sealed("meta", b"served", b"1")
    with pytest.raises(RequestError, match="served"):
        opened.resolve("nenkin", town, aliases)


def test_a_past_decision_is_replayed_with_the_catalog_of_its_day(opened: hub.Hub, town: str, codes: np.ndarray) -> None:
    aliases = opened.acquire("nenkin", codes).aliases
    old = opened.catalog
    answer = opened.inquire(tax_inquiry(), aliases, town)
    opened.load_catalog(old.import_institutions("code,kind,prefecture,name,kana\n011011,ward,北海道,札幌市中央区,x\n"))
    assert opened.catalog_of(old.digest).decide(tax_inquiry(), town).rule == answer.rule[0]
    again = opened.inquire(tax_inquiry(), aliases, town)
    assert (again.rule == answer.rule).all()


# Arguments that are no such thing at all


BAD_ROWS = {
    "providers of lists": {"providers": [["131016"]] * 3},
    "a provider that is none": {"providers": ["131016", None, "131016"]},
    "cases that have no length": {"cases": 5},
    "cases of another type": {"cases": np.array(["c"] * 3)},
    "cases as one text": {"cases": "abc"},
    "a case that is no text": {"cases": ["c", 1, "c"]},
    "a case with a line break": {"cases": ["c", "c\nd", "c"]},
    "a case that no encoding has": {"cases": ["c", "\ud800", "c"]},
    "a mark": {"withhold": "ground"},
}


@pytest.mark.parametrize("name", BAD_ROWS)
def test_columns_of_another_kind_are_refused(opened: hub.Hub, town: str, codes: np.ndarray, name: str) -> None:
    aliases = opened.acquire("nenkin", codes[:3]).aliases
    words = {"providers": town, **BAD_ROWS[name]}
    with pytest.raises(RequestError):
        opened.inquire(tax_inquiry(), aliases, words.pop("providers"), **words)
    assert opened.stats()["records"] == 0
    assert opened.inquire(tax_inquiry(), aliases, town, withhold=None).receipt.rows == 3


@pytest.mark.parametrize("at", ["2026-07-01", float("nan"), float("inf"), True, [1]])
def test_a_moment_that_is_none_is_refused(opened: hub.Hub, town: str, at: object) -> None:
    with pytest.raises(RequestError, match="at: expected"):
        opened.catalog.decide(tax_inquiry(), town, at=at)  # type: ignore[arg-type]


def test_a_history_may_ask_until_the_last_day_there_is(opened: hub.Hub, town: str, codes: np.ndarray) -> None:
    opened.inquire(tax_inquiry(), opened.acquire("nenkin", codes[:1]).aliases, town)
    alias = opened.acquire("portal", codes[:1]).aliases
    assert len(opened.history(alias, since=dt.date.min, until=dt.date.max)) == 1


@pytest.mark.parametrize("number", [[1], "1", None, 1.5, -1, 10**9])
def test_a_rule_that_is_none_is_refused(opened: hub.Hub, number: object) -> None:
    with pytest.raises(RequestError, match="rule"):
        opened.catalog.rule(number)  # type: ignore[arg-type]


def test_a_request_id_that_is_no_text_is_refused(opened: hub.Hub) -> None:
    with pytest.raises(RequestError, match="request_id: expected text"):
        opened.status("nenkin", 3)  # type: ignore[arg-type]


def test_an_ideographic_space_is_a_space(opened: hub.Hub, town: str, codes: np.ndarray) -> None:
    aliases = opened.acquire("nenkin", codes[:1]).aliases
    section = "国民年金部\u3000保険料課"
    opened.inquire(msgspec.structs.replace(tax_inquiry(), section=section), aliases, town)
    assert opened.history(opened.acquire("portal", codes[:1]).aliases).records[0].section == section


def test_the_catalog_of_a_hub_goes_by_the_hub_s_clock(tmp_path: Path) -> None:
    before = dt.datetime(2026, 6, 25, tzinfo=dt.UTC).timestamp()
    with hub.open(tmp_path / "h", create=True, clock=lambda: before) as h:
        town = h.catalog.institutions("市町村長")[0].code
        aliases = h.acquire("nenkin", ["00000000017"]).aliases
        assert not h.catalog.decide(tax_inquiry(), town).allowed
        assert h.inquire(tax_inquiry(), aliases, town).status[0] == Status.DENIED
        assert h.catalog.decide(tax_inquiry(), town, at=before + 10 * 86_400).allowed


def test_a_file_s_id_stands_for_one_file(opened: hub.Hub) -> None:
    opened.begin_file("nenkin", "file", bytes(32), 1_000)
    opened.begin_file("nenkin", "file", bytes(32), 1_000)
    with pytest.raises(RequestError, match="first used with"):
        opened.begin_file("nenkin", "file", b"\1" * 32, 1_000)
    opened.begin_file("131016", "file", b"\1" * 32, 1_000)
    found = opened.find_file("nenkin", "file")
    assert found is not None
    assert (found.complete, found.rows_max) == (False, 1_000)
    assert sorted(opened.requesters_of("file")) == ["131016", "nenkin"]
    opened.end_file("nenkin", "file", 990)
    found = opened.find_file("nenkin", "file")
    assert found is not None
    assert (found.complete, found.rows_max) == (True, 990)
    with pytest.raises(RequestError, match="begun"):
        opened.end_file("nenkin", "other", 1)


CHILD_WITH_A_LONG_TRANSACTION = """
import pathlib, sys, threading, hub

h = hub.open(sys.argv[1], clock=lambda: 1_800_000_000.0)
inside, leave = threading.Event(), threading.Event()

def write():
    with h._store.commit():
        inside.set()
        leave.wait(0.5)

writer = threading.Thread(target=write)
writer.start()
inside.wait()
try:
    h.status("nenkin", "unknown")
except hub.errors.RequestError:
    pass
h._store.request_database(20_833, create=True)
writer.join()
h.close()
print("through")
"""


def test_a_days_database_is_opened_beside_a_transaction_under_way(tmp_path: Path) -> None:
    # Waiting for the writer with the GIL held would stop every thread of the process: so in a process of its own.
    folder = tmp_path / "other"
    hub.open(folder, create=True).close()
    found = subprocess.run(
        [sys.executable, "-c", CHILD_WITH_A_LONG_TRANSACTION, str(folder)], capture_output=True, text=True, timeout=60
    )
    assert found.stdout == "through\n", found.stderr
