#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
#
# Incremental snapshots as a user makes them: a chain of them, restored and gone on from; files that moved; what is
# refused, and what it says.
set -u

# shellcheck source=tests/lifecycle/lib.sh
. "$(dirname "$0")/lib.sh"

last_number() { # MACHINE
    "$drupe" logs -n 100000 "$1" | sed -n 's/^n \([0-9]*\)$/\1/p' | tail -n 1
}

first_number() { # MACHINE
    "$drupe" logs -n 100000 "$1" | sed -n 's/^n \([0-9]*\)$/\1/p' | head -n 1
}

goes_on_from() { # MACHINE NUMBER
    until_true printed "$1" '^n [0-9]' && first=$(first_number "$1") && [ "$first" -ge "$2" ] &&
        until_true printed "$1" "^n $((first + 3))\$"
}

kilobytes() { # FILE
    du -k "$1" | cut -f1
}

# shellcheck disable=SC2016 # the guest's shell expands it
counter='i=0; while :; do i=$((i + 1)); echo n $i; sleep 0.1; done'
snaps=$work/snaps
mkdir "$snaps"

# ---- Refused before there is a base ----
expect "run --track-dirty is for -d" 2 'use it with -d' run --track-dirty /bin/busybox true
expect "start without tracking" 0 '' run -d --name plain /bin/busybox sh -c "$counter"
expect "a diff of that one" 1 'started without --track-dirty' snapshot --diff plain "$snaps/x"
expect "start with tracking" 0 '' run -d --name one --track-dirty /bin/busybox sh -c "$counter"
until_true printed one '^n 3$'
report $? "it counts"
expect "a diff of nothing" 1 'take a full one first' snapshot --diff one "$snaps/x"
expect "--base of nothing" 1 'take a full one first' snapshot --base "$snaps/x" one "$snaps/y"

# ---- A chain ----
expect "full snapshot" 0 '' snapshot one "$snaps/full"
expect "first diff" 0 '' snapshot --diff one "$snaps/first"
[ "$(kilobytes "$snaps/first")" -lt "$(kilobytes "$snaps/full")" ]
report $? "the diff is smaller: $(kilobytes "$snaps/first") KiB, the full one $(kilobytes "$snaps/full") KiB"
expect "a clone does not break the chain" 0 '' clone --name copy one
expect "nor does its snapshot need one" 1 'started without --track-dirty' snapshot --diff copy "$snaps/x"
frozen=$(last_number one)
expect "second diff" 0 '' snapshot --diff one "$snaps/second"
expect "a diff over its own base" 1 'give it a name of its own' snapshot --diff one "$snaps/second"
expect "a diff over its base's base" 1 'give it a name of its own' snapshot --diff one "$snaps/full"
if "$drupe" snapshot --live --diff one "$snaps/live" 2>"$work/err"; then
    report 0 "a live diff"
else
    grep -q 'needs write protection' "$work/err"
    report $? "a live diff # SKIP $(cat "$work/err")"
fi
expect "kill" 0 '' kill one
expect "restore the chain" 0 '' restore --name two --track-dirty "$snaps/second"
goes_on_from two "$frozen"
report $? "it goes on where it was frozen"
expect "restore the chain without a jail" 0 '' restore --clone --no-jail --name free "$snaps/second"
goes_on_from free "$frozen"
report $? "it does as well"
expect "three clones of the first diff" 0 '' restore --clone -n 3 --name c "$snaps/first"
for n in 1 2 3; do
    goes_on_from "c-$n" 1
    report $? "clone $n counts"
done
expect "the restored one's chain goes on" 0 '' snapshot --diff two "$snaps/third"
expect "and on" 0 '' snapshot --diff two "$snaps/fourth"
expect "a clone that records" 0 '' clone --name twin --track-dirty two
expect "has nothing to build on" 1 'has no name' snapshot --diff twin "$snaps/x"

# ---- Files that are elsewhere, or other ones ----
mkdir "$work/moved"
cp "$snaps/full" "$snaps/second" "$work/moved/"
cp "$snaps/first" "$work/moved/another-name"
mv "$snaps" "$work/gone"
expect "moved and renamed, found by their ids" 0 '' restore --clone --name moved "$work/moved/second"
goes_on_from moved "$frozen"
report $? "it counts"
expect "the last snapshot is not where it was" 1 'say with --base where it is' snapshot --diff two "$work/x"
expect "--base says where" 0 '' snapshot --base "$work/gone/fourth" two "$work/gone/fifth"
expect "a base that is not there" 1 'No such file' snapshot --base "$work/nosuch" two "$work/x"
expect "the base of another machine" 1 "pages are counted from" snapshot --base "$work/gone/full" two "$work/x"
expect "a base that is no snapshot" 1 'not a snapshot' snapshot --base /bin/busybox two "$work/x"
expect "restore of the fifth" 0 '' restore --clone --name five "$work/gone/fifth"
goes_on_from five "$frozen"
report $? "it counts"
rm "$work/moved/another-name"
expect "a missing base" 1 "second builds on $snaps/first (id [0-9a-f]*), which is neither there nor beside it" \
    restore --clone "$work/moved/second"
cp "$work/gone/full" "$work/moved/first"
expect "another snapshot in its place" 1 'is another one now' restore --clone "$work/moved/second"
cp "$work/gone/first" "$work/moved/first"
printf 'X' | dd of="$work/moved/first" bs=1 seek=300 conv=notrunc 2>/dev/null
expect "a damaged base" 1 'moved/first: the metadata is damaged' restore --clone "$work/moved/second"
[ -z "$(find "$work" -maxdepth 2 -name '*.tmp-*' -o -maxdepth 2 -name x)" ]
report $? "no half-written file is left"
echo "1..$number"
