/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Landlock by its raw system calls: from here on no file may be opened, made or removed by path but
 * below the jail's root (when it has anything) and the shared folders; no TCP port, no abstract
 * socket or signal beyond this process. The second wall behind pivot_root: a directory descriptor
 * that came along would otherwise lead to the host by "..".
 */
#include <errno.h>
#include <linux/landlock.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "jail/jail_internal.h"

/* The kernel's structure as of version 6; older kernels take its beginning. */
struct ruleset {
    uint64_t handled_access_fs;
    uint64_t handled_access_net;
    uint64_t scoped;
};

#define READ_RIGHTS                                                                                \
    (uint64_t)(LANDLOCK_ACCESS_FS_EXECUTE | LANDLOCK_ACCESS_FS_READ_FILE |                         \
               LANDLOCK_ACCESS_FS_READ_DIR)

/* How many file rights each version knows; later versions have more, which we don't name. */
static const unsigned fs_rights[] = { 0, 13, 14, 15, 15, 16 };

int jail_landlock_version(void)
{
    const long version =
        syscall(SYS_landlock_create_ruleset, NULL, 0, LANDLOCK_CREATE_RULESET_VERSION);

    return version < 0 ? 0 : (int)version;
}

static int allow_below(int ruleset, int fd, uint64_t rights)
{
    struct landlock_path_beneath_attr below = { .allowed_access = rights, .parent_fd = fd };

    return syscall(SYS_landlock_add_rule, ruleset, LANDLOCK_RULE_PATH_BENEATH, &below, 0) < 0
               ? -errno
               : 0;
}

drupe_vm_err_t jail_landlock_enter(const struct jail_setup *s, struct drupe_error *err)
{
    const unsigned version = (unsigned)jail_landlock_version();
    const size_t sizes[] = { 0, 8, 8, 8, 16, 16, 24 };
    const unsigned known = min_of(version, (unsigned)array_size(fs_rights) - 1);
    struct ruleset attr = { .handled_access_fs = (UINT64_C(1) << fs_rights[known]) - 1,
                            .handled_access_net = 3, /* bind and connect of TCP */
                            .scoped = 3 };           /* abstract sockets, signals */
    int ruleset = -1;
    int r = 0;

    if (version == 0) {
        return DRUPE_OK;
    }
    ruleset = (int)syscall(SYS_landlock_create_ruleset, &attr,
                           sizes[min_of(version, (unsigned)array_size(sizes) - 1)], 0);
    if (ruleset < 0) {
        return jail_failed(err, "landlock", errno, "make the rules");
    }
    if (s->root_fd >= 0) {
        r = allow_below(ruleset, s->root_fd, attr.handled_access_fs);
    }
    for (size_t i = 0; r == 0 && i < s->folder_count; i++) {
        r = allow_below(ruleset, s->folders[i].fd,
                        s->folders[i].is_read_only ? attr.handled_access_fs & READ_RIGHTS
                                                   : attr.handled_access_fs);
    }
    if (r == 0 && syscall(SYS_landlock_restrict_self, ruleset, 0) < 0) {
        r = -errno;
    }
    (void)close(ruleset);
    return r < 0 ? jail_failed(err, "landlock", -r, "apply the rules") : DRUPE_OK;
}
