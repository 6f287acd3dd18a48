"""The plays: batches about pairs of persons, run from question to history, and what each party saw of them."""

from __future__ import annotations

import datetime as dt
import time
from collections.abc import Iterable, Sequence
from concurrent.futures import Future

from guess import Pair, Sight
from table import PORTAL, REQUESTER, TOWNS, Table

import hub
from hub.limits import ROWS_PER_CHUNK
from hub.provision.inbox import PERMITS_PER_SEGMENT

Rows = list[tuple[int, str]]
Sights = dict[str, dict[int, Sight]]
"""Party -> person -> what it saw."""

PAIRS_PER_GROUP = 50
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


def note_permits(
    table: Table,
    sights: Sights,
    provider: str,
    persons: Iterable[int],
    found: list[hub.Permits],
    *,
    by_class: bool = False,
) -> None:
    """What a provider saw of some persons in a collection."""
    seen = table.permits(provider, found)
    own = {one: seen.get(table.alias(provider, one).tobytes()) for one in persons}
    note(sights, provider, {one: sight for one, sight in own.items() if sight is not None})
    assert by_class or None not in own.values()


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


def play_batches(
    table: Table, games: int, pairs: int, providers: Sequence[str], asked: Sequence[str] = ()
) -> dict[str, list[Pair]]:
    """Batches of so many pairs each; every provider is asked about every person, rows stand in any order.

    Args:
        asked: what the rows name, where that is not the providers: classes to which these belong.
    """
    sights: Sights = {}
    every = table.deal(2 * games)
    for start in range(0, len(every), 2 * pairs):
        persons = every[start : start + 2 * pairs]
        rows = table.shuffled((one, body) for one in persons for body in asked or providers)
        request_id = table.ask(rows)
        note(sights, REQUESTER, table.answers(request_id, rows), "before: ")
        for provider in providers:
            found = table.collect(provider)
            note_permits(table, sights, provider, persons, found, by_class=bool(asked))
            provide_all(table, sights, provider, persons, found)
        note(sights, REQUESTER, table.answers(request_id, rows))
    finish(table, sights, every)
    return pairs_of(sights, every)


def play_pushes(table: Table, games: int, pairs: int) -> dict[str, list[Pair]]:
    """Pushes about so many pairs each, to two receivers who take them in their own order."""
    sights: Sights = {}
    every = table.deal(2 * games)
    for start in range(0, len(every), 2 * pairs):
        persons = every[start : start + 2 * pairs]
        rows = table.shuffled((one, body) for one in persons for body in (table.x, table.y))
        note(sights, REQUESTER, table.push(rows, PAYLOAD))
        for receiver in (table.x, table.y):
            seen, numbers = table.arrivals(receiver)
            note(sights, receiver, {one: seen[table.alias(receiver, one).tobytes()] for one in persons})
            table.h.taken(receiver, numbers)
    finish(table, sights, every)
    return pairs_of(sights, every)


def play_located(table: Table, games: int, pairs: int) -> dict[str, list[Pair]]:
    """Batches that name a class; X holds the first of two persons, Y the second.

    Of requester and X alone: the portal is told who holds whom, and two holders see that they share nobody.
    """
    found = play_batches(table, games, pairs, [table.x, table.y], [TOWNS])
    return {party: found[party] for party in (REQUESTER, table.x)}


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


def play_group(table: Table, games: int, providers: Sequence[str]) -> dict[str, list[Pair]]:
    """Two batches of one person each that share a commit, among those of other games."""
    sights: Sights = {}
    every = table.deal(2 * games)
    for start in range(0, len(every), 2 * PAIRS_PER_GROUP):
        persons = every[start : start + 2 * PAIRS_PER_GROUP]
        batches = {one: table.shuffled((one, provider) for provider in providers) for one in persons}
        requests = ask_together(table, [batches[persons[i]] for i in table.rng.permutation(len(persons))])
        for place, (request_id, rows) in enumerate(requests):
            note(sights, REQUESTER, table.answers(request_id, rows), "before: ")
            note(sights, REQUESTER, {rows[0][0]: {"place of the batch": place}})
        for provider in providers:
            found = table.collect(provider)
            note_permits(table, sights, provider, persons, found)
            provide_all(table, sights, provider, persons, found)
        for request_id, rows in requests:
            note(sights, REQUESTER, table.answers(request_id, rows))
    finish(table, sights, every)
    return pairs_of(sights, every)


def ask_together(table: Table, batches: Sequence[Rows]) -> list[tuple[str, Rows]]:
    """Ask several batches, which become durable in one commit: (request id, rows) in the order in which they came."""
    requests = []
    futures: list[Future[hub.Answer]] = []
    with table.h._store.writer:
        # While its commit waits for the writer, all that come behind it gather in one group.
        futures.append(table.h.inquire_soon(*table.question([(table.deal(1)[0], table.x)])))
        while table.h._gathering()._queue:
            time.sleep(0.0001)
        for rows in batches:
            question = table.question(rows)
            futures.append(table.h.inquire_soon(*question))
            requests.append((question[0].request_id, rows))
    assert not any(future.result(60).status.any() for future in futures)
    return requests


def play_manual(table: Table, games: int, pairs: int) -> dict[str, list[Pair]]:
    """X has a clerk decide about one of the two, who are answered at the same time later on."""
    sights: Sights = {}
    every = table.deal(2 * games)
    for start in range(0, len(every), 2 * pairs):
        persons = every[start : start + 2 * pairs]
        rows = table.shuffled((one, provider) for one in persons for provider in (table.x, table.y))
        request_id = table.ask(rows)
        collected = {provider: table.collect(provider) for provider in (table.x, table.y)}
        for provider, found in collected.items():
            note_permits(table, sights, provider, persons, found)
        ours = {table.alias(table.x, one).tobytes() for one in persons[::2]}
        seen = table.permits(table.x, collected[table.x])
        table.h.provide(table.x, [int(seen[one]["permit"]) for one in seen if one in ours], hub.Status.MANUAL)
        note(sights, REQUESTER, table.answers(request_id, rows), "before: ")
        by_clerk = table.permits(table.x, table.collect(table.x, manual=True))
        table.later(90)
        for provider, found in collected.items():
            numbers = [int(number) for permits in found for number in permits.permit]
            table.h.provide(provider, numbers, hub.Status.PROVIDED, [PAYLOAD] * len(numbers), clerk="a clerk")
        note(sights, REQUESTER, table.answers(request_id, rows), "at once: ")
        table.later(60)
        note(sights, REQUESTER, table.answers(request_id, rows))
        note(sights, table.x, {one: by_clerk[table.alias(table.x, one).tobytes()] for one in persons[::2]}, "clerk: ")
    finish(table, sights, every)
    return pairs_of(sights, every)


def play_lists(table: Table, games: int) -> dict[str, list[Pair]]:
    """Everybody withholds the records of all persons, who are protected and ask for corrections before."""
    sights: Sights = {}
    persons = table.deal(2 * games)
    rows = table.shuffled((one, table.x) for one in persons)
    table.ask(rows)
    for party in (REQUESTER, table.x):
        for one in persons:
            alias = table.alias(PORTAL, one)
            page = table.h.history(alias)
            table.h.ask_correction(alias, page.records[-1], "wrong", disclosed=page.disclosure, institution=party)
    for party in (REQUESTER, table.x):
        for one in persons:
            [(handle, _)] = table.h.handles(party, table.alias(party, one))
            table.h.withhold(handle, "ground", dt.date(2027, 4, 1))
    for one in persons:
        table.h.protect("jlis", f"{table.codes[one]:011}", since=dt.date(2020, 1, 1), ground="protected")
    note(sights, REQUESTER, {person: {"row": row} for row, (person, _) in enumerate(rows)})
    for party in (REQUESTER, table.x):
        note(sights, party, table.lists(party, persons))
    finish(table, sights, persons, portal=False)
    return pairs_of(sights, persons)


# -- what is known to be open


def play_one_by_one(table: Table, games: int) -> dict[str, list[Pair]]:
    """Batches of one row, one after the other in the same second, and answered like that."""
    sights: Sights = {}
    persons = table.deal(2 * games)
    order = [persons[i] for i in table.rng.permutation(len(persons))]
    for time_, one in enumerate(order):
        table.ask([(one, table.x)])
        note(sights, REQUESTER, {one: {"time": time_}})
    found = table.collect(table.x)
    note_permits(table, sights, table.x, persons, found)
    owners = {int(sights[table.x][one]["permit"]): one for one in persons}
    for time_, number in enumerate(int(number) for permits in found for number in permits.permit):
        table.h.provide(table.x, [number], hub.Status.PROVIDED, [PAYLOAD])
        note(sights, table.x, {owners[number]: {"time": time_}})
    finish(table, sights, persons)
    return pairs_of(sights, persons)


def play_flagged(table: Table, games: int) -> dict[str, list[Pair]]:
    """X and Y are asked about two persons of whom Y has flagged one for its clerks."""
    sights: Sights = {}
    persons = table.deal(2 * games)
    table.h.flag(table.y, table.aliases[table.y][persons[::2]], hub.Flag.MANUAL)
    table.ask(table.shuffled((one, provider) for one in persons for provider in (table.x, table.y)))
    for provider in (table.x, table.y):
        note_permits(table, sights, provider, persons, table.collect(provider))
    finish(table, sights, persons, portal=False)
    return pairs_of(sights, persons)


def play_asked(table: Table, games: int) -> dict[str, list[Pair]]:
    """X is asked about two persons, Z about one of them as well; X leaves both to its clerk."""
    sights: Sights = {}
    persons = table.deal(2 * games)
    table.ask(table.shuffled([(one, table.x) for one in persons] + [(one, table.z) for one in persons[::2]]))
    note(sights, REQUESTER, {one: {"bodies": 2 - place % 2} for place, one in enumerate(persons)})
    numbers = [int(number) for permits in table.collect(table.x) for number in permits.permit]
    table.h.provide(table.x, numbers, hub.Status.MANUAL)
    note_permits(table, sights, table.x, persons, table.collect(table.x, manual=True))
    note(sights, table.x, {one: {"alias": table.alias(table.x, one).tobytes()} for one in persons})
    return pairs_of(sights, persons)
