"""A consent that was withdrawn overrules what requesters state, from the next inquiry on, until it is given again."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import lmdb
import numpy as np
import pytest

import hub
from hub import limits
from hub.errors import RequestError, StorageError
from hub.messages import Kind, Status
from parties import Clock
from smallrows import submit
from test_consents import ASKED, ASKS, RULES, aid_inquiry

PROCEDURE = "19-9/1/2.1"
CODES = [f"{10**9 + n:011}" for n in range(6)]
YES, NO = Status.OK, Status.DENIED_CONSENT


class Town:
    def __init__(self, folder: Path) -> None:
        self.folder, self.clock = folder, Clock()
        self.h = hub.open(folder, create=True, clock=self.clock)
        self.h.load_catalog(self.h.catalog.import_rules(RULES))
        self.aliases = self.h.acquire(ASKS, CODES).aliases
        self.h.acquire(ASKED, CODES)
        self.other = self.h.acquire("131032", CODES).aliases
        self.portal = self.h.acquire("portal", CODES).aliases
        self._n = 0

    def ask(self, **words: object) -> list[int]:
        self._n += 1
        given = {"consents": True, **words}
        return self.h.inquire(aid_inquiry(f"ask-{self._n}"), self.aliases, ASKED, **given).status.tolist()  # type: ignore[arg-type]

    def size(self) -> int:
        return int(self.h.checkpoint().split("\n")[1])


@pytest.fixture
def town(tmp_path: Path) -> Iterator[Town]:
    made = Town(tmp_path / "hub")
    yield made
    made.h.close()


def test_a_withdrawal_counts_from_the_next_inquiry_on_for_this_person_and_body_alone(town: Town) -> None:
    h = town.h
    assert town.ask() == [YES] * 6
    assert h.withdraw_consent(town.portal[1], ASKS, PROCEDURE, clerk="web") is True
    assert town.ask() == [YES, NO, YES, YES, YES, YES]
    assert town.ask(consents=np.array([1, 1, 0, 1, 1, 1], np.bool_)) == [YES, NO, NO, YES, YES, YES]
    assert town.ask(consents=None) == [NO] * 6
    assert h.inquire(aid_inquiry("x", "住民票"), town.aliases, ASKED, consents=True).status.tolist() == [YES] * 6
    inquiry = hub.Inquiry(requester="131032", procedure=PROCEDURE, items=("地方税",), role="保護者", section="課",
                          request_id="other")  # fmt: skip
    assert h.inquire(inquiry, town.other, ASKED, consents=True).status.tolist() == [YES] * 6
    assert h.give_consent(town.portal[1], ASKS, PROCEDURE) is True
    assert town.ask() == [YES] * 6
    assert h.verify().problems == ()


def test_single_rows_chunks_and_futures_heed_it_alike(town: Town, monkeypatch: pytest.MonkeyPatch) -> None:
    h = town.h
    h.withdraw_consent(town.portal[0], ASKS, PROCEDURE)
    future = h.inquire_soon(aid_inquiry("soon"), town.aliases, ASKED, consents=True)
    assert future.result(30).status.tolist() == [NO, *[YES] * 5]
    number = h.catalog.institution(ASKED).number
    asked = [(aid_inquiry(f"row-{n}"), town.aliases[n], number, True) for n in range(3)]
    assert submit(h, asked).result(30).status.tolist() == [NO, YES, YES]
    monkeypatch.setattr(limits, "ROWS_GATHERED_MAX", 0)
    assert town.ask() == [NO, *[YES] * 5]


def test_the_same_request_again_is_answered_as_it_was(town: Town) -> None:
    h = town.h
    first = h.inquire(aid_inquiry("again"), town.aliases, ASKED, consents=True)
    h.withdraw_consent(town.portal[2], ASKS, PROCEDURE)
    before = town.size()
    again = h.inquire(aid_inquiry("again"), town.aliases, ASKED, consents=True)
    assert again.status.tolist() == first.status.tolist() == [YES] * 6
    assert town.size() == before
    with pytest.raises(RequestError):
        h.inquire(aid_inquiry("again"), town.aliases, ASKED, consents=None)


def test_both_are_recorded_once_and_read_in_the_history(town: Town) -> None:
    h, mine = town.h, town.portal[0]
    assert h.give_consent(mine, ASKS, PROCEDURE) is False
    assert [h.withdraw_consent(mine, ASKS, PROCEDURE) for _ in range(2)] == [True, False]
    town.clock.now += 60
    assert [h.give_consent(mine, ASKS, PROCEDURE) for _ in range(2)] == [True, False]
    records = h.history(mine).records
    assert [one.kind for one in records] == [Kind.CONSENT_GIVEN, Kind.CONSENT_WITHDRAWN]
    name = h.catalog.name_of(ASKS)
    assert {(one.requester, one.provider, one.procedure, one.remark) for one in records} == {
        ("portal", "", PROCEDURE, f"{name}（{ASKS}）")
    }
    h.history(mine).proof(0)
    (said,) = h.consents(mine)
    assert (said.institution, said.procedure, said.withdrawn) == (ASKS, PROCEDURE, False)
    assert repr(said) == "Consent(withdrawn=False)"
    assert h.consents(town.portal[1]) == []
    assert h.history(town.portal[1]).records == []


def test_what_needs_no_consent_or_is_unknown_changes_nothing(town: Town) -> None:
    h, before = town.h, town.size()
    for alias, code, procedure in (
        (town.portal[0], ASKS, "19-8/73/75.3"), (town.portal[0], ASKS, "nothing"), (town.portal[0], "x", PROCEDURE),
        (bytes(16), ASKS, PROCEDURE),
    ):  # fmt: skip
        with pytest.raises(RequestError):
            h.withdraw_consent(alias, code, procedure)
    assert town.size() == before


def test_so_many_of_one_person_and_not_one_more(town: Town, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("hub.citizens.consents.CONSENTS_PER_PERSON_MAX", 2)
    town.h.withdraw_consent(town.portal[0], ASKS, PROCEDURE)
    town.h.withdraw_consent(town.portal[0], ASKED, PROCEDURE)
    with pytest.raises(RequestError, match="consents: expected at most 2"):
        town.h.withdraw_consent(town.portal[0], "131032", PROCEDURE)
    town.h.give_consent(town.portal[0], ASKS, PROCEDURE)


def test_it_outlives_reopening_and_merging(town: Town) -> None:
    town.h.withdraw_consent(town.portal[0], ASKS, PROCEDURE)
    town.h.close()
    town.h = hub.open(town.folder, clock=town.clock)
    assert town.ask()[0] == NO
    # Two records of one human being: what one of them said holds for both.
    town.h.merge("jlis", CODES[1], CODES[0], clerk="a", second_clerk="b", reason="same")
    assert town.ask()[1] == NO
    survivor = town.h.acquire("portal", [CODES[1]]).aliases[0]
    assert [one.withdrawn for one in town.h.consents(survivor)] == [True]


TWO = {"clerk": "a", "second_clerk": "b", "reason": "a mistake"}


def merge(town: Town, keep: int, gone: int) -> np.ndarray:
    """Two are found to be one; the portal alias that they have then."""
    town.h.merge("jlis", CODES[keep], CODES[gone], **TWO)
    town.clock.now += 60
    alias: np.ndarray = town.h.acquire("portal", [CODES[keep]]).aliases[0]
    return alias


def split(town: Town, keep: int, gone: int) -> None:
    town.h.split("jlis", CODES[keep], CODES[gone], **TWO)
    town.clock.now += 60
    assert town.h.verify().problems == ()


def said_of(town: Town, person: int) -> list[bool]:
    return [one.withdrawn for one in town.h.consents(town.portal[person])]


def test_where_two_who_are_one_said_different_things_the_withdrawal_counts_and_can_be_taken_back(town: Town) -> None:
    h = town.h
    for person in (0, 1):
        h.withdraw_consent(town.portal[person], ASKS, PROCEDURE)
        town.clock.now += 60
    h.give_consent(town.portal[1], ASKS, PROCEDURE)
    assert town.ask()[:2] == [NO, YES]
    one = merge(town, 1, 0)
    # The page says what inquiries are answered by: else nobody could give it again.
    assert [said.withdrawn for said in h.consents(one)] == [True]
    assert town.ask()[1] == NO
    assert h.give_consent(one, ASKS, PROCEDURE) is True
    assert town.ask()[1] == YES
    assert h.withdraw_consent(one, ASKS, PROCEDURE) is True
    assert town.ask()[1] == NO


def test_after_a_split_each_has_what_they_said_before(town: Town) -> None:
    town.h.withdraw_consent(town.portal[0], ASKS, PROCEDURE)
    merge(town, 1, 0)
    split(town, 1, 0)
    assert town.ask() == [NO, *[YES] * 5]
    assert (said_of(town, 0), said_of(town, 1)) == ([True], [])


def test_after_a_split_a_withdrawal_of_the_time_in_between_is_both_theirs(town: Town) -> None:
    one = merge(town, 1, 0)
    town.h.withdraw_consent(one, ASKS, PROCEDURE)
    split(town, 1, 0)
    assert town.ask() == [NO, NO, *[YES] * 4]
    assert said_of(town, 0) == said_of(town, 1) == [True]
    assert town.h.give_consent(town.portal[0], ASKS, PROCEDURE) is True
    assert town.ask() == [YES, NO, *[YES] * 4]


def test_after_a_split_nobody_has_given_what_the_other_may_have_given_for_them(town: Town) -> None:
    h = town.h
    h.withdraw_consent(town.portal[0], ASKS, PROCEDURE)
    h.withdraw_consent(town.portal[2], ASKS, PROCEDURE)
    town.clock.now += 60
    h.give_consent(town.portal[2], ASKS, PROCEDURE)
    one = merge(town, 1, 0)
    assert h.give_consent(one, ASKS, PROCEDURE) is True
    assert town.ask()[1] == YES
    split(town, 1, 0)
    assert town.ask() == [NO, NO, YES, *[YES] * 3], "who withdrew it has not given it"
    assert said_of(town, 0) == said_of(town, 1) == [True]
    for person in (0, 1):
        assert h.give_consent(town.portal[person], ASKS, PROCEDURE) is True
    assert town.ask() == [YES] * 6


def test_a_split_of_three_takes_back_what_was_given_for_all(town: Town) -> None:
    h = town.h
    h.withdraw_consent(town.portal[0], ASKS, PROCEDURE)
    merge(town, 1, 0)
    one = merge(town, 2, 1)
    assert h.give_consent(one, ASKS, PROCEDURE) is True
    split(town, 2, 1)
    assert town.ask()[1:3] == [NO, NO]
    split(town, 1, 0)
    assert town.ask() == [NO, NO, NO, *[YES] * 3]


def test_a_line_that_was_changed_is_found(town: Town) -> None:
    h = town.h
    h.withdraw_consent(town.portal[0], ASKS, PROCEDURE)
    with h._store.snapshot() as snapshot:
        ((key, _),) = [(k, v) for k, v in snapshot.items("consents", b"") if k[:1] == b"c"]
    with h._store.commit() as commit:
        commit.put_sealed("consents", key, bytes([2]))
    assert any("consents" in problem for problem in h.verify().problems)
    with h._store.commit() as commit:
        commit.put_sealed("consents", key, bytes([9]))
    with pytest.raises(StorageError, match="consents"):
        town.ask()


def test_a_register_that_was_lost_is_not_begun_anew(town: Town) -> None:
    town.h.withdraw_consent(town.portal[0], ASKS, PROCEDURE)
    town.h.close()
    env = lmdb.open(str(town.folder / "env"), map_size=1 << 30, max_dbs=256, lib_version=0)
    with env, env.begin(write=True) as txn:
        txn.drop(env.open_db(b"consents", txn=txn, create=False), delete=True)
    for readonly in (True, False):
        with pytest.raises(StorageError):
            hub.open(town.folder, readonly=readonly)
