"""Sealed payloads: answers that only the institution that asked can open.

Where an institution has registered a public key (``payloadkeys.py``), providers encrypt to it and the hub refuses what
is not addressed to it. An envelope:

| at | type | what |
|---|---|---|
| 0 | 4 | magic, "HSP1" |
| 4 | 16 | fingerprint: first 16 bytes of SHA-256("hub/payload-key/1", public key) |
| 20 | 32 | X25519 public key of the sender, made for this one envelope |
| 52 | 16 | MAC |
| 68 | n | ciphertext, as long as what was sealed |

From byte 20 on it is a sealed box of libsodium (``crypto_box_seal``: X25519, XSalsa20-Poly1305, nonce BLAKE2b of both
public keys). The hub has no private key. It can see to whom an envelope is addressed and that it has the form of one,
never what is in it: a provider that writes the right head over anything else is found out by the requester, who cannot
open it. A sealed box does not say who made it either: that the provider did is the hub's word, who took it in.
"""

from __future__ import annotations

import hashlib

import numpy as np
import numpy.typing as npt
from nacl.exceptions import CryptoError
from nacl.public import PrivateKey, PublicKey, SealedBox

from hub.errors import RequestError
from hub.limits import PAYLOAD_BYTES_MAX

MAGIC = b"HSP1"
KEY_BYTES = 32
FINGERPRINT_BYTES = 16
HEAD_BYTES = len(MAGIC) + FINGERPRINT_BYTES
EMPTY_BYTES = HEAD_BYTES + KEY_BYTES + 16
"""An envelope with nothing in it; what is sealed adds its own length."""

DATA_BYTES_MAX = PAYLOAD_BYTES_MAX - EMPTY_BYTES

_PRIME = (1 << 255) - 19
_LOW_ORDER = frozenset(
    (
        0,
        1,
        325606250916557431795983626356110631294008115727848805560023387167927233504,
        39382357235489614581723060781553021112529911719440698176882885853963445705823,
        _PRIME - 1,
    )
)
"""u coordinates of the points whose order divides 8, on the curve and its twist: with one of them the shared secret
is zero whatever the other key is (RFC 7748, section 6.1)."""

_HIGH_WORD = np.uint64(1) << np.uint64(63)
_LOW_ORDER_WORDS = np.array(
    [np.frombuffer(u.to_bytes(KEY_BYTES, "little"), dtype="<u8") for u in sorted(_LOW_ORDER)], dtype=np.uint64
)
_PRIME_WORDS = np.frombuffer(_PRIME.to_bytes(KEY_BYTES, "little"), dtype="<u8")


def new_payload_key() -> tuple[bytes, bytes]:
    """A new key pair of an institution: (private, public), 32 bytes each. The private one never goes to the hub."""
    made = PrivateKey.generate()
    return bytes(made), bytes(made.public_key)


def seal_payload(public_key: bytes, data: bytes) -> bytes:
    """Encrypt an answer so that only the holder of the private key can read it.

    Args:
        public_key: the requester's, 32 bytes. data: at most ``DATA_BYTES_MAX`` bytes.

    Raises:
        RequestError: the key is none, or the data is too long.
    """
    check_public_key(public_key)
    _check_bytes("data", data, DATA_BYTES_MAX)
    return MAGIC + key_fingerprint(public_key) + SealedBox(PublicKey(public_key)).encrypt(data)


def open_payload(private_key: bytes, sealed: bytes) -> bytes:
    """Decrypt an answer that was sealed to this institution's key.

    Raises:
        RequestError: it is no envelope, is addressed to another key, or was altered.
    """
    if not isinstance(private_key, bytes) or len(private_key) != KEY_BYTES:
        raise RequestError(f"private_key: expected {KEY_BYTES} bytes, got something else")
    own = PrivateKey(private_key)
    check_sealed(bytes(own.public_key), sealed)
    try:
        return SealedBox(own).decrypt(sealed[HEAD_BYTES:])
    except CryptoError:
        raise RequestError("payload: expected one sealed to this key, got an altered one") from None


def key_fingerprint(public_key: bytes) -> bytes:
    """The 16 bytes by which an envelope names the key that it is sealed to."""
    return hashlib.sha256(b"hub/payload-key/1" + public_key).digest()[:FINGERPRINT_BYTES]


def check_public_key(public_key: bytes) -> None:
    """Refuse what is no usable X25519 public key.

    Raises:
        RequestError: not 32 bytes, not below the field's prime, or a point of low order.
    """
    if not isinstance(public_key, bytes) or len(public_key) != KEY_BYTES:
        raise RequestError(f"public_key: expected {KEY_BYTES} bytes, got something else")
    if not _is_key(public_key):
        raise RequestError("public_key: expected a point of X25519, got another value")


def check_sealed(public_key: bytes, payload: bytes) -> None:
    """Refuse what is no envelope addressed to this key, as far as can be seen without the private one.

    Half of all values of 32 bytes are points of the twist, which no sender makes; telling them apart takes longer than
    all else here and keeps nobody from writing noise behind a good key, so it is not done.

    Raises:
        RequestError: with what is wrong; nothing of the payload is in it.
    """
    _check_bytes("payload", payload, PAYLOAD_BYTES_MAX)
    if len(payload) < EMPTY_BYTES:
        raise RequestError(f"payload: expected a sealed one, of {EMPTY_BYTES} bytes or more, got {len(payload)}")
    if payload[: len(MAGIC)] != MAGIC:
        raise RequestError("payload: expected a sealed one, got another")
    if payload[len(MAGIC) : HEAD_BYTES] != key_fingerprint(public_key):
        raise RequestError("payload: expected one sealed to the requester's key, got one for another")
    if not _is_key(payload[HEAD_BYTES : HEAD_BYTES + KEY_BYTES]):
        raise RequestError("payload: expected the sender's X25519 key in it, got another value")


def check_payloads(payloads: list[bytes | None], public_key: bytes | None) -> int | None:
    """The first row of a list whose payload the hub does not take, or None: a millisecond for 5,000 rows.

    Args:
        payloads: of each row; None where there is none.
        public_key: the requester's, or None where it has registered none: then any bytes within the bound pass.
    """
    shortest = 0 if public_key is None else EMPTY_BYTES
    head = b"" if public_key is None else MAGIC + key_fingerprint(public_key)
    rows: list[int] = []
    keys: list[bytes] = []
    bad: int | None = None
    for row, payload in enumerate(payloads):
        if payload is None:
            continue
        if (
            not isinstance(payload, bytes)
            or not shortest <= len(payload) <= PAYLOAD_BYTES_MAX
            or not payload.startswith(head)
        ):
            bad = row
            break
        rows.append(row)
        keys.append(payload[HEAD_BYTES : HEAD_BYTES + KEY_BYTES])
    if public_key is None or not rows:
        return bad
    unfit = np.flatnonzero(~_are_keys(b"".join(keys)))
    return rows[int(unfit[0])] if len(unfit) else bad


def _is_key(key: bytes) -> bool:
    u = int.from_bytes(key, "little")
    return u < _PRIME and u not in _LOW_ORDER


def _are_keys(keys: bytes) -> npt.NDArray[np.bool_]:
    """:func:`_is_key` of many, 32 bytes each."""
    words = np.frombuffer(keys, dtype="<u8").reshape(-1, 4)
    # Below the prime unless all bits above the lowest word are those of the prime, or the highest bit is set.
    above = (words[:, 1:] == _PRIME_WORDS[1:]).all(axis=1) & (words[:, 0] >= _PRIME_WORDS[0])
    fits = ~above & (words[:, 3] < _HIGH_WORD)
    for point in _LOW_ORDER_WORDS:
        fits &= (words != point).any(axis=1)
    return fits


def _check_bytes(name: str, value: object, most: int) -> None:
    if not isinstance(value, bytes):
        raise RequestError(f"{name}: expected bytes, got {type(value).__name__}")
    if len(value) > most:
        raise RequestError(f"{name}: expected at most {most} bytes, got {len(value)}")
