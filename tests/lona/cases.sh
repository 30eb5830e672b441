#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
#
# The language's cases and one test for each row of the function tables, in a plain build and under
# the sanitizers.
set -u

lona=${LONA:-build/lona}
sanitized=${LONA_ASAN:-build/lona-asan}

run() {
    title=$1
    shift
    timeout 250 "$@" 2>&1 | sed -n "s/^\(\(not \)\{0,1\}ok [0-9]*\) - /\1 - $title: /p; /^#/p"
}

run "cases" "$lona" run tests/lona/cases.lona tests/lona/cases.tsv
run "functions" "$lona" run tests/lona/cases.lona tests/lona/functions.tsv
run "cases, 1 worker" "$lona" --workers 1 run tests/lona/cases.lona tests/lona/cases.tsv
run "cases, 8 workers" "$lona" --workers 8 run tests/lona/cases.lona tests/lona/cases.tsv
if [ -x "$sanitized" ]; then
    run "cases, sanitized" "$sanitized" run tests/lona/cases.lona tests/lona/cases.tsv
    run "functions, sanitized" "$sanitized" run tests/lona/cases.lona tests/lona/functions.tsv
fi
