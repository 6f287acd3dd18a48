"""The desk in a real browser: ask with two clerks, decide, disclose at the counter; by keyboard, and axe-core's rules.

As ``test_portal_browser.py``; with ``PORTAL_SHOTS=<folder>`` every page is kept as a picture.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from typing import Any

import pytest
from test_portal_browser import AXE, CHROMIUM, DESKTOP, FLAGS, PHONE, keep, violations

from hub.desk.demo import demo
from hub.portal.demo import serve_in_thread

pytestmark = pytest.mark.skipif(not os.path.exists(CHROMIUM), reason="no /usr/bin/chromium (Debian: chromium)")


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        made = playwright.chromium.launch(executable_path=CHROMIUM, headless=True, args=FLAGS)
        yield made
        made.close()


@pytest.fixture(scope="module")
def address(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    with demo(tmp_path_factory.mktemp("desk")) as (address, server, sock), serve_in_thread(server, sock):
        yield address


class Seat:
    """A page of a browser, in which a clerk of the demo is signed in."""

    def __init__(self, browser: Any, address: str, name: str, **options: Any) -> None:
        self.address = address
        self.context = browser.new_context(locale="ja-JP", timezone_id="Asia/Tokyo", **options)
        self.context.set_default_timeout(20_000)
        self.page = self.context.new_page()
        self.outside: list[str] = []
        self.page.on("request", lambda one: None if "//localhost" in one.url else self.outside.append(one.url))
        self.go("/signin")
        self.page.get_by_role("button", name="サインイン").click()
        self.page.get_by_role("link", name=name).click()
        self.page.wait_for_url(address + "/")

    def __enter__(self) -> Seat:
        return self

    def __exit__(self, *_: object) -> None:
        self.context.close()
        assert self.outside == []

    def go(self, path: str) -> None:
        self.page.goto(self.address + path)

    def press(self, name: str) -> None:
        self.page.get_by_role("button", name=name).click()

    def text(self) -> str:
        return str(self.page.locator("main").inner_text())

    def check(self, name: str, size: dict[str, int]) -> None:
        """axe-core finds nothing, the page is no wider than the screen, and a picture is kept."""
        self.page.add_script_tag(path=str(AXE))
        assert violations(self.page) == [], name
        assert self.page.evaluate("() => document.documentElement.scrollWidth") <= size["width"], name
        keep(self.page, f"{name}-{'phone' if size is PHONE else 'desktop'}")

    def ask(self, own_id: str) -> None:
        """Fill in a question by the procedure that takes two clerks."""
        self.go("/find?words=児手法7条1項")
        self.page.get_by_role("link", name="児手法7条1項").first.click()
        self.page.get_by_label("対象者の番号").fill(own_id)
        self.page.get_by_label("照会先").fill("いわき市")
        self.page.get_by_label("市町村民税", exact=True).check()
        self.page.get_by_label("対象者の立場").select_option("一般受給資格者")
        self.press("内容を確かめる")
        self.page.wait_for_url("**/questions/*")


@pytest.mark.parametrize("size", [PHONE, DESKTOP], ids=["phone", "desktop"])
def test_two_clerks_ask_decide_and_disclose_and_no_page_breaks_a_rule(
    browser: Any, address: str, size: dict[str, int]
) -> None:
    words: dict[str, Any] = {"viewport": size, "bypass_csp": True}
    with (
        Seat(browser, address, "佐藤 一", **words) as first,
        Seat(browser, address, "鈴木 二", **words) as second,
    ):
        first.go("/find?words=児童手当")
        first.check("find", size)
        first.page.get_by_role("link", name="児手法7条1項").first.click()
        first.page.get_by_label("対象者の番号").fill("R-9999")
        first.page.get_by_label("照会先").fill("市")
        first.press("内容を確かめる")
        assert "この番号の人は見つかりません" in first.text()
        first.check("ask-wrong", size)
        first.ask("R-0001")
        first.check("question-draft", size)
        first.press("もう一人の確認に回す")
        where = first.page.url.removeprefix(address)
        second.go("/")
        second.check("first", size)
        second.go(where)
        second.check("question-confirm", size)
        second.press("確認して照会する")
        for _ in range(60):
            first.go(where)
            if "提供あり" in first.text():
                break
            first.page.wait_for_timeout(250)
        assert "2,184,000円" in first.text()
        first.check("question-answered", size)
        first.page.get_by_role("link", name="回答の証明書").click()
        first.check("certificate", size)
        first.go("/questions")
        first.check("questions", size)
        first.go("/permits")
        first.check("permits", size)
        first.page.locator(".list a").first.click()
        first.check("permit", size)
        first.page.get_by_label("この人の記録がない").check()
        first.press("この回答を送る")
        assert "回答しました" in first.text()
        first.go("/counter")
        first.check("counter", size)
        first.page.get_by_label("本人の番号").fill("R-0001")
        first.page.get_by_label("本人確認に使ったもの").select_option("licence")
        first.press("もう一人の確認に回す")
        where = first.page.url.removeprefix(address)
        second.go(where)
        second.press("本人確認を確かめた")
        first.go(where)
        first.check("counter-one", size)
        first.press("履歴を表示して印刷する")
        assert "日本年金機構が" in first.text()
        first.check("counter-print", size)
        for name in ("links", "report", "nowhere"):
            first.go("/" + name)
            first.check(name, size)
        first.page.get_by_role("link", name="English").click()
        first.go("/find?words=child allowance")
        first.check("find-en", size)


def test_a_question_is_made_without_scripts_and_with_the_keyboard_alone(browser: Any, address: str) -> None:
    with Seat(browser, address, "佐藤 一", viewport=DESKTOP, java_script_enabled=False) as seat:
        page = seat.page

        def tab_to(found: str) -> None:
            for _ in range(60):
                page.keyboard.press("Tab")
                if page.locator(found + ":focus").count():
                    return
            raise AssertionError(found)

        tab_to("#words")
        page.keyboard.type("児手法7条1項")
        page.keyboard.press("Enter")
        page.wait_for_url(re.compile(r"/find\?"))
        tab_to(".list a")
        page.keyboard.press("Enter")
        page.wait_for_url(re.compile(r"/ask\?"))
        tab_to("#own_id")
        page.keyboard.type("R-0002")
        tab_to("#provider")
        page.keyboard.type("いわき市")
        tab_to("input[name=item-1]")
        page.keyboard.press("Space")
        tab_to("#role")
        for _ in range(10):
            if page.locator("#role").input_value() == "一般受給資格者":
                break
            page.keyboard.press("ArrowDown")
        tab_to("form.sheet button")
        page.keyboard.press("Enter")
        page.wait_for_url(re.compile("/questions/|/ask$"))
        assert "照会をつくる" not in seat.text(), seat.text()
        tab_to(".actions button")
        page.keyboard.press("Enter")
        page.get_by_text("確認待ち", exact=True).wait_for()
