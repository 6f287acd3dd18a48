"""Who guesses the bit: what two parties saw of two persons -> features -> simple classifiers, all in numpy.

A *sight* is what one party read of one person: name -> number or bytes. A game hands over two sights of one party and
two of another, whose persons stand in the same order or the other way round: that is the bit. The features are the same
for every sight and every name, so that nobody chooses only those that are known to be safe.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

Sight = dict[str, int | bytes]
Pair = tuple[Sight, Sight]
Words = npt.NDArray[np.uint64]
Features = npt.NDArray[np.float32]
Bits = npt.NDArray[np.bool_]

WORDS_PER_VALUE_MAX = 8
FEATURES_AT_A_TIME = 512

_STEPS = 60
_SHRINK = 0.1


class Guessed(NamedTuple):
    """How often each classifier guessed the bit of games that it had not seen.

    Attributes:
        accuracy: name of a classifier -> share of right guesses. games: of how many. best: the feature of the stump.
    """

    accuracy: dict[str, float]
    games: int
    best: str

    @property
    def bound(self) -> float:
        """Three standard errors of a coin's share."""
        return 3 * 0.5 / self.games**0.5

    def beyond(self) -> set[str]:
        """The classifiers that are more than three standard errors away from one half."""
        return {name for name, share in self.accuracy.items() if abs(share - 0.5) > self.bound}

    def __str__(self) -> str:
        shares = ", ".join(f"{name} {share:.3f}" for name, share in self.accuracy.items())
        return f"{shares} (0.5 +- {self.bound:.3f}); stump on {self.best}"


# -- sights to numbers


class Seen(NamedTuple):
    """What a party saw in all games: names of columns, and uint64[games, 2, columns]."""

    names: list[str]
    words: Words


def columns_of(pairs: list[Pair]) -> Seen:
    """The columns of a party's sights: numbers as they are, bytes in pieces of eight."""
    columns: dict[str, npt.NDArray[np.uint64]] = {}
    sights = [sight for pair in pairs for sight in pair]
    for name in sorted({name for sight in sights for name in sight}):
        values = [sight.get(name) for sight in sights]
        columns[f"{name} is there"] = _column([value is not None for value in values])
        if not any(isinstance(value, bytes) for value in values):
            columns[name] = _column([value or 0 for value in values])
            continue
        raw = [value if isinstance(value, bytes) else b"" for value in values]
        columns[f"{name} length"] = _column(map(len, raw))
        for at in range(0, min(max(map(len, raw)), 8 * WORDS_PER_VALUE_MAX), 8):
            columns[f"{name} [{at}]"] = _column(int.from_bytes(value[at : at + 8].ljust(8, b"\0")) for value in raw)
    # What is the same in all games tells nothing.
    kept = {name: column for name, column in columns.items() if (column != column[0]).any()}
    if not kept:
        return Seen([], np.empty((len(pairs), 2, 0), np.uint64))
    return Seen(list(kept), np.stack(list(kept.values()), axis=-1).reshape(len(pairs), 2, len(kept)))


def _column(values: Iterable[Any]) -> Words:
    return np.array([int(value) & (1 << 64) - 1 for value in values], dtype=np.uint64)


def features_of(one: Seen, other: Seen, bits: Bits) -> tuple[list[str], Features]:
    """Names and float32[games, features] of what two parties saw; where the bit is set the others' sights are swapped.

    Of every column: both values and their difference. Of every column of the one and every column of the other: whether
    they order the two persons alike, the product of their differences, and how much closer the sights are to each other
    as they are handed over than the other way round: as numbers, in their bits, those of the lowest byte, the last one.
    """
    (names, p), (others_names, q) = one, other
    q = np.where(bits[:, None, None], q[:, ::-1], q)
    every: list[str] = []
    made: list[npt.NDArray[np.float64]] = []
    for side, side_names, x in (("one", names, p), ("other", others_names, q)):
        both = x.astype(np.float64)
        made += [both[:, 0], both[:, 1], both[:, 0] - both[:, 1]]
        every += [f"{side} {word} {name}" for word in ("first", "second", "difference") for name in side_names]
    pf, qf = p.astype(np.float64), q.astype(np.float64)
    dp, dq = _unit(_less(p)), _unit(_less(q))
    for i, name in enumerate(names):
        a0, a1, f0, f1 = p[:, 0, i : i + 1], p[:, 1, i : i + 1], pf[:, 0, i : i + 1], pf[:, 1, i : i + 1]
        q0, q1, g0, g1 = q[:, 0], q[:, 1], qf[:, 0], qf[:, 1]
        made.append(np.sign(dp[:, i : i + 1]) * np.sign(dq))
        made.append(dp[:, i : i + 1] * dq)
        made.append(abs(f0 - g0) + abs(f1 - g1) - abs(f0 - g1) - abs(f1 - g0))
        straight, crossed = (a0 ^ q0, a1 ^ q1), (a0 ^ q1, a1 ^ q0)
        made.append(_bits(*straight) - _bits(*crossed))
        for mask in (np.uint64(0xFF), np.uint64(1)):
            made.append(_bits(*(x & mask for x in straight)) - _bits(*(x & mask for x in crossed)))
        every += [
            f"{word}: {name} ~ {other_name}"
            for word in ("order", "product", "distance", "bits", "low bits", "last bit")
            for other_name in others_names
        ]
    features = np.concatenate(made, axis=1)
    return every, _standardized(features)


def _less(x: Words) -> npt.NDArray[np.float64]:
    """Differences of the two persons' values, exact in their sign."""
    first, second = x[:, 0], x[:, 1]
    return np.where(first < second, -(second - first).astype(np.float64), (first - second).astype(np.float64))


def _unit(values: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    return values / np.maximum(np.abs(values).max(axis=0, initial=0), 1)


def _bits(*values: Words) -> npt.NDArray[np.float64]:
    return sum(np.bitwise_count(value).astype(np.float64) for value in values)  # type: ignore[return-value]


def _standardized(features: npt.NDArray[np.float64]) -> Features:
    center, spread = features.mean(axis=0), features.std(axis=0)
    return ((features - center) / np.where(spread > 0, spread, 1)).astype(np.float32)


# -- guessing


def guess(one: Seen, other: Seen, rng: np.random.Generator) -> Guessed:
    """Draw a bit a game, learn from the first half of the games, guess the bits of the other half."""
    bits = rng.integers(2, size=len(one.words)).astype(np.bool_)
    names, x = features_of(one, other, bits)
    half = len(bits) // 2
    guesses = {}
    best, guesses["stump"] = _stump(x[:half], bits[:half], x[half:])
    guesses["centroid"] = _centroid(x[:half], bits[:half], x[half:])
    guesses["logistic"] = _logistic(x[:half], bits[:half], x[half:])
    shares = {name: float((guessed == bits[half:]).mean()) for name, guessed in guesses.items()}
    return Guessed(shares, len(bits) - half, names[best])


def _stump(x: Features, bits: Bits, unseen: Features) -> tuple[int, Bits]:
    """The one feature and threshold that guess best."""
    n = len(bits)
    most, best, threshold, above = -1, 0, 0.0, True
    for start in range(0, x.shape[1], FEATURES_AT_A_TIME):
        part = x[:, start : start + FEATURES_AT_A_TIME]
        order = np.argsort(part, axis=0, kind="stable")
        values = np.take_along_axis(part, order, axis=0)
        # Right guesses where all up to a place are called False, the others True: only between two different values.
        falses = np.cumsum(~bits[order], axis=0)
        trues = np.cumsum(bits[order], axis=0)
        right = falses + trues[-1] - trues
        right[:-1][values[1:] == values[:-1]] = n // 2
        right[-1] = n // 2
        either = np.maximum(right, n - right)
        place, column = (int(at) for at in np.unravel_index(int(either.argmax()), either.shape))
        if either[place, column] > most:
            most, best = int(either[place, column]), start + column
            following = min(place + 1, n - 1)
            threshold = float(values[place, column] + values[following, column]) / 2
            above = bool(right[place, column] >= n - right[place, column])
    return best, (unseen[:, best] > threshold) == above


def _centroid(x: Features, bits: Bits, unseen: Features) -> Bits:
    """The nearer of the two means."""
    means = [x[bits == bit].mean(axis=0) for bit in (False, True)]
    near = [((unseen - mean) ** 2).sum(axis=1) for mean in means]
    return near[1] < near[0]


def _logistic(x: Features, bits: Bits, unseen: Features) -> Bits:
    """Logistic regression with a ridge, by gradient steps as long as the features' spread allows."""
    weights, target = np.zeros(x.shape[1], np.float32), bits.astype(np.float32)
    vector = np.ones(x.shape[1], np.float32)
    for _ in range(8):
        vector = x.T @ (x @ (vector / np.linalg.norm(vector)))
    step = 1 / (0.25 * float(np.linalg.norm(vector)) / len(x) + _SHRINK)
    for _ in range(_STEPS):
        wrong = 1 / (1 + np.exp(-(x @ weights))) - target
        weights -= np.float32(step) * (x.T @ wrong / len(x) + _SHRINK * weights)
    return unseen @ weights > 0
