"""Columns of many rows: keys and codes as they come in, rows in order, records laid out, aliases as text.

Everything here works on the caller's arrays; nothing comes from the map.
"""

from cpython.list cimport PyList_GET_ITEM
from libc.stdint cimport int64_t, uint8_t, uint16_t, uint32_t, uint64_t
from libc.stdlib cimport calloc, free, malloc
from libc.string cimport memcpy, memset

import numpy as np

from hub._buckets cimport ALIAS_BYTES, hub_prefetch

cdef extern from *:
    """
    /* Set a bit of a bitmap that several threads fill; what it was before. */
    static inline int hub_set_bit(uint64_t *words, uint64_t at) {
        const uint64_t bit = 1ULL << (at & 63);
        return (__atomic_fetch_or(words + (at >> 6), bit, __ATOMIC_RELAXED) & bit) != 0;
    }
    """
    int hub_set_bit(uint64_t* words, uint64_t at) noexcept nogil

cdef enum:
    U32_NONE = 0xFFFFFFFF
    AHEAD = 32                  # rows by which a loop over random places fetches ahead


# ------------------------------------------------------------------------------------------------- acquire

def first_rows(const uint8_t[:, ::1] keys):
    """For each 16-byte key the row of its first occurrence: uint32[N]. Keys are uniform (AES output)."""
    cdef int64_t n = keys.shape[0], i
    cdef uint64_t size = 64 + n + <uint64_t>n // 2, at, lo
    cdef uint32_t* table
    out = np.empty(n, dtype=np.uint32)
    cdef uint32_t[::1] view = out
    table = <uint32_t*>malloc(size * 4)
    if table == NULL:
        raise MemoryError
    with nogil:
        memset(table, 0xFF, size * 4)
        for i in range(n):
            if i + AHEAD < n:
                memcpy(&lo, &keys[i + AHEAD, 0], 8)
                hub_prefetch(table + ((lo >> 32) * size >> 32))
            memcpy(&lo, &keys[i, 0], 8)
            at = (lo >> 32) * size >> 32
            while table[at] != U32_NONE and not same_key(&keys[table[at], 0], &keys[i, 0]):
                at = at + 1 if at + 1 < size else 0
            if table[at] == U32_NONE:
                table[at] = <uint32_t>i
            view[i] = table[at]
        free(table)
    return out


def mark_keys(const uint8_t[:, ::1] keys, uint64_t[::1] seen, uint64_t[::1] twice):
    """Mark 16-byte keys in a bitmap, and in another those that were marked already; returns how many were.

    Several threads may mark their own keys in the same bitmaps, of a power of two of words. Keys are uniform (AES
    output).
    """
    cdef int64_t n = keys.shape[0], i, found = 0
    cdef int shift = bitmap_shift(seen.shape[0])
    cdef uint64_t lo
    if twice.shape[0] != seen.shape[0]:
        raise ValueError("bitmaps: expected one length")
    with nogil:
        for i in range(n):
            if i + AHEAD < n:
                memcpy(&lo, &keys[i + AHEAD, 0], 8)
                hub_prefetch(&seen[lo >> shift >> 6])
            memcpy(&lo, &keys[i, 0], 8)
            if hub_set_bit(&seen[0], lo >> shift):
                hub_set_bit(&twice[0], lo >> shift)
                found += 1
    return found


def marked_rows(const uint8_t[:, ::1] keys, const uint64_t[::1] bitmap):
    """Rows whose 16-byte key is marked in a bitmap: uint32[M], ascending."""
    cdef int64_t n = keys.shape[0], i, found = 0
    cdef int shift = bitmap_shift(bitmap.shape[0])
    cdef uint64_t lo
    out = np.empty(n + 1, dtype=np.uint32)
    cdef uint32_t[::1] view = out
    with nogil:
        for i in range(n):
            if i + AHEAD < n:
                memcpy(&lo, &keys[i + AHEAD, 0], 8)
                hub_prefetch(&bitmap[lo >> shift >> 6])
            memcpy(&lo, &keys[i, 0], 8)
            lo >>= shift
            view[found] = <uint32_t>i
            found += bitmap[lo >> 6] >> (lo & 63) & 1
    return out[:found]


cdef int bitmap_shift(int64_t words) except -1:
    """By how much a key's first 64 bits are shifted to be a place of the bitmap."""
    cdef int bits = 6
    while (<int64_t>1 << (bits - 6)) < words:
        bits += 1
    if words < 1 or <int64_t>1 << (bits - 6) != words:
        raise ValueError("bitmaps: expected a power of two of words")
    return 64 - bits


cdef inline bint same_key(const uint8_t* a, const uint8_t* b) noexcept nogil:
    cdef uint64_t x[2]
    cdef uint64_t y[2]
    memcpy(x, a, 16)
    memcpy(y, b, 16)
    return x[0] == y[0] and x[1] == y[1]


def code_blocks(const int64_t[::1] codes, int64_t above):
    """Resident record codes as length-tagged 16-byte blocks: u8 11, eleven digits, four zeros.

    Returns:
        (uint8[N, 16], row of the first code outside 0 <= code < above, or -1).
    """
    cdef int64_t n = codes.shape[0], i, value, bad = -1
    cdef int digit
    out = np.zeros((n, 16), dtype=np.uint8)
    cdef uint8_t[:, ::1] view = out
    with nogil:
        for i in range(n):
            value = codes[i]
            if value < 0 or value >= above:
                bad = i
                break
            view[i, 0] = 11
            for digit in range(11, 0, -1):
                view[i, digit] = <uint8_t>(48 + value % 10)
                value //= 10
    return out, bad


def parse_codes(list codes):
    """Eleven-digit strings as int64[N]; (codes, row of the first that is not eleven digits, or -1)."""
    cdef Py_ssize_t n = len(codes), i
    out = np.empty(n, dtype=np.int64)
    cdef int64_t[::1] view = out
    cdef object item
    cdef bytes raw
    cdef const uint8_t* at
    cdef int64_t value
    cdef int k
    for i in range(n):
        item = <object>PyList_GET_ITEM(codes, i)
        if type(item) is not str or len(<str>item) != 11 or not (<str>item).isascii():
            return out, i
        raw = (<str>item).encode("ascii")
        at = <const uint8_t*><const char*>raw
        value = 0
        for k in range(11):
            if at[k] < 48 or at[k] > 57:
                return out, i
            value = 10 * value + at[k] - 48
        view[i] = value
    return out, -1


# ------------------------------------------------------------------------------------------------- records

def order_by_key(const uint64_t[::1] keys):
    """The rows in ascending order of uniform 64-bit keys: uint32[N] (counting sort, then insertion)."""
    cdef int64_t n = keys.shape[0], i, j
    cdef int bits = 1, shift
    cdef uint32_t* starts
    cdef uint32_t row
    cdef uint64_t key
    out = np.empty(n, dtype=np.uint32)
    if n == 0:
        return out
    cdef uint32_t[::1] view = out
    while (<int64_t>1 << bits) < n and bits < 20:
        bits += 1
    shift = 64 - bits
    starts = <uint32_t*>calloc((<uint64_t>1 << bits) + 1, 4)
    if starts == NULL:
        raise MemoryError
    with nogil:
        for i in range(n):
            starts[(keys[i] >> shift) + 1] += 1
        for i in range(<int64_t>1 << bits):
            starts[i + 1] += starts[i]
        for i in range(n):
            view[starts[keys[i] >> shift]] = <uint32_t>i
            starts[keys[i] >> shift] += 1
        for i in range(1, n):
            row = view[i]
            key = keys[row]
            j = i
            while j > 0 and keys[view[j - 1]] > key:
                view[j] = view[j - 1]
                j -= 1
            view[j] = row
        free(starts)
    return out


def place_records(const uint32_t[::1] persons, const uint32_t[::1] providers, const uint16_t[::1] decision,
                  const uint8_t[::1] status, const int64_t[::1] place, int kind, int no_record,
                  uint8_t[:, ::1] table):
    """Lay rows of a chunk out as records, in the order in which those stand, and the state of their request.

    Args:
        persons, providers, decision, status: of N rows. place: int64[K], the row of each record, no row twice.
        kind: of all records. no_record: the bit of a status that says that the row has none.
        table: uint8[K, 16], written, see ``bodies.ROW``; no record follows another.

    Returns:
        uint8[5 N]: N statuses, N x u16 decision, N x u16 position of the row's record, see ``requests/state.py``.

    Raises:
        IndexError: a place is no row.
    """
    cdef int64_t n = persons.shape[0], records = place.shape[0], i, row
    cdef uint16_t small
    cdef uint8_t* out
    cdef uint8_t* cell
    cdef bint bad = False
    if providers.shape[0] != n or decision.shape[0] != n or status.shape[0] != n or n > 65536 \
            or table.shape[0] != records or table.shape[1] != 16:
        raise ValueError("columns: expected one length")
    state = np.zeros(5 * n, dtype=np.uint8)
    cdef uint8_t[::1] view = state
    if n == 0:
        return state
    out = &view[0]
    with nogil:
        memcpy(out + n, &decision[0], 2 * n)
        for i in range(n):
            out[i] = status[i] | <uint8_t>no_record
        for i in range(records):
            row = place[i]
            if row < 0 or row >= n:
                bad = True
                break
            out[row] = status[row]
            small = <uint16_t>i
            memcpy(out + 3 * n + 2 * row, &small, 2)
            cell = &table[i, 0]
            memset(cell, 0, 16)
            memcpy(cell, &persons[row], 4)
            small = <uint16_t>providers[row]
            memcpy(cell + 4, &small, 2)
            memcpy(cell + 6, &decision[row], 2)
            cell[8] = status[row]
            cell[9] = <uint8_t>kind
    if bad:
        raise IndexError("place: expected rows of the chunk, got another")
    return state


# ---------------------------------------------------------------------------------------------------- text

cdef uint8_t HEX_VALUE[256]
cdef const char* HEX_DIGITS = b"0123456789abcdef"
memset(HEX_VALUE, 255, 256)
for _i in range(16):
    HEX_VALUE[<uint8_t>HEX_DIGITS[_i]] = _i
    HEX_VALUE[ord("%X" % _i)] = _i


def hex_decode(list texts):
    """Aliases as text (str or bytes of 32 hex digits) to (uint8[N, 16], bool[N] well formed)."""
    cdef Py_ssize_t n = len(texts), i
    cdef int k
    cdef const uint8_t* at
    cdef uint8_t high, low, wrong
    cdef object item
    cdef bytes raw
    out = np.zeros((n, 16), dtype=np.uint8)
    good = np.zeros(n, dtype=np.bool_)
    cdef uint8_t[:, ::1] view = out
    cdef uint8_t[::1] ok = good.view(np.uint8)
    for i in range(n):
        item = <object>PyList_GET_ITEM(texts, i)
        if type(item) is str:
            if len(<str>item) != 32 or not (<str>item).isascii():
                continue
            raw = (<str>item).encode("ascii")
        elif type(item) is bytes and len(<bytes>item) == 32:
            raw = <bytes>item
        else:
            continue
        at = <const uint8_t*><const char*>raw
        wrong = 0
        for k in range(16):
            high = HEX_VALUE[at[2 * k]]
            low = HEX_VALUE[at[2 * k + 1]]
            wrong |= high | low
            view[i, k] = <uint8_t>(high << 4 | (low & 15))
        if wrong & 0xF0:
            for k in range(16):
                view[i, k] = 0
        else:
            ok[i] = 1
    return out, good


def hex_encode(const uint8_t[:, ::1] aliases):
    """uint8[N, 16] to a list of N strings of 32 lower-case hex digits."""
    cdef Py_ssize_t n = aliases.shape[0], i
    cdef int k
    cdef char text[32]
    cdef list out = [None] * n
    if n and aliases.shape[1] != ALIAS_BYTES:
        raise ValueError("columns: expected 16 bytes a row")
    for i in range(n):
        for k in range(16):
            text[2 * k] = HEX_DIGITS[aliases[i, k] >> 4]
            text[2 * k + 1] = HEX_DIGITS[aliases[i, k] & 15]
        out[i] = text[:32].decode("ascii")
    return out
