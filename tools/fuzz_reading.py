"""What the fuzz loop finds: of what a server sends, whatever cannot be, and what it logs as its own failure."""

from __future__ import annotations

import json
import logging
import re
import struct
from collections import Counter
from pathlib import Path
from typing import Any

import msgspec

from fuzz_arguments import MARK, Pools
from fuzz_frames import Script

PROBLEMS_MAX = 20
CODES = {"request", "busy", "access", "frame", "catalog"}
"""What a client may be told of its own mistakes; ``storage``, ``tamper`` and ``proof`` are ours."""

ALIAS = re.compile("[0-9a-f]{32}")


class Findings:
    """What went wrong, and how much was tried; what a connection was sent is kept in files."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.problems: list[str] = []
        self.counts: Counter[str] = Counter()

    def add(self, problem: str, script: Script | None = None) -> None:
        if len(self.problems) < PROBLEMS_MAX:
            print(f"PROBLEM {problem}", flush=True)
            if script is not None:
                self.folder.mkdir(parents=True, exist_ok=True)
                path = self.folder / f"{len(self.problems):03}.json"
                path.write_text(json.dumps({"problem": problem, "pieces": [one.hex() for one in script.pieces]}))
        self.problems.append(problem)


class Errors(logging.Handler):
    """What the server logs as its own failures."""

    def __init__(self, findings: Findings) -> None:
        super().__init__(logging.ERROR)
        self._findings = findings

    def emit(self, record: logging.LogRecord) -> None:
        cause = record.exc_info[1] if record.exc_info else None
        fields: dict[str, object] = getattr(record, "fields", {})
        told = "".join(f", {name} {fields[name]}" for name in ("method", "code", "cause") if name in fields)
        self._findings.add(f"logged: {record.getMessage()}{told}: {cause!r}")


class Reader:
    """Reads what a server sends, and says what of it cannot be."""

    def __init__(self, findings: Findings, script: Script, pools: Pools) -> None:
        self.findings, self._script, self._pools = findings, script, pools
        self._data = bytearray()
        self._version = 0
        self.answered: set[int] = set()
        self.last: list[Any] = []

    @property
    def told_end(self) -> bool:
        """Whether the last message was the connection's own error."""
        return self.last[:2] == [6, None]

    def problem(self, text: str) -> None:
        self.findings.add(text, self._script)

    def push(self, data: bytes) -> None:
        held = self._data
        held += data
        at = 0
        while len(held) - at >= 5:
            size, version = struct.unpack_from("<IB", held, at)
            if not 2 <= size <= 1 << 20:
                self.problem(f"sent: a frame of {size} bytes")
                return
            if len(held) - at < 4 + size:
                break
            if version != self._version:
                self.problem(f"sent: a frame of version {version}")
            self._take(bytes(held[at + 5 : at + 4 + size]))
            at += 4 + size
        del held[:at]

    def _take(self, data: bytes) -> None:
        if self.told_end:
            self.problem("sent: a message behind the end")
        message = self.last = msgspec.msgpack.decode(data)
        counts, tag = self.findings.counts, message[0]
        if tag == 2:
            self._version = 1
        elif tag == 5:
            counts["replies"] += 1
            self.answered.add(message[1])
            if message[2] == len(message[3]):
                self._pools.learn(message[3])
        elif tag == 6:
            self._fault(message)
        elif tag not in (4, 7, 8):
            self.problem(f"sent: a message {tag}")

    def _fault(self, message: list[Any]) -> None:
        _, number, code, text = message[:4]
        self.findings.counts["ends" if number is None else f"errors {code}"] += 1
        if number is not None:
            self.answered.add(number)
        if code not in CODES:
            self.problem(f"told: {code}: {text}")
        # The name of a field that nobody knows is the client's own word, told to nobody else.
        if "unknown field" not in text and (MARK in text or ALIAS.search(text)):
            self.problem(f"told: {code} with a name in it: {text}")
