"""The hub that a command works on: a folder of this machine, or an address where one is served.

What an address needs comes from the options, else from the environment, else from a file:

    --cert --key --ca        HUB_CERT HUB_KEY HUB_CA       cert key ca          PEM files
    --institution            HUB_INSTITUTION               institution          for whom, where a command names nobody
    --timeout                HUB_TIMEOUT                   timeout              seconds for each call
                                                           address, pool
    --client FILE            HUB_CLIENT                    else ~/.config/hub/client.toml, where there is one

Names of files in that file are relative to it. A key that it does not know is refused by name.
"""

from __future__ import annotations

import argparse
import os
import tomllib
from pathlib import Path
from typing import Annotated, cast

import msgspec

import hub
from hub.errors import RequestError

SCHEMES = ("hubs://", "hub://")

_OPTIONS = ("cert", "key", "ca", "institution", "timeout", "client")


class ClientFile(msgspec.Struct, forbid_unknown_fields=True, frozen=True, kw_only=True):
    """``client.toml``: how this machine connects.

    Attributes:
        address: ``hubs://host:port``, for commands that name no folder.
        cert, key, ca, institution, timeout, pool: as of :func:`hub.connect`.
    """

    address: str | None = None
    cert: str | None = None
    key: str | None = None
    ca: str | None = None
    institution: str | None = None
    timeout: Annotated[float, msgspec.Meta(gt=0)] | None = None
    pool: Annotated[int, msgspec.Meta(ge=1)] | None = None


def is_address(place: str | None) -> bool:
    """Whether a hub is named by where it is served."""
    return place is not None and place.startswith(SCHEMES)


def add_connection(parser: argparse.ArgumentParser, *, institution: bool = True) -> None:
    """Add the options of an address. ``institution``: False where the command has a word of its own for it."""
    group = parser.add_argument_group(
        "where FOLDER is an address, hubs://host:port",
        "else from HUB_CERT, HUB_KEY, HUB_CA, HUB_INSTITUTION, HUB_TIMEOUT, else from ~/.config/hub/client.toml",
    )
    add = group.add_argument
    add("--cert", dest="wire_cert", metavar="FILE", help="your certificate (PEM)")
    add("--key", dest="wire_key", metavar="FILE", help="its private key, where it is not in the same file")
    add("--ca", dest="wire_ca", metavar="FILE", help="who issued the server's certificate (PEM)")
    if institution:
        add("--institution", dest="wire_institution", metavar="CODE", help="for whom, where the command names nobody")
    add("--timeout", dest="wire_timeout", type=float, metavar="SECONDS", help="for each call, with its retries")
    add("--client", dest="wire_client", metavar="FILE", help="a client.toml other than ~/.config/hub/client.toml")
    parser.set_defaults(wired=True)


def find_place(arguments: argparse.Namespace, *, optional: bool = False) -> str | None:
    """Where the hub is, for a command whose words do not say it; None where nothing does.

    What is typed goes before what is set: ``--folder``, the address in the file of ``--client``, HUB_FOLDER, and where
    a hub is needed the address in the client's file at its usual place.
    """
    wired: bool = getattr(arguments, "wired", False)
    named = wired and arguments.wire_client is not None
    found = getattr(arguments, "folder", None) or (_read_client_file(arguments).address if named else None)
    found = found or os.environ.get("HUB_FOLDER") or None
    if found is None and wired and not optional:
        found = _read_client_file(arguments).address
    return found


def open_hub(arguments: argparse.Namespace, place: str, *, readonly: bool = False) -> hub.Hub:
    """Open the folder, or connect to the address; both have the methods that commands call.

    Raises:
        RequestError: there is no hub there, or an option is missing or wrong. WireError: nobody answers there.
    """
    if not is_address(place):
        for name in _OPTIONS:
            if getattr(arguments, f"wire_{name}", None) is not None:
                raise RequestError(f"--{name}: expected with an address (hubs://host:port), got a folder")
        return hub.open(place, readonly=readonly)
    file = _read_client_file(arguments)
    cert, key, ca, institution = (_option(arguments, file, name) for name in ("cert", "key", "ca", "institution"))
    if place.startswith("hubs://"):
        for name, value in (("cert", cert), ("ca", ca)):
            if value is None:
                others = f"or HUB_{name.upper()}, or {name} in client.toml"
                raise RequestError(f"--{name}: expected a file with an address ({others}), got none")
    words: dict[str, int] = {} if file.pool is None else {"pool": file.pool}
    remote = hub.connect(
        place, cert=cert, key=key, ca=ca, institution=institution, timeout=_timeout(arguments, file), **words
    )
    return cast(hub.Hub, remote)


def _option(arguments: argparse.Namespace, file: ClientFile, name: str) -> str | None:
    given = getattr(arguments, f"wire_{name}", None)
    found: str | None = given or os.environ.get(f"HUB_{name.upper()}") or getattr(file, name)
    return found


def _timeout(arguments: argparse.Namespace, file: ClientFile) -> float | None:
    given: float | None = getattr(arguments, "wire_timeout", None)
    text = os.environ.get("HUB_TIMEOUT")
    if given is None and text:
        try:
            given = float(text)
        except ValueError:
            raise RequestError("HUB_TIMEOUT: expected seconds, got something else") from None
    given = file.timeout if given is None else given
    if given is not None and not 0 < given < float("inf"):
        raise RequestError(f"--timeout: expected more than 0 seconds, got {given:g}")
    return given


def _read_client_file(arguments: argparse.Namespace) -> ClientFile:
    """The client's file, or an empty one where none is named and none is at the usual place.

    Raises:
        RequestError: it cannot be read, or has an unknown key (which is named).
    """
    named = getattr(arguments, "wire_client", None) or os.environ.get("HUB_CLIENT")
    config = os.environ.get("XDG_CONFIG_HOME") or "~/.config"
    path = Path(named or f"{config}/hub/client.toml").expanduser()
    if not named and not path.is_file():
        return ClientFile()
    try:
        with path.open("rb") as file:
            found = msgspec.convert(tomllib.load(file), ClientFile)
    except OSError as error:
        raise RequestError(f"client {path}: {error.strerror}") from None
    except (tomllib.TOMLDecodeError, UnicodeDecodeError, msgspec.ValidationError) as error:
        raise RequestError(f"client {path}: {error}") from None
    if found.address is not None and not is_address(found.address):
        raise RequestError(f"client {path}: expected the address hubs://host:port, got something else")
    files = {
        name: str(path.parent / Path(value).expanduser())
        for name in ("cert", "key", "ca")
        if (value := getattr(found, name)) is not None
    }
    return msgspec.structs.replace(found, **files)
