/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What daemons are given beside guest RAM: parts of windows (memory/window.h) whose owner wants
 * them shared.
 *
 * One table for a machine. A giver adds regions and withdraws them; a taker tells a daemon of what
 * is in the table, and holds a region from before the daemon is told until it is known to have let
 * go. A withdrawn region stays, unseen, while somebody holds it; then it is gone and its giver is
 * told. So the giver knows when the object behind it is nobody else's any more.
 *
 * Legal in the loop only.
 */
#ifndef MEMORY_SHARED_H
#define MEMORY_SHARED_H

#include <stdbool.h>
#include <stdint.h>

/* Withdrawn ones that are held included. Daemons take about as many. */
enum { MEM_SHARED_MAX = 512 };

struct mem_shared_giver {
	const char *name;		/* for messages */
	/* A withdrawn region is gone. Called from whatever let go of it: may only post a job. */
	void (*released)(void *arg);
	void *arg;
};

struct mem_shared_taker {
	/* The table changed. Called from the giver: may only post a job. */
	void (*changed)(void *arg);
	void *arg;
	struct mem_shared_taker *next;
};

struct mem_shared_region {
	uint64_t gpa, size;		/* where the guest sees it; multiples of the page size */
	int fd;				/* the object, borrowed until withdrawn */
	uint64_t fd_offset;
	uint64_t offset;		/* in the giver's window; the giver's note */
	bool withdrawn;
	uint64_t withdrawn_at;		/* clock_ns() of it */
	unsigned holders;
	const struct mem_shared_giver *giver;	/* NULL: is gone itself */
	struct mem_shared_region *next;
};

/* All zero is an empty table. It owns the regions, and is empty when givers and takers are gone. */
struct mem_shared {
	struct mem_shared_region *first;	/* in the order they came */
	unsigned count;
	struct mem_shared_taker *takers;
};

/* Adds a copy of @r (gpa to offset are read) in the name of @g, borrowed until mem_shared_part. The
 * region, valid until it is withdrawn; NULL when there are MEM_SHARED_MAX or no memory is left. */
struct mem_shared_region *mem_shared_add(struct mem_shared *t, const struct mem_shared_giver *g,
					 const struct mem_shared_region *r);
/* The giver has to forget @r: it is gone now or when nobody holds it. */
void mem_shared_withdraw(struct mem_shared *t, struct mem_shared_region *r);
/* Whether somebody still holds what @g withdrew of [offset, offset + len) of its window. */
bool mem_shared_is_held(const struct mem_shared *t, const struct mem_shared_giver *g,
			uint64_t offset, uint64_t len);
/* @g, all of whose regions are withdrawn, goes and hears no more. */
void mem_shared_part(struct mem_shared *t, const struct mem_shared_giver *g);

/* @k is borrowed until mem_shared_leave, before which it has let go of everything. */
void mem_shared_join(struct mem_shared *t, struct mem_shared_taker *k);
void mem_shared_leave(struct mem_shared *t, struct mem_shared_taker *k);
/* Once for each taker, of a region that is not withdrawn; and later the opposite. */
void mem_shared_hold(struct mem_shared_region *r);
void mem_shared_let_go(struct mem_shared *t, struct mem_shared_region *r);

#endif
