# SHA-256 of LANES messages of one length at a time. One message waits for the result of each round for as long as the
# next ones' could be started: with the processor's SHA instructions four side by side take half the time of one behind
# the other, and with AVX-512, a message in each of 16 lanes, a quarter. What the processor has is asked when the module
# is loaded (``lanes_usable``); where it has neither, or the compiler is not one that knows them, callers hash one
# message after the other.

from libc.stdint cimport uint8_t

cdef extern from *:
    """
    #define HUB_LANES 16
    #define HUB_SIDE 4
    #if defined(__x86_64__) && defined(__GNUC__)
    #include <cpuid.h>
    #include <immintrin.h>
    #include <stdint.h>

    /* Round constants of FIPS 180-4, 4.2.2. */
    static const uint32_t hub_lanes_k[64] __attribute__((aligned(64))) = {
        0x428a2f98, 0x71374491, 0xb5c0fbcf, 0xe9b5dba5, 0x3956c25b, 0x59f111f1, 0x923f82a4, 0xab1c5ed5,
        0xd807aa98, 0x12835b01, 0x243185be, 0x550c7dc3, 0x72be5d74, 0x80deb1fe, 0x9bdc06a7, 0xc19bf174,
        0xe49b69c1, 0xefbe4786, 0x0fc19dc6, 0x240ca1cc, 0x2de92c6f, 0x4a7484aa, 0x5cb0a9dc, 0x76f988da,
        0x983e5152, 0xa831c66d, 0xb00327c8, 0xbf597fc7, 0xc6e00bf3, 0xd5a79147, 0x06ca6351, 0x14292967,
        0x27b70a85, 0x2e1b2138, 0x4d2c6dfc, 0x53380d13, 0x650a7354, 0x766a0abb, 0x81c2c92e, 0x92722c85,
        0xa2bfe8a1, 0xa81a664b, 0xc24b8b70, 0xc76c51a3, 0xd192e819, 0xd6990624, 0xf40e3585, 0x106aa070,
        0x19a4c116, 0x1e376c08, 0x2748774c, 0x34b0bcb5, 0x391c0cb3, 0x4ed8aa4a, 0x5b9cca4f, 0x682e6ff3,
        0x748f82ee, 0x78a5636f, 0x84c87814, 0x8cc70208, 0x90befffa, 0xa4506ceb, 0xbef9a3f7, 0xc67178f2,
    };

    static const uint32_t hub_lanes_start[8] = {
        0x6a09e667, 0xbb67ae85, 0x3c6ef372, 0xa54ff53a, 0x510e527f, 0x9b05688c, 0x1f83d9ab, 0x5be0cd19,
    };

    /* 0: neither, 1: the SHA instructions, 2: AVX-512. */
    static int hub_lanes_kind = 0;

    static int hub_lanes_usable(int most) {
        unsigned int a, b, c, d;
        hub_lanes_kind = 0;
        if (most > 0 && __get_cpuid(1, &a, &b, &c, &d) && (c & bit_SSSE3) && (c & bit_SSE4_1)
                && __get_cpuid_count(7, 0, &a, &b, &c, &d) && (b & (1u << 29)))
            hub_lanes_kind = 1;
        /* Asks the system too whether it keeps the wide registers. */
        if (most > 1 && __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw"))
            hub_lanes_kind = 2;
        return hub_lanes_kind;
    }

    /* HUB_SIDE of them, with the SHA instructions. */
    __attribute__((target("sha,sse4.1,ssse3")))
    static void hub_lanes_four(const uint8_t *messages, size_t stride, int blocks, uint8_t *out) {
        const __m128i swap = _mm_set_epi64x(0x0c0d0e0f08090a0bULL, 0x0405060700010203ULL);
        __m128i abef[HUB_SIDE], cdgh[HUB_SIDE], w[HUB_SIDE][4];
        int lane, block, quad;
        for (lane = 0; lane < HUB_SIDE; lane++) {
            /* The initial state, FIPS 180-4, 5.3.3. */
            abef[lane] = _mm_set_epi32(0x6a09e667, 0xbb67ae85, 0x510e527f, 0x9b05688c);
            cdgh[lane] = _mm_set_epi32(0x3c6ef372, 0xa54ff53a, 0x1f83d9ab, 0x5be0cd19);
        }
        for (block = 0; block < blocks; block++) {
            __m128i before_abef[HUB_SIDE], before_cdgh[HUB_SIDE];
            _Pragma("GCC unroll 4")
            for (lane = 0; lane < HUB_SIDE; lane++) {
                before_abef[lane] = abef[lane];
                before_cdgh[lane] = cdgh[lane];
            }
            _Pragma("GCC unroll 16")
            for (quad = 0; quad < 16; quad++) {
                const __m128i k = _mm_load_si128((const __m128i *)(hub_lanes_k + 4 * quad));
                _Pragma("GCC unroll 4")
                for (lane = 0; lane < HUB_SIDE; lane++) {
                    __m128i now, wk;
                    if (quad < 4) {
                        now = _mm_loadu_si128(
                            (const __m128i *)(messages + lane * stride + 64 * block + 16 * quad));
                        now = _mm_shuffle_epi8(now, swap);
                    } else {
                        now = _mm_sha256msg1_epu32(w[lane][quad & 3], w[lane][(quad + 1) & 3]);
                        now = _mm_add_epi32(
                            now, _mm_alignr_epi8(w[lane][(quad + 3) & 3], w[lane][(quad + 2) & 3], 4));
                        now = _mm_sha256msg2_epu32(now, w[lane][(quad + 3) & 3]);
                    }
                    w[lane][quad & 3] = now;
                    wk = _mm_add_epi32(now, k);
                    cdgh[lane] = _mm_sha256rnds2_epu32(cdgh[lane], abef[lane], wk);
                    abef[lane] = _mm_sha256rnds2_epu32(abef[lane], cdgh[lane], _mm_shuffle_epi32(wk, 0x0e));
                }
            }
            _Pragma("GCC unroll 4")
            for (lane = 0; lane < HUB_SIDE; lane++) {
                abef[lane] = _mm_add_epi32(abef[lane], before_abef[lane]);
                cdgh[lane] = _mm_add_epi32(cdgh[lane], before_cdgh[lane]);
            }
        }
        for (lane = 0; lane < HUB_SIDE; lane++) {
            const __m128i ab = _mm_shuffle_epi32(abef[lane], 0x1b), cd = _mm_shuffle_epi32(cdgh[lane], 0x1b);
            _mm_storeu_si128((__m128i *)(out + 32 * lane), _mm_shuffle_epi8(_mm_unpacklo_epi64(ab, cd), swap));
            _mm_storeu_si128((__m128i *)(out + 32 * lane + 16), _mm_shuffle_epi8(_mm_unpackhi_epi64(ab, cd), swap));
        }
    }

    #define HUB_ROR(x, n) _mm512_ror_epi32(x, n)
    #define HUB_XOR(x, y, z) _mm512_ternarylogic_epi32(x, y, z, 0x96)

    /* Words of 16 rows to rows of 16 words. */
    __attribute__((target("avx512f,avx512bw"), always_inline))
    static inline void hub_lanes_turn(const __m512i *r, __m512i *w) {
        __m512i a[16], b[16];
        int i, j;
        _Pragma("GCC unroll 8")
        for (i = 0; i < 16; i += 2) {
            a[i] = _mm512_unpacklo_epi32(r[i], r[i + 1]);
            a[i + 1] = _mm512_unpackhi_epi32(r[i], r[i + 1]);
        }
        _Pragma("GCC unroll 4")
        for (i = 0; i < 16; i += 4) {
            b[i] = _mm512_unpacklo_epi64(a[i], a[i + 2]);
            b[i + 1] = _mm512_unpackhi_epi64(a[i], a[i + 2]);
            b[i + 2] = _mm512_unpacklo_epi64(a[i + 1], a[i + 3]);
            b[i + 3] = _mm512_unpackhi_epi64(a[i + 1], a[i + 3]);
        }
        _Pragma("GCC unroll 4")
        for (j = 0; j < 4; j++) {
            const __m512i even_low = _mm512_shuffle_i32x4(b[j], b[4 + j], 0x88);
            const __m512i odd_low = _mm512_shuffle_i32x4(b[j], b[4 + j], 0xdd);
            const __m512i even_high = _mm512_shuffle_i32x4(b[8 + j], b[12 + j], 0x88);
            const __m512i odd_high = _mm512_shuffle_i32x4(b[8 + j], b[12 + j], 0xdd);
            w[j] = _mm512_shuffle_i32x4(even_low, even_high, 0x88);
            w[4 + j] = _mm512_shuffle_i32x4(odd_low, odd_high, 0x88);
            w[8 + j] = _mm512_shuffle_i32x4(even_low, even_high, 0xdd);
            w[12 + j] = _mm512_shuffle_i32x4(odd_low, odd_high, 0xdd);
        }
    }

    __attribute__((target("avx512f,avx512bw")))
    static void hub_lanes_wide(const uint8_t *messages, size_t stride, int blocks, uint8_t *out) {
        const __m512i swap = _mm512_broadcast_i32x4(_mm_set_epi64x(0x0c0d0e0f08090a0bULL, 0x0405060700010203ULL));
        __m512i s[8], w[16], rows[16];
        int i, block;
        for (i = 0; i < 8; i++)
            s[i] = _mm512_set1_epi32((int)hub_lanes_start[i]);
        for (block = 0; block < blocks; block++) {
            __m512i a = s[0], b = s[1], c = s[2], d = s[3], e = s[4], f = s[5], g = s[6], h = s[7];
            _Pragma("GCC unroll 16")
            for (i = 0; i < 16; i++)
                rows[i] = _mm512_shuffle_epi8(_mm512_loadu_si512(messages + i * stride + 64 * block), swap);
            hub_lanes_turn(rows, w);
            _Pragma("GCC unroll 64")
            for (i = 0; i < 64; i++) {
                __m512i now, first, second;
                if (i < 16) {
                    now = w[i];
                } else {
                    const __m512i x = w[(i + 1) & 15], y = w[(i + 14) & 15];
                    now = _mm512_add_epi32(
                        _mm512_add_epi32(w[i & 15], HUB_XOR(HUB_ROR(x, 7), HUB_ROR(x, 18), _mm512_srli_epi32(x, 3))),
                        _mm512_add_epi32(
                            w[(i + 9) & 15], HUB_XOR(HUB_ROR(y, 17), HUB_ROR(y, 19), _mm512_srli_epi32(y, 10))));
                    w[i & 15] = now;
                }
                first = _mm512_add_epi32(
                    _mm512_add_epi32(h, _mm512_add_epi32(now, _mm512_set1_epi32((int)hub_lanes_k[i]))),
                    _mm512_add_epi32(
                        _mm512_ternarylogic_epi32(e, f, g, 0xca),
                        HUB_XOR(HUB_ROR(e, 6), HUB_ROR(e, 11), HUB_ROR(e, 25))));
                second = _mm512_add_epi32(
                    _mm512_ternarylogic_epi32(a, b, c, 0xe8), HUB_XOR(HUB_ROR(a, 2), HUB_ROR(a, 13), HUB_ROR(a, 22)));
                h = g;
                g = f;
                f = e;
                e = _mm512_add_epi32(d, first);
                d = c;
                c = b;
                b = a;
                a = _mm512_add_epi32(first, second);
            }
            s[0] = _mm512_add_epi32(s[0], a);
            s[1] = _mm512_add_epi32(s[1], b);
            s[2] = _mm512_add_epi32(s[2], c);
            s[3] = _mm512_add_epi32(s[3], d);
            s[4] = _mm512_add_epi32(s[4], e);
            s[5] = _mm512_add_epi32(s[5], f);
            s[6] = _mm512_add_epi32(s[6], g);
            s[7] = _mm512_add_epi32(s[7], h);
        }
        for (i = 0; i < 16; i++)
            rows[i] = i < 8 ? s[i] : _mm512_setzero_si512();
        hub_lanes_turn(rows, w);
        for (i = 0; i < 16; i++)
            _mm256_storeu_si256(
                (__m256i *)(out + 32 * i), _mm512_castsi512_si256(_mm512_shuffle_epi8(w[i], swap)));
    }

    /* Hashes HUB_LANES padded messages of `blocks` blocks, `stride` bytes apart; digests of 32 bytes, 32 apart. */
    static void hub_lanes_hash(const uint8_t *messages, size_t stride, int blocks, uint8_t *out) {
        int lane;
        if (hub_lanes_kind == 2) {
            hub_lanes_wide(messages, stride, blocks, out);
            return;
        }
        for (lane = 0; lane < HUB_LANES; lane += HUB_SIDE)
            hub_lanes_four(messages + lane * stride, stride, blocks, out + 32 * lane);
    }
    #else
    static int hub_lanes_usable(int most) { (void)most; return 0; }
    static void hub_lanes_hash(const uint8_t *messages, size_t stride, int blocks, uint8_t *out) {
        (void)messages; (void)stride; (void)blocks; (void)out;
    }
    #endif
    """
    enum:
        LANES "HUB_LANES"
    int lanes_usable "hub_lanes_usable"(int most) noexcept nogil
    void hash_lanes "hub_lanes_hash"(const uint8_t* messages, size_t stride, int blocks, uint8_t* out) noexcept nogil
