"""Alerts by mail: switch them on (a fresh sign-in, then a link that is sent to the address), and off.

A session alone cannot say where mails go: who finds a browser open could send them elsewhere.
"""

from __future__ import annotations

from typing import Any

from litestar import Request, Response, get, post
from litestar.handlers import HTTPRouteHandler

from hub.portal.outbox import is_address
from hub.portal.routes_site import leave_page
from hub.portal.signin import SignInError
from hub.portal.web import NotFoundError, Portal, go, language_of


def alert_routes(portal: Portal) -> list[HTTPRouteHandler]:
    """Handlers of these pages; none where no mail can be sent."""
    alerts = portal.alerts
    if alerts is None:
        return []

    @get("/alerts")
    async def show_alerts(request: Request[Any, Any, Any]) -> Response[Any]:
        session = portal.signed_in(request)
        return portal.page(
            request, "alerts.html", session=session, known=alerts.store.find(session.alias), wrong=False,
            done=request.query_params.get("done"),
        )  # fmt: skip

    @post("/alerts/address")
    async def set_address(request: Request[Any, Any, Any]) -> Response[Any]:
        session = portal.signed_in(request)
        form = await portal.form(request, session)
        address = form.get("address", "").strip()
        if not is_address(address):
            return portal.page(
                request, "alerts.html", status=400, session=session, known=alerts.store.find(session.alias),
                wrong=True, done=None,
            )  # fmt: skip
        begun = await portal.provider.begin(fresh=True)
        alerts.begin_step(begun.cookie, session.alias, address, language_of(portal, request))
        return leave_page(portal, request, portal.config.limits, begun)

    @post("/alerts/off")
    async def switch_off(request: Request[Any, Any, Any]) -> Response[Any]:
        session = portal.signed_in(request)
        await portal.form(request, session)
        alerts.store.remove(session.alias)
        return go("/alerts?done=off")

    @get("/alerts/confirm/{token:str}")
    async def show_confirmation(request: Request[Any, Any, Any]) -> Response[Any]:
        # Looking does nothing: mail servers follow links.
        if not alerts.is_waiting(str(request.path_params["token"])):
            raise NotFoundError
        return portal.page(request, "alertconfirm.html", done=False)

    @post("/alerts/confirm/{token:str}")
    async def confirm(request: Request[Any, Any, Any]) -> Response[Any]:
        # Without a session: the mail may be read on another machine, and the link alone says whose it is.
        portal.check_origin(request)
        if not await alerts.confirm(str(request.path_params["token"])):
            raise NotFoundError
        return portal.page(request, "alertconfirm.html", done=True)

    return [show_alerts, set_address, switch_off, show_confirmation, confirm]


async def finish_step(portal: Portal, cookie: str | None, claims: dict[str, Any], alias: bytes) -> str:
    """Go on with what somebody signed in for; returns where they go.

    Raises:
        SignInError: it was for a new address, and this is another person, or one who did not prove anew who they are.
    """
    alerts = portal.alerts
    if alerts is None:
        return "/history"
    step = alerts.take_step(cookie)
    if step is None:
        await alerts.note_seen(alias)
        return "/history"
    if step.alias != alias or not portal.provider.is_fresh(claims, step.began):
        raise SignInError("fresh")
    return f"/alerts?done={'sent' if await alerts.send_confirmation(step) else 'unsent'}"
