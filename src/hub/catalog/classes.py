"""Classes: sets of bodies that rules name, such as 市町村長 or 都道府県知事等(福祉事務所設置).

A class is a union of parts joined with ``;`` (classes.csv, narrowings.csv):

``code:mhlw``       one institution
``kind:city``       all institutions of a kind
``form:市``         all municipalities of a form (市, 特別区, 町, 村)
``list:名前``       the institutions that members.csv lists under that name; the list may be empty
``class:市町村長``  another class
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping

import msgspec

from hub.catalog.csvfile import CsvFile, Source, expect
from hub.catalog.institutions import KINDS, Institution
from hub.catalog.law import split_list
from hub.errors import CatalogError

FORMS = ("市", "特別区", "町", "村")
PARTS = ("code", "kind", "form", "list", "class")


class ClassLine(msgspec.Struct, frozen=True, array_like=True):
    """A class string of the rules and the union of parts that it stands for."""

    label: str
    parts: tuple[str, ...]
    note: str


class Member(msgspec.Struct, frozen=True, array_like=True):
    """An institution, by its code, in a list by its name; ``member`` is False in a file that takes it out."""

    list: str
    institution: str
    member: bool = True


class Placement:
    """Which institutions each class holds.

    Attributes:
        members: class string -> institution numbers, in the order of classes.csv.
        empty_lists: class string -> the lists it uses that hold no connected institution.
    """

    def __init__(
        self, institutions: Iterable[Institution], classes: Iterable[ClassLine], members: Iterable[Member]
    ) -> None:
        self._by_part: dict[str, set[int]] = {}
        for body in institutions:
            parts = [f"code:{body.code}", f"kind:{body.kind}"]
            if body.form:
                parts.append(f"form:{body.form}")
            for part in parts:
                self._by_part.setdefault(part, set()).add(body.number)
        for member in members:
            numbers = self._by_part.setdefault(f"list:{member.list}", set())
            numbers |= self._by_part.get(f"code:{member.institution}", set())
        self._lines = {line.label: line for line in classes}
        self.members: dict[str, frozenset[int]] = {}
        for label in self._lines:
            self._place(label, ())
        self.empty_lists: Mapping[str, list[str]] = {
            label: empty
            for label, line in self._lines.items()
            if (empty := [part[5:] for part in line.parts if part.startswith("list:") and not self._by_part.get(part)])
        }

    def unite(self, parts: Iterable[str]) -> frozenset[int]:
        """The institutions of a union of parts, as narrowings.csv writes it."""
        return frozenset(number for part in parts for number in self._numbers(part, ()))

    def __contains__(self, label: str) -> bool:
        return label in self.members

    def _numbers(self, part: str, within: tuple[str, ...]) -> frozenset[int] | set[int]:
        return self._place(part[6:], within) if part.startswith("class:") else self._by_part.get(part, set())

    def _place(self, label: str, within: tuple[str, ...]) -> frozenset[int]:
        if label in within:
            raise CatalogError(f"classes: expected no class within itself, got {label}")
        if label not in self._lines:
            raise CatalogError(f"classes: expected a class of the table, got {label}")
        if label not in self.members:
            parts = self._lines[label].parts
            self.members[label] = frozenset(
                number for part in parts for number in self._numbers(part, (*within, label))
            )
        return self.members[label]


def number_of_label(label: str) -> int:
    """The number of a class: SHA-256("hub/class/1" ‖ label), its first four bytes, big endian, without the top bit."""
    return int.from_bytes(hashlib.sha256(b"hub/class/1" + label.encode()).digest()[:4], "big") & 0x7FFFFFFF


def read_classes(source: Source) -> list[ClassLine]:
    """Read classes.csv: label, members, note.

    Raises:
        CatalogError: the file is broken.
    """
    return CsvFile(source).parse(_parse_class, ("label", "members"), ("note",))


def read_members(source: Source) -> list[Member]:
    """Read members.csv: list, institution (a code that need not be connected yet), member (0 takes it out).

    Raises:
        CatalogError: the file is broken.
    """
    return CsvFile(source).parse(_parse_member, ("list", "institution"), ("member", "note"))


def split_parts(text: str) -> tuple[str, ...]:
    """Read a union of parts.

    Raises:
        ValueError: a part is of no known form.
    """
    parts = split_list(text, "members")
    for part in parts:
        form, _, value = part.partition(":")
        if form not in PARTS or not value:
            raise ValueError(f"members: expected parts like {', '.join(f'{p}:…' for p in PARTS)}, got {part[:40]!r}")
        if form in ("kind", "form"):
            expect(form, value, KINDS if form == "kind" else FORMS)
    return parts


def _parse_class(line: dict[str, str]) -> ClassLine:
    if not line["label"]:
        raise ValueError("label: expected a class string, got nothing")
    return ClassLine(line["label"], split_parts(line["members"]), line["note"])


def _parse_member(line: dict[str, str]) -> Member:
    if not line["list"] or not line["institution"]:
        raise ValueError("list, institution: expected both, got nothing")
    return Member(line["list"], line["institution"], expect("member", line["member"] or "1", ("0", "1")) == "1")
