"""The recorder sees what it must, loses what a disk would lose, and fails what it is told to fail."""

from __future__ import annotations

import os
import random
import signal
import subprocess
import sys
from pathlib import Path

import pytest

import iolog

pytestmark = pytest.mark.preload

PRELUDE = """
import os, signal, sys
signal.signal(signal.SIGINT, signal.default_int_handler)
folder = sys.argv[1]
def sync(path):
    fd = os.open(path, os.O_RDONLY)
    os.fsync(fd)
    os.close(fd)
"""


def record(
    recorder: Path, place: Path, script: str, *, fail: str | None = None
) -> tuple[subprocess.CompletedProcess[str], Path, Path]:
    """Run a script under the recorder; its standard output is the acknowledgements."""
    root = place / "root"
    root.mkdir()
    log = place / "log"
    env = {**os.environ, **iolog.environment(recorder, root=root, log=log, mark_fd=1, fail=fail)}
    command = [sys.executable, "-c", PRELUDE + script, str(root)]
    return subprocess.run(command, env=env, capture_output=True, text=True), root, log


def replay(root: Path, log: Path) -> iolog.Disk:
    disk = iolog.Disk(root, empty=True)
    for event in iolog.read_log(log):
        disk.apply(event)
    return disk


def test_what_no_sync_covers_is_lost(recorder: Path, tmp_path: Path) -> None:
    done, root, log = record(
        recorder,
        tmp_path,
        """
fd = os.open(folder + "/a", os.O_RDWR | os.O_CREAT)
os.write(fd, b"one")
os.fsync(fd)
sync(folder)
os.pwrite(fd, b"TWO", 1)
os.write(fd, b"three")
os.ftruncate(fd, 20)
""",
    )
    assert done.returncode == 0, done.stderr
    disk = replay(root, log)
    assert disk.durable() == {"a": b"one"}
    assert disk.seen() == {"a": b"oTWthree" + bytes(12)}
    assert disk.unsynced() == ["a"]
    iolog.check_complete(disk, root)


def test_a_name_lasts_only_when_its_folder_was_synced(recorder: Path, tmp_path: Path) -> None:
    done, root, log = record(
        recorder,
        tmp_path,
        """
def make(name):
    fd = os.open(name, os.O_RDWR | os.O_CREAT)
    os.write(fd, b"new")
    os.fsync(fd)
os.mkdir(folder + "/kept")
make(folder + "/kept/a")
make(folder + "/kept/b")
sync(folder + "/kept")
sync(folder)
os.rename(folder + "/kept/a", folder + "/kept/c")
os.unlink(folder + "/kept/b")
os.mkdir(folder + "/lost")
make(folder + "/lost/d")
sync(folder + "/lost")
""",
    )
    assert done.returncode == 0, done.stderr
    disk = replay(root, log)
    assert disk.durable() == {"kept": None, "kept/a": b"new", "kept/b": b"new"}
    assert disk.seen() == {"kept": None, "kept/c": b"new", "lost": None, "lost/d": b"new"}
    iolog.check_complete(disk, root)


def test_a_synchronous_descriptor_makes_only_its_own_bytes_durable(recorder: Path, tmp_path: Path) -> None:
    done, root, log = record(
        recorder,
        tmp_path,
        """
fd = os.open(folder + "/a", os.O_RDWR | os.O_CREAT)
os.write(fd, bytes(8))
os.fsync(fd)
sync(folder)
os.pwrite(fd, b"x", 0)
both = os.open(folder + "/a", os.O_RDWR | os.O_DSYNC)
os.pwrite(both, b"y", 4)
""",
    )
    assert done.returncode == 0, done.stderr
    disk = replay(root, log)
    assert disk.durable() == {"a": b"\0\0\0\0y\0\0\0"}
    iolog.check_complete(disk, root)


def test_of_unsynced_bytes_any_sectors_may_survive(recorder: Path, tmp_path: Path) -> None:
    done, root, log = record(
        recorder,
        tmp_path,
        """
fd = os.open(folder + "/a", os.O_RDWR | os.O_CREAT)
os.write(fd, bytes(4096))
os.fsync(fd)
sync(folder)
os.pwritev(fd, [b"x" * 1000, b"x" * 3096], 0)
""",
    )
    assert done.returncode == 0, done.stderr
    disk = replay(root, log)
    states = set()
    for seed in range(50):
        content = disk.torn(random.Random(seed))["a"]
        assert content is not None
        sectors = [content[at : at + 512] for at in range(0, 4096, 512)]
        assert all(sector in (bytes(512), b"x" * 512) for sector in sectors)
        states.add(content)
    assert len(states) > 10


def test_acknowledgements_stand_where_they_were_made(recorder: Path, tmp_path: Path) -> None:
    done, _, log = record(
        recorder,
        tmp_path,
        """
fd = os.open(folder + "/a", os.O_RDWR | os.O_CREAT)
os.write(fd, b"one")
os.write(1, b"early")
os.fdatasync(fd)
os.write(1, b"late")
""",
    )
    assert done.stdout == "earlylate"
    operations = [(e.operation, e.data) for e in iolog.read_log(log)]
    assert operations == [
        (iolog.Operation.OPEN, b""),
        (iolog.Operation.WRITE, b"one"),
        (iolog.Operation.MARK, b"early"),
        (iolog.Operation.SYNC_BEGIN, b""),
        (iolog.Operation.SYNC_END, b""),
        (iolog.Operation.MARK, b"late"),
    ]


def test_a_write_past_the_recorder_is_found(recorder: Path, tmp_path: Path) -> None:
    done, root, log = record(
        recorder,
        tmp_path,
        """
import mmap
fd = os.open(folder + "/a", os.O_RDWR | os.O_CREAT)
os.write(fd, bytes(4096))
with mmap.mmap(fd, 4096) as view:
    view[0] = 1
""",
    )
    assert done.returncode == 0, done.stderr
    with pytest.raises(iolog.LogError, match="expected to see every operation"):
        iolog.check_complete(replay(root, log), root)


THREE_WRITES = """
fd = os.open(folder + "/a", os.O_RDWR | os.O_CREAT)
for part in (b"one", b"two", b"six"):
    try:
        print(os.write(fd, part), end=" ")
        os.fsync(fd)
    except OSError as error:
        print(error.strerror, end=" ")
    except KeyboardInterrupt:
        print("interrupted", end=" ")
"""


@pytest.mark.parametrize(
    ("fail", "content", "said"),
    [
        ("write a 2 ENOSPC", b"onesix", "3 No space left on device 3 "),
        ("write a 2 ENOSPC before all", b"one", "3 No space left on device No space left on device "),
        ("write a 2 EIO after", b"onetwosix", "3 Input/output error 3 "),
        ("write a 2 SHORT", b"onetsix", "3 1 3 "),
        ("sync * 1 EIO", b"onetwosix", "3 Input/output error 3 3 "),
        ("write other 1 EIO", b"onetwosix", "3 3 3 "),
        ("truncate * 1 EIO", b"onetwosix", "3 3 3 "),
        ("write a 2 INT", b"onetwosix", "3 interrupted 3 "),
        ("open a 1 EIO", None, ""),
    ],
)
def test_the_nth_call_fails_as_told(
    recorder: Path, tmp_path: Path, fail: str, content: bytes | None, said: str
) -> None:
    done, root, log = record(recorder, tmp_path, THREE_WRITES, fail=fail)
    assert done.stdout == said
    assert (root / "a").exists() == (content is not None)
    if content is not None:
        assert (root / "a").read_bytes() == content
    iolog.check_complete(replay(root, log), root)


@pytest.mark.parametrize(("when", "content"), [("before", b"one"), ("after", b"onetwo")])
def test_the_nth_call_kills_as_told(recorder: Path, tmp_path: Path, when: str, content: bytes) -> None:
    done, root, log = record(recorder, tmp_path, THREE_WRITES, fail=f"write a 2 KILL {when}")
    assert done.returncode == -signal.SIGKILL
    assert (root / "a").read_bytes() == content
    iolog.check_complete(replay(root, log), root)


def test_a_fault_that_is_not_understood_stops_the_process(recorder: Path, tmp_path: Path) -> None:
    done, _, _ = record(recorder, tmp_path, "", fail="write a 2 ENOTHING")
    assert done.returncode == -signal.SIGABRT
    assert "HUB_IOLOG_FAIL" in done.stderr
