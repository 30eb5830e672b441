/* SPDX-License-Identifier: Apache-2.0 */
/*
 * env/ukernel.lock: what env.packages resolved to. TOML, so that one parser reads all our files:
 *
 *     wanted = ["python3"]
 *     [[package]]
 *     name = "libc6"
 *     version = "2.36-9+deb12u14"
 *     architecture = "amd64"
 *     sha256 = "..."
 */

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "../cli.h"
#include "../toml.h"
#include "pack.h"

#define LOCK_SIZE_MAX ((size_t)1 << 20)

int lock_write(const struct strings *names, const struct packages *p)
{
    CLEANUP_BUFFER text = { 0 };
    int err = dirs_make("env", 0755);

    buffer_add_text(
        &text, "# Written by drupe pack; keep it with the sources. drupe pack --locked uses it.\n"
               "wanted = [");
    for (size_t i = 0; i < names->count; i++) {
        buffer_format(&text, "%s\"%s\"", i ? ", " : "", names->items[i]);
    }
    buffer_add_text(&text, "]\n");
    for (size_t i = 0; i < p->count; i++) {
        const struct package *item = &p->items[i];

        buffer_format(&text,
                      "\n[[package]]\nname = \"%s\"\nversion = \"%s\"\narchitecture = \"%s\"\n"
                      "sha256 = \"%s\"\n",
                      item->name, item->version, item->architecture, item->digest);
    }
    if (err == 0) {
        err = file_replace(LOCK_PATH, text.data, text.size, 0644);
    }
    return err < 0 ? complain(STATUS_FAILED, "pack: %s: cannot be written: %s", LOCK_PATH,
                              strerror(-err))
                   : 0;
}

/* The text of a key, only with bytes that Debian allows in names and versions; NULL otherwise. */
static const char *plain_text(const struct toml_table *t, const char *key)
{
    const struct toml_entry *e = toml_find(t, key);

    if (!e || e->value.type != TOML_STRING || e->value.text.size == 0 ||
        e->value.text.data[0] == '-' || e->value.text.size > 255) {
        return NULL;
    }
    size_t plain = strspn(e->value.text.data, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ"
                                              "0123456789+-.:~");

    return plain == e->value.text.size ? e->value.text.data : NULL;
}

static int refuse_lock(uint32_t line, const char *what)
{
    return complain(STATUS_USAGE, "%s:%u: %s; pack without --locked to write it anew", LOCK_PATH,
                    line, what);
}

static int read_package(const struct toml_value *v, struct packages *out)
{
    struct package p = { 0 };

    if (v->type != TOML_TABLE) {
        return refuse_lock(v->line, "expected a table");
    }
    const char *name = plain_text(v->table, "name");
    const char *version = plain_text(v->table, "version");
    const char *architecture = plain_text(v->table, "architecture");
    const char *digest = plain_text(v->table, "sha256");

    if (!name || !version || !architecture || !digest || strlen(digest) != DIGEST_TEXT_SIZE - 1) {
        return refuse_lock(v->line, "a package needs name, version, architecture and sha256");
    }
    p.name = text_copy(name);
    p.version = text_copy(version);
    p.architecture = text_copy(architecture);
    memcpy(p.digest, digest, DIGEST_TEXT_SIZE);
    out->items = alloc_resized(out->items, out->count + 1, sizeof(p));
    out->items[out->count++] = p;
    return 0;
}

static bool is_made_for(const struct toml_table *root, const struct strings *names)
{
    const struct toml_entry *e = toml_find(root, "wanted");

    if (!e || e->value.type != TOML_ARRAY || e->value.array->count != names->count) {
        return false;
    }
    for (size_t i = 0; i < names->count; i++) {
        const struct toml_value *v = &e->value.array->values[i];

        if (v->type != TOML_STRING || strcmp(v->text.data, names->items[i]) != 0) {
            return false;
        }
    }
    return true;
}

static int read_document(const struct toml_table *root, const struct strings *names,
                         struct packages *out)
{
    const struct toml_entry *list = toml_find(root, "package");

    if (!is_made_for(root, names)) {
        return refuse_lock(1, "made for other packages than env.packages names");
    }
    if (!list || list->value.type != TOML_ARRAY) {
        return refuse_lock(1, "holds no packages");
    }
    int status = 0;

    for (size_t i = 0; i < list->value.array->count && status == 0; i++) {
        status = read_package(&list->value.array->values[i], out);
    }
    return status;
}

int lock_read(const struct strings *names, struct packages *out)
{
    CLEANUP_BUFFER text = { 0 };
    struct toml_error error;
    int err = file_read(LOCK_PATH, LOCK_SIZE_MAX, &text);

    if (err < 0) {
        return complain(STATUS_FAILED, "pack: --locked: %s: %s", LOCK_PATH,
                        err == -ENOENT ? "missing; pack once without --locked" : strerror(-err));
    }
    struct toml_document *doc = toml_parse(text.data, text.size, &error);

    if (!doc) {
        return refuse_lock(error.line, error.text);
    }
    int status = read_document(toml_root(doc), names, out);

    toml_free(doc);
    if (status != 0) {
        packages_free(out);
    }
    return status;
}
