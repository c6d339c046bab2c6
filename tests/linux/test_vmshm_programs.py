# SPDX-License-Identifier: Apache-2.0
"""VMShm as a guest's distribution meets it, by the node that udev makes, and with a server of mailboxes."""
import hashlib
import os
import stat

import guest
from harness import test
from vmshm_guest import TAGS, Machine, allow, cpio, needs

KVM = 109       # number of the group in the guest
# The bus's devices are announced anew to a udev that knows only its rules. The link is not the one that LOAD made
UDEV = """
mkdir -p /run
rm /dev/vshm0
rmmod vmshm
touch /lib/modules/$(uname -r)/modules.builtin.modinfo
ln -s /usr/bin/kmod /depmod
/depmod
ln -s /usr/bin/udevadm /systemd-udevd
/systemd-udevd --daemon
udevadm trigger --action=add --subsystem-match=pci
udevadm settle
[ -d /sys/module/vmshm ]
[ "$(readlink /dev/vshm0)" = vmshm0 ]
echo "node: $(stat -c '%a %g' /dev/vmshm0)"
udevadm control --exit
"""
# Some packets, the last of which is shorter
MAILBOX = """
seq 1 300000 >sent
/mailbox call /box <sent >returned
cmp sent returned
echo "returned: $(sha256sum <returned)"
"""


def add_tree(machine, root):
    """What is below root is in the guest as well, from / on; and a group that its udev looks for."""
    files = {"etc": (stat.S_IFDIR | 0o755, b"")}
    for folder, _, names in os.walk(root):
        inside = os.path.relpath(folder, root)
        if inside != ".":
            files[inside] = (stat.S_IFDIR | 0o755, b"")
        for name in names:
            path = os.path.join(folder, name)
            with open(path, "rb") as file:
                files[os.path.relpath(path, root)] = (os.stat(path).st_mode, file.read())
    files["etc/group"] = (stat.S_IFREG | 0o644, f"root:x:0:\nkvm:x:{KVM}:\n".encode())
    with open(machine.command[machine.command.index("--initrd") + 1], "ab") as initrd:
        initrd.write(cpio(files))


@test(tags=TAGS, needs=lambda _: needs({"kernel": "6.12"}), timeout=200)
def a_mailbox_by_the_node_that_udev_makes(t):
    """udev loads the driver for the device, and its rule gives the node to a group and a second name; through it the
    guest calls a server with gVirtuS's layout on the host."""
    with Machine(t, UDEV + MAILBOX, kernel="6.12", devices=[allow("box")],
                 programs=["guest/examples/mailbox"]) as machine:
        add_tree(machine, t.resource("vmshm:6.12") / "udev")
        server = t.start("server", [t.program("guest/examples/mailbox"), "serve", machine.path("box")])
        said = machine.run()
        assert server.wait(guest.SECONDS) == 0, "the mailbox's server failed"
        assert f"node: 660 {KVM}" in said
        sent = "".join(f"{number}\n" for number in range(1, 300001)).encode()
        assert f"returned: {hashlib.sha256(sent).hexdigest()}" in said
