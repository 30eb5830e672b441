#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
#
# drupe jailer: flags, layout, ids, groups, and what it refuses. The program in the jail is drupe-vmm.
set -u

cd "$(dirname "$0")/../.." || exit 1
build=$(realpath "${BUILD:-build}")
drupe=$build/drupe
number=0
status=0
if [ "$(id -u)" != 0 ]; then
    echo "ok 1 - jailer # SKIP it works for root only"
    echo "1..1"
    exit 0
fi
work=$(mktemp -d)
id=test-$$
pids=()
cleanup() {
    local p d
    for p in "${pids[@]}"; do
        kill -KILL "$p" 2>/dev/null
    done
    for d in /sys/fs/cgroup/*/drupe-vmm/"$id" /sys/fs/cgroup/*/"jail-$id/$id" /sys/fs/cgroup/*/"jail-$id"; do
        for _ in 1 2 3 4 5 6 7 8 9 10; do
            rmdir "$d" 2>/dev/null || { [ -d "$d" ] && sleep 0.2; }
        done
    done
    rm -rf "$work"
}
trap cleanup EXIT

say() { # say OK TEXT
    number=$((number + 1))
    if [ "$1" = 0 ]; then
        echo "ok $number - $2"
    else
        echo "not ok $number - $2"
        status=1
    fi
}
refused() { # refused TEXT-IN-THE-ERROR ARGUMENTS...
    local want=$1
    shift
    out=$("$drupe" jailer --chroot-base-dir "$work" "$@" 2>&1 </dev/null)
    [ $? -ne 0 ] && case $out in *"$want"*) true ;; *) echo "# $out" && false ;; esac
    say $? "refused: $* ($want)"
}
wait_for() {
    for _ in $(seq 300); do
        "$@" && return 0
        sleep 0.1
    done
    return 1
}
good="--id $id --exec-file $build/drupe-vmm --uid 12345 --gid 12346"

refused "Argument '--id' required" --exec-file /bin/sh --uid 1 --gid 1
refused "Argument '--exec-file' required" --id x --uid 1 --gid 1
refused "Argument '--uid' required" --id x --exec-file /bin/sh --gid 1
refused "Argument '--gid' required" --id x --exec-file /bin/sh --uid 1
refused "an id has" --id a_b --exec-file "$build/drupe-vmm" --uid 1 --gid 1
refused "an id has" --id ../../etc --exec-file "$build/drupe-vmm" --uid 1 --gid 1
refused "exec file" --id x --exec-file "$work/none" --uid 1 --gid 1
refused "is not a file" --id x --exec-file "$work" --uid 1 --gid 1
refused "is not static" --id x --exec-file "$build/drupe" --uid 1 --gid 1
refused "Invalid uid" --id x --exec-file "$build/drupe-vmm" --uid nobody --gid 1
refused "Invalid gid" --id x --exec-file "$build/drupe-vmm" --uid 1 --gid 99999999999
refused "no jail" --id x --exec-file "$build/drupe-vmm" --uid 0 --gid 1
refused "resource limit" $good --resource-limit cpu=1
refused "resource limit" $good --resource-limit no-file=-1
refused "FILE=VALUE" $good --cgroup ../x=1
refused "FILE=VALUE" $good --cgroup memory
refused "parent cgroup" $good --parent-cgroup ../up
refused "parent cgroup" $good --parent-cgroup /abs
refused "1 to 2" $good --cgroup-version 3
refused "network namespace" $good --netns "$work/none"
refused "twice" $good --id other
refused "wasn't expected" $good stray
refused "" $good --cgroup nothing.such=1
out=$("$drupe" jailer --chroot-base-dir "$work/none" $good 2>&1)
say "$([ $? -ne 0 ] && echo 0 || echo 1)" "refused: a base that isn't there"
rm -rf "${work:?}"/*

out=$("$drupe" jailer --version)
say "$([[ $out == "Jailer v"* ]] && echo 0 || echo 1)" "--version says $out"

groups=
[ -d /sys/fs/cgroup/memory ] && groups="--cgroup memory.limit_in_bytes=600000000 --parent-cgroup jail-$id"
# shellcheck disable=SC2086 # several words
exec 9<"$0"
"$drupe" jailer --chroot-base-dir "$work" $good $groups --new-pid-ns --resource-limit no-file=512 \
    --resource-limit fsize=1000000 --daemonize -- --api-sock /api.sock
say $? "starts, with a PID namespace and in the background"
root=$work/drupe-vmm/$id/root
wait_for test -S "$root/api.sock"
say $? "the API socket stands in BASE/NAME/ID/root"
pid=$(cat "$root/drupe-vmm.pid")
pids+=("$pid")
tr '\0' ' ' <"/proc/$pid/cmdline" | grep -qE "^/drupe-vmm --id $id --start-time-us [0-9]+ --start-time-cpu-us [0-9]+ --parent-cpu-time-us [0-9]+ --api-sock /api.sock"
say $? "the program's arguments"
awk '/^Uid:/ { u = $2 $3 $4 $5 } /^Gid:/ { g = $2 $3 $4 $5 } /^Groups:/ { n = NF }
    END { exit !(u == "12345123451234512345" && g == "12346123461234612346" && n == 1) }' "/proc/$pid/status"
say $? "its ids, and no groups"
awk '/^Cap(Inh|Prm|Eff|Bnd|Amb):/ && $2 !~ /^0+$/ { bad = 1 } END { exit bad }' "/proc/$pid/status"
say $? "no capabilities"
grep -q '^Max open files *512 *512' "/proc/$pid/limits" && grep -q '^Max file size *1000000' "/proc/$pid/limits"
say $? "its limits"
say "$([ "$(tr -d '\0' <"/proc/$pid/environ" | wc -c)" = 0 ] && echo 0 || echo 1)" "no environment"
say "$([ ! -e "/proc/$pid/fd/9" ] && echo 0 || echo 1)" "no descriptor of the starter's"
say "$([ "$(stat -L -c %t:%T "/proc/$pid/fd/0")" = 1:3 ] && echo 0 || echo 1)" "--daemonize: its streams are /dev/null"
grep -q "^NSpid:.*[[:space:]]1$" "/proc/$pid/status"
say $? "--new-pid-ns: it is process 1"
say "$([ "$(wc -l <"/proc/$pid/mountinfo")" = 1 ] && echo 0 || echo 1)" "it sees one mount"
nodes=$(cd "$root/dev" && stat -c '%n %t:%T %u:%g %a' kvm net/tun urandom | tr '\n' ';')
say "$([ "$nodes" = "kvm a:e8 12345:12346 600;net/tun a:c8 12345:12346 600;urandom 1:9 12345:12346 600;" ] && echo 0 || echo 1)" "device nodes ($nodes)"
if [ -n "$groups" ]; then
    grep -q ":memory:/jail-$id/$id\$" "/proc/$pid/cgroup"
    say $? "--parent-cgroup and --cgroup: it is in its group"
fi
if command -v curl >/dev/null; then
    curl -s --max-time 20 --unix-socket "$root/api.sock" http://localhost/version | grep -q firecracker_version
    say $? "it answers on its API socket"
fi
echo "1..$number"
exit $status
