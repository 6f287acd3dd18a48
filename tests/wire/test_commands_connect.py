"""How a command finds its hub: options, environment, client.toml; what it says when it cannot; the hub to try with."""

from __future__ import annotations

import os
import re
import shlex
import signal
import stat
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from served import Network, Served
from test_serve import Process, free_port

import hub
from hub.cli import main
from hub.commands import inquire
from hub.wire.access import key_sha256
from parties import Parties

VARIABLES = ("FOLDER", "CERT", "KEY", "CA", "INSTITUTION", "TIMEOUT", "CLIENT")


@pytest.fixture(autouse=True)
def nothing_is_set(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in VARIABLES:
        monkeypatch.delenv(f"HUB_{name}", raising=False)
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "config"))


@pytest.fixture
def served(parties: Parties, network: Network) -> Iterator[Served]:
    found = Served(parties.h, network.config(["nenkin", parties.town]))
    yield found
    found.stop()


class Typist:
    """Types commands."""

    def __init__(self, capsys: Any) -> None:
        self._capsys = capsys

    def __call__(self, *words: str | Path) -> tuple[int, str, str]:
        self._capsys.readouterr()
        status = main([str(word) for word in words])
        out, err = self._capsys.readouterr()
        return status, out, err


@pytest.fixture
def run(capsys: pytest.CaptureFixture[str]) -> Typist:
    return Typist(capsys)


def options(network: Network) -> list[str]:
    return ["--cert", network.client.cert, "--key", network.client.key, "--ca", network.authority.ca]


def client_file(folder: Path, network: Network, *lines: str) -> Path:
    """With names of files relative to it."""
    folder.mkdir(parents=True, exist_ok=True)
    own = network.client
    for name, source in (("a.pem", own.cert), ("a.key", own.key), ("b.pem", network.authority.ca)):
        (folder / name).write_bytes(Path(source).read_bytes())
    path = folder / "client.toml"
    path.write_text("\n".join(['cert = "a.pem"', 'key = "a.key"', 'ca = "b.pem"', *lines, ""]))
    return path


# -- where the hub is, and how to connect


def test_options_go_before_the_environment_and_that_before_the_file(
    served: Served, network: Network, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, run: Typist
) -> None:
    words, own = ("tlog", "key", served.address), options(network)
    key = served.h.verifier_key + "\n"
    status, out, err = run(*words)
    assert (status, out) == (2, "")
    assert err == "hub: --cert: expected a file with an address (or HUB_CERT, or cert in client.toml), got none\n"
    assert run(*words, *own) == (0, key, "")
    for name in ("CERT", "KEY", "CA"):
        monkeypatch.setenv(f"HUB_{name}", str(tmp_path / "none"))
    assert run(*words)[0] == 2
    assert run(*words, *own)[:2] == (0, key)
    client_file(tmp_path / "config" / "hub", network)
    assert run(*words)[0] == 2, "the environment goes first"
    for name, value in zip(("CERT", "KEY", "CA"), own[1::2], strict=True):
        monkeypatch.setenv(f"HUB_{name}", value)
    (tmp_path / "config" / "hub" / "a.pem").write_text("junk")
    assert run(*words)[:2] == (0, key)


def test_the_address_may_stand_in_the_file(
    served: Served, network: Network, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, run: Typist
) -> None:
    key = served.h.verifier_key + "\n"
    with hub.open(tmp_path / "other", create=True) as h:
        other = h.verifier_key + "\n"
    assert run("tlog", "key")[0] == 2
    path = client_file(tmp_path / "config" / "hub", network, f'address = "{served.address}"')
    assert run("tlog", "key") == (0, key, "")
    monkeypatch.setenv("HUB_FOLDER", str(tmp_path / "other"))
    assert run("tlog", "key")[1] == other
    assert run("tlog", "key", "--client", path)[1] == key, "what is typed goes before what is set"
    assert run("tlog", "key", tmp_path / "other")[1] == other
    monkeypatch.delenv("HUB_FOLDER")
    monkeypatch.setenv("HUB_CLIENT", str(path))
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path))
    assert run("tlog", "key")[1] == key
    monkeypatch.setenv("HUB_FOLDER", served.address)
    assert run("tlog", "key")[1] == key, "HUB_FOLDER may be an address"
    # Where the shipped law will do nobody is called, unless it is asked for.
    monkeypatch.delenv("HUB_FOLDER")
    monkeypatch.setenv("HUB_CLIENT", str(client_file(tmp_path / "dead", network, 'address = "hubs://localhost:1"')))
    assert run("catalog", "show", "19-8/73/75.3")[0] == 0
    assert run("catalog", "show", "19-8/73/75.3", "--client", tmp_path / "dead" / "client.toml")[0] == 3
    assert run("catalog", "show", "19-8/73/75.3", "--client", path)[0] == 0


@pytest.mark.parametrize(
    ("line", "words"),
    [
        ('adress = "hubs://a:1"', "`adress`"), ("timeout = 0", "`$.timeout`"), ("pool = 0", "`$.pool`"),
        ("cert = 1", "Cannot overwrite"), ('address = "a:1"', "expected the address hubs://host:port"),
        ("=", "Invalid"),
    ],
)  # fmt: skip
def test_a_file_that_is_wrong_is_refused_by_name(
    line: str, words: str, network: Network, tmp_path: Path, run: Typist
) -> None:
    path = client_file(tmp_path, network, line)
    status, out, err = run("tlog", "key", "hubs://localhost:1", "--client", path)
    assert (status, out, err.count("\n")) == (2, "", 1)
    assert err.startswith(f"hub: client {path}: ")
    assert words in err
    status, _, err = run("tlog", "key", "hubs://localhost:1", "--client", tmp_path / "none")
    assert (status, err) == (2, f"hub: client {tmp_path / 'none'}: No such file or directory\n")


def test_options_of_an_address_are_refused_with_a_folder(parties: Parties, run: Typist) -> None:
    status, _, err = run("tlog", "key", parties.folder, "--cert", "a.pem")
    assert (status, err) == (2, "hub: --cert: expected with an address (hubs://host:port), got a folder\n")
    with pytest.raises(hub.errors.RequestError, match=r"hub\.connect takes those"):
        hub.open("hubs://localhost:1", create=True)
    assert not Path("hubs:").exists()


@pytest.mark.parametrize("word", ["0", "-1", "nan", "inf"])
def test_a_timeout_is_some_time(word: str, network: Network, monkeypatch: pytest.MonkeyPatch, run: Typist) -> None:
    words = ("tlog", "key", "hubs://localhost:1", *options(network))
    assert run(*words, "--timeout", word)[0] == 2
    monkeypatch.setenv("HUB_TIMEOUT", word)
    assert run(*words)[0] == 2


# -- what it says


def test_a_connection_that_fails_is_told_in_one_line_by_its_status(
    served: Served, network: Network, parties: Parties, run: Typist
) -> None:
    own = options(network)
    status, out, err = run("collect", f"hubs://localhost:{free_port()}", parties.town, "--out", "x.csv", *own)
    assert (status, out, err.count("\n")) == (3, "", 1)
    assert re.fullmatch("hub: connection: .*; the same command may be given again\n", err)
    with parties.h._store.writer:
        words = ("key", "remove", served.address, "nenkin", "--clerk", "sato", *own)
        status, _, err = run(*words, "--timeout", "0.3")
        assert (status, err) == (3, "hub: register_key: no answer in time; the same command may be given again\n")
    status, _, err = run("collect", served.address, "131024", "--out", "x.csv", *own)
    assert status == 2
    assert "expected one of those of this connection's certificate" in err
    stranger = network.authority.issue("stranger")
    status, _, err = run("tlog", "key", served.address, "--cert", stranger.cert, "--key", stranger.key, *own[4:])
    assert (status, "certificate: expected one that is listed" in err) == (2, True)
    assert not Path("x.csv").exists()


def test_the_status_of_an_inquiry_is_that_of_who_calls(
    served: Served, network: Network, parties: Parties, run: Typist
) -> None:
    parties.ask("r1", [0, 1])
    own = options(network)
    assert "request r1 of nenkin" in run("status", served.address, "r1", *own)[1]
    assert "request r1 of nenkin" in run("status", served.address, "r1", *own, "--institution", "nenkin")[1]
    assert run("status", served.address, "r1", *own, "--institution", parties.town)[0] == 2
    assert run("status", served.address, "r2", *own)[0] == 2


def test_a_file_goes_on_when_the_server_dies_and_comes_back(
    tmp_path: Path, network: Network, monkeypatch: pytest.MonkeyPatch, run: Typist, caplog: pytest.LogCaptureFixture
) -> None:
    with Parties(tmp_path / "linkage", persons=40) as parties:
        town = parties.town
        rows = [f"{bytes(alias).hex()},{town}" for alias in parties.nenkin]
    (tmp_path / "ask.csv").write_text("\n".join(["alias,provider", *rows, ""]))
    process = Process(tmp_path / "linkage", network, town)
    begun: list[threading.Timer] = []
    send = inquire.send_part

    def send_and_kill(h: hub.Hub, inquiry: hub.Inquiry, part: Any, progress: Any) -> hub.Answer:
        if part.number == 2 and not begun:
            process.end(signal.SIGKILL)
            begun.append(threading.Timer(0.5, process.begin))
            begun[0].start()
        return send(h, inquiry, part, progress)

    monkeypatch.setattr(inquire, "PART_ROWS", 10)
    monkeypatch.setattr(inquire, "send_part", send_and_kill)
    try:
        status, out, err = run(
            "inquire", process.address, tmp_path / "ask.csv", "--requester", "nenkin", "--procedure", "19-8/73/75.3",
            "--item", "市町村民税", "--role", "納付義務者", "--section", "年金課", "--id", "tax", "--out",
            tmp_path / "answers.csv", *options(network),
        )  # fmt: skip
    finally:
        for timer in begun:
            timer.join(30)
        process.end()
    assert (status, err) == (0, "")
    assert any(record.getMessage().endswith("; trying again") for record in caplog.records)
    assert "40 rows of request tax" in out
    with hub.open(tmp_path / "linkage") as h:
        assert h.stats()["records"] == 40


# -- the hub to try with


def test_the_key_of_a_certificate_and_of_its_request_is_the_same(
    network: Network, tmp_path: Path, run: Typist
) -> None:
    expected = key_sha256(network.client.certificate) + "\n"
    assert run("serve", "--key-sha256", network.client.cert) == (0, expected, "")
    key: Any = serialization.load_pem_private_key(Path(network.client.key).read_bytes(), None)
    assert isinstance(key, ec.EllipticCurvePrivateKey)
    request = x509.CertificateSigningRequestBuilder().subject_name(x509.Name([])).sign(key, hashes.SHA256())
    public = key.public_key().public_bytes(
        serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo
    )
    for name, pem in (("a.csr", request.public_bytes(serialization.Encoding.PEM)), ("a.pub", public)):
        (tmp_path / name).write_bytes(pem)
        assert run("serve", "--key-sha256", tmp_path / name)[1] == expected
    broken = b"-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n"
    for junk in (b"", b"x", broken, Path(network.client.key).read_bytes()):
        (tmp_path / "junk").write_bytes(junk)
        status, out, err = run("serve", "--key-sha256", tmp_path / "junk")
        assert (status, out) == (2, "")
        assert err.startswith("hub: key: expected a certificate")
    assert run("serve", "--key-sha256", tmp_path / "none")[0] == 2


class Demo:
    """``hub serve --demo`` as a process, and what it printed."""

    def __init__(self, *words: str) -> None:
        command = [sys.executable, "-m", "hub", "serve", "--demo", *words, "--port", "0"]
        self.process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
        assert self.process.stdout is not None
        self.lines = []
        while not self.lines or not self.lines[-1].startswith("Ctrl-C"):
            line = self.process.stdout.readline()
            assert line, (self.lines, self.process.communicate())
            self.lines.append(line)
        self.folder = Path(re.search(r"serving (.*)/linkage at hubs://127.0.0.1:\d+$", self.lines[0], re.M)[1])  # type: ignore[index]

    def end(self) -> int:
        self.process.send_signal(signal.SIGINT)
        self.process.communicate(timeout=40)
        return self.process.returncode


def test_the_demo_prints_commands_that_work_and_does_so_again(tmp_path: Path) -> None:
    folder, work = tmp_path / "to try", tmp_path / "work"
    work.mkdir()
    bin_ = tmp_path / "bin"
    bin_.mkdir()
    (bin_ / "hub").write_text(f'#!/bin/sh\nexec {shlex.quote(sys.executable)} -m hub "$@"\n')
    (bin_ / "hub").chmod(0o755)
    for again in (False, True):
        demo = Demo(str(folder))
        try:
            assert "for trying only" in demo.lines[1]
            lines = [line for line in demo.lines if line.startswith("  ")]
            # The second time one command will do: certificates are new, the hub is the one before.
            text = "set -e\n" + "".join(lines[-1:] if again else lines)
            path = f"{bin_}:{os.environ['PATH']}"
            done = subprocess.run(["bash", "-c", text], cwd=work, env={**os.environ, "PATH": path}, text=True,
                                  capture_output=True, timeout=120, check=False)  # fmt: skip
        finally:
            assert demo.end() == 0
        assert (done.returncode, done.stderr) == (0, "")
        told = ("100 rows of request try-1", "60 permits of 131016", "1 records")
        for words in told[-1:] if again else told:
            assert words in done.stdout
        for one in folder.iterdir():
            if one.is_file():
                assert stat.S_IMODE(one.stat().st_mode) == 0o600 or one.name == "security.log" or "linkage" in one.name
        pem = x509.load_pem_x509_certificate((folder / "nenkin.pem").read_bytes())
        assert "trying only" in pem.subject.rfc4514_string()
        assert not (folder / "ca.key").exists()


def test_the_demo_without_a_folder_leaves_nothing() -> None:
    demo = Demo()
    assert demo.folder.is_dir()
    assert demo.end() == 0
    deadline = time.monotonic() + 10
    while demo.folder.exists():
        assert time.monotonic() < deadline


def test_the_demo_takes_no_folder_of_something_else(tmp_path: Path, run: Typist) -> None:
    (tmp_path / "mine.txt").write_text("x")
    status, _, err = run("serve", "--demo", tmp_path)
    assert (status, "expected a new or empty folder" in err) == (2, True)
    assert [one.name for one in tmp_path.iterdir()] == ["mine.txt"]
    assert run("serve", "--demo", tmp_path / "new", "--port", "65536")[0] == 2
    assert not (tmp_path / "new").exists()
    assert run("serve", "--config", "hub.toml", "--port", "1")[0] == 2
