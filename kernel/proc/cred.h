/* SPDX-License-Identifier: Apache-2.0 */
/* Credentials: immutable once published, replaced as a whole (copy on write). */
#pragma once

#include <core/ref.h>
#include <core/types.h>

#define CAP_LAST 40u /* CAP_CHECKPOINT_RESTORE */

struct cred {
    struct ref ref;
    uid_t uid, euid, suid, fsuid;
    gid_t gid, egid, sgid, fsgid;
    uint64_t cap_inheritable, cap_permitted, cap_effective, cap_bounding, cap_ambient;
    uint32_t securebits;
    uint32_t group_count;
    gid_t *groups; /* sorted */
};

const struct cred *cred_get(const struct cred *c);
void cred_put(const struct cred *c);
struct cred *cred_copy(const struct cred *from) MUST_CHECK; /* private until installed */
void cred_install(struct cred *c); /* current task's; takes the reference */
bool cred_is_capable(const struct cred *c, unsigned capability);
bool cred_in_group(const struct cred *c, gid_t gid);
