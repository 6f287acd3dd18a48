"""Parts of the gate that need no run: dumps of callgrind, what a build is known by, the workflow that uses it."""

from __future__ import annotations

import json
import shutil
import sys
from pathlib import Path

import pytest

from hub.bench.gate import counts
from hub.bench.gate.builds import cause_of, digest_of, forget_old, keep_native, native_digest_of
from hub.bench.gate.limits import LIMITS
from hub.bench.gate.stages import STAGES

ROOT = Path(__file__).parents[2]
sys.path.insert(0, str(ROOT / "tools"))

from gate_trials import PLANTS, Plant, plant  # noqa: E402


def test_the_instructions_of_a_dump_are_its_totals(tmp_path: Path) -> None:
    dump = tmp_path / "out.1"
    dump.write_text("# callgrind format\nevents: Ir\nfn=(1) f\n3 40\ntotals: 1234\n")
    assert counts.total_of(dump) == 1234
    dump.write_text("events: Ir\n")
    with pytest.raises(ValueError, match="no totals"):
        counts.total_of(dump)


def test_what_lacks_for_counting_is_named(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(shutil, "which", lambda name: f"/usr/bin/{name}")
    monkeypatch.setattr(counts, "HEADER", tmp_path / "callgrind.h")
    assert counts.why_not() == f"{tmp_path}/callgrind.h is not there"
    (tmp_path / "callgrind.h").touch()
    assert counts.why_not() is None
    monkeypatch.setattr(shutil, "which", lambda _: None)
    assert counts.why_not() == "valgrind is not installed"


def test_a_build_is_known_by_what_a_worker_imports(tmp_path: Path) -> None:
    package = tmp_path / "src" / "hub"
    (package / "bench").mkdir(parents=True)
    (package / "hub.py").write_text("a = 1\n")
    first = digest_of(tmp_path)
    (package / "bench" / "gate.py").write_text("b = 1\n")
    assert digest_of(tmp_path) == first
    (package / "hub.py").write_text("a = 2\n")
    assert digest_of(tmp_path) != first
    assert digest_of(tmp_path, apart=True) != digest_of(tmp_path)


def test_what_a_compiler_made_serves_sources_that_differ_in_python_only(tmp_path: Path) -> None:
    package = tmp_path / "src" / "hub"
    package.mkdir(parents=True)
    for name in ("hub.py", "_core.pyx", "_core.pxd"):
        (package / name).write_text("a = 1\n")
    first, whole = native_digest_of(tmp_path), digest_of(tmp_path)
    (package / "hub.py").write_text("a = 2\n")
    assert (native_digest_of(tmp_path) == first, digest_of(tmp_path) == whole) == (True, False)
    (package / "_core.pxd").write_text("a = 2\n")
    assert native_digest_of(tmp_path) != first


def test_the_native_part_of_a_build_is_put_aside_whole(tmp_path: Path) -> None:
    site = tmp_path / "site"
    for name in ("hub/_core.so", "hub/hub.py", "hub-1.dist-info/METADATA"):
        (site / name).parent.mkdir(parents=True, exist_ok=True)
        (site / name).write_text(name)
    keep_native(site, tmp_path / "native-1")
    kept = {path.name for path in (tmp_path / "native-1").rglob("*") if path.is_file()}
    assert kept == {"_core.so", "METADATA"}
    assert {path.name for path in tmp_path.iterdir()} == {"site", "native-1"}


@pytest.mark.parametrize("what", PLANTS, ids=lambda what: what.stage)
def test_every_plant_has_one_place_in_the_sources(what: Plant, tmp_path: Path) -> None:
    path = tmp_path / what.file
    path.parent.mkdir(parents=True)
    shutil.copy(ROOT / what.file, path)
    before = path.read_text(encoding="utf-8")
    plant(tmp_path, what)
    assert path.read_text(encoding="utf-8") != before


def test_the_record_has_equal_code_that_never_failed_and_plants_that_were_found() -> None:
    record = json.loads((ROOT / "bench" / "results" / "gate-trials.json").read_text(encoding="utf-8"))
    assert len(record["identical"]) >= 20
    assert {run["status"] for run in record["identical"]} == {0}
    found = {run["planted"]: run["stages"][run["planted"]]["verdict"] for run in record["planted"]}
    assert set(found) == {what.stage for what in PLANTS}
    assert all(words.startswith("slower by ") for words in found.values())
    assert all(run["seconds"]["measure"] <= 720 for run in record["planted"])


def test_the_line_of_a_log_that_says_most_is_told(tmp_path: Path) -> None:
    log = tmp_path / "log"
    log.write_text("  error: subprocess-exited-with-error\n  x.c:3: error: expected ;\nmore\n")
    assert cause_of(log) == "x.c:3: error: expected ;"
    log.write_text("")
    assert cause_of(log) == "no output"


def test_old_builds_go_and_those_in_use_stay(tmp_path: Path) -> None:
    places = [tmp_path / str(number) for number in range(9)]
    for place in places:
        (place / "site").mkdir(parents=True)
    forget_old(tmp_path, set(places))
    assert all(place.is_dir() for place in places)
    forget_old(tmp_path, set())
    assert len(list(tmp_path.iterdir())) == 6


def test_what_the_worker_offers_is_what_design_and_floors_name() -> None:
    inside = {"resolve", "authorise", "record", "history", "prove", "verify", "acquire", "inquiry"}
    assert set(STAGES) == inside | {"wire-bulk", "wire-single"}
    assert set(LIMITS) == {"fetch", "take", "hash", "store", "durable", "objects", "nodes", "echo"}
