#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
#
# A good VM in its jail: it runs, each of its threads is confined, nothing of it is left behind; also when its starter
# is killed.
set -u

cd "$(dirname "$0")/../.." || exit 1
drupe=$(realpath "${BUILD:-build}/drupe")
work=$(mktemp -d)
number=0
status=0
pids=()
trap 'rm -rf "$work"' EXIT

say() { # say OK TEXT
    number=$((number + 1))
    if [ "$1" = 0 ]; then
        echo "ok $number - $2"
    else
        echo "not ok $number - $2"
        status=1
    fi
}

if ! [ -w /dev/kvm ]; then
    echo "ok 1 - a VM in its jail # SKIP /dev/kvm does not open"
    echo "1..1"
    exit 0
fi
if ! command -v busybox >/dev/null; then
    echo "ok 1 - a VM in its jail # SKIP no busybox"
    echo "1..1"
    exit 0
fi
busybox=$(command -v busybox)

wait_for() { # wait_for COMMAND...: up to a minute
    local i
    for i in $(seq 600); do
        if "$@"; then
            return 0
        fi
        sleep 0.1
    done
    echo "# $i looks: $*"
    return 1
}
child_of() { # the jailed process of starter $1
    pgrep -P "$1" | head -n 1
}
is_running() { # is_running PID FILE: the guest of starter PID has printed
    [ -s "$2" ]
}
leftovers() { # of starter $1
    ls -d "/run/drupe/run-$1-"* /sys/fs/cgroup/*/drupe/"run-$1-"* /sys/fs/cgroup/drupe/"run-$1-"* 2>/dev/null
}

start() { # start NAME OPTIONS...: sets starter
    local out=$work/$1
    shift
    "$drupe" run "$@" "$busybox" sh -c 'echo started; sleep 600' >"$out" 2>"$out.err" </dev/null &
    starter=$!
    pids+=("$starter")
    wait_for is_running "$starter" "$out" || sed 's/^/# /' "$out.err"
}

out=$("$drupe" run "$busybox" echo hello </dev/null 2>"$work/err")
say "$([ "$out" = hello ] && echo 0 || echo 1)" "a jailed VM runs a program"

start one
child=$(child_of "$starter")
awk '/^Uid:/ { exit !($2 != 0 && $2 == $3 && $3 == $4) }' "/proc/$child/status"
say $? "its ids are not 0"
awk '/^Cap(Inh|Prm|Eff|Bnd|Amb):/ && $2 !~ /^0+$/ { bad = 1 } END { exit bad }' "/proc/$child/status"
say $? "it has no capability, nor may it gain one"
grep -q '^NoNewPrivs:[[:space:]]*1' "/proc/$child/status"
say $? "no_new_privs is set"
free=0
for t in "/proc/$child/task"/*/status; do
    grep -q '^Seccomp:[[:space:]]*2' "$t" || free=$((free + 1))
done
say "$([ $free = 0 ] && echo 0 || echo 1)" "each of its threads is confined by a filter"
same=
for n in mnt pid net ipc uts; do
    [ "$(readlink "/proc/$child/ns/$n")" != "$(readlink "/proc/self/ns/$n")" ] || same="$same $n"
done
say "$([ -z "$same" ] && echo 0 || echo 1)" "its namespaces are not the host's${same:+, but for$same}"
say "$([ "$(wc -l <"/proc/$child/mountinfo")" = 1 ] && echo 0 || echo 1)" "it sees one mount, its empty root"
dirs=0
for f in "/proc/$child/fd"/*; do
    [ -d "$f" ] && dirs=$((dirs + 1))
done
say $dirs "it holds no directory open"
if [ -n "$(ls -d /sys/fs/cgroup/memory 2>/dev/null)" ] && [ "$(id -u)" = 0 ]; then
    grep -qE '(memory|0::).*drupe/run-' "/proc/$child/cgroup"
    say $? "it is in a cgroup of its own"
fi
kill -TERM "$starter"
wait "$starter"
say "$([ $? = 143 ] && echo 0 || echo 1)" "SIGTERM to the starter ends it with 143"
say "$([ -z "$(leftovers "$starter")" ] && echo 0 || echo 1)" "nothing of it is left"

start two
child=$(child_of "$starter")
kill -KILL "$child"
wait "$starter" 2>/dev/null
say "$([ $? = 4 ] && echo 0 || echo 1)" "a killed monitor: the starter says so with status 4"
say "$([ -z "$(leftovers "$starter")" ] && echo 0 || echo 1)" "nothing of it is left"

start three
child=$(child_of "$starter")
kill -KILL "$starter"
wait "$starter" 2>/dev/null
is_gone() {
    ! [ -e "/proc/$1" ]
}
wait_for is_gone "$child"
say $? "a killed starter: its monitor ends"
"$drupe" run "$busybox" true </dev/null
say "$([ -z "$(leftovers "$starter")" ] && echo 0 || echo 1)" "the next start removes what it left"

start four --no-jail
say "$([ -z "$(child_of "$starter")" ] && echo 0 || echo 1)" "--no-jail keeps the monitor in the starter"
kill -TERM "$starter"
wait "$starter"
echo "1..$number"
exit $status
