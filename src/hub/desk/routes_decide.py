"""What a clerk of the institution decides: permits of which none is answered by itself, and held acquisitions; the
report of procedures that nobody uses.
"""

from __future__ import annotations

import csv
import io
from typing import Any, NamedTuple

import numpy as np
from litestar import Request, Response, get, post
from litestar.handlers import HTTPRouteHandler

from hub.catalog.words import is_plain
from hub.desk.contents import write_content
from hub.desk.routes_questions import moment_of
from hub.desk.web import At, Desk
from hub.errors import RequestError
from hub.limits import REMARK_CHARS_MAX
from hub.messages import OWN_DATA, REFUSALS, Acquisition, Differs, PermitInquiry, Reason, Status
from hub.portal.site import NotFoundError
from hub.portal.web import go
from hub.provision.payloads import DATA_BYTES_MAX, seal_payload

PERMITS_SHOWN = 500
TEXT_CHARS_MAX = 2_000
"""Of an answer by hand, each item: a form of all items must fit the bound of a form."""

OUTCOMES = (Status.PROVIDED, Status.EMPTY, Status.NO_RECORD, Status.REFUSED)


class Permit(NamedTuple):
    """A permit that waits for a clerk.

    Attributes:
        asked: how many bodies its requester asked about the person lately.
    """

    number: int
    inquiry: PermitInquiry
    own_id: str | None
    asked: int
    valid_until: int

    def __repr__(self) -> str:
        return "Permit()"


class Held(NamedTuple):
    """A held acquisition; name: of its ticket, for this session."""

    name: str
    own_id: str
    ticket: bytes
    differs: Differs

    def __repr__(self) -> str:
        return f"Held({self.differs!r})"


def decide_routes(desk: Desk) -> list[HTTPRouteHandler]:
    """Handlers of these pages."""

    @get("/permits")
    async def show_permits(request: Request[Any, Any, Any]) -> Response[Any]:
        desk.at(request, "decide")
        permits = await collect(desk)
        return desk.page(
            request, "permits.html", permits=permits[:PERMITS_SHOWN], count=len(permits), moment=moment_of,
            teller=await desk.teller(request), done=request.query_params.get("done") == "decided",
        )  # fmt: skip

    @get("/permits/{number:str}")
    async def show_permit(request: Request[Any, Any, Any]) -> Response[Any]:
        desk.at(request, "decide")
        permit = await find_permit(desk, str(request.path_params["number"]))
        return await permit_page(desk, request, permit, {}, "")

    @post("/permits/{number:str}")
    async def decide(request: Request[Any, Any, Any]) -> Response[Any]:
        at = desk.at(request, "decide")
        form = await desk.form(request, at.session)
        permit = await find_permit(desk, str(request.path_params["number"]))
        outcome = next((one for one in OUTCOMES if one.name == form.get("outcome")), None)
        reason = next((one for one in REFUSALS if one.name == form.get("reason")), None)
        texts = {item: form.get(f"item-{n}", "").strip() for n, item in enumerate(permit.inquiry.items)}
        if outcome is None:
            return await permit_page(desk, request, permit, form, "outcome", status=400)
        if outcome == Status.REFUSED and reason is None:
            return await permit_page(desk, request, permit, form, "reason", status=400)
        if outcome == Status.PROVIDED and not all(_fits(text) for text in texts.values()):
            return await permit_page(desk, request, permit, form, "text", status=400)
        await provide(desk, at, permit, outcome, reason or Reason.NONE, texts)
        return go("/permits?done=decided")

    @get("/links")
    async def show_links(request: Request[Any, Any, Any]) -> Response[Any]:
        at = desk.at(request, "link")
        return await links_page(desk, request, at)

    @post("/links/{name:str}/confirm")
    async def confirm_link(request: Request[Any, Any, Any]) -> Response[Any]:
        at = desk.at(request, "link")
        form = await desk.form(request, at.session)
        held = next((one for one in await read_held(desk, at) if one.name == request.path_params["name"]), None)
        if held is None:
            raise NotFoundError
        reason = form.get("reason", "").strip()
        if not 1 <= len(reason) <= REMARK_CHARS_MAX or not is_plain(reason):
            return await links_page(desk, request, at, wrong="reason", at_row=held.name, status=400)
        tickets = np.frombuffer(held.ticket, np.uint8).reshape(1, -1)
        try:
            await desk.hub.call(
                "confirm_links", desk.institution, tickets, clerk=at.clerk.operator, reason=reason
            )
        except RequestError:
            return await links_page(desk, request, at, wrong="same", at_row=held.name, status=403)
        return go("/links?done=confirmed")

    @get("/report")
    async def show_report(request: Request[Any, Any, Any]) -> Response[Any]:
        desk.at(request)
        unused, used = await read_report(desk)
        return desk.page(
            request, "report.html", unused=unused, used=used, teller=await desk.teller(request), moment=moment_of
        )

    @get("/report.csv")
    async def give_report(request: Request[Any, Any, Any]) -> Response[Any]:
        desk.at(request)
        unused, _ = await read_report(desk)
        out = io.StringIO()
        lines = csv.writer(out, lineterminator="\r\n")
        lines.writerow(("procedure", "label", "law", "legal_basis"))
        lines.writerows((one.id, one.label, one.law, one.legal_basis) for one in unused)
        return Response(
            b"\xef\xbb\xbf" + out.getvalue().encode(), media_type="text/csv",
            headers={"Content-Disposition": 'attachment; filename="never-used.csv"'},
        )  # fmt: skip

    return [show_permits, show_permit, decide, show_links, confirm_link, show_report, give_report]


# -- permits


async def collect(desk: Desk) -> list[Permit]:
    """The permits that wait for a clerk, those that lapse first before the others."""
    found: list[Permit] = []
    for some in await desk.hub.call("collect", desk.institution, manual=True):
        own_ids = desk.residents.own_ids_of(some.aliases)
        found += [
            Permit(int(number), some.inquiry, own_id, int(asked), some.valid_until)
            for number, own_id, asked in zip(some.permit, own_ids, some.asked, strict=True)
        ]
    return sorted(found, key=lambda one: (one.valid_until, one.number))


async def find_permit(desk: Desk, text: str) -> Permit:
    """A permit by its number.

    Raises:
        NotFoundError: none of this institution's that waits for a clerk: answered, lapsed, another's, or of nobody.
    """
    found = next((one for one in await collect(desk) if str(one.number) == text), None)
    if found is None:
        raise NotFoundError
    return found


async def permit_page(
    desk: Desk, request: Request[Any, Any, Any], permit: Permit, form: dict[str, str], wrong: str, *, status: int = 200
) -> Response[Any]:
    """One permit, to decide."""
    return desk.page(
        request, "permit.html", status=status, permit=permit, form=form, wrong=wrong, refusals=REFUSALS,
        teller=await desk.teller(request), moment=moment_of, text_max=TEXT_CHARS_MAX,
    )  # fmt: skip


async def provide(
    desk: Desk, at: At, permit: Permit, outcome: Status, reason: Reason, texts: dict[str, str]
) -> None:
    """Answer a permit, sealed where its requester has a key.

    Raises:
        NotFoundError: it was answered or lapsed in between.
    """
    payloads = None
    if outcome == Status.PROVIDED:
        payload = write_content(texts)
        key = await desk.hub.call("payload_key", permit.inquiry.requester)
        payloads = [payload if key is None else seal_payload(key, payload)]
    reasons = np.array([reason], np.uint8) if reason else None
    numbers = np.array([permit.number], np.uint64)
    try:
        await desk.hub.call(
            "provide", desk.institution, numbers, outcome, payloads, reasons=reasons, clerk=at.clerk.operator
        )
    except RequestError:
        raise NotFoundError from None


def _fits(text: str) -> bool:
    return 1 <= len(text) <= TEXT_CHARS_MAX and len(text.encode("utf-8", "replace")) <= DATA_BYTES_MAX // 16


# -- links


async def read_held(desk: Desk, at: At) -> list[Held]:
    """Acquisitions of the institution's tickets that are held."""
    tickets = desk.residents.tickets()
    if not tickets:
        return []
    rows = np.frombuffer(b"".join(one.ticket for one in tickets), np.uint8).reshape(-1, 16)
    found = await desk.hub.call("acquired", desk.institution, rows)
    return [
        Held(at.session.name_of(one.ticket), one.own_id, one.ticket, Differs(int(differs)))
        for one, status, differs in zip(tickets, found.status, found.differs, strict=True)
        if status == Acquisition.HELD
    ]


async def links_page(
    desk: Desk, request: Request[Any, Any, Any], at: At, *, wrong: str = "", at_row: str = "", status: int = 200
) -> Response[Any]:
    """The held acquisitions."""
    return desk.page(
        request, "links.html", status=status, held=await read_held(desk, at), wrong=wrong, at_row=at_row,
        differs=list(Differs), reason_max=REMARK_CHARS_MAX, done=request.query_params.get("done") == "confirmed",
    )  # fmt: skip


# -- the report


async def read_report(desk: Desk) -> tuple[list[Any], list[tuple[Any, int, int]]]:
    """Procedures by which the institution may ask and never did, and those by which this desk did: how often, when."""
    catalog = await desk.hub.catalog()
    able = [one for one in catalog.procedures(requester=desk.institution) if not one.id.startswith(OWN_DATA)]
    by_hand, in_bulk = desk.book.used(), desk.residents.procedures_asked()
    unused = [one for one in able if one.id not in by_hand and one.id not in in_bulk]
    return unused, [(one, *by_hand.get(one.id, (0, 0))) for one in able if one.id in by_hand or one.id in in_bulk]
