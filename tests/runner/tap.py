# SPDX-License-Identifier: Apache-2.0
"""Runs test programs of the build tree: within a limit, in a process group of their own, a result a case.

A program whose protocol is TAP (cmocka's CMOCKA_MESSAGE_OUTPUT=TAP) gives a line a case; any other
one is a single test. Exit code 77 is a skip, its last line the reason; so is TAP's plan of none.
With MINIVMM_TEST_LIST in its environment a TAP program runs no case and names all, "case NAME" a line.
"""
import os
import re
import signal
import subprocess
import time

from report import MACHINE, Result

SKIPPED = 77
CASE = re.compile(r"^(not )?ok\b\s*\d*\s*(?:-\s*)?(.*)$")
PLAN = re.compile(r"^1\.\.(\d+)")
NONE = re.compile(r"^1\.\.0 # SKIP\b\s*(.*)$", re.M)
LIST, LISTED, LIST_SECONDS = "MINIVMM_TEST_LIST", re.compile(r"^case (.*\S)", re.M), 60
DIRECTIVE = re.compile(r"#\s*SKIP\b\s*(.*)$", re.I)

# color=never: they would ask whether it is a terminal they write to, and a filter blocks that
SANITIZERS = {
    "ASAN_OPTIONS": "abort_on_error=1:color=never:detect_stack_use_after_return=1:strict_string_checks=1",
    "UBSAN_OPTIONS": "halt_on_error=1:color=never:print_stacktrace=1",
    "CMOCKA_MESSAGE_OUTPUT": "TAP",
}


# Groups under way, with the signal that ends each: for a runner that is itself told to end
LIVE = {}


def end_all(number, _frame):
    for group, how in list(LIVE.items()):
        try:
            os.killpg(group, how)
        except ProcessLookupError:
            pass
    os._exit(128 + number)


def kill_group(process):
    LIVE.pop(process.pid, None)
    try:
        os.killpg(process.pid, signal.SIGKILL)
    except ProcessLookupError:
        pass


def execute(command, log, timeout, env=None, cwd=None):
    """Runs it with output to the log. Gives (exit code or None when time ran out, seconds)."""
    log.parent.mkdir(parents=True, exist_ok=True)
    start = time.monotonic()
    with open(log, "wb") as out:
        process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=out, stderr=subprocess.STDOUT,
                                   start_new_session=True, env=env, cwd=cwd)
        LIVE[process.pid] = signal.SIGKILL
        try:
            code = process.wait(timeout)
        except subprocess.TimeoutExpired:
            code = None
        finally:
            kill_group(process)
            process.wait()
    return code, time.monotonic() - start


def ending(code, timeout):
    if code is None:
        return f"not done after {timeout:g} s"
    if code < 0:
        return f"ended by {signal.Signals(-code).name}"
    return f"exit code {code}"


def environment(program):
    return {**os.environ, **SANITIZERS, **program.env}


def list_cases(program):
    """Names of the cases of a TAP program, from itself. None: it has one result, for the whole of it."""
    try:
        got = subprocess.run(program.command, stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False,
                             timeout=LIST_SECONDS, env={**environment(program), LIST: "1"}, cwd=program.cwd)
    except (OSError, subprocess.TimeoutExpired):
        return []
    return LISTED.findall(got.stdout) if got.returncode == 0 else []


def run_program(program, log):
    """All results of one program (plan.Program)."""
    code, seconds = execute(program.command, log, program.timeout, environment(program), program.cwd)
    text = log.read_text(errors="replace")
    if code == SKIPPED:
        lines = [line for line in text.splitlines() if line.strip()]
        return [Result(program.name, "skip", seconds, lines[-1] if lines else "no reason given")]
    if program.protocol != "tap":
        if code == 0:
            return [Result(program.name, "ok", seconds)]
        return [Result(program.name, "FAIL", seconds, ending(code, program.timeout), log)]
    nothing = NONE.search(text)
    if nothing and code == 0:
        return [Result(program.name, "skip", seconds, MACHINE + (nothing[1] or "no reason given"))]
    return cases(program, text, code, seconds, log)


def cases(program, text, code, seconds, log):
    results, planned, notes = [], 0, []
    for line in text.splitlines():
        plan, case = PLAN.match(line), CASE.match(line)
        if plan:
            planned += int(plan[1])
        if not case:
            notes.append(line)
            if results and results[-1].status == "FAIL":
                results[-1].tail += line + "\n"
            continue
        label = case[2].strip()
        skipped = DIRECTIVE.search(label)
        said = DIRECTIVE.sub("", label).strip()
        # cmocka has the name behind the directive, and the reason in a line before
        name = program.name + "." + (said or (skipped and skipped[1]) or "?")
        if skipped:
            # what a build lacks it does not compile in: what a case finds missing is the machine's
            reason = (said and skipped[1]) or (notes[-1].lstrip("# ") if notes else "no reason given")
            results.append(Result(name, "skip", 0, MACHINE + reason))
        elif case[1]:
            # what it printed before its line belongs to it as well as what follows
            results.append(Result(name, "FAIL", 0, "", log, "\n".join(notes[-10:]) + "\n"))
        else:
            results.append(Result(name, "ok"))
        notes = []
    if results:
        results[0].seconds = seconds
    failed = any(r.status == "FAIL" for r in results)
    if code != 0 and not failed:
        results.append(Result(program.name, "FAIL", seconds, ending(code, program.timeout), log))
    elif not results or len(results) != planned:
        reason = f"{len(results)} of {planned} cases reported"
        results.append(Result(program.name, "FAIL", seconds, reason, log))
    elif sorted(r.name for r in results) != sorted(program.names()):
        results.append(Result(program.name, "FAIL", seconds, "reports other cases than it lists", log))
    return results
