"""The messages of the wire: MessagePack arrays whose first element says which it is.

The numbers are never reused. A client numbers its calls as it likes, as long as two that are open have not the same;
frames of several calls may stand in any order, each call's own in theirs.
"""

from __future__ import annotations

from typing import Annotated, Any

import msgspec

from hub.limits import INSTITUTION_CODE_CHARS_MAX, WIRE_CALL_BYTES_MAX, WIRE_LIST_MAX, WIRE_REPLY_BYTES_MAX
from hub.wire.frames import FrameError

U32 = Annotated[int, msgspec.Meta(ge=0, lt=1 << 32)]
_Code = Annotated[str, msgspec.Meta(max_length=INSTITUTION_CODE_CHARS_MAX)]
_Name = Annotated[str, msgspec.Meta(max_length=64)]


class Hello(msgspec.Struct, array_like=True, tag=1, forbid_unknown_fields=True):
    """Client, first: versions that it speaks; name and version of its software, for diagnostics."""

    versions: Annotated[list[Annotated[int, msgspec.Meta(ge=1, lt=256)]], msgspec.Meta(min_length=1, max_length=16)]
    agent: Annotated[str, msgspec.Meta(max_length=100)]


class Welcome(msgspec.Struct, array_like=True, tag=2, forbid_unknown_fields=True):
    """Server, first.

    Attributes:
        version: spoken from the next frame on, in both directions. frame_bytes, requests: what it takes at most of a
            frame, and of calls that are open.
        institutions: codes of those for which this connection may call.
    """

    version: int
    frame_bytes: int
    requests: int
    institutions: list[str]


class Call(msgspec.Struct, array_like=True, tag=3, forbid_unknown_fields=True):
    """Client: call a method for an institution.

    Attributes:
        number: the client's own. institution: code of who calls. method: its name in ``methods.py``.
        progress: whether :class:`Progress` is wanted.
        size: bytes of the arguments. body: of them the first ones; if they are not all, :class:`Part` brings the rest.
    """

    number: U32
    institution: _Code
    method: _Name
    progress: bool
    size: Annotated[int, msgspec.Meta(ge=0, le=WIRE_CALL_BYTES_MAX)]
    body: memoryview


class Part(msgspec.Struct, array_like=True, tag=4, forbid_unknown_fields=True):
    """Either: the next bytes of a call's arguments, or of a reply."""

    number: U32
    body: memoryview


class Reply(msgspec.Struct, array_like=True, tag=5, forbid_unknown_fields=True):
    """Server: what a call came to; size and body as of :class:`Call`."""

    number: U32
    size: Annotated[int, msgspec.Meta(ge=0, le=WIRE_REPLY_BYTES_MAX)]
    body: memoryview


class Fault(msgspec.Struct, array_like=True, tag=6, forbid_unknown_fields=True):
    """Server: a call failed; with number None the connection did, and ends.

    Attributes:
        code, text, retry_safe: of :class:`hub.errors.HubError`. retry_after: seconds, of ``busy``.
        cause, rows: of :class:`hub.errors.RowsError`.
    """

    number: U32 | None
    code: _Name
    text: str
    retry_safe: bool
    retry_after: float | None = None
    cause: str | None = None
    rows: Annotated[list[int], msgspec.Meta(max_length=WIRE_LIST_MAX)] = []


class Progress(msgspec.Struct, array_like=True, tag=7, forbid_unknown_fields=True):
    """Server: so many rows of a call are durable."""

    number: U32
    rows: int


class Closing(msgspec.Struct, array_like=True, tag=8, forbid_unknown_fields=True):
    """Server: it takes no more calls and closes when those that are open are answered; connect again."""

    text: str


FromClient = Hello | Call | Part
FromServer = Welcome | Reply | Part | Fault | Progress | Closing

_FROM_CLIENT = msgspec.msgpack.Decoder(FromClient)
_FROM_SERVER = msgspec.msgpack.Decoder(FromServer)


def decode_from_client(message: memoryview) -> FromClient:
    """A message of a client.

    Raises:
        FrameError: it is none.
    """
    return _decode(_FROM_CLIENT, message)


def decode_from_server(message: memoryview) -> FromServer:
    """A message of a server.

    Raises:
        FrameError: it is none.
    """
    return _decode(_FROM_SERVER, message)


def _decode(decoder: msgspec.msgpack.Decoder[Any], message: memoryview) -> Any:
    try:
        return decoder.decode(message)
    except (msgspec.DecodeError, RecursionError, UnicodeDecodeError) as error:
        # What it says of the form holds no value of the message.
        raise FrameError(f"message: {error}") from None
