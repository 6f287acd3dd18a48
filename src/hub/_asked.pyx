"""How often a requester's questions about a person went from one provider to another: a table for a day.

A table holds of each person the provider that was asked last and how many changes there were, the first question
included: no fewer than the different providers asked. It begins as an open-addressed hash and becomes an array by
person number, 4 bytes a person, once the hash would take 1 byte a person: from there on its growth would cost more than
the array, most of all the first touch of fresh pages. Nothing here takes a lock: its caller lets one thread at a time
into a table.

Hash, u64 a slot, linear probing, at most half full: bits 0-15 last provider, 16-23 changes, 32-63 person + 1, 0 = free.
Array, u32 a person: the low half of such a slot, 0 = never asked.
"""

from libc.stdint cimport uint8_t, uint16_t, uint32_t, uint64_t
from libc.stdlib cimport calloc, free
from libc.string cimport memcpy
from posix.mman cimport MADV_HUGEPAGE, madvise

cdef extern from *:
    """
    #define hub_prefetch_slot(p) __builtin_prefetch((const void *)(p), 1, 2)
    """
    void hub_prefetch_slot(const void* p) noexcept nogil

cdef enum:
    AHEAD = 32                  # rows by which a loop over random places fetches ahead
    SLOTS_MIN = 64
    PERSONS_MIN = 1024          # an array of fewer is not worth a hash before it
    CHANGES_MAX = 255
    HUGE_FROM = 1 << 23         # bytes of an array from which large pages are asked for

cdef uint64_t SPREAD = 0x9E3779B97F4A7C15ULL

MOST = CHANGES_MAX - 1
"""The largest bound that :meth:`Table.count` can compare with: the number of changes stops one above it."""


cdef class Table:
    """Who was asked last about whom, and the changes; see the module's table."""

    cdef uint64_t* slots
    cdef uint32_t* array
    cdef uint64_t capacity      # of the hash, a power of two
    cdef int shift              # 64 - its logarithm
    cdef uint64_t used
    cdef uint64_t size          # persons of the array

    def __cinit__(self):
        self.slots = NULL
        self.array = NULL
        self.capacity = self.used = self.size = 0
        self.shift = 64

    def __dealloc__(self):
        free(self.slots)
        free(self.array)

    def __repr__(self):
        return f"Table(bytes={self.bytes}, dense={self.dense})"

    @property
    def bytes(self):
        """Memory that it takes."""
        return 8 * self.capacity + 4 * self.size

    @property
    def dense(self):
        """Whether it is an array by person."""
        return self.array != NULL

    def reserve(self, uint64_t rows, uint64_t persons):
        """Make room for so many rows more, of persons with numbers below ``persons``; before any other call.

        Raises:
            MemoryError: there is none; the table is as it was.
        """
        cdef uint64_t capacity, wanted = 2 * (self.used + rows)
        if self.array != NULL:
            if persons > self.size:
                self._make_array(persons + persons // 8)
            return
        if wanted <= self.capacity:
            return
        capacity = max(self.capacity, <uint64_t>SLOTS_MIN)
        while capacity < wanted:
            capacity *= 2
        if 8 * capacity > max(persons, 8 * <uint64_t>PERSONS_MIN):
            self._make_array(max(persons + persons // 8, <uint64_t>PERSONS_MIN))
        else:
            self._make_hash(capacity)

    cdef _make_hash(self, uint64_t capacity):
        cdef uint64_t* slots = <uint64_t*>calloc(capacity, 8)
        cdef uint64_t at, place
        cdef int shift = 64
        if slots == NULL:
            raise MemoryError
        while <uint64_t>1 << (64 - shift) < capacity:
            shift -= 1
        with nogil:
            for at in range(self.capacity):
                if self.slots[at]:
                    place = ((self.slots[at] >> 32) - 1) * SPREAD >> shift
                    while slots[place]:
                        place = (place + 1) & (capacity - 1)
                    slots[place] = self.slots[at]
        free(self.slots)
        self.slots, self.capacity, self.shift = slots, capacity, shift

    cdef _make_array(self, uint64_t size):
        cdef uint32_t* array
        cdef uint64_t at, highest = 0
        with nogil:
            for at in range(self.capacity):
                # Whatever its caller knows of: who is here must have a place.
                highest = max(highest, self.slots[at] >> 32)
        size = max(size, highest)
        # Pages of zeros come from the system when they are first touched.
        array = <uint32_t*>calloc(size, 4)
        if array == NULL:
            raise MemoryError
        if 4 * size >= HUGE_FROM:
            # Rows come in no order, so that every page is touched soon: few large ones cost less. Only a hint.
            madvise(<void*>((<uint64_t>array + 4095) & ~<uint64_t>4095), (4 * size - 4096) & ~<uint64_t>4095,
                    MADV_HUGEPAGE)
        with nogil:
            if self.array != NULL:
                memcpy(array, self.array, 4 * self.size)
            for at in range(self.capacity):
                if self.slots[at]:
                    array[(self.slots[at] >> 32) - 1] = <uint32_t>self.slots[at]
        free(self.slots)
        free(self.array)
        self.slots, self.capacity, self.shift = NULL, 0, 64
        self.array, self.size = array, size

    cdef inline const void* place_of(self, uint32_t person) noexcept nogil:
        """Where to fetch from for a person; any number."""
        if self.array != NULL:
            return self.array + person if person < self.size else self.array
        return self.slots + (person * SPREAD >> self.shift)

    cdef inline uint64_t find(self, uint32_t person) noexcept nogil:
        """The slot of a person in the hash, or the free one where it belongs."""
        cdef uint64_t at = person * SPREAD >> self.shift
        while self.slots[at] and self.slots[at] >> 32 != <uint64_t>person + 1:
            at = (at + 1) & (self.capacity - 1)
        return at

    cdef inline uint32_t read(self, uint32_t person) noexcept nogil:
        if self.array != NULL:
            return self.array[person] if person < self.size else 0
        return <uint32_t>self.slots[self.find(person)] if self.capacity else 0

    cdef inline void write(self, uint32_t person, uint32_t value) noexcept nogil:
        cdef uint64_t at
        if self.array != NULL:
            self.array[person] = value
            return
        at = self.find(person)
        self.used += self.slots[at] == 0
        self.slots[at] = (<uint64_t>person + 1) << 32 | value

    cdef _check(self, uint64_t n, const uint32_t[::1] persons, const uint8_t[::1] wanted):
        """That the rows fit what was reserved: behind here nothing is looked at twice."""
        cdef uint64_t row, rows = 0
        cdef uint32_t highest = 0
        with nogil:
            for row in range(n):
                if wanted[row]:
                    rows += 1
                    highest = max(highest, persons[row])
        if rows and (highest >= self.size if self.array != NULL else 2 * (self.used + rows) > self.capacity):
            raise ValueError("asked: expected room that was reserved, got rows beyond it")

    def count(
        self,
        const uint32_t[::1] persons not None,
        const uint32_t[::1] providers not None,
        const uint8_t[::1] wanted not None,
        const uint16_t[::1] others,
        int most,
        uint8_t[::1] unsure not None,
    ):
        """Count rows in their order, and mark those that may be the question to one provider too many.

        A row to the provider that was asked last changes nothing. Another is counted while the changes, with those of
        ``others``, stay within ``most``; where they would not, the row is marked and the table stays as it is.

        Args:
            persons, providers: uint32[N]; providers below 65,536. wanted: uint8[N], rows with 0 are passed over.
            others: uint16[N] of :meth:`add`, or None. most: at most ``MOST``.
            unsure: uint8[N], 1 where a row was marked; others are set to 0.

        Returns:
            how many were marked.
        """
        cdef uint64_t n = persons.shape[0], row, at = 0
        cdef uint64_t marked = 0
        cdef uint32_t value, changes
        cdef uint16_t provider
        cdef bint mark
        if providers.shape[0] != n or wanted.shape[0] != n or unsure.shape[0] != n:
            raise ValueError("asked: expected columns of one length, got others")
        if others is not None and others.shape[0] != n or not 0 <= most <= MOST:
            raise ValueError("asked: expected columns of one length and a bound in range, got others")
        self._check(n, persons, wanted)
        with nogil:
            for row in range(min(n, <uint64_t>AHEAD)):
                if wanted[row]:
                    hub_prefetch_slot(self.place_of(persons[row]))
            for row in range(n):
                if row + AHEAD < n and wanted[row + AHEAD]:
                    hub_prefetch_slot(self.place_of(persons[row + AHEAD]))
                unsure[row] = 0
                if not wanted[row]:
                    continue
                provider = <uint16_t>providers[row]
                if self.array != NULL:
                    value = self.array[persons[row]]
                else:
                    at = self.find(persons[row])
                    value = <uint32_t>self.slots[at]
                changes = value >> 16
                if changes and <uint16_t>value == provider:
                    continue
                mark = changes + (others[row] if others is not None else 0) >= <uint32_t>most
                unsure[row] = mark
                marked += mark
                if mark:
                    continue
                value = (changes + 1) << 16 | provider
                if self.array != NULL:
                    self.array[persons[row]] = value
                else:
                    self.used += changes == 0
                    self.slots[at] = (<uint64_t>persons[row] + 1) << 32 | value
        return marked

    def add(
        self,
        const uint32_t[::1] persons not None,
        const uint8_t[::1] wanted not None,
        uint16_t[::1] changes not None,
    ):
        """Add each row's changes in this table to a column, uint16[N], up to 65,535; the table stays as it is."""
        cdef uint64_t n = persons.shape[0], row
        cdef uint32_t total
        if wanted.shape[0] != n or changes.shape[0] != n:
            raise ValueError("asked: expected columns of one length, got others")
        if self.array == NULL and not self.capacity:
            return
        with nogil:
            for row in range(min(n, <uint64_t>AHEAD)):
                if wanted[row]:
                    hub_prefetch_slot(self.place_of(persons[row]))
            for row in range(n):
                if row + AHEAD < n and wanted[row + AHEAD]:
                    hub_prefetch_slot(self.place_of(persons[row + AHEAD]))
                if wanted[row]:
                    total = changes[row] + (self.read(persons[row]) >> 16)
                    changes[row] = <uint16_t>min(total, <uint32_t>0xFFFF)

    def put(self, uint32_t person, uint16_t provider, uint64_t changes):
        """Say what is known of a person for certain, who is in the table already or for whom there is room."""
        if changes == 0:
            raise ValueError("asked: expected one change or more, got none")
        if self.array != NULL and person >= self.size or self.array == NULL and 2 * (self.used + 1) > self.capacity:
            if not self.read(person):
                raise ValueError("asked: expected room that was reserved, got a person beyond it")
        self.write(person, <uint32_t>min(changes, <uint64_t>CHANGES_MAX) << 16 | provider)

    def get(self, uint32_t person):
        """(last provider, changes) of a person; (0, 0) where it was never asked about."""
        cdef uint32_t value = self.read(person)
        return value & 0xFFFF, value >> 16
