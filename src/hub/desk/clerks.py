"""Who a clerk is, as the institution's own sign-in says."""

from __future__ import annotations

import hashlib
from typing import Any, NamedTuple

from hub.catalog.words import is_plain
from hub.desk.config import Claims
from hub.limits import SECTION_CHARS_MAX
from hub.portal.signin import SignInError

CLERK_CHARS_MAX = 32
"""Two of them and the certificate's name fit what a record has room for."""

DUTIES = frozenset({"ask", "decide", "link", "disclose"})


class Clerk(NamedTuple):
    """Somebody of the institution.

    Attributes:
        operator: by which supervisors know them. name: for the pages. section: what citizens read.
        duties: what they may do.
    """

    operator: str
    name: str
    section: str
    duties: frozenset[str]

    def __repr__(self) -> str:
        return f"Clerk(duties={len(self.duties)})"


def clerk_of(claims: dict[str, Any], words: Claims) -> Clerk:
    """The clerk of an ID token.

    Raises:
        SignInError: it lacks a name or a section, or has one that no record has room for.
    """
    operator = _read(claims.get(words.clerk), CLERK_CHARS_MAX)
    section = _read(claims.get(words.section), SECTION_CHARS_MAX)
    given = claims.get(words.name)
    name = given if isinstance(given, str) and 1 <= len(given) <= SECTION_CHARS_MAX and is_plain(given) else operator
    duties = DUTIES
    if words.duties is not None:
        listed = claims.get(words.duties)
        duties = DUTIES & {one for one in listed if isinstance(one, str)} if isinstance(listed, list) else frozenset()
    return Clerk(operator, name, section, duties)


def who_of(issuer: str, sub: str) -> bytes:
    """16 bytes for a clerk's sessions."""
    return hashlib.sha256(b"hub/desk/sub" + issuer.encode() + b"\0" + sub.encode()).digest()[:16]


def _read(text: object, most: int) -> str:
    # "/" and "+" stand between names in an operator.
    if not isinstance(text, str) or not 1 <= len(text.strip()) <= len(text) <= most or not is_plain(text):
        raise SignInError("clerk")
    if most == CLERK_CHARS_MAX and ("/" in text or "+" in text):
        raise SignInError("clerk")
    return text
