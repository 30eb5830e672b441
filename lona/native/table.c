/* SPDX-License-Identifier: Apache-2.0 */
/* All natives, in the order that gives them their ids. */
#include "native.h"

static const struct native_table *const tables[] = {
    &native_core,   &native_number,  &native_predicate, &native_collection, &native_process,
    &native_time,   &native_library, &native_call,      &native_text,       &native_bits,
    &native_binary, &native_address, &native_system,    &native_eval,       &native_match,
};

uint32_t native_count(void)
{
    size_t n = 0;

    for (size_t i = 0; i < array_size(tables); i++) {
        n += tables[i]->count;
    }
    return (uint32_t)n;
}

const struct native *native_by_id(uint32_t id)
{
    size_t i = 0;

    while (id >= tables[i]->count) {
        id -= (uint32_t)tables[i]->count;
        i++;
        assert(i < array_size(tables));
    }
    return &tables[i]->rows[id];
}
