"""Native core: directories of alias tables, and the look-up of rows in their blocks.

No LMDB call is made here. Kernels run without the GIL on raw memory, take sizes, and trust nothing that
comes from the map: page counts come from the stored length, bucket counts are clipped. One crossing a batch.
"""

from cpython.buffer cimport PyBUF_READ
from cpython.memoryview cimport PyMemoryView_FromMemory
from libc.stdint cimport int64_t, uint8_t, uint16_t, uint32_t, uint64_t
from libc.stdlib cimport free, malloc
from libc.string cimport memcpy, memset
from posix.mman cimport MADV_WILLNEED, madvise

import numpy as np

from hub._buckets cimport (
    ALIAS_BYTES, CHECKED, DEPTH_MAX, MAGIC_NUMBER, PAGE_BYTES, PAGE_HEAD_BYTES, PAGES_MASK, BlockHead,
    Bucket, block_head, bucket_count, entry_of, first_bucket, home_bucket, hub_prefetch, match_alias, match_person,
    mix_person, passed_bit,
)
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
    /* For the limit alone, whose memory lies in large pages: there the first level is the faster. */
    #define hub_prefetch_nearest(p) __builtin_prefetch((const void *)(p), 0, 3)
    """
    const char* HUB_BUILD
    void hub_prefetch_nearest(const void* p) noexcept nogil

BUILD = HUB_BUILD.decode()

MAGIC = MAGIC_NUMBER
CHECKED_BIT = CHECKED
NOBODY = 0xFFFFFFFF

cdef enum:
    U32_NONE = 0xFFFFFFFF
    FLAG_ENDED = 0xA0           # revoked, or closed
    LIMIT_AHEAD = 32            # rows by which the limit's loop fetches ahead

    ROW_OK = 0
    ROW_UNKNOWN = 1
    ROW_REVOKED = 2
    ROW_NO_ALIAS = 3
    TURNS_CLOCKED = 8           # of a look-up, together
    TURNS_SLOW_NS = 100_000     # they take 13,000 where the tables are in memory
    ROW_UNCHECKED = 250         # a block of the row has not been checked yet in this process
    ROW_NOT_LOADED = 251        # the provider's directory is not in the map yet


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
    return head.magic == MAGIC_NUMBER and head.table == table and head.kind == (table & 1) and head.prefix == prefix \
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
