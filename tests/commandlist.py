"""What can be typed behind ``hub``."""

from __future__ import annotations

import argparse
from collections.abc import Iterator


def commands_of(parser: argparse.ArgumentParser, words: str = "") -> Iterator[tuple[str, argparse.ArgumentParser]]:
    """Every command with its parser: ``tlog``, then ``tlog key`` and the like."""
    for action in parser._actions:
        if isinstance(action, argparse._SubParsersAction):
            for name, below in action.choices.items():
                yield f"{words}{name}", below
                yield from commands_of(below, f"{words}{name} ")
