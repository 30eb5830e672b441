/* SPDX-License-Identifier: Apache-2.0 */
/* Control data of sendmsg and recvmsg: descriptors and credentials. */
#pragma once

#include <ipc/socket.h>

struct user_msghdr { /* the ABI's struct msghdr */
    uint64_t name;
    uint32_t name_size;
    uint32_t pad1;
    uint64_t vector;
    uint64_t vector_count;
    uint64_t control;
    uint64_t control_size;
    uint32_t flags;
    uint32_t pad2;
};

static_assert(sizeof(struct user_msghdr) == 56, "struct msghdr is ABI");

/* Drop the message's files. */
void socket_message_drop(struct socket_message *m);

/* Read the control data of h into m. On failure m holds nothing. */
int socket_control_from_user(struct socket_message *m, const struct user_msghdr *h) MUST_CHECK;

/* Install m's files as descriptors and write the control data; h->control_size becomes what was
 * written, MSG_CTRUNC is set when something did not fit. */
int socket_control_to_user(struct socket_message *m, struct user_msghdr *h,
                           bool close_on_exec) MUST_CHECK;
