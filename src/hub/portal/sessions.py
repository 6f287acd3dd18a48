"""Who is signed in: sessions in this process's memory, found by the digest of a random cookie.

Nothing of a session leaves the process but its cookie, which says nothing. A restart signs everybody out. A *form
token* (CSRF) is a digest of the session's own secret, masked anew on every page, so that a compressed page does not
give it away a byte at a time.

Used in the loop's thread only.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import hmac
import secrets
from collections import OrderedDict
from collections.abc import Callable
from typing import Any

from hub.portal.config import Limits

TOKEN_BYTES = 32


class Session:
    """One citizen in one browser.

    Attributes:
        alias: 16 bytes, the person's at the portal. holder: what the site knows of who it is.
        id_token: with which the provider is told of the sign-out; None where it wants no word.
    """

    __slots__ = ("alias", "begun", "digest", "holder", "id_token", "secret", "used")

    def __init__(
        self, alias: bytes, digest: bytes, now: float, holder: Any = None, id_token: str | None = None
    ) -> None:
        self.alias, self.holder, self.id_token = alias, holder, id_token
        self.digest = digest
        self.secret = secrets.token_bytes(TOKEN_BYTES)
        self.begun = self.used = now

    def __repr__(self) -> str:
        return "Session()"

    def form_token(self) -> str:
        """A token for one form; another each time."""
        mask = secrets.token_bytes(TOKEN_BYTES)
        return base64.urlsafe_b64encode(mask + _xor(mask, self._form_key())).decode()

    def takes(self, token: str) -> bool:
        """Whether a form's token is this session's."""
        try:
            raw = base64.urlsafe_b64decode(token.encode("ascii"))
        except (ValueError, binascii.Error):
            return False
        mask, masked = raw[:TOKEN_BYTES], raw[TOKEN_BYTES:]
        return len(raw) == 2 * TOKEN_BYTES and hmac.compare_digest(_xor(mask, masked), self._form_key())

    def name_of(self, handle: bytes) -> str:
        """A name for a handle of the hub's that only this session can read back: what stands in addresses."""
        return hmac.digest(self.secret, b"handle" + handle, "sha256")[:12].hex()

    def _form_key(self) -> bytes:
        return hmac.digest(self.secret, b"form", "sha256")


def _xor(a: bytes, b: bytes) -> bytes:
    return bytes(x ^ y for x, y in zip(a, b, strict=True)) if len(a) == len(b) else b""


class Sessions:
    """All sessions, the one that was not used for longest first."""

    def __init__(self, limits: Limits, clock: Callable[[], float]) -> None:
        self._limits, self._clock = limits, clock
        self._by_digest: OrderedDict[bytes, Session] = OrderedDict()

    def __len__(self) -> int:
        return len(self._by_digest)

    def __repr__(self) -> str:
        return f"Sessions({len(self)})"

    def begin(self, alias: bytes, holder: Any = None, *, id_token: str | None = None) -> tuple[str, Session]:
        """A new session; returns its cookie."""
        token = secrets.token_urlsafe(TOKEN_BYTES)
        session = Session(alias, _digest(token), self._clock(), holder, id_token)
        self._by_digest[session.digest] = session
        self._drop_old()
        return token, session

    def find(self, token: str | None) -> Session | None:
        """The session of a cookie, which counts as used now; None where there is none (any more)."""
        session = None if not token else self._by_digest.get(_digest(token))
        if session is None:
            return None
        if self._is_over(session):
            del self._by_digest[session.digest]
            return None
        session.used = self._clock()
        self._by_digest.move_to_end(session.digest)
        return session

    def end(self, session: Session) -> None:
        """Sign one browser out."""
        self._by_digest.pop(session.digest, None)

    def end_all(self, alias: bytes) -> int:
        """Sign a person out everywhere; returns of how many browsers."""
        gone = [one for one in self._by_digest.values() if hmac.compare_digest(one.alias, alias)]
        for one in gone:
            self.end(one)
        return len(gone)

    def _is_over(self, session: Session) -> bool:
        now = self._clock()
        return now - session.used > self._limits.idle_s or now - session.begun > self._limits.session_s

    def _drop_old(self) -> None:
        while self._by_digest:
            oldest = next(iter(self._by_digest.values()))
            if len(self._by_digest) <= self._limits.sessions and not self._is_over(oldest):
                return
            del self._by_digest[oldest.digest]


def _digest(token: str) -> bytes:
    return hashlib.sha256(token.encode("utf-8", "surrogateescape")).digest()
