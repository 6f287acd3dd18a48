"""Certificates that a trusted proxy passes on: from a header's value to who may call for whom.

Of what a proxy says only the certificate is taken, and that it has shown the key to it; who signed it, for what and
for how long is checked here again, so that a proxy that was configured too widely lets nobody in.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
from collections import OrderedDict
from collections.abc import Callable
from pathlib import Path
from urllib.parse import unquote_to_bytes

from cryptography import x509
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.x509.oid import ExtendedKeyUsageOID

from hub.errors import RequestError
from hub.wire.access import Access, Party
from hub.wire.faults import AccessError

KNOWN_MAX = 1_024
"""Certificates whose signatures need not be checked again, 1 KB each."""


def decode_certificate(value: bytes) -> x509.Certificate:
    """The certificate in a header: PEM, percent-encoded as nginx has it; or base64 between colons (RFC 9440).

    Raises:
        AccessError: none can be read there.
    """
    try:
        if value[:1] == b":" and value[-1:] == b":" and len(value) > 1:
            return x509.load_der_x509_certificate(base64.b64decode(value[1:-1], validate=True))
        return x509.load_pem_x509_certificate(unquote_to_bytes(value))
    except (ValueError, binascii.Error):
        raise AccessError("certificate: expected one that can be read, got another") from None


class Proxied:
    """Who is behind the proxy. Used by the loop's thread."""

    def __init__(self, access: Access, ca: str, clock: Callable[[], float]) -> None:
        """Args: ca: file with the authorities that sign clients' certificates themselves, PEM.

        Raises:
            RequestError: it cannot be read.
        """
        try:
            self._authorities = x509.load_pem_x509_certificates(Path(ca).read_bytes())
        except (OSError, ValueError):
            raise RequestError(f"{ca}: expected certificates of authorities, PEM, got something else") from None
        self._access, self._clock = access, clock
        self._known: OrderedDict[bytes, Party] = OrderedDict()

    def __repr__(self) -> str:
        return f"Proxied(known={len(self._known)})"

    def identify(self, value: bytes) -> Party:
        """The party of the certificate in a header.

        Raises:
            AccessError: of another authority, not for clients, not in its time, revoked, or not listed.
        """
        # Not the value itself: it would be kept, long as it is.
        name = hashlib.sha256(value).digest()
        party = self._known.get(name)
        if party is not None and party.certificate is not None:
            self._known.move_to_end(name)
            self._access.check(party.certificate)
            return party
        certificate = decode_certificate(value)
        self._check(certificate)
        party = self._access.identify(certificate.public_bytes(Encoding.DER))
        self._known[name] = party
        if len(self._known) > KNOWN_MAX:
            self._known.popitem(last=False)
        return party

    def _check(self, certificate: x509.Certificate) -> None:
        now = self._clock()
        if not any(_signed(certificate, ca) and ca.not_valid_after_utc.timestamp() > now for ca in self._authorities):
            raise AccessError("certificate: expected one that a configured CA signed, got another")
        if certificate.not_valid_before_utc.timestamp() > now:
            raise AccessError("certificate: expected one in its time, got one that has not begun")
        try:
            uses = certificate.extensions.get_extension_for_class(x509.ExtendedKeyUsage).value
        except x509.ExtensionNotFound:
            return
        except ValueError:
            raise AccessError("certificate: expected one that can be read, got another") from None
        if ExtendedKeyUsageOID.CLIENT_AUTH not in uses and ExtendedKeyUsageOID.ANY_EXTENDED_KEY_USAGE not in uses:
            raise AccessError("certificate: expected one for clients, got another")


def _signed(certificate: x509.Certificate, authority: x509.Certificate) -> bool:
    try:
        certificate.verify_directly_issued_by(authority)
    except (ValueError, TypeError, InvalidSignature):
        return False
    return True
