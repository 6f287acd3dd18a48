"""Send a served hub frames that are random, damaged, out of place or right, and look whether it minds.

    python tools/fuzz_wire.py --frames 1000000            # in one process, on transports that only count
    python tools/fuzz_wire.py --tls --minutes 2           # over TLS, beside a client whose answers must stay right
    python tools/fuzz_wire.py --replay fuzz-wire/000.json

Ends with a summary as JSON, and 0: nothing found; 1: something, with what was sent in files; 2: called wrongly. Found
is an exception that nobody caught, an error that is the hub's own (``storage``), a call without an answer, a connection
that ends without a reason, memory or objects that stay, a wrong answer to the client beside, a log that does not
verify.
"""

from __future__ import annotations

import argparse
import asyncio
import faulthandler
import gc
import json
import logging
import sys
import tempfile
import time
from pathlib import Path
from random import Random, SystemRandom

sys.path.insert(0, str(Path(__file__).parent))

from fuzz_frames import Script
from fuzz_inside import Inside, loop_factory
from fuzz_reading import Errors, Findings
from fuzz_tls import fuzz_tls
from wire_process import anonymous_bytes

HANG_S = 300
ROUND_FRAMES = 500_000
"""A hub is sent so many frames, then verified; the next ones are sent to another one."""

GROWTH_BYTES_MAX = 48 << 20
"""Between the end of the second round and that of the last; 2 KB of each connection that stayed would be 300 MB."""


def parse(argv: list[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--frames", type=int, default=100_000, metavar="N", help="to send (default: 100,000)")
    parser.add_argument("--minutes", type=float, default=600.0, metavar="M", help="end after so long")
    parser.add_argument("--seed", type=int, help="the hub's aliases are others each time")
    parser.add_argument("--tls", action="store_true", help="a server of its own, over TLS, with a right client beside")
    parser.add_argument("--failures", type=Path, default=Path("fuzz-wire"), metavar="DIR", help="for what was sent")
    parser.add_argument("--folder", type=Path, metavar="DIR", help="for the hubs (default: a temporary one)")
    parser.add_argument("--json", type=Path, metavar="FILE", help="the summary, also there")
    parser.add_argument("--replay", type=Path, metavar="FILE", help="send what a file of --failures holds")
    given = parser.parse_args(argv)
    if given.frames < 1 or given.minutes <= 0:
        parser.error("--frames, --minutes: expected more than nothing")
    return given


def load_script(path: Path) -> Script:
    """What was sent when something was found."""
    return Script([bytes.fromhex(one) for one in json.loads(path.read_text(encoding="utf-8"))["pieces"]], False)


def fuzz_inside(given: argparse.Namespace, random: Random, findings: Findings) -> list[int]:
    """Rounds of a new hub each; memory at the end of each."""
    logger = logging.getLogger("hub")
    logger.addHandler(Errors(findings))
    logging.getLogger("hub.security").propagate = False
    logging.getLogger("hub.security").addHandler(logging.NullHandler())
    # The threads of the calls get their turn beside a loop that always has something to do.
    sys.setswitchinterval(0.0005)
    if given.folder is not None:
        given.folder.mkdir(parents=True, exist_ok=True)
    scripts = None
    if given.replay is not None:
        scripts = [load_script(given.replay)]
    until, memory, sent, begin = time.monotonic() + 60 * given.minutes, [], 0, time.monotonic()
    while sent < given.frames and time.monotonic() < until and not findings.problems[:1]:
        faulthandler.dump_traceback_later(HANG_S + 60 * ROUND_FRAMES // 10_000, exit=True)
        with tempfile.TemporaryDirectory(dir=given.folder) as folder, asyncio.Runner(loop_factory=loop_factory) as here:
            one = Inside(Path(folder) / "hub", random, findings)
            here.run(one.run(min(ROUND_FRAMES, given.frames - sent), until, scripts))
        gc.collect()
        sent += one.frames
        memory.append(anonymous_bytes())
        rate = sent / (time.monotonic() - begin)
        print(f"{sent:,} frames, {rate:,.0f}/s, {memory[-1] >> 20} MiB, {len(findings.problems)} problems", flush=True)
        if scripts is not None:
            break
    findings.counts["frames"] = sent
    faulthandler.cancel_dump_traceback_later()
    if len(memory) > 2 and memory[-1] - memory[1] > GROWTH_BYTES_MAX:
        findings.add(f"memory: grew by {(memory[-1] - memory[1]) >> 20} MiB over {len(memory) - 2} rounds")
    return memory


def main(argv: list[str] | None = None) -> int:
    """Fuzz; 0 nothing found, 1 something."""
    given = parse(argv)
    seed = SystemRandom().randrange(1 << 30) if given.seed is None else given.seed
    findings, begin = Findings(given.failures), time.monotonic()
    print(f"seed {seed}", flush=True)
    fuzz = fuzz_tls if given.tls else fuzz_inside
    memory = fuzz(given, Random(seed), findings)
    summary = {
        "seed": seed, "way": "tls" if given.tls else "inside", "seconds": round(time.monotonic() - begin, 1),
        "counts": dict(sorted(findings.counts.items())), "memory_bytes": memory, "problems": findings.problems[:50],
    }  # fmt: skip
    text = json.dumps(summary, ensure_ascii=False, indent=1)
    print(text)
    if given.json is not None:
        given.json.write_text(text + "\n", encoding="utf-8")
    return 1 if findings.problems else 0


if __name__ == "__main__":
    sys.exit(main())
