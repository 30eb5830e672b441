/* SPDX-License-Identifier: Apache-2.0 */
/* Names of processes: a small open-addressing table under one lock. */
#include "realm/realm.h"
#include "sched/sched.h"
#include "process/table.h"

/* name 0: free; TERM_HOLE: removed */
static struct registry_entry *find_locked(struct vm *vm, term_t name)
{
    if (vm->registry_capacity == 0) {
        return NULL;
    }
    size_t mask = vm->registry_capacity - 1;

    for (size_t at = ((size_t)term_name_index(name) * 2654435761u) & mask;
         vm->registry[at].name != 0; at = (at + 1) & mask) {
        if (vm->registry[at].name == name) {
            return &vm->registry[at];
        }
    }
    return NULL;
}

static bool grow_locked(struct vm *vm)
{
    size_t capacity = vm->registry_capacity == 0 ? 64 : vm->registry_capacity * 2;
    struct registry_entry *table = vm_alloc(vm, capacity * sizeof(*table));

    if (table == NULL) {
        return false;
    }
    __builtin_memset(table, 0, capacity * sizeof(*table));
    vm->registry_count = 0;
    for (size_t i = 0; i < vm->registry_capacity; i++) {
        term_t name = vm->registry[i].name;

        if (name == 0 || name == TERM_HOLE) {
            continue;
        }
        size_t at = ((size_t)term_name_index(name) * 2654435761u) & (capacity - 1);

        while (table[at].name != 0) {
            at = (at + 1) & (capacity - 1);
        }
        table[at] = vm->registry[i];
        vm->registry_count++;
    }
    vm_free(vm, vm->registry, vm->registry_capacity * sizeof(*table));
    vm->registry = table;
    vm->registry_capacity = capacity;
    return true;
}

uint64_t registry_find(struct vm *vm, term_t name)
{
    lock_acquire(&vm->platform, &vm->registry_lock);
    const struct registry_entry *e = find_locked(vm, name);
    uint64_t pid = e == NULL ? PID_NONE_RAW : e->pid;

    lock_release(&vm->registry_lock);
    return pid;
}

bool registry_add(struct vm *vm, term_t name, uint64_t pid)
{
    lock_acquire(&vm->platform, &vm->registry_lock);
    bool ok = find_locked(vm, name) == NULL &&
              (vm->registry_count * 2 < vm->registry_capacity || grow_locked(vm));

    if (ok) {
        size_t mask = vm->registry_capacity - 1;
        size_t at = ((size_t)term_name_index(name) * 2654435761u) & mask;

        while (vm->registry[at].name != 0 && vm->registry[at].name != TERM_HOLE) {
            at = (at + 1) & mask;
        }
        vm->registry_count += vm->registry[at].name == 0;
        vm->registry[at] = (struct registry_entry){ name, pid };
    }
    lock_release(&vm->registry_lock);
    return ok;
}

bool registry_remove(struct vm *vm, term_t name)
{
    lock_acquire(&vm->platform, &vm->registry_lock);
    struct registry_entry *e = find_locked(vm, name);

    if (e != NULL) {
        e->name = TERM_HOLE;
    }
    lock_release(&vm->registry_lock);
    return e != NULL;
}
