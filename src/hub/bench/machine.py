"""What the figures were measured on, and whether the machine was fit to measure on."""

from __future__ import annotations

import os
import platform
import re
import shutil
import statistics
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import lmdb
import numpy as np

import hub
from hub import _core

BUSY_CORES_MAX = 0.10
"""Share of all cores that others may use during a run before the figures are called disturbed."""

SPIN_SPREAD_MAX = 0.10
"""How far the halves of a fixed piece of work may differ before the clock is called unsteady."""


def describe(folder: Path) -> dict[str, Any]:
    """The machine block of the JSON: hardware, kernel, versions, flags, disk."""
    commit, dirty = find_commit()
    usage = shutil.disk_usage(folder)
    return {
        "cpu": cpu_model(),
        "cores": len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count(),
        "memory_bytes": memory_bytes("MemTotal"),
        "memory_available_bytes": memory_bytes("MemAvailable"),
        "kernel": f"{platform.system()} {platform.release()}",
        "governor": read_text("/sys/devices/system/cpu/cpu0/cpufreq/scaling_governor"),
        "huge_pages": read_text("/sys/kernel/mm/transparent_hugepage/enabled"),
        "python": f"{platform.python_implementation()} {platform.python_version()}",
        "numpy": np.__version__,
        "lmdb": ".".join(map(str, lmdb.version())),
        "py_lmdb": lmdb.__version__,
        "hub": package_version(),
        "flags": _core.BUILD,
        "compiler": built_with(rb"((?:GCC: \([^)]*\)|clang version) [0-9.]+)"),
        "cython": built_with(rb"_cython_([0-9]+_[0-9]+_[0-9a-z]+)"),
        "commit": commit,
        "dirty": dirty,
        "filesystem": filesystem(folder),
        "disk_free_bytes": usage.free,
        "fsync_us": fsync_us(folder),
    }


def built_with(pattern: bytes) -> str | None:
    """What the core's file says of what made it: not what is installed now, which may be another."""
    found = re.search(pattern, Path(_core.__file__).read_bytes())
    return found[1].decode().replace("_", ".") if found else None


def package_version() -> str | None:
    return getattr(hub, "__version__", None)


def cpu_model() -> str:
    for line in (read_text("/proc/cpuinfo") or "").splitlines():
        if line.startswith("model name"):
            return line.partition(":")[2].strip()
    return platform.processor() or platform.machine()


def memory_bytes(field: str) -> int | None:
    for line in (read_text("/proc/meminfo") or "").splitlines():
        name, _, value = line.partition(":")
        if name == field:
            return int(value.split()[0]) * 1024
    return None


def read_text(path: str) -> str | None:
    try:
        return Path(path).read_text().strip()
    except OSError:
        return None


def find_commit() -> tuple[str | None, bool | None]:
    """(commit, dirty) of the work tree that this package runs from; (None, None) for an installed package."""
    package = Path(hub.__file__).parent

    def git(*arguments: str) -> str | None:
        try:
            done = subprocess.run(["git", "-C", str(package), *arguments], capture_output=True, text=True, timeout=10)
        except (OSError, subprocess.TimeoutExpired):
            return None
        return done.stdout.strip() if done.returncode == 0 else None

    if git("ls-files", "--error-unmatch", "__init__.py") is None:
        return None, None
    status = git("status", "--porcelain")
    return git("rev-parse", "HEAD"), bool(status) if status is not None else None


def filesystem(folder: Path) -> str | None:
    """Type of the filesystem that holds the folder, by the longest mount point above it."""
    path = str(folder.resolve())
    best, kind = "", None
    for line in (read_text("/proc/self/mounts") or "").splitlines():
        _, mount, name, *_ = line.split()
        inside = path == mount or path.startswith(mount.rstrip("/") + "/")
        if inside and len(mount) >= len(best):
            best, kind = mount, name
    return kind


def fsync_us(folder: Path) -> float:
    """Median microseconds of a 4 KiB append and its fdatasync, what the smallest durable commit costs here."""
    path = folder / "fsync.probe"
    seconds = []
    descriptor = os.open(path, os.O_CREAT | os.O_WRONLY, 0o600)
    try:
        for _ in range(32):
            start = time.perf_counter()
            os.write(descriptor, bytes(4096))
            getattr(os, "fdatasync", os.fsync)(descriptor)
            seconds.append(time.perf_counter() - start)
    finally:
        os.close(descriptor)
        path.unlink()
    return statistics.median(seconds) * 1e6


def spin_spread() -> float:
    """Run a fixed piece of work sixteen times; by how much the slower half's median exceeds the faster half's."""
    seconds = []
    for _ in range(16):
        start = time.perf_counter()
        sum(range(300_000))
        seconds.append(time.perf_counter() - start)
    first, second = statistics.median(seconds[:8]), statistics.median(seconds[8:])
    return max(first, second) / min(first, second) - 1


class Neighbours:
    """How many cores others used between two moments, measured from the kernel's counts."""

    def __init__(self) -> None:
        self._start = self._counts()

    def cores(self) -> float | None:
        """Cores used by others since the start, steal included; None where the kernel does not tell."""
        now = self._counts()
        if now is None or self._start is None:
            return None
        busy, own, wall = (b - a for a, b in zip(self._start, now, strict=True))
        return max(0.0, (busy - own) / wall) if wall > 0 else None

    @staticmethod
    def _counts() -> tuple[float, float, float] | None:
        line = (read_text("/proc/stat") or "").partition("\n")[0].split()
        if not line or line[0] != "cpu":
            return None
        user, nice, system, _idle, _wait, irq, softirq, steal = map(int, line[1:9])
        busy = (user + nice + system + irq + softirq + steal) / os.sysconf("SC_CLK_TCK")
        times = os.times()
        return busy, times.user + times.system + times.children_user + times.children_system, time.monotonic()


def warnings_before(machine: dict[str, Any], spin: float, disk_bytes: int, memory_needed: int) -> list[str]:
    """What makes figures of this machine doubtful, known before the run."""
    found = []
    if "-O0" in machine["flags"] or "sanitize" in machine["flags"]:
        found.append(f"debug build ({machine['flags']}): figures are not the hub's")
    if machine["flags"] == "unknown":
        found.append("the core does not know its compiler flags: was it built by setup.py?")
    if hasattr(sys, "gettotalrefcount") or sys.flags.dev_mode:
        found.append("Python runs in a debug or development mode")
    if spin > SPIN_SPREAD_MAX:
        found.append(f"unsteady clock: the same work took {spin:.0%} longer in one half of a short spin")
    if machine["disk_free_bytes"] < 2 * disk_bytes:
        found.append(f"small disk: {gib(machine['disk_free_bytes'])} free, the run writes up to {gib(disk_bytes)}")
    available = machine["memory_available_bytes"]
    if available is not None and available < memory_needed:
        found.append(f"small memory: {gib(available)} available, the run would like {gib(memory_needed)}")
    if machine["governor"] not in (None, "performance"):
        found.append(f"CPU governor is {machine['governor']}, not performance")
    return found


def warning_after(cores: float | None) -> str | None:
    """Whether others disturbed the run."""
    total = os.cpu_count() or 1
    if cores is None or cores <= BUSY_CORES_MAX * total:
        return None
    return f"busy machine: others used {cores:.2f} of {total} cores during the run"


def gib(count: float) -> str:
    return f"{count / (1 << 30):.1f} GiB"
