"""The permits of a stretch of the log, by inbox: counted, then each put to its place; two passes over the rows.

A row is one of ``records/bodies.py``: u32 person, u16 provider, u16 decision, u8 outcome, u8 kind, 6 bytes of link.
Where its kind is in ``leaving`` and its outcome is 0 it leaves something: 1 a permit in the provider's inbox, 2 an
arrival in its inbox of arrivals, whose number is 65,536 more. Nothing of it is trusted: a provider of 16 bits has two
of 131,072 places, and a decision beyond the chunk's is refused.
"""

from cpython.bytes cimport PyBytes_AS_STRING, PyBytes_FromStringAndSize, PyBytes_GET_SIZE
from cpython.dict cimport PyDict_GetItem
from cpython.object cimport PyObject
from libc.stdint cimport int64_t, uint8_t, uint16_t, uint32_t
from libc.string cimport memcpy, memset

import numpy as np

cdef enum:
    ROW_BYTES = 16
    BOXES = 131072
    HASH_BYTES = 32
    END_BYTES = 35              # of encoded shared fields: c4 20, the commitment, c0


cdef inline uint32_t box_of(const uint8_t* row, uint8_t kind) noexcept nogil:
    """The inbox of a row of a kind that leaves something: 1 for permits, else for arrivals."""
    return (<const uint16_t*>(row + 4))[0] + (<uint32_t>(kind != 1) << 16)


def count_permits(const uint8_t[:, ::1] rows, const uint8_t[::1] leaving, uint32_t[::1] counts):
    """Add the permits of each inbox to ``counts`` (uint32[131072]); rows uint8[N, 16], leaving uint8[256] by kind."""
    cdef int64_t i, n = rows.shape[0]
    cdef uint8_t kind
    cdef const uint8_t* row
    if rows.shape[1] != ROW_BYTES or leaving.shape[0] != 256 or counts.shape[0] != BOXES:
        raise ValueError("rows: expected uint8[N, 16], 256 kinds and 131,072 counts")
    with nogil:
        for i in range(n):
            row = &rows[i, 0]
            kind = leaving[row[9]]
            if row[8] == 0 and kind:
                counts[box_of(row, kind)] += 1


def place_permits(
    const uint8_t[:, ::1] rows,
    const uint8_t[::1] leaving,
    uint32_t base,
    const uint32_t[::1] part,
    uint32_t[::1] places,
    uint32_t[::1] offsets,
    uint32_t[::1] persons,
    uint32_t[::1] which,
):
    """Put the permits of a chunk to their places, in the order of the log; moves ``places`` on.

    Args:
        base: what is added to a row's number for its offset. part: uint32[K], of each decision.
        places: uint32[131072], where the next permit of each inbox goes. offsets, persons, which: uint32[M].

    Raises:
        IndexError: a decision is not among K, or a place is not among M; some were put.
    """
    cdef int64_t i, n = rows.shape[0]
    cdef uint8_t kind
    cdef uint32_t at, box, decision, size = <uint32_t>offsets.shape[0], decisions = <uint32_t>part.shape[0]
    cdef const uint8_t* row
    cdef bint wrong = False
    if rows.shape[1] != ROW_BYTES or leaving.shape[0] != 256 or places.shape[0] != BOXES:
        raise ValueError("rows: expected uint8[N, 16], 256 kinds and 131,072 places")
    if persons.shape[0] != size or which.shape[0] != size:
        raise ValueError("columns: expected the same length")
    with nogil:
        for i in range(n):
            row = &rows[i, 0]
            kind = leaving[row[9]]
            if row[8] != 0 or not kind:
                continue
            decision = (<const uint16_t*>(row + 6))[0]
            box = box_of(row, kind)
            at = places[box]
            if decision >= decisions or at >= size:
                wrong = True
                break
            places[box] = at + 1
            offsets[at] = base + <uint32_t>i
            persons[at] = (<const uint32_t*>row)[0]
            which[at] = part[decision]
    if wrong:
        raise IndexError("permits: expected decisions of the chunk and places in the columns")


def unsupervised(list shared not None):
    """Encoded shared fields (list of bytes) with zeros for their commitment, as ``tlog.entry.unsupervise`` makes them.

    None stands for those that do not end as most do: with a commitment and without a remark.
    """
    cdef list found = []
    cdef bytes raw, own
    cdef const uint8_t* end
    cdef Py_ssize_t size
    for raw in shared:
        size = 0 if raw is None else PyBytes_GET_SIZE(raw)
        if size < END_BYTES:
            found.append(None)
            continue
        end = <const uint8_t*>PyBytes_AS_STRING(raw) + size - END_BYTES
        if end[0] != 0xC4 or end[1] != HASH_BYTES or end[END_BYTES - 1] != 0xC0:
            found.append(None)
            continue
        own = PyBytes_FromStringAndSize(NULL, size)
        memcpy(PyBytes_AS_STRING(own), PyBytes_AS_STRING(raw), size)
        memset(PyBytes_AS_STRING(own) + size - HASH_BYTES - 1, 0, HASH_BYTES)
        found.append(own)
    return found


def number_parts(const uint32_t[::1] which, parts not None):
    """Number equal parts alike, in the order in which they come.

    Args:
        which: uint32[N], places in ``parts``, a sequence of what can be looked up in a dict.

    Returns:
        uint32[N], places in a list of those parts, each once; and that list.

    Raises:
        IndexError: there is no such part.
    """
    cdef int64_t i, n = which.shape[0], size = len(parts)
    cdef uint32_t last = 0, number = 0
    cdef dict numbers = {}
    cdef list used = []
    cdef PyObject* found
    places = np.empty(n, np.uint32)
    cdef uint32_t[::1] out = places
    for i in range(n):
        if i == 0 or which[i] != last:
            last = which[i]
            if last >= size:
                raise IndexError("permits: expected parts of theirs, got another")
            part = parts[last]
            found = PyDict_GetItem(numbers, part)
            if found is NULL:
                number = <uint32_t>len(used)
                numbers[part] = number
                used.append(part)
            else:
                number = <object>found
        out[i] = number
    return places, used
