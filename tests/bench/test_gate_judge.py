"""What the gate says of ratios: equal code is not called slower, a slowdown is found, a floor is held."""

from __future__ import annotations

import math
from pathlib import Path
from xml.etree import ElementTree

import numpy as np
import pytest

from hub.bench.gate.builds import Built
from hub.bench.gate.command import choose
from hub.bench.gate.floors import Floor, read_floors
from hub.bench.gate.judge import (
    Verdict,
    estimate,
    evidence,
    evidence_of_signs,
    flip_chance,
    interval,
    judge,
    judge_floor,
    settled,
)
from hub.bench.gate.outcome import Outcome, Stage
from hub.bench.gate.pair import Block, WorkerError
from hub.bench.gate.stages import STAGES
from hub.errors import RequestError

FLOORS = Path(__file__).parents[2] / "bench" / "floors.toml"


def look_until_settled(random: np.random.Generator, slowdown: float, noise: float, most: int) -> Verdict:
    """Blocks one behind the other, judged after each, as the gate does."""
    found: list[float] = []
    while len(found) < most and not (found and settled(found)):
        found.append(math.log1p(slowdown) + noise * float(random.standard_normal()))
    return judge(found)


def test_the_mean_of_evidence_over_all_signs_is_one() -> None:
    random = np.random.default_rng(1)
    sizes = np.abs(random.standard_cauchy(10)) * 0.1
    signs = (np.arange(1 << 10)[:, None] >> np.arange(10) & 1) * 2 - 1
    assert np.mean([evidence(row) for row in signs * sizes]) == pytest.approx(1)
    assert np.mean([evidence_of_signs(row) for row in signs * sizes]) == pytest.approx(1)
    # A centre below the bound makes it less.
    assert np.mean([evidence(row, 0.02) for row in signs * sizes]) < 1


def test_looking_after_each_block_gives_no_more_false_alarms_than_promised() -> None:
    random, alarms, times = np.random.default_rng(2), 0, 800
    for _ in range(times):
        # Exactly as slow as is tolerated, with noise as large: the worst case for which the promise is made.
        x = math.log(1.05) + 0.1 * random.standard_normal(30)
        alarms += any(judge(x[: n + 1]) is Verdict.SLOWER for n in range(13, 30, 3))
    assert alarms <= 2


@pytest.mark.parametrize("noise", [0.01, 0.03, 0.06])
def test_equal_code_passes_and_fifteen_per_cent_are_found(noise: float) -> None:
    random = np.random.default_rng(3)
    for _ in range(30):
        assert look_until_settled(random, 0.0, noise, 40) in (Verdict.PASS, Verdict.UNSURE)
    found = [look_until_settled(random, 0.15, noise, 40) for _ in range(30)]
    assert found.count(Verdict.SLOWER) >= 29
    assert Verdict.PASS not in found


def test_a_machine_that_is_too_noisy_makes_the_gate_say_so() -> None:
    random = np.random.default_rng(4)
    found = {look_until_settled(random, 0.0, 0.5, 20) for _ in range(50)}
    assert Verdict.SLOWER not in found
    assert Verdict.UNSURE in found


def test_few_blocks_never_make_it_slower_however_slow() -> None:
    assert judge([2.0] * 13) is not Verdict.SLOWER
    assert judge([2.0] * 14) is Verdict.SLOWER


def test_faster_code_is_told() -> None:
    assert judge([math.log(0.8)] * 10) is Verdict.FASTER


def test_the_interval_holds_the_centre_and_needs_six_blocks() -> None:
    random = np.random.default_rng(5)
    assert interval([0.1] * 5) is None
    held = 0
    for _ in range(300):
        bounds = interval((0.1 + 0.05 * random.standard_normal(9)).tolist())
        assert bounds is not None
        held += bounds[0] <= 0.1 <= bounds[1]
    assert held >= 273
    assert estimate([0.0, 0.1, 0.2]) == pytest.approx(0.1)


def test_the_permutation_test_agrees_with_the_evidence() -> None:
    assert flip_chance([0.14, 0.15, 0.13, 0.16] * 4, 0.05) < 0.001
    assert flip_chance([0.02, -0.02] * 8, 0.05) > 0.9


def test_a_floor_is_judged_by_signs() -> None:
    assert judge_floor([0.5, 0.6, 0.4] * 3, 0.2) is Verdict.PASS
    assert judge_floor([0.1] * 14, 0.2) is Verdict.SLOWER
    assert judge_floor([0.1] * 8, 0.2) is Verdict.UNSURE


def test_the_repositorys_floors_can_be_read() -> None:
    assert set(read_floors(FLOORS)) == set(STAGES)


def test_a_floor_is_that_of_the_processor() -> None:
    wide = {"avx512f", "avx512bw", "sha_ni", "ssse3", "sse4_1"}
    shares = [read_floors(FLOORS, has)["record"].share for has in (wide, wide - {"avx512bw"}, {"avx2"}, set())]
    assert shares == [1.0, 0.8, 0.4, 0.4]


def test_a_floor_for_one_kind_of_processor_is_none_for_another(tmp_path: Path) -> None:
    path = tmp_path / "floors.toml"
    path.write_text("[[floor]]\nstage = 'record'\nlimit = 'hash'\nshare = 1\nprocessor = ['sha_ni']\n")
    assert (set(read_floors(path, {"sha_ni"})), read_floors(path, {"avx2"})) == ({"record"}, {})


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("[[floor]]\nstage = 'resolve'\nlimit = 'fetch'\nshare = 0.1\nmargin = 2\n", "unknown field `margin`"),
        ("[[floor]]\nstage = 'resolv'\nlimit = 'fetch'\nshare = 0.1\n", "stage: expected one of resolve, "),
        ("[[floor]]\nstage = 'resolve'\nlimit = 'light'\nshare = 0.1\n", "limit: expected one of fetch, "),
        ("[[floor]]\nstage = 'resolve'\nlimit = 'fetch'\nshare = 15\n", "<= 10"),
        ("[[floor]]\nstage = 'resolve'\nlimit = 'fetch'\nshare = 0.1\n" * 2, "got another behind that of resolve"),
        ("[[floor]\n", "floors.toml: "),
    ],
    ids=["unknown key", "unknown stage", "unknown limit", "share", "twice", "no toml"],
)
def test_wrong_floors_are_one_line(text: str, told: str, tmp_path: Path) -> None:
    path = tmp_path / "floors.toml"
    path.write_text(text)
    with pytest.raises(RequestError, match=r".*floors\.toml: .*") as refused:
        read_floors(path)
    assert told in str(refused.value)
    assert "\n" not in str(refused.value)


def outcome_of(*stages: Stage) -> Outcome:
    built = [Built(name, "c" * 40, False, "python", Path(), True, 0.0) for name in ("base", "head")]
    return Outcome((built[0], built[1]), list(stages), {}, {})


def stage_of(name: str, x: float, blocks: int, share: float | None = None) -> Stage:
    stage = Stage(name, None if share is None else Floor(name, "fetch", 0.5))
    for _ in range(blocks):
        block = Block({name: {"wall": x, "cpu": x}}, {}, {name: (1e6, 1e6 / math.exp(x))})
        if share is not None:
            block.limits[name] = share / block.rates[name][1]
        stage.add(block)
    return stage


def test_the_worst_stage_is_the_verdict_and_names_by_how_much() -> None:
    outcome = outcome_of(stage_of("resolve", 0.0, 6), stage_of("record", math.log(1.2), 20))
    assert outcome.verdict is Verdict.SLOWER
    assert outcome.failing == ["record: slower by 20.0%"]
    assert "slower by 20.0%" in outcome.table()
    assert outcome_of(stage_of("resolve", 0.0, 6)).failing == []


def test_slower_by_one_clock_is_slower() -> None:
    stage = stage_of("resolve", 0.0, 20)
    stage.ratios["cpu"] = [math.log(1.2)] * 20
    assert stage.verdict is Verdict.SLOWER
    assert stage.words() == "slower by 20.0% (processor time)"


def test_a_stage_that_the_base_lacks_cannot_be_told_and_one_that_the_head_lacks_is_wrong() -> None:
    for side, expected in (("base", Verdict.UNSURE), ("head", Verdict.WRONG)):
        stage = Stage("record")
        stage.add(Block(failed={"record": WorkerError(side, "ImportError: no _hash", lacks=True)}))
        assert stage.verdict is expected
        assert stage.done
        assert bool(outcome_of(stage).failing) == (side == "head")


def test_a_stage_below_its_floor_fails_even_if_it_is_no_slower() -> None:
    outcome = outcome_of(stage_of("resolve", 0.0, 20, share=0.3))
    assert outcome.failing == ["resolve: floor: expected at least 0.50 of the limit fetch, got 0.30"]
    assert not outcome_of(stage_of("resolve", 0.0, 20, share=0.7)).failing


def test_junit_and_markdown_say_the_same() -> None:
    outcome = outcome_of(stage_of("resolve", 0.0, 6, share=0.9), stage_of("record", 0.3, 20), Stage("verify"))
    suite = ElementTree.fromstring(outcome.junit())
    assert {key: suite.get(key) for key in ("tests", "failures", "errors", "skipped")} == {
        "tests": "4", "failures": "1", "errors": "0", "skipped": "1",
    }  # fmt: skip
    assert [case.get("name") for case in suite if case.find("failure") is not None] == ["record"]
    assert "| record | 1 M |" in outcome.markdown()
    assert outcome.content()["stages"][1]["verdict"] == "slower"


def test_late_what_leans_to_slower_is_measured_alone() -> None:
    slow, even, low = Stage("resolve"), Stage("record"), Stage("verify", Floor("verify", "hash", 0.5))
    for stage, x, share in ((slow, 0.14, 1.0), (even, 0.0, 1.0), (low, 0.0, 0.3)):
        for _ in range(3):
            stage.add(Block({stage.name: {"wall": x, "cpu": x}}, {stage.name: share}, {stage.name: (1.0, 1.0)}))
    stages = [slow, even, low]
    assert choose(stages, late=False) == stages
    assert choose(stages, late=True) == [slow, low]
    assert choose([even], late=True) == [even]
    for _ in range(20):
        slow.add(Block({"resolve": {"wall": 0.14, "cpu": 0.14}}, {}, {"resolve": (1.0, 1.0)}))
    assert (str(slow.verdict), choose([slow, even], late=True)) == ("slower", [even])
