# SPDX-License-Identifier: Apache-2.0
"""A guest that is told by its shell what to do."""
import base64
import re
import subprocess

import guest
from guest import FAILED

TRANSPORTS = {"pci": {"transport": "pci"}, "mmio": {"transport": "mmio"}}


class Session:
    """A guest with a shell on its console; its root is another daemon's, which stays."""

    def __init__(self, t, *options, kernel="tiny-acpi", verbs="verify write=1M sync shell poweroff", **arguments):
        self.vm = guest.Guest(t, kernel=kernel, daemon="own", verbs=verbs, **arguments)
        self.vm.command += [word for option in options for word in ("--vhost-user", option)]
        self.process = self.vm.start(stdin=subprocess.PIPE)
        self.process.expect("minivmm:~# ", guest.SECONDS)
        self.count, self.start, self.command = 0, 0, ""

    def types(self, command):
        """What done waits for."""
        self.count += 1
        self.command, self.start = command, len(self.process.out)
        # what is typed comes back as an echo, but not as the shell reads it
        self.process.send(f"{command}; echo code$?.$(({self.count}))\n".encode())

    def done(self, timeout=60):
        """Until the shell has done it, well; what it wrote."""
        end = self.process.expect(f".{self.count}\r\n", timeout, self.start)
        got = bytes(self.process.out[self.start:end]).decode(errors="replace")
        assert f"code0.{self.count}" in got, f"{self.command} failed"
        return got

    def does(self, command, timeout=60):
        self.types(command)
        return self.done(timeout)

    def reads(self, command):
        """The bytes that a command writes."""
        got = self.does(f"echo; echo begin; {command} | base64; echo end")
        return base64.b64decode(re.search(r"\nbegin\r\n(.*?)\nend\r\n", got, re.DOTALL)[1])

    def ends(self):
        self.process.send(b"exit\n")
        ended = self.vm.wait()
        assert ended.code == 0 and FAILED not in ended.console
