"""Spellings that mean the same, folded to one: names, readings, addresses, sexes, dates of birth.

Two spellings are folded alike where files write one person's attribute in both; two names that the law tells apart are
not. What is folded is compared and forgotten: nothing here is stored.

An address is folded to its parts: prefecture, place, numbers of the lot, numbers of the flat. A building's name is left
out, and so are 大字 and 字, the county of a town and the words between numbers (一丁目2番地の3 is 1-2-3).
"""

# ruff: noqa: RUF001 - kana and kanji that look like other characters are what this is about.

from __future__ import annotations

import re
import unicodedata
from functools import lru_cache
from typing import NamedTuple

from hub.mislinks.variants import VARIANTS

_KEPT = 1 << 16
"""Spellings of each kind that are kept folded, some 60 MB in all: names, days and addresses of families repeat."""

_SPACES = re.compile(r"\s+")
_SEPARATORS = re.compile(r"[\s・･·.,,、'’\-‐‑‒–—―−/]+")
_LATIN = re.compile(r"[a-zA-Z\u00c0-\u024f]")
_KANA = re.compile(r"[\u3041-\u309f\u30a0-\u30ff\s・]+")

_AGAIN = re.compile(r"(.)々")
_SMALL = str.maketrans("ァィゥェォッャュョヮヵヶ", "アイウエオツヤユヨワカケ")
_SOUNDS = str.maketrans("ヰヱヲヂヅ", "イエオジズ")
_HIRAGANA = {code: code + 0x60 for code in range(0x3041, 0x3097)}
_ROWS = {
    "ア": "アカサタナハマヤラワガザダバパ",
    "イ": "イキシチニヒミリギジヂビピ",
    "ウ": "ウクスツヌフムユルグズヅブプヴ",
    "エ": "エケセテネヘメレゲゼデベペ",
    "オ": "オコソトノホモヨロヲゴゾドボポ",
}
_VOWEL = {kana: vowel for vowel, row in _ROWS.items() for kana in row}


class Address(NamedTuple):
    """An address in parts: folded texts, and numbers as digits without leading zeros."""

    prefecture: str
    place: str
    lot: tuple[str, ...]
    flat: tuple[str, ...]

    def __repr__(self) -> str:
        return "Address()"

    @property
    def key(self) -> str:
        """One text for it, the same for what the same household writes."""
        return f"{self.place}|{'-'.join(self.lot + self.flat)}"


# -- names


@lru_cache(_KEPT)
def fold_name(text: str) -> str:
    """Fold a name: width, spaces, shapes of characters; of a foreign one in letters also case, accents and order."""
    plain = unicodedata.normalize("NFKC", text).strip()
    if _LATIN.search(plain):
        return _fold_letters(plain)
    if _KANA.fullmatch(plain):
        # Who is written in kana alone may be a foreigner, whose names come in any order with a dot between them.
        return fold_kana(plain)
    return _AGAIN.sub(r"\1\1", _SEPARATORS.sub("", plain).translate(VARIANTS))


def _fold_letters(plain: str) -> str:
    bare = "".join(one for one in unicodedata.normalize("NFKD", plain) if not unicodedata.combining(one))
    return " ".join(sorted(filter(None, _SEPARATORS.split(unicodedata.normalize("NFC", bare).casefold()))))


@lru_cache(_KEPT)
def fold_kana(text: str) -> str:
    """Fold a reading: width, hiragana, small letters, ヴ, old sounds, ways to write a long vowel; a dot sorts parts.

    A long vowel stays one: オオノ, オウノ and オーノ are alike, オノ is another name.
    """
    plain = unicodedata.normalize("NFKC", text).strip()
    if _LATIN.search(plain):
        return _fold_letters(plain)
    parts = [_SPACES.sub("", part) for part in plain.split("・")]
    return "".join(sorted(_fold_sounds(part) for part in parts if part))


def _fold_sounds(text: str) -> str:
    kana = text.translate(_HIRAGANA).translate(_SMALL).translate(_SOUNDS)
    if "ヴ" in kana:
        for one, other in (("ヴア", "バ"), ("ヴイ", "ビ"), ("ヴエ", "ベ"), ("ヴオ", "ボ"), ("ヴ", "ブ")):
            kana = kana.replace(one, other)
    out: list[str] = []
    vowel = ""
    for one in kana:
        if one in "ー-‐―−" or (one == "ウ" and vowel == "オ") or (one == "イ" and vowel == "エ"):
            out.append(vowel)
        else:
            out.append(one)
            vowel = _VOWEL.get(one, "")
    return "".join(out)


# -- addresses

_PREFECTURE = re.compile(r"^(東京都|北海道|京都府|大阪府|(?:神奈川|和歌山|鹿児島|[^都道府県市区町村郡]{2})県)")
_COUNTY = re.compile(r"^[^市区町村郡]{1,4}郡(?=[^市区]{1,7}[町村])")
_PLAIN = {**VARIANTS, **dict.fromkeys(map(ord, "‐‑‒–—―−﹣"), "-")}
_RUNS = re.compile(r"-+")
_KANJI = "〇一二三四五六七八九十百千"
_LONG_MARK = re.compile(rf"(?<=[\d{_KANJI}])ー(?=[\d{_KANJI}])")
_NUMERALS = re.compile(rf"[{_KANJI}]+(?=丁目|番|号|条|線|街区|[のノ\-](?=[\d{_KANJI}]))")
_LAST_NUMERALS = re.compile(rf"(?<=[番地目ノ\-])[{_KANJI}]+$")
_BETWEEN = re.compile(r"(?<=\d)(?:丁目(?=ノ?\d)|番地|番(?!町)|号(?![室棟館])|ノ(?=\d))ノ?(?=(.?))")
_CLUSTER = re.compile(r"\d+(?:-\d+)*")
_AFTER = re.compile(r"[条線町村区地割街丁番]")
_GA = re.compile(r"(?<=[\u4e00-\u9fff々])[ヶヵがガケ](?=[\u4e00-\u9fff])")
_DIGITS = re.compile(r"\d+")
_NUMBERS = {"〇": 0, "一": 1, "二": 2, "三": 3, "四": 4, "五": 5, "六": 6, "七": 7, "八": 8, "九": 9}
_UNITS = {"十": 10, "百": 100, "千": 1000}


@lru_cache(_KEPT)
def fold_address(text: str) -> Address:
    """Fold an address to its parts."""
    plain = "".join(unicodedata.normalize("NFKC", text).split()).casefold().translate(_PLAIN)
    # A pattern that finds nothing costs as much as one that does: most are tried only where there is something.
    if "ー" in plain:
        plain = _LONG_MARK.sub("-", plain)
    if "々" in plain:
        plain = _AGAIN.sub(r"\1\1", plain)
    if "字" in plain:
        plain = plain.replace("大字", "").replace("字", "")
    plain = _NUMERALS.sub(_number, _GA.sub("ケ", plain)).replace("の", "ノ")
    if plain and plain[-1] in _KANJI:
        plain = _LAST_NUMERALS.sub(_number, plain)
    found = _PREFECTURE.match(plain)
    prefecture = found.group(1) if found else ""
    rest = plain[len(prefecture) :]
    if "郡" in rest:
        rest = _COUNTY.sub("", rest)
    rest = _BETWEEN.sub(_dash, rest)
    if "--" in rest:
        rest = _RUNS.sub("-", rest)
    for cluster in _CLUSTER.finditer(rest):
        behind = rest[cluster.end() : cluster.end() + 1]
        if not _AFTER.match(behind):
            lot = tuple(number.lstrip("0") or "0" for number in cluster.group().split("-"))
            tail = _DIGITS.findall(rest[cluster.end() :].replace("第", ""))
            # Of what is behind the lot only the last number counts: 第2コーポ101号室 is flat 101.
            return Address(prefecture, rest[: cluster.start()].rstrip("-"), lot, tuple(tail[-1:]))
    return Address(prefecture, rest, (), ())


def same_address(one: Address, other: Address) -> bool:
    """Whether two folded addresses may be one: what one of them leaves out (prefecture, flat) is not compared."""
    if one.place != other.place or (one.prefecture and other.prefecture and one.prefecture != other.prefecture):
        return False
    if one.lot == other.lot:
        return not one.flat or not other.flat or one.flat == other.flat
    mine, theirs = one.lot + one.flat, other.lot + other.flat
    short, long = (mine, theirs) if len(mine) < len(theirs) else (theirs, mine)
    # 1-2-3 has block and house already, so a fourth number is a flat; a third one behind 1-2 may be the house.
    return mine == theirs or (len(short) >= 3 and long[: len(short)] == short)


def _number(found: re.Match[str]) -> str:
    """A number in kanji, positional (二三) or with units (二十三), as digits."""
    text = found.group()
    if not any(one in _UNITS for one in text):
        return "".join(str(_NUMBERS[one]) for one in text)
    total = digit = 0
    for one in text:
        if one in _UNITS:
            total, digit = total + (digit or 1) * _UNITS[one], 0
        else:
            digit = _NUMBERS[one]
    return str(total + digit)


def _dash(found: re.Match[str]) -> str:
    """A word between numbers becomes a dash where a number follows, else it goes."""
    return "-" if found.group(1).isdigit() else ("" if not found.group(1) else " ")


# -- sexes, days

_SEXES = dict.fromkeys(("男", "男性", "m", "male", "1"), "M") | dict.fromkeys(("女", "女性", "f", "female", "2"), "F")
_ERAS = {"明治": 1867, "大正": 1911, "昭和": 1925, "平成": 1988, "令和": 2018}
_LETTERS = {"m": "明治", "t": "大正", "s": "昭和", "h": "平成", "r": "令和"}
_ERA_DAY = re.compile(r"(明治|大正|昭和|平成|令和|[mtshr])(元|\d{1,2})[年./\-](\d{1,2})[月./\-](\d{1,2})日?")
_DAY = re.compile(r"(\d{4})[年./\-](\d{1,2})[月./\-](\d{1,2})日?")
_PLAIN_DAY = re.compile(r"(\d{4})(\d{2})(\d{2})")


@lru_cache(_KEPT)
def fold_sex(text: str) -> str:
    """Fold a sex: 男, 男性, M and 1 are alike (ISO/IEC 5218), 女, 女性, F and 2; anything else stays what it is."""
    plain = unicodedata.normalize("NFKC", text).strip().casefold()
    return _SEXES.get(plain, plain)


@lru_cache(_KEPT)
def fold_birth(text: str) -> str:
    """Fold a day to 1975-01-02: also 19750102, 1975/1/2, 昭和50年1月2日 and S50.1.2; what is none stays what it is."""
    plain = _SPACES.sub("", unicodedata.normalize("NFKC", text)).casefold()
    found = _DAY.fullmatch(plain) or _PLAIN_DAY.fullmatch(plain)
    if found:
        year, month, day = map(int, found.groups())
    elif found := _ERA_DAY.fullmatch(plain):
        era = _ERAS[_LETTERS.get(found.group(1), found.group(1))]
        year = era + (1 if found.group(2) == "元" else int(found.group(2)))
        month, day = int(found.group(3)), int(found.group(4))
    else:
        return plain
    return f"{year:04}-{month:02}-{day:02}"
