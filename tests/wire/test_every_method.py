"""Each method of the table gives over the wire what the embedded hub gives, and takes what it takes."""

from __future__ import annotations

import asyncio
import datetime as dt
import inspect
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from both import PERSONS, Both, Pair, plain
from further_plays import FURTHER
from served import Network

import hub
from hub.errors import RequestError
from hub.messages import Flag, Permits, Reason, Status, Withhold
from hub.wire.methods import METHODS, PAGES
from inquiries import tax_inquiry
from parties import NOON, REVIEW
from test_push import push_of
from test_update import update_of


def _inquire(b: Both) -> Pair:
    words = {"cases": ["a", None, "c"], "withhold": [None, Withhold(ground="g", until=REVIEW), None], "consents": True}
    first = b.ask("i", [0, 1, 2], [b.town, b.towns[1], b.town], **words)
    asked = tax_inquiry("i", operator="asker")
    again = b.r.inquire(asked, b.nenkin[:3], [b.town, b.towns[1], b.town], **words)
    assert b.h.status("nenkin", "i").rows == 3
    # Small, shared with others; whose platform is recorded as operator.
    small = b.r.inquire(tax_inquiry("j"), b.nenkin[:2], b.town, cases=["x", None])
    numbers = np.full(2, b.h.catalog.institution(b.town).number, np.uint32)
    same = b.h.inquire(tax_inquiry("j", operator="platform"), b.nenkin[:2], numbers, cases=["x", None])
    told: list[int] = []
    assert plain(b.r.inquire(tax_inquiry("j"), b.nenkin[:2], numbers, cases=["x", None], progress=told.append)) == (
        plain(same)
    )
    consents = np.array([True, False, True])
    yes = b.h.inquire(tax_inquiry("k", operator="platform"), b.nenkin[:3], b.town, consents=consents)
    return (first, small, yes), (again, same, b.r.inquire(tax_inquiry("k"), b.nenkin[:3], b.town, consents=consents))


def _twice(name: str, *args: Any, **kwargs: Any) -> Callable[[Both], Pair]:
    def play(b: Both) -> Pair:
        b.ask("r", [0, 1])
        given = [value(b) if callable(value) else value for value in args]
        named = {key: value(b) if callable(value) else value for key, value in kwargs.items()}
        return tuple(getattr(h, name)(*given, **named) for h in b.ends())  # type: ignore[return-value]

    play.__name__ = name
    return play


def _collected(b: Both) -> Permits:
    (permits,) = b.h.collect(b.town)
    return permits


def _collect(b: Both) -> Pair:
    b.ask("r", [0, 1, 2])
    first, second = b.h.collect(b.town, limit=2), b.r.collect(b.town, limit=2)
    assert len(b.r.collect(b.town, limit=2, after=second[-1].cursor)[0]) == 1
    assert b.r.collect(b.town, manual=True) == []
    return first, second


def _provide(b: Both) -> Pair:
    b.ask("r", [0, 1, 2, 3])
    permits = _collected(b)
    outcomes = [Status.PROVIDED, Status.EMPTY, Status.REFUSED, Status.PROVIDED]
    reasons = np.array([0, 0, Reason.UNDER_CORRECTION, 0], np.uint8)
    payloads = [b"", None, None, b"tax" * 9_000]
    given = b.town, permits, outcomes, payloads
    first = b.h.provide(*given, reasons=reasons, clerk="platform/sato")
    kept = first, b.r.provide(*given, reasons=reasons, clerk="sato")
    b.ask("s", [0, 1])
    assert b.r.provide(b.town, _collected(b).permit, Status.NO_RECORD).rows == 2
    b.p.clock.now += 2
    assert b.h.answers("nenkin", "s").status.tolist() == [Status.NO_RECORD] * 2
    return kept


def _answers(b: Both) -> Pair:
    b.ask("r", [0, 1, 2])
    b.h.provide(b.town, _collected(b).permit[:2], Status.PROVIDED, [b"one", b""])
    b.p.clock.now += 5
    found = [(h.answers("nenkin", "r"), h.answers("nenkin", "r", first=1, limit=1)) for h in b.ends()]
    with pytest.raises(RequestError, match="first: expected 0 to 3"):
        b.r.answers("nenkin", "r", first=4)
    return found[0], found[1]


def _fetched(b: Both) -> Pair:
    for request_id in ("r", "s"):
        b.ask(request_id, [0, 1])
    for permits in b.h.collect(b.town):
        b.h.provide(b.town, permits, Status.PROVIDED, [b"x"] * len(permits))
    b.p.clock.now += 5
    return b.h.fetched("nenkin", "r"), b.r.fetched("nenkin", "s")


def _release(b: Both) -> Pair:
    for number, town in enumerate(b.towns[:4]):
        held = b.ask(f"r{number}", [0], town)
    assert held.status.tolist() == [Status.HELD]
    with pytest.raises(RequestError, match="expected another than the operator"):
        b.r.release(("r3", 0), "moved", clerk="asker", requester="nenkin")
    made = b.r.release(("r3", 0), "moved", clerk="suzuki", requester="nenkin")
    return b.h.release(("r3", 0), "moved", clerk="platform/suzuki", requester="nenkin"), made


def _news(b: Both) -> Pair:
    b.ask("r", [0])
    with pytest.raises(RequestError, match="below: expected a place in the log"):
        b.r.news(b.p.portal[0], first=0, below=-1)
    assert b.r.news(b.p.portal[1], first=0, below=1 << 40) is None
    assert b.r.news(b.p.portal[0], first=0, below=1 << 40) is not None
    found = [h.news(b.p.portal[0], first=0, below=1 << 40) for h in b.ends()]
    return found[0], found[1]


def _key(b: Both) -> Pair:
    _, public = hub.new_payload_key()
    pair = b.h.register_key(b.town, public), b.r.register_key(b.town, public)
    assert b.h.payload_key(b.town) == b.r.payload_key(b.town) == public
    assert b.r.register_key(b.town, None, clerk="sato") is None
    return (pair[0], b.h.payload_key(b.town)), (pair[1], b.r.payload_key(b.town))


def _tickets(b: Both) -> Pair:
    drawn = b.h.tickets(b.towns[5], 3), b.r.tickets(b.towns[5], 3)
    assert len({one.tobytes() for tickets in drawn for one in tickets}) == 6
    return tuple((one.dtype, one.shape) for one in drawn)  # type: ignore[return-value]


def _delivered(b: Both, n: int = 3) -> tuple[Any, Any, Any]:
    tickets = b.r.tickets(b.towns[5], n)
    codes = b.p.codes[:n]
    return tickets, b.r.deliver("jlis", tickets, codes), codes


def _deliver(b: Both) -> Pair:
    tickets, receipt, codes = _delivered(b)
    return b.h.deliver("jlis", tickets, np.array(list(map(int, codes)), np.int64)), receipt


def _acquired(b: Both) -> Pair:
    tickets, _, _ = _delivered(b)
    return b.h.acquired(b.towns[5], tickets), b.r.acquired(b.towns[5], tickets)


def _close_tickets(b: Both) -> Pair:
    tickets, _, _ = _delivered(b, 4)
    return b.h.close_tickets(b.towns[5], tickets[:2].copy()), b.r.close_tickets(b.towns[5], tickets[2:])


def _reissue(b: Both) -> Pair:
    one, other = (h.reissue(b.town, b.p.known[row : row + 2].copy()) for h, row in zip(b.ends(), (0, 2), strict=True))
    assert b.h.reissue(b.town, b.p.known[2:4].copy()).aliases.tolist() == other.aliases.tolist()
    return one.status, other.status


def _revoke(b: Both) -> Pair:
    return b.h.revoke(b.town, b.p.known[:2].copy()), b.r.revoke(b.town, b.p.known[2:4])


def _push_holders(b: Both) -> Pair:
    since = np.array(["2026-04-01"] * 3, "datetime64[D]")
    until = [None, dt.date(2026, 12, 1), None]
    codes = [*b.p.codes[:2], "99999999999"]
    first = b.h.push_holders("jlis", codes, "市町村長", b.town, dt.date(2026, 4, 1), until, clerk="platform/c")
    told: list[int] = []
    members = [b.town, b.town, b.town]
    second = b.r.push_holders("jlis", codes, "市町村長", members, since, until, clerk="c", progress=told.append)
    asked = b.r.inquire(tax_inquiry("class"), b.nenkin[:2], "市町村長")
    assert plain(asked) == plain(b.h.inquire(tax_inquiry("class", operator="platform"), b.nenkin[:2], "市町村長"))
    return first, second


def _ask_alias(b: Both) -> Pair:
    b.ask("r", [0, 1, 2], b.towns[1])
    pair = b.h.ask_alias(("r", 0), clerk="x"), b.r.ask_alias(("r", 1), clerk="x", requester="nenkin")
    assert b.h.wanted_count(b.towns[1]) == 2
    return pair


def _wanted(b: Both) -> Pair:
    _ask_alias(b)
    first, second = (h.wanted("jlis", limit=1) for h in b.ends())
    assert (b.r.wanted_count(b.towns[1]), b.h.wanted_count(b.towns[1])) == (2, 2)
    return (first, b.h.wanted("jlis", after=first[0])), (second, b.r.wanted("jlis", after=second[0]))


def _flag(b: Both) -> Pair:
    one, other = b.p.known[:1].copy(), b.p.known[1:2].copy()
    pair = b.h.flag(b.town, one, Flag.MANUAL | Flag.NO_SELF), b.r.flag(b.town, other, Flag.MANUAL | Flag.NO_SELF)
    b.r.flag(b.town, other, Flag.MANUAL, on=False, clerk="sato")
    assert b.h.flags(b.town, b.p.known[:2].copy()).tolist() == [5, 4]
    assert b.r.flags(b.town, b.p.known[:2]).tolist() == [5, 4]
    return pair


def _suspend(b: Both) -> Pair:
    one, other = b.p.known[:1].copy(), b.p.known[1:3].copy()
    words = {"clerk": "sato", "reason": "doubt"}
    first = b.h.suspend(b.town, one, **words), b.h.suspended(b.town), b.h.resume(b.town, one, **words)
    assert b.r.suspend(b.town, other, **words) == 2
    assert b.r.resume(b.town, other, **words) == 2
    second = b.r.suspend(b.town, one, **words), b.r.suspended(b.town), b.r.resume(b.town, one, **words)
    assert b.r.suspend(b.town, **words) == b.h.resume(b.town, **words)
    return first, second


def _claims(b: Both) -> Pair:
    assert b.r.require_claims(b.town, clerk="sato") is None
    pair = b.h.claims_required(b.town), b.r.claims_required(b.town)
    b.r.require_claims(b.town, False, clerk="sato")
    assert not b.h.claims_required(b.town)
    return pair


def _withhold(b: Both) -> Pair:
    b.ask("r", [0, 1])
    pair = b.h.withhold(("r", 0), "g", REVIEW), b.r.withhold(("r", 1), "g", REVIEW, institution="nenkin")
    assert b.p.shown(0) == b.p.shown(1) == []
    return pair


def _lift(b: Both) -> Pair:
    _withhold(b)
    found = [
        (h.lift(("r", row), requester="nenkin", clerk="a"), h.lift(("r", row), requester="nenkin", clerk="b"))
        for row, h in enumerate(b.ends())
    ]
    assert found[1] == (False, True)
    return found[0], found[1]


def _marks_due(b: Both) -> Pair:
    _withhold(b)
    return tuple(h.marks_due("nenkin", by=REVIEW) for h in b.ends())  # type: ignore[return-value]


def _protect(b: Both) -> Pair:
    b.ask("r", [0, 1])
    since = dt.date(2026, 1, 1)
    found = [h.protect("jlis", b.p.codes[row], since=since, ground="g") for row, h in enumerate(b.ends())]
    assert b.p.shown(0) == b.p.shown(1) == []
    return found[0], found[1]


def _unprotect(b: Both) -> Pair:
    _protect(b)
    found = [h.unprotect("jlis", b.p.codes[row], clerk="a", second_clerk="b") for row, h in enumerate(b.ends())]
    return found[0], found[1]


def _unjudged(b: Both) -> Pair:
    _protect(b)
    return b.h.unjudged(b.town), b.r.unjudged(b.town, limit=1_000)


def _judge(b: Both) -> Pair:
    _protect(b)
    (one, _), (other, _) = b.h.unjudged(b.town)
    pair = b.h.judge(b.town, one, withhold=False), b.r.judge(b.town, other, withhold=True, ground="g", until=REVIEW)
    assert b.h.unjudged(b.town) == []
    return pair


def _ask_correction(b: Both) -> Pair:
    b.ask("r", [0])
    page = b.r.history(b.p.portal[0])
    words = {"disclosed": page.disclosure, "institution": "nenkin"}
    first = b.h.ask_correction(b.p.portal[0], page.records[0], "wrong", **words)
    return first, b.r.ask_correction(b.p.portal[0], page.records[0], "wrong", **words)


def _correct(b: Both) -> Pair:
    _ask_correction(b)
    first, second = b.h.corrections("nenkin"), b.r.corrections("nenkin")
    assert plain(first) == plain(second)
    assert len(first) == 1
    handle = b.r.correct(
        first[0].handle, "誤記のため", "記録課", institution="nenkin", clerk="sato", appeal="窓口へ"
    )
    return b.h.correct(first[0].handle, "誤記のため", "記録課", clerk="platform/sato", appeal="窓口へ"), handle


def _confirm(b: Both) -> Pair:
    _correct(b)
    (notice,) = b.h.corrections(b.town)
    first = b.r.confirm(notice.handle, institution=b.town, section="税務課")
    return b.h.confirm(notice.handle, institution=b.town, section="税務課"), first


def _history(b: Both) -> Pair:
    for number in range(4):
        b.ask(f"r{number}", [0])
    since, until = dt.datetime.fromtimestamp(NOON - 5, dt.UTC), dt.date(2026, 12, 1)
    words = {"since": since, "until": until, "institution": "nenkin", "procedure": "19-8/73/75.3", "limit": 2}
    pages = [h.history(b.p.portal[0], **words) for h in b.ends()]
    # What comes in between moves the page, not its proofs.
    proofs = [plain(pages[0].proof(1))]
    b.ask("later", [0])
    proofs.append(plain(pages[1].proof(1)))
    assert proofs[0][0][0:2] != proofs[1][0][0:2] or proofs[0] != proofs[1]
    assert pages[0].proof(1).leaf == pages[1].proof(1).leaf
    with pytest.raises(RequestError, match="proof: expected one of 2 records"):
        pages[1].proof(2)
    rest = [h.history(b.p.portal[0], cursor=page.cursor, **words) for h, page in zip(b.ends(), pages, strict=True)]
    now = [h.history(b.p.portal[0].tobytes().hex()) for h in b.ends()]
    assert [plain(now[0].proof(i)) for i in range(5)] == [plain(now[1].proof(i)) for i in range(5)]
    return (pages[0], rest[0]), (pages[1], rest[1])


def _checkpoints(b: Both) -> Pair:
    b.ask("r", [0])
    b.p.clock.now += 86_400
    b.ask("s", [0])
    return b.h.checkpoints(), b.r.checkpoints()


def _files(b: Both) -> Pair:
    digest = bytes(32)
    pair = b.h.begin_file("nenkin", "file", digest, 10), b.r.begin_file("nenkin", "file", digest, 10)
    with pytest.raises(RequestError, match="first used with"):
        b.r.begin_file("nenkin", "file", bytes([1]) * 32, 10)
    assert b.h.find_file("nenkin", "file") == b.r.find_file("nenkin", "file")
    assert b.r.find_file("nenkin", "another") is None
    ended = b.r.end_file("nenkin", "file", 9), b.h.end_file("nenkin", "file", 9)
    assert b.r.find_file("nenkin", "file").complete
    return (*pair[:1], ended[1]), (*pair[1:], ended[0])


def _properties(b: Both) -> Pair:
    return (b.h.catalog, b.h.verifier_key), (b.r.catalog, b.r.verifier_key)


PLAYS: dict[str, Callable[[Both], Pair]] = {
    "inquire": _inquire,
    "status": _twice("status", "nenkin", "r"),
    "begin_file": _files, "end_file": _files, "find_file": _files,
    "collect": _collect, "provide": _provide, "answers": _answers, "fetched": _fetched, "release": _release,
    "register_key": _key, "payload_key": _key,
    "tickets": _tickets, "deliver": _deliver, "acquired": _acquired, "close_tickets": _close_tickets,
    "reissue": _reissue, "revoke": _revoke,
    "push_holders": _push_holders, "wanted": _wanted, "wanted_count": _wanted, "ask_alias": _ask_alias,
    "flag": _flag, "flags": _flag,
    "withhold": _withhold, "lift": _lift, "marks_due": _marks_due,
    "handles": _twice("handles", lambda b: b.town, lambda b: b.p.known[0], since=dt.date(2026, 1, 1)),
    "protect": _protect, "unprotect": _unprotect, "unjudged": _unjudged, "judge": _judge,
    "ask_correction": _ask_correction, "correct": _correct, "corrections": _correct, "confirm": _confirm,
    "history": _history, "news": _news, "disclosure_key": _twice("disclosure_key", lambda b: b.p.portal[0]),
    "suspend": _suspend, "resume": _suspend, "suspended": _suspend,
    "claims_required": _claims, "require_claims": _claims,
    "disclosure_keys": _twice("disclosure_keys", lambda b: b.p.portal[0]),
    "checkpoint": _twice("checkpoint"), "checkpoints": _checkpoints, "consistency": _twice("consistency", 1, 2),
    "catalog": _properties, "verifier_key": _properties,
    **FURTHER,
}  # fmt: skip


def test_every_method_is_played() -> None:
    assert set(PLAYS) == set(METHODS)


# Some methods are played together.
@pytest.mark.parametrize("play", dict.fromkeys(PLAYS.values()), ids=lambda play: play.__name__)
def test_here_and_over_the_wire_are_equal(both: Both, play: Callable[[Both], Pair]) -> None:
    here, there = play(both)
    assert plain(there) == plain(here)
    assert both.h.verify().problems == ()


OPERATORS = {
    "acquire", "catalog_of", "check_blocks", "check_handle", "close", "disk_free", "events", "export_tiles",
    "extend_hold", "give_way", "held", "hold", "holds", "identified", "inquire_async", "inquire_rows", "inquire_soon",
    "inquire_together", "lapse", "leaves_at", "load_catalog", "mark_served", "page_of", "release_hold", "requesters_of",
    "resolve", "retain", "retention", "served_at", "stand_back", "stats", "succeed", "verify", "vitals",
    "waiting_calls", "warm", "warm_tables",
}  # fmt: skip
"""Methods of whoever runs the folder, or that are of one process: why, stands in docs/wire.md."""

def test_every_method_of_the_hub_is_in_the_table_or_is_the_operators() -> None:
    public = {name for name in dir(hub.Hub) if not name.startswith("_")}
    assert public == set(METHODS) | OPERATORS
    assert not set(METHODS) & OPERATORS


def test_what_is_the_operators_is_refused_by_name(both: Both) -> None:
    with pytest.raises(RequestError, match="resolve: expected a method that the wire has"):
        both.r.resolve("nenkin", both.town, both.nenkin)
    assert not hasattr(both.r, "retain")
    with pytest.raises(AttributeError):
        both.r.resolved()


def test_every_method_has_the_embedded_signature_and_a_timeout() -> None:
    for name in set(METHODS) - {"catalog", "verifier_key"}:
        here = list(inspect.signature(getattr(hub.Hub, name)).parameters)
        there = list(inspect.signature(getattr(hub.Remote, name)).parameters)
        assert there == [*here, "timeout", *(["proofs"] if name in PAGES else [])]
        assert getattr(hub.Remote, name).__doc__ == getattr(hub.Hub, name).__doc__


def test_errors_are_those_of_the_embedded_hub(both: Both) -> None:
    """The same class, words and fields."""
    both.ask("r", [0, 1])
    permits = _collected(both)
    both.h.provide(both.town, permits.permit[:1], Status.EMPTY)
    plays: list[Callable[[Any], Any]] = [
        lambda h: h.inquire(tax_inquiry("x", procedure="19-8/0/0"), both.nenkin[:1], both.town),
        lambda h: h.inquire(tax_inquiry("x"), both.nenkin[:1], "no such town"),
        lambda h: h.inquire(tax_inquiry("x"), both.nenkin[:2], [both.town, "no such town"]),
        lambda h: h.inquire(tax_inquiry("x"), both.nenkin[:2].astype(np.int64), both.town),
        lambda h: h.inquire("x", both.nenkin[:2], both.town),
        lambda h: h.provide(both.town, permits, Status.NO_RECORD),
        lambda h: h.provide(both.town, permits, Status.OK),
        lambda h: h.status("nenkin", "unknown"),
        lambda h: h.history(bytes(16)),
        lambda h: h.history(b"short"),
        lambda h: h.deliver(both.town, np.zeros((1, 16), np.uint8), ["00000000001"]),
        lambda h: h.deliver("jlis", np.zeros((1, 16), np.uint8), ["1"]),
        lambda h: h.consistency(2, 1),
        lambda h: h.withhold(3.5, "g", REVIEW, institution="nenkin"),
        lambda h: h.confirm(bytes(18), section="s", institution="nenkin"),
        lambda h: h.push("x", both.p.known, "nenkin"),
        lambda h: h.push(push_of(both.town), both.p.known[:1].copy(), "no such town"),
        lambda h: h.update(update_of(both.town), [7], [b"x"]),
        lambda h: h.update(update_of(both.town), both.p.known[:1].copy(), [b"x"]),
        lambda h: h.update(update_of(both.town), permits, None),
        lambda h: h.taken("nenkin", [1, 1]),
        lambda h: h.taken("nenkin", 3),
        lambda h: h.arrived("nenkin", after="zz"),
        lambda h: h.notify(3, both.p.known, "text"),
        lambda h: h.claims(both.town),
        lambda h: h.claim(both.town, np.zeros((1, 16), np.uint8), [b"x"], clerk="sato"),
        lambda h: h.confirm_links(both.town, np.zeros((1, 16), np.uint8), clerk="sato", reason="r"),
        lambda h: h.identify("nenkin", "no such", ["a"]),
        lambda h: h.register_identifiers("no such", "jlis", both.p.codes[:1], ["a"]),
        lambda h: h.merge(both.town, *both.p.codes[:2], clerk="a", second_clerk="b", reason="r"),
        lambda h: h.deaths("nenkin", both.nenkin[:1].copy(), dt.date(2026, 1, 1)),
        lambda h: h.deaths(both.town, np.zeros((2, 16), np.uint8), dt.date(2026, 1, 1)),
        lambda h: h.deaths(both.town, both.p.known[:1].copy(), [None]),
        lambda h: h.alive(both.town, both.p.known[:1].copy(), clerk="a", second_clerk="a", reason="r"),
        lambda h: h.assign("jlis", bytes(18), both.p.codes[0], clerk="a", second_clerk="b", reason="r"),
        lambda h: h.blast_radius(both.town, bytes(16)),
        lambda h: h.proxies(bytes(16)),
        lambda h: h.proxy_history(both.p.portal[0], bytes(16)),
        lambda h: h.copy_of(both.town, role="provider", since=dt.datetime(2026, 1, 1, tzinfo=dt.UTC)),
    ]
    for play in plays:
        raised = []
        for h in both.ends():
            with pytest.raises(RequestError) as caught:
                play(h)
            raised.append(caught.value)
        assert type(raised[0]) is type(raised[1])
        assert str(raised[0]) == str(raised[1])
        fields = ("code", "retry_safe", "rows", "cause")
        assert [[getattr(one, name, None) for name in fields] for one in raised[:1]] == [
            [getattr(one, name, None) for name in fields] for one in raised[1:]
        ]


def test_coroutines_have_the_same_methods(both: Both, network: Network) -> None:
    async def work() -> None:
        address = f"hubs://127.0.0.1:{both.r._caller._options.port}"
        options = {"cert": network.client.cert, "key": network.client.key, "ca": network.authority.ca}
        async with hub.aio.connect(address, **options, pool=3) as h:
            answers = await asyncio.gather(
                *(h.inquire(tax_inquiry(f"a{i}"), both.nenkin[i % PERSONS :][:1], both.town) for i in range(40))
            )
            assert {answer.receipt.request_id for answer in answers} == {f"a{i}" for i in range(40)}
            notice = hub.Notice(institution=both.town, subject="s", section="t", request_id="n")
            await h.notify(notice, both.p.known[:1].copy(), "お知らせ")
            page = await h.history(both.p.portal[0], proofs=True)
            assert page.proof(0).record == page.records[0]
            bare = await h.history(both.p.portal[0])
            with pytest.raises(RequestError, match="proofs=True"):
                bare.proof(0)
            notices = await h.notices(both.p.portal[0], proofs=True)
            assert notices.texts == ["お知らせ"]
            assert notices.proof(0).record == notices.records[0]
            copied = await h.copy_of("nenkin", role="requester")
            assert plain(list(copied)) == plain(list(both.h.copy_of("nenkin", role="requester")))
            assert (await h.catalog).digest == both.h.catalog.digest
            assert await h.verifier_key == both.h.verifier_key
        h = await hub.aio.connect(address, **options)
        assert await h.checkpoint() == both.h.checkpoint()
        await h.close()

    asyncio.run(work())


def test_answers_of_many_rows_come_in_parts(both: Both, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("hub.wire.doing.STEP", 2)
    monkeypatch.setattr("hub.wire.doing.WIRE_ANSWERS_ROWS_MAX", 4)
    both.ask("r", list(range(11)))
    both.h.provide(both.town, _collected(both), Status.PROVIDED, [bytes([row]) for row in range(11)])
    both.p.clock.now += 5
    assert plain(both.r.answers("nenkin", "r")) == plain(both.h.answers("nenkin", "r"))
    for first, limit in ((0, 7), (3, 8), (10, 1), (11, None), (0, 0), (4, None)):
        here = both.h.answers("nenkin", "r", first=first, limit=limit)
        assert plain(both.r.answers("nenkin", "r", first=first, limit=limit)) == plain(here)


def test_long_calls_and_replies_travel_in_parts(both: Both) -> None:
    """More than one frame in each direction, columns where they arrived; progress is told in the caller's thread."""
    rows = 150_001
    aliases = np.ascontiguousarray(np.tile(both.nenkin, (rows // PERSONS + 1, 1))[:rows])
    codes = [both.town, both.towns[1]] * (rows // 2) + [both.town]
    told: list[int] = []
    answer = both.r.inquire(tax_inquiry("long"), aliases, codes, progress=told.append)
    assert told[-1] == rows
    assert len(told) == 3
    same = both.h.inquire(tax_inquiry("long", operator="platform"), aliases, codes)
    assert plain(answer) == plain(same)


def test_a_progress_that_raises_stops_the_waiting_not_the_inquiry(both: Both) -> None:
    class Enough(Exception):
        pass

    def stop(_: int) -> None:
        raise Enough

    aliases = np.ascontiguousarray(np.tile(both.nenkin, (8_000, 1)))
    with pytest.raises(Enough):
        both.r.inquire(tax_inquiry("stop"), aliases, both.town, progress=stop)
    assert len(both.r.inquire(tax_inquiry("stop"), aliases, both.town)) == len(aliases)
