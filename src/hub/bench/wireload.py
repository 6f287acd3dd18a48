"""What the wire's stage needs: certificates of its own, the server as a process, frames, and the load as a process."""

from __future__ import annotations

import datetime as dt
import ipaddress
import subprocess
import sys
from pathlib import Path
from typing import NamedTuple

import msgspec
import numpy as np
import numpy.typing as npt
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from hub.bench.log import pension_inquiry
from hub.bench.wireask import Load, Told, Use, use_of
from hub.bench.world import REQUESTER, World
from hub.errors import StorageError
from hub.wire.access import key_sha256
from hub.wire.frames import VERSIONS, encode_frame
from hub.wire.methods import INQUIRY
from hub.wire.words import Call

ENCODER = msgspec.msgpack.Encoder()


class Credentials:
    """An authority, a server's certificate and a client's, in files."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        folder.mkdir()
        authority = ec.generate_private_key(ec.SECP256R1())
        own = self._sign("bench authority", authority, authority, authority=True)
        self.ca = self._write("ca", own, None)
        self.server = self._issue("server", authority)
        self.client = self._issue("client", authority)
        self.client_key = key_sha256(x509.load_pem_x509_certificate(self.client.read_bytes()))

    def _issue(self, name: str, authority: ec.EllipticCurvePrivateKey) -> Path:
        key = ec.generate_private_key(ec.SECP256R1())
        return self._write(name, self._sign(name, key, authority), key)

    def _sign(
        self, name: str, key: ec.EllipticCurvePrivateKey, by: ec.EllipticCurvePrivateKey, *, authority: bool = False
    ) -> x509.Certificate:
        def named(text: str) -> x509.Name:
            return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, text)])

        now, day = dt.datetime.now(dt.UTC), dt.timedelta(days=1)
        builder = x509.CertificateBuilder().subject_name(named(name)).issuer_name(named("bench authority"))
        builder = builder.public_key(key.public_key()).serial_number(x509.random_serial_number())
        builder = builder.not_valid_before(now - day).not_valid_after(now + day)
        here = x509.SubjectAlternativeName([x509.IPAddress(ipaddress.ip_address("127.0.0.1"))])
        builder = builder.add_extension(x509.BasicConstraints(ca=authority, path_length=None), critical=True)
        return builder.add_extension(here, critical=False).sign(by, hashes.SHA256())

    def _write(self, name: str, certificate: x509.Certificate, key: ec.EllipticCurvePrivateKey | None) -> Path:
        path = self.folder / f"{name}.pem"
        data = certificate.public_bytes(serialization.Encoding.PEM)
        if key is not None:
            form = serialization.PrivateFormat.PKCS8
            data += key.private_bytes(serialization.Encoding.PEM, form, serialization.NoEncryption())
        path.write_bytes(data)
        return path


class ServerProcess:
    """``hub serve`` on a folder, at any free port."""

    def __init__(self, hub_folder: Path, credentials: Credentials, institutions: list[str]) -> None:
        config = credentials.folder / "hub.toml"
        pem = '"' + str(credentials.server.resolve()) + '"'
        config.write_text(
            f'folder = "{hub_folder.resolve()}"\nlisten = "127.0.0.1:0"\n'
            f'[tls]\ncertificate = {pem}\nkey = {pem}\nca = "{credentials.ca.resolve()}"\n'
            f'[[certificates]]\nname = "bench"\nkey_sha256 = "{credentials.client_key}"\n'
            f"institutions = {msgspec.json.encode(institutions).decode()}\n",
            encoding="utf-8",
        )
        command = [sys.executable, "-m", "hub", "serve", "--config", str(config)]
        self.process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True)
        assert self.process.stdout is not None
        self.address = self.process.stdout.readline().strip().rpartition(" ")[2]
        if not self.address.startswith("hubs://"):
            raise StorageError("hub serve: expected an address, got none")
        self.port, self.pid = int(self.address.rpartition(":")[2]), self.process.pid

    def use(self) -> Use:
        """What it has used so far."""
        return use_of([self.pid])

    def close(self) -> None:
        """Stop it and wait."""
        self.process.terminate()
        self.process.wait()
        assert self.process.stdout is not None
        self.process.stdout.close()



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
