"""``hub tickets``, ``deliver``, ``acquired``: aliases in three parts; ``reissue``, ``revoke``: when they must end."""

from __future__ import annotations

import argparse
import shlex
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
import numpy.typing as npt

import hub
from hub.acquisition.reissue import rows_max
from hub.commands.acquire import STATUS_NAMES, check_result, report_rejected
from hub.commands.opening import open_hub
from hub.commands.options import add_folder, print_table, take_folder
from hub.commands.progress import Progress, Stopping, add_progress
from hub.errors import RequestError
from hub.files.columns import Choices
from hub.files.inquiries import AliasFile, AliasPart, RejectedWriter, read_aliases, read_delivery
from hub.files.tables import ENCODINGS, TableWriter
from hub.messages import Acquired, Acquisition, Aliases, Differs
from hub.methods.aliases import REGISTER

REISSUE_ROWS = rows_max(1 << 32, 1 << 32)
"""Rows of one commit of these commands: as many as fit at an institution of any size."""

REJECTED_HELP = """\
Lines of the wrong shape go to <name>.rejected.csv with line and cause. Parquet and Arrow files
are known by their suffix.
"""

TICKETS_EPILOG = """\
The result has the columns row,ticket. A ticket is good for one person and 30 days; send it to the
register body with whatever tells it who is meant, then ask for the alias with "hub acquired".

Example:
  hub tickets linkage 131016 1000 --out tickets.csv

Exit status: 0 done; 2 wrong request, nothing drawn; 3 disk.
"""

DELIVER_EPILOG = f"""\
DELIVERY.csv has the columns ticket,code: tickets of any institutions, resident record codes of 11
digits. Nothing is told but how many were delivered. {REJECTED_HELP}
The command may be given again at any time. A ticket that is unknown, has lapsed or was delivered
with another code stops it: no row of that part of a million rows is delivered.

Example:
  hub deliver linkage delivery.csv

Exit status: 0 done; 1 done, some lines rejected; 2 wrong request; 3 disk; 130 Ctrl-C.
"""

DIFFERS_NAMES = [
    " ".join(one.name or "" for one in Differs if one & number) for number in range(2 * Differs.BIRTH)
]
"""Which attributes differ, by their bits."""

ACQUIRED_EPILOG = f"""\
TICKETS.csv has the column ticket, and may be what "hub tickets" wrote. The result has the columns
row,alias,status,differs: CREATED; ALREADY where the institution had an alias of this person; WAITING
where nothing was delivered yet; HELD where the register has other attributes, whose names stand in
differs ("hub confirm-links"); NONE. {REJECTED_HELP}
The command may be given again, until --close says that the aliases have arrived: once the result
is on the disk, the hub then forgets whom the tickets stood for.

Example:
  hub acquired linkage 131016 tickets.csv --out aliases.csv --close

Exit status: 0 done; 1 done, lines rejected, or tickets that wait or are unknown; 2 wrong request; 3 disk; 130 Ctrl-C.
"""

REISSUE_EPILOG = f"""\
ALIASES.csv has the column alias, and may be what "hub acquire" wrote. The result has the columns
row,alias,status: the new alias; CREATED, ALREADY where it was replaced before, NONE where it is
unknown or revoked. {REJECTED_HELP}
Old aliases stop in the commit in which the new ones begin, {REISSUE_ROWS:,} rows at a time. The command may
be given again: it gives the same aliases.

Example:
  hub reissue linkage 131016 leaked.csv --out aliases.csv

Exit status: 0 done; 1 done, lines rejected or aliases unknown; 2 wrong request; 3 disk; 130 Ctrl-C.
"""

REVOKE_EPILOG = f"""\
ALIASES.csv has the column alias, and may be what "hub acquire" wrote. {REJECTED_HELP}
Their persons have no alias at the institution until it acquires again.

Example:
  hub revoke linkage 131016 wrong.csv

Exit status: 0 done; 1 done, lines rejected or aliases unknown; 2 wrong request; 3 disk; 130 Ctrl-C.
"""


def add_commands(commands: Any) -> None:
    """Add ``tickets``, ``deliver``, ``acquired``, ``reissue`` and ``revoke``."""
    told = "draw tickets, with which an institution acquires aliases"
    parser = _add(commands, "tickets", told, TICKETS_EPILOG, ("INSTITUTION", "NUMBER"), run_tickets)
    parser.add_argument("--out", required=True, metavar="FILE", help="the result (.csv, .parquet, .arrow)")

    told = "the register body's part: say whose each ticket is"
    _add_file(commands, "deliver", told, DELIVER_EPILOG, ("DELIVERY.csv",), run_deliver)

    told = "an institution's aliases for its tickets"
    words = ("INSTITUTION", "TICKETS.csv")
    parser = _add_file(commands, "acquired", told, ACQUIRED_EPILOG, words, run_acquired, out=True)
    parser.add_argument("--close", action="store_true", help="the aliases arrive with the result: forget the tickets")

    told, words = "replace aliases, as after a leak", ("INSTITUTION", "ALIASES.csv")
    _add_file(commands, "reissue", told, REISSUE_EPILOG, words, run_reissue, out=True)
    _add_file(commands, "revoke", "end aliases", REVOKE_EPILOG, words, run_revoke)


def _add(
    commands: Any, name: str, told: str, epilog: str, words: tuple[str, ...], run: Callable[..., int]
) -> argparse.ArgumentParser:
    parser: argparse.ArgumentParser = commands.add_parser(name, help=told, epilog=epilog)
    parser.description = told[0].upper() + told[1:] + "."
    add_folder(parser, *words)
    parser.set_defaults(run=run)
    return parser


def _add_file(
    commands: Any,
    name: str,
    told: str,
    epilog: str,
    words: tuple[str, ...],
    run: Callable[..., int],
    *,
    out: bool = False,
) -> argparse.ArgumentParser:
    parser = _add(commands, name, told, epilog, words, run)
    if out:
        parser.add_argument("--out", required=True, metavar="FILE", help="the result (.csv, .parquet, .arrow)")
    parser.add_argument("--encoding", choices=ENCODINGS, default="auto", help=f"of {words[-1]} (default: auto)")
    add_progress(parser)
    return parser


def run_tickets(arguments: argparse.Namespace) -> int:
    """Draw tickets and write them down."""
    folder, (institution, number) = take_folder(arguments)
    if not (number.isascii() and number.isdigit()):
        raise RequestError("NUMBER: expected how many tickets, got something else")
    with open_hub(arguments, folder) as h, TableWriter(arguments.out, ("row", "ticket")) as result:
        tickets = h.tickets(institution, int(number))
        result.write([np.arange(1, len(tickets) + 1), tickets])
    print(f"{arguments.out}: {len(tickets):,} tickets of {institution}")
    return 0


def run_deliver(arguments: argparse.Namespace) -> int:
    """Deliver a file in parts; each is durable before the next is read."""
    folder, (source,) = take_folder(arguments)
    delivery = read_delivery(source, encoding=arguments.encoding)
    done = 0
    with open_hub(arguments, folder) as h, _reading(arguments, delivery, source, source) as (rejected, parts):
        for part in parts:
            assert part.codes is not None
            done += h.deliver(REGISTER, part.aliases, part.codes).rows
    print(f"{done:,} tickets delivered")
    return report_rejected(rejected)


def run_acquired(arguments: argparse.Namespace) -> int:
    """Ask with a file of tickets; close them when the result is on the disk."""
    folder, (institution, source) = take_folder(arguments)
    tickets = read_aliases(source, "ticket", encoding=arguments.encoding)
    told: list[Aliases] = []

    def ask(h: hub.Hub, part: AliasPart) -> Acquired:
        told.append(part.aliases)
        return h.acquired(institution, part.aliases)

    with open_hub(arguments, folder, readonly=not arguments.close) as h:
        status = _write_result(arguments, h, tickets, institution, source, ask, differs=True)
        if arguments.close:
            # Not before: until the result has its name the same tickets must give it again.
            closed = sum(h.close_tickets(institution, part) for part in told)
            print(f"{closed:,} tickets closed")
    return status


def run_reissue(arguments: argparse.Namespace) -> int:
    """Replace a file's aliases in parts; each is durable before the next is read."""
    folder, (institution, source) = take_folder(arguments)
    aliases = read_aliases(source, encoding=arguments.encoding, rows=REISSUE_ROWS)

    def replace(h: hub.Hub, part: AliasPart) -> Acquired:
        return h.reissue(institution, part.aliases)

    with open_hub(arguments, folder) as h:
        return _write_result(arguments, h, aliases, institution, source, replace)


def run_revoke(arguments: argparse.Namespace) -> int:
    """End a file's aliases in parts; each is durable before the next is read."""
    folder, (institution, source) = take_folder(arguments)
    aliases = read_aliases(source, encoding=arguments.encoding, rows=REISSUE_ROWS)
    ended = rows = 0
    with open_hub(arguments, folder) as h, _reading(arguments, aliases, source, source) as (rejected, parts):
        h.catalog.institution(institution)
        for part in parts:
            ended += h.revoke(institution, part.aliases)
            rows += len(part.row)
    print(f"{ended:,} aliases of {institution} revoked; {rows - ended:,} rows were unknown, revoked before or repeated")
    return max(report_rejected(rejected), int(ended < rows))


def _write_result(
    arguments: argparse.Namespace,
    h: hub.Hub,
    file: AliasFile,
    institution: str,
    source: str,
    call: Callable[[hub.Hub, AliasPart], Acquired],
    *,
    differs: bool = False,
) -> int:
    """Do a file part by part and write row, alias, status; 1 where a row was rejected or has no alias.

    With ``differs`` also the attributes for which a row is held: its second clerk has nothing else to go by.
    """
    check_result(source, arguments.out)
    counts: npt.NDArray[np.int64] = np.zeros(len(Acquisition), np.int64)
    with (
        TableWriter(arguments.out, ("row", "alias", "status", *(("differs",) if differs else ()))) as result,
        _reading(arguments, file, source, arguments.out) as (rejected, parts),
    ):
        h.catalog.institution(institution)
        for part in parts:
            acquired = call(h, part)
            why = [Choices(acquired.differs, DIFFERS_NAMES)] if differs else []
            result.write([part.row, acquired.aliases, Choices(acquired.status, STATUS_NAMES), *why])
            counts += np.bincount(acquired.status, minlength=len(counts))
    print(f"{arguments.out}: {counts.sum():,} rows of {institution}")
    print_table([(counts[s], s.name) for s in Acquisition if counts[s]], right=(0,))
    without = counts.sum() - counts[[Acquisition.CREATED, Acquisition.ALREADY]].sum()
    return max(report_rejected(rejected), int(without > 0))


@contextmanager
def _reading(
    arguments: argparse.Namespace, file: AliasFile, source: str, result: str
) -> Iterator[tuple[RejectedWriter, Iterator[AliasPart]]]:
    """The parts of a file with progress, rejected lines written beside the result, and an end at Ctrl-C."""
    done = 0

    def parts(rejected: RejectedWriter, progress: Progress, stopping: Stopping) -> Iterator[AliasPart]:
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
            Progress(arguments.argv[0], file.rows_max, show=arguments.progress) as progress,
        ):
            yield rejected, parts(rejected, progress, stopping)
    except KeyboardInterrupt:
        raise KeyboardInterrupt(
            f"stopped: {done:,} rows are done; give the command again to go on:",
            f"  hub {shlex.join(arguments.argv)}",
        ) from None
