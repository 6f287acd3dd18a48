"""Kernels of groups of small inquiries: keys of requests in memory, decisions, shared fields, entries of the index.

``Keys`` is an open-addressed hash of 16-byte keys. Who may send inquiries can choose request ids as it likes, and so
their keys: the place of a key depends on two random numbers of the process, so that nobody can make all of them meet.
Methods that touch a table keep the GIL, which is the lock under which it changes: they take some 50 ns a key.
"""

import os

import numpy as np

from cpython.buffer cimport PyBUF_SIMPLE, PyBuffer_Release, PyObject_GetBuffer
from cpython.bytes cimport PyBytes_AS_STRING, PyBytes_FromStringAndSize
from libc.stdint cimport int64_t, uint8_t, uint16_t, uint32_t, uint64_t
from libc.stdlib cimport calloc, free, malloc
from libc.string cimport memcmp, memcpy

import hashlib

from hub import _hash

from hub._hash cimport hash_message

cdef extern from *:
    """
    typedef unsigned __int128 hub_u128;
    static inline unsigned long long hub_fold(unsigned long long a, unsigned long long b) {
        hub_u128 wide = (hub_u128)a * b;
        return (unsigned long long)wide ^ (unsigned long long)(wide >> 64);
    }
    static inline unsigned long long hub_high(unsigned long long a, unsigned long long b) {
        return (unsigned long long)(((hub_u128)a * b) >> 64);
    }
    #define hub_prefetch_read(p) __builtin_prefetch((const void *)(p), 0, 2)
    """
    uint64_t hub_fold(uint64_t a, uint64_t b) noexcept nogil
    uint64_t hub_high(uint64_t a, uint64_t b) noexcept nogil
    void hub_prefetch_read(const void* p) noexcept nogil

cdef enum:
    KEY_BYTES = 16
    PART_BYTES = 20             # key and u32 part, in the index
    SLOTS_MIN = 64
    HASH_BYTES = 32
    NAME_BYTES = 8              # of an inquiry in records
    PREFIX_BYTES = 12           # "hub/shared/1"
    PAD_BYTES = 72              # what padding may add to a message
    SUPERVISED_MAX = 1 << 16
    NO_ENTRY = 0xFFFF
    LINE_BYTES = 64             # of a filter: all bits of a key stand in one cache line
    FILTER_BITS = 7             # of a key, nine bits of a hash each
    AHEAD = 16

cdef uint64_t SEED_A = int.from_bytes(os.urandom(8), "little") | 1
cdef uint64_t SEED_B = int.from_bytes(os.urandom(8), "little") | 1
cdef uint64_t SEED_C = int.from_bytes(os.urandom(8), "little") | 1


cdef struct Slot:
    uint64_t low
    uint64_t high
    uint64_t value              # 0 = free


cdef inline uint64_t mix(const uint8_t* key) noexcept nogil:
    cdef uint64_t low, high
    memcpy(&low, key, 8)
    memcpy(&high, key + 8, 8)
    return hub_fold(low ^ SEED_A, high ^ SEED_B) * SEED_C


cdef class Keys:
    """16-byte keys -> numbers from 1 on."""

    cdef Slot* slots
    cdef uint64_t capacity
    cdef int shift
    cdef readonly uint64_t used

    def __cinit__(self):
        self.slots = NULL
        self.capacity = self.used = 0
        self.shift = 64

    def __dealloc__(self):
        free(self.slots)

    def __len__(self):
        return self.used

    def __repr__(self):
        return f"Keys({self.used})"

    @property
    def bytes(self):
        """Memory that it takes."""
        return sizeof(Slot) * self.capacity

    cdef Slot* find_slot(self, const uint8_t* key) noexcept nogil:
        """The slot of a key, or the free one where it belongs; only where there is a table."""
        cdef uint64_t at = mix(key) >> self.shift
        cdef Slot* slot
        while True:
            slot = self.slots + at
            if not slot.value or not memcmp(slot, key, KEY_BYTES):
                return slot
            at = (at + 1) & (self.capacity - 1)

    cdef int reserve(self, uint64_t more) except -1:
        """Make room: at most half of the slots are taken."""
        cdef uint64_t capacity = max(self.capacity, <uint64_t>SLOTS_MIN), at
        cdef Slot* before = self.slots
        cdef uint64_t old = self.capacity
        cdef Slot* slots
        if 2 * (self.used + more) <= self.capacity:
            return 0
        while capacity < 2 * (self.used + more):
            capacity *= 2
        slots = <Slot*>calloc(capacity, sizeof(Slot))
        if slots == NULL:
            raise MemoryError
        self.slots, self.capacity, self.shift = slots, capacity, 64
        while <uint64_t>1 << (64 - self.shift) < capacity:
            self.shift -= 1
        for at in range(old):
            if before[at].value:
                self.find_slot(<const uint8_t*>(before + at))[0] = before[at]
        free(before)
        return 0

    def put(self, const uint8_t[:, ::1] keys not None, uint64_t value):
        """Enter keys (uint8[N, 16]) with a number from 1 on; those that are there get it as well."""
        cdef int64_t row
        cdef Slot* slot
        if keys.shape[1] != KEY_BYTES or not value:
            raise ValueError("keys: expected uint8[N, 16] and a number from 1 on")
        self.reserve(keys.shape[0])
        for row in range(keys.shape[0]):
            slot = self.find_slot(&keys[row, 0])
            if not slot.value:
                memcpy(slot, &keys[row, 0], KEY_BYTES)
                self.used += 1
            slot.value = value

    def get(self, bytes key not None):
        """The number of one key, 0 where it is not there."""
        if len(key) != KEY_BYTES:
            raise ValueError("key: expected 16 bytes")
        return self.find_slot(<const uint8_t*>PyBytes_AS_STRING(key)).value if self.used else 0

    def find(self, const uint8_t[:, ::1] keys not None, uint64_t[::1] values not None):
        """The numbers of keys, 0 where they are not there; returns how many are."""
        cdef int64_t row, n = keys.shape[0], found = 0
        if keys.shape[1] != KEY_BYTES or values.shape[0] != n:
            raise ValueError("keys: expected uint8[N, 16] and uint64[N]")
        for row in range(n):
            values[row] = self.find_slot(&keys[row, 0]).value if self.used else 0
            found += values[row] != 0
        return found

    def firsts(self, const uint8_t[:, ::1] keys not None, uint32_t[::1] first not None):
        """Enter keys into an empty table by their places; of each the place where it came first.

        Returns:
            how many came before.
        """
        cdef int64_t row, n = keys.shape[0], again = 0
        cdef Slot* slot
        if keys.shape[1] != KEY_BYTES or first.shape[0] != n or self.used:
            raise ValueError("keys: expected uint8[N, 16], uint32[N] and an empty table")
        self.reserve(n)
        for row in range(n):
            slot = self.find_slot(&keys[row, 0])
            if slot.value:
                again += 1
            else:
                memcpy(slot, &keys[row, 0], KEY_BYTES)
                slot.value = row + 1
                self.used += 1
            first[row] = <uint32_t>(slot.value - 1)
        return again

    def items(self):
        """All keys, uint8[N, 16], and their numbers, uint64[N]; in no order."""
        cdef uint64_t at, row = 0
        keys = np.empty((self.used, KEY_BYTES), dtype=np.uint8)
        values = np.empty(self.used, dtype=np.uint64)
        cdef uint8_t[:, ::1] key_view = keys
        cdef uint64_t[::1] value_view = values
        for at in range(self.capacity):
            if self.slots[at].value:
                memcpy(&key_view[row, 0], self.slots + at, KEY_BYTES)
                value_view[row] = self.slots[at].value
                row += 1
        return keys, values


# -- which keys a day's index may have


cdef class Filter:
    """A Bloom filter of 16-byte keys: what it does not have is not there; of what is not there it has one in 700.

    Args:
        keys: for so many there is room, at ``bits`` each.
    """

    def __init__(self, uint64_t keys, uint64_t bits=16):
        cdef uint64_t lines = max(<uint64_t>1, (keys * bits + 8 * LINE_BYTES - 1) // (8 * LINE_BYTES))
        free(self.lines)
        self.lines = <uint64_t*>calloc(lines, LINE_BYTES)
        if self.lines == NULL:
            raise MemoryError
        self.count = lines

    def __dealloc__(self):
        free(self.lines)

    def __repr__(self):
        return f"Filter(bytes={self.bytes})"

    @property
    def bytes(self):
        """Memory that it takes."""
        return LINE_BYTES * self.count

    cdef void add_key(self, const uint8_t* key) noexcept nogil:
        cdef uint64_t one = mix(key), bits = one * SEED_B
        cdef uint64_t* line = self.lines + 8 * hub_high(one, self.count)
        cdef int _i
        bits ^= bits >> 32
        for _i in range(FILTER_BITS):
            line[bits >> 6 & 7] |= <uint64_t>1 << (bits & 63)
            bits >>= 9

    cdef bint has_key(self, uint64_t one) noexcept nogil:
        cdef uint64_t bits = one * SEED_B
        cdef uint64_t* line = self.lines + 8 * hub_high(one, self.count)
        cdef int _i
        bits ^= bits >> 32
        for _i in range(FILTER_BITS):
            if not line[bits >> 6 & 7] >> (bits & 63) & 1:
                return False
            bits >>= 9
        return True

    def add(self, const uint8_t[:, ::1] keys not None):
        """Enter keys, uint8[N, 16]."""
        cdef int64_t row
        if keys.shape[1] != KEY_BYTES:
            raise ValueError("keys: expected uint8[N, 16]")
        for row in range(keys.shape[0]):
            self.add_key(&keys[row, 0])


def probe(list filters not None, const uint8_t[:, ::1] keys not None):
    """Which keys some of these filters may have.

    Returns:
        (row, place of the filter) of each hit, in no order; mostly none.
    """
    cdef int64_t row, n = keys.shape[0], place, count = len(filters)
    cdef uint64_t* mixed
    cdef Filter one
    found = []
    if keys.shape[1] != KEY_BYTES:
        raise ValueError("keys: expected uint8[N, 16]")
    mixed = <uint64_t*>malloc(8 * n + 8)
    if mixed == NULL:
        raise MemoryError
    try:
        for row in range(n):
            mixed[row] = mix(&keys[row, 0])
        for place in range(count):
            one = filters[place]
            for row in range(min(n, <int64_t>AHEAD)):
                hub_prefetch_read(one.lines + 8 * hub_high(mixed[row], one.count))
            for row in range(n):
                if row + AHEAD < n:
                    hub_prefetch_read(one.lines + 8 * hub_high(mixed[row + AHEAD], one.count))
                if one.has_key(mixed[row]):
                    found.append((row, place))
    finally:
        free(mixed)
    return found


# -- decisions


cdef struct Column:
    const void* at
    int64_t items


cdef Column* columns_of(list arrays, int item_bytes) except NULL:
    """Where the items of arrays are, which their list keeps; to be freed."""
    cdef Py_ssize_t i, n = len(arrays)
    cdef Py_buffer view
    cdef Column* found = <Column*>malloc(n * sizeof(Column) + 1)
    if found == NULL:
        raise MemoryError
    for i in range(n):
        try:
            PyObject_GetBuffer(arrays[i], &view, PyBUF_SIMPLE)
        except BaseException:
            free(found)
            raise
        found[i].at, found[i].items = view.buf, view.len // item_bytes
        PyBuffer_Release(&view)
    return found


def decide(list of_institution not None, list without_consent not None, list statuses not None, list rules not None,
           list reasons not None, const uint32_t[::1] which not None, const uint32_t[::1] providers not None,
           const uint8_t[::1] consents, uint16_t[::1] decision not None, uint8_t[::1] status not None,
           uint32_t[::1] rule not None, uint8_t[::1] reason not None):
    """The decision of each row, by its own question's table.

    Args:
        of_institution, without_consent, statuses, rules, reasons: of each question, as of ``DecisionTable``.
        which: uint32[N], the row's question. providers: uint32[N], untrusted. consents: uint8[N] or None.
        decision, status, rule, reason: written; a decision of 0xFFFF where the provider is no institution.

    Returns:
        how many those are.
    """
    cdef int64_t n = which.shape[0], row, bad = 0, questions = len(of_institution)
    cdef uint32_t question
    cdef uint16_t entry
    cdef Column* of = NULL
    cdef Column* without = NULL
    cdef Column* by_status = NULL
    cdef Column* by_rule = NULL
    cdef Column* by_reason = NULL
    cdef bint wrong = False
    if providers.shape[0] != n or decision.shape[0] != n or status.shape[0] != n or rule.shape[0] != n \
            or reason.shape[0] != n or (consents is not None and consents.shape[0] != n) \
            or not len(without_consent) == len(statuses) == len(rules) == len(reasons) == questions:
        raise ValueError("columns: expected one length")
    try:
        of, without = columns_of(of_institution, 2), columns_of(without_consent, 2)
        by_status, by_rule = columns_of(statuses, 1), columns_of(rules, 4)
        by_reason = columns_of(reasons, 1)
        with nogil:
            for row in range(n):
                question = which[row]
                if question >= questions:
                    wrong = True
                    break
                decision[row] = NO_ENTRY
                status[row] = reason[row] = 0
                rule[row] = 0
                if not 0 < providers[row] < of[question].items:
                    bad += 1
                    continue
                entry = (<const uint16_t*>of[question].at)[providers[row]]
                if entry != NO_ENTRY and entry < without[question].items and (consents is None or not consents[row]):
                    entry = (<const uint16_t*>without[question].at)[entry]
                if entry == NO_ENTRY or entry >= by_status[question].items or entry >= by_rule[question].items \
                        or entry >= by_reason[question].items:
                    bad += 1
                    continue
                decision[row] = entry
                status[row] = (<const uint8_t*>by_status[question].at)[entry]
                rule[row] = (<const uint32_t*>by_rule[question].at)[entry]
                reason[row] = (<const uint8_t*>by_reason[question].at)[entry]
    finally:
        free(of)
        free(without)
        free(by_status)
        free(by_rule)
        free(by_reason)
    if wrong:
        raise ValueError("which: expected places of the questions")
    return bad


# -- the shared fields of a group


cdef inline uint8_t* put_head(uint8_t* out, int64_t length, uint8_t small, uint8_t large) noexcept nogil:
    """The head of a MessagePack array (``small`` 0x90, ``large`` 0xdc) of fewer than 65,536."""
    if length < 16:
        out[0] = small | <uint8_t>length
        return out + 1
    out[0] = large
    out[1], out[2] = <uint8_t>(length >> 8), <uint8_t>length
    return out + 3


cdef inline uint8_t* put_bin(uint8_t* out, int64_t length) noexcept nogil:
    """The head of MessagePack bytes, the shortest one."""
    if length < 256:
        out[0], out[1] = 0xC4, <uint8_t>length
        return out + 2
    if length < 65536:
        out[0], out[1], out[2] = 0xC5, <uint8_t>(length >> 8), <uint8_t>length
        return out + 3
    out[0], out[1], out[2] = 0xC6, <uint8_t>(length >> 24), <uint8_t>(length >> 16)
    out[3], out[4] = <uint8_t>(length >> 8), <uint8_t>length
    return out + 5


cdef inline uint8_t* put_number(uint8_t* out, uint64_t number) noexcept nogil:
    """A MessagePack number, the shortest form."""
    cdef int bytes_, i
    if number < 128:
        out[0] = <uint8_t>number
        return out + 1
    if number < 256:
        out[0], bytes_ = 0xCC, 1
    elif number < 65536:
        out[0], bytes_ = 0xCD, 2
    elif not number >> 32:
        out[0], bytes_ = 0xCE, 4
    else:
        out[0], bytes_ = 0xCF, 8
    for i in range(bytes_):
        out[1 + i] = <uint8_t>(number >> 8 * (bytes_ - 1 - i))
    return out + 1 + bytes_


cdef uint8_t* put_shared(uint8_t* out, const uint8_t* name, const uint8_t* middle, int64_t middle_bytes,
                         const uint8_t* supervised, int64_t supervised_bytes, const uint8_t* blind, uint32_t number,
                         uint8_t* work, uint8_t* hashed) noexcept nogil:
    """One decision's shared fields as bin, and what entries commit to of them. work: room for message and padding."""
    cdef uint8_t own[HASH_BYTES]
    cdef uint8_t committed[HASH_BYTES]
    cdef int64_t length = 4 + NAME_BYTES + middle_bytes + 2 + HASH_BYTES + 1
    cdef uint8_t* begin
    memcpy(work, b"hub/blind/1", 11)
    memcpy(work + 11, blind, HASH_BYTES)
    memcpy(work + 43, &number, 4)
    hash_message(work, 47, own)
    memcpy(work, b"hub/supervised/1", 16)
    memcpy(work + 16, own, HASH_BYTES)
    memcpy(work + 48, supervised, supervised_bytes)
    hash_message(work, 48 + supervised_bytes, committed)
    out = begin = put_bin(out, length)
    memcpy(out, b"\x9f\x01\xc4\x08", 4)
    memcpy(out + 4, name, NAME_BYTES)
    memcpy(out + 12, middle, middle_bytes)
    out += 12 + middle_bytes
    memcpy(out, b"\xc4\x20", 2)
    memcpy(out + 2, committed, HASH_BYTES)
    out[34] = 0xC0
    memcpy(work, b"hub/shared/1", PREFIX_BYTES)
    memcpy(work + PREFIX_BYTES, begin, length)
    hash_message(work, PREFIX_BYTES + length, hashed)
    return out + 35


def join_fields(list middles not None, const uint32_t[::1] middle_of not None, const uint8_t[:, ::1] names not None,
                bytes blind not None, list supervised not None, const uint32_t[::1] supervised_of not None,
                const int64_t[::1] moments not None, uint64_t requested_at, bint one):
    """The fields of a chunk in which each record has a decision of its own, and the hashes of what they share.

    Args:
        middles, supervised: bytes, of ``tlog.entry.shared_middle`` and MessagePack ``bodies.Supervised``; middle_of,
            supervised_of: uint32[K], places of each decision in them. names: uint8[K, 8], inquiries.
        blind: 32 bytes. moments: int64[K], from 0 on. one: whether ``supervised`` is stored once for all.

    Returns:
        MessagePack of ``bodies.Fields``, the bytes that msgspec makes; uint8[K, 32] of ``tlog.entry.hash_shared``.
    """
    cdef int64_t n = middle_of.shape[0], row, _row, size = 128, longest = 0
    cdef Column* middle = NULL
    cdef Column* covered = NULL
    cdef uint8_t* work = NULL
    cdef uint8_t* out
    cdef uint8_t* begin
    cdef const uint8_t* blinding = <const uint8_t*>PyBytes_AS_STRING(blind)
    cdef uint32_t number
    if not _hash.NATIVE:
        return _join_fields(middles, middle_of, names, blind, supervised, supervised_of, moments, requested_at, one)
    if n > 65535 or names.shape[0] != n or names.shape[1] != NAME_BYTES or supervised_of.shape[0] != n \
            or moments.shape[0] != n or len(blind) != HASH_BYTES or (one and not len(supervised)):
        raise ValueError("columns: expected one length, at most 65535")
    hashes = np.empty((n, HASH_BYTES), dtype=np.uint8)
    cdef uint8_t[:, ::1] hash_view = hashes
    try:
        middle, covered = columns_of(middles, 1), columns_of(supervised, 1)
        for row in range(n):
            if middle_of[row] >= <uint32_t>len(middles) or supervised_of[row] >= <uint32_t>len(supervised) \
                    or moments[row] < 0:
                raise ValueError("places: expected those of the columns")
            longest = max(longest, middle[middle_of[row]].items, covered[supervised_of[row]].items)
            size += middle[middle_of[row]].items + (0 if one else covered[supervised_of[row]].items)
            size += NAME_BYTES + HASH_BYTES + 64
        if one:
            size += covered[0].items + 5
        work = <uint8_t*>malloc(longest + 256 + PAD_BYTES)
        if work == NULL:
            raise MemoryError
        fields = PyBytes_FromStringAndSize(NULL, size)
        begin = out = <uint8_t*>PyBytes_AS_STRING(fields)
        with nogil:
            out[0] = 0x95
            out = put_head(out + 1, n, 0x90, 0xDC)
            for row in range(n):
                number = supervised_of[row]
                out = put_shared(out, &names[row, 0], <const uint8_t*>middle[middle_of[row]].at,
                                 middle[middle_of[row]].items, <const uint8_t*>covered[number].at,
                                 covered[number].items, blinding, <uint32_t>row, work, &hash_view[row, 0])
            out = put_head(out, n, 0x90, 0xDC)
            for _row in range(n):
                out[0] = 0x92
                out = put_number(out + 1, requested_at)
                out[0] = 0
                out += 1
            out = put_bin(out, HASH_BYTES)
            memcpy(out, blinding, HASH_BYTES)
            out = put_head(out + HASH_BYTES, 1 if one else n, 0x90, 0xDC)
            for row in range(1 if one else n):
                number = 0 if one else supervised_of[row]
                out = put_bin(out, covered[number].items)
                memcpy(out, covered[number].at, covered[number].items)
                out += covered[number].items
            out = put_head(out, n, 0x90, 0xDC)
            for row in range(n):
                out = put_number(out, <uint64_t>moments[row])
        return fields[:out - begin], hashes
    finally:
        free(work)
        free(middle)
        free(covered)


def _join_fields(middles, middle_of, names, blind, supervised, supervised_of, moments, requested_at, one):
    # The slow way, where no libcrypto can be loaded.
    import msgspec

    shared = []
    for row in range(len(middle_of)):
        own = hashlib.sha256(b"hub/blind/1" + blind + row.to_bytes(4, "little")).digest()
        covering = supervised[supervised_of[row]]
        committed = hashlib.sha256(b"hub/supervised/1" + own + covering).digest()
        shared.append(b"\x9f\x01\xc4\x08" + bytes(names[row]) + middles[middle_of[row]] + b"\xc4\x20" + committed
                      + b"\xc0")
    hashes = b"".join(hashlib.sha256(b"hub/shared/1" + bytes(each)).digest() for each in shared)
    covering = supervised[:1] if one else [supervised[place] for place in supervised_of]
    times = [(requested_at, 0)] * len(shared)
    fields = msgspec.msgpack.encode((shared, times, blind, covering, [int(moment) for moment in moments]))
    return fields, np.frombuffer(hashes, np.uint8).reshape(-1, HASH_BYTES)


# -- entries of the index

# The first 64 bytes of XXH3's default secret, little endian.
cdef uint64_t[8] SECRET = [
    0xBE4BA423396CFEB8, 0x1CAD21F72C81017C, 0xDB979083E96DD4DE, 0x1F67B3B7A4A44072,
    0x78E5C0CC4EE679CB, 0x2172FFCC7DD05A82, 0x8E2443F7744608B8, 0x4C263A81E69035E0,
]


cdef inline uint64_t word(const uint8_t* at) noexcept nogil:
    cdef uint64_t found
    memcpy(&found, at, 8)
    return found


cdef inline uint64_t mix_pair(const uint8_t* at, int secret) noexcept nogil:
    return hub_fold(word(at) ^ SECRET[secret], word(at + 8) ^ SECRET[secret + 1])


cdef uint64_t xxh3(const uint8_t* message, uint64_t length) noexcept nogil:
    """XXH3 of 64 bits, of 17 to 64 bytes, seed 0 (xxHash's specification, "medium inputs")."""
    cdef uint64_t total = length * <uint64_t>0x9E3779B185EBCA87
    if length > 32:
        total += mix_pair(message + 16, 4) + mix_pair(message + length - 32, 6)
    total += mix_pair(message, 0) + mix_pair(message + length - 16, 2)
    total ^= total >> 37
    total *= <uint64_t>0x165667919E3779F9
    return total ^ total >> 32


def seal_entries(bytes name not None, const uint8_t[:, ::1] keys not None, const uint64_t[::1] commits not None):
    """Entries of the index of small requests, sealed (``storage/sealed.py``): key and u32 0 -> u64 commit.

    Args:
        name: of the day's database, at most 20 bytes. keys: uint8[N, 16]. commits: uint64[N].

    Returns:
        list of (key, value), and what they add to the sum of the database.
    """
    cdef int64_t n = keys.shape[0], row
    cdef uint64_t lead = len(name) + 4, sealed, total = 0
    cdef uint8_t message[64]
    cdef uint8_t value[16]
    cdef uint8_t summed[8 + PART_BYTES]
    if commits.shape[0] != n or keys.shape[1] != KEY_BYTES or lead > 24:
        raise ValueError("entries: expected uint8[N, 16], uint64[N] and a name of at most 20 bytes")
    memcpy(message, PyBytes_AS_STRING(name), lead - 4)
    memcpy(message + lead - 4, b"\x0020\x00", 4)
    entries = []
    for row in range(n):
        memcpy(message + lead, &keys[row, 0], KEY_BYTES)
        memcpy(message + lead + KEY_BYTES, b"\x00\x00\x00\x00", 4)
        memcpy(message + lead + PART_BYTES, &commits[row], 8)
        sealed = xxh3(message, lead + PART_BYTES + 8)
        memcpy(value, &sealed, 8)
        memcpy(value + 8, &commits[row], 8)
        memcpy(summed, &sealed, 8)
        memcpy(summed + 8, message + lead, PART_BYTES)
        total += xxh3(summed, 8 + PART_BYTES)
        entries.append((PyBytes_FromStringAndSize(<char*>message + lead, PART_BYTES),
                        PyBytes_FromStringAndSize(<char*>value, 16)))
    return entries, total
