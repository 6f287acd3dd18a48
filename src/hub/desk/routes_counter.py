"""Disclosure at the counter: one clerk has checked who the person is, a second confirms, and it is printed once.

The second clerk sees nothing of the history. Each printing is a record that the person sees.
"""

from __future__ import annotations

import secrets
from typing import Any

from litestar import Request, Response, get, post
from litestar.handlers import HTTPRouteHandler

from hub.desk.book import Line, State
from hub.desk.routes_ask import ONCE
from hub.desk.routes_questions import find_line, moment_of
from hub.desk.web import At, Desk
from hub.errors import RequestError
from hub.limits import HISTORY_LIMIT_MAX
from hub.portal.hubside import HubAwayError
from hub.portal.site import FormError, NotFoundError
from hub.portal.web import go, parse_day
from hub.protection.withholding import same_clerk

CHECKS = {
    "card": ("個人番号カード", "My Number card"),
    "licence": ("運転免許証", "driving licence"),
    "passport": ("旅券", "passport"),
    "residence": ("在留カード又は特別永住者証明書", "residence card"),
    "two": ("公的な書類2点", "two official papers"),
}
"""By what a person is known at the counter: in Japanese it stands in the record."""


def counter_routes(desk: Desk) -> list[HTTPRouteHandler]:
    """Handlers of these pages; of a body that does not disclose there are none."""

    async def enter(request: Request[Any, Any, Any]) -> At:
        at = desk.at(request, "disclose")
        if not await desk.counter():
            raise NotFoundError
        return at

    @get("/counter")
    async def show_counter(request: Request[Any, Any, Any]) -> Response[Any]:
        at = await enter(request)
        return counter_page(desk, request, at, {}, {}, secrets.token_hex(16))

    @post("/counter")
    async def take_form(request: Request[Any, Any, Any]) -> Response[Any]:
        at = await enter(request)
        form = await desk.form(request, at.session)
        once = form.get("once", "")
        if not ONCE.fullmatch(once):
            raise FormError
        own_id, wrong = form.get("own_id", "").strip(), {}
        alias = desk.residents.alias_of(own_id)
        if alias is None:
            wrong["own_id"] = "unknown"
        if form.get("checked") not in CHECKS:
            wrong["checked"] = "none"
        for name in ("since", "until"):
            try:
                parse_day(name, form.get(name))
            except RequestError:
                wrong[name] = "day"
        if wrong or alias is None:
            return counter_page(desk, request, at, form, wrong, once, status=400)
        detail = {name: form.get(name, "") for name in ("checked", "since", "until")}
        line = Line(
            once, "counter", desk.now(), at.clerk.operator, at.clerk.name, at.clerk.section, own_id, alias,
            State.WAITING, True, None, None, None, None, detail,
        )  # fmt: skip
        if not desk.book.add(line):
            known = desk.book.find(once, "counter", at.clerk.section)
            if known is None or not same_clerk(known.asker, at.clerk.operator):
                raise FormError
        return go(f"/counter/{once}")

    @get("/counter/{line_id:str}")
    async def show_one(request: Request[Any, Any, Any]) -> Response[Any]:
        at = await enter(request)
        return one_page(desk, request, at, find_line(desk, request, at, "counter"))

    @post("/counter/{line_id:str}/confirm")
    async def confirm(request: Request[Any, Any, Any]) -> Response[Any]:
        at = await enter(request)
        await desk.form(request, at.session)
        line = find_line(desk, request, at, "counter")
        if same_clerk(line.asker, at.clerk.operator):
            return one_page(desk, request, at, line, wrong="same", status=403)
        if line.state == State.WAITING:
            desk.book.move(line, State.CONFIRMED, second=at.clerk.operator, second_name=at.clerk.name)
        return go(f"/counter/{line.id}")

    @post("/counter/{line_id:str}/drop")
    async def drop(request: Request[Any, Any, Any]) -> Response[Any]:
        at = await enter(request)
        await desk.form(request, at.session)
        line = find_line(desk, request, at, "counter")
        if line.state in (State.WAITING, State.CONFIRMED):
            desk.book.move(line, State.DROPPED)
        return go(f"/counter/{line.id}")

    @post("/counter/{line_id:str}/print", status_code=200)
    async def show_history(request: Request[Any, Any, Any]) -> Response[Any]:
        at = await enter(request)
        await desk.form(request, at.session)
        line = find_line(desk, request, at, "counter")
        # Of two clicks one prints; where the hub does not answer it may be asked again.
        if not same_clerk(line.asker, at.clerk.operator) or line.state != State.CONFIRMED:
            raise FormError
        if not desk.book.move(line, State.SHOWN, done_at=desk.now()):
            raise FormError
        try:
            return await history_page(desk, request, line)
        except HubAwayError:
            desk.book.move(line._replace(state=State.SHOWN), State.CONFIRMED, done_at=None)
            raise
        except RequestError:
            desk.book.move(line._replace(state=State.SHOWN), State.REFUSED)
            return one_page(desk, request, at, line._replace(state=State.REFUSED), status=409)

    return [show_counter, take_form, show_one, confirm, drop, show_history]


async def history_page(desk: Desk, request: Request[Any, Any, Any], line: Line) -> Response[Any]:
    """The person's history, to print."""
    since, until = (parse_day(name, line.detail[name]) for name in ("since", "until"))
    page = await desk.hub.call(
        "counter_history", desk.institution, line.alias, clerk=line.asker, second_clerk=line.second,
        checked=CHECKS[line.detail["checked"]][0], section=line.section, since=since, until=until,
        limit=HISTORY_LIMIT_MAX,
    )  # fmt: skip
    teller = await desk.teller(request)
    return desk.page(
        request, "counterprint.html", line=line, records=list(zip(page.records, page.codes, strict=True)),
        more=len(page.records) == HISTORY_LIMIT_MAX,
        tell=teller.tell, teller=teller, checks=CHECKS, code_of=in_fours, now=moment_of(desk.now()),
        since=since, until=until,
        checkpoint=await desk.hub.call("checkpoint"), key=await desk.hub.verifier_key(),
    )  # fmt: skip


def in_fours(digits: str) -> str:
    """Hex digits for people to compare."""
    return bytes.fromhex(digits).hex(" ", 2)


def counter_page(
    desk: Desk, request: Request[Any, Any, Any], at: At, form: dict[str, str], wrong: dict[str, str], once: str, *,
    status: int = 200,
) -> Response[Any]:  # fmt: skip
    """The form, and the section's disclosures."""
    return desk.page(
        request, "counter.html", status=status, form=form, wrong=wrong, once=once, checks=CHECKS,
        lines=desk.book.lines("counter", at.clerk.section), moment=moment_of,
    )  # fmt: skip


def one_page(
    desk: Desk, request: Request[Any, Any, Any], at: At, line: Line, *, wrong: str = "", status: int = 200
) -> Response[Any]:
    """One disclosure, and what its reader may do."""
    return desk.page(
        request, "counterone.html", status=status, line=line, wrong=wrong, states=State, checks=CHECKS,
        moment=moment_of, own=same_clerk(line.asker, at.clerk.operator),
    )  # fmt: skip
