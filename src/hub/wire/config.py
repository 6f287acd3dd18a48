"""The server's configuration: one TOML file, every key of it known; paths are relative to the file."""

from __future__ import annotations

import ipaddress
import tomllib
from pathlib import Path
from typing import Annotated, Literal, TypeVar

import msgspec

from hub.errors import RequestError
from hub.limits import ANSWERS_EVERY_S, WIRE_REQUESTS_MAX
from hub.wire.quotas import Quota

_Positive = Annotated[int, msgspec.Meta(ge=1)]
_Seconds = Annotated[float, msgspec.Meta(gt=0)]
_Codes = Annotated[list[str], msgspec.Meta(min_length=1)]

C = TypeVar("C")


class Tls(msgspec.Struct, forbid_unknown_fields=True, frozen=True):
    """Files, PEM.

    Attributes:
        certificate, key: the server's own. ca: who issues the clients'. crls: their revocation lists; with any, each
            issuer must have a valid one. They, certificate and key are read again when they change and at SIGHUP.
    """

    certificate: str
    key: str
    ca: str
    crls: list[str] = []


class Certificate(msgspec.Struct, forbid_unknown_fields=True, frozen=True, kw_only=True):
    """Whose certificate may call for whom; one of key_sha256 and san.

    Attributes:
        name: of the platform or body that holds it, recorded as operator.
        key_sha256: of its public key (SubjectPublicKeyInfo, DER), 64 hex digits. san: a DNS name or URI in it.
        institutions: codes.
    """

    name: Annotated[str, msgspec.Meta(min_length=1, max_length=40)]
    institutions: _Codes
    key_sha256: Annotated[str, msgspec.Meta(pattern="^[0-9a-f]{64}$")] | None = None
    san: str | None = None


class Plain(msgspec.Struct, forbid_unknown_fields=True, frozen=True):
    """Instead of certificates, on loopback only: everybody on this machine may call for these institutions."""

    name: Annotated[str, msgspec.Meta(min_length=1, max_length=40)]
    institutions: _Codes


class Proxy(msgspec.Struct, forbid_unknown_fields=True, frozen=True):
    """A proxy on this machine that ends TLS, checks client certificates and passes them on over a Unix socket.

    Attributes:
        socket: its path. mode: of the file, who may connect: whoever may is believed what the header says.
        header: in which the certificate comes, percent-encoded PEM or as of RFC 9440.
    """

    socket: str
    mode: Annotated[int, msgspec.Meta(ge=0, le=0o777)] = 0o660
    header: Annotated[str, msgspec.Meta(pattern="^[a-z0-9-]{1,64}$")] = "x-client-cert"


class Http(msgspec.Struct, forbid_unknown_fields=True, frozen=True):
    """The same methods over HTTP; one of both, or both.

    Attributes:
        listen: host:port, with the TLS and the certificates of the wire. proxy: behind which they are asked for.
    """

    listen: str | None = None
    proxy: Proxy | None = None

    @property
    def host_port(self) -> tuple[str, int] | None:
        """Where it listens; port 0 is any."""
        return None if self.listen is None else split_address("http.listen", self.listen)


class Limits(msgspec.Struct, forbid_unknown_fields=True, frozen=True):
    """Bounds of one server.

    Attributes:
        connections: at a time. requests_per_connection: open calls.
        bytes_in_flight: of long calls and replies, together.
        small_threads, medium_threads, bulk_threads: that work beside the shared commits; of each one more for
            institutions for which none works. page_threads: that read histories for the portal; one more of them makes
            all slower, unless they wait for the disk.
        small_waiting, medium_waiting, bulk_waiting: calls that may wait for one; more are told to come again.
        free_bytes_min: of the folder's disk; with less nothing that writes is begun.
        hello_s: for handshake and first frame. frame_s: for one frame, and between parts of a call. idle_s: without any
            call. unread_s: in which a client reads nothing of what waits for it. drain_s: for what is open at the end.
    """

    connections: _Positive = 12_000
    requests_per_connection: _Positive = WIRE_REQUESTS_MAX
    bytes_in_flight: _Positive = 1 << 30
    small_threads: _Positive = 16
    medium_threads: _Positive = 4
    bulk_threads: _Positive = 2
    page_threads: _Positive = 2
    small_waiting: _Positive = 4_096
    medium_waiting: _Positive = 1_024
    bulk_waiting: _Positive = 64
    free_bytes_min: Annotated[int, msgspec.Meta(ge=0)] = 64 << 20
    hello_s: _Seconds = 10.0
    frame_s: _Seconds = 30.0
    idle_s: _Seconds = 3_600.0
    unread_s: _Seconds = 30.0
    drain_s: _Seconds = 30.0


class Metrics(msgspec.Struct, forbid_unknown_fields=True, frozen=True):
    """The Prometheus endpoint, plain HTTP.

    Attributes:
        listen: host:port, of loopback. anywhere: agree to another host: whoever reaches it reads how much is asked, by
            which institution, and nothing else.
    """

    listen: str
    anywhere: bool = False


class Log(msgspec.Struct, forbid_unknown_fields=True, frozen=True):
    """Diagnostics, JSON lines.

    Attributes:
        file: instead of standard error. level: from which on.
        slow_s, slow_bulk_s: a call that takes longer leaves a line; of bulk the latter.
    """

    file: str | None = None
    level: Literal["debug", "info", "warning", "error"] = "info"
    slow_s: _Seconds = 1.0
    slow_bulk_s: _Seconds = 60.0


class Config(msgspec.Struct, forbid_unknown_fields=True, frozen=True):
    """All of it.

    Attributes:
        folder: the hub's. listen: host:port. address: as clients connect to it, ``hubs://host:port``.
        security_log: file for refusals, JSON lines; also in the logger ``hub.security``.
        head, answers_every_s: as of :func:`hub.open`.
        quotas: by code of the institution; ``default`` of all that have none of their own.
    """

    folder: str
    listen: str
    address: str | None = None
    security_log: str | None = None
    head: str | None = None
    answers_every_s: _Positive = ANSWERS_EVERY_S
    tls: Tls | None = None
    certificates: list[Certificate] = []
    plain: Plain | None = None
    http: Http | None = None
    limits: Limits = Limits()
    quotas: dict[str, Quota] = {}
    metrics: Metrics | None = None
    log: Log = Log()

    @property
    def host_port(self) -> tuple[str, int]:
        """Where it listens; port 0 is any."""
        return split_address("listen", self.listen)

    @property
    def called_at(self) -> str:
        """The address for clients, where it is configured."""
        return self.address or f"{'hubs' if self.tls else 'hub'}://{self.listen}"


def split_address(name: str, text: str) -> tuple[str, int]:
    """``host:port`` -> both; an IPv6 host stands in brackets.

    Raises:
        RequestError: it is something else.
    """
    host, colon, port = text.rpartition(":")
    if not colon or not host or not port.isascii() or not port.isdigit() or int(port) > 65_535:
        raise RequestError(f"{name}: expected host:port, got {text}")
    return host.removeprefix("[").removesuffix("]"), int(port)


def read_toml(path: Path, kind: type[C]) -> C:
    """A file of settings as what it is to be.

    Raises:
        RequestError: it cannot be read, or has an unknown key or another value, which is named.
    """
    try:
        with path.open("rb") as file:
            return msgspec.convert(tomllib.load(file), kind)
    except OSError as error:
        raise RequestError(f"config {path}: {error.strerror}") from None
    except (tomllib.TOMLDecodeError, UnicodeDecodeError, msgspec.ValidationError) as error:
        raise RequestError(f"config {path}: {error}") from None


def load_config(path: Path, *, plain: bool = False) -> Config:
    """Read and check the file.

    Args:
        plain: whether the caller agrees to a server without TLS.

    Raises:
        RequestError: it cannot be read, has an unknown key (which is named) or contradicts itself.
    """
    found = read_toml(path, Config)
    check_config(found, plain=plain)
    return _resolve(found, path.parent)


def check_config(config: Config, *, plain: bool) -> None:
    """Refuse what contradicts itself.

    Raises:
        RequestError: it does.
    """
    host, _ = config.host_port
    if (config.tls is None) == (config.plain is None):
        raise RequestError("config: expected one of [tls] and [plain], got both or none")
    if config.plain is not None:
        if not plain:
            raise RequestError("config: expected the flag --plain with [plain], got none")
        if not is_loopback(host):
            raise RequestError(f"config: expected a loopback address with [plain], got {host}")
        if config.certificates:
            raise RequestError("config: expected no certificates with [plain], got some")
    elif not config.certificates:
        raise RequestError("config: expected certificates with [tls], got none")
    if config.metrics is not None:
        where, _ = split_address("metrics.listen", config.metrics.listen)
        if not config.metrics.anywhere and not is_loopback(where):
            raise RequestError(f"config: expected a loopback address or anywhere = true in [metrics], got {where}")
    for one in config.certificates:
        if (one.key_sha256 is None) == (one.san is None):
            raise RequestError(f"config: expected one of key_sha256 and san of {one.name}, got both or none")
    if config.http is not None:
        _check_http(config.http, plain=config.plain is not None)


def _check_http(http: Http, *, plain: bool) -> None:
    if http.listen is None and http.proxy is None:
        raise RequestError("config: expected listen or [http.proxy] with [http], got none")
    bound = http.host_port
    if plain and bound is not None and not is_loopback(bound[0]):
        raise RequestError(f"config: expected a loopback address with [plain], got {bound[0]}")
    if plain and http.proxy is not None:
        # Nobody could check what the proxy passes on.
        raise RequestError("config: expected [tls] with [http.proxy], got [plain]")


def is_loopback(host: str) -> bool:
    """Whether only this machine can reach an address."""
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def _resolve(config: Config, base: Path) -> Config:
    """The same with paths that do not depend on where the process runs."""

    def place(text: str) -> str:
        return str((base / text).resolve())

    tls = config.tls
    if tls is not None:
        tls = Tls(place(tls.certificate), place(tls.key), place(tls.ca), [place(one) for one in tls.crls])
    http = config.http
    if http is not None and http.proxy is not None:
        proxy = msgspec.structs.replace(http.proxy, socket=place(http.proxy.socket))
        http = msgspec.structs.replace(http, proxy=proxy)
    optional = {name: place(path) for name in ("security_log", "head") if (path := getattr(config, name)) is not None}
    log = config.log
    if log.file is not None:
        log = msgspec.structs.replace(log, file=place(log.file))
    return msgspec.structs.replace(config, folder=place(config.folder), tls=tls, http=http, log=log, **optional)
