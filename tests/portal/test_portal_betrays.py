"""What a page's bytes, size and work tell: nothing of withheld records, nothing of others', nothing to another site."""

from __future__ import annotations

import asyncio
import datetime as dt
import re
import time
import zlib
from collections.abc import Iterator
from typing import Any

import httpx
import pytest
from portalworld import PortalWorld
from served import Network
from test_portal_history import records_of, shown_on

from hub.portal.reading import address_of
from hub.portal.view import SEAM
from hub.portal.zipping import Zipped
from parties import Parties

HIDDEN, PLAIN, MANY = 0, 1, 25
SITES = ("cross-site", "same-site")


@pytest.fixture(scope="module")
def twins(tmp_path_factory: pytest.TempPathFactory, network: Network) -> Iterator[PortalWorld]:
    """Persons 0 and 1 were asked about in the same inquiries, a page full; person 0 once more, which is withheld."""
    folder = tmp_path_factory.mktemp("twins")
    with Parties(folder / "hub") as parties:
        # All numbers that a page can show have three digits.
        for n in range(20):
            parties.ask(f"others-{n}", [2, 3, 4, 5, 2])
        for n in range(MANY):
            parties.ask(f"twins-{n}", [HIDDEN, PLAIN])
            parties.clock.now += 3_600
        parties.ask("more", [HIDDEN, 2, 3])
        at = parties.clock.now
        for handle, record in parties.h.handles(parties.town, parties.known[HIDDEN]):
            if record.requested_at.timestamp() == at:
                parties.h.withhold(handle, "保護のため", dt.date(2027, 4, 1), institution=parties.town)
        made = PortalWorld(folder, network, parties)
        yield made
        made.stop()


def without_numbers(content: str) -> str:
    """A page without what differs between two persons who were asked about alike: numbers of records, form tokens."""
    content = re.sub(r'name="csrf" value="[^"]+"', "", content)
    content = re.sub(r"(?<=-)\d{3}(?=[\"/])|(?<=記録 )\d{3}|(?<=\n)\d{3}(?=,)", "N", content)
    # The inquiry is the same; its name is, too.
    return re.sub(r"[0-9a-f]{32,}", "H", content)


@pytest.mark.parametrize("path", ["/history", "/history?outcome=allowed", "/history?since=2026-01-01", "/year",
                                  "/save/history.csv", "/notices", "/tickets"])  # fmt: skip
def test_a_page_is_as_long_and_says_the_same_whether_or_not_a_record_is_withheld(
    twins: PortalWorld, path: str
) -> None:
    pages = []
    for person in (HIDDEN, PLAIN):
        with twins.signed_in(person) as browser:
            answer = browser.get(path, headers={"Accept-Encoding": "identity"})
        assert answer.status_code == 200
        assert "content-encoding" not in answer.headers
        pages.append(answer)
    assert len(pages[0].content) == len(pages[1].content)
    assert without_numbers(pages[0].text) == without_numbers(pages[1].text)
    assert [name for name, _ in pages[0].headers.items()] == [name for name, _ in pages[1].headers.items()]


def test_a_withheld_record_makes_no_further_page(twins: PortalWorld) -> None:
    assert twins.config.limits.page_rows == MANY
    for person in (HIDDEN, PLAIN):
        assert len(twins.parties.shown(person)) == MANY
        with twins.signed_in(person) as browser:
            page = browser.get("/history").text
        assert len(shown_on(page)) == MANY
        assert 'rel="next"' not in page


def test_every_page_waits_for_its_step_whether_or_not_something_of_the_reader_is_withheld(
    twins: PortalWorld, monkeypatch: pytest.MonkeyPatch
) -> None:
    step = 0.25
    monkeypatch.setattr("hub.methods.showing.HISTORY_STEP_S", step)
    for person in (HIDDEN, PLAIN, 2):
        with twins.signed_in(person) as browser:
            for path in ("/history", "/save/history.json"):
                begun = time.monotonic()
                assert browser.get(path).status_code == 200
                assert time.monotonic() - begun >= step


class Heard:
    """What a portal asks its hub while it is listened to: methods and which options they were given."""

    def __init__(self, world: PortalWorld, patch: pytest.MonkeyPatch) -> None:
        self.calls: list[tuple[str, Any]] = []
        call = world.portal.hub.call

        async def note(method: str, /, *args: Any, **kwargs: Any) -> Any:
            self.calls.append((method, sorted(name for name, value in kwargs.items() if value is not None)))
            return await call(method, *args, **kwargs)

        patch.setattr(world.portal.hub, "call", note)

    def of(self, browser: httpx.Client, path: str) -> tuple[httpx.Response, list[tuple[str, Any]]]:
        self.calls.clear()
        answer = browser.get(path)
        return answer, list(self.calls)


def hidden_address(world: PortalWorld) -> str:
    """Of the record of person 0 that is withheld."""
    shown = {index for person in range(6) for index in world.parties.shown(person)}
    size = int(world.parties.h.checkpoint().splitlines()[1])
    (index,) = set(range(size)) - shown
    return f"{int(world.parties.clock.now)}-{index}"


@pytest.mark.parametrize("form", ["/record/{}", "/record/{}/proof"])
def test_a_foreign_a_withheld_and_a_made_up_record_are_the_same_bytes_and_the_same_work(
    twins: PortalWorld, form: str
) -> None:
    own, foreign = (address_of(records_of(twins, person)[0]) for person in (HIDDEN, PLAIN))
    second, index = foreign.split("-")
    withheld = hidden_address(twins)
    with twins.signed_in(HIDDEN) as browser, pytest.MonkeyPatch.context() as patch:
        heard = Heard(twins, patch)
        found, _ = heard.of(browser, form.format(own))
        assert found.status_code == 200
        answers = [heard.of(browser, form.format(one)) for one in (
            foreign, withheld, f"{second}-999", f"{second}-0", f"{int(second) + 1}-{index}", f"0-{index}",
        )]  # fmt: skip
    assert {answer.status_code for answer, _ in answers} == {404}
    assert len({answer.content for answer, _ in answers}) == 1
    # The second in which they left is everybody's.
    heads = [[one for one in answer.headers.multi_items() if one[0] != "date"] for answer, _ in answers]
    assert len({str(sorted(head)) for head in heads}) == 1
    assert all(calls == answers[0][1] for _, calls in answers)
    assert len(answers[0][1]) == 1


def test_foreign_and_made_up_cursors_notices_tickets_and_files_are_the_same_bytes(twins: PortalWorld) -> None:
    with twins.signed_in(2) as browser:
        cursors = re.findall(r"cursor=([0-9a-f]+)", browser.get("/history").text)
    assert cursors
    with twins.signed_in(HIDDEN) as browser, pytest.MonkeyPatch.context() as patch:
        heard = Heard(twins, patch)
        cases = {
            "/history?cursor=": (cursors[0], "0" * 32, "x", cursors[0][:-2]),
            "/notices?cursor=": (cursors[0], "0" * 32),
            "/notices/": (address_of(records_of(twins, PLAIN)[0]), "1-1"),
            "/save/": ("disclosure-1.key", "else"),
            "/nowhere/": ("a", "b"),
        }
        pages = set()
        for begin, ends in cases.items():
            answers = [heard.of(browser, begin + end) for end in ends]
            assert all(calls == answers[0][1] for _, calls in answers), begin
            assert {answer.status_code for answer, _ in answers} == {404}, begin
            pages |= {answer.content for answer, _ in answers}
    assert len(pages) == 1


def test_another_site_leads_to_the_plain_history_only(twins: PortalWorld) -> None:
    own = address_of(records_of(twins, HIDDEN)[0])
    with twins.signed_in(HIDDEN) as browser:
        for site in SITES:
            headers = {"Sec-Fetch-Site": site}
            for path in ("/history?institution=nenkin", "/history?x=" + "日本年金機構", f"/record/{own}", "/record/1-1",
                         "/save/history.json", "/notices", "/year", f"/record/{own}/proof"):  # fmt: skip
                answer = browser.get(path, headers=headers)
                assert (answer.status_code, answer.headers["location"]) == (303, "/history"), path
                assert answer.content == browser.get("/year", headers=headers).content
            assert browser.get("/history", headers=headers).status_code == 200
        for site in ("same-origin", "none"):
            assert browser.get(f"/record/{own}", headers={"Sec-Fetch-Site": site}).status_code == 200


def pieces_of(zipped: bytes) -> list[bytes]:
    """Content between full flushes, each decompressed with no look back at another one; a look back would fail."""
    marker = b"\x00\x00\xff\xff"
    found = []
    # Ten bytes of head; behind the last flush an empty block, checksum and length.
    parts = zipped[10:].split(marker)
    for part in parts[:-1]:
        found.append(zlib.decompressobj(-zlib.MAX_WBITS).decompress(part + marker))
    return found


def test_what_the_address_brings_is_never_compressed_with_the_records(twins: PortalWorld) -> None:
    probe = "日本年金機構が" * 3
    with (
        twins.signed_in(HIDDEN) as browser,
        browser.stream("GET", "/history", params={"x": probe}, headers={"Accept-Encoding": "gzip"}) as answer,
    ):
        raw = b"".join(answer.iter_raw())
    assert answer.headers["content-encoding"] == "gzip"
    assert int(answer.headers["content-length"]) == len(raw)
    assert answer.headers["vary"] == "Accept-Encoding"
    pieces = pieces_of(raw)
    assert b"".join(pieces) == zlib.decompress(raw, 47)
    assert SEAM.encode() not in b"".join(pieces)
    brought = [piece for piece in pieces if b"x%3D" in piece or b"?x=" in piece]
    records = [piece for piece in pieces if b"/record/" in piece]
    assert len(brought) == len(records) == 1
    assert brought != records


def test_no_seam_leaves_though_somebody_writes_one(twins: PortalWorld) -> None:
    for accepted in ("gzip", "identity"):
        with twins.signed_in(HIDDEN) as browser:
            answer = browser.get("/history", params={"x": f"a{SEAM}b"}, headers={"Accept-Encoding": accepted})
        assert SEAM not in answer.text
        assert answer.text.rstrip().endswith("</html>")


async def zipped(pieces: list[bytes], kind: bytes, accepted: bytes) -> tuple[dict[bytes, bytes], bytes]:
    """A response of these pieces behind ``Zipped``: its headers, its content."""
    sent: list[Any] = []

    async def app(scope: Any, receive: Any, send: Any) -> None:
        await send({"type": "http.response.start", "status": 200, "headers": [(b"content-type", kind)]})
        for place, piece in enumerate(pieces):
            await send({"type": "http.response.body", "body": piece, "more_body": place < len(pieces) - 1})

    async def note(message: Any) -> None:
        sent.append(message)

    await Zipped(app)({"type": "http", "headers": [(b"accept-encoding", accepted)]}, None, note)  # type: ignore[arg-type]
    return dict(sent[0]["headers"]), b"".join(one["body"] for one in sent[1:])


@pytest.mark.parametrize(("kind", "size", "accepted", "squeezed"), [
    (b"text/html", 1_024, b"gzip, br", True), (b"text/html", 1_023, b"gzip, br", False),
    (b"text/html", 5_000, b"br", False), (b"application/pdf", 5_000, b"gzip", False),
    (b"application/json", 5_000, b"gzip", True),
], ids=["long", "short", "no-gzip", "pdf", "json"])  # fmt: skip
def test_what_is_long_and_text_is_compressed_where_it_is_taken(
    kind: bytes, size: int, accepted: bytes, squeezed: bool
) -> None:
    headers, content = asyncio.run(zipped([b"a" * size], kind, accepted))
    assert (b"content-encoding" in headers) == squeezed
    assert headers[b"content-length"] == str(len(content)).encode()
    assert (zlib.decompress(content, 47) if squeezed else content) == b"a" * size


def test_a_file_that_leaves_in_pieces_is_whole() -> None:
    pieces = [b"first" * 100, b"", b"second" * 100]
    headers, content = asyncio.run(zipped(pieces, b"text/csv", b"gzip"))
    assert b"content-length" not in headers
    assert zlib.decompress(content, 47) == b"".join(pieces)

