# SPDX-License-Identifier: Apache-2.0
"""What cases of the bare guests need of the outside, and how they are to end. A case that is not named
here is as its suite says: the guest returns from it, minivmm exits 0 and has nothing to say."""
import dataclasses

CRASH, SECCOMP = 4, 5


@dataclasses.dataclass(frozen=True)
class Device:
    """A daemon of our own. prepare(directory) makes its files and gives its options."""
    type: str
    prepare: object
    keys: str = ""


@dataclasses.dataclass(frozen=True)
class Case:
    devices: tuple = ()
    options: tuple = ()             # of minivmm
    cpus: int = 1
    typed: bytes = b""              # on the guest's serial port
    exit_code: int = 0
    returns: bool = True            # the guest says ok; else the machine ends within the case
    says: tuple = ()                # patterns of the guest's output
    complaints: tuple = ()          # patterns of standard error, which else must be empty
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


RNG, BLK = Device("rng", no_files), Device("blk", disk)

SUITES = {
    "pci": Case(devices=(RNG, BLK)),
}


def ends(code=0, **more):
    return {"returns": False, "exit_code": code, **more}


REGISTERS = (r"^minivmm: .*triple fault on vCPU 0", r"^rip 0*1[0-9a-f]{5} ", r"^rax 1122334455667788 ",
             r" r15 99aabbccddeeff00$", r"^cr0 .* cr3 0*9000 ", r"^cs 0010 .* 64$")

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
    "pci": {
        "no_ecam_without_acpi": {"options": ("--machine", "mptable")},
        "of_two_bars_at_one_place_the_first_stays": {"complaints": (r"BAR 0 at 0xc0000000, which is taken",)},
    },
}


def case_of(suite, name):
    return dataclasses.replace(SUITES.get(suite, Case()), **CASES.get(suite, {}).get(name, {}))
