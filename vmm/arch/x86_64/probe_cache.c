/* SPDX-License-Identifier: Apache-2.0 */
#include "arch/x86_64/probe_cache.h"

#include <cpuid.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/utsname.h>
#include <unistd.h>

#include <base/fmt.h>

#include "arch/x86_64/probe_table.h"

#define LINE_SIZE_MAX 96u
#define PATH_SIZE_MAX 4096u
#define FORMAT_NAME   "drupe-probe-1"

/* FNV-1a: the key only has to differ when the host does. */
static uint64_t hash_bytes(uint64_t hash, const void *bytes, size_t size)
{
    const uint8_t *p = bytes;

    for (size_t i = 0; i < size; i++) {
        hash = (hash ^ p[i]) * UINT64_C(0x100000001b3);
    }
    return hash;
}

static uint64_t hash_cpu(uint64_t hash)
{
    static const uint32_t leaves[] = { 0, 1, 7, 0x80000001 };

    for (size_t i = 0; i < array_size(leaves); i++) {
        uint32_t r[4] = { 0 };

        if (__get_cpuid_count(leaves[i], 0, &r[0], &r[1], &r[2], &r[3]) != 0) {
            r[1] = leaves[i] == 1 ? 0 : r[1]; /* the APIC id of whichever CPU we are on */
            hash = hash_bytes(hash, r, sizeof(r));
        }
    }
    return hash;
}

/* The same kernel may run KVM over different hardware interfaces. */
static uint64_t hash_modules(uint64_t hash)
{
    static const char *const modules[] = { "/sys/module/kvm_intel", "/sys/module/kvm_amd",
                                           "/sys/module/kvm_pvm" };

    for (size_t i = 0; i < array_size(modules); i++) {
        uint8_t is_there = access(modules[i], F_OK) == 0;

        hash = hash_bytes(hash, &is_there, sizeof(is_there));
    }
    return hash;
}

void probe_cache_key(struct probe_cache_key *key)
{
    uint64_t hash = UINT64_C(0xcbf29ce484222325);
    uint32_t version = PROBE_TABLE_VERSION;
    struct utsname names;

    hash = hash_bytes(hash, &version, sizeof(version));
    if (uname(&names) == 0) {
        hash = hash_bytes(hash, names.release, strlen(names.release));
        hash = hash_bytes(hash, names.version, strlen(names.version));
    }
    hash = hash_modules(hash_cpu(hash));
    (void)fmt_snprintf(key->hex, sizeof(key->hex), "%016llx", (unsigned long long)hash);
}

size_t probe_cache_format(const struct probe_cache_key *key, const struct probe_result *p,
                          char *line, size_t size)
{
    return fmt_snprintf(line, size, FORMAT_NAME " %s %08x %c\n", key->hex, p->works,
                        p->is_ring0_emulated ? 'e' : 'n');
}

bool probe_cache_parse(const struct probe_cache_key *key, const char *line, size_t size,
                       struct probe_result *out)
{
    char expected[LINE_SIZE_MAX];
    struct probe_result p = { .is_valid = true };
    size_t at = sizeof(FORMAT_NAME) + sizeof(key->hex); /* where the mask begins */
    size_t length = 0;

    if (size < at + 8 + 3) {
        return false;
    }
    for (size_t i = at; i < at + 8; i++) {
        char c = line[i];
        uint32_t digit = 0;

        if (c >= '0' && c <= '9') {
            digit = (uint32_t)(c - '0');
        } else if (c >= 'a' && c <= 'f') {
            digit = (uint32_t)(c - 'a') + 10;
        } else {
            return false;
        }
        p.works = p.works << 4 | digit;
    }
    p.is_ring0_emulated = line[at + 9] == 'e';
    /* What we would have written for that must be what is there, to the last byte. */
    length = probe_cache_format(key, &p, expected, sizeof(expected));
    if (length != size || memcmp(expected, line, size) != 0) {
        return false;
    }
    *out = p;
    return true;
}

/* False when there is no usable home for a cache. */
static bool cache_directory(char *path, size_t size)
{
    const char *base = getenv("XDG_CACHE_HOME");

    if (base != NULL && base[0] == '/') {
        return fmt_snprintf(path, size, "%s/drupe", base) < size;
    }
    base = getenv("HOME");
    return base != NULL && base[0] == '/' &&
           fmt_snprintf(path, size, "%s/.cache/drupe", base) < size;
}

static bool is_trustworthy(int fd)
{
    struct stat st;

    return fstat(fd, &st) == 0 && S_ISREG(st.st_mode) && st.st_uid == geteuid() &&
           (st.st_mode & (S_IWGRP | S_IWOTH)) == 0 && st.st_size > 0 &&
           st.st_size < (off_t)LINE_SIZE_MAX;
}

bool probe_cache_load(const struct probe_cache_key *key, struct probe_result *out)
{
    char path[PATH_SIZE_MAX];
    char line[LINE_SIZE_MAX];
    ssize_t n = -1;
    int dir = -1;
    int fd = -1;

    if (!cache_directory(path, sizeof(path))) {
        return false;
    }
    dir = open(path, O_PATH | O_DIRECTORY | O_CLOEXEC);
    if (dir < 0) {
        return false;
    }
    fd = openat(dir, "probe", O_RDONLY | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC);
    (void)close(dir);
    if (fd < 0) {
        return false;
    }
    if (is_trustworthy(fd)) {
        n = read(fd, line, sizeof(line));
    }
    (void)close(fd);
    return n > 0 && probe_cache_parse(key, line, (size_t)n, out);
}

/* mkdir -p for the last two levels; a parent that can't be made shows when the last can't be
 * opened. */
static int open_directory(char *path)
{
    char *slash = strrchr(path, '/');

    *slash = '\0';
    (void)mkdir(path, 0700);
    *slash = '/';
    (void)mkdir(path, 0700);
    return open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
}

void probe_cache_store(const struct probe_cache_key *key, const struct probe_result *p)
{
    char path[PATH_SIZE_MAX];
    char line[LINE_SIZE_MAX];
    char temporary[32];
    size_t length = probe_cache_format(key, p, line, sizeof(line));
    int dir = -1;
    int fd = -1;

    if (!cache_directory(path, sizeof(path))) {
        return;
    }
    dir = open_directory(path);
    if (dir < 0) {
        return;
    }
    /* Under a name of its own, then renamed: a reader sees the old or the new file. */
    (void)fmt_snprintf(temporary, sizeof(temporary), "probe.%d", (int)getpid());
    fd = openat(dir, temporary, O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, 0600);
    if (fd >= 0) {
        bool is_written = write(fd, line, length) == (ssize_t)length;

        (void)close(fd);
        if (!is_written || renameat(dir, temporary, dir, "probe") < 0) {
            (void)unlinkat(dir, temporary, 0);
        }
    }
    (void)close(dir);
}
