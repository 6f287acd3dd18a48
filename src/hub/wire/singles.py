"""Single inquiries at the server: those of all connections that came within one turn of the loop go on together.

    Intake (``_wire.pyx``): frames -> rows -> Hub.inquire_rows -> frames, written once a connection

What is unusual about a call makes it go the general way (``calls.py``), with the same results.
"""

from __future__ import annotations

import asyncio
import contextlib
import functools
import logging
from typing import TYPE_CHECKING

import msgspec

from hub._wire import Intake, Turn
from hub.decode import decode_inquiry
from hub.errors import HubError, StorageError
from hub.hub import Hub
from hub.small import Question, SmallAnswers, SmallRows
from hub.wire.config import Limits
from hub.wire.methods import METHODS, REQUEST_DECODERS
from hub.wire.words import Call, decode_from_client

if TYPE_CHECKING:
    from hub.wire.calls import Calls
    from hub.wire.connection import Connection

logger = logging.getLogger("hub")


class Singles:
    """The host of one server's intake. Its methods are for the loop's thread, but for :meth:`_answered`."""

    def __init__(self, h: Hub, calls: Calls, limits: Limits, loop: asyncio.AbstractEventLoop) -> None:
        self._hub, self._calls, self._loop = h, calls, loop
        self.intake = Intake(self, limits.requests_per_connection)
        self._catalog = h.catalog

    def __repr__(self) -> str:
        return f"Singles(waiting={len(self.intake)})"

    # -- for the intake

    def begin(self) -> bool:
        """A turn begins; whether any call may be taken."""
        catalog = self._hub.catalog
        if catalog is not self._catalog:
            self._catalog = catalog
            self.intake.forget()
        self.intake.now = self._loop.time()
        return self._calls.takes_bulk

    def prepare(self, connection: Connection, message: bytes) -> tuple[Question, str, int] | None:
        """Check a call whose words or provider are new, in the general way: question, requester, provider's number.

        None: something is wrong with it, or it is not one that shares its commit with others; nothing was done.
        """
        party = connection.party
        try:
            call = decode_from_client(memoryview(message))
            if party is None or not isinstance(call, Call) or call.institution not in party.institutions:
                return None
            given = REQUEST_DECODERS["inquire"].decode(call.body)
            arguments = self._calls.bind(METHODS["inquire"], given, call.institution, party.name)
            batch = decode_inquiry(self._catalog, **arguments)
            if len(batch) != 1 or batch.by_class:
                return None
        except (HubError, msgspec.DecodeError, UnicodeDecodeError):
            return None
        return Question(batch.inquiry, batch.requester), batch.inquiry.requester, int(batch.providers[0])

    def soon(self) -> None:
        """The first row of a turn is there."""
        self._loop.call_soon(self.end)

    def end(self) -> None:
        """Hand this turn's rows to the hub."""
        if not len(self.intake):
            return
        turn = self.intake.next()
        try:
            self._hub.inquire_rows(SmallRows(*turn.columns()), functools.partial(self._answered, turn))
        except BaseException as error:
            for connection, number in turn.calls():
                connection.fail(number, "inquire", error)

    # -- answers

    def _answered(self, turn: Turn, answers: SmallAnswers) -> None:
        """The hub has them: in a thread of its own."""
        try:
            turn.encode(answers.status, answers.rule, answers.reason, answers.received_at, answers.errors)
        except Exception:
            logger.exception("inquire: its replies could not be written")
        # The loop may have ended meanwhile: nobody waits any more.
        with contextlib.suppress(RuntimeError):
            self._loop.call_soon_threadsafe(self._deliver, turn)

    def _deliver(self, turn: Turn) -> None:
        for row, connection, number in turn.deliver():
            error = turn.errors.get(row)
            if error is None:
                error = StorageError("inquire: expected an answer, got none", retry_safe=True)
            connection.fail(number, "inquire", error)
