# Contents page of the page reader: the structs of an LMDB 0.9 file as it lies in the map (64 bit, native byte order).
#
# All pointers point into the map and belong to the read transaction of the snapshot that made the Pages object. Nothing
# here writes, and nothing is read at a place that was not compared with the file's length first.

from libc.stdint cimport int64_t, uint8_t, uint16_t, uint32_t, uint64_t
from libc.string cimport memcmp

from hub._small cimport Filter

cdef enum:
    PAGE = 4096
    PAGE_HEAD = 16
    NODE_HEAD = 8
    KEY_MAX = 511
    LEVELS_MAX = 32
    META_MAGIC = 0xBEEFC0DE
    META_VERSION = 1            # LMDB 0.9; 1.0 has another layout
    P_BRANCH = 0x01
    P_LEAF = 0x02
    P_OVERFLOW = 0x04
    P_META = 0x08
    F_BIGDATA = 0x01            # the value has pages of its own; the node holds the first one's number
    F_SUBDATA = 0x02            # the value is the root of a named database

cdef struct PageHead:
    uint64_t number
    uint16_t pad
    uint16_t flags
    uint16_t lower              # end of the node offsets; of an overflow page lower | upper << 16 is its page count
    uint16_t upper              # begin of the nodes

cdef struct Tree:
    uint32_t pad
    uint16_t flags
    uint16_t depth
    uint64_t branch_pages
    uint64_t leaf_pages
    uint64_t overflow_pages
    uint64_t entries
    uint64_t root

cdef struct Meta:
    uint32_t magic
    uint32_t version
    uint64_t address
    uint64_t map_bytes
    Tree free
    Tree main
    uint64_t last_page
    uint64_t transaction

cdef struct Node:
    uint16_t low                # a leaf: bytes of the value; a branch: the child's page number, 48 bits with flags
    uint16_t high
    uint16_t flags
    uint16_t key_bytes

cdef inline int compare(const uint8_t* a, size_t a_bytes, const uint8_t* b, size_t b_bytes) noexcept nogil:
    """LMDB's order of keys: byte by byte, a shorter one before its extensions."""
    cdef int order = memcmp(a, b, min(a_bytes, b_bytes))
    return order if order else (a_bytes > b_bytes) - (a_bytes < b_bytes)

cdef inline uint64_t big_endian(const uint8_t* at) noexcept nogil:
    """Eight bytes of a key as a number."""
    cdef uint64_t x = 0
    cdef int i
    for i in range(8):
        x = x << 8 | at[i]
    return x

# A range of keys of 8 bytes on its way through a tree, and what was found of it.
cdef struct Search:
    uint64_t first              # as numbers, big endian
    uint64_t last               # inclusive
    uint64_t* found             # owned by the caller: pairs of key and slot
    int64_t count
    int64_t room
    uint64_t bad_page           # where the tree is damaged
    uint64_t bad_key            # the key whose value is damaged

# A key to be found with its value: the largest one that is not above what was asked for.
cdef struct Found:
    const uint8_t* key
    uint16_t key_bytes
    const uint8_t* value
    uint64_t value_bytes
    uint64_t bad_page

# Keys on their way into a filter.
cdef struct Filling:
    const uint8_t* first        # the first key that is wanted, the caller's
    size_t first_bytes
    const uint8_t* last         # the last one that was looked at, in the map; NULL = none yet
    size_t last_bytes
    int64_t room                # entries that may still be looked at

# A touch of the map that takes longer has waited for the disk: pages that are there take at most a microsecond.
cdef enum:
    SLOW_NS = 20_000

cdef int64_t now() noexcept nogil
cdef void touch_all(const uint8_t* const* at, const uint64_t* lengths, int64_t n) noexcept nogil

cdef class Pages:
    cdef dict trees             # name -> Tree as bytes, as looked up in this transaction
    cdef const uint8_t* base    # address of page 0 in the map
    cdef uint64_t pages         # whole pages of the file
    cdef Meta meta
    cdef const PageHead* page(self, uint64_t number, int flags) noexcept nogil
    cdef const Node* node(self, const PageHead* page, int at, int is_leaf) noexcept nogil
    cdef int find_tree(self, const char* name, size_t name_bytes, Tree* tree) noexcept nogil
    cdef void touch_values(self, const Search* search, const PageHead* page) noexcept nogil
    cdef int walk(self, Search* search, uint64_t number, int depth) noexcept nogil
    cdef int floor(self, Found* found, uint64_t number, int depth, const uint8_t* key, size_t key_bytes) noexcept nogil
    cdef int locate(self, Found* found, const Node* node) noexcept nogil
    cdef int tree_of(self, bytes name, Tree* tree) except -1
    cdef int take(self, Search* search, const Node* node, uint64_t key) noexcept nogil
    cdef int collect(self, Filling* filling, Filter filter, uint64_t number, int depth) noexcept nogil
