"""Statuses and reasons in words, for terminals and summaries."""

from __future__ import annotations

from collections.abc import Sequence

from hub.messages import Kind, Reason, Status

STATUS_WORDS = {
    Status.OK: "permitted",
    Status.UNKNOWN_ALIAS: "the requester has no such alias",
    Status.REVOKED: "the alias was revoked",
    Status.NO_ALIAS_AT_PROVIDER: "the provider has no alias of this person",
    Status.DENIED: "denied: no rule of law allows the question",
    Status.DENIED_ASSESSMENT: "denied: an assessment (Art. 28) is not published",
    Status.DENIED_CONSENT: "denied: the person's consent lacks",
    Status.DENIED_LIMITED: "denied: limited (by the provider's ordinance, or too many bodies asked about one person)",
    Status.PENDING: "waiting for the provider",
    Status.PROVIDED: "provided",
    Status.EMPTY: "answered: nothing to provide",
    Status.NO_RECORD: "answered: no record of this person",
    Status.REFUSED: "refused by the provider",
    Status.LAPSED: "lapsed unanswered",
    Status.SUSPENDED: "the provider has stopped linkage",
    Status.MULTIPLE: "several persons fit",
    Status.HELD: "held",
    Status.MANUAL: "waiting for the provider",
}
"""MANUAL reads as PENDING: that a clerk must decide by hand would betray a protected person."""

REASON_WORDS = {
    Reason.NONE: "",
    Reason.REQUESTER: "the requester is not of the class that may ask",
    Reason.PROVIDER: "the provider is not of a class that may be asked for this item",
    Reason.ITEM: "the procedure does not list the item",
    Reason.ROLE: "the item is not listed for this role",
    Reason.NOT_YET: "the rule is not in force yet",
    Reason.EXPIRED: "the rule is no longer in force",
    Reason.REQUESTER_ASSESSMENT: "the requester has published no assessment",
    Reason.PROVIDER_ASSESSMENT: "the provider has published no assessment",
    Reason.SAME_INSTITUTION: "use inside one body is no linkage",
    Reason.NARROWED: "the procedure is open only to some of these requesters",
    Reason.CONSENT: "the person's consent lacks, which local tax needs for an ordinance's affair",
    Reason.NOT_OWN: "only a rule of the operator's own lets an institution push",
    Reason.LIMITED: "the provider's own ordinance keeps this from affairs of ordinances",
}

DENIALS = (Status.DENIED, Status.DENIED_ASSESSMENT, Status.DENIED_CONSENT, Status.DENIED_LIMITED)
"""What makes ``hub inquire`` end with status 1."""


def spell_parties(kind: int, requester: str, provider: str, outcome: int = Status.OK) -> str:
    """Who did what to whom, of a record's kind: who gives is its provider, who receives its requester."""
    words = {
        Kind.CORRECTION_ASKED: f"{provider} was asked to correct a record",
        Kind.CORRECTION: f"{requester} decided on a correction",
        Kind.CONFIRMATION: f"{requester} confirmed the correction of {provider}",
        Kind.PROVISION: f"{provider} answered {requester}",
        Kind.LAPSE: f"{provider} did not answer {requester} in time",
        Kind.RELEASE: f"{requester} asked {provider}, by leave of a second clerk",
        Kind.PUSH: f"{provider} {'sent' if outcome in _SENT_AT_ALL else 'wished to send'} {requester} data unasked",
        Kind.UPDATE: f"{provider} sent {requester} a correction",
        Kind.TAKEN: f"{requester} {'let lapse' if outcome == Status.LAPSED else 'took'} what {provider} had sent",
        Kind.NOTICE: f"{provider} wrote to {requester}",
        Kind.MERGED: f"{requester}: two records of you were found to be one person's",
        Kind.SPLIT: f"{requester}: what was kept as one person's was found to be two persons'",
        Kind.DIED: f"{requester}: your death was {'taken back' if outcome == Status.EMPTY else 'told'}",
        Kind.PROXY_VIEW: "your proxy read your history",
        Kind.PROXY_GRANTED: "a proxy may read your history",
        Kind.PROXY_REVOKED: "a proxy may read your history no more",
        Kind.CONSENT_WITHDRAWN: "you withdrew a consent",
        Kind.CONSENT_GIVEN: "you gave a consent again",
        Kind.COUNTER_VIEW: f"{requester} printed your history for you at a counter",
        Kind.LINK_CONFIRMED: f"{requester} confirmed a link between its file and the person",
        Kind.LINK_REPLACED: f"{requester} replaced a wrong link",
        # About either citizen: the one whose alias it was, and the one whom it meant.
        Kind.MISLINK: f"{requester} had confused you with another person",
    }
    return words.get(Kind(kind) if kind in set(Kind) else Kind.INQUIRY, f"{requester} asked {provider}")


def spell_matter(kind: int, items: Sequence[str], role: str, procedure: str, section: str) -> list[str]:
    """What a record is about, for what and by whom; lines that would say nothing are left out."""
    lines = []
    if items and kind not in _OF_THE_PERSON:
        lines.append(f"  about    {'、'.join(items)}" + (f", of the {role}" if role else ""))
    elif role and kind in _OF_PROXIES:
        lines.append(f"  as       {role}")
    if procedure and kind not in _WITHOUT_PROCEDURE:
        lines.append(f"  for      {procedure}" + (f", by {section}" if section else ""))
    elif section:
        lines.append(f"  by       {section}")
    return lines


_SENT_AT_ALL = (Status.OK, Status.NO_ALIAS_AT_PROVIDER)
_OF_PROXIES = (Kind.PROXY_VIEW, Kind.PROXY_GRANTED, Kind.PROXY_REVOKED)
_OF_THE_PERSON = (Kind.MERGED, Kind.SPLIT, Kind.DIED, *_OF_PROXIES, Kind.MISLINK, Kind.COUNTER_VIEW)
_WITHOUT_PROCEDURE = (*_OF_THE_PERSON, Kind.LINK_CONFIRMED, Kind.LINK_REPLACED, Kind.NOTICE)
"""Of these the field holds a word of the hub's own, or nothing."""

_GIVEN = {
    Status.OK: "sent",
    Status.NO_ALIAS_AT_PROVIDER: "the receiver has no alias of this person",
    Status.DENIED: "denied: no rule of the operator's own allows it",
}
_CORRECTED = {Status.OK: "corrected", Status.REFUSED: "not corrected"}
_LINKED = {Status.OK: "rightly linked", Status.REVOKED: "the link to you has ended"}
_OUTCOMES: dict[int, dict[Status, str]] = {
    Kind.PUSH: _GIVEN,
    Kind.UPDATE: _GIVEN,
    Kind.NOTICE: _GIVEN,
    Kind.TAKEN: {Status.PROVIDED: "taken", Status.LAPSED: "not taken in its time"},
    Kind.CORRECTION_ASKED: {Status.PENDING: "waiting for a decision"},
    Kind.CORRECTION: _CORRECTED,
    Kind.CONFIRMATION: {Status.OK: "confirmed"},
    Kind.LINK_CONFIRMED: _LINKED,
    Kind.LINK_REPLACED: _LINKED,
}


def spell_outcome(kind: int, outcome: Status) -> str:
    """What came of a record, in the words of its kind; nothing where the kind says it all."""
    if kind in _OF_THE_PERSON:
        return ""
    return _OUTCOMES.get(kind, {}).get(outcome, STATUS_WORDS[outcome])
