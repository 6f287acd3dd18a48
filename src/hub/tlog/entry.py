"""The bytes of one record in the log. H is SHA-256; numbers in the row are little endian.

**shared** = MessagePack array, what every record of an inquiry has in common and the citizen may read:

| field | type | what |
|---|---|---|
| 0 version | int | 1 |
| 1 inquiry | bin 8 | opaque name of the inquiry |
| 2 requester | str | institution code |
| 3 on behalf of | str, nil | class of the principal under a delegation |
| 4 procedure | str | its id |
| 5 items | array of str | details of the items |
| 6 role | str | the Order's word for the person asked about |
| 7 section | str | section in charge |
| 8 reference date | str, nil | ISO date, as stated |
| 9 catalog | str | SHA-256 of the law as the hub held it, 64 hex digits |
| 10 rule | int | number of the rule, 0 = none |
| 11 reason | int | a ``Reason`` |
| 12 legal basis | str | the article, for people |
| 13 supervised | bin 32 | SHA-256 commitment to what only supervisors read |
| 14 remark | str, nil | what a person wrote: why a record is to be corrected, a decision's reasons and how to appeal |

**row** = 48 bytes:

| at | type | what |
|---|---|---|
| 0 | u32 | provider, institution number; 0 = none |
| 4 | u8 | outcome, a ``Status`` |
| 5 | u8 | kind, a ``Kind`` |
| 6 | u16 | 0 |
| 8 | i64 | requested at, seconds since 1970 |
| 16 | i64 | provided at, 0 = not |
| 24 | u64 | link: 1 + index of the record that this one follows, 0 = none |
| 32 | 16 | subject tag |

    subject tag = first 16 bytes of H("hub/subject/1" ‖ salt ‖ disclosure key)
    entry       = H("hub/record/1" ‖ salt ‖ H("hub/shared/1" ‖ shared) ‖ row)
    leaf        = H(0x00 ‖ entry)               RFC 6962, 2.1
    node        = H(0x01 ‖ left ‖ right)
    paper code  = first 16 bytes of H("hub/paper/1" ‖ salt ‖ leaf)

**extra** of a proof = MessagePack array: 1, salt (bin 16), shared (bin), row (bin 48).

Salt and disclosure key have 16 bytes. This module is part of what an auditor takes along, so it imports nothing of the
hub but the errors, and its bounds stand here.
"""

from __future__ import annotations

import hashlib
import struct
from typing import Annotated, NamedTuple

import msgspec

from hub.errors import RequestError, StorageError

VERSION = 1
HASH_BYTES = 32
SALT_BYTES = 16
DISCLOSURE_KEY_BYTES = 16
SUBJECT_TAG_BYTES = 16
PAPER_CODE_BYTES = 16
ROW_BYTES = 48

SHARED_BYTES_MAX = 1 << 17
"""64 items of at most 400 characters, three bytes each, take 77 KB; everything else stays under 4 KB."""

EXTRA_BYTES_MAX = SHARED_BYTES_MAX + 128

_INQUIRY_END = 12
"""An array of 15, version 1, bin 8 of 8 bytes."""

_SUPERVISED_BYTES = 35
"""Bin 8 of 32 bytes, nil."""

_ROW = struct.Struct("<IBBHqqQ16s")
_U64 = Annotated[int, msgspec.Meta(ge=0)]


class Shared(msgspec.Struct, array_like=True, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The fields that all records of an inquiry share and that the citizen may read; see the module's table."""

    version: int = VERSION
    inquiry: Annotated[bytes, msgspec.Meta(min_length=8, max_length=8)]
    requester: str
    on_behalf_of: str | None
    procedure: str
    items: tuple[str, ...]
    role: str
    section: str
    reference_date: str | None
    catalog: Annotated[str, msgspec.Meta(pattern="^[0-9a-f]{64}$")]
    rule: _U64
    reason: _U64
    legal_basis: str
    supervised: Annotated[bytes, msgspec.Meta(min_length=32, max_length=32)]
    remark: str | None = None


class Row(NamedTuple):
    """The fields of a record that are its own; see the module's table."""

    provider: int
    outcome: int
    kind: int
    requested_at: int
    provided_at: int
    link: int
    subject_tag: bytes

    def __repr__(self) -> str:
        return "Row()"


class Extra(NamedTuple):
    """What a proof carries to recompute its entry."""

    salt: bytes
    shared: bytes
    row: bytes

    def __repr__(self) -> str:
        return "Extra()"


class _Extra(msgspec.Struct, array_like=True, frozen=True, forbid_unknown_fields=True):
    version: int
    salt: Annotated[bytes, msgspec.Meta(min_length=SALT_BYTES, max_length=SALT_BYTES)]
    shared: Annotated[bytes, msgspec.Meta(max_length=SHARED_BYTES_MAX)]
    row: Annotated[bytes, msgspec.Meta(min_length=ROW_BYTES, max_length=ROW_BYTES)]


_encoder = msgspec.msgpack.Encoder()
_shared_decoder = msgspec.msgpack.Decoder(Shared)
_extra_decoder = msgspec.msgpack.Decoder(_Extra)


def encode_shared(shared: Shared) -> bytes:
    """Pack the shared fields; equal fields give equal bytes.

    Raises:
        RequestError: they take more than ``SHARED_BYTES_MAX``.
    """
    raw = _encoder.encode(shared)
    if len(raw) > SHARED_BYTES_MAX:
        raise RequestError(f"shared fields: expected at most {SHARED_BYTES_MAX} bytes, got {len(raw)}")
    return raw


def shared_middle(shared: Shared) -> bytes:
    """The encoded fields between those that differ from inquiry to inquiry, for :func:`join_shared`."""
    return encode_shared(shared)[_INQUIRY_END:-_SUPERVISED_BYTES]


def join_shared(inquiry: bytes, middle: bytes, supervised: bytes) -> bytes:
    """What :func:`encode_shared` makes of these fields without a remark; five times as fast."""
    return b"".join((b"\x9f\x01\xc4\x08", inquiry, middle, b"\xc4\x20", supervised, b"\xc0"))


def middle_of(raw: bytes) -> bytes | None:
    """What :func:`shared_middle` gives of encoded shared fields that end without a remark; None of others."""
    end = raw[-_SUPERVISED_BYTES:]
    if raw.startswith(b"\x9f\x01\xc4\x08") and end.startswith(b"\xc4\x20") and end.endswith(b"\xc0"):
        return raw[_INQUIRY_END:-_SUPERVISED_BYTES]
    return None


def unsupervise(raw: bytes) -> bytes:
    """Encoded shared fields without commitment (zeros instead) and remark: the same for all chunks of an inquiry."""
    if raw[-_SUPERVISED_BYTES:].startswith(b"\xc4\x20") and raw.endswith(b"\xc0"):
        return raw[: 2 - _SUPERVISED_BYTES] + bytes(HASH_BYTES) + b"\xc0"
    return encode_shared(msgspec.structs.replace(decode_shared(raw), supervised=bytes(HASH_BYTES), remark=None))


def decode_shared(raw: bytes) -> Shared:
    """Read the shared fields; only bytes that :func:`encode_shared` makes are accepted.

    Raises:
        StorageError: another version, a field too few or too many, a wrong type, trailing bytes, another spelling.
    """
    if len(raw) > SHARED_BYTES_MAX:
        raise StorageError(f"shared fields: expected at most {SHARED_BYTES_MAX} bytes, got {len(raw)}")
    try:
        shared = _shared_decoder.decode(raw)
    except (msgspec.DecodeError, UnicodeDecodeError):
        # The decoder's own words may quote the value.
        raise StorageError("shared fields: expected an array of 15 fields, got something else") from None
    if shared.version != VERSION:
        raise StorageError(f"shared fields: expected version {VERSION}, got {shared.version}")
    # MessagePack spells one value in several ways; two spellings would be two entries of one record.
    if _encoder.encode(shared) != bytes(raw):
        raise StorageError("shared fields: expected the shortest spelling, got another")
    return shared


def pack_row(
    provider: int,
    outcome: int,
    kind: int,
    requested_at: int,
    provided_at: int,
    link: int,
    subject_tag: bytes,
) -> bytes:
    """Pack a record's own fields into 48 bytes, in the order of the table.

    Raises:
        RequestError: a number does not fit its field, or the tag is not 16 bytes.
    """
    if len(subject_tag) != SUBJECT_TAG_BYTES:
        raise RequestError(f"subject tag: expected {SUBJECT_TAG_BYTES} bytes, got {len(subject_tag)}")
    try:
        return _ROW.pack(provider, outcome, kind, 0, requested_at, provided_at, link, subject_tag)
    except struct.error:
        raise RequestError("row: expected numbers that fit their fields, got a larger one") from None


def unpack_row(raw: bytes) -> Row:
    """Read 48 bytes.

    Raises:
        StorageError: another length, or the reserved bytes are not 0.
    """
    if len(raw) != ROW_BYTES:
        raise StorageError(f"row: expected {ROW_BYTES} bytes, got {len(raw)}")
    provider, outcome, kind, reserved, requested_at, provided_at, link, tag = _ROW.unpack(raw)
    if reserved:
        raise StorageError("row: expected 0 in the reserved bytes, got something else")
    return Row(provider, outcome, kind, requested_at, provided_at, link, tag)


def encode_extra(salt: bytes, shared: bytes, row: bytes) -> bytes:
    """Pack what a proof carries beside the path."""
    return _encoder.encode(_Extra(VERSION, salt, shared, row))


def decode_extra(raw: bytes) -> Extra:
    """Read what a proof carries; only bytes that :func:`encode_extra` makes are accepted.

    Raises:
        StorageError: anything else.
    """
    if len(raw) > EXTRA_BYTES_MAX:
        raise StorageError(f"extra: expected at most {EXTRA_BYTES_MAX} bytes, got {len(raw)}")
    try:
        extra = _extra_decoder.decode(raw)
    except msgspec.DecodeError:
        raise StorageError("extra: expected version, salt, shared fields and row, got something else") from None
    if extra.version != VERSION:
        raise StorageError(f"extra: expected version {VERSION}, got {extra.version}")
    if _encoder.encode(extra) != bytes(raw):
        raise StorageError("extra: expected the shortest spelling, got another")
    return Extra(extra.salt, extra.shared, extra.row)


def hash_shared(shared: bytes) -> bytes:
    """Encoded shared fields -> 32 bytes."""
    return hashlib.sha256(b"hub/shared/1" + shared).digest()


def subject_tag(salt: bytes, disclosure_key: bytes) -> bytes:
    """Salt and disclosure key, 16 bytes each -> the 16 bytes that say whose record it is to who holds the key."""
    if len(salt) != SALT_BYTES or len(disclosure_key) != DISCLOSURE_KEY_BYTES:
        raise RequestError("subject tag: expected a salt and a disclosure key of 16 bytes, got other lengths")
    return hashlib.sha256(b"hub/subject/1" + salt + disclosure_key).digest()[:SUBJECT_TAG_BYTES]


def hash_entry(salt: bytes, shared_hash: bytes, row: bytes) -> bytes:
    """Salt (16), hash of the shared fields (32) and row (48) -> the log's entry, 32 bytes."""
    # Fixed lengths make the concatenation unambiguous; a caller that breaks them would forge records.
    if len(salt) != SALT_BYTES or len(shared_hash) != HASH_BYTES or len(row) != ROW_BYTES:
        raise RequestError("entry: expected 16, 32 and 48 bytes, got other lengths")
    return hashlib.sha256(b"hub/record/1" + salt + shared_hash + row).digest()


def hash_leaf(entry: bytes) -> bytes:
    """RFC 6962, 2.1: the leaf of an entry."""
    return hashlib.sha256(b"\x00" + entry).digest()


def paper_code(salt: bytes, leaf: bytes) -> bytes:
    """A record's salt (16) and leaf (32) -> 16 bytes that stand for it on a paper of a counter.

    Who has the record's proof finds it again by them. The leaf itself would tell a body that prints it where in the
    public log the record is; without the salt, which bodies never get, this tells it nothing.
    """
    if len(salt) != SALT_BYTES or len(leaf) != HASH_BYTES:
        raise RequestError("paper code: expected a salt of 16 and a leaf of 32 bytes, got other lengths")
    return hashlib.sha256(b"hub/paper/1" + salt + leaf).digest()[:PAPER_CODE_BYTES]


def hash_node(left: bytes, right: bytes) -> bytes:
    """RFC 6962, 2.1: the node over two hashes of 32 bytes."""
    return hashlib.sha256(b"\x01" + left + right).digest()
