#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
#
# A guest under a jailed monitor connects to ports of the host: those that somebody listens at answer, the others refuse;
# who connects for the monitor can do nothing else, and goes with it.
set -u

cd "$(dirname "$0")/../.." || exit 1
build=$(realpath "${BUILD:-build}")
drupe=$build/drupe
number=0
status=0

if ! [ -w /dev/kvm ] || ! command -v python3 >/dev/null; then
    echo "ok 1 - connections of a jailed guest # SKIP no /dev/kvm or no python3"
    echo "1..1"
    exit 0
fi
work=$(mktemp -d)
DRUPE_RUN_DIR=$work/run
export DRUPE_RUN_DIR
listener=
clean_up() {
    "$drupe" kill client >/dev/null 2>&1
    [ -z "$listener" ] || kill "$listener" 2>/dev/null
    rm -rf "$work"
}
trap clean_up EXIT

say() { # say OK TEXT
    number=$((number + 1))
    if [ "$1" = 0 ]; then
        echo "ok $number - $2"
    else
        echo "not ok $number - $2"
        status=1
    fi
}
wait_for() { # wait_for COMMAND...: up to a minute
    local i
    for i in $(seq 600); do
        "$@" && return 0
        sleep 0.1
    done
    echo "# $i looks: $*"
    return 1
}
has() { # has TEXT FILE
    grep -q "$1" "$2" 2>/dev/null
}

id=$("$drupe" run -d --name client "$build/tests/vsock_client" 5000 5001 5000 9999)
say $? "the machine starts"
dir=$DRUPE_RUN_DIR/$id
cat >"$work/listen.py" <<'PY'
import socket, sys, threading

def serve(path, word):
    s = socket.socket(socket.AF_UNIX)
    s.bind(path)
    s.listen(4)
    while True:
        c, _ = s.accept()
        try:
            got = c.recv(64).decode().strip()
            c.sendall(f"{word} {got}\n".encode())
        except OSError:  # the guest only looked whether somebody listens
            pass
        c.close()

for port in sys.argv[2:]:
    threading.Thread(target=serve, args=(f"{sys.argv[1]}_{port}", f"port{port}")).start()
PY
python3 "$work/listen.py" "$dir/vsock.sock" 5000 5001 &
listener=$!
monitor=$(sed -n 's/.*"pid": \([0-9]*\).*/\1/p' "$dir/vm.json")
wait_for has '^ready' "$dir/console.log"
broker=
for p in /proc/[0-9]*; do
    if [ "$(awk '/^PPid/ { print $2 }' "$p/status" 2>/dev/null)" != "$monitor" ] &&
        [ "$(readlink "$p/root" 2>/dev/null)" = "$dir" ]; then
        broker=${p#/proc/}
    fi
done
if [ "$(id -u)" = 0 ]; then
    [ -n "$broker" ]
    say $? "who connects for the monitor has the machine's folder for its root"
    [ "$(awk '/^(CapEff|CapPrm|CapInh)/ { print $2 }' "/proc/$broker/status" | sort -u)" = 0000000000000000 ]
    say $? "and no capability"
    [ "$(awk '/^Seccomp:/ { print $2 }' "/proc/$broker/status")" = 2 ]
    say $? "and a filter"
    [ "$(find "/proc/$broker/fd" -type l | wc -l)" = 4 ]
    say $? "and one descriptor beside /dev/null"
    others=$(awk '/^Uid/ { print $2 }' "/proc/$monitor/status")
    [ "$others" -ge 1879048192 ]
    say $? "the monitor itself is jailed, with ids of its own"
fi
wait_for has '^done' "$dir/console.log"
[ "$(grep -c '^5000: port5000 hello' "$dir/console.log")" = 2 ]
say $? "a port of the host answers the guest, twice"
has '^5001: port5001 hello' "$dir/console.log"
say $? "another one as well"
has '^9999: ECONNRESET' "$dir/console.log"
say $? "a port at which nobody listens refuses"
[ $status = 0 ] || sed 's/^/# /' "$dir/console.log"
"$drupe" kill client >/dev/null
if [ -n "$broker" ]; then
    gone() { ! [ -e "/proc/$broker" ]; }
    wait_for gone
    say $? "who connected for it ends with it"
fi

# The same for drupe vmm, which has paths: its loop connects by itself, under its filter.
if command -v mkfs.erofs >/dev/null; then
    vmm=$work/vmm
    mkdir -p "$vmm/root/bin" "$vmm/root/dev" "$vmm/root/proc" "$vmm/root/tmp"
    cp "$build/tests/vsock_client" "$vmm/root/bin/client"
    mkfs.erofs -E noinline_data "$vmm/root.erofs" "$vmm/root" >/dev/null 2>&1
    cat >"$vmm/config.json" <<TEXT
{"boot-source": {"kernel_image_path": "drupe:kernel",
                 "boot_args": "console=ttyS0 reboot=k panic=1 init=/bin/client -- 6000 9999"},
 "drives": [{"drive_id": "rootfs", "path_on_host": "$vmm/root.erofs", "is_root_device": true, "is_read_only": true}],
 "machine-config": {"vcpu_count": 1, "mem_size_mib": 64},
 "vsock": {"guest_cid": 3, "uds_path": "$vmm/v.sock"}}
TEXT
    python3 "$work/listen.py" "$vmm/v.sock" 6000 &
    listeners=$!
    "$drupe" vmm --api-sock "$vmm/api.sock" --config-file "$vmm/config.json" >"$vmm/output" 2>&1 &
    monitor=$!
    wait_for has '^done' "$vmm/output"
    [ "$(awk '/^Seccomp:/ { print $2 }' "/proc/$monitor/status")" = 2 ]
    say $? "drupe vmm: the monitor has a filter"
    has '^6000: port6000 hello' "$vmm/output"
    say $? "drupe vmm: a port of the host answers the guest"
    has '^9999: ECONNRESET' "$vmm/output"
    say $? "drupe vmm: a port at which nobody listens refuses"
    [ $status = 0 ] || sed 's/^/# /' "$vmm/output"
    kill "$monitor" "$listeners"
fi
echo "1..$number"
exit $status
