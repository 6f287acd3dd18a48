# How an alias table's blocks lie in memory and on disk: their structs, and the small parts that look-up (``_core``) and
# building (``_blocks``) share. The byte table stands in ``aliases.py``.
#
# Block pointers point into the LMDB map: nothing here writes through them, bucket counts come from the stored length.

from libc.stdint cimport uint8_t, uint16_t, uint32_t, uint64_t

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
    uint32_t flags              # low eight bits; above them what is to be done: EDIT_ADD and its like of _blocks

cdef enum:
    CHECKED = 32                # in a slot: the block's checksum was right; below it the pages
    PAGES_MASK = 31
    MAGIC_NUMBER = 0x32424148   # "HAB2"
    # Fill limit of a block, in 1/256: 0.78. At the mean of 0.70 that follows 28 % of buckets passed an entry on.
    FILL = 200

cdef extern from *:
    """
    #include <stdint.h>
    #include <string.h>
    /* Which of a bucket's three entries match: bit i for entry i. In vector form, since the compiler turns the plain
       form into branches, and a wrong guess costs as much as a fetch. An alias is compared whole, so that no second
       look is needed where two aliases share a half. */
    #if defined(__SSE4_1__)
    #include <smmintrin.h>
    static inline int hub_match_alias(const void *bucket, const void *alias) {
        const __m128i *at = (const __m128i *)bucket, key = _mm_loadu_si128((const __m128i *)alias);
        /* Words of the bucket: lo0 lo1, lo2 hi0, hi1 hi2. */
        const __m128 a = _mm_castsi128_ps(_mm_cmpeq_epi64(_mm_load_si128(at), _mm_unpacklo_epi64(key, key)));
        const __m128 b = _mm_castsi128_ps(_mm_cmpeq_epi64(_mm_load_si128(at + 1), key));
        const __m128 c = _mm_castsi128_ps(_mm_cmpeq_epi64(_mm_load_si128(at + 2), _mm_unpackhi_epi64(key, key)));
        const __m128 lo = _mm_shuffle_ps(a, b, _MM_SHUFFLE(0, 0, 2, 0));
        const __m128 hi = _mm_shuffle_ps(b, c, _MM_SHUFFLE(2, 0, 2, 2));
        return _mm_movemask_ps(_mm_and_ps(lo, _mm_shuffle_ps(hi, hi, _MM_SHUFFLE(0, 3, 2, 0)))) & 7;
    }
    static inline int hub_match_u32(const void *person, uint32_t key) {
        const __m128i k = _mm_set1_epi32((int)key);
        return _mm_movemask_ps(_mm_castsi128_ps(_mm_cmpeq_epi32(_mm_load_si128((const __m128i *)person), k))) & 7;
    }
    #else
    static inline int hub_match_alias(const void *bucket, const void *alias) {
        const uint64_t *at = (const uint64_t *)bucket;
        uint64_t key[2];
        memcpy(key, alias, 16);
        return ((at[0] == key[0]) & (at[3] == key[1])) | ((at[1] == key[0]) & (at[4] == key[1])) << 1
             | ((at[2] == key[0]) & (at[5] == key[1])) << 2;
    }
    static inline int hub_match_u32(const void *person, uint32_t key) {
        const uint32_t *at = (const uint32_t *)person;
        return (at[0] == key) | (at[1] == key) << 1 | (at[2] == key) << 2;
    }
    #endif
    /* Into the second-level cache only: on Zen 4 the first level has a dozen fetches under way at most, one line in
       12 ns, while the second brings one in 5; the 14 cycles of the later read hide behind the other rows. */
    #define hub_prefetch(p) __builtin_prefetch((const void *)(p), 0, 2)
    """
    int hub_match_alias(const void* bucket, const void* alias) noexcept nogil
    int hub_match_u32(const void* person, uint32_t key) noexcept nogil
    void hub_prefetch(const void* p) noexcept nogil


cdef inline uint64_t mix_person(uint32_t person) noexcept nogil:
    """Spread a person number over 64 bits: a bijection, so that persons differ wherever they are stored."""
    cdef uint64_t x = <uint64_t>person * 0x9E3779B97F4A7C15ULL
    x ^= x >> 32
    x *= 0xD6E8FEB86659FD93ULL
    x ^= x >> 29
    return x


cdef inline uint32_t home_bucket(uint64_t h, uint32_t buckets) noexcept nogil:
    # The low half of the hash: the directory uses at most DEPTH_MAX bits of the high half, so that no look-up
    # has to read a block's head to know its depth.
    return <uint32_t>((<uint64_t><uint32_t>h * buckets) >> 32)


cdef inline uint32_t passed_bit(uint64_t h) noexcept nogil:
    """The bit of a bucket's meta that says that an entry of such a hash went past it, from bits that place nothing."""
    return 4 << (((h & 0xFFFF) * 6) >> 16)


cdef inline uint32_t bucket_count(uint64_t slot) noexcept nogil:
    return <uint32_t>(slot & PAGES_MASK) * (PAGE_BYTES // BUCKET_BYTES) - 1


cdef inline const uint8_t* first_bucket(uint64_t slot) noexcept nogil:
    return <const uint8_t*>(slot & ~<uint64_t>(PAGE_BYTES - 1)) + BUCKET_BYTES


cdef inline uint32_t block_capacity(int pages) noexcept nogil:
    return (<uint32_t>pages * (PAGE_BYTES // BUCKET_BYTES) - 1) * BUCKET_ENTRIES * FILL // 256


cdef inline int match_alias(const Bucket* b, const uint8_t* alias) noexcept nogil:
    """Bit i is set where entry i is the alias's. Buckets lie on 64 bytes."""
    return hub_match_alias(b, alias) & ((1 << (b.meta & 3)) - 1)


cdef inline int match_person(const Bucket* b, uint32_t person) noexcept nogil:
    """Bit i is set where entry i is the person's."""
    return hub_match_u32(<const uint8_t*>b + PERSON_AT, person) & ((1 << (b.meta & 3)) - 1)


cdef inline int entry_of(int matches) noexcept nogil:
    """The highest entry of a set of matches, 0 of none; a table of two-bit numbers in one word."""
    return (0xAA50 >> (2 * matches)) & 3


cdef inline const BlockHead* block_head(uint64_t slot) noexcept nogil:
    return <const BlockHead*>((slot & ~<uint64_t>(PAGE_BYTES - 1)) + PAGE_HEAD_BYTES)
