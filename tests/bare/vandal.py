# SPDX-License-Identifier: Apache-2.0
"""Somebody who shares an object and does with it whatever the host lets him, all the time."""
import ctypes
import os
import threading

PUNCH_HOLE = 1 | 2      # FALLOC_FL_KEEP_SIZE with it
PAGE = 4096


class Vandal:
    """Of the object at this path, until stop()."""

    def __init__(self, path):
        self.path, self.size = path, path.stat().st_size
        self.enough = threading.Event()
        self.thread = threading.Thread(target=self.run)
        self.thread.start()

    def run(self):
        punch = ctypes.CDLL(None).fallocate
        punch.argtypes = [ctypes.c_int, ctypes.c_int, ctypes.c_long, ctypes.c_long]
        turn = 0
        while not self.enough.is_set():
            turn += 1
            with open(self.path, "r+b") as file:
                file.truncate(turn * 37 % self.size)
                file.truncate(self.size)
                punch(file.fileno(), PUNCH_HOLE, turn % 7 * PAGE, 2 * PAGE)
            if turn % 50 == 0:
                self.path.unlink()
                with open(self.path, "wb") as file:
                    file.truncate(self.size)

    def stop(self):
        self.enough.set()
        self.thread.join()
