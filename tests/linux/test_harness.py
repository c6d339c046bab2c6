# SPDX-License-Identifier: Apache-2.0
"""The harness itself, without a guest: where this passes, what fails in other modules is theirs."""
import os
import pathlib

import harness
from harness import test


@test(tags=["harness"], build=False)
def kvm_is_real(t):
    assert t.run([harness.ROOT / "tests/lab/kvm-probe"]).code == 0


@test(tags=["harness"], build=False)
def user_namespaces_work(t):
    assert "uid=0" in t.run(["unshare", "-Urm", "id"]).out


@test(tags=["harness"], build=False)
def storage_daemon_listens_and_ends(t):
    disk = t.dir / "disk.img"
    with open(disk, "wb") as file:
        file.truncate(1 << 20)
    socket = t.storage_daemon(disk)
    assert harness.is_listening(socket)
    # With what code is its own matter: it loses a SIGTERM that comes just before it waits, and is killed then.
    t.processes[-1].stop()
    assert t.processes[-1].poll() is not None
    assert not harness.is_listening(socket)


@test(tags=["harness"], build=False)
def posix_shared_memory_has_its_file_system(_):
    name = pathlib.Path("/dev/shm") / f"harness.{os.getpid()}"
    name.write_bytes(b"x")
    name.unlink()
