# SPDX-License-Identifier: Apache-2.0
"""Objects in /dev/shm that a case shares with its guest by --vmshm, and what the guest has done to them."""
import fcntl
import os
import pathlib
import socket

from orders import obey
from vandal import Vandal

PAGE = 4096
DIRECTORY = pathlib.Path("/dev/shm")


class Objects:
    """Of one boot. sizes: pages by name; the last character of a name is in the words its pages begin with. Or what
    it is in place of an object."""

    def __init__(self, sizes, key):
        self.prefix = f"bare-{os.getpid()}-{key}-"
        self.remembered, self.vandal, self.held = {}, None, None
        for name, pages in sizes.items():
            if isinstance(pages, str):
                getattr(self, f"make_{pages}")(self.path(name))
                continue
            with open(self.path(name), "wb") as file:
                for page in range(pages):
                    word = ord(name[-1]) << 16 | page
                    file.write(word.to_bytes(4, "little") + bytes(PAGE - 4))

    def path(self, name):
        return DIRECTORY / (self.prefix + name)

    def make_link(self, path):
        path.symlink_to(self.prefix + "a")

    def make_fifo(self, path):
        os.mkfifo(path)

    def make_directory(self, path):
        path.mkdir()

    def make_socket(self, path):
        with socket.socket(socket.AF_UNIX) as sock:
            sock.bind(str(path))

    def remove(self):
        self.leave()
        self.let_go()
        for path in DIRECTORY.glob(self.prefix + "*"):
            if path.is_dir():
                path.rmdir()
            else:
                path.unlink()

    def options(self, keys):
        """Of minivmm: a device that may open them, and none whose name begins with a minus."""
        allowed = [f"allow=/{self.prefix}[!-]*", f"prefix={self.prefix}"]
        return ("--vmshm", ",".join([*allowed, *keys]))

    def word(self, name, page):
        with open(self.path(name), "rb") as file:
            file.seek(int(page) * PAGE)
            return int.from_bytes(file.read(4), "little")

    def is_(self, name, page, word):
        found = self.word(name, page)
        return None if found == int(word, 16) else f"page {page} of object {name} begins with {found:#x}, not 0x{word}"

    def lacks(self, name, pages):
        status = self.path(name).stat()
        found = (status.st_size - status.st_blocks * 512) // PAGE
        return None if found == int(pages) else f"{found} pages of object {name} are not allocated, not {pages}"

    def becomes(self, name, page, word):
        with open(self.path(name), "r+b") as file:
            file.seek(int(page) * PAGE)
            file.write(int(word, 16).to_bytes(4, "little"))

    def has(self, name, pages):
        os.truncate(self.path(name), int(pages) * PAGE)

    def remember(self, name):
        self.remembered[name] = self.path(name).read_bytes()

    def is_as_remembered(self, name):
        return None if self.path(name).read_bytes() == self.remembered[name] else f"object {name} was written"

    def vandalise(self, name):
        self.vandal = Vandal(self.path(name))

    def leave(self):
        if self.vandal:
            self.vandal.stop()
        self.vandal = None

    def take(self, name):
        """As another device with exclusive=on does."""
        self.held = open(self.path(name), "rb")
        try:
            fcntl.flock(self.held, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return f"object {name} is another's"
        return None

    def cannot_take(self, name):
        why_not = self.take(name)
        self.let_go()
        return None if why_not else f"object {name} is nobody's"

    def let_go(self):
        if self.held:
            self.held.close()
        self.held = None

    def obey(self, line):
        """Whether the line was an order, and why it could not be done, or None."""
        orders = ((r"# object (\w+) page (\d+) is (\w+)", self.is_),
                  (r"# object (\w+) lacks (\d+) pages", self.lacks),
                  (r"# object (\w+) page (\d+) becomes (\w+)", self.becomes),
                  (r"# object (\w+) has (\d+) pages?", self.has),
                  (r"# remember object (\w+)", self.remember),
                  (r"# object (\w+) is as remembered", self.is_as_remembered),
                  (r"# vandalise object (\w+)", self.vandalise), (r"# leave object \w+ alone", self.leave),
                  (r"# another has object (\w+)", self.take), (r"# another has it no more", self.let_go),
                  (r"# another cannot have object (\w+)", self.cannot_take))
        return obey(orders, line)
