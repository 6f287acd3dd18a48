"""The classifiers find leaks of many kinds, and nothing where there is none."""

from __future__ import annotations

import secrets
from collections.abc import Callable

import numpy as np
import pytest
from guess import Pair, Sight, columns_of, guess

GAMES = 2_000
KINDS = "the same bytes", "the same order", "the other order", "near numbers", "the same bit"


def pairs(make: Callable[[int, int], Sight]) -> list[Pair]:
    """Sights of the two persons of each game: game, person -> sight."""
    return [(make(game, 0), make(game, 1)) for game in range(GAMES)]


def noise() -> Sight:
    return {"alias": secrets.token_bytes(16), "number": secrets.randbits(64), "place": secrets.randbelow(9), "rows": 9}


def guessed(one: list[Pair], other: list[Pair]) -> set[str]:
    return guess(columns_of(one), columns_of(other), np.random.default_rng(secrets.randbits(32))).beyond()


def test_noise_is_no_leak() -> None:
    one, other = pairs(lambda *_: noise()), pairs(lambda *_: noise())
    # A coin leaves the bound once in 400 times.
    assert not guessed(one, other) & guessed(one, other)


@pytest.mark.parametrize("often", [1, 2])
@pytest.mark.parametrize("kind", KINDS)
def test_a_leak_is_found(kind: str, often: int) -> None:
    secret = [[secrets.randbits(40) for _ in range(2)] for _ in range(GAMES)]

    def leak(game: int, person: int, second: bool) -> Sight:
        value = secret[game][person] if game % often == 0 else secrets.randbits(40)
        told: dict[str, int | bytes] = {
            "the same bytes": value.to_bytes(16),
            "the same order": (value << 20) + secrets.randbits(10),
            "the other order": -value if second else value,
            "near numbers": value + secrets.randbelow(1 << 30),
            "the same bit": secrets.randbits(60) << 1 | value & 1,
        }
        return noise() | {"told": told[kind]}

    one = pairs(lambda game, person: leak(game, person, False))
    assert guessed(one, pairs(lambda game, person: leak(game, person, True)))
