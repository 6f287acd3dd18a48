# Contents page of the kernels for small inquiries. A filter owns its lines until it is freed; lines are read and
# written under the GIL, or by the one thread that fills a filter nobody else has yet.

from libc.stdint cimport uint8_t, uint64_t


cdef class Filter:
    cdef uint64_t* lines        # count * 64 bytes
    cdef uint64_t count
    cdef void add_key(self, const uint8_t* key) noexcept nogil
    cdef bint has_key(self, uint64_t one) noexcept nogil
