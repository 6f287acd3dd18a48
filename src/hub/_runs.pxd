# Contents page of the kernels of the history index: what is read of a run's blocks, and how sorted pairs are merged.
#
# A block's value is 8 bytes of checksum, u32 records before it in its run, n remainders, n offsets (see
# ``runs/index.py``). All pointers point into values of the map or into arrays of the caller, and belong to the caller
# of the function.

from libc.stdint cimport int64_t, uint8_t, uint32_t, uint64_t

cdef enum:
    SUM_BYTES = 8
    BLOCK_HEAD = 12             # checksum and start
    ENTRY_KEY_BYTES = 11        # u8 kind, u16 period, u64 first
    ENTRY_BYTES = 48            # checksum and fields of a run's entry; the block of a small run follows
    GOOD = 0
    BAD_LENGTH = 1
    BAD_ORDER = 2
    BAD_START = 3
    BAD_PLACE = 4

# A block laid open; sizes compared with the value's length.
cdef struct Block:
    const uint8_t* remainders
    const uint8_t* end          # of the value
    const uint8_t* offsets      # NULL where the offsets are implied: start, start + 1, ...
    int key_bytes               # 1 to 8
    int offset_bytes            # 0 to 4
    uint32_t start
    int64_t count

cdef int open_block(const uint8_t* value, int64_t length, int key_bytes, int offset_bytes, Block* block) noexcept nogil
cdef int64_t lower_bound(const Block* block, uint64_t remainder) noexcept nogil
cdef int decode(const Block* block, uint64_t base, uint64_t last, int64_t begin, int64_t end, uint64_t span,
                uint64_t shift, uint64_t* keys, uint32_t* offsets) noexcept nogil
cdef void merge_two(const uint64_t* left, const uint32_t* left_at, int64_t left_count,
                    const uint64_t* right, const uint32_t* right_at, int64_t right_count,
                    uint64_t* keys, uint32_t* offsets) noexcept nogil
