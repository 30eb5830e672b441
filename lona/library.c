/* SPDX-License-Identifier: Apache-2.0 */
/* Running the library's units at start. */
#include "library.h"

#include "interp/code.h"
#include "native.h"
#include "vm.h"
#include "vm_state.h"

static bool load_unit(struct process *p, size_t *offset)
{
    struct code_unit u;
    struct vm *vm = process_vm(p);

    code_unit_init(&u, vm);
    bool ok = code_decode(p, lona_library_image, lona_library_size, offset, &u);
    term_t fun = ok ? code_link(p, &u) : TERM_ERROR;

    code_unit_deinit(&u);
    return fun != TERM_ERROR && native_run(p, fun, NULL, 0, UINT64_MAX) != TERM_ERROR;
}

/* The native that the loading process runs: nil, or the number of the unit that failed. */
static term_t load(struct process *p, term_t *args, unsigned argc)
{
    (void)args;
    (void)argc;
    size_t offset = 0;
    int64_t unit = 0;
    bool ok = true;

    heap_inhibit_gc(p);
    while (ok && offset < lona_library_size) {
        unit++;
        ok = load_unit(p, &offset);
    }
    heap_permit_gc(p);
    return ok ? TERM_NIL : TERM_ERROR;
}

static const struct native rows[] = {
    { "lona.core", "load-library*", load, 0, 0, NATIVE_INTERNAL | NATIVE_ALLOCATES, 10, "()",
      "Run the units of the built-in library." },
};

const struct native_table native_library = { rows, array_size(rows) };

int library_load(struct vm *vm)
{
    if (lona_library_size == 0) {
        return 0;
    }
    for (uint32_t id = 0; id < native_count(); id++) {
        if (native_by_id(id) == &rows[0]) {
            return vm_call(vm, term_native(id), NULL, NULL);
        }
    }
    return 1;
}
