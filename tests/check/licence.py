#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Every file that can carry one has an SPDX line among its first three, and it is the folder's.

The Linux driver is the kernel's kind; the headers that both it and others include are everybody's.
"""
import re

from tree import files, finish, read

SUFFIXES = {".c", ".h", ".py", ".sh", ".S", ".build", ".1", ".config", ".lds", ".rs", ".toml",
            ".rules", ".conf"}
NAMES = {"Kbuild", "Makefile"}
LINE = re.compile(r"SPDX-License-Identifier: ([\w. -]*\w)")
DRIVER = ("guest", "vmshm")
OWN = "vmshm_driver.h"     # the other headers are for programs


def licence_of(path):
    if path.parts[:2] != DRIVER:
        return "Apache-2.0"
    return "Apache-2.0 OR GPL-2.0-only" if path.suffix == ".h" and path.name != OWN else "GPL-2.0-only"


faults = []
if not read("guest/vmshm/COPYING").lstrip().startswith("GNU GENERAL PUBLIC LICENSE"):
    faults.append("guest/vmshm/COPYING: not the text of the driver's licence")
for path in files():
    text = read(path)
    if path.suffix not in SUFFIXES and path.name not in NAMES and not text.startswith("#!"):
        continue
    found = LINE.search("\n".join(text.splitlines()[:3]))
    want = licence_of(path)
    if path.suffix == ".config" and not found:
        continue
    if not found:
        faults.append(f"{path}: no SPDX line")
    elif found[1] != want:
        faults.append(f"{path}: {found[1]}, not {want}")
finish(faults)
