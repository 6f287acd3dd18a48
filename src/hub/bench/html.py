"""The page that a run, or a set of curves, is shown on: one file, nothing fetched, light and dark.

A caller gives :func:`page` a title, the machine block of its JSON and sections whose bodies are markup made with
``markupsafe.Markup`` (everything else is escaped). Plots are inline SVG that takes its colours from the page:
``class="s1"`` to ``s6`` is a series (a fill for shapes, with ``line`` beside it a stroke), ``grid`` and ``axis`` are
lines, text needs no class and ``muted`` is the paler one. Needs Jinja2, of the extra ``bench``.
"""

from __future__ import annotations

import importlib.util
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

SERIES = 6
"""Colours of series that the page knows; a seventh would not be told from the others."""


@dataclass(frozen=True)
class Section:
    """A headed part of a page. ``body`` is markup (``markupsafe.Markup``), ``note`` plain text below the heading."""

    title: str
    body: str
    note: str = ""


@dataclass(frozen=True)
class Page:
    """What a page says.

    Attributes:
        machine: the machine block of the JSON (``hub.bench.machine.describe``), with its ``warnings``.
        facts: further lines of that block, by name: seed, answers, command.
        warnings: what makes the figures doubtful; loud, above everything else.
    """

    title: str
    machine: dict[str, Any]
    sections: Sequence[Section]
    facts: dict[str, str] = field(default_factory=dict)
    warnings: Sequence[str] = ()


def lacks() -> str | None:
    """Why no page can be written, or None."""
    return None if importlib.util.find_spec("jinja2") else "Jinja2 is not installed (the extra bench)"


def page(content: Page) -> str:
    """The whole page as text."""
    import jinja2

    environment = jinja2.Environment(
        loader=jinja2.PackageLoader("hub.bench"), autoescape=True, undefined=jinja2.StrictUndefined,
        trim_blocks=True, lstrip_blocks=True,
    )  # fmt: skip
    return environment.get_template("page.html").render(page=content, machine=machine_rows(content.machine))


def write_page(path: Path, content: Page) -> None:
    """Write the page; an older file of that name stays until the new one is whole."""
    partial = path.with_name(path.name + ".partial")
    partial.write_text(page(content), encoding="utf-8")
    partial.replace(path)


def machine_rows(machine: dict[str, Any]) -> list[tuple[str, str]]:
    """The machine block as (name, text), for people; what is not known is said."""

    def known(name: str) -> str:
        value = machine.get(name)
        return "unknown" if value is None else str(value)

    def size(name: str) -> str:
        value = machine.get(name)
        return "unknown" if value is None else f"{value / (1 << 30):.1f} GiB"

    commit = machine.get("commit")
    fsync = machine.get("fsync_us")
    return [
        ("processor", f"{known('cpu')}, {known('cores')} cores, governor {known('governor')}"),
        ("memory", f"{size('memory_bytes')}, huge pages {known('huge_pages')}"),
        ("kernel", known("kernel")),
        ("disk", f"{known('filesystem')}, fdatasync of 4 KiB {'unknown' if fsync is None else f'{fsync:.0f} us'}"),
        ("Python", f"{known('python')}, numpy {known('numpy')}, Cython {known('cython')}"),
        ("LMDB", f"{known('lmdb')}, py-lmdb {known('py_lmdb')}"),
        ("core", f"{known('compiler')}, {known('flags')}"),
        ("commit", "none: installed" if commit is None else commit + (" + changes" if machine.get("dirty") else "")),
    ]
