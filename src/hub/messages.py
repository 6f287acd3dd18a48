"""The values that go in and out of the hub: inquiries, statuses, reasons, receipts, answers, records.

Numbers of enums are stored and sent; they are never reused. A result's ``repr`` shows counts only.
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Callable, Sequence
from enum import IntEnum, IntFlag
from typing import Any

import msgspec
import numpy as np
import numpy.typing as npt

from hub.errors import RequestError

Aliases = npt.NDArray[np.uint8]
"""uint8[N, 16], C-contiguous."""


class Status(IntEnum):
    """What became of one row of an inquiry. OK = 0 = permitted."""

    OK = 0
    UNKNOWN_ALIAS = 1
    REVOKED = 2
    NO_ALIAS_AT_PROVIDER = 3
    DENIED = 4
    DENIED_ASSESSMENT = 5
    DENIED_CONSENT = 6
    DENIED_LIMITED = 7
    PENDING = 8
    PROVIDED = 9
    EMPTY = 10
    NO_RECORD = 11
    REFUSED = 12
    LAPSED = 13
    SUSPENDED = 14
    MULTIPLE = 15
    HELD = 16
    """Not asked: so many bodies were asked about the person that a second clerk has to give a reason (``release``)."""
    MANUAL = 17
    """The provider's side only: everybody else reads PENDING."""


class Reason(IntEnum):
    """Why a row was denied: what did not fit of the nearest rule."""

    NONE = 0
    REQUESTER = 1
    """No class of the requester, and no delegation to it, is named by the procedure's row."""
    PROVIDER = 2
    """The provider belongs to no class that the rule names for the item."""
    ITEM = 3
    """The procedure does not list the item."""
    ROLE = 4
    """The item is not listed for this role of the person asked about."""
    NOT_YET = 5
    """The rule comes into force later than the hub received the inquiry."""
    EXPIRED = 6
    """The rule was no longer in force when the hub received the inquiry."""
    REQUESTER_ASSESSMENT = 7
    """The requester has published no assessment (Art. 28 of the Act) for the row."""
    PROVIDER_ASSESSMENT = 8
    """The provider has published no assessment (Art. 28 of the Act) for the row."""
    SAME_INSTITUTION = 9
    """Use inside one body is not information linkage."""
    NARROWED = 10
    """The procedure is open only to some of the requesters that its row names (Art. 60 by paragraph, Art. 100)."""
    CONSENT = 11
    """An ordinance's affair gets local tax only with the person's consent, and the row states none."""
    LIMITED = 12
    """The provider limits by its own ordinance what it gives to affairs of ordinances."""
    NOT_OWN = 24
    """Only a rule of the operator's own (basis ``own``) lets an institution push; the law in force has none."""
    IDENTITY_IN_DOUBT = 20
    """Refused by the provider: it is not sure that the alias stands for the right person."""
    UNDER_CORRECTION = 21
    """Refused by the provider: the data are being corrected."""
    LINKAGE_SUSPENDED = 22
    """Refused by the provider: it has suspended the linkage of this person."""
    NOT_LOADED = 23
    """Of NO_RECORD: the provider's data are not loaded yet; without it there is no such person."""


REFUSALS = (Reason.IDENTITY_IN_DOUBT, Reason.UNDER_CORRECTION, Reason.LINKAGE_SUSPENDED)
"""The closed list of reasons for which a provider may refuse (番号法22条1項 obliges it to answer otherwise)."""

OWN_DATA = "self/"
"""Procedures by which a person asks for their own data (自己情報), themselves or through an agent."""


class Acquisition(IntEnum):
    """What became of one row of an acquisition."""

    NONE = 0
    CREATED = 1
    ALREADY = 2
    WAITING = 3
    HELD = 4


class Identity(IntEnum):
    """What an identifier from outside is to a body that relies on it."""

    VALID = 0
    UNKNOWN = 1
    """Nobody registered it in this namespace."""
    REVOKED = 2
    REPLACED = 3
    """It was renewed: another stands in its place."""
    NO_ALIAS = 4
    """It is valid, and the body has no alias of its person."""


class Flag(IntFlag):
    """Marks of a person at one institution."""

    NONE = 0
    MANUAL = 1
    """自動応答不可: a clerk decides."""
    WITHHELD = 2
    """不開示: the default mark of this person's new records."""
    NO_SELF = 4
    """自己情報提供不可: own data and agents find nothing."""
    SUSPENDED = 8
    """The institution has stopped the linkage of this person, as provider (``Hub.suspend``)."""


class Kind(IntEnum):
    """What a record is about."""

    INQUIRY = 1
    CORRECTION_ASKED = 2
    CORRECTION = 3
    CONFIRMATION = 4
    ERASURE = 5
    PROVISION = 6
    """What a provider answered to the permit that the linked record left: PROVIDED, EMPTY, NO_RECORD or REFUSED."""
    LAPSE = 7
    """The linked record's permit was not answered in its time."""
    RELEASE = 8
    """A second clerk released the linked record's row, which was HELD; it leaves a permit like an inquiry."""
    PUSH = 9
    """A provision without an inquiry. Of this kind and the next three the public record's provider is who gives, its
    requester who receives; stored are the sender in the shared fields and the receiver in the row."""
    UPDATE = 10
    """A correction of what the linked record provided, sent to who received it."""
    NOTICE = 11
    """A notice (お知らせ) of an institution to the person's portal."""
    TAKEN = 12
    """What the linked record sent was taken by its receiver (PROVIDED), or not in its time (LAPSED)."""
    MERGED = 13
    """The person and another were found to be one human being."""
    SPLIT = 14
    """The person and another, who were merged, were found to be two."""
    DIED = 15
    """The person's death was told, corrected (then it follows the record before) or taken back (outcome EMPTY)."""
    PROXY_VIEW = 16
    """A proxy read this person's history; the remark names the proxy as the person does."""
    PROXY_GRANTED = 17
    """The person has a proxy (代理人), or other terms for one."""
    PROXY_REVOKED = 18
    LINK_CONFIRMED = 19
    """A second clerk confirmed that an institution's file is this person's, though attributes differed."""
    LINK_REPLACED = 20
    """An institution replaced a wrong link: this person's alias stood on another's file, or theirs had another's."""
    MISLINK = 21
    """An institution's link to this person was wrong; the remark is what the person was told."""
    CONSENT_WITHDRAWN = 22
    """The person withdrew a consent (同意) in the portal; the remark names the requester."""
    CONSENT_GIVEN = 23
    """The person gave it again."""
    COUNTER_VIEW = 24
    """Two clerks of the requester printed the person's history at a counter; the remark is how they knew them."""


class Differs(IntFlag):
    """Which of the four basic attributes (基本4情報) differ between an institution's file and the register."""

    NONE = 0
    NAME = 1
    """氏名: where the kanji differ a reading (カナ) that is the same on both sides makes it one name."""
    ADDRESS = 2
    """住所"""
    SEX = 4
    """性別"""
    BIRTH = 8
    """生年月日"""


_GIVEN = frozenset(map(int, (Kind.PUSH, Kind.UPDATE, Kind.NOTICE, Kind.TAKEN)))


def parties_of(kind: int, provider: str, requester: str) -> tuple[str, str]:
    """(who gives, who receives) of a record, of what is stored as its provider and its requester."""
    return (requester, provider) if kind in _GIVEN else (provider, requester)


class Inquiry(msgspec.Struct, frozen=True, kw_only=True):
    """One question about many persons: the fields that all its rows share.

    Attributes:
        requester: institution code of the body that asks.
        procedure: ``19-8/<row>/<article>.<number>``.
        items: kinds (地方税) or details (市町村民税); all of them are asked together or not at all.
        role: the Order's exact word for the person asked about; None only if all items share one sole role.
        section: the section in charge, shown to the citizen.
        request_id: the requester's own id; the same id and rows give the same answer, once recorded.
        operator: the clerk or platform; kept for supervisors, never shown to the citizen.
        reference_date: selects data (the municipality of 1 January), never law.
    """

    requester: str
    procedure: str
    items: Sequence[str]
    section: str
    request_id: str
    role: str | None = None
    operator: str | None = None
    reference_date: dt.date | None = None


class Withhold(msgspec.Struct, frozen=True, kw_only=True):
    """The requester's mark (不開示) of one row: its record is shown in no history until the mark is lifted.

    Attributes:
        ground: why, for auditors. until: the day on which it is to be reviewed; it does not end by itself.
    """

    ground: str
    until: dt.date

    def __repr__(self) -> str:
        return "Withhold()"


class Notice(msgspec.Struct, frozen=True, kw_only=True):
    """A notice (お知らせ) to many persons: the fields that all its rows share.

    Attributes:
        institution: code of the body that sends it; every person is named by its own alias.
        subject: what it is about; stands in the record, and so in the history for seven years.
        section, request_id, operator: as of :class:`Inquiry`.
    """

    institution: str
    subject: str
    section: str
    request_id: str
    operator: str | None = None


class Push(msgspec.Struct, frozen=True, kw_only=True):
    """A provision without an inquiry, about many persons: the fields that all its rows share.

    Attributes:
        institution: code of the body that sends it; every person is named by its own alias.
        procedure, items, role: as of :class:`Inquiry`, of a rule of the operator's own (basis ``own``) by which the
            receiver might ask the sender.
        section, request_id: as of :class:`Inquiry`.
        event: what happened (出生, 死亡, 転入 ...); stands in the record.
        operator: the clerk or platform; kept for supervisors.
        confirmed: the operator has looked at every row: without it nothing is sent about persons of whom a clerk must
            decide (自動応答不可).
    """

    institution: str
    procedure: str
    items: Sequence[str]
    section: str
    request_id: str
    role: str | None = None
    event: str | None = None
    operator: str | None = None
    confirmed: bool = False


class Update(msgspec.Struct, frozen=True, kw_only=True):
    """A correction of what an institution has provided or pushed: the fields that all its rows share.

    Attributes:
        institution: code of the body that provided, and corrects.
        items: where rows are aliases: whoever received one of these, kinds or details, gets the correction.
        reason: why, for the receivers and the citizen. section, request_id: as of :class:`Inquiry`.
        operator, confirmed: as of :class:`Push`.
    """

    institution: str
    section: str
    request_id: str
    items: Sequence[str] | None = None
    reason: str | None = None
    operator: str | None = None
    confirmed: bool = False


class Receipt(msgspec.Struct, frozen=True, kw_only=True):
    """The hub's word that every row is durable. It holds no range of record numbers.

    Attributes:
        request_id: the requester's own; empty where a call has none.
        rows: rows of the batch, recorded and durable.
        received_at: seconds since 1970 at which the hub received the batch, by its own clock.
    """

    request_id: str = ""
    rows: int
    received_at: int


class Sent(Receipt, frozen=True, kw_only=True, eq=False):
    """The receipt of a push, an update or a notice, with how each row stands for who sent it.

    Attributes:
        status: uint8[N] of :class:`Status`, in the caller's order; OK: recorded, and left for its receiver. Of a push
            or update nothing in it tells whether the receiver knows the person.
        reason: uint8[N] of :class:`Reason`, of what was denied.
    """

    status: npt.NDArray[np.uint8]
    reason: npt.NDArray[np.uint8]

    def __repr__(self) -> str:
        return f"Sent(rows={self.rows}, {count_names(self.status, Status)})"


def count_names(values: npt.NDArray[np.uint8], names: type[IntEnum]) -> dict[str, int]:
    """Count a uint8 column by the enum's names, most frequent numbers not sorted; zero counts left out."""
    counts = np.bincount(values, minlength=1)
    return {names(int(i)).name: int(counts[i]) for i in np.flatnonzero(counts)}


class _Columns:
    """Equal-length result columns whose ``repr`` gives counts only."""

    __slots__ = ()

    def __len__(self) -> int:
        return len(self.status)  # type: ignore[attr-defined]

    def __reduce__(self) -> Any:
        raise TypeError(f"{type(self).__name__} is not pickled: it holds aliases or answers")


class Acquired(_Columns):
    """Aliases of an acquisition, in the caller's order.

    Attributes:
        aliases: uint8[N, 16]; zeros where status is WAITING, NONE or HELD.
        status: uint8[N] of :class:`Acquisition`.
        differs: uint8[N] of :class:`Differs`, why a row is HELD; 0 of the others.
    """

    __slots__ = ("aliases", "differs", "status")

    def __init__(
        self, aliases: Aliases, status: npt.NDArray[np.uint8], differs: npt.NDArray[np.uint8] | None = None
    ) -> None:
        self.aliases = aliases
        self.status = status
        self.differs = np.zeros(len(status), np.uint8) if differs is None else differs

    def __repr__(self) -> str:
        return f"Acquired(rows={len(self)}, {count_names(self.status, Acquisition)})"


class Identified(_Columns):
    """Whom identifiers name, in the caller's order.

    Attributes:
        aliases: uint8[N, 16], the asking body's own; zeros unless status is VALID, or REPLACED and it may follow.
        status: uint8[N] of :class:`Identity`.
    """

    __slots__ = ("aliases", "status")

    def __init__(self, aliases: Aliases, status: npt.NDArray[np.uint8]) -> None:
        self.aliases = aliases
        self.status = status

    def __repr__(self) -> str:
        return f"Identified(rows={len(self)}, {count_names(self.status, Identity)})"


class Uses(msgspec.Struct, frozen=True, kw_only=True):
    """How many identifiers of a namespace a body asked by on a day.

    Attributes:
        institution: its code. rows: by the name of an :class:`Identity`.
    """

    institution: str
    namespace: str
    rows: dict[str, int]


class Claims:
    """What institutions claimed of the persons whom their tickets are for, sealed to the register body's key.

    Attributes:
        tickets: uint8[N, 16]. sealed: N times bytes, or None where nothing waits to be compared.
        cursor: hand it to the next call to go on; None at the end.
    """

    __slots__ = ("cursor", "sealed", "tickets")

    def __init__(self, tickets: Aliases, sealed: list[bytes | None], cursor: str | None = None) -> None:
        self.tickets = tickets
        self.sealed = sealed
        self.cursor = cursor

    def __len__(self) -> int:
        return len(self.sealed)

    def __repr__(self) -> str:
        return f"Claims(rows={len(self)})"

    def __reduce__(self) -> Any:
        raise TypeError("Claims is not pickled: it holds tickets")


class Answer(_Columns):
    """What became of each row of an inquiry, in the caller's order.

    Attributes:
        status: uint8[N] of :class:`Status`.
        rule: uint32[N], the rule that allowed the row, or for a refusal the nearest one; 0 = none.
        reason: uint8[N] of :class:`Reason`.
        receipt: given when every row is durable.
        holders: row -> codes of the institutions of the class asked that hold the person and may be asked, of each
            row whose status is MULTIPLE: nobody was asked.
    """

    __slots__ = ("holders", "reason", "receipt", "rule", "status")

    def __init__(
        self,
        status: npt.NDArray[np.uint8],
        rule: npt.NDArray[np.uint32],
        reason: npt.NDArray[np.uint8],
        receipt: Receipt,
        holders: dict[int, tuple[str, ...]] | None = None,
    ) -> None:
        self.status = status
        self.rule = rule
        self.reason = reason
        self.receipt = receipt
        self.holders = {} if holders is None else holders

    def __repr__(self) -> str:
        return f"Answer(rows={len(self)}, {count_names(self.status, Status)})"


class Holders(msgspec.Struct, frozen=True, kw_only=True):
    """What became of the facts that the register body pushed.

    Attributes:
        taken: rows that stand now, or stood before.
        unknown: rows of persons whom the hub does not know: nobody has an alias of them.
        full: rows of persons of whom there are ``limits.HOLDER_FACTS_MAX`` other facts.
    """

    taken: int
    unknown: int
    full: int


class Wanted(msgspec.Struct, frozen=True, kw_only=True):
    """An alias that a provider is to acquire, because it was asked about a person whom it does not know.

    Attributes:
        provider: institution code. code: resident record code (住民票コード), 11 digits.
    """

    provider: str
    code: str

    def __repr__(self) -> str:
        return "Wanted()"


class PermitInquiry(msgspec.Struct, frozen=True, kw_only=True):
    """What a provider is asked: an inquiry without what would tell whose row is whose (no request id, no clerk).

    Attributes:
        requester, requester_name: who asks. on_behalf_of: the principal's class under a delegation.
        procedure, items, role, section, reference_date: as of :class:`Inquiry`; items are details.
        legal_basis: the article, for people to read.
    """

    requester: str
    requester_name: str
    on_behalf_of: str | None
    procedure: str
    items: tuple[str, ...]
    role: str
    section: str
    reference_date: dt.date | None
    legal_basis: str


MANY = 0xFFFF
"""``Permits.asked`` where it cannot be told: to be taken as a great many."""


class Permits:
    """Permits of one inquiry that wait for a provider's answer, in an order of the provider's own.

    Attributes:
        inquiry: :class:`PermitInquiry`.
        aliases: uint8[N, 16], the provider's own. permit: uint64[N], by which it answers.
        manual: bool[N], a clerk must decide (自動応答不可, or answered MANUAL before); asked: uint16[N], of such a row
            how many bodies this requester has asked about the person lately; MANY where the person has too many records
            to tell; 0 of the others.
        valid_until: seconds since 1970 at which they lapse.
        cursor: hand the last one's to the next call as ``after`` to go on.
    """

    __slots__ = ("aliases", "asked", "cursor", "inquiry", "manual", "permit", "valid_until")

    def __init__(
        self,
        inquiry: PermitInquiry,
        aliases: Aliases,
        permit: npt.NDArray[np.uint64],
        manual: npt.NDArray[np.bool_],
        asked: npt.NDArray[np.uint16],
        valid_until: int,
        cursor: str,
    ) -> None:
        self.inquiry = inquiry
        self.aliases = aliases
        self.permit = permit
        self.manual = manual
        self.asked = asked
        self.valid_until = valid_until
        self.cursor = cursor

    def __len__(self) -> int:
        return len(self.permit)

    def __repr__(self) -> str:
        return f"Permits(rows={len(self)})"

    def __reduce__(self) -> Any:
        raise TypeError("Permits is not pickled: it holds aliases")


class Arrived(msgspec.Struct, frozen=True, kw_only=True):
    """What arrivals have in common: a push or an update without what would tell whose row is whose.

    Attributes:
        kind: PUSH or UPDATE. sender, sender_name: who gives. on_behalf_of: for whom its receiver acts by delegation.
        procedure, items, role, section, reference_date, legal_basis: as recorded. event: of an update, its reason.
    """

    kind: Kind
    sender: str
    sender_name: str
    on_behalf_of: str | None
    procedure: str
    items: tuple[str, ...]
    role: str
    section: str
    reference_date: dt.date | None
    event: str | None
    legal_basis: str


class Arrivals:
    """What was sent to an institution and waits to be taken, in an order of its own.

    Attributes:
        about: :class:`Arrived`.
        aliases: uint8[N, 16], the receiver's own. number: uint64[N], by which it is taken.
        payloads: N times bytes or None. corrects: N times None, or of an update the receiver's handle
        (``records/handles.py``)
            of the record that it corrects the data of.
        valid_until: seconds since 1970 at which they lapse.
        cursor: hand the last one's to the next call as ``after`` to go on.
    """

    __slots__ = ("about", "aliases", "corrects", "cursor", "number", "payloads", "valid_until")

    def __init__(
        self,
        about: Arrived,
        aliases: Aliases,
        number: npt.NDArray[np.uint64],
        payloads: list[bytes | None],
        corrects: list[bytes | None],
        valid_until: int,
        cursor: str,
    ) -> None:
        self.about = about
        self.aliases = aliases
        self.number = number
        self.payloads = payloads
        self.corrects = corrects
        self.valid_until = valid_until
        self.cursor = cursor

    def __len__(self) -> int:
        return len(self.number)

    def __repr__(self) -> str:
        return f"Arrivals(rows={len(self)})"

    def __reduce__(self) -> Any:
        raise TypeError("Arrivals is not pickled: it holds aliases")


class Answers(_Columns):
    """How the rows of a request stand, in the requester's order.

    Attributes:
        status: uint8[N] of :class:`Status`; PENDING while the provider has not answered.
        reason: uint8[N] of :class:`Reason`: of a refusal the provider's, of a denial the law's.
        payloads: N times bytes or None. complete: whether no row is PENDING or HELD any more.
    """

    __slots__ = ("complete", "payloads", "reason", "status")

    def __init__(
        self,
        status: npt.NDArray[np.uint8],
        reason: npt.NDArray[np.uint8],
        payloads: list[bytes | None],
        complete: bool,
    ) -> None:
        self.status = status
        self.reason = reason
        self.payloads = payloads
        self.complete = complete

    def __repr__(self) -> str:
        return f"Answers(rows={len(self)}, {count_names(self.status, Status)}, complete={self.complete})"


class Resolved(_Columns):
    """Providers' aliases of a requester's aliases; never leaves the hub but for bench and tests.

    Attributes:
        aliases: uint8[N, 16]; zeros where status is not OK.
        status: uint8[N] of :class:`Status`.
    """

    __slots__ = ("aliases", "status")

    def __init__(self, aliases: Aliases, status: npt.NDArray[np.uint8]) -> None:
        self.aliases = aliases
        self.status = status

    def __repr__(self) -> str:
        return f"Resolved(rows={len(self)}, {count_names(self.status, Status)})"


class Record(msgspec.Struct, frozen=True, kw_only=True):
    """One line of 情報提供等記録 as the citizen reads it: who asked whom for what, when, on what basis.

    Attributes:
        kind: :class:`Kind`.
        requested_at, provided_at: UTC, whole seconds; provided_at is None while nothing was provided.
        requester, provider: institution codes; on_behalf_of: the principal's class under a delegation. The provider is
            empty where a class was named and nobody of it was asked.
        procedure: its id; items: details; role, section: as stated by the requester.
        legal_basis: the article, for people to read.
        outcome: :class:`Status` as everybody but the provider sees it.
        inquiry: an opaque name of the inquiry, the same in every record of it; not the request id.
        index: position in the log, counted from 0; only the portal sees it.
        link: index of the record that this one follows: what it asks to correct, corrects or confirms.
        remark: what a person wrote: why a record is to be corrected, a decision's reasons and how to appeal.
        requester_name, provider_name: what the two were called when the record was made.
    """

    kind: Kind
    requested_at: dt.datetime
    provided_at: dt.datetime | None
    requester: str
    on_behalf_of: str | None
    provider: str
    procedure: str
    items: tuple[str, ...]
    role: str
    section: str
    legal_basis: str
    outcome: Status
    inquiry: str
    index: int
    link: int | None = None
    remark: str | None = None
    requester_name: str = ""
    provider_name: str = ""


class History:
    """A citizen's records, newest first.

    Attributes:
        records: list of :class:`Record`.
        cursor: hand it to the next call to go on; None at the end.
        disclosure: says to this hub whose history was shown when; a correction is asked for with it.
    """

    __slots__ = ("_proofs", "_prove", "cursor", "disclosure", "records")

    def __init__(
        self, records: list[Record], cursor: str | None, prove: Callable[[], list[Any]], disclosure: str = ""
    ) -> None:
        self.records = records
        self.cursor = cursor
        self.disclosure = disclosure
        self._prove = prove
        self._proofs: list[Any] | None = None

    def proof(self, i: int) -> Any:
        """The proof that record ``i`` of this page is in the log: :class:`hub.Proof`.

        All proofs of the page are made at the first call, against the checkpoint of that moment.

        Raises:
            RequestError: the page has no such record.
            StorageError: what is stored does not lead to the signed root; no proof is given.
        """
        if isinstance(i, bool) or not isinstance(i, int) or not 0 <= i < len(self.records):
            raise RequestError(f"proof: expected one of {len(self.records)} records, counted from 0")
        if self._proofs is None:
            self._proofs = self._prove()
        return self._proofs[i]

    def __len__(self) -> int:
        return len(self.records)

    def __repr__(self) -> str:
        return f"History(records={len(self.records)}, more={self.cursor is not None})"


class CounterHistory(History):
    """A page that is printed at a counter: its records are counted from 1, and it has neither proofs nor a cursor.

    Attributes:
        codes: of each record its paper code, 32 hex digits: who has the record's proof finds it again by it.
    """

    __slots__ = ("codes",)

    def __init__(self, records: list[Record], codes: list[str]) -> None:
        super().__init__(records, None, list)
        self.codes = codes

    def __repr__(self) -> str:
        return f"CounterHistory(records={len(self.records)})"


class Notices(History):
    """A citizen's notices, newest first: a history of records of kind NOTICE, with their texts.

    Attributes:
        texts: of each record its text, or None where it is not kept any more.
    """

    __slots__ = ("texts",)

    texts: list[str | None]

    @classmethod
    def of(cls, history: History, texts: list[str | None]) -> Notices:
        """A page of notices, of the page of their records."""
        found = cls(history.records, history.cursor, history._prove, history.disclosure)
        found.texts = texts
        return found

    def __repr__(self) -> str:
        return f"Notices(records={len(self.records)}, more={self.cursor is not None})"
