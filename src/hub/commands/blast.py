"""``hub blast``: what was done through one link of an institution, that was wrong."""

from __future__ import annotations

import argparse
from typing import Any

import msgspec

import hub
from hub.commands.opening import open_hub
from hub.commands.options import add_folder, print_table, spell_moment, take_alias, take_folder, take_moment
from hub.commands.words import STATUS_WORDS
from hub.files.tables import TableWriter
from hub.mislinks.blast import blast_rows

EPILOG = """\
The alias is the institution's own, also one that is revoked or was replaced since, 32 hex digits; with
--alias - it is read from the standard input. It leads to a person: every question about that person
which the institution asked or was asked is listed, with who received what, what still waits, and
whether what was provided is still here ("waiting": not fetched yet) or was fetched ("gone").

  handle      the institution's own name of the record: for hub withhold, hub correct
  permit      of what waits for the institution: for hub provide; or of what it answered
  open        1 where the permit waits: to be refused

--since and --until: when the link was wrong.

Examples:
  hub blast linkage 131016 --alias - --since 2026-04-01 < alias.txt
  hub blast linkage 131016 --alias - --out blast.csv < alias.txt
  hub blast linkage 131016 --alias - --json < alias.txt | jq .receivers
  hub blast linkage 131016 --alias - --markdown < alias.txt > blast.md

Exit status: 0 done; 1 nothing was done through it; 2 wrong request; 3 disk.
"""

COLUMNS = (
    "handle", "kind", "side", "receiver", "source", "procedure", "items", "role", "section", "legal_basis",
    "requested_at", "answered_at", "outcome", "payload", "permit", "open", "updated",
)  # fmt: skip


def add_commands(commands: Any) -> None:
    """Add ``blast``."""
    parser = commands.add_parser("blast", help="what was done through a link that was wrong", epilog=EPILOG)
    parser.description = "List every question that an institution asked or was asked through one of its aliases."
    add_folder(parser, "INSTITUTION")
    parser.add_argument("--alias", required=True, metavar="HEX", help="the institution's alias, or - for stdin")
    parser.add_argument("--since", metavar="DATE", help="from this day or moment on (Japan's time)")
    parser.add_argument("--until", metavar="DATE", help="until this day, or before this moment")
    form = parser.add_mutually_exclusive_group()
    form.add_argument("--json", action="store_true", help="one JSON document")
    form.add_argument("--markdown", action="store_true", help="a report to read")
    form.add_argument("--out", metavar="FILE", help="write a table (.csv, .parquet, .arrow)")
    parser.set_defaults(run=run_blast)


def run_blast(arguments: argparse.Namespace) -> int:
    """Print what was done through a link."""
    folder, (institution,) = take_folder(arguments)
    alias = take_alias(arguments.alias)
    with open_hub(arguments, folder, readonly=True) as h:
        found = h.blast_radius(
            institution,
            alias,
            since=take_moment("--since", arguments.since),
            until=take_moment("--until", arguments.until),
        )
        names = {body.code: body.name for body in h.catalog.institutions()}
    if arguments.json:
        document = {**summary(found), "receivers": found.receivers, "dealings": blast_rows(found)}
        print(msgspec.json.format(msgspec.json.encode(document), indent=2).decode())
    elif arguments.markdown:
        print("\n".join(spell_markdown(found, names)))
    elif arguments.out:
        rows = [[_cell(row[name]) for name in COLUMNS] for row in blast_rows(found)]
        with TableWriter(arguments.out, COLUMNS) as writer:
            writer.write([list(column) for column in zip(*rows, strict=True)] or [[] for _ in COLUMNS])
        print(f"{arguments.out}: {len(found.dealings):,} questions")
    else:
        print_table([(value, name) for name, value in summary(found).items() if isinstance(value, int)], right=(0,))
        if found.receivers:
            print_table([("answers", "received by"), *((n, names.get(c, c)) for c, n in found.receivers.items())])
    return 0 if found.dealings else 1


def summary(found: hub.BlastRadius) -> dict[str, Any]:
    """The counts of a blast radius, and the interval that it is of."""
    return {
        "institution": found.institution,
        "since": None if found.since is None else found.since.isoformat(),
        "until": None if found.until is None else found.until.isoformat(),
        "at": found.at.isoformat(),
        "records": found.records,
        "questions": len(found.dealings),
        "received": len(found.received),
        "open": len(found.open),
        "updates": len(found.updates),
    }


def spell_markdown(found: hub.BlastRadius, names: dict[str, str]) -> list[str]:
    """A blast radius to read, without handles and permits."""
    lines = [
        f"# What was done through one link of {names.get(found.institution, found.institution)}",
        "",
        f"Put together {spell_moment(found.at)}, of what was asked or answered"
        f" from {'the beginning' if found.since is None else spell_moment(found.since)}"
        f" until {'now' if found.until is None else spell_moment(found.until)}.",
        "",
        f"- records: {found.records:,}",
        f"- answers that somebody received: {len(found.received):,}",
        f"- open questions, to be refused: {len(found.open):,}",
        f"- answers whose receivers need to be told what is right: {len(found.updates):,}",
        "",
        "| requested | receiver | source | items | procedure | outcome | payload |",
        "|---|---|---|---|---|---|---|",
    ]
    for one in found.dealings:
        source = names.get(one.source, one.source) or "a body of the class"
        lines.append(
            f"| {spell_moment(one.requested_at)} | {names.get(one.receiver, one.receiver)} | {source} | "
            f"{'、'.join(one.items)} | {one.procedure} | {STATUS_WORDS[one.outcome]} | {one.payload} |"
        )
    return lines


def _cell(value: object) -> str:
    return "" if value is None else str(int(value)) if isinstance(value, bool) else str(value)
