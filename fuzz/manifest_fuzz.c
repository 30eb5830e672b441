/* SPDX-License-Identifier: Apache-2.0 */
/* The manifest and the TOML parser below it, on any bytes. */

#include <stdlib.h>
#include <string.h>

#include "manifest.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct manifest m;
    char error[256];
    char *text = malloc(size + 1); /* exactly as long, so that a read behind the end is seen */

    if (!text) {
        return 0;
    }
    memcpy(text, data, size);
    if (manifest_parse("fuzz", text, size, "app", &m, error, sizeof(error)) == 0) {
        manifest_free(&m);
    }
    free(text);
    return 0;
}
