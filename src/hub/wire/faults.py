"""Errors over the wire: the Hub's own, and those of the connection itself."""

from __future__ import annotations

import logging

from hub.errors import (
    BusyError,
    CatalogError,
    HubError,
    ProofError,
    RequestError,
    RowsError,
    StorageError,
    TamperError,
)
from hub.limits import WIRE_LIST_MAX
from hub.wire.frames import FrameError
from hub.wire.words import Fault

logger = logging.getLogger("hub")


class AccessError(RequestError):
    """This connection may not call for that institution, or calls what the wire does not have; nothing was changed."""

    code = "access"


class NotOnWireError(RequestError, AttributeError):
    """A method that only whoever runs the folder has."""


class WireError(HubError):
    """The connection failed. Unless ``retry_safe`` it is not known whether the call was done."""

    code = "wire"


class LateError(WireError, TimeoutError):
    """No answer within the caller's timeout; the hub may still do the call."""

    code = "late"


_CLASSES: dict[str, type[HubError]] = {
    cls.code: cls
    for cls in (
        RequestError, BusyError, ProofError, CatalogError, StorageError, TamperError, AccessError, FrameError, WireError
    )
}  # fmt: skip


def fault_of(number: int | None, method: str, error: BaseException) -> Fault:
    """The message for an error; what is none of ours is named by its type only."""
    if not isinstance(error, HubError):
        logger.error("%s: failed", method, exc_info=error)
        return Fault(number, StorageError.code, f"{method}: failed with {type(error).__name__}", False)
    fault = Fault(number, error.code, str(error), error.retry_safe)
    if isinstance(error, BusyError):
        fault.retry_after = error.retry_after_s
    if isinstance(error, RowsError):
        fault.cause, fault.rows = error.cause, error.rows[:WIRE_LIST_MAX]
    return fault


def error_of(fault: Fault) -> HubError:
    """The error of a message, of the class that the embedded hub would have raised."""
    if fault.cause is not None:
        return RowsError(fault.text, rows=fault.rows, cause=fault.cause)
    if fault.code == BusyError.code:
        return BusyError(fault.text, retry_after_s=fault.retry_after or 1.0)
    return _CLASSES.get(fault.code, HubError)(fault.text, retry_safe=fault.retry_safe)
