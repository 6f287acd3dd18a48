"""The section's questions: send, confirm by a second clerk, follow, release, and certify an answer for the file."""

from __future__ import annotations

import asyncio
import datetime as dt
from typing import Any, NamedTuple

import numpy as np
from litestar import Request, Response, get, post
from litestar.handlers import HTTPRouteHandler

from hub.catalog.words import is_plain
from hub.desk.book import REQUEST_ID, Line, State
from hub.desk.contents import Content, read_content
from hub.desk.web import At, Desk
from hub.errors import RequestError
from hub.limits import REMARK_CHARS_MAX
from hub.messages import Inquiry, Reason, Status
from hub.portal.hubside import HubAwayError
from hub.portal.site import FormError, NotFoundError
from hub.portal.web import go
from hub.protection.withholding import TWO, same_clerk

LOOKED_MAX = 20
"""Answers that one page of the list asks for."""

OPEN = frozenset({int(Status.OK), int(Status.PENDING), int(Status.HELD)})
"""Statuses that another can follow."""
CERTIFIED = frozenset({
    int(one) for one in (Status.PROVIDED, Status.EMPTY, Status.NO_RECORD, Status.REFUSED, Status.LAPSED)
})  # fmt: skip


class Seen(NamedTuple):
    """How a question stands; status None: it is not at the hub, or is no longer known there."""

    status: Status | None
    reason: Reason
    content: Content | None

    def __repr__(self) -> str:
        return "Seen()"


def question_routes(desk: Desk) -> list[HTTPRouteHandler]:
    """Handlers of these pages."""

    @get("/questions")
    async def show_list(request: Request[Any, Any, Any]) -> Response[Any]:
        at = desk.at(request, "ask")
        lines = desk.book.lines("ask", at.clerk.section)
        waiting = [one for one in lines if one.state == State.ASKED and (one.told is None or one.told in OPEN)]
        await asyncio.gather(*(look(desk, one) for one in waiting[:LOOKED_MAX]))
        return desk.page(
            request, "questions.html", lines=desk.book.lines("ask", at.clerk.section), statuses=Status,
            teller=await desk.teller(request),
        )  # fmt: skip

    @get("/questions/{line_id:str}")
    async def show_one(request: Request[Any, Any, Any]) -> Response[Any]:
        at = desk.at(request, "ask")
        return await question_page(desk, request, at, find_line(desk, request, at, "ask"))

    @post("/questions/{line_id:str}/send")
    async def send(request: Request[Any, Any, Any]) -> Response[Any]:
        at = desk.at(request, "ask")
        await desk.form(request, at.session)
        line = find_line(desk, request, at, "ask")
        if not same_clerk(line.asker, at.clerk.operator):
            raise NotFoundError
        if line.state == State.DRAFT:
            to = State.WAITING if line.two else State.SENDING
            if desk.book.move(line, to) and to == State.SENDING:
                await send_line(desk, line._replace(state=to))
        return go(f"/questions/{line.id}")

    @post("/questions/{line_id:str}/confirm")
    async def confirm(request: Request[Any, Any, Any]) -> Response[Any]:
        at = desk.at(request, "ask")
        await desk.form(request, at.session)
        line = find_line(desk, request, at, "ask")
        if same_clerk(line.asker, at.clerk.operator):
            return await question_page(desk, request, at, line, wrong="same", status=403)
        second, name = at.clerk.operator, at.clerk.name
        if line.state == State.WAITING and desk.book.move(line, State.SENDING, second=second, second_name=name):
            await send_line(desk, line._replace(state=State.SENDING, second=second, second_name=name))
        return go(f"/questions/{line.id}")

    @post("/questions/{line_id:str}/again")
    async def send_again(request: Request[Any, Any, Any]) -> Response[Any]:
        at = desk.at(request, "ask")
        await desk.form(request, at.session)
        line = find_line(desk, request, at, "ask")
        if line.state == State.SENDING:
            await send_line(desk, line)
        return go(f"/questions/{line.id}")

    @post("/questions/{line_id:str}/drop")
    async def drop(request: Request[Any, Any, Any]) -> Response[Any]:
        at = desk.at(request, "ask")
        await desk.form(request, at.session)
        line = find_line(desk, request, at, "ask")
        if line.state in (State.DRAFT, State.WAITING):
            desk.book.move(line, State.DROPPED)
        return go(f"/questions/{line.id}")

    @post("/questions/{line_id:str}/release")
    async def release(request: Request[Any, Any, Any]) -> Response[Any]:
        at = desk.at(request, "ask")
        form = await desk.form(request, at.session)
        line = find_line(desk, request, at, "ask")
        if line.state != State.ASKED or line.told != Status.HELD:
            raise FormError
        reason = form.get("reason", "").strip()
        if any(one is not None and same_clerk(one, at.clerk.operator) for one in (line.asker, line.second)):
            return await question_page(desk, request, at, line, wrong="same", status=403)
        if not 1 <= len(reason) <= REMARK_CHARS_MAX or not is_plain(reason):
            return await question_page(desk, request, at, line, wrong="reason", status=400)
        handle = request_id_of(line), 0
        await desk.hub.call("release", handle, reason, clerk=at.clerk.operator, requester=desk.institution)
        return go(f"/questions/{line.id}")

    @get("/questions/{line_id:str}/certificate")
    async def certify(request: Request[Any, Any, Any]) -> Response[Any]:
        at = desk.at(request, "ask")
        line = find_line(desk, request, at, "ask")
        seen = await look(desk, line)
        if seen.status is None or seen.status not in CERTIFIED:
            raise NotFoundError
        catalog = await desk.hub.catalog()
        return desk.page(
            request, "certificate.html", line=line, seen=seen, reasons=Reason, statuses=Status,
            teller=await desk.teller(request), now=desk.now(), moment=moment_of,
            basis=catalog.procedure(line.detail["procedure"]).legal_basis,
            checkpoint=await desk.hub.call("checkpoint"), key=await desk.hub.verifier_key(),
        )  # fmt: skip

    return [show_list, show_one, send, confirm, send_again, drop, release, certify]


def find_line(desk: Desk, request: Request[Any, Any, Any], at: At, kind: str) -> Line:
    """The section's line of an address.

    Raises:
        NotFoundError: there is none, or it is another section's.
    """
    line = desk.book.find(str(request.path_params["line_id"]), kind, at.clerk.section)
    if line is None:
        raise NotFoundError
    return line


def request_id_of(line: Line) -> str:
    """Of the inquiry: the same whenever it is sent again."""
    return REQUEST_ID.format(line.id)


def moment_of(seconds: int) -> dt.datetime:
    """Seconds since 1970 as a moment."""
    return dt.datetime.fromtimestamp(seconds, dt.UTC)


async def send_line(desk: Desk, line: Line) -> None:
    """Ask the hub; with the same request id again it asks nothing twice.

    Raises:
        HubAwayError: the line stays SENDING.
    """
    detail = line.detail
    operator = line.asker if line.second is None else f"{line.asker}{TWO}{line.second}"
    inquiry = Inquiry(
        requester=desk.institution, procedure=detail["procedure"], items=tuple(detail["items"]), role=detail["role"],
        section=line.section, request_id=request_id_of(line), operator=operator,
    )  # fmt: skip
    alias = np.frombuffer(line.alias, np.uint8).reshape(1, -1)
    cases = [detail["case"]] if detail["case"] else None
    try:
        answer = await desk.hub.call("inquire", inquiry, alias, detail["provider"], cases=cases)
    except RequestError:
        desk.book.move(line, State.REFUSED)
        return
    if desk.book.took(line, int(answer.status[0]), int(answer.reason[0]), answer.receipt.received_at):
        desk.book.use(detail["procedure"], desk.now())


async def look(desk: Desk, line: Line) -> Seen:
    """How a question stands now."""
    if line.state != State.ASKED:
        return Seen(None, Reason.NONE, None)
    try:
        found = await desk.hub.call("answers", desk.institution, request_id_of(line))
    except RequestError:
        # So long ago that the hub keeps its request id no more.
        return Seen(None, Reason.NONE, None)
    status, payload = Status(int(found.status[0])), found.payloads[0]
    desk.book.tell(line, status)
    content = None if payload is None else read_content(payload, desk.private_key)
    return Seen(status, Reason(int(found.reason[0])), content)


async def question_page(
    desk: Desk, request: Request[Any, Any, Any], at: At, line: Line, *, wrong: str = "", status: int = 200
) -> Response[Any]:
    """One question, and what its reader may do."""
    away, seen = False, Seen(None, Reason.NONE, None)
    try:
        seen = await look(desk, line)
    except HubAwayError:
        away = True
    catalog = await desk.hub.catalog()
    own = same_clerk(line.asker, at.clerk.operator)
    took_part = own or (line.second is not None and same_clerk(line.second, at.clerk.operator))
    return desk.page(
        request, "question.html", status=status, line=line, seen=seen, own=own, took_part=took_part, away=away,
        wrong=wrong, states=State, statuses=Status, reasons=Reason, certified=seen.status in CERTIFIED,
        teller=await desk.teller(request), moment=moment_of, reason_max=REMARK_CHARS_MAX,
        basis=catalog.procedure(line.detail["procedure"]).legal_basis,
    )  # fmt: skip
