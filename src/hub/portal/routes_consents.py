"""My consents: to whom, for what, since when, as the records say; withdraw one, or give it again.

That somebody consented is what the requester stated of them, and stands in the records of what was asked; what the
person said since is the hub's (``citizens/consents.py``). What is withheld is in neither list.
"""

from __future__ import annotations

import datetime as dt
from typing import Any, NamedTuple

from litestar import Request, Response, get, post
from litestar.handlers import HTTPRouteHandler

from hub.catalog import Catalog
from hub.catalog.ordinance import needs_consent
from hub.errors import RequestError
from hub.messages import Kind, Record, Status
from hub.portal.reading import Reader
from hub.portal.sessions import Session
from hub.portal.web import NotFoundError, Portal, go, language_of

PAGES_MAX = 5
"""Of the hub's largest pages of the history: in so many of the newest records consents are looked for."""

_ASKING = (Kind.INQUIRY, Kind.RELEASE)
_STATED = (Status.OK, Status.NO_ALIAS_AT_PROVIDER)
"""Outcomes that a question for which consent is needed has only where it was stated."""

AnyRequest = Request[Any, Any, Any]


class Standing(NamedTuple):
    """A consent as it stands.

    Attributes:
        first, last: when the requester stated it. said: when the person last said something; withdrawn: what.
    """

    institution: str
    institution_name: str
    procedure: str
    items: tuple[str, ...]
    first: dt.datetime | None
    last: dt.datetime | None
    said: dt.datetime | None
    withdrawn: bool

    def __repr__(self) -> str:
        return f"Standing(withdrawn={self.withdrawn})"


def consent_routes(portal: Portal) -> list[HTTPRouteHandler]:
    """Handlers of these pages."""

    @get("/consents")
    async def show_consents(request: Request[Any, Any, Any]) -> Response[Any]:
        session = portal.signed_in(request)
        found, more = await standing_of(portal, session)
        teller = await portal.teller(language_of(portal, request))
        return portal.page(
            request, "consents.html", session=session, consents=found, more=more, teller=teller,
            done=request.query_params.get("done"),
        )  # fmt: skip

    @post("/consents/{what:str}")
    async def change(request: Request[Any, Any, Any]) -> Response[Any]:
        session = portal.signed_in(request)
        form = await portal.form(request, session)
        method = {"withdraw": "withdraw_consent", "give": "give_consent"}.get(str(request.path_params["what"]))
        wanted = form.get("institution", ""), form.get("procedure", "")
        found, _ = await standing_of(portal, session)
        if method is None or wanted not in [(one.institution, one.procedure) for one in found]:
            raise NotFoundError
        try:
            await portal.hub.call(method, session.alias, *wanted)
        except RequestError:
            return portal.page(request, "error.html", status=400, session=session, error="correction")
        return go(f"/consents?done={'withdrawn' if method == 'withdraw_consent' else 'given'}")

    return [show_consents, change]


async def standing_of(portal: Portal, session: Session) -> tuple[list[Standing], bool]:
    """A person's consents, those that were stated last first; whether there are records that were not looked at."""
    catalog = await portal.hub.catalog()
    records: list[Record] = []
    pages, more = 0, False
    async for page in Reader(portal.hub, session.alias).pages():
        records += page.records
        pages += 1
        if pages == PAGES_MAX and page.cursor is not None:
            more = True
            break
    found: dict[tuple[str, str], Standing] = {}
    for one in stated_in(records, catalog):
        key = one.requester, one.procedure
        before = found.get(key)
        # Newest first: what comes later is earlier.
        items = one.items if before is None else tuple(dict.fromkeys(before.items + one.items))
        last = one.requested_at if before is None else before.last
        found[key] = Standing(*key[:1], one.requester_name, key[1], items, one.requested_at, last, None, False)
    for said in await portal.hub.call("consents", session.alias):
        key = said.institution, said.procedure
        before = found.get(key) or Standing(key[0], catalog.name_of(key[0]), key[1], (), None, None, None, False)
        found[key] = before._replace(said=said.at, withdrawn=said.withdrawn)
    newest = dt.datetime.min.replace(tzinfo=dt.UTC)
    return sorted(found.values(), key=lambda one: one.last or one.said or newest, reverse=True), more


def stated_in(records: list[Record], catalog: Catalog) -> list[Record]:
    """Records of questions that were allowed because their requester stated the person's consent."""
    needed: dict[str, frozenset[str]] = {}
    found = []
    for one in records:
        if one.kind not in _ASKING or one.outcome not in _STATED:
            continue
        items = needed.get(one.procedure)
        if items is None:
            rules = catalog.rules_of(one.procedure) if one.procedure in catalog.procedure_ids else ()
            items = needed[one.procedure] = frozenset(rule.detail for rule in rules if needs_consent(rule))
        if items.intersection(one.items):
            found.append(one)
    return found
