/* SPDX-License-Identifier: Apache-2.0 */
/* Boot arguments and #! lines: every string that the parsers hand out ends inside the input. */
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <base/assert.h>
#include <proc/boot_args.h>
#include <proc/script.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void check(const char *string, const uint8_t *data, size_t size)
{
    const uint8_t *at = (const uint8_t *)string;

    assert(at >= data && at < data + size);
    assert(memchr(at, 0, size - (size_t)(at - data)) != NULL);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static const char *pointers[4096];
    struct boot_args_view view;
    struct script_line line;
    const char *what;

    if (boot_args_parse(data, size, pointers, 4096, &view, &what) == 0) {
        for (uint32_t i = 0; i < view.header.argc; i++) {
            check(view.argv[i], data, size);
        }
        for (uint32_t i = 0; i < view.header.envc; i++) {
            check(view.envp[i], data, size);
        }
        assert(view.argv[view.header.argc] == NULL && view.envp[view.header.envc] == NULL);
    }
    if (script_parse((const char *)data, size, &line) == 1) {
        assert(line.interpreter[0] != '\0' && strlen(line.interpreter) < SCRIPT_HEAD_SIZE);
        assert(strlen(line.argument) < SCRIPT_HEAD_SIZE);
    }
    return 0;
}
