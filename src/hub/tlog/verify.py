"""What an auditor needs and nothing else: verifier keys, signed notes, checkpoints, proofs.

Imports the standard library, ``cryptography``, ``msgspec`` and of the hub only ``hub.errors`` and
``hub.tlog.entry``; nothing of what writes the log. All input is untrusted and bounded. Every refusal is a
:class:`~hub.errors.ProofError` of one line that says what did not fit; none repeats what a record holds.

Formats: c2sp.org/signed-note, c2sp.org/tlog-checkpoint, c2sp.org/tlog-proof@v1; verification as in RFC 9162, 2.1.3.2
and 2.1.4.2, whose trees are those of RFC 6962.

    vkey        name "+" 8 hex digits of key id "+" base64(0x01 ‖ Ed25519 public key)
    key id      first 4 bytes of H(name ‖ "\\n" ‖ 0x01 ‖ Ed25519 public key)
    note        text "\\n" then lines "— name base64(key id ‖ signature)"; text ends in a newline
    checkpoint  text of a note: origin, size, base64 of the root, then extension lines
    proof       "c2sp.org/tlog-proof@v1", "extra " base64, "index " number, base64 hashes, "", note
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import hmac
import re
from collections.abc import Sequence
from typing import NamedTuple

import msgspec
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

from hub.errors import ProofError, StorageError
from hub.tlog.entry import (
    DISCLOSURE_KEY_BYTES,
    EXTRA_BYTES_MAX,
    HASH_BYTES,
    Row,
    Shared,
    decode_extra,
    decode_shared,
    hash_entry,
    hash_leaf,
    hash_node,
    hash_shared,
    paper_code,
    subject_tag,
    unpack_row,
)

ED25519 = b"\x01"
PROOF_HEADER = "c2sp.org/tlog-proof@v1"

NAME_BYTES_MAX = 255
NOTE_BYTES_MAX = 1 << 18
"""A note must be allowed 16 signatures at least; post-quantum ones take up to 7 KB in base64."""
SIGNATURES_MAX = 100
"""As many as Go's ``sumdb/note`` accepts."""
SIZE_MAX = (1 << 63) - 1
"""Go's verifiers count entries in 63 bits."""
PATH_MAX = 63
_CONTROL = re.compile("[\0-\t\v-\x1f]")
PROOF_BYTES_MAX = NOTE_BYTES_MAX + EXTRA_BYTES_MAX * 4 // 3 + 64 * PATH_MAX + 256


class VerifierKey(NamedTuple):
    """A public key under its name."""

    name: str
    key_id: bytes
    public: bytes


class Checkpoint(NamedTuple):
    """What a log signs: its size and its root under its name."""

    origin: str
    size: int
    root: bytes
    extensions: tuple[str, ...] = ()


class ParsedProof(msgspec.Struct, frozen=True):
    """A proof's parts, not verified yet. ``extra`` is None where there is none."""

    extra: bytes | None
    index: int
    path: list[bytes]
    note: str

    def __repr__(self) -> str:
        return f"ParsedProof(path={len(self.path)} hashes)"


class VerifiedRecord(msgspec.Struct, frozen=True):
    """A record that is in the log of ``checkpoint``.

    Attributes:
        index, leaf: where and what it is in the tree.
        shared, row: the record's fields, see ``tlog/entry.py``.
        checkpoint: the verified tree head.
        subject_fits: True: the record is about the person of the disclosure key; None: no key was given. There is
            no False: a key that does not fit is a refusal.
        paper: the record's paper code, 16 bytes: what a history printed at a counter says of it.
    """

    index: int
    leaf: bytes
    shared: Shared
    row: Row
    checkpoint: Checkpoint
    subject_fits: bool | None
    paper: bytes

    def __repr__(self) -> str:
        return f"VerifiedRecord(tree size={self.checkpoint.size})"


def check_name(name: str) -> None:
    """Refuse a key name or origin that a note cannot carry: empty, long, with spaces, plus or unprintable characters.

    Raises:
        ProofError: it is one of these.
    """
    if not name or "+" in name or " " in name or not name.isprintable():
        raise ProofError("key name: expected printable characters without space and plus, got something else")
    if len(name.encode()) > NAME_BYTES_MAX:
        raise ProofError(f"key name: expected at most {NAME_BYTES_MAX} bytes, got {len(name.encode())}")


def hash_key(name: str, public: bytes) -> bytes:
    """The key id of an Ed25519 key, 4 bytes (c2sp.org/signed-note)."""
    return hashlib.sha256(name.encode() + b"\n" + ED25519 + public).digest()[:4]


def parse_vkey(text: str) -> VerifierKey:
    """Read a verifier key.

    Raises:
        ProofError: not a vkey, not Ed25519, or its id does not belong to it.
    """
    parts = text.strip("\n").split("+", 2)
    if len(parts) != 3 or len(text) > 2 * NAME_BYTES_MAX:
        raise ProofError("verifier key: expected NAME+ID+KEY, got something else")
    name, digits, encoded = parts
    check_name(name)
    key = _decode_base64("verifier key", encoded)
    if len(key) != 33 or key[:1] != ED25519:
        raise ProofError("verifier key: expected an Ed25519 key of 32 bytes, got another kind")
    if digits != hash_key(name, key[1:]).hex():
        raise ProofError("verifier key: expected the id of this name and key, got another")
    return VerifierKey(name, bytes.fromhex(digits), key[1:])


def open_note(note: str | bytes, key: VerifierKey) -> str:
    """Verify a signed note and return its text, final newline included.

    Signatures of other keys are ignored; every signature of this key must verify, and there must be one.

    Raises:
        ProofError: malformed, not signed by this key, or changed.
    """
    text, signatures = _split_note(note)
    found = False
    for name, raw in signatures:
        if name != key.name or raw[:4] != key.key_id:
            continue
        try:
            Ed25519PublicKey.from_public_bytes(key.public).verify(raw[4:], text.encode())
        except (InvalidSignature, ValueError):
            raise ProofError("checkpoint: the signature does not fit the text: changed, or forged") from None
        found = True
    if not found:
        raise ProofError(f"checkpoint: expected a signature by {key.name} with this key, got none: another log or key")
    return text


def _split_note(note: str | bytes) -> tuple[str, list[tuple[str, bytes]]]:
    """The text of a note and its signatures as (name, key id and signature)."""
    raw = note if isinstance(note, bytes) else _encode("note", note)
    if len(raw) > NOTE_BYTES_MAX:
        raise ProofError(f"note: expected at most {NOTE_BYTES_MAX} bytes, got {len(raw)}")
    whole = _decode_text("note", raw)
    text, blank, below = whole.rpartition("\n\n")
    if not blank or not text:
        raise ProofError("note: expected a text, a blank line and signatures, got less: truncated")
    if not below.endswith("\n"):
        raise ProofError("note: expected a newline at the end, got none: truncated")
    lines = below.removesuffix("\n").split("\n")
    if len(lines) > SIGNATURES_MAX:
        raise ProofError(f"note: expected at most {SIGNATURES_MAX} signatures, got {len(lines)}")
    signatures = []
    for line in lines:
        dash, _, rest = line.partition(" ")
        name, _, encoded = rest.partition(" ")
        if dash != "—":
            raise ProofError("note: expected signature lines at the end, got another line: trailing data")
        check_name(name)
        signature = _decode_base64("signature", encoded)
        if len(signature) < 5:
            raise ProofError("signature: expected a key id and a signature, got less: truncated")
        signatures.append((name, signature))
    return text + "\n", signatures


def parse_checkpoint(text: str) -> Checkpoint:
    """Read the text of a checkpoint, as :func:`open_note` returns it; nothing is verified here.

    Raises:
        ProofError: not a checkpoint.
    """
    if not text.endswith("\n"):
        raise ProofError("checkpoint: expected a newline at the end, got none: truncated")
    lines = text[:-1].split("\n")
    if len(lines) < 3 or not all(lines):
        raise ProofError("checkpoint: expected origin, size and root, got another number of lines")
    return Checkpoint(lines[0], _parse_number("tree size", lines[1]), _parse_hash("root", lines[2]), tuple(lines[3:]))


def read_checkpoint(note: str | bytes) -> Checkpoint:
    """Read a signed checkpoint **without** verifying it, for who made it or keeps it.

    Raises:
        ProofError: not a checkpoint in a signed note.
    """
    return parse_checkpoint(_split_note(note)[0])


def verify_checkpoint(note: str | bytes, vkey: str | VerifierKey) -> Checkpoint:
    """Verify a checkpoint of the log that the key names.

    Raises:
        ProofError: malformed, of another log or key, or changed.
    """
    key = vkey if isinstance(vkey, VerifierKey) else parse_vkey(vkey)
    checkpoint = parse_checkpoint(open_note(note, key))
    if checkpoint.origin != key.name:
        raise ProofError("checkpoint: expected the origin that the key names, got another: another log")
    return checkpoint


def parse_proof(text: str | bytes) -> ParsedProof:
    """Take a ``c2sp.org/tlog-proof@v1`` apart; nothing is verified here.

    Raises:
        ProofError: not one, or cut short.
    """
    raw = text if isinstance(text, bytes) else _encode("proof", text)
    if len(raw) > PROOF_BYTES_MAX:
        raise ProofError(f"proof: expected at most {PROOF_BYTES_MAX} bytes, got {len(raw)}")
    whole = _decode_text("proof", raw)
    head, blank, note = whole.partition("\n\n")
    lines = head.split("\n")
    if lines[0] != PROOF_HEADER:
        # A file that was cut within its first line begins as one.
        cut = ": truncated" if PROOF_HEADER.startswith(lines[0]) else ""
        raise ProofError(f"proof: expected {PROOF_HEADER} in the first line, got something else{cut}")
    if not blank:
        raise ProofError("proof: expected a blank line and a checkpoint, got none: truncated")
    at, extra = 1, None
    if len(lines) > at and lines[at].startswith("extra "):
        extra = _decode_base64("extra", lines[at].removeprefix("extra "))
        at += 1
    if len(lines) <= at or not lines[at].startswith("index "):
        raise ProofError("proof: expected an index line, got none")
    index = _parse_number("index", lines[at].removeprefix("index "))
    hashes = lines[at + 1 :]
    if len(hashes) > PATH_MAX:
        raise ProofError(f"path: expected at most {PATH_MAX} hashes, got {len(hashes)}")
    return ParsedProof(extra, index, [_parse_hash("path", line) for line in hashes], note)


def verify_proof(text: str | bytes, vkey: str, *, disclosure_key: bytes | None = None) -> VerifiedRecord:
    """Verify that a record is in the log of a key, from the proof alone.

    Recomputes shared hash, entry, leaf and root and compares the root with the signed one.

    Args:
        text: the proof, at most ``PROOF_BYTES_MAX``.
        vkey: the log's verifier key, from a source that the verifier trusts.
        disclosure_key: 16 bytes; given, the record must be about the person who has it.

    Raises:
        ProofError: refused; the message is the reason.
    """
    key = parse_vkey(vkey)
    if disclosure_key is not None and len(disclosure_key) != DISCLOSURE_KEY_BYTES:
        raise ProofError(f"disclosure key: expected {DISCLOSURE_KEY_BYTES} bytes, got {len(disclosure_key)}")
    proof = parse_proof(text)
    checkpoint = verify_checkpoint(proof.note, key)
    if proof.extra is None:
        raise ProofError("proof: expected an extra line with the record, got none")
    try:
        salt, shared_bytes, row_bytes = decode_extra(proof.extra)
        shared, row = decode_shared(shared_bytes), unpack_row(row_bytes)
    except StorageError as error:
        raise ProofError(f"record: {error}") from None
    leaf = hash_leaf(hash_entry(salt, hash_shared(shared_bytes), row_bytes))
    verify_inclusion(leaf, proof.index, checkpoint.size, proof.path, checkpoint.root)
    if disclosure_key is not None and not hmac.compare_digest(subject_tag(salt, disclosure_key), row.subject_tag):
        raise ProofError("subject: the record is in the log, but the disclosure key does not fit it: another person")
    return VerifiedRecord(proof.index, leaf, shared, row, checkpoint, None if disclosure_key is None else True,
                          paper_code(salt, leaf))  # fmt: skip


def verify_inclusion(leaf: bytes, index: int, size: int, path: Sequence[bytes], root: bytes) -> None:
    """Verify that ``leaf`` stands at ``index`` in the tree of ``size`` entries with this root (RFC 9162, 2.1.3.2).

    Raises:
        ProofError: it does not, or the path does not belong to this index and size.
    """
    if not 0 <= index < size:
        raise ProofError(f"index: expected one below the tree's size {size}, got {index}")
    parting = (index ^ (size - 1)).bit_length()
    expected = parting + (index >> parting).bit_count()
    if len(path) != expected:
        raise ProofError(
            f"path: expected {expected} hashes for entry {index} of {size}, got {len(path)}: "
            "the index was moved, or another tree's"
        )
    _check_lengths(leaf, root, *path)
    at, last, computed = index, size - 1, leaf
    for sibling in path:
        if at & 1 or at == last:
            computed = hash_node(sibling, computed)
            # A last node without a right sibling rises until it is one.
            while not at & 1 and at:
                at >>= 1
                last >>= 1
        else:
            computed = hash_node(computed, sibling)
        at >>= 1
        last >>= 1
    if computed != root:
        raise ProofError(
            "inclusion: expected the checkpoint's root, got another: the record was changed or is another, "
            "the index was moved, or the path is of another tree"
        )


def verify_consistency(old_size: int, old_root: bytes, new_size: int, new_root: bytes, path: Sequence[bytes]) -> None:
    """Verify that the tree of ``new_size`` entries only appended to that of ``old_size`` (RFC 9162, 2.1.4.2).

    A tree of no entries is the beginning of every tree.

    Raises:
        ProofError: it did not, or the path does not belong to these sizes.
    """
    if not 0 <= old_size <= new_size:
        raise ProofError(f"consistency: expected an old size of at most {new_size}, got {old_size}")
    _check_lengths(old_root, new_root, *path)
    if old_size in (0, new_size):
        if path:
            raise ProofError(f"consistency: expected no hash between these sizes, got {len(path)}")
        if old_size == new_size and old_root != new_root:
            raise ProofError("consistency: expected one root at one size, got two: the log is forked")
        if old_size == 0 and old_root != hashlib.sha256(b"").digest():
            raise ProofError("consistency: expected the root of no entries, got another")
        return
    at, last = old_size - 1, new_size - 1
    shift = (~at & (at + 1)).bit_length() - 1
    at, last = at >> shift, last >> shift
    parting = (at ^ last).bit_length()
    # Where the old tree is one complete subtree, its root begins the path unsaid.
    expected = parting + (at >> parting).bit_count() + bool(at)
    if len(path) != expected:
        raise ProofError(f"consistency: expected {expected} hashes for {old_size} and {new_size}, got {len(path)}")
    hashes = list(path) if at else [old_root, *path]
    old_computed = new_computed = hashes[0]
    for sibling in hashes[1:]:
        if at & 1 or at == last:
            old_computed = hash_node(sibling, old_computed)
            new_computed = hash_node(sibling, new_computed)
            while not at & 1 and at:
                at >>= 1
                last >>= 1
        else:
            new_computed = hash_node(new_computed, sibling)
        at >>= 1
        last >>= 1
    if old_computed != old_root:
        raise ProofError("consistency: expected the old root, got another: the log is forked, or another path")
    if new_computed != new_root:
        raise ProofError("consistency: expected the new root, got another: the log is forked, or another path")


def _check_lengths(*hashes: bytes) -> None:
    for value in hashes:
        if len(value) != HASH_BYTES:
            raise ProofError(f"hash: expected {HASH_BYTES} bytes, got {len(value)}")


def _parse_number(what: str, text: str) -> int:
    """ASCII decimal without leading zeros, at most SIZE_MAX."""
    if not (text.isascii() and text.isdigit()) or len(text) > 19 or (text[0] == "0" and text != "0"):
        raise ProofError(f"{what}: expected a decimal number without leading zeros, got something else")
    number = int(text)
    if number > SIZE_MAX:
        raise ProofError(f"{what}: expected at most {SIZE_MAX}, got {number}")
    return number


def _parse_hash(what: str, text: str) -> bytes:
    value = _decode_base64(what, text)
    if len(value) != HASH_BYTES:
        raise ProofError(f"{what}: expected a hash of {HASH_BYTES} bytes, got {len(value)} bytes")
    return value


def _decode_base64(what: str, text: str) -> bytes:
    """Standard base64 with padding and in its one spelling (RFC 4648, section 4)."""
    try:
        value = base64.b64decode(text.encode("ascii"), validate=True)
    except (binascii.Error, UnicodeEncodeError):
        raise ProofError(f"{what}: expected base64, got something else or less: truncated or changed") from None
    if base64.b64encode(value).decode() != text:
        raise ProofError(f"{what}: expected base64 in its one spelling, got another")
    return value


def _encode(what: str, text: str) -> bytes:
    try:
        return text.encode()
    except UnicodeEncodeError:
        raise ProofError(f"{what}: expected UTF-8, got something else") from None


def _decode_text(what: str, raw: bytes) -> str:
    try:
        text = raw.decode()
    except UnicodeDecodeError:
        raise ProofError(f"{what}: expected UTF-8, got something else") from None
    if _CONTROL.search(text):
        raise ProofError(f"{what}: expected no control characters but newlines, got one")
    return text
