"""``hub holders``: the register body's word on who holds whom, from a file."""

from __future__ import annotations

import argparse
import shlex
from typing import Any

import numpy as np

import hub
from hub.commands.acquire import report_rejected
from hub.commands.opening import open_hub
from hub.commands.options import add_folder, print_table, take_folder
from hub.commands.progress import Progress, Stopping, add_progress
from hub.files.holders import HolderPart, read_holders
from hub.files.inquiries import RejectedWriter
from hub.files.tables import ENCODINGS

EPILOG = """\
FACTS.csv has the columns code,class,institution,from,to: a resident record code of 11 digits, the
label of a class (hub catalog list classes), the code of a body of that class, the first and the
last day on which it holds the person; to is empty while nobody knows of an end. What is open is
closed by the next fact of the same person and class that begins later. A row with the person,
class, institution and first day of an earlier one changes its last day; the day before the first
takes it back. Lines of the wrong shape go to <name of FACTS>.rejected.csv beside it.

The command may be given again at any time: the same facts change nothing. A row of "hub inquire"
may then name a class instead of a body.

Example:
  hub holders linkage facts.csv --clerk sato

Exit status: 0 done; 1 done, some lines rejected or without room; 2 wrong request; 3 disk;
130 Ctrl-C.
"""

REGISTER = "jlis"


def add_commands(commands: Any) -> None:
    """Add ``holders``."""
    parser = commands.add_parser("holders", help="say which bodies hold which people", epilog=EPILOG)
    parser.description = "Take in the register body's file of who holds whom."
    add_folder(parser, "FACTS.csv")
    parser.add_argument("--clerk", metavar="NAME", help="who says so, for auditors")
    parser.add_argument("--encoding", choices=ENCODINGS, default="auto", help="of FACTS.csv (default: auto)")
    add_progress(parser)
    parser.set_defaults(run=run_holders)


def run_holders(arguments: argparse.Namespace) -> int:
    """Push the file in parts; a part is durable before the next is read."""
    folder, (source,) = take_folder(arguments)
    counts = np.zeros(3, np.int64)
    done = 0
    try:
        with open_hub(arguments, folder) as h:
            rows = read_holders(source, h.catalog, encoding=arguments.encoding)
            with (
                Stopping() as stopping,
                RejectedWriter(source, source) as rejected,
                Progress("holders", rows.rows_max, show=arguments.progress) as progress,
            ):
                for part in rows:
                    counts += push_part(h, part, arguments.clerk)
                    rejected.write(part.rejected)
                    done += part.rows_read
                    progress(done)
                    stopping.check()
    except KeyboardInterrupt:
        raise KeyboardInterrupt(
            f"stopped: {done:,} rows are durable; give the command again to go on:",
            f"  hub {shlex.join(arguments.argv)}",
        ) from None
    words = ("facts stand", "of people whom the hub does not know", "of people who have too many others")
    print_table([(n, word) for n, word in zip(counts.tolist(), words, strict=True) if n] or [(0, words[0])], right=(0,))
    status = report_rejected(rejected)
    return 1 if counts[2] else status


def push_part(h: hub.Hub, part: HolderPart, clerk: str | None) -> Any:
    """Push one part, a call a class; returns the rows taken, unknown and full."""
    counts = np.zeros(3, np.int64)
    for number in np.unique(part.classes).tolist():
        at = part.classes == number
        found = h.push_holders(
            REGISTER, part.codes[at], h.catalog.class_of_number(number), part.institutions[at], part.since[at],
            part.until[at], clerk=clerk,
        )  # fmt: skip
        counts += (found.taken, found.unknown, found.full)
    return counts
