#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
#
# Files, directories, the environment and arguments as scripts see them, also where they are no UTF-8;
# what the limits and an early (exit :normal) do to a whole run.
set -u

lona=$(realpath "${LONA:-build/lona}")
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
cd "$work" || exit 1
number=0

# expect TITLE STATUS OUTPUT EXPRESSION: what is printed, or the error's first word
expect() {
    number=$((number + 1))
    printf '(ns user (:require [lona.system :as sys]))\n(println %s)\n' "$4" >script.lona
    timeout 60 "$lona" $options run script.lona $arguments >out 2>err </dev/null
    status=$?
    if [ "$2" -ne 0 ]; then
        sed -n '1s/^lona: \(:[a-z-]*\).*/\1/p' err >out
    fi
    if [ $status -eq "$2" ] && [ "$(cat out)" = "$3" ]; then
        echo "ok $number - $1"
    else
        echo "not ok $number - $1"
        printf 'status %s, printed %s\n' "$status" "$(head -c 300 out)" | sed 's/^/# /'
        head -n 3 err | sed 's/^/# /'
    fi
}

options=
arguments=
expect "write a file" 0 ':ok' '(sys/write-file "a.txt" "one")'
expect "add to it" 0 ':ok' '(sys/append-file "a.txt" #bytes"two")'
expect "read it" 0 '[:ok #bytes[0x6F 0x6E 0x65 0x74 0x77 0x6F]]' '(sys/read-file "a.txt")'
expect "its kind" 0 ':file' '(sys/file-kind "a.txt")'
expect "a directory's kind" 0 ':directory' '(sys/file-kind ".")'
expect "another kind" 0 ':other' '(sys/file-kind "/dev/null")'
expect "no kind" 0 '' '(sys/file-kind "none")'
expect "no kind below a file" 0 '' '(sys/file-kind "a.txt/b")'
expect "read a directory" 0 '[:error :io]' '(sys/read-file ".")'
expect "read nothing" 0 '[:error :not-found]' '(sys/read-file "none")'
expect "read an empty path" 0 '[:error :invalid]' '(sys/read-file "")'
expect "read a path with a zero" 0 '[:error :invalid]' '(sys/read-file "a\u0000b")'
expect "write where nothing is" 0 '[:error :not-found]' '(sys/write-file "none/a" "x")'
expect "write to a directory" 0 '[:error :io]' '(sys/write-file "." "x")'
expect "write to an empty path" 0 '[:error :invalid]' '(sys/write-file "" "x")'
expect "a full device" 0 '[:error :io]' '(sys/write-file "/dev/full" "x")'
expect "read no path" 1 ':type-error' '(sys/read-file 5)'
expect "write no data" 1 ':type-error' '(sys/write-file "a" 5)'
expect "write to no path" 1 ':type-error' '(sys/write-file :a "")'
expect "remove no path" 1 ':type-error' '(sys/remove-file 5)'
expect "kind of no path" 1 ':type-error' '(sys/file-kind 5)'
expect "list no path" 1 ':type-error' '(sys/list-directory 5)'
expect "variable of no name" 1 ':type-error' '(sys/env 5)'
expect "write no text" 1 ':type-error' '(sys/console-write 5)'
expect "write to the console" 0 'x:ok' '(sys/console-write "x")'
expect "remove it" 0 ':ok' '(sys/remove-file "a.txt")'
expect "remove nothing" 0 '[:error :not-found]' '(sys/remove-file "a.txt")'
expect "remove an empty path" 0 '[:error :invalid]' '(sys/remove-file "")'
expect "kind of an empty path" 0 '[:error :invalid]' '(sys/file-kind "")'
expect "list nothing" 0 '[:error :not-found]' '(sys/list-directory "none")'
expect "list an empty path" 0 '[:error :invalid]' '(sys/list-directory "")'

mkdir names
printf x >names/b
printf y >names/a
printf z >"names/$(printf '\377')"
expect "names in order, one no UTF-8" 0 '[:ok ("a" "b" #bytes[0xFF])]' '(sys/list-directory "names")'
expect "a path that is no UTF-8" 0 '[:ok #bytes[0x7A]]' \
    '(sys/read-file #bytes[0x6E 0x61 0x6D 0x65 0x73 0x2F 0xFF])'
expect "remove such a path" 0 ':ok' '(sys/remove-file #bytes[0x6E 0x61 0x6D 0x65 0x73 0x2F 0xFF])'

LONA_PLAIN=value LONA_BYTES=$(printf '\376x') LONA_LONG=$(head -c 9000 /dev/zero | tr '\0' e)
export LONA_PLAIN LONA_BYTES LONA_LONG
expect "a variable" 0 'value' '(sys/env "LONA_PLAIN")'
expect "one that is no UTF-8" 0 '#bytes[0xFE 0x78]' '(sys/env "LONA_BYTES")'
expect "a long one" 0 '9000' '(count (sys/env "LONA_LONG"))'
expect "none" 0 '' '(sys/env "LONA_NONE")'
expect "an empty name" 0 '' '(sys/env "")'

arguments="one $(printf '\375') three"
expect "arguments, one no UTF-8" 0 '("one" #bytes[0xFD] "three")' '(sys/arguments)'
arguments=

options="--max-heap 1000000"
expect "a heap that is too large" 1 ':oom' '((fn* f [l] (f (prepend l 1))) ())'
expect "endless recursion" 1 ':stack-overflow' '((fn* f [n] (+ 1 (f n))) 1)'
expect "one process's memory is its own" 0 ':oom' "(let [[p r] (spawn-monitor
    (fn [] ((fn* f [l] (f (prepend l 1))) ())))] (receive [:DOWN _ _ [:error kind & _]] kind))"
options=
expect "a normal end inside eval" 0 '' "(eval '(exit :normal))"
expect "a normal end of a helper" 0 ':normal' "(let [[p r] (spawn-monitor
    (fn [] (eval '(exit :normal))))] (receive [:DOWN _ _ why] why))"

for text in '(exit :normal)' "(eval '(exit :normal))" '(match 1 _ (exit :normal))'; do
    number=$((number + 1))
    got=$(timeout 20 "$lona" eval "$text" 2>&1)
    if [ $? -eq 0 ] && [ "$got" = :normal ]; then
        echo "ok $number - $text"
    else
        echo "not ok $number - $text"
        echo "# printed $got"
    fi
done

echo "1..$number"
