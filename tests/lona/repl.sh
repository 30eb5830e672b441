#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
#
# The prompt, as a person uses it: keys into a terminal, what the screen then shows.
set -u

if ! command -v tmux >/dev/null 2>&1; then
    echo "ok 1 - the prompt # SKIP no tmux here"
    exit 0
fi
lona=$(realpath "${LONA:-build/lona}")
work=$(mktemp -d)
socket=$work/tmux
trap 'tmux -S "$socket" kill-server 2>/dev/null; rm -rf "$work"' EXIT
number=0

start() {
    tmux -S "$socket" -f /dev/null new-session -d -s t -x 90 -y 40 \
        "env HOME=$work LC_ALL=C.UTF-8 $lona; echo left \$?; sleep 60"
    shows '^lona>' || true
}

keys() { tmux -S "$socket" send-keys -t t "$@"; }

# shows PATTERN: does the screen come to hold it within fifteen seconds?
shows() {
    i=0
    while [ $i -lt 300 ]; do
        tmux -S "$socket" capture-pane -t t -p | sed '/^ *$/d' >"$work/screen"
        grep -q -- "$1" "$work/screen" && return 0
        i=$((i + 1))
        sleep 0.05
    done
    return 1
}

# check TITLE PATTERN
check() {
    number=$((number + 1))
    if shows "$2"; then
        echo "ok $number - $1"
    else
        echo "not ok $number - $1: the screen never showed '$2'"
        sed 's/^/# /' "$work/screen"
    fi
}

start
keys '(+ 20 1)' Enter
check "a value" '^21$'
keys '(list 1' Enter
check "a continuation prompt" '^\.\.\.\.\. *$'
keys '2)' Enter
check "input over lines" '^(1 2)$'
keys '[*1 *2]' Enter
check "the last results" '^\[(1 2) 21\]$'
keys '(list 7 (no-such 8))' Enter
check "the place under a caret" '^ *\^$'
check "the error's kind" 'Error: :undefined: .*no-such'
keys '(let [x' Enter C-c
check "Ctrl-C drops the input" '\^C$'
keys '(def twelve 12)' Enter
keys '(+ twel' Tab
check "completion" '^lona> (+ twelve'
keys '1)' Enter
check "of what was defined here" '^13$'
keys '(doc binary-sl' Tab
keys BSpace ')' Enter
check "documentation" '(b off len)'
keys '(do (println "round") ((fn* f [] (f))))' Enter
check "what an endless loop printed before" '^round$'
keys C-c
check "Ctrl-C ends an endless loop" ':interrupted'
keys '(do (println "waits") (receive :never 1))' Enter
check "what a wait printed before" '^waits$'
keys C-c '(* 6 7)' Enter
check "and a wait; the prompt goes on" '^42$'
keys Up Up Up Up Enter
check "history" '(b off len)'
keys C-d
check "Ctrl-D leaves with status 0" 'left 0'
tmux -S "$socket" kill-server 2>/dev/null
socket=$work/tmux2 # the old server may still be leaving its own
start
keys Up Enter
check "history is kept" '(b off len)'
echo "1..$number"
