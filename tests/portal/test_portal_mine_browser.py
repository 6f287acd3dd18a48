"""Own data and alerts in a real browser: by keyboard, without scripts, at phone and desktop width."""

from __future__ import annotations

from typing import Any

import pytest
from test_portal_browser import (
    AXE,
    CHROMIUM,
    DESKTOP,
    PHONE,
    Citizen,
    address,  # noqa: F401
    chromium,  # noqa: F401
    keep,
    pytestmark,  # noqa: F401
    violations,
)

assert CHROMIUM


def check(citizen: Citizen, name: str, size: dict[str, int]) -> None:
    citizen.page.add_script_tag(path=str(AXE))
    assert violations(citizen.page) == [], name
    assert citizen.page.evaluate("() => document.documentElement.scrollWidth") <= size["width"], name
    # A browser that was just begun asks the stand-in for its icon, which it has not.
    citizen.problems[:] = [one for one in citizen.problems if "404" not in one]
    keep(citizen.page, f"{name}-{'phone' if size is PHONE else 'desktop'}")


def tab_to(page: Any, words: str) -> None:
    """Go on by keyboard until something with these words has the focus."""
    for _ in range(60):
        page.keyboard.press("Tab")
        focus = page.locator(":focus")
        if focus.count() and words in f"{focus.inner_text()} {focus.get_attribute('name')}":
            return
    raise AssertionError(words)


@pytest.mark.parametrize("size", [PHONE, DESKTOP], ids=["phone", "desktop"])
def test_own_data_are_found_asked_for_and_seen_once(
    chromium: Any, address: str, size: dict[str, int]  # noqa: F811
) -> None:
    with Citizen(chromium, address, "番号 花子", viewport=size, bypass_csp=True) as citizen:
        page = citizen.page
        citizen.go("/own")
        check(citizen, "own", size)
        page.get_by_label("機関をさがす").fill("横浜")
        page.get_by_role("button", name="さがす").click()
        check(citizen, "ownfound", size)
        citizen.go("/own")
        page.locator("section a", has_text="市").or_(page.locator("section a", has_text="区")).first.click()
        check(citizen, "ownchoice", size)
        page.get_by_label("市町村民税").check()
        page.get_by_role("button", name="この機関に求める").click()
        page.wait_for_url("**/own/*")
        check(citizen, "ownwaits", size)
        look = page.url
        for _ in range(60):
            link = page.get_by_role("link", name="届いたか確かめる")
            if not link.count():
                break
            page.wait_for_timeout(250)
            link.click()
            page.wait_for_load_state()
        assert "課税年度" in citizen.text()
        assert "3141000" in citizen.text()
        check(citizen, "ownshown", size)
        page.goto(look)
        assert "この画面は終わりました" in citizen.text()
        check(citizen, "ownover", size)
        citizen.go("/history")
        assert "あなたが、「わたしの情報」で、" in citizen.text()


def test_own_data_are_asked_for_by_keyboard_without_scripts(chromium: Any, address: str) -> None:  # noqa: F811
    with Citizen(chromium, address, "番号 松子", viewport=DESKTOP, java_script_enabled=False) as citizen:
        page = citizen.page
        citizen.go("/own")
        tab_to(page, "q")
        page.keyboard.type("ちよだ")
        page.keyboard.press("Enter")
        page.wait_for_url("**/own?q=*")
        tab_to(page, "千代田区")
        page.keyboard.press("Enter")
        page.wait_for_url("**/own?institution=*")
        tab_to(page, "what")
        page.keyboard.press("Space")
        tab_to(page, "この機関に求める")
        page.keyboard.press("Enter")
        page.wait_for_url("**/own/*")
        assert "わたしの情報" in citizen.text()
        citizen.problems[:] = [one for one in citizen.problems if "404" not in one]


@pytest.mark.parametrize("size", [PHONE, DESKTOP], ids=["phone", "desktop"])
def test_alerts_are_asked_for_by_keyboard_with_a_fresh_sign_in(
    chromium: Any, address: str, size: dict[str, int]  # noqa: F811
) -> None:
    with Citizen(chromium, address, "番号 太郎", viewport=size, bypass_csp=True) as citizen:
        page = citizen.page
        citizen.go("/alerts")
        check(citizen, "alerts", size)
        tab_to(page, "address")
        page.keyboard.type("taro@mail.test")
        page.keyboard.press("Tab")
        page.keyboard.press("Enter")
        page.get_by_role("link", name="番号 太郎").click()
        page.wait_for_url("**/alerts?done=*")
        assert "確認のメールを送りました" in citizen.text()
        check(citizen, "alertssent", size)


@pytest.mark.parametrize("size", [PHONE, DESKTOP], ids=["phone", "desktop"])
def test_a_consent_is_withdrawn_and_given_again_by_keyboard(
    chromium: Any, address: str, size: dict[str, int]  # noqa: F811
) -> None:
    with Citizen(chromium, address, "番号 花子", viewport=size, bypass_csp=True) as citizen:
        page = citizen.page
        citizen.go("/consents")
        check(citizen, "consents", size)
        tab_to(page, "同意を取り消す")
        page.keyboard.press("Enter")
        page.wait_for_url("**/consents?done=withdrawn")
        assert "取り消し済み" in citizen.text()
        check(citizen, "consentwithdrawn", size)
        tab_to(page, "もう一度同意する")
        page.keyboard.press("Enter")
        page.wait_for_url("**/consents?done=given")
        citizen.go("/history")
        assert "同意を取り消しました" in citizen.text()
