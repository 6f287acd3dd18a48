"""Kill -9 at random points of retention: what is proven stays so, the next call goes on, holds lose nothing."""

from __future__ import annotations

import datetime as dt
import os
import random
import shutil
import time
from pathlib import Path

import numpy as np
import pytest
from nursery import Nursery
from proof import DONE, OPENED, STARTED
from test_kill import SEED, WAIT_S, hear_until

import hub
import hub.provision.delivery
from hub.records.bodies import read_place
from hub.records.erasures import expires_at, read_erasures
from hub.records.log import default_head
from hub.storage.periods import period_of
from hub.tlog.verify import verify_checkpoint, verify_consistency
from inquiries import tax_inquiry

FIRST_DAY = 1_795_143_600
"""2026-11-20 in Japan."""
QUARTER_S = 92 * 86_400
LIMITS = {"STEP_VALUES": 4, "RUNS_STEP_BYTES": 1 << 10}
"""Of ``hub.records.retain``: with the real ones a folder that is made in a second is erased in one step."""
OLD, INQUIRIES, ROWS = 2, 30, 40


class Expired:
    """A folder of which two quarters have expired, a hold on one inquiry of each; copied for each life."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.clock = float(FIRST_DAY)
        codes = np.arange(ROWS, dtype=np.int64) + 10**9
        with hub.open(folder, create=True, clock=lambda: self.clock) as h:
            town = h.catalog.institutions("市町村長")[0].code
            own = h.acquire("nenkin", codes).aliases
            h.acquire(town, codes)
            self.portal = h.acquire("portal", codes).aliases
            for quarter in range(OLD):
                for number in range(INQUIRIES):
                    h.inquire(tax_inquiry(f"old {quarter} {number}", section="expired"), own, town)
                self.clock += QUARTER_S
            self.clock = expires_at(period_of(int(self.clock - QUARTER_S)))
            # Retention would record them, and this is about what it erases.
            h.lapse()
            h.inquire(tax_inquiry("new", section="kept"), own, town)
            with h._store.snapshot() as snapshot:
                firsts = [int.from_bytes(key, "big") for key, _ in snapshot.items("records", b"")]
                periods = [read_place(snapshot, first).period for first in firsts]
            self.kept = periods.count(period_of(int(self.clock)))
            for at in (2 * INQUIRIES, INQUIRIES):
                inquiry = h.history(self.portal[0]).records[at].inquiry
                h.hold(ground="g", until=dt.date(2036, 1, 1), by="b", inquiry=inquiry)
            over = h.hold(ground="g", until=dt.date(2036, 1, 1), by="b", requester="nenkin")
            h.release_hold(over.number, ground="g", by="b")
            self.key = h.verifier_key
            self.before = verify_checkpoint(h.checkpoint(), self.key)

    def copy(self, folder: Path) -> Path:
        shutil.copytree(self.folder, folder)
        shutil.copy(default_head(self.folder), default_head(folder))
        return folder

    def check(self, folder: Path, *, done: bool) -> tuple[int, int]:
        """What must hold wherever it was cut off; returns (erasures entered, bodies that are left)."""
        with hub.open(folder, readonly=True, clock=lambda: self.clock) as h:
            assert h.verify().problems == ()
            sections = [record.section for record in h.history(self.portal[0]).records]
            assert sections[0] == "kept"
            assert set(sections[1:]) <= {"expired"}
            now = verify_checkpoint(h.checkpoint(), self.key)
            verify_consistency(
                self.before.size, self.before.root, now.size, now.root, h.consistency(self.before.size, now.size)
            )
            with h._store.snapshot() as snapshot:
                erasures = read_erasures(snapshot)
                bodies = len(snapshot.items("records", b""))
                assert snapshot.state.records == self.before.size + len(erasures)
            keys = len(h._periods.periods())
            if done:
                assert (len(sections), len(erasures), keys, bodies) == (1, OLD, 1, self.kept + OLD)
                assert [one.done for one in h.retention()] == [True] * OLD + [False]
                assert [len(list(h.held(number))) for number in (1, 2)] == [ROWS, ROWS]
                assert [hold.state.name for hold in h.holds()] == ["IN_FORCE", "IN_FORCE", "ENDED"]
        return len(erasures), bodies


@pytest.fixture(scope="module")
def expired(tmp_path_factory: pytest.TempPathFactory) -> Expired:
    with pytest.MonkeyPatch.context() as patch:
        # Nothing lapses by itself meanwhile: all lapses are of the quarter that is kept.
        patch.setattr(hub.provision.delivery, "DELAY_S", 3_600.0)
        return Expired(tmp_path_factory.mktemp("expired") / "hub")


def test_retention_survives_40_kills(nursery: Nursery, expired: Expired, tmp_path: Path) -> None:
    print(f"HUB_FAULT_SEED={SEED}")
    rng = random.Random(SEED + 300)
    seen: set[tuple[int, int]] = set()
    kills = lives = 0
    needed_s: float | None = None
    stages: set[int] = set()
    # Where a kill strikes is the machine's business: more of them, within a bound, until each part was met.
    while kills < 40 or (stages != {0, 1, 2} and kills < 120):
        folder = expired.copy(tmp_path / f"hub{lives}")
        ended = False
        while not ended:
            job = {"job": "retain", "folder": str(folder), "now": expired.clock, "limits_of_retain": LIMITS}
            with nursery.start(**job) as child:
                begun = time.monotonic()
                assert STARTED in hear_until(child, None, STARTED, WAIT_S)
                # The first life is not killed: it says how long one takes.
                wait_s = WAIT_S if needed_s is None else rng.uniform(0, 0.6 * needed_s)
                heard = hear_until(child, None, DONE, wait_s)
                if DONE not in heard:
                    child.kill()
                    heard += hear_until(child, None, DONE, WAIT_S)
                    kills += os.WIFSIGNALED(child.wait())
                else:
                    assert child.wait() == 0
                ended = DONE in heard
                needed_s = needed_s or time.monotonic() - begun
                assert OPENED in heard or not ended
            seen.add(expired.check(folder, done=ended))
        lives += 1
        stages = {entered for entered, _ in seen}
        shutil.rmtree(folder)
    print(f"{kills} kills in {lives} lives; stages met: {len(seen)}")
    # Before, between and in the middle of the two erasures: where all kills met the same, nothing is shown.
    assert len(stages) > 1
    assert len(seen) >= 6
