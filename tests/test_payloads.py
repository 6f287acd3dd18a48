"""Sealed payloads: only the addressee opens them, and what the hub refuses without opening them."""

from __future__ import annotations

import hashlib
import stat
from pathlib import Path

import nacl.bindings
import nacl.exceptions
import pytest
from hypothesis import given
from hypothesis import strategies as st

import hub
from hub.cli import main
from hub.errors import RequestError, StorageError
from hub.limits import PAYLOAD_BYTES_MAX
from hub.provision import payloads
from hub.provision.payloads import check_payloads, check_sealed

PRIVATE, PUBLIC = hub.new_payload_key()
OTHER_PRIVATE, OTHER_PUBLIC = hub.new_payload_key()
PRIME = 2**255 - 19
LOW_ORDER = [u.to_bytes(32, "little") for u in sorted(payloads._LOW_ORDER)]
NOT_CANONICAL = [u.to_bytes(32, "little") for u in (PRIME, PRIME + 1, PRIME + 18, 9 + 2**255, 2**256 - 1)]
BESIDE = [u.to_bytes(32, "little") for u in (2, 9, 1 << 64, PRIME - 2, PRIME - (1 << 64))]
SECRET = b"resident 00000000017 owes 12,300 yen"


def fits(public_key: bytes, payload: bytes) -> bool:
    try:
        check_sealed(public_key, payload)
    except RequestError:
        return False
    return True


@pytest.mark.parametrize("size", [0, 1, 1_000, payloads.DATA_BYTES_MAX])
def test_only_the_holder_of_the_private_key_opens_an_envelope(size: int) -> None:
    sealed = hub.seal_payload(PUBLIC, bytes(size))
    assert len(sealed) == 68 + size
    assert hub.open_payload(PRIVATE, sealed) == bytes(size)
    with pytest.raises(RequestError, match="for another"):
        hub.open_payload(OTHER_PRIVATE, sealed)


def test_one_byte_more_than_an_envelope_holds_is_refused() -> None:
    assert len(hub.seal_payload(PUBLIC, bytes(payloads.DATA_BYTES_MAX))) == PAYLOAD_BYTES_MAX
    with pytest.raises(RequestError, match="at most"):
        hub.seal_payload(PUBLIC, bytes(payloads.DATA_BYTES_MAX + 1))


def test_an_envelope_has_the_bytes_of_its_table() -> None:
    sealed = hub.seal_payload(PUBLIC, SECRET)
    assert sealed[:4] == b"HSP1"
    assert sealed[4:20] == hashlib.sha256(b"hub/payload-key/1" + PUBLIC).digest()[:16]
    # Opened by libsodium's own function, without ours.
    assert nacl.bindings.crypto_box_seal_open(sealed[20:], PUBLIC, PRIVATE) == SECRET


def test_two_envelopes_of_the_same_answer_have_nothing_in_common_behind_the_head() -> None:
    one, other = hub.seal_payload(PUBLIC, SECRET), hub.seal_payload(PUBLIC, SECRET)
    assert one[:20] == other[:20]
    assert one[20:52] != other[20:52]
    assert one[52:] != other[52:]


@given(st.integers(0, 67 + len(SECRET)), st.integers(1, 255))
def test_an_altered_envelope_is_refused_and_the_error_tells_nothing_of_it(at: int, flip: int) -> None:
    sealed = bytearray(hub.seal_payload(PUBLIC, SECRET))
    sealed[at] ^= flip
    with pytest.raises(RequestError) as refused:
        hub.open_payload(PRIVATE, bytes(sealed))
    assert bytes(sealed).hex()[40:60] not in str(refused.value)
    assert "yen" not in str(refused.value)


@pytest.mark.parametrize(
    "payload",
    [
        b"",
        SECRET,
        b"HSP2" + hub.seal_payload(PUBLIC, SECRET)[4:],
        hub.seal_payload(OTHER_PUBLIC, SECRET),
        hub.seal_payload(PUBLIC, b"")[:-1],
        hub.seal_payload(PUBLIC, bytes(payloads.DATA_BYTES_MAX)) + b"x",
    ],
    ids=["nothing", "not sealed", "of another form", "to another key", "cut", "too long"],
)
def test_the_hub_refuses_what_is_not_addressed_to_the_key(payload: bytes) -> None:
    assert not fits(PUBLIC, payload)
    assert check_payloads([payload], PUBLIC) == 0


def test_an_empty_answer_is_accepted_and_one_byte_less_is_not() -> None:
    sealed = hub.seal_payload(PUBLIC, b"")
    assert fits(PUBLIC, sealed)
    assert not fits(PUBLIC, sealed[:-1])


def test_the_listed_points_are_those_that_libsodium_refuses() -> None:
    for point in LOW_ORDER:
        with pytest.raises(nacl.exceptions.RuntimeError):
            nacl.bindings.crypto_scalarmult(PRIVATE, point)


@pytest.mark.parametrize("point", [*LOW_ORDER, *NOT_CANONICAL])
def test_a_sender_key_that_is_no_key_is_refused(point: bytes) -> None:
    sealed = hub.seal_payload(PUBLIC, SECRET)
    forged = sealed[:20] + point + sealed[52:]
    assert not fits(PUBLIC, forged)
    assert check_payloads([sealed, forged, sealed], PUBLIC) == 1
    with pytest.raises(RequestError):
        hub.seal_payload(point, SECRET)


@given(st.lists(st.sampled_from(LOW_ORDER + NOT_CANONICAL + BESIDE) | st.binary(min_size=32, max_size=32), max_size=8))
def test_many_sender_keys_are_judged_as_one_by_one(points: list[bytes]) -> None:
    sealed = hub.seal_payload(PUBLIC, SECRET)
    rows = [sealed[:20] + point + sealed[52:] for point in points]
    expected = next((row for row, one in enumerate(rows) if not fits(PUBLIC, one)), None)
    assert check_payloads(list(rows), PUBLIC) == expected


@pytest.mark.parametrize("point", BESIDE)
def test_a_key_beside_those_is_one(point: bytes) -> None:
    sealed = hub.seal_payload(point, SECRET)
    assert check_payloads([sealed[:20] + point + sealed[52:]], point) is None


def test_the_first_bad_row_is_named_whatever_is_wrong_with_it() -> None:
    good = hub.seal_payload(PUBLIC, SECRET)
    no_point = good[:20] + bytes(32) + good[52:]
    assert check_payloads([None, good, None, good], PUBLIC) is None
    assert check_payloads([], PUBLIC) is None
    assert check_payloads([None, no_point, SECRET], PUBLIC) == 1
    assert check_payloads([None, SECRET, no_point], PUBLIC) == 1
    assert check_payloads([good, "text"], PUBLIC) == 1  # type: ignore[list-item]


def test_without_a_key_only_the_bound_counts() -> None:
    assert check_payloads([b"", None, SECRET, bytes(PAYLOAD_BYTES_MAX)], None) is None
    assert check_payloads([b"", bytes(PAYLOAD_BYTES_MAX + 1)], None) == 1


@pytest.mark.parametrize("key", [b"", bytes(31), bytes(33), "x" * 32, None])
def test_what_is_no_key_is_refused(key: object) -> None:
    with pytest.raises(RequestError, match="32 bytes"):
        hub.seal_payload(key, SECRET)  # type: ignore[arg-type]
    with pytest.raises(RequestError, match="32 bytes"):
        hub.open_payload(key, hub.seal_payload(PUBLIC, SECRET))  # type: ignore[arg-type]


# Registered keys


def test_a_registered_key_is_found_after_reopening_and_can_be_replaced_and_removed(tmp_path: Path) -> None:
    with hub.open(tmp_path / "hub", create=True) as h:
        assert h.payload_key("nenkin") is None
        h.register_key("nenkin", PUBLIC, clerk="sato")
        h.register_key("131016", OTHER_PUBLIC)
    with hub.open(tmp_path / "hub") as h:
        assert (h.payload_key("nenkin"), h.payload_key("131016")) == (PUBLIC, OTHER_PUBLIC)
        h.register_key("nenkin", OTHER_PUBLIC, clerk="suzuki")
        assert h.payload_key("nenkin") == OTHER_PUBLIC
        h.register_key("nenkin", None, clerk="sato")
        assert h.payload_key("nenkin") is None
        assert [(event.kind.name, event.institution, event.clerk) for event in h.events()] == [
            ("KEY_REGISTERED", "nenkin", "sato"),
            ("KEY_REGISTERED", "131016", None),
            ("KEY_REGISTERED", "nenkin", "suzuki"),
            ("KEY_REMOVED", "nenkin", "sato"),
        ]
        assert h.verify().ok


def test_the_same_key_again_changes_nothing(opened: hub.Hub) -> None:
    opened.register_key("nenkin", PUBLIC, clerk="sato")
    commits = opened.stats()["commits"]
    opened.register_key("nenkin", PUBLIC, clerk="suzuki")
    opened.register_key("131016", None, clerk="suzuki")
    assert opened.stats()["commits"] == commits
    assert len(opened.events()) == 1


def test_a_key_is_not_removed_by_nobody(opened: hub.Hub) -> None:
    opened.register_key("nenkin", PUBLIC)
    for bad in (lambda: opened.register_key("nenkin", None), lambda: opened.register_key("nenkin", None, clerk=" ")):
        with pytest.raises(RequestError, match="clerk"):
            bad()
    for key in (bytes(31), bytes(32), LOW_ORDER[2], "x"):
        with pytest.raises(RequestError, match="public_key"):
            opened.register_key("nenkin", key)  # type: ignore[arg-type]
    with pytest.raises(RequestError, match="institution"):
        opened.register_key("nobody", PUBLIC)
    assert opened.payload_key("nenkin") == PUBLIC


def test_a_key_that_was_lost_is_noticed_not_taken_for_none(opened: hub.Hub) -> None:
    opened.register_key("nenkin", PUBLIC)
    name = opened._store.databases["payloadkeys"]
    env = opened._store.env
    assert env is not None
    with env.begin(write=True) as txn:
        txn.drop(name, delete=False)
    opened._store._renew = True
    opened._store._compared.clear()
    with pytest.raises(StorageError, match="payloadkeys"):
        opened.payload_key("nenkin")


def test_the_command_makes_registers_shows_and_removes(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder, file = str(tmp_path / "hub"), tmp_path / "nenkin.key"
    assert main(["init", folder]) == 0
    assert main(["key", "show", folder, "nenkin"]) == 1
    capsys.readouterr()
    assert main(["key", "new", str(file)]) == 0
    public = capsys.readouterr().out.strip()
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    assert main(["key", "register", folder, "nenkin", public, "--clerk", "sato"]) == 0
    capsys.readouterr()
    assert main(["key", "show", folder, "nenkin"]) == 0
    assert capsys.readouterr().out.strip() == public
    assert hub.open_payload(file.read_bytes(), hub.seal_payload(bytes.fromhex(public), SECRET)) == SECRET
    assert main(["key", "new", str(file)]) == 2
    assert main(["key", "register", folder, "nenkin", "nothex"]) == 2
    with pytest.raises(SystemExit):
        main(["key", "remove", folder, "nenkin"])
    assert main(["key", "remove", folder, "nenkin", "--clerk", "sato"]) == 0
    assert main(["key", "show", folder, "nenkin"]) == 1
