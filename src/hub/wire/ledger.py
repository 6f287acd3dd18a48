"""What a server counts of its calls: by method and outcome, rows, time, refusals. Plain numbers, collected elsewhere.

A call costs two additions to dicts and one search in a list of bounds. Nothing here is about anybody: methods, codes,
codes of institutions, numbers. For the loop's thread; who reads it may be another.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from typing import Any

import numpy as np
import numpy.typing as npt

from hub.errors import HubError, StorageError, TamperError
from hub.messages import Answer, Reason, Sent, Status
from hub.storage.times import Times
from hub.storage.turns import no_rest
from hub.wire.methods import METHODS
from hub.wire.quotas import Account, Quotas

SMALL, BULK = "small", "bulk"
OK = "ok"
OTHER = "other"
"""What stands for a method that the wire has not."""

TOLD_PER_S = 10
"""Lines a second about one institution's failed and slow calls; the rest is counted in the next one."""

COUNTED_ROWS = 1 << 16
STATUSES, REASONS = max(Status) + 1, max(Reason) + 1

Outcomes = tuple[list[int], list[int]] | None
"""Rows by number of their status, and of their reason; None of what has none."""

FEW_ROWS = 16
"""Up to so many a loop is faster than numpy."""

logger = logging.getLogger("hub.calls")


class Ledger:
    """The counts of one server.

    Attributes:
        done: method -> code -> calls. rows: method -> rows of calls that were done.
        times: of calls by where they were done (small, medium, bulk), from their last byte to the reply.
        statuses, reasons: rows of answers by number of ``hub.Status`` and ``hub.Reason``.
        connections: accepted, ever.
    """

    def __init__(self, quotas: Quotas, *, slow_s: float = 1.0, slow_bulk_s: float = 60.0) -> None:
        self.quotas = quotas
        self.done: dict[str, dict[str, int]] = {}
        self.rows: dict[str, int] = {}
        self.times = {kind: Times() for kind in (SMALL, "medium", BULK, "pages")}
        self.statuses, self.reasons = [0] * STATUSES, [0] * REASONS
        self.connections = 0
        self.slow_s, self._slow_bulk_s = slow_s, slow_bulk_s

    def __repr__(self) -> str:
        return f"Ledger(calls={self.calls})"

    @property
    def calls(self) -> int:
        """All that there were."""
        return sum(sum(codes.values()) for codes in self.done.values())

    def count(self, name: str, code: str) -> None:
        """A call of a method came to this."""
        codes = self.done.get(name)
        if codes is None:
            codes = self.done[name] = {}
        codes[code] = codes.get(code, 0) + 1

    def refuse(self, name: str, error: HubError) -> None:
        """A call was refused before anything of it was kept."""
        self.count(name if name in METHODS else OTHER, error.code)

    def end(
        self, account: Account, name: str, error: BaseException | None, began: float, rows: int, kind: str
    ) -> None:
        """A call that was begun at ``began`` (``time.perf_counter``) is answered, or has failed with an error."""
        code = OK if error is None else code_of(error)
        seconds = time.perf_counter() - began
        self.count(name, code)
        self.times[kind].add(seconds)
        account.end(seconds)
        if code == OK:
            self.rows[name] = self.rows.get(name, 0) + rows
            if seconds < (self._slow_bulk_s if kind == BULK else self.slow_s):
                return
        self.tell(account, name, code, seconds, rows, error)

    def end_many(self, name: str, codes: dict[str, int], seconds: float) -> None:
        """Small calls of one row each that were done together are answered; so many with each code."""
        done = self.done.setdefault(name, {})
        for code, count in codes.items():
            if count:
                done[code] = done.get(code, 0) + count
        self.rows[name] = self.rows.get(name, 0) + codes.get(OK, 0)
        self.times[SMALL].add(seconds, sum(codes.values()))

    def tell(
        self, account: Account, name: str, code: str, seconds: float, rows: int, error: BaseException | None = None
    ) -> None:
        """Write a line about a call that failed or was slow; of a flood of them only a few."""
        second = int(time.monotonic())
        if account.told_at != second:
            account.told_at, account.told, left_out = second, 0, max(0, account.told - TOLD_PER_S)
        else:
            left_out = 0
        account.told += 1
        if account.told > TOLD_PER_S:
            return
        own = code in (StorageError.code, TamperError.code)
        level = logging.ERROR if own else logging.WARNING if code == OK else logging.INFO
        fields: dict[str, Any] = {
            "code": code, "method": name, "institution": account.code, "ms": round(1000 * seconds, 1), "rows": rows,
        }  # fmt: skip
        if own and error is not None:
            # Its caller may have gone: then nobody else ever reads why.
            fields["cause"] = str(error) if isinstance(error, HubError) else type(error).__name__
        if left_out:
            fields["left_out"] = left_out
        logger.log(level, "slow call" if code == OK else "failed call", extra={"fields": fields})

    def add_outcomes(self, statuses: list[int], reasons: list[int]) -> None:
        """Rows by number of their status and of their reason."""
        for number, rows in enumerate(statuses):
            if rows:
                self.statuses[number] += rows
        for number, rows in enumerate(reasons):
            if rows:
                self.reasons[number] += rows

    def add_answer(self, answer: Answer) -> None:
        """Rows of a small inquiry's answer."""
        if len(answer.status) > FEW_ROWS:
            self.add_outcomes(*count_outcomes(answer.status, answer.reason))
            return
        status, reason = answer.status.tolist(), answer.reason.tolist()
        for number in status:
            self.statuses[number] += 1
        for number in reason:
            self.reasons[number] += 1


def outcomes_of(found: Any, rest: Callable[[], None] = no_rest) -> Outcomes:
    """How many rows of an answer have each status and each reason; None of what is no answer."""
    return count_outcomes(found.status, found.reason, rest) if isinstance(found, Answer | Sent) else None


def count_outcomes(
    status: npt.NDArray[np.uint8], reason: npt.NDArray[np.uint8], rest: Callable[[], None] = no_rest
) -> tuple[list[int], list[int]]:
    """How many rows have each status, and each reason."""
    statuses, reasons = np.zeros(STATUSES, np.int64), np.zeros(REASONS, np.int64)
    # In pieces: over ten million rows at once the loop would wait for the interpreter.
    for first in range(0, len(status), COUNTED_ROWS):
        rows = slice(first, first + COUNTED_ROWS)
        statuses += np.bincount(status[rows], minlength=STATUSES)
        reasons += np.bincount(reason[rows], minlength=REASONS)
        if len(status) > COUNTED_ROWS:
            rest()
    return statuses.tolist(), reasons.tolist()


def code_of(error: BaseException) -> str:
    """The code of an error as its caller reads it."""
    return error.code if isinstance(error, HubError) else StorageError.code
