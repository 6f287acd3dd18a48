"""The same command lines on a folder and at an address: status, output, errors and files are the same."""

from __future__ import annotations

import base64
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from desks import CITY, OTHER_CITY, QUESTION, Desk, World, two_desks
from served import Network

from commandlist import commands_of
from hub.cli import main, make_parser
from hub.desk.book import REQUEST_ID, Book, Line, State
from hub.mislinks.attributes import Attributes
from townsfolk import make_people, spelled_otherwise

CLERKS = ["--clerk", "sato", "--second-clerk", "suzuki", "--reason", "as the register says"]
DATA = base64.b64encode(b"<tax/>").decode()
MAYORS = "市町村長"


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> World:
    return World(tmp_path_factory.mktemp("world"))


@pytest.fixture
def desks(
    world: World, network: Network, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: Any
) -> Iterator[tuple[Desk, Desk]]:
    monkeypatch.delenv("HUB_FOLDER", raising=False)
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path))
    with two_desks(world, network, tmp_path, monkeypatch, capsys) as both:
        yield both


# -- what is typed


def ask(desk: Desk, persons: range, request_id: str, *more: str) -> None:
    rows = [f"{desk.w.nenkin[person]},{CITY}" for person in persons]
    desk.write("ask.csv", "alias,provider", *rows)
    words = ["--section", "年金課", "--id", request_id, "--out", "answers.csv", *more]
    desk.run("inquire", "HUB", "ask.csv", "--requester", "nenkin", *QUESTION, *words)


def play_the_law(desk: Desk) -> None:
    desk.run("catalog", "search", "--folder", "HUB", "納付", "--requester", "nenkin")
    desk.run("catalog", "show", "19-8/73/75.3", "--folder", "HUB")
    desk.run("catalog", "check", "--folder", "HUB")
    desk.run("catalog", "list", "classes", "--folder", "HUB", "--out", "classes.csv")


def play_inquiries(desk: Desk) -> None:
    w = desk.w
    rows = [f"{alias},{CITY}" for alias in w.nenkin]
    desk.write("ask.csv", "alias,provider", *rows, f"{'0' * 32},{CITY}", f"x,{CITY}", f"{w.nenkin[0]},nowhere")
    question = ["ask.csv", "--requester", "nenkin", *QUESTION]
    desk.run("inquire", "HUB", *question, "--check")
    sent = ["--section", "年金課", "--id", "tax", "--out", "answers.csv"]
    desk.run("inquire", "HUB", *question, *sent)
    desk.run("inquire", "HUB", *question, *sent)
    desk.run("inquire", "HUB", *question[:-1], "申請者", *sent)
    desk.run("inquire", "HUB", *question, *sent[:-1], "ask.csv")
    desk.run("inquire", "HUB", "nothing.csv", *question[1:], *sent)
    desk.run("status", "HUB", "tax", "--requester", "nenkin")
    desk.run("status", "HUB", "tax.0000", "--requester", "nenkin")
    desk.run("status", "HUB", "other", "--requester", "nenkin")
    desk.run("status", "HUB", "tax", "--requester", "nobody")
    desk.run("release", "HUB", "tax.0000", "0", "--requester", "nenkin", "--reason", "moved", "--clerk", "suzuki")


def play_an_exchange(desk: Desk) -> None:
    ask(desk, range(6), "tax")
    desk.run("collect", "HUB", CITY, "--out", "some.csv", "--limit", "6")
    desk.run("collect", "HUB", CITY, "--out", "permits.csv", "--progress")
    desk.run("collect", "HUB", CITY, "--out", "none.csv", "--manual")
    desk.run("collect", "HUB", "nobody", "--out", "none.csv")
    person = {row["alias"]: desk.w.city.index(row["alias"]) for row in desk.read("permits.csv")}
    permits = {person[row["alias"]]: row["permit"] for row in desk.read("permits.csv")}
    rows = [f"{permits[0]},PROVIDED,{DATA}", f"{permits[1]},EMPTY,", f"{permits[2]},NO_RECORD,"]
    rows.append("0123456789abcdef,EMPTY,")
    desk.run("provide", "HUB", CITY, desk.write("provided.csv", "permit,outcome,payload", *rows))
    desk.run("provide", "HUB", CITY, "provided.csv", "--clerk", "sato")
    desk.run("answers", "HUB", "nenkin", "tax", "--out", "data.csv", "--fetched")
    rows = [f"{permits[one]},PROVIDED,{DATA}" for one in (3, 4, 5)]
    desk.run("provide", "HUB", CITY, desk.write("provided.csv", "permit,outcome,payload", *rows))
    desk.run("answers", "HUB", "nenkin", "tax", "--out", "whole.csv", "--fetched")
    desk.run("answers", "HUB", "nenkin", "tax", "--out", "forgotten.parquet")
    desk.run("answers", "HUB", "nenkin", "never", "--out", "never.csv")


def play_keys(desk: Desk) -> None:
    desk.run("key", "register", "HUB", "nenkin", "11" * 32)
    desk.run("key", "show", "HUB", "nenkin")
    desk.run("key", "show", "HUB", CITY)
    desk.run("key", "remove", "HUB", "nenkin", "--clerk", "sato")
    desk.run("key", "register", "HUB", "nenkin", "12")


def play_a_citizen(desk: Desk) -> None:
    # One record: of several the indexes are in an order of their own.
    ask(desk, range(1), "tax")
    alias = desk.w.portal[0] + "\n"
    desk.run("history", "HUB", "--alias", "-", stdin=alias)
    desk.run("history", "HUB", "--alias", "-", "--json", "--institution", "nenkin", stdin=alias)
    desk.run("history", "HUB", "--alias", "-", "--out", "history.csv", "--limit", "1", stdin=alias)
    desk.run("history", "HUB", "--alias", "-", "--proofs", "mine", stdin=alias)
    desk.run("verify", "mine/0.tlog-proof", "--key", "mine/log.key", "--disclosure-key", "mine/disclosure.key")
    desk.run("history", "HUB", "--alias", "-", stdin="0" * 32 + "\n")
    desk.run("tlog", "key", "HUB")
    desk.run("tlog", "checkpoint", "HUB")
    desk.run("tlog", "checkpoints", "HUB")


def play_aliases(desk: Desk) -> None:
    desk.run("tickets", "HUB", OTHER_CITY, "3", "--out", "tickets.csv")
    tickets = [row["ticket"] for row in desk.read("tickets.csv")]
    desk.run("acquired", "HUB", OTHER_CITY, "tickets.csv", "--out", "waiting.csv")
    rows = [f"{ticket},{code}" for ticket, code in zip(tickets, desk.w.codes, strict=False)]
    desk.run("deliver", "HUB", desk.write("delivery.csv", "ticket,code", *rows, "x,1"))
    desk.run("acquired", "HUB", OTHER_CITY, "tickets.csv", "--out", "aliases.csv", "--close")
    desk.run("reissue", "HUB", CITY, desk.write("leaked.csv", "alias", *desk.w.city[:2]), "--out", "new.csv")
    desk.run("revoke", "HUB", CITY, desk.write("wrong.csv", "alias", *desk.w.city[1:4], "0" * 32))
    desk.run("revoke", "HUB", CITY, "wrong.csv")
    desk.run("tickets", "HUB", OTHER_CITY, "many", "--out", "tickets.csv")


def play_links(desk: Desk) -> None:
    public = desk.run("key", "new", "jlis.key").strip()
    (desk.folder / "jlis.key").rename(desk.folder / "linkage.key")
    people = make_people(4)

    def words(one: Attributes) -> str:
        return f"{one.name},{one.kana or ''},{one.address},{one.sex},{one.birth}"

    head = "name,kana,address,sex,birth"
    lines = zip(desk.w.codes, people, strict=False)
    desk.write("register.csv", f"code,{head}", *(f"{code},{words(spelled_otherwise(one))}" for code, one in lines))
    desk.run("tickets", "HUB", OTHER_CITY, "4", "--out", "tickets.csv")
    tickets = [row["ticket"] for row in desk.read("tickets.csv")]
    # The last two are each other's.
    rows = [f"{ticket},{words(people[at])}" for ticket, at in zip(tickets, (0, 1, 3, 2), strict=True)]
    claim = ["claim", "HUB", OTHER_CITY, desk.write("claims.csv", f"ticket,{head}", *rows), "--clerk", "sato"]
    desk.run(*claim)
    desk.run("key", "register", "HUB", "jlis", public)
    desk.run(*claim)
    rows = [f"{ticket},{code}" for ticket, code in zip(tickets, desk.w.codes, strict=False)]
    delivery = desk.write("delivery.csv", "ticket,code", *rows)
    desk.run("compare-links", "HUB", delivery, "register.csv", "linkage.key", "--out", "findings.csv")
    desk.run("acquired", "HUB", OTHER_CITY, "tickets.csv", "--out", "aliases.csv")
    decides = ["--clerk", "suzuki", "--reason", "seen both"]
    held = desk.write("held.csv", "ticket", tickets[2])
    desk.run("confirm-links", "HUB", OTHER_CITY, held, *decides, "--out", "confirmed.csv")
    alias = desk.read("aliases.csv")[0]["alias"]
    links = desk.write("links.csv", "ticket,alias", f"{tickets[3]},{alias}")
    desk.run("replace-links", "HUB", OTHER_CITY, links, *decides, "--out", "replaced.csv")
    desk.run("require-claims", "HUB", OTHER_CITY, "on", "--clerk", "sato")
    for name in ("claims.csv", "delivery.csv", "links.csv", "tickets.csv", "held.csv"):
        (desk.folder / name).unlink()


def play_flags(desk: Desk) -> None:
    one, some = desk.w.city[0], desk.write("people.csv", "alias", *desk.w.city[1:4])
    desk.run("flag", "HUB", CITY, "--alias", "-", "--manual", "--withheld", "--clerk", "sato", stdin=one)
    desk.run("flag", "HUB", CITY, "--aliases", some, "--no-self", "--clerk", "sato")
    desk.run("flag", "HUB", CITY, "--aliases", some)
    desk.run("flag", "HUB", CITY, "--alias", desk.w.nenkin[0])
    desk.run("suspend", "HUB", CITY, "--aliases", some, "--reason", "in doubt", "--clerk", "sato")
    desk.run("suspend", "HUB", CITY, "--everybody", "--reason", "restored", "--clerk", "sato")
    desk.run("resume", "HUB", CITY, "--everybody", "--reason", "compared", "--clerk", "sato")
    desk.run("resume", "HUB", CITY, "--everybody", "--reason", "compared", "--clerk", "sato")


def play_what_is_sent(desk: Desk) -> None:
    w = desk.w
    rows = [f"{w.city[0]},nenkin,{DATA}", f"{w.city[1]},portal,", f"{w.city[2]},nowhere,", "x,nenkin,"]
    births = desk.write("births.csv", "alias,receiver,payload", *rows)
    event = ["--procedure", "own/1/1", "--item", "出生", "--role", "本人", "--event", "出生"]
    desk.run("push", "HUB", CITY, births, *event, "--section", "市民課", "--id", "p", "--out", "pushed.csv")
    desk.run("arrived", "HUB", "nenkin", "--out", "arrived.csv")
    desk.run("taken", "HUB", "nenkin", "arrived.csv")
    desk.run("arrived", "HUB", "nenkin", "--out", "again.csv", "--limit", "10")
    fixes = desk.write("fixes.csv", "alias,payload", f"{w.city[0]},{DATA}")
    words = ["--item", "出生", "--reason", "誤記", "--section", "市民課", "--id", "u", "--out", "updated.csv"]
    desk.run("update", "HUB", CITY, fixes, *words)
    notices = desk.write("people.csv", "alias,text", f"{w.city[0]},一", f"{w.city[1]},二", "x,三")
    words = ["--subject", "手当", "--section", "課", "--id", "n", "--out", "sent.csv"]
    desk.run("notify", "HUB", CITY, notices, *words)
    desk.run("notices", "HUB", "--alias", "-", stdin=w.portal[0])
    desk.run("notices", "HUB", "--alias", "-", stdin=w.portal[5])


def play_marks(desk: Desk) -> None:
    ask(desk, range(3), "tax")
    record = ["tax.0000", "1", "--requester", "nenkin"]
    desk.run("withhold", "HUB", *record, "--ground", "protected", "--until", "2099-10-01", "--clerk", "sato")
    desk.run("lift", "HUB", *record, "--clerk", "sato")
    desk.run("lift", "HUB", *record, "--clerk", "suzuki")
    desk.run("correct", "HUB", *record, "--reason", "another was meant", "--section", "課", "--clerk", "sato")
    desk.run("audit", "HUB", "--waiting", CITY)
    desk.run("audit", "HUB", "--waiting", "nenkin", "--by", "2099-12-01", "--json")
    desk.run("withhold", "HUB", "tax.0000", "9", "--requester", "nenkin", "--ground", "p", "--until", "2099-10-01",
             "--clerk", "sato")  # fmt: skip


def play_identifiers(desk: Desk) -> None:
    rows = [f"s{row},{code}" for row, code in enumerate(desk.w.codes[:4])]
    serials = desk.write("serials.csv", "identifier,code", *rows, "s9,1")
    desk.run("identifiers", "register", "HUB", "jpki-auth", "jlis", serials, "--clerk", "sato")
    desk.run("identifiers", "renew", "HUB", "jpki-auth", "jlis", desk.write("new.csv", "identifier,new", "s0,t0"))
    desk.run("identifiers", "revoke", "HUB", "jpki-auth", "jlis", desk.write("lost.csv", "identifier", "s1"))
    asked = desk.write("asked.csv", "identifier", "s0", "t0", "s1", "s2", "never")
    desk.run("identifiers", "identify", "HUB", "jpki-auth", CITY, asked, "--out", "found.csv")
    desk.run("identifiers", "identify", "HUB", "jpki-auth", "nenkin", asked, "--out", "none.csv")


def play_proxies(desk: Desk) -> None:
    person, agent = desk.w.portal[:2]
    words = ["--label", "母", "--called", "子", "--statutory", "--until", "2040-04-02"]
    handle = desk.run("proxies", "grant", "HUB", "--alias", person, "--agent", agent, *words).split()[-1]
    desk.run("proxies", "list", "HUB", "--alias", person)
    desk.run("proxies", "list", "HUB", "--agent", agent)
    desk.run("proxies", "revoke", "HUB", "--alias", person, "--handle", handle)
    desk.run("proxies", "list", "HUB", "--alias", person)


def play_lives(desk: Desk) -> None:
    w = desk.w
    both = f"{w.codes[0]}\n{w.codes[1]}\n"
    desk.run("merge", "HUB", *CLERKS, stdin=both)
    ask(desk, range(1), "tax")
    desk.run("split", "HUB", *CLERKS, stdin=both)
    handle = desk.run("undecided", "HUB", stdin=f"{w.codes[0]}\n").split()[0]
    desk.run("assign", "HUB", handle, *CLERKS, stdin=f"{w.codes[1]}\n")
    dead = desk.write("deaths.csv", "alias,died,born", f"{w.city[2]},2026-10-01,1950-01-01", "x,2026-10-01,")
    desk.run("deaths", "HUB", CITY, dead, "--clerk", "sato")
    desk.run("closed", "HUB", "--out", "closed.csv")
    desk.run("alive", "HUB", CITY, desk.write("wrong.csv", "alias", w.city[2]), *CLERKS)
    desk.run("succeed", "HUB")
    facts = [f"{w.codes[3]},{MAYORS},{CITY},2020-04-01,", f"99999999999,{MAYORS},{CITY},2020-04-01,"]
    desk.run("holders", "HUB", desk.write("facts.csv", "code,class,institution,from,to", *facts), "--clerk", "sato")


def play_wrong_links(desk: Desk) -> None:
    ask(desk, range(2), "tax")
    desk.run("blast", "HUB", CITY, "--alias", "-", "--out", "blast.csv", stdin=desk.w.city[0])
    desk.run("blast", "HUB", CITY, "--alias", "-", stdin=desk.w.city[5])
    words = ["--wrong", desk.w.city[0], "--right", desk.w.city[1], "--known", "2026-11-25", "--draft", "draft.md"]
    desk.run("mislink", "HUB", CITY, *words, *CLERKS, "--dry-run")
    desk.run("mislink", "HUB", CITY, *words, *CLERKS)


def play_an_agency(desk: Desk) -> None:
    ask(desk, range(3), "tax")
    desk.run("agency", "init", "town", CITY)
    desk.run("agency", "answer", "town", "HUB")
    desk.run("agency", "answer", "town", "HUB", "--limit", "0")
    desk.run("answers", "HUB", "nenkin", "tax", "--out", "data.csv")
    # Two questions by hand, of which the book of a clerks' desk tells.
    book = Book(desk.folder / "town.sqlite", 30)
    detail = {"provider": CITY, "procedure": QUESTION[1], "items": ["市町村民税"], "role": "納付義務者", "case": ""}
    for person in (3, 4):
        line, alias = f"{person:032}", bytes.fromhex(desk.w.nenkin[person])
        ask(desk, range(person, person + 1), REQUEST_ID.format(line))
        clerk = ("sato", "佐藤", "年金課")
        made = Line(line, "ask", 1, *clerk, "own", alias, State.SENDING, False, None, None, None, None, detail)
        assert book.add(made)
        assert book.took(made, 0, 0, 1)
    book.close()
    desk.run("agency", "init", "town-asks", "nenkin")
    for _ in range(2):
        desk.run("agency", "adopt", "town-asks", "HUB", "--book", "town.sqlite")
    desk.run("agency", "adopt", "town-asks", "HUB", "--book", "nowhere")
    desk.run("agency", "records", "town-asks", "--role", "requester", "--out", "asked.csv")


PLAYS = {name.removeprefix("play_"): play for name, play in list(globals().items()) if name.startswith("play_")}


@pytest.mark.parametrize("play", PLAYS)
def test_a_command_does_the_same_on_a_folder_and_at_an_address(desks: tuple[Desk, Desk], play: str) -> None:
    here, there = desks
    for desk in desks:
        PLAYS[play](desk)
    for one, other in zip(here.told, there.told, strict=True):
        assert one == other
    assert here.files() == there.files()
    # What is only refused shows little.
    assert sum(told[1] in (0, 1) for told in here.told) > len(here.told) / 3, here.told


# -- which there are


def test_every_command_that_takes_an_address_is_played() -> None:
    source = Path(__file__).read_text(encoding="utf-8")
    wired = {name for name, one in commands_of(make_parser()) if one.get_default("wired")}
    assert len(wired) > 40
    missing = [
        name for name in wired
        if ", ".join(f'"{word}"' for word in name.split()) not in source
    ]  # fmt: skip
    assert missing == []


@pytest.mark.parametrize(
    "words",
    [
        "init HUB", "acquire HUB 131016 codes.csv --out a.csv", "stats HUB", "verify HUB", "retain HUB",
        "hold list HUB",
        "tlog export HUB public", "catalog import HUB file.csv", "audit HUB", "agency compare HUB --provider town",
        "succeed HUB 131016 131024 --day 2026-04-01 --clerk a --second-clerk b --reason c",
    ],
    ids=lambda words: words.split(" HUB")[0],
)  # fmt: skip
def test_a_command_of_whoever_holds_the_folder_says_so(words: str, capsys: Any) -> None:
    status = main([word.replace("HUB", "hubs://127.0.0.1:1") for word in words.split()])
    out, err = capsys.readouterr()
    assert (status, out, err.count("\n")) == (2, "", 1)
    assert "expected a folder" in err or "expected a proof or a folder" in err
    assert "got" in err
