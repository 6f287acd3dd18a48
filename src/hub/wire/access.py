"""Who may call for whom: certificates and their institutions, revocation, the security log.

TLS itself checks that a certificate was issued by a configured CA, for clients, and is in its time. What is checked
here, at the beginning of a connection and again while it lasts: that it is not revoked, has not ended, and is listed.
"""

from __future__ import annotations

import datetime as dt
import hashlib
import logging
import ssl
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any, NamedTuple

import msgspec
from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from hub.errors import RequestError
from hub.wire.config import Config, Tls
from hub.wire.faults import AccessError

SEEN_MAX = 4_096
"""Certificates whose party is remembered, about 1 KiB each."""

logger = logging.getLogger("hub")
security = logging.getLogger("hub.security")


class Party(NamedTuple):
    """Who is at the other end.

    Attributes:
        name: as configured. institutions: for which it may call. certificate: None on a plain connection.
    """

    name: str
    institutions: frozenset[str]
    certificate: Seen | None = None


class Seen(NamedTuple):
    """What of a certificate is looked at again while its connection lasts.

    Attributes:
        issuer: its name, DER. serial: its number. ends: seconds since 1970. key_sha256: hex.
    """

    issuer: bytes
    serial: int
    ends: float
    key_sha256: str

    def __repr__(self) -> str:
        return f"Seen({self.key_sha256[:16]})"


class Revoked(NamedTuple):
    """One issuer's revocation list: serial numbers, and seconds since 1970 at which a newer one is due."""

    serials: frozenset[int]
    ends: float


def key_sha256(certificate: x509.Certificate) -> str:
    """SHA-256 of a certificate's public key (SubjectPublicKeyInfo, DER), hex."""
    key = certificate.public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
    return hashlib.sha256(key).hexdigest()


class Access:
    """The certificates of one server. Used by its loop's thread."""

    def __init__(self, config: Config, codes: Iterable[str], clock: Callable[[], float]) -> None:
        """Args: codes: of all institutions.

        Raises:
            RequestError: a code is no institution's, a certificate is listed twice, or a list cannot be read.
        """
        self._clock = clock
        self._tls = config.tls
        self._by_key: dict[str, Party] = {}
        self._by_san: dict[str, Party] = {}
        known = set(codes)
        for one in config.certificates:
            party = Party(one.name, _check_codes(one.institutions, known))
            table, name = (self._by_san, one.san) if one.key_sha256 is None else (self._by_key, one.key_sha256)
            assert name is not None
            if name in table:
                raise RequestError(f"config: expected each certificate once, got that of {one.name} twice")
            table[name] = party
        self.plain = None
        if config.plain is not None:
            self.plain = Party(config.plain.name, _check_codes(config.plain.institutions, known))
        self._seen: dict[bytes, tuple[Seen, Party | None]] = {}
        """Certificates that came before, by their SHA-256: a platform has one, and thousands of connections."""
        self._contexts: list[ssl.SSLContext] = []
        self._stamps: dict[str, tuple[int, int]] = {}
        self._revoked: dict[bytes, Revoked] = {}
        if self._tls is not None:
            self._revoked = _read_lists(self._tls)
            self._stamps = self._stamp()

    def __repr__(self) -> str:
        return f"Access(certificates={len(self._by_key) + len(self._by_san)})"

    def context(self) -> ssl.SSLContext | None:
        """TLS for a listener, which from then on goes along when the server's own certificate is renewed; None where
        there is none.

        Raises:
            RequestError: a file is missing or no PEM.
        """
        if self._tls is None:
            return None
        self._contexts.append(make_context(self._tls))
        return self._contexts[-1]

    def identify(self, der: bytes | None) -> Party:
        """The party of a certificate.

        Raises:
            AccessError: revoked, ended, or not listed.
        """
        if der is None:
            if self.plain is None:
                raise AccessError("certificate: expected one, got none")
            return self.plain
        name = hashlib.sha256(der).digest()
        found = self._seen.get(name)
        if found is None:
            if len(self._seen) >= SEEN_MAX:
                self._seen.clear()
            found = self._seen[name] = self._look_at(x509.load_der_x509_certificate(der))
        seen, party = found
        self.check(seen)
        if party is None:
            raise AccessError("certificate: expected one that is listed with its institutions, got another")
        return party

    def _look_at(self, certificate: x509.Certificate) -> tuple[Seen, Party | None]:
        own = key_sha256(certificate)
        seen = Seen(
            certificate.issuer.public_bytes(), certificate.serial_number,
            certificate.not_valid_after_utc.timestamp(), own,
        )  # fmt: skip
        party = self._by_key.get(own) or self._by_names(certificate)
        return seen, None if party is None else party._replace(certificate=seen)

    def _by_names(self, certificate: x509.Certificate) -> Party | None:
        try:
            names = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
        except x509.ExtensionNotFound:
            return None
        texts = names.get_values_for_type(x509.DNSName) + names.get_values_for_type(x509.UniformResourceIdentifier)
        found = {self._by_san[text] for text in texts if text in self._by_san}
        # One that is two parties is none: nobody could tell for whom it calls.
        return found.pop() if len(found) == 1 else None

    def check(self, seen: Seen) -> None:
        """Refuse a certificate that may not be used any more.

        Raises:
            AccessError: it ended or was revoked, or its issuer's list is missing or too old.
        """
        now = self._clock()
        if seen.ends <= now:
            raise AccessError("certificate: expected one in its time, got one that has ended")
        if self._tls is None or not self._tls.crls:
            return
        revoked = self._revoked.get(seen.issuer)
        if revoked is None or revoked.ends <= now:
            # Closed rather than open: without a list nobody knows whom it would name.
            raise AccessError("certificate: expected a valid revocation list of its issuer, found none")
        if seen.serial in revoked.serials:
            raise AccessError("certificate: expected one that stands, got one that was revoked")

    def reload(self, *, always: bool = False) -> bool:
        """Read the revocation lists and the server's own certificate again if they have changed; what cannot be used
        leaves those before in force. The configured authorities stay: whom else to trust is said at a start.

        Returns:
            whether all of it was read.
        """
        if self._tls is None or not (always or self._stamp() != self._stamps):
            return False
        self._stamps = self._stamp()
        done = True
        try:
            self._revoked = _read_lists(self._tls)
            logger.info("revocation lists: read %d", len(self._revoked))
        except RequestError as error:
            logger.error("revocation lists: those before stay in force: %s", error)
            done = False
        try:
            # Apart from those in use, which a certificate without its key would leave without either.
            make_context(self._tls)
            for context in self._contexts:
                context.load_cert_chain(self._tls.certificate, self._tls.key)
        except (OSError, RequestError) as error:
            logger.error("certificate: the one before stays in use: %s", error)
            done = False
        return done

    def _stamp(self) -> dict[str, tuple[int, int]]:
        assert self._tls is not None
        stamps = {}
        for name in (*self._tls.crls, self._tls.certificate, self._tls.key):
            try:
                stat = Path(name).stat()
                stamps[name] = stat.st_mtime_ns, stat.st_ino
            except OSError:
                stamps[name] = 0, 0
        return stamps


def _check_codes(codes: list[str], known: set[str]) -> frozenset[str]:
    for code in codes:
        if code not in known:
            raise RequestError(f"config: expected codes of institutions, got {code}")
    return frozenset(codes)


def _read_lists(tls: Tls) -> dict[bytes, Revoked]:
    """The revocation lists by issuer, each signed by a configured CA."""
    if not tls.crls:
        return {}
    try:
        authorities = x509.load_pem_x509_certificates(Path(tls.ca).read_bytes())
        lists = [(name, x509.load_pem_x509_crl(Path(name).read_bytes())) for name in tls.crls]
    except OSError as error:
        raise RequestError(f"{error.filename}: {error.strerror}") from None
    except ValueError:
        raise RequestError("tls: expected PEM certificates and revocation lists, got something else") from None
    found = {}
    for name, one in lists:
        if not any(ca.subject == one.issuer and one.is_signature_valid(ca.public_key()) for ca in authorities):  # type: ignore[arg-type]
            raise RequestError(f"{name}: expected a revocation list that a configured CA signed, got another")
        due = one.next_update_utc
        ends = float("inf") if due is None else due.timestamp()
        found[one.issuer.public_bytes()] = Revoked(frozenset(entry.serial_number for entry in one), ends)
    return found


class _Handshake(ssl.SSLObject):
    """One connection's TLS; a handshake that fails is in the security log, which no event loop tells otherwise."""

    def do_handshake(self) -> None:
        try:
            super().do_handshake()
        except (ssl.SSLWantReadError, ssl.SSLWantWriteError):
            raise
        except ssl.SSLError as error:
            # Of OpenSSL's words the reason only.
            cause, verify = error.reason or type(error).__name__, getattr(error, "verify_message", None)
            tell_security("handshake refused", cause=cause, verify=verify)
            raise


def make_context(tls: Tls) -> ssl.SSLContext:
    """TLS 1.3, with client certificates required.

    Raises:
        RequestError: a file is missing or no PEM.
    """
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion.TLSv1_3
    context.verify_mode = ssl.CERT_REQUIRED
    context.sslobject_class = _Handshake
    # No resumption: every connection shows its certificate.
    context.num_tickets = 0
    try:
        context.load_cert_chain(tls.certificate, tls.key)
        context.load_verify_locations(tls.ca)
    except OSError as error:
        raise RequestError(f"tls: cannot use its files: {error.strerror or error}") from None
    return context


def open_security_log(path: str | None) -> logging.Handler | None:
    """Let the security log also go to a file, one JSON object a line."""
    if path is None:
        return None
    try:
        handler = logging.FileHandler(path, encoding="utf-8")
    except OSError as error:
        raise RequestError(f"security log {path}: {error.strerror}") from None
    handler.setFormatter(logging.Formatter("%(message)s"))
    security.addHandler(handler)
    return handler


def tell_security(what: str, **fields: Any) -> None:
    """Write one line into the security log: who was refused what; never an alias."""
    at = dt.datetime.now(dt.UTC).isoformat(timespec="milliseconds")
    line = msgspec.json.encode({"at": at, "what": what, **{k: v for k, v in fields.items() if v is not None}})
    security.warning("%s", line.decode())
