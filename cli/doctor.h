/* SPDX-License-Identifier: Apache-2.0 */
/* The parts of `drupe doctor`. */
#pragma once

#include <base/compiler.h>

enum finding {
    FINDING_OK,
    FINDING_WARN,
    FINDING_MISSING
};

/* One line: how bad, about what, the text. */
void doctor_report(enum finding finding, const char *subject, const char *format, ...)
    PRINTF_LIKE(3, 4);

void doctor_report_jail(void);
/* The table of docs/jail.md; an exit status. */
int doctor_print_filters(void);
