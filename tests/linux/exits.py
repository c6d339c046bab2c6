# SPDX-License-Identifier: Apache-2.0
"""Exits of a machine's processors to user space, counted from the host kernel's trace of KVM."""
import collections
import os
import pathlib
import re

from harness import Skip

TRACING = pathlib.Path("/sys/kernel/tracing")
EVENT = TRACING / "events/kvm/kvm_userspace_exit/enable"
LINE = re.compile(r"-(\d+)\s+\[\d+\].* kvm_userspace_exit: reason (\w+)")


class Exits:
    """Of the process pid, while the block lasts; then of["KVM_EXIT_MMIO"] and other reasons."""

    def __init__(self, pid):
        if not os.environ.get("MINIVMM_IN_LAB"):
            raise Skip("the kernel's trace belongs to others", machine=True)
        self.pid, self.of = pid, collections.Counter()

    def __enter__(self):
        (TRACING / "trace").write_text("", encoding="ascii")
        EVENT.write_text("1", encoding="ascii")
        return self

    def __exit__(self, *_):
        EVENT.write_text("0", encoding="ascii")
        threads = set(os.listdir(f"/proc/{self.pid}/task"))
        with open(TRACING / "trace", encoding="utf-8", errors="replace") as trace:
            self.of.update(found[2] for found in map(LINE.search, trace) if found and found[1] in threads)
