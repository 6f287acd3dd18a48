"""How reports of wrong links stand, see ``report.py``: what of each is durable, so that it is done once.

Database ``mislinks``, key first
16 bytes of SHA-256("hub/mislink-id/1" ‖ institution ‖ 0 ‖ request id), value sealed, little endian:

| at | type | what |
|---|---|---|
| 0 | u16 | period of its records |
| 2 | u8 | 1 recorded, 2 notified |
| 3 | u8 | 0 |
| 4 | rest | encrypted (``storage/confidential.py``) under that period: :class:`Reported` |
"""

from __future__ import annotations

import hashlib

import msgspec

from hub.errors import StorageError
from hub.storage.confidential import Vault
from hub.storage.sealed import unseal
from hub.storage.snapshot import Commit

NAME = "mislinks"
RECORDED, NOTIFIED = 1, 2
"""Steps that are durable."""

_HEAD_BYTES = 4


class Reported(msgspec.Struct, array_like=True, frozen=True):
    """How a report stands.

    Attributes:
        digest: of the call. at: seconds since 1970. institution, request_id: whose, and which.
        records: indexes of the records, of the wrong citizen first. shapes: of each what they are told: bit 0 GIVEN,
            bit 1 SHOWN.
        portal, otherwise: how many were told through the portal, how many must be told by other means.
    """

    digest: bytes
    at: int
    institution: str
    request_id: str
    records: list[int]
    shapes: list[int]
    portal: int = 0
    otherwise: int = 0


def state_key(institution: str, request_id: str) -> bytes:
    """Where the state of a report is."""
    return hashlib.sha256(b"hub/mislink-id/1" + institution.encode() + b"\0" + request_id.encode()).digest()[:16]


def put_state(commit: Commit, vault: Vault, key: bytes, period: int, step: int, state: Reported) -> None:
    """Write how a report stands."""
    head = period.to_bytes(2, "little") + bytes((step, 0))
    commit.put_sealed(NAME, key, head + vault.encrypt(NAME, period, state))


def parse_state(key: bytes, value: object, vault: Vault) -> tuple[int, int, Reported | None]:
    """(period, step, state) of a stored value; the state is None where its period was shredded.

    Raises:
        StorageError: it is damaged.
    """
    body = unseal(NAME, key, value)
    if len(key) != 16 or len(body) < _HEAD_BYTES or body[2] not in (RECORDED, NOTIFIED) or body[3]:
        raise StorageError(f"{NAME}: expected a state, got something else")
    period = int.from_bytes(body[:2], "little")
    return period, body[2], vault.decrypt(NAME, period, body[_HEAD_BYTES:], Reported)
