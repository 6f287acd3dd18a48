"""Notices: from an institution to the portal of whom it knows, recorded, kept a year, shown to nobody else."""

from __future__ import annotations

import datetime as dt
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import hub
import hub.requests.state
import hub.sending.notices
import hub.sending.send
from hub.errors import BusyError, RequestError, StorageError
from hub.limits import NOTICE_BYTES_MAX, NOTICE_DAYS
from hub.messages import Flag, Kind, Status
from parties import DAY_S, Clock, Parties


@pytest.fixture
def parties(tmp_path: Path) -> Iterator[Parties]:
    with Parties(tmp_path / "hub") as found:
        yield found


def notice(parties: Parties, request_id: str = "n1", **changes: Any) -> hub.Notice:
    fields = {
        "institution": parties.town, "subject": "児童手当の現況届", "section": "子育て支援課", "request_id": request_id,
    }  # fmt: skip
    return hub.Notice(**{**fields, **changes})


def texts_of(parties: Parties, person: int, **words: Any) -> list[str | None]:
    return parties.h.notices(parties.portal[person], **words).texts


def test_a_notice_reaches_the_portal_of_each_and_nobody_else(parties: Parties) -> None:
    aliases = np.ascontiguousarray(parties.known[[2, 0]])
    sent = parties.h.notify(notice(parties), aliases, ["二\n番", b"zero"])
    assert sent.status.tolist() == [Status.OK, Status.OK]
    assert [texts_of(parties, person) for person in range(3)] == [["zero"], [], ["二\n番"]]
    found = parties.h.notices(parties.portal[0])
    record = found.records[0]
    assert (record.kind, record.provider, record.requester) == (Kind.NOTICE, parties.town, "portal")
    assert (record.items, record.legal_basis, record.outcome) == (("児童手当の現況届",), "お知らせ", Status.OK)
    assert record in parties.h.history(parties.portal[0]).records
    assert found.proof(0).index == record.index
    assert parties.h.verify().problems == ()


def test_one_text_reaches_all_and_is_stored_once_a_chunk(parties: Parties, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(hub.sending.notices, "NOTICE_ROWS_PER_VALUE", 2)
    parties.h.notify(notice(parties), parties.known, "全員へ")
    assert [texts_of(parties, person) for person in range(6)] == [["全員へ"]] * 6
    with parties.h._store.snapshot() as snapshot:
        assert len(snapshot.items("notices", b"")) == 1


def test_texts_of_their_own_are_cut_into_values(parties: Parties, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(hub.sending.notices, "NOTICE_ROWS_PER_VALUE", 2)
    parties.h.notify(notice(parties), parties.known, [f"text {person}" for person in range(6)])
    monkeypatch.setattr(hub.sending.notices, "NOTICE_BYTES_PER_VALUE", 20)
    parties.h.notify(notice(parties, "n2"), parties.known, [f"other {person}" for person in range(6)])
    with parties.h._store.snapshot() as snapshot:
        assert len(snapshot.items("notices", b"")) == 6
    assert [texts_of(parties, person) for person in range(6)] == [[f"other {n}", f"text {n}"] for n in range(6)]
    assert parties.h.verify().problems == ()


def test_who_has_no_portal_alias_is_told_and_recorded(tmp_path: Path) -> None:
    with Parties(tmp_path / "hub") as parties:
        fresh = parties.h.acquire(parties.town, ["00000000017"]).aliases
        aliases = np.concatenate([fresh, parties.known[:1], np.zeros((1, 16), np.uint8)])
        before = parties.h.stats()["records"]
        sent = parties.h.notify(notice(parties), aliases, ["a", "b", "c"])
        assert sent.status.tolist() == [Status.NO_ALIAS_AT_PROVIDER, Status.OK, Status.UNKNOWN_ALIAS]
        # Nothing says whose the unknown alias was.
        assert parties.h.stats()["records"] == before + 2
        portal = parties.h.acquire("portal", ["00000000017"]).aliases[0]
        assert parties.h.notices(portal).texts == []
        assert [record.outcome for record in parties.h.history(portal).records] == [Status.NO_ALIAS_AT_PROVIDER]
        assert parties.h.verify().problems == ()


def test_a_revoked_alias_is_told(parties: Parties) -> None:
    parties.h.revoke(parties.town, parties.known[:1])
    sent = parties.h.notify(notice(parties), parties.known[:2], "a")
    assert sent.status.tolist() == [Status.REVOKED, Status.OK]
    assert texts_of(parties, 0) == []


@pytest.mark.parametrize("flag", [Flag.NO_SELF, Flag.WITHHELD])
def test_whom_the_sender_protects_gets_nothing_and_looks_like_one_without_portal(parties: Parties, flag: Flag) -> None:
    parties.h.flag(parties.town, parties.known[:1], flag)
    sent = parties.h.notify(notice(parties), parties.known[:2], "a")
    assert sent.status.tolist() == [Status.NO_ALIAS_AT_PROVIDER, Status.OK]
    assert texts_of(parties, 0) == []
    # Not even that something was sent.
    assert parties.shown(0) == []
    assert len(parties.shown(1)) == 1
    assert parties.h.verify().problems == ()


def test_another_institutions_flag_hinders_no_notice(parties: Parties) -> None:
    parties.h.flag("nenkin", parties.nenkin[:1], Flag.NO_SELF | Flag.WITHHELD | Flag.MANUAL)
    assert parties.h.notify(notice(parties), parties.known[:1], "a").status.tolist() == [Status.OK]
    assert texts_of(parties, 0) == ["a"]


def test_a_flag_that_comes_later_hides_the_text(parties: Parties) -> None:
    parties.h.notify(notice(parties), parties.known[:1], "a")
    parties.h.flag(parties.town, parties.known[:1], Flag.NO_SELF)
    assert texts_of(parties, 0) == [None]
    parties.h.flag(parties.town, parties.known[:1], Flag.NO_SELF, on=False)
    assert texts_of(parties, 0) == ["a"]


def test_a_flag_between_two_looks_counts(parties: Parties, monkeypatch: pytest.MonkeyPatch) -> None:
    """Under the writer's lock what was resolved before is done again."""
    prepare = hub.sending.send.Sender._prepare
    flagged: list[int] = []

    def then_flag(self: Any, *args: Any) -> Any:
        parcel = prepare(self, *args)
        if not flagged:
            flagged.append(1)
            parties.h.flag(parties.town, parties.known[:1], Flag.NO_SELF)
        return parcel

    monkeypatch.setattr(hub.sending.send.Sender, "_prepare", then_flag)
    sent = parties.h.notify(notice(parties), parties.known[:2], "a")
    assert sent.status.tolist() == [Status.NO_ALIAS_AT_PROVIDER, Status.OK]
    assert texts_of(parties, 0) == []


def test_the_sender_can_withhold_a_notice_and_lift_it(parties: Parties) -> None:
    from parties import REVIEW

    parties.h.notify(notice(parties), parties.known[:1], "a")
    (handle, told), = parties.h.handles(parties.town, parties.known[0])
    assert (told.kind, told.provider, told.requester) == (Kind.NOTICE, parties.town, "portal")
    parties.h.withhold(handle, "moved", REVIEW)
    assert texts_of(parties, 0) == parties.shown(0) == []
    assert parties.h.lift(handle, clerk="a", second_clerk="b")
    assert texts_of(parties, 0) == ["a"]
    # The portal is no party: a notice is the person's.
    assert parties.h.handles("portal", parties.portal[0]) == []
    assert parties.h.verify().problems == ()


def test_a_notice_is_corrected_by_its_sender(parties: Parties) -> None:
    parties.h.notify(notice(parties), parties.known[:1], "a")
    page = parties.h.notices(parties.portal[0])
    parties.h.ask_correction(parties.portal[0], page.records[0], "違う", disclosed=page.disclosure)
    (asked,) = parties.h.corrections(parties.town)
    parties.h.correct(asked.handle, "違わない", "課", accepted=False)
    assert parties.h.corrections("portal") == []
    assert texts_of(parties, 0) == ["a"]
    assert len(parties.shown(0)) == 3
    assert parties.h.verify().problems == ()


def test_a_protected_persons_notice_waits_for_the_sender_alone(parties: Parties) -> None:
    parties.h.notify(notice(parties), parties.known[:1], "a")
    parties.h.protect("jlis", parties.codes[0], since=parties.h.history(parties.portal[0]).records[0].requested_at,
                      ground="violence")  # fmt: skip
    assert texts_of(parties, 0) == []
    ((handle, _),) = parties.h.unjudged(parties.town)
    assert parties.h.unjudged("portal") == []
    parties.h.judge(parties.town, handle, withhold=False, clerk="a")
    assert texts_of(parties, 0) == ["a"]


def test_the_same_request_again_is_recorded_once(parties: Parties) -> None:
    first = parties.h.notify(notice(parties), parties.known, "a")
    before = parties.h.stats()["records"]
    parties.reopen()
    again = parties.h.notify(notice(parties), parties.known, "a")
    assert again.status.tolist() == first.status.tolist()
    assert again.received_at == first.received_at
    assert parties.h.stats()["records"] == before


@pytest.mark.parametrize("what", ["text", "texts", "subject", "aliases", "operator"])
def test_another_content_under_the_same_id_is_refused(parties: Parties, what: str) -> None:
    words = notice(parties)
    parties.h.notify(words, parties.known, "a")
    aliases, texts = parties.known, "a"
    if what == "text":
        texts = "b"
    elif what == "texts":
        texts = ["a"] * 6
    elif what == "aliases":
        aliases = np.ascontiguousarray(parties.known[::-1])
    else:
        words = notice(parties, **{what: "other"})
    refused(parties, "request_id", words, aliases, texts)


def test_an_inquiry_may_have_the_same_id(parties: Parties) -> None:
    parties.ask("r1", [0])
    sent = parties.h.notify(notice(parties, "r1", institution="nenkin"), parties.nenkin[:1], "a")
    assert sent.status.tolist() == [Status.OK]
    assert parties.h.answers("nenkin", "r1").status.tolist() == [Status.PENDING]


def refused(parties: Parties, match: str, *args: Any) -> None:
    before = parties.h.stats()["records"], parties.h.checkpoint()
    with pytest.raises(RequestError, match=match):
        parties.h.notify(*args)
    assert (parties.h.stats()["records"], parties.h.checkpoint()) == before


def test_bad_input_changes_nothing(parties: Parties) -> None:
    n = notice(parties)
    for match, args in {
        "notice: expected hub.Notice": ({}, parties.known, "a"),
        "institution: expected another than the portal": (notice(parties, institution="portal"), parties.portal, "a"),
        "institution: expected the code": (notice(parties, institution="x"), parties.known, "a"),
        "subject": (notice(parties, subject=""), parties.known, "a"),
        "section": (notice(parties, section="a\nb"), parties.known, "a"),
        "request_id": (notice(parties, ""), parties.known, "a"),
        "operator": (notice(parties, operator=""), parties.known, "a"),
        "aliases": (n, parties.known[:, :8], "a"),
        "texts: expected a text or a list": (n, parties.known, None),
        "texts: expected 6 rows, got 5": (n, parties.known, ["a"] * 5),
        "texts: expected text, got int": (n, parties.known, ["a"] * 5 + [1]),
        "texts: expected UTF-8": (n, parties.known, ["a"] * 5 + [b"\xff"]),
        "texts: expected UTF-8, got": (n, parties.known, "\ud800"),
        "got 0 in row 5": (n, parties.known, ["a"] * 5 + [""]),
        "control character in row 4": (n, parties.known, ["a"] * 4 + ["\x00", "b"]),
        "control character in row 0": (n, parties.known, "a\rb"),
        "control character in row 1": (n, parties.known, ["\xa9", "\x85", "b", "b", "b", "b"]),
    }.items():
        refused(parties, match, *args)


def test_the_longest_text_is_accepted_and_one_byte_more_is_refused(parties: Parties) -> None:
    longest = "あ" * (NOTICE_BYTES_MAX // 3) + "b" * (NOTICE_BYTES_MAX % 3)
    assert len(longest.encode()) == NOTICE_BYTES_MAX
    refused(parties, f"expected 1 to {NOTICE_BYTES_MAX} bytes", notice(parties), parties.known, longest + "b")
    parties.h.notify(notice(parties), parties.known[:1], longest)
    assert texts_of(parties, 0) == [longest]


def test_a_notice_to_nobody_records_nothing(parties: Parties) -> None:
    before = parties.h.stats()["records"]
    assert parties.h.notify(notice(parties), parties.known[:0], "a").rows == 0
    assert parties.h.stats()["records"] == before


def test_an_interrupted_notice_goes_on_at_the_missing_chunk(parties: Parties, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(hub.sending.notify.Notifying, "chunk_rows", 2, raising=False)
    monkeypatch.setattr(hub.sending.notify, "ROWS_PER_CHUNK", 2)
    texts = [f"text {person}" for person in range(6)]

    def stop(done: int) -> None:
        if done == 2:
            raise KeyboardInterrupt

    before = parties.h.stats()["records"]
    with pytest.raises(KeyboardInterrupt):
        parties.h.notify(notice(parties), parties.known, texts, progress=stop)
    assert parties.h.stats()["records"] == before + 2
    parties.reopen()
    done: list[int] = []
    assert parties.h.notify(notice(parties), parties.known, texts, progress=done.append).rows == 6
    assert done == [4, 6]
    assert [texts_of(parties, person) for person in range(6)] == [[text] for text in texts]
    assert parties.h.verify().problems == ()


def test_a_text_goes_after_a_year_and_its_record_stays(tmp_path: Path) -> None:
    clock = Clock()
    with Parties(tmp_path / "hub", clock=clock) as parties:
        parties.h.notify(notice(parties), parties.known, "a")
        clock.now += NOTICE_DAYS * DAY_S
        parties.reopen()
        parties.h.collect(parties.town)
        assert texts_of(parties, 0) == ["a"]
        clock.now += DAY_S + 1
        parties.h.collect(parties.town)
        assert texts_of(parties, 0) == [None]
        assert len(parties.shown(0)) == 1
        assert parties.h.verify().problems == ()


def test_a_text_that_is_due_is_shown_no_more_though_nobody_has_removed_it_yet(tmp_path: Path) -> None:
    clock = Clock()
    with Parties(tmp_path / "hub", clock=clock) as parties:
        parties.h.notify(notice(parties), parties.known, "a")
        parties.h._next_lapse = clock.now + 2 * NOTICE_DAYS * DAY_S
        clock.now += NOTICE_DAYS * DAY_S + 1
        assert texts_of(parties, 0) == [None]
        with parties.h._store.snapshot() as snapshot:
            assert snapshot.items("notices", b"")


def test_pages_have_each_notice_once(parties: Parties) -> None:
    for number in range(5):
        parties.h.notify(notice(parties, f"n{number}"), parties.known[:2], f"text {number}")
        parties.ask(f"r{number}", [0])
    found: list[str | None] = []
    cursor = None
    while True:
        page = parties.h.notices(parties.portal[0], limit=2, cursor=cursor)
        found += page.texts
        if (cursor := page.cursor) is None:
            break
    assert found == [f"text {number}" for number in reversed(range(5))]
    with pytest.raises(RequestError, match="alias"):
        parties.h.notices(parties.known[0])


def test_a_notice_is_found_by_its_sender_and_by_the_portal(parties: Parties) -> None:
    parties.h.notify(notice(parties), parties.known[:1], "a")
    assert len(parties.shown(0, institution=parties.town)) == len(parties.shown(0, institution="portal")) == 1
    assert parties.shown(0, institution=parties.other_town) == []


def test_two_threads_with_one_id_record_once(parties: Parties) -> None:
    results: list[object] = []

    def work() -> None:
        try:
            results.append(parties.h.notify(notice(parties), parties.known, "a").rows)
        except BusyError as error:
            results.append(error)

    before = parties.h.stats()["records"]
    threads = [threading.Thread(target=work) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert 6 in results
    assert parties.h.stats()["records"] == before + 6


def test_nothing_shows_texts_or_aliases_in_its_repr(parties: Parties) -> None:
    sent = parties.h.notify(notice(parties), parties.known, "geheim")
    found = parties.h.notices(parties.portal[0])
    for one in (sent, found, hub.sending.notify.Notifying(parties.h.catalog, notice(parties), parties.known, "geheim")):
        assert "geheim" not in repr(one)
        assert parties.known[0].tobytes().hex() not in repr(one)


@pytest.mark.parametrize("damage", ["flip", "drop", "move"])
def test_a_damaged_text_is_named(parties: Parties, damage: str) -> None:
    parties.h.notify(notice(parties), parties.known, [f"text {person}" for person in range(6)])
    parties.ask("r1", [0, 1, 2, 3, 4, 5])
    with parties.h._store.snapshot() as snapshot:
        ((key, value),) = snapshot.items("notices", b"")
        raw = bytearray(value)
    with parties.h._store.commit() as commit:
        if damage == "flip":
            raw[40] ^= 1
            commit.txn.put(key, bytes(raw), db=commit.databases["notices"])
        elif damage == "drop":
            commit.txn.delete(key, db=commit.databases["notices"])
        else:
            # Texts of notices under records of an inquiry, with sums that fit.
            commit.delete("notices", key)
            commit.put_sealed("notices", (int.from_bytes(key, "big") + 6).to_bytes(8, "big"), bytes(raw[8:]))
    problems = parties.h.verify().problems
    assert any("notices" in problem for problem in problems)
    if damage == "flip":
        with pytest.raises(StorageError, match="notices"):
            texts_of(parties, 0)


def test_a_notice_to_the_dead_is_told_as_one_that_reaches_nobody(parties: Parties) -> None:
    # Their portal alias is closed: it must be sent on paper, to whoever is left.
    parties.h.deaths(parties.town, parties.known[:1], dt.date(2026, 11, 20))
    sent = parties.h.notify(notice(parties), parties.known[:2], ["a", "b"])
    assert sent.status.tolist() == [Status.NO_ALIAS_AT_PROVIDER, Status.OK]
    two = {"clerk": "佐藤", "second_clerk": "鈴木", "reason": "mixed up"}
    parties.h.alive(parties.town, parties.known[:1], **two)
    assert texts_of(parties, 0) == []
    assert parties.h.notify(notice(parties, "n2"), parties.known[:1], "c").status.tolist() == [Status.OK]
    assert texts_of(parties, 0) == ["c"]
    assert parties.h.verify().problems == ()


def test_a_text_stays_hidden_where_the_sender_was_succeeded(parties: Parties) -> None:
    parties.h.notify(notice(parties), parties.known[:2], "to both")
    parties.h.flag(parties.town, parties.known[:1], Flag.NO_SELF)
    new = parties.h.catalog.institutions("市町村長")[2].code
    two = {"clerk": "佐藤", "second_clerk": "鈴木", "reason": "合併"}
    parties.h.succeed([parties.town], new, dt.date(2026, 11, 25), **two)
    assert [texts_of(parties, person) for person in (0, 1)] == [[None], ["to both"]]


def test_what_was_sent_to_two_who_were_one_can_be_assigned(parties: Parties) -> None:
    # The town and the portal knew both, so that nobody can tell whom it was meant for.
    h, two = parties.h, {"clerk": "佐藤", "second_clerk": "鈴木", "reason": "merged by mistake"}
    h.merge("jlis", *parties.codes[:2], **two)
    h.notify(notice(parties), parties.known[:1], "to one of them")
    h.report_mislink(parties.town, parties.known[0], section="窓口", **two)
    h.split("jlis", *parties.codes[:2], **two)
    assert [texts_of(parties, person) for person in (0, 1)] == [[], []]
    undecided = h.undecided("jlis", parties.codes[0])
    assert sorted((one.requester, one.procedure) for one in undecided) == [
        (parties.town, "mislink"), (parties.town, "notice"), (parties.town, "notice"),
    ]  # fmt: skip
    for one in undecided:
        h.assign("jlis", one.handle, parties.codes[1], **two)
    assert h.undecided("jlis", parties.codes[0]) == []
    assert texts_of(parties, 0) == []
    assert len(texts_of(parties, 1)) == 2
    assert texts_of(parties, 1)[-1] == "to one of them"
    assert h.verify().problems == ()
