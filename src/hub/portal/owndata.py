"""Own data (わたしの情報): what may be asked of whom, looks that wait for their answer, answers made readable.

The portal asks as the requester, one question a look, and the institution answers as it answers anybody: sealed to the
portal's key, which never goes to the hub. Of a look this process remembers for its session the request id and what was
asked; of an answer nothing. The rules that allow it are files of this package (``own/``) that an operator imports.

Used in the loop's thread.
"""

from __future__ import annotations

import datetime as dt
import unicodedata
from collections import OrderedDict
from importlib.resources import files
from pathlib import Path
from typing import NamedTuple

import msgspec
from nacl.public import PrivateKey

from hub.catalog import Catalog, Institution
from hub.errors import RequestError
from hub.messages import OWN_DATA
from hub.portal.sessions import Session
from hub.provision.payloads import KEY_BYTES, open_payload

WAITING_MAX = 5
"""Looks of one session that wait; the oldest is forgotten by the portal, its record stays."""
SESSIONS_MAX = 20_000
"""Sessions whose looks are remembered; those that asked least lately go first."""
FOUND_MAX = 30
"""Institutions on a page; more than that and the words are to be more."""

RULE_FILES = ("classes.csv", "rules.csv")


def rule_files() -> dict[str, bytes]:
    """The rules by which the portal may ask, as files for ``hub catalog import``, in the order in which to import."""
    folder = files("hub.portal").joinpath("own")
    return {f"own-{name}": folder.joinpath(name).read_bytes() for name in RULE_FILES}


# -- what may be asked


class Choice(NamedTuple):
    """One thing that may be seen: by which procedure, which item of which kind."""

    procedure: str
    item: str

    @property
    def name(self) -> str:
        """As forms have it."""
        return f"{self.procedure}|{self.item}"


class Offers:
    """What the portal may ask of whom, by a catalog."""

    def __init__(self, catalog: Catalog, requester: str) -> None:
        self._catalog = catalog
        self._by_class: list[tuple[frozenset[int], Choice]] = []
        for procedure in catalog.procedures(requester):
            if procedure.id.startswith(OWN_DATA):
                for rule in catalog.rules_of(procedure.id):
                    self._by_class.append((catalog.members_of(rule.provider), Choice(procedure.id, rule.detail)))
        numbers = frozenset().union(*(members for members, _ in self._by_class))
        self.institutions = [one for one in catalog.institutions() if one.number in numbers and one.code != requester]
        self._words = [_plain(one.name + " " + one.kana + " " + one.code) for one in self.institutions]
        self._codes = {one.code: one for one in self.institutions}

    def __repr__(self) -> str:
        return f"Offers({len(self.institutions)})"

    def institution(self, code: str) -> Institution | None:
        """An institution that may be asked anything."""
        return self._codes.get(code)

    def choices(self, institution: Institution) -> list[Choice]:
        """What may be seen there, in the order of the rules."""
        return list(dict.fromkeys(one for members, one in self._by_class if institution.number in members))

    def find(self, words: str) -> list[Institution]:
        """Institutions in whose name, reading or code all these words stand; one more than a page shows at most."""
        wanted = _plain(words).split()
        found = (
            one for one, text in zip(self.institutions, self._words, strict=True)
            if wanted and all(word in text for word in wanted)
        )  # fmt: skip
        return [one for _, one in zip(range(FOUND_MAX + 1), found, strict=False)]


def _plain(text: str) -> str:
    """Width, case, and hiragana or katakana are the same."""
    wide = unicodedata.normalize("NFKC", text).casefold()
    return "".join(chr(ord(one) + 0x60) if "ぁ" <= one <= "ゖ" else one for one in wide)


# -- looks that wait


class Look(NamedTuple):
    """A question that was asked, until its answer was shown.

    Attributes:
        institution: its code.
    """

    request_id: str
    institution: str
    item: str

    def __repr__(self) -> str:
        return "Look()"


class Looks:
    """Those of all sessions, and how many each person had today."""

    def __init__(self, a_day: int) -> None:
        """Args: a_day: looks of a person from midnight to midnight in Japan."""
        self._a_day = a_day
        self._looks: OrderedDict[bytes, dict[str, Look]] = OrderedDict()
        self._day = dt.date.min
        self._today: dict[bytes, int] = {}

    def __repr__(self) -> str:
        return f"Looks({len(self._looks)})"

    def may(self, alias: bytes, today: dt.date) -> bool:
        """Whether a person may look once more today."""
        if today != self._day:
            self._day, self._today = today, {}
        return self._today.get(alias, 0) < self._a_day

    def put(self, session: Session, name: str, look: Look) -> None:
        """Remember one that was asked."""
        self._today[session.alias] = self._today.get(session.alias, 0) + 1
        mine = self._looks.setdefault(session.digest, {})
        self._looks.move_to_end(session.digest)
        mine[name] = look
        while len(mine) > WAITING_MAX:
            del mine[next(iter(mine))]
        while len(self._looks) > SESSIONS_MAX:
            self._looks.popitem(last=False)

    def find(self, session: Session, name: str) -> Look | None:
        """One of this session's."""
        return self._looks.get(session.digest, {}).get(name)

    def forget(self, session: Session, name: str) -> None:
        """Its answer was shown."""
        self._looks.get(session.digest, {}).pop(name, None)

    def waiting(self, session: Session) -> list[tuple[str, Look]]:
        """This session's, newest first."""
        return list(reversed(self._looks.get(session.digest, {}).items()))


# -- answers


class OwnKeys:
    """The private keys to which answers for the portal are sealed, the current one first."""

    def __init__(self, paths: list[str]) -> None:
        """
        Raises:
            RequestError: a file is no key.
        """
        self._private = []
        for path in paths:
            try:
                key = Path(path).read_bytes()
            except OSError as error:
                raise RequestError(f"own.keys: cannot be read: {error.strerror}") from None
            if len(key) != KEY_BYTES:
                raise RequestError(f"own.keys: expected {KEY_BYTES} bytes, as `hub key new` writes, got {len(key)}")
            self._private.append(key)
        self.public = bytes(PrivateKey(self._private[0]).public_key)

    def __repr__(self) -> str:
        return f"OwnKeys({len(self._private)})"

    def open(self, sealed: bytes) -> bytes | None:
        """What was sealed; None where it was to none of the keys."""
        for key in self._private:
            try:
                return open_payload(key, sealed)
            except RequestError:
                continue
        return None


class Shown(NamedTuple):
    """An answer for people: groups of names and values, or one text; neither where no page can show it.

    Attributes:
        size: of the answer, in bytes.
    """

    groups: list[tuple[str, list[tuple[str, str]]]]
    text: str
    size: int

    def __repr__(self) -> str:
        return "Shown()"


_CELLS = msgspec.msgpack.Decoder(dict[str, dict[str, str | int | None]])


def read_payload(data: bytes) -> Shown:
    """Make an answer readable: a map from item to cells, as copy registers answer (``agency/encode.py``), or a text."""
    try:
        found = _CELLS.decode(data)
        groups = [
            (item, [(name, "" if cell is None else str(cell)) for name, cell in cells.items()])
            for item, cells in found.items()
        ]
        return Shown(groups, "", len(data))
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        pass
    try:
        text = data.decode("utf-8").strip()
    except UnicodeDecodeError:
        text = ""
    readable = all(one.isprintable() or one in "\n\t\r" for one in text)
    return Shown([], text if readable else "", len(data))

