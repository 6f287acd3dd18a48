"""Acquisition in three parts: who learns what, what a ticket is good for, and for how long."""

from __future__ import annotations

import random
import threading
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import hub
from hub import limits
from hub.acquisition import ticketdelivery, tickets
from hub.acquisition.tickets import TICKETS_PER_DRAW, read_draws
from hub.errors import RequestError, StorageError
from hub.messages import Acquisition
from hub.storage.snapshot import Commit
from parties import DAY_S, Clock

N = 100
CREATED, ALREADY, WAITING, NONE = (
    Acquisition.CREATED, Acquisition.ALREADY, Acquisition.WAITING, Acquisition.NONE
)  # fmt: skip


def states(h: hub.Hub) -> list[list[int]]:
    """The states of the tickets of every draw."""
    with h._store.snapshot() as snapshot:
        return [draw.states.tolist() for _, draw in read_draws(snapshot)]


def test_the_three_parts_give_what_the_one_gives(opened: hub.Hub, town: str, codes: np.ndarray) -> None:
    h = opened
    drawn = h.tickets(town, N)
    assert (drawn.shape, drawn.dtype) == ((N, 16), np.uint8)
    waiting = h.acquired(town, drawn)
    assert waiting.status.tolist() == [WAITING] * N
    assert not waiting.aliases.any()
    receipt = h.deliver("jlis", drawn[:60].copy(), [f"{code:011}" for code in codes[:60]])
    assert (receipt.rows, receipt.request_id) == (60, "")
    acquired = h.acquired(town, drawn)
    assert acquired.status.tolist() == [CREATED] * 60 + [WAITING] * 40
    assert not acquired.aliases[60:].any()
    at_once = h.acquire(town, codes)
    assert at_once.status.tolist() == [ALREADY] * 60 + [CREATED] * 40
    assert (at_once.aliases[:60] == acquired.aliases[:60]).all()
    h.deliver("jlis", drawn[60:].copy(), codes[60:])
    rest = h.acquired(town, drawn[::-1].copy())
    assert rest.status.tolist() == [ALREADY] * 40 + [CREATED] * 60
    assert (rest.aliases == at_once.aliases[::-1]).all()
    assert h.verify().ok


def test_one_delivery_serves_many_institutions(opened: hub.Hub, town: str, codes: np.ndarray) -> None:
    h = opened
    mine, theirs = h.tickets("nenkin", 50), h.tickets(town, 50)
    order = np.random.default_rng(3).permutation(N)
    h.deliver("jlis", np.concatenate((mine, theirs))[order], np.tile(codes[:50], 2)[order])
    a, b = h.acquired("nenkin", mine), h.acquired(town, theirs)
    assert a.status.tolist() == b.status.tolist() == [CREATED] * 50
    assert (h.resolve("nenkin", town, a.aliases).aliases == b.aliases).all()
    assert h.stats()["persons"] == 50


def test_a_ticket_is_good_for_its_own_institution_alone(opened: hub.Hub, town: str, codes: np.ndarray) -> None:
    drawn = opened.tickets("nenkin", N)
    opened.deliver("jlis", drawn, codes)
    for other in (town, "portal"):
        opened.acquire(other, codes)
    for other in (town, "portal", "jlis"):
        found = opened.acquired(other, drawn)
        assert found.status.tolist() == [NONE] * N
        assert not found.aliases.any()
    assert opened.close_tickets(town, drawn) == 0
    assert opened.acquired("nenkin", drawn).status.tolist() == [CREATED] * N


def test_what_is_no_ticket_is_unknown_and_refuses_the_whole_delivery(opened: hub.Hub, codes: np.ndarray) -> None:
    drawn = opened.tickets("nenkin", 3)
    strangers = np.random.default_rng(4).integers(0, 256, (4, 16), np.uint8)
    strangers[1], strangers[2] = 0, drawn[0]
    strangers[2, 7] ^= 1
    assert opened.acquired("nenkin", strangers).status.tolist() == [NONE] * 4
    before = opened.stats()["commits"]
    for stranger in strangers:
        with pytest.raises(RequestError, match=r"tickets: expected ones that were drawn and have not lapsed.* row 1$"):
            opened.deliver("jlis", np.stack((drawn[0], stranger, drawn[1])), codes[:3])
    assert opened.close_tickets("nenkin", strangers) == 0
    assert opened.stats()["commits"] == before
    assert opened.acquired("nenkin", drawn).status.tolist() == [WAITING] * 3


def test_a_ticket_is_delivered_once(opened: hub.Hub, codes: np.ndarray) -> None:
    h, drawn = opened, opened.tickets("nenkin", 4)
    h.deliver("jlis", drawn[:2].copy(), codes[:2])
    aliases = h.acquired("nenkin", drawn).aliases
    before = h.stats()["commits"]
    h.deliver("jlis", drawn[:2].copy(), codes[:2])
    known, unknown = codes[[1, 0]], codes[[0, 99]]
    for other in (known, unknown):
        with pytest.raises(RequestError, match="tickets: expected each delivered once, with one code"):
            h.deliver("jlis", drawn[:2].copy(), other)
    # Also of one call, where the rest of it would be new.
    with pytest.raises(RequestError, match=r"with one code, got another in row 2$"):
        h.deliver("jlis", drawn[[2, 3, 2]], codes[[2, 3, 4]])
    assert h.stats()["commits"] == before
    h.deliver("jlis", drawn[[2, 3, 2, 0]], codes[[2, 2, 2, 0]])
    acquired = h.acquired("nenkin", drawn)
    assert acquired.status.tolist() == [CREATED, CREATED, CREATED, ALREADY]
    assert (acquired.aliases[:2] == aliases[:2]).all()
    assert (acquired.aliases[2] == acquired.aliases[3]).all()


def test_tickets_may_be_asked_for_again_until_they_are_closed(opened: hub.Hub, codes: np.ndarray) -> None:
    h, drawn = opened, opened.tickets("nenkin", 4)
    h.deliver("jlis", drawn[:3].copy(), codes[:3])
    first = h.acquired("nenkin", drawn)
    h.tickets("nenkin", 1)
    again = h.acquired("nenkin", drawn)
    assert (again.aliases == first.aliases).all()
    assert (again.status == first.status).all()
    # A ticket that waits cannot be closed: the register body may be delivering it.
    assert h.close_tickets("nenkin", drawn[[1, 1, 3]]) == 1
    assert h.close_tickets("nenkin", drawn[[1, 3]]) == 0
    assert h.acquired("nenkin", drawn).status.tolist() == [CREATED, NONE, CREATED, WAITING]
    assert h.verify().ok
    # The register body's receipt may have been lost: a retry finds it done.
    h.deliver("jlis", drawn[:3].copy(), codes[:3])
    assert h.acquired("nenkin", drawn).status.tolist() == [CREATED, NONE, CREATED, WAITING]


def test_a_closed_ticket_forgets_its_person_and_a_closed_draw_everything(opened: hub.Hub, codes: np.ndarray) -> None:
    h, drawn = opened, opened.tickets("nenkin", 4)
    h.deliver("jlis", drawn, codes[:4])
    h.close_tickets("nenkin", drawn[:3].copy())
    with h._store.snapshot() as snapshot:
        ((_, draw),) = read_draws(snapshot)
    assert draw.persons.tolist() == [0xFFFFFFFF] * 3 + [3]
    h.close_tickets("nenkin", drawn)
    with h._store.snapshot() as snapshot:
        ((_, value),) = snapshot.items("tickets", b"")
        assert len(value) == 8 + 16
    assert states(h) == [[3] * 4]


@pytest.mark.parametrize("how", ["draw", "deliver", "close"])
def test_tickets_lapse_and_are_erased_a_day_later(tmp_path: Path, how: str) -> None:
    clock, codes = Clock(), np.arange(10, dtype=np.int64)
    with hub.open(tmp_path / "h", create=True, clock=clock) as h:
        begin = clock.now
        drawn = h.tickets("nenkin", 2)
        h.deliver("jlis", drawn[:1].copy(), codes[:1])
        clock.now = begin + limits.TICKET_DAYS * DAY_S - 1
        assert h.acquired("nenkin", drawn).status.tolist() == [CREATED, WAITING]
        h.deliver("jlis", drawn, codes[:2])
        clock.now += 1
        assert h.acquired("nenkin", drawn).status.tolist() == [NONE, NONE]
        with pytest.raises(RequestError, match="have not lapsed"):
            h.deliver("jlis", drawn, codes[:2])
        assert h.close_tickets("nenkin", drawn) == 0
        later = h.tickets("nenkin", 2)
        assert len(states(h)) == 2
        clock.now += DAY_S - 1
        h.deliver("jlis", later[:1].copy(), codes[2:3])
        assert states(h) == [[1, 1], [1, 0]]
        clock.now += 1
        if how == "draw":
            h.tickets("nenkin", 1)
            assert states(h) == [[1, 0], [0]]
        elif how == "deliver":
            h.deliver("jlis", later[1:].copy(), codes[3:4])
            assert states(h) == [[1, 1]]
        else:
            h.close_tickets("nenkin", later)
            assert states(h) == [[3, 0]]
        assert h.verify().ok


def test_numbers_of_draws_are_not_used_again(tmp_path: Path) -> None:
    clock, seen = Clock(), set()
    for _ in range(4):
        with hub.open(tmp_path / "h", create=True, clock=clock) as h:
            seen |= {ticket.tobytes() for ticket in h.tickets("nenkin", 5)}
            clock.now += (limits.TICKET_DAYS + 2) * DAY_S
    assert len(seen) == 20


def test_tickets_look_random(opened: hub.Hub) -> None:
    drawn = np.concatenate([opened.tickets("nenkin", 10_000), opened.tickets("portal", 10_000)])
    assert len(np.unique(drawn.view(np.uint64)[:, 0])) == len(np.unique(drawn.view(np.uint64)[:, 1])) == 20_000
    ones = np.unpackbits(drawn, axis=1).mean(axis=0)
    assert (abs(ones - 0.5) < 0.03).all()


def test_many_tickets_are_many_draws(opened: hub.Hub) -> None:
    n = 2 * TICKETS_PER_DRAW + 1
    drawn = opened.tickets("nenkin", n)
    assert [len(draw) for draw in states(opened)] == [TICKETS_PER_DRAW, TICKETS_PER_DRAW, 1]
    codes = np.arange(n, dtype=np.int64)
    opened.deliver("jlis", drawn[::-1].copy(), codes[::-1].copy())
    acquired = opened.acquired("nenkin", drawn)
    assert acquired.status.tolist() == [CREATED] * n
    assert (acquired.aliases == opened.acquire("nenkin", codes).aliases).all()


def test_the_number_of_tickets_is_bounded_on_both_sides(opened: hub.Hub, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(hub.methods.aliases, "ROWS_PER_BATCH_MAX", 7)
    for wrong in (0, -1, 8, True, 1.0, "3", None):
        with pytest.raises(RequestError, match="n: expected"):
            opened.tickets("nenkin", wrong)  # type: ignore[arg-type]
    assert len(opened.tickets("nenkin", 1)) == 1
    assert len(opened.tickets("nenkin", np.int32(7))) == 7  # type: ignore[arg-type]


def test_nobody_holds_both_codes_and_aliases(opened: hub.Hub, town: str, codes: np.ndarray) -> None:
    with pytest.raises(RequestError, match="expected another than the register body"):
        opened.tickets("jlis", 1)
    drawn = opened.tickets("nenkin", 1)
    for other in ("nenkin", town, "nobody"):
        with pytest.raises(RequestError, match="expected the register body"):
            opened.deliver(other, drawn, codes[:1])
    assert opened.acquired("nenkin", drawn).status.tolist() == [WAITING]


@pytest.mark.parametrize("wrong", [None, [b"x" * 16], np.zeros((2, 15), np.uint8), np.zeros((2, 16), np.int8)])
def test_other_columns_are_refused(opened: hub.Hub, wrong: Any) -> None:
    calls = (
        lambda: opened.deliver("jlis", wrong, ["00000000001"] * 2),
        lambda: opened.acquired("nenkin", wrong),
        lambda: opened.close_tickets("nenkin", wrong),
    )
    for call in calls:
        with pytest.raises(RequestError, match="tickets: expected"):
            call()


def test_codes_must_be_as_many_as_tickets(opened: hub.Hub) -> None:
    drawn = opened.tickets("nenkin", 2)
    for codes in (["00000000001"], ["00000000001"] * 3, ["1"] * 2):
        with pytest.raises(RequestError, match="codes: expected"):
            opened.deliver("jlis", drawn, codes)
    assert opened.deliver("jlis", drawn[:0].copy(), []).rows == 0


def test_the_shortcut_is_refused_where_others_were_served(opened: hub.Hub, codes: np.ndarray) -> None:
    with opened._store.commit() as commit:
        commit.put_sealed("meta", b"served", b"")
    with pytest.raises(RequestError, match="acquire: expected a folder that was never served"):
        opened.acquire("nenkin", codes)
    drawn = opened.tickets("nenkin", N)
    opened.deliver("jlis", drawn, codes)
    assert opened.acquired("nenkin", drawn).status.tolist() == [CREATED] * N


def test_a_ticket_tells_the_alias_that_holds_now(opened: hub.Hub, codes: np.ndarray) -> None:
    h, drawn = opened, opened.tickets("nenkin", 3)
    h.deliver("jlis", drawn, codes[:3])
    first = h.acquired("nenkin", drawn).aliases
    made = h.reissue("nenkin", first[:1].copy()).aliases
    h.revoke("nenkin", first[1:2].copy())
    now = h.acquired("nenkin", drawn)
    assert now.status.tolist() == [CREATED, NONE, CREATED]
    assert (now.aliases == np.stack((made[0], np.zeros(16, np.uint8), first[2]))).all()


def test_a_delivery_that_died_between_aliases_and_tickets_is_completed(
    opened: hub.Hub, town: str, codes: np.ndarray, monkeypatch: pytest.MonkeyPatch
) -> None:
    h = opened
    drawn, others = h.tickets("nenkin", N), h.tickets(town, N)
    both, twice = np.concatenate((drawn, others)), np.tile(codes, 2)

    def die(*_: Any, **__: Any) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(ticketdelivery, "put_tickets", die)
    with pytest.raises(KeyboardInterrupt):
        h.deliver("jlis", both, twice)
    monkeypatch.undo()
    assert h.stats()["aliases"] == {"nenkin": N, town: N}
    assert h.acquired("nenkin", drawn).status.tolist() == [WAITING] * N
    h.deliver("jlis", both, twice)
    assert h.acquired("nenkin", drawn).status.tolist() == [ALREADY] * N
    assert h.stats()["aliases"] == {"nenkin": N, town: N}


def test_a_delivery_that_died_between_its_commits_is_completed(
    opened: hub.Hub, codes: np.ndarray, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tickets, "DRAWS_PER_COMMIT", 1)
    h = opened
    drawn = np.concatenate([h.tickets("nenkin", 10) for _ in range(3)])
    put, done = Commit.put_sealed, []

    def put_or_fail(self: Commit, name: str, key: bytes, body: bytes) -> None:
        done.append(name)
        if done.count("tickets") == 2:
            raise StorageError("write: no space left", retry_safe=True)
        put(self, name, key, body)

    monkeypatch.setattr(Commit, "put_sealed", put_or_fail)
    with pytest.raises(StorageError):
        h.deliver("jlis", drawn, codes[:30])
    monkeypatch.setattr(Commit, "put_sealed", put)
    assert h.acquired("nenkin", drawn).status.tolist() == [CREATED] * 10 + [WAITING] * 20
    h.deliver("jlis", drawn, codes[:30])
    assert h.acquired("nenkin", drawn).status.tolist() == [CREATED] * 10 + [ALREADY] * 20
    assert h.verify().ok


def test_one_ticket_delivered_by_two_threads_has_one_person(opened: hub.Hub, codes: np.ndarray) -> None:
    h = opened
    for _ in range(20):
        drawn, outcomes = h.tickets("nenkin", 1), []

        def deliver(code: int, drawn: np.ndarray = drawn, outcomes: list[Any] = outcomes) -> None:
            try:
                outcomes.append(h.deliver("jlis", drawn, codes[code : code + 1]))
            except RequestError as error:
                outcomes.append(error)

        threads = [threading.Thread(target=deliver, args=(code,)) for code in range(2)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert sorted(type(one).__name__ for one in outcomes) == ["Receipt", "RequestError"]


def test_an_older_value_is_noticed_before_a_ticket_is_delivered_twice(opened: hub.Hub, codes: np.ndarray) -> None:
    h, drawn = opened, opened.tickets("nenkin", 2)
    with h._store.snapshot() as snapshot:
        ((key, value),) = snapshot.items("tickets", b"")
        old = bytes(value)
    h.deliver("jlis", drawn, codes[:2])
    with h._store.commit() as commit:
        # As a write that never reached the disk would leave it: the sums are the newer ones.
        commit.txn.put(key, old, db=h._store.databases["tickets"])
    h._store._compared.clear()
    with pytest.raises(StorageError, match="tickets: expected the sum of what was written last"):
        h.deliver("jlis", drawn, codes[[1, 0]])
    assert not h.verify().ok


@pytest.mark.parametrize("at", [0, 4, 12, 24, 40])
def test_a_damaged_draw_is_refused(opened: hub.Hub, codes: np.ndarray, at: int) -> None:
    h, drawn = opened, opened.tickets("nenkin", 4)
    h.deliver("jlis", drawn, codes[:4])
    with h._store.commit() as commit:
        key = bytes(8)
        value = bytearray(commit.get("tickets", key))
        value[at] ^= 1
        commit.put("tickets", key, bytes(value))
    for call in (h.acquired, h.close_tickets):
        with pytest.raises(StorageError, match="tickets"):
            call("nenkin", drawn)
    assert any("tickets" in problem for problem in h.verify().problems)


def test_a_person_of_a_ticket_that_waits_is_found_by_verification(opened: hub.Hub, codes: np.ndarray) -> None:
    h, drawn = opened, opened.tickets("nenkin", 2)
    h.deliver("jlis", drawn, codes[:2])
    with h._store.commit() as commit:
        draw = tickets._read(bytes(8), commit.get("tickets", bytes(8)))
        draw.states[0] = tickets.WAITS
        commit.put_sealed("tickets", bytes(8), tickets._pack(draw))
    assert any(problem.startswith("tickets: expected a person") for problem in h.verify().problems)


def test_a_read_only_hub_tells_aliases_and_draws_nothing(tmp_path: Path, codes: np.ndarray) -> None:
    with hub.open(tmp_path / "h", create=True) as h:
        drawn = h.tickets("nenkin", 4)
        h.deliver("jlis", drawn[:2].copy(), codes[:2])
        aliases = h.acquired("nenkin", drawn).aliases
    with hub.open(tmp_path / "h", readonly=True) as h:
        assert (h.acquired("nenkin", drawn).aliases == aliases).all()
        writes = (
            lambda: h.tickets("nenkin", 1),
            lambda: h.deliver("jlis", drawn, codes[:4]),
            lambda: h.close_tickets("nenkin", drawn),
        )
        for write in writes:
            with pytest.raises(RequestError, match="read-only"):
                write()


def test_no_word_of_a_result_or_an_error_tells_a_ticket(opened: hub.Hub, codes: np.ndarray) -> None:
    drawn = opened.tickets("nenkin", 2)
    opened.deliver("jlis", drawn, codes[:2])
    words = repr(opened.acquired("nenkin", drawn))
    for other, whose in ((drawn, codes[1:3]), (drawn ^ 1, codes[:2])):
        with pytest.raises(RequestError) as refused:
            opened.deliver("jlis", other, whose)
        words += str(refused.value)
    assert not any(ticket.tobytes().hex()[:8] in words for ticket in drawn)
    assert str(codes[0]) not in words


class Model:
    """Tickets as a dict: institution, code and status of each, None where it waits; and who has which alias."""

    def __init__(self, h: hub.Hub) -> None:
        self.h = h
        self.state: dict[bytes, tuple[str, int | None, int]] = {}
        self.aliases: dict[tuple[str, int], bytes] = {}

    def draw(self, institution: str, n: int) -> None:
        drawn = [ticket.tobytes() for ticket in self.h.tickets(institution, n)]
        assert not self.state.keys() & set(drawn)
        self.state |= dict.fromkeys(drawn, (institution, None, WAITING))

    def deliver(self, tickets: list[bytes], codes: list[int]) -> None:
        said: dict[bytes, int] = {}
        for ticket, code in zip(tickets, codes, strict=True):
            _, before, status = self.state.get(ticket, ("", None, NONE))
            known = before if before is not None else said.setdefault(ticket, code)
            if ticket not in self.state or (status != NONE and known != code) or said.setdefault(ticket, code) != code:
                with pytest.raises(RequestError, match="tickets: expected"):
                    self.h.deliver("jlis", rows_of(tickets), np.array(codes, np.int64))
                return
        self.h.deliver("jlis", rows_of(tickets), np.array(codes, np.int64))
        for ticket, code in said.items():
            institution, _, status = self.state[ticket]
            if status == WAITING:
                known = (institution, code) in self.aliases
                self.state[ticket] = institution, code, ALREADY if known else CREATED
                if not known:
                    self.aliases[institution, code] = self.h.acquired(institution, rows_of([ticket])).aliases.tobytes()

    def close(self, institution: str, tickets: list[bytes]) -> None:
        known = {ticket: self.state[ticket] for ticket in tickets if ticket in self.state}
        done = {ticket for ticket, (owner, code, _) in known.items() if owner == institution and code is not None}
        assert self.h.close_tickets(institution, rows_of(tickets)) == len(done)
        self.state |= dict.fromkeys(done, (institution, None, NONE))

    def check(self, institution: str, tickets: list[bytes]) -> None:
        got = self.h.acquired(institution, rows_of(tickets))
        for ticket, alias, status in zip(tickets, got.aliases, got.status.tolist(), strict=True):
            owner, code, expected = self.state.get(ticket, ("", None, NONE))
            assert status == (expected if owner == institution else NONE)
            held = None if code is None or owner != institution else self.aliases[institution, code]
            assert alias.tobytes() == (held or bytes(16))


def rows_of(tickets: list[bytes]) -> np.ndarray:
    return np.frombuffer(b"".join(tickets), np.uint8).reshape(-1, 16)


def test_random_tickets_agree_with_a_dict(opened: hub.Hub, town: str, monkeypatch: pytest.MonkeyPatch) -> None:
    seed = random.SystemRandom().randrange(1 << 31)
    print(f"seed {seed}")
    rng, model = random.Random(seed), Model(opened)
    monkeypatch.setattr(tickets, "TICKETS_PER_DRAW", 7)
    monkeypatch.setattr(tickets, "DRAWS_PER_COMMIT", 2)
    for _ in range(120):
        institution = rng.choice(["nenkin", town])
        some = rng.choices([*model.state, rng.randbytes(16)], k=rng.randrange(1, 12))
        match rng.randrange(4):
            case 0:
                model.draw(institution, rng.randrange(1, 20))
            case 1:
                # Mostly the same codes as before, of some tickets twice; at times others.
                waiting = {t: rng.randrange(30) for t in some}
                known = {t: model.state[t][1] for t in some if t in model.state}
                codes = [waiting[t] if known.get(t) is None else known[t] for t in some]
                model.deliver(some, [code if rng.random() < 0.95 else rng.randrange(30) for code in codes])
            case 2:
                waiting = {t: rng.randrange(30) for t, (_, code, _) in model.state.items() if code is None}
                chosen = rng.sample(sorted(waiting), min(len(waiting), 15))
                model.deliver(chosen, [waiting[t] for t in chosen])
            case 3:
                model.close(institution, some)
        model.check(institution, some)
    for institution in ("nenkin", town):
        model.check(institution, [*model.state])
    assert opened.verify().ok
