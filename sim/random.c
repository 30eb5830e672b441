/* SPDX-License-Identifier: Apache-2.0 */
/* ChaCha20 (RFC 8439) as a source of numbers, keyed by SHA-256(seed || stream name). */
#include "world.h"

#include <sha2.h>
#include <string.h>

#include <base/assert.h>
#include <base/bytes.h>

static uint32_t rotate(uint32_t x, unsigned by)
{
    return x << by | x >> (32 - by);
}

static void quarter(uint32_t *s, unsigned a, unsigned b, unsigned c, unsigned d)
{
    s[a] += s[b];
    s[d] = rotate(s[d] ^ s[a], 16);
    s[c] += s[d];
    s[b] = rotate(s[b] ^ s[c], 12);
    s[a] += s[b];
    s[d] = rotate(s[d] ^ s[a], 8);
    s[c] += s[d];
    s[b] = rotate(s[b] ^ s[c], 7);
}

static void refill(struct sim_random *r)
{
    memcpy(r->block, r->state, sizeof(r->block));
    for (unsigned i = 0; i < 10; i++) {
        for (unsigned column = 0; column < 4; column++) {
            quarter(r->block, column, 4 + column, 8 + column, 12 + column);
        }
        for (unsigned column = 0; column < 4; column++) {
            quarter(r->block, column, 4 + (column + 1) % 4, 8 + (column + 2) % 4,
                    12 + (column + 3) % 4);
        }
    }
    for (unsigned i = 0; i < 16; i++) {
        r->block[i] += r->state[i];
    }
    r->state[12]++;
    r->used = 0;
}

void sim_random_init(struct sim_random *r, uint64_t seed, const char *name)
{
    static const uint32_t words[4] = { 0x61707865, 0x3320646e, 0x79622d32, 0x6b206574 };
    uint8_t key[SHA256_DIGEST_LENGTH];
    uint8_t number[8];
    SHA2_CTX hash;

    store_le64(number, seed);
    SHA256Init(&hash);
    SHA256Update(&hash, number, sizeof(number));
    SHA256Update(&hash, (const uint8_t *)name, strlen(name));
    SHA256Final(key, &hash);
    memset(r, 0, sizeof(*r));
    memcpy(r->state, words, sizeof(words));
    for (unsigned i = 0; i < 8; i++) {
        r->state[4 + i] = load_le32(key + (size_t)i * 4);
    }
    refill(r);
}

uint32_t sim_random_u32(struct sim_random *r)
{
    if (r->used == array_size(r->block)) {
        refill(r);
    }
    return r->block[r->used++];
}

uint64_t sim_random_u64(struct sim_random *r)
{
    uint64_t high = sim_random_u32(r);

    return high << 32 | sim_random_u32(r);
}

uint32_t sim_random_below(struct sim_random *r, uint32_t n)
{
    assert(n > 0);
    uint32_t low = -n % n; /* 2^32 mod n: numbers below would make the first ones likelier */
    uint64_t product = 0;

    do {
        product = (uint64_t)sim_random_u32(r) * n;
    } while ((uint32_t)product < low);
    return (uint32_t)(product >> 32);
}

bool sim_random_chance(struct sim_random *r, double probability)
{
    return (double)sim_random_u32(r) < probability * 4294967296.0;
}

void sim_random_fill(struct sim_random *r, void *out, size_t size)
{
    uint8_t *at = out;

    for (size_t i = 0; i < size; i += 4) {
        uint32_t word = sim_random_u32(r);

        memcpy(at + i, &word, min_of(size - i, sizeof(word)));
    }
}
