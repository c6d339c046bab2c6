/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Rules that a vhost-user daemon is judged by, and what they are written with.
 *
 * Theory of operation. Every rule gets a connection of its own, brought as far as it says (`from`).
 * What fails on that way is not the rule's matter: it is blocked then, and another rule, which is
 * about just that step (`own`), fails. An answer that is malformed fails the first rule that gets
 * it and blocks the others. So one fault of a daemon is told by one rule. After each rule the next
 * connection is opened at once, and a daemon that does not answer there any more was killed, or
 * hung, by the rule before.
 */
#ifndef TOOLS_CHECK_H
#define TOOLS_CHECK_H

#include <stdbool.h>
#include <stdint.h>

#include "base/err.h"
#include "memory/guest_mem.h"
#include "tools/driver_ring.h"
#include "tools/vu_client.h"

#define CHECK_RAM_SIZE		MIB(16)
/* User addresses are of no other use than to name memory: nobody's guest addresses. */
#define CHECK_USER_BASE		BIT64(44)

enum {
	CHECK_RINGS = 3,		/* most that a device's request needs started */
	CHECK_QUIET_MS = 150,		/* that nothing may happen in, where nothing may */
};

/* How far a rule's connection is when it begins; each includes those before. */
enum check_from {
	CHECK_FROM_CONNECTED,	/* GET_FEATURES was answered */
	CHECK_FROM_NEGOTIATED,	/* all that rules rest on is acked, and what this one is about */
	CHECK_FROM_MEMORY,	/* the daemon has all RAM, in one region */
	CHECK_FROM_STARTED,	/* rings have memory and eventfds; they are disabled */
	CHECK_FROM_RUNNING,	/* they are enabled */
	CHECK_FROM_SERVING,	/* and one request was served */
};

enum check_verdict { CHECK_PASS, CHECK_FAIL, CHECK_SKIP, CHECK_BLOCKED, CHECK_VERDICTS };

/* A device that requests are known for. One const row each. */
struct check_device {
	const char *name;		/* the device type's */
	uint8_t queues;			/* that are started, at most CHECK_RINGS */
	uint8_t queue;			/* the one of them that requests go to */
	uint64_t features;		/* of its own that are acked when offered */
	/* Fills a slot with a request that asks for little and changes nothing, and its parts;
	 * gives how many. */
	unsigned (*request)(uint8_t *slot, struct driver_part *parts);
};

struct check_options {
	char *type, *socket;		/* type: NULL when none is said */
	char *other;			/* of a console: the socket of its other end; may be NULL */
	uint64_t timeout;		/* seconds */
	bool write;			/* may write to the disk */
};

/* The state of one rule. */
struct check {
	const struct check_options *options;
	const struct check_device *device;	/* NULL: no requests are known */
	struct guest_mem ram;
	struct vu_client client;
	uint64_t features, protocol;	/* offered */
	uint64_t acked;			/* virtio features */
	uint64_t user_base;		/* what ring addresses are told relative to */
	struct driver_ring rings[CHECK_RINGS];
	struct driver_ring *ring;	/* the one of them that requests go to */
	bool step_failed;		/* one of the steps below, or the form of an answer */
	struct err e;			/* why the verdict is what it is */
};

struct check_rule {
	const char *id;			/* "ring.base" */
	const char *section;		/* of the vhost-user specification, or of VIRTIO */
	const char *says;		/* what has to be so: a sentence */
	enum check_from from;
	const char *device;		/* of this type only; NULL: of any */
	uint64_t protocol;		/* protocol features without which it says nothing */
	bool gate;			/* needs feature bit 30 */
	bool requests;			/* needs a device that requests are known for */
	bool own;			/* is about a step of the way: what fails there fails it */
	/* 0: it is so; CHECK_SKIP by check_skip; CHECK_BLOCKED with check->e: another rule's step
	 * was in the way; a negative number with check->e: it is not so. */
	int (*run)(struct check *c);
};

/* The rules of each file, in the order that they are tried in; ended by id NULL. */
extern const struct check_rule check_answer_rules[], check_ring_rules[], check_stop_rules[];
extern const struct check_rule check_memory_rules[], check_state_rules[];
extern const struct check_rule check_blk_rules[], check_device_rules[], check_console_rules[];
/* Those that a daemon is most likely to end by, hence last. */
extern const struct check_rule check_hostile_rules[], check_table_rules[];
/* All of those; ended by NULL. */
extern const struct check_rule *const check_rules[];

/* The row of that type, or NULL. */
const struct check_device *check_device_named(const char *name);

/* ---- What rules are written with. Functions give 0 or -errno with check->e. ---- */

/* Says in check->e why, and gives CHECK_SKIP, or a negative number: the rule's result. */
int check_skip(struct check *c, const char *fmt, ...) __attribute__((format(printf, 2, 3)));
int check_fail(struct check *c, const char *fmt, ...) __attribute__((format(printf, 2, 3)));

/* The steps to each level, from the one before it. @features are acked, and beside the protocol
 * features that every rule has, @protocol as far as they are offered. */
int check_negotiate(struct check *c, uint64_t features, uint64_t protocol);
int check_give_memory(struct check *c);
/* Lays the rings out anew and starts them at @base, all but those at and above queue @count. */
int check_start(struct check *c, unsigned count, uint16_t base);
int check_enable(struct check *c, bool on);
/* What the rule is to know of a ring already laid out: NUM, BASE, ADDR and its eventfds. */
int check_start_ring(struct check *c, struct driver_ring *r, uint16_t base);
/* All virtio features of the daemon that are acked. */
uint64_t check_known_features(const struct check *c);
/* Ends the connection and opens another, up to CHECK_FROM_CONNECTED. */
int check_reconnect(struct check *c);

/* A message that is to be obeyed: vu_client_tell. */
int check_tell(struct check *c, struct vu_msg m);
/* A message that is to be refused: by an answer, or by the end of the connection. */
int check_refused(struct check *c, struct vu_msg m);
/* What came of it, as vu_client_try. */
int check_try(struct check *c, struct vu_msg m);
/* A round trip after which everything sent before has been seen. */
int check_barrier(struct check *c);

/* Makes a request of the device's available. */
void check_add(struct check *c);
/* Waits until the used index is the avail index. */
int check_wait_used(struct check *c);
/* check_add, kick, check_wait_used. */
int check_serve(struct check *c);
/* That the used index stays @idx for CHECK_QUIET_MS; @when completes the sentence. */
int check_untouched(struct check *c, uint16_t idx, const char *when);

/* Where vu-check's report goes: text, or one JSON document. */
struct check_report {
	bool json;
	unsigned counts[CHECK_VERDICTS];
};

void check_report_begin(struct check_report *r);
void check_report_rule(struct check_report *r, const struct check_rule *rule,
		       enum check_verdict verdict, const char *why);
/* Prints every rule's id, section and sentence. */
void check_report_list(void);
/* Says the sums and, in JSON, what was asked for. */
void check_report_end(struct check_report *r, const struct check_options *o);

/* Judges the daemon by all rules, in order. 0, or -errno with @e: it could not be tried. */
int check_run(const struct check_options *o, struct check_report *report, struct err *e);

#endif
