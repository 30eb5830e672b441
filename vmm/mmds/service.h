/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The metadata service of a VM: one document, session tokens, and answers to HTTP requests of the
 * guest. Shared by the VM's network interfaces; any thread.
 */
#pragma once

#include <base/compiler.h>

struct mmds_service;
struct drupe_metadata;

#define MMDS_ADDRESS_DEFAULT   UINT32_C(0xa9fea9fe) /* 169.254.169.254 */
#define MMDS_TOKEN_TTL_S_MAX   21600u
#define MMDS_RESPONSE_HEAD_MAX 4096u

/* 0; -EINVAL: the document is no JSON; -ENOMEM; what getrandom(2) says. */
int mmds_service_create(const struct drupe_metadata *setup, struct mmds_service **out) MUST_CHECK;
void mmds_service_destroy(struct mmds_service *s);

uint32_t mmds_service_address(const struct mmds_service *s); /* IPv4, in the host's order */

/* Another document, at once and for all connections. -EINVAL, -ENOMEM: the old one stays. */
int mmds_service_set(struct mmds_service *s, const char *text, size_t size) MUST_CHECK;

struct mmds_response {
    char *bytes; /* malloc'd; the caller's */
    size_t size;
    bool is_last; /* the connection closes behind it */
    bool lacked_token;
    bool had_invalid_token;
};

/*
 * The answer to the first request in `bytes`, which the guest controls. Returns how many bytes that
 * request has; 0: it is not complete (nothing in *out); when `is_full` says that no more fit, an
 * incomplete one is refused. -ENOMEM. One allocation.
 */
long mmds_service_answer(struct mmds_service *s, const char *bytes, size_t size, bool is_full,
                         uint64_t now_ns, struct mmds_response *out) MUST_CHECK;
