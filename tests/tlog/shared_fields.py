"""Shared fields of a lawful inquiry, and a proof of a record under them."""

from __future__ import annotations

import datetime as dt
import hashlib

from memory_log import KEY, MemoryLog, entries_of, record_parts

from hub.messages import Kind, Record, Status
from hub.tlog import tree
from hub.tlog.checkpoint import LogKey
from hub.tlog.entry import Shared, encode_shared
from hub.tlog.proof import Proof

SHARED = Shared(
    inquiry=b"inquiry1",
    requester="nenkin",
    on_behalf_of="厚生労働大臣",
    procedure="19-8/73/75.3",
    items=("市町村民税",),
    role="納付義務者",
    section="年金給付課",
    reference_date="2026-01-01",
    catalog=hashlib.sha256(b"law").hexdigest(),
    rule=1407,
    reason=0,
    legal_basis="国民年金法 75条3号",
    supervised=hashlib.sha256(b"supervised").digest(),
)

DISCLOSURE_KEY = bytes(range(100, 116))
OTHER_DISCLOSURE_KEY = bytes(range(101, 117))

RECORD = Record(
    kind=Kind.INQUIRY,
    requested_at=dt.datetime(2026, 9, 21, tzinfo=dt.UTC),
    provided_at=None,
    requester="nenkin",
    on_behalf_of="厚生労働大臣",
    provider="131016",
    procedure="19-8/73/75.3",
    items=("市町村民税",),
    role="納付義務者",
    section="年金給付課",
    legal_basis="国民年金法 75条3号",
    outcome=Status.OK,
    inquiry="696e717569727931",
    index=41,
)


def prove_record(
    index: int = 41,
    size: int = 100,
    *,
    key: LogKey = KEY,
    seed: int = 0,
    number: int = 0,
    disclosure_key: bytes = DISCLOSURE_KEY,
) -> Proof:
    """A record of its own content ``number`` at ``index`` among made up entries, and its proof."""
    shared = encode_shared(SHARED)
    salt, row, entry = record_parts(shared, number, disclosure_key)
    entries = entries_of(size, seed)
    entries[index] = entry
    log = MemoryLog(entries, key)
    path = tree.inclusion_path(log, index, size)
    return Proof(index, path, checkpoint=log.checkpoint, record=RECORD, salt=salt, shared=shared, row=row)
