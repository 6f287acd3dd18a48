"""Acting: notices, corrections, proxies. What a form does is done once and ends in a page that can be loaded again."""

from __future__ import annotations

import datetime as dt
from typing import Any

from litestar import Request, Response, get, post
from litestar.handlers import HTTPRouteHandler

from hub.citizens.proxies import Proxy
from hub.citizens.proxystate import ProxyKind, ProxyState
from hub.errors import RequestError
from hub.limits import PROXY_LABEL_CHARS_MAX, REMARK_CHARS_MAX
from hub.messages import Record
from hub.portal.reading import Reader, address_of
from hub.portal.routes_history import own_history, telling
from hub.portal.sessions import Session
from hub.portal.stories import fold_records
from hub.portal.web import NotFoundError, Page, Portal, go, language_of, parse_day

NOTICE_ROWS, NOTICE_PAGES_MAX = 50, 20
TICKET_DAYS, TICKET_PAGES_MAX = 730, 5

AnyRequest = Request[Any, Any, Any]


def act_routes(portal: Portal) -> list[HTTPRouteHandler]:
    """Handlers of these pages."""

    @get("/notices")
    async def show_notices(request: Request[Any, Any, Any]) -> Response[Any]:
        return await notices_page(portal, request, portal.signed_in(request))

    @get("/notices/{address:str}")
    async def show_notice(request: Request[Any, Any, Any]) -> Response[Any]:
        session = portal.signed_in(request)
        return await notice_page(portal, request, session, str(request.path_params["address"]))

    @post("/notices/{address:str}/unread")
    async def mark_unread(request: Request[Any, Any, Any]) -> Response[Any]:
        session = portal.signed_in(request)
        await portal.form(request, session)
        record, _ = await find_notice(portal, session, str(request.path_params["address"]))
        portal.links.mark_read(session.alias, [record.index], read=False)
        return go("/notices")

    @post("/record/{address:str}/correction")
    async def ask_correction(request: Request[Any, Any, Any]) -> Response[Any]:
        whose = own_history(portal, request)
        form = await portal.form(request, whose.session)
        found = await whose.reader.find(str(request.path_params["address"]))
        # A record's remark is one line.
        text = " ".join(form.get("text", "").split())
        if not 1 <= len(text) <= REMARK_CHARS_MAX:
            return portal.page(request, "error.html", status=400, session=whose.session, error="text")
        try:
            await portal.hub.call(
                "ask_correction", whose.session.alias, found.record.index, text,
                disclosed=form.get("disclosed", ""), institution=form.get("institution") or None,
            )  # fmt: skip
        except RequestError:
            return portal.page(request, "error.html", status=400, session=whose.session, error="correction")
        return go("/tickets?done=asked")

    @get("/tickets")
    async def show_tickets(request: Request[Any, Any, Any]) -> Response[Any]:
        return await tickets_page(portal, request, portal.signed_in(request))

    @get("/proxies")
    async def show_proxies(request: Request[Any, Any, Any]) -> Response[Any]:
        return await proxies_page(portal, request, portal.signed_in(request))

    @post("/proxies/number")
    async def make_number(request: Request[Any, Any, Any]) -> Response[Any]:
        session = portal.signed_in(request)
        await portal.form(request, session)
        number = portal.invitations.make(session.alias)
        return await proxies_page(portal, request, session, number=number)

    @post("/proxies/grant")
    async def grant_proxy(request: Request[Any, Any, Any]) -> Response[Any]:
        session = portal.signed_in(request)
        form = await portal.form(request, session)
        return await grant(portal, request, session, form)

    @post("/proxies/{name:str}/revoke")
    async def revoke_proxy(request: Request[Any, Any, Any]) -> Response[Any]:
        session = portal.signed_in(request)
        await portal.form(request, session)
        proxy = await find_proxy(portal, session, str(request.path_params["name"]))
        await portal.hub.call("revoke_proxy", session.alias, proxy.handle)
        return go("/proxies?done=revoked")

    @post("/proxies/confirm")
    async def confirm_proxies(request: Request[Any, Any, Any]) -> Response[Any]:
        session = portal.signed_in(request)
        await portal.form(request, session)
        await portal.hub.call("confirm_proxies", session.alias)
        return go("/proxies?done=confirmed")

    @post("/for/{name:str}/resign")
    async def resign(request: Request[Any, Any, Any]) -> Response[Any]:
        session = portal.signed_in(request)
        await portal.form(request, session)
        for one in await portal.hub.call("principals", session.alias):
            if session.name_of(one.handle) == str(request.path_params["name"]):
                await portal.hub.call("revoke_proxy", session.alias, one.handle)
        return go("/proxies?done=resigned")

    return [
        show_notices, show_notice, mark_unread, ask_correction, show_tickets, show_proxies, make_number, grant_proxy,
        revoke_proxy, confirm_proxies, resign,
    ]  # fmt: skip


# -- notices


async def notices_page(portal: Portal, request: AnyRequest, session: Session) -> Page:
    """A page of notices, each read or unread."""
    cursor = request.query_params.get("cursor") or None
    try:
        page = await portal.hub.call("notices", session.alias, limit=NOTICE_ROWS, cursor=cursor)
    except RequestError:
        raise NotFoundError from None
    read = portal.links.read_of(session.alias, [record.index for record in page.records])
    teller = await portal.teller(language_of(portal, request))
    return portal.page(
        request, "notices.html", session=session, records=page.records, read=read, teller=teller,
        older=page.cursor, newest=cursor is not None, at=address_of,
    )  # fmt: skip


async def find_notice(portal: Portal, session: Session, address: str) -> tuple[Record, str | None]:
    """A notice by its address, with its text.

    Raises:
        NotFoundError: this person has none such.
    """
    cursor = None
    for _ in range(NOTICE_PAGES_MAX):
        page = await portal.hub.call("notices", session.alias, limit=NOTICE_ROWS, cursor=cursor)
        for record, text in zip(page.records, page.texts, strict=True):
            if address_of(record) == address:
                return record, text
        cursor = page.cursor
        if cursor is None:
            break
    raise NotFoundError


async def notice_page(portal: Portal, request: AnyRequest, session: Session, address: str) -> Page:
    """One notice, which counts as read now."""
    record, text = await find_notice(portal, session, address)
    portal.links.mark_read(session.alias, [record.index])
    teller = await portal.teller(language_of(portal, request))
    return portal.page(
        request, "notice.html", session=session, record=record, text=text, teller=teller, at=address
    )


# -- corrections


async def tickets_page(portal: Portal, request: AnyRequest, session: Session) -> Page:
    """What was asked to be corrected, and what came of it; a ticket's number is that of its record."""
    since = portal.today() - dt.timedelta(days=TICKET_DAYS)
    records: list[Record] = []
    pages = 0
    async for page in Reader(portal.hub, session.alias).pages(since=since):
        records += page.records
        pages += 1
        if pages == TICKET_PAGES_MAX:
            break
    teller = await portal.teller(language_of(portal, request))
    return portal.page(
        request, "tickets.html", session=session, done=request.query_params.get("done"),
        stories=[story for story in fold_records(records) if story.corrected], **telling(teller, ""),
    )  # fmt: skip


# -- proxies


async def proxies_page(
    portal: Portal, request: AnyRequest, session: Session, *, number: str = "", wrong: str = "", status: int = 200
) -> Page:
    """Who may read my history, and whose history I may read."""
    mine = await portal.hub.call("proxies", session.alias)
    theirs = await portal.hub.call("principals", session.alias)
    return portal.page(
        request, "proxies.html", status=status, session=session, number=number, wrong=wrong,
        mine=[(session.name_of(one.handle), one) for one in mine if one.state != ProxyState.ENDED],
        theirs=[(session.name_of(one.handle), one) for one in theirs], kinds=ProxyKind, states=ProxyState,
        waiting=any(one.state == ProxyState.TO_CONFIRM for one in mine), done=request.query_params.get("done"),
        label_max=PROXY_LABEL_CHARS_MAX, child=session.holder.is_child(portal.today()),
        fifteen=session.holder.fifteen,
    )  # fmt: skip


async def find_proxy(portal: Portal, session: Session, name: str) -> Proxy:
    """A proxy of who is signed in, by the name that this session gave it.

    Raises:
        NotFoundError: they have none such.
    """
    for one in await portal.hub.call("proxies", session.alias):
        if session.name_of(one.handle) == name:
            found: Proxy = one
            return found
    raise NotFoundError


async def grant(portal: Portal, request: AnyRequest, session: Session, form: dict[str, str]) -> Page:
    """Grant a proxy to whoever showed the number."""
    label, called = form.get("label", "").strip(), form.get("called", "").strip()
    kind = {"voluntary": ProxyKind.VOLUNTARY, "statutory": ProxyKind.STATUTORY}.get(form.get("kind", ""))
    try:
        until = parse_day("until", form.get("until"))
    except RequestError:
        until, kind = None, None
    today, holder = portal.today(), session.holder
    # Under fifteen only by law and until that day; a word of their own would outlast it. Who is not known to be a child
    # has nobody by law here: of whom the sign-in says nothing, and of grown-ups.
    if kind == ProxyKind.STATUTORY:
        if not holder.is_child(today):
            return await proxies_page(portal, request, session, wrong="age", status=400)
        until = holder.fifteen if until is None else min(until, holder.fifteen)
    elif holder.is_child(today):
        return await proxies_page(portal, request, session, wrong="child", status=400)
    if kind is None or not label or not called or max(len(label), len(called)) > PROXY_LABEL_CHARS_MAX:
        return await proxies_page(portal, request, session, wrong="form", status=400)
    agent = portal.invitations.take(session.alias, form.get("number", ""))
    if agent is None:
        return await proxies_page(portal, request, session, wrong="number", status=400)
    try:
        await portal.hub.call("grant_proxy", session.alias, agent, kind, label=label, called=called, until=until)
    except RequestError:
        return await proxies_page(portal, request, session, wrong="form", status=400)
    return go("/proxies?done=granted")
