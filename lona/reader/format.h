/* SPDX-License-Identifier: Apache-2.0 */
/* Laying out program text. */
#pragma once

#include "reader/printer.h"

/*
 * Indent each line by what is open where it begins: two columns inside a list that begins with a
 * name, one past the opening delimiter in anything else. Comments, line breaks and strings stay;
 * spaces at line ends go, and of several empty lines one stays. Laying out twice changes nothing
 * more.
 *
 * False when a delimiter or string isn't closed, closes something else, or nests too deeply: what
 * `out` got is then incomplete. Allocates nothing.
 */
bool format_text(const char *text, size_t size, print_out out, void *arg) MUST_CHECK;
