/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The bell of a channel (ring.h) by file descriptors. Two kinds, the same code:
 *
 *	eventfds	on the host: one that the guest rings, one by which the guest is rung;
 *			between two processes, two that both have
 *	/dev/vmshm0	in a guest: one fd both ways; read tells that the host rang, write rings
 *
 *	struct ring_fds fds = ring_fds_events(guest_rings, rings_guest);
 *	struct ring_bell bell = ring_fds_bell(&fds, 1000);
 *	ring_attach(&r, mem, size, &bell);
 *
 * Who has a poll() of their own puts fds.wait into it (POLLIN) between ring_arm and ring_disarm,
 * and calls ring_fds_taken when it is ready.
 */
#ifndef GUEST_EXAMPLES_RING_FDS_H
#define GUEST_EXAMPLES_RING_FDS_H

#include <errno.h>
#include <poll.h>
#include <stdint.h>
#include <unistd.h>

#include "ring.h"

struct ring_fds {
	int wait, ring;		/* borrowed */
	uint64_t event;		/* written to @ring: to an eventfd 1, to a device a number, */
	unsigned bytes;		/* in so many bytes; as many are read from @wait */
};

static inline struct ring_fds ring_fds_events(int wait, int ring)
{
	return (struct ring_fds){ wait, ring, 1, sizeof(uint64_t) };
}

/* @event: which of the device's events rings the host; what the host rings is told by any. */
static inline struct ring_fds ring_fds_device(int fd, uint32_t event)
{
	return (struct ring_fds){ fd, fd, event, sizeof(uint32_t) };
}

/* A bell's ring: @arg is the struct ring_fds. */
static inline int ring_fds_ring(void *arg)
{
	const struct ring_fds *f = arg;
	uint32_t event = (uint32_t)f->event;
	const void *from = f->bytes == sizeof(event) ? (const void *)&event : &f->event;

	while (write(f->ring, from, f->bytes) < 0) {
		/* a full eventfd is one that was rung already */
		if (errno != EINTR)
			return errno == EAGAIN ? 0 : -errno;
	}
	return 0;
}

/* Takes what made @wait ready, so that the next poll waits for the next. */
static inline int ring_fds_taken(const struct ring_fds *f)
{
	uint64_t count;

	if (read(f->wait, &count, f->bytes) < 0 && errno != EAGAIN && errno != EINTR)
		return -errno;
	return 0;
}

/* A bell's sleep. -EPIPE: the device is gone. */
static inline int ring_fds_sleep(void *arg, int ms)
{
	const struct ring_fds *f = arg;
	struct pollfd p = { .fd = f->wait, .events = POLLIN };
	int n = poll(&p, 1, ms);

	if (n <= 0)
		return n < 0 && errno != EINTR ? -errno : 0;
	return p.revents & POLLIN ? ring_fds_taken(f) : -EPIPE;
}

/* @fds is borrowed as long as the channel is used; @spin as in struct ring_bell. */
static inline struct ring_bell ring_fds_bell(struct ring_fds *fds, unsigned spin)
{
	return (struct ring_bell){ ring_fds_ring, ring_fds_sleep, fds, spin };
}

#endif
