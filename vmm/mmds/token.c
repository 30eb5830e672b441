/* SPDX-License-Identifier: Apache-2.0 */
#include "mmds/token.h"

#include <string.h>

#include <base/assert.h>
#include <base/bytes.h>
#include <base/sha256.h>

#define RAW_SIZE  24u /* eight bytes of time, sixteen of code */
#define TIME_SIZE 8u

static_assert(RAW_SIZE / 3 * 4 == TOKEN_TEXT_SIZE, "four characters for three bytes");

static const char alphabet[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";

static void hash_padded(const uint8_t key[TOKEN_KEY_SIZE], uint8_t pad, const void *bytes,
                        size_t size, uint8_t out[SHA256_SIZE])
{
    struct sha256 s;
    uint8_t block[SHA256_BLOCK_SIZE];

    memset(block, pad, sizeof(block));
    for (size_t i = 0; i < TOKEN_KEY_SIZE; i++) {
        block[i] ^= key[i];
    }
    sha256_init(&s);
    sha256_add(&s, block, sizeof(block));
    sha256_add(&s, bytes, size);
    sha256_end(&s, out);
}

/* HMAC-SHA-256 (RFC 2104), cut. */
static void make_raw(const uint8_t key[TOKEN_KEY_SIZE], uint64_t end_ns, uint8_t raw[RAW_SIZE])
{
    uint8_t inner[SHA256_SIZE];
    uint8_t outer[SHA256_SIZE];

    store_le64(raw, end_ns);
    hash_padded(key, 0x36, raw, TIME_SIZE, inner);
    hash_padded(key, 0x5c, inner, sizeof(inner), outer);
    memcpy(raw + TIME_SIZE, outer, RAW_SIZE - TIME_SIZE);
}

void token_make(const uint8_t key[TOKEN_KEY_SIZE], uint64_t end_ns, char out[TOKEN_TEXT_SIZE])
{
    uint8_t raw[RAW_SIZE];

    make_raw(key, end_ns, raw);
    for (size_t i = 0; i < RAW_SIZE; i += 3, out += 4) {
        const unsigned word =
            (unsigned)raw[i] << 16 | (unsigned)raw[i + 1] << 8 | (unsigned)raw[i + 2];

        out[0] = alphabet[word >> 18];
        out[1] = alphabet[word >> 12 & 63];
        out[2] = alphabet[word >> 6 & 63];
        out[3] = alphabet[word & 63];
    }
}

static bool decode_time(const char *text, uint64_t *end_ns)
{
    uint8_t raw[9];

    for (size_t i = 0; i < sizeof(raw); i += 3, text += 4) {
        unsigned word = 0;

        for (unsigned j = 0; j < 4; j++) {
            const char *found = text[j] == '\0' ? NULL : strchr(alphabet, text[j]);

            if (found == NULL) {
                return false;
            }
            word = word << 6 | (unsigned)(found - alphabet);
        }
        raw[i] = (uint8_t)(word >> 16);
        raw[i + 1] = (uint8_t)(word >> 8);
        raw[i + 2] = (uint8_t)word;
    }
    *end_ns = load_le64(raw);
    return true;
}

bool token_check(const uint8_t key[TOKEN_KEY_SIZE], uint64_t now_ns, const char *text, size_t size)
{
    char wanted[TOKEN_TEXT_SIZE];
    uint64_t end_ns = 0;
    unsigned difference = 0;

    if (size != TOKEN_TEXT_SIZE || !decode_time(text, &end_ns)) {
        return false;
    }
    token_make(key, end_ns, wanted);
    for (size_t i = 0; i < sizeof(wanted); i++) {
        difference |= (unsigned)(unsigned char)(wanted[i] ^ text[i]); /* in equal time */
    }
    return difference == 0 && now_ns < end_ns;
}
