"""Single inquiries at the server: those of all connections that came within one turn of the loop go on together.

    Intake (``_wire.pyx``): frames -> rows -> Hub.inquire_rows -> frames, written once a connection

What is unusual about a call makes it go the general way (``calls.py``), with the same results.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import threading
import time
from typing import TYPE_CHECKING

import msgspec

from hub._wire import Intake, Turn
from hub.decode import decode_inquiry
from hub.errors import HubError, StorageError
from hub.hub import Hub
from hub.limits import CALLS_PER_GROUP_MAX
from hub.singles.small import Question, SmallAnswers, SmallRows
from hub.wire.config import Limits
from hub.wire.ledger import OK, Outcomes, code_of, count_outcomes
from hub.wire.methods import METHODS, REQUEST_DECODERS
from hub.wire.quotas import Account
from hub.wire.words import Call, decode_from_client

if TYPE_CHECKING:
    from hub.wire.calls import Calls
    from hub.wire.connection import Connection

logger = logging.getLogger("hub")

LINGER_S = 0.0005
"""For so long at most others are waited for: a group costs as much as some forty rows, whatever its size."""
QUIET_S = 0.00006
"""Nobody is waited for when nobody came for so long: a client on this machine asks again in 10 to 20 us."""


Failed = dict[tuple[str, str], tuple[int, BaseException]]
"""Of each institution and code: how many calls failed so, and the last of their errors."""


class Charged:
    """What is counted of a turn until it is answered.

    Attributes:
        began: ``time.perf_counter`` when its first row came. accounts: rows of each so far, of so many ``rows``.
    """

    __slots__ = ("accounts", "began", "rows")

    def __init__(self) -> None:
        self.began = time.perf_counter()
        self.accounts: dict[Account, int] = {}
        self.rows = 0

    def __repr__(self) -> str:
        return f"Charged(rows={self.rows})"


class Singles:
    """The host of one server's intake. Its methods are for the loop's thread, but for :meth:`_answered`."""

    def __init__(self, h: Hub, calls: Calls, limits: Limits, loop: asyncio.AbstractEventLoop) -> None:
        self._hub, self._calls, self._loop = h, calls, loop
        self.intake = Intake(self, limits.requests_per_connection)
        self._catalog = h.catalog
        self._charged = Charged()
        self._last_at = 0.0
        self._seen = self._expected = self._at_hub = 0

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
        return self._calls.takes_singles

    def prepare(self, connection: Connection, message: bytes) -> tuple[Question, str, int, Account] | None:
        """Check a call whose words or provider are new, in the general way: question, requester, provider's number,
        and the requester's account.

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
        requester = batch.inquiry.requester
        account = self._calls.ledger.quotas.account(requester)
        return Question(batch.inquiry, batch.requester), requester, int(batch.providers[0]), account

    def soon(self) -> None:
        """A row is there, the first one since :meth:`end`."""
        if not len(self.intake):
            self._charged, self._seen = Charged(), 0
        self._loop.call_soon(self.end)

    def end(self) -> None:
        """Hand this turn's rows to the hub, together with those that come while it has some."""
        turn = self.intake.turn
        self.intake.told = False
        if not len(turn):
            return
        self._charge(turn)
        if self._at_hub and len(turn) < CALLS_PER_GROUP_MAX:
            return
        if self._waits(len(turn)):
            self._loop.call_soon(self.end)
            return
        self._hand_over(self.intake.next(), self._charged)

    def _waits(self, rows: int) -> bool:
        """Whether more rows are likely to come at once: those who were just answered ask again."""
        now = time.perf_counter()
        if rows >= self._expected or now - self._charged.began >= LINGER_S:
            return False
        if rows != self._seen:
            self._seen, self._last_at = rows, now
        return now - self._last_at < QUIET_S

    def _charge(self, turn: Turn) -> None:
        """Take the rows that came since the last time out of their institutions' quotas."""
        charged = self._charged
        if charged.rows == len(turn):
            return
        for account, count in turn.accounts(charged.rows).items():
            account.begin(count)
            account.charge(count)
            charged.accounts[account] = charged.accounts.get(account, 0) + count
        self._calls.open += len(turn) - charged.rows
        charged.rows = len(turn)

    def _hand_over(self, turn: Turn, charged: Charged) -> None:
        own = threading.get_ident()
        here: list[SmallAnswers] = []
        returned = False

        def done(answers: SmallAnswers) -> None:
            if threading.get_ident() == own and not returned:
                here.append(answers)
            else:
                self._answered(turn, charged, answers)

        self._at_hub += 1
        try:
            self._hub.inquire_rows(SmallRows(*turn.columns()), done, here=True)
        except BaseException as error:
            self._at_hub -= 1
            translated = self._calls.disk.translate(error)
            code = code_of(translated)
            failed: Failed = {(one.code, code): (n, translated) for one, n in charged.accounts.items()}
            self._settle(charged, {code: len(turn)}, failed)
            for connection, number in turn.calls():
                connection.fail(number, "inquire", translated)
            return
        returned = True
        if here:
            self._deliver(turn, charged, self._encode(turn, here[0]))

    def _settle(self, charged: Charged, codes: dict[str, int], failed: Failed) -> None:
        """A turn's calls are answered; so many with each code, and of each institution with each that is an error."""
        ledger, seconds = self._calls.ledger, time.perf_counter() - charged.began
        for account, count in charged.accounts.items():
            account.end(seconds, count)
            self._calls.open -= count
            if seconds >= ledger.slow_s:
                ledger.tell(account, "inquire", OK, seconds, count)
        for (institution, code), (count, error) in failed.items():
            ledger.tell(ledger.quotas.account(institution), "inquire", code, seconds, count, error)
        ledger.end_many("inquire", codes, seconds)

    # -- answers

    def _answered(self, turn: Turn, charged: Charged, answers: SmallAnswers) -> None:
        """The hub has them: in a thread of its own."""
        outcomes = self._encode(turn, answers)
        # The loop may have ended meanwhile: nobody waits any more.
        with contextlib.suppress(RuntimeError):
            self._loop.call_soon_threadsafe(self._deliver, turn, charged, outcomes)

    def _encode(self, turn: Turn, answers: SmallAnswers) -> Outcomes:
        try:
            outcomes = count_outcomes(answers.status, answers.reason)
            turn.encode(answers.status, answers.rule, answers.reason, answers.received_at, answers.errors)
        except Exception:
            logger.exception("inquire: its replies could not be written")
            return None
        return outcomes

    def _deliver(self, turn: Turn, charged: Charged, outcomes: Outcomes) -> None:
        self._at_hub -= 1
        self._expected = max(len(turn), self._expected * 9 // 10)
        if len(self.intake):
            self._loop.call_soon(self.end)
        failed = turn.deliver()
        codes = {OK: len(turn) - len(failed)}
        told: Failed = {}
        for row, connection, number in failed:
            error: BaseException | None = turn.errors.get(row)
            if error is None:
                error = StorageError("inquire: expected an answer, got none", retry_safe=True)
            error = self._calls.disk.translate(error)
            code = code_of(error)
            codes[code] = codes.get(code, 0) + 1
            whose = turn.account(row).code, code
            told[whose] = told.get(whose, (0, error))[0] + 1, error
            connection.fail(number, "inquire", error)
        if outcomes is not None:
            # Rows with an error have zeros in their columns: no status of theirs.
            outcomes[0][0] -= len(failed)
            self._calls.ledger.add_outcomes(*outcomes)
        self._settle(charged, codes, told)
