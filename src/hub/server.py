"""``hub serve``: one process that holds a folder open and answers institutions over the wire (docs/wire.md).

    listen -> connections (``wire/connection.py``) -> calls (``wire/calls.py``) -> the Hub

At SIGTERM or SIGINT it takes no more calls, answers those that are open, closes the connections, then the folder. At
SIGHUP, and when they change, revocation lists and the server's certificate are read again.
"""

from __future__ import annotations

import asyncio
import contextlib
import importlib
import importlib.util
import logging
import resource
import signal
import sys
import time
from collections.abc import Callable, Coroutine
from typing import TYPE_CHECKING, Any

from hub.errors import RequestError
from hub.hub import Hub, open
from hub.wire.access import Access, open_security_log, security
from hub.wire.calls import Calls
from hub.wire.config import Config
from hub.wire.connection import Connection
from hub.wire.ledger import Ledger
from hub.wire.logs import close_log, open_log
from hub.wire.memory import calm_collector, return_memory
from hub.wire.metrics import Endpoint, load_prometheus
from hub.wire.quotas import Quotas, check_quotas
from hub.wire.tls import TlsBuffer, TlsConnection

if TYPE_CHECKING:
    from hub.http.listen import HttpListener

BACKLOG = 4_096
FILES_BESIDE = 200
"""Files that are open beside connections: the map, logs, segments."""

SWITCH_S = 0.0002
"""After so long a thread gives up the interpreter's lock if another one waits: with Python's own 5 ms the loop, which
lets go of it several times a row, did 50 rows a second beside a thread that computes."""

BULK_BEHIND = 5
"""By so much (nice) the threads that resolve and hash bulk stand behind the one that answers single inquiries, which
beside ten million rows on two processors that others used too waited 57 and 698 ms in the middle, 10 and 12 with it."""

INSPECT_S = 1.0
GOODBYE_S = 2.0
"""At the end clients have so long to take leave; nothing is open any more."""
RELOAD_S = 5.0
"""How often the files of revocation lists and the certificate are looked at."""

logger = logging.getLogger("hub")


class Server:
    """A hub that is served in the running loop.

    Attributes:
        address: as clients connect to it; known once started.
        access, calls, limits, connections: of its connections, those over HTTP included. http: None without [http].
    """

    def __init__(self, h: Hub, config: Config, clock: Callable[[], float] = time.time) -> None:
        """Args: clock: seconds since 1970, for certificates.

        Raises:
            RequestError: a file of the configuration cannot be used, or a code in it is no institution's.
        """
        self._hub, self._config = h, config
        self.limits = config.limits
        self.access = Access(config, h.catalog.codes, clock)
        check_quotas(config.quotas, h.catalog.codes)
        if config.metrics is not None:
            load_prometheus()
        self.metrics: Endpoint | None = None
        self._context = self.access.context()
        self._buffer = TlsBuffer()
        self.connections: set[Any] = set()
        self.address = config.called_at
        self._loop: asyncio.AbstractEventLoop | None = None
        self._listener: asyncio.Server | None = None
        self._inspector: asyncio.Task[None] | None = None
        self._security = open_security_log(config.security_log)
        self.http: HttpListener | None = None if config.http is None else _make_http(self, config, clock)

    def __repr__(self) -> str:
        return f"Server(connections={len(self.connections)})"

    def now(self) -> float:
        """Seconds of the loop's clock."""
        assert self._loop is not None
        return self._loop.time()

    async def start(self) -> None:
        """Mark the folder as served, and listen.

        Raises:
            OSError: the address is in use or not this machine's. StorageError: the disk is full.
        """
        loop = self._loop = asyncio.get_running_loop()
        loop.set_exception_handler(self._handle_error)
        quotas = Quotas(self._config.quotas, self.limits.bytes_in_flight, time.monotonic)
        log = self._config.log
        ledger = Ledger(quotas, slow_s=log.slow_s, slow_bulk_s=log.slow_bulk_s)
        self.calls = Calls(self._hub, self.limits, loop, ledger)
        if self._config.metrics is not None:
            self.metrics = Endpoint(self._hub, self.calls, self._config.metrics)
        host, port = self._config.host_port
        self._listener = await loop.create_server(self._accept, host, port, backlog=BACKLOG, start_serving=False)
        if port == 0:
            bound = self._listener.sockets[0].getsockname()[1]
            self.address = self.address.rpartition(":")[0] + f":{bound}"
        if self.http is not None:
            await self.http.open()
        self._hub.mark_served(self.address)
        await self._listener.start_serving()
        if self.http is not None:
            await self.http.start()
        self._inspector = loop.create_task(self._inspect())
        logger.info("started", extra={"fields": {"address": self.address}})

    def _accept(self) -> asyncio.BaseProtocol:
        connection = Connection(self)
        if self._context is None:
            return connection
        return TlsConnection(self._context, connection, self._buffer, self.limits.hello_s)

    def _handle_error(self, loop: asyncio.AbstractEventLoop, context: dict[str, Any]) -> None:
        """What no call caught: a connection that breaks is its client's affair, the rest is ours."""
        error = context.get("exception")
        level = logging.DEBUG if isinstance(error, OSError) else logging.ERROR
        logger.log(level, "server: %s", context.get("message"), exc_info=error)

    async def _inspect(self) -> None:
        reload_at = 0.0
        while True:
            await asyncio.sleep(INSPECT_S)
            now = self.now()
            try:
                await asyncio.get_running_loop().run_in_executor(None, return_memory)
                self.calls.disk.look()
                for connection in list(self.connections):
                    connection.inspect(now)
                if now >= reload_at:
                    reload_at = now + RELOAD_S
                    self.reload(always=False)
            except Exception:
                # Whoever comes next is looked at again in a second.
                logger.exception("server: the look at its connections failed")

    def reload(self, *, always: bool = True) -> None:
        """Read revocation lists and the server's certificate again, and end the connections that may not go on."""
        if self.access.reload(always=always):
            logger.info("reloaded", extra={"fields": {"connections": len(self.connections)}})
        for connection in list(self.connections):
            connection.check_certificate()

    async def stop(self) -> None:
        """Take no more calls, answer those that are open, close; what is still open after ``drain_s`` is cut."""
        assert self._listener is not None
        self._listener.close()
        if self.http is not None:
            self.http.stop_listening()
        self.calls.closing = True
        logger.info("stopping", extra={"fields": {"open_requests": self.calls.open}})
        for connection in list(self.connections):
            connection.announce_close()
        end = self.now() + self.limits.drain_s
        while self.now() < end and any(connection.busy for connection in self.connections):
            await asyncio.sleep(0.01)
        for connection in list(self.connections):
            connection.close()
        end = min(end, self.now() + GOODBYE_S)
        while self.now() < end and self.connections:
            await asyncio.sleep(0.01)
        for connection in list(self.connections):
            connection.abort()
        if self._inspector is not None:
            self._inspector.cancel()
        if self.metrics is not None:
            await asyncio.to_thread(self.metrics.close)
        await asyncio.to_thread(self.calls.close)
        if self.http is not None:
            await asyncio.to_thread(self.http.close)
        logger.info("stopped", extra={"fields": {"calls": self.calls.ledger.calls}})
        if self._security is not None:
            security.removeHandler(self._security)
            self._security.close()


def _make_http(server: Server, config: Config, clock: Callable[[], float]) -> HttpListener:
    """What listens for HTTP; nothing of it is loaded where it is not wanted."""
    try:
        from hub.http.listen import HttpListener
    except ImportError as error:
        raise RequestError(f"http: expected what pip install 'hub[serve]' brings, found no {error.name}") from None
    return HttpListener(server, config, clock)


async def run_server(h: Hub, config: Config, *, ready: Callable[[Server], None] | None = None) -> None:
    """Serve until SIGTERM or SIGINT."""
    server = Server(h, config)
    loop = asyncio.get_running_loop()
    stopping = asyncio.Event()
    await server.start()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stopping.set)
    loop.add_signal_handler(signal.SIGHUP, server.reload)
    try:
        if ready is not None:
            ready(server)
        await stopping.wait()
    finally:
        await server.stop()


def serve(config: Config, *, ready: Callable[[Server], None] | None = None) -> None:
    """Open the folder and serve it until SIGTERM or SIGINT.

    Args:
        ready: called when clients can connect.

    Raises:
        RequestError, StorageError, OSError: it cannot be opened, or the address cannot be used.
    """
    handler = open_log(config.log)
    sys.setswitchinterval(SWITCH_S)
    try:
        _raise_file_limit(config.limits.connections)
        with open(config.folder, head=config.head, answers_every_s=config.answers_every_s) as h:
            calm_collector()
            h.stand_back(BULK_BEHIND)
            h.warm()
            run_in_loop(run_server(h, config, ready=ready))
    finally:
        close_log(handler)


def _raise_file_limit(connections: int) -> None:
    """Let this process have as many files open as it is allowed to: each connection is one."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft != hard:
        # Where the kernel has a bound of its own below an infinite one, it stays as it is.
        with contextlib.suppress(OSError, ValueError):
            resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    allowed = resource.getrlimit(resource.RLIMIT_NOFILE)[0]
    if allowed != resource.RLIM_INFINITY and allowed < connections + FILES_BESIDE:
        logger.warning("serve: %d files may be open, fewer than %d connections need", allowed, connections)


def has_uvloop() -> bool:
    """Whether uvloop (the extra ``serve``) is installed."""
    return importlib.util.find_spec("uvloop") is not None


def run_in_loop(work: Coroutine[Any, Any, None]) -> None:
    """Run a coroutine on uvloop where it is installed; without it calls take more time, connections no more memory."""
    factory: Callable[[], asyncio.AbstractEventLoop] | None = None
    with contextlib.suppress(ImportError):
        factory = importlib.import_module("uvloop").new_event_loop
    if factory is None:
        logger.warning("serve: uvloop is not installed (pip install 'hub[serve]'): calls take more time")
    with asyncio.Runner(loop_factory=factory) as runner:
        runner.run(work)
