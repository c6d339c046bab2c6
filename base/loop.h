/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The event loop: fds, timers and jobs, dispatched one at a time in one thread.
 *
 * Owned by the thread that calls loop_run. Everything here is legal in that thread only, except
 * loop_post, loop_stop and loop_signal, which any thread may call (a vCPU under its filter as well:
 * they need write(2), a futex and what base/bell.h says). Around every batch of callbacks the loop
 * takes the lock it was given, so a callback runs exactly like device code on a vCPU: with the
 * device lock held. Watches, timers and jobs are embedded in the caller's structs; the loop
 * allocates nothing after loop_init.
 */
#ifndef BASE_LOOP_H
#define BASE_LOOP_H

#include <pthread.h>
#include <stdbool.h>
#include <stdint.h>

#include "base/bell.h"
#include "base/err.h"

struct loop;

/* An fd the loop watches. The owner keeps the fd open until loop_unwatch. */
struct loop_watch {
	int fd;			/* borrowed; -1 when not watched */
	uint32_t events;	/* EPOLLIN, EPOLLOUT; EPOLLHUP and EPOLLERR always come */
	void (*ready)(void *arg, uint32_t events);
	void *arg;
};

/* A one-shot timer. */
struct loop_timer {
	uint64_t at;		/* clock_ns() of expiry; 0 when not armed */
	void (*expired)(void *arg);
	void *arg;
	struct loop_timer *next;
};

/* Work posted to the loop. Posting a job that is already posted does nothing: it runs once. */
struct loop_job {
	void (*run)(void *arg);
	void *arg;
	bool posted;		/* under the loop's own queue lock */
	struct loop_job *next;
};

struct loop {
	int epoll;
	int wake;		/* eventfd: jobs posted, or stop */
	pthread_mutex_t *lock;	/* borrowed: taken around callbacks; NULL for none */
	pthread_mutex_t queue_lock;
	struct loop_job *jobs, **jobs_end;
	struct loop_timer *timers;	/* sorted, soonest first */
	struct loop_watch *ready[16];	/* batch being dispatched; unwatch clears its entry */
	bool stop;		/* under queue_lock */
	struct bell bell;	/* for loop_signal; its owner initialises it, none will do */
};

/* @lock is borrowed until loop_fini. Returns 0 or -errno with @e set. */
int loop_init(struct loop *l, pthread_mutex_t *lock, struct err *e);
/* Calls nobody; what is still watched or posted is forgotten. Works after a failed init, twice. */
void loop_fini(struct loop *l);

/* Starts watching w->fd for w->events. 0, or -errno with @e set. */
int loop_watch(struct loop *l, struct loop_watch *w, struct err *e);
/* Changes the events of a watched fd; those that are not among them are not told any more, even
 * when they were due. */
void loop_watch_events(struct loop *l, struct loop_watch *w, uint32_t events);
/* Stops watching and sets w->fd to -1; its callback is not called any more, even when its event was
 * due. */
void loop_unwatch(struct loop *l, struct loop_watch *w);

/* Arms, or arms again, for clock_ns() time @at. */
void loop_timer_set(struct loop *l, struct loop_timer *t, uint64_t at);
/* Disarms; harmless when not armed. */
void loop_timer_cancel(struct loop *l, struct loop_timer *t);

/* Any thread: runs the job in the loop, soon. The job must outlive its run or be cancelled. */
void loop_post(struct loop *l, struct loop_job *j);
/* Takes a posted job back; afterwards it does not run. */
void loop_cancel(struct loop *l, struct loop_job *j);
/* Any thread: signals an eventfd that is not only ours. It waits for nobody when the bell rings;
 * see base/bell.h. */
void loop_signal(const struct loop *l, int eventfd);
/* Any thread: makes loop_run return once. */
void loop_stop(struct loop *l);

/* Dispatches until loop_stop. */
void loop_run(struct loop *l);
/* Waits at most @timeout_ms (-1: no limit) for one batch and dispatches it; false once stopped. */
bool loop_once(struct loop *l, int timeout_ms);

#endif
