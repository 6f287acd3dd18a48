"""Inquiries of one row each, as columns: what whoever receives many calls hands to the gatherer (``gather.py``).

Calls differ in request id, alias and provider; the words around them come again and again. They are a
:class:`Question`, made once; everything that is a row's own travels as a column, and so do the answers.
"""

from __future__ import annotations

import hashlib
from typing import Any, NamedTuple

import msgspec
import numpy as np
import numpy.typing as npt

from hub.errors import HubError
from hub.messages import Aliases, Inquiry

_PLACE = "\x01\x02\x03\x04\x05\x06\x07\x08"
"""Stands for the request id while a question is cut there: no word of an inquiry has a control character."""


class Question:
    """What inquiries have in common but for their request ids and rows.

    Attributes:
        inquiry: checked, its items a tuple, its request id empty. requester: institution number.
        before, after: what the digest of :class:`hub.requests.state.Request` takes in around the request id's
        MessagePack, up
            to the rows: SHA-256 of before ‖ id (MessagePack str) ‖ after ‖ 16 bytes of the alias ‖ u32 provider, little
            endian; where the person consented ‖ "consents" ‖ a byte of 1.
    """

    __slots__ = ("after", "before", "inquiry", "requester")

    def __init__(self, inquiry: Inquiry, requester: int) -> None:
        """For an inquiry that ``decode`` has checked."""
        self.inquiry = msgspec.structs.replace(inquiry, request_id="")
        self.requester = requester
        encoded = msgspec.msgpack.encode((msgspec.structs.replace(inquiry, request_id=_PLACE), None))
        place = msgspec.msgpack.encode(_PLACE)
        before, after = encoded.split(place)
        self.before = b"hub/request/1" + before
        self.after = after + (1).to_bytes(8, "little")

    def __repr__(self) -> str:
        return "Question()"

    def digest(self, request_id: str, alias: bytes, provider: int, *, consent: bool = False) -> bytes:
        """The digest of the request of one row, as ``decode_inquiry`` makes it."""
        parts = [self.before, msgspec.msgpack.encode(request_id), self.after, alias, provider.to_bytes(4, "little")]
        if consent:
            parts.append(b"consents\x01")
        return hashlib.sha256(b"".join(parts)).digest()


class SmallRows(NamedTuple):
    """N inquiries of one row each, of any requesters.

    Attributes:
        questions: at most 65,535. which: uint32[N], places in ``questions``.
        aliases: uint8[N, 16], the requesters'. providers: uint32[N] institution numbers; untrusted both.
        keys: uint8[N, 16], of ``requests.request_key``. digests: uint8[N, 32], of :meth:`Question.digest`.
        consents: uint8[N], 1 where the person consented, or None: nobody did.
    """

    questions: list[Question]
    which: npt.NDArray[np.uint32]
    aliases: Aliases
    providers: npt.NDArray[np.uint32]
    keys: npt.NDArray[np.uint8]
    digests: npt.NDArray[np.uint8]
    consents: npt.NDArray[np.uint8] | None = None

    def __repr__(self) -> str:
        return f"SmallRows(rows={len(self.which)})"


class SmallAnswers(NamedTuple):
    """What becomes of :class:`SmallRows`, in their order.

    Attributes:
        status: uint8[N]. rule: uint32[N]. reason: uint8[N]. received_at: int64[N], seconds since 1970.
        errors: of those rows that have no answer, what stands instead; their other fields are 0.
    """

    status: npt.NDArray[np.uint8]
    rule: npt.NDArray[np.uint32]
    reason: npt.NDArray[np.uint8]
    received_at: npt.NDArray[np.int64]
    errors: dict[int, HubError]

    @property
    def columns(self) -> tuple[npt.NDArray[Any], ...]:
        """What there is of every row."""
        return self.status, self.rule, self.reason, self.received_at

    def __repr__(self) -> str:
        return f"SmallAnswers(rows={len(self.status)}, errors={len(self.errors)})"


def no_answers(rows: int) -> SmallAnswers:
    """Room for the answers of so many rows."""
    return SmallAnswers(
        np.zeros(rows, np.uint8), np.zeros(rows, np.uint32), np.zeros(rows, np.uint8), np.zeros(rows, np.int64), {}
    )


def check_rows(rows: SmallRows) -> str | None:
    """What is wrong with the form of some columns, or None: kernels read them without another look."""
    n = len(rows.which)
    wanted: list[tuple[str, Any, type, tuple[int, ...]]] = [
        ("which", rows.which, np.uint32, (n,)),
        ("aliases", rows.aliases, np.uint8, (n, 16)),
        ("providers", rows.providers, np.uint32, (n,)),
        ("keys", rows.keys, np.uint8, (n, 16)),
        ("digests", rows.digests, np.uint8, (n, 32)),
    ]
    if rows.consents is not None:
        wanted.append(("consents", rows.consents, np.uint8, (n,)))
    for name, column, kind, shape in wanted:
        if column.dtype != kind or column.shape != shape or not column.flags.c_contiguous:
            return f"{name}: expected {np.dtype(kind)}{list(shape)}, got {column.dtype}{list(column.shape)}"
    if len(rows.questions) > 0xFFFF or (n and int(rows.which.max()) >= len(rows.questions)):
        return "which: expected places of at most 65535 questions, got others"
    return None
