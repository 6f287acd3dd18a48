"""``hub key``: the key to which answers for an institution are sealed."""

from __future__ import annotations

import argparse
import os
from pathlib import Path
from typing import Any

import hub
from hub.commands.options import add_folder, take_folder
from hub.errors import RequestError
from hub.payloads import KEY_BYTES

KEY_EPILOG = """\
Once an institution has registered its public key, providers' answers to it must be sealed to that key;
the hub then sees to whom an answer goes and how long it is, never what is in it. Where no key is
registered, answers are taken as they come. The private key stays with the institution.

Examples:
  hub key new nenkin.key                         writes the private key, prints the public one
  hub key register linkage nenkin PUBLIC_KEY     64 hex digits; replaces the key before
  hub key show linkage nenkin
  hub key remove linkage nenkin --clerk sato

Exit status: 0 done; 1 show: none is registered; 2 wrong request, nothing changed; 3 disk.
"""


def add_commands(commands: Any) -> None:
    """Add ``key``."""
    parser = commands.add_parser("key", help="the key that answers are sealed to", epilog=KEY_EPILOG)
    parser.description = "Make, register, show and remove the key to which answers for an institution are sealed."
    under = parser.add_subparsers(title="commands", metavar="COMMAND", required=True, parser_class=type(parser))
    new = under.add_parser("new", help="make a key pair", epilog=KEY_EPILOG)
    new.description = "Write a new private key into FILE, readable by you alone, and print the public one."
    new.add_argument("file", metavar="FILE", help="must not exist yet")
    new.set_defaults(run=run_new)
    for name, words, about, run in (
        ("register", ("CODE", "PUBLIC_KEY"), "register an institution's public key", run_register),
        ("show", ("CODE",), "show an institution's public key", run_show),
        ("remove", ("CODE",), "take answers for an institution as they come again", run_remove),
    ):
        parser = under.add_parser(name, help=about, epilog=KEY_EPILOG)
        parser.description = about[0].upper() + about[1:] + "."
        add_folder(parser, *words)
        if name != "show":
            parser.add_argument("--clerk", metavar="NAME", help="who decides, for auditors", required=name == "remove")
        parser.set_defaults(run=run)


def run_new(arguments: argparse.Namespace) -> int:
    """Make a key pair; never over a file that is there."""
    private, public = hub.new_payload_key()
    path = Path(arguments.file)
    try:
        handle = os.open(path, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o600)
    except FileExistsError:
        raise RequestError(f"{path}: expected a new file, got one that exists") from None
    with os.fdopen(handle, "wb") as file:
        file.write(private)
        file.flush()
        os.fsync(file.fileno())
    print(public.hex())
    return 0


def run_register(arguments: argparse.Namespace) -> int:
    """Register a public key."""
    folder, (code, text) = take_folder(arguments)
    try:
        public_key = bytes.fromhex(text)
    except ValueError:
        raise RequestError(f"PUBLIC_KEY: expected {2 * KEY_BYTES} hex digits, got something else") from None
    with hub.open(folder) as h:
        h.register_key(code, public_key, clerk=arguments.clerk)
    print(f"{code}: key registered")
    return 0


def run_show(arguments: argparse.Namespace) -> int:
    """Show the registered key."""
    folder, (code,) = take_folder(arguments)
    with hub.open(folder, readonly=True) as h:
        found = h.payload_key(code)
    print("no key registered" if found is None else found.hex())
    return 1 if found is None else 0


def run_remove(arguments: argparse.Namespace) -> int:
    """Remove the registered key."""
    folder, (code,) = take_folder(arguments)
    with hub.open(folder) as h:
        h.register_key(code, None, clerk=arguments.clerk)
    print(f"{code}: no key registered")
    return 0
