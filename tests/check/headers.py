#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Headers begin by saying what they are, and every group of functions has a comment.

A group is what stands between empty lines; a comment above it or in it is the group's. Inline
functions and types are read, not called, and speak for themselves.
"""
import re

from tree import files, finish, read

FOLDERS = {"base", "memory", "vhost", "devices", "tools", "vmm"}
PREPROCESSOR = re.compile(r"^[ \t]*#.*(?:\\\n.*)*$", re.M)
FUNCTION = re.compile(r"^[\w\s*]+?\b(\w+)\([^;{}]*\)(?:\s*__attribute__\(\(.*\)\))?;", re.M | re.S)
# what their names say in every header of the house
CLEAR = re.compile(r"_(fini|free)$")


def without_bodies(text):
    """Comments and what is in braces taken out; a group keeps a mark of its comment."""
    text = re.sub(r"/\*.*?\*/", "/**/", text, flags=re.S)
    count = 1
    while count:
        text, count = re.subn(r"\{[^{}]*\}", "", text)
    return text


faults = []
for path in files(".h"):
    if path.parts[0] not in FOLDERS:
        continue
    text = read(path)
    opening = PREPROCESSOR.sub("", text.split("\n", 1)[1]).lstrip()
    if not opening.startswith("/*"):
        faults.append(f"{path}: does not begin by saying what it is")
    for group in re.split(r"\n\s*\n", without_bodies(PREPROCESSOR.sub("", text))):
        names = [n for n in FUNCTION.findall(group.replace("/**/", "")) if not CLEAR.search(n)]
        if names and "/**/" not in group:
            faults.append(f"{path}: {', '.join(names)}: no comment")
finish(faults)
