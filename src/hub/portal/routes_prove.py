"""Prove it: the proof of a record, the whole history as JSON, CSV and PDF, the keys."""

from __future__ import annotations

import asyncio
import datetime as dt
from collections.abc import AsyncIterator
from typing import Any

from litestar import Request, Response, get
from litestar.handlers import HTTPRouteHandler
from litestar.response import Stream

from hub.messages import History, Record
from hub.portal.exports import csv_parts, json_parts, make_pdf
from hub.portal.reading import Reader
from hub.portal.routes_history import own_history
from hub.portal.view import Words
from hub.portal.web import NotFoundError, Portal, language_of

PROOF_ROWS = 500
"""Records with proofs that the hub is asked for at a time."""


def prove_routes(portal: Portal) -> list[HTTPRouteHandler]:
    """Handlers of these pages."""

    @get("/record/{address:str}/proof")
    async def give_proof(request: Request[Any, Any, Any]) -> Response[Any]:
        whose = own_history(portal, request)
        found = await whose.reader.find(str(request.path_params["address"]), proof=True)
        return file_of(found.proof.text().encode(), f"{found.record.index}.tlog-proof", "text/plain")

    @get("/prove")
    async def show_prove(request: Request[Any, Any, Any]) -> Response[Any]:
        session = portal.signed_in(request)
        checkpoint = await portal.hub.call("checkpoint")
        return portal.page(
            request, "prove.html", session=session, checkpoint=checkpoint, pdf_rows=portal.config.limits.pdf_rows
        )

    @get("/save/{name:str}")
    async def give_file(request: Request[Any, Any, Any]) -> Response[Any]:
        whose = own_history(portal, request)
        name = str(request.path_params["name"])
        makers = {"history.json": save_json, "history.csv": save_csv, "history.pdf": save_pdf}
        if name in makers:
            return await makers[name](portal, request, whose.reader, whose.session.alias)
        keys = await portal.hub.call("disclosure_keys", whose.session.alias)
        # Whose records are of two persons who were found to be one has a key of each.
        files = {f"disclosure-{n}.key" if n else "disclosure.key": key for n, key in enumerate(keys)}
        if name not in files:
            raise NotFoundError
        return file_of(files[name].hex().encode() + b"\n", name, "text/plain")

    return [give_proof, show_prove, give_file]


def file_of(content: bytes, name: str, kind: str) -> Response[Any]:
    """A file to save."""
    return Response(content, media_type=kind, headers={"Content-Disposition": f'attachment; filename="{name}"'})


async def begin(pages: AsyncIterator[History]) -> tuple[AsyncIterator[History], History]:
    """The first page before anything is sent: until then what fails is a page that says so."""
    return pages, await anext(pages)


async def save_json(portal: Portal, request: Request[Any, Any, Any], reader: Reader, alias: bytes) -> Response[Any]:
    """All records, each with its proof."""
    teller = await portal.teller(language_of(portal, request))
    key, own = await portal.hub.verifier_key(), await portal.hub.call("disclosure_keys", alias)
    pages, first = await begin(reader.pages(limit=PROOF_ROWS, proofs=True))
    return stream_of(json_parts(pages, first, teller, key, own), "history.json", "application/json")


async def save_csv(portal: Portal, request: Request[Any, Any, Any], reader: Reader, _: bytes) -> Response[Any]:
    """All records as a table."""
    teller = await portal.teller(language_of(portal, request))
    pages, first = await begin(reader.pages(limit=PROOF_ROWS, proofs=True))
    return stream_of(csv_parts(pages, first, teller), "history.csv", "text/csv")


async def save_pdf(portal: Portal, request: Request[Any, Any, Any], reader: Reader, _: bytes) -> Response[Any]:
    """The newest records to print."""
    language = language_of(portal, request)
    teller = await portal.teller(language)
    rows = portal.config.limits.pdf_rows
    records: list[tuple[Record, bytes]] = []
    more = False
    async for page in reader.pages(limit=min(rows, PROOF_ROWS), proofs=True):
        records += [(record, page.proof(place).leaf) for place, record in enumerate(page.records)]
        more = page.cursor is not None or len(records) > rows
        if len(records) >= rows:
            break
    key, checkpoint = await portal.hub.verifier_key(), await portal.hub.call("checkpoint")
    at = dt.datetime.fromtimestamp(portal.clock(), dt.UTC)
    # In a thread: the pages of others do not wait for it.
    content = await asyncio.to_thread(
        make_pdf, records[:rows], teller, Words(language), checkpoint=checkpoint, key=key, at=at, more=more
    )
    return file_of(content, "history.pdf", "application/pdf")


def stream_of(parts: AsyncIterator[bytes], name: str, kind: str) -> Response[Any]:
    """A file that leaves piece by piece."""
    return Stream(parts, media_type=kind, headers={"Content-Disposition": f'attachment; filename="{name}"'})
