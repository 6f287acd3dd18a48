"""``hub identifiers`` and ``hub proxies`` on real folders."""

from __future__ import annotations

from pathlib import Path

import pytest

import hub
from hub.cli import main
from test_cli import CITY, CODES, Desk, no_folder_variable, read
from test_identifiers import NAMESPACES

__all__ = ["no_folder_variable"]


@pytest.fixture
def desk(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> Desk:
    made = Desk(tmp_path, capsys)
    (tmp_path / "namespaces.csv").write_text(NAMESPACES, encoding="utf-8")
    assert made.run("catalog", "import", made.hub, tmp_path / "namespaces.csv")[0] == 0
    return made


def write(desk: Desk, name: str, *rows: str, encoding: str = "utf-8") -> Path:
    path = desk.folder / name
    path.write_text("".join(f"{row}\n" for row in rows), encoding=encoding)
    return path


@pytest.mark.parametrize("encoding", ["utf-8", "cp932"])
def test_serials_from_a_file_lead_a_city_to_its_aliases(desk: Desk, encoding: str) -> None:
    rows = [f"証{row:020d},{code}" for row, code in enumerate(CODES)]
    source = write(desk, "serials.csv", "identifier,code", *rows, "x,123", ",00000000001", encoding=encoding)
    status, out, _ = desk.run("identifiers", "register", desk.hub, "jpki-auth", "jlis", source, "--clerk", "sato")
    assert status == 1
    assert out.split()[:2] == ["50", "CREATED"]
    assert [line["line"] for line in read(desk.folder / "serials.rejected.csv")] == ["52", "53"]
    ask = write(desk, "ask.csv", "identifier", *[row.split(",")[0] for row in rows], "never", encoding=encoding)
    out_file = desk.folder / "found.csv"
    status, out, _ = desk.run("identifiers", "identify", desk.hub, "jpki-auth", CITY, ask, "--out", out_file)
    assert status == 1
    found = read(out_file)
    assert [line["alias"] for line in found[:30]] == desk.city
    assert [line["status"] for line in found] == ["VALID"] * 30 + ["NO_ALIAS"] * 20 + ["UNKNOWN"]


def test_renewed_and_revoked_identifiers_say_so(desk: Desk) -> None:
    source = write(desk, "serials.csv", "identifier,code", f"a,{CODES[0]}", f"b,{CODES[1]}", f"c,{CODES[2]}")
    words = ("identifiers", "register", desk.hub, "jpki-auth", "jlis", source)
    assert desk.run(*words)[0] == desk.run(*words)[0] == 0
    renewed = write(desk, "renewed.csv", "identifier,new", "a,a2")
    assert desk.run("identifiers", "renew", desk.hub, "jpki-auth", "jlis", renewed)[0] == 0
    lost = write(desk, "lost.csv", "identifier", "b")
    assert desk.run("identifiers", "revoke", desk.hub, "jpki-auth", "jlis", lost)[0] == 0
    status, out, _ = desk.run("identifiers", "revoke", desk.hub, "jpki-auth", "jlis", lost)
    assert status == 1
    assert out.startswith("0 identifiers revoked; 1 rows")
    ask = write(desk, "ask.csv", "identifier", "a", "a2", "b", "c")
    out_file = desk.folder / "found.csv"
    desk.run("identifiers", "identify", desk.hub, "jpki-auth", CITY, ask, "--out", out_file)
    assert [line["status"] for line in read(out_file)] == ["REPLACED", "VALID", "REVOKED", "VALID"]
    again = write(desk, "again.csv", "identifier,code", f"b,{CODES[3]}")
    status, _, err = desk.run("identifiers", "register", desk.hub, "jpki-auth", "jlis", again)
    assert status == 2
    assert "have not ended" in err
    assert desk.run("identifiers", "register", desk.hub, "jpki-auth", "jlis", again, "--again")[0] == 0


def test_an_issuer_with_aliases_registers_by_them(desk: Desk) -> None:
    citizens = desk.acquire("portal", CODES[:2])
    source = write(desk, "keys.csv", "identifier,alias", *[f"key-{row},{alias}" for row, alias in enumerate(citizens)])
    assert desk.run("identifiers", "register", desk.hub, "mykey", "portal", source)[0] == 0
    out_file = desk.folder / "found.csv"
    ask = write(desk, "ask.csv", "identifier", "key-0", "key-1")
    assert desk.run("identifiers", "identify", desk.hub, "mykey", CITY, ask, "--out", out_file)[0] == 0
    assert [line["alias"] for line in read(out_file)] == desk.city[:2]


def test_who_may_not_ask_gets_no_result(desk: Desk) -> None:
    out_file = desk.folder / "found.csv"
    ask = write(desk, "ask.csv", "identifier", "a")
    status, _, err = desk.run("identifiers", "identify", desk.hub, "jpki-auth", "nenkin", ask, "--out", out_file)
    assert status == 2
    assert "may rely on this namespace" in err
    assert not out_file.exists()


def test_a_proxy_is_granted_listed_and_revoked(desk: Desk) -> None:
    person, agent = desk.acquire("portal", CODES[:2])
    words = ("--label", "母", "--called", "子", "--statutory", "--until", "2040-04-02")
    status, out, _ = desk.run("proxies", "grant", desk.hub, "--alias", person, "--agent", agent, *words)
    assert status == 0
    handle = out.split()[-1]
    status, out, _ = desk.run("proxies", "list", desk.hub, "--alias", person)
    assert status == 0
    assert out.splitlines()[1].split()[:6] == [handle, "statutory", "母", "2040-04-02", "in", "force"]
    status, out, _ = desk.run("proxies", "list", desk.hub, "--agent", agent)
    assert status == 0
    assert out.splitlines()[1].split()[1:] == ["statutory", "子", "2040-04-02"]
    assert handle not in out
    assert desk.run("proxies", "revoke", desk.hub, "--alias", agent, "--handle", handle)[0] == 1
    assert desk.run("proxies", "revoke", desk.hub, "--alias", person, "--handle", handle)[0] == 0
    assert desk.run("proxies", "list", desk.hub, "--alias", person)[0] == 1
    assert desk.run("proxies", "list", desk.hub, "--agent", agent)[0] == 1
    with hub.open(desk.hub, readonly=True) as h:
        assert [record.kind.name for record in h.history(person).records] == ["PROXY_REVOKED", "PROXY_GRANTED"]
    status, out, _ = desk.run("history", desk.hub, "--alias", person)
    assert status == 0
    assert "母" in out


@pytest.mark.parametrize("words", [["--until", "2026-04-01T09:00"], ["--until", "soon"]])
def test_a_wrong_day_is_refused(desk: Desk, words: list[str]) -> None:
    person, agent = desk.acquire("portal", CODES[:2])
    both = ("--alias", person, "--agent", agent, "--label", "a", "--called", "b")
    assert desk.run("proxies", "grant", desk.hub, *both, *words)[0] == 2
    assert desk.run("proxies", "revoke", desk.hub, "--alias", person, "--handle", "zz")[0] == 2


@pytest.mark.parametrize("command", ["identifiers register", "identifiers identify", "proxies grant", "proxies list"])
def test_help_has_an_example(command: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        main([*command.split(), "--help"])
    assert f"hub {command.split()[0]}" in capsys.readouterr().out


def test_stats_count_identifiers_by_namespace(desk: Desk) -> None:
    told = desk.run("stats", desk.hub)[1]
    assert "identifiers by namespace" in told
    assert "{" not in told
