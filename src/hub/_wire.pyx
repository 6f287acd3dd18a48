"""Single inquiries at the server: frames to columns, and columns of answers to frames (``wire/singles.py``).

Taken is the usual call alone: :class:`hub.wire.words.Call` of method ``inquire`` about one row, in the shortest
MessagePack. Whatever is unusual is left to the general way (``words.py``, ``calls.py``), which gives the same results.

| bytes | what |
|---|---|
| u32, u8 | of the frame, see ``frames.py``; version 1 |
| 97 03 | a call |
| uint, str | number, institution |
| a7 "inquire" c2 | method; no progress is wanted |
| uint, bin | size of the arguments, and all of them |
| 83 or 84 | arguments in any order, each once; 84 with consents |
| a7 "inquiry", map | of up to 15 texts, arrays of up to 15 texts, and nils; request_id once |
| a7 "aliases" c4 10 | 16 bytes |
| a9 "providers" 92 | an array of one code and nothing, or place 0; or an empty one and a number: c4 04, u32 |
| a8 "consents" | c2, c3, or c4 01 and a byte of 0 or 1 |

A request id is taken that is 1 to 100 printable characters of ASCII, not all of them spaces. The words around it are
looked up by their bytes; who has not been checked yet goes through ``prepare``, which takes the general way.
"""

from cpython.bytes cimport PyBytes_AS_STRING, PyBytes_FromStringAndSize, PyBytes_GET_SIZE
from cpython.dict cimport PyDict_GetItem
from cpython.mem cimport PyMem_RawFree, PyMem_RawRealloc
from cpython.ref cimport PyObject
from libc.stdint cimport int64_t, uint8_t, uint32_t, uint64_t
from libc.string cimport memcmp, memcpy, memset

import numpy as np

from hub import _hash
from hub._hash cimport Sha256, block_function

cdef enum:
    FRAME_BYTES_MAX = 1 << 20   # limits.WIRE_FRAME_BYTES_MAX
    ID_BYTES_MAX = 100          # limits.REQUEST_ID_CHARS_MAX
    WORDS_BYTES_MAX = 2048      # of a question's words on the wire; longer ones go the general way
    CODE_BYTES_MAX = 128        # limits.INSTITUTION_CODE_CHARS_MAX, four bytes each
    REPLY_BYTES_MAX = 256       # a reply to one row, its request id included
    QUESTIONS_MAX = 4096        # that are remembered; about 1 KiB each
    PROVIDERS_MAX = 1 << 16     # that are remembered; about 150 bytes each
    ROWS_MAX = 4096             # of one turn

NATIVE = _hash.NATIVE
"""Whether anything is taken: without libcrypto's block function everything goes the general way."""


# -- SHA-256 of messages of any length

cdef struct Stream:
    Sha256 state
    uint8_t block[64]
    int used
    uint64_t size


cdef void stream_start(Stream* s) noexcept nogil:
    # The initial state of SHA-256 (FIPS 180-4, 5.3.3).
    memset(s, 0, sizeof(Stream))
    s.state.h[0] = 0x6a09e667
    s.state.h[1] = 0xbb67ae85
    s.state.h[2] = 0x3c6ef372
    s.state.h[3] = 0xa54ff53a
    s.state.h[4] = 0x510e527f
    s.state.h[5] = 0x9b05688c
    s.state.h[6] = 0x1f83d9ab
    s.state.h[7] = 0x5be0cd19


cdef void stream_add(Stream* s, const uint8_t* data, int64_t size) noexcept nogil:
    cdef int64_t room
    s.size += <uint64_t>size
    while size > 0:
        room = 64 - s.used
        if room > size:
            room = size
        memcpy(s.block + s.used, data, <size_t>room)
        s.used += <int>room
        data += room
        size -= room
        if s.used == 64:
            block_function(&s.state, s.block)
            s.used = 0


cdef void stream_end(Stream* s, uint8_t* out, int words) noexcept nogil:
    """The first words of the hash, big endian."""
    cdef int i
    cdef uint64_t bits = s.size * 8
    s.block[s.used] = 0x80
    s.used += 1
    if s.used > 56:
        memset(s.block + s.used, 0, <size_t>(64 - s.used))
        block_function(&s.state, s.block)
        s.used = 0
    memset(s.block + s.used, 0, <size_t>(56 - s.used))
    for i in range(8):
        s.block[56 + i] = <uint8_t>(bits >> (56 - 8 * i))
    block_function(&s.state, s.block)
    for i in range(words):
        out[4 * i] = <uint8_t>(s.state.h[i] >> 24)
        out[4 * i + 1] = <uint8_t>(s.state.h[i] >> 16)
        out[4 * i + 2] = <uint8_t>(s.state.h[i] >> 8)
        out[4 * i + 3] = <uint8_t>s.state.h[i]


# -- reading a message

cdef struct Reader:
    const uint8_t* at
    const uint8_t* end


# One call where it stands in its frame: pointers into what arrived, valid until the reading is over.
cdef struct Parsed:
    uint32_t number
    const uint8_t* institution  # with the head of its text
    int64_t institution_size
    const uint8_t* before       # of the inquiry's map, up to the request id
    int64_t before_size
    const uint8_t* id           # without the head of its text
    int64_t id_size
    const uint8_t* after        # of the inquiry's map, behind the request id
    int64_t after_size
    const uint8_t* alias
    const uint8_t* provider     # its code with the head of the text, or c4 04 and its number
    int64_t provider_size
    uint8_t consent


cdef inline bint literal(Reader* r, const char* text, int64_t size) noexcept nogil:
    if r.end - r.at < size or memcmp(r.at, text, <size_t>size) != 0:
        return False
    r.at += size
    return True


cdef inline int64_t text_size(Reader* r) noexcept nogil:
    """Bytes of a text whose head stands here, all of them there; -1 where it is none in its shortest form."""
    cdef int64_t size
    if r.at >= r.end:
        return -1
    size = r.at[0]
    if 0xA0 <= size <= 0xBF:
        size &= 31
        r.at += 1
    elif size == 0xD9 and r.end - r.at >= 2:
        size = r.at[1]
        if size < 32:
            return -1
        r.at += 2
    elif size == 0xDA and r.end - r.at >= 3:
        size = <int64_t>r.at[1] << 8 | r.at[2]
        if size < 256:
            return -1
        r.at += 3
    else:
        return -1
    return size if r.end - r.at >= size else -1


cdef inline bint skip_text(Reader* r) noexcept nogil:
    cdef int64_t size = text_size(r)
    if size < 0:
        return False
    r.at += size
    return True


cdef inline int64_t read_number(Reader* r) noexcept nogil:
    """A number below 2^32 in its shortest form, or -1."""
    cdef int64_t left = r.end - r.at, value
    if left < 1:
        return -1
    value = r.at[0]
    if value < 0x80:
        r.at += 1
        return value
    if value == 0xCC and left >= 2:
        value = r.at[1]
        r.at += 2
        return value if value >= 0x80 else -1
    if value == 0xCD and left >= 3:
        value = <int64_t>r.at[1] << 8 | r.at[2]
        r.at += 3
        return value if value >= 0x100 else -1
    if value == 0xCE and left >= 5:
        value = <int64_t>r.at[1] << 24 | <int64_t>r.at[2] << 16 | <int64_t>r.at[3] << 8 | r.at[4]
        r.at += 5
        return value if value >= 0x10000 else -1
    return -1


cdef bint read_id(Reader* r, Parsed* out) noexcept nogil:
    cdef int64_t i
    cdef bint spaces = True
    out.id_size = text_size(r)
    if not 1 <= out.id_size <= ID_BYTES_MAX:
        return False
    out.id = r.at
    r.at += out.id_size
    for i in range(out.id_size):
        if not 0x20 <= out.id[i] <= 0x7E:
            return False
        if out.id[i] != 0x20:
            spaces = False
    return not spaces


cdef bint skip_value(Reader* r) noexcept nogil:
    """Past a text, an array of up to 15 texts, or nil."""
    cdef int64_t items
    if literal(r, b"\xc0", 1):
        return True
    if r.at < r.end and 0x90 <= r.at[0] <= 0x9F:
        items = r.at[0] & 15
        r.at += 1
        while items > 0:
            if not skip_text(r):
                return False
            items -= 1
        return True
    return skip_text(r)


cdef bint read_inquiry(Reader* r, Parsed* out) noexcept nogil:
    """The map of the question's words, a request id once among them.

    What stands before and behind the id names one question only: the former ends with the first key of this name.
    """
    cdef int64_t fields
    out.id = NULL
    out.before = r.at
    if r.at >= r.end or not 0x81 <= r.at[0] <= 0x8F:
        return False
    fields = r.at[0] & 15
    r.at += 1
    while fields > 0:
        fields -= 1
        if literal(r, b"\xaarequest_id", 11):
            if out.id != NULL:
                return False
            out.before_size = r.at - out.before
            if not read_id(r, out):
                return False
            out.after = r.at
        elif not (skip_text(r) and skip_value(r)):
            return False
    if out.id == NULL:
        return False
    out.after_size = r.at - out.after
    return out.before_size + out.after_size <= WORDS_BYTES_MAX


cdef bint read_provider(Reader* r, Parsed* out) noexcept nogil:
    cdef int64_t size
    if literal(r, b"\x92\x90", 2):
        out.provider, out.provider_size = r.at, 6
        if not literal(r, b"\xc4\x04", 2) or r.end - r.at < 4:
            return False
        r.at += 4
        return True
    if not literal(r, b"\x92\x91", 2):
        return False
    out.provider = r.at
    size = text_size(r)
    if not 1 <= size <= CODE_BYTES_MAX:
        return False
    r.at += size
    out.provider_size = r.at - out.provider
    return literal(r, b"\xc4\x00", 2) or literal(r, b"\xc4\x04\0\0\0\0", 6)


cdef bint read_arguments(Reader* r, Parsed* out) noexcept nogil:
    """The map of the arguments, each of them once."""
    cdef int64_t fields
    cdef int seen = 0, one
    out.consent = 0
    if r.at >= r.end or not 0x83 <= r.at[0] <= 0x84:
        return False
    fields = r.at[0] & 15
    r.at += 1
    while fields > 0:
        fields -= 1
        if literal(r, b"\xa7inquiry", 8):
            one = 1
            if not read_inquiry(r, out):
                return False
        elif literal(r, b"\xa7aliases\xc4\x10", 10):
            one = 2
            if r.end - r.at < 16:
                return False
            out.alias = r.at
            r.at += 16
        elif literal(r, b"\xa9providers", 10):
            one = 4
            if not read_provider(r, out):
                return False
        elif literal(r, b"\xa8consents", 9):
            one = 8
            if literal(r, b"\xc3", 1) or literal(r, b"\xc4\x01\x01", 3):
                out.consent = 1
            elif not (literal(r, b"\xc2", 1) or literal(r, b"\xc4\x01\x00", 3)):
                return False
        else:
            return False
        if seen & one:
            return False
        seen |= one
    return seen & 7 == 7


cdef bint read_call(const uint8_t* message, int64_t size, Parsed* out) noexcept nogil:
    """Whether a message is the usual single inquiry; all of it is looked at, and nothing beside it."""
    cdef Reader r
    cdef int64_t number, body
    r.at, r.end = message, message + size
    if not literal(&r, b"\x97\x03", 2):
        return False
    number = read_number(&r)
    if number < 0:
        return False
    out.number = <uint32_t>number
    out.institution = r.at
    body = text_size(&r)
    if not 1 <= body <= CODE_BYTES_MAX:
        return False
    r.at += body
    out.institution_size = r.at - out.institution
    if not literal(&r, b"\xa7inquire\xc2", 9):
        return False
    number = read_number(&r)
    if number < 0 or r.end - r.at < 3:
        return False
    if r.at[0] == 0xC4:
        body = r.at[1]
        r.at += 2
    elif r.at[0] == 0xC5:
        body = <int64_t>r.at[1] << 8 | r.at[2]
        r.at += 3
        if body < 0x100:
            return False
    else:
        return False
    if body != number or body != r.end - r.at or body < 1:
        return False
    return read_arguments(&r, out) and r.at == r.end


# -- questions that are known

cdef class Prepared:
    """A question that was checked, with the beginnings of its hashes."""

    cdef readonly object question
    cdef object account         # ``takes``: whether its institution may ask now
    cdef bytes after
    cdef Stream key             # SHA-256 of all that stands before the request id, see requests.request_key
    cdef Stream digest          # and of what small.Question.before says
    cdef uint64_t turn          # in which it has a place among the questions
    cdef uint32_t place

    def __cinit__(self, question, str requester not None, account):
        cdef bytes name = b"hub/request-id/1" + requester.encode() + b"\0"
        cdef bytes before = question.before
        self.question, self.account = question, account
        self.after = question.after
        self.turn = 0
        stream_start(&self.key)
        stream_add(&self.key, <const uint8_t*>PyBytes_AS_STRING(name), PyBytes_GET_SIZE(name))
        stream_start(&self.digest)
        stream_add(&self.digest, <const uint8_t*>PyBytes_AS_STRING(before), PyBytes_GET_SIZE(before))

    def __repr__(self):
        return "Prepared()"


# One row of a turn, as it was read.
cdef struct Row:
    uint32_t number
    uint32_t which
    uint32_t provider
    uint8_t consent
    uint8_t id_size
    uint8_t alias[16]
    uint8_t id[ID_BYTES_MAX]


cdef void hash_row(const Row* row, const Stream* key, const Stream* digest, const uint8_t* after, int64_t after_size,
                   uint8_t* out_key, uint8_t* out_digest) noexcept nogil:
    cdef Stream s = key[0]
    cdef uint8_t head[2]
    stream_add(&s, row.id, row.id_size)
    stream_end(&s, out_key, 4)
    s = digest[0]
    if row.id_size < 32:
        head[0] = <uint8_t>(0xA0 | row.id_size)
        stream_add(&s, head, 1)
    else:
        head[0], head[1] = 0xD9, row.id_size
        stream_add(&s, head, 2)
    stream_add(&s, row.id, row.id_size)
    stream_add(&s, after, after_size)
    stream_add(&s, row.alias, 16)
    stream_add(&s, <const uint8_t*>&row.provider, 4)
    if row.consent:
        stream_add(&s, <const uint8_t*>b"consents\x01", 9)
    stream_end(&s, out_digest, 8)


# -- writing replies

cdef inline uint8_t* put(uint8_t* at, const char* text, int64_t size) noexcept nogil:
    memcpy(at, text, <size_t>size)
    return at + size


cdef inline uint8_t* put_big(uint8_t* at, uint64_t value, int size) noexcept nogil:
    cdef int i
    for i in range(size):
        at[i] = <uint8_t>(value >> (8 * (size - 1 - i)))
    return at + size


cdef uint8_t* put_number(uint8_t* at, int64_t value) noexcept nogil:
    """In the shortest form, as msgspec writes it."""
    if value >= 0:
        if value < 0x80:
            return put_big(at, <uint64_t>value, 1)
        if value < 0x100:
            at[0] = 0xCC
            return put_big(at + 1, <uint64_t>value, 1)
        if value < 0x10000:
            at[0] = 0xCD
            return put_big(at + 1, <uint64_t>value, 2)
        if value >> 32 == 0:
            at[0] = 0xCE
            return put_big(at + 1, <uint64_t>value, 4)
        at[0] = 0xCF
        return put_big(at + 1, <uint64_t>value, 8)
    if value >= -32:
        return put_big(at, <uint64_t>value, 1)
    if value >= -0x80:
        at[0] = 0xD0
        return put_big(at + 1, <uint64_t>value, 1)
    if value >= -0x8000:
        at[0] = 0xD1
        return put_big(at + 1, <uint64_t>value, 2)
    if value >= -(<int64_t>1 << 31):
        at[0] = 0xD2
        return put_big(at + 1, <uint64_t>value, 4)
    at[0] = 0xD3
    return put_big(at + 1, <uint64_t>value, 8)


cdef int64_t put_reply(uint8_t* out, const Row* row, uint8_t status, uint32_t rule, uint8_t reason,
                       int64_t received_at) noexcept nogil:
    """The frame of one answer, as ``ANSWER.pack`` and ``Reply`` would have it: its bytes."""
    cdef uint8_t body[REPLY_BYTES_MAX]
    cdef uint8_t* at = body
    cdef int64_t size
    cdef uint32_t length
    at = put(at, b"\x84\xa6status\xc4\x01", 10)
    at[0] = status
    at = put(at + 1, b"\xa4rule\xc4\x04", 7)
    memcpy(at, &rule, 4)
    at = put(at + 4, b"\xa6reason\xc4\x01", 9)
    at[0] = reason
    at = put(at + 1, b"\xa7receipt\x83\xaarequest_id", 20)
    if row.id_size < 32:
        at[0] = <uint8_t>(0xA0 | row.id_size)
        at += 1
    else:
        at[0], at[1] = 0xD9, row.id_size
        at += 2
    memcpy(at, row.id, row.id_size)
    at = put(at + row.id_size, b"\xa4rows\x01\xabreceived_at", 18)
    at = put_number(at, received_at)
    size = at - body
    at = out + 4
    at = put(at, b"\x01\x94\x05", 3)
    at = put_number(at, row.number)
    at = put_number(at, size)
    at[0], at[1] = 0xC4, <uint8_t>size
    memcpy(at + 2, body, <size_t>size)
    size = at + 2 + size - out
    length = <uint32_t>(size - 4)
    memcpy(out, &length, 4)
    return size


# -- one turn

cdef class Turn:
    """The rows that came within one turn of the loop, from whatever connections.

    Rows of one connection that came together stand together. Whoever made it owns it until :meth:`columns`; then the
    thread that has the answers, from :meth:`encode` on the loop's thread again.
    """

    cdef readonly list connections
    """Of each row its connection."""
    cdef list prepared
    cdef Row* rows
    cdef int64_t count, room
    cdef bint consents
    cdef uint64_t name
    cdef uint8_t* frames
    cdef int64_t* ends          # of each row's frame; a row without one ends where it begins
    cdef readonly dict errors

    def __cinit__(self, uint64_t name):
        self.connections, self.prepared, self.errors = [], [], {}
        self.rows, self.frames, self.ends = NULL, NULL, NULL
        self.count = self.room = 0
        self.consents = False
        self.name = name

    def __dealloc__(self):
        PyMem_RawFree(self.rows)
        PyMem_RawFree(self.frames)
        PyMem_RawFree(self.ends)

    def __len__(self):
        return self.count

    def __repr__(self):
        return f"Turn(rows={self.count})"

    cdef Row* add(self) except NULL:
        """Room for one more row."""
        cdef int64_t room
        cdef void* grown
        if self.count == self.room:
            room = 2 * self.room if self.room else 64
            grown = PyMem_RawRealloc(self.rows, <size_t>room * sizeof(Row))
            if grown == NULL:
                raise MemoryError
            self.rows, self.room = <Row*>grown, room
        self.count += 1
        return &self.rows[self.count - 1]

    def calls(self):
        """Connection and number of each row."""
        return [(self.connections[i], self.rows[i].number) for i in range(self.count)]

    def account(self, int64_t row):
        """Whose row it is."""
        if not 0 <= row < self.count:
            raise IndexError("row")
        return (<Prepared>self.prepared[self.rows[row].which]).account

    def accounts(self, int64_t first):
        """Whose rows there are from this one on: (account, rows) of each."""
        cdef dict counts = {}
        cdef int64_t i, rows = 0
        cdef uint32_t which = 0
        for i in range(max(first, 0), self.count):
            if self.rows[i].which != which and rows:
                account = (<Prepared>self.prepared[which]).account
                counts[account] = counts.get(account, 0) + rows
                rows = 0
            which = self.rows[i].which
            rows += 1
        if rows:
            account = (<Prepared>self.prepared[which]).account
            counts[account] = counts.get(account, 0) + rows
        return counts

    def columns(self):
        """What of :class:`hub.singles.small.SmallRows` there is: questions, which, aliases, providers, keys, digests,
        consents.
        """
        cdef int64_t n = self.count, i, k = len(self.prepared)
        cdef const Stream** streams = NULL
        cdef const uint8_t** afters
        cdef int64_t* sizes
        cdef Prepared one
        which, providers = np.empty(n, np.uint32), np.empty(n, np.uint32)
        aliases, keys = np.empty((n, 16), np.uint8), np.empty((n, 16), np.uint8)
        digests = np.empty((n, 32), np.uint8)
        consents = np.empty(n, np.uint8) if self.consents else None
        if n == 0:
            return [], which, aliases, providers, keys, digests, consents
        cdef uint32_t[::1] which_view = which, provider_view = providers
        cdef uint8_t[:, ::1] alias_view = aliases, key_view = keys, digest_view = digests
        cdef uint8_t[::1] consent_view = consents
        cdef bint agreed = self.consents
        cdef Row* row
        streams = <const Stream**>PyMem_RawRealloc(NULL, <size_t>k * (3 * sizeof(void*) + sizeof(int64_t)))
        if streams == NULL:
            raise MemoryError
        afters = <const uint8_t**>(streams + 2 * k)
        sizes = <int64_t*>(afters + k)
        for i in range(k):
            one = <Prepared>self.prepared[i]
            streams[2 * i], streams[2 * i + 1] = &one.key, &one.digest
            afters[i], sizes[i] = <const uint8_t*>PyBytes_AS_STRING(one.after), PyBytes_GET_SIZE(one.after)
        # ``prepared`` keeps what is pointed to here.
        with nogil:
            for i in range(n):
                row = &self.rows[i]
                which_view[i], provider_view[i] = row.which, row.provider
                memcpy(&alias_view[i, 0], row.alias, 16)
                if agreed:
                    consent_view[i] = row.consent
                hash_row(row, streams[2 * row.which], streams[2 * row.which + 1], afters[row.which], sizes[row.which],
                         &key_view[i, 0], &digest_view[i, 0])
        PyMem_RawFree(<void*>streams)
        questions = [(<Prepared>prepared).question for prepared in self.prepared]
        return questions, which, aliases, providers, keys, digests, consents

    def encode(self, const uint8_t[::1] status, const uint32_t[::1] rule, const uint8_t[::1] reason,
               const int64_t[::1] received_at, dict errors not None):
        """Write the replies; rows with an error get none."""
        cdef int64_t n = self.count, i, at = 0
        if status.shape[0] != n or rule.shape[0] != n or reason.shape[0] != n or received_at.shape[0] != n:
            raise ValueError("answers: expected as many as rows")
        if n == 0:
            return
        self.frames = <uint8_t*>PyMem_RawRealloc(self.frames, <size_t>n * (REPLY_BYTES_MAX + 32))
        self.ends = <int64_t*>PyMem_RawRealloc(self.ends, <size_t>n * sizeof(int64_t))
        if self.frames == NULL or self.ends == NULL:
            raise MemoryError
        memset(self.ends, 0, <size_t>n * sizeof(int64_t))
        self.errors = errors
        for row in errors:
            i = row
            if 0 <= i < n:
                self.ends[i] = -1
        with nogil:
            for i in range(n):
                if self.ends[i] == 0:
                    at += put_reply(self.frames + at, &self.rows[i], status[i], rule[i], reason[i], received_at[i])
                self.ends[i] = at

    def deliver(self):
        """Write the replies to their connections, of each those that stand together at once.

        Returns:
            the rows that have an error instead, with connection and number.
        """
        cdef int64_t n = self.count, i, begin = 0, first = 0, end
        cdef Wired connection = None, other
        failed = []
        if self.ends == NULL:
            return [(i, self.connections[i], self.rows[i].number) for i in range(n)]
        for i in range(n):
            other = <Wired>self.connections[i]
            end = self.ends[i]
            if other is not connection:
                if first > begin:
                    connection.reply(self.frames + begin, first - begin)
                elif connection is not None:
                    connection.replied()
                connection, begin = other, first
            if end == first:
                failed.append((i, connection, self.rows[i].number))
            elif not connection.drop(self.rows[i].number):
                # Nobody waits for it any more: what stands before it leaves now.
                if first > begin:
                    connection.reply(self.frames + begin, first - begin)
                begin = end
            first = end
        if connection is not None:
            if first > begin:
                connection.reply(self.frames + begin, first - begin)
            else:
                connection.replied()
        return failed


cdef class Wired:
    """What of a connection (``wire/connection.py``) the taking of single inquiries needs; its loop's thread only.

    ``_receive(data)``, ``_throttle()`` and ``abort()`` are the connection's.
    """

    cdef public dict _open
    """Calls that are open: number -> institution, or 0 of those that were taken here."""
    cdef public dict _uploads
    cdef public dict _dropped
    cdef public object _transport
    cdef public object _version
    cdef public double _ending_at
    cdef public double _called_at
    cdef public bint _halted
    cdef public bint _clear
    """Whether nothing waits to be read: no beginning of a frame, and no frame that was put off."""
    cdef public uint32_t _party_number
    """Of its party at the intake; 0: none of its calls is taken."""
    cdef public Intake _intake

    def data_received(self, bytes data not None):
        cdef int64_t taken
        if self._clear:
            taken = self._intake.take(self, data)
            if taken == PyBytes_GET_SIZE(data):
                return
            if taken:
                data = data[taken:]
        self._clear = False
        self._receive(data)

    cdef bint drop(self, uint32_t number) except -1:
        """A call is answered; whether it was open."""
        return self._open.pop(number, None) is not None

    cdef int reply(self, const uint8_t* data, int64_t size) except -1:
        if self._transport is not None and self._ending_at == 0:
            try:
                self._transport.write(PyBytes_FromStringAndSize(<const char*>data, <Py_ssize_t>size))
            except Exception:
                # Its own affair: other connections' replies stand behind it.
                self.abort()
        self.replied()
        return 0

    cdef int replied(self) except -1:
        if self._halted:
            self._throttle()
        return 0


cdef class Intake:
    """Takes single inquiries of all connections of a server; its loop's thread only.

    Args:
        host: ``begin()`` is asked before the first row of a turn whether any may be taken. ``prepare(connection,
            message)`` gives a question, its requester's code, the provider's number and the requester's account, or
            None: the general way, as where ``account.takes`` is not true.
            ``soon()`` is told before the first row of a turn, ``end()`` that a turn is full.
        open_max: calls that a connection may have open.
    """

    cdef dict known
    cdef dict providers
    cdef dict parties
    cdef object host
    cdef int64_t open_max
    cdef readonly Turn turn
    """The rows that wait."""
    cdef public bint told
    """Whether the host knows that there are new ones; it takes this back."""
    cdef uint64_t turns
    cdef public double now
    """When this turn began."""
    cdef readonly uint64_t taken
    """Calls that were taken so far."""
    cdef readonly uint64_t prepared
    """Questions that were checked so far."""

    def __init__(self, host, int64_t open_max):
        self.known, self.providers, self.parties = {}, {}, {}
        self.host, self.open_max = host, open_max
        self.turns = 1
        self.turn = Turn(self.turns)
        self.told = False
        self.now = 0
        self.taken = self.prepared = 0

    def __repr__(self):
        return f"Intake(waiting={self.turn.count}, questions={len(self.known)})"

    def __len__(self):
        return self.turn.count

    def party(self, name, institutions):
        """The number of a party, from 1 on; 0 where nothing is taken."""
        return self.parties.setdefault((name, institutions), len(self.parties) + 1) if NATIVE else 0

    def forget(self):
        """Forget all questions: what they were checked with is another now."""
        self.known.clear()
        self.providers.clear()

    def next(self):
        """This turn's rows; a further turn begins."""
        turn = self.turn
        self.turns += 1
        self.turn = Turn(self.turns)
        return turn

    def take(self, Wired connection not None, bytes data not None):
        """Take the frames at the beginning of what arrived, as long as they are usual single inquiries.

        Returns:
            bytes that were taken: whole frames.
        """
        cdef const uint8_t* at = <const uint8_t*>PyBytes_AS_STRING(data)
        cdef int64_t left = PyBytes_GET_SIZE(data), length, taken = 0
        cdef uint32_t head
        while left >= 7:
            memcpy(&head, at, 4)
            length = head
            if not 2 <= length <= FRAME_BYTES_MAX or length > left - 4 or at[4] != 1:
                break
            if not self.take_one(connection, at + 5, length - 1):
                break
            at += 4 + length
            left -= 4 + length
            taken += 4 + length
        return taken

    def take_message(self, Wired connection not None, const uint8_t[::1] message):
        """Take one message, if it is a usual single inquiry."""
        cdef int64_t size = message.shape[0]
        return size > 0 and self.take_one(connection, &message[0], size)

    cdef bint take_one(self, Wired connection, const uint8_t* message, int64_t size) except -1:
        cdef Parsed parsed
        cdef Prepared question
        cdef Row* row
        cdef PyObject* found
        cdef int64_t provider
        if connection._halted or connection._ending_at != 0 or connection._party_number == 0 \
                or not read_call(message, size, &parsed):
            return False
        if self.turn.count == 0 and not self.host.begin():
            return False
        number = parsed.number
        if number in connection._open or number in connection._uploads or number in connection._dropped:
            return False
        question = self.find(connection, &parsed, message, size)
        if question is None or not question.account.takes:
            return False
        name = PyBytes_FromStringAndSize(<const char*>parsed.provider, <Py_ssize_t>parsed.provider_size)
        found = PyDict_GetItem(self.providers, name)
        if found == NULL:
            # A question that is known, asked of a provider that is not: only its number is wanted.
            prepared = self.host.prepare(connection, PyBytes_FromStringAndSize(<const char*>message, <Py_ssize_t>size))
            if prepared is None:
                return False
            _, _, number_of_provider, _ = prepared
            provider = number_of_provider
            if len(self.providers) >= PROVIDERS_MAX:
                self.providers.clear()
            self.providers[name] = provider
        else:
            provider = <object>found
        if question.turn != self.turn.name:
            question.turn = self.turn.name
            question.place = <uint32_t>len(self.turn.prepared)
            self.turn.prepared.append(question)
        if not self.told:
            # Before the row is there: whatever fails from here on, it is not forgotten.
            self.host.soon()
            self.told = True
        row = self.turn.add()
        row.number, row.which, row.provider = parsed.number, question.place, <uint32_t>provider
        row.consent, row.id_size = parsed.consent, <uint8_t>parsed.id_size
        if parsed.consent:
            self.turn.consents = True
        memcpy(row.alias, parsed.alias, 16)
        memcpy(row.id, parsed.id, <size_t>parsed.id_size)
        self.turn.connections.append(connection)
        self.taken += 1
        connection._open[number] = 0
        connection._called_at = self.now
        if len(connection._open) >= self.open_max:
            connection._throttle()
        if self.turn.count >= ROWS_MAX:
            self.host.end()
        return True

    cdef Prepared find(self, Wired connection, const Parsed* parsed, const uint8_t* message, int64_t size):
        """The question of a call, or None."""
        cdef uint8_t name[4 + CODE_BYTES_MAX + 3 + WORDS_BYTES_MAX]
        cdef uint8_t* at = name
        cdef PyObject* found
        cdef Prepared question
        memcpy(at, &connection._party_number, 4)
        memcpy(at + 4, parsed.institution, <size_t>parsed.institution_size)
        at += 4 + parsed.institution_size
        memcpy(at, parsed.before, <size_t>parsed.before_size)
        at += parsed.before_size
        memcpy(at, parsed.after, <size_t>parsed.after_size)
        at += parsed.after_size
        key = PyBytes_FromStringAndSize(<const char*>name, at - name)
        found = PyDict_GetItem(self.known, key)
        if found != NULL:
            return <Prepared>found
        prepared = self.host.prepare(connection, PyBytes_FromStringAndSize(<const char*>message, <Py_ssize_t>size))
        if prepared is None:
            return None
        # Taken apart, not indexed: that looks at its length.
        asked, requester, _, account = prepared
        question = Prepared(asked, requester, account)
        if len(self.known) >= QUESTIONS_MAX:
            self.known.clear()
        self.known[key] = question
        self.prepared += 1
        return question


def read_single(bytes message not None):
    """What :class:`Intake` reads of a message, for tests: number, institution, words before and behind the request id,
    request id, alias, provider, consent; or None where it goes the general way."""
    cdef Parsed p
    if not read_call(<const uint8_t*>PyBytes_AS_STRING(message), PyBytes_GET_SIZE(message), &p):
        return None
    return (
        p.number, p.institution[:p.institution_size], p.before[:p.before_size], p.after[:p.after_size],
        p.id[:p.id_size], p.alias[:16], p.provider[:p.provider_size], bool(p.consent),
    )
