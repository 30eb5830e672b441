/* SPDX-License-Identifier: Apache-2.0 */
/* The store on the host's own file system; its behaviour under faults is the simulation's. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#include "drupe/store.h"

struct place {
    char directory[64];
    char store[96];
    char blob[96];
    char back[96];
};

static void place_init(struct place *p)
{
    (void)snprintf(p->directory, sizeof(p->directory), "/tmp/drupe-store-test.XXXXXX");
    assert_non_null(mkdtemp(p->directory));
    (void)snprintf(p->store, sizeof(p->store), "%s/store", p->directory);
    (void)snprintf(p->blob, sizeof(p->blob), "%s/blob", p->directory);
    (void)snprintf(p->back, sizeof(p->back), "%s/back", p->directory);
}

static void place_deinit(const struct place *p)
{
    static const char *const names[] = {
        "store/packages", "store/blobs", "store/incoming", "store", "blob", "back", ""
    };

    for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++) {
        char path[160];

        (void)snprintf(path, sizeof(path), "%s/%s", p->directory, names[i]);
        (void)remove(path);
    }
    assert_int_not_equal(access(p->directory, F_OK), 0); /* nothing else was left */
}

static void write_file(const char *path, const void *bytes, size_t size)
{
    FILE *f = fopen(path, "wb");

    assert_non_null(f);
    assert_int_equal(fwrite(bytes, 1, size, f), size);
    assert_int_equal(fclose(f), 0);
}

static void package_init(drupe_package_t *p, const char *id)
{
    memset(p, 0, sizeof(*p));
    p->struct_size = sizeof(*p);
    p->id = id;
    p->owner = "me";
    p->kind = DRUPE_PACKAGE_TELEPORT;
    p->arch = "amd64";
    p->image_version = "1.2.3";
}

static void test_round_trip(void **state)
{
    static const char blob[200000] = "begins so";
    static char read_back[sizeof(blob)];
    struct place place;
    drupe_store_t *s = NULL;
    drupe_package_t p;
    drupe_package_t *got = NULL;
    char **ids = NULL;
    size_t count = 0;
    FILE *f = NULL;

    (void)state;
    place_init(&place);
    write_file(place.blob, blob, sizeof(blob));
    assert_int_equal(drupe_store_open(place.store, NULL, &s, NULL), DRUPE_OK);
    package_init(&p, "a.b-c");
    p.blob_path = place.blob;
    assert_int_equal(drupe_store_upload(s, &p, NULL), DRUPE_OK);
    assert_int_equal(drupe_store_upload(s, &p, NULL), DRUPE_STORE_FAILED);
    assert_int_equal(drupe_store_list(s, "me", &ids, &count, NULL), DRUPE_OK);
    assert_int_equal(count, 1);
    assert_string_equal(ids[0], "a.b-c");
    drupe_store_list_free(ids, count);
    assert_int_equal(drupe_store_download(s, "a.b-c", place.back, &got, NULL), DRUPE_OK);
    assert_string_equal(got->arch, "x86_64");
    assert_int_equal(got->blob_size, sizeof(blob));
    drupe_package_free(got);
    f = fopen(place.back, "rb");
    assert_non_null(f);
    assert_int_equal(fread(read_back, 1, sizeof(read_back), f), sizeof(read_back));
    assert_int_equal(fclose(f), 0);
    assert_memory_equal(read_back, blob, sizeof(blob));
    assert_int_equal(drupe_store_delete(s, "a.b-c", NULL), DRUPE_OK);
    assert_int_equal(drupe_store_delete(s, "a.b-c", NULL), DRUPE_STORE_NOT_FOUND);
    drupe_store_close(s);
    place_deinit(&place);
}

static void test_refusals(void **state)
{
    static const char *const ids[] = { "", ".hidden", "a/b", "..", "a b", NULL };
    struct place place;
    drupe_store_t *s = NULL;
    drupe_package_t p;
    struct drupe_error err;

    (void)state;
    place_init(&place);
    assert_int_equal(drupe_store_open(place.store, NULL, &s, NULL), DRUPE_OK);
    for (size_t i = 0; i < sizeof(ids) / sizeof(ids[0]); i++) {
        package_init(&p, ids[i]);
        assert_int_equal(drupe_store_upload(s, &p, &err), DRUPE_CONFIG_INVALID);
        assert_string_equal(err.field, "id");
    }
    package_init(&p, "x");
    p.arch = "mips";
    assert_int_equal(drupe_store_upload(s, &p, &err), DRUPE_CONFIG_INVALID);
    assert_string_equal(err.field, "arch");
    package_init(&p, "x");
    p.image_version = "latest";
    assert_int_equal(drupe_store_upload(s, &p, &err), DRUPE_CONFIG_INVALID);
    package_init(&p, "x");
    p.kind = DRUPE_PACKAGE_CHECKPOINT;
    p.blob_path = place.blob;
    assert_int_equal(drupe_store_upload(s, &p, &err), DRUPE_CONFIG_INVALID);
    assert_string_equal(err.field, "blob_path");
    package_init(&p, "x");
    p.blob_path = place.blob;
    assert_int_equal(drupe_store_upload(s, &p, &err), DRUPE_NOT_FOUND);
    drupe_store_close(s);
    place_deinit(&place);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_round_trip),
        cmocka_unit_test(test_refusals),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
