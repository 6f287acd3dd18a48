"""docs/http.md: its commands run as printed, and its nginx is a real one before a real hub."""

from __future__ import annotations

import http.client
import re
import shutil
import socket
import ssl
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from certificates import Authority, Issued
from posting import JSON, Answer, Web, escaped, read_answers
from served import Network

from hub.limits import HTTP_JSON_BYTES_MAX
from parties import Parties

PAGE = (Path(__file__).parents[2] / "docs" / "http.md").read_text(encoding="utf-8")


def block(language: str) -> str:
    (found,) = re.findall(rf"^```{language}\n(.*?)^```", PAGE, re.MULTILINE | re.DOTALL)
    return str(found)


def free_port() -> int:
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        return int(sock.getsockname()[1])


def need(*programs: str) -> None:
    for program in programs:
        if shutil.which(program) is None and not Path("/usr/sbin", program).exists():
            pytest.skip(f"{program} is not installed")


def test_the_commands_of_the_page_run_as_printed(tmp_path: Path) -> None:
    need("bash", "openssl", "curl")
    tools = tmp_path / "bin"
    tools.mkdir()
    (tools / "hub").write_text(f'#!/bin/sh\nexec {sys.executable} -m hub "$@"\n')
    (tools / "hub").chmod(0o755)
    text = block("sh")
    # Other ports than printed: something else may listen there.
    for port in ("7411", "7443"):
        text = text.replace(port, str(free_port()))
    work = tmp_path / "work"
    work.mkdir()
    done = subprocess.run(
        ["bash", "-euo", "pipefail", "-c", text], cwd=work, capture_output=True, text=True, timeout=120, check=False,
        env={"PATH": f"{tools}:/usr/local/bin:/usr/bin:/bin", "LANG": "C.UTF-8"},
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    said = re.sub(r'"received_at":\d+', '"received_at":0', done.stdout)
    for line in re.sub(r'"received_at":\d+', '"received_at":0', block("json")).splitlines():
        assert line in said.splitlines()
    assert '"complete":true' in said
    assert said.splitlines()[-1] == "stopped"


def test_the_python_of_the_page_runs_as_printed() -> None:
    done = subprocess.run([sys.executable, "-c", block("python")], capture_output=True, text=True, check=True)
    for line in done.stdout.splitlines():
        assert f"# {line}" in PAGE


class Nginx:
    """The page's nginx before a hub: a process of its own, in a folder of its own."""

    def __init__(self, folder: Path, web: Web) -> None:
        network, self.port = web.network, free_port()
        self.network = network
        server = block("nginx")
        for printed, here in (
            ("listen 443 ssl", f"listen 127.0.0.1:{self.port} ssl"),
            ("/etc/hub/server.pem", network.host.cert),
            ("/etc/hub/server.key", network.host.key),
            ("/etc/hub/clients-ca.pem", network.authority.ca),
            ("/run/hub/http.sock", web.path),
        ):
            assert printed in server
            server = server.replace(printed, here)
        paths = "".join(
            f"{name}_temp_path {folder}/{name};\n" for name in ("client_body", "proxy", "fastcgi", "uwsgi", "scgi")
        )
        # Whoever runs the tests is whom the socket lets in.
        user = "user root;\n" if Path("/proc/self").stat().st_uid == 0 else ""
        config = folder / "nginx.conf"
        config.write_text(
            f"{user}daemon off;\nworker_processes 1;\npid {folder}/pid;\nerror_log {folder}/error.log;\n"
            f"events {{}}\nhttp {{\naccess_log off;\n{paths}{server}}}\n"
        )
        program = shutil.which("nginx") or "/usr/sbin/nginx"
        self._process = subprocess.Popen([program, "-p", str(folder), "-c", str(config)], stderr=subprocess.DEVNULL)
        for _ in range(400):
            try:
                socket.create_connection(("127.0.0.1", self.port), timeout=1).close()
                return
            except OSError:
                assert self._process.poll() is None, (folder / "error.log").read_text()
                time.sleep(0.02)
        raise AssertionError("nginx does not listen")

    def stop(self) -> None:
        self._process.terminate()
        self._process.wait(20)

    def tls(self) -> ssl.SSLSocket:
        raw = socket.create_connection(("127.0.0.1", self.port), timeout=20)
        return self.network.context().wrap_socket(raw, server_hostname="127.0.0.1")

    def post(
        self, method: str, body: bytes, client: Issued | None = None, headers: dict[str, str] | None = None
    ) -> Answer:
        context = self.network.context(client)
        connection = http.client.HTTPSConnection("127.0.0.1", self.port, timeout=20, context=context)
        try:
            connection.request("POST", f"/v1/{method}", body, {"content-type": JSON, **(headers or {})})
            return Answer(connection.getresponse())
        finally:
            connection.close()


@pytest.fixture(scope="module")
def behind(tmp_path_factory: pytest.TempPathFactory, network: Network) -> Iterator[tuple[Web, Nginx]]:
    need("nginx")
    folder = tmp_path_factory.mktemp("nginx")
    network.authority.revoke([])
    with Parties(tmp_path_factory.mktemp("behind") / "hub") as parties:
        web = Web(parties, network, ["nenkin"], crls=True)
        nginx = Nginx(folder, web)
        try:
            yield web, nginx
        finally:
            nginx.stop()
            web.stop()
            network.authority.revoke([])


def test_behind_nginx_the_right_certificate_works(behind: tuple[Web, Nginx]) -> None:
    web, nginx = behind
    assert nginx.post("checkpoint", b"{}").json == web.parties.h.checkpoint()
    answer = nginx.post("status", b'{"request_id":"x"}')
    assert (answer.status, answer.json["code"]) == (400, "request")
    assert nginx.post("successions", b"{}" + b" " * (HTTP_JSON_BYTES_MAX - 2)).status == 200
    with nginx.tls() as sock:
        # Refused by its announcement: who would have to send all of it first might not see why it was cut.
        lines = "Host: hub", f"Content-Type: {JSON}", f"Content-Length: {HTTP_JSON_BYTES_MAX + 1}"
        sock.sendall("\r\n".join(["POST /v1/successions HTTP/1.1", *lines, "", "{"]).encode())
        assert read_answers(sock)[0].status == 413


@pytest.mark.parametrize("header", ["X-Client-Cert", "x-client-cert", "X_Client_Cert", "Client-Cert"])
def test_behind_nginx_a_header_from_outside_is_not_believed(behind: tuple[Web, Nginx], header: str) -> None:
    """A client that is not listed shows the certificate of one that is, which anybody may have."""
    web, nginx = behind
    unlisted = web.network.authority.issue("outside")
    forged = {header: escaped(web.network.client)}
    assert nginx.post("checkpoint", b"{}", unlisted, forged).status == 403
    assert nginx.post("checkpoint", b"{}", unlisted).status == 403
    # And who is listed is who it is, whatever it claims.
    assert nginx.post("checkpoint", b"{}", headers={header: escaped(unlisted)}).status == 200


def test_behind_nginx_no_certificate_and_a_strangers_are_refused(
    behind: tuple[Web, Nginx], stranger: Authority
) -> None:
    web, nginx = behind
    bare = ssl.create_default_context(cafile=web.network.authority.ca)
    for context in (bare, web.network.context(stranger.issue("outsider"))):
        connection = http.client.HTTPSConnection("127.0.0.1", nginx.port, timeout=20, context=context)
        try:
            connection.request("POST", "/v1/checkpoint", b"{}", {"x-client-cert": escaped(web.network.client)})
            assert connection.getresponse().status == 400
        except (ConnectionError, ssl.SSLError):
            pass
        finally:
            connection.close()


def test_behind_nginx_a_revoked_certificate_is_refused_by_the_hub(behind: tuple[Web, Nginx]) -> None:
    web, nginx = behind
    server = web.served.server
    assert server is not None
    web.network.authority.revoke([web.network.client])
    web.served.do(server.reload)
    answer = nginx.post("checkpoint", b"{}")
    assert (answer.status, answer.json["code"]) == (403, "access")
    assert "revoked" in answer.json["detail"]
    assert (web.refused()[-1]["what"], web.refused()[-1]["via"]) == ("certificate refused", "proxy")
    web.network.authority.revoke([])
    web.served.do(server.reload)
    assert nginx.post("checkpoint", b"{}").status == 200
