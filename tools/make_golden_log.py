"""Write the golden files of the record log's formats: ``python tools/make_golden_log.py [FOLDER]``.

Keys, salts and entries are fixed, so the same bytes come out on every machine; ``tests/tlog/test_golden.py`` compares
them with ``tests/data/tlog``. Run it again only when a format was changed on purpose, under a new version.

| file | what |
|---|---|
| ``shared.msgpack`` ``row.bin`` ``extra.msgpack`` | record 41, see ``tlog/entry.py`` |
| ``hashes.txt`` | what is hashed from it, in hex |
| ``log.key`` ``checkpoint.100`` ``checkpoint.300`` | verifier key, signed notes |
| ``head`` | head file after the two checkpoints |
| ``record.tlog-proof`` | the record's proof in the tree of 300 |
| ``consistency.txt`` | path from 100 to 300 entries, base64 |
| ``export/`` | tiles of 300 entries, exported at 100 and at 300 |
"""

from __future__ import annotations

import base64
import sys
from pathlib import Path

REPOSITORY = Path(__file__).parents[1]
sys.path.insert(0, str(REPOSITORY / "tests" / "tlog"))

from memory_log import KEY, MemoryLog, entries_of, record_parts  # noqa: E402
from shared_fields import DISCLOSURE_KEY, RECORD, SHARED  # noqa: E402

from hub.tlog import tree  # noqa: E402
from hub.tlog.checkpoint import HeadFile  # noqa: E402
from hub.tlog.entry import encode_extra, encode_shared, hash_leaf, hash_shared, subject_tag  # noqa: E402
from hub.tlog.proof import Proof  # noqa: E402
from hub.tlog.tiles import export_tiles  # noqa: E402

INDEX, OLD, SIZE = 41, 100, 300


def write_golden(folder: Path) -> None:
    """Write all golden files into an empty folder."""
    shared = encode_shared(SHARED)
    salt, row, entry = record_parts(shared, 0, DISCLOSURE_KEY)
    entries = entries_of(SIZE)
    entries[INDEX] = entry
    log = MemoryLog(entries[:OLD])
    head = HeadFile(folder / "head")
    for size in (OLD, SIZE):
        log.append(entries[log.size : size])
        (folder / f"checkpoint.{size}").write_text(log.checkpoint, encoding="utf-8")
        head.write(size, log.checkpoint)
        export_tiles(log, folder / "export")
    head.close()
    proof = Proof(
        INDEX, tree.inclusion_path(log, INDEX, SIZE),
        checkpoint=log.checkpoint, record=RECORD, salt=salt, shared=shared, row=row,
    )  # fmt: skip
    (folder / "shared.msgpack").write_bytes(shared)
    (folder / "row.bin").write_bytes(row)
    (folder / "extra.msgpack").write_bytes(encode_extra(salt, shared, row))
    hashes = {
        "disclosure key": DISCLOSURE_KEY, "salt": salt, "subject tag": subject_tag(salt, DISCLOSURE_KEY),
        "shared": hash_shared(shared), "entry": entry, "leaf": hash_leaf(entry), "root": tree.root(log, SIZE),
    }  # fmt: skip
    (folder / "hashes.txt").write_text("".join(f"{name}: {value.hex()}\n" for name, value in hashes.items()))
    (folder / "log.key").write_text(KEY.verifier_key + "\n")
    (folder / "record.tlog-proof").write_text(proof.text(), encoding="utf-8")
    path = tree.consistency_path(log, OLD, SIZE)
    (folder / "consistency.txt").write_text("".join(base64.b64encode(node).decode() + "\n" for node in path))


if __name__ == "__main__":
    target = Path(sys.argv[1]) if len(sys.argv) > 1 else REPOSITORY / "tests" / "data" / "tlog"
    target.mkdir(parents=True, exist_ok=True)
    if any(target.iterdir()):
        sys.exit(f"{target}: expected an empty folder; remove the old files first")
    write_golden(target)
