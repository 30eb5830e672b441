# SPDX-License-Identifier: Apache-2.0
"""An asyncio worker: one heartbeat a second until SIGTERM, SIGINT, or $HEARTBEATS of them."""

import asyncio
import os
import signal
import sys
import time


async def heartbeat(limit):
    number = 0
    while limit == 0 or number < limit:
        number += 1
        print(f"heartbeat {number} at {time.time():.3f}", flush=True)
        await asyncio.sleep(1)


async def main():
    limit = int(os.environ.get("HEARTBEATS", "0"))  # 0: for ever
    version = ".".join(map(str, sys.version_info[:3]))
    print(f"worker starting: Python {version}, {os.uname().sysname}, pid {os.getpid()}", flush=True)
    worker = asyncio.ensure_future(heartbeat(limit))
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, worker.cancel)
    try:
        await worker
    except asyncio.CancelledError:
        print("worker stopped by a signal", flush=True)
    else:
        print("worker done", flush=True)


asyncio.run(main())
