"""The record log of a hub: proofs that others accept, a head that notices what was put back, a verification."""

from __future__ import annotations

import random
import shutil
import subprocess
import sys
from pathlib import Path

import lmdb
import msgspec
import numpy as np
import pytest
from metamorphic_log import metamorphic_log as foreign

import hub
from hub.errors import ProofError, RequestError, StorageError, TamperError
from hub.records.bodies import Bodies, supervise
from hub.records.log import StoredTree, default_head
from hub.storage.periods import period_of
from hub.tlog.check import check_tiles
from hub.tlog.verify import verify_checkpoint, verify_consistency, verify_proof
from inquiries import tax_inquiry

SEED = random.SystemRandom().randrange(1, 2**31)


class Filled:
    """A hub with some inquiries of different sizes, closed."""

    def __init__(self, folder: Path, sizes: tuple[int, ...] = (1, 40, 300, 7)) -> None:
        self.folder = folder
        self.codes = np.arange(300, dtype=np.int64) + 10**9
        self.checkpoints = []
        with hub.open(folder, create=True) as h:
            self.town = h.catalog.institutions("市町村長")[0].code
            self.own = h.acquire("nenkin", self.codes).aliases
            h.acquire(self.town, self.codes[:200])
            self.portal = h.acquire("portal", self.codes).aliases
            self.checkpoints.append(h.checkpoint())
            for number, size in enumerate(sizes):
                self.ask(h, f"r{number}", size)
                self.checkpoints.append(h.checkpoint())
            self.key = h.verifier_key
        self.records = sum(sizes)

    def ask(self, h: hub.Hub, request_id: str, rows: int) -> None:
        h.inquire(tax_inquiry(request_id), self.own[:rows], self.town)


@pytest.fixture
def filled(tmp_path: Path) -> Filled:
    return Filled(tmp_path / "hub")


def test_every_record_of_a_history_is_proven_to_strangers(filled: Filled) -> None:
    with hub.open(filled.folder, readonly=True) as h:
        head = verify_checkpoint(h.checkpoint(), filled.key)
        assert head.size == filled.records
        for person in (0, 5, 150, 299):
            history = h.history(filled.portal[person])
            assert len(history) == sum(person < size for size in (1, 40, 300, 7))
            for i, record in enumerate(history.records):
                proof = history.proof(i)
                assert (proof.index, proof.record) == (record.index, record)
                verified = verify_proof(proof.text(), filled.key)
                assert (verified.index, verified.shared.requester) == (record.index, "nenkin")
                assert verified.shared.section == record.section
                assert verified.row.requested_at == record.requested_at.timestamp()
                foreign.verify_inclusion(proof.index, head.size, proof.leaf, proof.path, head.root)


def test_a_proof_says_whose_record_it_is_only_to_the_disclosure_key(filled: Filled) -> None:
    with hub.open(filled.folder) as h:
        text = h.history(filled.portal[5]).proof(0).text()
        keys = h._store.keys.disclosure_keys(np.arange(300, dtype=np.uint32))
    fits = []
    for person, key in enumerate(keys):
        try:
            fits += [person] * bool(verify_proof(text, filled.key, disclosure_key=key.tobytes()).subject_fits)
        except ProofError:
            continue
    assert len(fits) == 1
    assert "nenkin" in str(verify_proof(text, filled.key).shared.requester)


def test_the_command_line_checks_a_proof_without_the_hub(filled: Filled, tmp_path: Path) -> None:
    with hub.open(filled.folder, readonly=True) as h:
        text = h.history(filled.portal[0]).proof(1).text()
    proof = tmp_path / "record.tlog-proof"
    proof.write_text(text)
    shutil.rmtree(filled.folder)
    words = [sys.executable, "-m", "hub", "verify", str(proof), "--key", filled.key]
    done = subprocess.run(words, capture_output=True, text=True, check=False, timeout=60)
    assert (done.returncode, done.stderr) == (0, "")
    assert "in the log" in done.stdout
    proof.write_text(text.replace("index ", "index 1"))
    assert subprocess.run(words, capture_output=True, check=False, timeout=60).returncode == 1


def test_consistency_between_all_checkpoints_is_proven(filled: Filled) -> None:
    with hub.open(filled.folder, readonly=True) as h:
        heads = [verify_checkpoint(note, filled.key) for note in filled.checkpoints]
        for old in heads:
            for new in heads:
                if old.size <= new.size:
                    path = h.consistency(old.size, new.size)
                    verify_consistency(old.size, old.root, new.size, new.root, path)
        for sizes in ((5, 4), (-1, 2), (0, filled.records + 1), (True, 2), ("1", 2)):
            with pytest.raises(RequestError, match="size"):
                h.consistency(*sizes)  # type: ignore[arg-type]


def test_tiles_are_exported_and_brought_up_to_date(filled: Filled, tmp_path: Path) -> None:
    out = tmp_path / "tiles"
    with hub.open(filled.folder) as h:
        assert h.export_tiles(out).size == filled.records
        filled.ask(h, "more", 300)
        done = h.export_tiles(out)
        assert (done.old_size, done.size) == (filled.records, filled.records + 300)
        assert (out / "checkpoint").read_text() == h.checkpoint()
        entries = (out / "tile/entries/000").read_bytes()
        assert len(entries) == 256 * 34


def test_a_page_has_only_its_own_proofs(filled: Filled) -> None:
    with hub.open(filled.folder, readonly=True) as h:
        history = h.history(filled.portal[0], limit=2)
        for wrong in (2, -1, True, "0", None):
            with pytest.raises(RequestError, match="proof"):
                history.proof(wrong)  # type: ignore[arg-type]
        assert "Proof(" in repr(history.proof(0))
        assert filled.portal[0].tobytes().hex() not in repr(history.proof(0))


# -- the head


def test_an_older_copy_of_the_folder_is_noticed_and_nothing_is_served(filled: Filled, tmp_path: Path) -> None:
    shutil.copytree(filled.folder, tmp_path / "older")
    with hub.open(filled.folder) as h:
        filled.ask(h, "later", 9)
    shutil.rmtree(filled.folder)
    shutil.copytree(tmp_path / "older", filled.folder)
    for options in ({}, {"readonly": True}):
        with pytest.raises(TamperError, match="expected at least"):
            hub.open(filled.folder, **options)


def test_a_fork_of_the_same_length_is_noticed(filled: Filled, tmp_path: Path) -> None:
    shutil.copytree(filled.folder, tmp_path / "older")
    with hub.open(filled.folder) as h:
        filled.ask(h, "later", 9)
    head = default_head(filled.folder).read_bytes()
    shutil.rmtree(filled.folder)
    shutil.copytree(tmp_path / "older", filled.folder)
    default_head(filled.folder).unlink()
    with hub.open(filled.folder) as h:
        filled.ask(h, "another", 9)
    default_head(filled.folder).write_bytes(head)
    with pytest.raises(TamperError, match="another"):
        hub.open(filled.folder)


def test_a_longer_store_than_its_head_is_normal_and_gets_a_new_head(filled: Filled) -> None:
    head = default_head(filled.folder).read_bytes()
    with hub.open(filled.folder) as h:
        filled.ask(h, "later", 9)
    default_head(filled.folder).write_bytes(head)
    with hub.open(filled.folder, readonly=True) as h:
        assert verify_checkpoint(h.checkpoint(), filled.key).size == filled.records
        with pytest.raises(hub.errors.BusyError, match="covers"):
            h.history(filled.portal[0]).proof(0)
        # A record that the older head covers is proven all the same.
        assert verify_proof(h.history(filled.portal[150]).proof(0).text(), filled.key).index < filled.records
    with hub.open(filled.folder) as h:
        assert verify_checkpoint(h.checkpoint(), filled.key).size == filled.records + 9


def test_a_head_elsewhere_is_used_where_it_is_named(filled: Filled, tmp_path: Path) -> None:
    elsewhere = tmp_path / "vault" / "head"
    elsewhere.parent.mkdir()
    with hub.open(filled.folder, head=elsewhere) as h:
        filled.ask(h, "later", 3)
    assert elsewhere.stat().st_mode & 0o077 == 0
    other = Filled(tmp_path / "other")
    shutil.copy(elsewhere, default_head(other.folder))
    with pytest.raises(TamperError, match="expected one of this log"):
        hub.open(other.folder)


def test_a_new_hub_where_another_was_removed_makes_a_head_of_its_own(filled: Filled) -> None:
    shutil.rmtree(filled.folder)
    with hub.open(filled.folder, create=True) as h:
        assert h.verifier_key != filled.key
        assert verify_checkpoint(h.checkpoint(), h.verifier_key).size == 0


def test_the_origin_is_chosen_once(tmp_path: Path) -> None:
    with hub.open(tmp_path / "h", create=True, origin="example.go.jp/log") as h:
        assert h.verifier_key.startswith("example.go.jp/log+")
        assert h.checkpoint().startswith("example.go.jp/log\n0\n")
    with pytest.raises(RequestError, match="origin"):
        hub.open(tmp_path / "h", origin="example.go.jp/other")
    for wrong in ("", "a b", "a+b"):
        with pytest.raises(RequestError, match="origin"):
            hub.open(tmp_path / f"x{len(wrong)}", create=True, origin=wrong or " ")


def test_the_clock_may_be_set_back_or_jump_to_another_period(tmp_path: Path) -> None:
    now = [1_798_761_600.0]
    with hub.open(tmp_path / "h", create=True, clock=lambda: now[0]) as h:
        town = h.catalog.institutions("市町村長")[0].code
        own = h.acquire("nenkin", ["00000000017"]).aliases
        portal = h.acquire("portal", ["00000000017"]).aliases
        for number, jump in enumerate((0, 86_400, -7 * 86_400, 120 * 86_400, -200 * 86_400, 10)):
            now[0] += jump
            h.inquire(tax_inquiry(f"r{number}"), own, town)
        history = h.history(portal)
        times = [record.requested_at for record in history.records]
        assert times == sorted(times, reverse=True)
        assert [record.index for record in history.records] == [5, 4, 3, 2, 1, 0]
        assert len({period_of(int(time.timestamp())) for time in times}) == 2
        assert all(verify_proof(history.proof(i).text(), h.verifier_key).index == 5 - i for i in range(6))
        assert h.verify().ok


def test_a_clock_that_was_set_back_is_warned_of_once_each_time(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    now = [1_800_000_000]
    with hub.open(tmp_path / "hub", create=True, clock=lambda: now[0]) as h:
        town = h.catalog.institutions("市町村長")[0].code
        own = h.acquire("nenkin", np.arange(3, dtype=np.int64) + 10**9).aliases
        jumps = ((0, 0), (-1, 1), (-3_600, 1), (0, 1), (5, 1), (-86_400, 2), (10, 2), (9, 3))
        for number, (clock, warnings) in enumerate(jumps):
            now[0] = 1_800_000_000 + clock
            h.inquire(tax_inquiry(f"c{number}"), own, town)
            assert len([one for one in caplog.messages if one.startswith("clock: ")]) == warnings, clock
        portal = h.acquire("portal", np.arange(3, dtype=np.int64) + 10**9).aliases
        times = [record.requested_at for record in h.history(portal[0]).records]
        assert times == sorted(times, reverse=True)


# -- verification


def test_a_sound_hub_verifies(filled: Filled) -> None:
    with hub.open(filled.folder) as h:
        seen: list[int] = []
        report = h.verify(progress=seen.append)
    assert report.ok
    assert report.problems == ()
    assert (report.records, seen[-1]) == (filled.records, filled.records)
    done = subprocess.run(
        [sys.executable, "-m", "hub", "verify", str(filled.folder)], capture_output=True, text=True, check=False
    )
    assert (done.returncode, done.stderr) == (0, "")
    assert f"{filled.records:,} records re-derived" in done.stdout


def change(folder: Path, name: bytes, key: bytes, at: int, bit: int) -> None:
    """Flip one bit of a stored value, as somebody would who knows LMDB."""
    env = lmdb.open(str(folder / "env"), map_size=1 << 30, max_dbs=256, lib_version=0)
    with env, env.begin(write=True) as txn:
        database = env.open_db(name, txn=txn, create=False)
        value = bytearray(txn.get(key, db=database))
        value[at % len(value)] ^= 1 << bit
        txn.put(key, bytes(value), db=database)


def items(folder: Path, name: bytes) -> list[tuple[bytes, int]]:
    env = lmdb.open(str(folder / "env"), map_size=1 << 30, max_dbs=256, readonly=True, lock=False, lib_version=0)
    with env, env.begin() as txn:
        cursor = txn.cursor(db=env.open_db(name, txn=txn, create=False))
        return [(bytes(key), len(value)) for key, value in cursor]


@pytest.mark.parametrize("name", ["records", "entries", "nodes", "runs", "rundir", "meta", "catalogs", "requests"])
def test_a_changed_bit_is_found_wherever_it_is(filled: Filled, tmp_path: Path, name: str) -> None:
    print(f"seed {SEED}")
    rng = random.Random(SEED)
    if name == "requests":
        name = next(n for n in (key.decode() for key, _ in items_of_main(filled.folder)) if n.startswith("requests."))
    values = items(filled.folder, name.encode())
    for number in range(12 if values else 0):
        key, size = rng.choice(values)
        folder = tmp_path / f"copy{number}"
        shutil.copytree(filled.folder, folder)
        shutil.copy(default_head(filled.folder), default_head(folder))
        change(folder, name.encode(), key, rng.randrange(size), rng.randrange(8))
        try:
            with hub.open(folder, readonly=True) as h:
                report = h.verify()
                assert not report.ok, f"{name}: a flipped bit was not found"
                # What is served all the same is served right.
                for person in (0, 150):
                    try:
                        history = h.history(filled.portal[person])
                        for i in range(len(history)):
                            verify_proof(history.proof(i).text(), filled.key)
                    except StorageError:
                        continue
        except (StorageError, TamperError):
            pass
        shutil.rmtree(folder)


def items_of_main(folder: Path) -> list[tuple[bytes, int]]:
    env = lmdb.open(str(folder / "env"), map_size=1 << 30, max_dbs=256, readonly=True, lock=False, lib_version=0)
    with env, env.begin() as txn:
        return [(bytes(key), len(value)) for key, value in txn.cursor()]


def test_a_damaged_slot_of_the_head_is_found(filled: Filled) -> None:
    path = default_head(filled.folder)
    sound = path.read_bytes()
    for slot in (0, 4096):
        data = bytearray(sound)
        data[slot + 100] ^= 1
        path.write_bytes(bytes(data))
        try:
            with hub.open(filled.folder, readonly=True) as h:
                assert any("head" in problem for problem in h.verify().problems)
        except TamperError:
            continue


def test_a_record_made_up_by_who_can_write_the_store_is_found(filled: Filled, tmp_path: Path) -> None:
    # Another entry under a right checksum: the tree does not have it.
    from hub.storage.sealed import seal

    env = lmdb.open(str(filled.folder / "env"), map_size=1 << 30, max_dbs=256, lib_version=0)
    with env, env.begin(write=True) as txn:
        database = env.open_db(b"entries", txn=txn, create=False)
        key = (1).to_bytes(8, "big")
        body = bytearray(txn.get(key, db=database)[8:])
        body[32 * 20] ^= 1
        txn.put(key, seal("entries", key, bytes(body)), db=database)
    with hub.open(filled.folder, readonly=True) as h:
        assert any("record 21:" in problem for problem in h.verify().problems)
        refused = 0
        for person in range(40):
            history = h.history(filled.portal[person])
            try:
                for i in range(len(history)):
                    verify_proof(history.proof(i).text(), filled.key)
            except StorageError as error:
                refused += "damaged tree" in str(error)
        # The fifteen records that share the altered one's node cannot be proven either.
        assert 1 <= refused < 40


def test_operator_and_case_numbers_are_committed_to_and_never_shown(filled: Filled) -> None:
    with hub.open(filled.folder) as h:
        inquiry = msgspec.structs.replace(tax_inquiry("secret"), operator="clerk 7")
        h.inquire(inquiry, filled.own[:3], filled.town, cases=["case A", "case B", "case C"])
        text = h.history(filled.portal[0]).proof(0).text()
        extra = verify_proof(text, filled.key)
        assert "clerk" not in str(extra.shared)
        assert len(extra.shared.supervised) == 32
        assert h.verify().ok
    assert b"clerk 7" not in (filled.folder / "env" / "data.mdb").read_bytes()


def test_each_decision_of_a_chunk_is_blinded_for_itself(filled: Filled) -> None:
    with hub.open(filled.folder) as h:
        blind = bytes(32)
        first, second = supervise(blind, 0, b"same"), supervise(blind, 1, b"same")
        assert len({first, second, supervise(bytes([1]) + bytes(31), 0, b"same")}) == 3
        with h._store.snapshot() as snapshot:
            bodies = Bodies(snapshot, h._periods, h._heads)
            chunk = bodies.locate(0).chunk
        fields = chunk.fields
        covering = fields.supervised if len(fields.supervised) > 1 else fields.supervised * len(fields.shared)
        assert [one.supervised for one in chunk.shared] == [
            supervise(fields.blind, decision, covered) for decision, covered in enumerate(covering)
        ]


def test_an_index_that_lost_a_run_serves_no_history(filled: Filled) -> None:
    env = lmdb.open(str(filled.folder / "env"), map_size=1 << 30, max_dbs=256, lib_version=0)
    with env, env.begin(write=True) as txn:
        database = env.open_db(b"rundir", txn=txn, create=False)
        keys = [bytes(key) for key, _ in txn.cursor(db=database) if bytes(key)[:1] == b"\1"]
        kept = txn.get(keys[0], db=database)
        txn.delete(keys[0], db=database)
    with hub.open(filled.folder, readonly=True) as h:
        with pytest.raises(StorageError, match="history index: expected a run from record 0"):
            h.history(filled.portal[0])
        assert any("index of" in problem or "rundir" in problem for problem in h.verify().problems)
    env = lmdb.open(str(filled.folder / "env"), map_size=1 << 30, max_dbs=256, lib_version=0)
    with env, env.begin(write=True) as txn:
        txn.put(keys[0], kept, db=env.open_db(b"rundir", txn=txn, create=False))
    with hub.open(filled.folder, readonly=True) as h:
        h.history(filled.portal[0])


def test_an_export_holds_no_snapshot_longer_than_it_must(
    filled: Filled, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # An old snapshot keeps every page alive that is freed meanwhile, and the file grows.
    with hub.open(filled.folder) as h:
        before = h.checkpoint()
        monkeypatch.setattr("hub.records.log.RENEW_S", 0.0)
        read: list[int] = []
        honest = StoredTree._read

        def noting(self: StoredTree, name: bytes, prefix: bytes, first: int, count: int) -> bytes:
            read.append(self._snapshot.state.commit)
            if len(read) == 1:
                h.inquire(tax_inquiry("meanwhile"), filled.own[:1], filled.town)
            return honest(self, name, prefix, first, count)

        monkeypatch.setattr(StoredTree, "_read", noting)
        h.export_tiles(tmp_path / "public")
        assert read[-1] > read[0]
        assert (tmp_path / "public" / "checkpoint").read_text(encoding="utf-8") == before
    check_tiles(tmp_path / "public", filled.key)
