"""A small disk of its own: a tmpfs, where the tests may mount one (root on Linux); elsewhere the test is skipped."""

from __future__ import annotations

import contextlib
import os
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

PAGE_BYTES = 4096


class SmallDisk:
    """A mounted tmpfs, filled with a file that can be let go."""

    def __init__(self, place: Path) -> None:
        self.place = place
        self._ballast = place / "ballast"

    def fill(self, *, free_bytes: int) -> None:
        """Leave about this much room."""
        self.empty()
        for _ in range(100):
            room = os.statvfs(self.place)
            size = room.f_bavail * room.f_frsize - free_bytes
            if size < PAGE_BYTES:
                # What is there already leaves no more.
                return
            with open(self._ballast, "wb") as file, contextlib.suppress(OSError):
                # The hub may have written something since.
                os.posix_fallocate(file.fileno(), 0, size)
                return
            self.empty()
        raise AssertionError("the disk could not be filled")

    def empty(self) -> None:
        self._ballast.unlink(missing_ok=True)


@contextlib.contextmanager
def small_disk(place: Path, size: int) -> Iterator[SmallDisk]:
    """Mount one of so many bytes at a place."""
    place.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", f"size={size}", "tmpfs", str(place)]
    try:
        done = subprocess.run(mount, capture_output=True, text=True)
    except OSError as error:
        pytest.skip(f"no small disk: {error}")
    if done.returncode != 0:
        pytest.skip(f"no small disk: {done.stderr.strip()}")
    try:
        yield SmallDisk(place)
    finally:
        subprocess.run(["umount", "-l", str(place)], check=True)
