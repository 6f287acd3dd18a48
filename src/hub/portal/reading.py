"""Reading histories: a page, one record by its address, everything; a person's own, or of somebody they act for.

A record's address is ``<requested_at, seconds since 1970>-<index>``: the hub finds it among the records of that second.
Another's number, a number of nobody and one that is withheld are looked for in the same way and not found.
"""

from __future__ import annotations

import asyncio
import datetime as dt
import re
from collections.abc import AsyncIterator
from typing import Any, NamedTuple

from hub.errors import RequestError
from hub.limits import HISTORY_LIMIT_MAX
from hub.messages import History, Record
from hub.portal.hubside import HubSideClient
from hub.portal.stories import address_of as address_of
from hub.portal.web import NotFoundError, SignedOutError

SECOND_ROWS, SECOND_PAGES_MAX = 100, 10
_ADDRESS = re.compile(r"(\d{1,12})-(\d{1,19})")


class Reader:
    """Whose history is read, and how."""

    def __init__(self, hub: HubSideClient, alias: bytes, handle: bytes | None = None) -> None:
        """Args: alias: of who reads. handle: of whom they act for, of ``principals``; None: for themselves."""
        self._hub, self._alias, self._handle = hub, alias, handle

    def __repr__(self) -> str:
        return "Reader()"

    async def page(self, **options: Any) -> History:
        """A page of it, see ``Hub.history``.

        Raises:
            NotFoundError: a filter or cursor is not of this history. SignedOutError: one may not act (any more).
            HubAwayError: no answer.
        """
        if self._handle is None:
            try:
                return await self._call("history", self._alias, **options)
            except RequestError:
                raise NotFoundError from None
        try:
            return await self._call("proxy_history", self._alias, self._handle, **options)
        except RequestError:
            pass
        # Why is the same to the hub's words: whether one may still act tells the two apart.
        principals = await self._hub.call("principals", self._alias)
        if any(one.handle == self._handle for one in principals):
            raise NotFoundError
        raise SignedOutError

    async def _call(self, method: str, *who: bytes, **options: Any) -> History:
        found: History = await self._hub.call(method, *who, **options)
        return found

    async def pages(self, *, proofs: bool = False, limit: int = HISTORY_LIMIT_MAX, **options: Any) -> AsyncIterator[History]:  # noqa: E501
        """All of it, a page at a time; the next one is asked for while the last one is used."""

        async def read(cursor: str | None) -> History:
            return await self.page(limit=limit, cursor=cursor, proofs=proofs, **options)

        following: asyncio.Task[History] | None = asyncio.create_task(read(None))
        try:
            while following is not None:
                page = await following
                following = None if page.cursor is None else asyncio.create_task(read(page.cursor))
                yield page
        finally:
            if following is not None:
                # Nobody wants it any more, nor what went wrong with it.
                following.cancel()
                await asyncio.gather(following, return_exceptions=True)

    async def find(self, address: str, *, proof: bool = False) -> FoundRecord:
        """One record by its address.

        Raises:
            NotFoundError: this history shows none such.
        """
        parts = _ADDRESS.fullmatch(address)
        if parts is None:
            raise NotFoundError
        try:
            since = dt.datetime.fromtimestamp(int(parts[1]), dt.UTC)
        except (OverflowError, ValueError, OSError):
            raise NotFoundError from None
        index, looked = int(parts[2]), 0
        until = since + dt.timedelta(seconds=1)
        async for page in self.pages(limit=SECOND_ROWS, since=since, until=until, proofs=proof):
            for place, record in enumerate(page.records):
                if record.index == index:
                    return FoundRecord(record, page, page.proof(place) if proof else None)
            looked += 1
            if looked == SECOND_PAGES_MAX:
                break
        raise NotFoundError


class FoundRecord(NamedTuple):
    """A record, the page that has it, and its proof if it was asked for."""

    record: Record
    page: History
    proof: Any

    def __repr__(self) -> str:
        return "FoundRecord()"
