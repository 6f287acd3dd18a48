"""A second client of the wire, from docs/wire.md alone: plain Python, no hub, no msgspec, a MessagePack of its own.

It shows that whoever writes a client in another language needs nothing else. Values are None, bool, int, float, str,
bytes, list, dict and :class:`Time`.

    python tools/wire_client.py HOST:PORT --ca ca.pem --cert client.pem [--key client.key]
"""

from __future__ import annotations

import argparse
import datetime as dt
import socket
import ssl
import struct
import sys
from typing import Any

FRAME_BYTES_MAX = 1 << 20
PART_BYTES = 1 << 18
NONE_SIZE = 0xFFFFFFFF
STATUS = [
    "OK", "UNKNOWN_ALIAS", "REVOKED", "NO_ALIAS_AT_PROVIDER", "DENIED", "DENIED_ASSESSMENT", "DENIED_CONSENT",
    "DENIED_LIMITED", "PENDING", "PROVIDED", "EMPTY", "NO_RECORD", "REFUSED", "LAPSED", "SUSPENDED", "MULTIPLE", "HELD",
    "MANUAL",
]  # fmt: skip


class WireFault(Exception):
    """An error that the server sent.

    Attributes:
        code: a word. retry_safe: whether the same call may be given again. retry_after: seconds, or None.
    """

    def __init__(self, code: str, text: str, retry_safe: bool, retry_after: float | None) -> None:
        super().__init__(f"{code}: {text}")
        self.code, self.retry_safe, self.retry_after = code, retry_safe, retry_after


class Time(int):
    """Seconds since 1970, as MessagePack's timestamp carries them."""

    def moment(self) -> dt.datetime:
        return dt.datetime.fromtimestamp(self, dt.UTC)


# -- MessagePack, with the shortest form of everything


def pack(value: Any) -> bytes:
    """A value as MessagePack."""
    if value is None or isinstance(value, bool):
        return {None: b"\xc0", False: b"\xc2", True: b"\xc3"}[value]
    if isinstance(value, Time):
        if 0 <= value < 1 << 32:
            return b"\xd6\xff" + struct.pack(">I", value)
        if 0 <= value < 1 << 34:
            return b"\xd7\xff" + struct.pack(">Q", value)
        return b"\xc7\x0c\xff" + struct.pack(">Iq", 0, value)
    if isinstance(value, int):
        return _pack_int(value)
    if isinstance(value, float):
        return b"\xcb" + struct.pack(">d", value)
    if isinstance(value, str):
        data = value.encode()
        if len(data) < 32:
            return bytes([0xA0 | len(data)]) + data
        return _sized(len(data), (0xD9, 0xDA, 0xDB)) + data
    if isinstance(value, bytes | bytearray | memoryview):
        return _sized(len(value), (0xC4, 0xC5, 0xC6)) + bytes(value)
    if isinstance(value, list | tuple):
        head = bytes([0x90 | len(value)]) if len(value) < 16 else _sized(len(value), (None, 0xDC, 0xDD))
        return head + b"".join(map(pack, value))
    if isinstance(value, dict):
        head = bytes([0x80 | len(value)]) if len(value) < 16 else _sized(len(value), (None, 0xDE, 0xDF))
        return head + b"".join(pack(key) + pack(one) for key, one in value.items())
    raise TypeError(f"cannot pack {type(value).__name__}")


def _pack_int(value: int) -> bytes:
    if 0 <= value < 128:
        return bytes([value])
    if -32 <= value < 0:
        return struct.pack("b", value)
    forms = ((0xCC, "B"), (0xCD, "H"), (0xCE, "I"), (0xCF, "Q")) if value > 0 else (
        (0xD0, "b"), (0xD1, "h"), (0xD2, "i"), (0xD3, "q")
    )  # fmt: skip
    for tag, form in forms:
        try:
            return bytes([tag]) + struct.pack(">" + form, value)
        except struct.error:
            continue
    raise OverflowError("an integer of more than 64 bits")


def _sized(size: int, tags: tuple[int | None, int, int]) -> bytes:
    if tags[0] is not None and size < 1 << 8:
        return struct.pack(">BB", tags[0], size)
    if size < 1 << 16:
        return struct.pack(">BH", tags[1], size)
    return struct.pack(">BI", tags[2], size)


class _Reader:
    DEPTH_MAX = 64

    def __init__(self, data: bytes | memoryview) -> None:
        self.data, self.at = memoryview(data), 0

    def take(self, size: int) -> memoryview:
        if self.at + size > len(self.data):
            raise ValueError("MessagePack: ends too early")
        found = self.data[self.at : self.at + size]
        self.at += size
        return found

    def number(self, form: str) -> Any:
        (found,) = struct.unpack(">" + form, self.take(struct.calcsize(form)))
        return found

    def value(self, depth: int = 0) -> Any:
        if depth > self.DEPTH_MAX:
            raise ValueError("MessagePack: nested too deep")
        tag = self.number("B")
        if tag < 0x80:
            return tag
        if tag >= 0xE0:
            return tag - 0x100
        if tag < 0x90:
            return self.map(tag & 15, depth)
        if tag < 0xA0:
            return self.array(tag & 15, depth)
        if tag < 0xC0:
            return str(self.take(tag & 31), "utf-8")
        if tag in _CONSTANTS:
            return _CONSTANTS[tag]
        if tag in _NUMBERS:
            return self.number(_NUMBERS[tag])
        if tag in _SIZES:
            kind, form = _SIZES[tag]
            size = self.number(form)
            if kind == "bin":
                return bytes(self.take(size))
            if kind == "str":
                return str(self.take(size), "utf-8")
            return self.array(size, depth) if kind == "array" else self.map(size, depth)
        return self.time(tag)

    def time(self, tag: int) -> Time:
        size = {0xD6: 4, 0xD7: 8}.get(tag) or (self.number("B") if tag == 0xC7 else 0)
        if size not in (4, 8, 12) or self.number("b") != -1:
            raise ValueError("MessagePack: an extension that is no timestamp")
        if size == 4:
            return Time(self.number("I"))
        if size == 8:
            return Time(self.number("Q") & ((1 << 34) - 1))
        self.number("I")
        return Time(self.number("q"))

    def array(self, size: int, depth: int) -> list[Any]:
        if size > len(self.data) - self.at:
            raise ValueError("MessagePack: ends too early")
        return [self.value(depth + 1) for _ in range(size)]

    def map(self, size: int, depth: int) -> dict[Any, Any]:
        if size > len(self.data) - self.at:
            raise ValueError("MessagePack: ends too early")
        return {self.value(depth + 1): self.value(depth + 1) for _ in range(size)}


_CONSTANTS = {0xC0: None, 0xC2: False, 0xC3: True}
_NUMBERS = {
    0xCA: "f", 0xCB: "d", 0xCC: "B", 0xCD: "H", 0xCE: "I", 0xCF: "Q", 0xD0: "b", 0xD1: "h", 0xD2: "i", 0xD3: "q",
}  # fmt: skip
_SIZES = {
    0xC4: ("bin", "B"), 0xC5: ("bin", "H"), 0xC6: ("bin", "I"), 0xD9: ("str", "B"), 0xDA: ("str", "H"),
    0xDB: ("str", "I"), 0xDC: ("array", "H"), 0xDD: ("array", "I"), 0xDE: ("map", "H"), 0xDF: ("map", "I"),
}  # fmt: skip


def unpack(data: bytes | memoryview) -> Any:
    """MessagePack as a value; ValueError where it is none, or more than one."""
    reader = _Reader(data)
    found = reader.value()
    if reader.at != len(reader.data):
        raise ValueError("MessagePack: expected one value, got more")
    return found


# -- frames and columns


def frame(message: list[Any], version: int) -> bytes:
    """A message as a frame."""
    body = pack(message)
    return struct.pack("<IB", len(body) + 1, version) + body


def column(data: bytes, form: str) -> list[int]:
    """A column of numbers: form as of ``struct``, ``B`` u8, ``H`` u16, ``I`` u32, ``Q`` u64."""
    return list(struct.unpack(f"<{len(data) // struct.calcsize(form)}{form}", data))


def aliases_of(data: bytes) -> list[bytes]:
    """A column of aliases."""
    return [data[at : at + 16] for at in range(0, len(data), 16)]


def pack_rows(rows: list[bytes | None]) -> list[bytes]:
    """Rows of bytes as their sizes and all of them one behind the other."""
    sizes = b"".join(struct.pack("<I", NONE_SIZE if one is None else len(one)) for one in rows)
    return [sizes, b"".join(one for one in rows if one)]


def unpack_rows(fields: list[bytes]) -> list[bytes | None]:
    """The reverse of :func:`pack_rows`."""
    rows: list[bytes | None] = []
    at = 0
    for size in column(fields[0], "I"):
        rows.append(None if size == NONE_SIZE else fields[1][at : at + size])
        at += 0 if size == NONE_SIZE else size
    return rows


# -- the client


class Client:
    """One connection; a call at a time.

    Attributes:
        institutions: for which it may call, as the server says.
    """

    def __init__(self, host: str, port: int, context: ssl.SSLContext | None = None) -> None:
        self._socket: socket.socket = socket.create_connection((host, port), timeout=60)
        if context is not None:
            self._socket = context.wrap_socket(self._socket, server_hostname=host)
        self._file = self._socket.makefile("rb")
        self._version = 0
        self._number = 0
        self._socket.sendall(frame([1, [1], "second client"], 0))
        tag, version, _, _, self.institutions = self._read()
        if tag != 2:
            raise ValueError("expected a welcome")
        self._version = version

    def __enter__(self) -> Client:
        return self

    def __exit__(self, *_: object) -> None:
        self._file.close()
        self._socket.close()

    def _read(self) -> list[Any]:
        head = self._file.read(5)
        if len(head) < 5:
            raise ConnectionError("closed by the server")
        size, version = struct.unpack("<IB", head)
        if not 2 <= size <= FRAME_BYTES_MAX or version != self._version:
            raise ValueError("no frame of this version")
        message: list[Any] = unpack(self._file.read(size - 1))
        if message[0] == 6 and message[1] is None:
            raise WireFault(*message[2:6])
        return message

    def call(self, institution: str, method: str, arguments: dict[str, Any]) -> Any:
        """Call a method for an institution; what its reply holds."""
        body = pack(arguments)
        self._number += 1
        number = self._number
        call = [3, number, institution, method, False, len(body), body[:PART_BYTES]]
        self._socket.sendall(frame(call, self._version))
        for at in range(PART_BYTES, len(body), PART_BYTES):
            self._socket.sendall(frame([4, number, body[at : at + PART_BYTES]], self._version))
        found, size = b"", -1
        while len(found) != size:
            message = self._read()
            if message[0] == 6 and message[1] == number:
                raise WireFault(*message[2:6])
            if message[0] == 5 and message[1] == number:
                size, found = message[2], message[3]
            elif message[0] == 4 and message[1] == number:
                found += message[2]
        return unpack(found)

    def inquire(self, requester: str, inquiry: dict[str, Any], aliases: list[bytes], providers: list[str]) -> list[str]:
        """Ask; a status a row."""
        codes = list(dict.fromkeys(providers))
        places = b"".join(struct.pack("<I", codes.index(code)) for code in providers)
        arguments = {"inquiry": inquiry, "aliases": b"".join(aliases), "providers": [codes, places]}
        return [STATUS[one] for one in self.call(requester, "inquire", arguments)["status"]]

    def collect(self, provider: str) -> list[tuple[int, bytes]]:
        """(permit, alias) of everything that waits."""
        found: list[tuple[int, bytes]] = []
        arguments: dict[str, Any] = {}
        while some := self.call(provider, "collect", arguments):
            for permits in some:
                found += zip(column(permits["permit"], "Q"), aliases_of(permits["aliases"]), strict=True)
            arguments = {"after": some[-1]["cursor"]}
        return found

    def provide(self, provider: str, permits: list[int], payloads: list[bytes | None]) -> int:
        """Answer permits with PROVIDED; rows that are durable."""
        numbers = b"".join(struct.pack("<Q", one) for one in permits)
        arguments = {"permits": numbers, "outcomes": STATUS.index("PROVIDED"), "payloads": pack_rows(payloads)}
        return int(self.call(provider, "provide", arguments)["rows"])

    def answers(self, requester: str, request_id: str) -> list[tuple[str, bytes | None]]:
        """(status, payload) of every row."""
        found: list[tuple[str, bytes | None]] = []
        more = True
        while more:
            some = self.call(requester, "answers", {"request_id": request_id, "first": len(found)})
            found += zip([STATUS[one] for one in some["status"]], unpack_rows(some["payloads"]), strict=True)
            more = some["more"]
        return found

    def history(self, portal_alias: bytes) -> list[dict[str, Any]]:
        """A citizen's records, newest first."""
        found: list[dict[str, Any]] = []
        cursor = None
        while True:
            arguments = {"portal_alias": portal_alias} | ({} if cursor is None else {"cursor": cursor})
            page = self.call("portal", "history", arguments)
            found += page["records"]
            cursor = page["cursor"]
            if cursor is None:
                return found


def make_context(ca: str, cert: str, key: str | None) -> ssl.SSLContext:
    """TLS 1.3 with a client certificate."""
    context = ssl.create_default_context(cafile=ca)
    context.minimum_version = ssl.TLSVersion.TLSv1_3
    context.load_cert_chain(cert, key)
    return context


def main() -> int:
    parser = argparse.ArgumentParser(description="Connect to a hub, say for whom this certificate calls.")
    parser.add_argument("address", metavar="HOST:PORT")
    parser.add_argument("--ca", required=True, help="who issued the server's certificate, PEM")
    parser.add_argument("--cert", required=True, help="the client's certificate, PEM")
    parser.add_argument("--key", help="its private key, PEM, where it is another file")
    given = parser.parse_args()
    host, _, port = given.address.rpartition(":")
    with Client(host, int(port), make_context(given.ca, given.cert, given.key)) as client:
        print("institutions:", ", ".join(client.institutions))
        print(client.call(client.institutions[0], "checkpoint", {}), end="")
    return 0


if __name__ == "__main__":
    sys.exit(main())
