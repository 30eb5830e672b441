/* SPDX-License-Identifier: Apache-2.0 */
/* Section numbers are those of FIPS 180-4. */
#include <base/sha256.h>

#include <string.h>

#include <base/assert.h>
#include <base/bytes.h>

#define ROUNDS      64u
#define LENGTH_SIZE 8u

typedef void (*compress_fn)(uint32_t state[8], const uint8_t *blocks, size_t count);

/* 4.2.2 */
static const uint32_t constants[ROUNDS] ALIGNED(16) = {
    0x428a2f98, 0x71374491, 0xb5c0fbcf, 0xe9b5dba5, 0x3956c25b, 0x59f111f1, 0x923f82a4, 0xab1c5ed5,
    0xd807aa98, 0x12835b01, 0x243185be, 0x550c7dc3, 0x72be5d74, 0x80deb1fe, 0x9bdc06a7, 0xc19bf174,
    0xe49b69c1, 0xefbe4786, 0x0fc19dc6, 0x240ca1cc, 0x2de92c6f, 0x4a7484aa, 0x5cb0a9dc, 0x76f988da,
    0x983e5152, 0xa831c66d, 0xb00327c8, 0xbf597fc7, 0xc6e00bf3, 0xd5a79147, 0x06ca6351, 0x14292967,
    0x27b70a85, 0x2e1b2138, 0x4d2c6dfc, 0x53380d13, 0x650a7354, 0x766a0abb, 0x81c2c92e, 0x92722c85,
    0xa2bfe8a1, 0xa81a664b, 0xc24b8b70, 0xc76c51a3, 0xd192e819, 0xd6990624, 0xf40e3585, 0x106aa070,
    0x19a4c116, 0x1e376c08, 0x2748774c, 0x34b0bcb5, 0x391c0cb3, 0x4ed8aa4a, 0x5b9cca4f, 0x682e6ff3,
    0x748f82ee, 0x78a5636f, 0x84c87814, 0x8cc70208, 0x90befffa, 0xa4506ceb, 0xbef9a3f7, 0xc67178f2,
};

static uint32_t rotate(uint32_t v, unsigned n)
{
    return v >> n | v << (32 - n);
}

static void schedule(const uint8_t *block, uint32_t w[ROUNDS])
{
    for (unsigned i = 0; i < 16; i++) {
        w[i] = load_be32(block + (size_t)4 * i);
    }
    for (unsigned i = 16; i < ROUNDS; i++) {
        uint32_t a = w[i - 15];
        uint32_t b = w[i - 2];

        w[i] = w[i - 16] + (rotate(a, 7) ^ rotate(a, 18) ^ a >> 3) + w[i - 7] +
               (rotate(b, 17) ^ rotate(b, 19) ^ b >> 10);
    }
}

/* 6.2.2 */
static void compress_portable(uint32_t state[8], const uint8_t *blocks, size_t count)
{
    uint32_t w[ROUNDS];
    uint32_t v[8];

    for (; count > 0; count--, blocks += SHA256_BLOCK_SIZE) {
        schedule(blocks, w);
        memcpy(v, state, sizeof(v));
        for (unsigned i = 0; i < ROUNDS; i++) {
            uint32_t t1 = v[7] + (rotate(v[4], 6) ^ rotate(v[4], 11) ^ rotate(v[4], 25)) +
                          ((v[4] & v[5]) ^ (~v[4] & v[6])) + constants[i] + w[i];
            uint32_t t2 = (rotate(v[0], 2) ^ rotate(v[0], 13) ^ rotate(v[0], 22)) +
                          ((v[0] & v[1]) ^ (v[0] & v[2]) ^ (v[1] & v[2]));

            memmove(v + 1, v, 7 * sizeof(v[0]));
            v[4] += t1;
            v[0] = t1 + t2;
        }
        for (unsigned i = 0; i < 8; i++) {
            state[i] += v[i];
        }
    }
}

#ifdef __x86_64__

#include <cpuid.h>
#include <immintrin.h>

#define TARGET_SHA __attribute__((target("sha,sse4.1,ssse3")))

static bool has_instructions(void)
{
    unsigned a = 0;
    unsigned b = 0;
    unsigned c = 0;
    unsigned d = 0;

    if (__get_cpuid(1, &a, &b, &c, &d) == 0 || (c & bit_SSSE3) == 0 || (c & bit_SSE4_1) == 0) {
        return false;
    }
    return __get_cpuid_count(7, 0, &a, &b, &c, &d) != 0 && (b & bit_SHA) != 0;
}

/* Four rounds with the four schedule words `w` of round `4 * i`. */
TARGET_SHA static inline void four_rounds(__m128i *abef, __m128i *cdgh, __m128i w, unsigned i)
{
    __m128i k = _mm_load_si128((const __m128i *)(const void *)(constants + (size_t)4 * i));
    __m128i wk = _mm_add_epi32(w, k);

    *cdgh = _mm_sha256rnds2_epu32(*cdgh, *abef, wk);
    *abef = _mm_sha256rnds2_epu32(*abef, *cdgh, _mm_shuffle_epi32(wk, 0x0e));
}

/* The next four schedule words from the last sixteen, oldest first. */
TARGET_SHA static inline __m128i next_words(__m128i w0, __m128i w1, __m128i w2, __m128i w3)
{
    __m128i sum = _mm_add_epi32(_mm_sha256msg1_epu32(w0, w1), _mm_alignr_epi8(w3, w2, 4));

    return _mm_sha256msg2_epu32(sum, w3);
}

/* The instructions want the state as (A, B, E, F) and (C, D, G, H), first letter highest. */
TARGET_SHA static void compress_instructions(uint32_t state[8], const uint8_t *blocks, size_t count)
{
    const __m128i swap = _mm_set_epi64x(0x0c0d0e0f08090a0b, 0x0405060700010203);
    __m128i dcba = _mm_loadu_si128((const __m128i *)(const void *)state);
    __m128i hgfe = _mm_loadu_si128((const __m128i *)(const void *)(state + 4));
    __m128i cdab = _mm_shuffle_epi32(dcba, 0xb1);
    __m128i efgh = _mm_shuffle_epi32(hgfe, 0x1b);
    __m128i abef = _mm_alignr_epi8(cdab, efgh, 8);
    __m128i cdgh = _mm_blend_epi16(efgh, cdab, 0xf0);

    for (; count > 0; count--, blocks += SHA256_BLOCK_SIZE) {
        const __m128i *from = (const __m128i *)(const void *)blocks;
        __m128i abef_before = abef;
        __m128i cdgh_before = cdgh;
        __m128i w[4];

        for (unsigned i = 0; i < 4; i++) {
            w[i] = _mm_shuffle_epi8(_mm_loadu_si128(from + i), swap);
            four_rounds(&abef, &cdgh, w[i], i);
        }
        for (unsigned i = 4; i < ROUNDS / 4; i += 4) {
            for (unsigned j = 0; j < 4; j++) {
                w[j] = next_words(w[j], w[(j + 1) & 3], w[(j + 2) & 3], w[(j + 3) & 3]);
                four_rounds(&abef, &cdgh, w[j], i + j);
            }
        }
        abef = _mm_add_epi32(abef, abef_before);
        cdgh = _mm_add_epi32(cdgh, cdgh_before);
    }
    __m128i feba = _mm_shuffle_epi32(abef, 0x1b);
    __m128i dchg = _mm_shuffle_epi32(cdgh, 0xb1);

    _mm_storeu_si128((__m128i *)(void *)state, _mm_blend_epi16(feba, dchg, 0xf0));
    _mm_storeu_si128((__m128i *)(void *)(state + 4), _mm_alignr_epi8(dchg, feba, 8));
}

static compress_fn best_compress(void)
{
    return has_instructions() ? compress_instructions : compress_portable;
}

#else

static compress_fn best_compress(void)
{
    return compress_portable;
}

#endif

/* NULL: not looked yet. Several threads may look at once and find the same. */
static compress_fn compress;

static compress_fn get_compress(void)
{
    compress_fn fn = __atomic_load_n(&compress, __ATOMIC_RELAXED);

    if (fn == NULL) {
        fn = best_compress();
        __atomic_store_n(&compress, fn, __ATOMIC_RELAXED);
    }
    return fn;
}

void sha256_set_accelerated(bool is_allowed)
{
    __atomic_store_n(&compress, is_allowed ? best_compress() : compress_portable, __ATOMIC_RELAXED);
}

void sha256_init(struct sha256 *s)
{
    /* 5.3.3 */
    static const uint32_t initial[8] = { 0x6a09e667, 0xbb67ae85, 0x3c6ef372, 0xa54ff53a,
                                         0x510e527f, 0x9b05688c, 0x1f83d9ab, 0x5be0cd19 };

    memcpy(s->state, initial, sizeof(initial));
    s->size = 0;
}

void sha256_add(struct sha256 *s, const void *bytes, size_t size)
{
    const uint8_t *from = bytes;
    size_t held = s->size % SHA256_BLOCK_SIZE;
    compress_fn run = get_compress();

    s->size += size;
    if (held > 0) {
        size_t n = min_of(size, SHA256_BLOCK_SIZE - held);

        memcpy(s->block + held, from, n);
        from += n;
        size -= n;
        if (held + n < SHA256_BLOCK_SIZE) {
            return;
        }
        run(s->state, s->block, 1);
    }
    run(s->state, from, size / SHA256_BLOCK_SIZE);
    from += size - size % SHA256_BLOCK_SIZE;
    memcpy(s->block, from, size % SHA256_BLOCK_SIZE);
}

void sha256_end(struct sha256 *s, uint8_t digest[SHA256_SIZE])
{
    static const uint8_t padding[SHA256_BLOCK_SIZE] = { 0x80 };
    uint64_t bits = s->size * 8; /* 5.1.1 */
    size_t held = s->size % SHA256_BLOCK_SIZE;
    size_t limit = SHA256_BLOCK_SIZE - LENGTH_SIZE;
    uint8_t length[LENGTH_SIZE];

    store_be64(length, bits);
    sha256_add(s, padding, held < limit ? limit - held : SHA256_BLOCK_SIZE + limit - held);
    sha256_add(s, length, sizeof(length));
    assert(s->size % SHA256_BLOCK_SIZE == 0);
    for (unsigned i = 0; i < 8; i++) {
        store_be32(digest + (size_t)4 * i, s->state[i]);
    }
}

void sha256(const void *bytes, size_t size, uint8_t digest[SHA256_SIZE])
{
    struct sha256 s;

    sha256_init(&s);
    sha256_add(&s, bytes, size);
    sha256_end(&s, digest);
}
