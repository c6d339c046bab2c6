# SPDX-License-Identifier: Apache-2.0
"""What is typed, on any KVM: the escapes of the console, and a standard input that is left as it was given."""
import fcntl
import os
import pty
import struct
import termios
import time

import tiny_guest
from harness import test
from tiny_guest import HELLO

# What comes in goes out with bit 6 changed, so that no echo of a terminal can be taken for it: Ctrl-A is
# A, ! is a, x is 8.
ANSWER = HELLO + (b"\x66\xba\xfd\x03"               # wait: mov dx, 0x3fd
                  b"\xec\xa8\x01\x74\xf7"           # in al, dx; test al, 1; jz wait
                  b"\x66\xba\xf8\x03"               # mov dx, 0x3f8
                  b"\xec\x34\x40\xee\xeb\xed")      # in al, dx; xor al, 0x40; out dx, al; jmp wait
EVERYWHERE = {"kvm": False, "timeout": 60, "tags": ["serial"]}


class Typed:
    """minivmm with a terminal for its input."""

    def __init__(self, t):
        self.keys, self.terminal = pty.openpty()
        self.before = termios.tcgetattr(self.terminal)
        self.vmm = t.start("minivmm", tiny_guest.command(t, ANSWER), stdin=self.terminal)
        self.at = self.vmm.expect("U\n", 20)

    def press(self, keys):
        """Until minivmm has read them: what follows is another read."""
        os.write(self.keys, keys)
        deadline = time.monotonic() + 20
        while struct.unpack("i", fcntl.ioctl(self.terminal, termios.FIONREAD, bytes(4)))[0]:
            assert time.monotonic() < deadline, "it does not read what is typed"
            time.sleep(0.002)

    def answers(self, wanted):
        """The guest got this and no more: ! is typed after it, so that what is too much shows."""
        self.press(b"!")
        at = self.vmm.expect("a", 20, self.at)
        got, self.at = self.vmm.text[self.at:at], at
        assert got == wanted + "a", f"the guest answers {got!r}"

    def quit(self):
        os.write(self.keys, b"\x01x")
        assert self.vmm.wait(20) == 0
        assert termios.tcgetattr(self.terminal) == self.before, "the terminal was left otherwise"
        assert len(self.vmm.text) == self.at, "the guest or minivmm said something more"
        os.close(self.keys)
        os.close(self.terminal)


@test(cases={"together": {"parts": [b"\x01\x01"]}, "apart": {"parts": [b"\x01", b"\x01"]}}, **EVERYWHERE)
def ctrl_a_twice_is_one_for_the_guest(t, parts):
    typed = Typed(t)
    for part in parts:
        typed.press(part)
    typed.answers("A")
    for part in parts + parts:
        typed.press(part)
    typed.answers("AA")
    typed.quit()


@test(**EVERYWHERE)
def x_after_a_literal_ctrl_a_is_an_x(t):
    typed = Typed(t)
    typed.press(b"\x01\x01x")
    typed.answers("A8")
    typed.quit()


@test(cases={"together": {"parts": [b"\x01x"]}, "apart": {"parts": [b"\x01", b"x"]}}, **EVERYWHERE)
def ctrl_a_x_quits(t, parts):
    typed = Typed(t)
    for part in parts[:-1]:
        typed.press(part)
    os.write(typed.keys, parts[-1])
    assert typed.vmm.wait(20) == 0
    assert termios.tcgetattr(typed.terminal) == typed.before, "the terminal was left otherwise"
    assert len(typed.vmm.text) == typed.at, "the guest got a part of the escape"
    os.close(typed.keys)
    os.close(typed.terminal)


@test(**EVERYWHERE)
def ctrl_a_before_anything_else_is_dropped(t):
    typed = Typed(t)
    typed.press(b"\x01!")
    typed.vmm.expect("a", 20, typed.at)
    typed.at += 1
    typed.answers("")
    typed.quit()


@test(**EVERYWHERE)
def ctrl_a_is_nothing_special_where_there_is_no_terminal(t):
    read, write = os.pipe()
    vmm = t.start("minivmm", tiny_guest.command(t, ANSWER), stdin=read)
    os.write(write, b"\x01x\x01\x01!")
    vmm.expect("U\nA8AAa", 20)
    assert vmm.stop() == 143
    os.close(read)
    os.close(write)


def inputs(t):
    """{kind: (descriptor for minivmm, one that writes to it, where its output goes)}"""
    keys, terminal = pty.openpty()
    read, write = os.pipe()
    (t.dir / "input").write_bytes(b"!")
    file = os.open(t.dir / "input", os.O_RDONLY)
    return {"terminal": (terminal, keys, {"stdout": terminal, "output": keys}), "pipe": (read, write, {}),
            "file": (file, None, {})}


@test(cases={f"{kind}{mode}": {"kind": kind, "flags": flags} for kind in ("terminal", "pipe", "file")
             for mode, flags in (("", 0), ("-nonblocking", os.O_NONBLOCK))}, **EVERYWHERE)
def flags_of_standard_input_stay(t, kind, flags):
    """Before, during and after: the open file is everybody's who has it, a shell's for one."""
    fd, keys, where = inputs(t)[kind]
    fcntl.fcntl(fd, fcntl.F_SETFL, fcntl.fcntl(fd, fcntl.F_GETFL) | flags)
    before = fcntl.fcntl(fd, fcntl.F_GETFL)
    vmm = t.start("minivmm", tiny_guest.command(t, ANSWER), stdin=fd, **where)
    at = vmm.expect("U", 20)
    assert fcntl.fcntl(fd, fcntl.F_GETFL) == before, "changed while it runs"
    if keys:
        os.write(keys, b"!")
    vmm.expect("a", 20, at)
    assert fcntl.fcntl(fd, fcntl.F_GETFL) == before, "changed by what was read"
    vmm.signal(15)
    vmm.child.wait(20)
    assert fcntl.fcntl(fd, fcntl.F_GETFL) == before, "left otherwise"
    os.close(fd)
    assert vmm.wait(20) == 143
