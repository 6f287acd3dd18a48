"""A stored catalog decides as it did; a damaged one is refused."""

from __future__ import annotations

import hashlib
import random
import re
import struct
import zlib

import pytest

from hub.catalog import Catalog
from hub.errors import CatalogError, RequestError
from hub.messages import Inquiry

MORE = "code,kind,prefecture,name\n203831,city,長野県,長野県箕輪町\n"


def test_a_catalog_reads_back_as_it_was():
    catalog = Catalog.japan().import_institutions(MORE, assessed=False)
    again = Catalog.load(catalog.dump())
    assert again.tables == catalog.tables
    assert again.digest == catalog.digest
    assert again.dump() == catalog.dump()
    assert again.institutions() == catalog.institutions()


def test_the_digest_names_the_content():
    catalog = Catalog.japan()
    assert re.fullmatch("[0-9a-f]{64}", catalog.digest)
    assert catalog.digest == Catalog.japan.__wrapped__().digest
    assert catalog.digest != catalog.import_institutions(MORE).digest
    assert catalog.dump()[16:48].hex() == catalog.digest


def test_the_stored_form_is_as_the_byte_table_says():
    stored = Catalog.japan().dump()
    assert stored[:16] == b"hub/catalog/1\0\0\0"
    payload = zlib.decompress(stored[56:])
    assert struct.unpack(">Q", stored[48:56])[0] == len(payload)
    assert hashlib.sha256(payload).digest() == stored[16:48]
    assert len(stored) < 200_000


def test_a_stored_catalog_makes_the_same_decisions():
    catalog = Catalog.japan()
    again = Catalog.load(catalog.dump())
    chance = random.Random(3)
    codes = sorted(catalog.codes)
    allowed = 0
    for rule in chance.sample(catalog.rules, 300):
        requester = chance.choice(catalog.institutions(rule.requester) or catalog.institutions()).code
        provider = chance.choice([*(b.code for b in catalog.institutions(rule.provider)), chance.choice(codes)])
        role = chance.choice([*rule.roles, None])
        inquiry = Inquiry(
            requester=requester, procedure=rule.procedure, items=(rule.kind,), role=role, section="課", request_id="1"
        )
        results = []
        for one in (catalog, again):
            try:
                results.append(one.decide(inquiry, provider, 1_795_000_000))
            except RequestError as error:
                results.append(str(error))
        assert results[0] == results[1]
        allowed += getattr(results[0], "allowed", False)
    assert allowed > 100


def test_every_cut_and_every_changed_byte_is_noticed():
    stored = Catalog.japan().dump()
    chance = random.Random(1)
    for length in [0, 1, 55, 56, 57, len(stored) - 1, *chance.sample(range(len(stored)), 20)]:
        with pytest.raises(CatalogError, match="stored catalog"):
            Catalog.load(stored[:length])
    for position in [*range(56), *chance.sample(range(56, len(stored) - 1), 40)]:
        changed = bytearray(stored)
        changed[position] ^= 1 << chance.randrange(8)
        with pytest.raises(CatalogError, match="stored catalog"):
            Catalog.load(bytes(changed))


def test_a_small_file_cannot_unpack_to_a_large_one():
    payload = b"\0" * (1 << 20)
    stored = b"hub/catalog/1\0\0\0" + hashlib.sha256(payload).digest() + struct.pack(">Q", 10) + zlib.compress(payload)
    with pytest.raises(CatalogError, match="SHA-256"):
        Catalog.load(stored)
    with pytest.raises(CatalogError, match="at most"):
        Catalog.load(stored[:48] + struct.pack(">Q", 1 << 40) + stored[56:])


def test_a_payload_of_another_shape_is_refused():
    payload = b"\x93\x01\x02\x03"
    stored = b"hub/catalog/1\0\0\0" + hashlib.sha256(payload).digest() + struct.pack(">Q", 4) + zlib.compress(payload)
    with pytest.raises(CatalogError, match="stored catalog"):
        Catalog.load(stored)
