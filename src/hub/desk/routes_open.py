"""The first page, and who it is that signed in; the rest is the portal's ``routes_site.py``."""

from __future__ import annotations

from typing import Any

from litestar import Request, Response, get, post
from litestar.handlers import HTTPRouteHandler

from hub.desk.book import State
from hub.desk.clerks import Clerk, clerk_of, who_of
from hub.desk.web import LANGUAGES, Desk, assets
from hub.portal.routes_site import signed_out_page, site_routes
from hub.portal.signin import Proved
from hub.protection.withholding import same_clerk


def open_routes(desk: Desk) -> list[HTTPRouteHandler]:
    """Handlers of these pages."""

    @get("/")
    async def show_first(request: Request[Any, Any, Any]) -> Response[Any]:
        if desk.session(request) is None:
            return desk.page(request, "signin.html")
        at = desk.at(request)
        lines = [one for kind in ("ask", "counter") for one in desk.book.lines(kind, at.clerk.section)]
        mine = [one for one in lines if one.state == State.WAITING and not same_clerk(one.asker, at.clerk.operator)]
        return desk.page(request, "first.html", waiting=mine, counter=await desk.counter())

    @post("/signout", status_code=200)
    async def sign_out(request: Request[Any, Any, Any]) -> Response[Any]:
        session = desk.signed_in(request)
        await desk.form(request, session)
        return await signed_out_page(desk, request, desk.provider, session, everywhere=True)

    async def signed_in(_: Request[Any, Any, Any], proved: Proved, __: str | None) -> tuple[bytes, Clerk, str]:
        clerk = clerk_of(proved.claims, desk.config.claims)
        return who_of(desk.config.signin.issuer, str(proved.claims["sub"])), clerk, "/"

    shared = site_routes(desk, desk.provider, desk.config.limits, assets, LANGUAGES, signed_in)
    return [*shared, show_first, sign_out]
