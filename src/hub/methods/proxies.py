"""Proxies (代理人): the Hub's methods by which one citizen acts for another in the portal; see docs/proxies.md.

The work is done in ``citizens/proxies.py``.
"""

from __future__ import annotations

import datetime as dt
from abc import ABC, abstractmethod
from collections.abc import Callable
from typing import Any

from hub.citizens.proxies import KINDS, Principal, Proxies, Proxy, check_label
from hub.citizens.proxystate import ProxyKind, ProxyState
from hub.errors import RequestError
from hub.limits import HISTORY_LIMIT
from hub.messages import History
from hub.protection.withholding import check_clerk
from hub.storage.snapshot import Snapshot
from hub.store import Store


class Proxying(ABC):
    """The part of :class:`hub.Hub` for those who act for others."""

    _store: Store
    _proxies: Proxies

    @abstractmethod
    def _find_citizen(self, snapshot: Snapshot, portal_alias: Any) -> int:
        """The person of a portal alias."""

    @abstractmethod
    def _read_history(
        self, find: Callable[[Snapshot], int], options: dict[str, Any], *, leave_out: frozenset[int] = frozenset()
    ) -> History:
        """A page of a person's records, but for some kinds."""

    # -- the principal

    def grant_proxy(
        self, portal_alias: Any, agent_alias: Any, kind: ProxyKind, *, label: str, called: str,
        until: dt.date | None = None, clerk: str | None = None,
    ) -> bytes:  # fmt: skip
        """Let somebody act for a person from now on; the person's history says so.

        The same call again adds nothing; with other words, or where it waits for confirmation, the proxy has these
        terms from then on.

        Args:
            portal_alias, agent_alias: the two, by their aliases at the portal.
            label: how the person calls the agent; called: how the agent calls the person. 1 to 50 characters.
            until: the first day (in Japan) on which it is over; None = open. One by law has such a day, 15 years ahead
                at most: the child's 15th birthday, or the day on which a guardian shows the appointment anew.
            clerk: of the portal, for auditors.

        Returns:
            16 bytes by which the person names the proxy.

        Raises:
            RequestError: an alias is not one of the portal's, it is the same person, too many, or another form.
            StorageError: the disk is full or failed; nothing was granted.
        """
        check_clerk("clerk", clerk)
        if not isinstance(kind, ProxyKind):
            raise RequestError(f"kind: expected hub.ProxyKind, got {type(kind).__name__}")
        if until is not None and (not isinstance(until, dt.date) or isinstance(until, dt.datetime)):
            raise RequestError(f"until: expected a date or None, got {type(until).__name__}")
        check_label("label", label)
        check_label("called", called)
        principal, agent = self._citizen(portal_alias), self._citizen(agent_alias)
        return self._proxies.grant(principal, agent, kind, label, called, until, clerk)

    def proxies(self, portal_alias: Any) -> list[Proxy]:
        """Who may act for a person, oldest first; those that wait for confirmation among them.

        It does not tell whether they rest because the person is protected: whoever looks over the shoulder may be one.
        """
        with self._store.snapshot() as snapshot:
            return self._proxies.proxies(snapshot, self._find_citizen(snapshot, portal_alias))

    def revoke_proxy(self, portal_alias: Any, handle: bytes, *, clerk: str | None = None) -> bool:
        """End a proxy, from the next call on; the agent is not told. The person's history says so.

        Args:
            portal_alias: the person's, with a handle of ``proxies``; or the agent's, with one of ``principals``.

        Returns:
            whether this call ended one; False: there is none (any more).
        """
        check_clerk("clerk", clerk)
        return self._proxies.revoke(self._citizen(portal_alias), handle, clerk)

    def question_proxies(self, portal_alias: Any, *, clerk: str | None = None) -> int:
        """Let all proxies of a person rest until they are confirmed, as when the card was renewed; how many changed."""
        check_clerk("clerk", clerk)
        return self._proxies.set_state(self._citizen(portal_alias), ProxyState.TO_CONFIRM, clerk)

    def confirm_proxies(self, portal_alias: Any, *, clerk: str | None = None) -> int:
        """Confirm all proxies that wait for it; revoke those first that are not to be. Returns how many changed."""
        check_clerk("clerk", clerk)
        return self._proxies.set_state(self._citizen(portal_alias), ProxyState.IN_FORCE, clerk)

    # -- the agent

    def principals(self, agent_alias: Any) -> list[Principal]:
        """For whom a citizen may act now, each by a handle made for this agent and this person; oldest grant first."""
        with self._store.snapshot() as snapshot:
            return self._proxies.principals(snapshot, self._find_citizen(snapshot, agent_alias))

    def proxy_history(
        self,
        agent_alias: Any,
        handle: bytes,
        *,
        since: dt.datetime | dt.date | None = None,
        until: dt.datetime | dt.date | None = None,
        institution: str | None = None,
        procedure: str | None = None,
        limit: int = HISTORY_LIMIT,
        cursor: str | None = None,
    ) -> History:
        """The history of a person, as their proxy may read it.

        That it was read is a record of the person's before anything is read, one for all pages of a quarter of an hour
        (``limits.PROXY_VIEW_S``). Records of proxies are left out, and no correction can be asked for with it.

        Args:
            handle: of :meth:`principals`. The others: as in ``history``.

        Raises:
            RequestError: the handle is of nobody for whom this one may act (now), whatever the reason.
            StorageError: the record could not be kept; nothing was read.
        """

        def find_agent(snapshot: Snapshot) -> int:
            return self._find_citizen(snapshot, agent_alias)

        self._proxies.note_view(find_agent, handle)
        options: dict[str, Any] = {
            "since": since, "until": until, "institution": institution, "procedure": procedure,
            "limit": limit, "cursor": cursor,
        }  # fmt: skip
        # In the snapshot that is read it must still be so.
        return self._read_history(
            lambda snapshot: self._proxies.principal_of(snapshot, find_agent(snapshot), handle),
            options,
            leave_out=KINDS,
        )

    def _citizen(self, portal_alias: Any) -> int:
        with self._store.snapshot() as snapshot:
            return self._find_citizen(snapshot, portal_alias)
