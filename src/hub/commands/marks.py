"""``hub withhold``, ``lift``, ``correct``, ``audit``: keep a record from histories, correct it, see what was done."""

from __future__ import annotations

import argparse
import datetime as dt
from typing import Any

import msgspec

import hub
from hub.commands.opening import is_address, open_hub
from hub.commands.options import FOLDER_ONLY, add_folder, add_place, print_table, spell_moment, take_folder, take_moment
from hub.errors import RequestError
from hub.limits import HISTORY_LIMIT_MAX
from hub.messages import Kind
from hub.records.events import Event

RECORD_HELP = """\
A record is named by REQUEST_ID and ROW, counted from 0, of the requester's own inquiry (for 30 days),
or by --handle HEX as "hub audit --waiting" or h.handles gives it.
"""

WITHHOLD_EPILOG = f"""\
{RECORD_HELP}The record leaves every history at once. It stays away until two clerks lift the mark.

Example:
  hub withhold linkage tax-2026 17 --ground "protected person" --until 2026-10-01 --clerk sato

Exit status: 0 withheld; 2 wrong request, nothing changed; 3 disk.
"""

LIFT_EPILOG = f"""\
{RECORD_HELP}It takes two clerks: in one call (--second-clerk) or in two calls.

Examples:
  hub lift linkage tax-2026 17 --clerk sato
  hub lift linkage tax-2026 17 --clerk suzuki

Exit status: 0 lifted; 1 another clerk has to make the same call; 2 wrong request; 3 disk.
"""

CORRECT_EPILOG = f"""\
{RECORD_HELP}The decision is appended to the record, shown in the history, and waits for the other holders.

Example:
  hub correct linkage tax-2026 17 --reason "another household was meant" --section 課税課

Exit status: 0 decided; 2 wrong request, nothing changed; 3 disk.
"""

AUDIT_EPILOG = """\
Without --waiting: marks, corrections, flags, suspensions, keys, links, identifiers, proxies, merges, deaths,
successions and reported links, in order, with who did it and why; for supervisors only.
With --waiting CODE: what waits for one institution: marks to review, records to judge, corrections.

Examples:
  hub audit linkage
  hub audit linkage --after 1000 --json
  hub audit linkage --waiting nenkin --by 2026-10-01

Exit status: 0 done; 1 nothing found; 2 wrong request; 3 disk.
"""


def add_commands(commands: Any) -> None:
    """Add ``withhold``, ``lift``, ``correct`` and ``audit``."""
    parser = _add(commands, "withhold", "keep a record from every history", WITHHOLD_EPILOG)
    parser.add_argument("--ground", required=True, help="why, for auditors")
    parser.add_argument("--until", required=True, metavar="DATE", help="the day of its review")
    parser.set_defaults(run=run_withhold)

    parser = _add(commands, "lift", "lift such a mark; it takes two clerks", LIFT_EPILOG)
    parser.add_argument("--second-clerk", metavar="NAME", help="the other of the two")
    parser.set_defaults(run=run_lift)

    parser = _add(commands, "correct", "decide on a correction of a record", CORRECT_EPILOG)
    parser.add_argument("--reason", required=True, help="shown to the person")
    parser.add_argument("--section", required=True, help="in charge")
    parser.add_argument("--appeal", metavar="TEXT", help="how to appeal (default: 審査請求)")
    parser.add_argument("--refused", action="store_true", help="the record is not corrected")
    parser.set_defaults(run=run_correct)

    parser = commands.add_parser("audit", help="what was done, and by which clerks", epilog=AUDIT_EPILOG)
    parser.description = "List what institutions and their clerks did, or what waits for an institution."
    add_folder(parser)
    parser.add_argument("--after", type=int, default=0, metavar="N", help="only behind this number")
    limit = f"events, at most {HISTORY_LIMIT_MAX} (default)"
    parser.add_argument("--limit", type=int, default=HISTORY_LIMIT_MAX, help=limit)
    parser.add_argument("--waiting", metavar="CODE", help="what waits for this institution instead")
    parser.add_argument("--by", metavar="DATE", help="with --waiting: marks to review by this day (default: today)")
    parser.add_argument("--json", action="store_true", help="one JSON document")
    parser.set_defaults(run=run_audit)


def _add(commands: Any, name: str, told: str, epilog: str) -> argparse.ArgumentParser:
    parser: argparse.ArgumentParser = commands.add_parser(name, help=told, epilog=epilog)
    parser.description = told[0].upper() + told[1:] + "."
    parser.add_argument("words", nargs="*", metavar="FOLDER REQUEST_ID ROW", help=argparse.SUPPRESS)
    add_place(parser, institution=False)
    parser.usage = f"{parser.prog} FOLDER (REQUEST_ID ROW | --handle HEX) [options]"
    parser.add_argument("--handle", metavar="HEX", help="the record, instead of REQUEST_ID and ROW")
    parser.add_argument("--institution", metavar="CODE", help="who acts, where the record does not say it")
    parser.add_argument("--requester", metavar="CODE", help="whose request id it is")
    parser.add_argument("--clerk", metavar="NAME", help="who decides, for auditors")
    return parser


def take_record(arguments: argparse.Namespace) -> tuple[str, Any]:
    """The folder and the handle of the record."""
    arguments.word_names = () if arguments.handle is not None else ("REQUEST_ID", "ROW")
    folder, words = take_folder(arguments)
    try:
        return folder, bytes.fromhex(arguments.handle) if arguments.handle is not None else (words[0], int(words[1]))
    except ValueError:
        raise RequestError("record: expected REQUEST_ID and a row number, or --handle HEX, got another") from None


def _take_day(name: str, text: str) -> dt.date:
    day = take_moment(name, text)
    if not isinstance(day, dt.date) or isinstance(day, dt.datetime):
        raise RequestError(f"{name}: expected a date such as 2026-04-01, got a moment")
    return day


def run_withhold(arguments: argparse.Namespace) -> int:
    """Withhold one record."""
    folder, handle = take_record(arguments)
    until = _take_day("--until", arguments.until)
    with open_hub(arguments, folder) as h:
        h.withhold(
            handle, arguments.ground, until, institution=arguments.institution, requester=arguments.requester,
            clerk=arguments.clerk,
        )  # fmt: skip
    print(f"withheld, to be reviewed by {until}")
    return 0


def run_lift(arguments: argparse.Namespace) -> int:
    """Lift the mark of one record, or ask for it as the first of two clerks."""
    folder, handle = take_record(arguments)
    with open_hub(arguments, folder) as h:
        lifted = h.lift(
            handle, institution=arguments.institution, requester=arguments.requester, clerk=arguments.clerk,
            second_clerk=arguments.second_clerk,
        )  # fmt: skip
    print("lifted" if lifted else "asked; another clerk has to make the same call")
    return 0 if lifted else 1


def run_correct(arguments: argparse.Namespace) -> int:
    """Decide on a correction."""
    folder, handle = take_record(arguments)
    with open_hub(arguments, folder) as h:
        made = h.correct(
            handle, arguments.reason, arguments.section, institution=arguments.institution,
            requester=arguments.requester, clerk=arguments.clerk, accepted=not arguments.refused,
            appeal=arguments.appeal,
        )  # fmt: skip
    print(f"decided; handle {made.hex()}")
    return 0


def run_audit(arguments: argparse.Namespace) -> int:
    """List events, or what waits for an institution."""
    folder, _ = take_folder(arguments)
    if arguments.waiting is None and is_address(folder):
        raise RequestError(f"hub audit: expected a folder, or --waiting with an address, got none: {FOLDER_ONLY}")
    with open_hub(arguments, folder, readonly=True) as h:
        if arguments.waiting is None:
            events = h.events(after=arguments.after, limit=arguments.limit)
            header: tuple[str, ...] = ("number", "at", "what", "institution", "clerks", "record", "ground")
            rows = [_event_cells(event) for event in events]
        else:
            by = dt.date.today() if arguments.by is None else _take_day("--by", arguments.by)
            header = ("handle", "waits for", "day")
            rows = _waiting(h, arguments.waiting, by)
    if arguments.json:
        found = [dict(zip(header, row, strict=True)) for row in rows]
        print(msgspec.json.format(msgspec.json.encode(found), indent=2).decode())
    elif rows:
        print_table([header, *rows])
    else:
        print("nothing found")
    return 0 if rows else 1


def _event_cells(event: Event) -> tuple[str, ...]:
    clerks = ", ".join(clerk for clerk in (event.clerk, event.second_clerk) if clerk)
    return (
        str(event.number), spell_moment(event.at), event.kind.name, event.institution, clerks,
        "" if event.index is None else str(event.index), event.ground or _spell_flags(event),
    )  # fmt: skip


def _spell_flags(event: Event) -> str:
    return "" if event.flags is None else ", ".join(flag.name or "" for flag in event.flags) or "no flags"


def _waiting(h: hub.Hub, institution: str, by: dt.date) -> list[tuple[str, ...]]:
    rows = [(handle.hex(), "review", str(day)) for handle, _, day in h.marks_due(institution, by=by)]
    rows += [(handle.hex(), "judgement", "") for handle, _ in h.unjudged(institution)]
    words = {Kind.CORRECTION_ASKED: "decision", Kind.CORRECTION: "confirmation"}
    rows += [(one.handle.hex(), words[one.kind], spell_moment(one.at)) for one in h.corrections(institution)]
    return list(rows)
