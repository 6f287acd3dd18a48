"""Held rows on a real hub: both ways of recording, what a restart and a midnight change, and their release."""

from __future__ import annotations

import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import hub
import hub.hub
import hub.protection.asked
import hub.protection.askedlog
from hub.cli import main
from hub.errors import RequestError, StorageError
from hub.limits import ROWS_GATHERED_MAX, ROWS_PER_CHUNK
from hub.messages import Kind, Status
from hub.protection.askedrows import People
from inquiries import tax_inquiry
from parties import DAY_S, NOON, REVIEW, Clock, shown_in

OK, UNKNOWN_THERE, HELD = int(Status.OK), int(Status.NO_ALIAS_AT_PROVIDER), int(Status.HELD)
PERSONS = 6
BULK = ROWS_GATHERED_MAX + 1


class Town:
    """A hub in which six municipalities know everybody but the last person, and five more know nobody."""

    def __init__(self, folder: Path, persons: int = PERSONS) -> None:
        self.folder, self.clock = folder, Clock()
        self.h = hub.open(folder, create=True, clock=self.clock)
        self.codes = [f"{10**9 + number:011}" for number in range(persons)]
        bodies = [body.code for body in self.h.catalog.institutions("市町村長")[:11]]
        self.towns, self.strangers = bodies[:6], bodies[6:]
        self.mine = self.h.acquire("nenkin", self.codes).aliases
        self.portal = self.h.acquire("portal", self.codes).aliases
        self.theirs = [self.h.acquire(town, self.codes[: PERSONS - 1]).aliases for town in self.towns]

    def reopen(self) -> None:
        self.h.close()
        self.h = hub.open(self.folder, clock=self.clock)

    def ask(self, request_id: str, persons: list[int], towns: list[str], **words: Any) -> list[int]:
        """Statuses of small inquiries; with ``bulk`` of one that is recorded by chunks."""
        more = words.pop("bulk", 0)
        options = {name: words.pop(name) for name in ("withhold",) if name in words}
        aliases = np.ascontiguousarray(self.mine[persons + list(range(PERSONS, PERSONS + more))])
        answer = self.h.inquire(tax_inquiry(request_id, **words), aliases, [*towns, *[self.towns[0]] * more], **options)
        return answer.status.tolist()[: len(persons)]

    def records(self, person: int) -> list[hub.Record]:
        return self.h.history(self.portal[person], limit=1_000).records


@pytest.fixture
def town(tmp_path: Path) -> Iterator[Town]:
    made = Town(tmp_path / "hub")
    yield made
    made.h.close()


@pytest.fixture
def city(tmp_path: Path) -> Iterator[Town]:
    made = Town(tmp_path / "hub", PERSONS + BULK)
    yield made
    made.h.close()


# Held


@pytest.mark.parametrize("bulk", [0, BULK])
def test_the_fourth_body_of_a_day_is_not_asked(city: Town, bulk: int) -> None:
    assert city.ask("a", [0, 0, 0, 0, 1], city.towns[:5], bulk=bulk) == [OK, OK, OK, HELD, OK]
    assert city.ask("b", [0, 0, 1], [city.towns[4], city.towns[1], city.towns[0]], bulk=bulk) == [HELD, OK, OK]
    assert [record.outcome for record in city.records(0)].count(Status.HELD) == 2
    assert city.h.verify().ok


def test_small_and_large_inquiries_count_together(city: Town) -> None:
    city.ask("a", [0, 0], city.towns[:2])
    assert city.ask("b", [0, 0], city.towns[2:4], bulk=BULK) == [OK, HELD]
    assert city.ask("c", [0, 0], city.towns[2:4]) == [OK, HELD]


@pytest.mark.parametrize("bulk", [0, BULK])
def test_bodies_that_do_not_know_the_person_count_and_a_held_row_does_not_tell(city: Town, bulk: int) -> None:
    four = [*city.strangers[:3], city.strangers[3]]
    assert city.ask("a", [0, 0, 0, 0, 0], [*four, city.towns[0]], bulk=bulk) == [UNKNOWN_THERE] * 3 + [HELD] * 2


@pytest.mark.parametrize("bulk", [0, BULK])
def test_the_same_request_again_gets_the_same_answer(city: Town, bulk: int) -> None:
    first = city.ask("a", [0] * 4, city.towns[:4], bulk=bulk)
    assert city.ask("a", [0] * 4, city.towns[:4], bulk=bulk) == first == [OK, OK, OK, HELD]
    city.reopen()
    assert city.ask("a", [0] * 4, city.towns[:4], bulk=bulk) == first
    assert city.ask("b", [0] * 3, city.towns[:3], bulk=bulk) == [OK] * 3


def test_the_day_is_known_again_after_a_restart(town: Town) -> None:
    town.ask("a", [0, 0, 0, 1], town.towns[:4])
    for request_id in ("b", "c"):
        town.reopen()
        assert town.ask(request_id, [0, 0, 1], [town.towns[4], town.towns[0], town.towns[3]]) == [HELD, OK, OK]


def test_at_midnight_in_japan_the_count_begins_anew(town: Town) -> None:
    town.ask("a", [0] * 3, town.towns[:3])
    midnight = NOON + DAY_S // 2
    town.clock.now = midnight - 1
    assert town.ask("b", [0], town.towns[3:4]) == [HELD]
    town.clock.now = midnight
    assert town.ask("c", [0] * 4, town.towns[2:6]) == [OK, OK, OK, HELD]
    town.reopen()
    assert town.ask("d", [0, 0], town.towns[:2]) == [HELD, HELD]
    # A clock that is set back does not give the day before a second time.
    town.clock.now = NOON
    assert town.ask("e", [0, 0], [town.towns[0], town.towns[2]]) == [HELD, OK]


def test_denied_rows_do_not_count(town: Town) -> None:
    assert town.ask("a", [0, 0, 0, 0], ["portal", "portal", *town.towns[:2]])[2:] == [OK, OK]
    assert town.ask("b", [0, 0], town.towns[2:4]) == [OK, HELD]


def people(*persons: int) -> People:
    return People(np.array(persons, dtype=np.uint32))


@pytest.mark.parametrize("look_up_ns", [0, 10**12])
def test_the_records_of_a_day_are_found_by_index_and_by_reading_all(
    town: Town, monkeypatch: pytest.MonkeyPatch, look_up_ns: int
) -> None:
    monkeypatch.setattr(hub.protection.askedlog, "_LOOK_UP_NS", look_up_ns)
    town.ask("before", [0, 1], town.towns[4:6])
    town.clock.now += DAY_S
    assert town.ask("a", [0, 0, 0, 1, 0], [*town.towns[:4], "portal"]) == [OK, OK, OK, OK, int(Status.DENIED)]
    town.ask("b", [0, 2], [town.towns[4], town.towns[0]], operator="sato")
    town.h.release(("b", 0), "moved", clerk="suzuki", requester="nenkin")
    town.ask("c", [0], town.towns[5:6])
    town.h.correct(town.h.handles("nenkin", town.mine[0])[0][0], "own motion", "国民年金部")
    log, day = town.h._asked._log, hub.protection.asked.day_start(hub.protection.asked.day_of(int(town.clock.now)))
    numbers = [town.h.catalog.institution(code).number for code in town.towns]
    question = "nenkin", ("市町村民税",)
    for persons in ([0], [0, 1, 2, 3]):
        found = [
            (person, provider)
            for rows in log.answers_of(question, people(*persons), day)
            for person, provider in zip(rows.persons.tolist(), rows.providers.tolist(), strict=True)
        ]
        expected = [(0, number) for number in numbers[:3]] + [(1, numbers[3]), (0, numbers[4]), (2, numbers[0])]
        assert sorted(found) == sorted(one for one in expected if one[0] in persons)
    assert list(log.answers_of(("nenkin", ("another",)), people(0), day)) == []
    assert list(log.answers_of((town.towns[0], question[1]), people(0), day)) == []


def test_a_question_leaves_its_table_for_the_next(city: Town) -> None:
    city.ask("a", [0], city.towns[:1], bulk=BULK)
    (table,) = city.h._asked._tables.values()
    city.ask("b", [0], city.towns[:1])
    city.ask("c", [0], city.towns[:1], bulk=BULK)
    assert list(city.h._asked._tables.values()) == [table]
    assert not city.h._asked._flights


def test_aliases_acquired_while_a_chunk_waits_hold_nothing(city: Town, monkeypatch: pytest.MonkeyPatch) -> None:
    prepared: list[int] = []
    prepare = hub.hub.Hub._prepare

    def prepare_and_acquire(h: hub.Hub, batch: Any, request: Any, decided: Any, chunk: int) -> Any:
        made = prepare(h, batch, request, decided, chunk)
        prepared.append(chunk)
        if len(prepared) == 1:
            thread = threading.Thread(target=lambda: h.acquire("portal", ["00000000017"]))
            thread.start()
            thread.join()
        return made

    monkeypatch.setattr(hub.hub.Hub, "_prepare", prepare_and_acquire)
    assert city.ask("a", [0] * 4, city.towns[:4], bulk=BULK) == [OK, OK, OK, HELD]
    assert prepared == [0, 0]
    assert city.ask("b", [0] * 2, city.towns[2:4]) == [OK, HELD]


def test_a_failed_commit_leaves_nothing_counted(city: Town) -> None:
    def fail(commit: Any) -> None:
        raise StorageError("write: expected", retry_safe=True)

    for request_id, bulk in (("a", BULK), ("b", 0)):
        keep, city.h._store.at_commit = city.h._store.at_commit, fail
        with pytest.raises(StorageError):
            city.ask(request_id, [0] * 3, city.towns[:3], bulk=bulk)
        city.h._store.at_commit = keep
    assert not city.h._asked._flights
    assert city.ask("c", [0] * 4, city.towns[2:]) == [OK, OK, OK, HELD]


def test_an_interrupted_inquiry_goes_on_where_it_stopped(tmp_path: Path) -> None:
    town = Town(tmp_path / "hub", PERSONS + 2 * ROWS_PER_CHUNK)

    def stop(rows: int) -> None:
        raise KeyboardInterrupt

    bulk = 2 * ROWS_PER_CHUNK
    aliases = np.ascontiguousarray(town.mine[[0, 0, *range(PERSONS, PERSONS + bulk), 0, 0]])
    towns = [*town.towns[:2], *[town.towns[0]] * bulk, *town.towns[2:4]]
    with pytest.raises(KeyboardInterrupt):
        town.h.inquire(tax_inquiry("a"), aliases, towns, progress=stop)
    assert not town.h._asked._flights
    assert town.ask("b", [0, 0], [town.towns[4], town.towns[5]]) == [OK, HELD]
    answer = town.h.inquire(tax_inquiry("a"), aliases, towns)
    assert answer.status[[0, 1, -2, -1]].tolist() == [OK, OK, HELD, HELD]
    assert not town.h._asked._flights
    town.h.close()


def test_many_threads_cannot_ask_one_body_more(town: Town) -> None:
    towns = [*town.towns, *town.strangers]
    found: dict[str, int] = {}

    def ask(code: str) -> None:
        found[code] = town.ask(f"of {code}", [0], [code])[0]

    threads = [threading.Thread(target=ask, args=(code,)) for code in towns]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sum(status != HELD for status in found.values()) == 3


KILLED = """
import os, signal, sys
sys.path.insert(0, sys.argv[2])
import hub, numpy as np
from inquiries import tax_inquiry
h = hub.open(sys.argv[1], clock=lambda: float(sys.argv[3]))
mine = h.acquire("nenkin", ["01000000000"]).aliases
towns = sys.argv[4].split(",")
print([h.inquire(tax_inquiry(f"k{i}"), mine, [town]).status.tolist()[0] for i, town in enumerate(towns)], flush=True)
os.kill(os.getpid(), signal.SIGKILL)
"""


def test_what_was_asked_before_a_kill_counts(town: Town) -> None:
    town.h.close()
    words = [str(town.folder), str(Path(__file__).parent), str(NOON), ",".join(town.towns[:4])]
    done = subprocess.run([sys.executable, "-c", KILLED, *words], capture_output=True, text=True, check=False)
    assert done.returncode == -signal.SIGKILL, done.stderr
    assert done.stdout.strip() == str([OK, OK, OK, HELD])
    town.h = hub.open(town.folder, clock=town.clock)
    assert town.ask("after", [0] * 3, [town.towns[0], town.towns[3], town.towns[4]]) == [OK, HELD, HELD]
    assert town.ask("k0", [0], town.towns[:1]) == [OK]
    assert town.h.verify().ok


# Released


def held(town: Town, **words: Any) -> None:
    """Person 0 was asked about at three towns, and at the fourth in row 3 of request "a"."""
    words = {"operator": "sato", **words}
    assert town.ask("a", [0] * 4, town.towns[:4], **words) == [OK, OK, OK, HELD]


def test_a_release_is_a_record_of_its_own_behind_the_held_one(town: Town) -> None:
    held(town)
    town.clock.now += 60
    before = town.records(0)
    made = town.h.release(("a", 3), "moved twice this year", clerk="suzuki", requester="nenkin")
    records = town.records(0)
    assert records[1:] == before
    released, first = records[0], next(one for one in before if one.outcome == Status.HELD)
    assert (released.kind, released.outcome, released.link) == (Kind.RELEASE, Status.OK, first.index)
    assert (released.remark, released.provider) == ("moved twice this year", town.towns[3])
    same = ("requester", "procedure", "items", "role", "section", "legal_basis", "inquiry", "on_behalf_of")
    assert [getattr(released, name) for name in same] == [getattr(first, name) for name in same]
    assert released.requested_at.timestamp() == town.clock.now
    assert [handle for handle, _ in town.h.handles("nenkin", town.mine[0])].count(made) == 1
    event = town.h.events()[-1]
    assert (event.kind.name, event.institution, event.clerk) == ("RELEASED", "nenkin", "suzuki")
    assert event.index == first.index
    assert town.h.history(town.portal[0]).proof(0) is not None
    assert town.h.verify().ok


def test_the_provider_is_a_party_to_the_release_and_not_to_the_held_record(town: Town) -> None:
    held(town)
    assert town.h.handles(town.towns[3], town.theirs[3][0]) == []
    town.h.release(("a", 3), "moved", clerk="suzuki", requester="nenkin")
    ((handle, record),) = town.h.handles(town.towns[3], town.theirs[3][0])
    assert (record.kind, record.outcome) == (Kind.RELEASE, Status.OK)
    assert len(town.records(0)) == 5
    town.h.withhold(handle, "family", REVIEW)
    assert len(town.records(0)) == 4
    assert town.h.verify().ok


def test_a_released_row_is_collected_answered_and_shown_like_any_other(town: Town) -> None:
    held(town)
    assert town.h.collect(town.towns[3]) == []
    assert town.h.answers("nenkin", "a").status.tolist() == [int(Status.PENDING)] * 3 + [HELD]
    town.h.release(("a", 3), "moved", clerk="suzuki")
    answers = town.h.answers("nenkin", "a")
    assert answers.status.tolist() == [int(Status.PENDING)] * 4
    (permits,) = town.h.collect(town.towns[3])
    assert permits.aliases.tobytes() == town.theirs[3][0].tobytes()
    town.h.provide(town.towns[3], permits, Status.PROVIDED, [b"income"])
    town.clock.now += DAY_S
    answers = town.h.answers("nenkin", "a")
    assert (answers.status.tolist()[3], answers.payloads[3]) == (int(Status.PROVIDED), b"income")
    assert [record.kind for record in town.records(0)[:2]] == [Kind.PROVISION, Kind.RELEASE]
    # Whoever withholds the held record withholds what came of it.
    town.h.withhold(("a", 3), "family", REVIEW, requester="nenkin")
    assert len(town.records(0)) == 3
    assert town.h.fetched("nenkin", "a") == 1
    assert town.h.verify().ok


def test_a_released_row_that_nobody_answers_lapses(town: Town) -> None:
    held(town)
    town.clock.now += 5 * DAY_S
    town.h.release(("a", 3), "moved", clerk="suzuki")
    town.clock.now += 5 * DAY_S
    lapsed, pending = int(Status.LAPSED), int(Status.PENDING)
    # Its time begins with the release.
    assert town.h.answers("nenkin", "a").status.tolist() == [lapsed] * 3 + [pending]
    town.clock.now += 5 * DAY_S
    assert town.h.answers("nenkin", "a").status.tolist() == [lapsed] * 4


def test_a_released_row_of_a_body_that_does_not_know_the_person_says_so(town: Town) -> None:
    town.ask("a", [0] * 5, town.strangers[:5])
    town.h.release(("a", 4), "moved", clerk="suzuki")
    assert town.h.answers("nenkin", "a").status.tolist() == [UNKNOWN_THERE] * 3 + [HELD, UNKNOWN_THERE]


def test_released_again_nothing_is_added(town: Town) -> None:
    held(town)
    first = town.h.release(("a", 3), "moved", clerk="suzuki", requester="nenkin")
    records = town.h.stats()["records"]
    for _ in range(2):
        assert town.h.release(("a", 3), "another reason", clerk="tanaka") == first
        town.reopen()
    assert town.h.stats()["records"] == records
    assert [event.kind.name for event in town.h.events()] == ["RELEASED"]


def test_a_release_whose_commit_fails_is_none(town: Town) -> None:
    def fail(commit: Any) -> None:
        raise StorageError("write: expected", retry_safe=True)

    held(town)
    before = town.h.stats()["records"], town.records(0)
    keep, town.h._store.at_commit = town.h._store.at_commit, fail
    with pytest.raises(StorageError):
        town.h.release(("a", 3), "moved", clerk="suzuki", requester="nenkin")
    town.h._store.at_commit = keep
    assert (town.h.stats()["records"], town.records(0)) == before
    assert town.ask("b", [0], town.towns[3:4]) == [HELD]
    town.h.release(("a", 3), "moved", clerk="suzuki", requester="nenkin")
    assert town.ask("c", [0], town.towns[3:4]) == [OK]
    assert town.h.verify().ok


KILLED_AT_RELEASE = """
import os, signal, sys
import hub
h = hub.open(sys.argv[1], clock=lambda: float(sys.argv[2]))
keep, when = h._store.at_commit, sys.argv[3]
if when == "before":
    h._store.at_commit = lambda commit: os.kill(os.getpid(), signal.SIGKILL)
h._releases._appended = lambda: os.kill(os.getpid(), signal.SIGKILL)
h.release(("a", 3), "moved", clerk="suzuki", requester="nenkin")
"""


@pytest.mark.parametrize("when", ["before", "behind"])
def test_a_release_that_is_killed_is_whole_or_not_there_and_can_be_made_again(town: Town, when: str) -> None:
    held(town)
    records = town.h.stats()["records"]
    town.h.close()
    words = [str(town.folder), str(NOON), when]
    done = subprocess.run([sys.executable, "-c", KILLED_AT_RELEASE, *words], capture_output=True, check=False)
    assert done.returncode == -signal.SIGKILL, done.stderr
    town.h = hub.open(town.folder, clock=town.clock)
    assert town.h.stats()["records"] == records + (when == "behind")
    town.h.release(("a", 3), "moved", clerk="suzuki", requester="nenkin")
    assert town.h.stats()["records"] == records + 1
    assert [event.kind.name for event in town.h.events()] == ["RELEASED"]
    assert town.h.verify().ok


def test_the_clerk_who_asked_cannot_release(town: Town) -> None:
    held(town)
    records = town.h.stats()["records"]
    for clerk, message in (("sato", "another"), ("SATO ", "another"), (None, "clerk"), ("", "clerk")):
        with pytest.raises(RequestError, match=message):
            town.h.release(("a", 3), "moved", clerk=clerk, requester="nenkin")  # type: ignore[arg-type]
    assert town.h.stats()["records"] == records
    town.ask("nobody", [0], town.towns[4:5])
    town.h.release(("nobody", 0), "moved", clerk="sato")


def test_only_a_held_row_of_its_own_is_released(town: Town) -> None:
    held(town)
    for handle, words in (
        (("a", 2), {"requester": "nenkin"}),
        (("a", 9), {"requester": "nenkin"}),
        (("a", 3), {"requester": town.towns[0]}),
        (("b", 3), {"requester": "nenkin"}),
        (b"x" * 18, {}),
    ):
        with pytest.raises(RequestError):
            town.h.release(handle, "moved", clerk="suzuki", **words)  # type: ignore[arg-type]
    for reason in ("", " ", "x" * 2_001, 5):
        with pytest.raises(RequestError, match="reason"):
            town.h.release(("a", 3), reason, clerk="suzuki")  # type: ignore[arg-type]
    made = town.h.release(("a", 3), "x" * 2_000, clerk="suzuki")
    with pytest.raises(RequestError, match="held"):
        town.h.release(made, "moved", clerk="suzuki")


def test_a_row_is_released_for_thirty_days(town: Town) -> None:
    held(town)
    (handle,) = (one for one, record in town.h.handles("nenkin", town.mine[0]) if record.outcome == Status.HELD)
    town.clock.now = NOON + 30 * DAY_S + 1
    with pytest.raises(RequestError, match="30 days"):
        town.h.release(handle, "moved", clerk="suzuki")
    town.clock.now -= 1
    town.h.release(handle, "moved", clerk="suzuki")


def test_the_release_says_whether_the_body_knows_the_person(town: Town) -> None:
    assert town.ask("a", [0] * 4, town.strangers[:4]) == [UNKNOWN_THERE] * 3 + [HELD]
    town.h.release(("a", 3), "moved", clerk="suzuki")
    assert town.records(0)[0].outcome == Status.NO_ALIAS_AT_PROVIDER
    assert town.h.verify().ok


def test_whom_a_clerk_must_answer_for_every_body_knows_also_when_released(town: Town) -> None:
    town.h.flag(town.towns[0], town.theirs[0][:1], hub.Flag.MANUAL)
    assert town.ask("a", [0] * 4, town.strangers[:4]) == [OK, OK, OK, HELD]
    town.h.release(("a", 3), "moved", clerk="suzuki")
    assert town.records(0)[0].outcome == Status.OK


def test_a_released_body_may_be_asked_again_and_no_other(town: Town) -> None:
    held(town)
    town.h.release(("a", 3), "moved", clerk="suzuki")
    for request_id in ("b", "c"):
        assert town.ask(request_id, [0] * 3, [town.towns[3], town.towns[4], town.towns[0]]) == [OK, HELD, OK]
        town.reopen()


def test_a_record_that_is_withheld_is_not_shown_by_its_release(town: Town) -> None:
    mark = hub.Withhold(ground="family", until=REVIEW)
    held(town, withhold=[None, None, None, mark])
    assert len(town.records(0)) == 3
    town.h.release(("a", 3), "moved", clerk="suzuki")
    assert len(town.records(0)) == 3
    assert town.h.verify().ok


def test_a_flag_withholds_the_release_from_the_beginning(town: Town) -> None:
    held(town)
    town.h.flag(town.towns[3], town.theirs[3][:1], hub.Flag.WITHHELD, clerk="yamada")
    shown = shown_in(town.h, town.portal[0])
    town.h.release(("a", 3), "moved", clerk="suzuki")
    assert shown_in(town.h, town.portal[0]) == shown
    assert town.h.verify().ok


def test_a_release_can_be_corrected(town: Town) -> None:
    held(town)
    town.h.release(("a", 3), "moved", clerk="suzuki")
    page = town.h.history(town.portal[0])
    town.h.ask_correction(town.portal[0], page.records[0], "never moved", disclosed=page.disclosure)
    (notice,) = town.h.corrections("nenkin")
    town.h.correct(notice.handle, "was wrong", "国民年金部", clerk="sato")
    assert town.h.verify().ok


def test_a_lost_entry_is_noticed_not_taken_for_none(town: Town) -> None:
    held(town)
    town.h.release(("a", 3), "moved", clerk="suzuki")
    env = town.h._store.env
    assert env is not None
    with env.begin(write=True) as txn:
        txn.drop(town.h._store.databases["released"], delete=False)
    town.h._store._renew = True
    town.h._store._compared.clear()
    with pytest.raises(StorageError, match="released"):
        town.h.release(("a", 3), "moved", clerk="suzuki")
    assert not town.h.verify().ok


def test_a_release_that_names_another_record_is_found(town: Town) -> None:
    held(town)
    town.h.release(("a", 3), "moved", clerk="suzuki")
    with town.h._store.snapshot() as snapshot:
        ((key, _),) = snapshot.items("released", b"")
    for index in (0, 99):
        with town.h._store.commit() as commit:
            commit.put_sealed("released", key, index.to_bytes(8, "little"))
        assert any("release of record" in problem for problem in town.h.verify().problems)


def test_the_command_releases_a_held_row(town: Town, capsys: pytest.CaptureFixture[str]) -> None:
    held(town)
    town.h.close()
    folder = str(town.folder)
    words = ["release", folder, "a", "3", "--reason", "moved", "--requester", "nenkin"]
    assert main([*words, "--clerk", "sato"]) == 2
    assert main([*words, "--clerk", "suzuki"]) == 0
    assert capsys.readouterr().out.startswith("released; handle ")
    town.h = hub.open(town.folder, clock=town.clock)
    assert town.records(0)[0].remark == "moved"
