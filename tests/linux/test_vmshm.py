# SPDX-License-Identifier: Apache-2.0
"""VMShm in Linux guests: the driver of guest/vmshm, built for the kernel that runs, and what its programs see."""
import os
import select
import socket
import struct
import sys
import threading

import guest
from harness import ROOT, test
from vmshm_guest import KERNELS, PAGE, TAGS, WINDOW, Machine, allow, needs

BARE = ROOT / "tests/bare/run.py"
USUAL = ("rw", "small", "ro:ro")


def run_cases(t, cases, kernel="tiny", keys="", **options):
    """The cases of vmshm-driver one after another, in one guest."""
    script = "\n".join(f"/vmshm-driver {case}" for case in cases)
    with Machine(t, script, kernel=kernel, devices=[allow(*USUAL) + keys], **options) as machine:
        machine.make_usual()
        said = machine.run(250)
        for case in cases:
            assert f"vmshm-driver: {case}: ok" in said
        return machine.path("rw").read_bytes()


@test(tags=TAGS, needs=needs, timeout=150, cases={name: {"kernel": name} for name in ("tiny", "6.1", "6.12")})
def the_example_of_the_document(t, kernel):
    """Unmodified, by the name of the node that it has; the module is found by what the bus says of the device."""
    with Machine(t, "/document", kernel=kernel, devices=[allow("shared-with-qemu")],
                 programs=["guest/examples/document"]) as machine:
        machine.make("shared-with-qemu", WINDOW)
        machine.run()
        found = machine.path("shared-with-qemu").read_bytes().rstrip(b"\0").decode()
        assert found.startswith("I was here: ") and found.split()[-1].isdigit(), f"the host reads {found!r}"


@test(tags=TAGS, needs=needs, timeout=300, cases={name: {"kernel": name} for name in KERNELS})
def what_programs_may_do(t, kernel):
    rw = run_cases(t, ["legacy", "wrong-requests", "wrong-mappings", "objects", "readonly", "large", "no-events",
                       "unbind", "unload"], kernel=kernel, keys=",window=8M")
    assert rw[2 * PAGE:].startswith(b"written by the guest\0")
    assert rw[WINDOW:].startswith(b"in the large window\0")


@test(tags=[*TAGS, "hostile"], needs=needs, timeout=300, cases={name: {"kernel": name} for name in ("debug", "6.12")})
def stress(t, kernel):
    """Programs that do anything in any order while the device is unbound and bound, on a kernel that looks for faults."""
    run_cases(t, ["stress"], kernel=kernel, keys=",vectors=3")


@test(tags=["vmshm"], needs=lambda case: [f"vmshm:{case['kernel']}"], kvm=False, build=False,
      cases={name: {"kernel": name} for name in ("6.1", "6.12", "sid")})
def driver_builds_without_a_word(t, kernel):
    """W=1, sparse, make install, depmod, for one DKMS; Debian's own headers and compiler. It is tests/vmshm/build.sh that
    does it, and fails."""
    built = t.resource(f"vmshm:{kernel}")
    release = (built / "kernel").read_text(encoding="utf-8").strip()
    assert kernel == "sid" or release.startswith(kernel)
    assert f"vermagic={release} ".encode() in (built / "vmshm.ko").read_bytes()
    if kernel == "6.12":
        status, path = (built / "dkms").read_text(encoding="utf-8").splitlines()
        assert status == f"vmshm/1.0, {release}, x86_64: installed" and "/updates/dkms/vmshm.ko" in path


class Echo:
    """A program of the host: gives each event of the guest back to it."""

    def __init__(self, path):
        self.connection = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        self.connection.connect(str(path))
        message, self.fds, _, _ = socket.recv_fds(self.connection, 4096, 16)
        count = struct.unpack_from("=IIII", message)[3]
        assert len(self.fds) == 2 * count == 4
        self.kicks, self.calls = self.fds[:count], self.fds[count:]
        self.thread = threading.Thread(target=self.serve)
        self.thread.start()

    def serve(self):
        """Until the guest is gone, which ends the connection."""
        while True:
            for fd in select.select([*self.kicks, self.connection], [], [])[0]:
                if fd is not self.connection:
                    os.write(self.calls[self.kicks.index(fd)], os.read(fd, 8))
                elif not self.connection.recv(4096):
                    return

    def close(self):
        self.thread.join()
        self.connection.close()
        for fd in self.fds:
            os.close(fd)


@test(tags=TAGS, needs=needs, timeout=200, cases={name: {"kernel": name} for name in ("debug", "6.1", "6.12")})
def events(t, kernel):
    """Of the host and of the guest, waited for in the driver; who waits for one when it is unbound waits no longer."""
    path = t.dir / "events.sock"
    script = "/vmshm-driver events\n/vmshm-driver unbind"
    with Machine(t, script, kernel=kernel, devices=[f"{allow(*USUAL)},vectors=3,events={path}"]) as machine:
        machine.make_usual()
        machine.start().expect("the host may come", guest.SECONDS)
        host = Echo(path)
        try:
            said = machine.wait()
        finally:
            machine.process.stop()
            host.close()
        assert "vmshm-driver: events: ok" in said and "vmshm-driver: unbind: ok" in said


@test(tags=["vmshm", "hostile"], timeout=100)
def the_window_is_memory_at_every_moment(t):
    """A case of the bare guests that a KVM which interprets cannot run."""
    case = "at_no_moment_is_there_a_hole"
    programs = [t.program(f"tests/bare/{name}") for name in ("bare_vmshm_hostile", "shmem_daemon")]
    got = t.run([sys.executable, "-B", BARE, programs[0], t.minivmm, t.backend, programs[1], case], timeout=60)
    assert f"ok 1 - {case}\n" in got.out, "the case failed, or was skipped"
