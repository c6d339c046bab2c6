#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""README's table of device types says what the code's says, and the manual page what README's does."""
import pathlib
import re

import ctable
import roff
from tree import finish, read

CODE = "devices/device_types.c"
IDS = pathlib.Path("/usr/include/linux/virtio_ids.h")
COLUMNS = ("type", "virtio device", "queues", "tested with", "not supported")

faults = []


def numbers():
    """What the kernel's header and the table's file call virtio devices."""
    found = dict(re.findall(r"#define\s+(VIRTIO_ID_\w+)\s+(\d+)", IDS.read_text()))
    return found | dict(re.findall(r"\b(ID_\w+) = (\d+)", read(CODE)))


def value(row, name):
    return "".join(ctable.field(row, name) or [])


def queues(row):
    counted = {"": "", "VU_QUEUES_PER_VCPU": "one a CPU", "VU_QUEUES_OF_DAEMON": "the daemon's"}
    default = value(row, "queues_default").replace("-", "")
    if not value(row, "virtio_id"):
        return "as said"
    if default == "VU_QUEUES_OF_DAEMON":
        return counted[default]
    if value(row, "queues_each"):
        return f"{value(row, 'queues_each')} a pair, a third for several"
    return " and ".join(part for part in (value(row, "queues_fixed"), counted.get(default, default)) if part)


def table():
    """README's rows by type; each a dictionary by column."""
    found, columns = {}, None
    for line in read("README.md").splitlines():
        cells = [cell.strip() for cell in line.strip("|").split("|")]
        if tuple(cells) == COLUMNS:
            columns = cells
        elif columns and not line.startswith("|"):
            break
        elif columns and not cells[0].startswith("-"):
            found[cells[0].strip("`")] = dict(zip(columns, cells))
    return found


def is_said(text, sentence):
    return " ".join(sentence.replace("`", "").split()).casefold() in " ".join((text or "").split()).casefold()


ids = numbers()
said = table()
manual = roff.Page("man/minivmm.1").tags("DEVICES", "Types")
for row in ctable.rows(CODE, "vu_device_types"):
    if not ctable.field(row, "about"):
        continue
    name = ctable.strings(ctable.field(row, "name"))[0]
    told = said.pop(name, None)
    if not told:
        faults.append(f"{name}: not in README's table of device types")
        continue
    for column, is_so in (("virtio device", ids.get(value(row, "virtio_id"), "any")), ("queues", queues(row))):
        if told[column] != is_so:
            faults.append(f"{name}: README says of its {column}: {told[column]}; {CODE}: {is_so}")
    if bool(told["not supported"]) != bool(ctable.field(row, "withheld_why")):
        faults.append(f"{name}: README's table and {CODE} differ in whether something is not supported")
    if not told["tested with"]:
        faults.append(f"{name}: README's table does not say what it is tested with; or: nothing, and why")
    for sentence in (f"Virtio device {told['virtio device']}", f"tested with {told['tested with']}"):
        if not is_said(manual.get(name), sentence):
            faults.append(f"{name}: the manual page does not say: {sentence}")
faults.extend(f"{name}: in README's table only" for name in said)
finish(faults)
