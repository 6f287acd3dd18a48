"""A hub, a provider of sign-in and a portal, over real sockets; and browsers without scripts (httpx)."""

from __future__ import annotations

import html
import io
import re
import socket
import threading
import wsgiref.types
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

import httpx
import numpy as np
import werkzeug.serving
from authlib.oauth2.rfc7636 import create_s256_code_challenge
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec
from joserfc import jwk, jwt
from joserfc.errors import JoseError
from oidc_provider_mock import User
from oidc_provider_mock import app as provider_app
from served import Network, Served

from hub.portal.app import make_server
from hub.portal.config import Alerts, Config, HubSide, Limits, Link, Own, SignIn, Tls
from hub.portal.links import Links, who_of
from hub.portal.web import Portal
from parties import Parties

ACR = "card"
CLIENT = "portal-of-tests"


class StrictProvider:
    """``oidc-provider-mock``, which believes everybody, behind checks of PKCE and ``private_key_jwt``."""

    def __init__(self, key: bytes, users: Sequence[User]) -> None:
        self.users = list(users)
        self._app = provider_app(require_nonce=True, user_claims=self.users)
        self._key = jwk.import_key(key, "EC")
        self._challenges: dict[str, str] = {}
        self._seen: set[str] = set()
        self.refused: list[str] = []
        self.asked: list[str] = []
        self._server = werkzeug.serving.make_server("127.0.0.1", 0, self, threaded=True)
        self.issuer = f"http://127.0.0.1:{self._server.server_port}"
        self._thread = threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True)
        self._thread.start()

    def stop(self) -> None:
        self._server.shutdown()
        self._thread.join(10)
        self._server.server_close()

    def __call__(self, environ: dict[str, Any], start: wsgiref.types.StartResponse) -> Any:
        path, method = environ["PATH_INFO"], environ["REQUEST_METHOD"]
        self.asked.append(path)
        if path == "/oauth2/authorize":
            asked = {name: values[0] for name, values in parse_qs(environ["QUERY_STRING"]).items()}
            if asked.get("code_challenge_method") != "S256" or ACR not in asked.get("acr_values", "").split():
                return self._refuse("authorize", start)

            def note(status: str, headers: list[tuple[str, str]], *rest: Any) -> Any:
                for name, value in headers:
                    if name.lower() == "location" and "code=" in value:
                        (code,) = parse_qs(urlsplit(value).query)["code"]
                        self._challenges[code] = asked["code_challenge"]
                return start(status, headers, *rest)

            return self._app(environ, note)  # type: ignore[arg-type]
        if path == "/oauth2/token" and method == "POST":
            body = environ["wsgi.input"].read(int(environ["CONTENT_LENGTH"]))
            form = {name: values[0] for name, values in parse_qs(body.decode()).items()}
            if not self._knows(form):
                return self._refuse("token", start)
            # The mock itself knows secrets only, and takes any.
            body += b"&client_secret=any"
            environ |= {"wsgi.input": io.BytesIO(body), "CONTENT_LENGTH": str(len(body))}
        return self._app(environ, start)

    def _knows(self, form: dict[str, str]) -> bool:
        challenge = self._challenges.pop(form.get("code", ""), None)
        if create_s256_code_challenge(form.get("code_verifier", "")) != challenge:
            return False
        try:
            claims = jwt.decode(form.get("client_assertion", ""), self._key, algorithms=["ES256"]).claims
        except (JoseError, ValueError):
            return False
        fits = claims["iss"] == claims["sub"] == CLIENT and claims["aud"] == self.issuer + "/oauth2/token"
        fresh = claims["jti"] not in self._seen
        self._seen.add(claims["jti"])
        return fits and fresh

    def _refuse(self, what: str, start: wsgiref.types.StartResponse) -> list[bytes]:
        self.refused.append(what)
        start("401 Unauthorized", [("Content-Type", "application/json")])
        return [b'{"error": "invalid_client"}']


class PortalThread:
    """A portal that serves until it is stopped."""

    def __init__(self, config: Config, sock: socket.socket, clock: Any) -> None:
        self.portal = Portal(config, clock)
        self._server = make_server(self.portal)
        self._thread = threading.Thread(target=self._server.run, kwargs={"sockets": [sock]}, daemon=True)
        self._thread.start()

    def stop(self) -> None:
        self._server.should_exit = True
        self._thread.join(20)
        assert not self._thread.is_alive()


class PortalWorld:
    """All of it. Person n signs in with the sub ``sub-n``."""

    def __init__(
        self, folder: Path, network: Network, parties: Parties, *, limits: Limits | None = None, tls: bool = True,
        link: Link | None = None, claims: dict[int, dict[str, object]] | None = None,
        hub_timeout_s: float = 60.0, own: Own | None = None, alerts: Alerts | None = None,
    ) -> None:  # fmt: skip
        self.parties, self.network, self.folder = parties, network, folder
        self.served = Served(parties.h, network.config(["portal"]))
        key = ec.generate_private_key(ec.SECP256R1())
        (folder / "signin.key").write_bytes(key.private_bytes(
            serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()))  # fmt: skip
        public = key.public_key().public_bytes(
            serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo
        )
        persons = range(len(parties.codes))
        more = claims or {}
        self.provider = StrictProvider(
            public, [User(sub=f"sub-{n}", claims={"acr": ACR, **more.get(n, {})}) for n in persons]
        )
        self.sock = socket.create_server(("127.0.0.1", 0))
        self.address = f"{'https' if tls else 'http'}://localhost:{self.sock.getsockname()[1]}"
        self.config = Config(
            listen="127.0.0.1:0", address=self.address, links=str(folder / "portal.sqlite"),
            hub=HubSide(
                self.served.address, network.client.cert, network.client.key, network.authority.ca, hub_timeout_s
            ),
            signin=SignIn(
                self.provider.issuer, CLIENT, str(folder / "signin.key"), [ACR],
                scope="openid profile", birth_claim="birthdate",
            ),
            tls=Tls(network.host.cert, network.host.key) if tls else None, link=link, tlog=str(folder / "public"),
            limits=limits or Limits(), own=own, alerts=alerts,
        )  # fmt: skip
        if link is None:
            links = Links(self.config.links)
            for n in persons:
                links.put(who_of(self.provider.issuer, f"sub-{n}"), parties.portal[n].tobytes())
            links.close()
        self.thread = PortalThread(self.config, self.sock, parties.clock)
        # The provider of tests is as slow as the machine is busy.
        self.thread.portal.provider._http.timeout = httpx.Timeout(120)

    @property
    def portal(self) -> Portal:
        return self.thread.portal

    def stop(self) -> None:
        self.thread.stop()
        self.provider.stop()
        self.served.stop()

    def browser(self, language: str = "ja") -> httpx.Client:
        """A browser that nobody has signed in with."""
        return httpx.Client(
            base_url=self.address, verify=self.network.context(), timeout=120,
            headers={"Origin": self.address, "Accept-Language": language},
        )  # fmt: skip

    def way(self, browser: httpx.Client) -> str:
        """Where the browser is sent for sign-in."""
        answer = browser.post("/signin")
        assert answer.status_code in (200, 201), answer.text
        found = re.search(r'<a class="button" href="(http[^"]+)"', answer.text)
        assert found is not None
        return html.unescape(found[1])

    def back(self, way: str, sub: str) -> str:
        """What the provider sends the browser back to."""
        with httpx.Client(timeout=120) as outside:
            answer = outside.post(way, data={"sub": sub})
        assert answer.status_code == 302, answer.text
        return answer.headers["location"]

    @contextmanager
    def signed_in(self, person: int, language: str = "ja") -> Iterator[httpx.Client]:
        """A browser with which a person is signed in."""
        with self.browser(language) as browser:
            answer = browser.get(self.back(self.way(browser), f"sub-{person}"))
            assert (answer.status_code, answer.headers.get("location")) == (303, "/history"), answer.text
            yield browser

    def post(self, browser: httpx.Client, page: str, action: str, **fields: str) -> httpx.Response:
        """Fill a form of a page and send it."""
        return browser.post(action, data={"csrf": token_of(browser.get(page).text), **fields})


def token_of(page: str) -> str:
    """A form's token."""
    found = re.search(r'name="csrf" value="([^"]+)"', page)
    assert found is not None
    return found[1]


def text_of(page: str) -> str:
    """What a page says, without marks."""
    body = re.sub(r"(?s)<(script|style|title|svg).*?</\1>", " ", page)
    return re.sub(r"\s+", " ", html.unescape(re.sub(r"<[^>]+>", " ", body)))


def fill(parties: Parties, person: int, *, questions: int = 3, name: str = "q") -> None:
    """Let nenkin ask the town about a person so often, a day apart; the town answers the first."""
    import hub

    for n in range(questions):
        parties.ask(f"{name}-{person}-{n}", [person])
        if n == 0:
            parties.clock.now += 3_600
            for permits in parties.h.collect(parties.town):
                theirs = permits.permit[(permits.aliases == parties.known[person]).all(axis=1)]
                parties.h.provide(parties.town, theirs, hub.Status.PROVIDED, [b"<tax/>"] * len(theirs))
        parties.clock.now += 86_400


def only(aliases: np.ndarray, person: int) -> np.ndarray:
    """One person's alias, as a batch of one."""
    return np.ascontiguousarray(aliases[person : person + 1])
