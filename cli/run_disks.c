/* SPDX-License-Identifier: Apache-2.0 */
/* Disks, from files and in memory. */

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "cli.h"
#include "run_internal.h"

#define SCRATCH_MIB_MAX (UINT64_C(1) << 20)

static int add_disk(struct job *j, const char *verb, const struct drupe_disk *d)
{
    if (j->disk_count == DRUPE_DISKS_MAX) {
        free((char *)(uintptr_t)d->path);
        return complain(STATUS_USAGE, "%s: more than %u disks", verb, DRUPE_DISKS_MAX);
    }
    j->disks[j->disk_count++] = *d;
    return 0;
}

/* The text's first *size characters end in `suffix` behind something else: leave it out. */
static bool cut_suffix(const char *text, size_t *size, const char *suffix)
{
    const size_t n = strlen(suffix);

    if (*size <= n || memcmp(text + *size - n, suffix, n) != 0) {
        return false;
    }
    *size -= n;
    return true;
}

static int add_file(struct job *j, const char *verb, const char *text)
{
    size_t size = strlen(text);
    const bool is_direct = cut_suffix(text, &size, ":direct");
    const bool is_read_only = cut_suffix(text, &size, ":ro");
    char *path = text_copy_sized(text, size);

    if (access(path, is_read_only ? R_OK : R_OK | W_OK) < 0) {
        int status = complain(STATUS_FAILED, "%s: --disk %s: %s", verb, path, strerror(errno));

        free(path);
        return status;
    }
    return add_disk(
        j, verb,
        &(struct drupe_disk){ .path = path, .is_read_only = is_read_only, .is_direct = is_direct });
}

static int add_scratch(struct job *j, const char *text)
{
    char *end = NULL;
    unsigned long long mib = strtoull(text, &end, 10);

    if (text[0] < '0' || text[0] > '9' || *end != '\0' || mib < 1 || mib > SCRATCH_MIB_MAX) {
        return complain(STATUS_USAGE, "%s: --scratch %s: give MiB, 1 to %llu", verb_running(), text,
                        (unsigned long long)SCRATCH_MIB_MAX);
    }
    return add_disk(j, "run", &(struct drupe_disk){ .memory_size = (uint64_t)mib << 20 });
}

int job_add_files(struct job *j, const char *verb, const struct strings *disks)
{
    int status = 0;

    for (size_t i = 0; status == 0 && i < disks->count; i++) {
        status = add_file(j, verb, disks->items[i]);
    }
    return status;
}

int job_add_disks(struct job *j, const struct run_options *o)
{
    int status = job_add_files(j, "run", &o->disks);

    for (size_t i = 0; status == 0 && i < o->scratch.count; i++) {
        status = add_scratch(j, o->scratch.items[i]);
    }
    return status;
}

void job_free_disks(struct job *j)
{
    for (unsigned i = 0; i < j->disk_count; i++) {
        free((char *)(uintptr_t)j->disks[i].path);
    }
}
