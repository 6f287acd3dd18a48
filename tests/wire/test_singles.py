"""Single inquiries: read and answered in columns, they are what the general way makes of the same bytes."""

from __future__ import annotations

import contextlib
import datetime as dt
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from served import Served, Wires, frame, plain_config

from hub._wire import NATIVE, Intake, Wired, read_single
from hub.catalog import Catalog
from hub.decode import decode_inquiry
from hub.errors import BusyError, HubError, RequestError
from hub.messages import Answer, Receipt
from hub.requests.state import request_key
from hub.singles.small import Question, no_answers
from hub.wire.calls import bind_arguments
from hub.wire.config import Limits
from hub.wire.frames import encode_frame
from hub.wire.methods import METHODS, REQUEST_DECODERS
from hub.wire.results import ANSWER
from hub.wire.words import Call, Reply, decode_from_client
from parties import Parties

pytestmark = pytest.mark.skipif(not NATIVE, reason="without libcrypto everything goes the general way")

ALIAS = bytes(range(16))
JAPAN = Catalog.japan()
TOWN = JAPAN.institutions("市町村長")[0].code


def arguments(request_id: Any = "a-1", alias: bytes = ALIAS, provider: str = TOWN, **words: Any) -> dict[str, Any]:
    inquiry = {
        "procedure": "19-8/73/75.3", "items": ["市町村民税"], "section": "国民年金部", "request_id": request_id,
        "role": "納付義務者", **words,
    }  # fmt: skip
    return {"inquiry": inquiry, "aliases": alias, "providers": [[provider], b""]}


def message(number: int, given: Any, institution: str = "nenkin", **changes: Any) -> bytes:
    body = given if isinstance(given, bytes) else msgspec.msgpack.encode(given)
    word = [3, number, institution, "inquire", False, len(body), body]
    for at, value in changes.items():
        word[int(at[1:])] = value
    return msgspec.msgpack.encode(word)


class Open:
    """An account that may ask."""

    takes = True


class Host:
    """Prepares as the server does, and keeps what was asked."""

    def __init__(self, party: str = "platform") -> None:
        self.party, self.open = party, True
        self.misses = 0
        self.account = Open()

    def begin(self) -> bool:
        return self.open

    def soon(self) -> None:
        pass

    def end(self) -> None:
        pass

    def prepare(self, _: Any, data: bytes) -> tuple[Question, str, int, Open] | None:
        self.misses += 1
        found = general(data, self.party)
        if found is None:
            return None
        batch, _ = found
        if batch.by_class:
            return None
        question = Question(batch.inquiry, batch.requester)
        return question, batch.inquiry.requester, int(batch.providers[0]), self.account


def general(data: bytes, party: str = "platform") -> tuple[Any, bytes] | None:
    """The batch of one row and the key that the general way makes of a message, or None."""
    try:
        call = decode_from_client(memoryview(data))
        if not isinstance(call, Call) or call.method != "inquire" or len(call.body) != call.size:
            return None
        words = REQUEST_DECODERS["inquire"].decode(call.body)
        bound = bind_arguments(METHODS["inquire"], words, call.institution, party, JAPAN)
        batch = decode_inquiry(JAPAN, **bound)
    except (HubError, msgspec.DecodeError, UnicodeDecodeError):
        return None
    return batch, request_key(batch.inquiry.requester, batch.inquiry.request_id)


class Pipe:
    """Stands where a transport does; what is written is kept."""

    def __init__(self) -> None:
        self.data = b""

    def write(self, data: bytes) -> None:
        self.data += data


class Taker(Wired):
    """A connection that only takes."""

    def __init__(self, intake: Intake, party: int = 1) -> None:
        self._intake, self._party_number, self._version, self._clear = intake, party, 1, True
        self._open, self._uploads, self._dropped = {}, {}, {}
        self._transport = Pipe()
        self.rest: list[bytes] = []
        self.throttled = 0

    def _receive(self, data: bytes) -> None:
        self.rest.append(data)

    def _throttle(self) -> None:
        self.throttled += 1


def agree(host: Host, intake: Intake, data: bytes) -> bool:
    """Whether a message is taken; what is taken is what the general way makes of it."""
    taker = Taker(intake)
    taken = intake.take_message(taker, memoryview(data))
    assert taken == (len(intake) == 1)
    if not taken:
        assert taker._open == {}
        return False
    questions, which, aliases, providers, keys, digests, consents = intake.next().columns()
    found = general(data)
    assert found is not None
    batch, key = found
    assert list(taker._open) == [decode_from_client(memoryview(data)).number]  # type: ignore[union-attr]
    question = questions[which[0]]
    assert question.inquiry == msgspec.structs.replace(batch.inquiry, request_id="")
    assert question.requester == batch.requester
    assert keys[0].tobytes() == key
    assert digests[0].tobytes() == batch.digest
    assert (aliases == batch.aliases).all()
    assert (providers == batch.providers).all()
    assert bool(consents is not None and consents[0]) == bool(batch.consents)
    assert batch.cases is None
    assert batch.marks is None
    assert len(batch) == 1
    return True


WORDS = st.text(st.characters(codec="utf-8", exclude_categories=["C", "Z"]), min_size=1, max_size=40)
IDS = st.one_of(st.text(st.characters(min_codepoint=0x20, max_codepoint=0x7E), max_size=101), WORDS, st.just("a" * 100))
CALLS = st.fixed_dictionaries(
    {
        "procedure": WORDS, "items": st.lists(WORDS, min_size=1, max_size=16), "section": WORDS, "request_id": IDS,
    },
    optional={
        "role": WORDS | st.none(), "operator": WORDS, "reference_date": st.dates().map(dt.date.isoformat) | WORDS,
        "unknown": WORDS,
    },
)  # fmt: skip
PROVIDERS = st.one_of(
    st.sampled_from([TOWN, "nenkin", "portal", "nobody", "市町村長"]).map(lambda code: [[code], b""]),
    st.just([[TOWN], bytes(4)]), st.just([[TOWN], b"\1\0\0\0"]), st.just([[TOWN, "portal"], b"\1\0\0\0"]),
    st.integers(0, 2**32 - 1).map(lambda number: [[], number.to_bytes(4, "little")]), st.just([[], bytes(8)]),
)  # fmt: skip
CONSENTS = st.sampled_from([True, False, b"\0", b"\1", b"\2", b"", b"\1\1", None, 1])


@st.composite
def bodies(draw: st.DrawFn) -> bytes:
    inquiry = draw(CALLS)
    names = draw(st.permutations(list(inquiry)))
    fields = {
        "inquiry": {name: inquiry[name] for name in names},
        "aliases": draw(st.binary(min_size=16, max_size=16) | st.binary(max_size=33)),
        "providers": draw(PROVIDERS),
    }
    if draw(st.booleans()):
        fields["consents"] = draw(CONSENTS)
    if draw(st.integers(0, 9)) == 0:
        fields["cases"] = [bytes(4), b""]
    order = draw(st.permutations(list(fields)))
    return msgspec.msgpack.encode({name: fields[name] for name in order})


INSTITUTIONS = st.sampled_from(["nenkin", "portal", TOWN, "nobody", ""])
NUMBERS = st.integers(0, 2**32 + 1) | st.integers(0, 300)


@given(bodies(), INSTITUTIONS, NUMBERS)
def test_what_is_taken_is_what_the_general_way_makes_of_it(body: bytes, institution: str, number: int) -> None:
    host = Host()
    intake = Intake(host, 256)
    data = message(number, body, institution)
    first = agree(host, intake, data)
    misses = host.misses
    assert agree(host, intake, data) == first
    if first:
        assert host.misses == misses


@given(bodies(), st.data())
def test_mutated_messages_are_read_the_same_or_left_alone(body: bytes, data: st.DataObject) -> None:
    host = Host()
    intake = Intake(host, 256)
    agree(host, intake, message(7, body))
    agree(host, intake, message(7, arguments()))
    changed = bytearray(message(7, data.draw(st.sampled_from([body, msgspec.msgpack.encode(arguments())]))))
    for _ in range(data.draw(st.integers(1, 3))):
        at = data.draw(st.integers(0, len(changed) - 1))
        match data.draw(st.integers(0, 2)):
            case 0:
                changed[at] = data.draw(st.integers(0, 255))
            case 1:
                del changed[at]
            case 2:
                changed.insert(at, data.draw(st.integers(0, 255)))
    agree(host, intake, bytes(changed))
    agree(host, intake, bytes(changed))


@given(st.binary(max_size=300))
def test_any_bytes_are_left_alone(data: bytes) -> None:
    assert read_single(data) is None
    assert read_single(b"\x97\x03\1\xa6nenkin\xa7inquire\xc2" + data) is None


def test_a_message_that_ends_early_or_late_is_left_alone() -> None:
    whole = message(300, {**arguments(), "consents": True})
    assert read_single(whole) is not None
    for size in range(len(whole)):
        assert read_single(whole[:size]) is None
    assert read_single(whole + b"\0") is None


USUAL = {
    "as this package writes it": message(1, arguments()),
    "a number of two bytes": message(300, arguments()),
    "a number of four bytes": message(2**32 - 1, arguments()),
    "an id of a hundred characters": message(1, arguments("x" * 100)),
    "words in another order": message(1, {"aliases": ALIAS, **arguments(operator="sato", reference_date="2026-01-01")}),
    "a place": message(1, {**arguments(), "providers": [[TOWN], bytes(4)]}),
    "a number of an institution": message(1, {**arguments(), "providers": [[], b"\7\0\0\0"]}),
    "consents": message(1, {**arguments(), "consents": True}),
    "a column of consents": message(1, {**arguments(), "consents": b"\1"}),
    "no consents": message(1, {**arguments(), "consents": b"\0"}),
}

UNUSUAL = {
    "two rows": message(1, arguments(alias=bytes(32))),
    "no row": message(1, arguments(alias=b"")),
    "an id of one character more": message(1, arguments("x" * 101)),
    "an id of other letters": message(1, arguments("照会")),
    "an id of spaces": message(1, arguments("   ")),
    "an id with a control character": message(1, arguments("a\x7f")),
    "no id": message(1, arguments("")),
    "progress": message(1, arguments(), _4=True),
    "another method": message(1, arguments(), _3="status"),
    "parts to come": message(1, arguments(), _5=1_000),
    "cases": message(1, {**arguments(), "cases": [b"\1\0\0\0", b"x"]}),
    "marks": message(1, {**arguments(), "withhold": [None]}),
    "a class": message(1, arguments(provider="市町村長")),
    "an unknown provider": message(1, arguments(provider="nobody")),
    "a class by its number": message(1, {**arguments(), "providers": [[], b"\0\0\0\x80"]}),
    "an unknown institution": message(1, arguments(), "nobody"),
    "a word too many": message(1, arguments(color="red")),
    "no section": message(1, arguments(section="")),
    "a word that is none": message(1, arguments(section=7)),
    "a date that is none": message(1, arguments(reference_date="2026-02-30")),
    "a long length": message(1, arguments()).replace(b"\xa7inquiry", b"\xd9\x07inquiry", 1),
}


@pytest.mark.parametrize("name", USUAL)
def test_the_usual_is_taken(name: str) -> None:
    host = Host()
    assert agree(host, Intake(host, 256), USUAL[name])


@pytest.mark.parametrize("name", UNUSUAL)
def test_the_unusual_is_left_alone(name: str) -> None:
    host = Host()
    intake = Intake(host, 256)
    assert agree(host, intake, USUAL["as this package writes it"])
    assert not agree(host, intake, UNUSUAL[name])


def test_a_question_is_checked_once_and_again_when_it_was_forgotten() -> None:
    host = Host()
    intake = Intake(host, 256)
    for number in range(5):
        assert agree(host, intake, message(number, arguments(f"id-{number}", bytes([number] * 16))))
    assert (host.misses, intake.prepared, intake.taken) == (2, 1, 5)
    assert agree(host, intake, message(5, arguments(provider="portal")))
    assert host.misses == 3
    intake.forget()
    assert agree(host, intake, message(6, arguments()))
    assert host.misses == 5


def test_each_party_and_institution_has_questions_of_its_own() -> None:
    host = Host()
    intake = Intake(host, 256)
    for party in (1, 2):
        for institution in ("nenkin", TOWN):
            assert intake.take_message(Taker(intake, party), memoryview(message(1, arguments(), institution)))
    questions, which, *_ = intake.next().columns()
    assert which.tolist() == [0, 1, 2, 3]
    assert [one.inquiry.requester for one in questions] == ["nenkin", TOWN] * 2
    assert intake.party("a", frozenset(["x"])) == intake.party("a", frozenset(["x"])) == 1
    assert intake.party("a", frozenset(["y"])) == 2
    assert not intake.take_message(Taker(intake, 0), memoryview(message(1, arguments())))


@given(
    st.lists(
        st.tuples(
            st.integers(0, 2**32 - 1), st.text(st.characters(min_codepoint=0x21, max_codepoint=0x7E), min_size=1,
            max_size=100), st.integers(0, 255), st.integers(0, 2**32 - 1), st.integers(0, 255),
            st.integers(-(2**63), 2**63 - 1),
        ),
        max_size=6, unique_by=lambda row: row[0],
    )
)  # fmt: skip
def test_replies_are_the_general_ways_byte_for_byte(rows: list[tuple[int, str, int, int, int, int]]) -> None:
    intake = Intake(Host(), 256)
    taker = Taker(intake)
    expected = b""
    answers = no_answers(len(rows))
    for at, (number, request_id, status, rule, reason, received_at) in enumerate(rows):
        assert intake.take_message(taker, memoryview(message(number, arguments(request_id))))
        answers.status[at], answers.rule[at], answers.reason[at], answers.received_at[at] = (
            status, rule, reason, received_at,
        )  # fmt: skip
        answer = Answer(
            np.array([status], np.uint8), np.array([rule], np.uint32), np.array([reason], np.uint8),
            Receipt(request_id=request_id, rows=1, received_at=received_at),
        )  # fmt: skip
        body = msgspec.msgpack.encode(ANSWER.pack(answer))
        expected += encode_frame(Reply(number, len(body), memoryview(body)), 1)
    turn = intake.next()
    turn.encode(*answers)
    assert turn.deliver() == []
    assert taker._transport.data == expected
    assert taker._open == {}


def test_replies_of_two_connections_with_errors_and_calls_that_nobody_waits_for_go_where_they_belong() -> None:
    intake = Intake(Host(), 256)
    takers = [Taker(intake), Taker(intake)]
    for number in range(4):
        for taker in takers if number != 1 else takers[:1]:
            assert intake.take_message(taker, memoryview(message(number, arguments(f"{number}"))))
    order = [(0, 0), (1, 0), (0, 1), (0, 2), (1, 2), (0, 3), (1, 3)]
    turn = intake.next()
    assert turn.calls() == [(takers[which], number) for which, number in order]
    answers = no_answers(7)
    answers.errors[3], answers.errors[6] = RequestError("x"), RequestError("y")
    del takers[0]._open[1]
    turn.encode(*answers)
    assert turn.deliver() == [(3, takers[0], 2), (6, takers[1], 3)]
    assert [list(taker._open) for taker in takers] == [[2], [3]]
    assert [numbers(taker._transport.data) for taker in takers] == [[0, 3], [0, 2]]


def numbers(data: bytes) -> list[int]:
    found = []
    while data:
        size = int.from_bytes(data[:4], "little")
        found.append(msgspec.msgpack.decode(data[5 : 4 + size])[1])
        data = data[4 + size :]
    return found


def test_answers_of_another_number_are_refused() -> None:
    intake = Intake(Host(), 256)
    assert intake.take_message(Taker(intake), memoryview(message(1, arguments())))
    turn = intake.next()
    with pytest.raises(ValueError, match="as many as rows"):
        turn.encode(*no_answers(2))
    # Without replies every row is one that failed.
    assert [number for _, _, number in turn.deliver()] == [1]


def test_frames_are_taken_up_to_the_first_unusual_one_and_never_beyond_the_open_calls() -> None:
    intake = Intake(Host(), 3)
    taker = Taker(intake)
    usual = [frame(message(number, arguments(f"{number}"))) for number in range(3)]
    other = frame([3, 9, "nenkin", "verifier_key", False, 1, b"\x80"])
    taker.data_received(usual[0] + other + usual[1])
    assert (len(intake), taker.rest) == (1, [other + usual[1]])
    taker = Taker(intake)
    taker.data_received(usual[0] + usual[1][:-1])
    assert taker.rest == [usual[1][:-1]]
    taker = Taker(intake)
    taker.data_received(usual[0] + usual[0])
    # The number is in use: that is an error, and the general way says so.
    assert taker.rest == [usual[0]]
    taker = Taker(intake)
    taker.data_received(b"".join(usual))
    assert (taker.rest, taker.throttled) == ([], 1)
    taker._halted = True
    assert intake.take(taker, frame(message(4, arguments()))) == 0


def test_nothing_is_taken_while_the_server_takes_nothing() -> None:
    host = Host()
    host.open = False
    assert not agree(host, Intake(host, 256), message(1, arguments()))


def test_whose_quota_is_used_up_goes_the_general_way_until_it_is_not() -> None:
    host = Host()
    intake = Intake(host, 256)
    assert agree(host, intake, message(1, arguments()))
    host.account.takes = False
    assert not agree(host, intake, message(1, arguments()))
    host.account.takes = True
    assert agree(host, intake, message(1, arguments()))


def test_what_a_host_prepares_wrongly_is_an_error() -> None:
    host = Host()
    host.prepare = lambda *_: (None, "nenkin")  # type: ignore[assignment, method-assign, return-value]
    intake = Intake(host, 256)
    with pytest.raises(ValueError, match="unpack"):
        intake.take_message(Taker(intake), memoryview(message(1, arguments())))
    assert len(intake) == 0


# -- over sockets


@pytest.fixture
def served(parties: Parties) -> Iterator[Served]:
    limits = Limits(requests_per_connection=8)
    one = Served(parties.h, plain_config(["nenkin", parties.town, "portal"], limits), as_usual=True)
    try:
        yield one
    finally:
        one.stop()


def taken(served: Served) -> int:
    assert served.server is not None
    return served.server.calls.singles.intake.taken


def of(parties: Parties, request_id: str, person: int = 0, **words: Any) -> dict[str, Any]:
    return arguments(request_id, parties.nenkin[person].tobytes(), parties.town, **words)


def longer(given: dict[str, Any]) -> bytes:
    """The same arguments, in a form that goes the general way."""
    body = msgspec.msgpack.encode(given).replace(b"\xa7inquiry", b"\xd9\x07inquiry", 1)
    assert read_single(message(1, body)) is None
    return body


QUESTIONS: dict[str, dict[str, Any]] = {
    "plain": {}, "of a clerk": {"operator": "sato"}, "of a day": {"reference_date": "2026-01-01"},
    "without a role": {"role": None}, "of another item": {"items": ["生活保護実施関係情報"]},
    "of a procedure that nobody has": {"procedure": "19-8/9999/1.1"}, "of words that nobody knows": {"items": ["天気"]},
}  # fmt: skip


@pytest.mark.parametrize("name", QUESTIONS)
def test_both_ways_answer_and_record_the_same(parties: Parties, served: Served, name: str) -> None:
    wires, words = Wires(served.port), QUESTIONS[name]
    wires.call(1, "nenkin", "inquire", of(parties, "fast", **words))
    fast, before = wires.read(), taken(served)
    wires.call(1, "nenkin", "inquire", longer(of(parties, "slow", **words)))
    slow = wires.read()
    assert taken(served) == before == 1
    if fast[0] == 6:
        assert slow == fast
    else:
        assert fast[:3] == slow[:3]
        assert fast[3].replace(b"fast", b"slow") == slow[3]
    # The same request again, the other way round: the same answer, and nothing is recorded.
    size = parties.h.status("nenkin", "fast").rows if fast[0] == 5 else None
    wires.call(1, "nenkin", "inquire", longer(of(parties, "fast", **words)))
    wires.call(2, "nenkin", "inquire", of(parties, "slow", **words))
    again = {reply[1]: reply for reply in (wires.read(), wires.read())}
    assert again == {1: fast, 2: [slow[0], 2, *slow[2:]]}
    assert size in (None, 1)
    wires.close()


def test_the_same_id_with_another_row_is_refused_on_both_ways(parties: Parties, served: Served) -> None:
    wires = Wires(served.port)
    wires.call(1, "nenkin", "inquire", of(parties, "one"))
    assert wires.read()[0] == 5
    for body in (of(parties, "one", 1), longer(of(parties, "one", 1))):
        wires.call(2, "nenkin", "inquire", body)
        assert wires.read()[2:4] == [
            "request", "request_id: expected the inquiry and rows that it was first used with, got others"
        ]  # fmt: skip
    wires.close()


def test_cut_at_any_byte_the_calls_are_answered(parties: Parties, served: Served) -> None:
    wires = Wires(served.port)
    first = frame(message(1, of(parties, "cut")))
    second = frame(message(2, of(parties, "cut too")))
    both = first + second
    for at in [*range(1, 12), *range(12, len(both), 29), *range(len(first) - 3, len(first) + 9)]:
        wires.send(both[:at])
        time.sleep(0.001)
        wires.send(both[at:])
        assert sorted(wires.read()[1] for _ in range(2)) == [1, 2]
    wires.close()


def test_calls_of_all_kinds_in_one_read_are_answered(parties: Parties, served: Served) -> None:
    wires = Wires(served.port)
    data = b""
    for number in range(0, 30, 3):
        data += frame(message(number, of(parties, f"mixed-{number}", number % 6)))
        data += frame(message(number + 1, longer(of(parties, f"mixed-{number + 1}", number % 6))))
        data += frame([3, number + 2, "nenkin", "verifier_key", False, 1, b"\x80"])
    # More than may be open: the server reads on as it answers.
    threading.Thread(target=lambda: wires.send(data), daemon=True).start()
    found = [wires.read() for _ in range(30)]
    assert sorted(reply[1] for reply in found) == list(range(30))
    assert {reply[0] for reply in found} == {5}
    assert taken(served) == 10
    wires.close()


def test_a_number_is_free_again_with_its_reply_and_not_before(parties: Parties, served: Served) -> None:
    wires = Wires(served.port)
    for turn in range(3):
        wires.call(5, "nenkin", "inquire", of(parties, f"again-{turn}"))
        assert wires.read()[:2] == [5, 5]
    wires.send(frame(message(6, of(parties, "twice"))) + frame(message(6, of(parties, "twice too"))))
    found = []
    with contextlib.suppress(EOFError):
        while True:
            found.append(wires.read())
    assert found[-1][:2] == [6, None]
    assert "expected a number that is not in use" in found[-1][3]
    wires.close()


def test_who_leaves_without_an_answer_finds_it_recorded(parties: Parties, served: Served) -> None:
    wires = Wires(served.port)
    wires.call(1, "nenkin", "inquire", of(parties, "left"))
    wires.close()
    deadline = time.monotonic() + 10
    while True:
        with contextlib.suppress(RequestError):
            assert parties.h.status("nenkin", "left").complete
            break
        assert time.monotonic() < deadline
        time.sleep(0.01)


def test_who_asks_for_an_institution_that_is_not_theirs_is_refused_and_noted(
    parties: Parties, served: Served, caplog: pytest.LogCaptureFixture
) -> None:
    wires = Wires(served.port)
    wires.call(1, "nenkin", "inquire", of(parties, "mine"))
    assert wires.read()[0] == 5
    wires.call(2, parties.other_town, "inquire", of(parties, "theirs"))
    assert wires.read()[:3] == [6, 2, "access"]
    assert "institution refused" in caplog.text
    assert taken(served) == 1
    wires.close()


def test_one_connection_asks_for_several_institutions_each_with_requests_of_its_own(
    parties: Parties, served: Served
) -> None:
    wires = Wires(served.port)
    for number, institution in enumerate(["nenkin", parties.town, "nenkin", parties.town]):
        wires.call(number, institution, "inquire", of(parties, "same id"))
        assert wires.read()[:2] == [5, number]
    assert taken(served) == 4
    assert parties.h.status("nenkin", "same id").rows == parties.h.status(parties.town, "same id").rows == 1
    wires.close()


def test_another_catalog_is_in_force_from_its_first_call_on(parties: Parties, served: Served) -> None:
    wires, new = Wires(served.port), "999997"
    wires.call(1, "nenkin", "inquire", of(parties, "before"))
    assert wires.read()[0] == 5
    asked = arguments("of a new one", parties.nenkin[0].tobytes(), new)
    wires.call(2, "nenkin", "inquire", asked)
    assert wires.read()[:3] == [6, 2, "request"]
    assert taken(served) == 1
    parties.h.load_catalog(
        parties.h.catalog.import_institutions(f"code,kind,prefecture,name,kana\n{new},city,北海道,北海道新市,x\n")
    )
    wires.call(2, "nenkin", "inquire", asked)
    assert wires.read()[:2] == [5, 2]
    wires.call(1, "nenkin", "inquire", of(parties, "after"))
    assert wires.read()[0] == 5
    assert served.server is not None
    assert taken(served) == 3
    # The same question was checked again, once.
    assert served.server.calls.singles.intake.prepared == 2
    wires.close()


def test_when_the_hub_cannot_take_rows_every_call_is_told(
    parties: Parties, served: Served, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: Any, **__: Any) -> None:
        raise BusyError("inquiry: too many wait", retry_after_s=0.5)

    monkeypatch.setattr(parties.h, "inquire_rows", refuse)
    wires = Wires(served.port)
    wires.send(b"".join(frame(message(number, of(parties, f"{number}"))) for number in range(3)))
    assert [wires.read()[:3] for _ in range(3)] == [[6, number, "busy"] for number in range(3)]
    monkeypatch.undo()
    wires.call(1, "nenkin", "inquire", of(parties, "1"))
    assert wires.read()[:2] == [5, 1]
    wires.close()


def test_answers_that_lack_are_errors_not_silence(
    parties: Parties, served: Served, monkeypatch: pytest.MonkeyPatch
) -> None:
    def forget(_: Any, done: Any, **__: Any) -> None:
        done(no_answers(0))

    monkeypatch.setattr(parties.h, "inquire_rows", forget)
    wires = Wires(served.port)
    wires.call(1, "nenkin", "inquire", of(parties, "1"))
    reply = wires.read()
    assert reply[:3] == [6, 1, "storage"]
    assert reply[4] is True
    wires.close()


def test_what_comes_while_the_hub_has_some_goes_together(parties: Parties, monkeypatch: pytest.MonkeyPatch) -> None:
    served = Served(parties.h, plain_config(["nenkin"]), as_usual=True)
    sizes: list[int] = []
    submit = parties.h.inquire_rows

    def count(rows: Any, done: Any, **how: Any) -> None:
        sizes.append(len(rows.which))
        submit(rows, done, **how)

    monkeypatch.setattr(parties.h, "inquire_rows", count)
    several = [Wires(served.port) for _ in range(9)]
    try:
        with parties.h._store.writer:
            for number, wires in enumerate(several):
                wires.call(number, "nenkin", "inquire", of(parties, f"{number}"))
                # Each in a turn of its own.
                time.sleep(0.05)
        assert sorted(wires.read()[1] for wires in several) == list(range(9))
    finally:
        for wires in several:
            wires.close()
        served.stop()
    assert sizes == [1, 8]


def test_what_was_asked_before_the_end_is_answered(tmp_path: Path) -> None:
    with Parties(tmp_path / "hub") as parties:
        served = Served(parties.h, plain_config(["nenkin"]), as_usual=True)
        held: list[Any] = []
        submit = parties.h.inquire_rows
        parties.h.inquire_rows = lambda rows, done, here: held.append((rows, done))  # type: ignore[method-assign]
        wires = Wires(served.port)
        wires.call(1, "nenkin", "inquire", of(parties, "open"))
        deadline = time.monotonic() + 10
        while not held and time.monotonic() < deadline:
            time.sleep(0.01)
        served.begin_stop()
        assert wires.read()[0] == 8
        wires.call(2, "nenkin", "inquire", of(parties, "late"))
        assert wires.read()[:3] == [6, 2, "busy"]
        submit(*held[0])
        assert wires.read()[:2] == [5, 1]
        served.stop()
        assert wires.ended()


def test_repr_shows_counts_only(served: Served) -> None:
    assert served.server is not None
    assert repr(served.server.calls.singles) == "Singles(waiting=0)"
    assert repr(served.server.calls.singles.intake) == "Intake(waiting=0, questions=0)"
    assert repr(served.server.calls.singles.intake.next()) == "Turn(rows=0)"
