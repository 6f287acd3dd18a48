"""Write the golden files of a folder's stored formats: ``python tools/make_golden_store.py [FOLDER]``.

A small folder is made through the public interface and left interrupted in every way that is stored: an
acquisition half in the tables, runs merged and a merge under way, blocks that are nobody's, an erasure under way, a
hold that is ending, small requests that are not in the index yet, a delivery into the inboxes under way. Keys, clock
and random bytes are fixed, so the same bytes come out on every machine (but for the deflated part of ``catalogs``,
where a machine's zlib may choose others). ``tests/test_golden.py`` compares them with ``tests/data/store``, and
``tests/second_reader.py`` reads them from the byte tables alone. Run it again only when a format was changed on
purpose, under a new version.

| file | what |
|---|---|
| ``<database>.txt`` | every database of the environment, whatever there is: a line a value, ``key value`` |
| ``keys.txt`` ``files.txt`` | the same of the key files, and of ``head`` and ``exported`` |
| ``told.json`` | what the hub told about it: aliases, answers, permits, histories, checkpoints |

Keys and values are hex; ``.n.`` stands for n bytes of zeros, so that padding stays short; file names are text.
"""

from __future__ import annotations

import datetime as dt
import hashlib
import json
import os
import re
import sys
import tempfile
import time
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any
from unittest import mock

import lmdb
import msgspec
import numpy as np
from nacl.public import Box, PrivateKey, PublicKey

import hub
import hub.acquisition.acquire
import hub.acquisition.additions
import hub.hub
import hub.provision.deliver
import hub.provision.delivery
import hub.records.retain
import hub.runs.due
import hub.runs.index
import hub.runs.merge
import hub.runs.merger
import hub.storage.turns
from hub.aliases import find_aliases
from hub.catalog import Catalog
from hub.catalog.classes import ClassLine
from hub.catalog.institutions import Institution
from hub.catalog.law import OWN_RULES_FROM, Row, Rule
from hub.catalog.namespaces import Namespace
from hub.catalog.standing import Assessment, Delegation
from hub.catalog.tables import Tables
from hub.catalog.terms import Term
from hub.errors import RequestError
from hub.provision.payloads import MAGIC, key_fingerprint
from hub.records.holds import HoldState
from hub.requests.state import request_key
from hub.runs.merge import merge_once
from hub.singles.small import Question, SmallAnswers, SmallRows
from hub.storage.keys import NAMES as KEY_NAMES
from hub.storage.snapshot import Commit

REPOSITORY = Path(__file__).parents[1]

MAY, AUGUST, SEPTEMBER, DECEMBER, JANUARY = (
    int(dt.datetime(*day, 9, 30, tzinfo=dt.UTC).timestamp())
    for day in ((2019, 5, 20), (2019, 8, 20), (2026, 9, 29), (2026, 12, 20), (2027, 1, 12))
)
"""What May's quarter holds is erased in September seven years later, and some of August's in January."""

PERIODS = ("2019Q2", "2019Q3", "2026Q3", "2026Q4", "2027Q1")
REVIEW = dt.date(2030, 1, 31)
ORIGIN = "golden.example/log"
PROCEDURE = "19-8/73/75.3"
BY_ORDINANCE = "19-9/1/2.1"
TOWN, VILLAGE = "131016", "011002"
MAYORS = "市町村長"

PERSONS, KNOWN_IN_TOWN = 80, 50
VILLAGERS = range(70, 78)
ANSWERS_EVERY_S = 300
STEPS_MAX = 50
WAIT_S = 30.0

SMALL: dict[Any, dict[str, object]] = {
    hub.runs.due: {"BLOCK_BYTES": 1024},
    hub.runs.merge: {"BLOCK_BYTES": 1024, "INLINE_BYTES_MAX": 128},
    hub.runs.index: {"INLINE_BYTES_MAX": 128, "TIER0_BLOCK_ROWS": 100},
    # The thread that merges has its first step when this is over: here the tool does the steps, one by one.
    hub.runs.merger: {"DELAY_S": 86_400.0},
    hub.provision.delivery: {"DELAY_S": 86_400.0, "ROUND_S": 86_400.0},
    # A provider a transaction.
    hub.provision.deliver: {
        "PERMITS_PER_SEGMENT": 24, "SMALL_SEGMENT": 8, "TINY_SEGMENTS": 1, "SMALL_SEGMENTS": 1,
        "STRETCH_RECORDS_MAX": 256, "STEP_BYTES": 1,
    },
    # A value a transaction, however slow the machine is.
    # However long the machine takes between two inquiries.
    hub.storage.turns: {"LATELY_S": 86_400.0},
    hub.records.retain: {"STEP_VALUES": 8, "STEP_S": -1.0, "PAUSE_S": 0.0},
}
"""Sizes that are stored with what they shape, or shape nothing stored: small, so that few records show all forms."""

SMALL_ADDITION: dict[Any, dict[str, object]] = {
    hub.acquisition.additions: {"COMMIT_BYTES_MAX": 8_192, "ROWS_PER_PART": 16},
    hub.acquisition.acquire: {"FEW_ALIASES": 16},
}
"""Likewise: an acquisition of some persons takes several transactions and draws its aliases from a seed."""


class Stopped(Exception):
    """Something is cut off here, as by a crash."""


def golden_bytes(name: str, size: int) -> bytes:
    """Bytes that look random and come from a name."""
    return hashlib.shake_256(b"hub/golden/" + name.encode()).digest(size)


def random_source() -> Callable[[int], bytes]:
    """What stands in for the system's random source."""
    calls = iter(range(1 << 20))
    return lambda size: golden_bytes(f"random/{next(calls)}", size)


def golden_catalog(terms: tuple[Term, ...] = (), *, own: bool = False, ordinance: bool = False) -> Catalog:
    """One procedure, with ``own`` a second one of the operator's, with ``ordinance`` a third that needs consents, and
    some bodies: the shipped law may change without the bytes here."""
    bodies = (("nenkin", "body", ""), ("mhlw", "national", ""), ("portal", "system", ""))
    cities = ((TOWN, "city", "東京都"), (VILLAGE, "city", "北海道"))
    offices = (("pm", "national", ""), ("jlis", "body", ""))
    rule = Rule(
        rule=1, basis="19-8", row="73", article="75", number="3", sub="", procedure=PROCEDURE, label="golden",
        requester="厚生労働大臣", provider="市町村長", kind="地方税", detail="市町村民税", roles=("納付義務者",),
        valid_from=dt.date(2018, 1, 1), valid_to=None,
    )  # fmt: skip
    rows = [Row("19-8", "73", "75", "厚生労働大臣", "国民年金法", "golden", False, (("市町村長", "地方税"),))]
    rules = [rule]
    if own:
        rows.append(Row("own", "1", "1", "受取機関", "golden", "golden", False, (("市町村長", "戸籍情報"),)))
        rules.append(
            Rule(
                rule=OWN_RULES_FROM, basis="own", row="1", article="1", number="", sub="", procedure="own/1/1",
                label="golden", requester="受取機関", provider="市町村長", kind="戸籍情報", detail="出生",
                roles=("本人",), valid_from=None, valid_to=None,
            )
        )  # fmt: skip
    if ordinance:
        rows.append(Row("19-9", "1", "2", "市町村長", "golden", "golden", False, (("市町村長", "地方税"),)))
        rules.append(
            Rule(
                rule=OWN_RULES_FROM + 1, basis="19-9", row="1", article="2", number="1", sub="", procedure=BY_ORDINANCE,
                label="golden", requester="市町村長", provider="市町村長", kind="地方税", detail="市町村民税",
                roles=("本人",), valid_from=None, valid_to=None,
            )
        )  # fmt: skip
    return Catalog(
        Tables(
            origin="golden",
            rows=tuple(rows),
            rules=tuple(rules),
            institutions=tuple(
                Institution(number=number, code=code, kind=kind, prefecture=prefecture, name=prefecture + code, kana="")
                for number, (code, kind, prefecture) in enumerate((*bodies, *cities, *offices), 1)
            ),
            classes=(
                ClassLine("厚生労働大臣", ("code:mhlw",), ""), ClassLine("市町村長", ("kind:city",), ""),
                *((ClassLine("受取機関", ("code:nenkin",), ""),) if own else ()),
            ),
            members=(),
            narrowings=(),
            delegations=(
                Delegation(
                    "nenkin", "厚生労働大臣", "国民年金法", "109条の4", ("19-8/73",), "requester", dt.date(2010, 1, 1),
                    None,
                ),
            ),
            assessments=(Assessment("*", "*", "both", dt.date(2015, 10, 5)),),
            terms=terms,
            namespaces=(
                Namespace("serials", "golden", "portal", ("nenkin", TOWN), ("nenkin",)),
                Namespace("others", "golden", "portal", (TOWN,)),
            ),
        )
    )


def write_golden(target: Path) -> None:
    """Write all golden files into an empty folder."""
    with tempfile.TemporaryDirectory() as scratch, ExitStack() as patches:
        folder = Path(scratch) / "hub"
        write_keys(folder / "keys")
        catalog = golden_catalog()
        patches.enter_context(mock.patch("os.urandom", random_source()))
        patches.enter_context(mock.patch.object(hub.hub.Catalog, "japan", return_value=catalog))
        patches.enter_context(changed(SMALL))
        told = fill(folder)
        text = json.dumps(told, ensure_ascii=False, separators=(",", ":"))
        (target / "told.json").write_text(text + "\n", encoding="utf-8")
        for name, values in read_databases(folder / "env").items():
            write_lines(target / f"{name}.txt", ((key.hex(), value) for key, value in values))
        keys = sorted((folder / "keys").rglob("*.key"))
        write_lines(target / "keys.txt", ((path.relative_to(folder).as_posix(), path.read_bytes()) for path in keys))
        beside = {"head": folder.with_name("hub.head"), "exported": folder.with_name("hub.head.exported")}
        write_lines(target / "files.txt", ((name, path.read_bytes()) for name, path in beside.items()))


def write_keys(folder: Path) -> None:
    """Fixed keys: a folder that has its keys already makes no others."""
    (folder / "periods").mkdir(mode=0o700, parents=True)
    for name in (*KEY_NAMES, *(f"periods/{period}" for period in PERIODS)):
        path = folder / f"{name}.key"
        path.touch(mode=0o600)
        path.write_bytes(golden_bytes(f"key/{name}", 32))


@contextmanager
def changed(values: dict[Any, dict[str, object]]) -> Iterator[None]:
    """Other module values for a while."""
    with ExitStack() as patches:
        for module, names in values.items():
            patches.enter_context(mock.patch.multiple(module, **names))
        yield


def fill(folder: Path) -> dict[str, Any]:
    """Make the folder and leave it interrupted; returns what the hub told."""
    clock = [MAY]
    clocked: dict[str, Any] = {"clock": lambda: clock[0], "answers_every_s": ANSWERS_EVERY_S}
    with hub.open(folder, create=True, threads=1, origin=ORIGIN, **clocked) as h:
        golden = Golden(h, clock)
        golden.erase_may()
        golden.fill_september()
        h.export_tiles(folder.with_name("tiles"))
        golden.withhold_some()
        golden.correct_some()
        golden.fill_december()
        golden.answer_december()
        # The autumn's quarter is over: its runs become one, and their blocks are nobody's.
        for _ in range(STEPS_MAX):
            if len(runs_of(h, "2026Q3")) == 1:
                break
            merge_once(h._store, bytes_max=1)
        golden.erase_some_of_august()
        h.begin_file("nenkin", "file", golden_bytes("file", 32), 300)
        h.end_file("nenkin", "file", 262)
        h.begin_file("nenkin", "other file", golden_bytes("other file", 32), 400)
        golden.ask("january", [5, 6, 7], [TOWN] * 3, JANUARY)
        golden.ask_rows({"rows/1": 8, "rows/2": 61, "rows/3": -1, "rows/4": 9}, JANUARY)
        mark = hub.Withhold(ground="family", until=REVIEW)
        golden.ask("january/withheld", [60, 15], [TOWN] * 2, JANUARY + 60, withhold=[None, mark])
        golden.flag_some()
        golden.report_some()
        golden.locate_some()
        golden.release_one()
        golden.send_some()
        golden.answer_january()
        # The next one's merge has begun.
        merge_once(h._store, bytes_max=1)
        golden.merge_and_split()
        golden.draw_and_end()
        golden.identify_some()
        golden.act_for_some()
        golden.consent_some()
        golden.tell_exchange()
        tell(h, golden.told, golden.portal)
        more = [*golden.codes[7:33:2], *(f"{2 * 10**10 + n:011}" for n in range(40))]
        with changed(SMALL_ADDITION):
            cut_off(h, lambda: h.acquire(VILLAGE, more))
    return golden.told


class Golden:
    """A hub that is being filled, and what it told so far."""

    def __init__(self, h: hub.Hub, clock: list[int]) -> None:
        self.h, self.clock = h, clock
        self.codes = [f"{10**10 + 37 * n:011}" for n in range(PERSONS)]
        self.mine = h.acquire("nenkin", self.codes).aliases
        self.theirs = h.acquire(TOWN, self.codes[:KNOWN_IN_TOWN]).aliases
        self.portal = h.acquire("portal", self.codes).aliases
        aliases = {"nenkin": hexes(self.mine), TOWN: hexes(self.theirs), "portal": hexes(self.portal)}
        self.told: dict[str, Any] = {"codes": self.codes, "answers": {}, "aliases": aliases, "sealed": {}}
        self.payload_key = PrivateKey(golden_bytes("payload key", 32))

    def ask_soon(self, request_id: str, rows: list[int], providers: list[str], at: int, **more: Any) -> Any:
        """Ask; returns what waits for the answer and notes it down."""
        self.clock[0] = at
        inquiry = hub.Inquiry(
            requester="nenkin", procedure=PROCEDURE, items=("市町村民税",), role="納付義務者",
            section="国民年金部", request_id=request_id, operator=more.pop("operator", None),
            reference_date=more.pop("reference_date", None),
        )  # fmt: skip
        unknown = np.frombuffer(golden_bytes("unknown alias", 16), np.uint8)
        aliases = np.array([unknown if row < 0 else self.mine[row] for row in rows]).reshape(-1, 16)
        future = self.h.inquire_soon(inquiry, aliases, providers, **more)

        def note() -> None:
            answer = future.result(timeout=WAIT_S)
            self.told["answers"][request_id] = {
                "inquiry": msgspec.to_builtins(inquiry), "aliases": hexes(aliases), "providers": providers,
                "withhold": msgspec.to_builtins(more.get("withhold")),
                "received_at": answer.receipt.received_at,
                "status": answer.status.tolist(), "rule": answer.rule.tolist(), "reason": answer.reason.tolist(),
                "holders": [[row, list(codes)] for row, codes in answer.holders.items()],
            }  # fmt: skip

        return note

    def ask(self, request_id: str, rows: list[int], providers: list[str], at: int, **more: Any) -> None:
        """Ask and wait for the answer."""
        self.ask_soon(request_id, rows, providers, at, **more)()

    def ask_together(self, requests: dict[str, list[int]], at: int) -> None:
        """Small inquiries that share a commit: all but the first, which another writer keeps from it meanwhile."""
        gatherer = self.h._gathering()
        with self.h._store.writer:
            notes = []
            for request_id, rows in requests.items():
                notes.append(self.ask_soon(request_id, rows, [TOWN] * len(rows), at))
                until = time.monotonic() + WAIT_S
                while len(notes) == 1 and gatherer._queue and time.monotonic() < until:
                    time.sleep(0.001)
        for note in notes:
            note()

    def ask_rows(self, requests: dict[str, int], at: int) -> None:
        """Inquiries of one row each that come as columns, of two sections."""
        self.clock[0] = at
        unknown = np.frombuffer(golden_bytes("unknown alias", 16), np.uint8)
        body = self.h.catalog.institution("nenkin").number
        town = self.h.catalog.institution(TOWN).number
        inquiries = [
            hub.Inquiry(
                requester="nenkin", procedure=PROCEDURE, items=("市町村民税",), role="納付義務者",
                section=f"第{number % 2}課", request_id=request_id, operator="clerk" if number % 2 else None,
            )
            for number, request_id in enumerate(requests)
        ]  # fmt: skip
        questions = [Question(inquiry, body) for inquiry in inquiries[:2]]
        n = len(inquiries)
        aliases = np.array([unknown if row < 0 else self.mine[row] for row in requests.values()])
        keys = b"".join(request_key("nenkin", request_id) for request_id in requests)
        digests = b"".join(
            questions[number % 2].digest(request_id, aliases[number].tobytes(), town)
            for number, request_id in enumerate(requests)
        )
        rows = SmallRows(
            questions, np.arange(n, dtype=np.uint32) % 2, aliases, np.full(n, town, np.uint32),
            np.frombuffer(keys, np.uint8).reshape(n, 16), np.frombuffer(digests, np.uint8).reshape(n, 32),
        )  # fmt: skip
        future: Future[SmallAnswers] = Future()
        self.h.inquire_rows(rows, future.set_result)
        answers = future.result(timeout=WAIT_S)
        for number, inquiry in enumerate(inquiries):
            self.told["answers"][inquiry.request_id] = {
                "inquiry": msgspec.to_builtins(inquiry), "aliases": hexes(aliases[number : number + 1]),
                "providers": [TOWN], "withhold": None, "received_at": int(answers.received_at[number]),
                "status": [int(answers.status[number])], "rule": [int(answers.rule[number])],
                "reason": [int(answers.reason[number])], "holders": [],
            }  # fmt: skip

    def erase_may(self) -> None:
        """A quarter whose time is over, with marks, corrections and copies under legal holds."""
        h, portal = self.h, self.portal
        cases = [f"old-{row}" for row in range(20)]
        self.ask("may", list(range(20)), [TOWN] * 20, MAY, operator="clerk", cases=cases)
        h.withhold(h.handles(TOWN, self.theirs[4])[0][0], "old ground", REVIEW, clerk="town clerk")
        page = h.history(portal[2])
        h.ask_correction(portal[2], page.records[0], "old and wrong", disclosed=page.disclosure)
        inquiry = page.records[0].inquiry
        for number in (1, 2):
            self.ask(f"august/{number}", [2, 3, 4], [TOWN] * 3, AUGUST + number)
        self.clock[0] = SEPTEMBER - 7_200
        # What follows a record that is erased afterwards.
        h.correct(h.corrections("nenkin")[0].handle, "not wrong", "国民年金部", clerk="clerk", accepted=False)
        until, later = dt.date(2027, 6, 30), dt.date(2028, 6, 30)
        h.hold(ground="a suit", until=until, by="court", portal_alias=portal[3])
        h.hold(ground="an audit", until=until, by="commission", inquiry=inquiry)
        h.extend_hold(2, until=later, ground="not over", by="commission")
        day = dt.date(2019, 5, 20)
        h.hold(ground="a mistake", until=until, by="court", requester="nenkin", since=day, last=day)
        h.hold(ground="of no record", until=until, by="court", requester="mhlw", portal_alias=portal[1])
        h.hold(ground="soon over", until=until, by="court", requester="nenkin", since=day, portal_alias=portal[7])
        h.retain(confirm=True)
        self.clock[0] = SEPTEMBER - 3_600
        h.release_hold(3, ground="a mistake", by="court")
        h.retain(confirm=True)
        # Its copies are still there: the next call shreds them.
        h.release_hold(5, ground="over", by="court")

    def erase_some_of_august(self) -> None:
        """An erasure that is under way: half of its bodies are there still, without their key."""

        def stop(erased: int) -> None:
            raise Stopped

        self.clock[0] = JANUARY - 3_600
        try:
            self.h.retain(progress=stop)
        except Stopped:
            return
        raise AssertionError("the erasure was not cut off")

    def fill_september(self) -> None:
        """Three inquiries, the first with every status, cases and a reference date."""
        every = [row * 7 % PERSONS for row in range(260)]
        towns = [TOWN if row % 5 else VILLAGE for row in range(260)]
        # The portal is no municipality: the law denies this row. One alias is nobody's.
        cases = [None if row % 50 else f"case-{row}" for row in range(262)]
        self.ask(
            "whole", [*every, 3, -1], [*towns, "portal", TOWN], SEPTEMBER,
            operator="clerk", cases=cases, reference_date=dt.date(2026, 1, 1),
        )  # fmt: skip
        self.ask("all", list(range(PERSONS)), [TOWN] * PERSONS, SEPTEMBER + 90)
        self.ask("again", [5, 5, *range(20, PERSONS)], [TOWN] * 62, SEPTEMBER + 3_700)

    def withhold_some(self) -> None:
        """Marks in every state, and persons under protection in every state."""
        h, codes = self.h, self.codes
        mark = hub.Withhold(ground="family", until=REVIEW)
        self.ask("withheld", [11, 12, 13, 14], [TOWN] * 4, SEPTEMBER + 4_000, withhold=[mark, mark, None, mark])
        h.lift(("withheld", 0), requester="nenkin", institution="nenkin", clerk="one", second_clerk="two")
        h.lift(("withheld", 1), requester="nenkin", institution="nenkin", clerk="one")
        h.withhold(h.handles(TOWN, self.theirs[13])[0][0], "town's ground", REVIEW, clerk="town clerk")
        since = dt.datetime.fromtimestamp(SEPTEMBER + 60, dt.UTC)
        unknown = f"{3 * 10**10:011}"
        for code in (codes[8], codes[9], codes[10], codes[18], unknown):
            h.protect("jlis", code, since=since, ground="victim", clerk="register clerk")
        h.unprotect("jlis", codes[9], clerk="one")
        h.unprotect("jlis", codes[10], clerk="one", second_clerk="two")
        # Of one person both sides judge every record, of another the requester alone; the rest waits.
        for institution, alias in (("nenkin", self.mine[8]), (TOWN, self.theirs[8]), ("nenkin", self.mine[18])):
            for handle, record in h.handles(institution, alias):
                if record.requested_at >= since:
                    h.judge(institution, handle, withhold=False, clerk="judge")
        # The village does not know this person and is no party: the requester's judgement is enough.
        self.ask("protected", [8, 9, 10, 8], [TOWN, TOWN, TOWN, VILLAGE], SEPTEMBER + 4_100)
        for handle, record in h.handles("nenkin", self.mine[8]):
            if record.requested_at >= since and record.provider == VILLAGE:
                h.judge("nenkin", handle, withhold=False, clerk="judge")
        handle = h.handles(TOWN, self.theirs[8])[0][0]
        h.judge(TOWN, handle, withhold=True, ground="still", until=REVIEW, clerk="judge")

    def flag_some(self) -> None:
        """Flags of one and of several institutions, some switched off again; records that begin withheld by them."""
        h, every = self.h, hub.Flag.MANUAL | hub.Flag.WITHHELD | hub.Flag.NO_SELF
        h.flag("nenkin", self.mine[[61, 20]], every, clerk="agency clerk")
        h.flag(TOWN, self.theirs[20:23], hub.Flag.MANUAL | hub.Flag.WITHHELD, clerk="town clerk")
        h.flag("nenkin", self.mine[[61]], hub.Flag.WITHHELD, on=False)
        h.flag(TOWN, self.theirs[22:23], every, on=False)
        # The town does not know one of them, and seems to.
        mark = hub.Withhold(ground="first", until=REVIEW)
        rows = [61, 20, 21, 22, 62, 20]
        self.ask("january/flagged", rows, [TOWN] * 6, JANUARY + 120, withhold=[None, None, None, None, None, mark])

    def report_some(self) -> None:
        """Linkage suspended of one person and for a while of all; a wrong link reported, one told by other means."""
        h, words = self.h, {"clerk": "town clerk", "reason": "identity in doubt"}
        h.suspend(TOWN, self.theirs[43:45], **words)
        h.suspend(TOWN, **words)
        # Of one a clerk must decide anyway.
        self.ask("january/suspended", [43, 45, 20, 61], [TOWN] * 4, JANUARY + 150)
        h.resume(TOWN, **words)
        h.resume(TOWN, self.theirs[44:45], **words)
        h.suspend("mhlw", **words)
        h.flag(TOWN, self.theirs[46:47], hub.Flag.NO_SELF)
        report = {**words, "second_clerk": "another", "since": dt.date(2026, 9, 1), "until": dt.date(2027, 1, 1)}
        h.report_mislink(TOWN, self.theirs[45], self.theirs[46], request_id="report", **report)
        h.report_mislink("nenkin", self.mine[47], **report)

    def locate_some(self) -> None:
        """Facts of holders in every form, rows that name their class, and an alias that is wanted."""
        h, codes = self.h, self.codes
        old, new, last = dt.date(1969, 12, 31), dt.date(2026, 10, 1), dt.date(2027, 3, 31)
        persons = [1, 60, 2, 2, 3, 3, 4, 21, 21]
        where = [TOWN, VILLAGE, TOWN, VILLAGE, TOWN, VILLAGE, TOWN, TOWN, VILLAGE]
        since = [old, old, old, old, new, old, old, old, old]
        until = [None, None, last, None, None, None, old, None, None]
        h.push_holders("jlis", [codes[person] for person in persons], MAYORS, where, since, until, clerk="register")
        # What is open is closed by what begins later.
        until[5] = new - dt.timedelta(1)
        facts = zip(persons, where, since, until, strict=True)
        epoch = dt.date(1970, 1, 1)
        self.told["facts"] = sorted(
            [MAYORS, person, code, (first - epoch).days, None if last is None else (last - epoch).days]
            for person, code, first, last in facts
        )
        # A clerk must answer for the last two: of several holders none is named, and nobody looks like one.
        rows, named = [1, 60, 2, 3, 4, -1, 5, 21, 61], [MAYORS] * 6 + [TOWN] + [MAYORS] * 2
        self.ask("january/class", rows, named, JANUARY + 180, operator="clerk")
        h.ask_alias(("january/class", 1), clerk="clerk")

    def correct_some(self) -> None:
        """Corrections: asked, decided either way, confirmed by one and by all, of a holder's own motion."""
        h, portal = self.h, self.portal
        for person in (3, 5, 7):
            page = h.history(portal[person], institution=TOWN)
            h.ask_correction(portal[person], page.records[0], f"wrong {person}", disclosed=page.disclosure, clerk="p")
        first, second, _ = h.corrections("nenkin")
        h.correct(first.handle, "was wrong", "国民年金部", clerk="clerk")
        h.correct(second.handle, "is right", "国民年金部", clerk="clerk", accepted=False, appeal="appeal there")
        for code in (TOWN, "pm"):
            h.confirm(h.corrections(code)[0].handle, section="税務課", clerk="confirms")
        h.correct(h.handles(TOWN, self.theirs[6])[0][0], "own motion", "税務課")
        made = next(one for one in h.corrections("nenkin") if one.kind == hub.Kind.CORRECTION)
        h.confirm(made.handle, section="国民年金部")

    def release_one(self) -> None:
        """A row that is held since one body a day may be asked, its release, and a key for payloads."""
        h = self.h
        h.load_catalog(golden_catalog((Term(PROCEDURE, providers_per_person_max=1),)))
        self.ask("held", [16, 16, 77, 77], [TOWN, VILLAGE] * 2, JANUARY + 600, operator="clerk")
        # The village knows the second person: a permit leaves.
        for row in (1, 3):
            h.release(("held", row), "moved twice", clerk="another clerk", requester="nenkin")
        h.register_key("nenkin", bytes(self.payload_key.public_key), clerk="clerk")

    def merge_and_split(self) -> None:
        """Two who were one for a while, with flags and facts that were united; one who was told dead by mistake."""
        h, codes, words = self.h, self.codes, {"clerk": "one", "second_clerk": "another", "reason": "a mistake"}
        h.flag("nenkin", np.ascontiguousarray(self.mine[44:45]), hub.Flag.NO_SELF)
        h.merge("jlis", codes[43], codes[44], **words)
        h.merge("jlis", codes[45], codes[43], **words)
        h.split("jlis", codes[45], codes[43], **words)
        h.split("jlis", codes[43], codes[44], **words)
        day = dt.date(2026, 12, 1)
        h.deaths("jlis", codes[46:48], day, clerk="one")
        h.deaths("jlis", codes[46:47], day + dt.timedelta(1), correct=True, clerk="one", second_clerk="another")
        h.alive("jlis", codes[46:48], **words)

    def send_some(self) -> None:
        """Notices in both forms, pushes that wait, were taken, and were not sent, and corrections of both kinds."""
        h, at, told = self.h, JANUARY + 700, self.told
        self.clock[0] = at
        h.load_catalog(golden_catalog((Term(PROCEDURE, providers_per_person_max=1),), own=True))
        h.flag(TOWN, self.theirs[[24]], hub.Flag.NO_SELF, clerk="town clerk")
        unknown = np.frombuffer(golden_bytes("unknown alias", 16), np.uint8)

        def words(request_id: str) -> dict[str, Any]:
            return {"institution": TOWN, "section": "市民課", "request_id": request_id, "operator": "town clerk"}

        notice = hub.Notice(subject="児童手当の現況届", **words("notice/all"))
        text = "提出してください\n期限は六月末"
        sent = {"notice/all": h.notify(notice, np.array([*self.theirs[23:27], unknown]), text)}
        notice = hub.Notice(subject="住民税の決定", **words("notice/each"))
        sent["notice/each"] = h.notify(notice, self.theirs[[25, 24, 30]], ["税額は一円", "税額は二円", b"three"])
        births: dict[str, Any] = {"procedure": "own/1/1", "items": ("出生",), "role": "本人", "event": "出生"}
        # Of the third a clerk must decide; the village may not be sent anything.
        rows = self.theirs[[25, 26, 20, 27]]
        to = ["nenkin", "nenkin", "nenkin", VILLAGE]
        sent["push/1"] = h.push(
            hub.Push(**births, **words("push/1")), rows, to, [self.seal("birth 25"), None, self.seal("birth 20"), b""]
        )
        confirmed = hub.Push(**births, **words("push/2"), confirmed=True)
        sent["push/2"] = h.push(confirmed, self.theirs[[20]], "nenkin", [self.seal("birth 20")])
        taken = [one for some in h.arrived("nenkin") for one in some.number.tolist()]
        h.taken("nenkin", np.array(taken[:2], np.uint64))
        self.clock[0] = at + 60
        # Sealed to the requester's key, as what was provided is.
        update = hub.Update(items=("出生",), reason="日付の誤り", **words("update/1"), confirmed=True)
        payload: dict[str, Any] = {"nenkin": self.seal("birth 25 corrected")}
        sent["update/1"] = h.update(update, self.theirs[[25, 28]], [payload, None])
        update = hub.Update(items=("地方税",), **words("update/2"))
        sent["update/2"] = h.update(update, self.theirs[[0, 1, 2]], [self.seal(f"tax {n}") for n in range(3)])
        # What was taken or not sent is kept nowhere.
        kept = {one.hex() for some in h.arrived("nenkin") for one in some.payloads if one is not None}
        told["sealed"] = {made: text for made, text in told["sealed"].items() if made in kept}
        told["sent"] = {name: receipt.status.tolist() for name, receipt in sent.items()}

    def draw_and_end(self) -> None:
        """Tickets of one body in every state; aliases of it that were replaced, replaced again, and revoked."""
        h, codes = self.h, self.codes
        mine = h.acquire("mhlw", codes[40:44]).aliases
        some, closed, waiting = h.tickets("mhlw", 6), h.tickets("mhlw", 2), h.tickets("mhlw", 3)
        h.deliver("jlis", some[:4].copy(), codes[42:46])
        h.deliver("jlis", closed, codes[46:48])
        h.close_tickets("mhlw", np.concatenate((closed, some[3:4])))
        again = h.reissue("mhlw", mine[:2].copy()).aliases
        h.reissue("mhlw", again[:1].copy())
        h.revoke("mhlw", np.concatenate((again[1:2], mine[2:3])))
        linked, wrong = self.link()
        tickets = np.concatenate((some, closed, waiting, linked))
        acquired = h.acquired("mhlw", tickets)
        status = acquired.status.tolist()
        self.told["tickets"] = {
            ticket: [code, alias]
            for ticket, code, alias in zip(hexes(tickets), status, hexes(acquired.aliases), strict=True)
        }
        ended = [*zip(hexes(mine[:3]), (40, 41, 42), strict=True), *zip(hexes(again), (40, 41), strict=True)]
        self.told["ended"] = [[alias, person] for alias, person in [*ended, (hexes(wrong)[0], 51)]]
        self.told["holders"] = {alias: codes.index(code) for alias, code in self._holders("mhlw", codes[40:53])}

    def link(self) -> tuple[Any, Any]:
        """Tickets that matched, were confirmed, are held, wait to be compared, and replaced an alias; that alias."""
        h, codes = self.h, self.codes
        h.register_key("jlis", bytes(self.payload_key.public_key), clerk="register clerk")
        linked, wrong = h.tickets("mhlw", 5), h.acquire("mhlw", codes[51:52]).aliases
        sealed = [self.seal(f"attributes {row}") for row in range(4)]
        self.told["claimed"] = {made.hex(): self.told["sealed"].pop(made.hex()) for made in sealed}
        h.claim("mhlw", linked[:4].copy(), sealed, clerk="first clerk")
        h.deliver("jlis", linked[:3].copy(), codes[48:51], [0, 1, 10])
        h.confirm_links("mhlw", linked[1:2].copy(), clerk="second clerk", reason="seen in papers")
        h.deliver("jlis", linked[4:].copy(), codes[52:53])
        h.replace_links("mhlw", linked[4:].copy(), wrong, clerk="second clerk", reason="slipped by a row")
        h.require_claims("mhlw", clerk="first clerk")
        return linked, wrong

    def identify_some(self) -> None:
        """Identifiers of both lengths in every state, chains among them, and one that names another person now."""
        h = self.h
        serials = {f"serial-{row}" * (1 + row % 3): 30 + row for row in range(9)}
        names = list(serials)
        h.register_identifiers("serials", "portal", self.portal[30:39].copy(), names, clerk="portal clerk")
        for step in range(2):
            old = [name + "'" * step for name in names[:2]]
            new = [name + "'" * (step + 1) for name in names[:2]]
            h.renew_identifiers("serials", "portal", old, new)
            serials |= {name: serials[before] for before, name in zip(old, new, strict=True)}
        # One chain ends, and two identifiers that were nobody's renewal.
        h.revoke_identifiers("serials", "portal", [names[1] + "''", *names[2:4]])
        h.register_identifiers("serials", "portal", self.portal[50:51].copy(), names[3:4], again=True)
        serials[names[3]] = 50
        asked = [*serials, "never"]
        found = h.identify("nenkin", "serials", asked)
        h.identify(TOWN, "serials", asked)
        h.identify(TOWN, "others", names)
        states = [hub.Identity(one).name for one in found.status.tolist()]
        # Whoever may follow hears REVOKED of a chain that has ended.
        states = ["REPLACED" if asked[at] in (names[1], names[1] + "'") else one for at, one in enumerate(states)]
        told = {name: [one, serials.get(name)] for name, one in zip(asked, states, strict=True)}
        day = dt.datetime.fromtimestamp(self.clock[0], dt.timezone(dt.timedelta(hours=9))).date()
        numbers = {"serials": (1 << 23) + 1, "others": (1 << 23) + 2}
        counts = [
            [
                (day - dt.date(1970, 1, 1)).days, one.institution, numbers[one.namespace],
                [one.rows.get(status.name, 0) for status in hub.Identity],
            ]
            for one in h.identified(day)
        ]  # fmt: skip
        self.told["identified"] = {"serials": told, "counts": counts}

    def act_for_some(self) -> None:
        """Proxies in force, unconfirmed, changed, viewed, and ended by either."""
        h, portal = self.h, self.portal
        pairs = ((5, 6), (5, 7), (6, 5), (8, 5), (9, 5))
        for person, agent in pairs:
            kind, until = hub.ProxyKind.VOLUNTARY, None
            if agent == 7:
                kind, until = hub.ProxyKind.STATUTORY, dt.date(2030, 4, 2)
            h.grant_proxy(
                portal[person], portal[agent], kind, label=f"label {agent}", called=f"called {person}", until=until,
                clerk="portal clerk",
            )  # fmt: skip
        acting = {one.label: one.handle for one in h.principals(portal[5])}
        for _ in range(2):
            h.proxy_history(portal[5], acting["called 8"])
            self.clock[0] += 600
        h.proxy_history(portal[5], acting["called 8"])
        h.question_proxies(portal[6])
        h.question_proxies(portal[5])
        h.confirm_proxies(portal[5])
        h.revoke_proxy(portal[5], acting["called 9"])
        own = h.grant_proxy(
            portal[5], portal[6], hub.ProxyKind.VOLUNTARY, label="label 6", called="called 5", until=dt.date(2031, 1, 1)
        )
        h.revoke_proxy(portal[5], h.proxies(portal[5])[1].handle, clerk="portal clerk")
        theirs = {one.label: one.handle.hex() for agent in (5, 6) for one in h.principals(portal[agent])}
        with h._store.snapshot() as snapshot:
            hidden = h._proxies._of_principal(snapshot, 6)
            theirs |= {one.inside.called: h._proxies._handle(one, 1 << 63).hex() for one in hidden}
        self.told["proxies"] = sorted(
            [
                person, agent, int(one.kind), int(one.state), one.until.toordinal() if one.until else 0, one.label,
                f"called {person}", one.handle.hex(), theirs[f"called {person}"],
            ]
            for person, agent in pairs
            for one in h.proxies(portal[person])
            if one.label == f"label {agent}"
        )  # fmt: skip
        assert own.hex() in {line[7] for line in self.told["proxies"]}

    def consent_some(self) -> None:
        """Consents withdrawn, given again, of one body and of two; of two who were one for a while, before and behind
        it, and of two who are one."""
        h, portal, told = self.h, self.portal, self.told
        h.load_catalog(golden_catalog((Term(PROCEDURE, providers_per_person_max=1),), own=True, ordinance=True))
        words = {"clerk": "one", "second_clerk": "another", "reason": "a mistake"}
        h.withdraw_consent(portal[3], TOWN, BY_ORDINANCE, clerk="portal clerk")
        for institution in (TOWN, VILLAGE):
            h.withdraw_consent(portal[5], institution, BY_ORDINANCE)
        self.clock[0] += 60
        h.give_consent(portal[5], TOWN, BY_ORDINANCE)
        h.withdraw_consent(portal[62], TOWN, BY_ORDINANCE)
        h.merge("jlis", self.codes[63], self.codes[62], **words)
        self.clock[0] += 60
        h.withdraw_consent(portal[63], VILLAGE, BY_ORDINANCE)
        h.give_consent(portal[63], TOWN, BY_ORDINANCE)
        h.split("jlis", self.codes[63], self.codes[62], **words)
        told["consents"] = [
            [person, one.institution, one.procedure, one.withdrawn, int(one.at.timestamp())]
            for person, alias in enumerate(portal)
            for one in sorted(h.consents(alias), key=lambda one: one.institution)
        ]  # fmt: skip

    def _holders(self, institution: str, codes: list[str]) -> list[tuple[str, str]]:
        """Who has an alias of these persons, and which; nobody gets one."""
        number = self.h.catalog.institution(institution).number
        with self.h._store.snapshot() as snapshot:
            persons = np.array([self.codes.index(code) for code in codes], np.uint32)
            aliases, status = find_aliases(snapshot, number, persons, self.h._workers)
        return [(alias, code) for alias, code, none in zip(hexes(aliases), codes, status, strict=True) if not none]

    def fill_december(self) -> None:
        """Small inquiries of three days: keys all in the index, in part, and none."""
        self.villagers = self.h.acquire(VILLAGE, [self.codes[person] for person in VILLAGERS]).aliases
        self.told["village"] = dict(zip(hexes(self.villagers), VILLAGERS, strict=True))
        self.ask("december/1", list(range(PERSONS)), [TOWN] * PERSONS, DECEMBER)
        self.ask("december/2", list(range(20, PERSONS)), [VILLAGE] * 60, DECEMBER + 60)
        together = {"alone": [1], "together/1": [1, 2], "together/2": [2, -1], "together/3": [60]}
        self.ask_together(together, DECEMBER + 86_400)

    # -- the exchange

    def permits_of(self, institution: str, persons: Iterable[int]) -> Any:
        """Numbers of the permits that wait for an institution and are about these persons: uint64[N]."""
        aliases = {
            alias: person
            for mine, known in ((self.theirs, range(KNOWN_IN_TOWN)), (self.villagers, VILLAGERS))
            for alias, person in zip(hexes(mine), known, strict=True)
        }
        wanted = set(persons)
        return np.array(
            [
                number
                for some in self.h.collect(institution)
                for alias, number in zip(hexes(some.aliases), some.permit.tolist(), strict=True)
                if aliases[alias] in wanted
            ],
            dtype=np.uint64,
        )

    def answer(
        self, institution: str, persons: Iterable[int], status: hub.Status, *, reason: int = 0,
        payloads: list[bytes | None] | None = None, clerk: str | None = None,
    ) -> None:  # fmt: skip
        """Answer what waits about these persons, all alike; payloads are taken in turn."""
        permits = self.permits_of(institution, persons)
        if not len(permits):
            raise AssertionError("nothing waits")
        given = payloads and [payloads[row % len(payloads)] for row in range(len(permits))]
        reasons = np.full(len(permits), reason, np.uint8) if reason else None
        self.h.provide(institution, permits, status, given, reasons=reasons, clerk=clerk)

    def seal(self, text: str) -> bytes:
        """An envelope to the requester's key, whose sender's key and so whose bytes are fixed."""
        to, sender = self.payload_key.public_key, PrivateKey(golden_bytes(f"sender/{text}", 32))
        nonce = hashlib.blake2b(bytes(sender.public_key) + bytes(to), digest_size=24).digest()
        boxed = bytes(Box(sender, PublicKey(bytes(to))).encrypt(text.encode(), nonce).ciphertext)
        made = MAGIC + key_fingerprint(bytes(to)) + bytes(sender.public_key) + boxed
        self.told["sealed"][made.hex()] = text
        return made

    def answer_december(self) -> None:
        """What was never answered lapses; then every answer, before and after its permit came into a segment."""
        h, status = self.h, hub.Status
        self.clock[0] = DECEMBER + 2 * 86_400
        h.lapse()
        self.answer(VILLAGE, [70, 71], status.PROVIDED, payloads=[b"village", b"\0" * 20])
        h._delivery.deliver()
        many = self.permits_of(TOWN, range(18))
        cycle = [status.PROVIDED, status.PROVIDED, status.EMPTY, status.PROVIDED, status.NO_RECORD]
        outcomes = np.array([cycle[row % 5] for row in range(len(many))], np.uint8)
        payloads = [b"payload %d" % row if row % 5 in (0, 1) else None for row in range(len(many))]
        h.provide(TOWN, many, outcomes, payloads)
        reasons = (hub.Reason.IDENTITY_IN_DOUBT, hub.Reason.UNDER_CORRECTION, hub.Reason.LINKAGE_SUSPENDED)
        for person, reason in enumerate(reasons, 18):
            self.answer(TOWN, [person], status.REFUSED, reason=reason, clerk="town clerk")
        self.answer(TOWN, [21, 22, 23], status.MANUAL)
        # One a clerk answers, one nobody: it lapses.
        self.answer(TOWN, [21], status.EMPTY, clerk="town clerk")
        self.answer(TOWN, [22], status.PROVIDED, payloads=[b""], clerk="town clerk")
        h._delivery.deliver()
        self.answer(VILLAGE, [72], status.NO_RECORD)
        self.clock[0] += ANSWERS_EVERY_S
        # All of a chunk's payloads, and some of another's.
        self.told["fetched"] = ["december/2", "together/1"]
        for request_id in self.told["fetched"]:
            h.fetched("nenkin", request_id)

    def answer_january(self) -> None:
        """December's rest lapses; answers at once and late, about withheld, flagged and released rows.

        A delivery is left under way: the town's inbox has what the village's does not have yet.
        """
        h, status = self.h, hub.Status
        # The day after, so that permits in one segment lapse on different days.
        at = JANUARY + 86_400
        self.ask("prompt", [*range(30, 35), 75, 76], [TOWN] * 5 + [VILLAGE] * 2, at)
        h.lapse()
        h._delivery.deliver()
        self.clock[0] = at + 1
        self.answer(TOWN, [30, 31], status.PROVIDED, payloads=[self.seal("one"), self.seal("two")])
        self.answer(VILLAGE, [75], status.EMPTY)
        self.answer(TOWN, [33], status.MANUAL)
        # As soon as a machine would, and yet it leaves later.
        self.answer(TOWN, [33], status.EMPTY, clerk="town clerk")
        self.clock[0] = at + 20
        self.answer(VILLAGE, [77], status.PROVIDED, payloads=[self.seal("released")])
        self.answer(TOWN, [5, 15, 1], status.PROVIDED, payloads=[self.seal(f"late {row}") for row in range(4)])
        # Of whom a clerk must decide, a machine's answers are put aside.
        self.answer(TOWN, [20, 21], status.EMPTY)
        self.answer(TOWN, [20], status.NO_RECORD, clerk="town clerk")
        self.answer(TOWN, [3, 32], status.MANUAL)
        self.ask("last", [40, 41, 42, 70, 71], [TOWN] * 3 + [VILLAGE] * 2, at + 60)
        village = h.catalog.institution(VILLAGE).number
        for _ in range(STEPS_MAX):
            h._delivery._deliverer.step()
            mark = read_mark_of(h)
            if mark is not None and (mark.end, mark.provider) == (h.stats()["records"], village):
                break
        else:
            raise AssertionError("no delivery was left under way")
        # Behind what is delivered: ends of permits in segments, and of such that are in none.
        self.answer(TOWN, [6, 40], status.PROVIDED, payloads=[None, self.seal("last")])
        self.answer(VILLAGE, [70, 76], status.NO_RECORD)
        self.clock[0] = at + ANSWERS_EVERY_S
        self.answer(TOWN, [7], status.REFUSED, reason=hub.Reason.UNDER_CORRECTION, clerk="town clerk")
        self.clock[0] += 10
        self.answer(TOWN, [41], status.EMPTY)

    def tell_exchange(self) -> None:
        """How every request stands that is still known, and what waits for the providers."""
        told, h = self.told, self.h
        told["now"], told["private_key"] = self.clock[0], bytes(self.payload_key).hex()
        told["answered"] = {}
        for request_id in told["answers"]:
            try:
                answers = h.answers("nenkin", request_id)
            except RequestError:
                continue
            told["answered"][request_id] = {
                "status": answers.status.tolist(), "reason": answers.reason.tolist(),
                "payloads": [None if one is None else one.hex() for one in answers.payloads],
                "complete": answers.complete,
            }  # fmt: skip
        told["arrived"] = [
            [number, bytes(alias).hex(), int(some.about.kind), some.about.sender, some.about.event,
             None if payload is None else payload.hex(), None if handle is None else handle.hex()]
            for some in h.arrived("nenkin")
            for number, alias, payload, handle in zip(
                some.number.tolist(), some.aliases, some.payloads, some.corrects, strict=True
            )
        ]  # fmt: skip
        told["collected"] = {
            institution: [
                {
                    "inquiry": msgspec.to_builtins(some.inquiry), "aliases": hexes(some.aliases),
                    "permits": some.permit.tolist(), "manual": some.manual.tolist(), "asked": some.asked.tolist(),
                    "valid_until": some.valid_until, "cursor": some.cursor,
                }
                for some in h.collect(institution)
            ]
            for institution in (TOWN, VILLAGE)
        }  # fmt: skip


def read_mark_of(h: hub.Hub) -> hub.provision.deliver.Mark | None:
    with h._store.snapshot() as snapshot:
        return hub.provision.deliver.read_mark(snapshot)


def runs_of(h: hub.Hub, name: str) -> list[hub.runs.index.Run]:
    year, quarter = name.split("Q")
    with h._store.snapshot() as snapshot:
        return hub.runs.index.read_runs(snapshot, 4 * int(year) + int(quarter) - 1)


def tell(h: hub.Hub, told: dict[str, Any], portal: Any) -> None:
    """Everything that the hub says of its records: histories, a cursor, checkpoints."""
    told["origin"], told["verifier_key"], told["checkpoint"] = ORIGIN, h.verifier_key, h.checkpoint()
    told["checkpoints"] = [[None if at is None else int(at.timestamp()), note] for at, note in h.checkpoints()]
    told["catalog"] = h.catalog.digest
    told["disclosure_keys"] = [h.disclosure_key(alias).hex() for alias in portal]
    histories = [[describe(record) for record in h.history(alias, limit=1_000).records] for alias in portal]
    # Of most only a digest: the second reader arrives at the same lines.
    told["histories"] = {str(person): histories[person] for person in (3, 5, 8)}
    told["history_digests"] = [hashlib.sha256(canonical(lines)).hexdigest() for lines in histories]
    found = {person: h.notices(alias) for person, alias in enumerate(portal)}
    told["notices"] = {
        str(person): [
            [record.provider, record.items[0], text]
            for record, text in zip(notices.records, notices.texts, strict=True)
        ]
        for person, notices in found.items()
        if len(notices.records)
    }
    told["events"] = [
        [
            event.number, event.index, int(event.at.timestamp()), int(event.kind), event.institution, event.clerk,
            event.second_clerk, event.ground, event.until.toordinal() if event.until else 0, event.side,
            event.protection, event.withheld, None if event.alias is None else event.alias.hex(), event.flags,
            None if event.other is None else event.other.hex(),
        ]
        for event in h.events(limit=1_000)
    ]  # fmt: skip
    held = {hold.number: h.held(hold.number) for hold in h.holds() if hold.state == HoldState.IN_FORCE}
    told["held"] = {
        str(number): [[*describe(one.record)[:-2], one.operator, one.case] for one in records]
        for number, records in held.items()
    }
    told["holds"] = [
        [
            hold.number, hold.until, hold.inquiry.hex(), hold.requester, hold.since, hold.before, int(hold.state),
            hold.copied, [[event.time, event.what, event.by, event.ground] for event in hold.events],
        ]
        for hold in h.holds()
    ]  # fmt: skip
    report = h.verify()
    if not report.ok:
        raise AssertionError(report.problems)
    page = h.history(portal[5], limit=1)
    told["cursor"] = {"person": 5, "behind": page.records[0].index, "text": page.cursor}


def describe(record: hub.Record) -> list[Any]:
    return [
        record.index, int(record.kind), int(record.requested_at.timestamp()),
        None if record.provided_at is None else int(record.provided_at.timestamp()), record.requester,
        record.on_behalf_of, record.provider, record.procedure, list(record.items), record.role, record.section,
        record.legal_basis, int(record.outcome), record.inquiry,
        record.link, record.remark,
    ]  # fmt: skip


def canonical(lines: list[list[Any]]) -> bytes:
    return json.dumps(lines, ensure_ascii=False, separators=(",", ":")).encode()


def hexes(aliases: Any) -> list[str]:
    return [alias.tobytes().hex() for alias in aliases]


def cut_off(h: hub.Hub, call: Callable[[], object]) -> None:
    """Let a call die in the first commit in which the second window of the first table would be written.

    Its first three commits stand: what was decided, the split into windows, one window.
    """
    before = h.stats()["commits"]
    keep = h._store.at_commit
    assert keep is not None

    def keep_or_stop(commit: Commit) -> None:
        if commit.state.commit == before + 4:
            raise Stopped
        keep(commit)

    h._store.at_commit = keep_or_stop
    try:
        call()
    except Stopped:
        return
    raise AssertionError("the acquisition was not cut off")


def read_databases(env: Path) -> dict[str, list[tuple[bytes, bytes]]]:
    """Every database that there is, with all its keys and values."""
    with lmdb.open(str(env), readonly=True, lock=False, max_dbs=256, lib_version=0) as opened:
        with opened.begin() as txn:
            names = [key.decode() for key in txn.cursor().iternext(values=False)]
        databases = {name: opened.open_db(name.encode(), create=False) for name in names}
        with opened.begin() as txn:
            return {name: [(bytes(k), bytes(v)) for k, v in txn.cursor(db=db)] for name, db in databases.items()}


def write_lines(path: Path, values: Iterator[tuple[str, bytes]]) -> None:
    path.write_text("".join(f"{key} {pack(value)}\n" for key, value in values), encoding="utf-8")


def pack(value: bytes) -> str:
    """Hex, in which ``.n.`` stands for n bytes of zeros."""
    return re.sub(rb"\0{8,}|[^\0]+|\0{1,7}", _pack_part, value).decode()


def _pack_part(match: re.Match[bytes]) -> bytes:
    part = match[0]
    return b".%d." % len(part) if len(part) > 7 and not any(part) else part.hex().encode()


if __name__ == "__main__":
    golden = Path(sys.argv[1]) if len(sys.argv) > 1 else REPOSITORY / "tests" / "data" / "store"
    os.makedirs(golden, exist_ok=True)
    if any(golden.iterdir()):
        sys.exit(f"{golden}: expected an empty folder; remove the old files first")
    write_golden(golden)
