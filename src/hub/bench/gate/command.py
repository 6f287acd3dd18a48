"""The gate as a program.

Exit status: 0 nothing stands against a merge (pass, faster, cannot tell: each is said); 1 a stage is slower, is below
its floor, or answers wrongly; 2 usage, or a side that does not build; 130 interrupted: what was found is written.
"""

from __future__ import annotations

import argparse
import dataclasses
import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from hub.bench import machine as machines
from hub.bench.ending import Interrupts
from hub.bench.gate import counts
from hub.bench.gate.builds import BuildError, Built, build_both, find_repository
from hub.bench.gate.floors import Floor, read_floors
from hub.bench.gate.judge import CHANCE_SLOWER, HARM, TOLERANCE
from hub.bench.gate.outcome import Outcome, Stage, json_text, write_file
from hub.bench.gate.pair import Plan, run_block
from hub.bench.gate.stages import STAGES
from hub.bench.report import Progress
from hub.errors import RequestError

OK, SLOWER, USAGE, INTERRUPTED = 0, 1, 2, 130

PERSONS, PERSONS_QUICK = 400_000, 100_000
"""More would take longer to be filled in than the bursts take; tables beyond the caches are the matter of scale."""
PERSONS_LEAST, PERSONS_MOST = 2_000, 5_000_000
SECONDS, SECONDS_QUICK = 600, 110
"""Of measuring, counts included; builds come on top and are told apart."""

LATE = 0.4
"""This share of the time is for all stages; then those come first that lean to slower."""

COUNT_SECONDS = 90
"""What counting instructions of both sides is to leave of that."""

BLOCKS_MAX = 60
DISK_BYTES_PER_PERSON, DISK_BYTES_LEAST = 1_500, 1 << 30
"""Of a block: both worlds and what the bursts write."""


def main(argv: Sequence[str] | None = None) -> int:
    """Run the gate with these arguments; returns the exit status."""
    given = read_arguments(argv)
    with Interrupts():
        return judge(given)


def judge(given: argparse.Namespace) -> int:
    """Build, measure and tell; the exit status."""
    folder: Path | None = None
    try:
        repository = find_repository(Path.cwd())
        floors = find_floors(given.floors, repository)
        lacking = [path for path in (given.json, given.junit, given.markdown) if path and not path.parent.is_dir()]
        if lacking:
            raise RequestError(f"{lacking[0]}: expected a folder that exists, got {lacking[0].parent}")
        cache = given.cache or repository / "build" / "gate"
        cache.mkdir(parents=True, exist_ok=True)
        need, free = DISK_BYTES_LEAST + DISK_BYTES_PER_PERSON * given.persons, shutil.disk_usage(cache).free
        if free < need:
            raise RequestError(f"space in {cache}: expected {machines.gib(need)}, got {machines.gib(free)}")
        folder = Path(tempfile.mkdtemp(prefix="run-", dir=cache)).resolve()
        return run(given, repository, cache.resolve(), floors, folder)
    except (BuildError, RequestError) as error:
        print(f"gate: {error}", file=sys.stderr)
        return USAGE
    except OSError as error:
        print(f"gate: {error.filename or 'files'}: {error.strerror}", file=sys.stderr)
        return USAGE
    except KeyboardInterrupt:
        print("gate: interrupted before anything was measured", file=sys.stderr)
        return INTERRUPTED
    finally:
        if folder is not None:
            shutil.rmtree(folder, ignore_errors=True)


def read_arguments(argv: Sequence[str] | None) -> argparse.Namespace:
    about = "Whether the working tree is slower than a commit, stage by stage. See docs/gate.md."
    parser = argparse.ArgumentParser(prog="python -m hub.bench gate", description=about)
    parser.add_argument("--base", required=True, metavar="REV", help="the commit to compare with")
    parser.add_argument("--quick", action="store_true", help=f"{SECONDS_QUICK} s of measuring in place of {SECONDS}")
    parser.add_argument("--stages", metavar="A,B", default=",".join(STAGES), help=f"of {', '.join(STAGES)}")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write everything there")
    parser.add_argument("--junit", type=Path, metavar="FILE", help="write a case a stage there")
    parser.add_argument("--markdown", type=Path, metavar="FILE", help="write the table there")
    parser.add_argument("--seconds", type=int, metavar="S", help="measure so long at most")
    parser.add_argument("--persons", type=int, metavar="N", help=f"default {PERSONS:,}; quick {PERSONS_QUICK:,}")
    parser.add_argument("--seed", type=int, default=0, metavar="S", help="of persons, batches and turns (default 0)")
    parser.add_argument("--floors", type=Path, metavar="FILE", help="default bench/floors.toml, if it is there")
    parser.add_argument("--cache", type=Path, metavar="FOLDER", help="of builds; default build/gate")
    given = parser.parse_args(argv)
    given.seconds = given.seconds if given.seconds is not None else SECONDS_QUICK if given.quick else SECONDS
    given.persons = given.persons if given.persons is not None else PERSONS_QUICK if given.quick else PERSONS
    given.stages = [name.strip() for name in given.stages.split(",") if name.strip()]
    unknown = [name for name in given.stages if name not in STAGES]
    if unknown or not given.stages:
        got = ", ".join(unknown) or "none"
        parser.exit(USAGE, f"gate: --stages: expected some of {', '.join(STAGES)}, got {got}\n")
    bounds = (
        ("persons", given.persons, PERSONS_LEAST, PERSONS_MOST),
        ("seconds", given.seconds, 1, 7_200),
        ("seed", given.seed, 0, (1 << 31) - 1),
    )
    for name, value, low, high in bounds:
        if not low <= value <= high:
            parser.exit(USAGE, f"gate: --{name}: expected {low:,} to {high:,}, got {value:,}\n")
    return given


def find_floors(asked: Path | None, repository: Path) -> dict[str, Floor]:
    """The file that was named, or the repository's, if it has one."""
    path = asked or repository / "bench" / "floors.toml"
    return read_floors(path) if asked is not None or path.is_file() else {}


def run(given: argparse.Namespace, repository: Path, cache: Path, floors: dict[str, Floor], folder: Path) -> int:
    """Build, measure, judge, print and write."""
    machine = machines.describe(folder)
    progress = Progress()
    progress.step("building base and head")
    begin = time.monotonic()
    base, head = build_both(repository, given.base, cache)
    # Blocks copy from copies: another gate may put ours out of the cache meanwhile.
    sides = pin(base, folder), pin(head, folder)
    progress.clear()
    outcome = Outcome(
        sides, [Stage(name, floors.get(name)) for name in STAGES if name in given.stages], machine,
        settings={
            "quick": given.quick, "persons": given.persons, "seconds_max": given.seconds, "seed": given.seed,
            "tolerance": float(np.expm1(TOLERANCE)), "harm": float(np.expm1(HARM)), "chance_slower": CHANCE_SLOWER,
        },
        build_seconds=time.monotonic() - begin,
    )  # fmt: skip
    print(describe(sides, outcome.build_seconds))
    neighbours, begin = machines.Neighbours(), time.monotonic()
    try:
        measure(outcome, folder, given, progress)
    except KeyboardInterrupt:
        outcome.complete = False
    finally:
        outcome.measure_seconds = time.monotonic() - begin
        progress.clear()
    busy = neighbours.cores()
    machine["others_cores"] = busy
    disturbed = machines.warning_after(busy)
    if disturbed:
        outcome.notes.append(disturbed)
    return tell(outcome, given)


def pin(built: Built, folder: Path) -> Built:
    """The same build, in the folder of this run."""
    return dataclasses.replace(built, site=Path(shutil.copytree(built.site, folder / f"{built.name}-built")))


def describe(sides: tuple[Built, Built], seconds: float) -> str:
    base, head = sides
    dirty = ", with changes that are not committed" if head.dirty else ""
    kept = [side.name for side in sides if side.cached]
    how = f"; {' and '.join(kept)} built before" if kept else ""
    return f"base      {base.commit[:12]}\nhead      {head.commit[:12]}{dirty}\nbuilding  {seconds:.0f} s{how}"


def measure(outcome: Outcome, folder: Path, given: argparse.Namespace, progress: Progress) -> None:
    """Blocks until every stage is settled or the time is gone; then instructions, if there is time for them."""
    limits = {stage.name: stage.floor.limit for stage in outcome.stages if stage.floor is not None}
    plan = Plan(folder, given.persons, given.seed, outcome.sides, limits)
    # Who goes first must not depend on the seed of the data.
    random = np.random.default_rng([given.seed, int.from_bytes(os.urandom(4), "big")])
    lacking = counts.why_not() if not given.quick else "a quick run does not count them"
    begin, each, number = time.monotonic(), 0.0, 0
    ends = begin + given.seconds - (0 if lacking else min(COUNT_SECONDS, given.seconds / 3))
    while number < BLOCKS_MAX:
        open_stages = choose(outcome.stages, late=time.monotonic() > begin + LATE * given.seconds)
        # Starting both sides takes about as long as a stage.
        if not open_stages or time.monotonic() + each * (1 + len(open_stages)) > ends:
            break
        block = run_block(plan, number, [stage.name for stage in open_stages], random, progress.step)
        for stage in open_stages:
            stage.add(block)
        each, number = block.seconds / (1 + len(open_stages)), number + 1
    if lacking:
        outcome.notes.append(f"instructions are not counted: {lacking}")
    else:
        progress.step("counting instructions")
        count_instructions(outcome, folder, given.seed, begin + given.seconds)


def choose(stages: list[Stage], *, late: bool) -> list[Stage]:
    """Those that the next block measures: all that are not settled; late those that lean to slower, if there are any.

    On a busy machine there is time for few blocks of all stages: what looks wrong is to be told for sure, what does not
    may stay untold. Which go on depends on what was found before alone, as the argument of ``judge.py`` wants it.
    """
    left = [stage for stage in stages if not stage.done]
    return [stage for stage in left if stage.leans] or left if late else left


def count_instructions(outcome: Outcome, folder: Path, seed: int, ends: float) -> None:
    """Instructions a row of both sides, where both can be counted in time."""
    names = [stage.name for stage in outcome.stages if stage.name in counts.COUNTED and stage.failed is None]
    try:
        shim = counts.build_shim(folder)
    except (OSError, subprocess.SubprocessError):
        outcome.notes.append("instructions are not counted: the shim for valgrind does not build")
        return
    begin, found = time.monotonic(), []
    for built, share in zip(outcome.sides, (0.5, 1.0), strict=True):
        until = begin + share * (ends - begin)
        found.append(counts.count_side(built, folder, shim, names, seed, ends=until))
    base, head = found
    if len(head) < len(names):
        cause = "the time was over, or valgrind could not go on"
        outcome.notes.append(f"instructions are counted of {len(head)} of {len(names)} stages: {cause}")
    for stage in outcome.stages:
        if stage.name in base and stage.name in head:
            stage.instructions = base[stage.name], head[stage.name]


def tell(outcome: Outcome, given: argparse.Namespace) -> int:
    """Print and write the outcome; the exit status."""
    print(outcome.table())
    for note in outcome.notes:
        print(f"note      {note}")
    print(f"time      {outcome.time_words()}")
    texts = {given.json: json_text(outcome.content()), given.junit: outcome.junit(), given.markdown: outcome.markdown()}
    for path, text in texts.items():
        if path is not None:
            write_file(path, text)
    if not outcome.complete:
        print("gate: interrupted: this is what was found so far", file=sys.stderr)
        return INTERRUPTED
    print(f"verdict   {outcome.verdict}")
    for line in outcome.failing:
        print(f"gate: {line}", file=sys.stderr)
    return SLOWER if outcome.failing else OK
