"""What a run of the gate found, as a table, JSON, JUnit XML and Markdown."""

from __future__ import annotations

import json
import math
import os
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import numpy as np

from hub.bench.gate.builds import Built
from hub.bench.gate.floors import Floor
from hub.bench.gate.judge import (
    TOLERANCE,
    Verdict,
    estimate,
    evidence,
    flip_chance,
    interval,
    judge,
    judge_floor,
    leans_below,
    settled,
)
from hub.bench.gate.pair import CLOCKS, Block, WorkerError

WORST_FIRST = (Verdict.WRONG, Verdict.SLOWER, Verdict.UNSURE, Verdict.FASTER, Verdict.PASS)
FAILING = (Verdict.WRONG, Verdict.SLOWER)


@dataclass
class Stage:
    """What the blocks said of one stage.

    Attributes:
        ratios: of each clock, log(head / base) by block. rates: rows a second by block, (base, head).
        shares: of its limit, by block. failed: why it cannot be judged. instructions: a row, (base, head).
    """

    name: str
    floor: Floor | None = None
    ratios: dict[str, list[float]] = field(default_factory=lambda: {clock: [] for clock in CLOCKS})
    rates: list[tuple[float, float]] = field(default_factory=list)
    shares: list[float] = field(default_factory=list)
    failed: WorkerError | None = None
    instructions: tuple[float, float] | None = None

    def add(self, block: Block) -> None:
        """Enter a block's finding, if it has one of this stage."""
        self.failed = self.failed or block.failed.get(self.name)
        if self.name in block.ratios:
            for clock in CLOCKS:
                self.ratios[clock].append(block.ratios[self.name][clock])
            self.rates.append(block.rates[self.name])
        if self.name in block.limits:
            self.shares.append(block.limits[self.name] * block.rates[self.name][1])

    @property
    def blocks(self) -> int:
        return len(self.rates)

    @property
    def verdict(self) -> Verdict:
        """Of both clocks: slower by one is slower; it passes or is faster if neither says anything worse."""
        if self.failed is not None:
            return Verdict.WRONG if self.failed.side == "head" else Verdict.UNSURE
        return min((judge(self.ratios[clock]) for clock in CLOCKS), key=WORST_FIRST.index)

    @property
    def floor_verdict(self) -> Verdict | None:
        return None if self.floor is None or self.failed else judge_floor(self.shares, self.floor.share)

    @property
    def done(self) -> bool:
        """Whether more blocks would tell nothing new."""
        if self.failed is not None or self.verdict is Verdict.SLOWER:
            return True
        return all(settled(self.ratios[clock]) for clock in CLOCKS) and not self._leans_below()

    @property
    def leans(self) -> bool:
        """Whether more blocks may yet show that it is slower, or below its floor."""
        return not self.done and (
            any(evidence(self.ratios[clock], TOLERANCE) > 1 for clock in CLOCKS) or self._leans_below()
        )

    def _leans_below(self) -> bool:
        """Whether the floor is not decided yet and may turn out missed."""
        if self.floor is None or self.floor_verdict is not Verdict.UNSURE:
            return False
        return leans_below(self.shares, self.floor.share)

    def slowdown(self, clock: str) -> float | None:
        """By which share the head takes longer; None before the first block."""
        return math.expm1(estimate(self.ratios[clock])) if self.ratios[clock] else None

    def words(self) -> str:
        """The verdict in words."""
        if self.failed is not None:
            reason = f"{self.failed.side}: {self.failed.what}"
            if self.failed.side == "head":
                return f"wrong: {reason}"
            lacks = f"base lacks this stage ({self.failed.what})"
            return f"cannot tell: {lacks if self.failed.lacks else reason}"
        verdict = self.verdict
        if verdict in (Verdict.SLOWER, Verdict.FASTER):
            clock = self.deciding()
            change = self.slowdown(clock) or 0.0
            size = change if verdict is Verdict.SLOWER else 1 / (1 + change) - 1
            return f"{verdict} by {size:.1%}" + (" (processor time)" if clock == "cpu" else "")
        if verdict is Verdict.UNSURE and self.blocks and judge(self.ratios["cpu"]) is not Verdict.UNSURE:
            return "cannot tell (passes by processor time)"
        return str(verdict)

    def deciding(self) -> str:
        """The clock whose verdict it is."""
        return next(clock for clock in CLOCKS if judge(self.ratios[clock]) is self.verdict)

    def floor_words(self) -> str:
        if self.floor is None or not self.shares:
            return ""
        verdict = self.floor_verdict
        mark = {Verdict.SLOWER: "below", Verdict.UNSURE: "unsure"}.get(verdict or Verdict.UNSURE, "ok")
        return f"{np.median(self.shares):.2f}>{self.floor.share:.2f} {mark}"

    def content(self) -> dict[str, Any]:
        """For the JSON."""
        found: dict[str, Any] = {
            "stage": self.name, "verdict": str(self.verdict), "words": self.words(), "blocks": self.blocks,
        }  # fmt: skip
        for clock in CLOCKS:
            x = self.ratios[clock]
            if x:
                bounds = interval(x)
                found[clock] = {
                    "slowdown": math.expm1(estimate(x)),
                    "interval_95": None if bounds is None else [math.expm1(bound) for bound in bounds],
                    "spread_of_blocks": float(np.std(x)),
                    "verdict": str(judge(x)),
                    "evidence_slower": evidence(x, TOLERANCE),
                    "permutation_p": flip_chance(x, TOLERANCE),
                    "log_ratios": [round(value, 5) for value in x],
                }
        if self.rates:
            base, head = (float(np.median([rate[side] for rate in self.rates])) for side in (0, 1))
            found["rows_per_s"] = {"base": base, "head": head}
        if self.instructions is not None:
            found["instructions_per_row"] = {"base": self.instructions[0], "head": self.instructions[1]}
        if self.floor is not None:
            found["floor"] = {
                "limit": self.floor.limit, "share_min": self.floor.share,
                "verdict": str(self.floor_verdict or Verdict.UNSURE),
                "share": float(np.median(self.shares)) if self.shares else None,
            }  # fmt: skip
        return found


@dataclass
class Outcome:
    """A whole run, complete or not."""

    sides: tuple[Built, Built]
    stages: list[Stage]
    machine: dict[str, Any]
    settings: dict[str, Any]
    notes: list[str] = field(default_factory=list)
    build_seconds: float = 0.0
    measure_seconds: float = 0.0
    complete: bool = True

    @property
    def failing(self) -> list[str]:
        """What stands against a merge, a line each."""
        found = []
        for stage in self.stages:
            if stage.verdict in FAILING:
                found.append(f"{stage.name}: {stage.words()}")
            if stage.floor is not None and stage.floor_verdict is Verdict.SLOWER:
                bound = f"at least {stage.floor.share:.2f} of the limit {stage.floor.limit}"
                found.append(f"{stage.name}: floor: expected {bound}, got {np.median(stage.shares):.2f}")
        return found

    @property
    def verdict(self) -> Verdict:
        if any(stage.verdict is Verdict.WRONG for stage in self.stages):
            return Verdict.WRONG
        if self.failing:
            return Verdict.SLOWER
        return min((stage.verdict for stage in self.stages), key=WORST_FIRST.index)

    def rows(self) -> list[list[str]]:
        """The table's cells."""
        found = []
        for stage in self.stages:
            wall, cpu = (stage.slowdown(clock) for clock in CLOCKS)
            counts = stage.instructions
            found.append([
                stage.name,
                *(rate_text(stage.rates, side) for side in (0, 1)),
                "" if wall is None else f"{wall:+.1%}",
                interval_text(stage.ratios["wall"]),
                "" if cpu is None else f"{cpu:+.1%}",
                "" if counts is None else f"{counts[1] / counts[0] - 1:+.1%}",
                stage.floor_words(),
                str(stage.blocks),
                stage.words(),
            ])  # fmt: skip
        return found

    def table(self) -> str:
        """For a terminal."""
        rows = [HEADS, *self.rows()]
        widths = [max(len(row[i]) for row in rows) for i in range(len(HEADS) - 1)]
        keep = [i for i in range(len(HEADS) - 1) if any(row[i] for row in rows[1:])]
        lines = []
        for row in rows:
            cells = [row[i].ljust(widths[i]) if i == 0 else row[i].rjust(widths[i]) for i in keep]
            lines.append("  ".join([*cells, row[-1]]))
        return "\n".join(lines)

    def markdown(self) -> str:
        """For a comment on a pull request."""
        base, head = self.sides
        commits = f"head `{head.commit[:12]}`{' (dirty)' if head.dirty else ''} against base `{base.commit[:12]}`"
        lines = [f"**Speed gate: {self.verdict}**: {commits}", ""]
        lines += ["| " + " | ".join(HEADS) + " |", "|" + " --- |" * len(HEADS)]
        for row in self.rows():
            # A pipe or a line's end in an error's text would end the cell.
            cells = [cell.replace("|", "\\|").replace("\n", " ") for cell in row]
            lines.append("| " + " | ".join(cells) + " |")
        lines += ["", *(f"- {note}" for note in self.notes), f"- {self.time_words()}"]
        return "\n".join(lines) + "\n"

    def time_words(self) -> str:
        return f"building took {self.build_seconds:.0f} s, measuring {self.measure_seconds:.0f} s"

    def content(self) -> dict[str, Any]:
        """For the JSON."""
        base, head = self.sides
        return {
            "verdict": str(self.verdict), "complete": self.complete, "failing": self.failing,
            "base": {"commit": base.commit, "cached": base.cached},
            "head": {"commit": head.commit, "dirty": head.dirty, "cached": head.cached},
            "seconds": {"build": round(self.build_seconds, 1), "measure": round(self.measure_seconds, 1)},
            "settings": self.settings, "machine": self.machine, "notes": self.notes,
            "stages": [stage.content() for stage in self.stages],
        }  # fmt: skip

    def junit(self) -> str:
        """JUnit XML: a case a stage, and one a floor; what cannot be told is skipped."""
        suite = ElementTree.Element("testsuite", name="hub.bench.gate", time=f"{self.measure_seconds:.1f}")
        counts = {"tests": 0, "failures": 0, "errors": 0, "skipped": 0}
        for stage in self.stages:
            self._add_case(suite, counts, stage.name, stage.verdict, stage.words())
            if stage.floor is not None:
                verdict = stage.floor_verdict or Verdict.UNSURE
                self._add_case(suite, counts, f"{stage.name} floor", verdict, stage.floor_words() or str(verdict))
        for name, count in counts.items():
            suite.set(name, str(count))
        return ElementTree.tostring(suite, encoding="unicode", xml_declaration=True) + "\n"

    def _add_case(
        self, suite: ElementTree.Element, counts: dict[str, int], name: str, verdict: Verdict, words: str
    ) -> None:
        case = ElementTree.SubElement(suite, "testcase", classname="hub.bench.gate", name=name)
        counts["tests"] += 1
        tags = {
            Verdict.SLOWER: ("failure", "failures"), Verdict.WRONG: ("error", "errors"),
            Verdict.UNSURE: ("skipped", "skipped"),
        }  # fmt: skip
        if verdict in tags:
            tag, count = tags[verdict]
            counts[count] += 1
            ElementTree.SubElement(case, tag, message=words)


HEADS = ["stage", "base /s", "head /s", "slower", "95 % of it", "cpu", "instr", "floor", "n", "verdict"]


def rate_text(rates: Sequence[tuple[float, float]], side: int) -> str:
    if not rates:
        return ""
    rate = float(np.median([pair[side] for pair in rates]))
    for unit, size in (("G", 1e9), ("M", 1e6), ("k", 1e3)):
        if rate >= size:
            return f"{rate / size:.3g} {unit}"
    return f"{rate:.3g}"


def interval_text(ratios: Sequence[float]) -> str:
    bounds = interval(ratios) if ratios else None
    return "" if bounds is None else f"{math.expm1(bounds[0]):+.1%} to {math.expm1(bounds[1]):+.1%}"


def write_file(path: Path, text: str) -> None:
    """Whole or not at all."""
    aside = path.with_name(path.name + ".new")
    aside.write_text(text, encoding="utf-8")
    os.replace(aside, path)


def json_text(content: dict[str, Any]) -> str:
    return json.dumps(content, indent=1, ensure_ascii=False) + "\n"
