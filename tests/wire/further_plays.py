"""What is played here and over the wire: sending unasked, links, identifiers, lives, proxies, copies."""

from __future__ import annotations

import datetime as dt
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from both import Both, Pair

import hub
from hub.errors import RequestError
from hub.messages import Acquisition, Differs, Identity, Kind, Status
from inquiries import tax_inquiry
from test_identifiers import NAMESPACES
from test_push import catalog_with_pushes, push_of
from test_update import update_of
from townsfolk import make_people

TODAY = dt.date(2026, 11, 25)
YESTERDAY = TODAY - dt.timedelta(1)


def through(name: str) -> str:
    """A clerk as they are recorded who come over the wire."""
    return f"platform/{name}"


def clerks(h: Any, b: Both, **more: str) -> dict[str, str]:
    """Two clerks in the words of one end, so that the same is recorded by both."""
    named = (lambda name: name) if h is b.r else through
    return {"clerk": named("sato"), "second_clerk": named("suzuki"), "reason": "a slip", **more}


def both_of(*pairs: Any) -> Pair:
    """What came of each, here and over the wire."""
    return [one for one, _ in pairs], [other for _, other in pairs]


def acquire(b: Both, body: str, codes: list[str]) -> np.ndarray:
    """Aliases in three parts, as a folder that is served gives them only."""
    tickets = b.h.tickets(body, len(codes))
    b.h.deliver("jlis", tickets, codes)
    found: np.ndarray = b.h.acquired(body, tickets).aliases
    return found


# -- what is sent unasked


def pushed(b: Both) -> None:
    b.h.load_catalog(catalog_with_pushes())
    aliases = b.p.known[:4].copy()
    sent = b.h.push(push_of(b.town), aliases, "nenkin", [b"one", None, b"", b"four" * 9_000])
    assert sent.status.tolist() == [Status.OK] * 4


def _push(b: Both) -> Pair:
    b.h.load_catalog(catalog_with_pushes())
    aliases = b.p.known[:3].copy()
    numbers = np.array([b.h.catalog.institution("nenkin").number] * 3, np.uint32)
    found: list[list[Any]] = [[], []]
    told: list[int] = []
    for turn, receivers in enumerate((["nenkin", b.towns[1], "nenkin"], "nenkin", numbers)):
        ends = [(0, b.h, through("sato")), (1, b.r, "sato")]
        # The first of them records it.
        for place, h, operator in ends if turn else reversed(ends):
            push = push_of(b.town, f"p{turn}", operator=operator)
            given = (push, aliases, receivers, [b"one", None, b""])
            found[place].append(h.push(*given, **({"progress": told.append} if h is b.r else {})))
    assert told[-1] == 3
    assert b.r.push(push_of(b.town, "bare", items=["出生"]), aliases, "nenkin").status.tolist() == [Status.OK] * 3
    with pytest.raises(RequestError, match=r"receivers: expected uint32\[3\]"):
        b.r.push(push_of(b.town, "wrong"), aliases, numbers[:2].copy())
    with pytest.raises(RequestError, match="receivers: "):
        b.r.push(push_of(b.town, "wrong"), aliases, 3)
    return found[0], found[1]


def _arrived(b: Both) -> Pair:
    pushed(b)
    first, second = (h.arrived("nenkin", limit=3) for h in b.ends())
    assert sum(map(len, second)) == 3
    rest = [h.arrived("nenkin", after=some[-1].cursor) for h, some in zip(b.ends(), (first, second), strict=True)]
    assert sum(map(len, rest[1])) == 1
    with pytest.raises(RequestError, match="limit: expected 1 to"):
        b.r.arrived("nenkin", limit=0)
    return (first, rest[0]), (second, rest[1])


def _taken(b: Both) -> Pair:
    pushed(b)
    (arrivals,) = b.h.arrived("nenkin")
    numbers = arrivals.number
    pair = b.h.taken("nenkin", numbers[:1].copy()), b.r.taken("nenkin", [int(numbers[1])])
    assert b.r.taken("nenkin", arrivals).rows == 4
    assert b.h.arrived("nenkin") == b.r.arrived("nenkin") == []
    return pair


def _update(b: Both) -> Pair:
    b.ask("r", [0, 1, 2])
    (permits,) = b.h.collect(b.town)
    b.h.provide(b.town, permits, Status.PROVIDED, [b"wrong"] * 3)
    found: list[list[Any]] = [[], []]
    by_alias = b.p.known[[0, 5]].copy()
    for turn, (what, payloads, words) in enumerate((
        (permits, [b"right", b"right", None], {}),
        (by_alias, [{"nenkin": b"sealed"}, None], {"items": ("市町村民税",)}),
    )):  # fmt: skip
        ends = [(0, b.h, through("sato")), (1, b.r, "sato")]
        for place, h, operator in ends if turn else reversed(ends):
            update = update_of(b.town, f"u{turn}", operator=operator, **words)
            found[place].append(h.update(update, what, payloads))
    assert found[1][1].status.tolist() == [Status.OK, Status.NO_RECORD]
    arrived = [h.arrived("nenkin") for h in b.ends()]
    assert {arrivals.about.kind for arrivals in arrived[1]} == {Kind.UPDATE}
    assert any(one is not None for arrivals in arrived[1] for one in arrivals.corrects)
    return (found[0], arrived[0]), (found[1], arrived[1])


def _notify(b: Both) -> Pair:
    aliases = b.p.known[:2].copy()
    fields = {"institution": b.town, "subject": "児童手当", "section": "子育て支援課"}
    found: list[list[Any]] = [[], []]
    told: list[int] = []
    for turn, texts in enumerate(("全員へ", ["一\n番", "二".encode()])):
        ends = [(0, b.h, through("sato")), (1, b.r, "sato")]
        for place, h, operator in ends if turn else reversed(ends):
            notice = hub.Notice(**fields, request_id=f"n{turn}", operator=operator)
            found[place].append(h.notify(notice, aliases, texts, progress=told.append))
    assert told
    with pytest.raises(RequestError, match="texts: expected 2 rows"):
        b.r.notify(hub.Notice(**fields, request_id="wrong"), aliases, ["one"])
    pages = [h.notices(b.p.portal[0]) for h in b.ends()]
    assert pages[1].texts == ["一\n番", "全員へ"]
    assert pages[1].proof(1).leaf == pages[0].proof(1).leaf
    some = [h.notices(b.p.portal[0], limit=1) for h in b.ends()]
    rest = [h.notices(b.p.portal[0], cursor=page.cursor) for h, page in zip(b.ends(), some, strict=True)]
    assert rest[1].texts == ["全員へ"]
    return (found[0], pages[0], some[0], rest[0]), (found[1], pages[1], some[1], rest[1])


# -- links


def _claimed(b: Both, n: int) -> tuple[np.ndarray, list[bytes]]:
    _, key = hub.new_payload_key()
    b.h.register_key("jlis", key)
    return b.r.tickets(b.towns[5], n), [one.seal(key) for one in make_people(n)]


def _claim(b: Both) -> Pair:
    tickets, sealed = _claimed(b, 4)
    given = [(tickets[:2].copy(), sealed[:2]), (tickets[2:].copy(), sealed[2:])]
    receipts = [h.claim(b.towns[5], *some, clerk="sato") for h, some in zip(b.ends(), given, strict=True)]
    named = [h.claims("jlis", tickets[::-1].copy()) for h in b.ends()]
    assert named[1].sealed == sealed[::-1]
    pages = [h.claims("jlis", limit=3) for h in b.ends()]
    rest = [h.claims("jlis", cursor=page.cursor) for h, page in zip(b.ends(), pages, strict=True)]
    assert len(rest[1]) == 1
    return (receipts[0], named[0], pages[0], rest[0]), (receipts[1], named[1], pages[1], rest[1])


def _confirm_links(b: Both) -> Pair:
    tickets, sealed = _claimed(b, 3)
    b.r.claim(b.towns[5], tickets, sealed, clerk="sato")
    b.r.deliver("jlis", tickets, b.p.codes[:3], [Differs.NAME, Differs.BIRTH | Differs.SEX, 0])
    held = [h.acquired(b.towns[5], tickets) for h in b.ends()]
    assert held[1].differs.tolist() == [1, 12, 0]
    with pytest.raises(RequestError, match="clerk"):
        b.r.confirm_links(b.towns[5], tickets[1:2], clerk="sato", reason="papers")
    made = [
        h.confirm_links(b.towns[5], tickets[row : row + 1].copy(), clerk="suzuki", reason="papers")
        for row, h in enumerate(b.ends())
    ]
    assert made[1].status.tolist() == [Acquisition.CREATED]
    return (held[0], made[0].status, made[0].differs), (held[1], made[1].status, made[1].differs)


def _replace_links(b: Both) -> Pair:
    town = b.towns[5]
    wrong, right = b.r.tickets(town, 4), b.r.tickets(town, 4)
    b.r.deliver("jlis", wrong, b.p.codes[:4])
    old = b.r.acquired(town, wrong).aliases
    b.r.deliver("jlis", right, b.p.codes[4:8])
    words = {"clerk": "suzuki", "reason": "行ずれ"}
    rows = [slice(0, 2), slice(2, 4)]
    keep = np.array([True, False])
    made = [
        h.replace_links(town, right[some].copy(), old[some].copy(), keep_old=keep, **words)
        for h, some in zip(b.ends(), rows, strict=True)
    ]
    again = [h.replace_links(town, right[:1].copy(), old[:1].copy(), keep_old=True, **words) for h in b.ends()]
    assert len(again[1].aliases) == 1
    return (made[0].status, again[0]), (made[1].status, again[1])


def _blast(b: Both) -> Pair:
    b.ask("r", [0])
    (permits,) = b.h.collect(b.town)
    b.h.provide(b.town, permits, Status.PROVIDED, [b"tax"])
    words = {"since": dt.date(2026, 1, 1), "until": TODAY}
    found = [h.blast_radius(b.town, b.p.known[0], **words) for h in b.ends()]
    assert len(found[1].dealings) == 1
    empty = [h.blast_radius("nenkin", b.p.nenkin[0].tobytes().hex(), until=dt.date(2026, 1, 1)) for h in b.ends()]
    assert empty[1].dealings == ()
    reports = []
    # Made over the wire, then given again by both.
    for h in (b.r, b.h, b.r):
        words = {**clerks(h, b), "known": TODAY}
        dry = h.report_mislink(b.town, b.p.known[0], dry_run=True, **words)
        made = h.report_mislink(b.town, b.p.known[0], b.p.known[1], deliberate=True, request_id="wrong", **words)
        assert made.citizens == 2
        reports.append((dry.citizens, dry.deadlines, made))
    return (found[0], empty[0], reports[1]), (found[1], empty[1], reports[2])


# -- identifiers


def _identifiers(b: Both) -> Pair:
    b.h.load_catalog(b.h.catalog.import_table(NAMESPACES))
    codes, number = b.p.codes, np.array([int(b.p.codes[2]), int(b.p.codes[3])], np.int64)
    register = (
        b.h.register_identifiers("jpki-auth", "jlis", codes[:2], ["甲", "乙"]),
        b.r.register_identifiers("jpki-auth", "jlis", number, [b"c", "d"], clerk="sato"),
    )
    fixed = np.arange(8, dtype=np.uint8).reshape(2, 4)
    mine = [
        h.register_identifiers("mykey", "portal", b.p.portal[rows].copy(), fixed + place)
        for place, (h, rows) in enumerate(zip(b.ends(), (slice(0, 2), slice(2, 4)), strict=True))
    ]
    assert mine[1].status.tolist() == [Acquisition.CREATED] * 2
    renewed = (
        b.h.renew_identifiers("jpki-auth", "jlis", ["甲"], ["甲2"]),
        b.r.renew_identifiers("jpki-auth", "jlis", ["c"], [b"c2"], clerk="sato"),
    )
    ended = (
        b.h.revoke_identifiers("jpki-auth", "jlis", ["乙", "nobody"]),
        b.r.revoke_identifiers("jpki-auth", "jlis", ["d", "nobody"], clerk="sato"),
    )
    asked = ["甲", "甲2", "乙", b"c", "c2", "d", "nobody"]
    found = [[h.identify(body, "jpki-auth", asked) for body in (b.town, "portal")] for h in b.ends()]
    assert found[1][0].status.tolist().count(Identity.VALID) == 2
    again = b.r.register_identifiers("jpki-auth", "jlis", codes[1:2], ["乙"], again=True)
    assert again.status.tolist() == [Acquisition.CREATED]
    with pytest.raises(RequestError, match="identifiers: expected 1 to 64 bytes"):
        b.r.identify(b.town, "jpki-auth", [""])
    return both_of(register, mine, renewed, ended, found)


# -- lives


def _merge(b: Both) -> Pair:
    """Two of whom nenkin knows one only; what it asks in between is undecided."""
    extra = [f"{10**9 + number:011}" for number in (100, 101)]
    acquire(b, "portal", extra)
    merged = [
        h.merge("jlis", code, gone, **clerks(h, b)) for h, code, gone in zip(b.ends(), b.p.codes, extra, strict=False)
    ]
    made = acquire(b, "nenkin", extra)
    for number in range(3):
        b.h.inquire(tax_inquiry(f"m{number}"), made[1:].copy(), b.town)
    halves = [
        h.split("jlis", code, gone, **clerks(h, b)) for h, code, gone in zip(b.ends(), b.p.codes, extra, strict=False)
    ]
    assert merged == halves == [None, None]
    # The alias that nenkin had of the one, known before the merge, decides; of what was made in between nobody can.
    lists = [[h.undecided("jlis", code) for code in b.p.codes[:2]] for h in b.ends()]
    some = [h.undecided("jlis", b.p.codes[1], limit=1) for h in b.ends()]
    return (lists[0], some[0]), (lists[1], some[1])


def _assign(b: Both) -> Pair:
    one, other = (f"{10**9 + number:011}" for number in (200, 201))
    acquire(b, "portal", [one, other])
    b.r.merge("jlis", one, other, **clerks(b.r, b))
    made = acquire(b, "nenkin", [one])
    for number in range(3):
        b.h.inquire(tax_inquiry(f"m{number}"), made, b.town)
    b.r.split("jlis", one, other, **clerks(b.r, b))
    first = [h.undecided("jlis", one) for h in b.ends()]
    assert len(first[1]) == 3
    handles = [record.handle for record in first[1]]
    done = [h.assign("jlis", handle, other, **clerks(h, b)) for h, handle in zip(b.ends(), handles, strict=False)]
    left = [h.undecided("jlis", one, limit=2) for h in b.ends()]
    assert [record.handle for record in left[1]] == handles[2:]
    return (first[0], done[0], left[0]), (first[1], done[1], left[1])


def _deaths(b: Both) -> Pair:
    born = dt.date(1950, 1, 1)
    rows = [slice(0, 2), slice(2, 4)]
    told = [
        h.deaths(b.town, b.p.known[some].copy(), [YESTERDAY, TODAY], born=[born, None], clerk="sato")
        for h, some in zip(b.ends(), rows, strict=True)
    ]
    codes = [[b.p.codes[4]], np.array([int(b.p.codes[5])], np.int64)]
    day = np.datetime64(TODAY, "D").reshape(1)
    by_code = [h.deaths("jlis", some, day) for h, some in zip(b.ends(), codes, strict=True)]
    corrected = []
    for h, row in zip(b.ends(), (0, 2), strict=True):
        words = clerks(h, b)
        del words["reason"]
        corrected.append(h.deaths(b.town, b.p.known[row : row + 1].copy(), TODAY, correct=True, **words))
    assert corrected[1].corrected == 1
    closed = [h.closed() for h in b.ends()]
    assert len(closed[1].aliases) == 6
    since = [h.closed(closed[0].upto, limit=1) for h in b.ends()]
    alive = [h.alive("jlis", some, **clerks(h, b)) for h, some in zip(b.ends(), codes, strict=True)]
    back = [h.alive(b.town, b.p.known[some].copy(), **clerks(h, b)) for h, some in zip(b.ends(), rows, strict=True)]
    assert (alive, back) == ([1, 1], [2, 2])
    with pytest.raises(RequestError, match="expected days up to"):
        b.r.deaths(b.town, b.p.known[:1].copy(), TODAY + dt.timedelta(2))
    return both_of(told, by_code, corrected, closed, since)


def _successions(b: Both) -> Pair:
    before = b.r.successions()
    b.h.succeed([b.towns[4]], b.towns[3], TODAY, **clerks(b.h, b))
    assert before == {}
    return b.h.successions(), b.r.successions()


# -- proxies


def _proxies(b: Both) -> Pair:
    b.ask("r", [0, 2])
    citizens = b.p.portal
    kinds = hub.ProxyKind.STATUTORY, hub.ProxyKind.VOLUNTARY
    words = {"label": "夫", "called": "妻", "until": dt.date(2030, 4, 1)}
    first = b.h.grant_proxy(citizens[0], citizens[1], kinds[0], **words)
    assert b.r.grant_proxy(citizens[0], citizens[1], kinds[0], **words) == first
    second = b.r.grant_proxy(citizens[2], citizens[3], kinds[1], label="妻", called="夫", clerk="sato")
    with pytest.raises(RequestError, match=r"kind: expected hub\.ProxyKind, got int"):
        b.r.grant_proxy(citizens[2], citizens[3], 1, **words)
    lists = [[h.proxies(citizens[0]), h.proxies(citizens[2])] for h in b.ends()]
    assert [one.handle for some in lists[1] for one in some] == [first, second]
    rest = [
        (h.question_proxies(citizens[row]), h.confirm_proxies(citizens[row], clerk="sato"), h.proxies(citizens[0]))
        for h, row in zip(b.ends(), (0, 2), strict=True)
    ]
    named = [[h.principals(citizens[1]), h.principals(citizens[3])] for h in b.ends()]
    (agent,) = named[0][0]
    pages = [h.proxy_history(citizens[1], agent.handle, limit=1, procedure="19-8/73/75.3") for h in b.ends()]
    assert pages[1].proof(0).leaf == pages[0].proof(0).leaf
    assert len(pages[1]) == 1
    ended = b.h.revoke_proxy(citizens[0], first), b.r.revoke_proxy(citizens[2], second)
    assert ended == (True, True)
    assert b.r.revoke_proxy(citizens[2], second) is False
    return (lists[0], rest[0][:2], named[0], pages[0]), (lists[1], rest[1][:2], named[1], pages[1])


# -- at the counter


def _counter(b: Both) -> Pair:
    b.ask("r", [0, 1])
    words = {"clerk": "platform/sato", "second_clerk": "platform/suzuki", "checked": "旅券", "section": "市民課"}
    here = b.h.counter_history(b.town, b.p.known[0], **words)
    there = b.r.counter_history(b.town, b.p.known[1], **{**words, "clerk": "sato", "second_clerk": "suzuki"})
    with pytest.raises(RequestError, match="second_clerk: expected another clerk than the first"):
        b.r.counter_history(b.town, b.p.known[1], **{**words, "second_clerk": words["clerk"]})
    assert len(there.records) == 2
    assert [len(bytes.fromhex(code)) for code in there.codes] == [16, 16]
    return here, there


# -- copies


def _copies(b: Both) -> Pair:
    b.ask("r", [0, 1, 2])
    b.ask("s", [3])
    for permits in b.h.collect(b.town):
        b.h.provide(b.town, permits, Status.EMPTY)
    words = {"since": dt.date(2026, 1, 1), "until": dt.date(2026, 12, 31)}
    found = [
        [*h.copy_of("nenkin", role="requester"), *h.copy_of(b.town, role="provider", **words)] for h in b.ends()
    ]
    assert len(found[1]) == 3
    for h in b.ends():
        assert list(h.copy_of(b.towns[1], role="provider")) == []
        with pytest.raises(RequestError, match="role: expected requester or provider"):
            h.copy_of("nenkin", role="both")
    return found[0], found[1]


def _consents(b: Both) -> Pair:
    """With the law that was there, nothing needs a consent: an ordinance's affair is put beside it."""
    header = "basis,row,article,number,requester,procedure,provider,kind,detail,roles,copies\n"
    line = "19-9,1,2,1,市町村長,助成,市町村長,地方税,市町村民税,保護者;同一世帯員,19-8/11/13.4\n"
    if "19-9/1/2.1" not in b.h.catalog.procedure_ids:
        b.h.load_catalog(b.h.catalog.import_rules(header + line))
    found = []
    for row, h in enumerate(b.ends()):
        mine = b.p.portal[row]
        given = mine, b.towns[1], "19-9/1/2.1"
        said = [h.withdraw_consent(*given), h.withdraw_consent(*given), h.give_consent(*given, clerk="sato")]
        found.append((said, h.consents(mine), h.consents(b.p.portal[3])))
    assert found[0][0] == [True, False, True]
    return found[0], found[1]


FURTHER: dict[str, Callable[[Both], Pair]] = {
    "push": _push, "arrived": _arrived, "taken": _taken, "update": _update, "notify": _notify, "notices": _notify,
    "claim": _claim, "claims": _claim, "confirm_links": _confirm_links, "replace_links": _replace_links,
    "blast_radius": _blast, "report_mislink": _blast,
    "register_identifiers": _identifiers, "renew_identifiers": _identifiers, "revoke_identifiers": _identifiers,
    "identify": _identifiers,
    "merge": _merge, "split": _merge, "undecided": _assign, "assign": _assign,
    "deaths": _deaths, "alive": _deaths, "closed": _deaths, "successions": _successions,
    "grant_proxy": _proxies, "proxies": _proxies, "revoke_proxy": _proxies, "question_proxies": _proxies,
    "confirm_proxies": _proxies, "principals": _proxies, "proxy_history": _proxies,
    "consents": _consents, "withdraw_consent": _consents, "give_consent": _consents,
    "counter_history": _counter,
    "copy_of": _copies,
}  # fmt: skip
