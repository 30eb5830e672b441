#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
#
# Snapshots of real guests: several vCPUs, Python, live and incremental ones; clones that are machines of their
# own; a monitor killed while it writes.
set -u

# shellcheck source=tests/lifecycle/lib.sh
. "$(dirname "$0")/lib.sh"
python_image=$(realpath "${PYTHON_IMAGE:-build/tests/python.erofs}" 2>/dev/null)

run() { # NAME COMMAND...: it succeeds
    name=$1
    shift
    expect "$name" 0 '' "$@"
}

numbers() { # MACHINE
    "$drupe" logs -n 100000 "$1" 2>/dev/null | sed -n 's/^n \([0-9][0-9]*\) .*/\1/p'
}

has_counted() { # MACHINE TO
    [ "$(numbers "$1" | tail -n 1)" -ge "$2" ] 2>/dev/null
}

has_printed() { # MACHINE LINES
    [ "$(numbers "$1" | wc -l)" -ge "$2" ]
}

lines() { # MACHINE FROM: what it printed for numbers from there on, in whole lines
    "$drupe" logs -n 100000 "$1" 2>/dev/null | sed -n 's/^n \([0-9][0-9]*\) \([0-9a-f-]\{36\} [0-9]\{10\}\)$/\1 \2/p' |
        awk -v from="$2" '$1 >= from'
}

# Each line: a number, a random id, the time.
# shellcheck disable=SC2016 # the guest's shell expands it
counter='i=0; while :; do i=$((i + 1)); echo "n $i $(cat /proc/sys/kernel/random/uuid) $(date +%s)"; done'

# go_on MACHINE CLONES FROM NAME: the clones count on, with ids of their own and the time of now.
go_on() {
    for n in 1 2 3; do
        until_true has_counted "$2-$n" $(($3 + 3)) && until_true has_printed "$2-$n" 4
        report $? "$4: clone $n counts on from $3"
        [ "$(numbers "$2-$n" | head -n 1)" -ge "$3" ]
        report $? "$4: clone $n does not begin again"
    done
    # The first lines of each may hold ids that were made before the snapshot. Read once: they go on.
    for n in 1 2 3; do lines "$2-$n" "$3" | tail -n +3 | cut -d' ' -f2; done >"$work/ids"
    all=$(wc -l <"$work/ids")
    unique=$(sort -u "$work/ids" | wc -l)
    [ "$all" -gt 0 ] && [ "$all" -eq "$unique" ]
    report $? "$4: $all random ids, $unique different ones"
    guest=$(lines "$2-1" $(($3 + 2)) | tail -n 1 | cut -d' ' -f3)
    now=$(date +%s)
    [ "$guest" -ge $((now - 120)) ] && [ "$guest" -le "$now" ]
    report $? "$4: the clone's time is the host's"
}

shell_guest() { # CPUS LIVE NAME
    machine=shell-$1$2
    run "$3: start" run -d --name "$machine" -c "$1" /bin/busybox sh -c "$counter"
    until_true has_counted "$machine" 2
    report $? "$3: it counts"
    # shellcheck disable=SC2086 # --live or nothing
    run "$3: snapshot" snapshot $2 "$machine" "$work/$machine.snap"
    at=$(numbers "$machine" | tail -n 1)
    "$drupe" kill "$machine" >/dev/null 2>&1
    sleep 2 # so that a clock that stood still would show
    run "$3: three clones" restore --clone -n 3 --name "$machine-clone" "$work/$machine.snap"
    go_on "$machine" "$machine-clone" "$((at > 2 ? at - 2 : 1))" "$3"
    for n in 1 2 3; do
        "$drupe" kill "$machine-clone-$n" >/dev/null 2>&1
    done
    rm -f "$work/$machine.snap"
}

python_guest() {
    if [ ! -s "$python_image" ]; then
        echo "# no Python image: not tried"
        return
    fi
    program='
import itertools, time, uuid
for i in itertools.count(1):
    print("n", i, uuid.uuid4(), int(time.time()), flush=True)
    time.sleep(0.05)
'
    run "python: start" run -d --name python --root "$python_image" -- python3 -u -c "$program"
    until_true has_counted python 2
    report $? "python: it counts"
    run "python: snapshot" snapshot python "$work/python.snap"
    at=$(numbers python | tail -n 1)
    "$drupe" kill python >/dev/null 2>&1
    run "python: three clones" restore --clone -n 3 --name python-clone "$work/python.snap"
    go_on python python-clone "$((at > 2 ? at - 2 : 1))" python
    for n in 1 2 3; do
        "$drupe" kill "python-clone-$n" >/dev/null 2>&1
    done
}

# A monitor that dies at any moment of a snapshot leaves the file that was there, or a whole one.
killed_monitor() {
    for delay in 0 0.005 0.01 0.02 0.05; do
        run "kill: start" run -d --name victim --no-jail /bin/busybox sh -c "$counter"
        until_true has_counted victim 1
        pid=$("$drupe" ps --no-trunc 2>/dev/null | awk '/victim/ { for (i = 1; i <= NF; i++) if ($i ~ /^[0-9]+$/ && $i > 100) { print $i; exit } }')
        rm -f "$work/victim.snap"
        "$drupe" snapshot victim "$work/victim.snap" >/dev/null 2>&1 &
        sleep "$delay"
        [ -n "$pid" ] && kill -9 "$pid" 2>/dev/null
        wait
        if [ -e "$work/victim.snap" ]; then
            run "kill after $delay s: the file is whole" restore --paused --name risen "$work/victim.snap"
            "$drupe" kill risen >/dev/null 2>&1
        else
            report 0 "kill after $delay s: no file"
        fi
        "$drupe" kill victim >/dev/null 2>&1
        "$drupe" rm --dead >/dev/null 2>&1
    done
}

shell_guest 1 "" "one vCPU"
shell_guest 2 "" "two vCPUs"
shell_guest 2 --live "live"
python_guest
killed_monitor
echo "1..$number"
