"""The table of what can be called over the wire: each method of the Hub in one entry.

Not in it is what only whoever runs the folder does (``acquire``, ``resolve``, ``verify``, ``retain``, holds, catalogs,
events). A further method of the Hub is one more entry, and then server and clients have it: its arguments by the forms
of ``packing.py`` (a Struct that says who acts: :func:`without`), its result by those of ``results.py``. ``PLAYS`` in
``tests/wire/test_every_method.py`` and the table in docs/wire.md take one line each; the tests say so where they lack.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import msgspec
import numpy as np

from hub.errors import RequestError
from hub.hub import Hub
from hub.limits import COLLECT_ROWS, HISTORY_LIMIT, HISTORY_LIMIT_MAX, WIRE_ANSWERS_BYTES, WIRE_ANSWERS_ROWS_MAX
from hub.limits import WIRE_ANSWERS_STEP_ROWS as STEP
from hub.messages import Answers, History, Inquiry, Wanted
from hub.wire import packing as p
from hub.wire import results as r

PORTAL = "portal"


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


def _read(params: dict[str, p.Form], result: r.Result, names: str = "institution", **more: Any) -> Method:
    return Method(params, result, names, write=False, **more)


# -- those that are not simply called


def _answers(h: Hub, requester: str, request_id: str, first: int, limit: int | None) -> r.SomeAnswers:
    """A reply's worth of answers: whoever wants more calls again."""
    rows = h.status(requester, request_id).rows
    if not 0 <= first <= rows or (limit is not None and limit < 0):
        # As the embedded hub says it.
        h.answers(requester, request_id, first=first, limit=limit)
    end = rows if limit is None else min(rows, first + limit)
    begin, size, found = first, 0, []
    while True:
        some = h.answers(requester, request_id, first=begin, limit=min(STEP, end - begin))
        found.append(some)
        begin += len(some)
        size += sum(len(one) for one in some.payloads if one is not None)
        if begin >= end or begin - first + STEP > WIRE_ANSWERS_ROWS_MAX or size >= WIRE_ANSWERS_BYTES:
            return r.SomeAnswers(join_answers(found), begin < end)


def join_answers(found: list[Answers]) -> Answers:
    """Answers to neighbouring rows as one."""
    if len(found) == 1:
        return found[0]
    return Answers(
        np.concatenate([one.status for one in found]),
        np.concatenate([one.reason for one in found]),
        [payload for one in found for payload in one.payloads],
        all(one.complete for one in found),
    )


_PAGES_MAX = 10
"""Pages behind the first one in which records are looked for that were on it a moment ago."""


def _history(h: Hub, portal_alias: bytes, proofs: list[int] | None, **options: Any) -> r.ShownHistory:
    """A page; or of records of a page (indexes) the proofs, as far as they are shown now."""
    page = h.history(portal_alias, **options)
    if proofs is None:
        return r.ShownHistory(page, [])
    wanted, found = list(dict.fromkeys(proofs)), {}
    shown = page
    for _ in range(_PAGES_MAX):
        for place, record in enumerate(shown.records):
            if record.index in wanted:
                found[record.index] = shown.proof(place)
        if len(found) == len(wanted) or shown.cursor is None:
            break
        # New records have come before it since.
        shown = h.history(portal_alias, **{**options, "cursor": shown.cursor})
    if len(found) < len(wanted):
        raise RequestError("proof: expected records of this history, got one that it no longer shows: ask for it again")
    made = [found[index] for index in wanted]
    return r.ShownHistory(History([one.record for one in made], page.cursor, lambda: made, page.disclosure), made)


def _ask_alias(h: Hub, requester: str, handle: Any, clerk: str | None) -> None:
    h.check_handle(requester, handle)
    h.ask_alias(handle, requester=requester, clerk=clerk)


def _release(h: Hub, requester: str, handle: Any, reason: str, clerk: str) -> bytes:
    h.check_handle(requester, handle)
    return h.release(handle, reason, clerk=clerk, requester=requester)


def _catalog(h: Hub) -> Any:
    return h.catalog


def _verifier_key(h: Hub) -> str:
    return h.verifier_key


# -- the table

_ID = {"request_id": p.TEXT}
_CLERK = {"clerk": p.CLERK}
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
        r.ANSWER, "inquiry.requester", of=Inquiry, bulk=True, progress=True,
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
        r.ANSWERS, "requester", bulk=True, do=_answers,
    ),
    "fetched": Method(_ID, r.COUNT, "requester", bulk=True, again=False),
    "release": Method({"handle": p.HANDLE, "reason": p.TEXT, "clerk": p.TEXT}, r.BYTES, "requester", do=_release),
    "register_key": Method({"public_key": p.optional(p.BYTES), **_CLERK}, r.NOTHING),
    "payload_key": _read({"institution": p.TEXT}, r.OPTIONAL_BYTES, ""),
    # Aliases.
    "tickets": Method({"n": p.NUMBER}, r.ALIASES, bulk=True),
    "deliver": Method({"tickets": p.TICKETS, "codes": p.CODES, "differs": p.DIFFERS}, r.RECEIPT, bulk=True),
    "acquired": _read({"tickets": p.TICKETS}, r.ACQUIRED, bulk=True),
    "close_tickets": Method({"tickets": p.TICKETS}, r.COUNT, bulk=True, again=False),
    "reissue": Method({"aliases": p.ALIASES}, r.ACQUIRED, bulk=True),
    "revoke": Method({"aliases": p.ALIASES}, r.COUNT, bulk=True, again=False),
    "claims_required": _read({}, r.YES),
    "require_claims": Method({"on": p.default_of(_BOOL, True), "clerk": p.TEXT}, r.NOTHING),
    "suspend": Method({"aliases": p.optional(p.ALIASES), "clerk": p.TEXT, "reason": p.TEXT}, r.COUNT, again=False),
    "resume": Method({"aliases": p.optional(p.ALIASES), "clerk": p.TEXT, "reason": p.TEXT}, r.COUNT, again=False),
    "suspended": _read({}, r.YES),
    # Who holds whom.
    "push_holders": Method(
        {"codes": p.CODES, "label": p.TEXT, "institutions": p.MEMBERS, "since": p.SINCE, "until": p.UNTIL, **_CLERK},
        r.HOLDERS, "register", bulk=True, progress=True,
    ),
    "wanted": _read(
        {"limit": p.default_of(p.NUMBER, 1_000), "after": p.plain(Wanted | None, None)}, r.WANTED, "register", bulk=True
    ),
    "wanted_count": _read({}, r.COUNT, "provider", bulk=True),
    "ask_alias": Method({"handle": p.HANDLE, **_CLERK}, r.NOTHING, "requester", do=_ask_alias),
    # Marks, flags, corrections.
    "flag": Method({"aliases": p.ALIASES, "flags": p.NUMBER, "on": p.default_of(_BOOL, True), **_CLERK}, r.NOTHING),
    "flags": _read({"aliases": p.ALIASES}, r.FLAGS, bulk=True),
    "withhold": Method({"handle": p.HANDLE, "ground": p.TEXT, "until": p.DAY, **_CLERK}, r.NOTHING),
    "lift": Method({"handle": p.HANDLE, **_CLERK, "second_clerk": p.CLERK}, r.YES),
    "handles": _read({"alias": p.ALIAS, **_RANGE, "limit": _LIMIT}, r.HANDLES),
    "marks_due": _read({"by": p.DAY}, r.DUE, bulk=True),
    "protect": Method({"code": p.TEXT, "since": p.moment("since", needed=True), "ground": p.TEXT, **_CLERK}, r.NOTHING),
    "unprotect": Method({"code": p.TEXT, **_CLERK, "second_clerk": p.CLERK}, r.YES),
    "unjudged": _read({"limit": p.default_of(p.NUMBER, HISTORY_LIMIT_MAX)}, r.HANDLES),
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
        {"portal_alias": p.ALIAS, **_RANGE, "institution": p.CLERK, "procedure": p.CLERK, "limit": _LIMIT,
         "cursor": p.CLERK, "proofs": p.plain(list[int] | None, None)},
        r.HISTORY, "", only=PORTAL, do=_history,
    ),
    "disclosure_key": _read({"portal_alias": p.ALIAS}, r.BYTES, "", only=PORTAL),
    "disclosure_keys": _read({"portal_alias": p.ALIAS}, r.HASHES, "", only=PORTAL),
    "ask_correction": Method(
        {"portal_alias": p.ALIAS, "record": p.RECORD, "text": p.TEXT, "disclosed": p.TEXT, "institution": p.CLERK,
         **_CLERK},
        r.COUNT, "", only=PORTAL,
    ),
    # What everybody may know.
    "checkpoint": _read({}, r.TEXT, ""),
    "checkpoints": _read({}, r.CHECKPOINTS, "", bulk=True),
    "consistency": _read({"old_size": p.NUMBER, "new_size": p.NUMBER}, r.HASHES, ""),
    "catalog": _read({}, r.CATALOG, "", bulk=True, do=_catalog),
    "verifier_key": _read({}, r.TEXT, "", do=_verifier_key),
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
