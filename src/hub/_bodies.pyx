"""Finds some records of the log for whoever reads a person's: chunk, position and stored row of each, checked.

What ``records/bodies.py`` has in words, a page of a history in one call. A chunk whose head is known by its checksum
is not read again but for the 256 rows around a record, whose sum is taken each time. Nothing is decrypted here.
"""

from cpython.memoryview cimport PyMemoryView_FromMemory
from cpython.buffer cimport PyBUF_READ
from cpython.bytes cimport PyBytes_AS_STRING
from cpython.mem cimport PyMem_Free, PyMem_Malloc
from libc.stdint cimport int64_t, uint8_t, uint16_t, uint32_t, uint64_t
from libc.string cimport memcpy

import numpy as np
import xxhash

from hub._hash cimport Stored
from hub._pages cimport Found, Pages, Tree, big_endian, touch_all

from hub.errors import StorageError

cdef enum:
    GOOD = 0
    NOT_THERE = 4
    HEAD_BYTES = 64
    ROW_BYTES = 16
    PIECE_ROWS = 256
    NONCE_BYTES = 12
    # Fields of a ``Chunk``, a tuple, by their places.
    FIRST = 0
    ROWS = 1
    NONCE = 4
    ROWS_AT = 7
    SUMS = 8

cdef object digest = xxhash.xxh3_64_intdigest

# Where a record is in the map.
cdef struct Place:
    uint64_t first              # index of the first record of its chunk
    const uint8_t* value
    uint64_t value_bytes


cdef class Body:
    """One record: where it stands, and what its row says; see the byte table of ``records/bodies.py``.

    Attributes:
        chunk: it stands in. index: in the log. position: in its chunk.
        person, provider, decision, outcome, kind: of its row. link: index of the record that it follows, or None.
    """

    cdef readonly object chunk
    cdef readonly uint64_t index
    cdef readonly uint32_t position
    cdef Stored stored

    def __init__(self):
        raise TypeError("bodies: expected a record that was read")

    def __repr__(self):
        return f"Body(index={self.index})"

    @property
    def person(self):
        return self.stored.person

    @property
    def provider(self):
        return self.stored.provider

    @property
    def decision(self):
        return self.stored.decision

    @property
    def outcome(self):
        return self.stored.outcome

    @property
    def kind(self):
        return self.stored.kind

    @property
    def link(self):
        cdef uint64_t link = self.stored.link[0] | <uint64_t>self.stored.link[1] << 16 \
            | <uint64_t>self.stored.link[2] << 32
        return link - 1 if link else None


cdef inline uint64_t load(const uint8_t* at, int size) noexcept nogil:
    cdef uint64_t x = 0
    memcpy(&x, at, size)
    return x


cdef int fill_counter(uint8_t* out, object nonce, uint32_t position) except -1:
    """Nonce of a chunk and position, big endian: what a row's key stream and its salt come from."""
    cdef bytes raw = nonce
    cdef int i
    if len(raw) != NONCE_BYTES:
        raise ValueError(f"nonce: expected {NONCE_BYTES} bytes, got {len(raw)}")
    memcpy(out, PyBytes_AS_STRING(raw), NONCE_BYTES)
    for i in range(4):
        out[NONCE_BYTES + i] = <uint8_t>(position >> (24 - 8 * i))
    return 0


def read_rows(Pages pages not None, list indexes not None, object find_kept not None, object check_head not None):
    """Chunks, key stream counters and rows of some records.

    Args:
        pages: of the snapshot. indexes: N numbers.
        find_kept: (first, head sum) -> the chunk that is known by them, or None.
        check_head: (key, value) -> the chunk, checked and decoded.

    Returns:
        list of N ``Chunk``, uint8[N, 16] counters, uint8[N, 16] rows as stored.

    Raises:
        StorageError: a chunk is missing or damaged, or what is called raises it.
    """
    cdef int64_t n = len(indexes), i
    cdef Tree tree
    cdef Found found
    cdef uint8_t key[8]
    cdef uint64_t index, first, head_sum, position, rows, rows_at, at, row_sum
    cdef int code, shift
    cdef bytes sums
    cdef list chunks = []
    counters, stored = np.empty((n, ROW_BYTES), np.uint8), np.empty((n, ROW_BYTES), np.uint8)
    cdef uint8_t[:, ::1] counters_view = counters, stored_view = stored
    cdef Place* places = <Place*>PyMem_Malloc(max(n, 1) * sizeof(Place))
    cdef const uint8_t** wanted = <const uint8_t**>PyMem_Malloc(max(n, 1) * sizeof(const uint8_t*))
    cdef uint64_t* lengths = <uint64_t*>PyMem_Malloc(max(n, 1) * sizeof(uint64_t))
    try:
        if places == NULL or wanted == NULL or lengths == NULL:
            raise MemoryError
        pages.tree_of(b"records", &tree)
        for i in range(n):
            index = indexes[i]
            for shift in range(8):
                key[shift] = <uint8_t>(index >> (56 - 8 * shift))
            code = NOT_THERE
            if tree.root != 0xFFFFFFFFFFFFFFFFULL:
                with nogil:
                    code = pages.floor(&found, tree.root, tree.depth, key, 8)
            if code == NOT_THERE or (code == GOOD and found.key_bytes != 8):
                raise StorageError(f"record {index}: expected a chunk, got none")
            if code != GOOD:
                raise StorageError(f"environment: expected the pages of records, got a damaged tree "
                                   f"at page {found.bad_page}")
            first = big_endian(found.key)
            if found.value_bytes < HEAD_BYTES:
                raise StorageError(f"records from {first}: expected a chunk, got {found.value_bytes} bytes")
            places[i].first, places[i].value, places[i].value_bytes = first, found.value, found.value_bytes
            wanted[i], lengths[i] = found.value, HEAD_BYTES
        with nogil:
            touch_all(wanted, lengths, n)
        for i in range(n):
            index, first = indexes[i], places[i].first
            head_sum, rows = load(places[i].value, 8), load(places[i].value + 12, 4)
            chunk = find_kept(first, head_sum)
            if chunk is None or <uint64_t>chunk[ROWS] != rows \
                    or places[i].value_bytes != <uint64_t>chunk[ROWS_AT] + ROW_BYTES * rows:
                chunk = check_head(first.to_bytes(8, "big"), view_of(places[i].value, places[i].value_bytes))
            position, rows, rows_at = index - first, chunk[ROWS], chunk[ROWS_AT]
            if position >= rows:
                raise StorageError(f"record {index}: expected a chunk that holds it, got none")
            at = rows_at + ROW_BYTES * (position - position % PIECE_ROWS)
            wanted[i] = places[i].value + at
            lengths[i] = ROW_BYTES * min(<uint64_t>PIECE_ROWS, rows - (position - position % PIECE_ROWS))
            # Both are so for a chunk that was checked; places of the map are believed by nobody's word.
            if at + lengths[i] > places[i].value_bytes:
                raise StorageError(f"records from {first}: expected {rows} rows, got less")
            chunks.append(chunk)
        with nogil:
            touch_all(wanted, lengths, n)
        for i in range(n):
            chunk = chunks[i]
            position = <uint64_t>indexes[i] - places[i].first
            sums = chunk[SUMS]
            at = position // PIECE_ROWS
            if 8 * (at + 1) > <uint64_t>len(sums):
                raise StorageError(f"records from {places[i].first}: expected sums of all rows, got less")
            row_sum = load(<const uint8_t*>PyBytes_AS_STRING(sums) + 8 * at, 8)
            if <uint64_t>digest(view_of(wanted[i], lengths[i])) != row_sum:
                raise StorageError(f"records from {places[i].first}: expected the stored checksum, got damaged rows "
                                   f"at {places[i].first + at * PIECE_ROWS}")
            memcpy(&stored_view[i, 0], wanted[i] + ROW_BYTES * (position % PIECE_ROWS), ROW_BYTES)
            fill_counter(&counters_view[i, 0], chunk[NONCE], <uint32_t>position)
        return chunks, counters, stored
    finally:
        PyMem_Free(places)
        PyMem_Free(wanted)
        PyMem_Free(lengths)


cdef object view_of(const uint8_t* at, uint64_t size):
    """A part of the map, not copied."""
    return PyMemoryView_FromMemory(<char*>at, <Py_ssize_t>size, PyBUF_READ)


def bodies_of(list indexes not None, list chunks not None, const uint8_t[:, ::1] rows not None):
    """A ``Body`` of each record.

    Args:
        indexes, chunks: of N records, as :func:`read_rows` took and gave them. rows: uint8[N, 16], decrypted.
    """
    cdef int64_t n = len(indexes), i
    cdef Body body
    cdef list made = []
    if len(chunks) != n or rows.shape[0] != n or (n and rows.shape[1] != ROW_BYTES):
        raise ValueError("bodies: expected one length")
    for i in range(n):
        body = Body.__new__(Body)
        body.chunk = chunks[i]
        body.index = indexes[i]
        body.position = <uint32_t>(body.index - <uint64_t>body.chunk[FIRST])
        memcpy(&body.stored, &rows[i, 0], ROW_BYTES)
        made.append(body)
    return made


def counters_of(list bodies not None):
    """Of some records what their salts come from: uint8[N, 16]."""
    cdef int64_t n = len(bodies), i
    cdef Body body
    counters = np.empty((n, ROW_BYTES), np.uint8)
    cdef uint8_t[:, ::1] view = counters
    for i in range(n):
        body = <Body?>bodies[i]
        fill_counter(&view[i, 0], body.chunk[NONCE], body.position)
    return counters


def rows_of(list bodies not None, bint numbered):
    """The rows of some records as they are stored before they are encrypted: uint8[N, 16].

    Args:
        numbered: whether each is to name its own number as its decision.
    """
    cdef int64_t n = len(bodies), i
    cdef Body body
    if n > 65536:
        raise ValueError(f"bodies: expected at most 65536, got {n}")
    rows = np.empty((n, ROW_BYTES), np.uint8)
    cdef uint8_t[:, ::1] view = rows
    for i in range(n):
        body = <Body?>bodies[i]
        memcpy(&view[i, 0], &body.stored, ROW_BYTES)
        if numbered:
            (<Stored*>&view[i, 0]).decision = <uint16_t>i
    return rows
