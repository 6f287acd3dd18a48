"""Find what is wrong or incomplete in a catalog: ``hub catalog check``."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

import msgspec

from hub.catalog.moments import ends_at
from hub.catalog.ordinance import ORDINANCE, find_excess

if TYPE_CHECKING:
    from hub.catalog.catalog import Catalog


WELFARE_TOWNS = "福祉事務所設置町村"
"""Towns with a welfare office of their own: the shipped list is not complete, see japan/README.md."""


class Problem(msgspec.Struct, frozen=True):
    """One finding.

    Attributes:
        grave: True for a contradiction; False for what is only incomplete, and known to be.
        text: what, in a sentence.
    """

    grave: bool
    text: str

    def __str__(self) -> str:
        return f"{'problem' if self.grave else 'note'}: {self.text}"


def find_problems(catalog: Catalog) -> list[Problem]:
    """Everything that a person should look at, contradictions first."""
    checks = (
        _check_classes, _check_pairs, _check_narrowings, _check_delegations, _check_assessments, _check_terms,
        _check_copies, _check_limits, _check_namespaces, _check_members,
    )  # fmt: skip
    found = [problem for check in checks for problem in check(catalog)]
    return sorted(found, key=lambda problem: not problem.grave)


def _check_classes(catalog: Catalog) -> Iterator[Problem]:
    """Every class string must be placed; one that holds no institution is worth a note."""
    placement = catalog.placement
    for label in catalog.class_labels:
        uses = catalog.uses_of(label)
        if label not in placement:
            yield Problem(True, f"class {label} ({uses}) stands in no line of classes.csv: nobody belongs to it")
        elif not placement.members[label]:
            lists = ", ".join(placement.empty_lists.get(label, ()))
            why = f"its list {lists} has no connected member" if lists else "no connected institution belongs to it"
            yield Problem(False, f"class {label} ({uses}) is empty: {why}")
        elif label in placement.empty_lists:
            lists = ", ".join(placement.empty_lists[label])
            yield Problem(False, f"class {label} ({uses}): its list {lists} has no connected member")


def _check_pairs(catalog: Catalog) -> Iterator[Problem]:
    """A row may name a kind that no line details: nothing can be asked under it."""
    detailed = {(rule.row_id, rule.kind) for rule in catalog.rules}
    for row in catalog.rows:
        for provider, kind in row.pairs:
            if (row.id, kind) not in detailed:
                yield Problem(False, f"row {row.id} names {kind} of {provider}, but no procedure details it")


def _check_narrowings(catalog: Catalog) -> Iterator[Problem]:
    for line in catalog.tables.narrowings:
        if line.procedure not in catalog.procedure_ids:
            yield Problem(True, f"narrowings.csv names {line.procedure}, which is no procedure")
            continue
        narrowed = catalog.narrowed_to(line.procedure) or frozenset()
        may_ask = frozenset().union(*map(catalog.members_of, catalog.procedure(line.procedure).requesters))
        if not narrowed <= may_ask:
            yield Problem(True, f"narrowings.csv opens {line.procedure} to bodies that its row does not name")
        elif not narrowed:
            yield Problem(False, f"narrowings.csv opens {line.procedure} to no connected institution")


def _check_delegations(catalog: Catalog) -> Iterator[Problem]:
    row_ids = {row.id for row in catalog.rows}
    for line in catalog.tables.delegations:
        where = f"delegations.csv, {line.delegate} for {line.principal}"
        if line.delegate not in catalog.codes:
            yield Problem(False, f"{where}: {line.delegate} is not connected")
        if line.principal not in catalog.placement:
            yield Problem(True, f"{where}: {line.principal} is no class of classes.csv")
            continue
        principal = catalog.members_of(line.principal)
        for row_id in line.rows:
            rules = [rule for rule in catalog.rules if rule.row_id == row_id]
            if row_id not in row_ids:
                yield Problem(True, f"{where}: there is no row {row_id}")
            elif not any(
                principal <= catalog.members_of(label)
                for rule in rules
                for side, label in (("requester", rule.requester), ("provider", rule.provider))
                if line.side in (side, "both")
            ):
                yield Problem(True, f"{where}: row {row_id} does not name the principal as {line.side}")


def _check_assessments(catalog: Catalog) -> Iterator[Problem]:
    row_ids = {row.id for row in catalog.rows}
    for line in catalog.tables.assessments:
        if line.institution != "*" and line.institution not in catalog.codes:
            yield Problem(False, f"assessments.csv: {line.institution} is not connected")
        if line.row != "*" and line.row not in row_ids:
            yield Problem(True, f"assessments.csv: there is no row {line.row}")


def _check_terms(catalog: Catalog) -> Iterator[Problem]:
    for line in catalog.tables.terms:
        if line.procedure != "*" and line.procedure not in catalog.procedure_ids:
            yield Problem(True, f"terms.csv names {line.procedure}, which is no procedure")


def _check_copies(catalog: Catalog) -> Iterator[Problem]:
    """What was right when the rules came in may be wrong since: a class has grown, a statutory rule has ended."""
    for rule in catalog.rules:
        if rule.basis != ORDINANCE:
            continue
        copies = catalog.copies.get(rule.rule, "")
        copied = catalog.rules_of(copies) if copies in catalog.procedure_ids else ()
        excess = find_excess(rule, copied, copies, catalog.members_of)
        if excess is not None:
            yield Problem(True, f"rule {rule.rule} exceeds what it copies: {excess}")
            continue
        ends = [ends_at(c.valid_to) for c in copied if (c.kind, c.detail) == (rule.kind, rule.detail)]
        if max(ends) < ends_at(rule.valid_to):
            yield Problem(True, f"rule {rule.rule} is in force longer than what it copies of {copies}")


def _check_limits(catalog: Catalog) -> Iterator[Problem]:
    kinds = {rule.kind for rule in catalog.rules}
    for line in catalog.tables.limits:
        if line.institution not in catalog.codes:
            yield Problem(False, f"limits.csv: {line.institution} is not connected")
        if line.kind != "*" and line.kind not in kinds:
            yield Problem(True, f"limits.csv: {line.kind} is no kind of information")


def _check_namespaces(catalog: Catalog) -> Iterator[Problem]:
    for line in catalog.tables.namespaces:
        if line.issuer not in catalog.codes:
            yield Problem(False, f"namespaces.csv: {line.issuer}, the issuer of {line.namespace}, is not connected")
        for word in line.relying:
            if word not in catalog.codes and word not in catalog.class_labels:
                yield Problem(True, f"namespaces.csv: {word} is neither a connected body nor a class")


def _check_members(catalog: Catalog) -> Iterator[Problem]:
    """Listed members that are not connected (yet) are normal; a list that no class uses is a slip."""
    unions = [line.parts for line in catalog.tables.classes] + [line.parts for line in catalog.tables.narrowings]
    used = {part[5:] for parts in unions for part in parts if part.startswith("list:")}
    absent: dict[str, int] = {}
    for member in catalog.tables.members:
        if member.institution not in catalog.codes:
            absent[member.list] = absent.get(member.list, 0) + 1
    towns = sum(member.list == WELFARE_TOWNS for member in catalog.tables.members)
    if towns:
        yield Problem(False, f"members.csv: {towns} {WELFARE_TOWNS} are listed, as far as they were known: add others")
    for name, count in absent.items():
        yield Problem(False, f"members.csv: {count} members of {name} are not connected")
    for name in {member.list: None for member in catalog.tables.members}:
        if name not in used:
            yield Problem(True, f"members.csv: no class uses the list {name}")
