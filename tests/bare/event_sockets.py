# SPDX-License-Identifier: Apache-2.0
"""What is at the other end of a VMShm device's event sockets: a program of the host, and another VM.
Messages are those of guest/vmshm/vmshm_events.h."""
import os
import socket
import struct

from orders import obey

MESSAGE = struct.Struct("=6I3Q256s")
MAGIC, VERSION, EVENTS, OPEN, CLOSED = 0x45534d56, 1, 1, 2, 3
PATIENCE = 20


class EventSockets:
    """Of one boot: events=DIR/events, and events-peer=DIR/peer, where another VM may listen."""

    def __init__(self, directory):
        self.directory = directory
        self.program, self.peer = None, None
        self.rung, self.calls, self.doorbells = [], [], []
        self.listener = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        self.listener.settimeout(PATIENCE)
        self.listener.bind(str(directory / "peer"))
        self.listener.listen()

    def close(self):
        self.disconnect()
        for sock in (self.peer, self.listener):
            if sock:
                sock.close()
        for fd in self.doorbells:
            os.close(fd)

    def receive(self):
        data, fds, _, _ = socket.recv_fds(self.program, 1000, 16)
        fields = MESSAGE.unpack(data)
        if fields[:2] != (MAGIC, VERSION):
            raise ValueError(f"a message begins with {fields[:2]}")
        return fields[2], fields[3], fields[9].split(b"\0")[0].decode(), fds

    def connect(self):
        self.program = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        self.program.settimeout(PATIENCE)
        self.program.connect(str(self.directory / "events"))
        kind, events, _, fds = self.receive()
        if (kind, len(fds)) != (EVENTS, 2 * events):
            return f"the first message is of kind {kind}, has {events} events and {len(fds)} descriptors"
        self.rung, self.calls = fds[:events], fds[events:]
        return None

    def disconnect(self):
        if self.program:
            self.program.close()
        for fd in (*self.rung, *self.calls):
            os.close(fd)
        self.program, self.rung, self.calls = None, [], []

    def news(self, name):
        """The next message says that `name` is open, or with "nothing" that nothing is."""
        kind, _, found, fds = self.receive()
        for fd in fds:
            os.close(fd)
        want = (CLOSED, "", 0) if name == "nothing" else (OPEN, name, 1)
        return None if (kind, found, len(fds)) == want else f"told {(kind, found, len(fds))}, not {want}"

    def was_rung(self, event, times):
        try:
            found = os.eventfd_read(self.rung[int(event)])
        except BlockingIOError:
            found = 0
        return None if found == int(times) else f"event {event} was rung {found} times, not {times}"

    def ring(self, event):
        os.eventfd_write(self.calls[int(event)], 1)

    def greet(self, fds):
        """The other VM is there, with three events."""
        self.peer, _ = self.listener.accept()
        self.peer.settimeout(PATIENCE)
        message = MESSAGE.pack(MAGIC, VERSION, EVENTS, 3, 0, 0, 0, 0, 0, b"")
        socket.send_fds(self.peer, [message], fds)

    def come(self):
        if not self.doorbells:
            self.doorbells = [os.eventfd(0, os.EFD_NONBLOCK) for _ in range(6)]
        self.greet(self.doorbells)

    def come_with_pipes(self):
        pipes = os.pipe()
        self.greet(pipes * 3)
        for fd in pipes:
            os.close(fd)

    def was_sent_away(self):
        return self.peer.recv(1) and "the connection goes on"

    def go(self):
        self.peer.close()

    def doorbell(self, event):
        os.eventfd_write(self.doorbells[int(event)], 1)

    def obey(self, line):
        """Whether the line was an order, and why it could not be done, or None."""
        orders = ((r"# a program connects", self.connect), (r"# the program goes", self.disconnect),
                  (r"# it hears that (\w+) is open", self.news),
                  (r"# event (\d) was rung (\d+) times", self.was_rung),
                  (r"# it rings event (\d)", self.ring),
                  (r"# another VM comes", self.come), (r"# another VM comes with pipes", self.come_with_pipes),
                  (r"# it is sent away", self.was_sent_away), (r"# the other VM goes", self.go),
                  (r"# the other guest rings event (\d)", self.doorbell))
        return obey(orders, line)
