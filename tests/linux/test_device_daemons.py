# SPDX-License-Identifier: Apache-2.0
"""Devices whose drivers are in the kernel tiny-devices alone, by other people's daemons, on both transports."""
import hashlib
import pathlib
import re
import socket

import daemons
import guest
import harness
import uinput
from harness import test
from session import TRANSPORTS, Session

KERNEL = "tiny-devices"
TAGS = ["boot", "daemons"]
MIB = 1 << 20
PLAYED = 32000          # bytes, of what /dev/dsp has unless told: 8,000 a second
FIVE = "/data/deep/er/five-mib"     # of the guest's root


def needs(crate):
    return [*guest.needs_of(KERNEL), f"crate:{crate}"]


def session(t, device, path, transport, **arguments):
    t.boots += 1
    return Session(t, f"{device},socket={path},transport={transport}", kernel=KERNEL, verbs="shell poweroff",
                   transport=transport, **arguments)


@test(tags=[*TAGS, "console"], needs=needs("vhost-device-console"), timeout=150, cases=TRANSPORTS)
def console(t, transport):
    """Towards the guest a byte at a time: for several at once this daemon returns one buffer several times."""
    with socket.create_server(("127.0.0.1", 0)) as probe:
        port = probe.getsockname()[1]
    path = t.dir / "console.sock0"
    daemons.start(t, "vhost-device-console", "-s", t.dir / "console.sock", "-b", "network", "-p", str(port), socket=path)
    shell = session(t, "console", path, transport)
    shell.does("grep org.test.foo /sys/class/virtio-ports/vport*/name")
    # opened first: what stty says holds until nobody has it open
    shell.does("exec 5<>/dev/hvc0; stty -F /dev/hvc0 -echo raw")
    with socket.create_connection(("127.0.0.1", port), 60 * harness.SLOW) as terminal:
        # nothing goes to a guest that has not written yet
        shell.does("echo said by the guest >&5")
        got = b""
        while b"guest\n" not in got:
            piece = terminal.recv(64)
            assert piece, f"the daemon hung up after {got!r}"
            got += piece
        assert got == b"said by the guest\n"
        for letter in b"words":
            shell.types("dd bs=1 count=1 <&5 2>/dev/null | sed 's/^/it says /'")
            terminal.sendall(bytes([letter]))
            assert f"it says {letter:c}" in shell.done()
    shell.ends()


def i2c_stub():
    """Where it is: the number of its bus."""
    daemons.load_module("i2c_stub", "chip_addr=0x50")
    daemons.load_module("i2c_dev")
    for name in pathlib.Path("/sys/bus/i2c/devices").glob("i2c-*/name"):
        if name.read_text(encoding="ascii").strip() == "SMBus stub driver":
            return name.parent.name.removeprefix("i2c-")
    raise AssertionError("the module i2c_stub made no bus")


@test(tags=[*TAGS, "i2c"], needs=needs("vhost-device-i2c"), timeout=150, cases=TRANSPORTS)
def i2c(t, transport):
    """Registers of a chip: what the guest writes is there for the host, and the reverse."""
    bus, path = i2c_stub(), t.dir / "i2c.sock0"
    daemons.start(t, "vhost-device-i2c", "-s", t.dir / "i2c.sock", "-l", "SMBus stub driver:80", socket=path)
    shell = session(t, "i2c", path, transport)
    shell.does("i2cset -y 0 0x50 0x10 0xa5 b && i2cset -y 0 0x50 0x20 0xbeef w")
    for command, value in (("i2cget -y {} 0x50 0x10 b", "0xa5"), ("i2cget -y {} 0x50 0x20 w", "0xbeef")):
        assert value in shell.does(command.format(0))
        assert value in t.run(["busybox", *command.format(bus).split()]).out
    assert t.run(["busybox", "i2cset", "-y", bus, "0x50", "0x11", "0x5a", "b"]).code == 0
    assert "0x5a" in shell.does("i2cget -y 0 0x50 0x11 b")
    # a chip that is not there is refused, and the next request is answered
    shell.does("! i2cget -y 0 0x51 0x10 b && i2cget -y 0 0x50 0x10 b")
    shell.ends()


@test(tags=[*TAGS, "input"], needs=needs("vhost-device-input"), timeout=150, cases=TRANSPORTS)
def input_device(t, transport):
    """Keys of a keyboard of the host."""
    daemons.load_module("uinput")
    daemons.load_module("evdev")
    path = t.dir / "input.sock0"
    with uinput.Keyboard("minivmm keys") as keyboard:
        daemons.start(t, "vhost-device-input", "-s", t.dir / "input.sock", "-e", keyboard.node, socket=path)
        shell = session(t, "input", path, transport)
        assert "minivmm keys" in shell.does("cat /sys/class/input/event0/device/name")
        shell.does("exec 5</dev/input/event0")
        keys = [*uinput.press(uinput.KEY_A), *uinput.press(uinput.KEY_B)]
        keyboard.send(keys)
        got = shell.reads(f"dd bs={uinput.EVENT.size} count={len(keys)} <&5 2>/dev/null")
        assert uinput.events(got) == keys
        shell.ends()


@test(tags=[*TAGS, "scmi"], needs=needs("vhost-device-scmi"), timeout=150, cases=TRANSPORTS)
def scmi(t, transport):
    """An accelerometer that moves at each reading, and from axis to axis by 100; the guest finds it by the device tree."""
    path = t.dir / "scmi.sock"
    daemons.start(t, "vhost-device-scmi", "-s", path, "-d", "fake,name=board", socket=path)
    shell = session(t, "scmi", path, transport, machine="fdt")
    shell.does("cd /sys/bus/iio/devices/iio:device0 && grep board name")
    for reading, axis in enumerate("xyzx"):
        assert f"is {reading + 100 * 'xyz'.index(axis)} " in shell.does(f'echo "is $(cat in_accel_{axis}_raw) "')
    shell.ends()


@test(tags=[*TAGS, "scsi"], needs=needs("vhost-device-scsi"), timeout=150, cases=TRANSPORTS)
def scsi(t, transport):
    """Two disks: a file system is read from the one, the other is written."""
    disk, other, path = guest.make_disk(t, "lun0"), t.dir / "lun1", t.dir / "scsi.sock"
    other.write_bytes(bytes(8 * MIB))
    daemons.start(t, "vhost-device-scsi", "-s", path, disk, other, socket=path)
    shell = session(t, "scsi", path, transport)
    shell.does("mount -t ext4 -o ro,noload /dev/sda /mnt && cd /mnt/data && sha256sum -c manifest >/dev/null && cd / && umount /mnt")
    shell.does(f"dd if={FIVE} of=/dev/sdb bs=64k seek=16 conv=fsync 2>/dev/null")
    five = guest.file_of(disk, FIVE)
    want = bytes(MIB) + five + bytes(7 * MIB - len(five))
    assert other.read_bytes() == want, "the disk has not what was written"
    shell.does("echo 3 >/proc/sys/vm/drop_caches")
    assert hashlib.sha256(want).hexdigest() in shell.does("sha256sum /dev/sdb")
    shell.ends()


@test(tags=[*TAGS, "snd"], needs=needs("vhost-device-sound"), timeout=150, cases=TRANSPORTS)
def sound(t, transport):
    """What is played goes to the null backend, which tells of each piece that it gets, and has nothing to record."""
    path = t.dir / "snd.sock"
    daemon = daemons.start(t, "vhost-device-sound", "--socket", path, "--backend", "null", socket=path,
                           env={"RUST_LOG": "vhost_device_sound=trace"})
    # the driver gives up a request after a second, which a loaded machine may take
    shell = session(t, "snd", path, transport, words="virtio_snd.msg_timeout_ms=60000 ")
    shell.does("grep VirtIO /proc/asound/cards")
    assert "NullBackend write" not in daemon.text
    shell.does(f"head -c {PLAYED} {FIVE} >/dev/dsp")
    at, played = 0, 0
    while played < PLAYED:
        at = daemon.expect("dropping Output request", 60, at)
        end = daemon.expect("direction", 60, at)
        played += int(re.search(rb"len: (\d+),", daemon.out[at:end])[1])
    shell.ends()
