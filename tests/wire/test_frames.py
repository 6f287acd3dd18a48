"""Frames: cut anywhere they give the same messages, and out of bounds they are refused before anything is kept."""

from __future__ import annotations

import contextlib
import struct

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from hub.limits import WIRE_CALL_BYTES_MAX, WIRE_FRAME_BYTES_MAX
from hub.wire.frames import HELLO_BYTES_MAX, FrameError, Splitter, encode_frame
from hub.wire.words import Call, Hello, Part, decode_from_client, decode_from_server


def read_all(splitter: Splitter, data: bytes) -> list[bytes]:
    splitter.push(data)
    found = []
    while (message := splitter.pop()) is not None:
        found.append(message.tobytes())
    return found


def agreed() -> Splitter:
    splitter = Splitter()
    splitter.agree(1)
    return splitter


def made(body: bytes, version: int = 1) -> bytes:
    return struct.pack("<IB", len(body) + 1, version) + body


@given(st.lists(st.binary(min_size=1, max_size=40), max_size=8), st.lists(st.integers(1, 50), min_size=1))
def test_however_they_arrive_the_messages_are_the_same(messages: list[bytes], pieces: list[int]) -> None:
    data, splitter, found, at = b"".join(map(made, messages)), agreed(), [], 0
    while at < len(data):
        size = pieces[at % len(pieces)]
        found += read_all(splitter, data[at : at + size])
        at += size
    assert found == messages
    assert not splitter.partial


def test_who_stops_popping_loses_nothing() -> None:
    splitter = agreed()
    splitter.push(made(b"one") + made(b"two") + made(b"three")[:3])
    first = splitter.pop()
    assert first is not None
    assert first.tobytes() == b"one"
    assert read_all(splitter, made(b"three")[3:] + made(b"four")) == [b"two", b"three", b"four"]


def test_the_longest_frame_is_taken_and_one_byte_more_refused_at_its_length() -> None:
    body = bytes(WIRE_FRAME_BYTES_MAX - 1)
    assert read_all(agreed(), made(body)) == [body]
    with pytest.raises(FrameError, match=f"expected 2 to {WIRE_FRAME_BYTES_MAX} bytes, got {WIRE_FRAME_BYTES_MAX + 1}"):
        read_all(agreed(), struct.pack("<I", WIRE_FRAME_BYTES_MAX + 1))


def test_before_the_hello_a_frame_is_short() -> None:
    body = bytes(HELLO_BYTES_MAX - 1)
    assert read_all(Splitter(), made(body, 0)) == [body]
    with pytest.raises(FrameError, match=f"got {HELLO_BYTES_MAX + 1}"):
        read_all(Splitter(), struct.pack("<I", HELLO_BYTES_MAX + 1))


@pytest.mark.parametrize("length", [0, 1, 2**32 - 1])
def test_a_length_without_a_message_is_refused(length: int) -> None:
    with pytest.raises(FrameError, match="frame: expected 2 to"):
        read_all(agreed(), struct.pack("<I", length))


def test_another_version_is_refused_at_its_byte() -> None:
    with pytest.raises(FrameError, match="expected version 1, got 2"):
        read_all(agreed(), made(bytes(100), 2)[:5])


NOT_MESSAGES = {
    "nothing": b"",
    "no array": msgspec.msgpack.encode({"a": 1}),
    "another tag": msgspec.msgpack.encode([99, 1]),
    "of the server": msgspec.msgpack.encode([5, 1, 0, b""]),
    "too short": msgspec.msgpack.encode([3, 1]),
    "too long": msgspec.msgpack.encode([4, 1, b"x", b"x"]),
    "wrong types": msgspec.msgpack.encode([3, "1", "nenkin", "status", False, 0, b""]),
    "a negative number": msgspec.msgpack.encode([4, -1, b"x"]),
    "a number of 33 bits": msgspec.msgpack.encode([4, 2**32, b"x"]),
    "a text of many characters": msgspec.msgpack.encode([3, 1, "n" * 33, "status", False, 0, b""]),
    "too many bytes": msgspec.msgpack.encode([3, 1, "n", "inquire", False, WIRE_CALL_BYTES_MAX + 1, b""]),
    "no versions": msgspec.msgpack.encode([1, [], "x"]),
    "cut": msgspec.msgpack.encode([4, 1, b"x" * 100])[:-1],
    "with a tail": msgspec.msgpack.encode([4, 1, b"x"]) + b"\xc0",
    "an array that is nowhere": b"\xdd\xff\xff\xff\xff",
    "nested a million deep": b"\x91" * 1_000_000,
    "a field nested a million deep": b"\x93\x04\x01" + b"\x91" * 1_000_000,
    "a map nested deep": b"\x81\xa1a" * 300_000,
    "no UTF-8": b"\x93\x01\x91\x01\xa1\xff",
}


@pytest.mark.parametrize("name", NOT_MESSAGES)
def test_what_is_no_message_is_refused(name: str) -> None:
    with pytest.raises(FrameError, match="message: "):
        decode_from_client(memoryview(NOT_MESSAGES[name]))
    if name not in ("of the server", "too many bytes"):
        with pytest.raises(FrameError, match="message: "):
            decode_from_server(memoryview(NOT_MESSAGES[name]))


@given(st.binary(max_size=200))
def test_any_bytes_are_a_message_or_refused(data: bytes) -> None:
    for decode in (decode_from_client, decode_from_server):
        with contextlib.suppress(FrameError):
            decode(memoryview(data))


def test_messages_come_back_as_they_went() -> None:
    call = Call(7, "nenkin", "status", False, 2, memoryview(b"\x80"))
    for word in (Hello([1, 2], "x"), call, Part(1, memoryview(b"y"))):
        (message,) = read_all(agreed(), bytes(encode_frame(word, 1)))
        assert decode_from_client(memoryview(message)) == word
