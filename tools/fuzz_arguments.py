"""Right arguments of every method, for the fuzz loop: made from the types of the table of methods.

A further method is tried without a line here.
"""

from __future__ import annotations

import datetime as dt
import struct
from collections.abc import Callable
from random import Random
from typing import Any

import msgspec
from msgspec import inspect

from hub.wire.methods import REQUESTS

MARK = "fz-"
"""Begins every request id and clerk here: no error may name one."""

KEPT = 256


class Pools:
    """What is known of the hub that is tried: its aliases by institution, and what its replies held."""

    def __init__(self, aliases: dict[str, list[bytes]], codes: list[str]) -> None:
        self.aliases, self.codes = aliases, codes
        self.institutions = list(aliases)
        self.requests = [MARK + "0"]
        self.kept: dict[str, list[Any]] = {name: [] for name in ("permit", "ticket", "cursor", "handle", "number")}

    def keep(self, name: str, value: Any) -> None:
        some = self.kept[name]
        if len(some) < KEPT:
            some.append(value)
        else:
            some[hash(str(value)) % KEPT] = value

    def learn(self, body: bytes) -> None:
        """Take from a reply what a further call may carry."""
        found = msgspec.msgpack.decode(body)
        if isinstance(found, bytes):
            if len(found) == 18:
                self.keep("handle", found)
            elif len(found) % 16 == 0 and found:
                self.keep("ticket", found[:16])
        for one in found[:3] if isinstance(found, list) else [found]:
            if isinstance(one, dict):
                for name in ("permit", "number"):
                    if isinstance(one.get(name), bytes):
                        self.keep(name, one[name][:64])
                if one.get("cursor") is not None:
                    self.keep("cursor", one["cursor"])


class Arguments:
    """Right arguments of every method, from the types of the table."""

    def __init__(self, random: Random, pools: Pools) -> None:
        self._random, self._pools = random, pools
        self._made = 0
        self._types = {name: inspect.type_info(request) for name, request in REQUESTS.items()}
        self._words: dict[str, Callable[[], Any]] = {
            "request_id": self.request,
            "procedure": self._one("19-8/73/75.3", "19-8/73/75.3", "19-8/106/108.1", "own/1/1"),
            "items": self._one(["市町村民税"], ["市町村民税"], ["地方税"], ["出生"]),
            "role": self._one("納付義務者", "納付義務者", "本人", None), "event": self._one(None, "出生"),
            "section": self._one("国民年金部", "税務課"), "operator": self._one(None, MARK + "sato"),
            "clerk": self._one(MARK + "sato", MARK + "suzuki"),
            "second_clerk": self._one(MARK + "suzuki", MARK + "ito"),
            "institution": lambda: random.choice(pools.institutions), "namespace": self._one("certificate", "insured"),
            "role_": self._one("requester", "provider"), "keep": self._code, "gone": self._code, "code": self._code,
            "handle": self._handle, "cursor": lambda: self._kept("cursor", None), "after": lambda: None,
            "portal_alias": lambda: self._alias("portal"), "agent_alias": lambda: self._alias("portal"),
            "alias": lambda: self._alias(None), "wrong_alias": lambda: self._alias(None),
            "right_alias": lambda: self._alias(None), "tickets": self._tickets,
            "permits": lambda: self._kept("permit", bytes(8)), "numbers": lambda: self._kept("number", bytes(8)),
            "limit": self._one(1, 10, 1_000), "n": self._one(1, 3, 100),
        }  # fmt: skip

    def _one(self, *values: Any) -> Callable[[], Any]:
        return lambda: self._random.choice(values)

    def _kept(self, name: str, other: Any) -> Any:
        some = self._pools.kept[name]
        return self._random.choice(some) if some else other

    def request(self) -> str:
        """A request id, every second time one that was given before."""
        self._made += 1
        requests = self._pools.requests
        if self._made % 2:
            return self._random.choice(requests)
        name = f"{MARK}{self._random.getrandbits(40)}"
        if len(requests) < KEPT:
            requests.append(name)
        else:
            requests[self._made % KEPT] = name
        return name

    def _code(self) -> str:
        return self._random.choice(self._pools.codes)

    def _alias(self, institution: str | None) -> bytes:
        name = institution or self._random.choice(self._pools.institutions)
        return self._random.choice(self._pools.aliases[name])

    def _tickets(self) -> bytes:
        return b"".join(self._kept("ticket", bytes(16)) for _ in range(self._random.randrange(3)))

    def _handle(self) -> Any:
        if self._random.random() < 0.5:
            return self._random.choice(self._pools.requests), self._random.randrange(3)
        return self._kept("handle", bytes(18))

    def make(self, method: str, institution: str) -> dict[str, Any]:
        """A map of arguments whose types are right, and whose values often are."""
        self._institution, self._rows = institution, self._random.choice((1, 1, 1, 2, 5))
        if method == "copy_of":
            return {"role": self._words["role_"]()}
        found: dict[str, Any] = self._struct(self._types[method])
        return found

    def _struct(self, info: Any) -> Any:
        values = {}
        for field in info.fields:
            if not field.required and self._random.random() < 0.6:
                if info.array_like:
                    values[field.encode_name] = None
                continue
            values[field.encode_name] = self._field(field.name, field.type)
        return list(values.values()) if info.array_like else values

    def _field(self, name: str, info: Any) -> Any:
        if name == "aliases" and isinstance(info, inspect.MemoryViewType):
            pool = self._pools.aliases.get(self._institution) or self._pools.aliases["nenkin"]
            return b"".join(self._random.choice(pool) for _ in range(self._rows))
        if name == "providers":
            return [[self._random.choice(self._pools.institutions)], b""]
        made = self._words.get(name)
        if made is None or isinstance(info, inspect.StructType):
            return self._value(info, name)
        if name == "handle" and isinstance(info, inspect.BytesType):
            return self._kept("handle", bytes(18))
        return made()

    def _value(self, info: Any, name: str = "") -> Any:
        random = self._random
        match info:
            case inspect.BoolType():
                return random.random() < 0.5
            case inspect.IntType():
                return random.choice((0, 1, 2, 9, 10, 13, 100))
            case inspect.StrType():
                if name in ("since", "until"):
                    return "2026-04-01"
                return random.choice(("text", "2026-04-01", "税", "a" * 40))
            case inspect.BytesType() | inspect.MemoryViewType() | inspect.ByteArrayType():
                return bytes(random.choice((0, 1, 4, 8, 16, 18, 32)) * (self._rows if name else 1))
            case inspect.DateType() | inspect.DateTimeType():
                return dt.date(2027, 4, 1).isoformat()
            case inspect.ListType() | inspect.VarTupleType():
                return [self._value(info.item_type) for _ in range(random.choice((0, 1, self._rows)))]
            case inspect.TupleType():
                return [self._value(one) for one in info.item_types]
            case inspect.UnionType():
                return self._value(random.choice(info.types), name)
            case inspect.StructType():
                if [field.name for field in info.fields] == ["sizes", "data"]:
                    return [struct.pack("<I", 6) * self._rows, b"<tax/>" * self._rows]
                return self._struct(info)
            case inspect.DictType():
                return {self._random.choice(self._pools.institutions): b"x"}
            case inspect.EnumType():
                return random.choice(list(info.cls)).value
        return None
