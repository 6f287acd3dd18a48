"""Blocks of an alias table, built: new entries and changes of old ones, sorted by where they go, as finished values.

No LMDB call is made here. Kernels run without the GIL on raw memory, take sizes, and trust nothing that comes from
the map. Blocks of a table are read in ``_core.pyx``; both share ``_buckets.pxd``.
"""

from libc.stdint cimport int64_t, uint8_t, uint16_t, uint32_t, uint64_t
from libc.stdlib cimport calloc, free, malloc
from libc.string cimport memcpy, memset

import numpy as np

from hub._buckets cimport (
    ALIAS_BYTES, BUCKET_ENTRIES, BY_ALIAS, CHECKED, DEPTH_MAX, HEAD_BYTES, MAGIC_NUMBER, PAGE_BYTES, PAGE_HEAD_BYTES,
    PAGES_MASK, PAGES_MAX, BlockHead, Bucket, Entry, block_capacity, block_head, bucket_count, first_bucket,
    home_bucket, mix_person, passed_bit,
)
from hub._core cimport Directory

cdef enum:
    # What a row of a TableBuild is: bits 8 to 10 of its edit, above eight bits of flags.
    EDIT_SHIFT = 8
    EDIT_ADD = 0                # a new entry with these flags
    EDIT_MARK = 1               # the alias's entry gets these flags as well
    EDIT_REPLACE = 2            # the person's entry gets this alias
    EDIT_REMOVE = 3             # the person's entry goes
    EDIT_LEAD = 4               # the alias's entry leads to this person, with exactly these flags

MARK, REPLACE, REMOVE = EDIT_MARK << EDIT_SHIFT, EDIT_REPLACE << EDIT_SHIFT, EDIT_REMOVE << EDIT_SHIFT
LEAD = EDIT_LEAD << EDIT_SHIFT


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
    head.magic = MAGIC_NUMBER
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
