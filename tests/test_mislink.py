"""A wrong link is reported: records and notices for both citizens, a draft for the Commission, all of it once."""

from __future__ import annotations

import datetime as dt
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import hub
from hub.errors import RequestError, StorageError
from hub.messages import Kind, Status
from hub.mislinks.breach import find_deadlines
from hub.records.events import EventKind
from parties import DAY_S, NOON, Parties
from test_blast import answer
from test_marks import change

TODAY = dt.date(2026, 11, 25)
CLERKS = {"clerk": "佐藤", "second_clerk": "鈴木", "reason": "two people of one name"}
GIVEN, SHOWN = "あなたの情報が、別の方の情報として", "あなたのものではない情報が"
NOTHING = "情報が提供された事実はありません"
WRONG, RIGHT = 0, 1


@pytest.fixture
def parties(tmp_path: Path) -> Iterator[Parties]:
    with Parties(tmp_path / "hub") as found:
        yield found


def report(parties: Parties, institution: str | None = None, **words: Any) -> hub.MislinkReport:
    """The town's report, or the agency's: its alias of the first person was meant for the second."""
    aliases = parties.nenkin if institution == "nenkin" else parties.known
    return parties.h.report_mislink(
        institution or parties.town, aliases[WRONG], **{"right_alias": aliases[RIGHT], **CLERKS, **words}
    )


def texts(parties: Parties, person: int) -> list[str | None]:
    return parties.h.notices(parties.portal[person]).texts


def records(parties: Parties, person: int) -> list[hub.Record]:
    return [one for one in parties.h.history(parties.portal[person]).records if one.kind == Kind.MISLINK]


def kinds(parties: Parties) -> list[EventKind]:
    return [event.kind for event in parties.h.events()]


def test_what_a_provider_gave_is_the_right_citizens_and_was_shown_as_the_wrong_ones(parties: Parties) -> None:
    parties.ask("r1", [WRONG])
    answer(parties, [WRONG])
    found = report(parties)
    assert (found.citizens, found.notified, found.otherwise) == (2, 2, 0)
    assert repr(found) == "MislinkReport(citizens=2, notified=2, otherwise=0)"
    (wrong,), (right,) = texts(parties, WRONG), texts(parties, RIGHT)
    assert wrong is not None
    assert right is not None
    assert (SHOWN in wrong, GIVEN in wrong) == (True, False)
    assert (SHOWN in right, GIVEN in right) == (False, True)
    for person, text in ((WRONG, wrong), (RIGHT, right)):
        (record,) = records(parties, person)
        assert (record.requester, record.provider, record.remark) == (parties.town, "", text)
        assert record.legal_basis == "番号法29条の4第1項・第2項"
    assert parties.h.verify().problems == ()


def test_what_a_requester_received_is_the_wrong_citizens_and_was_taken_for_the_right_ones(parties: Parties) -> None:
    parties.ask("r1", [WRONG])
    answer(parties, [WRONG])
    report(parties, "nenkin")
    (wrong,), (right,) = texts(parties, WRONG), texts(parties, RIGHT)
    assert wrong is not None
    assert right is not None
    assert (SHOWN in wrong, GIVEN in wrong) == (False, True)
    assert (SHOWN in right, GIVEN in right) == (True, False)
    assert parties.h.verify().problems == ()


@pytest.mark.parametrize("outcome", [None, Status.NO_RECORD])
def test_where_nothing_was_provided_both_read_so(parties: Parties, outcome: Status | None) -> None:
    parties.ask("r1", [WRONG])
    if outcome is not None:
        answer(parties, [WRONG], outcome)
    found = report(parties)
    for person in (WRONG, RIGHT):
        (text,) = texts(parties, person)
        assert text is not None
        assert NOTHING in text
    assert "人の数" in found.draft
    assert "in another's place: 0人" in found.draft


def test_neither_reads_who_the_other_is_nor_which_other_body_is_concerned(parties: Parties) -> None:
    parties.ask("r1", [WRONG])
    answer(parties, [WRONG])
    report(parties)
    (wrong,), (right,) = records(parties, WRONG), records(parties, RIGHT)
    assert wrong.inquiry != right.inquiry
    page = parties.h.notices(parties.portal[WRONG]).records + parties.h.notices(parties.portal[RIGHT]).records
    assert len({one.inquiry for one in page}) == 2
    for person in (WRONG, RIGHT):
        for text in (records(parties, person)[0].remark, *texts(parties, person)):
            assert text is not None
            assert "日本年金機構" not in text
            assert not re.search(r"[0-9a-f]{8}", text)
    # The right citizen's history shows nothing of what was asked about the other.
    assert [one.kind for one in parties.h.history(parties.portal[RIGHT]).records] == [Kind.NOTICE, Kind.MISLINK]


@pytest.mark.parametrize("how", ["reissued", "revoked"])
def test_a_link_that_is_corrected_already_is_reported_by_its_old_alias(parties: Parties, how: str) -> None:
    parties.ask("r1", [WRONG])
    answer(parties, [WRONG])
    old = parties.known[[WRONG]].copy()
    (parties.h.reissue if how == "reissued" else parties.h.revoke)(parties.town, old)
    found = report(parties)
    assert (found.notified, len(found.blast.updates)) == (2, 1)
    assert len(texts(parties, WRONG)) == len(texts(parties, RIGHT)) == 1
    assert parties.h.verify().problems == ()


def test_where_the_right_citizen_is_not_known_one_is_told(parties: Parties) -> None:
    found = report(parties, right_alias=None)
    assert (found.citizens, found.notified) == (1, 1)
    assert "正しい本人は未特定" in found.draft
    assert (len(texts(parties, WRONG)), texts(parties, RIGHT)) == (1, [])
    assert parties.h.verify().problems == ()


@pytest.mark.parametrize("flag", [hub.Flag.NO_SELF, hub.Flag.WITHHELD])
def test_whom_the_institution_has_flagged_is_told_by_other_means(parties: Parties, flag: hub.Flag) -> None:
    parties.h.flag(parties.town, parties.known[[RIGHT]], flag)
    foreseen = report(parties, dry_run=True)
    found = report(parties)
    assert (foreseen.notified, foreseen.otherwise) == (found.notified, found.otherwise) == (1, 1)
    assert "by other means: 1人" in found.draft
    assert texts(parties, RIGHT) == []
    assert parties.h.history(parties.portal[RIGHT]).records == []
    assert len(records(parties, WRONG)) == 1
    assert parties.h.verify().problems == ()
    # It is for the institution to disclose it, as any other record that it withholds.
    assert any(told.kind == Kind.MISLINK for _, told in parties.h.handles(parties.town, parties.known[RIGHT]))


def test_who_reads_no_portal_is_told_by_other_means(parties: Parties) -> None:
    stranger = parties.h.acquire(parties.town, ["00000000017"]).aliases
    found = report(parties, right_alias=stranger[0])
    assert (found.notified, found.otherwise) == (1, 1)
    assert parties.h.verify().problems == ()


def test_the_same_report_again_is_the_same_and_records_nothing(parties: Parties) -> None:
    parties.ask("r1", [WRONG])
    answer(parties, [WRONG])
    first = report(parties, since=TODAY, until=TODAY)
    before = parties.h.stats()
    parties.reopen()
    parties.clock.now += 40 * DAY_S
    again = report(parties, since=TODAY, until=TODAY)
    after = parties.h.stats()
    assert (after["records"], len(parties.h.events())) == (before["records"], 4)
    assert (again.at, again.deadlines, again.request_id) == (first.at, first.deadlines, first.request_id)
    assert (again.notified, again.blast.dealings[0].handle) == (2, first.blast.dealings[0].handle)
    assert kinds(parties) == [
        EventKind.MISLINK_RECORDED, EventKind.MISLINK_RECORDED, EventKind.MISLINK_NOTIFIED, EventKind.MISLINK_DRAFTED,
    ]  # fmt: skip
    events = parties.h.events()
    assert {(event.clerk, event.second_clerk) for event in events} == {("佐藤", "鈴木")}
    assert [event.ground for event in events[:3]] == [CLERKS["reason"]] * 2 + ["portal: 2, by other means: 0"]


def test_a_dry_run_changes_nothing(parties: Parties) -> None:
    parties.ask("r1", [WRONG])
    before = parties.h.stats()["commits"]
    found = report(parties, dry_run=True)
    assert found.dry_run
    assert (found.notified, len(found.blast.open)) == (2, 1)
    assert parties.h.stats()["commits"] == before
    assert report(parties).draft == found.draft


def test_a_request_id_with_something_else_is_refused(parties: Parties) -> None:
    report(parties, request_id="case-7")
    before = parties.h.stats()["commits"]
    others = {"reason": "another", "clerk": "高橋", "since": TODAY, "right_alias": None, "deliberate": True}
    for words in ({name: value} for name, value in others.items()):
        with pytest.raises(RequestError, match=r"^request_id: expected what it was first used with"):
            report(parties, request_id="case-7", **words)
    assert parties.h.stats()["commits"] == before
    # Another institution's is another.
    assert report(parties, "nenkin", request_id="case-7").citizens == 2
    assert parties.h.verify().problems == ()


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ({"second_clerk": None}, r"^second_clerk: expected the name of another clerk"),
        ({"second_clerk": " 佐藤"}, r"^second_clerk: expected another clerk than the first"),
        ({"clerk": None}, r"^clerk: expected the name of a clerk"),
        ({"reason": ""}, r"^reason: expected 1 to 200"),
        ({"section": ""}, r"^section: expected 1 to 100"),
        ({"known": "today"}, r"^known: expected a date, got str$"),
        ({"known": TODAY + dt.timedelta(days=1)}, r"^known: expected a day up to today, in Japan, got a later one$"),
        ({"deliberate": 1}, r"^deliberate: expected True or False"),
        ({"request_id": "x" * 101}, r"^request_id: expected 1 to 100"),
        ({"right_alias": np.zeros(16, np.uint8)}, r"^alias: expected one of this institution's, of now or before"),
        ({"since": TODAY, "until": TODAY - dt.timedelta(days=1)}, r"^until: expected a moment behind since"),
    ],
)
def test_what_is_not_well_formed_changes_nothing(parties: Parties, words: dict[str, Any], message: str) -> None:
    before = parties.h.stats()["commits"]
    for dry_run in (False, True):
        with pytest.raises(RequestError, match=message):
            report(parties, dry_run=dry_run, **words)
    assert parties.h.stats()["commits"] == before


def test_the_portal_reports_nothing_by_itself(parties: Parties) -> None:
    before = parties.h.stats()["commits"]
    with pytest.raises(RequestError, match=r"^institution: expected another than portal, got it$"):
        parties.h.report_mislink("portal", parties.portal[WRONG], parties.portal[RIGHT], **CLERKS)
    assert parties.h.stats()["commits"] == before


def test_two_aliases_of_one_person_are_refused(parties: Parties) -> None:
    fresh = parties.h.reissue(parties.town, parties.known[[WRONG]].copy()).aliases[0]
    with pytest.raises(RequestError, match=r"^right_alias: expected one of another person than the wrong one"):
        report(parties, right_alias=fresh)
    assert parties.h.events() == []


def test_of_a_protected_citizen_nothing_is_shown_until_the_institution_has_judged_it(parties: Parties) -> None:
    h, town = parties.h, parties.town
    h.protect("jlis", parties.codes[WRONG], since=TODAY, ground="protected")
    report(parties)
    assert h.history(parties.portal[WRONG]).records == []
    waiting = [(handle, told) for handle, told in h.unjudged(town) if told.kind == Kind.MISLINK]
    assert len(waiting) == 1
    h.judge(town, waiting[0][0], withhold=False)
    assert [one.kind for one in h.history(parties.portal[WRONG]).records] == [Kind.MISLINK]
    assert h.verify().problems == ()


# -- the draft


def test_the_draft_has_nine_items_counts_and_last_days_and_nobody_in_it(parties: Parties) -> None:
    for number, outcome in enumerate((Status.PROVIDED, Status.PROVIDED, Status.NO_RECORD)):
        parties.ask(f"r{number}", [WRONG])
        answer(parties, [WRONG], outcome)
    parties.ask("open", [WRONG])
    found = report(parties, since=TODAY, known=dt.date(2026, 11, 24))
    draft = found.draft
    assert re.findall(r"^## (\d)", draft, re.MULTILINE) == list("123456789")
    for line in (
        "- 速報 (概ね3日から5日以内) / Preliminary report: 2026-11-26 - 2026-11-28",
        "- 確報 (30日以内) / Final report, by: 2026-12-23",
        "- 関係する情報提供等記録 / records concerned: 7件",
        "- 回答された照会 / questions that were answered: 3件",
        "- うち情報が提供されたもの / of these data were given: 2件",
        "- 市町村民税",
        "in another's place: 1人",
        "- two people of one name",
        "- 未取得の回答 / answers that were not fetched yet: 2件",
        "- 未回答の照会 (拒否すべきもの) / open questions, to be refused: 1件",
        "- ポータルで通知した者 / notified through the portal: 2人",
        "whose receivers must be told what is right: 3件",
        "| 日本年金機構 (nenkin) | 19-8/73/75.3 | 市町村民税 | PROVIDED | 2 |",
    ):
        assert line in draft
    assert "案" in draft.split("\n")[0]
    assert draft.count("【要記入") >= 8
    for table in (parties.known, parties.nenkin, parties.portal):
        for alias in table:
            assert alias.tobytes().hex() not in draft
    assert not re.search(r"[0-9a-f]{16}", draft)


@pytest.mark.parametrize(
    ("deliberate", "early", "late", "final"),
    [(False, "2026-02-26", "2026-02-28", "2026-03-25"), (True, "2026-02-26", "2026-02-28", "2026-04-24")],
)
def test_the_day_on_which_it_was_known_is_the_first(deliberate: bool, early: str, late: str, final: str) -> None:
    found = find_deadlines(dt.date(2026, 2, 24), deliberate=deliberate)
    assert list(map(str, found)) == [early, late, final]


def test_the_day_is_japans(parties: Parties) -> None:
    # 23:59:59 in Japan, and one second later.
    parties.clock.now = NOON + 12 * 3600 - 1
    assert report(parties).deadlines.preliminary_from == dt.date(2026, 11, 27)
    parties.clock.now += 1
    assert report(parties, "nenkin").deadlines.preliminary_from == dt.date(2026, 11, 28)


# -- interrupted, damaged


@pytest.mark.parametrize("at", range(1, 5))
def test_a_report_that_fails_at_any_commit_goes_on_where_it_stopped(
    parties: Parties, monkeypatch: pytest.MonkeyPatch, at: int
) -> None:
    h = parties.h
    parties.ask("r1", [WRONG])
    answer(parties, [WRONG])
    counted = [0]

    def fail(_: object) -> None:
        counted[0] += 1
        if counted[0] == at:
            raise StorageError("write: expected room, got none", retry_safe=True)

    keep = h._store.at_commit
    h._store.at_commit = fail
    with pytest.raises(StorageError, match="room"):
        report(parties)
    h._store.at_commit = keep
    assert h.verify().problems == ()
    assert [len(records(parties, person)) for person in (WRONG, RIGHT)] == [int(at > 1)] * 2
    parties.reopen()
    # What was answered since does not change what they are told.
    parties.ask("r2", [WRONG])
    answer(parties, [WRONG])
    found = report(parties)
    assert (found.notified, found.otherwise) == (2, 0)
    assert [len(texts(parties, person)) for person in (WRONG, RIGHT)] == [1, 1]
    assert [len(records(parties, person)) for person in (WRONG, RIGHT)] == [1, 1]
    assert len(parties.h.events()) == 4
    assert parties.h.verify().problems == ()


@pytest.mark.parametrize("how", ["flipped", "removed", "moved", "inside"])
def test_a_damaged_or_lost_state_is_found_and_nothing_is_recorded_again(parties: Parties, how: str) -> None:
    report(parties)
    before = parties.h.stats()["records"]
    parties.h.close()
    change(parties.folder, "mislinks", how)
    parties.h = hub.open(parties.folder, clock=parties.clock)
    with pytest.raises(StorageError, match="mislinks"):
        report(parties)
    assert parties.h.stats()["records"] == before
    assert any("mislinks" in problem for problem in parties.h.verify().problems)


def test_verify_compares_reports_with_their_events(parties: Parties) -> None:
    report(parties)
    h = parties.h
    with h._store.snapshot() as snapshot:
        ((key, value),) = [(key, bytes(value)) for key, value in snapshot.items("mislinks", b"")]
    with h._store.commit() as commit:
        commit.delete("mislinks", key)
    assert any(problem.startswith("report of a wrong link, record") for problem in h.verify().problems)
    with h._store.commit() as commit:
        body = bytearray(value[8:])
        body[2] = 1
        commit.put_sealed("mislinks", key, bytes(body))
    assert any("as its events say" in problem for problem in h.verify().problems)


def test_who_has_died_is_to_be_told_by_other_means(parties: Parties) -> None:
    parties.h.deaths(parties.town, parties.known[[RIGHT]], dt.date(2026, 11, 20))
    assert (report(parties, dry_run=True).notified, report(parties).notified) == (1, 1)
