"""A hub that is served for a measurement: certificates of its own, and ``hub serve`` as a process.

Only what the hub's documents fix is used, its options, ``hub.toml`` and certificates: the gate serves older ones too.
"""

from __future__ import annotations

import datetime as dt
import hashlib
import ipaddress
import json
import subprocess
import sys
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from hub.errors import StorageError


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


def key_sha256(certificate: x509.Certificate) -> str:
    """SHA-256 of a certificate's public key, as ``hub.toml`` wants it."""
    form = serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo
    return hashlib.sha256(certificate.public_key().public_bytes(*form)).hexdigest()


class ServerProcess:
    """``hub serve`` on a folder, at any free port."""

    def __init__(self, hub_folder: Path, credentials: Credentials, institutions: list[str]) -> None:
        """Raises: StorageError: it ended, or said something else than where it listens."""
        config = credentials.folder / "hub.toml"
        pem = json.dumps(str(credentials.server.resolve()))
        config.write_text(
            f'folder = "{hub_folder.resolve()}"\nlisten = "127.0.0.1:0"\n'
            f'[tls]\ncertificate = {pem}\nkey = {pem}\nca = "{credentials.ca.resolve()}"\n'
            f'[[certificates]]\nname = "bench"\nkey_sha256 = "{credentials.client_key}"\n'
            f"institutions = {json.dumps(institutions)}\n",
            encoding="utf-8",
        )
        # -P: a folder of the caller's that happens to be called hub is not meant.
        command = [sys.executable, "-P", "-m", "hub", "serve", "--config", str(config)]
        self.process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True)
        assert self.process.stdout is not None
        self.address = self.process.stdout.readline().strip().rpartition(" ")[2]
        if not self.address.startswith("hubs://"):
            self.close()
            raise StorageError("hub serve: expected an address, got none")
        self.port, self.pid = int(self.address.rpartition(":")[2]), self.process.pid

    def close(self) -> None:
        """Stop it and wait."""
        self.process.terminate()
        self.process.wait()
        assert self.process.stdout is not None
        self.process.stdout.close()
