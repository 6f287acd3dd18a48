"""The legal basis: rows of the Order's table, its procedures, and the rules that follow from both.

A *rule* is one line of a procedure (information and roles) together with one provider class that the row names for
the line's kind. Rules are numbered from 1 in the order of the shipped files; rules of one's own from
``OWN_RULES_FROM``, so that a later edition of the shipped files does not move them. A number is never given to
another rule within a catalog and the catalogs made from it.
"""

from __future__ import annotations

import datetime as dt
import re

import msgspec

from hub.catalog.moments import ends_at, starts_at

OWN_RULES_FROM = 1_000_001
"""The number of the first rule that was imported; the shipped ones stay far below."""

BASES = {
    "19-8": "番号法19条8号・主務省令2条の表",
    "19-9": "番号法19条9号・条例事務",
    "self": "自己情報の提供",
    "notice": "お知らせ",
    "one-stop": "番号法附則6条",
    "own": "運営者の規則(法令ではない)",
}
"""What a rule may rest on, and how the citizen reads it. ``own`` is an operator's and must look so."""

_WORD = re.compile(r"[^\s/.,;]{1,20}")
_NUMBER = re.compile(r"[^\s/,;]{0,20}")
_PARAGRAPH = re.compile(r"(\d+)項(.+)")


class Row(msgspec.Struct, frozen=True, array_like=True):
    """One row (項) of the table in Art. 2 of the Order, or its like under another basis.

    Attributes:
        basis: a key of ``BASES``.
        row, article: as the Order counts them; they may read ``55-2`` (55の2).
        requester: the class that may ask.
        law, affair: the law and the affair of the requester.
        quasi_statutory: 準法定事務.
        pairs: (provider class, kind of information), in the table's order.
    """

    basis: str
    row: str
    article: str
    requester: str
    law: str
    affair: str
    quasi_statutory: bool
    pairs: tuple[tuple[str, str], ...]

    @property
    def id(self) -> str:
        return f"{self.basis}/{self.row}"


class Rule(msgspec.Struct, frozen=True, array_like=True, kw_only=True):
    """Who may ask which class of bodies for what, about whom, since when.

    Attributes:
        rule: the rule's own number, as answers and records give it.
        basis, row, article, number, sub: where it stands; ``number`` is the 号, ``sub`` the イロハ.
        procedure: the procedure's id.
        label: what the procedure is called.
        requester, provider: class strings.
        kind, detail: the information, coarse and exact.
        roles: whose information, in the Order's exact words.
        valid_from, valid_to: first and last day in force, in Japan; None is open.
    """

    rule: int
    basis: str
    row: str
    article: str
    number: str
    sub: str
    procedure: str
    label: str
    requester: str
    provider: str
    kind: str
    detail: str
    roles: tuple[str, ...]
    valid_from: dt.date | None
    valid_to: dt.date | None

    @property
    def items(self) -> tuple[str, ...]:
        """The names by which an inquiry may ask for it: the detail and the kind, once if they are the same."""
        return (self.detail,) if self.detail == self.kind else (self.detail, self.kind)

    @property
    def row_id(self) -> str:
        return f"{self.basis}/{self.row}"

    @property
    def provider_class(self) -> str:
        return self.provider

    @property
    def requester_class(self) -> str:
        return self.requester

    @property
    def key(self) -> tuple[object, ...]:
        """What makes it this rule and no other: everything but its number, its name and its last day."""
        return (
            self.procedure, self.sub, self.requester, self.provider, self.kind, self.detail, self.roles, self.valid_from
        )  # fmt: skip

    @property
    def legal_basis(self) -> str:
        return spell_legal_basis(self.basis, self.row, self.article, self.number)

    def in_force(self, at: float) -> bool:
        """Whether it was law at a moment, in seconds since 1970."""
        return starts_at(self.valid_from) <= at < ends_at(self.valid_to)

    def shares_days(self, other: Rule) -> bool:
        """Whether there is a day on which both are law."""
        return starts_at(self.valid_from) < ends_at(other.valid_to) and starts_at(other.valid_from) < ends_at(
            self.valid_to
        )

    def begins_after(self, at: float) -> bool:
        """Whether it is not law yet."""
        return at < starts_at(self.valid_from)


class Procedure(msgspec.Struct, frozen=True, kw_only=True):
    """What a body may need information for: one 号 of an article, or an article without any.

    Attributes:
        id: ``19-8/<row>/<article>.<number>``, without ``.<number>`` where the article has none.
        label, law, affair: what it is; labels repeat, the id does not.
        requester: the class that may ask; ``requesters`` all of them, where rules of one procedure differ.
        kinds, items, roles, providers: what its lines name, in their order; items are details.
        rules: numbers of its rules.
    """

    id: str
    basis: str
    row: str
    article: str
    number: str
    label: str
    law: str
    affair: str
    quasi_statutory: bool
    requesters: tuple[str, ...]
    providers: tuple[str, ...]
    kinds: tuple[str, ...]
    items: tuple[str, ...]
    roles: tuple[str, ...]
    rules: tuple[int, ...]

    @property
    def requester(self) -> str:
        return self.requesters[0]

    @property
    def row_id(self) -> str:
        return f"{self.basis}/{self.row}"

    @property
    def legal_basis(self) -> str:
        return spell_legal_basis(self.basis, self.row, self.article, self.number)


def procedure_id(basis: str, row: str, article: str, number: str) -> str:
    """The id of a procedure: ``19-8/73/75.3``, ``19-8/17/19``."""
    return f"{basis}/{row}/{article}.{number}" if number else f"{basis}/{row}/{article}"


def spell_legal_basis(basis: str, row: str, article: str, number: str) -> str:
    """The legal basis for people: ``番号法19条8号・主務省令2条の表73の項・75条3号``."""
    if basis == "19-8":
        return f"{BASES[basis]}{row.replace('-', 'の')}の項・{_spell_article(article)}{_spell_number(number)}"
    return f"{BASES[basis]}・{row}・{_spell_article(article)}{_spell_number(number)}"


def _spell_article(article: str) -> str:
    """``57-2`` is 57条の2; what is no number is left as it is."""
    head, dash, tail = article.partition("-")
    if not head.isdigit():
        return article
    return f"{head}条{'の' + tail if dash else ''}"


def _spell_number(number: str) -> str:
    """``3-3`` is 3号の3, ``2項1`` is 2項1号."""
    if not number:
        return ""
    paragraph = _PARAGRAPH.fullmatch(number)
    if paragraph:
        return f"{paragraph[1]}項{_spell_number(paragraph[2])}"
    head, dash, tail = number.partition("-")
    return f"{head}号{'の' + tail if dash else ''}" if head.isdigit() else number


def check_place(row: str, article: str, number: str) -> None:
    """Refuse parts that would not read back from a procedure's id.

    Raises:
        ValueError: a part is empty, too long, or holds a separator.
    """
    for name, value in (("row", row), ("article", article)):
        if not _WORD.fullmatch(value):
            raise ValueError(f"{name}: expected 1 to 20 characters without space / . , ;, got {value[:40]!r}")
    if not _NUMBER.fullmatch(number):
        raise ValueError(f"number: expected at most 20 characters without space / , ;, got {number[:40]!r}")


def split_list(text: str, name: str) -> tuple[str, ...]:
    """Split ``a;b``, refusing an empty list, empty parts and repeats.

    Raises:
        ValueError: the list is empty or has an empty or repeated part.
    """
    parts = tuple(part.strip() for part in text.split(";"))
    if not all(parts) or len(set(parts)) != len(parts):
        raise ValueError(f"{name}: expected names joined with ;, none empty or twice, got {text[:40]!r}")
    return parts
