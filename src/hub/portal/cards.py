"""The days and stories of a history as HTML, joined by hand: a template takes four times as long for them.

What of a story names nobody and no moment (sentence, article, badges) is kept, once for everybody; what is a person's,
times and addresses of records, is put in anew on every page and kept nowhere. Whatever comes from a record is escaped.
"""

from __future__ import annotations

import datetime as dt
import functools
from collections.abc import Iterable
from typing import Any, NamedTuple

from markupsafe import Markup, escape

from hub.messages import Kind, Record, Status
from hub.portal.sentences import Teller
from hub.portal.stories import DAY_S, EPOCH, EXCHANGE, JAPAN_S, Day, Outcome, Story, address_of, day_of, moment_of
from hub.portal.view import Words
from hub.portal.wordlists import Language, Word

KEPT = 20_000
"""Pieces of a language that are kept, a kilobyte each at most; and days."""

OUTCOMES = {
    Outcome.PROVIDED: Word("情報が提供された", "given", "情報を渡した"),
    Outcome.NOTHING: Word("渡す情報がなかった", "nothing to give", "渡すものがなかった"),
    Outcome.ALLOWED: Word("照会が認められた", "allowed", "聞いてよいとされた"),
    Outcome.DENIED: Word("認められなかった", "denied", "止められた"),
    Outcome.LAPSED: Word("期限までに回答なし", "no answer in time", "返事がなかった"),
}
CORRECTED = Word("訂正の求めあり", "correction asked", "直しの相談あり")
WARNS = Word("取り違えの知らせ", "wrong link", "まちがいの知らせ")
BASIS, NEAREST = Word("根拠：", "Legal basis:", "決まり："), Word("いちばん近い条文：", "Nearest article of law:",
                                                             "いちばん近い決まり：")  # fmt: skip
MORE, MORE_AND_PROOF = Word("くわしく", "More", "くわしく"), Word("くわしく・証明", "More, and proof", "くわしく")
RECORD = Word("記録", "record", "")


class Fields(NamedTuple):
    """What of a record a story says of nobody and of no moment."""

    kind: Kind
    outcome: Status
    requester: str
    requester_name: str
    provider: str
    provider_name: str
    procedure: str
    items: tuple[str, ...]
    role: str
    legal_basis: str


class Cards:
    """Days and stories in one language, with the names of one catalog."""

    def __init__(self, teller: Teller, language: Language) -> None:
        self._tell, self._words, self._language = teller.tell, Words(language), language
        self._times = [f"{minute // 60:02}:{minute % 60:02}" for minute in range(24 * 60)]
        self._day = functools.lru_cache(KEPT)(self._words.day)
        self._middle = functools.lru_cache(KEPT)(self._make_middle)
        self._alone = functools.lru_cache(KEPT)(self._make_alone)
        self._dates = functools.lru_cache(KEPT)(lambda day: str(dt.date.fromordinal(day)))
        self._more, self._proof = self._say(MORE), self._say(MORE_AND_PROOF)
        self._hidden = f'<span class="hidden"> {self._say(RECORD)} '

    def __repr__(self) -> str:
        return f"Cards({self._language})"

    def days(self, days: Iterable[Day], base: str) -> Markup:
        """All of a page; addresses of records begin with ``base``."""
        return Markup("".join([self._one_day(day, base) for day in days]))

    def _one_day(self, day: Day, base: str) -> str:
        date = day.date.isoformat()
        stories = "".join([f"<li>{self._story(story, base)}</li>\n" for story in day.stories])
        return (
            f'<section class="day" aria-labelledby="d{date}">\n'
            f'<h2 id="d{date}"><time datetime="{date}">{self._day(day.date)}</time></h2>\n'
            f'<ol class="stories">\n{stories}</ol>\n</section>\n'
        )

    def _story(self, story: Story, base: str) -> str:
        head, day = story.records[-1], ""
        if len(story.records) == 1:
            middle, rest = self._alone(
                head.kind, head.outcome, head.requester, head.requester_name, head.provider, head.provider_name,
                head.procedure, head.items, head.role, head.legal_basis,
            )  # fmt: skip
        else:
            middle, rest = self._middle_of(head, story), self._steps(story, base)
            began = day_of(moment_of(head))
            if began != day_of(story.moment):
                # It stands where it last moved, which was on another day.
                day = self._day(began) + " "
        return (
            f'<article class="story">\n<p class="when">{self._time(moment_of(head), day)}{middle}{_remark(head)}{rest}'
            f"<p>{self._link(head, base, self._proof)}</p>\n</article>"
        )

    def _time(self, moment: dt.datetime, day: str) -> str:
        days, second = divmod(int(moment.timestamp()) + JAPAN_S, DAY_S)
        time = self._times[second // 60]
        stamp = f"{self._dates(days + EPOCH)}T{time}:{second % 60:02}+09:00"
        return f'<time datetime="{stamp}">{day}{time}</time>'

    def _make_alone(self, *fields: Any) -> tuple[str, str]:
        # Of these fields alone, as in ``sentences.py``: they name nobody and no moment.
        record = Fields(*fields)
        story = Story((record,))  # type: ignore[arg-type]
        outcome = self._tell(record).outcome  # type: ignore[arg-type]
        came = f'<p class="came">{escape(outcome)}</p>\n' if outcome else ""
        return self._middle_of(record, story), came  # type: ignore[arg-type]

    def _middle_of(self, head: Record, story: Story) -> str:
        law = head.legal_basis if head.procedure and head.kind in EXCHANGE else None
        return self._middle(self._tell(head).sentence, law, story.outcome, story.corrected, story.warns)

    def _make_middle(self, sentence: str, law: str | None, outcome: Outcome, corrected: bool, warns: bool) -> str:
        found = ""
        if outcome in OUTCOMES:
            found += f' <span class="badge {outcome}">{self._say(OUTCOMES[outcome])}</span>'
        if corrected:
            found += f' <span class="badge correction">{self._say(CORRECTED)}</span>'
        if warns:
            found += f' <span class="badge warning">{self._say(WARNS)}</span>'
        found += f'</p>\n<p class="sentence">{escape(sentence)}</p>\n'
        if law is not None:
            basis = self._say(NEAREST if outcome == Outcome.DENIED else BASIS)
            found += f'<p class="law">{basis} <span lang="ja">{escape(law)}</span></p>\n'
        return found

    def _steps(self, story: Story, base: str) -> str:
        found = []
        for record in story.records[-2::-1]:
            told, moment = self._tell(record), moment_of(record)
            when = ""
            if record.kind != Kind.LAPSE:
                when = self._time(moment, f"{self._day(day_of(moment))} ") + "\n"
            # A correction that was decided is no longer awaited.
            outcome = told.outcome if record.kind != Kind.CORRECTION_ASKED or record is story.records[0] else ""
            found.append(
                f"<li>{when}{escape(told.sentence)} {escape(outcome)}{_remark(record)}"
                f"{self._link(record, base, self._more)}</li>\n"
            )
        return f'<ol class="steps">\n{"".join(found)}</ol>\n'

    def _link(self, record: Record, base: str, text: str) -> str:
        return (
            f'<a class="more" href="{base}/record/{address_of(record)}">{text}{self._hidden}{record.index}</span></a>'
        )

    def _say(self, word: Word) -> str:
        return str(escape(word.say(self._language) or word.ja))


def _remark(record: Record) -> str:
    if not record.remark:
        return ""
    lines = "<br>".join([str(escape(line)) for line in record.remark.split("\n")])
    return f'<blockquote class="remark">{lines}</blockquote>\n'
