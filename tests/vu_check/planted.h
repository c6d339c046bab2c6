/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A daemon with one fault, for testing vu-check: a good one, on the backend library, and between it
 * and the front end somebody who passes messages on and changes what its fault is about.
 *
 * One thread, one connection at a time; everything of a connection is made anew for the next.
 */
#ifndef TESTS_VU_CHECK_PLANTED_H
#define TESTS_VU_CHECK_PLANTED_H

#include <stdbool.h>
#include <stdint.h>

#include "base/loop.h"
#include "vhost/backend.h"
#include "vhost/wire.h"

enum { PLANTED_SECTORS = 16, PLANTED_SECTOR = 512 };

/* Where a fault is that a message alone does not show: the device's, or in how bytes are taken. */
enum planted_quirk {
	QUIRK_NONE,
	/* of requests */
	QUIRK_NEVER_SERVES, QUIRK_ONE_A_KICK, QUIRK_LOSES_KICK, QUIRK_DEAD_AFTER_RESET,
	QUIRK_BLK_ID, QUIRK_BLK_LAST, QUIRK_BLK_LENGTH, QUIRK_BLK_FLUSH, QUIRK_BLK_UNSUPPORTED,
	QUIRK_BLK_BEYOND, QUIRK_BLK_OVERFLOW, QUIRK_BLK_WRITE, QUIRK_BLK_READ_BACK,
	QUIRK_RNG_SAME, QUIRK_PMEM_ERROR, QUIRK_FS_INIT, QUIRK_FS_UNKNOWN,
	QUIRK_CONSOLE_OUTPUT, QUIRK_CONSOLE_INPUT,
	/* of bytes */
	QUIRK_NO_PIECES, QUIRK_DIES_IN_HEADER, QUIRK_DIES_IN_PAYLOAD, QUIRK_HANGS_OVERSIZE,
};

struct planted;

/* What becomes of a message: it goes on (changed, maybe), or it went no further. */
enum planted_fate { PASS_ON, SWALLOWED };

struct planted_fault {
	const char *name, *rule;	/* rule: the one that must fail */
	const char *type;		/* NULL: blk */
	enum planted_quirk quirk;
	const char *dies_of;		/* ends when a ring breaks for a reason with this word */
	uint32_t shortens;		/* the request whose answer lacks 4 bytes; 0: none */
	/* A message of the front end, or of the daemon; either may be NULL. */
	enum planted_fate (*request)(struct planted *p, struct vu_msg *m);
	enum planted_fate (*answer)(struct planted *p, struct vu_msg *m);
};

/* Ended by name NULL. */
extern const struct planted_fault planted_faults[];

struct planted {
	const struct planted_fault *fault;	/* NULL: none */
	const char *type;
	const char *path;			/* of its socket */
	unsigned connections;			/* so far */
	uint8_t disk[PLANTED_SECTORS * PLANTED_SECTOR];

	/* of this connection */
	struct loop loop;
	struct backend backend;
	struct vu_channel front, lib;		/* owned */
	struct loop_watch front_watch, lib_watch;
	uint64_t protocol, status;		/* acked protocol features; SET_STATUS */
	unsigned seen[VU_REQUEST_END];		/* messages of the front end, by request */
	unsigned added;				/* regions by ADD_MEM_REG */
	uint32_t base;				/* told last */
	bool stopped, reset, skip_run;
	int leaked;				/* an fd that was kept */
	uint8_t last_random;
	int door, other;			/* a console's: listens, its other end; owned */
	struct loop_watch door_watch, other_watch;
	struct backend_queue *receive;		/* NULL until the driver gave it a buffer */
};

/* The device: fills @ret for p->type. */
void planted_device(struct planted *p, struct backend_device *ret);
/* A console's other end, at its socket's path with ".other" behind it: from a connection's begin to
 * its end. What the driver sends goes to who is connected there, and is lost when nobody is. */
void planted_console_begin(struct planted *p);
void planted_console_end(struct planted *p);
/* Nobody is connected any more. */
void planted_console_drop(struct planted *p);
/* Gives the bytes written, none. */
uint32_t planted_console_send(struct planted *p, const struct ring_chain *c);
/* Whether the disk's last sector is still as the daemon began with it. */
bool planted_disk_is_new(const struct planted *p);

/* Answers request @m with a number, in the daemon's place. Gives SWALLOWED. */
enum planted_fate planted_answer(struct planted *p, const struct vu_msg *m, uint64_t value);
/* What a good daemon does with those messages that the library leaves out. */
enum planted_fate planted_good(struct planted *p, struct vu_msg *m);

#endif
