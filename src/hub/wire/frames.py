"""Frames: what a connection carries in each direction, one behind the other.

| at | type | what |
|---|---|---|
| 0 | u32 | bytes that follow this field, little endian: 2 to ``WIRE_FRAME_BYTES_MAX``, in a first frame to 4,096 |
| 4 | u8 | version: 0 of the first frame in each direction, later the one that was agreed on |
| 5 | | a message, MessagePack, see ``words.py`` |
"""

from __future__ import annotations

import struct
from typing import Any

import msgspec

from hub.errors import RequestError
from hub.limits import WIRE_FRAME_BYTES_MAX

GREETING = 0
"""Version byte of the first frame in each direction; its form never changes, so that any two versions can talk."""

VERSIONS = (1,)
"""Versions that this code speaks."""

HELLO_BYTES_MAX = 4_096
"""Of whoever has not said yet who they are nothing longer is read."""

HEAD_BYTES = 5
_HEAD = struct.Struct("<IB")
_LENGTH = struct.Struct("<I")
_ENCODER = msgspec.msgpack.Encoder()


class FrameError(RequestError):
    """The bytes of a connection are no frames; it cannot go on."""

    code = "frame"


def encode_frame(message: Any, version: int) -> bytearray:
    """A message as a frame."""
    frame = bytearray(HEAD_BYTES)
    _ENCODER.encode_into(message, frame, HEAD_BYTES)
    _HEAD.pack_into(frame, 0, len(frame) - 4, version)
    return frame


class Splitter:
    """Cuts what arrives into messages; holds at most one frame and what came behind it.

    Attributes:
        version: what the next frame must carry. bytes_max: how long it may be.
    """

    __slots__ = ("_at", "_data", "_needed", "_part", "bytes_max", "version")

    def __init__(self) -> None:
        self.version = GREETING
        self.bytes_max = HELLO_BYTES_MAX
        self._data: bytes | bytearray = b""
        self._at = 0
        self._part: bytearray | None = None
        self._needed = 0

    def __repr__(self) -> str:
        return f"Splitter(version={self.version})"

    def agree(self, version: int) -> None:
        """From the next frame on this version is spoken."""
        self.version, self.bytes_max = version, WIRE_FRAME_BYTES_MAX

    @property
    def partial(self) -> bool:
        """Whether a frame has begun and not ended."""
        return self._part is not None

    def push(self, data: bytes | bytearray) -> None:
        """Take what arrived; then :meth:`pop` until there is nothing."""
        if self._part is not None:
            self._part += data
            if len(self._part) < self._needed:
                return
            data, self._part = self._part, None
        elif self._at < len(self._data):
            # Whoever stopped popping stopped reading as well: this happens once, not for every piece.
            data = bytes(memoryview(self._data)[self._at :]) + data
        self._data, self._at = data, 0

    def pop(self) -> memoryview | None:
        """The next whole message, or None; it stays valid as long as it is kept.

        Raises:
            FrameError: a length out of bounds, known after 4 bytes, or another version, after 5.
        """
        data, at = self._data, self._at
        left = len(data) - at
        needed = HEAD_BYTES
        if left >= 4:
            (length,) = _LENGTH.unpack_from(data, at)
            if not 2 <= length <= self.bytes_max:
                raise FrameError(f"frame: expected 2 to {self.bytes_max} bytes, got {length}")
            if left > 4 and data[at + 4] != self.version:
                raise FrameError(f"frame: expected version {self.version}, got {data[at + 4]}")
            needed = 4 + length
            if left >= needed:
                self._at = at + needed
                return memoryview(data)[at + HEAD_BYTES : at + needed]
        if left:
            self._part, self._needed = bytearray(memoryview(data)[at:]), needed
        self._data, self._at = b"", 0
        return None
