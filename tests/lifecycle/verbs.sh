#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
#
# The verbs on background machines, as a user types them: run -d, ps, logs, exec, cp, pause, snapshot, restore,
# clone, template, events, top, wait, stop, kill, rm; their refusals; and that nothing is left behind.
set -u

# shellcheck source=tests/lifecycle/lib.sh
. "$(dirname "$0")/lib.sh"

last_number() {
    "$drupe" logs -n 100000 "$1" | sed -n 's/^n \([0-9]*\)$/\1/p' | tail -n 1
}

counter='i=0; while :; do i=$((i + 1)); echo n $i; sleep 0.1; done'

# ---- Start, look ----
expect "run -d prints an id" 0 '^[0-9a-f]\{12\}$' run -d --name one /bin/busybox sh -c "$counter"
expect "a second one of that name is refused" 1 'a running machine is called one' run -d --name one /bin/busybox true
expect "a bad name is refused" 2 'a name is' run -d --name 'a b' /bin/busybox true
expect "ps lists it" 0 ' one .*RUNNING' ps
expect "ps --json does as well" 0 '"name":"one","state":"RUNNING"' ps --json
until_true printed one '^n 3$'
report $? "its console is in its log"
expect "logs shows the end" 0 '^n [0-9]' logs -n 1 one
expect "top without a terminal prints once" 0 ' one .*RUNNING' top
expect "no such machine" 1 'no machine "nobody"' pause nobody
mkdir -p "$work/open" && chmod 755 "$work/open"
DRUPE_RUN_DIR=$work/open expect "a run directory that others may enter" 1 "run directory $work/open.*chmod 700" ps
expect "a verb without a machine" 2 'say which machine' pause

# ---- Exec and files ----
expect "exec: output" 0 '^hello$' exec one -- /bin/busybox echo hello
expect "exec: the command's status" 7 '' exec one -- /bin/busybox sh -c 'exit 7'
expect "exec: a signal" 143 '' exec one -- /bin/busybox sh -c 'kill -TERM $$'
expect "exec: no such program" 127 'nosuch' exec one -- nosuch
expect "exec: a variable" 0 '^x=y$' exec -e x=y one -- /bin/busybox env
expect "exec: a folder" 0 '^/tmp$' exec -w /tmp one -- /bin/busybox pwd
expect "exec: a user" 0 'uid=65534' exec -u 65534 one -- /bin/busybox id
expect "exec: its time is limited" 124 'timeout' exec --timeout 1 one -- /bin/busybox sleep 100
head -c 300000 /dev/urandom >"$work/random"
timeout 120 "$drupe" exec -i one -- /bin/busybox md5sum <"$work/random" >"$work/out" 2>"$work/err"
[ "$(cut -d' ' -f1 "$work/out")" = "$(md5sum <"$work/random" | cut -d' ' -f1)" ]
report $? "exec -i: 300,000 bytes of input"
mkdir -p "$work/tree/sub/empty"
echo text >"$work/tree/file"
cp "$work/random" "$work/tree/sub/random"
chmod 750 "$work/tree/file"
expect "cp: a folder in" 0 '' cp "$work/tree" one:/tmp/
expect "cp: and out again" 0 '' cp one:/tmp/tree "$work/back"
diff -r "$work/tree" "$work/back" >"$work/out" 2>&1 && [ "$(stat -c %a "$work/back/file")" = 750 ]
report $? "cp: the same files, with their modes"
expect "cp: a file that is not there" 1 'No such file' cp one:/nosuch "$work/x"
expect "cp: two places of the host" 2 'one of the two must be' cp /etc/passwd /tmp/x

# ---- Pause ----
expect "pause" 0 '' pause one
expect "pause again changes nothing" 0 '' pause one
expect "ps says so" 0 ' one .*PAUSED' ps
before=$(last_number one)
sleep 1
[ "$(last_number one)" = "$before" ]
report $? "a paused machine stands still"
expect "kill -s of a paused one is refused" 1 'PAUSED' kill -s TERM one
expect "exec in a paused one says so" 1 'one is paused' exec one -- /bin/busybox true
expect "resume" 0 '' resume one
until_true printed one "^n $((before + 3))\$"
report $? "it goes on"
"$drupe" logs -n 100000 one | sed -n 's/^n //p' | awk '$1 != NR { exit 1 }'
report $? "no number is missing, none comes twice"

# ---- Snapshot, restore, clones ----
expect "snapshot" 0 '' snapshot one "$work/one.snapshot"
frozen=$(last_number one)
expect "another one" 0 '' snapshot one "$work/two.snapshot"
if "$drupe" snapshot --live one "$work/live.snapshot" 2>"$work/err"; then
    expect "restore of a live snapshot" 0 '' restore --clone --name live "$work/live.snapshot"
    until_true printed live '^n [0-9]'
    report $? "it counts"
    expect "kill of that one" 0 '' kill live
else
    number=$((number + 1))
    echo "ok $number - snapshot --live # SKIP $(cat "$work/err")"
fi
expect "snapshot into a folder that is not there" 1 'No such file' snapshot one "$work/nosuch/file"
[ -z "$(find "$work" -maxdepth 1 -name '*.tmp-*')" ]
report $? "no half-written file is left"
expect "kill" 0 '' kill one
expect "a dead one is listed by ps -a" 0 ' one .*killed' ps -a
expect "and not by ps" 0 '' ps -q
[ ! -s "$work/out" ]
report $? "(nothing runs)"
expect "exec in a dead one" 1 'has ended' exec one -- /bin/busybox true
expect "wait for one whose monitor was killed" 4 'was killed' wait one
expect "restore" 0 '^[0-9a-f]\{12\}$' restore --name two "$work/one.snapshot"
until_true printed two "^n $((frozen + 2))\$"
report $? "it goes on from where it was frozen"
expect "exec in a restored one" 0 '^again$' exec two -- /bin/busybox echo again
expect "restore --paused" 0 '' restore --clone --paused --name three "$work/two.snapshot"
expect "it is" 0 ' three .*PAUSED' ps
expect "three clones" 0 '' restore --clone -n 3 --name c "$work/two.snapshot"
expect "several need --clone" 2 'needs --clone' restore -n 2 "$work/one.snapshot"
for i in 1 2 3; do
    until_true printed "c-$i" '^n [0-9]'
    report $? "clone $i counts"
done
expect "clone of a running one" 0 '^[0-9a-f]\{12\}$' clone --name twin two
until_true printed twin '^n [0-9]'
report $? "it counts as well"
cp "$work/one.snapshot" "$work/bad.snapshot"
printf 'X' | dd of="$work/bad.snapshot" bs=1 seek=300 conv=notrunc 2>/dev/null
expect "a damaged snapshot is refused" 1 'damaged' restore "$work/bad.snapshot"
head -c 5000 "$work/one.snapshot" >"$work/short.snapshot"
expect "a cut one as well" 1 'drupe: restore: ' restore "$work/short.snapshot"
expect "something else as well" 1 'drupe: restore: ' restore /bin/busybox

# ---- Ends ----
expect "stop: SIGTERM" 0 '' stop -t 20 two
expect "wait gives the status" 143 '' wait two
expect "stop of a paused one" 0 '' stop three
expect "events of one" 0 'ended' events two
expect "events of all, as JSON" 0 '"event":"started"' events --json
expect "rm of a running one is refused" 1 'stop it first' rm c-1
expect "rm --force" 0 '' rm --force c-1
expect "run -d of a program that ends" 0 '' run -d --name short /bin/busybox sh -c 'echo out; exit 3'
expect "wait for it" 3 '' wait short
expect "its log stays" 0 '^out$' logs short
expect "wait with a timeout" 124 'still runs' wait -t 1 c-2
expect "run -d with a timeout" 0 '' run -d --name timed -t 1 /bin/busybox sleep 100
expect "ends it" 137 '' wait timed

# ---- Templates ----
expect "template create" 0 'of memory in use, .* needed by a clone' template create --ready ready tpl /bin/busybox sh -c \
    'x=kept; echo ready; read line; echo "$x $line"'
expect "template ls" 0 '^tpl ' template ls
for i in 1 2 3; do
    echo "line $i" | timeout 120 "$drupe" run --template tpl >"$work/out" 2>"$work/err"
    [ $? = 0 ] && [ "$(cat "$work/out")" = "kept line $i" ]
    report $? "run --template: clone $i has its own input and output"
done
printf 'a\nb\nc\n' | timeout 120 "$drupe" pool --template tpl -j 2 >"$work/out" 2>"$work/err"
[ $? = 0 ] && [ "$(cat "$work/out")" = "kept a
kept b
kept c" ]
report $? "pool: a clone for each line, output in their order"
printf 'a\n' | timeout 120 "$drupe" pool --template nosuch >"$work/out" 2>"$work/err"
[ $? = 1 ] && grep -q 'No such file' "$work/err"
report $? "pool of no template"
echo "a line to learn from" >"$work/lesson"
expect "template create --train" 0 'needed by a clone' template create --ready ready --train "$work/lesson" t4 \
    /bin/busybox sh -c 'echo ready; read line; echo "$line"'
expect "template create --train of no file" 1 'No such file' template create --train "$work/nosuch" t5 /bin/busybox cat
expect "template create --no-train" 0 'of memory in use$' template create --ready ready --no-train t6 \
    /bin/busybox sh -c 'echo ready; read line; echo "$line"'
for t in t4 t6; do
    echo hello | timeout 120 "$drupe" run --template $t >"$work/out" 2>"$work/err"
    [ $? = 0 ] && [ "$(cat "$work/out")" = hello ]
    report $? "run --template $t: it has learned nothing but which memory it needs"
done
expect "template of a program that ends" 1 'ended (status 0) before' template create t2 /bin/busybox true
expect "template that never gets ready" 124 'was not printed' template create --ready no --limit 1 t3 /bin/busybox sleep 100
expect "template rm" 0 '' template rm tpl
expect "run --template of none" 1 'No such file' run --template tpl

# ---- Nothing is left ----
for id in $("$drupe" ps -q); do
    "$drupe" kill "$id"
done
expect "rm --dead" 0 '' rm --dead
[ -z "$(ls -A "$DRUPE_RUN_DIR")" ]
report $? "the run directory is empty"
! grep -q "$work" /proc/mounts
report $? "nothing is mounted"
echo "1..$number"
