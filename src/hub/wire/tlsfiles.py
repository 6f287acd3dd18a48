"""A client's certificate files, and what TLS says when it refuses, in words that tell whose certificate is meant."""

from __future__ import annotations

import contextlib
import os
import ssl

from hub.errors import RequestError
from hub.wire.faults import AccessError

_ALERTS = {
    "CERTIFICATE_REQUIRED": "the server asks for a certificate, and got none",
    "CERTIFICATE_EXPIRED": "the server says that your certificate is expired",
    "CERTIFICATE_REVOKED": "the server says that your certificate is revoked",
    "UNKNOWN_CA": "the server does not know who issued your certificate",
    "BAD_CERTIFICATE": "the server does not take your certificate",
    "UNSUPPORTED_CERTIFICATE": "the server does not take a certificate for this use",
    "CERTIFICATE_UNKNOWN": "the server does not take your certificate",
    "DECRYPT_ERROR": "the server does not take the signature of your certificate: it is of another authority",
    "PROTOCOL_VERSION": "the server does not speak TLS 1.3",
}
"""What the other side says, by the end of OpenSSL's name for it, as in TLSV13_ALERT_CERTIFICATE_REQUIRED."""

Place = str | os.PathLike[str]


def client_context(cert: Place, key: Place | None, ca: Place) -> ssl.SSLContext:
    """TLS 1.3 with a certificate of one's own.

    Raises:
        RequestError: a file cannot be used; it is named by its argument.
    """
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.minimum_version = ssl.TLSVersion.TLSv1_3
    for name, path in (("cert", cert), ("key", key), ("ca", ca)):
        if path is None:
            continue
        try:
            with open(path, "rb"):
                pass
        except (OSError, TypeError, ValueError) as error:
            raise RequestError(f"{name}: cannot read the file: {_words(error)}") from None
    try:
        context.load_verify_locations(ca)
    except OSError as error:
        raise RequestError(f"ca: expected certificates in PEM, got something else: {_words(error)}") from None
    try:
        # Without a function OpenSSL would ask on the terminal, and a service would wait there for ever.
        context.load_cert_chain(cert, key, password=_refuse)
    except _LockedError:
        raise RequestError("key: expected one without a passphrase, got one with") from None
    except ssl.SSLError as error:
        if error.reason == "KEY_VALUES_MISMATCH":
            raise RequestError("key: expected that of the certificate, got another") from None
        raise RequestError(f"cert, key: expected both in PEM, got something else: {_words(error)}") from None
    return context


class ClientFiles:
    """The files of a client; read again when they have changed, for a program that outlives its certificate."""

    def __init__(self, cert: Place, key: Place | None, ca: Place) -> None:
        """
        Raises:
            RequestError: a file cannot be used.
        """
        self._places = cert, key, ca
        self._stamp = self._look()
        self._context = client_context(cert, key, ca)

    def __repr__(self) -> str:
        return "ClientFiles()"

    def context(self) -> ssl.SSLContext:
        """For the next connection; of the files before where the new ones do not fit (yet)."""
        stamp = self._look()
        if stamp != self._stamp:
            with contextlib.suppress(RequestError):
                self._context = client_context(*self._places)
                self._stamp = stamp
        return self._context

    def _look(self) -> list[tuple[int, int]]:
        found = []
        for place in self._places:
            try:
                seen = os.stat(place) if place is not None else None
            except (OSError, TypeError, ValueError):
                seen = None
            found.append((0, 0) if seen is None else (seen.st_mtime_ns, seen.st_size))
        return found


class _LockedError(Exception):
    pass


def _refuse() -> str:
    raise _LockedError


def _words(error: Exception) -> str:
    if isinstance(error, ssl.SSLError):
        return str(error.reason or type(error).__name__)
    return getattr(error, "strerror", None) or type(error).__name__


def tls_error(error: ssl.SSLError) -> AccessError:
    """Why there is no connection."""
    if isinstance(error, ssl.SSLCertVerificationError):
        return AccessError(f"connection: the server's certificate is not taken: {error.verify_message}")
    reason = error.reason or type(error).__name__
    told = next((words for end, words in _ALERTS.items() if reason.endswith(f"ALERT_{end}")), None)
    return AccessError(f"connection: refused by TLS: {told or reason}")
