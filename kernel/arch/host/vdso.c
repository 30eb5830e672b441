/* SPDX-License-Identifier: Apache-2.0 */
/* Unit tests have no vDSO. */
#include <arch/ops.h>

#include <host/host.h>

HOST_STAND_IN const struct vdso_image *arch_vdso(void)
{
    return NULL;
}
