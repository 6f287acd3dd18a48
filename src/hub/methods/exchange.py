"""The exchange between institutions: the Hub's methods for providers and for who waits for their answers.

The work is done in ``provision/collect.py``, ``provision/provide.py``, ``provision/lapse.py`` and
``provision/answers.py``; ``exchange.py`` says how a permit stands.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import Any

from hub.limits import COLLECT_ROWS
from hub.messages import Answers, Permits, Receipt
from hub.provision.answers import Answering
from hub.provision.collect import Collector, collect_all
from hub.provision.lapse import Lapser
from hub.provision.provide import Provider, decode_answers
from hub.records.log import Log


class Exchanging(ABC):
    """The part of :class:`hub.Hub` that leaves permits with providers and takes their answers."""

    _collector: Collector
    _provider: Provider
    _lapser: Lapser
    _answering: Answering

    @abstractmethod
    def _published(self) -> Log:
        """The record log."""

    @abstractmethod
    def _request_key(self, requester: str, request_id: str) -> bytes:
        """The key of a request."""

    @abstractmethod
    def _olds(self, institution: str) -> list[str]:
        """The bodies that an institution succeeded."""

    @abstractmethod
    def _check_at_work(self, institution: str) -> None:
        """Refuse a body that was succeeded."""

    @abstractmethod
    def _publish(self) -> None:
        """Make the checkpoint over all that is durable durable itself, where this process writes."""

    @abstractmethod
    def _catch_up(self) -> None:
        """Let lapse what is due, and keep what has to be read behind the inboxes small."""

    def collect(
        self, institution: str, *, limit: int = COLLECT_ROWS, after: str | None = None, manual: bool | None = None
    ) -> list[Permits]:
        """The permits that wait for an institution's answer, in an order of its own.

        At least once: who passes the last one's cursor goes on behind it; without a cursor everything that is not
        answered comes again. What lapsed is left out, and of whom the institution has no alias.

        Args:
            limit: rows over the list. after: ``cursor`` of the last :class:`Permits` that was worked through.
            manual: only those of which a clerk must decide (True) or need not (False).

        Returns:
            the permits by inquiry; an empty list where nothing waits behind the cursor.

        Raises:
            RequestError: the cursor is none of this institution's.
        """
        self._check_at_work(institution)
        self._catch_up()
        olds = self._olds(institution)
        if not olds:
            return self._collector.collect(institution, limit, after, manual)
        return collect_all(
            lambda code, rows, behind: self._collector.collect(code, rows, behind, manual),
            [institution, *olds], limit, after,
        )  # fmt: skip

    def provide(
        self,
        institution: str,
        permits: Any,
        outcomes: Any,
        payloads: Any = None,
        *,
        reasons: Any = None,
        clerk: str | None = None,
    ) -> Receipt:
        """Answer permits; part of a batch is allowed. When it returns, every answer is durable and in the log.

        The same answer again, as after a crash, is accepted and recorded no second time. Any bad row changes nothing.

        Args:
            permits: :class:`hub.Permits` or uint64[N], each once. outcomes: a ``Status`` for all, or uint8[N]:
                PROVIDED, EMPTY, NO_RECORD, REFUSED; MANUAL where a clerk must decide: everybody else sees PENDING.
            payloads: with PROVIDED, bytes or None a row, at most 64 KiB; sealed to the requester's key if it has one.
            reasons: of REFUSED one of ``hub.REFUSALS``; of NO_RECORD ``Reason.NOT_LOADED`` where the provider's data
                are not there yet, so that it cannot say that there is no such person; else 0.
            clerk: who decided. Without one the answers are a machine's: of persons whom a clerk must decide about, and
                of those whose linkage is suspended unless it refuses, they are kept as MANUAL.

        Raises:
            RequestError: a permit of another institution, one that lapsed, one that was answered otherwise, another
                count of rows, a payload that is too large or not sealed to the requester.
            StorageError: the disk failed; whole transactions of 65,536 rows may have been kept.
        """
        given = decode_answers(permits, outcomes, payloads, reasons)
        self._check_at_work(institution)
        self._catch_up()
        olds = self._olds(institution)
        if not olds:
            return self._provider.provide(institution, given, clerk)
        return self._provider.provide_all([institution, *olds], given, clerk)

    def answers(self, requester: str, request_id: str, *, first: int = 0, limit: int | None = None) -> Answers:
        """How the rows of a request stand, and what was provided, in the requester's order.

        Args:
            first, limit: only these rows of it, counted from 0: a request of millions is read in parts.

        Raises:
            RequestError: an unknown request id, or the request is not complete.
        """
        self._catch_up()
        self._publish()
        owner = self._owner_of_request(requester, request_id)
        return self._answering.answers(owner, self._request_key(owner, request_id), first, limit)

    def fetched(self, requester: str, request_id: str) -> int:
        """Say that the answers of a request have arrived: what was provided is forgotten. Statuses stay.

        Without it payloads are kept for ``limits.PAYLOAD_DAYS``.

        Returns:
            how many rows had been provided.
        """
        self._catch_up()
        owner = self._owner_of_request(requester, request_id)
        return self._answering.fetched(owner, self._request_key(owner, request_id))

    def _owner_of_request(self, requester: str, request_id: str) -> str:
        """Whose a request id is: the institution's own, or one's that it succeeded."""
        olds = self._olds(requester)
        known = (code for code in [requester, *olds] if self._answering.knows(self._request_key(code, request_id)))
        return next(known, requester) if olds else requester

    def lapse(self) -> int:
        """Record the lapse of every permit whose time is over; done by itself when the day in Japan changes.

        Returns:
            how many lapsed.
        """
        return self._lapser.lapse()
