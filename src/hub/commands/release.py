"""``hub release``: let a row through that was held because too many bodies were asked."""

from __future__ import annotations

import argparse
from typing import Any

from hub.commands.marks import take_record
from hub.commands.opening import open_hub
from hub.commands.options import add_folder

RELEASE_EPILOG = """\
Whoever asks more bodies about a person in one day than the procedure allows gets HELD for the rows
beyond. Another clerk than the one who asked releases such a row; the person reads the reason.
A record is named by REQUEST_ID and ROW, counted from 0, of the requester's own inquiry (for 30 days),
or by --handle HEX as h.handles gives it.

Example:
  hub release linkage tax-2026 17 --reason "moved three times this year" --clerk suzuki

Exit status: 0 released; 2 wrong request, nothing changed; 3 disk.
"""


def add_commands(commands: Any) -> None:
    """Add ``release``."""
    parser = commands.add_parser("release", help="let a held row through, with a reason", epilog=RELEASE_EPILOG)
    parser.description = "Release a row that was held because too many bodies were asked about the person."
    add_folder(parser, "REQUEST_ID", "ROW")
    parser.usage = f"{parser.prog} FOLDER (REQUEST_ID ROW | --handle HEX) --reason TEXT --clerk NAME [options]"
    parser.add_argument("--handle", metavar="HEX", help="the record, instead of REQUEST_ID and ROW")
    parser.add_argument("--requester", metavar="CODE", help="whose request id it is")
    parser.add_argument("--reason", required=True, help="shown to the person")
    parser.add_argument("--clerk", required=True, metavar="NAME", help="who releases it: not who asked")
    parser.set_defaults(run=run_release)


def run_release(arguments: argparse.Namespace) -> int:
    """Release one row."""
    folder, handle = take_record(arguments)
    with open_hub(arguments, folder) as h:
        made = h.release(handle, arguments.reason, clerk=arguments.clerk, requester=arguments.requester)
    print(f"released; handle {made.hex()}")
    return 0
