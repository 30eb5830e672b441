/* SPDX-License-Identifier: Apache-2.0 */
/* Between the log, the panic path and kernel_main(). */
#pragma once

#include <core/types.h>

void log_clock_ready(void);          /* clock_monotonic_ns() may be called from now on */
void log_enter_panic(void);          /* other CPUs are stopped: no lock, everything shown */
void log_print_tail(unsigned lines); /* the last lines again, to the console; panic only */
