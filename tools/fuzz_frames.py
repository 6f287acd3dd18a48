"""Frames for the fuzz loop: right ones of every method, wrong ones made from them, and conversations of both.

The bytes of frames are written here, by docs/wire.md, not by the code that is tried.
"""

from __future__ import annotations

import datetime as dt
import json
import struct
from collections.abc import Callable
from pathlib import Path
from random import Random
from typing import Any, NamedTuple

import msgspec

from fuzz_arguments import Arguments, Pools
from hub.wire.methods import METHODS

VECTORS = Path(__file__).parents[1] / "tests" / "data" / "wire_vectors.json"

DEEP = 200_000
TAGS = bytes([
    0x00, 0x7F, 0x80, 0x81, 0x8F, 0x90, 0x91, 0x93, 0x96, 0x97, 0x9F, 0xA0, 0xA1, 0xBF, *range(0xC0, 0xE1), 0xFF,
])  # fmt: skip
SIZES = (0, 1, 2, 15, 16, 17, 255, 256, 65_535, 65_536, 0x7FFFFFFF, 0x80000000, 0xFFFFFFFE, 0xFFFFFFFF)
NUMBERS = (0, 1, 2, 17, 127, 128, 255, 1_000, 65_536, 2**31, 2**32 - 1, 2**32, 2**63 - 1, 2**63, 2**64 - 1, -1)
CHEAP = 8
"""Methods that read much are called so much seldomer than others."""
SLOW = {
    "copy_of", "catalog", "report_mislink", "blast_radius", "claims", "collect", "arrived", "checkpoints", "history",
    "notices", "proxy_history", "undecided", "marks_due", "corrections", "unjudged",
}  # fmt: skip

encode = msgspec.msgpack.encode


class Script(NamedTuple):
    """What one client sends.

    Attributes:
        pieces: frames, or what stands for them. whole: whether the server can still find the end of each, so that a
            further call is answered unless it ended the connection.
    """

    pieces: list[bytes]
    whole: bool


def frame(body: bytes, version: int = 1) -> bytes:
    """A message as a frame."""
    return struct.pack("<IB", len(body) + 1, version) + body


HELLO = frame(encode([1, [1], "fuzz"]), 0)


def call(number: int, institution: str, method: str, body: bytes, progress: bool = False) -> bytes:
    """A call as a frame."""
    return frame(encode([3, number, institution, method, progress, len(body), body]))


# -- what is wrong


def damage(random: Random, data: bytes, other: bytes) -> bytes:
    """Bytes with one to four of them, or a stretch, changed."""
    found = bytearray(data)
    for _ in range(1 + (random.getrandbits(2) & random.getrandbits(2))):
        size = len(found)
        at = int(random.random() * size)
        kind = random.getrandbits(3)
        if not size or kind == 3:
            found[at:at] = random.randbytes(1 + random.getrandbits(3))
        elif kind == 0:
            found[at] ^= 1 << random.getrandbits(3)
        elif kind == 1:
            found[at] = TAGS[int(random.random() * len(TAGS))]
        elif kind == 2:
            del found[at:]
        elif kind == 4:
            del found[at : at + 1 + random.getrandbits(3)]
        elif kind == 5:
            found[at:at] = found[at : at + 1 + random.getrandbits(5)]
        elif kind == 6:
            found[at : at + random.getrandbits(5)] = other[int(random.random() * len(other)) :][:40]
        else:
            found[at : at + 4] = struct.pack(random.choice((">I", "<I")), random.choice(SIZES))
    return bytes(found)


def wrong_value(random: Random, depth: int = 0) -> Any:
    """Anything that MessagePack carries."""
    kind = random.randrange(12 if depth < 3 else 9)
    if kind < 2:
        return random.choice(NUMBERS)
    if kind == 9:
        return [wrong_value(random, depth + 1) for _ in range(random.randrange(4))]
    if kind > 9:
        return {random.choice(("a", "request_id", 1, b"x", None)): wrong_value(random, depth + 1) for _ in range(2)}
    return random.choice((
        None, True, False, 0.0, -1.5, float("nan"), float("inf"), "", "a", "税" * 50, "2026-02-30", "x" * 5_000, b"",
        bytes(15), bytes(16), random.randbytes(64), msgspec.msgpack.Ext(5, b"ext"), msgspec.msgpack.Ext(-1, bytes(4)),
        dt.datetime(2026, 1, 1, tzinfo=dt.UTC),
    ))  # fmt: skip


def misplace(random: Random, value: Any) -> Any:
    """A value with one of its parts of another type, left out, or too many."""
    if isinstance(value, dict) and value and random.random() < 0.85:
        found = dict(value)
        key = random.choice(list(found))
        kind = random.random()
        if kind < 0.15:
            del found[key]
        elif kind < 0.3:
            found[random.choice(("more", "requester", "", "税"))] = wrong_value(random)
        else:
            found[key] = misplace(random, found[key])
        return found
    if isinstance(value, list) and value and random.random() < 0.7:
        found_list = list(value)
        at = random.randrange(len(found_list))
        if random.random() < 0.3:
            found_list[at:at] = [wrong_value(random)] * random.randrange(1, 3)
        else:
            found_list[at] = misplace(random, found_list[at])
        return found_list
    if isinstance(value, bytes) and random.random() < 0.5:
        return value[:-1] if random.random() < 0.5 else value + random.randbytes(random.choice((1, 3, 16)))
    return wrong_value(random)


def widen(random: Random, value: Any) -> bytes:
    """MessagePack of a value in forms that are longer than they need be."""
    if isinstance(value, bool) or value is None or isinstance(value, float):
        return encode(value)
    form = random.randrange(3)
    if isinstance(value, int) and 0 <= value < 256:
        return (struct.pack(">BB", 0xCC, value), struct.pack(">BI", 0xCE, value), struct.pack(">BQ", 0xCF, value))[form]
    if isinstance(value, str | bytes):
        data = value.encode() if isinstance(value, str) else value
        tag = (0xD9 if isinstance(value, str) else 0xC4) + form
        return _head(tag, len(data), form, (">BB", ">BH", ">BI")) + data if len(data) < 256 else encode(value)
    if isinstance(value, list | tuple):
        return _head(0xDC + form % 2, len(value), form % 2, (">BH", ">BI")) + b"".join(widen(random, v) for v in value)
    if isinstance(value, dict):
        inner = b"".join(widen(random, part) for pair in value.items() for part in pair)
        return _head(0xDE + form % 2, len(value), form % 2, (">BH", ">BI")) + inner
    return encode(value)


def _head(tag: int, size: int, form: int, forms: tuple[str, ...]) -> bytes:
    return struct.pack(forms[form], tag, size)


class Maker:
    """Makes conversations without end, the same ones for the same seed and the same replies."""

    def __init__(self, random: Random, pools: Pools) -> None:
        self._random, self.pools = random, pools
        self._arguments = Arguments(random, pools)
        self._methods = [name for name in METHODS for _ in range(1 if name in SLOW else CHEAP)]
        self._methods += ["inquire"] * 60 + ["provide"] * 10
        vectors = json.loads(VECTORS.read_text(encoding="utf-8"))
        self._golden = [bytes.fromhex(one["frame"]) for one in vectors["frames"]]
        self._bodies = [(one["method"], bytes.fromhex(one["bytes"])) for one in vectors["arguments"]]
        self._number = 0
        self._seeds = [self.right_call() for _ in range(64)]
        self._wrong: list[tuple[int, Callable[[], tuple[list[bytes], bool]]]] = [
            (30, self._damaged), (24, self._damaged_arguments), (14, self._misplaced), (14, self._right),
            (12, self._singles), (6, self._noise), (5, self._in_parts), (3, self._unframed), (3, self._widened),
            (2, self._golden_frame), (2, self._twice), (1, self._other_version), (1, self._too_long),
            (1, self._of_server),
        ]  # fmt: skip
        self._kinds = [made for weight, made in self._wrong for _ in range(weight)]

    def _next(self) -> int:
        self._number = (self._number + 1) & 0xFFFF
        return self._number

    def _who(self, method: str) -> str:
        only = METHODS[method].only
        if self._random.random() < 0.02:
            return self._random.choice(("mhlw", "portal", "nobody", "x" * 40, "other"))
        return only or self._random.choice(self.pools.institutions)

    def body(self) -> tuple[str, str, dict[str, Any]]:
        """Method, institution and right arguments of a call."""
        method = self._random.choice(self._methods)
        who = self._who(method)
        return method, who, self._arguments.make(method, who)

    def right_call(self) -> bytes:
        """A call that could be a client's."""
        method, who, given = self.body()
        return call(self._next(), who, method, encode(given), self._random.random() < 0.05)

    def _seed(self) -> bytes:
        at = int(self._random.random() * len(self._seeds))
        if self._random.random() < 0.1:
            self._seeds[at] = self.right_call()
        return self._seeds[at]

    def single(self) -> bytes:
        """The usual call: one row, as a client of this package writes it; most servers have a way of its own for it."""
        random, made = self._random, self._arguments
        inquiry = {
            "procedure": "19-8/73/75.3", "items": ["市町村民税"], "section": "国民年金部",
            "request_id": made.request(), "role": "納付義務者",
        }  # fmt: skip
        if random.random() < 0.3:
            inquiry["operator"] = "sato"
        given: dict[str, Any] = {"inquiry": inquiry, "aliases": random.choice(self.pools.aliases["nenkin"])}
        given["providers"] = [[random.choice(self.pools.institutions)], random.choice((b"", b"", bytes(4)))]
        if random.random() < 0.2:
            given["consents"] = random.choice((True, False, b"\0", b"\1"))
        number = random.choice((self._next(), self._next(), random.getrandbits(32), random.choice(NUMBERS[:11])))
        return call(number, "nenkin" if random.random() < 0.95 else self._who("inquire"), "inquire", encode(given))

    # -- kinds of pieces: (pieces, whether the frames' ends can still be found)

    def _damaged(self) -> tuple[list[bytes], bool]:
        return [frame(damage(self._random, self._seed()[5:], self._seed()) or b"\xc0")], True

    def _damaged_arguments(self) -> tuple[list[bytes], bool]:
        if self._random.random() < 0.2:
            method, body = self._random.choice(self._bodies)
            return [call(self._next(), self._who(method), method, damage(self._random, body, self._seed()))], True
        _, _, who, method, _, _, body = msgspec.msgpack.decode(self._seed()[5:])
        return [call(self._next(), who, method, damage(self._random, body, self._seed()))], True

    def _misplaced(self) -> tuple[list[bytes], bool]:
        method, who, given = self.body()
        return [call(self._next(), who, method, encode(misplace(self._random, given)))], True

    def _right(self) -> tuple[list[bytes], bool]:
        return [self.right_call()], True

    def _noise(self) -> tuple[list[bytes], bool]:
        return [frame(self._random.randbytes(1 + int(self._random.expovariate(0.03))))], True

    def _singles(self) -> tuple[list[bytes], bool]:
        """Some of them behind each other, of which one may be damaged."""
        found = [self.single() for _ in range(1 + self._random.getrandbits(2))]
        if self._random.random() < 0.6:
            at = self._random.randrange(len(found))
            found[at] = frame(damage(self._random, found[at][5:], found[0]) or b"\xc0")
        return found, True

    def _in_parts(self) -> tuple[list[bytes], bool]:
        method, who, given = self.body()
        body, number, random = encode(given), self._next(), self._random
        cut = random.randrange(len(body) + 1)
        size = len(body) + random.choice((0, 0, 0, 0, 0, 0, 1, 1 << 20))
        pieces = [frame(encode([3, number, who, method, False, size, body[:cut]]))]
        while cut < len(body):
            step = random.randrange(len(body) - cut + 1) if random.random() < 0.2 else 1 + random.randrange(64)
            pieces.append(frame(encode([4, number, body[cut : cut + step]])))
            cut += step
        if random.random() < 0.2:
            pieces.append(frame(encode([4, number ^ random.randrange(2), b"more"])))
        if random.random() < 0.2:
            random.shuffle(pieces)
        return pieces, True

    def _unframed(self) -> tuple[list[bytes], bool]:
        return [damage(self._random, self._seed(), self._seed())], False

    def _widened(self) -> tuple[list[bytes], bool]:
        method, who, given = self.body()
        wide = widen(self._random, given)
        message = [3, self._next(), who, method, False, len(wide), wide]
        return [frame(widen(self._random, message) if self._random.random() < 0.5 else encode(message))], True

    def _golden_frame(self) -> tuple[list[bytes], bool]:
        return [self._random.choice(self._golden)], True

    def _twice(self) -> tuple[list[bytes], bool]:
        return [self._seed()] * 2, True

    def _other_version(self) -> tuple[list[bytes], bool]:
        return [frame(self._seed()[5:], self._random.choice((0, 2, 255)))], True

    def _too_long(self) -> tuple[list[bytes], bool]:
        kind = self._random.randrange(20)
        if kind == 0:
            return [frame(b"\x93\x04\x01" + b"\x91" * DEEP)], True
        if kind == 1:
            return [call(self._next(), "nenkin", "status", b"\x81\xa1a" * 9_000)], True
        if kind == 2:
            return [call(self._next(), "nenkin", "status", b"\x91" * 30_000)], True
        return [struct.pack("<I", self._random.choice(((1 << 20) + 1, 1 << 31, 0xFFFFFFFF, 0, 1))) + b"\x01"], False

    def _of_server(self) -> tuple[list[bytes], bool]:
        words = [2, 1, 1, 1, []], [5, 1, 0, b""], [6, None, "a", "b", False], [8, "x"]
        return [frame(encode(self._random.choice(words)))], True

    def script(self) -> Script:
        """What one client sends: mostly hello and some frames."""
        random = self._random
        pieces: list[bytes] = []
        whole = True
        if random.random() < 0.97:
            pieces.append(HELLO)
        elif random.random() < 0.5:
            pieces.append(damage(random, HELLO, self._seed()))
            whole = False
        for _ in range(1 + int(random.expovariate(0.1))):
            some, found = random.choice(self._kinds)()
            pieces += some
            whole = whole and found
            if not found:
                break
        return Script(pieces, whole)
