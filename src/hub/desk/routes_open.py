"""Sign-in and sign-out, the first page, language, static files."""

from __future__ import annotations

import logging
from typing import Any
from urllib.parse import parse_qsl

from litestar import Request, Response, get, post
from litestar.handlers import HTTPRouteHandler

from hub.desk.book import State
from hub.desk.clerks import clerk_of, who_of
from hub.desk.web import LANGUAGES, Desk, assets
from hub.portal.signin import SignInError
from hub.portal.site import NotFoundError
from hub.portal.web import LANGUAGE_S, go, local_path
from hub.withholding import same_clerk

_FOREVER = "public, max-age=31536000, immutable"

logger = logging.getLogger("hub.desk")


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

    @get("/signin")
    async def show_signin(request: Request[Any, Any, Any]) -> Response[Any]:
        return desk.page(request, "signin.html")

    @post("/signin", status_code=200)
    async def begin_signin(request: Request[Any, Any, Any]) -> Response[Any]:
        desk.check_origin(request)
        begun = await desk.provider.begin()
        # By a page and not at once: a form may lead to this site only (form-action).
        answer = desk.page(request, "leave.html", url=begun.url)
        answer.set_cookie(desk.cookie("signin", begun.cookie, max_age=int(desk.config.limits.signin_s)))
        return answer

    @get("/signin/back")
    async def finish_signin(request: Request[Any, Any, Any]) -> Response[Any]:
        query, cookie = dict(parse_qsl(request.url.query)), request.cookies.get(desk.cookie_name("signin"))
        try:
            claims = await desk.provider.finish(query, cookie)
            clerk = clerk_of(claims, desk.config.claims)
        except SignInError as error:
            logger.warning("sign-in failed: %s", error.why)
            return desk.page(request, "error.html", status=403, error=error.why)
        old = desk.session(request)
        if old is not None:
            desk.sessions.end(old)
        token, _ = desk.sessions.begin(who_of(desk.config.signin.issuer, str(claims["sub"])), clerk)
        answer = go("/")
        answer.set_cookie(desk.cookie("session", token))
        answer.set_cookie(desk.cookie("signin", "", max_age=0))
        return answer

    @post("/signout", status_code=200)
    async def sign_out(request: Request[Any, Any, Any]) -> Response[Any]:
        session = desk.signed_in(request)
        await desk.form(request, session)
        desk.sessions.end_all(session.alias)
        answer = desk.page(request, "signedout.html")
        answer.set_cookie(desk.cookie("session", "", max_age=0))
        return answer

    @get("/language/{word:str}")
    async def choose_language(request: Request[Any, Any, Any]) -> Response[Any]:
        word = str(request.path_params["word"])
        if word not in LANGUAGES:
            raise NotFoundError
        answer = go(local_path(request.query_params.get("to")))
        answer.set_cookie(desk.cookie("language", word, max_age=LANGUAGE_S))
        return answer

    @get("/static/{name:str}")
    async def give_static(request: Request[Any, Any, Any]) -> Response[Any]:
        found = assets().get(str(request.path_params["name"]))
        if found is None:
            raise NotFoundError
        return Response(found[0], media_type=found[1], headers={"Cache-Control": _FOREVER})

    return [show_first, show_signin, begin_signin, finish_signin, sign_out, choose_language, give_static]
