/* SPDX-License-Identifier: Apache-2.0 */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/inotify.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/uio.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/fd.h"
#include "base/range.h"
#include "vhost/backends/console.h"

enum { AGAIN_MS = 100 };

/* ---- Bytes ---- */

/* Watching @fd or not. A file, which cannot be watched, is always ready, and is not waited for;
 * of the rest the kernel may have no room for one more just now. */
static void set_watch(struct console_port *p, struct loop_watch *w, int fd, bool on)
{
	struct loop *l = console_loop(p->console);
	struct err e;
	int r;

	if (on == (w->fd >= 0))
		return;
	if (!on)
		return loop_unwatch(l, w);
	w->fd = fd;
	r = loop_watch(l, w, &e);
	if (!r)
		return;
	w->fd = -1;
	if (misuse_first(&p->unwatched))
		log_warn("console: port %u cannot be waited for (%s): no input, and output may be lost; this is logged once",
			 p->index, e.msg);
	if (r != -EPERM)
		loop_timer_set(l, &p->again, clock_ns() + MS_TO_NS(AGAIN_MS));
	else if (w == &p->watch_in)
		p->in = -1;
}

/* The host's end takes and gives nothing more; a socket and a pseudo-terminal may get another. */
static void lose(struct console_port *p)
{
	set_watch(p, &p->watch_in, -1, false);
	set_watch(p, &p->watch_out, -1, false);
	free(p->output);
	p->output = NULL;
	if (p->door.loop) {
		fd_close(&p->in);
		p->out = -1;
		acceptor_want(&p->door, true);
	}
	console_connected(p, false);
	console_port_update(p);
}

/* Writes what waits; false: nobody is there any more. */
static bool flush(struct console_port *p)
{
	while (p->output) {
		ssize_t n = write(p->out, p->output + p->out_at, p->out_len);

		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0)
			return errno == EAGAIN;
		p->out_at += (size_t)n;
		p->out_len -= (size_t)n;
		if (p->out_len)
			continue;
		free(p->output);
		p->output = NULL;
	}
	return true;
}

bool console_port_takes(const struct console_port *p)
{
	return !p->output;
}

static void report_lost(struct console_port *p)
{
	if (misuse_first(&p->lost))
		log_warn("console: port %u: more output at once than can be kept, some is lost; this is logged once",
			 p->index);
}

/* What is between @off and @end. */
static void keep(struct console_port *p, const struct ring_chain *chain, uint64_t off, uint64_t end)
{
	uint64_t len = end - off;

	p->output = malloc(len);
	if (!p->output)
		return report_lost(p);
	p->out_at = 0;
	p->out_len = ring_chain_read(chain, off, p->output, len);
	console_port_update(p);
}

void console_port_write(struct console_port *p, const struct ring_chain *chain, struct iovec *iov)
{
	/* A chain may name the same memory a thousand times. */
	uint64_t done = 0, end = min_u64(chain->out_len, CONSOLE_OUTPUT_MAX);

	if (p->connected && end < chain->out_len)
		report_lost(p);
	while (p->connected && done < end) {
		unsigned n = ring_slice(chain->iov, chain->n_out, done, end - done, iov);
		ssize_t wrote = writev(p->out, iov, (int)n);

		if (wrote >= 0) {
			done += (uint64_t)wrote;
		} else if (errno == EAGAIN) {
			return keep(p, chain, done, end);
		} else if (errno != EINTR) {
			if (p->o->file && misuse_first(&p->lost))
				log_warn("console: file=%s: %s; output is lost; this is logged once", p->o->file, strerror(errno));
			if (!p->o->file)
				lose(p);
			return;
		}
	}
}

/* He who is connected has hung up while nothing is read of him: what he wrote before is the
 * guest's, and only the end of that makes room for the next. */
static void hung_up(struct console_port *p)
{
	char byte;
	struct iovec iov = { &byte, 1 };
	struct msghdr m = { .msg_iov = &iov, .msg_iovlen = 1 };

	if (recvmsg(p->in, &m, MSG_PEEK | MSG_DONTWAIT) <= 0)
		return lose(p);
	p->left = true;
	console_port_update(p);
}

static void in_ready(void *arg, uint32_t events)
{
	struct console_port *p = arg;
	ssize_t n;

	(void)events;
	if (!p->watch_in.events)
		return hung_up(p);
	n = read(p->in, p->input, sizeof(p->input));
	if (n < 0 && (errno == EAGAIN || errno == EINTR))
		return;
	if (n > 0) {
		p->in_at = 0;
		p->in_len = (unsigned)n;
		console_wake(p);
		return console_port_update(p);
	}
	if (!p->o->stdio)
		return lose(p);
	/* Standard input has ended, output has not. */
	loop_unwatch(console_loop(p->console), &p->watch_in);
	p->in = -1;
}

static void out_ready(void *arg, uint32_t events)
{
	struct console_port *p = arg;

	/* A pseudo-terminal that nobody has open takes nothing, and does not say so. */
	if (!flush(p) || (p->output && events & EPOLLHUP))
		return lose(p);
	console_port_update(p);
	console_wake(p);
}

void console_port_update(struct console_port *p)
{
	/* One fd is watched once: who writes and cannot waits, and reads when that is over. */
	bool out = p->output && p->out >= 0;
	bool in = p->in >= 0 && p->connected && !(out && p->in == p->out);
	bool reads = p->guest_open && !p->in_len;

	/* That a caller hangs up is told without being asked for. */
	in = in && (reads || (p->door.loop && !p->left));
	if (!in)
		set_watch(p, &p->watch_in, p->in, false);
	set_watch(p, &p->watch_out, p->out, out);
	if (p->watch_in.fd >= 0)
		loop_watch_events(console_loop(p->console), &p->watch_in, reads ? EPOLLIN : 0);
	p->watch_in.events = reads ? EPOLLIN : 0;
	if (in)
		set_watch(p, &p->watch_in, p->in, true);
}

/* ---- What a port may be ---- */

static int set_raw(int fd, bool signals, struct termios *ret_before)
{
	struct termios t;

	if (tcgetattr(fd, &t) < 0)
		return -errno;
	*ret_before = t;
	cfmakeraw(&t);
	if (signals)
		t.c_lflag |= ISIG;
	return tcsetattr(fd, TCSANOW, &t) < 0 ? -errno : 0;
}

/* The terminal is another's now, whose settings it has. Setting them from the background would stop
 * this process, too. */
static bool is_in_background(const struct console_port *p)
{
	pid_t group = tcgetpgrp(STDIN_FILENO);

	return group >= 0 && group != p->group;
}

static int open_stdio(struct console_port *p, struct err *e)
{
	p->in_flags = fcntl(STDIN_FILENO, F_GETFL);
	p->out_flags = fcntl(STDOUT_FILENO, F_GETFL);
	if (fcntl(STDIN_FILENO, F_SETFL, p->in_flags | O_NONBLOCK) < 0 ||
	    fcntl(STDOUT_FILENO, F_SETFL, p->out_flags | O_NONBLOCK) < 0)
		return err_sys(e, "--port stdio");
	p->in = STDIN_FILENO;
	p->out = STDOUT_FILENO;
	p->group = getpgrp();
	p->is_terminal = !is_in_background(p) && !set_raw(STDIN_FILENO, true, &p->terminal);
	p->connected = true;
	return 0;
}

static int open_file(struct console_port *p, struct err *e)
{
	struct stat st;

	p->out = open(p->o->file, O_WRONLY | O_CREAT | O_APPEND | O_NOCTTY | O_NONBLOCK | O_CLOEXEC,
		      0600);
	if (p->out < 0 || fstat(p->out, &st) < 0)
		return err_sys(e, "--port file=%s", p->o->file);
	if (!S_ISREG(st.st_mode))
		return err_set(e, -EINVAL, "--port file=%s is no regular file; there are stdio, pty and socket=, too",
			       p->o->file);
	p->connected = true;
	return 0;
}

/* Somebody opened the pseudo-terminal. Who has closed it again makes it hang up, so that this is
 * looked at by reading it. */
static void terminal_opened(void *arg, uint32_t events)
{
	struct console_port *p = arg;
	char buf[4096];

	(void)events;
	while (read(p->opens, buf, sizeof(buf)) > 0)
		;
	if (!p->connected)
		console_connected(p, true);
	console_port_update(p);
}

static int open_pty(struct console_port *p, struct err *e)
{
	struct termios before;
	autoclose int end = -1;
	char path[64];

	p->in = p->out = posix_openpt(O_RDWR | O_NOCTTY | O_NONBLOCK | O_CLOEXEC);
	if (p->in < 0 || grantpt(p->in) < 0 || unlockpt(p->in) < 0 ||
	    ptsname_r(p->in, path, sizeof(path)))
		return err_sys(e, "--port pty");
	end = open(path, O_RDWR | O_NOCTTY | O_CLOEXEC);
	if (end < 0 || set_raw(end, false, &before))
		return err_sys(e, "--port pty: %s", path);
	p->opens = inotify_init1(IN_CLOEXEC | IN_NONBLOCK);
	if (p->opens < 0 || inotify_add_watch(p->opens, path, IN_OPEN) < 0)
		return err_sys(e, "--port pty: watching %s", path);
	p->opens_watch.fd = p->opens;
	fprintf(stderr, "minivmm-backend: port %u is %s\n", p->index, path);
	return loop_watch(console_loop(p->console), &p->opens_watch, e);
}

/* One at a time; the next waits in the backlog. */
static void somebody_comes(void *arg, int *sock)
{
	struct console_port *p = arg;

	acceptor_want(&p->door, false);
	p->in = p->out = fd_take(sock);
	p->left = false;
	console_connected(p, true);
	console_port_update(p);
}

static int open_socket(struct console_port *p, struct err *e)
{
	int sock = -1;
	int r = listener_open(&p->listener, SOCK_STREAM, "--port socket=", p->o->socket, &sock, e);

	if (r)
		return r;
	acceptor_init(&p->door, console_loop(p->console), "console", &sock, somebody_comes, p);
	acceptor_want(&p->door, true);
	return 0;
}

static void watch_again(void *arg)
{
	console_port_update(arg);
}

int console_port_init(struct console_port *p, const struct port_options *o, struct err *e)
{
	p->o = o;
	p->in = p->out = p->opens = -1;
	p->listener.dir = -1;
	p->watch_in =
		(struct loop_watch){ .fd = -1, .events = EPOLLIN, .ready = in_ready, .arg = p };
	p->watch_out =
		(struct loop_watch){ .fd = -1, .events = EPOLLOUT, .ready = out_ready, .arg = p };
	p->opens_watch = (struct loop_watch){ .fd = -1, .events = EPOLLIN,
					      .ready = terminal_opened, .arg = p };
	p->again = (struct loop_timer){ .expired = watch_again, .arg = p };
	if (o->stdio)
		return open_stdio(p, e);
	if (o->file)
		return open_file(p, e);
	return o->pty ? open_pty(p, e) : open_socket(p, e);
}

void console_port_fini(struct console_port *p)
{
	set_watch(p, &p->watch_in, -1, false);
	set_watch(p, &p->watch_out, -1, false);
	set_watch(p, &p->opens_watch, -1, false);
	loop_timer_cancel(console_loop(p->console), &p->again);
	acceptor_fini(&p->door);
	if (p->is_terminal && !is_in_background(p))
		tcsetattr(STDIN_FILENO, TCSANOW, &p->terminal);
	if (p->o->stdio && p->out >= 0) {
		fcntl(STDIN_FILENO, F_SETFL, p->in_flags);
		fcntl(STDOUT_FILENO, F_SETFL, p->out_flags);
	} else {
		fd_close(&p->out);
	}
	fd_close(&p->opens);
	listener_close(&p->listener);
	free(p->output);
	p->output = NULL;
}
