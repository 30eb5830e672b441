/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A package's record: the rules for its fields, and its text in the file: lines "name=value", each
 * ended by a NUL, in a fixed order, `env` repeated.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include <base/checked.h>
#include <base/fmt.h>

#include "error.h"
#include "store/store_internal.h"

#define LINES_MAX 512u

static const char *const kind_names[] = { "suspend", "teleport", "checkpoint" };

const char *arch_canonical(const char *arch)
{
    if (arch == NULL) {
        return NULL;
    }
    if (strcmp(arch, "x86_64") == 0 || strcmp(arch, "amd64") == 0) {
        return "x86_64";
    }
    if (strcmp(arch, "aarch64") == 0 || strcmp(arch, "arm64") == 0) {
        return "aarch64";
    }
    return NULL;
}

static bool is_id(const char *id)
{
    size_t length = id == NULL ? 0 : strnlen(id, DRUPE_PACKAGE_ID_SIZE_MAX + 1);

    if (length == 0 || length > DRUPE_PACKAGE_ID_SIZE_MAX || id[0] == '.') {
        return false;
    }
    for (size_t i = 0; i < length; i++) {
        char c = id[i];

        if (!((c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') ||
              c == '.' || c == '_' || c == '-')) {
            return false;
        }
    }
    return true;
}

drupe_vm_err_t store_check_id(const char *field, const char *id, struct drupe_error *err)
{
    if (!is_id(id)) {
        return error_field(err, field, "%s must be 1 to %u of [A-Za-z0-9._-], not '.' first", field,
                           DRUPE_PACKAGE_ID_SIZE_MAX);
    }
    return DRUPE_OK;
}

static drupe_vm_err_t check_env(const char *const *env, struct drupe_error *err)
{
    for (size_t i = 0; env != NULL && env[i] != NULL; i++) {
        const char *equals = strchr(env[i], '=');

        if (i == DRUPE_ENV_COUNT_MAX) {
            return error_field(err, "env", "env has more than %u entries", DRUPE_ENV_COUNT_MAX);
        }
        if (equals == NULL || equals == env[i]) {
            return error_field(err, "env", "entry %zu of env is not NAME=value", i);
        }
    }
    return DRUPE_OK;
}

drupe_vm_err_t package_check(const struct drupe_store *s, const drupe_package_t *p,
                             struct drupe_error *err)
{
    bool unused = false;
    drupe_vm_err_t r = DRUPE_OK;

    if (p->struct_size != sizeof(*p)) {
        return error_field(err, "struct_size", "a package of %zu bytes, not %zu", p->struct_size,
                           sizeof(*p));
    }
    r = store_check_id("id", p->id, err);
    if (r == DRUPE_OK) {
        r = store_check_id("owner", p->owner, err);
    }
    if (r == DRUPE_OK && (unsigned)p->kind > (unsigned)DRUPE_PACKAGE_CHECKPOINT) {
        r = error_field(err, "kind", "%u is no kind of package", (unsigned)p->kind);
    }
    if (r == DRUPE_OK && arch_canonical(p->arch) == NULL) {
        r = error_field(err, "arch", "arch must be x86_64 or aarch64");
    }
    if (r == DRUPE_OK &&
        drupe_image_version_check(p->image_version, p->image_version, &unused, NULL) != DRUPE_OK) {
        r = error_field(err, "image_version", "image_version is not MAJOR.MINOR.PATCH");
    }
    if (r == DRUPE_OK && p->kind == DRUPE_PACKAGE_CHECKPOINT && p->blob_path != NULL) {
        r = error_field(err, "blob_path", "a checkpoint holds no VM");
    }
    if (r == DRUPE_OK && p->workspace != NULL &&
        strnlen(p->workspace, DRUPE_WORKSPACE_SIZE_MAX + 1) > DRUPE_WORKSPACE_SIZE_MAX) {
        r = error_field(err, "workspace", "workspace is longer than %u bytes",
                        DRUPE_WORKSPACE_SIZE_MAX);
    }
    if (r == DRUPE_OK && p->app_state_size > DRUPE_APP_STATE_SIZE_MAX) {
        r = error_set(err, DRUPE_STORE_TOO_LARGE, 0, "application state of %zu bytes; at most %llu",
                      p->app_state_size, (unsigned long long)DRUPE_APP_STATE_SIZE_MAX);
    }
    if (r == DRUPE_OK && p->app_state_size > s->package_size_max) {
        r = error_set(err, DRUPE_STORE_TOO_LARGE, 0, "a package of more than %llu bytes",
                      (unsigned long long)s->package_size_max);
    }
    return r == DRUPE_OK ? check_env(p->env, err) : r;
}

/* ---- To text ---- */

struct text {
    char *bytes;
    size_t size;
    size_t room;
    bool has_failed;
};

static void add_line(struct text *t, const char *name, const char *value)
{
    size_t size = strlen(name) + strlen(value) + 2;

    if (t->has_failed || size > METADATA_SIZE_MAX - t->size) {
        t->has_failed = true;
        return;
    }
    if (t->size + size > t->room) {
        size_t room = max_of(t->room * 2, t->size + size);
        char *bigger = realloc(t->bytes, room);

        if (bigger == NULL) {
            t->has_failed = true;
            return;
        }
        t->bytes = bigger;
        t->room = room;
    }
    (void)fmt_snprintf(t->bytes + t->size, size, "%s=%s", name, value);
    t->size += size;
}

char *metadata_write(const drupe_package_t *p, size_t *size)
{
    struct text t = { .bytes = NULL };
    char number[24];

    (void)fmt_snprintf(number, sizeof(number), "%llu", (unsigned long long)p->created_ms);
    add_line(&t, "id", p->id);
    add_line(&t, "owner", p->owner);
    add_line(&t, "kind", kind_names[p->kind]);
    add_line(&t, "arch", arch_canonical(p->arch));
    add_line(&t, "image_version", p->image_version);
    add_line(&t, "created_ms", number);
    if (p->workspace != NULL) {
        add_line(&t, "workspace", p->workspace);
    }
    for (size_t i = 0; p->env != NULL && p->env[i] != NULL; i++) {
        add_line(&t, "env", p->env[i]);
    }
    if (t.has_failed) {
        free(t.bytes);
        return NULL;
    }
    *size = t.size;
    return t.bytes;
}

/* ---- From text ---- */

/* One block: the package, the pointers of env, the text. */
struct block {
    drupe_package_t package;
    const char *env[DRUPE_ENV_COUNT_MAX + 1];
    char text[];
};

static const char *value_of(const char *line, const char *name)
{
    size_t length = strlen(name);

    return strncmp(line, name, length) == 0 && line[length] == '=' ? line + length + 1 : NULL;
}

static bool read_u64(const char *text, uint64_t *out)
{
    uint64_t n = 0;

    for (; *text >= '0' && *text <= '9'; text++) {
        if (!checked_mul(n, UINT64_C(10), &n) || !checked_add(n, (uint64_t)(*text - '0'), &n)) {
            return false;
        }
    }
    *out = n;
    return *text == '\0';
}

static bool read_kind(const char *text, enum drupe_package_kind *out)
{
    for (unsigned i = 0; i < array_size(kind_names); i++) {
        if (strcmp(text, kind_names[i]) == 0) {
            *out = (enum drupe_package_kind)i;
            return true;
        }
    }
    return false;
}

static bool take_line(struct block *b, const char *line, size_t *env_count)
{
    drupe_package_t *p = &b->package;
    const char *value = NULL;

    if ((value = value_of(line, "id")) != NULL) {
        p->id = value;
    } else if ((value = value_of(line, "owner")) != NULL) {
        p->owner = value;
    } else if ((value = value_of(line, "kind")) != NULL) {
        return read_kind(value, &p->kind);
    } else if ((value = value_of(line, "arch")) != NULL) {
        p->arch = arch_canonical(value);
    } else if ((value = value_of(line, "image_version")) != NULL) {
        p->image_version = value;
    } else if ((value = value_of(line, "created_ms")) != NULL) {
        return read_u64(value, &p->created_ms);
    } else if ((value = value_of(line, "workspace")) != NULL) {
        p->workspace = value;
    } else if ((value = value_of(line, "env")) != NULL && *env_count < DRUPE_ENV_COUNT_MAX) {
        b->env[(*env_count)++] = value;
    } else {
        return false;
    }
    return true;
}

static bool take_lines(struct block *b, size_t size)
{
    size_t env_count = 0;
    size_t at = 0;

    if (size == 0 || b->text[size - 1] != '\0') {
        return false;
    }
    while (at < size) {
        if (!take_line(b, b->text + at, &env_count)) {
            return false;
        }
        at += strlen(b->text + at) + 1;
    }
    b->package.env = b->env;
    return true;
}

drupe_vm_err_t metadata_read(const char *id, const char *bytes, size_t size, drupe_package_t **out,
                             struct drupe_error *err)
{
    static const struct drupe_store any = { .package_size_max = DRUPE_PACKAGE_SIZE_MAX };
    struct block *b = calloc(1, sizeof(*b) + size);

    if (b == NULL) {
        return error_set(err, DRUPE_NO_MEMORY, ENOMEM, "read package %s", id);
    }
    memcpy(b->text, bytes, size);
    b->package.struct_size = sizeof(b->package);
    if (!take_lines(b, size) || package_check(&any, &b->package, NULL) != DRUPE_OK ||
        b->package.id == NULL || strcmp(b->package.id, id) != 0) {
        free(b);
        return error_set(err, DRUPE_SNAPSHOT_CORRUPTED, 0, "package %s: its metadata make no sense",
                         id);
    }
    *out = &b->package;
    return DRUPE_OK;
}

void drupe_package_free(drupe_package_t *package)
{
    if (package != NULL) {
        free((void *)(uintptr_t)package->app_state);
        free((void *)(uintptr_t)package->blob_path);
        free(container_of(package, struct block, package));
    }
}
