"""A hub that is served to others: the Hub's methods for its server.

Once served, a folder stays marked (``meta``, ``served``: its address): whoever holds it may no longer call what would
give one caller two aliases of a person (``acquire``, ``resolve``).
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import Any

from hub.catalog import Catalog
from hub.errors import RequestError
from hub.handles import read_handle
from hub.sealed import unseal
from hub.store import Store

SERVED = b"served"


class Serving(ABC):
    """The part of :class:`hub.Hub` that a server needs beside what its callers call."""

    _store: Store

    @property
    @abstractmethod
    def catalog(self) -> Catalog:
        """The legal basis in force in this folder."""

    def mark_served(self, address: str) -> None:
        """Mark the folder as served, for ever; whoever opens it for writing meanwhile reads where.

        Args:
            address: as clients connect to it, ``hubs://host:port``.

        Raises:
            StorageError: the disk is full or failed; then do not serve it.
        """
        with self._store.writer:
            if self.served_at() != address:
                with self._store.commit() as commit:
                    commit.put_sealed("meta", SERVED, address.encode())
        self._store.name_holder(f"served at {address}: use that")

    def served_at(self) -> str | None:
        """The address at which the folder was served last, or None: it never was."""
        with self._store.snapshot() as snapshot:
            value = snapshot.get("meta", SERVED)
        return None if value is None else unseal("meta", SERVED, value).decode("utf-8", "replace")

    def check_handle(self, institution: str, handle: Any) -> None:
        """Refuse a handle that was made for another institution; one by request id is its requester's anyway.

        Raises:
            RequestError: it was.
        """
        if isinstance(handle, bytes) and read_handle(self._store.keys, handle)[0] != (
            self.catalog.institution(institution).number
        ):
            raise RequestError("handle: expected one of this institution, got another's")
