"""What every site with a sign-in has: the way to the provider and back, sign-out, languages, static files.

A sign-out ends the session here, whatever the provider does; where the provider announces an ``end_session_endpoint``
the browser goes on to it, so that the next one at this machine does not find the sign-in still open there.
"""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable, Container
from typing import Any
from urllib.parse import parse_qsl

from litestar import Request, Response, get, post
from litestar.handlers import HTTPRouteHandler

from hub.portal.config import Limits
from hub.portal.sessions import Session
from hub.portal.signin import BACK, SIGNED_OUT, Begun, Proved, Provider, SignInError
from hub.portal.site import AnyRequest, NotFoundError, Page, Site
from hub.portal.web import LANGUAGE_S, go, local_path

FOREVER = "public, max-age=31536000, immutable"

SignedIn = Callable[[AnyRequest, Proved, str | None], Awaitable[tuple[bytes, Any, str]]]
"""(request, who came back, the browser's cookie) -> (alias, holder) of the session that begins, and where it goes."""


def site_routes(
    site: Site, provider: Provider, limits: Limits, assets: Callable[[], dict[str, tuple[bytes, str]]],
    languages: Container[str], signed_in: SignedIn,
) -> list[HTTPRouteHandler]:  # fmt: skip
    """Handlers of these pages.

    Args:
        assets: static files by name: content and type. signed_in: who it is that came back; raises SignInError.
    """
    logger = logging.getLogger(f"hub.{site.name}")

    @get("/signin")
    async def show_signin(request: Request[Any, Any, Any]) -> Response[Any]:
        return site.page(request, "signin.html", session=site.session(request))

    @post("/signin", status_code=200)
    async def begin_signin(request: Request[Any, Any, Any]) -> Response[Any]:
        site.check_origin(request)
        return leave_page(site, request, limits, await provider.begin())

    @get(BACK)
    async def finish_signin(request: Request[Any, Any, Any]) -> Response[Any]:
        query, cookie = dict(parse_qsl(request.url.query)), request.cookies.get(site.cookie_name("signin"))
        try:
            proved = await provider.finish(query, cookie)
            alias, holder, to = await signed_in(request, proved, cookie)
        except SignInError as error:
            logger.warning("sign-in failed: %s", error.why)
            return site.page(request, "error.html", status=403, session=None, error=error.why)
        old = site.session(request)
        if old is not None:
            site.sessions.end(old)
        token, _ = site.sessions.begin(alias, holder, id_token=proved.id_token)
        answer = go(to)
        answer.set_cookie(site.cookie("session", token))
        answer.set_cookie(site.cookie("signin", "", max_age=0))
        return answer

    @get(SIGNED_OUT)
    async def show_signed_out(request: Request[Any, Any, Any]) -> Response[Any]:
        # Where the provider sends back to. Whoever else leads here finds words, and nobody is signed out by them.
        return site.page(request, "signedout.html", everywhere=False, url=None)

    @get("/language/{word:str}")
    async def choose_language(request: Request[Any, Any, Any]) -> Response[Any]:
        word = str(request.path_params["word"])
        if word not in languages:
            raise NotFoundError
        answer = go(local_path(request.query_params.get("to")))
        answer.set_cookie(site.cookie("language", word, max_age=LANGUAGE_S))
        return answer

    @get("/static/{name:str}")
    async def give_static(request: Request[Any, Any, Any]) -> Response[Any]:
        found = assets().get(str(request.path_params["name"]))
        if found is None:
            raise NotFoundError
        return Response(found[0], media_type=found[1], headers={"Cache-Control": FOREVER})

    return [show_signin, begin_signin, finish_signin, show_signed_out, choose_language, give_static]


def leave_page(site: Site, request: AnyRequest, limits: Limits, begun: Begun) -> Page:
    """On to the provider; by a page and not at once, since a form may lead to this site only (form-action)."""
    answer = site.page(request, "leave.html", url=begun.url)
    answer.set_cookie(site.cookie("signin", begun.cookie, max_age=int(limits.signin_s)))
    return answer


async def signed_out_page(
    site: Site, request: AnyRequest, provider: Provider, session: Session, *, everywhere: bool
) -> Page:
    """End a session, or all of its person; the browser goes on to the provider where it wants to know."""
    if everywhere:
        site.sessions.end_all(session.alias)
    else:
        site.sessions.end(session)
    url = await provider.leave(session.id_token)
    answer = site.page(request, "signedout.html", everywhere=everywhere, url=url)
    answer.set_cookie(site.cookie("session", "", max_age=0))
    return answer
