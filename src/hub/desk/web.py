"""What the desk's pages share: the site, who works at it, its templates."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from functools import cache
from importlib.resources import files
from pathlib import Path
from typing import Any, NamedTuple

import jinja2
from litestar import Response

import hub.portal.view as portal_view
from hub.citizens.counter import COUNTER_CLASSES, COUNTERS
from hub.desk.book import Book
from hub.desk.clerks import Clerk
from hub.desk.config import Config
from hub.desk.residents import Residents
from hub.errors import RequestError
from hub.portal.hubside import HubSideClient
from hub.portal.sentences import Teller
from hub.portal.sessions import Session
from hub.portal.signin import Provider
from hub.portal.site import AnyRequest, NotFoundError, Page, Site
from hub.portal.view import Words
from hub.portal.web import HTML, language_of
from hub.portal.wordlists import Language
from hub.provision.payloads import KEY_BYTES

ALLOWED = frozenset({
    "inquire", "answers", "release", "collect", "provide", "payload_key", "acquired", "confirm_links",
    "counter_history", "checkpoint",
})  # fmt: skip
"""Methods of the hub that the desk calls."""

LANGUAGES: dict[Language, str] = {"ja": "日本語", "en": "English"}


class At(NamedTuple):
    """Who asks for a page."""

    session: Session
    clerk: Clerk

    def __repr__(self) -> str:
        return "At()"


class Desk(Site):
    """All parts of one desk."""

    name = "desk"

    def __init__(self, config: Config, clock: Callable[[], float]) -> None:
        """Args: clock: seconds since 1970.

        Raises:
            RequestError, StorageError: a file of the configuration cannot be used.
        """
        super().__init__(config.address, config.limits, clock)
        self.config = config
        self.institution = config.institution
        self.private_key = None if config.payload_key is None else _read_key(config.payload_key)
        self.hub = HubSideClient(config.hub, config.institution, ALLOWED)
        self.provider = Provider(config.signin, config.limits, config.address, clock)
        self.residents = Residents(config.institution, config.agency, config.residents, config.tickets)
        self.book = Book(config.book, config.keep_days)
        self._tellers: dict[Language, tuple[object, Teller]] = {}

    def __repr__(self) -> str:
        return f"Desk(sessions={len(self.sessions)})"

    async def start(self) -> None:
        """Nothing goes on beside the pages."""

    async def close(self) -> None:
        """Close the connections and files."""
        await self.hub.close()
        await self.provider.close()
        self.residents.close()
        self.book.close()

    def now(self) -> int:
        """Seconds since 1970."""
        return int(self.clock())

    def at(self, request: AnyRequest, duty: str | None = None) -> At:
        """Who is signed in.

        Raises:
            SignedOutError: nobody. NotFoundError: a clerk who has no such duty.
        """
        session = self.signed_in(request)
        clerk: Clerk = session.holder
        if duty is not None and duty not in clerk.duties:
            raise NotFoundError
        return At(session, clerk)

    async def teller(self, request: AnyRequest) -> Teller:
        """Names of bodies, procedures and records in the reader's language."""
        catalog, language = await self.hub.catalog(), self.language(request)
        known = self._tellers.get(language)
        if known is None or known[0] is not catalog:
            known = self._tellers[language] = catalog, Teller(catalog, language)
        return known[1]

    async def counter(self) -> bool:
        """Whether the institution is one that discloses at a counter."""
        body = (await self.hub.catalog()).institution(self.institution)
        return body.code in COUNTERS or not COUNTER_CLASSES.isdisjoint(body.classes)

    def language(self, request: AnyRequest) -> Language:
        """The reader's: Japanese or English."""
        return "en" if language_of(self, request) == "en" else "ja"

    def page(
        self, request: AnyRequest, template: str, *, status: int = 200, session: Session | None = None, **context: Any
    ) -> Page:
        """A page in the reader's language."""
        language = self.language(request)
        session = session or self.session(request)
        words = Words(language)
        html = environment().get_template(template).render(
            {
                "here": request.url.path + (f"?{request.url.query}" if request.url.query else ""),
                "path": request.url.path,
                **context,
            },
            w=words, say=words.say, language=language, html_lang=language, session=session,
            clerk=None if session is None else session.holder,
            form_token=None if session is None else session.form_token(), institution=self.institution,
        )  # fmt: skip
        return Response(html, media_type=HTML, status_code=status)


@cache
def environment() -> jinja2.Environment:
    """The desk's templates, and behind them the portal's."""
    made = jinja2.Environment(
        loader=jinja2.ChoiceLoader([jinja2.PackageLoader("hub.desk"), jinja2.PackageLoader("hub.portal")]),
        autoescape=True, undefined=jinja2.StrictUndefined, trim_blocks=True, lstrip_blocks=True, auto_reload=False,
    )  # fmt: skip
    made.globals |= {"languages": LANGUAGES, "asset": asset_path, "seam": ""}
    return made


@cache
def assets() -> dict[str, tuple[bytes, str]]:
    """The static files by name: the portal's, and the desk's own style."""
    own = files("hub.desk").joinpath("static", "desk.css").read_bytes()
    return {**portal_view.assets(), "desk.css": (own, "text/css")}


@cache
def asset_path(name: str) -> str:
    """Where a static file is served: another address whenever its content is another."""
    return f"/static/{name}?v={hashlib.sha256(assets()[name][0]).hexdigest()[:12]}"


def _read_key(name: str) -> bytes:
    try:
        with Path(name).open("rb") as file:
            key = file.read(KEY_BYTES + 1)
    except OSError as error:
        raise RequestError(f"payload_key: {error.strerror}") from None
    if len(key) != KEY_BYTES:
        raise RequestError(f"payload_key: expected a private key of {KEY_BYTES} bytes, got something else")
    return key
