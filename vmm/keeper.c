/* SPDX-License-Identifier: Apache-2.0 */
#include "vmm/keeper.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/signalfd.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <termios.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/fd.h"
#include "base/log.h"
#include "base/range.h"
#include "devices/unix_connect.h"
#include "vmm/family.h"
#include "vmm/lines.h"
#include "vmm/meeting.h"

enum {
	LISTEN_MS = 30000,	/* in which a daemon that was started must listen */
	LOOK_MS = 5,		/* between bind(2) and listen(2), of which nobody tells */
	BY_ITSELF_MS = 1000,	/* in which one ends that has lost its connection */
	TERM_MS = 3000,		/* in which one ends that was asked to */
	KILL_MS = 10000,	/* in which the kernel ends what was killed */
	WRITE_MS = 1000,	/* in which what is left to be told at an end finds a reader */
};

struct keeper {
	const struct keeper_task *task;
	sigset_t mask;		/* which the daemon gets */
	int null, child_ended;	/* child_ended: signalfd */
	struct family family;
	bool reported;		/* how the family ended was told */
	char told[FAMILY_WORDS_MAX];	/* what was told last */
	struct lines lines;
	int out;		/* the daemon's output; lines.fd */
	struct meeting meeting;
};

/* --- what the daemon says --- */

/* A terminal that the VMM has made raw begins a line where the one before ended. */
static const char *line_end(void)
{
	struct termios t;

	return tcgetattr(STDERR_FILENO, &t) == 0 && !(t.c_oflag & OPOST) ? "\r\n" : "\n";
}

/* Soon. */
static bool has_reader(void)
{
	struct pollfd reader = { .fd = STDERR_FILENO, .events = POLLOUT };

	return poll(&reader, 1, WRITE_MS) > 0;
}

static void tell_line(struct keeper *k)
{
	char line[LINES_OUT_MAX];
	size_t n = lines_take(&k->lines, line_end(), line), done = 0;

	/* Without a reader there is nobody to tell. A terminal may have room for a part. */
	while (done < n) {
		ssize_t part = write(STDERR_FILENO, line + done, n - done);

		if (part > 0)
			done += (size_t)part;
		else if (part == 0 || errno != EAGAIN || !has_reader())
			return;
	}
}

/* All that those who are gone have left to say. */
static void tell_rest(struct keeper *k)
{
	/* Not more: somebody who could not be ended, or was given the pipe, may still write. */
	int left = 0;

	if (k->out >= 0)
		ioctl(k->out, FIONREAD, &left);
	while (k->out >= 0 && !(k->lines.ended && !lines_due(&k->lines))) {
		if (!lines_due(&k->lines)) {
			struct pollfd more = { .fd = k->out, .events = POLLIN };
			size_t had = k->lines.len;

			/* At 0 it is read once more, for the end. */
			if (left < 0 || poll(&more, 1, 0) <= 0)
				break;
			lines_read(&k->lines);
			left -= left ? (int)(k->lines.len - had) : 1;
		} else if (has_reader()) {
			tell_line(k);
		} else {
			break;
		}
	}
	fd_close(&k->out);
}

/* --- waiting --- */

/*
 * Until something happens or it is @until (clock_ns; 0: no limit): to the daemon, to what it says,
 * to its directory, or, with @heed, to the VMM. True: there is an order.
 */
static bool wait_for_event(struct keeper *k, bool heed, uint64_t until)
{
	enum { ORDER, CHILD, NAME, OUTPUT, READER, EVENTS };
	bool due = lines_due(&k->lines);
	struct pollfd p[EVENTS] = {
		[ORDER] = { heed ? k->task->sock : -1, POLLIN, 0 },
		[CHILD] = { k->child_ended, POLLIN, 0 },
		[NAME] = { k->meeting.watch, POLLIN, 0 },
		[OUTPUT] = { due || k->lines.ended ? -1 : k->out, POLLIN, 0 },
		/* Not written before somebody reads: who does not must not hold up the end. */
		[READER] = { due ? STDERR_FILENO : -1, POLLOUT, 0 },
	};
	uint64_t now = clock_ns();
	struct signalfd_siginfo info;
	int ms = -1;

	if (until)
		ms = until <= now ? 0 : (int)((until - now) / MS_TO_NS(1)) + 1;
	if (poll(p, EVENTS, ms) <= 0)
		return false;
	if (p[CHILD].revents && read(k->child_ended, &info, sizeof(info)) < 0)
		log_debug("device %s: signalfd: %s", k->task->name, strerror(errno));
	if (p[NAME].revents)
		meeting_look(&k->meeting);
	if (p[OUTPUT].revents)
		lines_read(&k->lines);
	if (p[READER].revents)
		tell_line(k);
	return p[ORDER].revents;
}

/* Whether the daemon fails within @ms; with @all, whether all of it ends. */
static bool is_over_within(struct keeper *k, unsigned ms, bool all)
{
	uint64_t until = clock_ns() + MS_TO_NS(ms);

	for (;;) {
		family_reap(&k->family);
		if (!k->family.alive || (!all && family_has_failed(&k->family)))
			return true;
		if (clock_ns() >= until)
			return false;
		wait_for_event(k, false, until);
	}
}

/* --- the end of a daemon --- */

static void kill_all(struct keeper *k)
{
	uint64_t until = clock_ns() + MS_TO_NS(KILL_MS);

	for (;;) {
		family_reap(&k->family);
		if (!k->family.alive)
			return;
		if (clock_ns() >= until) {
			log_warn("device %s: a process of its daemon cannot be ended: %s",
				 k->task->name, k->task->text);
			return;
		}
		family_signal(&k->family, SIGKILL);
		wait_for_event(k, false, until);
	}
}

/* Whatever is left of it. */
static void end(struct keeper *k)
{
	kill_all(k);
	tell_rest(k);
	meeting_end(&k->meeting);
}

/* The same after it had @ms to end by itself; whether it did. */
static bool end_after(struct keeper *k, unsigned ms)
{
	bool over = is_over_within(k, ms, false);

	end(k);
	/* It may have been at its end, which SIGKILL does not change any more. */
	return over || family_ended_by_itself(&k->family);
}

/* Of one that nobody has missed (!@missed), but was of no use, the same is told once. */
static void stop(struct keeper *k, unsigned ms, bool missed)
{
	char how[FAMILY_WORDS_MAX] = "was still running and has been ended";

	if (end_after(k, ms))
		family_describe(&k->family, how);
	if (!k->reported && (missed || strcmp(how, k->told) != 0)) {
		has_reader();
		log_warn("device %s: its daemon %s: %s", k->task->name, how, k->task->text);
		memcpy(k->told, how, sizeof(how));
	}
	k->reported = true;
}

static void explain(struct keeper *k)
{
	struct keeper_answer a = { .error = 0 };
	char how[FAMILY_WORDS_MAX];


	if (end_after(k, BY_ITSELF_MS)) {
		family_describe(&k->family, how);
		err_set(&a.why, -ECHILD, "its daemon %s: %s", how, k->task->text);
	}
	k->reported = true;
	fd_send(k->task->sock, &a, sizeof(a), NULL, 0);
}

/* --- its start --- */

/* Starts the command, with @place in it, and @fd unless that is -1. */
static int start_command(struct keeper *k, const char *place, int fd, struct err *e)
{
	char **words = exec_command_fill(k->task->command, place);
	struct family_start s = { .words = words, .in = k->null, .fd = fd, .mask = &k->mask };
	int pipe[2], r;

	if (!words)
		return err_set(e, -ENOMEM, "out of memory");
	if (pipe2(pipe, O_CLOEXEC)) {
		r = err_set(e, -errno, "cannot be started: %s", strerror(errno));
		free(words);
		return r;
	}
	fcntl(pipe[0], F_SETFL, O_NONBLOCK);
	s.out = pipe[1];
	r = family_start(&k->family, &s, e);
	fd_close(&pipe[1]);
	free(words);
	if (r)
		fd_close(&pipe[0]);
	k->out = pipe[0];
	lines_init(&k->lines, k->task->name, k->out);
	k->reported = r != 0;
	return r;
}

static int start_with_pair(struct keeper *k, struct err *e)
{
	char place[16];
	int pair[2], r;

	if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair))
		return err_set(e, -errno, "cannot be connected: %s", strerror(errno));
	snprintf(place, sizeof(place), "%d", FAMILY_FD);
	r = start_command(k, place, pair[1], e);
	fd_close(&pair[1]);
	if (r)
		fd_close(&pair[0]);
	return r ? r : pair[0];
}

static int await_listener(struct keeper *k, struct err *e)
{
	uint64_t until = clock_ns() + MS_TO_NS(LISTEN_MS), now;
	char how[FAMILY_WORDS_MAX];

	for (;;) {
		bool failed;
		int sock;

		family_reap(&k->family);
		/* In this order: what listened and ended is not there any more. */
		failed = family_has_failed(&k->family);
		sock = meeting_connect(&k->meeting);
		if (sock >= 0)
			return sock;
		if (failed) {
			family_describe(&k->family, how);
			return err_set(e, -ECHILD, "its daemon %s, before it listened", how);
		}
		now = clock_ns();
		if (now >= until)
			return err_set(e, -ETIMEDOUT, "its daemon does not listen at the path that %%s"
				       " gives it, after %d s", LISTEN_MS / 1000);
		if (wait_for_event(k, true, k->meeting.named ? now + MS_TO_NS(LOOK_MS) : until))
			return err_set(e, -ECANCELED, "its daemon is not wanted any more");
	}
}

static int start_at_path(struct keeper *k, struct err *e)
{
	int r = meeting_begin(&k->meeting, e);

	if (r == 0)
		r = start_command(k, k->meeting.path, -1, e);
	return r ? r : await_listener(k, e);
}

static void start(struct keeper *k)
{
	const struct keeper_task *t = k->task;
	struct keeper_answer a = { .error = 0 };
	ssize_t sent;
	int sock;

	stop(k, BY_ITSELF_MS, false);
	k->family = (struct family)FAMILY_NONE;
	sock = t->command->by_fd ? start_with_pair(k, &a.why) : start_at_path(k, &a.why);
	if (sock < 0) {
		a.error = err_prefix(&a.why, sock, "exec=%.160s: ", t->text);
		k->reported = true;
		end(k);
	}
	meeting_end(&k->meeting);
	sent = fd_send(t->sock, &a, sizeof(a), &sock, sock >= 0);
	if (sent < 0 && sent != -EPIPE) {
		a.error = err_set(&a.why, (int)sent, "the connection to its daemon cannot be handed"
				  " over: %s", strerror((int)-sent));
		fd_send(t->sock, &a, sizeof(a), NULL, 0);
	}
	fd_close(&sock);
}

/* --- orders --- */

/* False: the VMM is gone. Descriptors are not taken. */
static bool obey(struct keeper *k)
{
	uint32_t order;
	ssize_t n = recv(k->task->sock, &order, sizeof(order), MSG_DONTWAIT);

	if (n < 0 && (errno == EAGAIN || errno == EINTR))
		return true;
	if (n != sizeof(order))
		return false;
	if (order == KEEPER_START)
		start(k);
	else if (order == KEEPER_STOP)
		stop(k, BY_ITSELF_MS, true);
	else if (order == KEEPER_KILL)
		stop(k, 0, true);
	else if (order == KEEPER_EXPLAIN)
		explain(k);
	return true;
}

static unsigned next_own(const void *task, unsigned from)
{
	unsigned sock = (unsigned)((const struct keeper_task *)task)->sock;

	return sock >= from ? sock : UINT_MAX;
}

/* A terminal with room for half a line, or a pipe that another process fills first, would have a
 * write wait. The open file is shared with the VMM and others: this process gets its own, where
 * there can be one. */
static void never_wait_to_write(void)
{
	struct stat st;
	int fd;

	if (fstat(STDERR_FILENO, &st) || !(S_ISFIFO(st.st_mode) || S_ISCHR(st.st_mode)))
		return;
	fd = open("/proc/self/fd/2", O_WRONLY | O_NONBLOCK | O_NOCTTY | O_CLOEXEC);
	if (fd >= 0)
		dup2(fd, STDERR_FILENO);
	fd_close(&fd);
}

static void set_up(struct keeper *k)
{
	sigset_t all, ended;

	sigfillset(&all);
	sigprocmask(SIG_SETMASK, &all, &k->mask);
	/* Ignored, it would leave no status. */
	signal(SIGCHLD, SIG_DFL);
	setsid();
	fd_close_others(next_own, k->task);
	never_wait_to_write();
	sigemptyset(&ended);
	sigaddset(&ended, SIGCHLD);
	k->child_ended = signalfd(-1, &ended, SFD_CLOEXEC | SFD_NONBLOCK);
	k->null = open("/dev/null", O_RDONLY | O_CLOEXEC);
	if (k->child_ended < 0 || k->null < 0 || family_adopt()) {
		log_error("device %s: who would start its daemon cannot: %s", k->task->name,
			  strerror(errno));
		_exit(1);
	}
}

void keeper_run(const struct keeper_task *t)
{
	struct keeper k = { .task = t, .out = -1, .reported = true, .family = FAMILY_NONE,
			    .meeting = MEETING_NONE };

	lines_init(&k.lines, t->name, -1);
	set_up(&k);
	for (;;) {
		if (wait_for_event(&k, true, 0) && !obey(&k))
			break;
		family_reap(&k.family);
	}
	family_signal(&k.family, SIGTERM);
	is_over_within(&k, TERM_MS, true);
	end(&k);
	_exit(0);
}
