/* SPDX-License-Identifier: Apache-2.0 */
#include "store_check.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

#include <base/bytes.h>
#include <base/sha256.h>

#include "file.h"
#include "internal.h"

#define HEAD_SIZE      128u
#define STORE_LIMIT_NS (120u * SIM_NS_PER_SEC)
#define SLOW_NS        (30u * SIM_NS_PER_SEC)

static uint64_t seen_generation;
static bool are_hashes_checked;
static bool is_shared_store;
static uint64_t known[4096]; /* versions of files that were found whole */

/* ---- I6, from the file format's description ---- */

static bool is_hash_of(const uint8_t *stored, const uint8_t *bytes, size_t size)
{
    uint8_t digest[SHA256_SIZE];

    sha256(bytes, size, digest);
    return memcmp(digest, stored, sizeof(digest)) == 0;
}

/* The blob's hash: pieces of 64 KiB with their offsets, without those that are zero. */
static bool is_blob_hash_of(const uint8_t *stored, const uint8_t *bytes, size_t size)
{
    static const uint8_t zeros[65536];
    uint8_t digest[SHA256_SIZE];
    uint8_t place[8];
    struct sha256 sha;

    sha256_init(&sha);
    for (size_t at = 0; at < size; at += sizeof(zeros)) {
        size_t n = min_of(size - at, sizeof(zeros));

        if (memcmp(bytes + at, zeros, n) != 0) {
            store_le64(place, at);
            sha256_add(&sha, place, sizeof(place));
            sha256_add(&sha, bytes + at, n);
        }
    }
    sha256_end(&sha, digest);
    return memcmp(digest, stored, sizeof(digest)) == 0;
}

/* Looked at once for each version of its bytes. */
static bool is_known(uint64_t version)
{
    uint64_t *slot = &known[version * UINT64_C(0x9e3779b97f4a7c15) >> 52];

    if (*slot == version) {
        return true;
    }
    *slot = version;
    return false;
}

static void check_package(const char *name)
{
    char path[512];
    size_t size = 0;

    (void)snprintf(path, sizeof(path), STORE_PATH "/packages/%s", name);
    if (is_known(sim_disk_version(path))) {
        return;
    }
    uint8_t *bytes = sim_disk_get(path, &size);

    sim_check(size >= HEAD_SIZE, "I6: package %s has %zu bytes", name, size);
    uint64_t meta = load_le64(bytes + 8);
    uint64_t app = load_le64(bytes + 16);
    uint64_t blob = load_le64(bytes + 24);

    if (are_hashes_checked) {
        sim_check(load_le32(bytes) == 0x4b504c44, "I6: package %s has no header", name);
        sim_check(HEAD_SIZE + meta + app + blob == size, "I6: package %s is cut", name);
        sim_check(is_hash_of(bytes + 32, bytes + HEAD_SIZE + meta, app),
                  "I6: package %s: application state", name);
        sim_check(is_blob_hash_of(bytes + 64, bytes + HEAD_SIZE + meta + app, blob),
                  "I6: package %s: blob", name);
    }
    sim_free(bytes);
}

static void check_store(void *ctx)
{
    char name[256];

    (void)ctx;
    if (sim_disk_generation() == seen_generation) {
        return;
    }
    seen_generation = sim_disk_generation();
    for (unsigned i = 0; sim_disk_list(STORE_PATH "/packages", i, name, sizeof(name)); i++) {
        check_package(name);
    }
}

void store_watch(bool with_hashes)
{
    seen_generation = 0;
    is_shared_store = false;
    are_hashes_checked = with_hashes;
    memset(known, 0, sizeof(known));
    sim_add_checker(check_store, NULL);
}

/* ---- What scenarios need ---- */

void store_open(drupe_store_t **out, uint32_t timeout_ms)
{
    struct drupe_store_options options = { .struct_size = sizeof(options),
                                           .timeout_ms = timeout_ms };
    struct drupe_error err;
    drupe_vm_err_t r = DRUPE_OK;

    sim_faults_pause(true);
    r = drupe_store_open(STORE_PATH, &options, out, &err);
    sim_faults_pause(false);
    sim_check(r == DRUPE_OK, "open the store: %s", err.text);
}

void store_package(drupe_package_t *p, const char *id, enum drupe_package_kind kind)
{
    memset(p, 0, sizeof(*p));
    p->struct_size = sizeof(*p);
    p->id = id;
    p->owner = "owner";
    p->kind = kind;
    p->arch = "x86_64";
    p->image_version = "1.4.2";
    p->created_ms = (uint64_t)sim_wall_ns() / SIM_NS_PER_MS;
}

static void fill(uint8_t *bytes, unsigned number, size_t size)
{
    struct sim_random r;
    char name[32];

    (void)snprintf(name, sizeof(name), "blob %u", number);
    sim_random_init(&r, 1, name);
    sim_random_fill(&r, bytes, size);
}

void store_blob_file(const char *path, unsigned number, size_t size)
{
    uint8_t *bytes = sim_calloc(1, size + 1);

    fill(bytes, number, size);
    sim_disk_put(path, bytes, size, S_IFREG | 0600);
    sim_free(bytes);
}

bool store_blob_is(const char *path, unsigned number, size_t size)
{
    size_t found_size = 0;
    uint8_t *found = sim_disk_get(path, &found_size);
    uint8_t *wanted = sim_calloc(1, size + 1);

    fill(wanted, number, size);
    bool is_equal = found != NULL && found_size == size && memcmp(found, wanted, size) == 0;

    sim_free(wanted);
    sim_free(found);
    return is_equal;
}

void store_trouble(enum sim_op op, uint64_t kinds)
{
    unsigned skip = sim_random_below(sim_disk_random(), 2);

    switch (sim_fault_draw(op, kinds, NULL)) {
    case FAULT_UPLOAD_FAIL:
        sim_disk_trouble(skip + sim_random_below(sim_disk_random(), 3), EIO, 0);
        break;
    case FAULT_DOWNLOAD_FAIL:
        sim_disk_trouble(skip, EIO, 0);
        break;
    case FAULT_TELEPORT_TIMEOUT:
        sim_disk_trouble(skip, 0, SLOW_NS);
        break;
    default: /* none other is asked for */
        break;
    }
}

static drupe_vm_err_t over(const char *what, const char *id, drupe_vm_err_t r,
                           const struct drupe_error *err)
{
    sim_disk_trouble(0, 0, 0);
    sim_trace("%s %s: %s", what, id, drupe_vm_err_name(r));
    return op_watched(r, err);
}

drupe_vm_err_t sx_upload(drupe_store_t *s, const drupe_package_t *p)
{
    struct drupe_error err;

    op_watch("upload", STORE_LIMIT_NS);
    store_trouble(OP_teleport_upload, SIM_KIND(UPLOAD_FAIL) | SIM_KIND(TELEPORT_TIMEOUT));
    return over("upload", p->id, drupe_store_upload(s, p, &err), &err);
}

drupe_vm_err_t sx_download(drupe_store_t *s, const char *id, const char *blob_path,
                           drupe_package_t **out)
{
    struct drupe_error err;

    op_watch("download", STORE_LIMIT_NS);
    store_trouble(OP_teleport_download, SIM_KIND(DOWNLOAD_FAIL) | SIM_KIND(TELEPORT_TIMEOUT));
    return over("download", id, drupe_store_download(s, id, blob_path, out, &err), &err);
}

drupe_vm_err_t sx_restore(drupe_store_t *s, const char *id, const char *arch, const char *version,
                          const char *blob_path, drupe_package_t **out)
{
    struct drupe_restore_target target = { .arch = arch, .image_version = version };
    struct drupe_error err;

    if (sim_fault_draw(OP_teleport_restore_validate, SIM_KIND(ARCH_MISMATCH), NULL) !=
        SIM_FAULT_NONE) {
        target.arch = strcmp(arch, "x86_64") == 0 ? "aarch64" : "x86_64";
    }
    if (sim_fault_draw(OP_teleport_image_validate, SIM_KIND(IMAGE_MISMATCH), NULL) !=
        SIM_FAULT_NONE) {
        target.image_version = "9.0.0";
    }
    op_watch("download for restore", STORE_LIMIT_NS);
    store_trouble(OP_teleport_download, SIM_KIND(DOWNLOAD_FAIL) | SIM_KIND(TELEPORT_TIMEOUT));
    return over("restore", id,
                drupe_store_download_for_restore(s, id, &target, blob_path, out, &err), &err);
}

bool sx_lists(drupe_store_t *s, const char *id)
{
    char **ids = NULL;
    size_t count = 0;
    bool is_listed = false;
    struct drupe_error err;

    sim_faults_pause(true);
    drupe_vm_err_t r = drupe_store_list(s, NULL, &ids, &count, &err);

    sim_faults_pause(false);
    sim_check(r == DRUPE_OK, "list the store: %s", err.text);
    for (size_t i = 0; i < count; i++) {
        is_listed = is_listed || strcmp(ids[i], id) == 0;
    }
    drupe_store_list_free(ids, count);
    return is_listed;
}

void store_share(bool is_shared)
{
    is_shared_store = is_shared;
}

bool store_is_shared(void)
{
    return is_shared_store;
}
