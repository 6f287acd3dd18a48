"""The wire's load: no two requests alike, latency from the planned moment, replies that are not what was asked."""

from __future__ import annotations

import asyncio
import struct
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import msgspec
import numpy as np
import pytest

import hub
from hub.bench.wireask import NO_ANSWER, NOT_ASKED, WRONG, Crowd, Load, statuses_of
from hub.bench.wireload import LoadProcess, encode_call, prepare_frames
from hub.bench.wirescene import Scene, check_log
from hub.messages import Answer, Receipt
from hub.wire.frames import encode_frame
from hub.wire.results import ANSWER
from hub.wire.words import Reply
from inquiries import tax_inquiry

STALL_S = 0.5


class Slow(asyncio.Protocol):
    """Answers at once, but stands still once: with the 50th request."""

    asked = 0

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast(asyncio.Transport, transport)

    def data_received(self, data: bytes) -> None:
        Slow.asked += 1
        self._stand(Slow.asked == 50)

    def _stand(self, whether: bool) -> None:
        if whether:
            threading.Event().wait(STALL_S)
        self.transport.write(struct.pack("<I", 4) + b"done")


@pytest.fixture
def slow_port() -> Iterator[int]:
    Slow.asked = 0
    ready, port = threading.Event(), []
    ended: list[Callable[[], object]] = []

    async def serve() -> None:
        loop, end = asyncio.get_running_loop(), asyncio.Event()
        listener = await loop.create_server(Slow, "127.0.0.1", 0)
        port.append(listener.sockets[0].getsockname()[1])
        ended.append(lambda: loop.call_soon_threadsafe(end.set))
        ready.set()
        await end.wait()
        listener.close()

    thread = threading.Thread(target=lambda: asyncio.run(serve()), daemon=True)
    thread.start()
    assert ready.wait(10)
    yield port[0]
    ended[0]()
    thread.join(10)


def run(folder: Path, port: int, rate: float) -> Any:
    frames = folder / "frames.npy"
    np.save(frames, np.zeros((200, 10), np.uint8))
    load = LoadProcess(folder, "load", Load(port=port, connections=2, frames=str(frames), seconds=5.0, rate=rate))
    load.go()
    return load.finish()


def test_an_open_load_counts_from_the_planned_moment(tmp_path: Path, slow_port: int) -> None:
    # At 200 a second a hundred were planned while the server stood still, and are late though it answers them at once.
    outcome = run(tmp_path, slow_port, 200.0)
    assert len(outcome.seconds) == 200
    assert int((outcome.seconds > STALL_S / 5).sum()) > 40


def test_a_closed_load_asks_nothing_meanwhile(tmp_path: Path, slow_port: int) -> None:
    outcome = run(tmp_path, slow_port, 0.0)
    assert len(outcome.seconds) == 200
    # One stands for each connection at most.
    assert 1 <= int((outcome.seconds >= STALL_S / 2).sum()) <= 2


def test_prepared_frames_are_those_that_a_client_would_send() -> None:
    random = np.random.default_rng(1)
    world: Any = SimpleNamespace(
        persons=50, town_codes=["131016", "131024"], home_town=random.integers(0, 2, 50),
        requester=random.integers(0, 256, (50, 16)).astype(np.uint8),
    )  # fmt: skip
    frames = prepare_frames(world, random, "some", 300)
    assert len(set(frames.names.tolist())) == 300
    for row in range(300):
        person = frames.persons[row]
        provider = world.town_codes[world.home_town[person]]
        expected = encode_call(frames.names[row].decode(), world.requester[person].tobytes(), provider)
        assert frames.data[row].tobytes() == expected


def reply(name: str, rows: int = 1, status: int = 0) -> bytes:
    columns = np.full(rows, status, np.uint8)
    answer = Answer(columns, columns.astype(np.uint32), columns, Receipt(request_id=name, rows=rows, received_at=1))
    body = memoryview(msgspec.msgpack.encode(ANSWER.pack(answer)))
    return bytes(encode_frame(Reply(1, len(body), body), 1))


def test_a_reply_that_is_not_that_of_the_row_is_wrong() -> None:
    crowd = Crowd(Load(port=1, connections=1))
    crowd.replies = [reply("a", status=3), None, reply("other"), reply("d", rows=2), None]
    crowd.asked = 4
    assert statuses_of(crowd, list("abcde")).tolist() == [3, NO_ANSWER, WRONG, WRONG, NOT_ASKED]


@pytest.mark.parametrize("lost", [0, 1])
def test_what_was_acknowledged_and_is_not_in_the_log_is_a_problem(tmp_path: Path, lost: int) -> None:
    with hub.open(tmp_path / "hub", create=True) as h:
        town = h.catalog.institutions("市町村長")[0].code
        codes = np.arange(20) + 99_000_000_000
        requester, everybody = h.acquire("nenkin", codes).aliases, h.acquire("portal", codes).aliases
        h.acquire(town, codes)
        for row in range(20 - lost):
            h.inquire(tax_inquiry(f"r{row}"), requester[row : row + 1], town)
    problems: list[str] = []
    random = np.random.default_rng(1)
    bench: Any = SimpleNamespace(
        progress=SimpleNamespace(step=lambda text: None), truth=SimpleNamespace(rows=0, problems=problems), notes=[],
        generator=lambda name: random, options=SimpleNamespace(quick=True),
    )  # fmt: skip
    world: Any = SimpleNamespace(persons=20, folder=tmp_path / "hub", everybody=everybody)
    unused: Any = None
    scene = Scene(bench, world, unused, unused, tmp_path)
    scene.note_asked(np.arange(20, dtype=np.uint32), np.zeros(20, np.uint8))
    check_log(scene, 0)
    # The log's size, and that person's history.
    assert len(problems) == 2 * lost
