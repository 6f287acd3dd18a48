"""The demo, small: it tells its story and cleans up."""

from pathlib import Path

import pytest

from hub.demo import MARK, main


def test_the_demo_runs_from_top_to_bottom(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder = tmp_path / "demo"
    assert main(["--residents", "2000", "--folder", str(folder)]) == 0
    told = capsys.readouterr().out
    assert "2,000 residents" in told
    assert "exactly the numbers that were invented" in told
    assert "Again as invented" in told
    assert told.count("  outcome  ") == 4
    assert "denied" in told
    assert "inquire: authorise, resolve, record" in told
    assert not folder.exists()


def test_the_demo_keeps_its_folder_on_request_and_takes_it_over_later(tmp_path: Path) -> None:
    folder = tmp_path / "demo"
    assert main(["--residents", "1000", "--folder", str(folder), "--keep"]) == 0
    assert (folder / "out/nenkin-answers.csv").stat().st_size > 1000
    assert (folder / "out/nenkin-data.csv").stat().st_size > 1000
    assert (folder / MARK).exists()
    assert main(["--residents", "1000", "--folder", str(folder)]) == 0
    assert not folder.exists()


@pytest.mark.parametrize("words", [["--residents", "999"], ["--residents", str(10**8 + 1)]])
def test_a_number_of_residents_out_of_bounds_is_refused(tmp_path: Path, words: list[str]) -> None:
    with pytest.raises(SystemExit) as stop:
        main([*words, "--folder", str(tmp_path / "demo")])
    assert stop.value.code == 2


def test_a_folder_that_is_not_the_demos_is_left_alone(tmp_path: Path) -> None:
    (tmp_path / "letter.txt").write_text("dear")
    with pytest.raises(SystemExit) as stop:
        main(["--folder", str(tmp_path)])
    assert stop.value.code == 2
    assert (tmp_path / "letter.txt").read_text() == "dear"
