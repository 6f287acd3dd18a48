"""Signing in: only who the provider vouches for, in the browser that set out, once, with the card."""

from __future__ import annotations

import html
import re
import sqlite3
import stat
from pathlib import Path
from urllib.parse import parse_qs, urlencode, urlsplit

import httpx
import msgspec
import pytest
from joserfc import jwk, jwt
from portalworld import CLIENT, PortalWorld, text_of, token_of

from hub.portal.links import Links


def test_who_signs_in_reads_their_own_history(world: PortalWorld) -> None:
    with world.signed_in(0) as browser:
        page = browser.get("/history")
    assert page.status_code == 200
    assert "日本年金機構が" in text_of(page.text)


def test_who_is_not_signed_in_meets_the_sign_in_page(world: PortalWorld) -> None:
    with world.browser() as browser:
        for path in ("/history", "/record/1-1", "/year", "/for/abc/history"):
            answer = browser.get(path)
            assert (answer.status_code, answer.headers["location"]) == (303, "/signin")


def test_the_way_to_the_provider_has_a_state_a_nonce_a_challenge_and_the_acr(world: PortalWorld) -> None:
    with world.browser() as browser:
        first, second = (parse_qs(urlsplit(world.way(browser)).query) for _ in range(2))
    assert first["code_challenge_method"] == ["S256"]
    assert first["acr_values"] == ["card"]
    assert all(first[name] != second[name] for name in ("state", "nonce", "code_challenge"))


def test_a_state_is_good_once(world: PortalWorld) -> None:
    with world.browser() as browser:
        back = world.back(world.way(browser), "sub-0")
        cookies = dict(browser.cookies)
        assert browser.get(back).status_code == 303
    with world.browser() as browser:
        browser.cookies.update(cookies)
        assert browser.get(back).status_code == 403
        assert browser.get("/history").status_code == 303


def test_another_browser_cannot_come_back_with_it(world: PortalWorld) -> None:
    with world.browser() as mine, world.browser() as theirs:
        back = world.back(world.way(mine), "sub-0")
        world.way(theirs)
        assert theirs.get(back).status_code == 403
        assert "Set-Cookie" not in theirs.get(back).headers
        # And then the state is spent.
        assert mine.get(back).status_code == 403


@pytest.mark.parametrize("change", [{"state": "made-up"}, {"code": "made-up"}, {"code": ""}, {"iss": "https://else"},
                                    {"error": "access_denied"}])  # fmt: skip
def test_what_was_changed_on_the_way_back_signs_nobody_in(world: PortalWorld, change: dict[str, str]) -> None:
    with world.browser() as browser:
        back = urlsplit(world.back(world.way(browser), "sub-0"))
        query = {name: values[0] for name, values in parse_qs(back.query).items()} | change
        assert browser.get(f"{back.path}?{urlencode(query)}").status_code == 403
        assert browser.get("/history").status_code == 303


def test_a_sign_in_that_nobody_is_linked_to_is_refused(world: PortalWorld) -> None:
    with world.browser() as browser:
        answer = browser.get(world.back(world.way(browser), "somebody"))
    assert answer.status_code == 403


def test_a_late_return_is_refused(world: PortalWorld) -> None:
    clock = world.parties.clock
    with world.browser() as browser:
        back = world.back(world.way(browser), "sub-0")
        clock.now += world.config.limits.signin_s + 1
        assert browser.get(back).status_code == 403


def test_a_code_with_another_verifier_is_refused_by_the_provider(world: PortalWorld) -> None:
    before = len(world.provider.refused)
    with world.browser() as browser:
        back = world.back(world.way(browser), "sub-0")
        pending = world.portal.provider._pending
        state = next(reversed(pending))
        pending[state] = pending[state]._replace(verifier="x" * 64)
        assert browser.get(back).status_code == 403
    assert world.provider.refused[before:] == ["token"]


def test_who_signs_in_without_the_card_is_refused(world: PortalWorld) -> None:
    with world.browser() as browser:
        answer = browser.get(world.back(world.way(browser), "sub-5"))
    assert answer.status_code == 403
    assert "マイナンバーカードによる認証が必要です" in answer.text


def test_a_token_with_another_nonce_is_refused(world: PortalWorld) -> None:
    with world.browser() as browser:
        back = world.back(world.way(browser), "sub-0")
        pending = world.portal.provider._pending
        state = next(reversed(pending))
        pending[state] = pending[state]._replace(nonce="another")
        assert browser.get(back).status_code == 403


def test_the_cookie_is_of_this_host_alone_and_no_script_reads_it(world: PortalWorld) -> None:
    with world.browser() as browser:
        answer = browser.get(world.back(world.way(browser), "sub-0"))
    (cookie,) = [one for one in answer.headers.get_list("set-cookie") if "session" in one]
    assert cookie.startswith("__Host-session=")
    assert all(word in cookie for word in ("HttpOnly", "Secure", "Path=/", "SameSite=lax"))
    assert "Domain" not in cookie
    assert "Max-Age" not in cookie


@pytest.mark.parametrize("change", [lambda token: token[:-1] + ("A" if token[-1] != "A" else "B"),
                                    lambda token: token[:20], lambda token: "", lambda token: "x" * 5000])  # fmt: skip
def test_a_changed_cookie_is_nobody(world: PortalWorld, change) -> None:  # type: ignore[no-untyped-def]
    with world.signed_in(0) as browser:
        token = browser.cookies["__Host-session"]
    with world.browser() as browser:
        answer = browser.get("/history", headers={"Cookie": f"__Host-session={change(token)}"})
        assert (answer.status_code, answer.headers["location"]) == (303, "/signin")


def test_a_session_ends_when_it_is_not_used_and_in_any_case(world: PortalWorld) -> None:
    clock, limits = world.parties.clock, world.config.limits
    with world.signed_in(0) as browser:
        clock.now += limits.idle_s
        assert browser.get("/history").status_code == 200
        clock.now += limits.idle_s + 1
        assert browser.get("/history").status_code == 303
    with world.signed_in(0) as browser:
        steps = int(limits.session_s // limits.idle_s)
        for _ in range(steps):
            clock.now += limits.idle_s
            assert browser.get("/history").status_code == 200
        clock.now += 1
        assert browser.get("/history").status_code == 303


def test_signing_out_ends_this_session_and_on_demand_every_one(world: PortalWorld) -> None:
    with world.signed_in(0) as one, world.signed_in(0) as two, world.signed_in(1) as another:
        cookie = one.cookies["__Host-session"]
        assert world.post(one, "/history", "/signout").status_code in (200, 201)
        assert one.get("/history", headers={"Cookie": f"__Host-session={cookie}"}).status_code == 303
        assert two.get("/history").status_code == 200
        with world.signed_in(0) as three:
            world.post(three, "/history", "/signout", everywhere="yes")
        assert two.get("/history").status_code == 303
        assert another.get("/history").status_code == 200


def sign_out(world: PortalWorld, browser: httpx.Client) -> httpx.Response:
    answer = world.post(browser, "/history", "/signout")
    assert answer.status_code == 200
    assert "サインアウトしました" in text_of(answer.text)
    return answer


def test_signing_out_goes_on_to_the_provider_with_the_id_token_and_comes_back(world: PortalWorld) -> None:
    with world.signed_in(0) as browser:
        session = next(reversed(world.portal.sessions._by_digest.values()))
        way = html.unescape(re.search(r'<a class="button" href="(http[^"]+)"', sign_out(world, browser).text)[1])  # type: ignore[index]
        at, query = urlsplit(way), {name: values[0] for name, values in parse_qs(urlsplit(way).query).items()}
        assert (f"{at.scheme}://{at.netloc}", at.path) == (world.provider.issuer, "/oauth2/end_session")
        assert query == {
            "id_token_hint": session.id_token, "client_id": CLIENT,
            "post_logout_redirect_uri": world.address + "/signedout",
        }  # fmt: skip
        keys = jwk.KeySet.import_key_set(httpx.get(world.provider.issuer + "/jwks").json())
        assert jwt.decode(query["id_token_hint"], keys, algorithms=["RS256"]).claims["sub"] == "sub-0"
        # At the provider one says so, and is sent back to words.
        with httpx.Client(timeout=120) as outside:
            assert query["post_logout_redirect_uri"] in html.unescape(outside.get(way).text)
            back = outside.post(f"{world.provider.issuer}/oauth2/end_session/confirm",
                                data={"redirect_uri": query["post_logout_redirect_uri"]})  # fmt: skip
        answer = browser.get(back.headers["location"])
        assert (answer.status_code, "サインアウトしました" in answer.text) == (200, True)
        assert browser.get("/history").status_code == 303
    with world.signed_in(0) as browser:
        # Whoever else leads there signs nobody out.
        assert browser.get("/signedout").status_code == 200
        assert browser.get("/history").status_code == 200


@pytest.mark.parametrize("gone", ["not announced", "elsewhere", "away"])
def test_without_a_place_for_it_at_the_provider_only_our_session_ends(world: PortalWorld, gone: str) -> None:
    provider = world.portal.provider
    with world.signed_in(0) as browser, pytest.MonkeyPatch.context() as patch:
        assert provider._metadata is not None
        at, known = provider._metadata
        changed = {name: value for name, value in known.items() if name != "end_session_endpoint"}
        if gone == "elsewhere":
            changed["end_session_endpoint"] = "javascript:alert(1)"
        patch.setattr(provider, "_metadata", None if gone == "away" else (at, changed))
        if gone == "away":
            patch.setattr(provider, "_config", msgspec.structs.replace(provider._config, issuer="http://127.0.0.1:1"))
        assert 'class="button" href="http' not in sign_out(world, browser).text
        assert browser.get("/history").status_code == 303
        if gone == "not announced":
            with world.signed_in(0):
                # No ID token is kept that nobody wants to see.
                assert next(reversed(world.portal.sessions._by_digest.values())).id_token is None


def test_an_id_token_too_long_for_an_address_is_not_kept(world: PortalWorld) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("hub.portal.signin.HINT_CHARS_MAX", 100)
        with world.signed_in(0) as browser:
            way = re.search(r'<a class="button" href="(http[^"]+)"', sign_out(world, browser).text)
    assert way is not None
    assert "id_token_hint" not in way[1]
    assert "client_id=" in way[1]


def test_a_form_without_its_token_or_from_another_site_changes_nothing(world: PortalWorld) -> None:
    with world.signed_in(0) as mine, world.signed_in(1) as other:
        own, foreign = token_of(mine.get("/history").text), token_of(other.get("/history").text)
        assert mine.post("/signout", data={}).status_code == 403
        assert mine.post("/signout", data={"csrf": foreign}).status_code == 403
        assert mine.post("/signout", data={"csrf": own[:-4] + "AAAA"}).status_code == 403
        assert mine.post("/signout", data={"csrf": own}, headers={"Origin": "https://evil.example"}).status_code == 403
        assert mine.post("/signout", data={"csrf": own}, headers={"Sec-Fetch-Site": "cross-site"}).status_code == 403
        assert mine.get("/history").status_code == 200


def test_a_new_sign_in_makes_a_new_session_and_ends_the_old_one(world: PortalWorld) -> None:
    with world.signed_in(0) as browser:
        old = browser.cookies["__Host-session"]
        browser.get(world.back(world.way(browser), "sub-0"))
        assert browser.cookies["__Host-session"] != old
        answer = browser.get("/history", headers={"Cookie": f"__Host-session={old}"})
        assert answer.status_code == 303


def test_nobody_else_reads_the_file_of_links_and_no_sub_stands_in_it(world: PortalWorld) -> None:
    path = Path(world.config.links)
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert all(b"sub-" not in one.read_bytes() for one in path.parent.glob("portal.sqlite*"))


def test_links_are_kept(tmp_path: Path) -> None:
    links = Links(tmp_path / "links")
    links.put(b"w" * 32, b"a" * 16, b"c" * 32)
    links.mark_read(b"a" * 16, [3, 5])
    links.mark_read(b"a" * 16, [5], read=False)
    links.close()
    links = Links(tmp_path / "links")
    found = links.find(b"w" * 32)
    assert found is not None
    assert (found.alias, found.card) == (b"a" * 16, b"c" * 32)
    assert links.find(b"v" * 32) is None
    assert links.read_of(b"a" * 16, [3, 4, 5]) == {3}
    assert links.read_of(b"b" * 16, [3]) == set()
    links.close()
    with sqlite3.connect(tmp_path / "links") as db:
        assert db.execute("PRAGMA integrity_check").fetchone() == ("ok",)


def test_no_response_says_what_is_behind_it_and_none_is_kept(world: PortalWorld) -> None:
    with world.signed_in(0) as browser:
        for path in ("/", "/history", "/nowhere", "/signin"):
            headers = browser.get(path).headers
            assert "default-src 'none'" in headers["content-security-policy"]
            assert headers["cache-control"] == "no-store"
            assert headers["referrer-policy"] == "same-origin"
            assert headers["x-content-type-options"] == "nosniff"
            assert "strict-transport-security" in headers
            assert "server" not in headers
