#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""The manual page says what the tables say: options, keys, device types, features, ports, exit codes, the report."""
import re

import ctable
import roff
from tree import finish, read

page = roff.Page("man/minivmm.1")
faults = []


def same(what, table, manual):
    faults.extend(f"{name}: {what} in the tables, not in the manual page" for name in sorted(set(table) - set(manual)))
    faults.extend(f"{name}: {what} in the manual page only" for name in sorted(set(manual) - set(table)))


def says(what, text, sentence):
    def flat(words):
        return " ".join(words.split()).casefold()
    if flat(sentence) not in flat(text or ""):
        faults.append(f"the manual page does not say of {what}: {sentence}")


def check_options():
    options = []
    for row in ctable.rows("vmm/options.c", "rows"):
        name, *rest = ctable.strings(row)
        argument = rest[0] if ctable.field(row, "help") and len(rest) > 1 else ""
        options.append(f"--{name} {argument}".strip())
    same("option", options, [tag for tag in page.tags("OPTIONS") if tag.startswith("--")])


def check_verbs():
    told = page.tags("VERBS")
    verbs = {}
    for row in ctable.rows("vmm/verbs.c", "verbs"):
        words = ctable.strings(row)
        if words:
            verbs[f"{words[0]} {words[1]}".strip()] = words[2]
    same("verb", verbs, told)
    for name, about in verbs.items():
        says(name, told.get(name), about)


def keys_of(path, table):
    """Two dictionaries of a keyval table: key -> help of what is accepted, of what is refused."""
    accepted, refused = {}, {}
    for row in ctable.rows(path, table):
        words = ctable.strings(row)
        if words:
            is_refused = any("REFUSED" in token for token in row)
            (refused if is_refused else accepted)[words[0]] = words[-1]
    return accepted, refused


def check_keys(path, table, section, parts):
    accepted, refused = keys_of(path, table)
    tags = {}
    for part in parts:
        tags |= {re.split(r"[=\[]", tag)[0]: text for tag, text in page.tags(section, part).items()}
        if part in ("shm", "memfd", "file"):
            for key in page.tags(section, part):
                key = key.split("=")[0]
                if accepted.get(key, part).split(":")[0] != part:
                    faults.append(f"{key}: the manual page has it as a key of {part}")
    same(f"key of {section}", accepted, tags)
    told = page.tags(section, "Refused keys")
    same(f"refused key of {section}", refused, told)
    for key, why in refused.items():
        says(key, told.get(key), why)


def check_types():
    told = page.tags("DEVICES", "Types")
    types = {}
    for row in ctable.rows("devices/device_types.c", "vu_device_types"):
        if ctable.field(row, "about"):
            types[ctable.strings(ctable.field(row, "name"))[0]] = row
    same("device type", types, told)
    for name, row in types.items():
        for fact in ("about", "aliases", "withheld_why"):
            for words in ctable.strings(ctable.field(row, fact) or []):
                says(name, told.get(name), words)
        says(name, told.get(name), f"of {''.join(ctable.field(row, 'queue_size'))} entries")


def check_features():
    told = page.tags("VHOST-USER")
    features = {ctable.strings(row)[0]: row for row in ctable.rows("vhost/proto.c", "vu_features")}
    same("protocol feature", features, told)
    for name, row in features.items():
        why = ctable.strings(ctable.field(row, "why_not") or [])
        says(name, told.get(name), f"never acked: {why[0]}" if why else "implemented")
        if bool(why) == bool(ctable.field(row, "frontend")):
            faults.append(f"{name}: vhost/proto.c has it as implemented and has a reason against it, or neither")
    told = page.tags("VHOST-USER", "Quirks")
    quirks = {ctable.strings(row)[0]: ctable.strings(row)[-1] for row in ctable.rows("vhost/quirk.c", "vu_quirks")
              if ctable.strings(row)}
    same("quirk", quirks, told)
    for name, who in quirks.items():
        says(name, told.get(name), who)
    told = page.tags("VHOST-USER", "Features that a guest is offered")
    features = {ctable.strings(row)[0]: row for row in
                ctable.rows("devices/device_types.c", "virtio_transport_features") if ctable.strings(row)}
    same("transport feature", features, told)
    for name, row in features.items():
        why = ctable.strings(row)[1:]
        says(name, told.get(name), f"withheld: {why[0]}" if why else "passed on")


def check_ports():
    table = re.findall(r"^ \*   (0x\w+)  ", read("devices/platform.h"), re.M) + ["0x601"]
    same("port", table, page.tags("MACHINE"))


def check_codes():
    codes = re.findall(r"\bVM_EXIT_\w+ = (\d)", read("vmm/vm.h"))
    codes += re.findall(r"\bSECCOMP_EXIT_CODE = (\d)", read("base/seccomp.h"))
    same("exit code", [*codes, "128+N"], page.tags("EXIT STATUS"))


def check_report():
    report = page.text("BOOT REPORT")
    names = [ctable.strings(row)[0] for path, table in (("vmm/report.c", "stamp_names"), ("vmm/vcpu.c", "vcpu_exit_names"))
             for row in ctable.rows(path, table)]
    names += re.findall(r'\\"(\w+)\\": ', read("vmm/report.c"))
    same("word of the boot report", names, re.findall(r'"(\w+)":', report) + ["note"])


def check_defaults():
    line = re.search(r'default_cmdline\[\] = "([^"]*)"', read("vmm/vm.c"))
    says("--cmdline", page.text("OPTIONS"), line[1])
    keep = re.search(r"UNPACK_CACHE_KEEP = (\d+)", read("vmm/unpack.h"))
    says("the cache", page.text("FILES"), f"the {keep[1]} newest are kept")
    deadline = re.search(r"VU_DEADLINE_MS = (\d+)000", read("vhost/frontend.h"))
    says("daemons", page.text("DEVICES"), f"a deadline of {deadline[1]} seconds")


check_options()
check_verbs()
check_keys("memory/mem_options.c", "mem_option_table", "MEMORY BACKENDS", ["", "Every kind", "shm", "memfd", "file"])
check_keys("devices/vhost_user_options.c", "vhost_user_keys", "DEVICES", ["Keys"])
check_keys("tools/vu_check.c", "vu_check_keys", "VERBS", ["Keys of vu-check"])
check_keys("devices/vmshm_options.c", "vmshm_keys", "SHARED MEMORY OBJECTS", ["Keys"])
check_keys("vhost/fault.c", "vu_fault_keys", "TOOLS FOR DAEMON AUTHORS", ["Faults"])
check_types()
check_features()
check_ports()
check_codes()
check_report()
check_defaults()
finish(faults)
