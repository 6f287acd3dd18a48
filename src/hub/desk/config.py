"""The desk's configuration: one TOML file, every key of it known; paths are relative to the file."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import msgspec

from hub.errors import RequestError
from hub.portal.config import HubSide, Limits, SignIn, Tls, check_site
from hub.wire.config import read_toml, split_address

_Word = Annotated[str, msgspec.Meta(min_length=1)]


class Claims(msgspec.Struct, forbid_unknown_fields=True, frozen=True):
    """What of an ID token says who a clerk is.

    Attributes:
        clerk: the clerk's own number or name, unique in the institution: it becomes the ``operator``.
        name: for the pages. section: the section in charge, which the citizen reads.
        duties: a list of ``ask``, ``decide``, ``link``, ``disclose``; left out: every clerk may do everything.
    """

    clerk: _Word = "sub"
    name: _Word = "name"
    section: _Word = "section"
    duties: _Word | None = None


class Config(msgspec.Struct, forbid_unknown_fields=True, frozen=True):
    """All of it.

    Attributes:
        listen: host:port. address: as browsers see it, ``https://host``; ``http://`` on loopback only.
        institution: its code; the hub's certificate carries it and no other.
        book: file (SQLite, 0600) of what was asked here and waits. keep_days: until a line of it is forgotten.
        agency: folder of ``hub agency``, by which own ids become aliases; or residents: a CSV ``own_id,alias``.
        tickets: a CSV ``own_id,ticket``, of acquisitions that may be held.
        payload_key: file of the private key with which answers are opened (``hub key new``).
    """

    listen: str
    address: str
    institution: _Word
    book: str
    hub: HubSide
    signin: SignIn
    claims: Claims = Claims()
    tls: Tls | None = None
    agency: str | None = None
    residents: str | None = None
    tickets: str | None = None
    payload_key: str | None = None
    keep_days: Annotated[int, msgspec.Meta(ge=1, le=30)] = 30
    limits: Limits = Limits()

    @property
    def host_port(self) -> tuple[str, int]:
        """Where it listens."""
        return split_address("listen", self.listen)


def load_config(path: Path) -> Config:
    """Read and check the file.

    Raises:
        RequestError: it cannot be read, has an unknown key (which is named) or contradicts itself.
    """
    found = read_toml(path, Config)
    check_config(found)
    return _resolve(found, path.parent)


def check_config(config: Config) -> None:
    """Refuse what contradicts itself.

    Raises:
        RequestError: it does.
    """
    check_site(config.address, config.host_port[0], config.signin.issuer, config.tls)
    if (config.agency is None) == (config.residents is None):
        raise RequestError("config: expected either agency or residents, got both or neither")


def _resolve(config: Config, base: Path) -> Config:
    """The same with paths that do not depend on where the process runs."""

    def place(text: str | None) -> str | None:
        return None if text is None else str((base / text).resolve())

    replace = msgspec.structs.replace
    side, signin, tls = config.hub, config.signin, config.tls
    return replace(
        config,
        book=place(config.book), agency=place(config.agency), residents=place(config.residents),
        tickets=place(config.tickets), payload_key=place(config.payload_key),
        hub=replace(side, certificate=place(side.certificate), key=place(side.key), ca=place(side.ca)),
        signin=replace(signin, key=place(signin.key), ca=place(signin.ca)),
        tls=None if tls is None else replace(tls, certificate=place(tls.certificate), key=place(tls.key)),
    )  # fmt: skip
