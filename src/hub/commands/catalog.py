"""``hub catalog``: find, read, check and change the law that the hub goes by."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import hub
from hub.catalog import Procedure
from hub.commands.opening import add_connection, find_place, open_hub
from hub.commands.options import FOLDER_ONLY, add_folder, print_table, take_folder, text_width
from hub.errors import RequestError
from hub.files.tables import TableWriter

SHOWN = 20

EPILOG = """\
Without a folder (--folder or HUB_FOLDER) the law is that which ships with the hub; with one, or with an
address, the law in force in that hub.

Examples:
  hub catalog search 児童手当 認定                     procedures by words
  hub catalog search --requester nenkin --item 地方税  what may the agency ask about taxes?
  hub catalog show 19-8/73/75.3                        a procedure and its rules
  hub catalog show 1407                                one rule
  hub catalog list institutions --class 市町村長
  hub catalog check                                    contradictions and known gaps
  hub catalog import linkage institutions.csv          take in the ministry's list
"""

SEARCH_EPILOG = """\
Every word must stand in the procedure's name, law, affair, classes, items or roles; the words may be
left out where --requester or --item narrows enough.

Examples:
  hub catalog search 児童手当
  hub catalog search 納付 --requester nenkin
  hub catalog search --requester 131016 --item 市町村民税 --all

Exit status: 0 found; 1 nothing found; 2 wrong request.
"""

SHOW_EPILOG = """\
RULE is a rule's number, as results and records name it, or a procedure's id.

Examples:
  hub catalog show 1407
  hub catalog show 19-8/73/75.3

Exit status: 0 done; 2 there is none.
"""

CHECK_EPILOG = """\
Prints contradictions as problem: and what is only incomplete as note:.

Example:
  hub catalog check --folder linkage

Exit status: 0 no problem (notes may be); 1 problems.
"""

IMPORT_EPILOG = """\
What FILE is is seen from its columns: institutions (code,kind,prefecture,name,kana), rules of one's
own, classes, members, narrowings, delegations, assessments, terms of exchange, namespaces of
identifiers, or what providers keep from affairs of ordinances. UTF-8 or CP932. The whole file is
taken in, or none of it where a line is wrong. Inquiries from then on are judged by the new catalog.

Examples:
  hub catalog import linkage institutions.csv
  hub catalog import linkage assessments.csv --dry-run

Exit status: 0 done; 2 a line of the file is wrong, nothing changed; 3 disk.
"""

LIST_EPILOG = """\
Examples:
  hub catalog list institutions
  hub catalog list institutions --class 都道府県知事
  hub catalog list institutions --out institutions.csv --out-encoding utf-8-sig      for Excel
  hub catalog list classes

Exit status: 0 done; 1 nothing to list; 2 wrong request.
"""


def add_commands(commands: Any) -> None:
    """Add ``catalog`` and what is under it."""
    parser = commands.add_parser("catalog", help="who may ask whom for what", epilog=EPILOG)
    parser.description = "Find, read, check and change the law that the hub goes by."
    under = parser.add_subparsers(title="commands", metavar="COMMAND", required=True, parser_class=type(parser))

    parser = under.add_parser("search", help="find procedures by words, requester, item", epilog=SEARCH_EPILOG)
    parser.description = "Find the procedure that allows a question."
    parser.add_argument("words", nargs="*", metavar="WORD", help="児童手当, 納付 …")
    parser.add_argument("--requester", metavar="CODE", help="only what this institution may use")
    parser.add_argument("--item", help="only what may ask for this kind or detail, such as 地方税")
    parser.add_argument("--all", action="store_true", help=f"all of them (default: the best {SHOWN})")
    parser.set_defaults(run=run_search)
    _add_source(parser)

    parser = under.add_parser("show", help="print a rule or a procedure", epilog=SHOW_EPILOG)
    parser.description = "Print a rule or a procedure."
    parser.add_argument("rule", metavar="RULE", help="number of a rule, or id of a procedure")
    parser.set_defaults(run=run_show)
    _add_source(parser)

    parser = under.add_parser("check", help="look for contradictions and gaps", epilog=CHECK_EPILOG)
    parser.description = "Look for contradictions and gaps in the catalog."
    parser.set_defaults(run=run_check)
    _add_source(parser)

    parser = under.add_parser("import", help="take in a list of institutions, rules ...", epilog=IMPORT_EPILOG)
    parser.description = "Take a file into the catalog of a hub."
    add_folder(parser, "FILE", local=FOLDER_ONLY)
    parser.add_argument("--table", metavar="NAME", help="what FILE is, where its columns do not tell")
    parser.add_argument("--dry-run", action="store_true", help="only say what would be done")
    parser.set_defaults(run=run_import)

    parser = under.add_parser("list", help="list institutions or classes", epilog=LIST_EPILOG)
    parser.description = "List the institutions or the classes of the catalog."
    parser.add_argument("what", choices=("institutions", "classes"))
    parser.add_argument("--class", dest="label", metavar="LABEL", help="only institutions of this class")
    parser.add_argument("--out", metavar="FILE", help="write a table (.csv, .parquet, .arrow)")
    parser.add_argument("--out-encoding", choices=("utf-8", "utf-8-sig", "cp932"), default="utf-8", help="of a CSV")
    parser.set_defaults(run=run_list)
    _add_source(parser)


def _add_source(parser: argparse.ArgumentParser) -> None:
    told = "the law in force in this hub, or at this address (default: HUB_FOLDER, or as shipped)"
    parser.add_argument("--folder", metavar="FOLDER", help=told)
    add_connection(parser)


def open_catalog(arguments: argparse.Namespace) -> hub.Catalog:
    """The law in force in a folder, or as shipped."""
    folder = find_place(arguments, optional=True)
    if folder is None:
        return hub.Catalog.japan()
    with open_hub(arguments, folder, readonly=True) as h:
        return h.catalog


def run_search(arguments: argparse.Namespace) -> int:
    """Procedures that hold every word, the best first."""
    catalog = open_catalog(arguments)
    if not (arguments.words or arguments.requester or arguments.item):
        raise RequestError("search: expected words, --requester or --item")
    found = catalog.procedures(arguments.requester, arguments.words or None, arguments.item)
    shown = found if arguments.all else found[:SHOWN]
    for procedure in shown:
        print(_spell(procedure))
    print(f"{len(found):,} procedures" + (f", the best {len(shown)} shown (--all)" if len(shown) < len(found) else ""))
    return 0 if found else 1


def _spell(procedure: Procedure) -> str:
    pad = " " * max(1, 22 - text_width(procedure.id))
    return (
        f"{procedure.id}{pad}{procedure.label}\n"
        f"    {_first(procedure.requesters)} asks {_first(procedure.providers)}\n"
        f"    for {_first(procedure.items)}"
    )


def _first(words: Sequence[str]) -> str:
    """A few of many words; hub catalog show has them all."""
    return "、".join(words[:5]) + (" …" if len(words) > 5 else "")


def run_show(arguments: argparse.Namespace) -> int:
    """A rule or a procedure, in lines."""
    word: str = arguments.rule
    print(open_catalog(arguments).describe(int(word) if word.isascii() and word.isdigit() else word))
    return 0


def run_check(arguments: argparse.Namespace) -> int:
    """Problems and notes."""
    catalog = open_catalog(arguments)
    problems = catalog.problems()
    for problem in problems:
        print(problem)
    grave = sum(problem.grave for problem in problems)
    print(f"{catalog.origin}: " + ", ".join(f"{count:,} {name}" for name, count in catalog.counts.items()))
    print(f"{grave} problems, {len(problems) - grave} notes")
    return 1 if grave else 0


def run_import(arguments: argparse.Namespace) -> int:
    """Take a file in; all of it or nothing."""
    folder, (source,) = take_folder(arguments)
    if not Path(source).is_file():
        raise RequestError(f"{source}: expected a file")
    with open_hub(arguments, folder, readonly=arguments.dry_run) as h:
        catalog = h.catalog.import_table(Path(source), arguments.table)
        if not arguments.dry_run:
            h.load_catalog(catalog)
    done = catalog.imported
    assert done is not None
    counts = {
        name: getattr(done, name) for name in ("added", "updated", "unchanged", "wards_skipped", "villages_skipped")
    }
    told = (
        ", ".join(f"{count:,} {name.replace('_', ' ')}" for name, count in counts.items() if count) or "nothing in it"
    )
    print(f"{source}: {done.table}: {told}" + (" (dry run: nothing changed)" if arguments.dry_run else ""))
    return 0


def run_list(arguments: argparse.Namespace) -> int:
    """Institutions or classes, as lines or as a table."""
    catalog = open_catalog(arguments)
    columns: tuple[str, ...]
    if arguments.what == "classes":
        columns = ("class", "institutions")
        rows = [(label, str(len(catalog.members_of(label)))) for label in catalog.class_labels]
    else:
        columns = ("code", "kind", "name", "kana")
        rows = [(i.code, i.kind, i.name, i.kana) for i in catalog.institutions(arguments.label)]  # type: ignore[misc]
    if arguments.out:
        with TableWriter(arguments.out, columns, encoding=arguments.out_encoding) as writer:
            writer.write([list(column) for column in zip(*rows, strict=True)] if rows else [[] for _ in columns])
        print(f"{arguments.out}: {len(rows):,} {arguments.what}")
    elif rows:
        print_table(rows, indent=0)
    return 0 if rows else 1
