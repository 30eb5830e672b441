/* SPDX-License-Identifier: Apache-2.0 */
/* The machine description of unit tests: host_machine_create() fills it. */
#include <core/boot.h>

#include <host/host.h>

HOST_STAND_IN struct boot_info boot_info;

/* NOLINTBEGIN(readability-non-const-parameter): the contract has results there */
HOST_STAND_IN const char *boot_option_find(const char *key, size_t key_length, size_t *length)
{
    (void)key;
    (void)key_length;
    (void)length;
    return NULL;
}

HOST_STAND_IN bool boot_option_u64(const char *key, uint64_t *value)
{
    (void)key;
    (void)value;
    return false;
}

/* NOLINTEND(readability-non-const-parameter) */
