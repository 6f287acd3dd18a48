"""Write the golden files of a folder's stored formats: ``python tools/make_golden_store.py [FOLDER]``.

A small folder is made through the public interface and left interrupted in every way that is stored: an
acquisition half in the tables, runs merged and a merge under way, blocks that are nobody's. Keys, clock and
random bytes are fixed, so the same bytes come out on every machine (but for the deflated part of ``catalogs``,
where a machine's zlib may choose others). ``tests/test_golden.py`` compares them with ``tests/data/store``, and
``tests/second_reader.py`` reads them from the byte tables alone. Run it again only when a format was changed on
purpose, under a new version.

| file | what |
|---|---|
| ``<database>.txt`` | every database of the environment, whatever there is: a line a value, ``key value`` |
| ``keys.txt`` ``files.txt`` | the same of the key files, and of ``head`` and ``exported`` |
| ``told.json`` | what the hub told about it: aliases, answers, histories, checkpoints |

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
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any
from unittest import mock

import lmdb
import numpy as np

import hub
import hub.acquire
import hub.additions
import hub.hub
import hub.merger
import hub.rundue
import hub.runmerge
import hub.runs
from hub.catalog import Catalog
from hub.catalog.classes import ClassLine
from hub.catalog.institutions import Institution
from hub.catalog.law import Row, Rule
from hub.catalog.standing import Assessment, Delegation
from hub.catalog.tables import Tables
from hub.keys import NAMES as KEY_NAMES
from hub.runmerge import merge_once
from hub.snapshot import Commit

REPOSITORY = Path(__file__).parents[1]

SEPTEMBER, DECEMBER, JANUARY = (
    int(dt.datetime(*day, 9, 30, tzinfo=dt.UTC).timestamp()) for day in ((2026, 9, 29), (2026, 12, 20), (2027, 1, 12))
)
PERIODS = ("2026Q3", "2026Q4", "2027Q1")
ORIGIN = "golden.example/log"
PROCEDURE = "19-8/73/75.3"
TOWN, VILLAGE = "131016", "011002"

PERSONS, KNOWN_IN_TOWN = 80, 50
STEPS_MAX = 50

SMALL: dict[Any, dict[str, object]] = {
    hub.rundue: {"BLOCK_BYTES": 1024},
    hub.runmerge: {"BLOCK_BYTES": 1024, "INLINE_BYTES_MAX": 128},
    hub.runs: {"INLINE_BYTES_MAX": 128, "TIER0_BLOCK_ROWS": 100},
    # The thread that merges has its first step when this is over: here the tool does the steps, one by one.
    hub.merger: {"DELAY_S": 86_400.0},
}
"""Sizes that are stored with what they shape, or shape nothing stored: small, so that few records show all forms."""

SMALL_ADDITION: dict[Any, dict[str, object]] = {
    hub.additions: {"COMMIT_BYTES_MAX": 8_192, "ROWS_PER_PART": 16},
    hub.acquire: {"FEW_ALIASES": 16},
}
"""Likewise: an acquisition of some persons takes several transactions and draws its aliases from a seed."""


class Stopped(Exception):
    """The acquisition is cut off here, as by a crash."""


def golden_bytes(name: str, size: int) -> bytes:
    """Bytes that look random and come from a name."""
    return hashlib.shake_256(b"hub/golden/" + name.encode()).digest(size)


def random_source() -> Callable[[int], bytes]:
    """What stands in for the system's random source."""
    calls = iter(range(1 << 20))
    return lambda size: golden_bytes(f"random/{next(calls)}", size)


def golden_catalog() -> Catalog:
    """One procedure and five bodies: the shipped law may change without the bytes here."""
    bodies = (("nenkin", "body", ""), ("mhlw", "national", ""), ("portal", "system", ""))
    cities = ((TOWN, "city", "東京都"), (VILLAGE, "city", "北海道"))
    rule = Rule(
        rule=1, basis="19-8", row="73", article="75", number="3", sub="", procedure=PROCEDURE, label="golden",
        requester="厚生労働大臣", provider="市町村長", kind="地方税", detail="市町村民税", roles=("納付義務者",),
        valid_from=dt.date(2020, 1, 1), valid_to=None,
    )  # fmt: skip
    return Catalog(
        Tables(
            origin="golden",
            rows=(Row("19-8", "73", "75", "厚生労働大臣", "国民年金法", "golden", False, (("市町村長", "地方税"),)),),
            rules=(rule,),
            institutions=tuple(
                Institution(number=number, code=code, kind=kind, prefecture=prefecture, name=prefecture + code, kana="")
                for number, (code, kind, prefecture) in enumerate(bodies + cities, 1)
            ),
            classes=(ClassLine("厚生労働大臣", ("code:mhlw",), ""), ClassLine("市町村長", ("kind:city",), "")),
            members=(),
            narrowings=(),
            delegations=(
                Delegation(
                    "nenkin", "厚生労働大臣", "国民年金法", "109条の4", ("19-8/73",), "requester", dt.date(2010, 1, 1),
                    None,
                ),
            ),
            assessments=(Assessment("*", "*", "both", dt.date(2015, 10, 5)),),
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
    clock = [SEPTEMBER]
    codes = [f"{10**10 + 37 * n:011}" for n in range(PERSONS)]
    told: dict[str, Any] = {"codes": codes, "answers": {}}
    with hub.open(folder, create=True, threads=1, clock=lambda: clock[0], origin=ORIGIN) as h:
        mine = h.acquire("nenkin", codes).aliases
        theirs = h.acquire(TOWN, codes[:KNOWN_IN_TOWN]).aliases
        portal = h.acquire("portal", codes).aliases
        told["aliases"] = {"nenkin": hexes(mine), TOWN: hexes(theirs), "portal": hexes(portal)}

        def ask(request_id: str, rows: list[int], providers: list[str], at: int, **more: Any) -> None:
            clock[0] = at
            inquiry = hub.Inquiry(
                requester="nenkin", procedure=PROCEDURE, items=("市町村民税",), role="納付義務者",
                section="国民年金部", request_id=request_id, operator=more.pop("operator", None),
                reference_date=more.pop("reference_date", None),
            )  # fmt: skip
            unknown = np.frombuffer(golden_bytes("unknown alias", 16), np.uint8)
            aliases = np.array([unknown if row < 0 else mine[row] for row in rows]).reshape(-1, 16)
            answer = h.inquire(inquiry, aliases, providers, **more)
            told["answers"][request_id] = {
                "received_at": answer.receipt.received_at, "aliases": hexes(aliases), "providers": providers,
                "status": answer.status.tolist(), "rule": answer.rule.tolist(), "reason": answer.reason.tolist(),
            }  # fmt: skip

        every = [row * 7 % PERSONS for row in range(260)]
        towns = [TOWN if row % 5 else VILLAGE for row in range(260)]
        # The portal is no municipality: the law denies this row. One alias is nobody's.
        cases = [None if row % 50 else f"case-{row}" for row in range(262)]
        day = dt.date(2026, 1, 1)
        ask(
            "whole", [*every, 3, -1], [*towns, "portal", TOWN], SEPTEMBER,
            operator="clerk", cases=cases, reference_date=day,
        )  # fmt: skip
        ask("all", list(range(PERSONS)), [TOWN] * PERSONS, SEPTEMBER + 90)
        ask("again", [5, 5, *range(20, PERSONS)], [TOWN] * 62, SEPTEMBER + 3_700)
        h.export_tiles(folder.with_name("tiles"))
        ask("december/1", list(range(PERSONS)), [TOWN] * PERSONS, DECEMBER)
        ask("december/2", list(range(20, PERSONS)), [VILLAGE] * 60, DECEMBER + 60)
        # The autumn's quarter is over: its runs become one, and their blocks are nobody's.
        for _ in range(STEPS_MAX):
            if len(runs_of(h, "2026Q3")) == 1:
                break
            merge_once(h._store, bytes_max=1)
        h.begin_file("nenkin", "file", golden_bytes("file", 32), 300)
        h.end_file("nenkin", "file", 262)
        h.begin_file("nenkin", "other file", golden_bytes("other file", 32), 400)
        ask("january", [5, 6, 7], [TOWN] * 3, JANUARY)
        # The next one's merge has begun.
        merge_once(h._store, bytes_max=1)
        tell(h, told, portal)
        with changed(SMALL_ADDITION):
            cut_off(h, lambda: h.acquire(VILLAGE, [*codes[7:33:2], *(f"{2 * 10**10 + n:011}" for n in range(40))]))
    return told


def runs_of(h: hub.Hub, name: str) -> list[hub.runs.Run]:
    year, quarter = name.split("Q")
    with h._store.snapshot() as snapshot:
        return hub.runs.read_runs(snapshot, 4 * int(year) + int(quarter) - 1)


def tell(h: hub.Hub, told: dict[str, Any], portal: Any) -> None:
    """Everything that the hub says of its records: histories, a cursor, checkpoints."""
    told["origin"], told["verifier_key"], told["checkpoint"] = ORIGIN, h.verifier_key, h.checkpoint()
    told["checkpoints"] = [[None if at is None else int(at.timestamp()), note] for at, note in h.checkpoints()]
    told["catalog"] = h.catalog.digest
    told["disclosure_keys"] = [h.disclosure_key(alias).hex() for alias in portal]
    histories = [[describe(record) for record in h.history(alias, limit=1_000).records] for alias in portal]
    # Of most only a digest: the second reader arrives at the same lines.
    told["histories"] = {str(person): histories[person] for person in (3, 5)}
    told["history_digests"] = [hashlib.sha256(canonical(lines)).hexdigest() for lines in histories]
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
