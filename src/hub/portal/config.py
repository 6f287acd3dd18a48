"""The portal's configuration: one TOML file, every key of it known; paths are relative to the file."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal
from urllib.parse import urlsplit

import msgspec

from hub.errors import RequestError
from hub.wire.config import is_loopback, read_toml, split_address

_Positive = Annotated[int, msgspec.Meta(ge=1)]
_Seconds = Annotated[float, msgspec.Meta(gt=0)]
_Word = Annotated[str, msgspec.Meta(min_length=1)]


class Tls(msgspec.Struct, forbid_unknown_fields=True, frozen=True):
    """The portal's own certificate and key, PEM; without it a proxy in front of it speaks TLS."""

    certificate: str
    key: str


class HubSide(msgspec.Struct, forbid_unknown_fields=True, frozen=True):
    """The hub, as :func:`hub.aio.connect` takes it; the certificate may call for ``portal`` and nobody else.

    Attributes:
        timeout_s: of every call; after it the page says that the hub is away.
    """

    address: str
    certificate: str | None = None
    key: str | None = None
    ca: str | None = None
    timeout_s: _Seconds = 5.0


class SignIn(msgspec.Struct, forbid_unknown_fields=True, frozen=True):
    """The provider of sign-in (OpenID Connect).

    Attributes:
        issuer: its URL; the rest is read from its discovery document.
        client_id: the portal's name there. key: the portal's private key (PEM), for ``private_key_jwt``.
        alg: of that key. acr: values of which one must be in every ID token, the card's.
        ca: who issued the provider's certificate, where it is not a public one.
        birth_claim: of the ID token, the birth date (``birthdate``); without it nobody is known to be under 15, and no
            proxy by law can be granted.
    """

    issuer: _Word
    client_id: _Word
    key: str
    acr: Annotated[list[_Word], msgspec.Meta(min_length=1)]
    alg: str = "ES256"
    scope: str = "openid"
    ca: str | None = None
    birth_claim: _Word | None = None


class Link(msgspec.Struct, forbid_unknown_fields=True, frozen=True):
    """How somebody who signs in for the first time is found: by an identifier from outside (docs/identifiers.md).

    Attributes:
        claim: of the ID token, the identifier; namespace: its own in the hub's catalog.
    """

    claim: _Word
    namespace: _Word


class Own(msgspec.Struct, forbid_unknown_fields=True, frozen=True):
    """Own data (わたしの情報); without it there is no such page.

    Attributes:
        keys: files of private keys as ``hub key new`` writes them; the first one's public half is registered with the
            hub for ``portal``, others are older ones to which answers may still be sealed.
        looks_a_day: of one person; each is a record.
    """

    keys: Annotated[list[_Word], msgspec.Meta(min_length=1)]
    looks_a_day: _Positive = 20


class Smtp(msgspec.Struct, forbid_unknown_fields=True, frozen=True):
    """The server that takes mails.

    Attributes:
        tls: ``starttls`` (refused where the server has it not), ``implicit``, or ``none``, on loopback only.
        user, password: of the server; the password in a file. ca: who issued its certificate, where not a public one.
        connections: so many mails go beside each other; fewer where the server takes fewer of one client.
    """

    host: _Word
    port: Annotated[int, msgspec.Meta(ge=1, le=65_535)] = 587
    tls: Literal["starttls", "implicit", "none"] = "starttls"
    user: str | None = None
    password: str | None = None
    ca: str | None = None
    timeout_s: _Seconds = 20.0
    connections: Annotated[int, msgspec.Meta(ge=1, le=64)] = 8


class Alerts(msgspec.Struct, forbid_unknown_fields=True, frozen=True):
    """Alerts by mail; without it there is no such page.

    Attributes:
        sender: the address that mails come from. hour: of the day in Japan, from which they go.
    """

    sender: _Word
    smtp: Smtp
    hour: Annotated[int, msgspec.Meta(ge=0, le=23)] = 9


class Limits(msgspec.Struct, forbid_unknown_fields=True, frozen=True):
    """Bounds of one portal.

    Attributes:
        idle_s, session_s: after so long without a page, and in all, one signs in again.
        signin_s: from the way to the provider until the way back.
        sessions, signins: at a time; the oldest go first. page_rows: records on a page of the history.
        pdf_rows: records in one PDF, the newest.
    """

    idle_s: _Seconds = 900.0
    session_s: _Seconds = 3_600.0
    signin_s: _Seconds = 300.0
    sessions: _Positive = 100_000
    signins: _Positive = 20_000
    page_rows: Annotated[int, msgspec.Meta(ge=1, le=100)] = 25
    pdf_rows: Annotated[int, msgspec.Meta(ge=1, le=10_000)] = 1_000


class Config(msgspec.Struct, forbid_unknown_fields=True, frozen=True):
    """All of it.

    Attributes:
        listen: host:port. address: as browsers see it, ``https://host``; ``http://`` on loopback only.
        links: file (SQLite, 0600) of who is who: sign-in and portal alias; read marks.
        tlog: folder into which ``hub tlog export`` writes, served under ``/tlog/``.
    """

    listen: str
    address: str
    links: str
    hub: HubSide
    signin: SignIn
    tls: Tls | None = None
    link: Link | None = None
    tlog: str | None = None
    limits: Limits = Limits()
    own: Own | None = None
    alerts: Alerts | None = None

    @property
    def host_port(self) -> tuple[str, int]:
        """Where it listens."""
        return split_address("listen", self.listen)

    @property
    def secure(self) -> bool:
        """Whether browsers reach it by TLS."""
        return self.address.startswith("https://")


def load_config(path: Path) -> Config:
    """Read and check the file.

    Raises:
        RequestError: it cannot be read, has an unknown key (which is named) or contradicts itself.
    """
    found = read_toml(path, Config)
    check_config(found)
    return _resolve(found, path.parent)


def check_site(address: str, host: str, issuer: str, tls: Tls | None) -> None:
    """Refuse addresses of a site that contradict each other.

    Args:
        address, issuer: as browsers see the site and its provider of sign-in. host: where it listens.

    Raises:
        RequestError: they do.
    """
    for name, text in (("address", address), ("signin.issuer", issuer)):
        parts = urlsplit(text)
        if parts.scheme not in ("https", "http") or not parts.hostname or parts.query or parts.fragment:
            raise RequestError(f"config: expected https://host as {name}, got something else")
        if parts.scheme == "http" and not is_loopback(parts.hostname):
            raise RequestError(f"config: expected https:// as {name} beyond loopback, got http://")
    if urlsplit(address).path:
        raise RequestError("config: expected an address without a path, got one")
    if tls is None and not is_loopback(host):
        raise RequestError(f"config: expected [tls], or a loopback address behind a proxy, got {host}")
    if tls is not None and not address.startswith("https://"):
        raise RequestError("config: expected https:// as address with [tls], got http://")


def check_config(config: Config) -> None:
    """Refuse what contradicts itself.

    Raises:
        RequestError: it does.
    """
    check_site(config.address, config.host_port[0], config.signin.issuer, config.tls)
    if config.alerts is not None:
        smtp = config.alerts.smtp
        if smtp.tls == "none" and not is_loopback(smtp.host):
            raise RequestError(f"config: expected alerts.smtp.tls beyond loopback, got none for {smtp.host}")


def _resolve(config: Config, base: Path) -> Config:
    """The same with paths that do not depend on where the process runs."""

    def place(text: str | None) -> str | None:
        return None if text is None else str((base / text).resolve())

    replace = msgspec.structs.replace
    side, signin, tls, own, alerts = config.hub, config.signin, config.tls, config.own, config.alerts
    if alerts is not None:
        smtp = alerts.smtp
        alerts = replace(alerts, smtp=replace(smtp, password=place(smtp.password), ca=place(smtp.ca)))
    return replace(
        config,
        links=place(config.links),
        tlog=place(config.tlog),
        hub=replace(side, certificate=place(side.certificate), key=place(side.key), ca=place(side.ca)),
        signin=replace(signin, key=place(signin.key), ca=place(signin.ca)),
        tls=None if tls is None else replace(tls, certificate=place(tls.certificate), key=place(tls.key)),
        own=None if own is None else replace(own, keys=[place(key) for key in own.keys]),
        alerts=alerts,
    )
