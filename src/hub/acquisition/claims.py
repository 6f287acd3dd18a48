"""Attributes that wait to be compared, and links that were held or replaced: what is stored beside single tickets.

An institution may claim of a ticket (``tickets.py``) whose it is to be: name, address, sex and birth date of its own
file, sealed to the register body's key, which alone can read them (``mislinks/attributes.py``). The register body
compares them with its register and delivers the ticket with what differs; where something does, nothing becomes of the
ticket until a second clerk of the institution confirms it (``mislinks/relink.py``).

Database ``claims``, values sealed, little endian:

| key | value |
|---|---|
| u64 number of the draw, u16 position, big endian | encrypted (``storage/confidential.py``, period 0): :class:`Claim` |
| u16 institution's number, big endian | i64: since when none of its tickets is delivered without a claim |

A claim goes in the transaction in which its ticket is delivered, or with its draw. Database ``linked``, keys as of
claims; value sealed: encrypted (period 0) :class:`Link`. It goes when the ticket is closed, or with its draw.
"""

from __future__ import annotations

from typing import Any

import msgspec

from hub.errors import StorageError
from hub.limits import CLAIM_BYTES_MAX
from hub.storage.confidential import HUB, Vault
from hub.storage.sealed import unseal
from hub.storage.snapshot import Commit, Snapshot

CLAIMS, LINKED = "claims", "linked"
KEY_BYTES = 10
INSTITUTION_KEY_BYTES = 2


class Claim(msgspec.Struct, array_like=True, frozen=True):
    """What was claimed of a ticket: the clerk who did, and the sealed attributes."""

    clerk: str
    sealed: bytes

    def __repr__(self) -> str:
        return "Claim()"


class Link(msgspec.Struct, array_like=True, frozen=True, kw_only=True):
    """What became of a ticket beside its state.

    Attributes:
        differs: of :class:`hub.messages.Differs`, with which it was delivered; 0 = nothing differed.
        clerk: who claimed it, where it was held. pseudonym: of the code that it was delivered with, while it is held.
        confirmed: 1 + index of the record of its confirmation, 0 = none.
        replaced: 1 + index of the record about the person whose alias was replaced, 0 = none; ``old`` is that alias,
            ``status`` the ``Acquisition`` that was told.
    """

    differs: int = 0
    clerk: str | None = None
    pseudonym: bytes = b""
    confirmed: int = 0
    replaced: int = 0
    old: bytes = b""
    status: int = 0

    def __repr__(self) -> str:
        return "Link()"


def claim_key(draw: int, position: int) -> bytes:
    """The key of a ticket in both databases."""
    return draw.to_bytes(8, "big") + position.to_bytes(2, "big")


def put_claim(commit: Commit, vault: Vault, key: bytes, claim: Claim) -> None:
    """Keep what was claimed of a ticket; it takes the place of an earlier claim."""
    commit.put_sealed(CLAIMS, key, vault.encrypt(CLAIMS, HUB, claim))


def read_claim(vault: Vault, key: bytes, value: Any) -> Claim:
    """A stored claim.

    Raises:
        StorageError: it is damaged.
    """
    found = vault.decrypt(CLAIMS, HUB, unseal(CLAIMS, key, value), Claim)
    if found is None or len(key) != KEY_BYTES or len(found.sealed) > CLAIM_BYTES_MAX:
        raise StorageError(f"{CLAIMS}: expected sealed attributes, got something else")
    return found


def put_link(commit: Commit, vault: Vault, key: bytes, link: Link) -> None:
    """Keep what became of a ticket."""
    commit.put_sealed(LINKED, key, vault.encrypt(LINKED, HUB, link))


def find_link(snapshot: Snapshot | Commit, vault: Vault, key: bytes) -> Link | None:
    """What became of a ticket beside its state, or None.

    Raises:
        StorageError: it is damaged.
    """
    value = snapshot.get(LINKED, key)
    return None if value is None else read_link(vault, key, value)


def read_link(vault: Vault, key: bytes, value: Any) -> Link:
    """A stored link; errors as of :func:`find_link`."""
    found = vault.decrypt(LINKED, HUB, unseal(LINKED, key, value), Link)
    if found is None or len(key) != KEY_BYTES:
        raise StorageError(f"{LINKED}: expected a link, got something else")
    return found


def forget_draw(commit: Commit, draw: int) -> int:
    """Erase all that is kept beside the tickets of a draw; returns how many values that were."""
    first, below = draw.to_bytes(8, "big") + b"\0\0", (draw + 1).to_bytes(8, "big")
    erased = 0
    for name in (CLAIMS, LINKED):
        gone = []
        with commit.txn.cursor(db=commit.databases[name]) as cursor:
            more = cursor.set_range(first)
            while more and (key := bytes(cursor.key())) < below:
                # Of an institution whose tickets need claims there is a shorter key, which may lie in between.
                if len(key) == KEY_BYTES:
                    gone.append(key)
                more = cursor.next()
        for key in gone:
            commit.delete(name, key)
        erased += len(gone)
    return erased


# -- whose tickets need a claim


def put_required(commit: Commit, institution: int, since: int | None) -> None:
    """Say from when on an institution's tickets need a claim, None: they need none."""
    key = _institution_key(institution)
    if since is None:
        commit.delete(CLAIMS, key)
    else:
        commit.put_sealed(CLAIMS, key, since.to_bytes(8, "little", signed=True))


def is_required(snapshot: Snapshot, institution: int) -> bool:
    """Whether an institution's tickets need a claim. Before it is relied on: ``Store.compare_sum``.

    Raises:
        StorageError: what is stored is damaged.
    """
    key = _institution_key(institution)
    value = snapshot.get(CLAIMS, key)
    if value is None:
        return False
    if len(unseal(CLAIMS, key, value)) != 8:
        raise StorageError(f"{CLAIMS}: expected a time, got something else")
    return True


def _institution_key(institution: int) -> bytes:
    return institution.to_bytes(INSTITUTION_KEY_BYTES, "big")
