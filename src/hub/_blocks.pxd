# Contents page of the building of blocks. Staging pointers belong to the caller's numpy arrays. Scratch is malloc'ed
# and freed in one call.

from libc.stdint cimport int64_t, uint8_t, uint16_t, uint32_t, uint64_t

from hub._buckets cimport Entry
from hub._core cimport Directory

cdef class TableBuild:
    cdef Directory directory
    cdef readonly object memory         # uint8[M], owns the memory of entries
    cdef Entry* entries
    cdef uint64_t* starts               # owned; first entry of each partition, then the end
    cdef uint64_t* units                # owned; 4 words a unit: prefix | depth << 32, first, count, slot
    cdef readonly int64_t unit_count
    cdef readonly int partition_bits
    cdef readonly uint32_t window       # the first window_bits bits of every hash in it
    cdef readonly int window_bits
    cdef readonly uint32_t table
    cdef readonly int kind
    cdef readonly uint64_t generation
    cdef readonly int64_t missed        # edits that found no entry
    cdef bint edited                    # whether some entries are edits
    cdef bint _sort(self, const uint8_t[:, ::1] aliases, const uint32_t[::1] persons, const uint32_t* rows,
                    int64_t n, const uint16_t* edits) noexcept nogil
    cdef uint64_t _added(self, uint64_t first, uint64_t count) noexcept nogil
    cdef int _plan(self, uint32_t cap) except -1
    cdef int64_t _staging_need(self, int64_t unit) noexcept nogil
