"""Consents that a person has withdrawn, or given again: what overrules what a requester says of them.

That somebody consented is their requester's statement, row by row (``consents=`` of an inquiry), and stands in the
record of what was asked. Here is what the person said since, in the portal: a withdrawal makes every later inquiry of
that institution under that procedure one without consent, whatever it states, until the person gives it again.
Database ``consents``, values sealed; numbers in keys big endian; *name*: first 16 bytes of SHA-256 of the procedure:

| key | value |
|---|---|
| "c", u32 requester, name, u32 person | u8: 1 withdrawn, 2 given |
| "p", u32 person, u32 requester, name | encrypted (``storage/confidential.py``, period 0): :class:`Inside` |

Each change is one transaction with its record. Persons are those of the time; who was merged since is looked up under
the number that they have now. Where two who are found to be one said different things, the withdrawal counts. What is
said while they are one stands under both numbers; where they are found to be two after all, a withdrawal of that time
is both's, and what was given again then is withdrawn: nobody can tell who gave it, and either may give it anew.
"""

from __future__ import annotations

import datetime as dt
import hashlib
from collections.abc import Callable, Iterable, Iterator
from typing import Any

import msgspec
import numpy as np

from hub.aliases import find_persons
from hub.catalog import Catalog, Consents
from hub.catalog.ordinance import CONSENT_KINDS, needs_consent
from hub.errors import RequestError, StorageError
from hub.limits import CONSENTS_PER_PERSON_MAX
from hub.messages import Kind, Status
from hub.persons.merges import current
from hub.protection.withholding import Office
from hub.records.append import append_records, lay_records, make_fields
from hub.records.bodies import ROW
from hub.requests.batch import Batch
from hub.singles.small import SmallRows
from hub.storage.confidential import HUB
from hub.storage.periods import period_of
from hub.storage.sealed import unseal
from hub.storage.snapshot import Commit, Snapshot
from hub.storage.workers import Workers
from hub.tlog.entry import Shared

NAME = "consents"
BY_REQUESTER, BY_PERSON = b"c", b"p"
WITHDRAWN, GIVEN = 1, 2
NAME_BYTES = 16
PORTAL = "portal"
BASIS = "番号法19条9号・地方税法22条"


class Consent(msgspec.Struct, frozen=True, kw_only=True):
    """What a person said of a consent, last.

    Attributes:
        institution: code of the requester. withdrawn: or given again. at: UTC.
    """

    institution: str
    procedure: str
    withdrawn: bool
    at: dt.datetime

    def __repr__(self) -> str:
        return f"Consent(withdrawn={self.withdrawn})"


class Inside(msgspec.Struct, array_like=True, frozen=True):
    """What is encrypted: the procedure, whether it is withdrawn, when (seconds since 1970), the portal's clerk."""

    procedure: str
    withdrawn: bool
    at: int
    clerk: str | None

    def __repr__(self) -> str:
        return "Inside()"


class ConsentRegister:
    """The register of an open hub."""

    def __init__(self, office: Office, workers: Workers, appended: Callable[[], None]) -> None:
        self._office, self._workers, self._appended = office, workers, appended

    def __repr__(self) -> str:
        return "ConsentRegister()"

    # -- the person

    def of(self, snapshot: Snapshot, persons: Iterable[int]) -> list[Consent]:
        """What a person, by all numbers that they have had, said last of each; newest first."""
        catalog = self._office.catalog()
        found: dict[tuple[int, bytes], Consent] = {}
        for person in persons:
            for key, inside in self._read(snapshot, person):
                number = int.from_bytes(key[5:9], "big")
                one = Consent(
                    institution=catalog.code_by_number(number), procedure=inside.procedure,
                    withdrawn=inside.withdrawn, at=dt.datetime.fromtimestamp(inside.at, dt.UTC),
                )  # fmt: skip
                before = found.get((number, key[9:]))
                # As inquiries are answered: one of them who withdrew it is enough.
                if before is None or (before.withdrawn, before.at) <= (one.withdrawn, one.at):
                    found[number, key[9:]] = one
        return sorted(found.values(), key=lambda one: one.at, reverse=True)

    def set(
        self, persons: list[int], person: int, institution: str, procedure: str, *, withdrawn: bool, clerk: str | None
    ) -> bool:
        """Note what a person says, with its record; False where it stands so already.

        Args:
            persons: all numbers that they have had.

        Raises:
            RequestError: the procedure needs nobody's consent, or the person has said too much.
        """
        office = self._office
        catalog = office.catalog()
        body = catalog.institution(institution)
        if not any(needs_consent(rule) for rule in catalog.rules_of(procedure)):
            raise RequestError("procedure: expected one that needs the person's consent, got another")
        with office.store.writer:
            with office.store.snapshot() as snapshot:
                mine = self.of(snapshot, persons)
            known = {(one.institution, one.procedure): one.withdrawn for one in mine}
            # Nothing said is as given: the requester states it.
            if known.get((institution, procedure), False) == withdrawn:
                return False
            if (institution, procedure) not in known and len(known) >= CONSENTS_PER_PERSON_MAX:
                raise RequestError(f"consents: expected at most {CONSENTS_PER_PERSON_MAX} of one person, got more")
            with office.store.commit() as commit:
                # Under every number: an inquiry finds them by the one that they have now, or had.
                for one in persons:
                    self._put(commit, one, body.number, Inside(procedure, withdrawn, office.now(), clerk))
                self._append(commit, person, procedure, f"{body.name}（{body.code}）", withdrawn, clerk)
        self._appended()
        return True

    def part(self, commit: Commit, snapshot: Snapshot, persons: Iterable[int], keep: int, gone: int) -> None:
        """Take back what was given again while two were one, in the transaction that parts them.

        Args:
            persons: all numbers that the two have had.
        """
        mine, theirs = (dict(self._by_place(snapshot, one)) for one in (keep, gone))
        # The same moment under both: it was said of both at once.
        given = [place for place, one in mine.items() if not one.withdrawn and theirs.get(place) == one]
        for person in persons:
            said = dict(self._by_place(snapshot, person))
            for place in given:
                if said.get(place) == mine[place]:
                    taken = msgspec.structs.replace(mine[place], withdrawn=True, at=self._office.now())
                    self._put(commit, person, place[0], taken)

    def _by_place(self, snapshot: Snapshot, person: int) -> Iterator[tuple[tuple[int, bytes], Inside]]:
        for key, inside in self._read(snapshot, person):
            yield (int.from_bytes(key[5:9], "big"), key[9:]), inside

    # -- inquiries

    def heed(self, batch: Batch) -> Batch:
        """A batch with the consents that stand: those that its requester states and nobody has withdrawn.

        Its digest stays that of what was stated, so that the same request may be sent again.
        """
        if batch.consents is None or not self._office.store.may_have(NAME):
            return batch
        left = self._stand(batch.requester, batch.inquiry.procedure, batch.aliases, batch.consents)
        return batch if left is batch.consents else msgspec.structs.replace(batch, consents=left)

    def heed_rows(self, rows: SmallRows) -> SmallRows:
        """The same of single inquiries as columns."""
        if rows.consents is None or not rows.consents.any() or not self._office.store.may_have(NAME):
            return rows
        consents = rows.consents
        for place, question in enumerate(rows.questions):
            at = np.flatnonzero((rows.which == place) & (consents != 0))
            if len(at):
                aliases = np.ascontiguousarray(rows.aliases[at])
                left = self._stand(question.requester, question.inquiry.procedure, aliases, True)
                if left is not True:
                    consents = consents.copy()
                    consents[at] = 0 if left is None else left
        return rows if consents is rows.consents else rows._replace(consents=consents)

    def _stand(self, requester: int, procedure: str, aliases: Any, consents: Consents) -> Consents:
        first = BY_REQUESTER + requester.to_bytes(4, "big") + name_of(procedure)
        with self._office.store.snapshot() as snapshot:
            found = snapshot.items(NAME, first, first + b"\xff" * 5)
            gone = [int.from_bytes(key[-4:], "big") for key, value in found if _state(key, value) == WITHDRAWN]
            if not gone:
                return consents
            said = np.full(len(aliases), True) if consents is True else np.array(consents, dtype=np.bool_)
            at = np.flatnonzero(said)
            persons, _, _ = find_persons(snapshot, requester, np.ascontiguousarray(aliases[at]), self._workers)
            withdrawn = current(snapshot, np.array(gone, dtype=np.uint32))
            hit = np.isin(current(snapshot, persons), withdrawn)
        if not hit.any():
            return consents
        said[at[hit]] = False
        return said if said.any() else None

    # -- stored

    def _read(self, snapshot: Snapshot, person: int) -> list[tuple[bytes, Inside]]:
        first = BY_PERSON + person.to_bytes(4, "big")
        below = BY_PERSON + (person + 1).to_bytes(4, "big")
        return [(key, self.parse(key, value)) for key, value in snapshot.items(NAME, first, below)]

    def parse(self, key: bytes, value: Any) -> Inside:
        """A stored line by person.

        Raises:
            StorageError: it is damaged.
        """
        inside = self._office.vault.decrypt(NAME, HUB, unseal(NAME, key, value), Inside)
        if inside is None or len(key) != 9 + NAME_BYTES or key[9:] != name_of(inside.procedure):
            raise StorageError(f"{NAME}: expected what a person said, got something else")
        return inside

    def _put(self, commit: Commit, person: int, requester: int, inside: Inside) -> None:
        name, number, who = name_of(inside.procedure), requester.to_bytes(4, "big"), person.to_bytes(4, "big")
        state = bytes([WITHDRAWN if inside.withdrawn else GIVEN])
        commit.put_sealed(NAME, BY_REQUESTER + number + name + who, state)
        commit.put_sealed(NAME, BY_PERSON + who + number + name, self._office.vault.encrypt(NAME, HUB, inside))

    def _append(
        self, commit: Commit, person: int, procedure: str, to: str, withdrawn: bool, clerk: str | None
    ) -> None:
        """Put a record about the person into the transaction; between them and the portal, as of proxies."""
        office = self._office
        now = max(commit.state.time, office.now())
        key = office.periods.make(period_of(now))
        shared = Shared(
            inquiry=name_of(procedure)[:8], requester=PORTAL, on_behalf_of=None, procedure=procedure,
            items=CONSENT_KINDS, role="", section="", reference_date=None, catalog=office.catalog().digest, rule=0,
            reason=0, legal_basis=BASIS, supervised=bytes(32), remark=to,
        )  # fmt: skip
        rows = np.zeros(1, dtype=ROW)
        kind = Kind.CONSENT_WITHDRAWN if withdrawn else Kind.CONSENT_GIVEN
        rows["person"], rows["kind"], rows["outcome"] = person, kind, Status.OK
        fields = make_fields([shared], [(now, 0)], [(clerk, None)])
        append_records(commit, lay_records(fields, rows, key.person_keys(rows["person"].copy()), office.keys, key), now)


def name_of(procedure: str) -> bytes:
    """A procedure in keys."""
    return hashlib.sha256(procedure.encode("utf-8", "surrogatepass")).digest()[:NAME_BYTES]


def _state(key: bytes, value: Any) -> int:
    body = unseal(NAME, key, value)
    if len(body) != 1 or body[0] not in (WITHDRAWN, GIVEN):
        raise StorageError(f"{NAME}: expected whether it is withdrawn, got something else")
    return int(body[0])


def check_consents(snapshot: Snapshot, office: Office) -> None:
    """Check that both entries of each say the same, of persons that there are.

    Raises:
        StorageError: the first thing that does not fit is named.
    """
    register = ConsentRegister(office, Workers(1), lambda: None)
    by_person: dict[bytes, int] = {}
    by_requester: dict[bytes, int] = {}
    for key, value in snapshot.items(NAME, b""):
        if key[:1] == BY_PERSON:
            inside = register.parse(key, value)
            by_person[key[5:] + key[1:5]] = WITHDRAWN if inside.withdrawn else GIVEN
        elif key[:1] == BY_REQUESTER and len(key) == 9 + NAME_BYTES:
            if int.from_bytes(key[-4:], "big") >= snapshot.state.persons:
                raise StorageError(f"{NAME}: expected persons that there are, got others")
            by_requester[key[1:]] = _state(key, value)
        else:
            raise StorageError(f"{NAME}: expected entries by requester and by person, got another")
    if by_person != by_requester:
        raise StorageError(f"{NAME}: expected the same by requester as by person, got others")


def consent_procedures(catalog: Catalog, procedures: Iterable[str]) -> list[str]:
    """Those of some procedures that need a person's consent, by the catalog in force."""
    return [one for one in procedures if any(needs_consent(rule) for rule in catalog.rules_of(one))]
