"""Who may call for whom over HTTP: by the certificate of the TLS socket, or of the proxy's header on its own socket."""

from __future__ import annotations

import base64
import contextlib
import datetime as dt
import os
import socket
import ssl
import stat
from collections.abc import Iterator
from pathlib import Path

import msgspec
import pytest
from certificates import DAY, Authority
from cryptography.hazmat.primitives.serialization import Encoding
from posting import JSON, Answer, UnixConnection, Web, ended, escaped, read_answers, web_config
from served import Network, Served, plain_config

from hub.errors import RequestError
from hub.server import Server
from hub.wire.config import Certificate, Config, Http, Proxy, load_config
from parties import Parties

FORGED = ("x-client-cert", "client-cert", "client-cert-chain", "X-Client-Cert")


@pytest.fixture
def own(tmp_path: Path, network: Network) -> Iterator[Web]:
    """A hub whose certificates may be revoked, with two clients."""
    network.authority.revoke([])
    named = network.authority.issue("named", san="wire.kanto.example")
    with Parties(tmp_path / "hub") as parties:
        certificates = [
            Certificate(name="platform", institutions=["nenkin", parties.town], key_sha256=network.client.key_sha256),
            Certificate(name="kanto", institutions=[parties.other_town], san="wire.kanto.example"),
        ]
        found = Web(parties, network, crls=True, certificates=certificates)
        found.named = named  # type: ignore[attr-defined]
        try:
            yield found
        finally:
            found.stop()
            network.authority.revoke([])


def test_no_certificate_or_one_of_another_authority_is_no_connection(web: Web, stranger: Authority) -> None:
    bare = ssl.create_default_context(cafile=web.network.authority.ca)
    foreign = web.network.context(stranger.issue("foreign"))
    ended_one = web.network.context(web.network.authority.issue("late", begin=-2 * DAY, end=-DAY))
    for context in (bare, foreign, ended_one):
        raw = socket.create_connection(("127.0.0.1", web.port), timeout=10)
        answered = b""
        with (
            contextlib.suppress(ssl.SSLError, ConnectionError),
            context.wrap_socket(raw, server_hostname="127.0.0.1") as sock,
        ):
            sock.sendall(b"POST /v1/checkpoint HTTP/1.1\r\nHost: h\r\n\r\n")
            answered = sock.recv(1_000)
        assert answered == b""
    assert "handshake refused" in {line["what"] for line in web.refused()}


def test_older_tls_is_refused(web: Web) -> None:
    context = web.network.context()
    context.maximum_version = ssl.TLSVersion.TLSv1_2
    raw = socket.create_connection(("127.0.0.1", web.port), timeout=10)
    with pytest.raises((ssl.SSLError, ConnectionError)):
        context.wrap_socket(raw, server_hostname="127.0.0.1")


def test_one_that_is_not_listed_is_told_so_and_in_the_security_log(web: Web) -> None:
    unlisted = web.network.authority.issue("unlisted")
    answer = web.post("checkpoint", client=unlisted)
    assert (answer.status, answer.json["code"], answer.headers["connection"]) == (403, "access", "close")
    assert web.refused()[-1]["what"] == "certificate refused"
    assert web.send("GET", "/openapi.json", client=unlisted).status == 403


def test_the_institution_of_another_is_refused_and_in_the_security_log(web: Web) -> None:
    parties = web.parties
    answer = web.post("wanted_count", {}, hub_institution=parties.other_town)
    assert (answer.status, answer.json["code"]) == (403, "access")
    line = web.refused()[-1]
    assert (line["what"], line["institution"]) == ("institution refused", parties.other_town)
    assert line["method"] == "wanted_count"
    # What is no code may be anything: it stands in no log.
    assert web.post("wanted_count", {}, hub_institution=parties.known[0].tobytes().hex()).status == 403
    assert web.refused()[-1]["institution"] == "unknown"
    assert web.post("disclosure_key", {"portal_alias": ""}, hub_institution="nenkin").status == 403
    # With several to choose from nobody guesses.
    answer = web.post("wanted_count", {})
    assert (answer.status, "hub-institution" in answer.json["detail"]) == (400, True)


def test_the_only_institution_need_not_be_named(own: Web) -> None:
    answer = own.post("wanted_count", {}, client=own.named)  # type: ignore[attr-defined]
    assert (answer.status, answer.json) == (200, 0)


@pytest.mark.parametrize("header", FORGED)
def test_a_header_with_a_certificate_is_refused_on_tls(web: Web, header: str) -> None:
    """Whatever it says: the certificate is that of the socket."""
    for value in (escaped(web.network.client), "", "nonsense"):
        answer = web.send("POST", "/v1/checkpoint", b"{}", {"content-type": JSON, header: value})
        assert (answer.status, answer.json["code"]) == (400, "request")
        assert web.refused()[-1] | {"at": 0} == {
            "at": 0, "what": "certificate header refused", "certificate": "platform", "peer": "127.0.0.1"
        }


def test_a_revoked_certificate_is_refused_while_its_connection_lasts(own: Web) -> None:
    network, server = own.network, own.served.server
    assert server is not None
    kept = own.connection()
    kept.request("POST", "/v1/checkpoint")
    assert Answer(kept.getresponse()).status == 200
    idle = own.tls()
    network.authority.revoke([network.client])
    assert own.post_proxied("checkpoint", x_client_cert=escaped(network.client)).status == 200
    own.served.do(server.reload)
    assert ended(idle)
    assert ended(kept.sock)
    for answer in (own.post("checkpoint"), own.post_proxied("checkpoint", x_client_cert=escaped(network.client))):
        assert (answer.status, answer.json["code"]) == (403, "access")
        assert "revoked" in answer.json["detail"]
    assert own.post("checkpoint", client=own.named).status == 200  # type: ignore[attr-defined]
    network.authority.revoke([])
    own.served.do(server.reload)
    assert own.post("checkpoint").status == 200


# -- behind a proxy


def test_behind_a_proxy_the_header_says_who_asks(own: Web) -> None:
    town = own.parties.other_town
    named = own.named  # type: ignore[attr-defined]
    der = base64.b64encode(named.certificate.public_bytes(Encoding.DER)).decode()
    for value in (escaped(named), f":{der}:"):
        answer = own.post_proxied("wanted_count", {}, x_client_cert=value)
        assert (answer.status, answer.json) == (200, 0)
    # Each request its own, over one connection.
    connection = UnixConnection(own.path)
    found = []
    for client in (named, own.network.client, named):
        headers = {"content-type": JSON, "x-client-cert": escaped(client), "hub-institution": town}
        connection.request("POST", "/v1/wanted_count", b"{}", headers)
        found.append(Answer(connection.getresponse()).status)
    connection.close()
    assert found == [200, 403, 200]


def test_behind_a_proxy_whoever_shows_no_certificate_is_refused(web: Web) -> None:
    good = escaped(web.network.client)
    for headers in ({}, {"x_client_cert": ""}, {"client_cert": good}):
        answer = web.post_proxied("checkpoint", {}, **headers)
        assert (answer.status, answer.json["code"]) == (403, "access")
        assert (web.refused()[-1]["what"], web.refused()[-1]["via"]) == ("certificate refused", "proxy")
    with web.unix() as sock:
        lines = [f"X-Client-Cert: {good}"] * 2
        sock.sendall("\r\n".join(["POST /v1/checkpoint HTTP/1.1", "Host: hub", *lines, "", ""]).encode())
        assert read_answers(sock)[0].status == 400
    assert web.refused()[-1]["cause"] == "more than one"


def test_behind_a_proxy_certificates_are_checked_again(web: Web, stranger: Authority) -> None:
    """A proxy that lets too many in is not believed."""
    network = web.network
    before = web.post_proxied("checkpoint", {}, x_client_cert=escaped(network.client))
    assert before.status == 200
    good = escaped(network.client)
    values = {
        "signed": escaped(stranger.issue("foreign")),
        "ended": escaped(network.authority.issue("late", begin=-2 * DAY, end=-DAY)),
        "begun": escaped(network.authority.issue("early", begin=DAY, end=2 * DAY)),
        "clients": escaped(network.authority.issue("server2", server=True)),
        "listed": escaped(network.authority.issue("unlisted2")),
    }
    for word, value in values.items():
        answer = web.post_proxied("checkpoint", {}, x_client_cert=value)
        assert (answer.status, answer.json["code"]) == (403, "access")
        assert word in answer.json["detail"], word
    for value in ("nonsense", good[:-40], good.replace("MI", "MJ", 1), ":" + "A" * 40 + ":", "::", ":", "%00"):
        answer = web.post_proxied("checkpoint", {}, x_client_cert=value)
        assert (answer.status, answer.json["code"]) == (403, "access")


def test_the_proxys_socket_is_nobody_elses(web: Web) -> None:
    mode = os.stat(web.path).st_mode
    assert stat.S_ISSOCK(mode)
    assert stat.S_IMODE(mode) == 0o660


def test_the_proxys_socket_is_gone_after_the_server_and_a_left_one_is_replaced(
    tmp_path: Path, network: Network
) -> None:
    path = tmp_path / "p.sock"
    with socket.socket(socket.AF_UNIX) as left:
        left.bind(str(path))
    with Parties(tmp_path / "hub") as parties:
        config = network.config(["nenkin"], http=Http(proxy=Proxy(str(path), 0o600, "x-cert")))
        served = Served(parties.h, config)
        assert stat.S_IMODE(path.stat().st_mode) == 0o600
        connection = UnixConnection(str(path))
        connection.request("POST", "/v1/checkpoint", headers={"x-cert": escaped(network.client)})
        assert Answer(connection.getresponse()).status == 200
        # A second one does not take it away from the first.
        with pytest.raises(OSError, match="another server"):
            Served(parties.h, config)
        served.stop()
        assert not path.exists()
        path.write_text("mine")
        with pytest.raises(RequestError, match="expected a socket or nothing"):
            Served(parties.h, config)
        assert path.read_text() == "mine"


# -- configuration

TOML = """
folder = "linkage"
listen = "127.0.0.1:0"
[tls]
certificate = "a"
key = "b"
ca = "c"
[[certificates]]
name = "p"
san = "x"
institutions = ["nenkin"]
"""
PLAIN = 'folder = "linkage"\nlisten = "127.0.0.1:0"\n[plain]\nname = "p"\ninstitutions = ["nenkin"]\n'


def load(tmp_path: Path, text: str) -> Config:
    (tmp_path / "hub.toml").write_text(text)
    return load_config(tmp_path / "hub.toml", plain=True)


def test_http_is_configured_beside_the_wire(tmp_path: Path) -> None:
    config = load(tmp_path, TOML + '[http]\nlisten = "127.0.0.1:1"\n[http.proxy]\nsocket = "s"\nmode = 0o600\n')
    assert config.http == Http("127.0.0.1:1", Proxy(str(tmp_path / "s"), 0o600))
    assert load(tmp_path, TOML).http is None
    assert load(tmp_path, PLAIN + '[http]\nlisten = "127.0.0.1:1"\n').http == Http("127.0.0.1:1")


@pytest.mark.parametrize(
    ("text", "words"),
    [
        (TOML + "[http]\n", r"expected listen or \[http.proxy\]"),
        (TOML + '[http]\nlisten = "nowhere"\n', "http.listen: expected host:port"),
        (TOML + '[http]\nport = 3\n', "port"),
        (TOML + '[http.proxy]\nsocket = "s"\nmode = 0o7777\n', "mode"),
        (TOML + '[http.proxy]\nsocket = "s"\nheader = "X_Cert"\n', "header"),
        (PLAIN + '[http]\nlisten = "0.0.0.0:1"\n', "expected a loopback address"),
        (PLAIN + '[http.proxy]\nsocket = "s"\n', r"expected \[tls\] with \[http.proxy\]"),
    ],
)
def test_a_configuration_that_contradicts_itself_is_refused(tmp_path: Path, text: str, words: str) -> None:
    with pytest.raises(RequestError, match=words):
        load(tmp_path, text)


def test_without_tls_it_answers_on_loopback(parties: Parties) -> None:
    config = msgspec.structs.replace(plain_config(["nenkin"]), http=Http("127.0.0.1:0"))
    served = Served(parties.h, config)
    assert served.server is not None
    assert served.server.http is not None
    address = str(served.server.http.address)
    assert address.startswith("http://127.0.0.1:")
    with socket.create_connection(("127.0.0.1", int(address.rpartition(":")[2])), timeout=10) as sock:
        for header, status in (("X: y", 200), ("X-Client-Cert: y", 400)):
            sock.sendall(f"POST /v1/checkpoint HTTP/1.1\r\nHost: hub\r\n{header}\r\n\r\n".encode())
            assert read_answers(sock)[0].status == status
    served.stop()


def test_an_address_in_use_starts_nothing(tmp_path: Path, network: Network) -> None:
    with Parties(tmp_path / "hub") as parties, socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        config = network.config(["nenkin"], http=Http(f"127.0.0.1:{taken.getsockname()[1]}"))
        with pytest.raises(OSError, match="in use"):
            Served(parties.h, config)
        assert parties.h.served_at() is None


def test_a_certificate_that_has_ended_since_is_refused(tmp_path: Path, network: Network) -> None:
    with Parties(tmp_path / "hub") as parties:
        now = [dt.datetime.now(dt.UTC).timestamp()]
        config = web_config(network, ["nenkin"], str(tmp_path / "p.sock"))
        server = Server(parties.h, config, lambda: now[0])
        assert server.http is not None
        proxied = server.http._gate._proxied
        assert proxied is not None
        value = escaped(network.client).encode()
        assert proxied.identify(value).name == "platform"
        now[0] += 3 * 86_400
        with pytest.raises(RequestError, match="has ended"):
            proxied.identify(value)
