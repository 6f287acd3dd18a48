"""Clients of HTTP: one that posts, one that has the hub's methods, and sockets that send anything."""

from __future__ import annotations

import asyncio
import base64
import http.client
import json
import socket
import ssl
import threading
import urllib.parse
from pathlib import Path
from typing import Any

import msgspec
from certificates import Issued
from served import Network, Served

import hub
from hub.errors import HubError
from hub.wire.caller import Wanted, WireCaller
from hub.wire.config import Config, Http, Proxy
from hub.wire.faults import error_of
from hub.wire.methods import METHODS, REPLY_DECODERS, REQUEST_DECODERS
from hub.wire.words import Fault
from parties import Parties

JSON, MSGPACK = "application/json", "application/msgpack"


class Answer:
    """One HTTP answer."""

    def __init__(self, response: http.client.HTTPResponse) -> None:
        self.status, self.body = response.status, response.read()
        self.headers = {name.lower(): value for name, value in response.getheaders()}

    @property
    def json(self) -> Any:
        return json.loads(self.body)

    def __repr__(self) -> str:
        return f"Answer({self.status}, {self.body[:200]!r})"


class UnixConnection(http.client.HTTPConnection):
    """To a socket's path."""

    def __init__(self, path: str) -> None:
        super().__init__("hub", timeout=10)
        self._path = path

    def connect(self) -> None:
        self.sock = socket.socket(socket.AF_UNIX)
        self.sock.settimeout(10)
        self.sock.connect(self._path)


def web_config(network: Network, codes: list[str], socket_path: str | None = None, **changes: Any) -> Config:
    proxy = None if socket_path is None else Proxy(socket_path)
    return network.config(codes, http=Http("127.0.0.1:0", proxy), **changes)


class Web:
    """A hub that is served over HTTP, and its addresses.

    Attributes:
        port: of the TLS socket. path: of the proxy's.
    """

    def __init__(self, parties: Parties, network: Network, codes: list[str] | None = None, **changes: Any) -> None:
        self.parties, self.network = parties, network
        self.path = str(parties.folder.parent / "proxy.sock")
        self.log = parties.folder.parent / "security.log"
        codes = codes or ["nenkin", parties.town, "portal"]
        config = web_config(network, codes, self.path, security_log=str(self.log), **changes)
        self.served = Served(parties.h, config, as_usual=True)
        assert self.served.server is not None
        assert self.served.server.http is not None
        self.port = int(str(self.served.server.http.address).rpartition(":")[2])

    def stop(self) -> None:
        self.served.stop()

    def refused(self) -> list[Any]:
        """What the security log says."""
        return [json.loads(line) for line in self.log.read_text().splitlines()]

    def tls(self, client: Issued | None = None) -> ssl.SSLSocket:
        """A connection that sends what it likes."""
        raw = socket.create_connection(("127.0.0.1", self.port), timeout=10)
        return self.network.context(client).wrap_socket(raw, server_hostname="127.0.0.1")

    def unix(self) -> socket.socket:
        sock = socket.socket(socket.AF_UNIX)
        sock.settimeout(10)
        sock.connect(self.path)
        return sock

    def connection(self, client: Issued | None = None) -> http.client.HTTPConnection:
        context = self.network.context(client)
        return http.client.HTTPSConnection("127.0.0.1", self.port, timeout=10, context=context)

    def post(self, method: str, arguments: Any = None, *, client: Issued | None = None, **headers: str) -> Answer:
        """One request in JSON over a connection of its own."""
        body = b"" if arguments is None else json.dumps(arguments).encode()
        return self.send("POST", f"/v1/{method}", body, {"content-type": JSON, **named(headers)}, client=client)

    def send(
        self, verb: str, path: str, body: Any = None, headers: dict[str, str] | None = None, *,
        client: Issued | None = None,
    ) -> Answer:  # fmt: skip
        connection = self.connection(client)
        try:
            connection.request(verb, path, body, headers or {})
            return Answer(connection.getresponse())
        finally:
            connection.close()

    def post_proxied(self, method: str, arguments: Any = None, **headers: str) -> Answer:
        """One request as a proxy hands it on."""
        connection = UnixConnection(self.path)
        body = b"" if arguments is None else json.dumps(arguments).encode()
        try:
            connection.request("POST", f"/v1/{method}", body, {"content-type": JSON, **named(headers)})
            return Answer(connection.getresponse())
        finally:
            connection.close()


def named(headers: dict[str, str]) -> dict[str, str]:
    return {name.replace("_", "-"): value for name, value in headers.items()}


def escaped(client: Issued) -> str:
    """A certificate as nginx writes it into a header."""
    return urllib.parse.quote(Path(client.cert).read_text(), safe="")


def b64(data: Any) -> str:
    """A column in JSON."""
    return base64.b64encode(bytes(data)).decode()


def read_answers(sock: socket.socket, count: int = 1) -> list[Answer]:
    """What a connection answers."""
    found = []
    for _ in range(count):
        response = http.client.HTTPResponse(sock)
        response.begin()
        found.append(Answer(response))
    return found


def ended(sock: socket.socket) -> bool:
    """Whether the server closes, whatever it says before."""
    try:
        while sock.recv(65_536):
            pass
    except (ConnectionError, ssl.SSLError):
        return True
    except TimeoutError:
        return False
    return True


class HttpCaller(WireCaller):
    """The client's calls as requests over one HTTP connection, in JSON or in MessagePack."""

    def __init__(self, remote: Any, web: Any, media: str) -> None:
        super().__init__(remote._caller._options)
        self._wire, self._media = remote._caller, media
        self._http, self._using = web.connection(), threading.Lock()

    async def close(self) -> None:
        self._http.close()
        await self._wire.close()

    async def _once(self, wanted: Wanted, arguments: bytes) -> memoryview:
        return await asyncio.to_thread(self._post, wanted, arguments)

    def _post(self, wanted: Wanted, arguments: bytes) -> memoryview:
        name = wanted.name
        headers = {"content-type": self._media}
        institution = wanted.institution or self._options.institution
        if institution is not None:
            headers["hub-institution"] = institution
        if self._media == JSON:
            arguments = msgspec.json.encode(REQUEST_DECODERS[name].decode(arguments))
        with self._using:
            self._http.request("POST", f"/v1/{name}", arguments, headers)
            answer = Answer(self._http.getresponse())
        if answer.status != 200:
            assert answer.headers["content-type"] == "application/problem+json"
            raise error_from(answer)
        assert answer.headers["content-type"] == self._media
        body = answer.body
        if self._media == JSON:
            body = msgspec.msgpack.encode(msgspec.json.decode(body, type=METHODS[name].result.type))
        if wanted.progress is not None:
            told = REPLY_DECODERS[name].decode(body)
            wanted.progress(getattr(getattr(told, "receipt", told), "rows", 0))
        return memoryview(body)


def error_from(answer: Answer) -> HubError:
    """The error of a problem document, as the wire's client has it."""
    problem = answer.json
    assert problem["status"] == answer.status
    words = [problem.get(word) for word in ("code", "detail", "retry_safe", "retry_after", "cause")]
    return error_of(Fault(None, *words, problem.get("rows", [])))


def remote_over(web: Web, media: str) -> Any:
    """The hub's methods, over HTTP."""
    remote = web.network.connect(web.served)
    remote._caller = HttpCaller(remote, web, media)
    assert isinstance(remote, hub.Remote)
    return remote



