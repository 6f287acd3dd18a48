"""Answers every frame with as many bytes as it was told, over TLS: the limit of single inquiries.

    python echo.py CERTIFICATE CA REPLY_BYTES         prints its port; ends with its input

It is run by its path and needs nothing of the hub; uvloop is used where it is installed, as the hub's server does.
"""

from __future__ import annotations

import asyncio
import ssl
import struct
import sys
from typing import cast


class Echo(asyncio.Protocol):
    """One connection."""

    def __init__(self, reply: bytes) -> None:
        self._reply = reply
        self._part = b""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)

    def data_received(self, data: bytes) -> None:
        self._part += data
        while len(self._part) >= 4 and len(self._part) >= 4 + (size := int.from_bytes(self._part[:4], "little")):
            self._part = self._part[4 + size :]
            self._transport.write(self._reply)


async def serve(certificate: str, ca: str, reply: bytes) -> None:
    """Listen on any port until the input ends."""
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH, cafile=ca)
    context.minimum_version = ssl.TLSVersion.TLSv1_3
    context.verify_mode = ssl.CERT_REQUIRED
    context.load_cert_chain(certificate)
    loop = asyncio.get_running_loop()
    server = await loop.create_server(lambda: Echo(reply), "127.0.0.1", 0, ssl=context)
    print(server.sockets[0].getsockname()[1], flush=True)
    ended = asyncio.Event()
    loop.add_reader(sys.stdin.fileno(), ended.set)
    await ended.wait()
    server.close()


def main() -> None:
    certificate, ca, size = sys.argv[1:]
    reply = struct.pack("<I", int(size) - 4) + bytes(int(size) - 4)
    try:
        import uvloop
    except ImportError:
        asyncio.run(serve(certificate, ca, reply))
    else:
        uvloop.run(serve(certificate, ca, reply))


if __name__ == "__main__":
    main()
