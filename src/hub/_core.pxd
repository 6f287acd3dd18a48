# Contents page of the native core: every struct, who owns each pointer, until when.
#
# Block pointers (Directory.slots) point into the LMDB map. They belong to the read transaction of the
# snapshot that made the Directory and are valid until that transaction ends; nothing here writes through
# them. Staging pointers belong to the caller's numpy arrays. Scratch is malloc'ed and freed in one call.

from libc.stdint cimport int64_t, uint8_t, uint16_t, uint32_t, uint64_t

cdef enum:
    ALIAS_BYTES = 16
    PAGE_BYTES = 4096
    PAGE_HEAD_BYTES = 16        # LMDB's own head of an overflow page; the value starts behind it
    BUCKET_BYTES = 64
    BUCKET_ENTRIES = 3
    PERSON_AT = 48              # where Bucket.person begins
    HEAD_BYTES = 48             # block head; with LMDB's it fills the page's first line
    PAGES_MAX = 8
    DEPTH_MAX = 28
    GROUP_ROWS = 64             # rows that enter a look-up together: 32 wait longer for a fetch, 16 far longer
    QUEUE_ROWS = 256            # rows between two steps of a look-up
    BY_ALIAS = 0
    BY_PERSON = 1

# One bucket of either table: one cache line, so that most look-ups fetch one line.
cdef struct Bucket:
    uint64_t lo[3]              # first halves of the aliases, little endian; by alias: also the hash
    uint64_t hi[3]
    uint32_t person[3]
    uint8_t flags[3]
    uint8_t meta                # low two bits: entries in use; rest: which of six kinds of entry ever went past it

cdef struct BlockHead:
    uint64_t checksum           # xxh3-64 of the value behind these 8 bytes
    uint32_t magic
    uint32_t table
    uint32_t prefix
    uint8_t depth
    uint8_t pages
    uint8_t kind
    uint8_t reserved
    uint64_t generation
    uint32_t entries
    uint8_t padding[12]

# One alias on its way into a table.
cdef struct Entry:
    uint64_t lo
    uint64_t hi
    uint32_t person
    uint32_t flags              # low eight bits; above them what is to be done: EDIT_ADD and its like

# A row on its way through a table: the bucket to read next. Queues of them live on the kernel's stack.
cdef struct Probe:
    const Bucket* at
    uint64_t slot               # of at's block
    int64_t row
    uint32_t person             # whom to look for, by person
    uint16_t tried              # buckets including at
    uint16_t passed             # the bit of Bucket.meta that says that it may be further on

# A row whose person is known, until it is pointed at the provider's table.
cdef struct Found:
    int64_t row
    uint32_t person
    uint32_t flags

cdef class Directory:
    cdef readonly object slots_array    # uint64[2**depth], owns the memory of slots
    cdef uint64_t* slots                # page address | CHECKED | pages; 0 = no block
    cdef readonly int depth
    cdef readonly uint32_t table
    cdef readonly uint32_t blocks
    cdef readonly uint32_t unchecked    # blocks not yet checked when this directory was made

cdef class DirectoryMap:
    cdef object lookup_array            # uint64[n, 2]: pointer to slots, depth; owns the memory of lookup
    cdef uint64_t* lookup
    cdef readonly int size
    cdef dict kept                      # institution number -> Directory, so that pointers stay valid

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
