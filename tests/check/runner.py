#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""The runner itself, on a project made here: what it lists is what it reports, and no boot fails a whole run."""
import os
import pathlib
import re
import shutil
import subprocess
import sys
import tempfile

from tree import ROOT, finish

FILES = {
    "meson.build": """
project('toy', 'c')
test('macros', executable('macros', 'macros.c', 'list_cases.c', dependencies: dependency('cmocka'),
        link_args: '-Wl,--wrap=_cmocka_run_group_tests'),
    suite: ['unit', 'memory'], protocol: 'tap')
test('script', find_program('script.py'), suite: ['unit', 'blk'], protocol: 'tap')
test('none', find_program('none.py'), suite: ['unit', 'blk'], protocol: 'tap')
test('whole', find_program('whole.py'), suite: ['bare', 'memory'])
""",
    "meson_options.txt": """
option('static', type: 'boolean')
option('plant_forbidden_call', type: 'boolean')
""",
    # a name that is no case, one that a macro makes, one that is skipped and one of some builds only
    "macros.c": """
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#define T(name) cmocka_unit_test(name)
#define CASE(stem) cmocka_unit_test(stem##_pasted)
static void plain(void **s) { (void)s; }
static void made_pasted(void **s) { (void)s; }
static void passed_over(void **s) { (void)s; skip(); }
#ifdef __clang__
static void of_clang(void **s) { (void)s; }
#endif
int main(void)
{
    const struct CMUnitTest cases[] = {
        T(plain), CASE(made), T(passed_over),
        { "plain (once more)", plain, NULL, NULL, NULL },
#ifdef __clang__
        T(of_clang),
#endif
    };
    return cmocka_run_group_tests(cases, NULL, NULL);
}
""",
    "script.py": """#!/usr/bin/env python3
import os
lies = "TOY_LIES" in os.environ
print("case told" if "MINIVMM_TEST_LIST" in os.environ else "1..1\\nok 1 - " + ("untold" if lies else "told"))
""",
    "none.py": "#!/bin/sh\necho '1..0 # SKIP nothing of it here'\n",
    "whole.py": "#!/bin/sh\n",
    "tests/check/fine.py": "#!/bin/sh\n",
    "tests/bench/blk": "#!/bin/sh\n",
    "tests/bench/boot": "#!/bin/sh\n",
    "tests/bench/shmem": "#!/bin/sh\n",
    "tests/bench/vmshm": "#!/bin/sh\n",
    "tests/linux/test_toy.py": """
import os
from harness import test

@test(tags=["boot"], kvm=False, build=False, cases={"a": {}, "b": {}})
def guest(t):
    t.boots += int(os.environ["TOY_BOOTS"])

@test(tags=["memory"], kvm=False, build=False, under="minimal")
def small(t):
    pass
""",
}
NAME = re.compile(r"^(?:(?:ok|FAIL) (.+) \([0-9.]+ s\)|skip ([^:]+): .*)$", re.M)
SELECTIONS = [[], ["unit/"], ["made_"], ["macros.pla"], ["plain (on"], ["of_cl"], ["*.told"], ["tol"], ["unit-asan/*"], ["cli"],
              ["build/"], ["--tag", "memory"], ["--tag", "blk", "--tag", "build"],
              ["--tag", "memory", "plain"]]


class Toy:
    def __init__(self, directory):
        self.directory, self.faults = directory, []
        for name, text in FILES.items():
            path = directory / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text.lstrip("\n"), encoding="utf-8")
            path.chmod(0o755)
        shutil.copytree(ROOT / "tests/runner", directory / "tests/runner")
        plan = directory / "tests/runner/plan.py"
        plan.write_text(re.sub(r"^ONCE = \(.*?^\)", 'ONCE = ("toy.guest.b",)', plan.read_text(encoding="utf-8"),
                               flags=re.S | re.M), encoding="utf-8")
        shutil.copy(ROOT / "tests/linux/harness.py", directory / "tests/linux")
        shutil.copy(ROOT / "tests/unit/list_cases.c", directory)

    def run(self, *words, boots=1, **env):
        return subprocess.run([sys.executable, "-B", "tests/runner", *words], cwd=self.directory, text=True, check=False,
                              capture_output=True, env={**os.environ, "TOY_BOOTS": str(boots), **env})

    def expect(self, what, so, got):
        if not so:
            self.faults.append(f"{what} (exit code {got.returncode})\n{got.stdout}{got.stderr}")

    def lists_what_it_reports(self):
        for words in SELECTIONS:
            told = self.run("--list", *words)
            ran = self.run(*words)
            self.expect(f"{words} fails", told.returncode == 0 and ran.returncode == 0, ran)
            listed = sorted(told.stdout.splitlines())
            reported = sorted(a or b for a, b in NAME.findall(ran.stdout))
            self.expect(f"{words}: listed {listed}, reported {reported}", listed == reported and listed, told)

    def knows_every_case(self):
        told = self.run("--list")
        want = ["unit/macros.plain", "unit/macros.plain (once more)", "unit-clang/macros.made_pasted",
                "unit-clang/macros.of_clang", "unit-asan/none",
                "unit/script.told", "bare/whole", "build/minimal", "cli/toy.guest.b", "cli-asan/toy.guest.a",
                "cli-minimal/toy.small", "check/fine", "bench/blk", "bench/boot",
                "bench/shmem", "bench/vmshm"]
        never = ["unit/macros.of_clang", "unit/macros.stem", "unit/macros.name", "cli-minimal/toy.guest.a"]
        names = told.stdout.splitlines()
        self.expect(f"not listed: {set(want) - set(names)}", set(want) <= set(names), told)
        self.expect(f"listed: {set(never) & set(names)}", not set(never) & set(names), told)

    def fails_without_a_boot(self):
        got = self.run(boots=0)
        self.expect("a whole run without a boot does not fail",
                    got.returncode == 1 and "\nFAIL linux/boots: no Linux guest booted" in got.stdout
                    and re.search(r"\n\d+ passed, 1 failed", got.stdout), got)
        got = self.run("unit/", boots=0)
        self.expect("a part of a run has to boot", got.returncode == 0, got)

    def fails_when_another_case_is_reported(self):
        got = self.run("unit/script", TOY_LIES="1")
        self.expect("a program may report what it does not list",
                    got.returncode == 1 and "other cases than it lists" in got.stdout, got)

    def knows_what_has_changed_since(self):
        (self.directory / "macros.c").rename(self.directory / "renamed.c")
        project = self.directory / "meson.build"
        project.write_text(project.read_text(encoding="utf-8").replace("'macros.c'", "'renamed.c'"), encoding="utf-8")
        got = self.run("--list", "unit/macros")
        self.expect("a source that is called otherwise now is not found",
                    got.returncode == 0 and "unit/macros.plain" in got.stdout.splitlines(), got)

    def refuses_what_is_not_there(self):
        for words in ["nonesuch"], ["--tag", "nonesuch"], ["unit/nonesuch"]:
            got = self.run(*words)
            self.expect(f"{words} is something", got.returncode == 2 and "no test has such" in got.stderr, got)


with tempfile.TemporaryDirectory(prefix="minivmm-runner.") as scratch:
    toy = Toy(pathlib.Path(scratch))
    toy.lists_what_it_reports()
    toy.knows_every_case()
    toy.fails_without_a_boot()
    toy.fails_when_another_case_is_reported()
    toy.refuses_what_is_not_there()
    toy.knows_what_has_changed_since()
finish(toy.faults)
