"""``hub key``: the key to which answers for an institution are sealed; files of answers sealed and opened with it."""

from __future__ import annotations

import argparse
import os
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np

import hub
from hub.commands.acquire import check_result, report_rejected
from hub.commands.opening import open_hub
from hub.commands.options import add_folder, take_folder
from hub.errors import RequestError
from hub.files.columns import decode_payloads, decode_texts, payload_column
from hub.files.inquiries import COLUMNS, DATA, PAYLOAD_ROWS, SEALED, Rejected, RejectedWriter
from hub.files.tables import ENCODINGS, TableWriter, open_table
from hub.limits import PAYLOAD_BYTES_MAX
from hub.provision.payloads import KEY_BYTES, check_public_key

KEY_EPILOG = """\
Once an institution has registered its public key, providers' answers to it must be sealed to that key;
the hub then sees to whom an answer goes and how long it is, never what is in it. Where no key is
registered, answers are taken as they come. The private key stays with the institution.

Examples:
  hub key new nenkin.key                         writes the private key, prints the public one
  hub key register linkage nenkin PUBLIC_KEY     64 hex digits; replaces the key before
  hub key show linkage nenkin
  hub key remove linkage nenkin --clerk sato
  hub key seal answers.csv PUBLIC_KEY --out sealed.csv    a provider's answers to one requester, for hub provide
  hub key open data.csv nenkin.key --out opened.csv       what hub answers wrote; no hub is needed for either

seal and open change the column payload and leave the others as they are; lines that do not fit go to
<name>.rejected.csv beside the result. An opened file holds people's data in the clear, readable by you alone.

Exit status: 0 done; 1 show: none is registered, seal and open: some lines rejected;
2 wrong request, nothing changed; 3 disk.
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
    for name, files, about, run in (
        ("seal", ("ANSWERS", "PUBLIC_KEY"), "seal the payloads of a provider's answers", run_seal),
        ("open", ("ANSWERS", "KEY_FILE"), "open the payloads of what came back", run_open),
    ):
        parser = under.add_parser(name, help=about, epilog=KEY_EPILOG)
        parser.description = about[0].upper() + about[1:] + "."
        for word in files:
            parser.add_argument(word.lower(), metavar=word)
        parser.add_argument("--out", required=True, metavar="FILE", help="the result (.csv, .parquet, .arrow)")
        parser.add_argument("--encoding", choices=ENCODINGS, default="auto", help="of ANSWERS (default: auto)")
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
    public_key = take_key(text)
    with open_hub(arguments, folder) as h:
        h.register_key(code, public_key, clerk=arguments.clerk)
    print(f"{code}: key registered")
    return 0


def take_key(text: str) -> bytes:
    """A public key in hex digits."""
    try:
        return bytes.fromhex(text)
    except ValueError:
        raise RequestError(f"PUBLIC_KEY: expected {2 * KEY_BYTES} hex digits, got something else") from None


def run_show(arguments: argparse.Namespace) -> int:
    """Show the registered key."""
    folder, (code,) = take_folder(arguments)
    with open_hub(arguments, folder, readonly=True) as h:
        found = h.payload_key(code)
    print("no key registered" if found is None else found.hex())
    return 1 if found is None else 0


def run_remove(arguments: argparse.Namespace) -> int:
    """Remove the registered key."""
    folder, (code,) = take_folder(arguments)
    with open_hub(arguments, folder) as h:
        h.register_key(code, None, clerk=arguments.clerk)
    print(f"{code}: no key registered")
    return 0


def run_seal(arguments: argparse.Namespace) -> int:
    """Seal the payloads of a provider's answers to one requester's key."""
    public_key = take_key(arguments.public_key)
    check_public_key(public_key)
    columns = ("permit", "outcome", "payload"), ("reason",)
    return rewrite(arguments, *columns, DATA, lambda data: hub.seal_payload(public_key, data))


def run_open(arguments: argparse.Namespace) -> int:
    """Open the payloads of a file that ``hub answers`` wrote."""
    path = Path(arguments.key_file)
    with path.open("rb") as file:
        private_key = file.read(KEY_BYTES + 1)
    if len(private_key) != KEY_BYTES:
        raise RequestError(f"{path}: expected a private key of {KEY_BYTES} bytes, got something else")
    columns = ("row", "status", "payload"), ("reason",)
    return rewrite(arguments, *columns, SEALED, lambda sealed: hub.open_payload(private_key, sealed))


def rewrite(
    arguments: argparse.Namespace,
    required: Sequence[str],
    optional: Sequence[str],
    cause: int,
    change: Callable[[bytes], bytes],
) -> int:
    """Write a file again with other payloads, a block at a time; what cannot be changed is a rejected line."""
    source = arguments.answers
    table = open_table(source, required, optional, arguments.encoding, rows=PAYLOAD_ROWS, integers=("row",))
    check_result(source, arguments.out)
    names = [name for name in (*required[:-1], *optional, required[-1]) if name in table.names]
    count = rows = 0
    with TableWriter(arguments.out, names) as result, RejectedWriter(source, arguments.out) as rejected:
        for block in table.blocks():
            payloads, ok = decode_payloads(block.columns["payload"], PAYLOAD_BYTES_MAX)
            for row, payload in enumerate(payloads):
                if payload is not None:
                    try:
                        payloads[row] = change(payload)
                        count += 1
                    except RequestError:
                        ok[row] = False
            keep = np.flatnonzero(ok & block.whole & ~block.blank)
            bad = np.flatnonzero(~(ok & block.whole) & ~block.blank)
            causes = np.where(block.whole[bad], cause, COLUMNS).astype(np.uint8)
            rejected.write(Rejected(block.line[bad], causes))
            texts = [decode_texts(block.columns[name], PAYLOAD_BYTES_MAX)[0] for name in names[:-1]]
            texts.append(payload_column(payloads))
            result.write([[column[row] for row in keep.tolist()] for column in texts])
            rows += len(keep)
    print(f"{arguments.out}: {rows:,} rows, {count:,} payloads {'opened' if cause == SEALED else 'sealed'}")
    return report_rejected(rejected)
