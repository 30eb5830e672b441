#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""What clients of Firecracker's interface can see of `drupe vmm`: status lines, headers, error texts, phases, exit
codes. TAP on standard output. Needs nothing but the program and one way to run it."""

import json
import os
import select
import signal
import socket
import subprocess
import sys
import tempfile
import time

sys.dont_write_bytecode = True
from monitor import (AFTER, BAD_JSON, BEFORE, DRUPE, LIMIT, ROOT, WORK, Vmm, boot_source, check_table, configure, finish,
                     have, make_root, report, skip)


def raw(vmm, request, answers=1):
    """Bytes in, bytes out: until so many header ends came and the line is quiet, or it closed."""
    s = socket.socket(socket.AF_UNIX)
    s.settimeout(LIMIT)
    s.connect(vmm.sock)
    if request:
        s.sendall(request)
    got = b""
    while got.count(b"\r\n\r\n") < answers or select.select([s], [], [], 0.2)[0]:
        piece = s.recv(65536)
        if not piece:
            break
        got += piece
    s.close()
    return got


# ---- Before the start: (method, path, body, status, text of the fault or None, exact?) ----

PRE = [
    ("GET", "/", None, 200, None),
    ("GET", "//", None, 200, None),
    ("GET", "/version", None, 200, None),
    ("GET", "/version/more/tokens", None, 200, None),
    ("GET", "http://localhost/vm/config", None, 200, None),
    ("GET", "/vm", None, 400, "Invalid request method and/or path: GET vm."),
    ("GET", "/nothing", None, 400, "Invalid request method and/or path: GET nothing."),
    ("GET", "/", "{}", 400, "GET request cannot have a body."),
    ("GET", "/nothing", "{}", 400, "GET request cannot have a body."),
    ("PUT", "/nothing", None, 400, "Empty PUT request."),
    ("PUT", "/nothing", "{}", 400, "Invalid request method and/or path: PUT nothing."),
    ("PUT", "/machine-config", None, 400, "Empty PUT request."),
    ("PATCH", "/machine-config", None, 400, "Empty PATCH request."),
    ("PATCH", "/machine-config", "{}", 400, "Empty PATCH request."),
    ("PATCH", "/nothing", "{}", 400, "Invalid request method and/or path: PATCH nothing."),
    ("DELETE", "/nothing", None, 400, "Invalid request method and/or path: DELETE nothing."),
    ("DELETE", "/drives/a", "{}", 400, "Empty Delete request."),
    ("DELETE", "/drives/a", None, 400, BEFORE),
    ("DELETE", "/pmem/a", None, 400, BEFORE),
    ("DELETE", "/network-interfaces/a", None, 400, BEFORE),
    ("DELETE", "/drives", None, 400, "The ID cannot be empty."),
    ("PUT", "/machine-config", "{", 400, BAD_JSON),
    ("PUT", "/machine-config", {"vcpu_count": 1}, 400, BAD_JSON + "missing field `mem_size_mib`."),
    ("PUT", "/machine-config", {"vcpu_count": "1", "mem_size_mib": 128}, 400, BAD_JSON + "invalid type: string"),
    ("PUT", "/machine-config", {"vcpu_count": 300, "mem_size_mib": 128}, 400, BAD_JSON + "invalid value: integer `300`"),
    ("PUT", "/machine-config", '{"vcpu_count":1,"vcpu_count":1,"mem_size_mib":128}', 400, BAD_JSON),
    ("PUT", "/machine-config", {"vcpu_count": 1, "mem_size_mib": 128, "x": 1}, 400, BAD_JSON + "unknown field `x`"),
    ("PUT", "/machine-config", {"vcpu_count": 1, "mem_size_mib": 128, "huge_pages": "none"}, 400,
     BAD_JSON + "unknown variant `none`"),
    ("PUT", "/machine-config", {"vcpu_count": 0, "mem_size_mib": 128}, 400, "Machine config error: "),
    ("PUT", "/machine-config", {"vcpu_count": 33, "mem_size_mib": 128}, 400, "Machine config error: "),
    ("PUT", "/machine-config", {"vcpu_count": 3, "mem_size_mib": 128, "smt": True}, 400, "Machine config error: "),
    ("PUT", "/machine-config", {"vcpu_count": 1, "mem_size_mib": 0}, 400,
     "Machine config error: The memory size (MiB) is invalid."),
    ("PUT", "/boot-source", {"kernel_image_path": "/no/such"}, 400, "Boot source error: "),
    ("PUT", "/boot-source", {"kernel_image_path": "/bin/sh", "initrd_path": "/no/such"}, 400, "Boot source error: "),
    ("PUT", "/boot-source", {"kernel_image_path": "fd:0"}, 400, "Boot source error: "),
    ("PUT", "/boot-source", {"kernel_image_path": 1}, 400, BAD_JSON),
    ("PUT", "/drives", {}, 400, "The ID cannot be empty."),
    ("PUT", "/drives/", {}, 400, "The ID cannot be empty."),
    ("PUT", "/drives/a-b", {}, 400, "API Resource IDs can only contain alphanumeric characters and underscores."),
    ("PUT", "/drives/a", {"drive_id": "b", "is_root_device": False, "path_on_host": "x"}, 400,
     "The id from the path does not match the id from the body!"),
    ("PUT", "/drives/a", {"drive_id": "a", "is_root_device": False, "path_on_host": "/no/such"}, 400,
     "Drive config error: "),
    ("PUT", "/drives/a", {"drive_id": "a", "is_root_device": False, "path_on_host": "/dev/null"}, 400,
     "Drive config error: "),
    ("PUT", "/drives/a", {"drive_id": "a", "is_root_device": False, "path_on_host": "x", "cache_type": None}, 400,
     BAD_JSON),
    ("PATCH", "/drives/a", {"drive_id": "a"}, 400, BEFORE),
    ("PUT", "/network-interfaces/a", {"iface_id": "b", "host_dev_name": "t"}, 400,
     "The id from the path [a] does not match the id from the body [b]!"),
    ("PUT", "/network-interfaces/a", {"iface_id": "a", "host_dev_name": "drupe-no-tap"}, 400,
     "Network config error: Could not create the network device: Open tap device failed: "),
    ("PATCH", "/network-interfaces/a", {"iface_id": "a"}, 400, BEFORE),
    ("PUT", "/pmem/a", {"id": "a", "path_on_host": "x"}, 400, "The requested operation is not supported: "),
    ("PATCH", "/pmem/a", {"id": "a"}, 400, BEFORE),
    ("PUT", "/vsock", {"guest_cid": 2, "uds_path": "v"}, 400, BAD_JSON),
    ("PUT", "/vsock", {"guest_cid": 3}, 400, BAD_JSON + "missing field `uds_path`."),
    ("PUT", "/balloon", {"amount_mib": 1}, 400, BAD_JSON + "missing field `deflate_on_oom`."),
    ("PUT", "/balloon", {"amount_mib": 100000, "deflate_on_oom": True}, 400, "Balloon config error: "),
    ("GET", "/balloon", None, 400, "Balloon config error: "),
    ("GET", "/balloon/statistics", None, 400, BEFORE),
    ("GET", "/balloon/x", None, 400, "Unrecognized GET request path `x`."),
    ("PATCH", "/balloon/hinting/x", "{}", 400, "Unrecognized PATCH request path `x`."),
    ("PATCH", "/balloon/hinting/start", None, 400, BEFORE),
    ("PATCH", "/balloon", {"amount_mib": 1}, 400, BEFORE),
    ("PATCH", "/balloon", None, 400, "Empty PATCH request."),
    ("PATCH", "/balloon/statistics", {"stats_polling_interval_s": 1}, 400, BEFORE),
    ("PUT", "/hotplug/memory", {"total_size_mib": 128}, 400, "The requested operation is not supported: "),
    ("GET", "/hotplug/memory", None, 400, BEFORE),
    ("PATCH", "/hotplug/memory", {"requested_size_mib": 128}, 400, BEFORE),
    ("PUT", "/vfio/a", {}, 400, "Invalid request method and/or path: PUT vfio."),
    ("PUT", "/actions", {"action_type": "instancestart"}, 400, BAD_JSON + "unknown variant `instancestart`"),
    ("PUT", "/actions", {"action_type": "FlushMetrics"}, 400, BEFORE),
    ("PUT", "/actions", {"action_type": "SendCtrlAltDel"}, 400, BEFORE),
    ("PUT", "/actions", {"action_type": "InstanceStart"}, 400,
     "Start microvm error: Cannot start microvm without kernel configuration."),
    ("PATCH", "/vm", {"state": "Paused"}, 400, BEFORE),
    ("PATCH", "/vm", {"state": "paused"}, 400, BAD_JSON + "unknown variant `paused`"),
    ("PUT", "/snapshot", {}, 400, "Missing snapshot operation type."),
    ("PUT", "/snapshot/x", {}, 400, "Invalid request method and/or path: PUT /snapshot/x."),
    ("PUT", "/snapshot/create", {"snapshot_path": "s", "mem_file_path": "m"}, 400, BEFORE),
    ("PUT", "/snapshot/load", {"snapshot_path": "s"}, 400, BAD_JSON),
    ("PUT", "/snapshot/load",
     {"snapshot_path": "s", "mem_file_path": "m", "mem_backend": {"backend_type": "File", "backend_path": "m"}}, 400,
     BAD_JSON),
    ("PUT", "/logger", {"level": "loud"}, 400, BAD_JSON),
    ("PUT", "/logger", {"log_path": "/no/such/dir/log"}, 400, "Logger error: "),
    ("PUT", "/metrics", {}, 400, BAD_JSON + "missing field `metrics_path`."),
    ("PUT", "/metrics", {"metrics_path": "/no/such/dir/m"}, 400, "Metrics error: "),
    ("PUT", "/mmds/x", {}, 400, "Unrecognized PUT request path `x`."),
    ("PATCH", "/mmds", {"a": 1}, 400, "MMDS error: The MMDS data store is not initialized."),
    ("PUT", "/mmds/config", {"network_interfaces": []}, 400, "MMMDS config error: "),
    ("PUT", "/cpu-config", {"cpuid_modifiers": [{"leaf": "x"}]}, 400, BAD_JSON),
    ("PUT", "/serial", {"serial_out_path": "/no/such/dir/s"}, 400, "Serial config error: "),
    # What is accepted.
    ("GET", "/mmds", None, 200, None),
    ("PUT", "/machine-config", {"vcpu_count": 2, "mem_size_mib": 256, "smt": None}, 204, None),
    ("PATCH", "/machine-config", {"mem_size_mib": 128}, 204, None),
    ("PUT", "/cpu-config", {}, 204, None),
    ("PUT", "/logger", {"level": "warning", "show_level": True}, 204, None),
    ("PUT", "/entropy", {"rate_limiter": {"ops": {"size": 1, "refill_time": 1, "unknown": 1}}}, 204, None),
    ("PUT", "/entropy", {}, 204, None),
    ("PUT", "/balloon", {"amount_mib": 8, "deflate_on_oom": False, "stats_polling_interval_s": 1}, 204, None),
    ("PUT", "/balloon", {"amount_mib": 4, "deflate_on_oom": True}, 204, None),
    ("GET", "/balloon", None, 200, None),
    ("PUT", "/vsock", {"guest_cid": 3, "uds_path": "v.sock"}, 204, None),
    ("PUT", "/mmds", {"latest": {"meta": 1, "gone": 2}}, 204, None),
    ("PATCH", "/mmds", {"latest": {"gone": None, "list": [1]}}, 204, None),
    ("PUT", "/mmds", {"x": "y" * 51000}, 204, None),
    ("PATCH", "/mmds", {"z": "y" * 1000}, 413, "MMDS limit exceeded error: The MMDS patch request doesn't fit."),
    # Load after boot resources were set: refused, and the process lives.
    ("PUT", "/snapshot/load", {"snapshot_path": "s", "mem_backend": {"backend_type": "File", "backend_path": "m"}}, 400,
     "Load snapshot error: Loading a microVM snapshot not allowed after configuring boot-specific resources."),
    ("GET", "/", None, 200, None),
]


def check_wire():
    with Vmm() as vmm:
        got = raw(vmm, b"GET / HTTP/1.1\r\n\r\n")
        head, _, body = got.partition(b"\r\n\r\n")
        report(head.split(b"\r\n") == [b"HTTP/1.1 200 ", b"Server: Firecracker API", b"Connection: keep-alive",
                                       b"Content-Type: application/json", b"Content-Length: %d" % len(body)],
               "the lines of a 200", got)
        got = raw(vmm, b'PUT /cpu-config HTTP/1.1\r\nContent-Length: 2\r\n\r\n{}')
        report(got == b"HTTP/1.1 204 \r\nServer: Firecracker API\r\nConnection: keep-alive\r\n\r\n",
               "a 204 has neither body nor Content-Length", got)
        got = raw(vmm, b"GET / HTTP/1.1\r\n\r\n" * 3, 3)
        report(got.count(b"HTTP/1.1 200 \r\n") == 3, "three requests in one piece", got)
        got = raw(vmm, b"GET / HTTP/1.1\r\n\r\nPOST / HTTP/1.1\r\n\r\n")
        report(got.count(b"HTTP/1.1") == 1 and got.startswith(b"HTTP/1.1 400 \r\n") and
               got.endswith(b'\nAll previous unanswered requests will be dropped." }'),
               "what can't be parsed drops what was queued", got)
        got = raw(vmm, b"PUT / HTTP/1.1\r\nContent-Length: 51201\r\n\r\n")
        report(b'{ "error": "Request payload with size 51201 is larger than the limit of 51200 allowed by server.\n' in got,
               "a body over the limit", got)
        got = raw(vmm, b"GET /" + b"x" * 1100 + b" HTTP/1.1\r\n\r\n")
        report(got.startswith(b"HTTP/1.1 400 \r\n"), "a line over the limit", got)
        got = raw(vmm, b"PUT /cpu-config HTTP/1.1\r\nExpect: 100-continue\r\ncontent-length: 2\r\n\r\n")
        report(got.startswith(b"HTTP/1.1 100 \r\n"), "100 Continue", got)
        others = []
        for _ in range(9):
            s = socket.socket(socket.AF_UNIX)
            s.connect(vmm.sock)
            others.append(s)
        vmm.call("GET", "/")
        got = raw(vmm, b"")
        report(got.startswith(b"HTTP/1.1 503 \r\nServer: Firecracker API\r\nConnection: close\r\n") and
               got.endswith(b'{ "error": "Too many open connections" }'), "the eleventh connection", got)
        for s in others:
            s.close()
        _, _, headers = vmm.call("PUT", "/vsock", {"guest_cid": 3, "uds_path": "v", "vsock_id": "1"})
        report(headers.get("Deprecation") == "true", "a deprecated field sets the header", headers)
        _, _, headers = vmm.call("PUT", "/vsock", {"guest_cid": 3, "uds_path": "v"})
        report("Deprecation" not in headers, "without one it is not set", headers)
        with tempfile.TemporaryFile() as f:
            f.write(b"\0" * 4096)
            f.flush()
            body = b'{"drive_id":"d","is_root_device":false,"path_on_host":"fd:0"}'
            s = socket.socket(socket.AF_UNIX)
            s.settimeout(LIMIT)
            s.connect(vmm.sock)
            socket.send_fds(s, [b"PUT /drives/d HTTP/1.1\r\nContent-Length: %d\r\n\r\n" % len(body) + body], [f.fileno()])
            got = s.recv(4096)
            s.close()
        report(got.startswith(b"HTTP/1.1 204 \r\n"), "a drive by a descriptor that came with the request", got)


def check_documents():
    with Vmm() as vmm:
        vmm.call("PUT", "/mmds", {"a": {"b": 1, "c": 2}, "d": [1]})
        vmm.call("PATCH", "/mmds", {"a": {"b": None, "e": {"f": None}}, "d": {"g": 1}})
        got = vmm.call("GET", "/mmds")[1]
        report(got == {"a": {"c": 2, "e": {}}, "d": {"g": 1}}, "merge patch", got)
        for n in ("one", "two"):
            with open(os.path.join(vmm.dir, n), "wb") as f:
                f.write(b"\0" * 8192)
        vmm.call("PUT", "/drives/data", {"drive_id": "data", "is_root_device": False, "path_on_host": "one"})
        vmm.call("PUT", "/drives/root", {"drive_id": "root", "is_root_device": True, "path_on_host": "two",
                                         "is_read_only": True})
        drives = vmm.call("GET", "/vm/config")[1]["drives"]
        report([d["drive_id"] for d in drives] == ["root", "data"], "the root drive is listed first", drives)
        got = vmm.call("PUT", "/drives/other", {"drive_id": "other", "is_root_device": True, "path_on_host": "one"})
        report(got[1] == {"fault_message": "Drive config error: A root block device already exists!"}, "a second root", got)
        vmm.call("PUT", "/drives/data", {"drive_id": "data", "is_root_device": False, "path_on_host": "two",
                                         "rate_limiter": {"ops": {"size": 5, "refill_time": 100}}})
        drives = vmm.call("GET", "/vm/config")[1]["drives"]
        report(len(drives) == 2 and drives[1]["path_on_host"] == "two" and
               drives[1]["rate_limiter"]["ops"] == {"size": 5, "one_time_burst": 0, "refill_time": 100},
               "the same id again replaces the drive", drives)
        vmm.call("PUT", "/metrics", {"metrics_path": "m"})
        got = vmm.call("PUT", "/metrics", {"metrics_path": "m"})
        report(got[1]["fault_message"].startswith("Metrics error: Cannot initialize the metrics system due to bad user "
                                                  "input: "), "metrics twice", got)


# ---- A guest: our kernel and a shell ----

POST = [
    ("GET", "/", None, 200, None),
    ("GET", "/machine-config", None, 200, None),
    ("GET", "/vm/config", None, 200, None),
    ("GET", "/drupe/stats", None, 200, None),
    ("PUT", "/machine-config", {"vcpu_count": 1, "mem_size_mib": 128}, 400, AFTER),
    ("PATCH", "/machine-config", {"vcpu_count": 1}, 400, AFTER),
    ("PUT", "/boot-source", {"kernel_image_path": "x"}, 400, AFTER),
    ("PUT", "/drives/a", {"drive_id": "a", "is_root_device": False, "path_on_host": "x"}, 400, AFTER),
    ("PUT", "/vsock", {"guest_cid": 3, "uds_path": "x"}, 400, AFTER),
    ("PUT", "/network-interfaces/a", {"iface_id": "a", "host_dev_name": "x"}, 400, AFTER),
    ("PUT", "/pmem/a", {"id": "a", "path_on_host": "x"}, 400, AFTER),
    ("PUT", "/balloon", {"amount_mib": 1, "deflate_on_oom": True}, 400, AFTER),
    ("PUT", "/entropy", {}, 400, AFTER),
    ("PUT", "/serial", {}, 400, AFTER),
    ("PUT", "/cpu-config", {}, 400, AFTER),
    ("PUT", "/logger", {}, 400, AFTER),
    ("PUT", "/metrics", {"metrics_path": "x"}, 400, AFTER),
    ("PUT", "/hotplug/memory", {"total_size_mib": 128}, 400, AFTER),
    ("PUT", "/mmds/config", {"network_interfaces": ["a"]}, 400, AFTER),
    ("PUT", "/mmds", {}, 400, "MMDS error: The MMDS data store is not initialized."),
    ("GET", "/mmds", None, 400, "MMDS error: The MMDS data store is not initialized."),
    ("PUT", "/actions", {"action_type": "InstanceStart"}, 400, AFTER),
    ("PUT", "/actions", {"action_type": "FlushMetrics"}, 204, None),
    ("PUT", "/snapshot/load", {"snapshot_path": "s", "mem_backend": {"backend_type": "File", "backend_path": "m"}}, 400,
     AFTER),
    ("PUT", "/snapshot/create", {"snapshot_path": "s", "mem_file_path": "m"}, 400, "Create snapshot error: "),
    ("DELETE", "/drives/rootfs", None, 400, "PCI is not enabled"),
    ("PATCH", "/drives/none", {"drive_id": "none", "path_on_host": "x"}, 400, "Drive config error: "),
    ("PATCH", "/network-interfaces/a", {"iface_id": "a"}, 400, "Device not found"),
    ("GET", "/balloon", None, 400, "Balloon config error: "),
    ("PATCH", "/vm", {"state": "Resumed"}, 204, None),
    ("PATCH", "/vm", {"state": "Paused"}, 204, None),
    ("PATCH", "/vm", {"state": "Paused"}, 204, None),
    ("GET", "/", None, 200, None),
    ("PATCH", "/vm", {"state": "Resumed"}, 204, None),
]


def check_running(accel):
    with Vmm("--accel", accel, "--id", "vm-1", "--metrics-path", "metrics", "--log-path", "log", "--level", "Info",
             "--show-level", "--show-log-origin") as vmm:
        report(configure(vmm, "echo ready; while :; do sleep 1; done"), f"{accel}: configured")
        got = vmm.call("PUT", "/actions", {"action_type": "InstanceStart"})
        report(got[0] == 204, f"{accel}: started", got)
        report(vmm.wait_text("console", "ready"), f"{accel}: the guest's output is ours", vmm.text("console"))
        check_table(vmm, POST, accel)
        vmm.call("PATCH", "/vm", {"state": "Paused"})
        got = vmm.call("GET", "/")[1]
        report(got["state"] == "Paused" and got["id"] == "vm-1", f"{accel}: paused", got)
        vmm.process.send_signal(signal.SIGTERM)
        report(vmm.wait() == 0, f"{accel}: a signal ends it with 0", vmm.process.returncode)
        lines = [json.loads(line) for line in vmm.text("metrics").splitlines()]
        report(len(lines) >= 2 and lines[0]["put_api_requests"]["actions_count"] >= 1 and "utc_timestamp_ms" in lines[0]
               and "latencies_us" in lines[0], f"{accel}: metrics lines", vmm.text("metrics")[:500])
        report("[vm-1:" in vmm.text("log") and ":INFO:" in vmm.text("log"), f"{accel}: log lines", vmm.text("log")[:500])


def check_drive_updates():
    """The backend that can: another file and other limits under a running guest."""
    with Vmm("--accel", "kvm") as vmm:
        for name, size in (("small", 1 << 20), ("large", 3 << 20)):
            with open(os.path.join(vmm.dir, name), "wb") as f:
                f.truncate(size)
        configure(vmm, "while :; do echo size $(cat /sys/block/vdb/size); sleep 1; done")
        data = {"drive_id": "data", "path_on_host": "small", "is_root_device": False, "cache_type": "Writeback",
                "io_engine": "Async", "rate_limiter": {"bandwidth": {"size": 1 << 20, "refill_time": 1000}}}
        vmm.call("PUT", "/drives/data", data)
        got = vmm.call("PUT", "/actions", {"action_type": "InstanceStart"})
        report(got[0] == 204, "kvm: a start with a limited drive", got)
        for body in ({"path_on_host": "large"}, {"path_on_host": "large", "rate_limiter": {"ops": {"size": 9, "refill_time": 9}}},
                     {"rate_limiter": {"bandwidth": {"size": 0, "refill_time": 0}}}):
            got = vmm.call("PATCH", "/drives/data", {"drive_id": "data", **body})
            report(got[0] == 204, f"kvm: PATCH /drives with {', '.join(body)}", got)
        drive = vmm.call("GET", "/vm/config")[1]["drives"][1]
        report(drive["path_on_host"] == "large" and drive["rate_limiter"]["bandwidth"] is None and
               drive["rate_limiter"]["ops"]["size"] == 9, "kvm: the configuration follows", drive)
        got = vmm.call("PATCH", "/drives/data", {"drive_id": "data", "path_on_host": "/no/such"})
        report(got[0] == 400, "kvm: a drive's new file that is not there", got)


def check_cpu_config():
    def modifier(leaf, bitmap):
        return {"cpuid_modifiers": [{"leaf": leaf, "subleaf": "0x0", "flags": 0,
                                     "modifiers": [{"register": "ecx", "bitmap": bitmap}]}]}

    with Vmm("--accel", "kvm") as vmm:
        configure(vmm, "cat /proc/cpuinfo; exit 0")
        vmm.call("PUT", "/cpu-config", modifier("0x12345678", "0b1"))
        got = vmm.call("PUT", "/actions", {"action_type": "InstanceStart"})
        report(got[0] == 400 and "leaf 0x12345678" in got[1]["fault_message"], "kvm: a CPUID leaf that is not there", got)
        vmm.call("PUT", "/cpu-config", modifier("0x1", "0b" + "x" * 31 + "x"))
        got = vmm.call("PUT", "/actions", {"action_type": "InstanceStart"})
        report(got[0] == 204 and vmm.wait() == 0, "kvm: a CPUID modifier", got)


def check_balloon():
    with Vmm("--accel", "kvm") as vmm:
        configure(vmm, "while :; do sleep 1; done")
        vmm.call("PUT", "/balloon", {"amount_mib": 8, "deflate_on_oom": True, "stats_polling_interval_s": 1})
        vmm.call("PUT", "/actions", {"action_type": "InstanceStart"})

        def reaches(mib):
            end = time.monotonic() + LIMIT
            while time.monotonic() < end:
                stats = vmm.call("GET", "/balloon/statistics")[1]
                if stats.get("actual_mib") == mib and stats["target_mib"] == mib and stats.get("free_memory", 0) > 0:
                    return True, stats
                time.sleep(0.1)
            return False, stats

        ok, stats = reaches(8)
        report(ok, "kvm: the balloon is filled from the start on, with statistics", stats)
        for mib in (20, 2):
            got = vmm.call("PATCH", "/balloon", {"amount_mib": mib})
            ok, stats = reaches(mib)
            report(got[0] == 204 and ok, f"kvm: the balloon goes to {mib} MiB", stats)
        got = vmm.call("PATCH", "/balloon/statistics", {"stats_polling_interval_s": 2})
        report(got[0] == 204, "kvm: another interval", got)
        got = vmm.call("PATCH", "/balloon/statistics", {"stats_polling_interval_s": 0})
        report(got[0] == 400, "kvm: statistics can't be switched off", got)
        got = vmm.call("PATCH", "/balloon", {"amount_mib": 65})
        report(got[0] == 400, "kvm: not more than the memory", got)


def check_ends(accel):
    with Vmm("--accel", accel) as vmm:
        configure(vmm, "exit 7")
        vmm.call("PUT", "/actions", {"action_type": "InstanceStart"})
        report(vmm.wait() == 0, f"{accel}: the guest's end is exit status 0", vmm.text("errors"))
    with Vmm("--accel", accel) as vmm:
        kernel = os.path.join(vmm.dir, "kernel")
        with open(kernel, "wb") as f:
            f.write(b"no kernel" * 100)
        vmm.call("PUT", "/boot-source", {"kernel_image_path": kernel})
        got = vmm.call("PUT", "/actions", {"action_type": "InstanceStart"})
        if accel == "kvm":
            report(got[0] == 400 and got[1]["fault_message"].startswith("Start microvm error: "), "a kernel that is none", got)
            got = vmm.call("GET", "/")[1]
            report(got["state"] == "Not started", "a failed start may be retried", got)
            configure(vmm, "exit 0")
            got = vmm.call("PUT", "/actions", {"action_type": "InstanceStart"})
            report(got[0] == 204 and vmm.wait() == 0, "and the retry works", got)


def check_go_sdk(accel):
    """The requests that firecracker-go-sdk sends, in its order and with its fields."""
    with Vmm("--accel", accel) as vmm:
        sequence = [
            ("GET", "/machine-config", None, 200),
            ("PUT", "/logger", {"level": "Error", "log_path": os.path.join(vmm.dir, "fifo"), "show_level": True,
                                "show_log_origin": False}, 204),
            ("PUT", "/metrics", {"metrics_path": os.path.join(vmm.dir, "metrics")}, 204),
            ("PUT", "/machine-config", {"mem_size_mib": 64, "smt": False, "track_dirty_pages": False, "vcpu_count": 1}, 204),
            ("GET", "/machine-config", None, 200),
            ("PUT", "/boot-source", boot_source("echo sdk; sleep 1000"), 204),
            ("PUT", "/drives/1", {"drive_id": "1", "is_read_only": True, "is_root_device": True, "path_on_host": ROOT,
                                  "rate_limiter": {}}, 204),
            ("PUT", "/entropy", {}, 204),
            ("PUT", "/actions", {"action_type": "InstanceStart"}, 204),
            ("GET", "/", None, 200),
            ("GET", "/version", None, 200),
            ("GET", "/vm/config", None, 200),
            ("PATCH", "/vm", {"state": "Paused"}, 204),
            ("PATCH", "/vm", {"state": "Resumed"}, 204),
        ]
        for method, path, body, status in sequence:
            got = vmm.call(method, path, body)
            report(got[0] == status, f"{accel}: go-sdk: {method} {path}", got)
        report(vmm.wait_text("console", "sdk"), f"{accel}: go-sdk: the guest runs", vmm.text("console"))


def check_config_file(accel):
    path = os.path.join(WORK, "config.json")
    config = {"boot-source": boot_source("echo from-file; exit 0"),
              "drives": [{"drive_id": "rootfs", "path_on_host": ROOT, "is_root_device": True, "is_read_only": True}],
              "machine-config": {"vcpu_count": 1, "mem_size_mib": 64}, "unknown-section": {}}
    with open(path, "w") as f:
        json.dump(config, f)
    with Vmm("--accel", accel, "--no-api", "--config-file", path, api=False) as vmm:
        report(vmm.wait() == 0 and "from-file" in vmm.text("console"), f"{accel}: --config-file --no-api",
               vmm.text("console") + vmm.text("errors"))


def run(*args):
    p = subprocess.run([DRUPE, "vmm", *args], cwd=WORK, stdin=subprocess.DEVNULL, capture_output=True, timeout=LIMIT)
    return p.returncode, p.stdout.decode(), p.stderr.decode()


def check_arguments():
    with open(os.path.join(WORK, "bad.json"), "w") as f:
        f.write('{"boot-source":{}}')
    with open(os.path.join(WORK, "exists"), "w") as f:
        f.write("x")
    for args, status, text in [
        (["--version"], 0, "Firecracker v1.17.0\n"),
        (["--snapshot-version"], 0, "v11.0.0\n"),
        (["--help"], 0, "usage: drupe vmm"),
        (["--no-such"], 153, ""),
        (["--no-api"], 153, ""),
        (["--id", "a", "--id=b"], 153, ""),
        (["--id", "a_b", "--api-sock", "s1"], 153, ""),
        (["--level", "loud", "--api-sock", "s2"], 153, ""),
        (["--accel", "xen"], 153, ""),
        (["word"], 153, ""),
        (["--config-file", "bad.json", "--no-api"], 152, ""),
        (["--config-file", "missing.json", "--no-api"], 152, ""),
        (["--api-sock", "exists"], 1, ""),
        (["--describe-snapshot", "exists"], 1, ""),
    ]:
        got = run(*args)
        report(got[0] == status and text in got[1], f"drupe vmm {' '.join(args)} -> {status}", got)


def main():
    check_arguments()
    check_wire()
    with Vmm() as vmm:
        check_table(vmm, PRE, "pre")
    check_documents()
    with Vmm() as vmm:
        got = vmm.call("PUT", "/snapshot/load", {"snapshot_path": "none", "mem_backend":
                                                 {"backend_type": "File", "backend_path": "m"}})
        report(got[0] == 400 and got[1]["fault_message"].startswith("Load snapshot error: ") and vmm.wait() == 1,
               "a load that fails ends the process", got)
    if not os.access("/bin/busybox", os.X_OK) or not have("mkfs.erofs"):
        skip("running guests", "no busybox-static or erofs-utils")
        return
    make_root()
    for accel, there in (("kvm", os.access("/dev/kvm", os.R_OK | os.W_OK)), ("qemu", have("qemu-system-x86_64"))):
        if not there:
            skip(accel, "not on this host")
            continue
        check_running(accel)
        check_ends(accel)
        check_go_sdk(accel)
        check_config_file(accel)
        if accel == "kvm":
            check_drive_updates()
            check_balloon()
            check_cpu_config()


main()
sys.exit(finish())
