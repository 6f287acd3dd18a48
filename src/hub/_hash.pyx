"""SHA-256 in bulk: entries and leaves of records, nodes of the tree; formats in docs/log.md and RFC 6962.

All messages have a fixed length of one or two blocks, so each kernel pads them itself. Sixteen at a time go through the
processor's own instructions side by side (``_lanes.pxd``): 14 to 19 ns a block. What is left of them, and everything on
a processor without those, goes to OpenSSL's block function: 45 to 60 ns a block, where ``hashlib`` takes 300 ns a call.
Where no libcrypto can be loaded (``NATIVE`` is False: a Python with OpenSSL linked into it), ``hashlib`` does it all.
"""

import ctypes
import ctypes.util
import hashlib

import numpy as np

from libc.stdint cimport int64_t, uint8_t, uint32_t, uint64_t
from libc.string cimport memcpy, memset

from hub._lanes cimport LANES, hash_lanes, lanes_usable

cdef BlockFunction block_function = NULL
cdef object _library = None


def _load():
    """Find the block function of the libcrypto that Python itself uses, or of the system's."""
    global _library, block_function
    # hashlib, imported above, has loaded the libcrypto that Python itself uses, where it links to one.
    for name in ("libcrypto.so.3", "libcrypto.so.1.1", "libcrypto.3.dylib", ctypes.util.find_library("crypto")):
        if name:
            try:
                _library = ctypes.CDLL(name)
                block_function = <BlockFunction><size_t>ctypes.cast(_library.SHA256_Transform, ctypes.c_void_p).value
                return True
            except (OSError, AttributeError):
                continue
    return False


NATIVE = _load()

LANES_MOST = 2
cdef bint side_by_side = False


def use_lanes(int most):
    """Hash side by side with at most these instructions: 0 none, 1 SHA, 2 AVX-512; returns what the processor has.

    For tests, and for a bench that compares them. Nobody else may be hashing meanwhile.
    """
    global side_by_side
    found = lanes_usable(most)
    side_by_side = found > 0
    return found


LANES_USED = use_lanes(LANES_MOST)
if SIDE != LANES:
    raise ImportError(f"hash: expected {SIDE} messages side by side, got {LANES}")


cdef bint has_lanes() noexcept nogil:
    return side_by_side


cdef void hash_side(const uint8_t* messages, size_t stride, int blocks, uint8_t* out) noexcept nogil:
    hash_lanes(messages, stride, blocks, out)


cdef inline void start(Sha256* s) noexcept nogil:
    # The initial state of SHA-256 (FIPS 180-4, 5.3.3).
    s.h[0] = 0x6a09e667
    s.h[1] = 0xbb67ae85
    s.h[2] = 0x3c6ef372
    s.h[3] = 0xa54ff53a
    s.h[4] = 0x510e527f
    s.h[5] = 0x9b05688c
    s.h[6] = 0x1f83d9ab
    s.h[7] = 0x5be0cd19


cdef inline void finish(Sha256* s, uint8_t* out, int words) noexcept nogil:
    """The first words of the state, big endian."""
    cdef int i
    for i in range(words):
        out[4 * i] = <uint8_t>(s.h[i] >> 24)
        out[4 * i + 1] = <uint8_t>(s.h[i] >> 16)
        out[4 * i + 2] = <uint8_t>(s.h[i] >> 8)
        out[4 * i + 3] = <uint8_t>s.h[i]


cdef void pad(uint8_t* message, int length) noexcept nogil:
    """Pad a message of under 120 bytes in place; the rest of the blocks must be zeros."""
    cdef int end = 64 if length < 56 else 128
    message[length] = 0x80
    message[end - 2] = <uint8_t>(length >> 5)
    message[end - 1] = <uint8_t>(length << 3)


cdef void hash_message(uint8_t* message, size_t length, uint8_t* out) noexcept nogil:
    """Hash a message of any length; behind it there must be room for 72 bytes of padding."""
    cdef Sha256 s
    cdef size_t end = (length + 9 + 63) & ~<size_t>63, at = 0
    cdef uint64_t bits = 8 * length
    cdef int i
    memset(message + length, 0, end - length)
    message[length] = 0x80
    for i in range(8):
        message[end - 1 - i] = <uint8_t>(bits >> 8 * i)
    start(&s)
    while at < end:
        block_function(&s, message + at)
        at += 64
    finish(&s, out, 8)


cdef void hash_leaf(const uint8_t* entry, uint8_t* out, uint8_t* block) noexcept nogil:
    """Leaf of an entry; block: 64 bytes, padded for 33, its first byte 0."""
    cdef Sha256 s
    memcpy(block + 1, entry, HASH_BYTES)
    start(&s)
    block_function(&s, block)
    finish(&s, out, 8)


cdef void hash_node(const uint8_t* left, const uint8_t* right, uint8_t* out, uint8_t* blocks) noexcept nogil:
    """Node of two hashes; blocks: 128 bytes, padded for 65, the first byte 1."""
    cdef Sha256 s
    memcpy(blocks + 1, left, HASH_BYTES)
    memcpy(blocks + 33, right, HASH_BYTES)
    start(&s)
    block_function(&s, blocks)
    block_function(&s, blocks + 64)
    finish(&s, out, 8)


cdef inline void fill_tag(const uint8_t* salt, const uint8_t* disclosure, uint8_t* tag_block) noexcept nogil:
    """The message of a subject tag; tag_block: 64 bytes, padded for 45, beginning with "hub/subject/1"."""
    memcpy(tag_block + 13, salt, SALT_BYTES)
    memcpy(tag_block + 29, disclosure, 16)


cdef inline void commit_row(const Stored* row, const int64_t* times, const uint8_t* tag,
                            uint8_t* committed) noexcept nogil:
    """A row as it is committed to; tag: 16 bytes."""
    cdef uint32_t provider = row.provider
    cdef uint64_t link = row.link[0] | <uint64_t>row.link[1] << 16 | <uint64_t>row.link[2] << 32
    memcpy(committed, &provider, 4)
    committed[4] = row.outcome
    committed[5] = row.kind
    committed[6] = 0
    committed[7] = 0
    memcpy(committed + 8, times, 16)
    memcpy(committed + 24, &link, 8)
    memcpy(committed + 32, tag, 16)


cdef inline void fill_entry(const uint8_t* salt, const uint8_t* shared_hash, const uint8_t* committed,
                            uint8_t* blocks) noexcept nogil:
    """The message of an entry; blocks: 128 bytes, padded for 108, beginning with "hub/record/1"."""
    memcpy(blocks + 12, salt, SALT_BYTES)
    memcpy(blocks + 28, shared_hash, HASH_BYTES)
    memcpy(blocks + 60, committed, ROW_BYTES)


cdef void hash_row(const uint8_t* salt, const uint8_t* disclosure, const uint8_t* shared_hash, const Stored* row,
                   const int64_t* times, uint8_t* committed, uint8_t* entry, uint8_t* tag_block,
                   uint8_t* blocks) noexcept nogil:
    """One record's committed row and entry; message buffers as above."""
    cdef Sha256 s
    cdef uint8_t tag[16]
    fill_tag(salt, disclosure, tag_block)
    start(&s)
    block_function(&s, tag_block)
    finish(&s, tag, 4)
    commit_row(row, times, tag, committed)
    fill_entry(salt, shared_hash, committed, blocks)
    start(&s)
    block_function(&s, blocks)
    block_function(&s, blocks + 64)
    finish(&s, entry, 8)


cdef void repeat_message(uint8_t* messages, size_t length, const char* begin, size_t begins, int padded) noexcept nogil:
    """LANES message buffers of so many bytes, each beginning alike and padded for a message of ``padded`` bytes."""
    cdef int lane
    memset(messages, 0, LANES * length)
    for lane in range(LANES):
        memcpy(messages + lane * length, begin, begins)
        pad(messages + lane * length, padded)


def hash_records(const uint8_t[:, ::1] salts, const uint8_t[:, ::1] disclosure, const uint8_t[:, ::1] stored,
                 const uint8_t[:, ::1] shared_hashes, const int64_t[:, ::1] times, committed=None, leaves=None):
    """Entries, and where wanted committed rows and leaves, of records.

    Args:
        salts, disclosure: uint8[N, 16]. stored: uint8[N, 16], rows as stored, not encrypted.
        shared_hashes: uint8[K, 32], H("hub/shared/1" || shared) of each decision. times: int64[K, 2], requested and
            provided at of each decision.
        committed: uint8[N, 48] or None, written. leaves: uint8[N, 32] or None, written.

    Returns:
        uint8[N, 32], the entries.

    Raises:
        IndexError: a row names a decision that is not there.
    """
    cdef int64_t n = stored.shape[0], i, decisions = shared_hashes.shape[0], bad = -1
    entries = np.empty((n, HASH_BYTES), dtype=np.uint8)
    # Where nobody wants the committed rows they are written over each other: 3 MB a chunk that nothing reads.
    cdef bint over = committed is None and block_function != NULL
    cdef int64_t apart = 0 if over else ROW_BYTES
    rows = np.empty((1 if over else n, ROW_BYTES), dtype=np.uint8) if committed is None else committed
    out_leaves = np.empty((n, HASH_BYTES), dtype=np.uint8) if leaves is None else leaves
    cdef uint8_t[:, ::1] entry_view = entries
    cdef uint8_t[:, ::1] row_view = rows
    cdef uint8_t[:, ::1] leaf_view = out_leaves
    cdef uint8_t tags[LANES * 64]
    cdef uint8_t blocks[LANES * 128]
    cdef uint8_t leaf_blocks[LANES * 64]
    cdef uint8_t digests[LANES * HASH_BYTES]
    cdef const Stored* row
    cdef uint8_t* row_at
    cdef bint with_leaves = leaves is not None
    cdef int lane
    if salts.shape[0] != n or salts.shape[1] != SALT_BYTES or disclosure.shape[0] != n or disclosure.shape[1] != 16 \
            or stored.shape[1] != STORED_BYTES or times.shape[0] != decisions or times.shape[1] != 2 \
            or (decisions and shared_hashes.shape[1] != HASH_BYTES) or row_view.shape[0] != (1 if over else n) \
            or row_view.shape[1] != ROW_BYTES or leaf_view.shape[0] != n or leaf_view.shape[1] != HASH_BYTES:
        raise ValueError("columns: expected one length")
    if n == 0:
        return entries
    if block_function == NULL:
        _hash_records(salts, disclosure, stored, shared_hashes, times, rows, entries, out_leaves)
        return entries
    repeat_message(tags, 64, b"hub/subject/1", 13, 45)
    repeat_message(blocks, 128, b"hub/record/1", 12, 108)
    repeat_message(leaf_blocks, 64, b"", 0, 33)
    with nogil:
        i = 0
        while bad < 0 and side_by_side and i + LANES <= n:
            for lane in range(LANES):
                row = <const Stored*>&stored[i + lane, 0]
                if row.decision >= decisions:
                    bad = i + lane
                fill_tag(&salts[i + lane, 0], &disclosure[i + lane, 0], tags + 64 * lane)
            if bad >= 0:
                break
            hash_lanes(tags, 64, 1, digests)
            for lane in range(LANES):
                row = <const Stored*>&stored[i + lane, 0]
                row_at = &row_view[0, 0] + apart * (i + lane)
                commit_row(row, &times[row.decision, 0], digests + HASH_BYTES * lane, row_at)
                fill_entry(&salts[i + lane, 0], &shared_hashes[row.decision, 0], row_at, blocks + 128 * lane)
            hash_lanes(blocks, 128, 2, &entry_view[i, 0])
            if with_leaves:
                for lane in range(LANES):
                    memcpy(leaf_blocks + 64 * lane + 1, &entry_view[i + lane, 0], HASH_BYTES)
                hash_lanes(leaf_blocks, 64, 1, &leaf_view[i, 0])
            i += LANES
        while bad < 0 and i < n:
            row = <const Stored*>&stored[i, 0]
            if row.decision >= decisions:
                bad = i
                break
            hash_row(&salts[i, 0], &disclosure[i, 0], &shared_hashes[row.decision, 0], row, &times[row.decision, 0],
                     &row_view[0, 0] + apart * i, &entry_view[i, 0], tags, blocks)
            if with_leaves:
                hash_leaf(&entry_view[i, 0], &leaf_view[i, 0], leaf_blocks)
            i += 1
    if bad >= 0:
        raise IndexError("row: expected a decision of its chunk, got another")
    return entries


def hash_leaves(const uint8_t[:, ::1] entries):
    """RFC 6962 leaves of entries: uint8[N, 32] to uint8[N, 32]."""
    cdef int64_t n = entries.shape[0], i
    cdef int lane
    cdef uint8_t blocks[LANES * 64]
    leaves = np.empty((n, HASH_BYTES), dtype=np.uint8)
    cdef uint8_t[:, ::1] view = leaves
    if n and entries.shape[1] != HASH_BYTES:
        raise ValueError("entries: expected 32 bytes each")
    if block_function == NULL:
        for i in range(n):
            leaves[i] = np.frombuffer(hashlib.sha256(b"\0" + bytes(entries[i])).digest(), np.uint8)
        return leaves
    repeat_message(blocks, 64, b"", 0, 33)
    with nogil:
        i = 0
        while side_by_side and i + LANES <= n:
            for lane in range(LANES):
                memcpy(blocks + 64 * lane + 1, &entries[i + lane, 0], HASH_BYTES)
            hash_lanes(blocks, 64, 1, &view[i, 0])
            i += LANES
        while i < n:
            hash_leaf(&entries[i, 0], &view[i, 0], blocks)
            i += 1
    return leaves


def hash_pairs(const uint8_t[:, ::1] hashes):
    """RFC 6962 nodes of neighbours: uint8[2 N, 32] to uint8[N, 32]."""
    cdef int64_t n = hashes.shape[0] // 2, i
    cdef int lane
    cdef uint8_t blocks[LANES * 128]
    nodes = np.empty((n, HASH_BYTES), dtype=np.uint8)
    cdef uint8_t[:, ::1] view = nodes
    if hashes.shape[0] & 1 or (n and hashes.shape[1] != HASH_BYTES):
        raise ValueError("hashes: expected pairs of 32 bytes")
    if block_function == NULL:
        for i in range(n):
            pair = b"\1" + bytes(hashes[2 * i]) + bytes(hashes[2 * i + 1])
            nodes[i] = np.frombuffer(hashlib.sha256(pair).digest(), np.uint8)
        return nodes
    repeat_message(blocks, 128, b"\1", 1, 65)
    with nogil:
        i = 0
        while side_by_side and i + LANES <= n:
            for lane in range(LANES):
                # Two neighbours are 64 bytes in a row.
                memcpy(blocks + 128 * lane + 1, &hashes[2 * (i + lane), 0], 2 * HASH_BYTES)
            hash_lanes(blocks, 128, 2, &view[i, 0])
            i += LANES
        while i < n:
            hash_node(&hashes[2 * i, 0], &hashes[2 * i + 1, 0], &view[i, 0], blocks)
            i += 1
    return nodes


def append_leaves(uint64_t size, list peaks not None, leaves):
    """Grow a tree by leaves.

    Args:
        size: leaves before. peaks: roots of the complete subtrees that size in binary names, largest first.
        leaves: uint8[N, 32].

    Returns:
        (peaks after, {level: uint8[K, 32]}): of levels 4, 8, 12 ... the nodes that became complete, in order.
    """
    cdef int level = 0
    cdef uint64_t first = size
    if len(peaks) != bin(size).count("1"):
        raise ValueError("peaks: expected one for each bit of the size")
    waiting = {}
    rest = list(peaks)
    for level in range(63, -1, -1):
        if size >> level & 1:
            waiting[level] = rest.pop(0)
    complete = {}
    level = 0
    hashes = leaves
    while len(hashes):
        if level and level % 4 == 0:
            complete[level] = hashes
        if first & 1:
            left = np.frombuffer(waiting.pop(level), dtype=np.uint8).reshape(1, HASH_BYTES)
            hashes = np.concatenate([left, hashes])
        if len(hashes) & 1:
            waiting[level] = hashes[-1].tobytes()
            hashes = hashes[:-1]
        hashes = hash_pairs(np.ascontiguousarray(hashes))
        first >>= 1
        level += 1
    return [waiting[level] for level in sorted(waiting, reverse=True)], complete


def _hash_records(salts, disclosure, stored, shared_hashes, times, rows, entries, leaves):
    # The slow way, a few microseconds a record.
    for i in range(len(stored)):
        raw, salt = bytes(stored[i]), bytes(salts[i])
        decision = int.from_bytes(raw[6:8], "little")
        if decision >= len(shared_hashes):
            raise IndexError("row: expected a decision of its chunk, got another")
        tag = hashlib.sha256(b"hub/subject/1" + salt + bytes(disclosure[i])).digest()[:16]
        row = (raw[4:6] + b"\0\0" + raw[8:10] + b"\0\0" + np.asarray(times[decision]).tobytes() + raw[10:16] + b"\0\0"
               + tag)
        entry = hashlib.sha256(b"hub/record/1" + salt + bytes(shared_hashes[decision]) + row).digest()
        rows[i] = np.frombuffer(row, np.uint8)
        entries[i] = np.frombuffer(entry, np.uint8)
        leaves[i] = np.frombuffer(hashlib.sha256(b"\0" + entry).digest(), np.uint8)
