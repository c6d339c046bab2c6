# SPDX-License-Identifier: Apache-2.0
"""Objects in /dev/shm that a case shares with its guest by --vmshm, and what the guest has done to them."""
import os
import pathlib
import re

PAGE = 4096
DIRECTORY = pathlib.Path("/dev/shm")


class Objects:
    """Of one boot. sizes: pages by name; the last character of a name is in the words its pages begin with."""

    def __init__(self, sizes, key):
        self.prefix = f"bare-{os.getpid()}-{key}-"
        self.remembered = {}
        for name, pages in sizes.items():
            with open(self.path(name), "wb") as file:
                for page in range(pages):
                    word = ord(name[-1]) << 16 | page
                    file.write(word.to_bytes(4, "little") + bytes(PAGE - 4))

    def path(self, name):
        return DIRECTORY / (self.prefix + name)

    def remove(self):
        for path in DIRECTORY.glob(self.prefix + "*"):
            path.unlink()

    def options(self, keys):
        """Of minivmm: a device that may open them."""
        allowed = [f"allow=/{self.prefix}*", f"prefix={self.prefix}"]
        return ("--vmshm", ",".join([*allowed, *keys]))

    def word(self, name, page):
        with open(self.path(name), "rb") as file:
            file.seek(int(page) * PAGE)
            return int.from_bytes(file.read(4), "little")

    def is_(self, name, page, word):
        found = self.word(name, page)
        return None if found == int(word, 16) else f"page {page} of object {name} begins with {found:#x}, not 0x{word}"

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

    def obey(self, line):
        """Whether the line was an order, and why it could not be done, or None."""
        orders = ((r"# object (\w+) page (\d+) is (\w+)", self.is_),
                  (r"# object (\w+) page (\d+) becomes (\w+)", self.becomes),
                  (r"# object (\w+) has (\d+) pages?", self.has),
                  (r"# remember object (\w+)", self.remember),
                  (r"# object (\w+) is as remembered", self.is_as_remembered))
        for pattern, order in orders:
            found = re.fullmatch(pattern, line)
            if found:
                return True, order(*found.groups())
        return False, None
