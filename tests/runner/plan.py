# SPDX-License-Identifier: Apache-2.0
"""What tests there are: programs that meson declares, scripts of tests/check, functions of tests/linux."""
import dataclasses
import fnmatch
import functools
import json
import pathlib
import re
import subprocess
import sys

import tap

ROOT = pathlib.Path(__file__).resolve().parents[2]
CHECKS = ROOT / "tests/check"
LINUX = ROOT / "tests/linux"

# name -> what meson is told and with which compiler; the first is the one that others are variants of
BUILDS = {
    "gcc": ("build", "gcc", []),
    # with the planted call, so that what a filter does to it is tested
    "clang": ("build-clang", "clang", ["-Dplant_forbidden_call=true"]),
    "asan": ("build-asan", "gcc", ["-Db_sanitize=address,undefined", "-Db_lundef=false", "-Dstatic=false"]),
    # the programs alone, without any library they can do without
    "minimal": ("build-minimal", "gcc", ["-Dauto_features=disabled"]),
}
PLAIN = "gcc"
TABLE = re.compile(r"cmocka_run_group_tests|test_cases\[\]")      # is in a file that has cases
WITHOUT_TESTS = {"minimal"}         # meson declares none there: for tests of tests/linux that ask for it
# Tests of tests/linux run under every build but these, which add a kernel, a size, a figure or a script
# to what the others test of our code: under the plain build only.
ONCE = (
    "boot.kernel.debian-*", "boot.kernel.tiny.1cpu", "boot.kernel.tiny-acpi.1cpu", "boot.kernel.tiny-of.1cpu",
    "boot.kernel.tiny-bzimage.4cpu", "boot.as_many_processors_as_there_can_be", "boot.written_disk_survives",
    "boot.nothing_given_but_ram_and_disk", "boot.signal_ends_it.int", "boot.signal_ends_it.hup", "daemons.*",
    "device_daemons.*", "exec.a_disk_*", "exec.it_never_listens", "fs.*", "gpu.*", "harness.*", "install.*",
    "manual.*", "memory.size_boots.3G*", "memory.kind_boots.shm", "memory.kind_boots.shm-4k", "net.passt_daemon.*",
    "net.tap.mmio", "net.tap.pairs", "net_pairs.*", "peers.*", "reconnect.*.1000", "reconnect.a_kexec_*",
    "pmem.root.*.1cpu", "pmem.two_guests_have_one_copy_of_an_image", "try.*", "vmshm_programs.*", "vmshm.*.debug",
    "vmshm.*.6.1", "vmshm.*.6.12", "vmshm_machines.*6.1*", "vmshm_machines.*.1G", "vu_check.other_daemon.*",
)
SLOW = {"asan": 3}


def build_dir(build):
    return ROOT / BUILDS[build][0]


def suite_of(suite, build):
    return suite if build == PLAIN else f"{suite}-{build}"


@dataclasses.dataclass
class Program:
    """An executable that is one or many tests."""
    name: str
    tags: set
    command: list
    timeout: float
    protocol: str = "exitcode"
    env: dict = dataclasses.field(default_factory=dict)
    cwd: pathlib.Path | None = None
    build: str | None = None
    sources: list = dataclasses.field(default_factory=list)     # where its cases are, if that is known
    cases: list | None = None       # once asked for

    def names(self):
        """What it reports: of a TAP program its cases, which only it can tell. Its build must be there."""
        if self.cases is None:
            self.cases = tap.list_cases(self) if self.protocol == "tap" else []
        return [f"{self.name}.{case}" for case in self.cases] or [self.name]

    def may_match(self, pattern):
        """Whether a name of it may match, without asking it: yes may be said in vain, no may not."""
        if self.protocol != "tap":
            return matches(self.name, pattern)
        literal = re.split(r"[*?[]", pattern, maxsplit=1)[0]
        if literal != pattern or "/" in literal:        # from the beginning of the name on
            return literal.startswith(self.name + ".") or (self.name + ".").startswith(literal)
        program, dot, _ = pattern.partition(".")
        if dot:
            return self.name.endswith("/" + program)
        word = re.match(r"\w*", pattern)[0]
        return matches(self.name, pattern) or not self.sources or any(
            there in text for text in map(text_of, self.sources) for there in (word, "##"))

    @property
    def suite(self):
        return self.name.split("/")[0]


@dataclasses.dataclass
class Guest:
    """A function of tests/linux under one build."""
    name: str
    tags: set
    test: object            # harness.Test
    build: str

    def names(self):
        return [self.name]

    def may_match(self, pattern):
        return matches(self.name, pattern)


class Build(Guest):
    """A build, which is a test as well: that it compiles. test is None."""


@functools.cache
def text_of(path):
    return pathlib.Path(path).read_text(encoding="utf-8", errors="replace")


def matches(name, pattern):
    if set(pattern) & set("*?["):
        return fnmatch.fnmatchcase(name, pattern)
    return re.search(r"(^|[/.])" + re.escape(pattern), name) is not None


class Selection:
    """--tag and PATTERN."""

    def __init__(self, tags, patterns):
        self.tags, self.patterns = set(tags), patterns
        self.everything = not tags and not patterns

    def matches(self, name):
        return not self.patterns or any(matches(name, p) for p in self.patterns)

    def has_tag(self, item):
        return not self.tags or bool(self.tags & item.tags)

    def may_want(self, item):
        """As wants, for programs that are not built yet: may say yes in vain."""
        return self.has_tag(item) and (not self.patterns or any(item.may_match(p) for p in self.patterns))

    def wants(self, item):
        return self.has_tag(item) and (not self.patterns or any(self.matches(name) for name in item.names()))


def builds():
    return [Build(f"build/{build}", {"build"}, None, build) for build in BUILDS]


def checks():
    found = []
    for path in sorted(CHECKS.iterdir()) if CHECKS.is_dir() else []:
        if path.is_file() and path.stat().st_mode & 0o100:
            found.append(Program(f"check/{path.stem}", {"check"}, [str(path)], 300, cwd=ROOT))
    return found


def benches():
    """Figures that minivmm is held to; run last and alone. Their clock counts instructions: they do not
    disturb each other."""
    return [Program(f"bench/{name}", {"bench", *tags}, [str(ROOT / "tests/bench" / name), "--check"], 1800,
                    build=PLAIN, cwd=ROOT)
            for name, tags in (("blk", ["blk", "daemons"]), ("boot", ["boot"]), ("shmem", ["shmem", "pmem"]), ("vmshm", ["vmshm"]))]


def introspect(directory, what):
    out = subprocess.run(["meson", "introspect", what, str(directory)], capture_output=True, text=True, check=True)
    return json.loads(out.stdout)


def sources(directory):
    """Of every target of the build: its C files, by the path of what is built."""
    found = {}
    for target in introspect(directory, "--targets"):
        files = [f for s in target["target_sources"] for f in s.get("sources", []) if f.endswith(".c")]
        for path in target["filename"]:
            found[path] = files
    return found


def is_under_build(suites, build):
    """Suite once: a program that is built in a way of its own, hence under one build only."""
    return build == PLAIN or (build not in WITHOUT_TESTS and "once" not in suites)


def programs():
    """What meson declares, as it is and under every other build. None while meson knows no build."""
    base = build_dir(PLAIN)
    if not (base / "build.ninja").exists():
        return []
    by_path = sources(base)
    found = []
    for test in introspect(base, "--tests"):
        suites = [s.split(":", 1)[-1] for s in test["suite"]] or ["unit"]
        files = [f for word in test["cmd"] for f in by_path.get(word, []) if TABLE.search(text_of(f))]
        for build in (b for b in BUILDS if is_under_build(suites, b)):
            def here(word, build=build):
                return word.replace(str(base) + "/", str(build_dir(build)) + "/")
            found.append(Program(
                f"{suite_of(suites[0], build)}/{test['name']}", set(suites), [here(w) for w in test["cmd"]],
                test["timeout"] * SLOW.get(build, 1), test["protocol"],
                {k: here(v) for k, v in test["env"].items()},
                # as `meson test` does: built programs among the words are named from there
                test["workdir"] or build_dir(build), build, files))
    found.sort(key=lambda p: (list(BUILDS).index(p.build), p.name))
    return found


def is_under(test, build, excepted):
    if test.under:
        return build == test.under
    return build == PLAIN or (build not in WITHOUT_TESTS and test.name not in excepted)


def guests():
    """The functions of tests/linux; under the other builds those that ONCE does not except."""
    sys.path.insert(0, str(LINUX))
    import harness      # pylint: disable=import-outside-toplevel
    tests = harness.load(LINUX)
    once = {pattern: {test.name for test in tests if fnmatch.fnmatchcase(test.name, pattern)} for pattern in ONCE}
    stale = [pattern for pattern, names in once.items() if not names]
    if stale:
        sys.exit(f"run.sh: ONCE of tests/runner/plan.py names no test by {', '.join(stale)}")
    excepted = set().union(*once.values())
    return [Guest(f"{suite_of('linux' if test.kvm else 'cli', build)}/{test.name}", {*test.tags}, test, build)
            for build in BUILDS for test in tests if is_under(test, build, excepted)]
