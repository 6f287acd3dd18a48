"""Each record in one plain sentence, in three languages: who did what, for what, and what came of it.

A procedure falls back to its row's sentence, a detail to its kind's, a municipality to its Japanese name. ``commands/
words.py`` says the same for terminals, in English.
"""

from __future__ import annotations

import functools
from collections.abc import Sequence
from typing import Any, NamedTuple

from hub.catalog import Catalog
from hub.errors import RequestError
from hub.messages import OWN_DATA, Kind, Record, Status
from hub.portal.wordlists import Language, Word, words

_ASKED = Word(
    "{r}が{u}、{p}に、あなたの{i}を照会しました{role}。",
    "{r} asked {p} for your {i}{u}{role}.",
    "{r}が、{p}に、あなたの{i}を聞きました。{u}",
)
_NOBODY_ASKED = Word(
    "{r}が{u}、あなたの{i}を持つ機関に照会しようとしました{role}。",
    "{r} looked for a body that holds your {i}{u}{role}.",
    "{r}が、あなたの{i}を持っているところを探しました。{u}",
)
_PROVIDED = Word("{p}が、{r}に、あなたの{i}を提供しました。", "{p} gave {r} your {i}.",
                 "{p}が、{r}に、あなたの{i}を教えました。")  # fmt: skip
_ANSWERED = Word("{p}が、{r}の照会に回答しました（{i}）。", "{p} answered the question of {r} ({i}).",
                 "{p}が、{r}に返事をしました（{i}）。")  # fmt: skip

_LOOKED = Word(
    "あなたが、「わたしの情報」で、{p}に、あなたの{i}を求めました。",
    "You asked {p}, on this portal, for your own {i}.",
    "あなたが、{p}に、自分の{i}を見せてほしいと頼みました。")  # fmt: skip
_SHOWN = Word("{p}が、あなたの{i}を、あなたに提供しました。", "{p} gave you your own {i}.",
              "{p}が、あなたの{i}を、あなたに教えました。")  # fmt: skip

SENTENCES: dict[Kind, Word] = {
    Kind.INQUIRY: _ASKED,
    Kind.CORRECTION_ASKED: Word(
        "あなたが、{p}に、記録の訂正を求めました。", "You asked {p} to correct a record.",
        "あなたが、{p}に、記録を直してほしいと頼みました。"),
    Kind.CORRECTION: Word(
        "{r}が、記録の訂正について決めました。", "{r} decided on the correction of a record.",
        "{r}が、記録を直すかどうか決めました。"),
    Kind.CONFIRMATION: Word(
        "{r}が、{p}による訂正を確認しました。", "{r} confirmed the correction made by {p}.",
        "{r}が、{p}が直したことを確かめました。"),
    Kind.ERASURE: Word(
        "保存期間（7年）が過ぎた記録が消去されました。", "Records older than seven years were erased.",
        "7年より古い記録が消されました。"),
    Kind.PROVISION: _ANSWERED,
    Kind.LAPSE: Word(
        "{p}が期限までに回答しなかったため、{r}の照会（{i}）は終わりました。情報は渡されていません。",
        "{p} did not answer {r} in time ({i}). Nothing was given.",
        "{p}が返事をしないうちに、時間が切れました（{i}）。情報は渡していません。"),
    Kind.RELEASE: Word(
        "{r}が、別の職員の確認を経て、{p}に、あなたの{i}を照会しました。",
        "{r} asked {p} for your {i}, after a second clerk had agreed.",
        "{r}が、もう一人の職員が確かめたあとで、{p}に、あなたの{i}を聞きました。"),
    Kind.PUSH: Word(
        "{p}が、照会を受けずに、{r}に、あなたの{i}を送りました{role}。",
        "{p} sent {r} your {i} without being asked{role}.",
        "{p}が、聞かれていないけれど、{r}に、あなたの{i}を送りました。"),
    Kind.UPDATE: Word(
        "{p}が、{r}に、前に渡したあなたの{i}の訂正を送りました。",
        "{p} sent {r} a correction of your {i} that it had given before.",
        "{p}が、{r}に、前に教えたあなたの{i}を直して送りました。"),
    Kind.NOTICE: Word(
        "{p}から、あなたにお知らせが届きました（{i}）。", "{p} wrote to you ({i}).",
        "{p}から、あなたにお知らせが来ました（{i}）。"),
    Kind.TAKEN: Word(
        "{r}が、{p}から送られたものを受け取りました。", "{r} took what {p} had sent.",
        "{r}が、{p}が送ったものを受け取りました。"),
    Kind.MERGED: Word(
        "{r}が、二つに分かれていたあなたの記録を一つにまとめました。",
        "{r} found that two records of you were one person's, and joined them.",
        "{r}が、二つに分かれていたあなたの記録を、一つにしました。"),
    Kind.SPLIT: Word(
        "{r}が、一人のものとしていた記録を、二人の記録に分けました。",
        "{r} found that what was kept as one person's was two persons', and separated it.",
        "{r}が、一人分としていた記録を、二人分に分けました。"),
    Kind.DIED: Word(
        "{r}が、死亡の届出を記録しました。", "{r} entered a notification of death.",
        "{r}が、亡くなったという届出を記録しました。"),
    Kind.PROXY_VIEW: Word(
        "あなたの代理人が、あなたの履歴を見ました{role}。", "Your proxy read your history{role}.",
        "あなたの代理人が、あなたの履歴を見ました。"),
    Kind.PROXY_GRANTED: Word(
        "代理人が、あなたの履歴を見られるようになりました{role}。", "A proxy may read your history{role}.",
        "代理人が、あなたの履歴を見られるようになりました。"),
    Kind.PROXY_REVOKED: Word(
        "代理人は、あなたの履歴を見られなくなりました{role}。", "A proxy may read your history no more{role}.",
        "代理人は、もうあなたの履歴を見られません。"),
    Kind.LINK_CONFIRMED: Word(
        "{r}が、自分の台帳とあなたとの結び付きを、別の職員の確認を経て確かめました。",
        "{r} confirmed, with a second clerk, that its file is yours.",
        "{r}が、持っている書類があなたのものだと、二人の職員で確かめました。"),
    Kind.LINK_REPLACED: Word(
        "{r}が、誤っていた結び付きを改めました。", "{r} replaced a wrong link.",
        "{r}が、まちがっていた結び付きを直しました。"),
    Kind.CONSENT_WITHDRAWN: Word(
        "あなたが、{i}の照会についての同意を取り消しました。", "You withdrew your consent to inquiries about your {i}.",
        "あなたが、{i}を聞いてよいという返事を、やめました。"),
    Kind.CONSENT_GIVEN: Word(
        "あなたが、{i}の照会について、もう一度同意しました。", "You consented again to inquiries about your {i}.",
        "あなたが、{i}を聞いてよいと、もう一度返事をしました。"),
    Kind.MISLINK: Word(
        "{r}が、あなたを別の人と取り違えていました。", "{r} had confused you with another person.",
        "{r}が、あなたと別の人をまちがえていました。"),
    Kind.COUNTER_VIEW: Word(
        "{r}が、本人確認のうえ、窓口であなたの履歴を印刷しました。",
        "{r} printed your history at a counter, after an identity check.",
        "{r}が、窓口で、あなたの履歴を紙に出しました。"),
}  # fmt: skip
"""One for each kind of record."""

_NOT_GIVEN = Word("情報は渡されていません。", "Nothing was given.", "情報は渡していません。")


def _refused(ja: str, en: str, easy: str) -> Word:
    return Word(ja + _NOT_GIVEN.ja, f"{en} {_NOT_GIVEN.en}", easy + _NOT_GIVEN.easy)


OUTCOMES: dict[Status, Word] = {
    Status.OK: Word("法律の定めに合う照会として認められました。", "The law allows the question.",
        "決まりに合っています。"),
    Status.UNKNOWN_ALIAS: _refused("あなたを指す符号が確かめられませんでした。", "The alias was not known.",
                                   "だれのことか、わかりませんでした。"),
    Status.REVOKED: _refused("あなたを指す符号が無効になっていました。", "The alias had been revoked.",
                             "古い印だったので、使えませんでした。"),
    Status.NO_ALIAS_AT_PROVIDER: _refused("相手の機関に、あなたの情報はありませんでした。",
                                          "The other body holds nothing about you.",
                                          "聞かれたところに、あなたの情報はありませんでした。"),
    Status.DENIED: _refused("法律に根拠がないため、認められませんでした。", "It was denied: no rule of law allows it.",
                            "決まりに合わないので、止められました。"),
    Status.DENIED_ASSESSMENT: _refused("特定個人情報保護評価書が公表されていないため、認められませんでした。",
                                       "It was denied: an assessment (Art. 28) is not published.",
                                       "必要な準備（評価書）ができていないので、止められました。"),
    Status.DENIED_CONSENT: _refused("あなたの同意がないため、認められませんでした。",
        "It was denied: you have not consented.",
                                    "あなたが「いいです」と言っていないので、止められました。"),
    Status.DENIED_LIMITED: _refused("条例または照会先の数の制限により、認められませんでした。",
                                    "It was denied: limited by an ordinance, or too many bodies were asked.",
                                    "聞いてよい範囲を超えるので、止められました。"),
    Status.PENDING: Word("回答を待っています。", "The answer is awaited.", "返事を待っています。"),
    Status.PROVIDED: Word("情報が提供されました。", "The information was given.", "情報を渡しました。"),
    Status.EMPTY: Word("渡す情報はありませんでした。", "There was nothing to give.", "渡す情報はありませんでした。"),
    Status.NO_RECORD: Word("あなたについての情報はありませんでした。", "There was no information about you.",
                           "あなたの情報はありませんでした。"),
    Status.REFUSED: _refused("相手の機関は、回答しませんでした。", "The other body refused.",
        "聞かれたところは、教えませんでした。"),
    Status.LAPSED: _refused("期限までに回答がありませんでした。", "There was no answer in time.",
        "返事が間に合いませんでした。"),
    Status.SUSPENDED: _refused("相手の機関が連携を止めているため、照会できませんでした。",
                               "The other body has stopped the linkage.", "聞かれるところが、今は止めています。"),
    Status.MULTIPLE: _refused("あてはまる機関が複数あったため、どこにも照会されていません。",
                              "Several bodies fit, and none was asked.",
                              "合うところがいくつもあったので、どこにも聞いていません。"),
    Status.HELD: _refused("短い間に多くの機関に照会しようとしたため、止められています。",
                          "It is held: too many bodies were to be asked in a short time.",
                          "短い間にたくさんのところに聞こうとしたので、止めています。"),
    Status.MANUAL: Word("回答を待っています。", "The answer is awaited.", "返事を待っています。"),
}  # fmt: skip
"""MANUAL reads as PENDING: that a clerk must decide by hand would betray a protected person."""

_SENT = {
    Status.OK: Word("送られました。", "It was sent.", "送りました。"),
    Status.NO_ALIAS_AT_PROVIDER: _refused("受け取る機関に、あなたの情報はありませんでした。",
        "The receiver does not know you.",
                                          "受け取るところに、あなたの情報はありませんでした。"),
    Status.DENIED: _refused("根拠となる規則がないため、認められませんでした。", "It was denied: no rule allows it.",
                            "決まりに合わないので、止められました。"),
}  # fmt: skip
_LINKED = {
    Status.OK: Word("正しい結び付きです。", "The link is right.", "正しい結び付きです。"),
    Status.REVOKED: Word("あなたとの結び付きは終わりました。", "The link to you has ended.",
        "あなたとの結び付きは終わりました。"),
}
_OF_KIND: dict[Kind, dict[Status, Word]] = {
    Kind.PUSH: _SENT,
    Kind.UPDATE: _SENT,
    Kind.TAKEN: {
        Status.PROVIDED: Word("受け取られました。", "It was taken.", "受け取りました。"),
        Status.LAPSED: Word("期限までに受け取られませんでした。", "It was not taken in its time.",
            "時間までに受け取りませんでした。"),
    },
    Kind.CORRECTION_ASKED: {
        Status.PENDING: Word("決定を待っています。", "The decision is awaited.", "決まるのを待っています。")
    },
    Kind.CORRECTION: {
        Status.OK: Word("訂正されました。", "It was corrected.", "直しました。"),
        Status.REFUSED: Word("訂正されませんでした。", "It was not corrected.", "直しませんでした。"),
    },
    Kind.CONFIRMATION: {Status.OK: Word("確認されました。", "It was confirmed.", "確かめました。")},
    Kind.LINK_CONFIRMED: _LINKED,
    Kind.LINK_REPLACED: _LINKED,
}  # fmt: skip

SAYS_ALL = frozenset({
    Kind.ERASURE, Kind.LAPSE, Kind.NOTICE, Kind.MERGED, Kind.SPLIT, Kind.DIED, Kind.PROXY_VIEW, Kind.PROXY_GRANTED,
    Kind.PROXY_REVOKED, Kind.MISLINK, Kind.CONSENT_WITHDRAWN, Kind.CONSENT_GIVEN, Kind.COUNTER_VIEW,
})  # fmt: skip
"""Kinds whose sentence needs no outcome."""

_DEATH_TAKEN_BACK = Word("{r}が、死亡の届出を取り消しました。", "{r} took back a notification of death.",
                         "{r}が、亡くなったという届出を取り消しました。")  # fmt: skip
_NOT_TAKEN = Word("{r}は、{p}から送られたものを受け取りませんでした。", "{r} did not take what {p} had sent.",
                  "{r}は、{p}が送ったものを受け取りませんでした。")  # fmt: skip
_NOT_SENT = Word("{p}が、照会を受けずに、{r}に、あなたの{i}を送ろうとしました{role}。",
                 "{p} wished to send {r} your {i} without being asked{role}.",
                 "{p}が、聞かれていないけれど、{r}に、あなたの{i}を送ろうとしました。")  # fmt: skip
_NOBODY = Word("該当する機関", "a body of that kind", "合うところ")
_YOURSELF = Word("あなた", "you", "あなた")
_INFORMATION = Word("情報", "information", "情報")

SENTENCES_KEPT = 20_000
"""Sentences of a language that are kept: a few hundred bytes each."""

_OWN = frozenset({Kind.PROXY_VIEW, Kind.PROXY_GRANTED, Kind.PROXY_REVOKED})


class Told(NamedTuple):
    """A record in words.

    Attributes:
        sentence: who did what. outcome: what came of it, or empty.
    """

    sentence: str
    outcome: str

    def __repr__(self) -> str:
        return "Told()"


class _Fields(NamedTuple):
    """What a sentence is made of."""

    kind: Kind
    outcome: Status
    requester: str
    requester_name: str
    provider: str
    provider_name: str
    procedure: str
    items: tuple[str, ...]
    role: str


class Teller:
    """Records in words of one language, with the names of one catalog."""

    def __init__(self, catalog: Catalog, language: Language) -> None:
        self._catalog, self._language = catalog, language
        self._rows = {row.id: row for row in catalog.rows}
        self._tell = functools.lru_cache(SENTENCES_KEPT)(self._make)
        self._kind_of: dict[str, str] = {}
        for rule in catalog.rules:
            self._kind_of.setdefault(rule.detail, rule.kind)
            self._kind_of.setdefault(rule.kind, rule.kind)

    def __repr__(self) -> str:
        return f"Teller({self._language})"

    def tell(self, record: Record) -> Told:
        """A record in one sentence, and one of what came of it."""
        return self._tell(
            record.kind, record.outcome, record.requester, record.requester_name, record.provider,
            record.provider_name, record.procedure, record.items, record.role,
        )  # fmt: skip

    def _make(self, *fields: Any) -> Told:
        # Of these fields alone: they name nobody and no moment, so that what is kept is of nobody.
        record = _Fields(*fields)
        language = self._language
        kind = record.kind if record.kind in SENTENCES else Kind.INQUIRY
        sentence = _form_of(record, kind).say(language).format(
            r=self.body(record.requester, record.requester_name) if record.requester else _NOBODY.say(language),
            p=self.body(record.provider, record.provider_name) if record.provider else _NOBODY.say(language),
            i=self.items(record.items),
            u=self._purpose(record),
            role=self._role(record, kind),
        )  # fmt: skip
        outcome = ""
        if kind not in SAYS_ALL and (kind, record.outcome) != (Kind.PROVISION, Status.PROVIDED):
            outcome = _OF_KIND.get(kind, {}).get(record.outcome, OUTCOMES[record.outcome]).say(language)
        return Told(_capital(sentence) if language == "en" else sentence, outcome)

    def body(self, code: str, then: str = "") -> str:
        """What an institution is called: as it was when the record was made, or in the language's words."""
        own = words("bodies").get(code)
        japanese = then or self._catalog.name_of(code) or code
        if own is None or self._language == "ja":
            return japanese
        name = own.say(self._language, japanese)
        return f"the {name}" if self._language == "en" and " " in name else name

    def label(self, label: str) -> str:
        """A class of bodies, as of a principal for whom one acts by delegation."""
        word = words("classes").get(label)
        return label if word is None else word.say(self._language, label)

    def items(self, items: Sequence[str]) -> str:
        """What was asked for, in words."""
        if not items:
            return _INFORMATION.say(self._language)
        if self._language == "ja":
            return "、".join(items)
        found = [self._item(item) for item in items]
        return (", " if self._language == "en" else "、").join(dict.fromkeys(found))

    def meanings(self, items: Sequence[str]) -> list[tuple[str, str]]:
        """Each item as it is recorded, and what it means."""
        found = []
        for item in items:
            word = words("kinds").get(self._kind_of.get(item, item))
            if word is not None:
                found.append((item, word.say(self._language, item)))
        return found

    def role(self, role: str) -> str:
        """Whose information it is, in words."""
        word = words("roles").get(role)
        return role if word is None else word.say(self._language, role)

    def procedure(self, procedure: str) -> str:
        """What a procedure is called; in English and plain Japanese its row's purpose."""
        if self._language != "ja":
            purpose = self.purpose(procedure)
            if purpose:
                return _capital(purpose) if self._language == "en" else purpose
        try:
            return self._catalog.procedure(procedure).label
        except RequestError:
            return procedure

    def purpose(self, procedure: str) -> str:
        """For what a procedure's row lets institutions ask; empty where the Order has no such row."""
        basis, _, rest = procedure.partition("/")
        row = rest.partition("/")[0]
        if self._language == "ja":
            found = self._rows.get(f"{basis}/{row}")
            return "" if found is None else f"「{found.affair}」（{found.law}）の事務のため"
        word = words("rows").get(row) if basis == "19-8" else None
        return "" if word is None else word.say(self._language)

    def _item(self, item: str) -> str:
        word = words("kinds").get(self._kind_of.get(item, item))
        return item if word is None else word.say(self._language, item)

    def _purpose(self, record: _Fields) -> str:
        if record.procedure.startswith(OWN_DATA):
            return ""
        purpose = self.purpose(record.procedure)
        if not purpose:
            return ""
        return {"ja": f"、{purpose}", "en": f", {purpose}", "easy": f"{purpose}です。"}[self._language]

    def _role(self, record: _Fields, kind: Kind) -> str:
        if not record.role or record.procedure.startswith(OWN_DATA):
            return ""
        if kind in _OWN:
            return {"ja": f"（{record.role}）", "en": f" ({record.role})", "easy": ""}[self._language]
        role = self.role(record.role)
        return {"ja": f"（あなたの立場：{role}）", "en": f" (you as: {role})", "easy": ""}[self._language]


def _form_of(record: _Fields, kind: Kind) -> Word:
    if record.procedure.startswith(OWN_DATA) and record.provider and kind == Kind.INQUIRY:
        return _LOOKED
    if record.procedure.startswith(OWN_DATA) and kind == Kind.PROVISION and record.outcome == Status.PROVIDED:
        return _SHOWN
    if kind == Kind.INQUIRY and not record.provider:
        return _NOBODY_ASKED
    if kind == Kind.PROVISION and record.outcome == Status.PROVIDED:
        return _PROVIDED
    if kind == Kind.DIED and record.outcome == Status.EMPTY:
        return _DEATH_TAKEN_BACK
    if kind == Kind.TAKEN and record.outcome == Status.LAPSED:
        return _NOT_TAKEN
    if kind == Kind.PUSH and record.outcome not in (Status.OK, Status.NO_ALIAS_AT_PROVIDER):
        return _NOT_SENT
    return SENTENCES[kind]


def _capital(sentence: str) -> str:
    return sentence[:1].upper() + sentence[1:]
