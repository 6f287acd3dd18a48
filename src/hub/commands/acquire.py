"""``hub acquire``: an institution's aliases for a file of resident record codes."""

from __future__ import annotations

import argparse
import os
import shlex
from typing import Any

import numpy as np

import hub
from hub.commands.options import add_folder, print_table, take_folder
from hub.commands.progress import Progress, Stopping, add_progress
from hub.errors import RequestError
from hub.files.columns import Choices
from hub.files.inquiries import CAUSES, RejectedWriter, read_codes
from hub.files.tables import ENCODINGS, TableWriter
from hub.messages import Acquisition

EPILOG = """\
CODES.csv has one column, code: resident record codes of 11 digits. Parquet and Arrow files are
known by their suffix. The result has the columns row,alias,status and never repeats a code:
its row is the row of CODES.csv, the first behind the header being 1. A status is CREATED, or
ALREADY where the institution had an alias of this person. Lines of the wrong shape go to
<name of CODES>.rejected.csv beside the result, with line and cause.

The command may be given again at any time: it gives the same aliases.

Examples:
  hub acquire linkage nenkin codes.csv --out aliases.csv
  hub acquire linkage 131016 codes.parquet --out aliases.parquet

Exit status: 0 done; 1 done, some lines rejected; 2 wrong request; 3 disk; 130 Ctrl-C.
"""


TICKETS = "there an institution draws hub tickets, the register body has hub deliver, and hub acquired gives aliases"


def add_commands(commands: Any) -> None:
    """Add ``acquire``."""
    parser = commands.add_parser("acquire", help="give an institution its aliases for a file of codes", epilog=EPILOG)
    parser.description = "Give an institution its aliases for a file of resident record codes."
    add_folder(parser, "INSTITUTION", "CODES.csv", local=TICKETS)
    parser.add_argument("--out", required=True, metavar="FILE", help="the result (.csv, .parquet, .arrow)")
    parser.add_argument("--encoding", choices=ENCODINGS, default="auto", help="of CODES.csv (default: auto)")
    add_progress(parser)
    parser.set_defaults(run=run_acquire)


def run_acquire(arguments: argparse.Namespace) -> int:
    """Read the file in parts; a part is durable before the next is read."""
    folder, (institution, source) = take_folder(arguments)
    codes = read_codes(source, encoding=arguments.encoding)
    check_result(source, arguments.out)
    counts = np.zeros(len(Acquisition), np.int64)
    done = 0
    try:
        with (
            hub.open(folder) as h,
            Stopping() as stopping,
            TableWriter(arguments.out, ("row", "alias", "status")) as result,
            RejectedWriter(source, arguments.out) as rejected,
            Progress("acquire", codes.rows_max, show=arguments.progress) as progress,
        ):
            h.catalog.institution(institution)
            for part in codes:
                acquired = h.acquire(institution, part.codes)
                result.write([part.row, acquired.aliases, Choices(acquired.status, STATUS_NAMES)])
                rejected.write(part.rejected)
                counts += np.bincount(acquired.status, minlength=len(counts))
                done += part.rows_read
                progress(done)
                stopping.check()
    except KeyboardInterrupt:
        raise KeyboardInterrupt(
            f"stopped: {done:,} rows are durable, no result was written; give the command again to go on:",
            f"  hub {shlex.join(arguments.argv)}",
        ) from None
    print(f"{arguments.out}: {counts.sum():,} aliases of {institution}")
    print_table([(counts[s], s.name) for s in Acquisition if counts[s]], right=(0,))
    return report_rejected(rejected)


STATUS_NAMES = [Acquisition(i).name for i in range(len(Acquisition))]


def check_result(source: str, result: str) -> None:
    """Refuse a result that would overwrite what it is made from, or the list of rejected lines beside it."""
    rejected = RejectedWriter(source, result).path
    if os.path.realpath(rejected) in (os.path.realpath(result), os.path.realpath(source)):
        raise RequestError(f"{result}: expected another name than that of the rejected lines, {rejected.name}")
    if os.path.exists(result) and os.path.samefile(source, result):
        raise RequestError(f"{result}: expected a result other than the file that is read")


def report_rejected(rejected: RejectedWriter) -> int:
    """Print why lines were rejected; the exit status."""
    if not rejected.counts.any():
        return 0
    print(f"{rejected.path}: {rejected.counts.sum():,} lines rejected")
    print_table([(n, CAUSES[i]) for i, n in enumerate(rejected.counts) if n], right=(0,))
    return 1
