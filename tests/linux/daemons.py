# SPDX-License-Identifier: Apache-2.0
"""Daemons of others, see tests/peers."""
from harness import wait_for_socket


def start(t, crate, *arguments, socket):
    """A crate's program, until it listens on socket: some add a 0 to what they are told."""
    process = t.start(crate, [t.resource(f"crate:{crate}"), *arguments])
    wait_for_socket(socket, process)
    return process
