"""Say in a sentence why a question is allowed or refused, and what a rule or procedure says."""

from __future__ import annotations

from typing import TYPE_CHECKING

from hub.catalog.institutions import Institution
from hub.catalog.law import Procedure, Rule
from hub.catalog.ordinance import ORDINANCE, needs_consent
from hub.catalog.terms import Term
from hub.messages import Reason

if TYPE_CHECKING:
    from hub.catalog.catalog import Catalog


def explain_decision(
    catalog: Catalog, rule: Rule, reason: Reason, misfit: str, requester: Institution, provider: Institution, role: str
) -> str:
    """Why the nearest rule lets a provider be asked, or what of it did not fit.

    Args:
        rule: the allowing rule, or the nearest.
        reason: NONE if it is allowed.
        misfit: the item that the reason is about.
        role: the role of the inquiry.
    """
    procedure = catalog.procedure(rule.procedure)
    match reason:
        case Reason.NONE:
            return f"rule {rule.rule} allows it: {rule.legal_basis}"
        case Reason.SAME_INSTITUTION:
            return f"{provider.name} would ask itself, which is no linkage between bodies"
        case Reason.REQUESTER:
            return (
                f"row {rule.row_id} lets {rule.requester} ask; {requester.name} does not belong to that class, "
                "and no delegation to it covers the row"
            )
        case Reason.NARROWED:
            return (
                f"of {rule.requester} only some may use {rule.procedure} ({catalog.narrowing_reason(rule.procedure)}); "
                f"{requester.name} is not among them"
            )
        case Reason.ITEM:
            return f"{rule.procedure} does not list {misfit}; it lists {', '.join(procedure.items)}"
        case Reason.ROLE:
            roles = _unite(r.roles for r in map(catalog.rule, procedure.rules) if misfit in (r.kind, r.detail))
            return f"{misfit} is listed for {', '.join(roles)}, not for {role or 'nobody'}"
        case Reason.PROVIDER:
            classes = _unite([r.provider] for r in map(catalog.rule, procedure.rules) if r.detail == misfit)
            return f"{misfit} is asked of {', '.join(classes)}; {provider.name} does not belong there"
        case Reason.NOT_YET:
            return f"rule {rule.rule} for {misfit} is in force from {rule.valid_from} on, not yet"
        case Reason.EXPIRED:
            return f"rule {rule.rule} for {misfit} was in force until {rule.valid_to}, no longer"
        case Reason.LIMITED:
            return f"{provider.name} limits by its own ordinance what it gives of {rule.kind} to affairs of ordinances"
        case Reason.CONSENT:
            return (
                f"rule {rule.rule} gives {misfit} only with the person's consent (地方税法22条), "
                "and the inquiry states none"
            )
        case Reason.REQUESTER_ASSESSMENT:
            return f"{requester.name} has published no assessment (番号法28条) as requester for row {rule.row_id}"
        case Reason.PROVIDER_ASSESSMENT:
            return f"{provider.name} has published no assessment (番号法28条) as provider for row {rule.row_id}"
    raise AssertionError(reason)


def describe_rule(catalog: Catalog, rule: Rule) -> str:
    """A rule in lines of ``name: value``, for a terminal."""
    procedure = catalog.procedure(rule.procedure)
    return _spell(
        [
            ("rule", str(rule.rule)),
            ("legal basis", f"{rule.legal_basis}{rule.sub}"),
            ("procedure", f"{rule.procedure} {rule.label}"),
            ("law", f"{procedure.law} ({procedure.affair})"),
            ("requester", _spell_class(catalog, rule.requester)),
            ("narrowed to", catalog.narrowing_reason(rule.procedure)),
            ("provider", _spell_class(catalog, rule.provider)),
            ("items", ", ".join(rule.items)),
            ("roles", ", ".join(rule.roles)),
            ("copies", catalog.copies.get(rule.rule, "")),
            ("consent", "of the person (地方税法22条)" if needs_consent(rule) else ""),
            ("in force", f"{rule.valid_from or 'always'} to {rule.valid_to or 'further notice'}"),
        ]
    )


def describe_procedure(catalog: Catalog, procedure: Procedure) -> str:
    """A procedure and what it may ask for, in lines of ``name: value``, for a terminal."""
    lines = [
        ("procedure", f"{procedure.id} {procedure.label}"),
        ("legal basis", procedure.legal_basis),
        ("law", f"{procedure.law} ({procedure.affair})"),
        *[("requester", _spell_class(catalog, requester)) for requester in procedure.requesters],
        ("narrowed to", catalog.narrowing_reason(procedure.id)),
        *[("copies", copied) for copied in _unite([catalog.copies[r]] for r in procedure.rules if r in catalog.copies)],
        ("limits", _spell_limits(catalog, procedure)),
        ("terms", _spell_terms(catalog.terms.of(procedure.id))),
    ]
    for rule in map(catalog.rule, procedure.rules):
        item = rule.detail if rule.detail == rule.kind else f"{rule.detail} ({rule.kind})"
        consent = " · with consent" if needs_consent(rule) else ""
        lines.append((f"rule {rule.rule}", f"{item} · {', '.join(rule.roles)} · of {rule.provider}{consent}"))
    return _spell(lines)


def _spell(lines: list[tuple[str, str]]) -> str:
    return "\n".join(f"{name}: {value}" for name, value in lines if value)


def _spell_class(catalog: Catalog, label: str) -> str:
    return f"{label} ({len(catalog.members_of(label))} institutions)"


def _spell_terms(terms: Term) -> str:
    told = f"permits of {terms.permit_days} days, at most {terms.providers_per_person_max} providers a person"
    return told + (", by hand only with a second clerk" if terms.two_clerks else "")


def _spell_limits(catalog: Catalog, procedure: Procedure) -> str:
    """Who keeps something of it back, at any time."""
    kinds = {"*", *procedure.kinds} if procedure.basis == ORDINANCE else ()
    lines = [line for line in catalog.tables.limits if line.kind in kinds]
    some = ", ".join(f"{line.institution} ({line.kind})" for line in lines[:5])
    return some + (f" and {len(lines) - 5} more" if len(lines) > 5 else "")


def _unite(lists) -> list[str]:  # type: ignore[no-untyped-def]
    return list(dict.fromkeys(word for words in lists for word in words))
