"""The table of what can be called over the wire: each method of the Hub in one entry.

Not in it is what only whoever runs the folder does (``acquire``, ``resolve``, ``verify``, ``retain``, ``succeed``,
``identified``, holds, catalogs, events). A further method of the Hub is one more entry, and then server and clients
have it: its arguments by the forms of ``packing.py`` and ``forms.py`` (a Struct that says who acts: :func:`without`),
its result by those of ``results.py``, what is not simply called in ``doing.py``. ``PLAYS`` in
``tests/wire/test_every_method.py`` and the table in docs/wire.md take one line each; the tests say so where they lack.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import msgspec

from hub.errors import RequestError
from hub.limits import (
    ARRIVED_ROWS,
    CLAIMS_LIMIT,
    COLLECT_ROWS,
    DEATHS_PER_CALL_MAX,
    HISTORY_LIMIT,
    HISTORY_LIMIT_MAX,
)
from hub.messages import Inquiry, Notice, Push, Update, Wanted
from hub.mislinks.report import SECTION
from hub.wire import doing
from hub.wire import forms as f
from hub.wire import packing as p
from hub.wire import results as r
from hub.wire.bounds import bound_portal
from hub.wire.copying import COPY

PORTAL = "portal"

PAGES = ("history", "notices", "proxy_history")
"""Methods that give pages of records whose proofs are asked for later."""


def without(cls: type[msgspec.Struct], field: str, **types: Any) -> p.Form:
    """The form of an argument like :class:`hub.Inquiry`, without the field that says who acts: the call says it.

    Args:
        types: of fields that are to be decoded as another type than the class says.
    """
    fields = [one for one in msgspec.structs.fields(cls) if one.name != field]
    names = [one.name for one in fields]
    # An array becomes what the class has it for: nothing behind it may change it.
    tuples = [name for name in names if name in types]
    body = msgspec.defstruct(
        f"{cls.__name__}Body",
        [(one.name, types.get(one.name, one.type), one.default) for one in fields],
        kw_only=True, omit_defaults=True, forbid_unknown_fields=True,
    )  # fmt: skip
    word = cls.__name__.lower()

    def pack(value: Any) -> msgspec.Struct:
        if not isinstance(value, cls):
            raise RequestError(f"{word}: expected hub.{cls.__name__}, got {type(value).__name__}")
        given = {name: getattr(value, name) for name in names}
        for name in tuples:
            if isinstance(given[name], list):
                given[name] = tuple(given[name])
        return body(**given)

    def unpack(value: Any, _: Any) -> dict[str, Any]:
        return {name: getattr(value, name) for name in names}

    return p.Form(body, pack, unpack)


INQUIRY = without(Inquiry, "requester", items=tuple[str, ...])
PUSH = without(Push, "institution", items=tuple[str, ...])
UPDATE = without(Update, "institution", items=tuple[str, ...] | None)
NOTICE = without(Notice, "institution")


class Method(NamedTuple):
    """One method of the Hub.

    Attributes:
        params: its arguments by name, without the institution and without ``progress``. result: what it gives.
        names: which argument the institution of the call fills, or which field of one: ``inquiry.requester``; "" for
            none. of: the class of such an argument.
        only: the one institution that may call it.
        write: whether it changes what is stored. bulk: whether it may carry or give millions of rows.
        again: whether a client may repeat it by itself when it does not know whether it was done: the result is right.
        progress: whether it tells how far it is.
        do: does it, where it is not simply the Hub's method of this name.
        bound: refuses arguments that an institution may not give, see ``bounds.py``.
    """

    params: dict[str, p.Form]
    result: r.Result
    names: str = "institution"
    only: str | None = None
    write: bool = True
    bulk: bool = False
    again: bool = True
    progress: bool = False
    do: Callable[..., Any] | None = None
    of: type[msgspec.Struct] | None = None
    bound: Callable[[str, dict[str, Any]], None] | None = None


def _read(params: dict[str, p.Form], result: r.Result, names: str = "institution", **more: Any) -> Method:
    return Method(params, result, names, write=False, **more)


# -- the table

_ID = {"request_id": p.TEXT}
_CLERK = {"clerk": p.CLERK}
_CLERKS = {"clerk": p.TEXT, "second_clerk": p.TEXT, "reason": p.TEXT}
_CLERKS_AT_COUNTER = {"clerk": p.TEXT, "second_clerk": p.TEXT, "checked": p.TEXT}
_MERGE = {"keep": p.TEXT, "gone": p.TEXT, **_CLERKS}
_SHOWN = {"cursor": p.CLERK, "proofs": p.plain(list[int] | None, None)}
_NAMED = {"namespace": p.TEXT}
_RANGE = {"since": p.moment("since"), "until": p.moment("until")}
_LIMIT = p.default_of(p.NUMBER, HISTORY_LIMIT)
_BOOL = p.plain(bool)

METHODS: dict[str, Method] = {
    # Inquiries and files that are sent in parts.
    "inquire": Method(
        {
            "inquiry": INQUIRY, "aliases": p.ALIASES, "providers": p.PROVIDERS, "cases": p.CASES, "withhold": p.MARKS,
            "consents": p.CONSENTS,
        },
        r.ANSWER, "inquiry.requester", of=Inquiry, bulk=True, progress=True, bound=bound_portal,
    ),
    "status": _read(_ID, r.STATUS, "requester"),
    "begin_file": Method({**_ID, "digest": p.BYTES, "rows_max": p.NUMBER}, r.NOTHING, "requester"),
    "end_file": Method({**_ID, "rows": p.NUMBER}, r.NOTHING, "requester"),
    "find_file": _read(_ID, r.FILE, "requester"),
    # The exchange.
    "collect": _read(
        {"limit": p.default_of(p.NUMBER, COLLECT_ROWS), "after": p.plain(str | None, None),
         "manual": p.plain(bool | None, None)},
        r.PERMITS, bulk=True,
    ),
    "provide": Method(
        {"permits": p.PERMITS, "outcomes": p.OUTCOMES, "payloads": p.PAYLOADS, "reasons": p.REASONS, **_CLERK},
        r.RECEIPT, bulk=True,
    ),
    "answers": _read(
        {**_ID, "first": p.default_of(p.NUMBER, 0), "limit": p.optional(p.NUMBER)},
        r.ANSWERS, "requester", bulk=True, do=doing.answers,
    ),
    "fetched": Method(_ID, r.COUNT, "requester", bulk=True, again=False),
    "release": Method({"handle": p.HANDLE, "reason": p.TEXT, "clerk": p.TEXT}, r.BYTES, "requester", do=doing.release),
    "register_key": Method({"public_key": p.optional(p.BYTES), **_CLERK}, r.NOTHING),
    "payload_key": _read({"institution": p.TEXT}, r.OPTIONAL_BYTES, ""),
    # What is sent unasked.
    "push": Method(
        {"push": PUSH, "aliases": p.ALIASES, "receivers": f.RECEIVERS, "payloads": p.PAYLOADS},
        r.SENT, "push.institution", of=Push, bulk=True, progress=True,
    ),
    "update": Method(
        {"update": UPDATE, "permits": f.PROVIDED, "payloads": f.CORRECTED}, r.SENT, "update.institution", of=Update,
        bulk=True,
    ),
    "arrived": _read(
        {"limit": p.default_of(p.NUMBER, ARRIVED_ROWS), "after": p.CLERK}, r.ARRIVALS, bulk=True, do=doing.arrived
    ),
    "taken": Method({"numbers": f.NUMBERS}, r.RECEIPT, bulk=True),
    "notify": Method(
        {"notice": NOTICE, "aliases": p.ALIASES, "texts": f.TEXTS}, r.SENT, "notice.institution", of=Notice,
        bulk=True, progress=True,
    ),
    # Aliases.
    "tickets": Method({"n": p.NUMBER}, r.ALIASES, bulk=True),
    "deliver": Method({"tickets": p.TICKETS, "codes": p.CODES, "differs": p.DIFFERS}, r.RECEIPT, bulk=True),
    "acquired": _read({"tickets": p.TICKETS}, r.ACQUIRED, bulk=True),
    "close_tickets": Method({"tickets": p.TICKETS}, r.COUNT, bulk=True, again=False),
    "reissue": Method({"aliases": p.ALIASES}, r.ACQUIRED, bulk=True),
    "revoke": Method({"aliases": p.ALIASES}, r.COUNT, bulk=True, again=False),
    # Links, and what was wrong with one.
    "claim": Method({"tickets": p.TICKETS, "sealed": f.SEALED, "clerk": p.TEXT}, r.RECEIPT, bulk=True),
    "claims": _read(
        {"tickets": p.optional(p.TICKETS), "limit": p.default_of(p.NUMBER, CLAIMS_LIMIT), "cursor": p.CLERK},
        r.CLAIMS, bulk=True,
    ),
    "confirm_links": Method({"tickets": p.TICKETS, "clerk": p.TEXT, "reason": p.TEXT}, r.ACQUIRED, bulk=True),
    "replace_links": Method(
        {"tickets": p.TICKETS, "aliases": p.ALIASES, "clerk": p.TEXT, "reason": p.TEXT, "keep_old": f.KEEP_OLD},
        r.ACQUIRED, bulk=True,
    ),
    "blast_radius": _read({"alias": p.ALIAS, **_RANGE}, r.BLAST, bulk=True),
    "report_mislink": Method(
        {"wrong_alias": p.ALIAS, "right_alias": p.optional(p.ALIAS), **_CLERKS, **_RANGE, "known": p.OPTIONAL_DAY,
         "deliberate": p.default_of(_BOOL, False), "section": p.default_of(p.TEXT, SECTION), "request_id": p.CLERK,
         "dry_run": p.default_of(_BOOL, False)},
        r.MISLINK, bulk=True,
    ),
    "claims_required": _read({}, r.YES),
    "require_claims": Method({"on": p.default_of(_BOOL, True), "clerk": p.TEXT}, r.NOTHING),
    "suspend": Method({"aliases": p.optional(p.ALIASES), "clerk": p.TEXT, "reason": p.TEXT}, r.COUNT, again=False),
    "resume": Method({"aliases": p.optional(p.ALIASES), "clerk": p.TEXT, "reason": p.TEXT}, r.COUNT, again=False),
    "suspended": _read({}, r.YES),
    # Identifiers from outside.
    "register_identifiers": Method(
        {**_NAMED, "people": f.PEOPLE, "identifiers": f.IDENTIFIERS, "again": p.default_of(_BOOL, False), **_CLERK},
        r.ACQUIRED, "issuer", bulk=True,
    ),
    "renew_identifiers": Method({**_NAMED, "old": f.OLD, "new": f.NEW, **_CLERK}, r.ACQUIRED, "issuer", bulk=True),
    "revoke_identifiers": Method(
        {**_NAMED, "identifiers": f.IDENTIFIERS, **_CLERK}, r.COUNT, "issuer", bulk=True, again=False
    ),
    "identify": Method({**_NAMED, "identifiers": f.IDENTIFIERS}, r.IDENTIFIED, bulk=True),
    # Lives of persons and bodies.
    "merge": Method(_MERGE, r.NOTHING),
    "split": Method(_MERGE, r.NOTHING),
    "undecided": _read({"keep": p.TEXT, "limit": p.default_of(p.NUMBER, HISTORY_LIMIT_MAX)}, r.UNDECIDED),
    "assign": Method({"handle": p.BYTES, "code": p.TEXT, **_CLERKS}, r.NOTHING),
    "deaths": Method(
        {"aliases": f.DEAD, "days": f.DIED, "born": f.BORN, "correct": p.default_of(_BOOL, False), **_CLERK,
         "second_clerk": p.CLERK},
        r.DEATHS, bulk=True, again=False,
    ),
    "alive": Method({"aliases": f.DEAD, **_CLERKS}, r.COUNT, bulk=True, again=False),
    "closed": _read(
        {"since": p.default_of(p.NUMBER, 0), "limit": p.default_of(p.NUMBER, DEATHS_PER_CALL_MAX)}, r.CLOSED, "",
        only=PORTAL, bulk=True,
    ),
    "successions": _read({}, r.SUCCESSIONS, ""),
    # Who holds whom.
    "push_holders": Method(
        {"codes": p.CODES, "label": p.TEXT, "institutions": p.MEMBERS, "since": p.SINCE, "until": p.UNTIL, **_CLERK},
        r.HOLDERS, "register", bulk=True, progress=True,
    ),
    "wanted": _read(
        {"limit": p.default_of(p.NUMBER, 1_000), "after": p.plain(Wanted | None, None)}, r.WANTED, "register", bulk=True
    ),
    "wanted_count": _read({}, r.COUNT, "provider", bulk=True),
    "ask_alias": Method({"handle": p.HANDLE, **_CLERK}, r.NOTHING, "requester", do=doing.ask_alias),
    "copy_of": _read(
        {"role": p.TEXT, **_RANGE, "after": p.plain(bytes | None, None)}, COPY, bulk=True, do=doing.copy
    ),
    # Marks, flags, corrections.
    "flag": Method({"aliases": p.ALIASES, "flags": p.NUMBER, "on": p.default_of(_BOOL, True), **_CLERK}, r.NOTHING),
    "flags": _read({"aliases": p.ALIASES}, r.FLAGS, bulk=True),
    "withhold": Method({"handle": p.HANDLE, "ground": p.TEXT, "until": p.DAY, **_CLERK}, r.NOTHING),
    "lift": Method({"handle": p.HANDLE, **_CLERK, "second_clerk": p.CLERK}, r.YES),
    "handles": _read({"alias": p.ALIAS, **_RANGE, "limit": _LIMIT}, r.HANDLES),
    "marks_due": _read({"by": p.DAY}, r.DUE, bulk=True),
    "protect": Method({"code": p.TEXT, "since": p.moment("since", needed=True), "ground": p.TEXT, **_CLERK}, r.NOTHING),
    "unprotect": Method({"code": p.TEXT, **_CLERK, "second_clerk": p.CLERK}, r.YES),
    "unjudged": _read({"limit": p.default_of(p.NUMBER, HISTORY_LIMIT_MAX)}, r.HANDLES, bulk=True),
    "judge": Method(
        {"handle": p.HANDLE, "withhold": _BOOL, "ground": p.CLERK, "until": p.OPTIONAL_DAY, **_CLERK}, r.NOTHING
    ),
    "correct": Method(
        {"handle": p.HANDLE, "reason": p.TEXT, "section": p.TEXT, **_CLERK, "accepted": p.default_of(_BOOL, True),
         "appeal": p.CLERK},
        r.BYTES,
    ),
    "corrections": _read({}, r.NOTICES, bulk=True),
    "confirm": Method({"handle": p.BYTES, "section": p.TEXT, **_CLERK}, r.NOTHING),
    # The portal, for citizens.
    "history": _read(
        {"portal_alias": p.ALIAS, **_RANGE, "institution": p.CLERK, "procedure": p.CLERK, "limit": _LIMIT, **_SHOWN},
        r.HISTORY, "", only=PORTAL, do=doing.history,
    ),
    "notices": _read(
        {"portal_alias": p.ALIAS, "limit": _LIMIT, **_SHOWN}, r.NOTICE_PAGE, "", only=PORTAL, do=doing.notices
    ),
    "news": _read(
        {"portal_alias": p.ALIAS, "first": p.NUMBER, "below": p.NUMBER}, r.plain(int | None), "", only=PORTAL
    ),
    "disclosure_key": _read({"portal_alias": p.ALIAS}, r.BYTES, "", only=PORTAL),
    "disclosure_keys": _read({"portal_alias": p.ALIAS}, r.HASHES, "", only=PORTAL),
    "ask_correction": Method(
        {"portal_alias": p.ALIAS, "record": p.RECORD, "text": p.TEXT, "disclosed": p.TEXT, "institution": p.CLERK,
         **_CLERK},
        r.COUNT, "", only=PORTAL,
    ),
    "grant_proxy": Method(
        {"portal_alias": p.ALIAS, "agent_alias": p.ALIAS, "kind": f.KIND, "label": p.TEXT, "called": p.TEXT,
         "until": p.OPTIONAL_DAY, **_CLERK},
        r.BYTES, "", only=PORTAL,
    ),
    "proxies": _read({"portal_alias": p.ALIAS}, r.PROXIES, "", only=PORTAL),
    "revoke_proxy": Method(
        {"portal_alias": p.ALIAS, "handle": p.BYTES, **_CLERK}, r.YES, "", only=PORTAL, again=False
    ),
    "question_proxies": Method({"portal_alias": p.ALIAS, **_CLERK}, r.COUNT, "", only=PORTAL, again=False),
    "confirm_proxies": Method({"portal_alias": p.ALIAS, **_CLERK}, r.COUNT, "", only=PORTAL, again=False),
    "consents": _read({"portal_alias": p.ALIAS}, r.CONSENTS, "", only=PORTAL),
    "withdraw_consent": Method(
        {"portal_alias": p.ALIAS, "institution": p.TEXT, "procedure": p.TEXT, **_CLERK}, r.YES, "", only=PORTAL,
        again=False,
    ),
    "give_consent": Method(
        {"portal_alias": p.ALIAS, "institution": p.TEXT, "procedure": p.TEXT, **_CLERK}, r.YES, "", only=PORTAL,
        again=False,
    ),
    "principals": _read({"agent_alias": p.ALIAS}, r.PRINCIPALS, "", only=PORTAL),
    "proxy_history": Method(
        {"agent_alias": p.ALIAS, "handle": p.BYTES, **_RANGE, "institution": p.CLERK, "procedure": p.CLERK,
         "limit": _LIMIT, **_SHOWN},
        r.HISTORY, "", only=PORTAL, do=doing.proxy_history,
    ),
    "counter_history": Method(
        {"alias": p.ALIAS, **_CLERKS_AT_COUNTER, "section": p.TEXT, **_RANGE, "limit": _LIMIT}, r.COUNTER, again=False
    ),
    # What everybody may know.
    "checkpoint": _read({}, r.TEXT, ""),
    "checkpoints": _read({}, r.CHECKPOINTS, "", bulk=True),
    "consistency": _read({"old_size": p.NUMBER, "new_size": p.NUMBER}, r.HASHES, ""),
    "catalog": _read({}, r.CATALOG, "", bulk=True, do=doing.catalog),
    "verifier_key": _read({}, r.TEXT, "", do=doing.verifier_key),
}  # fmt: skip


def _request_type(name: str, method: Method) -> type[msgspec.Struct]:
    fields = [(field, form.type, form.default) for field, form in method.params.items()]
    title = name.title().replace("_", "") + "Request"
    return msgspec.defstruct(title, fields, kw_only=True, omit_defaults=True, forbid_unknown_fields=True)


REQUESTS: dict[str, type[msgspec.Struct]] = {name: _request_type(name, method) for name, method in METHODS.items()}
"""The arguments of each method: a map of them, without those that have their default."""

REQUEST_DECODERS = {name: msgspec.msgpack.Decoder(request) for name, request in REQUESTS.items()}
REPLY_DECODERS: dict[str, msgspec.msgpack.Decoder[Any]] = {
    name: msgspec.msgpack.Decoder(method.result.type) for name, method in METHODS.items()
}
