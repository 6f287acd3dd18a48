"""How the desk finds people and settings: an agency's folder, files, held acquisitions, a configuration."""

from __future__ import annotations

from pathlib import Path

import msgspec
import pytest
from deskworld import SECTION, TERMS, DeskWorld, write_pairs
from portalworld import text_of
from served import Network

import hub
import hub.agency
from hub.desk.clerks import DUTIES, clerk_of
from hub.desk.config import Claims, check_config, load_config
from hub.desk.residents import Residents
from hub.errors import RequestError
from hub.messages import Acquisition, Differs
from hub.portal.signin import SignInError
from hub.portal.standin import Character
from parties import Parties


def test_people_are_found_in_an_agencys_folder(tmp_path: Path) -> None:
    with hub.open(tmp_path / "hub", create=True) as h:
        aliases = h.acquire("131016", ["00000000017", "00000000025"]).aliases
    with hub.agency.open(tmp_path / "town", institution="131016", create=True) as writer:
        writer.link(["宛名-1"], aliases[:1])
    residents = Residents("131016", str(tmp_path / "town"), None, None)
    assert residents.alias_of("宛名-1") == aliases[0].tobytes()
    assert residents.alias_of("宛名-2") is None
    assert residents.own_ids_of(aliases) == ["宛名-1", None]
    assert residents.procedures_asked() == set()
    residents.close()
    with pytest.raises(RequestError):
        Residents("131024", str(tmp_path / "town"), None, None)


def test_a_file_of_residents_is_read_again_when_it_changes(tmp_path: Path) -> None:
    file = tmp_path / "residents.csv"
    write_pairs(file, "alias", [("A", bytes(15) + b"1")])
    residents = Residents("131016", None, str(file), None)
    write_pairs(file, "alias", [("A", bytes(15) + b"1"), ("B", bytes(15) + b"2")])
    assert residents.alias_of("B") == bytes(15) + b"2"
    for own_id in ("", "C", "A\n", "x" * 65, "\ud800"):
        assert residents.alias_of(own_id) is None


@pytest.mark.parametrize(
    "lines", ["A,00", "A,zz", ",00000000000000000000000000000001", "A," + "0" * 32 + "\nA," + "1" * 32,
              "A," + "0" * 32 + "\nB," + "0" * 32], ids=["short", "no hex", "no id", "twice one id", "twice one alias"],
)  # fmt: skip
def test_a_broken_file_of_residents_is_refused_without_its_cells(tmp_path: Path, lines: str) -> None:
    file = tmp_path / "residents.csv"
    file.write_text("own_id,alias\n" + lines + "\n", encoding="utf-8")
    with pytest.raises(RequestError) as error:
        Residents("131016", None, str(file), None)
    assert "000000" not in str(error.value)


def test_held_acquisitions_are_confirmed_by_another_clerk_than_who_claimed_them(
    tmp_path: Path, network: Network
) -> None:
    with Parties(tmp_path / "hub") as parties:
        h = parties.h
        town = h.catalog.institutions("市町村長")[5].code
        _, public = hub.new_payload_key()
        h.register_key("jlis", public)
        tickets = h.tickets(town, 2)
        sealed = [hub.seal_payload(public, b"attributes") for _ in range(2)]
        h.claim(town, tickets, sealed, clerk="platform/E7701")
        h.deliver("jlis", tickets, parties.codes[:2], [Differs.NAME, Differs.NONE])
        file = tmp_path / "tickets.csv"
        write_pairs(file, "ticket", [(f"F-{n}", one.tobytes()) for n, one in enumerate(tickets)])
        world = DeskWorld(tmp_path, network, parties, institution=town, tickets=file)
        try:
            with world.clerk("佐藤") as first, world.clerk("鈴木") as second:
                page = second.get("/links").text
                assert "F-0" in page
                assert "F-1" not in page
                assert tickets[0].tobytes().hex() not in page
                name = page.split("/links/")[1].split("/")[0]
                theirs = first.get("/links").text.split("/links/")[1].split("/")[0]
                assert name != theirs, "a name is of one session"
                assert world.post(second, f"/links/{theirs}/confirm", reason="戸籍").status_code == 404
                answer = world.post(first, f"/links/{theirs}/confirm", reason="戸籍")
                assert answer.status_code == 403
                assert "自分では認められません" in text_of(answer.text)
                assert world.post(second, f"/links/{name}/confirm", reason="").status_code == 400
                assert h.acquired(town, tickets).status[0] == Acquisition.HELD
                assert world.post(second, f"/links/{name}/confirm", reason="戸籍で確かめた").status_code == 303
                assert world.post(second, f"/links/{name}/confirm", reason="戸籍").status_code == 404
                assert "F-0" not in second.get("/links").text
            assert h.acquired(town, tickets).status[0] == Acquisition.ALREADY
        finally:
            world.stop()


def test_duties_narrow_what_a_clerk_may_do(tmp_path: Path, network: Network) -> None:
    people = [Character("1", "一", "", {"name": "一", "section": SECTION, "roles": ["decide", "fly"]}),
              Character("2", "二", "", {"name": "二", "section": SECTION})]  # fmt: skip
    with Parties(tmp_path / "hub") as parties:
        parties.h.load_catalog(parties.h.catalog.import_table(TERMS))

        def change(config: object) -> object:
            return msgspec.structs.replace(config, claims=Claims(duties="roles"))

        world = DeskWorld(tmp_path, network, parties, people=people, config=change)  # type: ignore[arg-type]
        try:
            for name, paths in (("一", ("/permits", "/report")), ("二", ("/report",))):
                with world.clerk(name) as browser:
                    for path in ("/find", "/questions", "/links", "/counter", "/permits", "/report"):
                        assert browser.get(path).status_code == (200 if path in paths else 404), (name, path)
        finally:
            world.stop()


@pytest.mark.parametrize(
    "claims", [{}, {"sub": "1"}, {"section": "課"}, {"sub": "", "section": "課"}, {"sub": "a/b", "section": "課"},
               {"sub": "a + b", "section": "課"}, {"sub": "x" * 33, "section": "課"}, {"sub": 1, "section": "課"},
               {"sub": "1", "section": "x" * 101}, {"sub": "1", "section": "a\nb"}],
)  # fmt: skip
def test_a_token_without_a_clerk_or_a_section_signs_nobody_in(claims: dict[str, object]) -> None:
    with pytest.raises(SignInError):
        clerk_of(claims, Claims())


def test_a_clerk_at_the_bounds_is_let_in() -> None:
    clerk = clerk_of({"sub": "x" * 32, "section": "課" * 100}, Claims())
    assert (clerk.name, clerk.duties) == ("x" * 32, DUTIES)
    assert repr(clerk) == "Clerk(duties=4)"


GOOD = """
listen = "127.0.0.1:0"
address = "https://desk.example"
institution = "131016"
book = "desk.sqlite"
residents = "residents.csv"
[hub]
address = "hubs://localhost:7411"
[signin]
issuer = "https://login.example"
client_id = "desk"
key = "signin.key"
acr = ["two"]
"""


def test_a_configuration_is_read_and_its_paths_are_those_beside_it(tmp_path: Path) -> None:
    (tmp_path / "desk.toml").write_text(GOOD, encoding="utf-8")
    config = load_config(tmp_path / "desk.toml")
    assert (config.book, config.residents) == (str(tmp_path / "desk.sqlite"), str(tmp_path / "residents.csv"))
    check_config(config)


@pytest.mark.parametrize(
    ("before", "after", "told"),
    [('residents = "residents.csv"', "", "either agency or residents"),
     ('book = "desk.sqlite"', 'book = "desk.sqlite"\nagency = "town"', "either agency or residents"),
     ("127.0.0.1:0", "10.0.0.1:80", "expected .tls."), ("https://desk", "http://desk", "beyond loopback"),
     ("acr = [\"two\"]", "acr = []", "acr"), ("institution =", "body =", "body"),
     ('book = "desk.sqlite"', 'book = "b"\nkeep_days = 31', "keep_days")],
)  # fmt: skip
def test_a_wrong_configuration_is_named(tmp_path: Path, before: str, after: str, told: str) -> None:
    (tmp_path / "desk.toml").write_text(GOOD.replace(before, after, 1), encoding="utf-8")
    with pytest.raises(RequestError, match=told):
        load_config(tmp_path / "desk.toml")
