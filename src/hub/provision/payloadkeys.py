"""The public keys of institutions, to which answers for them must be sealed: the Hub's methods for them.

Database ``payloadkeys``, key u32 institution number (big endian), value sealed, little endian:

| at | type | what |
|---|---|---|
| 0 | i64 | hub time at which it was registered, seconds since 1970 |
| 8 | 32 | X25519 public key |

What an envelope is, and how much of it the hub can check, stands in ``payloads.py``.
"""

from __future__ import annotations

from abc import ABC

from hub.errors import RequestError, StorageError
from hub.protection.withholding import Office, check_clerk
from hub.provision.payloads import KEY_BYTES, check_public_key
from hub.records.events import EventKind, Told
from hub.storage.sealed import unseal
from hub.storage.snapshot import Snapshot
from hub.store import Store

NAME = "payloadkeys"
TIME_BYTES = 8


class PayloadKeys(ABC):
    """The part of :class:`hub.Hub` that knows to which key an institution's answers are sealed."""

    _store: Store
    _office: Office

    def register_key(self, institution: str, public_key: bytes | None, clerk: str | None = None) -> None:
        """Register an institution's public key: from now on only payloads sealed to it are taken for that institution.

        A key replaces the one before; permits that are answered later must be sealed to the new one, so keep the old
        private key until nothing sealed to it is left to collect. The same key again changes nothing.

        Args:
            public_key: 32 bytes of X25519, see ``hub.new_payload_key``; None removes the key, so that payloads are
                taken as they come: this needs the name of a clerk.
            clerk: who decided it, for auditors.

        Raises:
            RequestError: unknown institution, no key of X25519, or a key is removed by nobody; nothing was changed.
        """
        number = self._office.catalog().institution(institution).number
        check_clerk("clerk", clerk)
        if public_key is not None:
            check_public_key(public_key)
        elif clerk is None:
            raise RequestError("clerk: expected the name of a clerk who removes the key, got none")
        key = number.to_bytes(4, "big")
        with self._store.writer:
            with self._store.snapshot() as snapshot:
                before = read_payload_key(self._store, snapshot, number)
            if before == public_key:
                return
            now = self._office.now()
            kind = EventKind.KEY_REMOVED if public_key is None else EventKind.KEY_REGISTERED
            with self._store.commit() as commit:
                if public_key is None:
                    commit.delete(NAME, key)
                else:
                    commit.put_sealed(NAME, key, now.to_bytes(TIME_BYTES, "little", signed=True) + public_key)
                self._office.tell(Told(at=now, kind=kind, institution=institution, clerk=clerk), commit)

    def payload_key(self, institution: str) -> bytes | None:
        """The public key to which an institution's answers are sealed, or None where it has registered none.

        Raises:
            RequestError: unknown institution. StorageError: what is stored is damaged.
        """
        number = self._office.catalog().institution(institution).number
        with self._store.snapshot() as snapshot:
            return read_payload_key(self._store, snapshot, number)


def read_payload_key(store: Store, snapshot: Snapshot, number: int) -> bytes | None:
    """The key of an institution by its number, or None.

    Raises:
        StorageError: a key is damaged or missing: where one is not found, an answer may be taken in the clear.
    """
    store.compare_sum(snapshot, NAME)
    key = number.to_bytes(4, "big")
    value = snapshot.get(NAME, key)
    if value is None:
        return None
    body = unseal(NAME, key, value)
    if len(body) != TIME_BYTES + KEY_BYTES:
        raise StorageError(f"{NAME}: expected a key of {KEY_BYTES} bytes, got something else")
    return body[TIME_BYTES:]
