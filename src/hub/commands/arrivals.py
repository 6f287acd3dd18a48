"""``hub arrived`` and ``hub taken``: what was sent to an institution, for who receives it."""

from __future__ import annotations

import argparse
import shlex
from typing import Any

import numpy as np

import hub
from hub.commands.acquire import report_rejected
from hub.commands.exchange import join_rejected, spell_time
from hub.commands.opening import open_hub
from hub.commands.options import add_folder, take_folder
from hub.commands.progress import Progress, Stopping, add_progress
from hub.errors import RequestError, RowsError
from hub.files.columns import Choices, payload_column, permit_column
from hub.files.inquiries import UNFIT, Rejected, RejectedWriter
from hub.files.sent import SentPart, read_taken
from hub.files.tables import ENCODINGS, TableWriter
from hub.limits import ARRIVED_ROWS
from hub.messages import Arrivals

COLUMNS = (
    "number", "alias", "payload", "corrects", "kind", "sender", "sender_name", "on_behalf_of", "procedure", "items",
    "role", "section", "reference_date", "event", "legal_basis", "valid_until",
)  # fmt: skip

ARRIVED_EPILOG = """\
The result has a line an arrival, in an order of the institution's own, with the columns

  number          by which it is taken, 16 hex digits
  alias           the institution's own alias of the person, 32 hex digits
  payload         the data in base64; sealed where the institution has registered a key (hub key open)
  corrects        of an UPDATE the institution's handle of the record whose data it corrects, in hex
  kind            PUSH or UPDATE
  sender ... legal_basis
                  who gives what, and on which basis; event is what happened, or why it is corrected
  valid_until     when it lapses

What is not taken (hub taken) comes again, until it lapses after 28 days.

Examples:
  hub arrived linkage nenkin --out arrived.csv
  hub arrived linkage nenkin --out new.parquet --after CURSOR

Exit status: 0 done; 1 nothing waits; 2 wrong request; 3 disk; 130 Ctrl-C.
"""

TAKEN_EPILOG = """\
FILE.csv has the column number; a result of hub arrived may be given as it is. What was taken is recorded for the
person to read, and the hub forgets the data. Lines that do not fit go to <name of FILE>.rejected.csv beside the
file. Given again, the command records nothing twice.

Example:
  hub taken linkage nenkin arrived.csv

Exit status: 0 done; 1 done, some lines rejected; 2 wrong request; 3 disk; 130 Ctrl-C.
"""


def add_commands(commands: Any) -> None:
    """Add ``arrived`` and ``taken``."""
    parser = commands.add_parser("arrived", help="what was sent to an institution unasked", epilog=ARRIVED_EPILOG)
    parser.description = "Write what was pushed to an institution, or corrected, into a file."
    add_folder(parser, "INSTITUTION")
    parser.add_argument("--out", required=True, metavar="FILE", help="the result (.csv, .parquet, .arrow)")
    parser.add_argument("--after", metavar="CURSOR", help="only what came behind an earlier result")
    parser.add_argument("--limit", type=int, metavar="N", help="at most so many (default: all)")
    add_progress(parser)
    parser.set_defaults(run=run_arrived)

    parser = commands.add_parser("taken", help="say that arrivals were taken", epilog=TAKEN_EPILOG)
    parser.description = "Say that what has arrived is in the institution's own hands."
    add_folder(parser, "INSTITUTION", "FILE.csv")
    parser.add_argument("--encoding", choices=ENCODINGS, default="auto", help="of FILE.csv (default: auto)")
    add_progress(parser)
    parser.set_defaults(run=run_taken)


def run_arrived(arguments: argparse.Namespace) -> int:
    """Page by page into one file."""
    folder, (institution,) = take_folder(arguments)
    if arguments.limit is not None and arguments.limit < 1:
        raise RequestError(f"--limit: expected 1 or more, got {arguments.limit}")
    cursor, rows = arguments.after, 0
    try:
        with open_hub(arguments, folder) as h:
            h.catalog.institution(institution)
            with (
                Stopping() as stopping,
                TableWriter(arguments.out, COLUMNS) as result,
                Progress("arrived", arguments.limit, show=arguments.progress) as progress,
            ):
                while arguments.limit is None or rows < arguments.limit:
                    most = ARRIVED_ROWS if arguments.limit is None else min(ARRIVED_ROWS, arguments.limit - rows)
                    page = h.arrived(institution, limit=most, after=cursor)
                    if not page:
                        break
                    result.write(arrival_columns(page))
                    rows += sum(map(len, page))
                    cursor = page[-1].cursor
                    progress(rows)
                    stopping.check()
    except KeyboardInterrupt:
        raise KeyboardInterrupt(
            "stopped; no result was written; give the command again:", f"  hub {shlex.join(arguments.argv)}"
        ) from None
    print(f"{arguments.out}: {rows:,} arrivals of {institution}")
    if cursor is not None:
        print(f"go on with --after {cursor}")
    return 0 if rows else 1


def arrival_columns(page: list[Arrivals]) -> list[Any]:
    """The columns of a result file: what arrivals have in common stands once, not once a row."""
    which = np.repeat(np.arange(len(page)), list(map(len, page)))
    texts = []
    for one in page:
        about = one.about
        date = "" if about.reference_date is None else about.reference_date.isoformat()
        texts.append(
            (
                about.kind.name, about.sender, about.sender_name, about.on_behalf_of or "", about.procedure,
                ";".join(about.items), about.role, about.section, date, about.event or "", about.legal_basis,
                spell_time(one.valid_until),
            )
        )  # fmt: skip
    return [
        permit_column(np.concatenate([one.number for one in page])),
        np.concatenate([one.aliases for one in page]),
        payload_column([payload for one in page for payload in one.payloads]),
        ["" if handle is None else handle.hex() for one in page for handle in one.corrects],
        *(Choices(which, names) for names in zip(*texts, strict=True)),
    ]


def run_taken(arguments: argparse.Namespace) -> int:
    """Read the file in parts; a part is durable before the next is read."""
    folder, (institution, source) = take_folder(arguments)
    file = read_taken(source, encoding=arguments.encoding)
    taken = done = 0
    try:
        with open_hub(arguments, folder) as h:
            h.catalog.institution(institution)
            with (
                Stopping() as stopping,
                RejectedWriter(source, source) as rejected,
                Progress("taken", file.rows_max, show=arguments.progress) as progress,
            ):
                for part in file:
                    rows, unfit = take_part(h, institution, part)
                    rejected.write(join_rejected(part.rejected, unfit))
                    taken += rows
                    done += part.rows_read
                    progress(done)
                    stopping.check()
    except KeyboardInterrupt:
        raise KeyboardInterrupt(
            f"stopped: {taken:,} are recorded; give the command again to go on:", f"  hub {shlex.join(arguments.argv)}"
        ) from None
    print(f"{source}: {taken:,} arrivals of {institution} are taken")
    return report_rejected(rejected)


def take_part(h: hub.Hub, institution: str, part: SentPart) -> tuple[int, Rejected]:
    """Take what fits of a part: how many, and the lines of the others."""
    _, first = np.unique(part.names, return_index=True)
    rows = np.sort(first)
    lines, causes = [np.empty(0, np.int64)], [np.empty(0, np.uint8)]
    while len(rows):
        try:
            h.taken(institution, part.names[rows])
            break
        except RowsError as error:
            lines.append(part.line[rows[error.rows]])
            causes.append(np.full(len(error.rows), UNFIT[error.cause], np.uint8))
            rows = np.delete(rows, error.rows)
    return len(rows), Rejected(np.concatenate(lines), np.concatenate(causes))
