#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
#
# The library's own tests, in a plain build and under the sanitizers.
set -u

run() {
    title=$1
    shift
    { timeout 120 "$@" || echo "not ok 0 - it ended with status $?"; } 2>&1 | sed -n "s/^\(\(not \)\{0,1\}ok [0-9]*\) - /\1 - $title: /p; /^#/p"
}

run "library" "${LONA:-build/lona}" run tests/lona/library.lona
sanitized=${LONA_ASAN:-build/lona-asan}
if [ -x "$sanitized" ]; then
    run "library, sanitized" "$sanitized" run tests/lona/library.lona
fi
