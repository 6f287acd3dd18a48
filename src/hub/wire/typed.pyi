"""The methods of a hub on another machine, with their types; what each does stands with :class:`hub.Hub`.

Written by tools/write_wire_types.py from the embedded hub's signatures; read by type checkers and editors only.
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from hub.citizens.consents import Consent
from hub.citizens.corrections import CorrectionNotice
from hub.citizens.proxies import Principal, Proxy
from hub.citizens.proxystate import ProxyKind
from hub.hub import Consents
from hub.messages import (
    Acquired,
    Aliases,
    Answer,
    Answers,
    Arrivals,
    Claims,
    CounterHistory,
    Flag,
    History,
    Holders,
    Identified,
    Inquiry,
    Notice,
    Notices,
    Permits,
    Push,
    Receipt,
    Record,
    Sent,
    Update,
    Wanted,
    Withhold,
)
from hub.methods.copies import AnsweredCopy, AskedCopy
from hub.methods.requests import RequestStatus
from hub.mislinks.blast import BlastRadius
from hub.mislinks.report import MislinkReport
from hub.persons.dying import Closed, Deaths
from hub.persons.merging import Undecided
from hub.records.handles import PartyRecord
from hub.requests.state import File

class RemoteMethods:
    """Of :func:`hub.connect`."""

    def inquire(
        self, inquiry: Inquiry, aliases: Any, providers: Any, *, cases: Sequence[str | None] | None = None,
        withhold: Sequence[Withhold | None] | None = None, consents: Consents = None,
        progress: Callable[[int], None] | None = None, timeout: float | None = None,
    ) -> Answer: ...

    def status(self, requester: str, request_id: str, *, timeout: float | None = None) -> RequestStatus: ...

    def begin_file(
        self, requester: str, request_id: str, digest: bytes, rows_max: int, *, timeout: float | None = None,
    ) -> None: ...

    def end_file(self, requester: str, request_id: str, rows: int, *, timeout: float | None = None) -> None: ...

    def find_file(self, requester: str, request_id: str, *, timeout: float | None = None) -> File | None: ...

    def collect(
        self, institution: str, *, limit: int = ..., after: str | None = None, manual: bool | None = None,
        timeout: float | None = None,
    ) -> list[Permits]: ...

    def provide(
        self, institution: str, permits: Any, outcomes: Any, payloads: Any = None, *, reasons: Any = None,
        clerk: str | None = None, timeout: float | None = None,
    ) -> Receipt: ...

    def answers(
        self, requester: str, request_id: str, *, first: int = ..., limit: int | None = None,
        timeout: float | None = None,
    ) -> Answers: ...

    def fetched(self, requester: str, request_id: str, *, timeout: float | None = None) -> int: ...

    def release(
        self, handle: Any, reason: str, *, clerk: str, requester: str | None = None, timeout: float | None = None,
    ) -> bytes: ...

    def register_key(
        self, institution: str, public_key: bytes | None, clerk: str | None = None, *, timeout: float | None = None,
    ) -> None: ...

    def payload_key(self, institution: str, *, timeout: float | None = None) -> bytes | None: ...

    def push(
        self, push: Push, aliases: Any, receivers: Any, payloads: Any = None, *,
        progress: Callable[[int], None] | None = None, timeout: float | None = None,
    ) -> Sent: ...

    def update(self, update: Update, permits: Any, payloads: Any, *, timeout: float | None = None) -> Sent: ...

    def arrived(
        self, institution: str, *, limit: int = ..., after: str | None = None, timeout: float | None = None,
    ) -> list[Arrivals]: ...

    def taken(self, institution: str, numbers: Any, *, timeout: float | None = None) -> Receipt: ...

    def notify(
        self, notice: Notice, aliases: Any, texts: Any, *, progress: Callable[[int], None] | None = None,
        timeout: float | None = None,
    ) -> Sent: ...

    def tickets(self, institution: str, n: int, *, timeout: float | None = None) -> Aliases: ...

    def deliver(
        self, institution: str, tickets: Any, codes: Any, differs: Any = None, *, timeout: float | None = None,
    ) -> Receipt: ...

    def acquired(self, institution: str, tickets: Any, *, timeout: float | None = None) -> Acquired: ...

    def close_tickets(self, institution: str, tickets: Any, *, timeout: float | None = None) -> int: ...

    def reissue(self, institution: str, aliases: Any, *, timeout: float | None = None) -> Acquired: ...

    def revoke(self, institution: str, aliases: Any, *, timeout: float | None = None) -> int: ...

    def claim(
        self, institution: str, tickets: Any, sealed: list[bytes], *, clerk: str, timeout: float | None = None,
    ) -> Receipt: ...

    def claims(
        self, institution: str, tickets: Any = None, *, limit: int = ..., cursor: str | None = None,
        timeout: float | None = None,
    ) -> Claims: ...

    def confirm_links(
        self, institution: str, tickets: Any, *, clerk: str, reason: str, timeout: float | None = None,
    ) -> Acquired: ...

    def replace_links(
        self, institution: str, tickets: Any, aliases: Any, *, clerk: str, reason: str, keep_old: Any = False,
        timeout: float | None = None,
    ) -> Acquired: ...

    def blast_radius(
        self, institution: str, alias: Any, *, since: dt.datetime | dt.date | None = None,
        until: dt.datetime | dt.date | None = None, timeout: float | None = None,
    ) -> BlastRadius: ...

    def report_mislink(
        self, institution: str, wrong_alias: Any, right_alias: Any = None, *, clerk: str, second_clerk: str,
        reason: str, since: dt.datetime | dt.date | None = None, until: dt.datetime | dt.date | None = None,
        known: dt.date | None = None, deliberate: bool = False, section: str = '個人情報保護担当',
        request_id: str | None = None, dry_run: bool = False, timeout: float | None = None,
    ) -> MislinkReport: ...

    def claims_required(self, institution: str, *, timeout: float | None = None) -> bool: ...

    def require_claims(
        self, institution: str, on: bool = True, *, clerk: str, timeout: float | None = None,
    ) -> None: ...

    def suspend(
        self, institution: str, aliases: Any = None, *, clerk: str, reason: str, timeout: float | None = None,
    ) -> int: ...

    def resume(
        self, institution: str, aliases: Any = None, *, clerk: str, reason: str, timeout: float | None = None,
    ) -> int: ...

    def suspended(self, institution: str, *, timeout: float | None = None) -> bool: ...

    def register_identifiers(
        self, namespace: str, issuer: str, people: Any, identifiers: Any, *, again: bool = False,
        clerk: str | None = None, timeout: float | None = None,
    ) -> Acquired: ...

    def renew_identifiers(
        self, namespace: str, issuer: str, old: Any, new: Any, *, clerk: str | None = None,
        timeout: float | None = None,
    ) -> Acquired: ...

    def revoke_identifiers(
        self, namespace: str, issuer: str, identifiers: Any, *, clerk: str | None = None, timeout: float | None = None,
    ) -> int: ...

    def identify(
        self, institution: str, namespace: str, identifiers: Any, *, timeout: float | None = None,
    ) -> Identified: ...

    def merge(
        self, institution: str, keep: str, gone: str, *, clerk: str, second_clerk: str, reason: str,
        timeout: float | None = None,
    ) -> None: ...

    def split(
        self, institution: str, keep: str, gone: str, *, clerk: str, second_clerk: str, reason: str,
        timeout: float | None = None,
    ) -> None: ...

    def undecided(
        self, institution: str, keep: str, *, limit: int = ..., timeout: float | None = None,
    ) -> list[Undecided]: ...

    def assign(
        self, institution: str, handle: bytes, code: str, *, clerk: str, second_clerk: str, reason: str,
        timeout: float | None = None,
    ) -> None: ...

    def deaths(
        self, institution: str, aliases: Any, days: Any, *, born: Any = None, correct: bool = False,
        clerk: str | None = None, second_clerk: str | None = None, timeout: float | None = None,
    ) -> Deaths: ...

    def alive(
        self, institution: str, aliases: Any, *, clerk: str, second_clerk: str, reason: str,
        timeout: float | None = None,
    ) -> int: ...

    def closed(self, since: int = ..., *, limit: int = ..., timeout: float | None = None) -> Closed: ...

    def successions(self, *, timeout: float | None = None) -> dict[str, tuple[str, dt.date]]: ...

    def push_holders(
        self, register: str, codes: Any, label: str, institutions: Any, since: Any, until: Any = None, *,
        clerk: str | None = None, progress: Callable[[int], None] | None = None, timeout: float | None = None,
    ) -> Holders: ...

    def wanted(
        self, register: str, *, limit: int = ..., after: Wanted | None = None, timeout: float | None = None,
    ) -> list[Wanted]: ...

    def wanted_count(self, provider: str, *, timeout: float | None = None) -> int: ...

    def ask_alias(
        self, handle: Any, *, requester: str | None = None, clerk: str | None = None, timeout: float | None = None,
    ) -> None: ...

    def copy_of(
        self, institution: str, *, role: str, since: dt.date | dt.datetime | None = None,
        until: dt.date | dt.datetime | None = None, timeout: float | None = None,
    ) -> Iterator[AskedCopy | AnsweredCopy]: ...

    def flag(
        self, institution: str, aliases: Any, flags: Flag, *, on: bool = True, clerk: str | None = None,
        timeout: float | None = None,
    ) -> None: ...

    def flags(self, institution: str, aliases: Any, *, timeout: float | None = None) -> npt.NDArray[np.uint8]: ...

    def withhold(
        self, handle: Any, ground: str, until: dt.date, *, institution: str | None = None,
        requester: str | None = None, clerk: str | None = None, timeout: float | None = None,
    ) -> None: ...

    def lift(
        self, handle: Any, *, institution: str | None = None, requester: str | None = None, clerk: str | None = None,
        second_clerk: str | None = None, timeout: float | None = None,
    ) -> bool: ...

    def handles(
        self, institution: str, alias: Any, *, since: dt.datetime | dt.date | None = None,
        until: dt.datetime | dt.date | None = None, limit: int = ..., timeout: float | None = None,
    ) -> list[tuple[bytes, PartyRecord]]: ...

    def marks_due(
        self, institution: str, *, by: dt.date, timeout: float | None = None,
    ) -> list[tuple[bytes, PartyRecord, dt.date]]: ...

    def protect(
        self, institution: str, code: str, *, since: dt.datetime | dt.date, ground: str, clerk: str | None = None,
        timeout: float | None = None,
    ) -> None: ...

    def unprotect(
        self, institution: str, code: str, *, clerk: str | None = None, second_clerk: str | None = None,
        timeout: float | None = None,
    ) -> bool: ...

    def unjudged(
        self, institution: str, *, limit: int = ..., timeout: float | None = None,
    ) -> list[tuple[bytes, PartyRecord]]: ...

    def judge(
        self, institution: str, handle: Any, *, withhold: bool, ground: str | None = None,
        until: dt.date | None = None, clerk: str | None = None, timeout: float | None = None,
    ) -> None: ...

    def correct(
        self, handle: Any, reason: str, section: str, *, institution: str | None = None, requester: str | None = None,
        clerk: str | None = None, accepted: bool = True, appeal: str | None = None, timeout: float | None = None,
    ) -> bytes: ...

    def corrections(self, institution: str, *, timeout: float | None = None) -> list[CorrectionNotice]: ...

    def confirm(
        self, handle: bytes, *, section: str, institution: str | None = None, clerk: str | None = None,
        timeout: float | None = None,
    ) -> None: ...

    def history(
        self, portal_alias: Any, *, since: dt.datetime | dt.date | None = None,
        until: dt.datetime | dt.date | None = None, institution: str | None = None, procedure: str | None = None,
        limit: int = ..., cursor: str | None = None, timeout: float | None = None, proofs: bool | None = None,
    ) -> History: ...

    def notices(
        self, portal_alias: Any, *, limit: int = ..., cursor: str | None = None, timeout: float | None = None,
        proofs: bool | None = None,
    ) -> Notices: ...

    def news(self, portal_alias: Any, *, first: int, below: int, timeout: float | None = None) -> int | None: ...

    def disclosure_key(self, portal_alias: Any, *, timeout: float | None = None) -> bytes: ...

    def disclosure_keys(self, portal_alias: Any, *, timeout: float | None = None) -> list[bytes]: ...

    def ask_correction(
        self, portal_alias: Any, record: int | Record, text: str, *, disclosed: str, institution: str | None = None,
        clerk: str | None = None, timeout: float | None = None,
    ) -> int: ...

    def grant_proxy(
        self, portal_alias: Any, agent_alias: Any, kind: ProxyKind, *, label: str, called: str,
        until: dt.date | None = None, clerk: str | None = None, timeout: float | None = None,
    ) -> bytes: ...

    def proxies(self, portal_alias: Any, *, timeout: float | None = None) -> list[Proxy]: ...

    def revoke_proxy(
        self, portal_alias: Any, handle: bytes, *, clerk: str | None = None, timeout: float | None = None,
    ) -> bool: ...

    def question_proxies(
        self, portal_alias: Any, *, clerk: str | None = None, timeout: float | None = None,
    ) -> int: ...

    def confirm_proxies(self, portal_alias: Any, *, clerk: str | None = None, timeout: float | None = None) -> int: ...

    def consents(self, portal_alias: Any, *, timeout: float | None = None) -> list[Consent]: ...

    def withdraw_consent(
        self, portal_alias: Any, institution: str, procedure: str, *, clerk: str | None = None,
        timeout: float | None = None,
    ) -> bool: ...

    def give_consent(
        self, portal_alias: Any, institution: str, procedure: str, *, clerk: str | None = None,
        timeout: float | None = None,
    ) -> bool: ...

    def principals(self, agent_alias: Any, *, timeout: float | None = None) -> list[Principal]: ...

    def proxy_history(
        self, agent_alias: Any, handle: bytes, *, since: dt.datetime | dt.date | None = None,
        until: dt.datetime | dt.date | None = None, institution: str | None = None, procedure: str | None = None,
        limit: int = ..., cursor: str | None = None, timeout: float | None = None, proofs: bool | None = None,
    ) -> History: ...

    def counter_history(
        self, institution: str, alias: Any, *, clerk: str, second_clerk: str, checked: str, section: str,
        since: dt.datetime | dt.date | None = None, until: dt.datetime | dt.date | None = None, limit: int = ...,
        timeout: float | None = None,
    ) -> CounterHistory: ...

    def checkpoint(self, *, timeout: float | None = None) -> str: ...

    def checkpoints(self, *, timeout: float | None = None) -> list[tuple[dt.datetime | None, str]]: ...

    def consistency(self, old_size: int, new_size: int, *, timeout: float | None = None) -> list[bytes]: ...


class AsyncRemoteMethods:
    """Of :func:`hub.aio.connect`."""

    async def inquire(
        self, inquiry: Inquiry, aliases: Any, providers: Any, *, cases: Sequence[str | None] | None = None,
        withhold: Sequence[Withhold | None] | None = None, consents: Consents = None,
        progress: Callable[[int], None] | None = None, timeout: float | None = None,
    ) -> Answer: ...

    async def status(self, requester: str, request_id: str, *, timeout: float | None = None) -> RequestStatus: ...

    async def begin_file(
        self, requester: str, request_id: str, digest: bytes, rows_max: int, *, timeout: float | None = None,
    ) -> None: ...

    async def end_file(self, requester: str, request_id: str, rows: int, *, timeout: float | None = None) -> None: ...

    async def find_file(self, requester: str, request_id: str, *, timeout: float | None = None) -> File | None: ...

    async def collect(
        self, institution: str, *, limit: int = ..., after: str | None = None, manual: bool | None = None,
        timeout: float | None = None,
    ) -> list[Permits]: ...

    async def provide(
        self, institution: str, permits: Any, outcomes: Any, payloads: Any = None, *, reasons: Any = None,
        clerk: str | None = None, timeout: float | None = None,
    ) -> Receipt: ...

    async def answers(
        self, requester: str, request_id: str, *, first: int = ..., limit: int | None = None,
        timeout: float | None = None,
    ) -> Answers: ...

    async def fetched(self, requester: str, request_id: str, *, timeout: float | None = None) -> int: ...

    async def release(
        self, handle: Any, reason: str, *, clerk: str, requester: str | None = None, timeout: float | None = None,
    ) -> bytes: ...

    async def register_key(
        self, institution: str, public_key: bytes | None, clerk: str | None = None, *, timeout: float | None = None,
    ) -> None: ...

    async def payload_key(self, institution: str, *, timeout: float | None = None) -> bytes | None: ...

    async def push(
        self, push: Push, aliases: Any, receivers: Any, payloads: Any = None, *,
        progress: Callable[[int], None] | None = None, timeout: float | None = None,
    ) -> Sent: ...

    async def update(self, update: Update, permits: Any, payloads: Any, *, timeout: float | None = None) -> Sent: ...

    async def arrived(
        self, institution: str, *, limit: int = ..., after: str | None = None, timeout: float | None = None,
    ) -> list[Arrivals]: ...

    async def taken(self, institution: str, numbers: Any, *, timeout: float | None = None) -> Receipt: ...

    async def notify(
        self, notice: Notice, aliases: Any, texts: Any, *, progress: Callable[[int], None] | None = None,
        timeout: float | None = None,
    ) -> Sent: ...

    async def tickets(self, institution: str, n: int, *, timeout: float | None = None) -> Aliases: ...

    async def deliver(
        self, institution: str, tickets: Any, codes: Any, differs: Any = None, *, timeout: float | None = None,
    ) -> Receipt: ...

    async def acquired(self, institution: str, tickets: Any, *, timeout: float | None = None) -> Acquired: ...

    async def close_tickets(self, institution: str, tickets: Any, *, timeout: float | None = None) -> int: ...

    async def reissue(self, institution: str, aliases: Any, *, timeout: float | None = None) -> Acquired: ...

    async def revoke(self, institution: str, aliases: Any, *, timeout: float | None = None) -> int: ...

    async def claim(
        self, institution: str, tickets: Any, sealed: list[bytes], *, clerk: str, timeout: float | None = None,
    ) -> Receipt: ...

    async def claims(
        self, institution: str, tickets: Any = None, *, limit: int = ..., cursor: str | None = None,
        timeout: float | None = None,
    ) -> Claims: ...

    async def confirm_links(
        self, institution: str, tickets: Any, *, clerk: str, reason: str, timeout: float | None = None,
    ) -> Acquired: ...

    async def replace_links(
        self, institution: str, tickets: Any, aliases: Any, *, clerk: str, reason: str, keep_old: Any = False,
        timeout: float | None = None,
    ) -> Acquired: ...

    async def blast_radius(
        self, institution: str, alias: Any, *, since: dt.datetime | dt.date | None = None,
        until: dt.datetime | dt.date | None = None, timeout: float | None = None,
    ) -> BlastRadius: ...

    async def report_mislink(
        self, institution: str, wrong_alias: Any, right_alias: Any = None, *, clerk: str, second_clerk: str,
        reason: str, since: dt.datetime | dt.date | None = None, until: dt.datetime | dt.date | None = None,
        known: dt.date | None = None, deliberate: bool = False, section: str = '個人情報保護担当',
        request_id: str | None = None, dry_run: bool = False, timeout: float | None = None,
    ) -> MislinkReport: ...

    async def claims_required(self, institution: str, *, timeout: float | None = None) -> bool: ...

    async def require_claims(
        self, institution: str, on: bool = True, *, clerk: str, timeout: float | None = None,
    ) -> None: ...

    async def suspend(
        self, institution: str, aliases: Any = None, *, clerk: str, reason: str, timeout: float | None = None,
    ) -> int: ...

    async def resume(
        self, institution: str, aliases: Any = None, *, clerk: str, reason: str, timeout: float | None = None,
    ) -> int: ...

    async def suspended(self, institution: str, *, timeout: float | None = None) -> bool: ...

    async def register_identifiers(
        self, namespace: str, issuer: str, people: Any, identifiers: Any, *, again: bool = False,
        clerk: str | None = None, timeout: float | None = None,
    ) -> Acquired: ...

    async def renew_identifiers(
        self, namespace: str, issuer: str, old: Any, new: Any, *, clerk: str | None = None,
        timeout: float | None = None,
    ) -> Acquired: ...

    async def revoke_identifiers(
        self, namespace: str, issuer: str, identifiers: Any, *, clerk: str | None = None, timeout: float | None = None,
    ) -> int: ...

    async def identify(
        self, institution: str, namespace: str, identifiers: Any, *, timeout: float | None = None,
    ) -> Identified: ...

    async def merge(
        self, institution: str, keep: str, gone: str, *, clerk: str, second_clerk: str, reason: str,
        timeout: float | None = None,
    ) -> None: ...

    async def split(
        self, institution: str, keep: str, gone: str, *, clerk: str, second_clerk: str, reason: str,
        timeout: float | None = None,
    ) -> None: ...

    async def undecided(
        self, institution: str, keep: str, *, limit: int = ..., timeout: float | None = None,
    ) -> list[Undecided]: ...

    async def assign(
        self, institution: str, handle: bytes, code: str, *, clerk: str, second_clerk: str, reason: str,
        timeout: float | None = None,
    ) -> None: ...

    async def deaths(
        self, institution: str, aliases: Any, days: Any, *, born: Any = None, correct: bool = False,
        clerk: str | None = None, second_clerk: str | None = None, timeout: float | None = None,
    ) -> Deaths: ...

    async def alive(
        self, institution: str, aliases: Any, *, clerk: str, second_clerk: str, reason: str,
        timeout: float | None = None,
    ) -> int: ...

    async def closed(self, since: int = ..., *, limit: int = ..., timeout: float | None = None) -> Closed: ...

    async def successions(self, *, timeout: float | None = None) -> dict[str, tuple[str, dt.date]]: ...

    async def push_holders(
        self, register: str, codes: Any, label: str, institutions: Any, since: Any, until: Any = None, *,
        clerk: str | None = None, progress: Callable[[int], None] | None = None, timeout: float | None = None,
    ) -> Holders: ...

    async def wanted(
        self, register: str, *, limit: int = ..., after: Wanted | None = None, timeout: float | None = None,
    ) -> list[Wanted]: ...

    async def wanted_count(self, provider: str, *, timeout: float | None = None) -> int: ...

    async def ask_alias(
        self, handle: Any, *, requester: str | None = None, clerk: str | None = None, timeout: float | None = None,
    ) -> None: ...

    async def copy_of(
        self, institution: str, *, role: str, since: dt.date | dt.datetime | None = None,
        until: dt.date | dt.datetime | None = None, timeout: float | None = None,
    ) -> Iterator[AskedCopy | AnsweredCopy]: ...

    async def flag(
        self, institution: str, aliases: Any, flags: Flag, *, on: bool = True, clerk: str | None = None,
        timeout: float | None = None,
    ) -> None: ...

    async def flags(
        self, institution: str, aliases: Any, *, timeout: float | None = None,
    ) -> npt.NDArray[np.uint8]: ...

    async def withhold(
        self, handle: Any, ground: str, until: dt.date, *, institution: str | None = None,
        requester: str | None = None, clerk: str | None = None, timeout: float | None = None,
    ) -> None: ...

    async def lift(
        self, handle: Any, *, institution: str | None = None, requester: str | None = None, clerk: str | None = None,
        second_clerk: str | None = None, timeout: float | None = None,
    ) -> bool: ...

    async def handles(
        self, institution: str, alias: Any, *, since: dt.datetime | dt.date | None = None,
        until: dt.datetime | dt.date | None = None, limit: int = ..., timeout: float | None = None,
    ) -> list[tuple[bytes, PartyRecord]]: ...

    async def marks_due(
        self, institution: str, *, by: dt.date, timeout: float | None = None,
    ) -> list[tuple[bytes, PartyRecord, dt.date]]: ...

    async def protect(
        self, institution: str, code: str, *, since: dt.datetime | dt.date, ground: str, clerk: str | None = None,
        timeout: float | None = None,
    ) -> None: ...

    async def unprotect(
        self, institution: str, code: str, *, clerk: str | None = None, second_clerk: str | None = None,
        timeout: float | None = None,
    ) -> bool: ...

    async def unjudged(
        self, institution: str, *, limit: int = ..., timeout: float | None = None,
    ) -> list[tuple[bytes, PartyRecord]]: ...

    async def judge(
        self, institution: str, handle: Any, *, withhold: bool, ground: str | None = None,
        until: dt.date | None = None, clerk: str | None = None, timeout: float | None = None,
    ) -> None: ...

    async def correct(
        self, handle: Any, reason: str, section: str, *, institution: str | None = None, requester: str | None = None,
        clerk: str | None = None, accepted: bool = True, appeal: str | None = None, timeout: float | None = None,
    ) -> bytes: ...

    async def corrections(self, institution: str, *, timeout: float | None = None) -> list[CorrectionNotice]: ...

    async def confirm(
        self, handle: bytes, *, section: str, institution: str | None = None, clerk: str | None = None,
        timeout: float | None = None,
    ) -> None: ...

    async def history(
        self, portal_alias: Any, *, since: dt.datetime | dt.date | None = None,
        until: dt.datetime | dt.date | None = None, institution: str | None = None, procedure: str | None = None,
        limit: int = ..., cursor: str | None = None, timeout: float | None = None, proofs: bool | None = None,
    ) -> History: ...

    async def notices(
        self, portal_alias: Any, *, limit: int = ..., cursor: str | None = None, timeout: float | None = None,
        proofs: bool | None = None,
    ) -> Notices: ...

    async def news(self, portal_alias: Any, *, first: int, below: int, timeout: float | None = None) -> int | None: ...

    async def disclosure_key(self, portal_alias: Any, *, timeout: float | None = None) -> bytes: ...

    async def disclosure_keys(self, portal_alias: Any, *, timeout: float | None = None) -> list[bytes]: ...

    async def ask_correction(
        self, portal_alias: Any, record: int | Record, text: str, *, disclosed: str, institution: str | None = None,
        clerk: str | None = None, timeout: float | None = None,
    ) -> int: ...

    async def grant_proxy(
        self, portal_alias: Any, agent_alias: Any, kind: ProxyKind, *, label: str, called: str,
        until: dt.date | None = None, clerk: str | None = None, timeout: float | None = None,
    ) -> bytes: ...

    async def proxies(self, portal_alias: Any, *, timeout: float | None = None) -> list[Proxy]: ...

    async def revoke_proxy(
        self, portal_alias: Any, handle: bytes, *, clerk: str | None = None, timeout: float | None = None,
    ) -> bool: ...

    async def question_proxies(
        self, portal_alias: Any, *, clerk: str | None = None, timeout: float | None = None,
    ) -> int: ...

    async def confirm_proxies(
        self, portal_alias: Any, *, clerk: str | None = None, timeout: float | None = None,
    ) -> int: ...

    async def consents(self, portal_alias: Any, *, timeout: float | None = None) -> list[Consent]: ...

    async def withdraw_consent(
        self, portal_alias: Any, institution: str, procedure: str, *, clerk: str | None = None,
        timeout: float | None = None,
    ) -> bool: ...

    async def give_consent(
        self, portal_alias: Any, institution: str, procedure: str, *, clerk: str | None = None,
        timeout: float | None = None,
    ) -> bool: ...

    async def principals(self, agent_alias: Any, *, timeout: float | None = None) -> list[Principal]: ...

    async def proxy_history(
        self, agent_alias: Any, handle: bytes, *, since: dt.datetime | dt.date | None = None,
        until: dt.datetime | dt.date | None = None, institution: str | None = None, procedure: str | None = None,
        limit: int = ..., cursor: str | None = None, timeout: float | None = None, proofs: bool | None = None,
    ) -> History: ...

    async def counter_history(
        self, institution: str, alias: Any, *, clerk: str, second_clerk: str, checked: str, section: str,
        since: dt.datetime | dt.date | None = None, until: dt.datetime | dt.date | None = None, limit: int = ...,
        timeout: float | None = None,
    ) -> CounterHistory: ...

    async def checkpoint(self, *, timeout: float | None = None) -> str: ...

    async def checkpoints(self, *, timeout: float | None = None) -> list[tuple[dt.datetime | None, str]]: ...

    async def consistency(self, old_size: int, new_size: int, *, timeout: float | None = None) -> list[bytes]: ...
