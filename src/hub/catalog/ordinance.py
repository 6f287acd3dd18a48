"""Affairs of ordinances (独自利用事務, 番号法19条9号): what they copy, what needs consent, what providers keep back.

A local government may ask for an affair of its own ordinance what a statutory affair of like purpose and content may
ask for, of the same bodies, or less (個人情報保護委員会規則, 平成28年5号). So each rule of basis ``19-9`` names the
statutory procedure that it copies, and must stay within it. A provider may limit by an ordinance of its own what it
gives to such affairs.

Local tax (地方税) is under the secrecy of those who levy it (地方税法22条). A statutory affair has a power of inquiry
that lifts it; an ordinance gives none, so the person's consent must. (Some statutory affairs have none either: a notice
names them, 平成29年内閣府・総務省告示1号. The shipped files do not mark them.)
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Callable, Iterable, Sequence

import msgspec
import numpy as np
import numpy.typing as npt

from hub.catalog.csvfile import CsvFile, Source
from hub.catalog.institutions import Institution
from hub.catalog.law import Rule
from hub.catalog.moments import ends_at, read_period, starts_at
from hub.catalog.words import quote

ORDINANCE = "19-9"
STATUTE = "19-8"

CONSENT_KINDS = ("地方税",)
"""Kinds of information, every detail under them included, that an ordinance's affair gets only with consent."""


class Copy(msgspec.Struct, frozen=True, array_like=True):
    """The statutory procedure that a rule of an ordinance copies, by the rule's number and the procedure's id."""

    rule: int
    procedure: str


class Limit(msgspec.Struct, frozen=True, array_like=True):
    """What a provider gives to no affair of an ordinance, by an ordinance of its own.

    Attributes:
        institution: the provider's code.
        kind: of information; ``*`` is every kind.
        valid_from, valid_to: first and last day, in Japan; None is open.
    """

    institution: str
    kind: str
    valid_from: dt.date | None
    valid_to: dt.date | None


class Limits:
    """What each institution keeps back, at any moment."""

    def __init__(self, lines: Iterable[Limit], institutions: Sequence[Institution]) -> None:
        numbers = {body.code: body.number for body in institutions}
        self._rows = len(institutions) + 1
        self._lines = [(numbers[line.institution], line) for line in lines if line.institution in numbers]

    def limited(self, kind: str, at: float) -> npt.NDArray[np.bool_]:
        """bool by institution number: whether it keeps a kind back at a moment, in seconds since 1970."""
        marks = np.zeros(self._rows, dtype=bool)
        for number, line in self._lines:
            if line.kind in (kind, "*") and starts_at(line.valid_from) <= at < ends_at(line.valid_to):
                marks[number] = True
        return marks


def needs_consent(rule: Rule) -> bool:
    """Whether a rule gives its information only with the person's consent."""
    return rule.basis == ORDINANCE and rule.kind in CONSENT_KINDS


def find_excess(
    rule: Rule, copied: Sequence[Rule], copies: str, members_of: Callable[[str], frozenset[int]]
) -> str | None:
    """What of a rule is not as the procedure that it copies has it, as ``<column>: expected …``; None if all is.

    Args:
        copied: the rules of that procedure; none if there is no such procedure.
        copies: its id; empty where the rule names none.
    """
    if rule.basis != ORDINANCE:
        return f"copies: expected nothing beside the basis {rule.basis}, got {quote(copies)}" if copies else None
    if not copies:
        return f"copies: expected the id of the procedure of basis {STATUTE} that the ordinance copies, got nothing"
    if not copied or copied[0].basis != STATUTE:
        return f"copies: expected the id of a procedure of basis {STATUTE}, got {quote(copies)}"
    same = [
        other
        for other in copied
        if (other.kind, other.detail) == (rule.kind, rule.detail) and rule.shares_days(other)
    ]  # fmt: skip
    if not same:
        return f"kind, detail: expected what {copies} lists in these days, got {quote(rule.kind)}, {quote(rule.detail)}"
    if _exceeds(rule.provider, same, members_of):
        classes = ", ".join(dict.fromkeys(other.provider for other in same))
        return f"provider: expected bodies that {copies} asks for it ({classes}), got {quote(rule.provider)}"
    for role in rule.roles:
        if _exceeds(rule.provider, [other for other in same if role in other.roles], members_of):
            roles = ", ".join(dict.fromkeys(role for other in same for role in other.roles))
            return f"roles: expected those for which {copies} asks for it ({roles}), got {quote(role)}"
    return None


def _exceeds(label: str, rules: Iterable[Rule], members_of: Callable[[str], frozenset[int]]) -> bool:
    """Whether a class holds bodies that no rule names. Of an empty class nobody knows whom it will hold."""
    labels = {rule.provider for rule in rules}
    bodies = members_of(label)
    return label not in labels and not (bodies and bodies <= frozenset().union(*map(members_of, labels)))


def read_limits(source: Source) -> list[Limit]:
    """Read limits: institution, kind and, if wished, valid_from and valid_to.

    Raises:
        CatalogError: the file is broken.
    """
    return CsvFile(source).parse(_parse_limit, ("institution", "kind"), ("valid_from", "valid_to"))


def _parse_limit(line: dict[str, str]) -> Limit:
    if not line["institution"] or not line["kind"]:
        raise ValueError("institution, kind: expected a code and a kind or *, got nothing")
    if line["institution"] == "*":
        raise ValueError("institution: expected a code, got *: each limits by an ordinance of its own")
    return Limit(line["institution"], line["kind"], *read_period(line))
