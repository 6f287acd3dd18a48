"""The program that runs on either side of the gate: a world of its own, short bursts of one stage on command.

The same files, those of the gate that runs, are used with the base's package and with the head's: :func:`borrow`. One
JSON object a line comes in and goes out:

``{"prepare": stage}``        -> ``{"rows": n}``, rows of one burst, or ``{"lacks": why}``, or ``{"wrong": what}``
``{"burst": stage}``          -> ``{"wall": s, "cpu": s}``, or ``{"wrong": what}``: an answer differed from the model's
``{"limit": name}``           -> ``{"seconds": s, "rows": n}`` of what this machine can do
``{"count": stage}``          -> ``{"rows": n}``: one burst between callgrind's start and dump, under valgrind alone

Every answer of a burst is checked against the model when the clock has stopped. No line carries an alias or a person.
"""

from __future__ import annotations

import argparse
import ctypes
import json
import os
import shutil
import sys
import types
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from hub.bench.gate.people import World
    from hub.bench.gate.timing import Burst

COUNTED_MAP_BYTES = 1 << 30


def borrow() -> None:
    """Let ``hub.bench`` be the folder of this file, whatever the side's package, which is ``hub``, has there."""
    own = types.ModuleType("hub.bench")
    own.__path__ = [str(Path(__file__).resolve().parents[1])]
    sys.modules["hub.bench"] = own
    # Of the gate's own package the program is not wanted: it imports the whole bench.
    gate = types.ModuleType("hub.bench.gate")
    gate.__path__ = [str(Path(__file__).resolve().parent)]
    sys.modules["hub.bench.gate"] = gate


class Worker:
    """Answers commands until its input ends."""

    def __init__(self, world: World, valgrind: str | None) -> None:
        self.world = world
        self.bursts: dict[str, Burst] = {}
        self.rows: dict[str, int] = {}
        self.valgrind = ctypes.CDLL(valgrind) if valgrind else None
        if valgrind:
            # Under valgrind the usual map of 4 TiB is refused.
            import hub.store

            hub.store.MAP_BYTES = COUNTED_MAP_BYTES

    def answer(self, command: dict[str, str]) -> dict[str, Any]:
        """What a command is answered, whatever becomes of it."""
        from hub.bench.gate.timing import Lacks, Wrong

        ((verb, name),) = command.items()
        try:
            return dict(getattr(self, f"do_{verb}")(name))
        except Lacks as error:
            return {"lacks": str(error)}
        except Wrong as error:
            return {"wrong": str(error)}
        except Exception as error:
            return {"wrong": f"{type(error).__name__}: {error}"}

    def do_prepare(self, stage: str) -> dict[str, Any]:
        from hub.bench.gate.stages import STAGES
        from hub.bench.gate.timing import Lacks

        try:
            rows, burst = STAGES[stage](self.world)
            _, check = burst()
        except (ImportError, AttributeError, TypeError) as error:
            raise Lacks(f"{type(error).__name__}: {error}") from None
        check()
        self.bursts[stage], self.rows[stage] = burst, rows
        return {"rows": rows}

    def do_burst(self, stage: str) -> dict[str, Any]:
        (wall, cpu), check = self.bursts[stage]()
        check()
        return {"wall": wall, "cpu": cpu}

    def do_limit(self, name: str) -> dict[str, Any]:
        from hub.bench.gate.limits import LIMITS
        from hub.bench.gate.timing import Lacks

        try:
            seconds, rows = LIMITS[name](self.world)
        except (ImportError, AttributeError, TypeError) as error:
            raise Lacks(f"{type(error).__name__}: {error}") from None
        return {"seconds": seconds, "rows": rows}

    def do_count(self, stage: str) -> dict[str, Any]:
        assert self.valgrind is not None
        self.valgrind.count_start()
        try:
            self.bursts[stage]()
        finally:
            self.valgrind.count_stop()
        return {"rows": self.rows[stage]}


def main() -> int:
    parser = argparse.ArgumentParser(description="one side of the gate")
    parser.add_argument("folder", type=Path)
    parser.add_argument("persons", type=int)
    parser.add_argument("seed", type=int)
    parser.add_argument("--valgrind", help="shared object with count_start and count_stop")
    given = parser.parse_args()
    # Whatever a library prints goes to stderr: stdout is for answers.
    answers = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)
    borrow()
    from hub.bench.gate.people import World

    given.folder.mkdir()
    world = World(given.folder, given.persons, given.seed)
    worker = Worker(world, given.valgrind)
    try:
        for line in sys.stdin:
            answers.write(json.dumps(worker.answer(json.loads(line))) + "\n")
            answers.flush()
    finally:
        world.close()
        shutil.rmtree(given.folder, ignore_errors=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
