"""``hub collect``, ``hub provide`` and ``hub answers``: the exchange in files, for who answers and for who asked."""

from __future__ import annotations

import argparse
import shlex
from collections import Counter
from collections.abc import Iterator
from typing import Any

import numpy as np

import hub
from hub.catalog.moments import JAPAN
from hub.commands.acquire import report_rejected
from hub.commands.inquire import REASON_NAMES, STATUS_NAMES, print_statuses
from hub.commands.opening import open_hub
from hub.commands.options import add_folder, moment_of, print_table, take_folder
from hub.commands.progress import Progress, Stopping, add_progress
from hub.errors import RequestError, RowsError
from hub.files.columns import Choices, payload_column, permit_column
from hub.files.inquiries import PARTS_MAX, UNFIT, AnswerPart, Rejected, RejectedWriter, read_answers
from hub.files.tables import ENCODINGS, TableWriter
from hub.limits import COLLECT_ROWS
from hub.messages import Answers, Permits, Status

PERMIT_COLUMNS = (
    "permit", "alias", "requester", "requester_name", "procedure", "items", "role", "section", "reference_date",
    "legal_basis", "valid_until", "manual", "asked",
)  # fmt: skip
ANSWER_COLUMNS = ("row", "status", "reason", "payload")

INQUIRIES_SHOWN = 20

ANSWERS_ROWS_MIN, ANSWERS_ROWS_MAX = 1 << 9, 1 << 20
ANSWERS_BYTES = 1 << 26
"""Rows are read so many at a time that, if their payloads are as long as those before, they take about 64 MiB."""

COLLECT_EPILOG = """\
The result has a line a permit, in an order of the institution's own, with the columns

  permit          by which it is answered, 16 hex digits
  alias           the institution's own alias of the person, 32 hex digits
  requester, requester_name, procedure, items (joined by ;), role, section, legal_basis
                  who asks for what, and why; reference_date selects the data, never the law
  valid_until     when the permit lapses
  manual          1 where a clerk must decide, else 0
  asked           of such a person: how many bodies this requester has asked about them in 31 days

What is not answered comes again, until it lapses. The last line printed names the cursor: with --after
only what came behind it is collected. Where the command fails or is stopped no file is written: give it again.

Examples:
  hub collect linkage 131016 --out permits.csv
  hub collect linkage 131016 --out new.csv --after CURSOR
  hub collect linkage 131016 --out clerk.csv --manual
  hub collect linkage 131016 --out machine.parquet --automatic --limit 100000

Exit status: 0 done; 1 nothing waits; 2 wrong request; 3 disk; 130 Ctrl-C.
"""

PROVIDE_EPILOG = """\
ANSWERS.csv has the columns permit,outcome and, where wanted, reason and payload; Parquet and Arrow
files are known by their suffix.

  permit    of hub collect, 16 hex digits; any part of what was collected, in any order
  outcome   PROVIDED; EMPTY (nothing to provide); NO_RECORD (no record of this person); REFUSED;
            MANUAL (a clerk will decide; everybody else sees that the row is waiting)
  reason    of REFUSED: IDENTITY_IN_DOUBT, UNDER_CORRECTION or LINKAGE_SUSPENDED; of NO_RECORD, where the data
            are not there yet: NOT_LOADED; else nothing
  payload   of PROVIDED: the data in base64, at most 65,536 bytes; sealed to the requester's key where it has
            one (hub key show, hub key seal)

--clerk says that this person decided; without it the answers are a machine's, and those about people
of whom a clerk must decide are kept as MANUAL. Answers are durable and in the log part by part. Lines
that do not fit, also of permits that have lapsed, go to <name of ANSWERS>.rejected.csv beside the file,
with line and cause. Given again, the command records nothing twice.

Examples:
  hub provide linkage 131016 answers.csv
  hub provide linkage 131016 decided.csv --clerk sato

Exit status: 0 done; 1 done, some lines rejected; 2 wrong request; 3 disk; 130 Ctrl-C.
"""

ANSWERS_EPILOG = """\
ID is that of hub inquire, or the request id of a program. The result has the columns
row,status,reason,payload; row 1 is the first row of the result of hub inquire, rejected lines not counted.
A payload is the provider's data in base64; where REQUESTER has registered a key it is sealed, and
hub key open reads it. PENDING rows are still waiting: give the command again later.

--fetched tells the hub, when the result is on the disk and no row is waiting any more, that the data
have arrived. It then forgets them: a result that is written after that has the statuses only.
Without it they are kept for 30 days.

Examples:
  hub answers linkage nenkin tax-2026 --out answers.csv
  hub answers linkage nenkin tax-2026 --out answers.parquet --fetched

Exit status: 0 complete; 1 some rows are waiting; 2 wrong request; 3 disk; 130 Ctrl-C.
"""


def add_commands(commands: Any) -> None:
    """Add ``collect``, ``provide`` and ``answers``."""
    parser = commands.add_parser("collect", help="what an institution is asked: its permits", epilog=COLLECT_EPILOG)
    parser.description = "Write the permits that wait for an institution's answer into a file."
    add_folder(parser, "INSTITUTION")
    parser.add_argument("--out", required=True, metavar="FILE", help="the result (.csv, .parquet, .arrow)")
    parser.add_argument("--after", metavar="CURSOR", help="only what came behind an earlier collection")
    parser.add_argument("--limit", type=int, metavar="N", help="at most so many permits (default: all)")
    which = parser.add_mutually_exclusive_group()
    which.add_argument("--manual", action="store_true", help="only those of which a clerk must decide")
    which.add_argument("--automatic", action="store_true", help="only the others")
    add_progress(parser)
    parser.set_defaults(run=run_collect)

    parser = commands.add_parser("provide", help="answer an institution's permits from a file", epilog=PROVIDE_EPILOG)
    parser.description = "Answer permits from a file. Every answer is recorded for its person to read."
    add_folder(parser, "INSTITUTION", "ANSWERS.csv")
    parser.add_argument("--clerk", metavar="NAME", help="who decided; without it the answers are a machine's")
    parser.add_argument("--encoding", choices=ENCODINGS, default="auto", help="of ANSWERS.csv (default: auto)")
    add_progress(parser)
    parser.set_defaults(run=run_provide)

    parser = commands.add_parser("answers", help="what came back to an inquiry", epilog=ANSWERS_EPILOG)
    parser.description = "Write how the rows of an inquiry stand, and what was provided, into a file."
    add_folder(parser, "REQUESTER", "ID")
    parser.add_argument("--out", required=True, metavar="FILE", help="the result (.csv, .parquet, .arrow)")
    parser.add_argument("--fetched", action="store_true", help="then let the hub forget the data, where complete")
    add_progress(parser)
    parser.set_defaults(run=run_answers)


# -- collect


def run_collect(arguments: argparse.Namespace) -> int:
    """Page by page into one file."""
    folder, (institution,) = take_folder(arguments)
    if arguments.limit is not None and arguments.limit < 1:
        raise RequestError(f"--limit: expected 1 or more, got {arguments.limit}")
    manual = True if arguments.manual else False if arguments.automatic else None
    counts: Counter[tuple[str, ...]] = Counter()
    cursor = arguments.after
    rows = 0
    try:
        with open_hub(arguments, folder) as h:
            h.catalog.institution(institution)
            with (
                Stopping() as stopping,
                TableWriter(arguments.out, PERMIT_COLUMNS) as result,
                Progress("collect", arguments.limit, show=arguments.progress) as progress,
            ):
                while arguments.limit is None or rows < arguments.limit:
                    most = COLLECT_ROWS if arguments.limit is None else min(COLLECT_ROWS, arguments.limit - rows)
                    page = h.collect(institution, limit=most, after=cursor, manual=manual)
                    if not page:
                        break
                    result.write(permit_columns(page))
                    for one in page:
                        counts[inquiry_words(one)] += len(one)
                        rows += len(one)
                    cursor = page[-1].cursor
                    progress(rows)
                    stopping.check()
    except KeyboardInterrupt:
        raise KeyboardInterrupt(
            "stopped; no result was written; give the command again:", f"  hub {shlex.join(arguments.argv)}"
        ) from None
    print(f"{arguments.out}: {rows:,} permits of {institution}")
    most_asked = counts.most_common(INQUIRIES_SHOWN)
    if most_asked:
        print_table([(count, *words) for words, count in most_asked], right=(0,))
    if len(counts) > len(most_asked):
        print(f"  and {len(counts) - len(most_asked):,} more inquiries")
    if cursor is not None:
        print(f"go on with --after {cursor}")
    return 0 if rows else 1


def inquiry_words(permits: Permits) -> tuple[str, ...]:
    """How an inquiry is counted: who asks for what, until when."""
    asked = permits.inquiry
    return asked.requester_name, asked.procedure, ";".join(asked.items), spell_time(permits.valid_until)


def permit_columns(page: list[Permits]) -> list[Any]:
    """The columns of a result file: what is asked stands once an inquiry, not once a row."""
    which = np.repeat(np.arange(len(page)), list(map(len, page)))
    texts = []
    for one in page:
        asked = one.inquiry
        date = "" if asked.reference_date is None else asked.reference_date.isoformat()
        texts.append(
            (
                asked.requester, asked.requester_name, asked.procedure, ";".join(asked.items), asked.role,
                asked.section, date, asked.legal_basis, spell_time(one.valid_until),
            )
        )  # fmt: skip
    return [
        permit_column(np.concatenate([one.permit for one in page])),
        np.concatenate([one.aliases for one in page]),
        *(Choices(which, names) for names in zip(*texts, strict=True)),
        np.concatenate([one.manual for one in page]).astype(np.uint8),
        np.concatenate([one.asked for one in page]),
    ]


def spell_time(seconds: int) -> str:
    """Seconds since 1970 as an ISO time in Japan's zone."""
    return moment_of(seconds).astimezone(JAPAN).isoformat()


# -- provide


def run_provide(arguments: argparse.Namespace) -> int:
    """Read the file in parts; a part is durable before the next is read."""
    folder, (institution, source) = take_folder(arguments)
    answers = read_answers(source, encoding=arguments.encoding)
    counts: Counter[int] = Counter()
    done = 0
    try:
        with open_hub(arguments, folder) as h:
            h.catalog.institution(institution)
            with (
                Stopping() as stopping,
                RejectedWriter(source, source) as rejected,
                Progress("provide", answers.rows_max, show=arguments.progress) as progress,
            ):
                for part in answers:
                    taken, unfit = provide_part(h, institution, part, arguments.clerk)
                    rejected.write(join_rejected(part.rejected, unfit))
                    counts.update(dict(enumerate(np.bincount(part.outcomes[taken]).tolist())))
                    done += part.rows_read
                    progress(done)
                    stopping.check()
    except KeyboardInterrupt:
        raise KeyboardInterrupt(
            f"stopped: {counts.total():,} answers are durable; give the command again to go on:",
            f"  hub {shlex.join(arguments.argv)}",
        ) from None
    print(f"{source}: {counts.total():,} answers of {institution} are durable")
    if counts.total():
        print_table([(counts[s], s.name, OUTCOME_WORDS[s]) for s in OUTCOME_WORDS if counts[s]], right=(0,))
    return report_rejected(rejected)


OUTCOME_WORDS = {
    Status.PROVIDED: "provided",
    Status.EMPTY: "nothing to provide",
    Status.NO_RECORD: "no record of this person",
    Status.REFUSED: "refused",
    Status.MANUAL: "a clerk will decide",
}


def provide_part(h: hub.Hub, institution: str, part: AnswerPart, clerk: str | None) -> tuple[Any, Rejected]:
    """Answer what fits of a part: the rows that were taken (int64[K], places in it), and the others."""
    rows, unfit = _first_of_each(part)
    while len(rows):
        payloads = None if part.payloads is None else [part.payloads[row] for row in rows.tolist()]
        try:
            h.provide(
                institution, part.permits[rows], part.outcomes[rows], payloads, reasons=part.reasons[rows], clerk=clerk
            )
            break
        except RowsError as error:
            # All rows of one cause at a time, so that there are few rounds.
            unfit.append((rows[error.rows], UNFIT[error.cause]))
            rows = np.delete(rows, error.rows)
    lines = [part.line[some] for some, _ in unfit]
    causes = [np.full(len(some), cause, np.uint8) for some, cause in unfit]
    return rows, Rejected(
        np.concatenate([np.empty(0, np.int64), *lines]), np.concatenate([np.empty(0, np.uint8), *causes])
    )


def _first_of_each(part: AnswerPart) -> tuple[Any, list[tuple[Any, int]]]:
    """Of lines with the same permit the first; later ones that say otherwise are unfit, as they are in other parts."""
    _, first, which = np.unique(part.permits, return_index=True, return_inverse=True)
    rows = np.sort(first)
    if len(rows) == len(part.permits):
        return rows, []
    other = []
    for row in np.setdiff1d(np.arange(len(part.permits)), rows).tolist():
        before = int(first[which[row]])
        same = part.outcomes[row] == part.outcomes[before] and part.reasons[row] == part.reasons[before]
        if not same or (part.payloads is not None and part.payloads[row] != part.payloads[before]):
            other.append(row)
    return rows, [(np.array(other, dtype=np.int64), UNFIT["answered"])]


def join_rejected(shape: Rejected, unfit: Rejected) -> Rejected:
    """Rejected lines of both kinds, in the order of the file."""
    line, cause = np.concatenate([shape.line, unfit.line]), np.concatenate([shape.cause, unfit.cause])
    order = np.argsort(line, kind="stable")
    return Rejected(line[order], cause[order])


# -- answers


def run_answers(arguments: argparse.Namespace) -> int:
    """All parts of a file, or one request, into one result."""
    folder, (requester, name) = take_folder(arguments)
    counts: Counter[int] = Counter()
    row = 1
    try:
        with open_hub(arguments, folder) as h:
            requester = h.catalog.institution(requester).code
            requests = find_requests(h, requester, name)
            with (
                Stopping() as stopping,
                TableWriter(arguments.out, ANSWER_COLUMNS) as result,
                Progress("answers", sum(rows for _, rows in requests), show=arguments.progress) as progress,
            ):
                for request_id, rows in requests:
                    for found in read_parts(h, requester, request_id, rows):
                        result.write(answer_columns(found, row))
                        counts.update(dict(enumerate(np.bincount(found.status).tolist())))
                        row += len(found)
                        del found
                        progress(row - 1)
                        stopping.check()
            waiting = counts[Status.PENDING] + counts[Status.HELD]
            if arguments.fetched and not waiting:
                # The result is on the disk under its name, and no answer can come any more that it does not have.
                for request_id, _ in requests:
                    h.fetched(requester, request_id)
    except KeyboardInterrupt:
        raise KeyboardInterrupt(
            "stopped; nothing was forgotten; give the command again:", f"  hub {shlex.join(arguments.argv)}"
        ) from None
    print(f"{arguments.out}: {counts.total():,} rows of request {name}")
    print_statuses(counts)
    if arguments.fetched:
        print("the hub keeps the data: some rows are waiting" if waiting else "the hub has forgotten the data")
    return 1 if waiting else 0


def find_requests(h: hub.Hub, requester: str, name: str) -> list[tuple[str, int]]:
    """The ids under which an inquiry was sent, one or those of a file's parts, each with its rows.

    Raises:
        RequestError: none is known, or not all rows of it are durable.
    """
    file = h.find_file(requester, name)
    if file is None:
        return [(name, h.status(requester, name).rows)]
    if not file.complete:
        raise RequestError("request id: expected a file that was sent whole, got one under way: hub inquire it again")
    found = []
    missing = file.rows_max
    for number in range(PARTS_MAX):
        if missing <= 0:
            break
        try:
            rows = h.status(requester, f"{name}.{number:04}").rows
        except RequestError:
            # All lines of this part were rejected, so that it was never sent.
            continue
        found.append((f"{name}.{number:04}", rows))
        missing -= rows
    if missing:
        raise RequestError("request id: expected a file whose parts are of the last 30 days, got an older one")
    return found


def read_parts(h: hub.Hub, requester: str, request_id: str, rows: int) -> Iterator[Answers]:
    """The answers of a request, as many rows at a time as their payloads allow."""
    first, limit = 0, ANSWERS_ROWS_MIN
    while first < rows:
        found = h.answers(requester, request_id, first=first, limit=limit)
        first += len(found)
        size = sum(len(one) for one in found.payloads if one is not None)
        fitting = ANSWERS_BYTES * len(found) // max(size, 1)
        yield found
        # Before the next part is read; whoever takes it must let go of it as well.
        del found
        # Not at once: the rows behind may have longer ones.
        limit = max(ANSWERS_ROWS_MIN, min(fitting, 16 * limit, ANSWERS_ROWS_MAX))


def answer_columns(found: Answers, row: int) -> list[Any]:
    """The columns of a result file."""
    return [
        np.arange(row, row + len(found)),
        Choices(found.status, STATUS_NAMES),
        Choices(found.reason, REASON_NAMES),
        payload_column(found.payloads),
    ]
