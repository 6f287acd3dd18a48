"""Statuses and reasons in words, for terminals and summaries."""

from __future__ import annotations

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


def spell_parties(kind: int, requester: str, provider: str) -> str:
    """Who did what to whom, of a record's kind: who gives is its provider, who receives its requester."""
    words = {
        Kind.PROVISION: f"{provider} answered {requester}",
        Kind.LAPSE: f"{provider} did not answer {requester} in time",
        Kind.RELEASE: f"{requester} asked {provider}, by leave of a second clerk",
        Kind.PUSH: f"{provider} sent {requester} unasked",
        Kind.UPDATE: f"{provider} sent {requester} a correction",
        Kind.TAKEN: f"what {provider} sent {requester}",
        Kind.NOTICE: f"{provider} wrote to {requester}",
        Kind.PROXY_VIEW: "your proxy read your history",
        Kind.PROXY_GRANTED: "a proxy may read your history",
        Kind.PROXY_REVOKED: "a proxy may read your history no more",
        Kind.LINK_CONFIRMED: f"{requester} confirmed a link between its file and the person",
        Kind.LINK_REPLACED: f"{requester} replaced a wrong link",
    }
    return words.get(Kind(kind) if kind in set(Kind) else Kind.INQUIRY, f"{requester} asked {provider}")


_SENT = {
    Status.OK: "sent",
    Status.NO_ALIAS_AT_PROVIDER: "the receiver has no alias of this person",
    Status.DENIED: "denied: no rule of the operator's own allows it",
}
_TAKEN = {Status.PROVIDED: "taken", Status.LAPSED: "not taken in its time"}


def spell_outcome(kind: int, outcome: Status) -> str:
    """What came of a record, in the words of its kind."""
    own = _SENT if kind in (Kind.PUSH, Kind.UPDATE, Kind.NOTICE) else _TAKEN if kind == Kind.TAKEN else {}
    return own.get(outcome, STATUS_WORDS[outcome])
