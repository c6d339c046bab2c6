#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""The manual page and the option table name the same options."""
import re

from tree import ROOT, finish, read

table = set(re.findall(r'^\s*\{ "([a-z-]+)", (?:"|NULL)', read("vmm/options.c"), re.M))
page = ROOT / "man/minivmm.1"
if not page.exists():
    finish(["there is no man/minivmm.1"])
# an option opens its paragraph: .It Fl -name, or .TP and .B --name
text = page.read_text(encoding="utf-8").replace("\\-", "-")
manual = set(re.findall(r"^\.(?:It Fl -|B[IR]? \"?--)([a-z-]+)", text, re.M))
faults = [f"--{name} is not in the manual page" for name in sorted(table - manual)]
faults += [f"the manual page has --{name}, which is no option" for name in sorted(manual - table)]
finish(faults if table else ["no options found in vmm/options.c"])
