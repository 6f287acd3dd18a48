"""What an answer holds, for a clerk to read: opened with the institution's key, and taken apart where it has a form."""

from __future__ import annotations

import hashlib
from typing import Any, NamedTuple

import msgspec

from hub.errors import RequestError
from hub.provision.payloads import MAGIC, open_payload

TEXT_KEY = "回答"
"""The name under which an answer by hand stands, item by item, in the form that an agency's register answers in."""


class Content(NamedTuple):
    """An answer.

    Attributes:
        tables: of each item its (name, value) pairs; text: what has no such form; both empty: neither can be shown.
        size: bytes, sha256: hex, of what was opened. closed: it is sealed and this desk has no key for it.
    """

    tables: list[tuple[str, list[tuple[str, str]]]]
    text: str
    size: int
    sha256: str
    closed: bool

    def __repr__(self) -> str:
        return f"Content({self.size} bytes)"


def read_content(payload: bytes, private_key: bytes | None) -> Content:
    """What a payload holds."""
    closed = False
    if payload.startswith(MAGIC):
        try:
            payload = open_payload(private_key or b"", payload)
        except RequestError:
            closed = True
    digest = hashlib.sha256(payload).hexdigest()
    if closed:
        return Content([], "", len(payload), digest, True)
    tables = _read_tables(payload)
    text = "" if tables else _read_text(payload)
    return Content(tables, text, len(payload), digest, False)


def write_content(texts: dict[str, str]) -> bytes:
    """An answer by hand: item -> text."""
    return msgspec.msgpack.encode({item: {TEXT_KEY: text} for item, text in texts.items()})


def _read_tables(payload: bytes) -> list[tuple[str, list[tuple[str, str]]]]:
    try:
        found: dict[str, dict[str, Any]] = msgspec.msgpack.decode(payload, type=dict[str, dict[str, Any]])
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return []
    return [
        (item, [(name, "" if one is None else str(one)) for name, one in some.items()]) for item, some in found.items()
    ]


def _read_text(payload: bytes) -> str:
    try:
        text = payload.decode()
    except UnicodeDecodeError:
        return ""
    return text if all(one.isprintable() or one in "\n\r\t\u3000" for one in text) else ""
