"""Walks every page of an LMDB environment, within bounds, without LMDB: what a verification does first.

An environment that LMDB would follow out of the file, or whose free list names a page in use, must be found before
anybody opens it. Checked are both meta pages; of every tree (the free list's, the main one, every database) the page
numbers, kinds and bounds of pages and nodes, the order of keys, branch keys against the keys below them, depth, the
pages of large values, and the counts that the tree's root claims; then that each page below the last is reached once
or listed as free once, and not both.

Format: LMDB 0.9, 64 bit, native byte order, no duplicate keys; the structs stand in ``_pages.pxd``. What is read is
input: each number is compared with the file's length before it is followed. Memory: a byte a page.
"""

from libc.stdint cimport int64_t, uint8_t, uint16_t, uint32_t, uint64_t
from libc.stdlib cimport calloc, free, realloc
from libc.string cimport memcpy
from posix.mman cimport MADV_WILLNEED, madvise

from hub._pages cimport (
    F_BIGDATA,
    F_SUBDATA,
    KEY_MAX,
    LEVELS_MAX,
    META_MAGIC,
    META_VERSION,
    NODE_HEAD,
    P_BRANCH,
    P_LEAF,
    P_META,
    P_OVERFLOW,
    PAGE,
    PAGE_HEAD,
    Meta,
    Node,
    PageHead,
    Tree,
    compare,
)

from hub.errors import StorageError

cdef enum:
    REACHED = 1
    FREE = 2
    PROBLEMS_KEPT = 100

cdef enum Finding:
    OUTSIDE
    TWICE
    NUMBER
    KIND
    BOUNDS
    CHILDLESS
    DEEP
    NODE
    ORDER
    VALUE_FLAGS
    VALUE_PAGES
    LIST_FORM
    LIST_OUTSIDE
    LIST_TWICE
    COUNTS
    BOTH
    NEITHER

WORDS = {
    OUTSIDE: "expected a page inside the environment, got another number",
    TWICE: "expected to be reached once, found it again",
    NUMBER: "expected its own number in it, got another",
    KIND: "expected another kind of page",
    BOUNDS: "expected bounds inside the page, got others",
    CHILDLESS: "expected children, got none",
    DEEP: "expected another depth",
    NODE: "expected a node inside the page, got one that is not",
    ORDER: "expected ascending keys, got others",
    VALUE_FLAGS: "expected a plain value, got another kind",
    VALUE_PAGES: "expected the whole pages of a large value, got others",
    LIST_FORM: "expected a list of free pages, descending, got another",
    LIST_OUTSIDE: "expected free pages inside the environment, got another number",
    LIST_TWICE: "expected a free page to be listed once, found it again",
    COUNTS: "expected the counts of its root, got others",
    BOTH: "expected a page in use or a free one, got one that is both",
    NEITHER: "expected a page in use or a free one, got one that is neither",
}

cdef struct Problem:
    int finding
    uint64_t page

# What a walk through one tree has seen so far; pointers point into the map.
cdef struct Path:
    Tree claimed
    Tree counted
    int is_free                 # the free list's tree: keys are numbers, values lists of pages
    int is_main                 # the main tree: values are the roots of databases
    const Node* last            # the last leaf node, NULL before the first
    const Node* least           # a branch's key that the next leaf key must not be below, or NULL


cdef inline const uint8_t* key_of(const Node* node) noexcept nogil:
    return <const uint8_t*>node + NODE_HEAD


cdef inline uint64_t child_of(const Node* node) noexcept nogil:
    return node.low | <uint64_t>node.high << 16 | <uint64_t>node.flags << 32


cdef inline uint64_t value_bytes_of(const Node* node) noexcept nogil:
    return <uint32_t>node.high << 16 | node.low


cdef class Walk:
    """One walk through an environment that nobody writes to.

    Args:
        data: the whole file. It must not shrink meanwhile.

    Attributes:
        transaction: number of the transaction that the walk saw. reached, unused: pages in use and free ones.

    Raises:
        StorageError: it has no sound meta pages, or ends before its last page.
    """

    cdef const uint8_t[::1] data
    cdef const uint8_t* base
    cdef uint64_t pages
    cdef Meta meta
    cdef uint8_t* state
    cdef Problem problems[PROBLEMS_KEPT]
    cdef int problem_count
    cdef const Node** databases
    cdef int64_t database_count, database_room
    cdef int no_memory
    cdef readonly uint64_t transaction, reached, unused

    def __cinit__(self, const uint8_t[::1] data not None):
        cdef Meta other
        self.data = data
        self.pages = data.shape[0] // PAGE
        if self.pages < 2:
            raise StorageError(f"pages: expected at least two, got {data.shape[0]} bytes")
        self.base = &data[0]
        self.read_meta(0, &self.meta)
        self.read_meta(1, &other)
        if other.transaction > self.meta.transaction:
            self.meta = other
        self.transaction = self.meta.transaction
        if self.meta.last_page < 1 or self.meta.last_page >= self.pages:
            raise StorageError(f"pages: expected {self.meta.last_page + 1} in the file, got {self.pages}")
        self.state = <uint8_t*>calloc(self.meta.last_page + 1, 1)
        if self.state == NULL:
            raise MemoryError

    def __dealloc__(self):
        free(self.state)
        free(self.databases)

    def __repr__(self):
        return f"Walk(transaction={self.transaction}, pages={self.pages})"

    cdef int read_meta(self, uint64_t number, Meta* meta) except -1:
        cdef const PageHead* page = <const PageHead*>(self.base + number * PAGE)
        memcpy(meta, <const uint8_t*>page + PAGE_HEAD, sizeof(Meta))
        if page.number != number or page.flags != P_META:
            raise StorageError(f"pages: expected meta page {number} to name itself, got something else")
        if meta.magic != META_MAGIC or meta.version != META_VERSION or meta.free.pad != PAGE:
            raise StorageError(f"pages: expected meta page {number} of LMDB 0.9, got something else")
        # Transactions write the two in turns; both are 0 in a new file.
        if meta.transaction and meta.transaction & 1 != number:
            raise StorageError(f"pages: expected meta page {number} to be of its turn, got another transaction")
        return 0

    cdef void note(self, int finding, uint64_t page) noexcept nogil:
        if self.problem_count < PROBLEMS_KEPT:
            self.problems[self.problem_count] = Problem(finding, page)
        self.problem_count += 1

    cdef int reach(self, uint64_t number) noexcept nogil:
        """Mark a page as in use; false where it lies outside or was reached before."""
        if number < 2 or number > self.meta.last_page:
            self.note(OUTSIDE, number)
            return 0
        if self.state[number] & REACHED:
            self.note(TWICE, number)
            return 0
        self.state[number] |= REACHED
        return 1

    cdef const Node* node(self, const PageHead* page, int at, int is_leaf) noexcept nogil:
        """A node that lies in its page with all that belongs to it, or NULL."""
        cdef const uint16_t* offsets = <const uint16_t*>(<const uint8_t*>page + PAGE_HEAD)
        cdef uint32_t offset = offsets[at]
        cdef uint64_t size
        cdef const Node* node
        if offset < page.upper or offset & 1 or offset + NODE_HEAD > PAGE:
            return NULL
        node = <const Node*>(<const uint8_t*>page + offset)
        size = NODE_HEAD + <uint64_t>node.key_bytes
        if is_leaf:
            size += 8 if node.flags & F_BIGDATA else value_bytes_of(node)
        return node if node.key_bytes <= KEY_MAX and offset + size <= PAGE else NULL

    cdef int order(self, const Path* path, const Node* a, const Node* b) noexcept nogil:
        """How two nodes' keys compare in the tree's order."""
        cdef uint64_t x = 0, y = 0
        if path.is_free and a.key_bytes == 8 and b.key_bytes == 8:
            memcpy(&x, key_of(a), 8)
            memcpy(&y, key_of(b), 8)
            return (x > y) - (x < y)
        return compare(key_of(a), a.key_bytes, key_of(b), b.key_bytes)

    cdef void walk(self, Path* path, uint64_t number, int depth) noexcept nogil:
        """Check the tree below a page, ``depth`` levels above the leaves' own 1."""
        cdef const PageHead* page
        cdef int count
        if not self.reach(number):
            return
        page = <const PageHead*>(self.base + number * PAGE)
        if page.number != number:
            self.note(NUMBER, number)
        if page.flags != (P_BRANCH if depth > 1 else P_LEAF):
            # Of the right kinds, but at another depth than the root says, or of another kind.
            self.note(DEEP if page.flags in (P_BRANCH, P_LEAF) else KIND, number)
            return
        if page.lower < PAGE_HEAD or page.lower & 1 or page.lower > page.upper or page.upper > PAGE:
            self.note(BOUNDS, number)
            return
        count = (page.lower - PAGE_HEAD) >> 1
        if not count:
            # A tree without entries has no pages.
            self.note(CHILDLESS, number)
        if depth > 1:
            path.counted.branch_pages += 1
            self.walk_branch(path, page, count, depth)
        else:
            path.counted.leaf_pages += 1
            self.walk_leaf(path, page, count)

    cdef void walk_branch(self, Path* path, const PageHead* page, int count, int depth) noexcept nogil:
        cdef const Node* node
        cdef const Node* before = NULL
        cdef int at
        for at in range(count):
            node = self.node(page, at, 0)
            if node == NULL:
                self.note(NODE, page.number)
                continue
            # The first key of a branch page says nothing: that page's own key in its parent does.
            if at:
                if before != NULL and self.order(path, before, node) >= 0:
                    self.note(ORDER, page.number)
                if path.last != NULL and self.order(path, path.last, node) >= 0:
                    self.note(ORDER, page.number)
                before = path.least = node
            self.walk(path, child_of(node), depth - 1)

    cdef void walk_leaf(self, Path* path, const PageHead* page, int count) noexcept nogil:
        cdef const Node* node
        cdef int at
        self.ask_for_values(page, count)
        for at in range(count):
            node = self.node(page, at, 1)
            if node == NULL:
                self.note(NODE, page.number)
                continue
            if path.last != NULL and self.order(path, path.last, node) >= 0:
                self.note(ORDER, page.number)
            if path.least != NULL and self.order(path, path.least, node) > 0:
                self.note(ORDER, page.number)
            path.last, path.least = node, NULL
            path.counted.entries += 1
            self.check_value(path, page, node)

    cdef void ask_for_values(self, const PageHead* page, int count) noexcept nogil:
        """Ask the disk for the first pages of a leaf's large values, before the first one is waited for."""
        cdef const Node* node
        cdef uint64_t number
        cdef int at
        for at in range(count):
            node = self.node(page, at, 1)
            if node != NULL and node.flags == F_BIGDATA:
                memcpy(&number, key_of(node) + node.key_bytes, 8)
                if 2 <= number <= self.meta.last_page:
                    madvise(<void*>(self.base + number * PAGE), PAGE, MADV_WILLNEED)

    cdef void check_value(self, Path* path, const PageHead* page, const Node* node) noexcept nogil:
        cdef const uint8_t* value = key_of(node) + node.key_bytes
        cdef uint64_t number, needed, size = value_bytes_of(node)
        cdef const PageHead* first
        if node.flags != (F_SUBDATA if path.is_main else node.flags & F_BIGDATA):
            self.note(VALUE_FLAGS, page.number)
            return
        if path.is_main:
            self.keep_database(page, node, size)
            return
        if node.flags & F_BIGDATA:
            memcpy(&number, value, 8)
            needed = (size + PAGE_HEAD + PAGE - 1) // PAGE
            if number < 2 or number > self.meta.last_page or needed > self.meta.last_page + 1 - number:
                self.note(VALUE_PAGES, page.number)
                return
            first = <const PageHead*>(self.base + number * PAGE)
            if first.number != number or first.flags != P_OVERFLOW \
                    or (first.lower | <uint32_t>first.upper << 16) != needed:
                self.note(VALUE_PAGES, number)
            path.counted.overflow_pages += needed
            value = <const uint8_t*>first + PAGE_HEAD
            while needed:
                needed -= 1
                self.reach(number + needed)
        if path.is_free:
            self.take_list(page, node, value, size)

    cdef void keep_database(self, const PageHead* page, const Node* node, uint64_t size) noexcept nogil:
        """Note a database whose tree is walked later."""
        cdef const Node** larger
        if size != sizeof(Tree):
            self.note(VALUE_FLAGS, page.number)
            return
        if self.database_count == self.database_room:
            self.database_room = 2 * self.database_room + 64
            larger = <const Node**>realloc(self.databases, self.database_room * sizeof(Node*))
            if larger == NULL:
                self.no_memory = 1
                return
            self.databases = larger
        self.databases[self.database_count] = node
        self.database_count += 1

    cdef void take_list(self, const PageHead* page, const Node* node, const uint8_t* value,
                        uint64_t size) noexcept nogil:
        """Mark what an entry of the free list names: a count and as many page numbers, descending."""
        cdef uint64_t transaction, count, number, before = 0xFFFFFFFFFFFFFFFFULL, at
        if node.key_bytes != 8 or size < 8 or size & 7:
            self.note(LIST_FORM, page.number)
            return
        memcpy(&transaction, key_of(node), 8)
        memcpy(&count, value, 8)
        if transaction < 1 or transaction > self.meta.transaction or count != size // 8 - 1:
            self.note(LIST_FORM, page.number)
            return
        for at in range(1, count + 1):
            memcpy(&number, value + 8 * at, 8)
            if number >= before:
                self.note(LIST_FORM, page.number)
            before = number
            if number < 2 or number > self.meta.last_page:
                self.note(LIST_OUTSIDE, page.number)
            elif self.state[number] & FREE:
                self.note(LIST_TWICE, number)
            else:
                self.state[number] |= FREE

    cdef void walk_tree(self, Path* path) noexcept nogil:
        """Check one tree and what its root says of it."""
        cdef const Tree* claimed = &path.claimed
        cdef const Tree* counted = &path.counted
        if claimed.root != 0xFFFFFFFFFFFFFFFFULL:
            if claimed.depth < 1 or claimed.depth > LEVELS_MAX:
                self.note(DEEP, claimed.root)
                return
            self.walk(path, claimed.root, claimed.depth)
        elif claimed.depth:
            self.note(DEEP, 0)
        if claimed.branch_pages != counted.branch_pages or claimed.leaf_pages != counted.leaf_pages \
                or claimed.overflow_pages != counted.overflow_pages or claimed.entries != counted.entries:
            self.note(COUNTS, claimed.root if claimed.depth else 0)

    cdef void check_cover(self) noexcept nogil:
        """Each page is in use or free."""
        cdef uint64_t number
        for number in range(2, self.meta.last_page + 1):
            if self.state[number] == REACHED:
                self.reached += 1
            elif self.state[number] == FREE:
                self.unused += 1
            else:
                self.note(BOTH if self.state[number] else NEITHER, number)

    def run(self):
        """Walk everything: what does not fit, as one line each, at most a hundred; an empty list where all fits."""
        cdef Path path
        cdef int64_t at
        found = []
        self.run_tree(found, "the free list", &self.meta.free, True, False)
        self.run_tree(found, "the databases", &self.meta.main, False, True)
        for at in range(self.database_count):
            memcpy(&path.claimed, key_of(self.databases[at]) + self.databases[at].key_bytes, sizeof(Tree))
            name = (<const char*>key_of(self.databases[at]))[:self.databases[at].key_bytes]
            self.run_tree(found, ascii(name.decode("ascii", "replace")).strip("'"), &path.claimed, False, False)
        if self.no_memory:
            raise MemoryError
        before = self.problem_count
        with nogil:
            self.check_cover()
        self.put_in_words(found, "environment", before)
        return found

    cdef run_tree(self, list found, str name, const Tree* tree, bint is_free, bint is_main):
        cdef Path path
        before = self.problem_count
        path.claimed = tree[0]
        path.counted = Tree(0, 0, 0, 0, 0, 0, 0, 0)
        path.is_free, path.is_main = is_free, is_main
        path.last = path.least = NULL
        # The free list's flags are the environment's own. No database of ours has any: no duplicates, no number keys.
        if not is_free and tree.flags:
            found.append(f"{name}: expected no flags, got {tree.flags}")
        with nogil:
            self.walk_tree(&path)
        self.put_in_words(found, name, before)

    cdef put_in_words(self, list found, str name, int first):
        cdef int at
        for at in range(first, min(self.problem_count, <int>PROBLEMS_KEPT)):
            if len(found) < PROBLEMS_KEPT:
                found.append(f"{name}: page {self.problems[at].page}: {WORDS[self.problems[at].finding]}")
