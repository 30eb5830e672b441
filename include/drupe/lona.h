/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Lona in a C program: create a VM, load code, evaluate, exchange messages with its processes.
 *
 * Errors. Functions that can fail return enum lona_result (0 is success) and fill the optional
 * *error text (the caller frees it with lona_free_text()). Nothing is written on failure but that
 * text.
 *
 * Threads. Any thread may use a VM; the functions lock where they must. No global state: any number
 * of VMs may live side by side. Values belong to the caller, hold no reference to the VM's heaps,
 * and stay valid until lona_value_free(), but no longer than the VM.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

typedef struct lona_vm lona_vm;
typedef struct lona_value lona_value;

enum lona_result {
    LONA_OK = 0,
    LONA_ERROR, /* the code failed; *error names kind, message and place */
    LONA_NO_MEMORY,
    LONA_NO_PROCESS, /* the target is dead */
    LONA_TIMEOUT,
    LONA_BAD_ARGUMENT,
    LONA_SYSTEM, /* the platform refused (file, thread) */
};

struct lona_options {
    unsigned workers;          /* 0: one a CPU */
    uint64_t process_heap_max; /* bytes; 0: no limit */
    uint64_t seed;             /* 0: random */
    bool gc_stress;            /* for tests: collect at every allocation */
};

/* options may be NULL. */
enum lona_result lona_create(const struct lona_options *options, lona_vm **out, char **error);
/* Ends all processes, joins the workers, frees everything. */
void lona_destroy(lona_vm *vm);

/* Evaluate all forms of `text` (UTF-8) in namespace `user` in a fresh process; *out is the value of
 * the last form (NULL out: not wanted). `file` is the name in error places. */
enum lona_result lona_eval(lona_vm *vm, const char *text, size_t size, const char *file,
                           lona_value **out, char **error);
enum lona_result lona_load_file(lona_vm *vm, const char *path, char **error);

/* An address of the C side that processes can send to: bind it with lona_mailbox_value() into a
 * message. */
typedef struct lona_mailbox lona_mailbox;
enum lona_result lona_mailbox_create(lona_vm *handle, lona_mailbox **out);
void lona_mailbox_destroy(lona_mailbox *box);
/* The mailbox's pid as a value. */
enum lona_result lona_mailbox_value(lona_mailbox *box, lona_value **out);
/* Oldest message, waiting up to timeout_ns (UINT64_MAX: for ever). One receiving thread a mailbox.
 */
enum lona_result lona_receive(lona_mailbox *box, uint64_t timeout_ns, lona_value **out);

/* Send a copy of `message` to a pid value, or to a registered name. */
enum lona_result lona_send(lona_vm *handle, const lona_value *pid, const lona_value *message);
enum lona_result lona_send_named(lona_vm *vm, const char *name, const lona_value *message);

/* Values from and to readable text (read, not evaluated). */
enum lona_result lona_value_read(lona_vm *vm, const char *text, size_t size, lona_value **out,
                                 char **error);
char *lona_value_text(lona_vm *vm, const lona_value *v); /* NULL without memory */
bool lona_value_integer(const lona_value *v, int64_t *out);
void lona_value_free(lona_value *v);
void lona_free_text(char *text);

/* End every evaluation that is running with reason :interrupted. From any thread; not in a signal
 * handler. */
void lona_interrupt(lona_vm *vm);
