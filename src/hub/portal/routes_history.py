"""The history and one record of it, a year at a glance; a person's own, or of somebody they act for."""

from __future__ import annotations

import datetime as dt
from typing import Any, NamedTuple
from urllib.parse import urlencode

from litestar import Request, Response, get
from litestar.handlers import HTTPRouteHandler

from hub.catalog.moments import JAPAN
from hub.errors import RequestError
from hub.messages import Kind, Record
from hub.portal.reading import Reader, address_of
from hub.portal.sentences import Teller
from hub.portal.sessions import Session
from hub.portal.stories import CORRECTIONS, EXCHANGE, Outcome, Story, fold_records, group_by_day, moment_of
from hub.portal.web import Page, Portal, SignedOutError, language_of, parse_day
from hub.portal.year import MANY_A_DAY, count_year, months_until, never_before
from hub.records.handles import CORRECTABLE
from hub.tlog.entry import paper_code

FILTERED_PAGES_MAX = 10
FILTERED_ROWS = 100
"""Where only some outcomes are wanted, the hub is asked for so many records at a time, so often at most a page."""

YEAR_PAGES_MAX = 10

AnyRequest = Request[Any, Any, Any]


class Whose(NamedTuple):
    """Whose history a page shows.

    Attributes:
        base: the beginning of its addresses, without a slash at the end.
        label: how the agent calls the person; None: their own.
    """

    session: Session
    reader: Reader
    base: str
    label: str | None

    def __repr__(self) -> str:
        return "Whose()"


class Filter(NamedTuple):
    """What of a history is wanted, as the form has it."""

    since: dt.date | None
    until: dt.date | None
    institution: str
    procedure: str
    outcome: Outcome | None

    def __repr__(self) -> str:
        return f"Filter({sum(one not in (None, '') for one in self)})"

    @property
    def empty(self) -> bool:
        """Whether everything is wanted."""
        return not any(self)

    def options(self) -> dict[str, Any]:
        """As the hub takes it."""
        return {"since": self.since, "until": self.until, "institution": self.institution or None,
                "procedure": self.procedure or None}  # fmt: skip

    def query(self, **more: str) -> str:
        """As an address has it."""
        given = {name: str(value) for name, value in self._asdict().items() if value}
        found = urlencode({**given, **{name: value for name, value in more.items() if value}})
        return f"?{found}" if found else ""


def own_history(portal: Portal, request: AnyRequest) -> Whose:
    """The history of who is signed in.

    Raises:
        SignedOutError: nobody is.
    """
    session = portal.signed_in(request)
    return Whose(session, Reader(portal.hub, session.alias), "", None)


async def others_history(portal: Portal, request: AnyRequest, name: str) -> Whose:
    """The history of somebody for whom who is signed in may act.

    Raises:
        SignedOutError: nobody is signed in, or they may not act for this one (any more): they meet the ordinary
            sign-in page, and their session ends, as if its time were over.
    """
    session = portal.signed_in(request)
    for one in await portal.hub.call("principals", session.alias):
        if session.name_of(one.handle) == name:
            return Whose(session, Reader(portal.hub, session.alias, one.handle), f"/for/{name}", one.label)
    portal.sessions.end(session)
    raise SignedOutError


def history_routes(portal: Portal) -> list[HTTPRouteHandler]:
    """Handlers of these pages."""

    @get("/history")
    async def show_history(request: Request[Any, Any, Any]) -> Response[Any]:
        return await history_page(portal, request, own_history(portal, request))

    @get("/for/{name:str}/history")
    async def show_others_history(request: Request[Any, Any, Any]) -> Response[Any]:
        name = str(request.path_params["name"])
        return await history_page(portal, request, await others_history(portal, request, name))

    @get("/record/{address:str}")
    async def show_record(request: Request[Any, Any, Any]) -> Response[Any]:
        address = str(request.path_params["address"])
        return await record_page(portal, request, own_history(portal, request), address)

    @get("/for/{name:str}/record/{address:str}")
    async def show_others_record(request: Request[Any, Any, Any]) -> Response[Any]:
        name = str(request.path_params["name"])
        address = str(request.path_params["address"])
        return await record_page(portal, request, await others_history(portal, request, name), address)

    @get("/year")
    async def show_year(request: Request[Any, Any, Any]) -> Response[Any]:
        return await year_page(portal, request, own_history(portal, request))

    return [show_history, show_others_history, show_record, show_others_record, show_year]


async def history_page(portal: Portal, request: AnyRequest, whose: Whose) -> Page:
    """A page of a history, by days."""
    query = request.query_params
    wrong, wanted = False, Filter(None, None, "", "", None)
    try:
        wanted = read_filter(dict(query.items()))
    except RequestError:
        wrong = True
    records: list[Record] = []
    after: str | None = None
    if not wrong:
        records, after = await read_stories(portal, whose.reader, wanted, query.get("cursor") or None)
    days = group_by_day(one for one in fold_records(records) if wanted.outcome in (None, one.outcome))
    language = language_of(portal, request)
    teller, cards = await portal.teller(language), await portal.cards(language)
    codes = {code for record in records for code in (record.requester, record.provider)} | {wanted.institution}
    procedures = {record.procedure for record in records if record.kind in EXCHANGE} | {wanted.procedure}
    return portal.page(
        request, "history.html", status=400 if wrong else 200, session=whose.session, whose=whose, wanted=wanted,
        wrong=wrong, days=days, cards=cards.days(days, whose.base),
        older=wanted.query(cursor=after) if after else None,
        newest=bool(query.get("cursor")), outcomes=list(Outcome)[:-1],
        bodies=sorted((code, teller.body(code)) for code in codes - {"", "portal"}),
        procedures=sorted((one, teller.procedure(one)) for one in procedures - {""}),
        **telling(teller, whose.base),
    )  # fmt: skip


def telling(teller: Teller, base: str) -> dict[str, Any]:
    """What templates call about records."""
    return {"tell": teller.tell, "teller": teller, "address": lambda record: f"{base}/record/{address_of(record)}",
            "kinds": Kind, "exchange": EXCHANGE, "moment": moment_of}  # fmt: skip


def read_filter(query: dict[str, str]) -> Filter:
    """The form's fields.

    Raises:
        RequestError: a day or an outcome is none, or the days are in the wrong order.
    """
    since, until = parse_day("since", query.get("since")), parse_day("until", query.get("until"))
    if since is not None and until is not None and since > until:
        raise RequestError("until: expected a day not before since, got an earlier one")
    outcome = query.get("outcome") or None
    if outcome is not None and outcome not in list(Outcome):
        raise RequestError("outcome: expected one of the list, got another")
    return Filter(
        since, until, query.get("institution", "").strip(), query.get("procedure", "").strip(),
        None if outcome is None else Outcome(outcome),
    )  # fmt: skip


async def read_stories(
    portal: Portal, reader: Reader, wanted: Filter, cursor: str | None
) -> tuple[list[Record], str | None]:
    """A page's records and the cursor behind them; of one outcome from several of the hub's pages."""
    rows = portal.config.limits.page_rows
    if wanted.outcome is None:
        page = await reader.page(limit=rows, cursor=cursor, **wanted.options())
        return page.records, page.cursor
    found: list[Record] = []
    after = cursor
    for _ in range(FILTERED_PAGES_MAX):
        page = await reader.page(limit=FILTERED_ROWS, cursor=after, **wanted.options())
        after = page.cursor
        found += page.records
        fitting = sum(story.outcome == wanted.outcome for story in fold_records(found))
        if after is None or fitting >= rows:
            break
    return found, after


async def record_page(portal: Portal, request: AnyRequest, whose: Whose, address: str) -> Page:
    """One record with all it says."""
    found = await whose.reader.find(address, proof=whose.label is None)
    teller = await portal.teller(language_of(portal, request))
    record = found.record
    asked = whose.label is None and record.kind in CORRECTABLE
    return portal.page(
        request, "record.html", session=whose.session, whose=whose, record=record, at=address, correctable=asked,
        disclosed=found.page.disclosure, denied=Story((record,)).outcome == Outcome.DENIED,
        sides=[code for code in dict.fromkeys((record.requester, record.provider)) if code not in ("", "portal")],
        correction=record.kind in CORRECTIONS, papers=papers_of(found.proof), **telling(teller, whose.base),
    )  # fmt: skip


def papers_of(proof: Any) -> tuple[str, str] | None:
    """By what a paper names a record: its leaf (portal) and its code (counter), hex digits in fours."""
    return None if proof is None else (proof.leaf.hex(" ", 2), paper_code(proof.salt, proof.leaf).hex(" ", 2))


async def year_page(portal: Portal, request: AnyRequest, whose: Whose) -> Page:
    """A year at a glance."""
    today = portal.today()
    since = months_until(today)[0]
    records: list[Record] = []
    pages, more = 0, False
    async for page in whose.reader.pages(since=since):
        records += page.records
        pages += 1
        if pages == YEAR_PAGES_MAX and page.cursor is not None:
            more = True
            break
    year = count_year(records, today)
    read_from = records[-1].requested_at if more else dt.datetime.combine(since, dt.time(), JAPAN)
    teller = await portal.teller(language_of(portal, request))
    return portal.page(
        request, "year.html", session=whose.session, year=year, more=more,
        firsts=await never_before(year.firsts, whose.reader, read_from), many_a_day=MANY_A_DAY,
        **telling(teller, whose.base),
    )  # fmt: skip
