#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Lines and files keep their measure: C in tabs and 100 columns, no white space at ends, files one can read."""
from tree import files, finish, read

COLUMNS, LINES = 100, 600
STRING_COLUMNS = 132     # a message stays whole, so that it can be searched for
VERBATIM = {"guest/examples/document.c"}    # indented as the document that it quotes
TEXT = {".c", ".h", ".S", ".py", ".sh", ".md", ".build", ".1", ".yml", ".rs", ".toml"}
faults = []
for path in files():
    text = read(path)
    if path.suffix not in TEXT and not text.startswith("#!"):
        continue
    lines = text.split("\n")
    if lines[-1]:
        faults.append(f"{path}: no newline at the end")
    if len(lines) > LINES and path.suffix in {".c", ".h", ".py", ".sh"}:
        faults.append(f"{path}: {len(lines)} lines (at most {LINES}: one noun a file)")
    for number, line in enumerate(lines, 1):
        if line != line.rstrip():
            faults.append(f"{path}:{number}: white space at the end")
        if path.suffix in {".c", ".h"}:
            if line.startswith("    ") and str(path) not in VERBATIM:
                faults.append(f"{path}:{number}: indented by spaces")
            width = len(line.expandtabs(8))
            if width > (STRING_COLUMNS if '"' in line else COLUMNS):
                faults.append(f"{path}:{number}: {width} columns")
finish(faults)
