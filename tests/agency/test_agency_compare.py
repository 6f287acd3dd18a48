"""Three copies of the records: one altered or missing line is found, in whichever copy it is."""

from __future__ import annotations

import datetime as dt
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pytest
from agency_desk import load, payload_of, register_of, town_agency

import hub
from hub.agency import Agency, compare
from hub.agency.compare import Comparer
from hub.agency.owncopy import ANSWERED, ASKED, LINES, TOLD
from hub.catalog.moments import JAPAN
from hub.errors import RequestError
from hub.messages import Status
from hub.methods import copies
from hub.requests.state import request_key
from inquiries import tax_inquiry
from parties import DAY_S, Parties

PERSONS = 40
DAY = dt.timedelta(days=1)


class Desks:
    """nenkin and a town with their agencies, a hub, and a few requests that were answered."""

    def __init__(self, folder: Path) -> None:
        self.parties = Parties(folder / "hub", persons=PERSONS)
        self.h = self.parties.h
        self.town = town_agency(folder / "town", self.parties)
        load(self.town, [register_of(range(0, PERSONS, 2))])
        self.nenkin = hub.agency.open(folder / "nenkin", institution="nenkin", create=True, clock=self.parties.clock)

    def __enter__(self) -> Desks:
        return self

    def __exit__(self, *_: object) -> None:
        self.town.close()
        self.nenkin.close()
        self.h.close()

    def ask(self, request_id: str, persons: range) -> None:
        aliases = np.ascontiguousarray(self.parties.nenkin[list(persons)])
        self.nenkin.inquire(self.h, tax_inquiry(request_id), aliases, self.parties.town)

    def work(self) -> None:
        """Two requests, answered and fetched; a third is waiting; a fourth is answered and not fetched."""
        self.ask("bulk", range(PERSONS))
        self.ask("one", range(1))
        self.town.answer(self.h)
        self.parties.clock.now += 5
        self.nenkin.answers(self.h, "bulk")
        self.nenkin.answers(self.h, "one")
        self.ask("later", range(3))
        self.town.answer(self.h)
        self.ask("waiting", range(4))

    def compare(self, **words: Any) -> hub.agency.Comparison:
        return compare(self.h, requester=self.nenkin, providers=[self.town], **words)


@pytest.fixture
def desks(tmp_path: Path):
    with Desks(tmp_path) as made:
        made.work()
        yield made


def rewrite(agency: Agency, name: str, key: bytes, change: Any) -> None:
    """Alter a value of an agency's copy as its own clerk could."""
    with agency._store.read() as reader:
        body = reader.get(name, key)
    assert body is not None
    with agency._store.commit() as commit:
        commit.put_sealed(name, key, change(bytearray(body)))


def found(desks: Desks) -> list[tuple[str, str, str, str]]:
    comparison = desks.compare()
    return [(one.copy, one.kind, one.what, one.place) for one in comparison.differences]


def test_copies_that_agree_are_found_to(desks: Desks) -> None:
    comparison = desks.compare()
    assert comparison.ok
    assert comparison.differences == ()
    assert comparison.requested == PERSONS + 1 + 3 + 4
    assert comparison.provided == PERSONS + 1 + 3
    assert comparison.waiting == 3
    assert (comparison.gone, comparison.unfinished) == (0, 0)
    assert compare(desks.h, requester=desks.nenkin).ok
    assert compare(desks.h, providers=[desks.town]).ok
    with pytest.raises(RequestError, match="got none"):
        compare(desks.h)


def test_the_copy_is_what_the_requester_was_told(desks: Desks) -> None:
    answers = desks.nenkin.answers(desks.h, "bulk")
    assert answers.payloads[:3] == [payload_of(0), None, payload_of(2)]
    assert answers.status[:2].tolist() == [Status.PROVIDED, Status.NO_RECORD]


KEY = request_key("nenkin", "bulk")


def set_byte(at: int, value: int) -> Any:
    def change(body: bytearray) -> bytes:
        assert body[at] != value
        body[at] = value
        return bytes(body)

    return change


def test_an_altered_outcome_of_the_requesters_copy_is_found(desks: Desks) -> None:
    place = KEY + bytes(4) + (1).to_bytes(4, "big")
    rewrite(desks.nenkin, TOLD, place, set_byte(7, Status.PROVIDED))
    assert found(desks) == [("requester", "differs", "outcome", "request bulk row 8")]


def test_an_altered_first_status_of_the_requesters_copy_is_found(desks: Desks) -> None:
    rewrite(desks.nenkin, TOLD, KEY + bytes(8), set_byte(9, Status.DENIED))
    assert found(desks) == [("requester", "differs", "status", "request bulk row 10")]


def test_another_person_in_the_requesters_copy_is_found(desks: Desks) -> None:
    def change(body: bytearray) -> bytes:
        body[16 * 5 : 16 * 6] = desks.parties.nenkin[6].tobytes()
        return bytes(body)

    rewrite(desks.nenkin, ASKED, KEY + bytes(4), change)
    assert found(desks) == [("requester", "differs", "person", "request bulk row 6")]


def test_another_provider_in_the_requesters_copy_is_found(desks: Desks) -> None:
    rewrite(desks.nenkin, ASKED, KEY + bytes(4), set_byte(16 * PERSONS + 4 * 3, 0))
    assert found(desks) == [("requester", "differs", "provider", "request bulk row 4")]


@pytest.mark.parametrize("row", [0, 17, PERSONS - 1])
def test_a_missing_row_of_the_requesters_copy_is_found(desks: Desks, row: int) -> None:
    def drop(body: bytearray) -> bytes:
        aliases, numbers = body[: 16 * PERSONS], body[16 * PERSONS :]
        return bytes(aliases[: 16 * row] + aliases[16 * row + 16 :] + numbers[: 4 * row] + numbers[4 * row + 4 :])

    at = PERSONS + row
    rewrite(desks.nenkin, ASKED, KEY + bytes(4), drop)
    for number in range(2):
        place = KEY + bytes(4) + number.to_bytes(4, "big")
        rewrite(desks.nenkin, TOLD, place, lambda body: bytes(body[:row] + body[row + 1 : at] + body[at + 1 :]))
    assert found(desks) == [("requester", "missing", "", f"request bulk row {row + 1}")]


def test_an_extra_row_of_the_requesters_copy_is_found(desks: Desks) -> None:
    row, at = 9, PERSONS + 9

    def add(body: bytearray) -> bytes:
        aliases, numbers = body[: 16 * PERSONS], body[16 * PERSONS :]
        more = desks.parties.nenkin[30].tobytes()
        return bytes(aliases[: 16 * row] + more + aliases[16 * row :] + numbers[:4] + numbers)

    rewrite(desks.nenkin, ASKED, KEY + bytes(4), add)
    for number in range(2):
        place = KEY + bytes(4) + number.to_bytes(4, "big")
        rewrite(desks.nenkin, TOLD, place, lambda body: bytes(body[:row] + b"\0" + body[row:at] + b"\0" + body[at:]))
    assert found(desks) == [("requester", "extra", "", f"request bulk row {row + 1}")]


def test_a_missing_request_of_the_requesters_copy_is_found(desks: Desks) -> None:
    with desks.nenkin._store.commit() as commit:
        one = request_key("nenkin", "one")
        commit.delete(ASKED, one + bytes(4))
        commit.delete("requests", one)
    ((copy, kind, _, place),) = found(desks)
    assert (copy, kind) == ("requester", "missing")
    assert place.startswith("request of another id")


def test_a_request_that_was_never_made_is_found(desks: Desks) -> None:
    store = desks.nenkin._store
    fake = request_key("nenkin", "fake")
    with store.read() as reader:
        rows, head = reader.get(ASKED, KEY + bytes(4)), reader.get("requests", KEY)
    assert rows is not None
    assert head is not None
    with store.commit() as commit:
        commit.put_sealed(ASKED, fake + bytes(4), rows)
        commit.put_sealed("requests", fake, head.replace(b"bulk", b"fake"))
    assert found(desks) == [("requester", "extra", "", f"request fake, all {PERSONS} rows")]


ANSWER = (1).to_bytes(8, "big") + LINES
LINES_1 = PERSONS + 1


def permit_at(desks: Desks, line: int) -> str:
    with desks.town._store.read() as reader:
        body = reader.get(ANSWERED, ANSWER)
    assert body is not None
    return f"permit {int.from_bytes(body[8 + 8 * line : 16 + 8 * line], 'little'):016x}"


def test_an_altered_outcome_of_the_providers_copy_is_found(desks: Desks) -> None:
    place = permit_at(desks, 11)
    rewrite(desks.town, ANSWERED, ANSWER, set_byte(8 + 24 * LINES_1 + 11, Status.EMPTY))
    assert found(desks) == [("provider", "differs", "outcome", place)]


def test_another_person_in_the_providers_copy_is_found(desks: Desks) -> None:
    place = permit_at(desks, 11)

    def change(body: bytearray) -> bytes:
        at = 8 + 8 * LINES_1
        body[at + 16 * 11 : at + 16 * 12] = body[at + 16 * 12 : at + 16 * 13]
        return bytes(body)

    rewrite(desks.town, ANSWERED, ANSWER, change)
    assert found(desks) == [("provider", "differs", "person", place)]


def drop_line(body: bytearray, line: int) -> bytes:
    n = int.from_bytes(body[:8], "little")
    out, at = [(n - 1).to_bytes(8, "little")], 8
    for width in (8, 16, 1, 1):
        out.append(bytes(body[at : at + width * line] + body[at + width * (line + 1) : at + width * n]))
        at += width * n
    return b"".join(out)


def test_a_missing_line_of_the_providers_copy_is_found(desks: Desks) -> None:
    place = permit_at(desks, 3)
    rewrite(desks.town, ANSWERED, ANSWER, lambda body: drop_line(body, 3))
    assert found(desks) == [("provider", "missing", "", place)]


def test_an_extra_line_of_the_providers_copy_is_found(desks: Desks) -> None:
    place = permit_at(desks, 3)
    rewrite(desks.town, ANSWERED, ANSWER, lambda body: drop_line(body, 3))
    with desks.town._store.read() as reader:
        body = reader.get(ANSWERED, ANSWER)
    assert body is not None
    # The line that was taken away stands there again with a number that nobody was given, and another one twice.
    fake = (7).to_bytes(8, "little")
    with desks.town._store.commit() as commit:
        key = (99).to_bytes(8, "big")
        line = desks.parties.known[0].tobytes() + bytes([Status.NO_RECORD, 0])
        commit.put_sealed(ANSWERED, key + LINES, (1).to_bytes(8, "little") + fake + line)
        commit.put_sealed(ANSWERED, key + b"\1", int(desks.parties.clock.now).to_bytes(8, "little"))
    assert set(found(desks)) == {
        ("provider", "missing", "", place), ("provider", "extra", "", "permit 0000000000000007"),
    }  # fmt: skip


def test_a_line_that_stands_there_twice_is_found(desks: Desks) -> None:
    place = permit_at(desks, 0)
    with desks.town._store.read() as reader:
        body = reader.get(ANSWERED, ANSWER)
    assert body is not None
    for line in range(LINES_1 - 1, 0, -1):
        body = drop_line(bytearray(body), line)
    with desks.town._store.commit() as commit:
        key = (99).to_bytes(8, "big")
        commit.put_sealed(ANSWERED, key + LINES, body)
        commit.put_sealed(ANSWERED, key + b"\1", int(desks.parties.clock.now).to_bytes(8, "little"))
    assert found(desks) == [("provider", "extra", "twice", place)]


class AlteredHub(Comparer):
    """The hub's copy as it would be read from a log that somebody has altered, in every view of it."""

    record = -1
    outcome: int | None = None

    def provided(self, chunk: Any, rows: Any) -> Any:
        some = super().provided(chunk, rows)
        if some is None:
            return None
        hit = some.permits == self.record
        if self.outcome is None:
            return some.part(~hit)
        return some._replace(outcomes=np.where(hit, np.uint8(self.outcome), some.outcomes))

    def asked(self, key: bytes, first: int) -> Any:
        some = super().asked(key, first)
        if some is None:
            return None
        hit = some.stand.permits == self.record
        now = np.uint8(Status.PENDING if self.outcome is None else self.outcome)
        status = np.where(hit, now, some.stand.status)
        return some._replace(stand=some.stand._replace(status=status, ended=status))


@pytest.mark.parametrize(("outcome", "kind"), [(int(Status.EMPTY), "differs"), (None, "missing")])
def test_a_line_of_the_hubs_that_both_others_contradict_is_the_hubs(
    desks: Desks, outcome: int | None, kind: str
) -> None:
    stand = desks.h._copies.asked(KEY, 0)
    assert stand is not None
    comparer = AlteredHub(desks.h._copies, desks.h.catalog, int(desks.h._now()))
    comparer.record, comparer.outcome = int(stand.stand.permits[12]), outcome
    comparison = comparer.compare(desks.nenkin, [desks.town], None, None)
    number = desks.h.catalog.institution(desks.parties.town).number
    permit = int(desks.h._copies.numbers.number(number, np.array([comparer.record], np.uint64))[0])
    what = "outcome" if outcome is not None else ""
    assert [(one.copy, one.kind, one.what, one.place) for one in comparison.differences] == [
        ("hub", kind, what, f"permit {permit:016x}")
    ]


def test_nothing_that_is_named_is_an_alias(desks: Desks) -> None:
    rewrite(desks.town, ANSWERED, ANSWER, lambda body: drop_line(body, 3))
    rewrite(desks.nenkin, TOLD, KEY + bytes(8), set_byte(9, Status.DENIED))
    text = repr(desks.compare()) + " ".join(map(str, desks.compare().differences))
    for aliases in (desks.parties.nenkin, desks.parties.known, desks.parties.portal):
        for alias in aliases:
            assert alias.tobytes().hex() not in text


def test_requests_that_the_hub_keeps_no_longer_are_counted(desks: Desks) -> None:
    desks.parties.clock.now += 40 * DAY_S
    comparison = desks.compare()
    assert comparison.ok
    assert comparison.gone == PERSONS + 1 + 3 + 4


def test_since_leaves_older_lines_out_on_both_sides(desks: Desks) -> None:
    rewrite(desks.town, ANSWERED, ANSWER, lambda body: drop_line(body, 3))
    now = int(desks.parties.clock.now)
    assert [one.kind for one in desks.compare(since=now - 5).differences] == ["missing"]
    later = desks.compare(since=now)
    assert later.ok
    assert later.provided == 3


def test_a_crash_before_the_inquiry_was_answered_is_seen_and_mended(desks: Desks) -> None:
    class Dying:
        def __getattr__(self, name: str) -> Any:
            return getattr(desks.h, name)

        def inquire(self, *rest: Any, **words: Any) -> Any:
            desks.h.inquire(*rest, **words)
            raise KeyboardInterrupt

    aliases = np.ascontiguousarray(desks.parties.nenkin[:5])
    with pytest.raises(KeyboardInterrupt):
        desks.nenkin.inquire(Dying(), tax_inquiry("died"), aliases, desks.parties.town)
    assert desks.nenkin.state().unfinished == 1
    ((copy, kind, what, _),) = found(desks)
    assert (copy, kind, what) == ("requester", "missing", "answer")
    with pytest.raises(RequestError, match="got others"):
        desks.nenkin.inquire(desks.h, tax_inquiry("died"), aliases[:4].copy(), desks.parties.town)
    desks.nenkin.inquire(desks.h, tax_inquiry("died"), aliases, desks.parties.town)
    assert desks.compare().ok
    assert desks.nenkin.state().unfinished == 0


def test_an_inquiry_that_the_hub_refuses_is_no_line_of_the_copy(desks: Desks) -> None:
    with pytest.raises(RequestError):
        desks.nenkin.inquire(
            desks.h, tax_inquiry("bad", procedure="19-8/73"), desks.parties.nenkin, desks.parties.town
        )
    assert desks.compare().ok
    desks.ask("bad", range(2))
    assert desks.compare().ok
    with pytest.raises(RequestError, match="whose folder"):
        desks.town.inquire(desks.h, tax_inquiry("r"), desks.parties.nenkin, desks.parties.town)


def test_denied_and_unknown_rows_are_compared_too(desks: Desks) -> None:
    stranger = np.full((1, 16), 9, np.uint8)
    aliases = np.concatenate((desks.parties.nenkin[:2], stranger))
    answer = desks.nenkin.inquire(desks.h, tax_inquiry("odd"), aliases, [desks.parties.town, "portal", "131032"])
    assert answer.status.tolist() == [Status.OK, Status.DENIED, Status.UNKNOWN_ALIAS]
    assert desks.compare().ok


def test_a_reissued_alias_is_still_the_same_person(desks: Desks) -> None:
    desks.h.reissue("nenkin", np.ascontiguousarray(desks.parties.nenkin[:3]))
    desks.h.reissue(desks.parties.town, np.ascontiguousarray(desks.parties.known[:3]))
    assert desks.compare().ok


# -- the hub's copy for one of them


def test_the_hub_gives_the_requester_its_rows_without_permits(desks: Desks) -> None:
    parts = list(desks.h.copy_of("nenkin", role="requester"))
    by_request = {part.request: part for part in parts}
    assert len(by_request) == 4
    bulk = by_request[KEY]
    assert (bulk.aliases == desks.parties.nenkin).all()
    assert bulk.told[:2].tolist() == [Status.PROVIDED, Status.NO_RECORD]
    assert not bulk.status.any()
    assert set(bulk._fields) == {
        "request", "first", "received_at", "aliases", "status", "reason", "told", "told_reason",
    }  # fmt: skip


def test_the_hub_gives_the_provider_its_answers_by_permit(desks: Desks) -> None:
    parts = list(desks.h.copy_of(desks.parties.town, role="provider"))
    assert sum(len(part.permits) for part in parts) == PERSONS + 1 + 3
    known = {alias.tobytes() for alias in desks.parties.known}
    for part in parts:
        assert {alias.tobytes() for alias in part.aliases} <= known
        assert (np.diff(part.permits.astype(object)) > 0).all()
    assert list(desks.h.copy_of(desks.parties.town, role="requester")) == []
    assert list(desks.h.copy_of("nenkin", role="provider")) == []
    with pytest.raises(RequestError, match="role"):
        desks.h.copy_of("nenkin", role="both")


def test_a_stretch_of_time_bounds_the_hubs_copy(desks: Desks) -> None:
    moment = dt.datetime.fromtimestamp(desks.parties.clock.now, dt.UTC)
    later = list(desks.h.copy_of("nenkin", role="requester", since=moment))
    assert {part.request for part in later} == {request_key("nenkin", name) for name in ("later", "waiting")}
    today = dt.datetime.fromtimestamp(desks.parties.clock.now, JAPAN).date()
    town = desks.parties.town
    for words, count in (({"since": today}, PERSONS + 4), ({"until": today}, 0), ({"since": today + DAY}, 0)):
        assert sum(len(part.permits) for part in desks.h.copy_of(town, role="provider", **words)) == count
    with pytest.raises(RequestError, match="expected days"):
        desks.h.copy_of(town, role="provider", since=moment)


def test_the_providers_copy_tells_neither_chunk_nor_second(desks: Desks, monkeypatch: pytest.MonkeyPatch) -> None:
    (whole,) = desks.h.copy_of(desks.parties.town, role="provider")
    assert len(whole.permits) == PERSONS + 4
    assert not ((whole.provided_on + 32_400) % DAY_S).any()
    assert (np.diff(whole.permits.astype(object)) > 0).all()
    # Sorted in several passes it is the same.
    monkeypatch.setattr(copies, "ANSWERED_AT_A_TIME", 10)
    parts = list(desks.h.copy_of(desks.parties.town, role="provider"))
    assert len(parts) == 5
    for name in whole._fields:
        assert (np.concatenate([getattr(part, name) for part in parts]) == getattr(whole, name)).all()


def test_a_comparison_says_what_it_was(desks: Desks) -> None:
    said = msgspec.to_builtins(desks.compare())
    assert said["requested"] == PERSONS + 8
