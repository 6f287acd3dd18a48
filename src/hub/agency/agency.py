"""An institution's own side of the hub: its links, its copy register, automatic answers, its own copy of the records.

Independent of the hub's folder and keys: it speaks with a hub through the public methods of :class:`hub.Hub` alone.
"""

from __future__ import annotations

import contextlib
import os
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import numpy.typing as npt

from hub.agency import links, register
from hub.agency.answering import Answered, Answerer
from hub.agency.layout import Layout
from hub.agency.links import Linked, Links
from hub.agency.manual import ManualFlags
from hub.agency.owncopy import Asked, AskedByHand, OwnCopy, read_answered, read_requests
from hub.agency.register import LoadState, Registers, read_registers
from hub.agency.runs import Maps
from hub.agency.store import AgencyStore
from hub.decode import decode_aliases, decode_providers
from hub.errors import RequestError
from hub.limits import ROWS_PER_CHUNK
from hub.messages import Aliases, Answer, Answers, Inquiry
from hub.storage.workers import Workers


class RegisterState(msgspec.Struct, frozen=True, kw_only=True):
    """How a register stands.

    Attributes:
        rows, load_id: of what is answered from; None where it was never loaded whole. loading: the load under way.
    """

    name: str
    items: tuple[str, ...]
    load_id: str | None
    rows: int
    loading: LoadState | None


class AgencyState(msgspec.Struct, frozen=True, kw_only=True):
    """What an agency's folder has.

    Attributes:
        links: own ids that have an alias, about. manual: people flagged. requests, unfinished: requests in the own
            copy, and those of them whose answer is not. answered, unsettled: permits in it, those without a receipt.
    """

    institution: str
    links: int
    manual: int
    registers: list[RegisterState]
    requests: int
    unfinished: int
    answered: int
    unsettled: int


class Agency:
    """An open agency folder. Made by :func:`open`; a context manager. Calls that write wait for each other."""

    def __init__(
        self,
        folder: str | os.PathLike[str],
        *,
        institution: str | None,
        create: bool,
        readonly: bool,
        clock: Callable[[], float],
    ) -> None:
        self._clock = clock
        self._store = AgencyStore(
            Path(folder), create=create, readonly=readonly, institution=institution, now=int(clock())
        )
        self._maps = Maps(self._store)
        self._links = Links(self._store, self._maps)
        self._workers = Workers()
        self._registers = Registers(self._store, self._maps, self._workers)
        self._manual = ManualFlags(self._store)
        self._copy = OwnCopy(self._store)
        self._answerer = Answerer(self._store, self._links, self._registers, self._manual, self._copy)
        try:
            if not readonly:
                with self._store.read() as reader:
                    named = links.files_named(reader) | register.files_named(reader)
                self._store.sweep(named)
        except BaseException:
            self.close()
            raise

    def __enter__(self) -> Agency:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def __repr__(self) -> str:
        return f"Agency({str(self._store.folder)!r}, {'closed' if self._store.closed else 'open'})"

    def close(self) -> None:
        """Let go of the folder; may be called again."""
        self._workers.close()
        self._store.close()

    @property
    def institution(self) -> str:
        """The code of the institution whose folder it is."""
        return self._store.institution

    def state(self) -> AgencyState:
        """Counts, by what they are of."""
        with self._store.read() as reader:
            requests = list(read_requests(reader))
            answered = [(len(rows.permits), rows.given_at is None) for rows in read_answered(reader)]
            registers = [
                RegisterState(
                    name=one.layout.name, items=one.layout.items,
                    load_id=None if one.generation is None else one.generation.load_id,
                    rows=0 if one.generation is None else one.generation.rows,
                    loading=None if one.load is None else register.state_of(one.layout.name, one.load),
                )
                for one in read_registers(reader)
            ]  # fmt: skip
            count = self._links.count(reader)
        return AgencyState(
            institution=self.institution, links=count, manual=self._manual.count(), registers=registers,
            requests=len(requests), unfinished=sum(asked is None for _, asked in requests),
            answered=sum(rows for rows, _ in answered), unsettled=sum(rows for rows, is_open in answered if is_open),
        )  # fmt: skip

    # -- links

    def link(self, own_ids: Any, aliases: Any, *, replace: bool = False) -> Linked:
        """Say which own id stands for which alias; all rows in one durable step, or none.

        Args:
            own_ids: list of str, 1 to 64 bytes of UTF-8 each. aliases: uint8[N, 16], of the same person each.
            replace: an own id or an alias that stands otherwise gets the new counterpart, and the old one has none.

        Returns:
            how many were added, stood already, and lost their counterpart.

        Raises:
            RowsError: an own id has two aliases, or an alias two own ids; nothing was changed.
            StorageError: the disk failed or is full; nothing was kept.
        """
        return self._links.link(own_ids, aliases, replace)

    def aliases_of(self, own_ids: Any) -> tuple[Aliases, npt.NDArray[np.bool_]]:
        """The aliases of own ids: uint8[N, 16], zeros where there is none, and bool[N] which have one."""
        return self._links.aliases_of(own_ids)

    def own_ids_of(self, aliases: Any) -> list[str | None]:
        """The own ids of aliases (uint8[N, 16]); None where there is none."""
        return self._links.own_ids_of(aliases)

    def procedures_asked(self) -> set[str]:
        """The procedures by which the own copy says that was asked."""
        with self._store.read() as reader:
            return {asked.procedure for _, asked in read_requests(reader) if asked is not None}

    # -- people whom a clerk answers for

    def flag(self, aliases: Any, *, on: bool = True) -> int:
        """Flag people of whom a clerk of the institution decides (自動応答不可); returns how many changed."""
        return self._manual.flag(aliases, on, int(self._clock()))

    def flagged(self, aliases: Any) -> npt.NDArray[np.bool_]:
        """bool[N]: which of these people are flagged here."""
        return self._manual.flagged(aliases)

    # -- the copy register

    def declare(self, layout: Layout | str) -> None:
        """Declare a register, or the layout of its next load (TOML, see ``layout.py``).

        Raises:
            RequestError: it contradicts itself, or a load of the register is under way.
        """
        self._registers.declare(layout)

    def begin_load(self, name: str, load_id: str) -> LoadState:
        """Begin a load, or go on with it: the next chunk is ``state.chunks + 1``.

        Raises:
            RequestError: another load of the register is under way.
        """
        return self._registers.begin(name, load_id)

    def load_chunk(
        self, name: str, load_id: str, number: int, data: Any, *, sha256: bytes | None = None
    ) -> LoadState:
        """Take a chunk of a load; durable when it returns. Chunks are counted from 1 and come in order.

        The same chunk again is accepted, and nothing is kept twice.

        Args:
            data: a CSV with the header, bytes; or a list of {column: Cells}. sha256: of the bytes, as they were sent.

        Raises:
            RequestError: out of order (the number that is expected is named), another content under a number that is
                there, another encoding, a line or cell that does not fit: line and column are named. Nothing of the
                chunk was kept.
            StorageError: the disk failed or is full; nothing of the chunk was kept.
        """
        return self._registers.take(name, load_id, number, data, sha256)

    def finish_load(self, name: str, load_id: str, chunks: int) -> LoadState:
        """Make a load visible as a whole, in one step: from now on it is answered from it.

        Raises:
            RequestError: chunks are missing, or a person has two rows; the load stays as it is.
        """
        return self._registers.finish(name, load_id, chunks, int(self._clock()))

    def abandon_load(self, name: str, load_id: str) -> None:
        """Forget the load under way; what is answered from stays."""
        self._registers.abandon(name, load_id)

    # -- the exchange

    def answer(
        self, h: Any, *, limit: int | None = None, progress: Callable[[int], None] | None = None
    ) -> Answered:
        """Answer what waits at the hub from the copy register; see ``answering.py`` for who gets which outcome.

        Each go is in the own copy before the hub has it. If the process dies the next call finds out what was taken,
        and goes on; nothing is answered twice.

        Args:
            h: a :class:`hub.Hub`, or what has its methods. limit: at most so many permits.
            progress: called with the permits answered so far.
        """
        return self._answerer.answer(h, limit, progress)

    def inquire(
        self,
        h: Any,
        inquiry: Inquiry,
        aliases: Any,
        providers: Any,
        *,
        progress: Callable[[int], None] | None = None,
        **words: Any,
    ) -> Answer:
        """``h.inquire`` for this institution, with every row and its status in the own copy before it returns.

        The same inquiry again after a crash completes both. Further words go to ``h.inquire`` as they are.
        """
        if inquiry.requester != self.institution:
            raise RequestError(f"requester: expected {self.institution}, whose folder it is, got another")
        rows = decode_aliases(aliases)
        numbers = decode_providers(h.catalog, providers, len(rows), classes=True)
        asked = Asked(
            inquiry.request_id, inquiry.procedure, tuple(inquiry.items), inquiry.role, inquiry.section, len(rows), 0
        )
        key, is_new = self._copy.begin(asked, rows, numbers)
        try:
            answer: Answer = h.inquire(inquiry, rows, providers, progress=progress, **words)
        except RequestError as error:
            if is_new and not error.retry_safe:
                # Nothing of it is at the hub, so it was never asked.
                self._copy.forget(key)
            raise
        asked = msgspec.structs.replace(asked, received_at=answer.receipt.received_at)
        if len(rows):
            self._copy.told(key, asked, 0, answer.status, answer.reason, begun=True)
        else:
            self._copy.close(key, asked)
        return answer

    def answers(self, h: Any, request_id: str, *, first: int = 0, limit: int | None = None) -> Answers:
        """``h.answers`` for this institution, with how the rows stand in the own copy before it returns.

        Args:
            first, limit: as of ``h.answers``; in multiples of 65,536 rows, but for the last ones.
        """
        if first % ROWS_PER_CHUNK or (limit is not None and limit % ROWS_PER_CHUNK):
            raise RequestError(f"first, limit: expected multiples of {ROWS_PER_CHUNK}, got others")
        key, asked = self._copy.find(request_id)
        found: Answers = h.answers(self.institution, request_id, first=first, limit=limit)
        self._copy.told(key, asked, first, found.status, found.reason, begun=False)
        return found

    def adopt(self, h: Any, questions: Sequence[AskedByHand]) -> int:
        """Take what was asked by hand, with how it stands at the hub now, into the own copy; returns how many are new.

        The same questions again add nothing. What the hub has forgotten (30 days) keeps what it was told when it asked.

        Raises:
            RequestError: other rows stand under a question's request id.
        """
        new = 0
        for one in questions:
            numbers = decode_providers(h.catalog, [one.provider], 1)
            asked = Asked(one.request_id, one.procedure, one.items, one.role, one.section, 1, one.received_at)
            alias = decode_aliases(np.frombuffer(one.alias, np.uint8).reshape(1, -1))
            key, is_new = self._copy.begin(asked, alias, numbers)
            status, reason = (np.array([number], np.uint8) for number in (one.status, one.reason))
            self._copy.told(key, asked, 0, status, reason, begun=True)
            # Whoever was killed between the two has it new once more.
            new += is_new
            with contextlib.suppress(RequestError):
                self.answers(h, one.request_id)
        return new


def open(
    folder: str | os.PathLike[str],
    *,
    institution: str | None = None,
    create: bool = False,
    readonly: bool = False,
    clock: Callable[[], float] = time.time,
) -> Agency:
    """Open an agency's folder.

    Args:
        institution: its code; needed where it is made, else compared. create: make it if it is not there.

    Raises:
        RequestError: no agency there, of another institution, or other files are.
        BusyError: another process has it open for writing.
        StorageError: damaged, of a newer format, or the disk failed.
    """
    return Agency(folder, institution=institution, create=create, readonly=readonly, clock=clock)
