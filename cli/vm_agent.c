/* SPDX-License-Identifier: Apache-2.0 */
#include "vm_agent.h"

#include <string.h>

#include "cli.h"
#include "vm_stats.h"

#define CONNECT_TIMEOUT_MS 10000u

static const char *name_of(const struct vm_record *r)
{
    return r->name && *r->name ? r->name : r->id;
}

/* Asked only when there is no answer: a command that succeeds does not pay for it. */
static bool is_paused(const struct vm_record *r)
{
    struct vm_stats stats;

    return vm_stats_get(r, &stats) == 0 && strcmp(stats.state, "PAUSED") == 0;
}

int vm_agent_connect(const char *verb, const struct vm_record *r, drupe_agent_t **out)
{
    CLEANUP_FREE char *path = vm_path(r, "vsock.sock");
    const char *name = name_of(r);
    struct drupe_error err;

    if (!r->is_alive) {
        return complain(STATUS_FAILED, "%s: %s: the machine has ended", verb, name);
    }
    switch (drupe_agent_connect(path, CONNECT_TIMEOUT_MS, out, &err)) {
    case DRUPE_OK:
        return 0;
    case DRUPE_TIMEOUT:
        if (is_paused(r)) {
            return complain(STATUS_FAILED, "%s: %s is paused; drupe resume %s lets it go on", verb,
                            name, name);
        }
        break;
    case DRUPE_UNSUPPORTED:
    case DRUPE_NOT_FOUND:
        return complain(STATUS_FAILED, "%s: %s: the machine has no agent: %s", verb, name,
                        err.text);
    default:
        break;
    }
    return complain(STATUS_FAILED, "%s: %s: %s", verb, name,
                    err.text[0] ? err.text : drupe_vm_err_name(err.code));
}
