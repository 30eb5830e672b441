#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
# libkrun.so.1: every symbol is there, wrong use is refused as the table says, and a crun-style program runs what it is told.
set -u
# shellcheck source=tests/e2e/lib.sh
. "$(dirname "$0")/../e2e/lib.sh"

build=$(dirname "$drupe")
top=$(realpath "$(dirname "$0")/../..")
export PKG_CONFIG_PATH=$build LD_LIBRARY_PATH=$build
flags=$(pkg-config --define-variable=libdir="$build" --define-variable=includedir="$top/include" --cflags --libs libkrun)

: >"$work/out"
make -s -C "$top/examples/libkrun" OUT="$work" LIBDIR="$build" INCLUDEDIR="$top/include" >"$work/err" 2>&1
result $? "the example builds through pkg-config"
readelf -d "$work/crun" | grep -q 'NEEDED.*libkrun\.so\.1'
result $? "it needs libkrun.so.1"

grep -o '\bkrun_[a-z0-9_]*(' "$top/include/libkrun.h" | tr -d '(' | sort -u >"$work/declared"
nm -D --defined-only "$build/libkrun.so.1" | awk '{print $3}' | sed 's/@.*//' | grep -v '^KRUN_1$' | sort -u >"$work/defined"
diff "$work/declared" "$work/defined" >"$work/out"
result $? "what the header declares is what the library shows"

# shellcheck disable=SC2086
cc -O1 -Wall -Werror -o "$work/refusals" "$top/tests/krun/refusals.c" $flags >"$work/out" 2>"$work/err" &&
    "$work/refusals" "$work" >"$work/out" 2>"$work/err"
result $? "refusals and limits, by a table"

if ! [ -r /dev/kvm ] || ! [ -w /dev/kvm ]; then
    skip "machines" "/dev/kvm does not open"
    echo "1..$number"
    exit 0
fi

root=$work/root
make -s -C "$top/examples/libkrun" root ROOT="$root" >/dev/null
echo data >"$root/data"
printf 'not a program' >"$root/bin/text"
chmod +x "$root/bin/text"
: >"$root/bin/plain"

crun() { # NAME STATUS OUTPUT CRUN-ARGUMENTS...
    name=$1
    want=$2
    printf '%s' "$3" >"$work/want"
    shift 3
    timeout 120 "$work/crun" "$@" >"$work/out" 2>"$work/err" </dev/null
    got=$?
    [ $got -eq "$want" ] && cmp -s "$work/out" "$work/want"
    result $? "$name (status $got)"
}
timeout 120 "$work/crun" "$root" /bin/uname -a >"$work/out" 2>"$work/err" </dev/null && grep -q '^Linux .* x86_64' "$work/out"
result $? "uname -a in a directory root: $(cat "$work/out")"
crun "arguments, environment, directory" 0 "a b|c|x=1 /bin
" -w /bin -e x=1 "$root" /bin/sh -c 'for a; do printf "%s|" "$a"; done; echo "x=$x $(pwd)"' -- "a b" c
crun "the guest's status is the process's" 42 "" "$root" /bin/sh -c 'exit 42'
crun "a signal is 128 and its number" 137 "" "$root" /bin/sh -c 'kill -KILL $$'
crun "no such program" 127 "" "$root" /bin/nothing
crun "not executable" 126 "" "$root" /bin/plain
crun "no such directory" 125 "" -w /nowhere "$root" /bin/uname
crun "no such root" 125 "" "$work/no-root" /bin/uname
crun "what is written is on the host" 0 "" "$root" /bin/sh -c 'echo new >/written'
[ "$(cat "$root/written")" = new ]
result $? "and there it is"

# shellcheck disable=SC2086
cc -O1 -Wall -Werror -o "$work/machines" "$top/tests/krun/machines.c" $flags >"$work/out" 2>"$work/err"
result $? "the second test program builds"
cc -O1 -Wall -Werror -static -o "$root/bin/vsock" "$top/tests/krun/guest_vsock.c" >"$work/out" 2>"$work/err"
mkdir -p "$work/shared" "$root/mnt"
echo shared >"$work/shared/file"
for case in console virtiofs rlimits shutdown ports disks ids; do
    timeout 120 "$work/machines" $case "$root" "$work" >"$work/out" 2>"$work/err" </dev/null
    result $? "$case"
done
echo "1..$number"
