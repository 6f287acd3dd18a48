"""Native core: alias blocks (look up, build), records (order, pack), text columns.

No LMDB call is made here. Kernels run without the GIL on raw memory, take sizes, and trust nothing that
comes from the map: page counts come from the stored length, bucket counts are clipped. One crossing a batch.
"""

from cpython.buffer cimport PyBUF_READ
from cpython.list cimport PyList_GET_ITEM
from cpython.memoryview cimport PyMemoryView_FromMemory
from libc.stdint cimport int64_t, uint8_t, uint16_t, uint32_t, uint64_t
from libc.stdlib cimport calloc, free, malloc
from libc.string cimport memcpy, memset
from posix.mman cimport MADV_WILLNEED, madvise

import numpy as np

from hub._pages cimport now

from hub.errors import StorageError

cdef extern from *:
    """
    #include <stdint.h>
    #include <sys/resource.h>
    /* What this thread has had from disks so far, in blocks of 512 bytes: 0 where the system does not say. */
    static inline uint64_t hub_blocks_read(void) {
    #ifdef __linux__
        struct rusage used;
        return getrusage(1 /* RUSAGE_THREAD */, &used) ? 0 : (uint64_t)used.ru_inblock;
    #else
        return 0;
    #endif
    }
    """
    uint64_t hub_blocks_read() noexcept nogil

cdef extern from *:
    """
    #ifndef HUB_BUILD
    #define HUB_BUILD "unknown"
    #endif
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
    /* Set a bit of a bitmap that several threads fill; what it was before. */
    static inline int hub_set_bit(uint64_t *words, uint64_t at) {
        const uint64_t bit = 1ULL << (at & 63);
        return (__atomic_fetch_or(words + (at >> 6), bit, __ATOMIC_RELAXED) & bit) != 0;
    }
    /* Into the second-level cache only: on Zen 4 the first level has a dozen fetches under way at most, one line in
       12 ns, while the second brings one in 5; the 14 cycles of the later read hide behind the other rows. */
    #define hub_prefetch(p) __builtin_prefetch((const void *)(p), 0, 2)
    /* For the limit alone, whose memory lies in large pages: there the first level is the faster. */
    #define hub_prefetch_nearest(p) __builtin_prefetch((const void *)(p), 0, 3)
    """
    const char* HUB_BUILD
    int hub_match_alias(const void* bucket, const void* alias) noexcept nogil
    int hub_match_u32(const void* person, uint32_t key) noexcept nogil
    int hub_set_bit(uint64_t* words, uint64_t at) noexcept nogil
    void hub_prefetch(const void* p) noexcept nogil
    void hub_prefetch_nearest(const void* p) noexcept nogil

BUILD = HUB_BUILD.decode()

MAGIC = 0x32424148              # "HAB2"
CHECKED_BIT = 32
NOBODY = 0xFFFFFFFF

cdef enum:
    CHECKED = 32
    PAGES_MASK = 31
    U32_NONE = 0xFFFFFFFF
    C_MAGIC = 0x32424148
    FLAG_ENDED = 0xA0           # revoked, or closed
    AHEAD = 32                  # rows by which a loop over random places fetches ahead
    LIMIT_AHEAD = 32            # the same, where nothing else is done
    # Fill limit of a block, in 1/256: 0.78. At the mean of 0.70 that follows 28 % of buckets passed an entry on.
    FILL = 200

    ROW_OK = 0
    ROW_UNKNOWN = 1
    ROW_REVOKED = 2
    ROW_NO_ALIAS = 3
    TURNS_CLOCKED = 8           # of a look-up, together
    TURNS_SLOW_NS = 100_000     # they take 13,000 where the tables are in memory
    ROW_UNCHECKED = 250         # a block of the row has not been checked yet in this process
    ROW_NOT_LOADED = 251        # the provider's directory is not in the map yet

    # What a row of a TableBuild is: bits 8 to 10 of its edit, above eight bits of flags.
    EDIT_SHIFT = 8
    EDIT_ADD = 0                # a new entry with these flags
    EDIT_MARK = 1               # the alias's entry gets these flags as well
    EDIT_REPLACE = 2            # the person's entry gets this alias
    EDIT_REMOVE = 3             # the person's entry goes
    EDIT_LEAD = 4               # the alias's entry leads to this person, with exactly these flags

MARK, REPLACE, REMOVE = EDIT_MARK << EDIT_SHIFT, EDIT_REPLACE << EDIT_SHIFT, EDIT_REMOVE << EDIT_SHIFT
LEAD = EDIT_LEAD << EDIT_SHIFT


# ---------------------------------------------------------------------------------------------- small parts

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


# ---------------------------------------------------------------------------------------------- directories

cdef class Directory:
    """Where the blocks of one table are: uint64[2**depth], by the first bits of the key's hash."""

    def __init__(self, uint32_t table, slots, uint32_t blocks, uint32_t unchecked):
        cdef uint64_t[::1] view = slots
        self.slots_array = slots
        self.slots = &view[0]
        self.depth = len(slots).bit_length() - 1
        self.table = table
        self.blocks = blocks
        self.unchecked = unchecked

    def __repr__(self):
        return f"Directory(table={self.table}, depth={self.depth}, blocks={self.blocks})"


cdef class DirectoryMap:
    """Directories of the by-person tables, by institution number; filled before it is shared, then read only."""

    def __init__(self, int size):
        self.size = size
        self.lookup_array = np.zeros((size, 2), dtype=np.uint64)
        cdef uint64_t[:, ::1] view = self.lookup_array
        self.lookup = &view[0, 0]
        self.kept = {}

    def set(self, uint32_t institution, Directory directory):
        """Enter an institution's directory; only before kernels use the map."""
        if institution >= <uint32_t>self.size:
            raise IndexError("institution number beyond the map")
        self.kept[institution] = directory
        self.lookup[2 * institution + 1] = directory.depth
        self.lookup[2 * institution] = <uint64_t>directory.slots

    def copy(self, int size):
        cdef DirectoryMap other = DirectoryMap(max(size, self.size))
        for institution, directory in list(self.kept.items()):
            other.set(institution, directory)
        return other

    def loaded(self):
        return self.kept


def load_directory(uint32_t table, found):
    """Build a table's directory from where its blocks are.

    Args:
        table: the table's number.
        found: uint64[N, 2] of every block in key order: key (u32 table, u32 prefix), slot (address | pages); as
            ``Pages.blocks`` tells them.

    Raises:
        StorageError: the blocks leave a gap or overlap.
    """
    cdef int depth
    if not len(found):
        return Directory(table, np.zeros(1, dtype=np.uint64), 0, 0)
    prefixes = (found[:, 0] & np.uint64(0xFFFFFFFF)).astype(np.int64)
    if prefixes[0] != 0:
        raise StorageError(f"table {table:08x}: expected a block at prefix 0, got none")
    spans = np.diff(prefixes, append=1 << 32)
    if (spans <= 0).any() or (spans & (spans - 1)).any() or (prefixes % spans).any():
        raise StorageError(f"table {table:08x}: expected blocks without gap or overlap, got a torn directory")
    depth = 32 - (int(spans.min()).bit_length() - 1)
    if depth > DEPTH_MAX:
        raise StorageError(f"table {table:08x}: expected a depth of at most {DEPTH_MAX}, got {depth}")
    # Each block stands in all the slots whose first bits are its prefix.
    slots = np.repeat(found[:, 1], spans >> (32 - depth))
    return Directory(table, slots, len(prefixes), len(prefixes))


def patch_directory(Directory old, changed):
    """A new directory from an older one and the blocks that a commit changed.

    Args:
        changed: list of (prefix, depth, slot) of every block written, in prefix order.
    """
    cdef int depth = max([old.depth] + [d for _, d, _ in changed])
    if depth > DEPTH_MAX:
        raise StorageError(f"table {old.table:08x}: expected a depth of at most {DEPTH_MAX}, got {depth}")
    slots = np.repeat(old.slots_array, 1 << (depth - old.depth)) if depth > old.depth else old.slots_array.copy()
    cdef uint64_t[::1] view = slots
    cdef uint64_t slot, first, i, count
    cdef int d
    for prefix, d, slot in changed:
        first = <uint64_t>prefix >> (32 - depth)
        count = 1 << (depth - d)
        for i in range(first, first + count):
            view[i] = slot
    return Directory(old.table, slots, _distinct(slots), len(changed))


def _distinct(slots):
    return int(np.count_nonzero(slots[1:] != slots[: len(slots) - 1])) + int(slots[0] != 0)


def slot_block(uint64_t slot):
    """The whole block of a slot as a read-only view of the map, valid as long as its snapshot."""
    return PyMemoryView_FromMemory(<char*>(slot & ~<uint64_t>(PAGE_BYTES - 1)) + PAGE_HEAD_BYTES,
                                   <Py_ssize_t>(slot & PAGES_MASK) * PAGE_BYTES - PAGE_HEAD_BYTES, PyBUF_READ)


def any_unchecked(Directory directory):
    """Whether a block of the directory has not been checked yet."""
    cdef uint64_t i
    for i in range(<uint64_t>1 << directory.depth):
        if directory.slots[i] and not directory.slots[i] & CHECKED:
            return True
    return False


def unchecked_blocks(Directory directory, const uint32_t[::1] numbers):
    """The blocks not checked yet that stand at these places of the directory.

    Returns:
        A list of (slot, prefix, depth), each block once; prefix and depth as the directory has them.
    """
    cdef Py_ssize_t i
    cdef uint64_t slot, first, end, size = <uint64_t>1 << directory.depth
    cdef int depth
    cdef set seen = set()
    cdef list out = []
    for i in range(numbers.shape[0]):
        if numbers[i] >= size:
            raise IndexError("place beyond the directory")
        slot = directory.slots[numbers[i]]
        if slot == 0 or slot & CHECKED:
            continue
        # A block fills an aligned run of places; look at its ends only where it was not seen yet.
        if slot in seen:
            continue
        seen.add(slot)
        first = end = numbers[i]
        while first > 0 and directory.slots[first - 1] == slot:
            first -= 1
        while end + 1 < size and directory.slots[end + 1] == slot:
            end += 1
        depth = directory.depth
        while (<uint64_t>1 << (directory.depth - depth)) < end + 1 - first:
            depth -= 1
        out.append((slot, (first << (32 - directory.depth)) if directory.depth else 0, depth))
    return out


def is_block_of(uint64_t slot, uint32_t table, uint32_t prefix, int depth):
    """Whether a block's head says what its place in the directory says."""
    cdef const BlockHead* head = block_head(slot)
    return head.magic == C_MAGIC and head.table == table and head.kind == (table & 1) and head.prefix == prefix \
        and head.depth == depth and head.pages == (slot & PAGES_MASK)


def mark_checked(Directory directory, uint64_t slot, uint32_t prefix, int depth):
    """Note in every place of the directory that this block's checksum was right.

    Safe beside running kernels: one aligned word changes from unchecked to checked.
    """
    cdef uint64_t i, first = (<uint64_t>prefix >> (32 - directory.depth)) if directory.depth else 0
    for i in range(first, first + (<uint64_t>1 << (directory.depth - depth))):
        if directory.slots[i] == slot:
            directory.slots[i] = slot | CHECKED


def slots_of(Directory directory, const uint8_t[:, ::1] aliases):
    """The places of the directory that these aliases (uint8[N, 16]) fall in, ascending, each once: uint32[M]."""
    cdef Py_ssize_t i, n = aliases.shape[0]
    touched = np.zeros(1 << directory.depth, dtype=np.bool_)
    cdef uint8_t[::1] view = touched.view(np.uint8)
    cdef uint64_t lo
    with nogil:
        for i in range(n):
            memcpy(&lo, &aliases[i, 0], 8)
            view[lo >> (64 - directory.depth) if directory.depth else 0] = 1
    return np.flatnonzero(touched).astype(np.uint32)


def slots_of_persons(Directory directory, const uint32_t[::1] persons):
    """The places of the directory that these persons fall in, ascending, each once: uint32[M]."""
    cdef Py_ssize_t i, n = persons.shape[0]
    touched = np.zeros(1 << directory.depth, dtype=np.bool_)
    cdef uint8_t[::1] view = touched.view(np.uint8)
    with nogil:
        for i in range(n):
            view[mix_person(persons[i]) >> (64 - directory.depth) if directory.depth else 0] = 1
    return np.flatnonzero(touched).astype(np.uint32)


# ------------------------------------------------------------------------------------------------- look up

cdef inline const Bucket* next_bucket(const Bucket* b, uint64_t slot) noexcept nogil:
    """The bucket behind b in its block, the first behind the last."""
    return <const Bucket*>first_bucket(slot) if b + 1 == <const Bucket*>first_bucket(slot) + bucket_count(slot) \
        else b + 1


cdef struct Batch:
    # The columns of one call, as in resolve_batch.
    const uint8_t* aliases
    const uint32_t* providers
    int64_t provider_step
    int64_t n
    const uint64_t* slots
    int depth
    const uint64_t* lookup
    uint32_t lookup_size
    const uint8_t* wanted
    uint32_t* persons
    uint8_t* flags
    uint8_t* out
    uint8_t* status


cdef inline uint64_t slot_of(const uint64_t* slots, int depth, uint64_t h) noexcept nogil:
    return slots[h >> (64 - depth)] if depth else slots[0]


cdef inline void aim(Probe* p, uint64_t slot, uint64_t h, int64_t row, uint32_t person) noexcept nogil:
    """Point a probe at its home bucket and have that fetched."""
    p.at = <const Bucket*>first_bucket(slot) + home_bucket(h, bucket_count(slot))
    p.slot = slot
    p.row = row
    p.person = person
    p.tried = 1
    p.passed = <uint16_t>passed_bit(h)
    hub_prefetch(p.at)


cdef inline int move_on(Probe* queue, int late) noexcept nogil:
    """Point probes that did not end in their bucket at the next one; returns how many have one left."""
    cdef int k, kept = 0
    cdef Probe p
    for k in range(late):
        p = queue[k]
        p.at = next_bucket(p.at, p.slot)
        hub_prefetch(p.at)
        # In a damaged block a chain may have no end.
        p.tried += 1
        queue[kept] = p
        kept += p.tried <= bucket_count(p.slot)
    return kept


cdef inline int aim_at_aliases(const Batch* t, int64_t start, int64_t end, Probe* queue, int count) noexcept nogil:
    """Step 1: write rows start to end as not found and put them at the end of the first queue; its new length."""
    cdef int64_t row
    cdef uint64_t lo, slot
    cdef const uint8_t* aliases = t.aliases
    cdef const uint64_t* slots = t.slots
    cdef int depth = t.depth
    memset(t.persons + start, 0xFF, (end - start) * 4)
    memset(t.flags + start, 0, end - start)
    memset(t.status + start, ROW_UNKNOWN, end - start)
    if t.out != NULL:
        memset(t.out + 16 * start, 0, (end - start) * 16)
    for row in range(start, end):
        memcpy(&lo, aliases + 16 * row, 8)
        slot = slot_of(slots, depth, lo)
        if slot & CHECKED:
            aim(queue + count, slot, lo, row, U32_NONE)
            count += 1
        elif slot:
            t.status[row] = ROW_UNCHECKED
    return count


cdef inline int take_persons(const Batch* t, Probe* queue, int* first_count, Probe* second,
                             int count) noexcept nogil:
    """Step 2: read the first queue's buckets. What is found goes on to the second queue, what may still be found
    stays; returns the second queue's new length."""
    cdef int k, m, j, late = 0, hits = 0
    cdef int64_t row
    cdef uint64_t h, slot
    cdef uint32_t provider
    cdef const Bucket* b
    cdef const uint8_t* aliases = t.aliases
    cdef Probe p
    cdef Found found[QUEUE_ROWS + 1]
    cdef Found f
    # No branch depends on what was found: a wrong guess would cost as much as the fetch.
    for k in range(first_count[0]):
        p = queue[k]
        b = p.at
        m = match_alias(b, aliases + 16 * p.row)
        j = entry_of(m)
        found[hits].row = p.row
        found[hits].person = b.person[j]
        found[hits].flags = b.flags[j]
        hits += m != 0
        queue[late] = p
        late += (m == 0) & ((b.meta & p.passed) != 0)
    first_count[0] = move_on(queue, late)
    for k in range(hits):
        f = found[k]
        row = f.row
        t.persons[row] = f.person
        t.flags[row] = <uint8_t>f.flags
        t.status[row] = ROW_REVOKED if f.flags & FLAG_ENDED else ROW_OK
        if t.out == NULL or f.flags & FLAG_ENDED or (t.wanted != NULL and not t.wanted[row]):
            continue
        provider = t.providers[row * t.provider_step]
        if provider >= t.lookup_size or t.lookup[2 * <uint64_t>provider] == 0:
            t.status[row] = ROW_NOT_LOADED
            continue
        h = mix_person(f.person)
        slot = slot_of(<const uint64_t*>t.lookup[2 * <uint64_t>provider], <int>t.lookup[2 * <uint64_t>provider + 1], h)
        if slot & CHECKED:
            aim(second + count, slot, h, row, f.person)
            count += 1
        else:
            t.status[row] = ROW_UNCHECKED if slot else ROW_NO_ALIAS
    return count


cdef inline int take_aliases(const Batch* t, Probe* queue, int count) noexcept nogil:
    """Step 3: read the second queue's buckets; returns how many probes stay."""
    cdef int k, m, j, late = 0
    cdef uint64_t lo, hi, mask
    cdef const Bucket* b
    cdef uint8_t* out = t.out
    cdef uint8_t* status = t.status
    cdef Probe p
    for k in range(count):
        p = queue[k]
        b = p.at
        m = match_person(b, p.person)
        j = entry_of(m)
        mask = <uint64_t>0 - <uint64_t>(m != 0)
        lo = b.lo[j] & mask
        hi = b.hi[j] & mask
        memcpy(out + 16 * p.row, &lo, 8)
        memcpy(out + 16 * p.row + 8, &hi, 8)
        status[p.row] = <uint8_t>(ROW_NO_ALIAS * (m == 0))
        queue[late] = p
        late += (m == 0) & ((b.meta & p.passed) != 0)
    return move_on(queue, late)


cdef inline void ask_disk(const Probe* queue, int begin, int end) noexcept nogil:
    """Ask the disk for the buckets of the last probes of a queue."""
    cdef int k
    for k in range(begin, end):
        # Advice only: a failure costs time, nothing else.
        madvise(<void*>(<uint64_t>queue[k].at & ~<uint64_t>(PAGE_BYTES - 1)), PAGE_BYTES, MADV_WILLNEED)


cdef int64_t resolve_rows(const Batch* t) noexcept nogil:
    """Alias -> person -> the provider's alias; returns how many rows have to be done again.

    Two queues of probes, each read from front to back once a turn. Rows that do not end in their bucket stay for the
    next turn, however long their chain. A turn's order leaves every fetch the time of one other step to travel.

    Where memory does not hold the tables, a turn waits for the disk, bucket by bucket. So a few turns together are
    clocked; behind slow ones that read from the disk it is asked for what enters, a turn before that is looked at.
    """
    cdef Probe first[QUEUE_ROWS + 1]
    cdef Probe second[QUEUE_ROWS + 1]
    cdef int waiting = 0, going = 0, entered, turn = 0
    cdef bint asking = False
    cdef int64_t row = 0, end, again = 0, began = now(), clock
    # A system call: small batches, which are never clocked, are not to pay for it.
    cdef uint64_t before = hub_blocks_read() if t.n > TURNS_CLOCKED * GROUP_ROWS else 0, read
    while row < t.n or waiting or going:
        turn += 1
        if turn == TURNS_CLOCKED and row < t.n:
            clock = now()
            if asking or clock - began > TURNS_SLOW_NS:
                # Slow because of the disk, not of whoever else is on this processor.
                read = hub_blocks_read()
                asking, before = read != before, read
                clock = now()
            began, turn = clock, 0
        entered = going
        # A queue that chains have filled is emptied before more is put in.
        if waiting + going <= QUEUE_ROWS:
            going = take_persons(t, first, &waiting, second, going)
        if asking:
            ask_disk(second, entered, going)
        entered = waiting
        if row < t.n and waiting + GROUP_ROWS <= QUEUE_ROWS:
            end = min(row + GROUP_ROWS, t.n)
            waiting = aim_at_aliases(t, row, end, first, waiting)
            row = end
        if asking:
            ask_disk(first, entered, waiting)
        going = take_aliases(t, second, going)
    for row in range(t.n):
        again += t.status[row] >= ROW_UNCHECKED
    return again


cdef int64_t find_alias_rows(const Batch* t) noexcept nogil:
    """Person (``t.persons``, read) -> alias in the one table of ``t.slots``; returns the rows to do again."""
    cdef Probe queue[QUEUE_ROWS + 1]
    cdef int going = 0
    cdef int64_t row = 0, end, again = 0
    cdef uint64_t h, slot
    memset(t.out, 0, t.n * ALIAS_BYTES)
    while row < t.n or going:
        end = min(row + GROUP_ROWS, t.n) if going + GROUP_ROWS <= QUEUE_ROWS else row
        for row in range(row, end):
            h = mix_person(t.persons[row])
            slot = slot_of(t.slots, t.depth, h)
            if slot & CHECKED:
                aim(queue + going, slot, h, row, t.persons[row])
                going += 1
            else:
                t.status[row] = ROW_UNCHECKED if slot else ROW_NO_ALIAS
                again += slot != 0
        row = end
        going = take_aliases(t, queue, going)
    return again


def resolve_batch(const uint8_t[:, ::1] aliases, const uint32_t[::1] providers, Directory directory,
                  DirectoryMap lookup, uint32_t[::1] persons, uint8_t[::1] flags, uint8_t[:, ::1] out_aliases,
                  uint8_t[::1] status, wanted=None):
    """Translate a requester's aliases into persons and the providers' aliases, without the GIL.

    Args:
        aliases: uint8[N, 16], untrusted. providers: uint32[N], or uint32[1] for all rows.
        directory: the requester's by-alias table. lookup: the providers' by-person tables.
        persons, flags, out_aliases, status: written, one entry a row.
        wanted: uint8[N] or None; the provider's alias is looked up only where it is not 0.

    Returns:
        How many rows have to be done again: status 250 (a block is not checked yet) or 251 (a provider's
        directory is not loaded yet). Other statuses: 0 found, 1 no such alias, 2 revoked, 3 no alias there.
    """
    cdef int64_t n = aliases.shape[0], again
    cdef const uint8_t[::1] wanted_view
    cdef Batch t
    t.wanted = NULL
    if n == 0:
        return 0
    if aliases.shape[1] != ALIAS_BYTES or out_aliases.shape[1] != ALIAS_BYTES \
            or (providers.shape[0] != 1 and providers.shape[0] != n) or persons.shape[0] != n \
            or flags.shape[0] != n or out_aliases.shape[0] != n or status.shape[0] != n:
        raise ValueError("columns: expected one length")
    if wanted is not None:
        wanted_view = wanted
        if wanted_view.shape[0] != n:
            raise ValueError("columns: expected one length")
        t.wanted = &wanted_view[0]
    t.aliases = &aliases[0, 0]
    t.providers = &providers[0]
    t.provider_step = 0 if providers.shape[0] == 1 else 1
    t.n = n
    t.slots = directory.slots
    t.depth = directory.depth
    t.lookup = lookup.lookup
    t.lookup_size = lookup.size
    t.persons = &persons[0]
    t.flags = &flags[0]
    t.out = &out_aliases[0, 0]
    t.status = &status[0]
    with nogil:
        again = resolve_rows(&t)
    return again


def resolve_parts(const uint8_t[:, ::1] aliases, const uint32_t[::1] providers, list directories not None,
                  const int64_t[::1] starts, DirectoryMap lookup, uint32_t[::1] persons, uint8_t[::1] flags,
                  uint8_t[:, ::1] out_aliases, uint8_t[::1] status, const uint8_t[::1] wanted):
    """:func:`resolve_batch` for rows of several requesters, in one go.

    Args:
        directories: K requesters' by-alias tables. starts: int64[K + 1], the first row of each, ascending, and N.
        The others are those of :func:`resolve_batch`, all of N rows.

    Returns:
        How many rows have to be done again.
    """
    cdef int64_t n = aliases.shape[0], parts = len(directories), part, begin, again = 0
    cdef uint64_t** slots = NULL
    cdef int* depths = NULL
    cdef Directory one
    cdef Batch t
    if n == 0:
        return 0
    if aliases.shape[1] != ALIAS_BYTES or out_aliases.shape[1] != ALIAS_BYTES or providers.shape[0] != n \
            or persons.shape[0] != n or flags.shape[0] != n or out_aliases.shape[0] != n or status.shape[0] != n \
            or wanted.shape[0] != n or starts.shape[0] != parts + 1 or starts[0] != 0 or starts[parts] != n:
        raise ValueError("columns: expected one length")
    for part in range(parts):
        if starts[part] > starts[part + 1]:
            raise ValueError("starts: expected ascending ones")
    slots, depths = <uint64_t**>malloc(parts * sizeof(uint64_t*)), <int*>malloc(parts * sizeof(int))
    try:
        if slots == NULL or depths == NULL:
            raise MemoryError
        for part in range(parts):
            one = directories[part]
            slots[part], depths[part] = one.slots, one.depth
        t.provider_step = 1
        t.lookup = lookup.lookup
        t.lookup_size = lookup.size
        with nogil:
            for part in range(parts):
                begin = starts[part]
                t.n = starts[part + 1] - begin
                if not t.n:
                    continue
                t.aliases, t.providers = &aliases[begin, 0], &providers[begin]
                t.wanted = &wanted[begin]
                t.slots, t.depth = slots[part], depths[part]
                t.persons, t.flags = &persons[begin], &flags[begin]
                t.out, t.status = &out_aliases[begin, 0], &status[begin]
                again += resolve_rows(&t)
    finally:
        free(slots)
        free(depths)
    return again


def find_persons(const uint8_t[:, ::1] aliases, Directory directory, uint32_t[::1] persons, uint8_t[::1] flags,
                 uint8_t[::1] status):
    """Alias -> person in one table; persons are 0xFFFFFFFF where none. Returns the rows to do again."""
    cdef int64_t n = aliases.shape[0], again
    cdef Batch t
    if n == 0:
        return 0
    if aliases.shape[1] != ALIAS_BYTES or persons.shape[0] != n or flags.shape[0] != n or status.shape[0] != n:
        raise ValueError("columns: expected one length")
    memset(&t, 0, sizeof(Batch))
    t.aliases = &aliases[0, 0]
    t.n = n
    t.slots = directory.slots
    t.depth = directory.depth
    t.persons = &persons[0]
    t.flags = &flags[0]
    t.status = &status[0]
    with nogil:
        again = resolve_rows(&t)
    return again


def find_aliases(const uint32_t[::1] persons, Directory directory, uint8_t[:, ::1] aliases, uint8_t[::1] status):
    """Person -> alias in one table, zeros where none. Returns the rows to do again (status 250)."""
    cdef int64_t n = persons.shape[0], again
    cdef Batch t
    if aliases.shape[0] != n or status.shape[0] != n or aliases.shape[1] != ALIAS_BYTES:
        raise ValueError("columns: expected one length")
    if n == 0:
        return 0
    memset(&t, 0, sizeof(Batch))
    t.persons = <uint32_t*>&persons[0]
    t.n = n
    t.slots = directory.slots
    t.depth = directory.depth
    t.out = &aliases[0, 0]
    t.status = &status[0]
    with nogil:
        again = find_alias_rows(&t)
    return again


cdef int64_t find_in_tables(const Batch* t, uint32_t person) noexcept nogil:
    """One person -> their alias in each of the tables ``t.providers`` of ``t.lookup``; returns the rows to do again."""
    cdef Probe queue[QUEUE_ROWS + 1]
    cdef int going = 0
    cdef int64_t row = 0, end, again = 0
    cdef uint64_t h = mix_person(person), slot
    cdef uint32_t number
    memset(t.out, 0, t.n * ALIAS_BYTES)
    while row < t.n or going:
        end = min(row + GROUP_ROWS, t.n) if going + GROUP_ROWS <= QUEUE_ROWS else row
        for row in range(row, end):
            number = t.providers[row]
            if number >= t.lookup_size or t.lookup[2 * <uint64_t>number] == 0:
                t.status[row] = ROW_NOT_LOADED
                again += 1
                continue
            slot = slot_of(<const uint64_t*>t.lookup[2 * <uint64_t>number], <int>t.lookup[2 * <uint64_t>number + 1], h)
            if slot & CHECKED:
                aim(queue + going, slot, h, row, person)
                going += 1
            else:
                t.status[row] = ROW_UNCHECKED if slot else ROW_NO_ALIAS
                again += slot != 0
        row = end
        going = take_aliases(t, queue, going)
    return again


def probe_person(uint32_t person, const uint32_t[::1] numbers, DirectoryMap lookup, uint8_t[:, ::1] aliases,
                 uint8_t[::1] status):
    """One person's alias in each of many by-person tables (``numbers``, of institutions), zeros where none.

    Returns:
        How many rows have to be done again: status 250 (a block is not checked yet) or 251 (not loaded yet).
    """
    cdef int64_t n = numbers.shape[0], again
    cdef Batch t
    if aliases.shape[0] != n or status.shape[0] != n or aliases.shape[1] != ALIAS_BYTES:
        raise ValueError("columns: expected one length")
    if n == 0:
        return 0
    memset(&t, 0, sizeof(Batch))
    t.providers = &numbers[0]
    t.n = n
    t.lookup = lookup.lookup
    t.lookup_size = lookup.size
    t.out = &aliases[0, 0]
    t.status = &status[0]
    with nogil:
        again = find_in_tables(&t, person)
    return again


# -------------------------------------------------------------------------------------------- build blocks

cdef inline uint64_t entry_hash(const Entry* e, int kind) noexcept nogil:
    return e.lo if kind == BY_ALIAS else mix_person(e.person)


cdef inline void insert_entry(uint8_t* base, uint32_t buckets, int kind, const Entry* e) noexcept nogil:
    """Put one entry into a block that has room. base: its first bucket."""
    cdef Bucket* first = <Bucket*>base
    cdef uint64_t h = entry_hash(e, kind)
    cdef Bucket* b = first + home_bucket(h, buckets)
    cdef int n
    while True:
        n = b.meta & 3
        if n < BUCKET_ENTRIES:
            b.lo[n] = e.lo
            b.hi[n] = e.hi
            b.person[n] = e.person
            b.flags[n] = <uint8_t>e.flags
            b.meta += 1
            return
        b.meta |= <uint8_t>passed_bit(h)
        b += 1
        if b == first + buckets:
            b = first


cdef int64_t read_block(uint64_t slot, int kind, uint32_t prefix, int depth, Entry* out) noexcept nogil:
    """Copy out a block's entries whose hash begins with the prefix; returns their number."""
    cdef uint32_t k
    cdef const Bucket* b = <const Bucket*>first_bucket(slot)
    cdef int i
    cdef int64_t count = 0
    cdef Entry* e
    for k in range(bucket_count(slot)):
        for i in range(b[k].meta & 3):
            e = out + count
            e.lo = b[k].lo[i]
            e.hi = b[k].hi[i]
            e.person = b[k].person[i]
            e.flags = b[k].flags[i]
            if depth == 0 or (entry_hash(e, kind) >> (64 - depth)) == (<uint64_t>prefix >> (32 - depth)):
                count += 1
    return count


cdef void write_head(uint8_t* value, uint32_t table, int kind, uint32_t prefix, int depth, int pages,
                     uint64_t generation, uint32_t entries) noexcept nogil:
    cdef BlockHead* head = <BlockHead*>value
    memset(head, 0, sizeof(BlockHead))
    head.magic = C_MAGIC
    head.table = table
    head.prefix = prefix
    head.depth = <uint8_t>depth
    head.pages = <uint8_t>pages
    head.kind = <uint8_t>kind
    head.generation = generation
    head.entries = entries


def rows_by_window(const uint8_t[:, ::1] aliases, const uint32_t[::1] persons, int kind, int bits):
    """The rows in the order of the first 1 to 16 bits of their hash: uint32[N], and where each of the 2**bits begins.

    Returns:
        (uint32[N], int64[2**bits + 1]).
    """
    cdef int64_t n = aliases.shape[0], i, window
    if persons.shape[0] != n or (n and aliases.shape[1] != ALIAS_BYTES):
        raise ValueError("columns: expected one length")
    if not 1 <= bits <= 16:
        raise ValueError("bits: expected 1 to 16")
    rows = np.empty(n, dtype=np.uint32)
    starts = np.zeros((1 << bits) + 2, dtype=np.int64)
    cdef uint32_t[::1] out = rows
    cdef int64_t[::1] at = starts
    with nogil:
        # Shifted by two, so that it ends up as first indexes.
        for i in range(n):
            at[partition_of(&aliases[i, 0], persons[i], kind, bits) + 2] += 1
        for window in range(1, 1 << bits):
            at[window + 1] += at[window]
        for i in range(n):
            window = partition_of(&aliases[i, 0], persons[i], kind, bits)
            out[at[window + 1]] = <uint32_t>i
            at[window + 1] += 1
    return rows, starts[:-1]


cdef class TableBuild:
    """New entries, and changes of old ones, on their way into one table, sorted by the part that they belong to.

    ``build`` turns units (a block, or a part of one that splits) into finished blocks in the caller's
    staging memory; two threads may build different units at the same time.
    """

    def __cinit__(self):
        self.starts = NULL
        self.units = NULL

    def __dealloc__(self):
        free(self.starts)
        free(self.units)

    def __init__(self, Directory directory, int kind, uint64_t generation, int64_t entries_before,
                 const uint8_t[:, ::1] aliases, const uint32_t[::1] persons, *, uint32_t window=0, int window_bits=0,
                 const uint32_t[::1] rows=None, memory=None, const uint16_t[::1] edits=None):
        """Sort new entries (of aliases uint8[N, 16], persons uint32[N]) by the directory's partitions.

        Every block of the directory that they fall in must have been checked. entries_before only guides how
        far the table is split at once.

        rows: uint32[M], which of the N to take, all whose hash begins with the ``window_bits`` bits ``window``; None
        takes all, for one window. A block that reaches beyond the window is split at its edges: either all windows go
        into one transaction, or none cuts a block.

        memory: uint8[M], where the entries may lie if there is room: new pages cost more than the sort does.

        edits: uint16[N], what each row is: MARK, REPLACE, REMOVE, LEAD or 0 for a new entry, and its flags; None: all
        are new and have none. A change finds its entry by what the table is keyed by; ``missed`` counts those that
        found none.
        """
        cdef int64_t n = aliases.shape[0], added
        cdef int bits = directory.depth
        cdef uint32_t cap = block_capacity(PAGES_MAX)
        cdef uint8_t[::1] view
        cdef bint good
        cdef int64_t i
        if persons.shape[0] != n or (n and aliases.shape[1] != ALIAS_BYTES) \
                or (edits is not None and edits.shape[0] != n):
            raise ValueError("columns: expected one length")
        if not 0 <= window_bits <= DEPTH_MAX or window >> window_bits:
            raise ValueError("window: expected one of 2**window_bits")
        if (rows is None) != (window_bits == 0):
            raise ValueError("rows: expected those of the window")
        self.directory = directory
        self.table = directory.table
        self.kind = kind
        self.generation = generation
        self.edited = edits is not None
        added = n
        if edits is not None:
            # What is only changed needs no room.
            for i in range(n):
                added -= edits[i] >> EDIT_SHIFT != EDIT_ADD
        while bits < DEPTH_MAX and (<int64_t>cap << bits) < entries_before + added and (added >> bits) > cap // 4:
            bits += 1
        bits = max(bits, window_bits)
        self.partition_bits = bits
        self.window = window
        self.window_bits = window_bits
        self.starts = <uint64_t*>calloc((<uint64_t>1 << (bits - window_bits)) + 2, 8)
        if self.starts == NULL:
            raise MemoryError
        if rows is not None:
            n = rows.shape[0]
        size = max(n, 1) * sizeof(Entry)
        if memory is None or len(memory) < size:
            # Numpy's large arrays lie on huge pages: the entries are written in thousands of places at a time.
            memory = np.empty(size + size // 16, dtype=np.uint8)
        self.memory = memory
        view = memory
        self.entries = <Entry*>&view[0]
        if n:
            with nogil:
                good = self._sort(aliases, persons, &rows[0] if window_bits else NULL, n,
                                  &edits[0] if self.edited else NULL)
            if not good:
                raise ValueError("rows: expected those of the window")
        self._plan(cap)

    cdef bint _sort(self, const uint8_t[:, ::1] aliases, const uint32_t[::1] persons, const uint32_t* rows,
                    int64_t n, const uint16_t* edits) noexcept nogil:
        """Counting sort of n rows, those of the list or the first n; False where one is not of the window."""
        cdef int64_t i, k, p, partitions = <int64_t>1 << (self.partition_bits - self.window_bits)
        cdef int kind = self.kind, bits = self.partition_bits
        cdef int64_t first = <int64_t>self.window << (self.partition_bits - self.window_bits)
        # Shifted by one, so that starts ends up as first indexes.
        cdef uint64_t* at = self.starts + 1
        cdef Entry* e
        for i in range(n):
            k = rows[i] if rows else i
            if k >= persons.shape[0]:
                return False
            p = partition_of(&aliases[k, 0], persons[k], kind, bits) - first
            if not 0 <= p < partitions:
                return False
            at[p + 1] += 1
        for i in range(partitions):
            at[i + 1] += at[i]
        for i in range(n):
            k = rows[i] if rows else i
            p = partition_of(&aliases[k, 0], persons[k], kind, bits) - first
            e = self.entries + at[p]
            at[p] += 1
            memcpy(&e.lo, &aliases[k, 0], 8)
            memcpy(&e.hi, &aliases[k, 8], 8)
            e.person = persons[k]
            e.flags = edits[k] if edits else 0
        # at[p] is now the end of partition p, which is starts[p + 1]; starts[0] is 0.
        return True

    cdef int _plan(self, uint32_t cap) except -1:
        """Cut the touched blocks into units."""
        cdef int bits = self.partition_bits, depth
        cdef uint64_t slot, first, last, span, count, added, partitions, i
        cdef uint64_t begin = <uint64_t>self.window << (bits - self.window_bits)
        cdef uint64_t done = begin, total = begin + (<uint64_t>1 << (bits - self.window_bits))
        cdef const uint64_t* slots = self.directory.slots
        cdef const uint64_t* starts = self.starts
        cdef uint64_t* u
        cdef bint cut
        self.units = <uint64_t*>malloc((total - begin + 1) * 32)
        if self.units == NULL:
            raise MemoryError
        self.unit_count = 0
        while done < total:
            # A block's depth is told by how many places of the directory it fills.
            first = last = done >> (bits - self.directory.depth)
            slot = slots[first] & ~<uint64_t>CHECKED
            while last + 1 < <uint64_t>1 << self.directory.depth and (slots[last + 1] & ~<uint64_t>CHECKED) == slot:
                last += 1
            while first > 0 and (slots[first - 1] & ~<uint64_t>CHECKED) == slot:
                first -= 1
            span = last + 1 - first
            depth = self.directory.depth
            while <uint64_t>1 << (self.directory.depth - depth) < span:
                depth -= 1
            cut = depth < self.window_bits
            partitions = <uint64_t>1 << (bits - max(depth, self.window_bits))
            count = starts[done - begin + partitions] - starts[done - begin]
            if cut or count:
                added = self._added(starts[done - begin], count)
                # Half is enough where a cut block's other half may stay: what does not fit after all splits then.
                if added <= cap // 2 if cut else added + (block_head(slot).entries if slot else 0) <= cap:
                    u = self.units + 4 * self.unit_count
                    u[0] = ((done << (32 - bits)) if bits else 0) | <uint64_t>max(depth, self.window_bits) << 32
                    u[1] = starts[done - begin]
                    u[2] = count
                    u[3] = slot
                    self.unit_count += 1
                else:
                    # The block splits: one unit for each partition, also those with no new entry.
                    for i in range(partitions):
                        u = self.units + 4 * self.unit_count
                        u[0] = ((done + i) << (32 - bits)) | <uint64_t>bits << 32
                        u[1] = starts[done - begin + i]
                        u[2] = starts[done - begin + i + 1] - starts[done - begin + i]
                        u[3] = slot
                        self.unit_count += 1
            done += partitions
        return 0

    cdef uint64_t _added(self, uint64_t first, uint64_t count) noexcept nogil:
        """How many of these entries are new."""
        cdef uint64_t i, added = count
        if self.edited:
            for i in range(first, first + count):
                added -= self.entries[i].flags >> EDIT_SHIFT != EDIT_ADD
        return added

    def staging_bytes(self, int64_t most):
        """How much staging memory is of use: as much as all units need, but no more than ``most``.

        It may be more where a single unit needs it.
        """
        cdef int64_t i, one, largest = 0, total = 0
        for i in range(self.unit_count):
            one = self._staging_need(i)
            total += one
            largest = max(largest, one)
        return max(largest, min(total, most))

    cdef int64_t _staging_need(self, int64_t unit) noexcept nogil:
        # Blocks are split until they fit, so each but the last holds a third of a full one or more.
        cdef uint64_t* u = self.units + 4 * unit
        cdef int64_t n = <int64_t>u[2] + (bucket_count(u[3]) * BUCKET_ENTRIES if u[3] else 0)
        return (n // (block_capacity(PAGES_MAX) // 3) + 2) * PAGES_MAX * PAGE_BYTES

    def build(self, int64_t unit, int64_t end, uint8_t[::1] staging, uint64_t[:, ::1] blocks):
        """Build blocks of units [unit, end) until the staging memory or the list is full; without the GIL.

        Args:
            staging: where the values of the new blocks are written, one behind the other, 16-byte aligned.
            blocks: uint64[M, 4], written: prefix, depth, offset in staging, bytes; one row a block.

        Returns:
            (next unit, blocks written); next unit < end: call again with empty staging.
        """
        cdef int64_t room = staging.shape[0], used = 0, need, n
        cdef int64_t written = 0, most = blocks.shape[0]
        cdef uint64_t* u
        cdef Entry* scratch = NULL
        cdef int64_t scratch_size = 0
        cdef int64_t failed = 0, before
        cdef int64_t missed = 0
        cdef uint32_t old
        with nogil:
            while unit < end:
                u = self.units + 4 * unit
                old = bucket_count(u[3]) * BUCKET_ENTRIES if u[3] else 0
                n = <int64_t>u[2] + old
                need = self._staging_need(unit)
                if used + need > room or written + need // (PAGES_MAX * PAGE_BYTES) > most:
                    if written == 0:
                        failed = need
                    break
                if 2 * n > scratch_size:
                    free(scratch)
                    scratch_size = 2 * n
                    scratch = <Entry*>malloc(scratch_size * sizeof(Entry))
                    if scratch == NULL:
                        failed = -1
                        break
                before = written
                build_unit(self, u, scratch, &staging[0], &used, &blocks[0, 0], &written)
                if self.edited:
                    missed += apply_edits(self, u, &staging[0], &blocks[0, 0], before, written)
                unit += 1
            free(scratch)
        self.missed += missed
        if failed == -1:
            raise MemoryError
        if failed:
            raise ValueError(f"staging: expected at least {failed} bytes, got {room}")
        return unit, written


cdef inline const BlockHead* block_head(uint64_t slot) noexcept nogil:
    return <const BlockHead*>((slot & ~<uint64_t>(PAGE_BYTES - 1)) + PAGE_HEAD_BYTES)


cdef inline int64_t partition_of(const uint8_t* alias, uint32_t person, int kind, int bits) noexcept nogil:
    cdef uint64_t h
    if bits == 0:
        return 0
    if kind == BY_ALIAS:
        memcpy(&h, alias, 8)
    else:
        h = mix_person(person)
    return <int64_t>(h >> (64 - bits))


cdef void build_unit(TableBuild t, const uint64_t* u, Entry* scratch, uint8_t* staging, int64_t* used,
                     uint64_t* blocks, int64_t* written) noexcept nogil:
    """One unit: its old entries and its new ones, in as many blocks as they need."""
    cdef uint32_t prefix = <uint32_t>u[0]
    cdef int depth = <int>(u[0] >> 32), pages
    cdef int64_t n = 0, i, count = <int64_t>u[2], added = <int64_t>t._added(u[1], u[2])
    cdef const Entry* entries = t.entries + u[1]
    cdef uint64_t slot = u[3]
    cdef uint8_t* value
    cdef const BlockHead* head
    if slot:
        head = block_head(slot)
        pages = <int>(slot & PAGES_MASK)
        if head.depth == depth and head.entries + added <= block_capacity(pages):
            # It fits as it is: copy the block, add the new entries.
            value = staging + used[0]
            memcpy(value, <const void*>head, <uint64_t>pages * PAGE_BYTES - PAGE_HEAD_BYTES)
            write_head(value, t.table, t.kind, prefix, depth, pages, t.generation,
                       <uint32_t>(head.entries + added))
            for i in range(count):
                if entries[i].flags >> EDIT_SHIFT == EDIT_ADD:
                    insert_entry(value + HEAD_BYTES, bucket_count(slot), t.kind, entries + i)
            note_block(blocks, written, prefix, depth, used, pages)
            return
        n = read_block(slot, t.kind, prefix, depth, scratch)
    for i in range(count):
        if entries[i].flags >> EDIT_SHIFT == EDIT_ADD:
            scratch[n] = entries[i]
            n += 1
    emit_blocks(t, scratch, scratch + n, n, prefix, depth, staging, used, blocks, written)


cdef inline void note_block(uint64_t* blocks, int64_t* written, uint32_t prefix, int depth, int64_t* used,
                            int pages) noexcept nogil:
    cdef uint64_t* b = blocks + 4 * written[0]
    b[0] = prefix
    b[1] = depth
    b[2] = used[0]
    b[3] = pages * PAGE_BYTES - PAGE_HEAD_BYTES
    used[0] += pages * PAGE_BYTES          # the 16 bytes between keep the next value aligned
    written[0] += 1


cdef void emit_blocks(TableBuild t, Entry* entries, Entry* spare, int64_t n, uint32_t prefix, int depth,
                      uint8_t* staging, int64_t* used, uint64_t* blocks, int64_t* written) noexcept nogil:
    """Write n entries as one block, or halve them by the next bit of their hash until they fit."""
    cdef int pages = 1
    cdef int64_t i, low = 0, high = 0
    cdef uint8_t* value
    cdef uint64_t bit
    if n > block_capacity(PAGES_MAX) and depth < DEPTH_MAX:
        bit = <uint64_t>1 << (63 - depth)
        for i in range(n):
            if entry_hash(entries + i, t.kind) & bit:
                spare[high] = entries[i]
                high += 1
            else:
                entries[low] = entries[i]
                low += 1
        memcpy(entries + low, spare, high * sizeof(Entry))
        emit_blocks(t, entries, spare, low, prefix, depth + 1, staging, used, blocks, written)
        emit_blocks(t, entries + low, spare, high, prefix | <uint32_t>(bit >> 32), depth + 1, staging, used,
                    blocks, written)
        return
    while pages < PAGES_MAX and n > block_capacity(pages):
        pages += 1
    value = staging + used[0]
    memset(value, 0, pages * PAGE_BYTES - PAGE_HEAD_BYTES)
    write_head(value, t.table, t.kind, prefix, depth, pages, t.generation, <uint32_t>n)
    for i in range(n):
        insert_entry(value + HEAD_BYTES, bucket_count(pages), t.kind, entries + i)
    note_block(blocks, written, prefix, depth, used, pages)


cdef int64_t apply_edits(TableBuild t, const uint64_t* u, uint8_t* staging, const uint64_t* blocks, int64_t first,
                         int64_t end) noexcept nogil:
    """Change what a unit's edits name in its blocks, just written; returns how many of them found no entry."""
    cdef int64_t i, k, missed = 0
    cdef uint64_t h
    cdef const Entry* e
    for i in range(<int64_t>u[2]):
        e = t.entries + u[1] + i
        if e.flags >> EDIT_SHIFT == EDIT_ADD:
            continue
        h = entry_hash(e, t.kind)
        # A unit's blocks stand in the order of their prefixes and leave no gap.
        k = first
        while k + 1 < end and blocks[4 * (k + 1)] <= h >> 32:
            k += 1
        missed += not edit_entry(staging + blocks[4 * k + 2], t.kind, e, h)
    return missed


cdef bint edit_entry(uint8_t* value, int kind, const Entry* e, uint64_t h) noexcept nogil:
    """Do one edit in a block; False where it has no such entry."""
    cdef BlockHead* head = <BlockHead*>value
    cdef uint32_t buckets = bucket_count(head.pages), _tried
    cdef Bucket* first = <Bucket*>(value + HEAD_BYTES)
    cdef Bucket* b = first + home_bucket(h, buckets)
    cdef int i, last
    for _tried in range(buckets):
        last = (b.meta & 3) - 1
        for i in range(last + 1):
            if not (b.lo[i] == e.lo and b.hi[i] == e.hi if kind == BY_ALIAS else b.person[i] == e.person):
                continue
            if e.flags >> EDIT_SHIFT == EDIT_MARK:
                b.flags[i] |= <uint8_t>e.flags
            elif e.flags >> EDIT_SHIFT == EDIT_REPLACE:
                b.lo[i] = e.lo
                b.hi[i] = e.hi
            elif e.flags >> EDIT_SHIFT == EDIT_LEAD:
                b.person[i] = e.person
                b.flags[i] = <uint8_t>e.flags
            else:
                # The bits that say who went past stay: who stands further on is still found.
                b.lo[i], b.hi[i], b.person[i], b.flags[i] = b.lo[last], b.hi[last], b.person[last], b.flags[last]
                b.lo[last] = b.hi[last] = b.person[last] = b.flags[last] = 0
                b.meta -= 1
                head.entries -= 1
            return True
        if not b.meta & passed_bit(h):
            return False
        b += 1
        if b == first + buckets:
            b = first
    return False


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


# --------------------------------------------------------------------------------------------------- limit

def fetch_limit(const uint8_t[::1] memory, const uint64_t[::1] order, int lines_first, int lines_second):
    """The machine's limit for a resolve: two dependent random fetches a row, with prefetch, nothing else.

    Args:
        memory: the footprint. order: uint64[N], random; where each row's first place is (modulo the footprint, in
            pairs of lines); where its second is depends on what the first fetch brings.
        lines_first, lines_second: cache lines (1 or 2) read at each place; the look-up itself needs 1 and 1.

    Returns:
        A sum over what was read, so that nothing is optimised away.
    """
    cdef int64_t n = order.shape[0], i, row
    cdef uint64_t pairs = <uint64_t>memory.shape[0] // 128, total = 0, word
    cdef const uint8_t* base = &memory[0]
    cdef const uint8_t* first[256]
    cdef const uint8_t* second[256]
    if pairs == 0:
        raise ValueError("memory: expected at least 128 bytes")
    with nogil:
        for i in range(n + 2 * LIMIT_AHEAD):
            if i < n:
                first[i & 255] = base + ((order[i] >> 32) * pairs >> 32) * 128
                hub_prefetch_nearest(first[i & 255])
                if lines_first > 1:
                    hub_prefetch_nearest(first[i & 255] + 64)
            row = i - LIMIT_AHEAD
            if 0 <= row < n:
                memcpy(&word, first[row & 255], 8)
                second[row & 255] = base + ((mix_person(<uint32_t>(word ^ order[row])) >> 32) * pairs >> 32) * 128
                if lines_first > 1:
                    memcpy(&word, first[row & 255] + 64, 8)
                total += word
                hub_prefetch_nearest(second[row & 255])
                if lines_second > 1:
                    hub_prefetch_nearest(second[row & 255] + 64)
            row = i - 2 * LIMIT_AHEAD
            if 0 <= row:
                memcpy(&word, second[row & 255], 8)
                total += word
                if lines_second > 1:
                    memcpy(&word, second[row & 255] + 64, 8)
                    total += word
    return total
