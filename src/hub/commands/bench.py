"""``hub bench``: the same as ``python -m hub.bench``."""

from __future__ import annotations

import argparse
from typing import Any


def add_commands(commands: Any) -> None:
    """Add ``bench``; its options are read by the bench itself."""
    parser = commands.add_parser("bench", help="measure the hub on this machine", add_help=False, prefix_chars="\0")
    parser.add_argument("rest", nargs=argparse.REMAINDER)
    parser.set_defaults(run=run_bench)


def run_bench(arguments: argparse.Namespace) -> int:
    """Hand the words on."""
    from hub.bench.__main__ import main

    return main(arguments.rest)
