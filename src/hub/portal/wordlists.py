"""The portal's word lists: what rows of the Order, kinds of information, roles, classes and bodies are called.

Files in ``words/``, one line a word; ``ja`` is the Order's own word unless the file has a plainer one. The translations
are unofficial, and every page says so. The Order has what is binding.
"""

from __future__ import annotations

import csv
import functools
from collections.abc import Mapping
from importlib.resources import files
from typing import Literal, NamedTuple, get_args

Language = Literal["ja", "en", "easy"]
LANGUAGES: tuple[Language, ...] = get_args(Language)
"""Japanese first, English, and plain Japanese (やさしい日本語)."""


class Word(NamedTuple):
    """One thing in three languages; ``ja`` is empty where the Order's word stands."""

    ja: str
    en: str
    easy: str

    def say(self, language: Language, then: str = "") -> str:
        """The word; ``then`` where it has none."""
        return {"ja": self.ja, "en": self.en, "easy": self.easy}[language] or then


@functools.cache
def words(name: str) -> Mapping[str, Word]:
    """A list by its first column: ``rows``, ``kinds``, ``roles``, ``classes`` or ``bodies``."""
    content = files("hub.portal").joinpath("words", f"{name}.csv").read_text(encoding="utf-8")
    lines = csv.DictReader(content.splitlines())
    key = (lines.fieldnames or [""])[0]
    return {line[key]: Word(line.get("ja") or "", line["en"], line.get("easy") or "") for line in lines}
