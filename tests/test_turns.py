"""Who gets the writer's lock when several wait for it."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

import hub
from hub.requests import state as requests
from hub.storage import turns
from hub.storage.turns import Turns
from inquiries import tax_inquiry


class Crowd:
    """Threads that take the lock and say who had it, in order."""

    def __init__(self) -> None:
        self.turns, self.had = Turns(), list[str]()
        self.threads: list[threading.Thread] = []

    def send(self, name: str, *, hurry: bool = False, inside: Callable[[], None] = lambda: None) -> None:
        def run() -> None:
            with self.turns.hurried() if hurry else self.turns.ordinary():
                self.had.append(name)
                inside()

        self.threads.append(threading.Thread(target=run, daemon=True))
        self.threads[-1].start()

    def until(self, true: Callable[[], bool]) -> None:
        deadline = time.monotonic() + 10
        while not true() and time.monotonic() < deadline:
            time.sleep(0.001)
        assert true()

    def join(self) -> None:
        for thread in self.threads:
            thread.join(10)
            assert not thread.is_alive()


@pytest.mark.parametrize("_", range(20))
def test_whoever_hurries_waits_for_nobody_but_the_one_that_is_in(_: int) -> None:
    crowd, go_on = Crowd(), threading.Event()
    crowd.send("first", inside=lambda: go_on.wait(10) and None)
    crowd.until(lambda: crowd.had == ["first"])
    for name in "abc":
        crowd.send(name)
    time.sleep(0.002)
    crowd.send("small", hurry=True)
    crowd.until(lambda: crowd.turns._hurrying)
    go_on.set()
    crowd.join()
    assert crowd.had[1] == "small"
    assert sorted(crowd.had[2:]) == ["a", "b", "c"]


def test_the_others_come_in_between_two_that_hurry() -> None:
    crowd, over = Crowd(), threading.Event()

    def hurry() -> None:
        while not over.is_set():
            with crowd.turns.hurried():
                crowd.had.append("small")
            time.sleep(0.001)

    crowd.threads.append(threading.Thread(target=hurry, daemon=True))
    crowd.threads[0].start()
    for number in range(20):
        crowd.send(str(number))
        crowd.until(lambda number=number: str(number) in crowd.had)  # type: ignore[misc]
    over.set()
    crowd.join()


def test_a_thread_that_is_in_may_enter_again_while_others_wait() -> None:
    crowd, go_on = Crowd(), threading.Event()

    def again() -> None:
        go_on.wait(10)
        with crowd.turns.ordinary():
            crowd.had.append("again")

    def direct() -> None:
        with crowd.turns.writer:
            crowd.had.append("direct")
            again()

    thread = threading.Thread(target=direct, daemon=True)
    thread.start()
    crowd.threads.append(thread)
    crowd.until(lambda: crowd.had == ["direct"])
    crowd.send("other")
    crowd.send("small", hurry=True)
    crowd.until(lambda: crowd.turns._hurrying)
    go_on.set()
    crowd.join()
    assert crowd.had[:2] == ["direct", "again"]


def test_an_error_inside_lets_the_next_one_in() -> None:
    found = Turns()
    for turn in (found.hurried, found.ordinary, found.hurried):
        with pytest.raises(ZeroDivisionError), turn():
            raise ZeroDivisionError
    done = threading.Thread(target=lambda: found.ordinary().__enter__(), daemon=True)
    done.start()
    done.join(10)
    assert not done.is_alive()


def test_a_large_inquiry_is_cut_shorter_while_small_ones_come(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(requests, "ROWS_PER_CHUNK", 4_096)
    monkeypatch.setattr(requests, "ROWS_PER_CHUNK_BESIDE", 1_024)
    with hub.open(tmp_path / "hub", create=True) as h:
        town = h.catalog.institutions("市町村長")[0].code
        aliases = np.resize(h.acquire("nenkin", np.arange(100) + 99_000_000_000).aliases, (8_192, 16))
        alone = h.inquire(tax_inquiry("alone"), aliases, town)
        assert h.status("nenkin", "alone").chunks == 2
        h.inquire(tax_inquiry("small"), aliases[:1], town)
        beside = h.inquire(tax_inquiry("beside"), aliases, town)
        assert h.status("nenkin", "beside").chunks == 8
        assert (alone.status == beside.status).all()
        # Given again it is the one that it was, whoever comes meanwhile.
        monkeypatch.setattr(turns, "LATELY_S", 0.0)
        assert (h.inquire(tax_inquiry("beside"), aliases, town).status == beside.status).all()
        h.inquire(tax_inquiry("alone again"), aliases, town)
        assert h.status("nenkin", "alone again").chunks == 2
        assert h.verify().ok


@pytest.mark.parametrize(
    ("worked", "came", "rests"), [(0.1, 0, []), (0.1, 2, [0.01]), (0.001, 1, [0.003]), (0.0, 9, [0.0])]
)
def test_bulk_rests_for_those_who_came_while_it_worked(
    worked: float, came: int, rests: list[float], monkeypatch: pytest.MonkeyPatch
) -> None:
    found, slept = Turns(), list[float]()
    before = found.hurries
    for _ in range(came):
        with found.hurried():
            pass
    with found.ordinary():
        pass
    monkeypatch.setattr(turns.time, "sleep", slept.append)
    found.give_room(worked, before)
    assert slept == pytest.approx(rests)


def test_a_large_inquiry_gives_room_behind_each_chunk_with_no_lock_held(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(requests, "ROWS_PER_CHUNK", 1_024)
    given: list[tuple[bool, int, bool]] = []
    with hub.open(tmp_path / "hub", create=True) as h:
        turned = h._store.turns

        def give_room(worked: float, hurries: int) -> None:
            owned = turned.writer._is_owned()  # type: ignore[attr-defined]
            given.append((worked > 0, turned.hurries - hurries, owned))
            # Somebody comes while the next chunk is made: it is that one's rest.
            with turned.hurried():
                pass

        monkeypatch.setattr(turned, "give_room", give_room)
        town = h.catalog.institutions("市町村長")[0].code
        aliases = np.resize(h.acquire("nenkin", np.arange(100) + 99_000_000_000).aliases, (4_096, 16))
        h.inquire(tax_inquiry("large"), aliases, town)
        assert given == [(True, 0, False)] * 4
        # One chunk alone is over before anybody could use the room.
        h.inquire(tax_inquiry("small"), aliases[:1_000], town)
        assert len(given) == 4


def test_long_work_gives_way_only_where_small_ones_came_lately(monkeypatch: pytest.MonkeyPatch) -> None:
    found, slept = Turns(), list[float]()
    monkeypatch.setattr(turns.time, "sleep", slept.append)
    with found.ordinary():
        pass
    found.give_way()
    assert slept == []
    with found.hurried():
        pass
    found.give_way()
    assert slept == [turns.PIECE_REST_S]
