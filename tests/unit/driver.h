/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A front end and a guest's driver in one, for tests of back ends: it owns RAM (a memfd), speaks
 * whatever a test tells it to on a socket, right or wrong, and puts requests into rings.
 *
 * The back end runs in the same thread (set `loop`: it is turned whenever this side waits) or in
 * another process. Every wait ends the test when nothing comes for ten seconds.
 */
#ifndef TESTS_UNIT_DRIVER_H
#define TESTS_UNIT_DRIVER_H

#include <stdbool.h>
#include <stdint.h>

#include "base/loop.h"
#include "vhost/backend.h"
#include "vhost/proto.h"

enum {
	DRIVER_QUEUES = 6,
	DRIVER_RAM = 4 << 20,
	DRIVER_DATA = 0x100000,		/* gpa from which tests may use RAM as they like */
};
#define DRIVER_USER UINT64_C(0x7f0000000000)	/* user address of gpa 0 */

struct driver_queue {
	uint16_t size, avail_idx, used_idx, next_desc;
	int kick, call, err;
	uint64_t desc, avail, used;	/* gpa */
};

struct driver {
	int sock;
	struct loop *loop;		/* of a back end in this thread; NULL for a process */
	int ram_fd;
	uint8_t *ram;
	uint64_t features, protocol;	/* acked */
	struct driver_queue queues[DRIVER_QUEUES];
};

/* One buffer of a request. */
struct driver_buf {
	uint64_t gpa;
	uint32_t len;
	bool write;			/* by the device */
};

/* Takes *@sock. */
void driver_init(struct driver *d, int *sock, struct loop *loop);
/* The same with a back end in this thread: @b becomes one of @dev in @loop, and is connected. */
void driver_serve(struct driver *d, struct backend *b, struct loop *loop,
		  const struct backend_device *dev);
void driver_fini(struct driver *d);
/* Leaves this back end for another: keeps RAM, closes the socket, takes *@sock. */
void driver_reconnect(struct driver *d, int *sock);

/* Turns the back end's loop until it has nothing to do. */
void driver_settle(struct driver *d);
/* Sends as given; false when the peer is gone. */
bool driver_send(struct driver *d, uint32_t request, uint32_t flags, const void *payload,
		 uint32_t size, const int *fds, size_t nfds);
/* Receives; false at the end of the stream. The caller owns ret->fds. */
bool driver_recv(struct driver *d, struct vu_msg *ret);
/* Whether the back end has closed the connection (waits for it). */
bool driver_is_closed(struct driver *d);

/* A request that is answered with a u64. */
uint64_t driver_get(struct driver *d, uint32_t request);
/* A request with need_reply: its answer (0: obeyed), or -1 when the connection ended. */
int driver_ask(struct driver *d, uint32_t request, const void *payload, uint32_t size,
	       const int *fds, size_t nfds);
int driver_ask_u64(struct driver *d, uint32_t request, uint64_t value);
int driver_ask_state(struct driver *d, uint32_t request, uint32_t index, uint32_t num);

/* Features: bit 30 and what of @features is offered; protocol features: all offered but
 * GPA_ADDRESSES. */
void driver_negotiate(struct driver *d, uint64_t features);
/* All of RAM as one region by SET_MEM_TABLE. */
int driver_mem_table(struct driver *d);
/* SET_BACKEND_REQ_FD; returns this side's end, which the caller owns. */
int driver_give_back_channel(struct driver *d);
/* GET_INFLIGHT_FD for io->num_queues of io->queue_size: the fd, which the caller owns, and in *@io
 * what was answered; -1 when the connection ended. */
int driver_get_inflight(struct driver *d, struct vu_inflight *io);
/* SET_INFLIGHT_FD, as driver_ask. */
int driver_set_inflight(struct driver *d, const struct vu_inflight *i, int fd);
/* Empties the rings in RAM and sets queue @i up: NUM, BASE, ADDR, CALL, ERR, KICK, ENABLE. */
void driver_start_queue(struct driver *d, unsigned i, uint16_t size);
/* The same messages for rings that stay as they are, from avail index @base. */
void driver_resume_queue(struct driver *d, unsigned i, uint16_t base);
/* GET_VRING_BASE. */
uint16_t driver_stop_queue(struct driver *d, unsigned i);

/* Makes a chain available; returns its head. With @indirect the descriptors go to an indirect table
 * at this gpa. */
uint16_t driver_add(struct driver *d, unsigned i, const struct driver_buf *bufs, unsigned n,
		    uint64_t indirect);
void driver_kick(struct driver *d, unsigned i);
/* Takes one used element; false when there is none now. */
bool driver_used(struct driver *d, unsigned i, uint16_t *ret_head, uint32_t *ret_len);
/* Waits for one; returns the written length. */
uint32_t driver_wait_used(struct driver *d, unsigned i, uint16_t *ret_head);
/* driver_add, driver_kick, driver_wait_used. */
uint32_t driver_request(struct driver *d, unsigned i, const struct driver_buf *bufs, unsigned n);

#endif
