# SPDX-License-Identifier: Apache-2.0
"""A monitor with its API socket, as the tests of the interface start it; TAP on standard output."""

import atexit
import http.client
import json
import os
import shutil
import socket
import subprocess
import tempfile
import time

DRUPE = os.path.realpath(os.environ.get("DRUPE", "build/drupe"))
LIMIT = 120  # seconds; a bound for what hangs, never a measure
WORK = tempfile.mkdtemp(prefix="drupe-api-")
ROOT = os.path.join(WORK, "root.erofs")  # a shell; make_root() makes it
atexit.register(shutil.rmtree, WORK, True)
BAD_JSON = "An error occurred when deserializing the json body of a request: "
BEFORE = "The requested operation is not supported before starting the microVM."
AFTER = "The requested operation is not supported after starting the microVM."
number = 0
failed = 0


def report(ok, name, detail=""):
    global number, failed
    number += 1
    failed += not ok
    print(f"{'ok' if ok else 'not ok'} {number} - {name}", flush=True)
    if not ok:
        print("# " + str(detail).replace("\n", "\n# "), flush=True)


def skip(name, why):
    global number
    number += 1
    print(f"ok {number} - {name} # SKIP {why}", flush=True)


class Unix(http.client.HTTPConnection):
    def __init__(self, path):
        super().__init__("localhost", timeout=LIMIT)
        self.path = path

    def connect(self):
        self.sock = socket.socket(socket.AF_UNIX)
        self.sock.settimeout(LIMIT)
        self.sock.connect(self.path)


class Vmm:
    """One monitor process in a directory of its own."""

    def __init__(self, *options, api=True):
        self.dir = tempfile.mkdtemp(dir=WORK)
        self.sock = os.path.join(self.dir, "api.sock")
        self.console = open(os.path.join(self.dir, "console"), "wb")
        self.errors = open(os.path.join(self.dir, "errors"), "wb")
        self.process = subprocess.Popen(self.command(options, api), stdin=subprocess.DEVNULL, stdout=self.console,
                                        stderr=self.errors, cwd=self.dir)
        end = time.monotonic() + LIMIT
        while api and self.process.poll() is None and time.monotonic() < end:
            try:
                self.connection = Unix(self.sock)
                self.connection.connect()
                break
            except OSError:
                time.sleep(0.01)

    def command(self, options, api):
        return [DRUPE, "vmm"] + (["--api-sock", self.sock] if api else []) + list(options)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        if self.process.poll() is None:
            self.process.kill()
        self.process.wait()
        self.console.close()
        self.errors.close()

    def call(self, method, path, body=None):
        """(status, parsed body or None, headers); body: text, or something to send as JSON."""
        text = body if body is None or isinstance(body, str) else json.dumps(body)
        self.connection.request(method, path, body=text, headers={"Content-Type": "application/json"})
        r = self.connection.getresponse()
        raw = r.read()
        return r.status, json.loads(raw) if raw else None, dict(r.getheaders())

    def wait(self):
        return self.process.wait(LIMIT)

    def text(self, name):
        with open(os.path.join(self.dir, name), errors="replace") as f:
            return f.read()

    def wait_text(self, name, what):
        end = time.monotonic() + LIMIT
        while what not in self.text(name) and self.process.poll() is None and time.monotonic() < end:
            time.sleep(0.05)
        return what in self.text(name)


def have(name):
    return any(os.access(os.path.join(d, name), os.X_OK) for d in os.environ.get("PATH", "").split(":"))


def make_root():
    root = os.path.join(WORK, "root")
    for d in ("bin", "dev", "proc", "tmp"):
        os.makedirs(os.path.join(root, d))
    subprocess.run(["cp", "/bin/busybox", root + "/bin/sh"], check=True)
    subprocess.run(["mkfs.erofs", "-E", "noinline_data", ROOT, root], check=True, stdout=subprocess.DEVNULL,
                   stderr=subprocess.DEVNULL)


def boot_source(script):
    return {"kernel_image_path": "drupe:kernel",
            "boot_args": f'console=ttyS0 reboot=k panic=1 init=/bin/sh -- -c "{script}"'}


def configure(vmm, script):
    ok = True
    for path, body in (("/boot-source", boot_source(script)),
                       ("/machine-config", {"vcpu_count": 1, "mem_size_mib": 64}),
                       ("/drives/rootfs", {"drive_id": "rootfs", "path_on_host": ROOT, "is_root_device": True,
                                           "is_read_only": True})):
        status, answer, _ = vmm.call("PUT", path, body)
        ok = ok and status == 204
    return ok


def check_table(vmm, table, phase):
    for method, path, body, status, text in table:
        name = f"{phase}: {method} {path} {'' if body is None else str(body)[:60]} -> {status}"
        try:
            got, answer, _ = vmm.call(method, path, body)
        except Exception as e:  # a lost connection is a finding, not the end of the test
            report(False, name, repr(e))
            vmm.connection.close()
            continue
        fault = (answer or {}).get("fault_message", "")
        ok = got == status and (text is None or (fault == text if text.endswith(".") else fault.startswith(text)))
        ok = ok and (got < 400 or set(answer) == {"fault_message"}) and ((got == 204) == (answer is None))
        report(ok, name, f"got {got} {answer}, wanted {text}")


def finish():
    """The exit status of the test."""
    print(f"1..{number}")
    return failed > 0
