"""``hub agency``: an institution's own side: links, copy register, automatic answers, own copy of the records."""

from __future__ import annotations

import argparse
import re
import shlex
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

import hub
import hub.agency
from hub.agency.compare import compare
from hub.agency.files import read_chunks, read_links
from hub.agency.owncopy import read_answered, read_asked, read_requests
from hub.commands.adopt import ADOPT_EPILOG, run_adopt
from hub.commands.opening import add_connection, find_place, is_address, open_hub
from hub.commands.options import FOLDER_ONLY, print_table, take_alias
from hub.commands.progress import Progress, Stopping, add_progress
from hub.errors import RequestError, RowsError
from hub.files.columns import permit_column
from hub.files.inquiries import read_all_aliases
from hub.files.tables import ENCODINGS, TableWriter
from hub.limits import FLAGS_PER_CALL_MAX
from hub.messages import Reason, Status

REQUESTED_COLUMNS = ("request", "row", "alias", "provider", "status", "reason", "told", "told_reason")
ANSWERED_COLUMNS = ("permit", "alias", "outcome", "reason", "receipt")
DIFFERENCES_SHOWN = 100

EPILOG = """\
A folder of its own keeps what stands at an institution. It holds no key of the hub's and is read by nobody else.

A day at an institution:
  hub agency init town 131016                             its folder
  hub agency link town links.csv                          own_id,alias: who is who
  hub agency load town tax register.csv --layout tax.toml --id 2026-11   the copy register, visible as a whole
  hub agency answer town linkage                          answer what waits at the hub in the folder linkage
  hub agency status town
  hub agency adopt town linkage --book desk.sqlite        what its clerks asked by hand, into its own copy
  hub agency records town --role provider --out own.csv   its own copy of the records
For a supervisor, who has the hub's folder and two institutions' copies:
  hub agency compare linkage --requester pension --provider town

`hub agency COMMAND --help` says more.
"""

LINK_EPILOG = """\
LINKS has the columns own_id and alias (.csv, .parquet, .arrow). An own id has one alias and an alias one
own id: a line that says otherwise refuses the million lines that it stands among, and is named. With
--replace it takes the old one's place.

Examples:
  hub agency link town links.csv
  hub agency link town corrected.csv --replace

Exit status: 0 done; 2 wrong request, or doubles; 3 disk; 130 Ctrl-C.
"""

LOAD_EPILOG = """\
FILE is a CSV (UTF-8 with or without a byte order mark, or CP932) or Parquet, with the columns of the
register's layout. It is taken in chunks of 32 MiB, each durable when it is taken; given again, the
command goes on at the first that is missing. Nothing is answered from it before all of it is there.
A line that does not fit, in another encoding or with its columns shifted, is named, and nothing of its
chunk is kept: correct the file, --abandon the load, and begin again. LAYOUT is TOML, see docs/agency.md.

Examples:
  hub agency load town tax register.csv --layout tax.toml --id 2026-11
  hub agency load town tax --id 2026-11 --abandon

Exit status: 0 done; 2 wrong request or file; 3 disk; 130 Ctrl-C: give it again to go on.
"""

ANSWER_EPILOG = """\
Who has a row is answered PROVIDED with it, or EMPTY where it has nothing of what is asked; who has none
NO_RECORD, with the reason NOT_LOADED where no load is whole yet or the alias is linked to no own id. Who is
flagged, here or at the hub, is left to a clerk. Given again after a crash it finds out what was taken.

Examples:
  hub agency answer town linkage
  hub agency answer town linkage --limit 100000
  hub agency answer town hubs://hub.example.go.jp:7411 --cert town.pem --key town.key --ca hub-ca.pem

Exit status: 0 done; 1 some permits are left: no register has what they ask for; 2 wrong request; 3 disk.
"""

FLAG_EPILOG = """\
Of whom is flagged a clerk of the institution decides (自動応答不可); the hub is told MANUAL, and nobody else
can tell. Without --on or --off it shows how they stand.

Examples:
  hub agency flag town --own-id 0012345 --on
  hub agency flag town --aliases protected.csv --on

Exit status: 0 done; 1 shown: nobody is flagged; 2 wrong request; 3 disk.
"""

RECORDS_EPILOG = """\
As requester: request,row,alias,provider,status,reason,told,told_reason (row from 1; told: as it was read last;
a status is empty where the hub's answer was never written). As provider: permit,alias,outcome,reason,receipt
(empty: about to be answered when the process died).

Examples:
  hub agency records town --role provider --out answered.csv
  hub agency records pension --role requester --out asked.parquet

Exit status: 0 done; 1 there are none; 2 wrong request; 3 disk.
"""

COMPARE_EPILOG = """\
Names each line that is missing, extra or different, whose copy it is in, and where: no alias. Rows that the
requester has not fetched yet, and requests of more than 30 days ago, are counted and not compared.

Examples:
  hub agency compare linkage --requester pension --provider town
  hub agency compare linkage --provider town --provider city

Exit status: 0 all agree; 1 some lines do not; 2 wrong request; 3 a copy is damaged.
"""


def add_commands(commands: Any) -> None:
    """Add ``agency`` and what is under it."""
    parser = commands.add_parser("agency", help="an institution's own side: register, answers, own copy", epilog=EPILOG)
    parser.description = "What stands at an institution: links, copy register, automatic answers, its copy of records."
    below = parser.add_subparsers(title="commands", metavar="COMMAND", required=True, parser_class=type(parser))

    one = _add(below, "init", "make an institution's folder", run_init, "AGENCY", "INSTITUTION")
    one.epilog = "Example:\n  hub agency init town 131016\n\nExit status: 0 done; 2 wrong request; 3 disk.\n"

    one = _add(below, "link", "say which own id stands for which alias", run_link, "AGENCY", "LINKS")
    one.epilog = LINK_EPILOG
    one.add_argument("--replace", action="store_true", help="let new counterparts take the place of old ones")
    one.add_argument("--encoding", choices=ENCODINGS, default="auto", help="of LINKS (default: auto)")
    add_progress(one)

    one = _add(below, "load", "load the copy register from a file", run_load, "AGENCY", "REGISTER", "FILE")
    one.epilog = LOAD_EPILOG
    one.add_argument("--id", required=True, metavar="ID", help="the load's own name: the same goes on where it stopped")
    one.add_argument("--layout", metavar="LAYOUT", help="the register's layout (TOML), where it is new or has changed")
    one.add_argument("--abandon", action="store_true", help="forget the load under way; without FILE")
    add_progress(one)

    one = _add(below, "answer", "answer what waits at the hub", run_answer, "AGENCY", "HUB")
    one.epilog = ANSWER_EPILOG
    add_connection(one)
    one.add_argument("--limit", type=int, metavar="N", help="at most so many permits (default: all)")
    add_progress(one)

    one = _add(below, "adopt", "take what clerks asked by hand into the own copy", run_adopt, "AGENCY", "HUB")
    one.epilog = ADOPT_EPILOG
    one.add_argument("--book", required=True, metavar="BOOK", help="the file that the desk keeps")
    add_connection(one)

    one = _add(below, "status", "what an institution's folder has", run_status, "AGENCY")
    one.epilog = "Example:\n  hub agency status town\n\nExit status: 0 done; 1 something is unfinished; 2; 3 disk.\n"

    one = _add(below, "flag", "let a clerk decide about people", run_flag, "AGENCY")
    one.epilog = FLAG_EPILOG
    people = one.add_mutually_exclusive_group(required=True)
    people.add_argument("--alias", metavar="HEX", help="one person, 32 hex digits; - for the standard input")
    people.add_argument("--own-id", metavar="ID", help="one person, by the institution's own id")
    people.add_argument("--aliases", metavar="FILE", help="people, by a file with the column alias")
    which = one.add_mutually_exclusive_group()
    which.add_argument("--on", action="store_true", help="flag them")
    which.add_argument("--off", action="store_true", help="flag them no longer")

    one = _add(below, "records", "write the institution's own copy of the records", run_records, "AGENCY")
    one.epilog = RECORDS_EPILOG
    one.add_argument("--role", required=True, choices=("requester", "provider"), help="which of its records")
    one.add_argument("--out", required=True, metavar="FILE", help="the result (.csv, .parquet, .arrow)")

    one = _add(below, "compare", "compare three copies of the records", run_compare, "HUB")
    one.epilog = COMPARE_EPILOG
    one.add_argument("--requester", metavar="AGENCY", help="a requester's folder")
    one.add_argument("--provider", metavar="AGENCY", action="append", default=[], help="a provider's; may be repeated")
    add_progress(one)


def _add(below: Any, name: str, about: str, run: Callable[[argparse.Namespace], int], *words: str) -> Any:
    parser = below.add_parser(name, help=about)
    parser.description = about[0].upper() + about[1:] + "."
    for word in words:
        optional = word == "FILE" or (name, word) in (("answer", "HUB"), ("adopt", "HUB"))
        parser.add_argument(word.lower(), metavar=word, nargs="?" if optional else None)
    parser.set_defaults(run=run)
    return parser


def run_init(arguments: argparse.Namespace) -> int:
    """Make a folder."""
    code = arguments.institution
    hub.agency.open(arguments.agency, institution=code, create=True).close()
    # A hub may know bodies that the shipped catalog does not: the code is compared when it is spoken to.
    names = {one.code: one.name for one in hub.Catalog.japan().institutions()}
    print(f"{arguments.agency}: the folder of {code} {names.get(code, '(not in the shipped catalog)')}")
    return 0


def run_link(arguments: argparse.Namespace) -> int:
    """A million lines at a time."""
    added = same = replaced = 0
    try:
        with (
            hub.agency.open(arguments.agency) as agency,
            Stopping() as stopping,
            Progress("link", None, show=arguments.progress) as progress,
        ):
            for part in read_links(arguments.links, encoding=arguments.encoding):
                try:
                    done = agency.link(part.own_ids, part.aliases, replace=arguments.replace)
                except RowsError as error:
                    lines = [part.lines[row] for row in error.rows[:10]]
                    more = f" and {len(error.rows) - len(lines):,} more" if len(error.rows) > len(lines) else ""
                    named = ", ".join(map(str, lines)) + more
                    raise RequestError(
                        f"{arguments.links}: line {named}: expected one alias an own id and one own id an alias, got"
                        f" doubles; {added + same:,} lines in front of them are done"
                    ) from None
                added, same, replaced = added + done.added, same + done.same, replaced + done.replaced
                progress(added + same)
                stopping.check()
    except KeyboardInterrupt:
        raise KeyboardInterrupt(f"stopped: {added + same:,} lines are durable; give the command again") from None
    print(f"{arguments.agency}: {added:,} linked, {same:,} stood already, {replaced:,} gave way")
    return 0


def run_load(arguments: argparse.Namespace) -> int:
    """Chunk by chunk, from the first that is missing."""
    name = arguments.register
    if arguments.abandon != (arguments.file is None):
        raise RequestError("arguments: expected FILE, or --abandon without one")
    try:
        with (
            hub.agency.open(arguments.agency) as agency,
            Stopping() as stopping,
            Progress("load", None, show=arguments.progress) as progress,
        ):
            if arguments.abandon:
                agency.abandon_load(name, arguments.id)
                print(f"{name}: the load is forgotten; what is answered from stays")
                return 0
            if arguments.layout is not None:
                _declare(agency, name, arguments.layout)
            state = agency.begin_load(name, arguments.id)
            if state.complete:
                print(f"{name}: {state.rows:,} rows are answered from already")
                return 0
            number = 0
            for number, chunk in enumerate(read_chunks(Path(arguments.file)), 1):
                try:
                    state = agency.load_chunk(name, arguments.id, number, chunk.data)
                except RequestError as error:
                    raise _in_file(error, arguments.file, chunk.line) from None
                progress(state.rows)
                stopping.check()
            state = agency.finish_load(name, arguments.id, number)
    except KeyboardInterrupt:
        raise KeyboardInterrupt(
            "stopped: what is taken is durable; to go on:", f"  hub {shlex.join(arguments.argv)}"
        ) from None
    print(f"{name}: {state.rows:,} rows in {state.chunks:,} chunks are answered from now on")
    return 0


def _declare(agency: hub.agency.Agency, name: str, path: str) -> None:
    text = Path(path).read_text(encoding="utf-8")
    layout = hub.agency.read_layout(text)
    if layout.name != name:
        raise RequestError(f"{path}: expected the layout of {name}, got one of another register")
    agency.declare(layout)


def _in_file(error: RequestError, path: str, before: int) -> RequestError:
    """The same error, with the line of the file beside that of the chunk."""
    found = re.search(r"line (\d+)", str(error))
    if found is None or before == 0:
        return RequestError(f"{path}: {error}")
    return RequestError(f"{path}: line {int(found[1]) + before} of the file: {error}")


def run_answer(arguments: argparse.Namespace) -> int:
    """Answer all that waits."""
    if arguments.limit is not None and arguments.limit < 1:
        raise RequestError(f"--limit: expected 1 or more, got {arguments.limit}")
    place = arguments.hub or find_place(arguments)
    if place is None:
        raise RequestError("arguments: expected AGENCY HUB, got no HUB (or --client, or HUB_FOLDER)")
    done = 0
    try:
        with (
            hub.agency.open(arguments.agency) as agency,
            open_hub(arguments, place) as h,
            Stopping() as stopping,
            Progress("answer", arguments.limit, show=arguments.progress) as progress,
        ):

            def step(rows: int) -> None:
                nonlocal done
                done = rows
                progress(rows)
                stopping.check()

            found = agency.answer(h, limit=arguments.limit, progress=step)
    except KeyboardInterrupt:
        raise KeyboardInterrupt(f"stopped: {done:,} permits are answered; give the command again") from None
    print_table(
        [(rows, name) for name, rows in sorted(found.outcomes.items())] or [(0, "permits that wait")], right=(0,)
    )
    if found.left:
        print(f"{found.left:,} permits are left: no register has what they ask for")
    return 1 if found.left else 0


def run_status(arguments: argparse.Namespace) -> int:
    """Counts."""
    with hub.agency.open(arguments.agency, readonly=True) as agency:
        state = agency.state()
    print(f"institution {state.institution}")
    print_table([(state.links, "links"), (state.manual, "people of whom a clerk decides")], right=(0,))
    for one in state.registers:
        stands = "never loaded whole" if one.load_id is None else f"{one.rows:,} rows of load {one.load_id}"
        under_way = ""
        if one.loading is not None:
            under_way = f"; load {one.loading.load_id} under way, {one.loading.chunks:,} chunks"
        print(f"  register {one.name} ({', '.join(one.items)}): {stands}{under_way}")
    print_table(
        [
            (state.requests, "requests in the own copy"), (state.unfinished, "of them begun and not answered"),
            (state.answered, "permits answered"), (state.unsettled, "of them without a receipt"),
        ],
        right=(0,),
    )  # fmt: skip
    return 1 if state.unfinished or state.unsettled or any(one.loading for one in state.registers) else 0


def run_flag(arguments: argparse.Namespace) -> int:
    """Flag people, or show how they stand."""
    shows = not (arguments.on or arguments.off)
    with hub.agency.open(arguments.agency, readonly=shows) as agency:
        if arguments.aliases is not None:
            aliases = read_all_aliases(arguments.aliases)
        elif arguments.alias is not None:
            aliases = take_alias(arguments.alias).reshape(1, 16)
        else:
            aliases, known = agency.aliases_of([arguments.own_id])
            if not known.all():
                raise RequestError("--own-id: expected one that is linked, got another")
        if shows:
            flagged = int(agency.flagged(aliases).sum())
            print(f"{flagged:,} of {len(aliases):,} are flagged: a clerk decides about them")
            return 0 if flagged else 1
        changed = 0
        for first in range(0, len(aliases), FLAGS_PER_CALL_MAX):
            changed += agency.flag(aliases[first : first + FLAGS_PER_CALL_MAX], on=arguments.on)
    print(f"{changed:,} of {len(aliases):,} changed: {'flagged' if arguments.on else 'flagged no longer'}")
    return 0


def run_records(arguments: argparse.Namespace) -> int:
    """The own copy into a file."""
    as_requester = arguments.role == "requester"
    columns = REQUESTED_COLUMNS if as_requester else ANSWERED_COLUMNS
    with (
        hub.agency.open(arguments.agency, readonly=True) as agency,
        TableWriter(arguments.out, columns) as out,
    ):
        rows = (_write_asked if as_requester else _write_answered)(agency, out)
    print(f"{arguments.out}: {rows:,} lines")
    return 0 if rows else 1


def _write_asked(agency: hub.agency.Agency, out: TableWriter) -> int:
    names = {one.number: one.code for one in hub.Catalog.japan().institutions()}
    written = 0
    with agency._store.read() as reader:
        for key, asked in read_requests(reader):
            name = key.hex() if asked is None else asked.request_id
            for part in read_asked(reader, key):
                n = len(part.aliases)
                none = [""] * n
                texts = [
                    none if column is None else [kind(value).name for value in column.tolist()]
                    for column, kind in (
                        (part.status, Status), (part.reason, Reason), (part.told, Status), (part.told_reason, Reason),
                    )
                ]  # fmt: skip
                providers = [names.get(number, str(number)) for number in part.providers.tolist()]
                out.write(
                    [[name] * n, np.arange(part.first + 1, part.first + 1 + n), part.aliases, providers, *texts]
                )
                written += n
    return written


def _write_answered(agency: hub.agency.Agency, out: TableWriter) -> int:
    written = 0
    with agency._store.read() as reader:
        for rows in read_answered(reader):
            n = len(rows.permits)
            receipt = "" if rows.given_at is None else str(rows.given_at)
            out.write(
                [
                    permit_column(rows.permits), rows.aliases, [Status(one).name for one in rows.outcomes.tolist()],
                    [Reason(one).name for one in rows.reasons.tolist()], [receipt] * n,
                ]
            )  # fmt: skip
            written += n
    return written


def run_compare(arguments: argparse.Namespace) -> int:
    """Compare and name what differs."""
    opened = partial(hub.agency.open, readonly=True)
    agencies: list[hub.agency.Agency] = []
    try:
        if is_address(arguments.hub):
            raise RequestError(f"hub agency compare: expected a folder, got an address: {FOLDER_ONLY}")
        with open_hub(arguments, arguments.hub, readonly=True) as h:
            requester = None if arguments.requester is None else opened(arguments.requester)
            agencies += [requester] if requester is not None else []
            providers = [opened(folder) for folder in arguments.provider]
            agencies += providers
            with Progress("compare", None, show=arguments.progress) as progress:
                found = compare(h, requester=requester, providers=providers, progress=progress)
    finally:
        for agency in agencies:
            agency.close()
    print_table(
        [
            (found.requested, "lines of the requester's copy"), (found.provided, "lines of providers' copies"),
            (found.waiting, "rows whose end the requester has not fetched"),
            (found.gone, "rows of requests that the hub keeps no longer, not compared"),
            (found.unfinished, "permits without a receipt"),
        ],
        right=(0,),
    )  # fmt: skip
    for one in found.differences[:DIFFERENCES_SHOWN]:
        print(one)
    hidden = len(found.differences) - DIFFERENCES_SHOWN
    if hidden > 0 or found.more:
        print(f"and {max(hidden, 0) + found.more:,} more")
    print("all copies agree" if found.ok else f"{len(found.differences) + found.more:,} lines do not agree")
    return 0 if found.ok else 1


