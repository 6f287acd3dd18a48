"""Every page of the portal in a real browser against axe-core's rules: two widths, light and dark, three languages."""

from __future__ import annotations

from typing import Any

import pytest
from test_portal_browser import (
    AXE,
    DESKTOP,
    PHONE,
    WCAG,
    Citizen,
    address,  # noqa: F401
    chromium,  # noqa: F401
    keep,
    pytestmark,  # noqa: F401
    violations,
)

COLOURS = "{type: 'rule', values: ['color-contrast', 'link-in-text-block']}"

PAGES = {
    "first": "/", "signin": "/signin", "history": "/history", "filter": "/history?since=2020-01-01", "year": "/year",
    "notices": "/notices", "tickets": "/tickets", "proxies": "/proxies", "prove": "/prove", "check": "/check",
    "own": "/own", "alerts": "/alerts", "consents": "/consents", "lost": "/nowhere",
}  # fmt: skip


@pytest.mark.parametrize(
    ("size", "scheme"), [(PHONE, "light"), (DESKTOP, "light"), (PHONE, "dark")], ids=["phone", "desktop", "dark"]
)
def test_no_page_breaks_a_rule_of_accessibility_or_is_wider_than_the_screen(
    chromium: Any, address: str, size: dict[str, int], scheme: str  # noqa: F811
) -> None:
    # The policy forbids scripts from elsewhere, axe-core too: the page is looked at without it.
    with Citizen(chromium, address, "番号 花子", viewport=size, color_scheme=scheme, bypass_csp=True) as citizen:
        citizen.go("/history")
        record = citizen.page.locator("a.more").last.get_attribute("href")
        citizen.go("/notices")
        notice = citizen.page.locator(".list a").first.get_attribute("href")
        for name, path in {**PAGES, "record": record, "notice": notice}.items():
            citizen.go(path)
            citizen.page.add_script_tag(path=str(AXE))
            # In the dark only colours are others.
            rules = COLOURS if scheme == "dark" else WCAG
            assert violations(citizen.page, rules) == [], name
            width = citizen.page.evaluate("() => document.documentElement.scrollWidth")
            assert width <= size["width"], name
            if scheme == "light" or name == "history":
                keep(citizen.page, f"{name}-{'phone' if size is PHONE else 'desktop'}" + "-dark" * (scheme == "dark"))
        citizen.problems[:] = [one for one in citizen.problems if "404" not in one]


@pytest.mark.parametrize(
    ("language", "words"), [("English", "Who asked about me"), ("やさしい日本語", "だれがあなたのこと")]
)
def test_other_languages_break_no_rule_either(
    chromium: Any, address: str, language: str, words: str  # noqa: F811
) -> None:
    with Citizen(chromium, address, "番号 花子", viewport=PHONE, bypass_csp=True) as citizen:
        citizen.page.get_by_role("link", name=language, exact=True).click()
        assert words in citizen.text()
        for name in ("history", "year", "proxies", "prove", "own", "alerts", "consents"):
            citizen.go(PAGES[name])
            citizen.page.add_script_tag(path=str(AXE))
            assert violations(citizen.page) == [], name
            keep(citizen.page, f"{name}-phone-{'en' if language == 'English' else 'easy'}")
