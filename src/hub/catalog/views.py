"""What is derived from the tables when a catalog is made: procedures, classes of each body, words, boundaries."""

from __future__ import annotations

import math
from collections.abc import Iterable
from typing import Any

import msgspec

from hub.catalog.classes import Placement
from hub.catalog.institutions import Institution
from hub.catalog.law import Procedure, Rule
from hub.catalog.moments import ends_at, starts_at
from hub.catalog.tables import Tables


def labels_of(tables: Tables) -> dict[str, None]:
    """Every class string that rows and rules use, in the order of classes.csv, then those that it lacks."""
    used: dict[str, None] = {}
    for row in tables.rows:
        used[row.requester] = None
        used.update((provider, None) for provider, _ in row.pairs)
    for rule in tables.rules:
        used[rule.requester] = used[rule.provider] = None
    placed = {line.label: None for line in tables.classes if line.label in used}
    return placed | used


def institutions_with_classes(
    institutions: tuple[Institution, ...], placement: Placement, labels: Iterable[str]
) -> tuple[Institution, ...]:
    """The institutions, each with the class strings that it belongs to."""
    classes: list[list[str]] = [[] for _ in range(len(institutions) + 1)]
    for label in labels:
        for number in placement.members.get(label, ()):
            classes[number].append(label)
    return tuple(msgspec.structs.replace(body, classes=tuple(classes[body.number])) for body in institutions)


def procedures_of(tables: Tables) -> dict[str, Procedure]:
    """The procedures by their ids, in the order of their first rules."""
    rows = {row.id: row for row in tables.rows}
    grouped: dict[str, list[Rule]] = {}
    for rule in tables.rules:
        grouped.setdefault(rule.procedure, []).append(rule)
    procedures = {}
    for procedure_id, rules in grouped.items():
        first, row = rules[0], rows[rules[0].row_id]
        procedures[procedure_id] = Procedure(
            id=procedure_id,
            basis=first.basis,
            row=first.row,
            article=first.article,
            number=first.number,
            label=first.label,
            law=row.law,
            affair=row.affair,
            quasi_statutory=row.quasi_statutory,
            requesters=_unite(rule.requester for rule in rules),
            providers=_unite(rule.provider for rule in rules),
            kinds=_unite(rule.kind for rule in rules),
            items=_unite(rule.detail for rule in rules),
            roles=_unite(role for rule in rules for role in rule.roles),
            rules=tuple(rule.rule for rule in rules),
        )
    return procedures


def words_of(rules: Iterable[Rule]) -> tuple[frozenset[str], frozenset[str]]:
    """Every name of an item, and every role."""
    items: set[str] = set()
    roles: set[str] = set()
    for rule in rules:
        items.add(rule.kind)
        items.add(rule.detail)
        roles.update(rule.roles)
    return frozenset(items), frozenset(roles)


def boundaries_of(tables: Tables) -> list[float]:
    """The moments at which a rule, a delegation, a limit or an assessment begins or ends, in order."""
    periods = {(rule.valid_from, rule.valid_to) for rule in tables.rules}
    periods |= {(line.valid_from, line.valid_to) for line in tables.delegations}
    periods |= {(line.valid_from, line.valid_to) for line in tables.limits}
    moments = {starts_at(first) for first, _ in periods} | {ends_at(last) for _, last in periods}
    moments |= {line.published_at for line in tables.assessments}
    return sorted(moment for moment in moments if math.isfinite(moment))


def _unite(words: Iterable[Any]) -> tuple[Any, ...]:
    return tuple(dict.fromkeys(words))
