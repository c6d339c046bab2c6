/* SPDX-License-Identifier: Apache-2.0 */
#include "devices/vhost_user_control.h"

#include <errno.h>
#include <stdio.h>
#include <sys/epoll.h>

#include "base/fd.h"
#include "base/range.h"
#include "devices/vhost_user_config.h"
#include "devices/vhost_user_device.h"
#include "vhost/control.h"

static const char where[] = "of a process of minivmm";

/* Feature bits 24 to 49 are about rings and transport (VIRTIO 1.3, 6). */
#define RING_FEATURES (BIT64(50) - BIT64(24))

static bool is_there(const struct vhost_user_control *c)
{
	return c->ready && !c->gone;
}

bool vhost_user_control_is_needed(const struct vhost_user_options *o)
{
	return o->type->control_feature && o->queues_given && o->queues > 1;
}

uint64_t vhost_user_control_features(const struct vhost_user_device *dev, uint64_t offered)
{
	const struct vhost_user_control *c = &dev->control;

	if (!is_there(c))
		return offered;
	/* Rings of a device are all of one kind. */
	return (offered & (c->frontend.features | ~RING_FEATURES)) | dev->type->control_features;
}

unsigned vhost_user_control_rings(const struct vhost_user_device *dev)
{
	const struct vu_device_type *t = dev->type;

	if (!dev->control.given)
		return dev->virtio.n_queues - t->queues_kept;
	if (t->mq_feature >= 0 && !(dev->virtio.acked & BIT64(t->mq_feature)))
		return t->queues_fixed + t->queues_each;
	return dev->virtio.n_queues - 1;
}

bool vhost_user_control_is_idle(const struct vhost_user_device *dev, unsigned i)
{
	return dev->control.given && i >= dev->control.pairs * dev->type->queues_each;
}

/* Questions */

static void answer(struct vhost_user_control *c, bool done)
{
	const struct control_answer a = { .done = done };

	/* One that leaves no room for it has asked without listening. */
	if (fd_send(c->questions.fd, &a, sizeof(a), NULL, 0) < 0 && misuse_first(&c->refused))
		log_warn("%s: its process does not take an answer", c->name);
}

static bool set_pairs(struct vhost_user_device *dev, uint32_t pairs)
{
	struct vhost_user_control *c = &dev->control;
	struct vu_frontend *f = &dev->frontend;

	if (!(dev->virtio.acked & BIT64(dev->type->mq_feature)) || !pairs || pairs > dev->counted)
		return false;
	c->pairs = pairs;
	if (dev->lost || (dev->run != VHOST_USER_STARTING && dev->run != VHOST_USER_RUNNING))
		return true;
	for (unsigned i = 0; i < f->n_rings; i++)
		f->rings[i].idle = vhost_user_control_is_idle(dev, i);
	c->owes = true;
	vu_frontend_switch(f);
	return true;
}

static void set_announced(struct vhost_user_device *dev)
{
	dev->control.announce = false;
	vhost_user_config_load(dev);
}

/* @n bytes came. */
static void judge(struct vhost_user_device *dev, const struct control_question *q, ssize_t n)
{
	struct vhost_user_control *c = &dev->control;
	bool done = n == sizeof(*q) && c->has_ring && !c->owes && !dev->virtio.resetting;

	if (done && q->request == CONTROL_PAIRS) {
		done = set_pairs(dev, q->value);
	} else if (done && q->request == CONTROL_ANNOUNCED) {
		set_announced(dev);
	} else {
		done = false;
		if (misuse_first(&c->refused))
			log_warn("%s: its process asked for what it may not have", c->name);
	}
	if (!c->owes || !done)
		answer(c, done);
}

static void end_questions(struct vhost_user_control *c, struct loop *loop)
{
	int sock = c->questions.fd;

	if (c->questions.ready)
		loop_unwatch(loop, &c->questions);
	fd_close(&sock);
	c->questions = (struct loop_watch){ .fd = -1 };
}

static void asked(void *arg, uint32_t events)
{
	struct vhost_user_device *dev = arg;
	struct control_question q;
	int fds[FD_PASS_MAX];
	size_t nfds = 0;
	ssize_t n = fd_recv(dev->control.questions.fd, &q, sizeof(q), fds, &nfds);

	(void)events;
	while (nfds > 0)
		fd_close(&fds[--nfds]);
	if (n == -EAGAIN)
		return;
	/* The end of the process is told by its other socket, too. */
	if (n <= 0 && n != -EPROTO)
		end_questions(&dev->control, dev->machine->loop);
	else
		judge(dev, &q, n);
}

void vhost_user_control_switched(struct vhost_user_device *dev)
{
	struct vhost_user_control *c = &dev->control;

	if (!c->owes)
		return;
	c->owes = false;
	answer(c, true);
}

/* The process's side */

static void process_ready(void *arg)
{
	((struct vhost_user_device *)arg)->control.ready = true;
}

static void process_stopped(void *arg)
{
	struct vhost_user_device *dev = arg;

	loop_post(dev->machine->loop, &dev->work);
}

static void process_dead(void *arg)
{
	struct vhost_user_device *dev = arg;

	dev->control.dead = true;
	loop_post(dev->machine->loop, &dev->work);
}

static void process_lost(void *arg, const char *why, bool dead)
{
	struct vhost_user_device *dev = arg;
	struct vhost_user_control *c = &dev->control;

	c->gone = true;
	c->owes = false;
	err_set(&c->why, -ENOTCONN, "%s", why);
	end_questions(c, dev->machine->loop);
	if (!dev->realized)
		return;
	log_error("device %s: after a reset the device has one pair of queues", why);
	dev->virtio.offered &= ~dev->type->control_features;
	if (c->has_ring)
		virtio_needs_reset(&dev->virtio, NULL);
	if (dead)
		process_dead(dev);
}

static void process_ring_error(void *arg)
{
	struct vhost_user_device *dev = arg;

	if (dev->control.has_ring)
		virtio_needs_reset(&dev->virtio, NULL);
}

/* Of no interest: that the queue was started; and a config space, which it has none of. */
static void nothing(void *arg)
{
	(void)arg;
}

static const struct vu_frontend_ops process_ops = {
	.ready = process_ready,
	.started = nothing,
	.stopped = process_stopped,
	.lost = process_lost,
	.dead = process_dead,
	.config_changed = nothing,
	.config_read = nothing,
	.ring_error = process_ring_error,
};

/* Life cycle */

int vhost_user_control_start(struct vhost_user_device *dev, struct err *e)
{
	struct vhost_user_control *c = &dev->control;
	struct vu_frontend *f = &c->frontend;
	unsigned at = vhost_user_control_rings(dev);
	const struct virtio_queue *q;
	int r;

	if (!c->given || at >= dev->virtio.n_queues)
		return 0;
	q = &dev->virtio.queues[at];
	if (!q->enabled || !(dev->virtio.acked & dev->type->control_feature))
		return 0;
	if (c->gone)
		return err_set(e, -ENOTCONN, "%s", c->why.msg);
	f->n_rings = 1;
	f->rings[0] = (struct vu_ring){ .enabled = true, .size = q->size, .desc = q->desc,
					.avail = q->avail, .used = q->used, .kick = q->kick,
					.call = q->call };
	r = vu_frontend_start(f, dev->virtio.acked & f->features, e);
	c->has_ring = r == 0;
	return r;
}

bool vhost_user_control_stop(struct vhost_user_device *dev)
{
	struct vhost_user_control *c = &dev->control;
	enum vu_state state = c->frontend.state;

	/* It waits for the answer before it gives back the queue. */
	if (c->owes)
		answer(c, false);
	c->owes = false;
	if (c->has_ring && (state == VU_STARTING || state == VU_RUNNING))
		vu_frontend_stop(&c->frontend);
	if (c->has_ring && (c->gone ? !c->dead : state != VU_READY))
		return false;
	c->has_ring = false;
	c->pairs = 1;
	c->announce = false;
	return true;
}

bool vhost_user_control_is_settled(const struct vhost_user_device *dev)
{
	const struct vhost_user_control *c = &dev->control;

	return !c->given || c->ready || c->gone;
}

int vhost_user_control_connect(struct vhost_user_device *dev, int *sock, int *questions,
			       struct err *e)
{
	struct vhost_user_control *c = &dev->control;
	const struct vu_frontend_params params = { .name = c->name, .socket = where };
	int r;

	snprintf(c->name, sizeof(c->name), "%s: control queue", dev->id);
	c->given = true;
	c->questions = (struct loop_watch){ .fd = fd_take(questions), .events = EPOLLIN,
					    .ready = asked, .arg = dev };
	r = loop_watch(dev->machine->loop, &c->questions, e);
	if (r)
		c->questions.ready = NULL;
	if (!r)
		r = vu_frontend_init(&c->frontend, dev->machine->loop, dev->machine->mem, sock,
				     &params, &process_ops, dev, e);
	fd_close(sock);
	return r;
}

void vhost_user_control_fini(struct vhost_user_device *dev)
{
	struct vhost_user_control *c = &dev->control;

	vu_frontend_fini(&c->frontend);
	if (c->given)
		end_questions(c, dev->machine->loop);
	c->given = false;
}
