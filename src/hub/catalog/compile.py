"""Compile an inquiry into a decision for every institution.

Each rule of the procedure is tried in the steps of ``_STEPS``, once for each *likeness* of providers (the same
classes, the same assessments). Where no rule fits, the nearest is the one that came furthest, then the one that fits
in most other steps, then the lowest number; the reason is the step at which it stopped.

Three caches make this cheap for single inquiries too, which come from thousands of requesters: how providers are
alike does not depend on the inquiry's words, and what is decided about them depends on the requester only through
its standing; the requester's own number is all that is patched in for each.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Collection, Sequence
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
import numpy.typing as npt

from hub.catalog.decide import NO_ENTRY, DecisionTable, Entry
from hub.catalog.law import Rule
from hub.catalog.ordinance import ORDINANCE, needs_consent
from hub.catalog.words import quote, unknown_word
from hub.errors import RequestError
from hub.limits import DECISION_TABLES_BYTES_MAX, DECISION_TABLES_MAX, ITEMS_PER_INQUIRY_MAX
from hub.messages import Reason, Status

if TYPE_CHECKING:
    from hub.catalog.catalog import Catalog

_STEPS = (
    Reason.REQUESTER,
    Reason.NARROWED,
    Reason.ITEM,
    Reason.ROLE,
    Reason.PROVIDER,
    Reason.EXPIRED,  # or NOT_YET
    Reason.LIMITED,
    Reason.REQUESTER_ASSESSMENT,
    Reason.PROVIDER_ASSESSMENT,
)
"""The order in which a rule is tried. Assessments come last: DENIED_ASSESSMENT means that the law's words all fit. What
all that allows may still need the person's consent, which is each row's own."""

_ALLOWED = len(_STEPS)
_STATUSES = {
    Reason.LIMITED: Status.DENIED_LIMITED,
    Reason.REQUESTER_ASSESSMENT: Status.DENIED_ASSESSMENT,
    Reason.PROVIDER_ASSESSMENT: Status.DENIED_ASSESSMENT,
}
"""Of a refusal by its reason; of all others DENIED."""


class _Element(NamedTuple):
    """One detail to be allowed (or a name that the procedure does not list) and the rules that may allow it."""

    name: str
    rules: tuple[Rule, ...]
    listed: bool


class _Standing(NamedTuple):
    """How a requester stands to a procedure.

    Attributes:
        requester, narrowed: numbers of the rules open to it, before and after narrowing.
        on_behalf_of: the principal's class where it acts as a delegate.
        assessed: whether it has published its assessment for the row.
    """

    requester: frozenset[int]
    narrowed: frozenset[int]
    on_behalf_of: str | None
    assessed: bool


class _Likeness(NamedTuple):
    """Providers that no rule of a procedure tells apart.

    Attributes:
        groups: of each, the classes it belongs to, the kinds it keeps back, whether it has published its assessment.
        of_institution: institution number -> group.
    """

    groups: list[tuple[frozenset[str], frozenset[str], bool]]
    of_institution: npt.NDArray[np.uint16]


class _Judged(NamedTuple):
    """The decisions about all providers for requesters of one standing: a table but for the requester itself."""

    entries: list[Entry]
    of_institution: npt.NDArray[np.uint16]
    items: tuple[str, ...]
    role: str


class Compiler:
    """Compiles the inquiries of one catalog, and keeps what it compiled; may be used by several threads."""

    def __init__(self, catalog: Catalog, boundaries: Sequence[float]) -> None:
        self._catalog = catalog
        # Between two boundaries nothing of the catalog changes: what is compiled for a moment between holds there.
        self._edges = (-math.inf, *boundaries, math.inf)
        tables = min(DECISION_TABLES_MAX, DECISION_TABLES_BYTES_MAX // (2 * catalog.numbers_end))
        self.table = functools.lru_cache(tables)(self._compile)
        self._judge_providers = functools.lru_cache(tables)(self._judge_all)
        self._liken = functools.lru_cache(tables)(self._liken_providers)

    def _compile(
        self, requester: str, procedure_id: str, items: tuple[str, ...], role: str | None, epoch: int
    ) -> DecisionTable:
        """Compile an inquiry for the period between two boundaries.

        Raises:
            RequestError: the requester, the procedure, an item or the role is not known; the items are none, too many
                or repeated; the role is left out although the items do not share one sole role.
        """
        catalog = self._catalog
        number = catalog.institution(requester).number
        procedure = catalog.procedure(procedure_id)
        check_items(items, catalog.item_words)
        if role is not None and role not in catalog.role_words:
            raise RequestError(unknown_word("role", role, catalog.role_words))
        standing = self._stand(number, catalog.rules_of(procedure_id), self._edges[epoch])
        judged = self._judge_providers(procedure_id, items, role, epoch, standing)
        of_institution = judged.of_institution.copy()
        own = judged.entries[of_institution[number]]
        of_institution[number] = len(judged.entries)
        return DecisionTable(
            [
                *judged.entries,
                own._replace(status=Status.DENIED, reason=Reason.SAME_INSTITUTION, without_consent=None),
            ],
            of_institution,
            items=judged.items,
            role=judged.role,
            on_behalf_of=standing.on_behalf_of,
            legal_basis=procedure.legal_basis,
            terms=catalog.terms.of(procedure_id),
            period=(self._edges[epoch], self._edges[epoch + 1]),
        )

    def _stand(self, number: int, rules: tuple[Rule, ...], at: float) -> _Standing:
        """Which rules a requester may use: a body that belongs to the class asks for itself, else as a delegate."""
        catalog, row_id = self._catalog, rules[0].row_id
        assessed = catalog.assessments.published_at(number, row_id, "requester") <= at
        narrowing = catalog.narrowed_to(rules[0].procedure)
        narrowed_out = None
        for bodies, principal in catalog.acting_as(number, row_id, "requester", at):
            open_rules = frozenset(rule.rule for rule in rules if bodies <= catalog.members_of(rule.requester))
            if open_rules and (narrowing is None or bodies <= narrowing):
                return _Standing(open_rules, open_rules, principal, assessed)
            if open_rules and narrowed_out is None:
                # Narrowed out for itself, it may still act for somebody to whom the procedure is open.
                narrowed_out = _Standing(open_rules, frozenset(), principal, assessed)
        return narrowed_out or _Standing(frozenset(), frozenset(), None, assessed)

    def _judge_all(
        self, procedure_id: str, items: tuple[str, ...], role: str | None, epoch: int, standing: _Standing
    ) -> _Judged:
        at = self._edges[epoch]
        rules = self._catalog.rules_of(procedure_id)
        role = _find_role(items, rules, at, standing) if role is None else role
        elements = _expand(items, rules, role, at, standing)
        procedure = self._catalog.procedure(procedure_id)
        kinds = procedure.kinds if procedure.basis == ORDINANCE else ()
        likeness = self._liken(procedure.providers, kinds, rules[0].row_id, epoch)
        entries: dict[Entry, int] = {}
        of_group = np.empty(len(likeness.groups), dtype=np.uint16)
        for group, provider in enumerate(likeness.groups):
            entry = _judge(elements, role, at, standing, *provider)
            of_group[group] = entries.setdefault(entry, len(entries))
        of_institution = of_group[likeness.of_institution]
        of_institution[0] = NO_ENTRY
        names = tuple(dict.fromkeys(element.name for element in elements))
        return _Judged(list(entries), of_institution, names, role)

    def _liken_providers(self, labels: tuple[str, ...], kinds: tuple[str, ...], row_id: str, epoch: int) -> _Likeness:
        """Group the institutions by the classes that a procedure's rules name, by limits of kinds, by assessment."""
        catalog, at = self._catalog, self._edges[epoch]
        marks = np.zeros((catalog.numbers_end, len(labels) + len(kinds) + 1), dtype=bool)
        for column, label in enumerate(labels):
            marks[catalog.providers_of(label, row_id, at), column] = True
        for column, kind in enumerate(kinds, len(labels)):
            marks[:, column] = catalog.limits.limited(kind, at)
        marks[:, -1] = catalog.assessments.published(row_id, "provider") <= at
        groups, of_institution = np.unique(marks, axis=0, return_inverse=True)
        return _Likeness(
            [
                (
                    frozenset(label for label, mark in zip(labels, group, strict=False) if mark),
                    frozenset(kind for kind, mark in zip(kinds, group[len(labels) :], strict=False) if mark),
                    bool(group[-1]),
                )
                for group in groups
            ],
            of_institution.reshape(-1).astype(np.uint16),
        )


def check_items(items: tuple[str, ...], known: Collection[str]) -> None:
    """Refuse items that are none, too many, repeated, or words that the catalog does not know.

    Raises:
        RequestError: as said.
    """
    if not 1 <= len(items) <= ITEMS_PER_INQUIRY_MAX:
        raise RequestError(f"items: expected 1 to {ITEMS_PER_INQUIRY_MAX}, got {len(items)}")
    for item in items:
        if item not in known:
            raise RequestError(unknown_word("item", item, known))
    if len(set(items)) != len(items):
        twice = next(item for item in items if items.count(item) > 1)
        raise RequestError(f"items: expected every item once, got {quote(twice)} twice")


def _named(item: str, rules: Sequence[Rule]) -> list[Rule]:
    return [rule for rule in rules if item in (rule.detail, rule.kind)]


def _find_role(items: tuple[str, ...], rules: Sequence[Rule], at: float, standing: _Standing) -> str:
    """The sole role that all items share; of items that the procedure does not list nothing is known.

    Raises:
        RequestError: the items have more than one role between them; all are listed.
    """
    named = [_most_open(_named(item, rules), at, standing) for item in items]
    roles = dict.fromkeys(role for rule in [rule for some in named for rule in some] or rules for role in rule.roles)
    if len(roles) > 1 and any(named):
        raise RequestError(f"role: expected one of {', '.join(roles)}, got none, and the items do not share a sole one")
    return next(iter(roles)) if len(roles) == 1 else ""


def _most_open(rules: list[Rule], at: float, standing: _Standing) -> list[Rule]:
    """Of some rules those in force for the requester; if none, those for it; if none, all."""
    open_rules = [rule for rule in rules if rule.rule in standing.narrowed]
    in_force = [rule for rule in open_rules if rule.in_force(at)]
    return in_force or open_rules or rules


def _expand(items: tuple[str, ...], rules: Sequence[Rule], role: str, at: float, standing: _Standing) -> list[_Element]:
    """Turn items into details: a kind covers the details under it that allow the role."""
    elements: list[_Element] = []
    for item in items:
        named = _named(item, rules)
        if not named:
            elements.append(_Element(item, tuple(rules), False))
            continue
        for_role = [rule for rule in named if role in rule.roles]
        if not for_role:
            # Nothing under the name allows the role: it is refused, and recorded, as it was asked.
            elements.append(_Element(item, tuple(named), True))
            continue
        for detail in dict.fromkeys(rule.detail for rule in _most_open(for_role, at, standing)):
            elements.append(_Element(detail, tuple(rule for rule in named if rule.detail == detail), True))
    return elements


def _judge(
    elements: list[_Element],
    role: str,
    at: float,
    standing: _Standing,
    classes: frozenset[str],
    limited: frozenset[str],
    assessed: bool,
) -> Entry:
    """The decision for providers that belong to some classes: all items or none; the item that stops first decides."""
    found = [_find_nearest(element, role, at, standing, classes, limited, assessed) for element in elements]
    rules = tuple(rule.rule for _, rule in found)
    worst = min(range(len(found)), key=lambda index: found[index][0])
    step, rule = found[worst]
    if step == _ALLOWED:
        refusals = (
            Entry(Status.DENIED_CONSENT, Reason.CONSENT, rule.rule, rules, element.name)
            for element, (_, rule) in zip(elements, found, strict=True)
            if needs_consent(rule)
        )
        return Entry(Status.OK, Reason.NONE, rule.rule, rules, "", next(refusals, None))
    reason = _STEPS[step]
    if reason is Reason.EXPIRED and rule.begins_after(at):
        reason = Reason.NOT_YET
    return Entry(_STATUSES.get(reason, Status.DENIED), reason, rule.rule, rules, elements[worst].name)


def _find_nearest(
    element: _Element,
    role: str,
    at: float,
    standing: _Standing,
    classes: frozenset[str],
    limited: frozenset[str],
    assessed: bool,
) -> tuple[int, Rule]:
    """The rule that comes furthest for one detail, and the step at which it stops (``_ALLOWED``: at none)."""

    def score(rule: Rule) -> tuple[int, int, int]:
        # Limits are only looked up for affairs of ordinances.
        fit = (
            rule.rule in standing.requester,
            rule.rule in standing.narrowed,
            element.listed,
            role in rule.roles,
            rule.provider in classes,
            rule.in_force(at),
            rule.kind not in limited,
            standing.assessed,
            assessed,
        )
        return (fit.index(False) if False in fit else _ALLOWED, sum(fit), -rule.rule)

    best = max(element.rules, key=score)
    return score(best)[0], best
