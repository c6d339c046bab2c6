/* SPDX-License-Identifier: Apache-2.0 */
/* Verbs that look at the machine, use it, and end it. */
#include "machine.h"

#include "sys.h"
#include "text.h"
#include "verb.h"

#define PORT_EXIT	0xf4  /* minivmm's debug exit: the value becomes its exit status */
#define PORT_SLEEP	0x600 /* minivmm's ACPI sleep control register */
#define SLEEP_S5	0x34  /* SLP_EN and type 5 */
#define LINE_TIMEOUT_MS 60000

/* The first init of a boot comes before any mount: it makes the node itself, where the initrd lies
 */
static int open_port_device(void)
{
	int fd = sys_open("/dev/port", O_RDWR);

	if (fd != -ENOENT)
		return fd;
	SYS(__NR_mknodat, AT_FDCWD, "/dev/port", 0020600 /* character device */, 1 << 8 | 4);
	return sys_open("/dev/port", O_RDWR);
}

/*
 * A processor can fault here though ioperm said yes: KVM inside QEMU's emulation loses what the
 * TSS's permission map needs. So a child does it, whose death is not the machine's. The value comes
 * back as its exit code.
 */
static int port_in_child(unsigned port, bool write, uint8_t value)
{
	int pid, status = 0;

	if (sys_ioperm(port, 1))
		return -EPERM;
	pid = sys_fork();
	if (pid < 0)
		return pid;
	if (!pid) {
		if (write)
			outb((uint16_t)port, value);
		sys_exit(write ? 0 : inb((uint16_t)port));
	}
	while (sys_wait(pid, &status) == -EINTR)
		;
	return status & 0x7f ? -EFAULT : status >> 8 & 0xff;
}

int machine_out(unsigned port, unsigned value)
{
	uint8_t byte = (uint8_t)value;
	int fd = open_port_device();
	long n;

	if (fd < 0)
		return port_in_child(port, true, byte);
	n = SYS(__NR_pwrite64, fd, &byte, 1, port);
	sys_close(fd);
	return n < 0 ? (int)n : 0;
}

int machine_in(unsigned port, uint8_t *ret_value)
{
	int fd = open_port_device();
	long n;

	if (fd >= 0) {
		n = SYS(__NR_pread64, fd, ret_value, 1, port);
		sys_close(fd);
		return n < 0 ? (int)n : 0;
	}
	n = port_in_child(port, false, 0);
	if (n < 0)
		return (int)n;
	*ret_value = (uint8_t)n;
	return 0;
}

static bool root_is_disk(void)
{
	struct statfs fs = { 0 };

	return sys_statfs("/", &fs) == 0 && fs.f_type != MACHINE_RAMFS &&
	       fs.f_type != MACHINE_TMPFS;
}

/* Everything that could still write is ended, then the file systems are made clean. What was said
 * has left the machine by then: its end does not wait for the serial port. */
static void quiesce(void)
{
	int status;

	if (sys_getpid() == 1) {
		SYS(__NR_kill, -1, SIGKILL);
		while (sys_wait(-1, &status) > 0)
			;
	}
	SYS(__NR_sync);
	if (root_is_disk()) {
		int err = sys_mount("", "/", "", MS_REMOUNT | MS_RDONLY);

		if (err)
			text_say("the root file system stays writable: %e", err);
	}
	SYS(__NR_ioctl, 1, TCSBRK, 1 /* only wait until all is sent */);
}

static int power_off(const struct call *c)
{
	int err;

	quiesce();
	if (!sys_exists("/sys/firmware/acpi")) {
		/* without ACPI the kernel knows no way */
		err = machine_out(PORT_SLEEP, SLEEP_S5);
		if (err)
			verb_fail(c, "port 0x600: %e", err);
	}
	err = sys_reboot(LINUX_REBOOT_CMD_POWER_OFF);
	return verb_fail(c, "the machine goes on: %e", err);
}

static int reboot(const struct call *c)
{
	quiesce();
	return verb_fail(c, "the machine goes on: %e", sys_reboot(LINUX_REBOOT_CMD_RESTART));
}

static int halt(const struct call *c)
{
	quiesce();
	return verb_fail(c, "the machine goes on: %e", sys_reboot(LINUX_REBOOT_CMD_HALT));
}

static int reboot_once(const struct call *c)
{
	const char *marker = *c->value ? c->value : "/data/rebooted";
	int fd;

	if (sys_exists(marker)) {
		verb_say(c, "was done");
		return 0;
	}
	fd = sys_open(marker, O_WRONLY | O_CREAT);
	if (fd < 0)
		return verb_fail(c, "%s: %e", marker, fd);
	SYS(__NR_fsync, fd);
	sys_close(fd);
	return reboot(c);
}

static int debug_exit(const struct call *c)
{
	const char *p = c->value;
	uint64_t code;
	int err;

	if (!text_number(&p, &code) || *p || code > 255)
		return verb_fail(c, "'%s' is not a number up to 255", c->value);
	quiesce();
	err = machine_out(PORT_EXIT, (unsigned)code);
	return err ? verb_fail(c, "port 0xf4: %e", err) : verb_fail(c, "the machine goes on");
}

void machine_end(unsigned code)
{
	const struct call c = { "poweroff", "" };

	if (code) {
		quiesce();
		machine_out(PORT_EXIT, code);
	}
	power_off(&c);
	for (;;)
		sys_poll(NULL, 0, -1);
}

/* The end of PID 1 is a panic */
static int crash(const struct call *c)
{
	(void)c;
	sys_exit(1);
}

static int sleep_forever(const struct call *c)
{
	verb_say(c, "begins");
	return verb_fail(c, "woken: %e", sys_poll(NULL, 0, -1));
}

static int sleep_ms(const struct call *c)
{
	const char *p = c->value;
	uint64_t ms, start = sys_now_ms(), took;

	if (!text_number(&p, &ms) || *p)
		return verb_fail(c, "'%s' is not a number of milliseconds", c->value);
	sys_poll(NULL, 0, (long)ms);
	took = sys_now_ms() - start;
	if (took < ms)
		return verb_fail(c, "%u ms lasted %u", ms, took);
	verb_say(c, "%u ms", took);
	return 0;
}

/* Goes to each CPU in turn, so that one that is listed but does not run is found */
static int cpus(const struct call *c)
{
	uint64_t have[16] = { 0 }, one[16];
	char list[TEXT_MAX - 100], *p = list;
	long bytes = SYS(__NR_sched_getaffinity, 0, sizeof(have), have);
	unsigned long n = 0;

	if (bytes < 0)
		return verb_fail(c, "sched_getaffinity: %e", (int)bytes);
	list[0] = 0;
	for (unsigned cpu = 0; cpu < sizeof(have) * 8; cpu++) {
		unsigned at = ~0u;
		long err;

		if (!(have[cpu / 64] >> cpu % 64 & 1))
			continue;
		memset(one, 0, sizeof(one));
		one[cpu / 64] = 1ull << cpu % 64;
		err = SYS(__NR_sched_setaffinity, 0, sizeof(one), one);
		if (!err)
			err = SYS(__NR_getcpu, &at, 0, 0);
		if (err || at != cpu)
			return verb_fail(c, "CPU %u does not run this", (unsigned long)cpu);
		p += text_format(p, (size_t)(list + sizeof(list) - p), " %u", (unsigned long)cpu);
		n++;
	}
	SYS(__NR_sched_setaffinity, 0, sizeof(have), have);
	verb_say(c, "%u online:%s", n, list);
	return 0;
}

static int rng(const struct call *c)
{
	uint8_t bytes[32];
	char hex[65];
	int fd = sys_open("/dev/hwrng", O_RDONLY);
	size_t got = 0;
	long n = fd;

	if (fd < 0)
		return verb_fail(c, "/dev/hwrng: %e", fd);
	while (got < sizeof(bytes) && (n = sys_read(fd, bytes + got, sizeof(bytes) - got)) > 0)
		got += (size_t)n;
	sys_close(fd);
	if (got < sizeof(bytes))
		return verb_fail(c, "/dev/hwrng gave %u bytes: %e", got, (int)n);
	text_hex(hex, bytes, sizeof(bytes));
	verb_say(c, "%s", hex);
	return 0;
}

/* The first line of a small file */
static int first_line(const char *path, char *buf, size_t size)
{
	int fd = sys_open(path, O_RDONLY);
	long n = fd < 0 ? fd : sys_read(fd, buf, size - 1);

	if (fd >= 0)
		sys_close(fd);
	if (n < 0)
		return (int)n;
	buf[n] = 0;
	for (char *p = buf; *p; p++) {
		if (*p == '\n')
			*p = 0;
	}
	return 0;
}

static int mem(const struct call *c)
{
	char line[128];
	int err = first_line("/proc/meminfo", line, sizeof(line));

	if (err)
		return verb_fail(c, "/proc/meminfo: %e", err);
	verb_say(c, "%s", line);
	return 0;
}

/* Touches that much memory, a word a page, and reads it back */
static int fill(const struct call *c)
{
	const char *p = c->value;
	uint64_t size;
	long at;

	if (!text_number(&p, &size) || *p || !size)
		return verb_fail(c, "'%s' is not a size", c->value);
	at = SYS(__NR_mmap, 0, size, PROT_READ | PROT_WRITE,
		 MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
	if (at < 0 && at > -4096)
		return verb_fail(c, "no address space for %u bytes: %e", size, (int)at);
	for (uint64_t i = 0; i < size; i += 4096)
		*(volatile uint64_t *)(at + (long)i) = i ^ 0x5555aaaa5555aaaa;
	for (uint64_t i = 0; i < size; i += 4096) {
		if (*(volatile uint64_t *)(at + (long)i) != (i ^ 0x5555aaaa5555aaaa))
			return verb_fail(c, "the page at %u holds something else", i);
	}
	SYS(__NR_munmap, at, size);
	verb_say(c, "%u bytes", size);
	return 0;
}

/* ADDRESS,SIZE[,STEP]: what no driver would do, past all of them */
static int wipe(const struct call *c)
{
	const char *p = c->value;
	uint64_t from, size, step = 8;
	long at;
	int fd;

	if (!text_number(&p, &from) || *p++ != ',' || !text_number(&p, &size) ||
	    (*p == ',' && (p++, !text_number(&p, &step) || !step || step % 8)) || *p ||
	    from % 4096 || size % 4096 || !size)
		return verb_fail(c, "'%s' is not ADDRESS,SIZE[,STEP] of pages", c->value);
	fd = sys_open("/dev/mem", O_RDWR);
	if (fd < 0)
		return verb_fail(c, "/dev/mem: %e", fd);
	at = SYS(__NR_mmap, 0, size, PROT_READ | PROT_WRITE, MAP_SHARED, fd, from);
	sys_close(fd);
	if (at < 0 && at > -4096)
		return verb_fail(c, "%u bytes at 0x%x: %e", size, from, (int)at);
	for (uint64_t i = 0; i < size; i += step)
		*(volatile uint64_t *)(at + (long)i) = 0;
	SYS(__NR_munmap, at, size);
	verb_say(c, "%u bytes at 0x%x", size, from);
	return 0;
}

/* One PCI function: address, vendor:device, class, driver */
static void pci_device(const struct call *c, const char *name)
{
	char path[128], vendor[16] = "", device[16] = "", class[16] = "", driver[128] = "";
	const char *base = "none";
	long n;

	text_format(path, sizeof(path), "/sys/bus/pci/devices/%s/vendor", name);
	first_line(path, vendor, sizeof(vendor));
	text_format(path, sizeof(path), "/sys/bus/pci/devices/%s/device", name);
	first_line(path, device, sizeof(device));
	text_format(path, sizeof(path), "/sys/bus/pci/devices/%s/class", name);
	first_line(path, class, sizeof(class));
	text_format(path, sizeof(path), "/sys/bus/pci/devices/%s/driver", name);
	n = SYS(__NR_readlinkat, AT_FDCWD, path, driver, sizeof(driver) - 1);
	for (long i = 0; i < n; i++) {
		if (driver[i] == '/')
			base = driver + i + 1;
	}
	verb_say(c, "%s %s:%s class %s driver %s", name, vendor, device, class, base);
}

static int pci(const struct call *c)
{
	_Alignas(8) char buf[2048];
	int fd = sys_open("/sys/bus/pci/devices", O_RDONLY | O_DIRECTORY);
	long n;

	if (fd < 0)
		return verb_fail(c, "/sys/bus/pci/devices: %e", fd);
	while ((n = SYS(__NR_getdents64, fd, buf, sizeof(buf))) > 0) {
		for (char *p = buf; p < buf + n; p += ((struct sys_dirent *)p)->size) {
			const struct sys_dirent *d = (struct sys_dirent *)p;

			if (d->name[0] != '.')
				pci_device(c, d->name);
		}
	}
	sys_close(fd);
	return 0;
}

static int interrupts(const struct call *c)
{
	return verb_cat(c, "/proc/interrupts");
}

static int cmdline(const struct call *c)
{
	return verb_cat(c, "/proc/cmdline");
}

static int cat(const struct call *c)
{
	return verb_cat(c, c->value);
}

static int echo(const struct call *c)
{
	verb_say(c, "%s", c->value);
	return 0;
}

static int read_line(const struct call *c)
{
	struct pollfd in = { .fd = 0, .events = POLLIN };
	char line[256];
	size_t len = 0;
	long n;

	verb_say(c, "type a line");
	do {
		if (sys_poll(&in, 1, LINE_TIMEOUT_MS) <= 0)
			return verb_fail(c, "nothing came for a minute");
		n = sys_read(0, line + len, sizeof(line) - 1 - len);
		if (n <= 0)
			return verb_fail(c, "the console ended: %e", (int)n);
		len += (size_t)n;
	} while (line[len - 1] != '\n' && len < sizeof(line) - 1);
	line[line[len - 1] == '\n' ? len - 1 : len] = 0;
	verb_say(c, "%s", line);
	return 0;
}

/* PORT,VALUE */
static int port_write(const struct call *c)
{
	const char *p = c->value;
	uint64_t port, value;
	int err;

	if (!text_number(&p, &port) || *p++ != ',' || !text_number(&p, &value) || *p ||
	    port > 0xffff || value > 255)
		return verb_fail(c, "'%s' is not PORT,VALUE", c->value);
	err = machine_out((unsigned)port, (unsigned)value);
	return err ? verb_fail(c, "%e", err) : 0;
}

static int port_read(const struct call *c)
{
	const char *p = c->value;
	uint8_t value = 0;
	uint64_t port;
	int err;

	if (!text_number(&p, &port) || *p || port > 0xffff)
		return verb_fail(c, "'%s' is not a port", c->value);
	err = machine_in((unsigned)port, &value);
	if (err)
		return verb_fail(c, "%e", err);
	verb_say(c, "0x%x", (unsigned long)value);
	return 0;
}

const struct verb machine_verbs[] = {
	{ "cpus", NULL, VERB_PLAIN, cpus, "run on each CPU in turn" },
	{ "mem", NULL, VERB_PLAIN, mem, "how much memory Linux has" },
	{ "fill", "SIZE", VERB_PLAIN, fill, "write and read back that much memory" },
	{ "wipe", "ADDRESS,SIZE[,STEP]", VERB_MACHINE, wipe,
	  "zeros to physical memory, by /dev/mem; STEP: a word every so many bytes" },
	{ "rng", NULL, VERB_PLAIN, rng, "32 bytes of /dev/hwrng" },
	{ "pci", NULL, VERB_PLAIN, pci, "PCI functions and their drivers" },
	{ "interrupts", NULL, VERB_PLAIN, interrupts, "/proc/interrupts" },
	{ "cmdline", NULL, VERB_PLAIN, cmdline, "/proc/cmdline" },
	{ "cat", "FILE", VERB_PLAIN, cat, "a file on the console" },
	{ "echo", "TEXT", VERB_PLAIN, echo, "the text" },
	{ "read-line", NULL, VERB_PLAIN, read_line, "a line typed on the console, given back" },
	{ "outb", "PORT,VALUE", VERB_MACHINE, port_write, "write a byte to an I/O port" },
	{ "inb", "PORT", VERB_MACHINE, port_read, "read a byte from an I/O port" },
	{ "sleep", "MS", VERB_PLAIN, sleep_ms, "sleep, and see that it lasts and ends" },
	{ "reboot-once", "[MARKER]", VERB_MACHINE, reboot_once,
	  "reboot if the marker file is not there yet" },
	{ "reboot", NULL, VERB_END, reboot, "restart the machine" },
	{ "poweroff", NULL, VERB_END, power_off, "clean file systems, power off" },
	{ "exit", "CODE", VERB_END, debug_exit, "clean file systems, end by the debug exit port" },
	{ "halt", NULL, VERB_END, halt, "clean file systems, halt" },
	{ "crash", NULL, VERB_END, crash, "PID 1 exits: the kernel panics" },
	{ "sleep-forever", NULL, VERB_END, sleep_forever, "wait to be killed" },
	{ 0 },
};
