"""Requests as they are kept, and files that are sent in parts: the Hub's methods for who comes back to ask."""

from __future__ import annotations

from abc import ABC, abstractmethod

import msgspec

from hub.catalog import Catalog
from hub.errors import RequestError
from hub.requests.groups import RequestGroups
from hub.requests.state import File, chunks_done, find_file, put_file, request_key
from hub.store import Store


class RequestStatus(msgspec.Struct, frozen=True, kw_only=True):
    """How far a request has come.

    Attributes:
        rows: of the whole request. chunks, chunks_done: durable transactions it has and that are done.
        received_at: seconds since 1970. complete: whether its answer can be had.
    """

    rows: int
    chunks: int
    chunks_done: int
    received_at: int
    complete: bool


class Filing(ABC):
    """The part of :class:`hub.Hub` that tells how far requests and files have come."""

    _store: Store
    _groups: RequestGroups

    @property
    @abstractmethod
    def catalog(self) -> Catalog:
        """The legal basis in force in this folder."""

    @abstractmethod
    def _now(self) -> int:
        """Seconds since 1970, never before the last record."""

    @abstractmethod
    def _day(self, now: int) -> str:
        """The database of today's request ids."""

    def status(self, requester: str, request_id: str) -> RequestStatus:
        """How far a request of the last 30 days has come.

        Raises:
            RequestError: this requester has no request of this id.
        """
        key = _request_key(requester, request_id)
        found = self._groups.find(key, self._now())
        if found is None:
            raise RequestError("request_id: expected one of the last 30 days, got an unknown one")
        name, request, small = found
        with self._store.snapshot() as snapshot:
            done = 1 if small is not None else sum(chunks_done(snapshot, name, key, request))
        return RequestStatus(
            rows=request.rows,
            chunks=request.chunks,
            chunks_done=done,
            received_at=request.received_at,
            complete=done == request.chunks,
        )

    def begin_file(self, requester: str, request_id: str, digest: bytes, rows_max: int) -> None:
        """Say that a file will be sent in parts under ids that begin with this one.

        Args:
            digest: SHA-256 of the question and the file. rows_max: it has no more rows than that.

        Raises:
            RequestError: another file was sent under this id in the last 30 days; nothing was changed.
        """
        key, now = _request_key(requester, request_id), self._now()
        found = find_file(self._store, key, now)
        if found is not None:
            if found[1].digest != digest:
                raise RequestError("request_id: expected the question and file that it was first used with, got others")
            return
        name = self._day(now)
        with self._store.commit() as commit:
            put_file(commit, name, key, File(digest, rows_max, now, False))

    def end_file(self, requester: str, request_id: str, rows: int) -> None:
        """Say that all parts of a file are durable, and how many rows they had.

        Raises:
            RequestError: no such file was begun.
        """
        key = _request_key(requester, request_id)
        found = find_file(self._store, key, self._now())
        if found is None:
            raise RequestError("request_id: expected a file that was begun, got an unknown one")
        name, file = found
        if not file.complete:
            with self._store.commit() as commit:
                put_file(commit, name, key, msgspec.structs.replace(file, rows_max=rows, complete=True))

    def find_file(self, requester: str, request_id: str) -> File | None:
        """What is known of a file that was sent under this id in the last 30 days."""
        found = find_file(self._store, _request_key(requester, request_id), self._now())
        return None if found is None else found[1]

    def requesters_of(self, request_id: str) -> list[str]:
        """The institutions that sent a request or a file under this id in the last 30 days."""
        keys = {_request_key(body.code, request_id): body.code for body in self.catalog.institutions()}
        return [keys[key] for key in self._groups.find_keys(list(keys), self._now())]

    def _request_key(self, requester: str, request_id: str) -> bytes:
        return _request_key(requester, request_id)


def _request_key(requester: str, request_id: str) -> bytes:
    for name, text in (("requester", requester), ("request_id", request_id)):
        if not isinstance(text, str):
            raise RequestError(f"{name}: expected text, got {type(text).__name__}")
    return request_key(requester, request_id)
