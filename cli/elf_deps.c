/* SPDX-License-Identifier: Apache-2.0 */
/* The closure of a program over its libraries, by ld.so's rules; see elf_deps.h. */

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <base/bytes.h>
#include <base/checked.h>

#include "elf_deps.h"

#define FILES_MAX         1024u
#define LD_CACHE          "/etc/ld.so.cache"
#define LD_CACHE_SIZE_MAX ((size_t)64 << 20)
#define LD_CACHE_MAGIC    "glibc-ld.so.cache1.1"
#define LD_CACHE_HEADER   48u
#define LD_CACHE_ENTRY    24u

/* Directories that the guest's loader searches by itself. The first is Debian's for this CPU. */
#if defined(__x86_64__)
#define MULTIARCH "x86_64-linux-gnu"
#elif defined(__aarch64__)
#define MULTIARCH "aarch64-linux-gnu"
#endif

static const char *const default_dirs[] = {
    "/lib/" MULTIARCH, "/usr/lib/" MULTIARCH, "/lib64", "/usr/lib64", "/lib", "/usr/lib",
};

struct closure {
    struct elf_files *out;
    struct buffer ld_cache; /* /etc/ld.so.cache, empty when it cannot be used */
    char *program_rpath;    /* an old-style RPATH of the program holds for its libraries, too */
    char *program_dir;
    char *error;
    size_t error_size;
};

/* ---- Search ------------------------------------------------------------------------------------
 */

/* Is it a library for this CPU? ld.so passes over others. */
static bool is_usable(const char *path)
{
    CLEANUP_FD fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
    struct elf_info info;

    if (fd < 0 || elf_read(fd, &info) != NULL) {
        return false;
    }
    elf_info_free(&info);
    return true;
}

static char *dir_of(const char *path)
{
    const char *slash = strrchr(path, '/');

    return slash == path ? text_copy("/") : text_copy_sized(path, (size_t)(slash - path));
}

/* Replace $ORIGIN and ${ORIGIN}; other tokens ($LIB, $PLATFORM) make the entry unusable. NULL then.
 */
static char *expand_origin(const char *dir, size_t size, const char *origin)
{
    CLEANUP_FREE char *text = text_copy_sized(dir, size);
    const char *rest = text;

    if (text[0] != '$') {
        return text[0] == '/' && !strchr(text, '$') ? text_copy(text) : NULL;
    }
    if (strncmp(text, "$ORIGIN", 7) == 0) {
        rest += 7;
    } else if (strncmp(text, "${ORIGIN}", 9) == 0) {
        rest += 9;
    } else {
        return NULL;
    }
    return *rest == '\0' || (*rest == '/' && !strchr(rest, '$')) ? text_format("%s%s", origin, rest)
                                                                 : NULL;
}

static char *search_path_list(const char *list, const char *origin, const char *name)
{
    while (list && *list) {
        size_t size = strcspn(list, ":");
        CLEANUP_FREE char *dir = expand_origin(list, size, origin);
        char *candidate = dir ? path_join(dir, name) : NULL;

        if (candidate && is_usable(candidate)) {
            return candidate;
        }
        free(candidate);
        list += size + (list[size] == ':');
    }
    return NULL;
}

/*
 * The host's library cache: a header (magic, count, size of the strings), entries of 24 bytes
 * (flags, offsets of name and path from the file's start), the strings. Whatever does not add up is
 * passed over.
 */
static const char *ld_cache_text(const struct buffer *b, uint32_t offset)
{
    if (offset >= b->size || !memchr(b->data + offset, '\0', b->size - offset)) {
        return NULL;
    }
    return b->data + offset;
}

static char *search_ld_cache(const struct buffer *b, const char *name)
{
    uint32_t count = 0;

    if (b->size < LD_CACHE_HEADER || memcmp(b->data, LD_CACHE_MAGIC, strlen(LD_CACHE_MAGIC)) != 0) {
        return NULL;
    }
    count = load_le32(b->data + 20);
    if (count > (b->size - LD_CACHE_HEADER) / LD_CACHE_ENTRY) {
        return NULL;
    }
    for (uint32_t i = 0; i < count; i++) {
        const char *entry = b->data + LD_CACHE_HEADER + (size_t)i * LD_CACHE_ENTRY;
        const char *found = ld_cache_text(b, load_le32(entry + 4));
        const char *path = ld_cache_text(b, load_le32(entry + 8));

        if (found && path && path[0] == '/' && strcmp(found, name) == 0 && is_usable(path)) {
            return text_copy(path);
        }
    }
    return NULL;
}

static char *search_default(const char *name)
{
    for (size_t i = 0; i < array_size(default_dirs); i++) {
        char *candidate = path_join(default_dirs[i], name);

        if (is_usable(candidate)) {
            return candidate;
        }
        free(candidate);
    }
    return NULL;
}

static bool is_in_default_dir(const char *path)
{
    CLEANUP_FREE char *dir = dir_of(path);

    for (size_t i = 0; i < array_size(default_dirs); i++) {
        if (strcmp(dir, default_dirs[i]) == 0) {
            return true;
        }
    }
    return false;
}

static char *find_library(struct closure *c, const struct elf_info *user, const char *user_path,
                          const char *name)
{
    CLEANUP_FREE char *origin = dir_of(user_path);
    char *path = NULL;

    if (strchr(name, '/')) {
        return name[0] == '/' && is_usable(name) ? text_copy(name) : NULL;
    }
    if (!user->runpath) {
        path = search_path_list(user->rpath, origin, name);
        path = path ? path : search_path_list(c->program_rpath, c->program_dir, name);
    }
    path = path ? path : search_path_list(user->runpath, origin, name);
    if (path) {
        return path;
    }
    path = search_ld_cache(&c->ld_cache, name);
    path = path ? path : search_default(name);
    if (path && !is_in_default_dir(path) && !strings_has(&c->out->links, path)) {
        strings_add(&c->out->links, path);
    }
    return path;
}

/* ---- Closure -----------------------------------------------------------------------------------
 */

static bool add_path(struct closure *c, const char *path)
{
    if (c->out->paths.count >= FILES_MAX) {
        return false;
    }
    if (!strings_has(&c->out->paths, path)) {
        strings_add(&c->out->paths, path);
    }
    return true;
}

static const char *add_needs(struct closure *c, const struct elf_info *info, const char *path)
{
    for (size_t i = 0; i < info->needed.count; i++) {
        CLEANUP_FREE char *library = find_library(c, info, path, info->needed.items[i]);

        if (!library) {
            (void)snprintf(c->error, c->error_size,
                           "it needs the library %s, which this host does not have",
                           info->needed.items[i]);
            return c->error;
        }
        if (!add_path(c, library)) {
            return "it needs too many libraries";
        }
    }
    return NULL;
}

static const char *visit(struct closure *c, size_t index)
{
    CLEANUP_FREE char *path = text_copy(c->out->paths.items[index]);
    CLEANUP_FD fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK | O_NOCTTY);
    struct elf_info info;

    if (fd < 0) {
        (void)snprintf(c->error, c->error_size, index ? "%s: %s" : "%.0s%s", path, strerror(errno));
        return c->error;
    }
    const char *why = elf_read(fd, &info);

    if (why) {
        return why;
    }
    if (index == 0 && info.kind == ELF_KIND_LIBRARY) {
        why = "a shared library, not a program";
    } else if (index == 0 && info.rpath && !info.runpath) {
        c->program_rpath = text_copy(info.rpath);
    }
    if (!why && info.interpreter && !add_path(c, info.interpreter)) {
        why = "it needs too many libraries";
    }
    if (!why) {
        why = add_needs(c, &info, path);
    }
    /* glibc opens this one by itself, when a thread is cancelled or exits. */
    if (!why && index == 0 && info.kind == ELF_KIND_DYNAMIC) {
        CLEANUP_FREE char *unwinder = search_default("libgcc_s.so.1");

        (void)(unwinder && add_path(c, unwinder));
    }
    elf_info_free(&info);
    return why;
}

/* NOLINTNEXTLINE(readability-non-const-parameter): `error` is written through the closure. */
const char *elf_closure(const char *path, struct elf_files *out, char *error, size_t error_size)
{
    struct closure c = { .out = out, .error = error, .error_size = error_size };
    const char *why = NULL;

    *out = (struct elf_files){ 0 };
    if (file_read(LD_CACHE, LD_CACHE_SIZE_MAX, &c.ld_cache) < 0) {
        buffer_free(&c.ld_cache);
    }
    c.program_dir = dir_of(path);
    strings_add(&out->paths, path);
    /* The list grows while it is walked. */
    for (size_t i = 0; i < out->paths.count && !why; i++) {
        why = visit(&c, i);
    }
    buffer_free(&c.ld_cache);
    free(c.program_rpath);
    free(c.program_dir);
    if (why) {
        elf_files_free(out);
    }
    return why;
}

void elf_files_free(struct elf_files *f)
{
    strings_free(&f->paths);
    strings_free(&f->links);
}
