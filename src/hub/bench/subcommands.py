"""What follows ``python -m hub.bench`` and is not a stage: each is a module ``hub.bench.<name>`` with ``main(argv)``.

The module is imported only when its name was given, so that a tool with a missing extra stops no other. Its exit
statuses are its own and stand in its ``--help``; 2 is always usage.
"""

from __future__ import annotations

import importlib
from collections.abc import Sequence

SUBCOMMANDS = {
    "scale": "curves over persons, batches, threads and records, as JSON and a page of plots",
    "nation": "a hundred million inquiries of sixty million persons, really run",
    "gate": "compare this revision with a base, interleaved: slower is a failure",
    "compare": "compare two JSON files of recorded runs, case by case",
}
"""Name -> one line for ``--help``."""


def is_subcommand(argv: Sequence[str]) -> bool:
    """Whether these arguments begin with the name of a subcommand."""
    return bool(argv) and argv[0] in SUBCOMMANDS


def dispatch(argv: Sequence[str]) -> int:
    """Hand the remaining arguments to the subcommand's ``main``; returns its exit status."""
    module = importlib.import_module(f"hub.bench.{argv[0]}")
    status: int = module.main(list(argv[1:]))
    return status


def help_text() -> str:
    """The subcommands with what they do, for the end of ``--help``."""
    lines = [f"  {name:10}{about}" for name, about in SUBCOMMANDS.items()]
    return "\n".join(["subcommands (each has its own --help):", *lines])
