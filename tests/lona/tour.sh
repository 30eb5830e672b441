#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
# Every line "expression  ; => value" of the tour holds.
set -u

lona=${LONA:-build/lona}
table=$(mktemp)
trap 'rm -f "$table"' EXIT
{
    echo "# U tour"
    awk '/  ; => / { line = $0; i = index(line, "  ; => ")
                     printf "line %d\t%s\t%s\n", NR, substr(line, 1, i - 1), substr(line, i + 7) }' docs/lona/tour.md
} | grep -v '`expression' >"$table"
timeout 60 "$lona" run tests/lona/cases.lona "$table" 2>&1 | grep -v '^lona:'
