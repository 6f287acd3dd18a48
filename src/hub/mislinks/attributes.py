"""The four basic attributes (基本4情報) of a person: as an institution's file has them, and as the register has.

They travel sealed (``provision/payloads.py``) from the institution to the register body and are compared there; the hub
learns which differ and nothing else. What is sealed:

| at | type | what |
|---|---|---|
| 0 | u16 | n, bytes of the array, little endian |
| 2 | n | MessagePack array: name, reading or nil, address, sex, birth date, each text as the file has it |
| | | zeros up to the next multiple of 256, so that its length tells nothing of a name's |
"""

from __future__ import annotations

import datetime as dt
import operator
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any, NamedTuple

import msgspec
import numpy as np
import numpy.typing as npt

from hub.errors import RequestError
from hub.limits import CLAIM_BYTES_MAX
from hub.messages import Differs
from hub.mislinks.folding import fold_address, fold_birth, fold_kana, fold_name, fold_sex, same_address
from hub.provision.payloads import EMPTY_BYTES, open_payload, seal_payload

Texts = npt.NDArray[np.object_]

PADDED_TO = 256
TEXT_CHARS_MAX = 200
"""Of one attribute; an address with a building's name has up to 80."""

_LENGTH_BYTES = 2


class Attributes(msgspec.Struct, frozen=True, kw_only=True, array_like=True):
    """What tells a person from others in a file.

    Attributes:
        name: 氏名. kana: its reading, where the file has one. address: 住所. sex: 性別.
        birth: 生年月日, a date or text such as 1975-01-02, 19750102 or 昭和50年1月2日.
    """

    name: str
    kana: str | None = None
    address: str
    sex: str
    birth: str | dt.date

    def __repr__(self) -> str:
        return "Attributes()"

    def seal(self, public_key: bytes) -> bytes:
        """Seal it to the register body's key, ``h.payload_key("jlis")``; for ``h.claim``.

        Raises:
            RequestError: not text, too long, or no key.
        """
        return seal_payload(public_key, pack_attributes(self))


def open_attributes(private_key: bytes, sealed: bytes) -> Attributes:
    """What was sealed to the register body, with its private key.

    Raises:
        RequestError: it is addressed to another key, was altered, or holds something else.
    """
    return unpack_attributes(open_payload(private_key, sealed))


def pack_attributes(one: Attributes) -> bytes:
    """The bytes that are sealed."""
    texts = (one.name, one.kana, one.address, one.sex, _spell_day(one.birth))
    for name, text in zip(("name", "kana", "address", "sex", "birth"), texts, strict=True):
        if text is None and name == "kana":
            continue
        if not isinstance(text, str) or len(text) > TEXT_CHARS_MAX:
            raise RequestError(f"{name}: expected text of at most {TEXT_CHARS_MAX} characters, got something else")
    body = msgspec.msgpack.encode(texts)
    raw = len(body).to_bytes(_LENGTH_BYTES, "little") + body
    raw += bytes(-len(raw) % PADDED_TO)
    if len(raw) + EMPTY_BYTES > CLAIM_BYTES_MAX:
        raise RequestError(f"attributes: expected at most {CLAIM_BYTES_MAX} bytes sealed, got more")
    return raw


def unpack_attributes(raw: bytes) -> Attributes:
    """What :func:`pack_attributes` gave.

    Raises:
        RequestError: it is something else.
    """
    n = int.from_bytes(raw[:_LENGTH_BYTES], "little")
    body, rest = raw[_LENGTH_BYTES : _LENGTH_BYTES + n], raw[_LENGTH_BYTES + n :]
    try:
        name, kana, address, sex, birth = msgspec.msgpack.decode(body, type=tuple[str, str | None, str, str, str])
    except (msgspec.DecodeError, ValueError):
        raise RequestError("attributes: expected five texts, got something else") from None
    if len(body) != n or len(raw) % PADDED_TO or any(rest):
        raise RequestError("attributes: expected five texts and zeros, got something else")
    return Attributes(name=name, kana=kana, address=address, sex=sex, birth=birth)


class People(NamedTuple):
    """Attributes of many persons, a column each: arrays of text (object[N]), a reading empty where there is none."""

    name: Texts
    kana: Texts
    address: Texts
    sex: Texts
    birth: Texts

    @classmethod
    def of(cls, people: Iterable[Attributes]) -> People:
        """The columns of some attributes."""
        rows = [(one.name, one.kana or "", one.address, one.sex, _spell_day(one.birth)) for one in people]
        return cls.of_texts(*(map(list, zip(*rows, strict=True)) if rows else [[]] * 5))

    @classmethod
    def of_texts(cls, *columns: Sequence[str]) -> People:
        """Columns from lists, in the order of the fields."""
        return cls(*(_texts(column) for column in columns))

    @classmethod
    def joined(cls, several: Sequence[People]) -> People:
        """Several, one behind the other."""
        return cls(*map(np.concatenate, zip(cls.of([]), *several, strict=True)))

    def __repr__(self) -> str:
        return f"People(rows={len(self.name)})"

    @property
    def rows(self) -> int:
        """How many persons."""
        return len(self.name)

    def attributes(self) -> Iterator[Attributes]:
        """Each person's, in order."""
        for name, kana, address, sex, birth in zip(*(column.tolist() for column in self), strict=True):
            yield Attributes(name=name, kana=kana or None, address=address, sex=sex, birth=birth)

    def take(self, rows: npt.NDArray[np.integer]) -> People:
        """Some of them, by row."""
        return People(*(column[rows] for column in self))


def compare_attributes(claimed: Attributes, registered: Attributes) -> Differs:
    """Which attributes differ, once spellings are folded.

    A reading that both have and that is the same makes two ways to write a name one; it never makes two names of one.
    """
    return Differs(int(compare_people(People.of([claimed]), People.of([registered]))[0]))


def compare_people(claimed: People, registered: People) -> npt.NDArray[np.uint8]:
    """:func:`compare_attributes` row by row: uint8[N] of ``Differs``.

    What is written the same is not folded: 0.9 M rows a second; 126,000 where every row is spelled otherwise and
    households share addresses.
    """
    out = np.zeros(claimed.rows, np.uint8)
    for flag, mine, theirs, folded, same in (
        (Differs.SEX, claimed.sex, registered.sex, fold_sex, operator.eq),
        (Differs.BIRTH, claimed.birth, registered.birth, fold_birth, operator.eq),
        (Differs.ADDRESS, claimed.address, registered.address, fold_address, same_address),
    ):
        _compare(out, int(flag), mine, theirs, folded, same)
    for row in np.flatnonzero(claimed.name != registered.name).tolist():
        if fold_name(claimed.name[row]) != fold_name(registered.name[row]):
            mine_kana, their_kana = claimed.kana[row], registered.kana[row]
            if not (mine_kana and their_kana and fold_kana(mine_kana) == fold_kana(their_kana)):
                out[row] |= 1
    return out


def _compare(
    out: npt.NDArray[np.uint8], bit: int, mine: Texts, theirs: Texts, folded: Callable[[str], Any],
    same: Callable[[Any, Any], bool],
) -> None:  # fmt: skip
    """Set a bit where two columns differ; each text is folded once."""
    rows = np.flatnonzero(mine != theirs)
    pairs = list(zip(mine[rows].tolist(), theirs[rows].tolist(), strict=True))
    spelled = {text: folded(text) for text in {text for pair in pairs for text in pair}}
    wrong = np.fromiter((not same(spelled[one], spelled[other]) for one, other in pairs), np.bool_, len(pairs))
    out[rows[wrong]] |= np.uint8(bit)


def _spell_day(birth: str | dt.date) -> str:
    return birth.isoformat() if isinstance(birth, dt.date) else birth


def _texts(column: Sequence[str]) -> Texts:
    out = np.empty(len(column), object)
    out[:] = column
    return out
