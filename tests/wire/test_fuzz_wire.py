"""A little of the fuzz loop (tools/fuzz_wire.py), and what it found."""

from __future__ import annotations

import asyncio
import subprocess
import sys
import time
from pathlib import Path
from random import Random, SystemRandom
from typing import Any

import msgspec
import pytest
from served import plain_config
from test_bad_clients import arguments

import fuzz_wire
from fuzz_arguments import Arguments, Pools
from fuzz_frames import HELLO, Maker, Script, call, frame, widen
from fuzz_inside import Inside, Pipe, loop_factory
from fuzz_reading import Findings, Reader
from hub.limits import WIRE_PART_BYTES
from hub.server import Server
from hub.wire.config import Limits
from hub.wire.methods import METHODS, REQUEST_DECODERS
from parties import Parties

FRAMES = 8_000
POOLS = {"nenkin": [bytes(16)], "portal": [bytes(16)]}


def test_random_and_damaged_frames_do_no_harm(tmp_path: Path) -> None:
    seed = SystemRandom().randrange(1 << 30)
    print("seed", seed)
    findings = Findings(tmp_path / "failures")
    with asyncio.Runner(loop_factory=loop_factory) as runner:
        one = Inside(tmp_path / "hub", Random(seed), findings)
        runner.run(one.run(FRAMES, time.monotonic() + 300))
    assert findings.problems == []
    counts = findings.counts
    assert one.frames >= FRAMES
    assert min(counts["ends"], counts["errors request"], counts["replies"], counts["answered behind"]) > 0


def test_the_tool_says_what_it_did(tmp_path: Path) -> None:
    summary = tmp_path / "summary.json"
    given = ["--frames", "300", "--folder", str(tmp_path), "--json", str(summary), "--failures", str(tmp_path / "f")]
    ran = subprocess.run([sys.executable, fuzz_wire.__file__, *given], capture_output=True, text=True, timeout=100)
    assert (ran.returncode, ran.stderr) == (0, "")
    found = msgspec.json.decode(summary.read_bytes())
    assert found["problems"] == []
    assert found["counts"]["frames"] >= 300
    assert ran.stdout.endswith(summary.read_text())
    with pytest.raises(SystemExit) as caught:
        fuzz_wire.main(["--frames", "0"])
    assert caught.value.code == 2


def test_what_cannot_be_is_found(tmp_path: Path) -> None:
    """Whatever a server should never send is a problem, and what was sent is kept."""
    script = Script([HELLO], True)
    wrong = {
        "told: storage": frame(msgspec.msgpack.encode([6, 1, "storage", "x", False])),
        "with a name in it": frame(msgspec.msgpack.encode([6, 1, "request", "got fz-1", False])),
        "a frame of version": frame(msgspec.msgpack.encode([5, 1, 1, b"\xc0"]), 3),
        "behind the end": frame(msgspec.msgpack.encode([6, None, "frame", "x", False])) * 2,
        "a message 3": frame(msgspec.msgpack.encode([3])),
        "a frame of 0 bytes": bytes(5),
    }
    for text, data in wrong.items():
        findings = Findings(tmp_path / text)
        reader = Reader(findings, script, Pools(dict(POOLS), ["00000000017"]))
        reader.push(frame(msgspec.msgpack.encode([2, 1, 1, 1, []]), 0))
        reader.push(data)
        assert text in " ".join(findings.problems)
        assert fuzz_wire.load_script(tmp_path / text / "000.json") == script._replace(whole=False)


def test_every_method_is_called_rightly_now_and_then() -> None:
    """By the types of the table: whatever is added there is tried as well."""
    made = Arguments(Random(1), Pools(dict(POOLS), ["00000000017"]))
    for name, decoder in REQUEST_DECODERS.items():
        for _ in range(200):
            body = msgspec.msgpack.encode(made.make(name, "nenkin"))
            try:
                decoder.decode(body)
                break
            except msgspec.ValidationError:
                continue
        else:
            raise AssertionError(name)
    assert set(REQUEST_DECODERS) == set(METHODS)


def test_longer_forms_are_the_same_value() -> None:
    value = {"a": [1, 200, None, True, b"x" * 40, "税" * 12, [], {}], "b": {"c": -5, "d": 70_000}}
    for seed in range(50):
        assert msgspec.msgpack.decode(widen(Random(seed), value)) == value


def test_conversations_are_the_same_for_the_same_seed() -> None:
    def make() -> list[Script]:
        maker = Maker(Random(7), Pools(dict(POOLS), ["00000000017"]))
        return [maker.script() for _ in range(50)]

    assert make() == make()


class Leaving(Pipe):
    """Whose client is lost at the moment in which the server reads on."""

    def resume_reading(self) -> None:
        self._loop.call_soon(self.lose)


def test_who_leaves_while_the_server_begins_to_read_again_leaves_no_bytes(parties: Parties, tmp_path: Path) -> None:
    """Behind its open calls the beginning of a long one had come: nobody would ever count off its bytes."""

    async def leave() -> int:
        limits = Limits(requests_per_connection=1, bytes_in_flight=1 << 24)
        server = Server(parties.h, plain_config(["nenkin"], limits))
        await server.start()
        loop: Any = asyncio.get_running_loop()
        script = Script([], False)
        pipe = Leaving(loop, loop.factory(), Reader(Findings(tmp_path), script, Pools(dict(POOLS), [])))
        pipe.get_protocol().connection_made(pipe)
        long = frame(msgspec.msgpack.encode([3, 2, "nenkin", "inquire", False, 1 << 20, b"x"]))
        pipe.feed(HELLO + call(1, "nenkin", "checkpoint", b"\x80") + long)
        assert pipe.paused
        end = time.monotonic() + 20
        while not pipe.lost and time.monotonic() < end:
            await asyncio.sleep(0.01)
        await asyncio.sleep(0.05)
        left = (1 << 24) - server.calls._bytes_left
        await server.stop()
        return left

    with asyncio.Runner(loop_factory=loop_factory) as runner:
        assert runner.run(leave()) == 0


def test_who_leaves_without_reading_a_long_reply_leaves_no_bytes(parties: Parties, tmp_path: Path) -> None:
    """More than a frame carries, and nothing of it is read."""

    async def leave() -> tuple[int, int]:
        server = Server(parties.h, plain_config(["nenkin"], Limits(bytes_in_flight=1 << 24)))
        await server.start()
        loop: Any = asyncio.get_running_loop()
        pipe = Pipe(loop, loop.factory(), Reader(Findings(tmp_path), Script([], False), Pools(dict(POOLS), [])))
        pipe.get_protocol().connection_made(pipe)
        body = msgspec.msgpack.encode(arguments(parties, "long", 60_000))
        pipe.feed(HELLO + frame(msgspec.msgpack.encode([3, 1, "nenkin", "inquire", False, len(body), body[:1_000]])))
        for at in range(1_000, len(body), WIRE_PART_BYTES):
            pipe.feed(frame(msgspec.msgpack.encode([4, 1, body[at : at + WIRE_PART_BYTES]])))
        pipe.halt(True)
        end = time.monotonic() + 60
        while (counted := server.calls.bytes_in_flight) in (0, len(body)) and time.monotonic() < end:
            await asyncio.sleep(0.01)
        pipe.lose()
        await asyncio.sleep(0.05)
        left = server.calls.bytes_in_flight
        await server.stop()
        return counted, left

    with asyncio.Runner(loop_factory=loop_factory) as runner:
        counted, left = runner.run(leave())
    assert counted > 6 * 60_000
    assert left == 0
