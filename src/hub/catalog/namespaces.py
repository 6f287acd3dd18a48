"""Namespaces of identifiers that name people from outside: certificate serials, MyKey ids, insured numbers.

Each is a space of its own: its issuer says whom its identifiers name, the bodies that rely on it may ask by them, and
an identifier means nothing in any other.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator

import msgspec

from hub.catalog.csvfile import CsvFile, Source
from hub.catalog.institutions import Institution
from hub.catalog.law import split_list
from hub.catalog.words import quote, unknown_word
from hub.errors import RequestError

_NAME = re.compile("[a-z][a-z0-9-]{0,31}")
_RESERVED = "resident-record-code"


class Namespace(msgspec.Struct, frozen=True, array_like=True):
    """One namespace.

    Attributes:
        namespace: 1 to 32 of a-z, 0-9 and ``-``, beginning with a letter; its key is derived from it.
        name: for people. issuer: code of the body that registers, renews and revokes identifiers.
        relying: codes or class labels of the bodies that may ask by its identifiers.
        following: of these, who may still find a person by an identifier that was renewed.
    """

    namespace: str
    name: str
    issuer: str
    relying: tuple[str, ...]
    following: tuple[str, ...] = ()

    def may_ask(self, body: Institution) -> bool:
        """Whether a body may ask by identifiers of this namespace."""
        return body.code in self.relying or not set(self.relying).isdisjoint(body.classes)

    def may_follow(self, body: Institution) -> bool:
        """Whether a renewed identifier still leads this body to its person."""
        return self.may_ask(body) and (
            body.code in self.following or not set(self.following).isdisjoint(body.classes)
        )


class Namespaces:
    """All namespaces of a catalog; a line's place is its number, and stays."""

    def __init__(self, lines: Iterable[Namespace]) -> None:
        self._lines = {line.namespace: line for line in lines}
        self._positions = {name: position for position, name in enumerate(self._lines)}

    def __iter__(self) -> Iterator[Namespace]:
        return iter(self._lines.values())

    def __len__(self) -> int:
        return len(self._lines)

    def of(self, name: str) -> Namespace:
        """The namespace with a name.

        Raises:
            RequestError: there is none.
        """
        found = self._lines.get(name) if isinstance(name, str) else None
        if found is None:
            raise RequestError(unknown_word("namespace", name, self._lines))
        return found

    def position(self, name: str) -> int | None:
        """Its place among the namespaces, from 0; None where there is none of this name."""
        return self._positions.get(name)


def read_namespaces(source: Source) -> list[Namespace]:
    """Read namespaces: namespace, name, issuer, relying, following; the last two are joined with ``;``.

    Raises:
        CatalogError: the file is broken.
    """
    return CsvFile(source).parse(_parse_namespace, ("namespace", "name", "issuer", "relying"), ("following",))


def _parse_namespace(line: dict[str, str]) -> Namespace:
    name = line["namespace"]
    if not _NAME.fullmatch(name) or name == _RESERVED:
        raise ValueError(f"namespace: expected 1 to 32 of a-z, 0-9 and -, beginning with a letter, got {quote(name)}")
    if not line["name"] or not line["issuer"]:
        raise ValueError("name, issuer: expected both, got nothing")
    following = split_list(line["following"], "following") if line["following"] else ()
    return Namespace(name, line["name"], line["issuer"], split_list(line["relying"], "relying"), following)
