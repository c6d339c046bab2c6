// SPDX-License-Identifier: Apache-2.0
/*
 * The lab's init: makes the outer machine's root file system the lab's, runs one command in it and
 * carries its input and output over a virtio port. tests/lab/lab is the other end.
 *
 * Theory of operation. /lab.conf (written by tests/lab/lab into the initramfs) is a list of
 * NUL-terminated "key=value" words in the order in which they are obeyed. Two virtio ports:
 *
 *   lab.data  to the lab: stdin;  from it: ready, stdout, stderr, the exit code, in this order,
 *             and an answer to every beat
 *   lab.ctl   to the lab: signals, window sizes and beats, which must not queue behind stdin
 *
 * Both carry frames of a type byte, a little-endian u32 length and that many bytes. Neither end
 * stops reading the other while it waits to write, so that no full buffer can stop both.
 * The root is moved to "/" rather than entered by chroot alone: the kernel refuses user namespaces
 * to a process whose root is not its mount namespace's.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <net/if.h>
#include <poll.h>
#include <signal.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mount.h>
#include <sys/reboot.h>
#include <sys/resource.h>
#include <sys/signalfd.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#define MAX_WORDS 1024
#define CHUNK	  65536

enum { TO_STDIN = 'i', TO_EOF = 'I', TO_SIGNAL = 's', TO_WINSIZE = 'w', TO_BEAT = 'b' };
enum { FROM_READY = 'r', FROM_STDOUT = 'o', FROM_STDERR = 'e', FROM_EXIT = 'x', FROM_BEAT = 'b' };

struct conf {
	char *argv[MAX_WORDS + 1], *envp[MAX_WORDS + 1], *rw[16];
	size_t argc, envc, rws;
	const char *cwd, *tmpfs_size;
	bool tty;
};

struct reader {
	int fd;
	size_t have;
	uint8_t buf[CHUNK + 5];
};

struct lab {
	struct reader data, ctl;
	int in, out, err, child_fd; /* in == out on a terminal; -1 when closed */
	pid_t pid;
	size_t stdin_len, stdin_off; /* what waits for the command to read it */
	bool stdin_eof;
	uint8_t stdin_buf[CHUNK];
};

static void __attribute__((noreturn, format(printf, 1, 2))) die(const char *fmt, ...)
{
	int err = errno;
	va_list ap;

	va_start(ap, fmt);
	fprintf(stderr, "lab: ");
	vfprintf(stderr, fmt, ap);
	fprintf(stderr, ": %s\n", strerror(err));
	va_end(ap);
	reboot(RB_POWER_OFF);
	_exit(1);
}

static void mount_at(const char *what, const char *where, const char *type, unsigned long flags,
		     const char *options)
{
	mkdir(where, 0755);
	if (mount(what, where, type, flags, options) < 0)
		die("mount %s on %s", type ? type : what, where);
}

static void load_module(char *spec)
{
	char *params = strchr(spec, ' ');
	int fd;

	if (params)
		*params++ = '\0';
	fd = open(spec, O_RDONLY | O_CLOEXEC);
	if (fd < 0)
		die("%s", spec);
	if (syscall(SYS_finit_module, fd, params ? params : "", 0) < 0 && errno != EEXIST)
		die("load %s", spec);
	close(fd);
}

/* Reads /lab.conf; modules are loaded on the way. */
static void read_conf(struct conf *c)
{
	static char text[1 << 20];
	int fd = open("/lab.conf", O_RDONLY | O_CLOEXEC);
	ssize_t n = fd < 0 ? -1 : read(fd, text, sizeof(text) - 1);

	if (n < 0)
		die("/lab.conf");
	close(fd);
	for (char *word = text; word < text + n; word += strlen(word) + 1) {
		char *value = strchr(word, '=');

		if (!value)
			continue;
		value++;
		if (!strncmp(word, "module=", 7))
			load_module(value);
		else if (!strncmp(word, "arg=", 4) && c->argc < MAX_WORDS)
			c->argv[c->argc++] = value;
		else if (!strncmp(word, "env=", 4) && c->envc < MAX_WORDS)
			c->envp[c->envc++] = value;
		else if (!strncmp(word, "rw=", 3) && c->rws < sizeof(c->rw) / sizeof(c->rw[0]))
			c->rw[c->rws++] = value;
		else if (!strncmp(word, "cwd=", 4))
			c->cwd = value;
		else if (!strncmp(word, "tmpfs=", 6))
			c->tmpfs_size = value;
		else if (!strncmp(word, "tty=", 4))
			c->tty = *value == '1';
	}
}

static void mount_root(const struct conf *c)
{
	char options[128];

	snprintf(options, sizeof(options), "mode=755,size=%s", c->tmpfs_size);
	mount_at("root", "/lower", "9p", MS_RDONLY,
		 "trans=virtio,version=9p2000.L,cache=loose,msize=512000");
	mount_at("tmpfs", "/upper", "tmpfs", 0, options);
	mkdir("/upper/data", 0755);
	mkdir("/upper/work", 0755);
	mount_at("overlay", "/root", "overlay", 0,
		 "lowerdir=/lower,upperdir=/upper/data,workdir=/upper/work");
	if (chdir("/root") < 0 || mount("/dev", "dev", NULL, MS_MOVE, NULL) < 0 ||
	    mount(".", "/", NULL, MS_MOVE, NULL) < 0 || chroot(".") < 0 || chdir("/") < 0)
		die("move the root");
}

static void mount_rest(const struct conf *c)
{
	char options[64];

	snprintf(options, sizeof(options), "mode=1777,size=%s", c->tmpfs_size);
	mount_at("proc", "/proc", "proc", MS_NOSUID | MS_NODEV | MS_NOEXEC, NULL);
	mount_at("sysfs", "/sys", "sysfs", MS_NOSUID | MS_NODEV | MS_NOEXEC, NULL);
	mount_at("debugfs", "/sys/kernel/debug", "debugfs", 0, NULL);
	mount_at("tracefs", "/sys/kernel/tracing", "tracefs", 0, NULL);
	mount_at("cgroup2", "/sys/fs/cgroup", "cgroup2", 0, NULL);
	mount_at("devpts", "/dev/pts", "devpts", MS_NOSUID | MS_NOEXEC,
		 "mode=620,ptmxmode=666,gid=5");
	mount_at("tmpfs", "/dev/shm", "tmpfs", MS_NOSUID | MS_NODEV, options);
	mount_at("tmpfs", "/run", "tmpfs", MS_NOSUID | MS_NODEV, "mode=755");
	if (symlink("/proc/self/fd", "/dev/fd") < 0 || symlink("fd/0", "/dev/stdin") < 0 ||
	    symlink("fd/1", "/dev/stdout") < 0 || symlink("fd/2", "/dev/stderr") < 0)
		die("links in /dev");
	for (size_t i = 0; i < c->rws; i++) {
		char tag[16];

		snprintf(tag, sizeof(tag), "rw%zu", i);
		if (mount(tag, c->rw[i], "9p", 0,
			  "trans=virtio,version=9p2000.L,cache=mmap,msize=512000") < 0)
			die("share %s", c->rw[i]);
	}
}

static void configure_machine(void)
{
	struct rlimit files = { .rlim_cur = 1024, .rlim_max = 1 << 20 };
	struct ifreq lo = { .ifr_name = "lo", .ifr_flags = IFF_UP | IFF_RUNNING };
	int s = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);

	if (s >= 0) {
		ioctl(s, SIOCSIFFLAGS, &lo);
		close(s);
	}
	setrlimit(RLIMIT_NOFILE, &files);
	if (sethostname("lab", 3) < 0)
		die("host name");
}

/* Ports appear a moment after the driver, by messages of their own. */
static int open_port(const char *suffix)
{
	for (int tries = 0; tries < 5000; tries++) {
		for (int i = 0; i < 4; i++) {
			char path[32];
			int fd;

			snprintf(path, sizeof(path), "/dev/vport%dp%s", i, suffix);
			fd = open(path, O_RDWR | O_CLOEXEC);
			if (fd >= 0)
				return fd;
		}
		usleep(1000);
	}
	die("virtio port %s", suffix);
}

static void write_all(int fd, const void *buf, size_t len)
{
	const uint8_t *p = buf;

	while (len) {
		ssize_t n = write(fd, p, len);

		if (n < 0 && errno != EINTR && errno != EAGAIN)
			die("write to the outer machine");
		if (n > 0) {
			p += n;
			len -= (size_t)n;
		}
	}
}

static void send_frame(struct lab *l, uint8_t type, const void *buf, uint32_t len)
{
	uint8_t frame[CHUNK + 5] = { type, (uint8_t)len, (uint8_t)(len >> 8), (uint8_t)(len >> 16),
				     (uint8_t)(len >> 24) };

	memcpy(frame + 5, buf, len);
	write_all(l->data.fd, frame, len + 5);
}

static void close_fd(int *fd)
{
	if (*fd >= 0)
		close(*fd);
	*fd = -1;
}

static void __attribute__((noreturn)) run_child(const struct conf *c, int in, int out, int err)
{
	sigset_t none;

	sigemptyset(&none);
	sigprocmask(SIG_SETMASK, &none, NULL);
	signal(SIGPIPE, SIG_DFL);
	setsid();
	if (c->tty && ioctl(in, TIOCSCTTY, 0) < 0)
		_exit(126);
	if (dup2(in, 0) < 0 || dup2(out, 1) < 0 || dup2(err, 2) < 0)
		_exit(126);
	if (chdir(c->cwd) < 0) {
		dprintf(2, "lab: %s: %s\n", c->cwd, strerror(errno));
		_exit(126);
	}
	environ = (char **)c->envp;
	execvp(c->argv[0], c->argv);
	dprintf(2, "lab: %s: %s\n", c->argv[0], strerror(errno));
	_exit(errno == ENOENT ? 127 : 126);
}

static void start_command(struct lab *l, const struct conf *c)
{
	int in[2], out[2], err[2];

	if (c->tty) {
		int pty = posix_openpt(O_RDWR | O_NOCTTY | O_CLOEXEC);
		char *name;

		if (pty < 0 || grantpt(pty) < 0 || unlockpt(pty) < 0 || !(name = ptsname(pty)))
			die("pseudo terminal");
		in[0] = out[1] = err[1] = open(name, O_RDWR | O_NOCTTY | O_CLOEXEC);
		l->in = l->out = pty;
		l->err = -1;
	} else {
		if (pipe2(in, O_CLOEXEC) < 0 || pipe2(out, O_CLOEXEC) < 0 ||
		    pipe2(err, O_CLOEXEC) < 0)
			die("pipe");
		l->in = in[1];
		l->out = out[0];
		l->err = err[0];
		fcntl(l->err, F_SETFL, O_NONBLOCK);
		fcntl(l->in, F_SETFL, O_NONBLOCK);
	}
	fcntl(l->out, F_SETFL, O_NONBLOCK);
	l->pid = fork();
	if (l->pid < 0)
		die("fork");
	if (l->pid == 0)
		run_child(c, in[0], out[1], err[1]);
	close(in[0]);
	if (!c->tty) {
		close(out[1]);
		close(err[1]);
	}
}

/* Passes on what the command printed. A terminal says EIO when its last holder is gone. */
static void pump_output(struct lab *l, int *fd, uint8_t type)
{
	uint8_t buf[CHUNK];
	ssize_t n = read(*fd, buf, sizeof(buf));

	if (n > 0) {
		send_frame(l, type, buf, (uint32_t)n);
		return;
	}
	if (n < 0 && (errno == EAGAIN || errno == EINTR))
		return;
	if (*fd == l->in)
		l->in = -1;
	close_fd(fd);
}

static void pump_stdin(struct lab *l)
{
	if (l->in >= 0 && l->stdin_len) {
		ssize_t n = write(l->in, l->stdin_buf + l->stdin_off, l->stdin_len);

		if (n < 0 && errno != EAGAIN && errno != EINTR) {
			if (l->in != l->out)
				close_fd(&l->in);
		} else if (n > 0) {
			l->stdin_off += (size_t)n;
			l->stdin_len -= (size_t)n;
		}
	}
	if (l->in < 0)
		l->stdin_len = 0;
	if (!l->stdin_len && l->stdin_eof && l->in != l->out)
		close_fd(&l->in);
}

static void handle_frame(struct lab *l, uint8_t type, const uint8_t *payload, size_t len)
{
	struct winsize size = { 0 };

	switch (type) {
	case TO_STDIN:
		memcpy(l->stdin_buf, payload, len);
		l->stdin_len = len;
		l->stdin_off = 0;
		break;
	case TO_EOF:
		l->stdin_eof = true;
		break;
	case TO_SIGNAL:
		if (len == 1 && l->pid > 0 && kill(-l->pid, payload[0]) < 0)
			kill(l->pid, payload[0]);
		break;
	case TO_WINSIZE:
		if (len == 4 && l->out >= 0) {
			size.ws_row = (uint16_t)(payload[0] | payload[1] << 8);
			size.ws_col = (uint16_t)(payload[2] | payload[3] << 8);
			ioctl(l->out, TIOCSWINSZ, &size);
		}
		break;
	case TO_BEAT:
		send_frame(l, FROM_BEAT, "", 0);
		break;
	}
}

/* Takes one frame from r when it is there; false: not yet. */
static bool next_frame(struct lab *l, struct reader *r)
{
	const uint8_t *b = r->buf;
	size_t len = (size_t)b[1] | (size_t)b[2] << 8 | (size_t)b[3] << 16 | (size_t)b[4] << 24;

	if (r->have < 5)
		return false;
	if (len > CHUNK) {
		errno = EPROTO;
		die("frame of %zu bytes", len);
	}
	if (r->have < len + 5)
		return false;
	handle_frame(l, b[0], b + 5, len);
	r->have -= len + 5;
	memmove(r->buf, r->buf + len + 5, r->have);
	return true;
}

static void fill(struct reader *r)
{
	ssize_t n = read(r->fd, r->buf + r->have, sizeof(r->buf) - r->have);

	if (n > 0)
		r->have += (size_t)n;
}

/* Runs until the command has ended and everything it printed is passed on; its wait status. */
static int serve(struct lab *l, int sigfd)
{
	struct signalfd_siginfo info;
	int status = 0;

	for (;;) {
		bool room = !l->stdin_len && !l->stdin_eof;
		struct pollfd p[6] = {
			{ .fd = sigfd, .events = POLLIN },
			{ .fd = l->ctl.fd, .events = POLLIN },
			{ .fd = room ? l->data.fd : -1, .events = POLLIN },
			{ .fd = l->out, .events = POLLIN },
			{ .fd = l->err, .events = POLLIN },
			{ .fd = l->stdin_len ? l->in : -1, .events = POLLOUT },
		};

		if (poll(p, 6, -1) < 0)
			continue;
		if (p[3].revents)
			pump_output(l, &l->out, FROM_STDOUT);
		if (p[4].revents)
			pump_output(l, &l->err, FROM_STDERR);
		if (p[1].revents & POLLIN)
			fill(&l->ctl);
		while (next_frame(l, &l->ctl))
			;
		if (p[2].revents & POLLIN)
			fill(&l->data);
		while (!l->stdin_len && next_frame(l, &l->data))
			;
		pump_stdin(l);
		if (p[0].revents && read(sigfd, &info, sizeof(info)) > 0) {
			pid_t pid;
			int s;

			while ((pid = waitpid(-1, &s, WNOHANG)) > 0)
				if (pid == l->pid) {
					l->pid = -1;
					status = s;
				}
			if (l->pid == -1)
				return status;
		}
	}
}

/* What the command left in its pipes; whatever still holds them open is not waited for. */
static void drain(struct lab *l)
{
	for (;;) {
		struct pollfd p[2] = { { .fd = l->out, .events = POLLIN },
				       { .fd = l->err, .events = POLLIN } };

		if (poll(p, 2, 0) <= 0)
			return;
		if (p[0].revents)
			pump_output(l, &l->out, FROM_STDOUT);
		if (p[1].revents)
			pump_output(l, &l->err, FROM_STDERR);
	}
}

int main(void)
{
	static struct conf conf = { .cwd = "/", .tmpfs_size = "50%" };
	static struct lab lab = { .in = -1, .out = -1, .err = -1 };
	sigset_t mask;
	uint8_t code;
	int status, sigfd;

	mount_at("devtmpfs", "/dev", "devtmpfs", MS_NOSUID, NULL);
	freopen("/dev/console", "w", stderr);
	setvbuf(stderr, NULL, _IONBF, 0);
	signal(SIGPIPE, SIG_IGN);
	sigemptyset(&mask);
	sigaddset(&mask, SIGCHLD);
	sigprocmask(SIG_BLOCK, &mask, NULL);

	read_conf(&conf);
	lab.data.fd = open_port("1");
	lab.ctl.fd = open_port("2");
	mount_root(&conf);
	mount_rest(&conf);
	configure_machine();
	sigfd = signalfd(-1, &mask, SFD_CLOEXEC);
	if (sigfd < 0)
		die("signalfd");
	send_frame(&lab, FROM_READY, "", 0);

	start_command(&lab, &conf);
	status = serve(&lab, sigfd);
	drain(&lab);
	sync();
	for (size_t i = 0; i < conf.rws; i++)
		umount2(conf.rw[i], 0);
	code = (uint8_t)(WIFSIGNALED(status) ? 128 + WTERMSIG(status) : WEXITSTATUS(status));
	send_frame(&lab, FROM_EXIT, &code, 1);
	for (;;)
		pause();
}
