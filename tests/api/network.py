#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Network interfaces through the control API, on taps in a network namespace of the test's own. TAP on standard
output; skips without root."""

import ctypes
import fcntl
import json
import os
import struct
import sys

sys.dont_write_bytecode = True
import monitor as c

CLONE_NEWNET = 0x40000000
TUNSETIFF = 0x400454CA
TUNSETPERSIST = 0x400454CB
TUNSETOWNER = 0x400454CC
JAIL_ID = 1234
TAP_FLAGS = 0x0002 | 0x1000 | 0x4000  # IFF_TAP | IFF_NO_PI | IFF_VNET_HDR
TAPS = ["t0", "t1", "t2"]
OPEN_FAILED = "Network config error: Could not create the network device: Open tap device failed: "
LIMIT = {"bandwidth": {"size": 1000000, "refill_time": 100}}


def why_not():
    """A namespace with taps, made for this process and its children; or why there is none."""
    if os.geteuid() != 0:
        return "not root"
    if not os.access("/dev/kvm", os.R_OK | os.W_OK):
        return "/dev/kvm does not open"
    if ctypes.CDLL(None, use_errno=True).unshare(CLONE_NEWNET) != 0:
        return "no network namespace: " + os.strerror(ctypes.get_errno())
    try:
        for name in TAPS:
            fd = os.open("/dev/net/tun", os.O_RDWR)
            fcntl.ioctl(fd, TUNSETIFF, struct.pack("16sH22x", name.encode(), TAP_FLAGS))
            fcntl.ioctl(fd, TUNSETPERSIST, 1)
            fcntl.ioctl(fd, TUNSETOWNER, JAIL_ID)
            os.close(fd)
    except OSError as e:
        return f"no taps: {e}"
    return None


def net(name="eth0", tap="t0", **more):
    return {"iface_id": name, "host_dev_name": tap, **more}


def check_before():
    table = [
        ("PUT", "/network-interfaces/eth0", net(tap="nosuch"), 400, OPEN_FAILED + "No such device"),
        ("PUT", "/network-interfaces/eth0", net(tap="lo"), 400, OPEN_FAILED),
        ("PUT", "/network-interfaces/eth0", net(tap="fd:0"), 400, OPEN_FAILED),
        ("PUT", "/network-interfaces/eth0", net(tap="a-name-much-too-long"), 400, OPEN_FAILED),
        ("PUT", "/network-interfaces/eth0", net(guest_mac="06:00:00"), 400, c.BAD_JSON + "invalid value"),
        ("PUT", "/network-interfaces/eth0", net(guest_mac="06:00:00:00:00:0g"), 400, c.BAD_JSON + "invalid value"),
        ("PUT", "/network-interfaces/eth0", net(guest_mac="01:00:00:00:00:01"), 400, "Network config error: "),
        ("PUT", "/network-interfaces/eth0", net(mtu=67), 400, "Network config error: "),
        ("PUT", "/network-interfaces/eth0", net(mtu=65536), 400, c.BAD_JSON + "invalid value"),
        ("PUT", "/network-interfaces/eth0", net(x=1), 400, c.BAD_JSON + "unknown field `x`"),
        ("PUT", "/network-interfaces/eth0", net(rx_rate_limiter={"ops": {"size": 1}}), 400, c.BAD_JSON),
        ("PUT", "/network-interfaces/eth-0", net("eth-0"), 400,
         "API Resource IDs can only contain alphanumeric characters and underscores."),
        ("PUT", "/network-interfaces/eth0", {"iface_id": "eth0"}, 400, c.BAD_JSON + "missing field `host_dev_name`."),
        ("PUT", "/network-interfaces/eth0", net(guest_mac="06:00:AC:10:00:02", mtu=1400), 204, None),
        ("PUT", "/network-interfaces/eth1", net("eth1", "t1", guest_mac="06:00:ac:10:00:02"), 400,
         "Network config error: The MAC address is already in use: 06:00:ac:10:00:02"),
        ("PUT", "/network-interfaces/eth1", net("eth1", "t0"), 400, OPEN_FAILED),
        ("PUT", "/network-interfaces/eth1", net("eth1", "t1", guest_mac=None, mtu=None, rx_rate_limiter=None), 204, None),
        # The same again, on the same tap and on another: the old one is free then.
        ("PUT", "/network-interfaces/eth0", net(guest_mac="06:00:ac:10:00:02", tx_rate_limiter=LIMIT), 204, None),
        ("PUT", "/network-interfaces/eth1", net("eth1", "t2"), 204, None),
        ("PUT", "/network-interfaces/eth2", net("eth2", "t1"), 204, None),
        ("PUT", "/snapshot/load", {"snapshot_path": "s", "mem_backend": {"backend_type": "File", "backend_path": "m"}},
         400, "Load snapshot error: Loading a microVM snapshot not allowed after configuring boot-specific resources."),
        ("PATCH", "/network-interfaces/eth0", {"iface_id": "eth0"}, 400, c.BEFORE),
    ]
    with c.Vmm() as vmm:
        c.check_table(vmm, table, "before")
        got = vmm.call("GET", "/vm/config")[1]["network-interfaces"]
        c.report(got == [
            {"iface_id": "eth0", "host_dev_name": "t0", "guest_mac": "06:00:ac:10:00:02", "mtu": None,
             "rx_rate_limiter": None,
             "tx_rate_limiter": {"bandwidth": {"size": 1000000, "one_time_burst": 0, "refill_time": 100}, "ops": None}},
            {"iface_id": "eth1", "host_dev_name": "t2", "guest_mac": None, "mtu": None, "rx_rate_limiter": None,
             "tx_rate_limiter": None},
            {"iface_id": "eth2", "host_dev_name": "t1", "guest_mac": None, "mtu": None, "rx_rate_limiter": None,
             "tx_rate_limiter": None}], "GET /vm/config lists the interfaces", got)


MMDS_FAULT = "MMMDS config error: The "


def check_mmds_before():
    def config(**more):
        return {"network_interfaces": ["eth0"], **more}

    table = [
        ("PUT", "/mmds/config", config(), 400, MMDS_FAULT + "list of network interface IDs provided contains at least "
         "one ID that does not correspond to any existing network interface."),
        ("PUT", "/network-interfaces/eth0", net(), 204, None),
        ("PUT", "/mmds/config", {}, 400, c.BAD_JSON + "missing field `network_interfaces`."),
        ("PUT", "/mmds/config", {"network_interfaces": []}, 400,
         MMDS_FAULT + "list of network interface IDs that allow forwarding MMDS requests is empty."),
        ("PUT", "/mmds/config", {"network_interfaces": ["eth0", "eth1"]}, 400, MMDS_FAULT + "list of network interface"),
        ("PUT", "/mmds/config", {"network_interfaces": [1]}, 400, c.BAD_JSON),
        ("PUT", "/mmds/config", config(version="V3"), 400, c.BAD_JSON + "unknown variant `V3`"),
        ("PUT", "/mmds/config", config(ipv4_address="169.254.0.1"), 400,
         MMDS_FAULT + "MMDS IPv4 address is not link local."),
        ("PUT", "/mmds/config", config(ipv4_address="10.0.0.1"), 400,
         MMDS_FAULT + "MMDS IPv4 address is not link local."),
        ("PUT", "/mmds/config", config(ipv4_address="169.254.1"), 400, c.BAD_JSON),
        ("PUT", "/mmds/config", config(imds_compat=None), 400, c.BAD_JSON),
        ("PUT", "/mmds/config", config(version="V2", ipv4_address="169.254.170.2", imds_compat=True), 204, None),
    ]
    with c.Vmm() as vmm:
        c.check_table(vmm, table, "mmds")
        got = vmm.call("GET", "/vm/config")[1]["mmds-config"]
        c.report(got == {"version": "V2", "network_interfaces": ["eth0"], "ipv4_address": "169.254.170.2",
                         "imds_compat": True}, "GET /vm/config has the service", got)
        _, _, headers = vmm.call("PUT", "/mmds/config", config())
        c.report(headers.get("Deprecation") == "true", "version 1 sets the header", headers)
        _, _, headers = vmm.call("PUT", "/mmds/config", config(version="V2"))
        c.report("Deprecation" not in headers, "version 2 does not", headers)


def metrics(vmm):
    vmm.call("PUT", "/actions", {"action_type": "FlushMetrics"})
    return json.loads(vmm.text("metrics").splitlines()[-1])


def check_running_and_snapshot():
    with c.Vmm("--accel", "kvm", "--metrics-path", "metrics") as vmm:
        got = vmm.call("PUT", "/network-interfaces/eth0", net(guest_mac="06:00:00:00:00:01"))
        config = vmm.call("PUT", "/mmds/config", {"network_interfaces": ["eth0"], "version": "V2"})
        c.report(config[0] == 204, "with a metadata service", config)
        c.report(got[0] == 204 and c.configure(vmm, "i=0; while :; do echo n $i; i=$((i + 1)); sleep 1; done"),
                 "configured with an interface", got)
        got = vmm.call("PUT", "/actions", {"action_type": "InstanceStart"})
        c.report(got[0] == 204, "started", got)
        c.report(vmm.wait_text("console", "n 0"), "the guest runs", vmm.text("console"))
        c.check_table(vmm, [
            ("PATCH", "/network-interfaces/eth0", {"iface_id": "eth0", "rx_rate_limiter": LIMIT}, 204, None),
            ("PATCH", "/network-interfaces/eth0", {"iface_id": "eth0", "tx_rate_limiter": {"ops": {
                "size": 0, "refill_time": 0}}}, 204, None),
            ("PATCH", "/network-interfaces/eth0", {"iface_id": "eth0"}, 204, None),
            ("PATCH", "/network-interfaces/eth0", {"iface_id": "eth1"}, 400,
             "The id from the path [eth0] does not match the id from the body [eth1]!"),
            ("PATCH", "/network-interfaces/eth9", {"iface_id": "eth9"}, 400, "Device not found"),
            ("PUT", "/network-interfaces/eth0", net(), 400, c.AFTER),
            ("DELETE", "/network-interfaces/eth0", None, 400, "PCI is not enabled"),
            ("GET", "/mmds", None, 200, None),
            ("PATCH", "/mmds", {"a": 1}, 400, "MMDS error: The MMDS data store is not initialized."),
            ("PUT", "/mmds", {"a": 1}, 204, None),
            ("PATCH", "/mmds", {"b": {"c": None}}, 204, None),
            ("PUT", "/mmds/config", {"network_interfaces": ["eth0"]}, 400, c.AFTER),
        ], "after")
        got = vmm.call("GET", "/vm/config")[1]["network-interfaces"][0]
        c.report(got["rx_rate_limiter"]["bandwidth"]["size"] == 1000000 and got["tx_rate_limiter"] is None,
                 "limits follow a PATCH", got)
        got = metrics(vmm)
        c.report({"rx_packets_count", "tx_packets_count", "tx_malformed_frames", "tap_read_fails"} <= set(got["net"]) ==
                 set(got["net_eth0"]), "metrics of the interface and of all", got)
        c.report({"rx_accepted", "tx_bytes", "connections_created"} <= set(got["mmds"]), "metrics of the service", got)
        vmm.call("PATCH", "/vm", {"state": "Paused"})
        state, memory = os.path.join(vmm.dir, "s"), os.path.join(vmm.dir, "m")
        got = vmm.call("PUT", "/snapshot/create", {"snapshot_path": state, "mem_file_path": memory})
        c.report(got[0] == 204, "snapshot", got)
        load = {"snapshot_path": state, "mem_backend": {"backend_type": "File", "backend_path": memory}}
        check_load(load)


def check_load(load):
    cases = [
        ([net(tap="t1")], None),
        ([{"iface_id": "eth0", "host_dev_name": "t1", "unknown": 1}], None),
        ([net("eth7", "t1")], "Load snapshot error: Failed to restore from snapshot: Unknown Network Device: eth7"),
        ([net(tap="nosuch")], "Load snapshot error: "),
        ([], "Load snapshot error: "),  # the snapshotted machine has its tap still
        ([{"iface_id": "eth0"}], c.BAD_JSON + "missing field `host_dev_name`."),
    ]
    for overrides, fault in cases:
        with c.Vmm("--accel", "kvm") as vmm:
            got = vmm.call("PUT", "/snapshot/load", {**load, "network_overrides": overrides, "resume_vm": True})
            name = f"load with {overrides}"
            if fault is not None:
                c.report(got[0] == 400 and got[1]["fault_message"].startswith(fault), name, got)
                continue
            c.report(got[0] == 204 and vmm.wait_text("console", "n "), name, got)
            got = vmm.call("GET", "/vm/config")[1]
            c.report(got["mmds-config"]["version"] == "V2" and vmm.call("GET", "/mmds")[1] == {},
                     "the metadata service is there, its document is not", got)
            got = got["network-interfaces"][0]
            c.report(got["host_dev_name"] == "t1" and got["guest_mac"] == "06:00:00:00:00:01",
                     "the interface is the snapshot's on the new tap", got)


class Jailed(c.Vmm):
    """The same behind the jailer, which has /dev/net/tun and no right but the tap's owner's."""

    def command(self, options, api):
        vmm = os.path.join(os.path.dirname(c.DRUPE), "drupe-vmm")
        self.sock = os.path.join(self.dir, "drupe-vmm", "net", "root", "run", "api.sock")
        return [c.DRUPE, "jailer", "--id", "net", "--exec-file", vmm, "--uid", str(JAIL_ID), "--gid", str(JAIL_ID),
                "--chroot-base-dir", self.dir, "--", "--api-sock", "/run/api.sock"]


def check_jailer():
    with Jailed() as vmm:
        c.check_table(vmm, [
            ("PUT", "/network-interfaces/eth0", net(), 204, None),
            ("PUT", "/network-interfaces/eth1", net("eth1", "nosuch"), 400, OPEN_FAILED + "No such device"),
            ("PUT", "/mmds/config", {"network_interfaces": ["eth0"], "version": "V2"}, 204, None),
        ], "jailed")


def main():
    reason = why_not()
    if reason is not None:
        c.skip("network interfaces", reason)
        return
    check_before()
    check_mmds_before()
    check_jailer()
    if os.access("/bin/busybox", os.X_OK) and c.have("mkfs.erofs"):
        c.make_root()
        check_running_and_snapshot()
    else:
        c.skip("running guests", "no busybox-static or erofs-utils")


main()
sys.exit(c.finish())
