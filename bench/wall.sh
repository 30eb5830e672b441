#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
#
# Whole processes, wall time, side by side in one run: a bare KVM program, `drupe run`, gVisor's runsc
# (ptrace platform) and bubblewrap, each running a static hello and `python3 -c 'print(1)'`.
# Every row is the median of RUNS runs (11), interleaved so that a slow phase of the host hits all alike.
# Also: private memory of the monitor beyond guest RAM, and the smallest --memory that still runs each.
#
#   bench/wall.sh BUILD-DIR PYTHON-IMAGE       tables on stdout, rows in bench/results.json
set -euo pipefail

build=$(realpath "$1")
image=$(realpath "$2")
runs=${RUNS:-11}
here=$(dirname "$(realpath "$0")")
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT

cc -O2 -static -o "$work/hello" "$here/../examples/hello-c/src/main.c"
export XDG_CACHE_HOME=${XDG_CACHE_HOME:-$work/cache}

names=()
commands=()
row() { # row NAME COMMAND...: skipped, visibly, when it does not succeed once
    local name=$1
    shift
    if "$@" </dev/null >"$work/out" 2>"$work/err"; then
        names+=("$name")
        commands+=("$(printf '%q ' "$@")")
    else
        echo "wall: skipping '$name': $(tail -n 1 "$work/err" 2>/dev/null)" >&2
    fi
}

row "bare KVM program" "$build/bench/bare_kvm"
row "drupe run: static hello" "$build/drupe" run "$work/hello"
row "drupe run: python3 -c 'print(1)'" "$build/drupe" run --root "$image" -- python3 -c 'print(1)'
if command -v runsc >/dev/null; then
    row "runsc ptrace: static hello" runsc --platform=ptrace --network=none "do" "$work/hello"
    row "runsc ptrace: python3 -c 'print(1)'" runsc --platform=ptrace --network=none "do" /usr/bin/python3 -c 'print(1)'
fi
if command -v bwrap >/dev/null; then
    row "bwrap: static hello" bwrap --ro-bind / / --dev /dev --proc /proc --unshare-all "$work/hello"
    row "bwrap: python3 -c 'print(1)'" bwrap --ro-bind / / --dev /dev --proc /proc --unshare-all /usr/bin/python3 -c 'print(1)'
fi
row "host: static hello" "$work/hello"
row "host: python3 -c 'print(1)'" /usr/bin/python3 -c 'print(1)'

for _ in $(seq "$runs"); do
    for i in "${!names[@]}"; do
        start=$EPOCHREALTIME
        eval "${commands[$i]}" </dev/null >/dev/null 2>&1
        end=$EPOCHREALTIME
        echo $((${end/./} - ${start/./})) >>"$work/times.$i"
    done
done

median() { sort -n "$1" | awk '{ v[NR] = $1 } END { print v[int((NR + 1) / 2)] }'; }
base=
json=
printf '%-42s %10s %12s\n' "process (median of $runs)" "ms" "ratio to bare"
for i in "${!names[@]}"; do
    us=$(median "$work/times.$i")
    base=${base:-$us}
    awk -v n="${names[$i]}" -v us="$us" -v b="$base" 'BEGIN { printf "%-42s %10.2f %12.2f\n", n, us / 1000, us / b }'
    json+="${json:+,}$(printf '\n  "wall_us: %s": %s' "${names[$i]}" "$us")"
done

# Smallest memory: halve the gap between what fails and what runs.
smallest() { # smallest NAME COMMAND... with @ for the size
    local name=$1 low=1 high=256 mid
    shift
    while [ $((high - low)) -gt 1 ]; do
        mid=$(((low + high) / 2))
        if timeout 60 "${@//@/$mid}" </dev/null >/dev/null 2>&1; then high=$mid; else low=$mid; fi
    done
    printf '%-42s %7s MiB\n' "smallest --memory: $name" "$high"
    json+=",$(printf '\n  "memory_mib: %s": %s' "$name" "$high")"
}
echo
smallest "static hello" "$build/drupe" run --memory @ "$work/hello"
smallest "python3 -c 'print(1)'" "$build/drupe" run --memory @ --root "$image" -- python3 -c 'print(1)'

# Private memory of the monitor: what smaps calls private, less the guest's own RAM mapping.
cat >"$work/sleep.c" <<'C'
#include <unistd.h>
int main(void) { (void)!write(1, "up\n", 3); pause(); return 0; }
C
cc -O2 -static -o "$work/sleep" "$work/sleep.c"
"$build/drupe" run --memory 128 "$work/sleep" </dev/null >"$work/up" 2>/dev/null &
pid=$!
for _ in $(seq 100); do
    [ -s "$work/up" ] && break
    sleep 0.1
done
private=$(awk '/^Size:/ { guest = $2 >= 64 * 1024 }
    /^Private_(Clean|Dirty):/ { if (!guest) sum += $2 } END { print sum }' "/proc/$pid/smaps" 2>/dev/null || true)
kill "$pid" 2>/dev/null || true
wait "$pid" 2>/dev/null || true
printf '%-42s %7s KiB\n' "monitor's private memory beyond guest RAM" "${private:-?}"
strip -o "$work/stripped" "$build/drupe"
total=$(stat -c %s "$work/stripped")
kernel=$(stat -c %s "$build/kernel.elf")
printf '%-42s %7s KiB (with its %s KiB kernel %s KiB)\n' "drupe, stripped, without the kernel" "$(((total - kernel) / 1024))" \
    "$((kernel / 1024))" "$((total / 1024))"
json+=",$(printf '\n  "monitor_private_kib": %s,\n  "binary_without_kernel_bytes": %s' "${private:-null}" "$((total - kernel))")"

printf '{%s\n}\n' "$json" >"$here/results.json"
