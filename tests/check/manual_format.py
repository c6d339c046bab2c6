#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Manual pages format without a word of complaint."""
import shutil
import subprocess
import sys

from tree import ROOT, files, finish

if not shutil.which("groff"):
    print("there is no groff")
    sys.exit(77)
faults = []
for path in files(".1", ".4"):
    got = subprocess.run(["groff", "-man", "-ww", "-z", "-K", "utf8", ROOT / path], capture_output=True, text=True,
                         check=False)
    faults += got.stderr.splitlines()
    if got.returncode:
        faults.append(f"{path}: groff ends with {got.returncode}")
finish(faults)
