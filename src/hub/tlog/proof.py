"""What a citizen takes home of one record: a ``c2sp.org/tlog-proof@v1`` with all that recomputes its entry."""

from __future__ import annotations

import base64
from collections.abc import Sequence

from hub.messages import Record
from hub.tlog.entry import HASH_BYTES, encode_extra, hash_entry, hash_leaf, hash_shared

HEADER = "c2sp.org/tlog-proof@v1"


class Proof:
    """One record, provably in the log. ``hub verify FILE`` checks its text without the hub.

    Attributes:
        index: position in the log.
        leaf: RFC 6962 leaf hash, 32 bytes, computed from salt, shared and row.
        path: hashes of 32 bytes from the leaf's sibling up to below the root. joined_path: all of them in one piece.
        checkpoint: the signed note that the path leads to.
        record: what the proof is about, as the citizen reads it.
        salt: 16 bytes. shared: encoded shared fields. row: 48 bytes; see ``tlog/entry.py``.
    """

    __slots__ = ("checkpoint", "index", "joined_path", "leaf", "record", "row", "salt", "shared")

    def __init__(
        self,
        index: int,
        path: Sequence[bytes] | bytes,
        *,
        checkpoint: str,
        record: Record,
        salt: bytes,
        shared: bytes,
        row: bytes,
        leaf: bytes | None = None,
    ) -> None:
        """Args: path: hashes, or all of them joined. leaf: where it was hashed already."""
        self.index = index
        self.leaf = hash_leaf(hash_entry(salt, hash_shared(shared), row)) if leaf is None else leaf
        self.joined_path = path if isinstance(path, bytes) else b"".join(path)
        self.checkpoint = checkpoint
        self.record = record
        self.salt = salt
        self.shared = shared
        self.row = row

    def __repr__(self) -> str:
        return f"Proof(path={len(self.joined_path) // HASH_BYTES} hashes)"

    @property
    def path(self) -> list[bytes]:
        return [self.joined_path[at : at + HASH_BYTES] for at in range(0, len(self.joined_path), HASH_BYTES)]

    def text(self) -> str:
        """The proof as a file, usually ``.tlog-proof``; it reveals the record to who reads it, not the person."""
        extra = base64.b64encode(encode_extra(self.salt, self.shared, self.row)).decode()
        path = [base64.b64encode(node).decode() for node in self.path]
        return "\n".join([HEADER, f"extra {extra}", f"index {self.index}", *path, "", self.checkpoint])
