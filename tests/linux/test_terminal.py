# SPDX-License-Identifier: Apache-2.0
"""The console on a terminal: raw while minivmm runs, as it was afterwards, whichever way it ended."""
import os
import pty
import termios

import guest
from harness import test


def needs(_):
    return guest.needs_of("tiny")


class Terminal:
    """minivmm on a pseudo terminal whose keys a test presses."""

    def __init__(self, t, verbs):
        self.keys, terminal = pty.openpty()
        self.terminal = terminal
        self.before = termios.tcgetattr(terminal)
        self.machine = guest.Guest(t, verbs=verbs)
        # what it prints comes through the pipe; what is typed, through the terminal
        self.vmm = self.machine.start(stdin=terminal)

    def press(self, keys):
        os.write(self.keys, keys)

    def check_restored(self):
        assert termios.tcgetattr(self.terminal) == self.before, "the terminal was left otherwise"
        os.close(self.keys)
        os.close(self.terminal)


@test(tags=["boot", "serial"], needs=needs)
def line_typed_reaches_the_guest(t):
    terminal = Terminal(t, "read-line poweroff")
    terminal.vmm.expect(guest.LINE)
    terminal.press(b"hello from outside\r")
    terminal.vmm.expect("minivmm-init: read-line: hello from outside")
    assert terminal.machine.wait().code == 0
    terminal.check_restored()


@test(tags=["boot", "serial"], needs=needs)
def ctrl_a_x_quits(t):
    terminal = Terminal(t, "sleep-forever")
    terminal.vmm.expect(guest.UP)
    terminal.press(b"\x01x")
    assert terminal.machine.wait(20).code == 0
    terminal.check_restored()


@test(tags=["boot", "serial"], needs=needs)
def killed_by_a_signal_it_restores_the_terminal(t):
    terminal = Terminal(t, "sleep-forever")
    terminal.vmm.expect(guest.UP)
    terminal.vmm.signal(15)
    assert terminal.machine.wait(20).code == 143
    terminal.check_restored()
