"""``hub holders``, and ``hub inquire`` on files whose rows name classes."""

from __future__ import annotations

from pathlib import Path

import pytest

import hub
from hub.limits import HOLDER_FACTS_MAX
from test_cli import CITY, CODES, OTHER_CITY, PREFECTURE, QUESTION, Desk, no_folder_variable, read

__all__ = ["no_folder_variable"]

MAYORS = "市町村長"
HEADER = "code,class,institution,from,to"


@pytest.fixture
def desk(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> Desk:
    return Desk(tmp_path, capsys)


def facts(desk: Desk, rows: list[str], encoding: str = "utf-8") -> Path:
    path = desk.folder / "facts.csv"
    path.write_text("".join(f"{row}\n" for row in (HEADER, *rows)), encoding=encoding)
    return path


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "cp932"])
def test_rows_that_name_a_class_go_to_whom_the_file_of_holders_says(desk: Desk, encoding: str) -> None:
    rows = [f"{CODES[0]},{MAYORS},{CITY},2020-04-01,", f"{CODES[45]},{MAYORS},{OTHER_CITY},2020/4/1,2100-01-01"]
    rows += [f"{CODES[1]},{MAYORS},{city},2020-04-01," for city in (CITY, OTHER_CITY)]
    rows.append("99999999999,市町村長,131016,2020-04-01,")
    status, out, _ = desk.run("holders", desk.hub, facts(desk, rows, encoding), "--clerk", "sato")
    assert status == 0
    assert [line.split()[0] for line in out.splitlines()] == ["4", "1"]
    asked = [f"{desk.aliases[person]},{MAYORS}" for person in (0, 45, 1, 2)]
    status, out, _ = desk.inquire(desk.ask([*asked, f"{desk.aliases[3]},{CITY}"], encoding=encoding))
    assert status == 0
    lines = read(desk.folder / "answers.csv")
    assert [line["status"] for line in lines] == ["OK", "OK", "MULTIPLE", "NO_ALIAS_AT_PROVIDER", "OK"]
    assert [line["provider"] for line in lines] == [MAYORS] * 4 + [CITY]
    several = read(desk.folder / "answers.holders.csv")
    assert [(line["row"], line["institution"]) for line in several] == [("3", CITY), ("3", OTHER_CITY)]
    assert "1 rows with several holders" in out
    assert [record.provider for record in desk.records_of(CODES[0])] == [CITY]
    # Again it is the same; a result without such rows has no list beside it.
    assert desk.inquire(desk.folder / "ask.csv")[0] == 0
    assert read(desk.folder / "answers.holders.csv") == several
    assert desk.inquire(desk.ask([asked[0]], encoding=encoding), "other")[0] == 0
    assert not (desk.folder / "answers.holders.csv").exists()


@pytest.mark.parametrize("provider", [MAYORS, CITY])
def test_one_provider_may_be_named_for_a_whole_file(desk: Desk, provider: str) -> None:
    desk.run("holders", desk.hub, facts(desk, [f"{CODES[0]},{MAYORS},{CITY},2020-04-01,"]))
    source = desk.folder / "ask.csv"
    source.write_text("alias,case\n" + "".join(f"{desk.aliases[person]},c\n" for person in (0, 45)))
    assert desk.inquire(source, "tax", "--provider", provider)[0] == 0
    lines = read(desk.folder / "answers.csv")
    assert [line["status"] for line in lines] == ["OK", "NO_ALIAS_AT_PROVIDER"]
    assert {line["provider"] for line in lines} == {provider}
    assert desk.run("inquire", desk.hub, source, "--check", "--provider", provider, *QUESTION)[0] == 0
    # The id stands for this question: with another provider it is another.
    assert desk.inquire(source, "tax", "--provider", OTHER_CITY)[0] == 2
    assert desk.inquire(source, "tax", "--provider", provider)[0] == 0
    assert desk.inquire(source, "other", "--provider", "nobody")[0] == 2
    assert desk.inquire(source, "other")[0] == 2
    assert desk.inquire(desk.ask([f"{desk.aliases[0]},{CITY}"]), "other", "--provider", CITY)[0] == 2


def test_lines_of_the_wrong_shape_are_left_out_and_listed(desk: Desk) -> None:
    good = f"{CODES[0]},{MAYORS},{CITY},2020-04-01,"
    bad = [
        (f"1,{MAYORS},{CITY},2020-04-01,", "code"),
        (f"{CODES[0]},市長,{CITY},2020-04-01,", "class"),
        (f"{CODES[0]},{MAYORS},nobody,2020-04-01,", "institution"),
        (f"{CODES[0]},{MAYORS},{PREFECTURE},2020-04-01,", "institution"),
        (f"{CODES[0]},{MAYORS},{CITY},,", "from"),
        (f"{CODES[0]},{MAYORS},{CITY},2020-02-30,", "from"),
        (f"{CODES[0]},{MAYORS},{CITY},2020-04-01,x", "to"),
        (f"{CODES[0]},{MAYORS},{CITY},2020-04-01,2020-04-01T00", "to"),
        (f"{CODES[0]},{MAYORS},{CITY},2020-04-01,2020-03-30", "to"),
        (f"{CODES[0]},{MAYORS},{CITY}", "wrong number"),
    ]
    status, out, _ = desk.run("holders", desk.hub, facts(desk, [good, *(row for row, _ in bad)]))
    assert status == 1
    assert "10 lines rejected" in out
    lines = read(desk.folder / "facts.rejected.csv")
    assert [int(line["line"]) for line in lines] == list(range(3, 13))
    for line, (_, word) in zip(lines, bad, strict=True):
        assert line["cause"].startswith(word)
    # The day before the first takes a fact back.
    back = f"{CODES[0]},{MAYORS},{CITY},2020-04-01,2020-03-31"
    assert desk.run("holders", desk.hub, facts(desk, [back]))[0] == 0
    assert not (desk.folder / "facts.rejected.csv").exists()
    with hub.open(desk.hub, readonly=True) as h, h._store.snapshot() as snapshot:
        assert len(snapshot.items("holders", b"")) == 1


def test_people_with_too_many_facts_are_counted(desk: Desk) -> None:
    days = [f"2020-{1 + number // 28:02}-{1 + number % 28:02}" for number in range(HOLDER_FACTS_MAX + 1)]
    rows = [f"{CODES[0]},{MAYORS},{CITY},{day}," for day in days]
    assert desk.run("holders", desk.hub, facts(desk, rows[:-1]))[0] == 0
    status, out, _ = desk.run("holders", desk.hub, facts(desk, rows[-1:]))
    assert status == 1
    assert "too many others" in out


def test_a_file_without_the_columns_changes_nothing(desk: Desk) -> None:
    path = desk.folder / "facts.csv"
    path.write_text("code,class\n")
    status, _, err = desk.run("holders", desk.hub, path)
    assert status == 2
    assert "code,class,institution,from,to" in err


def test_a_check_judges_rows_that_name_classes(desk: Desk) -> None:
    rows = [f"{desk.aliases[0]},{MAYORS}", f"{desk.aliases[1]},都道府県知事", f"{desk.aliases[1]},市長"]
    status, out, _ = desk.run("inquire", desk.hub, desk.ask(rows), "--check", *QUESTION)
    assert status == 1
    assert sorted(line.split()[1] for line in out.splitlines()[1:3]) == ["DENIED", "OK"]
    assert "1 lines would be rejected" in out

