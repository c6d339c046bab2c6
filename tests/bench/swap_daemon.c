/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A vhost-user device whose only use is to map and unmap. Its guest hands it a chain and is halted
 * until the order in it comes: stores to pages that it did not touch before. What needs no guest is
 * measured before the last order, while the guest is halted.
 */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/fd.h"
#include "base/range.h"
#include "tests/bench/swap.h"
#include "tests/bench/touch.h"
#include "vhost/backend.h"

enum { PAGE = 4096 };

/* What the guest is to touch first, a store a page of @stride bytes. */
struct touching {
	const char *what;
	uint64_t stride, size;
	bool huge;			/* in the object that was given for it */
};

static const struct touching touchings[] = {
	{ "touch nothing", PAGE, PAGE, false },	/* as good as: what an order costs */
	{ "touch 4K", PAGE, MIB(16), false },
	{ "touch 2M", MIB(2), MIB(16), true },
};

struct device {
	struct loop loop;
	struct backend backend;
	struct ring_chain chain;
	int huge;			/* object of pages of 2 MiB, or -1 */
	int fd;				/* what is mapped for the order under way */
	unsigned next;			/* order: two for each touching, first and again */
	uint64_t sent;
};

static void change(struct device *d, uint64_t at, uint64_t len, int fd)
{
	const struct vu_shmem_map m = { .shm_offset = at, .len = len, .rw = fd >= 0 };
	struct err e;
	int r = fd >= 0 ? backend_shmem_map(&d->backend, &m, fd, &e) :
			  backend_shmem_unmap(&d->backend, &m, &e);

	if (r) {
		errno = -r;
		swap_fail(e.msg);
	}
}

static void device_map(void *arg, uint64_t at, uint64_t len, int fd)
{
	change(arg, at, len, fd);
}

static void device_unmap(void *arg, uint64_t at, uint64_t len)
{
	change(arg, at, len, -1);
}

/* A request that is refused, since the place is taken: what asking alone costs. */
static void measure_refusal(struct device *d)
{
	const struct vu_shmem_map m = { .len = PAGE, .rw = true };
	int fd = swap_object(PAGE);
	uint64_t start, least = UINT64_MAX;
	struct err e;

	device_map(d, 0, PAGE, fd);
	for (int i = 0; i < 25; i++) {
		start = clock_ns();
		if (backend_shmem_map(&d->backend, &m, fd, &e) != -EREMOTEIO)
			swap_fail("a refusal");
		least = min_u64(least, clock_ns() - start);
	}
	swap_say("refused map", PAGE, 1, least);
	device_unmap(d, 0, PAGE);
	fd_close(&fd);
}

/* --- orders --- */

/* The order @d->next is of this; NULL: there is none any more. */
static const struct touching *touching_of(const struct device *d)
{
	return d->next / 2 < ARRAY_SIZE(touchings) ? &touchings[d->next / 2] : NULL;
}

static bool is_again(const struct device *d)
{
	return d->next % 2;
}

/* The guest has obeyed. */
static void order_done(struct device *d)
{
	const struct touching *t = touching_of(d);
	uint64_t now = clock_ns();
	char what[48];

	snprintf(what, sizeof(what), "%s%s", t->what, is_again(d) ? " again" : "");
	swap_say(what, t->size, 1, now - d->sent);
	if (is_again(d)) {
		now = clock_ns();
		device_unmap(d, 0, t->size);
		snprintf(what, sizeof(what), "unmap after %s", t->what);
		swap_say(what, t->size, 1, clock_ns() - now);
		if (!t->huge)
			fd_close(&d->fd);
	}
	d->next++;
}

static void fill_order(struct device *d, struct touch_order *ret)
{
	const struct touching *t = touching_of(d);

	while (t && t->huge && d->huge < 0) {
		d->next += 2;
		t = touching_of(d);
	}
	*ret = (struct touch_order){ .last = !t };
	if (!t) {
		measure_refusal(d);
		swap_measure(&(struct swapper){ device_map, device_unmap, d });
		return;
	}
	if (!is_again(d)) {
		d->fd = t->huge ? d->huge : swap_object(t->size);
		device_map(d, 0, t->size, d->fd);
	}
	*ret = (struct touch_order){ .stride = t->stride, .count = t->size / t->stride };
}

static bool handle_queue(void *arg, struct backend_queue *q)
{
	struct device *d = arg;
	struct touch_order order;

	while (backend_queue_pop(q, &d->chain)) {
		if (d->sent)
			order_done(d);
		fill_order(d, &order);
		ring_chain_write(&d->chain, 0, &order, sizeof(order));
		d->sent = clock_ns();
		backend_queue_push(q, d->chain.head, sizeof(order));
	}
	return true;
}

static const struct backend_ops ops = { .handle_queue = handle_queue };

void swap_daemon(int sock, const char *huge)
{
	static struct device d;		/* large, and one a process */
	const struct backend_device dev = { .name = "swap", .queues = 1, .ops = &ops, .arg = &d,
					    .shmem = { TOUCH_WINDOW } };
	struct err e;

	d.huge = huge ? open(huge, O_RDWR | O_CLOEXEC) : -1;
	if (huge && d.huge < 0)
		swap_fail(huge);
	if (loop_init(&d.loop, NULL, &e) || backend_init(&d.backend, &d.loop, &dev, &e) ||
	    backend_connect(&d.backend, &sock, &e)) {
		fprintf(stderr, "swap: %s\n", e.msg);
		exit(1);
	}
	loop_run(&d.loop);
	backend_fini(&d.backend);
	loop_fini(&d.loop);
	fd_close(&d.huge);
	if (touching_of(&d))
		exit(1);	/* minivmm ended before the guest had done all */
}
