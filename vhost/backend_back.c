/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The back channel: what a device asks the front end ("Back-end communication").
 *
 * CONFIG_CHANGE is sent and its answer taken in by the loop. SHMEM_MAP and SHMEM_UNMAP are waited
 * for on the spot, by an epoll of their own, so that nothing else can happen between; answers come
 * in order, and those to earlier CONFIG_CHANGEs may come first.
 */
#include <errno.h>
#include <inttypes.h>
#include <string.h>
#include <sys/epoll.h>

#include "base/clock.h"
#include "base/fd.h"
#include "base/range.h"
#include "vhost/backend_internal.h"

bool backend_has_shmem(const struct backend *b)
{
	for (unsigned i = 0; i < VU_SHMEM_REGIONS; i++)
		if (b->dev.shmem[i])
			return true;
	return false;
}

void backend_back_drop(struct backend *b)
{
	if (b->back.sock < 0)
		return;
	loop_unwatch(b->loop, &b->back_watch);
	/* Others may have the socket open, so closing it does not take it out. */
	if (b->back_wait >= 0)
		epoll_ctl(b->back_wait, EPOLL_CTL_DEL, b->back.sock, NULL);
	vu_channel_fini(&b->back);
}

static uint32_t wanted_events(const struct backend *b)
{
	return EPOLLIN | (vu_channel_pending(&b->back) ? EPOLLOUT : 0);
}

/* Takes an answer in. 1: it is the one to @awaited (0: none); 0: to a CONFIG_CHANGE; -EPROTO. */
static int take_answer(struct backend *b, struct vu_msg *m, uint32_t awaited, struct err *e)
{
	bool is_it = awaited && m->header.request == awaited;
	int r;

	vu_msg_close_fds(m);
	r = vu_msg_check_reply(m, is_it ? awaited : VU_BACKEND_CONFIG_CHANGE_MSG,
			       vu_backend_msg_types, e);
	if (r == 0 && !is_it && m->payload.u64)
		log_info("%s: the front end refused a new config", b->dev.name);
	return r < 0 ? r : is_it;
}

static void back_ready(void *arg, uint32_t events)
{
	struct backend *b = arg;
	struct vu_msg m;
	struct err e;
	int r;

	if (events & EPOLLOUT && vu_channel_flush(&b->back))
		return backend_back_drop(b);
	while ((r = vu_channel_recv(&b->back, &m, &e)) > 0) {
		r = take_answer(b, &m, 0, &e);
		if (r < 0)
			break;
	}
	if (r < 0) {
		log_info("%s: the back channel ends: %s", b->dev.name, e.msg);
		return backend_back_drop(b);
	}
	loop_watch_events(b->loop, &b->back_watch, wanted_events(b));
}

int backend_back_init(struct backend *b, struct err *e)
{
	b->reply_ms = BACKEND_REPLY_MS;
	b->back.sock = -1;
	b->back_wait = -1;
	b->back_watch = (struct loop_watch){ .fd = -1, .ready = back_ready, .arg = b };
	if (!backend_has_shmem(b))
		return 0;
	b->back_wait = epoll_create1(EPOLL_CLOEXEC);
	return b->back_wait < 0 ? err_sys(e, "%s: epoll", b->dev.name) : 0;
}

void backend_back_fini(struct backend *b)
{
	backend_back_drop(b);
	fd_close(&b->back_wait);
}

int backend_back_take(struct backend *b, int *sock, struct err *e)
{
	struct epoll_event event = { .events = EPOLLIN };
	int r;

	backend_back_drop(b);
	b->back_watch.fd = *sock;
	b->back_watch.events = EPOLLIN;
	r = loop_watch(b->loop, &b->back_watch, e);
	if (r) {
		b->back_watch.fd = -1;
		fd_close(sock);
		return r;
	}
	if (b->back_wait >= 0 && epoll_ctl(b->back_wait, EPOLL_CTL_ADD, *sock, &event) < 0) {
		r = err_sys(e, "back channel");
		loop_unwatch(b->loop, &b->back_watch);
		fd_close(sock);
		return r;
	}
	b->back_wait_events = event.events;
	vu_channel_init(&b->back, sock);
	return 0;
}

void backend_config_changed(struct backend *b)
{
	struct vu_msg m = { .header = { .request = VU_BACKEND_CONFIG_CHANGE_MSG,
					.flags = VU_FLAG_VERSION } };

	if (b->back.sock < 0 || !(b->protocol & BIT64(VU_PF_CONFIG)))
		return;
	if (b->protocol & BIT64(VU_PF_REPLY_ACK))
		m.header.flags |= VU_FLAG_NEED_REPLY;
	if (vu_channel_send(&b->back, &m))
		return backend_back_drop(b);
	loop_watch_events(b->loop, &b->back_watch, wanted_events(b));
}

/* Waits until the back channel can be read or written, or @until (clock_ns()) has passed. */
static int wait_back(struct backend *b, uint64_t until, struct err *e)
{
	struct epoll_event event = { .events = wanted_events(b) };
	uint64_t now = clock_ns();
	int ms = now < until ? (int)((until - now) / MS_TO_NS(1)) + 1 : 0;

	if (!ms)
		return err_set(e, -ETIMEDOUT, "no answer within %u ms", b->reply_ms);
	if (event.events != b->back_wait_events &&
	    epoll_ctl(b->back_wait, EPOLL_CTL_MOD, b->back.sock, &event) < 0)
		return err_sys(e, "back channel");
	b->back_wait_events = event.events;
	if (epoll_wait(b->back_wait, &event, 1, ms) < 0 && errno != EINTR)
		return err_sys(e, "back channel");
	return 0;
}

/* Sends @m and waits for its answer, which is in *@ret. 0 or -errno with @e. */
static int ask(struct backend *b, const struct vu_msg *m, uint64_t *ret, struct err *e)
{
	uint64_t until = clock_ns() + MS_TO_NS(b->reply_ms);
	struct vu_msg got;
	int r = vu_channel_send(&b->back, m);

	while (r == 0) {
		r = vu_channel_flush(&b->back);
		if (r < 0)
			break;
		r = vu_channel_recv(&b->back, &got, e);
		if (r > 0)
			r = take_answer(b, &got, m->header.request, e);
		else if (r == 0)
			r = wait_back(b, until, e);
		if (r < 0)
			return r;
	}
	if (r < 0)
		return err_set(e, r, "%s", strerror(-r));
	*ret = got.payload.u64;
	return 0;
}

/* @what is for people: "map", "unmap". */
static int change(struct backend *b, uint32_t request, const struct vu_shmem_map *w, int fd,
		  const char *what, struct err *e)
{
	const uint64_t needed = BIT64(VU_PF_SHMEM) | BIT64(VU_PF_BACKEND_REQ) |
				BIT64(VU_PF_BACKEND_SEND_FD) | BIT64(VU_PF_REPLY_ACK);
	struct vu_msg m = {
		.header = { request, VU_FLAG_VERSION | VU_FLAG_NEED_REPLY, sizeof(struct vu_mmap) },
		.payload.mmap = { .shmid = w->shmid, .fd_offset = w->fd_offset,
				  .shm_offset = w->shm_offset, .len = w->len,
				  .flags = w->rw ? VU_SHMEM_RW : 0 },
		.fds = { fd }, .nfds = fd < 0 ? 0 : 1,
	};
	uint64_t answer = 0;
	int r;

	if (needed & ~b->protocol)
		return err_set(e, -ENOTSUP, "the front end cannot %s shared memory: it lacks SHMEM, "
			       "BACKEND_SEND_FD or REPLY_ACK", what);
	if (b->back.sock < 0)
		return err_set(e, -ENOTCONN, "cannot %s shared memory: the front end gave no back "
			       "channel, or has closed it", what);
	r = ask(b, &m, &answer, e);
	if (r < 0) {
		backend_back_drop(b);
		return err_prefix(e, r, "the front end was asked to %s shared memory: ", what);
	}
	if (answer)
		return err_set(e, -EREMOTEIO, "the front end refused to %s 0x%" PRIx64 " bytes at 0x%"
			       PRIx64 " of shared memory region %u (answer %" PRIu64 "); its own log "
			       "may say why", what, w->len, w->shm_offset, w->shmid, answer);
	return 0;
}

int backend_shmem_map(struct backend *b, const struct vu_shmem_map *m, int fd, struct err *e)
{
	return change(b, VU_BACKEND_SHMEM_MAP, m, fd, "map", e);
}

int backend_shmem_unmap(struct backend *b, const struct vu_shmem_map *m, struct err *e)
{
	struct vu_shmem_map place = { .shmid = m->shmid, .shm_offset = m->shm_offset,
				      .len = m->len };

	return change(b, VU_BACKEND_SHMEM_UNMAP, &place, -1, "unmap", e);
}
