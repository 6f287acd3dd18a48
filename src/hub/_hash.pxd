# Contents page of the hash kernels. The block function is OpenSSL's (SHA256_Transform of libcrypto), handed in as an
# address: no header and no link is needed. Message buffers are on the kernels' stacks, columns are the caller's.

from libc.stdint cimport int64_t, uint8_t, uint16_t, uint32_t, uint64_t

cdef enum:
    HASH_BYTES = 32
    SALT_BYTES = 16
    ROW_BYTES = 48              # of a record as it is committed to, see docs/log.md
    STORED_BYTES = 16           # of a record as it is stored: one block of AES

# OpenSSL's SHA256_CTX; a block is taken in through the first field alone.
cdef struct Sha256:
    uint32_t h[8]
    uint32_t counts[2]
    uint32_t data[16]
    uint32_t number
    uint32_t length

# A record as it is stored, before it is encrypted.
cdef packed struct Stored:
    uint32_t person
    uint16_t provider
    uint16_t decision
    uint8_t outcome
    uint8_t kind
    uint16_t link[3]            # little endian, 48 bits

ctypedef void (*BlockFunction)(Sha256* context, const uint8_t* block) noexcept nogil

cdef enum:
    SIDE = 16                   # messages that are hashed side by side, where the processor can

# For other kernels; only where ``hub._hash.NATIVE`` is true.
cdef BlockFunction block_function
# ``block`` and ``blocks`` are padded message buffers.
cdef void pad(uint8_t* message, int length) noexcept nogil
cdef void hash_leaf(const uint8_t* entry, uint8_t* out, uint8_t* block) noexcept nogil
cdef void hash_node(const uint8_t* left, const uint8_t* right, uint8_t* out, uint8_t* blocks) noexcept nogil
# Whether SIDE messages are hashed side by side in the time that a few of them take; else not to be called.
cdef bint has_lanes() noexcept nogil
cdef void hash_side(const uint8_t* messages, size_t stride, int blocks, uint8_t* out) noexcept nogil
# SIDE message buffers of so many bytes, each beginning alike and padded for a message of ``padded`` bytes.
cdef void repeat_message(uint8_t* messages, size_t length, const char* begin, size_t begins, int padded) noexcept nogil
# Pads a message in place, for which there must be room behind it (72 bytes), and hashes it.
cdef void hash_message(uint8_t* message, size_t length, uint8_t* out) noexcept nogil
