"""Who gets the writer's lock when several wait for it."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable

import pytest

from hub.turns import Turns


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
    turns = Turns()
    for turn in (turns.hurried, turns.ordinary, turns.hurried):
        with pytest.raises(ZeroDivisionError), turn():
            raise ZeroDivisionError
    done = threading.Thread(target=lambda: turns.ordinary().__enter__(), daemon=True)
    done.start()
    done.join(10)
    assert not done.is_alive()
