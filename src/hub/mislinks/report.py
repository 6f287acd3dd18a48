"""A wrong link is reported: records about both citizens, a notice to each, a draft for the Commission. Once, whole.

    what was done through the link (``blast.py``) -> a record of kind MISLINK about each citizen, with an event, and how
    it stands (``state.py``): one transaction -> a notice to each (``sending/send.py``) -> how it stands, with events of
    notices and draft

The *wrong* citizen is the one to whom the alias led, the *right* one whom the institution meant. Data of the wrong one
that the institution was given were given in the right one's place; what the institution gave was data of the right
one, in the wrong one's place. Each reads of themselves: that theirs may have been given in another's place (GIVEN),
that what is not theirs was shown as theirs (SHOWN); nobody reads who the other is or which bodies are concerned but
this one.

A repeated call goes on behind the last step that is durable, and records nothing twice.
"""

from __future__ import annotations

import datetime as dt
import hashlib
import os
from collections.abc import Callable
from typing import NamedTuple

import msgspec
import numpy as np
import numpy.typing as npt

from hub.aliases import NOBODY, find_aliases
from hub.catalog import Catalog, Institution
from hub.catalog.moments import JAPAN
from hub.errors import RequestError
from hub.limits import GROUND_CHARS_MAX, REQUEST_ID_CHARS_MAX, SECTION_CHARS_MAX
from hub.messages import Aliases, Kind, Notice, Status, Withhold
from hub.mislinks.blast import BlastRadius, find_behind, find_blast
from hub.mislinks.breach import (
    LEGAL_BASIS,
    Deadlines,
    Notified,
    find_deadlines,
    given_of_right,
    given_of_wrong,
    write_draft,
)
from hub.mislinks.state import NAME, NOTIFIED, RECORDED, Reported, parse_state, put_state, state_key
from hub.persons.deaths import closed_at
from hub.persons.merges import current
from hub.persons.successions import check_at_work, find_known_persons
from hub.protection.marks import Marking, NewMark, prepare_marks, put_new_marks
from hub.protection.screen import default_marks, review_day
from hub.protection.withholding import Office, check_clerks, check_text
from hub.records.append import append_records, lay_records, make_fields, order_rows
from hub.records.bodies import ROW
from hub.records.events import EventKind, Told
from hub.records.handles import REQUESTER
from hub.records.permits import PermitNumbers
from hub.sending.notify import PORTAL, Notifying
from hub.sending.send import HIDDEN_GROUND, Columns, Decisions, Numbers, Sender, Statuses
from hub.storage.periods import PeriodKey, period_of
from hub.storage.snapshot import Commit, Snapshot
from hub.storage.workers import Workers
from hub.tlog.entry import Shared

PROCEDURE = "mislink"
SUBJECT = "情報の紐付けの誤りについて"
SECTION = "個人情報保護担当"

GIVEN, SHOWN = 1, 2
_OPENING = "{body}において、情報の紐付けに誤りがありました。"
_SENTENCES = {
    GIVEN: "この誤りにより、あなたの情報が、別の方の情報として提供されたおそれがあります。",
    SHOWN: "この誤りにより、あなたのものではない情報が、あなたの情報として取り扱われたおそれがあります。",
}
_NOTHING = "記録上、この誤りによって情報が提供された事実はありません。"
_CLOSING = "内容は、やりとり履歴でご確認いただけます。お問い合わせ先: {body} {section}"

_ALONE = Workers(1)


class Case(NamedTuple):
    """A report, checked.

    Attributes:
        wrong, right: uint8[1, 16], the institution's aliases; right is None where it is not known.
        since, until: when the link was wrong. known: day in Japan on which the institution learned of it, or None.
    """

    body: Institution
    wrong: Aliases
    right: Aliases | None
    clerk: str
    second_clerk: str
    reason: str
    section: str
    since: dt.datetime | dt.date | None
    until: dt.datetime | dt.date | None
    known: dt.date | None
    deliberate: bool
    request_id: str

    def __repr__(self) -> str:
        return "Case()"

    @property
    def key(self) -> bytes:
        """Under which its state is stored."""
        return state_key(self.body.code, self.request_id)

    @property
    def digest(self) -> bytes:
        """SHA-256 of all of it: the same request id must come with the same."""
        right = b"" if self.right is None else self.right.tobytes()
        said = (
            "hub/mislink/1", self.body.code, self.wrong.tobytes(), right, self.clerk, self.second_clerk, self.reason,
            self.section, _spell(self.since), _spell(self.until), _spell(self.known), self.deliberate,
        )  # fmt: skip
        return hashlib.sha256(msgspec.msgpack.encode(said)).digest()


class MislinkReport(msgspec.Struct, frozen=True, kw_only=True):
    """What became of a report of a wrong link.

    Attributes:
        institution, request_id: whose, and by what it is given again. at: UTC, when it was first made.
        citizens: how many it is about, 1 or 2. notified: told through the portal. otherwise: to be told by other means,
            because they read no portal or must get nothing by it; which of the two is not told.
        deadlines: days for the Commission. blast: what was done through the link. draft: Markdown, for the Commission.
        dry_run: whether nothing was recorded and nobody notified.
    """

    institution: str
    request_id: str
    at: dt.datetime
    citizens: int
    notified: int
    otherwise: int
    deadlines: Deadlines
    blast: BlastRadius
    draft: str
    dry_run: bool

    def __repr__(self) -> str:
        return f"MislinkReport(citizens={self.citizens}, notified={self.notified}, otherwise={self.otherwise})"


class ByPerson(Notifying):
    """A notice to whom an alias leads, also one that is revoked: a wrong link mostly is by now."""

    def columns(self, snapshot: Snapshot, decisions: Decisions, rows: slice) -> Columns:
        """See :class:`Sending`."""
        persons = current(snapshot, find_known_persons(snapshot, self.number, self.aliases[rows], _ALONE)[0])
        status = _at_portal(snapshot, int(self.receivers[0]), persons)
        status[persons == NOBODY] = Status.UNKNOWN_ALIAS
        places = np.arange(rows.start, rows.stop)
        return Columns(persons, status, self.receivers[rows], decisions.decision[rows], places)


def _at_portal(snapshot: Snapshot, portal: int, persons: Numbers) -> Statuses:
    """uint8[N]: OK or NO_ALIAS_AT_PROVIDER."""
    _, none = find_aliases(snapshot, portal, persons, _ALONE)
    reads = (none == 0) & ~closed_at(snapshot, portal, persons)
    return np.where(reads, np.uint8(Status.OK), np.uint8(Status.NO_ALIAS_AT_PROVIDER))


def check_case(
    catalog: Catalog, institution: str, wrong: Aliases, right: Aliases | None, words: dict[str, object]
) -> Case:
    """Check the form of a report.

    Raises:
        RequestError: a value of the wrong form.
    """
    clerk, second = words["clerk"], words["second_clerk"]
    if second is None:
        raise RequestError("second_clerk: expected the name of another clerk (it takes two), got none")
    check_clerks(clerk, second)  # type: ignore[arg-type]
    check_text("reason", words["reason"], GROUND_CHARS_MAX)
    check_text("section", words["section"], SECTION_CHARS_MAX)
    known, deliberate = words["known"], words["deliberate"]
    if known is not None and (not isinstance(known, dt.date) or isinstance(known, dt.datetime)):
        raise RequestError(f"known: expected a date, got {type(known).__name__}")
    if not isinstance(deliberate, bool):
        raise RequestError(f"deliberate: expected True or False, got {type(deliberate).__name__}")
    if institution == PORTAL:
        # It is by whom the citizens are told.
        raise RequestError(f"institution: expected another than {PORTAL}, got it")
    request_id = words["request_id"]
    if request_id is not None:
        check_text("request_id", request_id, REQUEST_ID_CHARS_MAX)
    case = Case(catalog.institution(institution), wrong, right, request_id="", **_only(words))  # type: ignore[arg-type]
    # The same report again is the same request, whether it was named or not.
    chosen = f"mislink-{case.digest.hex()[:32]}" if request_id is None else str(request_id)
    return case._replace(request_id=chosen)


def _only(words: dict[str, object]) -> dict[str, object]:
    return {name: value for name, value in words.items() if name != "request_id"}


class Mislinks:
    """Reports of an open hub."""

    def __init__(self, office: Office, numbers: PermitNumbers, sender: Sender, published: Callable[[], None]) -> None:
        self._office, self._numbers, self._sender, self._published = office, numbers, sender, published

    def __repr__(self) -> str:
        return "Mislinks()"

    def report(self, case: Case, dry_run: bool) -> MislinkReport:
        """See ``Hub.report_mislink``."""
        if case.known is not None and case.known > _known(case._replace(known=None), self._office.now()):
            raise RequestError("known: expected a day up to today, in Japan, got a later one")
        people = self._people(case)
        with self._office.store.snapshot() as snapshot:
            found = self._read(snapshot, case)
            if found is None:
                check_at_work(snapshot, self._office.catalog(), np.array([case.body.number], dtype=np.uint32))
        blast = self._blast(case, found)
        if dry_run:
            at = self._office.now() if found is None else found[1].at
            return self._result(case, blast, at, self._foresee(case, people), True)
        if found is None:
            found = self._record(case, people, blast)
        step, state = found
        # Also where the records were there: the process before may have died between commit and checkpoint.
        self._published()
        if step == RECORDED:
            state = self._notify(case, people, state, blast)
            self._published()
        return self._result(case, blast, state.at, Notified(state.portal, state.otherwise), False)

    # -- parts of the steps

    def _people(self, case: Case) -> list[int]:
        """The wrong citizen and, where it is known, the right one.

        Raises:
            RequestError: an alias is none of the institution's, or both are of one person.
        """
        with self._office.store.snapshot() as snapshot:
            aliases = [case.wrong] if case.right is None else [case.wrong, case.right]
            people = [find_behind(snapshot, case.body.number, alias) for alias in aliases]
        if len(set(people)) < len(people):
            raise RequestError("right_alias: expected one of another person than the wrong one, got one of the same")
        return people

    def _blast(self, case: Case, found: tuple[int, Reported] | None) -> BlastRadius:
        until = case.until
        if until is None and found is not None:
            # Given again later, it is of the same interval.
            until = dt.datetime.fromtimestamp(found[1].at + 1, dt.UTC)
        return find_blast(self._office, self._numbers, case.body.code, case.wrong, case.since, until)

    def _record(self, case: Case, people: list[int], blast: BlastRadius) -> tuple[int, Reported]:
        """A record about each citizen, its event, and that the report has begun: one transaction."""
        office = self._office
        with office.store.writer:
            with office.store.snapshot() as snapshot:
                found = self._read(snapshot, case)
            if found is not None:
                # Another thread was first.
                return found
            shapes = _shapes(blast)[: len(people)]
            with office.store.commit() as commit:
                now = max(commit.state.time, office.now())
                key = office.periods.make(period_of(now))
                rows = np.zeros(len(people), dtype=ROW)
                rows["person"], rows["decision"] = people, np.arange(len(people))
                rows["outcome"], rows["kind"] = Status.OK, Kind.MISLINK
                shared = [self._shared(case, shape) for shape in shapes]
                fields = make_fields(shared, [(now, 0)] * len(people), [(case.clerk, None)])
                rows, person_keys = order_rows(rows, key)
                laid = lay_records(fields, rows, person_keys, office.keys, key)
                marks = self._marks(commit, case, key, now, rows)
                first = append_records(commit, laid, now)
                put_new_marks(commit, marks, key.period, first)
                places = rows["decision"].tolist()
                records = [first + places.index(number) for number in range(len(people))]
                told = Told(
                    at=now, kind=EventKind.MISLINK_RECORDED, institution=case.body.code, clerk=case.clerk,
                    second_clerk=case.second_clerk, ground=case.reason,
                )  # fmt: skip
                for index in records:
                    office.tell(told, commit, key.period, index)
                state = Reported(case.digest, now, case.body.code, case.request_id, records, shapes)
                self._put(commit, case, key.period, RECORDED, state)
            office.wake(first, laid)
        return RECORDED, state

    def _shared(self, case: Case, shape: int) -> Shared:
        # An inquiry of its own each: two citizens who compare their histories find nothing that they share.
        return Shared(
            inquiry=os.urandom(8),
            requester=case.body.code,
            on_behalf_of=None,
            procedure=PROCEDURE,
            items=(),
            role="",
            section=case.section,
            reference_date=None,
            catalog=self._office.catalog().digest,
            rule=0,
            reason=0,
            legal_basis=LEGAL_BASIS,
            supervised=bytes(32),
            remark=write_text(case.body, case.section, shape),
        )

    def _marks(self, commit: Commit, case: Case, key: PeriodKey, now: int, rows: npt.NDArray[np.void]) -> list[NewMark]:
        """Whom the institution has flagged reads nothing of it in a history that others may be looking at."""
        office, code = self._office, case.body.code
        with office.store.snapshot() as snapshot:
            flagged = office.flagged.of(snapshot)
        persons = np.ascontiguousarray(rows["person"])
        marks = default_marks(flagged, key, now, persons, {REQUESTER: case.body.number}, lambda number: code)
        marked = {mark.position for mark in marks}
        hidden = np.flatnonzero(flagged.no_self(persons, case.body.number)).tolist()
        mark = Withhold(ground=HIDDEN_GROUND, until=review_day(now))
        more = [Marking(at, REQUESTER, code, case.clerk, mark) for at in hidden if at not in marked]
        return marks + prepare_marks(key, now, more)

    def _notify(self, case: Case, people: list[int], state: Reported, blast: BlastRadius) -> Reported:
        """A notice to each citizen, each a request of its own; then that it was done."""
        office = self._office
        told = []
        for number, shape in enumerate(state.shapes):
            alias = case.wrong if number == 0 else case.right
            assert alias is not None
            notice = Notice(
                institution=case.body.code,
                subject=SUBJECT,
                section=case.section,
                request_id=f"mislink-{case.key.hex()}-{number + 1}",
                operator=case.clerk,
            )
            text = write_text(case.body, case.section, shape)
            sent = self._sender.send(ByPerson(office.catalog(), notice, alias, text))
            told.append(int(sent.status[0]) == Status.OK)
        done = msgspec.structs.replace(state, portal=sum(told), otherwise=len(told) - sum(told))
        due = self._deadlines(case, state.at)
        grounds = {
            EventKind.MISLINK_NOTIFIED: f"portal: {done.portal}, by other means: {done.otherwise}",
            EventKind.MISLINK_DRAFTED: (
                f"records: {blast.records}, received: {len(blast.received)}, due: {due.preliminary_until}, {due.final}"
            ),
        }
        with office.store.writer:
            with office.store.snapshot() as snapshot:
                found = self._read(snapshot, case)
                period = office.read(snapshot, state.records[0]).period
            if found is not None and found[0] == NOTIFIED:
                return found[1]
            with office.store.commit() as commit:
                for kind, ground in grounds.items():
                    event = Told(
                        at=office.now(), kind=kind, institution=case.body.code, clerk=case.clerk,
                        second_clerk=case.second_clerk, ground=ground,
                    )  # fmt: skip
                    office.tell(event, commit, period, state.records[0])
                self._put(commit, case, period, NOTIFIED, done)
        return done

    def _foresee(self, case: Case, people: list[int]) -> Notified:
        """How many would be told through the portal."""
        office = self._office
        persons = np.array(people, dtype=np.uint32)
        portal = office.catalog().institution(PORTAL).number
        with office.store.snapshot() as snapshot:
            flagged = office.flagged.of(snapshot)
            told = (_at_portal(snapshot, portal, persons) == Status.OK) & ~flagged.no_self(persons, case.body.number)
            withheld = flagged.withheld(persons, case.body.number)
        if withheld is not None:
            told &= ~withheld
        return Notified(int(told.sum()), int((~told).sum()))

    def _deadlines(self, case: Case, at: int) -> Deadlines:
        return find_deadlines(_known(case, at), deliberate=case.deliberate)

    def _result(self, case: Case, blast: BlastRadius, at: int, notified: Notified, dry_run: bool) -> MislinkReport:
        return MislinkReport(
            institution=case.body.code,
            request_id=case.request_id,
            at=dt.datetime.fromtimestamp(at, dt.UTC),
            citizens=1 if case.right is None else 2,
            notified=notified.portal,
            otherwise=notified.otherwise,
            deadlines=self._deadlines(case, at),
            blast=blast,
            draft=write_draft(
                self._office.catalog(),
                blast,
                known=_known(case, at),
                deliberate=case.deliberate,
                reason=case.reason,
                right_known=case.right is not None,
                notified=notified,
            ),
            dry_run=dry_run,
        )

    # -- stored

    def _read(self, snapshot: Snapshot, case: Case) -> tuple[int, Reported] | None:
        """How a report stands, or None where it has not begun.

        Raises:
            RequestError: its id was used with something else. StorageError: a state is damaged or missing.
        """
        self._office.store.compare_sum(snapshot, NAME)
        value = snapshot.get(NAME, case.key)
        if value is None:
            return None
        _, step, state = parse_state(case.key, value, self._office.vault)
        if state is None or state.digest != case.digest:
            raise RequestError("request_id: expected what it was first used with, got something else")
        return step, state

    def _put(self, commit: Commit, case: Case, period: int, step: int, state: Reported) -> None:
        put_state(commit, self._office.vault, case.key, period, step, state)


def _shapes(blast: BlastRadius) -> list[int]:
    """What the wrong citizen is told, and the right one."""
    by_us, to_us = given_of_right(blast), given_of_wrong(blast)
    return [GIVEN * to_us | SHOWN * by_us, GIVEN * by_us | SHOWN * to_us]


def write_text(body: Institution, section: str, shape: int) -> str:
    """What a citizen reads."""
    sentences = [text for kind, text in _SENTENCES.items() if shape & kind] or [_NOTHING]
    return "".join((_OPENING.format(body=body.name), *sentences, _CLOSING.format(body=body.name, section=section)))


def _known(case: Case, at: int) -> dt.date:
    return case.known or dt.datetime.fromtimestamp(at, JAPAN).date()


def _spell(moment: dt.datetime | dt.date | None) -> str:
    return "" if moment is None else moment.isoformat()
