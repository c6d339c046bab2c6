# SPDX-License-Identifier: Apache-2.0
"""File systems of other people's daemons: a tree of files is copied and hashed, and both sides see the same."""
import hashlib
import os
import pathlib
import shutil

import daemons
import guest
from harness import Skip, test, wait_for_socket
from session import TRANSPORTS, Session

KERNEL = "tiny-acpi"
OLD = pathlib.Path("/usr/lib/qemu/virtiofsd")
ROOT = pathlib.Path(__file__).resolve().parents[2]
BIG = 3 << 20


def start_crate(t, share, socket):
    daemons.start(t, "virtiofsd", f"--socket-path={socket}", f"--shared-dir={share}", socket=socket)


def start_old(t, share, socket):
    if not OLD.exists():
        raise Skip("there is no virtiofsd of QEMU")
    process = t.start("virtiofsd", [OLD, f"--socket-path={socket}", "-o", f"source={share},xattr"])
    wait_for_socket(socket, process)


START = {"crate": start_crate, "qemu-7.2": start_old}


def make_tree(path):
    """The sources of this project, and what they lack: a big file, an empty one, a name with a blank, links."""
    shutil.copytree(ROOT / "devices", path / "devices")
    shutil.copytree(ROOT / "man", path / "man")
    (path / "big").write_bytes(os.urandom(BIG))
    (path / "empty").touch()
    (path / "with a blank").write_text("blank\n")
    os.link(path / "big", path / "hard")
    (path / "soft").symlink_to("devices/bus.h")


def hashes(root):
    return {str(path.relative_to(root)): hashlib.sha256(path.read_bytes()).hexdigest()
            for path in root.rglob("*") if path.is_file()}


def told(text):
    """What sha256sum said, as hashes() has it."""
    lines = [line.split("  ", 1) for line in text.splitlines()]
    return {path.removeprefix("./"): digest for digest, path in lines}


@test(tags=["boot", "daemons", "fs"], timeout=250,
      needs=lambda case: [*guest.needs_of(KERNEL), *(["crate:virtiofsd"] if case["daemon"] == "crate" else [])],
      cases={f"{name}.{daemon}": {**case, "daemon": daemon} for daemon in START for name, case in TRANSPORTS.items()})
def tree(t, transport, daemon):
    share, socket = t.dir / "share", t.dir / "fs.sock"
    share.mkdir()
    make_tree(share / "tree")
    START[daemon](t, share, socket)
    shell = Session(t, f"fs,tag=files,socket={socket},transport={transport}", kernel=KERNEL, verbs="shell poweroff",
                    transport=transport)
    t.boots += 1
    shell.does("mount -t virtiofs files /mnt && cd /mnt")

    want = hashes(share / "tree")
    shell.does("cp -a tree copy && (cd tree && find . ! -type d -exec sha256sum {} + >../sums.tree) && sync")
    shell.does("cd / && umount /mnt && mount -t virtiofs files /mnt && cd /mnt")
    shell.does("cd copy && find . ! -type d -exec sha256sum {} + >../sums.copy; cd ..")
    assert told((share / "sums.tree").read_text()) == want, "the guest reads something else"
    assert told((share / "sums.copy").read_text()) == want, "the guest reads something else than it wrote"
    assert hashes(share / "copy") == want, "the host has something else than the guest wrote"
    assert os.readlink(share / "copy/soft") == "devices/bus.h"

    (share / "from the host").write_text("the host was here\n")
    assert "the host was here" in shell.does("cat 'from the host'")
    shell.does("mv 'from the host' moved && echo and the guest >>moved && chmod 640 moved && rm copy/big copy/hard && mkfifo pipe")
    assert (share / "moved").read_text() == "the host was here\nand the guest\n"
    assert (share / "moved").stat().st_mode & 0o777 == 0o640
    assert (share / "pipe").is_fifo()
    assert not (share / "from the host").exists() and not (share / "copy/big").exists()
    shell.does("cd / && umount /mnt")
    shell.ends()
