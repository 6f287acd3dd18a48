"""Inclusion paths of a page of records from the stored tree, made and checked without the GIL.

What ``tlog/tree.py`` does in Python, many times as fast: a *row* is the 16 hashes of a stored level (0, 4, 8 ...) under
one node four levels up; it is read once, and the nodes over it that were hashed for one path are there for the next.
Rows of the lower levels are asked of the disk for all records before the first one is waited for.

What is read is not checked by itself: a path that does not lead from its record to the signed root is reported.
"""

from libc.stdint cimport int64_t, uint8_t, uint32_t, uint64_t
from libc.string cimport memcmp, memcpy, memset
from posix.mman cimport MADV_WILLNEED, madvise

import numpy as np

from hub._hash cimport SIDE, has_lanes, hash_leaf, hash_node, hash_side, pad, repeat_message
from hub._pages cimport PAGE, SLOW_NS, Found, Pages, Tree, now

from hub import _hash
from hub.errors import StorageError

cdef enum:
    GOOD = 0
    BAD_TREE = 1
    NOT_THERE = 4
    HASH = 32
    SEAL = 8                    # bytes of the checksum before the hashes of a value
    ROW_LEVELS = 4
    ROW = 16                    # hashes of a row
    BASES = 16                  # stored levels: 0, 4 ... 60
    BASES_ASKED = 3             # levels 0, 4, 8: the rows above are few and read by every path
    PATH_MAX = 64
    FEW = 6                     # hashed one by one they take as long as SIDE side by side

NATIVE = _hash.NATIVE

cdef struct Row:
    uint64_t number
    int count                   # hashes of it that there are; 0: nothing is here yet
    uint32_t known              # bits 1 to 31: nodes that were hashed, numbered as in a heap, the top is 1
    uint8_t nodes[32][HASH]     # 16 to 31 are its hashes


cdef class Paths:
    """Makes paths in the tree of one snapshot.

    Args:
        pages: of the snapshot; it must be held as long as this is used. size: of the tree.
    """

    cdef Pages pages
    cdef uint64_t size
    cdef Tree entries, nodes
    cdef Row rows[BASES]
    cdef uint8_t leaf_block[64]
    cdef uint8_t node_blocks[128]
    cdef uint8_t leaves_blocks[SIDE * 64]
    cdef uint8_t pairs_blocks[SIDE * 128]
    cdef uint8_t tops[PATH_MAX][HASH]
    cdef uint64_t tops_known

    def __init__(self, Pages pages not None, uint64_t size):
        if not NATIVE:
            raise RuntimeError("paths: expected a libcrypto, found none")
        self.pages = pages
        self.size = size
        pages.tree_of(b"entries", &self.entries)
        pages.tree_of(b"nodes", &self.nodes)
        memset(self.rows, 0, sizeof(self.rows))
        memset(self.leaf_block, 0, sizeof(self.leaf_block))
        memset(self.node_blocks, 0, sizeof(self.node_blocks))
        self.node_blocks[0] = 1
        pad(self.leaf_block, 33)
        pad(self.node_blocks, 65)
        repeat_message(self.leaves_blocks, 64, b"", 0, 33)
        repeat_message(self.pairs_blocks, 128, b"\1", 1, 65)
        self.tops_known = 0

    def __repr__(self):
        return f"Paths(size={self.size})"

    cdef int find(self, int level, uint64_t first, const uint8_t** at, uint64_t* count) noexcept nogil:
        """Where the stored hashes of a level from a number on are, and how many stand there together."""
        cdef Tree* tree = &self.nodes if level else &self.entries
        cdef Found found
        cdef uint8_t key[9]
        cdef int i, code, lead = 1 if level else 0
        cdef uint64_t begin = 0
        key[0] = level
        for i in range(8):
            key[lead + i] = <uint8_t>(first >> (56 - 8 * i))
        if tree.root == 0xFFFFFFFFFFFFFFFFULL:
            return NOT_THERE
        code = self.pages.floor(&found, tree.root, tree.depth, key, 8 + lead)
        if code != GOOD:
            return code
        if found.key_bytes != 8 + lead or (lead and found.key[0] != level):
            return NOT_THERE
        for i in range(8):
            begin = begin << 8 | found.key[lead + i]
        if found.value_bytes < SEAL or first - begin >= (found.value_bytes - SEAL) // HASH:
            return NOT_THERE
        at[0] = found.value + SEAL + HASH * (first - begin)
        count[0] = (found.value_bytes - SEAL) // HASH - (first - begin)
        return GOOD

    cdef int read_row(self, int base, uint64_t number) noexcept nogil:
        """Have a row of level 4 * base."""
        cdef Row* row = &self.rows[base]
        cdef const uint8_t* at
        cdef uint64_t first = number * ROW, there, count
        cdef uint64_t have = self.size >> (ROW_LEVELS * base)
        cdef int code, i, done = 0
        if row.count and row.number == number:
            return GOOD
        if first >= have:
            return NOT_THERE
        count = min(<uint64_t>ROW, have - first)
        row.count = 0
        while done < <int>count:
            code = self.find(ROW_LEVELS * base, first + done, &at, &there)
            if code != GOOD:
                return code
            there = min(there, count - done)
            memcpy(row.nodes[ROW + done], at, HASH * there)
            done += <int>there
        if base == 0 and done == SIDE and has_lanes():
            for i in range(SIDE):
                memcpy(self.leaves_blocks + 64 * i + 1, row.nodes[ROW + i], HASH)
            hash_side(self.leaves_blocks, 64, 1, row.nodes[ROW])
        elif base == 0:
            for i in range(ROW, ROW + done):
                hash_leaf(row.nodes[i], row.nodes[i], self.leaf_block)
        row.known = 0xFFFF0000
        row.number = number
        row.count = done
        return GOOD

    cdef void hash_up(self, Row* row, int place) noexcept nogil:
        """Have a complete node over a row, by its number in the heap."""
        if row.known >> place & 1:
            return
        self.hash_up(row, 2 * place)
        self.hash_up(row, 2 * place + 1)
        hash_node(row.nodes[2 * place], row.nodes[2 * place + 1], row.nodes[place], self.node_blocks)
        row.known |= <uint32_t>1 << place

    cdef int copy_node(self, int level, uint64_t number, uint8_t* out) noexcept nogil:
        """A complete node of the tree."""
        cdef int base = level // ROW_LEVELS, height = level % ROW_LEVELS, code
        cdef uint64_t number_of_row = number >> (ROW_LEVELS - height)
        cdef int place = <int>(number & ((ROW >> height) - 1))
        if base >= BASES:
            return NOT_THERE
        code = self.read_row(base, number_of_row)
        if code != GOOD:
            return code
        if (place + 1) << height > self.rows[base].count:
            return NOT_THERE
        place += ROW >> height
        self.hash_up(&self.rows[base], place)
        memcpy(out, self.rows[base].nodes[place], HASH)
        return GOOD

    cdef int find_top(self, int parting) noexcept nogil:
        """The root over the entries from the last leaf's own branch below a height on: the same for many paths."""
        cdef uint64_t last = self.size - 1, first, position, width
        cdef uint8_t node[HASH]
        cdef uint8_t* top = self.tops[parting]
        cdef int level, code, begun = 0
        if self.tops_known >> parting & 1:
            return GOOD
        first = last >> (parting - 1) << (parting - 1)
        position = self.size
        while position > first:
            width = (position - first) & (first - position)
            level = 0
            while width >> (level + 1):
                level += 1
            position -= width
            code = self.copy_node(level, position >> level, node)
            if code != GOOD:
                return code
            if begun:
                hash_node(node, top, top, self.node_blocks)
            else:
                memcpy(top, node, HASH)
            begun = 1
        self.tops_known |= <uint64_t>1 << parting
        return GOOD

    cdef int make(self, int level, uint64_t number, uint8_t* path, int* length) noexcept nogil:
        """Siblings from a complete node up (RFC 6962, 2.1.1), as ``Walk.path`` of ``tlog/tree.py`` has them."""
        cdef uint64_t parted = number ^ ((self.size - 1) >> level), rest
        cdef int parting = 0, up, code
        length[0] = 0
        while parting < 63 and parted >> parting:
            parting += 1
        for up in range(parting - 1):
            code = self.copy_node(level + up, number >> up ^ 1, path + HASH * length[0])
            if code != GOOD:
                return code
            length[0] += 1
        if parting:
            code = self.find_top(level + parting)
            if code != GOOD:
                return code
            memcpy(path + HASH * length[0], self.tops[level + parting], HASH)
            length[0] += 1
        rest, up = number >> parting, parting
        while rest:
            if rest & 1:
                code = self.copy_node(level + up, rest ^ 1, path + HASH * length[0])
                if code != GOOD:
                    return code
                length[0] += 1
            rest >>= 1
            up += 1
        return GOOD

    cdef int leads(self, const uint8_t* leaf, uint64_t index, const uint8_t* path, int length,
                   const uint8_t* root) noexcept nogil:
        """Whether a path leads from a leaf to a root (RFC 9162, 2.1.3.2)."""
        cdef uint64_t at = index, last = self.size - 1
        cdef uint8_t computed[HASH]
        cdef int i
        memcpy(computed, leaf, HASH)
        for i in range(length):
            if at & 1 or at == last:
                hash_node(path + HASH * i, computed, computed, self.node_blocks)
                while not at & 1 and at:
                    at >>= 1
                    last >>= 1
            else:
                hash_node(computed, path + HASH * i, computed, self.node_blocks)
            at >>= 1
            last >>= 1
        return last == 0 and memcmp(computed, root, HASH) == 0

    cdef int64_t lead(self, const uint8_t[:, ::1] leaves, const uint64_t[::1] indexes, const uint8_t[:, ::1] paths,
                      const int[::1] counts, const uint8_t* root) noexcept nogil:
        """The first path that does not lead from its leaf to a root, or -1; SIDE of them are followed at once."""
        cdef uint8_t computed[SIDE * HASH]
        cdef uint8_t hashed[SIDE * HASH]
        cdef uint64_t at[SIDE]
        cdef uint64_t last[SIDE]
        cdef int64_t n = indexes.shape[0], i = 0
        cdef const uint8_t* step
        cdef uint8_t* pair
        cdef int lane, number, up, most
        while i < n:
            number = <int>min(<int64_t>SIDE, n - i)
            if not has_lanes() or number < FEW:
                for lane in range(number):
                    if not self.leads(&leaves[i + lane, 0], indexes[i + lane], &paths[i + lane, 0], counts[i + lane],
                                      root):
                        return i + lane
                i += number
                continue
            most = 0
            for lane in range(number):
                at[lane], last[lane] = indexes[i + lane], self.size - 1
                memcpy(computed + HASH * lane, &leaves[i + lane, 0], HASH)
                most = max(most, counts[i + lane])
            for up in range(most):
                for lane in range(number):
                    if up >= counts[i + lane]:
                        continue
                    step, pair = &paths[i + lane, HASH * up], self.pairs_blocks + 128 * lane + 1
                    if at[lane] & 1 or at[lane] == last[lane]:
                        memcpy(pair, step, HASH)
                        memcpy(pair + HASH, computed + HASH * lane, HASH)
                        while not at[lane] & 1 and at[lane]:
                            at[lane] >>= 1
                            last[lane] >>= 1
                    else:
                        memcpy(pair, computed + HASH * lane, HASH)
                        memcpy(pair + HASH, step, HASH)
                    at[lane] >>= 1
                    last[lane] >>= 1
                hash_side(self.pairs_blocks, 128, 2, hashed)
                for lane in range(number):
                    if up < counts[i + lane]:
                        memcpy(computed + HASH * lane, hashed + HASH * lane, HASH)
            for lane in range(number):
                if last[lane] or memcmp(computed + HASH * lane, root, HASH):
                    return i + lane
            i += number
        return -1

    cdef void ask(self, const uint64_t* indexes, int64_t n) noexcept nogil:
        """Ask the disk for the rows of the lower levels."""
        cdef const uint8_t* at
        cdef uint64_t there, begin, before = 0
        cdef int64_t i
        cdef int base
        for base in range(BASES_ASKED):
            for i in range(n):
                begin = indexes[i] >> (ROW_LEVELS * base) & ~<uint64_t>(ROW - 1)
                if self.find(ROW_LEVELS * base, begin, &at, &there) != GOOD:
                    continue
                begin = <uint64_t>at & ~<uint64_t>(PAGE - 1)
                if begin != before:
                    # Advice only: a failure costs time, nothing else.
                    madvise(<void*>begin, (<uint64_t>at & (PAGE - 1)) + HASH * min(<uint64_t>ROW, there), MADV_WILLNEED)
                before = begin

    def prove(self, const uint64_t[::1] indexes, const uint8_t[:, ::1] leaves, bytes root not None):
        """A path for each record, each followed to the root.

        Args:
            indexes: uint64[N], below the size. leaves: uint8[N, 32], what stands there. root: 32 bytes, signed.

        Returns:
            list of N paths: 32 bytes for each step, from the leaf's sibling up.

        Raises:
            StorageError: what is stored does not lead from a record to the root; the first such record is named.
        """
        cdef int64_t n = indexes.shape[0], i, bad = -1, begin, end
        cdef const uint8_t* wanted = root
        cdef int code = GOOD
        cdef bint asked = False
        if leaves.shape[0] != n or (n and leaves.shape[1] != HASH) or len(root) != HASH:
            raise ValueError("proofs: expected a leaf for each index")
        found = np.empty((n, PATH_MAX * HASH), dtype=np.uint8)
        lengths = np.zeros(n, dtype=np.intc)
        cdef uint8_t[:, ::1] paths = found
        cdef int[::1] counts = lengths
        with nogil:
            begin = now()
            for i in range(n):
                if indexes[i] >= self.size:
                    bad = i
                    break
                code = self.make(0, indexes[i], &paths[i, 0], &counts[i])
                if code != GOOD:
                    bad = i
                    break
                if asked:
                    continue
                end = now()
                if end - begin > SLOW_NS and i + 1 < n:
                    # The disk had to be waited for: it is asked for the others at once. What is there needs no asking.
                    asked = True
                    self.ask(&indexes[i + 1], n - i - 1)
                begin = end
            if bad < 0:
                bad = self.lead(leaves, indexes, paths, counts, wanted)
        if bad >= 0:
            raise StorageError(f"record {indexes[bad]}: expected a path to the signed root, got a damaged tree")
        return [(<const char*>&paths[i, 0])[:HASH * counts[i]] for i in range(n)]

    cdef int follow(self, uint64_t old, const uint8_t* path, int length, uint8_t* old_root,
                    uint8_t* new_root) noexcept nogil:
        """The two roots that a path leads to (RFC 9162, 2.1.4.2); its first node is there always."""
        cdef uint64_t at = old - 1, last = self.size - 1
        cdef int i
        while at & 1:
            at >>= 1
            last >>= 1
        memcpy(old_root, path, HASH)
        memcpy(new_root, path, HASH)
        for i in range(1, length):
            if last == 0:
                return BAD_TREE
            if at & 1 or at == last:
                hash_node(path + HASH * i, old_root, old_root, self.node_blocks)
                hash_node(path + HASH * i, new_root, new_root, self.node_blocks)
                while at and not at & 1:
                    at >>= 1
                    last >>= 1
            else:
                hash_node(new_root, path + HASH * i, new_root, self.node_blocks)
            at >>= 1
            last >>= 1
        return GOOD if last == 0 else BAD_TREE

    def consistency(self, uint64_t old, bytes root=None):
        """The path between the tree of the first ``old`` entries and this one (RFC 6962, 2.1.2).

        Args:
            old: 1 to below the size. root: 32 bytes that this tree must lead to, or None.

        Returns:
            (list of 32 bytes each, root of the old tree, root of this one)

        Raises:
            StorageError: what is stored does not lead to the root.
        """
        cdef uint8_t path[(PATH_MAX + 1) * HASH]
        cdef uint8_t old_root[HASH]
        cdef uint8_t new_root[HASH]
        cdef int level = 0, length = 0, code, at
        if not 0 < old < self.size or (root is not None and len(root) != HASH):
            raise ValueError(f"consistency: expected 1 to {self.size - 1} and 32 bytes, got others")
        # The last complete subtree of the old tree is a node of both.
        while not old >> level & 1:
            level += 1
        with nogil:
            code = self.copy_node(level, (old - 1) >> level, path)
            if code == GOOD:
                code = self.make(level, (old - 1) >> level, path + HASH, &length)
            if code == GOOD:
                code = self.follow(old, path, length + 1, old_root, new_root)
        if code != GOOD or (root is not None and (<const char*>new_root)[:HASH] != root):
            raise StorageError(f"log from {old} to {self.size} records: expected a path to the signed root, "
                               f"got a damaged tree")
        # Where it is the whole old tree, whoever checks the path has it.
        steps = [(<const char*>&path[HASH * at])[:HASH] for at in range(0 if (old - 1) >> level else 1, length + 1)]
        return steps, (<const char*>old_root)[:HASH], (<const char*>new_root)[:HASH]
