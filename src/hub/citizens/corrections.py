"""Corrections (訂正) of records: asked for by the person, decided by a holder, confirmed by the other holders.

A record has three holders: requester, provider and the operator of the hub (番号法23条). Nothing of it is ever changed:
what is asked, decided and confirmed is appended as records of the same person that follow it (``ROW["link"]``), and the
history shows all of them.

| record | requester -> provider | follows | outcome | remark |
|---|---|---|---|---|
| CORRECTION_ASKED | portal -> holder | the original | PENDING | what is wrong |
| CORRECTION | holder -> portal | what was asked, or the original | OK, REFUSED if not made | reasons; LF; appeal |
| CONFIRMATION | other holder -> holder | the CORRECTION | OK | none |

Asked for within 90 days of disclosure (個人情報保護法90条3項), decided in writing (93条) with how to appeal
(行政不服審査法82条), made known to the other holders (97条, 番号法31条).

Database ``corrections``, key u64 index of the original (big endian), value sealed, little endian: how they stand.

| at | type | what |
|---|---|---|
| 0 | u16 | period of the original |
| 2 | u8 | 1 while somebody is waited for |
| 3 | u8 | 0 |
| 4 | rest | encrypted (``storage/confidential.py``) under that period: :class:`Standing` |

A record, what it changes here and its event are one transaction; its checkpoint is published before the call returns.
A *disclosure* is hex of u64 seconds since 1970, u64 records in the log (big endian) and the first 16 bytes of
HMAC-SHA-256(own key "disclosures", u32 person ‖ these 16 bytes).
"""

from __future__ import annotations

import datetime as dt
import hashlib
import hmac
from collections.abc import Callable, Iterable, Iterator
from typing import Any

import msgspec
import numpy as np

from hub.aliases import NOBODY, find_aliases
from hub.catalog.moments import JAPAN
from hub.errors import RequestError, StorageError
from hub.limits import CORRECTION_DAYS, CORRECTIONS_PER_RECORD_MAX, REMARK_CHARS_MAX, SECTION_CHARS_MAX
from hub.messages import Kind, Record, Status
from hub.persons.merges import lives_of
from hub.protection.marks import follow, read_state
from hub.protection.withholding import Office, check_clerk, check_text
from hub.records.append import append_records, lay_records, make_fields
from hub.records.bodies import ROW, pack_link
from hub.records.events import EventKind, Told
from hub.records.handles import CORRECTABLE, PartyRecord, Stood, make_handle, provider_is_party, sides_of, stood, tell
from hub.storage.keys import Keys
from hub.storage.periods import period_of
from hub.storage.sealed import unseal
from hub.storage.snapshot import Commit, Snapshot
from hub.storage.workers import Workers

NAME = "corrections"
OPERATOR = "pm"
"""The operator of the hub: the Prime Minister keeps the system's records (内閣総理大臣, 番号法23条3項)."""

PORTAL = "portal"
APPEAL = (
    "この決定に不服があるときは、決定があったことを知った日の翌日から起算して3月以内に審査請求をすることができます"
    "(行政不服審査法2条、18条1項)。"
)
BASIS = {
    Kind.CORRECTION_ASKED: "個人情報保護法90条1項",
    Kind.CORRECTION: "個人情報保護法92条・93条",
    Kind.CONFIRMATION: "番号法31条・個人情報保護法97条",
}

_HEAD_BYTES = 4
_AT_A_TIME = 256
_ALONE = Workers(1)


class Asked(msgspec.Struct, array_like=True, frozen=True):
    """One correction that was asked for: index of its record, who is to decide, digest of what was said:
    :func:`_digest` of "asked", index of the original, the text, the disclosure."""

    index: int
    holder: str
    digest: bytes


class Decided(msgspec.Struct, array_like=True, frozen=True):
    """One decision: index of its record and of the one it follows, who decided, digest of what was said:
    :func:`_digest` of "decided", index of the original, reason, section, appeal, "True" or "False", who decided; the
    holders that have not confirmed it yet, all but who decided, none where it was refused."""

    index: int
    follows: int
    holder: str
    digest: bytes
    waiting: list[str]


class Standing(msgspec.Struct, array_like=True, frozen=True):
    """How the corrections of one record stand, oldest first."""

    asked: list[Asked]
    decided: list[Decided]

    def open_asked(self) -> list[Asked]:
        """What has not been decided yet."""
        done = {one.follows for one in self.decided}
        return [one for one in self.asked if one.index not in done]


class CorrectionNotice(msgspec.Struct, frozen=True, kw_only=True):
    """What waits for a holder.

    Attributes:
        handle: hand it to ``h.correct`` (kind CORRECTION_ASKED) or ``h.confirm`` (kind CORRECTION).
        kind: what is to be answered. at: when it was appended, UTC.
        remark: what is asked, or the decision's reasons. by: who wrote it, an institution code;
            empty where it is a provider that was not named but found in a class.
        record: the record that is to be corrected.
    """

    handle: bytes
    kind: Kind
    at: dt.datetime
    remark: str
    by: str
    record: PartyRecord

    def __repr__(self) -> str:
        return f"CorrectionNotice({self.kind.name})"


# -- disclosures


def make_disclosure(keys: Keys, person: int, now: int, records: int) -> str:
    """That a person's history was shown now, when the log had so many records."""
    body = now.to_bytes(8, "big") + records.to_bytes(8, "big")
    return (body + _disclosure_tag(keys, person, body)).hex()


def read_disclosure(keys: Keys, persons: Iterable[int], disclosure: object) -> tuple[int, int]:
    """(seconds since 1970, records in the log) of a disclosure to one of these, who are one person now.

    Raises:
        RequestError: it is not of this person's history.
    """
    try:
        raw = bytes.fromhex(disclosure) if isinstance(disclosure, str) else b""
    except ValueError:
        raw = b""
    tags = [_disclosure_tag(keys, person, raw[:16]) for person in persons]
    if len(raw) != 32 or not any(hmac.compare_digest(tag, raw[16:]) for tag in tags):
        raise RequestError("disclosed: expected the disclosure of this person's history, got another")
    return int.from_bytes(raw[:8], "big"), int.from_bytes(raw[8:16], "big")


def _disclosure_tag(keys: Keys, person: int, body: bytes) -> bytes:
    return hmac.digest(keys.derive("disclosures"), person.to_bytes(4, "big") + body, "sha256")[:16]


def _day(seconds: int) -> dt.date:
    return dt.datetime.fromtimestamp(seconds, JAPAN).date()


# -- the steps


class Corrections:
    """Corrections of an open hub; ``appended`` is called with every step, also a repeated one, before it returns."""

    def __init__(self, office: Office, appended: Callable[[], None]) -> None:
        self._office = office
        self._appended = appended

    def __repr__(self) -> str:
        return "Corrections()"

    def ask(
        self, person: int, record: int | Record, text: str, disclosed: str, institution: str | None, clerk: str | None
    ) -> int:
        """See ``Hub.ask_correction``."""
        check_text("text", text, REMARK_CHARS_MAX)
        check_clerk("clerk", clerk)
        office = self._office
        with office.store.snapshot() as snapshot:
            members = lives_of(snapshot).members(person)
        at, size = read_disclosure(office.keys, members, disclosed)
        now = office.now()
        if (_day(now) - _day(at)).days > CORRECTION_DAYS:
            raise RequestError(f"disclosed: expected at most {CORRECTION_DAYS} days ago, got longer")
        index = record.index if isinstance(record, Record) else record
        if isinstance(index, bool) or not isinstance(index, int):
            raise RequestError(f"record: expected one of a history or its index, got {type(index).__name__}")
        digest = _digest("asked", index, text, disclosed)
        with office.store.writer:
            with office.store.snapshot() as snapshot:
                root = self._shown(snapshot, person, index, size)
                standing = self._read(snapshot, root)
                holder = self._holder(root, institution)
            again = next((one for one in standing.asked if (one.digest, one.holder) == (digest, holder)), None)
            if again is None:
                self._check_room(standing.asked)
                with office.store.commit() as commit:
                    made = self._append(
                        commit, root, Kind.CORRECTION_ASKED, PORTAL, holder, index, holder, text, Status.PENDING, clerk
                    )
                    fresh = Standing([*standing.asked, Asked(made, holder, digest)], standing.decided)
                    self._put(commit, root, fresh)
                    self._tell(commit, root, EventKind.CORRECTION_ASKED, PORTAL, clerk)
            else:
                made = again.index
        self._appended()
        return made

    def correct(
        self, handle: Any, reason: str, section: str, institution: str | None, requester: str | None,
        clerk: str | None, accepted: bool, appeal: str | None,
    ) -> bytes:  # fmt: skip
        """See ``Hub.correct``."""
        check_text("reason", reason, REMARK_CHARS_MAX)
        check_text("section", section, SECTION_CHARS_MAX)
        appeal = APPEAL if appeal is None else appeal
        check_text("appeal", appeal, REMARK_CHARS_MAX)
        check_clerk("clerk", clerk)
        if not isinstance(accepted, bool):
            raise RequestError(f"accepted: expected True or False, got {type(accepted).__name__}")
        office = self._office
        code, index = office.find(handle, institution, requester)
        number = office.catalog().institution(code).number
        with office.store.writer:
            with office.store.snapshot() as snapshot:
                named = office.read(snapshot, index)
                root = follow(office.bodies(snapshot), named)
                if root is None or named.kind not in (*CORRECTABLE, Kind.CORRECTION_ASKED):
                    raise RequestError("handle: expected a record or what was asked of it, got another")
                standing = self._read(snapshot, root)
            if not sides_of(office.catalog(), root, number):
                raise RequestError("handle: expected a record of an inquiry that it is a party to, got another")
            digest = _digest("decided", root.index, reason, section, appeal, str(accepted), code)
            follows, again = self._follows(standing, named, code, digest)
            if again is None:
                self._check_room(standing.decided)
                waiting = [one for one in self._holders(root) if one != code] if accepted else []
                outcome = Status.OK if accepted else Status.REFUSED
                with office.store.commit() as commit:
                    made = self._append(
                        commit, root, Kind.CORRECTION, code, PORTAL, follows, section, f"{reason}\n{appeal}", outcome,
                        clerk,
                    )  # fmt: skip
                    decided = Decided(made, follows, code, digest, waiting)
                    self._put(commit, root, Standing(standing.asked, [*standing.decided, decided]))
                    self._tell(commit, root, EventKind.CORRECTED, code, clerk)
            else:
                made = again.index
        self._appended()
        return make_handle(office.keys, number, made)

    def confirm(self, handle: bytes, institution: str | None, section: str, clerk: str | None) -> None:
        """See ``Hub.confirm``."""
        check_text("section", section, SECTION_CHARS_MAX)
        check_clerk("clerk", clerk)
        office = self._office
        code, index = office.find(handle, institution, None)
        with office.store.writer:
            with office.store.snapshot() as snapshot:
                named = office.read(snapshot, index)
                root = follow(office.bodies(snapshot), named)
                standing = None if root is None else self._read(snapshot, root)
            decided = next((one for one in standing.decided if one.index == index), None) if standing else None
            if root is None or standing is None or decided is None or code not in self._holders(root):
                raise RequestError("handle: expected a correction of which it was notified, got another")
            if code == decided.holder:
                raise RequestError("handle: expected another holder's correction, got its own")
            if code in decided.waiting:
                rest = msgspec.structs.replace(decided, waiting=[one for one in decided.waiting if one != code])
                with office.store.commit() as commit:
                    self._append(
                        commit, root, Kind.CONFIRMATION, code, decided.holder, index, section, None, Status.OK, clerk
                    )
                    changed = [rest if one is decided else one for one in standing.decided]
                    self._put(commit, root, Standing(standing.asked, changed))
                    self._tell(commit, root, EventKind.CONFIRMED, code, clerk)
        self._appended()

    def waiting(self, institution: str) -> list[CorrectionNotice]:
        """See ``Hub.corrections``."""
        office = self._office
        code = office.catalog().institution(institution).code
        found: list[CorrectionNotice] = []
        for index, standing in self._open():
            with office.store.snapshot() as snapshot:
                if office.bodies(snapshot).is_erased(index):
                    continue
                root = office.read(snapshot, index)
                for asked in standing.open_asked():
                    if asked.holder == code:
                        found.append(self._notice(snapshot, root, asked.index, code))
                for decided in standing.decided:
                    if code in decided.waiting:
                        found.append(self._notice(snapshot, root, decided.index, code))
        return sorted(found, key=lambda notice: (notice.at, notice.handle))

    # -- parts of the steps

    def _shown(self, snapshot: Snapshot, person: int, index: int, size: int) -> Stood:
        """The original that a history of this person shows under an index."""
        office = self._office
        bodies = office.bodies(snapshot)
        refused = RequestError("record: expected one of an inquiry in the history that was disclosed, got another")
        if not 0 <= index < min(size, snapshot.state.records) or bodies.is_erased(index):
            raise refused
        found = bodies.read([index])[0]
        if found.person not in lives_of(snapshot).sources(person) or found.kind not in CORRECTABLE:
            raise refused
        root = office.visibility(snapshot, bodies, person).roots([found])[0]
        if root is None:
            raise refused
        return stood(root)

    def _holder(self, root: Stood, institution: str | None) -> str:
        holders = self._holders(root)[:-1]
        if institution is not None and institution not in holders:
            raise RequestError("institution: expected a party to the record, got another")
        return institution or holders[0]

    def _holders(self, root: Stood) -> list[str]:
        """Requester, provider where the question reached it, and last the operator."""
        codes = [root.shared.requester]
        if provider_is_party(root):
            codes.append(self._office.catalog().institution_by_number(root.provider).code)
        return [*dict.fromkeys(code for code in codes if code != OPERATOR), OPERATOR]

    def _follows(self, standing: Standing, named: Stood, code: str, digest: bytes) -> tuple[int, Decided | None]:
        """Which record a decision follows, and that decision where it is made already."""
        if named.kind == Kind.CORRECTION_ASKED:
            asked = next((one for one in standing.asked if one.index == named.index), None)
            if asked is None or asked.holder != code:
                raise RequestError("handle: expected what was asked of this institution, got another")
            made = next((one for one in standing.decided if one.follows == named.index), None)
            if made is not None and made.digest != digest:
                raise RequestError("handle: expected what is not decided yet, got what is")
            return named.index, made
        # The same words again are the same decision: a repeated call must not answer what was asked since.
        made = next((one for one in standing.decided if one.digest == digest), None)
        if made is not None:
            return made.follows, made
        waiting = [one for one in standing.open_asked() if one.holder == code]
        return (waiting[0].index if waiting else named.index), None

    def _check_room(self, made: list[Any]) -> None:
        if len(made) >= CORRECTIONS_PER_RECORD_MAX:
            raise RequestError(f"corrections: expected at most {CORRECTIONS_PER_RECORD_MAX} of one record, got more")

    def _append(
        self, commit: Commit, root: Stood, kind: Kind, who: str, to: str, follows: int, section: str,
        remark: str | None, outcome: Status, clerk: str | None,
    ) -> int:  # fmt: skip
        """Put one record into the transaction; returns its index."""
        office = self._office
        now = max(commit.state.time, office.now())
        key = office.periods.make(period_of(now))
        shared = msgspec.structs.replace(
            root.shared, requester=who, on_behalf_of=None, section=section, legal_basis=BASIS[kind], remark=remark
        )
        rows = np.zeros(1, dtype=ROW)
        rows["person"] = root.person
        rows["provider"] = office.catalog().institution(to).number
        rows["outcome"], rows["kind"] = outcome, kind
        rows["link"] = pack_link(follows)
        fields = make_fields([shared], [(now, 0)], [(clerk, None)])
        laid = lay_records(fields, rows, key.person_keys(rows["person"].copy()), office.keys, key)
        return append_records(commit, laid, now)

    def _tell(self, commit: Commit, root: Stood, kind: EventKind, code: str, clerk: str | None) -> None:
        told = Told(at=self._office.now(), kind=kind, institution=code, clerk=clerk)
        self._office.tell(told, commit, root.period, root.index)

    def _notice(self, snapshot: Snapshot, root: Stood, index: int, code: str) -> CorrectionNotice:
        office = self._office
        catalog = office.catalog()
        number = catalog.institution(code).number
        told = office.read(snapshot, index)
        owner = office.owner(snapshot, root)
        person = NOBODY if owner is None else owner
        aliases, _ = find_aliases(snapshot, number, np.array([person], dtype=np.uint32), _ALONE)
        sides = sides_of(catalog, root, number)
        withheld = any(read_state(snapshot, root.index, side)[0] for side in sides)
        by = told.shared.requester
        if root.by_class and root.provider not in (0, number) and by == catalog.code_by_number(root.provider):
            # Whoever asked a class is told here neither which body holds the person.
            by = ""
        return CorrectionNotice(
            handle=make_handle(office.keys, number, index),
            kind=Kind(told.kind),
            at=dt.datetime.fromtimestamp(told.requested_at, dt.UTC),
            remark=told.shared.remark or "",
            by=by,
            record=tell(catalog, root, number, aliases[0].tobytes(), withheld=withheld),
        )

    # -- stored

    def _read(self, snapshot: Snapshot, root: Stood) -> Standing:
        key = root.index.to_bytes(8, "big")
        value = snapshot.get(NAME, key)
        found = None if value is None else parse_standing(key, value, self._office)
        return found if found is not None else Standing([], [])

    def _put(self, commit: Commit, root: Stood, standing: Standing) -> None:
        waits = bool(standing.open_asked()) or any(one.waiting for one in standing.decided)
        head = root.period.to_bytes(2, "little") + bytes((waits, 0))
        encrypted = self._office.vault.encrypt(NAME, root.period, standing)
        commit.put_sealed(NAME, root.index.to_bytes(8, "big"), head + encrypted)

    def _open(self) -> Iterator[tuple[int, Standing]]:
        """What somebody is waited for, a snapshot each so many."""
        first = b""
        while True:
            with self._office.store.snapshot() as snapshot:
                items = [(key, bytes(value)) for key, value in snapshot.items(NAME, first, limit=_AT_A_TIME)]
            for key, value in items:
                standing = parse_standing(key, value, self._office) if is_open(key, value) else None
                if standing is not None:
                    yield int.from_bytes(key, "big"), standing
            if len(items) < _AT_A_TIME:
                return
            first = items[-1][0] + b"\0"


def is_open(key: bytes, value: bytes) -> bool:
    """Whether somebody is waited for.

    Raises:
        StorageError: the value is damaged.
    """
    body = unseal(NAME, key, value)
    if len(body) < _HEAD_BYTES or body[2] > 1 or body[3]:
        raise StorageError(f"{NAME}: expected a state, got something else")
    return bool(body[2])


def parse_standing(key: bytes, value: bytes, office: Office) -> Standing | None:
    """A stored state, or None where its period was shredded.

    Raises:
        StorageError: it is damaged.
    """
    is_open(key, value)
    body = unseal(NAME, key, value)
    return office.vault.decrypt(NAME, int.from_bytes(body[:2], "little"), body[_HEAD_BYTES:], Standing)


def _digest(*parts: object) -> bytes:
    """SHA-256 of a MessagePack array of "hub/correction/1" and what was said."""
    return hashlib.sha256(msgspec.msgpack.encode(("hub/correction/1", *parts))).digest()
