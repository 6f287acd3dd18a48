"""``hub mislink``: report a link that was wrong, to both citizens and, as a draft, to the Commission."""

from __future__ import annotations

import argparse
import os
from pathlib import Path
from typing import Any

from hub.commands.blast import summary
from hub.commands.opening import open_hub
from hub.commands.options import add_folder, print_table, take_alias, take_folder, take_moment
from hub.errors import RequestError, StorageError
from hub.mislinks.report import SECTION

EPILOG = """\
--wrong is the alias that led to the wrong citizen, also where it is revoked or replaced by now; --right
is the institution's alias of the citizen whom it meant. Both in 32 hex digits; with - they are read from
the standard input, a line each, --wrong first.

Each citizen reads in the history and in a notice that the link was wrong and what it meant for them,
neither of them who the other is. Whom the institution has flagged NO_SELF or WITHHELD, and who reads
no portal, has to be told by other means: they are counted. The draft for the Commission (番号法29条の4)
has counts only; what a human must add is marked in it.

Try it with --dry-run first: nothing is recorded and nobody notified. Given again, the command goes
on where it stopped, and records nothing twice.

Examples:
  hub mislink linkage 131016 --wrong - --right - --since 2026-04-01 --until 2026-11-25 \\
      --reason "two people of one name" --clerk sato --second-clerk suzuki --draft report.md --dry-run < pair.txt

Exit status: 0 reported; 1 reported, somebody must be told by other means; 2 wrong request, nothing
changed; 3 disk.
"""


def add_commands(commands: Any) -> None:
    """Add ``mislink``."""
    parser = commands.add_parser("mislink", help="report a link that was wrong", epilog=EPILOG)
    parser.description = "Report a wrong link: tell both citizens, and draft the report to the Commission."
    add_folder(parser, "INSTITUTION")
    parser.add_argument("--wrong", required=True, metavar="HEX", help="the alias that was wrong, or - for stdin")
    parser.add_argument("--right", metavar="HEX", help="the alias of whom it meant, where that is known")
    parser.add_argument("--since", metavar="DATE", help="when it began to be wrong (Japan's time)")
    parser.add_argument("--until", metavar="DATE", help="until this day, or before this moment")
    parser.add_argument("--reason", required=True, help="the cause, as it stands in the draft")
    parser.add_argument("--clerk", required=True, metavar="NAME", help="who reports it, for auditors")
    parser.add_argument("--second-clerk", required=True, metavar="NAME", help="the other of the two")
    parser.add_argument("--known", metavar="DATE", help="day on which it became known (default: today in Japan)")
    parser.add_argument("--deliberate", action="store_true", help="done for an improper purpose: 60 days, not 30")
    parser.add_argument("--section", default=SECTION, help=f"in charge; both citizens read it (default: {SECTION})")
    parser.add_argument("--id", metavar="ID", help="of the report (default: made of what it says)")
    parser.add_argument("--draft", metavar="FILE", help="write the draft for the Commission (Markdown)")
    parser.add_argument("--dry-run", action="store_true", help="record nothing, notify nobody")
    parser.set_defaults(run=run_mislink)


def run_mislink(arguments: argparse.Namespace) -> int:
    """Report a wrong link."""
    folder, (institution,) = take_folder(arguments)
    wrong = take_alias(arguments.wrong)
    right = None if arguments.right is None else take_alias(arguments.right)
    with open_hub(arguments, folder, readonly=arguments.dry_run) as h:
        found = h.report_mislink(
            institution,
            wrong,
            right,
            clerk=arguments.clerk,
            second_clerk=arguments.second_clerk,
            reason=arguments.reason,
            since=take_moment("--since", arguments.since),
            until=take_moment("--until", arguments.until),
            known=_take_known(arguments.known),
            deliberate=arguments.deliberate,
            section=arguments.section,
            request_id=arguments.id,
            dry_run=arguments.dry_run,
        )
    counts = {**summary(found.blast), "notified": found.notified, "by other means": found.otherwise}
    print_table([(value, name) for name, value in counts.items() if isinstance(value, int)], right=(0,))
    due = found.deadlines
    print(f"preliminary report due {due.preliminary_from} to {due.preliminary_until}, final one by {due.final}")
    if arguments.draft is not None:
        _write_draft(Path(arguments.draft), found.draft)
        print(f"{arguments.draft}: draft for the Commission, to be completed")
    print("nothing was recorded" if found.dry_run else f"reported; id {found.request_id}")
    return 1 if found.otherwise else 0


def _take_known(text: str | None) -> Any:
    known = take_moment("--known", text)
    if known is not None and len(text or "") > len("2026-04-01"):
        raise RequestError("--known: expected a date such as 2026-04-01, got a moment")
    return known


def _write_draft(path: Path, text: str) -> None:
    """Write a draft that only this user can read.

    Raises:
        StorageError: it cannot be written.
    """
    try:
        handle = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
        with open(handle, "w", encoding="utf-8") as file:
            file.write(text)
    except OSError as error:
        raise StorageError(f"write draft: {error.strerror}") from error
