#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
#
# Process start to first guest instruction: the monitor against a bare KVM program, interleaved in one run.
# Prints medians in microseconds and their ratio (budget: 2).
set -eu

build=${1:-build}
rounds=5
runs=40

if ! [ -r /dev/kvm ] || ! [ -w /dev/kvm ]; then
    echo "vm_start: skipped, /dev/kvm does not open"
    exit 0
fi
"$build/bench/vm_start" "$build/tests/vmm_guest.elf" # fills the probe's cache
bare=
ours=
for _ in $(seq $rounds); do
    bare="$bare $("$build/bench/repeat" $runs "$build/bench/bare_kvm" | cut -d' ' -f1)"
    ours="$ours $("$build/bench/repeat" $runs "$build/bench/vm_start" "$build/tests/vmm_guest.elf" | cut -d' ' -f1)"
done
median() {
    # shellcheck disable=SC2086 # one number a line
    printf '%s\n' $1 | sort -n | sed -n "$(((rounds + 1) / 2))p"
}
b=$(median "$bare")
o=$(median "$ours")
echo "bare_kvm ${b} us, vm_start ${o} us, ratio $(awk -v a="$o" -v b="$b" 'BEGIN { printf "%.2f", a / b }')"
"$build/bench/vm_start" -v "$build/tests/vmm_guest.elf"
