"""Check an exported log offline, with its public key alone: every tile from the entries, the root from the tiles.

For whoever mirrors a log or keeps a copy of it. Imports what :mod:`hub.tlog.verify` does and nothing of what writes the
log; the layout is c2sp.org/tlog-tiles, written out in ``tiles.py``. All files are untrusted, and read no further than
they may be long.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

from hub.errors import ProofError
from hub.tlog.entry import HASH_BYTES, hash_leaf, hash_node
from hub.tlog.verify import NOTE_BYTES_MAX, Checkpoint, verify_checkpoint

TILE_LEVELS = 8
TILE_HASHES = 1 << TILE_LEVELS

_ENTRY_LENGTH = HASH_BYTES.to_bytes(2, "big")


def tile_path(level: int | str, number: int, width: int = TILE_HASHES) -> str:
    """Path of a tile of hashes, or with level ``"entries"`` of a bundle, below the export's folder."""
    text = f"{number % 1000:03}"
    while number >= 1000:
        number //= 1000
        text = f"x{number % 1000:03}/{text}"
    return f"tile/{level}/{text}" + (f".p/{width}" if width < TILE_HASHES else "")


def check_tiles(
    folder: str | os.PathLike[str], vkey: str, *, progress: Callable[[int], None] | None = None
) -> Checkpoint:
    """Check all files that an exported log's checkpoint covers, and return that checkpoint.

    Files that it does not cover are not looked at: an export may be under way. Memory: 32 bytes for 256 entries.

    Args:
        vkey: the log's verifier key. progress: called with the entries checked so far.

    Raises:
        ProofError: the first file that does not fit is named.
        OSError: a file cannot be read.
    """
    root = Path(folder)
    note = _read(root, "checkpoint", NOTE_BYTES_MAX)
    try:
        checkpoint = verify_checkpoint(note, vkey)
    except ProofError as error:
        raise ProofError(f"checkpoint: {error}") from None
    below: list[bytes] = []
    peaks: list[bytes] = []
    for first in range(0, checkpoint.size, TILE_HASHES):
        width = min(TILE_HASHES, checkpoint.size - first)
        leaves = _read_leaves(root, tile_path("entries", first // TILE_HASHES, width), width)
        _expect(root, tile_path(0, first // TILE_HASHES, width), leaves)
        _take(leaves, below, peaks)
        if progress is not None:
            progress(first + width)
    for level in range(1, TILE_LEVELS):
        hashes, below = below, []
        for at in range(0, len(hashes), TILE_HASHES):
            tile = hashes[at : at + TILE_HASHES]
            _expect(root, tile_path(level, at // TILE_HASHES, len(tile)), tile)
            _take(tile, below, peaks)
    if checkpoint.size and _join(peaks) != checkpoint.root:
        raise ProofError(f"checkpoint: expected the root of the {checkpoint.size} entries here, got another")
    return checkpoint


def _read(root: Path, name: str, length_max: int) -> bytes:
    try:
        with open(root / name, "rb") as file:
            return file.read(length_max + 1)
    except (FileNotFoundError, NotADirectoryError):
        raise ProofError(f"{name}: expected a file, got none") from None


def _read_leaves(root: Path, name: str, width: int) -> list[bytes]:
    step = 2 + HASH_BYTES
    raw = _read(root, name, width * step)
    if len(raw) != width * step or any(raw[at : at + 2] != _ENTRY_LENGTH for at in range(0, len(raw), step)):
        raise ProofError(f"{name}: expected {width} entries of {HASH_BYTES} bytes, got something else")
    return [hash_leaf(raw[at + 2 : at + step]) for at in range(0, len(raw), step)]


def _expect(root: Path, name: str, hashes: list[bytes]) -> None:
    content = b"".join(hashes)
    if _read(root, name, len(content)) != content:
        raise ProofError(f"{name}: expected the hashes of the entries below it, got others")


def _take(tile: list[bytes], above: list[bytes], peaks: list[bytes]) -> None:
    """A full tile gives a hash of the level above; of the last one, complete subtrees begin the tree's right edge."""
    if len(tile) == TILE_HASHES:
        above.append(_fold(tile))
        return
    own, at = [], 0
    for bit in reversed(range(TILE_LEVELS)):
        if len(tile) >> bit & 1:
            own.append(_fold(tile[at : at + (1 << bit)]))
            at += 1 << bit
    # Higher levels come later and stand to the left.
    peaks[:0] = own


def _fold(hashes: list[bytes]) -> bytes:
    while len(hashes) > 1:
        hashes = [hash_node(hashes[at], hashes[at + 1]) for at in range(0, len(hashes), 2)]
    return hashes[0]


def _join(peaks: list[bytes]) -> bytes:
    found = peaks[-1]
    for peak in reversed(peaks[:-1]):
        found = hash_node(peak, found)
    return found
