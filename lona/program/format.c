/* SPDX-License-Identifier: Apache-2.0 */
/* lona fmt: lay files out in place. Needs no VM. */
#include <stdlib.h>
#include <string.h>

#include "program.h"
#include "reader/format.h"

static int format_file(const struct platform *pf, const char *path)
{
    uint8_t *data;
    size_t size;
    struct text laid_out = { 0 };
    int status = STATUS_OK;

    if (pf->file_read(pf->self, path, strlen(path), &data, &size) != PLATFORM_OK) {
        (void)fprintf(stderr, "lona: %s cannot be read\n", path);
        return STATUS_ERROR;
    }
    if (!format_text((const char *)data, size, text_out, &laid_out)) {
        (void)fprintf(stderr, "lona: %s: a string or delimiter is not closed, or closes another\n",
                      path);
        status = STATUS_ERROR;
    } else if (laid_out.size != size || (size != 0 && memcmp(laid_out.bytes, data, size) != 0)) {
        if (pf->file_write(pf->self, path, strlen(path), laid_out.bytes, laid_out.size, 0) !=
            PLATFORM_OK) {
            (void)fprintf(stderr, "lona: %s cannot be written\n", path);
            status = STATUS_ERROR;
        }
    }
    text_deinit(&laid_out);
    pf->file_free(pf->self, data, size);
    return status;
}

int format_files(int count, char **paths)
{
    int status = STATUS_OK;

    for (int i = 0; i < count; i++) {
        if (format_file(platform_posix(), paths[i]) != STATUS_OK) {
            status = STATUS_ERROR;
        }
    }
    return status;
}
