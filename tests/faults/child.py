"""The processes that are killed, recorded, and that hold a folder open elsewhere.

Started as ``python child.py SOCKET_FD``: imports hub once, opens nothing, and forks a child for each job that comes
over the socket, with the job's own pipe passed along, so that a kill costs milliseconds. A job is a dict in JSON:

* ``plan``: run operations of a plan in a folder, from ``first``, to ``stop`` or until killed;
* ``create``: make a folder;
* ``retain``: erase what has expired by the clock ``now``;
* ``hold``: open a folder and keep it until killed;
* ``faulty``: one operation of a plan with a fault in force (under the recorder), again when that is said to be safe;
* ``identities``: likewise a life of identifiers and proxies (``identity_life.py``);
* ``lives``: a life of aliases from where its journal is, to ``stop`` or until killed, perhaps with a fault in force;
* ``people``: the same of persons (``people.py``);
* ``tickets``: the same of tickets that are compared and links that are replaced (``ticketlife.py``);
* ``steps``: open, operations of a plan with exports and merges between, with a fault in force all the while;
* ``agency``: the steps of two institutions' folders (``agency_life.py``), with a fault in force or until killed;
* ``life``: open, the steps of ``exchange_life.py``, ``sent_life.py``, ``link_life.py`` or ``rows_life.py``, with a
  fault in force or until killed.

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

import agency_life
import exchange_life
import identity_life
import link_life
import lives
import people
import proof
import rows_life
import sent_life
import ticketlife

import hub
import hub.acquisition.additions
import hub.provision.delivery
import hub.records.retain
import hub.runs.merger


def run_job(job: dict[str, Any], fd: int, catalog: hub.Catalog) -> None:
    """Do one job; frames go to ``fd``."""
    options = job.get("options", {})
    # Merges begin at once, and are tried again soon.
    hub.runs.merger.DELAY_S, hub.runs.merger.RETRY_S = 0.0, 0.02
    if job["job"] == "tickets":
        # Its records make work for the threads behind, which would take faults that are meant for its own steps.
        hub.runs.merger.DELAY_S = hub.provision.delivery.DELAY_S = 3_600.0
    for name, value in job.get("limits", {}).items():
        assert hasattr(hub.acquisition.additions, name)
        setattr(hub.acquisition.additions, name, value)
    match job["job"]:
        case "plan":
            plan = proof.Plan(job["seed"], proof.Profile(**job["profile"]), catalog)
            proof.run_plan(
                job["folder"], plan, job["first"], job.get("stop"), lambda frame: os.write(fd, frame), **options
            )
        case "faulty":
            plan = proof.Plan(job["seed"], proof.Profile(**job["profile"]), catalog)
            run_faulty(job, plan, lambda frame: os.write(fd, frame))
        case "steps":
            plan = proof.Plan(job["seed"], proof.Profile(**job["profile"]), catalog)
            Steps(job, plan, lambda frame: os.write(fd, frame)).run()
        case "lives":
            run_lives(job, lambda frame: os.write(fd, frame))
        case "people":
            run_lives(job, lambda frame: os.write(fd, frame), people.run_lives)
        case "tickets":
            run_lives(job, lambda frame: os.write(fd, frame), ticketlife.run_lives)
        case "identities":
            run_lives(job, lambda frame: os.write(fd, frame), identity_life.run_lives, identity_life.open_folder)
        case "life":
            run_life(job, lambda frame: os.write(fd, frame))
        case "agency":
            run_agency(job, lambda frame: os.write(fd, frame))
        case "create":
            os.write(fd, proof.frame(proof.STARTED))
            hub.open(job["folder"], create=True).close()
            os.write(fd, proof.frame(proof.OPENED))
        case "retain":
            for name, value in job["limits_of_retain"].items():
                assert hasattr(hub.records.retain, name)
                setattr(hub.records.retain, name, value)
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


def run_lives(
    job: dict[str, Any], send: Callable[[bytes], Any], run: Callable[..., None] = lives.run_lives,
    open_folder: Callable[[str], hub.Hub] = hub.open,
) -> None:  # fmt: skip
    """Steps of a life; one that fails is done again, by this process or, where it must not, a hub opened anew."""
    h = open_folder(job["folder"])
    send(proof.frame(proof.OPENED))
    shim = ctypes.CDLL(None) if "fail" in job else None
    if shim is not None:
        assert shim.iolog_fail(job["fail"].encode()) == 0

    def attempt(step: Callable[[hub.Hub], Any]) -> Any:
        nonlocal h
        try:
            return step(h)
        except hub.errors.StorageError as error:
            assert shim is not None
            shim.iolog_fail(b"")
            send(proof.frame(proof.FAILED if error.retry_safe else proof.STOPPED))
            if not error.retry_safe:
                h.close()
                h = open_folder(job["folder"])
            return step(h)

    kinds = {"started": proof.STARTED, "done": proof.DONE}
    path = Path(job["journal"])
    run(path, job["seed"], job.get("stop"), lambda word: send(proof.frame(kinds[word])), attempt)
    if shim is not None:
        send(proof.frame(proof.COUNTED, shim.iolog_seen()))
    h.close()


class Steps:
    """Everything durable that a hub does, in an order that is the same each time: the merges are waited for.

    After a failure that is said to be passing the same step is done again; after another one the hub must take no
    write, is opened again, and goes on.
    """

    def __init__(self, job: dict[str, Any], plan: proof.Plan, send: Callable[[bytes], Any]) -> None:
        self._job, self._plan, self._send = job, plan, send
        self._shim = ctypes.CDLL(None)
        self._clock = proof.Clock()
        self._h: hub.Hub | None = None

    def run(self) -> None:
        """Open, then the operations with an export behind every second one; STARTED and DONE as elsewhere."""
        assert self._shim.iolog_fail(self._job["fail"].encode()) == 0
        first, stop = self._job["first"], self._job["stop"]
        self._clock.now = self._plan.operation(first).at
        self._attempt(lambda h: None)
        for number in range(first, stop):
            operation = self._plan.operation(number)
            self._send(proof.frame(proof.STARTED, number))
            done = self._attempt(lambda h, one=operation: proof.perform(h, self._plan, one, self._clock))
            self._send(proof.frame(proof.DONE, number, *proof.digests(done[0], done[2])))
            self._attempt(wait_for_merges)
            if operation.providers is not None:
                done = self._attempt(lambda h: h.export_tiles(self._job["export"]))
                self._send(proof.frame(proof.EXPORTED, done.size))
        self._attempt(lambda h: h.close())
        self._send(proof.frame(proof.COUNTED, self._shim.iolog_seen()))

    def _attempt(self, step: Callable[[hub.Hub], Any]) -> Any:
        for _ in range(3):
            try:
                if self._h is None:
                    self._h = hub.open(self._job["folder"], clock=self._clock)
                return step(self._h)
            except hub.errors.StorageError as error:
                self._send(proof.frame(proof.FAILED if error.retry_safe else proof.STOPPED))
            h = self._h
            if h is not None and h._store.broken:
                self._expect_refusal(h)
                h.close()
                self._h = None
        raise AssertionError("expected one fault to fail a step no more than twice")

    def _expect_refusal(self, h: hub.Hub) -> None:
        """After a failed sync nothing is written until the hub was opened again."""
        safe: bool | None = None
        try:
            h.acquire(proof.PORTAL, ["99000000001"])
        except hub.errors.StorageError as error:
            # In our words or, where LMDB's own page that names the newest state failed, in LMDB's.
            safe = error.retry_safe
        assert safe is False, "expected no write after a failed sync"
        self._send(proof.frame(proof.REFUSED))


def run_life(job: dict[str, Any], send: Callable[[bytes], Any]) -> None:
    """The steps of a life from ``first`` on; after a failure the same again, reopened where that is needed."""
    life: Any = {one.__name__: one for one in (exchange_life, sent_life, link_life, rows_life)}[job["life"]]
    life.make_small()
    shim = ctypes.CDLL(None) if job["fail"] else None
    clock, desk = life.LifeClock(), life.Desk(Path(job["desk"]))
    clock.step = job["first"]
    assert shim is None or shim.iolog_fail(job["fail"].encode()) == 0
    h: hub.Hub | None = None
    for step in range(job["first"], life.STEPS):
        send(proof.frame(proof.STARTED, step))
        clock.step = step
        for tries in range(3):
            try:
                h = h or hub.open(job["folder"], clock=clock)
                life.perform(h, desk, step)
                break
            except hub.errors.StorageError as error:
                assert tries < 2, "expected one fault to fail a step no more than twice"
                send(proof.frame(proof.FAILED if error.retry_safe else proof.STOPPED))
            if h is not None and h._store.broken:
                h.close()
                h = None
        send(proof.frame(proof.DONE, step))
    assert h is not None
    h.close()
    if shim is not None:
        send(proof.frame(proof.COUNTED, shim.iolog_seen()))


def run_agency(job: dict[str, Any], send: Callable[[bytes], Any]) -> None:
    """The steps of two institutions; after a failure everything is opened anew and the same step done again."""
    agency_life.make_small()
    shim = ctypes.CDLL(None) if job["fail"] else None
    assert shim is None or shim.iolog_fail(job["fail"].encode()) == 0
    life: agency_life.Life | None = None
    for step in range(agency_life.STEPS):
        send(proof.frame(proof.STARTED, step))
        for tries in range(3):
            try:
                life = life or agency_life.Life(Path(job["root"]))
                life.perform(step)
                break
            except hub.errors.StorageError:
                assert tries < 2, "expected one fault to fail a step no more than twice"
                send(proof.frame(proof.FAILED))
            if life is not None:
                life.close()
                life = None
        send(proof.frame(proof.DONE, step))
    assert life is not None
    life.close()
    if shim is not None:
        send(proof.frame(proof.COUNTED, shim.iolog_seen()))


def wait_for_merges(h: hub.Hub) -> None:
    """Until the merger has nothing to do, or has stopped at an error."""
    merger = h._merger
    assert merger is not None
    for _ in range(2_000):
        if merger.idle or not merger._thread.is_alive():
            return
        time.sleep(0.005)
    raise AssertionError("expected the merges to end")


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
