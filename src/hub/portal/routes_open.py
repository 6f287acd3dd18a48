"""Pages for everybody: first page, sign-in and sign-out, language, how to check, static files, the public log."""

from __future__ import annotations

import logging
import re
from pathlib import Path
from typing import Any
from urllib.parse import parse_qsl

from litestar import Request, Response, get, post
from litestar.handlers import HTTPRouteHandler

from hub.errors import RequestError
from hub.messages import Identity
from hub.portal.links import card_of, who_of
from hub.portal.routes_alerts import finish_step
from hub.portal.signin import SignInError
from hub.portal.view import assets, is_language
from hub.portal.web import LANGUAGE_S, NotFoundError, Page, Portal, go, local_path

_WIDTH = r"(?:[1-9]|[1-9]\d|1\d\d|2[0-4]\d|25[0-5])"
_TILE = re.compile(rf"checkpoint|tile/(?:entries|[0-7])/(?:x\d{{3}}/){{0,6}}\d{{3}}(?:\.p/{_WIDTH})?")
_FOREVER = "public, max-age=31536000, immutable"

logger = logging.getLogger("hub.portal")


def open_routes(portal: Portal) -> list[HTTPRouteHandler]:
    """Handlers of these pages."""

    @get("/")
    async def show_first(request: Request[Any, Any, Any]) -> Response[Any]:
        return portal.page(request, "first.html", session=portal.session(request))

    @get("/signin")
    async def show_signin(request: Request[Any, Any, Any]) -> Response[Any]:
        return portal.page(request, "signin.html", session=portal.session(request))

    @post("/signin")
    async def begin_signin(request: Request[Any, Any, Any]) -> Response[Any]:
        portal.check_origin(request)
        begun = await portal.provider.begin()
        # By a page and not at once: a form may lead to this site only (form-action).
        answer = portal.page(request, "leave.html", url=begun.url)
        answer.set_cookie(portal.cookie("signin", begun.cookie, max_age=int(portal.config.limits.signin_s)))
        return answer

    @get("/signin/back")
    async def finish_signin(request: Request[Any, Any, Any]) -> Response[Any]:
        query = dict(parse_qsl(request.url.query))
        cookie = request.cookies.get(portal.cookie_name("signin"))
        try:
            claims = await portal.provider.finish(query, cookie)
            alias = await find_alias(portal, claims)
            to = await finish_step(portal, cookie, claims, alias)
        except SignInError as error:
            logger.warning("sign-in failed: %s", error.why)
            return portal.page(request, "error.html", status=403, session=None, error=error.why)
        old = portal.session(request)
        if old is not None:
            portal.sessions.end(old)
        token, _ = portal.sessions.begin(alias)
        answer = go(to)
        answer.set_cookie(portal.cookie("session", token))
        answer.set_cookie(portal.cookie("signin", "", max_age=0))
        return answer

    @post("/signout")
    async def sign_out(request: Request[Any, Any, Any]) -> Response[Any]:
        session = portal.signed_in(request)
        form = await portal.form(request, session)
        if form.get("everywhere"):
            portal.sessions.end_all(session.alias)
        else:
            portal.sessions.end(session)
        answer = portal.page(request, "signedout.html", everywhere=bool(form.get("everywhere")))
        answer.set_cookie(portal.cookie("session", "", max_age=0))
        return answer

    @get("/language/{word:str}")
    async def choose_language(request: Request[Any, Any, Any]) -> Response[Any]:
        word = str(request.path_params["word"])
        if not is_language(word):
            raise NotFoundError
        answer = go(local_path(request.query_params.get("to")))
        answer.set_cookie(portal.cookie("language", word, max_age=LANGUAGE_S))
        return answer

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

    @get("/static/{name:str}")
    async def give_static(request: Request[Any, Any, Any]) -> Response[Any]:
        name = str(request.path_params["name"])
        found = assets().get(name)
        if found is None:
            raise NotFoundError
        return Response(found[0], media_type=found[1], headers={"Cache-Control": _FOREVER})

    @get("/tlog/{path:path}")
    async def give_tile(request: Request[Any, Any, Any]) -> Response[Any]:
        path = str(request.path_params["path"])
        return read_tile(portal.config.tlog, path.lstrip("/"))

    return [
        show_first, show_signin, begin_signin, finish_signin, sign_out, choose_language, explain_check, give_key,
        give_static, give_tile,
    ]  # fmt: skip


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
    cache = "no-cache" if note else _FOREVER
    kind = "text/plain" if note else "application/octet-stream"
    return Response(content, media_type=kind, headers={"Cache-Control": cache, "Access-Control-Allow-Origin": "*",
                                                       "Cross-Origin-Resource-Policy": "cross-origin"})  # fmt: skip


