/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Taps of the host as the network device wants them: Ethernet frames without packet information,
 * each behind a header of VIRTIO_NET_HEADER_SIZE bytes, never blocking.
 */
#pragma once

#include <base/compiler.h>

/*
 * Attach to the tap of this name, which exists and which nobody else uses. A descriptor, or -errno:
 * -ENODEV there is none, -EBUSY it is in use, -EPERM, -EINVAL it is no tap.
 */
int tap_attach(const char *name) MUST_CHECK;

/*
 * A duplicate of a descriptor that is attached already; header size and flags of the one open file
 * are changed. -EINVAL: no tap, or one with packet information or without headers.
 */
int tap_adopt(int fd) MUST_CHECK;
