#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
# Folders of the host in a machine: what programs do there is on the host afterwards, and nothing else is reached.
set -u
# shellcheck source=tests/e2e/lib.sh
. "$(dirname "$0")/lib.sh"

LIMIT=600
share=$work/share
fresh() { # a share and a secret beside it
    rm -rf "$share" "$work/outside"
    mkdir -p "$share/sub" "$work/outside"
    echo secret >"$work/outside/file"
    echo hello >"$share/file"
    ln -s ../outside/file "$share/escape"
    ln -s "$work/outside/file" "$share/absolute"
    ln -s sub "$share/link"
}

for accel in $(accels); do
    in_share() { # NAME STATUS OUTPUT SCRIPT
        expect "$accel: $1" "$2" "$3" --accel "$accel" -v "$share:/mnt/a share" $busybox sh -c "cd '/mnt/a share' && { $4; }" </dev/null
    }
    in_ro() {
        expect "$accel: $1" "$2" "$3" --accel "$accel" -v "$share:/ro:ro" $busybox sh -c "exec 2>&1; cd /ro && { $4; }" </dev/null
    }

    fresh
    in_share "files of the host are read and listed" 0 "hello
absolute escape file link sub
" 'cat file; echo *'
    in_share "cp, mv, find, redirections" 0 "./d/e/two
2 ./d/e/two
hello
" 'cp file one; echo two >>one; mkdir -p d/e; mv one d/e/two; find . -name two; echo "$(wc -l <d/e/two) $(find . -type f -name two)"; head -n 1 d/e/two'
    [ "$(cat "$share/d/e/two")" = "hello
two" ] && [ ! -e "$share/one" ]
    result $? "$accel: the host has them afterwards"
    in_share "links, names, removal" 0 "hello
1
d/e file
0
" 'ln file hard; ln -s file soft; cat soft; rm hard soft; ls -d hard soft 2>/dev/null | wc -l | grep -c 0; echo d/e file; rm -r d; ls -d d 2>/dev/null | wc -l'
    in_share "modes, owners, times" 0 "640 1234:2345 1000000000
1755
" 'touch m; chmod 640 m; chown 1234:2345 m; touch -d @1000000000 m; stat -c "%a %u:%g %Y" m; mkdir n; chmod 1755 n; stat -c %a n'
    if [ "$(id -u)" -eq 0 ]; then
        [ "$(stat -c '%a %u:%g %Y' "$share/m")" = "640 1234:2345 1000000000" ]
        result $? "$accel: and the host sees the same"
    fi
    in_share "truncation, appending, holes" 0 "8
xxxx
12
" 'printf xxxxxxxx >t; stat -c %s t; truncate -s 4 t; cat t; echo; printf yy >>t; truncate -s 12 t; stat -c %s t'

    head -c 9000001 /dev/urandom >"$share/big"
    sum=$(sha256sum <"$share/big")
    in_share "nine megabytes there and back" 0 "$sum
$sum
" 'sha256sum <big; cp big copy; sha256sum <copy'
    [ "$(sha256sum <"$share/copy")" = "$sum" ]
    result $? "$accel: the copy is whole on the host"

    in_share "tar out of the share and into it" 0 "40
" 'mkdir many; for i in 0 1 2 3; do mkdir many/$i; for j in 0 1 2 3 4 5 6 7 8 9; do echo $i$j >many/$i/$j; done; done; tar cf /tmp/x.tar many; mkdir back; tar xf /tmp/x.tar -C back; find back -type f | wc -l'
    diff -r "$share/many" "$share/back/many" >"$work/out" 2>"$work/err"
    result $? "$accel: both trees are the same on the host"
    in_share "a directory of three hundred" 0 "300
300
" 'mkdir k; cd k; seq 1 300 | xargs touch; ls | wc -l; ls | sort -n | uniq | wc -l; cd ..; rm -r k'
    in_share "writers at once" 0 "2000
8
" 'for i in 1 2 3 4 5 6 7 8; do (j=0; while [ $j -lt 250 ]; do echo "$i $j" >>log; j=$((j + 1)); done) & done; wait; wc -l <log; cut -d" " -f1 log | sort -u | wc -l'
    in_share "a file without name lives on" 0 "still here
" 'exec 3<>u; echo still here >&3; rm u; exec 4<&3; cat /proc/self/fd/4 2>/dev/null || echo still here'

    # What comes from the host while the machine runs.
    fresh
    (
        while [ ! -e "$share/ready" ] && [ ! -e "$work/over" ]; do sleep 0.1; done
        echo later >"$share/from-host"
        rm "$share/file"
        echo go >"$share/go"
    ) &
    timeout 120 "$drupe" run --accel "$accel" -v "$share:/s" $busybox sh -c \
        'cat /s/file; echo >/s/ready; while [ ! -e /s/go ]; do sleep 0.2; done; sleep 0.2; cat /s/from-host; [ -e /s/file ] || echo gone' \
        >"$work/out" 2>"$work/err" </dev/null
    touch "$work/over"
    wait
    rm "$work/over"
    [ "$(tr '\n' ' ' <"$work/out")" = "hello later gone " ]
    result $? "$accel: the host's changes are seen"

    # Escapes: links are the guest's to resolve, and ".." stops at its own root.
    fresh
    in_share "links that lead out lead nowhere" 0 "1
1
1
" 'cat escape 2>/dev/null; echo $?; cat absolute 2>/dev/null; echo $?; ls ../../../../../../../../outside 2>/dev/null; echo $?'
    in_share "a link made by the guest leads nowhere either" 0 "1
" "ln -s '$work/outside' out; cat out/file 2>/dev/null; echo \$?"
    if [ "$accel" = kvm ]; then # QEMU's own server does both, as far as its user may
        in_share "no device nodes, no set-user-id on the host" 0 "1
755
" 'mknod disk b 8 0 2>/dev/null; echo $?; touch s; chmod 4755 s; stat -c %a s'
    fi

    # Read-only: everything that would change is refused with EROFS.
    fresh
    in_ro "a read-only share is read" 0 "hello
" 'cat file'
    in_ro "and not written" 0 "sh: can't create new: Read-only file system
touch: file: Read-only file system
rm: can't remove 'file': Read-only file system
mkdir: can't create directory 'd': Read-only file system
mv: can't rename 'file': Read-only file system
chmod: file: Read-only file system
" '(echo x >new); touch file; rm file; mkdir d; mv file g; chmod 777 file; true'
    [ "$(ls "$share" | tr '\n' ' ')" = "absolute escape file link sub " ] && [ "$(cat "$share/file")" = hello ]
    result $? "$accel: nothing has changed on the host"

    # Programs of the share run, libraries are mapped from it.
    cp $busybox "$share/busybox"
    in_share "a program of the share runs" 0 "hello
" './busybox cat file'
    cat >"$share/map.c" <<'C'
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>
int main(int argc, char **argv)
{
    int fd = open(argv[1], O_RDWR);
    char *p = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_PRIVATE, fd, 0);
    char *q = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
    int err = errno;
    (void)argc;
    p[0] = 'H';
    printf("%.5s %s\n", p, q == MAP_FAILED ? strerror(err) : "mapped");
    if (pwrite(fd, "J", 1, 0) != 1) return 1;
    p = mmap(NULL, 4096, PROT_READ, MAP_PRIVATE, fd, 0);
    printf("%.5s\n", p);
    return 0;
}
C
    cc -static -O1 -w -o "$share/map" "$share/map.c"
    in_share "private mappings; shared writable ones are refused" 0 "Hello No such device
Jello
" './map file'

    # A folder as the root.
    root=$work/root
    rm -rf "$root"
    mkdir -p "$root/bin" "$root/tmp" "$root/run"
    cp $busybox "$root/bin/busybox"
    expect "$accel: a folder as the root" 0 "Linux
written
" --accel "$accel" --root "$root" -- /bin/busybox sh -c 'busybox uname -s; echo written >/bin/x; busybox cat /bin/x' </dev/null
    [ "$(cat "$root/bin/x")" = written ]
    result $? "$accel: and what was written is there"
    expect "$accel: a folder as a root that stays as it is" 0 "refused
temporary
" --accel "$accel" --root "$root:ro" -- /bin/busybox sh -c 'echo x 2>/dev/null >/bin/y || echo refused; echo temporary >/tmp/z; busybox cat /tmp/z' </dev/null
    [ ! -e "$root/bin/y" ] && [ ! -e "$root/tmp/z" ]
    result $? "$accel: it did"
done

# Larger programs, where the machine is fast enough for them.
accel=$(accels | head -n 1)
fresh
if command -v git >/dev/null; then
    timeout 300 "$drupe" run --accel "$accel" -v "$share:/repo" -w /repo -e GIT_AUTHOR_NAME=a -e GIT_AUTHOR_EMAIL=a@b \
        -e GIT_COMMITTER_NAME=a -e GIT_COMMITTER_EMAIL=a@b /usr/bin/git -c safe.directory=/repo init -q . >"$work/out" 2>"$work/err" </dev/null &&
        timeout 300 "$drupe" run --accel "$accel" -v "$share:/repo" -w /repo /usr/bin/git -c safe.directory=/repo add file >"$work/out" 2>"$work/err" </dev/null &&
        timeout 300 "$drupe" run --accel "$accel" -v "$share:/repo" -w /repo -e GIT_AUTHOR_NAME=a -e GIT_AUTHOR_EMAIL=a@b \
            -e GIT_COMMITTER_NAME=a -e GIT_COMMITTER_EMAIL=a@b /usr/bin/git -c safe.directory=/repo commit -q -m first >"$work/out" 2>"$work/err" </dev/null &&
        [ "$(git -c safe.directory="$share" -C "$share" log --format=%s)" = first ] &&
        git -c safe.directory="$share" -C "$share" fsck --strict >>"$work/out" 2>&1
    result $? "$accel: git init, add, commit; the host's git finds it sound"
else
    skip "git in a share" "no git here"
fi
fresh
if [ -s "$image" ]; then
    cat >"$share/files.py" <<'PY'
import os, pathlib, shutil, tempfile
os.chdir('/s')
p = pathlib.Path('dir/deep')
p.mkdir(parents=True)
(p / 'a.txt').write_text('ä' * 100000)
assert (p / 'a.txt').stat().st_size == 200000
shutil.copytree('dir', 'copy')
assert sorted(str(x) for x in pathlib.Path('copy').rglob('*')) == ['copy/deep', 'copy/deep/a.txt']
os.replace('copy/deep/a.txt', 'moved')
with open('moved', 'r+b') as f:
    f.seek(-2, os.SEEK_END)
    assert f.read() == 'ä'.encode()
    f.truncate(10)
    f.flush()
    os.fsync(f.fileno())
    assert os.fstat(f.fileno()).st_size == 10
with tempfile.NamedTemporaryFile(dir='/s') as t:
    t.write(b'x' * 70000)
    t.flush()
    assert os.path.getsize(t.name) == 70000
shutil.rmtree('copy')
print(sorted(os.listdir('.')))
PY
    expect "$accel: python's files" 0 "['absolute', 'dir', 'escape', 'file', 'files.py', 'link', 'moved', 'sub']
" --accel "$accel" --root "$image" -v "$share:/s" -- /usr/bin/python3 /s/files.py </dev/null
else
    skip "python in a share" "no image with python"
fi

# What the command line refuses.
expect_error "a share that is not there" 1 "not-there" -v "$work/not-there:/x" $busybox true
expect_error "a share that is a file" 1 "not a folder" -v "$share/file:/x" $busybox true
expect_error "a guest path that is relative" 2 "HOST:GUEST" -v "$share:x" $busybox true
expect_error "the guest's root" 2 "HOST:GUEST" -v "$share:/" $busybox true
echo "1..$number"
