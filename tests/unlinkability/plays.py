"""The plays: batches about pairs of persons, run from question to history, and what each party saw of them."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from guess import Pair, Sight
from table import PORTAL, REQUESTER, Table

import hub
from hub.inbox import PERMITS_PER_SEGMENT
from hub.limits import ROWS_PER_CHUNK

Rows = list[tuple[int, str]]
Sights = dict[str, dict[int, Sight]]
"""Party -> person -> what it saw."""

PAYLOAD = b"payload!"


def pairs_of(sights: Sights, persons: Sequence[int]) -> dict[str, list[Pair]]:
    """Party -> its sights of the persons, two by two."""
    twos = list(zip(persons[::2], persons[1::2], strict=True))
    return {party: [(found[one], found[two]) for one, two in twos] for party, found in sights.items()}


def note(sights: Sights, party: str, found: dict[int, Sight], prefix: str = "") -> None:
    """Add to what a party saw."""
    for person, sight in found.items():
        own = sights.setdefault(party, {}).setdefault(person, {})
        own.update({prefix + name: value for name, value in sight.items()})


def note_permits(table: Table, sights: Sights, provider: str, persons: Iterable[int], found: list[hub.Permits]) -> None:
    """What a provider saw of some persons in a collection."""
    seen = table.permits(provider, found)
    note(sights, provider, {one: seen[table.alias(provider, one).tobytes()] for one in persons})


def finish(table: Table, sights: Sights, persons: Iterable[int], *, portal: bool = True) -> None:
    """What the parties read of persons at the end: handles, histories with proofs."""
    everybody = list(persons)
    for party in list(sights):
        note(sights, party, {one: table.handles(party, one) for one in everybody})
    if portal:
        note(sights, PORTAL, {one: table.history(one, cursor=len(sights) == 2) for one in everybody})


def provide_all(table: Table, sights: Sights, provider: str, persons: list[int], found: list[hub.Permits]) -> None:
    """A provider answers all permits in its order, and is refused other answers."""
    numbers = [int(number) for permits in found for number in permits.permit]
    receipt = table.h.provide(provider, numbers, hub.Status.PROVIDED, [PAYLOAD] * len(numbers))
    size, root = table.checkpoint()
    told: Sight = {"answered rows": receipt.rows, "answered at": receipt.received_at, "log": size, "root": root}
    told |= table.refusal(provider, numbers)
    note(sights, provider, dict.fromkeys(persons, told))


def play_batches(table: Table, games: int, pairs: int, providers: Sequence[str]) -> dict[str, list[Pair]]:
    """Batches of so many pairs each; every provider is asked about every person, rows stand in any order."""
    sights: Sights = {}
    every = table.deal(2 * games)
    for start in range(0, len(every), 2 * pairs):
        persons = every[start : start + 2 * pairs]
        rows = table.shuffled((one, provider) for one in persons for provider in providers)
        request_id = table.ask(rows)
        note(sights, REQUESTER, table.answers(request_id, rows), "before: ")
        for provider in providers:
            found = table.collect(provider)
            note_permits(table, sights, provider, persons, found)
            provide_all(table, sights, provider, persons, found)
        note(sights, REQUESTER, table.answers(request_id, rows))
    finish(table, sights, every)
    return pairs_of(sights, every)


def play_parts(table: Table, games: int) -> dict[str, list[Pair]]:
    """One large chunk, sorted into several segments of each provider, who collect it in small parts."""
    sights: Sights = {}
    persons = table.deal(PERMITS_PER_SEGMENT + 2 * games)
    rows = table.shuffled((one, provider) for one in persons for provider in (table.x, table.y))
    assert len(rows) <= ROWS_PER_CHUNK
    table.ask(rows)
    table.h._delivery.deliver()  # type: ignore[union-attr]
    chosen = persons[: 2 * games]
    for provider in (table.x, table.y):
        found = []
        while some := table.collect(provider, limit=len(persons) // 8):
            found += some
        note_permits(table, sights, provider, chosen, found)
    finish(table, sights, chosen)
    return pairs_of(sights, chosen)
