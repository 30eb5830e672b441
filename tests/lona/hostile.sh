#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
#
# Texts that want to hurt: each must end soon, with the error named or with status 0, never by a signal.
set -u

lona=${LONA:-build/lona}
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT INT TERM
echo 0 >"$work/number" # expect runs in subshells

# expect NAME KIND: the text on standard input ends with this error (or "ok").
expect() {
    number=$(($(cat "$work/number") + 1))
    echo "$number" >"$work/number"
    cat >"$work/text"
    timeout 30 "$lona" run "$work/text" >"$work/out" 2>&1
    status=$?
    if [ "$2" = ok ] && [ $status -eq 0 ]; then
        echo "ok $number - $1"
    elif [ $status -eq 1 ] && grep -q -- "^lona: $2" "$work/out"; then
        echo "ok $number - $1"
    else
        echo "not ok $number - $1"
        echo "# status $status: $(head -c 300 "$work/out")"
    fi
}

# repeat TEXT COUNT
repeat() {
    awk -v t="$1" -v n="$2" 'BEGIN { for (i = 0; i < n; i++) printf "%s", t }'
}

repeat '(' 100000 | expect "deep lists" :too-deep
repeat "'" 100000 | expect "many quotes" :too-deep
repeat '^:a ' 100000 | expect "many annotations" :too-deep
repeat '#_ ' 100000 | expect "many discards" :too-deep
repeat '`' 50 | expect "many syntax-quotes" :too-deep
{ repeat '(do ' 900; repeat ')' 900; } | expect "deep code" :too-complex
{ printf '(count "'; repeat x 1000000; printf '")'; } | expect "a line of a megabyte" ok
{ printf '(count (str '; repeat 9 1000000; printf '))'; } | expect "a number of a million digits" ok
printf '1e999999999999999999999' | expect "a huge exponent" :invalid-number
printf '(+ 1 "\377\376")' | expect "bytes that are no UTF-8" :invalid-utf8
printf '"\300\200"' | expect "an overlong code" :invalid-utf8
printf '"abc' | expect "an open string" :unexpected-eof
printf '[1 2)' | expect "the wrong closer" :unmatched-delimiter
printf '(defmacro m [] (quote (m))) (m)' | expect "a macro that expands to itself" :macro-timeout
printf '(defmacro m [] (quote (do (m) (m)))) (m)' | expect "a macro that doubles" :too-complex
printf '(defmacro m [] ((fn* f [] (f)))) (m)' | expect "a macro that loops" :macro-timeout
printf '(defmacro m [] ((fn* f [l] (f (prepend l 1))) ())) (m)' |
    expect "a macro that eats memory" :macro-timeout
{ printf '(count ['; repeat '(+ 1 1) ' 40000; printf '])'; } | expect "a wide literal" :too-complex
{ printf '(match 39999'; awk 'BEGIN { for (i = 0; i < 40000; i++) printf " %d %d", i, i }'; printf ')'; } |
    expect "forty thousand clauses" ok
printf '(match 1 ##NaN 1 ##NaN 2 _ 3)' | expect "a pattern that equals nothing" ok
{ printf '(+ '; repeat '1 ' 60000; printf ')'; } | expect "sixty thousand arguments" :too-complex
printf '(eval (reduce (fn [f _] (list (quote do) f)) 1 (range 100000)))' | expect "a deep form" :too-complex
printf '(print-string (reduce (fn [l _] (list l)) 1 (range 100000)))' | expect "a deep value" ok
echo "1..$(cat "$work/number")"
