"""The portal's limit: the HTTP server that it runs in, which answers everything at once with one page that it has.

    python -m hub.bench.portalbare FILE         prints its port; FILE has a page's response as it came
"""

from __future__ import annotations

import socket
import subprocess
import sys
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import uvicorn

from hub.bench.portalask import HEAD_END, is_whole, read_page
from hub.errors import StorageError

OWN = (b"transfer-encoding", b"content-length", b"date", b"server", b"connection")
"""Headers that the server makes itself, or that hold for another form of the same body."""


IDLE_SECONDS_MAX = 60
"""On a busy machine a load may begin late: its connections are kept so long."""


class BareServer:
    """It, in a process of its own.

    Attributes:
        port: where it listens. reply_bytes: how long each of its responses is.
    """

    def __init__(self, page: bytes, file: Path, request: bytes) -> None:
        file.write_bytes(page)
        command = [sys.executable, "-m", "hub.bench.portalbare", str(file)]
        self.process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
        assert self.process.stdout is not None
        line = self.process.stdout.readline().strip()
        if not line.isdigit():
            self.close()
            raise StorageError("bare server: expected a port, got none")
        self.port = int(line)
        self.reply_bytes = len(fetch(self.port, request))

    def close(self) -> None:
        """Stop it and wait."""
        self.process.terminate()
        self.process.wait()
        assert self.process.stdout is not None
        self.process.stdout.close()


def fetch(port: int, request: bytes) -> bytes:
    """One whole response as it comes."""
    data = b""
    with socket.create_connection(("127.0.0.1", port), timeout=30) as link:
        link.sendall(request)
        while not is_whole(data):
            piece = link.recv(1 << 16)
            if not piece:
                raise StorageError("page: expected all of it, got the end of the connection")
            data += piece
    return data


def app_of(response: bytes) -> Callable[[Any, Any, Any], Awaitable[None]]:
    """An application that answers with one response, whatever it is asked."""
    page = read_page(response)
    lines = response.partition(HEAD_END)[0].split(b"\r\n")[1:]
    fields = [tuple(part.strip() for part in line.split(b":", 1)) for line in lines]
    headers = [field for field in fields if field[0].lower() not in OWN]
    headers.append((b"content-length", str(len(page.body)).encode()))

    async def app(scope: Any, receive: Any, send: Callable[[Any], Awaitable[None]]) -> None:
        if scope["type"] == "http":
            await send({"type": "http.response.start", "status": page.status, "headers": headers})
            await send({"type": "http.response.body", "body": page.body})

    return app


def main(file: Path) -> None:
    """Listen on any port until ended."""
    sock = socket.create_server(("127.0.0.1", 0), backlog=1_024)
    print(sock.getsockname()[1], flush=True)
    config = uvicorn.Config(
        app_of(file.read_bytes()), access_log=False, log_config=None, ws="none", lifespan="off",
        timeout_keep_alive=IDLE_SECONDS_MAX,
    )  # fmt: skip
    uvicorn.Server(config).run(sockets=[sock])


if __name__ == "__main__":
    main(Path(sys.argv[1]))
