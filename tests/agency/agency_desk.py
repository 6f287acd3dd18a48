"""An agency beside a hub, as its tests need it: the town has a copy register, nenkin asks."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import msgspec
import numpy as np

import hub.agency
from hub.agency import Agency
from parties import Parties

ITEM, OTHER_ITEM = "市町村民税", "道府県民税"

LAYOUT = f"""
name = "tax"
key = {{ column = "id", kind = "own_id" }}

[[column]]
name = "born"
item = "{ITEM}"
type = "date"
min = 1900-01-01

[[column]]
name = "income"
item = "{ITEM}"
type = "int"
min = 0

[[column]]
name = "sex"
item = "{ITEM}"
type = "text"
values = ["1", "2"]

[[column]]
name = "rate"
item = "{OTHER_ITEM}"
type = "int"
"""

HEADER = "id,born,income,sex,rate"


def own_id(person: int) -> str:
    return f"own-{person:06d}"


def line(person: int, *, income: str | None = None) -> str:
    return f"{own_id(person)},19{50 + person % 50}-02-03,{person * 1000 if income is None else income},1,{person}"


def csv_of(lines: Sequence[str], *, header: str = HEADER) -> bytes:
    return ("\n".join([header, *lines]) + "\n").encode()


def register_of(persons: Sequence[int]) -> bytes:
    return csv_of([line(person) for person in persons])


def load(agency: Agency, chunks: Sequence[bytes], load_id: str = "l1", name: str = "tax") -> None:
    agency.begin_load(name, load_id)
    for number, chunk in enumerate(chunks, 1):
        agency.load_chunk(name, load_id, number, chunk)
    agency.finish_load(name, load_id, len(chunks))


def payload_of(person: int) -> bytes:
    """What a register of :func:`register_of` answers about a person."""
    return msgspec.msgpack.encode(
        {ITEM: {"born": f"19{50 + person % 50}-02-03", "income": person * 1000, "sex": "1"}}
    )


def town_agency(folder: Path, parties: Parties, *, linked: Sequence[int] | None = None) -> Agency:
    """The town's agency, with its people linked and the register declared."""
    agency = hub.agency.open(folder, institution=parties.town, create=True, clock=parties.clock)
    agency.declare(LAYOUT)
    persons = range(len(parties.codes)) if linked is None else linked
    if len(persons):
        agency.link(
            [own_id(person) for person in persons], np.ascontiguousarray(parties.known[list(persons)])
        )
    return agency
