/* SPDX-License-Identifier: Apache-2.0 */
/* What the host offers, and which backend that makes. */
#pragma once

#include <base/compiler.h>

#include "drupe/vm.h"

struct backend;

/*
 * DRUPE_UNAVAILABLE with a text that says what to install or permit. With KVM, *kvm_fd is /dev/kvm
 * and the caller's, and what depends on paths has been learned: a jail may follow.
 */
drupe_vm_err_t host_pick_backend(enum drupe_accel accel, const struct backend **out, int *kvm_fd,
                                 struct drupe_error *err) MUST_CHECK;

/* Where qemu-system-x86_64 stands in PATH, into path[size]; false when it doesn't. */
bool host_find_qemu(char *path, size_t size);
/* The same for any program. */
bool host_find_program(const char *name, char *path, size_t size);
