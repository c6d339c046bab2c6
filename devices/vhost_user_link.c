/* SPDX-License-Identifier: Apache-2.0 */
#include "devices/vhost_user_link.h"

#include <assert.h>
#include <errno.h>
#include <string.h>

#include "base/clock.h"
#include "base/fd.h"
#include "base/log.h"

enum { PAUSE_MIN_MS = 100, PAUSE_MAX_MS = 5000 };

static void pause_over(void *arg)
{
	struct vhost_user_link *l = arg;
	struct err e;

	l->state = VHOST_USER_LINK_ASKING;
	if (l->dialer->ask(l->dialer_ctx, l, &e))
		vhost_user_link_end(l, e.msg);
}

void vhost_user_link_init(struct vhost_user_link *l, struct loop *loop, const char *name,
			  const struct vhost_user_link_ops *ops, void *arg)
{
	*l = (struct vhost_user_link){
		.loop = loop, .name = name, .ops = ops, .arg = arg,
		.pause = { .expired = pause_over, .arg = l },
	};
}

void vhost_user_link_use(struct vhost_user_link *l, const struct vhost_user_dialer *dialer,
			 void *ctx, unsigned number)
{
	assert(l->state == VHOST_USER_LINK_OFF);
	l->state = VHOST_USER_LINK_UP;
	l->dialer = dialer;
	l->dialer_ctx = ctx;
	l->number = number;
}

void vhost_user_link_begin(struct vhost_user_link *l, const struct vhost_user_dialer *dialer,
			   void *ctx, unsigned number)
{
	vhost_user_link_use(l, dialer, ctx, number);
	l->state = VHOST_USER_LINK_PAUSING;
	l->first = true;
	l->since = clock_ns();
	loop_timer_set(l->loop, &l->pause, l->since);
}

void vhost_user_link_fini(struct vhost_user_link *l)
{
	if (l->loop)
		loop_timer_cancel(l->loop, &l->pause);
	if (l->state == VHOST_USER_LINK_ASKING)
		l->dialer->forget(l->dialer_ctx, l);
	l->state = VHOST_USER_LINK_OFF;
}

bool vhost_user_link_is_on(const struct vhost_user_link *l)
{
	return l->state != VHOST_USER_LINK_OFF;
}

bool vhost_user_link_is_trying(const struct vhost_user_link *l)
{
	return l->state == VHOST_USER_LINK_TRYING;
}

static void rest(struct vhost_user_link *l)
{
	l->state = VHOST_USER_LINK_PAUSING;
	l->pause_ms = l->pause_ms ? 2 * l->pause_ms : PAUSE_MIN_MS;
	if (l->pause_ms > PAUSE_MAX_MS)
		l->pause_ms = PAUSE_MAX_MS;
	loop_timer_set(l->loop, &l->pause, clock_ns() + MS_TO_NS(l->pause_ms));
}

bool vhost_user_link_dismiss(struct vhost_user_link *l, bool dead)
{
	if (!l->dialer || !l->dialer->lost)
		return false;
	l->dialer->lost(l->dialer_ctx, l, dead);
	return true;
}

void vhost_user_link_lost(struct vhost_user_link *l)
{
	uint64_t now = clock_ns();

	if (!vhost_user_link_is_on(l))
		return;
	assert(l->state == VHOST_USER_LINK_UP);
	l->pause_ms = now - l->since >= MS_TO_NS(l->first_ms) ? 0 : l->first_ms;
	l->since = now;
	l->told.msg[0] = '\0';
	rest(l);
	l->first_ms = l->pause_ms;
}

static void tell(struct vhost_user_link *l, const char *why)
{
	struct err e;

	err_set(&e, -ENOTCONN, "%s", why);
	if (!strcmp(e.msg, l->told.msg))
		return;
	l->told = e;
	log_warn("device %s cannot be connected%s yet: %s", l->name, l->first ? "" : " again",
		 e.msg);
}

void vhost_user_link_failed(struct vhost_user_link *l, const char *why)
{
	assert(l->state == VHOST_USER_LINK_TRYING);
	if (l->first && l->dialer->first_failed &&
	    l->dialer->first_failed(l->dialer_ctx, l, why)) {
		l->state = VHOST_USER_LINK_ASKING;
		return;
	}
	tell(l, why);
	rest(l);
}

void vhost_user_link_up(struct vhost_user_link *l, const char *more)
{
	uint64_t now = clock_ns(), ms = (now - l->since) / MS_TO_NS(1);

	assert(l->state == VHOST_USER_LINK_TRYING);
	l->state = VHOST_USER_LINK_UP;
	l->since = now;
	if (l->first)
		log_info("device %s is connected%s", l->name, more);
	else
		log_warn("device %s is connected again after %llu.%llu s%s", l->name,
			 (unsigned long long)(ms / 1000), (unsigned long long)(ms / 100 % 10),
			 more);
	l->first = false;
}

/* Nobody listens (any more, or yet), or is too busy to. */
static bool is_absence(int error)
{
	return error == -ENOENT || error == -ECONNREFUSED || error == -EAGAIN;
}

void vhost_user_link_answer(struct vhost_user_link *l, int *sock, int *pidfd, int error,
			    const char *why)
{
	assert(l->state == VHOST_USER_LINK_ASKING);
	if (error) {
		if (is_absence(error) && !l->tells_absence)
			log_debug("device %s: %s", l->name, why);
		else
			tell(l, why);
		rest(l);
		return;
	}
	l->state = VHOST_USER_LINK_TRYING;
	l->ops->try(l->arg, sock, pidfd);
}

void vhost_user_link_end(struct vhost_user_link *l, const char *why)
{
	l->state = VHOST_USER_LINK_OFF;
	if (l->first && l->ops->never) {
		l->ops->never(l->arg, why);
		return;
	}
	log_error("device %s cannot be connected again: %s", l->name, why);
	l->ops->hopeless(l->arg);
}
