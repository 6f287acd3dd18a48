"""A whole history to take home: JSON with every proof, CSV, PDF; each with the checkpoint and how to check it.

JSON and CSV leave page by page, so that a long history needs no memory; a PDF has the newest records only and says so.
"""

from __future__ import annotations

import csv
import datetime as dt
import io
from collections.abc import AsyncIterator, Sequence
from typing import Any
from xml.sax.saxutils import escape

import msgspec
from reportlab.lib.pagesizes import A4
from reportlab.lib.styles import ParagraphStyle
from reportlab.lib.units import mm
from reportlab.pdfbase import pdfmetrics
from reportlab.pdfbase.cidfonts import UnicodeCIDFont
from reportlab.platypus import Flowable, HRFlowable, KeepTogether, Paragraph, SimpleDocTemplate, Spacer

from hub.messages import History, Record
from hub.portal.sentences import Teller
from hub.portal.stories import EXCHANGE, moment_of
from hub.portal.view import Words

CSV_COLUMNS = (
    "index", "kind", "requested_at", "provided_at", "requester", "requester_name", "on_behalf_of", "provider",
    "provider_name", "procedure", "procedure_name", "items", "role", "section", "legal_basis", "outcome", "inquiry",
    "follows", "remark", "sentence", "leaf",
)  # fmt: skip

FONT = "HeiseiKakuGo-W5"
"""One of the fonts that every PDF reader has for Japanese: the file needs none of its own."""

CHECKING = (
    ("記録ごとの証明ファイルを、ポータルのその記録のページで保存します。",
     "Save the proof of a record on its page of the portal."),
    ("hub verify ファイル --key log.key --paper \"記録簿の中の値\" は、その証明がこの紙の記録のものであり、"
     "署名された記録簿にあることを確かめます。",
     "hub verify FILE --key log.key --paper \"LEAF\" checks that the proof is of the record on this paper, "
     "and that the signed log has it."),
    ("log.key には下の検証鍵を入れます。わたしたちのものではない道具（RFC 6962、C2SP tlog-proof）でも確かめられます。",
     "log.key holds the verifier key below. Software that is not ours checks it too (RFC 6962, C2SP tlog-proof)."),
    ("記録簿の中の値は、だれでも見られる /tlog/tile/0/ の、記録の番号の場所に載っています。",
     "The leaf also stands in the public log, under /tlog/tile/0/, at the place of the record's number."),
    ("下のチェックポイントを後の日のものと比べると、この紙の後に過去が書き換えられていないことがわかります。",
     "The checkpoint below, compared with a later one, shows that the past was not rewritten since."),
)
"""How to check a paper, step by step: in Japanese and English."""

_FORMULA = ("=", "+", "-", "@", "\t", "\r")


def fields_of(record: Record) -> dict[str, Any]:
    """A record as JSON has it."""
    found: dict[str, Any] = msgspec.to_builtins(record)
    return found | {"kind": record.kind.name, "outcome": record.outcome.name}


async def json_parts(
    pages: AsyncIterator[History], first: History, teller: Teller, key: str, disclosure_keys: Sequence[bytes]
) -> AsyncIterator[bytes]:
    """A JSON document: the keys, then each record with its sentence and its proof."""
    head = {"verifier_key": key, "disclosure_keys": [one.hex() for one in disclosure_keys],
            "how_to_check": "save a proof as a file; hub verify FILE --key log.key --disclosure-key disclosure.key",
            "format": "c2sp.org/tlog-proof@v1"}  # fmt: skip
    yield msgspec.json.encode(head)[:-1] + b',"records":['
    comma = b""
    page: History | None = first
    while page is not None:
        lines = []
        for place, record in enumerate(page.records):
            told = teller.tell(record)
            line = fields_of(record) | {"sentence": f"{told.sentence} {told.outcome}".strip(),
                                        "proof": page.proof(place).text()}  # fmt: skip
            lines.append(comma + msgspec.json.encode(line))
            comma = b",\n"
        yield b"".join(lines)
        page = await anext(pages, None)
    yield b"]}\n"


async def csv_parts(pages: AsyncIterator[History], first: History, teller: Teller) -> AsyncIterator[bytes]:
    """A CSV file in UTF-8 with a BOM, as spreadsheets expect it."""
    yield b"\xef\xbb\xbf" + csv_lines([CSV_COLUMNS])
    page: History | None = first
    while page is not None:
        yield csv_lines([
            (*cells_of(record, teller), page.proof(place).leaf.hex()) for place, record in enumerate(page.records)
        ])  # fmt: skip
        page = await anext(pages, None)


def cells_of(record: Record, teller: Teller) -> tuple[str, ...]:
    """A record as a line of ``CSV_COLUMNS``, but for the leaf."""
    told = teller.tell(record)
    return (
        str(record.index), record.kind.name, record.requested_at.isoformat(),
        record.provided_at.isoformat() if record.provided_at else "", record.requester,
        teller.body(record.requester, record.requester_name) if record.requester else "", record.on_behalf_of or "",
        record.provider, teller.body(record.provider, record.provider_name) if record.provider else "",
        record.procedure, teller.procedure(record.procedure) if record.kind in EXCHANGE else "",
        ";".join(record.items), record.role, record.section, record.legal_basis, record.outcome.name, record.inquiry,
        "" if record.link is None else str(record.link), record.remark or "",
        f"{told.sentence} {told.outcome}".strip(),
    )  # fmt: skip


def csv_lines(rows: Sequence[Sequence[str]]) -> bytes:
    """Lines of a CSV file; what a spreadsheet would take for a formula begins with an apostrophe."""
    out = io.StringIO()
    safe = [["'" + cell if cell.startswith(_FORMULA) else cell for cell in row] for row in rows]
    csv.writer(out, lineterminator="\r\n").writerows(safe)
    return out.getvalue().encode()


def make_pdf(
    records: Sequence[tuple[Record, bytes]], teller: Teller, words: Words, *, checkpoint: str, key: str,
    at: dt.datetime, more: bool,
) -> bytes:
    """A PDF of records, newest first; each has its number and leaf in the log, by which its proof is known.

    Args:
        records: each with its leaf, 32 bytes. checkpoint: of a log that has all of them. more: there are older ones.
    """
    pdfmetrics.registerFont(UnicodeCIDFont(FONT))
    plain = ParagraphStyle("plain", fontName=FONT, fontSize=9.5, leading=15, wordWrap="CJK")
    small = ParagraphStyle("small", parent=plain, fontSize=7.5, leading=11, textColor="#4d4d4d")
    title = ParagraphStyle("title", parent=plain, fontSize=17, leading=26)
    head = ParagraphStyle("head", parent=plain, fontSize=11.5, leading=20, spaceBefore=6)
    say = words.say

    def lines(style: ParagraphStyle, *texts: str) -> list[Flowable]:
        return [Paragraph("<br/>".join(map(escape, text.split("\n"))), style) for text in texts if text]

    def heading(text: str) -> list[Flowable]:
        return [HRFlowable(width="100%", thickness=0.5, color="#999999"), *lines(head, text)]

    story: list[Flowable] = [
        *lines(title, say("情報提供等記録（やりとり履歴）", "History of information linkage", "あなたについての履歴")),
        *lines(plain, say(f"{words.moment(at)} に作成。記録 {len(records):,} 件。",
                          f"Made on {words.moment(at)}. {len(records):,} records.")),
        *(lines(plain, say("これより古い記録があります。全件は JSON または CSV で保存できます。",
                           "There are older records; JSON and CSV have all of them.")) if more else []),
        Spacer(1, 4 * mm),
    ]  # fmt: skip
    day = None
    for record, leaf in sorted(records, key=lambda one: moment_of(one[0]), reverse=True):
        told, this = teller.tell(record), words.day(moment_of(record))
        # A day's heading goes to the next page with what stands under it.
        above: list[Flowable] = []
        if this != day:
            day, above = this, heading(this)
        basis = f"　{record.legal_basis}" if record.legal_basis else ""
        story.append(KeepTogether([
            *above,
            *lines(plain, f"{words.time(moment_of(record))}　{told.sentence} {told.outcome}".rstrip()),
            *lines(small, f"{say('記録', 'record')} {record.index}{basis}", record.remark or ""),
            *lines(small, say("記録簿の中の値", "leaf in the log") + " " + leaf.hex(" ", 2)),
            Spacer(1, 2 * mm),
        ]))  # fmt: skip
    story += [
        KeepTogether([
            *heading(say("確かめ方", "How to check")),
            *lines(small, *(f"{number}. {say(*text)}" for number, text in enumerate(CHECKING, 1))),
        ]),
        *lines(small, say("検証鍵", "Verifier key") + f"\n{key}"),
        *lines(small, say("チェックポイント", "Checkpoint") + f"\n{checkpoint}"),
    ]  # fmt: skip
    out = io.BytesIO()
    document = SimpleDocTemplate(
        out, pagesize=A4, leftMargin=20 * mm, rightMargin=20 * mm, topMargin=18 * mm, bottomMargin=18 * mm,
        title=say("やりとり履歴", "History"), lang="en" if words.language == "en" else "ja",
    )  # fmt: skip

    def number(canvas: Any, made: Any) -> None:
        canvas.setFont(FONT, 8)
        canvas.drawCentredString(A4[0] / 2, 10 * mm, str(made.page))

    document.build(story, onFirstPage=number, onLaterPages=number)
    return out.getvalue()
