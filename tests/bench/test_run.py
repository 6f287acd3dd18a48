"""The bench as a program: every stage at a tiny size, its JSON, its hash, what it says when something is wrong."""

from __future__ import annotations

import html
import json
import os
import re
import resource
import signal
import subprocess
import sys
import time
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

import hub
from hub.bench import peers
from hub.bench.__main__ import FOUND, INTERRUPTED, OK, main
from hub.bench.arguments import USAGE, read_arguments
from hub.bench.report import limit_letter
from hub.bench.results import UNITS
from hub.bench.stages import CANONICAL, ON_REQUEST, STAGES
from hub.bench.subcommands import SUBCOMMANDS

PERSONS = 2_000

# Children run in a folder of their own: a relative PYTHONPATH would lead them nowhere.
ENVIRONMENT = os.environ | {"PYTHONPATH": os.pathsep.join([str(Path(hub.__file__).parents[1]), *sys.path])}


def run_bench(folder: Path, *arguments: str, persons: int = PERSONS) -> tuple[subprocess.CompletedProcess[str], Any]:
    """Run the bench as a user does; returns the process and the JSON that it wrote."""
    file = folder / f"{len(list(folder.iterdir()))}.json"
    command = [sys.executable, "-m", "hub.bench", *arguments, "--persons", str(persons), "--json", str(file)]
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, timeout=300, env=ENVIRONMENT)
    return done, json.loads(file.read_text()) if file.exists() else None


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> tuple[subprocess.CompletedProcess[str], Any]:
    """One run of all stages beside all peers."""
    folder = tmp_path_factory.mktemp("whole")
    done, content = run_bench(folder, "--quick", "--html", "page.html", "all")
    return done, content


def rows_of(content: Any, stage: str) -> list[dict[str, Any]]:
    return [row for row in content["results"] if row["stage"] == stage]


def test_all_stages_run_and_every_answer_is_the_models(whole: Any) -> None:
    done, content = whole
    assert done.returncode == OK, done.stderr
    assert content["complete"] is True
    assert content["problems"] == []
    assert {row["stage"] for row in content["results"]} == {*STAGES, "limits"}
    assert content["stage_seconds"].keys() == STAGES.keys()
    assert "all as the model's" in done.stdout


def test_a_run_without_names_leaves_out_what_is_measured_on_request() -> None:
    options, _ = read_arguments(["--quick"])
    assert options is not None
    assert set(options.stages) == CANONICAL == STAGES.keys() - ON_REQUEST
    assert {"acquire", "inquiry", "history", "prove"} <= CANONICAL
    whole, _ = read_arguments(["all"])
    assert whole is not None
    assert whole.stages == tuple(STAGES)


def test_the_json_has_the_fixed_shape(whole: Any) -> None:
    _, content = whole
    assert {"machine", "commit", "seed", "answers", "results"} <= set(content)
    assert content["seed"] == 0
    assert re.fullmatch(r"[0-9a-f]{64}", content["answers"])
    for row in content["results"]:
        assert {"stage", "case", "metric", "value", "unit"} <= set(row)
        assert row["metric"] in UNITS
        assert row["case"].startswith(row["stage"] + ": ")
        assert row["value"] > 0, row
    keys = [(row["case"], row["metric"]) for row in content["results"]]
    assert len(keys) == len(set(keys))


def test_the_fixed_cases_are_there(whole: Any) -> None:
    _, content = whole
    cases = {row["case"] for row in content["results"]}
    assert {"resolve: 2k hits 1 thread", "resolve: 2k misses 1 thread", "inquiry: whole"} <= cases
    assert [case for case in cases if re.fullmatch(r"history: [\d.]+M records warm", case)]


def test_the_wire_has_its_fixed_cases_its_limit_and_everything_acknowledged_in_the_log(whole: Any) -> None:
    done, content = whole
    cases = {row["case"] for row in rows_of(content, "wire")}
    assert {"wire: bulk", "wire: single 64 connections", "wire: single 256 connections"} <= cases
    assert {"wire: limit 64 connections", "wire: single 64 connections beside bulk"} <= cases
    found = {(row["case"], row["metric"]): row["value"] for row in rows_of(content, "wire")}
    assert found["wire: bulk", "calls_per_million_rows"] >= 1
    for peer in ("redis", "uvicorn"):
        assert any(f"peer:{peer}" in case for case in cases) or f"left out  wire: peer:{peer}" in done.stdout
    assert re.search(r"wire: [\d,]+ rows were acknowledged and are in the log", done.stdout)


def test_the_portal_has_its_fixed_case_and_every_page_was_its_readers(whole: Any) -> None:
    done, content = whole
    if "left out  portal: " in done.stdout and "is not installed (the extra portal)" in done.stdout:
        pytest.skip("the extra portal is not installed")
    found = {(row["case"], row["metric"]): row["value"] for row in rows_of(content, "portal")}
    for case in ("portal: pages", "portal: pages of 25"):
        assert found[case, "rows_per_s"] > 0
        assert found[f"{case} half load", "p99_us"] >= found[f"{case} half load", "p50_us"]
    assert found["portal: first page", "bytes"] <= 60 * 1024
    assert found["portal: process memory", "bytes"] <= 200 << 20
    assert found["portal: save 120 records with proofs", "p50_us"] > 0
    assert "37 look-ups/s" in done.stdout


ALWAYS = ("lmdb", "lmdb-getmulti", "dict", "sqlite3")


def test_peers_and_limit_stand_beside_the_hub(whole: Any) -> None:
    done, content = whole
    cases = {row["case"] for row in rows_of(content, "resolve")}
    for peer, *_ in peers.KINDS:
        there = f"resolve: 2k hits peer:{peer}" in cases
        assert there or peer not in ALWAYS
        assert there != bool(re.search(f"^left out  peer:{peer}[: ]", done.stdout, re.MULTILINE)), peer
    hits = {row["metric"]: row["value"] for row in content["results"] if row["case"] == "resolve: 2k hits 1 thread"}
    rates = [
        row["value"] for row in content["results"]
        if row["case"].startswith("resolve: 2k hits peer:") and row["metric"] == "rows_per_s"
    ]  # fmt: skip
    assert hits["ratio_to_best_peer"] == pytest.approx(hits["rows_per_s"] / max(rates))
    (limit,) = (
        row["value"] for row in content["results"]
        if row["case"] == "resolve: 2k hits limit 1 thread" and row["metric"] == "rows_per_s"
    )  # fmt: skip
    # Not how large it is: on so small a hub and a busy machine it may be anything.
    assert hits["share_of_limit"] == pytest.approx(hits["rows_per_s"] / limit)


def test_log_peers_stand_beside_the_log_or_say_why_not(whole: Any) -> None:
    done, content = whole
    cases = {row["case"] for row in rows_of(content, "record")}
    for peer in ("sqlite3", "postgresql", "pymerkle"):
        there = any(f"peer:{peer}" in case for case in cases)
        assert there or f"left out  record: peer:{peer}" in done.stdout or "records peer:" in done.stdout
        assert there or peer != "sqlite3"


def test_each_share_says_which_limit_binds(whole: Any) -> None:
    done, content = whole
    shares = {row["case"]: row for row in content["results"] if row["metric"] == "share_of_limit"}
    assert {"acquire: 2k new", "acquire: 2k known", "resolve: 2k hits 1 thread", "inquiry: whole", "exchange: whole",
            "authorise: 2k rows 1,741 providers 1 thread", "wire: single 64 connections", "resolve: 2k misses 1 thread",
            "resolve: 2k not held 1 thread", "exchange: inquire", "exchange: collect and provide", "exchange: answers",
            "exchange: single", "retention: 300k records erased beside", "retention: 300k records singles beside",
            } <= set(shares)  # fmt: skip
    named = [case for case in shares if case.startswith(("verify: ", "prove: "))]
    assert sorted(case.rpartition("records ")[2] for case in named) == [
        "consistency", "page of 100", "pages", "single", "whole"
    ]  # fmt: skip
    assert all(limit_letter(row["of"]) for row in shares.values())
    rates = {row["case"]: row["value"] for row in content["results"] if row["metric"] == "rows_per_s"}
    bounds = [rates[f"inquiry: whole{name}"] for name in (" limit write",) if f"inquiry: whole{name}" in rates]
    lowest = min([*bounds, rates["record: limit hashing"]])
    assert shares["inquiry: whole"]["value"] == pytest.approx(rates["inquiry: whole"] / lowest)
    assert re.search("^limit     . ", done.stdout, re.MULTILINE)


def test_the_machines_limits_are_measured_in_the_same_run(whole: Any) -> None:
    _, content = whole
    found = {row["case"]: row["metric"] for row in rows_of(content, "limits") if row["metric"] != "p99_us"}
    assert found == {
        "limits: memory copy": "bytes_per_s", "limits: SHA-256": "bytes_per_s",
        "limits: write and sync": "bytes_per_s", "limits: durable commit": "p50_us",
        "limits: hashing of a page of proofs": "p50_us", "limits: hashing of a proof": "p50_us",
    }  # fmt: skip


def test_the_page_shows_what_the_table_shows(whole: Any, tmp_path_factory: pytest.TempPathFactory) -> None:
    done, content = whole
    text = (Path(done.args[-1]).parent / "page.html").read_text(encoding="utf-8")
    assert content["answers"] in text
    for case in {row["case"] for row in content["results"]}:
        assert html.escape(case.partition(": ")[2]) in text
    assert text.count("<svg") >= 3
    assert not re.search(r"(src|href)=|url\(|@import|https?://", text)


def test_the_machine_is_named(whole: Any) -> None:
    done, content = whole
    machine = content["machine"]
    for key in ("cpu", "cores", "memory_bytes", "kernel", "python", "numpy", "lmdb", "flags", "filesystem", "fsync_us",
                "compiler", "cython"):  # fmt: skip
        assert machine[key], key
    assert {"governor", "commit", "dirty", "warnings"} <= set(machine)
    assert machine["cpu"] in done.stdout


def test_the_table_fits_a_terminal(whole: Any) -> None:
    done, _ = whole
    table = [line for line in done.stdout.splitlines() if not line.startswith(("machine", "software", "WARNING"))]
    assert max(map(len, table)) <= 100


def test_temporary_folders_are_gone(tmp_path: Path) -> None:
    done, content = run_bench(tmp_path, "authorise", "--quick")
    assert done.returncode == OK, done.stderr
    assert [path.suffix for path in tmp_path.iterdir()] == [".json"]
    assert {row["stage"] for row in content["results"]} == {"authorise", "limits"}


@pytest.mark.parametrize("stage", ["resolve", "history", "blast"])
def test_a_stage_alone_fills_its_own_hub(stage: str, tmp_path: Path) -> None:
    done, content = run_bench(tmp_path, stage, "--quick", "--threads", "1", "--peers", "dict")
    assert done.returncode == OK, done.stderr
    assert {row["stage"] for row in content["results"]} - {"limits"} == {stage}
    assert {case for row in content["results"] if "peer:" in (case := row["case"])} == (
        {"resolve: 2k hits peer:dict"} if stage == "resolve" else set()
    )


def test_the_same_seed_gives_the_same_hash_and_another_seed_another(tmp_path: Path) -> None:
    hashes = []
    stages = ("resolve", "inquiry", "history")
    for seed in ("3", "3", "4"):
        done, content = run_bench(tmp_path, *stages, "--quick", "--peers", "none", "--seed", seed)
        assert done.returncode == OK, done.stderr
        hashes.append(content["answers"])
    assert hashes[0] == hashes[1]
    assert hashes[0] != hashes[2]


def test_an_unknown_stage_is_one_line_and_status_2(tmp_path: Path) -> None:
    done, content = run_bench(tmp_path, "resolv")
    assert done.returncode == USAGE
    assert done.stderr.splitlines() == [
        f"bench: stage: expected one of {', '.join(STAGES)}, all or list, got resolv"
    ]
    assert content is None
    assert done.stdout == ""


@pytest.mark.parametrize("arguments", [
    ("--persons", "999"), ("--threads", "0"), ("--folder", "/nowhere/at/all"), ("--peers", "oracle"),
    ("--json", "/nowhere/at/all.json"), ("--html", "."),
])  # fmt: skip
def test_a_wrong_option_is_one_line_and_status_2(arguments: tuple[str, ...], tmp_path: Path) -> None:
    command = [sys.executable, "-m", "hub.bench", *arguments]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=60, env=ENVIRONMENT)
    assert done.returncode == USAGE
    assert len(done.stderr.splitlines()) == 1, done.stderr


def test_list_names_every_stage_and_subcommand(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["list"]) == OK
    assert [line.split()[0] for line in capsys.readouterr().out.splitlines()] == [*STAGES, *SUBCOMMANDS]


def test_a_subcommand_gets_the_arguments_behind_its_name(monkeypatch: pytest.MonkeyPatch) -> None:
    given: list[list[str]] = []
    module = SimpleNamespace(main=lambda argv: given.append(argv) or 3)
    monkeypatch.setitem(sys.modules, "hub.bench.gate", module)
    assert main(["gate", "--base", "HEAD", "list"]) == 3
    assert given == [["--base", "HEAD", "list"]]


def test_a_resolver_that_swaps_two_answers_is_noticed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    honest = hub.Hub.resolve

    def lying(self: hub.Hub, *arguments: Any) -> hub.Resolved:
        found = honest(self, *arguments)
        found.aliases[[0, 1]] = found.aliases[[1, 0]]
        return found

    arguments = ["resolve", "--quick", "--peers", "none", "--persons", str(PERSONS), "--folder", str(tmp_path)]
    assert main([*arguments, "--json", str(tmp_path / "honest.json")]) == OK
    monkeypatch.setattr(hub.Hub, "resolve", lying)
    assert main([*arguments, "--json", str(tmp_path / "lying.json")]) == FOUND
    shown = capsys.readouterr()
    assert "WRONG     resolve: 2k hits 1 thread: aliases" in shown.err
    truth, lie = (json.loads((tmp_path / name).read_text()) for name in ("honest.json", "lying.json"))
    assert truth["answers"] != lie["answers"]
    assert lie["problems"]
    assert not truth["problems"]


def test_an_inquiry_that_allows_too_much_is_noticed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    honest = hub.Hub.inquire

    def lying(self: hub.Hub, *arguments: Any) -> hub.Answer:
        answer = honest(self, *arguments)
        answer.status[np.flatnonzero(answer.status == hub.Status.DENIED)] = hub.Status.OK
        return answer

    monkeypatch.setattr(hub.Hub, "inquire", lying)
    assert main(["inquiry", "--quick", "--persons", str(PERSONS), "--folder", str(tmp_path)]) == FOUND


def test_a_history_that_drops_a_record_is_noticed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    honest = hub.Hub.history

    def forgetful(self: hub.Hub, *arguments: Any, **options: Any) -> hub.History:
        found = honest(self, *arguments, **options)
        found.records = found.records[:-1]
        return found

    monkeypatch.setattr(hub.Hub, "history", forgetful)
    assert main(["history", "--quick", "--persons", str(PERSONS), "--folder", str(tmp_path)]) == FOUND


def test_a_full_disk_ends_with_one_line_and_no_folder(tmp_path: Path) -> None:
    def allow_small_files() -> None:
        resource.setrlimit(resource.RLIMIT_FSIZE, (4 << 20, 4 << 20))

    command = [sys.executable, "-m", "hub.bench", "acquire", "--persons", "100000"]
    done = subprocess.run(
        command, cwd=tmp_path, capture_output=True, text=True, timeout=120, env=ENVIRONMENT,
        preexec_fn=allow_small_files,
    )  # fmt: skip
    assert done.returncode == FOUND
    lines = [line for line in done.stderr.splitlines() if line.startswith("bench:")]
    assert len(lines) == 1
    assert lines[0].startswith("bench: stopped: ")
    assert "Traceback" not in done.stderr
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_an_interrupted_run_keeps_its_results_and_removes_its_folder(number: int, tmp_path: Path) -> None:
    file = tmp_path / "partial.json"
    command = [sys.executable, "-m", "hub.bench", "authorise", "resolve", "--persons", "400000", "--json", str(file)]
    process = subprocess.Popen(
        command, cwd=tmp_path, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
        env=ENVIRONMENT | {"PYTHONUNBUFFERED": "1"},
    )  # fmt: skip
    deadline = time.monotonic() + 60
    # The hub's own folder appears when the stages are under way.
    while not list(tmp_path.glob("hub-bench-*/hub-*/env")) and time.monotonic() < deadline:
        time.sleep(0.02)
    process.send_signal(number)
    _, stderr = process.communicate(timeout=60)
    assert process.returncode == INTERRUPTED, stderr
    assert "bench: interrupted" in stderr
    assert not list(tmp_path.glob("hub-bench-*"))
    content = json.loads(file.read_text())
    assert content["complete"] is False
