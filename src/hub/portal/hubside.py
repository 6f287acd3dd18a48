"""The hub as the portal sees it: the few methods that a citizen's pages need, and no other.

``ALLOWED`` is the whole list, and ``HubSideClient.look`` the one way to ask an institution anything: for own data of
who is signed in, which the server holds as well (``wire/bounds.py``). ``tests/portal`` reads this package's source and
finds no other call. The connection's certificate must carry ``portal`` and nothing else.
"""

from __future__ import annotations

import asyncio
import logging
import time
from typing import Any

import numpy as np

import hub.aio
from hub.catalog import Catalog
from hub.errors import BusyError, HubError, StorageError, TamperError
from hub.messages import OWN_DATA, Inquiry
from hub.portal.config import HubSide
from hub.wire.faults import AccessError, WireError

PORTAL = "portal"
OWN_ROLE, OWN_SECTION = "本人", "わたしの情報"
"""As whose information own data are asked for, and which section's the question is."""

ALLOWED = frozenset({
    "history", "notices", "disclosure_keys", "ask_correction",
    "grant_proxy", "proxies", "revoke_proxy", "question_proxies", "confirm_proxies", "principals", "proxy_history",
    "identify", "checkpoint", "consistency", "answers", "fetched", "payload_key", "news",
    "consents", "withdraw_consent", "give_consent",
})  # fmt: skip
"""Methods of the hub that the portal calls."""

CATALOG_S = 3_600.0
"""Names and laws of the catalog may be so old; which law allowed a question stands in its record."""
RETRY_S = 1.0
"""After a failed connection nobody tries again for so long: pages say at once that the hub is away."""

logger = logging.getLogger("hub.portal")


class HubAwayError(Exception):
    """The hub does not answer (now). Holds nothing of what was asked."""


class HubSideClient:
    """Calls the hub; made once, used in one loop."""

    def __init__(self, config: HubSide, institution: str = PORTAL, allowed: frozenset[str] = ALLOWED) -> None:
        """Args: institution: the one whose certificate it has. allowed: methods that it calls."""
        self._config, self._institution, self._allowed = config, institution, allowed
        self._remote: Any = None
        self._connecting = asyncio.Lock()
        self._failed_at = float("-inf")
        self._catalog: tuple[float, Catalog] | None = None
        self._key: str | None = None

    def __repr__(self) -> str:
        return f"HubSideClient(connected={self._remote is not None})"

    async def call(self, method: str, /, *args: Any, **kwargs: Any) -> Any:
        """Call one of those allowed.

        Raises:
            HubAwayError: no answer, or the hub cannot answer now. RequestError: it refuses.
        """
        if method not in self._allowed:
            raise PermissionError(f"{method}: expected a method that {self._institution} may call here, got another")
        remote = await self._connect()
        try:
            return await getattr(remote, method)(*args, **kwargs)
        except (WireError, AccessError, StorageError, TamperError, BusyError, OSError) as error:
            raise self._away(error) from None

    async def look(self, alias: bytes, institution: str, procedure: str, item: str, request_id: str) -> None:
        """Ask an institution for own data of who is signed in; the answer is fetched by ``answers``.

        Raises:
            HubAwayError: no answer, or the hub cannot answer now. RequestError: it refuses.
        """
        if not procedure.startswith(OWN_DATA):
            raise PermissionError("procedure: expected one for own data, got another")
        inquiry = Inquiry(
            requester=PORTAL, procedure=procedure, items=(item,), role=OWN_ROLE, section=OWN_SECTION,
            request_id=request_id,
        )  # fmt: skip
        remote = await self._connect()
        try:
            await remote.inquire(inquiry, np.frombuffer(alias, np.uint8).reshape(1, -1), institution)
        except (WireError, AccessError, StorageError, TamperError, BusyError, OSError) as error:
            raise self._away(error) from None

    async def catalog(self) -> Catalog:
        """Institutions, procedures and rules, for their names."""
        now = time.monotonic()
        if self._catalog is None or now - self._catalog[0] > CATALOG_S:
            remote = await self._connect()
            try:
                self._catalog = now, await remote.catalog
            except (HubError, OSError) as error:
                if self._catalog is None:
                    raise self._away(error) from None
        return self._catalog[1]

    async def verifier_key(self) -> str:
        """The log's public key; it never changes."""
        if self._key is None:
            remote = await self._connect()
            try:
                self._key = await remote.verifier_key
            except (HubError, OSError) as error:
                raise self._away(error) from None
        return self._key

    async def close(self) -> None:
        """Close the connections."""
        if self._remote is not None:
            remote, self._remote = self._remote, None
            await remote.close()

    async def _connect(self) -> Any:
        if self._remote is not None:
            return self._remote
        async with self._connecting:
            if self._remote is not None:
                return self._remote
            if time.monotonic() - self._failed_at < RETRY_S:
                raise HubAwayError
            one = self._config
            try:
                remote = await hub.aio.connect(
                    one.address, cert=one.certificate, key=one.key, ca=one.ca, timeout=one.timeout_s
                )
            except (HubError, OSError) as error:
                self._failed_at = time.monotonic()
                raise self._away(error) from None
            if remote.institutions != [self._institution]:
                await remote.close()
                self._failed_at = time.monotonic()
                logger.error("hub: expected a certificate for %s alone, got one for others", self._institution)
                raise HubAwayError
            self._remote = remote
        return self._remote

    def _away(self, error: Exception) -> HubAwayError:
        # Codes are the hub's own words; messages of a broken connection name hosts and ports, nobody else.
        logger.warning("hub away: %s", getattr(error, "code", type(error).__name__))
        return HubAwayError()
