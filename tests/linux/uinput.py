# SPDX-License-Identifier: Apache-2.0
"""A keyboard of the host that is not there: what it sends is what it is told (linux/uinput.h)."""
import fcntl
import os
import pathlib
import struct

EVENT = struct.Struct("qqHHi")          # struct input_event: seconds, microseconds, type, code, value
EV_SYN, EV_KEY = 0, 1
KEY_A, KEY_B = 30, 48
BUS_VIRTUAL = 6
SETUP = struct.Struct("HHHH80sI")       # struct uinput_setup
UI_SET_EVBIT, UI_SET_KEYBIT = 0x40045564, 0x40045565
UI_DEV_CREATE, UI_DEV_DESTROY = 0x5501, 0x5502
UI_DEV_SETUP, UI_GET_SYSNAME = 0x40005503 | SETUP.size << 16, 0x8000552C
NAME_BYTES = 64


def press(code):
    """Down and up: (type, code, value), each with its end of the report."""
    return [(EV_KEY, code, 1), (EV_SYN, 0, 0), (EV_KEY, code, 0), (EV_SYN, 0, 0)]


def events(data):
    """(type, code, value) of each, without its time."""
    return [fields[2:] for fields in EVENT.iter_unpack(data)]


class Keyboard:
    """node: where the host's programs find it."""

    def __init__(self, name):
        self.fd = os.open("/dev/uinput", os.O_WRONLY)
        fcntl.ioctl(self.fd, UI_SET_EVBIT, EV_KEY)
        for code in (KEY_A, KEY_B):
            fcntl.ioctl(self.fd, UI_SET_KEYBIT, code)
        fcntl.ioctl(self.fd, UI_DEV_SETUP, SETUP.pack(BUS_VIRTUAL, 1, 1, 1, name.encode(), 0))
        fcntl.ioctl(self.fd, UI_DEV_CREATE)
        system_name = bytearray(NAME_BYTES)
        fcntl.ioctl(self.fd, UI_GET_SYSNAME | NAME_BYTES << 16, system_name)
        folder = pathlib.Path("/sys/devices/virtual/input", system_name.split(b"\0")[0].decode())
        self.node = "/dev/input/" + next(folder.glob("event*")).name

    def __enter__(self):
        return self

    def __exit__(self, *_):
        fcntl.ioctl(self.fd, UI_DEV_DESTROY)
        os.close(self.fd)

    def send(self, keys):
        for key in keys:
            os.write(self.fd, EVENT.pack(0, 0, *key))
