"""Identifiers from outside: whom they name, in which namespace, for whom, and until when."""

from __future__ import annotations

import datetime as dt
import random
import threading
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import hub
from hub import limits
from hub.acquisition import additions, reissue
from hub.catalog import Catalog
from hub.errors import CatalogError, RequestError, StorageError
from hub.messages import Acquisition, Identity
from hub.persons import identifiers
from hub.persons.identifiers import namespace_number
from hub.persons.pseudonyms import decode_identifiers, pseudonyms_of
from hub.records.events import EventKind
from hub.storage.keys import Keys

NAMESPACES = """namespace,name,issuer,relying,following
jpki-auth,利用者証明用電子証明書の発行番号,jlis,portal;市町村長,portal
jpki-phone,スマホ用の発行番号,jlis,portal,
mykey,マイキーID,portal,131016;nenkin,
"""
TOWN, OTHER_TOWN = "131016", "011002"
N = 100
SERIALS = [f"{row:020d}" for row in range(N)]
DAY = 1_798_800_000
TODAY = dt.date(2027, 1, 1)
"""Of ``DAY``, in Japan."""
CREATED, ALREADY, NONE = Acquisition.CREATED, Acquisition.ALREADY, Acquisition.NONE


class World:
    """A hub with namespaces, the town's and the portal's aliases of the same persons."""

    def __init__(self, folder: Path, codes: np.ndarray, **options: Any) -> None:
        self.codes = codes
        self.h = hub.open(folder, create=True, clock=lambda: DAY, **options)
        self.h.load_catalog(self.h.catalog.import_table(NAMESPACES))
        self.town = self.h.acquire(TOWN, codes).aliases
        self.citizens = self.h.acquire("portal", codes).aliases

    def register(self, rows: slice, serials: list[Any], namespace: str = "jpki-auth", **words: Any) -> list[int]:
        return self.h.register_identifiers(namespace, "jlis", self.codes[rows], serials, **words).status.tolist()

    def asked(self, serials: list[Any], body: str = TOWN, namespace: str = "jpki-auth") -> list[int]:
        return self.h.identify(body, namespace, serials).status.tolist()


@pytest.fixture
def world(tmp_path: Path, codes: np.ndarray) -> Any:
    made = World(tmp_path / "hub", codes)
    yield made
    made.h.close()


# -- whom an identifier names


def test_a_registered_identifier_leads_each_body_to_its_own_alias(world: World) -> None:
    assert world.register(slice(None), SERIALS) == [CREATED] * N
    for body, own in ((TOWN, world.town), ("portal", world.citizens)):
        found = world.h.identify(body, "jpki-auth", SERIALS)
        assert found.status.tolist() == [Identity.VALID] * N
        assert (found.aliases == own).all()
    assert world.register(slice(None), SERIALS) == [ALREADY] * N
    assert world.h.stats()["identifiers"] == {"jpki-auth": N, "jpki-phone": 0, "mykey": 0}
    assert world.h.verify().ok


def test_a_body_without_an_alias_of_the_person_gets_none(world: World) -> None:
    world.register(slice(None), SERIALS)
    world.h.acquire(OTHER_TOWN, world.codes[:3])
    found = world.h.identify(OTHER_TOWN, "jpki-auth", SERIALS)
    assert found.status.tolist() == [Identity.VALID] * 3 + [Identity.NO_ALIAS] * (N - 3)
    assert not found.aliases[3:].any()


def test_an_identifier_is_unknown_in_every_other_namespace(world: World) -> None:
    world.register(slice(None), SERIALS)
    assert world.asked(SERIALS, "portal", "jpki-phone") == [Identity.UNKNOWN] * N
    assert world.asked(["made up"] * N, "portal", "jpki-phone") == [Identity.UNKNOWN] * N
    world.register(slice(1, 2), SERIALS[:1], "jpki-phone")
    found = world.h.identify("portal", "jpki-phone", SERIALS[:1])
    assert (found.aliases == world.citizens[1]).all()


@pytest.mark.parametrize("bytes_long", [1, 15, 16, 64])
def test_an_identifier_has_unrelated_pseudonyms_in_two_namespaces(bytes_long: int) -> None:
    keys = Keys(*(bytes([i]) * 32 for i in range(4)))
    column = decode_identifiers([b"x" * bytes_long, b"y" * bytes_long])
    mine, theirs = (pseudonyms_of(keys, name, column) for name in ("jpki-auth", "jpki-phone"))
    assert len({row.tobytes() for row in (*mine, *theirs)}) == 4
    assert (mine == pseudonyms_of(keys, "jpki-auth", column)).all()


def test_identifiers_of_all_lengths_in_one_call_stay_in_their_rows() -> None:
    keys = Keys(*(bytes([i]) * 32 for i in range(4)))
    raw = [bytes([length]) * length for length in range(1, 65)]
    random.Random(1).shuffle(raw)
    together = pseudonyms_of(keys, "mykey", decode_identifiers(raw))
    for row, one in enumerate(raw):
        assert (pseudonyms_of(keys, "mykey", decode_identifiers([one]))[0] == together[row]).all()
    array = np.frombuffer(b"".join(one for one in raw if len(one) == 20), np.uint8).reshape(-1, 20)
    same = [row for row, one in enumerate(raw) if len(one) == 20]
    assert (pseudonyms_of(keys, "mykey", decode_identifiers(array.copy())) == together[same]).all()


def test_a_short_identifier_ends_where_it_ends() -> None:
    keys = Keys(*(bytes([i]) * 32 for i in range(4)))
    made = pseudonyms_of(keys, "mykey", decode_identifiers([b"a", b"a\0", b"a\0\0"]))
    assert len({row.tobytes() for row in made}) == 3


def test_an_issuer_that_has_aliases_registers_by_them(world: World) -> None:
    made = world.h.register_identifiers("mykey", "portal", world.citizens, SERIALS)
    assert made.status.tolist() == [CREATED] * N
    found = world.h.identify(TOWN, "mykey", SERIALS)
    assert (found.aliases == world.town).all()


def test_a_person_may_have_several_identifiers(world: World) -> None:
    assert world.register(slice(0, 1), ["card"]) == world.register(slice(0, 1), ["phone"]) == [CREATED]
    found = world.h.identify(TOWN, "jpki-auth", ["card", "phone"])
    assert (found.aliases == world.town[0]).all()


def test_whose_code_nobody_acquired_is_registered_for_nobody(world: World) -> None:
    strangers = world.codes[:2] + 10**6
    made = world.h.register_identifiers("jpki-auth", "jlis", strangers, ["one", "two"])
    assert made.status.tolist() == [NONE] * 2
    assert world.asked(["one", "two"]) == [Identity.UNKNOWN] * 2


def test_the_same_identifier_twice_in_a_call_is_registered_once(world: World) -> None:
    people = world.codes[[0, 1, 0]]
    made = world.h.register_identifiers("jpki-auth", "jlis", people, ["a", "b", "a"])
    assert made.status.tolist() == [CREATED, CREATED, ALREADY]
    assert world.h.stats()["identifiers"]["jpki-auth"] == 2


def test_an_identifier_for_two_persons_is_refused_and_nothing_changes(world: World) -> None:
    world.register(slice(0, 1), ["a"])
    commits = world.h.stats()["commits"]
    for people, serials in (([5, 6], ["x", "x"]), ([5, 1], ["y", "a"])):
        with pytest.raises(RequestError, match="are no other person's"):
            world.h.register_identifiers("jpki-auth", "jlis", world.codes[people], serials)
    assert world.h.stats()["commits"] == commits
    assert world.asked(["a", "x", "y"]) == [Identity.VALID, Identity.UNKNOWN, Identity.UNKNOWN]


# -- who may


def test_a_body_that_may_not_rely_on_a_namespace_is_refused_as_a_whole(world: World) -> None:
    world.register(slice(None), SERIALS)
    commits = world.h.stats()["commits"]
    with pytest.raises(RequestError, match="may rely on this namespace"):
        world.h.identify("nenkin", "jpki-auth", SERIALS)
    assert world.h.stats()["commits"] == commits


def test_only_the_issuer_registers_renews_and_revokes(world: World) -> None:
    h = world.h
    calls = [
        lambda: h.register_identifiers("jpki-auth", TOWN, world.town[:1], ["a"]),
        lambda: h.renew_identifiers("jpki-auth", TOWN, ["a"], ["b"]),
        lambda: h.revoke_identifiers("jpki-auth", TOWN, ["a"]),
        lambda: h.revoke_identifiers("mykey", "jlis", ["a"]),
    ]
    for call in calls:
        with pytest.raises(RequestError, match="expected the issuer"):
            call()


def test_an_alias_that_is_not_the_issuers_is_refused(world: World) -> None:
    people = np.concatenate((world.citizens[:1], world.town[:1]))
    with pytest.raises(RequestError, match="issuer's own aliases, got 1 others"):
        world.h.register_identifiers("mykey", "portal", people, ["a", "b"])
    assert world.h.stats()["identifiers"]["mykey"] == 0


@pytest.mark.parametrize("wrong", [[""], [b"x" * 65], [17], ["\ud800"], "abc", np.zeros((1, 65), np.uint8), None])
def test_identifiers_of_another_form_are_refused(world: World, wrong: Any) -> None:
    with pytest.raises(RequestError, match="identifiers: expected"):
        world.h.identify(TOWN, "jpki-auth", wrong)


def test_64_bytes_are_accepted(world: World) -> None:
    assert world.register(slice(0, 2), [b"x" * 64, "電" * 21]) == [CREATED] * 2


# -- renewed, revoked


def test_a_renewed_identifier_is_replaced_and_leads_on_only_whom_it_may(world: World) -> None:
    world.register(slice(0, 1), ["old"])
    made = world.h.renew_identifiers("jpki-auth", "jlis", ["old"], ["new"])
    assert made.status.tolist() == [CREATED]
    assert (world.h.identify("portal", "jpki-auth", ["old", "new"]).aliases == world.citizens[0]).all()
    found = world.h.identify(TOWN, "jpki-auth", ["old", "new"])
    assert found.status.tolist() == [Identity.REPLACED, Identity.VALID]
    assert not found.aliases[0].any()
    assert (found.aliases[1] == world.town[0]).all()
    again = world.h.renew_identifiers("jpki-auth", "jlis", ["old"], ["new"])
    assert again.status.tolist() == [ALREADY]
    assert world.h.verify().ok


def test_a_chain_leads_on_as_long_as_its_end_is_valid(world: World) -> None:
    world.register(slice(0, 1), ["0"])
    for step in range(5):
        world.h.renew_identifiers("jpki-auth", "jlis", [str(step)], [str(step + 1)])
    chain = [str(step) for step in range(6)]
    assert world.asked(chain, "portal") == [Identity.REPLACED] * 5 + [Identity.VALID]
    assert world.h.revoke_identifiers("jpki-auth", "jlis", ["5"]) == 1
    assert world.h.revoke_identifiers("jpki-auth", "jlis", ["5", "5", "never"]) == 0
    assert world.asked(chain, "portal") == [Identity.REVOKED] * 6
    assert not world.h.identify("portal", "jpki-auth", chain).aliases.any()
    # Whoever may not follow learns of no other identifier than the one that it asks by.
    assert world.asked(chain) == [Identity.REPLACED] * 5 + [Identity.REVOKED]
    assert world.h.verify().ok


def test_no_renewal_makes_a_loop_or_a_fork(world: World) -> None:
    world.register(slice(0, 3), ["a", "b", "c"])
    world.h.renew_identifiers("jpki-auth", "jlis", ["a"], ["a2"])
    for old, new in (
        (["a2"], ["a"]), (["b"], ["b"]), (["b", "c"], ["c", "d"]), (["b", "c"], ["x", "x"]), (["b", "b"], ["x", "y"]),
        (["b"], ["c"]),
    ):  # fmt: skip
        with pytest.raises(RequestError):
            world.h.renew_identifiers("jpki-auth", "jlis", old, new)
    twice = world.h.renew_identifiers("jpki-auth", "jlis", ["b", "b", "a", "never"], ["b2", "b2", "a3", "n2"])
    assert twice.status.tolist() == [CREATED, ALREADY, NONE, NONE]
    assert world.asked(["a", "a2", "b", "b2", "a3", "n2", "c"]) == [
        Identity.REPLACED, Identity.VALID, Identity.REPLACED, Identity.VALID, Identity.UNKNOWN, Identity.UNKNOWN,
        Identity.VALID,
    ]  # fmt: skip


def test_what_has_ended_is_registered_again_only_on_demand_and_never_what_was_renewed(world: World) -> None:
    world.register(slice(0, 2), ["wrong", "old"])
    world.h.renew_identifiers("jpki-auth", "jlis", ["old"], ["new"])
    world.h.revoke_identifiers("jpki-auth", "jlis", ["wrong"])
    for serial, words in (("wrong", {}), ("old", {}), ("old", {"again": True})):
        with pytest.raises(RequestError, match="have not ended"):
            world.register(slice(7, 8), [serial], **words)
    assert world.register(slice(7, 8), ["wrong"], again=True) == [CREATED]
    found = world.h.identify(TOWN, "jpki-auth", ["wrong"])
    assert (found.aliases == world.town[7]).all()
    assert world.h.verify().ok


def test_a_chain_does_not_lead_to_whom_its_end_names_now(world: World) -> None:
    world.register(slice(0, 1), ["old"])
    world.h.renew_identifiers("jpki-auth", "jlis", ["old"], ["new"])
    world.h.revoke_identifiers("jpki-auth", "jlis", ["new"])
    world.register(slice(7, 8), ["new"], again=True)
    found = world.h.identify("portal", "jpki-auth", ["old", "new"])
    assert found.status.tolist() == [Identity.REVOKED, Identity.VALID]
    assert not found.aliases[0].any()
    assert (found.aliases[1] == world.citizens[7]).all()


def test_one_row_more_than_a_commit_takes_is_refused(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(reissue, "ROWS_PER_REISSUE_MAX", 3)
    world.register(slice(None), SERIALS)
    with pytest.raises(RequestError, match="at most 3 in one call"):
        world.h.revoke_identifiers("jpki-auth", "jlis", SERIALS[:4])
    assert world.h.revoke_identifiers("jpki-auth", "jlis", SERIALS[:3]) == 3
    with pytest.raises(RequestError, match="at most 3 in one call"):
        world.h.renew_identifiers("jpki-auth", "jlis", SERIALS[3:7], ["a", "b", "c", "d"])


# -- told, counted, checked


def test_what_is_done_is_told_to_auditors_and_what_is_asked_is_counted_by_day(world: World) -> None:
    world.register(slice(0, 3), ["a", "b", "c"], clerk="sato")
    world.h.renew_identifiers("jpki-auth", "jlis", ["a"], ["a2"])
    world.h.revoke_identifiers("jpki-auth", "jlis", ["b"])
    told = [(event.kind, event.institution, event.clerk, event.ground) for event in world.h.events()]
    assert told == [
        (EventKind.IDENTIFIERS_REGISTERED, "jlis", "sato", "jpki-auth: 3"),
        (EventKind.IDENTIFIERS_RENEWED, "jlis", None, "jpki-auth: 1"),
        (EventKind.IDENTIFIERS_REVOKED, "jlis", None, "jpki-auth: 1"),
    ]
    world.asked(["a", "a2", "b", "x"])
    world.asked(["a2"])
    world.asked(["a2"], "portal")
    found = {one.institution: (one.namespace, one.rows) for one in world.h.identified(TODAY)}
    assert found == {
        TOWN: ("jpki-auth", {"VALID": 2, "UNKNOWN": 1, "REVOKED": 1, "REPLACED": 1}),
        "portal": ("jpki-auth", {"VALID": 1}),
    }
    assert world.h.identified(TODAY + dt.timedelta(days=1)) == []
    assert world.h.stats()["records"] == 0


def test_nothing_is_answered_that_could_not_be_counted(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    world.register(slice(0, 1), ["a"])

    def fail(*_: object) -> None:
        raise StorageError("write: no space left", retry_safe=True)

    with monkeypatch.context() as patch:
        patch.setattr("hub.persons.uses._add", fail)
        with pytest.raises(StorageError):
            world.asked(["a"])
    assert world.asked(["a"]) == [Identity.VALID]
    assert [one.rows for one in world.h.identified(TODAY)] == [{"VALID": 1}]


def test_calls_that_come_together_share_commits_and_each_is_counted(world: World) -> None:
    world.register(slice(None), SERIALS)
    commits, calls, threads = world.h.stats()["commits"], 20, 16
    start = threading.Barrier(threads)

    def ask(thread: int) -> None:
        start.wait()
        for call in range(calls):
            assert world.asked([SERIALS[(thread + call) % N], "never"]) == [Identity.VALID, Identity.UNKNOWN]

    asking = [threading.Thread(target=ask, args=(thread,)) for thread in range(threads)]
    # Another writer is at work: whoever comes meanwhile waits together.
    with world.h._store.writer:
        for thread in asking:
            thread.start()
        time.sleep(0.05)
    for thread in asking:
        thread.join()
    (found,) = world.h.identified(TODAY)
    assert found.rows == {"VALID": calls * threads, "UNKNOWN": calls * threads}
    assert world.h.stats()["commits"] - commits < calls * threads


def test_a_count_that_fails_fails_for_all_who_waited(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    world.register(slice(None), SERIALS)
    failed: list[str] = []

    def fail(*_: object) -> None:
        raise StorageError("write: no space left", retry_safe=True)

    def ask() -> None:
        try:
            world.asked(["a"])
        except StorageError as error:
            failed.append(str(error))

    monkeypatch.setattr("hub.persons.uses._add", fail)
    asking = [threading.Thread(target=ask) for _ in range(8)]
    with world.h._store.writer:
        for thread in asking:
            thread.start()
        time.sleep(0.05)
    for thread in asking:
        thread.join()
    assert failed == ["write: no space left"] * 8
    assert world.h.identified(TODAY) == []


def test_no_result_shows_an_alias_or_an_identifier(world: World) -> None:
    assert repr(world.h.register_identifiers("jpki-auth", "jlis", world.codes[:1], ["secret"])) == (
        "Acquired(rows=1, {'CREATED': 1})"
    )
    found = world.h.identify(TOWN, "jpki-auth", ["secret", "x"])
    assert repr(found) == "Identified(rows=2, {'VALID': 1, 'UNKNOWN': 1})"


def test_verify_finds_a_renewal_that_is_lost_or_leads_elsewhere(world: World) -> None:
    world.register(slice(0, 2), ["a", "b"])
    world.h.renew_identifiers("jpki-auth", "jlis", ["a"], ["a2"])
    store = world.h._store
    number = namespace_number(world.h.catalog, "jpki-auth")
    made = pseudonyms_of(store.keys, "jpki-auth", decode_identifiers(["a", "a2", "never"]))
    key = number.to_bytes(4, "big") + made[0].tobytes()
    with store.commit() as commit:
        commit.put_sealed(identifiers.RENEWALS, key, made[2].tobytes())
    assert "both ends" in " ".join(world.h.verify().problems)
    with store.commit() as commit:
        commit.delete(identifiers.RENEWALS, key)
    assert "as its events say" in " ".join(world.h.verify().problems)
    with pytest.raises(StorageError, match="what took the place"):
        world.asked(["a"], "portal")


def test_a_registration_in_many_commits_is_one(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(additions, "COMMIT_BYTES_MAX", 2_000)
    monkeypatch.setattr(additions, "ROWS_PER_PART", 16)
    commits = world.h.stats()["commits"]
    world.register(slice(None), SERIALS)
    assert world.h.stats()["commits"] > commits + 3
    assert world.asked(SERIALS) == [Identity.VALID] * N
    assert world.h.verify().ok


def test_an_interrupt_while_counting_is_one_threads_alone(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    world.register(slice(0, 1), ["a"])
    told: list[str] = []

    def interrupt(*_: object) -> None:
        raise KeyboardInterrupt

    def ask() -> None:
        try:
            world.asked(["a"])
        except (KeyboardInterrupt, StorageError) as error:
            told.append(type(error).__name__)

    monkeypatch.setattr("hub.persons.uses._add", interrupt)
    asking = [threading.Thread(target=ask) for _ in range(4)]
    with world.h._store.writer:
        for thread in asking:
            thread.start()
        time.sleep(0.05)
    for thread in asking:
        thread.join()
    assert len(told) == 4
    assert "KeyboardInterrupt" in told
    monkeypatch.undo()
    assert world.asked(["a"]) == [Identity.VALID]


# -- the catalog


def test_a_namespace_keeps_its_place(world: World) -> None:
    moved = Catalog.japan().import_table("namespace,name,issuer,relying\nmykey,マイキーID,portal,131016\n")
    with pytest.raises(RequestError, match="namespace jpki-auth in its place"):
        world.h.load_catalog(moved)
    more = world.h.catalog.import_table("namespace,name,issuer,relying\nmykey,マイキーID,portal,nenkin\n")
    assert more.imported is not None
    assert more.imported.updated == 1
    world.h.load_catalog(more)
    with pytest.raises(RequestError, match="may rely on"):
        world.h.identify(TOWN, "mykey", ["a"])


@pytest.mark.parametrize("name", ["", "A", "1a", "a_b", "resident-record-code", "a" * 33, "a/long"])
def test_a_namespace_of_another_name_is_refused(name: str) -> None:
    with pytest.raises(CatalogError, match="namespace: expected"):
        Catalog.japan().import_table(f"namespace,name,issuer,relying\n{name},n,jlis,portal\n")


def test_a_catalog_without_namespaces_keeps_its_digest_and_one_with_them_is_stored_whole() -> None:
    japan = Catalog.japan()
    changed = japan.import_table(NAMESPACES)
    assert changed.digest != japan.digest
    again = Catalog.load(changed.dump())
    assert [one.namespace for one in again.namespaces] == ["jpki-auth", "jpki-phone", "mykey"]
    assert not [one for one in changed.problems() if one.grave and "namespaces" in one.text]
    odd = changed.import_table("namespace,name,issuer,relying\nodd,n,nobody,nowhere\n")
    assert len([one for one in odd.problems() if "namespaces.csv" in one.text]) == 2


# -- beside a model


@pytest.mark.parametrize("seed", range(3))
def test_a_random_life_of_identifiers_is_that_of_a_dict(tmp_path: Path, codes: np.ndarray, seed: int) -> None:
    rng = random.Random(seed)
    world = World(tmp_path / "hub", codes)
    names = [f"id-{row}" + "x" * (row % 3 * 9) for row in range(60)]
    person: dict[str, int] = {}
    ended: dict[str, str | None] = {}

    def end_of(name: str) -> str:
        seen = name
        while isinstance(ended.get(seen), str):
            seen = str(ended[seen])
        return seen

    for _ in range(60):
        some = rng.sample(names, rng.randint(1, 8))
        what = rng.choice(["register", "renew", "revoke", "again"])
        if what in ("register", "again"):
            people = [rng.randrange(5) for _ in some]
            again = what == "again"
            refused = any(
                (name in ended and not (again and ended[name] is None))
                or (name in person and name not in ended and person[name] != who)
                for name, who in zip(some, people, strict=True)
            )
            call = lambda some=some, people=people, again=again: world.h.register_identifiers(  # noqa: E731
                "jpki-auth", "jlis", codes[people], some, again=again
            )
            if refused:
                with pytest.raises(RequestError):
                    call()
                continue
            expected = [ALREADY if name in person and name not in ended else CREATED for name in some]
            assert call().status.tolist() == expected
            for name, who in zip(some, people, strict=True):
                person[name] = who
                ended.pop(name, None)
        elif what == "renew":
            half = len(some) // 2
            old, new = some[:half], some[half : 2 * half]
            done = [ended.get(a) == b for a, b in zip(old, new, strict=True)]
            if any(b in person and not d for b, d in zip(new, done, strict=True)):
                with pytest.raises(RequestError):
                    world.h.renew_identifiers("jpki-auth", "jlis", old, new)
                continue
            expected = [
                ALREADY if d else CREATED if a in person and a not in ended else NONE
                for a, d in zip(old, done, strict=True)
            ]
            assert world.h.renew_identifiers("jpki-auth", "jlis", old, new).status.tolist() == expected
            for a, b, status in zip(old, new, expected, strict=True):
                if status == CREATED:
                    ended[a], person[b] = b, person[a]
        else:
            live = [name for name in some if name in person and name not in ended]
            assert world.h.revoke_identifiers("jpki-auth", "jlis", some) == len(live)
            ended |= dict.fromkeys(live)
        found = world.h.identify("portal", "jpki-auth", names)
        for row, name in enumerate(names):
            end = end_of(name) if name in person else name
            if name not in person:
                status = Identity.UNKNOWN
            elif name not in ended:
                status = Identity.VALID
            else:
                chain_holds = ended[name] is not None and end not in ended and person[end] == person[name]
                # What stands between may have been another's meanwhile only at the end: only ends are registered again.
                status = Identity.REPLACED if chain_holds else Identity.REVOKED
            assert found.status[row] == status, f"seed {seed}: {name}"
            led = status in (Identity.VALID, Identity.REPLACED)
            assert found.aliases[row].tobytes() == (world.citizens[person[name]].tobytes() if led else bytes(16))
    assert world.h.verify().ok
    world.h.close()


def test_the_bound_of_a_chain_is_damage_beyond(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(identifiers, "IDENTIFIER_CHAIN_MAX", 2)
    assert limits.IDENTIFIER_CHAIN_MAX == 1_000
    world.register(slice(0, 1), ["0"])
    world.h.renew_identifiers("jpki-auth", "jlis", ["0"], ["1"])
    assert world.asked(["0"], "portal") == [Identity.REPLACED]
    world.h.renew_identifiers("jpki-auth", "jlis", ["1"], ["2"])
    with pytest.raises(StorageError, match="chains of at most 2"):
        world.asked(["0"], "portal")


# -- beside each other


def test_who_asks_beside_renewals_sees_each_of_them_whole(world: World) -> None:
    world.register(slice(None), SERIALS)
    world.h.acquire(OTHER_TOWN, world.codes)
    seen: list[tuple[int, ...]] = []
    done = threading.Event()

    def ask() -> None:
        while not done.is_set():
            states = world.h.identify(OTHER_TOWN, "jpki-auth", SERIALS + [f"{one}'" for one in SERIALS]).status.tolist()
            seen.append(tuple(states))

    asking = [threading.Thread(target=ask) for _ in range(3)]
    for thread in asking:
        thread.start()
    for first in range(0, N, 10):
        some = SERIALS[first : first + 10]
        world.h.renew_identifiers("jpki-auth", "jlis", some, [f"{one}'" for one in some])
    done.set()
    for thread in asking:
        thread.join()
    replaced, valid, unknown = Identity.REPLACED, Identity.VALID, Identity.UNKNOWN
    whole = {
        tuple([replaced] * n + [valid] * (N - n) + [valid] * n + [unknown] * (N - n)) for n in range(0, N + 1, 10)
    }
    assert seen
    assert set(seen) <= whole


# -- persons who are found to be one, or two


def test_an_identifier_goes_with_its_person_through_a_merge_and_back(world: World) -> None:
    keep, gone = (f"{code:011d}" for code in world.codes[:2].tolist())
    world.register(slice(0, 2), ["keep", "gone"])
    why = {"clerk": "sato", "second_clerk": "mori", "reason": "two codes of one human being"}
    world.h.merge("jlis", keep, gone, **why)
    one = world.h.identify(TOWN, "jpki-auth", ["keep", "gone"])
    assert one.status.tolist() == [Identity.VALID] * 2
    assert (one.aliases == world.town[0]).all()
    world.h.renew_identifiers("jpki-auth", "jlis", ["gone"], ["gone2"])
    assert (world.h.identify("portal", "jpki-auth", ["gone", "gone2"]).aliases == world.citizens[0]).all()
    world.h.split("jlis", keep, gone, **why)
    two = world.h.identify("portal", "jpki-auth", ["keep", "gone", "gone2"])
    assert two.status.tolist() == [Identity.VALID, Identity.REPLACED, Identity.VALID]
    assert (two.aliases == world.citizens[[0, 1, 1]]).all()
    assert world.h.verify().ok


def test_a_successor_is_led_to_the_aliases_of_the_body_that_it_succeeded(world: World) -> None:
    world.register(slice(None), SERIALS)
    new = world.h.acquire(OTHER_TOWN, world.codes[:3]).aliases
    words = {"clerk": "佐藤", "second_clerk": "鈴木", "reason": "合併"}
    world.h.succeed([TOWN], OTHER_TOWN, dt.date(2026, 12, 1), **words)
    found = world.h.identify(OTHER_TOWN, "jpki-auth", SERIALS)
    assert found.status.tolist() == [Identity.VALID] * N
    assert found.aliases.tobytes() == new.tobytes() + world.town[3:].tobytes()
