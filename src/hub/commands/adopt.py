"""``hub agency adopt``: what clerks asked by hand at the desk, into the agency's own copy."""

from __future__ import annotations

import argparse
from typing import TYPE_CHECKING

import hub.agency
from hub.agency import AskedByHand
from hub.commands.opening import find_place, open_hub
from hub.errors import RequestError

if TYPE_CHECKING:
    from hub.desk.book import Line

ADOPT_EPILOG = """\
BOOK is the file that the clerks' desk keeps (`book` in desk.toml): it is read, and goes on meanwhile. What the
hub took is entered as the desk was told it, and how it stands at HUB now beside it. Run it every day: the
desk forgets its lines after 30 days at the latest. Given again it adds what is new.

Examples:
  hub agency adopt town linkage --book desk.sqlite
  hub agency adopt town hubs://hub.example.go.jp:7411 --book desk.sqlite --cert town.pem --key town.key --ca ca.pem

Exit status: 0 done; 2 wrong request; 3 disk.
"""


def run_adopt(arguments: argparse.Namespace) -> int:
    """Take them over."""
    # Here and not above: no other command waits for SQLite.
    from hub.desk.book import read_asked

    place = arguments.hub or find_place(arguments)
    if place is None:
        raise RequestError("arguments: expected AGENCY HUB, got no HUB (or --client, or HUB_FOLDER)")
    questions = [question_of(line) for line in read_asked(arguments.book)]
    with hub.agency.open(arguments.agency) as agency, open_hub(arguments, place) as h:
        new = agency.adopt(h, questions)
    print(f"{len(questions):,} questions by hand, {new:,} of them new")
    return 0


def question_of(line: Line) -> AskedByHand:
    """A line of the book as the own copy takes it."""
    from hub.desk.book import REQUEST_ID

    detail = line.detail
    return AskedByHand(
        request_id=REQUEST_ID.format(line.id), procedure=detail["procedure"], items=tuple(detail["items"]),
        role=detail["role"], section=line.section, alias=line.alias, provider=detail["provider"],
        received_at=line.done_at or 0, status=detail["status"], reason=detail["reason"],
    )  # fmt: skip
