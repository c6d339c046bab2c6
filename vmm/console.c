/* SPDX-License-Identifier: Apache-2.0 */
#include "vmm/console.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <string.h>
#include <sys/epoll.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/fd.h"
#include "base/log.h"
#include "base/range.h"

enum { CTRL_A = 1, LAST_WORDS_MS = 1000 };

/* --- one direction --- */

/* Whether @end's callback is called when the fd is ready. What nobody wants is not watched at all:
 * a peer that hung up would wake the loop for ever. */
static void want(struct console *c, struct console_end *end, bool wanted)
{
	struct err e;

	if (end->fd < 0)
		return;
	if (end->polled && wanted != end->wanted) {
		loop_unwatch(c->loop, &end->watch);
		if (wanted) {
			end->watch.fd = end->fd;
			if (loop_watch(c->loop, &end->watch, &e))
				log_warn("console: %s", e.msg);
		}
	}
	end->wanted = wanted;
	if (!end->polled && wanted)
		loop_post(c->loop, &end->job);
}

static void job_is_ready(void *arg)
{
	struct console_end *end = arg;

	if (end->wanted)
		end->watch.ready(end->watch.arg, 0);
}

static void open_end(struct console *c, struct console_end *end, int fd, uint32_t events,
		     void (*ready)(void *arg, uint32_t events))
{
	struct err e;

	end->fd = fd;
	end->job = (struct loop_job){ .run = job_is_ready, .arg = end };
	end->watch = (struct loop_watch){ .fd = fd, .events = events, .ready = ready, .arg = c };
	/* epoll refuses what never blocks. */
	end->polled = fd >= 0 && loop_watch(c->loop, &end->watch, &e) == 0;
	loop_unwatch(c->loop, &end->watch);
}

static void close_end(struct console *c, struct console_end *end)
{
	loop_cancel(c->loop, &end->job);
	loop_unwatch(c->loop, &end->watch);
	end->wanted = false;
	end->fd = -1;
}

/* --- output --- */

/* Writes one chunk: what epoll calls writable takes that much without blocking. */
static void write_some(struct console *c)
{
	size_t n = min_u64(min_u64(c->used, CONSOLE_CHUNK), CONSOLE_BUFFER - c->at);
	ssize_t done = write(c->out.fd, c->buffer + c->at, n);

	if (done < 0 && (errno == EINTR || errno == EAGAIN))
		return;
	if (done < 0) {
		log_warn("console: output is lost from here on: %s", strerror(errno));
		close_end(c, &c->out);
		c->used = 0;
		return;
	}
	c->at = (c->at + (size_t)done) % CONSOLE_BUFFER;
	c->used -= (size_t)done;
}

static void out_ready(void *arg, uint32_t events)
{
	struct console *c = arg;
	bool was_full = c->used == CONSOLE_BUFFER;

	(void)events;
	if (c->used)
		write_some(c);
	if (was_full && c->used < CONSOLE_BUFFER)
		serial_output_ready(c->serial);
	want(c, &c->out, c->used > 0);
}

/* In the loop, for a vCPU: changing what epoll waits for is not a vCPU's business. */
static void flush_wanted(void *arg)
{
	struct console *c = arg;

	out_ready(c, 0);
}

static size_t take_output(void *arg, const uint8_t *bytes, size_t n)
{
	struct console *c = arg;
	size_t room = CONSOLE_BUFFER - c->used;

	if (!c->seen && n > 0) {
		c->seen = true;
		c->first_byte(c->arg);
	}
	if (c->out.fd < 0)
		return n;
	n = min_u64(n, room);
	for (size_t i = 0; i < n; i++)
		c->buffer[(c->at + c->used + i) % CONSOLE_BUFFER] = bytes[i];
	c->used += n;
	if (n > 0 && !c->out.wanted)
		loop_post(c->loop, &c->flush);
	return n;
}

/* --- input --- */

/* Takes out the escapes; returns what is left for the guest. */
static size_t escapes(struct console *c, uint8_t *bytes, size_t n)
{
	size_t kept = 0;

	if (!c->raw)
		return n;
	for (size_t i = 0; i < n; i++) {
		if (!c->escape && bytes[i] == CTRL_A) {
			c->escape = true;
			continue;
		}
		if (c->escape && bytes[i] == 'x') {
			c->quit(c->arg);
			return kept;
		}
		/* Ctrl-A Ctrl-A is one Ctrl-A; before anything else it is dropped, as if not typed.
		 */
		c->escape = false;
		bytes[kept++] = bytes[i];
	}
	return kept;
}

static void in_ready(void *arg, uint32_t events)
{
	struct console *c = arg;
	uint8_t bytes[SERIAL_INPUT];
	size_t room = serial_input_room(c->serial);
	ssize_t n;

	(void)events;
	/* A terminal is read even then: the way out must work when the guest hangs. */
	if (room == 0 && !c->raw) {
		want(c, &c->in, false);
		return;
	}
	n = read(c->in.fd, bytes, c->raw ? sizeof(bytes) : min_u64(room, sizeof(bytes)));
	if (n < 0 && (errno == EINTR || errno == EAGAIN))
		return;
	if (n <= 0) {
		/* The end of the input is not the end of the guest. */
		close_end(c, &c->in);
		return;
	}
	serial_input(c->serial, bytes, escapes(c, bytes, (size_t)n));
	want(c, &c->in, true);
}

static void resume_input(void *arg)
{
	struct console *c = arg;

	want(c, &c->in, true);
}

static void input_has_room(void *arg)
{
	struct console *c = arg;

	loop_post(c->loop, &c->resume);
}

const struct serial_ops console_serial_ops = {
	.output = take_output,
	.input_room = input_has_room,
};

/* --- the whole --- */

static int make_raw(struct console *c)
{
	struct termios t = c->saved;

	cfmakeraw(&t);
	/* The guest's own "\n" goes out as it is: its tty layer adds the return. */
	if (tcsetattr(c->in.fd, TCSANOW, &t))
		return -errno;
	c->raw = true;
	return 0;
}

/*
 * The terminal of standard output once more, for writes that do not wait: what epoll calls writable
 * may have room for one byte, and O_NONBLOCK on the descriptor we were given would be on
 * everybody's. -1 where it may not be opened: then a terminal that stands still makes the loop
 * wait.
 */
static int open_terminal(void)
{
	return open("/proc/self/fd/1", O_WRONLY | O_NOCTTY | O_NONBLOCK | O_CLOEXEC);
}

int console_init(struct console *c, const char *mode, struct loop *loop, struct serial *serial,
		 void (*quit)(void *arg), void (*first_byte)(void *arg), void *arg, struct err *e)
{
	bool stdio = !strcmp(mode, "stdio"), null = !strcmp(mode, "null");

	*c = (struct console){ .loop = loop,
			       .serial = serial,
			       .quit = quit,
			       .first_byte = first_byte,
			       .arg = arg,
			       .in.fd = -1,
			       .out.fd = -1,
			       .file = -1 };
	c->flush = (struct loop_job){ .run = flush_wanted, .arg = c };
	c->resume = (struct loop_job){ .run = resume_input, .arg = c };
	if (!stdio && !null) {
		const char *path = strchr(mode, '=') + 1;

		c->file = open(path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC | O_NOCTTY, 0644);
		if (c->file < 0)
			return err_sys(e, "--serial: %s cannot be written", path);
	}
	if (stdio && isatty(STDOUT_FILENO))
		c->file = open_terminal();
	open_end(c, &c->in, stdio ? STDIN_FILENO : -1, EPOLLIN, in_ready);
	open_end(c, &c->out, c->file < 0 && stdio ? STDOUT_FILENO : c->file, EPOLLOUT, out_ready);
	return 0;
}

int console_start(struct console *c, struct err *e)
{
	int r;

	if (c->in.fd < 0)
		return 0;
	if (isatty(c->in.fd) && tcgetattr(c->in.fd, &c->saved) == 0) {
		r = make_raw(c);
		if (r)
			return err_set(e, r, "the terminal cannot be made raw: %s", strerror(-r));
	}
	want(c, &c->in, true);
	return 0;
}

void console_fini(struct console *c)
{
	uint64_t until = clock_ns() + MS_TO_NS(LAST_WORDS_MS);

	if (!c->loop)
		return;
	/* What the guest said last matters most: wait a little for a slow reader, not for ever. */
	while (c->out.fd >= 0 && c->used > 0 && clock_ns() < until) {
		struct pollfd p = { .fd = c->out.fd, .events = POLLOUT };

		if (c->out.polled && poll(&p, 1, LAST_WORDS_MS) <= 0)
			break;
		write_some(c);
	}
	console_suspend(c);
	loop_cancel(c->loop, &c->flush);
	loop_cancel(c->loop, &c->resume);
	close_end(c, &c->in);
	close_end(c, &c->out);
	fd_close(&c->file);
	c->loop = NULL;
}

bool console_suspend(struct console *c)
{
	bool was_raw = c->raw;

	/* Not TCSADRAIN: a terminal that stands still would keep us from ending. */
	if (was_raw)
		tcsetattr(c->in.fd, TCSANOW, &c->saved);
	c->raw = false;
	return was_raw;
}

void console_resume(struct console *c)
{
	if (c->in.fd >= 0 && make_raw(c))
		log_warn("the terminal cannot be made raw again");
}
