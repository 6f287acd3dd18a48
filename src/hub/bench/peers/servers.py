"""Peers that are servers: started by the bench for one run, reached over a Unix socket, ended with it.

A server's socket and, where its own user could not reach the run's folder, its data stand in a folder of their own
below the system's temporary one, on the same device; what cannot be had is said by :class:`PeerRefused`.
"""

from __future__ import annotations

import contextlib
import os
import pwd
import shutil
import signal
import subprocess
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import ClassVar

START_SECONDS = 20.0
STOP_SECONDS = 20.0
ATTEMPTS_PER_SECOND = 50
MESSAGE_CHARACTERS = 120


class PeerRefused(Exception):
    """A peer cannot take part: it is not installed, or its server does not start. The text says why, in one line."""


class Server:
    """A process of one's own that is waited for and ended.

    Attributes:
        folder: short, for sockets, whose paths may have 107 bytes. log: what the process says.
    """

    END = signal.SIGTERM
    """What ends it in order."""

    def __init__(self, name: str, folder: Path) -> None:
        self.name = name
        self.folder = Path(tempfile.mkdtemp(prefix="hub-bench-"))
        self.log = folder / f"{name}.log"
        self.process: subprocess.Popen[bytes] | None = None

    def start(self, command: list[str], *, user: str | None = None) -> None:
        """Start the process, as another user if one is given; where ``setpriv`` is there it ends when we are killed."""
        if shutil.which("setpriv"):
            command = ["setpriv", "--pdeathsig", self.END.name.removeprefix("SIG"), "--", *command]
        # Not of our group: Ctrl-C is ours to answer, by ending it in order.
        with open(self.log, "wb") as log:
            try:
                self.process = subprocess.Popen(
                    command, stdin=subprocess.DEVNULL, stdout=log, stderr=log, start_new_session=True, cwd="/",
                    **as_user(user),  # type: ignore[call-overload]
                )
            except (OSError, subprocess.SubprocessError) as error:
                raise PeerRefused(f"start {command[0]}: {getattr(error, 'strerror', None) or error}") from error

    def wait_until(self, ready: Callable[[], bool]) -> None:
        """Wait until it can be asked.

        Raises:
            PeerRefused: the process ended, or it took too long.
        """
        assert self.process is not None
        end = time.monotonic() + START_SECONDS
        while not ready():
            if self.process.poll() is not None:
                raise PeerRefused(f"its server ended with status {self.process.returncode}: {self.last_line()}")
            if time.monotonic() > end:
                raise PeerRefused(f"its server was not ready within {START_SECONDS:.0f} s")
            time.sleep(1 / ATTEMPTS_PER_SECOND)

    def last_line(self) -> str:
        """What the server said last, cut to a line."""
        with contextlib.suppress(OSError):
            lines = self.log.read_text(errors="replace").strip().splitlines()
            if lines:
                return lines[-1][:MESSAGE_CHARACTERS]
        return "it said nothing"

    def close(self) -> None:
        """End the process, wait for it, remove the folder."""
        if self.process is not None and self.process.poll() is None:
            self.process.send_signal(self.END)
            try:
                self.process.wait(STOP_SECONDS)
            except subprocess.TimeoutExpired:
                self.process.kill()
                self.process.wait()
        self.process = None
        shutil.rmtree(self.folder, ignore_errors=True)


class RedisServer(Server):
    """``redis-server`` that keeps everything in memory and nothing on disk.

    Attributes:
        socket: its path.
    """

    def __init__(self, folder: Path) -> None:
        super().__init__("redis", folder)
        self.socket = self.folder / "redis.sock"
        program = shutil.which("redis-server")
        try:
            if program is None:
                raise PeerRefused("redis-server is not installed (make peers)")
            nothing = ["--save", "", "--appendonly", "no"]
            self.start([program, "--port", "0", "--unixsocket", str(self.socket), "--dir", str(self.folder), *nothing])
            self.wait_until(self.socket.exists)
        except BaseException:
            self.close()
            raise


class PostgresServer(Server):
    """A PostgreSQL of its own with fsync on, reached over a socket that only its user and root can reach.

    Attributes:
        data: its data folder. conninfo: what a client connects with.
    """

    END = signal.SIGINT
    """A fast shutdown: connections are cut, everything is in order."""

    SETTINGS: ClassVar[dict[str, str]] = {
        "listen_addresses": "", "fsync": "on", "synchronous_commit": "on", "full_page_writes": "on",
        "shared_buffers": "512MB", "work_mem": "256MB", "maintenance_work_mem": "256MB", "max_wal_size": "8GB",
        "checkpoint_timeout": "1h", "jit": "off", "autovacuum": "off", "max_parallel_maintenance_workers": "1",
    }  # fmt: skip

    def __init__(self, folder: Path, *, threads: int) -> None:
        super().__init__("postgresql", folder)
        try:
            programs = postgres_programs()
            user = server_user()
            self.data = self._place(folder, user)
            self._initialise(programs / "initdb", user)
            settings = {**self.SETTINGS, "max_parallel_workers_per_gather": str(threads - 1)}
            options = [part for name, value in settings.items() for part in ("-c", f"{name}={value}")]
            command = [str(programs / "postgres"), "-D", str(self.data), "-k", str(self.folder), *options]
            self.start(command, user=user)
            self.wait_until(self._is_ready)
        except BaseException:
            self.close()
            raise
        self.conninfo = f"host={self.folder} dbname=postgres user=bench"

    def _is_ready(self) -> bool:
        # The socket is there before recovery is done; the eighth line of this file says when connections are taken.
        try:
            return self.data.joinpath("postmaster.pid").read_text().splitlines()[7].strip() == "ready"
        except (OSError, IndexError):
            return False

    def _place(self, folder: Path, user: str | None) -> Path:
        """A data folder that the server's user can reach, on the disk of the run."""
        if user is None:
            return folder / "postgresql"
        entry = pwd.getpwnam(user)
        os.chown(self.folder, entry.pw_uid, entry.pw_gid)
        if self.folder.stat().st_dev != folder.stat().st_dev:
            raise PeerRefused(f"its user {user} can reach no folder on the disk of the run")
        return self.folder / "data"

    def _initialise(self, initdb: Path, user: str | None) -> None:
        command = [str(initdb), "-D", str(self.data), "-U", "bench", "--auth=trust", "--encoding=UTF8", "--no-sync",
                   "--locale=C"]  # fmt: skip
        with open(self.log, "wb") as log:
            done = subprocess.run(
                command, stdin=subprocess.DEVNULL, stdout=log, stderr=log, cwd="/", check=False,
                **as_user(user),  # type: ignore[call-overload]
            )
        if done.returncode:
            raise PeerRefused(f"initdb ended with status {done.returncode}: {self.last_line()}")


def postgres_programs() -> Path:
    """The folder of ``postgres`` and ``initdb``; Debian keeps it off the path.

    Raises:
        PeerRefused: there is none.
    """
    found = shutil.which("initdb")
    places = [Path(found).resolve().parent] if found else []
    places += sorted(Path("/usr/lib/postgresql").glob("*/bin"), key=_version_of, reverse=True)
    for place in places:
        if all((place / name).exists() for name in ("initdb", "postgres")):
            return place
    raise PeerRefused("PostgreSQL is not installed (make peers)")


def _version_of(place: Path) -> float:
    try:
        return float(place.parent.name)
    except ValueError:
        return 0.0


def server_user() -> str | None:
    """Who a server runs as: ourselves (None), or for root, as whom PostgreSQL refuses to run, a user without rights."""
    if os.geteuid() != 0:
        return None
    for name in ("postgres", "nobody"):
        with contextlib.suppress(KeyError):
            return pwd.getpwnam(name).pw_name
    raise PeerRefused("no user but root to run its server as")


def as_user(user: str | None) -> dict[str, object]:
    """What ``subprocess`` is given for that."""
    if user is None:
        return {}
    entry = pwd.getpwnam(user)
    return {"user": entry.pw_uid, "group": entry.pw_gid, "extra_groups": []}
