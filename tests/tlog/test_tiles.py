"""Exported tiles: the layout of C2SP, only what is new, whole after every cut, refused where it is another log."""

from __future__ import annotations

import contextlib
import errno
import fcntl
import os
from pathlib import Path

import pytest
from memory_log import KEY, OTHER_LOG, MemoryLog, entries_of

from hub.errors import BusyError, RequestError, StorageError, TamperError
from hub.tlog import tiles
from hub.tlog.entry import hash_leaf
from hub.tlog.tiles import SCRATCH, export_tiles, tile_path
from hub.tlog.tree import subtree_root
from hub.tlog.verify import verify_checkpoint


def files_of(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


@pytest.mark.parametrize(
    ("number", "width", "path"),
    [
        (0, 256, "tile/0/000"),
        (999, 256, "tile/0/999"),
        (1000, 256, "tile/0/x001/000"),
        (1234067, 256, "tile/0/x001/x234/067"),
        (1234067, 112, "tile/0/x001/x234/067.p/112"),
    ],
)
def test_paths_are_those_of_the_specification(number: int, width: int, path: str) -> None:
    assert tile_path(0, number, width) == path


def test_a_tree_of_70000_has_the_tiles_of_the_specifications_example(tmp_path: Path) -> None:
    log = MemoryLog(entries_of(70_000))
    done = []
    exported = export_tiles(log, tmp_path / "log", progress=done.append)
    files = files_of(tmp_path / "log")
    assert exported == (0, 70_000, len(files))
    assert done[-1] == 70_000
    names = set(files)
    assert {name for name in names if name.startswith("tile/0/")} == {
        *(tile_path(0, number) for number in range(273)), "tile/0/273.p/112",
    }  # fmt: skip
    assert {name for name in names if name.startswith("tile/1/")} == {"tile/1/000", "tile/1/001.p/17"}
    assert {name for name in names if name.startswith("tile/2/")} == {"tile/2/000.p/1"}
    assert len([name for name in names if name.startswith("tile/entries/")]) == 274
    assert "tile/entries/273.p/112" in names
    assert len(names) == 274 * 2 + 2 + 1 + 1
    assert files["checkpoint"] == log.checkpoint.encode()
    verify_checkpoint(files["checkpoint"], KEY.verifier_key)
    # Every tile is what the specification says: MTHs of aligned ranges; bundles hash to their tile.
    assert files["tile/1/001.p/17"][32:64] == subtree_root(log, 257 * 256, 258 * 256)
    assert files["tile/2/000.p/1"] == subtree_root(log, 0, 65_536)
    for number, width in ((5, 256), (273, 112)):
        bundle = files[tile_path("entries", number, width)]
        assert len(bundle) == 34 * width
        parts = [bundle[at : at + 34] for at in range(0, len(bundle), 34)]
        assert all(part[:2] == b"\0\x20" for part in parts)
        assert b"".join(hash_leaf(part[2:]) for part in parts) == files[tile_path(0, number, width)]


STEPS = [0, 1, 2, 255, 256, 257, 300, 511, 512, 600, 1000, 65_536]


def test_exports_in_steps_end_as_one_export_and_never_touch_a_full_tile(tmp_path: Path) -> None:
    log, before = MemoryLog(), {}
    folder = tmp_path / "steps"
    for old, size in zip([0, *STEPS], STEPS, strict=False):
        log.append(entries_of(size)[old:])
        assert export_tiles(log, folder)[:2] == (old, size)
        once = tmp_path / f"once{size}"
        export_tiles(log, once)
        files = files_of(folder)
        # Beside the tiles of this size only partial ones of earlier checkpoints whose full tile is not there yet.
        assert {name: files[name] for name in files_of(once)} == files_of(once)
        for name in set(files) - set(files_of(once)):
            assert ".p/" in name
            assert name.split(".p/")[0] not in files
        full = [path for path in folder.rglob("*") if path.is_file() and ".p/" not in str(path)]
        stamps = {path: path.stat().st_mtime_ns for path in full}
        assert all(stamps[path] == stamp for path, stamp in before.items())
        before = {path: stamp for path, stamp in stamps.items() if path.name != "checkpoint"}


def test_an_export_without_anything_new_writes_nothing(tmp_path: Path) -> None:
    log = MemoryLog(entries_of(300))
    assert export_tiles(log, tmp_path).files == 6
    assert export_tiles(log, tmp_path) == (300, 300, 0)


def test_a_folder_with_something_else_is_refused_and_left_alone(tmp_path: Path) -> None:
    (tmp_path / "index.html").write_text("hello")
    with pytest.raises(RequestError, match="other files"):
        export_tiles(MemoryLog(entries_of(3)), tmp_path)
    (tmp_path / "checkpoint").write_text("hello")
    with pytest.raises(RequestError, match="another checkpoint"):
        export_tiles(MemoryLog(entries_of(3)), tmp_path)
    assert sorted(os.listdir(tmp_path)) == ["checkpoint", "index.html"]


@pytest.mark.parametrize(
    ("log", "error", "reason"),
    [
        (MemoryLog(entries_of(400), OTHER_LOG), RequestError, "another origin"),
        (MemoryLog(entries_of(299)), TamperError, "at most 299 entries, got 300"),
        (MemoryLog(entries_of(400, seed=1)), TamperError, "forked"),
        (MemoryLog([*entries_of(299), *entries_of(1, seed=1)]), TamperError, "forked"),
    ],
)
def test_another_log_or_tree_is_refused(tmp_path: Path, log: MemoryLog, error: type[Exception], reason: str) -> None:
    export_tiles(MemoryLog(entries_of(300)), tmp_path)
    before = files_of(tmp_path)
    with pytest.raises(error, match=reason):
        export_tiles(log, tmp_path)
    assert files_of(tmp_path) == before


def test_a_source_that_contradicts_its_checkpoint_is_not_exported(tmp_path: Path) -> None:
    class Lying(MemoryLog):
        checkpoint = MemoryLog(entries_of(300, seed=1)).checkpoint

    for log in (Lying(entries_of(300)), Lying(entries_of(299))):
        with pytest.raises(TamperError, match="checkpoint's root"):
            export_tiles(log, tmp_path / "log")
    assert not (tmp_path / "log").exists()


def test_a_source_with_a_wrong_hash_below_a_right_root_is_not_exported(tmp_path: Path) -> None:
    log = MemoryLog(entries_of(600))
    log.levels[0][5] = bytes(32)
    with pytest.raises(TamperError, match="node over tile 0 of level 0"):
        export_tiles(log, tmp_path)
    assert not (tmp_path / "checkpoint").exists()


def test_a_source_may_be_longer_than_its_checkpoint(tmp_path: Path) -> None:
    log = MemoryLog(entries_of(600))

    class Ahead(MemoryLog):
        checkpoint = MemoryLog(entries_of(500)).checkpoint

    export_tiles(Ahead(entries_of(600)), tmp_path / "ahead")
    export_tiles(MemoryLog(entries_of(500)), tmp_path / "exact")
    assert files_of(tmp_path / "ahead") == files_of(tmp_path / "exact")
    export_tiles(log, tmp_path / "ahead")


def test_an_export_cut_at_any_step_is_taken_up_by_the_next(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    old, new = MemoryLog(entries_of(300)), MemoryLog(entries_of(1000))
    export_tiles(new, tmp_path / "whole")
    whole = files_of(tmp_path / "whole")
    for name in ("fsync", "write", "open"):
        for step in range(1, 40, 3):
            folder = tmp_path / f"{name}{step}"
            export_tiles(old, folder)
            calls = 0
            real = getattr(os, name)

            def fail(*arguments: object, step: int = step, real: object = real, **options: object) -> object:
                nonlocal calls
                calls += 1
                if calls == step:
                    raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
                return real(*arguments, **options)  # type: ignore[operator]

            with monkeypatch.context() as patched:
                patched.setattr(os, name, fail)
                with contextlib.suppress(StorageError):
                    export_tiles(new, folder)
            # What the checkpoint there promises is there, at every moment.
            if (folder / "checkpoint").read_text() == old.checkpoint:
                there = files_of(folder)
                assert there.items() >= files_of_size(tmp_path, 300).items()
            export_tiles(new, folder)
            files = files_of(folder)
            assert SCRATCH not in os.listdir(folder)
            assert {key: value for key, value in files.items() if ".p/" not in key or key in whole} == whole


def files_of_size(tmp_path: Path, size: int) -> dict[str, bytes]:
    folder = tmp_path / f"size{size}"
    if not folder.exists():
        export_tiles(MemoryLog(entries_of(size)), folder)
    return files_of(folder)


def test_a_cut_first_export_that_left_other_bytes_is_tampering(tmp_path: Path) -> None:
    log = MemoryLog(entries_of(300))
    export_tiles(log, tmp_path)
    (tmp_path / "checkpoint").unlink()
    assert export_tiles(log, tmp_path) == (0, 300, 1)
    (tmp_path / "checkpoint").unlink()
    (tmp_path / "tile/0/000").write_bytes(bytes(8192))
    with pytest.raises(TamperError, match="same bytes in tile/0/000"):
        export_tiles(log, tmp_path)


def test_two_exports_into_one_folder_at_once_are_refused(tmp_path: Path) -> None:
    handle = os.open(tmp_path, os.O_RDONLY)
    try:
        fcntl.flock(handle, fcntl.LOCK_EX)
        with pytest.raises(BusyError):
            export_tiles(MemoryLog(entries_of(3)), tmp_path)
    finally:
        os.close(handle)


def test_the_source_is_read_in_bounded_pieces(tmp_path: Path) -> None:
    largest = 0

    class Watched(MemoryLog):
        def leaf_hashes(self, first: int, count: int) -> bytes:
            nonlocal largest
            largest = max(largest, count)
            return super().leaf_hashes(first, count)

        def entries(self, first: int, count: int) -> bytes:
            nonlocal largest
            largest = max(largest, count)
            return super().entries(first, count)

    export_tiles(Watched(entries_of(40_000)), tmp_path)
    assert largest == tiles.TILES_PER_READ * tiles.TILE_HASHES
