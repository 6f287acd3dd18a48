"""A stand-in for the provider of sign-in, for the demo on loopback: one chooses who one is, of people who do not exist.

It does what a provider does and checks what a provider checks (PKCE, ``private_key_jwt``, each code once), and believes
everybody. Never for anything but a demo.
"""

from __future__ import annotations

import secrets
import time
from collections.abc import Mapping
from typing import Any, NamedTuple
from urllib.parse import urlencode

from authlib.oauth2.rfc7636 import create_s256_code_challenge
from joserfc import jwk, jwt
from joserfc.errors import JoseError
from litestar import Litestar, Request, Response, get, post
from litestar.response import Redirect

from hub.portal.headers import Headers
from hub.portal.signin import BACK, SIGNED_OUT
from hub.portal.view import render
from hub.portal.web import HTML

CODE_S = 60.0
TOKEN_S = 300


class Character(NamedTuple):
    """Somebody who does not exist; ``claims``: further ones of their ID token."""

    sub: str
    name: str
    about: str
    claims: Mapping[str, Any] = {}


class Granted(NamedTuple):
    """What a code stands for."""

    sub: str
    nonce: str
    challenge: str
    redirect_uri: str
    at: float

    def __repr__(self) -> str:
        return "Granted()"


class StandIn:
    """Of one portal, whose public key and address back it knows."""

    def __init__(
        self, issuer: str, client_id: str, client_key: Any, back: str, acr: str, people: list[Character]
    ) -> None:
        self.issuer, self.client_id, self.back, self.acr = issuer, client_id, back, acr
        self.people, self.signed_out = people, back.removesuffix(BACK) + SIGNED_OUT
        self._client_key = client_key
        self._key = jwk.ECKey.generate_key("P-256", {"kid": secrets.token_hex(8), "use": "sig"})
        self._codes: dict[str, Granted] = {}
        self._seen: set[str] = set()

    def __repr__(self) -> str:
        return f"StandIn(people={len(self.people)})"

    def app(self) -> Any:
        """The provider as an ASGI application."""

        @get("/.well-known/openid-configuration")
        async def describe() -> dict[str, Any]:
            return {
                "issuer": self.issuer, "authorization_endpoint": self.issuer + "/authorize",
                "token_endpoint": self.issuer + "/token", "end_session_endpoint": self.issuer + "/logout",
                "jwks_uri": self.issuer + "/jwks",
                "response_types_supported": ["code"], "subject_types_supported": ["pairwise"],
                "id_token_signing_alg_values_supported": ["ES256"], "code_challenge_methods_supported": ["S256"],
                "token_endpoint_auth_methods_supported": ["private_key_jwt"], "acr_values_supported": [self.acr],
            }  # fmt: skip

        @get("/jwks")
        async def give_keys() -> dict[str, Any]:
            return {"keys": [self._key.as_dict(private=False)]}

        @get("/authorize")
        async def choose(request: Request[Any, Any, Any]) -> Response[Any]:
            query = dict(request.query_params.items())
            if not self._takes(query):
                return Response("wrong request", status_code=400, media_type="text/plain")
            return Response(
                render("standin.html", "ja", {
                    "people": [(one, self._grant(one.sub, query)) for one in self.people], "issuer": self.issuer,
                }), media_type=HTML,
            )  # fmt: skip

        @get("/chosen/{code:str}")
        async def go_back(request: Request[Any, Any, Any]) -> Response[Any]:
            query = urlencode({
                "code": str(request.path_params["code"]), "state": request.query_params.get("state", ""),
                "iss": self.issuer,
            })  # fmt: skip
            return Redirect(f"{self.back}?{query}", status_code=303)

        @get("/favicon.ico", status_code=204)
        async def give_no_icon() -> None:
            """Browsers ask for one."""

        @get("/logout")
        async def sign_out(request: Request[Any, Any, Any]) -> Response[Any]:
            if not self._ends(dict(request.query_params.items())):
                return Response("wrong request", status_code=400, media_type="text/plain")
            return Redirect(self.signed_out, status_code=303)

        @post("/token", status_code=200)
        async def redeem(request: Request[Any, Any, Any]) -> Response[Any]:
            form = {name: value for name, value in (await request.form()).items() if isinstance(value, str)}
            token = self._redeem(form)
            if token is None:
                return Response({"error": "invalid_grant"}, status_code=400)
            return Response({"access_token": secrets.token_urlsafe(16), "token_type": "Bearer", "id_token": token})

        handlers = [describe, give_keys, choose, go_back, give_no_icon, sign_out, redeem]
        return Headers(Litestar(route_handlers=handlers, openapi_config=None, logging_config=None), secure=False)

    def _takes(self, query: dict[str, str]) -> bool:
        return (
            query.get("client_id") == self.client_id and query.get("redirect_uri") == self.back
            and query.get("response_type") == "code" and query.get("code_challenge_method") == "S256"
            and self.acr in query.get("acr_values", "").split() and all(query.get(one) for one in ("state", "nonce"))
        )  # fmt: skip

    def _ends(self, query: dict[str, str]) -> bool:
        """Whether it is a sign-out of this client, with a token that was given it, and leads back where it may."""
        try:
            hint = jwt.decode(query.get("id_token_hint", ""), self._key, algorithms=["ES256"]).claims
        except (JoseError, ValueError):
            return False
        return (
            hint.get("aud") == query.get("client_id") == self.client_id
            and query.get("post_logout_redirect_uri") == self.signed_out
        )

    def _grant(self, sub: str, query: dict[str, str]) -> str:
        now = time.monotonic()
        self._codes = {code: one for code, one in self._codes.items() if now - one.at <= CODE_S}
        code = secrets.token_urlsafe(24)
        self._codes[code] = Granted(sub, query["nonce"], query.get("code_challenge", ""), self.back, now)
        return f"/chosen/{code}?{urlencode({'state': query['state']})}"

    def _redeem(self, form: dict[str, str]) -> str | None:
        granted = self._codes.pop(form.get("code", ""), None)
        if granted is None or time.monotonic() - granted.at > CODE_S:
            return None
        if form.get("redirect_uri") != granted.redirect_uri:
            return None
        if create_s256_code_challenge(form.get("code_verifier", "")) != granted.challenge:
            return None
        try:
            claims = jwt.decode(form.get("client_assertion", ""), self._client_key, algorithms=["ES256"]).claims
        except (JoseError, ValueError):
            return None
        if claims.get("sub") != self.client_id or claims.get("aud") != self.issuer + "/token":
            return None
        if claims.get("exp", 0) < time.time() or claims.get("jti") in self._seen:
            return None
        self._seen.add(claims["jti"])
        now = int(time.time())
        claims = next((dict(one.claims) for one in self.people if one.sub == granted.sub), {})
        return jwt.encode(
            {"alg": "ES256", "kid": self._key.kid},
            {"iss": self.issuer, "sub": granted.sub, "aud": self.client_id, "iat": now, "exp": now + TOKEN_S,
             "nonce": granted.nonce, "acr": self.acr, "auth_time": now, **claims},
            self._key,
        )  # fmt: skip
