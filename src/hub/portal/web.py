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
from hub.portal.alerts import Alerts
from hub.portal.alertstore import AlertStore
from hub.portal.cards import Cards
from hub.portal.config import Alerts as AlertsConfig
from hub.portal.config import Config
from hub.portal.hubside import HubSideClient
from hub.portal.invitations import Invitations
from hub.portal.links import Links
from hub.portal.outbox import Outbox, SmtpOutbox, is_address
from hub.portal.owndata import Looks, OwnKeys
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
PLAIN, ALERTS = "/history", "/alerts"
LANGUAGE_S = 365 * 86_400


class ElsewhereError(Exception):
    """Another site led here by an address of its choice: the plain history instead."""


class Portal(Site):
    """All parts of one portal."""

    def __init__(self, config: Config, clock: Callable[[], float], outbox: Outbox | None = None) -> None:
        """Args: clock: seconds since 1970. outbox: for alerts, where it is another than the configured server.

        Raises:
            RequestError, StorageError: a file of the configuration cannot be used.
        """
        super().__init__(config.address, config.limits, clock)
        self.config = config
        self.hub = HubSideClient(config.hub)
        self.provider = Provider(config.signin, config.limits, config.address, clock)
        self.links = Links(config.links)
        self.invitations = Invitations(clock)
        self.own_keys = None if config.own is None else OwnKeys(config.own.keys)
        self.looks = Looks(1 if config.own is None else config.own.looks_a_day)
        self.alerts = None if config.alerts is None else self._make_alerts(config.alerts, outbox)
        self._tellers: dict[Language, tuple[object, Teller, Cards]] = {}

    def __repr__(self) -> str:
        return f"Portal(sessions={len(self.sessions)})"

    def _make_alerts(self, config: AlertsConfig, outbox: Outbox | None) -> Alerts:
        if not is_address(config.sender):
            raise RequestError("alerts.sender: expected an address, got something else")
        smtp = config.smtp
        outboxes = [outbox] if outbox else [SmtpOutbox(smtp, config.sender) for _ in range(smtp.connections)]
        store = AlertStore(self.config.links)
        return Alerts(store, self.hub, outboxes, self.config.address, config.hour, self.clock)

    async def start(self) -> None:
        """Begin what goes on beside the pages."""
        if self.alerts is not None:
            self.alerts.start()

    async def close(self) -> None:
        """Close the connections and the file."""
        if self.alerts is not None:
            await self.alerts.close()
        await self.hub.close()
        await self.provider.close()
        self.links.close()

    def today(self) -> dt.date:
        """The day in Japan."""
        return dt.datetime.fromtimestamp(self.clock(), JAPAN).date()

    async def teller(self, language: Language) -> Teller:
        """Records in words of a language."""
        return (await self._of(language))[1]

    async def cards(self, language: Language) -> Cards:
        """Stories as HTML."""
        return (await self._of(language))[2]

    async def _of(self, language: Language) -> tuple[object, Teller, Cards]:
        catalog = await self.hub.catalog()
        known = self._tellers.get(language)
        if known is None or known[0] is not catalog:
            teller = Teller(catalog, language)
            known = self._tellers[language] = catalog, teller, Cards(teller, language)
        return known

    # -- who asks

    def signed_in(self, request: AnyRequest) -> Session:
        """Who is signed in.

        Raises:
            SignedOutError: nobody. ElsewhereError: another site's page leads to more than the plain history.
        """
        session = super().signed_in(request)
        # Who sees how long answers are could else ask questions through the reader's browser: is this institution, is
        # this record in it. A way back from the provider, and a link from a message, end at the plain history, or where
        # nothing of it stands.
        path = request.url.path
        chosen = (path != PLAIN or request.url.query) and path != ALERTS and not path.startswith(ALERTS + "/")
        if request.method == "GET" and chosen and request.headers.get("sec-fetch-site") in ("cross-site", "same-site"):
            raise ElsewhereError
        return session

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
                "path": request.url.path, "has_own": self.own_keys is not None,
                "has_alerts": self.alerts is not None, **context,
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
