"""Find a procedure by words, and fill in one question; what is wrong with it is said beside its field."""

from __future__ import annotations

import re
import secrets
from typing import Any, NamedTuple

from litestar import Request, Response, get, post
from litestar.handlers import HTTPRouteHandler

from hub.catalog import Catalog
from hub.catalog.institutions import Institution
from hub.catalog.law import Procedure
from hub.catalog.words import is_plain
from hub.desk.book import Line, State
from hub.desk.clerks import Clerk
from hub.desk.finding import BODIES_SHOWN, find_bodies, find_procedures
from hub.desk.web import Desk
from hub.errors import RequestError
from hub.limits import CASE_CHARS_MAX
from hub.messages import Inquiry
from hub.portal.site import FormError, NotFoundError
from hub.portal.web import go
from hub.protection.withholding import same_clerk

FOUND_SHOWN = 50
WORDS_CHARS_MAX = 100
ONCE = re.compile("[0-9a-f]{32}")
"""What a form carries to be taken once: the id of the line that it makes."""


class Asked(NamedTuple):
    """What a form asks.

    Attributes:
        wrong: field -> what is wrong with it, a word of the template. bodies: that the provider's name may mean.
    """

    own_id: str
    provider_text: str
    items: tuple[str, ...]
    role: str
    case: str
    alias: bytes | None
    provider: Institution | None
    wrong: dict[str, str]
    bodies: list[Institution]
    why: str

    def __repr__(self) -> str:
        return f"Asked(wrong={len(self.wrong)})"


def ask_routes(desk: Desk) -> list[HTTPRouteHandler]:
    """Handlers of these pages."""

    @get("/find")
    async def find(request: Request[Any, Any, Any]) -> Response[Any]:
        desk.at(request, "ask")
        text = request.query_params.get("words", "")[:WORDS_CHARS_MAX]
        catalog = await desk.hub.catalog()
        found = find_procedures(catalog, desk.institution, text)
        return desk.page(
            request, "find.html", text=text, found=found[:FOUND_SHOWN], count=len(found), terms=catalog.terms,
            teller=await desk.teller(request),
        )  # fmt: skip

    @get("/ask")
    async def show_form(request: Request[Any, Any, Any]) -> Response[Any]:
        desk.at(request, "ask")
        procedure = await read_procedure(desk, request.query_params.get("procedure", ""))
        empty = Asked("", "", procedure.items if len(procedure.items) == 1 else (), "", "", None, None, {}, [], "")
        return await form_page(desk, request, procedure, empty, secrets.token_hex(16))

    @post("/ask")
    async def take_form(request: Request[Any, Any, Any]) -> Response[Any]:
        at = desk.at(request, "ask")
        form = await desk.form(request, at.session)
        once = form.get("once", "")
        if not ONCE.fullmatch(once):
            raise FormError
        procedure = await read_procedure(desk, form.get("procedure", ""))
        catalog = await desk.hub.catalog()
        asked = read_form(desk, catalog, procedure, form, at.clerk)
        if asked.wrong or asked.alias is None or asked.provider is None:
            return await form_page(desk, request, procedure, asked, once, status=400)
        detail = {
            "procedure": procedure.id, "provider": asked.provider.code, "items": asked.items, "role": asked.role,
            "case": asked.case,
        }  # fmt: skip
        line = Line(
            once, "ask", desk.now(), at.clerk.operator, at.clerk.name, at.clerk.section, asked.own_id, asked.alias,
            State.DRAFT, catalog.terms.of(procedure.id).two_clerks, None, None, None, None, detail,
        )  # fmt: skip
        if not desk.book.add(line):
            # The same form again: there is one question, its own; another's is none.
            known = desk.book.find(once, "ask", at.clerk.section)
            if known is None or not same_clerk(known.asker, at.clerk.operator):
                raise FormError
        return go(f"/questions/{once}")

    return [find, show_form, take_form]


async def read_procedure(desk: Desk, procedure: str) -> Procedure:
    """A procedure by which the institution may ask.

    Raises:
        NotFoundError: there is none such.
    """
    catalog = await desk.hub.catalog()
    found = next((one for one in catalog.procedures(requester=desk.institution) if one.id == procedure), None)
    if found is None:
        raise NotFoundError
    return found


def read_form(desk: Desk, catalog: Catalog, procedure: Procedure, form: dict[str, str], clerk: Clerk) -> Asked:
    """What a form asks, and what is wrong with it."""
    wrong: dict[str, str] = {}
    own_id, text = form.get("own_id", "").strip(), form.get("provider", "").strip()
    case, role = form.get("case", "").strip(), form.get("role", "")
    alias = desk.residents.alias_of(own_id)
    if alias is None:
        wrong["own_id"] = "unknown"
    bodies = find_bodies(catalog, procedure, text, desk.institution)
    if len(bodies) != 1:
        wrong["provider"] = "several" if bodies else "unknown"
    items = tuple(item for n, item in enumerate(procedure.items) if form.get(f"item-{n}"))
    if not items:
        wrong["items"] = "none"
    if role not in procedure.roles:
        wrong["role"] = "none"
    if len(case) > CASE_CHARS_MAX or not is_plain(case):
        wrong["case"] = "long"
    why = ""
    if not wrong:
        why = denial_of(desk, catalog, procedure.id, bodies[0].code, items, role, clerk.section)
        if why:
            wrong["law"] = "denied"
    provider = bodies[0] if len(bodies) == 1 else None
    return Asked(own_id, text, items, role, case, alias, provider, wrong, bodies[:BODIES_SHOWN], why)


def denial_of(
    desk: Desk, catalog: Catalog, procedure: str, provider: str, items: tuple[str, ...], role: str, section: str
) -> str:
    """Why the law does not let the question be asked; empty where it does. The hub decides again when it is asked."""
    inquiry = Inquiry(
        requester=desk.institution, procedure=procedure, items=items, role=role, section=section, request_id="desk"
    )
    try:
        decision = catalog.decide(inquiry, provider, at=None)
    except RequestError as error:
        # Of words of the catalog alone.
        return str(error)
    return "" if decision.allowed else decision.explanation


async def form_page(
    desk: Desk, request: Request[Any, Any, Any], procedure: Procedure, asked: Asked, once: str, *, status: int = 200
) -> Response[Any]:
    """The form of a question."""
    catalog = await desk.hub.catalog()
    return desk.page(
        request, "ask.html", status=status, procedure=procedure, asked=asked, once=once,
        two=catalog.terms.of(procedure.id).two_clerks, teller=await desk.teller(request), case_max=CASE_CHARS_MAX,
    )  # fmt: skip
