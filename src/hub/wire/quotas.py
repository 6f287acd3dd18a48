"""Quotas: how much each institution may ask of a server, so that one's flood is not everybody's.

Three bounds an institution: rows a second, bytes in flight, open requests. Rows are a bucket that fills at
``rows_per_s`` up to ``burst_rows``. A call may start while there is something in it, however many rows it has, and they
are taken out of it: below zero it is a debt that is paid off before the next call starts. So a call of any size is
possible, and over time nobody has more rows than the quota. In the same way one call may have more bytes than the
quota, while no other of that institution has any.

Whoever meets a bound gets BUSY with the time after which there is room; nothing was changed. A platform that carries
many institutions is charged by institution. For the loop's thread.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Annotated

import msgspec

from hub.errors import BusyError, RequestError
from hub.limits import CALLS_WAITING_MAX, ROWS_WAITING_MAX

DEFAULT = "default"
BURST_S = 10
"""A bucket holds so many seconds' rows where the configuration says nothing else."""

OPEN_REQUESTS = CALLS_WAITING_MAX // 4
"""Open requests of one institution without a quota: four that flood do not fill the queue of small inquiries."""

GATHERED_ROWS_MAX = ROWS_WAITING_MAX // 4
"""Rows of one institution's small inquiries that wait together, for the same reason."""

WAIT_MIN_S, WAIT_MAX_S = 0.05, 30.0
KINDS = ("rows", "bytes", "requests")
MEAN_OF = 16
"""Calls over which the mean time of one is taken, about."""

_Count = Annotated[int, msgspec.Meta(ge=1)]


class Quota(msgspec.Struct, forbid_unknown_fields=True, frozen=True, kw_only=True):
    """Of one institution, or of all that have none of their own; what is left out is the default's.

    Attributes:
        rows_per_s: rows of calls and replies, whichever are more. burst_rows: at once; default: ten seconds' rows.
        bytes_in_flight: of its long calls and replies, together. open_requests: calls that are not answered yet.
    """

    rows_per_s: _Count | None = None
    burst_rows: _Count | None = None
    bytes_in_flight: _Count | None = None
    open_requests: _Count | None = None


class Account:
    """What one institution has asked for lately."""

    __slots__ = (
        "_at", "_burst", "_bytes_max", "_clock", "_level", "_open_max", "_rate", "bytes", "code", "gathered", "mean_s",
        "open", "refused", "takes", "told", "told_at",
    )  # fmt: skip

    def __init__(self, code: str, quota: Quota, clock: Callable[[], float]) -> None:
        self.code, self._clock = code, clock
        self._rate, self._bytes_max, self._open_max = quota.rows_per_s, quota.bytes_in_flight, quota.open_requests
        self._burst = quota.burst_rows or BURST_S * (quota.rows_per_s or 0)
        self._level, self._at = float(self._burst), clock()
        self.open = self.bytes = self.gathered = 0
        """Calls that are not answered, bytes in flight, rows that wait for a shared commit."""
        self.takes = True
        """Whether single inquiries are taken together without another look; where not, each is looked at by itself."""
        self.mean_s = 0.1
        self.refused = [0] * len(KINDS)
        """Calls that met the bound of each kind."""
        self.told = self.told_at = 0
        """Lines about it in the log of this second."""

    def __repr__(self) -> str:
        return f"Account({self.code}, open={self.open})"

    def admit(self) -> None:
        """Refuse a call that may not start now.

        Raises:
            BusyError: too many requests of it are open, or it has had its rows.
        """
        if self._open_max is not None and self.open >= self._open_max:
            self.refused[2] += 1
            raise BusyError("quota: too many open requests of this institution", retry_after_s=self._next_end())
        if self._rate is not None:
            now = self._clock()
            self._level = min(self._burst, self._level + self._rate * (now - self._at))
            self._at = now
            if self._level <= 0:
                self.refused[0] += 1
                wait = (1 - self._level) / self._rate
                raise BusyError("quota: too many rows a second of this institution", retry_after_s=wait)
        self.takes = True

    def reserve(self, size: int) -> None:
        """Refuse bytes that are to come.

        Raises:
            BusyError: there are too many of it in flight.
        """
        if self._bytes_max is not None and self.bytes and self.bytes + size > self._bytes_max:
            self.refused[1] += 1
            raise BusyError("quota: too many bytes in flight of this institution", retry_after_s=self._next_end())

    def gather(self, rows: int) -> None:
        """Refuse a small inquiry where so many rows of it wait already.

        Raises:
            BusyError: they do.
        """
        if self.gathered + rows > GATHERED_ROWS_MAX:
            self.refused[2] += 1
            raise BusyError("quota: too many open requests of this institution", retry_after_s=self._next_end())

    def charge(self, rows: int) -> None:
        """Take rows out of the bucket, which may be a debt then."""
        if self._rate is not None:
            self._level -= rows
            if self._level <= 0:
                self.takes = False

    def begin(self, calls: int = 1) -> None:
        """A call is begun, or several together."""
        self.open += calls
        if self._open_max is not None and self.open >= self._open_max:
            self.takes = False

    def end(self, seconds: float, calls: int = 1) -> None:
        """A call has been answered, so long after it was begun; or several."""
        self.open -= calls
        self.mean_s += (seconds - self.mean_s) / MEAN_OF

    def _next_end(self) -> float:
        """When the next of its open calls is answered, as far as anybody can tell: seconds."""
        return min(max(self.mean_s / max(self.open, 1), WAIT_MIN_S), WAIT_MAX_S)


class Quotas:
    """The accounts of one server."""

    def __init__(self, quotas: dict[str, Quota], bytes_in_flight: int, clock: Callable[[], float]) -> None:
        """Args: bytes_in_flight: of the whole server; where nothing else is said no institution has more than half."""
        self._clock = clock
        first = Quota(bytes_in_flight=max(bytes_in_flight // 2, 1), open_requests=OPEN_REQUESTS)
        self._default = _over(first, quotas.get(DEFAULT, Quota()))
        self._own = {code: _over(self._default, quota) for code, quota in quotas.items() if code != DEFAULT}
        self.accounts: dict[str, Account] = {}

    def __repr__(self) -> str:
        return f"Quotas(accounts={len(self.accounts)})"

    def account(self, code: str) -> Account:
        """An institution's account; made when it first calls, so only for one that there is."""
        found = self.accounts.get(code)
        if found is None:
            found = self.accounts[code] = Account(code, self._own.get(code, self._default), self._clock)
        return found


def _over(quota: Quota, own: Quota) -> Quota:
    """A quota with what another one says itself."""
    said = {name: value for name in own.__struct_fields__ if (value := getattr(own, name)) is not None}
    if "rows_per_s" in said and "burst_rows" not in said:
        # A burst belongs to its rate.
        said["burst_rows"] = None
    return msgspec.structs.replace(quota, **said)


def check_quotas(quotas: dict[str, Quota], codes: Iterable[str]) -> None:
    """Refuse quotas of institutions that there are not.

    Raises:
        RequestError: there is one; it is named.
    """
    known = set(codes)
    for code, quota in quotas.items():
        if code != DEFAULT and code not in known:
            raise RequestError(f"config: expected the code of an institution in [quotas], got {code}")
        if quota.burst_rows is not None and quota.rows_per_s is None:
            raise RequestError(f"config: expected rows_per_s with burst_rows in [quotas.{code}], got none")
