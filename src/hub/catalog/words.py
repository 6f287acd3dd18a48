"""Words of the law as people type them: folding for search, quoting and near words for errors."""

from __future__ import annotations

import difflib
import re
import unicodedata
from collections.abc import Iterable

# Laws older than 1988 write っ and ゃ as つ and や (マツサージ), and clerks type either, in either kana.
_LARGE = str.maketrans("ァィゥェォッャュョヮヵヶ", "アイウエオツヤユヨワカケ")
_HIRAGANA = {code: code + 0x60 for code in range(ord("ぁ"), ord("ゖ") + 1)}
_IDENTIFIER = re.compile(r"[0-9A-Fa-f]{11,}")


def fold(text: str) -> str:
    """Fold what looks alike: NFKC, case, hiragana to katakana, small kana to large."""
    return unicodedata.normalize("NFKC", text).casefold().translate(_HIRAGANA).translate(_LARGE)


def quote(value: object) -> str:
    """A caller's word for an error message: at most 40 characters, never what may be an alias or a resident code."""
    if not isinstance(value, str):
        return type(value).__name__
    plain = unicodedata.normalize("NFKC", value).replace("-", "").replace(" ", "")
    if _IDENTIFIER.search(plain):
        return f"{len(value)} characters"
    return repr(value[:40] + "…" if len(value) > 40 else value)


def is_plain(text: str) -> bool:
    """Whether a text can be shown as it is: printable characters, the ideographic space (U+3000) among them."""
    return text.isprintable() or text.replace("\u3000", "").isprintable()


def unknown_word(what: str, value: object, known: Iterable[str]) -> str:
    """The message for a word that appears nowhere in the catalog, with up to three that look like it."""
    near: list[str] = []
    if isinstance(value, str):
        by_fold = {fold(word): word for word in known}
        near = [by_fold[word] for word in difflib.get_close_matches(fold(value[:100]), by_fold, n=3)]
    return f"{what}: expected one that the catalog knows, got {quote(value)}" + (
        f" (did you mean {', '.join(near)})" if near else ""
    )
