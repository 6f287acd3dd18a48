"""The nation's questions, and what must come of each: a rule over person and pass, so that no column of it is kept.

The pension agency asks the municipality of everybody's own for the municipal tax, everybody once, and once more in a
second pass. Of 1,024 rows about four ask a municipality that does not know the person, two a body that no rule lets
be asked, one names an alias that nobody has.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from hub.bench.log import NOT_ASKABLE, pension_inquiry
from hub.bench.nationworld import NationWorld
from hub.messages import Inquiry, Status

PASSES_MAX = 2
"""Nobody is asked about more often."""

NOT_HELD, DENIED, UNKNOWN = 4, 2, 1
"""Of 1,024 rows."""


class Part(NamedTuple):
    """One inquiry: of which persons, in which pass."""

    number: int
    pass_number: int
    start: int
    end: int


class Questions(NamedTuple):
    """An inquiry as it is asked, and the statuses that the model gives its rows."""

    inquiry: Inquiry
    aliases: npt.NDArray[np.uint8]
    providers: npt.NDArray[np.uint32]
    status: npt.NDArray[np.uint8]


def parts_of(persons: int, inquiries: int, rows: int) -> list[Part]:
    """The inquiries of so many rows each that ask so often in all: everybody once before anybody twice."""
    found: list[Part] = []
    for pass_number in range(PASSES_MAX):
        left = min(persons, inquiries - pass_number * persons)
        for start in range(0, max(left, 0), rows):
            found.append(Part(len(found), pass_number, start, min(start + rows, left)))
    return found


def expected_status(persons: npt.NDArray[np.int64], pass_number: int) -> npt.NDArray[np.uint8]:
    """uint8[N]: what comes of asking about these persons in that pass."""
    mixed = (persons.astype(np.uint32) + np.uint32(pass_number * 40_503)) * np.uint32(2_654_435_761)
    kind = mixed >> np.uint32(22)
    status = np.zeros(len(persons), dtype=np.uint8)
    # Few of many: three searches in one comparison's few hits.
    few = np.flatnonzero(kind < NOT_HELD + DENIED + UNKNOWN)
    kinds = np.array(
        [Status.NO_ALIAS_AT_PROVIDER] * NOT_HELD + [Status.DENIED] * DENIED + [Status.UNKNOWN_ALIAS] * UNKNOWN,
        dtype=np.uint8,
    )
    status[few] = kinds[kind[few]]
    return status


def asked_town(world: NationWorld, home: npt.NDArray[np.uint16], status: npt.NDArray[np.uint8]) -> npt.NDArray[np.intp]:
    """intp[N]: the municipality that is asked, a place in ``world.towns``: the next one where it must not know."""
    return (home + (status == Status.NO_ALIAS_AT_PROVIDER).astype(np.uint16)).astype(np.intp) % len(world.towns)


def draw(world: NationWorld, part: Part, seed: int) -> Questions:
    """The rows of one inquiry."""
    status = expected_status(np.arange(part.start, part.end, dtype=np.int64), part.pass_number)
    providers = world.towns.take(asked_town(world, np.asarray(world.home[part.start : part.end]), status))
    providers[status == Status.DENIED] = world.hub.catalog.institution(NOT_ASKABLE).number
    aliases = np.array(world.requester[part.start : part.end])
    unknown = np.flatnonzero(status == Status.UNKNOWN_ALIAS)
    random = np.random.default_rng([seed, part.number])
    aliases[unknown] = np.frombuffer(random.bytes(16 * len(unknown)), np.uint8).reshape(-1, 16)
    return Questions(pension_inquiry(f"nation-{seed}-{part.number}"), aliases, providers, status)


def asked_of(parts: list[Part], person: int) -> Iterator[int]:
    """The passes in which a person was asked about."""
    return (part.pass_number for part in parts if part.start <= person < part.end)
