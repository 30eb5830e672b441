/* SPDX-License-Identifier: Apache-2.0 */
/* Known answers of FIPS 180-2, appendix B; and both ways of computing against each other. */
#include "test.h"

#include <string.h>

#include <base/compiler.h>
#include <base/sha256.h>

static void check_hex(const uint8_t digest[SHA256_SIZE], const char *hex)
{
    static const char digits[] = "0123456789abcdef";
    char text[2 * SHA256_SIZE + 1] = { 0 };

    for (size_t i = 0; i < SHA256_SIZE; i++) {
        text[2 * i] = digits[digest[i] >> 4];
        text[2 * i + 1] = digits[digest[i] & 15];
    }
    assert_string_equal(text, hex);
}

static void known_answers(void)
{
    static const struct {
        const char *text;
        size_t repeat;
        const char *hex;
    } cases[] = {
        { "", 1, "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855" },
        { "abc", 1, "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad" },
        { "abcdbcdecdefdefgefghfghighijhijkijkljklmklmnlmnomnopnopq", 1,
          "248d6a61d20638b8e5c026930c3e6039a33ce45964ff2167f6ecedd419db06c1" },
        { "a", 1000000, "cdc76e5c9914fb9281a1c7e284d73e67f1809a48a497200e046d39ccc7112cd0" },
    };

    for (size_t i = 0; i < array_size(cases); i++) {
        struct sha256 s;
        uint8_t digest[SHA256_SIZE];

        sha256_init(&s);
        for (size_t n = 0; n < cases[i].repeat; n++) {
            sha256_add(&s, cases[i].text, strlen(cases[i].text));
        }
        sha256_end(&s, digest);
        check_hex(digest, cases[i].hex);
    }
}

static void test_known_answers(void **state)
{
    (void)state;
    known_answers();
    sha256_set_accelerated(false);
    known_answers();
    sha256_set_accelerated(true);
}

/* Every size around the block's, in one piece and cut in two anywhere, portable and not. */
static void test_pieces(void **state)
{
    uint8_t bytes[200];

    (void)state;
    for (size_t i = 0; i < sizeof(bytes); i++) {
        bytes[i] = (uint8_t)(i * 37 + 11);
    }
    for (size_t size = 0; size <= sizeof(bytes); size++) {
        uint8_t whole[SHA256_SIZE];
        uint8_t parts[SHA256_SIZE];
        struct sha256 s;

        sha256_set_accelerated(false);
        sha256(bytes, size, whole);
        sha256_set_accelerated(true);
        for (size_t cut = 0; cut <= size; cut += 13) {
            sha256_init(&s);
            sha256_add(&s, bytes, cut);
            sha256_add(&s, bytes + cut, size - cut);
            sha256_end(&s, parts);
            assert_memory_equal(whole, parts, sizeof(whole));
        }
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_known_answers),
        cmocka_unit_test(test_pieces),
    };

    return cmocka_run_group_tests_name("sha256", tests, NULL, NULL);
}
