/* SPDX-License-Identifier: Apache-2.0 */
/* Shared folders in a configuration: limits, refusals with their field, words for the kernel. */
#include <test.h>

#include <string.h>

#include <base/checked.h>

#include "boot/cmdline.h"
#include "config.h"

#define TAG_36 "abcdefghijklmnopqrstuvwxyz0123456789"

static drupe_vm_err_t check(const struct drupe_share *shares, size_t count, const char *root,
                            struct drupe_error *err)
{
    drupe_vm_config_t cfg;

    drupe_vm_config_init(&cfg);
    cfg.root_path = root;
    cfg.shares = shares;
    cfg.share_count = count;
    memset(err, 0, sizeof(*err));
    return config_check_shares(&cfg, err);
}

static void test_refusals(void **state)
{
    static const struct {
        struct drupe_share share;
        const char *field; /* NULL: accepted */
    } cases[] = {
        { { "/tmp", "a", "/x", false }, NULL },
        { { "/tmp", TAG_36, "/x", true }, NULL },
        { { "/tmp", "a.b_c-D9", NULL, false }, NULL },
        { { "/tmp", "a", "/", false }, NULL },
        { { "", "a", "/x", false }, "shares.host_path" },
        { { NULL, "a", "/x", false }, "shares.host_path" },
        { { "/tmp", "", "/x", false }, "shares.tag" },
        { { "/tmp", NULL, "/x", false }, "shares.tag" },
        { { "/tmp", TAG_36 "x", "/x", false }, "shares.tag" },
        { { "/tmp", "a b", "/x", false }, "shares.tag" },
        { { "/tmp", "a,readonly=off", "/x", false }, "shares.tag" },
        { { "/tmp", "a:b", "/x", false }, "shares.tag" },
        { { "/tmp", "a", "x", false }, "shares.guest_path" },
        { { "/tmp", "a", "", false }, "shares.guest_path" },
    };
    struct drupe_error err;

    (void)state;
    for (size_t i = 0; i < array_size(cases); i++) {
        const drupe_vm_err_t r = check(&cases[i].share, 1, NULL, &err);

        assert_int_equal(r, cases[i].field == NULL ? DRUPE_OK : DRUPE_CONFIG_INVALID);
        assert_string_equal(err.field, cases[i].field == NULL ? "" : cases[i].field);
    }
}

static void test_several(void **state)
{
    struct drupe_share shares[DRUPE_SHARES_MAX + 1];
    char tags[DRUPE_SHARES_MAX + 1][2];
    struct drupe_error err;

    (void)state;
    for (unsigned i = 0; i < array_size(shares); i++) {
        tags[i][0] = (char)('a' + i);
        tags[i][1] = '\0';
        shares[i] = (struct drupe_share){ "/tmp", tags[i], "/x", false };
    }
    assert_int_equal(check(shares, DRUPE_SHARES_MAX, NULL, &err), DRUPE_OK);
    assert_int_equal(check(shares, DRUPE_SHARES_MAX + 1, NULL, &err), DRUPE_CONFIG_INVALID);
    assert_string_equal(err.field, "shares");
    assert_int_equal(check(NULL, 1, NULL, &err), DRUPE_CONFIG_INVALID);
    tags[5][0] = 'a';
    assert_int_equal(check(shares, DRUPE_SHARES_MAX, NULL, &err), DRUPE_CONFIG_INVALID);
    assert_string_equal(err.field, "shares.tag");
    tags[5][0] = 'z';
    shares[3].guest_path = "//";
    assert_int_equal(check(shares, 6, NULL, &err), DRUPE_OK);
    assert_int_equal(check(shares, 6, "root.erofs", &err), DRUPE_CONFIG_INVALID);
    shares[4].guest_path = "/";
    assert_int_equal(check(shares, 6, NULL, &err), DRUPE_CONFIG_INVALID);
    assert_string_equal(err.field, "shares");
}

static void test_folders_are_opened(void **state)
{
    static const struct {
        const char *path;
        drupe_vm_err_t code;
    } cases[] = {
        { "/tmp", DRUPE_OK },
        { "/nowhere/at/all", DRUPE_NOT_FOUND },
        { "/etc/passwd", DRUPE_NOT_FOUND }, /* ENOTDIR */
    };

    (void)state;
    for (size_t i = 0; i < array_size(cases); i++) {
        const struct drupe_share share = { cases[i].path, "a", "/x", true };
        drupe_vm_config_t cfg;
        struct config c;
        struct drupe_error err;

        memset(&c, 0, sizeof(c));
        config_clear_shares(&c);
        drupe_vm_config_init(&cfg);
        cfg.shares = &share;
        cfg.share_count = 1;
        assert_int_equal(config_take_shares(&c, &cfg, &err), cases[i].code);
        config_deinit_shares(&c);
        assert_int_equal(c.shares[0].fd, -1);
    }
}

static void test_announcement(void **state)
{
    char tag[] = "t";
    char path[] = "/a b:c%\xc3\xa4/d";
    char root[] = "/";
    struct config c;
    struct cmdline line;

    (void)state;
    memset(&c, 0, sizeof(c));
    c.shares[0] = (struct config_share){ .tag = tag, .guest_path = path };
    c.shares[1] = (struct config_share){ .tag = tag, .guest_path = root, .is_read_only = true };
    c.shares[2] = (struct config_share){ .tag = tag };
    c.share_count = 3;
    cmdline_init(&line);
    config_announce_shares(&c, &line);
    assert_string_equal(line.text, "drupe.share=t:/a%20b%3ac%25%c3%a4/d:rw root=9p:t ro");
    assert_ptr_equal(config_root_share(&c), &c.shares[1]);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_refusals),
        cmocka_unit_test(test_several),
        cmocka_unit_test(test_folders_are_opened),
        cmocka_unit_test(test_announcement),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
