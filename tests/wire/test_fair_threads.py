"""Threads in which institutions take turns: nobody waits for the end of another's flood."""

from __future__ import annotations

import threading
from collections.abc import Callable

import pytest

from hub.errors import BusyError
from hub.wire.fair import Pool

WAIT_S = 20


class Work:
    """A call that is done when it is let go."""

    def __init__(self) -> None:
        self.begun, self.let_go, self.done = threading.Event(), threading.Event(), threading.Event()
        self.refused: list[BusyError] = []

    def __call__(self) -> None:
        self.begun.set()
        assert self.let_go.wait(WAIT_S)
        self.done.set()

    def refuse(self, error: BusyError) -> None:
        self.refused.append(error)


def put(pool: Pool, who: str) -> Work:
    work = Work()
    pool.submit(who, work, work.refuse)
    return work


def note(order: list[str], who: str, done: threading.Event | None = None) -> Callable[[], None]:
    def work() -> None:
        order.append(who)
        if done is not None:
            done.set()

    return work


def no_refusal(error: BusyError) -> None:
    raise AssertionError(error)


def test_two_long_calls_of_one_institution_do_not_keep_another_waiting() -> None:
    pool = Pool("bulk", 2, 64)
    long = [put(pool, "a") for _ in range(4)]
    assert all(one.begun.wait(WAIT_S) for one in long[:2])
    other = put(pool, "b")
    assert other.begun.wait(WAIT_S)
    # The spare thread is not for whom one works already.
    assert not long[2].begun.is_set()
    third = put(pool, "c")
    again = put(pool, "b")
    assert pool.load()[:2] == (4, 3)
    other.let_go.set()
    # Whom none serves comes first, though the others have waited for longer.
    assert third.begun.wait(WAIT_S)
    assert not long[2].begun.is_set()
    assert not again.begun.is_set()
    for one in [*long, third, again]:
        one.let_go.set()
    assert all(one.done.wait(WAIT_S) for one in [*long, third, again])
    pool.close()
    assert pool.load() == (0, 0, 0.0)


def test_institutions_take_turns() -> None:
    pool = Pool("one", 1, 64, spare=0)
    first = put(pool, "a")
    assert first.begun.wait(WAIT_S)
    order: list[str] = []
    last = threading.Event()
    for _ in range(5):
        pool.submit("a", note(order, "a"), no_refusal)
    for _ in range(2):
        pool.submit("b", note(order, "b"), no_refusal)
    pool.submit("c", note(order, "c"), no_refusal)
    pool.submit("a", note(order, "a", last), no_refusal)
    first.let_go.set()
    assert last.wait(WAIT_S)
    assert order == ["a", "b", "c", "a", "b", "a", "a", "a", "a"]
    pool.close()


def test_a_full_queue_is_busy_and_one_place_less_is_not() -> None:
    pool = Pool("few", 1, 3, spare=0)
    works = [put(pool, "a")]
    assert works[0].begun.wait(WAIT_S)
    works += [put(pool, "a") for _ in range(3)]
    with pytest.raises(BusyError, match="too many wait"):
        put(pool, "a")
    for one in works:
        one.let_go.set()
    assert all(one.done.wait(WAIT_S) for one in works)
    assert not any(one.refused for one in works)
    pool.close()


def test_who_fills_the_queue_gives_up_its_last_place_to_who_has_less() -> None:
    pool = Pool("few", 1, 4, spare=0)
    flood = [put(pool, "a") for _ in range(1)]
    assert flood[0].begun.wait(WAIT_S)
    flood += [put(pool, "a") for _ in range(4)]
    others = [put(pool, "b"), put(pool, "c")]
    assert [len(one.refused) for one in flood] == [0, 0, 0, 1, 1]
    assert flood[4].refused[0].retry_after_s > 0
    # Two of a, one of b, one of c: for a second place of b nobody has enough.
    with pytest.raises(BusyError):
        put(pool, "b")
    with pytest.raises(BusyError):
        put(pool, "a")
    kept = [*flood[:3], *others]
    for one in kept:
        one.let_go.set()
    assert all(one.done.wait(WAIT_S) for one in kept)
    assert not flood[3].begun.is_set()
    pool.close()


def test_what_has_not_begun_is_dropped_at_the_end_and_what_has_is_waited_for() -> None:
    pool = Pool("end", 1, 8, spare=0)
    first, second = put(pool, "a"), put(pool, "a")
    assert first.begun.wait(WAIT_S)
    closing = threading.Thread(target=pool.close)
    closing.start()
    closing.join(0.05)
    assert closing.is_alive()
    first.let_go.set()
    closing.join(WAIT_S)
    assert not closing.is_alive()
    assert first.done.is_set()
    assert not second.begun.is_set()


def test_the_age_of_the_queue_is_that_of_its_first(monkeypatch: pytest.MonkeyPatch) -> None:
    pool = Pool("age", 1, 8, spare=0)
    first = put(pool, "a")
    assert first.begun.wait(WAIT_S)
    now = [100.0]
    monkeypatch.setattr("hub.wire.fair.time.monotonic", lambda: now[0])
    waiting = [put(pool, "a")]
    now[0] += 5
    waiting.append(put(pool, "b"))
    now[0] += 2
    assert pool.load() == (2, 1, 7.0)
    monkeypatch.undo()
    for one in [first, *waiting]:
        one.let_go.set()
    assert all(one.done.wait(WAIT_S) for one in waiting)
    pool.close()
