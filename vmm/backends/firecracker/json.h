/* SPDX-License-Identifier: Apache-2.0 */
/* The little JSON that Firecracker's interface needs: flat writing, and one text to be read. */
#pragma once

#include <base/compiler.h>

#define FC_JSON_SIZE_MAX 16384u

struct fc_json {
    char text[FC_JSON_SIZE_MAX]; /* always terminated */
    size_t length;
    bool has_overflowed;
};

void fc_json_begin(struct fc_json *j); /* an object */
/* A member of the object that is open. */
void fc_json_string(struct fc_json *j, const char *key, const char *value);
void fc_json_number(struct fc_json *j, const char *key, uint64_t value);
void fc_json_bool(struct fc_json *j, const char *key, bool value);
void fc_json_open(struct fc_json *j, const char *key); /* an object inside */
void fc_json_close(struct fc_json *j);                 /* the innermost object */

/*
 * The string that stands under `key` in the outermost object, decoded and cut to size; false when
 * `text` has none before what is no JSON. Any bytes may stand in text.
 */
bool fc_json_find_string(const char *text, size_t length, const char *key, char *out, size_t size);
