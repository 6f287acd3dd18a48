"""Both sides, built apart: the base from its commit, the head from the working tree as it is.

A build is a folder with the package alone (``pip install --target``), kept under its sources' hash. What the compiler
made is kept under the hash of the native sources: a side that differs from an earlier one in Python only takes it, and
seconds. The packages that a side needs come from the environment that runs the gate, if both sides ask for the same; if
not, the base has a virtual environment of its own.
"""

from __future__ import annotations

import contextlib
import hashlib
import io
import os
import platform
import shutil
import subprocess
import sys
import tarfile
import tempfile
import time
import tomllib
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import numpy as np

KEPT = 6
"""Builds that stay; each takes 10 to 20 MiB, one with an environment of its own 200."""

BUILD_SECONDS_MAX = 1_800
SOURCES, ASIDE = ("setup.py", "pyproject.toml", "src"), Path("src/hub/bench")
"""What a build is made of, and what of it no worker imports: the gate runs its own."""

NATIVE = ("setup.py", "pyproject.toml", "src/**/*.pyx", "src/**/*.pxd", "src/**/*.c", "src/**/*.h")
"""What the compiler's part of a build is made of."""


class BuildError(Exception):
    """A side could not be had; one line that says why."""


@dataclass(frozen=True)
class Built:
    """One side.

    Attributes:
        commit: the full one; of the head, that on which the working tree stands. dirty: whether it differs from that.
        python: which runs it. site: the folder to be first on its path. cached: whether it was there.
    """

    name: str
    commit: str
    dirty: bool
    python: str
    site: Path
    cached: bool
    seconds: float


def git(repository: Path, *arguments: str) -> bytes:
    """What git printed.

    Raises:
        BuildError: it failed, with its last line.
    """
    try:
        done = subprocess.run(["git", "-C", str(repository), *arguments], capture_output=True, timeout=120)
    except (OSError, subprocess.TimeoutExpired) as error:
        raise BuildError(f"git: {error}") from None
    if done.returncode:
        raise BuildError(f"git {arguments[0]}: {last_line(done.stderr.decode(errors='replace'))}")
    return done.stdout


def find_repository(folder: Path) -> Path:
    """The work tree that a folder belongs to."""
    return Path(os.fsdecode(git(folder, "rev-parse", "--show-toplevel")).strip())


def find_commit(repository: Path, revision: str) -> str:
    try:
        name = f"{revision}^{{commit}}"
        return git(repository, "rev-parse", "--verify", "--quiet", "--end-of-options", name).decode().strip()
    except BuildError:
        raise BuildError(f"--base: expected a commit, got {revision!r}") from None


def lay_out_commit(repository: Path, commit: str, folder: Path) -> None:
    """The files of a commit. From an archive: a work tree of git's would leave its name behind if we are killed."""
    with tarfile.open(fileobj=io.BytesIO(git(repository, "archive", "--format=tar", commit))) as archive:
        archive.extractall(folder, filter="data")


def lay_out_head(repository: Path, folder: Path) -> bool:
    """The files as they are: tracked ones, and new ones that are not ignored; whether any differs from the commit."""
    for name in git(repository, "ls-files", "-z", "-co", "--exclude-standard").split(b"\0"):
        source = repository / os.fsdecode(name)
        if name and source.is_file():
            target = folder / os.fsdecode(name)
            target.parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(source, target)
    return bool(git(repository, "status", "--porcelain"))


def build_both(repository: Path, revision: str, cache: Path) -> tuple[Built, Built]:
    """Base and head, ready to run.

    Raises:
        BuildError: one could not be built; its log stays in the cache.
    """
    commit, head = find_commit(repository, revision), find_commit(repository, "HEAD")
    cache.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix="sources-", dir=cache, ignore_cleanup_errors=True) as name:
        folders = {side: Path(name, side) for side in ("base", "head")}
        for folder in folders.values():
            folder.mkdir()
        lay_out_commit(repository, commit, folders["base"])
        dirty = lay_out_head(repository, folders["head"])
        apart = needs_of(folders["base"], "base") != needs_of(folders["head"], "head")
        # What the compiler makes of one will do for the other.
        same = native_digest_of(folders["base"], apart=apart) == native_digest_of(folders["head"])
        builders = Builders()
        with ThreadPoolExecutor(2) as pool:
            try:
                base = pool.submit(builders.build, "base", commit, False, folders["base"], cache, apart)
                if same:
                    base.result()
                other = pool.submit(builders.build, "head", head, dirty, folders["head"], cache, False)
                found = base.result(), other.result()
            except BaseException:
                # An interrupt, or one side's failure: the pool would wait for the other's compiler.
                builders.stop()
                raise
    forget_old(cache, {built.site.parent for built in found})
    return found


def needs_of(folder: Path, side: str) -> set[str]:
    """Packages that a side is built and run with."""
    try:
        project = tomllib.loads((folder / "pyproject.toml").read_text(encoding="utf-8"))
        return {*project["project"]["dependencies"], *project["build-system"]["requires"]}
    except (OSError, ValueError, KeyError) as error:
        raise BuildError(f"{side} does not build: pyproject.toml: {type(error).__name__}: {error}") from None


def digest_of(folder: Path, *, apart: bool = False) -> str:
    """Of everything that a build depends on."""
    files = {path for part in SOURCES for path in [folder / part, *(folder / part).rglob("*")]}
    return _digest(folder, {path for path in files if not path.is_relative_to(folder / ASIDE)}, apart)


def native_digest_of(folder: Path, *, apart: bool = False) -> str:
    """Of everything that the compiler's part of a build depends on."""
    return _digest(folder, {path for pattern in NATIVE for path in folder.glob(pattern)}, apart)


def _digest(folder: Path, files: set[Path], apart: bool) -> str:
    found = hashlib.sha256(
        repr((sys.version, np.__version__, platform.machine(), sorted(flags_of_build().items()), apart)).encode()
    )
    for path in sorted(path for path in files if path.is_file()):
        content = path.read_bytes()
        found.update(f"{path.relative_to(folder)}\0{len(content)}\0".encode())
        found.update(content)
    return found.hexdigest()[:20]


def flags_of_build() -> dict[str, str]:
    names = ("CC", "CFLAGS", "LDFLAGS", "HUB_PORTABLE")
    return {name: os.environ[name] for name in names if name in os.environ}


class Builders:
    """The builds under way."""

    def __init__(self) -> None:
        self._running: list[subprocess.Popen[bytes]] = []
        self._stopped = False

    def stop(self) -> None:
        """End them with all that they started."""
        self._stopped = True
        for process in self._running:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, 9)

    def build(self, name: str, commit: str, dirty: bool, source: Path, cache: Path, apart: bool) -> Built:
        """Build one side, unless the cache has it."""
        begin = time.monotonic()
        place = cache / digest_of(source, apart=apart)
        python = str(place / "venv" / "bin" / "python") if apart else sys.executable
        cached = (place / "site" / "hub").is_dir()
        if not cached:
            log = cache / f"failed-{name}.log"
            making = Path(tempfile.mkdtemp(prefix="making-", dir=cache))
            try:
                with log.open("wb") as output:
                    self._make(name, source, making, log, output.fileno(), apart)
                # Where two gates build the same at once, the first one's stays.
                with contextlib.suppress(OSError):
                    making.rename(place)
            finally:
                shutil.rmtree(making, ignore_errors=True)
            log.unlink(missing_ok=True)
        os.utime(place)
        return Built(name, commit, dirty, python, place / "site", cached, time.monotonic() - begin)

    def _make(self, name: str, source: Path, making: Path, log: Path, output: int, apart: bool) -> None:
        python = sys.executable
        pip = ["-m", "pip", "--disable-pip-version-check", "--no-input", "-q", "install"]
        if apart:
            python = str(making / "venv" / "bin" / "python")
            self._run(name, [sys.executable, "-m", "venv", str(making / "venv")], source, log, output)
            self._run(name, [python, *pip, *sorted(needs_of(source, name))], source, log, output)
        site, native = making / "site", making.parent / f"native-{native_digest_of(source, apart=apart)}"
        if native.is_dir():
            shutil.copytree(source / "src", site)
            shutil.copytree(native, site, dirs_exist_ok=True)
            self._run(name, [python, "-m", "compileall", "-q", str(site)], source, log, output)
            os.utime(native)
            return
        own = ["--no-deps", "--no-build-isolation", "--target", str(site), "."]
        self._run(name, [python, *pip, *own], source, log, output)
        keep_native(site, native)

    def _run(self, name: str, command: list[str], source: Path, log: Path, output: int) -> None:
        if self._stopped:
            raise BuildError(f"{name}: stopped")
        # A debug or sanitized build is nobody's speed; the path of this run's own package must not be found.
        environment = {
            key: value for key, value in os.environ.items() if key not in ("HUB_DEBUG", "HUB_SANITIZE", "PYTHONPATH")
        }
        process = subprocess.Popen(
            command, cwd=source, stdin=subprocess.DEVNULL, stdout=output, stderr=output, env=environment,
            start_new_session=True,
        )  # fmt: skip
        self._running.append(process)
        try:
            status = process.wait(BUILD_SECONDS_MAX)
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, 9)
            process.wait()
            raise BuildError(f"{name} does not build: expected at most {BUILD_SECONDS_MAX} s") from None
        finally:
            self._running.remove(process)
        if status:
            raise BuildError(f"{name} does not build: {cause_of(log)}; see {log}")


def keep_native(site: Path, native: Path) -> None:
    """Put aside what only a compiler can make of a build, and its metadata."""
    making = Path(tempfile.mkdtemp(prefix="making-", dir=native.parent))
    try:
        for path in [*site.glob("*.dist-info/*"), *site.rglob("*.so")]:
            if path.is_file():
                target = making / path.relative_to(site)
                target.parent.mkdir(parents=True, exist_ok=True)
                shutil.copy2(path, target)
        with contextlib.suppress(OSError):
            making.rename(native)
    finally:
        shutil.rmtree(making, ignore_errors=True)


def cause_of(log: Path) -> str:
    """The line of a build's log that says most."""
    lines = [line.strip() for line in log.read_text(errors="replace").splitlines() if line.strip()]
    for word in ("error:", "Error"):
        for line in lines:
            if word in line and "subprocess-exited" not in line:
                return line[:160]
    return lines[-1][:160] if lines else "no output"


def last_line(text: str) -> str:
    lines = text.strip().splitlines()
    return lines[-1] if lines else "no output"


def forget_old(cache: Path, used: set[Path]) -> None:
    """Remove all builds, and all parts of compilers, but the newest and those in use."""
    for kind in ([path for path in cache.iterdir() if (path / "site").is_dir()], list(cache.glob("native-*"))):
        kind.sort(key=lambda path: -path.stat().st_mtime)
        for path in kind[KEPT:]:
            if path not in used:
                shutil.rmtree(path, ignore_errors=True)
