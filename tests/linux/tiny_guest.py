# SPDX-License-Identifier: Apache-2.0
"""Guests of a few instructions, as ELF files made here: for tests of the VMM around a guest.

They run on any /dev/kvm, also one that interprets guest code. Entered in 64-bit mode, interrupts off.
"""
import os
import struct

from harness import Skip

BASE = 0x200000
HALT = b"\xf4\xeb\xfd"                                  # hlt; again


def out(port, value):
    """mov dx, port; mov al, value; out dx, al"""
    return b"\x66\xba" + struct.pack("<H", port) + b"\xb0" + bytes([value]) + b"\xee"


def store(address, value):
    """mov eax, address; mov byte [rax], value"""
    return b"\xb8" + struct.pack("<I", address) + b"\xc6\x00" + bytes([value])


def touch(start, end):
    """Writes a word to every page of [start, end)."""
    return (b"\xbb" + struct.pack("<I", start)          # mov ebx, start
            + b"\x48\x89\x1b"                           # again: mov [rbx], rbx
            + b"\x48\x81\xc3" + struct.pack("<I", 4096)     # add rbx, 4096
            + b"\x48\x81\xfb" + struct.pack("<I", end)      # cmp rbx, end
            + b"\x72\xed")                              # jb again


HELLO = out(0x3F8, ord("U")) + out(0x3F8, ord("\n"))
POWER_OFF = out(0x600, 5 << 2 | 1 << 5) + HALT
RESET = out(0x64, 0xFE) + HALT
DEBUG_EXIT = out(0xF4, 0x15) + HALT
CRASH = b"\x0f\x0b"                                     # ud2, without an IDT
SPIN = b"\xeb\xfe"
TALK = out(0x3F8, ord("x")) + b"\xeb\xfd"               # for ever


def elf(path, code):
    header = struct.pack("<16sHHIQQQIHHHHHH", b"\x7fELF\x02\x01\x01", 2, 62, 1, BASE, 64, 0, 0, 64, 56, 1, 0, 0, 0)
    segment = struct.pack("<IIQQQQQQ", 1, 7, 4096, BASE, BASE, len(code), len(code), 4096)
    path.write_bytes((header + segment).ljust(4096, b"\0") + code)
    return path


def command(t, code, *options):
    """The command line that boots it."""
    if not os.access("/dev/kvm", os.R_OK | os.W_OK):
        raise Skip("there is no /dev/kvm here", machine=True)
    path = elf(t.dir / "guest.elf", code)
    return [t.minivmm, "--kernel", path, "--memory", "64M", *options]
