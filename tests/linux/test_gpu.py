# SPDX-License-Identifier: Apache-2.0
"""A graphics card: what a guest shows on its console is in the pictures of minivmm-display."""
import time

import daemons
import guest
import harness
from harness import test
from png import Picture
from session import TRANSPORTS, Session

KERNEL = "tiny-devices"
NEEDS = [*guest.needs_of(KERNEL), "gpu:"]
SIZE = (320, 240)
SECONDS = 100
# what a virtual terminal makes of the colours of an escape sequence
RED, BLUE, GREY = (0xaa, 0, 0), (0, 0, 0xaa), (0xaa, 0xaa, 0xaa)


def look(path, is_right):
    """The first picture that is right."""
    deadline, seen, picture = time.monotonic() + SECONDS * harness.SLOW, None, None
    while time.monotonic() < deadline:
        data = path.read_bytes() if path.exists() else None
        if data != seen:
            seen, picture = data, Picture(data)
            if is_right(picture):
                return picture
        time.sleep(0.1)     # until there is another one
    raise AssertionError(f"the last picture has {picture.colours()[:4] if picture else 'nothing'}")


def is_mostly(colour):
    return lambda picture: picture.colours()[0][0] == colour


def fill(shell, colour):
    shell.does(rf"printf '\033[4{colour}m\033[2J\033[H' >/dev/tty1")


def session(t, picture, transport):
    """A guest with a card and a screen, and a shell."""
    path = daemons.start_gpu(t)
    screen = daemons.start_display(t, f"--png={picture}", "--size={}x{}".format(*SIZE))
    t.boots += 1
    return Session(t, f"gpu,socket={path},display={screen},transport={transport}", kernel=KERNEL,
                   verbs="shell poweroff", transport=transport)


@test(tags=["boot", "daemons", "gpu"], needs=NEEDS, timeout=300, cases=TRANSPORTS)
def console(t, transport):
    """Text, and all of it in one colour and then in another; the screen has the size that was told."""
    picture = t.dir / "out.png"
    shell = session(t, picture, transport)
    assert "{}x{}".format(*SIZE) in shell.does("cat /sys/class/drm/card0-Virtual-1/modes")
    fill(shell, 1)
    shown = look(picture, is_mostly(RED))
    assert (shown.width, shown.height) == SIZE
    fill(shell, 4)
    blue = look(picture, is_mostly(BLUE))
    # text is of another colour
    before = dict(blue.colours()).get(GREY, 0)
    shell.does("echo what is seen is what was said >/dev/tty1")
    look(picture, lambda seen: dict(seen.colours()).get(GREY, 0) > before + 100)
    shell.ends()


@test(tags=["boot", "daemons", "gpu", "reconnect"], needs=NEEDS, timeout=400,
      cases={"same_daemon": {"another": False}, "next_daemon": {"another": True}})
def reboot(t, another):
    """The guest draws again, by the same daemon, or by the next one, which gets a connection to the screen of its own."""
    picture = t.dir / "out.png"
    shell = session(t, picture, "pci")
    fill(shell, 1)
    look(picture, is_mostly(RED))
    if another:
        next(process for process in t.processes if process.name == "vhost-user-gpu").kill()
        daemons.start_gpu(t)
        shell.process.expect("device gpu1 is connected again", SECONDS)
    start = len(shell.process.out)
    shell.process.send(b"reboot -f\n")
    shell.process.expect("minivmm:~# ", guest.SECONDS, start)
    fill(shell, 4)
    look(picture, is_mostly(BLUE))
    shell.ends()
