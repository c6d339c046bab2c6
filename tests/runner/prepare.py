# SPDX-License-Identifier: Apache-2.0
"""Builds of minivmm and what guests need: kernels, Debian's kernels, images. Only what is asked for."""
import os
import shutil

from plan import BUILDS, ROOT, build_dir
from report import Result
from tap import ending, execute

BUILD_SECONDS = 1200
GUEST_SECONDS = 3600


def configure(build, logs):
    """Makes the build directory known to meson, or what meson knows of it up to date; a Result."""
    directory, compiler, options = BUILDS[build]
    log = logs / f"configure-{build}.log"
    if (build_dir(build) / "build.ninja").exists():
        # what there is to test is read from there before anything is built
        code, seconds = execute(["ninja", "-C", str(build_dir(build)), "build.ninja"], log, BUILD_SECONDS, cwd=ROOT)
        if code == 0:
            return Result(f"build/{build}", "ok")
        return Result(f"build/{build}", "FAIL", seconds, "ninja build.ninja: " + ending(code, BUILD_SECONDS), log)
    shutil.rmtree(build_dir(build), ignore_errors=True)
    strict = ["--werror"] if os.environ.get("CI") == "true" else []
    code, seconds = execute(["meson", "setup", directory, *strict, *options], log, BUILD_SECONDS,
                            {**os.environ, "CC": compiler}, ROOT)
    if code == 0:
        return Result(f"build/{build}", "ok", seconds)
    return Result(f"build/{build}", "FAIL", seconds, "meson setup: " + ending(code, BUILD_SECONDS), log)


def compile_build(build, logs):
    """Brings one build up to date; a Result."""
    result = configure(build, logs)
    if result.status != "ok":
        return result
    log = logs / f"build-{build}.log"
    code, seconds = execute(["ninja", "-C", str(build_dir(build))], log, BUILD_SECONDS, cwd=ROOT)
    if code == 0:
        return Result(f"build/{build}", "ok", result.seconds + seconds)
    return Result(f"build/{build}", "FAIL", seconds, "ninja: " + ending(code, BUILD_SECONDS), log)


# What a test may need, and how guest/ makes it. A script without OUT prints where its result is.
OUT = "OUT"
RECIPES = {
    # the tiny one is also what minivmm of the build tree boots when it is told none
    "kernel": lambda variant: ["guest/kernel.sh", *(["--link", "build/guest"] if variant == "tiny" else []), variant],
    "debian": lambda version: ["guest/debian.sh", version],
    "image": lambda size: ["guest/image.sh", OUT, size or "256M"],
    "init": lambda _: ["-c", "guest=$PWD/guest; . guest/common.sh; init_build"],
    "crate": lambda name: ["tests/peers/crate.sh", name],
    "gpu": lambda _: ["tests/peers/gpu.sh"],
    "newer": lambda package: ["tests/peers/debian.sh", package],
    "peer": lambda release: ["tests/peers/build.sh", release],
    "vmshm": lambda kernel: ["tests/vmshm/build.sh", kernel],
    "initrd": lambda kind: ["guest/initrd.sh", *(f"--{word}" for word in kind.split("+")), OUT],
}


def provide(name, logs):
    """Prepares one resource. Gives (path, None) or (None, Result of its failure)."""
    kind, _, variant = name.partition(":")
    label = name.replace(":", "-")
    log = logs / f"guest-{label}.log"
    out = logs.parent / "test-data" / label
    out.parent.mkdir(parents=True, exist_ok=True)
    words = RECIPES[kind](variant)
    # what it prints is where the result is; what it says goes to the log
    command = ["sh", "-c", 'out=$1; shift; exec sh "$@" >"$out"', "sh",
               f"{out}.where" if OUT not in words else "/dev/null",
               *(str(out) if word == OUT else word for word in words)]
    code, seconds = execute(command, log, GUEST_SECONDS, cwd=ROOT)
    if code != 0:
        return None, Result(f"set-up/{name}", "FAIL", seconds, ending(code, GUEST_SECONDS), log)
    if OUT in words:
        return str(out), None
    return out.with_name(label + ".where").read_text(encoding="utf-8").split("\n", maxsplit=1)[0], None
