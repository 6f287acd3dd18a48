"""A second reader of a folder's stored bytes, written from the byte tables of the docstrings and docs/log.md alone.

It imports nothing of ``hub``. ``read`` takes databases as dicts of bytes and raises ``Damaged`` where anything does not
fit; a new database gets a function of its own in ``READERS``.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import struct
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec
import xxhash
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.ciphers import Cipher, algorithms, modes

Values = dict[bytes, bytes]
M64 = (1 << 64) - 1
KEY_NAMES = ("identifiers", "disclosure", "cursors", "log")


class Damaged(Exception):
    """Stored bytes are not what their table says."""


def expect(fits: bool, what: str) -> None:
    if not fits:
        raise Damaged(what)


def unpack(text: str) -> bytes:
    """Hex, in which ``.n.`` stands for n bytes of zeros."""
    parts = text.split(".")
    return b"".join(bytes(int(part)) if at % 2 else bytes.fromhex(part) for at, part in enumerate(parts))


def load(folder: Path) -> dict[str, Values]:
    """The golden files, by database; keys and files under ``keys`` and ``files``."""
    found: dict[str, Values] = {}
    for path in sorted(folder.glob("*.txt")):
        name = path.name.removesuffix(".txt")
        lines = [line.split(" ") for line in path.read_text(encoding="utf-8").splitlines()]
        text = name in ("keys", "files")
        found[name] = {(key.encode() if text else bytes.fromhex(key)): unpack(value) for key, value in lines}
    return found


def sha256(*parts: bytes) -> bytes:
    return hashlib.sha256(b"".join(parts)).digest()


def aes(key: bytes, block: bytes) -> bytes:
    return Cipher(algorithms.AES(key), modes.ECB()).encryptor().update(block)


def ctr(key: bytes, counter: bytes, data: bytes) -> bytes:
    return Cipher(algorithms.AES(key), modes.CTR(counter)).encryptor().update(data)


def canonical64(text: str) -> bytes:
    raw = base64.b64decode(text, validate=True)
    expect(base64.b64encode(raw).decode() == text, "base64")
    return raw


class Reader:
    """Everything that was read, from the bytes of one folder."""

    def __init__(self, databases: dict[str, Values]) -> None:
        self.db = databases
        files = {name.decode().removeprefix("keys/"): key for name, key in databases["keys"].items()}
        self.keys = {name.removesuffix(".key"): key for name, key in files.items()}
        self.records: list[dict[str, Any]] = []
        self.entries: list[bytes] = []
        self.leaves: list[bytes] = []
        self.tables: dict[tuple[int, int], dict[bytes, bytes]] = {}
        self.roots: dict[int, bytes] = {}
        for name in databases:
            reader = READERS.get(name.split(".")[0])
            if reader is None:
                raise Damaged(f"no reader for {name}")
        for name, reader in READERS.items():
            for database in databases:
                if database.split(".")[0] == name:
                    reader(self, database)

    def unseal(self, name: str, key: bytes, value: bytes) -> bytes:
        """Sealed: u64 xxh3-64 of name, 0, length of the key in decimal, 0, key, body; then the body."""
        head = name.encode() + b"\0" + str(len(key)).encode() + b"\0"
        expect(value[:8] == struct.pack("<Q", xxhash.xxh3_64_intdigest(head + key + value[8:])), f"{name}: sum")
        return value[8:]

    def opened(self, name: str) -> list[tuple[bytes, bytes]]:
        return [(key, self.unseal(name, key, value)) for key, value in sorted(self.db[name].items())]

    def period_key(self, period: int, use: str) -> bytes:
        name = f"periods/{period // 4:04}Q{period % 4 + 1}"
        expect(name in self.keys, "period key")
        return hmac.digest(self.keys[name], f"hub/period/{use}/1".encode(), "sha256")

    def person_key(self, period: int, person: int) -> int:
        return int.from_bytes(aes(self.period_key(period, "persons"), struct.pack("<I12x", person))[:8], "little")

    def disclosure_key(self, person: int) -> bytes:
        return aes(self.keys["disclosure"], struct.pack("<I12x", person))

    def pseudonym(self, code: str) -> bytes:
        key = hmac.digest(self.keys["identifiers"], b"hub/namespace/resident-record-code", "sha256")
        return aes(key, (bytes([len(code)]) + code.encode()).ljust(16, b"\0"))

    def cursor(self, person: int, index: int) -> str:
        body = struct.pack(">Q", index)
        return (body + hmac.digest(self.keys["cursors"], struct.pack(">I", person) + body, "sha256")[:8]).hex()

    # -- databases, in the order in which they are read

    def read_meta(self, name: str) -> None:
        meta = dict(self.opened(name))
        form, self.made_at, fingerprint = msgspec.msgpack.decode(meta[b"format"])
        expect(form == 2, "format")
        expect(fingerprint == sha256(b"hub/keys/2", *(self.keys[n] for n in KEY_NAMES))[:16], "fingerprint")
        self.state = msgspec.msgpack.decode(meta[b"state"])
        self.origin, self.catalog = meta[b"origin"].decode(), meta[b"catalog"].decode()
        self.counts = {int.from_bytes(k[5:], "big"): int.from_bytes(v, "little") for k, v in meta.items() if len(k) == 9
                       and k[:5] == b"count"}  # fmt: skip
        public = Ed25519PrivateKey.from_private_bytes(self.keys["log"]).public_key()
        self.public = public
        self.key_id = sha256(self.origin.encode(), b"\n\x01", public.public_bytes_raw())[:4]
        key = base64.b64encode(b"\x01" + public.public_bytes_raw()).decode()
        self.verifier_key = f"{self.origin}+{self.key_id.hex()}+{key}"

    def read_catalogs(self, name: str) -> None:
        self.institutions: dict[int, str] = {}
        for key, body in self.opened(name):
            magic, digest, length = struct.unpack_from(">16s32sQ", body)
            payload = zlib.decompress(body[56:])
            expect(magic == b"hub/catalog/1\0\0\0" and digest == key == sha256(payload), "catalog")
            expect(length == len(payload), "catalog length")
            if key.hex() == self.catalog:
                self.institutions = {one[0]: one[1] for one in msgspec.msgpack.decode(payload)[3]}
        self.numbers = {code: number for number, code in self.institutions.items()}

    def read_tables(self, name: str) -> None:
        held: dict[int, int] = {}
        for key, value in self.db[name].items():
            total, magic, table, prefix, depth, pages, kind, zero, generation, n = struct.unpack_from(
                "<Q4sIIBBBBQI", value
            )
            expect(total == xxhash.xxh3_64_intdigest(value[8:]) and magic == b"HAB2", "block sum")
            expect(key == struct.pack(">II", table, prefix) and kind == table & 1 and zero == 0, "block place")
            expect(len(value) == 4096 * pages - 16 and generation <= self.state["commit"], "block size")
            held[table] = held.get(table, 0) + (1 << 32 - depth)
            buckets = [value[at : at + 64] for at in range(48, len(value), 64)]
            entries = [(place, e) for place, bucket in enumerate(buckets) for e in bucket_entries(bucket)]
            expect(len(entries) == n, "block entries")
            for place, (alias, person, _) in entries:
                mixed = int.from_bytes(alias[:8], "little") if kind == 0 else mix(person)
                expect(depth == 0 or mixed >> 64 - depth == prefix >> 32 - depth, "prefix")
                at, passed = (mixed & 0xFFFFFFFF) * len(buckets) >> 32, 4 << ((mixed & 0xFFFF) * 6 >> 16)
                while at != place:
                    expect(buckets[at][63] & 3 == 3 and bool(buckets[at][63] & passed), "passed")
                    at = (at + 1) % len(buckets)
                half = self.tables.setdefault((table >> 1, kind), {})
                half[alias if kind == 0 else struct.pack("<I", person)] = (
                    struct.pack("<I", person) if kind == 0 else alias
                )
        expect(all(size == 1 << 32 for size in held.values()), "blocks cover the hashes")

    def read_changes(self, name: str) -> None:
        for key, body in self.opened(name):
            expect(int.from_bytes(key, "big") <= self.state["tables_commit"], "changes")
            for table, prefix, _ in msgspec.msgpack.decode(body):
                expect(struct.pack(">II", table, prefix) in self.db["tables"], "changed block")

    def read_pending(self, name: str) -> None:
        self.pending: dict[int, list[tuple[bytes, int]]] = {}
        for _, body in self.opened(name):
            number, n, seeded, consecutive = struct.unpack_from("<IIBB", body)
            at = 16 + (48 if seeded else 16 * n)
            stream = ctr(body[16:48], body[48:64], bytes(16 * n)) if seeded else body[16:at]
            persons = struct.unpack_from("<I" if consecutive else f"<{n}I", body, at)
            expect(len(body) == at + 4 * len(persons), "pending length")
            who = range(persons[0], persons[0] + n) if consecutive else persons
            self.pending.setdefault(number, []).extend((stream[16 * i : 16 * i + 16], p) for i, p in enumerate(who))

    def read_records(self, name: str) -> None:
        for key, value in sorted(self.db[name].items()):
            total, magic, n, first, generation, time, s, period, zero, nonce, zero2 = struct.unpack_from(
                "<Q4sIQQqIHH12sI", value
            )
            sums_at = (64 + s + 7) // 8 * 8
            rows_at = sums_at + 8 * -(-n // 256)
            expect(total == xxhash.xxh3_64_intdigest(b"records\0" + key + value[8:rows_at]), "chunk sum")
            expect(magic == b"HRC2" and key == struct.pack(">Q", first) and first == len(self.records), "chunk")
            expect(zero == zero2 == 0 and len(value) == rows_at + 16 * n, "chunk length")
            expect(generation <= self.state["commit"] and time <= self.state["time"], "chunk time")
            for piece in range(-(-n // 256)):
                rows = value[rows_at + 4096 * piece : rows_at + 4096 * (piece + 1)]
                stored = struct.unpack_from("<Q", value, sums_at + 8 * piece)[0]
                expect(stored == xxhash.xxh3_64_intdigest(rows), "rows sum")
            counter = nonce + bytes(4)
            fields = msgspec.msgpack.decode(ctr(self.period_key(period, "fields"), counter, value[64 : 64 + s]))
            plain = ctr(self.period_key(period, "rows"), counter, value[rows_at:])
            salts = ctr(self.period_key(period, "salts"), counter, bytes(16 * n))
            self.add_chunk(period, fields, plain, salts)
        expect(len(self.records) == self.state["records"], "records")

    def add_chunk(self, period: int, fields: Any, plain: bytes, salts: bytes) -> None:
        encoded, times, blind, supervised = fields
        shared = [msgspec.msgpack.decode(one) for one in encoded]
        for at, one in enumerate(shared):
            mine = supervised[at if len(supervised) > 1 else 0]
            expect(one[13] == sha256(b"hub/supervised/1", blind, mine), "supervised")
        last = -1
        for position in range(len(plain) // 16):
            person, provider, decision, outcome, kind = struct.unpack_from("<IHHBB", plain, 16 * position)
            link = int.from_bytes(plain[16 * position + 10 : 16 * position + 16], "little")
            salt = salts[16 * position : 16 * position + 16]
            tag = sha256(b"hub/subject/1", salt, self.disclosure_key(person))[:16]
            asked, provided = times[decision]
            row = struct.pack("<IBBHqqQ16s", provider, outcome, kind, 0, asked, provided, link, tag)
            self.entries.append(sha256(b"hub/record/1", salt, sha256(b"hub/shared/1", encoded[decision]), row))
            key = self.person_key(period, person)
            expect(key >= last, "order of person keys")
            last = key
            self.records.append({
                "period": period, "person": person, "person_key": key, "kind": kind, "outcome": outcome,
                "provider": provider, "decision": decision, "times": (asked, provided), "shared": shared[decision],
            })  # fmt: skip

    def read_entries(self, name: str) -> None:
        stored = b""
        for key, body in self.opened(name):
            expect(key == struct.pack(">Q", len(stored) // 32), "entries")
            stored += body
        expect(stored == b"".join(self.entries), "entries of their bodies")
        self.leaves = [sha256(b"\0", entry) for entry in self.entries]

    def root(self, first: int, size: int) -> bytes:
        """RFC 6962, 2.1."""
        if size <= 1:
            return self.leaves[first] if size else sha256()
        half = 1 << (size - 1).bit_length() - 1
        return sha256(b"\1", self.root(first, half), self.root(first + half, size - half))

    def read_nodes(self, name: str) -> None:
        ends: dict[int, int] = {}
        for key, body in self.opened(name):
            level, number = struct.unpack(">BQ", key)
            expect(number == ends.get(level, 0) and level % 4 == 0 < level, "nodes follow each other")
            for at in range(len(body) // 32):
                expect(body[32 * at : 32 * at + 32] == self.root(number + at << level, 1 << level), "node")
            ends[level] = number + len(body) // 32
        size, first, peaks = len(self.leaves), 0, []
        expect(ends == {level: size >> level for level in (4, 8, 12, 16) if size >> level}, "nodes")
        for bit in range(size.bit_length() - 1, -1, -1):
            if size >> bit & 1:
                peaks.append(self.root(first, 1 << bit))
                first += 1 << bit
        expect(peaks == self.state["peaks"], "peaks")

    def check_note(self, note: str) -> int:
        text, _, signature = note.partition("\n\n")
        origin, size, root = text.split("\n")
        expect(signature.startswith(f"— {self.origin} ") and signature[-1] == "\n", "note")
        raw = canonical64(signature.split(" ")[2][:-1])
        expect(raw[:4] == self.key_id and origin == self.origin, "key id")
        try:
            self.public.verify(raw[4:], (text + "\n").encode())
        except InvalidSignature:
            raise Damaged("signature") from None
        expect(canonical64(root) == self.root(0, int(size)), "signed root")
        return int(size)

    def read_checkpoints(self, name: str) -> None:
        self.kept: dict[str, int | None] = {}
        for key, body in self.opened(name):
            kind, place = struct.unpack(">BQ", key)
            time = struct.unpack_from("<q", body)[0]
            expect(place == time // (60, 3600, 86400)[kind], "checkpoint's place")
            self.check_note(body[8:].decode())
            self.kept[body[8:].decode()] = time

    def read_files(self, name: str) -> None:
        head, exported = self.db[name][b"head"], self.db[name][b"exported"]
        expect(len(head) == 8192, "head")
        notes = {}
        for slot in (head[:4096], head[4096:]):
            total, n = struct.unpack_from("<QI", slot)
            expect(total == xxhash.xxh3_64_intdigest(slot[8:]) and not any(slot[12 + n :]), "head slot")
            note = slot[12 : 12 + n].decode()
            notes[self.check_note(note)] = note
        self.checkpoint = notes[max(notes)]
        expect(max(notes) == self.state["records"], "head's size")
        *lines, rest = exported.decode().split("\n")
        expect(not rest, "exported: cut")
        for line in lines:
            length, text = line.split(" ")
            expect(int(length) == len(text), "exported")
            note = canonical64(text).decode()
            self.check_note(note)
            self.kept.setdefault(note, None)

    def read_rundir(self, name: str) -> None:
        runs, merges, nobodys = [], [], []
        for key, body in self.opened(name):
            period = int.from_bytes(key[1:3], "big")
            if key[0] == 1:
                runs.append((period, int.from_bytes(key[3:], "big"), body))
            elif key[0] == 2:
                merges.append((period, int.from_bytes(key[3:], "big"), body))
            else:
                expect(key[0] == 3 and len(key) == 15 and not body, "leftover")
                nobodys.append(key[1:])
        blocks = {key: self.unseal("runs", key, value) for key, value in self.db["runs"].items()}
        used: set[bytes] = set()
        self.found: dict[tuple[int, int], list[int]] = {}
        sizes = {}
        for period, first, body in runs:
            last, n, count, k, o, _, low, high = struct.unpack_from("<QIIBBB5xqq", body)
            sizes[period, first] = n
            head = struct.pack(">HQI", period, first, n)
            parts = [blocks[head + struct.pack(">I", b)] for b in range(count)] if count else [body[40:]]
            used |= {head + struct.pack(">I", b) for b in range(count)}
            pairs = self.run_pairs(parts, len(parts), k, o, 0)
            expect(len(pairs) == n and last == first + max(offset for _, offset in pairs), "run")
            times = [self.records[first + offset]["times"][0] for _, offset in pairs]
            expect((min(times), max(times)) == (low, high), "times of a run")
            for key, offset in pairs:
                expect(self.records[first + offset]["person_key"] == key, "key of a run")
                self.found.setdefault((period, key), []).append(first + offset)
        for period, first, body in merges:
            n, count, done, written, k, o, _, inputs = struct.unpack_from("<IIIIBBBxI", body)
            listed = dict(struct.iter_unpack("<QI", body[24:]))
            expect(len(listed) == inputs and sum(listed.values()) == n, "merge")
            expect(all(sizes[period, one] == size for one, size in listed.items()), "merged runs")
            head = struct.pack(">HQI", period, first, n)
            parts = [blocks[head + struct.pack(">I", b)] for b in range(done)]
            used |= {head + struct.pack(">I", b) for b in range(done)}
            pairs = self.run_pairs(parts, count, k, o, 0)
            expect(len(pairs) == written, "merge written")
            expect(all(self.records[first + at]["person_key"] == key for key, at in pairs), "key of a merge")
        expect(all(key in used or key[:14] in nobodys for key in blocks), "blocks of nobody")

    def run_pairs(self, parts: list[bytes], count: int, k: int, o: int, before: int) -> list[tuple[int, int]]:
        pairs: list[tuple[int, int]] = []
        for block, body in enumerate(parts):
            expect(struct.unpack_from("<I", body)[0] == len(pairs) + before, "records before")
            n = (len(body) - 4) // (k + o)
            base = -(-(block << 64) // count)
            keys = [base + int.from_bytes(body[4 + k * i : 4 + k * i + k], "little") for i in range(n)]
            at = 4 + k * n
            offsets = [int.from_bytes(body[at + o * i : at + o * i + o], "little") for i in range(n)]
            expect(keys == sorted(keys) and all(key * count >> 64 == block for key in keys), "keys of a block")
            pairs += zip(keys, offsets if o else range(len(pairs), len(pairs) + n), strict=True)
        return pairs

    def read_requests(self, name: str) -> None:
        self.requests: dict[bytes, Any] = getattr(self, "requests", {})
        for key, body in self.opened(name):
            part = int.from_bytes(key[16:], "big")
            self.requests[key[:16], part] = msgspec.msgpack.decode(body) if part in (0, 2**32 - 1) else body

    def answer(self, requester: str, request_id: str) -> dict[str, Any] | None:
        """Status, rule, reason of each row, or None where nothing is kept (any more)."""
        key = sha256(b"hub/request-id/1", requester.encode(), b"\0", request_id.encode())[:16]
        if (key, 0) not in self.requests:
            return None
        _, rows, chunk_rows, received, inquiry, _, _, rule, reason = self.requests[key, 0]
        status: list[int] = []
        decisions: list[int] = []
        for chunk in range(-(-rows // chunk_rows)):
            body = self.requests[key, chunk + 1]
            n = (len(body) - 8) // 5
            first = struct.unpack_from("<Q", body)[0]
            stored, picked = body[8 : 8 + n], struct.unpack_from(f"<{n}H", body, 8 + n)
            for one, decision, place in zip(stored, picked, struct.unpack_from(f"<{n}H", body, 8 + 3 * n), strict=True):
                record = None if one & 0x80 else self.records[first + place]
                expect(record is None or (record["outcome"], record["decision"]) == (one, decision), "row's record")
                expect(record is None or record["shared"][1] == inquiry, "record's inquiry")
            status += [one & 0x7F for one in stored]
            decisions += picked
        return {"received_at": received, "status": status, "rule": [rule[d] for d in decisions],
                "reason": [reason[d] for d in decisions]}  # fmt: skip

    def history(self, person: int) -> list[list[Any]]:
        """A person's records, newest first, found by the runs."""
        periods = {period for period, _ in self.found}
        indexes = [i for p in periods for i in self.found.get((p, self.person_key(p, person)), [])]
        return [self.line(i) for i in sorted(indexes, reverse=True) if self.records[i]["person"] == person]

    def line(self, index: int) -> list[Any]:
        one = self.records[index]
        shared = one["shared"]
        asked, provided = one["times"]
        return [index, one["kind"], asked, provided or None, shared[2], shared[3], self.institutions[one["provider"]],
                shared[4], shared[5], shared[6], shared[7], shared[12], one["outcome"], shared[1].hex()]  # fmt: skip


def bucket_entries(bucket: bytes) -> list[tuple[bytes, int, int]]:
    used = bucket[63] & 3
    aliases = [bucket[8 * i : 8 * i + 8] + bucket[24 + 8 * i : 32 + 8 * i] for i in range(used)]
    return list(zip(aliases, struct.unpack_from("<3I", bucket, 48), bucket[60:63], strict=False))


def mix(person: int) -> int:
    x = person * 0x9E3779B97F4A7C15 & M64
    x = (x ^ x >> 32) * 0xD6E8FEB86659FD93 & M64
    return x ^ x >> 29


def read_nothing(reader: Reader, name: str) -> None:
    """Read with what it belongs to."""


READERS: dict[str, Callable[[Reader, str], None]] = {
    "keys": read_nothing, "meta": Reader.read_meta, "catalogs": Reader.read_catalogs, "tables": Reader.read_tables,
    "changes": Reader.read_changes, "pending": Reader.read_pending, "records": Reader.read_records,
    "entries": Reader.read_entries, "nodes": Reader.read_nodes, "checkpoints": Reader.read_checkpoints,
    "files": Reader.read_files, "rundir": Reader.read_rundir, "runs": read_nothing, "requests": Reader.read_requests,
}  # fmt: skip
