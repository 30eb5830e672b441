/* SPDX-License-Identifier: Apache-2.0 */
/* The backend's side of working sets: find one, and bring it in when a restored machine goes on. */
#include "snapshot/working_set.h"

#include <errno.h>

#include "error.h"
#include "kvm/machine.h"

drupe_vm_err_t machine_record_working_set(void *machine, const char *path, uint64_t *bytes,
                                          struct drupe_error *err)
{
    const struct machine *m = machine;
    struct memory_runs set = { .items = NULL };
    drupe_vm_err_t r = DRUPE_OK;
    int e = 0;

    if (m->snapshot == NULL || m->snapshot->handler != NULL) {
        return error_set(err, DRUPE_UNSUPPORTED, 0,
                         "a working set is that of a machine whose memory a snapshot's file is");
    }
    e = working_set_find(&set, m->snapshot, m->ram);
    if (e < 0) {
        return e == -ENOMEM
                   ? error_set(err, DRUPE_NO_MEMORY, ENOMEM, "record a working set")
                   : error_set(err, DRUPE_UNSUPPORTED, -e,
                               "which pages were touched is in /proc, which is not seen here");
    }
    r = working_set_write(m->snapshot, &set, path, err);
    *bytes = 0;
    for (uint32_t i = 0; i < set.count; i++) {
        *bytes += (uint64_t)set.items[i].count * SNAPSHOT_PAGE_SIZE;
    }
    memory_runs_deinit(&set);
    return r;
}

void machine_bring_working_set(struct machine *m)
{
    if (m->snapshot != NULL && m->snapshot->handler == NULL && !m->has_working_set) {
        m->has_working_set = true;
        working_set_bring(m->snapshot, m->ram);
    }
}
