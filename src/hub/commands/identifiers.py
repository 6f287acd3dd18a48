"""``hub identifiers``: certificate serials, MyKey ids and the like: registered, renewed, revoked, asked by."""

from __future__ import annotations

import argparse
import shlex
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np

import hub
from hub.commands.acquire import STATUS_NAMES, check_result, report_rejected
from hub.commands.opening import open_hub
from hub.commands.options import add_folder, print_table, take_folder
from hub.commands.progress import Progress, Stopping, add_progress
from hub.files.columns import Choices
from hub.files.identifiers import IdentifierPart, read_identifiers
from hub.files.inquiries import PART_ROWS, RejectedWriter
from hub.files.tables import ENCODINGS, TableWriter
from hub.limits import ROWS_PER_REISSUE_MAX
from hub.messages import Identity
from hub.methods.aliases import REGISTER

EPILOG = """\
A namespace is a line of the catalog: namespace,name,issuer,relying,following (hub catalog import).
Its issuer says whom identifiers name; the bodies that rely on it find their own aliases by them. An
identifier of one namespace is unknown in every other.

  register  FILE has the columns identifier,alias: the issuer's own aliases; the register body, which
            has none, gives identifier,code: resident record codes of 11 digits
  renew     FILE has the columns identifier,new: what takes the place of each
  revoke    FILE has the column identifier
  identify  FILE has the column identifier; the result has row,alias,status: VALID, UNKNOWN, REVOKED,
            REPLACED, NO_ALIAS

An identifier is text of 1 to 64 bytes in UTF-8, taken as it stands. Lines of the wrong shape go to
<name>.rejected.csv with line and cause. Each command may be given again: what is done stays done.

Examples:
  hub catalog import linkage namespaces.csv
  hub identifiers register linkage jpki-auth jlis serials.csv
  hub identifiers renew linkage jpki-auth jlis renewed.csv
  hub identifiers revoke linkage jpki-auth jlis lost.csv
  hub identifiers identify linkage jpki-auth portal logins.csv --out aliases.csv

Exit status: 0 done; 1 done, lines rejected or rows without effect; 2 wrong request; 3 disk; 130 Ctrl-C.
"""

IDENTITY_NAMES = [Identity(i).name for i in range(len(Identity))]


def add_commands(commands: Any) -> None:
    """Add ``identifiers``."""
    parser = commands.add_parser("identifiers", help="certificate serials, MyKey ids and the like", epilog=EPILOG)
    parser.description = "Say whom identifiers from outside name, or find aliases by them."
    under = parser.add_subparsers(title="commands", metavar="COMMAND", required=True, parser_class=type(parser))
    for name, body, told, run in (
        ("register", "ISSUER", "say whom identifiers name", run_register),
        ("renew", "ISSUER", "put new identifiers in the place of old ones", run_renew),
        ("revoke", "ISSUER", "end identifiers", run_revoke),
        ("identify", "INSTITUTION", "a body's own aliases of whom identifiers name", run_identify),
    ):
        parser = under.add_parser(name, help=told, epilog=EPILOG)
        parser.description = told[0].upper() + told[1:] + "."
        add_folder(parser, "NAMESPACE", body, "FILE")
        if name == "identify":
            parser.add_argument("--out", required=True, metavar="FILE", help="the result (.csv, .parquet, .arrow)")
        else:
            parser.add_argument("--clerk", metavar="NAME", help="who decides, for auditors")
        if name == "register":
            parser.add_argument("--again", action="store_true", help="also what was revoked, for whomever it is now")
        parser.add_argument("--encoding", choices=ENCODINGS, default="auto", help="of FILE (default: auto)")
        add_progress(parser)
        parser.set_defaults(run=run)


def run_register(arguments: argparse.Namespace) -> int:
    """Register a file's identifiers in parts; each is durable before the next is read."""
    folder, (namespace, issuer, source) = take_folder(arguments)

    def call(h: hub.Hub, part: IdentifierPart) -> Any:
        found = h.register_identifiers(
            namespace, issuer, part.people, part.identifiers, again=arguments.again, clerk=arguments.clerk
        )
        return found.status

    return _change(arguments, folder, source, "code" if issuer == REGISTER else "alias", PART_ROWS, call)


def run_renew(arguments: argparse.Namespace) -> int:
    """Renew a file's identifiers in parts."""
    folder, (namespace, issuer, source) = take_folder(arguments)

    def call(h: hub.Hub, part: IdentifierPart) -> Any:
        return h.renew_identifiers(namespace, issuer, part.identifiers, part.new, clerk=arguments.clerk).status

    return _change(arguments, folder, source, "new", ROWS_PER_REISSUE_MAX, call)


def _change(
    arguments: argparse.Namespace, folder: str, source: str, beside: str, rows: int,
    call: Callable[[hub.Hub, IdentifierPart], Any],
) -> int:  # fmt: skip
    counts = np.zeros(len(STATUS_NAMES), np.int64)
    with open_hub(arguments, folder) as h, _reading(arguments, source, source, beside, rows) as (rejected, parts):
        for part in parts:
            counts += np.bincount(call(h, part), minlength=len(counts))
    shown = [(count, name) for count, name in zip(counts, STATUS_NAMES, strict=True) if count]
    print_table(shown or [(0, "rows")], right=(0,))
    return max(report_rejected(rejected), int(counts[hub.Acquisition.NONE] > 0))


def run_revoke(arguments: argparse.Namespace) -> int:
    """Revoke a file's identifiers in parts."""
    folder, (namespace, issuer, source) = take_folder(arguments)
    ended = rows = 0
    with (
        open_hub(arguments, folder) as h,
        _reading(arguments, source, source, None, ROWS_PER_REISSUE_MAX) as (rejected, parts),
    ):
        for part in parts:
            ended += h.revoke_identifiers(namespace, issuer, part.identifiers, clerk=arguments.clerk)
            rows += len(part.row)
    print(f"{ended:,} identifiers revoked; {rows - ended:,} rows were unknown, had ended before or are repeated")
    return max(report_rejected(rejected), int(ended < rows))


def run_identify(arguments: argparse.Namespace) -> int:
    """Ask by a file of identifiers and write row, alias, status."""
    folder, (namespace, institution, source) = take_folder(arguments)
    check_result(source, arguments.out)
    counts = np.zeros(len(IDENTITY_NAMES), np.int64)
    with (
        open_hub(arguments, folder) as h,
        TableWriter(arguments.out, ("row", "alias", "status")) as result,
        _reading(arguments, source, arguments.out, None, PART_ROWS) as (rejected, parts),
    ):
        # Whether it may ask at all shows also where the file is empty.
        h.identify(institution, namespace, [])
        for part in parts:
            found = h.identify(institution, namespace, part.identifiers)
            result.write([part.row, found.aliases, Choices(found.status, IDENTITY_NAMES)])
            counts += np.bincount(found.status, minlength=len(counts))
    print(f"{arguments.out}: {counts.sum():,} rows of {institution}")
    shown = [(count, name) for count, name in zip(counts, IDENTITY_NAMES, strict=True) if count]
    print_table(shown or [(0, "rows")], right=(0,))
    return max(report_rejected(rejected), int(counts.sum() > counts[Identity.VALID]))


@contextmanager
def _reading(
    arguments: argparse.Namespace, source: str, result: str, beside: str | None, rows: int
) -> Iterator[tuple[RejectedWriter, Iterator[IdentifierPart]]]:
    """The parts of a file with progress, rejected lines written beside the result, and an end at Ctrl-C."""
    file = read_identifiers(source, beside, encoding=arguments.encoding, rows=rows)
    done = 0

    def parts(rejected: RejectedWriter, progress: Progress, stopping: Stopping) -> Iterator[IdentifierPart]:
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
            Progress("identifiers", file.rows_max, show=arguments.progress) as progress,
        ):
            yield rejected, parts(rejected, progress, stopping)
    except KeyboardInterrupt:
        raise KeyboardInterrupt(
            f"stopped: {done:,} rows are done; give the command again to go on:",
            f"  hub {shlex.join(arguments.argv)}",
        ) from None
