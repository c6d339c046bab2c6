/* SPDX-License-Identifier: Apache-2.0 */
#include <inttypes.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/sysinfo.h>
#include <sys/utsname.h>

#include "talk.h"

#define LINE 1024

/* ---- A conversation ---- */

/* What the other wrote may hold anything: a terminal gets only what can be read. */
static void print_line(FILE *out, const char *buf, size_t len)
{
	for (size_t i = 0; i < len; i++)
		putc(buf[i] >= ' ' && buf[i] <= '~' ? buf[i] : '?', out);
	putc('\n', out);
	fflush(out);
}

int talk_ask(struct ring *r, FILE *in, FILE *out, int ms)
{
	char line[LINE];

	while (fgets(line, sizeof(line), in)) {
		size_t len = strcspn(line, "\n");
		int rc = ring_send(r, line, len, ms);

		if (!rc)
			rc = ring_recv(r, line, sizeof(line), &len, ms);
		if (rc < 0)
			return rc;
		print_line(out, line, len);
	}
	return ring_end(r);
}

static size_t answer_to(const char *question, size_t len, char ret[static LINE])
{
	struct utsname name;
	struct sysinfo info;
	int n;

	if (uname(&name) < 0 || sysinfo(&info) < 0)
		n = snprintf(ret, LINE, "I do not know");
	else if (len == 4 && !memcmp(question, "who?", 4))
		n = snprintf(ret, LINE, "process %d of %s %s", (int)getpid(), name.sysname, name.release);
	else if (len == 9 && !memcmp(question, "how long?", 9))
		n = snprintf(ret, LINE, "up for %ld seconds", info.uptime);
	else if (len == 9 && !memcmp(question, "how much?", 9))
		n = snprintf(ret, LINE, "%" PRIu64 " MiB of RAM",
			     (uint64_t)info.totalram * info.mem_unit >> 20);
	else
		n = snprintf(ret, LINE, "I answer to: who? how long? how much?");
	return n < LINE ? (size_t)n : LINE - 1;
}

int talk_answer(struct ring *r)
{
	char question[LINE], answer[LINE];
	size_t len;
	int rc;

	while (!(rc = ring_recv(r, question, sizeof(question), &len, -1))) {
		len = answer_to(question, len, answer);
		rc = ring_send(r, answer, len, -1);
		if (rc)
			return rc;
	}
	return rc == -EPIPE ? ring_end(r) : rc;
}

int talk_echo(struct ring *r)
{
	size_t max = ring_max(r), len;
	unsigned char *buf = malloc(max);
	int rc = buf ? 0 : -ENOMEM;

	while (!rc) {
		rc = ring_recv(r, buf, max, &len, -1);
		if (!rc)
			rc = ring_send(r, buf, len, -1);
	}
	free(buf);
	return rc == -EPIPE ? ring_end(r) : rc;
}

/* ---- A copy ---- */

#define CHUNK (64u << 10)

struct copy {
	struct ring *r;
	const struct talk_wait *wait;
	int in, out;
	bool reads, takes;	/* @in, the other end: not at their ends */
	unsigned char *chunk, *taken;	/* of @chunk_size bytes, of the longest message */
	size_t chunk_size, pending;	/* bytes of @chunk that are to be sent */
	unsigned idle;		/* looks since something moved */
};

static int write_all(int fd, const unsigned char *buf, size_t len)
{
	while (len) {
		ssize_t n = write(fd, buf, len);

		if (n < 0 && errno != EINTR)
			return -errno;
		if (n > 0) {
			buf += n;
			len -= (size_t)n;
		}
	}
	return 0;
}

/* Each gives 1 when something moved, 0, or -errno. */
static int take(struct copy *c)
{
	size_t len;
	int rc;

	if (!c->takes)
		return 0;
	rc = ring_try_recv(c->r, c->taken, ring_max(c->r), &len);
	if (rc == -EAGAIN)
		return 0;
	if (rc == -EPIPE) {
		c->takes = false;
		return 1;
	}
	if (!rc)
		rc = write_all(c->out, c->taken, len);
	return rc ? rc : 1;
}

static int give(struct copy *c)
{
	struct pollfd p = { .fd = c->in, .events = POLLIN };
	ssize_t n;
	int rc;

	if (c->pending) {
		rc = ring_try_send(c->r, c->chunk, c->pending);
		if (rc)
			return rc == -EAGAIN ? 0 : rc;
		c->pending = 0;
	}
	if (!c->reads || poll(&p, 1, 0) <= 0)
		return 0;
	n = read(c->in, c->chunk, c->chunk_size);
	if (n < 0)
		return errno == EINTR || errno == EAGAIN ? 0 : -errno;
	c->pending = (size_t)n;
	if (n)
		return 1;
	c->reads = false;
	rc = ring_end(c->r);
	return rc ? rc : 1;
}

static int rest(struct copy *c)
{
	struct pollfd p[2] = { { .fd = c->wait->fd, .events = POLLIN },
			       { .fd = c->reads && !c->pending ? c->in : -1, .events = POLLIN } };
	int want = (c->takes ? RING_IN : 0) | (c->pending ? RING_OUT : 0), rc;

	if (p[0].fd < 0 || c->idle++ < c->r->bell.spin) {
		if (c->idle % 128)
			ring_pause();
		else
			sched_yield();
		return 0;
	}
	rc = ring_arm(c->r, want, c->pending);
	if (rc)
		return rc < 0 ? rc : 0;
	c->r->naps++;
	rc = poll(p, 2, -1);
	ring_disarm(c->r);
	if (rc < 0)
		return errno == EINTR ? 0 : -errno;
	return p[0].revents ? c->wait->taken(c->wait->arg) : 0;
}

static int copy(struct copy *c)
{
	while (c->reads || c->pending || c->takes) {
		int took = take(c), gave = took < 0 ? 0 : give(c), rc = 0;

		if (!took && !gave)
			rc = rest(c);
		else
			c->idle = 0;
		if (took < 0 || gave < 0 || rc < 0)
			return took < 0 ? took : gave < 0 ? gave : rc;
	}
	return 0;
}

int talk_copy(struct ring *r, const struct talk_wait *w, int in, int out)
{
	size_t max = ring_max(r);
	struct copy c = { .r = r, .wait = w, .in = in, .out = out, .reads = true, .takes = true,
			  .chunk_size = max / 4 < CHUNK ? max / 4 : CHUNK };
	int rc = -ENOMEM;

	c.chunk = malloc(c.chunk_size);
	c.taken = malloc(max);
	if (c.chunk && c.taken)
		rc = copy(&c);
	free(c.chunk);
	free(c.taken);
	return rc;
}
