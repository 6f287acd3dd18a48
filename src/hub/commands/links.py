"""``hub claim``, ``compare-links``, ``confirm-links``, ``replace-links``, ``detect-mislinks``: wrong links kept out."""

from __future__ import annotations

import argparse
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

import hub
from hub.commands.acquire import STATUS_NAMES, check_result, report_rejected
from hub.commands.opening import open_hub
from hub.commands.options import add_folder, print_table, take_folder
from hub.commands.progress import Progress, Stopping, add_progress
from hub.errors import RequestError
from hub.files.columns import Choices
from hub.files.inquiries import UNREGISTERED, AliasPart, Rejected, RejectedWriter, read_aliases, read_delivery
from hub.files.people import PeoplePart, read_claims, read_linked, read_register
from hub.files.tables import ENCODINGS, TableWriter
from hub.limits import LINKS_PER_CALL_MAX
from hub.messages import Acquired, Acquisition, Differs
from hub.mislinks.attributes import People
from hub.mislinks.detectors import Findings, Mislink, find_doubles, find_mislinks
from hub.mislinks.register import compare_claims
from hub.protection.withholding import REGISTER
from hub.provision.payloads import KEY_BYTES

CLAIM_ROWS = 16_384
"""Rows of a part of claims: sealing takes a tenth of a millisecond each."""

CLAIM_EPILOG = """\
CLAIMS.csv has the columns ticket,name,kana,address,sex,birth (kana may be missing): what the
institution's own file says of the person whom each ticket is for. It is sealed to the register
body's key before the hub gets it. The command may be given again.

Example:
  hub claim linkage 131016 claims.csv --clerk sato

Exit status: 0 done; 1 done, some lines rejected; 2 wrong request; 3 disk; 130 Ctrl-C.
"""

COMPARE_EPILOG = """\
For the register body. DELIVERY.csv has the columns ticket,code as of "hub deliver"; REGISTER.csv
code,name,kana,address,sex,birth; KEY_FILE is the private key ("hub key new"). What each ticket's
institution claimed is compared with the register's entry of the code, and all tickets are
delivered: where something differs the institution's alias is held until its second clerk confirms
it. Codes that are not in the register are not delivered. The result has a line for each row that
differs: row,differs,finding,offset, and no attribute of anybody. The command may be given again.

Example:
  hub compare-links linkage delivery.csv register.csv jlis.key --out findings.csv

Exit status: 0 all match; 1 something differs or was rejected; 2 wrong request; 3 disk; 130 Ctrl-C.
"""

CONFIRM_EPILOG = """\
TICKETS.csv has the column ticket. The clerk is another than the one who claimed; the persons read
the reason. The result has the columns row,alias,status. What is not confirmed is dropped with
"hub acquired --close".

Example:
  hub confirm-links linkage 131016 held.csv --clerk suzuki --reason 転居前の住所 --out aliases.csv

Exit status: 0 done; 1 done, some lines rejected; 2 wrong request, nothing changed; 3 disk.
"""

REPLACE_EPILOG = f"""\
LINKS.csv has the columns ticket,alias: a ticket that was delivered for the person whom the file is
about, and the alias that stands on it, of somebody else. The old alias stops in the commit in which
the right one is handed over, {LINKS_PER_CALL_MAX:,} rows a commit; with --keep-old it goes on, for people
who are rightly known by another file. The result has the columns row,alias,status.

Example:
  hub replace-links linkage 131016 links.csv --clerk suzuki --reason 行ずれ --out aliases.csv

Exit status: 0 done; 1 done, lines rejected, or tickets that wait or are held; 2 wrong request; 3 disk.
"""

DETECT_EPILOG = """\
LINKED.csv has the institution's own attributes name,kana,address,sex,birth and those that the
register has of the persons it is linked with, registered_name, registered_kana and so on, in the
order of the institution's file; where wanted id and alias. No hub is needed. The result has a line
for each row that looks wrong: row,differs,finding,offset,other, and no attribute of anybody:
  SHIFTED    rows that slipped against each other by offset      ELSEWHERE  the person of row other
  HOUSEHOLD  another of the same household, row other            SAME_NAME  name and birth date only
  NAME_ALONE the name only      OTHER      TWO_ALIASES, TWO_IDS  an id or alias that stands twice

Example:
  hub detect-mislinks linked.csv --out findings.csv

Exit status: 0 nothing found; 1 something found or rejected; 2 wrong request; 130 Ctrl-C.
"""

REQUIRE_EPILOG = """\
Example:
  hub require-claims linkage 131016 on --clerk sato

Exit status: 0 done; 2 wrong request; 3 disk.
"""


def add_commands(commands: Any) -> None:
    """Add the commands."""
    told = "say what an institution's file has of its tickets' people"
    parser = _add(commands, "claim", told, CLAIM_EPILOG, ("INSTITUTION", "CLAIMS.csv"), run_claim)
    parser.add_argument("--clerk", required=True, metavar="NAME", help="who took it from the file")

    told = "the register body's part: compare claims and deliver"
    words = ("DELIVERY.csv", "REGISTER.csv", "KEY_FILE")
    parser = _add(commands, "compare-links", told, COMPARE_EPILOG, words, run_compare)
    _add_out(parser)

    for name, told, epilog, file, run in (
        ("confirm-links", "a second clerk confirms tickets that are held", CONFIRM_EPILOG, "TICKETS.csv", run_confirm),
        ("replace-links", "put right aliases in the place of wrong ones", REPLACE_EPILOG, "LINKS.csv", run_replace),
    ):
        parser = _add(commands, name, told, epilog, ("INSTITUTION", file), run)
        parser.add_argument("--clerk", required=True, metavar="NAME", help="who decides")
        parser.add_argument("--reason", required=True, metavar="TEXT", help="why; the people concerned read it")
        if name == "replace-links":
            parser.add_argument("--keep-old", action="store_true", help="the old aliases stand rightly on other files")
        _add_out(parser)

    told = "find wrong links in a file"
    parser = commands.add_parser("detect-mislinks", help=told, epilog=DETECT_EPILOG)
    parser.description = "Find wrong links in an institution's file that has the register's attributes beside its own."
    parser.add_argument("file", metavar="LINKED.csv")
    parser.add_argument("--encoding", choices=ENCODINGS, default="auto", help="of LINKED.csv (default: auto)")
    _add_out(parser)
    add_progress(parser)
    parser.set_defaults(run=run_detect)

    told = "whether tickets need attributes to be delivered"
    parser = commands.add_parser("require-claims", help=told, epilog=REQUIRE_EPILOG)
    parser.description = "Say whether an institution's tickets are delivered only with attributes that were compared."
    add_folder(parser, "INSTITUTION", "on|off")
    parser.add_argument("--clerk", required=True, metavar="NAME", help="who decides, for auditors")
    parser.set_defaults(run=run_require)


def _add(
    commands: Any, name: str, told: str, epilog: str, words: tuple[str, ...], run: Any
) -> argparse.ArgumentParser:
    parser: argparse.ArgumentParser = commands.add_parser(name, help=told, epilog=epilog)
    parser.description = told[0].upper() + told[1:] + "."
    add_folder(parser, *words)
    parser.add_argument("--encoding", choices=ENCODINGS, default="auto", help="of the files (default: auto)")
    add_progress(parser)
    parser.set_defaults(run=run)
    return parser


def _add_out(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--out", required=True, metavar="FILE", help="the result (.csv, .parquet, .arrow)")


def run_claim(arguments: argparse.Namespace) -> int:
    """Seal and claim a file in parts; each is durable before the next is read."""
    folder, (institution, source) = take_folder(arguments)
    claims = read_claims(source, encoding=arguments.encoding, rows=CLAIM_ROWS)
    done = 0
    with open_hub(arguments, folder) as h, _reading(arguments, claims, source, source) as (rejected, parts):
        key = h.payload_key(REGISTER)
        if key is None:
            raise RequestError("claim: expected a register body that has registered a key, got one that has not")
        for part in parts:
            sealed = [one.seal(key) for one in part.people.attributes()]
            done += h.claim(institution, part.keys, sealed, clerk=arguments.clerk).rows
    print(f"{done:,} tickets of {institution} claimed")
    return report_rejected(rejected)


def run_compare(arguments: argparse.Namespace) -> int:
    """Compare a delivery's claims with the register, deliver it, and say what was found."""
    folder, (source, register_file, key_file) = take_folder(arguments)
    delivery = read_delivery(source, encoding=arguments.encoding)
    check_result(source, arguments.out)
    private_key = _read_private_key(key_file)
    found: list[tuple[npt.NDArray[np.int64], Findings]] = []
    delivered = held = 0
    with open_hub(arguments, folder) as h, _reading(arguments, delivery, source, arguments.out) as (rejected, parts):
        for part in parts:
            assert part.codes is not None
            codes, register = _read_register(register_file, part.codes, arguments.encoding)
            claims = h.claims(REGISTER, part.aliases)
            compared = compare_claims(private_key, claims.sealed, part.codes, codes, register)
            at = np.flatnonzero(compared.known)
            compare = compared.differs[at] if compared.claimed[at].any() else None
            h.deliver(REGISTER, np.ascontiguousarray(part.aliases[at]), part.codes[at], compare)
            unknown = part.row[~compared.known] + 1
            rejected.write(Rejected(unknown, np.full(len(unknown), UNREGISTERED, np.uint8)))
            delivered, held = delivered + len(at), held + int(np.count_nonzero(compared.differs[at]))
            found.append((part.row[compared.rows], find_mislinks(compared.own, compared.registered)))
    _write_findings(arguments.out, found, other=False)
    print(f"{delivered:,} tickets delivered, {held:,} of them held")
    return max(report_rejected(rejected), int(held > 0))


def run_confirm(arguments: argparse.Namespace) -> int:
    """Confirm a file's tickets in parts; each is durable before the next is read."""
    folder, (institution, source) = take_folder(arguments)
    tickets = read_aliases(source, "ticket", encoding=arguments.encoding, rows=LINKS_PER_CALL_MAX)

    def confirm(h: hub.Hub, part: AliasPart) -> Acquired:
        return h.confirm_links(institution, part.aliases, clerk=arguments.clerk, reason=arguments.reason)

    return _write_aliases(arguments, folder, tickets, source, confirm)


def run_replace(arguments: argparse.Namespace) -> int:
    """Replace a file's aliases in parts; each is durable before the next is read."""
    folder, (institution, source) = take_folder(arguments)
    tickets = read_aliases(source, "ticket", encoding=arguments.encoding, rows=LINKS_PER_CALL_MAX, beside="alias")

    def replace(h: hub.Hub, part: AliasPart) -> Acquired:
        return h.replace_links(
            institution, part.aliases, part.beside, clerk=arguments.clerk, reason=arguments.reason,
            keep_old=arguments.keep_old,
        )  # fmt: skip

    return _write_aliases(arguments, folder, tickets, source, replace)


def run_detect(arguments: argparse.Namespace) -> int:
    """Judge a whole file at once: what a row is shows only beside the others."""
    source = arguments.file
    file = read_linked(source, encoding=arguments.encoding)
    check_result(source, arguments.out)
    with _reading(arguments, file, source, arguments.out) as (rejected, parts):
        read: list[PeoplePart] = list(parts)
    row = np.concatenate([part.row for part in read] or [np.empty(0, np.int64)])
    own = People.joined([part.people for part in read])
    registered = People.joined([part.registered for part in read if part.registered is not None])
    found = find_mislinks(own, registered)
    doubles = _doubles(read)
    count = _write_findings(arguments.out, [(row, found)], other=True, doubles=doubles)
    print(f"{arguments.out}: {count:,} findings in {len(row):,} rows")
    for run in found.runs:
        print(f"rows {row[run.first]:,} to {row[run.last]:,}: each the person {run.offset:+d} rows further")
    return max(report_rejected(rejected), int(count > 0))


def run_require(arguments: argparse.Namespace) -> int:
    """Say whether an institution must claim."""
    folder, (institution, word) = take_folder(arguments)
    if word not in ("on", "off"):
        raise RequestError("arguments: expected on or off, got something else")
    with open_hub(arguments, folder) as h:
        h.require_claims(institution, word == "on", clerk=arguments.clerk)
    print(f"{institution}: attributes {'required' if word == 'on' else 'optional'}")
    return 0


def _read_private_key(path: str) -> bytes:
    with Path(path).open("rb") as file:
        key = file.read(KEY_BYTES + 1)
    if len(key) != KEY_BYTES:
        raise RequestError(f"{path}: expected a private key of {KEY_BYTES} bytes, got something else")
    return key


def _read_register(
    path: str, wanted: npt.NDArray[np.int64], encoding: str
) -> tuple[npt.NDArray[np.int64], People]:
    """The register's entries of some codes; a line of the wrong shape refuses the file."""
    codes: list[npt.NDArray[np.int64]] = []
    people: list[People] = []
    for part in read_register(path, encoding=encoding):
        if len(part.rejected.line):
            raise RequestError(f"{path}: expected lines of the right shape, got another, line {part.rejected.line[0]}")
        assert part.codes is not None
        at = np.flatnonzero(np.isin(part.codes, wanted))
        codes.append(part.codes[at])
        people.append(part.people.take(at))
    return np.concatenate(codes or [np.empty(0, np.int64)]), People.joined(people)


def _doubles(read: list[PeoplePart]) -> dict[int, Mislink]:
    """Rows of ids and aliases that stand more than once, counted from 0."""
    if not read or any(part.ids is None or part.keys is None for part in read):
        return {}
    ids = [one for part in read for one in part.ids or ()]
    aliases = np.concatenate([part.keys for part in read if part.keys is not None])
    two_aliases, two_ids = find_doubles(ids, aliases)
    groups = ((Mislink.TWO_ALIASES, two_aliases), (Mislink.TWO_IDS, two_ids))
    return {row: kind for kind, found in groups for rows in found for row in rows.tolist()}


def _write_findings(
    path: str,
    found: list[tuple[npt.NDArray[np.int64], Findings]],
    *,
    other: bool,
    doubles: dict[int, Mislink] | None = None,
) -> int:
    """Write a line a finding and print how many of each there are; returns how many."""
    lines: list[tuple[int, str, str, str, str]] = []
    for row, findings in found:
        offsets = {at: run.offset for run in findings.runs for at in range(run.first, run.last + 1)}
        for at, kind in findings.kind.items():
            differs = " ".join(one.name or "" for one in Differs if findings.differs[at] & int(one))
            place = str(row[findings.other[at]]) if at in findings.other else ""
            lines.append((int(row[at]), differs, kind.value, str(offsets.get(at, "")), place))
    rows = found[0][0] if found else np.empty(0, np.int64)
    lines += [(int(rows[at]), "", kind.value, "", "") for at, kind in (doubles or {}).items()]
    lines.sort()
    names = ("row", "differs", "finding", "offset", "other")[: 5 if other else 4]
    columns = list(zip(*lines, strict=True)) or [()] * 5
    with TableWriter(path, names) as result:
        result.write([np.array(columns[0], np.int64), *map(list, columns[1 : len(names)])])
    words = [line[2] for line in lines]
    print_table([(words.count(kind.value), kind.value) for kind in Mislink if kind.value in words], right=(0,))
    return len(lines)


def _write_aliases(arguments: argparse.Namespace, folder: str, file: Any, source: str, call: Any) -> int:
    """Do a file part by part and write row, alias, status; 1 where a row was rejected or has no alias."""
    check_result(source, arguments.out)
    counts: npt.NDArray[np.int64] = np.zeros(len(Acquisition), np.int64)
    with (
        open_hub(arguments, folder) as h,
        TableWriter(arguments.out, ("row", "alias", "status")) as result,
        _reading(arguments, file, source, arguments.out) as (rejected, parts),
    ):
        for part in parts:
            acquired = call(h, part)
            result.write([part.row, acquired.aliases, Choices(acquired.status, STATUS_NAMES)])
            counts += np.bincount(acquired.status, minlength=len(counts))
    print_table([(counts[s], s.name) for s in Acquisition if counts[s]] or [(0, "rows")], right=(0,))
    without = counts.sum() - counts[[Acquisition.CREATED, Acquisition.ALREADY]].sum()
    return max(report_rejected(rejected), int(without > 0))


@contextmanager
def _reading(
    arguments: argparse.Namespace, file: Any, source: str, result: str
) -> Iterator[tuple[RejectedWriter, Iterator[Any]]]:
    """The parts of a file with progress, rejected lines written beside the result, and an end at Ctrl-C."""
    done = 0

    def parts(rejected: RejectedWriter, progress: Progress, stopping: Stopping) -> Iterator[Any]:
        nonlocal done
        for part in file:
            yield part
            rejected.write(part.rejected)
            done += part.rows_read
            progress(done)
            stopping.check()

    try:
        with (
            Stopping() as stopping,
            RejectedWriter(source, result) as rejected,
            Progress(arguments.argv[0], file.rows_max, show=arguments.progress) as progress,
        ):
            yield rejected, parts(rejected, progress, stopping)
    except KeyboardInterrupt:
        raise KeyboardInterrupt(f"stopped: {done:,} rows are done; give the command again to go on") from None
