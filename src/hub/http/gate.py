"""One request before the application: who asks, and what is refused before anything of a body is read.

On a TLS socket the certificate is that of the socket, and a header that claims one is refused: either a client forges
it, or a proxy stands where none was configured. Only on the proxy's own socket is such a header believed.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any

from hub.errors import HubError
from hub.http.body import Body, GoneError
from hub.http.calling import Callings, Exchange
from hub.http.problems import PROBLEM, HttpError, encode_problem, headers_of, problem_of
from hub.http.protocol import LONG_HEAD, Application, Bounded, Place
from hub.http.proxied import Proxied
from hub.limits import HTTP_HEAD_BYTES_MAX, HTTP_HEADERS_MAX, WIRE_PART_BYTES
from hub.wire.access import Party, tell_security
from hub.wire.faults import AccessError

Send = Callable[[Any], Awaitable[None]]

DOCUMENT = "/openapi.json"
CALLS = "/v1/"

CLAIMS = (b"client-cert", b"client-cert-chain", b"x-client-cert")
"""Headers in which proxies pass certificates on; beside the one that is configured."""

ALWAYS = [
    # Neither a proxy nor a browser may keep what the hub answers, or take it for something else.
    (b"cache-control", b"no-store"),
    (b"x-content-type-options", b"nosniff"),
]


class Gate:
    """Takes the requests of all HTTP connections of one server."""

    def __init__(
        self, place: Place, callings: Callings, app: Application, header: str | None, proxied: Proxied | None
    ) -> None:
        """Args: header, proxied: of the proxy's socket."""
        self._place, self._callings, self._app, self._proxied = place, callings, app, proxied
        self._header = b"" if header is None else header.encode()
        self._claims = frozenset({*CLAIMS, self._header} - {b""})

    def __repr__(self) -> str:
        return "Gate()"

    async def __call__(self, connection: Bounded, scope: Any, receive: Any, send: Send) -> None:
        reply = Replier(self._place, send)
        try:
            check_head(scope)
            reply.body = Body(receive, scope["headers"])
            party = self._identify(connection, scope["headers"])
            path = scope["path"]
            if path != DOCUMENT and not path.startswith(CALLS):
                raise HttpError(404, f"path: expected {CALLS}<method> or {DOCUMENT}, got another")
            scope["hub"] = Exchange(party, connection.peer, reply.body, self._callings, reply.name)
            await self._app(scope, receive, reply.send)
        except GoneError:
            pass
        except Exception as error:
            # A proxy's connection is for others as well.
            reply.close = error is connection.refusal or (
                isinstance(error, AccessError) and not connection.door.proxied
            )
            await reply.fail(error)
        finally:
            if connection.door.proxied:
                connection.party = None

    def _identify(self, connection: Bounded, headers: list[tuple[bytes, bytes]]) -> Party:
        """Who asks; what is refused is in the security log."""
        if connection.refusal is not None:
            raise connection.refusal
        try:
            if connection.door.proxied:
                connection.party = self._identify_proxied(headers)
            elif any(name in self._claims for name, _ in headers):
                tell_security("certificate header refused", peer=connection.peer, certificate=_name(connection.party))
                raise HttpError(400, "headers: expected no certificate beside that of the connection, got one")
            elif connection.party is not None and connection.party.certificate is not None:
                self._place.access.check(connection.party.certificate)
        except AccessError as error:
            via = "proxy" if connection.door.proxied else None
            tell_security("certificate refused", peer=connection.peer, via=via, cause=str(error))
            raise
        assert connection.party is not None
        return connection.party

    def _identify_proxied(self, headers: list[tuple[bytes, bytes]]) -> Party:
        assert self._proxied is not None
        values = [value for name, value in headers if name == self._header]
        if len(values) > 1:
            tell_security("certificate header refused", via="proxy", cause="more than one")
            raise HttpError(400, "headers: expected one certificate, got several")
        if not values or not values[0]:
            raise AccessError("certificate: expected one of the proxy, got none")
        try:
            return self._proxied.identify(values[0])
        except HubError:
            raise
        except Exception:
            # One that the authority signed and nobody can read.
            raise AccessError("certificate: expected one that can be read, got another") from None


def check_head(scope: Any) -> None:
    """Refuse a head that came whole and is too long; of one that does not end so much is not read.

    Raises:
        HttpError: it is.
    """
    headers = scope["headers"]
    size = len(scope["raw_path"]) + len(scope["query_string"]) + sum(len(name) + len(value) for name, value in headers)
    if len(headers) > HTTP_HEADERS_MAX or size > HTTP_HEAD_BYTES_MAX:
        raise HttpError(431, LONG_HEAD)


def _name(party: Party | None) -> str | None:
    return None if party is None else party.name


class Replier:
    """How the answer to one request leaves.

    Attributes:
        body: of the request; None where it contradicts itself. close: whether the connection ends with the answer.
    """

    def __init__(self, place: Place, send: Send) -> None:
        self._place, self._send = place, send
        self.body: Body | None = None
        self.close = False
        self._begun = False
        self._institution: str | None = None

    def __repr__(self) -> str:
        return f"Replier(begun={self._begun})"

    def name(self, institution: str) -> None:
        """For whom it is: its long answer is counted as in flight."""
        self._institution = institution

    async def send(self, message: Any) -> None:
        """What the application sends, with what every answer carries, and a long body a part at a time."""
        if message["type"] == "http.response.start":
            self._begun = True
            more = list(ALWAYS)
            # Read what was sent before closing: else the client fails at sending, and does not see the answer.
            if self.body is None or not (self.body.done or await self.body.discard()) or self.close:
                more.append((b"connection", b"close"))
            await self._send({**message, "headers": [*message.get("headers", []), *more]})
            return
        body = message.get("body", b"")
        if len(body) <= WIRE_PART_BYTES:
            await self._send(message)
            return
        view, calls, institution = memoryview(body), self._place.calls, self._institution
        if institution is not None:
            calls.count(len(body), institution)
        try:
            for at in range(0, len(body), WIRE_PART_BYTES):
                more_body = message.get("more_body", False) or at + WIRE_PART_BYTES < len(body)
                await self._send({**message, "body": view[at : at + WIRE_PART_BYTES], "more_body": more_body})
        finally:
            if institution is not None:
                calls.count(-len(body), institution)

    async def fail(self, error: BaseException) -> None:
        """Answer with an error, where no answer has begun."""
        problem = problem_of("request", error)
        if self._begun:
            raise error
        body = encode_problem(problem)
        headers = [(b"content-type", PROBLEM.encode()), (b"content-length", str(len(body)).encode())]
        headers += [(name.encode(), value.encode()) for name, value in headers_of(problem)]
        await self.send({"type": "http.response.start", "status": problem.status, "headers": headers})
        await self.send({"type": "http.response.body", "body": body})
