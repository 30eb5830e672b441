#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
#
# Snapshots of machines with shared folders and disks: they go on where those were, or where the caller says they are now.
set -u

# shellcheck source=tests/lifecycle/lib.sh
. "$(dirname "$0")/lib.sh"

root=$work/root
mkdir -p "$root/bin" "$root/data" "$root/tmp" "$root/proc" "$root/dev" "$work/a" "$work/b"
cp /bin/busybox "$root/bin/"
for name in sh cat echo sleep ls dd; do
    ln -s busybox "$root/bin/$name"
done
# Line after line into the shared folder, by a file that stays open; with what another file there says.
cat >"$root/count" <<'END'
exec 3>>/data/log
n=0
while :; do
    n=$((n + 1))
    read -r where </data/where
    echo "$n $where $(dd if=/dev/vda bs=8 count=1 2>/dev/null)" >&3
    sleep 0.2
done
END
echo here >"$work/a/where"
echo there >"$work/b/where"
head -c 1048576 /dev/zero >"$work/one.img"
cp "$work/one.img" "$work/two.img"
printf 'disk one' | dd of="$work/one.img" conv=notrunc 2>/dev/null
printf 'disk two' | dd of="$work/two.img" conv=notrunc 2>/dev/null

has_line() { # FILE PATTERN
    grep -q -e "$2" "$1" 2>/dev/null
}
last_number() { # FILE
    tail -n 1 "$1" | cut -d' ' -f1
}

expect "start, with a folder as root, a shared one and a disk" 0 '' \
    run -d --name first --root "$root" -v "$work/a:/data" --disk "$work/one.img" -- /bin/sh /count
until_true has_line "$work/a/log" '^3 here disk one'
report $? "it writes into the folder"
expect "snapshot" 0 '' snapshot first "$work/snap"
at=$(last_number "$work/a/log")
"$drupe" kill first >/dev/null 2>&1

: >"$work/a/log"
expect "restore" 0 '' restore --name again "$work/snap"
until_true has_line "$work/a/log" "^$((at + 3)) here disk one"
report $? "it goes on in the same folder, by the file that it had open"
"$drupe" kill again >/dev/null 2>&1

: >"$work/b/log"
expect "restore with another folder and another disk" 0 '' \
    restore --clone --name moved -v "$work/b:/data" --disk "$work/two.img" "$work/snap"
until_true has_line "$work/b/log" "^$((at + 3)) there disk two"
report $? "it goes on there"
expect "a command reads the folder" 0 '^there' exec moved -- /bin/cat /data/where
expect "a clone of it needs a disk of its own" 1 'needs a writable disk of its own' clone moved
cp "$work/two.img" "$work/three.img"
expect "which it can be given" 0 '' clone --name twin --disk "$work/three.img" moved
expect "it runs" 0 '^disk two' exec twin -- /bin/dd if=/dev/vda bs=8 count=1
"$drupe" kill twin >/dev/null 2>&1
"$drupe" kill moved >/dev/null 2>&1

expect "read-only from now on" 0 '' \
    restore --clone --name fixed -v "$work/b:/data:ro" --disk "$work/two.img" "$work/snap"
expect "then nothing can be written there" 1 'Read-only' exec fixed -- /bin/sh -c 'echo x >/data/new'
[ ! -e "$work/b/new" ]
report $? "and nothing was"
"$drupe" kill fixed >/dev/null 2>&1

mkdir "$work/empty"
expect "a folder without the open file" 0 '' \
    restore --clone --name lost -v "$work/empty:/data" --disk "$work/two.img" "$work/snap"
expect "only that file is lost" 0 '' exec lost -- /bin/sh -c 'echo x >/data/new'
[ -e "$work/empty/new" ]
report $? "the folder works"
"$drupe" kill lost >/dev/null 2>&1

expect "a folder that the snapshot has not" 2 'no shared folder at /nowhere' restore -v "$work/b:/nowhere" "$work/snap"
expect "a folder that is not there" 1 'none' restore -v "$work/none:/data" "$work/snap"
expect "too many disks" 2 'give all or none' restore --disk "$work/one.img" --disk "$work/two.img" "$work/snap"
echo "1..$number"
