/* SPDX-License-Identifier: Apache-2.0 */
/* EXEC's request as JSON, and the growing text that it is written to. */
#pragma once

#include <base/compiler.h>

struct drupe_exec_options;

struct json_text {
    char *bytes; /* free() */
    size_t size;
    size_t room;
    bool has_failed; /* no memory: nothing is added any more */
};

void json_text_add(struct json_text *t, const void *bytes, size_t size);

/* False: no memory. Strings pass as bytes (docs/agent.md). */
bool exec_json(const struct drupe_exec_options *o, struct json_text *out) MUST_CHECK;
