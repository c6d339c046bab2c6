# SPDX-License-Identifier: Apache-2.0
"""meson install into a directory of its own: what is there, and that it works from there."""
import os

from harness import ROOT, test

PROGRAMS = ("minivmm", "minivmm-backend", "minivmm-display")
BUILD_TREE_ONLY = {"try.sh", "meson.build", "examples/meson.build"}


def files(directory):
    return {str(path.relative_to(directory)) for path in directory.rglob("*") if path.is_file()}


@test(tags=["install"], kvm=False, timeout=60)
def installation_is_complete_and_works(t):
    destination = t.dir / "destination"
    got = t.run(["meson", "install", "-C", t.build, "--no-rebuild", "--quiet", "--destdir", destination])
    assert got.code == 0
    prefix = destination / "usr/local"
    guest = {f"share/minivmm/guest/{name}" for name in files(ROOT / "guest") - BUILD_TREE_ONLY}
    want = {*(f"bin/{name}" for name in PROGRAMS), *(f"share/man/man1/{name}.1" for name in PROGRAMS),
            "share/man/man4/vmshm.4"} | guest
    have = files(prefix)
    assert have == want, f"missing {sorted(want - have)}, too much {sorted(have - want)}"
    assert files(destination) == {f"usr/local/{name}" for name in want}, "something is outside the prefix"

    for program in PROGRAMS:
        assert t.run([prefix / "bin" / program, "--version"]).out.startswith(program + " ")
    got = t.run(["sh", prefix / "share/minivmm/guest/kernel.sh"])
    assert got.code == 2 and "tiny" in got.err, "the scripts do not run from where they are installed"


@test(tags=["install", "options"], kvm=False, timeout=60)
def default_kernel_is_the_installations(t):
    destination = t.dir / "destination"
    t.run(["meson", "install", "-C", t.build, "--no-rebuild", "--quiet", "--destdir", destination])
    program, data = destination / "usr/local/bin/minivmm", destination / "usr/local/share/minivmm"
    got = t.run([program])
    if not os.path.exists("/usr/local/share/minivmm/vmlinux"):
        assert got.code == 1 and "kernel.sh" in got.err, "it is not said how to get a kernel"
    (data / "vmlinux").write_text("not a kernel")
    got = t.run([program])
    assert got.code == 1 and "share/minivmm/vmlinux" in got.err, "the kernel beside the program is not taken"
