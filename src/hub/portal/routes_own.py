"""Own data (わたしの情報): choose an institution and what to see, wait for its answer, see it once.

Whoever is flagged NO_SELF there meets what somebody meets of whom nothing is there: the hub says the same of both
(``NO_RECORD``), and here both take the same calls to the hub and the same page.
"""

from __future__ import annotations

import asyncio
import secrets
from typing import Any

from litestar import Request, Response, get, post
from litestar.handlers import HTTPRouteHandler

from hub.errors import RequestError
from hub.messages import Answers, Status
from hub.portal.hubside import PORTAL, HubAwayError
from hub.portal.owndata import FOUND_MAX, Choice, Look, Offers, Shown, read_payload
from hub.portal.reading import Reader
from hub.portal.sessions import Session
from hub.portal.web import NotFoundError, Page, Portal, go, language_of

HISTORY_ROWS = 100
"""Of the newest records: the institutions in them are offered without a search."""
WORDS_CHARS_MAX = 100

RESULTS = {
    Status.PENDING: "waiting", Status.MANUAL: "waiting", Status.OK: "waiting", Status.PROVIDED: "given",
    Status.NO_RECORD: "nothing", Status.EMPTY: "nothing", Status.NO_ALIAS_AT_PROVIDER: "nothing",
    Status.REFUSED: "unanswered", Status.LAPSED: "unanswered", Status.SUSPENDED: "unanswered", Status.HELD: "held",
}  # fmt: skip
"""What a page says of an answer; of any other status that it was denied."""

AnyRequest = Request[Any, Any, Any]


def own_routes(portal: Portal) -> list[HTTPRouteHandler]:
    """Handlers of these pages; none where the portal has no key."""
    if portal.own_keys is None:
        return []
    pages = OwnPages(portal)

    @get("/own")
    async def show_own(request: Request[Any, Any, Any]) -> Response[Any]:
        query = request.query_params
        return await pages.choose(
            request, portal.signed_in(request), query.get("institution", ""), query.get("q", "")[:WORDS_CHARS_MAX]
        )

    @post("/own")
    async def ask_own(request: Request[Any, Any, Any]) -> Response[Any]:
        session = portal.signed_in(request)
        form = await portal.form(request, session)
        return await pages.ask(request, session, form)

    @get("/own/{name:str}")
    async def show_look(request: Request[Any, Any, Any]) -> Response[Any]:
        session = portal.signed_in(request)
        return await pages.show(request, session, str(request.path_params["name"]))

    return [show_own, ask_own, show_look]


class OwnPages:
    """The pages, with what may be asked by the catalog that the hub has."""

    def __init__(self, portal: Portal) -> None:
        assert portal.own_keys is not None
        self._portal, self._keys = portal, portal.own_keys
        self._offers: tuple[object, Offers] | None = None
        self._fetching: set[asyncio.Task[None]] = set()

    def __repr__(self) -> str:
        return "OwnPages()"

    async def offers(self) -> Offers:
        """What may be asked of whom."""
        catalog = await self._portal.hub.catalog()
        if self._offers is None or self._offers[0] is not catalog:
            self._offers = catalog, Offers(catalog, PORTAL)
        return self._offers[1]

    async def choose(
        self, request: AnyRequest, session: Session, code: str, words: str, *, wrong: str = "", status: int = 200
    ) -> Page:
        """An institution, or what to see there."""
        portal, offers = self._portal, await self.offers()
        chosen = offers.institution(code) if code else None
        if code and chosen is None:
            raise NotFoundError
        found = offers.find(words)
        known = []
        if chosen is None and not words:
            page = await Reader(portal.hub, session.alias).page(limit=HISTORY_ROWS)
            codes = dict.fromkeys(code for one in page.records for code in (one.provider, one.requester))
            known = [one for code in codes if (one := offers.institution(code)) is not None]
        teller = await portal.teller(language_of(portal, request))
        return portal.page(
            request, "own.html", status=status, session=session, chosen=chosen, words=words, found=found[:FOUND_MAX],
            more=len(found) > FOUND_MAX, known=known, any=bool(offers.institutions), wrong=wrong, teller=teller,
            choices=[] if chosen is None else offers.choices(chosen), waiting=portal.looks.waiting(session),
        )  # fmt: skip

    async def ask(self, request: AnyRequest, session: Session, form: dict[str, str]) -> Page:
        """Ask once; the answer is on a page of its own, which can be loaded again until it has come."""
        portal, offers = self._portal, await self.offers()
        chosen = offers.institution(form.get("institution", ""))
        if chosen is None:
            raise NotFoundError
        by_name: dict[str, Choice] = {one.name: one for one in offers.choices(chosen)}
        choice = by_name.get(form.get("what", ""))
        if choice is None:
            return await self.choose(request, session, chosen.code, "", wrong="what", status=400)
        if not portal.looks.may(session.alias, portal.today()):
            return await self.choose(request, session, chosen.code, "", wrong="many", status=429)
        # Whatever is answered must be sealed to a key that is here, or nobody could ever read it.
        if await portal.hub.call("payload_key", PORTAL) != self._keys.public:
            raise HubAwayError
        request_id, name = "own-" + secrets.token_hex(16), secrets.token_hex(8)
        # Counted before it is asked: what was cut off may be a record all the same.
        portal.looks.put(session, name, Look(request_id, chosen.code, choice.item))
        await portal.hub.look(session.alias, chosen.code, choice.procedure, choice.item, request_id)
        return go(f"/own/{name}")

    async def show(self, request: AnyRequest, session: Session, name: str) -> Page:
        """A look: that it waits, or its answer, once."""
        portal = self._portal
        look = portal.looks.find(session, name)
        if look is None:
            # Whether it was shown or never was: the same.
            return await self._page(request, session, None, "gone", None)
        try:
            answers: Answers = await portal.hub.call("answers", PORTAL, look.request_id)
        except RequestError:
            portal.looks.forget(session, name)
            return await self._page(request, session, None, "gone", None)
        result = RESULTS.get(Status(int(answers.status[0])), "denied")
        if result == "waiting":
            return await self._page(request, session, look, result, None)
        shown = None
        if result == "given":
            sealed = answers.payloads[0]
            data = None if sealed is None else self._keys.open(sealed)
            shown = None if data is None else read_payload(data)
        portal.looks.forget(session, name)
        # Behind the page and of every answer: how long the hub takes to forget would tell whether there was something.
        task = asyncio.create_task(self._forget(look.request_id))
        self._fetching.add(task)
        task.add_done_callback(self._fetching.discard)
        return await self._page(request, session, look, result, shown)

    async def _forget(self, request_id: str) -> None:
        try:
            await self._portal.hub.call("fetched", PORTAL, request_id)
        except (HubAwayError, RequestError):
            # The hub forgets it by itself when its time is over.
            return

    async def _page(
        self, request: AnyRequest, session: Session, look: Look | None, result: str, shown: Shown | None
    ) -> Page:
        teller = await self._portal.teller(language_of(self._portal, request))
        return self._portal.page(
            request, "ownlook.html", session=session, look=look, result=result, shown=shown, teller=teller
        )
