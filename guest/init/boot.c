/* SPDX-License-Identifier: Apache-2.0 */
#include "boot.h"

#include <linux/netlink.h>

#include "machine.h"
#include "sys.h"
#include "text.h"
#include "verb.h"

#define ROOT_TIMEOUT_MS 60000
#define NEW_ROOT	"/root"

struct mount_point {
	const char *path;
	const char *type;
	bool only_disk;
};

static const struct mount_point mount_points[] = {
	{ "/dev", "devtmpfs", false }, { "/proc", "proc", false }, { "/sys", "sysfs", false },
	{ "/tmp", "tmpfs", true },     { "/run", "tmpfs", true },
};

bool boot_in_initrd(void)
{
	struct statfs fs = { 0 };

	return sys_statfs("/", &fs) == 0 &&
	       (fs.f_type == MACHINE_RAMFS || fs.f_type == MACHINE_TMPFS);
}

int boot_mounts(void)
{
	const struct call c = { "mount", "" };
	bool initrd = boot_in_initrd();

	for (size_t i = 0; i < sizeof(mount_points) / sizeof(*mount_points); i++) {
		const struct mount_point *m = &mount_points[i];
		int err;

		if (m->only_disk && initrd)
			continue;
		if (initrd)
			sys_mkdir(m->path);
		err = sys_mount(m->type, m->path, m->type, 0);
		if (err && err != -EBUSY)
			return verb_fail(&c, "%s: %e", m->path, err);
	}
	return 0;
}

static int load_module(const struct call *c, const char *name)
{
	char path[128];
	int fd;
	long err;

	text_format(path, sizeof(path), "/modules/%s", name);
	fd = sys_open(path, O_RDONLY);
	if (fd < 0)
		return verb_fail(c, "%s: %e", path, fd);
	err = SYS(__NR_finit_module, fd, "", 0);
	sys_close(fd);
	sys_unlink(path);
	/* ENODEV: code for a CPU that this is not */
	if (err && err != -EEXIST && err != -ENODEV)
		return verb_fail(c, "%s: %e", path, (int)err);
	return 0;
}

int boot_modules(void)
{
	const struct call c = { "modules", "" };
	char order[4096], *name, *end;
	int fd = sys_open("/modules/order", O_RDONLY);
	long n;

	if (fd < 0)
		return 0;
	n = sys_read(fd, order, sizeof(order) - 1);
	sys_close(fd);
	if (n < 0)
		return verb_fail(&c, "/modules/order: %e", (int)n);
	order[n] = 0;
	for (name = order; *name; name = end) {
		for (end = name; *end && *end != '\n'; end++)
			;
		if (*end)
			*end++ = 0;
		if (load_module(&c, name))
			return -1;
	}
	return 0;
}

/* devtmpfs has the node before the kernel sends the event, and we listen before we look: nothing is
 * missed */
static int wait_for_device(const struct call *c, const char *path)
{
	struct sockaddr_nl address = { .nl_family = SYS_AF_NETLINK, .nl_groups = 1 };
	uint64_t deadline = sys_now_ms() + ROOT_TIMEOUT_MS, now;
	char event[2048];
	struct pollfd in;
	long err;

	if (sys_exists(path))
		return 0;
	in = (struct pollfd){ .events = POLLIN };
	in.fd = (int)SYS(__NR_socket, SYS_AF_NETLINK, SYS_SOCK_DGRAM | SYS_SOCK_CLOEXEC,
			 NETLINK_KOBJECT_UEVENT);
	err = in.fd < 0 ? in.fd : SYS(__NR_bind, in.fd, &address, sizeof(address));
	if (err)
		return verb_fail(c, "no kernel events to wait for %s by: %e", path, (int)err);
	while (!sys_exists(path)) {
		now = sys_now_ms();
		if (now >= deadline) {
			sys_close(in.fd);
			return verb_fail(c, "%s did not appear in %u seconds", path,
					 ROOT_TIMEOUT_MS / 1000ul);
		}
		if (sys_poll(&in, 1, (long)(deadline - now)) > 0)
			sys_read(in.fd, event, sizeof(event));
	}
	sys_close(in.fd);
	return 0;
}

static int move_root(const struct call *c)
{
	static const char *const kept[] = { "/dev", "/proc", "/sys" };
	char path[64];
	long err;

	for (size_t i = 0; i < sizeof(kept) / sizeof(*kept); i++) {
		text_format(path, sizeof(path), NEW_ROOT "%s", kept[i]);
		err = sys_mount(kept[i], path, NULL, MS_MOVE);
		if (err)
			return verb_fail(c, "moving %s: %e", kept[i], (int)err);
	}
	err = SYS(__NR_chdir, NEW_ROOT);
	if (!err)
		err = sys_mount(".", "/", NULL, MS_MOVE);
	if (!err)
		err = SYS(__NR_chroot, ".");
	if (!err)
		err = SYS(__NR_chdir, "/");
	return err ? verb_fail(c, "moving the root: %e", (int)err) : 0;
}

static int read_cmdline(char *buf, size_t size)
{
	int fd = sys_open("/proc/cmdline", O_RDONLY);
	long n = fd < 0 ? fd : sys_read(fd, buf, size - 1);

	if (fd >= 0)
		sys_close(fd);
	buf[n > 0 ? n : 0] = 0;
	return n < 0 ? (int)n : 0;
}

int boot_root(char **argv, char **envp)
{
	const struct call c = { "root", "" };
	char cmdline[4096], device[64], type[32] = "ext4", init[128] = "/sbin/init", none[2];
	int err = read_cmdline(cmdline, sizeof(cmdline));

	if (err)
		return verb_fail(&c, "/proc/cmdline: %e", err);
	if (!text_option(cmdline, "root", device, sizeof(device)))
		return 0;
	if (strncmp(device, "/dev/", 5))
		return verb_fail(&c, "root=%s: only /dev/NAME is known here", device);
	text_option(cmdline, "rootfstype", type, sizeof(type));
	text_option(cmdline, "init", init, sizeof(init));
	if (wait_for_device(&c, device))
		return -1;

	sys_mkdir(NEW_ROOT);
	err = sys_mount(device, NEW_ROOT, type,
			text_option(cmdline, "rw", none, sizeof(none)) ? 0 : MS_RDONLY);
	if (err)
		return verb_fail(&c, "mounting %s as %s: %e", device, type, err);
	if (move_root(&c))
		return -1;
	argv[0] = init;
	err = sys_execve(init, argv, envp);
	return verb_fail(&c, "exec %s: %e", init, err);
}
