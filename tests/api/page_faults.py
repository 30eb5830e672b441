#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Snapshots whose memory a page-fault handler of the client's brings in (Uffd), to a monitor that is free and to
one in a jail. TAP on standard output."""

import ctypes
import fcntl
import json
import os
import shutil
import socket
import struct
import subprocess
import sys
import threading

sys.dont_write_bytecode = True
from monitor import DRUPE, ROOT, WORK, Vmm, configure, finish, have, make_root, report, skip

STATE = os.path.join(WORK, "state")
MEMORY = os.path.join(WORK, "memory")
KEYS = ["base_host_virt_addr", "size", "offset", "page_size", "page_size_kib"]
UID = 12345


class Handler(threading.Thread):
    """A page-fault handler of a client's: takes the message, brings each page from the memory file."""

    def __init__(self, path, memory):
        super().__init__(daemon=True)
        self.memory = memory
        self.regions = None
        self.listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self.listener.bind(path)
        os.chmod(path, 0o666)
        self.listener.listen(1)

    def run(self):
        client = self.listener.accept()[0]
        text, fds, _, _ = socket.recv_fds(client, 65536, 1)
        self.regions = json.loads(text)
        os.set_blocking(fds[0], True)
        with open(self.memory, "rb") as memory:
            while True:
                event = os.read(fds[0], 32)
                if event[0] == 0x12:
                    address = struct.unpack_from("<Q", event, 16)[0] & ~4095
                    self.bring(fds[0], address, memory)

    def bring(self, fd, address, memory):
        for r in self.regions:
            at = address - r["base_host_virt_addr"]
            if 0 <= at < r["size"]:
                page = ctypes.create_string_buffer(os.pread(memory.fileno(), 4096, r["offset"] + at), 4096)
                copy = bytearray(struct.pack("<QQQQq", address, ctypes.addressof(page), 4096, 0, 0))
                try:
                    fcntl.ioctl(fd, 0xC028AA03, copy)
                except FileExistsError:
                    pass


class Jailed(Vmm):
    """The monitor under the jailer; what it opens stands in its root at the same paths."""

    def command(self, options, api):
        program = os.path.join(os.path.dirname(DRUPE), "drupe-vmm")
        name = f"uffd-{os.getpid()}"
        self.root = os.path.join(WORK, "drupe-vmm", name, "root")
        self.sock = os.path.join(self.root, "api.sock")
        return [DRUPE, "jailer", "--id", name, "--exec-file", program, "--uid", str(UID), "--gid", str(UID),
                "--chroot-base-dir", WORK, "--", "--api-sock", "/api.sock"]

    def bring_in(self, *paths):
        os.makedirs(self.root + WORK)
        for path in paths:
            os.link(path, self.root + path)
            os.chown(self.root + path, UID, UID)


def make_snapshot():
    with Vmm() as vmm:
        configure(vmm, "i=0; while :; do i=$((i+1)); echo count $i; sleep 0.1; done")
        vmm.call("PUT", "/actions", {"action_type": "InstanceStart"})
        vmm.wait_text("console", "count 3")
        vmm.call("PATCH", "/vm", {"state": "Paused"})
        got = vmm.call("PUT", "/snapshot/create", {"snapshot_path": STATE, "mem_file_path": MEMORY})
        report(got[0] == 204, "a snapshot", got)


def load(vmm, path):
    return vmm.call("PUT", "/snapshot/load", {"snapshot_path": STATE, "resume_vm": True,
                                              "mem_backend": {"backend_type": "Uffd", "backend_path": path}})


def check_restore(vmm, place, name):
    """The handler listens at `place`, which the monitor calls /handler or by the same name."""
    handler = Handler(place, MEMORY)
    handler.start()
    got = load(vmm, "/handler" if place.endswith("root/handler") else place)
    report(got[0] == 204, f"{name}: loaded", got)
    report(vmm.wait_text("console", "count ") and "count 1\n" not in vmm.text("console"), f"{name}: it counts on",
           vmm.text("console") + vmm.text("errors"))
    report(handler.regions and all(list(r) == KEYS and r["page_size"] == r["page_size_kib"] == 4096
                                   for r in handler.regions), f"{name}: the message", handler.regions)


def main():
    if not os.access("/dev/kvm", os.R_OK | os.W_OK) or not os.access("/bin/busybox", os.X_OK) or not have("mkfs.erofs"):
        skip("Uffd", "no /dev/kvm, busybox-static or erofs-utils")
        return
    make_root()
    make_snapshot()
    with Vmm() as vmm:
        got = load(vmm, os.path.join(WORK, "nobody"))
        report(got[0] == 400 and "no page-fault handler listens" in got[1]["fault_message"] and vmm.wait() == 1,
               "nobody listens", got)
    if not os.access("/dev/userfaultfd", os.R_OK | os.W_OK):
        skip("Uffd", "no /dev/userfaultfd")
        return
    with Vmm() as vmm:
        check_restore(vmm, os.path.join(WORK, "handler"), "free")
    if os.getuid() != 0:
        skip("jailed", "the jailer is root's")
        return
    with Jailed() as vmm:
        vmm.bring_in(STATE, ROOT)
        check_restore(vmm, os.path.join(vmm.root, "handler"), "jailed")


main()
sys.exit(finish())
