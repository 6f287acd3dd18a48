"""The commands by which aliases are acquired with tickets, replaced and revoked, on real folders."""

from __future__ import annotations

import csv
import stat
from pathlib import Path

import pytest

import hub
from hub.cli import main
from hub.commands import aliases as commands
from hub.messages import Status

CITY = "131016"
CODES = [f"000{i:08d}" for i in range(50)]

Run = tuple[int, str, str]


class Desk:
    """A folder with a hub in which the agency knows 50 people."""

    def __init__(self, folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
        self.folder, self.capsys = folder, capsys
        self.hub = str(folder / "linkage")
        assert self.run("init", self.hub)[0] == 0
        self.write("codes.csv", ["code"], [[code] for code in CODES])
        assert self.run("acquire", self.hub, "nenkin", self.at("codes.csv"), "--out", self.at("mine.csv"))[0] == 0
        self.mine = [row[1] for row in self.read("mine.csv")]

    def at(self, name: str) -> str:
        return str(self.folder / name)

    def run(self, *words: str) -> Run:
        """One command: its status, output and errors."""
        self.capsys.readouterr()
        status = main(list(words))
        out, err = self.capsys.readouterr()
        return status, out, err

    def write(self, name: str, header: list[str], rows: list[list[str]]) -> None:
        text = "".join(",".join(row) + "\n" for row in (header, *rows))
        Path(self.at(name)).write_text(text, encoding="utf-8")

    def read(self, name: str) -> list[list[str]]:
        """The rows of a result without its header."""
        with open(self.at(name), newline="", encoding="utf-8") as file:
            return list(csv.reader(file))[1:]


@pytest.fixture
def desk(tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Desk:
    monkeypatch.delenv("HUB_FOLDER", raising=False)
    return Desk(tmp_path, capsys)


def test_three_files_acquire_aliases(desk: Desk) -> None:
    status, told, err = desk.run("tickets", desk.hub, CITY, "50", "--out", desk.at("tickets.csv"))
    assert (status, err) == (0, "")
    assert "50 tickets" in told
    assert stat.S_IMODE(Path(desk.at("tickets.csv")).stat().st_mode) == 0o600
    drawn = desk.read("tickets.csv")
    assert [int(row) for row, _ in drawn] == list(range(1, 51))
    desk.write("delivery.csv", ["code", "ticket"], [[c, t] for c, (_, t) in zip(CODES[:40], drawn, strict=False)])
    assert desk.run("deliver", desk.hub, desk.at("delivery.csv")) == (0, "40 tickets delivered\n", "")
    words = ("acquired", desk.hub, CITY, desk.at("tickets.csv"), "--out", desk.at("theirs.csv"))
    status, told, _ = desk.run(*words)
    assert status == 1
    assert "50 rows" in told
    rows = desk.read("theirs.csv")
    assert [one[2] for one in rows] == ["CREATED"] * 40 + ["WAITING"] * 10
    desk.write("delivery.csv", ["ticket", "code"], [[t, c] for c, (_, t) in zip(CODES, drawn, strict=True)])
    assert desk.run("deliver", desk.hub, desk.at("delivery.csv"))[0] == 0
    status, told, _ = desk.run(*words, "--close")
    assert status == 0
    assert "50 tickets closed" in told
    theirs = [one[1] for one in desk.read("theirs.csv")]
    assert theirs[:40] == [one[1] for one in rows[:40]]
    with hub.open(desk.hub) as h:
        at_once = [alias.tobytes().hex() for alias in h.acquire(CITY, CODES).aliases]
    assert theirs == at_once
    assert desk.run(*words)[0] == 1
    assert {one[2] for one in desk.read("theirs.csv")} == {"NONE"}


@pytest.mark.parametrize("suffix", ["csv", "parquet", "arrow"])
def test_results_are_taken_as_they_are(desk: Desk, suffix: str) -> None:
    tickets, first, second = (desk.at(f"{name}.{suffix}") for name in ("tickets", "first", "second"))
    assert desk.run("tickets", desk.hub, CITY, "3", "--out", tickets)[0] == 0
    assert desk.run("acquired", desk.hub, CITY, tickets, "--out", first)[0] == 1
    assert desk.run("acquire", desk.hub, CITY, desk.at("codes.csv"), "--out", first)[0] == 0
    assert desk.run("reissue", desk.hub, CITY, first, "--out", second)[0] == 0
    assert desk.run("revoke", desk.hub, CITY, second)[0] == 0
    with hub.open(desk.hub, readonly=True) as h:
        assert h.stats()["aliases"][CITY] == 0


def test_a_result_that_cannot_be_written_closes_no_ticket(desk: Desk) -> None:
    desk.run("tickets", desk.hub, CITY, "2", "--out", desk.at("tickets.csv"))
    drawn = desk.read("tickets.csv")
    desk.write("delivery.csv", ["ticket", "code"], [[drawn[0][1], CODES[0]], [drawn[1][1], CODES[1]]])
    assert desk.run("deliver", desk.hub, desk.at("delivery.csv"))[0] == 0
    words = ("acquired", desk.hub, CITY, desk.at("tickets.csv"), "--close", "--out")
    assert desk.run(*words, desk.at("no folder/theirs.csv"))[0] == 2
    assert desk.run(*words, desk.at("theirs.csv"))[0] == 0
    assert [one[2] for one in desk.read("theirs.csv")] == ["CREATED"] * 2


def test_lines_of_the_wrong_shape_are_set_apart(desk: Desk) -> None:
    desk.run("tickets", desk.hub, CITY, "4", "--out", desk.at("tickets.csv"))
    tickets = [ticket for _, ticket in desk.read("tickets.csv")]
    rows = [[tickets[0], CODES[0]], [tickets[1][1:], CODES[1]], [tickets[2], "123"], [tickets[3], CODES[3]]]
    desk.write("delivery.csv", ["ticket", "code"], rows)
    status, told, _ = desk.run("deliver", desk.hub, desk.at("delivery.csv"))
    assert status == 1
    assert "2 tickets delivered" in told
    assert desk.read("delivery.rejected.csv") == [
        ["3", "ticket: expected 32 hex digits"], ["4", "code: expected 11 digits"]
    ]  # fmt: skip
    desk.write("old.csv", ["alias"], [[desk.mine[0]], ["nonsense"], [desk.mine[1]]])
    status, _, _ = desk.run("reissue", desk.hub, "nenkin", desk.at("old.csv"), "--out", desk.at("new.csv"))
    assert status == 1
    assert desk.read("old.rejected.csv") == [["3", "alias: expected 32 hex digits"]]
    assert [one[0] for one in desk.read("new.csv")] == ["1", "3"]


def test_a_delivery_of_an_unknown_ticket_is_refused_and_names_no_ticket(desk: Desk) -> None:
    desk.write("delivery.csv", ["ticket", "code"], [["ab" * 16, CODES[0]]])
    status, told, err = desk.run("deliver", desk.hub, desk.at("delivery.csv"))
    assert (status, told) == (2, "")
    assert err == "hub: tickets: expected ones that were drawn and have not lapsed, got another in row 0\n"


@pytest.mark.parametrize("rows", [7, 1_000])
def test_reissue_replaces_what_acquire_wrote_and_may_be_given_again(
    desk: Desk, monkeypatch: pytest.MonkeyPatch, rows: int
) -> None:
    monkeypatch.setattr(commands, "REISSUE_ROWS", rows)
    words = ("reissue", desk.hub, "nenkin", desk.at("mine.csv"), "--out", desk.at("new.csv"))
    status, told, err = desk.run(*words)
    assert (status, err) == (0, "")
    assert "50" in told
    made = desk.read("new.csv")
    assert [one[2] for one in made] == ["CREATED"] * 50
    assert not {one[1] for one in made} & set(desk.mine)
    assert desk.run(*words)[0] == 0
    again = desk.read("new.csv")
    assert [one[1:] for one in again] == [[one[1], "ALREADY"] for one in made]
    assert desk.run("verify", desk.hub)[0] == 0


def test_revoke_ends_aliases_and_says_how_many(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(commands, "REISSUE_ROWS", 7)
    desk.write("wrong.csv", ["alias"], [[alias] for alias in desk.mine[:20]])
    words = ("revoke", desk.hub, "nenkin", desk.at("wrong.csv"))
    status, told, _ = desk.run(*words)
    assert (status, told[:10]) == (0, "20 aliases")
    status, told, _ = desk.run(*words)
    assert (status, told[:9]) == (1, "0 aliases")
    assert "20 rows were unknown" in told
    with hub.open(desk.hub, readonly=True) as h:
        assert h.stats()["aliases"] == {"nenkin": 30}
        (alias,) = h.catalog.institutions("市町村長")[:1]
        own = hub.files.inquiries.decode_aliases(hub.files.columns.cells_of_texts(desk.mine))[0]
        found = h.resolve("nenkin", alias.code, own)
    assert found.status.tolist() == [Status.REVOKED] * 20 + [Status.NO_ALIAS_AT_PROVIDER] * 30


@pytest.mark.parametrize(
    "words",
    [
        ["tickets", "{hub}", "nobody", "3", "--out", "{folder}/o.csv"],
        ["tickets", "{hub}", "nenkin", "three", "--out", "{folder}/o.csv"],
        ["tickets", "{hub}", "nenkin", "0", "--out", "{folder}/o.csv"],
        ["tickets", "{hub}", "jlis", "3", "--out", "{folder}/o.csv"],
        ["deliver", "{hub}", "{folder}/none.csv"],
        ["deliver", "{hub}", "{folder}/codes.csv"],
        ["acquired", "{hub}", "nenkin", "{folder}/mine.csv", "--out", "{folder}/o.csv"],
        ["reissue", "{hub}", "nobody", "{folder}/mine.csv", "--out", "{folder}/o.csv"],
        ["reissue", "{hub}", "nenkin", "{folder}/mine.csv", "--out", "{folder}/mine.csv"],
        ["revoke", "{hub}", "nobody", "{folder}/mine.csv"],
    ],
)
def test_wrong_requests_end_with_2_and_change_nothing(desk: Desk, words: list[str]) -> None:
    status, told, err = desk.run(*(word.format(hub=desk.hub, folder=desk.folder) for word in words))
    assert (status, told) == (2, "")
    assert err.count("\n") == 1
    assert not Path(desk.at("o.csv")).exists()
    assert [row[1] for row in desk.read("mine.csv")] == desk.mine
    with hub.open(desk.hub) as h:
        assert h.acquire("nenkin", CODES).status.tolist() == [hub.Acquisition.ALREADY] * 50
