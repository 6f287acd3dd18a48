"""Peer ``redis``: a ``redis-server`` over a Unix socket, two rounds of pipelined ``MGET`` a batch.

Commands are packed and replies parsed in C by ``hiredis``; a thread sends while replies are read, so that neither side
waits for the other. Commands of 1,000 keys: 100 and 10,000 are no faster. Nothing is kept on disk: no durability.
"""

from __future__ import annotations

import contextlib
import importlib
import socket
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from hub.bench.peers import Peer, PeerRows, byte_list
from hub.bench.peers.lmdb_loop import person_keys
from hub.bench.peers.servers import PeerRefused, RedisServer

KEYS_PER_COMMAND = 1_000
RECEIVE_BYTES = 1 << 18


class RedisMget(Peer):
    name = "redis"
    files = "redis"
    rows_suffice: int | None = 250_000
    durable = False

    def __init__(self, folder: Path, *, threads: int) -> None:
        super().__init__(folder, threads=threads)
        self.hiredis: Any = importlib.import_module("hiredis")
        self.server = RedisServer(self.folder)
        self.connection = socket.socket(socket.AF_UNIX)
        try:
            self.connection.connect(str(self.server.socket))
        except BaseException:
            self.close()
            raise

    def load(self, rows: PeerRows) -> None:
        persons = np.arange(len(rows), dtype="<u4").view(np.uint8).reshape(-1, 4)
        self._fill(rows.aliases, persons)
        self._fill(person_keys(np.arange(len(rows), dtype=np.uint64)), rows.provided)

    def _fill(self, keys: npt.NDArray[np.uint8], values: npt.NDArray[np.uint8]) -> None:
        def commands() -> Iterator[tuple[bytes, ...]]:
            for start in range(0, len(keys), KEYS_PER_COMMAND):
                part = slice(start, start + KEYS_PER_COMMAND)
                pairs = zip(byte_list(keys[part]), byte_list(values[part]), strict=True)
                yield (b"MSET", *(item for pair in pairs for item in pair))

        self._ask(commands(), -(-len(keys) // KEYS_PER_COMMAND))

    def resolve(self, aliases: npt.NDArray[np.uint8]) -> npt.NDArray[np.uint8]:
        out = np.zeros((len(aliases), 16), dtype=np.uint8)
        found = self._get(byte_list(aliases))
        rows = np.flatnonzero(np.fromiter((value is not None for value in found), dtype=bool, count=len(found)))
        persons = np.frombuffer(b"".join(filter(None, found)), dtype="<u4").astype(np.uint64)
        found = self._get(byte_list(person_keys(persons)))
        out[rows] = np.frombuffer(b"".join(filter(None, found)), dtype=np.uint8).reshape(-1, 16)
        return out

    def _get(self, keys: list[bytes]) -> list[bytes | None]:
        starts = range(0, len(keys), KEYS_PER_COMMAND)
        commands = ((b"MGET", *keys[start : start + KEYS_PER_COMMAND]) for start in starts)
        return [value for reply in self._ask(commands, len(starts)) for value in reply]

    def _ask(self, commands: Iterator[tuple[bytes, ...]], count: int) -> list[Any]:
        """Send so many commands from a thread, and return their replies."""

        def send() -> None:
            # A connection that ends, theirs or ours, is for the reader to tell.
            with contextlib.suppress(OSError):
                for command in commands:
                    self.connection.sendall(self.hiredis.pack_command(command))

        sender = threading.Thread(target=send, daemon=True)
        sender.start()
        reader = self.hiredis.Reader()
        replies: list[Any] = []
        while len(replies) < count:
            data = self.connection.recv(RECEIVE_BYTES)
            if not data:
                raise PeerRefused(f"its server closed the connection: {self.server.last_line()}")
            reader.feed(data)
            while (reply := reader.gets()) is not False:
                if isinstance(reply, self.hiredis.ReplyError):
                    raise PeerRefused(f"its server refused a command: {str(reply)[:80]}")
                replies.append(reply)
        sender.join()
        return replies

    def close(self) -> None:
        self.connection.close()
        self.server.close()
