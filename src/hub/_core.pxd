# Contents page of the look-up: every struct, who owns each pointer, until when.
#
# Block pointers (Directory.slots) point into the LMDB map. They belong to the read transaction of the
# snapshot that made the Directory and are valid until that transaction ends; nothing here writes through
# them.

from libc.stdint cimport int64_t, uint16_t, uint32_t, uint64_t

from hub._buckets cimport Bucket

cdef enum:
    GROUP_ROWS = 64             # rows that enter a look-up together: 32 wait longer for a fetch, 16 far longer
    QUEUE_ROWS = 256            # rows between two steps of a look-up

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
