"""``hub history``: what a citizen sees: who asked whom about them, for what, on which legal basis."""

from __future__ import annotations

import argparse
import os
from pathlib import Path
from typing import Any

import msgspec

import hub
from hub.commands.opening import open_hub
from hub.commands.options import add_folder, spell_moment, take_alias, take_folder, take_moment
from hub.commands.words import spell_matter, spell_outcome, spell_parties
from hub.errors import StorageError
from hub.files.tables import TableWriter
from hub.limits import HISTORY_LIMIT, HISTORY_LIMIT_MAX
from hub.messages import Aliases, Record

EPILOG = """\
The alias is the person's alias at the disclosure portal, 32 hex digits; with --alias - it is read
from the standard input, so that it stands in no list of processes and in no shell's history.
The newest records come first. Where there are more, the last line names the --cursor to go on.
With --proofs each record of the page leaves as NUMBER.tlog-proof, with log.key, which says whose log it is, and
disclosure.key, which says whose record it is: whoever gets that file too can tell (disclosure-1.key and so on
where persons were merged). "hub verify" checks them anywhere.

Examples:
  hub history linkage --alias 8d0c4f...
  hub history linkage --alias - --since 2026-04-01 --institution nenkin < alias.txt
  hub history linkage --alias 8d0c4f... --json | jq '.records[].requester'
  hub history linkage --alias 8d0c4f... --out history.csv --out-encoding utf-8-sig    for Excel
  hub history linkage --alias - --proofs mine < alias.txt
  hub verify mine/41.tlog-proof --key mine/log.key --disclosure-key mine/disclosure.key

Exit status: 0 done; 1 no record; 2 wrong request, such as an unknown alias; 3 disk.
"""

COLUMNS = (
    "requested_at", "requester", "requester_name", "on_behalf_of", "provider", "provider_name", "procedure",
    "procedure_label", "items", "role", "section", "legal_basis", "outcome", "provided_at", "inquiry",
    "index", "link", "remark", "kind",
)  # fmt: skip


def add_commands(commands: Any) -> None:
    """Add ``history``."""
    parser = commands.add_parser("history", help="what a citizen sees: who asked whom, and why", epilog=EPILOG)
    parser.description = "Show a person's history: who asked whom about them, for what, on which legal basis."
    add_folder(parser, institution=False)
    parser.add_argument("--alias", required=True, metavar="HEX", help="the person's portal alias, or - for stdin")
    parser.add_argument("--since", metavar="DATE", help="from this day or moment on (Japan's time)")
    parser.add_argument("--until", metavar="DATE", help="until this day, or before this moment")
    parser.add_argument("--institution", metavar="CODE", help="only where this institution asked or was asked")
    parser.add_argument("--procedure", metavar="ID", help="only this procedure")
    limit = f"records, at most {HISTORY_LIMIT_MAX} (default: {HISTORY_LIMIT})"
    parser.add_argument("--limit", type=int, default=HISTORY_LIMIT, help=limit)
    parser.add_argument("--cursor", help="go on behind an earlier page")
    parser.add_argument("--json", action="store_true", help="one JSON document")
    parser.add_argument("--out", metavar="FILE", help="write a table (.csv, .parquet, .arrow)")
    parser.add_argument("--proofs", metavar="DIR", help="write the proof of each record into this folder")
    parser.add_argument("--out-encoding", choices=("utf-8", "utf-8-sig", "cp932"), default="utf-8", help="of a CSV")
    parser.set_defaults(run=run_history)


def run_history(arguments: argparse.Namespace) -> int:
    """Print a page of a person's records."""
    folder, _ = take_folder(arguments)
    alias = take_alias(arguments.alias)
    with open_hub(arguments, folder, readonly=True) as h:
        history = h.history(
            alias,
            since=take_moment("--since", arguments.since),
            until=take_moment("--until", arguments.until),
            institution=arguments.institution,
            procedure=arguments.procedure,
            limit=arguments.limit,
            cursor=arguments.cursor,
        )
        names = Speller(h.catalog)
        if arguments.proofs:
            write_proofs(h, alias, history, Path(arguments.proofs))
    if arguments.json:
        page = {"records": history.records, "cursor": history.cursor}
        print(msgspec.json.format(msgspec.json.encode(page, enc_hook=str), indent=2).decode())
    elif arguments.out:
        with TableWriter(arguments.out, COLUMNS, encoding=arguments.out_encoding) as writer:
            writer.write([list(column) for column in zip(*map(names.cells, history.records), strict=True)] or
                         [[] for _ in COLUMNS])  # fmt: skip
        print(f"{arguments.out}: {len(history):,} records")
    else:
        for record in history.records:
            print(names.spell_record(record), end="\n\n")
        print(f"{len(history)} records" + (", more to come" if history.cursor else ""))
    if history.cursor and not arguments.json:
        print(f"go on with --cursor {history.cursor}")
    return 0 if history.records else 1


def write_proofs(h: hub.Hub, alias: Aliases, history: hub.History, folder: Path) -> None:
    """Write the proofs of a page, the log's key and the person's, where only this user can read them.

    Raises:
        StorageError: a file cannot be written.
    """
    files = {f"{record.index}.tlog-proof": history.proof(i).text() for i, record in enumerate(history.records)}
    files["log.key"] = h.verifier_key + "\n"
    # Whose records are of two persons who were found to be one has a key of each.
    for number, key in enumerate(h.disclosure_keys(alias)):
        files[f"disclosure-{number}.key" if number else "disclosure.key"] = key.hex() + "\n"
    try:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        for name, text in files.items():
            handle = os.open(folder / name, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
            with open(handle, "w", encoding="utf-8") as file:
                file.write(text)
    except OSError as error:
        raise StorageError(f"write proofs: {error.strerror}") from error


class Speller:
    """Records in words: names from the catalog where it has them."""

    def __init__(self, catalog: hub.Catalog) -> None:
        self._names = {institution.code: institution.name for institution in catalog.institutions()}
        self._labels = {procedure.id: procedure.label for procedure in catalog.procedures()}

    def name(self, code: str, then: str = "") -> str:
        """An institution's name: that of the time where it is known, else today's, else its code; of none, nobody."""
        return then or self._names.get(code, code) or "nobody"

    def label(self, procedure: str) -> str:
        """What a procedure is called."""
        return self._labels.get(procedure, procedure)

    def spell_record(self, record: Record) -> str:
        """A record in a few lines, with its link where it follows another."""
        asked = self.name(record.requester, record.requester_name)
        asked += f" (on behalf of {record.on_behalf_of})" if record.on_behalf_of else ""
        provider = self.name(record.provider, record.provider_name)
        label = self.label(record.procedure)
        told = spell_parties(record.kind, asked, provider, record.outcome)
        lines = [
            f"{spell_moment(record.requested_at)}  {told}",
            *spell_matter(record.kind, record.items, record.role, label, record.section),
            f"  basis    {record.legal_basis}",
        ]
        outcome = spell_outcome(record.kind, record.outcome)
        if outcome:
            at = "" if record.provided_at is None else f", {spell_moment(record.provided_at)}"
            lines.append(f"  outcome  {outcome}{at}")
        if record.link is not None:
            # What follows another record is told by both numbers.
            lines.append(f"  follows  record {record.link}, as record {record.index}")
        if record.remark:
            lines.append("  remark   " + record.remark.replace("\n", "\n           "))
        return "\n".join(lines)

    def cells(self, record: Record) -> tuple[str, ...]:
        """A record as a line of a table, in the order of ``COLUMNS``."""
        return (
            record.requested_at.isoformat(), record.requester,
            self.name(record.requester, record.requester_name), record.on_behalf_of or "",
            record.provider, self.name(record.provider, record.provider_name), record.procedure,
            self.label(record.procedure),
            ";".join(record.items), record.role, record.section, record.legal_basis, record.outcome.name,
            record.provided_at.isoformat() if record.provided_at else "", record.inquiry, str(record.index),
            "" if record.link is None else str(record.link), record.remark or "", record.kind.name,
        )  # fmt: skip
