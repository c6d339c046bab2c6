# SPDX-License-Identifier: Apache-2.0
"""minivmm vu-check: every fault planted is told by its own rule, and what it says of known daemons is docs/vu-check.md."""
import concurrent.futures
import json
import re
import subprocess
import threading

from harness import ROOT, Skip, test, wait_for_socket

TAGS = ["tools", "daemons"]
TYPES = ["blk", "console", "fs", "pmem", "rng"]     # of the planted daemon
AT_ONCE = 8
PATIENCE = 8            # seconds for an answer: faults that give none cost as much
PAGE = ROOT / "docs/vu-check.md"


class Report:
    """What vu-check says of the daemon at a socket; without a kind no request is made."""

    def __init__(self, t, kind, path, *keys):
        target = ",".join([*([kind] if kind else []), f"socket={path}", *keys])
        self.got = t.run([t.minivmm, "vu-check", "--json", target], timeout=200)
        assert not self.got.err, "something on stderr"
        self.verdicts = {rule["rule"]: rule["verdict"] for rule in json.loads(self.got.out)["rules"]}
        self.code = self.got.code

    def failed(self):
        return [rule for rule, verdict in self.verdicts.items() if verdict == "FAIL"]


def rules(t):
    return [line.split()[0] for line in t.run([t.minivmm, "vu-check", "--list"]).out.splitlines()]


def try_planted(t, kind, name=""):
    path = t.dir / f"{name or 'none'}.{kind}"
    process = subprocess.Popen([t.program("tests/vu_check/planted"), path, kind, *([name] if name else [])])
    try:
        return Report(t, kind, path, f"timeout={PATIENCE}", "write=on", f"other={path}.other")
    finally:
        process.kill()
        process.wait()


@test(tags=TAGS, kvm=False, timeout=120)
def a_good_daemon_fails_nothing(t):
    passed = set()
    for kind in TYPES:
        report = try_planted(t, kind)
        assert report.code == 0 and not report.failed(), f"{kind}: {report.failed()} fail, exit code {report.code}"
        passed |= {rule for rule, verdict in report.verdicts.items() if verdict == "PASS"}
    assert passed == set(rules(t)), f"never passed: {set(rules(t)) - passed}"


@test(tags=[*TAGS, "fault"], kvm=False, timeout=400)
def a_fault_is_told_by_its_own_rule(t):
    told = t.run([t.program("tests/vu_check/planted"), "--list"]).out
    faults = [line.split() for line in told.splitlines()]
    assert {rule for _, rule, _ in faults} == set(rules(t)), "a rule has no fault that it tells"
    with concurrent.futures.ThreadPoolExecutor(AT_ONCE) as pool:
        reports = pool.map(lambda fault: try_planted(t, fault[2], fault[0]), faults)
        wrong = [f"{name}: {report.failed()} instead of {rule}, exit code {report.code}"
                 for (name, rule, _), report in zip(faults, reports)
                 if report.failed() != [rule] or report.code != 1]
    assert not wrong, "; ".join(wrong)


@test(tags=[*TAGS, "blk"], kvm=False, timeout=120)
def a_disk_that_fails_gets_back_what_it_had(t):
    """The daemon ends with its connection when it has not: then the rules after that one are not tried."""
    report = try_planted(t, "blk", "blk-read-back")
    assert report.failed() == ["blk.write"], f"{report.failed()} fail"
    assert report.verdicts["driver.outside"] == "PASS", "the sector was left with what was written to test it"


# ---- Daemons that there are ----

def disk(t):
    path = t.dir / "disk.img"
    path.write_bytes(bytes(4 << 20))
    return path


def forever(t, name, command, path):
    """A daemon that ends with its connection: started again whenever it has. Call what comes to end that."""
    over = threading.Event()

    def run():
        while not over.is_set():
            t.start(name, command).child.wait()
    process = t.start(name, command)
    wait_for_socket(path, process)

    def first():
        process.child.wait()
        run()
    thread = threading.Thread(target=first)
    thread.start()

    def end():
        over.set()
        while thread.is_alive():        # it may be starting another meanwhile
            t.processes[-1].child.terminate()
            thread.join(0.1)
    return end


def own(kind, *words):
    def start(t):
        return kind, t.own_backend(kind, *(word.format(disk=disk(t), dir=t.dir) for word in words)), None
    return start


def crate(kind, name, *words, adds="", ends=False):
    """A daemon of the crates' registry. adds: to the path it is told; ends: with its connection."""
    def start(t):
        path = t.dir / f"{name}.sock"
        command = [t.resource(f"crate:{name}"), *(word.format(path=path, disk=disk(t), dir=t.dir) for word in words)]
        path = path.with_name(path.name + adds)
        if ends:
            return kind, path, forever(t, name, command, path)
        wait_for_socket(path, t.start(name, command))
        return kind, path, None
    return start


def storage_daemon(t):
    return "blk", t.storage_daemon(disk(t)), None


def virtiofsd(t):
    program, path, share = "/usr/lib/qemu/virtiofsd", t.dir / "fs.sock", t.dir / "share"
    share.mkdir()
    try:
        version = t.run([program, "--version"]).out
    except FileNotFoundError:
        raise Skip(f"there is no {program}") from None
    if "version 7.2" not in version:
        raise Skip(f"{program} is not of QEMU 7.2", machine=True)
    return "fs", path, forever(t, "virtiofsd", [program, f"--socket-path={path}", "-o", f"source={share}",
                                               "-o", "sandbox=chroot"], path)


# column of the page -> how it is started
DAEMONS = {
    "minivmm-backend blk": own("blk", "--file={disk}", "--queues=4"),
    "minivmm-backend console": own("console", "--port=socket={dir}/other"),
    "minivmm-backend pmem": own("pmem", "--file={disk}"),
    "minivmm-backend rng": own("rng"),
    "minivmm-backend vsock": own("vsock", "--guest-cid=3", "--uds-path={dir}/vm"),
    "qemu-storage-daemon 7.2": storage_daemon,
    "virtiofsd 7.2": virtiofsd,
    "virtiofsd 1.14.0": crate("fs", "virtiofsd", "--socket-path={path}", "--shared-dir={dir}", "--sandbox=chroot", ends=True),
    "vhost-device-console 0.1.0": crate("console", "vhost-device-console", "--socket-path={path}", "--backend=network",
                                        "--tcp-port=0", adds="0", ends=True),
    "vhost-device-rng 0.1.0": crate("rng", "vhost-device-rng", "--socket-path={path}", adds="0"),
    "vhost-device-scmi 0.4.0": crate("", "vhost-device-scmi", "--socket-path={path}", "--device=fake,name=fake", ends=True),
    "vhost-device-scsi 0.1.0": crate("", "vhost-device-scsi", "--socket-path={path}", "{disk}", ends=True),
    "vhost-device-sound 0.3.0": crate("", "vhost-device-sound", "--socket={path}", "--backend=null", ends=True),
    "vhost-device-vsock 0.3.0": crate("vsock", "vhost-device-vsock", "--guest-cid=3", "--socket={path}",
                                      "--uds-path={dir}/vm"),
}
WORDS = {"PASS": "pass", "FAIL": "FAIL", "SKIP": "-"}


def page_column(name):
    """{rule: verdict} of the page's table."""
    table = [[cell.strip() for cell in line.strip("|").split("|")]
             for line in PAGE.read_text(encoding="utf-8").splitlines() if line.startswith("|")]
    column = table[0].index(name)
    return {row[0].strip("`"): row[column] for row in table[2:]}


def crate_of(name):
    """What run.sh prepares for it."""
    return [f"crate:{name.split()[0]}"] if "vhost-device" in name or name == "virtiofsd 1.14.0" else []


def check_daemon(t, name):
    kind, path, end = DAEMONS[name](t)
    other = t.dir / "other"
    try:
        report = Report(t, kind, path, "write=on", *([f"other={other}"] if other.exists() else []))
    finally:
        if end:
            end()
    got = {rule: WORDS[verdict] for rule, verdict in report.verdicts.items()}
    want = page_column(name)
    assert got == want, "other than in docs/vu-check.md: " + ", ".join(
        f"{rule} {got.get(rule)}, there {want.get(rule)}" for rule in sorted({*got, *want})
        if got.get(rule) != want.get(rule))
    assert report.code == (1 if "FAIL" in got.values() else 0), f"exit code {report.code}"


@test(tags=TAGS, kvm=False, timeout=120, cases={name.split()[1]: {"name": name} for name in DAEMONS if "minivmm" in name})
def own_daemon(t, name):
    check_daemon(t, name)


@test(tags=TAGS, kvm=False, timeout=200, needs=lambda case: crate_of(case["name"]),
      cases={name.replace(" ", "-"): {"name": name} for name in DAEMONS if "minivmm" not in name})
def other_daemon(t, name):
    """Known failures are those of the page, each with its reason."""
    failed = [rule for rule, word in page_column(name).items() if word == "FAIL"]
    part = re.search(rf"^## {re.escape(name)}\n(.*?)(?=^## |\Z)", PAGE.read_text(encoding="utf-8"), re.M | re.S)[1]
    assert sorted(re.findall(r"^- `([\w.-]+)`: \S", part, re.M)) == sorted(failed), "not each failure has a reason"
    check_daemon(t, name)


WRONG = {
    "nothing": ([], 2, "no socket="), "type": (["gpu,socket=/x"], 2, "no requests are known"),
    "key": (["blk,socket=/x,colour=red"], 2, "colour"), "option": (["--colour"], 2, "usage"),
    "two": (["socket=/x", "socket=/y"], 2, "usage"), "nobody": (["socket=/nonexistent/x,timeout=1"], 1, "/nonexistent/x"),
    "file": (["socket=/dev/null,timeout=1"], 1, "/dev/null"),
}


@test(tags=[*TAGS, "options"], kvm=False, timeout=60, cases={
    name: {"words": words, "code": code, "says": says} for name, (words, code, says) in WRONG.items()})
def wrong(t, words, code, says):
    got = t.run([t.minivmm, "vu-check", *words])
    assert got.code == code, f"exit code {got.code}"
    assert len(got.err.splitlines()) == 1 and says in got.err, "not one sentence that says what is wrong"
