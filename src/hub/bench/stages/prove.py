"""Prove records: a page of a hundred with its proofs, one proof, consistency of two checkpoints; from memory."""

from __future__ import annotations

import time

from hub.bench.machinelimits import PROVING, PROVING_ONE
from hub.bench.results import size_name
from hub.bench.run import Run
from hub.tlog.verify import verify_checkpoint, verify_consistency, verify_proof

LIMIT = 100
CHECKED = 5
WARM_UP = 200
"""Citizens whose pages are read first and not counted."""
CONSISTENCIES = 200


def run(bench: Run) -> None:
    log = bench.log(bench.options.persons)
    hub, aliases = log.world.hub, log.world.everybody[log.frequent]
    size = size_name(log.records)
    pages: list[float] = []
    singles: list[float] = []
    for warm in (False, True):
        bench.progress.step(f"prove: {size} records")
        for who, alias in enumerate(aliases if warm else aliases[:WARM_UP]):
            begin = time.perf_counter()
            history = hub.history(alias, limit=LIMIT)
            proof = history.proof(0)
            pages += [time.perf_counter() - begin] if warm else []
            begin = time.perf_counter()
            hub.history(alias, limit=1).proof(0)
            singles += [time.perf_counter() - begin] if warm else []
            if who < CHECKED:
                found = verify_proof(proof.text(), hub.verifier_key)
                bench.truth.check_equal(f"prove: {size}", "index proven", found.index, history.records[0].index)
    bench.results.add_latency(f"prove: {size} records page of {LIMIT}", pages)
    bench.results.add_latency(f"prove: {size} records single", singles)
    bench.limits.prove(LIMIT, log.records)
    bench.results.compare(f"prove: {size} records page of {LIMIT}", limit=PROVING)
    bench.limits.prove_one(log.records)
    bench.results.compare(f"prove: {size} records single", limit=PROVING_ONE)
    measure_consistency(bench, f"prove: {size} records consistency")


def measure_consistency(bench: Run, case: str) -> None:
    hub = bench.log(bench.options.persons).world.hub
    head = verify_checkpoint(hub.checkpoint(), hub.verifier_key)
    random = bench.generator("prove consistency")
    seconds = []
    for old in random.integers(1, head.size, CONSISTENCIES).tolist():
        begin = time.perf_counter()
        hub.consistency(old, head.size)
        seconds.append(time.perf_counter() - begin)
    bench.results.add_latency(case, seconds)
    bench.results.compare(case, limit=PROVING_ONE)
    verify_consistency(head.size, head.root, head.size, head.root, hub.consistency(head.size, head.size))
