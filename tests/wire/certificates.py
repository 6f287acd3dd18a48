"""Certificates for tests: an authority, a server, clients, revocation lists; made anew in every run."""

from __future__ import annotations

import datetime as dt
import ipaddress
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from hub.wire.access import key_sha256

DAY = dt.timedelta(days=1)


def _name(text: str) -> x509.Name:
    return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, text)])


class Issued:
    """A certificate and its key, in files."""

    def __init__(self, folder: Path, name: str, certificate: x509.Certificate, key: ec.EllipticCurvePrivateKey) -> None:
        self.certificate = certificate
        self.cert, self.key = str(folder / f"{name}.pem"), str(folder / f"{name}.key")
        Path(self.cert).write_bytes(certificate.public_bytes(serialization.Encoding.PEM))
        Path(self.key).write_bytes(
            key.private_bytes(
                serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
            )
        )

    @property
    def key_sha256(self) -> str:
        return key_sha256(self.certificate)


class Authority:
    """Who issues certificates and says which are revoked."""

    def __init__(self, folder: Path, name: str = "ca") -> None:
        self.folder = folder
        self._key = ec.generate_private_key(ec.SECP256R1())
        self._subject = _name(f"test {name}")
        self._own = (
            self._builder(self._subject, self._key, -DAY, 365 * DAY)
            .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
            .sign(self._key, hashes.SHA256())
        )
        self.ca = Issued(folder, name, self._own, self._key).cert
        self.crl = str(folder / f"{name}.crl")
        self.revoke([])

    def _builder(
        self, subject: x509.Name, key: ec.EllipticCurvePrivateKey, begin: dt.timedelta, end: dt.timedelta
    ) -> x509.CertificateBuilder:
        now = dt.datetime.now(dt.UTC)
        return (
            x509.CertificateBuilder()
            .subject_name(subject)
            .issuer_name(self._subject)
            .public_key(key.public_key())
            .serial_number(x509.random_serial_number())
            .not_valid_before(now + begin)
            .not_valid_after(now + end)
        )

    def issue(
        self,
        name: str,
        *,
        san: str | None = None,
        begin: dt.timedelta = -DAY,
        end: dt.timedelta = DAY,
        server: bool = False,
    ) -> Issued:
        """A certificate of a client, or of a server on this machine."""
        key = ec.generate_private_key(ec.SECP256R1())
        usage = ExtendedKeyUsageOID.SERVER_AUTH if server else ExtendedKeyUsageOID.CLIENT_AUTH
        builder = self._builder(_name(name), key, begin, end).add_extension(
            x509.ExtendedKeyUsage([usage]), critical=False
        )
        names: list[x509.GeneralName] = [] if san is None else [x509.DNSName(san)]
        if server:
            names += [x509.DNSName("localhost"), x509.IPAddress(ipaddress.ip_address("127.0.0.1"))]
        if names:
            builder = builder.add_extension(x509.SubjectAlternativeName(names), critical=False)
        return Issued(self.folder, name, builder.sign(self._key, hashes.SHA256()), key)

    def revoke(self, issued: list[Issued], *, due: dt.timedelta = DAY) -> None:
        """Write the revocation list, with a newer one due then."""
        now = dt.datetime.now(dt.UTC)
        builder = x509.CertificateRevocationListBuilder().issuer_name(self._subject)
        builder = builder.last_update(min(now, now + due) - DAY).next_update(now + due)
        for one in issued:
            entry = x509.RevokedCertificateBuilder().serial_number(one.certificate.serial_number).revocation_date(now)
            builder = builder.add_revoked_certificate(entry.build())
        list_ = builder.sign(self._key, hashes.SHA256())
        fresh = Path(self.crl + ".new")
        fresh.write_bytes(list_.public_bytes(serialization.Encoding.PEM))
        fresh.replace(self.crl)
