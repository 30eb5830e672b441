/* SPDX-License-Identifier: Apache-2.0 */
/* Folders of the host: -v HOST:GUEST[:ro], and a folder in the place of the image. */

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "cli.h"
#include "run_internal.h"

#define ROOT_TAG "root"

/* The text without its last ":ro"; true if there was one. */
static bool cut_read_only(char *text)
{
    const size_t size = strlen(text);

    if (size <= 3 || strcmp(text + size - 3, ":ro") != 0) {
        return false;
    }
    text[size - 3] = '\0';
    return true;
}

static int check_directory(const char *verb, const char *option, const char *path)
{
    struct stat st;

    if (stat(path, &st) < 0) {
        return complain(STATUS_FAILED, "%s: %s %s: %s", verb, option, path, strerror(errno));
    }
    if (!S_ISDIR(st.st_mode)) {
        return complain(STATUS_FAILED, "%s: %s %s: not a folder", verb, option, path);
    }
    return 0;
}

int job_share(struct job *j, const char *verb, const char *host, const char *tag, const char *guest,
              bool is_read_only)
{
    struct drupe_share *share;

    if (j->share_count == DRUPE_SHARES_MAX) {
        return complain(STATUS_USAGE, "%s: more than %u shared folders", verb, DRUPE_SHARES_MAX);
    }
    share = &j->shares[j->share_count++];
    share->host_path = text_copy(host);
    share->tag = text_copy(tag);
    share->guest_path = text_copy(guest);
    share->is_read_only = is_read_only;
    return 0;
}

/* The guest's path is the text behind the last colon: folders of the host may hold colons. */
static int add_volume(struct job *j, const char *verb, const char *option)
{
    CLEANUP_FREE char *text = text_copy(option);
    CLEANUP_FREE char *tag = text_format("share%u", j->share_count);
    const bool is_read_only = cut_read_only(text);
    char *colon = strrchr(text, ':');
    int status;

    if (!colon || colon == text || colon[1] != '/' || strspn(colon + 1, "/") == strlen(colon + 1)) {
        return complain(STATUS_USAGE,
                        "%s: -v %s: give HOST:GUEST or HOST:GUEST:ro, GUEST beginning with / and "
                        "not / itself",
                        verb, option);
    }
    *colon = '\0';
    status = check_directory(verb, "-v", text);
    return status != 0 ? status : job_share(j, verb, text, tag, colon + 1, is_read_only);
}

int job_share_volumes(struct job *j, const char *verb, const struct strings *volumes)
{
    int status = 0;

    for (size_t i = 0; status == 0 && i < volumes->count; i++) {
        status = add_volume(j, verb, volumes->items[i]);
    }
    return status;
}

int job_share_root(struct job *j)
{
    CLEANUP_FREE char *path = text_copy(j->image ? j->image : "");
    bool is_read_only = false;
    struct stat st;

    if (stat(path, &st) < 0 && errno == ENOENT) {
        is_read_only = cut_read_only(path);
    }
    if (stat(path, &st) < 0 || !S_ISDIR(st.st_mode)) {
        return 0; /* an image, or an error that opening it tells */
    }
    free(j->image);
    j->image = NULL;
    return job_share(j, "run", path, ROOT_TAG, "/", is_read_only);
}

void job_free_shares(struct job *j)
{
    for (unsigned i = 0; i < j->share_count; i++) {
        /* Ours: made by job_share(). */
        free((char *)(uintptr_t)j->shares[i].host_path);
        free((char *)(uintptr_t)j->shares[i].tag);
        free((char *)(uintptr_t)j->shares[i].guest_path);
    }
    j->share_count = 0;
}
