"""Whether one side is slower: sequential sign-flip evidence over blocks, and what a verdict may be read from it.

A block is one start of both sides. Which side goes first in it is drawn, so if both are equally fast, what it finds,
``x = log(head / base)``, is as likely as ``-x``, whatever the noise is and however it changes from block to block. For
such an x, any L and any share s the factor ``1 + s tanh(L x)`` has the mean 1 (it and that of -x add up to 2): the
product over the blocks is a fair game's purse, which exceeds 1/p with a chance of p at most, *whenever* one looks
(Ville 1939). A bound other than 0 is subtracted first. The whole argument stands in docs/gate.md.
"""

from __future__ import annotations

import enum
import math
from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

TOLERANCE = math.log(1.05)
"""A slowdown up to here is never called one: less than this, layout of code alone makes."""

HARM = math.log(1.10)
"""A stage passes once so large a slowdown is ruled out."""

CHANCE_SLOWER = 1 / 4_000
"""Of a false alarm, of one stage by one clock, if the head is at most TOLERANCE slower; of equal code far less."""

CHANCE_FASTER, CHANCE_PASS = 1 / 100, 1 / 10
STAKES = tuple((steep, share) for steep in (15.0, 60.0) for share in (0.7, 0.95))
"""(L, s): each has a quarter of the purse. L = 15 is for noise of some 7 % a block and 60 for 2 %; a block that others
spoilt costs 30 % of what stakes 70."""

SIGN_STAKES = (0.5, 0.9)
"""Shares of the purse staked on a sign alone, where x need not be symmetric."""

BLOCKS_LEANING = 20
"""So long a stage that passes is looked at further while it leans to faster or slower."""


class Verdict(enum.StrEnum):
    PASS = "pass"
    FASTER = "faster"
    SLOWER = "slower"
    UNSURE = "cannot tell"
    WRONG = "wrong"
    """The head could not run the stage, or answered otherwise than the model."""


def evidence(found: Sequence[float], bound: float = 0.0) -> float:
    """Against "the centre is at most ``bound``": 1/p or more has a chance of p at most, at whatever moment.

    Args:
        found: x of each block, symmetric about its centre if that is where it is.
    """
    x = np.asarray(found, dtype=float) - bound
    logs = [float(np.log1p(share * np.tanh(steep * x)).sum()) for steep, share in STAKES]
    return _mean_of_exponentials(logs)


def evidence_of_signs(found: Sequence[float], bound: float = 0.0) -> float:
    """The same against "the median is at most ``bound``", with no symmetry needed: only signs are staked on."""
    signs = np.sign(np.asarray(found, dtype=float) - bound)
    return _mean_of_exponentials([float(np.log1p(stake * signs).sum()) for stake in SIGN_STAKES])


def _mean_of_exponentials(logs: Sequence[float]) -> float:
    return float(np.mean(np.exp(np.minimum(logs, 600.0))))


def judge(found: Sequence[float]) -> Verdict:
    """The verdict of one clock so far."""
    if evidence(found, TOLERANCE) >= 1 / CHANCE_SLOWER:
        return Verdict.SLOWER
    against = [-x for x in found]
    if evidence(against, TOLERANCE) >= 1 / CHANCE_FASTER:
        return Verdict.FASTER
    return Verdict.PASS if evidence(against, -HARM) >= 1 / CHANCE_PASS else Verdict.UNSURE


def settled(found: Sequence[float]) -> bool:
    """Whether more blocks would not change the verdict, or not for a reason worth waiting for."""
    verdict = judge(found)
    if verdict is Verdict.PASS and len(found) < BLOCKS_LEANING:
        leans = evidence(found, TOLERANCE) > 1 or evidence([-x for x in found], TOLERANCE) > 1
        return not leans
    return verdict is not Verdict.UNSURE


def judge_floor(shares: Sequence[float], floor: float) -> Verdict:
    """PASS, SLOWER (than the floor) or UNSURE, from the share of the limit that each block reached."""
    short = [math.log(floor / share) for share in shares]
    if evidence_of_signs(short) >= 1 / CHANCE_SLOWER:
        return Verdict.SLOWER
    return Verdict.PASS if evidence_of_signs([-x for x in short]) >= 1 / CHANCE_PASS else Verdict.UNSURE


def leans_below(shares: Sequence[float], floor: float) -> bool:
    """Whether more blocks may yet show that a floor is missed."""
    return evidence_of_signs([math.log(floor / share) for share in shares]) > 1


def estimate(found: Sequence[float]) -> float:
    """The centre by Hodges and Lehmann: the median of the means of all pairs, each with itself too."""
    return float(np.median(_pair_means(found)))


def interval(found: Sequence[float], chance: float = 0.05) -> tuple[float, float] | None:
    """Where the centre lies but for a chance of 5 %, by Wilcoxon's signed ranks; None for too few blocks.

    For one look at a number of blocks that was fixed beforehand: it is shown, the verdict does not use it.
    """
    count = len(found)
    # Of 2^count equally likely sets of ranks, how many have each sum.
    ways = np.zeros(count * (count + 1) // 2 + 1)
    ways[0] = 1
    for rank in range(1, count + 1):
        ways[rank:] += ways[:-rank].copy()
    below = np.cumsum(ways) / 2.0**count
    cut = int(np.searchsorted(below, chance / 2, side="right"))
    if cut == 0:
        return None
    means = np.sort(_pair_means(found))
    return float(means[cut - 1]), float(means[-cut])


def flip_chance(found: Sequence[float], bound: float = 0.0, *, draws: int = 20_000) -> float:
    """p of the ordinary permutation test: how often x - bound with drawn signs has as large a mean. Shown beside."""
    x = np.asarray(found, dtype=float) - bound
    signs = np.random.default_rng(0).integers(0, 2, (draws, len(x))) * 2 - 1
    return float((1 + np.count_nonzero((signs * x).mean(axis=1) >= x.mean() - 1e-12)) / (1 + draws))


def _pair_means(found: Sequence[float]) -> npt.NDArray[np.float64]:
    x = np.asarray(found, dtype=float)
    first, second = np.triu_indices(len(x))
    return np.asarray((x[first] + x[second]) / 2)
