#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
# Processes, messages, deaths and timers by the thousand, on 1, 2 and 24 workers.
set -u

lona=${LONA:-build/lona}

for workers in 1 2 24; do
    timeout 120 "$lona" --workers $workers run tests/lona/storm.lona 20 2>&1 |
        sed "s/^\(\(not \)\{0,1\}ok [0-9]*\) - /\1 - $workers workers: /; /^1\.\./d; s/^lona: /# lona: /"
done
