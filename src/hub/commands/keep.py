"""``hub init``, ``hub status``, ``hub stats``: make a hub, and see how it stands."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any, cast

import msgspec

import hub
from hub.catalog.words import quote
from hub.commands.opening import is_address, open_hub
from hub.commands.options import FOLDER_ONLY, add_folder, moment_of, print_table, spell_moment, take_folder
from hub.errors import RequestError
from hub.files.inquiries import PARTS_MAX
from hub.limits import ROWS_PER_CHUNK

INIT_EPILOG = """\
The folder is made if it does not exist; one that exists must be empty. It gets the keys of the
hub, readable by you alone, and the catalog of the law as shipped. In the same folder again,
nothing is changed.

Example:
  hub init linkage

Exit status: 0 done; 2 the folder holds something else; 3 disk.
"""

STATUS_EPILOG = """\
REQUEST_ID is the ID of hub inquire; its parts ID.0000, ID.0001 ... are shown together. A part is
known from its first durable chunk on; how many rows the whole file has at most is known from the
beginning. A whole id (ID.0003, or one sent by a program) is found too.
Ids are kept 30 days.

Examples:
  hub status linkage tax-2026
  hub status linkage tax-2026 --requester nenkin

Exit status: 0 complete; 1 some rows are not done; 2 no such request; 3 disk.
"""

STATS_EPILOG = """\
Examples:
  hub stats linkage
  hub stats linkage --json

Exit status: 0 done; 2 no hub there; 3 disk.
"""


def add_commands(commands: Any) -> None:
    """Add ``init``, ``status`` and ``stats``."""
    parser = commands.add_parser("init", help="make a hub in a folder", epilog=INIT_EPILOG)
    parser.description = "Make a hub in a folder."
    add_folder(parser, local=FOLDER_ONLY)
    parser.set_defaults(run=run_init)

    parser = commands.add_parser("status", help="how far an inquiry is", epilog=STATUS_EPILOG)
    parser.description = "Show how many chunks of an inquiry are durable."
    add_folder(parser, "REQUEST_ID")
    parser.add_argument("--requester", metavar="CODE", help="whose inquiry (default: whoever has one of this id; "
                        "with an address, who calls)")  # fmt: skip
    parser.set_defaults(run=run_status)

    parser = commands.add_parser("stats", help="persons, aliases, records, bytes", epilog=STATS_EPILOG)
    parser.description = "Count what the hub holds."
    add_folder(parser, local=FOLDER_ONLY)
    parser.add_argument("--json", action="store_true", help="one JSON document")
    parser.set_defaults(run=run_stats)


def run_init(arguments: argparse.Namespace) -> int:
    """Make a hub, or find that it is there."""
    folder, _ = take_folder(arguments)
    there = Path(folder).is_dir() and any(Path(folder).iterdir())
    with hub.open(folder, create=True) as h:
        institutions, procedures = len(h.catalog.institutions()), len(h.catalog.procedures())
    print(f"{folder}: " + ("a hub already, nothing changed" if there else "hub made, its keys readable by you alone"))
    print(f"catalog in force: {institutions:,} institutions, {procedures:,} procedures")
    return 0


PARTS_SKIPPED_MAX = 16
"""A part of a file is never sent when all its lines were rejected; the search for later ones goes on this far."""


def find_parts(h: hub.Hub, requester: str, name: str) -> list[tuple[str, hub.RequestStatus]]:
    """The request of this id and the parts of it that are known."""
    found = []
    missed = 0
    for request_id in (name, *(f"{name}.{number:04}" for number in range(PARTS_MAX))):
        try:
            found.append((request_id, h.status(requester, request_id)))
            missed = 0
        except RequestError:
            missed += 1
            if missed > PARTS_SKIPPED_MAX:
                break
    return found


def find_requesters(h: hub.Hub, asked: str | None, name: str, *, wire: bool) -> list[str]:
    """Whose inquiry may be meant: who was named, or whoever has one of this id; over the wire, whoever calls."""
    if asked:
        return [h.catalog.institution(asked).code]
    if wire:
        remote = cast(hub.Remote, h)
        return [remote.institution] if remote.institution else list(remote.institutions)
    return h.requesters_of(name)


def run_status(arguments: argparse.Namespace) -> int:
    """Chunks done, by part and in all."""
    folder, (name,) = take_folder(arguments)
    complete = True
    with open_hub(arguments, folder, readonly=True) as h:
        requesters = find_requesters(h, arguments.requester, name, wire=is_address(folder))
        found = [(code, h.find_file(code, name), find_parts(h, code, name)) for code in requesters]
    if not any(file or parts for _, file, parts in found):
        raise RequestError(f"request {quote(name)}: expected one of the last 30 days, found none")
    for requester, file, parts in found:
        print(f"request {name} of {requester}")
        rows = [("id", "rows", "chunks done", "received")]
        for i, s in parts:
            rows.append((i, f"{s.rows:,}", f"{s.chunks_done} of {s.chunks}", spell_moment(moment_of(s.received_at))))
        print_table(rows, right=(1,))
        done, chunks = sum(s.chunks_done for _, s in parts), sum(s.chunks for _, s in parts)
        whole = all(s.complete for _, s in parts)
        of = f"{chunks}"
        if file is not None and not file.complete:
            whole = False
            of = f"at most {-(-file.rows_max // ROWS_PER_CHUNK)}"
        print(f"  {done} of {of} chunks durable: " + ("complete" if whole else "not complete, send it again to go on"))
        complete &= whole
    return 0 if complete else 1


def run_stats(arguments: argparse.Namespace) -> int:
    """Counts of what the folder holds."""
    folder, _ = take_folder(arguments)
    with hub.open(folder, readonly=True) as h:
        stats = h.stats()
    if arguments.json:
        print(msgspec.json.format(msgspec.json.encode(stats), indent=2).decode())
        return 0
    aliases: dict[str, int] = stats.pop("aliases")
    identifiers: dict[str, int] = stats.pop("identifiers")
    print_table([(name.replace("_", " "), value) for name, value in stats.items()], right=(1,))
    if identifiers:
        print(f"identifiers by namespace ({len(identifiers):,} namespaces)")
        print_table(sorted(identifiers.items()), right=(1,))
    if aliases:
        print(f"aliases by institution ({len(aliases):,} institutions)")
        print_table(sorted(aliases.items(), key=lambda entry: -entry[1])[:20], right=(1,))
        if len(aliases) > 20:
            print(f"  and {len(aliases) - 20:,} more (--json lists all)")
    return 0
