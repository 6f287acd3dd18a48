"""Every kind of record, outcome, row, kind of information, role and class has words in three languages."""

from __future__ import annotations

import ast
import asyncio
import datetime as dt
import re
import string
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

import hub
import hub.portal
from hub.catalog import Catalog
from hub.messages import History, Kind, Record, Status
from hub.portal.cards import WARNS, Cards
from hub.portal.hubside import ALLOWED
from hub.portal.sentences import OUTCOMES, SENTENCES, Teller
from hub.portal.stories import Outcome, fold_records, group_by_day
from hub.portal.view import environment
from hub.portal.wordlists import LANGUAGES, Language, words
from hub.portal.year import FIRSTS_MAX, MANY_A_DAY, OLDER_PAGES_MAX, count_year, months_until, never_before
from hub.wire.methods import METHODS

SOURCE = Path(hub.portal.__file__).parent
NOON = dt.datetime(2026, 11, 25, 3, tzinfo=dt.UTC)


def make_record(index: int = 0, **fields: object) -> Record:
    given: dict[str, object] = {
        "kind": Kind.INQUIRY, "requested_at": NOON + dt.timedelta(minutes=index), "provided_at": None,
        "requester": "nenkin", "on_behalf_of": None, "provider": "131016", "procedure": "19-8/73/75.3",
        "items": ("市町村民税",), "role": "納付義務者", "section": "国民年金部", "legal_basis": "番号法19条8号",
        "outcome": Status.OK, "inquiry": "00", "index": index,
    }  # fmt: skip
    return Record(**{**given, **fields})  # type: ignore[arg-type]


@pytest.mark.parametrize("language", LANGUAGES)
def test_every_kind_and_outcome_is_a_sentence(language: Language) -> None:
    teller = Teller(Catalog.japan(), language)
    for kind in Kind:
        for outcome in Status:
            told = teller.tell(make_record(kind=kind, outcome=outcome))
            end = "." if language == "en" else "。"
            assert told.sentence.endswith(end)
            assert told.outcome == "" or told.outcome.endswith(end)
            assert not re.search(r"[{}]|Kind\.|Status\.", told.sentence + told.outcome)
    assert set(SENTENCES) == set(Kind)
    assert set(OUTCOMES) == set(Status)


def test_by_hand_reads_as_waiting() -> None:
    assert OUTCOMES[Status.MANUAL] == OUTCOMES[Status.PENDING]


def test_the_lists_have_every_word_of_the_order() -> None:
    catalog = Catalog.japan()
    assert set(words("rows")) == {row.row for row in catalog.rows}
    assert set(words("kinds")) >= {rule.kind for rule in catalog.rules} | {kind for row in catalog.rows
                                                                          for _, kind in row.pairs}  # fmt: skip
    assert set(words("roles")) == {role for rule in catalog.rules for role in rule.roles}
    assert set(words("classes")) >= set(catalog.class_labels)
    assert set(words("bodies")) <= set(catalog.codes)
    for name in ("rows", "kinds", "roles", "classes", "bodies"):
        for key, word in words(name).items():
            assert word.en.isascii() or "kyū" in word.en, key
            assert word.en, key
            assert word.easy, key


@pytest.mark.parametrize("language", LANGUAGES)
def test_every_procedure_has_a_purpose_and_a_name(language: Language) -> None:
    teller = Teller(Catalog.japan(), language)
    for procedure in Catalog.japan().procedures():
        assert teller.purpose(procedure.id)
        assert teller.procedure(procedure.id) != procedure.id
    assert teller.procedure("own/1/1") == "own/1/1"
    assert teller.purpose("own/1/1") == ""


def test_a_class_nobody_of_which_was_asked_is_said_without_a_name() -> None:
    told = Teller(Catalog.japan(), "ja").tell(make_record(provider="", outcome=Status.MULTIPLE))
    assert "持つ機関に照会しようとしました" in told.sentence
    assert "どこにも照会されていません" in told.outcome


def test_an_institution_is_called_as_it_was_then() -> None:
    told = Teller(Catalog.japan(), "ja").tell(make_record(requester_name="社会保険庁"))
    assert told.sentence.startswith("社会保険庁が")


def test_what_follows_is_one_story_and_what_the_page_lacks_is_not_guessed() -> None:
    answer = make_record(7, kind=Kind.PROVISION, outcome=Status.PROVIDED, link=3, provided_at=NOON)
    lapse = make_record(6, kind=Kind.LAPSE, outcome=Status.LAPSED, link=1)
    asked = make_record(5, kind=Kind.CORRECTION_ASKED, outcome=Status.PENDING, link=3)
    question, other = make_record(3), make_record(2)
    stories = fold_records([answer, lapse, asked, question, other])
    found = {story.head.index: ([one.index for one in story.records], story.outcome) for story in stories}
    assert found == {3: ([7, 5, 3], Outcome.PROVIDED), 6: ([6], Outcome.LAPSED), 2: ([2], Outcome.ALLOWED)}
    assert sum(story.corrected for story in stories) == 1


def test_days_are_those_of_japan_newest_first() -> None:
    late = make_record(0, requested_at=dt.datetime(2026, 11, 24, 14, 59, 59, tzinfo=dt.UTC))
    later = make_record(1, requested_at=dt.datetime(2026, 11, 24, 15, 0, 0, tzinfo=dt.UTC))
    days = group_by_day(fold_records([later, late]))
    assert [day.date for day in days] == [dt.date(2026, 11, 25), dt.date(2026, 11, 24)]


def test_a_year_counts_questions_only_and_names_the_first_five() -> None:
    today = dt.date(2026, 11, 25)
    assert months_until(today)[0] == dt.date(2025, 12, 1)
    assert months_until(dt.date(2026, 1, 31))[0] == dt.date(2025, 2, 1)
    records = [make_record(n, requester=f"body-{n % 7}") for n in range(70)]
    before = dt.datetime(2025, 11, 30, 14, tzinfo=dt.UTC)
    records += [make_record(kind=Kind.PROVISION), make_record(requested_at=before)]
    year = count_year(records, today)
    assert (year.total, len(year.names), year.names[-1]) == (70, 6, "")
    assert year.counts[-1][-1] == 20
    assert min(bar.y for bar in year.bars) >= 0
    assert count_year([], today).total == 0
    old = make_record(requester="old", requested_at=NOON - dt.timedelta(days=30))
    again, new = make_record(requester="old"), make_record(requester="new", requested_at=NOON - dt.timedelta(days=29))
    many = [make_record(requester="body") for _ in range(MANY_A_DAY + 1)]
    assert count_year(many, today).crowded == [(today, MANY_A_DAY + 1)]
    assert count_year(many[1:], today).crowded == []
    own = [make_record(requester="portal", procedure="self/1/1") for _ in range(20)]
    assert (count_year(own, today).total, count_year(own, today).crowded) == (0, [])
    assert count_year([again, new, old], today).firsts == [("new", dt.date(2026, 10, 27))]


@pytest.mark.parametrize("kind", [Kind.MISLINK, Kind.LINK_REPLACED])
@pytest.mark.parametrize("language", LANGUAGES)
def test_a_wrong_link_is_pointed_out_on_the_day_on_which_it_was_told(language: Language, kind: Kind) -> None:
    told = make_record(kind=kind, provider="", procedure="", items=(), role="")
    cards = Cards(Teller(Catalog.japan(), language), language)
    warned, plain = (
        str(cards.days(group_by_day(fold_records([one])), "")) for one in (told, make_record(kind=Kind.NOTICE))
    )
    for text, many in ((warned, 1), (plain, 0)):
        assert text.count(f'<span class="badge warning">{WARNS.say(language)}</span>') == many
        assert text.count('id="d2026-11-25"') == 1


class Older:
    """A history of so many pages behind what was read, all about a body's answers."""

    def __init__(self, pages: int, asks: str) -> None:
        self.left, self.read = [f"more-{n}" for n in range(pages - 1)] + [None], 0
        self.record = make_record(requester=asks, provider="body")

    async def pages(self, **options: object) -> AsyncIterator[History]:
        for cursor in self.left:
            self.read += 1
            yield History([self.record], cursor, list)


@pytest.mark.parametrize(
    ("pages", "asks", "new", "read"),
    [(OLDER_PAGES_MAX, "another", True, OLDER_PAGES_MAX), (OLDER_PAGES_MAX + 1, "another", False, OLDER_PAGES_MAX),
     (OLDER_PAGES_MAX, "body", False, 1), (1, "portal", True, 1)],
)  # fmt: skip
def test_a_body_that_is_new_asked_in_no_year_and_of_so_many_pages_nobody_says_it(
    pages: int, asks: str, new: bool, read: int
) -> None:
    older, day = Older(pages, asks), dt.date(2026, 11, 1)
    found = asyncio.run(never_before([("body", day)], older, NOON))  # type: ignore[arg-type]
    assert (found, older.read) == ([("body", day)] if new else [], read)
    many = [(f"b{n}", day) for n in range(FIRSTS_MAX + 1)]
    assert len(asyncio.run(never_before(many, Older(1, "another"), NOON))) == FIRSTS_MAX  # type: ignore[arg-type]


def test_the_portal_calls_nothing_that_asks_about_anybody_but_for_own_data_of_who_is_signed_in() -> None:
    assert not ALLOWED & {"inquire", "push", "notify", "update", "provide", "collect", "acquire", "resolve",
                          "flag", "withhold", "lift", "reissue", "revoke"}  # fmt: skip
    assert set(METHODS) >= ALLOWED
    # The demo plays the institutions; what serves citizens does not.
    looks = []
    for path in SOURCE.glob("*.py"):
        if path.name in ("demo.py", "demoown.py"):
            continue
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Attribute):
                assert node.attr not in ("inquire_async", "inquire_together"), path.name
                if node.attr in ("inquire", "look"):
                    looks.append((path.name, node.attr))
            if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute) and node.func.attr == "call":
                first = node.args[0] if node.args else None
                if isinstance(first, ast.Constant):
                    assert first.value in ALLOWED, path.name
    # One place asks, behind a check, and one page lets it.
    assert sorted(looks) == [("hubside.py", "inquire"), ("routes_own.py", "look")]


def test_templates_write_nothing_that_is_not_escaped() -> None:
    assert environment("ja").autoescape is True
    for path in (SOURCE / "templates").glob("*.html"):
        content = path.read_text(encoding="utf-8")
        assert "|safe" not in content.replace(" ", ""), path.name
        # The policy forbids them, so a page that had some would be broken.
        assert not re.search(r"\son\w+=|\sstyle=|<style|<script(?! src)", content), path.name


def test_sentences_use_only_fields_that_there_are() -> None:
    for word in (*SENTENCES.values(), *OUTCOMES.values()):
        for text in word:
            fields = {name for _, name, _, _ in string.Formatter().parse(text) if name}
            assert fields <= {"r", "p", "i", "u", "role"}
