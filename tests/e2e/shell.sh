#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
# Programs of the host in a machine of their own: busybox, a dynamic glibc program, statuses, streams.
set -u
# shellcheck source=tests/e2e/lib.sh
. "$(dirname "$0")/lib.sh"

for accel in $(accels); do
    run() { # NAME STATUS OUTPUT SCRIPT
        expect "$accel: $1" "$2" "$3" --accel "$accel" $busybox sh -c "$4" </dev/null
    }

    run "exit status" 7 "" 'exit 7'
    run "output and order" 0 "one
two
" 'echo one; echo two'
    timeout 120 "$drupe" run --accel "$accel" $busybox sh -c \
        'for i in 1 2 3; do (echo $i | sed s/^/n/) & done; wait; ls / | wc -l; kill -SEGV $$' \
        >"$work/out" 2>"$work/err" </dev/null
    got=$?
    [ $got -eq 139 ] && [ "$(head -n 3 "$work/out" | sort | tr -d '\n')" = n1n2n3 ] &&
        [ "$(sed -n 4p "$work/out")" -gt 5 ]
    result $? "$accel: pipelines, jobs, death by signal (status $got)"
    run "signal death of a child" 0 "139
" 'sh -c "kill -SEGV \$\$"; echo $?'
    run "files of a shell's day" 0 "b a
d
3
" 'cd /tmp; echo a >x; echo b >y; echo $(cat y x); mkdir -p d/e; ls -d d; cd d; touch 1 2 3; rm -r e; ls | wc -l'
    printf 'a\nb\n' | expect "$accel: standard input to a dynamic program" 0 "2
" --accel "$accel" /usr/bin/wc -l
    head -c 300000 /dev/zero | tr '\0' x >"$work/big"
    expect "$accel: 300 kB through cat" 0 "$(cat "$work/big")" --accel "$accel" $busybox cat <"$work/big"
    expect "$accel: arguments with any byte" 0 "a b|c
d|\$HOME|" --accel "$accel" $busybox sh -c 'for a; do printf "%s|" "$a"; done' -- 'a b' 'c
d' '$HOME' </dev/null
    expect "$accel: environment" 0 "bar
" --accel "$accel" --env FOO=bar $busybox sh -c 'echo $FOO' </dev/null
    timeout 120 "$drupe" run --accel "$accel" $busybox sh -c 'echo out; echo err >&2' >"$work/out" 2>"$work/err" </dev/null
    [ "$(cat "$work/out")" = out ] && grep -qx err "$work/err"
    result $? "$accel: standard output and error stay apart"
done

# What goes wrong in the guest stays there.
for accel in $(accels); do
    LIMIT=60 expect_error "$accel: an endless loop obeys --timeout" 124 "time" --accel "$accel" --timeout 3 \
        $busybox sh -c 'while :; do :; done'
    cat >"$work/null.c" <<'C'
int main(void) { *(volatile int *)0 = 1; return 0; }
C
    cc -static -O1 -w -o "$work/null" "$work/null.c"
    expect_error "$accel: null dereference reported in a line" 139 "null" --accel "$accel" "$work/null"
    [ "$(grep -c . "$work/err")" -le 2 ]
    result $? "$accel: the report is a line"
    cat >"$work/hog.c" <<'C'
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>
int main(void)
{
    pid_t pid = fork();
    int status;
    if (pid == 0)
        for (;;) { char *p = malloc(1 << 20); if (!p) _exit(9); memset(p, 1, 1 << 20); }
    waitpid(pid, &status, 0);
    printf("%s\n", WIFSIGNALED(status) && WTERMSIG(status) == 9 ? "killed" : "not killed");
    return 0;
}
C
    cc -static -O1 -w -o "$work/hog" "$work/hog.c"
    expect "$accel: a memory hog is killed, the machine lives" 0 "killed
" --accel "$accel" --memory 32 "$work/hog" </dev/null
    cat >"$work/bomb.c" <<'C'
#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <sys/wait.h>
#include <unistd.h>
int main(void)
{
    int n = 0;
    pid_t pid;
    while ((pid = fork()) > 0) n++;
    if (pid == 0) { pause(); _exit(0); }
    printf("%s\n", errno == EAGAIN || errno == ENOMEM ? "EAGAIN" : "other");
    signal(SIGTERM, SIG_IGN);
    kill(0, SIGTERM);
    while (wait(NULL) > 0) n--;
    printf("%d left\n", n);
    return 0;
}
C
    cc -static -O1 -w -o "$work/bomb" "$work/bomb.c"
    expect "$accel: a fork bomb ends in EAGAIN" 0 "EAGAIN
0 left
" --accel "$accel" --memory 32 "$work/bomb" </dev/null
done
echo "1..$number"
