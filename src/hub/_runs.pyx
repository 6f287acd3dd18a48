"""Kernels of the history index: search entries and blocks of runs, decode, merge and pack them.

Formats stand in ``runs/index.py``. A checksum is taken before a byte behind it is believed; lengths are compared all
the same.
"""

from cpython.buffer cimport PyBUF_SIMPLE, PyBuffer_Release, PyObject_GetBuffer
from cpython.bytes cimport PyBytes_AS_STRING, PyBytes_FromStringAndSize
from libc.stdint cimport int64_t, uint8_t, uint32_t, uint64_t
from libc.string cimport memcmp, memcpy
from posix.mman cimport MADV_WILLNEED, madvise

import numpy as np
import xxhash

from hub.errors import StorageError

cdef extern from *:
    """
    #include <stdint.h>
    static inline uint64_t hub_block_of(uint64_t key, uint64_t blocks) {
        return (uint64_t)(((unsigned __int128)key * blocks) >> 64);
    }
    static inline uint64_t hub_base_of(uint64_t block, uint64_t blocks) {
        return (uint64_t)((((unsigned __int128)block << 64) + blocks - 1) / blocks);
    }
    """
    uint64_t hub_block_of(uint64_t key, uint64_t blocks) noexcept nogil
    uint64_t hub_base_of(uint64_t block, uint64_t blocks) noexcept nogil

cdef object digest = xxhash.xxh3_64_intdigest
cdef bytes RUNS = b"runs\x0018\x00"
cdef bytes RUNDIR = b"rundir\x0011\x00"


cdef inline uint64_t load(const uint8_t* at, int size) noexcept nogil:
    """A little-endian number of 1 to 8 bytes."""
    cdef uint64_t x = 0
    memcpy(&x, at, size)
    return x


cdef inline uint64_t field(const Block* block, const uint8_t* at, int size) noexcept nogil:
    """A number of a block: one load of eight bytes but for the last ones of the value."""
    cdef uint64_t x
    if size == 8 or at + 8 > block.end:
        return load(at, size)
    memcpy(&x, at, 8)
    return x & ((<uint64_t>1 << (8 * size)) - 1)


cdef inline uint64_t big_endian(const uint8_t* at, int size) noexcept nogil:
    cdef uint64_t x = 0
    cdef int i
    for i in range(size):
        x = x << 8 | at[i]
    return x


cdef str name_of(uint64_t period, uint64_t first):
    return f"run {period >> 2:04d}Q{(period & 3) + 1} from {first}"


cdef bint is_sealed(bytes lead, const uint8_t* key, Py_ssize_t key_bytes, const uint8_t* value, Py_ssize_t length):
    """Whether a value begins with the checksum of ``storage/sealed.py``; ``lead``: database and length of the key."""
    cdef Py_ssize_t before = len(lead)
    cdef bytes text
    cdef char* at
    cdef uint64_t stored
    if length < SUM_BYTES:
        return False
    text = PyBytes_FromStringAndSize(NULL, before + key_bytes + length - SUM_BYTES)
    at = PyBytes_AS_STRING(text)
    memcpy(at, PyBytes_AS_STRING(lead), before)
    memcpy(at + before, key, key_bytes)
    memcpy(at + before + key_bytes, value + SUM_BYTES, length - SUM_BYTES)
    memcpy(&stored, value, SUM_BYTES)
    return <uint64_t>digest(text) == stored


cdef int open_block(const uint8_t* value, int64_t length, int key_bytes, int offset_bytes, Block* block) noexcept nogil:
    """Lay a block open, with its lengths compared."""
    cdef int each = key_bytes + offset_bytes
    if length < BLOCK_HEAD or key_bytes < 1 or key_bytes > 8 or offset_bytes < 0 or offset_bytes > 4:
        return BAD_LENGTH
    if (length - BLOCK_HEAD) % each:
        return BAD_LENGTH
    block.count = (length - BLOCK_HEAD) // each
    block.key_bytes = key_bytes
    block.offset_bytes = offset_bytes
    block.start = <uint32_t>load(value + SUM_BYTES, 4)
    block.remainders = value + BLOCK_HEAD
    block.end = value + length
    block.offsets = NULL if offset_bytes == 0 else value + BLOCK_HEAD + key_bytes * block.count
    return GOOD


cdef int64_t lower_bound(const Block* block, uint64_t remainder) noexcept nogil:
    """The first position whose remainder is not below the given one."""
    cdef int64_t low = 0, high = block.count, middle
    while low < high:
        middle = (low + high) >> 1
        if field(block, block.remainders + middle * block.key_bytes, block.key_bytes) < remainder:
            low = middle + 1
        else:
            high = middle
    return low


cdef list hits_in(const Block* block, uint64_t remainder, uint64_t first, uint64_t below):
    """Indexes under ``below`` of the records with this remainder, ascending."""
    cdef int64_t at = lower_bound(block, remainder)
    cdef uint64_t index
    cdef list found = []
    while at < block.count and field(block, block.remainders + at * block.key_bytes, block.key_bytes) == remainder:
        if block.offsets == NULL:
            index = first + block.start + at
        else:
            index = first + field(block, block.offsets + at * block.offset_bytes, block.offset_bytes)
        if index < below:
            found.append(index)
        at += 1
    return found


def find_entries(object cursor, uint64_t period, uint64_t wanted, uint64_t below, int64_t since, int64_t until,
                 list spans not None):
    """The runs of a period that may hold records of a person, from entries of ``rundir``; small ones are searched.

    Args:
        cursor: of ``rundir``. wanted: person key. below: no record from this index on.
        since, until: runs without a record between these times, both included, are left out.
        spans: gets (first, last) index of every run with a record under ``below``, of whatever time.

    Returns:
        list of (last, first, records, blocks, key bytes, offset bytes, period, hits): hits is None for a run that has
        blocks, else the indexes found, ascending; runs that were searched without a hit are left out.

    Raises:
        StorageError: an entry is damaged; it is named.
    """
    cdef Py_buffer key, value
    cdef list found = [], hits
    cdef Block block
    cdef const uint8_t* at
    cdef uint64_t first, last
    cdef uint32_t records, blocks
    cdef bytes start = b"\x01" + (<object>period).to_bytes(2, "big")
    if not cursor.set_range(start):
        return found
    for key_view, value_view in cursor:
        PyObject_GetBuffer(key_view, &key, PyBUF_SIMPLE)
        try:
            at = <const uint8_t*>key.buf
            if key.len < 3 or memcmp(at, PyBytes_AS_STRING(start), 3):
                break
            if key.len != ENTRY_KEY_BYTES:
                raise StorageError("rundir: expected the stored key of a run, got a damaged one")
            first = big_endian(at + 3, 8)
            if first >= below:
                break
            PyObject_GetBuffer(value_view, &value, PyBUF_SIMPLE)
            try:
                at = <const uint8_t*>value.buf
                if value.len < ENTRY_BYTES or not is_sealed(RUNDIR, <const uint8_t*>key.buf, key.len, at, value.len):
                    raise StorageError(f"{name_of(period, first)}: expected the stored checksum, got a damaged entry")
                last = load(at + 8, 8)
                spans.append((first, last))
                if <int64_t>load(at + 32, 8) > until or <int64_t>load(at + 40, 8) < since:
                    continue
                records = <uint32_t>load(at + 16, 4)
                blocks = <uint32_t>load(at + 20, 4)
                if blocks:
                    found.append((last, first, records, blocks, at[24], at[25], period, None))
                    continue
                # The eight bytes before the block's start are the end of the entry: they stand where its sum would.
                if open_block(at + ENTRY_BYTES - SUM_BYTES, value.len - ENTRY_BYTES + SUM_BYTES, at[24], at[25],
                              &block) != GOOD or block.count != records:
                    raise StorageError(f"{name_of(period, first)}: expected {records} keys, got a damaged entry")
                hits = hits_in(&block, wanted, first, below)
                if hits:
                    found.append((last, first, records, blocks, at[24], at[25], period, hits))
            finally:
                PyBuffer_Release(&value)
        finally:
            PyBuffer_Release(&key)
    return found


def find_in_block(object value, bytes key not None, uint64_t wanted, uint64_t below, int key_bytes, int offset_bytes,
                  uint64_t blocks):
    """Indexes under ``below`` of a person's records in one block of a run, ascending.

    Args:
        key: the block's, in ``runs``.

    Raises:
        StorageError: the block is damaged; its run is named.
    """
    cdef Py_buffer view
    cdef Block block
    cdef const uint8_t* at = <const uint8_t*>PyBytes_AS_STRING(key)
    cdef uint64_t first
    if len(key) != 18 or blocks == 0:
        raise ValueError(f"key: expected 18 bytes, got {len(key)}")
    first = big_endian(at + 2, 8)
    PyObject_GetBuffer(value, &view, PyBUF_SIMPLE)
    try:
        if not is_sealed(RUNS, at, len(key), <const uint8_t*>view.buf, view.len) or open_block(
                <const uint8_t*>view.buf, view.len, key_bytes, offset_bytes, &block) != GOOD:
            raise StorageError(f"{name_of(big_endian(at, 2), first)}: "
                               f"expected the stored checksum, got a damaged block {big_endian(at + 14, 4)}")
        return hits_in(&block, wanted - hub_base_of(big_endian(at + 14, 4), blocks), first, below)
    finally:
        PyBuffer_Release(&view)


def prefetch(list values not None):
    """Tell the system that these values of the map will be read, so that it reads them at once and beside each other.

    Values within one page are left out: the search has touched their page already.
    """
    cdef Py_buffer view
    cdef uint64_t begin, end
    for value in values:
        PyObject_GetBuffer(value, &view, PyBUF_SIMPLE)
        begin, end = <uint64_t>view.buf & ~<uint64_t>4095, <uint64_t>view.buf + view.len
        PyBuffer_Release(&view)
        if end - begin > 4096:
            # Advice only: a failure costs time, nothing else.
            with nogil:
                madvise(<void*>begin, end - begin, MADV_WILLNEED)


cdef int decode(const Block* block, uint64_t base, uint64_t last, int64_t begin, int64_t end, uint64_t span,
                uint64_t shift, uint64_t* keys, uint32_t* offsets) noexcept nogil:
    """Keys and offsets of part of a block; ``last`` is the block's largest key, ``span`` the run's largest offset."""
    cdef int64_t at
    cdef uint64_t key, before = base, offset, bad = 0
    for at in range(begin, end):
        key = base + field(block, block.remainders + at * block.key_bytes, block.key_bytes)
        bad |= <uint64_t>(key < before)
        before = key
        keys[at - begin] = key
    if end > begin:
        bad |= <uint64_t>(before > last)
    if block.offsets == NULL:
        bad |= <uint64_t>(block.start + block.count - 1 > span)
        for at in range(begin, end):
            offsets[at - begin] = <uint32_t>(shift + block.start + at)
    else:
        for at in range(begin, end):
            offset = field(block, block.offsets + at * block.offset_bytes, block.offset_bytes)
            bad |= <uint64_t>(offset > span)
            offsets[at - begin] = <uint32_t>(shift + offset)
    return BAD_ORDER if bad else GOOD


cdef class Pairs:
    """Sorted keys and offsets under way from runs to runs; grows as they are added.

    Attributes:
        keys: uint64[N]. offsets: uint32[N]. lengths: of each sorted sequence in them.
    """
    cdef readonly object keys
    cdef readonly object offsets
    cdef readonly list lengths
    cdef int64_t _count

    def __init__(self, int64_t room):
        self.keys = np.empty(max(room, 1), dtype=np.uint64)
        self.offsets = np.empty(max(room, 1), dtype=np.uint32)
        self.lengths = []
        self._count = 0

    def __repr__(self):
        return f"Pairs(sequences={len(self.lengths)}, records={self._count})"

    cdef int _reserve(self, int64_t more) except -1:
        cdef int64_t room
        if self._count + more > len(self.keys):
            room = 2 * (self._count + more)
            keys, offsets = np.empty(room, dtype=np.uint64), np.empty(room, dtype=np.uint32)
            keys[:self._count], offsets[:self._count] = self.keys[:self._count], self.offsets[:self._count]
            self.keys, self.offsets = keys, offsets
        return 0

    def add(self, list values not None, bytes head not None, int64_t first_block, uint64_t blocks, int key_bytes,
            int offset_bytes, uint64_t span, uint64_t shift, uint64_t low, uint64_t high, bint sealed):
        """Decode following blocks of one run, those keys between ``low`` and ``high`` (both included).

        Args:
            values: of ``runs``, from block ``first_block`` on. head: the first 14 bytes of their keys.
            span: largest offset in the run. shift: what to add to its offsets.
            sealed: whether to take their checksums; False for the block of an entry, whose own has been taken.

        Returns:
            records before the first block in the run, and behind the last.

        Raises:
            StorageError: a block is damaged or does not follow the one before; the run is named.
        """
        cdef Py_buffer view
        cdef Block block
        cdef uint64_t base, last
        cdef uint64_t[::1] keys
        cdef uint32_t[::1] offsets
        cdef int64_t begin, end, number = first_block, start = -1, follows = 0, before = self._count
        cdef int code
        cdef bytes key
        if len(head) != 14:
            raise ValueError(f"head: expected 14 bytes, got {len(head)}")
        for value in values:
            PyObject_GetBuffer(value, &view, PyBUF_SIMPLE)
            try:
                code = open_block(<const uint8_t*>view.buf, view.len, key_bytes, offset_bytes, &block)
                if sealed:
                    key = head + (<object>number).to_bytes(4, "big")
                    if not is_sealed(RUNS, <const uint8_t*>PyBytes_AS_STRING(key), len(key),
                                     <const uint8_t*>view.buf, view.len):
                        code = BAD_LENGTH
                if code == GOOD and start >= 0 and block.start != follows:
                    code = BAD_START
                if code == GOOD:
                    if start < 0:
                        start = block.start
                    follows = <int64_t>block.start + block.count
                    base, last = hub_base_of(number, blocks), hub_base_of(number + 1, blocks) - 1
                    begin = 0 if low <= base else lower_bound(&block, low - base)
                    end = block.count if high >= last else lower_bound(&block, high - base + 1)
                    if high < base or end < begin:
                        end = begin
                    self._reserve(end - begin)
                    if end > begin:
                        keys, offsets = self.keys, self.offsets
                        with nogil:
                            code = decode(&block, base, last, begin, end, span, shift, &keys[self._count],
                                          &offsets[self._count])
                        self._count += end - begin
                if code != GOOD:
                    raise StorageError(_damage(head, number, code))
            finally:
                PyBuffer_Release(&view)
            number += 1
        self.lengths.append(self._count - before)
        return max(start, 0), follows

    def merged(self):
        """All pairs in order of key, those of an earlier sequence first: uint64[N], uint32[N]."""
        cdef uint64_t[::1] from_keys = self.keys, to_keys
        cdef uint32_t[::1] from_offsets = self.offsets, to_offsets
        cdef int64_t at, left, right
        cdef list lengths = [length for length in self.lengths if length], joined
        other_keys, other_offsets = np.empty_like(self.keys), np.empty_like(self.offsets)
        while len(lengths) > 1:
            to_keys, to_offsets = other_keys, other_offsets
            joined = []
            at = 0
            for number in range(0, len(lengths), 2):
                left = lengths[number]
                right = lengths[number + 1] if number + 1 < len(lengths) else 0
                with nogil:
                    merge_two(&from_keys[at], &from_offsets[at], left, &from_keys[0] + at + left,
                              &from_offsets[0] + at + left, right, &to_keys[at], &to_offsets[at])
                at += left + right
                joined.append(left + right)
            lengths = joined
            self.keys, self.offsets, other_keys, other_offsets = other_keys, other_offsets, self.keys, self.offsets
            from_keys, from_offsets = self.keys, self.offsets
        self.lengths = lengths
        return self.keys[:self._count], self.offsets[:self._count]


cdef str _damage(bytes head, int64_t number, int code):
    cdef const uint8_t* at = <const uint8_t*>PyBytes_AS_STRING(head)
    cdef str name = name_of(big_endian(at, 2), big_endian(at + 2, 8))
    if code == BAD_START:
        return f"{name}: expected block {number} to follow the one before, got a gap"
    if code == BAD_ORDER:
        return f"{name}: expected ascending keys and offsets of its records in block {number}, got others"
    return f"{name}: expected the stored checksum, got a damaged block {number}"


cdef inline int64_t split(const uint64_t* left, int64_t left_count, const uint64_t* right, int64_t right_count,
                          int64_t rank) noexcept nogil:
    """How many of the first ``rank`` pairs of a merge come from the left."""
    cdef int64_t low = max(0, rank - right_count), high = min(rank, left_count), middle
    while low < high:
        middle = (low + high) >> 1
        if left[middle] <= right[rank - middle - 1]:
            low = middle + 1
        else:
            high = middle
    return low


cdef inline void merge_one(const uint64_t* left, const uint32_t* left_at, const uint64_t* right,
                           const uint32_t* right_at, uint64_t* keys, uint32_t* offsets,
                           int64_t* i, int64_t* j) noexcept nogil:
    # Without a branch on the keys: they are random, and each second guess of the processor would be wrong.
    cdef uint64_t a = left[i[0]], b = right[j[0]]
    cdef uint32_t x = left_at[i[0]], y = right_at[j[0]]
    cdef int64_t take = a <= b, out = i[0] + j[0]
    keys[out] = b ^ ((a ^ b) & <uint64_t>(-take))
    offsets[out] = y ^ ((x ^ y) & <uint32_t>(-take))
    i[0] += take
    j[0] += 1 - take


cdef void merge_two(const uint64_t* left, const uint32_t* left_at, int64_t left_count,
                    const uint64_t* right, const uint32_t* right_at, int64_t right_count,
                    uint64_t* keys, uint32_t* offsets) noexcept nogil:
    """Merge two sorted sequences; of equal keys the left ones first."""
    # Each pair waits for the comparison before it. Four parts of the output are merged in turns, so that four such
    # chains run beside each other (4.5 to 1.6 ns a pair). A part's place in the output is i + j.
    cdef int64_t i[4]
    cdef int64_t j[4]
    cdef int64_t i_end[4]
    cdef int64_t j_end[4]
    cdef int64_t total = left_count + right_count, part, steps, i0, i1, i2, i3, j0, j1, j2, j3, _at
    for part in range(4):
        i[part] = split(left, left_count, right, right_count, total * part // 4)
        j[part] = total * part // 4 - i[part]
    for part in range(4):
        i_end[part] = i[part + 1] if part < 3 else left_count
        j_end[part] = j[part + 1] if part < 3 else right_count
    while True:
        steps = total
        for part in range(4):
            steps = min(steps, min(i_end[part] - i[part], j_end[part] - j[part]))
        if steps < 4:
            break
        i0, i1, i2, i3 = i[0], i[1], i[2], i[3]
        j0, j1, j2, j3 = j[0], j[1], j[2], j[3]
        for _at in range(steps):
            merge_one(left, left_at, right, right_at, keys, offsets, &i0, &j0)
            merge_one(left, left_at, right, right_at, keys, offsets, &i1, &j1)
            merge_one(left, left_at, right, right_at, keys, offsets, &i2, &j2)
            merge_one(left, left_at, right, right_at, keys, offsets, &i3, &j3)
        i[0], i[1], i[2], i[3] = i0, i1, i2, i3
        j[0], j[1], j[2], j[3] = j0, j1, j2, j3
    for part in range(4):
        while i[part] < i_end[part] and j[part] < j_end[part]:
            merge_one(left, left_at, right, right_at, keys, offsets, &i[part], &j[part])
        _at = i[part] + j[part]
        memcpy(keys + _at, left + i[part], 8 * (i_end[part] - i[part]))
        memcpy(offsets + _at, left_at + i[part], 4 * (i_end[part] - i[part]))
        _at += i_end[part] - i[part]
        memcpy(keys + _at, right + j[part], 8 * (j_end[part] - j[part]))
        memcpy(offsets + _at, right_at + j[part], 4 * (j_end[part] - j[part]))


def pack_blocks(const uint64_t[::1] keys, const uint32_t[::1] offsets, int64_t first_block, int64_t end_block,
                uint64_t blocks, int key_bytes, int offset_bytes, int64_t start):
    """Lay sorted pairs out as the blocks ``first_block`` to before ``end_block`` of a run; sums are left empty.

    Args:
        keys: uint64[N], ascending, all of those blocks. offsets: uint32[N]; ignored where ``offset_bytes`` is 0.
        start: records of the run before these.

    Returns:
        uint8[bytes], the values one behind the other, and int64[blocks + 1], where each begins.

    Raises:
        ValueError: a key does not belong to these blocks, or numbers do not fit their bytes.
    """
    cdef int64_t count = len(keys), at = 0, number, n, i, place = 0
    cdef int each = key_bytes + offset_bytes
    cdef uint64_t base, last, x
    cdef int bad = 0
    cdef int64_t[::1] begins
    cdef uint8_t[::1] out
    cdef uint32_t before
    if not 1 <= key_bytes <= 8 or not 0 <= offset_bytes <= 4 or not 0 <= first_block <= end_block <= <int64_t>blocks:
        raise ValueError("blocks: expected 1 to 8 bytes of key and 0 to 4 of offset, got others")
    if offset_bytes and len(offsets) != count:
        raise ValueError(f"offsets: expected {count}, got {len(offsets)}")
    values = np.empty((end_block - first_block) * BLOCK_HEAD + each * count + 8, dtype=np.uint8)
    found = np.empty(end_block - first_block + 1, dtype=np.int64)
    out, begins = values, found
    with nogil:
        for number in range(first_block, end_block):
            begins[number - first_block] = place
            base, last = hub_base_of(number, blocks), hub_base_of(number + 1, blocks) - 1
            before = <uint32_t>(start + at)
            x = 0
            memcpy(&out[place], &x, 8)
            memcpy(&out[place + 8], &before, 4)
            place += BLOCK_HEAD
            n = at
            while n < count and keys[n] <= last:
                x = keys[n] - base
                bad |= keys[n] < base or (n > at and keys[n] < keys[n - 1])
                if key_bytes < 8:
                    bad |= (x >> (8 * key_bytes)) != 0
                # Eight bytes at once; what is too many is written over by the next, and the array is 8 bytes longer.
                memcpy(&out[place], &x, 8)
                place += key_bytes
                n += 1
            if offset_bytes:
                for i in range(at, n):
                    x = offsets[i]
                    bad |= (x >> (8 * offset_bytes)) != 0
                    memcpy(&out[place], &x, offset_bytes)
                    place += offset_bytes
            at = n
        begins[end_block - first_block] = place
    if bad or at != count:
        raise ValueError("keys: expected ascending keys of these blocks and offsets of that many bytes, got others")
    return values[:place], found


def sum_pairs(const uint64_t[::1] keys, const uint64_t[::1] indexes, uint64_t first, uint64_t step, uint64_t secret,
              uint64_t[::1] sums):
    """Add a hash of each (key, index) to ``sums[(index - first) // step]``, in any order of the pairs.

    Raises:
        ValueError: an index is not of these sums.
    """
    cdef int64_t at, count = len(keys), room = len(sums)
    cdef uint64_t x, place
    cdef int bad = 0
    if len(indexes) != count or step == 0:
        raise ValueError(f"indexes: expected {count}, got {len(indexes)}")
    with nogil:
        for at in range(count):
            place = (indexes[at] - first) // step
            if indexes[at] < first or place >= <uint64_t>room:
                bad = 1
                continue
            # splitmix64's finish over key and index, twice, under a number that only this check knows.
            x = keys[at] ^ secret
            x = (x ^ x >> 30) * <uint64_t>0xBF58476D1CE4E5B9ULL
            x = (x ^ x >> 27) * <uint64_t>0x94D049BB133111EBULL
            x = (x ^ x >> 31) + indexes[at] * <uint64_t>0x9E3779B97F4A7C15ULL
            x = (x ^ x >> 30) * <uint64_t>0xBF58476D1CE4E5B9ULL
            x = (x ^ x >> 27) * <uint64_t>0x94D049BB133111EBULL
            sums[place] += x ^ x >> 31
    if bad:
        raise ValueError("indexes: expected those of the run, got others")
