/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What the front end's files share; nobody else includes it.
 *
 * A life phase (connect, start, stop) is a script: a const table of steps, each one request. The
 * engine walks it, sending ahead of the answers as far as a window allows, so that a start costs
 * few round trips; a step that must know an answer first says `hold`. Memory is bounded: nothing is
 * queued while the socket is full, and what the guest or the daemon wants beside the script (config
 * bytes, a re-read) is kept as flags, not as messages.
 */
#ifndef VHOST_FRONTEND_PRIVATE_H
#define VHOST_FRONTEND_PRIVATE_H

#include "vhost/frontend.h"

enum {
	VU_WINDOW = 16,		/* unanswered requests of a script; the rest: config, barriers */
	VU_NAMES = 256,		/* room for the names of all protocol features */
};

struct vu_step {
	uint32_t request;	/* 0 ends the script */
	uint64_t needs;		/* protocol features without which it is left out */
	uint8_t group;		/* neighbours of one group are done ring by ring; 0: once */
	bool repeat;		/* again until there is nothing to send */
	bool hold;		/* nothing else is sent before the answer */
	bool after_config;	/* what the guest wrote to config space goes out first */
	/* Makes the message's payload and fds (borrowed). 1: send it, 0: nothing to send, or
	 * -errno with @e. NULL: no payload. */
	int (*fill)(struct vu_frontend *f, unsigned ring, struct vu_msg *m, struct err *e);
	vu_answer *answer;
};

enum vu_notice {
	VU_NOTICE_READY, VU_NOTICE_STARTED, VU_NOTICE_STOPPED, VU_NOTICE_SWITCHED,
	VU_NOTICE_CONFIG, VU_NOTICE_CONFIG_READ,
	VU_NOTICE_RING_ERROR, VU_NOTICE_LOST, VU_NOTICE_DEAD,
};

/* frontend.c. Tells the owner from the loop. */
void vu_frontend_notify(struct vu_frontend *f, enum vu_notice n);
/*
 * Ends the connection; the owner is told "NAME (socket PATH): " and the sentence. @closed: the
 * daemon ended it. Everything calls it, so after any call below the state may be GONE.
 */
void vu_frontend_lost(struct vu_frontend *f, bool closed, const char *fmt, ...)
	__attribute__((format(printf, 3, 4)));

/* frontend_engine.c. Watches the socket. 0 or -errno with @e. */
int vu_engine_init(struct vu_frontend *f, struct err *e);
void vu_engine_fini(struct vu_frontend *f);
/* Begins a script over the rings of mask @rings; @complete when all of it is answered. */
void vu_engine_script(struct vu_frontend *f, const struct vu_step *steps, uint64_t rings,
		      void (*complete)(struct vu_frontend *f));
/* Sends @m (id, payload, fds set) now; @at and @len are the answer's to know. */
void vu_engine_request(struct vu_frontend *f, struct vu_msg *m, unsigned at, unsigned len,
		       vu_answer *answer);
/* The answer of REPLY_ACK to @p: 0, or -EPROTO with @e for a refusal. */
int vu_engine_check_ack(const struct vu_pending *p, const struct vu_msg *m, struct err *e);
/* Gives the daemon all of the deadline again. */
void vu_engine_await(struct vu_frontend *f);
/* Goes on as far as socket and window allow, and not while the back channel owes an answer. */
void vu_engine_pump(struct vu_frontend *f);
/* Takes in the answers that are there. */
void vu_engine_receive(struct vu_frontend *f);

/* frontend_connect.c */
void vu_connect_begin(struct vu_frontend *f);

/* frontend_memory.c. The RAM region that holds all of [gpa, gpa + len), as a user address of the
 * daemon's table. -EINVAL when none does. */
int vu_memory_user_addr(const struct vu_frontend *f, uint64_t gpa, uint64_t len, uint64_t *ret);
/* Takes part in params.shared; ends that: the daemon holds nothing any more. */
void vu_memory_init(struct vu_frontend *f);
void vu_memory_fini(struct vu_frontend *f);
/* A script is at its end and everything is answered. */
void vu_memory_settle(struct vu_frontend *f);
/* Fill functions: SET_MEM_TABLE, REM_MEM_REG, ADD_MEM_REG, as far as the daemon's table differs;
 * and what the last two are answered. */
int vu_memory_fill_table(struct vu_frontend *f, unsigned ring, struct vu_msg *m, struct err *e);
int vu_memory_fill_rem(struct vu_frontend *f, unsigned ring, struct vu_msg *m, struct err *e);
int vu_memory_fill_add(struct vu_frontend *f, unsigned ring, struct vu_msg *m, struct err *e);
int vu_memory_removed(struct vu_frontend *f, const struct vu_pending *p, const struct vu_msg *m,
		      struct err *e);
int vu_memory_added(struct vu_frontend *f, const struct vu_pending *p, const struct vu_msg *m,
		    struct err *e);

/* frontend_rings.c. Makes and watches the eventfd of SET_VRING_ERR. 0 or -errno with @e. */
int vu_rings_init(struct vu_frontend *f, struct err *e);
void vu_rings_fini(struct vu_frontend *f);

/* frontend_switch.c. A script is at its end: what was to be switched meanwhile is due. */
void vu_switch_init(struct vu_frontend *f);
void vu_switch_settle(struct vu_frontend *f);
/* Nothing is switched any more. */
void vu_switch_cancel(struct vu_frontend *f);

/* frontend_inflight.c. GET_INFLIGHT_FD, when there is no buffer yet, with its answer; and
 * SET_INFLIGHT_FD, when there is one. */
int vu_inflight_fill_get(struct vu_frontend *f, unsigned ring, struct vu_msg *m, struct err *e);
int vu_inflight_got(struct vu_frontend *f, const struct vu_pending *p, const struct vu_msg *m,
		    struct err *e);
int vu_inflight_fill_set(struct vu_frontend *f, unsigned ring, struct vu_msg *m, struct err *e);

/* frontend_config.c. Fill and answer of the first GET_CONFIG; sends what has become due. */
int vu_config_fill(struct vu_frontend *f, unsigned ring, struct vu_msg *m, struct err *e);
int vu_config_first(struct vu_frontend *f, const struct vu_pending *p, const struct vu_msg *m,
		    struct err *e);
void vu_config_pump(struct vu_frontend *f);
/* Whether the guest wrote what has not gone out yet. */
bool vu_config_is_owed(const struct vu_frontend *f);

/* frontend_back.c. Makes the socket pair, the daemon's end is f->lent. 0 or -errno with @e. */
int vu_back_init(struct vu_frontend *f, struct err *e);
void vu_back_fini(struct vu_frontend *f);
/* Fill of SET_BACKEND_REQ_FD. */
int vu_back_fill(struct vu_frontend *f, unsigned ring, struct vu_msg *m, struct err *e);

/* frontend_shmem.c. Answer of GET_SHMEM_CONFIG. */
int vu_shmem_config(struct vu_frontend *f, const struct vu_pending *p, const struct vu_msg *m,
		    struct err *e);
/* Serves SHMEM_MAP or SHMEM_UNMAP of the right shape: checks, asks the owner. 0 or -errno, @e. */
int vu_shmem_serve(struct vu_frontend *f, struct vu_msg *m, struct err *e);
/* Takes back what the request whose answer cannot be sent had mapped. */
void vu_shmem_undo(struct vu_frontend *f);

static inline bool vu_has(const struct vu_frontend *f, enum vu_protocol_feature pf)
{
	return f->protocol >> pf & 1;
}

#endif
