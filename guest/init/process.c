/* SPDX-License-Identifier: Apache-2.0 */
/* Verbs that run programs: one program to its end, or a shell on the console. */
#include "sys.h"
#include "text.h"
#include "verb.h"

#define TTY_MAX 64

static char *const shell_env[] = { "PATH=/usr/sbin:/usr/bin:/sbin:/bin", "HOME=/root", "TERM=vt100",
				   "PS1=minivmm:\\w\\$ ", NULL };

/* Waits for one child; as PID 1, init also buries the orphans that end meanwhile. Status as wait(2)
 * gives it. */
static int wait_for(int pid)
{
	int status = 0, got;

	do
		got = sys_wait(-1, &status);
	while (got != pid && (got >= 0 || got == -EINTR));
	return got < 0 ? got : status;
}

static int child_result(const struct call *c, int pid)
{
	int status = pid < 0 ? pid : wait_for(pid);

	if (status < 0)
		return verb_fail(c, "%e", status);
	if (status & 0x7f)
		return verb_fail(c, "ended by signal %u", (unsigned long)(status & 0x7f));
	if (status)
		return verb_fail(c, "ended with %u", (unsigned long)(status >> 8));
	return 0;
}

/* PATH[,ARGUMENT]... */
static int run_program(const struct call *c)
{
	char words[512], *argv[32] = { words };
	size_t argc = 1;
	int pid;

	text_format(words, sizeof(words), "%s", c->value);
	for (char *p = words; *p; p++) {
		if (*p != ',')
			continue;
		if (argc == sizeof(argv) / sizeof(*argv) - 1)
			return verb_fail(c, "too many arguments");
		*p = 0;
		argv[argc++] = p + 1;
	}
	pid = sys_fork();
	if (!pid) {
		int err = sys_execve(argv[0], argv, shell_env);

		text_say("exec %s: %e", argv[0], err);
		sys_exit(127);
	}
	return child_result(c, pid);
}

/* /dev/console cannot be a controlling terminal; what stands behind it can: the last word of sysfs'
 * list */
static void console_path(char *path, size_t size)
{
	char active[TTY_MAX] = "";
	int fd = sys_open("/sys/class/tty/console/active", O_RDONLY);
	const char *name = active;
	long n = fd < 0 ? 0 : sys_read(fd, active, sizeof(active) - 1);

	if (fd >= 0)
		sys_close(fd);
	for (long i = 0; i < n; i++) {
		if (active[i] == '\n')
			active[i] = 0;
		if (active[i] == ' ')
			name = active + i + 1;
	}
	text_format(path, size, "/dev/%s", *name ? name : "console");
}

static void __attribute__((noreturn)) become_shell(void)
{
	char path[TTY_MAX + 8];
	char *argv[] = { "-sh", NULL };
	int fd;

	console_path(path, sizeof(path));
	SYS(__NR_setsid);
	fd = sys_open(path, O_RDWR);
	if (fd >= 0) {
		for (int i = 0; i < 3; i++)
			SYS(__NR_dup3, fd, i, 0);
		SYS(__NR_ioctl, 0, TIOCSCTTY, 1);
	}
	SYS(__NR_chdir, "/root");
	text_say("exec /bin/sh: %e", sys_execve("/bin/sh", argv, shell_env));
	sys_exit(127);
}

/* Its exit status is the user's affair */
static int run_shell(const struct call *c)
{
	int pid = sys_fork();

	if (!pid)
		become_shell();
	if (pid < 0 || wait_for(pid) < 0)
		return verb_fail(c, "no child process");
	return 0;
}

const struct verb process_verbs[] = {
	{ "exec", "PATH[,ARGUMENT]...", VERB_PLAIN, run_program,
	  "run a program; it must end with 0" },
	{ "shell", NULL, VERB_PLAIN, run_shell,
	  "a shell on the console; the next verb follows its end" },
	{ 0 },
};
