/* SPDX-License-Identifier: Apache-2.0 */
/* What changes in a running machine's devices. One such call at a time: the backend need not mind.
 */
#include "drupe/vm.h"

#include <fcntl.h>
#include <unistd.h>

#include <base/assert.h>

#include "error.h"
#include "vm_internal.h"
#include "vm_state.h"

static drupe_vm_err_t not_by_backend(const drupe_vm_t *vm, const char *what,
                                     struct drupe_error *err)
{
    return error_set(err, DRUPE_UNSUPPORTED, 0, "%s: not supported on the %s backend", what,
                     vm->backend->name);
}

/* The machine of a RUNNING or PAUSED VM; each success owes one put(). */
static drupe_vm_err_t get(drupe_vm_t *vm, const char *what, void **machine, struct drupe_error *err)
{
    drupe_vm_err_t r = DRUPE_OK;

    (void)pthread_mutex_lock(&vm->lock);
    vm_wait_idle_locked(vm);
    r = vm_state_check(vm_state_of(vm), VM_OP_SNAPSHOT); /* the states that have a live machine */
    if (r == DRUPE_OK) {
        vm->is_busy = true;
        *machine = vm_get_machine_locked(vm);
        assert(*machine != NULL);
    }
    (void)pthread_mutex_unlock(&vm->lock);
    return r == DRUPE_OK ? DRUPE_OK : vm_wrong_state(vm, r, what, err);
}

static void put(drupe_vm_t *vm)
{
    (void)pthread_mutex_lock(&vm->lock);
    vm->is_busy = false;
    vm_put_machine_locked(vm);
    (void)pthread_cond_broadcast(&vm->changed);
    (void)pthread_mutex_unlock(&vm->lock);
}

/* The drive's configuration follows, so that a later start of the VM has the new file. */
drupe_vm_err_t drupe_vm_update_disk(drupe_vm_t *vm, unsigned index,
                                    const struct drupe_disk_update *update, struct drupe_error *err)
{
    void *machine = NULL;
    struct config_file *disk = config_disk(&vm->config, index);
    struct config_file file = { .fd = -1 };
    bool is_same = false;
    drupe_vm_err_t r = DRUPE_OK;

    if (vm->backend->update_disk == NULL) {
        return not_by_backend(vm, "update a disk", err);
    }
    if (disk == NULL) {
        return error_field(err, "disks", "there is no disk %u", index);
    }
    if (update->path != NULL) {
        r = config_take_disk(update->path, disk->is_read_only, disk->is_direct, &file, err);
        /* The same file, opened anew: it is locked by the descriptor that it has. */
        is_same = r == DRUPE_OK && config_is_same_file(disk, &file);
        if (r == DRUPE_OK && !is_same) {
            r = config_lock_disk("disk", &file, err);
        }
        if (r != DRUPE_OK) {
            config_file_deinit(&file);
            return r;
        }
    }
    r = get(vm, "update a disk", &machine, err);
    if (r == DRUPE_OK) {
        r = vm->backend->update_disk(machine, index, file.fd, update->limit, err);
        if (r == DRUPE_OK && update->path != NULL) {
            file.is_flush_ignored = disk->is_flush_ignored;
            file.is_synchronous = disk->is_synchronous;
            file.limit = disk->limit;
            config_file_deinit(disk);
            *disk = file;
            file = (struct config_file){ .fd = -1 };
            if (is_same) {
                (void)!config_lock_disk("disk", disk, NULL); /* free a moment ago */
            }
        }
        if (r == DRUPE_OK && update->limit != NULL) {
            disk->limit = *update->limit;
        }
        put(vm);
    }
    config_file_deinit(&file);
    return r;
}

drupe_vm_err_t drupe_vm_update_net(drupe_vm_t *vm, unsigned index,
                                   const struct drupe_rate_limit *rx,
                                   const struct drupe_rate_limit *tx, struct drupe_error *err)
{
    struct config_net *net = NULL;
    void *machine = NULL;
    drupe_vm_err_t r = DRUPE_OK;

    if (vm->backend->update_net == NULL) {
        return not_by_backend(vm, "update a network interface", err);
    }
    if (index >= vm->config.net_count) {
        return error_field(err, "nets", "there is no network interface %u", index);
    }
    r = get(vm, "update a network interface", &machine, err);
    if (r != DRUPE_OK) {
        return r;
    }
    vm->backend->update_net(machine, index, rx, tx);
    net = &vm->config.nets[index];
    if (rx != NULL) {
        net->rx_limit = *rx;
    }
    if (tx != NULL) {
        net->tx_limit = *tx;
    }
    put(vm);
    return DRUPE_OK;
}

drupe_vm_err_t drupe_vm_set_metadata(drupe_vm_t *vm, const char *document, size_t size,
                                     struct drupe_error *err)
{
    return config_set_metadata(&vm->config, document, size, err);
}

drupe_vm_err_t drupe_vm_set_balloon(drupe_vm_t *vm, uint32_t target_mib, struct drupe_error *err)
{
    void *machine = NULL;
    drupe_vm_err_t r = DRUPE_OK;

    if (vm->backend->set_balloon == NULL) {
        return not_by_backend(vm, "set the balloon", err);
    }
    r = get(vm, "set the balloon", &machine, err);
    if (r == DRUPE_OK) {
        r = vm->backend->set_balloon(machine, target_mib, err);
        put(vm);
    }
    return r;
}

drupe_vm_err_t drupe_vm_set_balloon_interval(drupe_vm_t *vm, uint32_t interval_s,
                                             struct drupe_error *err)
{
    void *machine = NULL;
    drupe_vm_err_t r = DRUPE_OK;

    if (vm->backend->set_balloon_interval == NULL) {
        return not_by_backend(vm, "set the balloon's interval", err);
    }
    r = get(vm, "set the balloon's interval", &machine, err);
    if (r == DRUPE_OK) {
        r = vm->backend->set_balloon_interval(machine, interval_s, err);
        put(vm);
    }
    return r;
}

drupe_vm_err_t drupe_vm_balloon_stats(drupe_vm_t *vm, struct drupe_balloon_stats *out,
                                      struct drupe_error *err)
{
    void *machine = NULL;
    drupe_vm_err_t r = DRUPE_OK;

    if (vm->backend->balloon_stats == NULL) {
        return not_by_backend(vm, "ask the balloon", err);
    }
    r = get(vm, "ask the balloon", &machine, err);
    if (r == DRUPE_OK) {
        r = vm->backend->balloon_stats(machine, out, err);
        put(vm);
    }
    return r;
}

drupe_vm_err_t drupe_vm_ctrl_alt_del(drupe_vm_t *vm, struct drupe_error *err)
{
    void *machine = NULL;
    drupe_vm_err_t r = DRUPE_OK;

    if (vm->backend->ctrl_alt_del == NULL) {
        return not_by_backend(vm, "press Ctrl-Alt-Del", err);
    }
    r = get(vm, "press Ctrl-Alt-Del", &machine, err);
    if (r == DRUPE_OK) {
        r = vm->backend->ctrl_alt_del(machine, err);
        put(vm);
    }
    return r;
}
