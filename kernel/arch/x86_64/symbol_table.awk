# SPDX-License-Identifier: Apache-2.0
# nm -n output to assembly: count, (offset from kernel_image_start, offset of the name)..., names.
# Layout: core/symbols.c.

BEGIN {
    n = 0
}

$2 ~ /^[tT]$/ && $3 != "kernel_image_start" && $3 != "kernel_text_start" && $3 != "kernel_text_end" {
    if ($1 == last) {
        next # a second name for one address
    }
    last = $1
    address[n] = $1
    name[n] = $3
    n++
}

END {
    print ".section .symbol_table, \"a\", @progbits"
    print ".balign 8"
    print ".globl symbol_table"
    print "symbol_table:"
    print "    .long " n + 0
    offset = 0
    for (i = 0; i < n; i++) {
        printf "    .long 0x%s - 0xffffffff80100000, %d\n", address[i], offset
        offset += length(name[i]) + 1
    }
    for (i = 0; i < n; i++) {
        printf "    .asciz \"%s\"\n", name[i]
    }
    print ".section .note.GNU-stack, \"\", @progbits"
}
