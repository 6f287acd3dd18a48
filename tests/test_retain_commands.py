"""``hub retain`` and ``hub hold`` on a folder whose last record is of the second at which its first quarter expires."""

from __future__ import annotations

from pathlib import Path

import pytest

from hub.cli import main
from hub.limits import RETAIN_PERIODS_MAX
from test_retain import DAY, SECTION, Aged, contains

GROUND = ["--ground", "court order", "--by", "records office"]


class Desk:
    """Commands on one folder: the hub's time is that of the last record, which is ahead of any clock here."""

    def __init__(self, folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
        self.aged, self.capsys = Aged(folder / "hub"), capsys
        self.aged.expire()
        with self.aged.open() as h:
            self.aged.ask(h, "last", 1, "Section of today")

    def run(self, *words: str | Path) -> tuple[int, str, str]:
        self.capsys.readouterr()
        status = main([str(words[0]), *(str(word) for word in words[1:])])
        out, err = self.capsys.readouterr()
        return status, out, err

    def retain(self, *words: str) -> tuple[int, str, str]:
        return self.run("retain", self.aged.folder, *words)

    def hold(self, command: str, *words: str | Path) -> tuple[int, str, str]:
        return self.run("hold", command, self.aged.folder, *words)


@pytest.fixture
def desk(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> Desk:
    return Desk(tmp_path, capsys)


def test_a_dry_run_says_what_has_expired_and_retain_erases_it_once(desk: Desk) -> None:
    before = (desk.aged.folder / "env" / "data.mdb").read_bytes()
    status, out, _ = desk.retain("--dry-run")
    assert status == 1
    assert [line.split()[0::5] for line in out.splitlines()[1:]] == [["2026Q4", "expired"], ["2027Q1"], ["2034Q1"]]
    assert (desk.aged.folder / "env" / "data.mdb").read_bytes() == before
    status, out, _ = desk.retain()
    assert (status, out) == (0, f"{desk.aged.folder}: 63 records erased (2026Q4)\n")
    assert desk.retain()[:2] == (0, f"{desk.aged.folder}: 0 records erased\n")
    status, out, _ = desk.retain("--dry-run")
    assert (status, out.splitlines()[1].split()[-1]) == (0, "erased")
    assert desk.run("verify", desk.aged.folder)[0] == 0
    assert not contains(desk.aged.folder, SECTION)


def test_more_periods_than_expected_are_erased_only_with_yes(desk: Desk) -> None:
    aged = desk.aged
    with aged.open() as h:
        for _ in range(RETAIN_PERIODS_MAX + 1):
            aged.now += 92 * DAY
            aged.ask(h, f"later {aged.now}", 1, "later")
        aged.now += 7 * 366 * DAY + 62 * DAY
        aged.ask(h, "much later", 1, "later")
    status, out, err = desk.retain()
    assert (status, out) == (2, "")
    assert "at most 2 periods" in err
    assert "2026Q4.key" in [path.name for path in (aged.folder / "keys" / "periods").iterdir()]
    assert desk.retain("--yes")[0] == 0
    assert desk.run("verify", aged.folder)[0] == 0


def test_a_hold_is_set_listed_extended_exported_released_and_shredded(desk: Desk, tmp_path: Path) -> None:
    proofs = tmp_path / "proofs"
    assert desk.hold("list")[0] == 1
    assert desk.hold("set", *GROUND, "--until", "2034-12-31", "--requester", "nenkin")[0] == 0
    assert desk.hold("export", "1", proofs)[0] == 1
    assert "63 records copied out" in desk.retain()[1]
    assert desk.hold("extend", "1", *GROUND, "--until", "2035-01-31")[0] == 0
    status, out, _ = desk.hold("list")
    assert status == 0
    assert "in force, last day 2035-01-31; requester nenkin; 63 records copied" in out
    assert "court order" in out
    assert desk.hold("export", "1", proofs)[0] == 0
    files = sorted(proofs.iterdir())
    assert len(files) == 63
    assert {file.stat().st_mode & 0o777 for file in files} == {0o600}
    (tmp_path / "log.key").write_text(desk.aged.key)
    assert desk.run("verify", files[0], "--key", tmp_path / "log.key")[0] == 0
    assert desk.hold("release", "1", *GROUND)[0] == 0
    assert "1 holds ended" in desk.retain()[1]
    assert desk.hold("export", "1", proofs)[0] == 2
    assert not list((desk.aged.folder / "keys" / "holds").iterdir())


@pytest.mark.parametrize(
    "words",
    [
        ["set", *GROUND, "--until", "2034-12-31"],
        ["set", *GROUND, "--until", "2034-12-31T09:00", "--requester", "nenkin"],
        ["set", *GROUND, "--until", "2020-01-01", "--requester", "nenkin"],
        ["set", *GROUND, "--until", "2034-12-31", "--requester", "nobody"],
        ["extend", "7", *GROUND, "--until", "2034-12-31"],
        ["release", "x", *GROUND],
        ["export", "7", "nowhere"],
    ],
)
def test_a_wrong_hold_is_refused_and_changes_nothing(desk: Desk, words: list[str]) -> None:
    before = (desk.aged.folder / "env" / "data.mdb").read_bytes()
    assert desk.hold(*words)[0] == 2
    assert (desk.aged.folder / "env" / "data.mdb").read_bytes() == before
