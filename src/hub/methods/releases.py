"""Held rows: the Hub's method with which another clerk lets one through; the rule stands in ``protection/asked.py``."""

from __future__ import annotations

from abc import ABC
from typing import Any

from hub.protection.releases import Releases


class Releasing(ABC):
    """The part of :class:`hub.Hub` that releases rows that were held."""

    _releases: Releases

    def release(self, handle: Any, reason: str, *, clerk: str, requester: str | None = None) -> bytes:
        """Release a row whose status is HELD: the provider is asked after all.

        The answer of the inquiry stays what it was; the release is a record of its own, behind the held one in the
        person's history and with the reason in it, and the permit leaves from it. Released again, nothing is added.

        Args:
            handle: ``(request_id, row)``, row counted from 0, or one of ``handles``; a row of the last 30 days.
            reason: why so many bodies must be asked; the person reads it.
            clerk: who releases it: another than the inquiry's operator, where it named one.
            requester: whose request id it is.

        Returns:
            the requester's handle of the release.

        Raises:
            RequestError: the handle names no held row of this requester's, or the clerk is the one who asked.
        """
        return self._releases.release(handle, reason, clerk, requester)
