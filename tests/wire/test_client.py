"""``hub.connect`` when something is wrong: files, names, time, forks, signals, and what is left behind."""

from __future__ import annotations

import asyncio
import datetime as dt
import gc
import os
import re
import signal
import socket
import subprocess
import sys
import threading
import time
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from certificates import Authority
from cryptography.hazmat.primitives import serialization
from served import Network, Served, plain_config

import hub
from hub.client import PROPERTIES
from hub.errors import HubError, RequestError
from hub.wire.caller import TIMEOUT_MAX_S, make_options
from hub.wire.config import Limits
from hub.wire.methods import METHODS
from inquiries import tax_inquiry
from parties import Parties
from write_wire_types import PLACE, write_types

DAY = dt.timedelta(days=1)


@pytest.fixture
def served(parties: Parties, network: Network) -> Iterator[Served]:
    found = Served(parties.h, network.config(["nenkin", parties.town, "portal"], crls=True))
    yield found
    found.stop()


@pytest.fixture
def near(parties: Parties) -> Iterator[Served]:
    """Without TLS."""
    found = Served(parties.h, plain_config(["nenkin", parties.town]))
    yield found
    found.stop()


# -- files and names


def test_a_file_that_cannot_be_used_is_named_by_its_argument(network: Network, tmp_path: Path) -> None:
    own, ca = network.client, network.authority.ca
    junk, locked = tmp_path / "junk.pem", tmp_path / "locked.key"
    junk.write_text("nothing")
    key = serialization.load_pem_private_key(Path(own.key).read_bytes(), None)
    locked.write_bytes(
        key.private_bytes(
            serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.BestAvailableEncryption(b"x")
        )
    )
    other = network.authority.issue("another")
    good = {"cert": own.cert, "key": own.key, "ca": ca}
    for change, words in (
        ({"cert": str(tmp_path / "none")}, "cert: cannot read the file: No such file"),
        ({"key": str(tmp_path / "none")}, "key: cannot read the file: No such file"),
        ({"ca": str(tmp_path / "none")}, "ca: cannot read the file: No such file"),
        ({"ca": str(junk)}, "ca: expected certificates in PEM"),
        ({"cert": str(junk)}, "cert, key: expected both in PEM"),
        ({"key": str(junk)}, "cert, key: expected both in PEM"),
        ({"key": other.key}, "key: expected that of the certificate, got another"),
        ({"key": str(locked)}, "key: expected one without a passphrase"),
        ({"cert": None}, r"connect: expected cert= and ca="),
        ({"ca": None}, r"connect: expected cert= and ca="),
    ):
        with pytest.raises(RequestError, match=words):
            hub.connect("hubs://127.0.0.1:1", **{**good, **change})


def test_who_refuses_whose_certificate_is_said(served: Served, network: Network, tmp_path: Path) -> None:
    authority = network.authority
    revoked = authority.issue("revoked")
    (tmp_path / "foreign").mkdir()
    foreign = Authority(tmp_path / "foreign")
    authority.revoke([revoked])
    assert served.server is not None
    served.do(served.server.reload)
    try:
        # What TLS says of it may be lost when the server closes at once.
        early = "|ended by the server before it began"
        for own, words in (
            (authority.issue("expired", begin=-3 * DAY, end=-DAY), "your certificate is expired"),
            (revoked, "your certificate is revoked|got one that was revoked"),
            (foreign.issue("foreign"), "does not know who issued your certificate|of another authority"),
            (authority.issue("unlisted"), "certificate: expected one that is listed"),
        ):
            with pytest.raises(HubError, match=f"{words}{early}"):
                network.connect(served, own)
    finally:
        authority.revoke([])


def test_a_renewed_certificate_is_taken_for_the_next_connection(
    served: Served, network: Network, tmp_path: Path
) -> None:
    """Half of a renewal, or none of it, changes nothing."""
    cert, key = tmp_path / "own.pem", tmp_path / "own.key"
    cert.write_bytes(Path(network.client.cert).read_bytes())
    key.write_bytes(Path(network.client.key).read_bytes())

    def cut() -> None:
        for connection in list(served.server.connections):  # type: ignore[union-attr]
            connection.abort()

    with hub.connect(served.address, cert=cert, key=key, ca=network.authority.ca) as h:
        fresh = network.authority.issue("fresh")
        cert.write_bytes(Path(fresh.cert).read_bytes())
        served.do(cut)
        assert h.checkpoint(), "the key is not there yet"
        key.write_bytes(Path(fresh.key).read_bytes())
        served.do(cut)
        with pytest.raises(hub.AccessError, match="expected one that is listed"):
            h.checkpoint()


def test_the_servers_certificate_must_be_that_of_its_name(served: Served, network: Network) -> None:
    own = network.client
    words = {"cert": own.cert, "key": own.key, "ca": network.authority.ca}
    with hub.connect(f"hubs://localhost:{served.port}", **words) as h:
        assert "nenkin" in h.institutions
    # The same machine by an address that is not in the certificate.
    second = Served(served.h, network.config(["nenkin"], listen="127.0.0.2:0"))
    try:
        with pytest.raises(hub.AccessError, match="the server's certificate is not taken: IP address mismatch"):
            hub.connect(second.address, **words)
    finally:
        second.stop()
    for place, why in ((f"nowhere.invalid:{served.port}", "connection: "), ("localhost:1", "refused|addresses")):
        with pytest.raises(hub.WireError, match=why) as caught:
            hub.connect(f"hubs://{place}", **words)
        assert caught.value.retry_safe


@pytest.mark.skipif(not socket.has_ipv6, reason="no IPv6 here")
def test_an_address_of_ipv6_stands_in_brackets(parties: Parties) -> None:
    with socket.socket(socket.AF_INET6) as probe:
        try:
            probe.bind(("::1", 0))
        except OSError:
            pytest.skip("no IPv6 on loopback here")
    served = Served(parties.h, plain_config(["nenkin"], listen="[::1]:0"))
    try:
        assert served.address == f"hub://[::1]:{served.port}"
        with hub.connect(served.address) as h:
            assert h.institutions == ["nenkin"]
    finally:
        served.stop()


@pytest.mark.parametrize(
    "address", ["hubs://[::1:7411", "hubs://::1:7411", "hubs://a:7411/x", "hubs://a:7411?x", "hubs://me:secret@a:7411",
                "hubs://a:70000", "HUBS//a:1", "hubs://:1"]
)  # fmt: skip
def test_whatever_else_is_in_an_address_is_refused_and_not_repeated(address: str) -> None:
    with pytest.raises(RequestError, match=r"address: expected hubs://host:port, got something else$"):
        make_options(address, None, None, None, None, None, 1)


# -- time


@pytest.mark.parametrize("timeout", [0, -1, float("nan"), float("inf"), TIMEOUT_MAX_S + 1, "1", True])
def test_what_is_no_time_is_refused(near: Served, timeout: Any) -> None:
    with pytest.raises(RequestError, match="timeout: expected"):
        hub.connect(near.address, timeout=timeout)
    with hub.connect(near.address) as h, pytest.raises(RequestError, match="timeout: expected"):
        h.checkpoint(timeout=timeout)


def test_the_longest_time_is_taken(near: Served) -> None:
    with hub.connect(near.address, timeout=TIMEOUT_MAX_S) as h:
        assert h.checkpoint(timeout=TIMEOUT_MAX_S)


def test_ctrl_c_ends_the_waiting_and_the_connection_goes_on(near: Served, parties: Parties) -> None:
    with hub.connect(near.address, institution="nenkin") as h:
        for progress in (None, lambda rows: None):
            with parties.h._store.writer:
                threading.Timer(0.3, lambda: os.kill(os.getpid(), signal.SIGINT)).start()
                begin = time.monotonic()
                with pytest.raises(KeyboardInterrupt):
                    h.inquire(tax_inquiry(f"r{progress is None}"), parties.nenkin, parties.town, progress=progress)
                assert time.monotonic() - begin < 10
            assert h.checkpoint()


def test_a_connection_more_that_is_refused_does_not_end_the_one_there_is(parties: Parties) -> None:
    served = Served(parties.h, plain_config(["nenkin"], Limits(connections=1)))
    try:
        with hub.connect(served.address, pool=2) as h:
            found = []
            with parties.h._store.writer:
                waits = threading.Thread(target=lambda: h.begin_file("nenkin", "f", bytes(32), 1))
                waits.start()
                time.sleep(0.2)
                # One call is open, so that another connection is wanted; the server has no room for it.
                found.append(h.checkpoint(timeout=20))
            waits.join(10)
            assert found
            assert h.find_file("nenkin", "f") is not None
    finally:
        served.stop()


# -- what is left behind


def open_sockets() -> int:
    """Of this process; the server's are in it too."""
    return sum(os.readlink(f"/proc/self/fd/{one}").startswith("socket:") for one in os.listdir("/proc/self/fd")
               if os.path.islink(f"/proc/self/fd/{one}"))  # fmt: skip


def wait_until(true: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 10
    while not true():
        assert time.monotonic() < deadline
        time.sleep(0.01)


def wire_threads() -> int:
    return sum(thread.name == "hub-wire" for thread in threading.enumerate())


def test_a_closed_connection_leaves_no_thread_and_no_socket(served: Served, network: Network) -> None:
    sockets, threads = open_sockets(), wire_threads()
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        for number in range(10):
            with network.connect(served) as h:
                assert h.checkpoint()
                if number % 2:
                    h.close()
            gc.collect()
        for bad in ("hub://127.0.0.1:1", "hubs://127.0.0.1:1"):
            with pytest.raises(HubError):
                hub.connect(bad, cert=network.client.cert, key=network.client.key, ca=network.authority.ca)
        gc.collect()
    assert wire_threads() == threads
    wait_until(lambda: open_sockets() == sockets)


def test_one_that_is_forgotten_is_told_and_ends(near: Served) -> None:
    threads = wire_threads()
    h = hub.connect(near.address)
    assert h.checkpoint()
    found = [h]
    del h
    with pytest.warns(ResourceWarning, match="left open"):
        found.clear()
    wait_until(lambda: wire_threads() == threads)


def test_coroutines_leave_nothing_either(served: Served, network: Network) -> None:
    own = network.client
    words = {"cert": own.cert, "key": own.key, "ca": network.authority.ca}
    sockets = open_sockets()

    async def work() -> Any:
        async with hub.aio.connect(served.address, **words) as h:
            await asyncio.gather(*(h.checkpoint() for _ in range(8)))
            task = asyncio.create_task(h.checkpoint())
            task.cancel()
            with pytest.raises(asyncio.CancelledError):
                await task
            await h.checkpoint()
            return h

    with warnings.catch_warnings():
        warnings.simplefilter("error")
        kept = asyncio.run(work())
        gc.collect()

    async def elsewhere() -> None:
        with pytest.raises(RequestError, match="expected the loop in which it was connected"):
            await kept.checkpoint()

    asyncio.run(elsewhere())
    wait_until(lambda: open_sockets() == sockets)


def test_whoever_waits_when_it_is_closed_is_told(near: Served, parties: Parties) -> None:
    h = hub.connect(near.address)
    ends: list[Any] = []

    def ask(number: int) -> None:
        try:
            ends.append(h.begin_file("nenkin", f"f{number}", bytes(32), 1))
        except HubError as error:
            ends.append(error)

    with parties.h._store.writer:
        threads = [threading.Thread(target=ask, args=(number,)) for number in range(8)]
        for thread in threads:
            thread.start()
        time.sleep(0.3)
        h.close()
        for thread in threads:
            thread.join(10)
            assert not thread.is_alive()
    assert [isinstance(one, HubError) for one in ends] == [True] * 8


def test_many_threads_share_one(near: Served, parties: Parties) -> None:
    with hub.connect(near.address, pool=3) as h:
        answers: dict[int, Any] = {}

        def ask(number: int) -> None:
            row = np.ascontiguousarray(parties.nenkin[number % 6 : number % 6 + 1])
            answers[number] = h.inquire(tax_inquiry(f"r{number}"), row, parties.town)

        threads = [threading.Thread(target=ask, args=(number,)) for number in range(32)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(30)
        assert sorted(answers) == list(range(32))
        assert all(answer.status.tolist() == [0] for answer in answers.values())


FORKED = """
import os, signal, sys, warnings
import hub

warnings.simplefilter("error", ResourceWarning)
h = hub.connect(sys.argv[1])
h.checkpoint()
child = os.fork()
if child == 0:
    # Whoever waits for ever here is left behind by the test.
    signal.alarm(40)
    try:
        h.checkpoint()
    except hub.errors.RequestError as error:
        assert "from before a fork" in str(error), error
        h.close()
        with hub.connect(sys.argv[1]) as own:
            own.checkpoint()
        os._exit(7)
    os._exit(1)
_, status = os.waitpid(child, 0)
assert os.waitstatus_to_exitcode(status) == 7
h.checkpoint()
h.close()
print("both")
"""


def test_a_fork_connects_anew_and_its_parent_goes_on(near: Served) -> None:
    done = subprocess.run([sys.executable, "-c", FORKED, near.address], capture_output=True, text=True, timeout=60,
                          check=False)  # fmt: skip
    assert (done.returncode, done.stdout, done.stderr) == (0, "both\n", "")


# -- types


def test_the_types_are_those_of_the_embedded_hub() -> None:
    assert PLACE.read_text(encoding="utf-8") == write_types(), "python tools/write_wire_types.py"
    text = PLACE.read_text(encoding="utf-8")
    assert len(re.findall("^    def ", text, re.MULTILINE)) == len(METHODS) - len(PROPERTIES)


def test_a_call_that_waits_for_a_server_ends_when_the_connection_is_closed(parties: Parties) -> None:
    served = Served(parties.h, plain_config(["nenkin"]))
    h = hub.connect(served.address)
    served.stop()
    ends: list[Any] = []

    def ask() -> None:
        try:
            ends.append(h.checkpoint(timeout=600))
        except HubError as error:
            ends.append(error)

    thread = threading.Thread(target=ask)
    thread.start()
    time.sleep(0.5)
    h.close()
    thread.join(10)
    assert not thread.is_alive()
    assert isinstance(ends[0], HubError)
