"""The four basic attributes: compared, sealed, and what in them differs."""

from __future__ import annotations

import datetime as dt

import msgspec
import pytest

import hub
from hub.errors import RequestError
from hub.limits import CLAIM_BYTES_MAX
from hub.messages import Differs
from hub.mislinks.attributes import (
    PADDED_TO,
    TEXT_CHARS_MAX,
    Attributes,
    People,
    compare_attributes,
    compare_people,
    pack_attributes,
    unpack_attributes,
)
from townsfolk import make_people, spelled_otherwise

ONE = Attributes(
    name="髙橋　花子",
    kana="タカハシ ハナコ",
    address="宮崎県宮崎市霧島1丁目2番地3",
    sex="女",
    birth=dt.date(1975, 1, 2),
)
SAME = Attributes(name="高橋 花子", address="宮崎市霧島1-2-3", sex="2", birth="昭和50年1月2日")


def test_other_spellings_do_not_differ() -> None:
    assert compare_attributes(ONE, SAME) == Differs.NONE
    people = make_people(500)
    others = [spelled_otherwise(one) for one in people]
    assert not compare_people(People.of(people), People.of(others)).any()
    assert not compare_people(People.of(others), People.of(people)).any()


@pytest.mark.parametrize(
    ("change", "differs"),
    [
        ({"name": "高橋 桃子"}, Differs.NAME),
        ({"address": "宮崎市霧島1-2-4"}, Differs.ADDRESS),
        ({"sex": "男"}, Differs.SEX),
        ({"birth": "1975-01-03"}, Differs.BIRTH),
        ({"name": "高橋 桃子", "birth": "2005-01-03"}, Differs.NAME | Differs.BIRTH),
        ({"name": "x", "address": "y", "sex": "男", "birth": "z"}, Differs(15)),
    ],
)
def test_each_attribute_that_differs_is_named(change: dict[str, str], differs: Differs) -> None:
    assert compare_attributes(ONE, msgspec.structs.replace(SAME, **change)) == differs


def test_a_reading_makes_two_ways_to_write_a_name_one() -> None:
    written = msgspec.structs.replace(ONE, name="高橋 華子")
    assert compare_attributes(ONE, written) == Differs.NONE
    assert compare_attributes(ONE, msgspec.structs.replace(written, kana="たかはし\u3000はなこ")) == Differs.NONE
    for kana in (None, "", "タカハシ モモコ"):
        assert compare_attributes(ONE, msgspec.structs.replace(written, kana=kana)) == Differs.NAME


def test_another_reading_makes_no_two_names_of_one() -> None:
    assert compare_attributes(ONE, msgspec.structs.replace(SAME, kana="タカハシ カコ")) == Differs.NONE


def test_what_is_sealed_comes_back() -> None:
    private, public = hub.new_payload_key()
    sealed = ONE.seal(public)
    assert hub.open_attributes(private, sealed) == msgspec.structs.replace(ONE, birth="1975-01-02")
    other, _ = hub.new_payload_key()
    with pytest.raises(RequestError):
        hub.open_attributes(other, sealed)


def test_the_length_of_a_seal_tells_nothing_of_a_name() -> None:
    _, public = hub.new_payload_key()
    lengths = {len(one.seal(public)) for one in make_people(200)}
    assert len(lengths) == 1
    assert lengths.pop() <= CLAIM_BYTES_MAX
    assert len(pack_attributes(SAME)) % PADDED_TO == 0


def test_the_longest_text_is_taken_and_one_character_more_is_not() -> None:
    longest = msgspec.structs.replace(ONE, address="x" * TEXT_CHARS_MAX)
    assert unpack_attributes(pack_attributes(longest)).address == longest.address
    for change in ({"address": "x" * (TEXT_CHARS_MAX + 1)}, {"name": None}, {"sex": 1}, {"kana": 1}):
        with pytest.raises(RequestError, match=next(iter(change))):
            pack_attributes(msgspec.structs.replace(ONE, **change))


def test_four_long_texts_that_do_not_fit_a_claim_are_refused() -> None:
    with pytest.raises(RequestError, match="expected at most 1024 bytes sealed"):
        pack_attributes(msgspec.structs.replace(ONE, name="髙" * 200, address="髙" * 200))


@pytest.mark.parametrize("raw", [b"", b"\x05\x00", bytes(256), b"\x03\x00abc" + bytes(251)])
def test_what_is_no_attributes_is_refused(raw: bytes) -> None:
    with pytest.raises(RequestError):
        unpack_attributes(raw)
    good = pack_attributes(ONE)
    for bad in (good[:-1], good + b"\0", good[:-1] + b"x"):
        with pytest.raises(RequestError):
            unpack_attributes(bad)


def test_no_repr_tells_anything_of_a_person() -> None:
    assert repr(ONE) == "Attributes()"
    assert repr(People.of([ONE])) == "People(rows=1)"
