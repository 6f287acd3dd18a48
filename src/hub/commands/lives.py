"""``hub merge``, ``split``, ``undecided``, ``assign``, ``deaths``, ``alive``, ``closed``, ``succeed``."""

from __future__ import annotations

import argparse
import datetime as dt
import shlex
import sys
from pathlib import Path
from typing import Any

import numpy as np

import hub
from hub.commands.acquire import report_rejected
from hub.commands.opening import find_place, is_address, open_hub
from hub.commands.options import FOLDER_ONLY, add_folder, add_place, print_table, spell_moment, take_folder, take_moment
from hub.commands.progress import Progress, Stopping, add_progress
from hub.errors import RequestError
from hub.files.deaths import read_deaths
from hub.files.inquiries import RejectedWriter
from hub.files.tables import ENCODINGS, TableWriter
from hub.limits import DEATHS_PER_CALL_MAX

REGISTER = "jlis"

MERGE_EPILOG = """\
The two resident record codes are two lines of the standard input, the one who stays first: so they
stand in no list of processes and in no shell's history. From the commit on every alias of the other
leads to the one who stays; where an institution has one of both, that of the other answers REVOKED,
and "hub reissue" tells which it is now. Histories show the records of both. Again, nothing changes.

Examples:
  printf '00000000017\\n00000000025\\n' | \\
      hub merge linkage --clerk sato --second-clerk suzuki --reason "one human being"
  printf '00000000017\\n00000000025\\n' | \\
      hub split linkage --clerk sato --second-clerk suzuki --reason "two after all"

Exit status: 0 done; 2 wrong request, nothing changed; 3 disk.
"""

SPLIT_EPILOG = """\
Undoes the last merge of a person; the codes as of "hub merge". What was recorded in between goes to
the one whose alias was asked with; what nobody can tell is in no history until it is assigned:

  echo 00000000017 | hub undecided linkage
  echo 00000000025 | hub assign linkage HANDLE --clerk sato --second-clerk suzuki --reason "as the office said"

Exit status: 0 done; 1 undecided: nothing is; 2 wrong request, nothing changed; 3 disk.
"""

DEATHS_EPILOG = f"""\
DEATHS.csv has the columns alias,died and, if wished, born: the municipality's own aliases, days such
as 2026-04-01. With the institution {REGISTER} the column is code instead of alias. Portal aliases of
the dead are closed, every other stays at work. Lines of the wrong shape go to <name>.rejected.csv.
A person who is not known, a day to come or before the birth stops it: nothing of that part is told.
The command may be given again at any time. Another day than before needs --correct and two clerks.
"hub alive" takes deaths back that were told by mistake; days in its file are not looked at.

Examples:
  hub deaths linkage 131016 deaths.csv --clerk sato
  hub alive linkage 131016 wrong.csv --clerk sato --second-clerk suzuki --reason "a namesake"
  hub closed linkage --since 1234 --out closed.csv     for the portal: whose sessions end

Exit status: 0 done; 1 done, some lines rejected, or nothing found; 2 wrong request; 3 disk; 130 Ctrl-C.
"""

SUCCEED_EPILOG = """\
NEW succeeds the bodies behind it, as when municipalities merge: it asks by their aliases, answers
what they were asked, and has their flags; asking them is refused with its name. Without a body it
lists the successions there are. It cannot be taken back.

Examples:
  hub succeed linkage 131024 131032 131041 --day 2026-04-01 --clerk sato --second-clerk suzuki --reason 合併
  hub succeed linkage

Exit status: 0 done; 1 none to list; 2 wrong request, nothing changed; 3 disk.
"""


def add_commands(commands: Any) -> None:
    """Add the commands of this file."""
    for name, told, epilog, run in (
        ("merge", "two people were found to be one", MERGE_EPILOG, run_merge),
        ("split", "one person was found to be two", SPLIT_EPILOG, run_split),
    ):
        parser = commands.add_parser(name, help=told, epilog=epilog)
        parser.description = told[0].upper() + told[1:] + "; codes come by the standard input."
        add_folder(parser)
        _add_clerks(parser)
        parser.set_defaults(run=run)
    told = "records of which a split cannot tell whose they are"
    parser = commands.add_parser("undecided", help=told, epilog=SPLIT_EPILOG)
    parser.description = "List what a split cannot decide; the code of who stayed comes by the standard input."
    add_folder(parser)
    parser.set_defaults(run=run_undecided)
    parser = commands.add_parser("assign", help="say whose such a record is; it takes two clerks", epilog=SPLIT_EPILOG)
    parser.description = "Say whose such a record is; the code of one of the two comes by the standard input."
    add_folder(parser, "HANDLE")
    _add_clerks(parser)
    parser.set_defaults(run=run_assign)

    parser = commands.add_parser("deaths", help="tell who has died, from a file", epilog=DEATHS_EPILOG)
    parser.description = "Tell who has died, from a file."
    add_folder(parser, "INSTITUTION", "DEATHS.csv")
    parser.add_argument("--correct", action="store_true", help="another day takes the place of the one before")
    parser.add_argument("--clerk", metavar="NAME", help="who tells, for auditors")
    parser.add_argument("--second-clerk", metavar="NAME", help="the other of the two, with --correct")
    parser.add_argument("--encoding", choices=ENCODINGS, default="auto", help="of DEATHS.csv (default: auto)")
    add_progress(parser)
    parser.set_defaults(run=run_deaths)
    parser = commands.add_parser("alive", help="take back deaths that were told by mistake", epilog=DEATHS_EPILOG)
    parser.description = "Take back deaths that were told by mistake."
    add_folder(parser, "INSTITUTION", "DEATHS.csv")
    _add_clerks(parser)
    parser.add_argument("--encoding", choices=ENCODINGS, default="auto", help="of DEATHS.csv (default: auto)")
    add_progress(parser)
    parser.set_defaults(run=run_alive)
    parser = commands.add_parser("closed", help="portal aliases that deaths have closed", epilog=DEATHS_EPILOG)
    parser.description = "Write the portal aliases that deaths have closed, for the portal to end their sessions."
    add_folder(parser)
    parser.add_argument("--since", type=int, default=0, metavar="N", help="the number of the call before")
    parser.add_argument("--out", required=True, metavar="FILE", help="the aliases (.csv, .parquet, .arrow)")
    parser.set_defaults(run=run_closed)

    parser = commands.add_parser("succeed", help="one institution succeeds others", epilog=SUCCEED_EPILOG)
    parser.add_argument("words", nargs="*", metavar="FOLDER NEW OLD ...", help=argparse.SUPPRESS)
    parser.description = "Let one institution succeed others, as when municipalities merge; or list successions."
    parser.usage = f"{parser.prog} FOLDER [NEW OLD ...] [options]"
    add_place(parser)
    parser.add_argument("--day", metavar="DATE", help="from which on, up to today")
    _add_clerks(parser, required=False)
    parser.set_defaults(run=run_succeed)


def _add_clerks(parser: argparse.ArgumentParser, *, required: bool = True) -> None:
    parser.add_argument("--clerk", required=required, metavar="NAME", help="who decides")
    parser.add_argument("--second-clerk", required=required, metavar="NAME", help="the other of the two")
    parser.add_argument("--reason", required=required, help="why, for auditors")


def _words(arguments: argparse.Namespace) -> dict[str, str]:
    return {"clerk": arguments.clerk, "second_clerk": arguments.second_clerk, "reason": arguments.reason}


def _read_codes(count: int) -> list[str]:
    codes = [sys.stdin.readline().strip() for _ in range(count)]
    if not all(codes):
        raise RequestError(f"standard input: expected {count} resident record codes, a line each, got fewer")
    return codes


def run_merge(arguments: argparse.Namespace) -> int:
    """Merge two people."""
    folder, _ = take_folder(arguments)
    keep, gone = _read_codes(2)
    with open_hub(arguments, folder) as h:
        h.merge(REGISTER, keep, gone, **_words(arguments))
    print("merged")
    return 0


def run_split(arguments: argparse.Namespace) -> int:
    """Split two people who were merged."""
    folder, _ = take_folder(arguments)
    keep, gone = _read_codes(2)
    with open_hub(arguments, folder) as h:
        h.split(REGISTER, keep, gone, **_words(arguments))
        left = len(h.undecided(REGISTER, keep))
    print(f"split; {left} records undecided")
    return 0


def run_undecided(arguments: argparse.Namespace) -> int:
    """List records of which nobody can tell whose they are."""
    folder, _ = take_folder(arguments)
    (keep,) = _read_codes(1)
    with open_hub(arguments, folder, readonly=True) as h:
        found = h.undecided(REGISTER, keep)
    if not found:
        print("nothing found")
    for one in found:
        print(f"{one.handle.hex()}  {spell_moment(one.at)}  {one.requester} -> {one.provider}  {one.procedure}")
    return 0 if found else 1


def run_assign(arguments: argparse.Namespace) -> int:
    """Say whose a record is."""
    folder, (text,) = take_folder(arguments)
    try:
        handle = bytes.fromhex(text)
    except ValueError:
        raise RequestError("HANDLE: expected hex digits as of hub undecided, got something else") from None
    (code,) = _read_codes(1)
    with open_hub(arguments, folder) as h:
        h.assign(REGISTER, handle, code, **_words(arguments))
    print("assigned")
    return 0


def run_deaths(arguments: argparse.Namespace) -> int:
    """Tell deaths in parts; a part is durable before the next is read."""
    counts = np.zeros(3, np.int64)

    def tell(h: hub.Hub, institution: str, part: Any) -> None:
        found = h.deaths(
            institution, part.people, part.died, born=part.born, correct=arguments.correct, clerk=arguments.clerk,
            second_clerk=arguments.second_clerk,
        )  # fmt: skip
        counts.__iadd__((found.told, found.corrected, found.known))

    status = _in_parts(arguments, tell)
    words = ("deaths told", "days corrected", "known before")
    print_table([(n, word) for n, word in zip(counts.tolist(), words, strict=True) if n] or [(0, words[0])], right=(0,))
    return status


def run_alive(arguments: argparse.Namespace) -> int:
    """Take deaths back in parts."""
    counts = [0]

    def tell(h: hub.Hub, institution: str, part: Any) -> None:
        counts[0] += h.alive(institution, part.people, **_words(arguments))

    status = _in_parts(arguments, tell)
    print(f"{counts[0]:,} deaths taken back")
    return status if counts[0] else 1


def _in_parts(arguments: argparse.Namespace, tell: Any) -> int:
    folder, (institution, source) = take_folder(arguments)
    name = "code" if institution == REGISTER else "alias"
    file = read_deaths(source, name, encoding=arguments.encoding, rows=DEATHS_PER_CALL_MAX)
    done = 0
    try:
        with (
            open_hub(arguments, folder) as h,
            Stopping() as stopping,
            RejectedWriter(source, source) as rejected,
            Progress(arguments.argv[0], file.rows_max, show=arguments.progress) as progress,
        ):
            for part in file:
                # Of Parquet and Arrow files a part may be larger than a call.
                for first in range(0, len(part.people), DEATHS_PER_CALL_MAX):
                    some = slice(first, first + DEATHS_PER_CALL_MAX)
                    tell(h, institution, part._replace(
                        people=np.ascontiguousarray(part.people[some]), died=part.died[some], born=part.born[some]
                    ))  # fmt: skip
                rejected.write(part.rejected)
                done += part.rows_read
                progress(done)
                stopping.check()
    except KeyboardInterrupt:
        raise KeyboardInterrupt(
            f"stopped: {done:,} rows are durable; give the command again to go on:",
            f"  hub {shlex.join(arguments.argv)}",
        ) from None
    return report_rejected(rejected)


def run_closed(arguments: argparse.Namespace) -> int:
    """Write the portal aliases that were closed."""
    folder, _ = take_folder(arguments)
    with open_hub(arguments, folder, readonly=True) as h:
        found = h.closed(arguments.since)
    with TableWriter(arguments.out, ("alias",)) as writer:
        writer.write([found.aliases])
    print(f"{arguments.out}: {len(found.aliases):,} aliases; go on with --since {found.upto}")
    return 0 if len(found.aliases) else 1


def run_succeed(arguments: argparse.Namespace) -> int:
    """Enter a succession, or list those there are."""
    bodies: list[str] = arguments.words
    # How many words there are does not say whether the first is the folder; a folder that is there does.
    folder = find_place(arguments, optional=True) or ""
    if bodies and arguments.folder is None and (not folder or Path(bodies[0]).is_dir() or is_address(bodies[0])):
        folder, *bodies = bodies
    if not folder:
        raise RequestError("arguments: expected FOLDER [NEW OLD ...], got 0 (FOLDER may be --folder or HUB_FOLDER)")
    if not bodies:
        with open_hub(arguments, folder, readonly=True) as h:
            found = h.successions()
        print_table([(old, "by", new, "from", day) for old, (new, day) in found.items()] or [("none",)])
        return 0 if found else 1
    if is_address(folder):
        raise RequestError(f"hub succeed: expected a folder, got an address: {FOLDER_ONLY}")
    new, *olds = bodies
    if not Path(folder).is_dir() or not olds or None in _words(arguments).values() or arguments.day is None:
        raise RequestError("arguments: expected FOLDER NEW OLD ... --day --clerk --second-clerk --reason, got fewer")
    day = take_moment("--day", arguments.day)
    if isinstance(day, dt.datetime) or day is None:
        raise RequestError("--day: expected a date such as 2026-04-01, got a moment")
    with open_hub(arguments, folder) as h:
        h.succeed(olds, new, day, **_words(arguments))
    print(f"{new} succeeds {', '.join(olds)}")
    return 0
