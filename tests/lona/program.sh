#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
#
# The program lona: what it prints where, its exit statuses, and what bad input does to it: an error
# on standard error, never a crash or an endless loop.
set -u

lona=$(realpath "${LONA:-build/lona}")
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
cd "$work" || exit 1
number=0

# result TITLE WHY
result() {
    number=$((number + 1))
    if [ -z "$2" ]; then
        echo "ok $number - $1"
    else
        echo "not ok $number - $1 #$2"
        sed 's/^/# /' err | head -n 5
    fi
}

# expect STATUS OUTPUT ERROR-PART ARGUMENTS...; ERROR-PART is empty when nothing may be there
expect() {
    status=$1
    output=$2
    part=$3
    shift 3
    timeout 60 "$lona" "$@" >out 2>err </dev/null
    got=$?
    why=
    [ "$got" -eq "$status" ] || why="$why status $got instead of $status;"
    [ "$(cat out)" = "$output" ] || why="$why printed '$(head -c 200 out)';"
    if [ -n "$part" ]; then
        grep -qF -- "$part" err || why="$why lacks '$part';"
    elif [ -s err ]; then
        why="$why wrote to standard error;"
    fi
    result "lona $(echo "$*" | head -c 70 | tr '\n#' ' .')" "$why"
}

# ---- values, statuses ----
expect 0 1 "" eval 1
expect 0 '100000000000000000001N' "" eval '(+ 1/3 2/3 100000000000000000000)'
expect 0 '"é\n"' "" eval '"é\n"'
expect 0 nil "" eval ''
expect 0 3 "" eval '1 2 3'
expect 1 "" ":division-by-zero" eval '(/ 1 0)'
expect 1 "" "<eval>:2:" eval '(do
  (undefined-name 1))'
expect 1 "" ":exit: :boom" eval '(exit :boom)'
expect 2 "" "unknown command" frobnicate
expect 2 "" "wrong number of arguments" eval
expect 2 "" "wrong number of arguments" eval 1 2
expect 2 "" "unknown option" --frobnicate eval 1
expect 2 "" "out of range" --workers 0 eval 1
expect 2 "" "out of range" --workers 12x eval 1
expect 0 8 "" --workers 8 eval '(+ 3 5)'
expect 1 "" ":file-not-found" run /no/such/file.lona
expect 1 "" "x.lona" fmt x.lona
printf '(defn f [x]\n(+ x 1)) ; kept\n' >layout.lona
expect 0 "" "" fmt layout.lona
printf '(defn f [x]\n  (+ x 1)) ; kept\n' | cmp -s - layout.lona
result "fmt lays out in place" "$([ $? -eq 0 ] || echo ' another layout')"

# ---- scripts ----
printf '#!/usr/bin/env lona\n(defn main [& args]\n  (println (count args) (first args)))\n' >args.lona
expect 0 "3 a b" "" run args.lona "a b" c d
printf '(println "top")\n' >top.lona
expect 0 top "" run top.lona
printf '(defn f [x]\n  (+ x :a))\n(defn main []\n  (f 1))\n' >trace.lona
expect 1 "" "trace.lona:2" run trace.lona
grep -qF "trace.lona:4" err || grep -qF "in user/f" err
result "a trace names the function" "$([ $? -eq 0 ] || echo ' no function in the trace')"
printf '(+ 1 2\n' >open.lona
expect 1 "" "open.lona:1:1" run open.lona
printf '(println 1)(exit [:error :mine %%{:message "why"}])' >mine.lona
expect 1 1 ":mine: why" run mine.lona

# ---- standard input as a REPL without a terminal ----
printf '(def x 20)\n(+ x\n 1)\n[*1]\n' | timeout 20 "$lona" >out 2>err
result "REPL reads a pipe" "$([ "$(sed -n '2,3p' out | tr '\n' ' ')" = "21 [21] " ] || echo " printed $(cat out)")"
printf '(/ 1 0)\n(+ 1 1)\n' | timeout 20 "$lona" >out 2>err
result "REPL goes on after an error" "$([ "$(cat out)" = 2 ] && grep -q division err || echo ' no')"

printf '(spawn (fn [] ((fn* f [] (f)))))\n(+ 1 1)\n' | timeout 20 "$lona" --workers 1 >out 2>err
result "REPL goes on beside an endless process" "$([ "$(tail -n 1 out)" = 2 ] || echo " printed $(cat out)")"

# ---- bad input ----
big() { python3 -c "import sys; sys.stdout.write($1)" >big.lona; }
big "'(' * 100000"
expect 1 "" ":" run big.lona
big "'[' * 100000 + ']' * 100000"
expect 1 "" ":too-deep" run big.lona
big "'(def x \"' + 'a' * 1000000 + '\") (println (count x))'"
expect 0 1000000 "" run big.lona
big "'(println (count (str ' + '9' * 20000 + ')))'"
expect 0 20001 "" run big.lona
big "'(println (+ ' + '1 ' * 100 + '))'"
expect 0 100 "" run big.lona
big "'(+ ' + '1 ' * 100000 + ')'"
expect 1 "" ":" run big.lona
big "')'"
expect 1 "" ":unmatched-delimiter" run big.lona
printf '(println "\377\376")' >big.lona
expect 1 "" ":" run big.lona
printf '\0' >big.lona
expect 1 "" ":" run big.lona
head -c 5000 /dev/urandom >big.lona
timeout 20 "$lona" run big.lona >out 2>err
result "random bytes" "$([ $? -eq 1 ] || echo ' not status 1')"
expect 1 "" ":stack-overflow" --max-heap 1000000 eval '((fn* f [n] (+ 1 (f n))) 1)'
expect 1 "" ":oom" --max-heap 1000000 eval '((fn* f [l] (f (prepend l 1))) ())'
expect 1 "" ":" eval '(def ^:macro m (fn* [] (quote (m)))) (m)'
expect 1 "" ":macro-timeout" eval '(def ^:macro m (fn* f [] (f))) (m)'
expect 1 "" ":" eval '(bit-shl 1 100000000000)'
expect 1 "" ":" eval '((fn* f [n x] (match n 0 x _ (f (- n 1) (* x x)))) 64 12345)'
expect 0 :ok "" eval '(do (spawn (fn [] ((fn* f [] (f))))) :ok)'

# ---- the code of a text ----
expect 0 "" "" disasm /dev/null
timeout 10 "$lona" disasm -e '(fn* [a] (+ a 1))' >out 2>err
result "disasm shows instructions" "$(grep -q RETURN out || echo ' no RETURN')"
expect 1 "" ":undefined" disasm -e '(nothing-here)' 

echo "1..$number"
