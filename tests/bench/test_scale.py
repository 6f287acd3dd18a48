"""The curves at a small size: points, page, what stopped them, what an interrupt leaves."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
from html.parser import HTMLParser
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest

import hub
from hub.bench.ending import FOUND, INTERRUPTED, OK, USAGE
from hub.bench.plots import Curve, Point, Scale, draw, short_number
from hub.bench.report import Progress
from hub.bench.scale import main
from hub.bench.scalecurves import sizes_up_to
from hub.bench.scalelog import record_sizes
from hub.bench.scalepace import SLOWER, Pace, reach
from hub.bench.scaleworld import GrowingWorld
from smalldisk import small_disk

pytest.importorskip("jinja2", reason="the page needs the extra bench")

ENVIRONMENT = os.environ | {"PYTHONPATH": os.pathsep.join([str(Path(hub.__file__).parents[1]), *sys.path])}


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> tuple[int, Any, str, Path]:
    """One run of all curves."""
    folder = tmp_path_factory.mktemp("scale")
    files = ["--json", str(folder / "scale.json"), "--html", str(folder / "scale.html")]
    status = main(["--persons-max", "20000", "--records-max", "20000", "--folder", str(folder), *files])
    content = json.loads((folder / "scale.json").read_text())
    return status, content, (folder / "scale.html").read_text(), folder


def test_all_curves_are_measured_and_every_answer_is_the_models(whole: Any) -> None:
    status, content, _, _ = whole
    assert status == OK
    assert content["complete"] is True
    assert content["problems"] == []
    names = {curve["name"] for curve in content["curves"]}
    assert {"persons-1", "threads", "batch", "cold", "inquiry", "history", "space"} <= names
    by_name = {curve["name"]: curve for curve in content["curves"]}
    persons = by_name["persons-1"]["series"]
    # Huge pages under a file are the system's to give.
    assert set(persons) - {"random hits, huge pages"} == {
        "random hits", "sorted hits", "random misses", "limit, 4 KiB pages", "limit, huge pages"
    }  # fmt: skip
    assert [point["x"] for point in persons["random hits"]] == [10_000, 20_000]
    assert [point["x"] for point in by_name["history"]["series"]["warm p50"]] == [10_000, 20_000]
    assert set(by_name["history"]["series"]) == {"warm p50", "warm p99", "cold p50", "cold p99"}


def test_the_page_is_whole_and_fetches_nothing(whole: Any) -> None:
    _, content, page, _ = whole

    class Reader(HTMLParser):
        plots, fetched = 0, 0

        def handle_starttag(self, tag: str, attributes: list[tuple[str, str | None]]) -> None:
            self.plots += tag == "svg"
            self.fetched += tag in ("script", "link", "img", "iframe") or any(name == "src" for name, _ in attributes)

    reader = Reader()
    reader.feed(page)
    assert reader.plots == len(content["curves"])
    assert reader.fetched == 0
    assert "prefers-color-scheme: dark" in page


def test_nothing_but_the_results_stays(whole: Any) -> None:
    assert sorted(path.name for path in whole[3].iterdir()) == ["scale.html", "scale.json"]


def test_an_interrupted_run_writes_what_was_done_and_its_folder_goes(tmp_path: Path) -> None:
    file = tmp_path / "scale.json"
    command = [sys.executable, "-m", "hub.bench", "scale", "--persons-max", "2000000", "--records-max", "0"]
    command += ["--folder", str(tmp_path), "--json", str(file)]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=ENVIRONMENT)
    assert process.stderr is not None
    next(iter(process.stderr))
    process.send_signal(signal.SIGTERM)
    _, errors = process.communicate(timeout=120)
    assert process.returncode == INTERRUPTED, errors
    assert json.loads(file.read_text())["complete"] is False
    assert [path.name for path in tmp_path.iterdir()] == ["scale.json"]


def test_a_curve_that_ends_early_says_why(tmp_path: Path) -> None:
    world = GrowingWorld(tmp_path / "world", 10_000, threads=1)
    try:
        assert world.lacks(10_000) is None
        assert "of disk" in (world.lacks(1 << 50) or "")
        world.persons = 1 << 40
        assert "of memory" in (world.lacks(1 << 40) or "")
    finally:
        world.close()


def test_a_world_that_grows_keeps_whom_it_had(tmp_path: Path) -> None:
    world = GrowingWorld(tmp_path / "world", 3_000, threads=1)
    try:
        for size in (1_000, 3_000):
            world.grow(size, Progress())
            found = world.hub.resolve("nenkin", "portal", world.requester[:size])
            assert (found.status == 0).all()
            assert (found.aliases == world.everybody[:size]).all()
        world.forget(1)
        assert (world.hub.resolve("nenkin", "portal", world.requester[:]).aliases == world.everybody).all()
    finally:
        world.close()


@pytest.mark.parametrize(
    ("option", "value"),
    [("--persons-max", "9999"), ("--persons-max", "-1"), ("--records-max", "9999"), ("--threads", "0")],
)
def test_a_value_out_of_bounds_is_one_line_and_usage(
    option: str, value: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as refused:
        main([option, value])
    assert refused.value.code == USAGE
    found = capsys.readouterr().err
    assert found.count("\n") == 1
    assert f"scale: {option}: expected" in found


class Clock:
    """Seconds that pass when they are told to."""

    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


def test_a_size_is_done_in_its_time_and_not_a_second_later() -> None:
    clock = Clock()
    pace = Pace(60, clock)
    assert pace.lacks(1 << 60) is None
    pace.growing(1_000)
    clock.now += 10
    pace.grown()
    clock.now += 10
    pace.measured()
    # 40 s are left: 10 for measuring, and 10 for each thousand rows, all of it somewhat dearer.
    fits = int((40 / SLOWER - 10) * 100)
    assert pace.lacks(fits) is None
    assert "s more are needed, 40 of the 60 s for it are left" in (pace.lacks(fits + 10) or "")
    assert Pace(None, clock).lacks(1 << 60) is None


def test_where_the_next_size_is_too_large_a_part_of_it_is_reached() -> None:
    def lacks(size: int) -> str | None:
        return "room" if size > 365 else None

    assert reach(200, 365, lacks) == (365, "")
    assert reach(200, 500, lacks) == (350, "room")
    assert reach(340, 500, lacks) == (0, "room")


def test_a_disk_without_space_is_said_and_is_the_status(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    with small_disk(tmp_path / "small", 64 << 20) as disk:
        command = ["--persons-max", "10000", "--records-max", "0", "--folder", str(disk.place)]
        assert main([*command, "--html", str(tmp_path / "scale.html")]) == FOUND
        assert "stopped before 10k persons: 10,000 persons need" in capfd.readouterr().out
        assert "stopped before 10k persons" in (tmp_path / "scale.html").read_text()
        assert list(disk.place.iterdir()) == []


def test_a_disk_that_fills_on_the_way_ends_the_curve_and_leaves_the_points(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    with small_disk(tmp_path / "small", 48 << 20) as disk:
        monkeypatch.setattr("hub.bench.scaleworld.DISK_KEPT", 0)
        monkeypatch.setattr("hub.bench.scaleworld.DISK_PER_PERSON", 0)
        monkeypatch.setattr("hub.bench.scale.PERSONS_MOST", 1_000_000)
        file = tmp_path / "scale.json"
        command = ["--persons-max", "500000", "--records-max", "0", "--folder", str(disk.place)]
        assert main([*command, "--json", str(file)]) == FOUND
        found = json.loads(file.read_text())
        assert found["complete"] is False
        by_name = {curve["name"]: curve for curve in found["curves"]}
        assert "stopped on the way to" in by_name["persons-1"]["stopped"]
        assert "no space left" in by_name["persons-1"]["stopped"]
        assert by_name["persons-1"]["series"]["random hits"]
        assert "scale: stopped:" in capfd.readouterr().err


def test_sizes_reach_what_was_asked_for() -> None:
    assert sizes_up_to(125_000_000)[-2:] == [100_000_000, 125_000_000]
    assert sizes_up_to(1_000_000) == [1_000_000]
    assert record_sizes(500_000_000)[0] == 1_000_000
    assert record_sizes(500_000_000)[-1] == 500_000_000


@pytest.mark.parametrize(("log", "values"), [(True, [3, 40_000]), (True, [7, 7]), (False, [0.2, 9]), (False, [])])
def test_a_scale_places_its_values_and_ticks_inside(log: bool, values: list[float]) -> None:
    scale = Scale(values, 10, 110, log=log)
    for value in values:
        assert 10 <= scale.place(value) <= 110
    assert scale.ticks()
    assert all(9.9 <= scale.place(tick) <= 110.1 for tick in scale.ticks())


@pytest.mark.parametrize("end", [125e6, 64e6, 55e6, 50e6])
def test_the_axis_says_where_a_curve_ends_and_no_number_stands_on_another(end: float) -> None:
    found = str(draw(Curve("a", "t", "persons", "y", series={"one": [Point(1e6, 2), Point(end, 4)]})))
    labels = re.findall(r'class="muted" x="([0-9.]+)" y="[0-9.]+" text-anchor="middle">([^<]+)<', found)
    assert labels[-1][1] == short_number(end)
    assert labels[0][1] == "1M"
    places = [float(place) for place, _ in labels]
    assert all(after - before > 30 for before, after in pairwise(places))


def test_names_are_escaped_and_numbers_short() -> None:
    curve = Curve("a", "<b>", "x", "y", series={"<i>&": [Point(1, 2, 1, 3), Point(10, 4)], "none": []})
    found = str(draw(curve))
    assert "<b>" not in found
    assert "<i>" not in found
    assert "&lt;i&gt;&amp;" in found
    assert [short_number(value) for value in (0.25, 7, 999.7, 1_250, 2e6, 1.5e9)] == [
        "0.25", "7", "1k", "1.25k", "2M", "1.5G"
    ]  # fmt: skip
