"""The command line of a run: what may be given, and what is wrong with it."""

from __future__ import annotations

import argparse
import os
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from hub.bench import html, peers
from hub.bench.peers import log as log_peers
from hub.bench.run import PERSONS, PERSONS_QUICK, RECORDS_MAX, Options
from hub.bench.stages import CANONICAL, STAGES
from hub.bench.subcommands import help_text
from hub.limits import PERSONS_MAX

USAGE = 2

ALL = "all"

PEERS = tuple(dict.fromkeys(kind[0] for kind in (*peers.KINDS, *log_peers.KINDS)))

STATUSES = """\
exit status: 0 all measured, every answer right
             1 an answer was wrong, or the run could not go on (no space, no memory, no permission)
             2 usage
             130 interrupted: what was measured is shown and written
"""


class Files(NamedTuple):
    """Where the results go beside the terminal."""

    json: Path | None = None
    html: Path | None = None


def read_arguments(argv: Sequence[str]) -> tuple[Options | None, Files]:
    """Options, and the files to write; no options where only a list was asked for."""
    parser = make_parser()
    given = parser.parse_args(argv)
    if given.stages == ["list"]:
        return None, Files()
    unknown = [name for name in given.stages if name not in STAGES and name != ALL]
    if unknown:
        parser.exit(USAGE, f"bench: stage: expected one of {', '.join(STAGES)}, all or list, got {unknown[0]}\n")
    persons = given.persons if given.persons is not None else PERSONS_QUICK if given.quick else PERSONS
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    threads = given.threads if given.threads is not None else min(2, cores)
    bounds = (
        ("persons", persons, 1_000, PERSONS_MAX),
        ("threads", threads, 1, 1_024),
        ("records", given.records, 0, RECORDS_MAX),
    )
    for name, value, low, high in bounds:
        if not low <= value <= high:
            parser.exit(USAGE, f"bench: --{name}: expected {low:,} to {high:,}, got {value:,}\n")
    beside = read_peers(parser, given.peers)
    files = Files(given.json, given.html)
    check_files(parser, files)
    chosen = set(given.stages) or CANONICAL
    stages = tuple(name for name in STAGES if name in chosen or ALL in chosen)
    return Options(stages, persons, given.seed, threads, given.quick, given.folder, given.records, beside), files


def make_parser() -> argparse.ArgumentParser:
    """The parser of a run."""
    about = "Measure the hub on this machine, beside its peers and the machine's limits."
    parser = argparse.ArgumentParser(
        prog="python -m hub.bench", description=about, epilog=f"{help_text()}\n\n{STATUSES}",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )  # fmt: skip
    usual = " ".join(name for name in STAGES if name in CANONICAL)
    stages = f"{', '.join(STAGES)}; {ALL} of them; list; default: {usual}"
    parser.add_argument("stages", nargs="*", metavar="STAGE", help=stages)
    parser.add_argument("--quick", action="store_true", help=f"some seconds: {PERSONS_QUICK:,} persons")
    parser.add_argument("--persons", type=int, metavar="N", help=f"size of the larger hub (default {PERSONS:,})")
    parser.add_argument("--records", type=int, default=0, metavar="N", help="records to inquire for, 110 bytes each")
    parser.add_argument("--seed", type=int, default=0, metavar="S", help="of persons and batches (default 0)")
    parser.add_argument("--threads", type=int, metavar="T", help="of multi-threaded cases (default: cores, at most 2)")
    parser.add_argument("--peers", default=ALL, metavar="NAMES", help=f"all (default), none, or of {','.join(PEERS)}")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write machine and results there")
    parser.add_argument("--html", type=Path, metavar="FILE", help="write a page of them there, in one file")
    parser.add_argument("--folder", type=Path, default=Path(), help="where the temporary folder goes (default: here)")
    return parser


def read_peers(parser: argparse.ArgumentParser, given: str) -> frozenset[str] | None:
    """Names of peers; None for all that are there."""
    if given == ALL:
        return None
    names = frozenset() if given == "none" else frozenset(given.split(","))
    unknown = sorted(names - set(PEERS))
    if unknown:
        parser.exit(USAGE, f"bench: --peers: expected all, none, or some of {','.join(PEERS)}, got {unknown[0]}\n")
    return names


def check_files(parser: argparse.ArgumentParser, files: Files) -> None:
    """A file that cannot be written is refused before the run, not after it."""
    for name, path in files._asdict().items():
        if path is None:
            continue
        if path.is_dir() or not os.access(path.parent, os.W_OK):
            parser.exit(USAGE, f"bench: --{name}: expected a file in a folder that can be written, got {path}\n")
    lacks = html.lacks() if files.html is not None else None
    if lacks:
        parser.exit(USAGE, f"bench: --html: {lacks}\n")
