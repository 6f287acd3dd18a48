"""The formats are what they were: the golden files, written again, are the same bytes, and still mean the same."""

from __future__ import annotations

import base64
import hashlib
import importlib.util
from pathlib import Path

from metamorphic_log import metamorphic_log as foreign

from hub.tlog.checkpoint import HeadFile
from hub.tlog.verify import verify_checkpoint, verify_consistency, verify_proof

REPOSITORY = Path(__file__).parents[2]
GOLDEN = REPOSITORY / "tests" / "data" / "tlog"


def files_of(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def test_the_golden_files_written_again_are_the_same_bytes(tmp_path: Path) -> None:
    spec = importlib.util.spec_from_file_location("make_golden_log", REPOSITORY / "tools" / "make_golden_log.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    module.write_golden(tmp_path)
    golden, fresh = files_of(GOLDEN), files_of(tmp_path)
    assert sorted(golden) == sorted(fresh)
    for name, content in golden.items():
        assert fresh[name] == content, f"{name} differs"


def test_the_golden_hashes_follow_from_the_golden_bytes() -> None:
    lines = (GOLDEN / "hashes.txt").read_text().splitlines()
    told = {name: bytes.fromhex(value) for name, value in (line.split(": ") for line in lines)}
    shared, row = (GOLDEN / "shared.msgpack").read_bytes(), (GOLDEN / "row.bin").read_bytes()

    def sha256(*parts: bytes) -> bytes:
        return hashlib.sha256(b"".join(parts)).digest()

    assert told["shared"] == sha256(b"hub/shared/1", shared)
    assert told["subject tag"] == row[32:] == sha256(b"hub/subject/1", told["salt"], told["disclosure key"])[:16]
    assert told["entry"] == sha256(b"hub/record/1", told["salt"], told["shared"], row)
    assert told["leaf"] == sha256(b"\0", told["entry"])
    assert (GOLDEN / "export/tile/entries/000").read_bytes()[34 * 41 + 2 : 34 * 42] == told["entry"]
    assert (GOLDEN / "export/tile/0/000").read_bytes()[32 * 41 : 32 * 42] == told["leaf"]


def test_the_golden_proof_and_checkpoints_verify() -> None:
    vkey = (GOLDEN / "log.key").read_text().strip()
    told = dict(line.split(": ") for line in (GOLDEN / "hashes.txt").read_text().splitlines())
    key = bytes.fromhex(told["disclosure key"])
    assert verify_proof((GOLDEN / "record.tlog-proof").read_bytes(), vkey, disclosure_key=key).index == 41
    old, new = ((GOLDEN / f"checkpoint.{size}").read_text() for size in (100, 300))
    first, second = verify_checkpoint(old, vkey), verify_checkpoint(new, vkey)
    path = [base64.b64decode(line) for line in (GOLDEN / "consistency.txt").read_text().splitlines()]
    verify_consistency(first.size, first.root, second.size, second.root, path)
    foreign.checkpoint_verify_consistency(old, new, [vkey], path)
    assert HeadFile(GOLDEN / "head").read() == (300, new)
    assert (GOLDEN / "export/checkpoint").read_text() == new
