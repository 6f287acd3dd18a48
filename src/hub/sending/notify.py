"""Notices (お知らせ): an institution -> the portal of the persons it knows, one or a million, one text or one each.

No rule of law is needed to write to somebody whom one knows, so the row's alias is all: who has none there is told as
UNKNOWN_ALIAS or REVOKED. A person without a portal alias, or one who has died, whose alias there is closed, gets a
record that says so (NO_ALIAS_AT_PROVIDER), and the sender is told it row by row: a notice that reached nobody must not
be lost without anybody's notice, so that it is sent on paper. It says nothing of where a person is known, since only
the portal is asked.

Whom the sender itself has flagged NO_SELF or WITHHELD gets no notice by the portal, which somebody else may be reading
over their shoulder. For the sender such a row looks like one without a portal alias; its record is withheld on the
sender's side from the beginning, since a notice that did not come would betray as much in the history.
"""

from __future__ import annotations

import hashlib
import re
from typing import Any

import msgspec
import numpy as np
import numpy.typing as npt

from hub.catalog import Catalog
from hub.catalog.law import BASES
from hub.decode import decode_aliases
from hub.errors import RequestError
from hub.limits import (
    NOTICE_BYTES_MAX,
    PAYLOAD_BYTES_PER_COMMIT_MAX,
    REQUEST_ID_CHARS_MAX,
    ROWS_PER_CHUNK,
    SECTION_CHARS_MAX,
)
from hub.messages import Kind, Notice, Status
from hub.persons.deaths import closed_at
from hub.protection.flags import Flagged
from hub.protection.withholding import check_clerk, check_text
from hub.sending.notices import pack_text, pack_texts, put_texts
from hub.sending.send import Columns, Decisions, Entry, Numbers, Put, Screened, Sending, Statuses
from hub.storage.periods import PeriodKey
from hub.storage.snapshot import Commit, Snapshot

PROCEDURE = "notice"
PORTAL = "portal"

_TEXTS_AT_A_TIME = 4_096
_CONTROL = re.compile(r"[\x00-\x09\x0b-\x1f\x7f-\x9f]")


class Notifying(Sending):
    """A notice, checked; ``texts`` are UTF-8, one for all rows or one a row."""

    kind = Kind.NOTICE

    def __init__(self, catalog: Catalog, notice: Notice, aliases: Any, texts: Any) -> None:
        if not isinstance(notice, Notice):
            raise RequestError(f"notice: expected hub.Notice, got {type(notice).__name__}")
        check_text("subject", notice.subject, SECTION_CHARS_MAX)
        check_text("section", notice.section, SECTION_CHARS_MAX)
        check_text("request_id", notice.request_id, REQUEST_ID_CHARS_MAX)
        check_clerk("operator", notice.operator)
        self.number = catalog.institution(notice.institution).number
        if notice.institution == PORTAL:
            raise RequestError("institution: expected another than the portal, got it")
        self.sender, self.section, self.request_id = notice.institution, notice.section, notice.request_id
        self.operator, self._subject = notice.operator, notice.subject
        self.aliases = decode_aliases(aliases)
        self.receivers = np.full(len(self.aliases), catalog.institution(PORTAL).number, np.uint32)
        self.text, self.texts = decode_texts(texts, len(self.aliases))
        longest = 0 if self.texts is None else max(map(len, self.texts), default=0)
        self.chunk_rows = min(ROWS_PER_CHUNK, PAYLOAD_BYTES_PER_COMMIT_MAX // max(longest, 1))
        digest = hashlib.sha256(b"hub/notice/1" + msgspec.msgpack.encode(notice))
        digest.update(len(self).to_bytes(8, "little"))
        digest.update(self.aliases.data)
        if self.texts is None:
            digest.update(b"one" + self.text)
        else:
            sizes = np.fromiter(map(len, self.texts), np.uint32, len(self.texts))
            digest.update(b"each" + sizes.tobytes())
            for start in range(0, len(self.texts), _TEXTS_AT_A_TIME):
                digest.update(b"".join(self.texts[start : start + _TEXTS_AT_A_TIME]))
        self.digest = digest.digest()

    def decide(self, catalog: Catalog, at: int) -> Decisions:
        """Everything: whoever knows a person may write to them."""
        entry = Entry(Status.OK, 0, 0, PROCEDURE, (self._subject,), "", None, BASES["notice"])
        return Decisions([entry], np.zeros(len(self), np.uint16))

    def columns(self, snapshot: Snapshot, decisions: Decisions, rows: slice) -> Columns:
        """See :class:`Sending`; the portal alias of the dead is closed, so nobody would read it there."""
        found = super().columns(snapshot, decisions, rows)
        reached = np.flatnonzero(found.status == Status.OK)
        if len(reached):
            closed = closed_at(snapshot, int(self.receivers[0]), np.ascontiguousarray(found.persons[reached]))
            found.status[reached[closed]] = Status.NO_ALIAS_AT_PROVIDER
        return found

    def screen(self, flagged: Flagged, persons: Numbers, status: Statuses) -> Screened:
        """Whom the sender has flagged gets nothing by the portal."""
        hidden = flagged.no_self(persons, self.number)
        withheld = flagged.withheld(persons, self.number)
        if withheld is not None:
            hidden = hidden | withheld
        status[hidden & (status == Status.OK)] = Status.NO_ALIAS_AT_PROVIDER
        return Screened(status, status, np.ones(len(status), np.bool_), hidden)

    def pack(self, key: PeriodKey, places: npt.NDArray[np.intp], status: Statuses, sent_at: int) -> Put:
        """The texts, of those rows that reached somebody."""
        sent = status == Status.OK
        if self.texts is None:
            values = pack_text(key, self.text, len(places) if sent.any() else 0, sent_at)
        elif sent.all():
            values = pack_texts(key, list(map(self.texts.__getitem__, places.tolist())), sent_at)
        else:
            pairs = zip(places.tolist(), sent.tolist(), strict=True)
            values = pack_texts(key, [self.texts[place] if one else None for place, one in pairs], sent_at)

        def put(commit: Commit, first: int) -> None:
            put_texts(commit, first, values)

        return put


def decode_texts(texts: Any, rows: int) -> tuple[bytes, list[bytes] | None]:
    """Check one text for all rows, or one a row; returns that text, or empty and all of them, as UTF-8.

    Raises:
        RequestError: another count, no text, a control character but the line feed, or more than
            ``limits.NOTICE_BYTES_MAX`` bytes.
    """
    if isinstance(texts, str | bytes):
        return _encode([texts])[0], None
    if not isinstance(texts, list | tuple):
        raise RequestError(f"texts: expected a text or a list of texts, got {type(texts).__name__}")
    if len(texts) != rows:
        raise RequestError(f"texts: expected {rows} rows, got {len(texts)}")
    return b"", _encode(texts)


def is_text(text: str) -> bool:
    """Whether a notice may have this text."""
    return 0 < len(text.encode("utf-8", "replace")) <= NOTICE_BYTES_MAX and not _CONTROL.search(text)


def _encode(texts: Any) -> list[bytes]:
    kinds = set(map(type, texts))
    if not kinds <= {str, bytes}:
        other = next(kind for kind in kinds if kind not in (str, bytes))
        raise RequestError(f"texts: expected text, got {other.__name__}")
    try:
        words = [one.decode() if type(one) is bytes else one for one in texts] if bytes in kinds else texts
        found = [one.encode() for one in words]
    except UnicodeError:
        raise RequestError("texts: expected UTF-8, got something else") from None
    sizes = np.fromiter(map(len, found), np.int64, len(found))
    wrong = np.flatnonzero((sizes == 0) | (sizes > NOTICE_BYTES_MAX))
    if len(wrong):
        row = int(wrong[0])
        raise RequestError(f"texts: expected 1 to {NOTICE_BYTES_MAX} bytes, got {sizes[row]} in row {row}")
    for start in range(0, len(found), _TEXTS_AT_A_TIME):
        if _may_have_control(b"".join(found[start : start + _TEXTS_AT_A_TIME])):
            some = enumerate(words[start : start + _TEXTS_AT_A_TIME], start)
            bad = next((at for at, one in some if _CONTROL.search(one)), None)
            if bad is not None:
                raise RequestError(f"texts: expected printable characters, got a control character in row {bad}")
    return found


def _may_have_control(text: bytes) -> bool:
    """Whether UTF-8 has bytes of which control characters are made: ten times as fast as looking for those."""
    units = np.frombuffer(text, np.uint8)
    # U+0080 to U+009F begin with C2, as few others do.
    return bool((((units < 0x20) & (units != 0x0A)) | (units == 0x7F) | (units == 0xC2)).any())
