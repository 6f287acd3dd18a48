"""Quotas by institution: both sides of each, what BUSY says, and whom it leaves alone."""

from __future__ import annotations

import threading
import time
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pytest
from served import Served, Wires, frame, plain_config

import hub
from hub.errors import BusyError, RequestError
from hub.server import Server
from hub.wire import connection
from hub.wire.config import Limits, load_config
from hub.wire.methods import METHODS, REQUESTS
from hub.wire.quotas import GATHERED_ROWS_MAX, OPEN_REQUESTS, Account, Quota, Quotas
from hub.wire.rows import rows_of_call, rows_of_reply
from inquiries import tax_inquiry
from parties import Parties


class Time:
    """A clock that is set."""

    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


def account(clock: Time, **words: Any) -> Account:
    return Quotas({"default": Quota(**words)}, 1 << 30, clock).account("131016")


# -- rows a second


def test_a_call_may_start_while_there_is_something_in_the_bucket_and_is_paid_off_afterwards() -> None:
    clock = Time()
    one = account(clock, rows_per_s=100, burst_rows=50)
    one.admit()
    one.charge(1_050)
    with pytest.raises(BusyError) as caught:
        one.admit()
    # Honest: then there is room, and not a moment before.
    assert caught.value.retry_after_s == pytest.approx(10.01)
    clock.now += 9.99
    with pytest.raises(BusyError):
        one.admit()
    clock.now += 0.02
    one.admit()
    assert one.refused == [2, 0, 0]


def test_the_last_row_of_a_bucket_is_given_and_no_more() -> None:
    clock = Time()
    one = account(clock, rows_per_s=100, burst_rows=50)
    for _ in range(50):
        one.admit()
        one.charge(1)
    with pytest.raises(BusyError) as caught:
        one.admit()
    assert caught.value.retry_after_s == pytest.approx(0.01)


def test_a_bucket_fills_up_to_its_burst_and_no_further() -> None:
    clock = Time()
    one = account(clock, rows_per_s=100, burst_rows=50)
    clock.now += 1_000
    one.admit()
    one.charge(51)
    with pytest.raises(BusyError):
        one.admit()
    # Ten seconds' rows where nothing is said.
    other = account(clock, rows_per_s=100)
    other.admit()
    other.charge(999)
    other.admit()
    other.charge(1)
    with pytest.raises(BusyError):
        other.admit()


def test_over_time_nobody_has_more_rows_than_the_quota() -> None:
    clock = Time()
    one = account(clock, rows_per_s=1_000, burst_rows=500)
    given = 0
    while clock.now < 160:
        try:
            one.admit()
        except BusyError as busy:
            clock.now += busy.retry_after_s
        else:
            one.charge(7_777)
            given += 7_777
    assert 55_000 <= given <= 500 + 60_000 + 7_777


# -- bytes in flight, open requests


def test_bytes_in_flight_are_bounded_but_one_call_may_have_more() -> None:
    one = account(Time(), bytes_in_flight=1_000)
    one.reserve(5_000)
    one.bytes += 5_000
    with pytest.raises(BusyError):
        one.reserve(1)
    one.bytes -= 4_999
    one.reserve(999)
    one.bytes += 999
    with pytest.raises(BusyError):
        one.reserve(1)
    assert one.refused == [0, 2, 0]


def test_open_requests_are_bounded() -> None:
    one = account(Time(), open_requests=3)
    for _ in range(3):
        one.admit()
        one.open += 1
    with pytest.raises(BusyError) as caught:
        one.admit()
    assert 0 < caught.value.retry_after_s <= 30
    one.end(0.5)
    one.admit()


def test_rows_that_wait_for_a_shared_commit_are_bounded() -> None:
    one = account(Time())
    one.gather(GATHERED_ROWS_MAX)
    one.gathered = GATHERED_ROWS_MAX - 1
    one.gather(1)
    one.gathered += 1
    with pytest.raises(BusyError):
        one.gather(1)


def test_what_a_quota_does_not_say_is_the_defaults() -> None:
    quotas = Quotas(
        {"default": Quota(open_requests=5, rows_per_s=10, burst_rows=77), "nenkin": Quota(rows_per_s=20)}, 1_000, Time()
    )
    own, other = quotas.account("nenkin"), quotas.account("131016")
    assert (own._rate, own._burst, own._open_max, own._bytes_max) == (20, 200, 5, 500)
    assert (other._rate, other._burst, other._open_max, other._bytes_max) == (10, 77, 5, 500)
    assert quotas.account("nenkin") is own
    none = Quotas({}, 1_000, Time()).account("nenkin")
    assert (none._rate, none._open_max, none._bytes_max) == (None, OPEN_REQUESTS, 500)


# -- rows of calls


@pytest.mark.parametrize(
    ("name", "words", "rows"),
    [
        ("inquire", {"aliases": bytes(16 * 5), "providers": [["131016"], b""]}, 5),
        ("provide", {"permits": bytes(8 * 3), "outcomes": 9}, 3),
        ("tickets", {"n": 9}, 9),
        ("tickets", {"n": -9}, 0),
        ("deliver", {"tickets": bytes(16 * 2), "codes": bytes(8 * 2)}, 2),
        ("taken", {"numbers": bytes(8 * 4)}, 4),
        ("update", {"permits": [None, bytes(16 * 6)], "payloads": []}, 6),
        ("update", {"permits": [bytes(8 * 6), None], "payloads": []}, 6),
        ("deaths", {"aliases": [bytes(16 * 7), None], "days": [None, b""]}, 7),
        ("deaths", {"aliases": [None, bytes(8 * 7)], "days": [None, b""]}, 7),
        ("identify", {"namespace": "n", "identifiers": [bytes(4 * 8), b""]}, 8),
        ("suspend", {"clerk": "a", "reason": "b"}, 0),
        ("checkpoint", {}, 0),
        ("collect", {"limit": 1_000_000}, 0),
    ],
)
def test_rows_of_a_call_are_those_of_its_longest_column(name: str, words: dict[str, Any], rows: int) -> None:
    if METHODS[name].of is not None:
        field = METHODS[name].names.partition(".")[0]
        body = {"procedure": "p", "items": ["i"], "section": "s", "request_id": "r"}
        if name == "update":
            body = {"section": "s", "request_id": "r"}
        words = {**words, field: body}
    given = msgspec.msgpack.decode(msgspec.msgpack.encode(words), type=REQUESTS[name])
    assert rows_of_call(name, given) == rows


def test_rows_of_a_reply_are_those_of_what_was_found(parties: Parties) -> None:
    parties.ask("r", [0, 1, 2])
    permits = METHODS["collect"].result.pack(parties.h.collect(parties.town))
    assert rows_of_reply(permits) == 3
    page = parties.h.history(parties.portal[0])
    assert rows_of_reply(page) == 0
    assert rows_of_reply(b"text") == 0


# -- at a server


def set_clock(served: Served, code: str) -> Time:
    """Let an institution's bucket go by a clock that stands still."""
    assert served.server is not None
    one, clock = served.server.calls.ledger.quotas.account(code), Time()
    one._clock, one._at = clock, clock.now
    return clock


def refused_in(served: Served, code: str) -> list[int]:
    assert served.server is not None
    return served.server.calls.ledger.quotas.account(code).refused


def test_an_institution_that_had_its_rows_is_busy_and_the_others_are_not(parties: Parties) -> None:
    config = plain_config(["nenkin", "portal", parties.town])
    quotas = {"nenkin": Quota(rows_per_s=3, burst_rows=3)}
    served = Served(parties.h, msgspec.structs.replace(config, quotas=quotas))
    clock = set_clock(served, "nenkin")
    try:
        with hub.connect(served.address, institution="nenkin") as h:
            many = np.ascontiguousarray(np.tile(parties.nenkin, (2, 1)))
            # More rows than the bucket has, and yet it starts.
            assert len(h.inquire(tax_inquiry("many"), many, parties.town).status) == 12
            with pytest.raises(BusyError, match="rows a second") as caught:
                h.inquire(tax_inquiry("one"), parties.nenkin[:1], parties.town, timeout=0.5)
            assert caught.value.retry_after_s == pytest.approx(10 / 3)
            assert parties.h.stats()["records"] == 12
            assert h.collect(parties.town)
            clock.now += 10 / 3
            h.inquire(tax_inquiry("one"), parties.nenkin[:1], parties.town)
            assert parties.h.stats()["records"] == 13
            assert refused_in(served, "nenkin") == [1, 0, 0]
            assert refused_in(served, parties.town) == [0, 0, 0]
    finally:
        served.stop()


def test_who_collects_is_charged_for_what_was_collected(parties: Parties) -> None:
    quotas = {parties.town: Quota(rows_per_s=1, burst_rows=1)}
    served = Served(parties.h, msgspec.structs.replace(plain_config([parties.town]), quotas=quotas))
    set_clock(served, parties.town)
    parties.ask("r", [0, 1, 2, 3])
    try:
        with hub.connect(served.address) as h:
            assert sum(map(len, h.collect(parties.town))) == 4
            with pytest.raises(BusyError) as caught:
                h.collect(parties.town, timeout=0.5)
            assert caught.value.retry_after_s == pytest.approx(4)
    finally:
        served.stop()


def test_open_requests_and_bytes_of_one_institution_leave_room_for_another(parties: Parties) -> None:
    limits = Limits(bytes_in_flight=100_000)
    quotas = {"nenkin": Quota(open_requests=2, bytes_in_flight=50_000)}
    config = msgspec.structs.replace(plain_config(["nenkin", parties.town], limits), quotas=quotas)
    served = Served(parties.h, config)
    wires = Wires(served.port)
    begin = {"digest": bytes(32), "rows_max": 1}
    try:
        with parties.h._store.writer:
            for number in range(2):
                wires.call(number, "nenkin", "begin_file", {"request_id": f"f{number}", **begin})
            wires.call(2, "nenkin", "begin_file", {"request_id": "f2", **begin})
            busy = wires.read()
            assert busy[:3] == [6, 2, "busy"]
            assert "open requests" in busy[3]
            assert 0 < busy[5] <= 30
            wires.call(3, parties.town, "flags", {"aliases": bytes(16)})
            assert wires.read()[1] == 3
        assert {wires.read()[1], wires.read()[1]} == {0, 1}
        # Announced, and not there yet.
        wires.send(frame([3, 10, "nenkin", "inquire", False, 40_000, b""]))
        wires.send(frame([3, 11, "nenkin", "inquire", False, 20_000, b""]))
        busy = wires.read()
        assert busy[:3] == [6, 11, "busy"]
        assert "bytes in flight of this institution" in busy[3]
        wires.send(frame([3, 12, parties.town, "flags", False, 20_000, b""]))
        wires.call(13, parties.town, "flags", {"aliases": bytes(16)})
        assert wires.read()[1] == 13
        # What was announced is given back with its connection.
        wires.close()
        assert served.server is not None
        calls = served.server.calls
        deadline = time.monotonic() + 10
        while calls.bytes_in_flight and time.monotonic() < deadline:
            time.sleep(0.01)
        assert calls.bytes_in_flight == calls.ledger.quotas.account("nenkin").bytes == 0
        assert calls.ledger.quotas.account("nenkin").open == calls.open == calls.connections == 0
    finally:
        served.stop()


def test_a_quota_is_charged_by_institution_and_not_by_connection(parties: Parties) -> None:
    """A platform that carries many: each has its own."""
    quotas = {"default": Quota(rows_per_s=1, burst_rows=1)}
    served = Served(parties.h, msgspec.structs.replace(plain_config(["nenkin", parties.town]), quotas=quotas))
    set_clock(served, "nenkin")
    try:
        with hub.connect(served.address) as h, hub.connect(served.address) as other:
            h.inquire(tax_inquiry("a"), parties.nenkin[:3], parties.town)
            with pytest.raises(BusyError):
                other.inquire(tax_inquiry("b"), parties.nenkin[:1], parties.town, timeout=0.1)
            assert len(h.flags(parties.town, parties.known[:1])) == 1
    finally:
        served.stop()


CONFIG = 'folder = "h"\nlisten = "127.0.0.1:1"\n[plain]\nname = "n"\ninstitutions = ["nenkin"]\n'


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("[quotas.nenkin]\nrows_per_second = 1\n", "unknown field `rows_per_second`"),
        ("[quotas.nenkin]\nrows_per_s = 0\n", "Expected `int` >= 1"),
        ("[quotas]\nrows_per_s = 1\n", "Expected `object`, got `int`"),
        ('[metrics]\nlisten = "0.0.0.0:1"\n', "expected a loopback address or anywhere = true"),
        ('[metrics]\nlisten = "here"\n', "metrics.listen: expected host:port"),
        ('[log]\nlevel = "loud"\n', "Invalid enum value"),
        ("[log]\nslow_s = 0\n", "Expected `float` > 0"),
    ],
)
def test_a_wrong_section_is_refused_by_name(tmp_path: Path, text: str, words: str) -> None:
    path = tmp_path / "hub.toml"
    path.write_text(CONFIG + text)
    with pytest.raises(RequestError, match=words):
        load_config(path, plain=True)


@pytest.mark.parametrize(
    ("quotas", "words"),
    [
        ({"nobody": Quota(rows_per_s=1)}, r"expected the code of an institution in \[quotas\], got nobody"),
        ({"nenkin": Quota(burst_rows=1)}, r"expected rows_per_s with burst_rows in \[quotas.nenkin\]"),
    ],
)
def test_a_quota_of_nobody_is_refused_by_name(parties: Parties, quotas: dict[str, Quota], words: str) -> None:
    with pytest.raises(RequestError, match=words):
        Server(parties.h, msgspec.structs.replace(plain_config(["nenkin"]), quotas=quotas))


def test_a_flood_of_one_institution_does_not_keep_another_from_its_singles(parties: Parties) -> None:
    """Many connections of nenkin ask without end; the town's calls are answered in between, none is refused."""
    served = Served(parties.h, plain_config(["nenkin", parties.town, "portal"]), as_usual=True)
    stop = threading.Event()
    sent = [0]

    def flood(name: int) -> None:
        wires = Wires(served.port)
        rows = np.tile(parties.nenkin, (64, 1)).tobytes()
        number = 0
        try:
            while not stop.is_set():
                for _ in range(16):
                    body = {
                        "inquiry": {
                            "procedure": "19-8/73/75.3", "items": ["市町村民税"], "role": "納付義務者",
                            "section": "係", "request_id": f"flood-{name}-{number}",
                        },
                        "aliases": rows, "providers": [[parties.town], b""],
                    }  # fmt: skip
                    wires.call(number % (1 << 30), "nenkin", "inquire", body)
                    number += 1
                for _ in range(16):
                    assert wires.read()[0] in (5, 6)
                    sent[0] += 1
        finally:
            wires.close()

    threads = [threading.Thread(target=flood, args=(name,), daemon=True) for name in range(6)]
    for thread in threads:
        thread.start()
    try:
        with hub.connect(served.address) as h:
            times = []
            for number in range(40):
                begun = time.monotonic()
                assert len(h.flags(parties.town, parties.known[:1], timeout=20)) == 1
                h.begin_file(parties.town, f"f{number}", bytes(32), 1, timeout=20)
                times.append(time.monotonic() - begun)
            assert sent[0] > 0
            assert refused_in(served, parties.town) == [0, 0, 0]
            assert sorted(times)[len(times) // 2] < 5
    finally:
        stop.set()
        for thread in threads:
            thread.join(30)
        served.stop()


def test_single_inquiries_that_are_taken_together_are_charged_as_well(parties: Parties) -> None:
    quotas = {"nenkin": Quota(rows_per_s=10, burst_rows=3)}
    config = msgspec.structs.replace(plain_config(["nenkin", parties.town]), quotas=quotas)
    served = Served(parties.h, config)
    clock = set_clock(served, "nenkin")
    assert served.server is not None
    calls = served.server.calls
    try:
        with hub.connect(served.address, institution="nenkin") as h:
            for number in range(3):
                h.inquire(tax_inquiry(f"r{number}"), parties.nenkin[:1], parties.town)
            if calls.singles.intake.party("here", frozenset()):
                assert calls.singles.intake.taken == 3
            for _ in range(2):
                with pytest.raises(BusyError, match="rows a second") as caught:
                    h.inquire(tax_inquiry("r3"), parties.nenkin[:1], parties.town, timeout=0.05)
                assert caught.value.retry_after_s == pytest.approx(0.1)
            clock.now += 0.35
            for number in range(3, 6):
                h.inquire(tax_inquiry(f"r{number}"), parties.nenkin[:1], parties.town)
            with pytest.raises(BusyError):
                h.inquire(tax_inquiry("r6"), parties.nenkin[:1], parties.town, timeout=0.01)
        assert parties.h.stats()["records"] == 6
        assert calls.ledger.done["inquire"] == {"ok": 6, "busy": 3}
        assert calls.ledger.rows["inquire"] == calls.ledger.statuses[0] == 6
        assert sum(calls.ledger.times["small"].counts) == 6
        assert refused_in(served, "nenkin") == [3, 0, 0]
        assert calls.open == calls.ledger.quotas.account("nenkin").open == 0
    finally:
        served.stop()


def test_single_inquiries_that_are_open_are_bounded_as_well(parties: Parties) -> None:
    quotas = {"nenkin": Quota(open_requests=4)}
    served = Served(parties.h, msgspec.structs.replace(plain_config(["nenkin", parties.town]), quotas=quotas))
    wires = Wires(served.port)
    words = {"procedure": "19-8/73/75.3", "items": ["市町村民税"], "section": "係"}
    try:
        with parties.h._store.writer:
            for number in range(6):
                body = {
                    "inquiry": {**words, "request_id": f"r{number}", "role": "納付義務者"},
                    "aliases": parties.nenkin[0].tobytes(), "providers": [[parties.town], b""],
                }  # fmt: skip
                wires.call(number, "nenkin", "inquire", body)
                # Each in a turn of its own.
                time.sleep(0.1)
            assert [wires.read()[:3] for _ in range(2)] == [[6, 4, "busy"], [6, 5, "busy"]]
        assert {wires.read()[1] for _ in range(4)} == {0, 1, 2, 3}
        wires.call(6, "nenkin", "inquire", body)
        assert wires.read()[:2] == [5, 6]
    finally:
        wires.close()
        served.stop()


def test_who_calls_on_without_waiting_is_not_read_for_a_while(
    parties: Parties, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(connection, "REST_S", 1.5)
    quotas = {"nenkin": Quota(rows_per_s=1, burst_rows=1)}
    served = Served(parties.h, msgspec.structs.replace(plain_config(["nenkin", parties.town]), quotas=quotas))
    set_clock(served, "nenkin")
    wires, other = Wires(served.port), Wires(served.port)
    try:
        wires.call(0, "nenkin", "flags", {"aliases": parties.nenkin[:3].tobytes()})
        assert wires.read()[0] == 5
        begun = time.monotonic()
        for number in range(1, connection.BUSY_MAX + 2):
            wires.call(number, "nenkin", "checkpoint", {})
        for _ in range(connection.BUSY_MAX):
            assert wires.read()[2] == "busy"
        # Another connection is none the worse for it.
        other.call(0, parties.town, "flags", {"aliases": parties.known[:1].tobytes()})
        assert other.read()[0] == 5
        assert wires.read()[1] == connection.BUSY_MAX + 1
        assert time.monotonic() - begun > 1.4
    finally:
        wires.close()
        other.close()
        served.stop()
