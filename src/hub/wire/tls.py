"""TLS of a connection, over a plain transport: what uvloop's own does, for less memory and fewer steps a message.

    socket -> one buffer for all connections -> incoming BIO -> SSLObject -> a protocol -> outgoing BIO -> socket

An event loop's own TLS keeps a buffer of 256 KiB for each connection, of which one page is touched even by those that
are silent, and asks OpenSSL once more after every message whether there is another, which it answers with an exception.
Here bytes lie in the loop's one buffer only until they are in the BIO, in the same call; whether there is more is known
from what is left there.
"""

from __future__ import annotations

import asyncio
import contextlib
import ssl
from typing import Any, Protocol, cast

BUFFER_BYTES = 1 << 16
RECORD_BYTES = 1 << 14
"""OpenSSL gives one record a call, so long at most; a read takes as much memory first as it asks for."""


class Inner(Protocol):
    """The protocol behind TLS: an ``asyncio.Protocol``, called when the handshake is done."""

    def connection_made(self, transport: asyncio.BaseTransport, /) -> None: ...
    def connection_lost(self, error: Exception | None, /) -> None: ...
    def data_received(self, data: bytes, /) -> None: ...
    def pause_writing(self) -> None: ...
    def resume_writing(self) -> None: ...


class TlsBuffer:
    """Where all connections of a loop read into, one after the other."""

    def __init__(self) -> None:
        self.view = memoryview(bytearray(BUFFER_BYTES))

    def __repr__(self) -> str:
        return f"TlsBuffer({len(self.view)})"


class TlsConnection(asyncio.BufferedProtocol, asyncio.Transport):
    """The socket's protocol, and the inner protocol's transport.

    The inner protocol hears nothing of a connection whose handshake fails. It is the server's side; the client's where
    the server's host is given.
    """

    __slots__ = (
        "_buffer", "_closing", "_incoming", "_inner", "_made", "_object", "_outgoing", "_timeout", "_timer",
        "_transport", "_write",
    )  # fmt: skip

    def __init__(
        self, context: ssl.SSLContext, inner: Inner, buffer: TlsBuffer, handshake_s: float, host: str | None = None
    ) -> None:
        self._inner, self._buffer, self._timeout = inner, buffer.view, handshake_s
        self._incoming, self._outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
        server = host is None
        self._object = context.wrap_bio(self._incoming, self._outgoing, server_side=server, server_hostname=host)
        self._made = self._closing = False
        self._transport: asyncio.Transport | None = None
        self._timer: asyncio.TimerHandle | None = None

    def __repr__(self) -> str:
        return f"TlsConnection(made={self._made})"

    # -- of the socket

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)
        self._write = self._transport.write
        self._timer = asyncio.get_running_loop().call_later(self._timeout, self.abort)
        if not self._object.server_side:
            self._shake()

    def connection_lost(self, exc: Exception | None) -> None:
        self._stop_timer()
        self._transport = None
        self._closing = True
        if self._made:
            self._inner.connection_lost(exc)

    def get_buffer(self, sizehint: int) -> memoryview:
        return self._buffer

    def buffer_updated(self, nbytes: int) -> None:
        self._incoming.write(self._buffer[:nbytes])
        if not self._made:
            self._shake()
            if not self._made:
                return
        self._read()

    def eof_received(self) -> bool:
        return False

    def pause_writing(self) -> None:
        if self._made:
            self._inner.pause_writing()

    def resume_writing(self) -> None:
        if self._made:
            self._inner.resume_writing()

    def _shake(self) -> None:
        try:
            self._object.do_handshake()
        except (ssl.SSLWantReadError, ssl.SSLSyscallError):
            self._flush()
            return
        except (ssl.SSLError, ssl.CertificateError):
            # The alert says why.
            self._flush()
            self._end()
            return
        self._stop_timer()
        self._flush()
        self._made = True
        self._inner.connection_made(self)

    def _read(self) -> None:
        read, incoming, tls = self._object.read, self._incoming, self._object
        pieces: list[bytes] = []
        over = False
        try:
            while (left := incoming.pending or tls.pending()):
                piece = read(left if left < RECORD_BYTES else RECORD_BYTES)
                if not piece:
                    over = True
                    break
                pieces.append(piece)
        except ssl.SSLWantReadError:
            pass
        except ssl.SSLError:
            over = True
        # An answer of TLS's own, say to an update of keys.
        if self._outgoing.pending:
            self._flush()
        if pieces and not self._closing:
            self._inner.data_received(pieces[0] if len(pieces) == 1 else b"".join(pieces))
        if over:
            self.close()

    def _flush(self) -> None:
        data = self._outgoing.read()
        if data and self._transport is not None:
            self._write(data)

    def _stop_timer(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _end(self) -> None:
        self._closing = True
        self._stop_timer()
        if self._transport is not None:
            self._transport.close()
            if self._transport.get_write_buffer_size():
                # Of whoever took leave and still reads nothing, what waits for it is not kept for ever.
                self._timer = asyncio.get_running_loop().call_later(self._timeout, self.abort)

    # -- of the inner protocol

    def write(self, data: bytes | bytearray | memoryview) -> None:
        if self._closing:
            return
        self._object.write(data)
        self._write(self._outgoing.read())

    def close(self) -> None:
        if self._closing:
            return
        if self._made:
            # The other side's farewell is not waited for: frames say themselves where they end.
            with contextlib.suppress(ssl.SSLError):
                self._object.unwrap()
            self._flush()
        self._end()

    def abort(self) -> None:
        self._closing = True
        self._stop_timer()
        if self._transport is not None:
            self._transport.abort()

    def is_closing(self) -> bool:
        return self._closing

    def get_extra_info(self, name: str, default: Any = None) -> Any:
        if name == "ssl_object":
            return self._object
        return default if self._transport is None else self._transport.get_extra_info(name, default)

    def set_write_buffer_limits(self, high: int | None = None, low: int | None = None) -> None:
        if self._transport is not None:
            self._transport.set_write_buffer_limits(high, low)

    def get_write_buffer_size(self) -> int:
        return 0 if self._transport is None else self._transport.get_write_buffer_size()

    def pause_reading(self) -> None:
        if self._transport is not None:
            self._transport.pause_reading()

    def resume_reading(self) -> None:
        if self._transport is not None:
            self._transport.resume_reading()
