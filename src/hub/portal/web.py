"""What the pages share: who asks, in which language, with which form; answers as HTML; cookies.

A handler takes the :class:`Portal` and a request, and raises one of the classes here where a page cannot be shown.
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Callable
from typing import Any
from urllib.parse import urlsplit

from litestar import Response
from litestar.response import Redirect

from hub.catalog.moments import JAPAN
from hub.errors import RequestError
from hub.portal.config import Config
from hub.portal.hubside import HubSideClient
from hub.portal.invitations import Invitations
from hub.portal.links import Links
from hub.portal.sentences import Teller
from hub.portal.sessions import Session
from hub.portal.signin import Provider
from hub.portal.site import AnyRequest, Page, Site
from hub.portal.site import FormError as FormError
from hub.portal.site import NotFoundError as NotFoundError
from hub.portal.site import SignedOutError as SignedOutError
from hub.portal.view import is_language, render
from hub.portal.wordlists import LANGUAGES, Language

HTML = "text/html"
LANGUAGE_S = 365 * 86_400

class Portal(Site):
    """All parts of one portal."""

    def __init__(self, config: Config, clock: Callable[[], float]) -> None:
        """Args: clock: seconds since 1970.

        Raises:
            RequestError, StorageError: a file of the configuration cannot be used.
        """
        super().__init__(config.address, config.limits, clock)
        self.config = config
        self.hub = HubSideClient(config.hub)
        self.provider = Provider(config.signin, config.limits, config.address + "/signin/back", clock)
        self.links = Links(config.links)
        self.invitations = Invitations(clock)
        self._tellers: dict[Language, tuple[object, Teller]] = {}

    def __repr__(self) -> str:
        return f"Portal(sessions={len(self.sessions)})"

    async def close(self) -> None:
        """Close the connections and the file."""
        await self.hub.close()
        await self.provider.close()
        self.links.close()

    def today(self) -> dt.date:
        """The day in Japan."""
        return dt.datetime.fromtimestamp(self.clock(), JAPAN).date()

    async def teller(self, language: Language) -> Teller:
        """Records in words of a language."""
        catalog = await self.hub.catalog()
        known = self._tellers.get(language)
        if known is None or known[0] is not catalog:
            known = self._tellers[language] = catalog, Teller(catalog, language)
        return known[1]

    # -- answers

    def page(
        self, request: AnyRequest, template: str, *, status: int = 200, session: Session | None = None, **context: Any
    ) -> Page:
        """A page in the reader's language."""
        language = language_of(self, request)
        return Response(
            render(template, language, {
                "session": session, "form_token": None if session is None else session.form_token(),
                "here": request.url.path + (f"?{request.url.query}" if request.url.query else ""),
                "path": request.url.path, **context,
            }),
            media_type=HTML, status_code=status,
        )  # fmt: skip



def language_of(portal: Site, request: AnyRequest) -> Language:
    """The reader's: what they chose, else what their browser asks for, else Japanese."""
    chosen = request.cookies.get(portal.cookie_name("language"))
    if is_language(chosen):
        return next(one for one in LANGUAGES if one == chosen)
    wished = request.headers.get("accept-language", "").strip().lower()
    return "en" if wished and not wished.startswith("ja") and ",ja" not in wished.replace(" ", "") else "ja"


def go(path: str) -> Page:
    """To another page, by GET."""
    return Redirect(path, status_code=303)


def local_path(text: str | None) -> str:
    """A path on this portal, whatever was given."""
    if not text or not text.startswith("/") or text.startswith(("//", "/\\")) or not text.isprintable():
        return "/"
    parts = urlsplit(text)
    return "/" if parts.scheme or parts.netloc or "\\" in text else text


def parse_day(name: str, text: str | None) -> dt.date | None:
    """A day of a form; empty is none.

    Raises:
        RequestError: it is no day.
    """
    if not text:
        return None
    try:
        return dt.date.fromisoformat(text)
    except ValueError:
        raise RequestError(f"{name}: expected a day such as 2026-04-01, got something else") from None
