/* SPDX-License-Identifier: Apache-2.0 */
/* The flags of open(2) that calls of ipc/ take; equal on our architectures. */
#pragma once

#ifndef O_NONBLOCK
#define O_RDONLY   00000000u
#define O_WRONLY   00000001u
#define O_RDWR     00000002u
#define O_ACCMODE  00000003u
#define O_NONBLOCK 00004000u
#define O_CLOEXEC  02000000u
#endif
