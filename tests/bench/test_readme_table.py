"""README's figures are the recorded ones."""

from __future__ import annotations

import importlib.util
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def tool() -> Any:
    spec = importlib.util.spec_from_file_location("readme_table", ROOT / "tools" / "readme_table.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_readme_and_the_recorded_runs_agree(tool: Any) -> None:
    assert tool.main(["--check"]) == tool.OK, "write them anew: python tools/readme_table.py"


@pytest.mark.parametrize("sign", ["1", ".9"])
def test_a_changed_figure_is_found_and_mended(tool: Any, sign: str, tmp_path: Path) -> None:
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    row = next(line for line in text.splitlines() if line.startswith("| resolve, 10 M persons"))
    copy = tmp_path / "README.md"
    copy.write_text(text.replace(row, row.replace(" M /", f"{sign} M /", 1)), encoding="utf-8")
    assert tool.main(["--check", "--readme", str(copy)]) == tool.FOUND
    assert tool.main(["--readme", str(copy)]) == tool.OK
    assert copy.read_text(encoding="utf-8") == text


@pytest.mark.parametrize("name", ["README.md", "nothing.json"])
def test_what_is_no_run_is_one_line_and_status_2(tool: Any, name: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert tool.main(["--check", str(ROOT / name)]) == tool.USAGE
    assert len(capsys.readouterr().err.splitlines()) == 1


def test_a_readme_without_markers_is_one_line_and_status_2(
    tool: Any, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "README.md").write_text("# hub\n")
    assert tool.main(["--readme", str(tmp_path / "README.md")]) == tool.USAGE
    assert len(capsys.readouterr().err.splitlines()) == 1
    assert (tmp_path / "README.md").read_text() == "# hub\n"
