"""Words for records: every kind reads as a sentence of its own, and no line says nothing."""

from __future__ import annotations

import pytest

from hub.commands.words import spell_matter, spell_outcome, spell_parties
from hub.messages import Kind, Status

OF_NOBODY = (Kind.INQUIRY, Kind.ERASURE)
"""The one that has the common sentence, and one that is about no person and so in no history."""


@pytest.mark.parametrize("kind", [kind for kind in Kind if kind not in OF_NOBODY])
def test_every_kind_has_a_sentence_of_its_own(kind: Kind) -> None:
    told = spell_parties(kind, "the pension agency", "the town")
    assert told != spell_parties(Kind.INQUIRY, "the pension agency", "the town")
    assert told not in [spell_parties(other, "the pension agency", "the town") for other in Kind if other != kind]


def test_an_unknown_kind_reads_as_a_question() -> None:
    assert spell_parties(200, "A", "B") == "A asked B"
    assert spell_matter(200, (), "", "", "") == []


def test_what_was_denied_was_not_sent() -> None:
    assert spell_parties(Kind.PUSH, "A", "B", Status.OK) == "B sent A data unasked"
    assert spell_parties(Kind.PUSH, "A", "B", Status.NO_ALIAS_AT_PROVIDER) == "B sent A data unasked"
    assert spell_parties(Kind.PUSH, "A", "B", Status.DENIED) == "B wished to send A data unasked"
    assert spell_parties(Kind.PUSH, "A", "B", Status.SUSPENDED) == "B wished to send A data unasked"


def test_what_lapsed_was_not_taken() -> None:
    assert spell_parties(Kind.TAKEN, "A", "B", Status.PROVIDED) == "A took what B had sent"
    assert spell_parties(Kind.TAKEN, "A", "B", Status.LAPSED) == "A let lapse what B had sent"


def test_a_death_that_was_taken_back_reads_so() -> None:
    assert spell_parties(Kind.DIED, "A", "", Status.EMPTY) == "A: your death was taken back"


@pytest.mark.parametrize("kind", [Kind.PROXY_VIEW, Kind.PROXY_GRANTED, Kind.PROXY_REVOKED])
def test_a_record_of_a_proxy_has_neither_items_nor_an_outcome(kind: Kind) -> None:
    assert spell_matter(kind, (), "法定代理人", "", "") == ["  as       法定代理人"]
    assert spell_outcome(kind, Status.OK) == ""


def test_a_question_has_all_its_lines() -> None:
    assert spell_matter(Kind.INQUIRY, ("地方税", "生活保護"), "納付義務者", "an affair", "a section") == [
        "  about    地方税、生活保護, of the 納付義務者",
        "  for      an affair, by a section",
    ]


def test_a_notice_names_no_procedure() -> None:
    assert spell_matter(Kind.NOTICE, ("児童手当",), "", "notice", "a section") == [
        "  about    児童手当",
        "  by       a section",
    ]


@pytest.mark.parametrize("kind", list(Kind))
@pytest.mark.parametrize("outcome", list(Status))
def test_no_kind_lacks_words_for_an_outcome(kind: Kind, outcome: Status) -> None:
    assert "\n" not in spell_parties(kind, "A", "B", outcome) + spell_outcome(kind, outcome)
