/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The owner of a front end, as a device is one, for tests: RAM in two regions, two rings, a
 * scripted daemon, and a count of all it is told. Include after cmocka.h.
 */
#ifndef TESTS_UNIT_OWNER_H
#define TESTS_UNIT_OWNER_H

#include <stdbool.h>
#include <stdint.h>

#include "base/err.h"
#include "base/loop.h"
#include "base/range.h"
#include "tests/unit/scripted_daemon.h"
#include "vhost/frontend.h"

#define VERSION_1 BIT64(32)
/* What the scripted daemon offers by default. */
#define GOOD (BIT64(VU_PF_MQ) | BIT64(VU_PF_REPLY_ACK) | BIT64(VU_PF_CONFIG) |			\
	      BIT64(VU_PF_BACKEND_REQ) | BIT64(VU_PF_BACKEND_SEND_FD) |				\
	      BIT64(VU_PF_CONFIGURE_MEM_SLOTS))

/* The messages of one ring, in order. */
#define RING "SET_VRING_NUM SET_VRING_BASE SET_VRING_ADDR SET_VRING_ERR SET_VRING_CALL "	\
	     "SET_VRING_KICK"

/* The same with shared memory regions. */
#define SHMEM (GOOD | BIT64(VU_PF_SHMEM))

enum { OWNER_RINGS = 2, OWNER_CONFIG = 60, OWNER_MAPPINGS = 64 };

struct owner {
	struct loop loop;
	struct guest_mem mem;
	struct scripted_daemon daemon;
	struct vu_frontend frontend;
	struct vu_frontend_params params;
	const struct vu_frontend_ops *ops;	/* owner_ops; may be changed before owner_connect */
	int kick[OWNER_RINGS], call[OWNER_RINGS];
	unsigned ready, started, stopped, switched, lost, dead, config_changed, ring_error;
	bool lost_dead;		/* what `lost` said */
	bool in_call;		/* a vu_frontend_* call is on the stack */
	bool fini_when_lost;
	char why[512];

	/* What is mapped: kept as the contract says, dropped when stopped or lost is told. */
	struct vu_shmem_map mapped[OWNER_MAPPINGS];
	unsigned n_mapped, maps, unmaps;	/* and how often each was asked for */
	int refuse_map, refuse_unmap;		/* -errno to refuse the next ones with */
	unsigned long long mapped_inode;	/* of the last fd */
	void (*in_map)(struct owner *f);	/* called inside shmem_map; NULL: nothing */
};

/* cmocka's set-up and tear-down: nothing is connected yet; everything is closed. */
int owner_setup(void **state);
int owner_teardown(void **state);
/* Ends front end (twice) and daemon only. */
void owner_fini(struct owner *f);

extern const struct vu_frontend_ops owner_ops;

/* Begins to connect to the daemon, whose script may be changed before the loop runs. */
void owner_connect(struct owner *f);
/* Runs the loop until the front end is ready. */
void owner_connected(struct owner *f);
/* Both, with a daemon that offers @protocol; then two rings started as well. */
struct owner *owner_ready(void **state, uint64_t protocol);
struct owner *owner_running(void **state, uint64_t protocol);

/* Describes ring @at with the addresses and eventfds of the owner's ring @i. */
void owner_latch(struct owner *f, unsigned i, unsigned at);
/* vu_frontend_start with the two rings, and vu_frontend_stop; neither may tell anything yet. */
int owner_start(struct owner *f, struct err *e);
void owner_stop(struct owner *f);
/* The daemon says that its config changed. */
void owner_config_change(struct owner *f, uint32_t flags);
/* Connect, start, config write, config change, stop: as far as they go. */
void owner_live(struct owner *f);
/* Messages the daemon gets in such a life when nothing goes wrong. */
unsigned owner_life_length(uint64_t protocol);

/* Lost, told once, in a sentence that names the device and holds @what. */
void owner_assert_lost(struct owner *f, const char *what);
/* The daemon got no message the protocol forbids. */
void owner_assert_legal(struct owner *f);

#endif
