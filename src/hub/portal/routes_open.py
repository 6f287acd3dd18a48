"""Pages for everybody: first page, who it is that signed in, how to check, the public log."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

from litestar import Request, Response, get, post
from litestar.handlers import HTTPRouteHandler

from hub.errors import RequestError
from hub.messages import Identity
from hub.portal.citizens import Citizen, citizen_of
from hub.portal.links import card_of, who_of
from hub.portal.routes_alerts import finish_step
from hub.portal.routes_site import FOREVER, signed_out_page, site_routes
from hub.portal.signin import Proved, SignInError
from hub.portal.view import assets
from hub.portal.web import NotFoundError, Page, Portal
from hub.portal.wordlists import LANGUAGES

_WIDTH = r"(?:[1-9]|[1-9]\d|1\d\d|2[0-4]\d|25[0-5])"
_TILE = re.compile(rf"checkpoint|tile/(?:entries|[0-7])/(?:x\d{{3}}/){{0,6}}\d{{3}}(?:\.p/{_WIDTH})?")


def open_routes(portal: Portal) -> list[HTTPRouteHandler]:
    """Handlers of these pages."""

    @get("/")
    async def show_first(request: Request[Any, Any, Any]) -> Response[Any]:
        return portal.page(request, "first.html", session=portal.session(request))

    @post("/signout", status_code=200)
    async def sign_out(request: Request[Any, Any, Any]) -> Response[Any]:
        session = portal.signed_in(request)
        form = await portal.form(request, session)
        everywhere = bool(form.get("everywhere"))
        return await signed_out_page(portal, request, portal.provider, session, everywhere=everywhere)

    @get("/check")
    async def explain_check(request: Request[Any, Any, Any]) -> Response[Any]:
        key = await portal.hub.verifier_key()
        return portal.page(
            request, "check.html", session=portal.session(request), key=key, origin=key.partition("+")[0],
            address=portal.config.address,
        )  # fmt: skip

    @get("/log.key")
    async def give_key(request: Request[Any, Any, Any]) -> Response[Any]:
        return Response(await portal.hub.verifier_key() + "\n", media_type="text/plain")

    @get("/tlog/{path:path}")
    async def give_tile(request: Request[Any, Any, Any]) -> Response[Any]:
        path = str(request.path_params["path"])
        return read_tile(portal.config.tlog, path.lstrip("/"))

    async def signed_in(
        _: Request[Any, Any, Any], proved: Proved, cookie: str | None
    ) -> tuple[bytes, Citizen, str]:
        alias = await find_alias(portal, proved.claims)
        to = await finish_step(portal, cookie, proved.claims, alias)
        return alias, citizen_of(proved.claims, portal.config.signin.birth_claim), to

    shared = site_routes(portal, portal.provider, portal.config.limits, assets, LANGUAGES, signed_in)
    return [*shared, show_first, sign_out, explain_check, give_key, give_tile]


async def find_alias(portal: Portal, claims: dict[str, Any]) -> bytes:
    """The portal's alias of who signed in; whose card was renewed has their proxies wait for confirmation.

    Raises:
        SignInError: nobody here is known by that sign-in.
    """
    who = who_of(portal.config.signin.issuer, str(claims["sub"]))
    known = portal.links.find(who)
    link = portal.config.link
    identifier = None if link is None else claims.get(link.claim)
    if link is None or not isinstance(identifier, str) or not identifier:
        if known is None:
            raise SignInError("unknown")
        return known.alias
    card = card_of(who, identifier)
    if known is not None and known.card == card:
        return known.alias
    try:
        found = await portal.hub.call("identify", "portal", link.namespace, [identifier])
    except RequestError:
        raise SignInError("unknown") from None
    if int(found.status[0]) != Identity.VALID:
        raise SignInError("unknown")
    alias: bytes = found.aliases[0].tobytes()
    if known is not None:
        if known.alias != alias:
            # The sign-in now shows somebody else's card: neither of the two is let in by it.
            raise SignInError("unknown")
        if known.card is not None:
            await portal.hub.call("question_proxies", alias)
    portal.links.put(who, alias, card)
    return alias


def read_tile(folder: str | None, path: str) -> Page:
    """A file of the exported log; nothing else of the folder.

    Raises:
        NotFoundError: there is none.
    """
    if folder is None or _TILE.fullmatch(path) is None:
        raise NotFoundError
    try:
        content = Path(folder, path).read_bytes()
    except (OSError, ValueError):
        raise NotFoundError from None
    note = path == "checkpoint"
    # A full tile never changes; a partial one goes when the full one is there.
    cache = "no-cache" if note else FOREVER
    kind = "text/plain" if note else "application/octet-stream"
    return Response(content, media_type=kind, headers={"Cache-Control": cache, "Access-Control-Allow-Origin": "*",
                                                       "Cross-Origin-Resource-Policy": "cross-origin"})  # fmt: skip


