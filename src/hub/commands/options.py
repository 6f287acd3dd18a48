"""What several commands share: the folder, dates, aliases from the command line, tables of text."""

from __future__ import annotations

import argparse
import datetime as dt
import sys
import unicodedata
from collections.abc import Iterable, Sequence

import numpy as np

from hub.catalog.moments import JAPAN
from hub.commands.opening import add_connection, find_place, is_address
from hub.errors import RequestError
from hub.files.columns import cells_of_texts, decode_aliases
from hub.messages import Aliases

FOLDER_ONLY = "only whoever holds the folder may do this"
"""Why a command has no address, where there is nothing better to say."""


def add_folder(
    parser: argparse.ArgumentParser,
    *words: str,
    optional: bool = False,
    local: str | None = None,
    institution: bool = True,
) -> None:
    """Let a command take ``[FOLDER] WORDS...``; :func:`take_words` sorts them out.

    Args:
        local: why FOLDER may not be an address; None where it may.
        institution: as of :func:`hub.commands.opening.add_connection`.
    """
    folder = "[FOLDER]" if optional else "FOLDER"
    parser.set_defaults(word_names=words)
    add_place(parser, local=local, institution=institution)
    parser.add_argument("words", nargs="*", metavar=" ".join((folder, *words)), help=argparse.SUPPRESS)
    parser.usage = f"{parser.prog} {' '.join((folder, *words))} [options]"


def add_place(parser: argparse.ArgumentParser, *, local: str | None = None, institution: bool = True) -> None:
    """Add ``--folder`` and, but for commands of folders only, what an address needs."""
    told = "the hub's folder" if local else "the hub's folder or address"
    parser.add_argument("--folder", metavar="FOLDER", help=f"{told}, where it is not the first argument")
    parser.set_defaults(command=parser.prog, local=local)
    if local is None:
        add_connection(parser, institution=institution)


def check_place(arguments: argparse.Namespace, place: str | None) -> None:
    """Refuse an address where only a folder will do.

    Raises:
        RequestError: it is one.
    """
    if arguments.local and is_address(place):
        raise RequestError(f"{arguments.command}: expected a folder, got an address: {arguments.local}")


def take_words(arguments: argparse.Namespace, *, optional: bool = False) -> tuple[str | None, list[str]]:
    """The folder or address, and the other words.

    The former is the first argument, else ``--folder``, else in the file of ``--client``, else HUB_FOLDER, else in
    the client's file at its usual place; there only where it is not optional.

    Raises:
        RequestError: too few or too many words; no folder named and not ``optional``.
    """
    names: Sequence[str] = arguments.word_names
    words: list[str] = arguments.words
    folder: str | None = arguments.folder
    if len(words) == len(names) + 1 and folder is None:
        folder, *words = words
    elif len(words) == len(names):
        folder = find_place(arguments, optional=optional)
    if len(words) == len(names) and (folder is not None or optional):
        check_place(arguments, folder)
        return folder, words
    expected = " ".join(("FOLDER", *names))
    got = len(arguments.words)
    raise RequestError(f"arguments: expected {expected}, got {got} (FOLDER may be --folder or HUB_FOLDER)")


def take_folder(arguments: argparse.Namespace) -> tuple[str, list[str]]:
    """As :func:`take_words`, for commands that need a folder."""
    folder, words = take_words(arguments)
    assert folder is not None
    return folder, words


def take_alias(text: str) -> Aliases:
    """One alias in 32 hex digits, or ``-`` for a line of the standard input -> uint8[16]."""
    if text == "-":
        text = sys.stdin.readline().strip()
    alias, ok = decode_aliases(cells_of_texts([text]))
    if not ok[0]:
        raise RequestError("alias: expected 32 hex digits, got something else")
    return alias[0]


def take_moment(name: str, text: str | None) -> dt.datetime | dt.date | None:
    """An ISO date, a day in Japan; or date and time, in Japan where it names no zone."""
    if text is None:
        return None
    try:
        if len(text) <= len("2026-04-01"):
            return dt.date.fromisoformat(text)
        moment = dt.datetime.fromisoformat(text)
    except ValueError:
        raise RequestError(f"{name}: expected a date such as 2026-04-01 or 2026-04-01T09:00, got {text}") from None
    return moment if moment.tzinfo else moment.replace(tzinfo=JAPAN)


def spell_moment(moment: dt.datetime) -> str:
    """A moment for people, in Japan's time."""
    return moment.astimezone(JAPAN).strftime("%Y-%m-%d %H:%M:%S JST")


def moment_of(seconds: float) -> dt.datetime:
    """Seconds since 1970 -> UTC."""
    return dt.datetime.fromtimestamp(seconds, dt.UTC)


def text_width(text: str) -> int:
    """Columns of a terminal that a text takes: kanji and kana take two."""
    return sum(2 if unicodedata.east_asian_width(char) in "WF" else 1 for char in text)


def print_table(rows: Iterable[Sequence[object]], *, right: Sequence[int] = (), indent: int = 2) -> None:
    """Print rows in aligned columns; ``right`` lists the columns of numbers."""
    texts = [[f"{cell:,}" if isinstance(cell, int | np.integer) else str(cell) for cell in row] for row in rows]
    widths = [max(map(text_width, column)) for column in zip(*texts, strict=True)]
    for row in texts:
        cells = []
        for i, (cell, width) in enumerate(zip(row, widths, strict=True)):
            gap = " " * (width - text_width(cell))
            cells.append(gap + cell if i in right else cell + gap)
        print((" " * indent + "  ".join(cells)).rstrip())
