#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Scripts parse: sh by a POSIX shell, with set -eu when run on its own; Python by this one."""
import ast
import shutil
import subprocess

from tree import ROOT, files, finish, read

shell = shutil.which("dash") or "sh"
faults = []
for path in files():
    text = read(path)
    first = text.split("\n", 1)[0]
    if path.suffix == ".sh" or first.startswith("#!/bin/sh"):
        got = subprocess.run([shell, "-n", ROOT / path], capture_output=True, text=True, check=False)
        if got.returncode:
            faults.append(f"{path}: {got.stderr.strip()}")
        if first.startswith("#!/bin/sh") and "\nset -eu\n" not in text:
            faults.append(f"{path}: no set -eu")
    elif path.suffix == ".py" or "python3" in first:
        try:
            ast.parse(text)
        except SyntaxError as error:
            faults.append(f"{path}: {error}")
finish(faults)
