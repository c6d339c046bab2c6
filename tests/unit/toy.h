/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A device on the back end library for tests of that: it writes "pong" into each request, keeps
 * requests when told to, and breaks its queue for a request of 13 bytes. The front end is
 * driver.h's, in the same thread.
 */
#ifndef TESTS_UNIT_TOY_H
#define TESTS_UNIT_TOY_H

#include <stdbool.h>
#include <stdint.h>

#include "driver.h"
#include "vhost/backend.h"

enum { TOY_QUEUES = 2, TOY_CONFIG = 8, TOY_FEATURE = 3, BUF = DRIVER_DATA };

struct toy {
	struct loop loop;
	struct backend backend;
	struct driver driver;
	struct ring_chain chain;
	uint8_t config[TOY_CONFIG];
	uint64_t negotiated;
	bool keep, not_ready;
	uint16_t kept[16];
	unsigned n_kept, runs, dropped;
	struct backend_queue *kept_of;
	unsigned fds;		/* open before the connection */
};

/* cmocka's set-up and tear-down; *state is a struct toy with a connection. */
int toy_setup(void **state);
int toy_teardown(void **state);

/* The state's toy, its features and memory negotiated. */
struct toy *toy_negotiated(void **state);
/* The same with queue 0 of 16 entries running. */
struct toy *toy_running(void **state);
/* A new connection to the same device. */
void toy_connect_again(struct toy *f);
/* A back channel; the front end's side of it, which the caller closes. */
int toy_back_channel(struct toy *f);

/* A request in @queue is answered. */
void toy_assert_pong(struct toy *f, unsigned queue);
/* Nothing is answered in @queue, whatever time the device gets. */
void toy_assert_no_answer(struct toy *f, unsigned queue);
/* The front end leaves: memory, fds and the connection are gone. */
void toy_assert_nothing_left(struct toy *f);

#endif
