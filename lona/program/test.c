/* SPDX-License-Identifier: Apache-2.0 */
#include "program.h"

int test_run(struct vm *vm, const char *path)
{
    (void)vm;
    (void)path;
    return 1;
}
