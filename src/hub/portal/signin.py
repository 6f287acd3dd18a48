"""Sign-in by OpenID Connect: authorization code with PKCE (S256), state, nonce, ``private_key_jwt`` and a required acr.

    begin: a state, a nonce, a verifier, bound to the browser by a cookie -> the provider's page
    finish: state and cookie of the same browser, once -> the code for an ID token -> its signature and claims

As OpenID Connect Core 3.1 and RFC 7636, 7523 and 9700 say. Tokens are read once and not kept, but an ID token in its
session's memory where the provider is told of the sign-out with it. No message here holds what a provider or a browser
sent.
"""

from __future__ import annotations

import asyncio
import hashlib
import hmac
import secrets
import ssl
import time
from collections import OrderedDict
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple
from urllib.parse import urlencode

import httpx
from authlib.oauth2.rfc7523 import private_key_jwt_sign
from authlib.oauth2.rfc7636 import create_s256_code_challenge
from authlib.oidc.core import CodeIDToken
from joserfc import jwk, jwt
from joserfc.errors import JoseError

from hub.errors import RequestError
from hub.portal.config import Limits, SignIn

BACK, SIGNED_OUT = "/signin/back", "/signedout"
"""Where the provider sends browsers: after a sign-in, after a sign-out. Both are registered with it."""

ASSERTION_TYPE = "urn:ietf:params:oauth:client-assertion-type:jwt-bearer"
ASSERTION_S = 60
ALGORITHMS = ["RS256", "ES256", "PS256"]
"""Of ID tokens; what the provider's key set has decides among them."""
LEEWAY_S = 60
TIMEOUT_S = 5.0
METADATA_S = 3_600.0
KEYS_AGAIN_S = 60.0
"""A token under an unknown key lets the keys be read again, but no more often than this."""
REPLY_BYTES_MAX = 1 << 18
SUB_CHARS_MAX = 255
HINT_CHARS_MAX = 4_096
"""A longer ID token is not kept for the sign-out: an address must carry it, and every session would hold it."""


class SignInError(Exception):
    """Somebody could not be signed in; ``why`` is one of a few words of ours."""

    def __init__(self, why: str) -> None:
        super().__init__(why)
        self.why = why


class ProviderAwayError(Exception):
    """The provider of sign-in does not answer."""


class Pending(NamedTuple):
    """A way to the provider that has not come back yet."""

    browser: bytes
    nonce: str
    verifier: str
    begun: float

    def __repr__(self) -> str:
        return "Pending()"


class Begun(NamedTuple):
    """Where the browser goes, and the cookie by which it will be known."""

    url: str
    cookie: str

    def __repr__(self) -> str:
        return "Begun()"


class Proved(NamedTuple):
    """Who came back.

    Attributes:
        claims: of the ID token. id_token: itself, for the sign-out; None where the provider wants no word of that.
    """

    claims: dict[str, Any]
    id_token: str | None

    def __repr__(self) -> str:
        return "Proved()"


class Provider:
    """The provider of sign-in; used in one loop."""

    def __init__(self, config: SignIn, limits: Limits, address: str, clock: Callable[[], float]) -> None:
        """Args: address: the site's, as browsers see it.

        Raises:
            RequestError: the key cannot be used.
        """
        self._config, self._limits, self._clock = config, limits, clock
        self._redirect_uri, self._signed_out_uri = address + BACK, address + SIGNED_OUT
        try:
            self._key = jwk.import_key(Path(config.key).read_bytes(), "RSA" if config.alg[:2] in ("RS", "PS") else "EC")
        except (OSError, ValueError, JoseError) as error:
            raise RequestError(f"signin.key: cannot be used: {type(error).__name__}") from None
        self._pending: OrderedDict[str, Pending] = OrderedDict()
        context: ssl.SSLContext | bool = True
        if config.ca is not None:
            context = ssl.create_default_context(cafile=config.ca)
        self._http = httpx.AsyncClient(verify=context, timeout=TIMEOUT_S, follow_redirects=False, trust_env=False)
        self._metadata: tuple[float, dict[str, Any]] | None = None
        self._keys: tuple[float, Any] | None = None
        self._reading, self._reading_keys = asyncio.Lock(), asyncio.Lock()

    def __repr__(self) -> str:
        return f"Provider(pending={len(self._pending)})"

    async def close(self) -> None:
        """Close its connections."""
        await self._http.aclose()

    async def begin(self, *, fresh: bool = False) -> Begun:
        """A new way to the provider.

        Args:
            fresh: the ID token must say when its person proved who they are (``auth_time``), see ``is_fresh``.

        Raises:
            ProviderAwayError: it does not say where it is.
        """
        endpoint = await self._endpoint("authorization_endpoint")
        state, cookie = secrets.token_urlsafe(32), secrets.token_urlsafe(32)
        nonce, verifier = secrets.token_urlsafe(32), secrets.token_urlsafe(48)
        now = self._clock()
        self._pending[state] = Pending(_digest(cookie), nonce, verifier, now)
        while len(self._pending) > self._limits.signins or self._is_over(next(iter(self._pending.values()))):
            self._pending.popitem(last=False)
        query = urlencode({
            "response_type": "code", "client_id": self._config.client_id, "redirect_uri": self._redirect_uri,
            "scope": self._config.scope, "state": state, "nonce": nonce, "prompt": "login",
            "code_challenge": create_s256_code_challenge(verifier), "code_challenge_method": "S256",
            "acr_values": " ".join(self._config.acr),
            **({"max_age": "0"} if fresh else {}),
        })  # fmt: skip
        return Begun(f"{endpoint}{'&' if '?' in endpoint else '?'}{query}", cookie)

    async def finish(self, query: dict[str, str], cookie: str | None) -> Proved:
        """Who came back.

        Args:
            query: of the address they came back to. cookie: the browser's.

        Raises:
            SignInError: not the same browser, not the first time, too late, refused, or a token that does not hold.
            ProviderAwayError: the provider does not answer.
        """
        # Taken out before anything is awaited: whatever comes of it, a state is good once.
        pending = self._pending.pop(query.get("state", ""), None)
        if pending is None or self._is_over(pending):
            raise SignInError("state")
        if cookie is None or not hmac.compare_digest(_digest(cookie), pending.browser):
            raise SignInError("browser")
        if query.get("iss", self._config.issuer) != self._config.issuer:
            raise SignInError("issuer")
        if "error" in query or not query.get("code"):
            raise SignInError("refused")
        token = await self._redeem(query["code"], pending.verifier)
        claims = await self._check(token, pending.nonce)
        hint = token["id_token"] if await self._end_session() is not None else None
        return Proved(claims, hint if hint is not None and len(hint) <= HINT_CHARS_MAX else None)

    async def leave(self, id_token: str | None) -> str | None:
        """Where a browser signs out at the provider as well (OpenID Connect RP-Initiated Logout 1.0).

        None where the provider announces no such place, or does not answer: the session here is over all the same.
        """
        endpoint = await self._end_session()
        if endpoint is None:
            return None
        query = urlencode({
            **({} if id_token is None else {"id_token_hint": id_token}),
            "client_id": self._config.client_id, "post_logout_redirect_uri": self._signed_out_uri,
        })  # fmt: skip
        return f"{endpoint}{'&' if '?' in endpoint else '?'}{query}"

    @staticmethod
    def is_fresh(claims: dict[str, Any], since: float) -> bool:
        """Whether these claims are of somebody who proved who they are since then (seconds since 1970)."""
        at = claims.get("auth_time")
        return isinstance(at, int | float) and not isinstance(at, bool) and at >= since - LEEWAY_S

    def _is_over(self, pending: Pending) -> bool:
        return self._clock() - pending.begun > self._limits.signin_s

    async def _redeem(self, code: str, verifier: str) -> dict[str, Any]:
        endpoint = await self._endpoint("token_endpoint")
        assertion = private_key_jwt_sign(
            self._key, self._config.client_id, endpoint, alg=self._config.alg, expires_in=ASSERTION_S
        )
        found = await self._fetch("POST", endpoint, {
            "grant_type": "authorization_code", "code": code, "redirect_uri": self._redirect_uri,
            "client_id": self._config.client_id, "code_verifier": verifier,
            "client_assertion_type": ASSERTION_TYPE, "client_assertion": assertion,
        })  # fmt: skip
        if not isinstance(found.get("id_token"), str):
            raise SignInError("token")
        return found

    async def _check(self, token: dict[str, Any], nonce: str) -> dict[str, Any]:
        config = self._config
        try:
            decoded = jwt.decode(token["id_token"], await self._key_set(), algorithms=ALGORITHMS)
        except (JoseError, ValueError):
            try:
                # The provider may have another key since.
                decoded = jwt.decode(token["id_token"], await self._key_set(again=True), algorithms=ALGORITHMS)
            except (JoseError, ValueError):
                raise SignInError("token") from None
        claims = CodeIDToken(
            decoded.claims,
            decoded.header,
            {"iss": {"essential": True, "value": config.issuer}, "aud": {"essential": True, "value": config.client_id}},
            {"nonce": nonce, "client_id": config.client_id, "access_token": token.get("access_token")},
        )
        try:
            claims.validate(now=int(time.time()), leeway=LEEWAY_S)
        except (JoseError, ValueError, TypeError):
            raise SignInError("token") from None
        if claims.get("acr") not in config.acr:
            raise SignInError("acr")
        sub = claims.get("sub")
        if not isinstance(sub, str) or not 1 <= len(sub) <= SUB_CHARS_MAX:
            raise SignInError("token")
        return dict(claims)

    # -- the provider's documents

    async def _end_session(self) -> str | None:
        try:
            return await self._endpoint("end_session_endpoint")
        except ProviderAwayError:
            return None

    async def _endpoint(self, name: str) -> str:
        # One asks, whoever comes meanwhile takes what it got.
        async with self._reading:
            now = time.monotonic()
            if self._metadata is None or now - self._metadata[0] > METADATA_S:
                found = await self._fetch("GET", self._config.issuer.rstrip("/") + "/.well-known/openid-configuration")
                if found.get("issuer") != self._config.issuer:
                    raise ProviderAwayError
                self._metadata = now, found
            url = self._metadata[1].get(name)
        scheme = self._config.issuer.partition(":")[0]
        if not isinstance(url, str) or not url.startswith((f"{scheme}://", "https://")):
            raise ProviderAwayError
        return url

    async def _key_set(self, *, again: bool = False) -> Any:
        async with self._reading_keys:
            now = time.monotonic()
            if self._keys is None or now - self._keys[0] > (KEYS_AGAIN_S if again else METADATA_S):
                try:
                    keys = jwk.KeySet.import_key_set(await self._fetch("GET", await self._endpoint("jwks_uri")))  # type: ignore[arg-type]
                except (JoseError, ValueError, KeyError, TypeError):
                    raise ProviderAwayError from None
                self._keys = now, keys
            return self._keys[1]

    async def _fetch(self, method: str, url: str, form: dict[str, str] | None = None) -> dict[str, Any]:
        """A JSON object of the provider's.

        Raises:
            ProviderAwayError: there is none. SignInError: it refuses what it was sent.
        """
        try:
            async with self._http.stream(method, url, data=form, headers={"Accept": "application/json"}) as reply:
                body = b""
                async for piece in reply.aiter_bytes():
                    body += piece
                    if len(body) > REPLY_BYTES_MAX:
                        raise ProviderAwayError
            if 400 <= reply.status_code < 500 and form is not None:
                raise SignInError("token")
            if reply.status_code != 200:
                raise ProviderAwayError
            found = httpx.Response(200, content=body).json()
        except (httpx.HTTPError, ValueError):
            raise ProviderAwayError from None
        if not isinstance(found, dict):
            raise ProviderAwayError
        return found


def _digest(cookie: str) -> bytes:
    return hashlib.sha256(cookie.encode("utf-8", "surrogateescape")).digest()
