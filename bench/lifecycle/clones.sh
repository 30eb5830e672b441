#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
#
# Machines as a user has them, each jailed, through the commands: a Python program started cold, from a template, and
# a hundred of those; what a fresh clone costs in memory; what its threads may ask the host for.
#   bench/lifecycle/clones.sh BUILD PYTHON-IMAGE
set -eu

build=$1
image=$(realpath "$2")
drupe=$(realpath "$build/drupe")
repeat=$(realpath "$build/bench/repeat")
bare=$(realpath "$build/bench/bare_kvm")
work=$(mktemp -d -p /dev/shm 2>/dev/null || mktemp -d)
DRUPE_RUN_DIR=$work/run
DRUPE_TEMPLATES=$work/templates
export DRUPE_RUN_DIR DRUPE_TEMPLATES

clean_up() {
    for id in $("$drupe" ps -q 2>/dev/null); do
        "$drupe" kill "$id" >/dev/null 2>&1 || true
    done
    "$drupe" rm --dead >/dev/null 2>&1 || true
    rm -rf "$work"
}
trap clean_up EXIT
trap 'exit 1' INT TERM

now_us() {
    echo $(($(date +%s%N) / 1000))
}

median() { # [-o] RUNS COMMAND...: in microseconds, -o to its first output
    "$repeat" "$@" </dev/null | tail -n 1 | cut -d' ' -f1
}

row() {
    printf '%-64s %12s\n' "$1" "$2"
}

for train in "" --no-train; do
    # shellcheck disable=SC2086 # one word or none
    "$drupe" template create --root "$image" -m 64 --ready ready $train "py$train" -- \
        python3 -c 'import json, sys; print("ready", flush=True); exec(sys.stdin.read())' >/dev/null 2>&1
done
printf 'print(1)\n' >"$work/input"
clone() {
    "$drupe" run --template py <"$work/input" >/dev/null
}
for train in "" --no-train; do
    cat >"$work/one$train" <<TEXT
#!/bin/sh
exec $drupe run --template py$train <$work/input
TEXT
done
cat >"$work/cold" <<TEXT
#!/bin/sh
exec $drupe run -m 64 --root $image -- python3 -c 'print(1)' </dev/null >/dev/null
TEXT
cat >"$work/host" <<TEXT
#!/bin/sh
exec /usr/bin/python3 -c 'import json; print(1)'
TEXT
chmod +x "$work/one" "$work/one--no-train" "$work/cold" "$work/host"

bare_us=$(median 11 "$bare")
cold_us=$(median 5 "$work/cold")
clone_us=$(median 21 "$work/one")
untrained_us=$(median 21 "$work/one--no-train")
host_us=$(median 21 "$work/host")
row "bare KVM program, us" "$bare_us"
row "python3 -c 'print(1)', cold: spawn to exit, us" "$cold_us"
row "the same from a template: spawn to exit, us" "$clone_us"
row "  beyond the bare KVM program, us" $((clone_us - bare_us))
row "  without a recorded working set, us" "$untrained_us"
row "  the same program on the host, us" "$host_us"
row "  to its first output, us" "$(median -o 21 "$work/one")"
row "    without a recorded working set, us" "$(median -o 21 "$work/one--no-train")"
row "    the same program on the host, us" "$(median -o 21 "$work/host")"

began=$(now_us)
for _ in 1 2 3 4 5 6 7 8 9 10; do
    "$work/cold"
done
cold10=$(($(now_us) - began))
began=$(now_us)
for _ in $(seq 100); do
    clone
done
clone100=$(($(now_us) - began))
row "10 cold ones after each other, ms" $((cold10 / 1000))
row "100 clones after each other, ms" $((clone100 / 1000))
began=$(now_us)
for i in $(seq 100); do
    echo "print($i)"
done | "$drupe" pool --template py >/dev/null
row "100 clones from the pool, ms" $((($(now_us) - began) / 1000))

"$drupe" run -d --name base -m 64 --root "$image" -- \
    python3 -c 'import time; print("ready", flush=True); time.sleep(1000)' >/dev/null
for _ in $(seq 100); do
    "$drupe" logs base | grep -q ready && break
    sleep 0.1
done
"$drupe" snapshot base "$work/snapshot"
"$drupe" kill base
began=$(now_us)
"$drupe" restore --clone --paused -n 20 "$work/snapshot" >/dev/null
row "restore of 20 paused, jailed clones: each, us" $((($(now_us) - began) / 20))
private=0
for id in $("$drupe" ps -q); do
    pid=$(sed -n 's/.*"pid": \([0-9]*\).*/\1/p' "$DRUPE_RUN_DIR/$id/vm.json")
    private=$((private + $(awk '/^Private/ { sum += $2 } END { print sum }' "/proc/$pid/smaps_rollup")))
done
row "  private memory of each, monitor and guest, KiB" $((private / 20))
for kind in vcpu loop main api; do
    row "system calls that a $kind thread may make" \
        "$("$drupe" doctor --filters | awk -F'|' -v k=" $kind " '$2 == k { print $3 + 0 }')"
done
