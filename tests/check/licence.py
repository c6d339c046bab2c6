#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Every file that can carry one has an SPDX line among its first three, and it is the folder's."""
import re

from tree import files, finish, read

SUFFIXES = {".c", ".h", ".py", ".sh", ".S", ".build", ".1", ".config", ".lds", ".rs", ".toml"}
LINE = re.compile(r"SPDX-License-Identifier: ([\w.-]+)")
faults = []
for path in files():
    text = read(path)
    if path.suffix not in SUFFIXES and not text.startswith("#!"):
        continue
    found = LINE.search("\n".join(text.splitlines()[:3]))
    want = "GPL-2.0-only" if path.parts[:2] == ("guest", "vmshm") else "Apache-2.0"
    if path.suffix == ".config" and not found:
        continue
    if not found:
        faults.append(f"{path}: no SPDX line")
    elif found[1] != want:
        faults.append(f"{path}: {found[1]}, not {want}")
finish(faults)
