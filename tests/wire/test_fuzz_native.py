"""What is read natively of a single inquiry is what the general way reads of it; all else is left to that."""

from __future__ import annotations

from random import Random, SystemRandom
from typing import Any

import msgspec

from fuzz_arguments import Pools
from fuzz_frames import Maker, damage, widen
from hub._wire import read_single
from hub.wire.frames import FrameError
from hub.wire.methods import REQUEST_DECODERS
from hub.wire.words import Call, decode_from_client

MESSAGES = 60_000
TOWNS = ["131016", "131024", "011002"]


def read_generally(message: bytes) -> Any:
    """Number, institution, words, alias, provider and consent, by msgspec; None where it is refused or another call."""
    try:
        call = decode_from_client(memoryview(message))
        if not isinstance(call, Call) or call.method != "inquire" or call.progress or call.size != len(call.body):
            return None
        given = REQUEST_DECODERS["inquire"].decode(call.body)
    except (msgspec.DecodeError, UnicodeDecodeError, FrameError):
        return None
    consents = given.consents
    if isinstance(consents, memoryview):
        consents = consents.tobytes()
    return call.number, call.institution, given.inquiry, given.aliases.tobytes(), given.providers, consents


def compare(message: bytes) -> bool:
    """Whether it was read natively; then it must be what the general way reads."""
    native = read_single(message)
    if native is None:
        return False
    number, institution, before, after, request_id, alias, provider, consent = native
    found = read_generally(message)
    if found is None:
        # Its words, or a code, are refused there: whoever looks them up by their bytes does not know them.
        return True
    assert found[0] == number
    assert msgspec.msgpack.encode(found[1]) == institution
    assert found[2].request_id.encode() == request_id
    words = msgspec.msgpack.encode(found[2])
    assert before + msgspec.msgpack.encode(found[2].request_id) + after == words
    assert found[3] == alias
    codes, places = found[4].codes, found[4].numbers.tobytes()
    if codes:
        assert msgspec.msgpack.encode(codes[0]) == provider
        assert places in (b"", bytes(4))
    else:
        assert b"\xc4\x04" + places == provider
    assert bool(consent) == (found[5] is True or found[5] == b"\1")
    return True


def test_damaged_single_inquiries_are_read_alike_or_left() -> None:
    seed = SystemRandom().randrange(1 << 30)
    print("seed", seed)
    random = Random(seed)
    aliases = {name: [random.randbytes(16) for _ in range(4)] for name in ("nenkin", "portal", *TOWNS)}
    pools = Pools(aliases, ["00000000017"])
    maker = Maker(random, pools)
    taken = other = 0
    message = maker.single()[5:]
    for _ in range(MESSAGES):
        before, message = message, maker.single()[5:]
        assert read_single(message) is not None
        damaged = damage(random, message, before)
        if compare(damaged):
            taken += 1
        else:
            other += 1
    assert taken > MESSAGES // 100
    assert other > MESSAGES // 4


def test_longer_forms_go_the_general_way() -> None:
    random = Random(1)
    maker = Maker(random, Pools({name: [bytes(16)] for name in ("nenkin", "portal", *TOWNS)}, ["00000000017"]))
    for _ in range(300):
        message = maker.single()[5:]
        assert compare(message)
        wide = widen(random, msgspec.msgpack.decode(message))
        assert read_single(wide) is None
