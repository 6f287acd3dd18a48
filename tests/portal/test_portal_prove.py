"""What a citizen takes home holds: proofs that foreign software accepts, files with every record, the public log."""

from __future__ import annotations

import base64
import contextlib
import csv
import io
import json
import re
import zlib
from pathlib import Path

import pytest
from metamorphic_log import metamorphic_log as foreign
from portalworld import PortalWorld
from test_portal_history import records_of

from hub.errors import ProofError
from hub.portal.exports import csv_lines
from hub.portal.reading import address_of
from hub.tlog.check import TILE_HASHES, tile_path
from hub.tlog.verify import parse_proof, verify_proof


def test_the_proof_of_a_record_holds_here_and_in_software_that_is_not_ours(world: PortalWorld) -> None:
    record = records_of(world, 0)[0]
    with world.signed_in(0) as browser:
        answer = browser.get(f"/record/{address_of(record)}/proof")
        key = browser.get("/log.key").text.strip()
        own = bytes.fromhex(browser.get("/save/disclosure.key").text.strip())
    assert answer.headers["content-disposition"] == f'attachment; filename="{record.index}.tlog-proof"'
    found = verify_proof(answer.content, key, disclosure_key=own)
    assert (found.index, found.subject_fits) == (record.index, True)
    parsed = parse_proof(answer.content)
    foreign.checkpoint_verify_inclusion(parsed.note, [key], parsed.index, found.leaf, parsed.path)
    with pytest.raises(foreign.VerifyError):
        foreign.checkpoint_verify_inclusion(parsed.note, [key], parsed.index, bytes(32), parsed.path)
    other = world.parties.h.disclosure_key(world.parties.portal[1])
    with pytest.raises(ProofError):
        verify_proof(answer.content, key, disclosure_key=other)


def test_no_proof_of_another_is_given(world: PortalWorld) -> None:
    theirs = address_of(records_of(world, 1)[0])
    with world.signed_in(0) as browser:
        answers = [browser.get(f"/record/{one}/proof") for one in (theirs, theirs + "0", "x")]
    assert [answer.status_code for answer in answers] == [404] * 3


def test_the_whole_history_is_one_json_document_with_every_proof(world: PortalWorld) -> None:
    records = records_of(world, 1)
    with world.signed_in(1) as browser:
        found = json.loads(browser.get("/save/history.json").content)
    assert [one["index"] for one in found["records"]] == [record.index for record in records]
    own = bytes.fromhex(found["disclosure_keys"][0])
    for one in found["records"]:
        assert verify_proof(one["proof"].encode(), found["verifier_key"], disclosure_key=own).index == one["index"]


def test_the_table_opens_in_a_spreadsheet(world: PortalWorld) -> None:
    records = records_of(world, 1)
    with world.signed_in(1) as browser:
        content = browser.get("/save/history.csv").content
    assert content.startswith(b"\xef\xbb\xbf")
    lines = list(csv.DictReader(io.StringIO(content.decode("utf-8-sig"))))
    assert [int(line["index"]) for line in lines] == [record.index for record in records]
    assert lines[0]["requester_name"] == "日本年金機構"


@pytest.mark.parametrize("cell", ["=1+1", "+1", "-1", "@SUM(A1)", "\t=1"])
def test_a_cell_is_never_a_formula(cell: str) -> None:
    (row,) = csv.reader(io.StringIO(csv_lines([[cell, "1+1=2"]]).decode()))
    assert row == ["'" + cell, "1+1=2"]


def test_the_pdf_says_who_asked_and_under_which_checkpoint(world: PortalWorld) -> None:
    with world.signed_in(0) as browser:
        answer = browser.get("/save/history.pdf")
        assert browser.get("/language/en?to=/save/history.pdf").status_code == 303
        english = browser.get("/save/history.pdf")
    for one in (answer, english):
        assert one.headers["content-type"] == "application/pdf"
        assert one.content.startswith(b"%PDF-")
        assert one.content.rstrip().endswith(b"%%EOF")
        assert len(one.content) > 2_000


def pdf_text(content: bytes) -> str:
    """What a PDF of ours writes in ASCII, without spaces: its streams are base 85 of deflate, its text UCS-2."""
    found = b""
    for stream in re.findall(rb"stream\r?\n(.*?)endstream", content, re.DOTALL):
        with contextlib.suppress(ValueError, zlib.error):
            found += zlib.decompress(base64.a85decode(stream.strip().removesuffix(b"~>")))
    told = b"".join(re.findall(rb"\((.*?)(?<!\\)\) Tj", found, re.DOTALL)).replace(rb"\000", b"")
    return re.sub(rb"\\(\d{3}|.)| ", lambda one: one[1] if one[1] and len(one[1]) == 1 else b"", told).decode("latin-1")


def leaf_in(public: Path, index: int) -> bytes:
    """A leaf as the exported tiles have it."""
    size = int((public / "checkpoint").read_text(encoding="utf-8").split("\n")[1])
    number, place = divmod(index, TILE_HASHES)
    tile = (public / tile_path(0, number, min(TILE_HASHES, size - TILE_HASHES * number))).read_bytes()
    return tile[32 * place : 32 * place + 32]


def test_each_record_on_paper_has_its_leaf_in_the_log_and_the_paper_says_how_to_check(world: PortalWorld) -> None:
    with world.signed_in(0) as browser:
        text = pdf_text(browser.get("/save/history.pdf").content)
        page = browser.get(f"/record/{address_of(records_of(world, 0)[0])}").text
        table = list(csv.DictReader(io.StringIO(browser.get("/save/history.csv").content.decode("utf-8-sig"))))
    h = world.parties.h
    shown = h.history(world.parties.portal[0])
    public = Path(str(world.config.tlog))
    # What was recorded since it was written last is added.
    h.export_tiles(public)
    for place, record in enumerate(shown.records):
        leaf = shown.proof(place).leaf
        assert text.count(leaf.hex()) == 1
        assert table[place]["leaf"] == leaf.hex()
        # Whoever has the paper finds it again in the public log, by the record's number.
        assert leaf_in(public, record.index) == leaf
    assert shown.proof(0).leaf.hex(" ", 2) in page
    for line in (*h.checkpoint().strip().split("\n"), h.verifier_key, "hubverify", "--paper"):
        assert line.replace(" ", "").replace("—", "") in text, line
    theirs = h.history(world.parties.portal[1])
    assert theirs.proof(0).leaf.hex() not in text


def test_who_was_never_asked_about_gets_empty_files(world: PortalWorld) -> None:
    with world.signed_in(2) as browser:
        assert json.loads(browser.get("/save/history.json").content)["records"] == []
        assert browser.get("/save/history.csv").text.count("\n") == 1
        assert browser.get("/save/history.pdf").status_code == 200


def test_nobody_saves_anything_without_signing_in(world: PortalWorld) -> None:
    with world.browser() as browser:
        for name in ("history.json", "history.csv", "history.pdf", "disclosure.key", "else"):
            assert browser.get(f"/save/{name}").status_code == 303
    with world.signed_in(0) as browser:
        assert browser.get("/save/else").status_code == 404


def test_the_public_log_is_served_and_nothing_else_of_its_folder(world: PortalWorld) -> None:
    folder = Path(str(world.config.tlog))
    (folder / "secret").write_text("no")
    size = int((folder / "checkpoint").read_text().splitlines()[1])
    assert 0 < size < 256
    with world.browser() as browser:
        note = browser.get("/tlog/checkpoint")
        assert (note.text, note.headers["cache-control"]) == ((folder / "checkpoint").read_text(), "no-cache")
        for level in (0, "entries"):
            path = tile_path(level, 0, size)
            tile = browser.get(f"/tlog/{path}")
            assert tile.content == (folder / path).read_bytes()
            assert "immutable" in tile.headers["cache-control"]
        for path in ("secret", "../portal.sqlite", "tile/0/../../secret", "tile/9/000", "%2e%2e/portal.sqlite", "tile",
                     "tile/0/000.p/256", "tile/0/000%00"):  # fmt: skip
            assert browser.get(f"/tlog/{path}").status_code == 404, path


def test_how_to_check_is_ten_lines_with_the_command(world: PortalWorld) -> None:
    with world.browser() as browser:
        page = browser.get("/check").text
    assert page.count("<li>") - page.count("<li><") >= 10
    assert "hub verify 41.tlog-proof --key log.key" in page
    assert world.parties.h.verifier_key in page.replace("&#43;", "+")
