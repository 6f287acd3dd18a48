"""The records that a bench's inquiries leave, and the model of them.

The pension agency asks the municipalities where people live for their municipal tax, a batch at a time. Most rows
are allowed; some name an alias that nobody has, a municipality that does not know the person, or a body that the
law does not let be asked. A few *frequent* citizens stand in every batch, so often that each has more than a
hundred records in the end, spread over all chunks: they are whose histories are read.
"""

from __future__ import annotations

import time
from collections import Counter
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from hub.bench.measure import bytes_written
from hub.bench.report import Progress
from hub.bench.truth import Truth
from hub.bench.world import REQUESTER, World, random_aliases
from hub.messages import Answer, Inquiry, Status

FREQUENT = 1_000
RECORDS_EACH = 120
"""A frequent citizen's records: more than one page of a hundred."""

SHARE_UNKNOWN, SHARE_NOT_HELD, SHARE_DENIED = 0.010, 0.010, 0.005
NOT_ASKABLE = "130001"
"""A prefecture: no municipality, so no rule lets it be asked for municipal tax."""


def pension_inquiry(request_id: str) -> Inquiry:
    """The inquiry of the bench: 地方税 of the 納付義務者, for what row 73 of the Order names."""
    return Inquiry(
        requester=REQUESTER,
        procedure="19-8/73/75.3",
        items=("市町村民税",),
        role="納付義務者",
        section="年金給付部",
        request_id=request_id,
    )


@dataclass(frozen=True)
class Batch:
    """Rows of one inquiry, and the statuses that the model gives them."""

    inquiry: Inquiry
    aliases: npt.NDArray[np.uint8]
    providers: npt.NDArray[np.uint32]
    persons: npt.NDArray[np.uint32]
    status: npt.NDArray[np.uint8]


class Log:
    """Inquiries made on a world, each timed, their answers checked.

    Attributes:
        first: the first batch. timings: (rows, seconds, bytes written or None) of each batch.
        delivering: seconds that sorting the last permits into inboxes took behind the last batch.
        live_bytes: by how much the records' pages in use grew.
        bytes_by_part: of each database, right behind the last batch, before the index was merged.
        frequent: uint32[F], the citizens with many records.
        expected: for each of them a count by (provider's number, outcome).
    """

    def __init__(self, world: World, *, rows: int, batches: int) -> None:
        self.world = world
        self.rows = rows
        self.batches = batches
        self.records = 0
        self.first: Batch | None = None
        self.timings: list[tuple[int, float, int | None]] = []
        self.live_bytes = 0
        self.delivering = 0.0
        self.bytes_by_part: dict[str, int] = {}
        self._random = np.random.default_rng([world.seed, world.persons, rows])
        frequent = max(1, min(FREQUENT, rows * self.batches // (2 * RECORDS_EACH)))
        self.frequent = self._random.choice(world.persons, min(frequent, world.persons), replace=False)
        self.frequent = self.frequent.astype(np.uint32)
        self.expected: list[Counter[tuple[int, int]]] = [Counter() for _ in self.frequent]

    def build(self, progress: Progress, truth: Truth) -> None:
        """Make every inquiry once."""
        live = self.world.live_bytes("records")
        for i in range(self.batches):
            batch = self._draw(i)
            self.first = self.first or batch
            progress.step(f"inquiry: {self.world.persons:,} persons, batch {i + 1} of {self.batches}")
            written = bytes_written()
            begin = time.perf_counter()
            answer = self.world.hub.inquire(batch.inquiry, batch.aliases, batch.providers)
            seconds = time.perf_counter() - begin
            now = bytes_written()
            sent = now - written if now is not None and written is not None else None
            self.timings.append((len(batch.persons), seconds, sent))
            check_answer(truth, "inquiry: whole", answer, batch)
            self.count(batch)
        begin = time.perf_counter()
        self.world.deliver()
        self.delivering = time.perf_counter() - begin
        self.bytes_by_part = self.world.bytes_by_database()
        self.live_bytes = self.world.live_bytes("records") - live

    def _draw(self, number: int) -> Batch:
        random, world = self._random, self.world
        persons = random.integers(0, world.persons, self.rows, dtype=np.uint32)
        count = min(self.rows, len(self.frequent) * RECORDS_EACH // self.batches)
        # Where a batch is too small for all of them, they take turns.
        often = np.resize(np.roll(self.frequent, -number * count), count)
        persons[random.choice(self.rows, len(often), replace=False)] = often
        aliases = world.requester[persons]
        town = world.home_town[persons]
        status = np.zeros(self.rows, dtype=np.uint8)
        kind = random.random(self.rows)
        unknown = kind < SHARE_UNKNOWN
        not_held = (kind >= SHARE_UNKNOWN) & (kind < SHARE_UNKNOWN + SHARE_NOT_HELD)
        denied = kind > 1 - SHARE_DENIED
        aliases[unknown] = random_aliases(random, int(unknown.sum()))
        status[unknown] = Status.UNKNOWN_ALIAS
        town[not_held] = (town[not_held] + 1) % len(world.towns)
        status[not_held] = Status.NO_ALIAS_AT_PROVIDER
        providers = world.towns[town]
        providers[denied] = world.hub.catalog.institution(NOT_ASKABLE).number
        status[denied] = Status.DENIED
        return Batch(pension_inquiry(f"bench-{number}"), aliases, providers, persons, status)

    def count(self, batch: Batch) -> None:
        """Enter what the frequent citizens' histories must show; a row whose alias nobody has leaves no record."""
        recorded = batch.status != Status.UNKNOWN_ALIAS
        self.records += int(np.count_nonzero(recorded))
        place = np.full(self.world.persons, -1, dtype=np.int32)
        place[self.frequent] = np.arange(len(self.frequent))
        rows = np.flatnonzero(recorded & (place[batch.persons] >= 0))
        columns = place[batch.persons[rows]], batch.providers[rows], batch.status[rows]
        for who, provider, status in zip(*(column.tolist() for column in columns), strict=True):
            self.expected[who][provider, status] += 1


def check_answer(truth: Truth, case: str, answer: Answer, batch: Batch) -> None:
    """Compare an inquiry's answer with the model's statuses; rule and reason go into the hash with them."""
    truth.check_column(case, "status", answer.status, batch.status)
    allowed = (batch.status == Status.OK) | (batch.status == Status.NO_ALIAS_AT_PROVIDER)
    truth.check_equal(case, "rules that allowed", len(set(answer.rule[allowed].tolist())), 1)
    reasons = answer.reason[batch.status == Status.DENIED]
    truth.check_equal(case, "reason given for each denial", bool((reasons > 0).all()), True)
    truth.check_equal(case, "rows of the receipt", answer.receipt.rows, len(batch.status))
