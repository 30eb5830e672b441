#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
# A bug of the kernel's own ends in a report that names the place, and in a status of its own.
set -u
. "$(dirname "$0")/qemu.inc"

boot "quiet drupe.test=panic"
expect "panic: reason" 'panic: drupe.test=panic'
expect "panic: symbolised backtrace" '#[0-9]+ ffffffff8[0-9a-f]+ kernel_main\+0x'
expect "panic: whose" 'Drupe kernel [0-9.]+ '
expect_status "panic: status" d5020100

boot "drupe.test=assert" -smp 2
expect "assert: expression and place" 'assertion failed: name == NULL at kernel/core/main.c:[0-9]+'
expect_status "assert: status" d5020100

boot "drupe.test=null"
expect "null: fault address" 'page fault at 0x0 '
expect "null: registers" 'rip ffffffff8[0-9a-f]+ cs 10'
expect "null: the function" 'test_null\+0x'
expect "null: its caller" 'kernel_main\+0x'
expect_status "null: status" d5020100

boot "drupe.test=stack"
expect "stack overflow: caught on a stack of its own" 'double fault'
expect "stack overflow: the function" 'test_stack\+0x'
expect_status "stack overflow: status" d5020100

boot "drupe.test=exit"
expect "exit: the line that says so" 'ukernel: exit code=42'
expect_status "exit: status" d5012a00

boot "drupe.test=nonsense"
expect "an unknown test is refused" 'want panic, assert'
finish
