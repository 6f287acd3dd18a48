"""The page of a run: nothing fetched, everything escaped, warnings above all."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from hub.bench.html import Page, Section, page, write_page

markupsafe = pytest.importorskip("markupsafe", reason="the extra bench is not installed")


def test_a_page_escapes_text_keeps_markup_and_fetches_nothing(tmp_path: Path) -> None:
    body = markupsafe.Markup("<table><tr><td>1</td></tr></table>")
    content = Page("runs & more", {"cpu": "<fast>"}, [Section("one", body, "a < b")], {"seed": "0"}, ["busy <b>"])
    write_page(tmp_path / "page.html", content)
    text = (tmp_path / "page.html").read_text(encoding="utf-8")
    assert [path.name for path in tmp_path.iterdir()] == ["page.html"]
    assert "runs &amp; more" in text
    assert "&lt;fast&gt;" in text
    assert "a &lt; b" in text
    assert "<td>1</td>" in text
    assert text.index("busy &lt;b&gt;") < text.index("&lt;fast&gt;")
    assert not re.search(r"(src|href)=|url\(|@import|https?://", text)


def test_what_the_machine_does_not_tell_is_said() -> None:
    assert page(Page("t", {}, [])).count("unknown") >= 8
