/* SPDX-License-Identifier: Apache-2.0 */
/* planted [--list] | SOCKET TYPE [FAULT]: see planted.h. */
#include "planted.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include "base/fd.h"
#include "base/range.h"
#include "vhost/backend_internal.h"

static bool has_quirk(const struct planted *p, enum planted_quirk quirk)
{
	return p->fault && p->fault->quirk == quirk;
}

enum planted_fate planted_answer(struct planted *p, const struct vu_msg *m, uint64_t value)
{
	struct vu_msg reply = { .header = { m->header.request,
					    VU_FLAG_VERSION | VU_FLAG_REPLY, sizeof(value) } };

	reply.payload.u64 = value;
	vu_channel_send(&p->front, &reply);
	return SWALLOWED;
}

/* Acknowledged when that was asked for. */
static enum planted_fate obeyed(struct planted *p, const struct vu_msg *m)
{
	return m->header.flags & VU_FLAG_NEED_REPLY ? planted_answer(p, m, 0) : SWALLOWED;
}

static enum planted_fate give_inflight(struct planted *p, const struct vu_msg *m)
{
	struct vu_msg reply = *m;
	int fd = memfd_create("inflight", MFD_CLOEXEC);

	if (fd < 0 || ftruncate(fd, VU_SHMEM_PAGE))
		abort();
	reply.header.flags = VU_FLAG_VERSION | VU_FLAG_REPLY;
	reply.payload.inflight.mmap_size = VU_SHMEM_PAGE;
	reply.payload.inflight.mmap_offset = 0;
	reply.fds[0] = fd;
	reply.nfds = 1;
	vu_channel_send(&p->front, &reply);
	fd_close(&fd);
	return SWALLOWED;
}

static const uint64_t own_features =
	BIT64(VU_PF_STATUS) | BIT64(VU_PF_RESET_DEVICE) | BIT64(VU_PF_INFLIGHT_SHMFD);

enum planted_fate planted_good(struct planted *p, struct vu_msg *m)
{
	switch (m->header.request) {
	case VU_SET_PROTOCOL_FEATURES:
		p->protocol = m->payload.u64;
		m->payload.u64 &= ~own_features;
		return PASS_ON;
	case VU_SET_STATUS:
		p->status = m->payload.u64;
		return obeyed(p, m);
	case VU_GET_STATUS:
		return planted_answer(p, m, p->status);
	case VU_GET_INFLIGHT_FD:
		return give_inflight(p, m);
	case VU_SET_INFLIGHT_FD:
		return obeyed(p, m);
	case VU_RESET_DEVICE:
		for (unsigned i = 0; i < p->backend.dev.queues; i++) {
			p->backend.queues[i].enabled = false;
			backend_queue_stop(&p->backend.queues[i]);
		}
		p->reset = true;
		return obeyed(p, m);
	}
	return PASS_ON;
}

static void end(struct planted *p)
{
	loop_stop(&p->loop);
}

/* After a failed receive, or one that has to wait. */
static void bytes_taken(struct planted *p, int r)
{
	size_t at = p->front.in_at;

	if (r == 0 && at && has_quirk(p, QUIRK_NO_PIECES))
		end(p);
	if (r == -ECONNRESET && at && at < sizeof(struct vu_header) &&
	    has_quirk(p, QUIRK_DIES_IN_HEADER))
		_exit(1);
	if (r == -ECONNRESET && at >= sizeof(struct vu_header) &&
	    has_quirk(p, QUIRK_DIES_IN_PAYLOAD))
		_exit(1);
	if (r == -EPROTO && has_quirk(p, QUIRK_HANGS_OVERSIZE))
		for (;;)
			pause();
	if (r < 0)
		end(p);
}

static void front_ready(void *arg, uint32_t events)
{
	struct planted *p = arg;
	struct vu_msg m;
	struct err e;
	int r;

	(void)events;
	while ((r = vu_channel_recv(&p->front, &m, &e)) > 0) {
		enum planted_fate fate = PASS_ON;

		if (m.header.request < VU_REQUEST_END)
			p->seen[m.header.request]++;
		if (p->fault && p->fault->request)
			fate = p->fault->request(p, &m);
		if (fate == PASS_ON)
			fate = planted_good(p, &m);
		if (fate == PASS_ON)
			vu_channel_send(&p->lib, &m);
		vu_msg_close_fds(&m);
	}
	bytes_taken(p, r);
}

static void lib_ready(void *arg, uint32_t events)
{
	struct planted *p = arg;
	struct vu_msg m;
	struct err e;
	int r;

	(void)events;
	while ((r = vu_channel_recv(&p->lib, &m, &e)) > 0) {
		enum planted_fate fate = PASS_ON;

		if (m.header.request == VU_GET_PROTOCOL_FEATURES)
			m.payload.u64 |= own_features;
		if (p->fault && p->fault->shortens == m.header.request)
			m.header.size -= 4;
		if (p->fault && p->fault->answer)
			fate = p->fault->answer(p, &m);
		if (fate == PASS_ON)
			vu_channel_send(&p->front, &m);
		vu_msg_close_fds(&m);
	}
	if (r < 0)
		end(p);
}

static void look_for_broken(const struct planted *p)
{
	for (unsigned i = 0; p->fault && p->fault->dies_of && i < p->backend.dev.queues; i++) {
		const struct ring *ring = &p->backend.queues[i].ring;

		if (ring->broken && strstr(ring->why, p->fault->dies_of))
			_exit(1);
	}
}

/* One connection, from the first message to the last. */
static void serve(struct planted *p, int *sock)
{
	struct backend_device dev = { .name = "planted" };
	struct err e = { "" };
	int pair[2];
	bool on;

	memset(p->seen, 0, sizeof(p->seen));
	p->protocol = p->status = p->added = p->base = 0;
	p->stopped = p->reset = p->skip_run = false;
	p->connections++;
	planted_device(p, &dev);
	if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0, pair) ||
	    loop_init(&p->loop, NULL, &e) || backend_init(&p->backend, &p->loop, &dev, &e) ||
	    backend_connect(&p->backend, &pair[1], &e))
		abort();
	vu_channel_init(&p->front, sock);
	vu_channel_init(&p->lib, &pair[0]);
	p->front_watch = (struct loop_watch){ p->front.sock, EPOLLIN, front_ready, p };
	p->lib_watch = (struct loop_watch){ p->lib.sock, EPOLLIN, lib_ready, p };
	if (loop_watch(&p->loop, &p->front_watch, &e) || loop_watch(&p->loop, &p->lib_watch, &e))
		abort();
	planted_console_begin(p);
	/* After the last batch as well, in which a ring may break and the connection end. */
	do {
		on = loop_once(&p->loop, -1);
		look_for_broken(p);
	} while (on);
	/* What the daemon said before it ended the connection. */
	lib_ready(p, 0);
	planted_console_end(p);
	loop_unwatch(&p->loop, &p->front_watch);
	loop_unwatch(&p->loop, &p->lib_watch);
	backend_fini(&p->backend);
	vu_channel_fini(&p->front);
	vu_channel_fini(&p->lib);
	loop_fini(&p->loop);
	/* Seen by the rules after it, for which the daemon is gone. */
	if (has_quirk(p, QUIRK_BLK_READ_BACK) && !planted_disk_is_new(p))
		_exit(1);
}

static int listen_at(const char *path)
{
	struct sockaddr_un addr = { .sun_family = AF_UNIX };
	int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);

	if (strlen(path) >= sizeof(addr.sun_path))
		return -1;
	strcpy(addr.sun_path, path);
	if (bind(fd, (const struct sockaddr *)&addr, sizeof(addr)) || listen(fd, 8))
		return -1;
	return fd;
}

int main(int argc, char **argv)
{
	static struct planted p = { .leaked = -1 };
	int listener;

	if (argc == 2 && !strcmp(argv[1], "--list")) {
		for (const struct planted_fault *f = planted_faults; f->name; f++)
			printf("%s %s %s\n", f->name, f->rule, f->type ? f->type : "blk");
		return 0;
	}
	p.type = argc > 2 ? argv[2] : "blk";
	for (const struct planted_fault *f = planted_faults; f->name && argc > 3; f++)
		if (!strcmp(f->name, argv[3]))
			p.fault = f;
	if (argc < 3 || argc > 4 || (argc == 4 && !p.fault)) {
		fprintf(stderr, "usage: planted --list | SOCKET TYPE [FAULT]\n");
		return 2;
	}
	log_setup("planted", LOG_ERROR);
	p.path = argv[1];
	listener = listen_at(p.path);
	if (listener < 0) {
		perror(argv[1]);
		return 1;
	}
	for (;;) {
		int sock = accept4(listener, NULL, NULL, SOCK_CLOEXEC);

		if (sock >= 0)
			serve(&p, &sock);
	}
}
