"""Two recorded runs: slower is beyond both spreads and the tolerance, peers and limits are not judged."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from hub.bench.__main__ import main
from hub.bench.compare import FOUND, OK, USAGE


def row(case: str, value: float, *, metric: str = "rows_per_s", half: float | None = None) -> dict[str, Any]:
    found = {"stage": case.partition(":")[0], "case": case, "metric": metric, "value": value, "unit": "x"}
    if half is not None:
        found |= {"low": value * (1 - half), "high": value * (1 + half), "repeats": 5}
    return found


def write(path: Path, *rows: dict[str, Any], **machine: Any) -> str:
    content = {"machine": {"cpu": "one", **machine}, "complete": True, "problems": [], "results": rows}
    path.write_text(json.dumps(content))
    return str(path)


@pytest.mark.parametrize(
    ("old", "new", "half", "status"),
    [
        (100.0, 92.0, 0.01, OK), (100.0, 90.0, 0.01, FOUND), (100.0, 80.0, 0.15, OK), (100.0, 76.0, 0.15, FOUND),
        (100.0, 300.0, 0.01, OK), (100.0, 92.0, None, OK), (100.0, 90.0, None, FOUND),
    ],
)  # fmt: skip
def test_slower_is_beyond_both_spreads_and_the_tolerance(
    old: float, new: float, half: float | None, status: int, tmp_path: Path
) -> None:
    files = (write(tmp_path / f"{name}.json", row("resolve: 1M hits", value, half=half))
             for name, value in (("a", old), ("b", new)))  # fmt: skip
    assert main(["compare", *files]) == status


def test_more_time_and_more_bytes_are_slower(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    a = write(tmp_path / "a.json", row("i: x", 100, metric="p50_us"), row("i: y", 50, metric="bytes_per_row"))
    b = write(tmp_path / "b.json", row("i: x", 120, metric="p50_us"), row("i: y", 60, metric="bytes_per_row"))
    assert main(["compare", a, b]) == FOUND
    assert "2 figures: 2 slower, 0 faster" in capsys.readouterr().out
    assert main(["compare", b, a]) == OK
    assert "2 figures: 0 slower, 2 faster" in capsys.readouterr().out
    assert main(["compare", a, b, "--tolerance", "0.25"]) == OK


@pytest.mark.parametrize("case", ["resolve: 1M hits peer:dict", "record: limit hashing", "limits: memory copy"])
def test_a_slower_peer_or_limit_is_not_the_hubs_fault(case: str, tmp_path: Path) -> None:
    a, b = (write(tmp_path / f"{name}.json", row(case, value)) for name, value in (("a", 100.0), ("b", 10.0)))
    assert main(["compare", a, b]) == OK


def test_another_machine_and_a_busy_one_are_said(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    a = write(tmp_path / "a.json", row("i: x", 1))
    b = write(tmp_path / "b.json", row("i: x", 1), cpu="two", warnings=["busy machine"])
    assert main(["compare", a, b]) == OK
    out = capsys.readouterr().out
    assert "WARNING   cpu: one and two" in out
    assert "WARNING   B: busy machine" in out


def test_what_cannot_be_compared_is_one_line_and_status_2(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    run = write(tmp_path / "a.json", row("i: x", 1))
    (tmp_path / "list.json").write_text("[]")
    (tmp_path / "bytes.json").write_bytes(b"\xff\xfe")
    others = [tmp_path / "list.json", tmp_path / "bytes.json", tmp_path / "none.json", tmp_path,
              write(tmp_path / "c.json", row("i: y", 1))]  # fmt: skip
    for other in others:
        assert main(["compare", run, str(other)]) == USAGE
        assert len(capsys.readouterr().err.splitlines()) == 1, other


def test_the_recorded_runs_can_be_compared(capsys: pytest.CaptureFixture[str]) -> None:
    folder = Path(__file__).parents[2] / "bench" / "results"
    file = str(folder / "epyc-2-cores.json")
    assert main(["compare", file, file, "--all"]) == OK
    assert max(map(len, capsys.readouterr().out.splitlines())) <= 100
