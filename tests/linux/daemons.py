# SPDX-License-Identifier: Apache-2.0
"""Daemons of others, see tests/peers, and what they need of the host: modules of its kernel."""
import functools
import os
import pathlib
import shutil
import subprocess

from harness import Skip, wait_for_socket

SYSTEM = "/sbin:/usr/sbin:/bin:/usr/bin"     # what changes a kernel is not in every user's PATH


def start(t, crate, *arguments, socket, env=None):
    """A crate's program, until it listens on socket: some add a 0 to what they are told. env: more of its environment."""
    process = t.start(crate, [t.resource(f"crate:{crate}"), *arguments], env={**os.environ, **(env or {})})
    wait_for_socket(socket, process)
    return process


def start_gpu(t):
    """QEMU's vhost-user-gpu; its socket. Needs gpu:."""
    path = t.dir / "gpu.sock"
    process = t.start("vhost-user-gpu", [t.resource("gpu:"), "-s", path])
    wait_for_socket(path, process)
    return path


def start_display(t, *options):
    """minivmm-display; its socket."""
    path = t.dir / "screen.sock"
    process = t.start("minivmm-display", [t.program("vhost/display/minivmm-display"), f"--socket={path}",
                                          "--log-level=info", *options])
    # it listens first and gives the socket its path then
    wait_for_socket(path, process, ready_now=os.path.exists)
    return path


@functools.cache
def kernel_modules():
    """Where the modules of the running kernel are, {name: path}: the lab has its own in the cache."""
    cache = os.environ.get("MINIVMM_CACHE") or os.path.join(
        os.environ.get("XDG_CACHE_HOME") or os.path.expanduser("~/.cache"), "minivmm")
    release = os.uname().release
    roots = [pathlib.Path("/lib/modules", release),
             *pathlib.Path(cache, "lab").glob(f"kernel-*/lib/modules/{release}")]
    return {path.name.split(".")[0].replace("-", "_"): path for root in roots for path in root.rglob("*.ko*")}


def load_module(name, *parameters):
    """Into the host's kernel; only where that is the lab's, which nobody else has. Those that it needs go first."""
    if not os.environ.get("MINIVMM_IN_LAB"):
        raise Skip(f"the module {name} is not loaded into a kernel that others use", machine=True)
    path = kernel_modules().get(name)
    if path is None:
        raise Skip(f"the kernel has no module {name}", machine=True)
    if pathlib.Path("/sys/module", name).exists():
        if not parameters:
            return
        subprocess.run([shutil.which("rmmod", path=SYSTEM), name], check=True)
    subprocess.run([shutil.which("insmod", path=SYSTEM), path, *parameters], check=True)
