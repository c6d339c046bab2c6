#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""SECURITY.md lists the system calls that the filters' tables allow, all of them and no others."""
import re

import ctable
from tree import finish, read

MARK = re.compile(r"^<!-- calls: (\S+) (\w+) -->\n((?:.+\n)+)", re.M)
ANY = {"ANY", "SECCOMP_ANY"}
TABLES = {
    ("base/seccomp.c", "always_allowed"), ("vmm/sandbox.c", "vcpu_rules"), ("vmm/sandbox.c", "loop_rules"),
    ("vmm/supervise.c", "rules"), ("vhost/backends/sandbox.c", "common_rules"), ("vhost/backends/blk.c", "rules"),
    ("vhost/backends/pmem.c", "rules"), ("vhost/backends/vsock.c", "rules"),
    ("vhost/backends/console.c", "rules"), ("vmm/helper.c", "rules"),
    ("vhost/backends/net.c", "rules"), ("vhost/backends/vsock_connector.c", "rules"),
    ("vhost/display/confinement.c", "rules"),
}


def call(row):
    """A rule as the document writes it: name, or name(VALUE) of the argument that is looked at."""
    text = "".join(row).strip("{}").replace("SYS_", "", 1).replace("SECCOMP_TC", "TC")
    if text.startswith("IOCTL("):
        return f"ioctl({text[6:-1]})"
    name, *rest = text.split(",")
    if not rest or rest[0] in ANY:
        return name
    return f"{name}({re.sub(r'^[(]uint32_t[)]', '', rest[1])})"


def allowed(path, table):
    if table != "always_allowed":
        return {call(row) for row in ctable.rows(path, table)}
    # what follows the first condition is for builds with sanitizers
    plain = re.search(r"always_allowed\[\] = \{(.*?)\n#", read(path), re.S)[1]
    return set(re.findall(r"SYS_(\w+)", plain))


faults, seen = [], set()
for path, table, paragraph in MARK.findall(read("SECURITY.md")):
    seen.add((path, table))
    told = {words.replace(" ", "") for words in re.findall(r"`([^`]+)`", paragraph)}
    want = allowed(path, table)
    faults += [f"SECURITY.md: {path} {table} allows {name}" for name in sorted(want - told)]
    faults += [f"SECURITY.md: {path} {table} does not allow {name}" for name in sorted(told - want)]
faults += [f"SECURITY.md does not list {path} {table}" for path, table in sorted(TABLES - seen)]
faults += [f"SECURITY.md lists {path} {table}, which the check does not expect" for path, table in sorted(seen - TABLES)]
finish(faults)
