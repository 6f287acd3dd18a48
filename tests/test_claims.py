"""Attributes that are compared before a ticket becomes an alias: who learns what, what is held, who may let it go."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

import hub
from hub import limits
from hub.acquisition import claiming, ticketdelivery, tickets
from hub.acquisition.claims import CLAIMS, LINKED
from hub.errors import RequestError, StorageError
from hub.messages import Acquisition, Differs, Kind, Status
from hub.provision.payloads import EMPTY_BYTES
from hub.records.events import EventKind
from hub.storage.snapshot import Commit
from linkworld import LinkWorld
from parties import DAY_S, Clock

N = 12
CREATED, ALREADY, WAITING, NONE, HELD = (
    Acquisition.CREATED, Acquisition.ALREADY, Acquisition.WAITING, Acquisition.NONE, Acquisition.HELD
)  # fmt: skip
MASKS = np.array([0, 0, 1, 2, 4, 8, 15, 0, 0, 3, 0, 0], np.uint8)
WRONG = np.flatnonzero(MASKS)
REASON = "旧姓の記載を戸籍で確認"


@pytest.fixture
def world(tmp_path: Path) -> Iterator[LinkWorld]:
    with LinkWorld(tmp_path / "hub", N) as made:
        yield made


def values(h: hub.Hub, name: str) -> int:
    with h._store.snapshot() as snapshot:
        return len(snapshot.items(name, b""))


def test_what_matches_becomes_an_alias_and_is_forgotten(world: LinkWorld) -> None:
    h = world.h
    drawn = world.claim("nenkin", world.people)
    assert h.acquired("nenkin", drawn).status.tolist() == [WAITING] * N
    assert values(h, CLAIMS) == N
    assert h.verify().ok
    assert not world.deliver(drawn, world.codes).differs.any()
    acquired = h.acquired("nenkin", drawn)
    assert acquired.status.tolist() == [CREATED] * N
    assert not acquired.differs.any()
    assert (values(h, CLAIMS), values(h, LINKED)) == (0, 0)
    assert (h.acquire("nenkin", world.codes).aliases == acquired.aliases).all()
    assert h.verify().ok


def test_the_hub_stores_nothing_that_it_could_read(world: LinkWorld) -> None:
    world.claim("nenkin", world.people, clerk="clerk Sato")
    world.h.close()
    stored = (world.folder / "env" / "data.mdb").read_bytes()
    for one in world.people:
        for text in (one.name, one.address, one.kana, str(one.birth)):
            assert text is not None
            assert text.encode() not in stored
    assert b"clerk Sato" not in stored
    world.h = hub.open(world.folder, clock=world.clock)


def test_what_differs_is_held_and_tells_which_attribute(world: LinkWorld) -> None:
    h = world.h
    drawn = world.claim("nenkin", world.people)
    receipt = h.deliver("jlis", drawn, world.codes, MASKS)
    assert receipt.rows == N
    acquired = h.acquired("nenkin", drawn)
    assert (acquired.status == HELD).tolist() == (MASKS != 0).tolist()
    assert acquired.differs.tolist() == MASKS.tolist()
    assert not acquired.aliases[WRONG].any()
    assert h.verify().ok
    event = h.events()[-1]
    assert (event.kind, event.institution) == (EventKind.LINKS_HELD, "jlis")
    assert event.ground == "nenkin: 6 of 12 tickets held: NAME 3, ADDRESS 3, SEX 2, BIRTH 2"


def test_of_a_held_ticket_no_alias_and_no_person_is_made(world: LinkWorld) -> None:
    h = world.h
    h.acquire(world.town, world.codes[:6])
    before = h.stats()
    drawn = world.claim("nenkin", world.people)
    h.deliver("jlis", drawn, world.codes, np.full(N, Differs.BIRTH, np.uint8))
    after = h.stats()
    assert (after["persons"], after["aliases"]) == (before["persons"], before["aliases"]) == (6, {world.town: 6})
    # Whether the institution had an alias of that person is not told either.
    mine = h.acquire("nenkin", world.codes[:3]).aliases
    again = h.acquired("nenkin", drawn)
    assert again.status.tolist() == [HELD] * N
    assert not again.aliases.any()
    assert mine.any()


def test_a_second_clerk_lets_a_held_ticket_go(world: LinkWorld) -> None:
    h = world.h
    known = h.acquire("nenkin", world.codes[3:4]).aliases
    portal = h.acquire("portal", world.codes[:3])
    drawn = world.claim("nenkin", world.people)
    h.deliver("jlis", drawn, world.codes, MASKS)
    acquired = h.confirm_links("nenkin", np.ascontiguousarray(drawn[WRONG]), clerk="second clerk", reason=REASON)
    assert acquired.status.tolist() == [CREATED, ALREADY, CREATED, CREATED, CREATED, CREATED]
    assert (acquired.aliases[1] == known[0]).all()
    assert not acquired.differs.any()
    assert (h.acquire("nenkin", world.codes).aliases == h.acquired("nenkin", drawn).aliases).all()
    assert h.verify().ok
    (record,) = h.history(portal.aliases[2]).records
    assert (record.kind, record.requester, record.outcome) == (Kind.LINK_CONFIRMED, "nenkin", Status.OK)
    assert (record.items, record.remark) == (("氏名",), REASON)
    events = [event for event in h.events() if event.kind == EventKind.LINK_CONFIRMED]
    assert len(events) == len(WRONG)
    assert {(event.clerk, event.second_clerk, event.ground) for event in events} == {
        ("first clerk", "second clerk", REASON)
    }
    assert {event.alias for event in events} == {alias.tobytes() for alias in acquired.aliases}


def test_a_confirmation_can_be_proven(world: LinkWorld) -> None:
    h = world.h
    portal = h.acquire("portal", world.codes[:1]).aliases
    drawn = world.claim("nenkin", world.people[:1])
    h.deliver("jlis", drawn, world.codes[:1], [Differs.NAME])
    h.confirm_links("nenkin", drawn, clerk="second clerk", reason=REASON)
    proof = h.history(portal[0]).proof(0)
    assert proof.record.remark == REASON
    assert proof.text().startswith("c2sp.org/tlog-proof")


@pytest.mark.parametrize("clerk", ["first clerk", "FIRST CLERK", "\uff26irst\u3000clerk"])
def test_who_claimed_may_not_confirm(world: LinkWorld, clerk: str) -> None:
    drawn = world.claim("nenkin", world.people)
    world.h.deliver("jlis", drawn, world.codes, MASKS)
    with pytest.raises(RequestError, match="clerk: expected another than the one who claimed, got the same"):
        world.h.confirm_links("nenkin", np.ascontiguousarray(drawn[WRONG]), clerk=clerk, reason=REASON)
    assert world.h.acquired("nenkin", drawn).status[WRONG].tolist() == [HELD] * len(WRONG)
    assert world.h.stats()["records"] == 0


def test_confirmed_again_nothing_changes(world: LinkWorld) -> None:
    h = world.h
    drawn = world.claim("nenkin", world.people)
    h.deliver("jlis", drawn, world.codes, MASKS)
    held = np.ascontiguousarray(drawn[WRONG])
    first = h.confirm_links("nenkin", held[:4].copy(), clerk="b", reason=REASON)
    stats = h.stats()["records"], len(h.events())
    again = h.confirm_links("nenkin", held[:4].copy(), clerk="b", reason=REASON)
    assert (again.aliases == first.aliases).all()
    assert again.status.tolist() == first.status.tolist()
    assert (h.stats()["records"], len(h.events())) == stats
    # Some of a call that were confirmed before, and one twice.
    twice = np.concatenate((held, held[-1:]))
    assert h.confirm_links("nenkin", twice, clerk="b", reason=REASON).status.tolist() == [CREATED] * 7
    assert h.stats()["records"] == len(WRONG)
    assert h.verify().ok


def test_two_held_tickets_of_one_person_are_one_alias(world: LinkWorld) -> None:
    h = world.h
    drawn = world.claim("nenkin", world.people[:2])
    h.deliver("jlis", drawn, world.codes[[0, 0]], [Differs.NAME, Differs.BIRTH])
    acquired = h.confirm_links("nenkin", drawn, clerk="b", reason=REASON)
    assert acquired.status.tolist() == [CREATED, ALREADY]
    assert (acquired.aliases[0] == acquired.aliases[1]).all()
    assert h.stats()["persons"] == 1
    assert h.verify().ok


@pytest.mark.parametrize("what", ["waiting", "claimed", "delivered", "closed", "another's", "made up"])
def test_what_is_not_held_cannot_be_confirmed(world: LinkWorld, what: str) -> None:
    h = world.h
    waiting = h.tickets("nenkin", 1)
    claimed = world.claim("nenkin", world.people[:1])
    delivered = world.claim("nenkin", world.people[:1])
    h.deliver("jlis", delivered, world.codes[:1], [0])
    closed, others = world.claim("nenkin", world.people[:1]), world.claim(world.town, world.people[:1])
    for some in (closed, others):
        h.deliver("jlis", some, world.codes[:1], [Differs.NAME])
    assert h.close_tickets("nenkin", closed) == 1
    ticket = {
        "waiting": waiting, "claimed": claimed, "delivered": delivered, "closed": closed, "another's": others,
        "made up": np.zeros((1, 16), np.uint8),
    }[what]  # fmt: skip
    before = h.stats()
    with pytest.raises(RequestError, match="tickets: expected this institution's own that are held, got another in r"):
        h.confirm_links("nenkin", ticket, clerk="b", reason=REASON)
    assert h.stats() == before


def test_a_held_ticket_that_is_closed_is_dropped(world: LinkWorld) -> None:
    h = world.h
    drawn = world.claim("nenkin", world.people)
    h.deliver("jlis", drawn, world.codes, MASKS)
    assert h.close_tickets("nenkin", drawn) == N
    assert h.acquired("nenkin", drawn).status.tolist() == [NONE] * N
    assert values(h, LINKED) == 0
    assert h.stats()["aliases"] == {"nenkin": N - len(WRONG)}
    # The register body whose receipt was lost repeats itself, without effect.
    h.deliver("jlis", drawn, world.codes, MASKS)
    assert h.stats()["aliases"] == {"nenkin": N - len(WRONG)}
    assert h.verify().ok


def test_the_same_delivery_again_is_a_retry(world: LinkWorld) -> None:
    h = world.h
    drawn = world.claim("nenkin", world.people)
    h.deliver("jlis", drawn, world.codes, MASKS)
    h.deliver("jlis", drawn, world.codes, MASKS)
    assert len([event for event in h.events() if event.kind == EventKind.LINKS_HELD]) == 1
    h.confirm_links("nenkin", np.ascontiguousarray(drawn[WRONG]), clerk="b", reason=REASON)
    h.deliver("jlis", drawn, world.codes, MASKS)
    assert h.acquired("nenkin", drawn).status.tolist() == [CREATED] * N


@pytest.mark.parametrize("row", [2, 3, 0])
@pytest.mark.parametrize("confirmed", [False, True])
def test_another_outcome_is_refused(world: LinkWorld, row: int, confirmed: bool) -> None:
    h = world.h
    drawn = world.claim("nenkin", world.people)
    h.deliver("jlis", drawn, world.codes, MASKS)
    if confirmed:
        h.confirm_links("nenkin", np.ascontiguousarray(drawn[WRONG]), clerk="b", reason=REASON)
    other = MASKS.copy()
    other[row] = Differs.SEX
    message = f"tickets: expected each delivered once, with one code and one outcome, got another in row {row}"
    with pytest.raises(RequestError, match=message):
        h.deliver("jlis", drawn, world.codes, other)
    codes = world.codes.copy()
    codes[row] += 100
    with pytest.raises(RequestError, match=f"expected each delivered once, with one code.* got another in row {row}"):
        h.deliver("jlis", drawn, codes, MASKS)


def test_a_claim_must_be_compared(world: LinkWorld) -> None:
    drawn = world.claim("nenkin", world.people)
    with pytest.raises(RequestError, match="with a claim to be compared before they are delivered, got another in row"):
        world.h.deliver("jlis", drawn, world.codes)
    assert world.h.stats()["aliases"] == {}
    assert values(world.h, CLAIMS) == N


def test_what_has_no_claim_cannot_differ(world: LinkWorld) -> None:
    h = world.h
    bare = h.tickets("nenkin", 2)
    with pytest.raises(RequestError, match="with a claim where something differs, got another in row 1"):
        h.deliver("jlis", bare, world.codes[:2], [0, 1])
    h.deliver("jlis", bare, world.codes[:2], [0, 0])
    assert h.acquired("nenkin", bare).status.tolist() == [CREATED] * 2


def test_one_delivery_holds_and_gives_for_many_institutions(world: LinkWorld) -> None:
    h = world.h
    mine, theirs = world.claim("nenkin", world.people), world.claim(world.town, world.people)
    bare = h.tickets("mhlw", N)
    every = np.concatenate((mine, theirs, bare))
    masks = np.concatenate((MASKS, MASKS[::-1], np.zeros(N, np.uint8)))
    h.deliver("jlis", every, np.tile(world.codes, 3), masks)
    assert (h.acquired("nenkin", mine).status == HELD).tolist() == (MASKS != 0).tolist()
    assert (h.acquired(world.town, theirs).status == HELD).tolist() == (MASKS[::-1] != 0).tolist()
    assert h.acquired("mhlw", bare).status.tolist() == [CREATED] * N
    grounds = [event.ground for event in h.events() if event.kind == EventKind.LINKS_HELD]
    assert sorted(ground.split(":")[0] for ground in grounds if ground) == sorted([world.town, "nenkin"])
    assert h.verify().ok


def test_an_institution_can_be_made_to_claim(world: LinkWorld) -> None:
    h = world.h
    bare = h.tickets("nenkin", 1)
    assert not h.claims_required("nenkin")
    h.require_claims("nenkin", clerk="a")
    h.require_claims("nenkin", clerk="a")
    assert h.claims_required("nenkin")
    assert not h.claims_required(world.town)
    with pytest.raises(RequestError, match="with a claim where the institution must send one, got another in row 0"):
        h.deliver("jlis", bare, world.codes[:1])
    other = h.tickets(world.town, 1)
    h.deliver("jlis", other, world.codes[:1])
    key = h.payload_key("jlis")
    assert key is not None
    h.claim("nenkin", bare, [world.people[0].seal(key)], clerk="a")
    world.deliver(bare, world.codes[:1])
    world.reopen()
    assert world.h.claims_required("nenkin")
    world.h.require_claims("nenkin", False, clerk="a")
    kinds = [event.kind for event in world.h.events()][-2:]
    assert kinds == [EventKind.CLAIMS_REQUIRED, EventKind.CLAIMS_OPTIONAL]
    assert world.h.verify().ok


# -- claims


def test_claims_are_read_in_pages_and_by_ticket(world: LinkWorld) -> None:
    h = world.h
    h.require_claims("nenkin", clerk="a")
    mine, theirs = world.claim("nenkin", world.people), world.claim(world.town, world.people)
    found: list[bytes] = []
    cursor, pages = None, 0
    while pages == 0 or cursor is not None:
        page = h.claims("jlis", limit=5, cursor=cursor)
        found += [ticket.tobytes() for ticket in page.tickets]
        cursor, pages = page.cursor, pages + 1
    assert found == [ticket.tobytes() for ticket in np.concatenate((mine, theirs))]
    picked = h.claims("jlis", np.concatenate((theirs[3:4], np.zeros((1, 16), np.uint8), mine[1:2])))
    names = [None if one is None else hub.open_attributes(world.private_key, one).name for one in picked.sealed]
    assert names == [world.people[3].name, None, world.people[1].name]
    world.deliver(mine, world.codes)
    assert len(h.claims("jlis")) == N
    assert h.claims("jlis", mine).sealed == [None] * N
    assert repr(h.claims("jlis")) == f"Claims(rows={N})"


def test_a_later_claim_holds(world: LinkWorld) -> None:
    h = world.h
    drawn = world.claim("nenkin", world.people[:2])
    key = h.payload_key("jlis")
    assert key is not None
    again = np.concatenate((drawn[:1], drawn[:1]))
    h.claim("nenkin", again, [world.people[5].seal(key), world.people[7].seal(key)], clerk="b")
    names = [hub.open_attributes(world.private_key, one or b"").name for one in h.claims("jlis").sealed]
    assert names == [world.people[7].name, world.people[1].name]
    assert h.verify().ok


def test_only_the_register_body_reads_claims(world: LinkWorld) -> None:
    world.claim("nenkin", world.people)
    for other in ("nenkin", world.town, "portal"):
        with pytest.raises(RequestError, match="expected the register body, jlis, got another"):
            world.h.claims(other)
    most = limits.CLAIMS_LIMIT_MAX
    for words in ({"limit": 0}, {"limit": most + 1}, {"limit": True}, {"cursor": "00"}, {"cursor": 1}):
        with pytest.raises(RequestError, match=next(iter(words))):
            world.h.claims("jlis", **words)  # type: ignore[arg-type]


def test_a_claim_is_of_the_institutions_own_waiting_tickets(world: LinkWorld) -> None:
    h = world.h
    key = h.payload_key("jlis")
    assert key is not None
    own, others, delivered = h.tickets("nenkin", 1), h.tickets(world.town, 1), h.tickets("nenkin", 1)
    h.deliver("jlis", delivered, world.codes[:1])
    sealed = world.people[0].seal(key)
    for bad in (others, delivered, np.zeros((1, 16), np.uint8)):
        both = np.concatenate((own, bad))
        with pytest.raises(RequestError, match="own that wait to be delivered, got another in row 1"):
            h.claim("nenkin", both, [sealed, sealed], clerk="a")
    assert values(h, CLAIMS) == 0


def test_only_what_is_sealed_to_the_register_body_is_taken(world: LinkWorld) -> None:
    h = world.h
    key = h.payload_key("jlis")
    assert key is not None
    _, other = hub.new_payload_key()
    one = h.tickets("nenkin", 1)
    good = hub.seal_payload(key, bytes(limits.CLAIM_BYTES_MAX - EMPTY_BYTES))
    assert len(good) == limits.CLAIM_BYTES_MAX
    longer = hub.seal_payload(key, bytes(limits.CLAIM_BYTES_MAX - EMPTY_BYTES + 1))
    for bad in (longer, world.people[0].seal(other), b"x", None, "x"):
        with pytest.raises(RequestError, match="expected at most 1024 bytes sealed to the register body's key, got"):
            h.claim("nenkin", one, [bad], clerk="a")  # type: ignore[list-item]
    for words in ({"clerk": None}, {"clerk": ""}, {"clerk": 3}):
        with pytest.raises(RequestError, match="clerk"):
            h.claim("nenkin", one, [good], **words)  # type: ignore[arg-type]
    with pytest.raises(RequestError, match="sealed: expected a list of 1"):
        h.claim("nenkin", one, [good, good], clerk="a")
    h.claim("nenkin", one, [good], clerk="a")
    # What is no attributes at all differs in everything.
    assert world.deliver(one, world.codes[:1]).differs.tolist() == [15]


def test_without_a_key_nothing_can_be_claimed(tmp_path: Path) -> None:
    with hub.open(tmp_path / "hub", create=True) as h:
        one = h.tickets("nenkin", 1)
        with pytest.raises(RequestError, match="a register body that has registered a key"):
            h.claim("nenkin", one, [b"x"], clerk="a")


@pytest.mark.parametrize("bad", [[16] + [0] * 11, [-1] + [0] * 11, [0] * 11, "x" * N, np.zeros(N, np.float64)])
def test_masks_of_another_form_are_refused(world: LinkWorld, bad: object) -> None:
    drawn = world.claim("nenkin", world.people)
    with pytest.raises(RequestError, match="differs: expected"):
        world.h.deliver("jlis", drawn, world.codes, bad)


def test_claims_and_links_lapse_with_their_tickets(world: LinkWorld) -> None:
    clock = world.clock
    assert isinstance(clock, Clock)
    h = world.h
    waiting, held = world.claim("nenkin", world.people[:3]), world.claim("nenkin", world.people[:3])
    h.deliver("jlis", held, world.codes[:3], [1, 0, 2])
    clock.now += limits.TICKET_DAYS * DAY_S - 1
    assert len(h.claims("jlis")) == 3
    assert h.acquired("nenkin", held).status.tolist() == [HELD, CREATED, HELD]
    clock.now += 1
    assert len(h.claims("jlis")) == 0
    assert h.acquired("nenkin", np.concatenate((waiting, held))).status.tolist() == [NONE] * 6
    with pytest.raises(RequestError, match="that are held"):
        h.confirm_links("nenkin", held[:1].copy(), clerk="b", reason=REASON)
    clock.now += DAY_S
    h.tickets("nenkin", 1)
    assert (values(h, CLAIMS), values(h, LINKED)) == (0, 0)
    assert h.verify().ok


def test_many_lapsed_claims_are_erased_a_few_draws_at_a_time(
    world: LinkWorld, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tickets, "KEPT_PURGED_AT_A_TIME", 4)
    clock = world.clock
    assert isinstance(clock, Clock)
    for _ in range(4):
        world.claim("nenkin", world.people[:3])
    clock.now += (limits.TICKET_DAYS + 1) * DAY_S
    left = []
    for _ in range(3):
        world.h.tickets("nenkin", 1)
        left.append(values(world.h, CLAIMS))
    assert left == [6, 0, 0]
    assert world.h.verify().ok


def test_many_claims_are_several_commits_and_complete_each_other(
    world: LinkWorld, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(claiming, "CLAIMS_PER_COMMIT", 1)
    monkeypatch.setattr(ticketdelivery, "CLAIMS_PER_COMMIT", 1)
    h = world.h
    key = h.payload_key("jlis")
    assert key is not None
    drawn = np.concatenate([h.tickets("nenkin", 4) for _ in range(3)])
    sealed = [one.seal(key) for one in world.people]
    put, done = Commit.put_sealed, []

    def put_or_fail(self: Commit, name: str, key: bytes, body: bytes) -> None:
        done.append(name)
        if done.count("tickets") == 2:
            raise StorageError("write: no space left", retry_safe=True)
        put(self, name, key, body)

    for call in (
        lambda: h.claim("nenkin", drawn, sealed, clerk="a"),
        lambda: h.deliver("jlis", drawn, world.codes, MASKS),
    ):
        done.clear()
        monkeypatch.setattr(Commit, "put_sealed", put_or_fail)
        with pytest.raises(StorageError):
            call()
        monkeypatch.setattr(Commit, "put_sealed", put)
        assert h.verify().ok
        call()
        assert h.verify().ok
    assert (h.acquired("nenkin", drawn).status == HELD).tolist() == (MASKS != 0).tolist()
    assert values(h, CLAIMS) == 0


def test_a_full_call_of_confirmations_is_taken_and_one_more_is_not(world: LinkWorld) -> None:
    most = limits.LINKS_PER_CALL_MAX
    h = world.h
    key = h.payload_key("jlis")
    assert key is not None
    drawn = h.tickets("nenkin", most + 1)
    h.claim("nenkin", drawn, [world.people[0].seal(key)] * (most + 1), clerk="a")
    codes = np.arange(most + 1, dtype=np.int64) + 10**9
    h.deliver("jlis", drawn, codes, np.full(most + 1, Differs.SEX, np.uint8))
    with pytest.raises(RequestError, match=f"tickets: expected at most {most} in one call, got {most + 1}"):
        h.confirm_links("nenkin", drawn, clerk="b", reason=REASON)
    assert h.confirm_links("nenkin", drawn[:most].copy(), clerk="b", reason=REASON).status.tolist() == [CREATED] * most
    assert h.verify().ok


# -- verified


def _spoil_mask(commit: Commit) -> None:
    draw = tickets._read(bytes(8), commit.get("tickets", bytes(8)))
    draw.states[0] = tickets.CREATED
    draw.persons[0] = 0
    commit.put_sealed("tickets", bytes(8), tickets._pack(draw))


def _drop(name: str) -> object:
    def drop(commit: Commit) -> None:
        with commit.txn.cursor(db=commit.databases[name]) as cursor:
            assert cursor.first()
            key = bytes(cursor.key())
        commit.delete(name, key)

    return drop


@pytest.mark.parametrize("spoil", [_spoil_mask, _drop(CLAIMS), _drop(LINKED)], ids=["state", "claim", "link"])
def test_verify_finds_what_does_not_fit(world: LinkWorld, spoil: object) -> None:
    h = world.h
    drawn = world.claim("nenkin", world.people)
    h.deliver("jlis", drawn[:6].copy(), world.codes[:6], [1, 0, 0, 0, 0, 0])
    assert h.verify().ok
    with h._store.commit() as commit:
        spoil(commit)  # type: ignore[operator]
    report = h.verify()
    assert len(report.problems) == 1
    assert report.problems[0].startswith(("linked:", "claims:"))
