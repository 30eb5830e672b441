#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
#
# How drupe run starts, ends and is stopped, with the monitor's test guest in the place of the kernel: it
# panics, resets, spins or waits for a signal, as its first argument says.
set -u

drupe=$(realpath "${DRUPE:-build/drupe}")
guest=$(realpath "${GUEST:-build/tests/vmm_guest.elf}")
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
export DRUPE_CACHE="$work/cache" HOME="$work"
cd "$work" || exit 1
number=0

report() { # CONDITION NAME
    number=$((number + 1))
    if [ "$1" = 0 ]; then
        echo "ok $number - $2"
    else
        echo "not ok $number - $2"
        sed 's/^/# /' "$work/err"
    fi
}

# ends ACCEL STATUS MODE TEXT [OPTIONS...]
ends() {
    accel=$1
    status=$2
    mode=$3
    text=$4
    shift 4
    timeout 60 "$drupe" run --accel "$accel" --kernel "$guest" --root root.img "$@" -- guest "$mode" \
        >"$work/out" 2>"$work/err" </dev/null
    got=$?
    [ "$got" -eq "$status" ] && grep -qF -- "$text" "$work/err" && [ ! -s "$work/out" ]
    report $? "$accel: $mode ends with $status ($got)"
}

# signalled ACCEL STATUS MODE SIGNAL...: each signal after the other
signalled() {
    accel=$1
    status=$2
    mode=$3
    shift 3
    : >"$work/err"
    "$drupe" run --accel "$accel" --kernel "$guest" --root root.img --verbose -- guest "$mode" \
        >"$work/out" 2>"$work/err" </dev/null &
    pid=$!
    tries=0
    until grep -q ready "$work/err" || [ $tries -ge 300 ]; do
        sleep 0.1
        tries=$((tries + 1))
    done
    for signal in "$@"; do
        kill -s "$signal" $pid
        sleep 0.2
    done
    wait $pid
    got=$?
    [ "$got" -eq "$status" ]
    report $? "$accel: $* while it is at $mode ends with $status ($got)"
}

mkdir project && cd project || exit 1
printf '[project]\nname = "x"\nlanguage = "linux-elf"\nentry = "guest"\n' >ukernel.toml
cp "$drupe" guest
"$drupe" pack --quiet -o ../root.img || exit 1
cd .. || exit 1

accels=qemu
if [ -w /dev/kvm ]; then
    accels="kvm qemu"
else
    echo "ok 0 - kvm # SKIP /dev/kvm does not open"
fi
for accel in $accels; do
    if [ "$accel" = qemu ] && ! command -v qemu-system-x86_64 >/dev/null; then
        echo "ok 0 - qemu # SKIP no qemu-system-x86_64"
        continue
    fi
    ends $accel 4 panic 'guest kernel stopped'
    ends $accel 1 error 'could not start the program'
    ends $accel 4 triple 'without a status'
    ends $accel 124 spin '--timeout' --timeout 2
    signalled $accel 143 signal TERM
    signalled $accel 130 signal INT
    signalled $accel 143 spin TERM TERM
done

# The console log holds what the serial line said.
cd project || exit 1
timeout 60 "$drupe" run --kernel "$guest" --verbose --timeout 2 -- guest spin >"$work/out" 2>"$work/err" </dev/null
test $? -eq 1 && grep -q 'drupe pack first' "$work/err"
report $? "a project without an image says so"
"$drupe" pack --quiet
timeout 60 "$drupe" run --kernel "$guest" --verbose --timeout 3 -- guest spin >"$work/out" 2>"$work/err" </dev/null
test $? -eq 124 && grep -q ready logs/console.log && grep -q ready "$work/err"
report $? "the serial line is in logs/console.log and on standard error"
"$drupe" logs | grep -q ready
report $? "drupe logs prints it"
grep -q 'is older than' "$work/err"
test $? -ne 0
report $? "a fresh image is not called old"
touch guest
timeout 60 "$drupe" run --kernel "$guest" --timeout 1 -- guest spin >"$work/out" 2>"$work/err" </dev/null
grep -q 'is older than guest' "$work/err"
report $? "an image older than the program is"

# Nothing of a machine is left.
find "$work" -name '*.tmp*' | grep . >"$work/err"
test $? -ne 0
report $? "no temporary files are left"

echo "1..$number"
