#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
# The libkrun backend over our own libkrun.so.1.
set -u
# shellcheck source=tests/e2e/lib.sh
. "$(dirname "$0")/../e2e/lib.sh"

build=$(dirname "$drupe")
: >"$work/out"
: >"$work/err"
root=$work/root
mkdir -p "$root/bin" "$root/dev" "$root/proc" "$root/sys" "$root/tmp" "$root/run"
cp $busybox "$root/bin/busybox"
ln -s busybox "$root/bin/sh"
: >"$root/bin/plain"

if ldconfig -p 2>/dev/null | grep -q 'libkrun\.so\.1'; then
    skip "no libkrun on this host" "there is one"
else
    expect_error "no libkrun on this host" 3 "libkrun.so.1 cannot be loaded" --accel libkrun --root "$root" -- /bin/sh
fi
if ! [ -r /dev/kvm ] || ! [ -w /dev/kvm ]; then
    skip "machines" "/dev/kvm does not open"
    echo "1..$number"
    exit 0
fi
export LD_LIBRARY_PATH="$build"
echo words >"$work/words"
expect "output" 0 "one
" --accel libkrun --root "$root" -- /bin/sh -c 'echo one' </dev/null
expect "input" 0 "words
" --accel libkrun --root "$root" -- /bin/busybox cat <"$work/words"
expect "the guest's status" 42 "" --accel libkrun --root "$root" -- /bin/sh -c 'exit 42' </dev/null
expect "a signal" 137 "" --accel libkrun --root "$root" -- /bin/sh -c 'kill -KILL $$' </dev/null
expect "no such program" 127 "" --accel libkrun --root "$root" -- /bin/nothing </dev/null
expect "not executable" 126 "" --accel libkrun --root "$root" -- /bin/plain </dev/null
expect "arguments, environment, directory" 0 "a b|x=1 /bin
" --accel libkrun -e x=1 -w /bin --root "$root" -- /bin/sh -c 'printf "%s|" "$1"; echo "x=$x $(pwd)"' -- "a b" </dev/null
expect "stopped after its time" 124 "" --accel libkrun --timeout 2 --root "$root" -- /bin/sh -c 'sleep 100' </dev/null
expect_error "a read-only root" 1 "not supported on the libkrun backend" --accel libkrun --root "$root:ro" -- /bin/sh
echo "1..$number"
