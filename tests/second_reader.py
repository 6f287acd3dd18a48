"""A second reader of a folder's stored bytes, written from the byte tables of the docstrings and docs/log.md alone.

It imports nothing of ``hub``; the exchange is read by ``second_exchange.py``. ``Reader`` takes databases as dicts of
bytes and raises ``Damaged`` or an error of decryption where anything does not fit; a new database gets a function of
its own in ``READERS``.
"""

from __future__ import annotations

import base64
import hmac
import struct
import zlib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import msgspec
import xxhash
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

import second_consents as consents
import second_exchange as exchange
import second_identity as identity
import second_mislinks as mislinks
import second_sent as sent
from second_basics import Damaged, Values, aes, ctr, expect, sha256

M64 = (1 << 64) - 1
KEY_NAMES = ("identifiers", "disclosure", "cursors", "log")
DERIVED = {"records", "entries", "nodes", "runs"}
UNSEALED = {"keys", "files", "tables", "records"}
"""Files, and what has sums in a layout of its own."""
RESIDENT_CODES = 1 << 23
CORRECTION_ASKED, CORRECTION, CONFIRMATION, ERASURE, PROVISION, LAPSE, RELEASE = 2, 3, 4, 5, 6, 7, 8
PUSH, UPDATE, NOTICE, TAKEN = 9, 10, 11, 12
LINK_CONFIRMED, LINK_REPLACED = 19, 20
STRANGER = "誤って紐付けられていた者"
HELD = 16
NOBODY = 0xFFFFFFFF
CORRECTING = (CORRECTION_ASKED, CORRECTION, CONFIRMATION)
FOLLOWING = (*CORRECTING, PROVISION, LAPSE, UPDATE, TAKEN)
PERSONAL = (16, 17, 18, consents.WITHDRAWN, consents.GIVEN)
"""Views, grants and ends of proxies, and words on consents: between a person and the portal."""


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
        self.flags: dict[tuple[int, bytes], int] = {}
        self.roots: dict[int, bytes] = {}
        self.subtrees: dict[tuple[int, int], bytes] = {}
        for name in databases:
            reader = READERS.get(name.split(".")[0])
            if reader is None:
                raise Damaged(f"no reader for {name}")
        # Every sealed value first: most of what is not as it was written is found before anything is derived.
        for name in databases.keys() - UNSEALED:
            self.opened(name)
        for name, reader in READERS.items():
            for database in databases:
                if database.split(".")[0] == name:
                    reader(self, database)
        self.check_marks()
        self.check_flags()
        self.check_corrections()
        identity.check_identity(self)
        mislinks.check_mislinks(self)
        consents.check_consents(self)

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

    def own_key(self, use: str) -> bytes:
        return hmac.digest(self.keys["identifiers"], f"hub/own/{use}/1".encode(), "sha256")

    def decrypt(self, name: str, period: int, raw: bytes) -> Any:
        """What is encrypted of a value, or None where the period was erased and its key is gone."""
        if period in self.erased and f"periods/{period // 4:04}Q{period % 4 + 1}" not in self.keys:
            return None
        key = self.period_key(period, "marks") if period else self.own_key("marks")
        more = name.encode() + struct.pack("<H", period)
        return msgspec.msgpack.decode(AESGCM(key).decrypt(raw[:12], raw[12:], more))

    def decrypt_held(self, number: int, name: bytes, raw: bytes) -> bytes:
        key = hmac.digest(self.keys[f"holds/{number}"], b"hub/hold/values/1", "sha256")
        return AESGCM(key).decrypt(raw[:12], raw[12:], name)

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
        self.next_draw = int.from_bytes(meta[b"tickets"], "little")
        self.origin, self.catalog = meta[b"origin"].decode(), meta[b"catalog"].decode()
        self.counts = {int.from_bytes(k[5:], "big"): int.from_bytes(v, "little") for k, v in meta.items() if len(k) == 9
                       and k[:5] == b"count"}  # fmt: skip
        self.check_sums(meta)
        public = Ed25519PrivateKey.from_private_bytes(self.keys["log"]).public_key()
        self.public = public
        self.key_id = sha256(self.origin.encode(), b"\n\x01", public.public_bytes_raw())[:4]
        key = base64.b64encode(b"\x01" + public.public_bytes_raw()).decode()
        self.verifier_key = f"{self.origin}+{self.key_id.hex()}+{key}"

    def check_sums(self, meta: Values) -> None:
        """Nothing is missing, and nothing of an earlier commit is in its own place."""
        stored = {key[4:]: int.from_bytes(v, "little") for key, v in meta.items() if key[:4] == b"sums"}
        tables = dict.fromkeys(stored, 0)
        for key, value in self.db["tables"].items():
            expect(key[:4] in tables, "sum of a table")
            tables[key[:4]] += value_sum(key, value)
        expect({table: total & M64 for table, total in tables.items()} == stored, "sums of the tables")
        moving = set(self.db) - DERIVED - {"keys", "files", "tables"}
        sums = {
            one: sum(value_sum(*item) for item in self.db[one].items() if (one, item[0]) != ("meta", b"state")) & M64
            for one in moving
        }
        expect(set(self.state["sums"]) <= moving, "databases with a sum")
        expect(all(self.state["sums"].get(one, 0) == total for one, total in sums.items()), "sums")

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
            for place, (alias, person, flags) in entries:
                mixed = int.from_bytes(alias[:8], "little") if kind == 0 else mix(person)
                expect(depth == 0 or mixed >> 64 - depth == prefix >> 32 - depth, "prefix")
                at, passed = (mixed & 0xFFFFFFFF) * len(buckets) >> 32, 4 << ((mixed & 0xFFFF) * 6 >> 16)
                while at != place:
                    # It was full then; one of its entries may have been removed since.
                    expect(bool(buckets[at][63] & passed), "passed")
                    at = (at + 1) % len(buckets)
                expect(flags < 8 or (kind == 0 and flags in (128, 192)), "flags")
                if flags >= 128:
                    self.flags[table >> 1, alias] = flags
                half = self.tables.setdefault((table >> 1, kind), {})
                half[alias if kind == 0 else struct.pack("<I", person)] = (
                    struct.pack("<I", person) if kind == 0 else alias
                )
        expect(all(size == 1 << 32 for size in held.values()), "blocks cover the hashes")

    def read_tickets(self, name: str) -> None:
        self.tickets: dict[bytes, tuple[int, int, int]] = {}
        self.states: dict[bytes, tuple[int, int]] = {}
        for key, body in self.opened(name):
            institution, n, form, at = struct.unpack_from("<HHB3xq", body)
            expect(len(body) == 16 + 5 * n * (form == 1) and 1 <= n <= 800 and form <= 2 and at > 0, "draw")
            draw = int.from_bytes(key)
            expect(draw < self.next_draw and body[5:8] == bytes(3), "number of a draw")
            persons = struct.unpack_from(f"<{n}I", body, 16) if form == 1 else (0xFFFFFFFF,) * n
            states = body[16 + 4 * n :] if form == 1 else bytes([3 * (form == 2)]) * n
            for position, (person, state) in enumerate(zip(persons, states, strict=True)):
                expect(state <= 5 and (person < self.state["persons"]) == (state in (1, 2)), "ticket")
                self.states[struct.pack(">QH", draw, position)] = state, person
                block = draw.to_bytes(6, "little") + struct.pack("<HIxxxx", institution, position)
                self.tickets[aes(self.own_key("tickets"), block)] = institution, state, person

    def read_claims(self, name: str) -> None:
        self.claims, self.claiming = {}, set()
        for key, body in self.opened(name):
            if len(key) == 2:
                expect(len(body) == 8 and struct.unpack(">H", key)[0] in self.institutions, "who must claim")
                self.claiming.add(self.institutions[struct.unpack(">H", key)[0]])
            else:
                clerk, sealed = self.decrypt(name, 0, body)
                expect(bool(clerk) and len(sealed) <= 1024, "claim")
                self.claims[key] = clerk, sealed
        expect(self.claims.keys() == {key for key, (state, _) in self.states.items() if state == 5}, "claims")

    def read_linked(self, name: str) -> None:
        """What was held waits with its code's pseudonym; what was confirmed or replaced has a record."""
        self.linked = {key: self.decrypt(name, 0, body) for key, body in self.opened(name)}
        for key, (differs, _, pseudonym, confirmed, replaced, old, status) in self.linked.items():
            state, person = self.states[key]
            expect(0 <= differs <= 15 and bool(differs) == bool(confirmed or state == 4), "what differs")
            expect(len(pseudonym) == 16 * (state == 4) and len(old) == 16 * bool(replaced), "link")
            expect(state == 4 or (state in (1, 2) and bool(confirmed or replaced)), "state of a link")
            expect(status in ((1, 2) if replaced else (0,)), "status of a link")
            if confirmed:
                one = self.records[confirmed - 1]
                expect((one["kind"], one["person"], one["outcome"]) == (LINK_CONFIRMED, person, 0), "confirmed")
            if replaced:
                one = self.records[replaced - 1]
                expect(one["kind"] == LINK_REPLACED and one["person"] != person, "replaced")
        expect({key for key, (state, _) in self.states.items() if state == 4} <= set(self.linked), "held")
        told = [event for event in self.events if event[3] in (53, 54)]
        for event in told:
            one = self.records[event[1]]
            expect(one["kind"] == event[3] - 34 and one["shared"][14] == event[7], "event of a link")
        kept = [(index, one["kind"], one["shared"][6]) for index, one in enumerate(self.records) if one]
        tell = [at for at, kind, role in kept if kind == LINK_CONFIRMED or (kind, role) == (LINK_REPLACED, STRANGER)]
        expect(sorted(event[1] for event in told) == tell, "records of links as their events say")

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

    def read_erasures(self, name: str) -> None:
        self.erasures: list[list[int]] = []
        for key, body in self.opened(name):
            one = msgspec.msgpack.decode(body)
            expect(len(one) == 8 and one[0] == 1 and key == struct.pack(">Q", one[2]), "erasure")
            # Oldest first, without a gap.
            expect(one[2] == (self.erasures[-1][3] if self.erasures else 0) < one[3] <= one[4], "erased range")
            self.erasures.append(one)
        self.erased = {one[1] for one in self.erasures}
        end = self.erasures[-1][3] if self.erasures else 0
        self.records = [None] * end

    def check_erasures(self) -> None:
        for _, period, first, end, recorded, begun, done, _ in self.erasures:
            record = self.records[recorded]
            expect(record["kind"] == ERASURE and record["times"] == (begun, 0), "erasure's record")
            expect(done == 0 or begun <= done, "erasure's end")
            said = [f"{period // 4:04}Q{period % 4 + 1}", f"records {first} to {end - 1}"]
            expect(record["shared"][5][:2] == said, "what an erasure's record says")
            expect(f"periods/{said[0]}" not in self.keys, "a shredded key")

    def read_records(self, name: str) -> None:
        self.entries = [b""] * len(self.records)
        self.chunks: dict[int, tuple[int, int]] = {}
        erasing = [0 if done else period for _, period, first, end, _, _, done, _ in self.erasures
                   for _ in range(first, end)]  # fmt: skip
        for key, value in sorted(self.db[name].items()):
            total, magic, n, first, generation, time, s, period, zero, nonce, zero2 = struct.unpack_from(
                "<Q4sIQQqIHH12sI", value
            )
            sums_at = (64 + s + 7) // 8 * 8
            rows_at = sums_at + 8 * -(-n // 256)
            expect(total == xxhash.xxh3_64_intdigest(b"records\0" + key + value[8:rows_at]), "chunk sum")
            expect(magic == b"HRC2" and key == struct.pack(">Q", first), "chunk")
            expect(zero == zero2 == 0 and len(value) == rows_at + 16 * n, "chunk length")
            expect(generation <= self.state["commit"] and time <= self.state["time"], "chunk time")
            for piece in range(-(-n // 256)):
                rows = value[rows_at + 4096 * piece : rows_at + 4096 * (piece + 1)]
                stored = struct.unpack_from("<Q", value, sums_at + 8 * piece)[0]
                expect(stored == xxhash.xxh3_64_intdigest(rows), "rows sum")
            if first < len(erasing):
                # Its erasure is under way: the key is gone already.
                expect(erasing[first] == period and erasing[first + n - 1] == period, "an erased body")
                continue
            expect(first == len(self.records), "chunks follow each other")
            counter = nonce + bytes(4)
            fields = msgspec.msgpack.decode(ctr(self.period_key(period, "fields"), counter, value[64 : 64 + s]))
            plain = ctr(self.period_key(period, "rows"), counter, value[rows_at:])
            salts = ctr(self.period_key(period, "salts"), counter, bytes(16 * n))
            self.chunks[first] = n, period
            self.add_chunk(period, time, fields, plain, salts)
        expect(len(self.records) == self.state["records"], "records")
        self.check_erasures()

    def add_chunk(self, period: int, time: int, fields: Any, plain: bytes, salts: bytes) -> None:
        encoded, times, blind, supervised, moments = fields
        expect(not moments or len(moments) == len(encoded), "moments")
        shared = [msgspec.msgpack.decode(one) for one in encoded]
        for at, one in enumerate(shared):
            mine = supervised[at if len(supervised) > 1 else 0]
            own = sha256(b"hub/blind/1", blind, struct.pack("<I", at))
            expect(one[13] == sha256(b"hub/supervised/1", own, mine), "supervised")
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
                "link": link - 1 if link else None, "moment": moments[decision] if moments else 0, "written": time,
            })  # fmt: skip

    def read_entries(self, name: str) -> None:
        stored = b""
        for key, body in self.opened(name):
            expect(key == struct.pack(">Q", len(stored) // 32), "entries")
            stored += body
        every = [stored[at : at + 32] for at in range(0, len(stored), 32)]
        expect(len(every) == len(self.entries), "as many entries as records")
        # Of erased bodies the entries are all that there is; nodes and signed checkpoints say that they are right.
        expect(all(own in (entry, b"") for own, entry in zip(self.entries, every, strict=True)), "entries of bodies")
        self.entries = every
        self.leaves = [sha256(b"\0", entry) for entry in self.entries]

    def root(self, first: int, size: int) -> bytes:
        """RFC 6962, 2.1."""
        if size <= 1:
            return self.leaves[first] if size else sha256()
        if (first, size) not in self.subtrees:
            half = 1 << (size - 1).bit_length() - 1
            whole = sha256(b"\1", self.root(first, half), self.root(first + half, size - half))
            self.subtrees[first, size] = whole
        return self.subtrees[first, size]

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
        erasing = {one[1] for one in self.erasures if not one[6]}
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
            if period in erasing:
                expect(all(self.is_erased(first + offset) for _, offset in pairs), "run of an erased period")
                continue
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

    def read_marks(self, name: str) -> None:
        self.marks: dict[tuple[int, int], dict[str, Any]] = {}
        self.protections: dict[bytes, dict[str, Any]] = {}
        for key, body in self.opened(name):
            if key[:1] == b"r":
                flags, zero, period, until, judged = struct.unpack_from("<BBHIQ", body)
                inside = self.decrypt(name, period, body[16:])
                index, side = struct.unpack(">QB", key[1:])
                expect(side in (1, 2) and flags <= 3 and zero == 0 and index < len(self.records), "mark")
                expect(inside is None or bool(flags & 2) == (inside[4] is not None), "mark asked to be lifted")
                self.marks[index, side] = {
                    "withheld": bool(flags & 1), "period": period, "until": until, "judged": judged, "inside": inside,
                }  # fmt: skip
            else:
                flags, zeros, since, number = struct.unpack_from("<B7sqQ", body)
                inside = self.decrypt(name, 0, body[24:])
                expect(key == self.protection_key(inside[5]), "place of a protection")
                expect(flags <= 3 and not any(zeros) and bool(flags & 2) == (inside[4] is not None), "protection")
                self.protections[key] = {"on": bool(flags & 1), "since": since, "number": number}

    def protection_key(self, pseudonym: bytes) -> bytes:
        return b"p" + hmac.digest(self.own_key("marks"), pseudonym, "sha256")[:16]

    def read_flagged(self, name: str) -> None:
        self.flagged: dict[tuple[int, int], int] = {}
        for key, body in self.opened(name):
            (person,) = struct.unpack(">I", key)
            entries = list(struct.iter_unpack("<HBB", body))
            numbers = [institution for institution, _, _ in entries]
            expect(bool(numbers) and numbers == sorted(set(numbers)), "flags by institution")
            for institution, flags, zero in entries:
                expect(institution in self.institutions and 1 <= flags <= 15 and zero == 0, "flags")
                expect(person != NOBODY or flags == 8, "an institution that is suspended as a whole")
                self.flagged[person, institution] = flags

    def read_persons(self, name: str) -> None:
        """Who was merged; in the golden store everybody was split again, so that no record has two persons' numbers.

        What was recorded in between by who knew both is nobody's until it is assigned, and nothing was.
        """
        self.between: list[tuple[int, int, frozenset[str]]] = []
        for key, body in self.opened(name):
            into, merges = msgspec.msgpack.decode(body)
            expect(len(key) == 4 and into == 0xFFFFFFFF, "a person")
            for gone, since, until, event, kept, moved, both, flags, holders, assigned in merges:
                expect(struct.pack(">I", gone) in self.db[name] and since <= until <= self.state["records"], "a merge")
                told = next(one for one in self.events if one[0] == event)
                expect((told[3], told[12]) == (40, gone) and kept == sorted(kept) and not assigned, "event of a merge")
                self.between.append((since, until, frozenset(self.institutions[one[0]] for one in both)))
                for number, alias, _ in (*moved, *both):
                    expect(number in self.institutions and len(alias) == 16, "alias of a merge")
                expect(all(0 < one[1] < 16 for one in flags) and all(len(one) == 3 for one in holders), "of a merge")

    def read_deaths(self, name: str) -> None:
        """In the golden store every death was taken back."""
        expect(not self.opened(name), "deaths")

    def read_successions(self, name: str) -> None:
        for key, body in self.opened(name):
            new, zero, _ = struct.unpack("<HHi", body)
            expect(len(key) == 2 and zero == 0 and new in self.institutions, "a successor")

    def check_flags(self) -> None:
        """Flags stand as their events say, which name a person of their institution."""
        told: dict[tuple[int, int], int] = {}
        for event in self.events:
            of_flags = {11: 15, 12: 15, 40: 15, 41: 15, 45: 15, 57: 15, 58: 15, 53: 16, 54: 16}
            fields = 18 if event[3] in (*identity.IDENTIFIERS, *identity.PROXIES) else of_flags.get(event[3], 12)
            expect(len(event) == fields, "fields of an event")
            if event[3] in (11, 12, 57, 58):
                institution, (person, alias, flags) = self.numbers[event[4]], event[12:]
                if event[3] in (57, 58) and person == NOBODY:
                    expect(alias == b"" and flags == (8 if event[3] == 57 else 0), "suspension of everybody")
                    told[person, institution] = flags
                    continue
                known = self.tables[institution, 0][alias]
                expect(known == struct.pack("<I", person), "alias of who is flagged")
                told[person, institution] = flags
        expect({place: flags for place, flags in told.items() if flags} == self.flagged, "flags as their events say")

    def read_events(self, name: str) -> None:
        self.events: list[list[Any]] = []
        for place, (key, body) in enumerate(self.opened(name), 1):
            period, index = struct.unpack_from("<H", body)[0], int.from_bytes(body[2:8], "little") - 1
            expect(key == struct.pack(">Q", place), "events from 1 without a gap")
            expect((index == -1) == (period == 0), "event of no record")
            told = self.decrypt(name, period, body[8:])
            expect(index == -1 or self.is_erased(index) or self.records[index]["period"] == period, "event's period")
            if told is not None:
                self.events.append([place, None if index == -1 else index, *told])

    def check_marks(self) -> None:
        """Marks stand as their events say."""
        marks: dict[tuple[int, int], tuple[Any, ...]] = {}
        protections: dict[int, bool] = {}
        for event in self.events:
            place, index, _, kind, *_, until, side, number, withheld = event[:12]
            if kind in (1, 3, 4):
                marks[index, side] = bool(withheld), until, number
            elif kind in (5, 7):
                expect(kind == 7 or number <= place, "protection's number")
                protections[number] = bool(withheld)
        stand = {}
        for (index, side), mark in self.marks.items():
            if mark["inside"] is None:
                expect(self.is_erased(index), "mark without its key")
                continue
            record = self.records[index]
            party = record["shared"][2] if side == 1 else self.institutions[record["provider"]]
            expect(mark["period"] == record["period"] and mark["inside"][0] == party, "mark of a party")
            expect(side == 1 or provider_is_party(record), "mark of a provider")
            stand[index, side] = mark["withheld"], mark["until"], mark["judged"]
        expect(stand == marks, "marks as their events say")
        for one in self.protections.values():
            expect(protections.pop(one["number"], None) == one["on"], "protections as their events say")
        expect(not any(protections.values()), "a protection of the events")

    def is_erased(self, index: int) -> bool:
        return self.records[index] is None

    def read_corrections(self, name: str) -> None:
        self.corrections: dict[int, Any] = {}
        for key, body in self.opened(name):
            period, waits, zero = struct.unpack_from("<HBB", body)
            standing = self.decrypt(name, period, body[4:])
            index = int.from_bytes(key, "big")
            expect(waits <= 1 and zero == 0, "correction")
            if standing is None:
                expect(self.is_erased(index), "correction without its key")
                continue
            expect(self.records[index]["period"] == period, "correction's period")
            asked, decided = standing
            undecided = {one[0] for one in asked} - {one[1] for one in decided}
            expect(bool(waits) == bool(undecided or any(one[4] for one in decided)), "somebody is waited for")
            self.corrections[index] = standing

    def check_corrections(self) -> None:
        """What was asked, decided and confirmed are the records that follow the original, and the events' number."""
        follow: dict[int, list[int]] = {}
        for index, record in enumerate(self.records):
            if record is not None and record["kind"] in CORRECTING:
                root = self.root_of(index)
                expect(root is None or self.records[root]["person"] == record["person"], "follows another person's")
                if root is not None:
                    follow.setdefault(root, []).append(index)
        expect(follow.keys() == self.corrections.keys(), "corrections of records")
        for root, (asked, decided) in self.corrections.items():
            original, own = self.records[root], follow[root]
            by_kind = {kind: [i for i in own if self.records[i]["kind"] == kind] for kind in CORRECTING}
            expect([one[0] for one in asked] == by_kind[CORRECTION_ASKED], "asked")
            expect([one[0] for one in decided] == by_kind[CORRECTION], "decided")
            kinds = [event[3] for event in self.events if event[1] == root]
            expect([kinds.count(8), kinds.count(9), kinds.count(10)] == [len(by_kind[k]) for k in CORRECTING], "events")
            parties = [original["shared"][2]]
            parties += [self.institutions[original["provider"]]] * provider_is_party(original)
            holders = {*parties, "pm"}
            for index, holder, _ in asked:
                record = self.records[index]
                expect(record["link"] == root and self.institutions[record["provider"]] == holder, "asked of a holder")
                expect(holder in parties, "asked of a party")
            for index, follows, holder, digest, waiting in decided:
                record = self.records[index]
                expect(record["link"] == follows and record["shared"][2] == holder and holder in holders, "decided by")
                reason, appeal = record["shared"][14].split("\n")
                accepted = record["outcome"] == 0
                said = ["hub/correction/1", "decided", root, reason, record["shared"][7], appeal, str(accepted), holder]
                expect(digest == sha256(msgspec.msgpack.encode(said)), "what was decided")
                answers = [self.records[i] for i in by_kind[CONFIRMATION] if self.records[i]["link"] == index]
                rest = holders - {holder} - {one["shared"][2] for one in answers} if accepted else set()
                expect(set(waiting) == rest and len(waiting) == len(rest), "who has not confirmed")

    def read_released(self, name: str) -> None:
        """Held records and their releases, one each: the same person, provider and shared fields."""
        self.released: dict[int, int] = {}
        for key, body in self.opened(name):
            index, made = struct.unpack(">Q", key)[0], struct.unpack("<Q", body)[0]
            held, release = self.records[index], self.records[made]
            expect(held["outcome"] == HELD and release["kind"] == RELEASE and release["link"] == index, "release")
            same = ("person", "provider")
            expect([held[one] for one in same] == [release[one] for one in same], "what was released")
            expect(held["shared"][:13] == release["shared"][:13] and release["shared"][14], "release's shared fields")
            self.released[index] = made
        made = [index for index, record in enumerate(self.records) if record and record["kind"] == RELEASE]
        expect(made == sorted(self.released.values()), "every release has an entry")

    def read_payload_keys(self, name: str) -> None:
        self.payload_keys: dict[int, tuple[int, bytes]] = {}
        for key, body in self.opened(name):
            expect(len(body) == 40 and struct.unpack(">I", key)[0] in self.numbers.values(), "payload key")
            self.payload_keys[struct.unpack(">I", key)[0]] = struct.unpack("<q32s", body)
        told: dict[int, int] = {}
        for event in self.events:
            if event[3] == 21:
                told[self.numbers[event[4]]] = event[2]
            elif event[3] == 22:
                told.pop(self.numbers[event[4]], None)
        expect({number: at for number, (at, _) in self.payload_keys.items()} == told, "keys as their events say")

    def read_holds(self, name: str) -> None:
        self.holds: dict[int, list[Any]] = {}
        self.held_persons: dict[int, int] = {}
        for key, body in self.opened(name):
            one = msgspec.msgpack.decode(body)
            expect(len(one) == 11 and one[0] == 1 and key == struct.pack(">I", one[1]), "hold")
            there = f"holds/{one[1]}" in self.keys
            # In state 2 its key is being shredded.
            expect(one[8] in (1, 2, 3) and (one[8] == 2 or there == (one[8] == 1)), "a hold's key while in force")
            self.holds[one[1]] = one
            if one[7] and there:
                self.held_persons[one[1]] = struct.unpack("<I", self.decrypt_held(one[1], b"person", one[7]))[0]

    def read_held(self, name: str) -> None:
        self.held: dict[int, list[list[Any]]] = {}
        for key, body in self.opened(name):
            number, first = struct.unpack(">IQ", key)
            piece = msgspec.msgpack.decode(self.decrypt_held(number, key, body))
            version, indexes, decisions, shared, salts, rows, operators, cases = piece
            n = len(indexes)
            expect(version == 1 and indexes[0] == first and indexes == sorted(set(indexes)), "piece")
            expect(n == len(decisions) == len(cases) == len(salts) // 16 == len(rows) // 48, "records of a piece")
            expect(len(operators) == len(shared), "operators")
            for at, (index, decision) in enumerate(zip(indexes, decisions, strict=True)):
                salt, row = salts[16 * at : 16 * at + 16], rows[48 * at : 48 * at + 48]
                entry = sha256(b"hub/record/1", salt, sha256(b"hub/shared/1", shared[decision]), row)
                expect(entry == self.entries[index], "copied record")
                if number in self.held_persons:
                    own = self.disclosure_key(self.held_persons[number])
                    expect(row[32:] == sha256(b"hub/subject/1", salt, own)[:16], "held person")
                line = self.held_line(index, shared[decision], row)
                self.held.setdefault(number, []).append([*line, operators[decision], cases[at]])
        for number, one in self.holds.items():
            expect(number in self.held or not one[9] or one[8] != 1, "copied records")
            expect(one[8] != 1 or len(self.held.get(number, ())) == one[9], "as many copies as the hold says")
        copied = sum(one[7] for one in self.erasures)
        expect(copied == sum(one[9] for one in self.holds.values()), "as many copies as the erasures say")

    def code_of(self, provider: int) -> str:
        """0 is none: a class was named and nobody of it asked."""
        return self.institutions[provider] if provider else ""

    def held_line(self, index: int, encoded: bytes, row: bytes) -> list[Any]:
        provider, outcome, kind, _, asked, provided = struct.unpack_from("<IBBHqq", row)
        shared = msgspec.msgpack.decode(encoded)
        return [index, kind, asked, provided or None, shared[2], shared[3], self.code_of(provider), shared[4],
                shared[5], shared[6], shared[7], shared[12], outcome, shared[1].hex()]  # fmt: skip

    def read_holders(self, name: str) -> None:
        """Facts: (class, person, institution number, first day, last day or None)."""
        self.facts: list[tuple[str, int, int, int, int | None]] = []
        values = dict(self.opened(name))
        labels = {key[1:]: body.decode() for key, body in values.items() if len(key) == 5 and key[:1] == b"c"}
        for number, label in labels.items():
            first = int.from_bytes(sha256(b"hub/class/1", label.encode())[:4], "big") & 0x7FFFFFFF
            expect(number == struct.pack(">I", first), "number of a class")
        for key, body in values.items():
            if len(key) == 5:
                continue
            number, block = key[:4], int.from_bytes(key[4:], "big")
            expect(len(key) == 8 and number in labels and len(body) % 12 == 0 and len(body) > 0, "facts")
            entries = list(struct.iter_unpack("<BBHii", body))
            order = [(place, institution, since) for place, _, institution, since, _ in entries]
            expect(order == sorted(set(order)), "order of facts")
            for place, zero, institution, since, until in entries:
                expect(zero == 0 and institution in self.institutions and until >= since, "fact")
                later = [one[3] for one in entries if one[0] == place and one[3] > since]
                expect(until < 0x7FFFFFFF or not later, "an open fact before a later one")
                last = None if until == 0x7FFFFFFF else until
                self.facts.append((labels[number], 256 * block + place, institution, since, last))

    def read_wanted(self, name: str) -> None:
        """Wanted aliases: (provider number, person, when)."""
        self.wanted: list[tuple[int, int, int]] = []
        for key, body in self.opened(name):
            expect(len(key) == 18 and len(body) == 8, "wanted")
            provider, pseudonym = int.from_bytes(key[:2], "big"), key[2:]
            expect(provider in self.institutions, "provider of a wanted alias")
            person = struct.unpack("<I", self.tables[RESIDENT_CODES, 0][pseudonym])[0]
            self.wanted.append((provider, person, struct.unpack("<q", body)[0]))

    def read_requests(self, name: str) -> None:
        self.requests: dict[tuple[bytes, int], Any] = getattr(self, "requests", {})
        self.groups: dict[bytes, tuple[str, bool]] = getattr(self, "groups", {})
        found = dict(self.opened(name))
        folded = int.from_bytes(found.pop(b"folded", b""), "little")
        groups = {int.from_bytes(key, "big"): found.pop(key) for key in list(found) if len(key) == 8}
        entries = {key[:16]: int.from_bytes(found.pop(key), "little") for key in list(found) if len(found[key]) == 8
                   and key[16:] == bytes(4)}  # fmt: skip
        for commit, body in groups.items():
            keys, received, tables, requests = msgspec.msgpack.decode(body[8:])
            if isinstance(requests, bytes):
                requests = list(small_requests(requests))
            expect(commit <= self.state["commit"] and len(keys) == 16 * len(requests), "group")
            for at, (digest, rows, table, inquiry, state) in enumerate(requests):
                key = keys[16 * at : 16 * at + 16]
                expect(len(state) == 5 * rows, "state of a small request")
                place = entries.pop(key, None)
                expect(place == commit or (place is None and commit > folded), "place of a small request")
                self.groups[key] = name, place is not None
                self.requests[key, 0] = [digest, rows, 65_536, received, inquiry, *tables[table]]
                self.requests[key, 1] = body[:8] + state
        expect(not entries and folded <= max(groups, default=0), "small requests in the index")
        for key, body in found.items():
            part = int.from_bytes(key[16:], "big")
            whole = part == 0 or part >= 2**31
            self.requests[key[:16], part] = msgspec.msgpack.decode(body) if whole else body

    def answer(self, requester: str, request_id: str) -> dict[str, Any] | None:
        """Status, rule, reason and record of each row, or None where nothing is kept (any more)."""
        key = sha256(b"hub/request-id/1", requester.encode(), b"\0", request_id.encode())[:16]
        if (key, 0) not in self.requests:
            return None
        digest, rows, chunk_rows, received, inquiry, catalog, denied, rule, reason = self.requests[key, 0]
        expect(len(denied) == len(rule) == len(reason), "decision table")
        status: list[int] = []
        decisions: list[int] = []
        places: list[int | None] = []
        holders: list[list[Any]] = []
        for chunk in range(-(-rows // chunk_rows)):
            body = self.requests[key, chunk + 1]
            n = (len(body) - 8) // 5
            first = struct.unpack_from("<Q", body)[0]
            stored, picked = body[8 : 8 + n], struct.unpack_from(f"<{n}H", body, 8 + n)
            for one, decision, place in zip(stored, picked, struct.unpack_from(f"<{n}H", body, 8 + 3 * n), strict=True):
                record = None if one & 0x80 else self.records[first + place]
                places.append(None if one & 0x80 else first + place)
                expect(denied[decision] in (0, one & 0x7F), "what was decided")
                if record is None:
                    continue
                expect(record["outcome"] == one and record["shared"][1] == inquiry, "row's record")
                # The chunk of a group has decisions of several requests.
                expect(key in self.groups or record["decision"] == decision, "row's decision")
                expect(record["shared"][10:12] == [rule[decision], reason[decision]], "record's rule")
                expect(record["shared"][9] == catalog, "record's catalog")
            lists = dict(self.requests.get((key, 2**31 + chunk), []))
            expect(list(lists) == [at for at, one in enumerate(stored) if one & 0x7F == 15], "lists of holders")
            for at, numbers in lists.items():
                holders.append([len(status) + at, [self.institutions[number] for number in numbers]])
            status += [one & 0x7F for one in stored]
            decisions += picked
        return {"digest": digest.hex(), "received_at": received, "status": status, "rule": [rule[d] for d in decisions],
                "reason": [reason[d] for d in decisions], "holders": holders, "records": places}  # fmt: skip

    def request_digest(self, told: dict[str, Any]) -> str:
        """What is stored of an inquiry and its rows."""
        asked = msgspec.msgpack.encode([told["inquiry"], None])
        rows = b"".join(bytes.fromhex(alias) for alias in told["aliases"])
        labels = {label: 2**31 + (int.from_bytes(sha256(b"hub/class/1", label.encode())[:4], "big") & 0x7FFFFFFF)
                  for label, *_ in self.facts}  # fmt: skip
        providers = [self.numbers.get(code) or labels[code] for code in told["providers"]]
        count = struct.pack("<Q", len(providers))
        marks = b"marks" + msgspec.msgpack.encode(told["withhold"]) if told["withhold"] else b""
        return sha256(b"hub/request/1", asked, count, rows, struct.pack(f"<{len(providers)}I", *providers), marks).hex()

    def history(self, person: int) -> list[list[Any]]:
        """A person's records that may be shown, newest first, found by the runs."""
        periods = {period for period, _ in self.found}
        indexes = [i for p in periods for i in self.found.get((p, self.person_key(p, person)), [])]
        mine = [i for i in sorted(indexes, reverse=True) if self.records[i]["person"] == person]
        return [self.line(i) for i in mine if self.may_be_shown(i, person) and not self.is_undecided(i)]

    def is_undecided(self, index: int) -> bool:
        """Whether a record is of a time in which two were one, by who knew both."""
        asks = self.records[index]["shared"][2]
        return any(since <= index < until and asks in both for since, until, both in self.between)

    def root_of(self, index: int) -> int | None:
        """The record that what corrects or answers goes back to; None where it was erased."""
        for _ in range(8):
            if self.records[index]["kind"] not in FOLLOWING:
                return index
            link = self.records[index]["link"]
            expect(link is not None and link < index, "link")
            if self.is_erased(link):
                return None
            index = link
        raise Damaged("links behind each other")

    def may_be_shown(self, index: int, person: int) -> bool:
        root = self.root_of(index)
        if root is not None and self.records[root]["kind"] == RELEASE:
            # With marks of its own, and only where the held record is shown too.
            held = self.records[root]["link"]
            if self.is_erased(held) or not self.may_be_shown(held, person):
                return False
        if root is None:
            return False
        marks = [self.marks.get((root, side), {"withheld": False, "judged": 0}) for side in (1, 2)]
        if any(mark["withheld"] for mark in marks):
            return False
        pseudonym = self.tables[RESIDENT_CODES, 1][struct.pack("<I", person)]
        protection = self.protections.get(self.protection_key(pseudonym))
        record = self.records[root]
        if protection is None or not protection["on"] or record["times"][0] < protection["since"]:
            return True
        if record["kind"] in PERSONAL:
            return True
        parties = marks if provider_is_party(record) else marks[:1]
        return all(mark["judged"] == protection["number"] for mark in parties)

    def line(self, index: int) -> list[Any]:
        one = self.records[index]
        shared = one["shared"]
        asked, provided = one["times"]
        receives, gives = shared[2], self.code_of(one["provider"])
        if one["kind"] in sent.GIVEN:
            receives, gives = gives, receives
        return [index, one["kind"], asked, provided or None, receives, shared[3], gives,
                shared[4], shared[5], shared[6], shared[7], shared[12], one["outcome"], shared[1].hex(), one["link"],
                shared[14]]  # fmt: skip


def small_requests(columns: bytes) -> Iterator[tuple[bytes, int, int, bytes, bytes]]:
    """Requests of one row each, column by column: digest, rows, table, inquiry, state."""
    n, odd = divmod(len(columns), 47)
    expect(not odd, "columns of small requests")
    status, decision, place = columns[42 * n : 43 * n], columns[43 * n : 45 * n], columns[45 * n :]
    for at, table in enumerate(struct.unpack_from(f"<{n}H", columns, 40 * n)):
        two = slice(2 * at, 2 * at + 2)
        state = status[at : at + 1] + decision[two] + place[two]
        yield columns[32 * at : 32 * at + 32], 1, table, columns[32 * n + 8 * at : 32 * n + 8 * at + 8], state


def provider_is_party(record: dict[str, Any]) -> bool:
    """Statuses 1 to 7 and HELD, and provider 0: the question reached nobody. A notice is the person's."""
    reached = not 1 <= record["outcome"] <= 7 and record["outcome"] != HELD
    return record["provider"] != 0 and record["kind"] != NOTICE and reached


def value_sum(key: bytes, value: bytes) -> int:
    return xxhash.xxh3_64_intdigest(value[:8] + key)


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
    "changes": Reader.read_changes, "pending": Reader.read_pending, "erasures": Reader.read_erasures,
    "records": Reader.read_records, "entries": Reader.read_entries, "nodes": Reader.read_nodes,
    "checkpoints": Reader.read_checkpoints, "files": Reader.read_files, "rundir": Reader.read_rundir,
    "runs": read_nothing, "marks": Reader.read_marks, "events": Reader.read_events,
    "corrections": Reader.read_corrections, "holders": Reader.read_holders, "wanted": Reader.read_wanted,
    "holds": Reader.read_holds, "held": Reader.read_held,
    "requests": Reader.read_requests, "flagged": Reader.read_flagged, "payloadkeys": Reader.read_payload_keys,
    "tickets": Reader.read_tickets, "claims": Reader.read_claims, "linked": Reader.read_linked,
    "released": Reader.read_released, "inbox": exchange.read_inbox, "inboxes": exchange.read_inboxes,
    "permits": exchange.read_permits, "outcomes": exchange.read_outcomes, "manual": exchange.read_manual,
    "payloads": exchange.read_payloads, "renewals": identity.read_renewals, "identified": identity.read_identified,
    "proxies": identity.read_proxies, "notices": sent.read_notices, "mislinks": mislinks.read_mislinks,
    "consents": consents.read_consents,
    "persons": Reader.read_persons, "deaths": Reader.read_deaths, "successions": Reader.read_successions,
}  # fmt: skip
"""In the order in which they are read."""
