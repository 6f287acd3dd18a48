"""What the wire's stage needs beside a hub that is served: frames, and the load as a process."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import NamedTuple

import msgspec
import numpy as np
import numpy.typing as npt

from hub.bench.log import pension_inquiry
from hub.bench.wireask import Load, Told
from hub.bench.world import REQUESTER, World
from hub.errors import StorageError
from hub.wire.frames import VERSIONS, encode_frame
from hub.wire.methods import INQUIRY
from hub.wire.words import Call

ENCODER = msgspec.msgpack.Encoder()


def memory_of(pid: int) -> tuple[int, int] | None:
    """Resident bytes of a process: all of them, and those of no file; None where the kernel does not tell."""
    try:
        lines = Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()
    except OSError:
        return None
    sizes = [line.split() for line in lines if line.endswith("kB")]
    found = {words[0].rstrip(":"): int(words[1]) * 1_024 for words in sizes}
    return found["Rss"], found["Anonymous"]


class Frames(NamedTuple):
    """Prepared requests.

    Attributes:
        data: uint8[N, L], a whole frame each. names: S[N], their request ids. persons: uint32[N], whom they ask about.
    """

    data: npt.NDArray[np.uint8]
    names: npt.NDArray[np.bytes_]
    persons: npt.NDArray[np.uint32]


def encode_call(name: str, alias: bytes, provider: str, number: int = 1) -> bytes:
    """A single inquiry as a frame."""
    inquiry = msgspec.structs.replace(pension_inquiry(""), request_id=name)
    given = {"inquiry": INQUIRY.pack(inquiry), "aliases": alias, "providers": ([provider], b"")}
    body = memoryview(ENCODER.encode(given))
    return bytes(encode_frame(Call(number, REQUESTER, "inquire", False, len(body), body), VERSIONS[-1]))


def prepare_frames(world: World, random: np.random.Generator, name: str, count: int) -> Frames:
    """Single inquiries about random persons at their homes: no two have the same request id.

    One is encoded, the others differ from it in three fields of fixed length.
    """
    persons = random.integers(0, world.persons, count, dtype=np.uint32)
    names = np.char.add(f"{name}-".encode(), np.char.zfill(np.arange(count).astype("S8"), 8))
    codes = np.array(world.town_codes, dtype="S")[world.home_town[persons]]
    aliases = world.requester[persons]
    marks = b"\xa5" * 16, b"~" * names.itemsize, b"^" * codes.itemsize
    pattern = encode_call(marks[1].decode(), marks[0], marks[2].decode())
    data = np.empty((count, len(pattern)), np.uint8)
    data[:] = np.frombuffer(pattern, np.uint8)
    for mark, column in zip(marks, (aliases, _bytes_of(names), _bytes_of(codes)), strict=True):
        at = pattern.index(mark)
        data[:, at : at + len(mark)] = column
    return Frames(data, names, persons)


def _bytes_of(words: npt.NDArray[np.bytes_]) -> npt.NDArray[np.uint8]:
    assert (np.char.str_len(words) == words.itemsize).all()
    return words.view(np.uint8).reshape(len(words), words.itemsize)


class Outcome(NamedTuple):
    """How a load went.

    Attributes:
        told: in sum. begins, ends: float64[N], of what was asked, seconds of ``perf_counter``. status: uint8[N].
    """

    told: Told
    begins: npt.NDArray[np.float64]
    ends: npt.NDArray[np.float64]
    status: npt.NDArray[np.uint8]

    @property
    def seconds(self) -> npt.NDArray[np.float64]:
        """float64[N], of each request from its moment to its reply."""
        return self.ends - self.begins

    @property
    def rate(self) -> float:
        """Requests answered a second."""
        return len(self.ends) / self.told.seconds


class LoadProcess:
    """A load in a process of its own; connected once made."""

    def __init__(self, folder: Path, name: str, load: Load, *, module: str = "hub.bench.wireask") -> None:
        self._spec = folder / f"{name}.json"
        self._spec.write_bytes(msgspec.json.encode(load))
        command = [sys.executable, "-m", module, str(self._spec)]
        self.process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        try:
            self._read("ready")
        except BaseException:
            self.close()
            raise

    def _read(self, expected: str) -> str:
        assert self.process.stdout is not None
        line = self.process.stdout.readline().strip()
        if not line.startswith(expected):
            raise StorageError("load: expected it to go on, it ended")
        return line

    def go(self) -> None:
        """Begin, or end a load that goes on for ever."""
        assert self.process.stdin is not None
        self.process.stdin.write("go\n")
        self.process.stdin.flush()

    def finish(self) -> Outcome:
        """Wait for its end."""
        try:
            told = msgspec.json.decode(self._read("{"), type=Told)
            with np.load(self._spec.with_suffix(".npz")) as file:
                return Outcome(told, file["begins"], file["ends"], file["status"])
        finally:
            self.close()

    def close(self) -> None:
        """End it, whatever it does."""
        if self.process.poll() is None:
            self.process.terminate()
        self.process.wait()
        for pipe in (self.process.stdin, self.process.stdout):
            if pipe is not None:
                pipe.close()
