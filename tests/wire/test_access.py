"""Who may connect and call for whom: certificates over real TLS, and what the security log says of the others."""

from __future__ import annotations

import datetime as dt
import hashlib
import logging
import socket
import ssl
import time
from collections.abc import Iterator
from pathlib import Path

import msgspec
import pytest
from certificates import Authority, Issued
from cryptography.hazmat.primitives.serialization import Encoding
from served import Network, Served, Wires

import hub
from hub.errors import RequestError
from hub.wire.access import Access
from hub.wire.config import Certificate, Limits
from hub.wire.faults import AccessError, WireError
from inquiries import tax_inquiry
from parties import Parties


@pytest.fixture
def network(tmp_path: Path) -> Network:
    """One of its own: what it revokes is nobody else's."""
    return Network(tmp_path / "network")


@pytest.fixture
def served(parties: Parties, network: Network) -> Iterator[Served]:
    found = Served(parties.h, network.config(["nenkin", parties.town], crls=True, limits=Limits(hello_s=2.0)))
    yield found
    found.stop()


def told(caplog: pytest.LogCaptureFixture) -> list[dict[str, str]]:
    return [msgspec.json.decode(record.message) for record in caplog.records if record.name == "hub.security"]


def wait_for(caplog: pytest.LogCaptureFixture, count: int) -> list[dict[str, str]]:
    deadline = time.monotonic() + 10
    while len(told(caplog)) < count and time.monotonic() < deadline:
        time.sleep(0.01)
    return told(caplog)


def test_a_listed_certificate_calls_for_its_institutions(served: Served, network: Network, parties: Parties) -> None:
    with network.connect(served) as h:
        assert h.institutions == sorted(["nenkin", parties.town])
        assert h.inquire(tax_inquiry("r"), parties.nenkin[:1], parties.town).status.tolist() == [0]
        assert len(h.collect(parties.town)[0]) == 1


def test_only_tls_1_3_is_spoken(served: Served, network: Network) -> None:
    with network.socket(served) as tls:
        assert tls.version() == "TLSv1.3"
    context = network.context()
    context.maximum_version = ssl.TLSVersion.TLSv1_2
    with (
        socket.create_connection(("127.0.0.1", served.port), timeout=10) as raw,
        pytest.raises((ssl.SSLError, ConnectionError)),
        context.wrap_socket(raw, server_hostname="127.0.0.1"),
    ):
        pass


def test_an_expired_a_future_and_a_foreign_certificate_are_refused_by_tls(
    served: Served, network: Network, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    day = dt.timedelta(days=1)
    (tmp_path / "foreign").mkdir()
    issued = [
        network.authority.issue("expired", begin=-3 * day, end=-day),
        network.authority.issue("future", begin=day, end=3 * day),
        Authority(tmp_path / "foreign").issue("foreign"),
        network.authority.issue("a server's", server=True),
    ]
    for one in issued:
        with pytest.raises((AccessError, WireError)):
            network.connect(served, one)
    found = wait_for(caplog, len(issued))
    assert [line["what"] for line in found] == ["handshake refused"] * len(issued)
    assert {line["cause"] for line in found} == {"CERTIFICATE_VERIFY_FAILED"}
    assert "certificate has expired" in {line.get("verify") for line in found}


def test_no_certificate_is_refused(served: Served, network: Network) -> None:
    context = ssl.create_default_context(cafile=network.authority.ca)
    raw = socket.create_connection(("127.0.0.1", served.port), timeout=10)
    with pytest.raises((OSError, EOFError)):
        Wires(0, sock=context.wrap_socket(raw, server_hostname="127.0.0.1"))


def test_an_unlisted_certificate_is_told_so_and_logged(
    served: Served, network: Network, caplog: pytest.LogCaptureFixture
) -> None:
    with pytest.raises(AccessError, match="certificate: expected one that is listed"):
        network.connect(served, network.authority.issue("unlisted"))
    (line,) = told(caplog)
    assert line["what"] == "certificate refused"
    assert line["peer"] == "127.0.0.1"


def test_a_server_that_another_authority_issued_is_refused_by_the_client(
    served: Served, network: Network, tmp_path: Path
) -> None:
    (tmp_path / "other").mkdir()
    other = Authority(tmp_path / "other")
    with pytest.raises(AccessError, match="the server's certificate is not taken"):
        hub.connect(served.address, cert=network.client.cert, key=network.client.key, ca=other.ca)


def test_an_institution_that_acts_for_another_is_refused_and_logged(
    served: Served, network: Network, parties: Parties, caplog: pytest.LogCaptureFixture
) -> None:
    with network.connect(served) as h:
        for call in (
            lambda: h.inquire(tax_inquiry("x", requester=parties.other_town), parties.nenkin[:1], parties.town),
            lambda: h.collect(parties.other_town),
            lambda: h.history(parties.portal[0]),
            lambda: h.tickets(parties.nenkin[0].tobytes().hex(), 1),
        ):
            with pytest.raises(AccessError):
                call()
    assert parties.h.stats()["records"] == 0
    lines = told(caplog)
    assert [line["institution"] for line in lines] == [
        parties.other_town, parties.other_town, "portal", "unknown",
    ]  # fmt: skip
    assert [line["method"] for line in lines] == ["inquire", "collect", "history", "tickets"]
    assert parties.nenkin[0].tobytes().hex() not in caplog.text
    assert {line["certificate"] for line in lines} == {"platform"}
    assert {line["key_sha256"] for line in lines} == {network.client.key_sha256}


def test_a_handle_of_another_institution_is_refused(served: Served, network: Network, parties: Parties) -> None:
    """Also of one that the same platform carries."""
    parties.ask("r", [0])
    (handle,) = parties.handles_of_town(0)
    with network.connect(served) as h:
        with pytest.raises(RequestError, match="another's"):
            h.withhold(handle, "g", dt.date(2027, 1, 1), institution="nenkin")
        with pytest.raises(RequestError, match="another's"):
            h.release(handle, "reason", clerk="c", requester="nenkin")
        with pytest.raises(RequestError, match="another's"):
            h.ask_alias(handle, requester="nenkin")


def test_a_certificate_that_is_revoked_is_cut_and_comes_back_never(
    served: Served, network: Network, caplog: pytest.LogCaptureFixture
) -> None:
    assert served.server is not None
    with network.connect(served) as h:
        assert h.checkpoint()
        wires = Wires(0, sock=network.socket(served))
        network.authority.revoke([network.client])
        served.do(lambda: served.server.reload(always=False))  # type: ignore[union-attr]
        assert wires.ended()
        wires.close()
        with pytest.raises(AccessError, match="revoked"):
            h.checkpoint()
    with pytest.raises(AccessError, match="revoked"):
        network.connect(served)
    assert {line["what"] for line in told(caplog)} == {"certificate refused"}
    # Another list lets it in again.
    network.authority.revoke([])
    served.do(lambda: served.server.reload())  # type: ignore[union-attr]
    with network.connect(served) as h:
        assert h.checkpoint()


def _shown(served: Served, network: Network) -> bytes:
    """The certificate that the server shows to who connects now."""
    with network.socket(served) as sock:
        found = sock.getpeercert(True)
    assert found is not None
    return hashlib.sha256(found).digest()


def _digest(issued: Issued) -> bytes:
    return hashlib.sha256(issued.certificate.public_bytes(Encoding.DER)).digest()


def test_the_servers_certificate_is_renewed_while_it_serves(served: Served, network: Network) -> None:
    assert served.server is not None
    old = network.host
    with network.connect(served) as h:
        assert _shown(served, network) == _digest(old)
        new = network.authority.issue("server", server=True)
        assert (new.cert, new.key) == (old.cert, old.key)
        served.do(lambda: served.server.reload(always=False))  # type: ignore[union-attr]
        assert _shown(served, network) == _digest(new) != _digest(old)
        # Who was there before goes on.
        assert h.checkpoint()


def test_a_certificate_without_its_key_leaves_the_one_before(
    served: Served, network: Network, caplog: pytest.LogCaptureFixture
) -> None:
    assert served.server is not None
    old = network.host
    key = Path(old.key).read_bytes()
    new = network.authority.issue("server", server=True)
    right = Path(new.key).read_bytes()
    for data in (key, b"", b"-----BEGIN PRIVATE KEY-----\n"):
        Path(new.key).write_bytes(data)
        served.do(lambda: served.server.reload())  # type: ignore[union-attr]
        assert _shown(served, network) == _digest(old)
    assert sum("the one before stays in use" in record.getMessage() for record in caplog.records) == 3
    Path(new.key).write_bytes(right)
    served.do(lambda: served.server.reload(always=False))  # type: ignore[union-attr]
    assert _shown(served, network) == _digest(new)


def test_a_list_that_is_overdue_lets_nobody_in(served: Served, network: Network) -> None:
    network.authority.revoke([], due=-dt.timedelta(hours=1))
    served.do(lambda: served.server.reload())  # type: ignore[union-attr]
    with pytest.raises(AccessError, match="expected a valid revocation list of its issuer"):
        network.connect(served)


def test_a_list_that_cannot_be_read_leaves_the_one_before(
    served: Served, network: Network, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    unlisted = network.authority.issue("x")
    network.authority.revoke([network.client])
    served.do(lambda: served.server.reload())  # type: ignore[union-attr]
    (tmp_path / "foreign").mkdir()
    foreign = Authority(tmp_path / "foreign")
    foreign.revoke([unlisted])
    for data in (b"", b"-----BEGIN X509 CRL-----\n", Path(foreign.crl).read_bytes()):
        Path(network.authority.crl).write_bytes(data)
        served.do(lambda: served.server.reload())  # type: ignore[union-attr]
        with pytest.raises(AccessError, match="revoked"):
            network.connect(served)
    assert sum(record.levelno == logging.ERROR for record in caplog.records) == 3


def test_a_certificate_that_ends_while_it_is_connected_is_cut(parties: Parties, network: Network) -> None:
    now = [time.time()]
    config = network.config(["nenkin"])
    access = Access(config, parties.h.catalog.codes, lambda: now[0])
    der = network.client.certificate.public_bytes(Encoding.DER)
    party = access.identify(der)
    assert party.certificate is not None
    end = network.client.certificate.not_valid_after_utc.timestamp()
    now[0] = end - 1
    access.check(party.certificate)
    now[0] = end
    with pytest.raises(AccessError, match="has ended"):
        access.check(party.certificate)


def test_a_certificate_is_known_by_a_name_in_it(parties: Parties, network: Network) -> None:
    listed = [
        Certificate(name="one", institutions=["nenkin"], san="one.example"),
        Certificate(name="key", institutions=[parties.town], key_sha256=network.client.key_sha256),
    ]
    served = Served(parties.h, network.config([], certificates=listed))
    try:
        named = network.authority.issue("named", san="one.example")
        other = network.authority.issue("other", san="two.example")
        with network.connect(served, named) as h:
            assert h.institutions == ["nenkin"]
            # The only one of its certificate.
            assert h.begin_file(request_id="f", requester=None, digest=bytes(32), rows_max=1) is None
            assert h.find_file("nenkin", "f").rows_max == 1
        with network.connect(served) as h:
            assert h.institutions == [parties.town]
        with pytest.raises(AccessError):
            network.connect(served, other)
    finally:
        served.stop()


def test_the_security_log_is_a_file_of_json_lines(parties: Parties, network: Network, tmp_path: Path) -> None:
    path = tmp_path / "security.log"
    served = Served(parties.h, network.config(["nenkin"], security_log=str(path)))
    with network.connect(served) as h, pytest.raises(AccessError):
        h.collect(parties.town)
    served.stop()
    (line,) = path.read_text().splitlines()
    found = msgspec.json.decode(line)
    assert (found["what"], found["institution"], found["method"]) == ("institution refused", parties.town, "collect")


@pytest.mark.parametrize(
    ("changes", "text"),
    [
        ({"certificates": [Certificate(name="x", institutions=["nobody"], san="a")]}, "got nobody"),
        ({"certificates": [Certificate(name="x", institutions=["nenkin"], san="a")] * 2}, "that of x twice"),
    ],
)
def test_a_configuration_that_contradicts_itself_is_refused(
    parties: Parties, network: Network, changes: dict[str, object], text: str
) -> None:
    with pytest.raises(RequestError, match=text):
        Served(parties.h, network.config([], **changes))
