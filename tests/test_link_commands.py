"""The commands by which links are claimed, compared, confirmed, replaced and looked through, on real folders."""

from __future__ import annotations

import csv
from pathlib import Path

import pytest

import hub
from hub.cli import main
from hub.mislinks.attributes import Attributes
from townsfolk import make_people, spelled_otherwise

CITY = "131016"
N = 60
CODES = [f"{70_000_000_000 + row:011}" for row in range(N)]
PEOPLE = make_people(N)
HEADER = ["name", "kana", "address", "sex", "birth"]

Run = tuple[int, str, str]


def texts(one: Attributes) -> list[str]:
    return [one.name, one.kana or "", one.address, one.sex, str(one.birth)]


class Desk:
    """A folder with a hub, the register body's key and its register of 60 people."""

    def __init__(self, folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
        self.folder, self.capsys = folder, capsys
        self.hub = str(folder / "linkage")
        assert self.run("init", self.hub)[0] == 0
        status, out, _ = self.run("key", "new", self.at("jlis.key"))
        assert status == 0
        assert self.run("key", "register", self.hub, "jlis", out.strip())[0] == 0
        rows = [[code, *texts(spelled_otherwise(one))] for code, one in zip(CODES, PEOPLE, strict=True)]
        self.write("register.csv", ["code", *HEADER], rows)

    def at(self, name: str) -> str:
        return str(self.folder / name)

    def run(self, *words: str) -> Run:
        """One command: its status, output and errors."""
        self.capsys.readouterr()
        status = main(list(words))
        out, err = self.capsys.readouterr()
        return status, out, err

    def write(self, name: str, header: list[str], rows: list[list[str]], encoding: str = "utf-8") -> None:
        text = "".join(",".join(row) + "\n" for row in (header, *rows))
        Path(self.at(name)).write_bytes(text.encode(encoding))

    def read(self, name: str) -> list[list[str]]:
        """The rows of a result without its header."""
        with open(self.at(name), newline="", encoding="utf-8") as file:
            return list(csv.reader(file))[1:]

    def draw(self, n: int) -> list[str]:
        assert self.run("tickets", self.hub, CITY, str(n), "--out", self.at("tickets.csv"))[0] == 0
        return [row[1] for row in self.read("tickets.csv")]

    def claim(self, tickets: list[str], people: list[Attributes]) -> Run:
        rows = [[ticket, *texts(one)] for ticket, one in zip(tickets, people, strict=True)]
        self.write("claims.csv", ["ticket", *HEADER], rows)
        return self.run("claim", self.hub, CITY, self.at("claims.csv"), "--clerk", "sato")

    def compare(self, tickets: list[str], codes: list[str]) -> Run:
        self.write("delivery.csv", ["ticket", "code"], [list(row) for row in zip(tickets, codes, strict=True)])
        return self.run(
            "compare-links", self.hub, self.at("delivery.csv"), self.at("register.csv"), self.at("jlis.key"),
            "--out", self.at("findings.csv"),
        )  # fmt: skip


@pytest.fixture
def desk(tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Desk:
    monkeypatch.delenv("HUB_FOLDER", raising=False)
    return Desk(tmp_path, capsys)


def test_what_matches_is_delivered_without_a_word(desk: Desk) -> None:
    tickets = desk.draw(N)
    assert desk.claim(tickets, PEOPLE)[:2] == (0, f"60 tickets of {CITY} claimed\n")
    status, told, _ = desk.compare(tickets, CODES)
    assert (status, told) == (0, "60 tickets delivered, 0 of them held\n")
    assert desk.read("findings.csv") == []
    status, _, _ = desk.run("acquired", desk.hub, CITY, desk.at("tickets.csv"), "--out", desk.at("aliases.csv"))
    assert status == 0
    assert {row[2] for row in desk.read("aliases.csv")} == {"CREATED"}


def test_shifted_rows_are_held_confirmed_or_dropped(desk: Desk) -> None:
    tickets = desk.draw(N)
    desk.claim(tickets, PEOPLE)
    shifted = [*CODES[:20], *CODES[21:41], *CODES[40:]]
    status, told, _ = desk.compare(tickets, shifted)
    assert status == 1
    assert "60 tickets delivered, 20 of them held" in told
    assert "20  SHIFTED" in told
    found = desk.read("findings.csv")
    assert [int(row[0]) for row in found] == list(range(21, 41))
    assert {(row[2], row[3]) for row in found} == {("SHIFTED", "-1")}
    text = Path(desk.at("findings.csv")).read_text(encoding="utf-8") + told
    assert not any(word in text for one in PEOPLE for word in (one.name, one.address, str(one.birth)))

    desk.run("acquired", desk.hub, CITY, desk.at("tickets.csv"), "--out", desk.at("aliases.csv"))
    held = [tickets[int(row[0]) - 1] for row in desk.read("aliases.csv") if row[2] == "HELD"]
    assert len(held) == 20
    why = {int(row[0]): row[3] for row in desk.read("aliases.csv")}
    assert [why[row] for row in sorted(why) if row not in range(21, 41)] == [""] * 40
    assert {row: why[row] for row in range(21, 41)} == {int(row[0]): row[1] for row in found}
    desk.write("held.csv", ["ticket"], [[ticket] for ticket in held[:1]])
    words = "confirm-links", desk.hub, CITY, desk.at("held.csv"), "--reason", "戸籍", "--out", desk.at("one.csv")
    status, _, err = desk.run(*words, "--clerk", "Sato")
    assert (status, "another than the one who claimed" in err) == (2, True)
    assert desk.run(*words, "--clerk", "suzuki")[0] == 0
    assert desk.read("one.csv")[0][2] in ("CREATED", "ALREADY")


def test_wrong_links_are_replaced_from_a_file(desk: Desk) -> None:
    desk.write("wrong.csv", ["code"], [[code] for code in CODES[1:11]])
    desk.run("acquire", desk.hub, CITY, desk.at("wrong.csv"), "--out", desk.at("before.csv"))
    wrong = [row[1] for row in desk.read("before.csv")]
    tickets = desk.draw(10)
    desk.claim(tickets, PEOPLE[:10])
    assert desk.compare(tickets, CODES[:10])[0] == 0
    desk.write("links.csv", ["ticket", "alias"], [list(row) for row in zip(tickets, wrong, strict=True)])
    words = (
        "replace-links", desk.hub, CITY, desk.at("links.csv"), "--clerk", "suzuki", "--reason", "行ずれ",
        "--out", desk.at("after.csv"),
    )  # fmt: skip
    for _ in range(2):
        status, told, _ = desk.run(*words)
        assert (status, told.split()) == (0, ["10", "CREATED"])
        after = [row[1] for row in desk.read("after.csv")]
        assert not set(after) & set(wrong)
    with hub.open(desk.hub, readonly=True) as h:
        assert h.stats()["aliases"][CITY] == 10
        assert h.verify().ok
    desk.write("links.csv", ["ticket", "alias"], [[tickets[0], "00" * 16]])
    status, _, err = desk.run(*words)
    assert status == 2
    assert "aliases: expected this institution's own in use" in err


def test_an_alias_that_is_right_elsewhere_is_kept(desk: Desk) -> None:
    desk.write("wrong.csv", ["code"], [CODES[1:2]])
    desk.run("acquire", desk.hub, CITY, desk.at("wrong.csv"), "--out", desk.at("before.csv"))
    wrong = desk.read("before.csv")[0][1]
    tickets = desk.draw(1)
    desk.write("delivery.csv", ["ticket", "code"], [[tickets[0], CODES[0]]])
    assert desk.run("deliver", desk.hub, desk.at("delivery.csv"))[0] == 0
    desk.write("links.csv", ["ticket", "alias"], [[tickets[0], wrong]])
    status, _, _ = desk.run(
        "replace-links", desk.hub, CITY, desk.at("links.csv"), "--clerk", "suzuki", "--reason", "家族", "--keep-old",
        "--out", desk.at("after.csv"),
    )  # fmt: skip
    assert status == 0
    desk.run("acquire", desk.hub, CITY, desk.at("wrong.csv"), "--out", desk.at("again.csv"))
    assert desk.read("again.csv")[0][1:] == [wrong, "ALREADY"]


def test_codes_that_the_register_does_not_have_are_rejected(desk: Desk) -> None:
    tickets = desk.draw(3)
    desk.claim(tickets, PEOPLE[:3])
    status, told, _ = desk.compare(tickets, [CODES[0], "00000000001", CODES[2]])
    assert status == 1
    assert "2 tickets delivered, 0 of them held" in told
    assert desk.read("delivery.rejected.csv") == [["3", "code: expected one of the register"]]


def test_claims_without_a_key_or_of_the_wrong_shape_are_refused(desk: Desk) -> None:
    tickets = desk.draw(2)
    long = Attributes(name="x" * 201, address="", sex="", birth="")
    status, told, _ = desk.claim(tickets, [PEOPLE[0], long])
    assert status == 1
    assert f"1 tickets of {CITY} claimed" in told
    cause = "name, kana, address, sex, birth or id: expected text of at most 200 characters"
    assert desk.read("claims.rejected.csv") == [["3", cause]]
    assert desk.run("key", "remove", desk.hub, "jlis", "--clerk", "x")[0] == 0
    status, _, err = desk.claim(tickets[:1], PEOPLE[:1])
    assert status == 2
    assert "a register body that has registered a key" in err


def test_a_plain_delivery_of_what_was_claimed_is_refused(desk: Desk) -> None:
    tickets = desk.draw(1)
    desk.claim(tickets, PEOPLE[:1])
    desk.write("delivery.csv", ["ticket", "code"], [[tickets[0], CODES[0]]])
    status, _, err = desk.run("deliver", desk.hub, desk.at("delivery.csv"))
    assert status == 2
    assert "with a claim to be compared" in err


def test_attributes_can_be_required(desk: Desk) -> None:
    tickets = desk.draw(1)
    assert desk.run("require-claims", desk.hub, CITY, "on", "--clerk", "sato")[0] == 0
    desk.write("delivery.csv", ["ticket", "code"], [[tickets[0], CODES[0]]])
    status, _, err = desk.run("deliver", desk.hub, desk.at("delivery.csv"))
    assert (status, "must send one" in err) == (2, True)
    assert desk.run("require-claims", desk.hub, CITY, "off", "--clerk", "sato")[0] == 0
    assert desk.run("deliver", desk.hub, desk.at("delivery.csv"))[0] == 0
    assert desk.run("require-claims", desk.hub, CITY, "perhaps", "--clerk", "sato")[0] == 2


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig"])
def test_a_file_is_looked_through_for_wrong_links(desk: Desk, encoding: str) -> None:
    register = [spelled_otherwise(one) for one in PEOPLE]
    linked = [*register[:10], *register[11:31], *register[30:]]
    header = ["id", "alias", *HEADER, *(f"registered_{name}" for name in HEADER)]
    aliases = [f"{row:032x}" for row in range(N)]
    aliases[50] = aliases[51]
    rows = [
        [f"id{row}", aliases[row], *texts(one), *texts(other)]
        for row, (one, other) in enumerate(zip(PEOPLE, linked, strict=True))
    ]
    desk.write("linked.csv", header, rows, encoding)
    status, told, _ = desk.run("detect-mislinks", desk.at("linked.csv"), "--out", desk.at("findings.csv"))
    assert status == 1
    assert "22 findings in 60 rows" in told
    assert "rows 11 to 30: each the person -1 rows further" in told
    found = desk.read("findings.csv")
    assert [int(row[0]) for row in found] == [*range(11, 31), 51, 52]
    assert [row[2] for row in found[-2:]] == ["TWO_IDS"] * 2
    desk.write("linked.csv", header[2:], [[*texts(one), *texts(one)] for one in PEOPLE], encoding)
    status, told, _ = desk.run("detect-mislinks", desk.at("linked.csv"), "--out", desk.at("findings.csv"))
    assert (status, desk.read("findings.csv")) == (0, [])
    assert "0 findings in 60 rows" in told


def test_a_citizen_reads_of_a_replaced_link_in_plain_words(desk: Desk) -> None:
    desk.write("two.csv", ["code"], [[code] for code in CODES[:2]])
    desk.run("acquire", desk.hub, CITY, desk.at("two.csv"), "--out", desk.at("before.csv"))
    desk.run("acquire", desk.hub, "portal", desk.at("two.csv"), "--out", desk.at("citizens.csv"))
    tickets = desk.draw(1)
    desk.write("delivery.csv", ["ticket", "code"], [[tickets[0], CODES[0]]])
    desk.run("deliver", desk.hub, desk.at("delivery.csv"))
    desk.write("links.csv", ["ticket", "alias"], [[tickets[0], desk.read("before.csv")[1][1]]])
    desk.run(
        "replace-links", desk.hub, CITY, desk.at("links.csv"), "--clerk", "suzuki", "--reason", "行ずれ",
        "--out", desk.at("after.csv"),
    )  # fmt: skip
    for row, outcome in ((0, "rightly linked"), (1, "the link to you has ended")):
        status, told, _ = desk.run("history", desk.hub, "--alias", desk.read("citizens.csv")[row][1])
        assert status == 0
        assert "replaced a wrong link\n  about    機関別符号" in told
        assert "  for  " not in told
        assert "行ずれ" in told
        assert outcome in told
    status, told, _ = desk.run("audit", desk.hub)
    assert (status, "LINK_REPLACED" in told) == (0, True)


def test_every_command_says_what_it_does(desk: Desk) -> None:
    for name in ("claim", "compare-links", "confirm-links", "replace-links", "detect-mislinks", "require-claims"):
        with pytest.raises(SystemExit) as end:
            main([name, "--help"])
        assert end.value.code == 0
        told = desk.capsys.readouterr().out
        assert f"hub {name} " in told
        assert "Exit status: 0" in told
