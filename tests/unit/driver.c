/* SPDX-License-Identifier: Apache-2.0 */
#include "driver.h"

#include <poll.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cmocka.h>

#include "base/fd.h"
#include "base/range.h"
#include "vhost/ring.h"

enum { PATIENCE_MS = 10000, QUEUE_SPACE = 0x10000 };

static void map_ram(struct driver *d)
{
	d->ram_fd = memfd_create("driver", MFD_CLOEXEC);
	assert_true(d->ram_fd >= 0);
	assert_int_equal(ftruncate(d->ram_fd, DRIVER_RAM), 0);
	d->ram = mmap(NULL, DRIVER_RAM, PROT_READ | PROT_WRITE, MAP_SHARED, d->ram_fd, 0);
	assert_ptr_not_equal(d->ram, MAP_FAILED);
}

void driver_init(struct driver *d, int *sock, struct loop *loop)
{
	*d = (struct driver){ .sock = fd_take(sock), .loop = loop };
	map_ram(d);
	for (unsigned i = 0; i < DRIVER_QUEUES; i++) {
		struct driver_queue *q = &d->queues[i];

		q->kick = fd_eventfd();
		q->call = fd_eventfd();
		q->err = fd_eventfd();
		q->desc = (uint64_t)i * QUEUE_SPACE;
		q->avail = q->desc + 0x4000;
		q->used = q->desc + 0x8000;
	}
}

void driver_serve(struct driver *d, struct backend *b, struct loop *loop,
		  const struct backend_device *dev)
{
	struct err e = { "" };
	int pair[2];

	assert_int_equal(backend_init(b, loop, dev, &e), 0);
	assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair), 0);
	driver_init(d, &pair[0], loop);
	assert_int_equal(backend_connect(b, &pair[1], &e), 0);
}

void driver_fini(struct driver *d)
{
	for (unsigned i = 0; i < DRIVER_QUEUES; i++) {
		fd_close(&d->queues[i].kick);
		fd_close(&d->queues[i].call);
		fd_close(&d->queues[i].err);
	}
	munmap(d->ram, DRIVER_RAM);
	fd_close(&d->ram_fd);
	fd_close(&d->sock);
}

void driver_reconnect(struct driver *d, int *sock)
{
	fd_close(&d->sock);
	d->sock = fd_take(sock);
}

void driver_settle(struct driver *d)
{
	for (unsigned i = 0; d->loop && i < 16; i++)
		loop_once(d->loop, 0);
}

/* Gives the back end its turn while this side waits for @fd. */
static void wait_for(struct driver *d, int fd)
{
	struct pollfd p = { .fd = fd, .events = POLLIN };

	for (int waited = 0; waited < PATIENCE_MS; waited += d->loop ? 1 : PATIENCE_MS) {
		if (d->loop)
			loop_once(d->loop, 0);
		if (poll(&p, 1, d->loop ? 1 : PATIENCE_MS) > 0)
			return;
	}
	fail_msg("nothing came from the back end in %d ms", PATIENCE_MS);
}

bool driver_send(struct driver *d, uint32_t request, uint32_t flags, const void *payload,
		 uint32_t size, const int *fds, size_t nfds)
{
	uint8_t bytes[sizeof(struct vu_header) + VU_PAYLOAD_MAX];
	struct vu_header h = { request, flags, size };

	memcpy(bytes, &h, sizeof(h));
	if (size)
		memcpy(bytes + sizeof(h), payload, size);
	return fd_send(d->sock, bytes, sizeof(h) + size, fds, nfds) == (ssize_t)(sizeof(h) + size);
}

/* Reads @len bytes, and what fds come with them into @ret; false at the end. */
static bool recv_all(struct driver *d, void *buf, size_t len, struct vu_msg *ret)
{
	int fds[FD_PASS_MAX];
	size_t nfds = 0;

	for (size_t at = 0; at < len;) {
		ssize_t n;

		wait_for(d, d->sock);
		n = fd_recv(d->sock, (char *)buf + at, len - at, fds, &nfds);
		if (n <= 0)
			return false;
		assert_true(ret->nfds + nfds <= ARRAY_SIZE(ret->fds));
		for (size_t i = 0; i < nfds; i++)
			ret->fds[ret->nfds++] = fds[i];
		at += (size_t)n;
	}
	return true;
}

bool driver_recv(struct driver *d, struct vu_msg *ret)
{
	memset(ret, 0, sizeof(*ret));
	if (!recv_all(d, &ret->header, sizeof(ret->header), ret))
		return false;
	assert_true(ret->header.size <= VU_PAYLOAD_MAX);
	return recv_all(d, &ret->payload, ret->header.size, ret);
}

bool driver_is_closed(struct driver *d)
{
	struct vu_msg m;

	return !driver_recv(d, &m);
}

uint64_t driver_get(struct driver *d, uint32_t request)
{
	struct vu_msg m;

	assert_true(driver_send(d, request, VU_FLAG_VERSION, NULL, 0, NULL, 0));
	assert_true(driver_recv(d, &m));
	assert_int_equal(m.header.request, request);
	assert_int_equal(m.header.flags, VU_FLAG_VERSION | VU_FLAG_REPLY);
	assert_int_equal(m.header.size, 8);
	return m.payload.u64;
}

int driver_ask(struct driver *d, uint32_t request, const void *payload, uint32_t size,
	       const int *fds, size_t nfds)
{
	struct vu_msg m;

	if (!driver_send(d, request, VU_FLAG_VERSION | VU_FLAG_NEED_REPLY, payload, size, fds,
			 nfds) ||
	    !driver_recv(d, &m))
		return -1;
	assert_int_equal(m.header.request, request);
	assert_int_equal(m.header.flags, VU_FLAG_VERSION | VU_FLAG_REPLY);
	assert_int_equal(m.header.size, 8);
	return m.payload.u64 != 0;
}

int driver_ask_u64(struct driver *d, uint32_t request, uint64_t value)
{
	return driver_ask(d, request, &value, sizeof(value), NULL, 0);
}

int driver_ask_state(struct driver *d, uint32_t request, uint32_t index, uint32_t num)
{
	struct vu_vring_state s = { index, num };

	return driver_ask(d, request, &s, sizeof(s), NULL, 0);
}

void driver_negotiate(struct driver *d, uint64_t features)
{
	uint64_t value = driver_get(d, VU_GET_FEATURES);

	assert_true(value & BIT64(VU_F_PROTOCOL_FEATURES));
	d->features = value & (features | BIT64(VU_F_PROTOCOL_FEATURES));
	d->protocol = driver_get(d, VU_GET_PROTOCOL_FEATURES) & ~BIT64(VU_PF_GPA_ADDRESSES);
	assert_true(driver_send(d, VU_SET_PROTOCOL_FEATURES, VU_FLAG_VERSION, &d->protocol, 8, NULL,
				0));
	assert_int_equal(driver_ask(d, VU_SET_OWNER, NULL, 0, NULL, 0), 0);
	assert_int_equal(driver_ask_u64(d, VU_SET_FEATURES, d->features), 0);
}

int driver_mem_table(struct driver *d)
{
	struct vu_mem_table t = { .count = 1, .regions = { { 0, DRIVER_RAM, DRIVER_USER, 0 } } };

	return driver_ask(d, VU_SET_MEM_TABLE, &t, 8 + sizeof(t.regions[0]), &d->ram_fd, 1);
}

int driver_give_back_channel(struct driver *d)
{
	int pair[2];

	assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair), 0);
	assert_int_equal(driver_ask(d, VU_SET_BACKEND_REQ_FD, NULL, 0, &pair[1], 1), 0);
	fd_close(&pair[1]);
	return pair[0];
}

static int ask_fd(struct driver *d, uint32_t request, unsigned i, int fd)
{
	uint64_t index = i;

	return driver_ask(d, request, &index, sizeof(index), &fd, 1);
}

int driver_get_inflight(struct driver *d, struct vu_inflight *io)
{
	struct vu_msg m;

	assert_true(driver_send(d, VU_GET_INFLIGHT_FD, VU_FLAG_VERSION, io, sizeof(*io), NULL, 0));
	if (!driver_recv(d, &m))
		return -1;
	assert_int_equal(m.header.request, VU_GET_INFLIGHT_FD);
	assert_int_equal(m.header.size, sizeof(*io));
	assert_int_equal(m.nfds, 1);
	*io = m.payload.inflight;
	return m.fds[0];
}

int driver_set_inflight(struct driver *d, const struct vu_inflight *i, int fd)
{
	return driver_ask(d, VU_SET_INFLIGHT_FD, i, sizeof(*i), &fd, 1);
}

void driver_resume_queue(struct driver *d, unsigned i, uint16_t base)
{
	struct driver_queue *q = &d->queues[i];
	struct vu_vring_addr a = { .index = i,
				   .desc = DRIVER_USER + q->desc,
				   .used = DRIVER_USER + q->used,
				   .avail = DRIVER_USER + q->avail };

	assert_int_equal(driver_ask_state(d, VU_SET_VRING_NUM, i, q->size), 0);
	assert_int_equal(driver_ask_state(d, VU_SET_VRING_BASE, i, base), 0);
	assert_int_equal(driver_ask(d, VU_SET_VRING_ADDR, &a, sizeof(a), NULL, 0), 0);
	assert_int_equal(ask_fd(d, VU_SET_VRING_CALL, i, q->call), 0);
	assert_int_equal(ask_fd(d, VU_SET_VRING_ERR, i, q->err), 0);
	assert_int_equal(ask_fd(d, VU_SET_VRING_KICK, i, q->kick), 0);
	assert_int_equal(driver_ask_state(d, VU_SET_VRING_ENABLE, i, 1), 0);
}

void driver_start_queue(struct driver *d, unsigned i, uint16_t size)
{
	struct driver_queue *q = &d->queues[i];

	memset(d->ram + q->desc, 0, QUEUE_SPACE);
	q->size = size;
	q->avail_idx = q->used_idx = q->next_desc = 0;
	fd_drain(q->kick);
	fd_drain(q->call);
	driver_resume_queue(d, i, 0);
}

uint16_t driver_stop_queue(struct driver *d, unsigned i)
{
	struct vu_vring_state s = { i, 0 };
	struct vu_msg m;

	assert_true(driver_send(d, VU_GET_VRING_BASE, VU_FLAG_VERSION, &s, sizeof(s), NULL, 0));
	assert_true(driver_recv(d, &m));
	assert_int_equal(m.header.request, VU_GET_VRING_BASE);
	assert_int_equal(m.header.size, sizeof(s));
	assert_int_equal(m.payload.state.index, i);
	return (uint16_t)m.payload.state.num;
}

uint16_t driver_add(struct driver *d, unsigned i, const struct driver_buf *bufs, unsigned n,
		    uint64_t indirect)
{
	struct driver_queue *q = &d->queues[i];
	struct ring_desc *ring = (struct ring_desc *)(void *)(d->ram + q->desc);
	struct ring_desc *table = indirect ? (struct ring_desc *)(void *)(d->ram + indirect) : ring;
	struct ring_avail *avail = (struct ring_avail *)(void *)(d->ram + q->avail);
	uint16_t head = q->next_desc % q->size;

	for (unsigned k = 0; k < n; k++) {
		unsigned at = indirect ? k : (head + k) % q->size,
			 next = indirect ? k + 1 : (head + k + 1) % q->size;

		table[at] = (struct ring_desc){ bufs[k].gpa, bufs[k].len,
						(uint16_t)((bufs[k].write ? RING_DESC_F_WRITE : 0) |
							   (k + 1 < n ? RING_DESC_F_NEXT : 0)),
						(uint16_t)next };
	}
	if (indirect)
		ring[head] = (struct ring_desc){ indirect, 16 * n, RING_DESC_F_INDIRECT, 0 };
	q->next_desc = (uint16_t)(q->next_desc + (indirect ? 1 : n));
	avail->ring[q->avail_idx % q->size] = head;
	__atomic_store_n(&avail->idx, ++q->avail_idx, __ATOMIC_SEQ_CST);
	return head;
}

void driver_kick(struct driver *d, unsigned i)
{
	fd_signal(d->queues[i].kick);
}

bool driver_used(struct driver *d, unsigned i, uint16_t *ret_head, uint32_t *ret_len)
{
	struct driver_queue *q = &d->queues[i];
	struct ring_used *used = (struct ring_used *)(void *)(d->ram + q->used);
	struct ring_used_elem *u = &used->ring[q->used_idx % q->size];

	if (__atomic_load_n(&used->idx, __ATOMIC_SEQ_CST) == q->used_idx)
		return false;
	q->used_idx++;
	*ret_head = (uint16_t)u->id;
	*ret_len = u->len;
	/* With EVENT_IDX: call for the next one, too. */
	((struct ring_avail *)(void *)(d->ram + q->avail))->ring[q->size] = q->used_idx;
	return true;
}

uint32_t driver_wait_used(struct driver *d, unsigned i, uint16_t *ret_head)
{
	uint32_t len;

	while (!driver_used(d, i, ret_head, &len)) {
		wait_for(d, d->queues[i].call);
		fd_drain(d->queues[i].call);
	}
	return len;
}

uint32_t driver_request(struct driver *d, unsigned i, const struct driver_buf *bufs, unsigned n)
{
	uint16_t head = driver_add(d, i, bufs, n, 0), got;
	uint32_t len;

	driver_kick(d, i);
	len = driver_wait_used(d, i, &got);
	assert_int_equal(got, head);
	return len;
}
