"""``hub push``, ``hub update``, ``hub notify`` and ``hub notices``: what is sent unasked, from files."""

from __future__ import annotations

import argparse
import shlex
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

import hub
from hub.commands.acquire import report_rejected
from hub.commands.exchange import join_rejected
from hub.commands.history import Speller
from hub.commands.inquire import REASON_NAMES, STATUS_NAMES
from hub.commands.opening import open_hub
from hub.commands.options import add_folder, print_table, spell_moment, take_alias, take_folder
from hub.commands.progress import Progress, Stopping, add_progress
from hub.errors import RequestError, RowsError
from hub.files.columns import Choices
from hub.files.inquiries import UNFIT, Rejected, RejectedWriter
from hub.files.sent import SentFile, SentPart, read_notices, read_pushes, read_updates
from hub.files.tables import ENCODINGS, TableWriter
from hub.limits import HISTORY_LIMIT, HISTORY_LIMIT_MAX, NOTICE_BYTES_MAX, REQUEST_ID_CHARS_MAX, UPDATE_ROWS_MAX
from hub.messages import Sent, Status

RESULT_COLUMNS = ("row", "status", "reason")
ID_CHARS_MAX = REQUEST_ID_CHARS_MAX - len(".0000")

WORDS = {
    Status.OK: "sent",
    Status.UNKNOWN_ALIAS: "the sender has no such alias",
    Status.REVOKED: "the alias was revoked",
    Status.NO_ALIAS_AT_PROVIDER: "the person cannot be reached by the portal: send it another way",
    Status.DENIED: "denied: no rule of the operator's own allows it",
    Status.DENIED_ASSESSMENT: "denied: an assessment (Art. 28) is not published",
    Status.NO_RECORD: "nobody has received anything to be corrected",
    Status.MANUAL: "not sent: a clerk has to look at these and confirm them (--confirmed)",
}

SENT_TWICE = """\
The file is sent in parts under the request ids ID.0000, ID.0001 and so on. What was recorded is never recorded
twice: after Ctrl-C, or a failure, give the same command again. The result has the columns row,status,reason;
row is the row of the file, the first behind the header being 1. Lines that do not fit go to
<name of FILE>.rejected.csv beside the result, with line and cause.
"""

PUSH_EPILOG = f"""\
FILE.csv has the columns alias,receiver and, where wanted, payload: the sender's own alias of the person
(32 hex digits), the code of the institution that gets it, and the data in base64, sealed to the receiver's
key where it has one (hub key show, hub key seal).

Only a rule of your own (basis own, hub catalog import) lets anybody push: the law in force in Japan has none.
Whether the receiver knows the person is not told.

{SENT_TWICE}
Example:
  hub push linkage 131016 births.csv --procedure own/1/1 --item 出生 --role 本人 --event 出生 \\
      --section 市民課 --id births-2026-11-28 --out sent.csv

Exit status: 0 done; 1 done, some rows not sent or lines rejected; 2 wrong request; 3 disk; 130 Ctrl-C.
"""

UPDATE_EPILOG = f"""\
FILE.csv has the columns permit,payload (the permits that were answered PROVIDED, of hub collect) or, with
--item, alias,payload: everybody who received one of these items about the person gets the correction.

{SENT_TWICE}
Examples:
  hub update linkage 131016 corrected.csv --item 市町村民税 --reason 誤記 --section 税務課 --id fix-7 --out sent.csv
  hub update linkage 131016 permits.csv --section 税務課 --id fix-8 --out sent.csv

Exit status: 0 done; 1 done, some rows not sent or lines rejected; 2 wrong request; 3 disk; 130 Ctrl-C.
"""

NOTIFY_EPILOG = f"""\
FILE.csv has the column alias, the sender's own alias of each person (32 hex digits); without --text also
text, what this person is told. A text has at most {NOTICE_BYTES_MAX:,} bytes of UTF-8.

Rows of status NO_ALIAS_AT_PROVIDER reached nobody: these people read no portal, or must not be written to
by it. Send them paper.

{SENT_TWICE}
Examples:
  hub notify linkage 131016 residents.csv --text notice.txt --subject 児童手当の現況届 --section 子育て支援課 \\
      --id notice-7 --out sent.csv
  hub notify linkage 131016 letters.csv --subject 住民税の決定 --section 税務課 --id notice-8 --out sent.csv

Exit status: 0 done; 1 done, some rows not sent or lines rejected; 2 wrong request; 3 disk; 130 Ctrl-C.
"""

NOTICES_EPILOG = """\
Examples:
  hub notices linkage --alias 8d0c4f...
  tail -n 1 citizens.csv | cut -d, -f2 | hub notices linkage --alias -

Exit status: 0 done; 1 no notice; 2 wrong request; 3 disk.
"""


def add_commands(commands: Any) -> None:
    """Add ``push``, ``update``, ``notify`` and ``notices``."""
    parser = commands.add_parser("push", help="give data to institutions that did not ask", epilog=PUSH_EPILOG)
    parser.description = "Send what happened to the people of a file to institutions that have a rule for it."
    _add_common(parser, "INSTITUTION", "FILE.csv")
    parser.add_argument("--procedure", required=True, metavar="ID", help="of a rule of your own, such as own/1/1")
    parser.add_argument("--item", required=True, action="append", metavar="ITEM", help="may be given several times")
    parser.add_argument("--role", help="whose information; may lack where only one fits")
    parser.add_argument("--event", help="what happened; stands in the record")
    parser.add_argument("--confirmed", action="store_true", help="the operator has looked at every row")
    parser.set_defaults(run=run_push)

    parser = commands.add_parser("update", help="correct what was provided, wherever it went", epilog=UPDATE_EPILOG)
    parser.description = "Send a correction to everybody who received what it corrects."
    _add_common(parser, "INSTITUTION", "FILE.csv")
    parser.add_argument("--item", action="append", metavar="ITEM", help="kind or detail; may be given several times")
    parser.add_argument("--reason", help="why; the receivers and the person read it")
    parser.add_argument("--confirmed", action="store_true", help="the operator has looked at every row")
    parser.set_defaults(run=run_update)

    parser = commands.add_parser("notify", help="write to people by the portal", epilog=NOTIFY_EPILOG)
    parser.description = "Send a notice to the portal of the people of a file."
    _add_common(parser, "INSTITUTION", "FILE.csv")
    parser.add_argument("--subject", required=True, help="what it is about; stands in the record")
    parser.add_argument("--text", metavar="FILE", help="one text for all of them, UTF-8")
    parser.set_defaults(run=run_notify)

    parser = commands.add_parser("notices", help="what a citizen was told", epilog=NOTICES_EPILOG)
    parser.description = "Show a person's notices, newest first."
    add_folder(parser)
    parser.add_argument("--alias", required=True, metavar="HEX", help="the person's portal alias, or - for stdin")
    limit = f"notices, at most {HISTORY_LIMIT_MAX} (default: {HISTORY_LIMIT})"
    parser.add_argument("--limit", type=int, default=HISTORY_LIMIT, help=limit)
    parser.add_argument("--cursor", help="go on behind an earlier page")
    parser.set_defaults(run=run_notices)


def _add_common(parser: argparse.ArgumentParser, *words: str) -> None:
    add_folder(parser, *words)
    parser.add_argument("--section", required=True, help="the section in charge, which the person will read")
    most = f"your name for it, at most {ID_CHARS_MAX} characters"
    parser.add_argument("--id", required=True, metavar="ID", help=most)
    parser.add_argument("--out", required=True, metavar="FILE", help="the result (.csv, .parquet, .arrow)")
    parser.add_argument("--operator", help="who types this; for supervisors, never shown to the person")
    parser.add_argument("--encoding", choices=ENCODINGS, default="auto", help="of FILE.csv (default: auto)")
    add_progress(parser)


def run_push(arguments: argparse.Namespace) -> int:
    """Part by part."""

    def opened(h: hub.Hub, source: str) -> SentFile:
        return read_pushes(source, h.catalog, encoding=arguments.encoding)

    def send(h: hub.Hub, institution: str, request_id: str, part: SentPart, rows: Any) -> Sent:
        push = hub.Push(
            institution=institution, procedure=arguments.procedure, items=tuple(arguments.item), role=arguments.role,
            section=arguments.section, request_id=request_id, event=arguments.event, operator=arguments.operator,
            confirmed=arguments.confirmed,
        )  # fmt: skip
        assert part.receivers is not None
        return h.push(push, part.names[rows], part.receivers[rows], _some(part.payloads, rows))

    return run_sending(arguments, "push", opened, send)


def run_update(arguments: argparse.Namespace) -> int:
    """Part by part, each one transaction."""
    name = "alias" if arguments.item else "permit"

    def opened(h: hub.Hub, source: str) -> SentFile:
        return read_updates(source, name, UPDATE_ROWS_MAX, encoding=arguments.encoding)

    def send(h: hub.Hub, institution: str, request_id: str, part: SentPart, rows: Any) -> Sent:
        update = hub.Update(
            institution=institution, items=tuple(arguments.item) if arguments.item else None, reason=arguments.reason,
            section=arguments.section, request_id=request_id, operator=arguments.operator,
            confirmed=arguments.confirmed,
        )  # fmt: skip
        return h.update(update, part.names[rows], _some(part.payloads, rows))

    return run_sending(arguments, "update", opened, send)


def run_notify(arguments: argparse.Namespace) -> int:
    """Part by part."""
    text = None if arguments.text is None else Path(arguments.text).read_bytes()

    def opened(h: hub.Hub, source: str) -> SentFile:
        return read_notices(source, each=text is None, encoding=arguments.encoding)

    def send(h: hub.Hub, institution: str, request_id: str, part: SentPart, rows: Any) -> Sent:
        notice = hub.Notice(
            institution=institution, subject=arguments.subject, section=arguments.section, request_id=request_id,
            operator=arguments.operator,
        )  # fmt: skip
        return h.notify(notice, part.names[rows], text if text is not None else _some(part.texts, rows))

    return run_sending(arguments, "notify", opened, send)


Send = Callable[[hub.Hub, str, str, SentPart, Any], Sent]


def run_sending(
    arguments: argparse.Namespace, what: str, opened: Callable[[hub.Hub, str], SentFile], send: Send
) -> int:
    """Send a file in parts; a part is durable before the next is read."""
    folder, (institution, source) = take_folder(arguments)
    if not 1 <= len(arguments.id) <= ID_CHARS_MAX:
        raise RequestError(f"--id: expected 1 to {ID_CHARS_MAX} characters, got {len(arguments.id)}")
    counts: Counter[int] = Counter()
    done = 0
    try:
        with open_hub(arguments, folder) as h:
            h.catalog.institution(institution)
            file = opened(h, source)
            with (
                Stopping() as stopping,
                TableWriter(arguments.out, RESULT_COLUMNS) as result,
                RejectedWriter(source, arguments.out) as rejected,
                Progress(what, file.rows_max, show=arguments.progress) as progress,
            ):
                for part in file:
                    rows, sent, unfit = send_part(h, institution, f"{arguments.id}.{part.number:04}", part, send)
                    rejected.write(join_rejected(part.rejected, unfit))
                    if sent is not None:
                        statuses = Choices(sent.status, STATUS_NAMES)
                        result.write([part.row[rows], statuses, Choices(sent.reason, REASON_NAMES)])
                        counts.update(dict(enumerate(np.bincount(sent.status).tolist())))
                    done += part.rows_read
                    progress(done)
                    stopping.check()
    except KeyboardInterrupt:
        raise KeyboardInterrupt(
            f"stopped: {done:,} rows are durable; give the command again to go on:",
            f"  hub {shlex.join(arguments.argv)}",
        ) from None
    print(f"{arguments.out}: {counts.total():,} rows of {institution}")
    if counts.total():
        words = [(n, Status(s).name, WORDS.get(Status(s), "")) for s, n in sorted(counts.items()) if n]
        print_table(words, right=(0,))
    status = report_rejected(rejected)
    return 1 if counts.total() != counts[Status.OK] else status


def send_part(
    h: hub.Hub, institution: str, request_id: str, part: SentPart, send: Send
) -> tuple[Any, Sent | None, Rejected]:
    """Send what fits of a part: places of the rows that were taken, their receipt, and the others."""
    rows = np.arange(len(part.row))
    unfit: list[tuple[Any, int]] = []
    sent = None
    while len(rows):
        try:
            sent = send(h, institution, request_id, part, rows)
            break
        except RowsError as error:
            unfit.append((rows[error.rows], UNFIT[error.cause]))
            rows = np.delete(rows, error.rows)
    lines = [part.line[some] for some, _ in unfit]
    causes = [np.full(len(some), cause, np.uint8) for some, cause in unfit]
    return rows, sent, Rejected(
        np.concatenate([np.empty(0, np.int64), *lines]), np.concatenate([np.empty(0, np.uint8), *causes])
    )


def _some(values: list[Any] | None, rows: Any) -> list[Any] | None:
    return None if values is None else [values[row] for row in rows.tolist()]


def run_notices(arguments: argparse.Namespace) -> int:
    """Print a page of a person's notices."""
    folder, _ = take_folder(arguments)
    alias = take_alias(arguments.alias)
    with open_hub(arguments, folder, readonly=True) as h:
        found = h.notices(alias, limit=arguments.limit, cursor=arguments.cursor)
        names = Speller(h.catalog)
    for record, text in zip(found.records, found.texts, strict=True):
        print(f"{spell_moment(record.requested_at)}  {names.name(record.provider)}, {record.section}")
        print(f"  {'、'.join(record.items)}")
        print("  " + ("(not kept any more)" if text is None else text.replace("\n", "\n  ")), end="\n\n")
    print(f"{len(found)} notices" + (", more to come" if found.cursor else ""))
    if found.cursor:
        print(f"go on with --cursor {found.cursor}")
    return 0 if found.records else 1
