/* SPDX-License-Identifier: Apache-2.0 */
/* Relations as the running process asks for them: section 7.8. False means p's error is set. */
#pragma once

#include "process/process.h"

bool process_link(struct process *p, uint64_t to) MUST_CHECK;
void process_unlink(struct process *p, uint64_t to);
bool process_monitor(struct process *p, uint64_t to, uint64_t *ref_out) MUST_CHECK;
void process_demonitor(struct process *p, uint64_t ref);
/* To itself it acts at once: afterwards PROCESS_KILLED tells. */
void process_exit_signal(struct process *p, uint64_t to, term_t reason);
/* Send [ref info-map] to the asker. */
void process_answer_info(struct process *p, uint64_t asker, uint64_t ref);
/* The map of (process-info) on p's own heap; TERM_ERROR with its error set. */
term_t process_info_map(struct process *p);

/* As process_send(); the receiver's accepting receive sends [:accepted ref] back. */
bool process_send_sync(struct process *from, uint64_t to, term_t message, uint64_t ref) MUST_CHECK;
/* May fn be called with argc arguments? */
bool function_takes(term_t fn, unsigned argc);
/* Ask for [ref info-map]; false when it is dead. */
bool process_ask_info(struct process *p, uint64_t to, uint64_t ref) MUST_CHECK;
/* Register a name for another process; false when it is taken or the process is dead. */
bool registry_add_other(struct process *p, term_t name, uint64_t pid) MUST_CHECK;
