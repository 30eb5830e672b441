# SPDX-License-Identifier: Apache-2.0
"""What this image's Python is, as `drupe run` in this directory shows it."""

import platform

print(platform.python_implementation(), platform.python_version())
