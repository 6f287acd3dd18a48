"""An exported log is checked with its key alone, and whatever was changed in it is named."""

from __future__ import annotations

import random
from pathlib import Path

import pytest
from memory_log import KEY, OTHER_KEY, MemoryLog, entries_of

from hub.errors import ProofError
from hub.tlog.check import check_tiles
from hub.tlog.tiles import export_tiles

VKEY = KEY.verifier_key


@pytest.mark.parametrize("size", [0, 1, 2, 3, 255, 256, 257, 300, 511, 512, 65_535, 65_536, 65_537, 66_000])
def test_an_export_of_any_size_holds(tmp_path: Path, size: int) -> None:
    export_tiles(MemoryLog(entries_of(size)), tmp_path)
    assert check_tiles(tmp_path, VKEY).size == size


def test_an_export_that_grew_holds(tmp_path: Path) -> None:
    log = MemoryLog()
    for size in (1, 200, 256, 400, 1_000):
        log.append(entries_of(size)[log.size :])
        export_tiles(log, tmp_path)
        assert check_tiles(tmp_path, VKEY).size == size


def test_every_file_is_checked_in_every_bit_that_is_tried(tmp_path: Path) -> None:
    export_tiles(MemoryLog(entries_of(700)), tmp_path)
    rng = random.Random(1)
    files = [path for path in tmp_path.rglob("*") if path.is_file()]
    assert len(files) == 8
    for path in files:
        sound = path.read_bytes()
        name = str(path.relative_to(tmp_path))
        # A changed entry shows where the hashes of level 0 say something else.
        named = name.replace("entries", "0")
        for _ in range(30):
            damaged = bytearray(sound)
            damaged[rng.randrange(len(sound))] ^= 1 << rng.randrange(8)
            path.write_bytes(damaged)
            with pytest.raises(ProofError) as caught:
                check_tiles(tmp_path, VKEY)
            assert str(caught.value).startswith((f"{named}:", f"{name}:"))
        for changed in (sound[:-1], sound + b"\0", b""):
            path.write_bytes(changed)
            with pytest.raises(ProofError):
                check_tiles(tmp_path, VKEY)
        path.unlink()
        with pytest.raises(ProofError, match=f"{name}: expected a file, got none"):
            check_tiles(tmp_path, VKEY)
        path.write_bytes(sound)
    assert check_tiles(tmp_path, VKEY).size == 700


def test_another_key_and_another_log_s_checkpoint_are_refused(tmp_path: Path) -> None:
    export_tiles(MemoryLog(entries_of(300)), tmp_path)
    with pytest.raises(ProofError, match="another log or key"):
        check_tiles(tmp_path, OTHER_KEY.verifier_key)
    (tmp_path / "checkpoint").write_text(MemoryLog(entries_of(300, seed=1)).checkpoint)
    with pytest.raises(ProofError, match="expected the root of the 300 entries here"):
        check_tiles(tmp_path, VKEY)
