#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""docs/vmshm-hazards.md has every hazard of VMShm by its number, each with an answer and tests that there are."""
import re

from tree import ROOT, finish, read

HAZARDS = 23
PAGE = "docs/vmshm-hazards.md"
ROW = re.compile(r"^\| (\d+) \|(.*)\|(.*)\|(.*)\|$", re.M)
# where a test of a suite is declared, and how: {0} is the program's or file's name, {1} the case's
DECLARED = {
    "unit": ("tests/unit/test_{0}.c", r"(?:unit_test\w*|CASE)\(\s*{1}\b"),
    "bare": ("tests/bare/test_{0}.c", r"CASE\({1}\)"),
    "linux": ("tests/linux/test_{0}.py", r"^def {1}\("),
    "check": ("tests/check/{0}.py", ""),
}


def is_there(name):
    suite, _, test = name.partition("/")
    if suite not in DECLARED:
        return False
    path, pattern = DECLARED[suite]
    program, _, case = test.partition(".")
    path = ROOT / path.format(program)
    return path.is_file() and bool(re.search(pattern.replace("{1}", re.escape(case)), read(path), re.M))


rows = ROW.findall(read(PAGE))
faults = []
numbers = [int(row[0]) for row in rows]
if numbers != list(range(1, HAZARDS + 1)):
    faults.append(f"{PAGE}: its rows are {numbers}, not 1 to {HAZARDS}")
for number, hazard, answer, tests in rows:
    names = [name.strip() for name in tests.split(",")]
    if not hazard.strip() or not answer.strip():
        faults.append(f"{PAGE}: row {number} has no words")
    faults += [f"{PAGE}: row {number}: there is no test {name!r}" for name in names if not is_there(name)]
finish(faults)
