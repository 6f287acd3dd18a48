"""``hub serve --demo``: a small hub with invented people, served on this machine, for trying only.

In a folder of its own: the hub, an authority whose key is thrown away at once, certificates of the server, of an agency
and of a town, ``hub.toml`` for the server, ``nenkin.toml`` and ``town.toml`` for the two clients, files to ask and to
answer with. Nothing of it is fit for anybody's data: whoever can read the folder can act as everybody in it.
"""

from __future__ import annotations

import datetime as dt
import ipaddress
import os
import shlex
from pathlib import Path
from typing import NamedTuple

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

import hub
from hub.errors import RequestError
from hub.messages import Aliases

MARK = "# Made by hub serve --demo, for trying only: keys and people in this folder are nobody's."
PERSONS, PERSONS_OF_TOWN = 100, 60
AGENCY, TOWN = "nenkin", "131016"
VALID = dt.timedelta(days=30)
SUBJECT = "hub demo, for trying only"


class Issued(NamedTuple):
    """A certificate and its key, PEM; the SHA-256 of its public key."""

    certificate: bytes
    key: bytes
    key_sha256: str


class Authority:
    """Issues certificates; its key is in no file."""

    def __init__(self) -> None:
        self._key = ec.generate_private_key(ec.SECP256R1())
        self._subject = _name(f"{SUBJECT}: authority")
        own = self._builder(self._subject, self._key.public_key()).add_extension(
            x509.BasicConstraints(ca=True, path_length=0), critical=True
        )
        self.certificate = own.sign(self._key, hashes.SHA256()).public_bytes(serialization.Encoding.PEM)

    def _builder(self, subject: x509.Name, key: ec.EllipticCurvePublicKey) -> x509.CertificateBuilder:
        now = dt.datetime.now(dt.UTC)
        return (
            x509.CertificateBuilder()
            .subject_name(subject)
            .issuer_name(self._subject)
            .public_key(key)
            .serial_number(x509.random_serial_number())
            .not_valid_before(now - dt.timedelta(hours=1))
            .not_valid_after(now + VALID)
        )

    def issue(self, name: str, *, server: bool = False) -> Issued:
        """A certificate of a client, or of a server on this machine."""
        key = ec.generate_private_key(ec.SECP256R1())
        usage = ExtendedKeyUsageOID.SERVER_AUTH if server else ExtendedKeyUsageOID.CLIENT_AUTH
        builder = self._builder(_name(f"{SUBJECT}: {name}"), key.public_key())
        builder = builder.add_extension(x509.ExtendedKeyUsage([usage]), critical=False)
        if server:
            addresses = [x509.IPAddress(ipaddress.ip_address(text)) for text in ("127.0.0.1", "::1")]
            names = x509.SubjectAlternativeName([x509.DNSName("localhost"), *addresses])
            builder = builder.add_extension(names, critical=False)
        certificate = builder.sign(self._key, hashes.SHA256())
        return Issued(
            certificate.public_bytes(serialization.Encoding.PEM),
            key.private_bytes(
                serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
            ),
            key_sha256_of(certificate.public_bytes(serialization.Encoding.PEM)),
        )


def _name(text: str) -> x509.Name:
    return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, text)])


def key_sha256_of(pem: bytes) -> str:
    """SHA-256 of the public key (SubjectPublicKeyInfo, DER) of a certificate, a request for one, or a key itself; hex.

    Raises:
        RequestError: it is none of these.
    """
    digest = hashes.Hash(hashes.SHA256())
    try:
        if b"-----BEGIN CERTIFICATE REQUEST-----" in pem or b"-----BEGIN NEW CERTIFICATE REQUEST-----" in pem:
            key = x509.load_pem_x509_csr(pem).public_key()
        elif b"-----BEGIN CERTIFICATE-----" in pem:
            key = x509.load_pem_x509_certificate(pem).public_key()
        else:
            key = serialization.load_pem_public_key(pem)  # type: ignore[assignment]
    except ValueError:
        raise RequestError(
            "key: expected a certificate, a certificate request or a public key in PEM, got something else"
        ) from None
    digest.update(key.public_bytes(serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo))
    return digest.finalize().hex()


class Trial:
    """The folder. Made, or found where one was made before; certificates and settings are new each time."""

    def __init__(self, folder: Path) -> None:
        """
        Raises:
            RequestError: the folder holds something else.
        """
        self.folder = folder
        config = self.config
        if folder.exists() and any(folder.iterdir()) and not (config.is_file() and MARK in config.read_text("utf-8")):
            raise RequestError(f"--demo {folder}: expected a new or empty folder, or one made by --demo, got another")
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)

    @property
    def config(self) -> Path:
        """The server's configuration."""
        return self.folder / "hub.toml"

    def prepare(self, port: int) -> None:
        """Write everything but what needs the server's address.

        Args:
            port: to listen at, on loopback; 0 is any.
        """
        authority = Authority()
        self._write("ca.pem", authority.certificate)
        listed = []
        for name, codes in (("server", ()), ("nenkin", (AGENCY, "portal")), ("town", (TOWN,))):
            issued = authority.issue(name, server=name == "server")
            self._write(f"{name}.pem", issued.certificate)
            self._write(f"{name}.key", issued.key)
            if codes:
                quoted = ", ".join(f'"{code}"' for code in codes)
                lines = (
                    "[[certificates]]", f'name = "{name}"', f'key_sha256 = "{issued.key_sha256}"',
                    f"institutions = [{quoted}]", "",
                )  # fmt: skip
                listed.append("\n".join(lines))
        tls = '[tls]\ncertificate = "server.pem"\nkey = "server.key"\nca = "ca.pem"\n'
        head = f'{MARK}\nfolder = "linkage"\nlisten = "127.0.0.1:{port}"\nsecurity_log = "security.log"\n'
        self._write("hub.toml", "\n".join((head, tls, *listed)).encode())
        if not (self.folder / "linkage").exists():
            self._fill()

    def _fill(self) -> None:
        codes = [f"000{number:08}" for number in range(1, PERSONS + 1)]
        with hub.open(self.folder / "linkage", create=True) as h:
            agency = h.acquire(AGENCY, codes).aliases
            town = h.acquire(TOWN, codes[:PERSONS_OF_TOWN]).aliases
            citizens = h.acquire("portal", codes[:1]).aliases
        asked = [f"{alias},{TOWN}" for alias in _hex(agency)]
        self._write("ask.csv", "\n".join(("alias,provider", *asked, "")).encode())
        register = [f"{alias},{number * 1_000}" for number, alias in enumerate(_hex(town))]
        self._write("register.csv", "\n".join(("alias,income", *register, "")).encode())
        self._write("citizen.txt", "\n".join((*_hex(citizens), "")).encode())

    def welcome(self, address: str) -> list[str]:
        """Write the clients' files; the lines to tell whoever tries."""
        for name in ("nenkin", "town"):
            institution = AGENCY if name == "nenkin" else TOWN
            lines = (
                MARK, f'address = "{address}"', f'cert = "{name}.pem"', f'key = "{name}.key"', 'ca = "ca.pem"',
                f'institution = "{institution}"', "",
            )  # fmt: skip
            self._write(f"{name}.toml", "\n".join(lines).encode())
        place = shlex.quote(str(self.folder))
        question = "--requester nenkin --procedure 19-8/73/75.3 --item 市町村民税 --role 納付義務者"
        return [
            f"for trying only, with {PERSONS} people who do not exist; in another terminal:",
            f"  hub inquire {place}/ask.csv --client {place}/nenkin.toml {question} \\",
            "      --section 年金給付課 --id try-1 --out answers.csv",
            f"  hub collect {TOWN} --client {place}/town.toml --out permits.csv",
            f"  hub history --client {place}/nenkin.toml --alias - < {place}/citizen.txt",
            "Ctrl-C ends it.",
        ]

    def _write(self, name: str, data: bytes) -> None:
        path = self.folder / name
        handle = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
        with open(handle, "wb") as file:
            file.write(data)


def _hex(aliases: Aliases) -> list[str]:
    return [bytes(alias).hex() for alias in aliases]
