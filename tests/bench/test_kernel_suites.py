"""The suites of kernels under bench/ run, at a size that tells nothing about speed."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import hub

SUITES = Path(__file__).parents[2] / "bench"
KERNELS = {
    "_blocks", "_bodies", "_columns", "_core", "_hash", "_deliver", "_asked", "_small", "_wire", "_runs", "_proofs",
    "_walk", "_pages",
}


def test_every_suite_of_kernels_runs() -> None:
    command = [sys.executable, "-m", "pytest", str(SUITES), "--benchmark-disable", "-q", "-p", "no:cacheprovider"]
    environment = os.environ | {"HUB_BENCH_ROWS": "2000"}
    done = subprocess.run(command, cwd=SUITES, capture_output=True, text=True, timeout=240, env=environment)
    assert done.returncode == 0, done.stdout[-3_000:]
    assert re.search(r"\d\d passed", done.stdout)


def test_every_native_module_has_a_suite() -> None:
    modules = {path.name.partition(".")[0] for path in Path(hub.__file__).parent.glob("_*.pyx")}
    text = "".join(path.read_text(encoding="utf-8") for path in SUITES.glob("*kernels.py"))
    assert modules == KERNELS
    for module in modules:
        assert re.search(rf"\b{module}\b", text), module
