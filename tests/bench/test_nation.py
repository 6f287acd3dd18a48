"""The nation at a small size: asked, checked, kept, cut off, and what it says when it cannot run."""

from __future__ import annotations

import contextlib
import json
import os
import re
import shutil
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import hub
from hub.bench.clocks import ABOUT
from hub.bench.ending import FOUND, INTERRUPTED, OK, USAGE, Interrupts
from hub.bench.nation import main
from hub.bench.nationask import DENIED, NOT_HELD, UNKNOWN, expected_status, parts_of
from hub.bench.nationrun import NationRun, Needs, Sizes, needs_of
from hub.bench.nationworld import NationWorld, is_built, world_folder
from hub.bench.report import Progress
from hub.messages import Status

PERSONS = 3_000

ENVIRONMENT = os.environ | {"PYTHONPATH": os.pathsep.join([str(Path(hub.__file__).parents[1]), *sys.path])}


def arguments(folder: Path, *more: str, persons: int = PERSONS) -> list[str]:
    return ["--persons", str(persons), "--folder", str(folder), "--json", str(folder / "nation.json"), *more]


def content_of(folder: Path) -> Any:
    return json.loads((folder / "nation.json").read_text())


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> tuple[int, Any, Path]:
    """One run: everybody twice, several inquiries each time."""
    folder = tmp_path_factory.mktemp("nation")
    status = main(arguments(folder, "--rows", "2000"))
    return status, content_of(folder), folder


def test_everybody_is_asked_about_twice_and_all_is_as_the_models(whole: Any) -> None:
    status, content, _ = whole
    assert status == OK
    assert content["complete"] is True
    assert content["problems"] == []
    assert content["measured"]["rows"] == 2 * PERSONS
    assert len(content["inquiry_s"]) == 4


def test_it_says_where_the_time_went(whole: Any) -> None:
    _, content, _ = whole
    where = content["where"]
    assert set(where) <= set(ABOUT)
    assert {"check", "authorise", "resolve", "record", "encrypt", "hash", "tree", "put", "write", "fsync", "sign",
            "answer", "bench"} <= set(where)  # fmt: skip
    assert all(spent["cpu_s"] >= 0 and spent["wall_s"] >= 0 for spent in where.values())


def test_what_was_extrapolated_stands_apart(whole: Any) -> None:
    _, content, _ = whole
    assert content["extrapolated"]["rows"] == 125_000_000
    assert {row["stage"] for row in content["results"]} == {"nation"}
    factor = 125_000_000 / content["measured"]["rows"]
    assert content["extrapolated"]["asked_s"] == pytest.approx(content["measured"]["asked_s"] * factor)


def test_nothing_but_the_json_stays(whole: Any) -> None:
    _, _, folder = whole
    assert [path.name for path in folder.iterdir()] == ["nation.json"]


def test_the_same_seed_gives_the_same_hash(whole: Any, tmp_path: Path) -> None:
    _, content, _ = whole
    assert main(arguments(tmp_path, "--rows", "2000")) == OK
    assert content_of(tmp_path)["answers"] == content["answers"]


def test_nobody_is_asked_about_more_than_twice() -> None:
    for inquiries in (1, 9, 10, 11, 20):
        times = np.zeros(10, int)
        for part in parts_of(10, inquiries, 4):
            times[part.start : part.end] += 1
        assert times.sum() == inquiries
        assert times.max() - times.min() <= 1


def test_the_model_has_a_few_rows_of_each_kind() -> None:
    for pass_number in range(2):
        counts = np.bincount(expected_status(np.arange(1 << 20), pass_number), minlength=256)
        for status, share in (
            (Status.NO_ALIAS_AT_PROVIDER, NOT_HELD), (Status.DENIED, DENIED), (Status.UNKNOWN_ALIAS, UNKNOWN)
        ):  # fmt: skip
            assert counts[status] == pytest.approx(share << 10, rel=0.05)


@pytest.fixture(scope="module")
def kept(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a kept world, of which nobody was asked."""
    folder = tmp_path_factory.mktemp("kept")
    assert main(arguments(folder, "--keep", "--build")) == OK
    return folder


def test_a_kept_world_is_taken_up_and_stays_as_it_was(kept: Path) -> None:
    world = world_folder(kept, PERSONS, 0)
    assert is_built(world)
    before = (world / "hub" / "env" / "data.mdb").stat().st_mtime_ns
    for _ in range(2):
        assert main(arguments(kept, "--keep", "--inquiries", "4000")) == OK
        assert content_of(kept)["measured"]["rows"] == 4_000
        assert content_of(kept)["problems"] == []
    with hub.open(world / "hub", readonly=True) as h:
        assert h.stats()["records"] == 0
    assert before <= (world / "hub" / "env" / "data.mdb").stat().st_mtime_ns
    assert sorted(path.name for path in kept.iterdir()) == [world.name, "nation.json"]


def test_a_world_that_lies_is_found_out(kept: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    world = world_folder(tmp_path, PERSONS, 0)
    shutil.copytree(world_folder(kept, PERSONS, 0), world)
    homes = np.memmap(world / "home.bin", np.uint16, "r+")
    homes[: PERSONS // 2] = (homes[: PERSONS // 2] + 1) % 8
    homes.flush()
    assert main(arguments(tmp_path, "--keep")) == FOUND
    assert content_of(tmp_path)["problems"]
    assert "WRONG" in capsys.readouterr().err


def test_building_goes_on_where_it_was_cut_off(tmp_path: Path) -> None:
    folder = world_folder(tmp_path, PERSONS, 0)
    world = NationWorld(folder, PERSONS, seed=0, threads=1)

    class Cut(Progress):
        def step(self, text: str) -> None:
            if "municipalities" in text:
                raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        world.build(Cut())
    assert not world.complete
    world.close()
    assert not is_built(folder)
    assert main(arguments(tmp_path, "--keep")) == OK
    assert is_built(folder)
    assert content_of(tmp_path)["problems"] == []


def test_an_interrupted_run_writes_what_was_done_and_its_folder_goes(tmp_path: Path) -> None:
    # Each inquiry of one row waits for the disk: this would take a minute.
    command = [sys.executable, "-m", "hub.bench", "nation", *arguments(tmp_path, "--rows", "1", persons=100_000)]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=ENVIRONMENT)
    assert process.stderr is not None
    for line in process.stderr:
        if re.search(r"ask: [1-9]", line):
            break
    process.send_signal(signal.SIGINT)
    _, errors = process.communicate(timeout=120)
    assert process.returncode == INTERRUPTED, errors
    content = content_of(tmp_path)
    assert content["complete"] is False
    assert 0 < content["measured"]["rows"] < 200_000
    assert "interrupted" in errors
    assert [path.name for path in tmp_path.iterdir()] == ["nation.json"]


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_an_interrupt_that_was_swallowed_is_met_again(number: signal.Signals) -> None:
    before = signal.signal(number, signal.SIG_DFL)
    try:
        with Interrupts() as interrupts:
            interrupts.look()
            with contextlib.suppress(KeyboardInterrupt):
                signal.raise_signal(number)
            with pytest.raises(KeyboardInterrupt):
                interrupts.look()
        assert signal.getsignal(number) == signal.SIG_DFL
        signal.signal(number, signal.SIG_IGN)
        with Interrupts() as interrupts:
            signal.raise_signal(number)
            interrupts.look()
    finally:
        signal.signal(number, before)


def test_a_run_ends_at_the_next_inquiry_where_an_interrupt_was_swallowed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    ask = NationRun._ask_part

    def swallow(self: NationRun, *rest: Any) -> None:
        ask(self, *rest)
        with contextlib.suppress(KeyboardInterrupt):
            signal.raise_signal(signal.SIGINT)

    monkeypatch.setattr(NationRun, "_ask_part", swallow)
    assert main(arguments(tmp_path, "--rows", "100")) == INTERRUPTED
    assert content_of(tmp_path)["measured"]["rows"] == 100


@pytest.mark.parametrize(
    ("option", "value"),
    [("--persons", "999"), ("--persons", "200000001"), ("--inquiries", "6001"), ("--inquiries", "0"), ("--rows", "0"),
     ("--rows", "16777217"), ("--seed", "-1"), ("--threads", "0")],
)  # fmt: skip
def test_a_value_out_of_bounds_is_one_line_and_usage(
    option: str, value: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as refused:
        main([*arguments(tmp_path), option, value])
    assert refused.value.code == USAGE
    found = capsys.readouterr().err
    assert found.count("\n") == 1
    assert f"nation: {option}: expected" in found


def test_building_alone_is_refused_where_nothing_is_kept(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as refused:
        main(arguments(tmp_path, "--build"))
    assert refused.value.code == USAGE
    assert "expected --keep" in capsys.readouterr().err


def test_too_small_a_disk_or_memory_is_refused_with_what_is_needed(tmp_path: Path) -> None:
    assert Needs(1, 1).refusal(tmp_path) is None
    disk = Needs(1 << 60, 1).refusal(tmp_path)
    memory = Needs(1, 1 << 60).refusal(tmp_path)
    assert disk is not None
    assert f"space in {tmp_path}: expected {1 << 30:.1f} GiB" in disk
    assert memory is not None
    assert f"memory: expected {1 << 30:.1f} GiB" in memory


def test_a_kept_world_needs_the_disk_twice_until_it_is_built() -> None:
    sizes = Sizes(1_000_000, 2_000_000, 1_000_000, 0, 2)
    once, twice, built = (
        needs_of(sizes, keep=keep, built=built).disk for keep, built in ((False, False), (True, False), (True, True))
    )
    assert once == built < twice


def test_a_folder_that_cannot_be_made_is_one_line_and_usage(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--persons", "3000", "--folder", "/proc/nowhere"]) == USAGE
    assert capsys.readouterr().err.count("\n") == 1
