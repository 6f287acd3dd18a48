"""Institutions: the bodies connected to the hub, their codes, and the lists they are imported from."""

from __future__ import annotations

import re

import msgspec

from hub.catalog.csvfile import CsvFile, Source, expect, raise_broken
from hub.errors import CatalogError
from hub.limits import INSTITUTION_CODE_CHARS_MAX, INSTITUTIONS_MAX

KINDS = (
    "national",
    "body",
    "system",
    "prefecture",
    "city",
    "prefecture-board",
    "city-board",
    "late-elderly-union",
    "national-mutual",
    "local-mutual",
    "health-society",
    "nhi-society",
)
"""What an institution is. ``city`` is every municipality (市, 特別区, 町, 村), as in the ministry's list."""

COLUMNS = ("code", "kind", "prefecture", "name")
COLUMNS_OPTIONAL = ("kana",)

_CODE = re.compile(r"[0-9a-z][0-9a-z_-]*")
_CHECK_WEIGHTS = (6, 5, 4, 3, 2)
_NORTHERN_VILLAGES = frozenset(("016951", "016969", "016977", "016985", "016993", "017001"))
"""The six villages of the Northern Territories (色丹村 to 蘂取村) have codes, but no office that could be connected."""


class Institution(msgspec.Struct, frozen=True, array_like=True, kw_only=True):
    """A body connected to the hub.

    Attributes:
        number: uint32, from 1 without gaps; given once, in the order of the files.
        code: at most 32 characters; municipalities and prefectures their 6-digit local government code.
        kind: one of ``KINDS``.
        prefecture, name, kana: for people; a municipality's name begins with its prefecture.
        classes: every class string of the rules that the body belongs to, in the order of classes.csv.
    """

    number: int
    code: str
    kind: str
    prefecture: str
    name: str
    kana: str
    classes: tuple[str, ...] = ()

    @property
    def form(self) -> str:
        """市, 特別区, 町 or 村 for a municipality, empty for others."""
        if self.kind != "city":
            return ""
        return "特別区" if self.name.endswith("区") else self.name[-1]


class Imported(msgspec.Struct, frozen=True, kw_only=True):
    """What an import did with the lines of its file.

    Attributes:
        table: which table of the catalog the file was.
        added, updated, unchanged: lines taken in.
        wards_skipped: ordinary wards of designated cities, which are parts of a municipality.
        villages_skipped: the villages of the Northern Territories, which have no office.
    """

    table: str
    added: int = 0
    updated: int = 0
    unchanged: int = 0
    wards_skipped: int = 0
    villages_skipped: int = 0


def check_digit(digits: str) -> str:
    """The sixth digit of a local government code, from its first five.

    Source: 全国地方公共団体コード (JIS X 0401, 0402): weights 6 to 2, 11 less the sum modulo 11, its last digit.
    """
    total = sum(int(digit) * weight for digit, weight in zip(digits, _CHECK_WEIGHTS, strict=True))
    return str((11 - total % 11) % 10)


def read_institutions(
    source: Source, known: tuple[Institution, ...]
) -> tuple[tuple[Institution, ...], Imported, tuple[str, ...]]:
    """Add the bodies of a list to those already known.

    Args:
        source: CSV with code, kind, prefecture, name and, if wished, kana; the ministry's list of municipalities
            has this shape. Its ordinary wards and the villages of the Northern Territories are left out and counted.
        known: the institutions so far; a code that is among them keeps its number.

    Returns:
        all institutions by number, what was done, and the codes named by the file.

    Raises:
        CatalogError: the file is broken, or the numbers are used up.
    """
    file = CsvFile(source)
    lines = file.parse(_parse_line, COLUMNS, COLUMNS_OPTIONAL)
    by_code = {body.code: body for body in known}
    done = {"added": 0, "updated": 0, "unchanged": 0, "wards_skipped": 0, "villages_skipped": 0}
    named: dict[str, None] = {}
    broken = []
    for code, kind, prefecture, name, kana in lines:
        if kind == "ward":
            done["wards_skipped"] += 1
            continue
        if code in _NORTHERN_VILLAGES:
            done["villages_skipped"] += 1
            continue
        if code in named:
            broken.append(f"code: expected every code once, got {code} twice")
            continue
        named[code] = None
        old = by_code.get(code)
        body = Institution(
            number=old.number if old else len(by_code) + 1,
            code=code, kind=kind, prefecture=prefecture, name=name, kana=kana,
        )  # fmt: skip
        if old and old.kind != kind:
            broken.append(f"kind: expected {old.kind} for {code}, as it was, got {kind}")
        done["added" if old is None else "unchanged" if body == old else "updated"] += 1
        by_code[code] = body
    raise_broken(file.name, broken)
    if len(by_code) > INSTITUTIONS_MAX:
        raise CatalogError(f"{file.name}: expected at most {INSTITUTIONS_MAX} institutions, got {len(by_code)}")
    return tuple(by_code.values()), Imported(table="institutions", **done), tuple(named)


def _parse_line(line: dict[str, str]) -> tuple[str, str, str, str, str]:
    code, kind, prefecture, name = line["code"], line["kind"], line["prefecture"], line["name"]
    if code.isascii() and code.isdigit():
        kind = _check_local_government(code, kind, prefecture)
    else:
        if not _CODE.fullmatch(code) or len(code) > INSTITUTION_CODE_CHARS_MAX:
            bound = f"1 to {INSTITUTION_CODE_CHARS_MAX} of a-z 0-9 - _"
            raise ValueError(f"code: expected {bound}, got {code[:40]!r}")
        expect("kind", kind, [known for known in KINDS if known not in ("prefecture", "city")])
    if not name:
        raise ValueError("name: expected a name, got nothing")
    if kind == "city" and (name[-1] not in "市区町村" or not name.startswith(prefecture) or not prefecture):
        raise ValueError(f"name: expected the prefecture and a name that ends in 市, 区, 町 or 村, got {name[:40]!r}")
    return code, kind, prefecture, name, line["kana"]


def _check_local_government(code: str, kind: str, prefecture: str) -> str:
    """Check a 6-digit code against its check digit and its kind; a special ward is a municipality."""
    if len(code) == 5:
        raise ValueError(f"code: expected 6 digits, got 5 ({code}): spreadsheets drop a leading zero")
    if len(code) != 6:
        raise ValueError(f"code: expected 6 digits, got {len(code)}")
    if check_digit(code[:5]) != code[5]:
        raise ValueError(f"code: expected check digit {check_digit(code[:5])}, got {code}")
    expect("kind", kind, ("prefecture", "city", "ward"))
    if (kind == "prefecture") != (code[2:5] == "000"):
        raise ValueError(f"kind: expected prefecture for a code like 13000x and no other, got {kind} for {code}")
    # Codes 131016 to 131237 are the special wards of Tokyo: municipalities, whatever a list calls them.
    return "city" if kind == "ward" and prefecture == "東京都" and code.startswith("131") else kind
