"""``hub verify`` and ``hub tlog``: check a proof without the hub; publish the log for those who check it."""

from __future__ import annotations

import argparse
import importlib
import os
import sys
from pathlib import Path
from typing import Any

from hub.commands.opening import is_address, open_hub
from hub.commands.options import FOLDER_ONLY, add_folder, moment_of, spell_moment, take_folder
from hub.commands.progress import Progress, add_progress
from hub.commands.words import spell_matter, spell_outcome, spell_parties
from hub.errors import ProofError, RequestError
from hub.messages import Status, parties_of
from hub.tlog.check import check_tiles
from hub.tlog.entry import DISCLOSURE_KEY_BYTES, HASH_BYTES, PAPER_CODE_BYTES
from hub.tlog.verify import (
    NOTE_BYTES_MAX,
    PROOF_BYTES_MAX,
    VerifiedRecord,
    parse_vkey,
    read_checkpoint,
    verify_proof,
)

VERIFY_EPILOG = """\
FILE is a proof that a citizen got with a record; - is the standard input. It is checked from its own
bytes and the key alone: no hub, no network. VKEY is the log's verifier key, or a file that holds it;
take it from a source that you trust, not from who gave you the proof. The file of --disclosure-key
holds the person's key in 32 hex digits; with it, a record about anybody else is refused. --paper takes
what a printed history says of the record: the leaf hash (64 hex digits, from the portal) or the code (32,
from a counter), spaces or none; a record that the paper does not mean is refused.

FOLDER is a hub: everything in it is derived again from the stored bytes.

Examples:
  hub verify record.tlog-proof --key log.example.go.jp/records+5a3f12c4+AYt0...
  hub verify record.tlog-proof --key log.key --disclosure-key my.key
  hub verify record.tlog-proof --key log.key --paper "0b7d 66c1 9a3e 5f20 c88d 14a2 7be9 0134"
  hub verify linkage

Exit status: 0 it holds; 1 refused, or a problem found, with the reason; 2 wrong command line; 3 disk.
"""

EPILOG = """\
Examples:
  hub tlog key linkage                    what verifiers need to know, once
  hub tlog checkpoint linkage             the latest signed tree head
  hub tlog checkpoints linkage            the earlier ones that are kept
  hub tlog export linkage /srv/www/log    static files for any web server or mirror
  hub tlog check /srv/www/log --key log.key    check such files, without the hub
"""

CHECK_EPILOG = """\
DIR holds an exported log, or a mirror's copy of one. Every tile is derived from the entries and the signed
root from the tiles; nothing but the files and the key is used: no hub, no network. The first file that
does not fit is named.

Example:
  hub tlog check /srv/www/log --key log.key

Exit status: 0 it holds; 1 refused, with the reason; 2 wrong command line; 3 disk.
"""

EXPORT_EPILOG = """\
DIR gets the files of c2sp.org/tlog-tiles: checkpoint, tile/LEVEL/NUMBER, tile/entries/NUMBER. In the
same DIR again, only what is new is written; full tiles never change, and the checkpoint comes last, so
DIR may be served and mirrored all the while. The files show how many records there are, and nothing
about anybody.

Example:
  hub tlog export linkage /srv/www/log

Exit status: 0 done; 2 DIR holds something else or another log, nothing written; 3 disk, or the exported
log and this one contradict each other.
"""

KEY_EPILOG = """\
The key is a C2SP vkey: name, id and Ed25519 public key. It is public; publish it where verifiers look
for it, and not only beside the log.

Example:
  hub tlog key linkage > log.key

Exit status: 0 done; 2 no hub there; 3 disk.
"""

CHECKPOINT_EPILOG = """\
The checkpoint is a C2SP signed note: the log's name, how many records, the root over them, signature.

Example:
  hub tlog checkpoint linkage

Exit status: 0 done; 2 no hub there; 3 disk, or the log contradicts itself.
"""


CHECKPOINTS_EPILOG = """\
Kept are one checkpoint a minute for a day, one an hour for a year, one a day for ever, and each one that was
exported. Whoever kept one too can compare: a log that was forked since does not lead to it.

Examples:
  hub tlog checkpoints linkage
  hub tlog checkpoints linkage --notes > signed.txt

Exit status: 0 done; 2 no hub there; 3 one is damaged or not of this log.
"""


def add_commands(commands: Any) -> None:
    """Add ``verify`` and ``tlog``."""
    parser = commands.add_parser("verify", help="check a proof, or a whole hub", epilog=VERIFY_EPILOG)
    parser.description = "Check that a record is in the log, from the proof and the log's key alone; or check a hub."
    parser.add_argument("what", nargs="?", metavar="FILE|FOLDER", help="a proof, or a hub (default: HUB_FOLDER)")
    parser.add_argument("--key", metavar="VKEY", help="the log's verifier key, or a file that holds it")
    parser.add_argument("--disclosure-key", metavar="FILE", help="the person's key, 32 hex digits in a file")
    parser.add_argument("--paper", metavar="HEX", help="what a printed history says of the record: leaf or code")
    add_progress(parser)
    parser.set_defaults(run=run_verify)

    parser = commands.add_parser("tlog", help="publish the record log: key, checkpoint, tiles", epilog=EPILOG)
    parser.description = "Publish the record log for those who check it."
    under = parser.add_subparsers(title="commands", metavar="COMMAND", required=True, parser_class=type(parser))

    parser = under.add_parser("export", help="write the log as static files", epilog=EXPORT_EPILOG)
    parser.description = "Write the log as static files that any web server can serve."
    add_folder(parser, "DIR", local=FOLDER_ONLY)
    add_progress(parser)
    parser.set_defaults(run=run_export)

    parser = under.add_parser("check", help="check an exported log", epilog=CHECK_EPILOG)
    parser.description = "Check the static files of a log from themselves and the log's key alone."
    parser.add_argument("folder", metavar="DIR", help="the exported log")
    parser.add_argument("--key", metavar="VKEY", required=True, help="the log's verifier key, or a file that holds it")
    add_progress(parser)
    parser.set_defaults(run=run_check)

    parser = under.add_parser("key", help="print the verifier key", epilog=KEY_EPILOG)
    parser.description = "Print the log's verifier key."
    add_folder(parser)
    parser.set_defaults(run=run_key)

    parser = under.add_parser("checkpoint", help="print the latest checkpoint", epilog=CHECKPOINT_EPILOG)
    parser.description = "Print the latest signed tree head."
    add_folder(parser)
    parser.set_defaults(run=run_checkpoint)

    parser = under.add_parser("checkpoints", help="list the checkpoints that are kept", epilog=CHECKPOINTS_EPILOG)
    parser.description = "List what was signed: size of the log and time of its last record."
    add_folder(parser)
    parser.add_argument("--notes", action="store_true", help="print the signed notes themselves")
    parser.set_defaults(run=run_checkpoints)


def run_verify(arguments: argparse.Namespace) -> int:
    """Check a proof, or hand a folder on."""
    what = arguments.what or os.environ.get("HUB_FOLDER")
    if not what:
        raise RequestError("verify: expected FILE or FOLDER, got neither (FOLDER may be HUB_FOLDER)")
    if is_address(what):
        raise RequestError(f"hub verify: expected a proof or a folder, got an address: {FOLDER_ONLY}")
    if what != "-" and Path(what).is_dir():
        arguments.folder = what
        return _verify_folder(arguments)
    if not arguments.key:
        raise RequestError("verify: expected --key VKEY with a proof, got none")
    vkey = take_vkey(arguments.key)
    disclosure_key = take_disclosure_key(arguments.disclosure_key) if arguments.disclosure_key else None
    paper = take_paper(arguments.paper) if arguments.paper else None
    text = _read_bounded(what, PROOF_BYTES_MAX + 1)
    try:
        verified = verify_proof(text, vkey, disclosure_key=disclosure_key)
    except ProofError as error:
        print(f"refused: {error}")
        return 1
    if paper is not None and paper not in (verified.leaf, verified.paper):
        print("refused: paper: the record is in the log, but the paper does not mean it: another record")
        return 1
    print(spell_verified(verified))
    if paper is not None:
        print("it is the record that the paper means")
    return 0


def _verify_folder(arguments: argparse.Namespace) -> int:
    """``hub verify FOLDER``: ``verify_folder(arguments) -> exit status`` of ``hub.commands.check``."""
    # Loaded only here: who checks a proof loads nothing that reads a store's pages.
    try:
        module = importlib.import_module("hub.commands.check")
    except ModuleNotFoundError as error:
        if error.name != "hub.commands.check":
            raise
        raise RequestError("verify: expected the file of a proof, got a folder") from None
    status: int = module.verify_folder(arguments)
    return status


def take_vkey(text: str) -> str:
    """A verifier key from the command line, or from the file that it names.

    Raises:
        RequestError: it is not one.
    """
    if "+" not in text or Path(text).is_file():
        try:
            text = _read_bounded(text, 4096).decode().strip()
        except UnicodeDecodeError:
            raise RequestError("--key: expected a verifier key, got a file of something else") from None
    parse_vkey(text)
    return text


def take_paper(text: str) -> bytes:
    """A leaf hash or a paper code from the command line; spaces between digits are left out.

    Raises:
        RequestError: it is neither.
    """
    try:
        found = bytes.fromhex("".join(text.split()))
    except ValueError:
        found = b""
    if len(found) not in (HASH_BYTES, PAPER_CODE_BYTES):
        raise RequestError(f"--paper: expected {2 * HASH_BYTES} or {2 * PAPER_CODE_BYTES} hex digits, got others")
    return found


def take_disclosure_key(path: str) -> bytes:
    """A person's disclosure key from a file of 32 hex digits; never named in an error.

    Raises:
        RequestError: the file holds something else.
    """
    try:
        key = bytes.fromhex(_read_bounded(path, 4096).decode("ascii").strip())
    except (ValueError, UnicodeDecodeError):
        key = b""
    if len(key) != DISCLOSURE_KEY_BYTES:
        raise RequestError(f"--disclosure-key: expected a file of {2 * DISCLOSURE_KEY_BYTES} hex digits")
    return key


def _read_bounded(path: str, bytes_max: int) -> bytes:
    if path == "-":
        return sys.stdin.buffer.read(bytes_max)
    with open(path, "rb") as file:
        return file.read(bytes_max)


def spell_verified(verified: VerifiedRecord) -> str:
    """A verified record in words. Institution names are the hub's own affair, so the provider is its number."""
    shared, row = verified.shared, verified.row
    asked = shared.requester + (f" (on behalf of {shared.on_behalf_of})" if shared.on_behalf_of else "")
    outcome = spell_outcome(row.kind, Status(row.outcome)) if row.outcome in set(Status) else f"status {row.outcome}"
    provider = f"institution number {row.provider}" if row.provider else "no institution"
    if row.provided_at and outcome:
        outcome += f", {_spell_seconds(row.provided_at)}"
    gives, receives = parties_of(row.kind, provider, asked)
    about = {True: "it is about the person of the disclosure key", None: "whose record it is was not asked"}
    lines = [
        f"in the log: entry {verified.index:,} of {verified.checkpoint.size:,} in {verified.checkpoint.origin}",
        about[verified.subject_fits],
        f"{_spell_seconds(row.requested_at)}  {spell_parties(row.kind, receives, gives, row.outcome)}",
        *spell_matter(row.kind, shared.items, shared.role, shared.procedure, shared.section),
        f"  basis    {shared.legal_basis}",
    ]
    if outcome:
        lines.append(f"  outcome  {outcome}")
    if row.link:
        lines.append(f"  follows  entry {row.link - 1:,}")
    lines += [f"  leaf     {verified.leaf.hex()}", f"  paper    {verified.paper.hex()}"]
    # The words are as signed, and whoever signed may have put control codes of a terminal into them.
    return "\n".join("".join(char if char.isprintable() else "?" for char in line) for line in lines)


def _spell_seconds(seconds: int) -> str:
    try:
        return spell_moment(moment_of(seconds))
    except (OverflowError, ValueError, OSError):
        return f"{seconds} seconds since 1970"


def run_export(arguments: argparse.Namespace) -> int:
    """Write what is new of the log."""
    folder, (target,) = take_folder(arguments)
    with open_hub(arguments, folder, readonly=True) as opened:
        h: Any = opened
        size = read_checkpoint(h.checkpoint()).size
        with Progress("exported", size, show=arguments.progress) as progress:
            done = h.export_tiles(target, progress=progress)
    new = done.size - done.old_size
    print(f"{target}: {done.size:,} entries, {new:,} of them new; {done.files:,} files written")
    return 0


def run_check(arguments: argparse.Namespace) -> int:
    """Check an exported log."""
    vkey = take_vkey(arguments.key)
    try:
        size = read_checkpoint(_read_bounded(str(Path(arguments.folder) / "checkpoint"), NOTE_BYTES_MAX + 1)).size
        with Progress("checked", size, show=arguments.progress) as progress:
            checked = check_tiles(arguments.folder, vkey, progress=progress)
    except ProofError as error:
        print(f"refused: {error}")
        return 1
    print(f"{arguments.folder}: {checked.size:,} entries of {checked.origin}, every file fits")
    return 0


def run_key(arguments: argparse.Namespace) -> int:
    """Print the verifier key."""
    folder, _ = take_folder(arguments)
    with open_hub(arguments, folder, readonly=True) as opened:
        h: Any = opened
        print(h.verifier_key)
    return 0


def run_checkpoints(arguments: argparse.Namespace) -> int:
    """List the checkpoints that are kept."""
    folder, _ = take_folder(arguments)
    with open_hub(arguments, folder, readonly=True) as h:
        kept = h.checkpoints()
    for time, note in kept:
        if arguments.notes:
            print(note)
        else:
            print(f"{read_checkpoint(note).size:>15,}  {'exported' if time is None else spell_moment(time)}")
    return 0


def run_checkpoint(arguments: argparse.Namespace) -> int:
    """Print the latest checkpoint."""
    folder, _ = take_folder(arguments)
    with open_hub(arguments, folder, readonly=True) as opened:
        h: Any = opened
        print(h.checkpoint(), end="")
    return 0
