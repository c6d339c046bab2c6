/* SPDX-License-Identifier: Apache-2.0 */
/* The planted daemon's console: a queue each way, and a socket for the other end. */
#include "tests/vu_check/planted.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include "base/fd.h"

static bool has_quirk(const struct planted *p, enum planted_quirk quirk)
{
	return p->fault && p->fault->quirk == quirk;
}

static void other_ready(void *arg, uint32_t events)
{
	static struct ring_chain chain;
	struct planted *p = arg;
	char bytes[64];
	ssize_t n = read(p->other, bytes, sizeof(bytes));

	(void)events;
	if (n <= 0) {
		loop_unwatch(&p->loop, &p->other_watch);
		fd_close(&p->other);
		return;
	}
	if (has_quirk(p, QUIRK_CONSOLE_INPUT))
		memset(bytes, '?', (size_t)n);
	if (p->receive && backend_queue_pop(p->receive, &chain))
		backend_queue_push(p->receive, chain.head,
				   (uint32_t)ring_chain_write(&chain, 0, bytes, (size_t)n));
}

static void other_comes(void *arg, uint32_t events)
{
	struct planted *p = arg;
	struct err e;

	(void)events;
	planted_console_drop(p);
	p->other = accept4(p->door, NULL, NULL, SOCK_CLOEXEC);
	p->other_watch = (struct loop_watch){ p->other, EPOLLIN, other_ready, p };
	if (p->other < 0 || loop_watch(&p->loop, &p->other_watch, &e))
		abort();
}

void planted_console_begin(struct planted *p)
{
	struct sockaddr_un addr = { .sun_family = AF_UNIX };
	struct err e;

	p->receive = NULL;
	p->other = -1;
	p->door = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
	snprintf(addr.sun_path, sizeof(addr.sun_path), "%s.other", p->path);
	unlink(addr.sun_path);
	p->door_watch = (struct loop_watch){ p->door, EPOLLIN, other_comes, p };
	if (bind(p->door, (const struct sockaddr *)&addr, sizeof(addr)) || listen(p->door, 8) ||
	    loop_watch(&p->loop, &p->door_watch, &e))
		abort();
}

void planted_console_drop(struct planted *p)
{
	if (p->other >= 0)
		loop_unwatch(&p->loop, &p->other_watch);
	fd_close(&p->other);
}

void planted_console_end(struct planted *p)
{
	planted_console_drop(p);
	loop_unwatch(&p->loop, &p->door_watch);
	fd_close(&p->door);
}

uint32_t planted_console_send(struct planted *p, const struct ring_chain *c)
{
	char bytes[64];
	size_t n = ring_chain_read(c, 0, bytes, sizeof(bytes));

	if (p->other >= 0 && !has_quirk(p, QUIRK_CONSOLE_OUTPUT))
		(void)!send(p->other, bytes, n, MSG_NOSIGNAL | MSG_DONTWAIT);
	return 0;
}
