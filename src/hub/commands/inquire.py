"""``hub inquire``: a file of rows, each checked against the law, translated, recorded durably and answered."""

from __future__ import annotations

import argparse
import datetime as dt
import hashlib
import secrets
import shlex
import sys
from collections import Counter
from collections.abc import Callable, Mapping
from pathlib import Path
from types import TracebackType
from typing import Any

import msgspec
import numpy as np

import hub
from hub.authorise import authorise
from hub.commands.acquire import check_result, report_rejected
from hub.commands.opening import open_hub
from hub.commands.options import add_folder, print_table, take_folder, take_words
from hub.commands.progress import Progress, Stopping, add_progress
from hub.commands.words import DENIALS, REASON_WORDS, STATUS_WORDS
from hub.decode import decode_consents, has_classes
from hub.errors import RequestError
from hub.files.columns import Choices
from hub.files.inquiries import CAUSES, PART_ROWS, InquiryFile, InquiryPart, RejectedWriter, read_inquiry
from hub.files.tables import ENCODINGS, TableWriter
from hub.limits import CLASSES_FROM, REQUEST_ID_CHARS_MAX
from hub.messages import Answer, Inquiry, Reason, Status
from hub.persons.locate import stand_in_providers

RESULT_COLUMNS = ("row", "alias", "provider", "status", "rule", "reason")
ID_CHARS_MAX = REQUEST_ID_CHARS_MAX - len(".0000")

EPILOG = """\
ASK.csv has the columns alias,provider and, where wanted, case and consent: the requester's own
alias of the person (32 hex digits), the code of the institution that is asked, the requester's
case number, and 1 where the person consented, else 0. UTF-8 or CP932; Parquet and Arrow files are
known by their suffix. Consent is needed where an ordinance's affair asks for local tax; --consent
states it for all rows of a file without that column.

Instead of a code a row may have the label of a class, such as 市町村長: it goes to the body of that
class that holds the person on the reference date (else today). Where several do nobody is asked;
who may be asked is told in <name of the result>.holders.csv. With --provider all rows name the
same, and no column does.

The result has the columns row,alias,provider,status,rule,reason in the order of ASK.csv; its
row is the row of ASK.csv, the first behind the header being 1. rule is the rule of law that
allowed the row, or the nearest one where it was denied (hub catalog show RULE). Lines of the
wrong shape go to <name of ASK>.rejected.csv beside the result, with line and cause.

The file is sent in parts of 1,048,576 rows under the request ids ID.0000, ID.0001 and so on.
What was recorded is never recorded twice: after Ctrl-C, or a failure, give the same command
again, and it goes on where it stopped and writes the whole result. (hub status shows how far
it is.)

Examples:
  hub inquire linkage ask.csv --requester nenkin --procedure 19-8/73/75.3 --item 市町村民税 \\
      --role 納付義務者 --section 年金給付課 --id tax-2026 --out answers.csv
  hub inquire linkage ask.csv --requester nenkin --procedure 19-8/73/75.3 --item 市町村民税 \\
      --role 納付義務者 --check              what would be allowed? nothing is looked up or recorded

Exit status: 0 done; 1 done, some lines rejected or rows denied; 2 wrong request; 3 disk;
130 Ctrl-C.
"""


def add_commands(commands: Any) -> None:
    """Add ``inquire``."""
    parser = commands.add_parser("inquire", help="ask about many people in one file", epilog=EPILOG)
    parser.description = "Ask institutions about the people of a file. Every row is recorded for its person to read."
    add_folder(parser, "ASK.csv")
    need = parser.add_argument_group("the question, the same for every row")
    need.add_argument("--requester", required=True, metavar="CODE", help="the institution that asks")
    need.add_argument("--procedure", required=True, metavar="ID", help="such as 19-8/73/75.3 (hub catalog search)")
    need.add_argument(
        "--item", required=True, action="append", metavar="ITEM", help="kind or detail; may be given several times"
    )
    need.add_argument("--role", help="whose information, in the Order's exact word; may lack where only one fits")
    need.add_argument("--provider", metavar="NAME", help="of all rows, where the file has no such column")
    need.add_argument("--section", help="the section in charge, which the person will read")
    need.add_argument("--operator", help="who types this; for supervisors, never shown to the person")
    need.add_argument("--consent", action="store_true", help="every person of the file consented to the question")
    need.add_argument("--reference-date", metavar="DATE", help="selects data, such as 2026-01-01; never the law")
    parser.add_argument("--id", metavar="ID", help=f"your name for this inquiry, at most {ID_CHARS_MAX} characters "
                        "(default: a new one, which is printed)")  # fmt: skip
    parser.add_argument("--out", metavar="FILE", help="the result (.csv, .parquet, .arrow)")
    parser.add_argument("--check", action="store_true", help="only judge the file against the law and print counts")
    parser.add_argument("--encoding", choices=ENCODINGS, default="auto", help="of ASK.csv (default: auto)")
    add_progress(parser)
    parser.set_defaults(run=run_inquire)


def make_inquiry(arguments: argparse.Namespace, request_id: str) -> Inquiry:
    """The question as the options state it."""
    date = arguments.reference_date
    try:
        reference_date = dt.date.fromisoformat(date) if date else None
    except ValueError:
        raise RequestError(f"--reference-date: expected a date such as 2026-01-01, got {date}") from None
    return Inquiry(
        requester=arguments.requester,
        procedure=arguments.procedure,
        items=tuple(arguments.item),
        section=arguments.section or "",
        request_id=request_id,
        role=arguments.role,
        operator=arguments.operator,
        reference_date=reference_date,
    )


def numbers_of(catalog: hub.Catalog) -> dict[str, int]:
    """What a row may name: institution numbers by code, and numbers of classes that have members by label."""
    classes = {
        label: CLASSES_FROM + catalog.class_number(label)
        for label in catalog.class_labels
        if catalog.members_of(label)
    }
    return classes | {institution.code: institution.number for institution in catalog.institutions()}


def run_inquire(arguments: argparse.Namespace) -> int:
    """Send the file in parts, or only judge it."""
    if arguments.check:
        return run_check(arguments)
    folder, (source,) = take_folder(arguments)
    for name in ("section", "out"):
        if not getattr(arguments, name):
            raise RequestError(f"--{name}: expected with every inquiry that is sent (without it: --check)")
    if arguments.id == "":
        raise RequestError("--id: expected a name, got nothing (without --id: a new one)")
    request_id = arguments.id or f"{dt.datetime.now(dt.UTC):%Y%m%d-%H%M%S}-{secrets.token_hex(4)}"
    if len(request_id) > ID_CHARS_MAX:
        raise RequestError(f"--id: expected at most {ID_CHARS_MAX} characters, got {len(request_id)}")
    if not arguments.id:
        arguments.argv += ["--id", request_id]
        print(f"request id {request_id}", file=sys.stderr)
    check_result(source, arguments.out)
    counts: Counter[int] = Counter()
    done = 0
    try:
        with open_hub(arguments, folder) as h:
            numbers = numbers_of(h.catalog)
            names = Names(numbers)
            rows = read_inquiry(
                source, numbers, provider=arguments.provider, encoding=arguments.encoding, rows=PART_ROWS,
                consent=arguments.consent,
            )  # fmt: skip
            with (
                Stopping() as stopping,
                TableWriter(arguments.out, RESULT_COLUMNS) as result,
                RejectedWriter(source, arguments.out) as rejected,
                HoldersWriter(arguments.out) as several,
                Progress("inquire", rows.rows_max, show=arguments.progress) as progress,
            ):

                def chunk_done(rows_done: int) -> None:
                    progress(done + rows_done)
                    stopping.check()

                question = make_inquiry(arguments, request_id)
                digest = digest_of(question, source, consent=arguments.consent, provider=arguments.provider)
                h.begin_file(arguments.requester, request_id, digest, rows.rows_max)
                for part in rows:
                    rejected.write(part.rejected)
                    if len(part.row):
                        inquiry = make_inquiry(arguments, f"{request_id}.{part.number:04}")
                        answer = send_part(h, inquiry, part, chunk_done)
                        result.write(answer_columns(part, answer, names))
                        several.write(part, answer)
                        counts.update(count_statuses(answer))
                    done += part.rows_read
                    chunk_done(0)
                h.end_file(arguments.requester, request_id, counts.total())
    except KeyboardInterrupt:
        raise KeyboardInterrupt(
            "stopped; what is durable stays, no result was written; this command goes on where it stopped:",
            f"  hub {shlex.join(arguments.argv)}",
        ) from None
    print(f"{arguments.out}: {counts.total():,} rows of request {request_id}")
    print_statuses(counts)
    if several.rows:
        print(f"{several.path}: who may be asked about {several.rows:,} rows with several holders")
    status = report_rejected(rejected)
    return 1 if any(counts[denial] for denial in DENIALS) else status


def digest_of(question: Inquiry, source: str, *, consent: bool = False, provider: str | None = None) -> bytes:
    """SHA-256 of a question and its file: an id stands for one file, and for one question about it."""
    digest = hashlib.sha256(b"hub/file/1" + msgspec.msgpack.encode(question) + (b"consent" if consent else b""))
    if provider is not None:
        digest.update(msgspec.msgpack.encode(provider))
    with open(source, "rb") as file:
        digest.update(hashlib.file_digest(file, "sha256").digest())
    return digest.digest()


def send_part(h: hub.Hub, inquiry: Inquiry, part: InquiryPart, progress: Callable[[int], None]) -> Answer:
    """Inquire one part of a file; the same id and rows give the same answer."""
    return h.inquire(
        inquiry, part.aliases, part.providers, cases=part.cases, consents=part.consents, progress=progress
    )  # fmt: skip


class Names:
    """Codes and labels by number, as a column of few distinct texts."""

    def __init__(self, numbers: dict[str, int]) -> None:
        self._codes = list(numbers)
        values = np.array(list(numbers.values()), np.uint32)
        bodies = values < CLASSES_FROM
        self._place = np.zeros(int(values[bodies].max(initial=0)) + 1, np.int32)
        self._place[values[bodies]] = np.flatnonzero(bodies)
        self._classes = [(int(values[at]), at) for at in np.flatnonzero(~bodies).tolist()]

    def column(self, providers: Any) -> Choices:
        """uint32[N] numbers -> their codes."""
        if not has_classes(providers):
            return Choices(self._place[providers], self._codes)
        place = self._place.take(providers, mode="clip")
        for number, at in self._classes:
            place[providers == number] = at
        return Choices(place, self._codes)


class HoldersWriter:
    """``<name>.holders.csv`` beside a result: who may be asked about a row with several holders; else an old one goes.

    Its columns are row, as in the result, and institution.
    """

    def __init__(self, result: str) -> None:
        self.path = Path(result).with_name(f"{Path(result).stem}.holders.csv")
        self.rows = 0
        self._writer: TableWriter | None = None

    def __enter__(self) -> HoldersWriter:
        return self

    def write(self, part: InquiryPart, answer: Answer) -> None:
        """Append the holders of a part."""
        if not answer.holders:
            return
        if self._writer is None:
            self._writer = TableWriter(self.path, ("row", "institution")).__enter__()
        lines = [(int(part.row[row]), code) for row, codes in answer.holders.items() for code in codes]
        self._writer.write([np.array([row for row, _ in lines], np.int64), [code for _, code in lines]])
        self.rows += len(answer.holders)

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._writer is not None:
            self._writer.__exit__(kind, error, trace)
        elif kind is None:
            self.path.unlink(missing_ok=True)


STATUS_NAMES = [Status(i).name for i in range(len(Status))]
REASON_NAMES = [Reason(i).name if i in set(Reason) else "" for i in range(max(Reason) + 1)]


def answer_columns(part: InquiryPart, answer: Answer, names: Names) -> list[Any]:
    """The columns of a result file."""
    return [
        part.row,
        part.aliases,
        names.column(part.providers),
        Choices(answer.status, STATUS_NAMES),
        answer.rule,
        Choices(answer.reason, REASON_NAMES),
    ]


def count_statuses(answer: Answer) -> dict[int, int]:
    """Rows by status number."""
    return dict(enumerate(np.bincount(answer.status).tolist()))


def print_statuses(counts: Mapping[int, int], *, indent: int = 2) -> None:
    """Rows by status, in words."""
    rows = [(counts[s], s.name, STATUS_WORDS[s]) for s in Status if counts.get(s)]
    if rows:
        print_table(rows, right=(0,), indent=indent)


def run_check(arguments: argparse.Namespace) -> int:
    """Judge a file against the law: the catalog only, no alias, no record."""
    folder, (source,) = take_words(arguments, optional=True)
    if arguments.out:
        raise RequestError("--out: expected none with --check, which prints counts")
    if folder is None:
        catalog = hub.Catalog.japan()
    else:
        with open_hub(arguments, folder, readonly=True) as h:
            catalog = h.catalog
    rows = read_inquiry(
        source, numbers_of(catalog), provider=arguments.provider, encoding=arguments.encoding,
        consent=arguments.consent,
    )  # fmt: skip
    arguments.section = arguments.section or "-"
    counts, rejected = judge_rows(catalog, make_inquiry(arguments, "check"), rows, arguments.progress)
    print(f"{source}: {sum(counts.values()):,} rows of {arguments.requester} judged, nothing looked up or recorded")
    table = []
    for (status, rule, reason), count in sorted(counts.items(), key=lambda entry: -entry[1]):
        basis = f"rule {rule}, {catalog.rule(rule).legal_basis}" if rule else ""
        words = REASON_WORDS[Reason(reason)] or STATUS_WORDS[Status(status)]
        table.append((count, Status(status).name, Reason(reason).name if reason else "-", words, basis))
    if table:
        print_table(table, right=(0,))
    if rejected.any():
        print(f"{rejected.sum():,} lines would be rejected")
        print_table([(n, CAUSES[i]) for i, n in enumerate(rejected) if n], right=(0,))
    return 1 if rejected.any() or any(status in DENIALS for status, _, _ in counts) else 0


def judge_rows(
    catalog: hub.Catalog, inquiry: Inquiry, rows: InquiryFile, show: bool | None
) -> tuple[Counter[tuple[int, int, int]], Any]:
    """Count rows by (status, rule, reason), and rejected lines by cause."""
    counts: Counter[tuple[int, int, int]] = Counter()
    rejected = np.zeros(len(CAUSES), np.int64)
    at = dt.datetime.now(dt.UTC)
    done = 0
    with Progress("check", rows.rows_max, show=show) as progress:
        for part in rows:
            providers, consents = part.providers, decode_consents(part.consents, len(part.row))
            if has_classes(providers):
                providers = stand_in_providers(catalog, catalog.table(inquiry, at), providers)
            decided = authorise(catalog, inquiry, providers, at, consents=consents)
            table = decided.table
            for entry, count in enumerate(np.bincount(decided.decision).tolist()):
                if count:
                    key = (int(table.status[entry]), int(table.rule[entry]), int(table.reason[entry]))
                    counts[key] += count
            rejected += np.bincount(part.rejected.cause, minlength=len(CAUSES))
            done += part.rows_read
            progress(done)
    return counts, rejected
