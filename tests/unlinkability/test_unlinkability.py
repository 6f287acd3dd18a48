"""Two parties pool all that they may read, and cannot say which of the one's rows is which of the other's."""

from __future__ import annotations

import itertools
import os
import secrets
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from guess import Pair, guess
from plays import play_batches
from table import Table

GAMES = 2_000
"""Half of them to learn from. Three standard errors of the others are 4.7 points."""

SHARED_MEMORY = Path("/dev/shm")

Played = dict[str, list[Pair]]


@pytest.fixture
def seed() -> int:
    """Of what the tests choose; aliases, keys and nonces are the hub's own, from the machine's random numbers."""
    chosen = int(os.environ.get("GAME_SEED") or secrets.randbits(32))
    print(f"GAME_SEED={chosen}")
    return chosen


@pytest.fixture
def table(tmp_path_factory: pytest.TempPathFactory, seed: int) -> Iterator[Table]:
    """A hub with persons for two plays. Nothing here depends on the disk, so it is in memory where that can be."""
    with Table(tmp_path_factory.mktemp("table") / "hub", 4 * GAMES + 8, seed) as made:
        yield made


def hold(table: Table, play: Callable[[], Played]) -> None:
    """No two parties guess better than a coin.

    A coin leaves three standard errors now and then, and there are many guesses: so what does is played once more, with
    other persons, and has to be found again.
    """
    first = beyond(table, play())
    if first:
        again = beyond(table, play())
        assert not first & again, f"{sorted(first & again)}"


def beyond(table: Table, played: Played) -> set[tuple[str, str, str]]:
    """Parties and classifiers that guessed better than a coin, or worse."""
    found = set()
    for one, other in itertools.combinations(sorted(played), 2):
        guessed = guess(played[one], played[other], table.rng)
        print(f"{table.name(one)} + {table.name(other)}: {guessed}")
        found |= {(table.name(one), table.name(other), name) for name in guessed.beyond()}
    return found


def test_a_batch_of_two_rows(table: Table) -> None:
    hold(table, lambda: play_batches(table, GAMES, 1, [table.x]))


def test_a_batch_of_two_persons_at_two_providers(table: Table) -> None:
    hold(table, lambda: play_batches(table, GAMES, 1, [table.x, table.y]))


def test_a_bulk_batch(table: Table) -> None:
    hold(table, lambda: play_batches(table, GAMES, 500, [table.x, table.y]))
