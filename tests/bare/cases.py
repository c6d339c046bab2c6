# SPDX-License-Identifier: Apache-2.0
"""What cases of the bare guests need of the outside, and how they are to end. A case that is not named
here is as its suite says: the guest returns from it, minivmm exits 0 and has nothing to say."""
import atexit
import dataclasses
import json
import os
import pathlib
import re
import signal
import subprocess
import threading
import time

CRASH, SECCOMP = 4, 5
SECONDS = 40            # a case takes a tenth of one; a loaded machine under sanitizers must not fail for it


class Failure(Exception):
    """Why a case is not ok; one sentence."""


class Skip(Exception):
    """Why a case cannot be run on this machine."""


@dataclasses.dataclass(frozen=True)
class Device:
    """A daemon of our own. prepare(directory) makes its files and gives its options."""
    type: str
    prepare: object
    keys: str = ""


@dataclasses.dataclass(frozen=True)
class Case:
    devices: tuple = ()
    options: tuple = ()             # of minivmm; DIR/ is the run's directory, OBJECTS- what objects' names begin with
    objects: dict = None            # shared by --vmshm: pages by name
    vmshm: tuple = ()               # what else that says
    maps: dict = dataclasses.field(default_factory=dict)    # files it has by map=: what makes each, by name
    sockets: bool = False           # somebody is at the other end of its events
    real_kvm: bool = False          # none that interprets the guest: KVM emulates fewer instructions than there are
    cpus: int = 1
    typed: bytes = b""              # on the guest's serial port
    seconds: int = SECONDS
    exit_code: int = 0
    returns: bool = True            # the guest says ok; else the machine ends within the case
    says: tuple = ()                # patterns of the guest's output
    complaints: tuple = ()          # patterns of standard errors, which else must be empty
    on_line: object = lambda run, line: None
    after: object = lambda run: None    # a reason for failure


SECTORS = 128


def no_files(_):
    return ()


def disk(directory):
    """Every byte of a sector is its number."""
    path = directory / "disk"
    path.write_bytes(b"".join(bytes([n]) * 512 for n in range(SECTORS)))
    return (f"--blk-file={path}",)


def qemus_disk(directory):
    disk(directory)
    return ("--blockdev", f"driver=file,node-name=disk,filename={directory / 'disk'}")


def empty_source(directory):
    """A source of entropy that has none until it is fed."""
    os.mkfifo(directory / "source")
    return (f"--source={directory / 'source'}",)


def feed(run, line):
    if line == "# feed":
        with open(run.dir / "source", "wb") as source:
            source.write(b"x" * 64)


def sector(number, byte):
    """The disk's sector must hold this byte."""
    def check(run):
        found = (run.dir / "disk").read_bytes()[number * 512:][:512]
        return None if found == bytes([byte]) * 512 else f"sector {number} of the disk is not {byte:#x}"
    return check


def persistent(directory):
    path = directory / "persistent"
    with open(path, "wb") as file:
        file.truncate(2 << 20)
    return (f"--file={path}",)


FULL = "full"       # the directory of a file system that has no room for what is in it


def without_room(directory):
    path = directory / FULL
    path.mkdir()
    got = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=1M", FULL, path], capture_output=True, check=False)
    if got.returncode:
        raise Skip("no file system can be mounted here")
    atexit.register(subprocess.run, ["umount", "-l", path], check=False, stderr=subprocess.DEVNULL)
    return persistent(path)


def file_without_room(directory):
    without_room(directory)
    return directory / FULL / "persistent"


def make_room(run):
    subprocess.run(["mount", "-o", "remount,size=16M", run.dir / FULL], check=True)


DEADLINE = 10       # seconds minivmm gives a daemon (VU_DEADLINE_MS)


def wait_for_state(pid, state):
    stat = pathlib.Path(f"/proc/{pid}/stat")
    while stat.read_text().rpartition(")")[2].split()[0] != state:
        time.sleep(0.005)


def stop(process, number=signal.SIGSTOP):
    process.send_signal(number)
    wait_for_state(process.pid, "T")


def end(run):
    """Then the daemon may go on, and finds that minivmm has ended."""
    run.process.terminate()
    run.process.wait(10)
    run.daemons[0].send_signal(signal.SIGCONT)


def suspend(run):
    stop(run.process, signal.SIGTSTP)
    run.process.send_signal(signal.SIGCONT)


def kill(run):
    run.daemons[0].kill()
    run.daemons.pop(0).wait(10)


def open_things(pid):
    """What a process has: fds, and lines of its memory map. Not those of a sanitizer, which grow by themselves."""
    maps = pathlib.Path(f"/proc/{pid}/maps").read_text().splitlines()
    named = [line for line in maps if len(line.split()) > 5 and ("memfd:" in line or "/dev/shm/" in line)]
    return len(os.listdir(f"/proc/{pid}/fd")), len(named)


def everybodys_things(run):
    return {process.args[0]: open_things(process.pid) for process in (run.process, *run.daemons)}


def note_things(run):
    run.noted = everybodys_things(run)


def compare_things(run):
    now = everybodys_things(run)
    if now != run.noted:
        raise Failure(f"fds and mappings were {run.noted}, and are {now}")


def supervisor(run):
    """Its process: minivmm has no other child, unless its RAM has a name."""
    return int(pathlib.Path(f"/proc/{run.process.pid}/task/{run.process.pid}/children").read_text())


def stop_supervisor(run):
    os.kill(supervisor(run), signal.SIGSTOP)
    wait_for_state(supervisor(run), "T")


def end_without_supervisor(run):
    """minivmm waits for its end."""
    stopped = supervisor(run)
    run.process.terminate()
    os.kill(stopped, signal.SIGCONT)


FILLER_MAX = 64 << 20   # of a window of 16 GiB: one piece, an object of its own
GROWTH_MAX = 96 << 20   # and what else writing all of it may cost, page tables above all


def cost(run):
    """Bytes of minivmm's memory (its share of what is shared), of its page tables, and of the largest filler."""
    proc = pathlib.Path(f"/proc/{run.process.pid}")
    pss = re.search(r"^Pss: +(\d+) kB$", (proc / "smaps_rollup").read_text(), re.M)
    tables = re.search(r"^VmPTE:\s+(\d+) kB$", (proc / "status").read_text(), re.M)
    fillers = [fd.stat().st_blocks * 512 for fd in (proc / "fd").iterdir() if "minivmm-filler" in os.readlink(fd)]
    return (int(pss[1]) + int(tables[1])) << 10, max(fillers)


def measure(run):
    run.noted, filler = cost(run)
    if filler:
        raise Failure(f"the filler has {filler} bytes, and nobody has written it")


def measure_again(run):
    now, filler = cost(run)
    if filler > FILLER_MAX or now - run.noted > GROWTH_MAX:
        raise Failure(f"the filler has {filler} bytes, all of minivmm {now - run.noted} more than before")


def thaw(run):
    run.daemons[0].send_signal(signal.SIGCONT)


ORDERS = {
    "# freeze": lambda run: stop(run.daemons[0]),
    "# thaw": thaw,
    "# thaw later": lambda run: threading.Timer(0.5, thaw, [run]).start(),
    "# make room later": lambda run: threading.Timer(2.5, make_room, [run]).start(),
    "# suspend": suspend,
    "# sleep": lambda run: time.sleep(DEADLINE + 1),
    "# kill": kill,
    "# end the neighbour": lambda run: run.daemons[1].terminate(),
    "# note what is open": note_things,
    "# compare what is open": compare_things,
    "# measure": measure,
    "# measure again": measure_again,
    "# stop the supervisor": stop_supervisor,
    "# let the supervisor go on": lambda run: os.kill(supervisor(run), signal.SIGCONT),
    "# kill the supervisor": lambda run: os.kill(supervisor(run), signal.SIGKILL),
    "# end without the supervisor": end_without_supervisor,
    "# end": end,
    "# end after the deadline": lambda run: (time.sleep(DEADLINE + 1), end(run)),
}
ANSWERED = ("# freeze", "# suspend", "# sleep", "# note what is open", "# compare what is open", "# measure",
            "# measure again", "# make room later", "# stop the supervisor", "# let the supervisor go on",
            "# kill the supervisor")


def obey(run, line):
    done = False
    for outside in (run.objects, run.sockets):
        obeyed, why_not = outside.obey(line) if outside else (False, None)
        if why_not:
            raise Failure(why_not)
        done = done or obeyed
    if line in ORDERS:
        ORDERS[line](run)
    if done or line in ANSWERED:
        run.process.stdin.write(b".")
        run.process.stdin.flush()


MMIO = ",transport=mmio"
RNG, BLK = Device("rng", no_files), Device("blk", disk)
PCI_RNG = Device("rng", no_files, ",transport=pci")
MMIO_RNG, MMIO_BLK = Device("rng", no_files, MMIO), Device("blk", disk, MMIO)
SHMEM = "generic"       # whose daemon is shmem_daemon
QEMUS_DISK = "block"    # another name of blk: its daemon is qemu-storage-daemon
BY_MMIO = "_by_mmio"
REGIONS = Device(SHMEM, no_files, ",virtio-id=63,num_vqs=1")
PMEM = Device("pmem", persistent)
PMEM_WITHOUT_ROOM = Device("pmem", without_room)
QEMUS = Device(QEMUS_DISK, qemus_disk)
# Four regions are more than PCI's configuration space has room for.
MORE_REGIONS = dataclasses.replace(REGIONS, prepare=lambda _: ("--many",))

NO_ROOM = r"^minivmm: warning: device pmem2: the file system of what is mapped has no room"
REFUSED = r"^minivmm: warning: generic0 .*: refused a request of the daemon: "

NO_MORE_OPENS = r"^minivmm: device vmshm0: .*: nothing can be opened any more"


def lines_at_most(most):
    """The log is no longer, and has no byte that a terminal may obey."""
    def check(run):
        lines = run.complaints.splitlines()
        return None if len(lines) <= most and run.complaints.isascii() else f"{len(lines)} lines in the log"
    return check


def doorbells_made_no_exits(run):
    """The guest rang 20,000 times."""
    exits = json.loads((run.dir / "report").read_text())["userspace_exits"]["mmio"]
    return None if exits < 100 else f"{exits} exits to minivmm"


TRACED = ("--vu-trace", "DIR/trace")


def ladder(run):
    """What minivmm makes of the trace."""
    got = subprocess.run([run.minivmm, "vu-trace", run.dir / "trace"], capture_output=True, text=True, check=False)
    if got.returncode or got.stderr:
        raise Failure(f"vu-trace cannot read the trace: {got.stderr}")
    return got.stdout


def traced(*patterns):
    def check(run):
        text = ladder(run)
        missing = [p for p in patterns if not re.search(p, text, re.M)]
        return f"the ladder does not show {missing}" if missing else None
    return check


def fault(rule, complaint=None):
    """Happens to a message of rng0, which the trace tells; and what minivmm says of it."""
    message = rule.split(",")[0]
    return {"options": (*TRACED, "--vu-fault", f"rng0:{rule}"),
            "complaints": (f"^minivmm: device rng0 .*{complaint}",) if complaint else (),
            "after": traced(f"rng0 .* {message} .* fault=", r"blk1 .* SET_VRING_KICK ", r" \* end messages=\d+ dropped=0 events_dropped=0$")}


SUITES = {
    "pci": Case(devices=(RNG, BLK)),
    "virtio": Case(devices=(RNG, BLK)),
    "virtio_mmio": Case(devices=(MMIO_BLK, MMIO_RNG)),
    "mmio_interrupts": Case(devices=(MMIO_BLK, MMIO_RNG)),
    "mmio_reset": Case(devices=(RNG,), options=("--transport", "mmio"), cpus=2, on_line=obey),
    "requests": Case(devices=(RNG, BLK)),
    "faults": Case(devices=(RNG, BLK), options=TRACED),
    "msix": Case(devices=(PCI_RNG,), options=("--transport", "mmio")),
    "smp": Case(devices=(RNG,), cpus=4),
    "vmshm_keys": Case(objects={"big": 300}, on_line=obey),
    "shmem": Case(devices=(REGIONS,), cpus=2, on_line=obey),
    "shmem_refusals": Case(devices=(REGIONS,), cpus=2, complaints=(REFUSED,)),
    "shmem_rings": Case(devices=(REGIONS, BLK, PMEM, RNG)),
    "shmem_hostile": Case(devices=(REGIONS, BLK, PMEM, RNG), cpus=4, on_line=obey),
    "shmem_swaps": Case(devices=(REGIONS,), cpus=4, on_line=obey, seconds=200),
    "vmshm_events": Case(objects={"a": 8, "b": 8}, sockets=True, on_line=obey,
                         vmshm=("vectors=4", "events=DIR/events")),
    "vmshm_hostile": Case(objects={"a": 8, "b": 8}, cpus=2, on_line=obey),
    "vmshm": Case(objects={"a": 8, "b": 8, "big": 300}, cpus=2, on_line=obey),
}


def ends(code=0, **more):
    return {"returns": False, "exit_code": code, **more}


# KVM on AMD processors has reset the vCPU by then.
LOST = "|KVM has reset it, as on AMD"
REGISTERS = (r"^minivmm: .*triple fault on vCPU 0$", r"^cr0 ", r"^rip 0*1[0-9a-f]{5} " + LOST,
             r"^cs 0010 .* 64$" + LOST, r"^rax 1122334455667788 " + LOST, r" r15 99aabbccddeeff00$" + LOST)
IGNORED = (r"^minivmm: warning: device rng\d: the driver .*: ignored$",)
BAD_QUEUE = (r"^minivmm: warning: device rng\d: the driver enabled a queue .* until it is reset$",)
MISSHAPEN = (r"^minivmm: warning: device \w+: the driver accessed \d bytes of the register at \w+: ignored$",)
BROKEN_RING = (r"^minivmm: warning: rng\d .*: the daemon reports an error on a ring",)
LATE = (r"^minivmm: device rng0 .*: the daemon did not answer \w+ within ",
        r"^minivmm: warning: device rng0: its reset waits for the end")
IN_A_WINDOW = r"^minivmm-backend: warning: {}: queue 0 stands still: a buffer at 0x\w+\+0x\w+ is outside guest memory$"
BLOCKED = (r"^minivmm: the vCPU thread's filter blocked system call getppid ",)
BROKEN = (*BROKEN_RING,
          r"^minivmm-backend: warning: rng: queue 0 stands still: a buffer at 0xfee00000\+0x10 is outside guest memory$")

CASES = {
    "pio": {
        "serial_takes_a_string": {"says": (r"^# one rep outsb$",)},
        "serial_gives_what_was_typed": {"typed": b"hello"},
        "exit_code": ends(21 << 1 | 1),
        "exit_code_of_a_dword": ends(21 << 1 | 1),
        "power_off": ends(),
        "power_off_by_a_word": ends(),
        "triple_fault": ends(CRASH, complaints=REGISTERS),
        "reset_by_keyboard": ends(options=("--on-reset", "exit")),
        "reset_by_control": ends(options=("--on-reset", "exit")),
    },
    "vmshm_keys": {
        "two_devices_open_what_each_may": {
            "options": ("--vmshm", "pci-id=1af5:0001"),
            "complaints": (r"^minivmm: warning: --vmshm: no object is allowed to vmshm0, every open will fail: add allow=/",)},
        "objects_of_others_than_the_owner_look_absent": {
            "vmshm": (f"owner={os.getuid() + 1}",),
            "complaints": (r"^minivmm: warning: device vmshm0: .* is allowed, but not opened: ",)},
        "a_window_of_64_gib_is_above_ram_and_works": {"vmshm": ("window=64G",)},
        "with_prealloc_an_object_is_whole_when_it_is_open": {"vmshm": ("window=64M", "prealloc=on")},
        "without_prealloc_pages_come_when_they_are_written": {"vmshm": ("window=64M",)},
        **{f"it_works_on_a_machine_with_{machine}": {"options": ("--machine", machine),
                                                     "vmshm": ("window=64M", "vectors=2")}
           for machine in ("acpi", "mptable", "fdt")},
    },
    "pci": {
        "no_ecam_without_acpi": {"options": ("--machine", "mptable")},
        "of_two_bars_at_one_place_the_first_stays": {"complaints": (r"BAR 0 at 0xc0000000, which is taken",)},
    },
    "virtio": {
        "features_that_were_not_offered_are_refused": {"complaints": IGNORED},
        "version_1_is_not_optional": {"complaints": IGNORED},
        "driver_ok_needs_features_ok": {"complaints": IGNORED},
        "a_status_bit_is_not_cleared": {"complaints": IGNORED},
        "a_bad_queue_is_refused": {"complaints": BAD_QUEUE},
        "every_width_is_written_everywhere": {"complaints": (r"",)},
        "every_width_is_written_everywhere_of_a_running_disk": {"complaints": (r"",)},
    },
    "virtio_mmio": {
        "features_that_were_not_offered_are_refused": {"complaints": IGNORED},
        "a_bad_queue_is_refused": {"complaints": BAD_QUEUE},
        "only_aligned_words_are_registers": {"complaints": MISSHAPEN},
        "every_width_is_read_at_every_offset": {"complaints": MISSHAPEN},
        "every_width_is_read_at_every_offset_of_a_running_disk": {"complaints": MISSHAPEN},
        "every_width_is_written_everywhere": {"complaints": (r"",)},
        "every_width_is_written_everywhere_of_a_running_disk": {"complaints": (r"",)},
    },
    "mmio_interrupts": {
        "thirty_two_devices_share_eight_pins": {"devices": (MMIO_RNG,) * 32},
        "a_broken_ring_is_told_by_a_config_interrupt": {"complaints": BROKEN},
        "a_reset_forgets_what_was_not_acknowledged": {"complaints": BROKEN_RING},
        "a_reset_takes_back_requests_that_wait": {"devices": (MMIO_BLK, Device("rng", empty_source, MMIO)),
                                                  "on_line": feed},
    },
    "mmio_reset": {
        "minivmm_is_ended_meanwhile": ends(143),
        "the_daemon_is_killed_meanwhile": {"complaints": (r"^minivmm: device rng0 .*: connection closed while the device was stopping",)},
        "the_exit_outlasts_the_deadline": {"complaints": LATE},
        "a_reset_that_waits_for_ever_can_be_ended": ends(143, complaints=LATE),
        "drivers_disagree": {"cpus": 4, "complaints": (r"",)},
        "the_machine_is_reset_while_drivers_disagree": {"cpus": 4, "complaints": (r"",)},
    },
    "requests": {
        "the_disk_is_read_and_written": {"after": sector(5, 0xc3)},
        "the_disk_ends_where_it_ends": {"after": sector(0, 0)},
        "a_reset_takes_back_requests_that_wait": {"devices": (Device("rng", empty_source),), "on_line": feed},
        "a_write_that_was_answered_outlives_a_machine_reset": {"after": sector(12, 0xa2)},
        "a_broken_ring_needs_a_reset": {"complaints": BROKEN},
    },
    "faults": {
        "messages_that_are_late_are_waited_for": fault("SET_VRING_KICK,answer,delay=50,times=2"),
        "a_request_that_was_changed_is_refused": fault("SET_VRING_NUM,corrupt=num:3", "refused SET_VRING_NUM "),
        "a_request_with_descriptors_is_refused": fault("SET_VRING_BASE,extra-fds=4", "SET_VRING_BASE"),
        "a_request_that_comes_twice_is_answered_once_too_often":
            fault("SET_VRING_ADDR,duplicate", "carries the id of request 9"),
        "an_answer_that_was_changed_is_none":
            fault("SET_VRING_BASE,answer,corrupt=flags:1", "SET_VRING_BASE has flags 0x1 instead of 0x5"),
        "a_connection_that_was_closed_is_lost": fault("SET_VRING_ADDR,close", "connection closed"),
    },
    "msix": {
        "a_pending_bit_is_set_and_cleared": {"complaints": BROKEN_RING},
        "a_device_that_needs_a_reset_says_so_by_its_config_vector": {"complaints": BROKEN_RING},
        "a_config_change_raises_the_line_too": {"complaints": BROKEN_RING},
    },
    "smp": {
        "a_device_survives_drivers_that_disagree": {"complaints": (r"",)},
        "another_processor_powers_off": ends(),
        "another_processor_crashes": ends(CRASH, complaints=(r"^minivmm: .*triple fault on vCPU 2$",
                                                            r"^rax 1122334455667788 " + LOST)),
    },
    "shmem": {
        "a_reset_of_the_device_takes_all_away": {"complaints": (REFUSED,)},
        "an_object_is_truncated_beneath_a_processor": {
            "complaints": (r"^minivmm: warning: device generic0: an object was cut short under its mapping", REFUSED)},
        "the_daemon_is_killed_beneath_a_processor": {
            "complaints": (r"^minivmm: device generic0 .*: connection closed",)},
    },
    "shmem_hostile": {
        **{f"processors_start_and_reset_it{when}": {"complaints": (IGNORED[0].replace("rng", "generic"),)}
           for when in ("", "_while_the_daemon_sleeps")},
        "a_bar_is_put_everywhere": {"complaints": (r"^minivmm: warning: pmem2: the guest put BAR 2 at .* taken",)},
        "its_rings_are_in_it": {"complaints": (r"^minivmm: warning: device generic0: .* not in RAM: ",)},
        "a_reset_of_the_machine_ends_a_wait_for_room": {
            "devices": (REGIONS, BLK, PMEM_WITHOUT_ROOM, RNG), "complaints": (NO_ROOM,)},
    },
    "shmem_rings": {
        "the_entropy_source_refuses_it": {"complaints": (IN_A_WINDOW.format("rng"), BROKEN_RING[0])},
        "the_disk_refuses_it": {
            "complaints": (r"^minivmm-backend: warning: blk: refused a request that points to memory which is not shared",
                           r"^minivmm-backend: warning: blk: queue 0 stands still: the status of a request is outside")},
        "a_disk_of_qemus_refuses_it": {
            "devices": (REGIONS, QEMUS), "on_line": obey,
            "complaints": (r"^minivmm: device blk1 .*: connection closed", r"^qemu-storage-daemon: .*[Ii]nvalid address")},
        "persistent_memory_refuses_it": {"complaints": (IN_A_WINDOW.format("pmem"),)},
        "persistent_memory_waits_for_room": {
            "devices": (REGIONS, BLK, PMEM_WITHOUT_ROOM, RNG), "on_line": obey, "complaints": (NO_ROOM,)},
        "the_one_that_mapped_it_refuses_it": {
            "complaints": (IN_A_WINDOW.replace("minivmm-backend", "shmem_daemon").format("shmem"),)},
    },
    "vmshm": {
        "a_large_window_has_all_of_a_larger_object": {"vmshm": ("window=64M",)},
        "an_object_is_truncated_beneath_a_processor": {
            "complaints": (r"^minivmm: warning: device vmshm0: an object was cut short under its mapping",)},
        "a_hundred_thousand_opens_leave_nothing": {"seconds": 200},
    },
    "vmshm_hostile": {
        "what_is_no_object_is_not_opened": {
            "objects": {"a": 8, "b": 8, "empty": 0, **{kind: kind for kind in ("link", "fifo", "socket", "directory")}},
            "complaints": (r"^minivmm: warning: device vmshm0: .* is allowed, but not opened: it is a link, ",)},
        "its_own_memory_has_no_name": {
            "options": ("--mem-backend", "shm,name=/OBJECTS-ram"),
            "complaints": (r"^minivmm: warning: device vmshm0: .* is allowed, but not opened: it is this machine's RAM",)},
        "a_name_of_a_mebibyte_is_read_no_further_than_one_of_1024": {"vmshm": ("name-size=1M",)},
        "a_flood_of_refusals_is_a_line_of_the_log_each": {
            "objects": {"a": 8, "link": "link"}, "after": lines_at_most(2),
            "complaints": (r"^minivmm: warning: device vmshm0: the guest asked for ", r" not opened: it is a link, ")},
        "a_sharer_does_with_an_object_whatever_he_can": {
            "complaints": (r"",), "after": lines_at_most(4)},
        "another_has_what_is_exclusive": {"vmshm": ("exclusive=on",)},
        "a_full_file_system_is_an_error_or_a_wait": {
            "maps": {"full": file_without_room}, "vmshm": ("window=4M",),
            "complaints": (NO_ROOM.replace("pmem2", "vmshm0"), r"the guest cannot open \"full\": .* \(is it full\?\)")},
        "at_no_moment_is_there_a_hole": {"real_kvm": True},
        "bars_are_moved_and_switched_off_while_it_is_opened": {
            "complaints": (r"the guest put BAR \d at .* taken",)},
        "two_processors_do_anything_in_any_order": {
            "vmshm": ("vectors=4", "window=4M", "events=DIR/events"), "sockets": True, "complaints": (r"",),
            "after": lines_at_most(12)},
        "the_window_is_not_given_to_a_device": {
            "devices": (RNG,), "complaints": (IN_A_WINDOW.format("rng"), BROKEN_RING[0])},
        "an_empty_window_costs_what_it_may": {"vmshm": ("window=256M", "window-idle-max=16M")},
        "the_supervisor_is_killed_while_one_waits": {"complaints": (NO_MORE_OPENS,)},
        "the_machine_is_ended_while_one_waits": ends(143),
    },
    "vmshm_events": {
        "a_doorbell_stays_in_the_kernel": {
            "options": ("--boot-report", "DIR/report"), "after": doorbells_made_no_exits},
        "another_vm_rings_comes_and_goes": {
            "vmshm": ("vectors=4", "events-peer=DIR/peer"),
            "complaints": (r"^minivmm: warning: device vmshm0 has lost the other VM: it has ended$",
                           r"^minivmm: warning: device vmshm0 is connected again after .* to the other VM$")},
        "a_reset_of_the_machine_leaves_all_connected": {
            "vmshm": ("vectors=4", "events=DIR/events", "events-peer=DIR/peer")},
        "what_is_no_eventfd_is_refused_and_the_next_vm_is_taken": {
            "vmshm": ("vectors=4", "events-peer=DIR/peer"),
            "complaints": (r"^minivmm: warning: device vmshm0 cannot be connected yet: .* vector 1: Invalid argument$",)},
    },
    "sandbox": {
        "a_forbidden_call_is_killed": ends(SECCOMP, options=("--seccomp", "kill"), complaints=BLOCKED),
        "a_forbidden_call_is_killed_by_default": ends(SECCOMP, complaints=BLOCKED),
        "a_forbidden_call_is_logged": {"options": ("--seccomp", "log")},
        "a_forbidden_call_fails": {"options": ("--seccomp", "errno")},
        "without_a_filter_it_is_allowed": {"options": ("--seccomp", "off")},
    },
}


def by_mmio(case):
    devices = [MORE_REGIONS if device == REGIONS else device for device in case.devices]
    return dataclasses.replace(case, devices=tuple(
        dataclasses.replace(device, keys=device.keys + MMIO) for device in devices))


def case_of(suite, name):
    case = dataclasses.replace(SUITES.get(suite, Case()), **CASES.get(suite, {}).get(name.removesuffix(BY_MMIO), {}))
    return by_mmio(case) if name.endswith(BY_MMIO) else case
