"""Reads the B+trees of an LMDB environment from the map, within bounds, without LMDB.

Opening a table means learning where its blocks are. LMDB would tell one block a call, and it believes the lengths and
page numbers that stand in the file: a damaged one leads it, or the first touch of the value, past the end of the file,
and the process ends by a signal. This reader compares every number with the file's length before it follows it, and
it is some hundred times as fast (about 10 ns a block).

Format: LMDB 0.9, 64 bit, native byte order; the structs stand in ``_pages.pxd``. Used inside a live read transaction,
whose pages nobody changes.
"""

from cpython.buffer cimport PyBUF_READ
from cpython.memoryview cimport PyMemoryView_FromMemory
from libc.stdint cimport int64_t, uint8_t, uint16_t, uint32_t, uint64_t
from libc.stdlib cimport free, realloc
from libc.string cimport memcmp, memcpy, memset
from posix.mman cimport MADV_WILLNEED, madvise
from posix.time cimport CLOCK_MONOTONIC, clock_gettime, timespec

import numpy as np

from hub.errors import StorageError

from hub._small cimport Filter

cdef enum:
    GOOD = 0
    BAD_TREE = 1
    BAD_VALUE = 2
    NO_MEMORY = 3
    NOT_THERE = 4
    BLOCK_PAGES_MAX = 8
    PAGES_MASK = 31             # of a block's slot: how many pages
    VALUES_MAX = 256            # of a leaf: one with a key of 8 bytes and pages of its own takes 26
    GROUP = 1024                # blocks that a disk is asked for at once

cdef extern from *:
    """
    static inline void hub_touch(const uint8_t* at) { (void)*(const volatile uint8_t*)at; }
    """
    void hub_touch(const uint8_t* at) noexcept nogil


cdef inline const uint8_t* key_of(const Node* node) noexcept nogil:
    return <const uint8_t*>node + NODE_HEAD


cdef int64_t now() noexcept nogil:
    """A clock in nanoseconds."""
    cdef timespec found
    clock_gettime(CLOCK_MONOTONIC, &found)
    return <int64_t>found.tv_sec * 1_000_000_000 + found.tv_nsec


cdef void touch_all(const uint8_t* const* at, const uint64_t* lengths, int64_t n) noexcept nogil:
    """Have parts of the map in memory.

    What is in memory takes nothing but this. Once a part had to come from the disk, all behind it are asked for, so
    that the disk reads them beside each other: asking takes half a microsecond, also for what is there.
    """
    cdef int64_t i, k, begin = now(), end
    cdef uint64_t first, before = 0
    cdef const uint8_t* byte
    cdef bint asked = False
    for i in range(n):
        byte = at[i]
        while byte < at[i] + lengths[i]:
            hub_touch(byte)
            byte = <const uint8_t*>((<uint64_t>byte | (PAGE - 1)) + 1)
        if asked:
            continue
        end = now()
        if end - begin > SLOW_NS:
            asked = True
            for k in range(i + 1, n):
                first = <uint64_t>at[k] & ~<uint64_t>(PAGE - 1)
                if first != before:
                    # Advice only: a failure costs time, nothing else.
                    madvise(<void*>first, <uint64_t>at[k] + lengths[k] - first, MADV_WILLNEED)
                before = first
        begin = end


def read_in(const uint64_t[::1] slots not None):
    """Have blocks in memory; those that are not there are asked of the disk many at a time.

    Args:
        slots: uint64[N], of :meth:`Pages.blocks` or a directory made of them, whose snapshot is held. Where they ascend
            the disk reads in its order.
    """
    cdef int64_t n = slots.shape[0], begin = 0, i, count
    cdef const uint8_t* at[GROUP]
    cdef uint64_t lengths[GROUP]
    with nogil:
        while begin < n:
            count = min(<int64_t>GROUP, n - begin)
            for i in range(count):
                at[i] = <const uint8_t*>(slots[begin + i] & ~<uint64_t>(PAGE - 1))
                lengths[i] = (slots[begin + i] & PAGES_MASK) * PAGE
            touch_all(at, lengths, count)
            begin += count


def turns(uint64_t base, uint64_t length):
    """Transaction and last page that each of the two meta pages of a mapped file names.

    Raises:
        StorageError: the file has no two pages.
    """
    cdef Meta meta
    cdef int i
    found = []
    if not base or length < 2 * PAGE:
        raise StorageError(f"environment: expected at least two pages, got {length} bytes")
    for i in range(2):
        memcpy(&meta, <const uint8_t*>base + i * PAGE + PAGE_HEAD, sizeof(Meta))
        found.append((meta.transaction, meta.last_page))
    return found


cdef class Pages:
    """The pages of one read transaction.

    Args:
        base: address of the mapped file. length: bytes of the file.
        transaction: number of the read transaction (``Transaction.id``).

    Raises:
        LookupError: the meta page of that transaction has been written over by a later commit: begin anew.
        StorageError: the file has no sound meta page for it.
    """

    def __init__(self, uint64_t base, uint64_t length, uint64_t transaction):
        cdef Meta meta
        self.base = <const uint8_t*>base
        self.pages = length // PAGE
        if not base or self.pages < 2:
            raise StorageError(f"environment: expected at least two pages, got {length} bytes")
        # A commit writes the two meta pages in turns.
        memcpy(&meta, self.base + (transaction & 1) * PAGE + PAGE_HEAD, sizeof(Meta))
        if meta.magic != META_MAGIC or meta.version != META_VERSION:
            raise StorageError("environment: expected a meta page of LMDB 0.9, got something else")
        if meta.transaction != transaction:
            raise LookupError("meta page of a later transaction")
        self.meta = meta
        self.trees = {}

    def __repr__(self):
        return f"Pages(transaction={self.meta.transaction}, pages={self.pages})"

    cdef const PageHead* page(self, uint64_t number, int flags) noexcept nogil:
        """A page of this kind that lies in the file and names itself, or NULL."""
        cdef const PageHead* page
        if number < 2 or number >= self.pages or number > self.meta.last_page:
            return NULL
        page = <const PageHead*>(self.base + number * PAGE)
        if page.number != number or not page.flags & flags:
            return NULL
        if flags & (P_BRANCH | P_LEAF) and (page.lower < PAGE_HEAD or page.lower > page.upper or page.upper > PAGE):
            return NULL
        return page

    cdef const Node* node(self, const PageHead* page, int at, int is_leaf) noexcept nogil:
        """A node that lies in its page, with its key and what follows it, or NULL."""
        cdef const uint16_t* offsets = <const uint16_t*>(<const uint8_t*>page + PAGE_HEAD)
        cdef uint32_t offset = offsets[at], size
        cdef const Node* node
        if offset < page.lower or offset & 1 or offset + NODE_HEAD > PAGE:
            return NULL
        node = <const Node*>(<const uint8_t*>page + offset)
        size = NODE_HEAD + node.key_bytes
        if is_leaf:
            # A length that does not fit the page may be as large as it likes: it is compared, never added to.
            if node.flags & F_BIGDATA:
                size += 8
            elif (<uint32_t>node.high << 16 | node.low) > PAGE:
                return NULL
            else:
                size += <uint32_t>node.high << 16 | node.low
        if node.key_bytes > KEY_MAX or offset + size > PAGE:
            return NULL
        return node

    cdef int find_tree(self, const char* name, size_t name_bytes, Tree* tree) noexcept nogil:
        """The root of a named database: a look-up in the main tree."""
        cdef uint64_t number = self.meta.main.root
        cdef int _level, at, chosen, count, order
        cdef const PageHead* page
        cdef const Node* node
        for _level in range(LEVELS_MAX):
            page = self.page(number, P_BRANCH | P_LEAF)
            if page == NULL:
                return BAD_TREE
            count = (page.lower - PAGE_HEAD) >> 1
            chosen = -1
            for at in range(count):
                node = self.node(page, at, page.flags & P_LEAF)
                if node == NULL:
                    return BAD_TREE
                order = compare(key_of(node), node.key_bytes, <const uint8_t*>name, name_bytes)
                # The first key of a branch page is empty: it stands for everything below the second.
                if order <= 0 or (at == 0 and page.flags & P_BRANCH):
                    chosen = at
                if order >= 0 and page.flags & P_LEAF:
                    if order > 0:
                        return NOT_THERE
                    if not node.flags & F_SUBDATA or (<uint32_t>node.high << 16 | node.low) != sizeof(Tree):
                        return BAD_TREE
                    memcpy(tree, key_of(node) + node.key_bytes, sizeof(Tree))
                    return GOOD
            if page.flags & P_LEAF:
                return NOT_THERE
            if chosen < 0:
                return BAD_TREE
            node = self.node(page, chosen, 0)
            number = node.low | <uint64_t>node.high << 16 | <uint64_t>node.flags << 32
        return BAD_TREE

    cdef int take(self, Search* search, const Node* node, uint64_t key) noexcept nogil:
        """Note a value that fills whole pages as address | number of pages."""
        cdef uint64_t number, size = <uint32_t>node.high << 16 | node.low
        cdef uint64_t needed = (size + PAGE_HEAD) // PAGE
        cdef const PageHead* page
        cdef uint64_t* larger
        search.bad_key = key
        if not node.flags & F_BIGDATA or (size + PAGE_HEAD) % PAGE or needed < 1 or needed > BLOCK_PAGES_MAX:
            return BAD_VALUE
        memcpy(&number, key_of(node) + node.key_bytes, 8)
        page = self.page(number, P_OVERFLOW)
        if page == NULL or needed > self.pages - number or (page.lower | <uint32_t>page.upper << 16) < needed:
            return BAD_VALUE
        if search.count == search.room:
            search.room = 2 * search.room + 64
            larger = <uint64_t*>realloc(search.found, search.room * 16)
            if larger == NULL:
                return NO_MEMORY
            search.found = larger
        search.found[2 * search.count] = key
        search.found[2 * search.count + 1] = <uint64_t>page | needed
        search.count += 1
        return GOOD

    cdef void touch_values(self, const Search* search, const PageHead* page) noexcept nogil:
        """Have the first pages of a leaf's values in memory, that the walk will look at.

        From a disk they come one by one otherwise, ten seconds for the tables of 125 million persons. What is damaged
        is passed over here: the walk finds it.
        """
        cdef const uint8_t* at[VALUES_MAX]
        cdef uint64_t lengths[VALUES_MAX]
        cdef const Node* node
        cdef int i, wanted = 0
        cdef uint64_t key, number
        for i in range(min((page.lower - PAGE_HEAD) >> 1, VALUES_MAX)):
            node = self.node(page, i, 1)
            if node == NULL or node.key_bytes != 8:
                break
            key = big_endian(key_of(node))
            if key > search.last:
                break
            if key >= search.first and node.flags & F_BIGDATA:
                memcpy(&number, key_of(node) + node.key_bytes, 8)
                if number < self.pages:
                    at[wanted], lengths[wanted] = self.base + number * PAGE, 1
                    wanted += 1
        touch_all(at, lengths, wanted)

    cdef int walk(self, Search* search, uint64_t number, int depth) noexcept nogil:
        """Take the keys in range of the tree below a page, in order."""
        cdef const PageHead* page = self.page(number, P_BRANCH if depth > 1 else P_LEAF)
        cdef const Node* node
        cdef const Node* following
        cdef int at, count, code
        search.bad_page = number
        if page == NULL or depth < 1:
            return BAD_TREE
        if depth == 1:
            self.touch_values(search, page)
        count = (page.lower - PAGE_HEAD) >> 1
        for at in range(count):
            node = self.node(page, at, depth == 1)
            if node == NULL or (node.key_bytes != 8 and (depth == 1 or at)):
                return BAD_TREE
            if depth == 1:
                key = big_endian(key_of(node))
                if key > search.last:
                    return GOOD
                if key < search.first:
                    continue
                if search.count and search.found[2 * search.count - 2] >= key:
                    return BAD_TREE
                code = self.take(search, node, key)
            else:
                if at and big_endian(key_of(node)) > search.last:
                    return GOOD
                if at + 1 < count:
                    following = self.node(page, at + 1, 0)
                    if following == NULL or following.key_bytes != 8:
                        return BAD_TREE
                    if big_endian(key_of(following)) <= search.first:
                        continue
                code = self.walk(search, node.low | <uint64_t>node.high << 16 | <uint64_t>node.flags << 32, depth - 1)
            if code != GOOD:
                return code
        return GOOD

    cdef int locate(self, Found* found, const Node* node) noexcept nogil:
        """Where a leaf's value is; its pages are compared with the file's length, not touched.

        So their own heads are not read: what is made of the value must be checked by whoever asked.
        """
        cdef uint64_t number, size = <uint32_t>node.high << 16 | node.low
        found.key = key_of(node)
        found.key_bytes = node.key_bytes
        found.value_bytes = size
        if not node.flags & F_BIGDATA:
            found.value = found.key + node.key_bytes
            return GOOD
        memcpy(&number, found.key + node.key_bytes, 8)
        if number < 2 or number >= self.pages or number > self.meta.last_page \
                or (size + PAGE_HEAD + PAGE - 1) // PAGE > self.pages - number:
            return BAD_VALUE
        found.value = self.base + number * PAGE + PAGE_HEAD
        return GOOD

    cdef int floor(self, Found* found, uint64_t number, int depth, const uint8_t* key, size_t key_bytes) noexcept nogil:
        """The largest key not above this one in the tree below a page."""
        cdef const PageHead* page = self.page(number, P_BRANCH if depth > 1 else P_LEAF)
        cdef const Node* node
        cdef int low = 0, high, middle, code
        found.bad_page = number
        if page == NULL or depth < 1:
            return BAD_TREE
        # low: the first node above the key; the first of a branch page stands for everything below the second.
        high = (page.lower - PAGE_HEAD) >> 1
        if depth > 1:
            low = 1
        while low < high:
            middle = (low + high) // 2
            node = self.node(page, middle, depth == 1)
            if node == NULL:
                return BAD_TREE
            if compare(key_of(node), node.key_bytes, key, key_bytes) <= 0:
                low = middle + 1
            else:
                high = middle
        while low > 0:
            low -= 1
            node = self.node(page, low, depth == 1)
            if node == NULL:
                return BAD_TREE
            if depth == 1:
                return self.locate(found, node)
            # A subtree may begin behind its branch's key: then the one before has it.
            code = self.floor(found, node.low | <uint64_t>node.high << 16 | <uint64_t>node.flags << 32, depth - 1,
                              key, key_bytes)
            if code != NOT_THERE:
                return code
        return NOT_THERE

    cdef int tree_of(self, bytes name, Tree* tree) except -1:
        """The root of a named database, looked up once."""
        cdef int code
        cdef const char* text = name
        cdef size_t name_bytes = len(name)
        known = self.trees.get(name)
        if known is None:
            code = self.find_tree(text, name_bytes, tree)
            if code != GOOD or tree.depth > LEVELS_MAX:
                raise StorageError(f"environment: expected the database {name.decode()}, got a damaged tree")
            self.trees[name] = (<char*>tree)[:sizeof(Tree)]
        else:
            memcpy(tree, <const char*>known, sizeof(Tree))
        return 0

    def at_or_before(self, bytes name not None, bytes key not None):
        """The entry of a database with the largest key that is not above this one.

        Args:
            name: of the database. key: any bytes.

        Returns:
            (key, value) or None; the value is a view of the map, none of whose pages was touched, valid as long as
            the snapshot.

        Raises:
            StorageError: a page, length or number on the way leads outside the file.
        """
        cdef Found found
        cdef Tree tree
        cdef const uint8_t* wanted = key
        cdef size_t key_bytes = len(key)
        cdef int code
        self.tree_of(name, &tree)
        if tree.root == 0xFFFFFFFFFFFFFFFFULL:
            return None
        code = self.floor(&found, tree.root, tree.depth, wanted, key_bytes)
        if code == NOT_THERE:
            return None
        if code != GOOD:
            raise StorageError(f"environment: expected the pages of {name.decode()}, got a damaged tree "
                               f"at page {found.bad_page}")
        return ((<const char*>found.key)[:found.key_bytes],
                PyMemoryView_FromMemory(<char*>found.value, <Py_ssize_t>found.value_bytes, PyBUF_READ))

    def having(self, bytes name not None, const uint8_t[:, ::1] keys not None):
        """Which of some requests (uint8[N, 16]) have a part 0 in a database of request ids: uint8[N], 1 where one has.

        Raises:
            StorageError: a page, length or number on the way leads outside the file.
        """
        cdef Found found
        cdef Tree tree
        cdef int64_t row, n = keys.shape[0]
        cdef int code = GOOD
        cdef uint8_t part[20]
        there = np.zeros(n, dtype=np.uint8)
        cdef uint8_t[::1] view = there
        if keys.shape[1] != 16:
            raise ValueError("keys: expected uint8[N, 16]")
        self.tree_of(name, &tree)
        if tree.root == 0xFFFFFFFFFFFFFFFFULL:
            return there
        memset(part, 0, 20)
        with nogil:
            for row in range(n):
                memcpy(part, &keys[row, 0], 16)
                code = self.floor(&found, tree.root, tree.depth, part, 20)
                if code == NOT_THERE:
                    code = GOOD
                elif code != GOOD:
                    break
                elif compare(found.key, found.key_bytes, part, 20) == 0:
                    view[row] = 1
        if code != GOOD:
            raise StorageError(f"environment: expected the pages of {name.decode()}, got a damaged tree "
                               f"at page {found.bad_page}")
        return there

    def entries_of(self, bytes name not None):
        """How many entries a database has."""
        cdef Tree tree
        self.tree_of(name, &tree)
        return tree.entries

    cdef int collect(self, Filling* filling, Filter filter, uint64_t number, int depth) noexcept nogil:
        """Enter the keys of parts 0 below a page, from the first wanted on, until there is no room for more."""
        cdef const PageHead* page = self.page(number, P_BRANCH if depth > 1 else P_LEAF)
        cdef const Node* node
        cdef int at, count, code
        if page == NULL or depth < 1:
            return BAD_TREE
        count = (page.lower - PAGE_HEAD) >> 1
        for at in range(count):
            if depth > 1:
                if at + 1 < count:
                    node = self.node(page, at + 1, 0)
                    if node == NULL:
                        return BAD_TREE
                    if compare(key_of(node), node.key_bytes, filling.first, filling.first_bytes) <= 0:
                        continue
                node = self.node(page, at, 0)
                if node == NULL:
                    return BAD_TREE
                code = self.collect(filling, filter,
                                    node.low | <uint64_t>node.high << 16 | <uint64_t>node.flags << 32, depth - 1)
                if code != GOOD or filling.room <= 0:
                    return code
                continue
            node = self.node(page, at, 1)
            # Pages that lead to each other in a circle would never end: keys must ascend.
            if node == NULL:
                return BAD_TREE
            if filling.last and compare(filling.last, filling.last_bytes, key_of(node), node.key_bytes) >= 0:
                return BAD_TREE
            filling.last, filling.last_bytes = key_of(node), node.key_bytes
            if compare(key_of(node), node.key_bytes, filling.first, filling.first_bytes) < 0:
                continue
            if node.key_bytes == 20 and not memcmp(key_of(node) + 16, b"\x00\x00\x00\x00", 4):
                filter.add_key(key_of(node))
            filling.room -= 1
            if filling.room <= 0:
                return GOOD
        return GOOD

    def fill(self, bytes name not None, Filter filter not None, bytes first not None, int64_t limit):
        """Enter the keys of the next entries of a database of request ids into a filter, without the GIL.

        Args:
            first: from this key on. limit: entries that are looked at, 1 or more.

        Returns:
            the key of the last one where there may be more behind it, or None.

        Raises:
            StorageError: a page, length or number on the way leads outside the file.
        """
        cdef Tree tree
        cdef Filling filling
        cdef int code
        if limit < 1:
            raise ValueError("limit: expected 1 or more")
        self.tree_of(name, &tree)
        if tree.root == 0xFFFFFFFFFFFFFFFFULL:
            return None
        filling.first, filling.first_bytes = first, <size_t>len(first)
        filling.last, filling.last_bytes, filling.room = NULL, 0, limit
        with nogil:
            code = self.collect(&filling, filter, tree.root, tree.depth)
        if code != GOOD:
            raise StorageError(f"environment: expected the pages of {name.decode()}, got a damaged tree")
        return (<const char*>filling.last)[:filling.last_bytes] if filling.room <= 0 else None

    def blocks(self, bytes name not None, uint64_t first, uint64_t last):
        """Where the values of a named database are, whose keys are 8 bytes and whose values fill 1 to 8 whole pages.

        Args:
            name: of the database. first, last: range of keys as big-endian numbers, both included.

        Returns:
            uint64[N, 2] in key order: key, and address of the first page | number of pages.

        Raises:
            StorageError: a page, length or number of it leads outside the file or is none of such a database.
        """
        cdef Search search
        cdef Tree tree
        cdef int code
        search.first, search.last = first, last
        search.found = NULL
        search.count = search.room = 0
        search.bad_page = search.bad_key = 0
        self.tree_of(name, &tree)
        with nogil:
            code = GOOD
            if tree.root != 0xFFFFFFFFFFFFFFFFULL:
                code = self.walk(&search, tree.root, tree.depth)
        try:
            if code == NO_MEMORY:
                raise MemoryError
            if code == BAD_VALUE:
                raise StorageError(f"block {search.bad_key >> 32:08x}/{search.bad_key & 0xFFFFFFFF:08x}: "
                                   f"expected 1 to {BLOCK_PAGES_MAX} whole pages inside the file, got something else")
            if code != GOOD:
                raise StorageError(f"environment: expected the pages of {name.decode()}, got a damaged tree "
                                   f"at page {search.bad_page}")
            found = np.empty((search.count, 2), dtype=np.uint64)
            if search.count:
                memcpy(<void*><uint64_t>found.ctypes.data, search.found, search.count * 16)
            return found
        finally:
            free(search.found)
