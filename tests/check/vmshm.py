#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""vmshm(4) has the registers and codes of guest/vmshm/vmshm_regs.h, at their offsets, and names every bit. Of the Linux
driver it has the requests, by number, and each code's errno; the driver's README.md names them as well."""
import re

import roff
from tree import finish, read

DEFINE = re.compile(r"^#define\s+VMSHM_(\w+)\s+(\S.*?)\s*(?:/\*.*)?$", re.M)
REQUEST = re.compile(r"^#define VMSHM_(IOC_\w+)\s+_IO\w*\((\w+), (\d+)", re.M)
ERRNO = re.compile(r"^\t\[VMSHM_(\w+)\] = -(\w+),$", re.M)
CODES = r"E(?!RROR$)[A-Z]+$|OK$"
NOT_REGISTERS = rf"PCI_|BAR_|F_|S_|OPEN_|{CODES}|.*_VALUE$|(REGS|WINDOW|NAME)_SIZE$"
page = roff.Page("man/vmshm.4")
source = read("man/vmshm.4")
defined = dict(DEFINE.findall(read("guest/vmshm/vmshm_regs.h")))
faults = []


def pairs(pattern, base):
    return {name: int(value, base) for name, value in defined.items() if re.match(pattern, name)}


def told(title, end, base):
    """{name: number} of the bold tags between a heading and the next."""
    part = re.search(rf"^\.S[HS] {title}\n(.*?)^\.S[HS]{end}", source, re.M | re.S)[1]
    return {name: int(value, base) for name, value in re.findall(r"^\.B VMSHM_(\w+) (\w+)$", part, re.M)}


def same(what, header, manual):
    faults.extend(f"VMSHM_{name}: {what} {header.get(name)} in the header, {manual.get(name)} in the manual page"
                  for name in sorted({*header, *manual}) if header.get(name) != manual.get(name))


same("register", {name: int(value, 16) for name, value in defined.items() if not re.match(NOT_REGISTERS, name)},
     told("REGISTERS", "", 16))
same("code", pairs(CODES, 10), told("What OPEN gives", "", 10))
for prefix, register in (("F_", "FEATURES"), ("S_", "STATUS"), ("OPEN_", "FLAGS")):
    text = re.search(rf"^\.B VMSHM_{register} .*\n((?:[^.].*\n)+)", source, re.M)[1]
    for name in (name for name in defined if name.startswith(prefix) and name != "S_GENERATION"):
        if f"VMSHM_{name}" not in text and f"_{name[len(prefix):]}" not in text:
            faults.append(f"VMSHM_{name}: the manual page does not name it at {register}")


def check_driver():
    readme, errors = read("guest/vmshm/README.md"), page.tags("LINUX DRIVER", "Errors")
    text = page.text("LINUX DRIVER", "Requests") + page.text("LINUX DRIVER", "Mapping")
    requests = REQUEST.findall(read("guest/vmshm/vmshm.h"))
    errnos = dict(ERRNO.findall(read("guest/vmshm/vmshm_device.c")))
    same("request", {name: int(number) for name, _, number in requests}, told("Requests", "", 10))
    same("errno of", errnos,
         {code: errno for errno, said in errors.items() for code in re.findall(r"VMSHM_(E[A-Z]+)", said)})
    large = re.search(r"^#define VMSHM_MMAP_LARGE\s+(0x\d+)", read("guest/vmshm/vmshm.h"), re.M)[1]
    faults.extend(f"vmshm(4) does not say {word}" for word in {large, *(kind for _, kind, _ in requests)}
                  if word not in text)
    # EPERM is of a code that no device gives
    faults.extend(f"README.md of the driver does not name {word}"
                  for word in {*errnos.values(), *(f"VMSHM_{name}" for name, *_ in requests)} - {"EPERM"}
                  if f"`{word}" not in readme and f" {word}" not in readme)


check_driver()
finish(faults)
