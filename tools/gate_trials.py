"""Try the speed gate itself: equal code must pass, however noisy the machine; a planted slowdown must be found.

    python tools/gate_trials.py --identical 20 --quick --record bench/results/gate-trials.json
    python tools/gate_trials.py --planted --record bench/results/gate-trials.json

A clone of the last commit is made in a temporary folder. Equal code is built once, each side has copies. A plant makes
a stage do some 15 % more work in the clone, as a careless change would, and is rebuilt. Each run's verdicts, seconds
and how many cores others used go into the record, behind what stands there. Exit status: 0 all as it should be, 1 not,
2 usage.
"""

from __future__ import annotations

import argparse
import datetime as dt
import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
GATE_SECONDS_MAX = 3_600


@dataclass(frozen=True)
class Plant:
    """A text of a source, and what stands there instead."""

    stage: str
    file: str
    old: str
    new: str


PLANTS = (
    # Rows that were just resolved are warm: a fifth of them again takes 15 % of the time.
    Plant(
        "resolve", "src/hub/_core.pyx",
        "    t.out = &out_aliases[0, 0]\n    t.status = &status[0]\n    with nogil:\n"
        "        again = resolve_rows(&t)\n",
        "    t.out = &out_aliases[0, 0]\n    t.status = &status[0]\n    with nogil:\n        t.n = n * 19 // 100\n"
        "        again = resolve_rows(&t)\n        t.n = n\n        again = resolve_rows(&t)\n",
    ),
    Plant(
        "authorise", "src/hub/catalog/decide.py",
        "            entries = column.take(providers)\n",
        "            column.take(providers[: len(providers) * 13 // 100])\n"
        "            entries = column.take(providers)\n",
    ),
    # Of the six blocks that SHA-256 takes for a record, nine tenths of one more.
    Plant(
        "record", "src/hub/_hash.pyx",
        "                hash_lanes(leaf_blocks, 64, 1, &leaf_view[i, 0])\n            i += LANES\n",
        "                hash_lanes(leaf_blocks, 64, 1, &leaf_view[i, 0])\n"
        "                if i // LANES % 10:\n"
        "                    hash_lanes(leaf_blocks, 64, 1, &leaf_view[i, 0])\n            i += LANES\n",
    ),
    # A sum over what arrives and two thirds of it again, which nobody compares with anything.
    Plant(
        "wire-bulk", "src/hub/wire/tls.py",
        "        if pieces and not self._closing:\n            self._inner.data_received(",
        "        if pieces and not self._closing:\n"
        "            data = b\"\".join(pieces)\n"
        "            sum(data + data[: len(data) * 2 // 3])\n"
        "            self._inner.data_received(",
    ),
    # The same over what is small, three times.
    Plant(
        "wire-single", "src/hub/wire/tls.py",
        "        if pieces and not self._closing:\n            self._inner.data_received(",
        "        if pieces and not self._closing:\n"
        "            data = b\"\".join(pieces)\n"
        "            sum(3 * data if len(data) < 16_000 else b\"\")\n"
        "            self._inner.data_received(",
    ),
)  # fmt: skip


def clone(folder: Path) -> Path:
    """The last commit in a folder of its own, whose gate is the one that runs: this tree may change meanwhile."""
    target = folder / "clone"
    subprocess.run(["git", "clone", "-q", "--no-hardlinks", str(ROOT), str(target)], check=True)
    for native in (ROOT / "src" / "hub").glob("_*.so"):
        shutil.copy2(native, target / "src" / "hub")
    return target


def plant(folder: Path, what: Plant) -> None:
    """Put a slowdown into the clone's sources, without committing it."""
    path = folder / what.file
    text = path.read_text(encoding="utf-8")
    if text.count(what.old) != 1:
        raise SystemExit(f"gate_trials: {what.file}: expected the text to be replaced once, got {text.count(what.old)}")
    path.write_text(text.replace(what.old, what.new), encoding="utf-8")


def run_gate(folder: Path, cache: Path, arguments: list[str]) -> dict[str, Any]:
    """One run of the gate in the clone; what it said, and its exit status."""
    file = folder / "gate.json"
    file.unlink(missing_ok=True)
    command = [sys.executable, "-m", "hub.bench.gate", "--base", "HEAD", "--cache", str(cache), "--json", str(file)]
    begin = time.monotonic()
    environment = os.environ | {"PYTHONPATH": str(folder / "src")}
    process = subprocess.Popen(
        [*command, *arguments], cwd=folder, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=environment
    )
    try:
        stdout, stderr = process.communicate(timeout=GATE_SECONDS_MAX)
    except BaseException:
        # It ends its workers and removes its folder: it is let do so.
        process.terminate()
        process.communicate(timeout=60)
        raise
    print(stdout, stderr, sep="", end="", flush=True)
    if not file.exists():
        raise SystemExit(f"gate_trials: the gate ended with status {process.returncode}: {stderr.strip()}")
    found = json.loads(file.read_text(encoding="utf-8"))
    return {
        "at": dt.datetime.now(dt.UTC).isoformat(timespec="seconds"),
        "arguments": arguments,
        "commit": found["base"]["commit"],
        "status": process.returncode,
        "verdict": found["verdict"],
        "stages": {stage["stage"]: short(stage) for stage in found["stages"]},
        "seconds": found["seconds"] | {"whole": round(time.monotonic() - begin, 1)},
        "others_cores": round(found["machine"]["others_cores"] or 0.0, 2),
        "cores": found["machine"]["cores"],
    }


def short(stage: dict[str, Any]) -> dict[str, Any]:
    """Of a stage what a reader of the record wants."""
    found: dict[str, Any] = {"verdict": stage["words"], "blocks": stage["blocks"]}
    for clock in ("wall", "cpu"):
        if clock in stage:
            found[clock] = {
                "slowdown": round(stage[clock]["slowdown"], 4),
                "spread_of_blocks": round(stage[clock]["spread_of_blocks"], 4),
                "verdict": stage[clock]["verdict"],
            }  # fmt: skip
    if "instructions_per_row" in stage:
        counts = stage["instructions_per_row"]
        found["instructions"] = round(counts["head"] / counts["base"] - 1, 4)
    if "floor" in stage:
        found["floor"] = f"{stage['floor']['share'] or 0:.3f} of {stage['floor']['limit']}, {stage['floor']['verdict']}"
    return found


def enter(record: Path | None, kind: str, entry: dict[str, Any]) -> None:
    """Put one run behind those that the record has."""
    if record is None:
        return
    content = json.loads(record.read_text(encoding="utf-8")) if record.exists() else {}
    content.setdefault(kind, []).append(entry)
    aside = record.with_suffix(".new")
    aside.write_text(json.dumps(content, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
    os.replace(aside, record)


def try_identical(folder: Path, cache: Path, times: int, record: Path | None, arguments: list[str]) -> bool:
    """Equal code against itself, so many times; whether all passed."""
    right = True
    for number in range(times):
        entry = run_gate(folder, cache, [*arguments, "--seed", str(number)])
        enter(record, "identical", entry)
        right &= entry["status"] == 0
        print(f"identical {number + 1} of {times}: {entry['verdict']}", flush=True)
    return right


def try_planted(
    folder: Path, cache: Path, stages: list[str], record: Path | None, arguments: list[str]
) -> bool:
    """Each plant by itself; whether the gate named its stage."""
    right = True
    for what in PLANTS:
        if what.stage not in stages:
            continue
        plant(folder, what)
        try:
            entry = run_gate(folder, cache, arguments) | {"planted": what.stage}
        finally:
            subprocess.run(["git", "-C", str(folder), "checkout", "-q", "--", what.file], check=True)
        enter(record, "planted", entry)
        found = entry["status"] == 1 and entry["stages"][what.stage]["verdict"].startswith("slower")
        right &= found
        print(f"planted in {what.stage}: {'found' if found else 'NOT FOUND'}", flush=True)
    return right


def main() -> int:
    parser = argparse.ArgumentParser(description="try the speed gate on equal code and on planted slowdowns")
    parser.add_argument("--identical", type=int, default=0, metavar="N", help="equal code, so many runs")
    planted = f"of {', '.join(what.stage for what in PLANTS)}; default all"
    parser.add_argument("--planted", nargs="*", metavar="STAGE", help=planted)
    parser.add_argument("--record", type=Path, metavar="FILE", help="add each run to this JSON")
    parser.add_argument("--cache", type=Path, metavar="FOLDER", help="of builds (default: a temporary one)")
    parser.add_argument("--quick", action="store_true")
    parser.add_argument("--seconds", metavar="S")
    parser.add_argument("--stages", metavar="A,B")
    given = parser.parse_args()
    if not given.identical and given.planted is None:
        parser.exit(2, "gate_trials: expected --identical N or --planted\n")
    arguments = ["--quick"] * given.quick
    for name in ("seconds", "stages"):
        if getattr(given, name):
            arguments += [f"--{name}", getattr(given, name)]
    record = given.record.resolve() if given.record else None
    # Ended as by Ctrl-C, the clone goes.
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    folder = Path(tempfile.mkdtemp(prefix="gate-trials-", dir=ROOT / "build"))
    try:
        repository, cache = clone(folder), (given.cache or folder / "cache").resolve()
        right = True
        if given.identical:
            right &= try_identical(repository, cache, given.identical, record, arguments)
        if given.planted is not None:
            stages = given.planted or [what.stage for what in PLANTS]
            right &= try_planted(repository, cache, stages, record, arguments)
    finally:
        shutil.rmtree(folder, ignore_errors=True)
    return 0 if right else 1


if __name__ == "__main__":
    sys.exit(main())
