"""The processes that are killed, recorded, and that hold a folder open elsewhere.

Started as ``python child.py SOCKET_FD``: imports hub once, opens nothing, and forks a child for each job that comes
over the socket, with the job's own pipe passed along, so that a kill costs milliseconds. A job is a dict in JSON:

* ``plan``: run operations of a plan in a folder, from ``first``, to ``stop`` or until killed;
* ``create``: make a folder;
* ``retain``: erase what has expired by the clock ``now``;
* ``hold``: open a folder and keep it until killed;
* ``faulty``: one operation of a plan with a fault in force (under the recorder), again when that is said to be safe.

Started as ``python child.py - JOB FD``: one job in this process, frames go to the descriptor.
"""

from __future__ import annotations

import ctypes
import json
import os
import signal
import socket
import sys
import time
import traceback
from collections.abc import Callable
from pathlib import Path
from typing import Any

if __name__ == "__main__":
    sys.path.insert(0, str(Path(__file__).parents[1]))

import proof

import hub
import hub.additions
import hub.retain


def run_job(job: dict[str, Any], fd: int, catalog: hub.Catalog) -> None:
    """Do one job; frames go to ``fd``."""
    options = job.get("options", {})
    for name, value in job.get("limits", {}).items():
        assert hasattr(hub.additions, name)
        setattr(hub.additions, name, value)
    match job["job"]:
        case "plan":
            plan = proof.Plan(job["seed"], proof.Profile(**job["profile"]), catalog)
            proof.run_plan(
                job["folder"], plan, job["first"], job.get("stop"), lambda frame: os.write(fd, frame), **options
            )
        case "faulty":
            plan = proof.Plan(job["seed"], proof.Profile(**job["profile"]), catalog)
            run_faulty(job, plan, lambda frame: os.write(fd, frame))
        case "create":
            os.write(fd, proof.frame(proof.STARTED))
            hub.open(job["folder"], create=True).close()
            os.write(fd, proof.frame(proof.OPENED))
        case "retain":
            for name, value in job["limits_of_retain"].items():
                assert hasattr(hub.retain, name)
                setattr(hub.retain, name, value)
            os.write(fd, proof.frame(proof.STARTED))
            with hub.open(job["folder"], clock=lambda: job["now"]) as h:
                os.write(fd, proof.frame(proof.OPENED))
                h.retain(confirm=True)
                os.write(fd, proof.frame(proof.DONE))
        case "hold":
            with hub.open(job["folder"], **options):
                os.write(fd, proof.frame(proof.OPENED))
                while True:
                    time.sleep(60)


def run_faulty(job: dict[str, Any], plan: proof.Plan, send: Callable[[bytes], Any]) -> None:
    """Open a folder, put a fault in force before or after that, do one operation, then the same again if safe."""
    shim = ctypes.CDLL(None)
    signal.signal(signal.SIGINT, signal.default_int_handler)
    clock = proof.Clock()
    operation = plan.operation(job["first"])

    def attempt(call: Callable[[], Any]) -> Any:
        try:
            return call()
        except hub.errors.StorageError as error:
            again = error.retry_safe
        except KeyboardInterrupt:
            again = True
        shim.iolog_fail(b"")
        send(proof.frame(proof.FAILED if again else proof.STOPPED))
        return None

    def open_folder() -> hub.Hub:
        return hub.open(job["folder"], clock=clock, **job.get("options", {}))

    if job["at_open"]:
        assert shim.iolog_fail(job["fail"].encode()) == 0
        h = attempt(open_folder)
        send(proof.frame(proof.COUNTED, shim.iolog_seen()))
        shim.iolog_fail(b"")
        h = h or open_folder()
    else:
        h = open_folder()
    send(proof.frame(proof.OPENED))
    if not job["at_open"]:
        assert shim.iolog_fail(job["fail"].encode()) == 0
    send(proof.frame(proof.STARTED, operation.number))
    done = attempt(lambda: proof.perform(h, plan, operation, clock))
    if not job["at_open"]:
        send(proof.frame(proof.COUNTED, shim.iolog_seen()))
        shim.iolog_fail(b"")
    if done is None:
        done = attempt(lambda: proof.perform(h, plan, operation, clock))
    if done is not None:
        send(proof.frame(proof.DONE, operation.number, *proof.digests(done[0], done[2])))
    h.close()


def serve(connection: socket.socket) -> None:
    """Fork a child for each job; answer its process number, and its exit status when it has ended."""
    catalog = hub.Catalog.japan()
    connection.send(b"ready")
    while True:
        message, fds, _, _ = socket.recv_fds(connection, 65536, 1)
        if not message:
            return
        pid = os.fork()
        if pid == 0:
            status = 1
            try:
                connection.close()
                run_job(json.loads(message), fds[0], catalog)
                status = 0
            except BaseException:
                traceback.print_exc()
            finally:
                os._exit(status)
        os.close(fds[0])
        connection.send(json.dumps(pid).encode())
        # Not before the other side has done with it: until then nobody else can get the number that it may kill.
        connection.recv(16)
        _, status = os.waitpid(pid, 0)
        connection.send(json.dumps(status).encode())


if __name__ == "__main__":
    if sys.argv[1] == "-":
        run_job(json.loads(sys.argv[2]), int(sys.argv[3]), hub.Catalog.japan())
    else:
        serve(socket.socket(fileno=int(sys.argv[1])))
