/* SPDX-License-Identifier: Apache-2.0 */
/* Out of memory in a unit test: counted. */
#include <mm/mm.h>

#include <host/host.h>

unsigned host_oom_kills;

HOST_STAND_IN void oom_kill(void)
{
    host_oom_kills++;
}
