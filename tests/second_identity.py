"""The second reader's part for identifiers from outside and proxies, from the byte tables of their modules alone."""

from __future__ import annotations

import hmac
import struct
from typing import Any

from second_basics import aes, expect

RESIDENT_CODES = 1 << 23
REGISTERED, RENEWED, REVOKED, GRANTED, ENDED, CONFIRMED = range(46, 52)
IDENTIFIERS, PROXIES = (REGISTERED, RENEWED, REVOKED), (GRANTED, ENDED, CONFIRMED)
OF_AGENT = 1 << 63


def pseudonym(reader: Any, namespace: str, identifier: bytes) -> bytes:
    """Of an identifier in a namespace."""
    key = reader.keys["identifiers"]
    if len(identifier) <= 15:
        block = (bytes([len(identifier)]) + identifier).ljust(16, b"\0")
        return aes(hmac.digest(key, f"hub/namespace/{namespace}".encode(), "sha256"), block)
    long = hmac.digest(key, f"hub/namespace/{namespace}/long".encode(), "sha256")
    return hmac.digest(long, identifier, "sha256")[:16]


def read_renewals(reader: Any, name: str) -> None:
    reader.renewals = {}
    for key, body in reader.opened(name):
        (number,) = struct.unpack_from(">I", key)
        table = reader.tables[number, 0]
        expect(len(key) == 20 and len(body) == 16 and body in table, "renewal")
        expect(reader.flags[number, key[4:]] == 192 and table[key[4:]] == table[body], "an identifier that was renewed")
        reader.renewals[number, key[4:]] = body
    replaced = {place for place, flags in reader.flags.items() if place[0] > RESIDENT_CODES and flags == 192}
    expect(replaced == set(reader.renewals), "what took the place of each")


def read_identified(reader: Any, name: str) -> None:
    reader.identified = []
    for key, body in reader.opened(name):
        day, institution, number = struct.unpack(">IHI", key)
        expect(institution in reader.institutions and number > RESIDENT_CODES, "who asked by which namespace")
        reader.identified.append([day, reader.institutions[institution], number, list(struct.unpack("<5Q", body))])


def read_proxies(reader: Any, name: str) -> None:
    reader.proxies = {}
    agents = {}
    for key, body in reader.opened(name):
        side, one, other = struct.unpack(">cII", key)
        if side == b"a":
            agents[other, one] = int.from_bytes(body, "little")
            continue
        kind, state, zero, until, grant, viewed = struct.unpack_from("<BBHIQq", body)
        expect(side == b"p" and kind in (1, 2) and state in (1, 2) and zero == 0, "proxy")
        label, called, at, _ = reader.decrypt(name, 0, body[24:])
        reader.proxies[one, other] = (kind, state, until, grant, viewed, label, called, at)
    expect(agents == {pair: proxy[3] for pair, proxy in reader.proxies.items()}, "proxies by agent")


def handles(reader: Any, pair: tuple[int, int]) -> tuple[bytes, bytes]:
    """The principal's handle of a proxy, and the agent's."""
    key, grant = reader.own_key("proxies"), reader.proxies[pair][3]
    mine, theirs = (aes(key, struct.pack("<IIQ", *pair, number)) for number in (grant, grant | OF_AGENT))
    return mine, theirs


def check_identity(reader: Any) -> None:
    """Identifiers and proxies stand as their events say."""
    gained: dict[int, int] = {}
    renewed: dict[int, int] = {}
    stands: dict[tuple[int, int], tuple[int, int]] = {}
    for event in reader.events:
        if event[3] in IDENTIFIERS:
            number, more, again = event[15:]
            gained[number] = gained.get(number, 0) + more
            renewed[number] = renewed.get(number, 0) + again
        elif event[3] in PROXIES:
            agent, grant, state = event[15:]
            expect((state == 0) == (event[3] == ENDED), "state of a proxy")
            expect(event[3] != GRANTED or grant <= event[0], "number of a grant")
            stands[event[12], agent] = state, grant
    for number, count in gained.items():
        expect(count == len(reader.tables[number, 0]) == reader.counts[number], "identifiers as their events say")
        expect((number, 1) not in reader.tables, "no identifiers by person")
        links = sum(place[0] == number for place in reader.renewals)
        expect(links == renewed[number], "renewals as their events say")
    stored = {pair: (proxy[1], proxy[3]) for pair, proxy in reader.proxies.items()}
    expect(stored == {pair: stand for pair, stand in stands.items() if stand[0]}, "proxies as their events say")
    for pair, proxy in reader.proxies.items():
        key = reader.own_key("proxies")
        name = hmac.digest(key, struct.pack("<IIQ", *pair, proxy[3]), "sha256")[:8]
        mine = [one for one in reader.records if one and one["person"] == pair[0] and one["shared"][1] == name]
        views = [one["times"][0] for one in mine if one["kind"] == 16]
        expect(any(one["kind"] == 17 for one in mine), "the record of a grant")
        expect(max(views, default=0) == proxy[4], "when a view last left a record")
