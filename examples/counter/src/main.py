# SPDX-License-Identifier: Apache-2.0
"""Five numbers a second, each with a random one: what a snapshot keeps and what a clone must not."""

import os
import time

number = 0
while True:
    number += 1
    print(f"count {number} random {os.urandom(8).hex()} at {time.strftime('%H:%M:%S')}", flush=True)
    time.sleep(0.2)
