# SPDX-License-Identifier: Apache-2.0
"""The inner end of tests/bench/boot: measures VMMs in the deterministic lab.

    python3 inside.py PLAN TRACES

PLAN is JSON: files {path inside: path here}, vmms [{name, command}], runs, line, stopwatch, trace.
Every VMM gets the same root directory in memory, with its program, its libraries, the kernel and
the initrd, so that no file of the measured path comes from the outer machine: while such a read
waits, this clock would jump. A line of JSON a VMM goes to stdout.
"""
import json
import os
import pathlib
import re
import shutil
import subprocess
import sys

TRACING = pathlib.Path("/sys/kernel/tracing")
ROOT = pathlib.Path("/run/bench")
RAM_BYTES = 128 << 20           # no other mapping of a VMM is as large
TIMED = ["kvm/kvm_entry", "kvm/kvm_userspace_exit"]
TRACED = TIMED + ["kvm/kvm_exit", "kvm/kvm_pio", "kvm/kvm_mmio", "kvm/kvm_msr", "kvm/kvm_page_fault"]
STARTING = TIMED + ["raw_syscalls/sys_enter", "raw_syscalls/sys_exit", "exceptions/page_fault_user"]
EVENT = re.compile(r"-(\d+)\s+\[\d+\].*?\s(\d+\.\d+): (\w+): (.*)$")


# ---- The root ----

def libraries(program):
    """Shared objects a program needs, its loader among them; none for a static one."""
    out = subprocess.run(["ldd", program], capture_output=True, text=True, check=False).stdout
    return re.findall(r"(/\S+) \(0x", out)


def copy_in(source, inside):
    target = ROOT / inside.lstrip("/")
    target.parent.mkdir(parents=True, exist_ok=True)
    if not target.exists():
        shutil.copy(source, target)


def make_root(plan):
    for name in ("dev", "proc", "sys", "tmp", "run", "dev/shm"):
        (ROOT / name).mkdir(parents=True, exist_ok=True)
    for name in ("dev", "proc", "sys"):
        subprocess.run(["mount", "--rbind", f"/{name}", ROOT / name], check=True)
    for inside, source in plan["files"].items():
        copy_in(source, inside)
    for vmm in plan["vmms"]:
        program = os.path.realpath(shutil.which(vmm["command"][0]) or vmm["command"][0])
        copy_in(program, program)
        vmm["command"][0] = program
        for library in libraries(program):
            copy_in(library, library)


# ---- Tracing ----

def write_trace(name, value):
    (TRACING / name).write_text(str(value), encoding="ascii")


def trace_on(events):
    write_trace("tracing_on", 0)
    write_trace("trace_clock", "mono")
    write_trace("buffer_size_kb", 65536)
    write_trace("trace", "")
    for event in events:
        write_trace(f"events/{event}/enable", 1)
    write_trace("tracing_on", 1)


def trace_off(events):
    write_trace("tracing_on", 0)
    for event in events:
        write_trace(f"events/{event}/enable", 0)
    text = (TRACING / "trace").read_text(encoding="utf-8", errors="replace")
    write_trace("trace", "")
    return text


def events_until(text, end_ns):
    """(nanoseconds, event, rest, thread) up to a moment."""
    found = []
    for line in text.splitlines():
        event = EVENT.search(line)
        if event and float(event[2]) * 1e9 <= end_ns:
            found.append((float(event[2]) * 1e9, event[3], event[4], int(event[1])))
    return found


def call_names():
    """System calls by number, from the C library's header."""
    header = pathlib.Path("/usr/include/x86_64-linux-gnu/asm/unistd_64.h")
    text = header.read_text(encoding="ascii") if header.exists() else ""
    return {int(number): name for name, number in re.findall(r"#define __NR_(\w+) (\d+)", text)}


def start_by_cause(events, start_ns, me):
    """What the time up to the first KVM_RUN went into: microseconds by system call, of all threads
    but the stopwatch; an ioctl by its number. Its own work is what is left of the total."""
    names, since, spent, calls = call_names(), {}, {}, {}
    faults = 0
    for at, name, rest, thread in events:
        if name == "kvm_entry":
            break
        if at < start_ns or thread == me:
            continue
        if name == "page_fault_user":
            faults += 1
        elif name == "sys_enter":                   # NR 16 (9, ae41, 0, 0, 0, 0)
            number, *arguments = re.findall(r"[0-9a-f]+", rest.removeprefix("NR "))
            label = names.get(int(number), number)
            since[thread] = (at, f"{label} {arguments[1]}" if label == "ioctl" else label)
        elif name == "sys_exit" and thread in since:
            began, label = since.pop(thread)
            spent[label] = spent.get(label, 0) + round((at - began) / 1000)
            calls[label] = calls.get(label, 0) + 1
    table = {f"us in {calls[label]:3} x {label}": us for label, us in spent.items()}
    return {**table, "page faults in user mode (number)": faults}


def count(table, key):
    table[key] = table.get(key, 0) + 1


def exits_by_cause(events):
    """Tables that say where the exits come from."""
    tables = {"exit reason": {}, "to user space": {}, "port": {}, "MMIO": {}, "MSR": {}}
    for _, name, rest, _ in events:
        words = rest.split()
        if name == "kvm_exit":
            reason = re.search(r"reason (\S+)", rest)
            count(tables["exit reason"], reason[1] if reason else rest)
        elif name == "kvm_userspace_exit":
            count(tables["to user space"], words[1])
        elif name == "kvm_pio":                     # pio_write at 0x3f8 size 1 count 1 val 0x41
            count(tables["port"], f"{words[2]} {words[0].removeprefix('pio_')}")
        elif name == "kvm_mmio" and words[1] != "unsatisfied-read":
            gpa = re.search(r"gpa (\S+)", rest)     # mmio write len 4 gpa 0xfec00000 val 0x1
            count(tables["MMIO"], f"{gpa[1] if gpa else rest} {words[1]}")
        elif name == "kvm_msr":                     # msr_write 10 = 0x0
            count(tables["MSR"], f"{words[1]} {words[0].removeprefix('msr_')}")
    return tables


# ---- Memory ----

def tree(pid):
    """A process and all below it."""
    parents = {}
    for entry in os.listdir("/proc"):
        if entry.isdigit():
            try:
                stat = pathlib.Path(f"/proc/{entry}/stat").read_text(encoding="utf-8", errors="replace")
                parents.setdefault(int(stat.rpartition(")")[2].split()[1]), []).append(int(entry))
            except OSError:
                pass
    found = [pid]
    for one in found:
        found += parents.get(one, [])
    return found


def mappings(pid):
    """Of each mapping its size in bytes and its fields of smaps in KiB."""
    current = None
    with open(f"/proc/{pid}/smaps", encoding="utf-8", errors="replace") as smaps:
        for line in smaps:
            head = re.match(r"([0-9a-f]+)-([0-9a-f]+) ", line)
            if head:
                if current:
                    yield current
                current = {"size": int(head[2], 16) - int(head[1], 16)}
            else:
                name, _, value = line.partition(":")
                words = value.split()
                if len(words) == 2 and words[1] == "kB":
                    current[name] = int(words[0])
    if current:
        yield current


def memory_of(pid):
    """Private KiB of all the VMM's processes beyond guest RAM, and how RAM is mapped."""
    private = resident = huge = ram_page = 0
    processes = tree(pid)
    for one in processes:
        for m in mappings(one):
            if m["size"] >= RAM_BYTES:
                huge += m.get("AnonHugePages", 0) + m.get("ShmemPmdMapped", 0) + m.get("FilePmdMapped", 0)
                resident += m["Rss"]
                ram_page = max(ram_page, m["KernelPageSize"])
            else:
                private += m["Private_Clean"] + m["Private_Dirty"]
    return {"private_kib": private, "ram_resident_kib": resident, "ram_huge_kib": huge,
            "ram_page_kib": 2048 if huge * 2 > resident else ram_page, "processes": len(processes)}


# ---- Runs ----

def run_once(plan, vmm, events):
    if events:
        trace_on(events)
    process = subprocess.Popen([plan["stopwatch"], ROOT, plan["line"], *vmm["command"]], stdin=subprocess.PIPE,
                               stdout=subprocess.PIPE, text=True)
    try:
        line = process.stdout.readline()
        text = trace_off(events) if events else ""
        if not line:
            return None
        got = json.loads(line)
        got["trace"], got["stopwatch"] = text, process.pid
        got.update(memory_of(got["pid"]))
        return got
    finally:
        process.stdin.close()
        process.wait()


def measure(plan, vmm, traces):
    """A first run warms up; plain runs give the time, traced ones what happened on the way."""
    plain, traced = [], []
    for events, into, times in ((None, None, 1), (None, plain, plan["runs"]), (TIMED, traced, plan["runs"])):
        for _ in range(times):
            got = run_once(plan, vmm, events)
            if got is None:
                return {"name": vmm["name"], "error": "it did not boot"}
            if into is not None:
                into.append(got)
    result = {"name": vmm["name"], "total": [r["end"] - r["start"] for r in plain],
              "exits": [r["exits"] for r in plain], "first_run": [], "userspace_exits": [], "counters": {
                  k: plain[0][k] for k in ("io_exits", "mmio_exits", "halt_exits", "irq_exits")}}
    for key in ("private_kib", "ram_resident_kib", "ram_huge_kib", "ram_page_kib", "processes"):
        result[key] = plain[-1][key]
    for r in traced:
        events = events_until(r["trace"], r["end"])
        entries = [at for at, name, *_ in events if name == "kvm_entry"]
        result["first_run"].append(entries[0] - r["start"] if entries else 0)
        result["userspace_exits"].append(sum(name == "kvm_userspace_exit" for _, name, *_ in events))
    if plan["trace"]:
        got = run_once(plan, vmm, TRACED)
        result["causes"] = exits_by_cause(events_until(got["trace"], got["end"]))
        pathlib.Path(traces, vmm["name"] + ".trace").write_text(got["trace"], encoding="utf-8")
        got = run_once(plan, vmm, STARTING)
        result["causes"]["before the first KVM_RUN (waits in it)"] = start_by_cause(
            events_until(got["trace"], got["end"]), got["start"], got["stopwatch"])
        pathlib.Path(traces, vmm["name"] + ".start.trace").write_text(got["trace"], encoding="utf-8")
    return result


def main():
    plan = json.loads(pathlib.Path(sys.argv[1]).read_text(encoding="utf-8"))
    make_root(plan)
    for vmm in plan["vmms"]:
        print(json.dumps(measure(plan, vmm, sys.argv[2])), flush=True)


if __name__ == "__main__":
    main()
