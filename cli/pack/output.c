/* SPDX-License-Identifier: Apache-2.0 */
/* Write the image, hash files, and say in words why a file cannot go into an image. */

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <sha256.h>

#include "../cli.h"
#include "pack.h"

void digest_format(const uint8_t digest[EROFS_DIGEST_SIZE], char out[DIGEST_TEXT_SIZE])
{
    static const char digits[] = "0123456789abcdef";

    for (size_t i = 0; i < EROFS_DIGEST_SIZE; i++) {
        out[2 * i] = digits[digest[i] >> 4];
        out[2 * i + 1] = digits[digest[i] & 15];
    }
    out[DIGEST_TEXT_SIZE - 1] = '\0';
}

int digest_file(const char *path, char out[DIGEST_TEXT_SIZE])
{
    CLEANUP_FD fd = open(path, O_RDONLY | O_CLOEXEC);
    uint8_t digest[EROFS_DIGEST_SIZE];
    char chunk[65536];
    SHA2_CTX sha;

    if (fd < 0) {
        return -errno;
    }
    SHA256Init(&sha);
    for (;;) {
        ssize_t n = read(fd, chunk, sizeof(chunk));

        if (n < 0 && errno == EINTR) {
            continue;
        }
        if (n < 0) {
            return -errno;
        }
        if (n == 0) {
            break;
        }
        SHA256Update(&sha, (const uint8_t *)chunk, (size_t)n);
    }
    SHA256Final(digest, &sha);
    digest_format(digest, out);
    return 0;
}

int refuse_node(const char *origin, const char *path, int err)
{
    const char *why = strerror(-err);

    if (err == -EISDIR) {
        why = "a directory is there already";
    } else if (err == -ENOTDIR) {
        why = "a part of its path is not a directory";
    } else if (err == -EINVAL) {
        why = "not a name or a kind of file that an image can hold";
    } else if (err == -EAGAIN) {
        why = "changed while it was read; try again";
    }
    return complain(STATUS_FAILED, "%s: cannot add %s to the image: %s", origin, path, why);
}

int image_save(struct image_tree *t, const char *path, struct erofs_summary *out)
{
    CLEANUP_FREE char *temporary = text_format("%s.tmp-%d", path, (int)getpid());
    CLEANUP_FD fd = open(temporary, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC | O_NOFOLLOW, 0644);
    const struct image_node *culprit = NULL;

    if (fd < 0) {
        return complain(STATUS_FAILED, "%s: cannot be made: %s", temporary, strerror(errno));
    }
    remove_on_signal(temporary);
    int err = erofs_write(t, fd, out, &culprit);

    if (err == 0 && rename(temporary, path) < 0) {
        err = -errno;
    }
    if (err < 0) {
        (void)unlink(temporary);
    }
    remove_on_signal(NULL);
    if (err == 0) {
        return 0;
    }
    if (culprit) {
        return refuse_node(path, culprit->source == SOURCE_FILE ? culprit->bytes : culprit->name,
                           err);
    }
    return complain(STATUS_FAILED, "%s: cannot be written: %s", path, strerror(-err));
}
