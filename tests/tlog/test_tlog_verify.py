"""A proof is accepted as it was made, and refused, with its reason, in every other way."""

from __future__ import annotations

import base64
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from memory_log import KEY, OTHER_KEY, OTHER_LOG
from shared_fields import DISCLOSURE_KEY, OTHER_DISCLOSURE_KEY, SHARED, prove_record

import hub
from hub.errors import ProofError
from hub.tlog import verify
from hub.tlog.entry import encode_extra, hash_entry, hash_shared, pack_row, subject_tag

PROOF = prove_record()
TEXT = PROOF.text()
VKEY = KEY.verifier_key


def refused(text: str | bytes, reason: str, **options: object) -> None:
    vkey = options.pop("vkey", VKEY)
    with pytest.raises(ProofError, match=reason) as caught:
        verify.verify_proof(text, vkey, **options)  # type: ignore[arg-type]
    message = str(caught.value)
    assert "\n" not in message
    for word in (SHARED.section, DISCLOSURE_KEY.hex(), PROOF.salt.hex(), "nenkin"):
        assert word not in message


def with_record(salt: bytes = PROOF.salt, shared: bytes = PROOF.shared, row: bytes = PROOF.row) -> str:
    lines = TEXT.split("\n")
    lines[1] = "extra " + base64.b64encode(encode_extra(salt, shared, row)).decode()
    return "\n".join(lines)


def test_a_proof_is_accepted_without_the_disclosure_key() -> None:
    verified = verify.verify_proof(TEXT, VKEY)
    assert (verified.index, verified.leaf, verified.subject_fits) == (41, PROOF.leaf, None)
    assert verified.shared == SHARED
    assert verified.row == (101, 0, 1, 1_790_000_000, 0, 0, subject_tag(PROOF.salt, DISCLOSURE_KEY))
    assert verified.checkpoint.size == 100
    assert repr(verified) == "VerifiedRecord(tree size=100)"


def test_whose_record_it_is_is_said_to_who_holds_the_disclosure_key() -> None:
    assert verify.verify_proof(TEXT.encode(), VKEY, disclosure_key=DISCLOSURE_KEY).subject_fits is True
    refused(TEXT, "another person", disclosure_key=OTHER_DISCLOSURE_KEY)
    refused(TEXT, "disclosure key: expected 16 bytes", disclosure_key=DISCLOSURE_KEY[:15])


def test_a_proof_of_one_entry_has_no_path() -> None:
    proof = prove_record(0, 1)
    assert proof.path == []
    assert verify.verify_proof(proof.text(), VKEY).index == 0


def test_a_changed_record_is_refused() -> None:
    row = pack_row(102, 0, 1, 1_790_000_000, 0, 0, subject_tag(PROOF.salt, DISCLOSURE_KEY))
    refused(with_record(row=row), "the record was changed or is another")
    refused(with_record(salt=bytes(16)), "the record was changed or is another")
    refused(with_record(shared=PROOF.shared.replace("年金".encode(), "税務".encode())), "the record was changed")


def test_another_persons_tag_is_refused_even_without_a_key() -> None:
    row = PROOF.row[:32] + subject_tag(PROOF.salt, OTHER_DISCLOSURE_KEY)
    refused(with_record(row=row), "the record was changed", disclosure_key=OTHER_DISCLOSURE_KEY)


def test_another_record_is_refused() -> None:
    other = prove_record(number=1)
    refused(with_record(other.salt, other.shared, other.row), "the record was changed or is another")


def test_another_tree_is_refused() -> None:
    other = prove_record(seed=1)
    refused(TEXT.replace(PROOF.checkpoint, other.checkpoint), "the path is of another tree")
    larger = prove_record(size=300)
    refused(TEXT.replace(PROOF.checkpoint, larger.checkpoint), "another tree")


@pytest.mark.parametrize("index", [0, 40, 42, 63])
def test_a_moved_index_is_refused(index: int) -> None:
    refused(TEXT.replace("index 41\n", f"index {index}\n"), "the index was moved")


def test_an_index_outside_the_tree_is_refused() -> None:
    refused(TEXT.replace("index 41\n", "index 99\n"), "the index was moved")
    refused(TEXT.replace("index 41\n", "index 100\n"), "index: expected one below")


def test_another_key_or_log_is_refused() -> None:
    refused(TEXT, "another log or key", vkey=OTHER_KEY.verifier_key)
    refused(TEXT, "another log or key", vkey=OTHER_LOG.verifier_key)
    # Another origin under the log's own key: the note opens, the checkpoint is not this log's.
    text = PROOF.checkpoint.rpartition("\n\n")[0].replace("/records", "/others") + "\n"
    signature = base64.b64encode(KEY._id + KEY._key.sign(text.encode())).decode()
    refused(TEXT.replace(PROOF.checkpoint, f"{text}\n— {KEY.origin} {signature}\n"), "another log")


def test_a_changed_checkpoint_is_refused() -> None:
    refused(TEXT.replace("\n100\n", "\n101\n"), "signature does not fit")


def test_every_truncated_proof_is_refused_as_truncated_or_worse() -> None:
    raw = TEXT.encode()
    for length in range(len(raw)):
        with pytest.raises(ProofError):
            verify.verify_proof(raw[:length], VKEY)
    refused(raw[: raw.index(b"\n\n")], "truncated")
    refused(raw[:-1], "truncated")
    refused(raw[:-2], "truncated")
    refused(raw[:10], "truncated")
    refused("", "truncated")
    refused(raw[: raw.index("— ".encode())], "truncated")


@pytest.mark.parametrize("trailing", ["x", "x\n", "\n", "\nx\n", " ", "\0", "\n\n"])
def test_trailing_data_is_refused(trailing: str) -> None:
    refused(TEXT + trailing, "expected")


def test_a_trailing_line_is_named_as_such() -> None:
    refused(TEXT + "more\n", "trailing data")


@pytest.mark.parametrize(
    ("old", "new", "reason"),
    [
        ("c2sp.org/tlog-proof@v1\n", "c2sp.org/tlog-proof@v2\n", "in the first line"),
        ("index 41\n", "index 041\n", "without leading zeros"),
        ("index 41\n", "index -1\n", "without leading zeros"),
        ("index 41\n", "index \uff141\n", "without leading zeros"),
        ("index 41\n", "index 99999999999999999999\n", "without leading zeros"),
        ("index 41\n", "index 9999999999999999999\n", "expected at most"),
        ("index 41\n", "", "index line"),
        ("index 41\n", "index 41\n" + "A" * 43 + "=\n", "hashes for entry"),
        ("index 41\n", "index 41\n" + "A" * 43 + "B\n", "path"),
        ("index 41\n", "index 41\n" + "A" * 42 + "B=\n", "one spelling"),
        ("index 41\n", "index 41\r\n", "control characters"),
        ("index 41\n", "index 41\n" + ("A" * 43 + "=\n") * 70, "at most 63"),
        ("extra ", "extra -", "base64"),
    ],
)
def test_a_malformed_proof_is_refused(old: str, new: str, reason: str) -> None:
    assert old in TEXT
    refused(TEXT.replace(old, new, 1), reason)


def test_a_proof_without_its_record_is_refused() -> None:
    lines = TEXT.split("\n")
    refused("\n".join([lines[0], *lines[2:]]), "extra line")
    refused("\n".join([lines[0], "extra AAAA", *lines[2:]]), "record: extra")
    refused("\n".join([lines[0], "extra ", *lines[2:]]), "record: extra")


def test_what_is_not_text_is_refused() -> None:
    refused(TEXT.encode() + b"\xff\n", "UTF-8")
    refused(TEXT + "\ud800", "UTF-8")
    refused("x" * (verify.PROOF_BYTES_MAX + 1), "at most")
    # The note's own bound, in a proof that is still within its bound.
    refused(TEXT.replace(PROOF.checkpoint, "x" * (verify.NOTE_BYTES_MAX + 1)), "note: expected at most")


@given(st.data())
@settings(deadline=None, max_examples=300)
def test_a_flipped_bit_anywhere_is_refused(data: st.DataObject) -> None:
    raw = bytearray(TEXT.encode())
    at = data.draw(st.integers(0, len(raw) - 1))
    raw[at] ^= 1 << data.draw(st.integers(0, 7))
    with pytest.raises(ProofError):
        verify.verify_proof(bytes(raw), VKEY)


@given(st.binary(max_size=400) | st.text(max_size=400))
def test_any_input_is_refused_in_our_words(text: str | bytes) -> None:
    for read in (verify.parse_proof, verify.read_checkpoint):
        with pytest.raises(ProofError):
            read(text)
    if isinstance(text, str):
        with pytest.raises(ProofError):
            verify.parse_vkey(text)


SIGNATURE = PROOF.checkpoint.rstrip("\n").rpartition("\n")[2] + "\n"
FOREIGN = "— witness.example " + base64.b64encode(bytes(100)).decode() + "\n"


def test_signatures_of_unknown_keys_are_ignored() -> None:
    verify.verify_checkpoint(PROOF.checkpoint + FOREIGN * 20, VKEY)
    # The same name under another id, the same id under another name: neither is this key.
    own = base64.b64decode(SIGNATURE.split()[2])
    same_name = f"— {KEY.origin} {base64.b64encode(bytes(4) + own[4:]).decode()}\n"
    same_id = f"— other.example {base64.b64encode(own[:4] + bytes(64)).decode()}\n"
    verify.verify_checkpoint(PROOF.checkpoint + same_name + same_id, VKEY)
    head = PROOF.checkpoint.removesuffix(SIGNATURE)
    for others in (same_name, same_id, FOREIGN):
        with pytest.raises(ProofError, match="got none"):
            verify.verify_checkpoint(head + others, VKEY)


def test_every_signature_of_the_key_must_verify() -> None:
    verify.verify_checkpoint(PROOF.checkpoint + SIGNATURE, VKEY)
    own = base64.b64decode(SIGNATURE.split()[2])
    forged = f"— {KEY.origin} {base64.b64encode(own[:4] + bytes(64)).decode()}\n"
    for note in (PROOF.checkpoint + forged, PROOF.checkpoint.replace(SIGNATURE, forged)):
        with pytest.raises(ProofError, match="does not fit"):
            verify.verify_checkpoint(note, VKEY)


def test_a_hundred_signatures_are_accepted_and_one_more_refused() -> None:
    verify.verify_checkpoint(PROOF.checkpoint + FOREIGN * 99, VKEY)
    with pytest.raises(ProofError, match="at most 100"):
        verify.verify_checkpoint(PROOF.checkpoint + FOREIGN * 100, VKEY)


@pytest.mark.parametrize(
    "line", ["- x AAAAAAA=", "—x AAAAAAA=", "— x", "— x AAAA", "—  AAAAAAA=", "— a+b AAAAAAA=", "— x AAAAAAA= y", ""]
)
def test_a_malformed_signature_line_is_refused(line: str) -> None:
    with pytest.raises(ProofError):
        verify.verify_checkpoint(PROOF.checkpoint + line + "\n", VKEY)


ROOT = base64.b64encode(bytes(32)).decode()


def test_a_checkpoint_may_have_extension_lines() -> None:
    assert verify.parse_checkpoint(f"o\n0\n{ROOT}\nmore\n") == ("o", 0, bytes(32), ("more",))


@pytest.mark.parametrize(
    "text",
    [
        "", "o\n1\n", f"o\n1\n{ROOT}", f"\n1\n{ROOT}\n", f"o\n01\n{ROOT}\n", f"o\n+1\n{ROOT}\n", f"o\n1 \n{ROOT}\n",
        f"o\n\n{ROOT}\n", f"o\n9223372036854775808\n{ROOT}\n", "o\n1\nAAAA\n", f"o\n1\n{ROOT}\n\n", f"o\n1\n {ROOT}\n",
    ],
)  # fmt: skip
def test_a_malformed_checkpoint_is_refused(text: str) -> None:
    with pytest.raises(ProofError):
        verify.parse_checkpoint(text)


def test_a_verifier_key_is_read_and_its_id_checked() -> None:
    key = verify.parse_vkey(VKEY + "\n")
    assert key.name == "log.example.jp/records"
    name, digits, encoded = VKEY.split("+", 2)
    ed25519_as_cosigner = base64.b64encode(b"\4" + key.public).decode()
    for wrong in ("", name, f"{name}+{digits}", f"other+{digits}+{encoded}", f"{name}+{digits.upper()}x+{encoded}",
                  f"{name}+00000000+{encoded}", f"{name}+{digits}+{ed25519_as_cosigner}", f"+{digits}+{encoded}",
                  f"a b+{digits}+{encoded}", f"{name}+{digits}+{encoded[:-4]}", "x" * 1000):  # fmt: skip
        with pytest.raises(ProofError):
            verify.parse_vkey(wrong)


def test_the_example_of_the_specification_has_the_key_id_of_its_key() -> None:
    # golang.org/x/mod/sumdb: the verifier key of sum.golang.org, published with every Go release.
    go = "sum.golang.org+033de0ae+Ac4zctda0e5eza+HJyk9SxEdh+s3Ux18htTTAD8OuAn8"
    assert verify.parse_vkey(go).name == "sum.golang.org"


def test_the_proof_holds_what_the_hub_promises_and_prints_nothing() -> None:
    assert PROOF.leaf == verify.hash_leaf(hash_entry(PROOF.salt, hash_shared(PROOF.shared), PROOF.row))
    assert repr(PROOF) == "Proof(path=7 hashes)"
    assert repr(verify.parse_proof(TEXT)) == "ParsedProof(path=7 hashes)"


def test_three_files_of_the_package_are_all_that_an_auditor_needs(tmp_path: Path) -> None:
    source = Path(hub.__file__).parent
    (tmp_path / "hub" / "tlog").mkdir(parents=True)
    for empty in ("hub/__init__.py", "hub/tlog/__init__.py"):
        (tmp_path / empty).write_text("")
    for name in ("errors.py", "tlog/entry.py", "tlog/verify.py"):
        shutil.copy(source / name, tmp_path / "hub" / name)
    (tmp_path / "proof").write_text(TEXT)
    script = (
        "import sys; sys.path.insert(0, sys.argv[1]); from hub.tlog.verify import verify_proof; import hub, pathlib;"
        "assert hub.__file__.startswith(sys.argv[1]);"
        "print(verify_proof(pathlib.Path(sys.argv[1], 'proof').read_bytes(), sys.argv[2]).index)"
    )
    done = subprocess.run(
        [sys.executable, "-P", "-c", script, str(tmp_path), VKEY], capture_output=True, text=True, check=False
    )
    assert (done.stdout, done.stderr) == ("41\n", "")
