/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A vhost-user daemon for tests that does what it is told, wrong things included.
 *
 * It sits on one end of a socket pair and is driven by the test's own loop, in the test's thread:
 * nothing waits and nothing races. It answers as a good daemon does, remembers all it got, judges
 * every message by the table of proto.h, and at one chosen point commits one chosen fault. It owns
 * its end of the pair and every fd it was sent.
 */
#ifndef TESTS_UNIT_SCRIPTED_DAEMON_H
#define TESTS_UNIT_SCRIPTED_DAEMON_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/err.h"
#include "base/loop.h"
#include "vhost/proto.h"
#include "vhost/wire.h"

enum scripted_fault {
	FAULT_NONE,
	FAULT_CLOSE,		/* ends the connection instead of answering */
	FAULT_VERSION,		/* answers with version 2 */
	FAULT_NO_REPLY_FLAG,	/* answers without the reply flag */
	FAULT_NEED_REPLY,	/* answers with need_reply still set */
	FAULT_ID,		/* answers under another request's id */
	FAULT_SHORT_HEADER,	/* half a header, then the end */
	FAULT_CUT,		/* header and half the payload, then the end */
	FAULT_SMALL,		/* payload one byte short, header says so */
	FAULT_BIG,		/* payload eight bytes too long, header says so */
	FAULT_HUGE,		/* header announces 2 GiB */
	FAULT_ONE_FD,		/* an fd with an answer that has none */
	FAULT_NINE_FDS,		/* more than any message has */
	FAULT_MANY_FDS,		/* more than one recvmsg takes */
	FAULT_LATE_FD,		/* an fd with the payload instead of the first byte */
	FAULT_TWICE,		/* the same answer again */
	FAULT_REFUSE,		/* an answer that says no, where a request has one */
	FAULT_SILENT,		/* keeps the answer, and all later ones, until told to give them */
	FAULT_BYTEWISE,		/* legal: every answer from here on a byte a write */
	FAULTS
};

enum { SCRIPTED_SEEN_MAX = 1024, SCRIPTED_HELD_MAX = 64 };

struct scripted_ring {
	struct vu_vring_addr addr;
	uint32_t num, base;
	bool started, enabled;
	int kick, call, err;		/* owned; -1: none */
};

struct scripted_seen {
	struct vu_header header;
	uint64_t u64;			/* the first eight bytes of payload */
	struct vu_mem_region region;	/* of ADD_MEM_REG and REM_MEM_REG */
	size_t nfds;
};

struct scripted_daemon {
	/* What it is; good defaults, to be changed by the test before the loop runs. */
	uint64_t features, protocol;	/* offered */
	uint8_t shmem_bit;		/* the protocol feature that it has for SHMEM; 0: its own */
	uint64_t queues, slots;
	uint8_t config[VU_CONFIG_MAX];
	struct vu_shmem_config shmem;	/* answer of GET_SHMEM_CONFIG */
	/* INFLIGHT_SHMFD: GET_INFLIGHT_FD is answered with this, whatever was asked, and with
	 * inflight_fd (borrowed; -1: none). */
	struct vu_inflight inflight;
	int inflight_fd;
	bool refuse_features_ok;	/* STATUS: never shows FEATURES_OK */

	/* The fault, at the first answer that is due at message number @fault_at (from 1) or later,
	 * or, when @fault_on is set, at the first one to that request. */
	enum scripted_fault fault;
	unsigned fault_at;
	uint32_t fault_on;

	/* What it got. */
	struct scripted_seen seen[SCRIPTED_SEEN_MAX];
	unsigned n_seen;
	struct scripted_ring rings[VU_VRING_IDX_MASK + 1];
	struct vu_mem_region regions[64];
	int region_fds[64];
	unsigned n_regions;
	struct vu_inflight inflight_asked, inflight_set;	/* the last GET and SET, ... */
	unsigned long long inflight_inode;	/* ... and the file that came with it */
	uint64_t acked, protocol_acked, status;
	struct err illegal;		/* the first message the protocol forbids; empty: none */
	bool closed;			/* the front end ended its direction */

	/* private */
	struct loop *loop;
	struct vu_channel channel;
	struct loop_watch watch;
	struct vu_channel back;		/* our end of the back channel */
	unsigned received;
	bool faulted, silent, bytewise;
	struct vu_msg held[SCRIPTED_HELD_MAX];
	unsigned n_held;
};

/* Makes the pair; returns the front end's end, which the caller owns. */
int scripted_daemon_init(struct scripted_daemon *d, struct loop *loop);
/* Closes everything; the front end sees the end of the stream. Works twice. */
void scripted_daemon_fini(struct scripted_daemon *d);

/* Runs the loop until nothing is ready; timers that are not due are not waited for. */
void scripted_settle(struct loop *loop);

/* "GET_FEATURES SET_OWNER": the requests since the last call, in order; valid until the next. */
const char *scripted_daemon_order(struct scripted_daemon *d);
/* How many messages with this id are remembered. */
unsigned scripted_daemon_count(const struct scripted_daemon *d, uint32_t request);
/* The last of them; NULL for none. */
const struct scripted_seen *scripted_daemon_last(const struct scripted_daemon *d, uint32_t request);

/* FAULT_SILENT: gives the answers that were kept, and answers normally again. */
void scripted_daemon_give(struct scripted_daemon *d);

/* Sends raw bytes on the main channel. */
void scripted_daemon_send(struct scripted_daemon *d, const void *bytes, size_t len);
/* Sends a request on the back channel: header and @size bytes of payload, with fds. */
void scripted_daemon_back_request(struct scripted_daemon *d, uint32_t request, uint32_t flags,
				  const void *payload, uint32_t size, const int *fds, size_t nfds);
/* Receives an answer on the back channel: 1 and its u64, 0 when there is none, -1 when it ended. */
int scripted_daemon_back_answer(struct scripted_daemon *d, uint32_t request, uint64_t *ret);

#endif
