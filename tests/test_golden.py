"""The stored formats are what they were, and a second reader that knows only the byte tables tells the same history."""

from __future__ import annotations

import hashlib
import importlib.util
import json
import struct
import zlib
from pathlib import Path
from typing import Any

import msgspec
import pytest
import xxhash
from nacl.public import PrivateKey, SealedBox

from second_basics import Damaged, Values
from second_exchange import answers, collected, cursor_of
from second_identity import handles
from second_identity import pseudonym as pseudonym_of
from second_reader import DERIVED, M64, Reader, load, value_sum
from second_sent import arrived, notices, sending

REPOSITORY = Path(__file__).parents[1]
GOLDEN = REPOSITORY / "tests" / "data" / "store"
TOLD: dict[str, Any] = json.loads((GOLDEN / "told.json").read_text(encoding="utf-8"))
TOWN, VILLAGE = "131016", "011002"
ANSWERED = ("received_at", "status", "rule", "reason", "holders")
BY_CLASS = "january/class"


def check(databases: dict[str, Values]) -> None:
    """Read everything and compare it with what the hub told.

    Raises:
        Exception: of any kind, where something does not fit.
    """
    reader = Reader(databases)
    persons = range(len(TOLD["codes"]))
    tables = {code: reader.tables[reader.numbers[code], 0] for code in ("nenkin", "portal", TOWN)}
    for code, table in tables.items():
        number = reader.numbers[code]
        told = {bytes.fromhex(alias): struct.pack("<I", person) for person, alias in enumerate(TOLD["aliases"][code])}
        assert table == told
        assert reader.tables[number, 1] == {person: alias for alias, person in told.items()}
        assert reader.counts[number] == len(told)
    mhlw = reader.numbers["mhlw"]
    ended = {bytes.fromhex(alias): struct.pack("<I", person) for alias, person in TOLD["ended"]}
    holders = {bytes.fromhex(alias): struct.pack("<I", person) for alias, person in TOLD["holders"].items()}
    assert reader.tables[mhlw, 0] == {**ended, **holders}
    assert {person: alias for alias, person in holders.items()} == reader.tables[mhlw, 1]
    assert reader.counts[mhlw] == len(holders)
    replaced, revoked = 192, 128
    flags = [replaced, replaced, revoked, replaced, revoked, revoked]
    assert [reader.flags.pop((mhlw, alias)) for alias in ended] == flags
    check_identity(reader)
    assert not reader.flags
    for ticket, (status, alias) in TOLD["tickets"].items():
        institution, state, person = reader.tickets[bytes.fromhex(ticket)]
        held = reader.tables[mhlw, 1].get(struct.pack("<I", person))
        waiting_or_none = {0: 3, 4: 4, 5: 3}.get(state, 0)
        assert institution == mhlw
        assert status == (state if state in (1, 2) and held is not None else waiting_or_none)
        assert bytes.fromhex(alias) == (held if held is not None else bytes(16))
    assert len(reader.tickets) == len(TOLD["tickets"])
    (claimed,), linked = reader.claims.values(), list(reader.linked.values())
    assert (claimed[0], TOLD["claimed"][claimed[1].hex()]) == ("first clerk", "attributes 3")
    assert [(one[0], one[1]) for one in linked] == [(1, None), (10, "first clerk"), (0, None)]
    assert linked[1][2] == reader.pseudonym(TOLD["codes"][50])
    assert linked[2][5].hex() == TOLD["ended"][-1][0]
    assert reader.claiming == {"mhlw"}
    # The acquisition that was cut off has written some of its new persons; all of them stand in what was written down.
    known = {reader.pseudonym(code): person for person, code in enumerate(TOLD["codes"])}
    waiting = dict(reader.pending[1 << 23])
    for pseudonym, person in reader.tables[1 << 23, 0].items():
        assert {**known, **waiting}[pseudonym] == struct.unpack("<I", person)[0]
    assert reader.counts[1 << 23] == len(known)
    assert set(known) < set(reader.tables[1 << 23, 0])
    assert set(known) | set(waiting) > set(reader.tables[1 << 23, 0])
    assert len(reader.pending[reader.numbers["011002"]]) == 53
    assert reader.state["persons"] == len(known) + len(waiting)
    assert [reader.disclosure_key(person).hex() for person in persons] == TOLD["disclosure_keys"]
    assert (reader.origin, reader.catalog, reader.verifier_key) == (
        TOLD["origin"], TOLD["catalog"], TOLD["verifier_key"]
    )  # fmt: skip
    assert reader.checkpoint == TOLD["checkpoint"]
    assert {note: at for at, note in TOLD["checkpoints"]}.keys() == reader.kept.keys()
    for person, lines in TOLD["histories"].items():
        assert reader.history(int(person)) == lines
    lines = [json.dumps(reader.history(p), ensure_ascii=False, separators=(",", ":")).encode() for p in persons]
    assert [hashlib.sha256(one).hexdigest() for one in lines] == TOLD["history_digests"]
    sides = (None, "requester", "provider")
    events = [
        [*one[:9], sides[one[9]], one[10] or None, one[11], *tail(one)]
        for one in reader.events
    ]
    assert events == TOLD["events"]
    assert {str(number): lines for number, lines in reader.held.items() if reader.holds[number][8] == 1} == {
        number: lines for number, lines in TOLD["held"].items() if lines
    }
    assert [[one[1], one[2], one[3].hex(), *one[4:7], *one[8:]] for one in reader.holds.values()] == TOLD["holds"]
    assert reader.cursor(TOLD["cursor"]["person"], TOLD["cursor"]["behind"]) == TOLD["cursor"]["text"]
    manual = {struct.pack("<I", person) for (person, _), flags in reader.flagged.items() if flags & 1}
    together = (f"together/{number}" for number in (1, 2, 3))
    facts = [[label, person, reader.institutions[number], *days] for label, person, number, *days in reader.facts]
    assert sorted(facts, key=lambda fact: fact[:4]) == TOLD["facts"]
    assert [(reader.institutions[number], person) for number, person, _ in reader.wanted] == [("011002", 60)]
    asked = TOLD["answers"][BY_CLASS]
    assert asked["status"] == [0, 3, 15, 0, 3, 1, 0, 0, 0]
    assert asked["holders"] == [[2, ["131016", "011002"]]]
    january = ("january", "january/withheld", "january/flagged", BY_CLASS, "prompt", "last")
    tables[VILLAGE] = {bytes.fromhex(alias): struct.pack("<I", person) for alias, person in TOLD["village"].items()}
    rows = (f"rows/{number}" for number in (1, 2, 3, 4))
    for request_id in ("december/1", "december/2", "alone", *together, *january, *rows):
        told = TOLD["answers"][request_id]
        found = reader.answer("nenkin", request_id)
        del found["records"]
        assert found["digest"] == reader.request_digest(told)
        assert {**found, "digest": None} == {**{name: told[name] for name in ANSWERED}, "digest": None}
        if request_id == BY_CLASS:
            continue
        for alias, provider, status in zip(told["aliases"], told["providers"], found["status"], strict=True):
            person = tables["nenkin"].get(bytes.fromhex(alias))
            if person is None:
                assert status == 1
                continue
            known = tables[provider].values() if provider in tables else ()
            there = person in known
            assert (status == 0) == (there or (request_id == "january/flagged" and person in manual))
    for request_id in ("may", "whole", "all", "again"):
        # Kept for thirty days only.
        assert reader.answer("nenkin", request_id) is None
    check_exchange(reader)
    check_sent(reader)


def check_sent(reader: Reader) -> None:
    """Compare what was sent unasked with what its sender, its receiver and the citizens were told."""
    assert {name: sending(reader, TOWN, name) for name in TOLD["sent"]} == TOLD["sent"]
    for person, told in TOLD["notices"].items():
        assert notices(reader, int(person)) == told
    assert arrived(reader, "nenkin", TOLD["now"]) == sorted(TOLD["arrived"])


def tail(event: list[object]) -> list[object]:
    """Of what an event has behind the common fields: alias, flags, the alias in its place."""
    person_alias_flags_other = event[12:]
    if len(person_alias_flags_other) not in (3, 4):
        return [None, None, None]
    _, alias, flags, *other = person_alias_flags_other
    shown = bytes(other[0]).hex() or None if other else None  # type: ignore[call-overload]
    return [bytes(alias).hex() or None, flags if event[3] in (11, 12, 57, 58) else None, shown]  # type: ignore[call-overload]


def check_exchange(reader: Reader) -> None:
    """Compare what is stored of the exchange with what requesters and providers were told."""
    now = TOLD["now"]
    found = {request_id: answers(reader, "nenkin", request_id, now) for request_id in TOLD["answers"]}
    assert {name: one for name, one in found.items() if one is not None} == TOLD["answered"]
    for request_id in TOLD["fetched"]:
        # What was provided is forgotten, that it was is not.
        assert 9 in found[request_id]["status"]
        assert not any(one is not None for one in found[request_id]["payloads"])
    for institution, lists in TOLD["collected"].items():
        number, end = reader.numbers[institution], len(reader.records)
        places = [cursor_of(reader, number, one["cursor"]) for one in lists]
        assert places == [*[(0, 0, 0)] * (len(lists) - 1), (end, end, 0)]
        assert collected(reader, institution, now) == [
            {
                **{name: value for name, value in one.items() if name != "cursor"},
                "inquiry": {name: value for name, value in one["inquiry"].items() if name != "requester_name"},
            }
            for one in lists
        ]
    private = PrivateKey(bytes.fromhex(TOLD["private_key"]))
    assert reader.payload_keys[reader.numbers["nenkin"]][1] == bytes(private.public_key)
    sealed = {payload.hex() for index, payload in reader.payloads.items() if payload[:4] == b"HSP1"}
    assert sealed == set(TOLD["sealed"])
    for envelope, text in TOLD["sealed"].items():
        assert SealedBox(private).decrypt(bytes.fromhex(envelope)[20:]).decode() == text


def check_identity(reader: Reader) -> None:
    """Compare identifiers, proxies and consents with what the hub told, and take the flags of identifiers out."""
    number, told = (1 << 23) + 1, TOLD["identified"]
    revoked = {"VALID": None, "NO_ALIAS": None, "REVOKED": 128, "REPLACED": 192}
    for identifier, (status, person) in told["serials"].items():
        one = pseudonym_of(reader, "serials", identifier.encode())
        if status == "UNKNOWN":
            assert one not in reader.tables[number, 0]
        else:
            assert reader.tables[number, 0][one] == struct.pack("<I", person)
            assert reader.flags.pop((number, one), None) == revoked[status]
    assert (number + 1, 0) not in reader.tables
    assert reader.identified == told["counts"]
    proxies = sorted(
        [pair[0], pair[1], *proxy[:3], proxy[5], proxy[6], *(one.hex() for one in handles(reader, pair))]
        for pair, proxy in reader.proxies.items()
    )
    assert proxies == TOLD["proxies"]
    said = [
        [person, reader.institutions[number], procedure, withdrawn, at]
        for (person, number, _), (procedure, withdrawn, at, _) in reader.consents.items()
    ]
    assert sorted(said) == TOLD["consents"]


def inflated(databases: dict[str, Values]) -> dict[str, Values]:
    """With catalogs unpacked and without the sum over their deflated bytes: zlibs may differ in those."""
    catalogs = {key: value[8:64] + zlib.decompress(value[64:]) for key, value in databases["catalogs"].items()}
    return {**databases, "catalogs": catalogs}


def seal(name: str, key: bytes, body: bytes) -> bytes:
    """A value with the right checksum."""
    head = b"" if name == "tables" else name.encode() + b"\0" + str(len(key)).encode() + b"\0" + key
    return struct.pack("<Q", xxhash.xxh3_64_intdigest(head + body)) + body


def forge(databases: dict[str, Values], name: str, key: bytes, body: bytes | None) -> dict[str, Values]:
    """With another value or none, with the right checksum and sums, as a commit would have written it."""
    values = {**databases[name], key: b"" if body is None else seal(name, key, body)}
    if body is None:
        del values[key]
    state = msgspec.msgpack.decode(databases["meta"][b"state"][8:])
    state["sums"][name] = sum(value_sum(*item) for item in values.items()) & M64
    meta = {**databases["meta"], b"state": seal("meta", b"state", msgspec.msgpack.encode(state))}
    return {**databases, name: values, "meta": meta}


def test_the_golden_files_written_again_are_the_same_bytes(tmp_path: Path) -> None:
    path = REPOSITORY / "tools" / "make_golden_store.py"
    spec = importlib.util.spec_from_file_location("make_golden_store", path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    module.write_golden(tmp_path)
    assert sorted(p.name for p in tmp_path.iterdir()) == sorted(p.name for p in GOLDEN.iterdir())
    for name in (path.name for path in GOLDEN.iterdir() if path.name != "catalogs.txt"):
        assert (tmp_path / name).read_bytes() == (GOLDEN / name).read_bytes(), f"{name} differs"
    assert inflated(load(tmp_path)) == inflated(load(GOLDEN))


def test_a_second_reader_tells_what_the_hub_told() -> None:
    check(load(GOLDEN))


@pytest.mark.parametrize("name", sorted(load(GOLDEN)))
def test_a_flipped_byte_in_any_golden_value_is_noticed(name: str) -> None:
    databases = load(GOLDEN)
    for key, value in databases[name].items():
        places = {0, len(value) - 1, int.from_bytes(hashlib.sha256(key + value).digest()[:8]) % len(value)}
        for at in sorted(places):
            flipped = value[:at] + bytes([value[at] ^ 1]) + value[at + 1 :]
            with pytest.raises(Exception):  # noqa: B017, PT011
                check({**databases, name: {**databases[name], key: flipped}})


FILLED = {name for name, values in load(GOLDEN).items() if values}


@pytest.mark.parametrize("name", sorted(FILLED - {"keys", "files", *DERIVED}))
def test_a_value_with_a_right_checksum_that_no_commit_wrote_is_noticed_by_the_sums(name: str) -> None:
    """As one of an earlier commit would be, whose write was lost."""
    databases = load(GOLDEN)
    key, value = next((key, value) for key, value in databases[name].items() if key != b"state")
    stale = seal(name, key, value[8:-1] + bytes([value[-1] ^ 1]))
    with pytest.raises(Damaged, match=r"^sums"):
        check({**databases, name: {**databases[name], key: stale}})


# When a clerk was asked is in ``manual`` alone, and some of its permits are a clerk's because of a flag too.
@pytest.mark.parametrize("name", ["inbox", "inboxes", "permits", "outcomes", "payloads", "released", "notices"])
def test_a_value_of_the_exchange_with_right_sums_that_does_not_follow_from_the_log_is_noticed(name: str) -> None:
    databases = load(GOLDEN)
    for key, value in databases[name].items():
        body = value[8:]
        for at in range(0, len(body), -(-len(body) // 5)):
            flipped = body[:at] + bytes([body[at] ^ 1 << at % 8]) + body[at + 1 :]
            with pytest.raises(Exception):  # noqa: B017, PT011
                check(forge(databases, name, key, flipped))
        with pytest.raises(Exception):  # noqa: B017, PT011
            check(forge(databases, name, key, None))


def test_a_clerk_s_permit_that_has_ended_or_is_none_is_noticed() -> None:
    databases = load(GOLDEN)
    reader = Reader(databases)
    value = next(iter(databases["manual"].values()))[8:]
    ended = max(reader.ends)
    none = next(index for index in range(ended) if index not in reader.waiting)
    for index in (ended, none):
        with pytest.raises(Damaged, match="a clerk's permit waits"):
            check(forge(databases, "manual", struct.pack(">IQ", reader.numbers[TOWN], index), value))


# Nothing says which blocks of nobody, and which bodies whose key was shredded, are still there; of what changes the
# sums say it.
@pytest.mark.parametrize("name", sorted(set(load(GOLDEN)) - {"runs"}))
def test_a_missing_golden_value_is_noticed(name: str) -> None:
    databases = load(GOLDEN)
    end = Reader(databases).erasures[-1][3]
    for key in databases[name]:
        if name == "records" and int.from_bytes(key) < end:
            continue
        with pytest.raises(Exception):  # noqa: B017, PT011
            check({**databases, name: {k: v for k, v in databases[name].items() if k != key}})


def test_a_database_without_a_reader_is_named() -> None:
    with pytest.raises(Damaged, match="no reader for another"):
        Reader({**load(GOLDEN), "another": {}})
