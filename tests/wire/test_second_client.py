"""Golden vectors, and a client that knows only docs/wire.md: both agree with the hub."""

from __future__ import annotations

import ast
import json
import sys
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from served import Network, Served

import hub
import make_wire_vectors
import wire_client
from hub.messages import Status
from hub.wire.methods import METHODS, REPLY_DECODERS, REQUEST_DECODERS
from hub.wire.packing import pack_rows, unpack_rows
from hub.wire.words import decode_from_client, decode_from_server
from parties import Parties
from wire_client import Time, WireFault, frame, pack, unpack

VECTORS = json.loads(make_wire_vectors.PATH.read_text(encoding="utf-8"))
TAX = {
    "procedure": "19-8/73/75.3", "items": ["市町村民税"], "role": "納付義務者", "section": "国民年金部",
    "request_id": "second",
}  # fmt: skip


def restored(value: Any) -> Any:
    """A value of the vectors as the second client has it."""
    if isinstance(value, list):
        return [restored(one) for one in value]
    if isinstance(value, dict):
        if set(value) == {"hex"}:
            return bytes.fromhex(value["hex"])
        if set(value) == {"time"}:
            return Time(value["time"])
        return {int(key[1:]) if key.startswith("#") else key: restored(one) for key, one in value.items()}
    return value


def test_the_vectors_are_what_the_hub_writes() -> None:
    assert make_wire_vectors.PATH.read_text(encoding="utf-8") == make_wire_vectors.make_vectors()


@pytest.mark.parametrize("vector", VECTORS["frames"], ids=lambda vector: vector["name"])
def test_the_second_client_writes_and_reads_every_frame(vector: dict[str, Any]) -> None:
    data, message = bytes.fromhex(vector["frame"]), restored(vector["message"])
    assert unpack(data[5:]) == message
    assert data[:5] == (len(data) - 4).to_bytes(4, "little") + bytes([vector["version"]])
    again = frame(message, vector["version"])
    if message[0] in (1, 3, 4):
        # What a client sends: byte for byte, and the hub reads it.
        assert again == data
        assert msgspec.msgpack.encode(decode_from_client(memoryview(again)[5:])) == data[5:]
    else:
        assert msgspec.msgpack.encode(decode_from_server(memoryview(again)[5:])) == data[5:]


@pytest.mark.parametrize("number", range(len(VECTORS["arguments"])))
def test_the_second_client_writes_every_argument(number: int) -> None:
    vector = VECTORS["arguments"][number]
    data = bytes.fromhex(vector["bytes"])
    assert pack(restored(vector["arguments"])) == data
    assert msgspec.msgpack.encode(REQUEST_DECODERS[vector["method"]].decode(data)) == data


@pytest.mark.parametrize("number", range(len(VECTORS["replies"])))
def test_the_second_client_reads_every_reply(number: int) -> None:
    vector = VECTORS["replies"][number]
    data = bytes.fromhex(vector["bytes"])
    assert unpack(data) == restored(vector["reply"])
    assert msgspec.msgpack.encode(REPLY_DECODERS[vector["method"]].decode(data)) == data


def test_the_second_client_knows_nothing_of_the_hub() -> None:
    tree = ast.parse(Path(wire_client.__file__).read_text(encoding="utf-8"))
    names = {alias.name for node in ast.walk(tree) if isinstance(node, ast.Import) for alias in node.names}
    names |= {node.module or "" for node in ast.walk(tree) if isinstance(node, ast.ImportFrom)}
    assert {name.split(".")[0] for name in names} <= sys.stdlib_module_names


VALUES = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**63), 2**64 - 1) | st.floats(allow_nan=False) | st.text() | st.binary(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
    max_leaves=20,
)


@given(VALUES)
def test_both_have_the_same_messagepack(value: Any) -> None:
    assert pack(value) == msgspec.msgpack.encode(value)
    assert unpack(msgspec.msgpack.encode(value)) == value


@given(st.lists(st.none() | st.binary(max_size=20)))
def test_rows_come_back_as_they_went(rows: list[bytes | None]) -> None:
    made = pack_rows(rows)
    assert unpack_rows("rows", made) == rows
    fields = wire_client.pack_rows(rows)
    assert fields == [bytes(made.sizes), bytes(made.data)]
    assert wire_client.unpack_rows(fields) == rows


def test_the_second_client_takes_part_in_an_exchange(parties: Parties, network: Network) -> None:
    """Asked, collected, provided, answered, shown; by TLS, with what the hub's own client sees."""
    served = Served(parties.h, network.config(["nenkin", parties.town, "portal"]))
    client = network.client
    context = wire_client.make_context(network.authority.ca, client.cert, client.key)
    try:
        with wire_client.Client("127.0.0.1", served.port, context) as second, network.connect(served) as first:
            assert second.institutions == first.institutions
            aliases = [one.tobytes() for one in parties.nenkin]
            towns = [parties.town] * 5 + [parties.other_town]
            status = second.inquire("nenkin", TAX, aliases, towns)
            assert status == ["OK"] * 5 + ["NO_ALIAS_AT_PROVIDER"]
            waiting = second.collect(parties.town)
            assert {alias for _, alias in waiting} == {one.tobytes() for one in parties.known[:5]}
            payload = {permit: bytes([number]) * 70_000 for number, (permit, _) in enumerate(waiting)}
            with pytest.raises(WireFault, match="payloads: expected at most 65536 bytes") as caught:
                second.provide(parties.town, [waiting[0][0]], [payload[waiting[0][0]]])
            assert caught.value.code == "request"
            permits = [permit for permit, _ in waiting]
            assert second.provide(parties.town, permits, [bytes([n]) * 60_000 for n in range(5)]) == 5
            parties.clock.now += 5
            answers = second.answers("nenkin", "second")
            own = first.answers("nenkin", "second")
            assert [one for _, one in answers] == own.payloads
            assert [wire_client.STATUS.index(name) for name, _ in answers] == own.status.tolist()
            records = second.history(parties.portal[0].tobytes())
            shown = first.history(parties.portal[0]).records
            assert [record["index"] for record in records] == [record.index for record in shown]
            assert [record["requested_at"].moment() for record in records] == [one.requested_at for one in shown]
            with pytest.raises(WireFault) as caught:
                second.call("mhlw", "checkpoint", {})
            assert caught.value.code == "access"
    finally:
        served.stop()


def test_the_second_client_sends_and_reads_in_parts(parties: Parties, network: Network) -> None:
    served = Served(parties.h, network.config(["nenkin"]))
    context = wire_client.make_context(network.authority.ca, network.client.cert, network.client.key)
    rows = 60_000
    try:
        with wire_client.Client("127.0.0.1", served.port, context) as second:
            aliases = [one.tobytes() for one in np.tile(parties.nenkin, (rows // 6, 1))]
            status = second.inquire("nenkin", TAX, aliases, [parties.town] * rows)
            assert len(status) == rows
            assert set(status) == {"OK"}
    finally:
        served.stop()


def test_the_second_client_knows_every_status() -> None:
    assert [status.name for status in Status] == wire_client.STATUS


def test_every_method_and_its_arguments_stand_in_the_documentation() -> None:
    text = (Path(hub.__file__).parents[2] / "docs" / "wire.md").read_text(encoding="utf-8")
    for name, method in METHODS.items():
        row = next((line for line in text.splitlines() if line.startswith(f"| `{name}` |")), None)
        assert row is not None, f"docs/wire.md: {name} is missing"
        for argument in method.params:
            assert f"`{argument}" in row, f"docs/wire.md: {name}: {argument} is missing"


def test_the_bytes_in_the_documentation_are_those_of_the_vectors() -> None:
    text = (Path(hub.__file__).parents[2] / "docs" / "wire.md").read_text(encoding="utf-8")
    known = {vector["frame"] for vector in VECTORS["frames"]} | {
        vector["bytes"] for kind in ("arguments", "replies") for vector in VECTORS[kind]
    }
    shown = ["".join(block.split()) for block in text.split("```hex\n")[1:] for block in [block.split("```")[0]]]
    assert len(shown) >= 6
    assert set(shown) <= known
