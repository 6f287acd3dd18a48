"""Software that nobody here wrote accepts our checkpoints, proofs and tiles, and refuses what was changed.

PyPI ``metamorphic-log`` (Rust) and Go's ``golang.org/x/mod/sumdb`` (``tools/checklog``; skipped where Go is not
installed, on Debian: golang-go golang-golang-x-mod-dev).
"""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from memory_log import KEY, OTHER_KEY, OTHER_LOG, MemoryLog, entries_of
from metamorphic_log import metamorphic_log as foreign
from shared_fields import prove_record

from hub.tlog import tree
from hub.tlog.entry import hash_leaf
from hub.tlog.tiles import export_tiles

REPOSITORY = Path(__file__).parents[2]
GO_SOURCES = Path("/usr/share/gocode")

SIZES = 300
ENTRIES = entries_of(SIZES)
LOG = MemoryLog(ENTRIES)
ROOTS = [tree.root(LOG, size) for size in range(SIZES + 1)]
FORK = MemoryLog([*entries_of(1, seed=1), *ENTRIES[1:]])


# --- metamorphic-log ------------------------------------------------------------------------------------------------


def test_metamorphic_reads_a_checkpoint_as_it_was_signed() -> None:
    head = foreign.checkpoint_verify(LOG.checkpoint, [KEY.verifier_key])
    assert (head.origin, head.size, head.root, head.extensions) == (KEY.origin, SIZES, ROOTS[SIZES], [])
    assert foreign.verify_signed_note(LOG.checkpoint, [KEY.verifier_key]) == 1


@pytest.mark.parametrize("vkey", [OTHER_KEY.verifier_key, OTHER_LOG.verifier_key])
def test_metamorphic_refuses_a_checkpoint_under_another_key(vkey: str) -> None:
    with pytest.raises(foreign.VerifyError):
        foreign.checkpoint_verify(LOG.checkpoint, [vkey])


def test_metamorphic_refuses_a_changed_checkpoint() -> None:
    with pytest.raises(foreign.VerifyError):
        foreign.checkpoint_verify(LOG.checkpoint.replace("\n300\n", "\n301\n"), [KEY.verifier_key])


@given(st.data())
@settings(deadline=None)
def test_metamorphic_accepts_every_inclusion_path_and_refuses_what_was_moved_or_changed(data: st.DataObject) -> None:
    size = data.draw(st.integers(1, SIZES))
    index = data.draw(st.integers(0, size - 1))
    leaf, path = hash_leaf(ENTRIES[index]), tree.inclusion_path(LOG, index, size)
    foreign.verify_inclusion(index, size, leaf, path, ROOTS[size])
    foreign.checkpoint_verify_inclusion(KEY.sign(size, ROOTS[size]), [KEY.verifier_key], index, leaf, path)
    wrong = [(index, hash_leaf(b"changed"), path), (index, leaf, [*path, ROOTS[1]])]
    if size > 1:
        moved = data.draw(st.integers(0, size - 1).filter(lambda other: other != index))
        wrong += [(moved, leaf, path), (index, leaf, path[:-1])]
    for arguments in wrong:
        with pytest.raises(foreign.VerifyError):
            foreign.verify_inclusion(arguments[0], size, arguments[1], arguments[2], ROOTS[size])


@given(st.data())
@settings(deadline=None)
def test_metamorphic_accepts_every_consistency_path_and_refuses_a_fork(data: st.DataObject) -> None:
    new = data.draw(st.integers(2, SIZES))
    old = data.draw(st.integers(1, new - 1))
    path = tree.consistency_path(LOG, old, new)
    foreign.verify_consistency(old, new, path, ROOTS[old], ROOTS[new])
    older, newer = KEY.sign(old, ROOTS[old]), KEY.sign(new, ROOTS[new])
    foreign.checkpoint_verify_consistency(older, newer, [KEY.verifier_key], path)
    forked = tree.root(FORK, new)
    with pytest.raises(foreign.VerifyError):
        foreign.verify_consistency(old, new, path, ROOTS[old], forked)
    with pytest.raises(foreign.VerifyError):
        foreign.checkpoint_verify_consistency(older, KEY.sign(new, forked), [KEY.verifier_key], path)


def test_metamorphic_accepts_the_proof_of_a_record() -> None:
    proof = prove_record()
    foreign.checkpoint_verify_inclusion(proof.checkpoint, [KEY.verifier_key], proof.index, proof.leaf, proof.path)


# --- Go -------------------------------------------------------------------------------------------------------------

Check = Callable[..., tuple[int, str]]


@pytest.fixture(scope="module")
def checklog(tmp_path_factory: pytest.TempPathFactory) -> Check:
    """Build tools/checklog from Debian's sources, without a network."""
    go = shutil.which("go")
    if go is None or not (GO_SOURCES / "src/golang.org/x/mod/sumdb/tlog").is_dir():
        pytest.skip("Go or golang.org/x/mod is not installed (Debian: golang-go golang-golang-x-mod-dev)")
    folder = tmp_path_factory.mktemp("go")
    program = folder / "checklog"
    environment = os.environ | {
        "GO111MODULE": "off", "GOPATH": str(GO_SOURCES), "GOFLAGS": "", "GOCACHE": str(folder / "cache"),
        "CGO_ENABLED": "0", "LD_PRELOAD": "",
    }  # fmt: skip
    subprocess.run(
        [go, "build", "-o", str(program), "./tools/checklog"], cwd=REPOSITORY, env=environment, check=True, timeout=300
    )

    def check(*arguments: str | Path) -> tuple[int, str]:
        done = subprocess.run(
            [str(program), *map(str, arguments)], capture_output=True, text=True, check=False, timeout=60
        )
        return done.returncode, done.stdout + done.stderr

    return check


@pytest.mark.parametrize("size", [1, 2, 255, 256, 257, 300, 66_000])
def test_go_accepts_an_export_with_all_its_entries(checklog: Check, tmp_path: Path, size: int) -> None:
    export_tiles(MemoryLog(entries_of(size)), tmp_path)
    assert checklog("-key", KEY.verifier_key, "-log", tmp_path, "-entries") == (0, "checkpoint: ok\nentries: ok\n")


def test_go_accepts_an_export_in_steps_and_its_earlier_checkpoints(checklog: Check, tmp_path: Path) -> None:
    log = MemoryLog()
    folder = tmp_path / "log"
    olds: list[str | Path] = []
    for size in (1, 200, 256, 300, 512, 700, 1100):
        log.append(entries_of(size)[log.size :])
        export_tiles(log, folder)
        (tmp_path / f"old{size}").write_bytes((folder / "checkpoint").read_bytes())
        olds += ["-old", tmp_path / f"old{size}"]
    status, output = checklog("-key", KEY.verifier_key, "-log", folder, "-entries", *olds)
    assert status == 0, output
    assert output.count(": ok\n") == 9
    forked = MemoryLog([*entries_of(1, seed=1), *entries_of(300)[1:]])
    (tmp_path / "fork").write_text(forked.checkpoint)
    status, output = checklog("-key", KEY.verifier_key, "-log", folder, "-old", tmp_path / "fork")
    assert (status, output.count("refused")) == (1, 1)


@pytest.mark.parametrize("vkey", [OTHER_KEY.verifier_key, OTHER_LOG.verifier_key])
def test_go_refuses_an_export_under_another_key(checklog: Check, tmp_path: Path, vkey: str) -> None:
    export_tiles(LOG, tmp_path)
    status, output = checklog("-key", vkey, "-log", tmp_path)
    assert (status, output.startswith("checkpoint: refused")) == (1, True)


@pytest.mark.parametrize("name", ["checkpoint", "tile/0/000", "tile/0/001.p/44", "tile/1/000.p/1", "tile/entries/000"])
def test_go_refuses_an_export_with_a_flipped_bit(checklog: Check, tmp_path: Path, name: str) -> None:
    export_tiles(LOG, tmp_path)
    raw = bytearray((tmp_path / name).read_bytes())
    raw[30] ^= 1
    (tmp_path / name).write_bytes(raw)
    status, output = checklog("-key", KEY.verifier_key, "-log", tmp_path, "-entries")
    assert (status, output.count("refused")) == (1, 1), output


def test_go_accepts_the_proof_of_a_record_and_finds_it_in_the_export(checklog: Check, tmp_path: Path) -> None:
    proof, other = prove_record(), prove_record(number=1)
    (tmp_path / "proof").write_text(proof.text())
    assert checklog("-key", KEY.verifier_key, "-proof", tmp_path / "proof") == (0, "proof proof: ok\n")
    for name, text in {
        "moved": proof.text().replace("index 41\n", "index 40\n"),
        "changed": "\n".join([proof.text().split("\n")[0], other.text().split("\n")[1], *proof.text().split("\n")[2:]]),
        "truncated": proof.text()[:300],
    }.items():
        assert text != proof.text()
        (tmp_path / name).write_text(text)
        status, output = checklog("-key", KEY.verifier_key, "-proof", tmp_path / name)
        assert (status, output.count("refused")) == (1, 1), output
    assert checklog("-key", OTHER_KEY.verifier_key, "-proof", tmp_path / "proof")[0] == 1
    # The same proof beside an export that holds another entry there.
    export_tiles(MemoryLog(entries_of(100)), tmp_path / "other")
    status, output = checklog("-key", KEY.verifier_key, "-log", tmp_path / "other", "-proof", tmp_path / "proof")
    assert (status, "entry is another" in output) == (1, True)


def test_go_says_how_it_is_called(checklog: Check) -> None:
    assert checklog("-key", "x")[0] == 2
