#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""The metadata service against this host's own TCP and HTTP clients: build/tests/mmds_tap on one end of a tap in a
network namespace of the test's, curl and Python on the other. TAP on standard output; skips without root."""

import ctypes
import fcntl
import http.client
import json
import os
import shutil
import socket
import struct
import subprocess
import sys
import tempfile
import threading

BUILD = os.environ.get("BUILD", "build")
ADDRESS = "169.254.169.254"
LIMIT = 120  # seconds; a bound for what hangs, never a measure
DOCUMENT = {"latest": {"meta-data": {"ami-id": "ami-1", "n": 3}, "user-data": "line\nline\u20ac"},
            "large": "".join(chr(97 + i * 7 % 26) for i in range(200000)),
            "many": {f"key{i}": "x" * (i * 37 % 500) for i in range(100)}}
number = 0
failed = 0


def report(ok, name, detail=""):
    global number, failed
    number += 1
    failed += not ok
    print(f"{'ok' if ok else 'not ok'} {number} - {name}", flush=True)
    if not ok:
        print("# " + str(detail)[:2000].replace("\n", "\n# "), flush=True)


def interface(fd, request, name, data):
    fcntl.ioctl(fd, request, struct.pack("16s24s", name, data))


def make_network():
    """A namespace with one tap, on which this host is 169.254.1.1/16."""
    if os.geteuid() != 0:
        return "not root"
    if ctypes.CDLL(None, use_errno=True).unshare(0x40000000) != 0:
        return "no network namespace: " + os.strerror(ctypes.get_errno())
    try:
        tun = os.open("/dev/net/tun", os.O_RDWR)
        fcntl.ioctl(tun, 0x400454CA, struct.pack("16sH22x", b"tap0", 0x5002))  # TUNSETIFF: tap, no info, headers
        fcntl.ioctl(tun, 0x400454CB, 1)  # TUNSETPERSIST
        os.close(tun)
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as s:
            interface(s.fileno(), 0x8916, b"tap0", struct.pack("HH4s", 2, 0, socket.inet_aton("169.254.1.1")))
            interface(s.fileno(), 0x891C, b"tap0", struct.pack("HH4s", 2, 0, socket.inet_aton("255.255.0.0")))
            interface(s.fileno(), 0x8914, b"tap0", struct.pack("H", 0x41))  # up, running
    except OSError as e:
        return f"no tap: {e}"
    return None


class Service:
    def __init__(self, document, loss=0, *more):
        self.file = tempfile.NamedTemporaryFile("w")
        self.file.write(json.dumps(document))
        self.file.flush()
        self.process = subprocess.Popen([f"{BUILD}/tests/mmds_tap", "tap0", self.file.name, str(loss), *more],
                                        stdout=subprocess.PIPE, text=True)

    def __enter__(self):
        if self.process.stdout.readline() != "ready\n":
            raise OSError("the service does not start")
        return self

    def __exit__(self, *_):
        self.process.kill()
        self.process.wait()
        self.process.stdout.close()
        self.file.close()


def connect():
    return http.client.HTTPConnection(ADDRESS, timeout=LIMIT)


def ask(connection, path, method="GET", **headers):
    connection.request(method, path, headers={k.replace("_", "-"): v for k, v in headers.items()})
    answer = connection.getresponse()
    return answer.status, answer.read().decode()


def check_values():
    with Service(DOCUMENT):
        c = connect()  # one connection for all of them
        for path, accept, wanted in (
                ("/latest/meta-data/ami-id", "*/*", "ami-1"), ("/latest/user-data", "*/*", "line\nline\u20ac"),
                ("/latest", "*/*", "meta-data/\nuser-data"), ("/large", "*/*", DOCUMENT["large"]),
                ("/many/key7", "*/*", DOCUMENT["many"]["key7"])):
            got = ask(c, path, accept=accept)
            report(got == (200, wanted), f"text of {path}, {len(wanted)} characters", got)
        for path, value in (("/latest", DOCUMENT["latest"]), ("/many", DOCUMENT["many"]), ("/", DOCUMENT)):
            status, body = ask(c, path, accept="application/json")
            report(status == 200 and json.loads(body) == value, f"JSON of {path}", body)
        report(ask(c, "/nothing")[0] == 404, "404 for what is not there")
        report(ask(c, "/x", "POST")[0] == 405, "405 for another method")
        c.close()
        if shutil.which("curl"):
            got = subprocess.run(["curl", "-sf", "-m", str(LIMIT), f"http://{ADDRESS}/latest/meta-data/ami-id"],
                                 stdout=subprocess.PIPE, text=True)
            report(got.stdout == "ami-1", "curl", got)


def check_tokens():
    with Service(DOCUMENT, 0, "token"):
        c = connect()
        report(ask(c, "/latest")[0] == 401, "no token, no value")
        status, token = ask(c, "/latest/api/token", "PUT", X_metadata_token_ttl_seconds="60")
        report(status == 200 and ask(c, "/latest/user-data", X_metadata_token=token)[0] == 200, "with a token", token)
        report(ask(c, "/latest", X_metadata_token=token[:-1] + "!")[0] == 401, "with a wrong one")
        c.close()


def check_many_connections():
    results = []

    def client():
        try:
            c = connect()
            for i in range(20):
                key = f"key{i}"
                results.append(ask(c, "/many/" + key) == (200, DOCUMENT["many"][key]))
            c.close()
        except OSError as e:
            results.append(e)

    with Service(DOCUMENT):
        threads = [threading.Thread(target=client) for _ in range(12)]
        for t in threads:
            t.start()
        for t in threads:
            t.join()
        report(results == [True] * 240, "12 connections at once, 20 requests each", results[:5])
        held = [socket.create_connection((ADDRESS, 80), LIMIT) for _ in range(16)]
        try:
            socket.create_connection((ADDRESS, 80), LIMIT).close()
            report(False, "the table's end")
        except ConnectionRefusedError:
            report(True, "the seventeenth is refused")
        for s in held:
            s.close()
        for _ in range(40):  # one after the other: places come back
            c = connect()
            if ask(c, "/latest/meta-data/ami-id") != (200, "ami-1"):
                report(False, "places come back")
                break
            c.close()
        else:
            report(True, "places come back")


def check_odd_clients():
    with Service(DOCUMENT):
        with socket.create_connection((ADDRESS, 80), LIMIT) as s:
            for byte in b"GET /latest/meta-data/ami-id HTTP/1.0\r\n\r\n":
                s.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
                s.send(bytes([byte]))
            got = b""
            while piece := s.recv(4096):
                got += piece
            report(got.endswith(b"ami-1"), "a request byte by byte, closed by the service", got)
        with socket.create_connection((ADDRESS, 80), LIMIT) as s:
            s.sendall(b"GET /latest/meta-data/ami-id HTTP/1.1\r\n\r\n" * 20)
            got = b""
            while got.count(b"ami-1") < 20 and (piece := s.recv(4096)):
                got += piece
            report(got.count(b"200 OK") == 20, "20 requests in one piece", got)
        with socket.create_connection((ADDRESS, 80), LIMIT) as s:
            s.sendall(b"GET /large HTTP/1.1\r\n\r\n")
            s.shutdown(socket.SHUT_WR)
            got = b""
            while piece := s.recv(4096):
                got += piece
            report(got.endswith(DOCUMENT["large"][-100:].encode()), "a large value after the client's end", got[-200:])
        with socket.socket() as s:
            s.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 2304)
            s.settimeout(LIMIT)
            s.connect((ADDRESS, 80))
            s.sendall(b"GET /large HTTP/1.0\r\n\r\n")
            size = 0
            while piece := s.recv(700):
                size += len(piece)
            report(size > 200000, "a client with a tiny window", size)
        with socket.create_connection((ADDRESS, 80), LIMIT) as s:
            try:
                s.sendall(b"x" * 100000)
                got = s.recv(4096)
            except OSError as e:
                got = e
            report(isinstance(got, OSError) or got.startswith(b"HTTP/1.1 413 "), "a request without an end", got)
        try:
            socket.create_connection((ADDRESS, 22), LIMIT).close()
            report(False, "another port")
        except ConnectionRefusedError:
            report(True, "another port is refused")


def check_loss():
    for loss in (5, 20):
        with Service(DOCUMENT, loss):
            for path, wanted in (("/large", DOCUMENT["large"]), ("/latest/meta-data/ami-id", "ami-1")):
                try:
                    c = connect()
                    got = ask(c, path)
                    c.close()
                except OSError as e:
                    got = e
                report(got == (200, wanted), f"{path} while {loss} of 100 frames are lost", str(got)[:200])


reason = make_network()
if reason is None:
    check_values()
    check_tokens()
    check_many_connections()
    check_odd_clients()
    check_loss()
else:
    number = 1
    print(f"ok 1 - the metadata service on a tap # SKIP {reason}")
print(f"1..{number}")
sys.exit(failed > 0)
