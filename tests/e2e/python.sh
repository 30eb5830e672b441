#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
# Debian's python3 from a packed image, on one and four CPUs.
set -u
# shellcheck source=tests/e2e/lib.sh
. "$(dirname "$0")/lib.sh"

if [ ! -s "$image" ]; then
    skip "python" "no image: packing it needs Debian's packages (make $image)"
    echo "1..$number"
    exit 0
fi
program='import sys,json,hashlib,threading,subprocess; print(json.dumps({"sum": sum(range(10)), "sha": hashlib.sha256(b"x").hexdigest()[:8], "sub": subprocess.run(["/bin/echo","hi"],capture_output=True,text=True).stdout})); sys.exit(7)'
for accel in $(accels); do
    for cpus in 1 4; do
        expect "$accel, $cpus CPUs: json, hashlib, subprocess, exit status" 7 \
            '{"sum": 45, "sha": "2d711642", "sub": "hi\n"}
' --accel "$accel" --cpus $cpus --root "$image" -- python3 -c "$program" </dev/null
    done
    expect "$accel: threads on 2 CPUs" 0 "4950
" --accel "$accel" --cpus 2 --root "$image" -- python3 -c '
import threading, queue
q = queue.Queue()
ts = [threading.Thread(target=lambda i=i: q.put(i)) for i in range(100)]
[t.start() for t in ts]; [t.join() for t in ts]
print(sum(q.get() for _ in range(100)))' </dev/null
    expect "$accel: asyncio, sockets in pairs, timers" 0 "pong
True
" --accel "$accel" --root "$image" -- python3 -c '
import asyncio, socket, time
async def main():
    a, b = socket.socketpair()
    for s in (a, b): s.setblocking(False)
    loop = asyncio.get_running_loop()
    async def echo(): await loop.sock_sendall(b, (await loop.sock_recv(b, 10)).replace(b"i", b"o"))
    t = asyncio.create_task(echo())
    await loop.sock_sendall(a, b"ping")
    print((await loop.sock_recv(a, 10)).decode())
    start = time.monotonic(); await asyncio.sleep(0.2)
    print(0.15 < time.monotonic() - start < 2)
asyncio.run(main())' </dev/null
    expect_error "$accel: an exception is a traceback and status 1" 1 "ZeroDivisionError" --accel "$accel" --root "$image" -- \
        python3 -c '1/0'
done
echo "1..$number"
