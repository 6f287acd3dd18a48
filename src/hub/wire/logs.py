"""Diagnostics as JSON lines: what happened, in fields that a machine reads; never an alias, a person or a request id.

An exception leaves its type and the places it passed in our code, not its message: that of a foreign library may hold
what it was given.
"""

from __future__ import annotations

import datetime as dt
import logging
import sys
import traceback
from types import TracebackType
from typing import Any

import msgspec

from hub.errors import RequestError, StorageError, TamperError
from hub.wire.config import Log

SECURITY = "hub.security"
PLACES_MAX = 8


class JsonFormatter(logging.Formatter):
    """One JSON object a line: ``at``, ``level``, ``logger``, ``what``, and the fields of the event."""

    def format(self, record: logging.LogRecord) -> str:
        """The line."""
        fields: dict[str, Any] = {
            "at": dt.datetime.fromtimestamp(record.created, dt.UTC).isoformat(timespec="milliseconds"),
            "level": record.levelname.lower(),
            "logger": record.name,
        }
        if record.name == SECURITY and isinstance(record.args, tuple) and len(record.args) == 1:
            # A line of JSON of its own.
            fields.update(msgspec.json.decode(str(record.args[0])))
        else:
            fields["what"] = record.getMessage()
            fields.update(getattr(record, "fields", {}))
        if record.exc_info and record.exc_info[1] is not None:
            error = record.exc_info[1]
            ours = isinstance(error, StorageError | TamperError)
            fields["error"] = str(error) if ours else type(error).__name__
            fields["places"] = _places(error.__traceback__)
        return msgspec.json.encode(fields).decode()


def _places(trace: TracebackType | None) -> list[str]:
    """Where an exception passed, the last places last; no value of any variable."""
    passed = traceback.extract_tb(trace)[-PLACES_MAX:]
    return [f"{one.filename.rpartition('/')[2]}:{one.lineno} {one.name}" for one in passed]


def open_log(log: Log) -> logging.Handler:
    """Let all loggers write JSON lines where the configuration says; to be given to :func:`close_log`.

    Raises:
        RequestError: the file cannot be opened.
    """
    try:
        handler = logging.StreamHandler(sys.stderr) if log.file is None else logging.FileHandler(log.file, "a", "utf-8")
    except OSError as error:
        raise RequestError(f"log {log.file}: {error.strerror}") from None
    handler.setFormatter(JsonFormatter())
    # A disk without room must not fill standard error with traces of lines that it did not take.
    handler.handleError = lambda record: None  # type: ignore[method-assign]
    root = logging.getLogger()
    root.addHandler(handler)
    root.setLevel(log.level.upper())
    return handler


def close_log(handler: logging.Handler) -> None:
    """Write no more lines there."""
    logging.getLogger().removeHandler(handler)
    handler.close()
