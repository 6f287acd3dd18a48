"""Corrections (訂正): asked for in time, decided with reasons, confirmed by the other holders, all in the history."""

from __future__ import annotations

import datetime as dt
import os
import random
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import hub
from hub.citizens.corrections import APPEAL
from hub.errors import RequestError, StorageError
from hub.messages import Kind, Status
from hub.records.events import EventKind
from inquiries import tax_inquiry
from parties import DAY_S, NOON, REVIEW, Clock, Parties, shown_in
from test_marks import change

SEED = int(os.environ.get("HUB_FAULT_SEED", "0")) or random.SystemRandom().randrange(1, 2**31)
MIDNIGHT = NOON + 12 * 3600
"""The end of the day of disclosure, in Japan."""


@pytest.fixture
def parties(tmp_path: Path) -> Iterator[Parties]:
    with Parties(tmp_path / "hub") as found:
        found.ask("r1", [0, 1])
        yield found


def ask(parties: Parties, person: int = 0, text: str = "課の名が違う", **words: Any) -> int:
    """The person asks for the oldest record of their history to be corrected."""
    page = parties.h.history(parties.portal[person], limit=1000)
    given = {"disclosed": page.disclosure, **words}
    return parties.h.ask_correction(parties.portal[person], page.records[-1], text, **given)


def test_a_correction_from_asking_to_confirmation_is_in_the_history_in_order(parties: Parties) -> None:
    asked = ask(parties)
    (notice,) = parties.h.corrections("nenkin")
    assert (notice.kind, notice.remark, notice.by) == (Kind.CORRECTION_ASKED, "課の名が違う", "portal")
    assert notice.record.alias == parties.nenkin[0].tobytes()
    parties.h.correct(notice.handle, "誤記のため", "記録課", clerk="佐藤")
    assert parties.h.corrections("nenkin") == []
    for institution, section in ((parties.town, "税務課"), ("pm", "運用課")):
        (notice,) = parties.h.corrections(institution)
        assert (notice.kind, notice.by) == (Kind.CORRECTION, "nenkin")
        parties.h.confirm(notice.handle, institution=institution, section=section)
        assert parties.h.corrections(institution) == []
    records = parties.h.history(parties.portal[0]).records
    assert [record.kind for record in reversed(records)] == [
        Kind.INQUIRY, Kind.CORRECTION_ASKED, Kind.CORRECTION, Kind.CONFIRMATION, Kind.CONFIRMATION,
    ]  # fmt: skip
    operator, town, decided, said, original = records
    assert [record.link for record in records] == [decided.index, decided.index, asked, original.index, None]
    assert (said.requester, said.provider, said.outcome, said.remark) == (
        "portal", "nenkin", Status.PENDING, "課の名が違う",
    )  # fmt: skip
    assert (decided.requester, decided.section, decided.outcome) == ("nenkin", "記録課", Status.OK)
    assert decided.remark == f"誤記のため\n{APPEAL}"
    assert [(one.requester, one.section, one.remark) for one in (town, operator)] == [
        (parties.town, "税務課", None), ("pm", "運用課", None),
    ]  # fmt: skip
    assert original.remark is None
    report = parties.h.verify()
    assert report.ok, report.problems


def test_each_step_is_proven_like_any_record(parties: Parties) -> None:
    ask(parties)
    parties.h.correct(("r1", 0), "誤記のため", "記録課")
    page = parties.h.history(parties.portal[0])
    for i, record in enumerate(page.records):
        verified = hub.tlog.verify.verify_proof(page.proof(i).text(), parties.h.verifier_key)
        assert verified.row.link == (0 if record.link is None else record.link + 1)
        assert verified.shared.remark == record.remark


def test_a_holder_corrects_of_its_own_motion(parties: Parties) -> None:
    parties.h.correct(("r1", 0), "誤記のため", "記録課")
    (handle,) = parties.handles_of_town(1)
    parties.h.correct(handle, "誤記のため", "税務課", appeal="窓口へ")
    for person, holder in ((0, "nenkin"), (1, parties.town)):
        decided, original = parties.h.history(parties.portal[person]).records
        assert (decided.link, decided.requester) == (original.index, holder)
    assert decided.remark == "誤記のため\n窓口へ"
    assert [notice.by for notice in parties.h.corrections("pm")] == ["nenkin", parties.town] or len(
        parties.h.corrections("pm")
    ) == 2
    assert [notice.by for notice in parties.h.corrections("nenkin")] == [parties.town]


def test_the_provider_may_be_asked(parties: Parties) -> None:
    ask(parties, institution=parties.town)
    assert parties.h.corrections("nenkin") == []
    (notice,) = parties.h.corrections(parties.town)
    parties.h.correct(notice.handle, "事実のとおり", "税務課", accepted=False)
    assert parties.h.history(parties.portal[0]).records[0].outcome == Status.REFUSED
    # What is not made needs no confirmation.
    assert parties.h.corrections("nenkin") == parties.h.corrections("pm") == []
    with pytest.raises(RequestError, match="party to the record"):
        ask(parties, institution=parties.other_town)


@pytest.mark.parametrize(("moment", "allowed"), [(MIDNIGHT + 90 * DAY_S - 1, True), (MIDNIGHT + 90 * DAY_S, False)])
def test_ninety_days_after_the_day_of_disclosure_are_the_limit(parties: Parties, moment: int, allowed: bool) -> None:
    disclosed = parties.h.history(parties.portal[0]).disclosure
    parties.clock.now = moment
    if allowed:
        ask(parties, disclosed=disclosed)
    else:
        with pytest.raises(RequestError, match="at most 90 days"):
            ask(parties, disclosed=disclosed)
        # Who reads it again was shown it again.
        ask(parties)
    assert len(parties.shown(0)) == 2


@pytest.mark.parametrize("what", ["another's", "made up", "empty", "changed", "none"])
def test_a_disclosure_of_something_else_is_refused(parties: Parties, what: str) -> None:
    own = parties.h.history(parties.portal[0]).disclosure
    given = {
        "another's": parties.h.history(parties.portal[1]).disclosure,
        "made up": "00" * 32,
        "empty": "",
        "changed": own[:15] + ("0" if own[15] != "0" else "1") + own[16:],
        "none": None,
    }[what]
    with pytest.raises(RequestError, match="disclosed: expected"):
        ask(parties, disclosed=given)
    assert parties.h.stats()["records"] == 2


def test_only_an_inquiry_that_was_shown_is_corrected(parties: Parties) -> None:
    disclosed = parties.h.history(parties.portal[0]).disclosure
    own = parties.h.history(parties.portal[0]).records[0].index
    foreign = parties.h.history(parties.portal[1]).records[0].index
    parties.ask("r2", [0])
    newer = parties.h.history(parties.portal[0]).records[0].index
    asked = ask(parties)
    messages = set()
    parties.h.withhold(("r2", 0), "ground", REVIEW)
    fresh = parties.h.history(parties.portal[0]).disclosure
    for index, token in ((foreign, disclosed), (newer, disclosed), (newer, fresh), (asked, fresh), (99, fresh)):
        with pytest.raises(RequestError, match="record: expected") as caught:
            parties.h.ask_correction(parties.portal[0], index, "text", disclosed=token)
        messages.add(str(caught.value))
    # A withheld record and one of somebody else are refused in the same words.
    assert len(messages) == 1
    parties.h.ask_correction(parties.portal[0], own, "text", disclosed=disclosed)
    for index in (True, None, "0"):
        with pytest.raises(RequestError, match="record: expected"):
            parties.h.ask_correction(parties.portal[0], index, "text", disclosed=disclosed)  # type: ignore[arg-type]
    with pytest.raises(RequestError, match="alias"):
        parties.h.ask_correction(parties.nenkin[0], own, "text", disclosed=disclosed)


def test_every_step_again_adds_nothing(parties: Parties) -> None:
    page = parties.h.history(parties.portal[0])
    for _ in range(2):
        parties.h.ask_correction(parties.portal[0], page.records[0], "text", disclosed=page.disclosure)
    handles = {parties.h.correct(("r1", 0), "reason", "section") for _ in range(2)}
    assert len(handles) == 1
    (notice,) = parties.h.corrections("pm")
    for _ in range(2):
        parties.h.confirm(notice.handle, section="section")
    assert len(parties.shown(0)) == 4
    kinds = [event.kind for event in parties.h.events()]
    assert kinds == [EventKind.CORRECTION_ASKED, EventKind.CORRECTED, EventKind.CONFIRMED]


def test_a_repeated_decision_does_not_answer_what_was_asked_since(parties: Parties) -> None:
    first = ask(parties, text="first")
    parties.h.correct(("r1", 0), "reason", "section")
    second = ask(parties, text="second")
    parties.h.correct(("r1", 0), "reason", "section")
    assert [record.link for record in parties.h.history(parties.portal[0]).records if record.kind == Kind.CORRECTION] \
        == [first]  # fmt: skip
    (notice,) = parties.h.corrections("nenkin")
    assert notice.remark == "second"
    parties.h.correct(notice.handle, "reason", "section")
    assert parties.h.history(parties.portal[0]).records[0].link == second
    with pytest.raises(RequestError, match="not decided yet"):
        parties.h.correct(notice.handle, "another reason", "section")


def test_what_is_not_one_s_own_is_neither_decided_nor_confirmed(parties: Parties) -> None:
    ask(parties)
    (asked,) = parties.h.corrections("nenkin")
    decision = parties.h.correct(asked.handle, "reason", "section")
    (theirs,) = parties.h.corrections(parties.town)
    with pytest.raises(RequestError, match="handle: expected one of this institution"):
        parties.h.confirm(theirs.handle, institution="pm", section="section")
    with pytest.raises(RequestError, match="another holder's"):
        parties.h.confirm(decision, section="section")
    for handle in (asked.handle, parties.handles_of_town(0)[0]):
        with pytest.raises(RequestError, match="of which it was notified"):
            parties.h.confirm(handle, section="section")
    with pytest.raises(RequestError, match="handle: expected a record"):
        parties.h.correct(decision, "reason", "section")
    with pytest.raises(RequestError, match="handle: expected a record of an inquiry"):
        parties.h.withhold(decision, "ground", REVIEW)


@pytest.mark.parametrize(
    "words",
    [
        {"reason": ""}, {"reason": "x" * 2001}, {"reason": 5}, {"reason": "a\nb"}, {"section": ""}, {"section": None},
        {"section": "x" * 101}, {"appeal": ""}, {"accepted": "yes"}, {"clerk": ""},
    ],
)  # fmt: skip
def test_a_decision_of_the_wrong_form_is_refused_and_changes_nothing(parties: Parties, words: dict[str, Any]) -> None:
    given = {"reason": "x" * 2000, "section": "x" * 100, **words}
    with pytest.raises(RequestError):
        parties.h.correct(("r1", 0), given.pop("reason"), given.pop("section"), **given)
    assert parties.h.stats()["records"] == 2
    parties.h.correct(("r1", 0), "x" * 2000, "x" * 100)


def test_corrections_are_withheld_and_shown_with_their_record(parties: Parties) -> None:
    ask(parties)
    parties.h.correct(("r1", 0), "reason", "section")
    for institution in (parties.town, "pm"):
        (notice,) = parties.h.corrections(institution)
        parties.h.confirm(notice.handle, section="section")
    whole = parties.shown(0)
    assert len(whole) == 5
    for limit in (1, 2, 4, 5, 6):
        assert parties.shown(0, limit=limit) == whole
    parties.h.withhold(("r1", 0), "ground", REVIEW)
    assert parties.shown(0) == []
    # The holders still work on it.
    parties.h.correct(("r1", 0), "another reason", "section")
    assert len(parties.h.corrections("pm")) == 1
    assert parties.shown(0) == []
    parties.h.lift(("r1", 0), clerk="佐藤", second_clerk="鈴木")
    assert parties.shown(0)[1:] == whole
    parties.h.protect("jlis", parties.codes[0], since=dt.date(2026, 1, 1), ground="支援措置")
    assert parties.shown(0) == []


def test_a_filter_by_institution_keeps_corrections_with_their_record(parties: Parties) -> None:
    ask(parties)
    parties.h.correct(("r1", 0), "reason", "section")
    assert parties.shown(0, institution=parties.town) == parties.shown(0, institution="nenkin") == parties.shown(0)
    assert parties.shown(0, institution=parties.other_town) == []
    assert len(parties.shown(0, procedure="19-8/73/75.3")) == 3


def test_a_correction_in_a_later_period_follows_and_goes_with_its_record(parties: Parties) -> None:
    page = parties.h.history(parties.portal[0])
    parties.clock.now += 60 * DAY_S
    parties.h.lapse()
    parties.ask("r2", [0])
    parties.h.ask_correction(parties.portal[0], page.records[0], "text", disclosed=page.disclosure)
    assert len(parties.shown(0)) == 4
    report = parties.h.verify()
    assert report.ok, report.problems
    parties.clock.now = dt.datetime(2034, 4, 1, tzinfo=dt.UTC).timestamp()
    parties.h.lapse()
    parties.h.retain(confirm=True)
    # Its marks were erased with the record: nobody knows whether what follows it may be shown.
    assert [record.kind for record in parties.h.history(parties.portal[0]).records] == [Kind.LAPSE, Kind.INQUIRY]
    assert parties.h.corrections("nenkin") == []


@pytest.mark.parametrize("how", ["flipped", "removed"])
def test_a_damaged_state_is_found(parties: Parties, how: str) -> None:
    ask(parties)
    parties.h.close()
    change(parties.folder, "corrections", how)
    parties.reopen()
    if how == "flipped":
        with pytest.raises(StorageError, match="corrections"):
            parties.h.corrections("nenkin")
    report = parties.h.verify()
    assert any("corrections" in problem for problem in report.problems)


_CHILD = """
import sys
import hub
with hub.open(sys.argv[1]) as h:
    for row in range(int(sys.argv[2]), int(sys.argv[3])):
        h.correct(("r1", row), "reason", "section")
        sys.stdout.write(f"{row}\\n")
        sys.stdout.flush()
"""


def test_a_correction_that_was_acknowledged_survives_a_kill_and_is_there_once(tmp_path: Path) -> None:
    print(f"seed {SEED}")
    rng = random.Random(SEED)
    rows, folder = 200, tmp_path / "hub"
    with Parties(folder, persons=rows, clock=Clock(time.time())) as parties:
        parties.ask("r1", list(range(rows)))
        portal = parties.portal
    done = kills = 0
    while done < rows and kills < 12:
        words = [sys.executable, "-c", _CHILD, str(folder), str(done), str(rows)]
        with subprocess.Popen(words, stdout=subprocess.PIPE) as child:
            assert child.stdout is not None
            fd = child.stdout.fileno()
            heard = os.read(fd, 64)
            time.sleep(rng.uniform(0, 0.03))
            child.send_signal(signal.SIGKILL)
            while more := os.read(fd, 65536):
                heard += more
            child.wait(30)
        kills += 1
        whole = [int(line) for line in heard.decode().split("\n")[:-1]]
        if whole:
            done = whole[-1] + 1
        with hub.open(folder) as h:
            # The one under way may be there: the same call again adds nothing.
            if done < rows:
                h.correct(("r1", done), "reason", "section")
            found = [len(shown_in(h, portal[row])) for row in range(rows)]
            assert found == [2] * min(done + 1, rows) + [1] * max(rows - done - 1, 0)
            assert len(h.corrections("pm")) == min(done + 1, rows)
            assert h.verify().ok
    assert kills


def test_a_provider_that_was_never_asked_is_no_holder(parties: Parties) -> None:
    aliases = parties.h.acquire(parties.other_town, parties.codes).aliases
    inquiry = tax_inquiry("r1", requester=parties.other_town)
    denied = parties.h.inquire(inquiry, np.ascontiguousarray(aliases[2:3]), parties.town)
    assert (denied.status == Status.DENIED).all()
    parties.h.correct(("r1", 0), "reason", "section", requester=parties.other_town)
    assert len(parties.h.corrections("pm")) == 1
    assert parties.h.corrections(parties.town) == []
