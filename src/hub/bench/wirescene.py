"""One run of the wire's stage: the server, what it was asked, and whether everything acknowledged is in its log."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import numpy.typing as npt

import hub
from hub.bench.run import Run
from hub.bench.served import Credentials, ServerProcess
from hub.bench.wireask import Load
from hub.bench.wireload import Frames, LoadProcess, Outcome, prepare_frames
from hub.bench.world import REQUESTER, World
from hub.messages import Status
from hub.wire.frames import GREETING, VERSIONS, encode_frame
from hub.wire.words import Hello

CONNECTIONS = (64, 256)
HALF_FLOOR = {64: 15_000, 256: 30_000}
"""Requests a second: half of what the hub must reach on two cores from so many connections."""

SAMPLE = 200
"""People whose histories are read at the end, and request ids that are asked for again."""


class Scene:
    """See the module.

    Attributes:
        bench, world, server, credentials, folder: of this run.
    """

    def __init__(self, bench: Run, world: World, server: ServerProcess, credentials: Credentials, folder: Path) -> None:
        self.bench, self.world, self.server, self.credentials, self.folder = bench, world, server, credentials, folder
        self.asked: npt.NDArray[np.int64] = np.zeros(world.persons, np.int64)
        """Of each person, rows that were answered with a permit: so many records there must be."""
        self.names: list[str] = []
        """Some request ids that were answered."""
        self._random = bench.generator("wire sample")

    def __repr__(self) -> str:
        return f"Scene(asked={int(self.asked.sum())})"

    @property
    def beside(self) -> tuple[int, ...]:
        """From how many connections limit and peers are measured."""
        return CONNECTIONS[:1] if self.bench.options.quick else CONNECTIONS

    def connect(self) -> hub.client.Remote:
        """A client of the hub's own."""
        return hub.connect(self.server.address, cert=str(self.credentials.client), ca=str(self.credentials.ca))

    def note_asked(self, persons: npt.NDArray[np.uint32], status: npt.NDArray[np.uint8]) -> None:
        """Remember whom answers were about."""
        self.asked += np.bincount(persons[status == Status.OK], minlength=self.world.persons)

    def prepare(self, name: str, count: int) -> Frames:
        """Single inquiries that were never asked before."""
        return prepare_frames(self.world, self.bench.generator(f"wire {name}"), f"bench-{name}", count)

    def start(
        self, name: str, connections: int, frames: Frames | None, seconds: float, *,
        rate: float = 0.0, forever: bool = False,
    ) -> LoadProcess:  # fmt: skip
        """A load on the hub; it is connected, and begins when told."""
        name = name.replace(" ", "-").replace(":", "").replace("/", "-").replace(",", "")
        path = None
        if frames is not None:
            path = str(self.folder / f"{name}.npy")
            np.save(path, frames.data)
            np.save(path.replace(".npy", ".names.npy"), frames.names)
        hello = bytes(encode_frame(Hello(list(VERSIONS), "hub-bench"), GREETING))
        load = Load(
            port=self.server.port, ca=str(self.credentials.ca), certificate=str(self.credentials.client),
            greeting=hello, connections=connections, frames=path, seconds=seconds, rate=rate, forever=forever,
            pids=[self.server.pid], form="hub", seed=self.bench.options.seed,
        )  # fmt: skip
        return LoadProcess(self.folder, name, load)

    def run_singles(self, case: str, connections: int, count: int, seconds: float, *, rate: float = 0.0) -> Outcome:
        """One load from its beginning to its end, entered as a case."""
        self.bench.progress.step(case)
        frames = self.prepare(case.removeprefix("wire: ").replace(" connections", "").replace(" ", "-"), count)
        load = self.start(case, connections, frames, seconds, rate=rate)
        load.go()
        outcome = load.finish()
        self.check(case, frames, outcome)
        self.add_load(case, outcome)
        return outcome

    def add_load(self, case: str, outcome: Outcome) -> None:
        """Enter rate, latency and use of a load."""
        results, told = self.bench.results, outcome.told
        results.add(case, "rows_per_s", outcome.rate)
        results.add_latency(case, outcome.seconds.tolist())
        self.add_use(case, told.asked, told.client_s, told.server_s)
        if told.switches:
            results.add(case, "switches_per_row", told.switches / told.asked)

    def add_use(self, case: str, rows: int, client_s: float, server_s: float) -> None:
        """Enter processor time a row at both ends; the kernel counts it in hundredths of a second."""
        if client_s > 0 and server_s > 0:
            client, server = client_s * 1e6 / rows, server_s * 1e6 / rows
            self.bench.results.add(case, "client_us_per_row", client)
            self.bench.results.add(case, "server_us_per_row", server)
            self.bench.notes.append(f"{case}: processor time a row: client {client:.3g} us, server {server:.3g} us")

    def check(self, case: str, frames: Frames, outcome: Outcome) -> None:
        """Compare a load's answers with the model's, and remember them; how many there are the machine decides."""
        count = len(outcome.status)
        right = np.full(count, Status.OK, np.uint8)
        self.bench.truth.check_column(case, "status", outcome.status, right, first=False)
        self.note_asked(frames.persons[:count], outcome.status)
        some = self._random.choice(count, min(count, SAMPLE // 8), replace=False)
        self.names += [frames.names[i].decode() for i in some]


def check_log(scene: Scene, before: int) -> None:
    """Open the folder: the log has grown by what was acknowledged, and some people's histories show all of it.

    Args:
        before: records in the log before anything was asked.
    """
    bench, world = scene.bench, scene.world
    bench.progress.step("wire: is everything acknowledged in the log")
    acknowledged = int(scene.asked.sum())
    with hub.open(world.folder) as h:
        size = int(h.checkpoint().splitlines()[1])
        _check(bench, "records of what was acknowledged", size - before, acknowledged)
        for name in scene.names[:SAMPLE]:
            _check(bench, "request asked for again", len(h.answers(REQUESTER, name)), 1)
        people = scene._random.choice(world.persons, min(world.persons, SAMPLE), replace=False)
        for person in people.tolist():
            _check(bench, "records of a person", _count_records(h, world.everybody[person]), int(scene.asked[person]))
    bench.notes.append(f"wire: {acknowledged:,} rows were acknowledged and are in the log")


def _check(bench: Run, what: str, got: int, expected: int) -> None:
    bench.truth.rows += 1
    if got != expected:
        bench.truth.problems.append(f"wire: {what}: expected {expected:,}, got {got:,}")


def _count_records(h: hub.Hub, alias: npt.NDArray[np.uint8]) -> int:
    count, cursor = 0, None
    while True:
        page = h.history(alias, limit=1_000, cursor=cursor)
        count += len(page.records)
        cursor = page.cursor
        if cursor is None:
            return count
