"""The bytes of a record: packed, read back, and refused in any other spelling."""

from __future__ import annotations

import hashlib

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st
from shared_fields import SHARED

from hub.errors import RequestError, StorageError
from hub.tlog import entry


def test_shared_fields_are_an_array_in_the_order_of_the_table() -> None:
    fields = msgspec.msgpack.decode(entry.encode_shared(SHARED))
    assert len(fields) == 15
    assert fields[0] == 1
    assert fields[1] == SHARED.inquiry
    assert fields[5] == list(SHARED.items)
    assert fields[13:] == [SHARED.supervised, None]


words = st.text(st.characters(exclude_categories=["Cs"]), max_size=20)
shared_fields = st.builds(
    entry.Shared,
    inquiry=st.binary(min_size=8, max_size=8),
    requester=words,
    on_behalf_of=st.none() | words,
    procedure=words,
    items=st.lists(words, max_size=5).map(tuple),
    role=words,
    section=words,
    reference_date=st.none() | words,
    catalog=st.binary(min_size=32, max_size=32).map(bytes.hex),
    rule=st.integers(0, 2**32 - 1),
    reason=st.integers(0, 255),
    legal_basis=words,
    supervised=st.binary(min_size=32, max_size=32),
    remark=st.none() | st.text(max_size=50),
)


@given(shared_fields)
def test_shared_fields_are_read_back(shared: entry.Shared) -> None:
    assert entry.decode_shared(entry.encode_shared(shared)) == shared


@pytest.mark.parametrize(
    ("name", "change"),
    [
        ("trailing bytes", lambda raw: raw + b"\0"),
        ("cut", lambda raw: raw[:-1]),
        ("another version", lambda raw: raw[:1] + b"\x02" + raw[2:]),
        ("a longer spelling of the version", lambda raw: raw[:1] + b"\xcc\x01" + raw[2:]),
        ("a field less", lambda raw: b"\x9e" + raw[1:-1]),
        ("a field more", lambda raw: b"\xdc\x00\x10" + raw[1:] + b"\xc0"),
        ("no array", lambda raw: b"\x80"),
        ("nothing", lambda raw: b""),
        ("broken text", lambda raw: raw.replace("国".encode(), b"\xff\xff\xff", 1)),
        ("a short commitment", lambda raw: raw[:-34] + b"\xc4\x1f" + raw[-31:]),
        ("too long", lambda raw: raw + bytes(entry.SHARED_BYTES_MAX)),
    ],
)
def test_other_bytes_are_no_shared_fields(name: str, change: object) -> None:
    with pytest.raises(StorageError, match="shared fields: expected"):
        entry.decode_shared(change(entry.encode_shared(SHARED)))  # type: ignore[operator]


def test_an_error_does_not_repeat_what_the_fields_hold() -> None:
    raw = msgspec.msgpack.encode([1, b"12345678", "nenkin", None, "p", "秘密", *[""] * 8])
    with pytest.raises(StorageError) as caught:
        entry.decode_shared(raw)
    assert "秘密" not in str(caught.value)


def test_too_many_shared_bytes_are_refused() -> None:
    with pytest.raises(RequestError, match="at most"):
        entry.encode_shared(msgspec.structs.replace(SHARED, section="x" * entry.SHARED_BYTES_MAX))


def test_a_row_has_48_bytes_at_the_places_of_the_table() -> None:
    raw = entry.pack_row(0x01020304, 5, 6, 7, 8, 9, bytes(range(16)))
    assert raw == (
        b"\x04\x03\x02\x01" b"\x05" b"\x06" b"\0\0" b"\x07" + bytes(7) + b"\x08" + bytes(7) + b"\x09" + bytes(7)
        + bytes(range(16))
    )  # fmt: skip


row_fields = st.tuples(
    st.integers(0, 2**32 - 1), st.integers(0, 255), st.integers(0, 255), st.integers(-(2**63), 2**63 - 1),
    st.integers(-(2**63), 2**63 - 1), st.integers(0, 2**64 - 1), st.binary(min_size=16, max_size=16),
)  # fmt: skip


@given(row_fields)
def test_a_row_is_read_back(fields: tuple[int, int, int, int, int, int, bytes]) -> None:
    assert entry.unpack_row(entry.pack_row(*fields)) == fields


def test_rows_that_do_not_fit_are_refused() -> None:
    with pytest.raises(RequestError, match="fit their fields"):
        entry.pack_row(2**32, 0, 0, 0, 0, 0, bytes(16))
    with pytest.raises(RequestError, match="16 bytes"):
        entry.pack_row(1, 0, 0, 0, 0, 0, bytes(15))
    with pytest.raises(StorageError, match="48 bytes"):
        entry.unpack_row(bytes(47))
    with pytest.raises(StorageError, match="reserved"):
        entry.unpack_row(bytes(6) + b"\1" + bytes(41))


def test_hashes_are_the_documented_concatenations() -> None:
    salt, key, shared, row = bytes(range(16)), bytes(range(16, 32)), b"shared", bytes(48)
    shared_hash = hashlib.sha256(b"hub/shared/1shared").digest()
    assert entry.hash_shared(shared) == shared_hash
    assert entry.subject_tag(salt, key) == hashlib.sha256(b"hub/subject/1" + salt + key).digest()[:16]
    assert entry.hash_entry(salt, shared_hash, row) == hashlib.sha256(
        b"hub/record/1" + salt + shared_hash + row
    ).digest()
    assert entry.hash_leaf(shared_hash) == hashlib.sha256(b"\0" + shared_hash).digest()
    assert entry.hash_node(salt, row) == hashlib.sha256(b"\1" + salt + row).digest()


@pytest.mark.parametrize("lengths", [(15, 32, 48), (16, 31, 48), (16, 32, 49), (17, 32, 47)])
def test_an_entry_is_not_hashed_over_other_lengths(lengths: tuple[int, int, int]) -> None:
    with pytest.raises(RequestError, match="entry: expected"):
        entry.hash_entry(*map(bytes, lengths))


def test_an_extra_is_read_back_and_any_other_spelling_refused() -> None:
    raw = entry.encode_extra(bytes(16), b"shared", bytes(48))
    assert raw[:4] == b"\x94\x01\xc4\x10"
    assert entry.decode_extra(raw) == (bytes(16), b"shared", bytes(48))
    for wrong in (raw[:-1], raw + b"\0", raw[:1] + b"\2" + raw[2:], raw[:1] + b"\xcc\1" + raw[2:], b"\x93" + raw[1:-50],
                  bytes(entry.EXTRA_BYTES_MAX + 1)):  # fmt: skip
        with pytest.raises(StorageError, match="extra: expected"):
            entry.decode_extra(wrong)


def test_a_repr_shows_no_content() -> None:
    assert repr(entry.Row(1, 2, 3, 4, 5, 6, b"tag")) == "Row()"
    assert repr(entry.Extra(b"salt", b"shared", b"row")) == "Extra()"
