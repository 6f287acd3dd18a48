"""What a disk does at best: as many repeats as were asked for, and the file as it was."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from hub.bench.disklimits import PAGE, cold_reads, replacements, touches
from hub.bench.machinelimits import MachineLimits
from hub.bench.report import limit_letter


def test_reading_and_touching_leave_the_file_as_it_was(tmp_path: Path) -> None:
    path = tmp_path / "file"
    path.write_bytes(bytes(range(256)) * PAGE)
    assert len(cold_reads(path, np.random.default_rng(1), 7)) == 7
    assert len(touches(path, 100, 3)) == 3
    assert path.read_bytes() == bytes(range(256)) * PAGE


def test_a_file_of_less_than_a_page_can_be_read(tmp_path: Path) -> None:
    path = tmp_path / "file"
    path.write_bytes(b"short")
    assert min(cold_reads(path, np.random.default_rng(1), 2)) > 0


def test_more_pages_than_there_are_are_all_of_them(tmp_path: Path) -> None:
    path = tmp_path / "file"
    path.write_bytes(bytes(5 * PAGE))
    assert len(touches(path, 1_000, 1)) == len(touches(path, 0, 1)) == 1


def test_replacing_leaves_nothing(tmp_path: Path) -> None:
    assert len(replacements(tmp_path, 3 * PAGE, 4)) == 4
    assert list(tmp_path.iterdir()) == []


def test_every_limit_of_a_case_is_of_a_kind_that_the_table_names() -> None:
    names = {name for name in vars(MachineLimits) if name.startswith("of_")}
    signs = {"of_writing": "write", "of_hashing": "hashing", "of_syncs": "syncs", "of_proving": "hashing",
             "of_replacing": "write"}  # fmt: skip
    assert names == {*signs, "of_commits"}
    assert all(limit_letter(f"stage: case limit {word}") for word in signs.values())
