/* SPDX-License-Identifier: Apache-2.0 */
/* EXEC's JSON as the agent reads it, and any other JSON. */

#include <stdlib.h>
#include <string.h>

#include "agent.h"
#include "json.h"

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t size);

static char *copy_of(const uint8_t *bytes, size_t size)
{
    char *text = malloc(size + 1);

    if (text == NULL) {
        abort();
    }
    memcpy(text, bytes, size);
    return text;
}

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t size)
{
    char *text = copy_of(bytes, size);
    struct exec_request r;
    struct exec_vectors v;
    struct json j;

    if (exec_parse(text, size, &r, &v) == NULL) {
        /* Every string ends inside the text or is one of the agent's own. */
        for (size_t i = 0; r.argv[i] != NULL; i++) {
            (void)strlen(r.argv[i]);
        }
        for (size_t i = 0; r.env[i] != NULL; i++) {
            if (strchr(r.env[i], '=') == NULL) {
                abort();
            }
        }
        exec_vectors_free(&v);
    }
    free(text);
    text = copy_of(bytes, size);
    json_init(&j, text, size);
    json_skip(&j);
    (void)json_end(&j);
    free(text);
    return 0;
}
