"""``hub merge``, ``split``, ``undecided``, ``assign``, ``deaths``, ``alive``, ``closed``, ``succeed``."""

from __future__ import annotations

import io
from pathlib import Path

import numpy as np
import pytest

import hub
from hub.cli import main
from hub.messages import Acquisition, Kind
from inquiries import tax_inquiry

CODES = [f"{10**9 + number:011}" for number in range(4)]
CLERKS = ["--clerk", "sato", "--second-clerk", "suzuki", "--reason", "as the register says"]


class Desk:
    """A hub folder and the command line."""

    def __init__(self, folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
        self.folder, self._monkeypatch, self._capsys = folder, monkeypatch, capsys
        with hub.open(folder, create=True) as h:
            self.towns = [body.code for body in h.catalog.institutions("市町村長")[:3]]
            self.nenkin = h.acquire("nenkin", CODES).aliases
            self.town = h.acquire(self.towns[0], CODES).aliases
            self.portal = h.acquire("portal", CODES).aliases

    def run(self, *words: str, stdin: str = "") -> tuple[int, str]:
        self._monkeypatch.setattr("sys.stdin", io.StringIO(stdin))
        status = main(list(words))
        told = self._capsys.readouterr()
        return status, told.out + told.err

    def write(self, name: str, text: str) -> str:
        path = self.folder.parent / name
        path.write_text(text, encoding="utf-8")
        return str(path)


@pytest.fixture
def desk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Desk:
    return Desk(tmp_path / "hub", monkeypatch, capsys)


def test_two_are_merged_split_and_what_is_undecided_assigned(desk: Desk) -> None:
    folder, both = str(desk.folder), f"{CODES[0]}\n{CODES[1]}\n"
    assert desk.run("merge", folder, *CLERKS, stdin=both) == (0, "merged\n")
    with hub.open(desk.folder) as h:
        h.inquire(tax_inquiry("r1"), desk.nenkin[:1].copy(), desk.towns[0])
        assert len(h.disclosure_keys(desk.portal[0])) == 2
    assert desk.run("split", folder, *CLERKS, stdin=both) == (0, "split; 1 records undecided\n")
    status, text = desk.run("undecided", folder, stdin=f"{CODES[0]}\n")
    assert status == 0
    assert f"nenkin -> {desk.towns[0]}" in text
    handle = text.split()[0]
    assert desk.run("assign", folder, handle, *CLERKS, stdin=f"{CODES[1]}\n") == (0, "assigned\n")
    assert desk.run("undecided", folder, stdin=f"{CODES[0]}\n") == (1, "nothing found\n")
    with hub.open(desk.folder) as h:
        assert [one.kind for one in h.history(desk.portal[1]).records].count(Kind.INQUIRY) == 1
    status, text = desk.run("audit", folder)
    assert status == 0
    assert all(word in text.upper() for word in ("MERGED", "SPLIT", "ASSIGNED"))
    assert not any(code in text for code in CODES)


def test_what_is_wrong_is_told_in_a_line(desk: Desk) -> None:
    folder = str(desk.folder)
    for words, stdin, told in (
        (("merge", folder, *CLERKS), f"{CODES[0]}\n", "2 resident record codes"),
        (("split", folder, *CLERKS), f"{CODES[0]}\n{CODES[1]}\n", "was merged into"),
        (("assign", folder, "zz", *CLERKS), "", "hex digits"),
        (("succeed", folder, desk.towns[2], desk.towns[0]), "", "got fewer"),
        (("succeed",), "", "got 0"),
    ):
        status, text = desk.run(*words, stdin=stdin)
        assert (status, text.count("\n")) == (2, 1)
        assert told in text


def test_deaths_come_from_a_file_and_are_taken_back(desk: Desk) -> None:
    folder, town = str(desk.folder), desk.towns[0]
    lines = [f"{alias.tobytes().hex()},2020-01-0{row + 1},{'1940-05-06' if row else ''}"
             for row, alias in enumerate(desk.town[:3])]  # fmt: skip
    deaths = desk.write("deaths.csv", "alias,died,born\n" + "\n".join([*lines, "xx,2020-01-01,", f"{'0' * 32},no,"]))
    status, text = desk.run("deaths", folder, town, deaths, "--clerk", "sato")
    assert status == 1
    assert "3  deaths told" in text
    assert "2 lines rejected" in text
    status, text = desk.run("deaths", folder, town, deaths)
    assert "3  known before" in text
    out = str(desk.folder.parent / "closed.csv")
    status, text = desk.run("closed", folder, "--out", out)
    assert status == 0
    assert "3 aliases" in text
    assert set(Path(out).read_text().split()[1:]) == {alias.tobytes().hex() for alias in desk.portal[:3]}
    wrong = desk.write("wrong.csv", f"code,died\n{CODES[0]},2020-01-02\n")
    status, text = desk.run("deaths", folder, "jlis", wrong)
    assert (status, "correct it" in text) == (2, True)
    status, text = desk.run("deaths", folder, "jlis", wrong, "--correct", "--clerk", "a", "--second-clerk", "b")
    assert (status, "1  days corrected" in text) == (0, True)
    assert desk.run("alive", folder, "jlis", wrong, *CLERKS) == (0, "1 deaths taken back\n")
    assert desk.run("alive", folder, "jlis", wrong, *CLERKS) == (1, "0 deaths taken back\n")
    with hub.open(desk.folder) as h:
        none, already = Acquisition.NONE, Acquisition.ALREADY
        assert h.acquire("portal", CODES).status.tolist() == [already, none, none, already]
        assert h.verify().problems == ()


def test_a_body_succeeds_others(desk: Desk) -> None:
    folder, (old, other, new) = str(desk.folder), desk.towns
    assert desk.run("succeed", folder) == (1, "  none\n")
    words = ("succeed", folder, new, old, other, "--day", "2026-01-01", *CLERKS)
    assert desk.run(*words) == (0, f"{new} succeeds {old}, {other}\n")
    assert desk.run(*words)[0] == 0
    status, text = desk.run("succeed", folder)
    assert (status, text.count(new)) == (0, 2)
    with hub.open(desk.folder) as h:
        found = h.inquire(tax_inquiry("r1"), np.ascontiguousarray(desk.nenkin[:2]), new)
        assert found.status.tolist() == [0, 0]


def test_history_writes_a_disclosure_key_for_each_of_the_merged(desk: Desk) -> None:
    folder, both = str(desk.folder), f"{CODES[0]}\n{CODES[1]}\n"
    desk.run("merge", folder, *CLERKS, stdin=both)
    proofs = desk.folder.parent / "mine"
    alias = desk.portal[0].tobytes().hex()
    assert desk.run("history", folder, "--alias", "-", "--proofs", str(proofs), stdin=alias + "\n")[0] == 0
    assert {path.name for path in proofs.glob("*.key")} == {"log.key", "disclosure.key", "disclosure-1.key"}
    keys = [str(proofs / name) for name in ("disclosure.key", "disclosure-1.key")]
    checked = [
        desk.run("verify", str(path), "--key", str(proofs / "log.key"), "--disclosure-key", key)[0]
        for path in sorted(proofs.glob("*.tlog-proof"))
        for key in keys
    ]
    assert sorted(checked) == [0, 0, 1, 1]


def test_successions_are_listed_by_every_way_to_name_the_folder(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    entered = ("--day", "2026-04-01", *CLERKS)
    assert desk.run("succeed", str(desk.folder), "131024", "131032", *entered)[0] == 0
    for words in ((str(desk.folder),), ("--folder", str(desk.folder))):
        assert desk.run("succeed", *words) == (0, "  131032  by  131024  from  2026-04-01\n")
    assert desk.run("succeed")[0] == 2
    monkeypatch.setenv("HUB_FOLDER", str(str(desk.folder)))
    assert desk.run("succeed") == (0, "  131032  by  131024  from  2026-04-01\n")
    assert desk.run("succeed", "131024", "131041", *entered)[0] == 0
    assert len(desk.run("succeed")[1].splitlines()) == 2
