"""``hub suspend``, ``hub resume``, ``hub blast`` and ``hub mislink`` on a real folder."""

from __future__ import annotations

import csv
import json
import stat
import sys
from io import StringIO
from pathlib import Path

import pytest

import hub
from hub.cli import main
from hub.messages import Status
from inquiries import tax_inquiry

CODES = [f"000{i:08d}" for i in range(5)]
TOWN = "131016"

Run = tuple[int, str, str]


class Desk:
    """A folder in which the agency asked the town about five people, and was answered about two."""

    def __init__(self, folder: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
        self.folder, self.capsys, self.monkeypatch = folder, capsys, monkeypatch
        self.hub = str(folder / "linkage")
        with hub.open(self.hub, create=True) as h:
            self.mine = h.acquire("nenkin", CODES).aliases
            self.theirs = h.acquire(TOWN, CODES).aliases
            self.citizens = h.acquire("portal", CODES).aliases
            h.inquire(tax_inquiry("r1"), self.mine, TOWN)
            for permits in h.collect(TOWN):
                known = [row for row in range(5) if permits.aliases[row].tobytes() in self.theirs[:2].tobytes()]
                h.provide(TOWN, permits.permit[known], Status.PROVIDED, [b"tax"] * 2)

    def at(self, name: str) -> str:
        return str(self.folder / name)

    def run(self, *words: str, stdin: str = "") -> Run:
        """One command: its status, output and errors."""
        self.capsys.readouterr()
        self.monkeypatch.setattr(sys, "stdin", StringIO(stdin))
        status = main(list(words))
        out, err = self.capsys.readouterr()
        return status, out, err

    def person(self, number: int) -> str:
        return self.theirs[number].tobytes().hex()


@pytest.fixture
def desk(tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Desk:
    monkeypatch.delenv("HUB_FOLDER", raising=False)
    return Desk(tmp_path, capsys, monkeypatch)


WHY = ("--reason", "identity in doubt", "--clerk", "sato")


def test_people_are_suspended_and_resumed(desk: Desk) -> None:
    one = desk.person(0)
    told = desk.run("suspend", desk.hub, TOWN, "--alias", "-", *WHY, stdin=one + "\n")
    assert told == (0, f"{TOWN}: suspended 1 aliases; 1 changed\n", "")
    Path(desk.at("some.csv")).write_text("alias\n" + one + "\n" + desk.person(1) + "\n")
    assert desk.run("suspend", desk.hub, TOWN, "--aliases", desk.at("some.csv"), *WHY)[:2] == (
        0, f"{TOWN}: suspended 2 aliases; 1 changed\n",
    )  # fmt: skip
    assert "SUSPENDED" in desk.run("flag", desk.hub, TOWN, "--alias", one)[1]
    assert desk.run("suspend", desk.hub, TOWN, "--everybody", *WHY)[:2] == (
        0, f"{TOWN}: suspended everybody; 1 changed\n",
    )  # fmt: skip
    assert desk.run("suspend", desk.hub, TOWN, "--everybody", *WHY)[0] == 1
    with hub.open(desk.hub) as h:
        assert set(h.inquire(tax_inquiry("r2"), desk.mine, TOWN).status.tolist()) == {Status.SUSPENDED}
    assert desk.run("resume", desk.hub, TOWN, "--everybody", *WHY)[0] == 0
    with hub.open(desk.hub) as h:
        statuses = h.inquire(tax_inquiry("r3"), desk.mine, TOWN).status.tolist()
    assert statuses == [Status.SUSPENDED] * 2 + [Status.OK] * 3
    assert desk.run("resume", desk.hub, TOWN, "--aliases", desk.at("some.csv"), *WHY)[0] == 0
    audit = desk.run("audit", desk.hub)[1]
    assert (audit.count("SUSPENDED"), audit.count("RESUMED"), audit.count("identity in doubt")) == (3, 3, 6)


def test_an_empty_file_does_not_suspend_everybody(desk: Desk) -> None:
    Path(desk.at("none.csv")).write_text("alias\n")
    status, out, err = desk.run("suspend", desk.hub, TOWN, "--aliases", desk.at("none.csv"), *WHY)
    assert (status, out) == (2, "")
    assert err == "hub: --aliases: expected at least one alias, got none\n"


def test_another_institutions_alias_is_refused_and_not_repeated(desk: Desk) -> None:
    other = desk.mine[0].tobytes().hex()
    for command in (("suspend", *WHY), ("blast",)):
        status, out, err = desk.run(command[0], desk.hub, TOWN, "--alias", other, *command[1:])
        assert (status, out) == (2, "")
        assert other not in err


def test_a_blast_radius_is_printed_in_every_form(desk: Desk) -> None:
    one = desk.person(0)
    status, told, _ = desk.run("blast", desk.hub, TOWN, "--alias", "-", stdin=one + "\n")
    assert status == 0
    assert "2  records" in told
    assert "日本年金機構" in told
    found = json.loads(desk.run("blast", desk.hub, TOWN, "--alias", one, "--json")[1])
    assert (found["received"], found["receivers"], found["open"]) == (1, {"nenkin": 1}, 0)
    assert found["dealings"][0]["outcome"] == "PROVIDED"
    assert desk.run("blast", desk.hub, TOWN, "--alias", desk.person(3), "--out", desk.at("blast.csv"))[0] == 0
    with open(desk.at("blast.csv"), newline="", encoding="utf-8") as file:
        (row,) = csv.DictReader(file)
    assert (row["outcome"], row["payload"], row["open"]) == ("PENDING", "none", "1")
    text = desk.run("blast", desk.hub, TOWN, "--alias", one, "--markdown")[1]
    assert "answers that somebody received: 1" in text
    for alias in (*desk.mine, *desk.theirs, *desk.citizens):
        assert alias.tobytes().hex() not in text + json.dumps(found) + told


def test_where_nothing_was_done_the_command_says_so(desk: Desk) -> None:
    assert desk.run("blast", desk.hub, TOWN, "--alias", desk.person(0), "--until", "2020-01-01")[0] == 1
    assert desk.run("blast", desk.hub, TOWN, "--alias", desk.person(0), "--since", "tomorrow")[0] == 2


REPORT = ("--reason", "two of one name", "--clerk", "sato", "--second-clerk", "suzuki", "--since", "2020-01-01")


def test_a_wrong_link_is_tried_and_then_reported_once(desk: Desk) -> None:
    pair = f"{desk.person(0)}\n{desk.person(2)}\n"
    words = ("mislink", desk.hub, TOWN, "--wrong", "-", "--right", "-", *REPORT)
    status, out, err = desk.run(*words, "--draft", desk.at("try.md"), "--dry-run", stdin=pair)
    assert (status, err) == (0, "")
    assert "nothing was recorded" in out
    assert "2  notified" in out
    with hub.open(desk.hub) as h:
        records = h.stats()["records"]
    status, out, _ = desk.run(*words, "--draft", desk.at("report.md"), stdin=pair)
    assert status == 0
    assert "reported; id mislink-" in out
    assert stat.S_IMODE(Path(desk.at("report.md")).stat().st_mode) == 0o600
    assert "two of one name" in Path(desk.at("report.md")).read_text(encoding="utf-8")
    assert desk.run(*words, stdin=pair)[1].splitlines()[-1] == out.splitlines()[-1]
    with hub.open(desk.hub) as h:
        assert h.stats()["records"] == records + 4
    told = desk.run("history", desk.hub, "--alias", desk.citizens[0].tobytes().hex())[1]
    assert "had confused you with another person" in told
    assert "あなたのものではない情報" in told
    audit = desk.run("audit", desk.hub)[1]
    for word in ("MISLINK_RECORDED", "MISLINK_NOTIFIED", "MISLINK_DRAFTED", "sato, suzuki"):
        assert word in audit
    for alias in (*desk.mine, *desk.theirs, *desk.citizens):
        assert alias.tobytes().hex() not in out + told + audit + Path(desk.at("report.md")).read_text(encoding="utf-8")


def test_who_must_be_told_by_other_means_shows_in_the_exit_status(desk: Desk) -> None:
    with hub.open(desk.hub) as h:
        h.flag(TOWN, desk.theirs[2:3], hub.Flag.NO_SELF)
    words = ("mislink", desk.hub, TOWN, "--wrong", desk.person(0), "--right", desk.person(2), *REPORT)
    status, out, _ = desk.run(*words)
    assert status == 1
    assert "1  by other means" in out


def test_a_report_by_one_clerk_is_refused(desk: Desk) -> None:
    words = ("mislink", desk.hub, TOWN, "--wrong", desk.person(0), *REPORT[:4], "--second-clerk", "SATO")
    status, out, err = desk.run(*words)
    assert (status, out) == (2, "")
    assert "another clerk" in err
    words = ("mislink", desk.hub, TOWN, "--wrong", desk.person(0), *REPORT, "--known", "2026-11-01T10:00")
    assert desk.run(*words)[0] == 2
