"""``hub retain``: erase the records whose time is over; ``hub hold``: keep some of them, by law."""

from __future__ import annotations

import argparse
import datetime as dt
import os
from pathlib import Path
from typing import Any

import hub
from hub.commands.options import (
    FOLDER_ONLY,
    add_folder,
    moment_of,
    print_table,
    spell_moment,
    take_alias,
    take_folder,
    take_moment,
)
from hub.commands.progress import Progress, Stopping, add_progress
from hub.errors import RequestError, StorageError

RETAIN_EPILOG = """\
Records are kept for seven years from the last record of their inquiry, by whole quarters of a year.
What a legal hold names is copied out first. The key of the quarter is unlinked, then its records leave
in small steps; the log's tree, proofs and checkpoints stay. Given again after a stop or a crash, it
goes on. A program that has the folder open for writing keeps this command out: it calls retain() itself.

Where the clock is more than 31 days ahead of the last record, or more than two quarters would go at
once, nothing is erased without --yes: look at the clock, and at --dry-run, first.

Examples:
  hub retain linkage --dry-run     which quarters there are, and when each expires
  hub retain linkage

Exit status: 0 done, also where nothing had expired; 1 with --dry-run: something has expired;
2 refused, nothing was changed; 3 disk.
"""

HOLD_EPILOG = """\
A legal hold keeps records from being erased until its last day. It names an inquiry (its name in a
history), a requester with days, a person by the portal's alias, or several of these, which must all fit.

Examples:
  hub hold set linkage --ground "court order 12/2033" --until 2034-03-31 --by "records office" \\
      --requester nenkin --since 2026-04-01 --last 2026-06-30
  hub hold list linkage
  hub hold extend linkage 1 --until 2034-09-30 --ground "appeal" --by "records office"
  hub hold release linkage 1 --ground "withdrawn" --by "records office"
  hub hold export linkage 1 proofs    what was copied out: a proof a record, for hub verify

Exit status: 0 done; 1 list, export: there is none; 2 wrong request; 3 disk.
"""


def add_commands(commands: Any) -> None:
    """Add ``retain`` and ``hold``."""
    parser = commands.add_parser("retain", help="erase records whose time is over", epilog=RETAIN_EPILOG)
    parser.description = "Erase the records that have been kept for seven years."
    add_folder(parser, local=FOLDER_ONLY)
    parser.add_argument("--dry-run", action="store_true", help="show each quarter and when it expires; change nothing")
    parser.add_argument("--yes", action="store_true", help="the clock is right: erase also where it looks wrong")
    add_progress(parser)
    parser.set_defaults(run=run_retain)

    parser = commands.add_parser("hold", help="legal holds: keep records from being erased", epilog=HOLD_EPILOG)
    parser.description = "Set, list, extend, release and export legal holds."
    under = parser.add_subparsers(title="commands", metavar="COMMAND", required=True, parser_class=type(parser))
    for name, words, about, run in (
        ("set", (), "set a hold", run_set),
        ("list", (), "all holds that ever were", run_list),
        ("extend", ("NUMBER",), "give a hold a later last day", run_extend),
        ("release", ("NUMBER",), "end a hold before its last day", run_release),
        ("export", ("NUMBER", "DIR"), "write what was copied out, a proof a record", run_export),
    ):
        parser = under.add_parser(name, help=about, epilog=HOLD_EPILOG)
        parser.description = about[0].upper() + about[1:] + "."
        add_folder(parser, *words, local=FOLDER_ONLY)
        if name in ("set", "extend", "release"):
            parser.add_argument("--ground", required=True, help="why, for auditors")
            parser.add_argument("--by", required=True, help="who says so")
        if name in ("set", "extend"):
            parser.add_argument("--until", required=True, metavar="DATE", help="its last day")
        if name == "set":
            parser.add_argument("--inquiry", metavar="HEX", help="records of this inquiry, 16 hex digits")
            parser.add_argument("--requester", metavar="CODE", help="what this institution asked")
            parser.add_argument("--since", metavar="DATE", help="from this day on")
            parser.add_argument("--last", metavar="DATE", help="to this day, included")
            parser.add_argument("--alias", metavar="HEX", help="about this person: portal alias, or - for stdin")
        parser.set_defaults(run=run)


def run_retain(arguments: argparse.Namespace) -> int:
    """Erase what has expired, or show what would be."""
    folder, _ = take_folder(arguments)
    if arguments.dry_run:
        with hub.open(folder, readonly=True) as h:
            periods = h.retention()
        print_table([("period", "records", "expires", ""), *map(_spell_period, periods)], right=(1,))
        return 1 if any(one.due for one in periods) else 0
    with hub.open(folder) as h:
        due = sum(one.records for one in h.retention() if one.due)
        with Progress("erased", due, show=arguments.progress) as progress, Stopping() as stopping:

            def step(records: int) -> None:
                progress(records)
                stopping.check()

            done = h.retain(confirm=arguments.yes, progress=step)
    print(f"{folder}: {done.records:,} records erased" + (f" ({', '.join(done.periods)})" if done.periods else ""))
    if done.copied or done.holds_ended:
        print(f"legal holds: {done.copied:,} records copied out, {done.holds_ended} holds ended and shredded")
    return 0


def _spell_period(one: hub.PeriodState) -> tuple[object, ...]:
    state = "erased" if one.done else "being erased" if one.under_way else "expired" if one.due else ""
    return one.period, one.records, spell_moment(one.expires_at), state


def run_set(arguments: argparse.Namespace) -> int:
    """Set a hold."""
    folder, _ = take_folder(arguments)
    alias = None if arguments.alias is None else take_alias(arguments.alias)
    with hub.open(folder) as h:
        hold = h.hold(
            ground=arguments.ground,
            until=_day("--until", arguments.until),
            by=arguments.by,
            inquiry=arguments.inquiry,
            requester=arguments.requester,
            since=None if arguments.since is None else _day("--since", arguments.since),
            last=None if arguments.last is None else _day("--last", arguments.last),
            portal_alias=alias,
        )
    print(f"hold {hold.number} set, last day {hold.until}")
    return 0


def run_list(arguments: argparse.Namespace) -> int:
    """All holds, with what happened to them."""
    folder, _ = take_folder(arguments)
    with hub.open(folder, readonly=True) as h:
        holds = h.holds()
    for hold in holds:
        named = [f"inquiry {hold.inquiry.hex()}"] * bool(hold.inquiry)
        named += [f"requester {hold.requester}"] * bool(hold.requester) + ["a person"] * bool(hold.person)
        state = hold.state.name.lower().replace("_", " ")
        print(f"hold {hold.number}  {state}, last day {hold.until}; {', '.join(named)}; {hold.copied:,} records copied")
        for event in hold.events:
            by = f" by {event.by}" if event.by else ""
            print(f"  {spell_moment(moment_of(event.time))}  {event.what}{by}: {event.ground}")
    print(f"{len(holds)} holds")
    return 0 if holds else 1


def run_extend(arguments: argparse.Namespace) -> int:
    """Give a hold a later last day."""
    folder, (number,) = take_folder(arguments)
    with hub.open(folder) as h:
        until = _day("--until", arguments.until)
        hold = h.extend_hold(_number(number), until=until, ground=arguments.ground, by=arguments.by)
    print(f"hold {hold.number} extended, last day {hold.until}")
    return 0


def run_release(arguments: argparse.Namespace) -> int:
    """End a hold before its last day."""
    folder, (number,) = take_folder(arguments)
    with hub.open(folder) as h:
        hold = h.release_hold(_number(number), ground=arguments.ground, by=arguments.by)
    print(f"hold {hold.number} released; hub retain shreds its copies")
    return 0


def run_export(arguments: argparse.Namespace) -> int:
    """Write a proof of each record that was copied out."""
    folder, (number, out) = take_folder(arguments)
    records = 0
    with hub.open(folder, readonly=True) as h:
        for held in h.held(_number(number)):
            _write_proof(Path(out), f"{held.proof.index}.tlog-proof", held.proof.text())
            records += 1
    print(f"{out}: {records:,} records")
    return 0 if records else 1


def _write_proof(folder: Path, name: str, text: str) -> None:
    """Write where only this user can read: whoever has a proof and the person's key knows whose record it is."""
    try:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        handle = os.open(folder / name, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
        with open(handle, "w", encoding="utf-8") as file:
            file.write(text)
    except OSError as error:
        raise StorageError(f"write proofs: {error.strerror}") from error


def _number(text: str) -> int:
    if not text.isdecimal():
        raise RequestError("hold: expected the number of one, got another")
    return int(text)


def _day(name: str, text: str) -> dt.date:
    moment = take_moment(name, text)
    if not isinstance(moment, dt.date) or isinstance(moment, dt.datetime):
        raise RequestError(f"{name}: expected a day such as 2034-03-31, got a moment")
    return moment
