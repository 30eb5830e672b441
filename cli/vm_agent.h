/* SPDX-License-Identifier: Apache-2.0 */
/* The way to the agent of a background machine. */
#pragma once

#include <drupe/agent.h>

#include "vm_dir.h"

/*
 * Connect within some seconds. 0 and *out, the caller's to close; or the exit status, after a
 * message that says what the machine lacks: it has ended, is paused, runs on a backend without
 * vsock, has no agent.
 */
int vm_agent_connect(const char *verb, const struct vm_record *r, drupe_agent_t **out) MUST_CHECK;
