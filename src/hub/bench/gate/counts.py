"""Instructions of one burst of a stage, counted by valgrind's callgrind: the same in every run, on any machine.

They see no cache, no branch that was foretold wrongly, no waiting: they are shown beside the times and decide nothing.
"""

from __future__ import annotations

import shutil
import subprocess
import time
from collections.abc import Sequence
from pathlib import Path

from hub.bench.gate.builds import Built
from hub.bench.gate.pair import Worker, WorkerError

PERSONS = 5_000
COUNTED = ("resolve", "authorise", "record", "history", "prove", "inquiry")
HEADER = Path("/usr/include/valgrind/callgrind.h")

SHIM = """
#include <valgrind/callgrind.h>
void count_start(void) { CALLGRIND_START_INSTRUMENTATION; CALLGRIND_ZERO_STATS; }
void count_stop(void) { CALLGRIND_DUMP_STATS; CALLGRIND_STOP_INSTRUMENTATION; }
"""


def why_not() -> str | None:
    """What lacks to count instructions here; None if nothing."""
    if shutil.which("valgrind") is None:
        return "valgrind is not installed"
    if not HEADER.is_file():
        return f"{HEADER} is not there"
    return None if shutil.which("gcc") else "gcc is not installed"


def build_shim(folder: Path) -> Path:
    """The two calls that turn counting on and off, as a shared object."""
    source, made = folder / "count.c", folder / "count.so"
    source.write_text(SHIM)
    subprocess.run(["gcc", "-O1", "-shared", "-fPIC", "-o", made, source], check=True, capture_output=True, timeout=60)
    return made


def count_side(
    built: Built, folder: Path, shim: Path, stages: Sequence[str], seed: int, *, ends: float
) -> dict[str, float]:
    """Instructions a row of each stage that this side can run under valgrind; others are left out.

    Args:
        ends: no stage is begun after that, by ``time.monotonic``.
    """
    place = folder / f"count-{built.name}"
    place.mkdir()
    prefix = [
        "valgrind", "-q", "--tool=callgrind", "--instr-atstart=no", f"--callgrind-out-file={place}/out",
        "--error-limit=no",
    ]  # fmt: skip
    worker = Worker(built, place, PERSONS, seed, prefix=prefix, options=["--valgrind", str(shim)])
    found: dict[str, float] = {}
    try:
        for part, stage in enumerate(stages, 1):
            if time.monotonic() > ends:
                break
            worker.ask("prepare", stage)
            rows = worker.ask("count", stage)["rows"]
            found[stage] = total_of(place / f"out.{part}") / rows
    except (WorkerError, OSError, ValueError):
        # What was counted so far is worth showing.
        pass
    finally:
        worker.close()
        shutil.rmtree(place, ignore_errors=True)
    return found


def total_of(path: Path) -> int:
    """Instructions of one dump."""
    for line in path.read_text(errors="replace").splitlines():
        if line.startswith(("totals:", "summary:")):
            return int(line.split()[1])
    raise ValueError(f"{path.name}: no totals")
