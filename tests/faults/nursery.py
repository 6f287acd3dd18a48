"""Processes that may be killed: forked in milliseconds from one that has imported hub and opened nothing.

An LMDB environment must never be carried over a fork, and a test's own process has often opened one.
"""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
from pathlib import Path
from typing import Any

import watch

CHILD = Path(__file__).with_name("child.py")


def child_environment(extra: dict[str, str] | None = None) -> dict[str, str]:
    """This process's environment, so that a child imports the same hub."""
    paths = [p for p in sys.path if p]
    return {**os.environ, "PYTHONPATH": os.pathsep.join(paths), **(extra or {})}


class Job:
    """One process at work.

    Attributes:
        pid: of the process that does the job.
        pipe: its frames; the end of file comes when it has ended.
    """

    def __init__(self, connection: socket.socket, job: dict[str, Any]) -> None:
        self._connection = connection
        self.pipe, write_end = os.pipe()
        socket.send_fds(connection, [json.dumps(job).encode()], [write_end])
        os.close(write_end)
        self.pid = int(json.loads(connection.recv(65536)))
        self.status: int | None = None

    def kill(self) -> None:
        """Kill -9; what it had written to the pipe stays readable."""
        os.kill(self.pid, signal.SIGKILL)

    def wait(self) -> int:
        """The exit status as ``os.waitpid`` gives it."""
        if self.status is None:
            self._connection.send(b"wait")
            self.status = int(json.loads(self._connection.recv(65536)))
            os.close(self.pipe)
        return self.status

    def __enter__(self) -> Job:
        return self

    def __exit__(self, *_: object) -> None:
        if self.status is None:
            self.kill()
            self.wait()


class Nursery:
    """A process that has imported hub and opened nothing, and forks the processes that are to die."""

    def __init__(self, extra: dict[str, str] | None = None) -> None:
        self._connection, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        command = [sys.executable, str(CHILD), str(theirs.fileno())]
        self._process = subprocess.Popen(command, env=child_environment(extra), pass_fds=[theirs.fileno()])
        theirs.close()
        assert self._connection.recv(16) == b"ready"

    def start(self, **job: Any) -> Job:
        """Begin a job; one at a time."""
        watch.moves()
        return Job(self._connection, job)

    def close(self) -> None:
        self._connection.close()
        self._process.wait(timeout=30)
