/* SPDX-License-Identifier: Apache-2.0 */
#include "base/loop.h"

#include <assert.h>
#include <errno.h>
#include <string.h>
#include <sys/epoll.h>

#include "base/clock.h"
#include "base/fd.h"
#include "base/range.h"

int loop_init(struct loop *l, pthread_mutex_t *lock, struct err *e)
{
	*l = (struct loop){ .epoll = -1, .wake = -1, .lock = lock };
	l->jobs_end = &l->jobs;
	pthread_mutex_init(&l->queue_lock, NULL);
	l->epoll = epoll_create1(EPOLL_CLOEXEC);
	if (l->epoll < 0)
		return err_sys(e, "event loop: epoll_create");
	l->wake = fd_eventfd();
	if (l->wake < 0)
		return err_set(e, l->wake, "event loop: no eventfd: %s", strerror(-l->wake));
	/* data.ptr NULL stands for the wake fd. */
	if (epoll_ctl(l->epoll, EPOLL_CTL_ADD, l->wake, &(struct epoll_event){ .events = EPOLLIN }))
		return err_sys(e, "event loop: epoll_ctl");
	return 0;
}

void loop_fini(struct loop *l)
{
	bell_fini(&l->bell);
	fd_close(&l->wake);
	fd_close(&l->epoll);
}

int loop_watch(struct loop *l, struct loop_watch *w, struct err *e)
{
	struct epoll_event ev = { .events = w->events, .data.ptr = w };

	if (epoll_ctl(l->epoll, EPOLL_CTL_ADD, w->fd, &ev))
		return err_sys(e, "event loop: cannot watch fd %d", w->fd);
	return 0;
}

void loop_watch_events(struct loop *l, struct loop_watch *w, uint32_t events)
{
	struct epoll_event ev = { .events = events, .data.ptr = w };
	int r;

	if (w->events == events)
		return;
	w->events = events;
	r = epoll_ctl(l->epoll, EPOLL_CTL_MOD, w->fd, &ev);
	assert(r == 0);
}

void loop_unwatch(struct loop *l, struct loop_watch *w)
{
	if (w->fd < 0)
		return;
	epoll_ctl(l->epoll, EPOLL_CTL_DEL, w->fd, NULL);
	for (size_t i = 0; i < ARRAY_SIZE(l->ready); i++)
		if (l->ready[i] == w)
			l->ready[i] = NULL;
	w->fd = -1;
}

void loop_timer_set(struct loop *l, struct loop_timer *t, uint64_t at)
{
	struct loop_timer **p = &l->timers;

	loop_timer_cancel(l, t);
	t->at = at ? at : 1;
	while (*p && (*p)->at <= t->at)
		p = &(*p)->next;
	t->next = *p;
	*p = t;
}

void loop_timer_cancel(struct loop *l, struct loop_timer *t)
{
	if (!t->at)
		return;
	for (struct loop_timer **p = &l->timers; *p; p = &(*p)->next) {
		if (*p == t) {
			*p = t->next;
			break;
		}
	}
	t->at = 0;
}

void loop_post(struct loop *l, struct loop_job *j)
{
	bool wake = false;

	pthread_mutex_lock(&l->queue_lock);
	if (!j->posted) {
		j->posted = true;
		j->next = NULL;
		*l->jobs_end = j;
		l->jobs_end = &j->next;
		wake = true;
	}
	pthread_mutex_unlock(&l->queue_lock);
	if (wake)
		fd_signal(l->wake);
}

void loop_cancel(struct loop *l, struct loop_job *j)
{
	pthread_mutex_lock(&l->queue_lock);
	for (struct loop_job **p = &l->jobs; *p; p = &(*p)->next) {
		if (*p == j) {
			*p = j->next;
			if (l->jobs_end == &j->next)
				l->jobs_end = p;
			break;
		}
	}
	j->posted = false;
	pthread_mutex_unlock(&l->queue_lock);
}

void loop_signal(const struct loop *l, int eventfd)
{
	bell_ring(&l->bell, eventfd);
}

void loop_stop(struct loop *l)
{
	pthread_mutex_lock(&l->queue_lock);
	l->stop = true;
	pthread_mutex_unlock(&l->queue_lock);
	fd_signal(l->wake);
}

static struct loop_job *next_job(struct loop *l)
{
	struct loop_job *j;

	pthread_mutex_lock(&l->queue_lock);
	j = l->jobs;
	if (j) {
		l->jobs = j->next;
		if (!l->jobs)
			l->jobs_end = &l->jobs;
		j->posted = false;
	}
	pthread_mutex_unlock(&l->queue_lock);
	return j;
}

static bool take_stop(struct loop *l)
{
	bool stop;

	pthread_mutex_lock(&l->queue_lock);
	stop = l->stop;
	l->stop = false;
	pthread_mutex_unlock(&l->queue_lock);
	return stop;
}

static void run_timers(struct loop *l)
{
	uint64_t now = clock_ns();

	while (l->timers && l->timers->at <= now) {
		struct loop_timer *t = l->timers;

		loop_timer_cancel(l, t);
		t->expired(t->arg);
	}
}

/* Milliseconds, rounded up, to the next timer, at most @timeout_ms. */
static int wait_ms(const struct loop *l, int timeout_ms)
{
	uint64_t now, ms;

	if (!l->timers)
		return timeout_ms;
	now = clock_ns();
	if (l->timers->at <= now)
		return 0;
	ms = (l->timers->at - now + MS_TO_NS(1) - 1) / MS_TO_NS(1);
	if (ms > 60000)
		ms = 60000;
	return timeout_ms >= 0 && (uint64_t)timeout_ms < ms ? timeout_ms : (int)ms;
}

bool loop_once(struct loop *l, int timeout_ms)
{
	struct epoll_event events[ARRAY_SIZE(l->ready)];
	struct loop_job *j;
	int n;

	n = epoll_wait(l->epoll, events, ARRAY_SIZE(events), wait_ms(l, timeout_ms));
	if (l->lock)
		pthread_mutex_lock(l->lock);
	for (int i = 0; i < n; i++) {
		l->ready[i] = events[i].data.ptr;
		if (!events[i].data.ptr)
			fd_drain(l->wake);
	}
	for (int i = 0; i < n; i++) {
		struct loop_watch *w = l->ready[i];
		uint32_t told = w ? events[i].events & (w->events | EPOLLERR | EPOLLHUP) : 0;

		if (told)
			w->ready(w->arg, told);
		l->ready[i] = NULL;
	}
	run_timers(l);
	while ((j = next_job(l)))
		j->run(j->arg);
	if (l->lock)
		pthread_mutex_unlock(l->lock);
	return !take_stop(l);
}

void loop_run(struct loop *l)
{
	while (loop_once(l, -1))
		;
}
