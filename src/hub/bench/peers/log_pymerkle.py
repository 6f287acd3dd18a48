"""Log peer ``pymerkle``: a Merkle tree over SQLite, by others; a chunk is one ``append_entries``, then the root.

It runs in a process of its own, which its licence (GPL) asks for, and is given rows of 24 bytes. Its tree hashes as
RFC 6962 does; it keeps the leaves and derives the nodes. There is no index from person to record.

    python -m hub.bench.peers.log_pymerkle FOLDER     with rows.npy there; prints seconds of each chunk and the size
"""

from __future__ import annotations

import importlib
import json
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np

from hub.bench.peers import byte_list
from hub.bench.peers.log import LogPeer, LogRows
from hub.bench.peers.servers import PeerRefused

SECONDS_MAX = 60.0


class PymerkleLog(LogPeer):
    name = "pymerkle"

    def append(self, chunks: list[LogRows]) -> list[float]:
        packed = [pack(rows) for rows in chunks]
        np.savez(self.folder / "rows.npz", *packed)
        command = [sys.executable, "-m", "hub.bench.peers.log_pymerkle", str(self.folder)]
        try:
            done = subprocess.run(command, capture_output=True, text=True, timeout=SECONDS_MAX, check=False)
        except subprocess.TimeoutExpired:
            raise PeerRefused(f"took longer than {SECONDS_MAX:.0f} s") from None
        if done.returncode:
            raise PeerRefused((done.stderr.strip().splitlines() or ["its process ended"])[-1][:120])
        told = json.loads(done.stdout)
        self._size: int = told["size"]
        seconds: list[float] = told["seconds"]
        return seconds

    def count(self) -> int:
        return self._size

    def close(self) -> None:
        """Nothing is left open."""


def pack(rows: LogRows) -> Any:
    """uint8[N, 24]: person, provider, outcome and time of each row."""
    fields = [("person", "<u4"), ("provider", "<u4"), ("at", "<i8"), ("outcome", "u1"), ("spare", "V7")]
    packed = np.zeros(len(rows), dtype=fields)
    packed["person"], packed["provider"], packed["outcome"] = rows.persons, rows.providers, rows.outcomes
    packed["at"] = rows.requested_at
    return packed.view(np.uint8).reshape(len(rows), -1)


def main(folder: Path) -> None:
    pymerkle: Any = importlib.import_module("pymerkle")
    tree = pymerkle.SqliteTree(str(folder / "log.sqlite3"))
    seconds = []
    with np.load(folder / "rows.npz") as chunks:
        for name in chunks.files:
            rows = chunks[name]
            begin = time.perf_counter()
            tree.append_entries(byte_list(rows))
            tree.get_root()
            seconds.append(time.perf_counter() - begin)
    print(json.dumps({"seconds": seconds, "size": tree.get_size()}))


if __name__ == "__main__":
    main(Path(sys.argv[1]))
