"""``hub serve`` as a process: its configuration, its end, and a kill -9 under load."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from served import Network, Served, Wires, plain_config

import hub
from hub.cli import main
from hub.errors import BusyError, HubError, RequestError
from hub.wire.caller import make_options
from hub.wire.config import load_config
from hub.wire.faults import AccessError, LateError, WireError
from inquiries import tax_inquiry
from parties import Parties

PERSONS = 64


def free_port() -> int:
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        return int(sock.getsockname()[1])


class Process:
    """``hub serve`` on a folder; may be killed and begun again at the same address."""

    def __init__(self, folder: Path, network: Network, town: str, extra: str = "") -> None:
        self.network, self.port = network, free_port()
        self.address = f"hubs://127.0.0.1:{self.port}"
        self.config = folder.parent / "hub.toml"
        self.config.write_text(
            f"""
folder = "{folder.name}"
listen = "127.0.0.1:{self.port}"
security_log = "security.log"
[tls]
certificate = "{network.host.cert}"
key = "{network.host.key}"
ca = "{network.authority.ca}"
crls = ["{network.authority.crl}"]
[[certificates]]
name = "platform"
key_sha256 = "{network.client.key_sha256}"
institutions = ["nenkin", "{town}", "portal"]
{extra}
"""
        )
        self.begin()

    def begin(self) -> None:
        command = [sys.executable, "-m", "hub", "serve", "--config", str(self.config)]
        self.process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
        assert self.process.stdout is not None
        line = self.process.stdout.readline()
        assert line.endswith(f"at {self.address}\n"), (line, self.process.stderr and self.process.stderr.read())

    def end(self, number: int = signal.SIGTERM) -> int:
        self.process.send_signal(number)
        status = self.process.wait(40)
        for pipe in (self.process.stdout, self.process.stderr):
            assert pipe is not None
            pipe.close()
        return status

    def connect(self, **options: Any) -> Any:
        own = self.network.client
        return hub.connect(self.address, cert=own.cert, key=own.key, ca=self.network.authority.ca, **options)


@pytest.fixture
def crowd(tmp_path: Path) -> Parties:
    """A hub with some persons, closed."""
    with Parties(tmp_path / "hub", PERSONS) as parties:
        return parties


@pytest.fixture
def process(crowd: Parties, network: Network) -> Iterator[Process]:
    found = Process(crowd.folder, network, crowd.town)
    yield found
    if found.process.poll() is None:
        found.end(signal.SIGKILL)


class Load(threading.Thread):
    """One institution's machine: single inquiries, one behind the other, until it is told to stop."""

    def __init__(self, process: Process, crowd: Parties, name: str) -> None:
        super().__init__(daemon=True)
        self._process, self._crowd, self.name = process, crowd, name
        self.answered: dict[str, list[int]] = {}
        self.stop = threading.Event()
        self.error: BaseException | None = None

    def run(self) -> None:
        try:
            with self._process.connect(timeout=30) as h:
                number = 0
                while not self.stop.is_set():
                    request_id, row = f"{self.name}-{number}", number % PERSONS
                    answer = h.inquire(
                        tax_inquiry(request_id), self._crowd.nenkin[row : row + 1], self._crowd.town
                    )
                    self.answered[request_id] = answer.status.tolist()
                    number += 1
        except BaseException as error:
            self.error = error


def test_acknowledged_rows_survive_a_kill_and_retried_ids_are_not_doubled(crowd: Parties, process: Process) -> None:
    """Machines that ask singly and one that asks in bulk go on over two kills, by themselves."""
    loads = [Load(process, crowd, f"load{number}") for number in range(3)]
    bulk = np.ascontiguousarray(np.tile(crowd.nenkin, (5_000, 1)))
    answers: list[hub.Answer] = []

    def ask_in_bulk() -> None:
        with process.connect(timeout=60) as h:
            answers.append(h.inquire(tax_inquiry("bulk"), bulk, crowd.town))

    asking = threading.Thread(target=ask_in_bulk)
    for load in loads:
        load.start()
    time.sleep(0.3)
    asking.start()
    for pause in (0.15, 0.6):
        time.sleep(pause)
        process.end(signal.SIGKILL)
        process.begin()
    time.sleep(0.5)
    asking.join(60)
    for load in loads:
        load.stop.set()
    for load in loads:
        load.join(60)
        assert load.error is None
        assert len(load.answered) > 5
    assert len(answers) == 1
    assert process.end() == 0
    with hub.open(crowd.folder) as h:
        assert h.verify().problems == ()
        singles = sum(len(load.answered) for load in loads)
        # Every id once, whatever was lost of its answers.
        assert h.stats()["records"] == singles + len(bulk)
        for load in loads:
            for request_id, status in load.answered.items():
                row = int(request_id.rpartition("-")[2]) % PERSONS
                again = h.inquire(
                    tax_inquiry(request_id, operator="platform"), crowd.nenkin[row : row + 1].copy(), crowd.town
                )
                assert again.status.tolist() == status
        again = h.inquire(tax_inquiry("bulk", operator="platform"), bulk, crowd.town)
        assert again.status.tolist() == answers[0].status.tolist()
        assert h.stats()["records"] == singles + len(bulk)


def test_at_sigterm_what_is_open_is_answered_and_clients_go_on_with_the_next(crowd: Parties, process: Process) -> None:
    load = Load(process, crowd, "load")
    load.start()
    time.sleep(0.5)
    bulk = np.ascontiguousarray(np.tile(crowd.nenkin, (4_000, 1)))
    answers: list[hub.Answer] = []

    def ask_in_bulk() -> None:
        with process.connect(timeout=60) as h:
            answers.append(h.inquire(tax_inquiry("bulk"), bulk, crowd.town))

    asking = threading.Thread(target=ask_in_bulk)
    asking.start()
    time.sleep(0.2)
    assert process.end() == 0
    process.begin()
    before = len(load.answered)
    deadline = time.monotonic() + 20
    while len(load.answered) <= before and time.monotonic() < deadline:
        time.sleep(0.01)
    load.stop.set()
    load.join(30)
    asking.join(60)
    assert load.error is None
    assert len(load.answered) > before
    assert len(answers) == 1
    process.end()
    with hub.open(crowd.folder) as h:
        assert h.stats()["records"] == len(load.answered) + len(bulk)


def test_a_served_folder_says_where(crowd: Parties, process: Process, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(BusyError, match=f"served at {process.address}: use that"):
        hub.open(crowd.folder)
    codes = crowd.folder.parent / "codes.csv"
    codes.write_text("code\n00000000017\n")
    assert main(["acquire", str(crowd.folder), "nenkin", str(codes), "--out", os.devnull]) == 2
    assert f"served at {process.address}: use that" in capsys.readouterr().err
    with hub.open(crowd.folder, readonly=True) as h:
        assert h.served_at() == process.address
    assert process.end() == 0
    with hub.open(crowd.folder) as h:
        for call in (lambda: h.acquire("nenkin", crowd.codes), lambda: h.resolve("nenkin", crowd.town, crowd.nenkin)):
            with pytest.raises(RequestError, match="never served"):
                call()
        assert h.verify().problems == ()


def test_a_signal_lets_it_read_revocation_lists(crowd: Parties, tmp_path: Path) -> None:
    network = Network(tmp_path / "network")
    process = Process(crowd.folder, network, crowd.town)
    try:
        with process.connect() as h:
            assert h.checkpoint()
        network.authority.revoke([network.client])
        process.process.send_signal(signal.SIGHUP)
        deadline = time.monotonic() + 10
        while True:
            try:
                process.connect().close()
            except AccessError:
                break
            assert time.monotonic() < deadline
    finally:
        process.end()
    assert "revoked" in (crowd.folder.parent / "security.log").read_text()


CONFIG = 'folder = "h"\nlisten = "127.0.0.1:1"\n'
TLS = '[tls]\ncertificate = "a"\nkey = "b"\nca = "c"\n'
LISTED = '[[certificates]]\nname = "n"\nsan = "s"\ninstitutions = ["nenkin"]\n'
PLAIN = '[plain]\nname = "n"\ninstitutions = ["nenkin"]\n'


@pytest.mark.parametrize(
    ("text", "words"),
    [
        (CONFIG + "lisen = 1\n" + TLS + LISTED, "unknown field `lisen`"),
        (CONFIG + TLS + "certificat = 1\n" + LISTED, r"unknown field `certificat` - at `\$.tls`"),
        (CONFIG + TLS + LISTED + "[limits]\nconnections = 0\n", "Expected `int` >= 1 - at"),
        (CONFIG + TLS, "expected certificates with"),
        (CONFIG, "expected one of .tls. and .plain., got both or none"),
        (CONFIG + TLS + PLAIN, "got both or none"),
        (CONFIG + PLAIN, "expected the flag --plain"),
        (CONFIG + TLS + LISTED + 'key_sha256 = "' + "0" * 64 + '"\n', "expected one of key_sha256 and san of n"),
        (CONFIG + TLS + LISTED.replace('san = "s"', 'key_sha256 = "AB"'), "key_sha256"),
        (CONFIG.replace(":1", "") + TLS + LISTED, "listen: expected host:port"),
        (CONFIG.replace(":1", ":65536") + TLS + LISTED, "listen: expected host:port"),
        ("folder = ", "config "),
    ],
)
def test_a_configuration_that_is_wrong_is_refused_by_name(tmp_path: Path, text: str, words: str) -> None:
    path = tmp_path / "hub.toml"
    path.write_text(text)
    with pytest.raises(RequestError, match=words):
        load_config(path)


def test_plain_is_for_loopback_only(tmp_path: Path) -> None:
    path = tmp_path / "hub.toml"
    path.write_text(CONFIG + PLAIN)
    assert load_config(path, plain=True).folder == str(tmp_path / "h")
    for host in ("0.0.0.0", "192.0.2.1", "example.jp", "[2001:db8::1]"):
        path.write_text(CONFIG.replace("127.0.0.1", host) + PLAIN)
        with pytest.raises(RequestError, match="expected a loopback address"):
            load_config(path, plain=True)
    path.write_text(CONFIG.replace("127.0.0.1", "[::1]") + PLAIN)
    assert load_config(path, plain=True).host_port == ("::1", 1)
    with pytest.raises(RequestError, match="hubs:// for another machine"):
        hub.connect("hub://192.0.2.1:7411")


@pytest.mark.parametrize("address", ["", "127.0.0.1:1", "http://127.0.0.1:1", "hubs://127.0.0.1", "hub://127.0.0.1:x"])
def test_an_address_of_another_form_is_refused(address: str) -> None:
    with pytest.raises(RequestError, match="address: expected hubs://host:port"):
        make_options(address, None, None, None, None, None, 1)


def test_nobody_there_is_said_at_once(network: Network) -> None:
    with pytest.raises(WireError, match="connection: ") as caught:
        hub.connect(f"hub://127.0.0.1:{free_port()}")
    assert caught.value.retry_safe


def test_a_timeout_is_kept(parties: Parties) -> None:
    served = Served(parties.h, plain_config(["nenkin", "portal"]))
    try:
        with hub.connect(served.address, institution="nenkin") as h:
            lock = parties.h._store.writer
            with lock:
                begin = time.monotonic()
                with pytest.raises(LateError) as caught:
                    h.begin_file("nenkin", "f", bytes(32), 1, timeout=0.3)
                assert 0.2 < time.monotonic() - begin < 5
                assert isinstance(caught.value, TimeoutError)
            # The call was done all the same, and the connection goes on.
            deadline = time.monotonic() + 10
            while h.find_file("nenkin", "f") is None:
                assert time.monotonic() < deadline
    finally:
        served.stop()


def test_a_closed_connection_says_so(parties: Parties) -> None:
    served = Served(parties.h, plain_config(["nenkin"]))
    h = hub.connect(served.address)
    h.close()
    h.close()
    with pytest.raises(RequestError, match="closed"):
        h.checkpoint()
    served.stop()


def test_what_is_not_known_to_be_done_is_not_done_twice(parties: Parties) -> None:
    """A call whose repetition would tell something else is left to its caller when the connection breaks."""
    served = Served(parties.h, plain_config(["nenkin", parties.town]))
    try:
        with hub.connect(served.address) as h, parties.h._store.writer:
            failed: list[HubError] = []

            def revoke() -> None:
                try:
                    h.revoke(parties.town, parties.known[:1])
                except HubError as error:
                    failed.append(error)

            thread = threading.Thread(target=revoke)
            thread.start()
            time.sleep(0.3)
            assert served.server is not None
            served.do(lambda: [one.abort() for one in list(served.server.connections)])  # type: ignore[union-attr]
            thread.join(10)
            assert not thread.is_alive()
            assert [type(error) for error in failed] == [WireError]
            assert not failed[0].retry_safe
    finally:
        served.stop()


def test_what_is_open_when_the_server_stops_is_answered_and_what_comes_then_is_busy(parties: Parties) -> None:
    served = Served(parties.h, plain_config(["nenkin", parties.town]))
    wires = Wires(served.port)
    with parties.h._store.writer:
        wires.call(1, "nenkin", "begin_file", {"request_id": "f", "digest": bytes(32), "rows_max": 1})
        wires.call(2, "nenkin", "find_file", {"request_id": "f"})
        assert wires.read()[:2] == [5, 2]
        served.begin_stop()
        assert wires.read()[0] == 8
        wires.call(3, "nenkin", "find_file", {"request_id": "f"})
        assert wires.read()[:3] == [6, 3, "busy"]
    assert wires.read()[:2] == [5, 1]
    assert wires.ended()
    served.stop()
    assert parties.h.find_file("nenkin", "f") is not None
    with pytest.raises(ConnectionError):
        Wires(served.port)
