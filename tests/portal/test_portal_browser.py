"""The portal in a real browser: read, filter, prove, act, sign out; by keyboard, without scripts.

Debian's chromium (``.ci/run`` installs it, with fonts-noto-cjk); skipped where it lacks. axe-core 4.14 (MPL 2.0) stands
in ``axe/``; every page is held against its rules in ``test_portal_axe.py``. With ``PORTAL_SHOTS=<folder>`` every page
is kept as a picture at phone and desktop width.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from metamorphic_log import metamorphic_log as foreign

from hub.portal.demo import demo, serve_in_thread
from hub.tlog.verify import parse_proof, verify_proof

CHROMIUM = "/usr/bin/chromium"
FLAGS = ["--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking",
         "--disable-component-update", "--disable-sync"]  # fmt: skip
PHONE, DESKTOP = {"width": 360, "height": 740}, {"width": 1280, "height": 900}
AXE = Path(__file__).parent / "axe" / "axe.min.js"

pytestmark = pytest.mark.skipif(not os.path.exists(CHROMIUM), reason="no /usr/bin/chromium (Debian: chromium)")

@pytest.fixture(scope="module")
def chromium() -> Iterator[Any]:
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, headless=True, args=FLAGS)
        yield browser
        browser.close()


@pytest.fixture(scope="module")
def address(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    with demo(tmp_path_factory.mktemp("demo")) as (address, server, sock), serve_in_thread(server, sock):
        yield address


class Citizen:
    """A page of a browser, in which somebody of the demo is signed in."""

    def __init__(self, chromium: Any, address: str, name: str | None, **options: Any) -> None:
        self.address = address
        self.context = chromium.new_context(locale="ja-JP", timezone_id="Asia/Tokyo", **options)
        self.context.set_default_timeout(120_000)
        self.page = self.context.new_page()
        self.problems: list[str] = []
        self.page.on("console", lambda message: self.problems.append(message.text) if message.type == "error" else None)
        self.page.on("request", self._note)
        if name is not None:
            self.sign_in(name)

    def _note(self, request: Any) -> None:
        if not request.url.startswith(("http://localhost:", "data:")):
            self.problems.append(f"asked for {request.url}")

    def __enter__(self) -> Citizen:
        return self

    def __exit__(self, *_: object) -> None:
        self.context.close()
        assert self.problems == []

    def sign_in(self, name: str) -> None:
        self.page.goto(self.address + "/signin")
        self.page.get_by_role("button", name="マイナンバーカードで").click()
        self.page.get_by_role("link", name=name).click()
        try:
            self.page.wait_for_url("**/history")
        except Exception as error:
            error.add_note(f"the browser is at {self.page.url.partition('?')[0]}: {self.text()[:200]!r}")
            raise

    def go(self, path: str) -> None:
        self.page.goto(self.address + path)

    def text(self) -> str:
        return str(self.page.locator("body").inner_text())


WCAG = "{type: 'tag', values: ['wcag2a', 'wcag2aa', 'wcag21a', 'wcag21aa', 'wcag22aa', 'best-practice']}"


def violations(page: Any, only: str = WCAG) -> list[str]:
    """What axe-core finds, by rule and place. It keeps no list of what is right: that takes longer than to look."""
    found = page.evaluate(f"() => axe.run(document, {{resultTypes: ['violations'], runOnly: {only}}})")
    return [f"{rule['id']}: {node['html'][:160]}" for rule in found["violations"] for node in rule["nodes"]]


def keep(page: Any, name: str) -> None:
    """A picture, where they are wanted."""
    if os.environ.get("PORTAL_SHOTS"):
        # Of long pages the beginning.
        height = min(page.evaluate("() => document.documentElement.scrollHeight"), 1_500)
        area = {"x": 0, "y": 0, "width": page.viewport_size["width"], "height": height}
        page.screenshot(path=f"{os.environ['PORTAL_SHOTS']}/{name}.png", full_page=True, clip=area)


WORDS = {
    "ja": ("日本年金機構が", "しぼり込む", "結果", "認められませんでした", "すべて表示", "もっと古い記録",
           "くわしく・証明", "証明ファイルを保存", "サインアウト", "サインアウトしました"),
    "en": ("Japan Pension Service", "Filter", "Outcome", "It was denied", "Show all", "Older records",
           "More, and proof", "Save the proof", "Sign out", "You are signed out"),
}  # fmt: skip


@pytest.mark.parametrize("language", ["ja", "en"])
def test_a_citizen_reads_filters_pages_proves_and_signs_out(chromium: Any, address: str, language: str) -> None:
    asks, narrow, outcome, denied, everything, older, more, save, leave, gone = WORDS[language]
    with Citizen(chromium, address, "番号 花子", viewport=DESKTOP) as citizen:
        page = citizen.page
        if language == "en":
            page.get_by_role("link", name="English", exact=True).click()
        assert asks.lower() in citizen.text().lower()
        page.get_by_text(narrow).first.click()
        page.get_by_label(outcome).select_option("denied")
        page.get_by_role("button", name=narrow).click()
        assert "outcome=denied" in page.url
        assert denied in citizen.text()
        assert page.locator(".badge.provided").count() == 0
        page.get_by_role("link", name=everything).click()
        newest = page.locator("a.more").first.get_attribute("href")
        page.get_by_role("link", name=older).click()
        assert newest not in [one.get_attribute("href") for one in page.locator("a.more").all()]
        page.get_by_role("link", name=more).last.click()
        with page.expect_download() as download:
            page.get_by_role("link", name=save).click()
        proof = Path(download.value.path()).read_bytes()
        parsed = parse_proof(proof)
        assert str(parsed.index) in page.get_by_role("heading", level=1).inner_text()
        page.goto(address + "/check")
        key = re.search(r"\S+\+[0-9a-f]{8}\+\S+", citizen.text())
        assert key is not None
        leaf = verify_proof(proof, key[0]).leaf
        # And with software that is not ours.
        foreign.checkpoint_verify_inclusion(parsed.note, [key[0]], parsed.index, leaf, parsed.path)
        page.goto(address + "/history")
        page.get_by_role("button", name=leave).click()
        # By way of the provider, where the sign-in is over too.
        page.wait_for_url("**/signedout")
        assert gone in citizen.text()
        page.go_back()
        page.wait_for_load_state()
        page.goto(address + "/history")
        assert page.url.endswith("/signin")


def test_a_proxy_is_granted_by_number_and_revoked_in_silence(chromium: Any, address: str) -> None:
    with (
        Citizen(chromium, address, "番号 太郎", viewport=PHONE) as person,
        Citizen(chromium, address, "番号 松子", viewport=PHONE) as agent,
    ):
        agent.go("/proxies")
        agent.page.get_by_role("button", name="代理人になるための番号を出す").click()
        number = agent.page.locator(".code").inner_text()
        person.go("/proxies")
        person.page.get_by_text("代理人を登録する").click()
        person.page.get_by_label("相手の番号").fill(number)
        person.page.get_by_label("あなたから見た呼び名").fill("松子さん")
        person.page.get_by_label("相手から見たあなたの呼び名").fill("太郎")
        person.page.get_by_role("button", name="登録する").click()
        assert "代理人を登録しました" in person.text()
        agent.go("/proxies")
        agent.page.get_by_role("link", name="太郎さんの履歴を見る").click()
        assert "太郎さんの履歴" in agent.text()
        person.go("/history")
        assert "あなたの代理人が、あなたの履歴を見ました" in person.text()
        person.go("/proxies")
        person.page.get_by_role("button", name="取り消す").click()
        agent.page.reload()
        assert agent.page.url.endswith("/signin")


def test_a_correction_is_asked_for_without_scripts_and_with_the_keyboard_alone(chromium: Any, address: str) -> None:
    with Citizen(chromium, address, "番号 松子", viewport=DESKTOP, java_script_enabled=False) as citizen:
        page = citizen.page
        page.keyboard.press("Tab")
        assert page.locator(":focus").inner_text() == "本文へ進む"
        page.keyboard.press("Enter")
        for _ in range(40):
            page.keyboard.press("Tab")
            if "くわしく・証明" in page.locator(":focus").inner_text():
                break
        page.keyboard.press("Enter")
        page.wait_for_url("**/record/*")
        for _ in range(40):
            page.keyboard.press("Tab")
            if page.locator(":focus").get_attribute("name") == "text":
                break
        page.keyboard.type("この照会の理由を教えてください")
        page.keyboard.press("Tab")
        page.keyboard.press("Tab")
        page.keyboard.press("Enter")
        page.wait_for_url("**/tickets?done=asked")
        assert "この照会の理由を教えてください" in citizen.text()


def test_on_paper_there_is_no_menu_and_it_says_where_one_that_can_be_checked_is(chromium: Any, address: str) -> None:
    with Citizen(chromium, address, "番号 花子", viewport=DESKTOP) as citizen:
        menu, said = citizen.page.locator("nav.main"), citizen.page.locator(".printed")
        assert (menu.is_visible(), said.is_visible()) == (True, False)
        citizen.page.emulate_media(media="print")
        assert (menu.is_visible(), said.is_visible()) == (False, True)
        assert "「証明と保存」のPDF" in said.inner_text()


def test_nothing_moves_while_a_page_loads(chromium: Any, address: str) -> None:
    with Citizen(chromium, address, "番号 花子", viewport=PHONE) as citizen:
        citizen.page.reload()
        shift = citizen.page.evaluate(
            "() => new Promise((done) => { let sum = 0; new PerformanceObserver((list) => { for (const one of "
            "list.getEntries()) sum += one.value; }).observe({type: 'layout-shift', buffered: true}); "
            "setTimeout(() => done(sum), 300); })"
        )
        assert shift == 0
