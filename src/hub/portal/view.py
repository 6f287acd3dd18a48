"""Pages as HTML: the templates, and what all of them are given.

A template says a text in three languages where it stands: ``say(japanese, english, plain)``; plain Japanese falls back
to Japanese. Everything else that goes in is escaped.
"""

from __future__ import annotations

import ast
import datetime as dt
import hashlib
import re
from functools import cache
from importlib.resources import files
from typing import Any

import jinja2
from jinja2.ext import Extension
from markupsafe import Markup, escape

from hub.catalog.moments import JAPAN
from hub.portal.wordlists import LANGUAGES, Language

LANGUAGE_NAMES: dict[Language, str] = {"ja": "日本語", "en": "English", "easy": "やさしい日本語"}
_WEEKDAYS = "月火水木金土日"
_TYPES = {".css": "text/css", ".js": "text/javascript", ".LICENSE": "text/plain",
          ".svg": "image/svg+xml"}  # fmt: skip


SEAM = "\x1e"
"""Stands in a page between what one address can bring and what a person alone may read: see ``zipping.py``."""

_TEXT = r'"[^"\n]*"'
_SAID = re.compile(rf"\{{\{{ say\(({_TEXT}(?:,\s+{_TEXT}){{1,2}})\) \}}\}}")


class _Said(Extension):
    """A text of the template's own is put in when the template is compiled, once for each language."""

    def preprocess(self, source: str, name: str | None, filename: str | None = None) -> str:
        """Jinja's hook: ``{{ say("...", "...") }}`` becomes the text."""
        words: Words = self.environment.globals["w"]  # type: ignore[assignment]
        return _SAID.sub(lambda said: escape(words.say(*ast.literal_eval(f"({said[1]})"))), source)


@cache
def environment(language: Language) -> jinja2.Environment:
    """The templates of this package in one language."""
    made = jinja2.Environment(
        loader=jinja2.PackageLoader("hub.portal"), autoescape=True, undefined=jinja2.StrictUndefined,
        trim_blocks=True, lstrip_blocks=True, auto_reload=False,
    )  # fmt: skip
    words = Words(language)
    made.globals |= {
        "languages": LANGUAGE_NAMES, "asset": asset_path, "w": words, "say": words.say, "language": language,
        "html_lang": "en" if language == "en" else "ja", "seam": Markup(SEAM),
    }  # fmt: skip
    made.add_extension(_Said)
    return made


@cache
def assets() -> dict[str, tuple[bytes, str]]:
    """The static files by name: content and type."""
    found = {}
    for one in files("hub.portal").joinpath("static").iterdir():
        suffix = one.name[one.name.rindex(".") :]
        if suffix in _TYPES:
            found[one.name] = one.read_bytes(), _TYPES[suffix]
    return found


@cache
def asset_path(name: str) -> str:
    """Where a static file is served: another address whenever its content is another."""
    return f"/static/{name}?v={hashlib.sha256(assets()[name][0]).hexdigest()[:12]}"


class Words:
    """What templates call to say something in the reader's language."""

    def __init__(self, language: Language) -> None:
        self.language = language

    def __repr__(self) -> str:
        return f"Words({self.language})"

    def say(self, ja: str, en: str, easy: str = "") -> str:
        """One of these texts."""
        return en if self.language == "en" else (easy or ja) if self.language == "easy" else ja

    def day(self, moment: dt.datetime | dt.date) -> str:
        """A day in Japan."""
        day = moment.astimezone(JAPAN).date() if isinstance(moment, dt.datetime) else moment
        if self.language == "en":
            return f"{day:%A}, {day.day} {day:%B} {day.year}"
        return f"{day.year}年{day.month}月{day.day}日({_WEEKDAYS[day.weekday()]})"

    def time(self, moment: dt.datetime) -> str:
        """A time of day in Japan."""
        return f"{moment.astimezone(JAPAN):%H:%M}"

    def moment(self, moment: dt.datetime) -> str:
        """Day and time in Japan."""
        there = moment.astimezone(JAPAN)
        second = f"{there:%H:%M:%S}"
        return f"{self.day(moment)} {second}"

    def number(self, value: int) -> str:
        """A number with commas."""
        return f"{value:,}"


def render(template: str, language: Language, context: dict[str, Any]) -> str:
    """A page."""
    return environment(language).get_template(template).render(context)


def is_language(word: str | None) -> bool:
    """Whether pages speak it."""
    return word in LANGUAGES
