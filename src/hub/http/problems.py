"""Errors as problem documents (RFC 9457): the fields of the wire's errors, with HTTP's status."""

from __future__ import annotations

import math
from http import HTTPStatus

import msgspec

from hub.errors import BusyError, CatalogError, HubError, ProofError, RequestError
from hub.wire.faults import AccessError, fault_of
from hub.wire.frames import FrameError

PROBLEM = "application/problem+json"

QUOTA = "quota: "
"""So begins what is said to an institution that has had its share (``wire/quotas.py``)."""

_STATUS = {
    RequestError.code: 400, ProofError.code: 400, CatalogError.code: 400, FrameError.code: 400, AccessError.code: 403,
    BusyError.code: 503,
}  # fmt: skip


class HttpError(RequestError):
    """What only HTTP has: nothing was changed.

    Attributes:
        status: as it is answered.
    """

    def __init__(self, status: int, message: str) -> None:
        super().__init__(message)
        self.status = status


class Problem(msgspec.Struct, omit_defaults=True, kw_only=True):
    """What failed.

    Attributes:
        title, status, detail: of RFC 9457; the detail is the error's text.
        code, retry_safe, retry_after, cause, rows: as in an error of the wire; retry_after in seconds.
    """

    title: str
    status: int
    detail: str
    code: str
    retry_safe: bool
    retry_after: float | None = None
    cause: str | None = None
    rows: list[int] = []


def problem_of(method: str, error: BaseException) -> Problem:
    """The document of an error; what is none of ours is named by its type only."""
    fault = fault_of(None, method, error)
    status = error.status if isinstance(error, HttpError) else _STATUS.get(fault.code)
    if fault.code == BusyError.code and fault.text.startswith(QUOTA):
        # Others are served all the while.
        status = 429
    if status is None:
        status = 503 if isinstance(error, HubError) and error.retry_safe else 500
    return Problem(
        title=HTTPStatus(status).phrase, status=status, detail=fault.text, code=fault.code, retry_safe=fault.retry_safe,
        retry_after=fault.retry_after, cause=fault.cause, rows=fault.rows,
    )  # fmt: skip


def headers_of(problem: Problem) -> list[tuple[str, str]]:
    """Headers beside the document: when to come again, in whole seconds, and never too early."""
    if problem.retry_after is None:
        return []
    return [("retry-after", str(math.ceil(problem.retry_after)))]


def encode_problem(problem: Problem) -> bytes:
    """The document's bytes."""
    return msgspec.json.encode(problem)
