"""The portal's configuration and its command: every key is known, and what contradicts itself is refused."""

from __future__ import annotations

import contextlib
import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import httpx
import pytest

from hub.cli import main
from hub.commands.portal import EPILOG
from hub.errors import RequestError
from hub.portal.config import load_config
from hub.portal.links import Links, who_of

PRINTED = re.search(r"(?s)portal\.toml:\n(.*?)\nExamples:", EPILOG)
assert PRINTED is not None
TEXT = PRINTED[1]


def write(folder: Path, text: str) -> Path:
    path = folder / "portal.toml"
    path.write_text(text, encoding="utf-8")
    return path


def test_the_file_that_the_help_prints_is_read_and_paths_are_relative_to_it(tmp_path: Path) -> None:
    config = load_config(write(tmp_path, TEXT))
    assert config.links == str(tmp_path / "portal.sqlite")
    assert config.signin.key == str(tmp_path / "signin.key")
    assert config.secure
    assert config.link is not None


@pytest.mark.parametrize("section", ["", "[tls]", "[hub]", "[signin]", "[link]"])
def test_an_unknown_key_is_refused_by_name(tmp_path: Path, section: str) -> None:
    begin = rf"( *{re.escape(section)}[^\n]*\n)" if section else "^()"
    lines = re.sub(begin, r"\1zebra = 1\n", TEXT, count=1)
    with pytest.raises(RequestError, match="zebra"):
        load_config(write(tmp_path, lines))


@pytest.mark.parametrize(
    ("old", "new", "named"),
    [
        ('"https://history.example.go.jp"', '"http://history.example.go.jp"', "address"),
        ('"https://history.example.go.jp"', '"https://history.example.go.jp/x"', "path"),
        ('"https://history.example.go.jp"', '"ftp://x"', "address"),
        ('"https://auth.example.go.jp"', '"http://auth.example.go.jp"', "issuer"),
        ('"0.0.0.0:8443"', '"nonsense"', "listen"),
        ('acr = ["card"]', "acr = []", "acr"),
        ('  [tls] ', '  [tls_] ', "tls_"),
    ],
)  # fmt: skip
def test_what_contradicts_itself_is_refused(tmp_path: Path, old: str, new: str, named: str) -> None:
    assert old in TEXT
    with pytest.raises(RequestError, match=named):
        load_config(write(tmp_path, TEXT.replace(old, new)))


def test_without_tls_only_loopback_is_served(tmp_path: Path) -> None:
    plain = re.sub(r"(?s)  \[tls\].*?(?=  \[hub\])", "", TEXT)
    with pytest.raises(RequestError, match="tls"):
        load_config(write(tmp_path, plain))
    load_config(write(tmp_path, plain.replace("0.0.0.0", "127.0.0.1")))


def test_people_are_linked_from_a_file_all_or_none(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    config = write(tmp_path, TEXT)
    people = tmp_path / "people.csv"
    people.write_text(f"sub,alias\none,{'0a' * 16}\ntwo,{'0b' * 16}\n")
    assert main(["portal", "--config", str(config), "--link", str(people)]) == 0
    people.write_text(f"sub,alias\nthree,{'0c' * 16}\nfour,xyz\n")
    assert main(["portal", "--config", str(config), "--link", str(people)]) == 2
    told = capsys.readouterr()
    assert told.out == "2 people\n"
    assert "line 3" in told.err
    assert "xyz" not in told.err
    links = Links(tmp_path / "portal.sqlite")
    issuer = load_config(config).signin.issuer
    found = [links.find(who_of(issuer, sub)) for sub in ("one", "two", "three")]
    links.close()
    assert [one and one.alias for one in found] == [b"\x0a" * 16, b"\x0b" * 16, None]


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_the_demo_serves_until_it_is_stopped_and_leaves_nothing(tmp_path: Path, number: int) -> None:
    command = [sys.executable, "-m", "hub", "portal", "--demo", "--port", "0"]
    environment = {**os.environ, "TMPDIR": str(tmp_path)}
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=environment) as demo:
        assert demo.stdout is not None
        assert demo.stderr is not None
        address = next(line.strip() for line in demo.stdout if line.strip().startswith("http://"))
        end = time.monotonic() + 60
        while True:
            with contextlib.suppress(httpx.ConnectError):
                assert httpx.get(address).status_code == 200
                break
            assert time.monotonic() < end
        demo.send_signal(number)
        assert (demo.wait(60), demo.stderr.read()) == (0, "")
    assert list(tmp_path.iterdir()) == []


def test_a_key_that_cannot_be_used_is_named(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["portal", "--config", str(write(tmp_path, TEXT))]) == 2
    assert "signin.key" in capsys.readouterr().err
