"""The sockets: one for clients with certificates, one for a proxy on this machine; both in the server's own loop."""

from __future__ import annotations

import asyncio
import contextlib
import os
import socket
import stat
from collections.abc import Callable
from pathlib import Path
from typing import Any, cast

from uvicorn.config import Config as UvicornConfig

from hub.errors import RequestError
from hub.http.app import build_app
from hub.http.calling import Callings
from hub.http.gate import Gate
from hub.http.protocol import Bounded, Door, Place, State, find_protocol
from hub.http.proxied import Proxied
from hub.limits import HTTP_HEAD_BYTES_MAX, HTTP_IDLE_S
from hub.wire.config import Config, Proxy

BACKLOG = 4_096


class HttpListener:
    """Listens for HTTP requests to one server.

    Attributes:
        address: of the TLS socket, as clients use it; None without one. Known once opened.
    """

    def __init__(self, place: Place, config: Config, clock: Callable[[], float]) -> None:
        """Raises: RequestError: a file of the configuration cannot be used."""
        assert config.http is not None
        self._place, self._config, self._http = place, config, config.http
        proxy, tls = self._http.proxy, config.tls
        proxied = None if proxy is None or tls is None else Proxied(place.access, tls.ca, clock)
        self._callings = Callings(place)
        app = build_app()
        self._gate = Gate(place, self._callings, app, None if proxy is None else proxy.header, proxied)
        self._protocol = find_protocol()
        self._uvicorn = UvicornConfig(
            app, http=cast(Any, self._protocol), ws="none", lifespan="off", interface="asgi3", log_config=None,
            log_level="error", access_log=False, proxy_headers=False, server_header=False, date_header=False,
            timeout_keep_alive=HTTP_IDLE_S, h11_max_incomplete_event_size=HTTP_HEAD_BYTES_MAX,
        )  # fmt: skip
        self._uvicorn.load()
        self._listeners: list[asyncio.Server] = []
        self._path: str | None = None
        self.address: str | None = None

    def __repr__(self) -> str:
        return f"HttpListener(sockets={len(self._listeners)})"

    async def open(self) -> None:
        """Bind the sockets; nothing is accepted before :meth:`start`.

        Raises:
            OSError: an address is in use. RequestError: there is something else at the socket's path.
        """
        loop = asyncio.get_running_loop()
        bound = self._http.host_port
        if bound is not None:
            tls = self._config.tls
            context = self._place.access.context()
            if context is not None:
                context.set_alpn_protocols(["http/1.1"])
            listener = await loop.create_server(
                self._maker(loop, proxied=False), bound[0], bound[1], ssl=context, backlog=BACKLOG, start_serving=False,
                ssl_handshake_timeout=None if context is None else self._place.limits.hello_s,
            )  # fmt: skip
            self._listeners.append(listener)
            host = str(self._http.listen).rpartition(":")[0]
            self.address = f"{'http' if tls is None else 'https'}://{host}:{listener.sockets[0].getsockname()[1]}"
        if self._http.proxy is not None:
            sock = _bind(self._http.proxy)
            self._path = self._http.proxy.socket
            maker = self._maker(loop, proxied=True)
            self._listeners.append(
                await loop.create_unix_server(maker, sock=sock, backlog=BACKLOG, start_serving=False)
            )

    def _maker(self, loop: asyncio.AbstractEventLoop, *, proxied: bool) -> Callable[[], Any]:
        door = Door(self._place, self._gate, proxied)
        state = State()
        protocol: type[Bounded] = self._protocol
        return lambda: protocol(door, self._uvicorn, state, loop)

    async def start(self) -> None:
        """Accept connections."""
        for listener in self._listeners:
            await listener.start_serving()

    def stop_listening(self) -> None:
        """Accept no more of them; those that are open are the server's to drain."""
        for listener in self._listeners:
            listener.close()
        if self._path is not None:
            with contextlib.suppress(OSError):
                Path(self._path).unlink()

    def close(self) -> None:
        """Wait for what is being written; blocks."""
        self._callings.close()


def _bind(proxy: Proxy) -> socket.socket:
    """A Unix socket that only who may connects to, from the first moment; one that a server left behind goes.

    Raises:
        RequestError: something else is there. OSError: another server listens there, or the place is not ours.
    """
    path = Path(proxy.socket)
    try:
        if not stat.S_ISSOCK(path.stat().st_mode):
            raise RequestError("http.proxy: expected a socket or nothing at its path, got something else")
    except FileNotFoundError:
        pass
    else:
        with socket.socket(socket.AF_UNIX) as probe:
            probe.settimeout(1.0)
            try:
                probe.connect(str(path))
            except OSError:
                path.unlink(missing_ok=True)
            else:
                raise OSError(98, "another server listens at the socket of http.proxy")
    sock = socket.socket(socket.AF_UNIX)
    # Of the whole process, for the moment of one call: the file is nobody else's before its mode is set.
    before = os.umask(0o177)
    try:
        sock.bind(str(path))
    except OSError:
        sock.close()
        raise
    finally:
        os.umask(before)
    path.chmod(proxy.mode)
    sock.setblocking(False)
    return sock
