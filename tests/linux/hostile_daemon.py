# SPDX-License-Identifier: Apache-2.0
"""A vhost-user daemon that serves nothing and answers as a script says: rightly, but for what is scripted.

A script maps a request's name to what is done instead of answering it: a function of the daemon and
the right answer (bytes), which answers as it likes. Each daemon is a thread of the test.
"""
import array
import contextlib
import os
import socket
import struct
import threading
import time

NAMES = {1: "GET_FEATURES", 2: "SET_FEATURES", 3: "SET_OWNER", 5: "SET_MEM_TABLE", 8: "SET_VRING_NUM",
         9: "SET_VRING_ADDR", 10: "SET_VRING_BASE", 11: "GET_VRING_BASE", 12: "SET_VRING_KICK", 13: "SET_VRING_CALL",
         14: "SET_VRING_ERR", 15: "GET_PROTOCOL_FEATURES", 16: "SET_PROTOCOL_FEATURES", 17: "GET_QUEUE_NUM",
         18: "SET_VRING_ENABLE", 21: "SET_BACKEND_REQ_FD", 24: "GET_CONFIG", 25: "SET_CONFIG",
         36: "GET_MAX_MEM_SLOTS", 37: "ADD_MEM_REG", 38: "REM_MEM_REG", 44: "GET_SHMEM_CONFIG"}
SETUP = ["GET_FEATURES", "GET_PROTOCOL_FEATURES", "GET_QUEUE_NUM", "GET_MAX_MEM_SLOTS", "SET_BACKEND_REQ_FD",
         "SET_OWNER", "GET_CONFIG"]
MQ, REPLY_ACK, BACKEND_REQ, CONFIG, SEND_FD, MEM_SLOTS = (1 << bit for bit in (0, 3, 5, 9, 10, 15))
SHMEM = 1 << 22
PROTOCOL = MQ | REPLY_ACK | BACKEND_REQ | CONFIG | SEND_FD | MEM_SLOTS
NEED_REPLY = 8
CONFIG_CHANGE = 2


def message(request, payload=b"", flags=5):
    return struct.pack("<III", request, flags, len(payload)) + payload


class Daemon:
    def __init__(self, path, script=None, config=bytes(60), region=0):
        """region: the size of shared memory region 0, into which it maps nothing."""
        self.path, self.script, self.config, self.region = path, script or {}, config, region
        self.fds, self.back, self.sock, self.storming = {}, None, None, False
        self.listener = socket.socket(socket.AF_UNIX)
        self.listener.bind(str(path))
        self.listener.listen()
        self.stop = threading.Event()
        self.thread = threading.Thread(target=self.run, daemon=True)
        self.thread.start()

    def run(self):
        with contextlib.suppress(OSError):
            self.sock, _ = self.listener.accept()
            while not self.stop.is_set() and self.serve():
                pass

    def take(self, n):
        data, fds = b"", []
        while len(data) < n:
            more, ancillary, _, _ = self.sock.recvmsg(n - len(data), 4096)
            if not more:
                return None, fds
            data += more
            for _, _, raw in ancillary:
                fds += array.array("i", raw[:len(raw) // 4 * 4])
        return data, fds

    def serve(self):
        header, fds = self.take(12)
        if header is None:
            return False
        request, flags, size = struct.unpack("<III", header)
        payload = self.take(size)[0] if size else b""
        name = NAMES.get(request, str(request))
        if fds:
            self.fds.setdefault(name, []).extend(fds)
        if name == "SET_BACKEND_REQ_FD":
            self.back = socket.socket(fileno=os.dup(fds[0]))
        answer = self.right_answer(request, name, flags, payload)
        if name in self.script:
            self.script[name](self, answer)
        elif answer:
            self.sock.sendall(answer)
        return True

    def right_answer(self, request, name, flags, payload):
        if name == "GET_FEATURES":
            return message(request, struct.pack("<Q", 1 << 32 | 1 << 30))
        if name == "GET_PROTOCOL_FEATURES":
            return message(request, struct.pack("<Q", PROTOCOL | (SHMEM if self.region else 0)))
        if name == "GET_SHMEM_CONFIG":
            return message(request, struct.pack("<IIQ", 1, 0, self.region).ljust(8 + 256 * 8, b"\0"))
        if name in ("GET_QUEUE_NUM", "GET_MAX_MEM_SLOTS"):
            return message(request, struct.pack("<Q", 8))
        if name == "GET_CONFIG":
            offset, size, what = struct.unpack("<III", payload[:12])
            return message(request, struct.pack("<III", offset, size, what) + self.config[offset:offset + size])
        if name == "GET_VRING_BASE":
            return message(request, payload)
        return message(request, bytes(8)) if flags & NEED_REPLY else b""

    def close(self):
        self.stop.set()
        for end in self.sock, self.listener, self.back:
            if end:
                with contextlib.suppress(OSError):
                    end.shutdown(socket.SHUT_RDWR)
                end.close()
        self.thread.join(10)
        for fd in sum(self.fds.values(), []):
            with contextlib.suppress(OSError):
                os.close(fd)


# ---- Ways to answer ----

def id_of(answer):
    return struct.unpack("<I", answer[:4])[0]


def wrong_id(d, answer):
    d.sock.sendall(message(id_of(answer) + 1, answer[12:]))


def wrong_flags(d, answer):
    d.sock.sendall(message(id_of(answer), answer[12:], flags=1))


def too_long(d, answer):
    d.sock.sendall(message(id_of(answer), answer[12:] + bytes(4)))


def endless(d, answer):
    d.sock.sendall(struct.pack("<III", id_of(answer), 5, 0xFFFFFFFF) + bytes(4096))


def too_short(d, answer):
    d.sock.sendall(message(id_of(answer), answer[12:-4]))


def cut_off(d, answer):
    d.sock.sendall(answer[:-4])
    d.sock.shutdown(socket.SHUT_RDWR)


def refusal(d, answer):
    d.sock.sendall(message(id_of(answer), b"\xff" * (len(answer) - 12)))


def gone(d, _):
    d.sock.shutdown(socket.SHUT_RDWR)


def garbage(d, _):
    d.sock.sendall(bytes(range(1, 255)) * 8)


def twice(d, answer):
    d.sock.sendall(answer * 2)


def silence(_d, _answer):
    pass


def with_fds(count):
    def answer_with_fds(d, answer):
        null = os.open("/dev/null", os.O_RDONLY)
        d.sock.sendmsg([answer], [(socket.SOL_SOCKET, socket.SCM_RIGHTS, array.array("i", [null] * count))])
        os.close(null)
    return answer_with_fds


def byte_by_byte(d, answer):
    for byte in answer:
        d.sock.sendall(bytes([byte]))


WRONG = [wrong_id, wrong_flags, too_long, endless, too_short, cut_off, gone, garbage, with_fds(1), with_fds(9),
         with_fds(200)]


# ---- Storms, each in a thread of its own beside the daemon ----

def background(storm):
    def start(d, answer):
        d.sock.sendall(answer)
        if not d.storming:
            d.storming = True
            threading.Thread(target=run_storm, args=(storm, d), daemon=True).start()
    return start


def run_storm(storm, d):
    with contextlib.suppress(OSError, AttributeError):
        while not d.stop.is_set():
            storm(d)


def changes_without_listening(d):
    """Notifications whose answers nobody reads."""
    d.back.sendall(message(CONFIG_CHANGE, flags=1 | NEED_REPLY) * 64)


def changes(d):
    d.config = os.urandom(8).ljust(60, b"\0")[8:] + bytes(8)
    d.back.sendall(message(CONFIG_CHANGE, flags=1) * 16)


def descriptors(d):
    null = os.open("/dev/null", os.O_RDONLY)
    with contextlib.closing(os.fdopen(null)):
        d.back.sendmsg([message(9, bytes(40), flags=1)],
                       [(socket.SOL_SOCKET, socket.SCM_RIGHTS, array.array("i", [null] * 8))])


def refused(d):
    d.back.sendall(message(9, bytes(40), flags=1) + message(99, b"", flags=1))


def errors(d):
    os.write(d.fds["SET_VRING_ERR"][0], struct.pack("<Q", 1))


def interrupts(d):
    os.write(d.fds["SET_VRING_CALL"][0], struct.pack("<Q", 1))


def kicks(d):
    os.write(d.fds["SET_VRING_KICK"][0], struct.pack("<Q", 1))
    time.sleep(0)


def half_closed(d):
    """Answers nobody reads, then a hang-up that leaves no room for more."""
    for _ in range(50):
        with contextlib.suppress(BlockingIOError):
            for _ in range(1000):
                d.back.send(message(CONFIG_CHANGE, flags=1 | NEED_REPLY), socket.MSG_DONTWAIT)
        time.sleep(0.01)
    d.back.shutdown(socket.SHUT_RDWR)
    d.stop.wait()


def truncate(d, answer):
    for fd in d.fds.get("ADD_MEM_REG", []) + d.fds.get("SET_MEM_TABLE", []):
        os.ftruncate(fd, 0)
    d.sock.sendall(answer)
