"""``hub notify``, ``notices``, ``push``, ``arrived``, ``taken``, ``update`` on real folders and files."""

from __future__ import annotations

import base64
from pathlib import Path

import pytest

import hub
from hub.messages import Flag
from test_cli import CITY, CODES, OTHER_CITY, QUESTION, Desk, no_folder_variable, read
from test_push import CLASSES, RULES

__all__ = ["no_folder_variable"]

DATA = base64.b64encode(b"<birth/>").decode()


@pytest.fixture
def desk(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> Desk:
    found = Desk(tmp_path, capsys)
    found.portal = found.acquire("portal", CODES[:5])  # type: ignore[attr-defined]
    return found


def write(desk: Desk, name: str, header: str, rows: list[str]) -> Path:
    path = desk.folder / name
    path.write_text("".join(f"{row}\n" for row in (header, *rows)), encoding="utf-8")
    return path


def notify(desk: Desk, source: Path, *more: str | Path) -> tuple[int, str, str]:
    return desk.run(
        "notify", desk.hub, CITY, source, "--subject", "手当", "--section", "課", "--id", "n", "--out",
        desk.folder / "sent.csv", *more,
    )  # fmt: skip


def test_one_text_for_a_file_of_people_is_read_by_them(desk: Desk) -> None:
    text = desk.folder / "text.txt"
    text.write_text("一行目\n二行目", encoding="utf-8")
    # The first five read the portal.
    source = write(desk, "people.csv", "alias", [*desk.city[:6], "x", "0" * 32])
    status, out, _ = notify(desk, source, "--text", text)
    assert status == 1
    lines = read(desk.folder / "sent.csv")
    assert [line["status"] for line in lines] == ["OK"] * 5 + ["NO_ALIAS_AT_PROVIDER", "UNKNOWN_ALIAS"]
    assert [line["row"] for line in lines] == ["1", "2", "3", "4", "5", "6", "8"]
    assert "5  OK" in out
    assert "send it another way" in out
    assert [line["line"] for line in read(desk.folder / "people.rejected.csv")] == ["8"]
    status, out, _ = desk.run("notices", desk.hub, "--alias", desk.portal[0])
    assert status == 0
    assert "一行目\n  二行目" in out
    assert "課" in out
    status, out, _ = desk.run("history", desk.hub, "--alias", desk.portal[0])
    assert "wrote to" in out
    assert "outcome  sent" in out
    # Given again it records nothing.
    with hub.open(desk.hub) as h:
        before = h.stats()["records"]
    assert notify(desk, source, "--text", text)[0] == 1
    with hub.open(desk.hub) as h:
        assert h.stats()["records"] == before
    status, _, err = notify(desk, source, "--text", source)
    assert (status, err.startswith("hub: request_id: expected what it was first used with")) == (2, True)


def test_each_gets_a_text_of_their_own(desk: Desk) -> None:
    source = write(desk, "letters.csv", "alias,text", [f"{desk.city[0]},一", f"{desk.city[1]},", f"{desk.city[2]},三"])
    status, _, _ = notify(desk, source)
    assert status == 1
    assert [line["cause"][:5] for line in read(desk.folder / "letters.rejected.csv")] == ["text:"]
    assert "三" in desk.run("notices", desk.hub, "--alias", desk.portal[2])[1]
    assert desk.run("notices", desk.hub, "--alias", desk.portal[1])[0] == 1


@pytest.mark.parametrize("wrong", [("--id", ""), ("--id", "x" * 96), ("--subject", "")])
def test_wrong_words_are_refused(desk: Desk, wrong: tuple[str, str]) -> None:
    source = write(desk, "letters.csv", "alias,text", [f"{desk.city[0]},一"])
    status, _, err = notify(desk, source, *wrong)
    assert status == 2
    assert err.startswith("hub: ")
    assert not (desk.folder / "sent.csv").exists()


def with_rules(desk: Desk) -> None:
    with hub.open(desk.hub) as h:
        h.load_catalog(h.catalog.import_table(CLASSES.encode(), "classes").import_rules(RULES.encode()))


def push(desk: Desk, source: Path, *more: str) -> tuple[int, str, str]:
    return desk.run(
        "push", desk.hub, CITY, source, "--procedure", "own/1/1", "--item", "出生", "--role", "本人", "--event", "出生",
        "--section", "市民課", "--id", "p", "--out", desk.folder / "sent.csv", *more,
    )  # fmt: skip


def test_a_push_goes_from_a_file_into_a_file_and_is_taken(desk: Desk) -> None:
    with_rules(desk)
    rows = [f"{desk.city[0]},nenkin,{DATA}", f"{desk.city[1]},{OTHER_CITY},", f"{desk.city[2]},portal,", "x,nenkin,",
            f"{desk.city[3]},nowhere,", f"{desk.city[4]},nenkin,?"]  # fmt: skip
    status, out, _ = push(desk, write(desk, "births.csv", "alias,receiver,payload", rows))
    assert status == 1
    sent = [(line["row"], line["status"], line["reason"]) for line in read(desk.folder / "sent.csv")]
    assert sent == [("1", "OK", "NONE"), ("2", "OK", "NONE"), ("3", "DENIED", "REQUESTER")]
    assert "1  DENIED" in out
    causes = [line["cause"].split(":")[0] for line in read(desk.folder / "births.rejected.csv")]
    assert causes == ["alias", "receiver", "payload"]
    arrived = desk.folder / "arrived.csv"
    status, out, _ = desk.run("arrived", desk.hub, "nenkin", "--out", arrived)
    assert (status, "1 arrivals" in out, "--after" in out) == (0, True, True)
    (line,) = read(arrived)
    assert (line["alias"], line["payload"], line["kind"], line["sender"]) == (desk.aliases[0], DATA, "PUSH", CITY)
    assert (line["event"], line["items"], line["corrects"]) == ("出生", "出生", "")
    # Nobody there knows the second person.
    assert desk.run("arrived", desk.hub, OTHER_CITY, "--out", desk.folder / "other.csv")[0] == 1
    assert "sent" in desk.run("history", desk.hub, "--alias", desk.portal[0])[1]
    with arrived.open("a", encoding="utf-8") as file:
        file.write("0123456789abcdef" + "," * 15 + "\n" + "y" + "," * 15 + "\n")
    status, out, _ = desk.run("taken", desk.hub, "nenkin", arrived)
    assert (status, "1 arrivals of nenkin are taken" in out) == (1, True)
    assert [line["line"] for line in read(desk.folder / "arrived.rejected.csv")] == ["3", "4"]
    assert desk.run("taken", desk.hub, "nenkin", arrived)[0] == 1
    assert desk.run("arrived", desk.hub, "nenkin", "--out", desk.folder / "again.csv")[0] == 1
    out = desk.run("history", desk.hub, "--alias", desk.portal[0])[1]
    assert "日本年金機構 took what 東京都千代田区 had sent" in out
    assert "outcome  taken" in out


def test_arrivals_go_in_pages_and_by_parquet(desk: Desk) -> None:
    with_rules(desk)
    push(desk, write(desk, "births.csv", "alias,receiver", [f"{alias},nenkin" for alias in desk.city[:5]]))
    first, rest = desk.folder / "first.csv", desk.folder / "rest.parquet"
    _, out, _ = desk.run("arrived", desk.hub, "nenkin", "--out", first, "--limit", "2")
    cursor = out.split("--after ")[1].strip()
    assert desk.run("arrived", desk.hub, "nenkin", "--out", rest, "--after", cursor)[1].startswith(f"{rest}: 3 ")
    assert desk.run("taken", desk.hub, "nenkin", rest)[0] == 0
    assert len(read(first)) == 2
    _, out, _ = desk.run("arrived", desk.hub, "nenkin", "--out", first)
    assert "2 arrivals" in out
    assert desk.run("arrived", desk.hub, "nenkin", "--out", first, "--limit", "0")[0] == 2
    assert desk.run("arrived", desk.hub, "nenkin", "--out", first, "--after", "ab")[0] == 2


def test_a_person_of_whom_a_clerk_must_decide_is_pushed_when_confirmed(desk: Desk) -> None:
    with_rules(desk)
    with hub.open(desk.hub) as h:
        h.flag(CITY, h.acquire(CITY, CODES[:1]).aliases, Flag.MANUAL)
    source = write(desk, "births.csv", "alias,receiver", [f"{desk.city[0]},nenkin"])
    status, out, _ = push(desk, source)
    assert (status, "--confirmed" in out) == (1, True)
    assert push(desk, source, "--id", "q", "--confirmed")[0] == 2
    assert push(desk, source, "--id", "q", "--confirmed", "--operator", "sato")[0] == 0


def test_an_update_reaches_who_received_it(desk: Desk) -> None:
    assert desk.inquire(desk.ask([f"{alias},{CITY}" for alias in desk.aliases[:3]]))[0] == 0
    permits = desk.folder / "permits.csv"
    desk.run("collect", desk.hub, CITY, "--out", permits)
    numbers = [line["permit"] for line in read(permits)]
    provided = write(desk, "provided.csv", "permit,outcome,payload", [f"{one},PROVIDED,{DATA}" for one in numbers[:2]])
    assert desk.run("provide", desk.hub, CITY, provided)[0] == 0
    rows = [f"{one},{DATA}" for one in numbers]
    options = ("--section", "税務課", "--out", desk.folder / "sent.csv")
    status, out, _ = desk.run(
        "update", desk.hub, CITY, write(desk, "fix.csv", "permit,payload", rows), "--id", "u", *options
    )  # fmt: skip
    assert (status, "2  OK" in out) == (1, True)
    assert [line["line"] for line in read(desk.folder / "fix.rejected.csv")] == ["4"]
    source = write(desk, "fixes.csv", "alias,payload", [f"{alias},{DATA}" for alias in desk.city[:4]])
    status, out, _ = desk.run(
        "update", desk.hub, CITY, source, "--id", "v", "--item", "地方税", "--reason", "誤記", *options
    )
    assert (status, "2  OK" in out, "2  NO_RECORD" in out) == (1, True, True)
    arrived = desk.folder / "arrived.csv"
    desk.run("arrived", desk.hub, "nenkin", "--out", arrived)
    lines = read(arrived)
    assert {line["kind"] for line in lines} == {"UPDATE"}
    assert sorted(line["event"] for line in lines) == ["", "", "誤記", "誤記"]
    assert all(len(line["corrects"]) == 36 for line in lines)
    assert QUESTION
