"""``hub agency``: the walk-through of docs/agency.md, and what each command says of bad input."""

from __future__ import annotations

import csv
from pathlib import Path

import pytest
from agency_desk import LAYOUT, csv_of, line, own_id, payload_of, register_of

import hub
import hub.agency
from hub.agency import files
from hub.cli import main
from hub.messages import Status
from inquiries import tax_inquiry
from parties import Parties

PERSONS = 6


class Place:
    """A folder with a hub in which nenkin has asked a town, and the town's files."""

    def __init__(self, folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
        self.folder, self._capsys = folder, capsys
        with Parties(folder / "linkage", persons=PERSONS) as parties:
            self.town, self.known, self.nenkin = parties.town, parties.known, parties.nenkin
        with hub.open(folder / "linkage") as h:
            aliases = [alias.tobytes().hex() for alias in self.known]
            rows = "".join(f"{own_id(person)},{alias}\n" for person, alias in enumerate(aliases))
            (folder / "links.csv").write_text("own_id,alias\n" + rows)
            (folder / "tax.toml").write_text(LAYOUT, encoding="utf-8")
            (folder / "register.csv").write_bytes(register_of(range(0, PERSONS, 2)))
            hub.agency.open(folder / "pension", institution="nenkin", create=True).close()
            with hub.agency.open(folder / "pension") as pension:
                pension.inquire(h, tax_inquiry("tax"), self.nenkin, self.town)

    def run(self, *words: str, status: int = 0) -> str:
        capture = self._capsys
        capture.readouterr()
        assert main(["agency", *words]) == status, capture.readouterr()
        out, err = capture.readouterr()
        for alias in (*self.known, *self.nenkin):
            assert alias.tobytes().hex() not in out + err
        return out + err

    def at(self, name: str) -> str:
        return str(self.folder / name)


@pytest.fixture
def place(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> Place:
    return Place(tmp_path, capsys)


def prepare(place: Place) -> None:
    place.run("init", place.at("town"), place.town)
    place.run("link", place.at("town"), place.at("links.csv"))


def test_a_day_at_an_institution(place: Place) -> None:
    assert place.town in place.run("init", place.at("town"), place.town)
    assert "6 linked, 0 stood already" in place.run("link", place.at("town"), place.at("links.csv"))
    assert "0 linked, 6 stood already" in place.run("link", place.at("town"), place.at("links.csv"))
    load = ("load", place.at("town"), "tax", place.at("register.csv"), "--id", "1", "--layout", place.at("tax.toml"))
    assert "3 rows in 1 chunks" in place.run(*load)
    assert "answered from already" in place.run(*load)
    assert "0 of 1 are flagged" in place.run("flag", place.at("town"), "--own-id", own_id(4), status=1)
    assert "1 of 1 changed" in place.run("flag", place.at("town"), "--own-id", own_id(4), "--on")
    assert "1 of 1 are flagged" in place.run("flag", place.at("town"), "--own-id", own_id(4))
    said = place.run("answer", place.at("town"), place.at("linkage"))
    assert said.split() == ["1", "MANUAL", "3", "NO_RECORD", "2", "PROVIDED"]
    with hub.open(place.at("linkage")) as h, hub.agency.open(place.at("pension")) as pension:
        answers = pension.answers(h, "tax")
        assert answers.payloads == [payload_of(0), None, payload_of(2), None, None, None]
        assert answers.status[4] == Status.PENDING
    assert "3 rows of load 1" in place.run("status", place.at("town"))
    place.run("records", place.at("town"), "--role", "provider", "--out", place.at("own.csv"))
    with open(place.at("own.csv")) as file:
        rows = list(csv.DictReader(file))
    assert sorted(row["outcome"] for row in rows) == ["MANUAL", *["NO_RECORD"] * 3, *["PROVIDED"] * 2]
    place.run("records", place.at("pension"), "--role", "requester", "--out", place.at("asked.csv"))
    with open(place.at("asked.csv")) as file:
        asked = list(csv.DictReader(file))
    assert [row["told"] for row in asked][:2] == ["PROVIDED", "NO_RECORD"]
    assert {row["provider"] for row in asked} == {place.town}
    compare = ("compare", place.at("linkage"), "--requester", place.at("pension"), "--provider", place.at("town"))
    assert "all copies agree" in place.run(*compare)
    assert "agree" in place.run("compare", place.at("linkage"), "--provider", place.at("town"))


def test_a_missing_line_is_named_by_compare(place: Place) -> None:
    prepare(place)
    place.run("load", place.at("town"), "tax", place.at("register.csv"), "--id", "1", "--layout", place.at("tax.toml"))
    place.run("answer", place.at("town"), place.at("linkage"))
    with hub.agency.open(place.at("town")) as agency, agency._store.commit() as commit:
        for kind in (b"\0", b"\1"):
            commit.delete("answered", (1).to_bytes(8, "big") + kind)
    said = place.run("compare", place.at("linkage"), "--provider", place.at("town"), status=1)
    assert said.count("provider: missing") == PERSONS
    assert "6 lines do not agree" in said
    place.run("compare", place.at("linkage"), status=2)


def test_doubles_are_named_by_their_lines(place: Place) -> None:
    prepare(place)
    text = Path(place.at("links.csv")).read_text().splitlines()
    swapped = [text[0], text[1].split(",")[0] + "," + text[2].split(",")[1]]
    Path(place.at("bad.csv")).write_text("\n".join(swapped) + "\n")
    assert "line 2: expected one alias" in place.run("link", place.at("town"), place.at("bad.csv"), status=2)
    assert "1 linked, 0 stood already, 1 gave way" in place.run(
        "link", place.at("town"), place.at("bad.csv"), "--replace"
    )
    Path(place.at("bad.csv")).write_text("own_id,alias\nx,zz\n")
    assert "line 2: expected an own id" in place.run("link", place.at("town"), place.at("bad.csv"), status=2)


def test_a_bad_line_is_named_by_its_line_in_the_file(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(files, "CHUNK_BYTES", 60)
    prepare(place)
    lines = [line(person) for person in range(8)]
    lines[6] = lines[6].replace("-02-03", "-02-30")
    Path(place.at("bad.csv")).write_bytes(csv_of(lines))
    load = ("load", place.at("town"), "tax", place.at("bad.csv"), "--id", "1", "--layout", place.at("tax.toml"))
    said = place.run(*load, status=2)
    assert "line 8 of the file" in said
    assert "column born: expected a date" in said
    place.run("status", place.at("town"), status=1)
    # The chunks in front are durable; the corrected file has the same and goes on behind them.
    Path(place.at("bad.csv")).write_bytes(csv_of([line(person) for person in range(8)]))
    assert "8 rows in" in place.run(*load)


def test_another_file_under_the_same_load_is_refused(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(files, "CHUNK_BYTES", 60)
    prepare(place)
    bad = csv_of([*[line(person) for person in range(5)], "x"])
    Path(place.at("bad.csv")).write_bytes(bad)
    load = ("load", place.at("town"), "tax", place.at("bad.csv"), "--id", "1", "--layout", place.at("tax.toml"))
    place.run(*load, status=2)
    Path(place.at("bad.csv")).write_bytes(csv_of([line(person) for person in range(1, 6)]))
    assert "expected what was sent before" in place.run(*load, status=2)
    place.run("load", place.at("town"), "tax", "--id", "1", "--abandon")
    assert "5 rows in" in place.run(*load)
    place.run("load", place.at("town"), "tax", "--id", "1", status=2)


def test_a_quoted_line_end_is_never_cut(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(files, "CHUNK_BYTES", 8)
    Path(place.at("q.csv")).write_bytes(b'a,b\n"x\ny\nz",1\nq,2\n')
    chunks = [(chunk.data, chunk.line) for chunk in files.read_chunks(Path(place.at("q.csv")))]
    assert chunks == [(b'a,b\n"x\ny\nz",1\n', 0), (b"a,b\nq,2\n", 3)]


def test_a_parquet_file_loads_the_same(place: Place) -> None:
    pyarrow = pytest.importorskip("pyarrow")
    parquet = pytest.importorskip("pyarrow.parquet")
    prepare(place)
    rows = [line(person).split(",") for person in range(PERSONS)]
    names = ["id", "born", "income", "sex", "rate"]
    columns = dict(zip(names, map(list, zip(*rows, strict=True)), strict=True))
    table = pyarrow.table({**columns, "income": [int(one) for one in columns["income"]]})
    parquet.write_table(table, place.at("register.parquet"))
    load = ("load", place.at("town"), "tax", place.at("register.parquet"), "--id", "1")
    place.run(*load, "--layout", place.at("tax.toml"))
    place.run("answer", place.at("town"), place.at("linkage"))
    with hub.open(place.at("linkage")) as h:
        assert h.answers("nenkin", "tax").payloads == [payload_of(person) for person in range(PERSONS)]


def test_permits_that_no_register_answers_are_counted(place: Place) -> None:
    prepare(place)
    assert "6 permits are left" in place.run("answer", place.at("town"), place.at("linkage"), status=1)
    assert place.run("answer", place.at("town"), place.at("linkage"), "--limit", "0", status=2)


@pytest.mark.parametrize(
    "words",
    [
        ("init", "town", "x" * 33), ("status", "nowhere"), ("link", "nowhere", "links.csv"),
        ("answer", "nowhere", "linkage"), ("records", "nowhere", "--role", "provider", "--out", "x.csv"),
    ],
)  # fmt: skip
def test_what_is_not_there_is_status_2(place: Place, words: tuple[str, ...]) -> None:
    place.run(words[0], place.at(words[1]), *words[2:], status=2)


def test_the_aliases_of_a_file_are_flagged(place: Place) -> None:
    prepare(place)
    aliases = "".join(f"{alias.tobytes().hex()}\n" for alias in place.known)
    Path(place.at("flag.csv")).write_text("alias\n" + aliases)
    assert "6 of 6 changed" in place.run("flag", place.at("town"), "--aliases", place.at("flag.csv"), "--on")
    assert "6  people of whom a clerk decides" in place.run("status", place.at("town"))
    assert "6 of 6 changed" in place.run("flag", place.at("town"), "--aliases", place.at("flag.csv"), "--off")
